// mheap.c - the page heap: cuts spans out of free pages, and merges them.
//
// Free spans of fewer than 128 pages are on a list for each length, those of
// more are in one set, ordered by length. A request takes the shortest that is
// long enough, and what it does not need becomes a free span again. A span that
// comes back is merged at once with free neighbours, which the page map finds.
//
//     free[1] -> span -> span
//     free[2]                          large: a treap
//     free[3] -> span                      300 pages
//       ...                               /         \                 .
//     free[127]                      128 pages    1000 pages
//
// Pages never go back to the OS: what was large once can be large again.
//
// Invariant  I1 Spans in use and free spans cover the heap without overlap.
//            I2 The page map leads from every page of a span in use, and from
//               the first and the last of a free one, to the span.
//            I3 No two free spans are neighbours.
//            I4 A span is on the list of its length, or in large, exactly if
//               it is free.
// Locking    mheap.lock guards all of it.
// TCMalloc   PageHeap in page_heap.cc
// Go         mheap.go; with such lists and a treap, versions 1.9 to 1.11

#include "heap.h"

#include <errno.h>

#include "bits.h"
#include "check.h"

// Memory is asked of the OS by at least so many pages: 1 MiB.
enum { GROW_PAGES = 128 };

struct mheap mheap = {
    .lock = LOCK_INIT("heap", RANK_MHEAP),
    .spanalloc = {.size = sizeof(struct mspan)},
    .cachealloc = {.size = sizeof(struct mcache)},
    .blockalloc = {.size = sizeof(struct span_set_block)},
};

// new_span returns a span that is on no list and not in the page map. NULL,
// with errno ENOMEM, if the OS refuses.
//
// Go: func (h *mheap) allocMSpanLocked (mheap.go)
static struct mspan *new_span(char *start, size_t npages) REQUIRES(mheap.lock)
{
    struct mspan *s = fixalloc_alloc(&mheap.spanalloc);
    if (s != NULL)
        mspan_init(s, start, npages);
    return s;
}

// delete_span ends s, which is on no list. The page map may still lead to it.
//
// Go: func (h *mheap) freeMSpanLocked (mheap.go)
static void delete_span(struct mspan *s) REQUIRES(mheap.lock)
{
    mspan_init(s, NULL, 0);
    fixalloc_free(&mheap.spanalloc, s);
}

// push_free makes s a free span.
//
// TCMalloc   PageHeap::PrependToFreeList
static void push_free(struct mspan *s) REQUIRES(mheap.lock)
{
    s->state = MSPAN_FREE;
    pagemap_set(s->start_addr, 1, s);
    pagemap_set(mspan_end(s) - PAGE_SIZE, 1, s);
    if (s->npages < MAX_LIST_PAGES)
        mspan_list_insert(&mheap.free[s->npages], s);
    else
        mtreap_insert(&mheap.large, s);
}

// unlink_free takes the free span s off its list.
//
// TCMalloc   PageHeap::RemoveFromFreeList
static void unlink_free(struct mspan *s) REQUIRES(mheap.lock)
{
    if (s->npages < MAX_LIST_PAGES)
        mspan_list_remove(&mheap.free[s->npages], s);
    else
        mtreap_remove(&mheap.large, s);
}

// free_neighbour returns the span of the page at p, right below s or above it,
// if it is free; else NULL.
static struct mspan *free_neighbour(const struct mspan *s, const char *p)
{
    struct mspan *n = pagemap_get(p);
    if (n == NULL || n->state != MSPAN_FREE)
        return NULL;
    // If it is free, this is its first or its last page: the map is right.
    ASSERT(n->start_addr == mspan_end(s) || mspan_end(n) == s->start_addr);
    return n;
}

// coalesce makes s, which is on no list, a free span, one with its free
// neighbours.
//
// TCMalloc   PageHeap::MergeIntoFreeList
static void coalesce(struct mspan *s) REQUIRES(mheap.lock)
{
    struct mspan *below = free_neighbour(s, s->start_addr - 1);
    if (below != NULL) {
        count(&mheap.stats.merges, 1);
        unlink_free(below);
        s->start_addr = below->start_addr;
        s->npages += below->npages;
        delete_span(below);
    }
    struct mspan *above = free_neighbour(s, mspan_end(s));
    if (above != NULL) {
        count(&mheap.stats.merges, 1);
        unlink_free(above);
        s->npages += above->npages;
        delete_span(above);
    }
    push_free(s);
}

// search returns the shortest free span of at least npages pages; NULL: there
// is none. Of spans in large that are as long, it is the lowest.
//
// TCMalloc   PageHeap::SearchFreeAndLargeLists
static struct mspan *search(size_t npages) REQUIRES(mheap.lock)
{
    for (size_t n = npages; n < MAX_LIST_PAGES; n++) {
        count(&mheap.stats.nodes_visited, 1);
        if (mheap.free[n].first != NULL)
            return mheap.free[n].first;
    }
    return mtreap_find(&mheap.large, npages, &mheap.stats.nodes_visited);
}

