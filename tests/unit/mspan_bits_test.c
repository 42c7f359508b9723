// stages: 07-07
//
// mspan.c: a bit for each slot of a span, the search for a free one, and the
// marks, which threads share without a lock.

#include "heap.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "child.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

// A span on its own: nobody writes to its objects, so there need be none.
static struct mspan s;

// make_span makes s a span with n free slots of 8 bytes.
static void make_span(uint32_t n)
{
    memset(&s, 0xA5, sizeof s);
    s.start_addr = (char *)(uintptr_t)(5 * PAGE_SIZE);
    s.npages = 1;
    mspan_init_objects(&s, 1);
    s.nelems = n;
    s.limit = s.start_addr + n * s.elemsize;
}

static char *object(size_t slot)
{
    return s.start_addr + slot * s.elemsize;
}

static size_t slot_of(const void *p)
{
    return (size_t)((const char *)p - s.start_addr) / s.elemsize;
}

static bool is_taken(size_t slot)
{
    return (s.alloc_bits[slot / 64] >> slot % 64 & 1) != 0;
}

// Numbers of slots around the borders of words, the last of which is the most.
static const uint32_t counts[] = {1,   2,   63,  64,  65,  127,  128, 129,
                                  170, 191, 192, 193, 512, 1023, 1024};
enum { COUNTS = sizeof counts / sizeof *counts };

static uint64_t seed;

// ---------------------------------------------------------------------------
// A span that was just cut.

TEST(all_slots_of_a_class_once_and_in_order,
     "a fresh span of each class hands out each of its slots once, the lowest"
     " first; then there is none, again and again")
{
    for (unsigned class = 1; class < NUM_SIZE_CLASSES; class ++) {
        memset(&s, 0xA5, sizeof s);
        s.start_addr = (char *)(uintptr_t)(5 * PAGE_SIZE);
        s.npages = class_npages(class);
        mspan_init_objects(&s, class);
        size_t n = s.npages * PAGE_SIZE / class_size(class);
        CHECK_EQ(s.nelems, n);
        CHECK_EQ(s.alloc_count, 0);
        CHECK_PTR_EQ(s.limit, s.start_addr + n * class_size(class));
        CHECK_TRUE(mspan_check(&s));
        for (size_t slot = 0; slot < n; slot++) {
            CHECK_TRUE(mspan_is_free(&s, slot));
            CHECK_PTR_EQ(mspan_alloc(&s), object(slot));
            CHECK_TRUE(!mspan_is_free(&s, slot));
            CHECK_TRUE(!mspan_is_marked(&s, object(slot)));
            CHECK_EQ(s.alloc_count, slot + 1);
            CHECK_TRUE(mspan_check(&s));
        }
        CHECK_NULL(mspan_alloc(&s));
        CHECK_NULL(mspan_alloc(&s));
        CHECK_EQ(s.alloc_count, n);
        CHECK_EQ(s.freeindex, n);
        CHECK_TRUE(mspan_check(&s));
    }
}

TEST(any_number_of_slots,
     "whatever the number of its slots, a span hands out each of them once, and"
     " no bit beyond the last is ever set")
{
    for (uint32_t n = 1; n <= MAX_OBJECTS; n++) {
        make_span(n);
        for (size_t slot = 0; slot < n; slot++)
            CHECK_PTR_EQ(mspan_alloc(&s), object(slot));
        CHECK_NULL(mspan_alloc(&s));
        CHECK_EQ(mspan_count_alloc(&s), n);
        CHECK_TRUE(mspan_check(&s));
    }
}

TEST(the_window_is_64_slots_wide,
     "the fast step leaves it to the other one to move the window: when slot"
     " 63, 127 and so on is next, unless it is the last of the span")
{
    for (size_t i = 0; i < COUNTS; i++) {
        make_span(counts[i]);
        uint32_t n = s.nelems;
        for (uint32_t slot = 0; slot < n; slot++) {
            CHECK_EQ(s.freeindex, slot);
            CHECK_TRUE(s.alloc_cache == UINT64_MAX >> slot % 64);
            if (slot % 64 == 63 && slot + 1 != n) {
                CHECK_TRUE(mspan_next_free_fast(&s) == NO_SLOT);
                CHECK_EQ(s.freeindex, slot);
                CHECK_TRUE(s.alloc_cache == 1);
                CHECK_EQ(mspan_next_free_index(&s), slot);
            } else {
                CHECK_EQ(mspan_next_free_fast(&s), slot);
            }
        }
        CHECK_TRUE(mspan_next_free_fast(&s) == NO_SLOT);
        CHECK_EQ(mspan_next_free_index(&s), n);
        CHECK_EQ(s.freeindex, n);
    }
}

