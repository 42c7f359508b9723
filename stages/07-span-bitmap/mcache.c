// mcache.c - free objects of each class, for one thread.
//
// A thread takes objects from its own lists, and puts there what it frees,
// whoever allocated it: no lock is needed. When a list is empty, a batch of
// objects comes from the central list of the class; when it is full, a batch
// goes back.
//
// When is a list full? At first, with one object. Each time it is found empty
// or full, it may become longer by one, up to the size of a batch; from there,
// by a batch each time it is found empty: so a thread that uses a class little
// holds little of it. Every fourth time that a list longer than a batch is
// found full, it may hold a batch less. No list holds more than 64 objects. And
// when all lists together hold 2 MiB, each gives back half of what it did not
// need since the last time: of its low water mark.
//
// A thread has no cache before its first call, nor after its end. Then current
// is a cache whose lists are empty and may not hold anything, so that the fast
// paths need not ask, and the slow paths go to the central lists.
//
// Invariant  I1 A list has length different objects, 64 at most, all of its
//               class, taken from their spans, and not marked.
//            I2 size is the sum of the bytes on the lists.
// Locking    None: a thread uses its own cache only. In the child of a fork,
//            the caches of threads that are not there stay as they are, and
//            what is in them is lost.
// TCMalloc   ThreadCache in thread_cache.cc
// Go         mcache.go, but there are spans in it

#include "heap.h"

#include <errno.h>
#include <string.h>

#include "check.h"
#include "thread.h"

enum {
    MAX_CACHE_SIZE = 2 << 20, // bytes in a cache before it is scavenged
    MAX_OVERAGES = 3, // so often a list is full before it may hold less
};

static struct mcache no_cache; // all lists are empty, and may not be longer

// Threads that have a cache; guarded by mheap.lock. In the child of a fork, the
// threads that are not there still count.
static size_t n_caches;

// Where a thread is in its life.
enum life { UNBORN, WAITING, LIVE, DEAD };

// The model makes an access two instructions; the default calls a function,
// which may call malloc.
#define THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))
static THREAD_LOCAL struct mcache *current = &no_cache;
static THREAD_LOCAL enum life life = UNBORN;

// new_cache returns an empty cache; NULL if there is no memory.
static struct mcache *new_cache(void)
{
    lock_acquire(&mheap.lock);
    struct mcache *c = fixalloc_alloc(&mheap.cachealloc);
    n_caches += c != NULL;
    lock_release(&mheap.lock);
    if (c == NULL)
        return NULL;
    *c = (struct mcache){0};
    for (unsigned i = 1; i < NUM_SIZE_CLASSES; i++)
        c->lists[i] = (struct mcache_list){.max_length = 1,
                                           .elemsize = (uint32_t)class_size(i)};
    return c;
}

// end_thread gives everything back when a thread ends.
//
// TCMalloc   ThreadCache::DestroyThreadCache
static void end_thread(void)
{
    struct mcache *c = current;
    mcache_flush();
    current = &no_cache;
    life = DEAD;
    if (c == &no_cache)
        return;
    lock_acquire(&mheap.lock);
    fixalloc_free(&mheap.cachealloc, c);
    n_caches--;
    lock_release(&mheap.lock);
}

// thread_cache returns the cache of this thread, and makes it if it has none so
// far. NULL: it is too early, too late, or there is no memory for it. Keeps
// errno.
//
// TCMalloc   ThreadCache::GetCache, CreateCacheIfNecessary
static struct mcache *thread_cache(void)
{
    if (life == LIVE)
        return current;
    if (life != UNBORN)
        return NULL;
    int saved_errno = errno;
    life = WAITING; // thread_at_end may call malloc
    struct mcache *c = thread_at_end(end_thread) ? new_cache() : NULL;
    life = c == NULL ? UNBORN : LIVE;
    errno = saved_errno;
    if (c != NULL)
        current = c;
    return c;
}

// may_grow lets the list become longer, by 1 up to the size of a batch, and by
// a batch above.
static void may_grow(struct mcache_list *list, size_t batch)
{
    size_t n = list->max_length;
    n += n < batch ? 1 : batch;
    list->max_length = (uint32_t)(n < MAX_LIST_LENGTH ? n : MAX_LIST_LENGTH);
}

// release gives n objects of the list of a class back.
//
// TCMalloc   ThreadCache::ReleaseToCentralCache
static void release(struct mcache *c, unsigned sizeclass, size_t n)
{
    struct mcache_list *list = &c->lists[sizeclass];
    // The bottom of the stack: what was not used for the longest time.
    mcentral_insert_range(sizeclass, list->objects, n);
    list->length -= (uint32_t)n;
    memmove(list->objects, list->objects + n,
            list->length * sizeof list->objects[0]);
    if (list->low_water > list->length)
        list->low_water = list->length;
    c->size -= n * list->elemsize;
}

bool mcache_flush(void)
{
    struct mcache *c = current;
    if (c->size == 0)
        return false; // no_cache, for one: it is shared, so never written to
    for (unsigned i = 1; i < NUM_SIZE_CLASSES; i++)
        release(c, i, c->lists[i].length);
    return true;
}

// refill fetches objects for the empty list of a class. Returns whether there
// are any.
//
// TCMalloc   ThreadCache::FetchFromCentralCache
static bool refill(struct mcache *c, unsigned sizeclass)
{
    struct mcache_list *list = &c->lists[sizeclass];
    size_t batch = mcentral_batch(sizeclass);
    size_t n = list->max_length < batch ? list->max_length : batch;

    n = mcentral_remove_range(sizeclass, list->objects, n);
    if (n == 0)
        return false;
    list->length = (uint32_t)n;
    c->size += n * list->elemsize;
    may_grow(list, batch);
    return true;
}

