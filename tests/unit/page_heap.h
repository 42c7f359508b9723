// page_heap.h - calls of the page heap, each with its lock.

#ifndef UNIT_PAGE_HEAP_H
#define UNIT_PAGE_HEAP_H

#include "heap.h"
#include "test.h"

#include "span_class.h"

// take_aligned returns a span of npages pages at a multiple of align; NULL:
// there is no memory.
static inline struct mspan *take_aligned(size_t npages, size_t align)
{
    lock_acquire(&mheap.lock);
    struct mspan *s = mheap_alloc(npages, align);
    lock_release(&mheap.lock);
    return s;
}

static inline struct mspan *take(size_t npages)
{
    return take_aligned(npages, PAGE_SIZE);
}

// take_cut returns a span that is cut into objects of a size
// class.
static inline struct mspan *take_cut(size_t npages, unsigned sizeclass)
{
    struct mspan *s = take(npages);
    CHECK_NOT_NULL(s);
    mspan_init_objects(s, scan_class(sizeclass));
    return s;
}

static inline void give(struct mspan *s)
{
    lock_acquire(&mheap.lock);
    mheap_free(s);
    lock_release(&mheap.lock);
}

static inline bool is_sound(void)
{
    lock_acquire(&mheap.lock);
    bool ok = mheap_check();
    lock_release(&mheap.lock);
    return ok;
}

#endif
