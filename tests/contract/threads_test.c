// stages: 02-
// threads_test.c - several threads: at once, one after another, the first and
// the last calls of each.
//
// Threads note what goes wrong; the main thread checks it.

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "fresh.h"

// The first thing that went wrong in any thread; NULL: nothing.
static _Atomic(const char *) trouble;

static void note(const char *what)
{
    const char *none = NULL;
    atomic_compare_exchange_strong(&trouble, &none, what);
}

#define CHECK_NO_TROUBLE()                                                     \
    CHECK_THAT(atomic_load(&trouble) == NULL, "in a thread: %s",               \
               atomic_load(&trouble))

// run_threads runs n threads of body, with the numbers from 0 as arguments.
static void run_threads(size_t n, void *(*body)(void *))
{
    pthread_t threads[64];
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, body, (void *)i) != 0)
            abort();
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

// ---------------------------------------------------------------------------
// Blocks that say themselves what must be in them.

struct label {
    size_t size; // of the whole block
    uint64_t pattern;
    uint64_t sum; // of the two, so that a damaged label is noticed
};

// make_block returns a labelled block of at least sizeof(struct label) bytes.
static void *make_block(uint64_t *state, size_t most)
{
    size_t size = sizeof(struct label) + random_size(state, most);
    unsigned char *p = NULL;

    switch (random_below(state, 8)) {
    case 0:
        p = mm_calloc(1, size);
        if (p != NULL && !is_zero(p, size))
            note("calloc returned bytes that are not zero");
        break;
    case 1:
        p = mm_memalign(64, size);
        if ((uintptr_t)p % 64 != 0)
            note("memalign(64) returned another alignment");
        break;
    default:
        p = mm_malloc(size);
    }
    if (p == NULL || (uintptr_t)p % MM_ALIGNMENT != 0) {
        note("no block, or one that is not aligned");
        return NULL;
    }
    struct label label = {.size = size, .pattern = random_next(state)};
    label.sum = label.size + label.pattern;
    memcpy(p, &label, sizeof label);
    fill(p, sizeof label, size, label.pattern);
    return p;
}

// block_is_whole tells whether p holds what its label says.
static bool block_is_whole(const unsigned char *p)
{
    struct label label;
    memcpy(&label, p, sizeof label);
    if (label.sum != label.size + label.pattern ||
        label.size > mm_usable_size(p))
        return false;
    return first_wrong(p, sizeof label, label.size, label.pattern) ==
           label.size;
}

static void verify_and_free(void *p)
{
    if (p != NULL && !block_is_whole(p))
        note("a block does not hold what was written to it");
    else
        mm_free(p);
}

// verify_and_resize changes the size of block p, and returns it.
static void *verify_and_resize(void *p, uint64_t *state)
{
    if (p == NULL)
        return NULL;
    if (!block_is_whole(p)) {
        note("a block does not hold what was written to it");
        return NULL;
    }
    struct label label;
    memcpy(&label, p, sizeof label);
    size_t kept = label.size;
    label.size = sizeof label + random_size(state, 2 * kept);
    label.sum = label.size + label.pattern;
    p = mm_realloc(p, label.size);
    if (p == NULL) {
        note("realloc returned NULL");
        return NULL;
    }
    if (kept > label.size)
        kept = label.size;
    if (first_wrong(p, sizeof label, kept, label.pattern) != kept)
        note("realloc changed the contents");
    memcpy(p, &label, sizeof label);
    fill(p, kept, label.size, label.pattern);
    return p;
}

// ---------------------------------------------------------------------------
// At once.

// Any thread puts a block in a slot, and takes what was there.
enum { SLOTS = 512 };
static _Atomic(void *) slots[SLOTS];

static void empty_slots(void)
{
    for (size_t i = 0; i < SLOTS; i++)
        verify_and_free(atomic_exchange(&slots[i], NULL));
}

static uint64_t operations_each;

static void *exchange_blocks(void *number)
{
    uint64_t state = number_from("MM_SEED", 1) + (uintptr_t)number;
    for (uint64_t i = 0; i < operations_each; i++) {
        size_t slot = random_below(&state, SLOTS);
        void *p = make_block(&state, i % 100 == 0 ? 100000 : 500);
        p = atomic_exchange(&slots[slot], p);
        if (i % 8 == 0)
            p = verify_and_resize(p, &state);
        verify_and_free(p);
    }
    return NULL;
}

