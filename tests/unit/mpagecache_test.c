// stages: 12-
//
// mpagecache.c: pages are taken from a word as from an array of bits; a page
// cache takes what is free near the lowest free page, and gives it back.

#include "heap.h"

#include "palloc_model.h"
#include "test.h"

// ---------------------------------------------------------------------------
// One cache.

static const uintptr_t base = UINT64_C(0x30) << 32;

// lowest_run returns where the lowest n ones in a row begin in c; 64: there are
// none.
static unsigned lowest_run(uint64_t c, size_t n)
{
    size_t run = 0;
    for (unsigned i = 0; i < 64; i++) {
        run = c >> i & 1 ? run + 1 : 0;
        if (run == n)
            return i + 1 - (unsigned)n;
    }
    return 64;
}

// check_alloc takes n pages from a cache, and compares all with the bits.
static void check_alloc(uint64_t cache, uint64_t scav, size_t n)
{
    struct page_cache c = {base, cache, scav};
    unsigned at = lowest_run(cache, n);
    size_t count = 0;
    for (unsigned i = at; i < 64 && i < at + n; i++) {
        count += scav >> i & 1;
        cache &= ~(UINT64_C(1) << i);
        scav &= ~(UINT64_C(1) << i);
    }

    struct page_run run = page_cache_alloc(&c, n);
    CHECK_EQ(run.base, at == 64 ? 0 : base + at * PAGE_SIZE);
    CHECK_EQ(run.scav, count);
    CHECK_EQ(c.base, base);
    CHECK_EQ(c.cache, cache);
    CHECK_EQ(c.scav, scav);
}

// Which of the free pages are scavenged.
static const uint64_t scavenged[] = {
    0, UINT64_MAX, UINT64_C(0x5555555555555555), UINT64_C(0xffffffff00000000)};

static void check_all_lengths(uint64_t cache)
{
    for (size_t n = 1; n <= 66; n++)
        for (size_t i = 0; i < 4; i++)
            check_alloc(cache, cache & scavenged[i], n);
}

TEST(page_cache_alloc_takes_the_lowest_run,
     "a cache hands out the lowest pages in a row, whatever is free in it, and"
     " knows how many of them were scavenged")
{
    static const uint64_t words[] = {
        0,
        1,
        UINT64_C(1) << 63,
        UINT64_C(0x8000000000000001),
        UINT64_MAX,
        UINT64_MAX - 1,
        UINT64_MAX >> 1,
        UINT64_C(0x5555555555555555),
        UINT64_C(0xaaaaaaaaaaaaaaaa),
        UINT64_C(0x00ff00ff00ff00ff),
        UINT64_C(0xfffffffeffffffff),
        UINT64_C(0x0f1f3f7fff7f3f1f),
    };
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        check_all_lengths(words[i]);
    // Every run, alone, and with all others but its neighbours.
    for (unsigned n = 1; n <= 64; n++)
        for (unsigned at = 0; at + n <= 64; at++) {
            uint64_t run = UINT64_MAX >> (64 - n) << at;
            for (size_t k = n - 1; k <= n + 1; k++)
                if (k > 0) {
                    check_alloc(run, run, k);
                    check_alloc(~(run << 1) & ~(run >> 1), run, k);
                }
        }
}

TEST(page_cache_alloc_is_right_for_all_nibbles,
     "a cache hands out the lowest run for each pattern of sixteen groups of"
     " pages")
{
    for (uint64_t pattern = 0; pattern < 1 << 16; pattern++) {
        uint64_t cache = 0;
        for (unsigned i = 0; i < 16; i++)
            cache |= (pattern >> i & 1) * UINT64_C(15) << 4 * i;
        // Runs of other lengths than fours, too.
        uint64_t ragged = cache & ~(cache << 3 & pattern << 24);
        for (size_t n = 1; n <= 16; n++)
            check_alloc(ragged, ragged & scavenged[n % 4], n);
        check_alloc(cache, cache & scavenged[2], 1 + pattern % 64);
    }
}

TEST(a_cache_is_used_up_page_by_page,
     "a cache hands out each of its pages once, from the lowest on")
{
    struct page_cache c = {base, UINT64_MAX, UINT64_C(0xff)};
    for (size_t i = 0; i < 64; i++) {
        struct page_run run = page_cache_alloc(&c, 1);
        CHECK_EQ(run.base, base + i * PAGE_SIZE);
        CHECK_EQ(run.scav, i < 8);
    }
    CHECK_EQ(c.cache, 0);
    CHECK_EQ(page_cache_alloc(&c, 1).base, 0);
}

// ---------------------------------------------------------------------------
// The heap and caches.

