// contract.h - what several contract tests need: sizes, patterns and processes
// of their own.
//
// Nothing here calls malloc, so that a test's own bookkeeping is not part of
// what it observes.

#ifndef TESTS_CONTRACT_H
#define TESTS_CONTRACT_H

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "random.h"
#include "sanitizers.h"
#include "test.h"

// ---------------------------------------------------------------------------
// What is being tested.

static inline void count_item(const struct mm_item *item, void *count)
{
    (void)item;
    ++*(size_t *)count;
}

// is_c_library tells whether this is the C library's malloc (STAGE=glibc). It
// has no mm_walk, while a stage with a live block shows some memory.
static inline bool is_c_library(void)
{
    size_t items = 0;
    void *p = mm_malloc(1);
    mm_walk(count_item, &items);
    mm_free(p);
    return items == 0;
}

// keeps_sizes tells whether this is a stage that knows how long its blocks are.
// One that does not can reuse nothing.
static inline bool keeps_sizes(void)
{
    void *p = mm_malloc(1);
    bool kept = mm_usable_size(p) != 0;
    mm_free(p);
    return kept;
}

// room_of returns how many bytes of the block p, which was asked for with size
// bytes, may be written.
static inline size_t room_of(const void *p, size_t size)
{
    size_t usable = mm_usable_size(p);
    return usable > size ? usable : size;
}

// live_blocks returns how many blocks are handed out; 0 for the C library.
static inline uint64_t live_blocks(void)
{
    struct mm_stats stats;
    mm_stats(&stats);
    return stats.mallocs - stats.frees;
}

// random_size returns a size up to most: half of them below its square root,
// as programs ask for far more small blocks than large ones.
static inline size_t random_size(uint64_t *state, size_t most)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(most | 1);
    return (random_next(state) &
            ((UINT64_C(2) << random_below(state, bits)) - 1)) %
           (most + 1);
}

// ---------------------------------------------------------------------------
// Bytes that depend on a seed and their position, to find out who wrote where.

static inline unsigned char pattern_byte(uint64_t seed, size_t i)
{
    return (unsigned char)(seed + i * 37 + (i >> 8) * 11);
}

// fill writes bytes from to to (exclusive) of the pattern to the block p.
static inline void fill(void *p, size_t from, size_t to, uint64_t seed)
{
    unsigned char *bytes = p;
    for (size_t i = from; i < to; i++)
        bytes[i] = pattern_byte(seed, i);
}

// first_wrong returns the first position in p, from from to to, that does not
// hold the pattern; to if all do.
static inline size_t first_wrong(const void *p, size_t from, size_t to,
                                 uint64_t seed)
{
    const unsigned char *bytes = p;
    size_t i = from;
    while (i < to && bytes[i] == pattern_byte(seed, i))
        i++;
    return i;
}

static inline bool is_zero(const void *p, size_t n)
{
    const unsigned char *bytes = p;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

// CHECK_PATTERN checks that the first n bytes of p hold the pattern.
#define CHECK_PATTERN(p, n, seed)                                              \
    do {                                                                       \
        size_t n_ = (n);                                                       \
        size_t wrong_ = first_wrong(p, 0, n_, seed);                           \
        CHECK_THAT(wrong_ == n_,                                               \
                   "%s: expected its contents kept, got another byte %zu "     \
                   "of %zu",                                                   \
                   #p, wrong_, n_);                                            \
    } while (0)

// ---------------------------------------------------------------------------
// Processes. A body returns NULL, or a text that says what went wrong: a check
// of Criterion would fail in the wrong process.

typedef const char *child_body(void *arg);

// What became of a process: empty if it ended as it should.
struct outcome {
    char text[256];
};

// A process that takes longer than this hangs.
enum { CHILD_SECONDS = 100 };

// child_run is all that a child process does.
static inline _Noreturn void child_run(int report, child_body *body, void *arg)
{
    alarm(CHILD_SECONDS);
    const char *text = body(arg);
    if (text != NULL && write(report, text, strlen(text)) < 0)
        _exit(2);
    _exit(text != NULL);
}

// child_outcome waits for the child pid, which writes to the pipe report.
static inline struct outcome child_outcome(pid_t pid, int report)
{
    struct outcome outcome = {{0}};
    int status = 0;
    waitpid(pid, &status, 0);

    // What is in the pipe is all there will be, unless it never came.
    struct pollfd ready = {.fd = report, .events = POLLIN};
    if (poll(&ready, 1, 0) > 0 && (ready.revents & POLLIN) != 0 &&
        read(report, outcome.text, sizeof outcome.text - 1) > 0)
        return outcome;
    if (WIFSIGNALED(status))
        snprintf(outcome.text, sizeof outcome.text, "ended by signal %d (%s)",
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (status != 0)
        snprintf(outcome.text, sizeof outcome.text, "exit status %d",
                 WEXITSTATUS(status));
    return outcome;
}

// in_child runs body in a child process and returns what became of it.
static inline struct outcome in_child(child_body *body, void *arg)
{
    int report[2];
    if (pipe(report) != 0)
        return (struct outcome){"no pipe"};
    pid_t pid = fork();
    if (pid == 0)
        child_run(report[1], body, arg);
    close(report[1]);
    struct outcome outcome = child_outcome(pid, report[0]);
    close(report[0]);
    return outcome;
}

#define CHECK_CHILD(became)                                                    \
    do {                                                                       \
        struct outcome outcome_ = (became);                                    \
        CHECK_THAT(outcome_.text[0] == '\0',                                   \
                   "expected the child process to succeed, got: %s",           \
                   outcome_.text);                                             \
    } while (0)

#endif
