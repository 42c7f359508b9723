// stages: 10-
//
// malloc.c: large blocks that change their size where they are, and memory that
// calloc need not clear.

#include "heap.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "blocks.h"
#include "os_memory.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

// mark writes a number into every KiB of a block, is_marked reads them.
static void mark(char *p, size_t from, size_t size)
{
    for (size_t i = from; i + sizeof i <= size; i += KIB)
        memcpy(p + i, &i, sizeof i);
}

static bool is_marked(const char *p, size_t size)
{
    bool same = true;
    for (size_t i = 0; i + sizeof i <= size; i += KIB)
        same &= memcmp(p + i, &i, sizeof i) == 0;
    return same;
}

static bool is_zero(const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0)
            return false;
    return true;
}

// dirty allocates a block and fills it, but does not keep it.
static void dirty(size_t size)
{
    char *p = mm_malloc(size);
    CHECK_NOT_NULL(p);
    memset(p, 0xAA, size);
    mm_free(p);
}

// check_block checks size and address of the only block there is.
static void check_block(char *p, const char *start, size_t size)
{
    CHECK_PTR_EQ(p, start);
    CHECK_EQ(mm_usable_size(p), round_up(size, PAGE_SIZE));
    CHECK_EQ(stats().bytes_in_use, mm_usable_size(p));
    CHECK_PTR_EQ(span_of(p + size - 1), span_of(p));
    // No block begins further in.
    size_t slot = 1;
    CHECK_TRUE(mspan_find(span_of(p), p, &slot) && slot == 0);
    for (size_t i = PAGE_SIZE; i <= mm_usable_size(p); i += PAGE_SIZE)
        CHECK_TRUE(!mspan_find(span_of(p), p + i, &slot));
}

// ---------------------------------------------------------------------------
// realloc.

TEST(a_block_grows_where_it_is,
     "a block that grows to 64 MiB by 64 KiB at a time is never copied, keeps"
     " its contents, and is as large as its pages")
{
    enum { STEP = 1 << 16 };
    if (UNDER_TSAN)
        SKIP("ThreadSanitizer forbids the addresses of a heap in one piece");
    char *start = mm_malloc(STEP), *p = start;
    mark(p, 0, STEP);
    struct mm_stats before = stats();
    for (size_t size = STEP; size < 64 * MIB; size += STEP) {
        p = mm_realloc(p, size + STEP);
        check_block(p, start, size + STEP);
        mark(p, size, size + STEP);
    }
    CHECK_TRUE(is_marked(p, 64 * MIB));
    CHECK_EQ(stats().mallocs, before.mallocs);
    CHECK_EQ(stats().frees, before.frees);
    CHECK_EQ(stats().span_allocs, before.span_allocs);
    CHECK_EQ(stats().bytes_in_use_peak, 64 * MIB);
    // 4 MiB at a time, of one arena, or two.
    CHECK_LE(stats().mprotects - before.mprotects, 16);
    CHECK_LE(stats().mmaps - before.mmaps, 4);
    CHECK_TRUE(mm_check());
    mm_free(p);
    CHECK_EQ(stats().bytes_in_use, 0);
}

