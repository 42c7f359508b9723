// stages: 08-
//
// mcache.c: the span of each class that a thread holds, how long it keeps it,
// and who has it then.

#include "heap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "blocks.h"
#include "child.h"
#include "os_memory.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"
#include "workers.h"

#include "class_spans.h"
#include "page_heap.h"

// Blocks of the main thread.
enum { MOST = 20000 };
static void *blocks[MOST];

// What threads noticed: they must not check anything themselves.
static atomic_size_t troubles;

// locks_for_asking returns how many locks stats() itself takes.
static uint64_t locks_for_asking(void)
{
    uint64_t before = stats().locks_taken;
    return stats().locks_taken - before;
}

static void allocate_one(void *block)
{
    *(void **)block = mm_malloc(SIZE);
    troubles += *(void **)block == NULL;
}

static void free_one(void *p)
{
    mm_free(p);
}

// ---------------------------------------------------------------------------
// The span of a class.

TEST(the_first_occupant_is_empty,
     "before its first call a thread has no cache, and for every class a span"
     " that shows nothing; then one span, of one class; the one without objects"
     " is never written")
{
    CHECK_NULL(mcache_mine());
    CHECK_EQ(n_held(), 0);
    CHECK_TRUE(mcache_check());
    CHECK_TRUE(!mcache_flush());
    CHECK_EQ(mspan_next(&emptymspan), 0);

    void *p = mm_malloc(SIZE);
    CHECK_PTR_EQ(mcache_mine(), mcache);
    CHECK_EQ(n_held(), 1);
    struct mspan *s = held(class_of_size());
    CHECK_PTR_EQ(s, span_of(p));
    CHECK_PTR_EQ(s->owner, mcache);
    CHECK_EQ(mspan_place(s), PLACE_CACHED);
    CHECK_TRUE(mcache_check());
    mm_free(p);
    CHECK_TRUE(mcache_flush());
    CHECK_EQ(n_held(), 0);
    CHECK_EQ(spans_in_use(), 0);
    for (size_t i = 0; i < MAX_OBJECTS / 64; i++)
        CHECK_EQ(emptymspan.free_bits[i] | emptymspan.mark_bits[i], 0);
    CHECK_EQ(emptymspan.nelems, 0);
    CHECK_EQ(mspan_place(&emptymspan), PLACE_NONE);
}

TEST(one_span_of_each_class,
     "a thread holds one span of each class that it used, each of its class")
{
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++) {
        struct mm_stats before = stats();
        blocks[c] = mm_malloc(class_size(c));
        struct mm_stats after = stats();
        CHECK_PTR_EQ(held(c), span_of(blocks[c]));
        CHECK_EQ(class_of_span(held(c)), scan_class(c));
        CHECK_EQ(n_held(), c - 1);
        CHECK_EQ(after.span_allocs - before.span_allocs, 1);
        CHECK_EQ(after.batches - before.batches, 1);
        CHECK_EQ(after.batch_objects - before.batch_objects, held(c)->nelems);
    }
    CHECK_TRUE(mm_check());
    release(blocks + 2, NUM_SIZE_CLASSES - 2);
    CHECK_EQ(n_held(), NUM_SIZE_CLASSES - 2);
    CHECK_TRUE(mcache_flush());
    CHECK_EQ(n_held(), 0);
    CHECK_EQ(spans_in_use(), 0);
}

TEST(what_the_thread_frees_is_there_again,
     "as long as its span has free slots, a thread keeps it: it takes what it"
     " freed itself, in any word of the span, without a lock")
{
    enum { OF_16 = PAGE_SIZE / 16 };
    allocate(blocks, OF_16, 16);
    struct mspan *s = span_of(blocks[0]);
    CHECK_EQ(mspan_count_alloc(s), OF_16);
    uint64_t own = locks_for_asking();
    struct mm_stats before = stats();
    for (size_t i = 0; i < 10 * OF_16; i++) {
        size_t k = i * 101 % OF_16;
        mm_free(blocks[k]);
        void *p = mm_malloc(16);
        CHECK_PTR_EQ(p, blocks[k]);
    }
    struct mm_stats after = stats();
    CHECK_EQ(after.locks_taken - before.locks_taken, own);
    CHECK_EQ(after.batches, before.batches);
    CHECK_EQ(after.mallocs - before.mallocs, 10 * OF_16);
    CHECK_PTR_EQ(held(size_class_of(16)), s);
    release(blocks, OF_16);
}

