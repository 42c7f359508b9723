// pages.c - draws the pages of two chunks: in use, free, or scavenged.
//
// It allocates blocks of whole pages, frees two of them, and gives memory back.
// In between, it draws the pages as mm_walk shows them, after asking the OS
// whether there is memory behind each: behind all that are in use, for they are
// written to, and behind none that is scavenged.
//
// The picture is that of an OS whose pages are no longer than ours.
//
// usage: pages > pages.dot

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "draw_shapes.h"
#include "heap.h"
#include "lock.h"
#include "mm.h"

enum { N_PAGES = 2 * PALLOC_CHUNK_PAGES };

static char *heap; // where it begins

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "pages: %s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// What is done.

static char owners[N_PAGES]; // the block of each page; 0: none
static char *blocks[256]; // by name

// allocate takes a block of npages pages, which must begin at that page, and
// writes to all of it.
static void allocate(char name, size_t npages, size_t page)
{
    char *p = mm_malloc(npages * PAGE_SIZE);
    if (p == NULL)
        fail("no memory");
    if (heap == NULL)
        heap = p;
    if (p != heap + page * PAGE_SIZE)
        fail("a block is not where it should be");
    memset(p, name, npages * PAGE_SIZE);
    blocks[(unsigned char)name] = p;
    memset(owners + page, name, npages);
}

static void release(char name)
{
    mm_free(blocks[(unsigned char)name]);
    for (size_t page = 0; page < N_PAGES; page++)
        if (owners[page] == name)
            owners[page] = 0;
}

// give_back gives npages pages back, or more.
static void give_back(size_t npages)
{
    lock_acquire(&mheap.lock);
    page_alloc_scavenge(&mheap.pages, npages * PAGE_SIZE);
    lock_release(&mheap.lock);
}

// ---------------------------------------------------------------------------
// What there is.

enum page { IN_USE, READY, SCAVENGED };
static enum page pages[N_PAGES];

static void visit(const struct mm_item *item, void *unused)
{
    (void)unused;
    if (item->kind != MM_SPAN)
        return;
    size_t first = (size_t)((const char *)item->addr - heap) / PAGE_SIZE;
    for (size_t i = first; i < first + item->size / PAGE_SIZE; i++) {
        if (i >= N_PAGES)
            fail("the heap is too long");
        pages[i] = item->state == MM_USED ? IN_USE
                   : item->released       ? SCAVENGED
                                          : READY;
    }
}

// has_memory tells whether the OS has memory behind a page of the heap.
static bool has_memory(size_t page)
{
    unsigned char resident = 0;
    if (mincore(heap + page * PAGE_SIZE, 1, &resident) != 0)
        fail("mincore does not work");
    return resident & 1;
}

// look fills pages, and checks them.
static void look(void)
{
    if (!mm_check())
        fail("the heap is damaged");
    mm_walk(visit, NULL);
    for (size_t i = 0; i < N_PAGES; i++) {
        if ((pages[i] == IN_USE) != (owners[i] != 0))
            fail("a page is in use, and of no block, or the other way");
        if (has_memory(i) != (pages[i] != SCAVENGED))
            fail("a page takes memory, and should not, or the other way");
    }
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    LEFT = 50 * PT, // of the rows
    PAGE_WIDTH = 230, // hundredths of a point
    ROW_PAGES = (2 << 20) / PAGE_SIZE, // a huge page of the OS
    ROW_HEIGHT = 13 * PT,
    ROW_STEP = 15 * PT,
    LEGEND_TOP = 50 * PT,
    MOMENTS_TOP = 74 * PT,
    ROWS_TOP = 36 * PT, // in a moment
    MOMENT_HEIGHT = ROWS_TOP + N_PAGES / ROW_PAGES * ROW_STEP + 14 * PT,
};

static const char *const fills[] = {
    [IN_USE] = "fillcolor=\"#a9d3f5\"",
    [READY] = "fillcolor=\"#bfe8b9\"",
    [SCAVENGED] = "fillcolor=\"#ffffff\"",
};

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

