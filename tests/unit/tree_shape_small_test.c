// stages: 13-
//
// mpagealloc.c, with a tree so small that nearly everything that can be free in
// it can be tried: 64 chunks of 64 pages, three levels, blocks of four.
//
//     level 0    4 entries of 16 chunks
//     level 1   16 entries of 4 chunks
//     level 2   64 entries of a chunk

#define TREE_SHAPE                                                             \
    HEAP_ADDR_BITS = 25, SUMMARY_LEVELS = 3, SUMMARY_LEVEL_BITS = 2,           \
    LOG_CHUNK_PAGES = 6
#include "tree_shape.h"

#include "palloc_model.h"
#include "test.h"

TEST(shape_of_the_small_tree, "the small tree is what is said above")
{
    CHECK_EQ(PALLOC_CHUNK_PAGES, 64);
    CHECK_EQ(1 << level_bits(0), 4);
    CHECK_EQ(1 << level_bits(1), 4);
    CHECK_EQ(1 << (HEAP_ADDR_BITS - level_shift(2)), 64);
    CHECK_EQ(MAX_PACKED, 1024);
    CHECK_EQ(sizeof pages.tables / sizeof *pages.tables, 1);
}

TEST(pages_of_the_small_tree_equal_a_model,
     "with a small tree, pages are what a model says that keeps a note of each")
{
    enum { STEPS = 6000 };
    static const size_t lowest[] = {1, 8, 12, 25, 41, 48};
    for (size_t k = 0; k < sizeof lowest / sizeof *lowest; k++) {
        uint64_t state = random_start();
        model_begin(chunk_base(lowest[k]));
        model_grow(2, 2);
        for (size_t i = 0; i < STEPS; i++) {
            if (i == STEPS / 4)
                model_grow(7, 9);
            if (i == STEPS / 2)
                model_grow(0, 1);
            if (i == STEPS / 4 * 3)
                model_grow(4, 3);
            model_step(&state);
        }
        model_end();
    }
}

// ---------------------------------------------------------------------------
// All patterns of 16 granules of 16 pages, in four chunks.

enum {
    CHUNKS = 4,
    GRANULE = 16, // pages
    IN_CHUNK = PALLOC_CHUNK_PAGES / GRANULE,
    N_GRANULES = 64 * IN_CHUNK, // in all addresses
};

// The chunks of a layout, by rising address.
struct layout {
    const char *name;
    chunk_idx chunks[CHUNKS];
};
static const struct layout layouts[] = {
    {"in a row, over a border of the root", {14, 15, 16, 17}},
    {"in a row, one entry of level 1", {20, 21, 22, 23}},
    {"gaps of a chunk and of entries", {3, 4, 6, 33}},
    {"gaps that begin where entries do", {15, 20, 31, 32}},
    {"at the end of memory", {60, 61, 62, 63}},
};
enum { LAYOUTS = sizeof layouts / sizeof *layouts };

// What is free, granule by granule, from address 0 on.
static bool is_free[N_GRANULES];

// The runs of free granules, by rising address.
static struct {
    size_t start, n;
} free_runs[16];
static size_t n_free_runs;

// run_from returns how many granules in a row are free from g on, below end.
static size_t run_from(size_t g, size_t end)
{
    size_t n = 0;
    while (g + n < end && is_free[g + n])
        n++;
    return n;
}

// find_runs is called when what is free has changed.
static void find_runs(void)
{
    n_free_runs = 0;
    for (size_t g = 0, n; g < N_GRANULES; g += n + 1) {
        n = run_from(g, N_GRANULES);
        if (n > 0) {
            free_runs[n_free_runs].start = g;
            free_runs[n_free_runs++].n = n;
        }
    }
}

// first_fit returns the address of the lowest npages free pages; 0: there are
// none.
static uintptr_t first_fit(size_t npages)
{
    for (size_t i = 0; i < n_free_runs; i++)
        if (free_runs[i].n * GRANULE >= npages)
            return free_runs[i].start * GRANULE * PAGE_SIZE;
    return 0;
}

// set_pattern makes the granules of a layout free whose bits are set.
static void set_pattern(const struct layout *l, unsigned pattern)
{
    memset(is_free, 0, sizeof is_free);
    pages.search_addr = MAX_SEARCH_ADDR;
    lock_acquire(&mheap.lock);
    for (size_t i = 0; i < CHUNKS; i++) {
        uint64_t used = 0;
        for (size_t g = 0; g < IN_CHUNK; g++) {
            bool granule_free = pattern >> (i * IN_CHUNK + g) & 1;
            is_free[l->chunks[i] * IN_CHUNK + g] = granule_free;
            if (!granule_free)
                used |= UINT64_C(0xffff) << g * GRANULE;
        }
        page_alloc_chunk(&pages, l->chunks[i])->alloc.words[0] = used;
    }
    // One by one, or all at once where there are no gaps.
    size_t n = l->chunks[CHUNKS - 1] == l->chunks[0] + CHUNKS - 1 ? CHUNKS : 1;
    for (size_t i = 0; i < CHUNKS; i += n)
        page_alloc_update(&pages, chunk_base(l->chunks[i]),
                          n * PALLOC_CHUNK_PAGES);
    lock_release(&mheap.lock);
    find_runs();
    if (n_free_runs > 0)
        pages.search_addr = first_fit(1);
}

// expected_summary returns what entry i of a level must say.
static palloc_sum expected_summary(unsigned level, size_t i)
{
    size_t n = ((size_t)1 << level_log_pages(level)) / GRANULE;
    struct palloc_runs runs = {.start = run_from(i * n, (i + 1) * n)};
    for (size_t g = i * n, here; g < (i + 1) * n; g += here + 1) {
        here = run_from(g, (i + 1) * n);
        if (runs.max < here)
            runs.max = here;
        runs.end = g + here == (i + 1) * n ? here : 0;
    }
    runs.start *= GRANULE;
    runs.max *= GRANULE;
    runs.end *= GRANULE;
    return pack_palloc_sum(runs);
}

