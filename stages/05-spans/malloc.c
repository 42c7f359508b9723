// malloc.c - blocks from spans: small ones are objects, large ones have a span.
//
// The heap is pages of 8 KiB, and a span is some of them in a row. A request of
// up to 32 KiB takes an object of a span that is cut into objects of its class;
// a larger one takes a span of its own. No block has a header: the page map
// leads from its address to its span, and the span knows the rest.
//
//     small   up to 32 KiB     an object of the first span in partial[class]
//     medium  up to 127 pages  a span, from the list of its length or above
//     large   above            a span, from the treap
//
// Invariant  I1 A span of a class is on partial exactly if it has free objects.
//            I2 At most one span of a class is empty: it stays, so that a block
//               that comes and goes does not cut a span each time.
// Locking    mheap.lock guards everything.
// TCMalloc   tcmalloc.cc, central_freelist.cc
// Go         malloc.go

#include "mm.h"

#include <errno.h>
#include <string.h>

#include "bits.h"
#include "check.h"
#include "heap.h"
#include "lock.h"
#include "mlink.h"

// The spans of each class that have free objects.
static struct mspan_list partial[NUM_SIZE_CLASSES] GUARDED_BY(mheap.lock);
// How many of them are empty: all of their objects are free.
static unsigned n_empty[NUM_SIZE_CLASSES] GUARDED_BY(mheap.lock);

// fail reports a misuse, or damage that one left behind, without the lock.
static _Noreturn void fail(const char *call, const void *p, const char *what,
                           const void *block, size_t size) RELEASES(mheap.lock)
{
    lock_release(&mheap.lock);
    mm_misuse(call, p, what, block, size);
}

// span_of_block returns the span of the live block p. Anything else is a misuse
// of the function named call.
static struct mspan *span_of_block(const char *call, const void *p)
    REQUIRES(mheap.lock)
{
    assert_lock_held(&mheap.lock);
    struct mspan *s = span_of(p);

    // A page that is in the map, but in no span in use, was freed.
    if (s == NULL)
        fail(call, p,
             pagemap_get(p) == NULL ? "not a block of this allocator"
                                    : "double free",
             NULL, 0);
    else if (!mspan_is_object(s, p))
        fail(call, p, "no block starts here", NULL, 0);
    else if (s->sizeclass != 0 && mlink_is_sealed(p))
        fail(call, p, "double free", p, s->elemsize);
    return s;
}

// free_empty gives the empty span s of a class back to the page heap.
static void free_empty(struct mspan *s) REQUIRES(mheap.lock)
{
    n_empty[s->sizeclass]--;
    mspan_list_remove(&partial[s->sizeclass], s);
    mheap_free(s);
}

// free_all_empty does that with all of them. Returns whether there were any.
static bool free_all_empty(void) REQUIRES(mheap.lock)
{
    bool any = false;
    for (unsigned sizeclass = 1; sizeclass < NUM_SIZE_CLASSES; sizeclass++) {
        struct mspan *s = partial[sizeclass].first;
        while (n_empty[sizeclass] > 0) {
            struct mspan *next = s->next;
            if (s->alloc_count == 0) {
                free_empty(s);
                any = true;
            }
            s = next;
        }
    }
    return any;
}

// take_span returns a span of npages pages at a multiple of align, cut into
// objects of a class. NULL, with errno ENOMEM, if there is no memory.
static struct mspan *take_span(size_t npages, size_t align, unsigned sizeclass)
    REQUIRES(mheap.lock)
{
    int saved_errno = errno;
    struct mspan *s = mheap_alloc(npages, align);
    if (s == NULL && free_all_empty()) {
        s = mheap_alloc(npages, align);
        if (s != NULL)
            errno = saved_errno;
    }
    if (s != NULL)
        mspan_init_objects(s, sizeclass);
    return s;
}

// count_block counts a block of size bytes that is handed out.
static void count_block(size_t size) REQUIRES(mheap.lock)
{
    count(&mheap.stats.mallocs, 1);
    count_level(&mheap.stats.bytes_in_use, &mheap.stats.bytes_in_use_peak,
                mheap.stats.bytes_in_use + size);
}

// take_object takes an object off the span s, which has one.
static void *take_object(struct mspan *s) REQUIRES(mheap.lock)
{
    void *p = s->freelist;
    if (!mlink_is_sealed(p))
        fail("malloc", p, "something wrote to a block after it was freed", p,
             s->elemsize);
    mlink_pop(&s->freelist);
    if (s->alloc_count++ == 0)
        n_empty[s->sizeclass]--;
    if (s->freelist == NULL)
        mspan_list_remove(&partial[s->sizeclass], s);
    return p;
}