TEST(threads_exchange_blocks,
     "what one thread wrote to a block, the thread that frees it finds there")
{
    operations_each =
        number_from("MM_OPERATIONS", UNDER_TSAN ? 40000 : 200000) / 4;
    run_threads(4, exchange_blocks);
    CHECK_NO_TROUBLE();
    CHECK_TRUE(mm_check());
    empty_slots();
    CHECK_NO_TROUBLE();
}

static void *work_alone(void *number)
{
    void *p[64] = {0};
    uint64_t state = number_from("MM_SEED", 7) + (uintptr_t)number;
    for (uint64_t i = 0; i < operations_each; i++) {
        size_t k = random_below(&state, 64);
        verify_and_free(p[k]);
        p[k] = make_block(&state, 1000);
    }
    for (size_t k = 0; k < 64; k++)
        verify_and_free(p[k]);
    return NULL;
}

TEST(threads_work_alone,
     "threads that share nothing do not get in each other's way")
{
    operations_each =
        number_from("MM_OPERATIONS", UNDER_TSAN ? 40000 : 200000) / 4;
    run_threads(4, work_alone);
    CHECK_NO_TROUBLE();
}

// Four producers allocate, and each has a consumer that frees all of it. What
// is on its way lies in a ring.
enum { RINGS = 4, RING = 64 };
static _Atomic(void *) rings[RINGS][RING];

static void *produce_or_consume(void *number)
{
    size_t ring = (uintptr_t)number % RINGS;
    bool produces = (uintptr_t)number < RINGS;
    uint64_t state = number_from("MM_SEED", 11) + ring;
    for (uint64_t i = 0; i < operations_each; i++) {
        _Atomic(void *) *slot = &rings[ring][i % RING];
        while ((atomic_load(slot) == NULL) != produces)
            sched_yield();
        if (produces) {
            void *p = make_block(&state, i % 100 == 0 ? 100000 : 500);
            if (p == NULL)
                abort(); // the consumer would wait for ever
            atomic_store(slot, p);
        } else {
            verify_and_free(atomic_exchange(slot, NULL));
        }
    }
    return NULL;
}

TEST(producers_and_consumers,
     "four threads allocate what four others free: all of it arrives, and it"
     " needs no more memory the longer it takes")
{
    struct mm_stats half, whole;
    operations_each =
        number_from("MM_OPERATIONS", UNDER_TSAN ? 40000 : 400000) / 8;
    run_threads(2 * RINGS, produce_or_consume);
    mm_stats(&half);
    run_threads(2 * RINGS, produce_or_consume);
    mm_stats(&whole);
    CHECK_NO_TROUBLE();
    CHECK_LE(whole.bytes_from_os, half.bytes_from_os + (8 << 20));
    CHECK_TRUE(mm_check());
}

static void *look_inside(void *number)
{
    (void)number;
    for (int i = 0; i < 300; i++) {
        struct mm_stats stats;
        size_t items = 0;
        mm_stats(&stats);
        mm_walk(count_item, &items);
        if (!mm_check())
            note("mm_check found a broken invariant");
        if (stats.frees > stats.mallocs)
            note("mm_stats saw more frees than mallocs");
    }
    return NULL;
}

static void *work_or_look(void *number)
{
    return (uintptr_t)number < 2 ? work_alone(number) : look_inside(number);
}

TEST(eight_threads_work_alone,
     "eight threads, more than there may be processors, do not either")
{
    operations_each =
        number_from("MM_OPERATIONS", UNDER_TSAN ? 40000 : 200000) / 8;
    run_threads(8, work_alone);
    CHECK_NO_TROUBLE();
    CHECK_TRUE(mm_check());
}

TEST(looking_inside_while_others_work,
     "mm_walk, mm_check and mm_stats can be called while others allocate")
{
    operations_each = 5000;
    run_threads(3, work_or_look);
    CHECK_NO_TROUBLE();
}

// ---------------------------------------------------------------------------
// One after another.

// A thread that allocates, frees what the one before it left, and ends.
static void *leave_a_block(void *number)
{
    uint64_t state = 1 + (uintptr_t)number;
    void *mine = make_block(&state, 2000);
    verify_and_free(make_block(&state, 40000));
    verify_and_free(atomic_exchange(&slots[0], mine));
    return NULL;
}

