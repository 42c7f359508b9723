// memory.c - what else happens to the memory of a process: limits, other users
// of the break, closed files, an empty environment.

#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

extern char **environ;

static char **arguments; // of the program

// small is a program that needs little: about 2 MiB.
static void small(void)
{
    enum { N = 1000 };
    static char *blocks[N];
    for (size_t i = 0; i < N; i++) {
        blocks[i] = malloc(1 + i * 4);
        REQUIRE(blocks[i] != NULL);
        fill(blocks[i], 1 + i * 4, i);
    }
    for (size_t i = 0; i < N; i++) {
        REQUIRE(is_filled(blocks[i], 1 + i * 4, i));
        free(blocks[i]);
    }
}

static void become(const char *name)
{
    char *again[] = {arguments[0], hidden(name), NULL};
    execve(arguments[0], again, environ);
    FAIL("the program can be run again");
}

static const struct rlimit *mib(rlim_t n)
{
    static struct rlimit limit;
    limit.rlim_cur = limit.rlim_max = n << 20;
    return &limit;
}

// Starts again with at most that many MiB of addresses.
static void starts_in_64_mib(void)
{
    REQUIRE(setrlimit(RLIMIT_AS, mib(64)) == 0);
    become("small");
}

static void starts_in_256_mib(void)
{
    REQUIRE(setrlimit(RLIMIT_AS, mib(256)) == 0);
    become("small");
}

// exhaust allocates until there is no more, and then checks, and frees, all of
// it. Returns the number of bytes.
static size_t exhaust(size_t size)
{
    enum { MOST = 100000 };
    static char *blocks[MOST];
    size_t n = 0;

    errno = 0;
    while (n < MOST && (blocks[n] = malloc(size)) != NULL) {
        REQUIRE(errno == 0);
        fill(blocks[n], size < 100 ? size : 100, n);
        blocks[n][size - 1] = (char)n;
        n++;
    }
    REQUIRE(0 < n && n < MOST && errno == ENOMEM);

    errno = 0;
    REQUIRE(realloc(blocks[0], 100 * size) == NULL && errno == ENOMEM);
    errno = 0;
    REQUIRE(calloc(100, size) == NULL && errno == ENOMEM);
    errno = 0;
    for (size_t i = 0; i < n; i++) {
        REQUIRE(blocks[i][size - 1] == (char)i);
        blocks[i][size - 1] = 0;
        if (size <= 100)
            fill(blocks[i], size, i);
        REQUIRE(is_filled(blocks[i], size < 100 ? size : 100, i));
    }
    free(blocks[n / 2]); // one is enough to go on
    blocks[n / 2] = malloc(size);
    REQUIRE(blocks[n / 2] != NULL);
    for (size_t i = 0; i < n; i++)
        free(blocks[i]);
    REQUIRE(errno == 0);
    return n * size;
}

// Freed memory can be used again, all of it, and for other sizes.
static void use_all(void)
{
    enum { MIB = 1 << 20 };
    size_t most = exhaust(20000);
    REQUIRE(most > 16 * MIB);
    REQUIRE(exhaust(20000) >= most / 100 * 99);
    REQUIRE(exhaust(MIB) >= most - 3 * MIB);
    REQUIRE(exhaust(20000) >= most / 100 * 99);
}

static void data_limit(void)
{
    REQUIRE(setrlimit(RLIMIT_DATA, mib(32)) == 0);
    use_all();
}

// The limit is one of addresses; the program itself needs some. A stage that
// reserves more than it needs has to do with less.
static void address_limit(void)
{
    REQUIRE(setrlimit(RLIMIT_AS, mib(64)) == 0);
    use_all();
}

// Others move the break, by any number of bytes. What they get is theirs, also
// when malloc gives back what lies around it.
static void others_move_the_break(void)
{
    static const struct {
        size_t others, own;
    } steps[] = {{1, 100},       {17, 200000}, {4097, 24}, {3, 300000},
                 {65537, 70000}, {8, 1},       {4096, 16}, {1000000, 500000}};
    enum { N = sizeof steps / sizeof *steps };
    char *others[N], *own[N];

    free(malloc(hidden(NULL) == NULL ? 10 : 20));
    for (size_t i = 0; i < N; i++) {
        others[i] = sbrk((intptr_t)steps[i].others);
        REQUIRE(others[i] != (char *)-1);
        fill(others[i], steps[i].others, i);
        own[i] = malloc(steps[i].own);
        REQUIRE(own[i] != NULL && (uintptr_t)own[i] % 16 == 0);
        fill(own[i], steps[i].own, i + N);

        // Somebody who takes back at once what they took.
        REQUIRE(sbrk(5000) != (char *)-1 && sbrk(-5000) != (char *)-1);
    }
    for (size_t i = 0; i < N; i++) {
        REQUIRE(is_filled(own[i], steps[i].own, i + N));
        free(own[i]);
    }
    small();
    free(fill(malloc(2000000), 2000000, 1));
    for (size_t i = 0; i < N; i++)
        REQUIRE(is_filled(others[i], steps[i].others, i));
}

