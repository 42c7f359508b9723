// stages: 06-07
//
// mcache.c: what a thread has in stock, how much, and where it goes.

#include "heap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "blocks.h"
#include "child.h"
#include "free_objects.h"
#include "os_memory.h"
#include "random.h"
#include "test.h"

// list_of returns what this thread has in stock of the class of size bytes.
static struct mcache_list list_of(size_t size)
{
    const struct mcache *mine = mcache_mine();
    return mine == NULL ? (struct mcache_list){0}
                        : mine->lists[size_class_of(size)];
}

static size_t bytes_in_stock(void)
{
    return mcache_mine()->size;
}

// Blocks of the main thread.
enum { MOST = 20000 };
static void *blocks[MOST];

// run_threads runs n threads of body, with the numbers from 0 as arguments.
static void run_threads(size_t n, void *(*body)(void *))
{
    pthread_t threads[64];
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)i), 0);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

// What threads noticed: they must not check anything themselves.
static atomic_size_t troubles;

// ---------------------------------------------------------------------------
// Locks.

enum { PAIRS_EACH = 100000, WORKING_SET = 1000 };

// replace_blocks holds 1000 blocks of many sizes, and replaces any of them by
// another, again and again.
static void *replace_blocks(void *number)
{
    uint64_t state = (uintptr_t)number + 1;
    void *mine[WORKING_SET] = {0};
    for (size_t i = 0; i < PAIRS_EACH; i++) {
        void **slot = &mine[random_below(&state, WORKING_SET)];
        mm_free(*slot);
        *slot = mm_malloc(1 + random_below(&state, 1024));
        troubles += *slot == NULL;
    }
    for (size_t i = 0; i < WORKING_SET; i++)
        mm_free(mine[i]);
    return NULL;
}

TEST(a_pair_takes_no_lock,
     "threads take fewer than 20 locks for 1,000 pairs of malloc and free, from"
     " their first call to their end: with one lock for all, they took 2,000")
{
    uint64_t own = stats().locks_taken;
    own = stats().locks_taken - own; // by mm_stats itself
    for (size_t n = 2; n <= 8; n += 6) {
        struct mm_stats before = stats();
        run_threads(n, replace_blocks);
        struct mm_stats after = stats();
        uint64_t pairs = after.frees - before.frees;
        CHECK_EQ(troubles, 0);
        CHECK_EQ(pairs, n * PAIRS_EACH);
        CHECK_LE(after.locks_taken - before.locks_taken - own,
                 20 * pairs / 1000);
    }
}

TEST(what_was_just_freed_is_next,
     "malloc and free of one block, again and again, take no lock at all, and"
     " no object is moved: it is the block that was freed last")
{
    void *p = mm_malloc(100);
    mm_free(p);
    uint64_t own = stats().locks_taken;
    own = stats().locks_taken - own;
    struct mm_stats before = stats();
    bool same = true;
    for (size_t i = 0; i < 1000; i++) {
        void *q = mm_malloc(100);
        same &= q == p;
        mm_free(q);
    }
    struct mm_stats after = stats();
    CHECK_TRUE(same);
    CHECK_EQ(after.locks_taken - before.locks_taken, own);
    CHECK_EQ(after.batches, before.batches);
    CHECK_EQ(after.nodes_visited, before.nodes_visited);
    CHECK_EQ(after.mallocs - before.mallocs, 1000);
}

// ---------------------------------------------------------------------------
// How many objects.

// next_most returns how long a list may be after a refill, or where it was too
// long for less than a batch.
static size_t next_most(size_t most, size_t batch)
{
    most += most < batch ? 1 : batch;
    return most < LONGEST_LIST ? most : LONGEST_LIST;
}

