// mheap.h - what the parts of the page heap tell each other, and the rest of
// the allocator.
//
//   mheap.c      the page heap: hands out spans of pages, and takes them back
//   mpagealloc.c the page allocator: finds free pages, in bitmaps of chunks
//   mpagecache.c 64 pages for one thread
//   mpallocbits.c  the bitmap of a chunk
//   mgcscavenge.c  gives free pages back to the OS
//   arena.c      the heap's part of the address space, and from an address to
//                the span that it lies in
//   fixalloc.c   memory for the structs of this file
//   mem_linux.c  memory from the OS
//
// heap.h includes it, and is included by all.
//
// TCMalloc   page_heap.h, pagemap.h
// Go         mheap.go, mpagealloc.go, mpallocbits.go

#ifndef MHEAP_H
#define MHEAP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lock.h"
#include "mm.h"

// An address that a program can have has no more bits.
enum { HEAP_ADDR_BITS = 48 };

// ---------------------------------------------------------------------------
// mpallocbits.c

// A chunk of the heap is so many pages: its bitmap is a cache line.
enum {
    LOG_CHUNK_PAGES = 9,
    LOG_CHUNK_BYTES = LOG_CHUNK_PAGES + PAGE_SHIFT,
    PALLOC_CHUNK_PAGES = 1 << LOG_CHUNK_PAGES,
    PALLOC_CHUNK_BYTES = 1 << LOG_CHUNK_BYTES,
};

// A bit for each page of a chunk: bit i%64 of word i/64 is that of page i.
//
// Go: type pallocBits pageBits (mpallocbits.go)
struct page_bits {
    uint64_t words[PALLOC_CHUNK_PAGES / 64];
};

// page_bits_set_range sets the bits of n pages from i on, page_bits_clear_range
// clears them, page_bits_popcnt_range returns how many are set; n > 0.
void page_bits_set_range(struct page_bits *b, size_t i, size_t n);
void page_bits_clear_range(struct page_bits *b, size_t i, size_t n);
size_t page_bits_popcnt_range(const struct page_bits *b, size_t i, size_t n);

// Runs of free pages: how many there are at the start, the most in a row, and
// how many at the end.
struct palloc_runs {
    size_t start;
    size_t max;
    size_t end;
};

// palloc_bits_summarize returns the runs of zeros in b.
struct palloc_runs palloc_bits_summarize(const struct page_bits *b);

// palloc_bits_find returns the first page of the lowest npages > 0 free pages
// in a row, and the lowest free page that was seen; SIZE_MAX: there is none. It
// begins with the word of page search_idx; no page before that page is free.
struct palloc_found {
    size_t page;
    size_t search_idx;
};
struct palloc_found palloc_bits_find(const struct page_bits *b, size_t npages,
                                     size_t search_idx);

// find_bit_range64 returns where the lowest n > 0 ones in a row begin in c; 64:
// there are none.
unsigned find_bit_range64(uint64_t c, unsigned n);

// ---------------------------------------------------------------------------
// mpagealloc.c: its data

// A chunk by its number: its address, divided by its size.
//
// Go: type chunkIdx (mpagealloc.go)
typedef size_t chunk_idx;

static inline chunk_idx chunk_index(uintptr_t p)
{
    return p / PALLOC_CHUNK_BYTES;
}
static inline uintptr_t chunk_base(chunk_idx ci)
{
    return ci * PALLOC_CHUNK_BYTES;
}
static inline size_t chunk_page_index(uintptr_t p)
{
    return p % PALLOC_CHUNK_BYTES / PAGE_SIZE;
}

// What is known of the pages of a chunk.
//
// Go: type pallocData (mpallocbits.go)
struct palloc_data {
    struct page_bits alloc; // 1: in use
    struct page_bits scavenged; // 1: takes no memory of the machine
};

// A table of chunks; those that are no part of the heap are all 0.
enum {
    CHUNK_TABLE_BITS = 13,
    CHUNK_ROOT_BITS = HEAP_ADDR_BITS - LOG_CHUNK_BYTES - CHUNK_TABLE_BITS,
};
struct chunk_table {
    struct palloc_data chunks[1 << CHUNK_TABLE_BITS];
    uint64_t grown[(1 << CHUNK_TABLE_BITS) / 64]; // 1: part of the heap
    uint64_t scavenge[(1 << CHUNK_TABLE_BITS) / 64]; // 1: look for pages there
};

