// stages: 01
//
// Every malloc moves the break, and nothing is written down about a block.

#include <errno.h>
#include <sys/resource.h>

#include "heap_shape.h"

TEST(blocks_are_adjacent,
     "a block begins where the one before ends, and the last ends at the break")
{
    static const size_t sizes[] = {1, 16, 17, 100, 4096, 15, 100000};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    char *end = move_break_to(16, 0);
    char *blocks[COUNT];

    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = mm_malloc(sizes[i]);
        CHECK_PTR_EQ(blocks[i], end);
        end += round_up(sizes[i], 16);
        CHECK_PTR_EQ(sbrk(0), end);
    }
    for (size_t i = 0; i < COUNT; i++)
        mm_free(blocks[i]);
}

TEST(a_malloc_is_one_system_call,
     "a malloc moves the break once, and by its own size only")
{
    enum { COUNT = 100 };
    char *blocks[COUNT];
    struct mm_stats before = {0};
    move_break_to(16, 0);
    counted(&before);

    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = mm_malloc(40);
    struct mm_stats used = counted(&before);
    CHECK_EQ(used.mallocs, COUNT);
    CHECK_EQ(used.sbrks, COUNT);
    CHECK_EQ(used.bytes_from_os, COUNT * 48);
    CHECK_EQ(used.bytes_in_use, COUNT * 48);
    for (size_t i = 0; i < COUNT; i++)
        mm_free(blocks[i]);
}

TEST(nothing_takes_sixteen_bytes,
     "two blocks of 0 bytes have different addresses, 16 bytes apart")
{
    char *p = mm_malloc(0);
    char *q = mm_malloc(0);
    CHECK_EQ(q - p, 16);
    mm_free(p);
    mm_free(q);
}

TEST(foreign_break_is_made_up_for,
     "wherever others leave the break, the next block is at a multiple of 16,"
     " as close as it can be, and their memory is left alone")
{
    for (size_t n = 0; n < 48; n++) {
        char *p = mm_malloc(32);
        char *foreign = sbrk((intptr_t)n);
        memset(foreign, 0x5A, n);
        char *q = mm_malloc(32);
        CHECK_EQ(q - p, 32 + round_up(n, 16));
        memset(p, 0, 32);
        memset(q, 0, 32);
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(foreign[i], 0x5A);
        mm_free(p);
        mm_free(q);
    }
}

TEST(free_changes_nothing,
     "free leaves the break and the block alone, and its memory is not used"
     " again")
{
    char *p = mm_malloc(1000);
    memset(p, 0x5A, 1000);
    struct mm_stats before = {0};
    counted(&before);
    char *old_break = sbrk(0);

    mm_free(p);
    CHECK_PTR_EQ(sbrk(0), old_break);
    for (size_t i = 0; i < 1000; i++)
        CHECK_EQ(p[i], 0x5A);
    struct mm_stats freed = counted(&before);
    CHECK_EQ(freed.frees, 1);
    CHECK_EQ(freed.sbrks, 0);
    CHECK_EQ(freed.bytes_in_use, 0);

    char *q = mm_malloc(1000);
    CHECK_PTR_EQ(q, old_break);
    mm_free(q);
}

TEST(realloc_copies_up_to_the_break,
     "realloc does not know where the block ends, so what lies above it is"
     " copied, too")
{
    char *p = mm_malloc(16);
    char *q = mm_malloc(16);
    memset(p, 1, 16);
    memset(q, 2, 16);

    char *r = mm_realloc(p, 64);
    CHECK_PTR_EQ(r, q + 16);
    for (size_t i = 0; i < 64; i++)
        CHECK_EQ(r[i], i < 16 ? 1 : i < 32 ? 2 : 0); // 0: new from the OS
    mm_free(q);
    mm_free(r);
}

TEST(realloc_always_moves,
     "realloc cannot tell whether the block is large enough, so it moves even"
     " to a smaller one")
{
    char *p = mm_malloc(64);
    memset(p, 1, 64);
    char *q = mm_realloc(p, 8);
    CHECK_PTR_EQ(q, p + 64);
    for (size_t i = 0; i < 8; i++)
        CHECK_EQ(q[i], 1);
    struct mm_stats stats;
    mm_stats(&stats);
    CHECK_EQ(stats.bytes_in_use, 64 + 16);
    mm_free(q);
}

TEST(padding_of_an_aligned_block_is_lost,
     "what lies below an aligned block is never handed out")
{
    char *low = move_break_to(4096, 16);
    char *p = mm_aligned_alloc(4096, 10);
    CHECK_PTR_EQ(p, low + 4096 - 16);
    char *q = mm_malloc(16);
    CHECK_PTR_EQ(q, p + 16);

    struct mm_stats stats;
    mm_stats(&stats);
    CHECK_EQ(stats.bytes_from_os, 4096 - 16 + 32);
    CHECK_EQ(stats.bytes_in_use, 32);
    mm_free(p);
    mm_free(q);
}

TEST(sizes_are_not_known,
     "the usable size is 0, of every block: nobody wrote it down")
{
    char *p = mm_malloc(100);
    CHECK_EQ(mm_usable_size(p), 0);
    mm_free(p);
}

TEST(walk_shows_one_region,
     "mm_walk shows the memory from the first block to the break, and no block")
{
    heap_read();
    CHECK_EQ(heap.n_regions, 0);

    char *p = mm_malloc(100);
    char *q = mm_malloc(100);
    heap_read();
    CHECK_EQ(heap.n_regions, 1);
    CHECK_EQ(heap.n, 0);
    CHECK_PTR_EQ(heap.region.addr, p);
    CHECK_PTR_EQ(item_end(&heap.region), sbrk(0));
    mm_free(p);
    mm_free(q);
}

TEST(refused_memory_changes_nothing,
     "a malloc that the OS refuses leaves the break and the sizes as they were")
{
    char *p = mm_malloc(16);
    char *old_break = sbrk(0);
    struct mm_stats before = {0};
    counted(&before);

    struct rlimit old_limit;
    getrlimit(RLIMIT_DATA, &old_limit);
    setrlimit(RLIMIT_DATA, &(struct rlimit){0, old_limit.rlim_max});
    errno = 0;
    void *q = mm_malloc(1 << 20);
    int error = errno;
    setrlimit(RLIMIT_DATA, &old_limit);

    CHECK_NULL(q);
    CHECK_EQ(error, ENOMEM);
    CHECK_PTR_EQ(sbrk(0), old_break);
    struct mm_stats refused = counted(&before);
    CHECK_EQ(refused.sbrks, 1);
    CHECK_EQ(refused.mallocs, 0);
    CHECK_EQ(refused.bytes_in_use, 0);
    CHECK_EQ(refused.bytes_from_os, 0);

    q = mm_malloc(16);
    CHECK_PTR_EQ(q, old_break);
    mm_free(p);
    mm_free(q);
}
