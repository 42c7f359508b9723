// api_test.c - each function of the malloc family, with each of its errors.
//
// The larger part of the contract; contents over realloc are in realloc_test.c,
// sizes in size_test.c.

#include <stdint.h>

#include "contract.h"

// CHECK_FAILS checks that a call returns NULL and sets errno to error.
#define CHECK_FAILS(call, error)                                               \
    do {                                                                       \
        errno = 0;                                                             \
        CHECK_NULL(call);                                                      \
        CHECK_EQ(errno, error);                                                \
    } while (0)

// What stands in errno before a call that must leave it alone.
enum { UNTOUCHED = 4711 };

static size_t page_size(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

// ---------------------------------------------------------------------------
// malloc and free

TEST(malloc_zero_is_unique, "malloc(0) returns a block of its own every time")
{
    enum { N = 200 };
    void *p[N];

    for (int i = 0; i < N; i++) {
        p[i] = mm_malloc(0);
        CHECK_NOT_NULL(p[i]);
        CHECK_ALIGNED(p[i], MM_ALIGNMENT);
        for (int j = 0; j < i; j++)
            CHECK_THAT(p[i] != p[j], "malloc(0) %d and %d: both are %p", j, i,
                       p[i]);
    }
    for (int i = 0; i < N; i++)
        mm_free(p[i]);
}

TEST(malloc_aligns_small_sizes,
     "blocks start at a multiple of 16, whatever their size")
{
    enum { LARGEST = 4096 };
    static void *p[LARGEST + 1];

    for (size_t size = 0; size <= LARGEST; size++) {
        p[size] = mm_malloc(size);
        CHECK_NOT_NULL(p[size]);
        CHECK_THAT((uintptr_t)p[size] % MM_ALIGNMENT == 0,
                   "malloc(%zu): expected a multiple of 16, got %p", size,
                   p[size]);
    }
    for (size_t size = 0; size <= LARGEST; size++)
        mm_free(p[size]);
}

TEST(malloc_aligns_large_sizes,
     "blocks start at a multiple of 16 around every power of two")
{
    for (size_t power = 4096; power <= 1 << 24; power *= 2) {
        for (size_t size = power - 17; size <= power + 17; size++) {
            void *p = mm_malloc(size);
            CHECK_THAT(p != NULL && (uintptr_t)p % MM_ALIGNMENT == 0,
                       "malloc(%zu): expected a multiple of 16, got %p", size,
                       p);
            mm_free(p);
        }
        // 17 million bytes at a time would add up where nothing is reused.
        if (!keeps_sizes() && power == 1 << 20)
            break;
    }
}

TEST(malloc_gives_every_byte_asked_for,
     "all bytes of all live blocks can be written, and stay")
{
    enum { N = 600 };
    static unsigned char *p[N];
    static const size_t large[] = {5000, 32768, 100000, 131073, 300000};
    enum { LARGE = sizeof large / sizeof large[0] };

    for (size_t i = 0; i < N; i++) {
        size_t size = i < N - LARGE ? i : large[i - (N - LARGE)];
        p[i] = mm_malloc(size);
        CHECK_NOT_NULL(p[i]);
        fill(p[i], 0, size, i);
    }
    for (size_t i = 0; i < N; i++) {
        size_t size = i < N - LARGE ? i : large[i - (N - LARGE)];
        CHECK_PATTERN(p[i], size, i);
        mm_free(p[i]);
    }
}

TEST(malloc_above_ptrdiff_max_fails,
     "a size above PTRDIFF_MAX, from which pointers cannot be subtracted, is "
     "refused")
{
    CHECK_FAILS(mm_malloc((size_t)PTRDIFF_MAX + 1), ENOMEM);
    CHECK_FAILS(mm_malloc(SIZE_MAX / 4 * 3), ENOMEM);
    for (size_t k = 0; k <= 2 * page_size(); k++)
        CHECK_FAILS(mm_malloc(SIZE_MAX - k), ENOMEM);
}

TEST(malloc_near_ptrdiff_max_fails,
     "a size that only just may exist, but that no machine has, is refused")
{
    for (size_t k = 0; k <= 2 * page_size(); k++)
        CHECK_FAILS(mm_malloc((size_t)PTRDIFF_MAX - k), ENOMEM);
}

TEST(malloc_too_large_fails_after_free,
     "a size that overflows when rounded up does not get the block just freed")
{
    for (size_t k = 0; k <= 2 * page_size(); k++) {
        void *p = mm_malloc(24);
        CHECK_NOT_NULL(p);
        mm_free(p);
        CHECK_FAILS(mm_malloc(SIZE_MAX - k), ENOMEM);
    }
}

TEST(malloc_works_after_failure, "a refused request leaves the heap usable")
{
    void *before = mm_malloc(100);
    fill(before, 0, 100, 1);
    CHECK_FAILS(mm_malloc(SIZE_MAX), ENOMEM);
    CHECK_FAILS(mm_malloc(PTRDIFF_MAX), ENOMEM);
    void *after = mm_malloc(100);
    CHECK_NOT_NULL(after);
    fill(after, 0, 100, 2);
    CHECK_PATTERN(before, 100, 1);
    CHECK_TRUE(mm_check());
    mm_free(before);
    mm_free(after);
}

TEST(free_null_does_nothing, "free(NULL) is allowed and changes nothing")
{
    struct mm_stats before, after;
    mm_stats(&before);
    mm_free(NULL);
    mm_stats(&after);
    CHECK_EQ(after.frees, before.frees);
}

TEST(free_keeps_errno, "free leaves errno alone, whatever the block")
{
    static const size_t sizes[] = {0, 1, 100, 4096, 40000, 200000, 3000000};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *p = mm_malloc(sizes[i]);
        void *q = mm_memalign(256, sizes[i]);
        errno = UNTOUCHED;
        mm_free(p);
        mm_free(q);
        mm_free(NULL);
        CHECK_EQ(errno, UNTOUCHED);
    }
}

