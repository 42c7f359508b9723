// stages: 10-
//
// mpallocbits.c: the bitmap of a chunk. Small questions are asked in every way
// there is, others about bitmaps that are hard: runs that end at a word, begin
// at one, or go over several. What is right a loop over an array of bools
// tells, one page after the other.

#include "heap.h"

#include <string.h>

#include "random.h"
#include "sanitizers.h"
#include "test.h"

// Under these sanitizers all is slower, and less must do.
enum { SLOW = UNDER_TSAN || UNDER_ASAN };

enum { PAGES = PALLOC_CHUNK_PAGES, WORDS = PAGES / 64 };
_Static_assert(sizeof(struct page_bits) == 64, "the bitmap is a cache line");

// ---------------------------------------------------------------------------
// A bitmap, and the same as an array.

static struct page_bits bits;
static bool used[PAGES];

// show makes bits say the same as used.
static void show(void)
{
    memset(&bits, 0, sizeof bits);
    for (size_t i = 0; i < PAGES; i++)
        bits.words[i / 64] |= (uint64_t)used[i] << i % 64;
}

// shows tells whether bits say the same as used.
static bool shows(void)
{
    for (size_t i = 0; i < PAGES; i++)
        if ((bits.words[i / 64] >> i % 64 & 1) != used[i])
            return false;
    return true;
}

// naive_runs are the runs of free pages.
static struct palloc_runs naive_runs(void)
{
    struct palloc_runs runs = {0};
    size_t run = 0;
    bool any_used = false;
    for (size_t i = 0; i < PAGES; i++) {
        run = used[i] ? 0 : run + 1;
        any_used |= used[i];
        if (!any_used)
            runs.start = run;
        if (run > runs.max)
            runs.max = run;
    }
    runs.end = run;
    return runs;
}

// naive_fits[n] becomes the first page of the lowest n free pages in a row;
// SIZE_MAX: there are none. first_free becomes the lowest free page.
static size_t naive_fits[PAGES + 2];
static size_t first_free;

static void find_naively(void)
{
    size_t run = 0, longest = 0;
    memset(naive_fits, 0xFF, sizeof naive_fits);
    first_free = SIZE_MAX;
    for (size_t i = 0; i < PAGES; i++) {
        run = used[i] ? 0 : run + 1;
        if (run == 1 && first_free == SIZE_MAX)
            first_free = i;
        // The first run that is so long begins lowest.
        if (run > longest)
            naive_fits[++longest] = i + 1 - run;
    }
}

// check_found compares one search.
static void check_found(size_t npages, size_t search_idx)
{
    struct palloc_found found = palloc_bits_find(&bits, npages, search_idx);
    CHECK_THAT(found.page == naive_fits[npages],
               "%zu pages, from %zu on: expected page %zd, got %zd", npages,
               search_idx, (ssize_t)naive_fits[npages], (ssize_t)found.page);
    CHECK_THAT(found.search_idx == first_free,
               "%zu pages, from %zu on: expected to see page %zd, got %zd",
               npages, search_idx, (ssize_t)first_free,
               (ssize_t)found.search_idx);
}

// check_searches compares the summary, and the search for every stride-th
// number of pages.
static void check_searches(size_t stride)
{
    struct palloc_runs runs = palloc_bits_summarize(&bits),
                       expected = naive_runs();
    CHECK_THAT(runs.start == expected.start && runs.max == expected.max &&
                   runs.end == expected.end,
               "expected runs of %zu, %zu, %zu, got %zu, %zu, %zu",
               expected.start, expected.max, expected.end, runs.start, runs.max,
               runs.end);
    find_naively();
    for (size_t n = 1; n <= PAGES; n += stride)
        check_found(n, 0);
    if (first_free < PAGES)
        check_found(expected.max, first_free);
    check_found(expected.max + (expected.max < PAGES),
                first_free < PAGES ? first_free / 2 : PAGES - 1);
}

// ---------------------------------------------------------------------------
// A word.

static unsigned find_range_naively(uint64_t c, unsigned n)
{
    unsigned run = 0;
    for (unsigned i = 0; i < 64; i++) {
        run = c >> i & 1 ? run + 1 : 0;
        if (run == n)
            return i + 1 - n;
    }
    return 64;
}

static void check_word(uint64_t c)
{
    for (unsigned n = 1; n <= 64; n++) {
        unsigned at = find_bit_range64(c, n);
        CHECK_THAT(at == find_range_naively(c, n),
                   "%u ones in %#llx: expected at %u, got %u", n,
                   (unsigned long long)c, find_range_naively(c, n), at);
    }
}

