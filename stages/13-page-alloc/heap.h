// heap.h - what the parts of the allocator tell each other.
//
//   malloc.c     blocks: small ones are objects of a span, others have a span
//                of their own
//   mtiny.c      several blocks of fewer than 16 bytes in one object
//   mcache.c     a span of each span class, for one thread
//   mcentral.c   the spans of each span class, for all threads
//   spanset.c    sets of spans that threads share without a lock
//   mspan.c      a span: some pages, the objects they are cut into, and two
//                bits for each of these
//   mheap.c      the page heap: hands out spans of pages, and takes them back;
//                mheap.h has this and what it is made of
//   msize.c      size classes: which one a request belongs to, and how large
//                its blocks are
//
// A part calls only what is declared here, and callers stand above callees.
//
// TCMalloc   common.h, span.h, page_heap.h
// Go         mheap.go, msize.go

#ifndef HEAP_H
#define HEAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bits.h"
#include "check.h"
#include "lock.h"
#include "mm.h"
#include "sizeclasses.h"

// A page of the heap: memory for objects of a class comes in whole pages.
enum { PAGE_SIZE = 1 << PAGE_SHIFT };

// There is one lock: for free pages, arenas, structs, memory from the OS. A
// span in use needs none: mcentral.c says who may do what with it.
enum { RANK_MHEAP };

// ---------------------------------------------------------------------------
// msize.c

// size_class_of returns the smallest class whose blocks have room for size
// bytes; size is at most MAX_SMALL_SIZE. The class of 0 is 0.
//
// A C block has to start at a multiple of 16, so malloc asks for 16 bytes at
// least. Every class from there on is a multiple of 16; class 1, of 8 bytes,
// is for objects that need no such alignment.
unsigned size_class_of(size_t size);

// class_size returns the size in bytes of the blocks of a class; 0 for class 0.
size_t class_size(unsigned class);

// class_npages returns how many pages of memory are cut into blocks of a class
// at a time; 0 for class 0.
size_t class_npages(unsigned class);

// round_up_size returns how many bytes a request for size bytes gets: the size
// of its class, or whole pages if it is above MAX_SMALL_SIZE. A size to which
// no page can be added is returned as it is.
size_t round_up_size(size_t size);

// A span class: a size class, and whether the objects are noscan: free of
// pointers, so that a collector need not look into them. It is the size class
// times two, and 1 if they are.
//
// Go: type spanClass (mheap.go)
typedef unsigned spanclass;
enum { NUM_SPAN_CLASSES = 2 * NUM_SIZE_CLASSES };
static inline spanclass make_spanclass(unsigned sizeclass, bool noscan)
{
    return sizeclass << 1 | noscan;
}
static inline unsigned spanclass_sizeclass(spanclass c)
{
    return c >> 1;
}
static inline bool spanclass_noscan(spanclass c)
{
    return c & 1;
}

// ---------------------------------------------------------------------------
// mspan.c

// The most objects that a span is cut into: those of class 1 in a page.
enum { MAX_OBJECTS = PAGE_SIZE / 8 };

enum mspan_state {
    MSPAN_DEAD, // a struct that describes nothing
    MSPAN_IN_USE // handed out by the page heap
};

// Where a span of a class is.
enum span_place {
    PLACE_NONE, // nowhere: it is not cut into objects of a class
    PLACE_CACHED, // held by one thread: in its mcache, or on the way
    PLACE_PARTIAL, // in the set of its class
    PLACE_EMPTY, // there, too, and was seen with all slots free
    PLACE_FULL, // in no set: nothing of it is free
    NUM_PLACES
};

// A span: npages pages in a row, from start_addr on.
//
// While a span is in use, one thread at most holds it. Others may clear marks,
// and look at the fields that are atomic; at these even when the span is gone,
// for its struct stays a struct mspan: fixalloc.c.
struct mspan {
    // Its neighbours on the one list that it is on; NULL: there is none.
    struct mspan *prev;
    struct mspan *next;

    char *start_addr; // a multiple of PAGE_SIZE
    size_t npages;
    enum mspan_state state;
    bool needzero; // false: no byte of its pages was ever handed out before

    // A span in use is cut into nelems objects of elemsize bytes: nbytes in
    // all, from start_addr on.
    size_t nbytes;
    size_t elemsize;
    uint64_t div_mul; // offset * div_mul >> 64 is the index of an object
    uint32_t nelems;
    spanclass spanclass; // of size class 0: one object, as long as the span
    _Atomic(uint32_t) *parts; // of each object: mtiny.c; NULL: none has any

