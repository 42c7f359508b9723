// mcentral.c - the spans of each class, for all threads.
//
// A thread that needs objects takes a whole span, uses it up, and puts it down
// again. One thread at most holds a span: it alone writes the free bits, so it
// takes and frees objects without atomic operations. Any other thread frees an
// object by clearing its mark, with one. The holder finds cleared marks when it
// sweeps: they become free bits.
//
//                 takes it                      uses it up
//     PARTIAL ---------------> CACHED ------------------------> FULL
//        ^  |                  |    ^                             |
//        |  | the last object  |    |  a free: who clears the     |
//        |  v is freed         |    |  first mark, holds it       |
//        | EMPTY --------------+    +-----------------------------+
//        |   takes it, or gives     |
//        |   it to the page heap    |
//        +--------------------------+
//          puts it down: something is free
//
// In Go, the collector finds out which objects nobody needs, and spans wait in
// two sets, partial and full, to be swept. Here the program says so, object by
// object. Nobody ever has to search the full spans: who frees an object in one
// has the span at hand. So FULL needs no set.
//
// Invariant  I1 Only the holder writes the free bits of a span, and there is
//               one at most: the thread in whose cache it is, that popped it
//               from partial, or that changed its place from FULL.
//            I2 An object that the program has is taken: its free bit is 0, its
//               mark set. No two threads take it.
//            I3 No free is lost: a span that is FULL has no cleared mark, but
//               for a thread on its way to change its place.
//            I4 A span is in partial once if it is PARTIAL or EMPTY, else not.
//            I5 n_empty counts those that are EMPTY. Only its holder gives a
//               span to the page heap, when it has seen all slots free.
//            I6 The second free of an object is noticed, if the first is over
//               before it begins. Two at once are noticed by the next sweep,
//               unless the object was taken again before: then they are a free
//               of the old one, and one of the new.
// Order      A free clears a mark, then looks at the place. Who puts a span
//            down sets the place, then looks at the marks. All four are
//            seq_cst: so one of the two sees what the other did.
// Locking    None here; mheap.lock is taken inside.
// TCMalloc   CentralFreeList, but it hands out spans, not objects
// Go         mcentral.go

#include "heap.h"

#include <errno.h>

#include "check.h"

enum {
    KEEP_PAGES = 16, // of empty spans wait in a class: 128 KiB
    MAX_TRIES = 100, // to pop, before a class gets more memory
};

struct mcentral mcentral[NUM_SPAN_CLASSES];

// grow returns a span of a class, with all slots free. NULL, with errno ENOMEM,
// if there is no memory.
//
// Go: func (c *mcentral) grow (mcentral.go)
static struct mspan *grow(spanclass class)
{
    size_t npages = class_npages(spanclass_sizeclass(class));
    struct mspan *s = NULL;

    // The parts of tiny objects take the lock, whatever the pages do.
    if (class != TINY_SPAN_CLASS)
        s = mheap_alloc_cached(npages, class);
    if (s != NULL)
        return s;
    lock_acquire(&mheap.lock);
    s = mheap_alloc(npages, PAGE_SIZE);
    if (s != NULL) {
        mspan_init_objects(s, class);
        if (class == TINY_SPAN_CLASS && !mtiny_init(s)) {
            atomic_store(&s->place, PLACE_NONE);
            mheap_free(s);
            s = NULL;
        }
    }
    lock_release(&mheap.lock);
    return s;
}

// set_place says where s, which the caller holds, is from here on.
static void set_place(struct mspan *s, enum span_place place)
{
    atomic_store(&s->place, place + s->spanclass * NUM_PLACES);
}

// change_place changes the place of s, of the class of c, if it is still from.
// Returns whether it did: of several threads that try at once, one does.
static bool change_place(struct mcentral *c, struct mspan *s,
                         enum span_place from, enum span_place to)
{
    unsigned class_part = (unsigned)(c - mcentral) * NUM_PLACES;
    unsigned expected = from + class_part;
    return atomic_compare_exchange_strong(&s->place, &expected,
                                          to + class_part);
}

// count_move counts that the span s went to or from a thread.
static void count_move(struct mcentral *c, const struct mspan *s)
{
    if (MM_COUNTERS) {
        count_shared(&c->spans, 1);
        count_shared(&c->objects, s->nelems - mspan_count_alloc(s));
    }
}

// note_empty is called when s was seen with all slots free, in partial. It
// counts first: so whoever pops it finds it counted.
static void note_empty(struct mcentral *c, struct mspan *s)
{
    atomic_fetch_add(&c->n_empty, 1);
    if (!change_place(c, s, PLACE_PARTIAL, PLACE_EMPTY))
        atomic_fetch_sub(&c->n_empty, 1);
}