TEST(
    a_block_shrinks_where_it_is,
    "a large block that becomes a smaller large one stays where it is, and what"
    " it gives up is free; one that becomes small moves")
{
    static const size_t sizes[] = {MIB,      400 * KIB + 1, 150 * KIB,
                                   72 * KIB, 32 * KIB + 1,  32 * KIB};
    enum { N = sizeof sizes / sizeof *sizes };
    char *start = mm_malloc(3 * MIB), *p = start;
    mark(p, 0, 3 * MIB);
    size_t free_before = free_pages();
    for (size_t i = 0; i < N - 1; i++) {
        errno = 4711;
        p = mm_realloc(p, sizes[i]);
        CHECK_EQ(errno, 4711);
        check_block(p, start, sizes[i]);
        CHECK_TRUE(is_marked(p, sizes[i]));
        CHECK_EQ(free_pages() + mm_usable_size(p), free_before + 3 * MIB);
        CHECK_NULL(span_of(p + mm_usable_size(p)));
        CHECK_TRUE(mm_check());
        // It stays as it is while half of it is used.
        CHECK_PTR_EQ(mm_realloc(p, (sizes[i] + 1) / 2 + PAGE_SIZE), p);
        CHECK_EQ(mm_usable_size(p), round_up(sizes[i], PAGE_SIZE));
    }
    CHECK_EQ(stats().mallocs, 1);
    p = mm_realloc(p, sizes[N - 1] / 2);
    CHECK_EQ(mm_usable_size(p), sizes[N - 1] / 2);
    CHECK_TRUE(p != start && is_marked(p, sizes[N - 1] / 2));
    CHECK_EQ(stats().mallocs, 2);
    CHECK_EQ(stats().frees, 1);
    mm_free(p);
}

TEST(
    a_block_with_another_above_moves,
    "where another block is in the way, a block that grows is copied; when that"
    " is freed, it grows where it is")
{
    char *p = mm_malloc(100 * KIB), *wall = mm_malloc(100 * KIB);
    mark(p, 0, 100 * KIB);
    memset(wall, 0x55, 100 * KIB);
    char *q = mm_realloc(p, 120 * KIB);
    CHECK_TRUE(q != p);
    CHECK_TRUE(is_marked(q, 100 * KIB));
    CHECK_NULL(span_of(p));
    for (size_t i = 0; i < 100 * KIB; i++)
        CHECK_THAT(wall[i] == 0x55, "byte %zu has changed", i);
    p = mm_malloc(100 * KIB);
    CHECK_TRUE(p < wall);
    mark(p, 0, 100 * KIB);
    mm_free(wall);
    CHECK_PTR_EQ(mm_realloc(p, 190 * KIB), p);
    CHECK_TRUE(is_marked(p, 100 * KIB));
    CHECK_EQ(mm_usable_size(p), 192 * KIB);
    CHECK_TRUE(mm_check());
    mm_free(p);
    mm_free(q);
}

TEST(a_block_cannot_grow_forever,
     "what is too large is refused, by the OS or before, with ENOMEM: the block"
     " stays as it is")
{
    static const size_t sizes[] = {
        (size_t)PTRDIFF_MAX + 1, PTRDIFF_MAX,     SIZE_MAX,
        SIZE_MAX - PAGE_SIZE,    (size_t)1 << 47, (size_t)1 << 46};
    char *start = mm_malloc(100 * KIB), *p = start;
    mark(p, 0, 100 * KIB);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        errno = 0;
        CHECK_NULL(mm_realloc(p, sizes[i]));
        CHECK_EQ(errno, ENOMEM);
        check_block(p, start, 100 * KIB);
    }
    // Here the OS gives nothing at all.
    os.fail_from = os.calls + 1;
    errno = 0;
    CHECK_NULL(mm_realloc(p, 50 * MIB));
    CHECK_EQ(errno, ENOMEM);
    check_block(p, start, 100 * KIB);
    errno = 4711;
    CHECK_PTR_EQ(mm_realloc(p, 3 * MIB), p); // there are as many free pages
    CHECK_EQ(errno, 4711);
    CHECK_TRUE(is_marked(p, 100 * KIB));
    mm_free(p);
}

TEST(a_resized_block_keeps_its_kind,
     "a noscan block that grows or shrinks in place is noscan still, and one at"
     " a multiple is at that")
{
    char *p = mm_malloc_noscan(100 * KIB);
    spanclass class = span_of(p)->spanclass;
    CHECK_PTR_EQ(mm_realloc(p, 300 * KIB), p);
    CHECK_EQ(span_of(p)->spanclass, class);
    CHECK_PTR_EQ(mm_realloc(p, 50 * KIB), p);
    CHECK_EQ(span_of(p)->spanclass, class);
    mm_free(p);
    char *q = mm_memalign(MIB, 100 * KIB);
    CHECK_PTR_EQ(mm_realloc(q, 300 * KIB), q);
    CHECK_ALIGNED(q, MIB);
    mm_free(q);
}

