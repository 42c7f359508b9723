// stage.h - the page heap of a stage as the replay wants it: the same functions
// for every stage. The differences between the stages are here, and in which
// lines of a file they can perform.
//
// STAGE_NUMBER is the number of the stage: 13 for 13-page-alloc.

#ifndef REPLAY_STAGE_H
#define REPLAY_STAGE_H

#include "heap.h"

#include <string.h>

// Page 0 of chunk 0 of a file is here: where Go's test pages are, at the start
// of a root summary.
static const uintptr_t origin = UINT64_C(0x30) << 32;

static inline uintptr_t page_address(size_t page)
{
    return origin + page * PAGE_SIZE;
}

// A file that names chunks from here on is none.
enum { MAX_CHUNK = 1 << 20 };

static inline chunk_idx chunk_number(size_t chunk)
{
    return chunk_index(origin) + chunk;
}

struct stage_run {
    uintptr_t base; // 0: none
    size_t scav;
};

struct stage_found {
    uintptr_t base; // 0: none
    uintptr_t search_addr;
};

// stage_new makes p an empty page allocator without memory behind its pages.
static inline void stage_new(struct page_alloc *p, size_t huge_pages)
{
    memset(p, 0, sizeof *p);
#if STAGE_NUMBER >= 13
    page_alloc_init(p);
#endif
#if STAGE_NUMBER >= 11
    p->huge_pages = huge_pages;
    p->test = true;
#else
    (void)huge_pages;
#endif
}

static inline bool stage_grow(struct page_alloc *p, size_t chunk, size_t n)
{
    lock_acquire(&mheap.lock);
    bool grown = page_alloc_grow(p, page_address(chunk * PALLOC_CHUNK_PAGES),
                                 n * PALLOC_CHUNK_BYTES);
    lock_release(&mheap.lock);
    return grown;
}

static inline struct palloc_data *stage_chunk(const struct page_alloc *p,
                                              size_t chunk)
{
    lock_acquire(&mheap.lock);
    struct palloc_data *data = page_alloc_chunk(p, chunk_number(chunk));
    lock_release(&mheap.lock);
    return data;
}

static inline struct stage_run stage_alloc(struct page_alloc *p, size_t npages)
{
    lock_acquire(&mheap.lock);
#if STAGE_NUMBER >= 11
    struct page_run got = page_alloc_alloc(p, npages);
    struct stage_run run = {got.base, got.scav};
#else
    struct stage_run run = {page_alloc_alloc(p, npages), 0};
#endif
    lock_release(&mheap.lock);
    return run;
}

// stage_alloc_range returns how many of the pages were scavenged.
static inline size_t stage_alloc_range(struct page_alloc *p, uintptr_t base,
                                       size_t npages)
{
    size_t scav = 0;
    lock_acquire(&mheap.lock);
#if STAGE_NUMBER >= 11
    scav = page_alloc_alloc_range(p, base, npages);
#else
    page_alloc_alloc_range(p, base, npages);
#endif
    lock_release(&mheap.lock);
    return scav;
}

static inline void stage_free(struct page_alloc *p, uintptr_t base,
                              size_t npages, bool scavenged)
{
    lock_acquire(&mheap.lock);
#if STAGE_NUMBER >= 11
    page_alloc_free(p, base, npages, scavenged);
#else
    (void)scavenged;
    page_alloc_free(p, base, npages);
#endif
    lock_release(&mheap.lock);
}

static inline struct stage_found stage_find(struct page_alloc *p, size_t npages)
{
    lock_acquire(&mheap.lock);
#if STAGE_NUMBER >= 13
    struct page_found got = page_alloc_find(p, npages);
    struct stage_found found = {got.base, got.search_addr};
#else
    struct stage_found found = {page_alloc_find(p, npages), 0};
#endif
    lock_release(&mheap.lock);
    return found;
}

// stage_scavenged_bits returns the bits of the chunk that say which pages are
// scavenged; NULL if the stage has none.
static inline struct page_bits *stage_scavenged_bits(struct palloc_data *data)
{
#if STAGE_NUMBER >= 11
    return &data->scavenged;
#else
    (void)data;
    return NULL;
#endif
}

// stage_mark adds the chunks of the pages from base to below limit to the index
// of those with pages to scavenge, if there is one.
static inline void stage_mark(struct page_alloc *p, uintptr_t base,
                              uintptr_t limit)
{
    lock_acquire(&mheap.lock);
#if STAGE_NUMBER >= 11
    scavenge_index_mark(p, base, limit);
#else
    (void)p, (void)base, (void)limit;
#endif
    lock_release(&mheap.lock);
}

#if STAGE_NUMBER >= 11

static inline size_t stage_scavenge(struct page_alloc *p, size_t nbytes)
{
    lock_acquire(&mheap.lock);
    size_t released = page_alloc_scavenge(p, nbytes);
    lock_release(&mheap.lock);
    return released;
}

static inline void stage_clear(struct page_alloc *p, size_t chunk)
{
    lock_acquire(&mheap.lock);
    scavenge_index_clear(p, chunk_number(chunk));
    lock_release(&mheap.lock);
}

static inline struct scavenge_place stage_find_scavenge(struct page_alloc *p)
{
    lock_acquire(&mheap.lock);
    struct scavenge_place place = scavenge_index_find(p);
    lock_release(&mheap.lock);
    return place;
}

static inline bool stage_is_marked(const struct page_alloc *p, size_t chunk)
{
    lock_acquire(&mheap.lock);
    bool marked = scavenge_index_has(p, chunk_number(chunk));
    lock_release(&mheap.lock);
    return marked;
}

#endif
#if STAGE_NUMBER >= 12

static inline struct page_cache stage_alloc_to_cache(struct page_alloc *p)
{
    lock_acquire(&mheap.lock);
    struct page_cache c = page_alloc_alloc_to_cache(p);
    lock_release(&mheap.lock);
    return c;
}

static inline void stage_flush(struct page_cache *c, struct page_alloc *p)
{
    lock_acquire(&mheap.lock);
    page_cache_flush(c, p);
    lock_release(&mheap.lock);
}

#endif
#if STAGE_NUMBER >= 13

static inline palloc_sum stage_summary(const struct page_alloc *p,
                                       unsigned level, size_t index)
{
    lock_acquire(&mheap.lock);
    palloc_sum sum = page_alloc_summary(p, level, index);
    lock_release(&mheap.lock);
    return sum;
}

#endif
#endif