TEST(success_keeps_errno, "a call that succeeds leaves errno alone")
{
    static const size_t sizes[] = {0, 1, 100, 4096, 40000, 200000, 3000000};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t size = sizes[i];
        void *p[8] = {0};

        errno = UNTOUCHED;
        p[0] = mm_malloc(size);
        p[1] = mm_calloc(size, 2);
        p[2] = mm_realloc(NULL, size);
        p[2] = mm_realloc(p[2], 2 * size + 1); // grows
        p[2] = mm_realloc(p[2], size / 3 + 1); // shrinks
        p[3] = mm_reallocarray(NULL, size, 3);
        p[4] = mm_aligned_alloc(64, size);
        p[5] = mm_memalign(512, size);
        p[6] = mm_valloc(size);
        p[7] = mm_pvalloc(size);
        (void)mm_usable_size(p[0]);
        CHECK_EQ(errno, UNTOUCHED);

        for (int k = 0; k < 8; k++) {
            CHECK_THAT(p[k] != NULL, "call %d with %zu bytes: got NULL", k,
                       size);
            mm_free(p[k]);
        }
    }
}

// ---------------------------------------------------------------------------
// malloc_noscan

// noscan_alignment returns what such a block is a multiple of, at least.
static size_t noscan_alignment(size_t size)
{
    if (size >= MM_ALIGNMENT)
        return MM_ALIGNMENT;
    return size == 0       ? 1
           : size % 8 == 0 ? 8
           : size % 4 == 0 ? 4
           : size % 2 == 0 ? 2
                           : 1;
}

TEST(noscan_gives_every_byte_asked_for,
     "noscan blocks of all sizes have room for what was asked, lie apart, and"
     " are aligned as their size asks")
{
    enum { LARGEST = 2000, ROUNDS = 3 };
    static unsigned char *p[ROUNDS][LARGEST + 1];

    for (int round = 0; round < ROUNDS; round++) {
        for (size_t size = 0; size <= LARGEST; size++) {
            unsigned char *q = mm_malloc_noscan(size);
            CHECK_NOT_NULL(q);
            CHECK_ALIGNED(q, noscan_alignment(size));
            CHECK_TRUE(mm_usable_size(q) >= size || !keeps_sizes());
            fill(q, 0, room_of(q, size), size);
            p[round][size] = q;
        }
    }
    CHECK_TRUE(mm_check());
    for (size_t size = 0; size <= LARGEST; size++) // in another order
        for (int round = 0; round < ROUNDS; round++) {
            CHECK_PATTERN(p[round][size], room_of(p[round][size], size), size);
            mm_free(p[round][size]);
        }
}

