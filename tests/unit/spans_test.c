// stages: 05
//
// What spans promise to the callers of malloc: no header, any page for any
// class, one span in reserve.

#include "heap.h"

#include <string.h>

#include "blocks.h"
#include "child.h"
#include "os_memory.h"
#include "test.h"

enum { MOST = 100000 };
static void *blocks[MOST];

// ---------------------------------------------------------------------------
// Memory.

TEST(a_page_holds_512_objects,
     "objects of 16 bytes lie 16 bytes apart, 512 in a page, with nothing"
     " between them")
{
    allocate(blocks, 513, 16);
    CHECK_ALIGNED(blocks[0], PAGE_SIZE);
    for (size_t i = 1; i < 512; i++)
        CHECK_PTR_EQ(blocks[i], (char *)blocks[i - 1] + 16);
    CHECK_EQ(spans_in_use(), 2);
    const struct mspan *s = span_of(blocks[0]);
    CHECK_EQ(s->nelems, 512);
    CHECK_EQ(s->alloc_count, 512);
    CHECK_PTR_EQ(span_of((char *)blocks[511] + 15), s);
    CHECK_TRUE(span_of(blocks[512]) != s);
    release(blocks, 513);
}

TEST(
    a_block_costs_less_than_a_byte,
    "100,000 blocks of 16 bytes need less than a byte of metadata each, where a"
    " header takes 16; 512 more blocks need one struct more")
{
    allocate(blocks, MOST, 16);
    CHECK_LE(stats().bytes_of_metadata, MOST);
    // The last span is not full.
    void *more[512];
    struct mm_stats before = stats();
    for (size_t i = 0; i < 512; i++)
        more[i] = mm_malloc(16);
    struct mm_stats after = stats();
    CHECK_EQ(after.span_allocs - before.span_allocs, 1);
    CHECK_EQ(after.bytes_from_os, before.bytes_from_os);
    CHECK_EQ(after.bytes_of_metadata - before.bytes_of_metadata,
             round_up(sizeof(struct mspan), MM_ALIGNMENT));
    for (size_t i = 0; i < 512; i++)
        mm_free(more[i]);
    release(blocks, MOST);
}

TEST(metadata_lies_apart,
     "nothing of the allocator lies in a page of the heap: a program can fill"
     " all of its blocks")
{
    size_t n = 3000;
    for (size_t i = 0; i < n; i++) {
        size_t size = i % 300 == 0 ? 100000 : 1 + i * 7 % 5000;
        blocks[i] = mm_malloc(size);
        memset(blocks[i], (int)i, mm_usable_size(blocks[i]));
    }
    CHECK_TRUE(mm_check());
    for (size_t i = 0; i < n; i++) {
        const char *p = blocks[i];
        CHECK_EQ(p[0], (char)i);
        CHECK_EQ(p[mm_usable_size(p) - 1], (char)i);
    }
    release(blocks, n);
}

TEST(pages_serve_any_class,
     "a program that frees all blocks of one size gets the pages back for those"
     " of another, and for large ones: the OS gives no more")
{
    size_t bytes = 800 << 10;
    allocate(blocks, bytes / 64, 64);
    release(blocks, bytes / 64);
    uint64_t from_os = stats().bytes_from_os;
    for (size_t size = 160; size <= 640; size += 96) {
        allocate(blocks, bytes / size, size);
        release(blocks, bytes / size);
        CHECK_EQ(stats().bytes_from_os, from_os);
    }
    void *large = mm_malloc(bytes);
    CHECK_NOT_NULL(large);
    CHECK_EQ(stats().bytes_from_os, from_os);
    mm_free(large);
    allocate(blocks, bytes / 64, 64);
    CHECK_EQ(stats().bytes_from_os, from_os);
    release(blocks, bytes / 64);
}