TEST(what_others_free_is_there_again,
     "when its span shows nothing, a thread sweeps it: it takes what others"
     " freed there, and keeps the span; no lock is taken, on either side")
{
    struct worker w;
    worker_start(&w);
    allocate(blocks, EACH, SIZE);
    struct mspan *s = span_of(blocks[0]);
    void *mine = NULL;
    worker_do(&w, allocate_one, &mine); // it has a cache, too
    CHECK_TRUE(span_of(mine) != s);
    uint64_t own = locks_for_asking();
    struct mm_stats before = stats();
    for (size_t n = 1; n <= EACH; n++) {
        for (size_t i = 0; i < n; i++)
            worker_do(&w, free_one, blocks[i]);
        CHECK_EQ(mspan_place(s), PLACE_CACHED);
        CHECK_NULL(s->owner); // its thread may not free without a look
        CHECK_EQ(mspan_count_alloc(s), EACH - n);
        for (size_t i = 0; i < n; i++)
            CHECK_PTR_EQ(mm_malloc(SIZE), blocks[i]);
        CHECK_PTR_EQ(held(class_of_size()), s);
        CHECK_PTR_EQ(s->owner, mcache);
    }
    struct mm_stats after = stats();
    CHECK_EQ(after.locks_taken - before.locks_taken, own);
    CHECK_EQ(after.batches, before.batches);
    worker_do(&w, free_one, mine);
    release(blocks, EACH);
    worker_end(&w);
    CHECK_EQ(troubles, 0);
}

TEST(a_free_of_its_own_sweeps,
     "after another thread freed in its span, the first free of the holder"
     " sweeps, and makes it the owner again")
{
    allocate(blocks, EACH, SIZE);
    struct mspan *s = span_of(blocks[0]);
    in_other_thread(free_one, blocks[3]);
    CHECK_NULL(s->owner);
    CHECK_EQ(s->free_bits[0], 0);
    mm_free(blocks[5]);
    CHECK_PTR_EQ(s->owner, mcache);
    CHECK_EQ(s->free_bits[0], 1 << 3 | 1 << 5);
    CHECK_EQ(s->mark_bits[0], UINT64_MAX);
    mm_free(blocks[6]);
    CHECK_EQ(s->free_bits[0], 1 << 3 | 1 << 5 | 1 << 6);
    blocks[3] = blocks[0];
    blocks[5] = blocks[1];
    blocks[6] = blocks[2];
    release(blocks + 3, EACH - 3);
}

TEST(a_span_that_is_used_up_is_put_down,
     "only when its span has no free slot at all, a thread takes another one")
{
    for (size_t i = 0; i < 5 * EACH; i++) {
        uint64_t before = stats().span_allocs;
        blocks[i] = mm_malloc(SIZE);
        CHECK_EQ(stats().span_allocs - before, i % EACH == 0);
        CHECK_PTR_EQ(span_of(blocks[i]), held(class_of_size()));
        if (i >= EACH)
            CHECK_EQ(mspan_place(span_of(blocks[i - EACH])), PLACE_FULL);
    }
    CHECK_EQ(stats().batches, 5 + 4); // taken, and put down
    CHECK_EQ(stats().batch_objects, 5 * EACH);
    release(blocks, 5 * EACH);
}

enum { MOST_PAGES = 2 * HINTS };
static struct mspan *pages[MOST_PAGES];

static bool has_same_hint(const struct mspan *s, const struct mspan *t)
{
    uintptr_t distance = (uintptr_t)s->start_addr - (uintptr_t)t->start_addr;
    return distance % ((uintptr_t)HINTS * PAGE_SIZE) == 0;
}

