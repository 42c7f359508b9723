// stages: 02
//
// One list of all blocks: first fit, whole blocks, and only the tail goes back.

#include <errno.h>
#include <sys/resource.h>

#include "heap_shape.h"

enum { HEADER = 16 };

TEST(list_holds_all_blocks,
     "all blocks are on one list by rising address, from the first to the last,"
     " and lie next to each other")
{
    void *a = mm_malloc(10);
    void *b = mm_malloc(100);
    void *c = mm_malloc(1);
    mm_free(b);
    CHECK_HEAP("used 16, free 112, used 16");
    CHECK_LIST("all blocks", "16, 112, 16");

    CHECK_EQ(heap.n_regions, 1);
    CHECK_PTR_EQ(heap.region.addr, heap.blocks[0].addr);
    CHECK_PTR_EQ(item_end(&heap.region), sbrk(0));
    for (size_t i = 0; i < heap.n; i++) {
        CHECK_EQ(heap.blocks[i].first, i == 0);
        CHECK_PTR_EQ(heap.blocks[i].next,
                     i + 1 < heap.n ? heap.blocks[i + 1].addr : NULL);
    }
    mm_free(a);
    mm_free(c);
}

TEST(first_fit_takes_the_first,
     "malloc takes the first free block that is large enough, even where a"
     " later one fits better")
{
    void *small = mm_malloc(32);
    void *wall[4];
    wall[0] = mm_malloc(16);
    void *large = mm_malloc(96);
    wall[1] = mm_malloc(16);
    void *exact = mm_malloc(48);
    wall[2] = mm_malloc(16);
    mm_free(exact);
    mm_free(large);
    mm_free(small);

    void *p = mm_malloc(48);
    CHECK_PTR_EQ(p, large);
    CHECK_HEAP("free 32, used 16, used 96, used 16, free 48, used 16");
    void *q = mm_malloc(48);
    CHECK_PTR_EQ(q, exact);
    wall[3] = mm_malloc(48); // none is left that is large enough
    CHECK_HEAP("free 32, used 16, used 96, used 16, used 48, used 16, used 48");
    mm_free(p);
    mm_free(q);
    for (size_t i = 0; i < 4; i++)
        mm_free(wall[i]);
}

TEST(large_block_serves_small_request,
     "a block is handed out whole, however much of it is not needed")
{
    void *large = mm_malloc(1 << 20);
    void *wall = mm_malloc(16);
    mm_free(large);

    struct mm_stats before = {0};
    counted(&before);
    void *p = mm_malloc(1);
    CHECK_PTR_EQ(p, large);
    CHECK_EQ(mm_usable_size(p), 1 << 20);
    CHECK_EQ(counted(&before).bytes_in_use, 1 << 20);
    void *q = mm_malloc(1);
    CHECK_HEAP("used 1048576, used 16, used 16");
    mm_free(q);
    mm_free(p);
    mm_free(wall);
}

TEST(neighbours_stay_apart,
     "free blocks next to each other are not made one, so a request larger than"
     " each does not fit")
{
    void *a = mm_malloc(64);
    void *b = mm_malloc(64);
    void *wall = mm_malloc(16);
    mm_free(a);
    mm_free(b);
    void *p = mm_malloc(80);
    CHECK_HEAP("free 64, free 64, used 16, used 80");
    mm_free(wall);
    mm_free(p);
}

TEST(tail_goes_back,
     "a freed tail goes back to the OS with all free blocks below it, in one"
     " system call")
{
    char *a = mm_malloc(100);
    void *b = mm_malloc(200);
    void *c = mm_malloc(300);
    void *d = mm_malloc(400);
    struct mm_stats before = {0};
    counted(&before);

    mm_free(c);
    mm_free(b);
    struct mm_stats inner = counted(&before);
    CHECK_EQ(inner.sbrks, 0);
    CHECK_HEAP("used 112, free 208, free 304, used 400");

    counted(&before);
    mm_free(d);
    struct mm_stats back = counted(&before);
    CHECK_HEAP("used 112");
    CHECK_PTR_EQ(sbrk(0), a + 112);
    CHECK_EQ(back.sbrks, 1);
    CHECK_EQ(-(int64_t)back.bytes_from_os, 208 + 304 + 400 + 3 * HEADER);
    mm_free(a);
}