TEST(a_small_block_does_not_change_in_place,
     "mm_resize refuses small blocks, and sizes that a small block has; then"
     " nothing has changed")
{
    char *small = mm_malloc(100), *large = mm_malloc(100 * KIB);
    struct mm_stats before = stats();
    CHECK_TRUE(!mm_resize(small, 200));
    CHECK_TRUE(!mm_resize(small, 100 * KIB));
    CHECK_TRUE(!mm_resize(large, MAX_SMALL_SIZE));
    CHECK_TRUE(!mm_resize(large, 1));
    CHECK_TRUE(!mm_resize(large, SIZE_MAX));
    CHECK_EQ(mm_usable_size(small), 112);
    CHECK_EQ(mm_usable_size(large), 104 * KIB);
    CHECK_EQ(stats().bytes_in_use, before.bytes_in_use);
    CHECK_TRUE(mm_resize(large, MAX_SMALL_SIZE + 1));
    CHECK_EQ(mm_usable_size(large), 40 * KIB);
    mm_free(small);
    mm_free(large);
}

// ---------------------------------------------------------------------------
// calloc.

// resident returns how many OS pages of a block take memory of the machine.
static size_t resident(char *p, size_t size)
{
    enum { OS_PAGE = 4096, MOST = 1 << 14 };
    static unsigned char in_core[MOST];
    size_t n = 0;
    CHECK_LE(size / OS_PAGE, MOST);
    CHECK_EQ(mincore(p, size, in_core), 0);
    for (size_t i = 0; i < size / OS_PAGE; i++)
        n += in_core[i] & 1;
    return n;
}

TEST(fresh_memory_is_not_touched,
     "calloc of 16 MiB of fresh memory touches none of it, and it is zero")
{
    if (UNDER_TSAN)
        SKIP("where the heap goes on below, fresh pages may be cleared");
    char *used = mm_malloc(40 * KIB), *fresh[3];
    memset(used, 0xAA, 40 * KIB);
    for (size_t i = 0; i < 3; i++) {
        fresh[i] = mm_calloc(4, 4 * MIB);
        CHECK_NOT_NULL(fresh[i]);
        CHECK_EQ(resident(fresh[i], 16 * MIB), 0);
        CHECK_TRUE(is_zero(fresh[i], 16 * MIB));
    }
    CHECK_TRUE(resident(used, 40 * KIB) > 0);
    memset(fresh[1], 0xAA, 16 * MIB);
    CHECK_TRUE(resident(fresh[1], 16 * MIB) > 0);
    mm_free(fresh[1]);
    fresh[1] = mm_calloc(4, 4 * MIB);
    CHECK_TRUE(is_zero(fresh[1], 16 * MIB));
    mm_free(used);
    for (size_t i = 0; i < 3; i++)
        mm_free(fresh[i]);
}

TEST(used_memory_is_cleared,
     "calloc clears what was used before: all of the block, and if only a part"
     " of it was used, that, too; a block is known to be fresh only once")
{
    char *first = mm_malloc(40 * KIB);
    CHECK_TRUE(mm_is_zero(first) || UNDER_TSAN);
    mm_free(first);
    first = mm_malloc(40 * KIB);
    CHECK_TRUE(!mm_is_zero(first));
    mm_free(first);
    for (size_t size = 40 * KIB; size <= 8 * MIB; size *= 3) {
        dirty(size);
        char *p = mm_calloc(1, size);
        CHECK_TRUE(is_zero(p, mm_usable_size(p)));
        memset(p, 0xAA, mm_usable_size(p));
        mm_free(p);
        // Twice as much: the upper half is fresh.
        p = mm_calloc(2, size);
        CHECK_TRUE(is_zero(p, mm_usable_size(p)));
        mm_free(p);
    }
}

