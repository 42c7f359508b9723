// check.h - assertions, reports and counters that never allocate.
//
// CHECK and mm_misuse are always on: they are for errors of the caller and for
// damaged memory. ASSERT is for errors of the allocator itself; it is compiled
// only with -DMM_DEBUG=1.

#ifndef MM_CHECK_H
#define MM_CHECK_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

// A line under construction. What does not fit is cut off.
struct text {
    size_t length;
    char chars[1024];
};

// Each appends to t: a string, a number, an address as 0x and hex digits.
void text_string(struct text *t, const char *s);
void text_number(struct text *t, uint64_t n);
void text_address(struct text *t, const void *p);

// text_write writes t and a newline to the file descriptor fd in one call.
void text_write(struct text *t, int fd);

// mm_misuse reports that the program called a function wrongly, as
//     mm: free(0x55d0): double free (block 0x55d0, 48 bytes)
// and aborts. The part in parentheses is left out if block is NULL. Must be
// called without locks, for abort may run a handler that calls malloc.
_Noreturn void mm_misuse(const char *call, const void *p, const char *what,
                         const void *block, size_t size);

// mm_broken reports where in the source a condition does not hold, and aborts.
_Noreturn void mm_broken(const char *file, int line, const char *condition);

// mm_complain reports a broken invariant, as mm_check does, and returns false.
// where is the item at fault; NULL: none.
_Bool mm_complain(const char *invariant, const void *where);

#define CHECK(condition)                                                       \
    ((condition) ? (void)0 : mm_broken(__FILE__, __LINE__, #condition))

#if MM_DEBUG
#define ASSERT(condition) CHECK(condition)
#else
#define ASSERT(condition) ((void)sizeof(!(condition)))
#endif

// count adds n to a counter of mm_stats; nothing in a build without counters.
static inline void count(uint64_t *counter, uint64_t n)
{
    if (MM_COUNTERS)
        *counter += n;
}

// count_shared adds n to a counter that threads share without a lock, and
// returns its new value; 0 in a build without counters. Nothing depends on the
// order of such additions, so relaxed is enough.
static inline uint64_t count_shared(_Atomic(uint64_t) *counter, uint64_t n)
{
    if (!MM_COUNTERS)
        return 0;
    return atomic_fetch_add_explicit(counter, n, memory_order_relaxed) + n;
}

// count_peak raises a shared counter to n, if it is lower.
static inline void count_peak(_Atomic(uint64_t) *peak, uint64_t n)
{
    if (!MM_COUNTERS)
        return;
    uint64_t old = atomic_load_explicit(peak, memory_order_relaxed);
    while (old < n &&
           !atomic_compare_exchange_weak_explicit(
               peak, &old, n, memory_order_relaxed, memory_order_relaxed))
        ;
}

// count_level sets a counter that goes up and down, and its highest value.
static inline void count_level(uint64_t *level, uint64_t *peak, uint64_t n)
{
    if (MM_COUNTERS) {
        *level = n;
        if (*peak < n)
            *peak = n;
    }
}

#endif