// pop takes an object off the list, which is not empty.
static inline void *pop(struct mcache *c, struct mcache_list *list)
{
    list->length--;
    if (list->low_water > list->length)
        list->low_water = list->length;
    c->size -= list->elemsize;
    return list->objects[list->length];
}

// push puts the object p on the list.
static inline void push(struct mcache *c, struct mcache_list *list, void *p)
{
    list->objects[list->length++] = p;
    c->size += list->elemsize;
}

// alloc_slowly is mcache_alloc for an empty list. Not inlined, or the fast path
// would save registers for it.
static __attribute__((noinline)) void *alloc_slowly(unsigned sizeclass)
{
    struct mcache *c = thread_cache();
    if (c == NULL) {
        void *one;
        return mcentral_remove_range(sizeclass, &one, 1) > 0 ? one : NULL;
    }
    struct mcache_list *list = &c->lists[sizeclass];
    // What is in stock here may be what is missing there.
    int saved_errno = errno;
    if (!refill(c, sizeclass)) {
        if (!mcache_flush() || !refill(c, sizeclass))
            return NULL;
        errno = saved_errno;
    }
    return pop(c, list);
}

// TCMalloc   ThreadCache::Allocate
void *mcache_alloc(unsigned sizeclass)
{
    struct mcache *c = current;
    struct mcache_list *list = &c->lists[sizeclass];
    if (list->length == 0)
        return alloc_slowly(sizeclass);
    return pop(c, list);
}

// list_too_long gives a batch of the full list of a class back, or all of it
// if it is shorter.
//
// TCMalloc   ThreadCache::ListTooLong
static void list_too_long(struct mcache *c, unsigned sizeclass)
{
    struct mcache_list *list = &c->lists[sizeclass];
    size_t batch = mcentral_batch(sizeclass);

    release(c, sizeclass, list->length < batch ? list->length : batch);
    if (list->max_length < batch) {
        may_grow(list, batch);
    } else if (list->max_length > batch && ++list->overages > MAX_OVERAGES) {
        list->max_length -= (uint32_t)batch;
        list->overages = 0;
    }
}

// scavenge gives back half of what each list did not need since it was called
// last.
//
// TCMalloc   ThreadCache::Scavenge
static void scavenge(struct mcache *c)
{
    for (unsigned i = 1; i < NUM_SIZE_CLASSES; i++) {
        struct mcache_list *list = &c->lists[i];
        size_t batch = mcentral_batch(i);
        if (list->low_water > 0) {
            release(c, i, (list->low_water + 1) / 2);
            if (list->max_length > 2 * batch)
                list->max_length -= (uint32_t)batch;
        }
        list->low_water = list->length;
    }
}

// free_slowly is mcache_free for a list that has no room.
static __attribute__((noinline)) void free_slowly(unsigned sizeclass, void *p)
{
    struct mcache *c = thread_cache();
    if (c == NULL) {
        mcentral_insert_range(sizeclass, &p, 1);
        return;
    }
    struct mcache_list *list = &c->lists[sizeclass];
    if (list->length >= list->max_length)
        list_too_long(c, sizeclass);
    if (c->size >= MAX_CACHE_SIZE)
        scavenge(c);
    push(c, list, p);
}

// TCMalloc   ThreadCache::Deallocate
void mcache_free(unsigned sizeclass, void *p)
{
    struct mcache *c = current;
    struct mcache_list *list = &c->lists[sizeclass];
    if (list->length >= list->max_length || c->size >= MAX_CACHE_SIZE)
        free_slowly(sizeclass, p);
    else
        push(c, list, p);
}

const struct mcache *mcache_mine(void)
{
    return life == LIVE ? current : NULL;
}

bool mcache_is_only(void)
{
    assert_lock_held(&mheap.lock);
    return life == LIVE && n_caches == 1;
}

// check_list tests the list of a class.
static bool check_list(const struct mcache_list *list, unsigned sizeclass)
{
    // max_length may be below length, after it fell.
    if (list->length > MAX_LIST_LENGTH || list->low_water > list->length)
        return mm_complain("I1 a list is not too long", list);
    for (size_t i = 0; i < list->length; i++) {
        const void *p = list->objects[i];
        const struct mspan *s = span_of(p);
        if (s == NULL || s->sizeclass != sizeclass || !mspan_is_object(s, p) ||
            mspan_is_marked(s, p))
            return mm_complain("I1 what is in a cache is free", p);
        if (!mspan_is_taken(s, mspan_object_index(s, p)))
            return mm_complain("I1 what is in a cache is taken", p);
        for (size_t k = 0; k < i; k++)
            if (list->objects[k] == p)
                return mm_complain("I1 what is in a cache is there once", p);
    }
    return true;
}

bool mcache_check(void)
{
    const struct mcache *c = current;
    size_t size = 0;
    for (unsigned i = 0; i < NUM_SIZE_CLASSES; i++) {
        const struct mcache_list *list = &c->lists[i];
        if (!check_list(list, i))
            return false;
        size += (size_t)list->length * list->elemsize;
    }
    if (size != c->size)
        return mm_complain("I2 size is the sum of the lists", c);
    return true;
}
