// stages: 08-
//
// spanset.c: a set of spans, which several threads use without a lock.

#include "heap.h"

#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "sanitizers.h"
#include "test.h"
#include "threads.h"

enum { ENTRIES = SPAN_SET_BLOCK_ENTRIES, THREADS = 4 };

static struct span_set set;

// check_set: the set is sound, and holds so many spans.
static void check_set(size_t length)
{
    CHECK_TRUE(span_set_check(&set));
    CHECK_EQ(span_set_length(&set), length);
}

// start_at makes the set one that so many spans went through, a multiple of
// ENTRIES.
static void start_at(uint32_t position)
{
    CHECK_EQ(position % ENTRIES, 0);
    set.index = (uint64_t)position << 32 | position;
    set.spine_len = position / ENTRIES;
}

// blocks_in_use counts the blocks of the set.
static size_t blocks_in_use(void)
{
    size_t n = 0;
    for (size_t i = 0; i < set.spine->capacity; i++)
        n += set.spine->blocks[i] != NULL;
    return n;
}

// What goes wrong in threads is counted.
static atomic_size_t troubles;
static _Atomic long waiters[2];
static struct mspan spans[2];

static void *push_one(void *number)
{
    size_t i = (uintptr_t)number;
    waiters[i] = thread_number();
    troubles += !span_set_push(&set, &spans[i]);
    return NULL;
}

