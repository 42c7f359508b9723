// stages: 02-
//
// mm_api.c: when realloc stays, and what it does when it cannot move. What all
// functions promise is in tests/contract.

#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "sanitizers.h"
#include "test.h"

TEST(realloc_stays_while_half_is_used,
     "a block stays where it is if it is large enough, and at least half of it"
     " is used")
{
    char *p = mm_malloc(1024);
    size_t usable = mm_usable_size(p);
    CHECK_GE(usable, 1024);
    for (size_t size = usable; size >= usable / 2; size--) {
        CHECK_PTR_EQ(mm_realloc(p, size), p);
        CHECK_EQ(mm_usable_size(p), usable);
    }
    mm_free(p);
}

TEST(realloc_leaves_a_block_too_large,
     "a block that is mostly unused is exchanged for a smaller one with the"
     " same contents")
{
    char *p = mm_malloc(1024);
    void *above = mm_malloc(1024); // a place to move to is needed
    char contents[511];
    memset(contents, 0x5A, sizeof contents);
    memcpy(p, contents, sizeof contents);

    size_t usable = mm_usable_size(p);
    char *q = mm_realloc(p, sizeof contents);
    CHECK_THAT(mm_usable_size(q) < usable, "expected less than %zu, got %zu",
               usable, mm_usable_size(q));
    CHECK_GE(mm_usable_size(q), sizeof contents);
    CHECK_TRUE(memcmp(q, contents, sizeof contents) == 0);
    mm_free(q);
    mm_free(above);
}

TEST(shrinking_cannot_fail,
     "where there is no memory for a smaller block, realloc returns the old"
     " one, which is large enough, and keeps errno")
{
    if (UNDER_TSAN)
        SKIP("ThreadSanitizer needs memory itself");
    // Some stages can shorten a block, but not to one of another kind.
    enum { LARGE = 1 << 20, SMALLER = 20000, MOST = 1000 };
    char *p = mm_malloc(LARGE);
    memset(p, 0x5A, SMALLER);
    void *others[MOST];
    size_t n = 0;

    // Neither the break moves now, nor is anything mapped.
    struct rlimit data, space;
    getrlimit(RLIMIT_DATA, &data);
    getrlimit(RLIMIT_AS, &space);
    setrlimit(RLIMIT_DATA, &(struct rlimit){0, data.rlim_max});
    setrlimit(RLIMIT_AS, &(struct rlimit){0, space.rlim_max});
    while (n < MOST && (others[n] = mm_malloc(SMALLER)) != NULL)
        n++;
    errno = 4711;
    char *q = mm_realloc(p, SMALLER);
    int error = errno;
    setrlimit(RLIMIT_DATA, &data);
    setrlimit(RLIMIT_AS, &space);

    CHECK_LE(n, MOST - 1);
    CHECK_PTR_EQ(q, p);
    CHECK_EQ(error, 4711);
    CHECK_GE(mm_usable_size(q), LARGE);
    for (size_t i = 0; i < SMALLER; i++)
        CHECK_EQ(q[i], 0x5A);
    mm_free(q);
    for (size_t i = 0; i < n; i++)
        mm_free(others[i]);
}

TEST(small_alignments_cost_nothing,
     "an alignment that every block has is not asked of the stage: one block is"
     " as good as another")
{
    struct mm_stats before, after;
    void *blocks[6] = {0};
    mm_stats(&before);
    blocks[0] = mm_aligned_alloc(1, 100);
    blocks[1] = mm_aligned_alloc(16, 100);
    blocks[2] = mm_memalign(0, 100);
    blocks[3] = mm_memalign(9, 100);
    CHECK_EQ(mm_posix_memalign(&blocks[4], sizeof(void *), 100), 0);
    blocks[5] = mm_malloc(100);
    mm_stats(&after);
    CHECK_EQ(after.mallocs - before.mallocs, 6);
    for (size_t i = 0; i < 6; i++) {
        CHECK_ALIGNED(blocks[i], 16);
        CHECK_EQ(mm_usable_size(blocks[i]), mm_usable_size(blocks[5]));
    }
    CHECK_GE(mm_usable_size(blocks[5]), 100);
    CHECK_EQ(after.bytes_in_use - before.bytes_in_use,
             6 * mm_usable_size(blocks[5]));
    for (size_t i = 0; i < 6; i++)
        mm_free(blocks[i]);
}
