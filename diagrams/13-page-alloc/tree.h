// tree.h - draws entries of the tree of summaries, after comparing them with
// notes of its own: one byte for each page of the heap, from which a run of
// free pages is counted page by page.
//
// A program that draws says which page allocator it is about, sets notes, and
// draws.

#ifndef TREE_H
#define TREE_H

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "draw_shapes.h"
#include "heap.h"
#include "lock.h"

enum {
    ENTRIES = 1 << SUMMARY_LEVEL_BITS, // of a row
    HEAP_PAGES = 5 << (34 - 2 - PAGE_SHIFT), // there are notes on: 20 GiB
    ALL_PAGES = 2 << (34 - PAGE_SHIFT), // of the two entries of the root there
};

static const uintptr_t heap_base = UINT64_C(0xc0) << 32;
static struct page_alloc *pages; // the allocator that is drawn

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "%s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// The notes.

// What is known of a page; 0: it is not in the heap.
enum { ABSENT, USED, FREE };
static unsigned char notes[ALL_PAGES];

static void note_pages(size_t page, size_t n, unsigned char what)
{
    memset(notes + page, what, n);
}

static uintptr_t address_of(size_t page)
{
    return heap_base + page * PAGE_SIZE;
}

// first_page returns the first page of an entry.
static size_t first_page(unsigned level, size_t entry)
{
    return ((entry << level_shift(level)) - heap_base) / PAGE_SIZE;
}

// noted_runs returns the runs of an entry.
static struct palloc_runs noted_runs(unsigned level, size_t entry)
{
    size_t from = first_page(level, entry);
    size_t n = (size_t)1 << level_log_pages(level);
    struct palloc_runs runs = {0, 0, 0};
    size_t run = 0;

    for (size_t i = 0; i < n; i++) {
        run = notes[from + i] == FREE ? run + 1 : 0;
        if (run == i + 1)
            runs.start = run;
        if (run > runs.max)
            runs.max = run;
    }
    runs.end = run;
    return runs;
}

static bool noted_absent(unsigned level, size_t entry)
{
    size_t n = (size_t)1 << level_log_pages(level);
    return memchr(notes + first_page(level, entry), USED, n) == NULL &&
           memchr(notes + first_page(level, entry), FREE, n) == NULL;
}

// summary_of returns what the tree says of an entry, which must be what the
// notes say. What lies below the notes, or above, must be no part of the heap.
static struct palloc_runs summary_of(unsigned level, size_t entry)
{
    lock_acquire(&mheap.lock);
    palloc_sum sum = page_alloc_summary(pages, level, entry);
    lock_release(&mheap.lock);
    struct palloc_runs runs = unpack_palloc_sum(sum);
    if (entry << level_shift(level) >= address_of(ALL_PAGES)) {
        if (sum != 0)
            fail("there is more heap than the notes know");
        return runs;
    }
    struct palloc_runs noted = noted_runs(level, entry);
    if (runs.start != noted.start || runs.max != noted.max ||
        runs.end != noted.end)
        fail("a summary is another than the notes give");
    return runs;
}

static bool is_absent(unsigned level, size_t entry)
{
    return entry << level_shift(level) >= address_of(ALL_PAGES) ||
           noted_absent(level, entry);
}

// page_in_use tells what the bit of a page says, which must be what is noted.
static bool page_in_use(size_t page)
{
    lock_acquire(&mheap.lock);
    bool in_use = page_alloc_count(pages, address_of(page), 1) != 0;
    lock_release(&mheap.lock);
    if (in_use != (notes[page] != FREE))
        fail("a bit is another than the notes give");
    return in_use;
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    LEFT = 84 * PT, // of the entries
    ENTRY_WIDTH = 69 * PT,
    ENTRY_HEIGHT = 34 * PT,
    ROW_WIDTH = ENTRIES * ENTRY_WIDTH,
    NUMBER_HEIGHT = 12 * PT, // of the line above an entry
    BITS_HEIGHT = 14 * PT,
};
_Static_assert(LEFT + ROW_WIDTH <= PICTURE_WIDTH, "a row fits");

