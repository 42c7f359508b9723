// class_spans.h - the spans of one class, and what they are doing. A class is a
// size class here, and its spans are those that malloc takes, not noscan ones.
//
// Tests that count spans use blocks of 1024 bytes: 8 fill a span, of one page.

#ifndef UNIT_CLASS_SPANS_H
#define UNIT_CLASS_SPANS_H

#include "heap.h"
#include "test.h"

#include "span_class.h"

enum { SIZE = 1024, EACH = PAGE_SIZE / SIZE };

static inline unsigned class_of_size(void)
{
    return size_class_of(SIZE);
}

// cached_at returns where the cache of the calling thread has its span of a
// class.
static inline struct mspan **cached_at(unsigned sizeclass)
{
    return mcache_span(mcache, scan_class(sizeclass));
}

// held returns the span of a class that the calling thread holds; NULL: none.
static inline struct mspan *held(unsigned sizeclass)
{
    struct mspan *s = *cached_at(sizeclass);
    return s == &emptymspan ? NULL : s;
}

// n_held returns how many spans the calling thread holds, noscan ones too.
static inline size_t n_held(void)
{
    size_t n = 0;
    for (spanclass c = 0; c < NUM_SPAN_CLASSES; c++)
        n += *mcache_span(mcache, c) != &emptymspan;
    return n;
}

// central_of returns what all threads share of a class.
static inline struct mcentral *central_of(unsigned sizeclass)
{
    return &mcentral[scan_class(sizeclass)];
}

// set_length returns how many spans of a class can be taken.
static inline size_t set_length(unsigned sizeclass)
{
    const struct mcentral *c = central_of(sizeclass);
    return span_set_length(&c->partial) + c->n_rest;
}

#ifdef UNIT_OS_MEMORY_H

// exhaust_structs takes all memory that there is for the allocator's own
// structs, but that for n_spans spans. The OS gives no more from now on.
static inline void exhaust_structs(size_t n_spans)
{
    void *kept[256];
    CHECK_LE(n_spans, sizeof kept / sizeof *kept);
    lock_acquire(&mheap.lock);
    for (size_t i = 0; i < n_spans; i++)
        kept[i] = fixalloc_alloc(&mheap.spanalloc);
    os.fail_from = os.calls + 1;
    while (fixalloc_alloc(&mheap.spanalloc) != NULL)
        continue;
    while (persistent_alloc(MM_ALIGNMENT) != NULL)
        continue;
    for (size_t i = 0; i < n_spans; i++)
        fixalloc_free(&mheap.spanalloc, kept[i]);
    lock_release(&mheap.lock);
}

#endif

#endif