// A page allocator; all 0 is an empty one. Its functions take addresses that
// are multiples of PAGE_SIZE.
//
// Go: type pageAlloc (mpagealloc.go)
struct page_alloc {
    struct chunk_table *tables[1 << CHUNK_ROOT_BITS]; // NULL: no chunk there
    chunk_idx start, end; // the lowest chunk, and the one after the highest
    size_t ready; // pages that are not scavenged
    size_t huge_pages; // pages in a huge page of the OS; 0: there are none
    bool test; // there is no memory behind the pages, so the OS is not called

    // Where the scavenger goes on: no page above can be scavenged. 0: none can.
    // marked: somebody freed pages there since it looked. released: so many
    // pages went back so far, in all.
    struct {
        uintptr_t search_addr;
        bool marked;
        size_t released;
    } scav;
};

// Pages that were taken: where they begin, and how many of them were scavenged.
struct page_run {
    uintptr_t base; // 0: there are none
    size_t scav;
};

// ---------------------------------------------------------------------------
// mheap.c

// Structs of one size, made by fixalloc.c.
struct fixalloc {
    size_t size; // of a struct; at least that of a pointer
    void *list; // of freed structs, each with the address of the next in it
};

// Reserved memory, from base to below end.
struct heap_space {
    char *base;
    char *end;
};

// The page heap. There is one; everything in it is guarded by its lock.
struct mheap {
    struct lock lock;
    struct heap_space cur_arena; // where the heap grows
    struct fixalloc spanalloc; // struct mspan
    struct fixalloc cachealloc; // struct mcache
    struct fixalloc blockalloc; // struct span_set_block
    struct fixalloc partsalloc; // parts of the objects of a span
    struct mm_stats stats;
    size_t pages_in_use; // of spans, and those that are free in page caches
    size_t peak_pages; // as many were, not long ago: mgcscavenge.c
    size_t freed_pages; // so many in all, so far
    size_t pages_again; // that went back, and were used again, or on request
    size_t missed_pages; // of these, not long ago
    _Atomic(uint64_t) cached_spans; // times that a page cache had the pages
    struct page_alloc pages;
};
extern struct mheap mheap;

// mheap_alloc returns a span of npages pages, in use, not yet cut into objects.
// It starts at a multiple of align, a power of two. NULL, with errno ENOMEM, if
// the OS refuses.
struct mspan *mheap_alloc(size_t npages, size_t align) REQUIRES(mheap.lock);

// mheap_alloc_cached returns such a span, cut into objects of a class, that
// fits into the page cache of the calling thread. NULL, with errno as it was:
// there is none; mheap_alloc may know better.
struct mspan *mheap_alloc_cached(size_t npages, spanclass class);

// mheap_flush_cache makes the pages of the page cache of the calling thread
// free for all, and its structs.
void mheap_flush_cache(void) REQUIRES(mheap.lock);

// mheap_recover frees the pages that lost threads had: in the child of a fork.
void mheap_recover(void) REQUIRES(mheap.lock);

// mheap_free takes the span s back; from here on s is gone.
void mheap_free(struct mspan *s) REQUIRES(mheap.lock);

// mheap_resize makes the span s npages > 0 pages long; it stays where it is.
// Returns false if the pages above it are not free; then it is as it was.
bool mheap_resize(struct mspan *s, size_t npages) REQUIRES(mheap.lock);

// mheap_check tests the invariants of the page heap and of the arenas.
bool mheap_check(void) REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// mpagealloc.c: what it does

// page_alloc_grow adds size bytes from base on, whole chunks, as free pages,
// all scavenged. Returns false, with errno ENOMEM, if there is no memory for
// tables.
bool page_alloc_grow(struct page_alloc *p, uintptr_t base, size_t size)
    REQUIRES(mheap.lock);

// page_alloc_find returns the address of the lowest npages > 0 free pages in a
// row; 0: there are none. They stay free.
uintptr_t page_alloc_find(const struct page_alloc *p, size_t npages)
    REQUIRES(mheap.lock);

// page_alloc_alloc takes such pages, page_alloc_alloc_range those from base on,
// which are in grown chunks; that returns how many were scavenged. None is from
// here on.
struct page_run page_alloc_alloc(struct page_alloc *p, size_t npages)
    REQUIRES(mheap.lock);
size_t page_alloc_alloc_range(struct page_alloc *p, uintptr_t base,
                              size_t npages) REQUIRES(mheap.lock);

