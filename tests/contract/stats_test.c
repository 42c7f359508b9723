// stats_test.c - the counters of mm_stats count what they say.

#include <sys/mman.h>

#include "contract.h"

// CHECK_SAME compares one counter before and after.
#define CHECK_SAME(counter) CHECK_EQ(after.counter, before.counter)

static void skip_without_counters(void)
{
    if (is_c_library())
        SKIP("the C library has no such counters");
}

TEST(counts_blocks, "mallocs and frees count the blocks, failures nothing")
{
    enum { N = 50 };
    struct mm_stats before, after;
    void *p[N];

    skip_without_counters();
    mm_stats(&before);
    for (size_t i = 0; i < N; i++) {
        p[i] = i % 3 == 0   ? mm_malloc(i)
               : i % 3 == 1 ? mm_calloc(i, 3)
                            : mm_memalign(64, i);
        CHECK_NULL(mm_malloc(SIZE_MAX - i));
        CHECK_NULL(mm_calloc(SIZE_MAX, 2));
        CHECK_NULL(mm_realloc(p[i], PTRDIFF_MAX));
        CHECK_NULL(mm_aligned_alloc(3, 100));
        mm_stats(&after);
        CHECK_EQ(after.mallocs - before.mallocs, i + 1);
        CHECK_SAME(frees);
    }
    for (size_t i = 0; i < N; i++) {
        mm_free(p[i]);
        mm_free(NULL);
        mm_stats(&after);
        CHECK_EQ(after.mallocs - before.mallocs, N);
        CHECK_EQ(after.frees - before.frees, i + 1);
    }
}

TEST(counts_realloc_as_one_block,
     "however realloc gets there, one more or fewer block is live at its end")
{
    static const size_t sizes[] = {1, 100, 50, 5000, 70000, 300000, 200, 200};

    skip_without_counters();
    uint64_t live = live_blocks();
    void *p = NULL;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        p = mm_realloc(p, sizes[i]);
        CHECK_NOT_NULL(p);
        CHECK_EQ(live_blocks(), live + 1);
    }
    CHECK_NULL(mm_realloc(p, 0));
    CHECK_EQ(live_blocks(), live);
}

// ---------------------------------------------------------------------------
// Bytes. A stage that keeps no sizes cannot count what was freed.

enum { BLOCKS = 200 };
static void *blocks[BLOCKS];

static size_t usable_in_all(void)
{
    size_t sum = 0;
    for (size_t i = 0; i < BLOCKS; i++)
        sum += mm_usable_size(blocks[i]);
    return sum;
}

// change_one allocates, resizes or frees one of the blocks.
static void change_one(uint64_t *state)
{
    size_t i = random_below(state, BLOCKS);
    size_t size = random_size(state, 5000);
    size_t kind = random_below(state, 4);

    if (blocks[i] == NULL && kind == 0)
        blocks[i] = mm_memalign((size_t)16 << random_below(state, 8), size);
    else if (blocks[i] == NULL)
        blocks[i] = mm_malloc(size);
    else if (kind == 0)
        blocks[i] = mm_realloc(blocks[i], size);
    else {
        mm_free(blocks[i]);
        blocks[i] = NULL;
    }
}

static void free_all(void)
{
    for (size_t i = 0; i < BLOCKS; i++) {
        mm_free(blocks[i]);
        blocks[i] = NULL;
    }
}

TEST(counts_bytes_in_use, "bytes_in_use is the usable size of all live blocks")
{
    struct mm_stats stats;
    uint64_t state = 31;
    uint64_t highest = 0;

    skip_without_counters();
    if (!keeps_sizes())
        SKIP("this stage keeps no sizes");
    mm_stats(&stats);
    uint64_t at_start = stats.bytes_in_use;
    for (int i = 0; i < 3000; i++) {
        change_one(&state);
        mm_stats(&stats);
        CHECK_EQ(stats.bytes_in_use - at_start, usable_in_all());
        CHECK_GE(stats.bytes_in_use_peak, stats.bytes_in_use);
        if (highest < stats.bytes_in_use)
            highest = stats.bytes_in_use;
    }
    // A realloc that moves has two blocks for a moment.
    CHECK_GE(stats.bytes_in_use_peak, highest);
    CHECK_LE(stats.bytes_in_use_peak, highest + 2 * 8192);
    free_all();
    mm_stats(&stats);
    CHECK_EQ(stats.bytes_in_use, at_start);
    CHECK_GE(stats.bytes_in_use_peak, highest);
}

TEST(counts_bytes_from_os, "bytes_from_os has room for all bytes in use")
{
    struct mm_stats stats;
    uint64_t state = 32;
    uint64_t peak = 0;

    skip_without_counters();
    for (int i = 0; i < 2000; i++) {
        change_one(&state);
        mm_stats(&stats);
        CHECK_GE(stats.bytes_from_os, stats.bytes_in_use);
        CHECK_GE(stats.bytes_from_os_peak, stats.bytes_from_os);
        CHECK_GE(stats.bytes_from_os_peak, peak);
        peak = stats.bytes_from_os_peak;
    }
    free_all();
}

