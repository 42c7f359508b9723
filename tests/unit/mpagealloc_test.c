// stages: 10-
//
// mpagealloc.c: pages over several chunks, and over none. A page allocator of
// the test's own has chunks all over the address space, and a model that is
// plainly right: an array of bools for the pages of each part of it.

#include "heap.h"

#include <errno.h>
#include <string.h>

#include "os_memory.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

#include "page_alloc.h"

enum { PAGES = PALLOC_CHUNK_PAGES };
enum { TABLE = 1 << CHUNK_TABLE_BITS, CHUNKS = 1 << 26 };
_Static_assert((UINT64_C(1) << 48) / PALLOC_CHUNK_BYTES == CHUNKS,
               "so many chunks have an address");

static uintptr_t address(chunk_idx ci, size_t page)
{
    return chunk_base(ci) + page * PAGE_SIZE;
}

// grow_full makes n chunks from ci on pages in use.
static void grow_full(chunk_idx ci, size_t n)
{
    CHECK_TRUE(grow_pages(ci, n));
    take_range(chunk_base(ci), n * PAGES);
}

// ---------------------------------------------------------------------------
// Single questions.

TEST(nothing_is_found_in_nothing,
     "a page allocator without chunks has no page, and no chunk")
{
    start_pages();
    CHECK_EQ(find_pages(1), 0);
    CHECK_EQ(take_pages(1), 0);
    CHECK_EQ(chunk_from(0), 0);
    CHECK_NULL(chunk_at(0));
    CHECK_NULL(chunk_at(CHUNKS - 1));
    CHECK_EQ(count_pages(chunk_base(5), 700), 700);
}

TEST(a_run_may_lie_in_two_chunks,
     "pages at the end of a chunk and those at the start of the next are one"
     " run, whatever the number of both")
{
    static const size_t numbers[] = {1, 2, 63, 64, 65, 255, 448, 511, 512};
    enum { N = sizeof numbers / sizeof *numbers };
    // The second time, there is a border of tables between the two.
    for (chunk_idx ci = TABLE / 2; ci < TABLE; ci += TABLE / 2 - 1) {
        start_pages();
        grow_full(ci, 2);
        for (size_t i = 0; i < N; i++) {
            for (size_t j = 0; j < N; j++) {
                size_t below = numbers[i], above = numbers[j];
                uintptr_t base = address(ci, PAGES - below);
                give_pages(base, below);
                give_pages(chunk_base(ci + 1), above);
                CHECK_EQ(find_pages(below + above), base);
                CHECK_EQ(find_pages(below + 1), base);
                CHECK_EQ(find_pages(below + above + 1), 0);
                CHECK_EQ(count_pages(chunk_base(ci), 2 * (size_t)PAGES),
                         2 * (size_t)PAGES - below - above);
                CHECK_TRUE(pages_are_sound());
                CHECK_EQ(take_pages(below + above), base);
                CHECK_EQ(find_pages(1), 0);
                CHECK_EQ(count_pages(base, below + above), below + above);
            }
        }
        memset(&pages, 0, sizeof pages);
    }
}

TEST(a_run_may_take_in_whole_chunks,
     "a run goes on over chunks that are free, and ends where a page is in use")
{
    enum { FIRST = 3 * TABLE - 2, N = 5 };
    for (size_t below = 0; below < PAGES; below += 73) {
        for (size_t above = 0; above < PAGES; above += 129) {
            start_pages();
            grow_full(FIRST, N);
            size_t middle = (size_t)(N - 2) * PAGES;
            uintptr_t base = address(FIRST, PAGES - below);
            give_pages(base, below + middle + above);
            CHECK_EQ(find_pages(below + middle + above + 1), 0);
            CHECK_EQ(find_pages(below + middle + above), base);
            CHECK_TRUE(pages_are_sound());
            // A page in use divides it; which part is first, which is longer?
            uintptr_t wall = address(FIRST + 2, 100);
            take_range(wall, 1);
            size_t lower = below + PAGES + 100, upper = middle - PAGES - 101;
            CHECK_EQ(find_pages(lower), base);
            CHECK_EQ(find_pages(upper + above),
                     upper + above <= lower ? base : wall + PAGE_SIZE);
            CHECK_EQ(
                find_pages((lower > upper + above ? lower : upper + above) + 1),
                0);
            memset(&pages, 0, sizeof pages);
        }
    }
}

