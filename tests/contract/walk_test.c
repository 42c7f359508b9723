// stages: 02-
// walk_test.c - mm_walk shows every block once, where it is and as it is.

#include "contract.h"

// All that mm_walk showed. Locks are held while it does, so nothing here may
// call the allocator.
enum { MOST = 20000 };
static struct mm_item items[MOST];
static size_t n_items;

static void remember(const struct mm_item *item, void *ctx)
{
    (void)ctx;
    if (n_items < MOST)
        items[n_items] = *item;
    n_items++;
}

static void walk(void)
{
    n_items = 0;
    mm_walk(remember, NULL);
    CHECK_LE(n_items, MOST);
}

// walk_live also checks that at least so many blocks are shown as used.
static void walk_live(size_t live)
{
    walk();
    size_t used = 0;
    for (size_t i = 0; i < n_items; i++)
        used += items[i].kind == MM_BLOCK && items[i].state == MM_USED;
    CHECK_GE(used, live);
}

static const char *item_end(const struct mm_item *item)
{
    return (const char *)item->addr + item->size;
}

// The blocks that are live.
enum { BLOCKS = 500 };
static unsigned char *blocks[BLOCKS];
static size_t sizes[BLOCKS];

static void make_block(uint64_t *state, size_t i)
{
    sizes[i] = random_size(state, i % 50 == 0 ? 300000 : 2000);
    blocks[i] = i % 7 == 0 ? mm_memalign(256, sizes[i]) : mm_malloc(sizes[i]);
    CHECK_NOT_NULL(blocks[i]);
    fill(blocks[i], 0, sizes[i], i);
}

static void free_block(size_t i)
{
    if (blocks[i] != NULL)
        CHECK_PATTERN(blocks[i], sizes[i], i);
    mm_free(blocks[i]);
    blocks[i] = NULL;
}

// check_order checks that what is in a region follows it by rising address,
// lies in it and does not overlap; and so the blocks of a span.
static void check_order(void)
{
    const struct mm_item *region = NULL;
    const struct mm_item *span = NULL;
    const char *last_end = NULL;

    for (size_t i = 0; i < n_items; i++) {
        const struct mm_item *item = &items[i];
        CHECK_THAT(item->addr != NULL && item->size > 0,
                   "item %zu: %zu bytes at %p", i, item->size, item->addr);
        CHECK_LE(item->header, item->size);
        if (item->kind == MM_REGION) {
            region = item;
            span = NULL;
            last_end = item->addr;
            continue;
        }
        if (item->kind == MM_SPAN && span != NULL)
            last_end = item_end(span);
        CHECK_THAT(region != NULL, "item %zu: in no region", i);
        CHECK_THAT((const char *)item->addr >= last_end,
                   "item %zu at %p: expected it above the one before, which "
                   "ends at %p",
                   i, item->addr, (const void *)last_end);
        const struct mm_item *around = region;
        if (item->kind == MM_BLOCK && span != NULL)
            around = span;
        CHECK_THAT(item_end(item) <= item_end(around),
                   "item %zu ends at %p, what it lies in at %p", i,
                   (const void *)item_end(item),
                   (const void *)item_end(around));
        last_end = item->kind == MM_SPAN ? item->addr : item_end(item);
        if (item->kind == MM_SPAN)
            span = item;
    }
}

static void check_regions_apart(void)
{
    for (size_t i = 0; i < n_items; i++)
        for (size_t k = 0; k < i; k++)
            if (items[i].kind == MM_REGION && items[k].kind == MM_REGION)
                CHECK_THAT((const char *)items[i].addr >= item_end(&items[k]) ||
                               (const char *)items[k].addr >=
                                   item_end(&items[i]),
                           "regions at %p and %p overlap", items[k].addr,
                           items[i].addr);
}

// check_blocks checks that each live block is shown as one used item, and that
// there is no other used item with room for a block.
static void check_blocks(void)
{
    size_t used = 0;
    size_t live = 0;

    for (size_t i = 0; i < n_items; i++)
        used += items[i].kind == MM_BLOCK && items[i].state == MM_USED &&
                items[i].size > items[i].header;
    for (size_t b = 0; b < BLOCKS; b++) {
        if (blocks[b] == NULL)
            continue;
        live++;
        size_t found = 0;
        for (size_t i = 0; i < n_items; i++) {
            const char *start = (const char *)items[i].addr + items[i].header;
            if (items[i].kind != MM_BLOCK || start != (char *)blocks[b])
                continue;
            found++;
            CHECK_EQ(items[i].state, MM_USED);
            CHECK_EQ(items[i].size - items[i].header,
                     mm_usable_size(blocks[b]));
        }
        CHECK_THAT(found == 1, "the block at %p is shown %zu times",
                   (void *)blocks[b], found);
    }
    CHECK_EQ(used, live);
}

// are_together tells whether two items are on the same list.
static bool are_together(const struct mm_item *a, const struct mm_item *b)
{
    return a->list != NULL && b->list != NULL && a->owner == b->owner &&
           strcmp(a->list, b->list) == 0;
}

// find_item returns the item at addr that is on the list of other.
static const struct mm_item *find_item(const void *addr,
                                       const struct mm_item *other)
{
    for (size_t i = 0; i < n_items; i++)
        if (items[i].addr == addr && are_together(&items[i], other))
            return &items[i];
    return NULL;
}

