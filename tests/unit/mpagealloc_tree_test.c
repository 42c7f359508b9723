// stages: 13-
//
// mpagealloc.c, with the tree of summaries: runs of pages that cross the
// borders of its entries, search_addr, gaps, what page_alloc_check sees.

#include "heap.h"

#include <errno.h>
#include <string.h>

#include "child.h"
#include "os_memory.h"
#include "palloc_model.h"
#include "test.h"

static const uintptr_t GIB = UINT64_C(1) << 30;

// Every border of 64 GiB is one of all levels.
static const uintptr_t base = UINT64_C(0x30) << 32;

// entry_bytes returns how much memory an entry of a level stands for.
static uintptr_t entry_bytes(unsigned level)
{
    return (uintptr_t)1 << level_shift(level);
}

// ---------------------------------------------------------------------------
// A model of some chunks. It looks at page_alloc_check after each operation.

// check_search_addr checks that search_addr is a place in the heap.
static void check_search_addr(void)
{
    CHECK_TRUE(pages.search_addr == MAX_SEARCH_ADDR ||
               (addr_ranges_contains(&pages.in_use, pages.search_addr) &&
                pages.search_addr % PAGE_SIZE == 0));
}

// run_model does random operations on chunks with gaps between them.
static void run_model(uintptr_t from, size_t steps)
{
    uint64_t state = random_start();
    model_begin(from);
    model_grow(2, 2);
    for (size_t i = 0; i < steps; i++) {
        if (i == steps / 5)
            model_grow(8, 4);
        if (i == steps / 5 * 2)
            model_grow(6, 1);
        if (i == steps / 5 * 3)
            model_grow(7, 1);
        if (i == steps / 5 * 4)
            model_grow(0, 1);
        model_step(&state);
        check_search_addr();
    }
    model_end();
    // All is free: the summaries of all levels say so.
    CHECK_EQ(model_take(6 * PALLOC_CHUNK_PAGES), 6 * PALLOC_CHUNK_PAGES);
}

TEST(pages_equal_a_model_at_each_border,
     "any pages taken and freed are what a model says that keeps a note of each"
     " page, where entries of each level meet")
{
    // The border is below the chunk 8 of the model.
    const uintptr_t below = 8 * PALLOC_CHUNK_BYTES;
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++)
        run_model(base + entry_bytes(level) - below, 800);
    run_model((UINT64_C(1) << 35) - below, 800); // of a table of chunks
}

TEST(pages_equal_a_model_at_the_ends_of_memory,
     "the lowest chunks of the address space, but the first, and the highest"
     " ones are as good as others")
{
    run_model(PALLOC_CHUNK_BYTES, 800);
    run_model((UINT64_C(1) << HEAP_ADDR_BITS) -
                  MODEL_CHUNKS * (uintptr_t)PALLOC_CHUNK_BYTES,
              800);
}

TEST(the_last_page_of_memory,
     "the last chunk of the address space can be full, and free again")
{
    model_begin((UINT64_C(1) << HEAP_ADDR_BITS) -
                MODEL_CHUNKS * (uintptr_t)PALLOC_CHUNK_BYTES);
    model_grow(MODEL_CHUNKS - 1, 1);
    CHECK_EQ(model_take(PALLOC_CHUNK_PAGES), MODEL_PAGES - PALLOC_CHUNK_PAGES);
    CHECK_EQ(model_take(1), SIZE_MAX);
    CHECK_EQ(model_take(1), SIZE_MAX);
    model_fill(model.caches);
    model_give(MODEL_PAGES - 1, 1);
    CHECK_EQ(model_take(1), MODEL_PAGES - 1);
    model_end();
}

// ---------------------------------------------------------------------------
// Much memory: only what is asked is looked at.

static void grow(uintptr_t at, size_t nbytes)
{
    lock_acquire(&mheap.lock);
    CHECK_TRUE(page_alloc_grow(&pages, at, nbytes));
    lock_release(&mheap.lock);
}

