// stages: 02-
// size_test.c - mm_usable_size, and what follows from knowing sizes.

#include "contract.h"

// next_size leads from 0 up in growing steps, to odd sizes, too.
static size_t next_size(size_t size)
{
    return size + size / 7 + 1;
}

TEST(usable_size_is_enough, "a block is usable for as many bytes as asked for")
{
    for (size_t size = 0; size <= 5000000; size = next_size(size)) {
        void *p = mm_malloc(size);
        CHECK_NOT_NULL(p);
        CHECK_THAT(mm_usable_size(p) >= size, "malloc(%zu): usable size is %zu",
                   size, mm_usable_size(p));
        mm_free(p);
    }
}

TEST(usable_size_of_aligned_blocks,
     "all usable bytes of an aligned block can be written, which are enough")
{
    for (size_t align = 16; align <= 1 << 20; align *= 4) {
        for (size_t size = 0; size <= 20000; size = next_size(size)) {
            void *p = mm_memalign(align, size);
            CHECK_NOT_NULL(p);
            CHECK_THAT(mm_usable_size(p) >= size,
                       "memalign(%zu, %zu): usable size is %zu", align, size,
                       mm_usable_size(p));
            memset(p, 0xEE, mm_usable_size(p));
            mm_free(p);
        }
        CHECK_TRUE(mm_check());
    }
}

TEST(usable_size_of_whole_pages, "pvalloc(0) is usable for a page")
{
    if (is_c_library())
        SKIP("glibc 2.36 rounds 0 to no page");
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = mm_pvalloc(0);
    void *q = mm_pvalloc(page + 1);
    CHECK_GE(mm_usable_size(p), page);
    CHECK_GE(mm_usable_size(q), 2 * page);
    mm_free(p);
    mm_free(q);
}

TEST(every_usable_byte_can_be_written,
     "writing all usable bytes changes no other block and nothing in the heap")
{
    enum { N = 500 };
    static unsigned char *p[N];
    static size_t usable[N];
    uint64_t state = 1;

    for (size_t i = 0; i < N; i++) {
        size_t size = random_size(&state, i % 50 == 0 ? 300000 : 2000);
        p[i] = i % 4 == 0 ? mm_memalign(64, size) : mm_malloc(size);
        CHECK_NOT_NULL(p[i]);
        usable[i] = mm_usable_size(p[i]);
        CHECK_GE(usable[i], size);
        fill(p[i], 0, usable[i], i);
        if (i % 3 == 2) { // a gap for others
            mm_free(p[i - 1]);
            p[i - 1] = NULL;
        }
    }
    CHECK_TRUE(mm_check());
    for (size_t i = 0; i < N; i++) {
        if (p[i] == NULL)
            continue;
        CHECK_EQ(mm_usable_size(p[i]), usable[i]);
        CHECK_PATTERN(p[i], usable[i], i);
        mm_free(p[i]);
    }
}

TEST(usable_size_is_constant,
     "a block's usable size stays, whatever happens to the blocks around it")
{
    unsigned char *p[9];
    enum { N = sizeof p / sizeof p[0] };
    size_t usable[N];

    for (size_t size = 8; size < 100000; size *= 3) {
        for (int i = 0; i < N; i++) {
            p[i] = mm_malloc(size);
            usable[i] = mm_usable_size(p[i]);
            CHECK_GE(usable[i], size);
        }
        for (int i = 0; i < N; i += 2) // both neighbours of every other one
            mm_free(p[i]);
        void *q = mm_malloc(size / 2 + 1);
        mm_release(0);
        for (int i = 1; i < N; i += 2) {
            CHECK_EQ(mm_usable_size(p[i]), usable[i]);
            memset(p[i], 0xEE, usable[i]);
            CHECK_EQ(mm_usable_size(p[i]), usable[i]);
        }
        CHECK_TRUE(mm_check());
        for (int i = 1; i < N; i += 2)
            mm_free(p[i]);
        mm_free(q);
    }
}

TEST(calloc_zeroes_up_to_usable_size,
     "calloc clears memory that was used before up to its usable size")
{
    uint64_t dirty = 0;

    for (size_t size = 0; size <= 300000; size = next_size(size)) {
        unsigned char *p = mm_malloc(size);
        void *above = mm_malloc(1); // keeps p from going back to the OS
        CHECK_NOT_NULL(p);
        memset(p, 0xEE, mm_usable_size(p));
        mm_free(p);
        unsigned char *q = mm_calloc(1, size);
        CHECK_NOT_NULL(q);
        dirty += q == p;
        CHECK_THAT(is_zero(q, mm_usable_size(q)),
                   "calloc(1, %zu): not all of its %zu bytes are 0", size,
                   mm_usable_size(q));
        mm_free(q);
        mm_free(above);
    }
    CHECK_THAT(dirty > 0 || is_c_library(),
               "expected some memory to be used again, got fresh memory only");
}

TEST(calloc_zeroes_a_split_block,
     "calloc clears memory that was part of a larger block, and its links")
{
    unsigned char *p = mm_malloc(100000);
    void *above = mm_malloc(100); // keeps it from going back to the OS
    memset(p, 0xEE, mm_usable_size(p));
    mm_free(p);
    for (int i = 0; i < 200; i++) {
        unsigned char *q = mm_calloc(10, 30);
        CHECK_NOT_NULL(q);
        CHECK_GE(mm_usable_size(q), 300);
        CHECK_TRUE(is_zero(q, mm_usable_size(q)));
        memset(q, 0xEE, mm_usable_size(q));
        unsigned char *r = mm_calloc(10, 40);
        CHECK_TRUE(is_zero(r, mm_usable_size(r)));
        memset(r, 0xEE, mm_usable_size(r));
        mm_free(q);
        mm_free(r);
    }
    mm_free(above);
}

TEST(realloc_within_usable_size,
     "growing a block within its usable size keeps its contents")
{
    for (size_t size = 0; size <= 50000; size = next_size(size)) {
        void *p = mm_malloc(size);
        CHECK_NOT_NULL(p);
        size_t usable = mm_usable_size(p);
        CHECK_GE(usable, 1);
        fill(p, 0, size, 4);
        void *q = mm_realloc(p, usable);
        CHECK_NOT_NULL(q);
        CHECK_PATTERN(q, size, 4);
        CHECK_GE(mm_usable_size(q), usable);
        mm_free(q);
    }
}

TEST(free_memory_is_used_again,
     "allocating and freeing for ever takes no more from the OS")
{
    // Any stage may keep a block of each size for itself, but not one a round.
    enum { ROUNDS = 2000 };
    struct mm_stats before, after;

    for (int round = 0; round <= ROUNDS; round++) {
        if (round == ROUNDS / 10)
            mm_stats(&before);
        void *p[] = {mm_malloc(100), mm_malloc(5000), mm_memalign(64, 1000),
                     mm_malloc(70000)};
        for (size_t i = 0; i < sizeof p / sizeof p[0]; i++) {
            CHECK_NOT_NULL(p[i]);
            mm_free(p[i]);
        }
    }
    mm_stats(&after);
    CHECK_EQ(after.bytes_from_os_peak, before.bytes_from_os_peak);
}
