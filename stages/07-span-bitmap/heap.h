// heap.h - what the parts of the allocator tell each other.
//
//   malloc.c     blocks: small ones are objects of a span, others have a span
//                of their own
//   mcache.c     free objects of each class, for one thread
//   mcentral.c   the spans of each class, for all threads
//   mspan.c      a span: some pages, the objects they are cut into, and a bit
//                for each of these
//   mheap.c      the page heap: cuts spans out of free pages, and merges them
//   mtreap.c     free spans in order, for those too long for a list each
//   pagemap.c    from an address to the span that it lies in
//   fixalloc.c   memory for the structs of this file
//   mem_linux.c  memory from the OS
//   msize.c      size classes: which one a request belongs to, and how large
//                its blocks are
//
// A part calls only what is declared here, and callers stand above callees.
//
// TCMalloc   common.h, span.h, page_heap.h
// Go         mheap.go, msize.go

#ifndef HEAP_H
#define HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"
#include "mm.h"
#include "sizeclasses.h"

// A page of the heap: memory for objects of a class comes in whole pages.
enum { PAGE_SIZE = 1 << PAGE_SHIFT };

// Locks by rank: a thread takes them in this order.
//
//   mcentral   the spans of a class, and their objects; several at once only
//              by rising class
//   mheap      free pages, page map, structs, memory from the OS
//
// What is in a thread's own cache needs none.
enum { RANK_MCENTRAL, RANK_MHEAP };

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

// ---------------------------------------------------------------------------
// mspan.c

// The most objects that a span is cut into: those of class 1 in a page.
enum { MAX_OBJECTS = PAGE_SIZE / 8 };

enum mspan_state {
    MSPAN_DEAD, // a struct that describes nothing
    MSPAN_FREE, // in the page heap
    MSPAN_IN_USE // handed out by the page heap
};

// A span: npages pages in a row, from start_addr on.
struct mspan {
    // Its neighbours on the one list that it is on, or its children in a treap;
    // NULL: there is none.
    union {
        struct mspan *prev;
        struct mspan *left;
    };
    union {
        struct mspan *next;
        struct mspan *right;
    };

    char *start_addr; // a multiple of PAGE_SIZE
    size_t npages;
    enum mspan_state state;
    uint32_t priority; // in a treap: not below those of its children

    // A span in use is cut into nelems objects of elemsize bytes, from
    // start_addr to limit.
    char *limit;
    size_t elemsize;
    uint32_t nelems;
    uint32_t div_mul; // offset * div_mul >> 32 is the index of an object
    uint8_t sizeclass; // 0: it is one object, as long as the span

    // What follows is guarded by the lock of the class: which slots are taken,
    // by the program or a thread that has them in stock. The search has seen
    // all below freeindex: mspan.c.
    uint32_t freeindex;
    uint32_t alloc_count; // so many are taken
    uint64_t alloc_cache;
    uint64_t alloc_bits[MAX_OBJECTS / 64];

    // A slot is marked while the program has it. No lock guards the marks.
    _Atomic(uint64_t) mark_bits[MAX_OBJECTS / 64];
};

// mspan_end returns the first byte above s.
static inline char *mspan_end(const struct mspan *s)
{
    return s->start_addr + s->npages * PAGE_SIZE;
}

// mspan_init_objects cuts the span s, just taken from the page heap, into
// objects of a class, or, for class 0, makes it one object. All are free.
void mspan_init_objects(struct mspan *s, unsigned sizeclass);

// mspan_div_magic returns what to multiply an offset in a span with, and shift
// right by 32, to divide it by size.
uint32_t mspan_div_magic(uint32_t size);

// mspan_object_index returns the index of the object of s that p lies in, any
// address in s.
size_t mspan_object_index(const struct mspan *s, const void *p);

// mspan_is_object tells whether an object of s starts at p, an address in s.
bool mspan_is_object(const struct mspan *s, const void *p);

// mspan_alloc takes a free object of s; NULL: there is none.
void *mspan_alloc(struct mspan *s);

// mspan_free gives the object p back to s.
void mspan_free(struct mspan *s, const void *p);

