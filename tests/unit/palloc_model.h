// palloc_model.h - a page allocator without memory behind its pages, and a
// model that is too simple to be wrong: what is known of each page is in
// arrays.
//
// Each operation is done on both, and must have the same result; then all bits
// are compared, and the invariants of the page allocator are looked at.
//
//     model_begin(base);
//     model_grow(0, 3);
//     size_t page = model_take(7);
//     model_give(page, 7);
//
// A page is known by its distance from base, in pages.

#ifndef UNIT_PALLOC_MODEL_H
#define UNIT_PALLOC_MODEL_H

#include <string.h>

#include "heap.h"
#include "random.h"
#include "test.h"

// Is there a tree of summaries?
#if __has_include("mranges.c")
enum { WITH_TREE = 1 };
#else
enum { WITH_TREE = 0 };
static inline void page_alloc_init(struct page_alloc *p)
{
    (void)p;
}
#endif

enum {
    MODEL_CHUNKS = 16,
    MODEL_PAGES = MODEL_CHUNKS * PALLOC_CHUNK_PAGES,
    MODEL_CACHES = 4,
};

// What is known of a page. CACHED + i: it is free in the cache i.
enum { NO_PAGE, FREE, USED, CACHED };

static struct {
    uintptr_t base; // a multiple of PALLOC_CHUNK_BYTES
    unsigned state[MODEL_PAGES];
    bool scavenged[MODEL_PAGES]; // in the heap, or, if cached, in its cache
    size_t n_pages; // that there are
    struct page_cache caches[MODEL_CACHES];
} model;

// The page allocator under test.
static struct page_alloc pages;

static inline uintptr_t model_address(size_t page)
{
    return model.base + page * PAGE_SIZE;
}

static inline chunk_idx model_chunk(size_t chunk)
{
    return chunk_index(model.base) + chunk;
}

static inline void model_begin(uintptr_t base)
{
    memset(&model, 0, sizeof model);
    memset(&pages, 0, sizeof pages);
    page_alloc_init(&pages);
    pages.test = true;
    pages.huge_pages = (2 << 20) / PAGE_SIZE;
    model.base = base;
}

// model_words returns what the words of the bitmaps must be for 64 pages.
static inline struct page_cache model_words(size_t page)
{
    struct page_cache words = {0};
    for (size_t i = 0; i < 64; i++) {
        bool cached = model.state[page + i] >= CACHED;
        words.cache |= (uint64_t)(model.state[page + i] >= USED) << i;
        words.scav |= (uint64_t)(model.scavenged[page + i] && !cached) << i;
    }
    return words;
}

// model_compare checks that the bits are right.
static inline void model_compare(void)
{
    size_t ready = 0;

    lock_acquire(&mheap.lock);
    for (size_t page = 0; page < MODEL_PAGES; page += 64) {
        const struct palloc_data *chunk =
            page_alloc_chunk(&pages, model_chunk(page / PALLOC_CHUNK_PAGES));
        bool is_chunk = model.state[page] != NO_PAGE;
        CHECK_THAT((chunk != NULL) == is_chunk, "page %zu: expected %s, got %s",
                   page, is_chunk ? "a chunk" : "none", chunk ? "one" : "none");
        if (chunk == NULL)
            continue;
        size_t w = page % PALLOC_CHUNK_PAGES / 64;
        struct page_cache words = model_words(page);
        CHECK_THAT(chunk->alloc.words[w] == words.cache,
                   "in use from page %zu: expected %#llx, got %#llx", page,
                   (unsigned long long)words.cache,
                   (unsigned long long)chunk->alloc.words[w]);
        CHECK_THAT(chunk->scavenged.words[w] == words.scav,
                   "scavenged from page %zu: expected %#llx, got %#llx", page,
                   (unsigned long long)words.scav,
                   (unsigned long long)chunk->scavenged.words[w]);
        ready += 64 - popcount64(words.scav);
    }
    CHECK_EQ(pages.ready, ready);
    CHECK_TRUE(page_alloc_check(&pages));
    lock_release(&mheap.lock);
}

