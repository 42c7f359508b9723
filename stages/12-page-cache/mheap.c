// mheap.c - the page heap: hands out spans of pages, and takes them back.
//
// Which pages are free, bitmaps say: mpagealloc.c. So a free page has no span,
// neighbours need not be merged, and no list is kept in order. A request takes
// the lowest run of free pages that is long enough.
//
// Addresses are reserved by the arena, 64 MiB, and made heap by the chunk, 4
// MiB:
//
//     | chunk | chunk | chunk |                          |
//     |<------- heap -------->|<------- reserved ------->|
//                         cur_arena.base            cur_arena.end
//
// Free pages go back to the OS when there are many: mgcscavenge.c.
//
// Invariant  I1 Spans in use do not overlap.
//            I2 The bit of a page is set exactly if it is of a span in use, or
//               in the page cache of a thread.
//            I3 From each of its pages, the arenas lead to the span.
// Locking    mheap.lock guards all of it.
// TCMalloc   PageHeap in page_heap.cc
// Go         mheap.go

#include "heap.h"

#include <errno.h>

#include "bits.h"
#include "check.h"

// Structs that a thread has in stock, when it was given some.
enum { SPANS_IN_CACHE = 32 };

struct mheap mheap = {
    .lock = LOCK_INIT("heap", RANK_MHEAP),
    .spanalloc = {.size = sizeof(struct mspan)},
    .cachealloc = {.size = sizeof(struct mcache)},
    .blockalloc = {.size = sizeof(struct span_set_block)},
    .partsalloc = {.size = PAGE_SIZE / TINY_SIZE * sizeof(uint32_t)},
    .pages = {.huge_pages = (2 << 20) / PAGE_SIZE}, // as on x86-64 and arm64
};

// add_pages makes n bytes at p, whole chunks of reserved memory, free pages of
// the heap. Returns false, with errno ENOMEM, if the OS refuses; then they are
// no part of it.
static bool add_pages(char *p, size_t n) REQUIRES(mheap.lock)
{
    return sys_map(p, n) && page_alloc_grow(&mheap.pages, (uintptr_t)p, n);
}

// grow adds at least npages free pages in a row to the heap. Returns false,
// with errno ENOMEM, if the OS refuses.
//
// Go: func (h *mheap) grow (mheap.go)
static bool grow(size_t npages) REQUIRES(mheap.lock)
{
    size_t ask = round_up(npages, PALLOC_CHUNK_PAGES) * PAGE_SIZE;
    struct heap_space *cur = &mheap.cur_arena;

    if ((size_t)(cur->end - cur->base) < ask) {
        size_t n = ask;
        char *p = arena_reserve(&n);
        if (p == NULL)
            return false;
        if (p == cur->end) {
            cur->end += n;
        } else {
            // What is left of the old space is of use, too, if not for this.
            if (cur->base < cur->end)
                add_pages(cur->base, (size_t)(cur->end - cur->base));
            *cur = (struct heap_space){p, p + n};
        }
    }
    if (!add_pages(cur->base, ask))
        return false;
    cur->base += ask;
    return true;
}

// count_used counts npages pages that are in use from here on.
static void count_used(struct page_run run, size_t npages) REQUIRES(mheap.lock)
{
    if (run.scav > 0)
        sys_used((void *)run.base, run.scav * PAGE_SIZE);
    scavenge_note_use(run.scav);
    mheap.pages_in_use += npages;
    if (mheap.pages_in_use > mheap.peak_pages)
        mheap.peak_pages = mheap.pages_in_use;
}

// use_range takes npages free pages from base on.
static void use_range(uintptr_t base, size_t npages) REQUIRES(mheap.lock)
{
    count_used((struct page_run){base, page_alloc_alloc_range(&mheap.pages,
                                                              base, npages)},
               npages);
}

// take_pages takes npages free pages in a row that begin at a multiple of
// align. Returns the address of the first; 0: there are none.
static uintptr_t take_pages(size_t npages, size_t align) REQUIRES(mheap.lock)
{
    if (align <= PAGE_SIZE) {
        struct page_run run = page_alloc_alloc(&mheap.pages, npages);
        if (run.base != 0)
            count_used(run, npages);
        return run.base;
    }
    // Somewhere in so many pages, npages of them begin at a multiple.
    uintptr_t base =
        page_alloc_find(&mheap.pages, npages + align / PAGE_SIZE - 1);
    if (base == 0)
        return 0;
    base = round_up(base, align);
    use_range(base, npages);
    return base;
}

// put_pages makes npages pages from base on free.
static void put_pages(uintptr_t base, size_t npages) REQUIRES(mheap.lock)
{
    page_alloc_free(&mheap.pages, base, npages, false);
    mheap.pages_in_use -= npages;
    scavenge_after_free(npages);
}

