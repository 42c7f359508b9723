// mtiny.c - several blocks of fewer than 16 bytes in one object of 16.
//
// A block that holds no pointers, and need not be aligned for every type, can
// share an object with others: a thread cuts its tiny block up from below, and
// takes another one when what is asked for does not fit. A block is a part of
// such an object.
//
//     offset  0        5     8        12           16
//             | 5 bytes |    | 4 bytes | 4 are left |
//                                      ^ tinyoffset
//
// In Go, the collector frees the object when nothing points into it. Here,
// every part is freed, so each object has a word that says which parts there
// are, and it is free when the last one is.
//
//     bit     0..15    a part in use begins at that offset
//             16..30   a part ends with the byte at offset 0..14 (15: no bit,
//                      for nothing can follow)
//             31       it is the tiny block of a thread, which may add parts
//
// Invariant  I1 An object with bits 0 to 15, or 31, is taken, and one of parts.
//               The word of any other means nothing.
//            I2 Parts do not overlap, and end where their object does at last.
// Locking    A word is atomic, for any thread frees a part. Only the thread
//            whose tiny block it is adds one. Whoever clears the last of bits
//            0 to 15 and 31 frees the object; so one does.
// TCMalloc   no part of it
// Go         the tiny allocator in mallocgc, malloc.go

#include "heap.h"

#include "bits.h"
#include "check.h"

enum { MAX_PARTS_OBJECTS = PAGE_SIZE / TINY_SIZE };
static const uint32_t BEGINS = 0xffff;
static const uint32_t HELD = UINT32_C(1) << 31;

_Atomic(uint64_t) tiny_allocs;

bool mtiny_init(struct mspan *s)
{
    assert_lock_held(&mheap.lock);
    ASSERT(s->elemsize == TINY_SIZE && s->nelems == MAX_PARTS_OBJECTS);
    s->parts = fixalloc_alloc(&mheap.partsalloc);
    for (size_t i = 0; s->parts != NULL && i < MAX_PARTS_OBJECTS; i++)
        atomic_store_explicit(&s->parts[i], 0, memory_order_relaxed);
    return s->parts != NULL;
}

void mtiny_fini(struct mspan *s)
{
    assert_lock_held(&mheap.lock);
    if (s->parts != NULL)
        fixalloc_free(&mheap.partsalloc, (void *)s->parts);
}

// slot_of returns the slot of the object that p lies in, word_of its word, and
// offset_of the place of p in it.
static size_t slot_of(const struct mspan *s, const void *p)
{
    return (size_t)((const char *)p - s->start_addr) / TINY_SIZE;
}

static _Atomic(uint32_t) *word_of(const struct mspan *s, const void *p)
{
    return &s->parts[slot_of(s, p)];
}

static unsigned offset_of(const void *p)
{
    return (uintptr_t)p % TINY_SIZE;
}

// part_bits returns the bits of a part of size bytes at an offset.
static uint32_t part_bits(unsigned offset, size_t size)
{
    unsigned end = offset + (unsigned)size - 1;
    uint32_t bits = UINT32_C(1) << offset;
    return end == TINY_SIZE - 1 ? bits : bits | UINT32_C(1) << (16 + end);
}

// part_size returns the size of the part that begins at an offset.
static size_t part_size(uint32_t word, unsigned offset)
{
    uint32_t ends = word >> 16 | UINT32_C(1) << (TINY_SIZE - 1);
    return ctz64(ends >> offset) + 1;
}

// let_go clears bits of the word of the object at p, and frees the object if
// neither a part nor a thread has it any more. Returns the word as it was.
static uint32_t let_go(struct mspan *s, const void *p, uint32_t bits)
{
    // acq_rel: what the program did with the parts comes before the object is
    // used anew; pairs with itself.
    uint32_t old =
        atomic_fetch_and_explicit(word_of(s, p), ~bits, memory_order_acq_rel);
    if ((old & bits) != 0 && (old & ~bits & (BEGINS | HELD)) == 0)
        mcache_free(s, slot_of(s, p));
    return old;
}

