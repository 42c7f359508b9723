// blocks.h - many blocks at once, and what the stage counts meanwhile.

#ifndef UNIT_BLOCKS_H
#define UNIT_BLOCKS_H

#include "test.h"

static inline struct mm_stats stats(void)
{
    struct mm_stats now;
    mm_stats(&now);
    return now;
}

// spans_in_use returns how many spans the page heap has handed out.
static inline uint64_t spans_in_use(void)
{
    struct mm_stats now = stats();
    return now.span_allocs - now.span_frees;
}

static inline void add_free_pages(const struct mm_item *item, void *sum)
{
    if (item->kind == MM_SPAN && item->state == MM_FREE)
        *(size_t *)sum += item->size;
}

// free_pages returns how many bytes of the page heap are in no span in use.
static inline size_t free_pages(void)
{
    size_t sum = 0;
    mm_walk(add_free_pages, &sum);
    return sum;
}

// allocate makes n blocks of that size.
static inline void allocate(void **blocks, size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++) {
        blocks[i] = mm_malloc(size);
        CHECK_NOT_NULL(blocks[i]);
    }
}

// release frees n blocks.
static inline void release(void *const *blocks, size_t n)
{
    for (size_t i = 0; i < n; i++)
        mm_free(blocks[i]);
}

#endif
