// mcentral.c - the spans of each class, for all threads.
//
// Threads take and bring back objects in batches: the lock is taken once for up
// to 32 of them (for more, when a cache is scavenged or emptied). An object
// that comes back goes to its span; a span that becomes empty goes back to the
// page heap, and its pages may serve another class.
//
// Invariant  I1 A span of the class is on partial exactly if it has free
//               objects; none of its spans is empty.
// Locking    c->lock guards the list, and the objects of its spans. mheap.lock
//            is taken inside it.
// TCMalloc   CentralFreeList in central_freelist.cc
// Go         mcentral.go

#include "heap.h"

#include <errno.h>

#include "check.h"

enum {
    BATCH_BYTES = 1 << 16, // a batch has about so many bytes,
    MAX_BATCH = 32, // but this many objects at most
};
_Static_assert(BATCH_BYTES >= 2 * MAX_SMALL_SIZE,
               "a batch has several objects");
_Static_assert(MAX_BATCH <= (int)MAX_LIST_LENGTH,
               "a list has room for a batch");

struct mcentral mcentral[NUM_SIZE_CLASSES] = {
    [0 ... NUM_SIZE_CLASSES - 1] = {.lock =
                                        LOCK_INIT("central", RANK_MCENTRAL)},
};

// TCMalloc   SizeMap::NumMoveSize
size_t mcentral_batch(unsigned sizeclass)
{
    size_t n = BATCH_BYTES / class_size(sizeclass);
    return n < MAX_BATCH ? n : MAX_BATCH;
}

// grow adds a span to the list of the class. Returns it; NULL, with errno
// ENOMEM, if there is no memory.
//
// Go: func (c *mcentral) grow (mcentral.go)
// TCMalloc   CentralFreeList::Populate
static struct mspan *grow(struct mcentral *c, unsigned sizeclass)
    REQUIRES(c->lock)
{
    lock_acquire(&mheap.lock);
    struct mspan *s = mheap_alloc(class_npages(sizeclass), PAGE_SIZE);
    lock_release(&mheap.lock);
    if (s == NULL)
        return NULL;
    mspan_init_objects(s, sizeclass);
    mspan_list_insert(&c->partial, s);
    return s;
}

// TCMalloc   CentralFreeList::RemoveRange
size_t mcentral_remove_range(unsigned sizeclass, void **objects, size_t n)
{
    struct mcentral *c = &mcentral[sizeclass];
    int saved_errno = errno;
    size_t got = 0;

    lock_acquire(&c->lock);
    while (got < n) {
        struct mspan *s = c->partial.first;
        if (s == NULL)
            s = grow(c, sizeclass);
        if (s == NULL)
            break;
        count(&c->nodes_visited, 1);
        for (void *p; got < n && (p = mspan_alloc(s)) != NULL; got++)
            objects[got] = p;
        if (s->alloc_count == s->nelems)
            mspan_list_remove(&c->partial, s);
    }
    count(&c->batches, got > 0);
    count(&c->batch_objects, got);
    lock_release(&c->lock);
    if (got > 0)
        errno = saved_errno; // fewer than n will do
    return got;
}

// insert puts the object p back on its span, and the span where it belongs.
//
// TCMalloc   CentralFreeList::ReleaseToSpans
static void insert(struct mcentral *c, void *p) REQUIRES(c->lock)
{
    struct mspan *s = span_of(p);
    ASSERT(s != NULL && &mcentral[s->sizeclass] == c);
    if (s->alloc_count == s->nelems)
        mspan_list_insert(&c->partial, s);
    mspan_free(s, p);
    if (s->alloc_count == 0) {
        mspan_list_remove(&c->partial, s);
        lock_acquire(&mheap.lock);
        mheap_free(s);
        lock_release(&mheap.lock);
    }
}

// TCMalloc   CentralFreeList::InsertRange
void mcentral_insert_range(unsigned sizeclass, void *const *objects, size_t n)
{
    struct mcentral *c = &mcentral[sizeclass];

    if (n == 0)
        return;
    lock_acquire(&c->lock);
    count(&c->batches, 1);
    count(&c->batch_objects, n);
    for (size_t i = 0; i < n; i++)
        insert(c, objects[i]);
    lock_release(&c->lock);
}

bool mcentral_check(unsigned sizeclass, size_t n)
{
    const struct mcentral *c = &mcentral[sizeclass];
    for (const struct mspan *s = c->partial.first; s != NULL; s = s->next) {
        if (s->state != MSPAN_IN_USE || s->sizeclass != sizeclass ||
            s->alloc_count == s->nelems)
            return mm_complain("I1 what is on partial has free objects", s);
        if (n-- == 0)
            return mm_complain("I1 nothing is on partial twice", s);
        if (s->alloc_count == 0)
            return mm_complain("I1 no span of a class is empty", s);
    }
    if (n != 0)
        return mm_complain("I1 what has free objects is on partial", NULL);
    return true;
}
