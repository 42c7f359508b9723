// stages: 13-
//
// mranges.c: ranges of addresses, against an array with a bool for each unit of
// memory.

#include "heap.h"

#include <errno.h>
#include <string.h>

#include "child.h"
#include "os_memory.h"
#include "random.h"
#include "test.h"

// The memory of the model: some units, from base on.
enum { UNITS = 200, UNIT = PALLOC_CHUNK_BYTES };
static const uintptr_t base = UINT64_C(0xc0) << 32;
static bool in_range[UNITS + 1]; // the last never is
static struct addr_ranges ranges;

static uintptr_t address(size_t unit)
{
    return base + unit * UNIT;
}

static bool add(size_t unit, size_t n)
{
    lock_acquire(&mheap.lock);
    bool ok = addr_ranges_add(
        &ranges, (struct addr_range){address(unit), address(unit + n)});
    lock_release(&mheap.lock);
    for (size_t i = unit; ok && i < unit + n; i++)
        in_range[i] = true;
    return ok;
}

// check_lookups asks for addr, which lies in a unit; n_below ranges begin in
// units up to that.
static void check_lookups(uintptr_t addr, size_t unit, size_t n_below)
{
    uintptr_t found = 1;
    CHECK_EQ(addr_ranges_find_succ(&ranges, addr), n_below);
    CHECK_EQ(addr_ranges_contains(&ranges, addr), in_range[unit]);

    size_t next = unit;
    while (next < UNITS && !in_range[next])
        next++;
    bool any = addr_ranges_find_addr_greater_equal(&ranges, addr, &found);
    CHECK_EQ(any, next < UNITS);
    CHECK_EQ(found, !any ? 1 : next == unit ? addr : address(next));
}

// compare checks all that can be asked, at the ends of each unit, and inside.
static void compare(void)
{
    size_t n = 0;
    size_t total = 0;

    CHECK_TRUE(addr_ranges_check(&ranges));
    CHECK_EQ(addr_ranges_find_succ(&ranges, base - 1), 0);
    CHECK_TRUE(!addr_ranges_contains(&ranges, base - 1));
    for (size_t unit = 0; unit <= UNITS; unit++) {
        if (in_range[unit] && (unit == 0 || !in_range[unit - 1])) {
            CHECK_EQ(ranges.ranges[n].base, address(unit));
            n++;
        }
        if (unit > 0 && in_range[unit - 1] && !in_range[unit])
            CHECK_EQ(ranges.ranges[n - 1].limit, address(unit));
        check_lookups(address(unit), unit, n);
        check_lookups(address(unit) + UNIT / 3, unit, n);
        check_lookups(address(unit + 1) - 1, unit, n);
        total += in_range[unit] * (size_t)UNIT;
    }
    CHECK_EQ(ranges.n, n);
    CHECK_EQ(ranges.total_bytes, total);
}

static void clear(void)
{
    memset(&ranges, 0, sizeof ranges);
    memset(in_range, 0, sizeof in_range);
}

TEST(no_ranges, "where there are no ranges, nothing is found")
{
    compare();
    CHECK_EQ(ranges.n, 0);
    CHECK_NULL(ranges.ranges);
}

TEST(ranges_that_touch_are_one,
     "a range joins the one below, the one above, or both, or stays alone, at"
     " either end of the array or inside")
{
    static const struct {
        const char *name;
        size_t unit, length, n; // so many ranges afterwards
    } cases[] = {
        {"alone, below all", 0, 2, 4},
        {"the first, at its end", 13, 2, 3},
        {"the first, at its start", 7, 3, 3},
        {"between two, alone", 15, 3, 4},
        {"between two, joins below", 13, 6, 3},
        {"between two, joins above", 14, 6, 3},
        {"between two, joins both", 13, 7, 2},
        {"joins both, the last one too", 23, 7, 2},
        {"the last, at its start", 27, 3, 3},
        {"the last, at its end", 33, 2, 3},
        {"alone, above all", 34, 1, 4},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        clear();
        CHECK_TRUE(add(20, 3) && add(10, 3) && add(30, 3));
        compare();
        CHECK_TRUE(add(cases[i].unit, cases[i].length));
        CHECK_THAT(ranges.n == cases[i].n, "%s: expected %zu ranges, got %zu",
                   cases[i].name, cases[i].n, ranges.n);
        compare();
    }
}

TEST(ranges_equal_a_model,
     "ranges that are added in any order are found again, and so is what lies"
     " between them")
{
    uint64_t state = random_start();
    for (size_t round = 0; round < 20; round++) {
        clear();
        for (size_t i = 0; i < 40; i++) {
            size_t unit = random_below(&state, UNITS);
            size_t most = 1 + random_below(&state, 1 + round);
            size_t n = 0;
            while (n < most && unit + n < UNITS && !in_range[unit + n])
                n++;
            if (n > 0)
                CHECK_TRUE(add(unit, n));
            if (n > 0 && i % 4 == 0)
                compare();
        }
        compare();
    }
}