TEST(blocks_outlive_their_thread,
     "a block stays whole after its thread ended, and any thread may free it")
{
    enum { N = 48 };
    for (int i = 0; i < SLOTS; i += N) {
        run_threads(N, leave_a_block);
        void *p = atomic_exchange(&slots[0], NULL);
        CHECK_NOT_NULL(p);
        atomic_store(&slots[i + 1], p); // freed much later
    }
    CHECK_NO_TROUBLE();
    CHECK_TRUE(mm_check());
    empty_slots();
    CHECK_NO_TROUBLE();
}

// A server thread replaces some of the blocks that the one before it left,
// starts its successor, and ends. (Larson and Krishnan)
enum { SERVERS = 8, SERVED = 40, GENERATIONS = UNDER_TSAN ? 20 : 100 };
static void *served[SERVERS][SERVED];
static pthread_t threads_of[SERVERS][GENERATIONS];

static void *serve(void *number)
{
    size_t server = (uintptr_t)number % SERVERS;
    size_t generation = (uintptr_t)number / SERVERS;
    uint64_t state = 1 + (uintptr_t)number;
    for (size_t i = 0; i < 4 * SERVED; i++) {
        void **slot = &served[server][random_below(&state, SERVED)];
        verify_and_free(*slot);
        *slot = make_block(&state, 1000);
    }
    if (++generation < GENERATIONS &&
        pthread_create(&threads_of[server][generation], NULL, serve,
                       (void *)((uintptr_t)number + SERVERS)) != 0)
        abort();
    return NULL;
}

TEST(threads_hand_blocks_on,
     "threads that hand their blocks to a successor and end lose none of them")
{
    for (size_t i = 0; i < SERVERS; i++)
        if (pthread_create(&threads_of[i][0], NULL, serve, (void *)i) != 0)
            abort();
    for (size_t i = 0; i < SERVERS; i++) {
        for (size_t g = 0; g < GENERATIONS; g++)
            pthread_join(threads_of[i][g], NULL);
        for (size_t k = 0; k < SERVED; k++)
            verify_and_free(served[i][k]);
    }
    CHECK_NO_TROUBLE();
    CHECK_TRUE(mm_check());
}

// resident_bytes returns how much memory the process really has.
static uint64_t resident_bytes(void)
{
    char text[128] = {0};
    unsigned long all = 0;
    unsigned long resident = 0;
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0 || sscanf(text, "%lu %lu", &all, &resident) != 2)
        return 0;
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void start_and_end(uint64_t n)
{
    for (uint64_t i = 0; i < n; i += 2)
        run_threads(2, leave_a_block);
}

TEST(many_threads_cost_nothing,
     "20,000 threads that come and go leave less than 1 MiB behind")
{
    // The sanitizers keep memory of their own for each thread there was.
    const bool sanitized = UNDER_TSAN || UNDER_ASAN;
    struct mm_stats before, after;

    start_and_end(500);
    mm_stats(&before);
    uint64_t resident_before = resident_bytes();
    start_and_end(sanitized ? 2000 : 20000);
    uint64_t resident_after = resident_bytes();
    mm_stats(&after);

    CHECK_NO_TROUBLE();
    CHECK_LE(after.bytes_from_os, before.bytes_from_os + (1 << 20));
    CHECK_TRUE(resident_before > 0);
    if (!sanitized)
        CHECK_LE(resident_after, resident_before + (1 << 20));
    empty_slots();
    CHECK_NO_TROUBLE();
}

// ---------------------------------------------------------------------------
// The last calls of a thread: destructors run after its body, in rounds, and
// perhaps after the allocator's own end of the thread.

enum { KEYS = 4, ROUNDS = 3 };
_Static_assert(ROUNDS < PTHREAD_DESTRUCTOR_ITERATIONS,
               "there must be one more");

static pthread_key_t keys[KEYS];
static _Atomic(uint64_t) destructor_calls;

// What the value of a key points to.
struct visit {
    size_t key;
    int round;
    void *other; // one more block
};

// start_visit gives the key a value, so that its destructor is called (again).
static void start_visit(size_t key, int round)
{
    static const size_t sizes[KEYS] = {24, 500, 9000, 200000};
    struct visit *v = mm_malloc(sizeof *v);
    void *other = mm_calloc(1, sizes[key]);
    if (v == NULL || other == NULL || !is_zero(other, sizes[key])) {
        note("no memory in a destructor");
        return;
    }
    memset(other, 0xEE, sizes[key]);
    *v = (struct visit){.key = key, .round = round, .other = other};
    pthread_setspecific(keys[key], v);
}