TEST(everything_goes_back,
     "when all blocks are free, the break is where it was before the first, and"
     " the heap begins anew")
{
    char *old_break = move_break_to(16, 0);
    void *a = mm_malloc(100);
    void *b = mm_malloc(100);
    mm_free(a);
    mm_free(b);
    CHECK_HEAP("");
    CHECK_EQ(heap.n_regions, 0);
    CHECK_PTR_EQ(sbrk(0), old_break);

    struct mm_stats stats;
    mm_stats(&stats);
    CHECK_EQ(stats.bytes_from_os, 0);
    CHECK_EQ(stats.bytes_from_os_peak, 2 * (112 + HEADER));
    CHECK_EQ(stats.bytes_in_use, 0);
    CHECK_EQ(stats.bytes_in_use_peak, 2 * 112);

    char *p = mm_malloc(1);
    CHECK_PTR_EQ(p, old_break + HEADER);
    CHECK_HEAP("used 16");
    mm_free(p);
}

TEST(inner_block_never_goes_back,
     "a free block of any size stays, as long as the block above it lives")
{
    void *large = mm_malloc(1 << 20);
    void *last = mm_malloc(1);
    struct mm_stats before = {0};
    counted(&before);
    char *old_break = sbrk(0);

    mm_free(large);
    CHECK_HEAP("free 1048576, used 16");
    CHECK_PTR_EQ(sbrk(0), old_break);
    struct mm_stats freed = counted(&before);
    CHECK_EQ(freed.sbrks, 0);
    CHECK_EQ(freed.nodes_visited, 0);
    mm_free(last);
}

TEST(foreign_memory_above_keeps_the_tail,
     "a freed tail stays while somebody else has memory above it, and is used"
     " again")
{
    void *a = mm_malloc(32);
    void *b = mm_malloc(64);
    char *foreign = sbrk(48);
    memset(foreign, 0x5A, 48);
    struct mm_stats before = {0};
    counted(&before);

    mm_free(b);
    CHECK_HEAP("used 32, free 64");
    CHECK_EQ(counted(&before).sbrks, 0);
    CHECK_PTR_EQ(sbrk(0), foreign + 48);
    CHECK_PTR_EQ(mm_malloc(64), b);
    mm_free(b);
    mm_free(a);
    CHECK_HEAP("free 32, free 64");
    for (size_t i = 0; i < 48; i++)
        CHECK_EQ(foreign[i], 0x5A);
}

TEST(foreign_memory_between_stays,
     "free blocks below memory of somebody else do not go back with the tail")
{
    void *a = mm_malloc(32);
    char *foreign = sbrk(40);
    memset(foreign, 0x5A, 40);
    void *b = mm_malloc(64);
    void *c = mm_malloc(64);
    CHECK_HEAP("used 32, gap 48, used 64, used 64"); // 8 to be aligned again

    mm_free(a);
    mm_free(b);
    mm_free(c);
    CHECK_HEAP("free 32");
    CHECK_PTR_EQ(sbrk(0), foreign + 48);
    for (size_t i = 0; i < 40; i++)
        CHECK_EQ(foreign[i], 0x5A);
}

TEST(foreign_break_is_made_up_for,
     "wherever others leave the break, the next block is at a multiple of 16,"
     " as close as it can be")
{
    enum { COUNT = 48 };
    char *low[COUNT], *high[COUNT];
    for (size_t n = 0; n < COUNT; n++) {
        low[n] = mm_malloc(32);
        CHECK_PTR_EQ(sbrk((intptr_t)n), low[n] + 32);
        high[n] = mm_malloc(32);
        CHECK_PTR_EQ(high[n], low[n] + 32 + round_up(n, 16) + HEADER);
        CHECK_PTR_EQ(sbrk(0), high[n] + 32);
    }
    for (size_t n = 0; n < COUNT; n++) {
        mm_free(low[n]);
        mm_free(high[n]);
    }
}

TEST(search_visits_every_block,
     "malloc looks at all blocks, used ones too, before it moves the break")
{
    enum { COUNT = 100 };
    void *blocks[COUNT];
    struct mm_stats before = {0};
    counted(&before);

    for (size_t n = 0; n < COUNT; n++) {
        blocks[n] = mm_malloc(16);
        struct mm_stats one = counted(&before);
        CHECK_EQ(one.nodes_visited, n);
        CHECK_EQ(one.sbrks, 1);
    }
    mm_free(blocks[7]);
    CHECK_EQ(counted(&before).nodes_visited, 0);
    blocks[7] = mm_malloc(16); // the eighth block ends the search
    struct mm_stats found = counted(&before);
    CHECK_EQ(found.nodes_visited, 8);
    CHECK_EQ(found.sbrks, 0);

    // To find the new tail takes a walk from the head, too.
    mm_free(blocks[COUNT - 1]);
    CHECK_EQ(counted(&before).nodes_visited, COUNT);
    for (size_t n = 0; n < COUNT - 1; n++)
        mm_free(blocks[n]);
}

