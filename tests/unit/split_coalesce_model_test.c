// stages: 03
//
// Random operations against a model of the heap so naive that it is plainly
// right: a map with one character for every 16 bytes.

#include <errno.h>

#include "heap_shape.h"
#include "random.h"

enum { UNIT = 16, HEADER = 16, UNITS = 1 << 20, SLOTS = 200 };

// '.' is free memory; 'u' belongs to a live block or its header.
static char map[UNITS];
static char *map_start; // the address of unit 0: the heap starts here

static struct slot {
    char *p;
    size_t size; // as asked for
} slots[SLOTS];

static uint64_t seed;

// unit_of returns the index in the map of an address in the heap.
static size_t unit_of(const void *p)
{
    ptrdiff_t offset = (const char *)p - map_start;
    CHECK_THAT(offset >= 0 && offset / UNIT < UNITS,
               "%p is far from the heap at %p", p, (void *)map_start);
    return (size_t)offset / UNIT;
}

// mark_block marks block p and its header, which must all be marked otherwise.
static void mark_block(const void *p, char from, char to)
{
    size_t first = unit_of((const char *)p - HEADER);
    size_t end = unit_of((const char *)p + mm_usable_size(p));
    for (size_t i = first; i < end; i++) {
        CHECK_THAT(map[i] == from, "%p: expected '%c' at byte %zu, got '%c'", p,
                   from, (i - first) * UNIT, map[i]);
        map[i] = to;
    }
}

// check_pieces compares the heap with the map: every used block is marked, and
// every free block is a run of free units that ends where a block begins.
static void check_pieces(void)
{
    CHECK_TRUE(mm_check());
    heap_read();
    if (heap.n == 0)
        return;
    CHECK_PTR_EQ(heap.region.addr, map_start);
    const char *end = map_start;
    bool was_free = false;
    for (size_t i = 0; i < heap.n; i++) {
        const struct mm_item *item = &heap.blocks[i];
        bool is_fence = item->size == item->header;
        bool is_free = item->state == MM_FREE;
        CHECK_PTR_EQ(item->addr, end);
        CHECK_EQ(is_fence, i == heap.n - 1);
        CHECK_TRUE(!is_free || !was_free);
        end = item_end(item);
        for (size_t u = unit_of(item->addr); u < unit_of(end); u++)
            CHECK_EQ(map[u], is_free || is_fence ? '.' : 'u');
        was_free = is_free;
    }
    CHECK_PTR_EQ(end, sbrk(0));
}

// check_counters compares the counters with the slots.
static void check_counters(void)
{
    uint64_t bytes = 0, live = 0;
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].p != NULL) {
            live++;
            bytes += mm_usable_size(slots[i].p);
        }
    struct mm_stats stats;
    mm_stats(&stats);
    CHECK_EQ(stats.mallocs - stats.frees, live);
    CHECK_EQ(stats.bytes_in_use, bytes);
    CHECK_EQ(stats.bytes_from_os, heap.n == 0 ? 0 : heap.region.size);
}

// random_size prefers small sizes, but has some of all orders of magnitude.
static size_t random_size(void)
{
    switch (random_below(&seed, 8)) {
    case 0:
        return random_below(&seed, 40000);
    case 1:
    case 2:
        return random_below(&seed, 2000);
    default:
        return random_below(&seed, 200);
    }
}

static void fill_slot(struct slot *slot)
{
    slot->size = random_size();
    bool aligned = random_below(&seed, 4) == 0;
    size_t align = (size_t)16 << (aligned ? random_below(&seed, 8) : 0);
    slot->p = mm_aligned_alloc(align, slot->size);
    CHECK_NOT_NULL(slot->p);
    CHECK_ALIGNED(slot->p, align);

    // The rest of a block that could not be split is shorter than a header
    // and the smallest block.
    size_t rounded = slot->size == 0 ? UNIT : round_up(slot->size, UNIT);
    CHECK_GE(mm_usable_size(slot->p), rounded);
    CHECK_LE(mm_usable_size(slot->p), rounded + HEADER);
    if (map_start == NULL) {
        heap_read();
        map_start = (char *)(uintptr_t)heap.region.addr;
    }
    mark_block(slot->p, '.', 'u');
    memset(slot->p, 0x5A, mm_usable_size(slot->p));
}