// check_summaries compares all summaries with what is free.
static void check_summaries(void)
{
    lock_acquire(&mheap.lock);
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++)
        for (size_t i = 0;
             i < (size_t)1 << (HEAP_ADDR_BITS - level_shift(level)); i++)
            CHECK_EQ(page_alloc_summary(&pages, level, i),
                     expected_summary(level, i));
    lock_release(&mheap.lock);
}

static void begin_layout(const struct layout *l)
{
    fprintf(stderr, "%s\n", l->name);
    model_begin(0);
    lock_acquire(&mheap.lock);
    for (size_t i = 0; i < CHUNKS; i++)
        CHECK_TRUE(page_alloc_grow(&pages, chunk_base(l->chunks[i]),
                                   PALLOC_CHUNK_BYTES));
    lock_release(&mheap.lock);
}

// check_find compares a search with the granules.
static void check_find(size_t npages)
{
    lock_acquire(&mheap.lock);
    struct page_found found = page_alloc_find(&pages, npages);
    uintptr_t expected = first_fit(npages);
    CHECK_THAT(found.base == expected, "%zu pages: expected %#lx, got %#lx",
               npages, expected, found.base);
    if (expected == 0)
        CHECK_EQ(found.search_addr, MAX_SEARCH_ADDR);
    else
        CHECK_LE(found.search_addr, first_fit(1));
    lock_release(&mheap.lock);
}

TEST(every_search_is_first_fit,
     "for all that can be free in four chunks, as granules, each search finds"
     " what a look at each granule finds, and all summaries are right")
{
    for (size_t k = 0; k < LAYOUTS; k++) {
        begin_layout(&layouts[k]);
        for (unsigned pattern = 0; pattern < 1 << 16; pattern++) {
            set_pattern(&layouts[k], pattern);
            if (pattern % 16 == k)
                check_summaries();
            check_find(1);
            // From one run of granules to the next, nothing else changes.
            for (size_t n = 1; n <= 16; n += 1 + (n + pattern) % 3) {
                check_find(n * GRANULE);
                check_find(n * GRANULE + 1);
            }
        }
    }
}

TEST(every_length_is_found,
     "for all that can be free in three chunks, each number of pages is found")
{
    begin_layout(&layouts[0]);
    for (unsigned pattern = 0; pattern < 1 << 12; pattern += 5) {
        set_pattern(&layouts[0], pattern);
        for (size_t n = 1; n <= 3 * PALLOC_CHUNK_PAGES + 2; n++)
            check_find(n);
    }
}

// set_free notes that whole granules are free, or not.
static void set_free(uintptr_t base, size_t npages, bool value)
{
    for (size_t g = 0; g < npages / GRANULE; g++)
        is_free[base / PAGE_SIZE / GRANULE + g] = value;
    find_runs();
}

// check_alloc takes n granules in a row and gives them back.
static void check_alloc(size_t n)
{
    uintptr_t expected = first_fit(n * GRANULE);
    lock_acquire(&mheap.lock);
    uintptr_t base = page_alloc_alloc(&pages, n * GRANULE).base;
    CHECK_EQ(base, expected);
    CHECK_TRUE(page_alloc_check(&pages));
    lock_release(&mheap.lock);
    if (base == 0)
        return;
    set_free(base, n * GRANULE, false);
    check_summaries();
    check_find(1);
    lock_acquire(&mheap.lock);
    page_alloc_free(&pages, base, n * GRANULE, false);
    CHECK_TRUE(page_alloc_check(&pages));
    lock_release(&mheap.lock);
    set_free(base, n * GRANULE, true);
    check_summaries();
}

// check_cache fills a cache, which is a chunk here, and flushes it.
static void check_cache(void)
{
    uintptr_t lowest = first_fit(1);
    lock_acquire(&mheap.lock);
    struct page_cache c = page_alloc_alloc_to_cache(&pages);
    CHECK_TRUE(page_alloc_check(&pages));
    lock_release(&mheap.lock);
    CHECK_EQ(c.base, lowest / PALLOC_CHUNK_BYTES * PALLOC_CHUNK_BYTES);
    for (size_t g = 0; lowest != 0 && g < IN_CHUNK; g++) {
        size_t here = chunk_index(lowest) * IN_CHUNK + g;
        CHECK_EQ(c.cache >> g * GRANULE & 0xffff, is_free[here] ? 0xffff : 0);
        is_free[here] = false;
    }
    check_summaries();
    for (size_t g = 0; lowest != 0 && g < IN_CHUNK; g++)
        is_free[chunk_index(lowest) * IN_CHUNK + g] =
            (c.cache >> g * GRANULE & 1) != 0;
    lock_acquire(&mheap.lock);
    page_cache_flush(&c, &pages);
    CHECK_TRUE(page_alloc_check(&pages));
    lock_release(&mheap.lock);
    check_summaries();
}

TEST(every_alloc_and_free_keeps_the_tree_right,
     "whatever is free in four chunks, as granules, all summaries are right "
     "after"
     " pages are taken, cached, flushed and freed")
{
    for (size_t k = 0; k < LAYOUTS; k++) {
        begin_layout(&layouts[k]);
        for (unsigned pattern = (unsigned)k; pattern < 1 << 16; pattern += 37) {
            for (size_t n = 1; n <= 16; n += 1 + pattern % 5) {
                set_pattern(&layouts[k], pattern);
                check_alloc(n);
            }
            check_cache();
        }
    }
}