// draw_row draws pages from first on, in runs of one kind and owner.
static void draw_row(size_t first, int top)
{
    char text[32];
    size_t run = 0;

    snprintf(text, sizeof text, "%zu", first);
    draw_note(0, top, text);
    for (size_t i = 0; i < ROW_PAGES; i++) {
        size_t page = first + i;
        if (i + 1 < ROW_PAGES && pages[page + 1] == pages[page] &&
            owners[page + 1] == owners[page])
            continue;
        size_t n = i + 1 - run;
        if (owners[page] != 0)
            snprintf(text, sizeof text, "%c: %zu", owners[page], n);
        else
            snprintf(text, sizeof text, "%zu", n);
        draw_box(LEFT + (int)run * PAGE_WIDTH, top, (int)n * PAGE_WIDTH,
                 ROW_HEIGHT, fills[pages[page]], text);
        run = i + 1;
    }
}

// draw_moment draws the heap below what was done. Returns the top of what
// follows.
static int draw_moment(int top, const char *caption, const char *text)
{
    char line[256];
    size_t n[] = {0, 0, 0};

    look();
    for (size_t i = 0; i < N_PAGES; i++)
        n[pages[i]]++;
    struct mm_stats stats;
    mm_stats(&stats);
    draw_bold(0, top, CAPTION_SIZE, caption);
    snprintf(line, sizeof line,
             "%s In use: %zu, ready: %zu, scavenged: %zu; madvise was called"
             " %zu times.",
             text, n[IN_USE], n[READY], n[SCAVENGED], (size_t)stats.madvises);
    draw_note(0, top + 15 * PT, line);
    for (size_t row = 0; row < N_PAGES / ROW_PAGES; row++)
        draw_row(row * ROW_PAGES, top + ROWS_TOP + (int)row * ROW_STEP);
    return top + MOMENT_HEIGHT;
}

static int draw_entry(int x, const char *fill, const char *text)
{
    draw_box(x, LEGEND_TOP + 3 * PT, 9 * PT, 9 * PT, fill, "");
    draw_note(x + 13 * PT, LEGEND_TOP, text);
    return x + 28 * PT + text_width(text, SMALL_SIZE);
}

static void draw_title(void)
{
    draw_bold(0, 0, TITLE_SIZE, "Which pages take memory?");
    draw_note(0, 20 * PT,
              "Two chunks of 512 pages. A row is 256 pages: 2 MiB, which the OS"
              " can serve by one huge page. On the left, the number of the"
              " first.");
    draw_note(0, 33 * PT,
              "All blocks are written to when they are allocated; the OS was"
              " asked, for each page, whether there is memory behind it.");
    int x = draw_entry(0, fills[IN_USE], "in use");
    x = draw_entry(x, fills[READY], "free, and ready: takes memory");
    draw_entry(x, fills[SCAVENGED], "free, and scavenged: takes none");
}

int main(void)
{
    int top = MOMENTS_TOP;

    // Otherwise, the OS may put memory behind pages that nobody touched.
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    out("// Drawn by diagrams/11-scavenger/pages.c from the heap of a running\n"
        "// program. Not to be edited.\n");
    begin_picture("Which pages take memory?");
    draw_title();

    allocate('a', 100, 0);
    allocate('b', 100, 100);
    allocate('c', 56, 200);
    allocate('d', 300, 256);
    allocate('e', 20, 556);
    top = draw_moment(top, "1  a, b, c, d and e are allocated",
                      "What was never used is born scavenged.");

    release('b');
    release('d');
    top = draw_moment(top, "2  b and d are freed",
                      "Nothing goes back: so little is not worth the trouble.");

    give_back(200);
    top = draw_moment(top, "3  200 of the 400 pages are asked to go back",
                      "Highest first; 256 in one piece.");

    allocate('f', 120, 256);
    allocate('g', 60, 100);
    draw_moment(top, "4  f = 120 and g = 60 are allocated",
                "Where b was is no room for f, but for g.");
    end_picture();
}
