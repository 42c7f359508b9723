// stages: 02-03
//
// A header in front of every block: what it costs, and what it notices.
//
// Headers are damaged here as an overflow does it: by writing past the end of
// the block below, where the header of the next block stands.

#include "child.h"
#include "heap_shape.h"

enum { HEADER = 16 };

TEST(header_takes_sixteen_bytes,
     "between two blocks lies one header of 16 bytes, and the size is rounded"
     " up to 16")
{
    static const size_t sizes[] = {0, 1, 16, 17, 100, 1000};
    static const size_t rounded[] = {16, 16, 16, 32, 112, 1008};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    char *blocks[COUNT];

    for (size_t i = 0; i < COUNT; i++) {
        blocks[i] = mm_malloc(sizes[i]);
        CHECK_EQ(mm_usable_size(blocks[i]), rounded[i]);
        if (i > 0)
            CHECK_PTR_EQ(blocks[i], blocks[i - 1] + rounded[i - 1] + HEADER);
    }
    heap_read();
    CHECK_PTR_EQ(heap.region.addr, blocks[0] - HEADER);
    for (size_t i = 0; i < COUNT; i++) {
        const struct mm_item *item = heap_item(blocks[i]);
        CHECK_NOT_NULL(item);
        CHECK_EQ(item->header, HEADER);
        CHECK_EQ(item->size, HEADER + rounded[i]);
        CHECK_EQ(item->state, MM_USED);
        mm_free(blocks[i]);
    }
}

TEST(two_locks_a_pair,
     "a malloc takes the lock once, a free takes it once, and mm_usable_size"
     " once")
{
    enum { COUNT = 50 };
    void *blocks[COUNT];
    struct mm_stats before = {0};
    counted(&before);

    for (size_t i = 0; i < COUNT; i++)
        blocks[i] = mm_malloc(i);
    CHECK_EQ(counted(&before).locks_taken, COUNT + 1); // 1: for counting
    for (size_t i = 0; i < COUNT; i++)
        mm_usable_size(blocks[i]);
    CHECK_EQ(counted(&before).locks_taken, COUNT + 1);
    for (size_t i = 0; i < COUNT; i++)
        mm_free(blocks[i]);
    struct mm_stats freed = counted(&before);
    CHECK_EQ(freed.locks_taken, COUNT + 1);
    CHECK_EQ(freed.frees, COUNT);
    mm_free(NULL);
    CHECK_EQ(counted(&before).locks_taken, 0 + 1);
}

// Three blocks next to each other, in the way that the functions below use.
struct three {
    unsigned char *low, *middle, *high;
};
enum { SIZE = 48 };

static struct three three_blocks(void)
{
    struct three b;
    b.low = mm_malloc(SIZE);
    b.middle = mm_malloc(SIZE);
    b.high = mm_malloc(SIZE);
    CHECK_PTR_EQ(b.middle, b.low + SIZE + HEADER);
    CHECK_PTR_EQ(b.high, b.middle + SIZE + HEADER);
    return b;
}

static void free_three(struct three b)
{
    mm_free(b.low);
    mm_free(b.middle);
    mm_free(b.high);
}

static void write_over_own_header(void *argument)
{
    struct three *b = argument;
    memset(b->middle - HEADER, 0x41, HEADER);
    mm_free(b->middle);
}

TEST(own_header_is_checked,
     "free of a block whose own header was written over aborts")
{
    struct three b = three_blocks();
    CHECK_ABORTS(write_over_own_header, &b,
                 "mm: free(%p): no block starts here, or its header was"
                 " damaged\n",
                 (void *)b.middle);
    free_three(b);
}

// Eight bytes too many: all of the first half of the header.
static void write_past_the_end(void *argument)
{
    struct three *b = argument;
    memset(b->low, 0x41, SIZE + 8);
    mm_free(b->low);
}

TEST(header_above_is_checked,
     "free of a block that was written past its end aborts: the next header"
     " tells")
{
    struct three b = three_blocks();
    struct child child = child_run(write_past_the_end, &b);
    char expected[200];
    snprintf(expected, sizeof expected,
             "mm: free(%p): something wrote over the header of a block"
             " (block ",
             (void *)b.low);
    CHECK_EQ(child.signal, SIGABRT);
    CHECK_THAT(strncmp(child.said, expected, strlen(expected)) == 0,
               "expected \"%s...\", got \"%s\"", expected, child.said);
    CHECK_LE(strlen(child.said), 200);
    free_three(b);
}

