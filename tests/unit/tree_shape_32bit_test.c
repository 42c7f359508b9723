// stages: 13-
//
// mpagealloc.c, with the tree of a machine of 32 bits: four levels, two entries
// in the root.

#define TREE_SHAPE                                                             \
    HEAP_ADDR_BITS = 32, SUMMARY_LEVELS = 4, SUMMARY_LEVEL_BITS = 3,           \
    LOG_CHUNK_PAGES = 9
#include "tree_shape.h"

#include "palloc_model.h"
#include "test.h"

TEST(
    shape_of_32_bits,
    "entries stand for 2 GiB, 256 MiB, 32 MiB and 4 MiB, and there is one table"
    " of chunks")
{
    CHECK_EQ(level_shift(0), 31);
    CHECK_EQ(level_shift(3), 22);
    CHECK_EQ(1 << level_bits(0), 2);
    CHECK_EQ(sizeof pages.blocks / sizeof *pages.blocks, 2);
    CHECK_EQ(sizeof pages.tables / sizeof *pages.tables, 1);
    CHECK_EQ(MAX_SEARCH_ADDR, UINT32_MAX);
}

// run_model does random operations on chunks with gaps between them.
static void run_model(uintptr_t base)
{
    enum { STEPS = 1500 };
    uint64_t state = random_start();
    model_begin(base);
    model_grow(2, 2);
    for (size_t i = 0; i < STEPS; i++) {
        if (i == STEPS / 4)
            model_grow(7, 9);
        if (i == STEPS / 2)
            model_grow(0, 1);
        model_step(&state);
    }
    model_end();
}

TEST(pages_of_32_bits_equal_a_model,
     "with a tree of four levels, pages are what a model says that keeps a note"
     " of each, at the borders of each level and at both ends of memory")
{
    const uintptr_t below = 8 * PALLOC_CHUNK_BYTES;
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++)
        run_model(((uintptr_t)3 << 29) + ((uintptr_t)1 << level_shift(level)) -
                  below);
    run_model(PALLOC_CHUNK_BYTES);
    run_model((UINT64_C(1) << 32) -
              (uintptr_t)MODEL_CHUNKS * PALLOC_CHUNK_BYTES);
}

TEST(all_of_32_bits,
     "nearly all of the address space can be one heap, handed out in one piece,"
     " or in two")
{
    const uintptr_t base = PALLOC_CHUNK_BYTES;
    const size_t npages = ((UINT64_C(1) << 32) - base) / PAGE_SIZE;
    model_begin(0);
    lock_acquire(&mheap.lock);
    CHECK_TRUE(page_alloc_grow(&pages, base, npages * PAGE_SIZE));
    CHECK_EQ(page_alloc_summary(&pages, 0, 1), UINT64_C(1) << 63);
    CHECK_EQ(page_alloc_alloc(&pages, npages + 1).base, 0);
    CHECK_EQ(page_alloc_alloc(&pages, npages).base, base);
    CHECK_EQ(page_alloc_alloc(&pages, 1).base, 0);
    page_alloc_free(&pages, base, npages, false);
    CHECK_EQ(page_alloc_alloc(&pages, npages - 3).base, base);
    CHECK_EQ(page_alloc_alloc(&pages, 4).base, 0);
    CHECK_EQ(page_alloc_alloc(&pages, 3).base, base + (npages - 3) * PAGE_SIZE);
    CHECK_TRUE(page_alloc_check(&pages));
    lock_release(&mheap.lock);
}