TEST(a_page_far_away_has_the_same_hint,
     "two spans that lie 256 MiB apart share a hint: blocks of both can be"
     " freed and allocated, in turns")
{
    allocate(blocks, 2, SIZE);
    struct mspan *s = span_of(blocks[0]);
    // Pages are taken one by one, up to such a one; it is the first to be free.
    size_t n = 0;
    do {
        CHECK_LE(n, MOST_PAGES - 1);
        pages[n] = take(1);
        CHECK_NOT_NULL(pages[n]);
    } while (!has_same_hint(pages[n++], s));
    give(pages[--n]);
    blocks[2] = mm_malloc(2048);
    struct mspan *t = span_of(blocks[2]);
    CHECK_TRUE(s != t);
    CHECK_TRUE(has_same_hint(s, t));
    CHECK_PTR_EQ(span_hint(blocks[2]), t);
    CHECK_PTR_EQ(span_hint(blocks[0]), t);
    for (size_t i = 0; i < 100; i++) {
        mm_free(blocks[0]);
        CHECK_EQ(mspan_count_alloc(s), 1);
        CHECK_EQ(mspan_count_alloc(t), 1);
        mm_free(blocks[2]);
        CHECK_EQ(mspan_count_alloc(t), 0);
        blocks[2] = mm_malloc(2048);
        blocks[0] = mm_malloc(SIZE);
        CHECK_PTR_EQ(span_of(blocks[0]), s);
        CHECK_PTR_EQ(span_of(blocks[2]), t);
    }
    while (n > 0)
        give(pages[--n]);
    CHECK_TRUE(mm_check());
    release(blocks, 3);
}

// ---------------------------------------------------------------------------
// Locks.

enum { PAIRS_EACH = UNDER_TSAN ? 20000 : 100000, WORKING_SET = 1000 };

// replace_blocks holds 1000 blocks of many sizes, and replaces any of them by
// another, again and again.
static void *replace_blocks(void *number)
{
    uint64_t random = (uintptr_t)number + 1;
    void *mine[WORKING_SET] = {0};
    for (size_t i = 0; i < PAIRS_EACH; i++) {
        void **slot = &mine[random_below(&random, WORKING_SET)];
        mm_free(*slot);
        *slot = mm_malloc(1 + random_below(&random, 1024));
        troubles += *slot == NULL;
    }
    for (size_t i = 0; i < WORKING_SET; i++)
        mm_free(mine[i]);
    return NULL;
}

TEST(a_pair_takes_no_lock,
     "threads take fewer than 20 locks for 1,000 pairs of malloc and free, from"
     " their first call to their end")
{
    uint64_t own = locks_for_asking();
    for (size_t n = 2; n <= 8; n += 6) {
        struct mm_stats before = stats();
        run_threads(n, replace_blocks);
        struct mm_stats after = stats();
        CHECK_EQ(troubles, 0);
        CHECK_EQ(after.frees - before.frees, n * PAIRS_EACH);
        CHECK_LE(after.locks_taken - before.locks_taken - own,
                 20 * n * PAIRS_EACH / 1000);
    }
}

// What a producer handed to a consumer.
enum { ON_THE_WAY = 1024, HANDED_OVER = UNDER_TSAN ? 40000 : 400000 };
static _Atomic(void *) handed[ON_THE_WAY];
static uint64_t bytes_held[4]; // from the OS, after each quarter

static void produce(void)
{
    uint64_t random = 1;
    for (size_t i = 0; i < HANDED_OVER; i++) {
        _Atomic(void *) *slot = &handed[i % ON_THE_WAY];
        while (atomic_load(slot) != NULL)
            sched_yield();
        atomic_store(slot, mm_malloc(1 + random_below(&random, 1024)));
        if ((i + 1) % (HANDED_OVER / 4) == 0)
            bytes_held[i / (HANDED_OVER / 4)] = stats().bytes_from_os;
    }
}

