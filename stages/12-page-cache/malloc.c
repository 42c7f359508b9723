// malloc.c - blocks from spans: small ones are objects, large ones have a span.
//
// The heap is pages of 8 KiB, and a span is some of them in a row. A request of
// up to 32 KiB takes an object of a span that is cut into objects of its class;
// a larger one takes a span of its own. No block has a header: the arenas lead
// from its address to its span, and the span knows the rest.
//
//     small   up to 32 KiB     an object of a span in the cache of the thread
//     large   above            a span of its own, of as many pages as it needs
//
// The usual malloc takes a bit of such a span, the usual free gives it back.
// Each is a function that calls nothing; all that is not usual is in another.
//
// Locking    A small block needs none here, others mheap.lock. The span of a
//            live block does not change, so span_of is asked without a lock.
// TCMalloc   tcmalloc.cc
// Go         malloc.go

#include "mm.h"

#include <errno.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "heap.h"
#include "lock.h"

// What all threads count. bytes_in_use goes down by adding a negative number.
static _Atomic(uint64_t) mallocs;
static _Atomic(uint64_t) frees;
static _Atomic(uint64_t) bytes_in_use;
static _Atomic(uint64_t) bytes_in_use_peak;

// span_of_block returns the span of the live block p. Anything else is a misuse
// of the function named call.
static struct mspan *span_of_block(const char *call, const void *p)
{
    struct mspan *s = span_of(p);
    size_t slot;

    // A page that was in a span, but is in none in use, was freed.
    if (s == NULL)
        mm_misuse(call, p,
                  arena_get(p) == NULL ? "not a block of this allocator"
                                       : "double free",
                  NULL, 0);
    else if (mtiny_has_parts(s, p)) {
        if (mtiny_block_size(s, p) == 0)
            mm_misuse(call, p, "no block starts here", NULL, 0);
    } else if (!mspan_find(s, p, &slot))
        mm_misuse(call, p, "no block starts here", NULL, 0);
    else if (!mspan_is_live(s, slot))
        mm_misuse(call, p, "double free", p, s->elemsize);
    return s;
}

// take_span returns a span of npages pages at a multiple of align, as one
// object. NULL, with errno ENOMEM, if there is no memory.
static struct mspan *take_span(size_t npages, size_t align, bool noscan)
{
    spanclass class = make_spanclass(0, noscan);
    struct mspan *s =
        align <= PAGE_SIZE ? mheap_alloc_cached(npages, class) : NULL;
    if (s == NULL) {
        lock_acquire(&mheap.lock);
        s = mheap_alloc(npages, align);
        if (s != NULL)
            mspan_init_objects(s, class);
        lock_release(&mheap.lock);
    }
    if (s != NULL)
        mspan_next_free_fast(s, mspan_next(s));
    return s;
}

// hand_out counts the block p of size bytes, and returns it.
static inline void *hand_out(void *p, size_t size)
{
    count_shared(&mallocs, 1);
    count_peak(&bytes_in_use_peak, count_shared(&bytes_in_use, size));
    return p;
}

// take_back counts that a block of size bytes is freed. First, for when it is
// free, another malloc may count it again.
static inline void take_back(size_t size)
{
    count_shared(&frees, 1);
    count_shared(&bytes_in_use, -(uint64_t)size);
}

// allocate_small returns a block of a class.
static void *allocate_small(spanclass class)
{
    struct mspan *s = *mcache_span(mcache, class);
    uint64_t word = mspan_next(s);
    void *p =
        word != 0 ? mspan_next_free_fast(s, word) : mcache_next_free(class);
    return p == NULL ? NULL
                     : hand_out(p, class_size(spanclass_sizeclass(class)));
}

// allocate_large returns a block with a span of its own, at a multiple of
// align.
static void *allocate_large(size_t align, size_t size, bool noscan)
{
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    // No two blocks may have the same address, so even 0 bytes take a page.
    size_t npages = round_up(size + (size == 0), PAGE_SIZE) / PAGE_SIZE;

    // What this thread has in stock may be what is missing.
    int saved_errno = errno;
    struct mspan *s = take_span(npages, align, noscan);
    if (s == NULL && mcache_flush()) {
        s = take_span(npages, align, noscan);
        if (s != NULL)
            errno = saved_errno;
    }
    if (s == NULL)
        return NULL;
    return hand_out(s->start_addr, s->elemsize);
}

// allocate_slowly is mm_malloc, whatever the size.
static __attribute__((noinline)) void *allocate_slowly(size_t size)
{
    if (size > MAX_SMALL_SIZE)
        return allocate_large(PAGE_SIZE, size, false);
    // Class 1, of 8 bytes, is not aligned for every type.
    return allocate_small(make_spanclass(
        size_class_of(size < MM_ALIGNMENT ? MM_ALIGNMENT : size), false));
}