// One byte too many, as where the 0 at the end of a string has no room.
static void write_one_past_the_end(void *argument)
{
    struct three *b = argument;
    b->low[SIZE] ^= 0x10;
    mm_free(b->low);
}

TEST(header_above_is_checked_whole,
     "one byte too many is enough to be noticed, though it changes only a size"
     " in the next header")
{
    struct three b = three_blocks();
    struct child child = child_run(write_one_past_the_end, &b);
    CHECK_EQ(child.signal, SIGABRT);
    CHECK_THAT(strstr(child.said, "something wrote over the header") != NULL,
               "got \"%s\"", child.said);
    free_three(b);
}

static void free_twice(void *argument)
{
    struct three *b = argument;
    mm_free(b->middle);
    mm_free(b->middle);
}

TEST(free_blocks_are_marked,
     "a second free of the same block aborts, and says how large it is")
{
    struct three b = three_blocks();
    CHECK_ABORTS(free_twice, &b,
                 "mm: free(%p): double free (block %p, %d bytes)\n",
                 (void *)b.middle, (void *)b.middle, SIZE);
    free_three(b);
}

static void move_header(void *argument)
{
    struct three *b = argument;
    memcpy(b->low + 16, b->middle - HEADER, HEADER);
    mm_free(b->low + 16 + HEADER);
}

TEST(copy_of_a_header_is_none,
     "a header is one only where it was made: the address is part of its seal")
{
    struct three b = three_blocks();
    CHECK_ABORTS(move_header, &b,
                 "mm: free(%p): no block starts here, or its header was"
                 " damaged\n",
                 (void *)(b.low + 16 + HEADER));
    free_three(b);
}

static void free_it(void *p)
{
    mm_free(p);
}

static void resize_it(void *p)
{
    mm_realloc(p, 1000);
}

static void measure_it(void *p)
{
    mm_usable_size(p);
}

TEST(every_call_is_named,
     "free, realloc and malloc_usable_size name themselves when their argument"
     " is no block")
{
    static const struct {
        void (*body)(void *);
        const char *call;
    } calls[] = {
        {free_it, "free"},
        {resize_it, "realloc"},
        {measure_it, "malloc_usable_size"},
    };
    struct three b = three_blocks();
    void *outside = &b;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        CHECK_ABORTS(calls[i].body, outside,
                     "mm: %s(%p): not a block of this allocator\n",
                     calls[i].call, outside);
        CHECK_ABORTS(calls[i].body, b.low + 16,
                     "mm: %s(%p): no block starts here, or its header was"
                     " damaged\n",
                     calls[i].call, (void *)(b.low + 16));
        CHECK_ABORTS(calls[i].body, b.low + 1,
                     "mm: %s(%p): no block starts here, or its header was"
                     " damaged\n",
                     calls[i].call, (void *)(b.low + 1));
    }
    free_three(b);
}

TEST(no_heap_has_no_blocks,
     "before the first malloc, no pointer is a block, and none is looked at")
{
    void *p = (void *)0x1000; // not mapped
    CHECK_ABORTS(free_it, p, "mm: free(%p): not a block of this allocator\n",
                 p);
}

static void allocate_in_handler(int signal)
{
    (void)signal;
    void *p = mm_malloc(SIZE);
    const char *result = p == NULL ? "no block\n" : "a block\n";
    ssize_t ignored = write(STDERR_FILENO, result, strlen(result));
    (void)ignored;
}

static void free_with_handler(void *p)
{
    signal(SIGABRT, allocate_in_handler);
    mm_free(p);
}

TEST(misuse_is_reported_without_locks,
     "a handler of SIGABRT may allocate: the lock is free when a misuse is"
     " reported")
{
    struct three b = three_blocks();
    CHECK_ABORTS(free_with_handler, b.low + 16,
                 "mm: free(%p): no block starts here, or its header was"
                 " damaged\na block\n",
                 (void *)(b.low + 16));
    free_three(b);
}
