// stages: 01-
//
// bits.h, each function against its definition, spelled out as a loop.

#include "bits.h"

#include "test.h"

TEST(powers_of_two_have_one_bit,
     "is_power_of_two holds for 1, 2, 4 ... 2^63 and for nothing beside them")
{
    CHECK_TRUE(!is_power_of_two(0));
    for (unsigned k = 0; k < 64; k++) {
        size_t power = (size_t)1 << k;
        CHECK_TRUE(is_power_of_two(power));
        CHECK_EQ(is_power_of_two(power + 1), k == 0); // 1 + 1 is one
        CHECK_EQ(is_power_of_two(power - 1), k == 1); // 2 - 1 is one
        for (unsigned i = 0; i < k; i++)
            CHECK_TRUE(!is_power_of_two(power | (size_t)1 << i));
    }
}

TEST(round_up_finds_the_next_multiple,
     "round_up returns the least multiple that is not below n")
{
    for (size_t unit = 1; unit <= 512; unit *= 2)
        for (size_t n = 0; n <= 2048; n++) {
            size_t least = n;
            while (least % unit != 0)
                least++;
            CHECK_EQ(round_up(n, unit), least);
        }
}

TEST(round_up_reaches_the_last_multiple,
     "round_up is right up to the largest multiple there is")
{
    for (unsigned k = 0; k < 64; k++) {
        size_t unit = (size_t)1 << k;
        size_t last = SIZE_MAX - unit + 1;
        CHECK_TRUE(round_up(last, unit) == last);
        CHECK_TRUE(round_up(last - unit / 2, unit) == last);
    }
}

TEST(padding_reaches_the_next_multiple,
     "padding_to returns how far the next multiple is, 0 if it is here")
{
    for (size_t align = 1; align <= 512; align *= 2)
        for (uintptr_t p = 0; p <= 2048; p++) {
            size_t far = 0;
            while ((p + far) % align != 0)
                far++;
            CHECK_EQ(padding_to((const void *)p, align), far);
        }
    CHECK_EQ(padding_to((const void *)(UINTPTR_MAX - 14), 16), 15);
}

// The same by looking at one bit after the other.
static unsigned naive_ctz(uint64_t x)
{
    unsigned n = 0;
    while (n < 64 && (x >> n & 1) == 0)
        n++;
    return n;
}

static unsigned naive_clz(uint64_t x)
{
    unsigned n = 0;
    while (n < 64 && (x >> (63 - n) & 1) == 0)
        n++;
    return n;
}

static unsigned naive_popcount(uint64_t x)
{
    unsigned n = 0;
    for (unsigned k = 0; k < 64; k++)
        n += (unsigned)(x >> k & 1);
    return n;
}

static void check_counts(uint64_t x)
{
    CHECK_EQ(ctz64(x), naive_ctz(x));
    CHECK_EQ(clz64(x), naive_clz(x));
    CHECK_EQ(popcount64(x), naive_popcount(x));
}

TEST(bits_are_counted,
     "ctz64, clz64 and popcount64 agree with a loop over the bits, for 0, too")
{
    check_counts(0);
    check_counts(UINT64_MAX);
    for (unsigned i = 0; i < 64; i++)
        for (unsigned k = 0; k < 64; k++) {
            uint64_t two = UINT64_C(1) << i | UINT64_C(1) << k;
            check_counts(two);
            check_counts(~two);
            check_counts(two - 1);
        }
}

TEST(nothing_has_64_zeros, "ctz64 and clz64 of 0, which C leaves open, are 64")
{
    CHECK_EQ(ctz64(0), 64);
    CHECK_EQ(clz64(0), 64);
    CHECK_EQ(popcount64(0), 0);
}

TEST(shifts_move_bit_by_bit,
     "shl64 and shr64 by n are n shifts by one, for every n, also above 63")
{
    const uint64_t x = UINT64_C(0x9E3779B97F4A7C15);
    uint64_t left = x, right = x;

    for (unsigned n = 0; n <= 300; n++) {
        CHECK_TRUE(shl64(x, n) == left);
        CHECK_TRUE(shr64(x, n) == right);
        left *= 2;
        right /= 2;
    }
    CHECK_EQ(shl64(x, UINT32_MAX), 0);
    CHECK_EQ(shr64(x, UINT32_MAX), 0);
}