TEST(large_blocks_are_reused,
     "a freed large block merges with its neighbours, and no system call is"
     " needed to allocate it again")
{
    for (size_t i = 0; i < 4; i++)
        blocks[i] = mm_malloc(4 << 20);
    release(blocks, 4);
    struct mm_stats before = stats();
    for (size_t round = 0; round < 100; round++) {
        for (size_t i = 0; i < 4; i++) {
            blocks[i] = mm_malloc((2 << 20) + 40000 * round / 4);
            CHECK_NOT_NULL(blocks[i]);
        }
        release(blocks, 4);
    }
    CHECK_EQ(stats().mmaps, before.mmaps);
    CHECK_EQ(stats().munmaps, before.munmaps);
}

TEST(large_blocks_are_whole_pages,
     "a block above 32 KiB has a span of its own, of as many pages as it needs")
{
    static const struct {
        size_t asked, npages;
    } cases[] = {{32769, 5},     {40960, 5},           {40961, 6},
                 {1 << 20, 128}, {(1 << 20) + 1, 129}, {5000000, 611}};
    for (size_t i = 0; i < 6; i++) {
        char *p = mm_malloc(cases[i].asked);
        CHECK_ALIGNED(p, PAGE_SIZE);
        CHECK_EQ(mm_usable_size(p), cases[i].npages * PAGE_SIZE);
        CHECK_EQ(span_of(p)->npages, cases[i].npages);
        CHECK_EQ(span_of(p)->sizeclass, 0);
        mm_free(p);
        CHECK_NULL(span_of(p));
    }
}

// ---------------------------------------------------------------------------
// Which span.

TEST(one_empty_span_stays,
     "of the spans of a class that become empty, one stays, the others go back")
{
    allocate(blocks, 10 * 512, 16);
    CHECK_EQ(spans_in_use(), 10);
    release(blocks, 10 * 512);
    CHECK_EQ(spans_in_use(), 1);
    allocate(blocks, 8, 1024);
    CHECK_EQ(spans_in_use(), 2);
    release(blocks, 8);
    CHECK_EQ(spans_in_use(), 2);
}

TEST(a_pair_cuts_no_span,
     "malloc and free of one block take no span and give none back, even if"
     " there is no other block")
{
    mm_free(mm_malloc(100));
    struct mm_stats before = stats();
    for (size_t i = 0; i < 1000; i++)
        mm_free(mm_malloc(100));
    struct mm_stats after = stats();
    CHECK_EQ(after.span_allocs, before.span_allocs);
    CHECK_EQ(after.span_frees, before.span_frees);
    CHECK_EQ(after.mmaps, before.mmaps);
    CHECK_EQ(after.nodes_visited - before.nodes_visited, 1000);
}

TEST(at_the_edge_of_a_span_no_span_is_cut,
     "malloc and free of the first block of a span cut no span each time, if"
     " the other spans are full")
{
    allocate(blocks, 512, 16);
    mm_free(mm_malloc(16));
    struct mm_stats before = stats();
    for (size_t i = 0; i < 1000; i++)
        mm_free(mm_malloc(16));
    CHECK_EQ(stats().span_allocs, before.span_allocs);
    CHECK_EQ(stats().span_frees, before.span_frees);
    release(blocks, 512);
}

TEST(the_lock_is_taken_for_each_call,
     "a pair of malloc and free takes the lock twice")
{
    struct mm_stats before = stats();
    for (size_t i = 0; i < 1000; i++)
        mm_free(mm_malloc(100));
    // And once by mm_stats itself.
    CHECK_EQ(stats().locks_taken - before.locks_taken, 2000 + 1);
}

TEST(full_spans_are_left_alone,
     "a full span is not searched; when one of its blocks is freed, that is the"
     " next to be handed out")
{
    allocate(blocks, 5 * 512, 16);
    uint64_t before = stats().nodes_visited;
    mm_free(blocks[700]);
    CHECK_PTR_EQ(mm_malloc(16), blocks[700]);
    CHECK_EQ(stats().nodes_visited - before, 1);
    mm_free(blocks[0]);
    mm_free(blocks[2000]);
    CHECK_PTR_EQ(mm_malloc(16), blocks[2000]);
    CHECK_PTR_EQ(mm_malloc(16), blocks[0]);
    CHECK_EQ(spans_in_use(), 5);
    release(blocks, 5 * 512);
}

