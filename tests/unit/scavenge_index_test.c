// stages: 11-
//
// mgcscavenge.c: the search for a chunk goes down over memory that is no part
// of the heap, wherever that is.

#include "heap.h"

#include <string.h>

#include "page_states.h"
#include "test.h"

static struct page_alloc pages;

// CHECK_LEADS checks that the highest place to scavenge is the page with that
// number in chunk ci; and then that nothing else is.
#define CHECK_LEADS(ci_, page_)                                                \
    do {                                                                       \
        struct scavenge_place place_ = scavenge_index_find(&pages);            \
        CHECK_EQ(place_.ci, ci_);                                              \
        CHECK_EQ(place_.page, page_);                                          \
        scavenge_index_clear(&pages, place_.ci);                               \
    } while (0)

// check_two makes a heap of two chunks, and frees a page in each.
static void check_two(chunk_idx low, chunk_idx high)
{
    const size_t last = PALLOC_CHUNK_PAGES - 1;
    memset(&pages, 0, sizeof pages);
    page_alloc_begin(&pages, 0);
    lock_acquire(&mheap.lock);
    CHECK_TRUE(page_alloc_grow(&pages, chunk_base(low), PALLOC_CHUNK_BYTES));
    CHECK_TRUE(page_alloc_grow(&pages, chunk_base(high), PALLOC_CHUNK_BYTES));
    CHECK_EQ(scavenge_index_find(&pages).ci, 0);
    for (size_t i = 0; i < 2; i++) {
        uintptr_t page = chunk_base(i == 0 ? low : high) + 7 * PAGE_SIZE;
        page_alloc_alloc_range(&pages, page, 1);
        page_alloc_free(&pages, page, 1, false);
    }
    CHECK_LEADS(high, 7);
    CHECK_LEADS(low, last);
    CHECK_EQ(scavenge_index_find(&pages).ci, 0);
    // The lower one alone, with the search far above it.
    scavenge_index_mark(&pages, chunk_base(high), chunk_base(high + 1));
    scavenge_index_mark(&pages, chunk_base(low), chunk_base(low + 1));
    scavenge_index_clear(&pages, high);
    CHECK_LEADS(low, last);
    CHECK_EQ(scavenge_index_find(&pages).ci, 0);
    lock_release(&mheap.lock);
}

TEST(index_of_two_chunks,
     "the search for pages to scavenge finds both of two chunks, in one word of"
     " the index, in others, or in other tables, first or last there")
{
    const chunk_idx table = (chunk_idx)1 << CHUNK_TABLE_BITS;
    const chunk_idx chunks[] = {
        1,          2,
        62,         63,
        64,         65,
        127,        128,
        table - 1,  table,
        table + 63, 3 * table - 1,
        3 * table,  5 * table - 64,
        5 * table,  ((chunk_idx)1 << (HEAP_ADDR_BITS - LOG_CHUNK_BYTES)) - 1,
    };
    enum { N = sizeof chunks / sizeof *chunks };
    for (size_t high = 1; high < N; high++)
        for (size_t low = 0; low < high; low++)
            check_two(chunks[low], chunks[high]);
}
