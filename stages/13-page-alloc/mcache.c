// mcache.c - a span of each class, for one thread.
//
// A thread takes objects from its own span of a class, with no lock and no
// atomic operation, until that has no free slot. Then it sweeps the span: what
// other threads freed in it is there again. If that is nothing, it puts the
// span down for one that has free slots.
//
// A thread has no cache before its first call, nor after its end. Then mcache
// is a cache of empty spans, so that the fast paths need not ask; the slow
// paths take a span for one object, and put it down at once.
//
// Invariant  I1 What is in a cache is a span of its class, held by the thread;
//               or emptymspan.
// Locking    None: a thread uses its own cache only. In the child of a fork,
//            the spans of threads that are not there are put down:
//            mcentral_recover.
// TCMalloc   ThreadCache in thread_cache.cc, but there are objects in it
// Go         mcache.go

#include "heap.h"

#include <errno.h>

#include "check.h"
#include "thread.h"

static struct mcache no_cache = {
    .alloc = {[0 ... 1] = {[0 ... NUM_SIZE_CLASSES - 1] = &emptymspan}},
};

// How many threads have a cache; more in the child of a fork.
static size_t n_caches GUARDED_BY(mheap.lock);

// Where a thread is in its life.
enum life { UNBORN, WAITING, LIVE, DEAD };

THREAD_LOCAL struct mcache *mcache = &no_cache;
static THREAD_LOCAL enum life life = UNBORN;

// new_cache returns an empty cache; NULL if there is no memory.
//
// Go: func allocmcache (mcache.go)
static struct mcache *new_cache(void)
{
    lock_acquire(&mheap.lock);
    struct mcache *c = fixalloc_alloc(&mheap.cachealloc);
    n_caches += c != NULL;
    lock_release(&mheap.lock);
    if (c != NULL)
        *c = no_cache;
    return c;
}

// release_all puts down all spans that the calling thread holds.
//
// Go: func (c *mcache) releaseAll (mcache.go)
static void release_all(void)
{
    mtiny_release();
    for (spanclass i = 2; i < NUM_SPAN_CLASSES; i++) {
        struct mspan *s = *mcache_span(mcache, i);
        if (s == &emptymspan) // always so in no_cache, which is never written
            continue;
        *mcache_span(mcache, i) = &emptymspan;
        mcentral_uncache_span(s);
    }
}

// flush_pages gives the page heap what this thread has to make spans of.
static void flush_pages(void)
{
    lock_acquire(&mheap.lock);
    mheap_flush_cache();
    lock_release(&mheap.lock);
}

// end_thread hands all spans over when a thread ends.
//
// Go: func freemcache (mcache.go)
static void end_thread(void)
{
    struct mcache *c = mcache;
    release_all();
    flush_pages();
    mcache = &no_cache;
    life = DEAD;
    if (c == &no_cache)
        return;
    lock_acquire(&mheap.lock);
    n_caches--;
    fixalloc_free(&mheap.cachealloc, c);
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
        return mcache;
    if (life != UNBORN)
        return NULL;
    int saved_errno = errno;
    life = WAITING; // thread_at_end may call malloc
    struct mcache *c = thread_at_end(end_thread) ? new_cache() : NULL;
    life = c == NULL ? UNBORN : LIVE;
    errno = saved_errno;
    if (c != NULL)
        mcache = c;
    return c;
}

bool mcache_flush(void)
{
    // Where many empty spans wait, one more that is put down sends them all
    // back, unnoticed here; so those that wait go first.
    bool any = mcentral_reclaim();
    release_all();
    flush_pages();
    return mcentral_reclaim() || any;
}

// cache_span is mcentral_cache_span, and what to do if there is no memory: what
// this thread holds may be what is missing, or what waits for other classes.
static struct mspan *cache_span(spanclass class)
{
    int saved_errno = errno;
    struct mspan *s = mcentral_cache_span(class);
    if (s == NULL && mcache_flush()) {
        s = mcentral_cache_span(class);
        if (s != NULL)
            errno = saved_errno;
    }
    return s;
}

// sweep makes what others freed in s, in the cache c, free again. Its thread
// becomes the owner first: so a mark that is cleared meanwhile takes the right
// to free without a look at the marks away again.
static void sweep(struct mcache *c, struct mspan *s)
{
    // A free in an object of parts always asks.
    if (s->parts == NULL)
        atomic_store(&s->owner, c);
    mspan_sweep(s);
}

// refill makes the span of a class in the cache c one with free slots. Returns
// whether that was possible.
//
// Go: func (c *mcache) refill (mcache.go)
static bool refill(struct mcache *c, spanclass class)
{
    struct mspan *s = *mcache_span(c, class);
    if (s != &emptymspan) {
        sweep(c, s);
        if (mspan_refill_alloc_cache(s))
            return true;
        *mcache_span(c, class) = &emptymspan;
        mcentral_uncache_span(s);
    }
    s = cache_span(class);
    if (s == NULL)
        return false;
    *mcache_span(c, class) = s;
    span_set_hint(s);
    sweep(c, s);
    return mspan_refill_alloc_cache(s);
}

// one_object returns an object of a class for a thread without a cache.
static void *one_object(spanclass class)
{
    struct mspan *s = cache_span(class);
    if (s == NULL)
        return NULL;
    mspan_refill_alloc_cache(s);
    void *p = mspan_next_free_fast(s, mspan_next(s));
    mcentral_uncache_span(s);
    return p;
}

// Go: func (c *mcache) nextFree (malloc.go)
void *mcache_next_free(spanclass class)
{
    struct mcache *c = thread_cache();
    if (c == NULL)
        return one_object(class);
    struct mspan *s = *mcache_span(c, class);
    if (!mspan_refill_alloc_cache(s) && !refill(c, class))
        return NULL;
    s = *mcache_span(c, class);
    return mspan_next_free_fast(s, mspan_next(s));
}

bool mcache_free(struct mspan *s, size_t slot)
{
    if (*mcache_span(mcache, s->spanclass) != s)
        return mcentral_free(s, slot);
    // It is this thread's, but somebody cleared a mark.
    sweep(mcache, s);
    return mspan_free(s, slot);
}

struct mcache *mcache_mine(void)
{
    return life == LIVE ? mcache : NULL;
}

bool mcache_is_only(void)
{
    assert_lock_held(&mheap.lock);
    return life == LIVE && n_caches == 1;
}

bool mcache_check(void)
{
    for (spanclass i = 0; i < NUM_SPAN_CLASSES; i++) {
        const struct mspan *s = *mcache_span(mcache, i);
        if (s == &emptymspan)
            continue;
        if (spanclass_sizeclass(i) == 0 || s->state != MSPAN_IN_USE ||
            s->spanclass != i)
            return mm_complain("I1 what is in a cache is of its class", s);
        if (mspan_place(s) != PLACE_CACHED ||
            (s->owner != NULL && s->owner != mcache))
            return mm_complain("I1 what is in a cache is held", s);
    }
    return true;
}