TEST(full_windows_are_skipped,
     "the search goes from window to window until one has a free slot, and"
     " takes all of that one's bits")
{
    for (size_t slot = 0; slot < MAX_OBJECTS; slot++) {
        make_span(MAX_OBJECTS);
        memset(s.alloc_bits, 0xFF, sizeof s.alloc_bits);
        s.alloc_bits[slot / 64] &= ~(UINT64_C(1) << slot % 64);
        s.alloc_count = MAX_OBJECTS - 1;
        mspan_refill_alloc_cache(&s, 0);
        CHECK_TRUE(mspan_check(&s));
        CHECK_PTR_EQ(mspan_alloc(&s), object(slot));
        CHECK_EQ(s.freeindex, slot + 1);
        CHECK_TRUE(s.alloc_cache == 0);
        CHECK_NULL(mspan_alloc(&s));
        CHECK_TRUE(mspan_check(&s));
    }
}

TEST(the_window_shows_the_slots_from_there_on,
     "a window is the inverse of the 64 bits that begin with its slot")
{
    seed = random_start();
    make_span(MAX_OBJECTS);
    for (size_t i = 0; i < MAX_OBJECTS / 64; i++)
        s.alloc_bits[i] = random_below(&seed, UINT64_MAX) ^
                          random_below(&seed, 1 << 30) << 40;
    for (size_t slot = 0; slot < MAX_OBJECTS; slot += 64) {
        mspan_refill_alloc_cache(&s, slot);
        for (size_t i = 0; i < 64; i++)
            CHECK_EQ(s.alloc_cache >> i & 1, !is_taken(slot + i));
    }
}

// ---------------------------------------------------------------------------
// Slots that come back.

TEST(what_is_freed_behind_is_found_again,
     "a slot that is freed behind the search is found when the search begins"
     " anew, and so is one that is freed in the window")
{
    make_span(193);
    for (size_t i = 0; i < 193; i++)
        mspan_alloc(&s);
    mspan_free(&s, object(70));
    mspan_free(&s, object(5));
    CHECK_EQ(s.freeindex, 193);
    CHECK_TRUE(!mspan_is_free(&s, 5)); // the search is past it
    CHECK_PTR_EQ(mspan_alloc(&s), object(5));
    // The search is at 6 of the first window, and has 70 before it.
    mspan_free(&s, object(40));
    mspan_free(&s, object(192));
    CHECK_TRUE(mspan_is_free(&s, 40));
    CHECK_PTR_EQ(mspan_alloc(&s), object(70));
    CHECK_PTR_EQ(mspan_alloc(&s), object(192));
    CHECK_PTR_EQ(mspan_alloc(&s), object(40));
    CHECK_NULL(mspan_alloc(&s));
    CHECK_TRUE(mspan_check(&s));
}

TEST(a_pair_goes_on,
     "a span with one free slot hands it out each time that it comes back,"
     " whichever it is")
{
    for (size_t i = 0; i < COUNTS; i++) {
        make_span(counts[i]);
        for (size_t k = 0; k < counts[i]; k++)
            mspan_alloc(&s);
        for (size_t slot = 0; slot < counts[i]; slot++) {
            for (int times = 0; times < 3; times++) {
                mspan_free(&s, object(slot));
                CHECK_EQ(s.alloc_count, counts[i] - 1);
                CHECK_PTR_EQ(mspan_alloc(&s), object(slot));
                CHECK_TRUE(mspan_check(&s));
            }
        }
    }
}

// The model of a span: which slots are taken, and which of these are marked.
static bool taken[MAX_OBJECTS], marked[MAX_OBJECTS];
static size_t n_taken;