// push puts s, which has free slots, into partial. Keeps errno.
static void push(struct mcentral *c, struct mspan *s)
{
    size_t nelems = s->nelems;
    int saved_errno = errno;
    set_place(s, PLACE_PARTIAL);
    // Nobody can pop it yet, so it is what it is. But frees see its place.
    if (mspan_is_empty(s, nelems))
        note_empty(c, s);
    if (span_set_push(&c->partial, s))
        return;
    lock_acquire(&mheap.lock);
    mspan_list_insert(&c->rest, s);
    atomic_fetch_add(&c->n_rest, 1);
    lock_release(&mheap.lock);
    errno = saved_errno;
}

// length returns how many spans were pushed and not popped.
static size_t length(struct mcentral *c)
{
    return span_set_length(&c->partial) + atomic_load(&c->n_rest);
}

// pop returns a span that was pushed, and makes the calling thread its holder.
// NULL: there is none.
static struct mspan *pop(struct mcentral *c)
{
    struct mspan *s = span_set_pop(&c->partial);

    // A push that is under way hides what lies behind it.
    for (int i = 0;
         i < MAX_TRIES && s == NULL && span_set_length(&c->partial) > 0; i++)
        s = span_set_pop(&c->partial);
    if (s == NULL && atomic_load(&c->n_rest) > 0) {
        lock_acquire(&mheap.lock);
        s = c->rest.first;
        if (s != NULL) {
            mspan_list_remove(&c->rest, s);
            atomic_fetch_sub(&c->n_rest, 1);
        }
        lock_release(&mheap.lock);
    }
    if (s == NULL)
        return NULL;
    unsigned class_part = s->spanclass * NUM_PLACES;
    if (atomic_exchange(&s->place, PLACE_CACHED + class_part) ==
        PLACE_EMPTY + class_part)
        atomic_fetch_sub(&c->n_empty, 1);
    mspan_sweep(s);
    ASSERT(mspan_has_free(s, s->nelems));
    return s;
}

// put_down is mcentral_uncache_span, apart from what follows if there are many
// empty spans.
static void put_down(struct mspan *s)
{
    struct mcentral *c = &mcentral[s->spanclass];
    size_t nelems = s->nelems;

    atomic_store(&s->owner, NULL);
    do {
        mspan_sweep(s);
        if (mspan_has_free(s, nelems)) {
            push(c, s);
            return;
        }
        set_place(s, PLACE_FULL);
        // Was something freed meanwhile, by a thread that saw it in a cache?
    } while (mspan_has_free(s, nelems) &&
             change_place(c, s, PLACE_FULL, PLACE_CACHED));
}

// reclaim gives the empty spans in partial back to the page heap.
static bool reclaim(struct mcentral *c)
{
    struct mspan_list empty = {0};

    for (size_t n = length(c); n > 0; n--) {
        struct mspan *s = pop(c);
        if (s == NULL)
            break;
        if (!mspan_is_empty(s, s->nelems)) {
            put_down(s);
            continue;
        }
        mspan_list_insert(&empty, s);
    }
    if (empty.first == NULL)
        return false;
    lock_acquire(&mheap.lock);
    while (empty.first != NULL) {
        struct mspan *s = empty.first;
        mspan_list_remove(&empty, s);
        atomic_store(&s->place, PLACE_NONE);
        mtiny_fini(s);
        mheap_free(s);
    }
    lock_release(&mheap.lock);
    return true;
}

// reclaim_if_many keeps some empty spans, for who frees many objects often
// wants as many again: a quarter of partial, and KEEP_PAGES.
static void reclaim_if_many(struct mcentral *c)
{
    size_t npages = class_npages((unsigned)(c - mcentral) / 2);
    size_t keep = length(c) / 4 + KEEP_PAGES / npages;
    if (atomic_load(&c->n_empty) > keep)
        reclaim(c);
}

// Go: func (c *mcentral) cacheSpan (mcentral.go)
struct mspan *mcentral_cache_span(spanclass class)
{
    struct mcentral *c = &mcentral[class];
    int saved_errno = errno;

    struct mspan *s = pop(c);
    if (s == NULL)
        s = grow(class);
    else
        errno = saved_errno;
    if (s != NULL)
        count_move(c, s);
    return s;
}

// Go: func (c *mcentral) uncacheSpan (mcentral.go)
void mcentral_uncache_span(struct mspan *s)
{
    struct mcentral *c = &mcentral[s->spanclass];
    count_move(c, s);
    put_down(s);
    reclaim_if_many(c);
}

