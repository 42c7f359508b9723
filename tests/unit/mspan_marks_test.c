// stages: 08-
//
// mspan.c: where objects begin, which slots are free, by their free bits or by
// their marks, and what mspan_check notices.

#include "heap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"
#include "workers.h"

#include "span_class.h"

// The memory of a span is never touched here, only its address is used.
enum { MOST_PAGES = 16 };
static _Alignas(PAGE_SIZE) char memory[MOST_PAGES * PAGE_SIZE];
static struct mspan span;

// cut_into makes span one of a span class, all slots free, and returns it.
static struct mspan *cut_into(spanclass class)
{
    size_t npages = class_npages(spanclass_sizeclass(class));
    CHECK_LE(npages, MOST_PAGES);
    mspan_init(&span, memory, npages);
    mspan_init_objects(&span, class);
    return &span;
}

// cut makes span one of a size class.
static struct mspan *cut(unsigned sizeclass)
{
    return cut_into(scan_class(sizeclass));
}

static uint64_t bit_of(size_t slot)
{
    return UINT64_C(1) << slot % 64;
}

static bool is_free_bit(const struct mspan *s, size_t slot)
{
    return (s->free_bits[slot / 64] & bit_of(slot)) != 0;
}

static bool is_marked(const struct mspan *s, size_t slot)
{
    return (s->mark_bits[slot / 64] & bit_of(slot)) != 0;
}

// allocate takes a slot of s, as malloc does, without a sweep. Returns nelems:
// there is none.
static size_t allocate(struct mspan *s)
{
    if (mspan_next(s) == 0 && !mspan_refill_alloc_cache(s))
        return s->nelems;
    char *p = mspan_next_free_fast(s, mspan_next(s));
    return (size_t)(p - s->start_addr) / s->elemsize;
}

static void allocate_all(struct mspan *s)
{
    for (size_t i = 0; i < s->nelems; i++)
        CHECK_EQ(allocate(s), i);
}

// ---------------------------------------------------------------------------
// Geometry.

TEST(objects_begin_where_a_division_says,
     "in a span of each class, of all addresses from 64 KiB below to 64 KiB"
     " above, just the multiples of the size are objects, and have the index "
     "that a division gives; what is left over at the end is none")
{
    enum { AROUND = 1 << 16 };
    size_t wrong = 0, found = 0, expected = 0, with_tail = 0;
    for (unsigned c = 1; c < NUM_SIZE_CLASSES; c++) {
        struct mspan *s = cut(c);
        ptrdiff_t size = (ptrdiff_t)class_size(c);
        ptrdiff_t bytes = (ptrdiff_t)(s->npages * PAGE_SIZE);
        ptrdiff_t nelems = bytes / size;
        CHECK_EQ(s->nelems, nelems);
        CHECK_EQ(s->nbytes, nelems * size);
        with_tail += nelems * size < bytes;
        expected += (size_t)nelems;
        for (ptrdiff_t offset = -AROUND; offset < bytes + AROUND; offset++) {
            const void *p = (const void *)((uintptr_t)memory + (size_t)offset);
            size_t slot = SIZE_MAX;
            bool is =
                offset >= 0 && offset < nelems * size && offset % size == 0;
            bool says = mspan_find(s, p, &slot);
            found += says;
            wrong += says != is || (says && slot != (size_t)(offset / size));
        }
    }
    CHECK_EQ(wrong, 0);
    CHECK_EQ(found, expected);
    CHECK_GE(with_tail, 10); // there are such classes
}

