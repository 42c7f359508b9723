// stages: 02-
// thread_fork_test.c - fork while other threads are inside malloc.
//
// The child has only the thread that forked. Whatever the others were doing to
// the heap must not be half done there, and no lock may stay locked.

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>

#include "contract.h"

// A child that takes longer than this hangs.
enum { HANGS = 30 };

static atomic_bool stop;
static atomic_uint hung; // children that had to be ended
static atomic_uint wrong; // children that noticed something, or crashed
static atomic_uint done; // children that ended as they should
static atomic_uint parent_wrong;

// holds tells whether all of p is that byte. This takes little time beside what
// malloc and free take, so threads are inside these most of the time.
static bool holds(const unsigned char *p, size_t size, unsigned char byte)
{
    return size == 0 || (p[0] == byte && memcmp(p, p + 1, size - 1) == 0);
}

// operate makes n random operations on blocks of its own, and returns whether
// all of them were right.
static bool operate(uint64_t *state, size_t n)
{
    enum { N = 16 };
    unsigned char *p[N] = {0}, bytes[N];
    size_t sizes[N] = {0};
    bool ok = true;

    for (size_t i = 0; i < n; i++) {
        size_t k = random_below(state, N);
        if (p[k] != NULL)
            ok &= holds(p[k], sizes[k], bytes[k]);
        mm_free(p[k]);
        sizes[k] = random_size(state, i % 50 == 0 ? 100000 : 500);
        p[k] = mm_malloc(sizes[k]);
        if (p[k] == NULL)
            return false;
        bytes[k] = (unsigned char)random_next(state);
        memset(p[k], bytes[k], sizes[k]);
    }
    for (size_t k = 0; k < N; k++) {
        if (p[k] != NULL)
            ok &= holds(p[k], sizes[k], bytes[k]);
        mm_free(p[k]);
    }
    return ok;
}

// operate_until_stop is a thread that is nearly always inside malloc.
static void *operate_until_stop(void *number)
{
    uint64_t state = 100 + (uintptr_t)number;
    while (!atomic_load(&stop))
        if (!operate(&state, 100))
            atomic_fetch_add(&parent_wrong, 1);
    return NULL;
}

static void count_child(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid)
        atomic_fetch_add(&parent_wrong, 1);
    else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
        atomic_fetch_add(&hung, 1);
    else if (status != 0)
        atomic_fetch_add(&wrong, 1);
    else
        atomic_fetch_add(&done, 1);
}

// What the children of a forking thread do, and how often it forks. It stops
// when a child hung: the next ones would, too.
static bool (*child_work)(uint64_t *state);
static size_t forks_each;

static void *fork_often(void *number)
{
    uint64_t state = 200 + (uintptr_t)number;
    for (size_t i = 0; i < forks_each && atomic_load(&hung) == 0; i++) {
        unsigned char *p = mm_malloc(1000); // for both processes
        fill(p, 0, 1000, i);
        random_next(&state);
        pid_t pid = fork();
        if (pid == 0) {
            alarm(HANGS);
            bool ok = first_wrong(p, 0, 1000, i) == 1000;
            mm_free(p);
            _exit(ok && child_work(&state) && mm_check() ? 0 : 1);
        }
        count_child(pid);
        if (first_wrong(p, 0, 1000, i) != 1000)
            atomic_fetch_add(&parent_wrong, 1);
        mm_free(p);
    }
    return NULL;
}

// storm runs 4 threads that allocate beside n that run body, until these end.
static void storm(size_t n, void *(*body)(void *))
{
    enum { ALLOCATING = 4, MOST = 4 };
    pthread_t allocating[ALLOCATING];
    pthread_t others[MOST];

    for (size_t i = 0; i < ALLOCATING; i++)
        CHECK_EQ(
            pthread_create(&allocating[i], NULL, operate_until_stop, (void *)i),
            0);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(pthread_create(&others[i], NULL, body, (void *)i), 0);
    for (size_t i = 0; i < n; i++)
        pthread_join(others[i], NULL);
    atomic_store(&stop, true);
    for (size_t i = 0; i < ALLOCATING; i++)
        pthread_join(allocating[i], NULL);
}