// allocate_small returns a block of a class.
static void *allocate_small(unsigned sizeclass)
{
    void *p = NULL;

    lock_acquire(&mheap.lock);
    count(&mheap.stats.nodes_visited, 1);
    struct mspan *s = partial[sizeclass].first;
    if (s == NULL) {
        s = take_span(class_npages(sizeclass), PAGE_SIZE, sizeclass);
        if (s != NULL) {
            mspan_list_insert(&partial[sizeclass], s);
            n_empty[sizeclass]++;
        }
    }
    if (s != NULL) {
        p = take_object(s);
        count_block(s->elemsize);
    }
    lock_release(&mheap.lock);
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

    lock_acquire(&mheap.lock);
    struct mspan *s = take_span(npages, align, 0);
    if (s != NULL)
        count_block(s->elemsize);
    lock_release(&mheap.lock);
    return s == NULL ? NULL : s->start_addr;
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

// free_object puts the object p back on its span s, and s where it belongs.
static void free_object(struct mspan *s, void *p) REQUIRES(mheap.lock)
{
    if (s->freelist == NULL)
        mspan_list_insert(&partial[s->sizeclass], s);
    mlink_push(&s->freelist, p);
    s->alloc_count--;
    if (s->alloc_count == 0 && ++n_empty[s->sizeclass] > 1)
        free_empty(s);
}

void mm_free(void *p)
{
    if (p == NULL)
        return;
    lock_acquire(&mheap.lock);
    struct mspan *s = span_of_block("free", p);
    count(&mheap.stats.frees, 1);
    count_level(&mheap.stats.bytes_in_use, &mheap.stats.bytes_in_use_peak,
                mheap.stats.bytes_in_use - s->elemsize);
    if (s->sizeclass == 0)
        mheap_free(s);
    else
        free_object(s, p);
    lock_release(&mheap.lock);
}

size_t mm_block_size(const void *p, const char *call)
{
    lock_acquire(&mheap.lock);
    size_t size = span_of_block(call, p)->elemsize;
    lock_release(&mheap.lock);
    return size;
}

void mm_lock_all(void) ACQUIRES(mheap.lock)
{
    lock_acquire(&mheap.lock);
}

void mm_unlock_all(void) RELEASES(mheap.lock)
{
    lock_release(&mheap.lock);
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
        list = &partial[s->sizeclass];
        item.list = name_of(&partial_names[s->sizeclass],
                            "spans with objects of ", s->elemsize, "");
    }
    if (list != NULL) {
        item.first = list->first == s;
        item.next = s->next == NULL ? NULL : s->next->start_addr;
    }
    visit(&item, ctx);
}

// show_objects shows the objects of s, a span in use.
static void show_objects(const struct mspan *s, mm_visit *visit, void *ctx)
    REQUIRES(mheap.lock)
{
    // One bit for each object that is free. What is in the others belongs to
    // the program, which may be writing to it.
    uint64_t is_free[PAGE_SIZE / 8 / 64] = {0};
    for (const struct mlink *o = s->freelist; o != NULL; o = o->next) {
        size_t i = (size_t)((const char *)o - s->start_addr) / s->elemsize;
        is_free[i / 64] |= UINT64_C(1) << i % 64;
    }
    for (size_t i = 0; i < s->nelems; i++) {
        struct mm_item item = {
            .kind = MM_BLOCK,
            .state = MM_USED,
            .addr = s->start_addr + i * s->elemsize,
            .size = s->elemsize,
        };
        if ((is_free[i / 64] >> i % 64 & 1) != 0) {
            const struct mlink *link = item.addr;
            item.state = MM_FREE;
            item.list = "objects of the span";
            item.owner = s->start_addr;
            item.first = s->freelist == link;
            item.next = link->next;
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

void mm_walk(mm_visit *visit, void *ctx)
{
    const struct mspan *last = NULL;

    lock_acquire(&mheap.lock);
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
    lock_release(&mheap.lock);
}

// check_partial tests I1 and I2: n spans of the class have free objects.
static bool check_partial(unsigned sizeclass, size_t n) REQUIRES(mheap.lock)
{
    unsigned empty = 0;
    for (const struct mspan *s = partial[sizeclass].first; s != NULL;
         s = s->next) {
        if (s->state != MSPAN_IN_USE || s->sizeclass != sizeclass ||
            s->freelist == NULL)
            return mm_complain("I1 what is on partial has free objects", s);
        if (n-- == 0)
            return mm_complain("I1 nothing is on partial twice", s);
        empty += s->alloc_count == 0;
    }
    if (n != 0)
        return mm_complain("I1 what has free objects is on partial", NULL);
    if (empty != n_empty[sizeclass] || empty > 1)
        return mm_complain("I2 at most one span of a class is empty", NULL);
    return true;
}

// check_objects is mm_check with the lock, after the page heap was checked.
static bool check_objects(void) REQUIRES(mheap.lock)
{
    size_t n_partial[NUM_SIZE_CLASSES] = {0};
    uint64_t used = 0;

    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s))) {
        if (s->state == MSPAN_FREE)
            continue;
        if (!mspan_check(s))
            return false;
        n_partial[s->sizeclass] += s->freelist != NULL;
        used += s->alloc_count * s->elemsize;
    }
    for (unsigned sizeclass = 0; sizeclass < NUM_SIZE_CLASSES; sizeclass++)
        if (!check_partial(sizeclass, n_partial[sizeclass]))
            return false;
    if (MM_COUNTERS && used != mheap.stats.bytes_in_use)
        return mm_complain("bytes_in_use is the sum of the used blocks", NULL);
    return true;
}

bool mm_check(void)
{
    lock_acquire(&mheap.lock);
    bool ok = mheap_check() && check_objects();
    lock_release(&mheap.lock);
    return ok;
}

void mm_stats(struct mm_stats *out)
{
    lock_acquire(&mheap.lock);
    *out = mheap.stats;
    out->locks_taken = mheap.lock.taken;
    out->locks_contended = mheap.lock.contended;
    lock_release(&mheap.lock);
}