TEST(wild_addresses_are_no_objects,
     "what is far from a span is no object of it, in a span without objects"
     " nothing is, and in one of one object the first byte only")
{
    size_t slot = 0;
    static const uintptr_t wild[] = {0,
                                     1,
                                     16,
                                     PAGE_SIZE,
                                     (uintptr_t)1 << 47,
                                     (uintptr_t)1 << 48,
                                     (uintptr_t)1 << 63,
                                     UINTPTR_MAX - 15,
                                     UINTPTR_MAX};
    for (unsigned c = 0; c < NUM_SIZE_CLASSES; c++) {
        struct mspan *s = c == 0 ? &emptymspan : cut(c);
        for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
            CHECK_TRUE(!mspan_find(s, (const void *)wild[i], &slot));
            CHECK_TRUE(!mspan_find(
                s, (const void *)((uintptr_t)memory + (wild[i] | 1 << 30)),
                &slot));
        }
    }
    CHECK_TRUE(!mspan_find(&emptymspan, emptymspan.start_addr, &slot));
    CHECK_TRUE(!mspan_find(&emptymspan, memory, &slot));

    for (size_t npages = 1; npages <= (size_t)1 << 34; npages *= 2) {
        mspan_init(&span, memory, npages);
        mspan_init_objects(&span, scan_class(0));
        CHECK_EQ(span.nelems, 1);
        CHECK_EQ(span.nbytes, npages * PAGE_SIZE);
        slot = 1;
        CHECK_TRUE(mspan_find(&span, memory, &slot));
        CHECK_EQ(slot, 0);
        uintptr_t start = (uintptr_t)memory;
        const uintptr_t others[] = {start - 1,
                                    start + 1,
                                    start + 16,
                                    start + PAGE_SIZE / 2,
                                    start + span.nbytes / 2,
                                    start + span.nbytes - 1,
                                    start + span.nbytes};
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            CHECK_TRUE(!mspan_find(&span, (const void *)others[i], &slot));
    }
}

TEST(multiplying_divides,
     "for any size from 2 to 32768 and any offset below 2^31, the product tells"
     " the quotient, and whether there is a remainder")
{
    uint64_t random = random_start();
    size_t wrong = 0;
    for (size_t i = 0; i < 2000000; i++) {
        size_t size = 2 + random_below(&random, 32767);
        size_t offset = random_below(&random, (size_t)1 << 31);
        if (i % 4 == 0)
            offset -= offset % size;
        uint64_t magic = mspan_div_magic(size);
        uint128_t product = (uint128_t)offset * magic;
        wrong += (size_t)(product >> 64) != offset / size;
        wrong += ((uint64_t)product < magic) != (offset % size == 0);
        wrong += mspan_div_magic(size) - 1 != UINT64_MAX / size;
    }
    CHECK_EQ(wrong, 0);
}

TEST(a_fresh_span_is_free,
     "in a span that was just cut, just the slots are free, of whatever class"
     " the span was before, all marks are set, and no owner may free there")
{
    memset(span.free_bits, 0xA5, sizeof span.free_bits);
    memset(span.mark_bits, 0xA5, sizeof span.mark_bits);
    for (unsigned k = 1; k < 2 * NUM_SPAN_CLASSES; k++) {
        spanclass c = k * 7 % NUM_SPAN_CLASSES;
        unsigned sizeclass = spanclass_sizeclass(c);
        if (sizeclass == 0)
            continue;
        struct mspan *s = cut_into(c);
        for (size_t i = 0; i < MAX_OBJECTS; i++) {
            if (is_free_bit(s, i) != (i < s->nelems) || !is_marked(s, i))
                CHECK_THAT(false, "class %u, slot %zu", c, i);
            if (i < s->nelems && mspan_is_live(s, i))
                CHECK_THAT(false, "class %u, slot %zu is live", c, i);
        }
        CHECK_EQ(mspan_count_alloc(s), 0);
        CHECK_TRUE(mspan_is_empty(s, s->nelems));
        CHECK_TRUE(mspan_has_free(s, s->nelems));
        CHECK_EQ(mspan_place(s), PLACE_CACHED);
        CHECK_EQ(s->place, PLACE_CACHED + c * NUM_PLACES);
        CHECK_NULL(s->owner);
        CHECK_EQ(class_of_span(s), c);
        CHECK_EQ(s->elemsize, class_size(sizeclass));
        CHECK_EQ(s->freeindex, 0);
        CHECK_TRUE(mspan_check(s));
        // Leave a trace for the next one.
        for (size_t i = 0; i < s->nelems / 2; i++)
            allocate(s);
        s->owner = (struct mcache *)memory;
    }
    mspan_init(&span, memory, 2);
    CHECK_NULL(span.owner);
    CHECK_EQ(span.place, PLACE_NONE);
    mspan_init_objects(&span, scan_class(0));
    CHECK_EQ(mspan_place(&span), PLACE_NONE);
    CHECK_EQ(allocate(&span), 0);
    CHECK_EQ(allocate(&span), 1);
    CHECK_TRUE(mspan_is_live(&span, 0));
    CHECK_TRUE(mspan_check(&span));
}

