// realloc_test.c - contents over realloc, across every border at which an
// allocator may keep blocks in another way.

#include "contract.h"

// The borders: the sizes at which common allocators change the class, the list
// or the source of a block. Each is tried one byte below, at, and above.
static const size_t small_borders[] = {
    16,   32,   48,   64,    80,    96,    112,   128,   144,   160,  176,
    192,  208,  224,  240,   256,   288,   320,   384,   480,   512,  640,
    768,  1024, 1152, 1280,  1536,  1792,  2048,  2688,  3072,  4096, 5376,
    6144, 8192, 9472, 10240, 12288, 16384, 20480, 24576, 27264, 32768};
static const size_t large_borders[] = {32768,  65536,   131072,  262144,
                                       524288, 1048576, 2097152, 4194304};
enum {
    N_SMALL = sizeof small_borders / sizeof small_borders[0],
    N_LARGE = sizeof large_borders / sizeof large_borders[0],
    MOST = 3 * N_SMALL
};

// around_borders stores border - 1, border, border + 1 for each of n borders
// in sizes, and returns how many they are.
static size_t around_borders(const size_t *borders, size_t n, size_t *sizes)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < 3; k++)
            sizes[3 * i + k] = borders[i] + k - 1;
    return 3 * n;
}

// resize gives the block p, filled with the pattern seed, another size, and
// checks what must be kept. The new block is filled as a whole.
static void *resize(void *p, size_t from, size_t to, uint64_t seed)
{
    unsigned char *q = mm_realloc(p, to);
    CHECK_THAT(q != NULL, "realloc from %zu to %zu bytes: got NULL", from, to);
    CHECK_ALIGNED(q, MM_ALIGNMENT);
    size_t kept = from < to ? from : to;
    size_t wrong = first_wrong(q, 0, kept, seed);
    CHECK_THAT(wrong == kept,
               "realloc from %zu to %zu bytes: expected the first %zu kept, "
               "got another byte %zu",
               from, to, kept, wrong);
    fill(q, from, to, seed);
    return q;
}

// walk_up_and_down resizes the block p from each of n sizes to the next, and
// back again, and frees it. With between, another block is made after each
// step, so that the next one cannot grow where it is.
static void walk_up_and_down(void *p, const size_t *sizes, size_t n,
                             bool between)
{
    void *other[2 * MOST] = {0};
    fill(p, 0, sizes[0], 5);
    size_t steps = 0;
    for (size_t i = 1; i < n; i++) {
        p = resize(p, sizes[i - 1], sizes[i], 5);
        if (between)
            other[steps++] = mm_malloc(24);
    }
    for (size_t i = n - 1; i > 0; i--) {
        p = resize(p, sizes[i], sizes[i - 1], 5);
        if (between)
            other[steps++] = mm_malloc(24);
    }
    CHECK_TRUE(mm_check());
    mm_free(p);
    while (steps > 0)
        mm_free(other[--steps]);
}

TEST(grows_and_shrinks_over_small_borders,
     "contents stay when a block grows and shrinks over each small border")
{
    size_t sizes[MOST];
    size_t n = around_borders(small_borders, N_SMALL, sizes);
    walk_up_and_down(mm_malloc(sizes[0]), sizes, n, false);
}

TEST(moves_over_small_borders, "contents stay when other blocks are in the way")
{
    size_t sizes[MOST];
    size_t n = around_borders(small_borders, N_SMALL, sizes);
    walk_up_and_down(mm_malloc(sizes[0]), sizes, n, true);
}

TEST(grows_and_shrinks_over_large_borders,
     "contents stay when a block grows and shrinks over each large border")
{
    size_t sizes[MOST];
    // Where nothing is reused, megabytes would add up.
    size_t borders = keeps_sizes() ? N_LARGE : N_LARGE - 3;
    size_t n = around_borders(large_borders, borders, sizes);
    walk_up_and_down(mm_malloc(sizes[0]), sizes, n, false);
    walk_up_and_down(mm_malloc(sizes[0]), sizes, n, true);
}

TEST(jumps_between_all_small_borders,
     "contents stay from any size to any other, also in calloc's blocks")
{
    for (size_t i = 0; i < N_SMALL; i++) {
        for (size_t j = 0; j < N_SMALL; j++) {
            size_t from = small_borders[i];
            size_t to = small_borders[j];
            unsigned char *p =
                (i + j) % 2 == 0 ? mm_malloc(from) : mm_calloc(from, 1);
            CHECK_NOT_NULL(p);
            fill(p, 0, from, i);
            mm_free(resize(p, from, to, i));
        }
    }
}

