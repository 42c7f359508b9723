// pagemap.c - draws the page map of a running process: its own.
//
// It allocates, looks up the pages of the heap, and draws which entries of the
// three tables lead to which span. Addresses differ from run to run; so their
// parts are shown as r, m and l, and other entries by their distance.
//
// usage: pagemap > pagemap.dot

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bits.h"
#include "draw_shapes.h"
#include "heap.h"

// The parts of an address, as in stages/05-spans/pagemap.c.
enum { ROOT_BITS = 12, MIDDLE_BITS = 12, LEAF_BITS = 11 };
_Static_assert(ROOT_BITS + MIDDLE_BITS + LEAF_BITS + PAGE_SHIFT == 48,
               "an address has 48 bits");
enum {
    LEAF_BYTES = (1 << LEAF_BITS) * sizeof(void *),
    MIDDLE_BYTES = (1 << MIDDLE_BITS) * sizeof(void *),
    ROOT_BYTES = (1 << ROOT_BITS) * sizeof(void *),
    HEAP_SIZE = 1 << 20, // what the heap asks of the OS at first
    SMALL = 48, // class of one page
    LARGER = 3072, // class of three pages
};

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "pagemap: %s\n", what);
    _exit(1);
}

static uintptr_t page_of(const void *p)
{
    return (uintptr_t)p >> PAGE_SHIFT;
}

// ---------------------------------------------------------------------------
// What there is.

// place_heap sees to it that the heap lies in one leaf. The OS hands out
// addresses downwards: what lies across two leaves is taken, and stays so.
static void place_heap(void)
{
    size_t n = 2 * HEAP_SIZE; // with room for metadata, wherever that comes

    for (int i = 0; i < 100; i++) {
        char *p = mmap(NULL, n, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
            fail("no memory");
        if (page_of(p) >> LEAF_BITS == page_of(p + n) >> LEAF_BITS) {
            munmap(p, n);
            return;
        }
    }
    fail("no place for the heap in one leaf");
}

// entries_in_use returns how many entries of a table are in use: each serves
// 1 << bits pages. All spans lie in one table.
static size_t entries_in_use(unsigned bits)
{
    size_t n = 0;
    uintptr_t last = 0;

    lock_acquire(&mheap.lock);
    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s))) {
        if (page_of(s->start_addr) >> bits != last) {
            last = page_of(s->start_addr) >> bits;
            n++;
        }
        if (page_of(mspan_end(s) - 1) >> bits != last)
            fail("a span lies in two tables");
    }
    lock_release(&mheap.lock);
    return n;
}

// leaf_in_use returns how many entries are in use of the leaf that p is in.
static size_t leaf_in_use(const char *p)
{
    uintptr_t first = page_of(p) >> LEAF_BITS << LEAF_BITS;
    size_t n = 0;
    for (uintptr_t page = first; page < first + (1 << LEAF_BITS); page++)
        n += pagemap_get((const void *)(page << PAGE_SHIFT)) != NULL;
    return n;
}

// check_page fails if the page map does not say s of page n from start on.
static void check_page(const char *start, size_t n, const struct mspan *s)
{
    if (pagemap_get(start + n * PAGE_SIZE) != s)
        fail("the page map is not as it is drawn");
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    TABLE_WIDTH = 126 * PT,
    LEFT_ROOT = 0,
    LEFT_MIDDLE = 160 * PT,
    LEFT_LEAF = 320 * PT,
    LEFT_SPAN = 486 * PT,
    SPAN_WIDTH = PICTURE_WIDTH - LEFT_SPAN,
    SPAN_HEIGHT = 32 * PT,
    ROW = 18 * PT,
    ADDRESS_TOP = 62 * PT,
    ADDRESS_HEIGHT = 30 * PT,
    NOTES_TOP = 104 * PT,
    TABLE_TOP = 146 * PT,
};

static const char root_fill[] = "fillcolor=\"#f2cf70\"";
static const char middle_fill[] = "fillcolor=\"#dfc8f5\"";
static const char leaf_fill[] = "fillcolor=\"#f7cdb4\"";
static const char used_fill[] = "fillcolor=\"#a9d3f5\"";
static const char free_fill[] = "fillcolor=\"#e3efc3\"";
static const char null_fill[] = "fillcolor=\"#f0f1f4\"";
static const char arrow[] = "color=\"#6e7781\"";

