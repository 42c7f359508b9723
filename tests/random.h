// random.h - the same random numbers for the same seed, on every machine.

#ifndef TESTS_RANDOM_H
#define TESTS_RANDOM_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

// xorshift64*, by Marsaglia and Vigna. state must not be 0.
static inline uint64_t random_next(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * UINT64_C(2685821657736338717) >> 16;
}

// random_below returns a number from 0 to n - 1.
static inline size_t random_below(uint64_t *state, size_t n)
{
    return (size_t)(random_next(state) % n);
}

// number_from returns the number in the environment variable name, or, if it
// is not set, standard.
static inline uint64_t number_from(const char *name, uint64_t standard)
{
    const char *text = getenv(name);
    return text == NULL ? standard : strtoull(text, NULL, 0);
}

// random_start returns the state to begin with: from SEED in the environment,
// or a usual one. It prints SEED, which the runner shows if the test fails.
static inline uint64_t random_start(void)
{
    uint64_t seed = number_from("SEED", 1);
    fprintf(stderr, "SEED=%llu\n", (unsigned long long)seed);
    return seed * UINT64_C(0x9E3779B97F4A7C15) | 1; // seeds are small numbers
}

#endif
