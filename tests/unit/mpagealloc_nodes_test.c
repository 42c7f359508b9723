// stages: 12-
//
// mpagealloc.c: how many chunks or summaries a search looks at, however large
// the heap is.

#include "heap.h"

#include "blocks.h"
#include "palloc_model.h"
#include "test.h"

// The heap begins at a border of all levels.
static const uintptr_t base = UINT64_C(0x30) << 32;

// fill makes a heap of n chunks, all in use, and the search begins at its
// lowest page.
static void fill(size_t n_chunks)
{
    model_begin(0);
    lock_acquire(&mheap.lock);
    CHECK_TRUE(page_alloc_grow(&pages, base, n_chunks * PALLOC_CHUNK_BYTES));
    page_alloc_alloc_range(&pages, base, n_chunks * PALLOC_CHUNK_PAGES);
    page_alloc_free(&pages, base, 1, false);
    CHECK_EQ(page_alloc_alloc(&pages, 1).base, base);
    lock_release(&mheap.lock);
}

// nodes_of takes n pages, from at on, and returns how many nodes the search
// visited.
static uint64_t nodes_of(size_t n, uintptr_t at)
{
    uint64_t before = stats().nodes_visited;
    lock_acquire(&mheap.lock);
    CHECK_EQ(page_alloc_alloc(&pages, n).base, at);
    lock_release(&mheap.lock);
    return stats().nodes_visited - before;
}

static void give(uintptr_t at, size_t n)
{
    lock_acquire(&mheap.lock);
    page_alloc_free(&pages, at, n, false);
    lock_release(&mheap.lock);
}

TEST(
    nodes_on_the_way_to_the_last_page,
    "the search for the last page of a heap looks at each chunk, where there"
    " are only bitmaps, and at eight entries of a level at most, where there is"
    " a tree")
{
    static const struct {
        size_t mib, chunks, tree;
    } cases[] = {
        {64, 16, 14},     {256, 64, 20},     {1024, 256, 23},
        {4096, 1024, 28}, {16384, 4096, 34}, {65536, 16384, 37},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t chunks = cases[i].chunks;
        uintptr_t last = base + chunks * PALLOC_CHUNK_BYTES - PAGE_SIZE;
        CHECK_EQ(chunks * PALLOC_CHUNK_BYTES, cases[i].mib << 20);
        fill(chunks);
        give(last, 1);
        uint64_t nodes = nodes_of(1, last);
        CHECK_EQ(nodes, WITH_TREE ? cases[i].tree : chunks);
        if (WITH_TREE)
            CHECK_LE(nodes, 8 * 5 + 1); // and the bitmap of the chunk
        // Above, each entry has a page free, but not two in a row.
        for (size_t k = 0; k < chunks; k++)
            give(base + k * PALLOC_CHUNK_BYTES, 1);
        give(last - PAGE_SIZE, 2);
        CHECK_EQ(nodes_of(2, last - PAGE_SIZE),
                 WITH_TREE ? cases[i].tree : chunks);
    }
}

TEST(nodes_where_the_last_search_ended,
     "pages are found with one look where a page was taken last, if there is a"
     " tree, whatever lies below")
{
    size_t chunks = 1024;
    uintptr_t middle = base + (chunks / 2 - 1) * PALLOC_CHUNK_BYTES;
    fill(chunks);
    give(middle, PALLOC_CHUNK_PAGES);
    for (size_t i = 0; i < PALLOC_CHUNK_PAGES; i++) {
        uint64_t nodes = nodes_of(1, middle + i * PAGE_SIZE);
        uint64_t first = WITH_TREE ? 26 : 512;
        CHECK_EQ(nodes, WITH_TREE && i > 0 ? 1 : first);
    }
    // Just as many as are left of the chunk are enough.
    give(middle + 7 * PAGE_SIZE, PALLOC_CHUNK_PAGES - 7);
    CHECK_EQ(nodes_of(PALLOC_CHUNK_PAGES - 7, middle + 7 * PAGE_SIZE),
             WITH_TREE ? 1 : 512);
}