static void consume(void)
{
    for (size_t i = 0; i < HANDED_OVER; i++) {
        _Atomic(void *) *slot = &handed[i % ON_THE_WAY];
        void *p;
        while ((p = atomic_exchange(slot, NULL)) == NULL)
            sched_yield();
        mm_free(p);
    }
    troubles += n_held() != 0;
}

static void *produce_or_consume(void *number)
{
    number == NULL ? produce() : consume();
    return NULL;
}

TEST(nobody_hoards,
     "a thread that frees all that another allocates keeps nothing of it: the"
     " second half of 400,000 blocks needs no more memory than the first")
{
    run_threads(2, produce_or_consume);
    CHECK_EQ(troubles, 0);
    CHECK_TRUE(bytes_held[0] != 0);
    CHECK_LE(bytes_held[3], bytes_held[0] + (1 << 20));
    CHECK_LE(bytes_held[3], 8 << 20);
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

// ---------------------------------------------------------------------------
// The end of a thread.

static void *allocate_each_class(void *unused)
{
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++) {
        void *p = mm_malloc(class_size(c));
        blocks[c] = mm_malloc(class_size(c));
        mm_free(p);
    }
    return unused;
}

TEST(a_thread_that_ends_hands_its_spans_over,
     "when a thread ends, its spans with free slots are found by others, of"
     " every class, before the heap grows; its full ones when one is freed")
{
    run_threads(1, allocate_each_class);
    CHECK_EQ(n_held(), 0);
    uint64_t before = stats().span_allocs;
    size_t n_full = 0;
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++) {
        struct mspan *s = span_of(blocks[c]);
        bool is_full = s->nelems == 1;
        n_full += is_full;
        CHECK_EQ(mspan_place(s), is_full ? PLACE_FULL : PLACE_PARTIAL);
        CHECK_NULL(s->owner);
        CHECK_EQ(central_of(c)->n_empty, is_full); // the other one
        CHECK_EQ(set_length(c), 1);
        void *p = mm_malloc(class_size(c));
        CHECK_EQ(span_of(p) == s, !is_full);
        CHECK_EQ(set_length(c), 0);
        mm_free(blocks[c]);
        CHECK_EQ(set_length(c), is_full);
        CHECK_EQ(central_of(c)->n_empty, is_full);
        mm_free(p);
    }
    CHECK_EQ(stats().span_allocs, before);
    CHECK_GE(n_full, 2);
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

enum { SHARE = 500 }; // of the blocks of the main thread, for each thread

static void *end_with_spans(void *number)
{
    size_t first = (uintptr_t)number * SHARE;
    uint64_t random = first + 1;
    void *mine[200];
    for (size_t i = 0; i < 200; i++)
        mine[i] = mm_malloc(random_below(&random, 5000));
    for (size_t i = 0; i < SHARE; i++)
        mm_free(blocks[first + i]);
    for (size_t i = 0; i < 200; i++)
        mm_free(mine[i]);
    troubles += n_held() == 0;
    return NULL;
}

