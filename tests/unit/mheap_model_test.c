// stages: 05-09
//
// mheap.c: random spans. Against a model of the heap so naive that it is
// plainly right: an array with one character for every page.

#include "heap.h"

#include <string.h>

#include "blocks.h"
#include "os_memory.h"
#include "page_heap.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

// What each page is. The last of the map is the highest of the heap.
enum { NOT_OURS, FREE, USED };
static char map[OS_PAGES];
static size_t map_top; // above all pages of the heap: the map ends there

// page_at returns the address of a page of the map, page_number its number.
static char *page_at(size_t page)
{
    return os.end - (map_top - page) * PAGE_SIZE;
}

static size_t page_number(const char *p)
{
    return map_top - (size_t)(os.end - p) / PAGE_SIZE;
}

// The spans that are in use.
enum { SLOTS = 300 };
static struct mspan *slots[SLOTS];

static uint64_t seed;

// A run is as many free pages in a row as there are: model_run returns how many
// begin at a page, 0 if it is not free.
static size_t model_run(size_t page)
{
    size_t end = page;
    while (end < map_top && map[end] == FREE)
        end++;
    return end - page;
}

// model_find returns the shortest run of at least npages pages. Of long ones,
// that is the lowest; of others, it may be any of that length, and *n tells the
// length. map_top: there is none.
static size_t model_find(size_t npages, size_t *n)
{
    size_t best = map_top;
    *n = SIZE_MAX;
    size_t run;
    for (size_t page = page_number(os.low); page < map_top; page += run) {
        run = model_run(page);
        if (run >= npages && run < *n) {
            best = page;
            *n = run;
        }
        run += run == 0;
    }
    return best;
}

// model_is tells whether npages pages are all marked so.
static bool model_is(size_t page, size_t npages, char what)
{
    for (size_t i = 0; i < npages; i++)
        if (map[page + i] != what)
            return false;
    return true;
}

// model_mark marks npages pages from p on, which must all be marked otherwise.
static void model_mark(const char *p, size_t npages, char from, char to)
{
    size_t page = page_number(p);
    CHECK_LE(page + npages, map_top);
    CHECK_THAT(model_is(page, npages, from),
               "%zu pages at %p: expected all to be %d", npages,
               (const void *)p, from);
    memset(map + page, to, npages);
}

// take_random takes a span, and checks that it is cut from the low end of the
// shortest run that is long enough.
static struct mspan *take_random(size_t npages, size_t align)
{
    size_t pages_per_align = align / PAGE_SIZE;
    size_t room = npages + pages_per_align - 1;
    size_t shortest;
    size_t run = model_find(room, &shortest);
    struct mm_stats before = stats();

    os.largest = 0;
    struct mspan *s = take_aligned(npages, align);
    CHECK_NOT_NULL(s);
    // Metadata comes in smaller pieces than the heap.
    bool has_grown = os.largest >= (size_t)128 * PAGE_SIZE;
    CHECK_EQ(has_grown, run == map_top);
    if (has_grown) {
        size_t grown = room > 128 ? room : 128;
        CHECK_EQ(os.largest / PAGE_SIZE, grown);
        model_mark(os.largest_at, grown, NOT_OURS, FREE);
        run = model_find(room, &shortest);
    }
    CHECK_EQ(s->npages, npages);
    CHECK_ALIGNED(s->start_addr, align);

    // Which of the short runs of that length it was, the span tells.
    if (shortest < 128) {
        run = page_number(s->start_addr);
        while (run > 0 && map[run - 1] == FREE)
            run--;
        CHECK_EQ(model_run(run), shortest);
    }
    size_t below = padding_to(page_at(run), align) / PAGE_SIZE;
    CHECK_PTR_EQ(s->start_addr, page_at(run + below));
    CHECK_EQ(stats().splits - before.splits,
             (below > 0) + (shortest > below + npages));
    model_mark(s->start_addr, npages, FREE, USED);
    return s;
}

static void give_random(struct mspan **slot)
{
    uint64_t merges = stats().merges;
    size_t page = page_number((*slot)->start_addr), npages = (*slot)->npages;
    model_mark((*slot)->start_addr, npages, USED, FREE);
    give(*slot);
    *slot = NULL;
    CHECK_EQ(stats().merges - merges,
             (map[page - 1] == FREE) +
                 (page + npages < map_top && map[page + npages] == FREE));
}

// check_spans compares the heap with the map: each page that is ours lies in
// one span, and a free span is a whole run.
static void check_spans(void)
{
    const struct mspan *s;
    size_t page = page_number(os.low);
    bool same = true;

    lock_acquire(&mheap.lock);
    CHECK_TRUE(mheap_check());
    for (s = span_next(NULL); s != NULL && same; s = span_next(page_at(page))) {
        size_t start = page_number(s->start_addr);
        bool is_free = s->state == MSPAN_FREE;
        same = start >= page && model_is(page, start - page, NOT_OURS) &&
               model_is(start, s->npages, is_free ? FREE : USED) &&
               (!is_free || model_run(start) == s->npages);
        page = start + s->npages;
    }
    lock_release(&mheap.lock);
    CHECK_THAT(same, "the span that ends before page %zu differs", page);
    CHECK_TRUE(model_is(page, map_top - page, NOT_OURS));
}

// random_length prefers short spans, and those around the border between the
// lists and the set; at most is the longest.
static size_t random_length(size_t most)
{
    switch (random_below(&seed, 8)) {
    case 0:
        return 1 + random_below(&seed, most);
    case 1:
        return 125 + random_below(&seed, 7);
    case 2:
        return 1 + random_below(&seed, 127);
    default:
        return 1 + random_below(&seed, 12);
    }
}

// random_align is mostly a page, sometimes more.
static size_t random_align(void)
{
    bool more = random_below(&seed, 6) == 0;
    return (size_t)PAGE_SIZE << (more ? random_below(&seed, 7) : 0);
}

// work does n random operations with so many slots, and compares the heap with
// the map after every so many. All is free again then.
static void work(size_t n, size_t n_slots, size_t most, size_t every)
{
    seed = random_start();
    give(take(1)); // so that there is an end
    map_top = OS_PAGES;
    model_mark(os.largest_at, 128, NOT_OURS, FREE);

    for (size_t i = 0; i < n; i++) {
        struct mspan **slot = &slots[random_below(&seed, n_slots)];
        if (*slot == NULL) {
            size_t npages = random_length(most);
            *slot = take_random(npages, random_align());
        } else {
            give_random(slot);
        }
        if (i % every == 0)
            check_spans();
    }
    for (size_t i = 0; i < n_slots; i++)
        if (slots[i] != NULL)
            give_random(&slots[i]);
    check_spans();
}

// Under these sanitizers all is slower, and less must do.
enum { OPERATIONS = UNDER_TSAN || UNDER_ASAN ? 10000 : 100000 };

TEST(heap_agrees_with_a_map,
     "in 100,000 operations, each span is cut from the shortest that fits, and"
     " after every tenth each page is in one span, a free one is a whole run")
{
    work(OPERATIONS, 16, 200, 10);
}

TEST(large_heap_agrees_with_a_map,
     "the same for long spans: the set of those above the lists is in order")
{
    work(OPERATIONS / 100, 120, 3000, 1);
}

TEST(many_short_spans_agree_with_a_map, "the same for a heap in many pieces")
{
    work(OPERATIONS / 20, SLOTS, 10, 1);
}