// ones returns n ones from bit i on.
static uint64_t ones(unsigned i, unsigned n)
{
    return n == 0 ? 0 : shr64(UINT64_MAX, 64 - n) << i;
}

TEST(a_range_of_ones_in_a_word,
     "find_bit_range64 finds the lowest n ones in a row, for all n: among two"
     " runs at all places, and all runs but one bit")
{
    check_word(0);
    for (unsigned i = 0; i < 64; i++) {
        for (unsigned n = 1; i + n <= 64; n++) {
            check_word(ones(i, n));
            check_word(~ones(i, n));
            // Another run above, as long as this one, or one shorter or longer.
            for (unsigned m = n - 1; m <= n + 1; m++)
                for (unsigned gap = 1; i + n + gap + m <= 64;
                     gap += SLOW ? 7 : 3)
                    check_word(ones(i, n) | ones(i + n + gap, m));
        }
    }
}

TEST(all_ranges_in_16_bits,
     "find_bit_range64 is right for every pattern of 16 bits, at the bottom, in"
     " the middle and at the top of a word")
{
    for (uint64_t x = 0; x < 1 << 16; x += SLOW ? 11 : 1) {
        for (unsigned at = 0; at <= 48; at += 24)
            for (unsigned n = 1; n <= 17; n++)
                CHECK_EQ(find_bit_range64(x << at, n),
                         find_range_naively(x << at, n));
    }
}

TEST(a_range_in_random_words, "the same for random words, of many densities")
{
    uint64_t seed = random_start();
    for (size_t i = 0; i < (SLOW ? 2000 : 20000); i++) {
        uint64_t x = random_next(&seed) << 16 ^ random_next(&seed);
        uint64_t y = random_next(&seed) << 16 ^ random_next(&seed);
        uint64_t z = random_next(&seed) << 16 ^ random_next(&seed);
        check_word(x);
        check_word(x | y);
        check_word(x & y);
        check_word(x | y | z);
        check_word(~(x & y & z & x >> 1));
    }
}

// ---------------------------------------------------------------------------
// Ranges of pages.

// change_range does to used what page_bits_... does to bits.
static void change_range(size_t i, size_t n, bool value)
{
    memset(used + i, value, n);
    if (value)
        page_bits_set_range(&bits, i, n);
    else
        page_bits_clear_range(&bits, i, n);
}

static void check_ranges(uint64_t even_words, uint64_t odd_words)
{
    struct page_bits before;
    bool used_before[PAGES];
    size_t sums[PAGES + 1] = {0}; // used pages below page i
    for (size_t i = 0; i < PAGES; i++) {
        used[i] = (i / 64 % 2 == 0 ? even_words : odd_words) >> i % 64 & 1;
        sums[i + 1] = sums[i] + used[i];
    }
    show();
    before = bits;
    memcpy(used_before, used, sizeof used);
    for (size_t i = 0; i < PAGES; i++) {
        for (size_t n = 1; i + n <= PAGES; n += SLOW ? 5 : 1) {
            CHECK_THAT(
                page_bits_popcnt_range(&bits, i, n) == sums[i + n] - sums[i],
                "%zu pages from %zu on: %zu are used, got %zu", n, i,
                sums[i + n] - sums[i], page_bits_popcnt_range(&bits, i, n));
            change_range(i, n, true);
            CHECK_THAT(shows(), "set %zu pages from %zu on", n, i);
            bits = before;
            memcpy(used, used_before, sizeof used);
            change_range(i, n, false);
            CHECK_THAT(shows(), "clear %zu pages from %zu on", n, i);
            bits = before;
            memcpy(used, used_before, sizeof used);
        }
    }
}

TEST(
    all_ranges_of_free_pages,
    "all ranges of a chunk can be set, cleared and counted: 131,328 of them, in"
    " a chunk whose pages are all free, or all in use")
{
    check_ranges(0, 0);
    check_ranges(UINT64_MAX, UINT64_MAX);
}

TEST(all_ranges_of_mixed_pages,
     "the same where some pages are in use, and no two neighbouring words are"
     " alike")
{
    check_ranges(UINT64_C(0x8000000000000001), UINT64_C(0xAAAA5555FFFF0000));
}

// ---------------------------------------------------------------------------
// Searches in a chunk.