// All that reads or shapes the heap can be called, at any time.
static void windows(void)
{
    (void)malloc_trim(0);
    struct mallinfo2 before = mallinfo2();
    void *p = malloc(100000);
    REQUIRE(p != NULL);
    struct mallinfo2 during = mallinfo2();
    REQUIRE(during.uordblks >= before.uordblks + 100000);
    REQUIRE(during.arena >= during.uordblks);
    REQUIRE(during.fordblks == during.arena - during.uordblks);
    malloc_stats();
    free(p);
    (void)malloc_trim(0);
    (void)malloc_trim(1 << 20);
}

// As above, where memory can be freed.
static void windows_show_frees(void)
{
    size_t before = mallinfo2().uordblks;
    void *p = malloc(100000);
    REQUIRE(mallinfo2().uordblks > before);
    free(p);
    REQUIRE(mallinfo2().uordblks == before);
}

static void allocate_all_ways(void)
{
    for (size_t i = 0; i < 100; i++) {
        size_t size = i * i * 50;
        char *p = malloc(size);
        char *q = calloc(3, size);
        char *r = aligned_alloc(256, size);
        p = realloc(p, 2 * size + 1);
        REQUIRE(p != NULL && q != NULL && r != NULL);
        free(r);
        free(p);
        free(q);
    }
    REQUIRE(malloc(hidden(NULL) == NULL ? PTRDIFF_MAX : 0) == NULL);
    (void)malloc_trim(0);
}

// Between two calls of getppid there are only the system calls of malloc.
static void system_calls(void)
{
    small();
    syscall(SYS_getppid);
    allocate_all_ways();
    syscall(SYS_getppid);
}

static pthread_barrier_t barrier;

// meet lets a thread go on when the other has come here, too.
static void meet(void)
{
    pthread_barrier_wait(&barrier);
}

static void *allocate_all_ways_too(void *unused)
{
    meet(); // the thread has started
    meet();
    allocate_all_ways();
    meet();
    meet(); // it may end
    return unused;
}

static void system_calls_of_threads(void)
{
    pthread_t thread;
    REQUIRE(pthread_barrier_init(&barrier, NULL, 2) == 0);
    REQUIRE(pthread_create(&thread, NULL, allocate_all_ways_too, NULL) == 0);
    meet();
    syscall(SYS_getppid);
    meet();
    allocate_all_ways();
    meet();
    syscall(SYS_getppid);
    meet();
    REQUIRE(pthread_join(thread, NULL) == 0);
}

// Starts again without the standard files, and makes one of its own, which gets
// the number of stdin, stdout and stderr.
static void closed_files(void)
{
    for (int fd = 0; fd <= 2; fd++)
        REQUIRE(close(fd) == 0);
    become("open_own_files");
}

static void open_own_files(void)
{
    // The name is the one of the statistics, and a suffix.
    char name[1000];
    const char *stats = getenv("MM_STATS");
    if (stats == NULL || strlen(stats) > sizeof name - 10)
        _exit(1);
    strcpy(name, stats);
    strcat(name, ".own");
    for (int i = 0; i <= 2; i++)
        if (open(name, O_RDWR | O_CREAT | O_APPEND, 0600) != i)
            _exit(2);
    small();
    if (write(2, "own\n", 4) != 4)
        _exit(3);
}

// malloc_stats tells on stderr whose malloc this is.
static void empty_environment(void)
{
    REQUIRE(environ == NULL || *environ == NULL);
    small();
    malloc_stats();
}

// Programs that show what they do in the list of processes write it over their
// arguments and environment.
static void environment_overwritten(void)
{
    for (char **e = environ; *e != NULL; e++)
        memset(*e, 'x', strlen(*e));
    environ = NULL;
    small();
}

static const struct named_case cases[] = {
    {"small", small},
    {"starts_in_64_mib", starts_in_64_mib},
    {"starts_in_256_mib", starts_in_256_mib},
    {"data_limit", data_limit},
    {"address_limit", address_limit},
    {"others_move_the_break", others_move_the_break},
    {"windows", windows},
    {"windows_show_frees", windows_show_frees},
    {"system_calls", system_calls},
    {"system_calls_of_threads", system_calls_of_threads},
    {"closed_files", closed_files},
    {"open_own_files", open_own_files},
    {"empty_environment", empty_environment},
    {"environment_overwritten", environment_overwritten},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    arguments = argv;
    run_case(argc, argv, cases);
    return 0;
}