// check_children checks that n children ended, and all as they should.
static void check_children(size_t n)
{
    CHECK_EQ(atomic_load(&hung), 0);
    CHECK_EQ(atomic_load(&wrong), 0);
    CHECK_EQ(atomic_load(&done), n);
    CHECK_EQ(atomic_load(&parent_wrong), 0);
}

static bool do_300_operations(uint64_t *state)
{
    return operate(state, 300);
}

TEST(fork_storm,
     "400 children, forked by 4 threads while 4 others allocate, can allocate")
{
    child_work = do_300_operations;
    forks_each = 100;
    storm(4, fork_often);
    check_children(400);
}

static void *operate_once(void *number)
{
    uint64_t state = 300 + (uintptr_t)number;
    return operate(&state, 100) ? NULL : number;
}

static bool start_threads(uint64_t *state)
{
    pthread_t threads[3];
    void *result;
    bool ok = true;

    for (size_t i = 0; i < 3; i++)
        if (pthread_create(&threads[i], NULL, operate_once, (void *)(i + 1)) !=
            0)
            return false;
    ok &= operate(state, 100);
    for (size_t i = 0; i < 3; i++)
        ok &= pthread_join(threads[i], &result) == 0 && result == NULL;
    return ok;
}

TEST(child_starts_threads,
     "a child of a process with threads may start threads of its own")
{
    if (UNDER_TSAN || UNDER_ASAN)
        SKIP("the sanitizers do not start threads in such a child");
    child_work = start_threads;
    forks_each = 25;
    storm(4, fork_often);
    check_children(100);
}

static bool fork_once_more(uint64_t *state)
{
    pid_t pid = fork();
    int status = 0;
    if (pid == 0) {
        alarm(HANGS);
        _exit(operate(state, 100) && mm_check() ? 0 : 1);
    }
    return operate(state, 100) && waitpid(pid, &status, 0) == pid &&
           status == 0;
}

TEST(child_forks_again, "a child of a process with threads may fork itself")
{
    child_work = fork_once_more;
    forks_each = 25;
    storm(4, fork_often);
    check_children(100);
}

// ---------------------------------------------------------------------------
// Handlers that others register for fork may allocate, too.

static void *from_handler;

static void allocate_before_fork(void)
{
    from_handler = mm_malloc(500);
    fill(from_handler, 0, 500, 8);
}

static void free_after_fork(void)
{
    if (first_wrong(from_handler, 0, 500, 8) != 500)
        atomic_fetch_add(&parent_wrong, 1);
    mm_free(from_handler);
    uint64_t state = 400;
    if (!operate(&state, 10))
        atomic_fetch_add(&parent_wrong, 1);
}

static bool no_trouble_in_handler(uint64_t *state)
{
    return atomic_load(&parent_wrong) == 0 && operate(state, 10);
}

TEST(fork_handlers_allocate,
     "handlers that others registered for fork may allocate and free")
{
    CHECK_EQ(
        pthread_atfork(allocate_before_fork, free_after_fork, free_after_fork),
        0);
    child_work = no_trouble_in_handler;
    forks_each = 50; // by one thread, for there is one from_handler
    storm(1, fork_often);
    check_children(50);
}

// ---------------------------------------------------------------------------
// Children that become another program at once.

static void *spawn_often(void *number)
{
    char *argv[] = {(char[]){"true"}, NULL};
    char *environment[] = {NULL};
    (void)number;

    for (size_t i = 0; i < forks_each; i++) {
        pid_t pid;
        if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environment) != 0)
            atomic_fetch_add(&parent_wrong, 1);
        else
            count_child(pid);
    }
    return NULL;
}

TEST(spawn_while_others_allocate,
     "programs can be started while other threads are inside malloc")
{
    forks_each = 25;
    storm(4, spawn_often);
    check_children(100);
}