// The steps of mspan_alloc, for tests: mspan_next_free_fast returns the first
// free slot from freeindex on and moves freeindex behind it; NO_SLOT: it is not
// in the window, or the window has to move. mspan_next_free_index moves the
// window, too; it returns nelems if there is none. mspan_refill_alloc_cache
// moves the window to the 64 slots that slot, a multiple of 64, begins.
static const size_t NO_SLOT = SIZE_MAX;
size_t mspan_next_free_fast(struct mspan *s);
size_t mspan_next_free_index(struct mspan *s);
void mspan_refill_alloc_cache(struct mspan *s, size_t slot);

// mspan_is_taken tells whether that slot is taken; mspan_is_free whether it is
// not, and the search has not passed it. mspan_count_alloc counts the bits of
// alloc_bits.
bool mspan_is_taken(const struct mspan *s, size_t slot);
bool mspan_is_free(const struct mspan *s, size_t slot);
size_t mspan_count_alloc(const struct mspan *s);

// mspan_set_mark marks the object p of s: the program has it. mspan_clear_mark
// takes the mark away, and returns whether there was one. Of several threads
// that do so at once, one finds it.
void mspan_set_mark(struct mspan *s, const void *p);
bool mspan_clear_mark(struct mspan *s, const void *p);
bool mspan_is_marked(const struct mspan *s, const void *p);

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
// mtreap.c

// A set of spans, ordered by length, and by address where that is the same.
struct mtreap {
    struct mspan *root; // NULL: it is empty
    uint64_t random; // state of the numbers that keep it balanced
};

// mtreap_insert puts s, which is on no list, into t.
void mtreap_insert(struct mtreap *t, struct mspan *s);

// mtreap_remove takes s out of t.
void mtreap_remove(struct mtreap *t, struct mspan *s);

// mtreap_find returns the shortest span of at least npages pages, of those the
// one with the lowest address; NULL: there is none. Adds how many spans it
// looked at to *visited.
struct mspan *mtreap_find(const struct mtreap *t, size_t npages,
                          uint64_t *visited);

// mtreap_check tests the invariants of t, and that it holds n spans.
bool mtreap_check(const struct mtreap *t, size_t n);

// ---------------------------------------------------------------------------
// mheap.c

// Free spans below this length have a list for each length.
enum { MAX_LIST_PAGES = 128 };

// Structs of one size, made by fixalloc.c.
struct fixalloc {
    size_t size; // of a struct; at least that of a pointer
    void *list; // of freed structs, each with the address of the next in it
};

// The page heap. There is one; everything in it is guarded by its lock.
struct mheap {
    struct lock lock;
    struct mspan_list free[MAX_LIST_PAGES]; // by length; none is of 0 pages
    struct mtreap large; // free spans of MAX_LIST_PAGES or more
    struct fixalloc spanalloc; // struct mspan
    struct fixalloc cachealloc; // struct mcache
    struct mm_stats stats;
};
extern struct mheap mheap;

// mheap_alloc returns a span of npages pages, in use, not yet cut into objects.
// It starts at a multiple of align, a power of two. NULL, with errno ENOMEM, if
// the OS refuses.
struct mspan *mheap_alloc(size_t npages, size_t align) REQUIRES(mheap.lock);

// mheap_free takes the span s back; from here on s is gone.
void mheap_free(struct mspan *s) REQUIRES(mheap.lock);

// mheap_check tests the invariants of the page heap and of the page map.
bool mheap_check(void) REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// fixalloc.c

// persistent_alloc returns size bytes, all 0 and aligned for every type, that
// are never given back. NULL, with errno ENOMEM, if the OS refuses.
void *persistent_alloc(size_t size) REQUIRES(mheap.lock);

// fixalloc_alloc returns a struct with undefined contents; NULL, with errno
// ENOMEM, if the OS refuses.
void *fixalloc_alloc(struct fixalloc *f) REQUIRES(mheap.lock);

// fixalloc_free takes the struct p back. Its memory stays readable.
void fixalloc_free(struct fixalloc *f, void *p) REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// mcentral.c

