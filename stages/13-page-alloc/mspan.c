// mspan.c - a span: some pages in a row, and the objects they are cut into.
//
// An object has no header: where it starts and how long it is follows from its
// span. What is left over at the end of a span is too short for an object.
//
//     start_addr                                   mspan_end
//       | object 0 | object 1 | ... | object nelems-1 |  |
//       |<------------------ nbytes ----------------->|
//
// Which objects are free is written beside the span, two bits for each slot:
// the holder of the span writes free_bits, without atomic operations, and
// everybody else mark_bits, with one. Malloc takes slots from the word of
// free_bits that alloc_cache points at.
//
//     slot        0 1 2 3 4 5 6 7 ...
//     free_bits   0 0 1 0 0 1 0 0     1: free; 2 is next
//     mark_bits   1 1 1 1 0 1 1 1     0: freed by another; 4 is free, too, but
//                                     not found before the holder sweeps
//
// Invariant  I1 No free bit is set from nelems on, and no mark cleared.
//            I2 No mark of a slot with a free bit is cleared, except while two
//               threads free one object at the same moment.
//            I3 alloc_cache points at the word of slot freeindex, and
//               alloc_base at that slot; freeindex is a multiple of 64.
// Locking    free_bits, alloc_cache, alloc_base and freeindex belong to the
//            holder. The bits are atomic, for others look at them, but no
//            operation on free_bits is: a load is one instruction, and so is a
//            store. mcentral.c says how a thread becomes the holder.
// TCMalloc   span.h; there, a list runs through the objects instead
// Go         mspan in mheap.go, mbitmap.go; there, alloc_cache is a copy of the
//            word, for nobody frees while a span is in a cache

#include "heap.h"

#include "bits.h"
#include "check.h"

// The word it points at is never written: it shows nothing.
struct mspan emptymspan = {.alloc_cache = emptymspan.free_bits};

// Go: func (span *mspan) init (mheap.go)
void mspan_init(struct mspan *s, char *start, size_t npages)
{
    s->prev = NULL;
    s->next = NULL;
    s->start_addr = start;
    s->npages = npages;
    s->state = MSPAN_DEAD;
    s->nbytes = 0;
    s->nelems = 0;
    s->spanclass = 0;
    // A thread that freed the last object of the span that was described here
    // may still look at these.
    atomic_store_explicit(&s->place, PLACE_NONE, memory_order_relaxed);
    atomic_store_explicit(&s->owner, NULL, memory_order_relaxed);
}

// bits_of returns the bits of word i that stand for slots, of nelems.
static inline uint64_t bits_of(size_t nelems, size_t i)
{
    return ~shl64(UINT64_MAX,
                  nelems < i * 64 ? 0 : (unsigned)(nelems - i * 64));
}

// use_word makes alloc_cache point at word i of free_bits.
static void use_word(struct mspan *s, size_t i)
{
    s->alloc_cache = &s->free_bits[i];
    s->freeindex = (uint32_t)i * 64;
    s->alloc_base = s->start_addr + s->freeindex * s->elemsize;
}

void mspan_init_objects(struct mspan *s, spanclass class)
{
    size_t bytes = s->npages * PAGE_SIZE;
    unsigned sizeclass = spanclass_sizeclass(class);

    s->spanclass = class;
    s->parts = NULL;
    s->elemsize = sizeclass == 0 ? bytes : class_size(sizeclass);
    s->nelems = (uint32_t)(bytes / s->elemsize);
    s->nbytes = s->nelems * s->elemsize;
    s->div_mul = mspan_div_magic(s->elemsize);
    for (size_t i = 0; i < MAX_OBJECTS / 64; i++) {
        atomic_store_explicit(&s->free_bits[i], bits_of(s->nelems, i),
                              memory_order_relaxed);
        atomic_store_explicit(&s->mark_bits[i], UINT64_MAX,
                              memory_order_relaxed);
    }
    use_word(s, 0);
    if (sizeclass != 0)
        atomic_store(&s->place, PLACE_CACHED + class * NUM_PLACES);
}

void mspan_resize_object(struct mspan *s)
{
    s->elemsize = s->npages * PAGE_SIZE;
    s->nbytes = s->elemsize;
    s->div_mul = mspan_div_magic(s->elemsize);
}

// Go: func computeDivMagic (mksizeclasses.go)
// Unlike Go: with 64 bits.
uint64_t mspan_div_magic(size_t size)
{
    return UINT64_MAX / size + 1;
}