// Unlike Go: there, the collector clears no marks, but sets those of objects
// that can be reached.
bool mcentral_free(struct mspan *s, size_t slot)
{
    // When the mark is cleared, s may be swept, given back, and used anew. So
    // what is asked later is read here.
    struct mcentral *c = &mcentral[s->spanclass];
    size_t nelems = s->nelems;

    if (!mspan_clear_mark(s, slot))
        return false;
    switch (mspan_place(s)) {
    case PLACE_CACHED:
        // Its holder may not free without a look at the marks.
        if (atomic_load(&s->owner) != NULL)
            atomic_store(&s->owner, NULL);
        break;
    case PLACE_FULL:
        if (change_place(c, s, PLACE_FULL, PLACE_CACHED))
            mcentral_uncache_span(s);
        break;
    case PLACE_PARTIAL:
        if (mspan_is_empty(s, nelems)) {
            note_empty(c, s);
            reclaim_if_many(c);
        }
        break;
    case PLACE_EMPTY:
    case PLACE_NONE:
    case NUM_PLACES:
        break; // what was freed here is gone
    }
    return true;
}

bool mcentral_reclaim(void)
{
    bool any = false;
    for (unsigned i = 2; i < NUM_SPAN_CLASSES; i++)
        any |= reclaim(&mcentral[i]);
    return any;
}

void mcentral_recover(void)
{
    struct mspan_list lost = {0};

    for (unsigned i = 2; i < NUM_SPAN_CLASSES; i++) {
        span_set_reset(&mcentral[i].partial);
        atomic_store(&mcentral[i].n_empty, 0);
        atomic_store(&mcentral[i].n_rest, 0);
    }
    lock_acquire(&mheap.lock);
    for (unsigned i = 2; i < NUM_SPAN_CLASSES; i++)
        mcentral[i].rest.first = NULL;
    for (struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s)))
        if (mspan_place(s) != PLACE_NONE) {
            if (*mcache_span(mcache, s->spanclass) != s) {
                set_place(s, PLACE_CACHED);
                mspan_recover(s);
                mspan_list_insert(&lost, s);
            }
            mtiny_recover(s);
        }
    lock_release(&mheap.lock);
    while (lost.first != NULL) {
        struct mspan *s = lost.first;
        mspan_list_remove(&lost, s);
        mcentral_uncache_span(s);
    }
}

// check_place tests the place of s, a span of a class.
static bool check_place(const struct mspan *s)
{
    size_t n_taken = mspan_count_alloc(s);
    enum span_place place = mspan_place(s);

    if ((place == PLACE_CACHED) != (*mcache_span(mcache, s->spanclass) == s))
        return mm_complain("I1 a span that is cached is in a cache", s);
    if (place == PLACE_FULL && n_taken < s->nelems)
        return mm_complain("I3 nothing is free in a full span", s);
    if (place == PLACE_PARTIAL && (n_taken == 0 || n_taken == s->nelems))
        return mm_complain("I4 some slots of a partial span are free", s);
    return true;
}

// check_rest tests that n_rest says how many spans wait on the list.
static bool check_rest(struct mcentral *c)
{
    size_t n = 0;

    assert_lock_held(&mheap.lock);
    for (const struct mspan *s = c->rest.first; s != NULL; s = s->next)
        n++;
    if (n != c->n_rest)
        return mm_complain("I4 n_rest counts what is on the list", c);
    return true;
}

bool mcentral_check(void)
{
    size_t n[NUM_SPAN_CLASSES][NUM_PLACES] = {0};

    assert_lock_held(&mheap.lock);
    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s))) {
        if ((spanclass_sizeclass(s->spanclass) == 0) !=
            (mspan_place(s) == PLACE_NONE))
            return mm_complain("a span of a class has a place", s);
        if (spanclass_sizeclass(s->spanclass) != 0 && !check_place(s))
            return false;
        n[s->spanclass][mspan_place(s)]++;
    }
    for (unsigned i = 2; i < NUM_SPAN_CLASSES; i++) {
        struct mcentral *c = &mcentral[i];
        if (!span_set_check(&c->partial) || !check_rest(c))
            return false;
        if (length(c) != n[i][PLACE_PARTIAL] + n[i][PLACE_EMPTY])
            return mm_complain("I4 what has free slots is in partial", c);
        if (c->n_empty != n[i][PLACE_EMPTY])
            return mm_complain("I5 n_empty counts the empty spans", c);
    }
    return true;
}
