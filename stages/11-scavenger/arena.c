// arena.c - arenas: the heap's part of the address space, 64 MiB at a time.
//
// An address of 48 bits is the number of an arena, of a page in it, and of a
// byte in that. The index leads from the number of an arena to its struct, and
// that says what is known of each page:
//
//     47            37 36            26 25      13 12            0
//     | table: 11     | arena: 11      | page: 13 | byte in page |
//           |                |               |
//        arenas[] ------> table[] ----> spans[]      the span of the page
//                                       page_in_use  a bit where a span begins
//
// On x86-64, the heap begins at 0xc000000000 in every process, and goes on from
// there: so it is in one piece, and addresses are easy to recognise. Where
// others have been before, it goes on at the next TiB: each of these places is
// a hint. An arm64 machine may have addresses of 39 bits only.
//
// A walk through the index is too long for each free. So each page has an entry
// in one short table, too, where the span is that was put there last; a page
// that lies 256 MiB away has the same. Who asks there looks whether it is the
// right one.
//
// Invariant  I1 Every page of a span in use leads to it in spans; others may
//               lead to spans that are gone.
//            I2 page_in_use has a bit for the first page of every span in use.
//            I3 From zeroed on, no byte of an arena was ever handed out.
// Locking    mheap.lock guards all writes. Readers need no lock: an arena is
//            complete before its address is stored, and is never freed.
// Go         mheap.go: heapArena, spanOf; malloc.go: sysAlloc

#include "heap.h"

#include <stdatomic.h>

#include "bits.h"
#include "check.h"

enum {
    LOG_ARENA_BYTES = 26,
    ARENA_PAGES = 1 << (LOG_ARENA_BYTES - PAGE_SHIFT),
    TABLE_BITS = 11,
    ROOT_BITS = HEAP_ADDR_BITS - LOG_ARENA_BYTES - TABLE_BITS,
};
_Static_assert(ROOT_BITS == 11, "the picture above shows the parts");

// Go: type heapArena (mheap.go)
struct heap_arena {
    _Atomic(struct mspan *) spans[ARENA_PAGES];
    uint64_t page_in_use[ARENA_PAGES / 64];
    size_t zeroed; // in bytes from the start of the arena
};
struct arena_table {
    _Atomic(struct heap_arena *) arenas[1 << TABLE_BITS];
};
static _Atomic(struct arena_table *) arenas[1 << ROOT_BITS];

// Where the next arena is to be: first_hint, or right above the last one.
#ifdef __aarch64__
static const uintptr_t first_hint = UINT64_C(0x40) << 32;
#else
static const uintptr_t first_hint = UINT64_C(0xc0) << 32;
#endif
static const uintptr_t hint_step = UINT64_C(1) << 40;
static uintptr_t hint GUARDED_BY(mheap.lock);

// An arena by its number; a page by its index in it.
static inline size_t arena_index(uintptr_t p)
{
    return p >> LOG_ARENA_BYTES;
}

static inline size_t page_index(uintptr_t p)
{
    return p >> PAGE_SHIFT & (ARENA_PAGES - 1);
}

// arena_of returns the arena that p lies in; NULL: there is none.
static struct heap_arena *arena_of(uintptr_t p)
{
    if (p >> HEAP_ADDR_BITS != 0)
        return NULL;
    size_t i = arena_index(p);
    // acquire: pairs with the release in arena_ensure
    struct arena_table *table =
        atomic_load_explicit(&arenas[i >> TABLE_BITS], memory_order_acquire);
    if (table == NULL)
        return NULL;
    return atomic_load_explicit(&table->arenas[i & ((1 << TABLE_BITS) - 1)],
                                memory_order_acquire);
}

// arena_ensure makes the arenas of n bytes from base on. Returns false, with
// errno ENOMEM, if the OS refuses.
static bool arena_ensure(uintptr_t base, size_t n) REQUIRES(mheap.lock)
{
    for (size_t i = arena_index(base); i <= arena_index(base + n - 1); i++) {
        _Atomic(struct arena_table *) *at = &arenas[i >> TABLE_BITS];
        if (atomic_load_explicit(at, memory_order_relaxed) == NULL) {
            struct arena_table *table = persistent_alloc(sizeof *table);
            if (table == NULL)
                return false;
            // release: pairs with the acquire in arena_of
            atomic_store_explicit(at, table, memory_order_release);
        }
        if (arena_of((uintptr_t)i << LOG_ARENA_BYTES) != NULL)
            continue;
        struct heap_arena *arena = persistent_alloc(sizeof *arena);
        if (arena == NULL)
            return false;
        struct arena_table *table =
            atomic_load_explicit(at, memory_order_relaxed);
        // release: pairs with the acquire in arena_of
        atomic_store_explicit(&table->arenas[i & ((1 << TABLE_BITS) - 1)],
                              arena, memory_order_release);
    }
    return true;
}

// reserve_at_hint reserves n bytes at a hint; NULL: the OS refuses, or has
// something else at each.
static char *reserve_at_hint(size_t n) REQUIRES(mheap.lock)
{
    if (hint == 0)
        hint = first_hint;
    while (hint + n < UINT64_C(1) << (HEAP_ADDR_BITS - 1)) {
        char *p = sys_reserve((void *)hint, n);
        if (p == NULL || p == (char *)hint)
            return p;
        sys_free(p, n);
        hint = hint / hint_step * hint_step + hint_step + first_hint;
    }
    return NULL;
}

