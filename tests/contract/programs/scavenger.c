// scavenger.c - programs in which a thread of the allocator may work, too.
//
// Each case runs with MM_SCAVENGER=thread; but alone, without it.

#include "program.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

enum { KIB = 1 << 10, MIB = 1 << 20 };

// n_threads returns how many threads the process has.
static size_t n_threads(void)
{
    size_t n = 0;
    DIR *tasks = opendir("/proc/self/task");
    REQUIRE(tasks != NULL);
    for (const struct dirent *d = readdir(tasks); d != NULL; d = readdir(tasks))
        n += d->d_name[0] != '.';
    closedir(tasks);
    return n;
}

// resident returns how many bytes of memory the process takes: the second
// number in the file, in pages.
static size_t resident(void)
{
    char text[100] = {0};
    char *end;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
    close(fd);
    strtoul(text, &end, 10);
    return strtoul(end, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE);
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000 * 1000}, NULL);
}

// work allocates, fills and frees n blocks of size bytes each.
static void work(size_t n, size_t size)
{
    void **blocks = malloc(n * sizeof *blocks);
    REQUIRE(blocks != NULL);
    for (size_t i = 0; i < n; i++) {
        blocks[i] = malloc(size);
        REQUIRE(blocks[i] != NULL);
        fill(blocks[i], size, i);
    }
    for (size_t i = 0; i < n; i++) {
        REQUIRE(is_filled(blocks[i], size, i));
        free(blocks[i]);
    }
    free(blocks);
}

// There is no second thread, not even when there is much to give back.
static void alone(void)
{
    REQUIRE(n_threads() == 1);
    work(64, MIB);
    REQUIRE(n_threads() == 1);
}

// ends_small works, and then does nothing until the process has at most that
// many bytes more than before: 30 seconds only end what hangs.
static void ends_small(size_t n, size_t size, size_t more)
{
    REQUIRE(n_threads() == 2);
    size_t before = resident();
    work(n, size);
    for (size_t i = 0; i < 300 && resident() > before + more; i++)
        pause_ms(100);
    REQUIRE(resident() <= before + more);
    work(n / 4, size); // and all is well
}

static void large_blocks_go(void)
{
    ends_small(64, MIB, 8 * MIB);
}

static void small_blocks_go(void)
{
    // Structs of spans stay: one for each 8 KiB.
    ends_small(64 * KIB, KIB, 14 * MIB);
}

// A process forks again and again. The child has one thread, and allocates.
static void forks(void)
{
    enum { FORKS = 300 };
    REQUIRE(n_threads() == 2);
    for (size_t i = 0; i < FORKS; i++) {
        // So that the other thread has something to do. It need not be touched.
        free(malloc((1 + i % 50) * MIB));
        void *p = fill(malloc(1 + i), 1 + i, i);
        pid_t child = fork();
        if (child == 0) {
            REQUIRE(is_filled(p, 1 + i, i));
            free(p);
            work(20, 37 * (i % 100) + 1);
            work(2, MIB / 8);
            if (i % 100 == 0)
                REQUIRE(n_threads() == 1);
            _exit(7);
        }
        int status;
        REQUIRE(child > 0 && waitpid(child, &status, 0) == child);
        REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 7);
        free(p);
    }
    REQUIRE(n_threads() == 2);
}

// Processes end at any moment of the thread: by exit, with destructors. All run
// at once.
static void ends(void)
{
    enum { PROCESSES = 40 };
    for (size_t i = 0; i < PROCESSES; i++) {
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0) {
            extern char **environ;
            char *const arguments[] = {"/proc/self/exe", "end_at_once", NULL};
            execve("/proc/self/exe", arguments, environ);
            _exit(99);
        }
    }
    for (size_t i = 0; i < PROCESSES; i++) {
        int status;
        REQUIRE(wait(&status) > 0);
        REQUIRE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

// The thread wakes up ten times a second, and gives back a part of what is
// above 4 MiB.
static void end_at_once(void)
{
    work(12, MIB);
    pause_ms(getpid() % 120);
}

// Signals are for the threads of the program: what they all block waits, though
// the thread of the allocator could take it.
static volatile sig_atomic_t handled;
static pthread_t main_thread;

static void handle(int number)
{
    REQUIRE(pthread_equal(pthread_self(), main_thread));
    (void)number;
    handled++;
}

static void signals(void)
{
    static const int numbers[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGCHLD,
                                  SIGIO,   SIGPROF, SIGTERM};
    sigset_t set, pending, old;

    main_thread = pthread_self();
    REQUIRE(n_threads() == 2);
    // The mask of the program is as if there were no such thread.
    sigprocmask(SIG_BLOCK, NULL, &old);
    for (int number = 1; number < SIGRTMAX; number++)
        REQUIRE(sigismember(&old, number) != 1);
    sigemptyset(&set);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        struct sigaction action = {.sa_handler = handle};
        REQUIRE(sigaction(numbers[i], &action, NULL) == 0);
        sigaddset(&set, numbers[i]);
    }
    REQUIRE(sigprocmask(SIG_BLOCK, &set, NULL) == 0);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        REQUIRE(kill(getpid(), numbers[i]) == 0);
    work(64, MIB);
    pause_ms(300); // the thread wakes up some times
    REQUIRE(handled == 0 && sigpending(&pending) == 0);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        REQUIRE(sigismember(&pending, numbers[i]) == 1);
    REQUIRE(sigprocmask(SIG_UNBLOCK, &set, NULL) == 0);
    REQUIRE(handled == sizeof numbers / sizeof *numbers);
}

int main(int argc, char **argv)
{
    static const struct named_case cases[] = {
        {"alone", alone},
        {"large_blocks_go", large_blocks_go},
        {"small_blocks_go", small_blocks_go},
        {"forks", forks},
        {"ends", ends},
        {"end_at_once", end_at_once},
        {"signals", signals},
        {NULL, NULL},
    };
    run_case(argc, argv, cases);
    return 0;
}