// check_list checks the list that starts at the item first: it leads from item
// to item, over all that say they are on it, to an end.
static void check_list(const struct mm_item *first)
{
    size_t on_list = 0;
    size_t firsts = 0;
    for (size_t i = 0; i < n_items; i++) {
        if (!are_together(&items[i], first))
            continue;
        on_list++;
        firsts += items[i].first;
    }
    CHECK_EQ(firsts, 1);

    size_t visited = 1;
    const struct mm_item *item = first;
    while (item->next != NULL) {
        const struct mm_item *next = find_item(item->next, first);
        CHECK_THAT(next != NULL,
                   "list %s: the item at %p leads to %p, which is not on it",
                   first->list, item->addr, item->next);
        CHECK_THAT(visited++ < on_list, "list %s: it goes round in a circle",
                   first->list);
        item = next;
    }
    CHECK_EQ(visited, on_list);
}

static void check_lists(void)
{
    for (size_t i = 0; i < n_items; i++) {
        if (items[i].list == NULL) {
            CHECK_TRUE(!items[i].first && items[i].next == NULL);
            continue;
        }
        bool has_first = items[i].first;
        for (size_t k = 0; k < n_items && !has_first; k++)
            has_first = items[k].first && are_together(&items[k], &items[i]);
        CHECK_THAT(has_first, "list %s has no first item", items[i].list);
        if (items[i].first)
            check_list(&items[i]);
    }
}

// skip_without_walk ends the test for the C library, which shows nothing.
static void skip_without_walk(void)
{
    if (is_c_library())
        SKIP("the C library has no mm_walk");
}

// many_blocks makes a heap with blocks of all sizes and with holes of all
// sizes, and calls check after each step.
static void many_blocks(void (*check)(void))
{
    uint64_t state = 21;
    skip_without_walk();
    for (size_t i = 0; i < BLOCKS; i++)
        make_block(&state, i);
    walk_live(BLOCKS);
    check();
    for (size_t i = 0; i < BLOCKS; i++)
        if (random_below(&state, 3) == 0)
            free_block(i);
    walk();
    check();
    for (int k = 0; k < 1000; k++) {
        size_t i = random_below(&state, BLOCKS);
        if (blocks[i] == NULL)
            make_block(&state, i);
        else
            free_block(i);
    }
    walk();
    check();
    for (size_t i = 0; i < BLOCKS; i++)
        free_block(i);
    walk();
    check();
}

TEST(items_in_order,
     "mm_walk shows what is in a region by rising address, without overlap")
{
    many_blocks(check_order);
}

TEST(regions_are_apart, "the regions that mm_walk shows do not overlap")
{
    many_blocks(check_regions_apart);
}

TEST(live_blocks_are_used,
     "mm_walk shows every live block once as used, with its size, and no other")
{
    many_blocks(check_blocks);
}

TEST(lists_lead_to_their_end,
     "each list that mm_walk shows leads over all its items to an end")
{
    many_blocks(check_lists);
}

static void check_bytes(void)
{
    struct mm_stats stats;
    size_t regions = 0;
    size_t used = 0;

    mm_stats(&stats);
    for (size_t i = 0; i < n_items; i++) {
        if (items[i].kind == MM_REGION)
            regions += items[i].size;
        else if (items[i].released)
            regions -= items[i].size;
        else if (items[i].kind == MM_BLOCK && items[i].state == MM_USED)
            used += items[i].size - items[i].header;
    }
    CHECK_LE(regions, stats.bytes_from_os);
    CHECK_EQ(used, stats.bytes_in_use);
}

TEST(walk_agrees_with_stats,
     "what mm_walk shows adds up to what the counters say")
{
    many_blocks(check_bytes);
}

TEST(walk_changes_nothing, "mm_walk shows the same twice, and counts nothing")
{
    struct mm_stats before, after;
    uint64_t state = 22;

    skip_without_walk();
    for (size_t i = 0; i < BLOCKS; i++)
        make_block(&state, i);
    for (size_t i = 0; i < BLOCKS; i += 3)
        free_block(i);
    mm_stats(&before);
    walk_live(BLOCKS - BLOCKS / 3 - 1);
    static struct mm_item first[MOST];
    size_t n_first = n_items;
    memcpy(first, items, n_items * sizeof items[0]);
    walk();
    mm_stats(&after);
    CHECK_EQ(n_items, n_first);
    for (size_t i = 0; i < n_items; i++) {
        CHECK_PTR_EQ(items[i].addr, first[i].addr);
        CHECK_EQ(items[i].size, first[i].size);
        CHECK_EQ(items[i].state, first[i].state);
        CHECK_PTR_EQ(items[i].next, first[i].next);
    }
    CHECK_EQ(after.nodes_visited, before.nodes_visited);
    CHECK_EQ(after.mallocs, before.mallocs);
    for (size_t i = 0; i < BLOCKS; i++)
        free_block(i);
}

TEST(foreign_memory_is_no_block,
     "memory that somebody else took at the break is never shown as a block")
{
    enum { N = 20 };
    unsigned char *piece[N];
    unsigned char *p[N];

    for (size_t i = 0; i < N; i++) {
        p[i] = mm_malloc(70000);
        CHECK_NOT_NULL(p[i]);
        piece[i] = sbrk((intptr_t)(100 + i));
        CHECK_TRUE(piece[i] != (void *)-1);
    }
    for (size_t i = 0; i < 2 * N; i++) {
        walk_live(is_c_library() ? 0 : N - (i + 1) / 2);
        check_order();
        for (size_t k = 0; k < n_items; k++)
            for (size_t f = 0; f < N && items[k].kind == MM_BLOCK; f++)
                CHECK_THAT(item_end(&items[k]) <= (char *)piece[f] ||
                               (char *)piece[f] + 100 + f <=
                                   (const char *)items[k].addr,
                           "the block of %zu bytes at %p is foreign memory",
                           items[k].size, items[k].addr);
        if (i % 2 == 0)
            mm_free(p[i / 2]);
    }
}
