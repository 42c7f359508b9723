// runner.c - what every test program has beside its tests: see test.h.

#include <criterion/criterion.h>
#include <criterion/hooks.h>
#include <criterion/options.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

#include "test.h"

// Passed by the Makefile: 02-linked-list and contract/api, for messages.
#ifndef TEST_STAGE
#error "TEST_STAGE and TEST_PROGRAM must be defined"
#endif

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
}

// The C library's own malloc shares the program break with some stages. This
// keeps it to mmap, so that nothing moves the break behind a test's back.
__attribute__((constructor)) static void leave_the_break_alone(void)
{
    mallopt(M_MMAP_THRESHOLD, 0);
    mallopt(M_MMAP_MAX, 1 << 20);
}

static void explain(const struct criterion_test *test)
{
    fprintf(stderr,
            "       protects: %s\n"
            "       again:    make test STAGE=" TEST_STAGE
            " SUITE=" TEST_PROGRAM " T=%s\n",
            test->data->description, test->name);
}

ReportHook(POST_TEST)(struct criterion_test_stats *stats)
{
    if (stats->test_status == CR_STATUS_FAILED)
        explain(stats->test);
}

ReportHook(TEST_CRASH)(struct criterion_test_stats *stats)
{
    explain(stats->test);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    size_t passed =
        stats->nb_tests - stats->tests_failed - stats->tests_skipped;
    if (stats->nb_tests == 0)
        fprintf(stderr, "no test ran: the filter matches none\n");
    printf("%zu passed, %zu failed, %zu skipped\n", passed,
           stats->tests_failed + (stats->nb_tests == 0), stats->tests_skipped);
    fflush(stdout);
    if (stats->nb_tests == 0)
        exit(2);
}