TEST(noscan_zero_is_unique,
     "malloc_noscan(0) returns a block of its own every time")
{
    enum { N = 200 };
    void *p[N];

    for (int i = 0; i < N; i++) {
        p[i] = mm_malloc_noscan(0);
        CHECK_NOT_NULL(p[i]);
        for (int j = 0; j < i; j++)
            CHECK_TRUE(p[i] != p[j]);
    }
    for (int i = 0; i < N; i++)
        mm_free(p[i]);
}

TEST(noscan_fails_as_malloc,
     "a noscan block above PTRDIFF_MAX fails with ENOMEM; success leaves errno"
     " alone, and so does free")
{
    static const size_t sizes[] = {0, 1, 15, 16, 100, 40000, 3000000};

    CHECK_FAILS(mm_malloc_noscan((size_t)PTRDIFF_MAX + 1), ENOMEM);
    CHECK_FAILS(mm_malloc_noscan(SIZE_MAX), ENOMEM);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        errno = UNTOUCHED;
        void *p = mm_malloc_noscan(sizes[i]);
        CHECK_NOT_NULL(p);
        mm_free(p);
        CHECK_EQ(errno, UNTOUCHED);
    }
}

TEST(noscan_blocks_are_reallocated,
     "realloc of a noscan block keeps its contents, whatever the sizes")
{
    static const size_t sizes[] = {1, 3, 8, 15, 16, 17, 100, 5000, 70000};
    enum { N = sizeof sizes / sizeof sizes[0] };

    for (size_t i = 0; i < N; i++) {
        for (size_t j = 0; j < N; j++) {
            size_t kept = sizes[i] < sizes[j] ? sizes[i] : sizes[j];
            unsigned char *below = mm_malloc_noscan(3);
            unsigned char *p = mm_malloc_noscan(sizes[i]);
            unsigned char *above = mm_malloc_noscan(3);
            CHECK_TRUE(below != NULL && p != NULL && above != NULL);
            fill(below, 0, 3, 1);
            fill(p, 0, sizes[i], 2);
            fill(above, 0, 3, 3);
            p = mm_realloc(p, sizes[j]);
            CHECK_NOT_NULL(p);
            CHECK_PATTERN(p, kept, 2);
            fill(p, 0, sizes[j], 4);
            CHECK_PATTERN(below, 3, 1);
            CHECK_PATTERN(above, 3, 3);
            mm_free(below);
            CHECK_PATTERN(p, sizes[j], 4);
            mm_free(above);
            mm_free(p);
        }
    }
}

// ---------------------------------------------------------------------------
// calloc

// Products that do not fit into size_t; some of them wrap to a small number.
static const struct {
    const char *name;
    size_t n;
    size_t size;
} overflows[] = {
    {"SIZE_MAX * 2", SIZE_MAX, 2},
    {"SIZE_MAX * SIZE_MAX, wraps to 1", SIZE_MAX, SIZE_MAX},
    {"half * 2, wraps to 0", SIZE_MAX / 2 + 1, 2},
    {"half * 4, wraps to 0", SIZE_MAX / 2 + 1, 4},
    {"root * root, wraps to 0", (size_t)1 << 32, (size_t)1 << 32},
    {"a sixteenth and two * 16, wraps to 32", SIZE_MAX / 16 + 3, 16},
    {"a third and two * 3, wraps to 5", SIZE_MAX / 3 + 2, 3},
};
enum { N_OVERFLOWS = sizeof overflows / sizeof overflows[0] };

TEST(calloc_overflow_fails, "calloc notices that n * size does not fit")
{
    for (size_t i = 0; i < N_OVERFLOWS; i++) {
        errno = 0;
        void *p = mm_calloc(overflows[i].n, overflows[i].size);
        CHECK_THAT(p == NULL && errno == ENOMEM,
                   "%s: expected NULL and ENOMEM, got %p and errno %d",
                   overflows[i].name, p, errno);
    }
}

TEST(calloc_overflow_fails_in_other_order,
     "calloc notices that size * n does not fit")
{
    for (size_t i = 0; i < N_OVERFLOWS; i++) {
        errno = 0;
        void *p = mm_calloc(overflows[i].size, overflows[i].n);
        CHECK_THAT(p == NULL && errno == ENOMEM,
                   "%s: expected NULL and ENOMEM, got %p and errno %d",
                   overflows[i].name, p, errno);
    }
}