// reserve_somewhere reserves n bytes at a hint or, if none is free, where the
// OS likes; NULL: it refuses.
static char *reserve_somewhere(size_t n) REQUIRES(mheap.lock)
{
    char *p = reserve_at_hint(n);
    return p != NULL ? p : sys_reserve_aligned(n, PALLOC_CHUNK_BYTES);
}

// Go: func (h *mheap) sysAlloc (malloc.go)
char *arena_reserve(size_t *n)
{
    assert_lock_held(&mheap.lock);
    size_t whole = round_up(*n, (size_t)1 << LOG_ARENA_BYTES);
    char *p = reserve_somewhere(whole);
    if (p != NULL)
        *n = whole;
    else // there may be a limit to the address space
        p = reserve_somewhere(*n);
    if (p == NULL)
        return NULL;
    if (!arena_ensure((uintptr_t)p, *n)) {
        sys_free(p, *n);
        return NULL;
    }
    hint = (uintptr_t)p + *n;
    return p;
}

struct mspan *arena_get(const void *p)
{
    struct heap_arena *arena = arena_of((uintptr_t)p);
    if (arena == NULL)
        return NULL;
    // acquire: pairs with the release in arena_set_span
    return atomic_load_explicit(&arena->spans[page_index((uintptr_t)p)],
                                memory_order_acquire);
}

// Go: func spanOf (mheap.go)
struct mspan *span_of(const void *p)
{
    struct mspan *s = arena_get(p);
    // What is said of a page that is free may be old.
    if (s == NULL || s->state != MSPAN_IN_USE ||
        (const char *)p < s->start_addr || (const char *)p >= mspan_end(s))
        return NULL;
    return s;
}

_Atomic(ptrdiff_t) span_hints[HINTS];

// TCMalloc   PackedCache in packed-cache-inl.h holds size classes this way
void span_set_hint(struct mspan *s)
{
    ptrdiff_t distance = (char *)s - (char *)&emptymspan;
    uintptr_t page = (uintptr_t)s->start_addr >> PAGE_SHIFT;
    for (size_t i = 0; i < s->npages; i++)
        atomic_store_explicit(&span_hints[(page + i) % HINTS], distance,
                              memory_order_relaxed);
}

// in_use_word returns the word of page_in_use with the bit of the page at p,
// page_bit returns that bit.
static uint64_t *in_use_word(uintptr_t p)
{
    return &arena_of(p)->page_in_use[page_index(p) / 64];
}

static inline uint64_t page_bit(uintptr_t p)
{
    return UINT64_C(1) << page_index(p) % 64;
}

// Go: func (h *mheap) setSpans (mheap.go)
void arena_set_span(struct mspan *s)
{
    uintptr_t start = (uintptr_t)s->start_addr;
    uintptr_t end = (uintptr_t)mspan_end(s);

    assert_lock_held(&mheap.lock);
    for (uintptr_t p = start; p < end; p += PAGE_SIZE)
        // release: pairs with the acquire in arena_get
        atomic_store_explicit(&arena_of(p)->spans[page_index(p)], s,
                              memory_order_release);
    *in_use_word(start) |= page_bit(start);
}

void arena_clear_span(const struct mspan *s)
{
    uintptr_t start = (uintptr_t)s->start_addr;
    assert_lock_held(&mheap.lock);
    *in_use_word(start) &= ~page_bit(start);
}

struct mspan *span_next(const char *from)
{
    uintptr_t p = (uintptr_t)from;

    assert_lock_held(&mheap.lock);
    while (p >> HEAP_ADDR_BITS == 0) {
        const struct heap_arena *arena = arena_of(p);
        unsigned skip = LOG_ARENA_BYTES; // so many bits of p are the same
        if (arenas[arena_index(p) >> TABLE_BITS] == NULL)
            skip += TABLE_BITS;
        if (arena != NULL) {
            size_t i = page_index(p);
            uint64_t word = arena->page_in_use[i / 64] >> i % 64;
            if (word != 0)
                return arena->spans[i + ctz64(word)];
            skip = PAGE_SHIFT + 6;
        }
        p = ((p >> skip) + 1) << skip;
    }
    return NULL;
}

// Go: func (h *mheap) allocNeedsZero (mheap.go)
bool arena_needs_zero(uintptr_t base, size_t npages)
{
    const uintptr_t arena_bytes = (uintptr_t)1 << LOG_ARENA_BYTES;
    uintptr_t end = base + npages * PAGE_SIZE;
    bool needs_zero = false;

    assert_lock_held(&mheap.lock);
    while (base < end) {
        struct heap_arena *arena = arena_of(base);
        CHECK(arena != NULL);
        uintptr_t first = base % arena_bytes;
        uintptr_t here =
            arena_bytes - first < end - base ? arena_bytes - first : end - base;
        if (first < arena->zeroed)
            needs_zero = true;
        if (first + here > arena->zeroed)
            arena->zeroed = first + here;
        base += here;
    }
    return needs_zero;
}

bool arena_check(const struct mspan *s)
{
    assert_lock_held(&mheap.lock);
    for (const char *p = s->start_addr; p < mspan_end(s); p += PAGE_SIZE)
        if (span_of(p) != s)
            return mm_complain("I1 every page leads to its span", p);
    uintptr_t last = (uintptr_t)mspan_end(s) - 1;
    const struct heap_arena *arena = arena_of(last);
    if (arena == NULL ||
        last % ((uintptr_t)1 << LOG_ARENA_BYTES) >= arena->zeroed)
        return mm_complain("I3 what was never handed out is zero", s);
    return true;
}