// take returns the address of npages pages that are free no more; 0: there are
// none. give makes them free.
static uintptr_t take(size_t npages)
{
    lock_acquire(&mheap.lock);
    uintptr_t found = page_alloc_find(&pages, npages).base;
    uintptr_t taken = page_alloc_alloc(&pages, npages).base;
    lock_release(&mheap.lock);
    CHECK_EQ(found, taken);
    return taken;
}

static void give(uintptr_t at, size_t npages)
{
    lock_acquire(&mheap.lock);
    page_alloc_free(&pages, at, npages, false);
    lock_release(&mheap.lock);
}

static bool is_sound(void)
{
    lock_acquire(&mheap.lock);
    bool ok = page_alloc_check(&pages);
    lock_release(&mheap.lock);
    return ok;
}

// full_around makes a heap of nbytes on both sides of a border, all in use.
static void full_around(uintptr_t border, size_t nbytes)
{
    model_begin(0);
    grow(border - nbytes, 2 * nbytes);
    CHECK_EQ(take(2 * nbytes / PAGE_SIZE), border - nbytes);
    CHECK_EQ(take(1), 0);
}

// check_run makes the pages from below the border to above it free: they are
// found, and no more than that.
static void check_run(uintptr_t border, size_t below, size_t above)
{
    size_t n = below + above;
    uintptr_t start = border - below * PAGE_SIZE;
    give(start, n);
    CHECK_EQ(take(n + 1), 0);
    CHECK_EQ(take(n), start);
    // In pieces, the lowest first.
    give(start, n);
    CHECK_EQ(take(1), start);
    CHECK_EQ(take(n), 0);
    CHECK_EQ(take(n - 1), start + PAGE_SIZE);
    CHECK_TRUE(is_sound());
}

TEST(runs_cross_the_borders_of_each_level,
     "free pages in a row are found that lie on both sides of a border between"
     " entries of each level, however many they are")
{
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
        // For level 0, the border is one of level 0 only.
        uintptr_t border = base + entry_bytes(level);
        size_t whole = entry_bytes(level) / PAGE_SIZE;
        full_around(border, 2 * entry_bytes(level));
        const size_t lengths[] = {1,         2,     63,        64,
                                  65,        511,   512,       513,
                                  whole - 1, whole, whole + 1, 2 * whole};
        enum { N = sizeof lengths / sizeof *lengths };
        size_t step = level == 0 ? 3 : 1; // there are many pages
        for (size_t i = 0; i < N; i += step)
            for (size_t k = 0; k < N; k += step)
                if (lengths[i] <= 2 * whole && lengths[k] <= 2 * whole)
                    check_run(border, lengths[i], lengths[k]);
    }
}

TEST(
    shorter_runs_do_not_distract,
    "runs that are one page too short, in each entry of a level on the way, are"
    " passed by, and left as they are")
{
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
        uintptr_t bytes = entry_bytes(level);
        model_begin(0);
        grow(base, 8 * bytes);
        CHECK_EQ(take(8 * bytes / PAGE_SIZE), base);
        // 9 pages at the end of one entry, and the start of the next one, too
        // few for 10; and then 10, in the same way.
        uintptr_t at = 0;
        for (size_t i = 1; i < 8; i++) {
            at = base + i * bytes - i * PAGE_SIZE;
            give(at, i < 7 ? 9 : 10);
        }
        CHECK_EQ(take(10), at);
        CHECK_EQ(take(10), 0);
        for (size_t i = 1; i < 7; i++)
            CHECK_EQ(take(9), base + i * bytes - i * PAGE_SIZE);
        CHECK_EQ(take(1), 0);
        CHECK_TRUE(is_sound());
    }
}

