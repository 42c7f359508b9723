// stages: 01-
//
// lock.c: a lock knows its holder, its rank, and how often it was taken.

#include "lock.h"

#include <stdatomic.h>

#include "child.h"
#include "test.h"
#include "threads.h"

static struct lock low = LOCK_INIT("low", 0);
static struct lock middle = LOCK_INIT("middle", 1);
static struct lock high = LOCK_INIT("high", 63);

static void *ask_whose_low(void *result)
{
    *(bool *)result = lock_is_mine(&low);
    return NULL;
}

TEST(lock_knows_its_holder,
     "lock_is_mine holds for the thread that took the lock, while it has it")
{
    pthread_t thread;
    bool is_theirs = true;

    CHECK_TRUE(!lock_is_mine(&low));
    lock_acquire(&low);
    bool was_mine = lock_is_mine(&low);
    int error = pthread_create(&thread, NULL, ask_whose_low, &is_theirs);
    if (error == 0)
        pthread_join(thread, NULL);
    lock_release(&low);
    CHECK_EQ(error, 0);
    CHECK_TRUE(was_mine);
    CHECK_TRUE(!is_theirs);
    CHECK_TRUE(!lock_is_mine(&low));
}

TEST(taking_is_counted,
     "every time a lock is taken counts; waiting does only if it was needed")
{
    for (int i = 0; i < 10; i++) {
        lock_acquire(&low);
        lock_release(&low);
    }
    CHECK_EQ(low.taken, 10);
    CHECK_EQ(low.contended, 0);
    CHECK_EQ(middle.taken, 0);
}

// The number of the thread that is about to wait for low.
static _Atomic long waiter;

static void *wait_for_low(void *unused)
{
    (void)unused;
    atomic_store(&waiter, thread_number());
    lock_acquire(&low);
    lock_release(&low);
    return NULL;
}

TEST(waiting_is_counted,
     "a thread that finds the lock taken waits for it, and that is counted")
{
    pthread_t thread;

    lock_acquire(&low);
    int error = pthread_create(&thread, NULL, wait_for_low, NULL);
    while (error == 0 && atomic_load(&waiter) == 0)
        usleep(1000);
    if (error == 0)
        wait_until_sleeps(waiter);
    lock_release(&low);
    CHECK_EQ(error, 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(low.taken, 2);
    CHECK_EQ(low.contended, 1);
}

enum { THREADS = 4, ROUNDS = 10000 };
static unsigned long guarded_by_low;

static void *add_under_lock(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        lock_acquire(&low);
        guarded_by_low++;
        lock_release(&low);
    }
    return NULL;
}

TEST(one_thread_at_a_time,
     "while a thread holds the lock, no other does: no addition is lost")
{
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, add_under_lock, NULL), 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(guarded_by_low, THREADS * ROUNDS);
    CHECK_EQ(low.taken, THREADS * ROUNDS);
    CHECK_LE(low.contended, low.taken);
}

UNCHECKED static void take_twice(void *unused)
{
    (void)unused;
    lock_acquire(&low);
    lock_acquire(&low);
}

TEST(taking_twice_aborts,
     "a thread that asks for its own lock again is told so instead of waiting"
     " for ever")
{
    CHECK_ABORTS(take_twice, NULL,
                 "mm: lock low: its own thread asks for it again"
                 " (malloc in a signal handler?)\n");
}

// Takes the locks of the array in its order.
UNCHECKED static void take_all(void *locks)
{
    for (struct lock **l = locks; *l != NULL; l++)
        lock_acquire(*l);
}

// CHECK_BREAKS checks that body(argument) aborts on a condition in lock.c.
#define CHECK_BREAKS(body, argument, condition)                                \
    do {                                                                       \
        struct child child_ = child_run(body, argument);                       \
        CHECK_THAT(child_.signal == SIGABRT &&                                 \
                       strstr(child_.said, "lock.c:") != NULL &&               \
                       strstr(child_.said, condition) != NULL,                 \
                   "expected an abort in lock.c on \"%s\","                    \
                   " got signal %d after \"%s\"",                              \
                   condition, child_.signal, child_.said);                     \
    } while (0)

TEST(locks_are_taken_by_rising_rank,
     "a debug build aborts if a lock is taken after one of a higher rank, or of"
     " the same rank and not below it")
{
    static struct lock same[] = {LOCK_INIT("same 0", 1),
                                 LOCK_INIT("same 1", 1)};
    struct lock *rising[] = {&low, &middle, &high, NULL};
    struct lock *falling[] = {&middle, &low, NULL};
    struct lock *below_the_highest[] = {&high, &middle, NULL};
    struct lock *equal_rising[] = {&low, &same[0], &same[1], &high, NULL};
    struct lock *equal_falling[] = {&same[1], &same[0], NULL};

    CHECK_RETURNS(take_all, rising, "");
    CHECK_RETURNS(take_all, equal_rising, "");
    CHECK_BREAKS(take_all, falling, "in_order(held, l)");
    CHECK_BREAKS(take_all, below_the_highest, "in_order(held, l)");
    CHECK_BREAKS(take_all, equal_falling, "in_order(held, l)");
}

UNCHECKED static void give_back_out_of_order(void *unused)
{
    (void)unused;
    lock_acquire(&low);
    lock_acquire(&middle);
    lock_release(&low);
    lock_acquire(&high);
    lock_release(&high);
    lock_release(&middle);
    lock_acquire(&low);
}

TEST(order_holds_for_locks_that_are_held,
     "a lock given back no longer counts, in whatever order they are given"
     " back")
{
    CHECK_RETURNS(give_back_out_of_order, NULL, "");
}

UNCHECKED static void release_low(void *unused)
{
    (void)unused;
    lock_release(&low);
}

static void need_low(void *unused)
{
    (void)unused;
    assert_lock_held(&low);
}

static void take_and_need_low(void *unused)
{
    lock_acquire(&low);
    need_low(unused);
    lock_release(&low);
}

TEST(only_the_holder_may_act,
     "a debug build aborts if a lock is given back, or needed, that the thread"
     " does not hold")
{
    CHECK_BREAKS(release_low, NULL, "lock_is_mine(l)");
    CHECK_BREAKS(need_low, NULL, "lock_is_mine(l)");
    CHECK_RETURNS(take_and_need_low, NULL, "");
}
