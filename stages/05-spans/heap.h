// heap.h - what the parts of the allocator tell each other.
//
//   malloc.c     blocks: small ones are objects of a span, others have a span
//                of their own
//   mspan.c      a span: some pages, and the objects they are cut into
//   mlink.h      free objects as a list, whose links lie in the objects
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

// ---------------------------------------------------------------------------
// mspan.c

struct mlink; // mlink.h

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

    // A span in use is cut into nelems objects of elemsize bytes, the first at
    // start_addr. alloc_count of them are handed out, the others on freelist.
    uint8_t sizeclass; // 0: it is one object, as long as the span
    uint32_t nelems;
    uint32_t alloc_count;
    size_t elemsize;
    struct mlink *freelist;
};

// mspan_end returns the first byte above s.
static inline char *mspan_end(const struct mspan *s)
{
    return s->start_addr + s->npages * PAGE_SIZE;
}

// mspan_init_objects cuts the span s, just taken from the page heap, into
// objects of a class. For class 0, it becomes one object, which is handed out.
void mspan_init_objects(struct mspan *s, unsigned sizeclass);

// mspan_is_object tells whether an object of s starts at p, an address in s.
bool mspan_is_object(const struct mspan *s, const void *p);

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
