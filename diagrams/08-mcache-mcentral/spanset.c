// spanset.c - draws a set of spans: two numbers in a word, a spine, blocks.
//
// It pushes spans and pops them, and draws the struct span_set as it is in
// memory, after comparing every entry with what a queue should hold. The spans
// are only addresses to the set: nothing looks into them.
//
// usage: spanset > spanset.dot

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "draw_shapes.h"
#include "heap.h"

enum {
    SPANS = 2048, // more than are ever in the set
    ENTRIES = SPAN_SET_BLOCK_ENTRIES,
    MAX_BLOCKS = 8,
};

static struct span_set set;
static struct mspan spans[SPANS];
static uint32_t pushed, popped;

// The blocks that were ever in the set, as far as they differ.
static const struct span_set_block *blocks_seen[MAX_BLOCKS];
static size_t n_blocks_seen;

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "spanset: %s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// What is done.

// span_at returns the span that is pushed at a position.
static struct mspan *span_at(uint32_t position)
{
    return &spans[position % SPANS];
}

// block_in returns the block in a place of the spine.
static struct span_set_block *block_in(uint32_t place)
{
    struct span_set_spine *spine = set.spine;
    return spine->blocks[place];
}

static uint32_t capacity(void)
{
    struct span_set_spine *spine = set.spine;
    return spine->capacity;
}

// note_block notes the block that was added last.
static void note_block(void)
{
    const struct span_set_block *b = block_in((set.spine_len - 1) % capacity());
    for (size_t i = 0; i < n_blocks_seen; i++)
        if (blocks_seen[i] == b)
            return;
    if (n_blocks_seen == MAX_BLOCKS)
        fail("blocks are not used again");
    blocks_seen[n_blocks_seen++] = b;
}

static void push(uint32_t n)
{
    for (; n > 0; n--) {
        uint64_t locks = mheap.lock.taken - set.spine_len;
        if (!span_set_push(&set, span_at(pushed++)))
            fail("no memory");
        if (mheap.lock.taken - set.spine_len != locks)
            fail("the lock is taken for something else than a block");
        note_block();
    }
}

static void pop(uint32_t n)
{
    for (; n > 0; n--)
        if (span_set_pop(&set) != span_at(popped++))
            fail("the set is not a queue");
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    HALF = 66 * PT, // width of one of the numbers in index
    SPINE_LEFT = 168 * PT,
    SPINE_WIDTH = 126 * PT,
    BLOCK_LEFT = 326 * PT,
    BLOCK_WIDTH = PICTURE_WIDTH - BLOCK_LEFT,
    BOX = 17 * PT, // height
    ROW = 34 * PT, // of a block; of others, BOX
    MARK_TOP = 1 * PT, // in a row
    BLOCK_TOP = 14 * PT,
    MOMENTS_TOP = 76 * PT,
};

static const char index_fill[] = "fillcolor=\"#f2cf70\"";
static const char spine_fill[] = "fillcolor=\"#dfc8f5\"";
static const char span_fill[] = "fillcolor=\"#a9d3f5\"";
static const char null_fill[] = "fillcolor=\"#f0f1f4\"";
static const char arrow[] = "color=\"#6e7781\"";
static const char mark[] = "color=\"#cf222e\", penwidth=1.75";

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

static void draw_arrow(int from_x, int from_y, int to_x, int to_y)
{
    struct line line = {0};
    line_to(&line, from_x, from_y);
    if (from_y != to_y) {
        line_to(&line, (from_x + to_x) / 2, from_y);
        line_to(&line, (from_x + to_x) / 2, to_y);
    }
    line_to(&line, to_x, to_y);
    draw_line(&line, arrow, true);
}

// draw_set draws the struct itself, and where its spine begins.
static void draw_set(int top)
{
    uint64_t index = set.index;
    int spine_y = top + BLOCK_TOP + BOX / 2;
    char text[64];

    if (index >> 32 != popped || (uint32_t)index != pushed)
        fail("index is not the numbers of pops and pushes");
    draw_note(0, top, "index");
    snprintf(text, sizeof text, "head %u", (uint32_t)(index >> 32));
    draw_box(0, top + BLOCK_TOP, HALF, BOX, index_fill, text);
    snprintf(text, sizeof text, "tail %u", (uint32_t)index);
    draw_box(HALF, top + BLOCK_TOP, HALF, BOX, index_fill, text);
    snprintf(text, sizeof text, "0x%08" PRIx32 "%08" PRIx32,
             (uint32_t)(index >> 32), (uint32_t)index);
    draw_text(0, top + BLOCK_TOP + BOX, SMALL_SIZE, code_font, outside, text);
    top += BLOCK_TOP + BOX + 17 * PT;
    draw_box(0, top, 2 * HALF, BOX, spine_fill, "spine");
    draw_arrow(2 * HALF, top + BOX / 2, SPINE_LEFT, spine_y);
    snprintf(text, sizeof text, "spine_len %u", set.spine_len);
    draw_box(0, top + BOX, 2 * HALF, BOX, spine_fill, text);
}

// entry_x returns where an entry of a block begins.
static int entry_x(uint32_t entry)
{
    return BLOCK_LEFT + (int)(entry * (unsigned)BLOCK_WIDTH / ENTRIES);
}

// draw_mark says that a position begins an entry of the block that begins at
// first.
static void draw_mark(uint32_t position, uint32_t first, const char *name,
                      int top)
{
    char text[32];
    struct line line = {0};
    int x = entry_x(position % ENTRIES);

    if (position < first || position >= first + ENTRIES)
        return;
    line_to(&line, x, top + MARK_TOP);
    line_to(&line, x, top + BLOCK_TOP + BOX);
    draw_line(&line, mark, false);
    snprintf(text, sizeof text, "%s %u", name, position);
    draw_note(x + 2 * PT, top - PT, text);
}

