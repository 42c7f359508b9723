// cache.c - draws 64 pages: what the heap knows of them, and what the page
// cache of a thread does.
//
// It allocates blocks of some pages each, and lets the page cache go. In
// between, it draws the first words of the bitmap of the first chunk and the
// words of the cache, after comparing both with the spans.
//
// usage: cache > cache.dot

#include <stdio.h>
#include <unistd.h>

#include "draw_shapes.h"
#include "heap.h"
#include "mm.h"

enum { WORDS = 2 }; // that are drawn

static uintptr_t first_page; // of the chunk

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "cache: %s\n", what);
    _exit(1);
}

// allocate takes a block of npages pages, which must begin at that page.
static void *allocate(size_t npages, size_t page)
{
    char *p = mm_malloc(npages * PAGE_SIZE);
    if (p == NULL)
        fail("no memory");
    if ((uintptr_t)p != first_page + page * PAGE_SIZE)
        fail("a block is not where it should be");
    return p;
}

// allocate_first takes a small block: the first page of the heap is for its
// span. A thread has a cache from its first small block on.
static void allocate_first(void)
{
    char *p = mm_malloc(100);
    if (p == NULL)
        fail("no memory");
    first_page = (uintptr_t)p;
}

// ---------------------------------------------------------------------------
// What there is.

static uint64_t heap_word(size_t w)
{
    lock_acquire(&mheap.lock);
    uint64_t word =
        page_alloc_chunk(&mheap.pages, chunk_index(first_page))->alloc.words[w];
    lock_release(&mheap.lock);
    return word;
}

static uint64_t cache_word(size_t w)
{
    const struct page_cache *c = &mcache->pcache;
    return c->base == first_page + w * PAGE_CACHE_PAGES * PAGE_SIZE ? c->cache
                                                                    : 0;
}

static const struct mspan *span_at(size_t page)
{
    return span_of((const char *)first_page + page * PAGE_SIZE);
}

// check fails if a page is not of exactly one: a span, the cache, the free
// ones.
static void check(size_t page)
{
    bool used = (heap_word(page / 64) >> page % 64 & 1) != 0;
    bool cached = (cache_word(page / 64) >> page % 64 & 1) != 0;
    if (used != (cached || span_at(page) != NULL) ||
        (cached && span_at(page) != NULL))
        fail("a page is free and in use");
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    CELL = 8 * PT, // width of a page
    LEFT = PICTURE_WIDTH - 64 * CELL,
    ROW = 13 * PT,
    LEGEND_TOP = 50 * PT,
    MOMENTS_TOP = 76 * PT,
    // In a moment:
    ROWS_TOP = 29 * PT,
    WORD_HEIGHT = 3 * ROW + 6 * PT,
    MOMENT_GAP = 12 * PT,
};

static const char used_fill[] = "fillcolor=\"#a9d3f5\"";
static const char cached_fill[] = "fillcolor=\"#f2cf70\"";
static const char free_fill[] = "fillcolor=\"#bfe8b9\"";
static const char bits_fill[] = "fillcolor=\"#f0f1f4\"";

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

static const char *fill_of(size_t page)
{
    if (span_at(page) != NULL)
        return used_fill;
    return (cache_word(page / 64) >> page % 64 & 1) != 0 ? cached_fill
                                                         : free_fill;
}

// draw_pages draws the pages of word w, in runs of one kind and span.
static void draw_pages(size_t w, int top)
{
    char text[16];
    size_t run = w * 64;

    for (size_t page = w * 64; page < w * 64 + 64; page++) {
        check(page);
        if (page + 1 < w * 64 + 64 && fill_of(page + 1) == fill_of(page) &&
            span_at(page + 1) == span_at(page))
            continue;
        snprintf(text, sizeof text, "%zu", page + 1 - run);
        draw_box(LEFT + (int)(run % 64) * CELL, top,
                 (int)(page + 1 - run) * CELL, ROW, fill_of(page), text);
        run = page + 1;
    }
}

// draw_bits draws 64 bits, that of the lowest page first.
static void draw_bits(uint64_t word, int top)
{
    draw_box(LEFT, top, 64 * CELL, ROW, bits_fill, "");
    for (int i = 0; i < 64; i++)
        draw_text(LEFT + i * CELL + 2 * PT, top, SMALL_SIZE, code_font, inside,
                  (word >> i & 1) != 0 ? "1" : "0");
}

// draw_moment draws n words as they are, below what was done. Returns the top
// of what follows.
static int draw_moment(int top, size_t n, const char *caption, const char *text)
{
    char label[32];

    if (!mm_check())
        fail("the heap is damaged");
    draw_bold(0, top, CAPTION_SIZE, caption);
    draw_note(0, top + 15 * PT, text);
    top += ROWS_TOP;
    for (size_t w = 0; w < n; w++) {
        snprintf(label, sizeof label, "pages %zu to %zu", w * 64, w * 64 + 63);
        draw_note(0, top + PT, label);
        draw_pages(w, top);
        draw_note(0, top + ROW + PT, "the heap: in use");
        draw_bits(heap_word(w), top + ROW);
        draw_note(0, top + 2 * ROW + PT, "the page cache: free");
        draw_bits(cache_word(w), top + 2 * ROW);
        top += WORD_HEIGHT;
    }
    return top + MOMENT_GAP;
}

static int draw_entry(int x, const char *fill, const char *text)
{
    draw_box(x, LEGEND_TOP + 3 * PT, 9 * PT, 9 * PT, fill, "");
    draw_note(x + 13 * PT, LEGEND_TOP, text);
    return x + 28 * PT + text_width(text, SMALL_SIZE);
}

static void draw_title(void)
{
    draw_bold(0, 0, TITLE_SIZE,
              "For the heap, 64 pages are in use; the thread has a copy of the"
              " bits");
    draw_note(0, 20 * PT,
              "The numbers are pages. Below them, a word of the bitmap of their"
              " chunk (1: in use), and the word of the page cache of the"
              " thread (1: free).");
    draw_note(0, 33 * PT,
              "To change the first takes the lock of the heap, to change the"
              " second takes none.");
    int x = draw_entry(0, used_fill, "span");
    x = draw_entry(x, cached_fill, "free, and the thread's own");
    draw_entry(x, free_fill, "free for all");
}

int main(void)
{
    int top = MOMENTS_TOP;

    out("// Drawn by diagrams/12-page-cache/cache.c from the pages of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("The page cache of a thread");
    draw_title();
    allocate_first();
    allocate(5, 1);
    top = draw_moment(top, 1, "1  A small block, and one of 5 pages",
                      "The first span came from the heap, which had no pages"
                      " before. For the second, the thread took all free pages"
                      " of the word, with the lock, and used 5.");
    void *b = allocate(8, 6);
    allocate(15, 14);
    mm_free(b);
    top = draw_moment(top, 1, "2  Blocks of 8 and 15; the 8 are freed",
                      "Both came without the lock. What is freed goes to the"
                      " heap, and is free for all: the thread gets it when its"
                      " cache is empty.");
    allocate(40, 64);
    top = draw_moment(top, WORDS, "3  A block of 40",
                      "16 pages and more are not for a page cache: they come"
                      " from the heap.");
    mm_release(0);
    draw_moment(top, WORDS, "4  The page cache is flushed",
                "mm_release, or the end of the thread: its pages are free for"
                " all, in one store.");
    end_picture();
}