TEST(fill_takes_what_is_free_of_64_pages,
     "a cache is filled with the 64 pages that the lowest free page is one of,"
     " but for those in use")
{
    model_begin(base);
    model_grow(0, 1);
    model_take_range(0, 70);
    model_take_range(75, 3);
    struct page_cache *c = model.caches;
    model_fill(c);
    CHECK_EQ(c->base, base + 64 * PAGE_SIZE);
    CHECK_EQ(c->cache, ~UINT64_C(0x383f));
    CHECK_EQ(c->scav, c->cache);
    // The next one lies above, as nothing is left of these.
    model_fill(c + 1);
    CHECK_EQ(c[1].base, base + 128 * PAGE_SIZE);
    model_flush(c);
    CHECK_EQ(model_take(1), 70);
    model_end();
}

TEST(a_word_with_one_free_page_fills_a_cache,
     "a cache may hold one page only, at either end of its word or inside")
{
    for (size_t i = 0; i < 64; i++) {
        model_begin(base);
        model_grow(0, 2);
        model_take_range(0, 2 * PALLOC_CHUNK_PAGES);
        model_give(PALLOC_CHUNK_PAGES - 64 + i, 1);
        model_fill(model.caches);
        CHECK_EQ(model.caches[0].cache, UINT64_C(1) << i);
        CHECK_EQ(model.caches[0].scav, 0);
        model_fill(model.caches + 1); // nothing is left
        CHECK_EQ(model.caches[1].cache, 0);
        CHECK_EQ(model_take_cached(model.caches, 1),
                 PALLOC_CHUNK_PAGES - 64 + i);
        model_end();
    }
}

TEST(no_page_is_free_for_a_cache,
     "a cache stays empty when no page is free, or there is no heap, and can be"
     " filled when there is")
{
    model_begin(base);
    model_fill(model.caches);
    model_grow(3, 1);
    CHECK_EQ(model_take(PALLOC_CHUNK_PAGES), 3 * PALLOC_CHUNK_PAGES);
    model_fill(model.caches);
    CHECK_EQ(model.caches[0].cache, 0);
    model_flush(model.caches);
    model_grow(1, 1); // below
    model_fill(model.caches);
    CHECK_EQ(model.caches[0].base, model_address(PALLOC_CHUNK_PAGES));
    model_end();
}

TEST(what_a_cache_holds_no_one_else_gets,
     "pages in a cache are in use for the heap, and free again after a flush,"
     " scavenged or not as they were")
{
    model_begin(base);
    model_grow(0, 2);
    CHECK_EQ(model_take(20), 0);
    model_give(0, 20); // these were used
    model_fill(model.caches);
    CHECK_EQ(model.caches[0].scav, UINT64_MAX << 20);
    CHECK_EQ(pages.ready, 64);
    CHECK_EQ(model_take(1), 64);
    CHECK_EQ(model_take_cached(model.caches, 16), 0);
    CHECK_EQ(model_take_cached(model.caches, 8), 16); // 4 of them scavenged
    CHECK_EQ(pages.ready, 65);
    model_flush(model.caches);
    CHECK_EQ(pages.ready, 25);
    CHECK_EQ(model_take(40), 24);
    model_end();
}

TEST(a_flush_of_an_empty_cache_changes_nothing,
     "a cache whose pages are all in spans, or that was never filled, has"
     " nothing to give back")
{
    model_begin(base);
    model_grow(0, 1);
    model_flush(model.caches); // never filled
    model_fill(model.caches);
    CHECK_EQ(model_take_cached(model.caches, 64), 0);
    CHECK_EQ(pages.ready, 64);
    model_flush(model.caches);
    CHECK_EQ(pages.ready, 64);
    CHECK_EQ(model_take(1), 64);
    model_end();
}

TEST(a_flush_lowers_the_search,
     "after a flush, its pages are the first to be handed out, whatever was"
     " taken above meanwhile")
{
    model_begin(base);
    model_grow(0, 3);
    for (size_t i = 0; i < MODEL_CACHES; i++)
        model_fill(&model.caches[i]);
    CHECK_EQ(model_take(2 * PALLOC_CHUNK_PAGES), 256);
    for (size_t i = MODEL_CACHES; i-- > 0;) {
        model_flush(&model.caches[i]);
        CHECK_EQ(model_take(1), i * 64);
    }
    model_end();
}

// run_model does random operations on chunks with gaps between them.
static void run_model(uintptr_t from, size_t steps)
{
    uint64_t state = random_start();
    model_begin(from);
    model_grow(1, 2);
    for (size_t i = 0; i < steps; i++) {
        if (i == steps / 4)
            model_grow(5, 1);
        if (i == steps / 2)
            model_grow(0, 1);
        if (i == steps / 4 * 3)
            model_grow(7, 3);
        model_step(&state);
    }
    model_end();
}

TEST(caches_and_heap_equal_a_model,
     "any pages taken, freed, cached, flushed and scavenged, are what a model"
     " says that keeps a note of each page")
{
    run_model(base, 4000);
}

TEST(caches_and_heap_equal_a_model_where_tables_meet,
     "it makes no difference where the pages of the heap lie")
{
    // The chunks 8192 n lie in a table of their own.
    run_model((UINT64_C(1) << 35) - 2 * PALLOC_CHUNK_BYTES, 4000);
}