static const char used_fill[] = "fillcolor=\"#a9d3f5\"";
static const char free_fill[] = "fillcolor=\"#bfe8b9\"";
static const char absent_fill[] = "fillcolor=\"#e4e6ea\"";
static const char found_fill[] = "fillcolor=\"#f2cf70\"";
static const char path_frame[] = "style=\"\", penwidth=2, color=\"#8250df\"";

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

static int entry_left(size_t entry)
{
    return LEFT + (int)(entry % ENTRIES) * ENTRY_WIDTH;
}

// draw_entry draws an entry, and says something above it.
static void draw_entry(unsigned level, size_t entry, int top, const char *above)
{
    struct palloc_runs runs = summary_of(level, entry);
    const char *fill = is_absent(level, entry) ? absent_fill
                       : runs.max == 0         ? used_fill
                                               : free_fill;
    char text[80];

    draw_note(entry_left(entry), top, above);
    if (is_absent(level, entry))
        strcpy(text, "0");
    else
        snprintf(text, sizeof text, "%zu\\n%zu\\n%zu", runs.start, runs.max,
                 runs.end);
    draw_box(entry_left(entry), top + NUMBER_HEIGHT + 2 * PT, ENTRY_WIDTH,
             ENTRY_HEIGHT, fill, text);
}

static void draw_frame(size_t entry, int top)
{
    draw_box(entry_left(entry), top + NUMBER_HEIGHT + 2 * PT, ENTRY_WIDTH,
             ENTRY_HEIGHT, path_frame, "");
}

// draw_row_label says which level a row is of.
static void draw_row_label(unsigned level, int top)
{
    static const char *const sizes[SUMMARY_LEVELS] = {
        "16 GiB", "2 GiB", "256 MiB", "32 MiB", "4 MiB"};
    char text[32];

    snprintf(text, sizeof text, "level %u", level);
    draw_bold(0, top + NUMBER_HEIGHT, TEXT_SIZE, text);
    draw_note(0, top + NUMBER_HEIGHT + 13 * PT, sizes[level]);
    draw_note(53 * PT, top + NUMBER_HEIGHT, "start");
    draw_note(53 * PT, top + NUMBER_HEIGHT + 11 * PT, "max");
    draw_note(53 * PT, top + NUMBER_HEIGHT + 22 * PT, "end");
}

// draw_fan draws lines from an entry to the row of what is in it.
static inline void draw_fan(size_t entry, int top, int row_top)
{
    int bottom = top + NUMBER_HEIGHT + 2 * PT + ENTRY_HEIGHT;
    for (int side = 0; side < 2; side++) {
        struct line l = {.count = 0};
        line_to(&l, entry_left(entry) + side * ENTRY_WIDTH, bottom);
        line_to(&l, LEFT + side * ROW_WIDTH, row_top);
        draw_line(&l, "color=\"#8250df\", style=dashed", false);
    }
}

// fill_of_page returns how a page is drawn; found are pages that were found.
static const char *fill_of_page(size_t page, struct addr_range found)
{
    if (notes[page] == ABSENT)
        return absent_fill;
    if (address_of(page) >= found.base && address_of(page) < found.limit)
        return found_fill;
    return page_in_use(page) ? used_fill : free_fill;
}

// draw_pages draws n pages in runs of one kind, with the length of each.
static void draw_pages(size_t page, size_t n, int top, int left, int width,
                       struct addr_range found)
{
    size_t from = 0;
    char text[32];

    for (size_t i = 1; i <= n; i++) {
        const char *fill = fill_of_page(page + from, found);
        if (i < n && fill_of_page(page + i, found) == fill)
            continue;
        int run_left = (int)((size_t)width * from / n);
        int run_width = (int)((size_t)width * i / n) - run_left;
        snprintf(text, sizeof text, "%zu", i - from);
        draw_box(left + run_left, top, run_width, BITS_HEIGHT, fill, text);
        from = i;
    }
}

static int draw_key(int x, int top, const char *fill, const char *text)
{
    draw_box(x, top + 3 * PT, 9 * PT, 9 * PT, fill, "");
    draw_note(x + 13 * PT, top, text);
    return x + 26 * PT + text_width(text, SMALL_SIZE);
}

#endif
