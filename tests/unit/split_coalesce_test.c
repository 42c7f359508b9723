// stages: 03
//
// Boundary tags: exact pieces after splitting, coalescing, growing, trimming.
//
// In the texts, the last free block is what is left of the memory that the heap
// took from the OS, 64 KiB at a time.

#include <errno.h>

#include "child.h"
#include "heap_shape.h"

enum {
    HEADER = 16,
    GROW = 65536, // the break moves up by multiples of this
    TRIM = 2 * GROW, // free bytes at the end from which it moves down
    ROOM = GROW - 2 * HEADER // in the first GROW bytes: a header, a fence
};

// check_first checks what the heap looks like after a malloc as its first.
static void check_first(size_t size, size_t grown, const char *text)
{
    char *old_break = move_break_to(16, 0);
    struct mm_stats before = {0};
    counted(&before);
    void *p = mm_malloc(size);
    struct mm_stats first = counted(&before);
    CHECK_PTR_EQ(p, old_break + HEADER);
    CHECK_PTR_EQ(sbrk(0), old_break + grown);
    CHECK_EQ(first.sbrks, 1);
    CHECK_EQ(first.bytes_from_os, grown);
    CHECK_HEAP(text);
    mm_free(p);
}

TEST(heap_starts_with_64_kib,
     "the break moves up by 64 KiB for a small block, and the rest is free")
{
    check_first(1, GROW, "used 16, free 65472, fence");
}

TEST(heap_can_be_filled,
     "64 KiB hold one block that leaves room for a header and the fence only")
{
    check_first(ROOM, GROW, "used 65504, fence");
}

TEST(heap_grows_by_multiples,
     "a block that does not fit into 64 KiB gets the next multiple")
{
    check_first(ROOM + 1, 2 * GROW, "used 65520, free 65504, fence");
}

TEST(growth_joins_the_free_end,
     "new memory becomes one with the free block below it: the fence between"
     " them goes")
{
    void *a = mm_malloc(32);
    CHECK_HEAP("used 32, free 65456, fence");
    struct mm_stats before = {0};
    counted(&before);
    void *b = mm_malloc(100000);
    CHECK_HEAP("used 32, used 100000, free 96512, fence");
    struct mm_stats grown = counted(&before);
    CHECK_EQ(grown.sbrks, 1);
    CHECK_EQ(grown.bytes_from_os, TRIM);
    CHECK_EQ(grown.merges, 1);
    CHECK_EQ(grown.splits, 1);
    mm_free(b);
    mm_free(a);
}

TEST(growth_follows_a_used_end,
     "new memory above a used block becomes a block of its own, in place of"
     " the fence")
{
    void *a = mm_malloc(ROOM);
    CHECK_HEAP("used 65504, fence");
    void *b = mm_malloc(32);
    CHECK_HEAP("used 65504, used 32, free 65472, fence");
    mm_free(a);
    mm_free(b);
}

