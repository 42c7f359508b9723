// stages: 06-07
//
// malloc.c: what mm_check says of the bytes that are taken: each is counted as
// in use, or a thread has it in stock.

#include "heap.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "child.h"
#include "free_objects.h"
#include "test.h"

static void check_all(void *unused)
{
    (void)unused;
    _exit(mm_check() ? 0 : 1);
}

// What mm_check says if it misses bytes, or has too many.
static const char wrong_sum[] =
    "mm: mm_check: broken: bytes_in_use is the sum of the used blocks\n";

// What a thread does that has a cache with nothing in it until it may end.
static atomic_int step; // 1: it has a cache; 2: it may end

static void *keep_a_cache(void *unused)
{
    void *p = mm_malloc(100);
    atomic_store(&step, 1);
    while (atomic_load(&step) != 2)
        sched_yield();
    mm_free(p);
    return unused;
}

TEST(every_byte_taken_is_counted_or_in_stock,
     "mm_check notices a byte that nobody has, if no other thread has a cache,"
     " and one that is counted but not taken, whoever has a cache")
{
    pthread_t thread;
    void *lost;
    unsigned sizeclass = size_class_of(5000);
    mm_free(mm_malloc(200)); // so that there is a cache, and something in it
    struct mcache *mine = (struct mcache *)(uintptr_t)mcache_mine();
    CHECK_TRUE(mm_check());
    CHECK_EQ(central_take(sizeclass, &lost, 1), 1);
    CHECK_COMPLAINS(check_all, NULL, wrong_sum);
    central_give(sizeclass, &lost, 1);
    mine->size -= 16;
    CHECK_COMPLAINS(check_all, NULL, wrong_sum);
    mine->size += 32;
    CHECK_COMPLAINS(check_all, NULL, wrong_sum);
    mine->size -= 16;
    CHECK_TRUE(mm_check());

    CHECK_EQ(pthread_create(&thread, NULL, keep_a_cache, NULL), 0);
    while (atomic_load(&step) != 1)
        sched_yield();
    CHECK_EQ(central_take(sizeclass, &lost, 1), 1);
    CHECK_TRUE(mm_check()); // that thread may have it
    central_give(sizeclass, &lost, 1);
    mine->size += 16;
    CHECK_COMPLAINS(check_all, NULL, wrong_sum);
    mine->size -= 16;
    CHECK_TRUE(mm_check());
    atomic_store(&step, 2);
    CHECK_EQ(pthread_join(thread, NULL), 0);

    CHECK_TRUE(mm_check());
    CHECK_EQ(central_take(sizeclass, &lost, 1), 1);
    CHECK_COMPLAINS(check_all, NULL, wrong_sum);
    central_give(sizeclass, &lost, 1);
}