    // The word of free_bits that malloc takes slots from, the first of these,
    // and the address of that. Read and written by the holder only.
    _Atomic(uint64_t) *alloc_cache;
    char *alloc_base;
    uint32_t freeindex;

    // An enum span_place, and NUM_PLACES times the class: one word, so that who
    // was late cannot take a span for one of another class.
    _Atomic(unsigned) place;

    // The cache of the thread that may free objects here without a look at the
    // marks; NULL: none. It is the holder, or was.
    _Atomic(struct mcache *) owner;

    // A slot is free if its free bit is set, or its mark cleared. The holder
    // alone writes free bits; any thread may clear a mark, and the holder sets
    // it again when it sweeps.
    _Atomic(uint64_t) free_bits[MAX_OBJECTS / 64];
    _Atomic(uint64_t) mark_bits[MAX_OBJECTS / 64];
};

// The first occupant of every cache: a span of no objects.
extern struct mspan emptymspan;

// mspan_end returns the first byte above s.
static inline char *mspan_end(const struct mspan *s)
{
    return s->start_addr + s->npages * PAGE_SIZE;
}

// mspan_place returns where s is.
static inline enum span_place mspan_place(const struct mspan *s)
{
    return atomic_load(&s->place) % NUM_PLACES;
}

// mspan_init makes s a span of npages pages, not in use, on no list.
void mspan_init(struct mspan *s, char *start, size_t npages);

// mspan_init_objects cuts the span s, just taken from the page heap, into
// objects of a class, or, for size class 0, makes it one object. All are free,
// and have no parts. The calling thread holds s.
void mspan_init_objects(struct mspan *s, spanclass class);

// mspan_resize_object makes the one object of s, of size class 0, as long as s.
void mspan_resize_object(struct mspan *s);

// mspan_div_magic returns what to multiply an offset in a span with, and shift
// right by 64, to divide it by size, at least 2.
uint64_t mspan_div_magic(size_t size);

// mspan_find stores the index of the object of s that begins at p in *slot.
// Returns false if there is none; p is any address.
//
// Size times magic is 2^64, or a little more. So the product of a multiple of
// the size has only a little in its lower half, less than one magic; the
// remainder of any other offset adds a magic or more.
//
// Go: func (s *mspan) divideByElemSize (mbitmap.go)
__extension__ typedef unsigned __int128 uint128_t;
static inline bool mspan_find(const struct mspan *s, const void *p,
                              size_t *slot)
{
    size_t offset = (size_t)((const char *)p - s->start_addr);
    if (offset >= s->nbytes)
        return false;
    uint128_t product = (uint128_t)offset * s->div_mul;
    *slot = (size_t)(product >> 64);
    return (uint64_t)product < s->div_mul;
}

// A span's slots come in words of 64. mspan_words returns how many of nelems.
static inline size_t mspan_words(size_t nelems)
{
    return (nelems + 63) / 64;
}

// mspan_next returns the word that alloc_cache points at: its bits show the
// next free slots of s. mspan_next_free_fast takes the first of them, when
// there is one, and returns the object. The caller holds s.
//
// Go: func nextFreeFast (malloc.go)
static inline uint64_t mspan_next(const struct mspan *s)
{
    return atomic_load_explicit(s->alloc_cache, memory_order_relaxed);
}
static inline void *mspan_next_free_fast(struct mspan *s, uint64_t word)
{
    ASSERT(word != 0);
    atomic_store_explicit(s->alloc_cache, word & (word - 1),
                          memory_order_relaxed);
    // 64 objects of a class have fewer than 2^32 bytes.
    return s->alloc_base + ctz64(word) * (uint32_t)s->elemsize;
}

// mspan_refill_alloc_cache moves alloc_cache to the next word with a free slot,
// if its own has none, and from the last on to the first. Returns whether there
// is one. The caller holds s.
bool mspan_refill_alloc_cache(struct mspan *s);

// mspan_free frees the object in that slot of s, which the caller holds.
// Returns false if it is free.
static inline bool mspan_free(struct mspan *s, size_t slot)
{
    uint64_t word =
        atomic_load_explicit(&s->free_bits[slot / 64], memory_order_relaxed);
    uint64_t with_slot = word | UINT64_C(1) << slot % 64;
    if (word == with_slot)
        return false;
    atomic_store_explicit(&s->free_bits[slot / 64], with_slot,
                          memory_order_relaxed);
    return true;
}

// mspan_clear_mark frees the object in that slot of s: any thread may. Returns
// false if it is free already. From here on s may be gone.
bool mspan_clear_mark(struct mspan *s, size_t slot);

