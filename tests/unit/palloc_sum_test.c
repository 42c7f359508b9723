// stages: 13-
//
// mpagealloc.c: summaries: three numbers in one word, and the summary of
// several pieces of memory, against the pages of all of them.

#include "heap.h"

#include <string.h>

#include "child.h"
#include "test.h"

static void check_round_trip(size_t start, size_t max, size_t end)
{
    palloc_sum sum = pack_palloc_sum((struct palloc_runs){start, max, end});
    struct palloc_runs runs = unpack_palloc_sum(sum);
    CHECK_EQ(runs.start, start);
    CHECK_EQ(runs.max, max);
    CHECK_EQ(runs.end, end);
    CHECK_EQ(sum >> 63, max == MAX_PACKED);
    CHECK_EQ(sum == 0, max == 0);
}

TEST(a_sum_keeps_three_numbers,
     "what is packed in a summary is unpacked again, up to the largest numbers")
{
    static const size_t values[] = {
        0,
        1,
        2,
        3,
        63,
        64,
        511,
        512,
        513,
        4095,
        1 << 12,
        (1 << 18) - 1,
        1 << 18,
        1 << 20,
        MAX_PACKED / 3,
        MAX_PACKED - 2,
        MAX_PACKED - 1,
    };
    enum { N = sizeof values / sizeof *values };
    for (size_t max = 0; max < N; max++)
        for (size_t start = 0; start <= max; start++)
            for (size_t end = 0; end <= max; end++)
                check_round_trip(values[start], values[max], values[end]);
    for (size_t bit = 0; bit < LOG_MAX_PACKED; bit++)
        check_round_trip((size_t)1 << bit, MAX_PACKED - 1, 0);
    for (size_t bit = 0; bit < LOG_MAX_PACKED; bit++)
        check_round_trip(0, MAX_PACKED - 1, (size_t)1 << bit);
}

TEST(
    all_free_has_a_bit_of_its_own,
    "a summary of MAX_PACKED free pages says so with bit 63, whatever the other"
    " bits are")
{
    check_round_trip(MAX_PACKED, MAX_PACKED, MAX_PACKED);
    palloc_sum sum = pack_palloc_sum(
        (struct palloc_runs){MAX_PACKED, MAX_PACKED, MAX_PACKED});
    CHECK_EQ(sum, UINT64_C(1) << 63);
    for (unsigned bit = 0; bit < 63; bit++) {
        struct palloc_runs runs = unpack_palloc_sum(sum | UINT64_C(1) << bit);
        CHECK_EQ(runs.start, MAX_PACKED);
        CHECK_EQ(runs.max, MAX_PACKED);
        CHECK_EQ(runs.end, MAX_PACKED);
    }
}

// ---------------------------------------------------------------------------
// Pages, and the summary of them.

enum { MOST_PAGES = 8 << 9 };

// runs_of counts free pages, one after the other.
static struct palloc_runs runs_of(const bool *is_free, size_t n)
{
    struct palloc_runs runs = {0};
    size_t run = 0;
    bool any_used = false;
    for (size_t i = 0; i < n; i++) {
        run = is_free[i] ? run + 1 : 0;
        any_used |= !is_free[i];
        if (!any_used)
            runs.start = run;
        if (runs.max < run)
            runs.max = run;
    }
    runs.end = run;
    return runs;
}

// check_merge compares the merge of the summaries of n pieces of memory with
// the pages of all of them.
static void check_merge(const bool *is_free, size_t n, unsigned log_pages)
{
    const size_t whole = (size_t)1 << log_pages;
    palloc_sum sums[8];
    for (size_t i = 0; i < n; i++)
        sums[i] = pack_palloc_sum(runs_of(is_free + i * whole, whole));
    struct palloc_runs runs =
        unpack_palloc_sum(merge_summaries(sums, n, log_pages));
    struct palloc_runs expected = runs_of(is_free, n * whole);
    CHECK_THAT(memcmp(&runs, &expected, sizeof runs) == 0,
               "%zu of 2^%u pages: expected (%zu, %zu, %zu), got"
               " (%zu, %zu, %zu)",
               n, log_pages, expected.start, expected.max, expected.end,
               runs.start, runs.max, runs.end);
}

TEST(merge_is_right_for_all_bits,
     "the summary of several pieces of memory follows from theirs, for all"
     " patterns of 16 pages")
{
    // As 8 pieces of 2 pages, 4 of 4, 2 of 8, and so on.
    for (unsigned pattern = 0; pattern < 1 << 16; pattern++) {
        bool is_free[16];
        for (unsigned i = 0; i < 16; i++)
            is_free[i] = pattern >> i & 1;
        for (unsigned log_pages = 1; log_pages <= 4; log_pages++)
            check_merge(is_free, 16 >> log_pages, log_pages);
        check_merge(is_free, 3, 2);
        check_merge(is_free, 5, 1);
    }
}

