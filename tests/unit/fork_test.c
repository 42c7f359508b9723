// stages: 02-
//
// fork.c: fork in a program whose other threads may be inside malloc.

#include <pthread.h>
#include <stdatomic.h>
#include <sys/single_threaded.h>

#include "child.h"
#include "test.h"
#include "threads.h"

static uint64_t locks_taken(void)
{
    struct mm_stats stats;
    mm_stats(&stats);
    return stats.locks_taken;
}

// child_works forks, and tells whether the child can allocate.
static bool child_works(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        alarm(20); // ends a child that waits for ever
        void *p = mm_malloc(100);
        mm_free(p);
        _exit(p != NULL && mm_check() ? 0 : 1);
    }
    int status = -1;
    return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

// Makes this a process with two threads until stay is false.
static atomic_bool stay;

static void *stay_alive(void *unused)
{
    (void)unused;
    while (atomic_load(&stay))
        usleep(1000);
    return NULL;
}

static pthread_t second_thread(void)
{
    pthread_t thread;
    atomic_store(&stay, true);
    CHECK_EQ(pthread_create(&thread, NULL, stay_alive, NULL), 0);
    return thread;
}

static void end_second_thread(pthread_t thread)
{
    atomic_store(&stay, false);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

// A process in which Criterion runs a test has had another thread. A child of
// it has one thread, but the C library does not say so; this does.
static void fork_alone(void *unused)
{
    (void)unused;
    __libc_single_threaded = true;
    mm_free(mm_malloc(1));
    uint64_t start = locks_taken();
    uint64_t for_asking = locks_taken() - start;
    if (start == 0)
        _exit(1);

    start = locks_taken();
    if (!child_works())
        _exit(2);
    if (locks_taken() - start != for_asking)
        _exit(3);
}

TEST(one_thread_forks_without_locks,
     "a process with one thread takes no lock to fork, so a signal handler may"
     " fork even if it interrupted malloc")
{
    CHECK_RETURNS(fork_alone, NULL, "");
}

TEST(threads_make_fork_take_the_locks,
     "a process with more threads takes all locks to fork, and both processes"
     " give them back")
{
    mm_free(mm_malloc(1));
    uint64_t start = locks_taken();
    CHECK_GE(start, 1);
    uint64_t for_asking = locks_taken() - start;

    pthread_t thread = second_thread();
    start = locks_taken();
    bool worked = child_works();
    uint64_t taken = locks_taken() - start;
    void *p = mm_malloc(100);
    end_second_thread(thread);
    CHECK_TRUE(worked);
    CHECK_GE(taken, for_asking + 1);
    CHECK_NOT_NULL(p);
    mm_free(p);
}

static int handled;

static void allocate_around_fork(void)
{
    mm_free(mm_malloc(100));
    handled++;
}

TEST(handlers_of_others_may_allocate,
     "the locks are taken after the prepare handlers of others ran, and given"
     " back before their other handlers run")
{
    CHECK_EQ(pthread_atfork(allocate_around_fork, allocate_around_fork,
                            allocate_around_fork),
             0);
    pthread_t thread = second_thread();
    uint64_t start = locks_taken();
    bool worked = child_works();
    uint64_t taken = locks_taken() - start;
    end_second_thread(thread);
    CHECK_TRUE(worked);
    CHECK_EQ(handled, 2); // in this process: before and after
    CHECK_GE(taken, 2 + 1);
}

// A thread that is inside the allocator, with its locks, until the main thread
// sleeps.
static long main_thread;
static atomic_bool inside;

static void wait_inside(const struct mm_item *item, void *unused)
{
    (void)item;
    (void)unused;
    if (!atomic_exchange(&inside, true))
        wait_until_sleeps(main_thread);
}

static void *walk_slowly(void *unused)
{
    (void)unused;
    mm_walk(wait_inside, NULL);
    return NULL;
}

TEST(fork_waits_for_threads_inside,
     "fork waits until no thread is inside the allocator, so the child gets a"
     " heap that is whole, and no lock that nobody gives back")
{
    void *p = mm_malloc(100);
    pthread_t thread;
    main_thread = thread_number();
    CHECK_EQ(pthread_create(&thread, NULL, walk_slowly, NULL), 0);
    while (!atomic_load(&inside))
        sched_yield(); // does not sleep
    bool worked = child_works();
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_TRUE(worked);
    struct mm_stats stats;
    mm_stats(&stats);
    CHECK_GE(stats.locks_contended, 1);
    mm_free(p);
}