// Go: func mallocgc (malloc.go)
void *mm_malloc(size_t size)
{
    if (size > SMALL_SIZE_MAX)
        return allocate_slowly(size);
    // Blocks are multiples of 16 bytes, the table has units of 8. Class 0, for
    // 0 bytes, has no spans.
    unsigned sizeclass = size_to_class8[(size + 15) / 16 * 2];
    struct mspan *s = mcache->alloc[0][sizeclass];
    uint64_t word = mspan_next(s);
    if (word == 0)
        return allocate_slowly(size);
    return hand_out(mspan_next_free_fast(s, word), s->elemsize);
}

// Go: func mallocgc (malloc.go)
// There, for a type without pointers.
void *mm_malloc_noscan(size_t size)
{
    if (size > MAX_SMALL_SIZE)
        return allocate_large(PAGE_SIZE, size, true);
    if (size >= TINY_SIZE)
        return allocate_small(make_spanclass(size_class_of(size), true));
    size += size == 0; // no two blocks may have the same address
    void *p = mtiny_alloc(size);
    return p == NULL ? NULL : hand_out(p, size);
}

void *mm_alloc_aligned(size_t align, size_t size)
{
    // A span starts on a page; so objects whose size is a multiple of align
    // start at one, too.
    if (size <= MAX_SMALL_SIZE && align <= PAGE_SIZE) {
        unsigned sizeclass = size_class_of(size < align ? align : size);
        for (; sizeclass < NUM_SIZE_CLASSES; sizeclass++)
            if (class_size(sizeclass) % align == 0)
                return allocate_small(make_spanclass(sizeclass, false));
    }
    return allocate_large(align, size, false);
}

// free_large takes back the span s of a large block. Returns false if another
// thread did so a moment ago.
static bool free_large(struct mspan *s)
{
    if (!mspan_clear_mark(s, 0))
        return false;
    lock_acquire(&mheap.lock);
    mheap_free(s);
    lock_release(&mheap.lock);
    return true;
}

// block_size returns the size of the live block p of s.
static size_t block_size(const struct mspan *s, const void *p)
{
    return mtiny_has_parts(s, p) ? mtiny_block_size(s, p) : s->elemsize;
}

// free_object frees the block of s, or of no span, that begins at p. Returns
// false if there is none, or it is free.
static bool free_object(struct mspan *s, const void *p)
{
    size_t slot;
    if (s == NULL)
        return false;
    if (mtiny_has_parts(s, p)) {
        take_back(block_size(s, p));
        return mtiny_free(s, p);
    }
    if (!mspan_find(s, p, &slot))
        return false;
    take_back(s->elemsize);
    return spanclass_sizeclass(s->spanclass) == 0 ? free_large(s)
                                                  : mcache_free(s, slot);
}

// free_slowly is mm_free, whatever p is.
static __attribute__((noinline)) void free_slowly(void *p)
{
    if (p == NULL || free_object(span_of(p), p))
        return;
    // What is wrong? If nothing is left to see: two threads freed it at once.
    const struct mspan *s = span_of_block("free", p);
    mm_misuse("free", p, "double free", p, s->elemsize);
}

void mm_free(void *p)
{
    struct mspan *s = span_hint(p);
    size_t slot;
    if (atomic_load_explicit(&s->owner, memory_order_relaxed) != mcache ||
        !mspan_find(s, p, &slot) || !mspan_free(s, slot)) {
        free_slowly(p);
        return;
    }
    take_back(s->elemsize);
}

bool mm_is_zero(const void *p)
{
    const struct mspan *s = span_of(p);
    return spanclass_sizeclass(s->spanclass) == 0 && !s->needzero;
}

bool mm_resize(void *p, size_t size)
{
    struct mspan *s = span_of(p);
    if (spanclass_sizeclass(s->spanclass) != 0 || size <= MAX_SMALL_SIZE ||
        size > PTRDIFF_MAX)
        return false;

    size_t old_size = s->elemsize;
    lock_acquire(&mheap.lock);
    bool done = mheap_resize(s, round_up(size, PAGE_SIZE) / PAGE_SIZE);
    if (done)
        mspan_resize_object(s);
    lock_release(&mheap.lock);
    if (done)
        count_peak(&bytes_in_use_peak,
                   count_shared(&bytes_in_use, s->elemsize - old_size));
    return done;
}

size_t mm_block_size(const void *p, const char *call)
{
    return block_size(span_of_block(call, p), p);
}

bool mm_release(size_t pad)
{
    lock_acquire(&mheap.lock);
    size_t before = mheap.pages.scav.released;
    lock_release(&mheap.lock);
    mcache_flush(); // this frees pages, and some may go back at once
    lock_acquire(&mheap.lock);
    scavenge_all(pad);
    bool any = mheap.pages.scav.released > before;
    lock_release(&mheap.lock);
    return any;
}

UNCHECKED void mm_lock_all(void)
{
    lock_acquire(&mheap.lock);
}

