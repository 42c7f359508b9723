// runner.c - what every test program has beside its tests: see test.h.

#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/options.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

unsigned long test_checks;

static bool running;
static uint64_t live_at_begin;

// live_blocks returns how many blocks are handed out.
static uint64_t live_blocks(void)
{
    struct mm_stats stats;
    mm_stats(&stats);
    return stats.mallocs - stats.frees;
}

// exited_early turns exit(0) in a test, which Criterion takes for success, into
// a crash.
static void exited_early(void)
{
    if (running)
        abort();
}

void test_begin(void)
{
    atexit(exited_early);
    running = true;
    live_at_begin = live_blocks();
}

void test_failed(void)
{
    running = false;
}

void check_failed(const char *file, unsigned line, const char *format, ...)
{
    char text[8192];
    va_list arguments;

    test_failed();
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    criterion_send_assert(&(struct criterion_assert_stats){
        .message = text, .passed = false, .line = line, .file = file});
    criterion_abort_test();
}

void test_end(void)
{
    running = false;
    if (test_checks == 0)
        cr_assert_fail("this test checks nothing");
    if (!mm_check())
        cr_assert_fail("mm_check found a broken invariant");
    uint64_t live = live_blocks();
    if (live != live_at_begin)
        cr_assert_fail("expected %llu live blocks at the end, got %llu",
                       (unsigned long long)live_at_begin,
                       (unsigned long long)live);
    cr_assert(true); // tells the runner that the test came this far
}

// The C library's own malloc shares the program break with some stages. Here it
// takes at once as much of it as Criterion will ever need, and never gives any
// back, so that nothing moves the break behind a test's back. (If all it has
// came from mmap, a small test would spend most of its time there.)
__attribute__((constructor)) static void leave_the_break_alone(void)
{
    enum { CRITERION_NEEDS = 16 << 20 };
    mallopt(M_TRIM_THRESHOLD, -1);
    mallopt(M_MMAP_THRESHOLD, 2 * CRITERION_NEEDS);
    free(malloc(CRITERION_NEEDS));
    mallopt(M_MMAP_THRESHOLD, CRITERION_NEEDS / 64); // mmap for what is large
}

// explain prints what a test protects, and the command that runs it alone:
// run_suite knows how its program came to be run.
static void explain(const struct criterion_test *test)
{
    const char *again = getenv("TEST_AGAIN");
    fprintf(stderr,
            "       protects: %s\n"
            "       again:    %s T=%s\n",
            test->data->description, again != NULL ? again : "make test",
            test->name);
}

// What the process that starts the tests saw of them.
static size_t started; // the filter did not leave them out
static size_t skipped; // of those
static size_t ended_early; // passed, so Criterion believes, but without an end

ReportHook(PRE_TEST)(struct criterion_test *test)
{
    (void)test;
    started++;
}

ReportHook(POST_TEST)(struct criterion_test_stats *stats)
{
    if (stats->test_status == CR_STATUS_SKIPPED)
        skipped++;
    if (stats->test_status == CR_STATUS_FAILED)
        explain(stats->test);
    if (stats->test_status == CR_STATUS_PASSED && stats->passed_asserts == 0) {
        ended_early++;
        fprintf(stderr, "[FAIL] mm::%s: its process ended before it did\n",
                stats->test->name);
        explain(stats->test);
    }
}

ReportHook(TEST_CRASH)(struct criterion_test_stats *stats)
{
    explain(stats->test);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    size_t failed = stats->tests_failed + ended_early + (started == 0);
    if (started == 0)
        fprintf(stderr, "no test ran: the filter matches none\n");
    printf("%zu passed, %zu failed", stats->tests_passed - ended_early, failed);
    if (skipped != 0)
        printf(", %zu skipped", skipped);
    printf("\n");
    fflush(stdout);
    if (started == 0 || ended_early != 0)
        exit(2);
}