TEST(a_chunk_of_one_kind,
     "in a chunk that is free, all runs begin at page 0; in a full one, there"
     " are none")
{
    memset(used, false, sizeof used);
    show();
    check_searches(1);
    CHECK_EQ(palloc_bits_find(&bits, PAGES, 0).page, 0);
    memset(used, true, sizeof used);
    show();
    check_searches(1);
    CHECK_EQ(palloc_bits_find(&bits, 1, 0).page, SIZE_MAX);
    CHECK_EQ(palloc_bits_find(&bits, 1, 0).search_idx, SIZE_MAX);
}

TEST(one_run_anywhere,
     "a run of free pages is found wherever it begins, however long it is, and"
     " all of it: all 131,328 runs")
{
    for (size_t i = 0; i < PAGES; i++) {
        for (size_t n = 1; i + n <= PAGES; n += SLOW ? 7 : 1) {
            memset(&bits, 0xFF, sizeof bits);
            page_bits_clear_range(&bits, i, n);
            struct palloc_runs runs = palloc_bits_summarize(&bits);
            CHECK_EQ(runs.max, n);
            CHECK_EQ(runs.start, i == 0 ? n : 0);
            CHECK_EQ(runs.end, i + n == PAGES ? n : 0);
            struct palloc_found found = palloc_bits_find(&bits, n, i);
            CHECK_EQ(found.page, i);
            CHECK_EQ(found.search_idx, i);
            CHECK_EQ(palloc_bits_find(&bits, 1, 0).page, i);
            CHECK_EQ(palloc_bits_find(&bits, (n + 1) / 2, 0).page, i);
            found = palloc_bits_find(&bits, n + 1, 0);
            CHECK_EQ(found.page, SIZE_MAX);
            CHECK_EQ(found.search_idx, i);
        }
    }
}

TEST(one_run_in_use_anywhere,
     "the same for a run of pages in use: what lies below it, and above, is"
     " found, the lower first")
{
    for (size_t i = 0; i < PAGES; i++) {
        for (size_t n = 1; i + n <= PAGES; n += SLOW ? 7 : 1) {
            size_t above = PAGES - i - n, most = above > i ? above : i;
            memset(&bits, 0, sizeof bits);
            page_bits_set_range(&bits, i, n);
            struct palloc_runs runs = palloc_bits_summarize(&bits);
            CHECK_EQ(runs.start, i);
            CHECK_EQ(runs.end, above);
            CHECK_EQ(runs.max, most);
            if (i > 0)
                CHECK_EQ(palloc_bits_find(&bits, i, 0).page, 0);
            if (above > i)
                CHECK_EQ(palloc_bits_find(&bits, above, 0).page, i + n);
            CHECK_EQ(palloc_bits_find(&bits, most + 1, 0).page, SIZE_MAX);
        }
    }
}

// In these a chunk is 16 pieces of 32 pages, each in use or free, all moved up
// by some pages; what comes in below is like the lowest piece.
static void use_pieces(unsigned pattern, size_t shift)
{
    for (size_t i = 0; i < PAGES; i++) {
        size_t piece = i < shift ? 0 : (i - shift) / 32;
        used[i] = pattern >> piece & 1;
    }
    show();
}

// The number of pages asked for differs from pattern to pattern: together, they
// are all.
static void check_pieces(size_t shift)
{
    for (unsigned pattern = 0; pattern < 1 << 16; pattern += SLOW ? 13 : 1) {
        use_pieces(pattern, shift);
        check_searches(97 + pattern % 64);
        check_found(1 + pattern % PAGES, 0);
    }
}

TEST(all_patterns_of_16_pieces,
     "summary and search are right for all 65,536 patterns of a chunk in 16"
     " pieces, half a word each")
{
    check_pieces(0);
}

TEST(all_patterns_moved_by_a_page, "the same, moved up by a page")
{
    check_pieces(1);
}

TEST(all_patterns_moved_by_31_pages, "the same, moved up by 31 pages")
{
    check_pieces(31);
}

TEST(all_patterns_moved_by_13_pages, "the same, moved up by 13 pages")
{
    check_pieces(13);
}