static inline void model_grow(size_t chunk, size_t n)
{
    lock_acquire(&mheap.lock);
    CHECK_TRUE(page_alloc_grow(&pages, chunk_base(model_chunk(chunk)),
                               n * PALLOC_CHUNK_BYTES));
    lock_release(&mheap.lock);
    for (size_t i = 0; i < n * PALLOC_CHUNK_PAGES; i++) {
        model.state[chunk * PALLOC_CHUNK_PAGES + i] = FREE;
        model.scavenged[chunk * PALLOC_CHUNK_PAGES + i] = true;
    }
    model.n_pages += n * PALLOC_CHUNK_PAGES;
    model_compare();
}

// model_run returns how many pages in that state there are from page on, up to
// most.
static inline size_t model_run(size_t page, unsigned state, size_t most)
{
    size_t n = 0;
    while (n < most && page + n < MODEL_PAGES && model.state[page + n] == state)
        n++;
    return n;
}

// model_first_fit returns the lowest npages free pages; SIZE_MAX: there are
// none.
static inline size_t model_first_fit(size_t npages)
{
    for (size_t page = 0; page + npages <= MODEL_PAGES; page++)
        if (model_run(page, FREE, npages) == npages)
            return page;
    return SIZE_MAX;
}

// model_set makes n pages used; returns how many were scavenged.
static inline size_t model_set_used(size_t page, size_t n)
{
    size_t scav = 0;
    for (size_t i = page; i < page + n; i++) {
        scav += model.scavenged[i];
        model.scavenged[i] = false;
        model.state[i] = USED;
    }
    return scav;
}

// model_take takes npages pages in a row. Returns the first; SIZE_MAX: there
// are none.
static inline size_t model_take(size_t npages)
{
    size_t page = model_first_fit(npages);
    lock_acquire(&mheap.lock);
    struct page_run run = page_alloc_alloc(&pages, npages);
    lock_release(&mheap.lock);

    CHECK_EQ(run.base, page == SIZE_MAX ? 0 : model_address(page));
    CHECK_EQ(run.scav, page == SIZE_MAX ? 0 : model_set_used(page, npages));
    model_compare();
    return page;
}

// model_take_range takes those n pages, which are free.
static inline void model_take_range(size_t page, size_t n)
{
    lock_acquire(&mheap.lock);
    size_t scav = page_alloc_alloc_range(&pages, model_address(page), n);
    lock_release(&mheap.lock);
    CHECK_EQ(scav, model_set_used(page, n));
    model_compare();
}

// model_give frees n pages in use.
static inline void model_give(size_t page, size_t n)
{
    lock_acquire(&mheap.lock);
    page_alloc_free(&pages, model_address(page), n, false);
    lock_release(&mheap.lock);
    for (size_t i = page; i < page + n; i++)
        model.state[i] = FREE;
    model_compare();
}

// ---------------------------------------------------------------------------
// Page caches.

// cached_in returns the state of a page that is free in c.
static inline unsigned cached_in(const struct page_cache *c)
{
    return CACHED + (unsigned)(c - model.caches);
}

// model_fill fills the cache c, which is empty.
static inline void model_fill(struct page_cache *c)
{
    size_t page = model_first_fit(1);
    lock_acquire(&mheap.lock);
    *c = page_alloc_alloc_to_cache(&pages);
    lock_release(&mheap.lock);

    if (page == SIZE_MAX) {
        CHECK_EQ(c->cache, 0);
        CHECK_EQ(c->scav, 0);
    } else {
        page = page / 64 * 64;
        CHECK_EQ(c->base, model_address(page));
        for (size_t i = page; i < page + 64; i++) {
            bool is_free = model.state[i] == FREE;
            CHECK_EQ(c->cache >> (i - page) & 1, is_free);
            CHECK_EQ(c->scav >> (i - page) & 1, is_free && model.scavenged[i]);
            if (is_free)
                model.state[i] = cached_in(c);
        }
    }
    model_compare();
}

