// malloc.c - blocks from spans: small ones are objects, large ones have a span.
//
// The heap is pages of 8 KiB, and a span is some of them in a row. A request of
// up to 32 KiB takes an object of a span that is cut into objects of its class;
// a larger one takes a span of its own. No block has a header: the page map
// leads from its address to its span, and the span knows the rest.
//
//     small   up to 32 KiB     an object from the cache of the thread
//     medium  up to 127 pages  a span, from the list of its length or above
//     large   above            a span, from the treap
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
#include "mlink.h"

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

    // A page that is in the map, but in no span in use, was freed.
    if (s == NULL)
        mm_misuse(call, p,
                  pagemap_get(p) == NULL ? "not a block of this allocator"
                                         : "double free",
                  NULL, 0);
    else if (!mspan_is_object(s, p))
        mm_misuse(call, p, "no block starts here", NULL, 0);
    else if (s->sizeclass != 0 && mlink_is_sealed(p))
        mm_misuse(call, p, "double free", p, s->elemsize);
    return s;
}

// take_span returns a span of npages pages at a multiple of align, as one
// object. NULL, with errno ENOMEM, if there is no memory.
static struct mspan *take_span(size_t npages, size_t align)
{
    lock_acquire(&mheap.lock);
    struct mspan *s = mheap_alloc(npages, align);
    if (s != NULL)
        mspan_init_objects(s, 0);
    lock_release(&mheap.lock);
    return s;
}

// count_block counts a block of size bytes that is handed out.
static void count_block(size_t size)
{
    count_shared(&mallocs, 1);
    count_peak(&bytes_in_use_peak, count_shared(&bytes_in_use, size));
}

// allocate_small returns a block of a class.
static void *allocate_small(unsigned sizeclass)
{
    void *p = mcache_alloc(sizeclass);
    if (p != NULL)
        count_block(class_size(sizeclass));
    return p;
}

// allocate_large returns a block with a span of its own, at a multiple of
// align.
static void *allocate_large(size_t align, size_t size)
{
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    // No two blocks may have the same address, so even 0 bytes take a page.
    size_t npages = round_up(size + (size == 0), PAGE_SIZE) / PAGE_SIZE;

    // What this thread has in stock may be what is missing.
    int saved_errno = errno;
    struct mspan *s = take_span(npages, align);
    if (s == NULL && mcache_flush()) {
        s = take_span(npages, align);
        if (s != NULL)
            errno = saved_errno;
    }
    if (s == NULL)
        return NULL;
    count_block(s->elemsize);
    return s->start_addr;
}

void *mm_malloc(size_t size)
{
    if (size > MAX_SMALL_SIZE)
        return allocate_large(PAGE_SIZE, size);
    // Class 1, of 8 bytes, is not aligned for every type.
    return allocate_small(
        size_class_of(size < MM_ALIGNMENT ? MM_ALIGNMENT : size));
}

void *mm_alloc_aligned(size_t align, size_t size)
{
    // A span starts on a page; so objects whose size is a multiple of align
    // start at one, too.
    if (size <= MAX_SMALL_SIZE && align <= PAGE_SIZE) {
        unsigned sizeclass = size_class_of(size < align ? align : size);
        for (; sizeclass < NUM_SIZE_CLASSES; sizeclass++)
            if (class_size(sizeclass) % align == 0)
                return allocate_small(sizeclass);
    }
    return allocate_large(align, size);
}

// free_large takes back the block p, which has a span of its own.
static void free_large(void *p)
{
    lock_acquire(&mheap.lock);
    struct mspan *s = span_of(p);
    bool live = s != NULL && s->sizeclass == 0 && s->start_addr == p;
    if (live)
        mheap_free(s);
    lock_release(&mheap.lock);
    if (!live) // another thread freed it a moment ago
        mm_misuse("free", p, "double free", NULL, 0);
}

void mm_free(void *p)
{
    if (p == NULL)
        return;
    const struct mspan *s = span_of_block("free", p);
    count_shared(&frees, 1);
    count_shared(&bytes_in_use, -(uint64_t)s->elemsize);
    if (s->sizeclass == 0)
        free_large(p);
    else
        mcache_free(s->sizeclass, p);
}

size_t mm_block_size(const void *p, const char *call)
{
    return span_of_block(call, p)->elemsize;
}

UNCHECKED void mm_lock_all(void)
{
    for (unsigned i = 0; i < NUM_SIZE_CLASSES; i++)
        lock_acquire(&mcentral[i].lock);
    lock_acquire(&mheap.lock);
}

UNCHECKED void mm_unlock_all(void)
{
    lock_release(&mheap.lock);
    for (unsigned i = NUM_SIZE_CLASSES; i > 0; i--)
        lock_release(&mcentral[i - 1].lock);
}

// ---------------------------------------------------------------------------
// Looking inside.

// The names of lists: each is written once, when it is first shown.
struct list_name {
    char text[40];
};

// name_of returns "before number after" in name.
static const char *name_of(struct list_name *name, const char *before,
                           size_t number, const char *after)
{
    if (name->text[0] == '\0') {
        struct text t = {0};
        text_string(&t, before);
        text_number(&t, number);
        text_string(&t, after);
        memcpy(name->text, t.chars, t.length);
    }
    return name->text;
}