// ---------------------------------------------------------------------------
// Taking slots.

TEST(
    slots_come_in_order,
    "of a fresh span of each class, all slots come, from the first to the last,"
    " then none; looking for one in vain changes nothing")
{
    for (unsigned c = 1; c < NUM_SIZE_CLASSES; c++) {
        struct mspan *s = cut(c);
        allocate_all(s);
        CHECK_EQ(mspan_count_alloc(s), s->nelems);
        CHECK_TRUE(!mspan_has_free(s, s->nelems));
        CHECK_TRUE(!mspan_is_empty(s, s->nelems));
        uint32_t freeindex = s->freeindex;
        CHECK_TRUE(!mspan_refill_alloc_cache(s));
        CHECK_EQ(mspan_next(s), 0);
        CHECK_EQ(s->freeindex, freeindex);
        CHECK_TRUE(mspan_check(s));
    }
    CHECK_TRUE(!mspan_refill_alloc_cache(&emptymspan));
    CHECK_EQ(mspan_next(&emptymspan), 0);
}

// naive_next returns the first free slot from freeindex on, and then from the
// first slot on; nelems: there is none.
static size_t naive_next(const struct mspan *s)
{
    size_t n = mspan_words(s->nelems) * 64;
    for (size_t k = 0; k < n; k++) {
        size_t slot = (s->freeindex + k) % n;
        if (is_free_bit(s, slot))
            return slot;
    }
    return s->nelems;
}

TEST(the_next_word_is_found_in_a_circle,
     "the search begins at the word in use, goes on, and begins anew after the"
     " last; it agrees with one that looks at one bit after the other")
{
    uint64_t random = random_start();
    static const size_t sizes[] = {8,   16,  24,  48,   64,   112,
                                   128, 144, 512, 1152, 3072, 32768};
    size_t none = 0, same = 0, around = 0;
    for (size_t i = 0; i < 200000; i++) {
        struct mspan *s = cut(size_class_of(sizes[random_below(&random, 12)]));
        size_t n_words = mspan_words(s->nelems);
        for (size_t w = 0; w < n_words; w++)
            s->free_bits[w] = 0;
        for (size_t n = random_below(&random, 4); n > 0; n--) {
            size_t slot = random_below(&random, s->nelems);
            s->free_bits[slot / 64] |= bit_of(slot);
        }
        size_t at = random_below(&random, n_words);
        s->alloc_cache = &s->free_bits[at];
        s->freeindex = (uint32_t)at * 64;
        s->alloc_base = s->start_addr + s->freeindex * s->elemsize;

        size_t expected = naive_next(s);
        bool found = mspan_refill_alloc_cache(s);
        CHECK_EQ(found, expected != s->nelems);
        CHECK_TRUE(mspan_check(s));
        none += !found;
        if (!found)
            continue;
        same += expected / 64 == at;
        around += expected / 64 < at;
        CHECK_PTR_EQ(s->alloc_cache, &s->free_bits[expected / 64]);
        CHECK_EQ(allocate(s), expected);
        CHECK_TRUE(!is_free_bit(s, expected));
        CHECK_TRUE(mspan_is_live(s, expected));
    }
    CHECK_GE(none, 1000);
    CHECK_GE(same, 1000);
    CHECK_GE(around, 1000);
}

// ---------------------------------------------------------------------------
// Free bits and marks.