static void end_visit(void *value)
{
    struct visit v = *(struct visit *)value;
    atomic_fetch_add(&destructor_calls, 1);
    v.other = mm_realloc(v.other, 3000);
    mm_free(value);
    if (v.round < ROUNDS)
        start_visit(v.key, v.round + 1);
    mm_free(v.other);
}

static void *visit_keys(void *number)
{
    uint64_t state = 1 + (uintptr_t)number;
    if ((uintptr_t)number % 2 == 0) // or the first call is in a destructor
        verify_and_free(make_block(&state, 1000));
    for (size_t key = 0; key < KEYS; key++)
        start_visit(key, 1);
    return NULL;
}

TEST(destructors_allocate,
     "destructors of thread keys can allocate and free, round after round")
{
    enum { N = 16, TIMES = 10 };
    for (size_t i = 0; i < KEYS; i++)
        CHECK_EQ(pthread_key_create(&keys[i], end_visit), 0);
    for (int i = 0; i < TIMES; i++)
        run_threads(N, visit_keys);
    CHECK_NO_TROUBLE();
    CHECK_EQ(atomic_load(&destructor_calls), N * TIMES * KEYS * ROUNDS);
}

// A key made before the allocator was used has the earlier destructor.
static const char *first_call_in_destructor(void *arg)
{
    (void)arg;
    for (size_t i = 0; i < KEYS; i++)
        if (pthread_key_create(&keys[i], end_visit) != 0)
            return "no key";
    run_threads(4, visit_keys);
    if (atomic_load(&destructor_calls) != 4 * KEYS * ROUNDS)
        return "not all destructors were called";
    return mm_check() ? atomic_load(&trouble) : "mm_check failed";
}

TEST(destructors_of_earlier_keys_allocate,
     "destructors of keys from before the first malloc can allocate and free")
{
    CHECK_CHILD(in_fresh_process("first_call_in_destructor"));
}

// ---------------------------------------------------------------------------
// The first and the last calls of a process.

static pthread_barrier_t barrier;
static void *first_blocks[8];

static void *call_first(void *number)
{
    size_t i = (uintptr_t)number;
    pthread_barrier_wait(&barrier);
    first_blocks[i] = mm_malloc(1000 + i);
    if (first_blocks[i] == NULL)
        note("the first call returned NULL");
    else
        fill(first_blocks[i], 0, 1000 + i, i);
    return NULL;
}

static const char *first_calls_at_once(void *arg)
{
    enum { N = 4 };
    (void)arg;
    pthread_barrier_init(&barrier, NULL, N);
    run_threads(N, call_first);
    if (atomic_load(&trouble) != NULL)
        return atomic_load(&trouble);
    for (size_t i = 0; i < N; i++) {
        if (first_wrong(first_blocks[i], 0, 1000 + i, i) != 1000 + i)
            return "two threads got the same memory";
        mm_free(first_blocks[i]);
    }
    return mm_check() ? NULL : "mm_check found a broken invariant";
}

TEST(first_calls_at_once,
     "several threads may make the very first call at the same time")
{
    for (int i = 0; i < (UNDER_TSAN ? 10 : 50); i++)
        CHECK_CHILD(in_fresh_process("first_calls_at_once"));
}

// free_late is called by exit, while the other threads are still at work.
static void *late;

static void free_late(void)
{
    mm_free(late);
    late = mm_malloc(5000);
    if (late == NULL || !mm_check() || atomic_load(&trouble) != NULL)
        _exit(3);
    mm_free(late);
}

static const char *exit_while_working(void *arg)
{
    (void)arg;
    atexit(free_late);
    late = mm_malloc(100);
    operations_each = UINT64_MAX; // for ever
    for (size_t i = 0; i < 3; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, work_alone, (void *)i) != 0)
            return "no thread";
    }
    for (int i = 0; i < 1000; i++)
        mm_free(mm_malloc(100));
    exit(0);
}

TEST(exit_while_working,
     "a process can exit, and free in its handlers, while threads allocate")
{
    for (int i = 0; i < (UNDER_TSAN ? 5 : 20); i++)
        CHECK_CHILD(in_fresh_process("exit_while_working"));
}

static const struct fresh_body fresh_bodies[] = {
    {"first_call_in_destructor", first_call_in_destructor},
    {"first_calls_at_once", first_calls_at_once},
    {"exit_while_working", exit_while_working},
    {NULL, NULL},
};