// show_span shows the pages of s.
static void show_span(const struct mspan *s, mm_visit *visit, void *ctx)
    REQUIRES(mheap.lock)
{
    static struct list_name free_names[MAX_LIST_PAGES];
    static struct list_name partial_names[NUM_SIZE_CLASSES];
    struct mm_item item = {
        .kind = MM_SPAN,
        .state = s->state == MSPAN_FREE ? MM_FREE : MM_USED,
        .addr = s->start_addr,
        .size = s->npages * PAGE_SIZE,
    };
    const struct mspan_list *list = NULL;

    if (s->state == MSPAN_FREE && s->npages < MAX_LIST_PAGES) {
        list = &mheap.free[s->npages];
        item.list =
            name_of(&free_names[s->npages], "spans of ", s->npages, " pages");
    } else if (s->state == MSPAN_IN_USE && s->freelist != NULL) {
        list = &mcentral[s->sizeclass].partial;
        item.list = name_of(&partial_names[s->sizeclass],
                            "spans with objects of ", s->elemsize, "");
    }
    if (list != NULL) {
        item.first = list->first == s;
        item.next = s->next == NULL ? NULL : s->next->start_addr;
    }
    visit(&item, ctx);
}

// mark_free sets the bits of those objects of s that are on the list.
static void mark_free(const struct mspan *s, const struct mlink *list,
                      uint64_t *bits)
{
    for (const struct mlink *o = list; o != NULL; o = o->next) {
        size_t i = (size_t)((const char *)o - s->start_addr) / s->elemsize;
        if ((const char *)o >= s->start_addr && i < s->nelems)
            bits[i / 64] |= UINT64_C(1) << i % 64;
    }
}

static bool is_marked(const uint64_t *bits, size_t i)
{
    return (bits[i / 64] >> i % 64 & 1) != 0;
}

// show_objects shows the objects of s, a span in use. What other threads have
// in stock looks like blocks in use: only their owners may look at their lists.
static void show_objects(const struct mspan *s, mm_visit *visit, void *ctx)
    REQUIRES(mheap.lock)
{
    // One bit for each object that is free. What is in the others belongs to
    // the program, which may be writing to it.
    enum { WORDS = PAGE_SIZE / 8 / 64 };
    uint64_t in_span[WORDS] = {0};
    uint64_t in_cache[WORDS] = {0};
    const struct mcache *cache = mcache_mine();
    mark_free(s, s->freelist, in_span);
    if (cache != NULL)
        mark_free(s, cache->lists[s->sizeclass].head, in_cache);

    for (size_t i = 0; i < s->nelems; i++) {
        struct mm_item item = {
            .kind = MM_BLOCK,
            .state = MM_USED,
            .addr = s->start_addr + i * s->elemsize,
            .size = s->elemsize,
        };
        if (is_marked(in_span, i)) {
            item.list = "objects of the span";
            item.owner = s->start_addr;
            item.first = s->freelist == item.addr;
        } else if (cache != NULL && is_marked(in_cache, i)) {
            item.list = "objects of the thread";
            item.owner = &cache->lists[s->sizeclass];
            item.first = cache->lists[s->sizeclass].head == item.addr;
        }
        if (item.list != NULL) {
            item.state = MM_FREE;
            item.next = ((const struct mlink *)item.addr)->next;
        }
        visit(&item, ctx);
    }
}

// region_end returns where the region that begins with s ends: there is a gap.
static const char *region_end(const struct mspan *s) REQUIRES(mheap.lock)
{
    const struct mspan *next = span_next(mspan_end(s));
    while (next != NULL && next->start_addr == mspan_end(s)) {
        s = next;
        next = span_next(mspan_end(s));
    }
    return mspan_end(s);
}

UNCHECKED void mm_walk(mm_visit *visit, void *ctx)
{
    const struct mspan *last = NULL;

    mm_lock_all();
    for (const struct mspan *s = span_next(NULL); s != NULL;
         last = s, s = span_next(mspan_end(s))) {
        if (last == NULL || s->start_addr != mspan_end(last)) {
            struct mm_item region = {
                .kind = MM_REGION,
                .addr = s->start_addr,
                .size = (size_t)(region_end(s) - s->start_addr),
            };
            visit(&region, ctx);
        }
        show_span(s, visit, ctx);
        if (s->state == MSPAN_IN_USE)
            show_objects(s, visit, ctx);
    }
    mm_unlock_all();
}

// check_objects is mm_check with all locks, after the page heap was checked.
UNCHECKED static bool check_objects(void)
{
    size_t n_partial[NUM_SIZE_CLASSES] = {0};
    uint64_t taken = 0; // bytes that are neither in a span nor in the page heap

    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s))) {
        if (s->state == MSPAN_FREE)
            continue;
        if (!mspan_check(s))
            return false;
        n_partial[s->sizeclass] += s->freelist != NULL;
        taken += s->alloc_count * s->elemsize;
    }
    for (unsigned sizeclass = 0; sizeclass < NUM_SIZE_CLASSES; sizeclass++)
        if (!mcentral_check(sizeclass, n_partial[sizeclass]))
            return false;
    // A block is counted after it was taken, until before it is given back. All
    // else that is taken is in caches; nobody looks into those of others.
    const struct mcache *mine = mcache_mine();
    uint64_t known = bytes_in_use + (mine == NULL ? 0 : mine->size);
    if (MM_COUNTERS && (taken < known || (mcache_is_only() && taken != known)))
        return mm_complain("bytes_in_use is the sum of the used blocks", NULL);
    return true;
}

UNCHECKED bool mm_check(void)
{
    mm_lock_all();
    bool ok = mheap_check() && check_objects() && mcache_check();
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
    for (unsigned i = 0; i < NUM_SIZE_CLASSES; i++) {
        const struct mcentral *c = &mcentral[i];
        out->locks_taken += c->lock.taken;
        out->locks_contended += c->lock.contended;
        out->nodes_visited += c->nodes_visited;
        out->batches += c->batches;
        out->batch_objects += c->batch_objects;
    }
    mm_unlock_all();
}