static void empty_slot(struct slot *slot)
{
    mark_block(slot->p, 'u', '.');
    mm_free(slot->p);
    slot->p = NULL;
}

static void resize_slot(struct slot *slot)
{
    size_t size = random_size() + 1;
    mark_block(slot->p, 'u', '.');
    slot->p = mm_realloc(slot->p, size);
    slot->size = size;
    mark_block(slot->p, '.', 'u');
    memset(slot->p, 0x5A, mm_usable_size(slot->p));
}

TEST(heap_agrees_with_a_map,
     "after every operation, all memory of the heap is in live blocks or in the"
     " largest possible free ones")
{
    enum { OPERATIONS = 100000, BETWEEN_CHECKS = 50 };
    memset(map, '.', sizeof map);
    move_break_to(UNIT, 0);
    seed = random_start();

    for (int i = 0; i < OPERATIONS; i++) {
        struct slot *slot = &slots[random_below(&seed, SLOTS)];
        if (slot->p == NULL)
            fill_slot(slot);
        else if (random_below(&seed, 4) == 0)
            resize_slot(slot);
        else
            empty_slot(slot);
        if (i % BETWEEN_CHECKS == 0) {
            check_pieces();
            check_counters();
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].p != NULL)
            empty_slot(&slots[i]);
    check_pieces();
    check_counters();
    heap_read();
    CHECK_EQ(heap.n, 2); // one free block, and the fence
}

// first_that_fits returns the first block on the free list of at least size
// bytes, or NULL, and how many blocks were looked at.
static const struct mm_item *first_that_fits(size_t size, size_t *visited)
{
    const struct mm_item *item = NULL;
    heap_read();
    for (size_t i = 0; i < heap.n; i++)
        if (heap.blocks[i].list != NULL && heap.blocks[i].first)
            item = &heap.blocks[i];
    *visited = 0;
    while (item != NULL) {
        ++*visited;
        if (item->size - HEADER >= size)
            return item;
        const char *next = item->next;
        item = next == NULL ? NULL : heap_item(next + HEADER);
    }
    return NULL;
}

TEST(malloc_takes_the_first_that_fits,
     "malloc takes the first block on the free list that is large enough, and"
     " its low end; what was freed last is the first on the list")
{
    enum { OPERATIONS = 5000 };
    seed = random_start();
    for (int i = 0; i < OPERATIONS; i++) {
        struct slot *slot = &slots[random_below(&seed, SLOTS)];
        size_t visited;
        if (slot->p == NULL) {
            slot->size = random_size();
            size_t rounded =
                slot->size == 0 ? UNIT : round_up(slot->size, UNIT);
            const struct mm_item *expected = first_that_fits(rounded, &visited);
            struct mm_stats before = {0};
            counted(&before);
            slot->p = mm_malloc(slot->size);
            struct mm_stats after = counted(&before);
            if (expected == NULL) {
                CHECK_EQ(after.sbrks, 1);
                // All in vain, and then the new block at the front.
                CHECK_EQ(after.nodes_visited, visited + 1);
            } else {
                CHECK_EQ(after.sbrks, 0);
                CHECK_EQ(after.nodes_visited, visited);
                CHECK_PTR_EQ(slot->p, item_block(expected));
            }
        } else {
            const char *p = slot->p;
            struct mm_stats before = {0};
            counted(&before);
            mm_free(slot->p);
            slot->p = NULL;
            bool went_back = counted(&before).sbrks > 0;
            const struct mm_item *first = first_that_fits(0, &visited);
            CHECK_NOT_NULL(first);
            const char *addr = first->addr;
            // Its end may have gone back to the OS, and p with it.
            CHECK_TRUE(addr < p && (p < item_end(first) || went_back));
        }
    }
    for (size_t i = 0; i < SLOTS; i++)
        mm_free(slots[i].p);
}