// pages_of returns the free pages of c.
static inline size_t pages_of(const struct page_cache *c)
{
    return popcount64(c->cache);
}

// fill_cache fills what is empty in c: pages, if there are free ones, structs,
// if there is memory.
static void fill_cache(struct mcache *c) REQUIRES(mheap.lock)
{
    if (c->pcache.cache == 0) {
        c->pcache = page_alloc_alloc_to_cache(&mheap.pages);
        count_used(
            (struct page_run){c->pcache.base, popcount64(c->pcache.scav)},
            pages_of(&c->pcache));
    }
    while (c->n_spans < SPANS_IN_CACHE) {
        struct mspan *s = fixalloc_alloc(&mheap.spanalloc);
        if (s == NULL)
            return;
        mspan_init(s, NULL, 0);
        mspan_list_insert(&c->spans, s);
        c->n_spans++;
    }
}

void mheap_flush_cache(void)
{
    assert_lock_held(&mheap.lock);
    struct mcache *c = mcache_mine();
    if (c == NULL)
        return;
    uintptr_t base = c->pcache.base;
    size_t npages = pages_of(&c->pcache);
    if (npages > 0) {
        sys_untouched((size_t)popcount64(c->pcache.scav) * PAGE_SIZE);
        page_cache_flush(&c->pcache, &mheap.pages);
        // Unlike Go: these pages may be all that is left to scavenge.
        scavenge_index_mark(&mheap.pages, base,
                            base + (size_t)PAGE_CACHE_PAGES * PAGE_SIZE);
        mheap.pages_in_use -= npages;
    }
    for (; c->n_spans > 0; c->n_spans--) {
        struct mspan *s = c->spans.first;
        mspan_list_remove(&c->spans, s);
        fixalloc_free(&mheap.spanalloc, s);
    }
}

// Go: func (h *mheap) allocSpan (mheap.go)
struct mspan *mheap_alloc_cached(size_t npages, spanclass class)
{
    struct mcache *c = mcache_mine();
    int saved_errno = errno;

    // Longer runs are seldom found in a cache.
    if (c == NULL || npages >= PAGE_CACHE_PAGES / 4)
        return NULL;
    if (c->pcache.cache == 0 || c->n_spans == 0) {
        lock_acquire(&mheap.lock);
        fill_cache(c);
        lock_release(&mheap.lock);
        errno = saved_errno;
        if (c->n_spans == 0)
            return NULL;
    }
    struct page_run run = page_cache_alloc(&c->pcache, npages);
    if (run.base == 0)
        return NULL;
    struct mspan *s = c->spans.first;
    mspan_list_remove(&c->spans, s);
    c->n_spans--;
    mspan_init(s, (char *)run.base, npages);
    s->needzero = arena_needs_zero(run.base, npages);
    s->state = MSPAN_IN_USE;
    mspan_init_objects(s, class);
    arena_set_span(s);
    count_shared(&mheap.cached_spans, 1);
    return s;
}

// delete_span ends s. The arenas may still lead to it.
//
// Go: func (h *mheap) freeMSpanLocked (mheap.go)
static void delete_span(struct mspan *s) REQUIRES(mheap.lock)
{
    mspan_init(s, NULL, 0);
    fixalloc_free(&mheap.spanalloc, s);
}

// Go: func (h *mheap) allocSpan (mheap.go)
// TCMalloc   PageHeap::NewWithSizeClass
struct mspan *mheap_alloc(size_t npages, size_t align)
{
    assert_lock_held(&mheap.lock);
    size_t room = align <= PAGE_SIZE ? npages : npages + align / PAGE_SIZE - 1;
    int saved_errno = errno;

    struct mspan *s = fixalloc_alloc(&mheap.spanalloc);
    if (s == NULL)
        return NULL;
    uintptr_t base = take_pages(npages, align);
    if (base == 0) {
        // What this thread has may be what is missing.
        mheap_flush_cache();
        base = take_pages(npages, align);
    }
    if (base == 0 && grow(room))
        base = take_pages(npages, align);
    if (base == 0) {
        fixalloc_free(&mheap.spanalloc, s);
        return NULL;
    }
    mspan_init(s, (char *)base, npages);
    s->needzero = arena_needs_zero(base, npages);
    s->state = MSPAN_IN_USE;
    arena_set_span(s);
    errno = saved_errno;
    count(&mheap.stats.span_allocs, 1);
    return s;
}

