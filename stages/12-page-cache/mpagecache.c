// mpagecache.c - the page cache: 64 pages in a row, those that are free of them
// owned by one thread.
//
// To find pages takes the lock of the heap, and to share a lock takes time. So
// a thread takes all free pages of 64 at once, with the lock, and then cuts
// small spans from them, without it. 64 pages are one word of a bitmap: for the
// heap they are in use, and the thread has a copy of the bits.
//
//     the heap     1110010000000...0    1: in use
//                  takes all the others
//     the heap     1111111111111...1
//     the thread   0001101111111...1    1: free, and its own
//
// Invariant  I1 What is free in a cache is in use for the heap.
//            I2 Every scavenged page of a cache is free in it.
// Locking    A page cache is used by its thread only. To fill and to flush it
//            takes mheap.lock.
// Go         mpagecache.go

#include "heap.h"

#include "bits.h"
#include "check.h"

// Go: func (c *pageCache) alloc (mpagecache.go)
struct page_run page_cache_alloc(struct page_cache *c, size_t npages)
{
    ASSERT(npages > 0);
    unsigned at = npages <= PAGE_CACHE_PAGES
                      ? find_bit_range64(c->cache, (unsigned)npages)
                      : 64;
    if (at == 64)
        return (struct page_run){0, 0};
    uint64_t pages = UINT64_MAX >> (64 - npages) << at;
    struct page_run run = {c->base + (size_t)at * PAGE_SIZE,
                           popcount64(c->scav & pages)};
    c->cache &= ~pages;
    c->scav &= ~pages;
    return run;
}

// Go: func (p *pageAlloc) allocToCache (mpagecache.go)
struct page_cache page_alloc_alloc_to_cache(struct page_alloc *p)
{
    uintptr_t page = page_alloc_find(p, 1);
    if (page == 0)
        return (struct page_cache){0};
    struct palloc_data *chunk = page_alloc_chunk(p, chunk_index(page));
    size_t w = chunk_page_index(page) / 64;
    struct page_cache c = {
        .base = page - chunk_page_index(page) % 64 * PAGE_SIZE,
        .cache = ~chunk->alloc.words[w],
        .scav = chunk->scavenged.words[w],
    };
    chunk->alloc.words[w] = UINT64_MAX;
    chunk->scavenged.words[w] = 0;
    p->ready += popcount64(c.scav);
    return c;
}

// Go: func (c *pageCache) flush (mpagecache.go)
void page_cache_flush(struct page_cache *c, struct page_alloc *p)
{
    assert_lock_held(&mheap.lock);
    if (c->cache == 0)
        return;
    struct palloc_data *chunk = page_alloc_chunk(p, chunk_index(c->base));
    size_t w = chunk_page_index(c->base) / 64;
    ASSERT((chunk->alloc.words[w] & c->cache) == c->cache);
    chunk->alloc.words[w] &= ~c->cache;
    chunk->scavenged.words[w] |= c->scav;
    p->ready -= popcount64(c->scav);
    *c = (struct page_cache){0};
}

bool page_cache_check(const struct page_cache *c, const struct page_alloc *p)
{
    assert_lock_held(&mheap.lock);
    for (unsigned i = 0; i < PAGE_CACHE_PAGES; i++)
        if ((c->cache >> i & 1) != 0 &&
            page_alloc_count(p, c->base + (size_t)i * PAGE_SIZE, 1) == 0)
            return mm_complain("I1 what is free in a cache is in use",
                               (void *)(c->base + (size_t)i * PAGE_SIZE));
    if ((c->scav & ~c->cache) != 0)
        return mm_complain("I2 what is scavenged in a cache is free in it", c);
    return true;
}
