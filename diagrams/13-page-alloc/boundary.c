// boundary.c - draws free pages on both sides of a boundary, and where in the
// tree a search finds them.
//
// In each of three heaps, of addresses only, some pages are free, most of them
// around a boundary: of a chunk, of 32 MiB, of 16 GiB. The search has to end on
// the level where both sides are neighbours in a row, after as many visits as
// there are entries up to there.
//
// usage: boundary > boundary.dot

#include "tree.h"

enum {
    SHORT_RUN = 9, // pages, low in the heap
    BELOW = 5, // free pages right below the boundary
    ABOVE = 6, // and above it
    WANTED = 10,
    SHOWN = 16, // pages on each side
    MOMENTS_TOP = 68 * PT,
    // In a moment:
    ROW_TOP = 30 * PT,
    PAGES_TOP = ROW_TOP + NUMBER_HEIGHT + ENTRY_HEIGHT + 20 * PT,
    MOMENT_HEIGHT = PAGES_TOP + 36 * PT,
};

static void free_run(size_t page, size_t n) REQUIRES(mheap.lock)
{
    page_alloc_free(pages, address_of(page), n, true);
    note_pages(page, n, FREE);
}

// make_heap makes the heap of a moment.
static void make_heap(size_t boundary)
{
    lock_acquire(&mheap.lock);
    page_alloc_init(pages);
    if (!page_alloc_grow(pages, heap_base, (size_t)HEAP_PAGES * PAGE_SIZE) ||
        page_alloc_alloc(pages, HEAP_PAGES).base != heap_base)
        fail("no heap");
    note_pages(0, HEAP_PAGES, USED);
    free_run(100, SHORT_RUN);
    free_run(boundary - BELOW, BELOW + ABOVE);
    if (!page_alloc_check(pages))
        fail("the tree is damaged");
    lock_release(&mheap.lock);
}

// count_visits returns how many entries are read above a level, to come to one.
// search_addr is in the first entry of each.
static size_t count_visits(unsigned level, size_t entry)
{
    size_t n = 0;
    for (unsigned above = 0; above < level; above++)
        n += (entry >> (level - above) * SUMMARY_LEVEL_BITS) % ENTRIES + 1;
    return n;
}

// check fails if the search does not find the run, after so many visits.
static void check(size_t boundary, size_t visits)
{
    struct mm_stats before, after;

    mm_stats(&before);
    lock_acquire(&mheap.lock);
    uintptr_t base = page_alloc_find(pages, WANTED).base;
    lock_release(&mheap.lock);
    mm_stats(&after);
    if (base != address_of(boundary - BELOW))
        fail("the search finds another page");
    if (after.nodes_visited - before.nodes_visited != visits)
        fail("the search visits more, or less");
}

static void draw_row(unsigned level, size_t right, size_t visits, int top)
{
    char text[32];

    draw_row_label(level, top);
    for (size_t i = 0; i < ENTRIES; i++) {
        size_t entry = right / ENTRIES * ENTRIES + i;
        int n = snprintf(text, sizeof text, "%zu", level == 0 ? entry : i);
        if (entry <= right)
            snprintf(text + n, sizeof text - (size_t)n, ": visit %zu",
                     ++visits);
        draw_entry(level, entry, top, text);
    }
    draw_frame(right - 1, top);
    draw_frame(right, top);
}

// draw_boundary draws the pages on both sides of a boundary, and a line from
// there up to the two entries.
static void draw_boundary(size_t boundary, size_t right, int top)
{
    size_t from = boundary - BELOW;
    struct line l = {.count = 0};
    int bottom = top - PAGES_TOP + ROW_TOP + NUMBER_HEIGHT + ENTRY_HEIGHT;

    line_to(&l, entry_left(right), bottom + 2 * PT);
    line_to(&l, LEFT + ROW_WIDTH / 2, top);
    draw_line(&l, "color=\"#8250df\", style=dashed", false);
    draw_bold(0, top, TEXT_SIZE, "pages");
    draw_pages(
        boundary - SHOWN, SHOWN, top, LEFT, ROW_WIDTH / 2,
        (struct addr_range){address_of(from), address_of(from + WANTED)});
    draw_pages(
        boundary, SHOWN, top, LEFT + ROW_WIDTH / 2, ROW_WIDTH / 2,
        (struct addr_range){address_of(from), address_of(from + WANTED)});
}

// draw_moment draws the entries of a level, of which two meet at a boundary.
static int draw_moment(int top, unsigned level, size_t boundary,
                       const char *caption, const char *text)
{
    size_t right = address_of(boundary) >> level_shift(level);
    size_t visits = count_visits(level, right);

    make_heap(boundary);
    draw_bold(0, top, CAPTION_SIZE, caption);
    draw_note(0, top + 15 * PT, text);
    draw_row(level, right, visits, top + ROW_TOP);
    draw_boundary(boundary, right, top + PAGES_TOP);
    check(boundary, visits + right % ENTRIES + 1);
    return top + MOMENT_HEIGHT;
}

int main(void)
{
    static struct page_alloc heaps[3];

    out("// Drawn by diagrams/13-page-alloc/boundary.c from the summaries of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("Free pages on both sides of a boundary");
    draw_bold(0, 0, TITLE_SIZE, "10 free pages, across a boundary");
    draw_note(0, 20 * PT,
              "9 pages are free in the lowest chunk, 5 right below a boundary"
              " and 6 above it. In a row, the end of an entry and the start of"
              " the next");
    draw_note(0, 33 * PT,
              "one meet. The search sees that they are 10 or more, and knows"
              " the first of these pages: it does not go down.");
    int x = draw_key(0, 48 * PT, free_fill, "something is free");
    x = draw_key(x, 48 * PT, used_fill, "nothing is free");
    x = draw_key(x, 48 * PT, absent_fill, "no heap: 0, 0, 0");
    draw_key(x, 48 * PT, found_fill, "what is found");

    for (int i = 0; i < 3; i++)
        heaps[i].test = true;
    pages = &heaps[0];
    int top = draw_moment(MOMENTS_TOP, 4, 3 * PALLOC_CHUNK_PAGES,
                          "1  Two chunks meet, at 12 MiB",
                          "On each level above, the max of the first entry is "
                          "11: one visit. Then come 4 chunks.");
    pages = &heaps[1];
    top = draw_moment(top, 3, 5 * (ENTRIES * PALLOC_CHUNK_PAGES),
                      "2  Two entries of 32 MiB meet, at 160 MiB",
                      "The two chunks are in different rows of level 4, but on"
                      " level 3 they are in neighbours.");
    pages = &heaps[2];
    draw_moment(top, 0, (size_t)1 << level_log_pages(0),
                "3  Two entries of the root meet, at 16 GiB",
                "Two visits, and the run is found.");
    end_picture();
}