static void check_model(void)
{
    CHECK_TRUE(mspan_check(&s));
    CHECK_EQ(s.alloc_count, n_taken);
    CHECK_EQ(mspan_count_alloc(&s), n_taken);
    for (size_t slot = 0; slot < s.nelems; slot++)
        if (is_taken(slot) != taken[slot] ||
            mspan_is_marked(&s, object(slot)) != marked[slot])
            CHECK_THAT(false, "slot %zu: expected taken %d, marked %d", slot,
                       taken[slot], marked[slot]);
}

static void model_alloc(void)
{
    uint32_t before = s.freeindex;
    char *p = mspan_alloc(&s);
    if (n_taken == s.nelems) {
        CHECK_NULL(p);
        return;
    }
    CHECK_NOT_NULL(p);
    size_t slot = slot_of(p);
    CHECK_PTR_EQ(p, object(slot));
    CHECK_TRUE(slot < s.nelems && !taken[slot]);
    CHECK_EQ(s.freeindex, slot + 1);
    // Only if there was nothing free ahead, outside of the window, did the
    // search begin anew.
    if (slot < before)
        for (size_t i = round_up(before + 1, 64); i < s.nelems; i++)
            CHECK_TRUE(taken[i]);
    taken[slot] = true;
    n_taken++;
    marked[slot] = random_below(&seed, 2) == 0;
    if (marked[slot])
        mspan_set_mark(&s, p);
}

static void model_free(void)
{
    size_t slot = random_below(&seed, s.nelems);
    while (!taken[slot])
        slot = (slot + 1) % s.nelems;
    CHECK_EQ(mspan_clear_mark(&s, object(slot)), marked[slot]);
    mspan_free(&s, object(slot));
    taken[slot] = marked[slot] = false;
    n_taken--;
}

TEST(
    spans_agree_with_a_model,
    "after each of 3,000 random steps with spans of 1 to 1024 slots, just those"
    " slots are taken, and marked, that should be")
{
    seed = random_start();
    for (size_t i = 0; i < COUNTS; i++) {
        make_span(counts[i]);
        memset(taken, 0, sizeof taken);
        memset(marked, 0, sizeof marked);
        n_taken = 0;
        for (size_t step = 0; step < 3000; step++) {
            // Now it rather fills, now it rather empties.
            bool fills = step / (counts[i] + 20) % 2 == 0;
            if (n_taken == 0 || random_below(&seed, 8) < (fills ? 7u : 1u))
                model_alloc();
            else
                model_free();
            check_model();
        }
    }
}

// ---------------------------------------------------------------------------
// Where objects are.

TEST(above_the_limit_is_no_object,
     "what is left over at the end of a span is no object, even where the next"
     " one would start; nor is what lies in an object")
{
    size_t with_rest = 0;
    for (unsigned class = 1; class < NUM_SIZE_CLASSES; class ++) {
        memset(&s, 0, sizeof s);
        s.start_addr = (char *)(uintptr_t)(5 * PAGE_SIZE);
        s.npages = class_npages(class);
        mspan_init_objects(&s, class);
        with_rest += s.limit < mspan_end(&s);
        for (char *p = s.start_addr; p < mspan_end(&s); p++) {
            size_t offset = (size_t)(p - s.start_addr);
            bool starts =
                offset % s.elemsize == 0 && offset / s.elemsize < s.nelems;
            if (mspan_is_object(&s, p) != starts ||
                mspan_object_index(&s, p) != offset / s.elemsize)
                CHECK_THAT(false, "class %u, offset %zu: expected %d and %zu",
                           class, offset, starts, offset / s.elemsize);
        }
        CHECK_TRUE(!mspan_is_object(&s, s.limit));
    }
    CHECK_GE(with_rest, 30);
}