TEST(the_array_grows,
     "there may be more ranges than the array had room for, whether they come"
     " from below or from above, and they may become one again")
{
    for (size_t up = 0; up < 2; up++) {
        clear();
        for (size_t i = 0; i < UNITS / 2; i++) {
            CHECK_TRUE(add(up ? 2 * i : UNITS - 2 - 2 * i, 1));
            CHECK_EQ(ranges.n, i + 1);
            CHECK_GE(ranges.capacity, ranges.n);
        }
        compare();
        for (size_t i = 0; i < UNITS / 2; i++)
            CHECK_TRUE(add(2 * i + 1, 1));
        compare();
        CHECK_EQ(ranges.n, 1);
    }
}

TEST(without_memory_nothing_changes,
     "if there is no memory for a longer array, the ranges are as they were;"
     " what joins others needs none")
{
    struct addr_range before[UNITS];
    CHECK_TRUE(add(0, 1)); // there is an array
    os.refuse = 0;
    // An array that is full is copied to one twice as long, as long as there
    // is room for it in memory that is there already.
    static struct addr_range from[1 << 20];
    for (size_t n = 16; n <= sizeof from / sizeof *from; n *= 2) {
        for (size_t i = 0; i < n; i++)
            from[i] = (struct addr_range){base + 2 * i * UNIT,
                                          base + (2 * i + 1) * UNIT};
        ranges = (struct addr_ranges){from, n, n, n * UNIT};
        errno = 0;
        lock_acquire(&mheap.lock);
        bool ok = addr_ranges_add(
            &ranges, (struct addr_range){base - 2 * UNIT, base - UNIT});
        lock_release(&mheap.lock);
        if (ok) {
            CHECK_EQ(ranges.capacity, 2 * n);
            continue;
        }
        CHECK_EQ(errno, ENOMEM);
        CHECK_PTR_EQ(ranges.ranges, from);
        CHECK_EQ(ranges.n, n);
        CHECK_EQ(ranges.capacity, n);
        CHECK_EQ(ranges.total_bytes, n * UNIT);
        CHECK_TRUE(addr_ranges_check(&ranges));
        CHECK_TRUE(!addr_ranges_contains(&ranges, base - UNIT - 1));
        memcpy(before, from, sizeof before);
        lock_acquire(&mheap.lock);
        CHECK_TRUE(
            addr_ranges_add(&ranges, (struct addr_range){base - UNIT, base}));
        lock_release(&mheap.lock);
        before[0].base -= UNIT;
        CHECK_EQ(memcmp(before, from, sizeof before), 0);
        // With memory, it is possible.
        os.refuse = SIZE_MAX;
        lock_acquire(&mheap.lock);
        CHECK_TRUE(addr_ranges_add(
            &ranges, (struct addr_range){base - 3 * UNIT, base - 2 * UNIT}));
        lock_release(&mheap.lock);
        CHECK_EQ(ranges.n, n + 1);
        CHECK_TRUE(addr_ranges_check(&ranges));
        return;
    }
    CHECK_THAT(false, "memory never ran out");
}

TEST(no_memory_for_the_first_range,
     "if there is no memory for the first array, there are no ranges")
{
    struct addr_ranges none = {0};
    os.refuse = 0;
    lock_acquire(&mheap.lock);
    while (persistent_alloc(64) != NULL) // what is there already
        continue;
    CHECK_TRUE(!addr_ranges_add(&ranges, (struct addr_range){base, base + 1}));
    lock_release(&mheap.lock);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(memcmp(&ranges, &none, sizeof none), 0);
}

// ---------------------------------------------------------------------------
// What addr_ranges_check says.

static void check_ranges(void *unused)
{
    (void)unused;
    if (!addr_ranges_check(&ranges))
        _exit(1);
}

TEST(check_sees_damaged_ranges,
     "addr_ranges_check notices ranges that are empty, touch, overlap or fall,"
     " and a wrong sum")
{
    static const char order[] = "I1 ranges rise, and do not touch";
    static const char total[] = "total_bytes is the length of all ranges";
    clear();
    CHECK_TRUE(add(10, 3) && add(20, 3) && add(30, 3));
    struct addr_range *r = ranges.ranges;
    struct addr_range good[3];
    memcpy(good, r, sizeof good);
    CHECK_RETURNS(check_ranges, NULL, "");

    const struct {
        size_t i;
        size_t from, to; // units
        const char *complaint;
    } cases[] = {
        {0, 13, 13, order}, {1, 22, 21, order}, {0, 10, 20, order},
        {1, 13, 16, order}, {2, 22, 25, order}, {2, 5, 8, order},
        {1, 20, 24, total}, {2, 31, 33, total},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        r[cases[i].i] =
            (struct addr_range){address(cases[i].from), address(cases[i].to)};
        CHECK_COMPLAINS(check_ranges, NULL, cases[i].complaint);
        memcpy(r, good, sizeof good);
    }
    ranges.total_bytes--;
    CHECK_COMPLAINS(check_ranges, NULL, total);
}