TEST(slow_start,
     "the first refill takes one object, each one more, up to a batch; the list"
     " may be longer by one each time, and by a batch from there, up to a "
     "limit")
{
    static const struct {
        size_t size, batch, refills;
    } cases[] = {{16, 32, 300}, {1024, 32, 40}, {3072, 21, 30}, {32768, 2, 12}};
    for (size_t i = 0; i < 4; i++) {
        size_t size = cases[i].size, batch = cases[i].batch;
        size_t most = 1, n = 0;
        for (size_t k = 0; k < cases[i].refills; k++) {
            size_t moved = most < batch ? most : batch;
            struct mm_stats before = stats();
            CHECK_EQ(list_of(size).length, 0);
            for (size_t left = moved; left > 0; left--) {
                blocks[n++] = mm_malloc(size);
                CHECK_EQ(list_of(size).length, left - 1);
            }
            most = next_most(most, batch);
            CHECK_EQ(list_of(size).max_length, most);
            struct mm_stats after = stats();
            CHECK_EQ(after.batches - before.batches, 1);
            CHECK_EQ(after.batch_objects - before.batch_objects, moved);
        }
        CHECK_TRUE(size != 16 || most == LONGEST_LIST);
        CHECK_TRUE(size != 32768 || most < LONGEST_LIST);
        release(blocks, n);
    }
}

TEST(no_list_is_longer_than_it_may_be,
     "blocks that are freed stay in stock up to the maximum; one more, and a"
     " batch goes back")
{
    allocate(blocks, 1000, 1024);
    size_t most = list_of(1024).max_length;
    size_t i = 0;
    CHECK_GE(most, 64);
    struct mm_stats before = stats();
    while (list_of(1024).length < most)
        mm_free(blocks[i++]);
    CHECK_EQ(stats().batches, before.batches);
    mm_free(blocks[i++]);
    CHECK_EQ(list_of(1024).length, most - 32 + 1);
    CHECK_EQ(stats().batches - before.batches, 1);
    CHECK_EQ(stats().batch_objects - before.batch_objects, 32);
    CHECK_TRUE(mm_check());
    while (i < 1000)
        mm_free(blocks[i++]);
}

static size_t n_elsewhere;

static void *allocate_in_thread(void *size)
{
    for (size_t i = 0; i < n_elsewhere; i++) {
        blocks[i] = mm_malloc((uintptr_t)size);
        troubles += blocks[i] == NULL;
    }
    return NULL;
}

