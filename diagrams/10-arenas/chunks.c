// chunks.c - draws which pages of an arena are in use, and the words for that.
//
// It allocates blocks of whole pages, and frees some. In between, it draws the
// first arena: which of its chunks may be touched, as the OS says, and the
// bitmaps of the first two, after comparing each page with notes of its own on
// who has it, which know nothing of bits.
//
// usage: chunks > chunks.dot

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "draw_shapes.h"
#include "heap.h"
#include "lock.h"
#include "mm.h"

enum {
    ARENA_CHUNKS = 16, // 64 MiB
    CHUNKS = 2, // whose bitmaps are drawn
    WORDS = PALLOC_CHUNK_PAGES / 64,
};

static char *arena; // where it begins

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "chunks: %s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// What is done, and the notes on it.

static char owners[CHUNKS * PALLOC_CHUNK_PAGES]; // of each page; 0: it is free
static char *blocks[256]; // by name

// allocate takes a block of npages pages, which must begin at that page.
static void allocate(char name, size_t npages, size_t page)
{
    char *p = mm_malloc(npages * PAGE_SIZE);
    if (p == NULL)
        fail("no memory");
    if (arena == NULL)
        arena = p;
    if (p != arena + page * PAGE_SIZE)
        fail("a block is not where it should be");
    blocks[(unsigned char)name] = p;
    memset(owners + page, name, npages);
}

static void release(char name)
{
    mm_free(blocks[(unsigned char)name]);
    for (size_t page = 0; page < sizeof owners; page++)
        if (owners[page] == name)
            owners[page] = 0;
}

// ---------------------------------------------------------------------------
// What there is.

// A copy of what is known of a chunk.
struct chunk {
    bool in_heap;
    struct page_bits bits;
};

static struct chunk look(size_t n)
{
    chunk_idx ci = chunk_index((uintptr_t)arena) + n;
    struct chunk chunk = {.in_heap = false};

    lock_acquire(&mheap.lock);
    const struct palloc_data *data = page_alloc_chunk(&mheap.pages, ci);
    if (data != NULL)
        chunk = (struct chunk){true, data->alloc};
    lock_release(&mheap.lock);
    return chunk;
}

// may_touch tells whether the OS lets the program write to chunk n.
static bool may_touch(size_t n)
{
    uintptr_t p = (uintptr_t)arena + n * PALLOC_CHUNK_BYTES;
    FILE *maps = fopen("/proc/self/maps", "r");
    uintptr_t from, end;
    char line[256], rights[8];
    bool found = false, may = false;

    while (maps != NULL && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %7s", &from, &end,
                   rights) == 3 &&
            from <= p && p < end) {
            found = true;
            may = strncmp(rights, "rw", 2) == 0;
        }
    if (maps == NULL || !found)
        fail("the arena is not mapped");
    fclose(maps);
    return may;
}

// check fails if a page differs from the notes.
static void check(void)
{
    if (!mm_check())
        fail("the heap is damaged");
    for (size_t n = 0; n < ARENA_CHUNKS; n++)
        if (may_touch(n) != look(n).in_heap)
            fail("a chunk is ready, and not of the heap, or the other way");
    for (size_t page = 0; page < sizeof owners; page++) {
        struct chunk chunk = look(page / PALLOC_CHUNK_PAGES);
        const struct mspan *s = span_of(arena + page * PAGE_SIZE);
        char *expected = blocks[(unsigned char)owners[page]];
        if (chunk.in_heap &&
            page_bits_popcnt_range(&chunk.bits, page % PALLOC_CHUNK_PAGES, 1) !=
                (owners[page] != 0))
            fail("a bit is another than the notes give");
        if ((s == NULL ? NULL : s->start_addr) != expected)
            fail("the arena leads to another span");
    }
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    LEFT = 50 * PT, // of the strips
    CELL = 6 * PT, // width of a page in a word
    WORD_WIDTH = 64 * CELL,
    CHUNK_WIDTH = WORD_WIDTH / ARENA_CHUNKS,
    HEX_LEFT = LEFT + WORD_WIDTH + 4 * PT,
    RUNS_LEFT = HEX_LEFT + 106 * PT,
    ROW_HEIGHT = 11 * PT,
    ROW_STEP = 12 * PT,
    LEGEND_TOP = 50 * PT,
    MOMENTS_TOP = 74 * PT,
    // In a moment:
    ARENA_TOP = 34 * PT,
    CHUNKS_TOP = 64 * PT,
};

static const char used_fill[] = "fillcolor=\"#a9d3f5\"";
static const char free_fill[] = "fillcolor=\"#bfe8b9\"";
static const char ready_fill[] = "fillcolor=\"#f2cf70\"";
static const char reserved_fill[] = "fillcolor=\"#e4e6ea\"";

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

static void draw_code(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, code_font, outside, s);
}

// draw_arena draws the chunks of the arena, those that are reserved as one.
// Returns how many are ready.
static size_t draw_arena(int top)
{
    size_t n_ready = 0;
    char text[64];

    draw_note(0, top - PT, "arena");
    while (n_ready < ARENA_CHUNKS && may_touch(n_ready)) {
        snprintf(text, sizeof text, "%zu", n_ready);
        draw_box(LEFT + (int)n_ready++ * CHUNK_WIDTH, top, CHUNK_WIDTH,
                 ROW_HEIGHT, ready_fill, text);
    }
    size_t n_reserved = ARENA_CHUNKS - n_ready;
    snprintf(text, sizeof text, "%zu chunks reserved", n_reserved);
    draw_box(LEFT + (int)n_ready * CHUNK_WIDTH, top,
             (int)n_reserved * CHUNK_WIDTH, ROW_HEIGHT, reserved_fill, text);
    return n_ready;
}