TEST(
    a_free_slot_cannot_be_freed,
    "the holder and others can free a live slot once; a sweep makes what others"
    " freed free for malloc, and not before")
{
    for (unsigned c = 1; c < NUM_SIZE_CLASSES; c++) {
        struct mspan *s = cut(c);
        allocate_all(s);
        size_t last = s->nelems - 1;
        CHECK_TRUE(mspan_is_live(s, last));
        CHECK_TRUE(mspan_free(s, last));
        CHECK_TRUE(!mspan_free(s, last));
        CHECK_TRUE(!mspan_clear_mark(s, last));
        CHECK_TRUE(is_marked(s, last));
        CHECK_TRUE(!mspan_is_live(s, last));
        CHECK_EQ(allocate(s), last);

        CHECK_TRUE(mspan_clear_mark(s, last));
        CHECK_TRUE(!mspan_clear_mark(s, last));
        CHECK_TRUE(!mspan_is_live(s, last));
        CHECK_EQ(mspan_count_alloc(s), last);
        CHECK_TRUE(mspan_has_free(s, s->nelems));
        CHECK_EQ(allocate(s), s->nelems);
        CHECK_TRUE(mspan_check(s));
        mspan_sweep(s);
        CHECK_TRUE(is_marked(s, last));
        CHECK_TRUE(!mspan_free(s, last));
        CHECK_TRUE(!mspan_clear_mark(s, last));
        CHECK_EQ(allocate(s), last);
        mspan_sweep(s);
        CHECK_EQ(allocate(s), s->nelems);
    }
}

// What a model knows of each slot.
enum state { TAKEN, FREE, CLEARED };
static enum state model[MAX_OBJECTS];

// model_count returns how many slots of s are in that state.
static size_t model_count(const struct mspan *s, enum state state)
{
    size_t n = 0;
    for (size_t i = 0; i < s->nelems; i++)
        n += model[i] == state;
    return n;
}

static void model_sweep(struct mspan *s)
{
    mspan_sweep(s);
    for (size_t i = 0; i < s->nelems; i++)
        if (model[i] == CLEARED)
            model[i] = FREE;
}

static void model_allocate(struct mspan *s)
{
    size_t slot = allocate(s);
    if (slot == s->nelems) {
        CHECK_EQ(model_count(s, FREE), 0);
        model_sweep(s);
        return;
    }
    CHECK_EQ(model[slot], FREE);
    model[slot] = TAKEN;
}

// model_check compares all that s says of itself, in the bits and in functions.
static void model_check(const struct mspan *s)
{
    size_t n_taken = model_count(s, TAKEN);
    CHECK_EQ(mspan_count_alloc(s), n_taken);
    CHECK_EQ(mspan_is_empty(s, s->nelems), n_taken == 0);
    CHECK_EQ(mspan_has_free(s, s->nelems), n_taken < s->nelems);
    CHECK_TRUE(mspan_check(s));
    for (size_t i = 0; i < MAX_OBJECTS; i++) {
        bool right = i < s->nelems
                         ? is_free_bit(s, i) == (model[i] == FREE) &&
                               is_marked(s, i) == (model[i] != CLEARED)
                         : !is_free_bit(s, i) && is_marked(s, i);
        if (!right)
            CHECK_THAT(false, "slot %zu of %u", i, s->nelems);
        if (i < s->nelems && mspan_is_live(s, i) != (model[i] == TAKEN))
            CHECK_THAT(false, "slot %zu of %u is live?", i, s->nelems);
    }
}

