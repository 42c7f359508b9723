// levels.c - draws the tree of summaries of a running process: its own.
//
// It allocates blocks of whole pages, and frees one. Then it draws the way from
// the root to the pages of that block, as its address says.
//
// usage: levels > levels.dot

#include "mm.h"
#include "tree.h"

enum {
    A = 38500, // pages of the blocks
    B = 200,
    C = 300,
    TITLE_HEIGHT = 64 * PT,
    ADDRESS_HEIGHT = 50 * PT,
    ROW_STEP = NUMBER_HEIGHT + ENTRY_HEIGHT + 26 * PT,
};

// allocate takes a block of n pages, which must begin at that page.
static void *allocate(size_t n, size_t page)
{
    void *p = mm_malloc(n * PAGE_SIZE);
    if ((uintptr_t)p != address_of(page))
        fail("a block is not where it should be");
    note_pages(page, n, USED);
    return p;
}

static void make_heap(void)
{
    allocate(A, 0);
    void *b = allocate(B, A);
    allocate(C, A + B);
    mm_free(b);
    note_pages(A, B, FREE);
    size_t end = A + B + C;
    note_pages(end, round_up(end, PALLOC_CHUNK_PAGES) - end, FREE);
    if (!mm_check())
        fail("the heap is damaged");
}

// draw_address draws the parts of an address: of which entry, page and byte.
static void draw_address(uintptr_t p, int top)
{
    static const char *const names[] = {
        "entry of level 0", "1", "2", "3", "4", "page", "byte in page"};
    static const int widths[] = {14, 3, 3, 3, 3, 9, 13};
    int x = LEFT, shift = HEAP_ADDR_BITS;
    int bit_width = ROW_WIDTH / HEAP_ADDR_BITS;
    char text[64];

    snprintf(text, sizeof text, "0x%" PRIxPTR, p);
    draw_text(0, top + 11 * PT, SMALL_SIZE, code_font, outside, text);
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        shift -= widths[i];
        uintptr_t part = p >> shift & ((UINT64_C(1) << widths[i]) - 1);
        snprintf(text, sizeof text, "%" PRIuPTR, part);
        draw_note(x, top - 4 * PT, names[i]);
        draw_box(x, top + 11 * PT, widths[i] * bit_width, BITS_HEIGHT,
                 "fillcolor=\"#dfc8f5\"", text);
        snprintf(text, sizeof text, "%d", widths[i]);
        draw_note(x, top + 24 * PT, text);
        x += widths[i] * bit_width;
    }
    draw_note(0, top + 24 * PT, "bits");
}

static void draw_levels(uintptr_t p, int top)
{
    char text[32];

    for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
        size_t on_path = p >> level_shift(level);
        draw_row_label(level, top);
        for (size_t i = 0; i < ENTRIES; i++) {
            size_t entry = on_path / ENTRIES * ENTRIES + i;
            snprintf(text, sizeof text, "%zu", level == 0 ? entry : i);
            draw_entry(level, entry, top, text);
        }
        draw_frame(on_path, top);
        draw_fan(on_path, top, top + ROW_STEP);
        top += ROW_STEP;
    }
    size_t chunk = (p - heap_base) / PALLOC_CHUNK_BYTES * PALLOC_CHUNK_PAGES;
    draw_bold(0, top - PT, TEXT_SIZE, "bitmap");
    draw_note(0, top + 10 * PT, "512 pages");
    draw_pages(chunk, PALLOC_CHUNK_PAGES, top, LEFT, ROW_WIDTH,
               (struct addr_range){p, p + B * PAGE_SIZE});
}

int main(void)
{
    pages = &mheap.pages;
    make_heap();
    out("// Drawn by diagrams/13-page-alloc/levels.c from the summaries of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("The five levels of summaries");
    draw_bold(0, 0, TITLE_SIZE, "An address is a way through the tree");
    draw_note(0, 20 * PT,
              "Blocks of 38500, 200 and 300 pages were allocated, and the one"
              " of 200 was freed. An entry has three numbers: how many free"
              " pages");
    draw_note(0, 33 * PT,
              "it begins with, the most in a row, and how many it ends with."
              " The eight entries of a row are what the framed one above is"
              " made of.");
    int x = draw_key(0, 47 * PT, free_fill, "something is free");
    x = draw_key(x, 47 * PT, used_fill, "nothing is free");
    x = draw_key(x, 47 * PT, absent_fill, "no heap: 0, 0, 0");
    draw_key(x, 47 * PT, found_fill, "the pages at the address");
    draw_address(address_of(A), TITLE_HEIGHT + 6 * PT);
    draw_levels(address_of(A), TITLE_HEIGHT + ADDRESS_HEIGHT);
    end_picture();
}