// grow adds a free span of at least npages pages to the heap. Returns false,
// with errno ENOMEM, if the OS refuses; then nothing has changed.
//
// Go: func (h *mheap) grow (mheap.go)
// TCMalloc   PageHeap::GrowHeap
static bool grow(size_t npages) REQUIRES(mheap.lock)
{
    // The struct first: its memory must not lie between these pages and those
    // of the next time, or they cannot merge.
    struct mspan *s = new_span(NULL, npages);
    if (s == NULL)
        return false;
    if (npages < GROW_PAGES) {
        s->npages = GROW_PAGES;
        s->start_addr = sys_alloc(s->npages * PAGE_SIZE);
    }
    if (s->start_addr == NULL) {
        s->npages = npages;
        s->start_addr = sys_alloc(npages * PAGE_SIZE);
    }
    if (s->start_addr != NULL && pagemap_ensure(s->start_addr, s->npages)) {
        coalesce(s);
        return true;
    }
    if (s->start_addr != NULL)
        sys_free(s->start_addr, s->npages * PAGE_SIZE);
    delete_span(s);
    return false;
}

// carve takes the free span s, long enough, and frees what lies below the first
// multiple of align in it, and above npages pages from there. Returns s, or
// NULL, with errno ENOMEM, if there is no memory for the structs of these; then
// s is still free.
//
// TCMalloc   PageHeap::Carve
static struct mspan *carve(struct mspan *s, size_t npages, size_t align)
    REQUIRES(mheap.lock)
{
    size_t n_below = padding_to(s->start_addr, align) / PAGE_SIZE;
    size_t n_above = s->npages - n_below - npages;
    struct mspan *below = NULL;
    struct mspan *above = NULL;

    if (n_below > 0) {
        below = new_span(s->start_addr, n_below);
        if (below == NULL)
            return NULL;
    }
    if (n_above > 0) {
        above = new_span(mspan_end(s) - n_above * PAGE_SIZE, n_above);
        if (above == NULL) {
            if (below != NULL)
                delete_span(below);
            return NULL;
        }
    }
    unlink_free(s);
    s->state = MSPAN_IN_USE;
    s->start_addr += n_below * PAGE_SIZE;
    s->npages = npages;
    pagemap_set(s->start_addr, npages, s);
    count(&mheap.stats.splits, n_below > 0);
    count(&mheap.stats.splits, n_above > 0);
    if (below != NULL)
        push_free(below);
    if (above != NULL)
        push_free(above);
    return s;
}

// Go: func (h *mheap) alloc (mheap.go)
// TCMalloc   PageHeap::NewWithSizeClass
struct mspan *mheap_alloc(size_t npages, size_t align)
{
    assert_lock_held(&mheap.lock);
    // Somewhere in so many pages, npages of them begin at a multiple.
    size_t room = align <= PAGE_SIZE ? npages : npages + align / PAGE_SIZE - 1;
    int saved_errno = errno;

    struct mspan *s = search(room);
    if (s == NULL && grow(room))
        s = search(room);
    if (s != NULL)
        s = carve(s, npages, align);
    if (s == NULL)
        return NULL;
    errno = saved_errno;
    count(&mheap.stats.span_allocs, 1);
    return s;
}

// Go: func (h *mheap) freeSpan (mheap.go)
// TCMalloc   PageHeap::Delete
void mheap_free(struct mspan *s)
{
    assert_lock_held(&mheap.lock);
    ASSERT(s->state == MSPAN_IN_USE);
    count(&mheap.stats.span_frees, 1);
    coalesce(s);
}

// is_mapped tests I2 of s.
static bool is_mapped(const struct mspan *s)
{
    if (s->state == MSPAN_FREE)
        return pagemap_get(s->start_addr) == s &&
               pagemap_get(mspan_end(s) - 1) == s;
    for (const char *p = s->start_addr; p < mspan_end(s); p += PAGE_SIZE)
        if (span_of(p) != s)
            return false;
    return true;
}

// check_spans tests I1 to I3, and counts the free spans of each length; those
// in large as of 0.
static bool check_spans(size_t n_free[MAX_LIST_PAGES]) REQUIRES(mheap.lock)
{
    const struct mspan *last = NULL;
    for (const struct mspan *s = span_next(NULL); s != NULL;
         last = s, s = span_next(mspan_end(s))) {
        if (s->npages == 0 || s->state == MSPAN_DEAD)
            return mm_complain("I1 a span has pages", s);
        if (last != NULL && s->start_addr < mspan_end(last))
            return mm_complain("I1 spans do not overlap", s);
        if (!is_mapped(s))
            return mm_complain("I2 the page map leads to the span", s);
        if (s->state != MSPAN_FREE)
            continue;
        if (last != NULL && last->state == MSPAN_FREE &&
            mspan_end(last) == s->start_addr)
            return mm_complain("I3 no two free spans are neighbours", s);
        n_free[s->npages < MAX_LIST_PAGES ? s->npages : 0]++;
    }
    return true;
}

bool mheap_check(void)
{
    size_t n_free[MAX_LIST_PAGES] = {0};
    assert_lock_held(&mheap.lock);
    if (!check_spans(n_free))
        return false;
    for (size_t n = 1; n < MAX_LIST_PAGES; n++) {
        for (const struct mspan *s = mheap.free[n].first; s != NULL;
             s = s->next) {
            if (s->state != MSPAN_FREE || s->npages != n)
                return mm_complain("I4 what is on a list is free", s);
            if (n_free[n]-- == 0)
                return mm_complain("I4 nothing is on a list twice", s);
        }
        if (n_free[n] != 0)
            return mm_complain("I4 what is free is on a list", NULL);
    }
    return mtreap_check(&mheap.large, n_free[0]);
}