TEST(bits_agree_with_a_model,
     "after random operations of the holder and of others, each slot is what an"
     " array says, and nothing happens beyond the last slot")
{
    uint64_t random = random_start();
    for (unsigned c = 1; c < NUM_SIZE_CLASSES; c++) {
        struct mspan *s = cut(c);
        for (size_t i = 0; i < s->nelems; i++)
            model[i] = FREE;
        size_t n = 4 * s->nelems + 100;
        for (size_t k = 0; k < n; k++) {
            size_t slot = random_below(&random, s->nelems);
            // Now it rather fills, now it rather empties.
            size_t action = random_below(&random, k % (n / 2) < n / 4 ? 6 : 9);
            if (action < 4)
                model_allocate(s);
            else if (action == 4 && random_below(&random, 8) == 0)
                model_sweep(s);
            else if (action % 2 == 1) {
                CHECK_EQ(mspan_clear_mark(s, slot), model[slot] == TAKEN);
                if (model[slot] == TAKEN)
                    model[slot] = CLEARED;
            } else if (model[slot] != CLEARED) {
                CHECK_EQ(mspan_free(s, slot), model[slot] == TAKEN);
                model[slot] = FREE;
            }
            if (k % 16 == 0 || s->nelems <= 64)
                model_check(s);
        }
        for (size_t i = 0; i < s->nelems; i++)
            if (model[i] == TAKEN && mspan_clear_mark(s, i))
                model[i] = CLEARED;
        model_check(s);
        CHECK_TRUE(mspan_is_empty(s, s->nelems));
        model_sweep(s);
        model_check(s);
        CHECK_EQ(model_count(s, FREE), s->nelems);
    }
}

// ---------------------------------------------------------------------------
// Many threads clear marks, the holder sweeps.

enum { CLEARERS = 4, TIMES = 200 };
static atomic_size_t n_cleared, sum_of_cleared;
static bool all_the_same; // all try all slots, or each its own
static pthread_barrier_t barrier;

// clear_marks clears the mark of each slot that it can, in each of many rounds.
static void *clear_marks(void *number)
{
    for (size_t round = 0; round < TIMES; round++) {
        pthread_barrier_wait(&barrier);
        for (size_t i = 0; i < span.nelems; i++) {
            size_t slot = i * 37 % span.nelems;
            if (!all_the_same && slot % CLEARERS != (uintptr_t)number)
                continue;
            if (mspan_clear_mark(&span, slot)) {
                n_cleared++;
                sum_of_cleared += slot;
            }
        }
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

// hold allocates all slots in each round, and sweeps, while they are freed or
// afterwards. Returns how often something was wrong.
static size_t hold(bool sweep_meanwhile)
{
    size_t wrong = 0;
    for (size_t round = 0; round < TIMES; round++) {
        while (allocate(&span) != span.nelems)
            continue;
        wrong += mspan_count_alloc(&span) != span.nelems;
        pthread_barrier_wait(&barrier);
        for (size_t i = 0; i < 20 && sweep_meanwhile; i++)
            mspan_sweep(&span);
        pthread_barrier_wait(&barrier);
        mspan_sweep(&span);
        wrong += !mspan_is_empty(&span, span.nelems);
        wrong += !mspan_check(&span);
    }
    return wrong;
}

// check_clearing checks that each slot is freed once in each round.
static void check_clearing(bool sweep_meanwhile)
{
    pthread_t threads[CLEARERS];
    cut(size_class_of(24)); // 341 slots
    all_the_same = !sweep_meanwhile;
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, CLEARERS + 1), 0);
    for (size_t i = 0; i < CLEARERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, clear_marks, (void *)i), 0);
    size_t wrong = hold(sweep_meanwhile);
    for (size_t i = 0; i < CLEARERS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    size_t n = span.nelems;
    CHECK_EQ(wrong, 0);
    CHECK_EQ(n_cleared, TIMES * n);
    CHECK_EQ(sum_of_cleared, TIMES * (n * (n - 1) / 2));
}

TEST(each_mark_is_cleared_once,
     "of four threads that free the same slots at the same time, just one gets"
     " each")
{
    check_clearing(false);
}

TEST(no_free_is_lost_while_the_holder_sweeps,
     "what threads free in the same words while the holder sweeps is free after"
     " the next sweep")
{
    check_clearing(true);
}

// ---------------------------------------------------------------------------
// Damage.

// free_at_once is what two threads do that free slot 70 at the same moment, the
// holder and another: both looked before either wrote.
static void free_at_once(struct mspan *s)
{
    allocate_all(s);
    s->free_bits[1] |= bit_of(70);
    s->mark_bits[1] &= ~bit_of(70);
}

static void sweep_it(void *s)
{
    mspan_sweep(s);
}

