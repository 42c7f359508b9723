// fork_test.c - new processes, made by a process with one thread.
//
// With several threads: thread_fork_test.c.

#include <spawn.h>
#include <time.h>

#include "fresh.h"

enum { BLOCKS = 100 };
static unsigned char *blocks[BLOCKS];
static size_t sizes[BLOCKS];

static void make_blocks(void)
{
    uint64_t state = 11;
    for (size_t i = 0; i < BLOCKS; i++) {
        sizes[i] = random_size(&state, i % 10 == 0 ? 50000 : 500);
        blocks[i] = mm_malloc(sizes[i]);
        fill(blocks[i], 0, sizes[i], i);
    }
}

// free_blocks returns what is wrong with the blocks of make_blocks, or NULL.
static const char *free_blocks(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        if (blocks[i] == NULL)
            return "a block could not be allocated";
        if (first_wrong(blocks[i], 0, sizes[i], i) != sizes[i])
            return "a block does not hold what was written to it";
        mm_free(blocks[i]);
    }
    return mm_check() ? NULL : "mm_check found a broken invariant";
}

static const char *use_inherited_heap(void *arg)
{
    (void)arg;
    const char *wrong = free_blocks();
    if (wrong != NULL)
        return wrong;
    make_blocks();
    return free_blocks();
}

TEST(child_uses_inherited_heap,
     "after fork, parent and child each go on with a heap of their own")
{
    make_blocks();
    CHECK_CHILD(in_child(use_inherited_heap, NULL));
    const char *wrong = free_blocks(); // what the child freed is still here
    CHECK_THAT(wrong == NULL, "in the parent: %s", wrong);
}

// fork_again forks, and the child does the same, ten times.
static const char *fork_again(void *arg)
{
    static struct outcome outcome;
    static int generation;
    const char *wrong = use_inherited_heap(arg);
    if (wrong != NULL || ++generation == 10)
        return wrong;
    make_blocks();
    outcome = in_child(fork_again, arg);
    return outcome.text[0] == '\0' ? NULL : outcome.text;
}

TEST(children_fork_again, "a child can fork, and its child, and so on")
{
    make_blocks();
    CHECK_CHILD(in_child(fork_again, NULL));
    const char *wrong = free_blocks();
    CHECK_THAT(wrong == NULL, "in the parent: %s", wrong);
}

// ---------------------------------------------------------------------------
// fork in a signal handler. POSIX allows it; the child may call only functions
// that are safe there, of which _exit is one. It must not wait for a lock that
// the interrupted malloc holds.

static volatile sig_atomic_t inside; // a function of the allocator
static volatile sig_atomic_t hits; // forks while inside
static volatile sig_atomic_t forks;
static volatile sig_atomic_t failures;
static timer_t timer;

static void interrupt_soon(void)
{
    struct itimerspec once = {.it_value = {.tv_nsec = 50000}};
    timer_settime(timer, 0, &once, NULL);
}

static void fork_in_handler(int signal_number)
{
    (void)signal_number;
    int saved_errno = errno;
    int status = 0;

    hits = hits + inside;
    forks = forks + 1;
    pid_t pid = fork();
    if (pid == 0)
        _exit(42);
    if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 42)
        failures = failures + 1;
    errno = saved_errno;
    interrupt_soon();
}

static const char *work_interrupted(void *arg)
{
    enum { HITS = 200 };
    uint64_t state = 5;
    (void)arg;

    struct sigaction action = {.sa_handler = fork_in_handler};
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL,
                             .sigev_signo = SIGUSR1};
    if (sigaction(SIGUSR1, &action, NULL) != 0 ||
        timer_create(CLOCK_MONOTONIC, &event, &timer) != 0)
        return "no timer";
    make_blocks();
    interrupt_soon();
    while (hits < HITS) {
        size_t i = random_below(&state, BLOCKS);
        if (first_wrong(blocks[i], 0, sizes[i], i) != sizes[i])
            return "a block does not hold what was written to it";
        sizes[i] = random_size(&state, 300);
        inside = 1;
        mm_free(blocks[i]);
        blocks[i] = mm_malloc(sizes[i]);
        inside = 0;
        if (blocks[i] == NULL)
            return "malloc returned NULL";
        fill(blocks[i], 0, sizes[i], i);
    }
    timer_delete(timer);
    if (failures > 0)
        return "a child in a handler did not end as it should";
    return free_blocks();
}

TEST(fork_in_signal_handler,
     "a signal handler may fork while malloc is interrupted")
{
    if (UNDER_TSAN)
        SKIP("ThreadSanitizer delays signals until they interrupt nothing");
    CHECK_CHILD(in_fresh_process("work_interrupted"));
}

// ---------------------------------------------------------------------------
// Children that share the memory of their parent until they become another
// program.

TEST(vfork_and_exec, "vfork and exec leave the parent's heap alone")
{
    make_blocks();
    for (int i = 0; i < 20; i++) {
        int status = 0;
        pid_t pid = vfork();
        if (pid == 0) {
            execl("/bin/true", "true", NULL);
            _exit(127);
        }
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    const char *wrong = free_blocks();
    CHECK_THAT(wrong == NULL, "after vfork: %s", wrong);
}

TEST(spawn, "posix_spawn leaves the parent's heap alone")
{
    char *argv[] = {(char[]){"true"}, NULL};
    char *environment[] = {NULL};

    make_blocks();
    for (int i = 0; i < 20; i++) {
        pid_t pid;
        int status = 0;
        CHECK_EQ(posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environment),
                 0);
        CHECK_EQ(waitpid(pid, &status, 0), pid);
        CHECK_EQ(status, 0);
    }
    const char *wrong = free_blocks();
    CHECK_THAT(wrong == NULL, "after posix_spawn: %s", wrong);
}

static const struct fresh_body fresh_bodies[] = {
    {"work_interrupted", work_interrupted},
    {NULL, NULL},
};
