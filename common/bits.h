// bits.h - bit tricks by name, defined for every argument.
//
// C leaves a shift by 64, and the position of a bit in 0, undefined, and
// machines differ. Here they are defined, with the answers that Go gives.

#ifndef MM_BITS_H
#define MM_BITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// is_power_of_two: exactly one bit is set, so 0 is none.
static inline bool is_power_of_two(size_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

// round_up returns the least multiple of unit (a power of two) that is not
// below n. The caller makes sure that it exists: n <= SIZE_MAX - unit + 1.
static inline size_t round_up(size_t n, size_t unit)
{
    return (n + unit - 1) & ~(unit - 1);
}

// padding_to returns how many bytes are missing from p to the next multiple of
// align (a power of two); 0 if p is one.
static inline size_t padding_to(const void *p, size_t align)
{
    return -(uintptr_t)p & (align - 1);
}

// ctz64 returns how many zeros lie below the lowest set bit; 64 for 0.
static inline unsigned ctz64(uint64_t x)
{
    return x == 0 ? 64 : (unsigned)__builtin_ctzll(x);
}

// clz64 returns how many zeros lie above the highest set bit; 64 for 0.
static inline unsigned clz64(uint64_t x)
{
    return x == 0 ? 64 : (unsigned)__builtin_clzll(x);
}

// popcount64 returns how many bits are set.
static inline unsigned popcount64(uint64_t x)
{
    return (unsigned)__builtin_popcountll(x);
}

// shl64 and shr64 shift by n >= 64, too: nothing of x is left then.
static inline uint64_t shl64(uint64_t x, unsigned n)
{
    return n < 64 ? x << n : 0;
}

static inline uint64_t shr64(uint64_t x, unsigned n)
{
    return n < 64 ? x >> n : 0;
}

#endif