// allocate_elsewhere is allocate in another thread, which ends then.
static void allocate_elsewhere(size_t n, size_t size)
{
    pthread_t thread;
    n_elsewhere = n;
    CHECK_EQ(pthread_create(&thread, NULL, allocate_in_thread, (void *)size),
             0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(troubles, 0);
}

TEST(who_only_frees_keeps_a_batch,
     "the list of a thread that frees what others allocated may become as long"
     " as a batch, one object more each time that it was too long, and no "
     "longer")
{
    static const struct {
        size_t size, batch;
    } cases[] = {{48, 32}, {3072, 21}, {32768, 2}};
    for (size_t i = 0; i < 3; i++) {
        size_t size = cases[i].size, batch = cases[i].batch;
        size_t length = 0, most = 1;
        mm_free(mm_malloc(16)); // so that there is a cache
        allocate_elsewhere(3000, size);
        uint64_t before = stats().batch_objects, moved = 0;
        for (size_t k = 0; k < 3000; k++) {
            if (length == most) {
                size_t n = length < batch ? length : batch;
                length -= n;
                moved += n;
                if (most < batch)
                    most = next_most(most, batch);
            }
            mm_free(blocks[k]);
            CHECK_EQ(list_of(size).length, ++length);
            CHECK_EQ(list_of(size).max_length, most);
        }
        CHECK_EQ(most, batch);
        CHECK_EQ(stats().batch_objects - before, moved);
        CHECK_TRUE(mm_check());
    }
}

TEST(a_list_that_is_often_too_long_is_shortened,
     "a list that is too long for the fourth time may hold a batch less, until"
     " it is as long as a batch")
{
    static void *own[1000];
    for (size_t i = 0; i < 1000; i++)
        own[i] = mm_malloc(1024);
    size_t most = list_of(1024).max_length;
    CHECK_GE(most, LONGEST_LIST < 300 ? LONGEST_LIST : 300);
    allocate_elsewhere(4000, 1024);
    size_t k = 0, times = 0;
    while (k < 4000) {
        uint64_t before = stats().batches;
        mm_free(blocks[k++]);
        times += stats().batches != before;
        if (times == 4 && most > 32) {
            most -= 32;
            times = 0;
        }
        CHECK_EQ(list_of(1024).max_length, most);
    }
    CHECK_EQ(most, 32);
    for (size_t i = 0; i < 1000; i++)
        mm_free(own[i]);
}

// ---------------------------------------------------------------------------
// How many bytes.

enum { LIMIT = 2 << 20 };

TEST(stock_is_limited,
     "whatever a thread frees, it has less than 2 MiB and two blocks in stock:"
     " when it is too much for the first time, all may have been needed")
{
    uint64_t state = 1;
    size_t peak = 0;
    for (size_t round = 0; round < 10; round++) {
        for (size_t i = 0; i < 600; i++)
            blocks[i] = mm_malloc(1 + random_below(&state, 32768));
        for (size_t i = 600; i > 0; i--) {
            size_t k = random_below(&state, i);
            mm_free(blocks[k]);
            blocks[k] = blocks[i - 1];
            CHECK_LE(bytes_in_stock(), LIMIT + 2 * 32768 - 1);
            if (peak < bytes_in_stock())
                peak = bytes_in_stock();
        }
        CHECK_TRUE(mm_check());
    }
    CHECK_GE(peak, LIMIT - 32768);
}

// fill_stock frees blocks of 32 KiB, from blocks[*i] on, until one more would
// be too many; none goes back before.
static void fill_stock(size_t *i)
{
    uint64_t before = stats().batches;
    while (bytes_in_stock() < LIMIT)
        mm_free(blocks[(*i)++]);
    CHECK_EQ(stats().batches, before);
}

TEST(scavenging_gives_back_half_of_the_low_water,
     "when there is too much in stock, each list gives back half of what it did"
     " not need since the last time, and may hold a batch less")
{
    static void *others[200];
    size_t i = 0;
    allocate(blocks, 200, 32768);
    for (size_t k = 0; k < 200; k++)
        others[k] = mm_malloc(8192);
    size_t most = list_of(8192).max_length;
    CHECK_GE(most, 60);
    CHECK_EQ(mcentral_batch(size_class_of(8192)), 8);
    while (list_of(8192).length < 60)
        mm_free(others[i++]);
    size_t n_others = i;

    // It was empty once.
    i = 0;
    fill_stock(&i);
    mm_free(blocks[i++]);
    CHECK_EQ(list_of(8192).length, 60);
    CHECK_EQ(list_of(8192).low_water, 60);
    CHECK_EQ(list_of(8192).max_length, most);
    // It was not used since then.
    mm_free(blocks[i++]);
    CHECK_EQ(list_of(8192).length, 30);
    CHECK_EQ(list_of(8192).low_water, 30);
    CHECK_EQ(list_of(8192).max_length, most - 8);
    CHECK_LE(bytes_in_stock(), LIMIT);
    // 19 of them are needed; of the other 11, 6 are not.
    void *needed[19];
    for (size_t k = 0; k < 19; k++)
        needed[k] = mm_malloc(8192);
    for (size_t k = 0; k < 19; k++)
        mm_free(needed[k]);
    CHECK_EQ(list_of(8192).low_water, 11);
    fill_stock(&i);
    CHECK_EQ(list_of(8192).length, 30);
    mm_free(blocks[i++]);
    CHECK_EQ(list_of(8192).length, 24);
    CHECK_EQ(list_of(8192).low_water, 24);
    CHECK_EQ(list_of(8192).max_length, most - 16);
    CHECK_TRUE(mm_check());

    while (i < 200)
        mm_free(blocks[i++]);
    while (n_others < 200)
        mm_free(others[n_others++]);
}

TEST(two_batches_are_not_too_many,
     "a list that may hold two batches may still do so when there was too much"
     " in stock")
{
    static void *others[36];
    size_t i = 0;
    allocate(blocks, 200, 32768);
    for (size_t k = 0; k < 36; k++)
        others[k] = mm_malloc(8192);
    CHECK_EQ(list_of(8192).max_length, 16);
    for (size_t k = 0; k < 10; k++)
        mm_free(others[k]);
    fill_stock(&i);
    mm_free(blocks[i++]);
    mm_free(blocks[i++]);
    CHECK_EQ(list_of(8192).length, 5);
    CHECK_EQ(list_of(8192).max_length, 16);
    while (i < 200)
        mm_free(blocks[i++]);
    for (size_t k = 10; k < 36; k++)
        mm_free(others[k]);
}

// ---------------------------------------------------------------------------
// From thread to thread.

static void *free_and_allocate(void *unused)
{
    (void)unused;
    mm_free(blocks[0]);
    struct mcache_list list = list_of(1000);
    troubles += list.length != 1 || list_next(&list) != blocks[0];
    void *p = mm_malloc(1000);
    troubles += p != blocks[0];
    mm_free(p);
    return NULL;
}

TEST(who_frees_has_it_in_stock,
     "a block that a thread frees is in its own stock, whoever allocated it")
{
    allocate(blocks, 3, 1000);
    mm_free(blocks[1]);
    size_t length = list_of(1000).length;
    run_threads(1, free_and_allocate);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(list_of(1000).length, length);
    mm_free(blocks[2]);
}

// What a producer handed to a consumer.
enum { ON_THE_WAY = 1024, HANDED_OVER = 400000 };
static _Atomic(void *) handed[ON_THE_WAY];
static uint64_t held[4]; // bytes from the OS, after each quarter

static void *produce(void)
{
    uint64_t state = 1;
    for (size_t i = 0; i < HANDED_OVER; i++) {
        _Atomic(void *) *slot = &handed[i % ON_THE_WAY];
        while (atomic_load(slot) != NULL)
            sched_yield();
        atomic_store(slot, mm_malloc(1 + random_below(&state, 1024)));
        if ((i + 1) % (HANDED_OVER / 4) == 0)
            held[i / (HANDED_OVER / 4)] = stats().bytes_from_os;
    }
    return NULL;
}

static void *consume(void)
{
    for (size_t i = 0; i < HANDED_OVER; i++) {
        _Atomic(void *) *slot = &handed[i % ON_THE_WAY];
        void *p;
        while ((p = atomic_exchange(slot, NULL)) == NULL)
            sched_yield();
        mm_free(p);
        troubles += bytes_in_stock() > LIMIT;
    }
    return NULL;
}

static void *produce_or_consume(void *number)
{
    return number == NULL ? produce() : consume();
}

TEST(nobody_hoards,
     "a thread that frees all that another allocates does not keep it: after"
     " 100,000 blocks, the next 300,000 need no more memory")
{
    run_threads(2, produce_or_consume);
    CHECK_EQ(troubles, 0);
    CHECK_TRUE(held[0] != 0);
    CHECK_LE(held[3], held[0] + (1 << 20));
    CHECK_LE(held[3], 8 << 20); // of 200 MiB that were handed over
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

// ---------------------------------------------------------------------------
// The end of a thread, and before its beginning.

TEST(nothing_in_stock_before_the_first_call,
     "a thread has no cache before its first call, and has one then")
{
    CHECK_NULL(mcache_mine());
    CHECK_TRUE(!mcache_flush());
    CHECK_TRUE(mcache_check());
    void *p = mm_malloc(10);
    CHECK_NOT_NULL(mcache_mine());
    CHECK_EQ(bytes_in_stock(), 0);
    mm_free(p);
    CHECK_EQ(bytes_in_stock(), 16);
    CHECK_TRUE(mcache_flush());
    CHECK_EQ(bytes_in_stock(), 0);
    CHECK_TRUE(!mcache_flush());
    CHECK_EQ(spans_in_use(), 0);
}

TEST(flush_gives_all_classes_back,
     "after a flush there is nothing in stock, of any class")
{
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++)
        blocks[c - 2] = mm_malloc(class_size(c));
    release(blocks, NUM_SIZE_CLASSES - 2);
    CHECK_EQ(spans_in_use(), NUM_SIZE_CLASSES - 2);
    CHECK_TRUE(mcache_flush());
    for (unsigned c = 0; c < NUM_SIZE_CLASSES; c++)
        CHECK_EQ(mcache_mine()->lists[c].length, 0);
    CHECK_EQ(spans_in_use(), 0);
}

enum { SHARE = 500 }; // of the blocks of the main thread, for each thread

static void *end_with_stock(void *number)
{
    size_t first = (uintptr_t)number * SHARE;
    uint64_t state = first + 1;
    void *mine[200];
    for (size_t i = 0; i < 200; i++)
        mine[i] = mm_malloc(random_below(&state, 5000));
    for (size_t i = 0; i < SHARE; i++)
        mm_free(blocks[first + i]);
    for (size_t i = 0; i < 200; i++)
        mm_free(mine[i]);
    troubles += bytes_in_stock() == 0;
    return NULL;
}

TEST(a_thread_that_ends_leaves_nothing,
     "when a thread ends, all it has in stock goes back, and empty spans to the"
     " page heap")
{
    uint64_t state = 1;
    for (size_t i = 0; i < 8 * SHARE; i++)
        blocks[i] = mm_malloc(random_below(&state, 2000));
    mcache_flush();
    CHECK_GE(spans_in_use(), 100);
    run_threads(8, end_with_stock);
    CHECK_EQ(troubles, 0);
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
    mm_free(mm_malloc((uintptr_t)number * 100));
    return NULL;
}

TEST(threads_that_come_and_go_need_nothing,
     "the struct of the cache of a thread that ended is used again: after eight"
     " threads at once, 2,000 need no more metadata")
{
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 8), 0);
    run_threads(8, be_there_together);
    struct mm_stats before = stats();
    for (size_t i = 0; i < 1000; i++)
        run_threads(2, come_and_go);
    struct mm_stats after = stats();
    CHECK_EQ(after.bytes_of_metadata, before.bytes_of_metadata);
    CHECK_EQ(after.bytes_from_os, before.bytes_from_os);
    CHECK_EQ(spans_in_use(), 0);
}