// Kinds of pieces: each is free from its start, inside, and to its end, or not.
enum {
    ALL_USED,
    ALL_FREE,
    FREE_AT_START,
    FREE_AT_END,
    FREE_AT_BOTH,
    USED_AT_START,
    USED_AT_END,
    FREE_INSIDE,
    KINDS
};

// draw makes n pages a piece of that kind.
static void draw(bool *is_free, size_t n, unsigned kind)
{
    for (size_t i = 0; i < n; i++)
        is_free[i] = kind == ALL_FREE ||
                     (kind == FREE_AT_START && i < n / 2 + 1) ||
                     (kind == FREE_AT_END && i >= n - 1) ||
                     (kind == FREE_AT_BOTH && i != n / 2) ||
                     (kind == USED_AT_START && i > 0) ||
                     (kind == USED_AT_END && i < n - 1) ||
                     (kind == FREE_INSIDE && i > 0 && i < n - 1);
}

// check_rows checks all rows of n pieces of the first kinds.
static void check_rows(size_t n, unsigned kinds, unsigned log_pages)
{
    static bool is_free[MOST_PAGES];
    size_t rows = 1;
    for (size_t i = 0; i < n; i++)
        rows *= kinds;
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0, rest = row; i < n; i++, rest /= kinds)
            draw(is_free + (i << log_pages), (size_t)1 << log_pages,
                 (unsigned)(rest % kinds));
        check_merge(is_free, n, log_pages);
    }
}

TEST(merge_is_right_for_all_kinds,
     "the summary of up to eight pieces of memory follows from theirs, wherever"
     " each is free, however large they are")
{
    for (unsigned log_pages = 2; log_pages <= 9; log_pages++)
        for (size_t n = 1; n <= 3; n++)
            check_rows(n, KINDS, log_pages);
    check_rows(4, KINDS, 3);
    check_rows(8, 4, 2); // all, nothing, free at the start, free at the end
}

TEST(merge_is_right_for_the_root,
     "eight pieces of an eighth of MAX_PACKED pages are all free, or all but"
     " one page, wherever it is")
{
    const unsigned log_pages = LOG_MAX_PACKED - SUMMARY_LEVEL_BITS;
    const size_t whole = (size_t)1 << log_pages;
    const palloc_sum all =
        pack_palloc_sum((struct palloc_runs){whole, whole, whole});
    palloc_sum sums[8];
    for (size_t i = 0; i < 8; i++)
        sums[i] = all;
    CHECK_EQ(merge_summaries(sums, 8, log_pages), UINT64_C(1) << 63);
    CHECK_EQ(
        merge_summaries(sums, 7, log_pages),
        pack_palloc_sum((struct palloc_runs){7 * whole, 7 * whole, 7 * whole}));
    for (size_t used = 0; used < 8; used++) {
        static const size_t shares[] = {0, 1, 3, 7};
        for (size_t k = 0; k < 4; k++) {
            // So many of its pages are free below the one that is used.
            size_t below = shares[k] * (whole / 8);
            size_t above = whole - below - 1;
            sums[used] = pack_palloc_sum((struct palloc_runs){
                below, below > above ? below : above, above});
            struct palloc_runs runs =
                unpack_palloc_sum(merge_summaries(sums, 8, log_pages));
            size_t start = used * whole + below;
            size_t end = MAX_PACKED - 1 - start;
            CHECK_EQ(runs.start, start);
            CHECK_EQ(runs.end, end);
            CHECK_EQ(runs.max, start > end ? start : end);
        }
        sums[used] = all;
    }
}

TEST(levels_agree_with_the_words,
     "an entry of a level stands for eight of the level below, and for as much"
     " memory as the comments say")
{
    static const uint64_t bytes[] = {UINT64_C(16) << 30, UINT64_C(2) << 30,
                                     256 << 20, 32 << 20, 4 << 20};
    CHECK_EQ(SUMMARY_LEVELS, 5);
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
        CHECK_EQ(UINT64_C(1) << level_shift(level), bytes[level]);
        CHECK_EQ((uint64_t)PAGE_SIZE << level_log_pages(level), bytes[level]);
        CHECK_EQ(level_bits(level), level == 0 ? 14 : 3);
    }
    CHECK_EQ(MAX_PACKED * (uint64_t)PAGE_SIZE, bytes[0]);
    CHECK_EQ(SUM_OFFSET(1), 0);
    CHECK_EQ(SUM_OFFSET(2), 8);
    CHECK_EQ(SUM_OFFSET(3), 8 + 64);
    CHECK_EQ(SUM_OFFSET(4), 8 + 64 + 512);
    CHECK_EQ(sizeof(struct summary_block),
             (8 + 64 + 512 + 4096) * sizeof(palloc_sum));
}