// draw_word draws a word of a chunk, in runs of one owner.
static void draw_word(size_t n, const struct chunk *chunk, size_t w, int top)
{
    const char *owner = owners + n * PALLOC_CHUNK_PAGES + w * 64;
    char text[32];
    size_t run = 0;

    snprintf(text, sizeof text, "word %zu", w);
    draw_note(0, top - 2 * PT, text);
    for (size_t i = 0; i < 64; i++) {
        if (i + 1 < 64 && owner[i + 1] == owner[i])
            continue;
        snprintf(text, sizeof text, "%c", owner[i]);
        draw_box(LEFT + (int)run * CELL, top, (int)(i + 1 - run) * CELL,
                 ROW_HEIGHT, owner[i] == 0 ? free_fill : used_fill, text);
        run = i + 1;
    }
    snprintf(text, sizeof text, "0x%016" PRIx64, chunk->bits.words[w]);
    draw_code(HEX_LEFT, top - 2 * PT, text);
}

// draw_runs writes what palloc_bits_summarize finds in a chunk.
static void draw_runs(const struct chunk *chunk, int top)
{
    struct palloc_runs runs = palloc_bits_summarize(&chunk->bits);
    char text[32];

    snprintf(text, sizeof text, "start %3zu", runs.start);
    draw_code(RUNS_LEFT, top, text);
    snprintf(text, sizeof text, "max   %3zu", runs.max);
    draw_code(RUNS_LEFT, top + ROW_STEP, text);
    snprintf(text, sizeof text, "end   %3zu", runs.end);
    draw_code(RUNS_LEFT, top + 2 * ROW_STEP, text);
}

// draw_chunk draws the words of a chunk, those that are 0 up to its end as one.
// Returns the top of what follows.
static int draw_chunk(size_t n, int top)
{
    struct chunk chunk = look(n);
    size_t n_words = WORDS;
    char text[64];

    while (n_words > 0 && chunk.bits.words[n_words - 1] == 0)
        n_words--;
    snprintf(text, sizeof text, "chunk %zu", n);
    draw_note(LEFT, top - 13 * PT, text);
    draw_runs(&chunk, top - 2 * PT);
    for (size_t w = 0; w < n_words; w++, top += ROW_STEP)
        draw_word(n, &chunk, w, top);
    if (n_words < WORDS) {
        snprintf(text, sizeof text, "%zu to %d", n_words, WORDS - 1);
        draw_note(0, top - 2 * PT, text);
        snprintf(text, sizeof text, "%zu pages",
                 (WORDS - n_words) * (size_t)64);
        draw_box(LEFT, top, WORD_WIDTH, ROW_HEIGHT, free_fill, text);
        draw_code(HEX_LEFT, top - 2 * PT, "0");
        top += 2 * ROW_STEP; // room for the three lines of draw_runs
    }
    return top + 18 * PT;
}

// draw_moment draws what there is, below what was done. Returns the top of what
// follows.
static int draw_moment(int top, const char *caption, const char *text)
{
    check();
    draw_bold(0, top, CAPTION_SIZE, caption);
    draw_note(0, top + 15 * PT, text);
    size_t n_ready = draw_arena(top + ARENA_TOP);
    top += CHUNKS_TOP;
    for (size_t n = 0; n < n_ready; n++)
        top = draw_chunk(n, top);
    return top - 4 * PT;
}

static int draw_entry(int x, const char *fill, const char *text)
{
    draw_box(x, LEGEND_TOP + 3 * PT, 9 * PT, 9 * PT, fill, "");
    draw_note(x + 13 * PT, LEGEND_TOP, text);
    return x + 28 * PT + text_width(text, SMALL_SIZE);
}

static void draw_title(void)
{
    draw_bold(0, 0, TITLE_SIZE, "An arena, its chunks, and their bitmaps");
    draw_note(0, 20 * PT,
              "An arena of 64 MiB is 16 chunks of 512 pages. A row is 64 pages,"
              " and a word: the leftmost page is its lowest bit, 1 means in"
              " use.");
    draw_note(0, 33 * PT,
              "On the right, the word, and what a search wants to know of the"
              " chunk: free pages at its start, the most in a row, those at its"
              " end.");
    int x = draw_entry(0, used_fill, "page in use");
    x = draw_entry(x, free_fill, "free page");
    x = draw_entry(x, ready_fill, "chunk of the heap: ready");
    draw_entry(x, reserved_fill, "reserved: not to be touched");
}

int main(void)
{
    int top = MOMENTS_TOP;

    out("// Drawn by diagrams/10-arenas/chunks.c from the heap of a running\n"
        "// program. Not to be edited.\n");
    begin_picture("An arena, its chunks, and their bitmaps");
    draw_title();

    allocate('a', 100, 0);
    allocate('b', 12, 100);
    allocate('c', 380, 112);
    allocate('d', 10, 492);
    release('b');
    top = draw_moment(top,
                      "1  a = 100 pages, b = 12, c = 380, d = 10; b is freed",
                      "One chunk is enough. Free pages have no span, and are on"
                      " no list: they are the zeros.");

    allocate('e', 6, 100);
    allocate('f', 8, 502);
    allocate('g', 20, 510);
    top = draw_moment(
        top, "2  e = 6, f = 8, g = 20",
        "e is where b was; f needs more than what is left there. For"
        " g, the heap grew by a chunk; the run begins in the one"
        " before.");

    release('c');
    release('e');
    draw_moment(top, "3  c and e are freed",
                "Zeros again. Nothing was merged, but 392 pages in a row are"
                " free, from 100 on.");
    end_picture();
}
