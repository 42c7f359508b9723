// page_alloc.h - a page allocator of a test, and calls of it, each with its
// lock and the same for all stages: in some, pages are also scavenged, or not,
// and a search tells more than an address. There is no memory behind the pages.

#ifndef UNIT_PAGE_ALLOC_H
#define UNIT_PAGE_ALLOC_H

#include "heap.h"
#include "test.h"

static struct page_alloc pages;

// The preprocessor sees no type and no function of heap.h, but it sees files.
#if __has_include("mgcscavenge.c")
#define BASE_OF(run) ((run).base)
#define NOT_SCAVENGED , false
static inline void start_pages(void)
{
    pages.test = true;
#if __has_include("mranges.c")
    page_alloc_init(&pages);
#endif
}
#else
#define BASE_OF(run) (run)
#define NOT_SCAVENGED
static inline void start_pages(void)
{
}
#endif

#if __has_include("mranges.c")
#define FOUND_AT(found) ((found).base)
#else
#define FOUND_AT(found) (found)
#endif

// grow_pages makes n chunks from ci on free pages.
static inline bool grow_pages(chunk_idx ci, size_t n)
{
    lock_acquire(&mheap.lock);
    bool done = page_alloc_grow(&pages, chunk_base(ci), n * PALLOC_CHUNK_BYTES);
    lock_release(&mheap.lock);
    return done;
}

static inline uintptr_t find_pages(size_t npages)
{
    lock_acquire(&mheap.lock);
    uintptr_t base = FOUND_AT(page_alloc_find(&pages, npages));
    lock_release(&mheap.lock);
    return base;
}

static inline uintptr_t take_pages(size_t npages)
{
    lock_acquire(&mheap.lock);
    uintptr_t base = BASE_OF(page_alloc_alloc(&pages, npages));
    lock_release(&mheap.lock);
    return base;
}

static inline void take_range(uintptr_t base, size_t npages)
{
    lock_acquire(&mheap.lock);
    page_alloc_alloc_range(&pages, base, npages);
    lock_release(&mheap.lock);
}

static inline void give_pages(uintptr_t base, size_t npages)
{
    lock_acquire(&mheap.lock);
    page_alloc_free(&pages, base, npages NOT_SCAVENGED);
    lock_release(&mheap.lock);
}

static inline size_t count_pages(uintptr_t base, size_t npages)
{
    lock_acquire(&mheap.lock);
    size_t n = page_alloc_count(&pages, base, npages);
    lock_release(&mheap.lock);
    return n;
}

static inline chunk_idx chunk_from(chunk_idx ci)
{
    lock_acquire(&mheap.lock);
    chunk_idx next = page_alloc_next_chunk(&pages, ci);
    lock_release(&mheap.lock);
    return next;
}

static inline const struct palloc_data *chunk_at(chunk_idx ci)
{
    lock_acquire(&mheap.lock);
    const struct palloc_data *chunk = page_alloc_chunk(&pages, ci);
    lock_release(&mheap.lock);
    return chunk;
}

// pages_are_sound tells what a stage that has a check says of the allocator.
static inline bool pages_are_sound(void)
{
#if __has_include("mranges.c")
    lock_acquire(&mheap.lock);
    bool ok = page_alloc_check(&pages);
    lock_release(&mheap.lock);
    return ok;
#else
    return true;
#endif
}

#endif
