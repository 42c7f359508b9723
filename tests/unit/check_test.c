// stages: 01-
//
// check.c: reports that need no memory.

#include "check.h"

#include <string.h>
#include <sys/socket.h>

#include "child.h"
#include "test.h"

// CHECK_WRITES checks that t is written as the line expected, in one piece: on
// this kind of socket, one write arrives as one message.
#define CHECK_WRITES(t, expected)                                              \
    do {                                                                       \
        int ends_[2];                                                          \
        char got_[2048];                                                       \
        CHECK_EQ(socketpair(AF_UNIX, SOCK_DGRAM, 0, ends_), 0);                \
        text_write(t, ends_[1]);                                               \
        close(ends_[1]);                                                       \
        ssize_t n_ = recv(ends_[0], got_, sizeof got_ - 1, 0);                 \
        close(ends_[0]);                                                       \
        got_[n_ < 0 ? 0 : n_] = '\0';                                          \
        CHECK_THAT(strcmp(got_, expected) == 0, "expected \"%s\", got \"%s\"", \
                   (expected), got_);                                          \
    } while (0)

TEST(parts_follow_each_other,
     "strings, numbers and addresses are appended, and written as one line")
{
    struct text t = {0};
    CHECK_WRITES(&t, "\n");
    text_string(&t, "a ");
    text_string(&t, "");
    text_number(&t, 10);
    text_string(&t, " ");
    text_address(&t, (void *)(uintptr_t)0x7f0123456789abcd);
    CHECK_WRITES(&t, "a 10 0x7f0123456789abcd\n");
}

TEST(numbers_are_written_in_full,
     "0 and the largest number and address are written with all digits")
{
    struct text t = {0};
    text_number(&t, 0);
    text_string(&t, " ");
    text_number(&t, UINT64_MAX);
    text_string(&t, " ");
    text_address(&t, NULL);
    text_string(&t, " ");
    text_address(&t, (void *)UINTPTR_MAX);
    CHECK_WRITES(&t, "0 18446744073709551615 0x0 0xffffffffffffffff\n");
}

TEST(long_text_is_cut_off,
     "what does not fit is cut off, wherever it begins, and the newline fits")
{
    // The text and what must not be touched behind it.
    struct {
        struct text t;
        char guard[64];
    } both = {0};
    memset(both.guard, 0x5A, sizeof both.guard);
    char expected[sizeof both.t.chars + 1] = "";

    size_t most = sizeof both.t.chars - 1;
    for (size_t i = 0; i < most - 2; i++)
        text_string(&both.t, "x");
    memset(expected, 'x', most - 2);
    CHECK_EQ(both.t.length, most - 2);
    text_number(&both.t, 12345);
    text_string(&both.t, "more");
    strcpy(expected + most - 2, "12\n");
    CHECK_WRITES(&both.t, expected);
    for (size_t i = 0; i < sizeof both.guard; i++)
        CHECK_EQ(both.guard[i], 0x5A);
}

TEST(writing_to_nobody_is_no_error,
     "text_write to a closed file descriptor returns")
{
    struct text t = {0};
    text_string(&t, "unheard");
    text_write(&t, -1);
    CHECK_EQ(t.length, strlen("unheard"));
}

static void misuse_without_block(void *p)
{
    mm_misuse("free", p, "not a block of this allocator", NULL, 7);
}

static void misuse_with_block(void *p)
{
    mm_misuse("realloc", p, "double free", p, 48);
}

TEST(misuse_names_call_and_block,
     "mm_misuse prints call, pointer, fault and block in one line, and aborts")
{
    void *p = (void *)0x55d0;
    CHECK_ABORTS(misuse_without_block, p,
                 "mm: free(0x55d0): not a block of this allocator\n");
    CHECK_ABORTS(misuse_with_block, p,
                 "mm: realloc(0x55d0): double free (block 0x55d0, 48 bytes)\n");
}

// The longest name, the longest text, and the largest numbers of all stages.
static void misuse_at_length(void *p)
{
    mm_misuse("malloc_usable_size", p,
              "no block starts here, or its header was damaged", p, SIZE_MAX);
}

TEST(misuse_fits_in_200_bytes,
     "the line of mm_misuse has at most 200 bytes, whatever the numbers")
{
    struct child child = child_run(misuse_at_length, (void *)UINTPTR_MAX);
    CHECK_EQ(child.signal, SIGABRT);
    CHECK_THAT(strchr(child.said, '\n') == child.said + strlen(child.said) - 1,
               "expected one line, got \"%s\"", child.said);
    CHECK_LE(strlen(child.said), 200);
}

static void break_something(void *p)
{
    (void)p;
    mm_broken("heap.c", 42, "n < size");
}

TEST(broken_names_the_place,
     "mm_broken prints file, line and condition, and aborts")
{
    CHECK_ABORTS(break_something, NULL,
                 "mm: heap.c:42: does not hold: n < size\n");
}

static void check_one(void *p)
{
    bool is_fine = p == NULL;
    CHECK(is_fine);
}

static void assert_one(void *p)
{
    bool is_fine = p == NULL;
    ASSERT(is_fine);
}

TEST(conditions_are_checked,
     "CHECK, and ASSERT in a debug build, abort exactly if their condition is"
     " false")
{
    CHECK_RETURNS(check_one, NULL, "");
    CHECK_RETURNS(assert_one, NULL, "");

    struct child child = child_run(check_one, &child);
    CHECK_EQ(child.signal, SIGABRT);
    CHECK_TRUE(strstr(child.said, "check_test.c:") != NULL);
    CHECK_TRUE(strstr(child.said, ": does not hold: is_fine\n") != NULL);
    child = child_run(assert_one, &child);
    CHECK_EQ(child.signal, SIGABRT);
    CHECK_TRUE(strstr(child.said, ": does not hold: is_fine\n") != NULL);
}

static void complain(void *p)
{
    if (mm_complain("I7 all is well", p))
        _exit(1);
}

TEST(complaints_return_false,
     "mm_complain prints the invariant and the place, if any, and returns"
     " false")
{
    CHECK_RETURNS(complain, NULL, "mm: mm_check: broken: I7 all is well\n");
    CHECK_RETURNS(complain, (void *)0x1230,
                  "mm: mm_check: broken: I7 all is well at 0x1230\n");
}

TEST(levels_remember_their_peak,
     "count adds up; count_level follows the level, and keeps the highest")
{
    uint64_t counter = 5, level = 0, peak = 0;
    count(&counter, 0);
    count(&counter, 7);
    CHECK_EQ(counter, 12);

    static const uint64_t levels[] = {10, 30, 20, 0, 25};
    static const uint64_t peaks[] = {10, 30, 30, 30, 30};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        count_level(&level, &peak, levels[i]);
        CHECK_EQ(level, levels[i]);
        CHECK_EQ(peak, peaks[i]);
    }
}