// draw_block draws block b with that number: runs of entries with a span, or
// without.
static void draw_block(struct span_set_block *b, uint32_t number, int top)
{
    uint32_t first = number * ENTRIES, run = 0;
    char text[64];

    for (uint32_t i = 0; i < ENTRIES; i++) {
        bool in_set = first + i >= popped && first + i < pushed;
        if (b->spans[i] != (in_set ? span_at(first + i) : NULL))
            fail("an entry is not what it should be");
        if (i + 1 < ENTRIES && (b->spans[i + 1] != NULL) == in_set)
            continue;
        snprintf(text, sizeof text, "%u to %u: %s", first + run, first + i,
                 in_set ? "spans" : "NULL");
        draw_box(entry_x(run), top + BLOCK_TOP, entry_x(i + 1) - entry_x(run),
                 BOX, in_set ? span_fill : null_fill, text);
        run = i + 1;
    }
    draw_mark(popped, first, "head", top);
    draw_mark(pushed, first, "tail", top);
}

// draw_place draws a place of the spine with a block in it.
static void draw_place(uint32_t place, int top)
{
    struct span_set_block *b = block_in(place);
    uint32_t number = set.spine_len - 1;
    char text[64];

    while (number % capacity() != place)
        number--;
    snprintf(text, sizeof text, "place %u: block %u\\npopped %u", place, number,
             b->popped);
    draw_box(SPINE_LEFT, top, SPINE_WIDTH, ROW, spine_fill, text);
    draw_arrow(SPINE_LEFT + SPINE_WIDTH, top + BLOCK_TOP + BOX / 2, BLOCK_LEFT,
               top + BLOCK_TOP + BOX / 2);
    draw_block(b, number, top);
}

// draw_spine draws the spine; places without a block in a row are one box.
// Returns its end.
static int draw_spine(int top)
{
    char text[64];
    uint32_t n = 0;

    for (uint32_t place = 0, run = 0; place < capacity(); place++) {
        if (block_in(place) != NULL) {
            draw_place(place, top);
            n++;
            top += ROW;
            run = place + 1;
            continue;
        }
        if (place + 1 < capacity() && block_in(place + 1) == NULL)
            continue;
        snprintf(text, sizeof text, "%u to %u: NULL", run, place);
        if (run == place)
            snprintf(text, sizeof text, "%u: NULL", run);
        draw_box(SPINE_LEFT, top, SPINE_WIDTH, BOX, null_fill, text);
        top += BOX;
    }
    if (n != (pushed - 1) / ENTRIES - popped / ENTRIES + 1)
        fail("there are other blocks than those from head to tail");
    return top;
}

// draw_moment draws the set below what was done. Returns the top of what
// follows.
static int draw_moment(int top, const char *caption, const char *text)
{
    enum { HEIGHT = BLOCK_TOP + 3 * BOX + 17 * PT }; // of the struct

    if (!span_set_check(&set) || !mm_check())
        fail("the set is damaged");
    draw_bold(0, top, CAPTION_SIZE, caption);
    draw_note(0, top + 15 * PT, text);
    top += 34 * PT;
    draw_set(top);
    int end = draw_spine(top);
    return (end > top + HEIGHT ? end : top + HEIGHT) + 16 * PT;
}

int main(void)
{
    char text[200];

    out("// Drawn by diagrams/08-mcache-mcentral/spanset.c from a set in a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("A set of spans");
    draw_bold(0, 0, TITLE_SIZE, "A queue of spans without a lock");
    draw_note(0, 20 * PT,
              "Each push has a position: 0, 1, 2, ... head is the position that"
              " is popped next, tail that of the next push. Both are in one"
              " word, so one");
    draw_note(0, 33 * PT,
              "compare-and-swap claims a position: (head, tail) becomes (head,"
              " tail + 1) for a push, (head + 1, tail) for a pop. Who loses"
              " tries again.");
    snprintf(text, sizeof text,
             "Position p is entry p %% %d of block p / %d. From head up to tail"
             " there are spans; entries below were popped, those above were not"
             " pushed so far.",
             ENTRIES, ENTRIES);
    draw_note(0, 46 * PT, text);

    push(200);
    snprintf(text, sizeof text,
             "Block 0 holds the first %d spans. The spine is a ring of %u"
             " places.",
             ENTRIES, capacity());
    int top = draw_moment(MOMENTS_TOP, "1  200 pushes", text);

    push(1000);
    pop(300);
    top = draw_moment(top, "2  1000 pushes more, 300 pops",
                      "Whoever is the first to need a block adds it, under"
                      " mheap.lock: once in 512 pushes. Popped entries are NULL"
                      " again.");

    pop(400);
    top = draw_moment(top, "3  400 pops more",
                      "Block 0 was given back when the last of its entries was"
                      " popped. Its place in the spine is free.");

    while (pushed < 153800) {
        push(1);
        pop(1);
    }
    snprintf(text, sizeof text,
             "Block %u is in place %u %% %u = %u. %u blocks were added, but"
             " there are only %zu: what was given back is used again.",
             set.spine_len - 1, set.spine_len - 1, capacity(),
             (set.spine_len - 1) % capacity(), set.spine_len, n_blocks_seen);
    draw_moment(top, "4  and so on, up to 153800 pushes", text);
    end_picture();
}