// draw_part draws a part of the address, and notes on its table.
static void draw_part(int left, int width, const char *fill, const char *text,
                      const char *note1, const char *note2, const char *note3)
{
    const char *notes[] = {note1, note2, note3};
    draw_box(left, ADDRESS_TOP, width, ADDRESS_HEIGHT, fill, text);
    for (int i = 0; i < 3; i++)
        draw_text(left, NOTES_TOP + i * LINE_HEIGHT, SMALL_SIZE, NULL, outside,
                  notes[i]);
}

// draw_index does that for a part that is the index in a table.
static void draw_index(int left, const char *fill, const char *text,
                       const char *table, size_t bytes, size_t in_use,
                       const char *serves)
{
    char size[64], use[64];
    snprintf(size, sizeof size, "%s: %zu entries, %zu bytes", table,
             bytes / sizeof(void *), bytes);
    snprintf(use, sizeof use, "in use: %zu", in_use);
    draw_part(left, TABLE_WIDTH, fill, text, size, use, serves);
}

// draw_entry draws row n of a table. Returns the y of its middle.
static int draw_entry(int left, int n, const char *fill, const char *text)
{
    draw_box(left, TABLE_TOP + n * ROW, TABLE_WIDTH, ROW, fill, text);
    return TABLE_TOP + n * ROW + ROW / 2;
}

// draw_arrow draws an arrow from the right of a table to something else.
static void draw_arrow(int left, int y, int to_left, int to_y)
{
    struct line line = {0};
    int x = left + TABLE_WIDTH;
    line_to(&line, x, y);
    if (y != to_y) {
        line_to(&line, (x + to_left) / 2, y);
        line_to(&line, (x + to_left) / 2, to_y);
    }
    line_to(&line, to_left, to_y);
    draw_line(&line, arrow, true);
}

// draw_upper draws the root or a middle, one of whose entries leads on.
static void draw_upper(int left, const char *fill, const char *index,
                       int to_left)
{
    char text[64];
    snprintf(text, sizeof text, "below %s: NULL", index);
    draw_entry(left, 0, null_fill, text);
    int y = draw_entry(left, 1, fill, index);
    snprintf(text, sizeof text, "above %s: NULL", index);
    draw_entry(left, 2, null_fill, text);
    draw_arrow(left, y, to_left, TABLE_TOP + ROW / 2);
}

// draw_span draws s around the height y.
static void draw_span(const struct mspan *s, int y)
{
    char text[100];
    int n = snprintf(text, sizeof text, "struct mspan\\n%zu page%s, ",
                     s->npages, s->npages == 1 ? "" : "s");
    if (s->state == MSPAN_FREE)
        snprintf(text + n, sizeof text - (size_t)n, "free");
    else
        snprintf(text + n, sizeof text - (size_t)n, "objects of %zu",
                 s->elemsize);
    draw_box(LEFT_SPAN, y - SPAN_HEIGHT / 2, SPAN_WIDTH, SPAN_HEIGHT,
             s->state == MSPAN_FREE ? free_fill : used_fill, text);
}

// draw_page draws row n of the leaf: that of a page, l + page, which leads to s
// at the height y.
static void draw_page(int n, const char *start, size_t page, const char *fill,
                      const struct mspan *s, int y)
{
    char text[64];
    check_page(start, page, s);
    snprintf(text, sizeof text, page == 0 ? "l" : "l + %zu", page);
    draw_arrow(LEFT_LEAF, draw_entry(LEFT_LEAF, n, fill, text), LEFT_SPAN, y);
}

