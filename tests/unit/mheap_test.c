// stages: 05-09
//
// mheap.c: spans are cut out of the shortest free one, and merged again; what
// happens when the OS refuses.

#include "heap.h"

#include <stdio.h>
#include <string.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "os_memory.h"
#include "page_heap.h"
#include "test.h"

// heap_text returns the spans by rising address, with their pages: "used 1,
// free 127, gap, free 128". The next call overwrites it.
static const char *heap_text(void)
{
    static char text[4096];
    size_t length = 0;
    const char *end = NULL;

    text[0] = '\0';
    lock_acquire(&mheap.lock);
    for (const struct mspan *s = span_next(NULL);
         s != NULL && length < sizeof text - 100;
         end = mspan_end(s), s = span_next(end))
        length += (size_t)snprintf(
            text + length, sizeof text - length, "%s%s%s %zu",
            end == NULL ? "" : ", ",
            end != NULL && end != s->start_addr ? "gap, " : "",
            s->state == MSPAN_FREE ? "free" : "used", s->npages);
    lock_release(&mheap.lock);
    return text;
}

// CHECK_HEAP compares the heap with such a text, and looks whether it is sound.
#define CHECK_HEAP(expected)                                                   \
    do {                                                                       \
        const char *text_ = heap_text();                                       \
        CHECK_THAT(strcmp(text_, expected) == 0,                               \
                   "the heap: expected \"%s\", got \"%s\"", expected, text_);  \
        CHECK_TRUE(is_sound());                                                \
    } while (0)

// ---------------------------------------------------------------------------
// Merging.

// Three spans in a row, and one more that keeps them off the rest.
static struct mspan *low, *middle, *high, *fence;

static void three_spans(void)
{
    low = take(2);
    middle = take(3);
    high = take(4);
    fence = take(1);
    CHECK_HEAP("used 2, used 3, used 4, used 1, free 118");
}

TEST(a_span_between_used_ones_stays_alone,
     "a freed span whose neighbours are in use is free as it is")
{
    three_spans();
    give(middle);
    CHECK_EQ(stats().merges, 0);
    CHECK_HEAP("used 2, free 3, used 4, used 1, free 118");
    give(low);
    give(high);
    give(fence);
    CHECK_HEAP("free 128");
}

TEST(coalesces_below, "a freed span is merged with a free one below")
{
    three_spans();
    give(low);
    give(middle);
    CHECK_EQ(stats().merges, 1);
    CHECK_HEAP("free 5, used 4, used 1, free 118");
    give(fence);
    give(high);
    CHECK_HEAP("free 128");
}

TEST(coalesces_above, "a freed span is merged with a free one above")
{
    three_spans();
    give(high);
    give(middle);
    CHECK_EQ(stats().merges, 1);
    CHECK_HEAP("used 2, free 7, used 1, free 118");
    give(low);
    give(fence);
    CHECK_HEAP("free 128");
}

TEST(coalesces_both, "a freed span becomes one with free ones on both sides")
{
    three_spans();
    give(low);
    give(high);
    CHECK_HEAP("free 2, used 3, free 4, used 1, free 118");
    give(middle);
    CHECK_EQ(stats().merges, 2);
    CHECK_HEAP("free 9, used 1, free 118");
    give(fence);
    CHECK_EQ(stats().merges, 4);
    CHECK_HEAP("free 128");
}

TEST(adjacent_growths_merge,
     "memory that the OS added side by side becomes one free span, even where"
     " there was none before")
{
    struct mspan *s[3];
    for (size_t i = 0; i < 3; i++)
        s[i] = take(128);
    CHECK_HEAP("used 128, used 128, used 128");
    CHECK_TRUE(s[2]->start_addr < s[1]->start_addr &&
               s[1]->start_addr < s[0]->start_addr);
    give(s[1]);
    give(s[0]);
    CHECK_HEAP("used 128, free 256");
    struct mspan *both = take(256);
    CHECK_HEAP("used 128, used 256");
    give(both);
    give(s[2]);
    CHECK_HEAP("free 384");
}