TEST(one_object_as_long_as_the_span,
     "a span of no class has one slot, which every address in it belongs to")
{
    for (size_t npages = 1; npages <= 1 << 20; npages *= 2) {
        memset(&s, 0xA5, sizeof s);
        s.start_addr = (char *)(uintptr_t)(5 * PAGE_SIZE);
        s.npages = npages;
        mspan_init_objects(&s, 0);
        CHECK_EQ(s.nelems, 1);
        CHECK_EQ(s.elemsize, npages * PAGE_SIZE);
        CHECK_PTR_EQ(s.limit, mspan_end(&s));
        CHECK_EQ(mspan_object_index(&s, mspan_end(&s) - 1), 0);
        CHECK_TRUE(mspan_is_object(&s, s.start_addr));
        CHECK_TRUE(!mspan_is_object(&s, s.start_addr + 16));
        CHECK_TRUE(!mspan_is_object(&s, mspan_end(&s) - 1));
        CHECK_PTR_EQ(mspan_alloc(&s), s.start_addr);
        CHECK_NULL(mspan_alloc(&s));
        mspan_set_mark(&s, s.start_addr);
        CHECK_TRUE(mspan_check(&s));
        CHECK_TRUE(mspan_clear_mark(&s, s.start_addr));
        mspan_free(&s, s.start_addr);
        CHECK_EQ(s.alloc_count, 0);
        CHECK_TRUE(mspan_check(&s));
    }
}

// ---------------------------------------------------------------------------
// Marks.

TEST(a_mark_is_of_one_object,
     "a mark is set and cleared for one object alone; clearing tells whether it"
     " was there")
{
    make_span(MAX_OBJECTS);
    for (size_t slot = 0; slot < MAX_OBJECTS; slot++) {
        CHECK_TRUE(!mspan_is_marked(&s, object(slot)));
        CHECK_TRUE(!mspan_clear_mark(&s, object(slot)));
        mspan_set_mark(&s, object(slot));
        mspan_set_mark(&s, object(slot));
        for (size_t i = 0; i < MAX_OBJECTS / 64; i++)
            CHECK_TRUE(s.mark_bits[i] ==
                       (i == slot / 64 ? UINT64_C(1) << slot % 64 : 0));
        CHECK_TRUE(mspan_is_marked(&s, object(slot)));
        CHECK_TRUE(mspan_clear_mark(&s, object(slot)));
    }
    // And the other way round.
    for (size_t slot = 0; slot < MAX_OBJECTS; slot++)
        mspan_set_mark(&s, object(slot));
    for (size_t slot = 0; slot < MAX_OBJECTS; slot++) {
        CHECK_TRUE(mspan_clear_mark(&s, object(slot)));
        for (size_t i = 0; i < MAX_OBJECTS / 64; i++)
            CHECK_TRUE(
                s.mark_bits[i] ==
                (i == slot / 64 ? ~(UINT64_C(1) << slot % 64) : UINT64_MAX));
        mspan_set_mark(&s, object(slot));
    }
}

enum { ROUNDS = UNDER_TSAN ? 500 : 5000, WORDS = MAX_OBJECTS / 64 };
static atomic_size_t arrived, troubles;
static size_t won[2];

// meet returns when both threads have called it as often as this one. A barrier
// of the C library would wake one of them long after the other.
static void meet(size_t *times)
{
    ++*times;
    atomic_fetch_add(&arrived, 1);
    for (size_t i = 1; atomic_load(&arrived) < 2 * *times; i++)
        if (i % 1000 == 0)
            sched_yield();
}

static void run_two(void *(*body)(void *), void *argument[2])
{
    pthread_t threads[2];
    atomic_store(&arrived, 0);
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, argument[i]), 0);
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void *numbers[2] = {(void *)0, (void *)1};

static void *clear_all(void *number)
{
    size_t met = 0;
    for (size_t round = 0; round < ROUNDS; round++) {
        if (number == NULL)
            for (size_t slot = 0; slot < MAX_OBJECTS; slot++)
                mspan_set_mark(&s, object(slot));
        meet(&met);
        for (size_t slot = 0; slot < MAX_OBJECTS; slot++)
            won[(uintptr_t)number] += mspan_clear_mark(&s, object(slot));
        meet(&met);
    }
    return NULL;
}

TEST(one_thread_finds_the_mark,
     "of two threads that clear the same mark at once, exactly one finds it")
{
    make_span(MAX_OBJECTS);
    run_two(clear_all, numbers);
    CHECK_EQ(won[0] + won[1], (size_t)ROUNDS * MAX_OBJECTS);
    for (size_t i = 0; i < WORDS; i++)
        CHECK_TRUE(s.mark_bits[i] == 0);
}