// page_alloc_free makes pages free again. scavenged: there is nothing among
// them that the scavenger should look for.
void page_alloc_free(struct page_alloc *p, uintptr_t base, size_t npages,
                     bool scavenged) REQUIRES(mheap.lock);

// page_alloc_count returns how many of npages pages from base on are in use;
// those of no chunk count.
size_t page_alloc_count(const struct page_alloc *p, uintptr_t base,
                        size_t npages) REQUIRES(mheap.lock);

// page_alloc_is_scavenged tells whether a page of the heap is, by its address.
bool page_alloc_is_scavenged(const struct page_alloc *p, uintptr_t page)
    REQUIRES(mheap.lock);

// page_alloc_next_chunk returns the lowest chunk of the heap from ci on;
// p->end: there is none. page_alloc_chunk returns what is known of chunk ci;
// NULL: it is no chunk of the heap.
chunk_idx page_alloc_next_chunk(const struct page_alloc *p, chunk_idx ci)
    REQUIRES(mheap.lock);
struct palloc_data *page_alloc_chunk(const struct page_alloc *p, chunk_idx ci)
    REQUIRES(mheap.lock);

// page_alloc_check tests the invariants of p.
bool page_alloc_check(const struct page_alloc *p) REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// mpagecache.c

// A page cache: bit i of each word is for the page i pages above base. All 0 is
// an empty one.
//
// Go: type pageCache (mpagecache.go)
enum { PAGE_CACHE_PAGES = 64 };
struct page_cache {
    uintptr_t base; // a multiple of PAGE_CACHE_PAGES pages
    uint64_t cache; // 1: free
    uint64_t scav; // 1: scavenged
};

// page_cache_alloc takes the lowest npages > 0 pages in a row.
struct page_run page_cache_alloc(struct page_cache *c, size_t npages);

// page_alloc_alloc_to_cache takes the lowest free page of the heap, and all
// free pages near it, and returns them; an empty cache, if no page is free.
struct page_cache page_alloc_alloc_to_cache(struct page_alloc *p)
    REQUIRES(mheap.lock);

// page_cache_flush makes the pages of c free in the heap, and c empty. The
// scavenger is not told.
void page_cache_flush(struct page_cache *c, struct page_alloc *p)
    REQUIRES(mheap.lock);

// page_cache_check tests the invariants of c.
bool page_cache_check(const struct page_cache *c, const struct page_alloc *p)
    REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// mgcscavenge.c

// fill_aligned returns x with all bits set in each aligned group of m bits with
// one that is; m is a power of two up to 64.
uint64_t fill_aligned(uint64_t x, unsigned m);

// n pages of a chunk from start on; n 0: none.
struct page_range {
    size_t start;
    size_t n;
};

// palloc_data_find_scavenge_candidate returns pages of a chunk that are free
// and not scavenged: the highest in the words up to that of search_idx. They
// are aligned groups of min pages, a power of two up to 64, and about max (0:
// min); more, if else a huge page of huge_pages pages were broken that is free.
struct page_range palloc_data_find_scavenge_candidate(
    const struct palloc_data *m, size_t search_idx, size_t min, size_t max,
    size_t huge_pages);

// The index of chunks to look for pages in. scavenge_index_mark adds those of
// the pages from base to below limit, scavenge_index_clear takes one out.
void scavenge_index_mark(struct page_alloc *p, uintptr_t base, uintptr_t limit)
    REQUIRES(mheap.lock);
void scavenge_index_clear(struct page_alloc *p, chunk_idx ci)
    REQUIRES(mheap.lock);

// scavenge_index_has tells whether chunk ci, of the heap, is in the index.
bool scavenge_index_has(const struct page_alloc *p, chunk_idx ci)
    REQUIRES(mheap.lock);

// scavenge_index_find returns the highest chunk in the index that may have
// pages to scavenge, and the page to begin with; ci 0: there is none.
struct scavenge_place {
    chunk_idx ci;
    size_t page;
};
struct scavenge_place scavenge_index_find(struct page_alloc *p)
    REQUIRES(mheap.lock);

// page_alloc_scavenge gives free pages back to the OS, the highest first, until
// they are nbytes or more, or there are none left. Returns how many bytes.
size_t page_alloc_scavenge(struct page_alloc *p, size_t nbytes)
    REQUIRES(mheap.lock);