TEST(what_is_left_over_merges_with_a_growth,
     "a free span that is too short is merged with what the OS adds below it")
{
    struct mspan *first = take(100);
    struct mspan *second = take(100);
    CHECK_HEAP("used 100, free 28, used 100, free 28");
    give(second);
    struct mspan *large = take(200);
    CHECK_HEAP("used 200, free 128, used 100, free 28");
    give(first);
    give(large);
    CHECK_HEAP("free 456");
}

// ---------------------------------------------------------------------------
// What is chosen.

// make_holes makes a free span of each of n lengths, kept apart by used spans
// of one page, which go to fences. The spans are freed from the last to the
// first.
enum { HOLES = 16 };
static struct mspan *fences[HOLES];

static void make_holes(const size_t *lengths, size_t n)
{
    struct mspan *holes[HOLES];
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += lengths[i] + 1;
    struct mspan *all = take(sum);
    give(all); // so that they lie in a row
    for (size_t i = 0; i < n; i++) {
        holes[i] = take(lengths[i]);
        fences[i] = take(1);
    }
    for (size_t i = n; i > 0; i--)
        give(holes[i - 1]);
}

static void remove_holes(size_t n)
{
    for (size_t i = 0; i < n; i++)
        give(fences[i]);
    CHECK_TRUE(strstr(heap_text(), "used") == NULL);
}

TEST(exact_fit, "a free span of the very length is taken, and nothing is split")
{
    static const size_t lengths[] = {2, 5, 3, 4, 112};
    make_holes(lengths, 5);
    CHECK_HEAP("free 2, used 1, free 5, used 1, free 3, used 1, free 4, used 1,"
               " free 112, used 1");
    uint64_t splits = stats().splits, merges = stats().merges;
    struct mspan *s = take(3);
    CHECK_HEAP("free 2, used 1, free 5, used 1, used 3, used 1, free 4, used 1,"
               " free 112, used 1");
    CHECK_EQ(stats().splits, splits);
    give(s);
    CHECK_EQ(stats().merges, merges);
    remove_holes(5);
}

TEST(shortest_that_is_long_enough_is_split,
     "if none has the very length, the shortest longer one gives its low end")
{
    static const size_t lengths[] = {90, 7, 5, 6, 15};
    make_holes(lengths, 5);
    struct mspan *s = take(4);
    CHECK_HEAP("free 90, used 1, free 7, used 1, used 4, free 1, used 1,"
               " free 6, used 1, free 15, used 1");
    struct mspan *t = take(8);
    CHECK_HEAP("free 90, used 1, free 7, used 1, used 4, free 1, used 1,"
               " free 6, used 1, used 8, free 7, used 1");
    give(s);
    give(t);
    remove_holes(5);
}

TEST(the_longest_list_and_the_shortest_in_large,
     "the border between the lists and the set hides no span: 126 to 130 pages")
{
    static const size_t lengths[] = {130, 128, 126, 129, 127};
    make_holes(lengths, 5);
    static const struct {
        size_t npages;
        const char *heap;
    } cases[] = {
        {126, "free 130, used 1, free 128, used 1, used 126, used 1, free 129,"
              " used 1, free 127, used 1"},
        {127, "free 130, used 1, free 128, used 1, free 126, used 1, free 129,"
              " used 1, used 127, used 1"},
        {128, "free 130, used 1, used 128, used 1, free 126, used 1, free 129,"
              " used 1, free 127, used 1"},
        {129, "free 130, used 1, free 128, used 1, free 126, used 1, used 129,"
              " used 1, free 127, used 1"},
    };
    for (size_t i = 0; i < 4; i++) {
        struct mspan *s = take(cases[i].npages);
        CHECK_HEAP(cases[i].heap);
        give(s);
    }
    // All together, from the shortest: each finds the next.
    struct mspan *s[5];
    uint64_t splits = stats().splits;
    for (size_t i = 0; i < 5; i++)
        s[i] = take(126 + i);
    CHECK_EQ(stats().splits, splits);
    CHECK_TRUE(strstr(heap_text(), "free") == NULL);
    for (size_t i = 0; i < 5; i++)
        give(s[i]);
    remove_holes(5);
}