TEST(
    threads_that_end_leave_nothing,
    "when all blocks are free and all threads gone, every span is empty, in the"
    " set of its class, and a flush gives all back")
{
    uint64_t random = 1;
    for (size_t i = 0; i < 8 * SHARE; i++)
        blocks[i] = mm_malloc(random_below(&random, 2000));
    mcache_flush();
    CHECK_GE(spans_in_use(), 100);
    run_threads(8, end_with_spans);
    CHECK_EQ(troubles, 0);
    uint64_t n = 0;
    for (unsigned c = 1; c < NUM_SIZE_CLASSES; c++) {
        CHECK_EQ(set_length(c), central_of(c)->n_empty);
        n += set_length(c);
    }
    CHECK_EQ(n, spans_in_use());
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

static pthread_barrier_t barrier;

static void *be_there_together(void *number)
{
    void *p = mm_malloc((uintptr_t)number * 100);
    pthread_barrier_wait(&barrier);
    mm_free(p);
    return NULL;
}

static void *come_and_go(void *number)
{
    void *p = mm_malloc((uintptr_t)number * 100);
    if (number == NULL) {
        mm_free(p);
        return NULL;
    }
    return p;
}

TEST(threads_that_come_and_go_need_nothing,
     "after eight threads at once, 20,000 short ones need no more memory: what"
     " they leave is used again, spans and structs")
{
    enum { ROUNDS = UNDER_TSAN ? 500 : 10000 };
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 8), 0);
    run_threads(8, be_there_together);
    struct mm_stats before = stats();
    for (size_t i = 0; i < ROUNDS; i++) {
        pthread_t threads[2];
        void *left = NULL;
        for (size_t k = 0; k < 2; k++)
            CHECK_EQ(pthread_create(&threads[k], NULL, come_and_go,
                                    (void *)(k * (1 + i % 7))),
                     0);
        for (size_t k = 0; k < 2; k++)
            CHECK_EQ(pthread_join(threads[k], &left), 0);
        mm_free(left); // of a thread that is gone
    }
    struct mm_stats after = stats();
    CHECK_EQ(after.mallocs - before.mallocs, 2 * ROUNDS);
    CHECK_EQ(after.bytes_of_metadata, before.bytes_of_metadata);
    CHECK_EQ(after.bytes_from_os, before.bytes_from_os);
    CHECK_LE(after.span_allocs - before.span_allocs, 8);
    mm_free(mm_malloc(1));
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

// ---------------------------------------------------------------------------
// Threads without a cache: before it is there, after its end.

// A destructor that asks for another round, until its thread has no cache.
static pthread_key_t last_key;
static atomic_size_t rounds_without;

static void allocate_at_the_end(void *block)
{
    char *p = mm_malloc(100), *q = mm_malloc(100);
    memset(p, 0xEE, 100);
    memset(q, 0xDD, 100);
    mm_free(block);
    mm_free(mm_malloc(100000));
    troubles += p == q || p[99] != (char)0xEE;
    mm_free(q);
    if (mcache_mine() != NULL) {
        pthread_setspecific(last_key, p);
        return;
    }
    rounds_without++;
    troubles += n_held() != 0; // each span was put down at once
    struct mspan *s = span_of(p);
    troubles += mspan_place(s) == PLACE_CACHED && s->owner == mcache;
    mm_free(p);
    troubles += mcache_mine() != NULL || n_held() != 0;
}

static void *end_with_destructor(void *unused)
{
    (void)unused;
    pthread_setspecific(last_key, mm_malloc(200));
    return NULL;
}

TEST(after_its_end_a_thread_does_without,
     "what a destructor allocates after the cache of its thread went back comes"
     " from a span that is put down at once, and can be freed")
{
    void *p = mm_malloc(1); // the key of the allocator is the earlier one
    CHECK_EQ(pthread_key_create(&last_key, allocate_at_the_end), 0);
    for (size_t i = 0; i < 10; i++)
        run_threads(4, end_with_destructor);
    CHECK_EQ(rounds_without, 40);
    CHECK_EQ(troubles, 0);
    mm_free(p);
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

// work_without_memory allocates in a thread that can have no cache.
static void *work_without_memory(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < 100; i++) {
        char *p = mm_malloc(1000), *q = mm_malloc(1000);
        troubles += p == NULL || q == NULL || mcache_mine() != NULL;
        troubles += n_held() != 0;
        troubles += mm_malloc((size_t)1 << 40) != NULL;
        mm_free(p);
        mm_free(q);
    }
    return NULL;
}

TEST(threads_without_memory_for_a_cache,
     "threads for whose cache there is no memory can allocate and free, one"
     " object at a time, also when a large block fails")
{
    void *p = mm_malloc(1000);
    mcache_flush(); // its span waits for all
    exhaust_structs(0);
    // One after the other: while one has the only span, there is none.
    for (size_t i = 0; i < 4; i++)
        run_threads(1, work_without_memory);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(mspan_count_alloc(span_of(p)), 1);
    CHECK_TRUE(mm_check());
    mm_free(p);
}