TEST(
    more_than_a_root_entry,
    "more than 16 GiB are found in one piece, over several entries of the root,"
    " that are all free or begin or end so")
{
    model_begin(0);
    grow(base, 80 * GIB);
    CHECK_EQ(take(80 * GIB / PAGE_SIZE), base);
    give(base + 7 * GIB, 50 * GIB / PAGE_SIZE);
    CHECK_EQ(take(50 * GIB / PAGE_SIZE + 1), 0);
    CHECK_EQ(take(50 * GIB / PAGE_SIZE), base + 7 * GIB);
    give(base + 16 * GIB, 16 * GIB / PAGE_SIZE); // an entry
    CHECK_EQ(pages.root[(base >> level_shift(0)) + 1], UINT64_C(1) << 63);
    CHECK_EQ(take(MAX_PACKED + 1), 0);
    CHECK_EQ(take(MAX_PACKED), base + 16 * GIB);
    give(base + 15 * GIB, 34 * GIB / PAGE_SIZE);
    CHECK_EQ(take(2), base + 15 * GIB);
    CHECK_EQ(take(34 * GIB / PAGE_SIZE - 2), base + 15 * GIB + 2 * PAGE_SIZE);
    CHECK_TRUE(is_sound());
}

TEST(gaps_are_not_free,
     "free pages on both sides of a gap are not one run, whatever lies in the"
     " gap: a chunk, or entries of any level")
{
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
        uintptr_t gap = entry_bytes(level);
        model_begin(0);
        grow(base, PALLOC_CHUNK_BYTES);
        grow(base + PALLOC_CHUNK_BYTES + gap, PALLOC_CHUNK_BYTES);
        CHECK_EQ(take(PALLOC_CHUNK_PAGES + 1), 0);
        CHECK_EQ(take(PALLOC_CHUNK_PAGES), base);
        CHECK_EQ(take(PALLOC_CHUNK_PAGES), base + PALLOC_CHUNK_BYTES + gap);
        CHECK_EQ(take(1), 0);
        give(base, PALLOC_CHUNK_PAGES);
        give(base + PALLOC_CHUNK_BYTES + gap, PALLOC_CHUNK_PAGES);
        grow(base + PALLOC_CHUNK_BYTES, gap);
        CHECK_EQ(take(gap / PAGE_SIZE + 2 * PALLOC_CHUNK_PAGES), base);
        CHECK_TRUE(is_sound());
    }
}

// ---------------------------------------------------------------------------
// search_addr.

TEST(search_addr_of_an_empty_heap,
     "search_addr lies above all pages when there are none, and at the lowest"
     " chunk when the heap grows")
{
    model_begin(base);
    CHECK_EQ(pages.search_addr, MAX_SEARCH_ADDR);
    CHECK_EQ(take(1), 0);
    CHECK_EQ(pages.search_addr, MAX_SEARCH_ADDR);
    model_grow(3, 2);
    CHECK_EQ(pages.search_addr, model_address(3 * PALLOC_CHUNK_PAGES));
    model_grow(1, 1);
    CHECK_EQ(pages.search_addr, model_address(PALLOC_CHUNK_PAGES));
    model_grow(8, 1); // above: no page below is free that was not
    CHECK_EQ(pages.search_addr, model_address(PALLOC_CHUNK_PAGES));
}

TEST(search_addr_may_be_in_use,
     "after pages are taken, search_addr is where the search saw the first free"
     " page, even if that was taken")
{
    model_begin(base);
    model_grow(0, 2);
    CHECK_EQ(model_take(10), 0);
    CHECK_EQ(pages.search_addr, model_address(0));
    CHECK_EQ(model_take(1), 10);
    CHECK_EQ(pages.search_addr, model_address(10));
    model_give(4, 1);
    CHECK_EQ(pages.search_addr, model_address(4));
    CHECK_EQ(model_take(2), 11); // page 4 is free, but too little
    CHECK_EQ(pages.search_addr, model_address(4));
    CHECK_EQ(model_take(1), 4);
    CHECK_EQ(pages.search_addr, model_address(4));
    CHECK_EQ(model_take(1), 13);
    CHECK_EQ(pages.search_addr, model_address(13));
}