TEST(rest_below_an_aligned_block_is_free,
     "what lies below an aligned block becomes a free block, which is used")
{
    char *old_break = move_break_to(256, 0);
    char *p = mm_aligned_alloc(256, 10);
    CHECK_PTR_EQ(p, old_break + 256);
    CHECK_HEAP("free 224, used 16");
    char *q = mm_malloc(200);
    CHECK_PTR_EQ(q, old_break + HEADER);
    CHECK_HEAP("used 224, used 16");
    mm_free(p);
    mm_free(q);
    CHECK_PTR_EQ(sbrk(0), old_break);
}

TEST(rest_below_is_never_empty,
     "where an aligned block would leave room for a header only, it starts one"
     " alignment further up")
{
    char *old_break = move_break_to(256, 256 - 2 * HEADER);
    char *p = mm_aligned_alloc(256, 16);
    CHECK_PTR_EQ(p, old_break + 2 * HEADER + 256);
    CHECK_HEAP("free 256, used 16");
    mm_free(p);

    // And with room for the header of the aligned block alone, there is none.
    old_break = move_break_to(256, 256 - HEADER);
    p = mm_aligned_alloc(256, 16);
    CHECK_PTR_EQ(p, old_break + HEADER);
    CHECK_HEAP("used 16");
    mm_free(p);
}

TEST(aligned_by_chance_is_taken,
     "a free block that happens to be aligned serves an aligned request, one"
     " that is not is passed over")
{
    move_break_to(256, 256 - HEADER - 64);
    char *crooked = mm_malloc(48);
    char *straight = mm_malloc(48);
    void *wall = mm_malloc(16);
    CHECK_ALIGNED(straight, 256);
    mm_free(crooked);
    mm_free(straight);
    CHECK_PTR_EQ(mm_aligned_alloc(256, 32), straight);
    CHECK_HEAP("free 48, used 48, used 16");
    mm_free(straight);
    mm_free(wall);
}

TEST(refused_memory_changes_nothing,
     "a malloc that the OS refuses leaves the heap as it was, and what is free"
     " can still be had")
{
    void *a = mm_malloc(100);
    void *b = mm_malloc(100);
    mm_free(a);
    struct rlimit old_limit;
    getrlimit(RLIMIT_DATA, &old_limit);
    setrlimit(RLIMIT_DATA, &(struct rlimit){0, old_limit.rlim_max});
    errno = 0;
    void *too_large = mm_malloc(1000);
    int error = errno;
    void *too_straight = mm_aligned_alloc(1 << 16, 16);
    void *fits = mm_malloc(100);
    setrlimit(RLIMIT_DATA, &old_limit);

    CHECK_NULL(too_large);
    CHECK_EQ(error, ENOMEM);
    CHECK_NULL(too_straight);
    CHECK_PTR_EQ(fits, a);
    CHECK_HEAP("used 112, used 112");
    struct mm_stats stats;
    mm_stats(&stats);
    CHECK_EQ(stats.mallocs, 3);
    CHECK_EQ(stats.sbrks, 4);
    CHECK_EQ(stats.bytes_from_os, 2 * (112 + HEADER));
    mm_free(a);
    mm_free(b);
}

TEST(impossible_sizes_ask_nobody,
     "a size that cannot be had fails before the break is moved, with any"
     " alignment, and adds no block")
{
    void *p = mm_malloc(16);
    struct mm_stats before = {0};
    counted(&before);
    static const size_t aligns[] = {16, 4096, (size_t)1 << 62};
    for (size_t i = 0; i < 3; i++)
        for (size_t k = 0; k < HEADER; k++) {
            errno = 0;
            CHECK_NULL(mm_aligned_alloc(aligns[i], PTRDIFF_MAX - k));
            CHECK_EQ(errno, ENOMEM);
        }
    CHECK_EQ(counted(&before).sbrks, 0);
    CHECK_HEAP("used 16");
    mm_free(p);
}