// Go: func (h *mheap) freeSpanLocked (mheap.go)
// TCMalloc   PageHeap::Delete
void mheap_free(struct mspan *s)
{
    assert_lock_held(&mheap.lock);
    ASSERT(s->state == MSPAN_IN_USE);
    count(&mheap.stats.span_frees, 1);
    arena_clear_span(s);
    put_pages((uintptr_t)s->start_addr, s->npages);
    delete_span(s);
}

// is_free_above tells whether the npages pages above s are free. Those that are
// no part of the heap so far become so, if they can.
static bool is_free_above(const struct mspan *s, size_t npages)
    REQUIRES(mheap.lock)
{
    uintptr_t end = (uintptr_t)mspan_end(s);
    uintptr_t heap_end = (uintptr_t)mheap.cur_arena.base;
    size_t n = (heap_end - end) / PAGE_SIZE; // so many are in the heap

    if (end <= heap_end && n < npages &&
        (page_alloc_count(&mheap.pages, end, n) > 0 || !grow(npages - n)))
        return false;
    return page_alloc_count(&mheap.pages, end, npages) == 0;
}

bool mheap_resize(struct mspan *s, size_t npages)
{
    assert_lock_held(&mheap.lock);
    ASSERT(s->state == MSPAN_IN_USE && npages > 0);
    uintptr_t end = (uintptr_t)mspan_end(s);
    int saved_errno = errno;

    if (npages < s->npages) {
        size_t less = s->npages - npages;
        put_pages(end - less * PAGE_SIZE, less);
    } else {
        size_t more = npages - s->npages;
        bool possible = is_free_above(s, more);
        errno = saved_errno;
        if (!possible)
            return false;
        use_range(end, more);
        s->needzero |= arena_needs_zero(end, more);
    }
    s->npages = npages;
    arena_set_span(s);
    return true;
}

// is_mine tells whether the page at p is free in the page cache of the calling
// thread.
static bool is_mine(const char *p)
{
    const struct mcache *c = mcache_mine();
    uintptr_t i = c == NULL ? 64 : ((uintptr_t)p - c->pcache.base) / PAGE_SIZE;
    return i < 64 && (c->pcache.cache >> i & 1) != 0;
}

void mheap_recover(void)
{
    const struct page_alloc *pages = &mheap.pages;
    const char *p = NULL;

    assert_lock_held(&mheap.lock);
    for (chunk_idx ci = page_alloc_next_chunk(pages, 0); ci < pages->end;
         ci = page_alloc_next_chunk(pages, ci + 1)) {
        const char *end = (const char *)chunk_base(ci + 1);
        if (p < (const char *)chunk_base(ci)) // no span leads into the chunk
            p = (const char *)chunk_base(ci);
        while (p < end) {
            const struct mspan *s = span_next(p);
            for (; p < end && (s == NULL || p < s->start_addr); p += PAGE_SIZE)
                if (page_alloc_count(pages, (uintptr_t)p, 1) > 0 && !is_mine(p))
                    put_pages((uintptr_t)p, 1);
            if (s != NULL && p == s->start_addr)
                p = mspan_end(s);
        }
    }
}

bool mheap_check(void)
{
    size_t npages = 0; // of spans
    size_t n_set = 0; // of bits
    const char *end = NULL;

    assert_lock_held(&mheap.lock);
    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(end)) {
        if (s->npages == 0 || s->state != MSPAN_IN_USE)
            return mm_complain("I1 a span in use has pages", s);
        if (s->start_addr < end)
            return mm_complain("I1 spans do not overlap", s);
        if (page_alloc_count(&mheap.pages, (uintptr_t)s->start_addr,
                             s->npages) != s->npages)
            return mm_complain("I2 the pages of a span are in use", s);
        if (!arena_check(s))
            return false;
        for (end = s->start_addr; end < mspan_end(s); end += PAGE_SIZE)
            if (is_mine(end))
                return mm_complain("I2 a cached page has no span", s);
        npages += s->npages;
    }
    for (chunk_idx ci = page_alloc_next_chunk(&mheap.pages, 0);
         ci < mheap.pages.end; ci = page_alloc_next_chunk(&mheap.pages, ci + 1))
        n_set +=
            page_alloc_count(&mheap.pages, chunk_base(ci), PALLOC_CHUNK_PAGES);
    if (n_set != mheap.pages_in_use || n_set < npages)
        return mm_complain("I2 pages in use are counted", NULL);
    // Of other threads, only they know what is in their caches.
    const struct mcache *c = mcache_mine();
    if (mcache_is_only() && n_set != npages + pages_of(&c->pcache))
        return mm_complain("I2 a page in use has a span, or is cached", NULL);
    if (c != NULL && !page_cache_check(&c->pcache, &mheap.pages))
        return false;
    return page_alloc_check(&mheap.pages) && scavenge_check();
}