TEST(bytes_from_os_follow_the_break,
     "while only the break is moved, bytes_from_os says by how much")
{
    enum { LARGE = 3 << 20 };
    struct mm_stats stats;

    skip_without_counters();
    mm_free(mm_malloc(1));
    mm_stats(&stats);
    if (stats.sbrks == 0)
        SKIP("this stage does not use the break");
    intptr_t start = (intptr_t)sbrk(0) - (intptr_t)stats.bytes_from_os;
    for (int round = 0; round < 3; round++) {
        void *p = mm_malloc(LARGE);
        void *q = mm_malloc(100);
        CHECK_NOT_NULL(p);
        for (int step = 0; step < 3; step++) {
            mm_stats(&stats);
            if (stats.mmaps == 0)
                CHECK_EQ((intptr_t)sbrk(0) - (intptr_t)stats.bytes_from_os,
                         start);
            if (step < 2)
                mm_free(step == 0 ? p : q);
        }
    }
}

TEST(counters_never_fall, "only the counters of levels ever fall")
{
    struct mm_stats before, after;
    uint64_t state = 33;

    skip_without_counters();
    mm_stats(&before);
    for (int i = 0; i < 2000; i++) {
        change_one(&state);
        mm_stats(&after);
        for (size_t k = 0; k < MM_STATS_COUNT; k++) {
            const char *name = mm_stats_names[k];
            if (strcmp(name, "bytes_in_use") == 0 ||
                strcmp(name, "bytes_from_os") == 0 ||
                strcmp(name, "bytes_of_metadata") == 0)
                continue;
            CHECK_THAT(mm_stats_value(&after, k) >= mm_stats_value(&before, k),
                       "%s fell from %llu to %llu", name,
                       (unsigned long long)mm_stats_value(&before, k),
                       (unsigned long long)mm_stats_value(&after, k));
        }
        before = after;
    }
    free_all();
}

TEST(names_are_in_order, "mm_stats_names are the fields of struct mm_stats")
{
    struct mm_stats stats = {
        .mallocs = 1, .bytes_from_os = 2, .nodes_visited = 3, .merges = 4};
    static const struct {
        const char *name;
        uint64_t value;
    } expected[] = {{"mallocs", 1},
                    {"bytes_from_os", 2},
                    {"nodes_visited", 3},
                    {"merges", 4}};

    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        uint64_t value = 0;
        for (size_t k = 0; k < MM_STATS_COUNT; k++)
            if (strcmp(mm_stats_names[k], expected[i].name) == 0)
                value = mm_stats_value(&stats, k);
        CHECK_THAT(value == expected[i].value, "%s: expected %d, got %d",
                   expected[i].name, (int)expected[i].value, (int)value);
    }
}

TEST(counts_locks, "a stage with locks counts how often they were taken")
{
    struct mm_stats before, after;

    skip_without_counters();
    if (!keeps_sizes())
        SKIP("this stage has no lock");
    mm_stats(&before);
    for (int i = 0; i < 1000; i++)
        mm_free(mm_malloc(100000));
    mm_stats(&after);
    CHECK_GE(after.locks_taken, before.locks_taken + 1);
    CHECK_SAME(locks_contended);
}

// ---------------------------------------------------------------------------
// The same calls give the same numbers, wherever in memory the heap is.

// Where each process leaves what it counted, for the test.
enum { PROCESSES = 4 };
static uint64_t (*counted)[MM_STATS_COUNT];

// same_calls makes some calls and stores by how much they changed the counters.
// It moves the heap up first, by another number of pages in each process.
static const char *same_calls(void *arg)
{
    size_t number = *(size_t *)arg;
    struct mm_stats before, after;
    uint64_t state = 34;

    sbrk((intptr_t)number * 5 * sysconf(_SC_PAGESIZE));
    mm_stats(&before);
    for (int i = 0; i < 5000; i++)
        change_one(&state);
    mm_stats(&after);
    for (size_t k = 0; k < MM_STATS_COUNT; k++)
        counted[number][k] =
            mm_stats_value(&after, k) - mm_stats_value(&before, k);
    free_all();
    return mm_check() ? NULL : "mm_check found a broken invariant";
}

TEST(same_calls_same_counts,
     "the same calls give the same counters in every process")
{
    size_t length = PROCESSES * sizeof *counted;

    counted = mmap(NULL, length, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK_TRUE(counted != MAP_FAILED);
    for (size_t i = 0; i < PROCESSES; i++)
        CHECK_CHILD(in_child(same_calls, &i));
    for (size_t i = 1; i < PROCESSES; i++)
        for (size_t k = 0; k < MM_STATS_COUNT; k++)
            CHECK_THAT(counted[i][k] == counted[0][k] ||
                           strcmp(mm_stats_names[k], "locks_contended") == 0,
                       "%s: expected %llu again, got %llu", mm_stats_names[k],
                       (unsigned long long)counted[0][k],
                       (unsigned long long)counted[i][k]);
    munmap(counted, length);
}