TEST(the_lowest_run_wins,
     "of runs that are long enough, the one with the lowest address is taken,"
     " in a chunk or over a border, even if another fits better")
{
    start_pages();
    grow_full(100, 4);
    give_pages(address(100, 500), 22); // over the border
    give_pages(address(101, 200), 20);
    give_pages(address(102, 0), 512);
    give_pages(address(103, 7), 1);
    CHECK_EQ(find_pages(1), address(100, 500));
    CHECK_EQ(find_pages(20), address(100, 500));
    CHECK_EQ(find_pages(22), address(100, 500));
    CHECK_EQ(find_pages(23), address(102, 0));
    CHECK_EQ(take_pages(3), address(100, 500));
    CHECK_EQ(take_pages(20), address(101, 200));
    CHECK_EQ(take_pages(20), address(102, 0));
    CHECK_EQ(take_pages(19), address(100, 503));
    CHECK_EQ(take_pages(1), address(102, 20));
    give_pages(address(100, 300), 1);
    CHECK_EQ(take_pages(1), address(100, 300));
    CHECK_TRUE(pages_are_sound());
}

TEST(no_run_goes_over_a_gap,
     "chunks with a gap between them are not neighbours, not even when one is"
     " the last of a table, or both have the same place in theirs")
{
    static const struct {
        const char *name;
        chunk_idx low, high;
    } cases[] = {
        {"a chunk is missing", 10, 12},
        {"around a border of words", 63, 65},
        {"64 chunks are missing", 100, 165},
        {"around a border of tables", TABLE - 1, TABLE + 1},
        {"the same place in two tables", 7, 7 + TABLE},
        {"a table is missing", TABLE - 1, 2 * TABLE},
        {"the lowest and the highest", 1, CHUNKS - 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        chunk_idx low = cases[i].low, high = cases[i].high;
        for (unsigned downwards = 0; downwards < 2; downwards++) {
            start_pages();
            CHECK_TRUE(grow_pages(downwards ? high : low, 1));
            CHECK_TRUE(grow_pages(downwards ? low : high, 1));
            CHECK_THAT(find_pages(PAGES + 1) == 0, "%s: a run over the gap",
                       cases[i].name);
            CHECK_EQ(find_pages(PAGES), chunk_base(low));
            CHECK_EQ(take_pages(1), chunk_base(low));
            CHECK_EQ(find_pages(PAGES), chunk_base(high));
            CHECK_EQ(take_pages(PAGES - 1), address(low, 1));
            CHECK_EQ(take_pages(PAGES - 1), chunk_base(high));
            CHECK_EQ(take_pages(1), address(high, PAGES - 1));
            CHECK_EQ(take_pages(1), 0);
            give_pages(address(low, PAGES - 1), 1);
            give_pages(address(high, 0), 1);
            CHECK_EQ(find_pages(2), 0);
            CHECK_TRUE(pages_are_sound());

            CHECK_EQ(pages.start, low);
            CHECK_EQ(pages.end, high + 1);
            CHECK_EQ(chunk_from(0), low);
            CHECK_EQ(chunk_from(low), low);
            CHECK_EQ(chunk_from(low + 1), high);
            CHECK_EQ(chunk_from(high), high);
            CHECK_EQ(chunk_from(high + 1), pages.end);
            CHECK_NOT_NULL(chunk_at(low));
            CHECK_NOT_NULL(chunk_at(high));
            CHECK_NULL(chunk_at(low - 1));
            CHECK_NULL(chunk_at(low + 1));
            CHECK_NULL(chunk_at(high - 1));
            if (high + 1 < CHUNKS)
                CHECK_NULL(chunk_at(high + 1));
            // What is in no chunk counts as in use.
            CHECK_EQ(count_pages(chunk_base(low), 2 * (size_t)PAGES),
                     2 * (size_t)PAGES - 1);
            CHECK_EQ(count_pages(address(high - 1, 500), 13), 12);
            memset(&pages, 0, sizeof pages);
        }
    }
}

TEST(a_gap_can_be_filled,
     "when the chunks between two others become part of the heap, all are one"
     " run, upwards and downwards")
{
    enum { FIRST = TABLE - 2 };
    static const chunk_idx orders[][4] = {
        {0, 1, 2, 3}, {3, 2, 1, 0}, {0, 3, 1, 2}, {2, 0, 3, 1}};
    for (size_t i = 0; i < 4; i++) {
        start_pages();
        for (size_t k = 0; k < 4; k++) {
            CHECK_EQ(find_pages(4 * (size_t)PAGES), 0);
            CHECK_TRUE(grow_pages(FIRST + orders[i][k], 1));
            CHECK_TRUE(pages_are_sound());
        }
        CHECK_EQ(find_pages(4 * (size_t)PAGES), chunk_base(FIRST));
        CHECK_EQ(find_pages(4 * (size_t)PAGES + 1), 0);
        CHECK_EQ(pages.start, FIRST);
        CHECK_EQ(pages.end, FIRST + 4);
        memset(&pages, 0, sizeof pages);
    }
}

TEST(growing_changes_no_other_page,
     "new chunks are free, whatever neighbours they have, and pages in use stay"
     " so")
{
    start_pages();
    grow_full(TABLE - 1, 1);
    CHECK_TRUE(grow_pages(TABLE, 3)); // all at once, over a border of tables
    CHECK_TRUE(grow_pages(TABLE - 4, 3));
    CHECK_EQ(count_pages(chunk_base(TABLE - 1), PAGES), PAGES);
    CHECK_EQ(count_pages(chunk_base(TABLE - 4), 3 * (size_t)PAGES), 0);
    CHECK_EQ(count_pages(chunk_base(TABLE), 3 * (size_t)PAGES), 0);
    CHECK_EQ(chunk_from(0), TABLE - 4);
    CHECK_EQ(pages.end, TABLE + 3);
    CHECK_EQ(take_pages(3 * (size_t)PAGES), chunk_base(TABLE - 4));
    CHECK_EQ(take_pages(3 * (size_t)PAGES), chunk_base(TABLE));
    CHECK_EQ(take_pages(1), 0);
    CHECK_TRUE(pages_are_sound());
}

TEST(parts_and_neighbours_are_freed,
     "a part of what was taken can be freed, and several neighbours in one go")
{
    start_pages();
    CHECK_TRUE(grow_pages(40, 3));
    uintptr_t p = take_pages(600);
    uintptr_t q = take_pages(600);
    uintptr_t r = take_pages(200);
    CHECK_EQ(p, chunk_base(40));
    CHECK_EQ(q, p + 600 * PAGE_SIZE);
    CHECK_EQ(r, q + 600 * PAGE_SIZE);
    // The end of p; the start of q; the middle of r.
    give_pages(p + 590 * PAGE_SIZE, 10);
    CHECK_EQ(find_pages(10), p + 590 * PAGE_SIZE);
    CHECK_EQ(find_pages(11), r + 200 * PAGE_SIZE);
    give_pages(q, 5);
    CHECK_EQ(find_pages(15), p + 590 * PAGE_SIZE);
    give_pages(r + 100 * PAGE_SIZE, 1);
    CHECK_EQ(count_pages(p, 1400), 1400 - 16);
    CHECK_EQ(take_pages(15), p + 590 * PAGE_SIZE);
    CHECK_EQ(take_pages(1), r + 100 * PAGE_SIZE);
    // All three at once, but for a page at each end.
    give_pages(p + PAGE_SIZE, 1398);
    CHECK_EQ(find_pages(1398), p + PAGE_SIZE);
    CHECK_EQ(find_pages(1399), 0);
    give_pages(p, 1);
    give_pages(r + 199 * PAGE_SIZE, 1);
    CHECK_EQ(find_pages(3 * (size_t)PAGES), p);
    CHECK_TRUE(pages_are_sound());
}

TEST(no_memory_for_a_table,
     "without memory for a table, growing fails with ENOMEM, no page appears,"
     " and all is as before; when there is memory, it works")
{
    struct page_alloc before;
    for (size_t had = 0; had < 2; had++) {
        start_pages();
        if (had != 0) {
            CHECK_TRUE(grow_pages(TABLE - 2, 1));
            take_range(chunk_base(TABLE - 2), 17);
        }
        // One table is missing, or a second one after that of TABLE - 1.
        for (size_t missing = 1; missing <= 2 - had; missing++) {
            before = pages;
            os.fail_from = os.calls + missing;
            errno = 0;
            CHECK_TRUE(!grow_pages(TABLE - 1, 2));
            CHECK_EQ(errno, ENOMEM);
            os.fail_from = SIZE_MAX;
            CHECK_EQ(pages.start, before.start);
            CHECK_EQ(pages.end, before.end);
            CHECK_EQ(find_pages(1),
                     had != 0 ? address(TABLE - 2, 17) : (uintptr_t)0);
            CHECK_EQ(find_pages(PAGES), 0);
            CHECK_NULL(chunk_at(TABLE - 1));
            CHECK_NULL(chunk_at(TABLE));
            CHECK_EQ(chunk_from(TABLE - 1), pages.end);
            CHECK_TRUE(pages_are_sound());
        }
        CHECK_TRUE(grow_pages(TABLE - 1, 2));
        CHECK_EQ(find_pages(2 * (size_t)PAGES),
                 had != 0 ? address(TABLE - 2, 17) : chunk_base(TABLE - 1));
        CHECK_EQ(pages.end, TABLE + 1);
        CHECK_TRUE(pages_are_sound());
        memset(&pages, 0, sizeof pages);
    }
}

// ---------------------------------------------------------------------------
// Against a model. It has parts of the address space, far from each other; in
// each, any chunks may be of the heap.

enum { CHUNKS_EACH = 8, PAGES_EACH = CHUNKS_EACH * PAGES };
static struct part {
    chunk_idx first;
    bool grown[CHUNKS_EACH];
    bool used[PAGES_EACH]; // or in a chunk that is not grown
} parts[] = {
    {.first = 1},
    {.first = TABLE - 3},
    {.first = 5 * TABLE - 60},
    {.first = CHUNKS / 2 - 4},
    {.first = CHUNKS - CHUNKS_EACH},
};
enum { PARTS = sizeof parts / sizeof *parts };

// model_find returns the lowest run of free pages; 0: there is none.
static uintptr_t model_find(size_t npages)
{
    for (size_t i = 0; i < PARTS; i++) {
        size_t run = 0;
        for (size_t page = 0; page < PAGES_EACH; page++) {
            run = parts[i].used[page] ? 0 : run + 1;
            if (run == npages)
                return address(parts[i].first, page + 1 - npages);
        }
    }
    return 0;
}

static struct part *part_of(uintptr_t p)
{
    for (size_t i = 0; i < PARTS; i++)
        if (chunk_index(p) - parts[i].first < CHUNKS_EACH)
            return &parts[i];
    return NULL;
}

static void model_set(uintptr_t base, size_t npages, bool value)
{
    struct part *part = part_of(base);
    CHECK_NOT_NULL(part);
    memset(part->used + (base - chunk_base(part->first)) / PAGE_SIZE, value,
           npages);
}

// check_all compares every page and every chunk.
static void check_all(void)
{
    chunk_idx expected = 0; // chunks in order
    for (size_t i = 0; i < PARTS; i++) {
        const struct part *part = &parts[i];
        for (size_t c = 0; c < CHUNKS_EACH; c++) {
            chunk_idx ci = part->first + c;
            const struct palloc_data *chunk = chunk_at(ci);
            CHECK_EQ(chunk != NULL, part->grown[c]);
            if (chunk == NULL)
                continue;
            CHECK_EQ(chunk_from(expected), ci);
            expected = ci + 1;
            bool same = true;
            for (size_t page = 0; page < PAGES; page++)
                same &= (chunk->alloc.words[page / 64] >> page % 64 & 1) ==
                        part->used[c * PAGES + page];
            CHECK_THAT(same, "the pages of chunk %zu differ", ci);
        }
        // Counts over borders and gaps.
        size_t n = 0;
        for (size_t page = 0; page < PAGES_EACH; page++)
            n += part->used[page];
        CHECK_EQ(count_pages(chunk_base(part->first), PAGES_EACH), n);
    }
    CHECK_EQ(chunk_from(expected), pages.end);
    CHECK_TRUE(pages_are_sound());
}

// Runs that were taken.
enum { RUNS = 400 };
static struct {
    uintptr_t base;
    size_t n;
} runs[RUNS];

static uint64_t seed;

static size_t random_length(size_t most)
{
    switch (random_below(&seed, 8)) {
    case 0:
        return 1 + random_below(&seed, most);
    case 1:
        return 60 + random_below(&seed, 8);
    case 2:
        return PAGES - 3 + random_below(&seed, 6);
    default:
        return 1 + random_below(&seed, 30);
    }
}

// grow_somewhere adds a chunk, or several, if they are not there so far.
static void grow_somewhere(void)
{
    struct part *part = &parts[random_below(&seed, PARTS)];
    size_t first = random_below(&seed, CHUNKS_EACH);
    size_t n = 1 + random_below(&seed, CHUNKS_EACH - first) / 2;
    for (size_t c = first; c < first + n; c++)
        if (part->grown[c])
            return;
    CHECK_TRUE(grow_pages(part->first + first, n));
    memset(part->grown + first, true, n);
    memset(part->used + first * PAGES, false, n * PAGES);
}

// give_some frees a run: all of it, or a part; of what is left, the lower piece
// stays in use.
static void give_some(size_t r)
{
    size_t n = runs[r].n, from = 0;
    if (random_below(&seed, 3) == 0) {
        from = random_below(&seed, n);
        n = 1 + random_below(&seed, n - from);
    }
    uintptr_t base = runs[r].base + from * PAGE_SIZE;
    give_pages(base, n);
    model_set(base, n, false);
    size_t left = runs[r].n - from - n; // above what was freed
    if (from > 0) {
        runs[r].n = from;
        if (left > 0) {
            give_pages(base + n * PAGE_SIZE, left);
            model_set(base + n * PAGE_SIZE, left, false);
        }
    } else {
        runs[r].base += n * PAGE_SIZE;
        runs[r].n = left;
    }
}

// take_exactly takes free pages that the search would not choose.
static void take_exactly(size_t r)
{
    struct part *part = &parts[random_below(&seed, PARTS)];
    size_t from = random_below(&seed, PAGES_EACH);
    size_t most = random_length(700), n = 0;
    while (n < most && from + n < PAGES_EACH && !part->used[from + n])
        n++;
    if (n == 0)
        return;
    runs[r].base = address(part->first, from);
    runs[r].n = n;
    take_range(runs[r].base, n);
    model_set(runs[r].base, n, true);
}

TEST(pages_agree_with_a_model,
     "after every one of many operations, on chunks all over the address space,"
     " the lowest run is found, and every page is what the model says")
{
    enum { OPERATIONS = UNDER_TSAN || UNDER_ASAN ? 3000 : 30000 };
    seed = random_start();
    start_pages();
    for (size_t i = 0; i < PARTS; i++)
        memset(parts[i].used, true, sizeof parts[i].used);

    for (size_t i = 0; i < OPERATIONS; i++) {
        if (random_below(&seed, OPERATIONS / 60) == 0 || i == 0)
            grow_somewhere();
        size_t r = random_below(&seed, i < OPERATIONS / 2 ? RUNS / 4 : RUNS);
        if (runs[r].n > 0) {
            give_some(r);
        } else if (random_below(&seed, 8) == 0) {
            take_exactly(r);
        } else {
            size_t n = random_length(i % 2 == 0 ? 300 : 3000);
            uintptr_t expected = model_find(n);
            CHECK_EQ(find_pages(n), expected);
            CHECK_EQ(take_pages(n), expected);
            runs[r].base = expected;
            runs[r].n = expected == 0 ? 0 : n;
            if (expected != 0)
                model_set(expected, n, true);
        }
        if (i % 50 == 0)
            check_all();
    }
    for (size_t r = 0; r < RUNS; r++)
        if (runs[r].n > 0) {
            give_pages(runs[r].base, runs[r].n);
            model_set(runs[r].base, runs[r].n, false);
        }
    check_all();
    for (size_t n = 1; n <= PAGES_EACH; n += 97)
        CHECK_EQ(find_pages(n), model_find(n));
}