TEST(calloc_above_ptrdiff_max_fails,
     "calloc refuses a product that fits, but is above PTRDIFF_MAX")
{
    CHECK_FAILS(mm_calloc(1, (size_t)PTRDIFF_MAX + 1), ENOMEM);
    CHECK_FAILS(mm_calloc((size_t)PTRDIFF_MAX + 1, 1), ENOMEM);
    CHECK_FAILS(mm_calloc(SIZE_MAX / 2, 2), ENOMEM);
    CHECK_FAILS(mm_calloc(1, SIZE_MAX), ENOMEM);
}

TEST(calloc_zeroes, "calloc clears fresh memory and memory used before")
{
    static const size_t sizes[] = {
        1, 15, 16, 17, 100, 1000, 4096, 32768, 40000, 200000, 1 << 20, 3000001};

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            size_t size = sizes[i];
            unsigned char *p = mm_calloc(1, size);
            CHECK_NOT_NULL(p);
            CHECK_ALIGNED(p, MM_ALIGNMENT);
            size_t room = room_of(p, size);
            CHECK_THAT(is_zero(p, room),
                       "calloc(1, %zu), round %d: not all of its %zu bytes "
                       "are 0",
                       size, round, room);
            memset(p, 0xEE, room); // dirt for the next round
            mm_free(p);
        }
    }
}

TEST(calloc_multiplies, "calloc returns room for n objects of size bytes")
{
    unsigned char *p = mm_calloc(123, 77);
    unsigned char *q = mm_calloc(77, 123);
    CHECK_TRUE(is_zero(p, 123 * 77));
    memset(p, 0xEE, 123 * 77);
    CHECK_TRUE(is_zero(q, 123 * 77));
    mm_free(p);
    mm_free(q);
}

TEST(calloc_of_zero_is_unique,
     "calloc returns a block of its own if any argument is 0")
{
    void *p[] = {mm_calloc(0, 0),        mm_calloc(0, 8),
                 mm_calloc(8, 0),        mm_calloc(0, SIZE_MAX),
                 mm_calloc(SIZE_MAX, 0), mm_calloc(0, 0)};
    enum { N = sizeof p / sizeof p[0] };

    for (int i = 0; i < N; i++) {
        CHECK_NOT_NULL(p[i]);
        CHECK_ALIGNED(p[i], MM_ALIGNMENT);
        for (int j = 0; j < i; j++)
            CHECK_THAT(p[i] != p[j], "calls %d and %d: both are %p", j, i,
                       p[i]);
    }
    for (int i = 0; i < N; i++)
        mm_free(p[i]);
}

// ---------------------------------------------------------------------------
// realloc and reallocarray

TEST(realloc_of_null_is_malloc, "realloc(NULL, n) returns a new block")
{
    unsigned char *p = mm_realloc(NULL, 100);
    CHECK_NOT_NULL(p);
    CHECK_ALIGNED(p, MM_ALIGNMENT);
    fill(p, 0, 100, 1);
    void *q = mm_realloc(NULL, 0);
    CHECK_NOT_NULL(q);
    CHECK_TRUE(q != p);
    CHECK_PATTERN(p, 100, 1);
    mm_free(p);
    mm_free(q);
}

TEST(realloc_to_zero_frees, "realloc(p, 0) frees p and returns NULL")
{
    static const size_t sizes[] = {0, 1, 100, 40000, 3000000};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint64_t before = live_blocks();
        void *p = mm_malloc(sizes[i]);
        CHECK_NULL(mm_realloc(p, 0));
        CHECK_EQ(live_blocks(), before);
    }
}

