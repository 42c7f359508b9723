// tiny.c - draws tiny blocks: which parts their objects have, and their words.
//
// It allocates blocks of fewer than 16 bytes, and frees them. In between, it
// draws the objects that they are parts of, as the words of these and the
// thread's cache say, after comparing them with notes of its own on each block.
//
// usage: tiny > tiny.dot

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "draw_shapes.h"
#include "heap.h"
#include "mm.h"

enum {
    OBJECTS = 3, // that are drawn
    HELD = 31, // bit of a word
};

static char *first_object;

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "tiny: %s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// What is done, and the notes on it.

struct block {
    char name;
    unsigned size;
    char *at;
    bool is_free;
};

static struct block blocks[8];
static size_t n_blocks;

// allocate takes a block, which must be at an offset of an object.
static void allocate(char name, unsigned size, unsigned object, unsigned offset)
{
    struct block *b = &blocks[n_blocks++];
    *b = (struct block){.name = name, .size = size};
    b->at = mm_malloc_noscan(size);
    if (b->at == NULL)
        fail("no memory");
    if (first_object == NULL)
        first_object = b->at;
    if (b->at != first_object + object * TINY_SIZE + offset)
        fail("a block is not where it should be");
    memset(b->at, name, size);
}

// release frees a block, which must have kept its contents.
static void release(char name)
{
    for (size_t i = 0; i < n_blocks; i++) {
        struct block *b = &blocks[i];
        if (b->name != name)
            continue;
        for (unsigned k = 0; k < b->size; k++)
            if (b->at[k] != name)
                fail("the contents of a block changed");
        mm_free(b->at);
        b->is_free = true;
    }
}

// ---------------------------------------------------------------------------
// What there is.

static char *object_at(unsigned object)
{
    return first_object + object * TINY_SIZE;
}

static size_t slot_of(unsigned object)
{
    size_t slot;
    if (!mspan_find(span_of(first_object), object_at(object), &slot))
        fail("no object is where one should be");
    return slot;
}

static uint32_t word_of(unsigned object)
{
    return span_of(first_object)->parts[slot_of(object)];
}

static bool bit_of(unsigned object, unsigned bit)
{
    return (word_of(object) >> bit & 1) != 0;
}

static bool is_taken(unsigned object)
{
    return mspan_is_live(span_of(first_object), slot_of(object));
}

static bool is_tiny_block(unsigned object)
{
    return mcache->tiny == object_at(object);
}

// check fails if an object differs from the notes. A block that is freed leaves
// the bit of its end.
static void check(unsigned object)
{
    uint32_t word = 0;
    bool in_use = is_tiny_block(object);

    for (size_t i = 0; i < n_blocks; i++) {
        const struct block *b = &blocks[i];
        size_t offset = (size_t)(b->at - object_at(object));
        if (offset >= TINY_SIZE)
            continue;
        size_t end = offset + b->size - 1;
        if (end < TINY_SIZE - 1)
            word |= UINT32_C(1) << (16 + end);
        if (!b->is_free) {
            word |= UINT32_C(1) << offset;
            in_use = true;
        }
        if (!b->is_free && mm_usable_size(b->at) != b->size)
            fail("the size of a block is another");
    }
    if (is_tiny_block(object))
        word |= UINT32_C(1) << HELD;
    if (is_taken(object) != in_use)
        fail("an object is free while it is in use, or the other way round");
    if (word_of(object) != word)
        fail("a word is another than the blocks give");
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    CELL = 11 * PT, // width of a byte
    OBJECT_WIDTH = TINY_SIZE * CELL,
    LEFT = 72 * PT, // of the first object
    GAP = 20 * PT, // between objects
    LEGEND_TOP = 50 * PT,
    MOMENTS_TOP = 78 * PT,
    // In a moment:
    STATE_TOP = 31 * PT,
    SCALE_TOP = 43 * PT,
    BYTES_TOP = 55 * PT,
    BYTES_HEIGHT = 15 * PT,
    BITS_HEIGHT = 12 * PT,
    MOMENT_HEIGHT = 114 * PT,
};
_Static_assert(LEFT + OBJECTS * OBJECT_WIDTH + (OBJECTS - 1) * GAP ==
                   PICTURE_WIDTH,
               "the objects are as wide as the picture");