// draw_leaf draws the entries of the spans, which follow each other from start
// on: of those in use, all; of the free one, which is the last, two.
static void draw_leaf(const char *start, struct mspan *const spans[3])
{
    size_t page = 0;
    int n = 0;
    char text[64];

    draw_entry(LEFT_LEAF, n++, null_fill, "below l: NULL");
    for (int i = 0; i < 2; i++) {
        int y = TABLE_TOP + n * ROW + (int)spans[i]->npages * ROW / 2;
        draw_span(spans[i], y);
        for (size_t end = page + spans[i]->npages; page < end; page++)
            draw_page(n++, start, page, page == 0 ? leaf_fill : used_fill,
                      spans[i], y);
    }
    int y = TABLE_TOP + n * ROW + 3 * ROW / 2;
    size_t last = page + spans[2]->npages - 1;
    draw_span(spans[2], y);
    draw_page(n++, start, page, free_fill, spans[2], y);
    for (page++; page < last; page++)
        check_page(start, page, NULL);
    snprintf(text, sizeof text, "up to l + %zu: NULL", last - 1);
    draw_entry(LEFT_LEAF, n++, null_fill, text);
    draw_page(n++, start, last, free_fill, spans[2], y);
    snprintf(text, sizeof text, "above l + %zu: NULL", last);
    draw_entry(LEFT_LEAF, n, null_fill, text);
}

int main(void)
{
    place_heap();
    char *a = mm_malloc(SMALL), *b = mm_malloc(SMALL), *c = mm_malloc(SMALL);
    char *d = mm_malloc(LARGER);
    if (a == NULL || b == NULL || c == NULL || d == NULL)
        fail("no memory");
    struct mspan *spans[3] = {span_of(c), span_of(d), NULL};
    if (spans[0] == NULL || spans[1] == NULL ||
        mspan_end(spans[0]) != spans[1]->start_addr)
        fail("there are not two spans side by side");
    spans[2] = pagemap_get(mspan_end(spans[1]));
    if (spans[2] == NULL || spans[2]->state != MSPAN_FREE)
        fail("no free span follows");
    char *start = spans[0]->start_addr;
    if (page_of(start) >> LEAF_BITS !=
        page_of(mspan_end(spans[2]) - 1) >> LEAF_BITS)
        fail("the heap lies in two leaves");

    // The root is a variable; the other tables are metadata, with the structs.
    struct mm_stats stats;
    mm_stats(&stats);
    size_t structs = 3 * round_up(sizeof(struct mspan), MM_ALIGNMENT);
    if (stats.bytes_of_metadata != MIDDLE_BYTES + LEAF_BYTES + structs)
        fail("the tables are not as large as they are drawn");

    char place[64], text[200];
    size_t offset = (size_t)(c - start);
    out("// Drawn by diagrams/05-spans/pagemap.c from the page map of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("The page map");
    draw_bold(0, 0, TITLE_SIZE, "From an address to its span: the page map");
    snprintf(text, sizeof text,
             "a = malloc(%d);  b = malloc(%d);  c = malloc(%d);"
             "  d = malloc(%d);",
             SMALL, SMALL, SMALL, LARGER);
    draw_text(0, 22 * PT, TEXT_SIZE, code_font, outside, text);
    draw_text(0, 44 * PT, TEXT_SIZE, NULL, outside,
              "the address of c, by its bits; r, m and l are other numbers in"
              " each run");
    draw_index(LEFT_ROOT, root_fill, "r\\nbits 47 to 36", "root", ROOT_BYTES,
               entries_in_use(MIDDLE_BITS + LEAF_BITS), "each entry: 64 GiB");
    draw_index(LEFT_MIDDLE, middle_fill, "m\\nbits 35 to 24", "middle",
               MIDDLE_BYTES, entries_in_use(LEAF_BITS), "each entry: 16 MiB");
    draw_index(LEFT_LEAF, leaf_fill, "l\\nbits 23 to 13", "leaf", LEAF_BYTES,
               leaf_in_use(start), "each entry: a page");
    snprintf(place, sizeof place, "%zu\\nbits 12 to 0", offset % PAGE_SIZE);
    snprintf(text, sizeof text, "%zu / %zu: object %zu of its span", offset,
             spans[0]->elemsize, offset / spans[0]->elemsize);
    draw_part(LEFT_SPAN, SPAN_WIDTH, null_fill, place,
              "the place of c in its page", text, "");
    draw_upper(LEFT_ROOT, root_fill, "r", LEFT_MIDDLE);
    draw_upper(LEFT_MIDDLE, middle_fill, "m", LEFT_LEAF);
    draw_leaf(start, spans);
    end_picture();
}