TEST(realloc_failure_keeps_block,
     "a refused realloc leaves the block as it was")
{
    static const size_t sizes[] = {1, 16, 100, 5000, 40000, 300000};
    static const size_t too_large[] = {
        SIZE_MAX,         SIZE_MAX - 15,
        SIZE_MAX - 16,    SIZE_MAX - 4096,
        SIZE_MAX / 4 * 3, (size_t)PTRDIFF_MAX + 1,
        PTRDIFF_MAX,      (size_t)PTRDIFF_MAX - 4096};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *p = mm_malloc(sizes[i]);
        fill(p, 0, sizes[i], i);
        uint64_t live = live_blocks();
        for (size_t k = 0; k < sizeof too_large / sizeof too_large[0]; k++) {
            CHECK_FAILS(mm_realloc(p, too_large[k]), ENOMEM);
            CHECK_PATTERN(p, sizes[i], i);
        }
        CHECK_EQ(live_blocks(), live);
        p = mm_realloc(p, sizes[i] + 1000); // it is still a block
        CHECK_NOT_NULL(p);
        CHECK_PATTERN(p, sizes[i], i);
        mm_free(p);
    }
}

TEST(reallocarray_overflow_keeps_block,
     "reallocarray notices overflow in both orders, and leaves the block")
{
    void *p = mm_malloc(100);
    fill(p, 0, 100, 1);
    for (size_t i = 0; i < N_OVERFLOWS; i++) {
        size_t n = overflows[i].n;
        size_t size = overflows[i].size;
        CHECK_FAILS(mm_reallocarray(p, n, size), ENOMEM);
        CHECK_FAILS(mm_reallocarray(p, size, n), ENOMEM);
        CHECK_FAILS(mm_reallocarray(NULL, n, size), ENOMEM);
        CHECK_PATTERN(p, 100, 1);
    }
    CHECK_FAILS(mm_reallocarray(p, SIZE_MAX / 2, 2), ENOMEM);
    CHECK_PATTERN(p, 100, 1);
    mm_free(p);
}

TEST(reallocarray_is_realloc,
     "reallocarray(p, n, size) is realloc(p, n * size)")
{
    uint64_t live = live_blocks();
    void *p = mm_reallocarray(NULL, 10, 10);
    CHECK_NOT_NULL(p);
    fill(p, 0, 100, 1);
    p = mm_reallocarray(p, 300, 20);
    CHECK_NOT_NULL(p);
    CHECK_PATTERN(p, 100, 1);
    fill(p, 0, 6000, 2);
    p = mm_reallocarray(p, 5, 10);
    CHECK_NOT_NULL(p);
    CHECK_PATTERN(p, 50, 2);
    CHECK_NULL(mm_reallocarray(p, 0, 10)); // frees p
    CHECK_EQ(live_blocks(), live);
}

// ---------------------------------------------------------------------------
// Aligned blocks

static const size_t not_powers[] = {0,   3,    6,        24,
                                    100, 4095, SIZE_MAX, SIZE_MAX / 2 + 2};
enum { N_NOT_POWERS = sizeof not_powers / sizeof not_powers[0] };

TEST(aligned_alloc_refuses_bad_alignment,
     "aligned_alloc fails with EINVAL unless the alignment is a power of two")
{
    if (is_c_library())
        SKIP("glibc 2.36 rounds the alignment up instead");
    for (size_t i = 0; i < N_NOT_POWERS; i++)
        CHECK_FAILS(mm_aligned_alloc(not_powers[i], 100), EINVAL);
}

TEST(aligned_alloc_takes_any_size,
     "the size need not be a multiple of the alignment, and may be 0")
{
    static const size_t sizes[] = {0, 1, 63, 64, 65, 1000, 100000};
    enum { N = sizeof sizes / sizeof sizes[0] };

    for (size_t align = 1; align <= 4096; align *= 2) {
        unsigned char *p[N];
        for (size_t i = 0; i < N; i++) {
            p[i] = mm_aligned_alloc(align, sizes[i]);
            CHECK_NOT_NULL(p[i]);
            CHECK_ALIGNED(p[i], align);
            CHECK_ALIGNED(p[i], MM_ALIGNMENT);
            fill(p[i], 0, sizes[i], i);
        }
        CHECK_TRUE(mm_check());
        for (size_t i = 0; i < N; i++) {
            CHECK_PATTERN(p[i], sizes[i], i);
            mm_free(p[i]);
        }
    }
}

