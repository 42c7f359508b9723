// msize.c - from the size of a request to its class, and back.
//
// The tables of sizeclasses.h answer in one step, without a search. A table
// with an entry for each size would have 32769; but sizes up to 1024 have the
// class of the next multiple of 8, and those above of the next multiple of 128,
// so 129 and 249 entries are enough.
//
// TCMalloc   SizeMap
// Go         msize.go, sizeclasses.go

#include "heap.h"

#include "bits.h"
#include "check.h"

// A class is found in a table by a number that fits it, and its size, too.
_Static_assert(NUM_SIZE_CLASSES <= UINT8_MAX + 1, "a class is a uint8_t");
_Static_assert(MAX_SMALL_SIZE <= UINT16_MAX, "a class size is a uint16_t");

// Each table has an entry for every class, or for every multiple of its unit.
_Static_assert(sizeof class_to_size / sizeof *class_to_size == NUM_SIZE_CLASSES,
               "class_to_size must have an entry for each class");
_Static_assert(sizeof class_to_allocnpages == NUM_SIZE_CLASSES,
               "class_to_allocnpages must have an entry for each class");
_Static_assert((sizeof size_to_class8 - 1) * SMALL_SIZE_DIV == SMALL_SIZE_MAX,
               "the last entry of size_to_class8 is for SMALL_SIZE_MAX");
_Static_assert((sizeof size_to_class128 - 1) * LARGE_SIZE_DIV ==
                   MAX_SMALL_SIZE - SMALL_SIZE_MAX,
               "the last entry of size_to_class128 is for MAX_SMALL_SIZE");

// divide_up returns n / unit, rounded up.
//
// Go: func divRoundUp (stubs.go)
static size_t divide_up(size_t n, size_t unit)
{
    return (n + unit - 1) / unit;
}

// TCMalloc   SizeMap::SizeClass
unsigned size_class_of(size_t size)
{
    ASSERT(size <= MAX_SMALL_SIZE);
    if (size <= SMALL_SIZE_MAX)
        return size_to_class8[divide_up(size, SMALL_SIZE_DIV)];
    return size_to_class128[divide_up(size - SMALL_SIZE_MAX, LARGE_SIZE_DIV)];
}

// TCMalloc   SizeMap::class_to_size
size_t class_size(unsigned class)
{
    ASSERT(class < NUM_SIZE_CLASSES);
    return class_to_size[class];
}

// TCMalloc   SizeMap::class_to_pages
size_t class_npages(unsigned class)
{
    ASSERT(class < NUM_SIZE_CLASSES);
    return class_to_allocnpages[class];
}

// Go: func roundupsize (msize.go)
size_t round_up_size(size_t size)
{
    if (size <= MAX_SMALL_SIZE)
        return class_size(size_class_of(size));
    if (size > SIZE_MAX - PAGE_SIZE)
        return size;
    return round_up(size, PAGE_SIZE);
}