// fill_heap makes one empty span each of two classes, side by side, and takes
// all the rest of the heap. From here on the OS refuses.
static void *rest_of_heap;

static void fill_heap(void)
{
    void *p = mm_malloc(16);
    void *q = mm_malloc(48);
    rest_of_heap = mm_malloc(126 * PAGE_SIZE);
    mm_free(p);
    mm_free(q);
    CHECK_EQ(spans_in_use(), 3);
    CHECK_EQ(stats().mmaps, 2); // the heap and its metadata
    os.fail_from = os.calls + 1;
}

TEST(empty_spans_are_given_up_when_memory_is_short,
     "if the OS refuses memory, the spans in reserve go back to the page heap,"
     " are merged, and serve what was asked for; errno stays")
{
    fill_heap();
    size_t size = 1408;
    CHECK_EQ(class_npages(size_class_of(size)), 2);
    errno = 4711;
    char *p = mm_malloc(size);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(stats().span_frees, 2);
    CHECK_NULL(mm_malloc(16));
    CHECK_EQ(errno, ENOMEM);
    CHECK_NULL(mm_malloc(40000));
    CHECK_TRUE(mm_check());
    mm_free(p);
    errno = 4711;
    p = mm_malloc(16); // the only empty span is of another class
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    mm_free(p);
    mm_free(rest_of_heap);
}

TEST(aligned_and_large_blocks_use_them_too,
     "an aligned block, too, gets the spans in reserve")
{
    fill_heap();
    mm_free(rest_of_heap);
    // All but the reserve is free: 126 pages.
    errno = 4711;
    void *p = mm_malloc(128 * PAGE_SIZE);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(spans_in_use(), 1);
    mm_free(p);
}

// count_block counts the blocks that mm_walk shows.
static void count_block(const struct mm_item *item, void *ctx)
{
    size_t *n = ctx;
    n[item->state] += item->kind == MM_BLOCK;
}

TEST(without_structs_malloc_fails,
     "if there is no memory for another struct, malloc says so; a block that"
     " needs none is served")
{
    void *large = mm_malloc(1000 * PAGE_SIZE);
    mm_free(large);
    os.fail_from = os.calls + 1;
    lock_acquire(&mheap.lock);
    while (fixalloc_alloc(&mheap.spanalloc) != NULL)
        continue;
    lock_release(&mheap.lock);
    errno = 0;
    CHECK_NULL(mm_malloc(16));
    CHECK_EQ(errno, ENOMEM);
    CHECK_TRUE(mm_check());
    size_t n[2] = {0};
    mm_walk(count_block, n);
    CHECK_EQ(n[MM_USED] + n[MM_FREE], 0);
    large = mm_malloc(1000 * PAGE_SIZE);
    CHECK_NOT_NULL(large);
    mm_walk(count_block, n);
    CHECK_EQ(n[MM_USED], 1);
    mm_free(large);
}

// ---------------------------------------------------------------------------
// Aligned blocks.

TEST(aligned_blocks_come_from_classes,
     "up to a page, an aligned block is an object of a class whose size is a"
     " multiple of the alignment")
{
    static const struct {
        size_t align, asked, got;
    } cases[] = {
        {32, 1, 32},          {32, 40, 64},        {64, 100, 128},
        {64, 0, 64},          {128, 129, 256},     {256, 1, 256},
        {1024, 1025, 2048},   {4096, 10, 4096},    {4096, 4097, 8192},
        {8192, 1, 8192},      {8192, 8193, 16384}, {8192, 20000, 24576},
        {8192, 32768, 32768}, {2048, 5000, 6144},  {512, 9000, 9728}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *p[3];
        for (size_t k = 0; k < 3; k++) {
            p[k] = mm_memalign(cases[i].align, cases[i].asked);
            CHECK_ALIGNED(p[k], cases[i].align);
            CHECK_EQ(mm_usable_size(p[k]), cases[i].got);
            CHECK_TRUE(span_of(p[k])->sizeclass != 0);
        }
        for (size_t k = 0; k < 3; k++)
            mm_free(p[k]);
    }
}