TEST(lowest_of_equals_in_large,
     "of long free spans of the same length, the lowest is taken first")
{
    static const size_t lengths[] = {200, 150, 150, 150, 300};
    make_holes(lengths, 5);
    struct mspan *s[3];
    for (size_t i = 0; i < 3; i++)
        s[i] = take(140);
    CHECK_TRUE(s[0]->start_addr < s[1]->start_addr &&
               s[1]->start_addr < s[2]->start_addr);
    CHECK_HEAP("free 200, used 1, used 140, free 10, used 1, used 140, free 10,"
               " used 1, used 140, free 10, used 1, free 300, used 1");
    for (size_t i = 0; i < 3; i++)
        give(s[i]);
    remove_holes(5);
}

TEST(an_exact_fit_visits_one_list,
     "a search looks at the lists from the length asked for on, and no further"
     " than it must")
{
    static const size_t lengths[] = {3, 10, 127};
    make_holes(lengths, 3);
    static const struct {
        size_t npages, visited;
    } cases[] = {{3, 1}, {4, 7}, {10, 1}, {11, 117}, {127, 1}};
    for (size_t i = 0; i < 5; i++) {
        uint64_t before = stats().nodes_visited;
        struct mspan *s = take(cases[i].npages);
        CHECK_EQ(stats().nodes_visited - before, cases[i].visited);
        give(s);
    }
    remove_holes(3);
}

// ---------------------------------------------------------------------------
// Alignment.

TEST(aligned_span_cuts_front_and_back,
     "what lies below the multiple, and what is too much above, stays free")
{
    static const size_t aligns[] = {2, 8, 64, 256};
    struct mspan *whole = take(1000);
    const char *start = whole->start_addr;
    give(whole);
    for (size_t i = 0; i < 4; i++) {
        // What is free begins one page above a multiple.
        size_t align = aligns[i] * PAGE_SIZE;
        struct mspan *first = take(padding_to(start, align) / PAGE_SIZE + 1);
        size_t used = first->npages, below = aligns[i] - 1;
        uint64_t splits = stats().splits;
        struct mspan *s = take_aligned(3, align);
        CHECK_ALIGNED(s->start_addr, align);
        char expected[100];
        snprintf(expected, sizeof expected,
                 "used %zu, free %zu, used 3, free %zu", used, below,
                 1000 - used - below - 3);
        CHECK_HEAP(expected);
        CHECK_EQ(stats().splits - splits, 2);
        give(first);
        give(s);
        CHECK_HEAP("free 1000");
    }
}

TEST(aligned_span_at_the_front,
     "if the free span starts at a multiple, nothing is cut off below")
{
    struct mspan *whole = take(64);
    char *start = whole->start_addr;
    size_t align = PAGE_SIZE; // the highest that start is a multiple of
    while (padding_to(start, 2 * align) == 0)
        align *= 2;
    give(whole);
    struct mspan *s = take_aligned(1, align);
    CHECK_PTR_EQ(s->start_addr, start);
    CHECK_HEAP("used 1, free 127");
    give(s);
}

TEST(alignment_below_a_page_changes_nothing,
     "every span is aligned for any alignment up to a page")
{
    struct mspan *first = take(1);
    for (size_t align = 1; align <= PAGE_SIZE; align *= 2) {
        struct mspan *s = take_aligned(1, align);
        CHECK_HEAP("used 1, used 1, free 126");
        give(s);
    }
    give(first);
}

TEST(
    aligned_span_finds_its_multiple_wherever_it_is,
    "an aligned span grows the heap by as much as it can need, and not by more")
{
    size_t align = (size_t)512 * PAGE_SIZE;
    struct mspan *first = take(128);
    struct mspan *s = take_aligned(600, align);
    CHECK_ALIGNED(s->start_addr, align);
    CHECK_EQ(os.largest, (size_t)(600 + 511) * PAGE_SIZE);
    CHECK_TRUE(is_sound());
    give(s);
    give(first);
    CHECK_HEAP("free 1239");
}

// ---------------------------------------------------------------------------
// Growing, and when the OS refuses.