// all_slots_without_cache takes all slots of a span and gives them back.
static void all_slots_without_cache(void *unused)
{
    (void)unused;
    for (size_t i = 1; i < EACH; i++) {
        blocks[i] = mm_malloc(SIZE);
        troubles += blocks[i] == NULL || span_of(blocks[i]) == NULL;
        for (size_t k = 0; k < i; k++)
            troubles += blocks[k] == blocks[i];
    }
    struct mspan *s = span_of(blocks[0]);
    troubles += mcache_mine() != NULL || mspan_place(s) != PLACE_FULL;
    for (size_t i = 1; i < EACH; i++)
        mm_free(blocks[i]);
    troubles += mspan_place(s) != PLACE_PARTIAL;
}

TEST(one_object_at_a_time_fills_a_span,
     "a thread without a cache takes each slot of a span once, puts the span"
     " down full with the last, and finds what it freed")
{
    blocks[0] = mm_malloc(SIZE);
    mcache_flush();
    exhaust_structs(0);
    uint64_t before = stats().span_allocs;
    for (size_t i = 0; i < 3; i++)
        in_other_thread(all_slots_without_cache, NULL);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(stats().span_allocs, before);
    mm_free(blocks[0]);
}

static bool is_only(void)
{
    lock_acquire(&mheap.lock);
    bool only = mcache_is_only();
    lock_release(&mheap.lock);
    return only;
}

TEST(caches_are_counted,
     "a thread knows whether it has the only cache: while another has one, and"
     " when that is gone")
{
    void *p = NULL;
    struct worker w;
    CHECK_TRUE(!is_only()); // there is none
    mm_free(mm_malloc(1));
    CHECK_TRUE(is_only());
    worker_start(&w);
    CHECK_TRUE(is_only());
    for (size_t i = 0; i < 2; i++) {
        worker_do(&w, allocate_one, &p);
        CHECK_TRUE(!is_only());
        worker_do(&w, free_one, p);
    }
    worker_end(&w);
    CHECK_TRUE(is_only());
}

// ---------------------------------------------------------------------------
// Flushing, and when memory is short.

TEST(flush_gives_empty_spans_back,
     "a flush puts down all spans of the thread, and gives those without blocks"
     " back to the page heap, of all classes; it says whether there were any")
{
    CHECK_TRUE(!mcache_flush());
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++)
        blocks[c] = mm_malloc(class_size(c));
    CHECK_TRUE(!mcache_flush());
    CHECK_EQ(n_held(), 0);
    CHECK_EQ(spans_in_use(), NUM_SIZE_CLASSES - 2);
    CHECK_TRUE(mm_check());
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c += 2)
        mm_free(blocks[c]);
    CHECK_TRUE(mcache_flush());
    CHECK_TRUE(!mcache_flush());
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++)
        CHECK_EQ(span_of(blocks[c]) == NULL, c % 2 == 0);
    for (unsigned c = 3; c < NUM_SIZE_CLASSES; c += 2)
        mm_free(blocks[c]);
    CHECK_TRUE(mcache_flush());
    CHECK_EQ(spans_in_use(), 0);
}

TEST(what_it_holds_serves_a_large_block,
     "if the OS refuses memory for a large block, empty spans that this thread"
     " holds, or that wait in sets, go back and serve it; errno stays")
{
    allocate(blocks, 16 * EACH, SIZE);
    void *rest = mm_malloc(free_pages()); // in one piece
    CHECK_EQ(free_pages(), 0);
    release(blocks, 16 * EACH);
    CHECK_EQ(spans_in_use(), 17);
    os.fail_from = os.calls + 1;
    errno = 4711;
    void *p = mm_malloc(16 * PAGE_SIZE);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(n_held(), 0);
    CHECK_NULL(mm_malloc(PAGE_SIZE * 16));
    CHECK_EQ(errno, ENOMEM);
    CHECK_NULL(mm_malloc(16));
    CHECK_EQ(errno, ENOMEM);
    CHECK_TRUE(mm_check());
    mm_free(p);
    mm_free(rest);
}