// A destructor that asks for another round, until its thread has no cache.
static pthread_key_t last_key;
static atomic_size_t rounds_without;

static void allocate_at_the_end(void *block)
{
    void *p = mm_malloc(100);
    memset(p, 0xEE, 100);
    mm_free(block);
    mm_free(mm_malloc(100000));
    if (mcache_mine() != NULL)
        pthread_setspecific(last_key, p);
    else {
        rounds_without++;
        mm_free(p);
    }
}

static void *end_with_destructor(void *unused)
{
    (void)unused;
    pthread_setspecific(last_key, mm_malloc(200));
    return NULL;
}

TEST(after_its_end_a_thread_does_without,
     "what a destructor allocates and frees after the cache of its thread went"
     " back comes from the central lists, and goes there")
{
    void *p = mm_malloc(1); // the key of the allocator is the earlier one
    CHECK_EQ(pthread_key_create(&last_key, allocate_at_the_end), 0);
    for (size_t i = 0; i < 10; i++)
        run_threads(4, end_with_destructor);
    CHECK_EQ(rounds_without, 40);
    mm_free(p);
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

// ---------------------------------------------------------------------------
// When memory is short.

TEST(the_stock_serves_a_large_block,
     "if the OS refuses memory for a large block, what the thread has in stock"
     " goes back and serves it; errno stays")
{
    // Four blocks in a page: almost all that the OS gave.
    allocate(blocks, 496, 2048);
    CHECK_EQ(spans_in_use(), 124);
    release(blocks, 496);
    allocate(blocks, 496, 2048); // so that the list may be as long as that
    release(blocks, 496);
    CHECK_GE(bytes_in_stock(), 1 << 15); // and all pages are needed
    os.fail_from = os.calls + 1;
    errno = 4711;
    void *p = mm_malloc(1 << 20);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(bytes_in_stock(), 0);
    CHECK_NULL(mm_malloc(1 << 20));
    CHECK_EQ(errno, ENOMEM);
    CHECK_NULL(mm_malloc(16));
    CHECK_EQ(errno, ENOMEM);
    CHECK_TRUE(mm_check());
    mm_free(p);
}

TEST(the_stock_serves_another_class,
     "if the OS refuses memory for a small block, blocks of other classes that"
     " the thread has in stock make room for it; errno stays, and a list for"
     " which there is nothing may not become longer")
{
    void *small = mm_malloc(2048);
    void *rest = mm_malloc(127 * PAGE_SIZE);
    mm_free(small);
    CHECK_EQ(bytes_in_stock(), 2048);
    os.fail_from = os.calls + 1;
    errno = 4711;
    void *p = mm_malloc(48);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    size_t most = list_of(2048).max_length;
    CHECK_NULL(mm_malloc(2048));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(list_of(2048).max_length, most);
    mm_free(p);
    mm_free(rest);
}

// work_without_memory allocates in a thread that can have no cache.
static void *work_without_memory(void *unused)
{
    (void)unused;
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < 100; i++) {
        char *p = mm_malloc(1000);
        troubles += p == NULL || mcache_mine() != NULL;
        troubles += mm_malloc((size_t)1 << 40) != NULL;
        mm_free(p);
    }
    return NULL;
}

