// search.c - draws one search for free pages: which entries it visits.
//
// It makes a heap of 20 GiB, of addresses only, in which four runs of pages are
// free, and looks for some pages by itself: down the tree, as the head of
// mpagealloc.c says. The page allocator must find the same pages, after as many
// visits.
//
// usage: search > search.dot

#include "tree.h"

enum {
    WANTED = 64, // pages
    TITLE_HEIGHT = 66 * PT,
    ROW_STEP = NUMBER_HEIGHT + ENTRY_HEIGHT + 26 * PT,
};

static struct page_alloc allocator = {.test = true};

// free_run makes n pages free, from one on.
static void free_run(size_t page, size_t n)
{
    lock_acquire(&mheap.lock);
    page_alloc_free(pages, address_of(page), n, true);
    lock_release(&mheap.lock);
    note_pages(page, n, FREE);
}

// page_at returns the page at an address that is given in pieces.
static size_t page_at(size_t gib, size_t mib, size_t page)
{
    return (gib << (30 - PAGE_SHIFT)) + (mib << (20 - PAGE_SHIFT)) + page;
}

static void make_heap(void)
{
    lock_acquire(&mheap.lock);
    page_alloc_init(pages);
    if (!page_alloc_grow(pages, heap_base, (size_t)HEAP_PAGES * PAGE_SIZE) ||
        page_alloc_alloc(pages, HEAP_PAGES).base != heap_base)
        fail("no heap");
    lock_release(&mheap.lock);
    note_pages(0, HEAP_PAGES, USED);
    free_run(page_at(0, 4, 128), 3);
    free_run(page_at(0, 300, 0), 30);
    free_run(page_at(5, 168, 200), 100);
    free_run(HEAP_PAGES - 1000, 1000);
    lock_acquire(&mheap.lock);
    if (!page_alloc_check(pages))
        fail("the tree is damaged");
    lock_release(&mheap.lock);
}

// ---------------------------------------------------------------------------
// A search. No run of enough pages goes on from entry to entry in this heap, so
// only max counts.

static int visits; // so far

// search_row visits entries of a row until one has enough pages, draws all, and
// returns it.
static size_t search_row(unsigned level, size_t row, int top)
{
    size_t found = SIZE_MAX;
    size_t first = pages->search_addr >> level_shift(level);
    char text[32];

    if (first / ENTRIES != row / ENTRIES)
        first = row;
    for (size_t i = 0; i < ENTRIES; i++) {
        size_t entry = row + i;
        int n = snprintf(text, sizeof text, "%zu", level == 0 ? entry : i);
        if (entry >= first && found == SIZE_MAX) {
            snprintf(text + n, sizeof text - (size_t)n, ": visit %d", ++visits);
            if (summary_of(level, entry).max >= WANTED)
                found = entry;
        }
        draw_entry(level, entry, top, text);
    }
    if (found == SIZE_MAX)
        fail("the parent promised a run");
    draw_row_label(level, top);
    draw_frame(found, top);
    draw_fan(found, top, top + ROW_STEP);
    return found;
}

// find_in_bitmap returns the first of the pages wanted in a chunk.
static size_t find_in_bitmap(size_t chunk)
{
    size_t page = chunk * PALLOC_CHUNK_PAGES, run = 0;

    visits++;
    while (run < WANTED)
        run = page_in_use(page++) ? 0 : run + 1;
    return page - run;
}

// check fails if the page allocator does not come to the same page.
static void check(size_t page)
{
    struct mm_stats before, after;

    mm_stats(&before);
    lock_acquire(&mheap.lock);
    uintptr_t base = page_alloc_find(pages, WANTED).base;
    lock_release(&mheap.lock);
    mm_stats(&after);
    if (base != address_of(page))
        fail("the page allocator finds another page");
    if (after.nodes_visited - before.nodes_visited != (uint64_t)visits)
        fail("the page allocator visits more, or less");
}

static void draw_search(int top)
{
    size_t row = (heap_base >> level_shift(0)) / ENTRIES * ENTRIES;
    char text[32];

    for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
        row = search_row(level, row, top) * ENTRIES;
        top += ROW_STEP;
    }
    size_t chunk = row / ENTRIES - chunk_index(heap_base);
    size_t page = find_in_bitmap(chunk);
    check(page);
    snprintf(text, sizeof text, "visit %d", visits);
    draw_bold(0, top - PT, TEXT_SIZE, "bitmap");
    draw_note(0, top + 10 * PT, text);
    draw_pages(
        chunk * PALLOC_CHUNK_PAGES, PALLOC_CHUNK_PAGES, top, LEFT, ROW_WIDTH,
        (struct addr_range){address_of(page), address_of(page + WANTED)});
}

int main(void)
{
    pages = &allocator;
    make_heap();
    out("// Drawn by diagrams/13-page-alloc/search.c from the summaries of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("A search walks down");
    draw_bold(0, 0, TITLE_SIZE, "64 free pages in 20 GiB");
    draw_note(0, 20 * PT,
              "Four runs are free: 3 pages at 5 MiB, 30 at 300 MiB, 100 at"
              " 5 GiB + 168 MiB, and the last 1000. In each row, the search"
              " visits entries from");
    draw_note(0, 33 * PT,
              "left to right, until the max of one is 64 or more: it looks"
              " into that one. No other entry of the tree is read.");
    int x = draw_key(0, 48 * PT, free_fill, "something is free");
    x = draw_key(x, 48 * PT, used_fill, "nothing is free");
    x = draw_key(x, 48 * PT, absent_fill, "no heap: 0, 0, 0");
    draw_key(x, 48 * PT, found_fill, "what is found");
    draw_search(TITLE_HEIGHT);
    end_picture();
}
