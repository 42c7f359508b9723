// test.h - how tests are written here: TEST, and checks that say what went
// wrong. On top of Criterion, which runs every test in a process of its own.
//
//     TEST(calloc_zeroes_reused_memory,
//          "calloc clears memory that was used before")
//     {
//         char *p = mm_malloc(100);
//         ...
//         CHECK_EQ(p[i], 0);
//     }
//
// The sentence says what the test protects; it is printed when the test fails.
//
// Traps that this file closes: a test that checks nothing fails; so does one
// that calls exit; so does one after which mm_check finds a broken invariant or
// a block that was not freed; a run in which no test ran fails (runner.c).
//
// In threads other than the main one, record what happened and check it in the
// main thread: a failing check jumps out of its function.

#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include <criterion/criterion.h>
#include <stdint.h>

#include "mm.h"
#include "sanitizers.h"

// Start and end of the body of every test.
void test_begin(void);
void test_end(void);

// How many checks this test made so far.
extern unsigned long test_checks;

// test_failed notes that the test ends early, because a check failed.
void test_failed(void);

// check_failed ends the test, and says what the format and its arguments tell.
// (What Criterion has for this is so much code at every check that compiling
// the tests took twice as long.)
_Noreturn void check_failed(const char *file, unsigned line, const char *format,
                            ...) __attribute__((cold, format(printf, 3, 4)));

// The time limit only ends tests that hang.
enum { TEST_SECONDS = 120 };

#define TEST(name, sentence)                                                   \
    static void body_of_##name(void);                                          \
    Test(mm, name, .description = (sentence), .timeout = TEST_SECONDS)         \
    {                                                                          \
        test_begin();                                                          \
        body_of_##name();                                                      \
        test_end();                                                            \
    }                                                                          \
    static void body_of_##name(void)

// CHECK_THAT ends the test unless condition holds. The rest is a format and
// its arguments, which tell what was expected and what happened instead.
#define CHECK_THAT(condition, ...)                                             \
    do {                                                                       \
        test_checks++;                                                         \
        if (!(condition))                                                      \
            check_failed(__FILE__, __LINE__, __VA_ARGS__);                     \
    } while (0)

// SKIP ends a test that cannot be run here; the text says why.
#define SKIP(...)                                                              \
    do {                                                                       \
        test_failed();                                                         \
        cr_skip_test(__VA_ARGS__);                                             \
    } while (0)

// SKIP_UNDER_TSAN is for a test of one thread that takes long:
// ThreadSanitizer makes it ten times slower, and has nothing to find.
#define SKIP_UNDER_TSAN()                                                      \
    do {                                                                       \
        if (UNDER_TSAN)                                                        \
            SKIP("one thread");                                                \
    } while (0)

// CHECK_TRUE is for conditions that explain themselves.
#define CHECK_TRUE(condition) CHECK_THAT(condition, "not true: %s", #condition)

// CHECK_EQ, CHECK_LE, CHECK_GE compare integers of any type and sign.
#define CHECK_EQ(actual, expected) CHECK_COMPARE(actual, ==, expected)
#define CHECK_LE(actual, expected) CHECK_COMPARE(actual, <=, expected)
#define CHECK_GE(actual, expected) CHECK_COMPARE(actual, >=, expected)

#define CHECK_COMPARE(actual, relation, expected)                              \
    do {                                                                       \
        __int128 actual_ = (actual);                                           \
        __int128 expected_ = (expected);                                       \
        CHECK_THAT(actual_ relation expected_,                                 \
                   "%s: expected " #relation " %lld, got %lld", #actual,       \
                   (long long)expected_, (long long)actual_);                  \
    } while (0)

// CHECK_PTR_EQ compares addresses, CHECK_NULL and CHECK_NOT_NULL one with NULL.
#define CHECK_PTR_EQ(actual, expected)                                         \
    do {                                                                       \
        const void *actual_ = (actual);                                        \
        const void *expected_ = (expected);                                    \
        CHECK_THAT(actual_ == expected_, "%s: expected %p, got %p", #actual,   \
                   expected_, actual_);                                        \
    } while (0)

#define CHECK_NULL(actual) CHECK_PTR_EQ(actual, NULL)
#define CHECK_NOT_NULL(actual)                                                 \
    CHECK_THAT((actual) != NULL, "%s: expected a block, got NULL", #actual)

// CHECK_ALIGNED checks that p is a multiple of align.
#define CHECK_ALIGNED(p, align)                                                \
    CHECK_THAT((uintptr_t)(p) % (align) == 0,                                  \
               "%s: expected a multiple of %zu, got %p", #p, (size_t)(align),  \
               (void *)(p))

#endif