TEST(two_at_once_are_noticed_by_the_sweep,
     "a slot that the holder and another thread freed at the same moment makes"
     " the sweep abort, and mspan_check complain")
{
    struct mspan *s = cut(size_class_of(64));
    free_at_once(s);
    char *p = memory + 70 * 64;
    CHECK_ABORTS(sweep_it, s,
                 "mm: free(%p): double free (block %p, 64 bytes)\n", (void *)p,
                 (void *)p);
}

TEST(
    a_half_done_sweep_is_ended,
    "after a sweep that stopped between the free bits and the marks, marks come"
    " back whose slots are free, and no others")
{
    struct mspan *s = cut(size_class_of(64));
    free_at_once(s);
    CHECK_TRUE(mspan_clear_mark(s, 3));
    CHECK_TRUE(mspan_clear_mark(s, 127));
    CHECK_TRUE(mspan_free(s, 5));
    mspan_recover(s);
    CHECK_TRUE(mspan_check(s));
    CHECK_TRUE(is_marked(s, 70) && is_free_bit(s, 70));
    CHECK_TRUE(!is_marked(s, 3) && !is_free_bit(s, 3));
    CHECK_TRUE(!is_marked(s, 127));
    CHECK_EQ(mspan_count_alloc(s), 124);
    mspan_sweep(s);
    CHECK_EQ(mspan_count_alloc(s), 124);
    CHECK_TRUE(mspan_check(s));
}

// damage number i, on a span of 48 bytes: 170 slots, 0 to 99 of them taken.
static void damage(struct mspan *s, size_t i)
{
    switch (i) {
    case 0:
        s->free_bits[2] |= bit_of(170);
        break;
    case 1:
        s->free_bits[15] |= bit_of(63);
        break;
    case 2:
        s->mark_bits[2] &= ~bit_of(170);
        break;
    case 3:
        s->mark_bits[3] &= ~bit_of(0);
        break;
    case 4:
        s->mark_bits[1] &= ~bit_of(100);
        break;
    case 5:
        s->free_bits[0] |= bit_of(7);
        s->mark_bits[0] &= ~bit_of(7);
        break;
    case 6:
        s->freeindex = 1;
        break;
    case 7:
        s->freeindex = 128;
        break;
    case 8:
        s->freeindex = 192;
        s->alloc_cache = &s->free_bits[3];
        s->alloc_base = s->start_addr + 192 * 48;
        break;
    case 9:
        s->alloc_cache = &s->mark_bits[1];
        break;
    case 10:
        s->alloc_cache = &s->free_bits[0];
        break;
    case 11:
        s->alloc_base += 48;
        break;
    case 12:
        s->nelems--;
        break;
    case 13:
        s->nbytes = (size_t)2 * PAGE_SIZE;
        break;
    default:
        s->elemsize = 64;
        s->nbytes = (size_t)170 * 64;
    }
}

static void check_it(void *s)
{
    _exit(mspan_check(s) ? 0 : 1);
}

TEST(
    damage_is_noticed,
    "mspan_check names the invariant that is broken: bits beyond the last slot,"
    " a free slot without a mark, a search that is elsewhere, a wrong length")
{
    static const char *const says[] = {
        "I1 nothing is free beyond", "I1 nothing is free beyond",
        "I1 nothing is free beyond", "I1 nothing is free beyond",
        "I2 what is free is marked", "I2 what is free is marked",
        "I3 alloc_cache is the",     "I3 alloc_cache is the",
        "I3 alloc_cache is the",     "I3 alloc_cache is the",
        "I3 alloc_cache is the",     "I3 alloc_cache is the",
        "objects lie in their span", "objects lie in their span",
        "objects lie in their span"};
    for (size_t i = 0; i < sizeof says / sizeof *says; i++) {
        struct mspan *s = cut(size_class_of(48));
        while (allocate(s) != 99)
            continue;
        CHECK_EQ(s->freeindex, 64);
        CHECK_TRUE(mspan_check(s));
        damage(s, i);
        CHECK_COMPLAINS(check_it, s, says[i]);
    }
}