TEST(
    runs_at_the_borders_of_words,
    "runs that end, or begin, at the border of a word, or a page beside it, are"
    " told apart; no run is longer than its pages")
{
    // Each end of both runs is near a border: -1, 0 or 1 page from it.
    for (unsigned ends = 0; ends < 81; ends++) {
        for (size_t first = 1; first < WORDS - 2; first++) {
            for (size_t second = first; second < WORDS; second++) {
                size_t from = 64 * first - 1 + ends % 3;
                size_t to = 64 * second - 1 + ends / 3 % 3;
                size_t next = 64 * second + 10 + ends / 9 % 3;
                size_t end = PAGES - 2 + ends / 27 % 3;
                memset(used, true, sizeof used);
                if (to > from)
                    memset(used + from, false, to - from);
                if (end > next)
                    memset(used + next, false, end - next);
                show();
                check_searches(SLOW ? 13 : 1);
            }
        }
    }
}

TEST(the_longest_run_lies_inside_a_word,
     "a run that touches no end of a word is found, and of two as long the"
     " lower")
{
    for (size_t i = 0; i < 64; i++) {
        for (size_t n = 1; i + n <= 64; n++) {
            for (size_t w = 0; w < WORDS; w += 3) {
                // All words end with shorter runs, where these can be shorter.
                memset(used, true, sizeof used);
                for (size_t v = 0; v < WORDS; v++) {
                    used[v * 64] = used[v * 64 + 63] = n < 3;
                    used[v * 64 + 32] = false;
                }
                memset(used + w * 64, true, 64);
                memset(used + w * 64 + i, false, n);
                memset(used + (w + 1) % WORDS * 64, true, 64);
                memset(used + (w + 1) % WORDS * 64 + (64 - n) / 2, false, n);
                show();
                check_searches(SLOW ? 29 : 7);
                check_found(n, 0);
            }
        }
    }
}

TEST(a_run_inside_is_longer_than_others,
     "a run inside a word is the longest, if others, at the start, at the end,"
     " or over a border, are shorter, by one page, too")
{
    for (size_t n = 1; n <= 62; n++) {
        for (size_t shorter = 0; shorter <= 2 && shorter <= n; shorter++) {
            size_t m = n - shorter;
            size_t others[] = {0, 384 - m / 2, PAGES - m};
            for (size_t k = 0; k < 3; k++) {
                memset(used, true, sizeof used);
                memset(used + 3 * 64 + (64 - n) / 2, false, n);
                memset(used + others[k], false, m);
                show();
                check_searches(SLOW ? 13 : 1);
                check_found(n, 0);
            }
        }
    }
}

TEST(
    random_bitmaps,
    "summary and search are right, for all numbers of pages, in random bitmaps:"
    " of single pages, of short runs, and of long ones")
{
    uint64_t seed = random_start();
    for (size_t round = 0; round < (SLOW ? 100 : 3000); round++) {
        // Runs are of up to so many pages; those in use are shorter, or longer.
        size_t most = (size_t)1 << random_below(&seed, 10);
        size_t most_used = (size_t)1 << random_below(&seed, 8);
        size_t i = 0;
        bool is_used = random_below(&seed, 2) == 0;
        while (i < PAGES) {
            size_t n = 1 + random_below(&seed, is_used ? most_used : most);
            for (; n > 0 && i < PAGES; n--)
                used[i++] = is_used;
            is_used = !is_used;
        }
        show();
        check_searches(1);
        // What is below search_idx is skipped only if that is allowed.
        if (first_free < PAGES)
            for (size_t idx = 0; idx <= first_free; idx++)
                check_found(1 + random_below(&seed, PAGES), idx);
    }
}

// ---------------------------------------------------------------------------
// As it is used: pages are taken where the search says, and given back.

TEST(pages_come_and_go,
     "100,000 times, pages are taken or given back: the search finds what the"
     " array says, and the bits stay the same as that")
{
    enum { RUNS = 40, TIMES = SLOW ? 10000 : 100000 };
    struct {
        size_t page, n;
    } runs[RUNS] = {0};
    uint64_t seed = random_start();
    memset(used, false, sizeof used);
    show();
    for (size_t time = 0; time < TIMES; time++) {
        size_t r = random_below(&seed, RUNS);
        if (runs[r].n > 0) {
            CHECK_EQ(page_bits_popcnt_range(&bits, runs[r].page, runs[r].n),
                     runs[r].n);
            change_range(runs[r].page, runs[r].n, false);
            runs[r].n = 0;
        } else {
            size_t n = 1 + random_below(&seed, time % 3 == 0 ? 100 : 20);
            find_naively();
            check_found(n, first_free < PAGES ? first_free : 0);
            if (naive_fits[n] < PAGES) {
                runs[r].page = naive_fits[n];
                runs[r].n = n;
                change_range(naive_fits[n], n, true);
            }
        }
        CHECK_TRUE(shows());
    }
}