TEST(two_pushes_need_one_block,
     "of two threads that find a block missing at the same time, one adds it")
{
    pthread_t threads[2];
    lock_acquire(&mheap.lock);
    for (size_t i = 0; i < 2; i++) {
        int error = pthread_create(&threads[i], NULL, push_one, (void *)i);
        if (error != 0)
            abort();
        while (waiters[i] == 0)
            ;
        wait_until_sleeps(waiters[i]); // for the lock
    }
    lock_release(&mheap.lock);
    for (size_t i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(set.spine_len, 1);
    CHECK_EQ(blocks_in_use(), 1);
    check_set(2);
    struct mspan *one = span_set_pop(&set), *other = span_set_pop(&set);
    CHECK_TRUE((one == &spans[0] && other == &spans[1]) ||
               (one == &spans[1] && other == &spans[0]));
    CHECK_NULL(span_set_pop(&set));
}

// What the threads push: each thing once. Its fields are not atomic: that it
// was pushed and popped must suffice for another thread to use it.
struct thing {
    _Alignas(16) uint32_t pusher;
    uint32_t number; // from 1 on, for each thread that pushes
    uint32_t times_popped;
};
static struct thing *things[THREADS];
static size_t n_things; // of each thread
static atomic_size_t n_pushing;
static pthread_barrier_t start;

struct load {
    const char *name;
    size_t push; // so many in a row; 0: up to 1500, as it comes
    size_t pop; // then so many
    size_t pushers; // the first of the threads; the others only pop
};

// What one thread does.
struct work {
    const struct load *load;
    size_t thread;
    size_t next; // of its things
    size_t popped;
    uint32_t last[THREADS]; // number of the last that it popped from each
};

static bool pop_thing(struct work *w)
{
    struct thing *t = (struct thing *)span_set_pop(&set);
    if (t == NULL)
        return false;
    // What one thread pushed in order is popped in order.
    troubles += t->number <= w->last[t->pusher];
    w->last[t->pusher] = t->number;
    t->times_popped++;
    w->popped++;
    return true;
}

static void push_thing(struct work *w)
{
    struct thing *t = &things[w->thread][w->next++];
    t->pusher = (uint32_t)w->thread;
    t->number = (uint32_t)w->next;
    troubles += !span_set_push(&set, (struct mspan *)t);
}

static void *do_work(void *work)
{
    struct work *w = work;
    bool pushes = w->thread < w->load->pushers;
    pthread_barrier_wait(&start);
    if (!pushes)
        while (n_pushing > 0 || span_set_length(&set) > 0)
            pop_thing(w);
    for (size_t round = 0; pushes && w->next < n_things; round++) {
        size_t any = (round * 397 + w->thread * 101) % 1500 + 1;
        size_t push = w->load->push == 0 ? any : w->load->push;
        size_t pop = w->load->push == 0 ? any : w->load->pop;
        while (push-- > 0 && w->next < n_things)
            push_thing(w);
        // An unfinished push may hide what is there; so it does not pile up.
        while (pop-- > 0)
            while (!pop_thing(w) && span_set_length(&set) > 0)
                sched_yield();
    }
    n_pushing -= pushes;
    return NULL;
}

// check_load lets four threads push things, each once, and pop them.
static void check_load(const struct load *load)
{
    static struct work work[THREADS + 1];
    pthread_t threads[THREADS];
    uint32_t first = -(uint32_t)(n_things / ENTRIES * ENTRIES);

    set = (struct span_set){0};
    start_at(first);
    n_pushing = load->pushers;
    for (size_t i = 0; i < THREADS; i++) {
        free(things[i]);
        things[i] = aligned_alloc(16, n_things * sizeof *things[i]);
        CHECK_NOT_NULL(things[i]);
        memset(things[i], 0, n_things * sizeof *things[i]);
        work[i] = (struct work){.load = load, .thread = i};
        CHECK_EQ(pthread_create(&threads[i], NULL, do_work, &work[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    check_set(span_set_length(&set));
    work[THREADS] = (struct work){.load = load};
    size_t left = 0, total = load->pushers * n_things;
    while (pop_thing(&work[THREADS]))
        left++;
    check_set(0);
    CHECK_EQ(troubles, 0);
    CHECK_EQ((uint32_t)set.index, first + (uint32_t)total); // its tail
    for (size_t i = 0; i < load->pushers; i++)
        for (size_t n = 0; n < n_things; n++)
            if (things[i][n].times_popped != 1)
                CHECK_THAT(false, "%s: thing %zu of thread %zu popped %u times",
                           load->name, n, i, things[i][n].times_popped);
    test_checks += total;
    fprintf(stderr, "%s: %zu pushed, %zu left, capacity %zu\n", load->name,
            total, left, (size_t)set.spine->capacity);
}

TEST(what_threads_push_is_popped_once,
     "of four million spans that four threads push and pop, none is lost, none"
     " comes twice, and those of one thread come in order: in a set that is"
     " nearly empty, one that grows, and one where 2^32 is passed")
{
    static const struct load loads[] = {
        {"nearly empty", 1, 1, 4}, {"two for two", 2, 2, 4},
        {"any number", 0, 0, 4},   {"growing", 3, 1, 4},
        {"one pushes", 1, 0, 1},   {"two push", 1, 0, 2},
        {"one pops", 1, 0, 3},
    };
    n_things = UNDER_TSAN ? 100 * ENTRIES : 1000000;
    CHECK_EQ(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (size_t i = 0; i < sizeof loads / sizeof loads[0]; i++)
        check_load(&loads[i]);
    for (size_t i = 0; i < THREADS; i++)
        free(things[i]);
}

static atomic_size_t total_popped;

static void *pop_until_empty(void *unused)
{
    size_t n = 0;
    pthread_barrier_wait(&start);
    while (span_set_pop(&set) != NULL)
        n++;
    troubles += span_set_length(&set) > 0; // then it was not empty before
    total_popped += n;
    return unused;
}

TEST(what_is_there_is_found,
     "as long as nobody pushes, a pop comes back without a span only if there"
     " is none, however many threads pop")
{
    pthread_t threads[THREADS];
    size_t n = UNDER_TSAN ? 100 * ENTRIES : 1000000;
    CHECK_EQ(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (size_t i = 0; i < n; i++)
        CHECK_TRUE(span_set_push(&set, &spans[0]));
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, pop_until_empty, NULL), 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(total_popped, n);
    check_set(0);
}

static atomic_bool stop;

static void *pop_nothing(void *unused)
{
    pthread_barrier_wait(&start);
    while (!stop)
        troubles += span_set_pop(&set) != NULL;
    return unused;
}

TEST(a_pop_may_look_while_the_spine_grows,
     "a thread that looks for the first span while others push so many that the"
     " spine is replaced finds an old spine or a whole one")
{
    pthread_t thread;
    CHECK_EQ(pthread_barrier_init(&start, NULL, 2), 0);
    for (size_t i = 0; i < ENTRIES; i++)
        CHECK_TRUE(span_set_push(&set, &spans[0]));
    // Its first entry looks as if its push were under way.
    _Atomic(struct mspan *) *first = &set.spine->blocks[0]->spans[0];
    *first = NULL;
    CHECK_EQ(pthread_create(&thread, NULL, pop_nothing, NULL), 0);
    pthread_barrier_wait(&start);
    for (size_t i = 0; i < 512 * ENTRIES; i++)
        troubles += !span_set_push(&set, &spans[0]);
    stop = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(set.spine->capacity, 1024);
    *first = &spans[0];
    check_set(513 * ENTRIES);
    for (size_t i = 0; i < 513 * ENTRIES; i++)
        CHECK_PTR_EQ(span_set_pop(&set), &spans[0]);
    check_set(0);
}

// What goes around: a thread that has popped one has it alone.
enum { TOKENS = 5 };
static struct token {
    _Alignas(16) size_t holder; // 0: none
    size_t times_held;
} tokens[TOKENS];
static size_t n_rounds;

static void push_tokens(void)
{
    start_at(-(uint32_t)(1000 * ENTRIES));
    for (size_t i = 0; i < TOKENS; i++)
        CHECK_TRUE(span_set_push(&set, (struct mspan *)&tokens[i]));
}

// check_tokens: the set has all tokens, and they were held so often.
static void check_tokens(size_t times_held)
{
    CHECK_EQ(troubles, 0);
    check_set(TOKENS);
    size_t held = 0;
    for (size_t i = 0; i < TOKENS; i++) {
        CHECK_NOT_NULL(span_set_pop(&set));
        held += tokens[i].times_held;
    }
    CHECK_EQ(held, times_held);
    check_set(0);
}

// hand_on pops a token, holds it for a moment, and pushes it. Returns false if
// there is none.
static bool hand_on(size_t me)
{
    struct token *t = (struct token *)span_set_pop(&set);
    if (t == NULL)
        return false;
    troubles += t->holder != 0;
    t->holder = me;
    t->times_held++;
    troubles += t->holder != me;
    t->holder = 0;
    troubles += !span_set_push(&set, (struct mspan *)t);
    return true;
}

static void *hand_around(void *number)
{
    pthread_barrier_wait(&start);
    for (size_t held = 0; held < n_rounds;)
        held += hand_on((uintptr_t)number + 1);
    return NULL;
}

TEST(a_popped_span_has_one_holder,
     "five spans go around among four threads, a million times each thread: no"
     " two have the same one, and none is lost")
{
    pthread_t threads[THREADS];
    n_rounds = UNDER_TSAN ? 50000 : 1000000;
    push_tokens();
    CHECK_EQ(pthread_barrier_init(&start, NULL, THREADS), 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, hand_around, (void *)i), 0);
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
    CHECK_EQ(set.spine->capacity, 256);
    check_tokens(THREADS * n_rounds);
}

// A signal makes a thread stand still, wherever it is.
static atomic_bool stands_still, may_go_on;

static void stand_still(int signal)
{
    (void)signal;
    may_go_on = false;
    stands_still = true;
    while (!may_go_on)
        sched_yield();
    stands_still = false;
}

static void *hand_on_until_stopped(void *times)
{
    while (!stop)
        *(size_t *)times += hand_on(1);
    return NULL;
}

// entries_behind counts the spans behind head: pops are not done with them.
static size_t entries_behind(void)
{
    size_t n = 0, ahead = span_set_length(&set);
    for (size_t i = 0; i < set.spine->capacity; i++) {
        struct span_set_block *block = set.spine->blocks[i];
        for (size_t k = 0; block != NULL && k < ENTRIES; k++)
            n += block->spans[k] != NULL;
    }
    return n > ahead ? n - ahead : 0;
}

TEST(a_thread_may_stand_still_anywhere,
     "while a thread stands still in the middle of a push or of a pop, another"
     " goes on, around the whole ring, and nothing is lost when the first one"
     " moves again")
{
    enum { TRIES = 5000, ENOUGH = 3 };
    pthread_t thread;
    size_t in_pop = 0, in_push = 0, theirs = 0, mine = 0;

    signal(SIGUSR1, stand_still);
    push_tokens();
    CHECK_EQ(pthread_create(&thread, NULL, hand_on_until_stopped, &theirs), 0);
    for (size_t i = 0; i < TRIES && (in_pop < ENOUGH || in_push < ENOUGH);
         i++) {
        pthread_kill(thread, SIGUSR1);
        while (!stands_still)
            sched_yield();
        // With the lock, it would be waited for.
        if (pthread_mutex_trylock(&mheap.lock.mutex) == 0) {
            pthread_mutex_unlock(&mheap.lock.mutex);
            bool is_in_pop = entries_behind() > 0;
            size_t n = is_in_pop ? 256 * ENTRIES : 10; // to its place
            while (n > 0 && hand_on(2))
                mine++, n--;
            in_pop += is_in_pop && n == 0;
            in_push += n > 0; // it hides what was pushed behind it
        }
        may_go_on = true;
        while (stands_still)
            sched_yield();
    }
    stop = true;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    fprintf(stderr, "stood still %zu times in a pop, %zu in a push\n", in_pop,
            in_push);
    CHECK_EQ(set.spine->capacity, 256);
    check_tokens(theirs + mine);
    CHECK_GE(in_pop, ENOUGH);
    CHECK_GE(in_push, ENOUGH);
}