TEST(what_a_block_grew_over_is_cleared,
     "pages that a block grew over, or gave up, are no longer fresh: calloc"
     " clears them")
{
    // Over fresh pages.
    char *p = mm_malloc(64 * KIB);
    CHECK_PTR_EQ(mm_realloc(p, 2 * MIB), p);
    memset(p, 0xAA, 2 * MIB);
    mm_free(p);
    char *q = mm_calloc(1, 2 * MIB);
    CHECK_PTR_EQ(q, p);
    CHECK_TRUE(is_zero(q, 2 * MIB));
    mm_free(q);

    // What it gave up.
    p = mm_malloc(3 * MIB);
    memset(p, 0xAA, 3 * MIB);
    CHECK_PTR_EQ(mm_realloc(p, 700 * KIB), p);
    q = mm_calloc(1, 2 * MIB);
    CHECK_PTR_EQ(q, p + round_up(700 * KIB, PAGE_SIZE));
    CHECK_TRUE(is_zero(q, 2 * MIB));
    mm_free(q);

    // Grown again, and freed: all of it may be dirty.
    memset(p, 0xAA, 700 * KIB);
    CHECK_PTR_EQ(mm_realloc(p, 3 * MIB), p);
    CHECK_TRUE(is_zero(p + MIB, MIB)); // so it was left by calloc
    memset(p, 0xAA, 3 * MIB);
    mm_free(p);
    p = mm_calloc(3, MIB);
    CHECK_TRUE(is_zero(p, 3 * MIB));
    mm_free(p);
}

TEST(
    only_fresh_memory_is_said_to_be_zero,
    "mm_is_zero is true for a large block of fresh pages, and false when a page"
    " was used, and for every small block")
{
    char *p = mm_malloc(100 * KIB);
    CHECK_TRUE(mm_is_zero(p));
    CHECK_TRUE(is_zero(p, mm_usable_size(p)));
    char *q = mm_malloc(100 * KIB);
    CHECK_TRUE(mm_is_zero(q));
    mm_free(p);
    p = mm_malloc(40 * KIB);
    CHECK_TRUE(!mm_is_zero(p));
    mm_free(p);
    mm_free(q);
    p = mm_malloc(300 * KIB); // 200 of them were used
    CHECK_TRUE(!mm_is_zero(p));
    for (size_t size = 16; size <= MAX_SMALL_SIZE; size *= 2) {
        q = mm_malloc(size);
        CHECK_TRUE(!mm_is_zero(q));
        mm_free(q);
    }
    mm_free(p);
}

TEST(random_blocks_are_zero,
     "whatever was allocated, resized and freed before, a block of calloc is"
     " zero; some are known to be so")
{
    enum { SLOTS = 12, TIMES = UNDER_TSAN ? 500 : 3000 };
    static char *blocks[SLOTS];
    bool any_fresh = false;
    uint64_t seed = random_start();
    for (size_t i = 0; i < TIMES; i++) {
        char **slot = &blocks[random_below(&seed, SLOTS)];
        size_t size = 33 * KIB + random_below(&seed, i % 5 == 0 ? MIB : 99999);
        if (*slot == NULL) {
            *slot = mm_calloc(1, size);
            CHECK_TRUE(is_zero(*slot, mm_usable_size(*slot)));
            any_fresh |= mm_is_zero(*slot);
        } else if (i % 3 == 0) {
            *slot = mm_realloc(*slot, size);
        } else {
            mm_free(*slot);
            *slot = NULL;
            continue;
        }
        CHECK_NOT_NULL(*slot);
        memset(*slot, 0xAA, mm_usable_size(*slot));
    }
    CHECK_TRUE(any_fresh || UNDER_TSAN);
    for (size_t i = 0; i < SLOTS; i++)
        mm_free(blocks[i]);
}