static const char part_fill[] = "fillcolor=\"#a9d3f5\"";
static const char freed_fill[] = "fillcolor=\"#f2cf70\"";
static const char room_fill[] = "fillcolor=\"#dfc8f5\"";
static const char lost_fill[] = "fillcolor=\"#e5d8c3\"";
static const char free_fill[] = "fillcolor=\"#bfe8b9\"";
static const char bits_fill[] = "fillcolor=\"#f0f1f4\"";
static const char tiny_frame[] = "style=\"\", penwidth=1.75, color=\"#8250df\"";

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

static int left_of(unsigned object, unsigned offset)
{
    return LEFT + (int)object * (OBJECT_WIDTH + GAP) + (int)offset * CELL;
}

// block_over returns the block that a byte of an object belongs to; NULL: none.
static const struct block *block_over(unsigned object, unsigned offset)
{
    const char *p = object_at(object) + offset;
    for (size_t i = 0; i < n_blocks; i++)
        if (blocks[i].at <= p && p < blocks[i].at + blocks[i].size)
            return &blocks[i];
    return NULL;
}

// fill_of returns how a byte of an object is drawn.
static const char *fill_of(unsigned object, unsigned offset)
{
    const struct block *b = block_over(object, offset);

    if (!is_taken(object))
        return free_fill;
    if (is_tiny_block(object) && offset >= mcache->tinyoffset)
        return room_fill;
    return b == NULL ? lost_fill : b->is_free ? freed_fill : part_fill;
}

// draw_bytes draws the bytes of an object, in runs of one kind.
static void draw_bytes(unsigned object, int top)
{
    char text[16];
    unsigned run = 0;

    for (unsigned i = 0; i < TINY_SIZE; i++) {
        const struct block *b = block_over(object, i);
        if (i + 1 < TINY_SIZE && block_over(object, i + 1) == b &&
            fill_of(object, i + 1) == fill_of(object, i))
            continue;
        if (is_taken(object) && b != NULL)
            snprintf(text, sizeof text, "%c: %u", b->name, b->size);
        else
            text[0] = '\0';
        if (is_taken(object) || i + 1 == TINY_SIZE) {
            draw_box(left_of(object, run), top, (int)(i + 1 - run) * CELL,
                     BYTES_HEIGHT, fill_of(object, i),
                     is_taken(object) ? text : "free");
            run = i + 1;
        }
    }
}

// draw_bits draws half of the word of an object: 16 bits from one on. Those of
// a free object mean nothing.
static void draw_bits(unsigned object, unsigned from, int top)
{
    char text[2] = "0";
    const char *colour = is_taken(object) ? inside : "#a0a6ad";

    draw_box(left_of(object, 0), top, OBJECT_WIDTH, BITS_HEIGHT, bits_fill, "");
    for (unsigned i = 0; i < TINY_SIZE; i++) {
        text[0] = (char)('0' + bit_of(object, from + i));
        draw_text(left_of(object, i) + 3 * PT, top - PT, SMALL_SIZE, code_font,
                  colour, text);
    }
}

static void draw_object(unsigned object, int top)
{
    char text[80];

    check(object);
    snprintf(text, sizeof text, "object %u: %s%s", object,
             is_taken(object) ? "taken" : "free",
             is_tiny_block(object) ? ", tiny block of the thread" : "");
    draw_note(left_of(object, 0), top + STATE_TOP, text);
    for (unsigned i = 0; i < TINY_SIZE; i += 4) {
        snprintf(text, sizeof text, "%u", i);
        draw_text(left_of(object, i) + 3 * PT, top + SCALE_TOP, SMALL_SIZE,
                  code_font, outside, text);
    }
    draw_bytes(object, top + BYTES_TOP);
    draw_bits(object, 0, top + BYTES_TOP + BYTES_HEIGHT);
    draw_bits(object, 16, top + BYTES_TOP + BYTES_HEIGHT + BITS_HEIGHT);
    if (is_tiny_block(object))
        draw_box(left_of(object, 0), top + BYTES_TOP, OBJECT_WIDTH,
                 BYTES_HEIGHT + 2 * BITS_HEIGHT, tiny_frame, "");
}