TEST(aligned_zero_is_unique,
     "aligned blocks of 0 bytes are aligned blocks of their own")
{
    enum { N = 20 };

    for (size_t align = 16; align <= 65536; align *= 4) {
        void *p[2 * N];
        for (int i = 0; i < 2 * N; i++) {
            p[i] =
                i % 2 == 0 ? mm_memalign(align, 0) : mm_aligned_alloc(align, 0);
            CHECK_NOT_NULL(p[i]);
            CHECK_ALIGNED(p[i], align);
            for (int j = 0; j < i; j++)
                CHECK_TRUE(p[i] != p[j]);
        }
        for (int i = 0; i < 2 * N; i++)
            mm_free(p[i]);
    }
}

TEST(aligned_alloc_huge_alignment_fails,
     "an alignment that leaves no room in memory is an error, and never wraps")
{
    for (unsigned log = 61; log <= 63; log++) {
        errno = 0;
        void *p = mm_aligned_alloc((size_t)1 << log, 100);
        CHECK_THAT(p == NULL && (errno == ENOMEM || errno == EINVAL),
                   "aligned_alloc(2^%u, 100): expected an error, got %p and "
                   "errno %d",
                   log, p, errno);
    }
    for (unsigned log = 0; log <= 63; log++)
        CHECK_NULL(mm_aligned_alloc((size_t)1 << log, SIZE_MAX - 15));
}

TEST(aligned_alloc_huge_size_fails,
     "size and alignment together do not wrap to something small")
{
    static const size_t aligns[] = {1, 16, 32, 64, 4096, 1 << 20};

    for (size_t i = 0; i < sizeof aligns / sizeof aligns[0]; i++) {
        CHECK_FAILS(mm_aligned_alloc(aligns[i], PTRDIFF_MAX), ENOMEM);
        CHECK_FAILS(mm_aligned_alloc(aligns[i], (size_t)PTRDIFF_MAX + 1),
                    ENOMEM);
        for (size_t k = 0; k <= 2 * page_size(); k++) {
            CHECK_FAILS(mm_aligned_alloc(aligns[i], SIZE_MAX - k), ENOMEM);
            CHECK_FAILS(mm_memalign(aligns[i], SIZE_MAX - k), ENOMEM);
        }
    }
}

// CHECK_POSIX_FAILS checks that posix_memalign returns error and leaves the
// pointer alone.
#define CHECK_POSIX_FAILS(align, size, error)                                  \
    do {                                                                       \
        void *p_ = &p_;                                                        \
        CHECK_EQ(mm_posix_memalign(&p_, align, size), error);                  \
        CHECK_PTR_EQ(p_, &p_);                                                 \
    } while (0)

TEST(posix_memalign_refuses_bad_alignment,
     "posix_memalign returns EINVAL and leaves *p alone")
{
    for (size_t i = 0; i < N_NOT_POWERS; i++)
        CHECK_POSIX_FAILS(not_powers[i], 100, EINVAL);
    // Powers of two that are no multiples of sizeof(void *).
    CHECK_POSIX_FAILS(1, 100, EINVAL);
    CHECK_POSIX_FAILS(2, 100, EINVAL);
    CHECK_POSIX_FAILS(4, 100, EINVAL);
}

TEST(posix_memalign_huge_fails,
     "posix_memalign returns ENOMEM and leaves *p alone")
{
    CHECK_POSIX_FAILS(64, PTRDIFF_MAX, ENOMEM);
    CHECK_POSIX_FAILS((size_t)1 << 62, 100, ENOMEM);
    CHECK_POSIX_FAILS((size_t)1 << 62, PTRDIFF_MAX, ENOMEM);
    for (size_t k = 0; k <= 2 * page_size(); k++) {
        CHECK_POSIX_FAILS(64, SIZE_MAX - k, ENOMEM);
        CHECK_POSIX_FAILS(sizeof(void *), SIZE_MAX - k, ENOMEM);
    }
}

TEST(posix_memalign_keeps_errno,
     "posix_memalign returns its error and leaves errno alone")
{
    if (is_c_library())
        SKIP("glibc 2.36 sets errno, too");
    errno = UNTOUCHED;
    CHECK_POSIX_FAILS(24, 100, EINVAL);
    CHECK_POSIX_FAILS(64, SIZE_MAX, ENOMEM);
    CHECK_POSIX_FAILS(64, PTRDIFF_MAX, ENOMEM);
    CHECK_POSIX_FAILS(8, PTRDIFF_MAX, ENOMEM);
    CHECK_POSIX_FAILS((size_t)1 << 62, 100, ENOMEM);
    CHECK_EQ(errno, UNTOUCHED);
}