TEST(threads_without_memory_for_a_cache,
     "threads for whose cache there is no memory can allocate and free, through"
     " the central lists, also when a large block fails")
{
    void *p = mm_malloc(1000);
    os.fail_from = os.calls + 1;
    lock_acquire(&mheap.lock);
    while (fixalloc_alloc(&mheap.spanalloc) != NULL)
        continue;
    lock_release(&mheap.lock);
    pthread_barrier_init(&barrier, NULL, 4);
    run_threads(4, work_without_memory);
    CHECK_EQ(troubles, 0);
    mm_free(p);
}

// ---------------------------------------------------------------------------
// Mistakes.

#define DOUBLE_FREE "mm: free(%p): double free (block %p, 1024 bytes)\n"

static void free_it(void *p)
{
    mm_free(p);
}

static void free_twice(void *p)
{
    mm_free(p);
    mm_free(p);
}

static void free_around(void *p)
{
    mm_free(p);
    mm_free(blocks[1]);
    mm_free(p);
}

static void free_after_flush(void *p)
{
    mm_free(p);
    mcache_flush();
    mm_free(p);
}

static void ask_size(void *p)
{
    mm_free(p);
    (void)mm_usable_size(p);
}

TEST(double_free_in_stock,
     "a block that is freed twice by its thread is reported: at once, after"
     " another, and after it went back to the central list")
{
    allocate(blocks, 3, 1000);
    void *p = blocks[0];
    CHECK_ABORTS(free_twice, p, DOUBLE_FREE, p, p);
    CHECK_ABORTS(free_around, p, DOUBLE_FREE, p, p);
    CHECK_ABORTS(free_after_flush, p, DOUBLE_FREE, p, p);
    CHECK_ABORTS(ask_size, p,
                 "mm: malloc_usable_size(%p): double free (block %p, 1024"
                 " bytes)\n",
                 p, p);
    release(blocks, 3);
    // Its span went back to the page heap.
    mcache_flush();
    CHECK_ABORTS(free_it, p, "mm: free(%p): double free\n", p);
}

static void *free_and_wait(void *p)
{
    mm_free(p);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

TEST(double_free_in_another_stock,
     "a block that another thread freed, and has in stock, is reported when it"
     " is freed again; also after that thread ended")
{
    pthread_t thread;
    allocate(blocks, 3, 1000);
    void *p = blocks[0];
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    CHECK_EQ(pthread_create(&thread, NULL, free_and_wait, p), 0);
    pthread_barrier_wait(&barrier);
    CHECK_ABORTS(free_it, p, DOUBLE_FREE, p, p);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_ABORTS(free_it, p, DOUBLE_FREE, p, p);
    mm_free(blocks[1]);
    mm_free(blocks[2]);
}
