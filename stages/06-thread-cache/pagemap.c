// pagemap.c - from an address to the span that it lies in.
//
// An address has 48 bits. The lower 13 are a place in a page; the other 35, the
// number of the page, are cut in three, and each part is an index in a table:
//
//     47        36 35        24 23       13 12            0
//     | root: 12  | middle: 12 | leaf: 11  | place in page |
//
// A table for every page there can be would take 256 GiB. Of this tree, only
// what leads to pages of the heap is there: a leaf serves 16 MiB, a middle
// 64 GiB. It only grows.
//
// Locking    mheap.lock guards all writes. Readers need no lock: a table is
//            complete before its address is stored, and is never freed.
// TCMalloc   TCMalloc_PageMap3 in pagemap.h
// Go         no part of it; arenas take its place (spanOf in mheap.go)

#include "heap.h"

#include <stdatomic.h>

enum {
    ADDRESS_BITS = 48,
    PAGE_BITS = ADDRESS_BITS - PAGE_SHIFT,
    LEAF_BITS = 11,
    MIDDLE_BITS = 12,
    ROOT_BITS = PAGE_BITS - MIDDLE_BITS - LEAF_BITS,
};
_Static_assert(ROOT_BITS == 12, "the picture above shows the parts");

struct leaf {
    _Atomic(struct mspan *) spans[1 << LEAF_BITS];
};
struct middle {
    _Atomic(struct leaf *) leaves[1 << MIDDLE_BITS];
};
static _Atomic(struct middle *) root[1 << ROOT_BITS];

// A page by its number, and its index in each table.
static uintptr_t page_of(const void *p)
{
    return (uintptr_t)p >> PAGE_SHIFT;
}

static size_t root_index(uintptr_t page)
{
    return page >> (LEAF_BITS + MIDDLE_BITS);
}

static size_t middle_index(uintptr_t page)
{
    return page >> LEAF_BITS & ((1 << MIDDLE_BITS) - 1);
}

static size_t leaf_index(uintptr_t page)
{
    return page & ((1 << LEAF_BITS) - 1);
}

// leaf_of returns the leaf of a page; NULL: there is none.
static struct leaf *leaf_of(uintptr_t page)
{
    if (page >> PAGE_BITS != 0)
        return NULL;
    // acquire: pairs with the release in pagemap_ensure
    struct middle *middle =
        atomic_load_explicit(&root[root_index(page)], memory_order_acquire);
    if (middle == NULL)
        return NULL;
    return atomic_load_explicit(&middle->leaves[middle_index(page)],
                                memory_order_acquire);
}

// TCMalloc   TCMalloc_PageMap3::get
struct mspan *pagemap_get(const void *p)
{
    struct leaf *leaf = leaf_of(page_of(p));
    if (leaf == NULL)
        return NULL;
    // acquire: pairs with the release in pagemap_set
    return atomic_load_explicit(&leaf->spans[leaf_index(page_of(p))],
                                memory_order_acquire);
}

// Go: func spanOf (mheap.go)
struct mspan *span_of(const void *p)
{
    struct mspan *s = pagemap_get(p);
    // What the map says of a page that is free may be old.
    if (s == NULL || s->state != MSPAN_IN_USE ||
        (const char *)p < s->start_addr || (const char *)p >= mspan_end(s))
        return NULL;
    return s;
}

// TCMalloc   TCMalloc_PageMap3::Ensure
bool pagemap_ensure(const char *start, size_t npages)
{
    assert_lock_held(&mheap.lock);
    uintptr_t end = page_of(start) + npages;
    for (uintptr_t page = page_of(start); page < end;
         page = (page | ((1 << LEAF_BITS) - 1)) + 1) {
        _Atomic(struct middle *) *at = &root[root_index(page)];
        if (atomic_load_explicit(at, memory_order_relaxed) == NULL) {
            struct middle *middle = persistent_alloc(sizeof *middle);
            if (middle == NULL)
                return false;
            // release: pairs with the acquire in leaf_of
            atomic_store_explicit(at, middle, memory_order_release);
        }
        if (leaf_of(page) == NULL) {
            struct leaf *leaf = persistent_alloc(sizeof *leaf);
            if (leaf == NULL)
                return false;
            struct middle *middle =
                atomic_load_explicit(at, memory_order_relaxed);
            // release: pairs with the acquire in leaf_of
            atomic_store_explicit(&middle->leaves[middle_index(page)], leaf,
                                  memory_order_release);
        }
    }
    return true;
}

// TCMalloc   TCMalloc_PageMap3::set
void pagemap_set(const char *start, size_t npages, struct mspan *s)
{
    assert_lock_held(&mheap.lock);
    uintptr_t end = page_of(start) + npages;
    for (uintptr_t page = page_of(start); page < end; page++)
        // release: pairs with the acquire in pagemap_get
        atomic_store_explicit(&leaf_of(page)->spans[leaf_index(page)], s,
                              memory_order_release);
}

// TCMalloc   TCMalloc_PageMap3::Next
struct mspan *span_next(const char *p)
{
    assert_lock_held(&mheap.lock);
    uintptr_t page = page_of(p);
    while (page >> PAGE_BITS == 0) {
        const struct middle *middle =
            atomic_load_explicit(&root[root_index(page)], memory_order_relaxed);
        const struct leaf *leaf = leaf_of(page);
        unsigned skip = 0; // so many bits of the page are the same
        if (middle == NULL)
            skip = MIDDLE_BITS + LEAF_BITS;
        else if (leaf == NULL)
            skip = LEAF_BITS;
        else {
            struct mspan *s = atomic_load_explicit(
                &leaf->spans[leaf_index(page)], memory_order_relaxed);
            if (s != NULL)
                return s;
        }
        page = ((page >> skip) + 1) << skip;
    }
    return NULL;
}