// draw_moment draws n objects as they are, below what was done. Returns the top
// of what follows.
static int draw_moment(int top, unsigned n, const char *caption,
                       const char *text)
{
    char number[32];
    int y = top + BYTES_TOP;

    if (!mm_check())
        fail("the heap is damaged");
    draw_bold(0, top, CAPTION_SIZE, caption);
    draw_note(0, top + 15 * PT, text);
    snprintf(number, sizeof number, "tinyoffset %" PRIu32, mcache->tinyoffset);
    draw_text(0, top + STATE_TOP, SMALL_SIZE, code_font, outside, number);
    draw_note(0, y + PT, "bytes");
    draw_note(0, y + BYTES_HEIGHT, "bits 0 to 15");
    draw_note(0, y + BYTES_HEIGHT + BITS_HEIGHT, "bits 16 to 31");
    for (unsigned i = 0; i < n; i++)
        draw_object(i, top);
    return top + MOMENT_HEIGHT;
}

static int draw_entry(int x, const char *fill, const char *text)
{
    draw_box(x, LEGEND_TOP + 3 * PT, 9 * PT, 9 * PT, fill, "");
    draw_note(x + 13 * PT, LEGEND_TOP, text);
    return x + 28 * PT + text_width(text, SMALL_SIZE);
}

static void draw_legend(void)
{
    int x = draw_entry(0, part_fill, "part in use");
    x = draw_entry(x, freed_fill, "freed part");
    x = draw_entry(x, lost_fill, "lost to alignment, or left over");
    x = draw_entry(x, room_fill, "room for more");
    x = draw_entry(x, free_fill, "free object");
    draw_entry(x, tiny_frame, "the tiny block");
}

// ---------------------------------------------------------------------------

static void draw_title(void)
{
    draw_bold(0, 0, TITLE_SIZE,
              "Blocks of fewer than 16 bytes are parts of objects of 16");
    draw_note(0, 20 * PT,
              "Below the bytes of an object, its word. Bits 0 to 15: a part in"
              " use begins at that byte. Bits 16 to 30: a part ends with that"
              " byte, freed or not.");
    draw_note(0, 33 * PT,
              "Bit 31 (the last): the object is the tiny block of a thread. An"
              " object is free when bits 0 to 15 and 31 are 0; then its word"
              " means nothing.");
    draw_legend();
}

static int draw_allocations(int top)
{
    allocate('a', 5, 0, 0);
    allocate('b', 4, 0, 8);
    top = draw_moment(top, 1, "1  a = 5 bytes, b = 4",
                      "a took a fresh object. b has to be at a multiple of 4,"
                      " so the bytes 5 to 7 are lost. From tinyoffset on, there"
                      " is room.");
    allocate('c', 15, 1, 0);
    top = draw_moment(top, 2, "2  c = 15",
                      "15 bytes do not fit: c has an object of its own. One"
                      " byte is left there, 4 are left in the tiny block: the"
                      " tiny block is kept.");
    allocate('d', 8, 2, 0);
    return draw_moment(top, 3, "3  d = 8",
                       "8 bytes do not fit, either. In the new object, 8 are"
                       " left: it replaces the tiny block. What was left in"
                       " object 0 is lost, too.");
}

static int draw_frees(int top)
{
    release('a');
    release('c');
    top = draw_moment(top, 3, "4  a and c are freed",
                      "c was the only part of object 1, which is free with it."
                      " b still has object 0; nobody gets the bytes of a.");
    release('b');
    release('d');
    return draw_moment(top, 3, "5  b and d are freed",
                       "Object 0 is free with its last part. Object 2 is"
                       " without parts, but it is still the tiny block: the"
                       " next ones go there.");
}

int main(void)
{
    out("// Drawn by diagrams/09-tiny-objects/tiny.c from the objects of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("The parts of an object");
    draw_title();
    draw_frees(draw_allocations(MOMENTS_TOP));
    // What is shown as room comes next.
    allocate('e', 2, 2, 8);
    check(2);
    end_picture();
}