TEST(rest_of_a_split_is_exact,
     "a block is cut where the request ends, if the rest holds a header and 16"
     " bytes; a smaller rest stays with the block")
{
    static const struct {
        size_t size;
        const char *heap;
        unsigned splits;
    } cases[] = {
        {16, "used 16, free 96, used 16, free 65328, fence", 1},
        {80, "used 80, free 32, used 16, free 65328, fence", 1},
        {81, "used 96, free 16, used 16, free 65328, fence", 1},
        {96, "used 96, free 16, used 16, free 65328, fence", 1},
        {97, "used 128, used 16, free 65328, fence", 0},
        {112, "used 128, used 16, free 65328, fence", 0},
        {128, "used 128, used 16, free 65328, fence", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *p = mm_malloc(128);
        void *wall = mm_malloc(16);
        mm_free(p);
        struct mm_stats before = {0};
        counted(&before);
        CHECK_PTR_EQ(mm_malloc(cases[i].size), p);
        CHECK_HEAP(cases[i].heap);
        CHECK_EQ(counted(&before).splits, cases[i].splits);
        CHECK_EQ(mm_usable_size(p), heap.blocks[0].size - HEADER);
        mm_free(p);
        mm_free(wall);
        CHECK_HEAP("free 65504, fence");
    }
}

TEST(neighbours_become_one,
     "a freed block becomes one with the free blocks next to it, on either"
     " side, and with no other")
{
    static const struct {
        bool low_is_free, high_is_free;
        const char *heap;
        unsigned merges;
    } cases[] = {
        {false, false, "used 32, free 64, used 96, used 16", 0},
        {true, false, "free 112, used 96, used 16", 1},
        {false, true, "used 32, free 176, used 16", 1},
        {true, true, "free 224, used 16", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *low = mm_malloc(32);
        void *middle = mm_malloc(64);
        void *high = mm_malloc(96);
        void *wall = mm_malloc(16);
        CHECK_HEAP("used 32, used 64, used 96, used 16, free 65232, fence");
        if (cases[i].low_is_free)
            mm_free(low);
        if (cases[i].high_is_free)
            mm_free(high);

        struct mm_stats before = {0};
        counted(&before);
        mm_free(middle);
        CHECK_EQ(counted(&before).merges, cases[i].merges);
        char expected[200];
        snprintf(expected, sizeof expected, "%s, free 65232, fence",
                 cases[i].heap);
        CHECK_HEAP(expected);

        if (!cases[i].low_is_free)
            mm_free(low);
        if (!cases[i].high_is_free)
            mm_free(high);
        mm_free(wall);
        CHECK_HEAP("free 65504, fence");
    }
}

TEST(holes_become_whole,
     "when every other block is free nothing merges; when the rest is freed,"
     " too, one block is left, and a large request needs no new memory")
{
    enum { COUNT = 64 };
    void *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = mm_malloc(1008);
    struct mm_stats before = {0};
    counted(&before);
    for (size_t i = 0; i < COUNT; i += 2)
        mm_free(blocks[i]);
    CHECK_EQ(counted(&before).merges, 0);
    for (size_t i = 1; i < COUNT; i += 2)
        mm_free(blocks[i]);
    CHECK_EQ(counted(&before).merges, COUNT);
    CHECK_HEAP("free 131040, fence");
    void *p = mm_malloc(COUNT * 1024 - HEADER);
    CHECK_PTR_EQ(p, blocks[0]);
    CHECK_EQ(counted(&before).sbrks, 0);
    mm_free(p);
}

TEST(freed_last_is_first,
     "a freed block goes to the front of the free list, and malloc takes the"
     " first that is large enough, wherever it lies")
{
    void *blocks[3], *walls[3];
    for (size_t i = 0; i < 3; i++) {
        blocks[i] = mm_malloc(32 + 16 * i);
        walls[i] = mm_malloc(16);
    }
    CHECK_LIST("free blocks", "65216");
    mm_free(blocks[1]);
    CHECK_LIST("free blocks", "48, 65216");
    mm_free(blocks[2]);
    mm_free(blocks[0]);
    CHECK_LIST("free blocks", "32, 64, 48, 65216");

    struct mm_stats before = {0};
    counted(&before);
    CHECK_PTR_EQ(mm_malloc(48), blocks[2]);
    CHECK_EQ(counted(&before).nodes_visited, 2);
    CHECK_LIST("free blocks", "32, 48, 65216");
    CHECK_PTR_EQ(mm_malloc(48), blocks[1]);
    CHECK_PTR_EQ(mm_malloc(32), blocks[0]);
    CHECK_LIST("free blocks", "65216");
    for (size_t i = 0; i < 3; i++) {
        mm_free(blocks[i]);
        mm_free(walls[i]);
    }
    CHECK_LIST("free blocks", "65504");
}

TEST(rest_goes_to_the_front,
     "what is left of a split block is the first on the free list")
{
    void *p = mm_malloc(128);
    void *q = mm_malloc(16);
    void *r = mm_malloc(16);
    void *wall = mm_malloc(16);
    mm_free(p);
    mm_free(r);
    CHECK_LIST("free blocks", "16, 128, 65264");
    CHECK_PTR_EQ(mm_malloc(64), p);
    CHECK_LIST("free blocks", "48, 16, 65264");
    mm_free(p);
    mm_free(q);
    mm_free(wall);
}

TEST(search_visits_free_blocks_only,
     "used blocks are not looked at, however many there are")
{
    enum { COUNT = 100 };
    void *blocks[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = mm_malloc(100);
    struct mm_stats before = {0};
    counted(&before);
    void *p = mm_malloc(100);
    CHECK_EQ(counted(&before).nodes_visited, 1);
    mm_free(blocks[COUNT / 2]);
    mm_free(p);
    for (size_t i = 0; i < COUNT; i++)
        if (i != COUNT / 2)
            mm_free(blocks[i]);
    CHECK_EQ(counted(&before).nodes_visited, 0);
}

// A free block at the end that is as large as asked for: GROW bytes and more.
// Returns the block that freeing makes it so.
static void *prepare_end(size_t first)
{
    mm_free(mm_malloc(100000)); // takes 2 * GROW from the OS
    CHECK_HEAP("free 131040, fence");
    void *a = mm_malloc(first);
    void *b = mm_malloc(40000);
    void *c = mm_malloc(60000); // takes another GROW
    mm_free(c);
    (void)a;
    return b;
}

TEST(large_end_goes_back,
     "128 KiB of free memory at the end go back to the OS, but for 64 KiB, in"
     " one system call")
{
    char *old_break = move_break_to(16, 0);
    void *b = prepare_end(GROW - 3 * HEADER);
    CHECK_HEAP("used 65488, used 40000, free 91056, fence");
    struct mm_stats before = {0};
    counted(&before);
    mm_free(b); // 131072 are free
    CHECK_HEAP("used 65488, free 65536, fence");
    CHECK_LIST("free blocks", "65536");
    CHECK_PTR_EQ(sbrk(0), old_break + 2 * GROW);
    struct mm_stats back = counted(&before);
    CHECK_EQ(back.sbrks, 1);
    CHECK_EQ(-(int64_t)back.bytes_from_os, GROW);
    mm_free(heap.blocks[0].header + (char *)(uintptr_t)heap.blocks[0].addr);
}

TEST(smaller_end_stays,
     "16 bytes less than 128 KiB at the end stay, so that the next malloc has"
     " no need of the OS")
{
    char *old_break = move_break_to(16, 0);
    void *b = prepare_end(GROW - 2 * HEADER);
    CHECK_HEAP("used 65504, used 40000, free 91040, fence");
    struct mm_stats before = {0};
    counted(&before);
    mm_free(b);
    CHECK_EQ(counted(&before).sbrks, 0);
    CHECK_HEAP("used 65504, free 131056, fence");
    CHECK_PTR_EQ(sbrk(0), old_break + 3 * GROW);
    mm_free(heap.blocks[0].header + (char *)(uintptr_t)heap.blocks[0].addr);
}

TEST(end_goes_back_by_64_kib,
     "what goes back is a multiple of 64 KiB, and less than 128 KiB stay")
{
    void *a = mm_malloc(1 << 20);
    CHECK_HEAP("used 1048576, free 65488, fence");
    struct mm_stats before = {0};
    counted(&before);
    mm_free(a);
    CHECK_HEAP("free 131040, fence");
    struct mm_stats back = counted(&before);
    CHECK_EQ(back.sbrks, 1);
    CHECK_EQ(-(int64_t)back.bytes_from_os, 15 * GROW);
    void *b = mm_malloc(131040);
    CHECK_HEAP("used 131040, fence");
    CHECK_EQ(counted(&before).sbrks, 0);
    mm_free(b);
}

TEST(inner_block_never_goes_back,
     "a free block of any size stays while a block above it lives")
{
    void *a = mm_malloc(1 << 20);
    void *wall = mm_malloc(ROOM + HEADER);
    CHECK_HEAP("used 1048576, used 65520, free 131024, fence");
    char *old_break = sbrk(0);
    mm_free(a);
    CHECK_PTR_EQ(sbrk(0), old_break);
    CHECK_HEAP("free 1048576, used 65520, free 131024, fence");
    mm_free(wall);
}

TEST(foreign_memory_above_keeps_the_end,
     "the free end stays while somebody else has memory above it")
{
    void *a = mm_malloc(1 << 20);
    char *foreign = sbrk(48);
    memset(foreign, 0x5A, 48);
    mm_free(a);
    CHECK_HEAP("free 1114080, fence");
    CHECK_PTR_EQ(sbrk(0), foreign + 48);
    for (size_t i = 0; i < 48; i++)
        CHECK_EQ(foreign[i], 0x5A);
}

TEST(fence_covers_foreign_memory,
     "memory of somebody else lies between two fences, and nothing merges"
     " across it")
{
    void *a = mm_malloc(16);
    char *foreign = sbrk(160);
    memset(foreign, 0x5A, 160);
    void *b = mm_malloc(ROOM);
    CHECK_HEAP("used 16, free 65472, fence, gap 160, used 65504, fence");
    mm_free(b);
    CHECK_HEAP("used 16, free 65472, fence, gap 160, free 65504, fence");
    mm_free(a);
    CHECK_HEAP("free 65504, fence, gap 160, free 65504, fence");
    CHECK_LIST("free blocks", "65504, 65504");
    for (size_t i = 0; i < 160; i++)
        CHECK_EQ(foreign[i], 0x5A);
}

TEST(end_above_foreign_memory_goes_back,
     "the free end goes back down to 64 KiB above memory of somebody else")
{
    void *a = mm_malloc(16);
    sbrk(160);
    void *b = mm_malloc(1 << 20);
    CHECK_HEAP("used 16, free 65472, fence, gap 160, used 1048576, free 65488,"
               " fence");
    mm_free(b);
    CHECK_HEAP("used 16, free 65472, fence, gap 160, free 131040, fence");
    mm_free(a);
}

TEST(foreign_break_is_made_up_for,
     "wherever others leave the break, the next block is at a multiple of 16")
{
    enum { COUNT = 48 };
    void *blocks[COUNT];
    for (size_t n = 0; n < COUNT; n++) {
        char *foreign = sbrk((intptr_t)n);
        memset(foreign, 0x5A, n);
        blocks[n] = mm_malloc(ROOM);
        CHECK_ALIGNED(blocks[n], 16);
        CHECK_LE((char *)blocks[n] - foreign, n + 15 + HEADER);
        memset(blocks[n], 0, mm_usable_size(blocks[n]));
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(foreign[i], 0x5A);
        CHECK_TRUE(mm_check());
    }
    heap_read();
    const struct mm_item *last = &heap.blocks[heap.n - 1];
    CHECK_EQ(last->size, last->header); // a fence
    for (size_t n = 0; n < COUNT; n++)
        mm_free(blocks[n]);
}

TEST(odd_break_is_left_once,
     "after somebody else left the break at an odd address, the heap grows on"
     " in one piece, and goes back")
{
    void *a = mm_malloc(ROOM);
    sbrk(1);
    void *b = mm_malloc(ROOM);
    void *c = mm_malloc(ROOM);
    CHECK_HEAP("used 65504, fence, gap 16, used 65504, used 65520, fence");
    mm_free(b);
    mm_free(c);
    CHECK_HEAP("used 65504, fence, gap 16, free 131040, fence");
    mm_free(a);
}

TEST(
    aligned_block_leaves_two_rests,
    "what lies below and above an aligned block becomes free, and merges again")
{
    char *old_break = move_break_to(4096, 0);
    char *p = mm_aligned_alloc(1024, 100);
    CHECK_PTR_EQ(p, old_break + 1024);
    CHECK_HEAP("free 992, used 112, free 64368, fence");
    struct mm_stats stats;
    mm_stats(&stats);
    CHECK_EQ(stats.splits, 2);
    CHECK_EQ(stats.bytes_in_use, 112);
    void *q = mm_malloc(64368);
    mm_free(p);
    CHECK_HEAP("free 1120, used 64368, fence");
    mm_free(q);
    CHECK_HEAP("free 65504, fence");
}

TEST(rest_below_is_never_empty,
     "where an aligned block would leave room for a header only, it starts one"
     " alignment further up")
{
    char *old_break = move_break_to(1024, 1024 - 2 * HEADER);
    char *p = mm_aligned_alloc(1024, 16);
    CHECK_PTR_EQ(p, old_break + 2 * HEADER + 1024);
    CHECK_HEAP("free 1024, used 16, free 64432, fence");
    mm_free(p);
}

TEST(aligned_by_chance_is_not_cut,
     "a block that happens to be aligned is cut at its end only")
{
    char *old_break = move_break_to(1024, 1024 - HEADER);
    char *p = mm_aligned_alloc(1024, 16);
    CHECK_PTR_EQ(p, old_break + HEADER);
    CHECK_HEAP("used 16, free 65472, fence");
    mm_free(p);
}

// Blocks between walls, and pieces that are next to each other.
struct places {
    uint64_t *a, *b, *c, *wall;
};

static struct places four_places(void)
{
    struct places at;
    at.a = mm_malloc(48);
    at.b = mm_malloc(48);
    at.c = mm_malloc(48);
    at.wall = mm_malloc(16);
    CHECK_HEAP("used 48, used 48, used 48, used 16, free 65280, fence");
    return at;
}

static void free_four(struct places at)
{
    mm_free(at.a);
    mm_free(at.b);
    mm_free(at.c);
    mm_free(at.wall);
}

static void write_next_after_free(void *argument)
{
    struct places *at = argument;
    mm_free(at->b);
    at->b[0] = (uintptr_t)at->a; // in the heap, but no header
    mm_malloc(48);
}

static void write_other_next_after_free(void *argument)
{
    struct places *at = argument;
    mm_free(at->b);
    at->b[0] = (uintptr_t)(at->a - 2); // a header, but not on the list
    mm_malloc(48);
}

static void write_prev_after_free(void *argument)
{
    struct places *at = argument;
    mm_free(at->b);
    at->b[1] = UINT64_C(0x4141414141414141); // nowhere
    mm_malloc(48);
}

static void write_other_prev_after_free(void *argument)
{
    struct places *at = argument;
    mm_free(at->b);
    at->b[1] = (uintptr_t)(at->a - 2);
    mm_malloc(48);
}

static void merge_after_write(void *argument)
{
    struct places *at = argument;
    mm_free(at->b);
    at->b[0] = 1;
    mm_free(at->a);
}

TEST(links_are_checked,
     "a write to a freed block that hits its links is noticed when the block"
     " is taken off the list, before a link is used")
{
    struct places at = four_places();
    const struct {
        void (*body)(void *);
        const char *call;
        void *argument;
    } cases[] = {
        {write_next_after_free, "malloc", at.b},
        {write_other_next_after_free, "malloc", at.b},
        {write_prev_after_free, "malloc", at.b},
        {write_other_prev_after_free, "malloc", at.b},
        {merge_after_write, "free", at.a},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        CHECK_ABORTS(cases[i].body, &at,
                     "mm: %s(%p): something wrote to a block after it was"
                     " freed (block %p, 48 bytes)\n",
                     cases[i].call, cases[i].argument, (void *)at.b);
    free_four(at);
}

// Where the two words of a header stand, seen from its block.
enum { PREV_SIZE = -2, SIZE = -1 };

static void write_below(void *argument)
{
    struct places *at = argument;
    at->b[PREV_SIZE] += 16;
    mm_free(at->b);
}

static void shrink_below(void *argument)
{
    struct places *at = argument;
    at->b[PREV_SIZE] -= 16;
    mm_free(at->b);
}

static void write_first(void *argument)
{
    struct places *at = argument;
    at->b[PREV_SIZE] = SIZE_MAX; // as in the first block: none is below
    mm_free(at->b);
}

static void write_above(void *argument)
{
    struct places *at = argument;
    at->c[PREV_SIZE] += 16; // the size of b, as c knows it
    mm_free(at->b);
}

static void write_size(void *argument)
{
    struct places *at = argument;
    at->b[SIZE] += 16; // the lowest bits are the size
    mm_free(at->b);
}

TEST(tags_are_compared,
     "a block whose size, or the size of the block below it, was changed is"
     " noticed when it is freed: the tag at the other end differs")
{
    static void (*const bodies[])(void *) = {write_below, shrink_below,
                                             write_first, write_above};
    struct places at = four_places();
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++)
        CHECK_ABORTS(bodies[i], &at,
                     "mm: free(%p): something wrote over the header of a block"
                     " (block %p, 48 bytes)\n",
                     (void *)at.b, (void *)at.b);
    CHECK_ABORTS(write_size, &at,
                 "mm: free(%p): no block starts here, or its header was"
                 " damaged\n",
                 (void *)at.b);
    free_four(at);
}

static void write_tag_of_the_end(void *argument)
{
    struct places *at = argument;
    memset(at->c, 0, 48 + HEADER); // over the header of the wall
    mm_free(at->b); // next to c, which is whole
    mm_free(at->c);
}

TEST(header_above_is_compared,
     "a free block next to a damaged header is not merged with it")
{
    struct places at = four_places();
    struct child child = child_run(write_tag_of_the_end, &at);
    CHECK_EQ(child.signal, SIGABRT);
    CHECK_TRUE(strstr(child.said, "something wrote over the header") != NULL);
    free_four(at);
}

static void free_swallowed_from_below(void *argument)
{
    struct places *at = argument;
    mm_free(at->a);
    mm_free(at->b); // becomes a part of a
    mm_free(at->b);
}

static void free_swallowed_from_above(void *argument)
{
    struct places *at = argument;
    mm_free(at->b);
    mm_free(at->a); // b becomes a part of it
    mm_free(at->b);
}

static void free_swallowed_by_both(void *argument)
{
    struct places *at = argument;
    mm_free(at->a);
    mm_free(at->c);
    mm_free(at->b);
    mm_free(at->b);
}

TEST(swallowed_blocks_stay_marked,
     "a second free is noticed even if the block became a part of another")
{
    struct places at = four_places();
    CHECK_ABORTS(free_swallowed_from_below, &at,
                 "mm: free(%p): double free (block %p, 48 bytes)\n",
                 (void *)at.b, (void *)at.b);
    CHECK_ABORTS(free_swallowed_from_above, &at,
                 "mm: free(%p): double free (block %p, 48 bytes)\n",
                 (void *)at.b, (void *)at.b);
    struct child child = child_run(free_swallowed_by_both, &at);
    CHECK_EQ(child.signal, SIGABRT);
    CHECK_TRUE(strstr(child.said, "double free") != NULL);
    free_four(at);
}

static void free_it(void *p)
{
    mm_free(p);
}

TEST(fence_is_no_block,
     "a fence, and what would be its block, cannot be freed, be it at the end"
     " or below memory of somebody else")
{
    void *a = mm_malloc(16);
    char *foreign = sbrk(160);
    void *b = mm_malloc(ROOM);
    CHECK_HEAP("used 16, free 65472, fence, gap 160, used 65504, fence");
    void *inner_fence = foreign - HEADER;
    void *last_fence = (char *)b + ROOM;
    CHECK_PTR_EQ(heap.blocks[2].addr, inner_fence);
    CHECK_PTR_EQ(heap.blocks[4].addr, last_fence);

    CHECK_ABORTS(free_it, foreign,
                 "mm: free(%p): no block starts here, or its header was"
                 " damaged\n",
                 (void *)foreign);
    CHECK_ABORTS(free_it, inner_fence,
                 "mm: free(%p): no block starts here, or its header was"
                 " damaged\n",
                 inner_fence);
    CHECK_ABORTS(free_it, (char *)last_fence + HEADER,
                 "mm: free(%p): not a block of this allocator\n",
                 (void *)((char *)last_fence + HEADER));
    mm_free(a);
    mm_free(b);
}

TEST(refused_memory_changes_nothing,
     "a malloc that the OS refuses leaves the heap as it was, and what is free"
     " can still be had")
{
    void *a = mm_malloc(16);
    CHECK_HEAP("used 16, free 65472, fence");
    struct mm_stats before = {0};
    counted(&before);
    struct rlimit old_limit;
    getrlimit(RLIMIT_DATA, &old_limit);
    setrlimit(RLIMIT_DATA, &(struct rlimit){0, old_limit.rlim_max});
    errno = 0;
    void *too_large = mm_malloc(100000);
    int error = errno;
    void *too_straight = mm_aligned_alloc(1 << 17, 16);
    setrlimit(RLIMIT_DATA, &old_limit);

    CHECK_NULL(too_large);
    CHECK_EQ(error, ENOMEM);
    CHECK_NULL(too_straight);
    CHECK_HEAP("used 16, free 65472, fence");
    struct mm_stats refused = counted(&before);
    CHECK_EQ(refused.bytes_from_os, 0);
    CHECK_EQ(refused.mallocs, 0);
    void *b = mm_malloc(65472);
    CHECK_HEAP("used 16, used 65472, fence");
    mm_free(a);
    mm_free(b);
}