TEST(blocks_aligned_beyond_a_page_have_a_span,
     "above a page, an aligned block has a span of its own at such a multiple")
{
    for (size_t align = 2 * PAGE_SIZE; align <= 4 << 20; align *= 2) {
        void *p = mm_memalign(align, 100);
        void *q = mm_memalign(align, 40000);
        CHECK_ALIGNED(p, align);
        CHECK_ALIGNED(q, align);
        CHECK_EQ(mm_usable_size(p), PAGE_SIZE);
        CHECK_EQ(mm_usable_size(q), 5 * PAGE_SIZE);
        mm_free(p);
        mm_free(q);
    }
    CHECK_EQ(spans_in_use(), 0);
}

// ---------------------------------------------------------------------------
// Mistakes.

static void free_again(void *p)
{
    mm_free(p);
    mm_free(p);
}

static void free_it(void *p)
{
    mm_free(p);
}

static void write_next(void *p)
{
    mm_free(p);
    *(char *)p = 1;
    mm_malloc(100);
}

static void write_seal(void *p)
{
    mm_free(p);
    ((char *)p)[8] ^= 1;
    mm_malloc(100);
}

static void ask_size(void *p)
{
    (void)mm_usable_size(p);
}

TEST(mistakes_are_reported,
     "a second free, a pointer into a block, to what is left over at the end of"
     " a span, to no block at all, and a write to a free block are reported")
{
    char *small = mm_malloc(100); // 112 bytes; 73 in a page, 16 bytes left
    char *large = mm_malloc(100000);
    char *freed = mm_malloc(200000);
    char *page = (char *)((uintptr_t)small & -(uintptr_t)PAGE_SIZE);
    static char foreign[64];
    mm_free(freed);
    CHECK_ABORTS(free_again, small,
                 "mm: free(%p): double free (block %p, 112 bytes)\n", small,
                 small);
    CHECK_ABORTS(free_again, large, "mm: free(%p): double free\n", large);
    CHECK_ABORTS(free_it, freed, "mm: free(%p): double free\n", freed);
    CHECK_ABORTS(free_it, small + 16, "mm: free(%p): no block starts here\n",
                 small + 16);
    CHECK_ABORTS(free_it, large + PAGE_SIZE,
                 "mm: free(%p): no block starts here\n", large + PAGE_SIZE);
    CHECK_ABORTS(free_it, page + 73 * 112,
                 "mm: free(%p): no block starts here\n", page + 73 * 112);
    CHECK_ABORTS(free_it, small + 112,
                 "mm: free(%p): double free (block %p, 112 bytes)\n",
                 small + 112, small + 112);
    CHECK_ABORTS(free_it, foreign,
                 "mm: free(%p): not a block of this allocator\n", foreign);
    CHECK_ABORTS(ask_size, foreign,
                 "mm: malloc_usable_size(%p): not a block of this allocator\n",
                 foreign);
    CHECK_ABORTS(write_next, small,
                 "mm: malloc(%p): something wrote to a block after it was freed"
                 " (block %p, 112 bytes)\n",
                 small, small);
    CHECK_ABORTS(write_seal, small,
                 "mm: malloc(%p): something wrote to a block after it was freed"
                 " (block %p, 112 bytes)\n",
                 small, small);
    mm_free(small);
    mm_free(large);
}

TEST(old_seals_are_forgotten,
     "a block that was free before is not taken for free, whatever class its"
     " page had, and whatever the program left in it")
{
    // All objects of the page are sealed, and then it serves other classes.
    static const size_t sizes[] = {16, 48, 80, 4096, 16, 32, 1024, 16};
    for (size_t i = 0; i < 8; i++) {
        size_t n = 2 * PAGE_SIZE / sizes[i];
        allocate(blocks, n, sizes[i]);
        release(blocks, n);
    }
    char *large = mm_malloc(100000);
    mm_free(large);
    CHECK_EQ(stats().mallocs, stats().frees);
}