// own_slots sets and clears the marks of every other slot of two words.
static void *own_slots(void *number)
{
    size_t met = 0;
    meet(&met);
    for (size_t round = 0; round < 10 * ROUNDS; round++) {
        for (size_t slot = (uintptr_t)number; slot < 128; slot += 2) {
            troubles += mspan_is_marked(&s, object(slot));
            mspan_set_mark(&s, object(slot));
        }
        for (size_t slot = (uintptr_t)number; slot < 128; slot += 2)
            troubles += !mspan_clear_mark(&s, object(slot));
    }
    return NULL;
}

TEST(neighbours_marks_are_not_lost,
     "two threads that set and clear the marks of neighbours, in the same word,"
     " never lose one")
{
    make_span(MAX_OBJECTS);
    run_two(own_slots, numbers);
    CHECK_EQ(troubles, 0);
    for (size_t i = 0; i < WORDS; i++)
        CHECK_TRUE(s.mark_bits[i] == 0);
}

static void *free_at_once(void *p)
{
    size_t met = 0;
    meet(&met);
    mm_free(p);
    meet(&met); // else what the first one freed would go back at its end
    return NULL;
}

static void free_by_two(void *p)
{
    run_two(free_at_once, (void *[]){p, p});
}

TEST(two_frees_at_once,
     "when two threads free the same block at the same time, that is noticed,"
     " each time")
{
    static const size_t sizes[] = {48, 32768, 100000};
    for (size_t i = 0; i < 3 && !UNDER_TSAN; i++) {
        void *p = mm_malloc(sizes[i]);
        for (size_t round = 0; round < 50; round++) {
            struct child child = child_run(free_by_two, p);
            CHECK_EQ(child.signal, SIGABRT);
            CHECK_THAT(strstr(child.said, "): double free") != NULL,
                       "expected a double free, got \"%s\"", child.said);
        }
        mm_free(p);
    }
    CHECK_TRUE(mm_check());
}

// ---------------------------------------------------------------------------
// The check.

static void check_it(void *unused)
{
    (void)unused;
    _exit(mspan_check(&s) ? 0 : 1);
}

TEST(check_finds_what_is_wrong,
     "mspan_check notices a wrong count, a bit where there is no slot, a mark"
     " without an object, a window that shows what is taken, and objects beyond"
     " the span")
{
    make_span(100);
    for (size_t i = 0; i < 70; i++)
        mspan_alloc(&s);
    CHECK_TRUE(mspan_check(&s));

    s.alloc_count++;
    CHECK_COMPLAINS(check_it, NULL, "I1 alloc_count bits are set");
    s.alloc_count--;

    s.alloc_bits[1] |= UINT64_C(1) << (100 - 64);
    s.alloc_count++;
    CHECK_COMPLAINS(check_it, NULL, "I1 bits beyond the last slot are clear");
    s.alloc_bits[1] &= ~(UINT64_C(1) << (100 - 64));
    s.alloc_count--;

    mspan_set_mark(&s, object(70));
    CHECK_COMPLAINS(check_it, NULL, "I3 a marked object is taken");
    mspan_clear_mark(&s, object(70));
    mspan_set_mark(&s, object(100));
    CHECK_COMPLAINS(check_it, NULL, "I3 a marked object is taken");
    mspan_clear_mark(&s, object(100));
    mspan_set_mark(&s, object(69));
    CHECK_TRUE(mspan_check(&s));

    s.alloc_bits[1] |= UINT64_C(1) << (75 - 64); // where the window has a 1
    s.alloc_count++;
    CHECK_COMPLAINS(check_it, NULL, "I2 alloc_cache shows only free slots");
    s.alloc_cache &= ~(UINT64_C(1) << (75 - 70));
    CHECK_TRUE(mspan_check(&s));
    s.alloc_cache = 0; // shows fewer than there are
    CHECK_TRUE(mspan_check(&s));

    s.freeindex = 101;
    CHECK_COMPLAINS(check_it, NULL, "objects lie in their span");
    s.freeindex = 100;
    CHECK_TRUE(mspan_check(&s));
    s.limit = mspan_end(&s) + 8;
    CHECK_COMPLAINS(check_it, NULL, "objects lie in their span");
}