TEST(search_addr_when_nothing_is_free,
     "search_addr lies above all pages when a search found none, but stays when"
     " it asked for more than one")
{
    model_begin(base);
    model_grow(0, 1);
    model_take_range(0, PALLOC_CHUNK_PAGES - 1);
    CHECK_EQ(pages.search_addr, model_address(0)); // nobody has searched
    CHECK_EQ(model_take(2), SIZE_MAX);
    CHECK_EQ(pages.search_addr, model_address(0));
    CHECK_EQ(model_take(1), PALLOC_CHUNK_PAGES - 1);
    CHECK_EQ(pages.search_addr, model_address(PALLOC_CHUNK_PAGES - 1));
    CHECK_EQ(model_take(1), SIZE_MAX);
    CHECK_EQ(pages.search_addr, MAX_SEARCH_ADDR);
    model_give(7, 1);
    CHECK_EQ(pages.search_addr, model_address(7));
    model_give(9, 1);
    CHECK_EQ(pages.search_addr, model_address(7));
}

TEST(search_addr_steps_over_gaps,
     "a search that saw nothing free but above a gap leads there, not into the"
     " gap")
{
    model_begin(base);
    model_grow(0, 1);
    model_grow(5, 1);
    CHECK_EQ(model_take(PALLOC_CHUNK_PAGES), 0);
    model_give(PALLOC_CHUNK_PAGES - 1, 1);
    CHECK_EQ(model_take(2), 5 * PALLOC_CHUNK_PAGES);
    // The summary of the first chunk says only that something there is free.
    CHECK_EQ(pages.search_addr, model_address(0));
    CHECK_EQ(model_take(1), PALLOC_CHUNK_PAGES - 1);
    CHECK_EQ(model_take(PALLOC_CHUNK_PAGES - 2), 5 * PALLOC_CHUNK_PAGES + 2);
    CHECK_EQ(pages.search_addr, model_address(5 * PALLOC_CHUNK_PAGES + 2));

    // Two entries of 32 MiB, with their first chunks missing.
    model_begin(base);
    model_grow(3, 1);
    model_grow(11, 1);
    CHECK_EQ(model_take(PALLOC_CHUNK_PAGES), 3 * PALLOC_CHUNK_PAGES);
    lock_acquire(&mheap.lock);
    struct page_found found = page_alloc_find(&pages, PALLOC_CHUNK_PAGES);
    CHECK_EQ(found.base, model_address(11 * PALLOC_CHUNK_PAGES));
    CHECK_EQ(found.search_addr, model_address(11 * PALLOC_CHUNK_PAGES));
    found = page_alloc_find(&pages, PALLOC_CHUNK_PAGES + 1);
    CHECK_EQ(found.base, 0);
    CHECK_EQ(found.search_addr, MAX_SEARCH_ADDR);
    lock_release(&mheap.lock);
}

TEST(a_cache_moves_search_addr,
     "after a cache is filled, search_addr is the last of its pages; after a"
     " flush, no page of the cache lies below it")
{
    model_begin(base);
    model_grow(0, 1);
    model_fill(model.caches);
    CHECK_EQ(pages.search_addr, model_address(63));
    model_fill(model.caches + 1);
    CHECK_EQ(pages.search_addr, model_address(127));
    model_flush(model.caches);
    CHECK_EQ(pages.search_addr, model_address(0));
    model_take_range(128, PALLOC_CHUNK_PAGES - 128);
    CHECK_EQ(model_take(64), 0);
    model_fill(model.caches);
    CHECK_EQ(model.caches[0].cache, 0);
    CHECK_EQ(pages.search_addr, MAX_SEARCH_ADDR);
}

// ---------------------------------------------------------------------------
// Memory for the tree.