TEST(grows_by_1_mib_or_what_is_needed,
     "the OS is asked for 128 pages, or more if one span needs more, and only"
     " if no free span is long enough")
{
    struct mspan *first = take(1); // and the first metadata
    CHECK_HEAP("used 1, free 127");
    static const struct {
        size_t npages, asked; // 0: nothing
    } cases[] = {{1, 0},     {127, 128},   {128, 128},
                 {129, 129}, {1000, 1000}, {126, 0}};
    struct mspan *s[6];
    for (size_t i = 0; i < 6; i++) {
        size_t calls = os.calls;
        s[i] = take(cases[i].npages);
        CHECK_EQ(s[i]->npages, cases[i].npages);
        CHECK_EQ(os.calls - calls, cases[i].asked != 0);
        if (cases[i].asked != 0)
            CHECK_EQ(os.last, cases[i].asked * PAGE_SIZE);
        CHECK_TRUE(is_sound());
    }
    for (size_t i = 0; i < 6; i++)
        give(s[i]);
    give(first);
}

TEST(falls_back_to_what_is_needed,
     "if the OS refuses 1 MiB, it is asked for just the length, and errno does"
     " not tell")
{
    struct mspan *first = take(128);
    os.refuse = (size_t)128 * PAGE_SIZE - 1;
    size_t calls = os.calls;
    errno = 4711;
    struct mspan *s = take(5);
    CHECK_NOT_NULL(s);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(os.calls - calls, 2);
    CHECK_EQ(os.last, 5 * PAGE_SIZE);
    CHECK_HEAP("used 5, used 128");
    CHECK_NULL(take(128));
    CHECK_EQ(errno, ENOMEM);
    CHECK_HEAP("used 5, used 128");
    give(s);
    give(first);
}

TEST(a_refusal_changes_nothing,
     "when the OS refuses, errno says ENOMEM, and the heap is as it was")
{
    static const struct {
        size_t npages, align;
    } cases[] = {{119, 1},
                 {128, 1},
                 {1000, 1},
                 {100, 256},
                 {1, 256},
                 {(size_t)1 << 50, 1},
                 {1, (size_t)1 << 49}};
    three_spans();
    give(middle);
    os.fail_from = os.calls + 1;
    CHECK_NULL(take(1000)); // there may be one struct more from here on
    struct mm_stats before = stats();
    for (size_t i = 0; i < 7; i++) {
        errno = 0;
        CHECK_NULL(take_aligned(cases[i].npages, cases[i].align * PAGE_SIZE));
        CHECK_EQ(errno, ENOMEM);
        CHECK_HEAP("used 2, free 3, used 4, used 1, free 118");
    }
    struct mm_stats after = stats();
    CHECK_EQ(after.bytes_from_os, before.bytes_from_os);
    CHECK_EQ(after.bytes_of_metadata, before.bytes_of_metadata);
    CHECK_EQ(after.splits, before.splits);
    CHECK_EQ(after.span_allocs, before.span_allocs);
    give(low);
    give(high);
    give(fence);
}

// first_call_fails makes the first span of a process while the OS refuses the
// call of that number, and all after it; and then one more, when it does not.
UNCHECKED static void first_call_fails(void *number)
{
    os.fail_from = *(size_t *)number;
    errno = 0;
    CHECK(take(1) == NULL && errno == ENOMEM);
    CHECK(is_sound() && heap_text()[0] == '\0');
    // What was mapped went back, except for metadata.
    uint64_t bytes = stats().bytes_from_os;
    CHECK(bytes == 0 || bytes == 128 << 10);

    os.fail_from = SIZE_MAX;
    struct mspan *s = take(1);
    CHECK(s != NULL && is_sound());
    CHECK(strcmp(heap_text(), "used 1, free 127") == 0);
    give(s);
}

TEST(the_first_growth_fails_anywhere,
     "whichever system call of the first growth fails, all of it goes back, and"
     " the next try is like the first")
{
    size_t most = 0;
    struct mspan *s = NULL;
    struct child child;
    do {
        most++;
        child = child_run(first_call_fails, &most);
    } while (child.signal == 0 && most < 100);
    // The last of them found no call to fail.
    CHECK_TRUE(strstr(child.said, "take(1) == NULL") != NULL);
    s = take(1);
    CHECK_EQ(most, os.calls + 1);
    CHECK_GE(most, 3); // memory, and metadata at least
    give(s);
}

