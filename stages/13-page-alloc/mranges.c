// mranges.c - ranges of addresses, in order.
//
// The heap need not be one piece. Its pieces are few, so an array of them is
// enough; those that touch are one.
//
// Invariant  I1 Ranges are not empty, rise, and do not touch.
// Locking    mheap.lock guards all of it.
// Go         mranges.go

#include "heap.h"

#include <string.h>

#include "check.h"

enum { FIRST_CAPACITY = 16 };

// Go: func (a *addrRanges) findSucc (mranges.go)
size_t addr_ranges_find_succ(const struct addr_ranges *a, uintptr_t addr)
{
    size_t low = 0;
    size_t high = a->n;

    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (addr < a->ranges[middle].base)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

// Go: func (a *addrRanges) contains (mranges.go)
bool addr_ranges_contains(const struct addr_ranges *a, uintptr_t addr)
{
    size_t i = addr_ranges_find_succ(a, addr);
    return i > 0 && addr < a->ranges[i - 1].limit;
}

// Go: func (a *addrRanges) findAddrGreaterEqual (mranges.go)
bool addr_ranges_find_addr_greater_equal(const struct addr_ranges *a,
                                         uintptr_t addr, uintptr_t *found)
{
    size_t i = addr_ranges_find_succ(a, addr);
    if (i > 0 && addr < a->ranges[i - 1].limit)
        *found = addr;
    else if (i < a->n)
        *found = a->ranges[i].base;
    else
        return false;
    return true;
}

// reserve makes room for one range more. Returns false, with errno ENOMEM, if
// there is no memory. The old array is not used again: all of them together are
// no longer than the last.
static bool reserve(struct addr_ranges *a) REQUIRES(mheap.lock)
{
    if (a->n < a->capacity)
        return true;
    size_t capacity = a->capacity == 0 ? FIRST_CAPACITY : 2 * a->capacity;
    struct addr_range *ranges = persistent_alloc(capacity * sizeof *ranges);
    if (ranges == NULL)
        return false;
    if (a->n > 0)
        memcpy(ranges, a->ranges, a->n * sizeof *ranges);
    a->ranges = ranges;
    a->capacity = capacity;
    return true;
}

// Go: func (a *addrRanges) add (mranges.go)
bool addr_ranges_add(struct addr_ranges *a, struct addr_range r)
{
    assert_lock_held(&mheap.lock);
    ASSERT(r.base < r.limit);
    size_t i = addr_ranges_find_succ(a, r.base);
    struct addr_range *ranges = a->ranges;
    bool joins_below = i > 0 && ranges[i - 1].limit == r.base;
    bool joins_above = i < a->n && r.limit == ranges[i].base;

    if (joins_below && joins_above) {
        ranges[i - 1].limit = ranges[i].limit;
        a->n--;
        memmove(&ranges[i], &ranges[i + 1], (a->n - i) * sizeof *ranges);
    } else if (joins_below) {
        ranges[i - 1].limit = r.limit;
    } else if (joins_above) {
        ranges[i].base = r.base;
    } else {
        if (!reserve(a))
            return false;
        ranges = a->ranges;
        memmove(&ranges[i + 1], &ranges[i], (a->n - i) * sizeof *ranges);
        ranges[i] = r;
        a->n++;
    }
    a->total_bytes += r.limit - r.base;
    return true;
}

bool addr_ranges_check(const struct addr_ranges *a)
{
    size_t total = 0;

    for (size_t i = 0; i < a->n; i++) {
        const struct addr_range *r = &a->ranges[i];
        if (r->base >= r->limit || (i > 0 && r[-1].limit >= r->base))
            return mm_complain("I1 ranges rise, and do not touch", r);
        total += r->limit - r->base;
    }
    if (total != a->total_bytes)
        return mm_complain("total_bytes is the length of all ranges", a);
    return true;
}