TEST(
    what_goes_back_on_the_way_serves_it,
    "if the span that this thread puts down is one empty span too many, so that"
    " all of the class go back at once, they serve a large block, too")
{
    // A block of the largest class is a span; so many may wait, and no more.
    enum { LARGEST = NUM_SIZE_CLASSES - 1, WAIT = 5 };
    size_t size = class_size(LARGEST);
    CHECK_EQ(class_npages(LARGEST) * PAGE_SIZE, size);
    allocate(blocks, WAIT + 1, size);
    void *rest = mm_malloc(free_pages()); // in one piece
    CHECK_EQ(free_pages(), 0);
    release(blocks, WAIT + 1);
    CHECK_EQ(spans_in_use(), WAIT + 1 + 1);
    os.fail_from = os.calls + 1;
    errno = 4711;
    void *p = mm_malloc((WAIT + 1) * size);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(spans_in_use(), 2);
    CHECK_TRUE(!mcache_flush());
    mm_free(p);
    mm_free(rest);
}

TEST(
    what_it_holds_serves_another_class,
    "if the OS refuses memory for a small block, an empty span of another class"
    " that the thread holds makes room for it; errno stays")
{
    void *small = mm_malloc(2048);
    void *rest = mm_malloc(free_pages());
    CHECK_EQ(free_pages(), 0);
    mm_free(small);
    CHECK_EQ(n_held(), 1);
    os.fail_from = os.calls + 1;
    errno = 4711;
    void *p = mm_malloc(48);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_NULL(mm_malloc(2048));
    CHECK_EQ(errno, ENOMEM);
    mm_free(p);
    mm_free(rest);
}

// ---------------------------------------------------------------------------
// Damage.

static void check_it(void *unused)
{
    (void)unused;
    _exit(mm_check() ? 0 : 1);
}

TEST(
    damage_is_noticed,
    "mcache_check names what is wrong: a span where those of another class are,"
    " or of none, one that is not held, one of another owner")
{
    void *p = mm_malloc(SIZE), *q = mm_malloc(2 * SIZE);
    spanclass c = scan_class(class_of_size());
    struct mspan **at = mcache_span(mcache, c), *s = *at;
    CHECK_TRUE(mm_check());

    *at = held(size_class_of(2 * SIZE));
    CHECK_COMPLAINS(check_it, NULL, "I1 what is in a cache is of its class");
    *at = s;
    // Of size class 0 there are no spans, and so none in a cache.
    for (spanclass other = 0; other < NUM_SPAN_CLASSES; other++) {
        struct mspan **wrong = mcache_span(mcache, other), *right = *wrong;
        *wrong = s;
        if (other != c)
            CHECK_COMPLAINS(check_it, NULL,
                            "I1 what is in a cache is of its class");
        *wrong = right;
    }
    for (spanclass none = 0; spanclass_sizeclass(none) == 0; none++) {
        void *large = none == 0 ? mm_malloc(100000) : mm_malloc_noscan(100000);
        CHECK_EQ(class_of_span(span_of(large)), none);
        *mcache_span(mcache, none) = span_of(large);
        CHECK_COMPLAINS(check_it, NULL,
                        "I1 what is in a cache is of its class");
        *mcache_span(mcache, none) = &emptymspan;
        mm_free(large);
    }
    static struct mspan dead;
    *at = &dead;
    CHECK_COMPLAINS(check_it, NULL, "I1 what is in a cache is of its class");
    dead = *s;
    dead.state = MSPAN_DEAD;
    CHECK_COMPLAINS(check_it, NULL, "I1 what is in a cache is of its class");
    *at = s;
    for (unsigned place = 0; place < NUM_PLACES; place++) {
        s->place = place + c * NUM_PLACES;
        if (place != PLACE_CACHED)
            CHECK_COMPLAINS(check_it, NULL, "I1 what is in a cache is held");
    }
    s->place = PLACE_CACHED + c * NUM_PLACES;
    s->owner = mcache + 1;
    CHECK_COMPLAINS(check_it, NULL, "I1 what is in a cache is held");
    s->owner = NULL;
    CHECK_TRUE(mm_check());
    mm_free(p);
    mm_free(q);
}
