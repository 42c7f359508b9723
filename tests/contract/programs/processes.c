// processes.c - fork and its relatives, and the end of a process.

#include "program.h"

#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;

static char *program; // its own path

// work allocates and frees blocks of many sizes.
static void work(size_t rounds)
{
    for (size_t i = 1; i <= rounds; i++) {
        size_t size = i * 37 % 3000;
        void *small = malloc(10);
        void *p = malloc(size);
        REQUIRE(small != NULL && p != NULL);
        fill(p, size, i);
        p = realloc(p, 2 * size + 1);
        REQUIRE(p != NULL && is_filled(p, size, i));
        free(small);
        free(p);
    }
}

static void *work_for_ever(void *unused)
{
    for (;;)
        work(100);
    return unused;
}

static void start_workers(size_t n)
{
    while (n-- > 0) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, work_for_ever, NULL) == 0);
    }
}

// expect_exit waits for a child and checks how it ended.
static void expect_exit(pid_t child, int code)
{
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == code);
}

static void *work_once(void *unused)
{
    work(100);
    return unused;
}

// Handlers of fork that allocate. Those that run before a fork come in reverse
// order of registration, and these were registered first and last of all. So
// the handler that takes the locks of malloc must have come before both.
static bool handlers_allocate;
static atomic_uint handled;

static void handle_fork(void)
{
    if (handlers_allocate) {
        work(3);
        atomic_fetch_add(&handled, 1);
    }
}

static void register_handlers(void)
{
    REQUIRE(pthread_atfork(handle_fork, handle_fork, handle_fork) == 0);
}

__attribute__((section(".preinit_array"),
               used)) static void (*preinit)(void) = register_handlers;

static void fork_handlers(void)
{
    enum { FORKS = 30 };
    register_handlers();
    handlers_allocate = true;
    start_workers(2);
    for (unsigned i = 1; i <= FORKS; i++) {
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            pthread_t thread;
            work(100);
            REQUIRE(pthread_create(&thread, NULL, work_once, NULL) == 0);
            REQUIRE(pthread_join(thread, NULL) == 0);
            _exit(5);
        }
        expect_exit(child, 5);
        REQUIRE(handled == 4 * i); // before and after, of both
    }
}

// The signal may come in the middle of malloc; POSIX allows fork there.
static volatile sig_atomic_t forks;

static void fork_in_handler(int signal)
{
    (void)signal;
    pid_t child = fork();
    if (child == 0)
        _exit(6);
    expect_exit(child, 6);
    forks++;
}

static void fork_in_signal_handler(void)
{
    struct sigaction action = {.sa_handler = fork_in_handler,
                               .sa_flags = SA_RESTART};
    struct itimerval often = {{0, 300}, {0, 300}};
    struct itimerval never = {{0, 0}, {0, 0}};
    REQUIRE(sigaction(SIGALRM, &action, NULL) == 0);
    REQUIRE(setitimer(ITIMER_REAL, &often, NULL) == 0);
    while (forks < 300)
        work(1);
    REQUIRE(setitimer(ITIMER_REAL, &never, NULL) == 0);
}

// A child of vfork shares the memory of its parent until it runs a program.
static void vfork_and_exec(void)
{
    char *arguments[] = {program, "exit_7", NULL};
    start_workers(2);
    for (int i = 0; i < 20; i++) {
        work(10);
        pid_t child = vfork();
        if (child == 0) {
            execve(program, arguments, environ);
            _exit(127);
        }
        expect_exit(child, 7);
    }
}

static void spawn(void)
{
    char *arguments[] = {program, "exit_7", NULL};
    start_workers(2);
    for (int i = 0; i < 20; i++) {
        work(10);
        pid_t child;
        REQUIRE(posix_spawn(&child, program, NULL, NULL, arguments, environ) ==
                0);
        expect_exit(child, 7);
    }
}

static void exit_7(void)
{
    work(100);
    exit(7);
}

// The child of a process with one thread may start threads.
static void threads_in_child(void)
{
    work(10);
    pid_t child = fork();
    if (child == 0) {
        start_workers(2);
        fork_handlers();
        _exit(8);
    }
    expect_exit(child, 8);
}

// Other threads are inside malloc while the process ends.
static void exit_while_others_allocate(void)
{
    for (int i = 0; i < 30; i++) {
        pid_t child = fork();
        if (child == 0) {
            start_workers(3);
            work(100);
            exit(0);
        }
        expect_exit(child, 0);
        work(1);
    }
}

static const struct named_case cases[] = {
    {"fork_handlers", fork_handlers},
    {"fork_in_signal_handler", fork_in_signal_handler},
    {"vfork_and_exec", vfork_and_exec},
    {"spawn", spawn},
    {"exit_7", exit_7},
    {"threads_in_child", threads_in_child},
    {"exit_while_others_allocate", exit_while_others_allocate},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    program = argv[0];
    run_case(argc, argv, cases);
    return 0;
}