TEST(posix_memalign_aligns, "posix_memalign stores an aligned block in *p")
{
    static const size_t sizes[] = {0, 1, 64, 100, 5000};

    for (size_t align = sizeof(void *); align <= 1 << 16; align *= 2) {
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            void *p = NULL;
            errno = UNTOUCHED;
            CHECK_EQ(mm_posix_memalign(&p, align, sizes[i]), 0);
            CHECK_EQ(errno, UNTOUCHED);
            CHECK_NOT_NULL(p);
            CHECK_ALIGNED(p, align);
            CHECK_ALIGNED(p, MM_ALIGNMENT);
            memset(p, 0xEE, sizes[i]);
            mm_free(p);
        }
    }
}

TEST(memalign_rounds_alignment_up,
     "memalign takes the next power of two, and at least 16")
{
    static const struct {
        size_t asked;
        size_t align;
    } cases[] = {{0, 16},    {1, 16},      {3, 16},      {17, 32},
                 {24, 32},   {33, 64},     {48, 64},     {100, 128},
                 {129, 256}, {1000, 1024}, {5000, 8192}, {65537, 131072}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        void *p[8];
        for (int k = 0; k < 8; k++) { // one might be aligned by chance
            p[k] = mm_memalign(cases[i].asked, 40);
            CHECK_NOT_NULL(p[k]);
            CHECK_ALIGNED(p[k], cases[i].align);
        }
        for (int k = 0; k < 8; k++)
            mm_free(p[k]);
    }
}

TEST(memalign_alignment_without_power_fails,
     "memalign fails with EINVAL if no power of two is large enough")
{
    CHECK_FAILS(mm_memalign(SIZE_MAX, 100), EINVAL);
    CHECK_FAILS(mm_memalign(SIZE_MAX / 2 + 2, 100), EINVAL);
    CHECK_NULL(mm_memalign(SIZE_MAX / 2 + 1, 100)); // 2^63 is one
    CHECK_NULL(mm_memalign(SIZE_MAX / 4 + 2, 100)); // and so is this, rounded
}

TEST(memalign_to_a_gigabyte,
     "blocks aligned to 2^4 .. 2^30 can be written, resized and freed")
{
    // One block at a time: a stage may take as many bytes from the OS as the
    // alignment asks for. It does not touch them, so they cost no memory.
    for (unsigned log = 4; log <= 30; log++) {
        size_t align = (size_t)1 << log;
        unsigned char *p = mm_memalign(align, 100);
        CHECK_NOT_NULL(p);
        CHECK_ALIGNED(p, align);
        fill(p, 0, 100, log);
        CHECK_TRUE(mm_check());
        p = mm_realloc(p, 5000);
        CHECK_NOT_NULL(p);
        CHECK_ALIGNED(p, MM_ALIGNMENT);
        CHECK_PATTERN(p, 100, log);
        fill(p, 0, 5000, log);
        p = mm_realloc(p, 50);
        CHECK_PATTERN(p, 50, log);
        mm_free(p);
    }
}

TEST(aligned_blocks_keep_their_neighbours,
     "making an aligned block takes nothing from the blocks around it")
{
    enum { N = 300 };
    static unsigned char *p[N];
    static size_t sizes[N];
    uint64_t state = 1;

    for (size_t i = 0; i < N; i++) {
        size_t align = (size_t)1 << random_below(&state, 13);
        sizes[i] = random_size(&state, 2000);
        p[i] = i % 3 == 0 ? mm_memalign(align, sizes[i]) : mm_malloc(sizes[i]);
        CHECK_NOT_NULL(p[i]);
        if (i % 3 == 0)
            CHECK_ALIGNED(p[i], align);
        fill(p[i], 0, sizes[i], i);
        if (i % 5 == 4) { // leave gaps for the next ones
            CHECK_PATTERN(p[i - 2], sizes[i - 2], i - 2);
            mm_free(p[i - 2]);
            p[i - 2] = NULL;
        }
    }
    CHECK_TRUE(mm_check());
    for (size_t i = 0; i < N; i++) {
        if (p[i] != NULL)
            CHECK_PATTERN(p[i], sizes[i], i);
        mm_free(p[i]);
    }
}

