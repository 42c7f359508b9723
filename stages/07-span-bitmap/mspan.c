// mspan.c - a span: some pages in a row, and the objects they are cut into.
//
// An object has no header: where it starts and how long it is follows from its
// span. What is left over at the end of a span is too short for an object.
//
//     start_addr                           limit       mspan_end
//       | object 0 | object 1 | ... | object nelems-1 |  |
//
// Which objects are free is written beside the span, one bit for each slot, so
// that nothing has to be written into a free object. To find a free one, 64 of
// these bits are held in alloc_cache, the window: inverted, and shifted so that
// the lowest is that of freeindex. The zeros below its lowest 1 are slots to
// skip.
//
//     slot        0 1 2 3 4 5 6 7 ...
//     alloc_bits  1 1 0 1 1 0 0 1      1: taken
//                       ^ freeindex 3
//     alloc_cache       0 0 1 1 0      1: free; lowest bit first: 3 + 2 is next
//
// Invariant  I1 alloc_count bits of alloc_bits are set, none from nelems on.
//            I2 alloc_cache is as the picture shows it, as far as its window
//               reaches, or has fewer bits set: what is freed in the window, or
//               below freeindex, is found when the search begins anew.
//            I3 A marked object is taken.
// TCMalloc   span.h; there, a list runs through the objects instead
// Go         mspan in mheap.go, mbitmap.go

#include "heap.h"

#include <stdatomic.h>
#include <string.h>

#include "bits.h"
#include "check.h"

// Go: func (span *mspan) init (mheap.go)
void mspan_init_objects(struct mspan *s, unsigned sizeclass)
{
    size_t bytes = s->npages * PAGE_SIZE;

    s->sizeclass = (uint8_t)sizeclass;
    s->elemsize = sizeclass == 0 ? bytes : class_size(sizeclass);
    s->nelems = sizeclass == 0 ? 1 : (uint32_t)(bytes / s->elemsize);
    s->div_mul = sizeclass == 0 ? 0 : mspan_div_magic((uint32_t)s->elemsize);
    s->limit = s->start_addr + s->elemsize * s->nelems;
    s->freeindex = 0;
    s->alloc_count = 0;
    memset(s->alloc_bits, 0, sizeof s->alloc_bits);
    for (size_t i = 0; i < MAX_OBJECTS / 64; i++)
        atomic_store_explicit(&s->mark_bits[i], 0, memory_order_relaxed);
    mspan_refill_alloc_cache(s, 0);
}

// Multiplying an offset by ceil(2^32 / size) and dropping 32 bits divides it by
// size. The error is below offset / 2^32. To reach the next integer, it would
// have to be 1 / size; in the span of a class, offset * size is below 2^32.
//
// Go: func computeDivMagic (mksizeclasses.go)
uint32_t mspan_div_magic(uint32_t size)
{
    return UINT32_MAX / size + 1;
}

// Go: func (s *mspan) divideByElemSize (mbitmap.go)
size_t mspan_object_index(const struct mspan *s, const void *p)
{
    size_t offset = (size_t)((const char *)p - s->start_addr);
    return offset * s->div_mul >> 32;
}

bool mspan_is_object(const struct mspan *s, const void *p)
{
    return (const char *)p < s->limit &&
           s->start_addr + mspan_object_index(s, p) * s->elemsize == p;
}

// Go: func (s *mspan) refillAllocCache (mbitmap.go)
void mspan_refill_alloc_cache(struct mspan *s, size_t slot)
{
    s->alloc_cache = ~s->alloc_bits[slot / 64];
}

// Go: func nextFreeFast (malloc.go)
size_t mspan_next_free_fast(struct mspan *s)
{
    unsigned n = ctz64(s->alloc_cache);
    size_t slot = s->freeindex + n;
    if (n == 64 || slot >= s->nelems)
        return NO_SLOT;
    if ((slot + 1) % 64 == 0 && slot + 1 != s->nelems)
        return NO_SLOT; // the window has to move
    s->alloc_cache = shr64(s->alloc_cache, n + 1);
    s->freeindex = (uint32_t)(slot + 1);
    return slot;
}

// Go: func (s *mspan) nextFreeIndex (mbitmap.go)
size_t mspan_next_free_index(struct mspan *s)
{
    size_t slot = s->freeindex;
    unsigned n = ctz64(s->alloc_cache);

    ASSERT(slot <= s->nelems);
    while (n == 64 && slot < s->nelems) {
        slot = round_up(slot + 1, 64); // where the next window begins
        if (slot < s->nelems) {
            mspan_refill_alloc_cache(s, slot);
            n = ctz64(s->alloc_cache);
        }
    }
    slot += n;
    if (slot >= s->nelems) {
        s->freeindex = s->nelems;
        return s->nelems;
    }
    s->alloc_cache = shr64(s->alloc_cache, n + 1);
    s->freeindex = (uint32_t)(slot + 1);
    if (s->freeindex % 64 == 0 && s->freeindex != s->nelems)
        mspan_refill_alloc_cache(s, s->freeindex);
    return slot;
}