// model_take_cached takes npages pages in a row of c. Returns the first;
// SIZE_MAX: there are none.
static inline size_t model_take_cached(struct page_cache *c, size_t npages)
{
    size_t page = SIZE_MAX;
    size_t first = (c->base - model.base) / PAGE_SIZE;
    if (c->cache != 0)
        for (size_t i = 64; i-- > 0;)
            if (i + npages <= 64 && npages <= 64 &&
                model_run(first + i, cached_in(c), npages) == npages)
                page = first + i;

    struct page_run run = page_cache_alloc(c, npages);
    CHECK_EQ(run.base, page == SIZE_MAX ? 0 : model_address(page));
    CHECK_EQ(run.scav, page == SIZE_MAX ? 0 : model_set_used(page, npages));
    for (size_t i = 0; i < 64 && c->cache != 0; i++) {
        bool cached = model.state[first + i] == cached_in(c);
        CHECK_EQ(c->cache >> i & 1, cached);
        CHECK_EQ(c->scav >> i & 1, cached && model.scavenged[first + i]);
    }
    model_compare();
    return page;
}

static inline void model_flush(struct page_cache *c)
{
    size_t first = (c->base - model.base) / PAGE_SIZE;
    if (c->cache != 0)
        for (size_t i = first; i < first + 64; i++)
            if (model.state[i] == cached_in(c))
                model.state[i] = FREE;
    lock_acquire(&mheap.lock);
    page_cache_flush(c, &pages);
    lock_release(&mheap.lock);
    CHECK_EQ(c->cache, 0);
    CHECK_EQ(c->scav, 0);
    model_compare();
}

// ---------------------------------------------------------------------------

// model_scavenge scavenges nbytes bytes, or more. Which pages is up to the page
// allocator: they must have been free, and not scavenged.
static inline size_t model_scavenge(size_t nbytes)
{
    size_t n = 0;
    lock_acquire(&mheap.lock);
    size_t released = page_alloc_scavenge(&pages, nbytes);
    for (size_t i = 0; i < MODEL_PAGES; i++)
        if (model.state[i] == FREE && !model.scavenged[i] &&
            page_alloc_is_scavenged(&pages, model_address(i))) {
            model.scavenged[i] = true;
            n++;
        }
    lock_release(&mheap.lock);
    CHECK_EQ(released, n * PAGE_SIZE);
    model_compare();
    return n;
}

// model_length returns a number of pages: most are small, some of any size.
static inline size_t model_length(uint64_t *state)
{
    static const size_t most[] = {4, 16, 64, 130, 2 * PALLOC_CHUNK_PAGES};
    return 1 + random_below(state, most[random_below(state, 5)]);
}

// model_step does one random operation.
static inline void model_step(uint64_t *state)
{
    struct page_cache *c = &model.caches[random_below(state, MODEL_CACHES)];
    size_t page = random_below(state, MODEL_PAGES);
    size_t n = model_length(state);

    switch (random_below(state, 10)) {
    case 0:
    case 1:
    case 2:
        model_take(n);
        break;
    case 3:
        n = model_run(page, FREE, n);
        if (n > 0)
            model_take_range(page, n);
        break;
    case 4:
    case 5:
        while (page < MODEL_PAGES && model.state[page] != USED)
            page++;
        n = model_run(page, USED, n);
        if (n > 0)
            model_give(page, n);
        break;
    case 6:
        if (c->cache == 0)
            model_fill(c);
        break;
    case 7:
        model_take_cached(c, 1 + n % 20);
        break;
    case 8:
        model_flush(c);
        break;
    default:
        if (random_below(state, 4) == 0)
            model_scavenge(n * PAGE_SIZE);
        break;
    }
}

// model_end empties all caches, and frees all pages.
static inline void model_end(void)
{
    for (size_t i = 0; i < MODEL_CACHES; i++)
        model_flush(&model.caches[i]);
    for (size_t page = 0, n; page < MODEL_PAGES; page += n + 1) {
        n = model_run(page, USED, MODEL_PAGES);
        if (n > 0)
            model_give(page, n);
    }
}

#endif