// mspan_sweep makes the slots free whose mark was cleared, and sets the marks
// again. The caller holds s.
void mspan_sweep(struct mspan *s);

// mspan_recover ends a sweep of s whose thread is not there: in the child of a
// fork.
void mspan_recover(struct mspan *s);

// mspan_is_live tells whether the program has the object in that slot.
bool mspan_is_live(const struct mspan *s, size_t slot);

// mspan_count_alloc returns how many objects of s the program has.
size_t mspan_count_alloc(const struct mspan *s);

// mspan_is_empty tells whether all nelems slots of s are free, mspan_has_free
// whether one is, by its bit or by its mark. If s is gone, the answers mean
// nothing.
bool mspan_is_empty(const struct mspan *s, size_t nelems);
bool mspan_has_free(const struct mspan *s, size_t nelems);

// mspan_check tests the invariants of the objects of s.
bool mspan_check(const struct mspan *s);

// A list of spans; all 0 is an empty one.
struct mspan_list {
    struct mspan *first;
};

// mspan_list_insert puts s, which is on no list, first on the list.
void mspan_list_insert(struct mspan_list *list, struct mspan *s);

// mspan_list_remove takes s off the list that it is on.
void mspan_list_remove(struct mspan_list *list, struct mspan *s);

// ---------------------------------------------------------------------------
// The page heap, and what it is made of.

#include "mheap.h"

// ---------------------------------------------------------------------------
// spanset.c

// A block: a piece of the queue that a set is.
enum { SPAN_SET_BLOCK_ENTRIES = 512 };
struct span_set_block {
    _Atomic(uint32_t) popped; // so many of its entries have been cleared
    _Atomic(struct mspan *) spans[SPAN_SET_BLOCK_ENTRIES]; // NULL: none
};

// A spine: a ring of blocks.
struct span_set_spine {
    uint32_t capacity; // places in the ring, a power of two; it never changes
    _Atomic(struct span_set_block *) blocks[]; // NULL: the place is free
};

// A set of spans: a queue. All 0 is an empty one.
struct span_set {
    // The number of pops in the upper half, that of pushes in the lower; both
    // go on from 0 after 2^32 - 1.
    _Atomic(uint64_t) index;
    _Atomic(struct span_set_spine *) spine; // NULL: never anything in it
    _Atomic(uint32_t) spine_len; // blocks added so far
};

// span_set_push adds s. Returns false, with errno ENOMEM, if it needs memory
// and the OS refuses; then nothing has changed. Push, pop and reset take
// mheap.lock if they need it: the caller must not hold it.
bool span_set_push(struct span_set *set, struct mspan *s);

// span_set_pop takes out the span that was added first. NULL: there is none, or
// the thread that adds it is not done yet; then the length is not 0.
struct mspan *span_set_pop(struct span_set *set);

// span_set_length returns how many spans the set holds, or held a moment ago;
// those that a thread is adding count.
size_t span_set_length(const struct span_set *set);

// span_set_reset makes the set empty, whatever is in it and whatever threads
// that are gone left half done. No thread may use it meanwhile.
void span_set_reset(struct span_set *set);

// span_set_check tests the invariants of a set that no thread uses meanwhile.
bool span_set_check(const struct span_set *set);

// ---------------------------------------------------------------------------
// mcentral.c

// The spans of one span class that no thread holds. Each begins at a cache line
// of its own, so that threads that use different classes do not slow each other
// down.
enum { CACHE_LINE = 64 };
struct mcentral {
    _Alignas(CACHE_LINE) struct span_set partial; // PLACE_PARTIAL, PLACE_EMPTY
    _Atomic(uint32_t) n_empty; // of these, PLACE_EMPTY
    // What partial has no memory for is on a list instead.
    struct mspan_list rest GUARDED_BY(mheap.lock);
    _Atomic(uint32_t) n_rest;
    _Atomic(uint64_t) spans; // times that a span was taken or put down here,
    _Atomic(uint64_t) objects; // and how many of their slots were free
};
_Static_assert(sizeof(struct mcentral) % CACHE_LINE == 0,
               "two classes never share a cache line");
extern struct mcentral mcentral[NUM_SPAN_CLASSES];

// mcentral_cache_span returns a span of a class with free slots: the caller
// holds it. NULL, with errno ENOMEM, if there is no memory.
struct mspan *mcentral_cache_span(spanclass class);

// mcentral_uncache_span puts the span s of a class down, which the caller
// holds.
void mcentral_uncache_span(struct mspan *s);

// mcentral_free frees the object in a slot of s, a span of a class that the
// caller need not hold. Returns false if it is free already.
bool mcentral_free(struct mspan *s, size_t slot);