UNCHECKED void mm_unlock_all(void)
{
    lock_release(&mheap.lock);
}

void mm_fork_child(void)
{
    lock_acquire(&mheap.lock);
    mheap_recover();
    lock_release(&mheap.lock);
    mcentral_recover();
}

// ---------------------------------------------------------------------------
// Looking inside.

// show_free shows the free pages from p to below end: those that are scavenged
// apart from others.
static void show_free(const char *p, const char *end, mm_visit *visit,
                      void *ctx) REQUIRES(mheap.lock)
{
    while (p < end) {
        struct mm_item item = {
            .kind = MM_SPAN,
            .state = MM_FREE,
            .released = page_alloc_is_scavenged(&mheap.pages, (uintptr_t)p),
            .addr = p,
        };
        while (p < end && page_alloc_is_scavenged(&mheap.pages, (uintptr_t)p) ==
                              item.released)
            p += PAGE_SIZE;
        item.size = (size_t)(p - (const char *)item.addr);
        visit(&item, ctx);
    }
}

// show_span shows the pages of s, a span in use.
static void show_span(const struct mspan *s, mm_visit *visit, void *ctx)
{
    struct mm_item item = {
        .kind = MM_SPAN,
        .state = MM_USED,
        .addr = s->start_addr,
        .size = s->npages * PAGE_SIZE,
    };
    visit(&item, ctx);
}

// show_objects shows the objects of s, a span in use.
static void show_objects(const struct mspan *s, mm_visit *visit, void *ctx)
    REQUIRES(mheap.lock)
{
    for (size_t i = 0; i < s->nelems; i++) {
        const char *p = s->start_addr + i * s->elemsize;
        struct mm_item item = {
            .kind = MM_BLOCK,
            .state = mspan_is_live(s, i) ? MM_USED : MM_FREE,
            .addr = p,
            .size = s->elemsize,
        };
        visit(&item, ctx);
    }
}

// show_region shows what is in the chunks first .. end-1, which lie in a row.
static void show_region(chunk_idx first, chunk_idx end, mm_visit *visit,
                        void *ctx) REQUIRES(mheap.lock)
{
    const char *p = (const char *)chunk_base(first);
    const char *region_end = (const char *)chunk_base(end);
    struct mm_item region = {
        .kind = MM_REGION, .addr = p, .size = (size_t)(region_end - p)};

    visit(&region, ctx);
    while (p < region_end) {
        const struct mspan *s = span_next(p);
        const char *used = s == NULL || s->start_addr > region_end
                               ? region_end
                               : s->start_addr;
        show_free(p, used, visit, ctx);
        if (used == region_end)
            break;
        show_span(s, visit, ctx);
        show_objects(s, visit, ctx);
        p = mspan_end(s);
    }
}

UNCHECKED void mm_walk(mm_visit *visit, void *ctx)
{
    const struct page_alloc *pages = &mheap.pages;

    mm_lock_all();
    for (chunk_idx ci = page_alloc_next_chunk(pages, 0); ci < pages->end;) {
        chunk_idx first = ci;
        chunk_idx end = ci;
        while (end < pages->end && ci == end) {
            end++;
            ci = page_alloc_next_chunk(pages, end);
        }
        show_region(first, end, visit, ctx);
    }
    mm_unlock_all();
}

// check_objects tests the objects of all spans, if no other thread has a cache:
// else there is always something on its way.
static bool check_objects(void) REQUIRES(mheap.lock)
{
    uint64_t taken = 0; // bytes

    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s))) {
        if (!mspan_check(s) || (s->parts != NULL && !mtiny_check(s)))
            return false;
        for (size_t i = 0; i < s->nelems; i++)
            taken += s->parts != NULL ? mtiny_bytes(s, i)
                                      : mspan_is_live(s, i) * s->elemsize;
    }
    if (MM_COUNTERS && taken != bytes_in_use)
        return mm_complain("bytes_in_use is the sum of the used blocks", NULL);
    return mcentral_check();
}

UNCHECKED bool mm_check(void)
{
    mm_lock_all();
    bool ok = mheap_check() && mcache_check() &&
              (!mcache_is_only() || check_objects());
    mm_unlock_all();
    return ok;
}

UNCHECKED void mm_stats(struct mm_stats *out)
{
    mm_lock_all();
    *out = mheap.stats;
    out->frees = frees; // first: a free counted here has its malloc below
    out->mallocs = mallocs;
    out->bytes_in_use = bytes_in_use;
    out->bytes_in_use_peak = bytes_in_use_peak;
    out->locks_taken = mheap.lock.taken;
    out->locks_contended = mheap.lock.contended;
    out->tiny_allocs = tiny_allocs;
    out->span_allocs += mheap.cached_spans;
    for (unsigned i = 0; i < NUM_SPAN_CLASSES; i++) {
        out->batches += mcentral[i].spans;
        out->batch_objects += mcentral[i].objects;
    }
    mm_unlock_all();
}