// Go: func (s *mspan) refillAllocCache (mbitmap.go)
bool mspan_refill_alloc_cache(struct mspan *s)
{
    size_t n_words = mspan_words(s->nelems);
    for (size_t k = 0; k < n_words; k++) {
        size_t i = (s->freeindex / 64 + k) % n_words;
        if (atomic_load_explicit(&s->free_bits[i], memory_order_relaxed) != 0) {
            use_word(s, i);
            return true;
        }
    }
    return false;
}

// Go: func (m markBits) clearMarked (mbitmap.go)
bool mspan_clear_mark(struct mspan *s, size_t slot)
{
    _Atomic(uint64_t) *marks = &s->mark_bits[slot / 64];
    uint64_t bit = UINT64_C(1) << slot % 64;

    // First the mark, then the free bit: if it was freed before, and swept, the
    // mark that is back shows that the free bit is there. acquire: pairs with
    // mspan_sweep.
    if ((atomic_load_explicit(marks, memory_order_acquire) & bit) == 0 ||
        (atomic_load_explicit(&s->free_bits[slot / 64], memory_order_relaxed) &
         bit) != 0)
        return false;
    // seq_cst: what the program did with the object comes before its next use,
    // and a look at the place of the span after it: mcentral.c.
    return (atomic_fetch_and(marks, ~bit) & bit) != 0;
}

// Go: func (sl *sweepLocked) sweep (mgcsweep.go)
void mspan_sweep(struct mspan *s)
{
    for (size_t i = 0; i < mspan_words(s->nelems); i++) {
        // seq_cst, and pairs with mspan_clear_mark as an acquire.
        uint64_t freed = ~atomic_load(&s->mark_bits[i]);
        if (freed == 0)
            continue;
        uint64_t word =
            atomic_load_explicit(&s->free_bits[i], memory_order_relaxed);
        if ((word & freed) != 0) { // two freed it at the same moment
            size_t slot = i * 64 + ctz64(word & freed);
            const char *p = s->start_addr + slot * s->elemsize;
            mm_misuse("free", p, "double free", p, s->elemsize);
        }
        atomic_store_explicit(&s->free_bits[i], word | freed,
                              memory_order_relaxed);
        atomic_fetch_or(&s->mark_bits[i], freed);
    }
}

void mspan_recover(struct mspan *s)
{
    for (size_t i = 0; i < mspan_words(s->nelems); i++)
        atomic_fetch_or(&s->mark_bits[i], atomic_load(&s->free_bits[i]));
}

// taken returns the slots of word i that the program has, of nelems.
static inline uint64_t taken(const struct mspan *s, size_t nelems, size_t i)
{
    return bits_of(nelems, i) & atomic_load(&s->mark_bits[i]) &
           ~atomic_load_explicit(&s->free_bits[i], memory_order_relaxed);
}

bool mspan_is_empty(const struct mspan *s, size_t nelems)
{
    for (size_t i = 0; i < mspan_words(nelems); i++)
        if (taken(s, nelems, i) != 0)
            return false;
    return true;
}

bool mspan_has_free(const struct mspan *s, size_t nelems)
{
    for (size_t i = 0; i < mspan_words(nelems); i++)
        if (taken(s, nelems, i) != bits_of(nelems, i))
            return true;
    return false;
}

bool mspan_is_live(const struct mspan *s, size_t slot)
{
    return (taken(s, s->nelems, slot / 64) >> slot % 64 & 1) != 0;
}

// Go: func (s *mspan) countAlloc (mbitmap.go)
size_t mspan_count_alloc(const struct mspan *s)
{
    size_t n = 0;
    for (size_t i = 0; i < mspan_words(s->nelems); i++)
        n += popcount64(taken(s, s->nelems, i));
    return n;
}

bool mspan_check(const struct mspan *s)
{
    if (s->nbytes > s->npages * PAGE_SIZE ||
        s->nbytes != s->nelems * s->elemsize)
        return mm_complain("objects lie in their span", s);
    for (size_t i = 0; i < MAX_OBJECTS / 64; i++) {
        uint64_t free = s->free_bits[i];
        uint64_t cleared = ~s->mark_bits[i];
        if (((free | cleared) & ~bits_of(s->nelems, i)) != 0)
            return mm_complain("I1 nothing is free beyond the last slot", s);
        if ((free & cleared) != 0)
            return mm_complain("I2 what is free is marked", s);
    }
    if (s->freeindex % 64 != 0 || s->freeindex >= s->nelems ||
        s->alloc_cache != &s->free_bits[s->freeindex / 64] ||
        s->alloc_base != s->start_addr + s->freeindex * s->elemsize)
        return mm_complain("I3 alloc_cache is the word of freeindex", s);
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