// mcentral_reclaim gives the empty spans of all classes back to the page heap.
// Returns whether there were any.
bool mcentral_reclaim(void);

// mcentral_recover puts down all spans that no thread holds but a lost one: in
// the child of a fork, where there is only the calling thread.
void mcentral_recover(void);

// mcentral_check tests the invariants of the spans of all classes. No other
// thread has a cache.
bool mcentral_check(void) REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// mcache.c

// What one thread has in hand. No other thread uses it.
struct mcache {
    // The spans that it holds, one for each span class: scan, and noscan; none:
    // emptymspan. Two arrays, so that malloc need not double its class.
    struct mspan *alloc[2][NUM_SIZE_CLASSES];

    // The tiny block, which has room from tinyoffset on; NULL: there is none.
    char *tiny;
    uint32_t tinyoffset;
    _Atomic(uint32_t) *tiny_parts; // its parts

    // What spans are made of: pages, and structs.
    struct page_cache pcache;
    struct mspan_list spans;
    size_t n_spans; // on that list
};

// mcache_span returns where the cache c has its span of a class.
static inline struct mspan **mcache_span(struct mcache *c, spanclass class)
{
    return &c->alloc[spanclass_noscan(class)][spanclass_sizeclass(class)];
}

// The model makes an access two instructions; the default calls a function,
// which may call malloc.
#define THREAD_LOCAL _Thread_local __attribute__((tls_model("initial-exec")))

// The cache of the calling thread. Before its first call, and after its end, it
// is one of empty spans.
extern THREAD_LOCAL struct mcache *mcache;

// mcache_next_free returns an object of a class when the span in the cache
// shows none; NULL, with errno ENOMEM, if there is no memory.
void *mcache_next_free(spanclass class);

// mcache_free frees the object in a slot of s, a span of a class, whoever holds
// it. Returns false if it is free already.
bool mcache_free(struct mspan *s, size_t slot);

// mcache_flush puts down all spans that the calling thread holds, and gives the
// empty ones of all classes back to the page heap. Returns whether there were
// any.
bool mcache_flush(void);

// mcache_mine returns the cache of the calling thread; NULL: it has none.
struct mcache *mcache_mine(void);

// mcache_is_only tells whether the calling thread has a cache, and no other.
bool mcache_is_only(void) REQUIRES(mheap.lock);

// mcache_check tests the invariants of the cache of the calling thread.
bool mcache_check(void);

// ---------------------------------------------------------------------------
// mtiny.c

// A block of fewer bytes is a part of an object of so many.
enum { TINY_SIZE = 16 };

// The class of these objects: sizeclasses.h has 16 bytes in class 2.
enum { TINY_SPAN_CLASS = 2 << 1 | 1 };

// How many blocks were put into an object that another block had taken.
extern _Atomic(uint64_t) tiny_allocs;

// mtiny_init makes room for the parts of the objects of s. Returns false, with
// errno ENOMEM, if there is no memory. mtiny_fini gives it back, if there is
// any.
bool mtiny_init(struct mspan *s) REQUIRES(mheap.lock);
void mtiny_fini(struct mspan *s) REQUIRES(mheap.lock);

// mtiny_alloc returns a block of size bytes, fewer than TINY_SIZE. It is at a
// multiple of 8, 4 or 2 if size is one. NULL, with errno ENOMEM, if there is no
// memory.
void *mtiny_alloc(size_t size);

// mtiny_release lets the tiny block of the calling thread go.
void mtiny_release(void);

// mtiny_recover lets tiny blocks in s, which the caller holds, go whose threads
// are not there: in the child of a fork.
void mtiny_recover(struct mspan *s);

// mtiny_has_parts tells whether p, in a span of TINY_SPAN_CLASS, lies in an
// object of parts.
bool mtiny_has_parts(const struct mspan *s, const void *p);

// mtiny_block_size returns the size of the block at p, in an object of parts;
// 0: no block that is in use starts there.
size_t mtiny_block_size(const struct mspan *s, const void *p);

// mtiny_free frees the block at p, in an object of parts; with the last one,
// the object. Returns false if no block that is in use starts there.
bool mtiny_free(struct mspan *s, const void *p);

// mtiny_bytes returns how many bytes of the object in a slot of s, of
// TINY_SPAN_CLASS, the program has.
size_t mtiny_bytes(const struct mspan *s, size_t slot);

// mtiny_check tests the invariants of the parts of s, of TINY_SPAN_CLASS.
bool mtiny_check(const struct mspan *s);

#endif