TEST(memory_is_reused_after_a_refusal,
     "after the OS refused, what is freed is merged, and serves long spans")
{
    struct mspan *s[600];
    size_t n = 0;
    give(take(2000));
    // So that there are as many structs.
    while (n < 600)
        s[n++] = take(1);
    while (n > 0)
        give(s[--n]);
    CHECK_HEAP("free 2000");
    os.fail_from = os.calls + 1;
    while (n < 600 && (s[n] = take(1 + n % 4)) != NULL)
        n++;
    CHECK_EQ(n, 600);
    CHECK_NULL(take(1000));
    for (size_t i = 0; i < n; i += 2)
        give(s[i]);
    CHECK_NULL(take(1000));
    CHECK_TRUE(is_sound());
    for (size_t i = 1; i < n; i += 2)
        give(s[i]);
    CHECK_HEAP("free 2000");
    errno = 4711;
    struct mspan *large = take(2000);
    CHECK_NOT_NULL(large);
    CHECK_EQ(errno, 4711);
    give(large);
}

TEST(without_page_map_nothing_is_kept,
     "if there is no memory for the page map of what the OS added, that goes"
     " back, and the heap is as it was")
{
    struct mspan *first = take(1);
    os.refuse_just = 128 << 10; // what metadata comes in
    struct mm_stats before = stats();
    errno = 0;
    CHECK_NULL(take(1 << 14)); // needs more leaves than there is room for
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(stats().bytes_from_os, before.bytes_from_os);
    CHECK_EQ(stats().munmaps - before.munmaps, 1);
    CHECK_HEAP("used 1, free 127");
    os.refuse_just = 0;
    struct mspan *s = take(1 << 14);
    CHECK_NOT_NULL(s);
    CHECK_TRUE(is_sound());
    give(s);
    give(first);
}

// use_up_structs takes spans of one page, until there is no memory for another
// struct, while the OS refuses any. Returns how many.
static struct mspan *pages[1 << 14];

static size_t use_up_structs(void)
{
    size_t n = 0;
    give(take(1 << 14));
    os.fail_from = os.calls + 1;
    while ((pages[n] = take(1)) != NULL)
        n++;
    CHECK_GE(n, 80);
    CHECK_LE(n, (1 << 14) - 100);
    CHECK_EQ(errno, ENOMEM);
    CHECK_TRUE(is_sound());
    return n;
}

TEST(without_a_struct_nothing_is_split,
     "if there is no memory for the struct of what is left over, no span is"
     " split; one of just the right length is found all the same")
{
    size_t n = use_up_structs();
    CHECK_EQ(stats().splits, n);
    errno = 4711;
    struct mspan *rest = take((1 << 14) - n);
    CHECK_NOT_NULL(rest);
    CHECK_EQ(errno, 4711);
    CHECK_TRUE(strstr(heap_text(), "free") == NULL);
    give(rest);
    for (size_t i = 0; i < n; i++)
        give(pages[i]);
    CHECK_HEAP("free 16384");
}

TEST(one_struct_is_not_enough_for_two_cuts,
     "if there is a struct for what lies below an aligned span, but none for"
     " what lies above, it fails, and the one struct is still there")
{
    size_t n = use_up_structs();
    const char *start = pages[--n]->start_addr;
    give(pages[n]); // merges with the rest: that is one struct
    size_t align = PAGE_SIZE;
    while (padding_to(start, align) == 0)
        align *= 2;
    uint64_t splits = stats().splits;
    for (size_t i = 0; i < 3; i++) {
        errno = 0;
        CHECK_NULL(take_aligned(1, align));
        CHECK_EQ(errno, ENOMEM);
        CHECK_EQ(stats().splits, splits);
        CHECK_TRUE(is_sound());
    }
    pages[n] = take(1);
    CHECK_NOT_NULL(pages[n]);
    CHECK_PTR_EQ(pages[n]->start_addr, start);
    for (size_t i = 0; i <= n; i++)
        give(pages[i]);
    CHECK_HEAP("free 16384");
}