TEST(growth_without_memory,
     "if there is no memory for a table, the root, or a block of summaries, the"
     " heap does not grow, and can grow when there is")
{
    size_t failures = 0;
    model_begin(base);
    os.fail_from = 0;
    lock_acquire(&mheap.lock);
    while (persistent_alloc(16) != NULL) // use up what is there
        continue;
    lock_release(&mheap.lock);
    // Each time, the OS gives one thing more.
    for (;; failures++) {
        os.fail_from = os.calls + (failures == 0 ? 1 : 2);
        errno = 0;
        lock_acquire(&mheap.lock);
        // Two entries of the root.
        bool grown =
            page_alloc_grow(&pages, base + 16 * GIB - PALLOC_CHUNK_BYTES,
                            2 * PALLOC_CHUNK_BYTES);
        lock_release(&mheap.lock);
        if (grown)
            break;
        CHECK_EQ(errno, ENOMEM);
        CHECK_EQ(pages.in_use.n, 0);
        CHECK_EQ(pages.end, 0);
        CHECK_EQ(pages.search_addr, MAX_SEARCH_ADDR);
        CHECK_TRUE(is_sound());
        CHECK_EQ(take(1), 0);
    }
    // A table of chunks, the root, two blocks, an array of ranges.
    CHECK_EQ(failures, 5);
    CHECK_EQ(take(2 * PALLOC_CHUNK_PAGES),
             base + 16 * GIB - PALLOC_CHUNK_BYTES);
    CHECK_TRUE(is_sound());
}

// ---------------------------------------------------------------------------
// What page_alloc_check says.

// What the child of a test damages.
static unsigned damaged_level;

static void check_damaged(void *damage)
{
    ((void (*)(void))damage)();
    lock_acquire(&mheap.lock);
    if (!page_alloc_check(&pages))
        _exit(1);
    lock_release(&mheap.lock);
}

static void nothing(void)
{
}

static void a_summary(void)
{
    *summary_at(&pages, damaged_level,
                model_address(0) >> level_shift(damaged_level)) ^= 1;
}

static void a_summary_in_a_gap(void)
{
    *summary_at(&pages, damaged_level,
                model_address(12 * PALLOC_CHUNK_PAGES) >>
                    level_shift(damaged_level)) = 1;
}

static void the_root_elsewhere(void)
{
    pages.root[0] = 1;
}

static void a_bit(void)
{
    lock_acquire(&mheap.lock);
    page_alloc_chunk(&pages, model_chunk(1))->alloc.words[7] ^= 1;
    lock_release(&mheap.lock);
}

static void search_addr(void)
{
    pages.search_addr += 21 * PAGE_SIZE;
}

static void search_addr_in_the_next_chunk(void)
{
    pages.search_addr = model_address(PALLOC_CHUNK_PAGES);
}

static void start(void)
{
    pages.start++;
}

static void ranges(void)
{
    pages.in_use.total_bytes++;
}

TEST(check_sees_damage,
     "page_alloc_check notices a wrong summary on each level, a wrong bit, a"
     " search_addr above a free page, and ranges and chunks that do not agree")
{
    static const char sums[] = "I3 summaries follow from the bits";
    model_begin(base);
    model_grow(0, 2);
    CHECK_EQ(model_take(20), 0);
    CHECK_EQ(model_take(1), 20);
    CHECK_RETURNS(check_damaged, nothing, "");
    for (damaged_level = 0; damaged_level < SUMMARY_LEVELS; damaged_level++)
        CHECK_COMPLAINS(check_damaged, a_summary, sums);
    // The entries of 4 and 32 MiB are those of nothing.
    for (damaged_level = 3; damaged_level < SUMMARY_LEVELS; damaged_level++)
        CHECK_COMPLAINS(check_damaged, a_summary_in_a_gap, sums);
    CHECK_COMPLAINS(check_damaged, the_root_elsewhere,
                    "I3 where nothing is in use, nothing is free");
    CHECK_COMPLAINS(check_damaged, a_bit, sums);
    CHECK_EQ(pages.search_addr, model_address(20));
    CHECK_COMPLAINS(check_damaged, search_addr,
                    "I4 no page below search_addr is free");
    CHECK_COMPLAINS(check_damaged, search_addr_in_the_next_chunk,
                    "I4 no page below search_addr is free");
    CHECK_COMPLAINS(check_damaged, start, "I2 every chunk lies above start");
    CHECK_COMPLAINS(check_damaged, ranges,
                    "total_bytes is the length of all ranges");
}