TEST(jumps_between_large_and_small,
     "contents stay from the largest sizes to the smallest, and back")
{
    static const size_t small[] = {1, 15, 16, 17, 100, 1024, 32768};

    for (size_t i = 0; i < N_LARGE; i++) {
        for (size_t j = 0; j < sizeof small / sizeof small[0]; j++) {
            size_t large = large_borders[i] + 1;
            if (!keeps_sizes() && large > 1 << 19)
                break;
            void *p = mm_malloc(large);
            CHECK_NOT_NULL(p);
            fill(p, 0, large, 7);
            p = resize(p, large, small[j], 7);
            p = resize(p, small[j], large, 7);
            mm_free(p);
        }
    }
}

TEST(resizes_aligned_blocks,
     "contents stay when an aligned block grows and shrinks over each border")
{
    size_t sizes[MOST];
    size_t n = around_borders(small_borders, N_SMALL, sizes);

    for (size_t align = 32; align <= 65536; align *= 2) {
        // A few borders each, so that all are met in the end.
        size_t every = keeps_sizes() ? 1 : 9;
        size_t some[MOST];
        size_t n_some = 0;
        for (size_t i = 0; i < n; i += every)
            some[n_some++] = sizes[i];
        void *p = mm_memalign(align, some[0]);
        CHECK_NOT_NULL(p);
        CHECK_ALIGNED(p, align);
        walk_up_and_down(p, some, n_some, align % 128 == 0);
    }
}

TEST(resizes_large_aligned_blocks,
     "contents stay when large aligned blocks change their size")
{
    for (size_t align = 64; align <= 1 << 20; align *= 8) {
        size_t sizes[] = {100, 40000, 200000, 1100000, 150000, 5000, 50};
        void *p = mm_memalign(align, sizes[0]);
        CHECK_NOT_NULL(p);
        CHECK_ALIGNED(p, align);
        fill(p, 0, sizes[0], 3);
        for (size_t i = 1; i < sizeof sizes / sizeof sizes[0]; i++)
            p = resize(p, sizes[i - 1], sizes[i], 3);
        mm_free(p);
    }
}

TEST(same_size_again, "realloc to the same size keeps the contents")
{
    for (size_t size = 1; size < 300000; size += size / 3 + 1) {
        void *p = mm_malloc(size);
        CHECK_NOT_NULL(p);
        fill(p, 0, size, size);
        for (int i = 0; i < 3; i++)
            p = resize(p, size, size, size);
        mm_free(p);
    }
}

TEST(grows_byte_by_byte, "a block that grows in the smallest steps stays whole")
{
    enum { LARGEST = 3000 };
    unsigned char *p = NULL;
    void *other = NULL;

    for (size_t size = 1; size <= LARGEST; size++) {
        p = mm_realloc(p, size);
        CHECK_NOT_NULL(p);
        p[size - 1] = pattern_byte(9, size - 1);
        if (size == 1000)
            other = mm_malloc(1); // from here on, something is above it
    }
    CHECK_PATTERN(p, LARGEST, 9);
    for (size_t size = LARGEST; size > 0; size--) {
        p = mm_realloc(p, size);
        CHECK_NOT_NULL(p);
        if (size % 100 == 0)
            CHECK_PATTERN(p, size, 9);
    }
    mm_free(p);
    mm_free(other);
}

TEST(leaves_neighbours_alone,
     "growing, shrinking and moving a block changes no other block")
{
    enum { N = 64 };
    unsigned char *p[N];
    size_t sizes[N];
    uint64_t state = 3;

    for (size_t i = 0; i < N; i++) {
        sizes[i] = 1 + random_size(&state, 3000);
        p[i] = mm_malloc(sizes[i]);
        CHECK_NOT_NULL(p[i]);
        fill(p[i], 0, sizes[i], i);
    }
    for (size_t round = 0; round < 2000; round++) {
        size_t i = random_below(&state, N);
        size_t to = 1 + random_size(&state, 3000);
        p[i] = resize(p[i], sizes[i], to, i);
        sizes[i] = to;
        if (round % 100 == 0)
            for (size_t k = 0; k < N; k++)
                CHECK_PATTERN(p[k], sizes[k], k);
    }
    for (size_t i = 0; i < N; i++) {
        CHECK_PATTERN(p[i], sizes[i], i);
        mm_free(p[i]);
    }
}