// The spans of one class. Each begins at a cache line of its own, so that
// threads that use different classes do not slow each other down.
enum { CACHE_LINE = 64 };
struct mcentral {
    _Alignas(CACHE_LINE) struct lock lock;
    struct mspan_list partial; // those with free objects
    uint64_t nodes_visited;
    uint64_t batches;
    uint64_t batch_objects;
};
extern struct mcentral mcentral[NUM_SIZE_CLASSES];

// mcentral_batch returns how many objects of a class are moved at a time.
size_t mcentral_batch(unsigned sizeclass);

// mcentral_remove_range takes up to n free objects of a class, stores them in
// objects and returns how many: at least 1, or 0, with errno ENOMEM, if there
// is no memory.
size_t mcentral_remove_range(unsigned sizeclass, void **objects, size_t n);

// mcentral_insert_range takes back n objects of a class.
void mcentral_insert_range(unsigned sizeclass, void *const *objects, size_t n);

// mcentral_check tests the invariants of a class: n spans have free objects.
bool mcentral_check(unsigned sizeclass, size_t n)
    REQUIRES(mcentral[sizeclass].lock);

// ---------------------------------------------------------------------------
// mcache.c

// Free objects of one class, for one thread: a stack.
enum { MAX_LIST_LENGTH = 64 };
struct mcache_list {
    void *objects[MAX_LIST_LENGTH]; // the last is taken first
    uint32_t length; // objects on it
    uint32_t max_length; // with so many it is full: one more, and a batch goes
    uint32_t low_water; // the least that length was since the last scavenge
    uint32_t overages; // how often it was full, since max_length last fell
    uint32_t elemsize; // bytes of an object
};

// What one thread has in stock. No other thread uses it.
struct mcache {
    size_t size; // bytes in all lists
    struct mcache_list lists[NUM_SIZE_CLASSES];
};

// mcache_alloc returns an object of a class; NULL, with errno ENOMEM, if there
// is no memory.
void *mcache_alloc(unsigned sizeclass);

// mcache_free takes back the object p of a class.
void mcache_free(unsigned sizeclass, void *p);

// mcache_flush gives back all that the calling thread has in stock. Returns
// whether there was anything.
bool mcache_flush(void);

// mcache_mine returns the cache of the calling thread; NULL: it has none.
const struct mcache *mcache_mine(void);

// mcache_is_only tells whether the calling thread has a cache, and no other
// thread has.
bool mcache_is_only(void) REQUIRES(mheap.lock);

// mcache_check tests the invariants of the cache of the calling thread.
bool mcache_check(void);

// ---------------------------------------------------------------------------
// pagemap.c

// span_of returns the span that p lies in, if it is in use. NULL: there is
// none. No lock is needed while something in that span is live.
struct mspan *span_of(const void *p);

// pagemap_get returns what the map says of the page that p lies in: of a span
// in use, every page is right; of a free one, the first and the last. NULL:
// never a page of the heap. Other pages may lead to spans that are gone.
struct mspan *pagemap_get(const void *p);

// pagemap_ensure makes room in the map for npages pages from start on. Returns
// false, with errno ENOMEM, if the OS refuses.
bool pagemap_ensure(const char *start, size_t npages) REQUIRES(mheap.lock);

// pagemap_set maps npages pages from start on to s. The map has room for them.
void pagemap_set(const char *start, size_t npages, struct mspan *s)
    REQUIRES(mheap.lock);

// span_next returns the span, in use or free, with the lowest address from p
// on; NULL: there is none. p must not be inside of a span.
struct mspan *span_next(const char *p) REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// mem_linux.c

// sys_alloc returns n bytes of fresh memory, all 0, at a multiple of PAGE_SIZE;
// n is one, too. It lies right below what it returned last, if it can. NULL,
// with errno ENOMEM, if the OS refuses.
void *sys_alloc(size_t n) REQUIRES(mheap.lock);

// sys_free gives n bytes at p, from sys_alloc, back to the OS. If it refuses,
// they stay, unused.
void sys_free(void *p, size_t n) REQUIRES(mheap.lock);

#endif