TEST(valloc_starts_on_a_page, "valloc returns blocks that start on a page")
{
    static const size_t sizes[] = {0, 1, 100, 4095, 4096, 4097, 100000};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        void *p = mm_valloc(sizes[i]);
        CHECK_NOT_NULL(p);
        CHECK_ALIGNED(p, page_size());
        memset(p, 0xEE, sizes[i]);
        mm_free(p);
    }
}

TEST(pvalloc_gives_whole_pages,
     "pvalloc starts on a page and rounds its size up to whole pages; 0 to one")
{
    static const size_t sizes[] = {0, 1, 4095, 4096, 4097, 100000};
    size_t page = page_size();
    size_t first = is_c_library() ? 1 : 0; // glibc 2.36 rounds 0 to no page

    for (size_t i = first; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t pages = sizes[i] == 0 ? 1 : (sizes[i] + page - 1) / page;
        unsigned char *p = mm_pvalloc(sizes[i]);
        unsigned char *q = mm_malloc(32); // must not lie inside
        CHECK_NOT_NULL(p);
        CHECK_ALIGNED(p, page);
        fill(q, 0, 32, 2);
        fill(p, 0, pages * page, 1);
        CHECK_PATTERN(q, 32, 2);
        CHECK_TRUE(mm_check());
        mm_free(p);
        mm_free(q);
    }
}

TEST(valloc_and_pvalloc_huge_fail,
     "rounding up to a page does not wrap to something small")
{
    CHECK_FAILS(mm_valloc(PTRDIFF_MAX), ENOMEM);
    CHECK_FAILS(mm_pvalloc(PTRDIFF_MAX), ENOMEM);
    for (size_t k = 0; k <= 2 * page_size(); k++) {
        CHECK_FAILS(mm_valloc(SIZE_MAX - k), ENOMEM);
        CHECK_FAILS(mm_pvalloc(SIZE_MAX - k), ENOMEM);
    }
}

// ---------------------------------------------------------------------------
// The rest

TEST(usable_size_of_null_is_zero, "malloc_usable_size(NULL) is 0")
{
    CHECK_EQ(mm_usable_size(NULL), 0);
}

TEST(release_keeps_live_blocks,
     "giving free memory back to the OS leaves the live blocks alone")
{
    enum { N = 64 };
    unsigned char *p[N];

    for (size_t i = 0; i < N; i++) {
        p[i] = mm_malloc(10000);
        fill(p[i], 0, 10000, i);
    }
    for (size_t i = 0; i < N; i += 2)
        mm_free(p[i]);
    errno = UNTOUCHED;
    mm_release(0);
    mm_release(100000);
    mm_release(SIZE_MAX);
    CHECK_EQ(errno, UNTOUCHED);
    for (size_t i = 1; i < N; i += 2) {
        CHECK_PATTERN(p[i], 10000, i);
        mm_free(p[i]);
    }
    void *q = mm_malloc(10000);
    CHECK_NOT_NULL(q);
    memset(q, 0xEE, 10000);
    mm_free(q);
}

// What mm_walk is looking for, and whether it showed it.
struct search {
    const char *block;
    size_t size;
    bool found;
};

static void find_region(const struct mm_item *item, void *ctx)
{
    struct search *s = ctx;
    const char *start = item->addr;
    if (item->kind == MM_REGION && start <= s->block &&
        s->block + s->size <= start + item->size)
        s->found = true;
}

TEST(walk_shows_all_memory,
     "every live block lies in memory that mm_walk shows as a region")
{
    static const size_t sizes[] = {1, 100, 5000, 40000, 200000, 3000000};
    enum { N = sizeof sizes / sizeof sizes[0] };
    void *p[N];

    for (size_t i = 0; i < N; i++) // the very first block is one of them
        p[i] = mm_malloc(sizes[i]);
    if (is_c_library())
        SKIP("the C library has no mm_walk");
    for (size_t i = 0; i < N; i++) {
        struct search s = {.block = p[i], .size = sizes[i]};
        mm_walk(find_region, &s);
        CHECK_THAT(s.found, "the block of %zu bytes at %p is in no region",
                   sizes[i], p[i]);
    }
    for (size_t i = 0; i < N; i++)
        mm_free(p[i]);
}