// scavenge_after_free is called when npages pages of the heap were freed. It
// scavenges some if the heap holds more than it should.
void scavenge_after_free(size_t npages) REQUIRES(mheap.lock);

// scavenge_note_use is called when npages scavenged pages are used.
void scavenge_note_use(size_t npages) REQUIRES(mheap.lock);

// scavenge_all scavenges all free pages but pad bytes.
void scavenge_all(size_t pad) REQUIRES(mheap.lock);

// scavenge_check tests the invariants of the scavenger.
bool scavenge_check(void) REQUIRES(mheap.lock);

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
// arena.c

// arena_reserve reserves *n bytes or more, a multiple of PALLOC_CHUNK_BYTES,
// for the heap. Stores how many. NULL, with errno ENOMEM, if the OS refuses.
char *arena_reserve(size_t *n) REQUIRES(mheap.lock);

// span_of returns the span that p lies in, if it is in use. NULL: there is
// none. No lock is needed while something in that span is live.
struct mspan *span_of(const void *p);

// span_hint returns the span that lay at p when one was put there last that a
// thread held, or another one: who asks compares. emptymspan: there was none.
// An entry is the distance of the span from emptymspan, so that what was never
// set leads there, too, and no reader has to ask.
enum { HINTS = 1 << 15 }; // pages: a heap of 256 MiB has one for each
extern _Atomic(ptrdiff_t) span_hints[HINTS];
static inline struct mspan *span_hint(const void *p)
{
    // Relaxed: who finds himself to be the owner of the span put it there.
    ptrdiff_t distance =
        atomic_load_explicit(&span_hints[((uintptr_t)p >> PAGE_SHIFT) % HINTS],
                             memory_order_relaxed);
    return (struct mspan *)((char *)&emptymspan + distance);
}

// span_set_hint makes span_hint return s for all its pages.
void span_set_hint(struct mspan *s);

// arena_get returns the span that the page of p was put in last; it may be
// gone. NULL: never a page of a span.
struct mspan *arena_get(const void *p);

// arena_set_span makes all pages of s lead to it. It takes no lock, but the
// pages are the caller's, and s is complete. arena_clear_span is called before
// s is gone.
void arena_set_span(struct mspan *s);
void arena_clear_span(const struct mspan *s) REQUIRES(mheap.lock);

// span_next returns the span in use with the lowest address from p on; NULL:
// there is none. p must not be inside of a span.
struct mspan *span_next(const char *p) REQUIRES(mheap.lock);

// arena_needs_zero tells whether one of npages pages from base on was handed
// out before, and notes that all are from here on. The pages are the caller's.
bool arena_needs_zero(uintptr_t base, size_t npages);

// arena_check tests the invariants of the arenas, for s, a span in use.
bool arena_check(const struct mspan *s) REQUIRES(mheap.lock);

// ---------------------------------------------------------------------------
// mem_linux.c

// A state of address space is what may be done with it: mem_linux.c. n is a
// multiple of PAGE_SIZE; if the OS refuses, errno is ENOMEM, and nothing has
// changed.

// sys_alloc returns n bytes of fresh memory, all 0, ready. NULL if the OS
// refuses.
void *sys_alloc(size_t n) REQUIRES(mheap.lock);

// sys_reserve reserves n bytes, at p if they are free, else elsewhere. NULL if
// the OS refuses. sys_reserve_aligned reserves them at a multiple of align.
void *sys_reserve(void *p, size_t n) REQUIRES(mheap.lock);
void *sys_reserve_aligned(size_t n, size_t align) REQUIRES(mheap.lock);

// sys_map makes n reserved bytes prepared. Returns false if the OS refuses.
bool sys_map(void *p, size_t n) REQUIRES(mheap.lock);

// sys_used makes n prepared bytes ready: all 0. sys_unused makes n ready bytes
// prepared, and returns false if the OS refuses; keeps errno.
void sys_used(void *p, size_t n) REQUIRES(mheap.lock);
bool sys_unused(void *p, size_t n) REQUIRES(mheap.lock);

// sys_untouched is called for n bytes that were made ready and never touched:
// they are prepared, still.
void sys_untouched(size_t n) REQUIRES(mheap.lock);

// sys_free gives n reserved bytes up. If the OS refuses, they stay reserved.
// Keeps errno.
void sys_free(void *p, size_t n) REQUIRES(mheap.lock);

#endif
