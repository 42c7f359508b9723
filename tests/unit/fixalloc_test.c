// stages: 05-
//
// fixalloc.c: memory for the allocator's own structs.

#include "heap.h"

#include <string.h>

#include "os_memory.h"
#include "test.h"

struct thing {
    void *first;
    char rest[40];
};

static struct fixalloc things = {.size = sizeof(struct thing)};

static void *persistent(size_t size)
{
    lock_acquire(&mheap.lock);
    void *p = persistent_alloc(size);
    lock_release(&mheap.lock);
    return p;
}

static struct thing *new_thing(void)
{
    lock_acquire(&mheap.lock);
    struct thing *t = fixalloc_alloc(&things);
    lock_release(&mheap.lock);
    return t;
}

static void delete_thing(struct thing *t)
{
    lock_acquire(&mheap.lock);
    fixalloc_free(&things, t);
    lock_release(&mheap.lock);
}

static uint64_t bytes_of_metadata(void)
{
    struct mm_stats stats;
    mm_stats(&stats);
    return stats.bytes_of_metadata;
}

TEST(persistent_memory_is_zero_and_aligned,
     "pieces of persistent memory are all 0, aligned for every type, and apart")
{
    static const size_t sizes[] = {1, 7, 8, 16, 17, 100, 4096, 16384, 32768};
    enum { N = 200 };
    static char *p[N];
    for (size_t i = 0; i < N; i++) {
        size_t size = sizes[i % 9];
        p[i] = persistent(size);
        CHECK_NOT_NULL(p[i]);
        CHECK_ALIGNED(p[i], MM_ALIGNMENT);
        for (size_t k = 0; k < size; k++)
            CHECK_THAT(p[i][k] == 0, "byte %zu of %zu: %d", k, size, p[i][k]);
        memset(p[i], (int)(i + 1), size);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < sizes[i % 9]; k++)
            CHECK_THAT(p[i][k] == (char)(i + 1), "piece %zu, byte %zu", i, k);
}

TEST(many_pieces_cost_one_call,
     "the OS is asked once for many pieces, and not again before they are used"
     " up")
{
    CHECK_NOT_NULL(persistent(16));
    size_t chunk = os.last;
    CHECK_GE(chunk, 1 << 16);
    size_t calls = os.calls;
    for (size_t i = 1; i < (1 << 17) / 16; i++)
        CHECK_NOT_NULL(persistent(16));
    CHECK_EQ(os.calls, calls);
    CHECK_NOT_NULL(persistent(16));
    CHECK_GE(os.calls, calls + 1);
}

TEST(metadata_is_counted,
     "bytes_of_metadata counts what was handed out, rounded up to 16, and not"
     " what is used again")
{
    uint64_t before = bytes_of_metadata();
    CHECK_NOT_NULL(persistent(17));
    CHECK_EQ(bytes_of_metadata() - before, 32);
    struct thing *t = new_thing();
    CHECK_EQ(bytes_of_metadata() - before, 32 + sizeof *t);
    delete_thing(t);
    CHECK_PTR_EQ(new_thing(), t);
    CHECK_EQ(bytes_of_metadata() - before, 32 + sizeof *t);
}

TEST(freed_structs_are_used_first,
     "a freed struct is handed out again, the last one first, and only for its"
     " own type")
{
    enum { N = 50 };
    struct thing *t[N];
    for (size_t i = 0; i < N; i++) {
        t[i] = new_thing();
        CHECK_NOT_NULL(t[i]);
        memset(t[i], (int)i + 1, sizeof *t[i]);
    }
    for (size_t i = 0; i < N; i++)
        for (size_t k = 0; k < sizeof t[i]->rest; k++)
            CHECK_EQ(t[i]->rest[k], (int)i + 1);
    for (size_t i = 0; i < N; i++)
        delete_thing(t[i]);
    uint64_t before = bytes_of_metadata();
    const char *other = persistent(sizeof(struct thing));
    for (size_t i = 0; i < N; i++)
        CHECK_TRUE(other != (const char *)t[i]);
    CHECK_EQ(bytes_of_metadata() - before, sizeof(struct thing));
    for (size_t i = N; i > 0; i--)
        CHECK_PTR_EQ(new_thing(), t[i - 1]);
    CHECK_EQ(bytes_of_metadata() - before, sizeof(struct thing));
}

TEST(freed_structs_stay_readable,
     "a struct that was freed still holds what it did, but for its first word:"
     " a thread may be looking at it")
{
    struct thing *t = new_thing();
    memset(t, 0x5A, sizeof *t);
    delete_thing(t);
    for (size_t k = 0; k < sizeof t->rest; k++)
        CHECK_EQ(t->rest[k], 0x5A);
    CHECK_PTR_EQ(new_thing(), t);
}

TEST(a_refusal_returns_null,
     "when the OS refuses, there is no new struct, and errno says ENOMEM; freed"
     " ones are still handed out, and all is well when it does not refuse")
{
    static struct thing *t[1 << 14];
    size_t n = 0;
    os.fail_from = 2;
    t[n++] = new_thing();
    CHECK_NOT_NULL(t[0]);
    errno = 0;
    while ((t[n] = new_thing()) != NULL)
        n++;
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(n, (1 << 17) / sizeof(struct thing));
    uint64_t before = bytes_of_metadata();
    CHECK_NULL(persistent(1 << 15));
    CHECK_EQ(bytes_of_metadata(), before);
    delete_thing(t[5]);
    CHECK_PTR_EQ(new_thing(), t[5]);
    CHECK_NULL(new_thing());
    os.fail_from = SIZE_MAX;
    CHECK_NOT_NULL(new_thing());
}