// Go: func (c *mcache) releaseAll (mcache.go)
void mtiny_release(void)
{
    char *p = mcache->tiny;
    if (p == NULL) // always so in the cache of a thread that has none
        return;
    mcache->tiny = NULL;
    let_go(span_of(p), p, HELD);
}

void mtiny_recover(struct mspan *s)
{
    for (size_t slot = 0; s->parts != NULL && slot < s->nelems; slot++) {
        const char *p = s->start_addr + slot * TINY_SIZE;
        if (p != mcache->tiny)
            let_go(s, p, HELD);
    }
}

// take_block returns an object of TINY_SIZE bytes.
static char *take_block(void)
{
    struct mspan *s = *mcache_span(mcache, TINY_SPAN_CLASS);
    uint64_t word = mspan_next(s);
    return word != 0 ? mspan_next_free_fast(s, word)
                     : mcache_next_free(TINY_SPAN_CLASS);
}

// Go: func mallocgc (malloc.go)
void *mtiny_alloc(size_t size)
{
    size_t align = size % 8 == 0   ? 8
                   : size % 4 == 0 ? 4
                   : size % 2 == 0 ? 2
                                   : 1;
    size_t offset = round_up(mcache->tinyoffset, align);

    ASSERT(size > 0 && size < TINY_SIZE);
    if (mcache->tiny != NULL && offset + size <= TINY_SIZE) {
        mcache->tinyoffset = (uint32_t)(offset + size);
        count_shared(&tiny_allocs, 1);
        // relaxed: who frees the part got its address from here
        atomic_fetch_or_explicit(mcache->tiny_parts,
                                 part_bits((unsigned)offset, size),
                                 memory_order_relaxed);
        return mcache->tiny + offset;
    }
    char *p = take_block();
    if (p == NULL)
        return NULL;
    _Atomic(uint32_t) *parts = word_of(span_of(p), p);
    // The block with more room is the one to keep.
    bool keep = mcache_mine() != NULL &&
                (mcache->tiny == NULL || size < mcache->tinyoffset);
    atomic_store_explicit(parts, part_bits(0, size) | (keep ? HELD : 0),
                          memory_order_relaxed);
    if (keep) {
        mtiny_release();
        mcache->tiny = p;
        mcache->tinyoffset = (uint32_t)size;
        mcache->tiny_parts = parts;
    }
    return p;
}

bool mtiny_has_parts(const struct mspan *s, const void *p)
{
    return s->parts != NULL && (*word_of(s, p) & (BEGINS | HELD)) != 0;
}

size_t mtiny_block_size(const struct mspan *s, const void *p)
{
    uint32_t word = *word_of(s, p);
    return (word >> offset_of(p) & 1) == 0 ? 0 : part_size(word, offset_of(p));
}

bool mtiny_free(struct mspan *s, const void *p)
{
    uint32_t bit = UINT32_C(1) << offset_of(p);
    return (let_go(s, p, bit) & bit) != 0;
}

size_t mtiny_bytes(const struct mspan *s, size_t slot)
{
    const char *p = s->start_addr + slot * TINY_SIZE;
    size_t n = 0;
    if (!mtiny_has_parts(s, p))
        return mspan_is_live(s, slot) ? TINY_SIZE : 0;
    for (const char *part = p; part < p + TINY_SIZE; part++)
        n += mtiny_block_size(s, part);
    return n;
}

bool mtiny_check(const struct mspan *s)
{
    for (size_t slot = 0; slot < s->nelems; slot++) {
        const char *p = s->start_addr + slot * TINY_SIZE;
        uint32_t word = s->parts[slot];
        if ((word & (BEGINS | HELD)) != 0 && !mspan_is_live(s, slot))
            return mm_complain("I1 an object of parts is taken", p);
        for (unsigned i = 0; i < TINY_SIZE; i++) {
            uint32_t here = (word & BEGINS) >> i;
            uint64_t part = shl64(1, (unsigned)part_size(word, i)) - 1;
            if ((here & 1) != 0 && (here & part) != 1)
                return mm_complain("I2 parts do not overlap", p + i);
        }
    }
    return true;
}