// Go: func (c *mcache) nextFree (malloc.go)
void *mspan_alloc(struct mspan *s)
{
    if (s->alloc_count == s->nelems)
        return NULL;
    size_t slot = mspan_next_free_fast(s);
    if (slot == NO_SLOT)
        slot = mspan_next_free_index(s);
    if (slot == s->nelems) {
        // What is free came back below freeindex: begin anew.
        s->freeindex = 0;
        mspan_refill_alloc_cache(s, 0);
        slot = mspan_next_free_index(s);
    }
    ASSERT(slot < s->nelems);
    s->alloc_bits[slot / 64] |= UINT64_C(1) << slot % 64;
    s->alloc_count++;
    return s->start_addr + slot * s->elemsize;
}

void mspan_free(struct mspan *s, const void *p)
{
    size_t slot = mspan_object_index(s, p);
    ASSERT(mspan_is_taken(s, slot));
    s->alloc_bits[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    s->alloc_count--;
}

bool mspan_is_taken(const struct mspan *s, size_t slot)
{
    return (s->alloc_bits[slot / 64] >> slot % 64 & 1) != 0;
}

// Go: func (s *mspan) isFree (mbitmap.go)
bool mspan_is_free(const struct mspan *s, size_t slot)
{
    return slot >= s->freeindex && !mspan_is_taken(s, slot);
}

// Go: func (s *mspan) countAlloc (mbitmap.go)
size_t mspan_count_alloc(const struct mspan *s)
{
    size_t n = 0;
    for (size_t i = 0; i < MAX_OBJECTS / 64; i++)
        n += popcount64(s->alloc_bits[i]);
    return n;
}

// mark_of returns the word of the mark of p, and its bit. If another thread
// frees p, too, s may be another span now: the remainder stays in the array.
static _Atomic(uint64_t) *mark_of(const struct mspan *s, const void *p,
                                  uint64_t *bit)
{
    size_t slot = mspan_object_index(s, p) % MAX_OBJECTS;
    *bit = UINT64_C(1) << slot % 64;
    return (_Atomic(uint64_t) *)&s->mark_bits[slot / 64];
}

// Go: func (m markBits) setMarked (mbitmap.go)
void mspan_set_mark(struct mspan *s, const void *p)
{
    uint64_t bit;
    _Atomic(uint64_t) *word = mark_of(s, p, &bit);
    // Other objects of the same word belong to other threads; relaxed, for
    // nothing else is handed over by a mark.
    atomic_fetch_or_explicit(word, bit, memory_order_relaxed);
}

bool mspan_clear_mark(struct mspan *s, const void *p)
{
    uint64_t bit;
    _Atomic(uint64_t) *word = mark_of(s, p, &bit);
    return (atomic_fetch_and_explicit(word, ~bit, memory_order_relaxed) &
            bit) != 0;
}

// Go: func (m markBits) isMarked (mbitmap.go)
bool mspan_is_marked(const struct mspan *s, const void *p)
{
    uint64_t bit;
    _Atomic(uint64_t) *word = mark_of(s, p, &bit);
    return (atomic_load_explicit(word, memory_order_relaxed) & bit) != 0;
}

bool mspan_check(const struct mspan *s)
{
    if (s->limit > mspan_end(s) || s->freeindex > s->nelems)
        return mm_complain("objects lie in their span", s);
    if (mspan_count_alloc(s) != s->alloc_count)
        return mm_complain("I1 alloc_count bits are set", s);
    for (size_t i = 0; i < MAX_OBJECTS / 64; i++) {
        unsigned n = s->nelems < i * 64 ? 0 : s->nelems - (unsigned)i * 64;
        if ((s->alloc_bits[i] & shl64(UINT64_MAX, n)) != 0)
            return mm_complain("I1 bits beyond the last slot are clear", s);
        if ((s->mark_bits[i] & ~s->alloc_bits[i]) != 0)
            return mm_complain("I3 a marked object is taken", s);
    }
    uint64_t free =
        shr64(~s->alloc_bits[s->freeindex / 64 % (MAX_OBJECTS / 64)],
              s->freeindex % 64);
    if (s->freeindex < s->nelems && (s->alloc_cache & ~free) != 0)
        return mm_complain("I2 alloc_cache shows only free slots", s);
    return true;
}

// Go: func (list *mSpanList) insert (mheap.go)
void mspan_list_insert(struct mspan_list *list, struct mspan *s)
{
    s->prev = NULL;
    s->next = list->first;
    if (s->next != NULL)
        s->next->prev = s;
    list->first = s;
}

// Go: func (list *mSpanList) remove (mheap.go)
void mspan_list_remove(struct mspan_list *list, struct mspan *s)
{
    if (s->next != NULL)
        s->next->prev = s->prev;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        list->first = s->next;
    s->prev = NULL;
    s->next = NULL;
}
