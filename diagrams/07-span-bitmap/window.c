// window.c - draws the 64-bit window moving over the bitmap of a span.
//
// It takes a span from the page heap, fetches objects from it and gives some
// back, as a thread's cache does. In between, it draws the bitmap and the
// window as they are in struct mspan, after comparing them with notes of its
// own on each slot, which know nothing of bits.
//
// usage: window > window.dot

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "draw_shapes.h"
#include "heap.h"

enum {
    SIZE = 48, // of an object
    WINDOW = 64, // slots in it: the bits of alloc_cache
};

static struct mspan *span;

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "window: %s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// What is done, and the notes on it.

enum slot_state { IS_FREE, IN_STOCK, IS_USED, NO_OBJECT };

static enum slot_state notes[MAX_OBJECTS];
static bool is_late[MAX_OBJECTS]; // given back when the window had its bit
static size_t seen; // the search has seen all below

static char *object_at(size_t slot)
{
    return span->start_addr + slot * span->elemsize;
}

// expected_slot returns which slot the search finds from seen on; nelems: none.
static size_t expected_slot(void)
{
    size_t slot = seen;
    while (slot < span->nelems && (notes[slot] != IS_FREE || is_late[slot]))
        slot++;
    return slot;
}

// fetch takes n objects for the stock of a thread.
static void fetch(size_t n)
{
    for (; n > 0; n--) {
        size_t slot = expected_slot();
        if (slot == span->nelems) {
            memset(is_late, 0, sizeof is_late);
            seen = 0;
            slot = expected_slot();
        }
        if (mspan_alloc(span) != object_at(slot))
            fail("the search finds another slot than it should");
        notes[slot] = IN_STOCK;
        seen = slot + 1;
    }
}

// hand_out hands what is in stock, below a slot, out to the program.
static void hand_out(size_t end)
{
    for (size_t slot = 0; slot < end; slot++) {
        if (notes[slot] != IN_STOCK)
            continue;
        mspan_set_mark(span, object_at(slot));
        notes[slot] = IS_USED;
    }
}

// give_back frees n objects from a slot on; the thread gives them back.
static void give_back(size_t slot, size_t n)
{
    for (size_t end = slot + n; slot < end; slot++) {
        if (notes[slot] != IS_USED || !mspan_clear_mark(span, object_at(slot)))
            fail("what is freed is not in use");
        mspan_free(span, object_at(slot));
        notes[slot] = IS_FREE;
        is_late[slot] = slot >= seen && slot / WINDOW == seen / WINDOW;
    }
}

// ---------------------------------------------------------------------------
// What there is.

static bool bit_of(size_t slot)
{
    return (span->alloc_bits[slot / WINDOW] >> slot % WINDOW & 1) != 0;
}

// state_of returns what the span says of a slot.
static enum slot_state state_of(size_t slot)
{
    if (slot >= span->nelems)
        return NO_OBJECT;
    if (!bit_of(slot))
        return IS_FREE;
    return mspan_is_marked(span, object_at(slot)) ? IS_USED : IN_STOCK;
}

// window_first returns the first slot of the word that the window shows.
static size_t window_first(void)
{
    return span->freeindex - span->freeindex % WINDOW;
}

// next_free returns what counting zeros gives.
static size_t next_free(void)
{
    return span->freeindex + ctz64(span->alloc_cache);
}

// count_free returns how many slots are free, from one up to another.
static size_t count_free(size_t slot, size_t end)
{
    size_t n = 0;
    for (; slot < end; slot++)
        n += state_of(slot) == IS_FREE;
    return n;
}

// check fails if the span differs from the notes.
static void check(void)
{
    uint64_t cache = 0;
    size_t taken = 0, window_end = window_first() + WINDOW;

    for (size_t slot = 0; slot < span->nelems; slot++) {
        if (state_of(slot) != notes[slot])
            fail("a slot is not what it should be");
        taken += notes[slot] != IS_FREE;
    }
    if (span->alloc_count != taken)
        fail("alloc_count is not how many are taken");
    if (span->freeindex != seen)
        fail("freeindex is not behind the slot found last");
    for (size_t slot = seen; slot < window_end; slot++)
        if (slot >= span->nelems || (notes[slot] == IS_FREE && !is_late[slot]))
            cache |= UINT64_C(1) << (slot - seen);
    if (span->alloc_cache != cache)
        fail("alloc_cache is not the bits from freeindex on, inverted");
    if (expected_slot() != next_free() && next_free() < window_end &&
        next_free() < span->nelems)
        fail("counting zeros does not give the next free slot");
    if (!mspan_check(span))
        fail("the span is damaged");
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    CELL = 9 * PT, // width of a slot
    BITS_LEFT = PICTURE_WIDTH - WINDOW * CELL,
    // A digit and a space of the code font are as wide as a slot.
    BITS_SIZE = 747,
    ROW = 13 * PT, // height
    ROW_GAP = 3 * PT, // between words of the bitmap
    LEGEND_TOP = 52 * PT,
    MOMENTS_TOP = 76 * PT,
    SCALE_TOP = 41 * PT, // in a moment
    BITS_TOP = 54 * PT,
};

static const char *const fills[] = {
    [IS_FREE] = "fillcolor=\"#bfe8b9\"",
    [IN_STOCK] = "fillcolor=\"#f2cf70\"",
    [IS_USED] = "fillcolor=\"#a9d3f5\"",
    [NO_OBJECT] = "fillcolor=\"#f0f1f4\"",
};
static const char window_fill[] = "fillcolor=\"#dfc8f5\"";
static const char frame[] = "style=\"\", penwidth=1.75, color=\"#8250df\"";
static const char next_frame[] = "style=\"\", penwidth=1.75, color=\"#cf222e\"";

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

static int slot_left(size_t slot)
{
    return BITS_LEFT + (int)(slot % WINDOW) * CELL;
}

// draw_bits draws the digits of n slots, from a slot on.
static void draw_bits(size_t slot, size_t n, int top, const char *digits)
{
    char text[2 * WINDOW];
    for (size_t i = 0; i < n; i++) {
        text[2 * i] = digits[i];
        text[2 * i + 1] = ' ';
    }
    text[2 * n - 1] = '\0';
    draw_text(slot_left(slot) + PT, top - PT, BITS_SIZE, code_font, inside,
              text);
}

// draw_scale numbers the slots of a word.
static void draw_scale(int top)
{
    char text[16];
    draw_text(0, top, BITS_SIZE, code_font, outside, "slot % 64");
    for (size_t slot = 0; slot < WINDOW; slot += 8) {
        snprintf(text, sizeof text, "%zu", slot);
        draw_text(slot_left(slot) + PT, top, BITS_SIZE, code_font, outside,
                  text);
    }
}

// draw_word draws 64 slots of the bitmap.
static void draw_word(size_t first, int top)
{
    char text[32], digits[WINDOW];
    size_t run = first, end = first + WINDOW;

    snprintf(text, sizeof text, "alloc_bits[%zu]", first / WINDOW);
    draw_text(0, top - PT, BITS_SIZE, code_font, outside, text);
    for (size_t slot = first; slot < end; slot++) {
        digits[slot - first] = (char)('0' + bit_of(slot));
        if (slot + 1 < end && state_of(slot + 1) == state_of(slot))
            continue;
        draw_box(slot_left(run), top, (int)(slot + 1 - run) * CELL, ROW,
                 fills[state_of(slot)], "");
        run = slot + 1;
    }
    draw_bits(first, WINDOW, top, digits);
}

// draw_window draws alloc_cache below the word that it was filled from, each
// bit below that of its slot; the bits above these are 0.
static void draw_window(int top)
{
    char digits[WINDOW];
    size_t n = window_first() + WINDOW - span->freeindex;
    int left = slot_left(span->freeindex), width = (int)n * CELL;

    if (shr64(span->alloc_cache, (unsigned)n) != 0)
        fail("alloc_cache has bits of another window");
    for (size_t i = 0; i < n; i++)
        digits[i] = (char)('0' + (span->alloc_cache >> i & 1));
    draw_text(0, top - PT, BITS_SIZE, code_font, outside, "alloc_cache");
    draw_box(left, top, width, ROW, window_fill, "");
    draw_bits(span->freeindex, n, top, digits);
    draw_box(left, top - ROW, width, 2 * ROW, frame, "");
    if (next_free() < span->nelems)
        draw_box(slot_left(next_free()), top - ROW, CELL, 2 * ROW, next_frame,
                 "");
}

// draw_moment draws the span as it is, below what was done. Returns the top of
// what follows.
static int draw_moment(int top, const char *caption, const char *text)
{
    char numbers[128];
    int y = top + BITS_TOP;

    check();
    draw_bold(0, top, CAPTION_SIZE, caption);
    draw_note(0, top + 15 * PT, text);
    int n = snprintf(numbers, sizeof numbers,
                     "freeindex %u   alloc_count %u   alloc_cache 0x%016" PRIx64
                     "   next %u + %u = %zu",
                     span->freeindex, span->alloc_count, span->alloc_cache,
                     span->freeindex, ctz64(span->alloc_cache), next_free());
    if (next_free() == span->nelems)
        snprintf(numbers + n, sizeof numbers - (size_t)n, ", nelems: none");
    draw_text(0, top + 28 * PT, SMALL_SIZE, code_font, outside, numbers);
    draw_scale(top + SCALE_TOP);
    for (size_t first = 0; first < span->nelems; first += WINDOW) {
        draw_word(first, y);
        y += ROW;
        if (first == window_first()) {
            draw_window(y);
            y += ROW;
        }
        y += ROW_GAP;
    }
    return y + 11 * PT;
}

static int draw_entry(int x, const char *fill, const char *text)
{
    draw_box(x, LEGEND_TOP + 3 * PT, 9 * PT, 9 * PT, fill, "");
    draw_note(x + 13 * PT, LEGEND_TOP, text);
    return x + 28 * PT + text_width(text, SMALL_SIZE);
}

static void draw_legend(void)
{
    int x = draw_entry(0, fills[IS_USED], "1: used by the program (marked)");
    x = draw_entry(x, fills[IN_STOCK], "1: in a thread's stock (not marked)");
    x = draw_entry(x, fills[IS_FREE], "0: free");
    x = draw_entry(x, fills[NO_OBJECT], "no slot");
    x = draw_entry(x, window_fill, "the window");
    draw_entry(x, next_frame, "next");
}

// draw_class draws a span of the class of size bytes, to scale: how much of it
// the window shows at a time.
static void draw_class(int top, size_t size)
{
    enum { HEIGHT = 24 * PT };
    unsigned sizeclass = size_class_of(size);
    size_t bytes = class_npages(sizeclass) * PAGE_SIZE;
    size_t n = bytes / size;
    char text[64];

    if (class_size(sizeclass) != size || bytes != span->npages * PAGE_SIZE)
        fail("the spans are not as long as they are drawn");
    snprintf(text, sizeof text, "%zu bytes", size);
    draw_text(0, top + 4 * PT, SMALL_SIZE, NULL, outside, text);
    for (size_t slot = 0; slot < n; slot += WINDOW) {
        size_t slots = n - slot < WINDOW ? n - slot : WINDOW;
        size_t left = slot * size * WINDOW * CELL / bytes;
        size_t right = (slot + slots) * size * WINDOW * CELL / bytes;
        char attributes[64];
        snprintf(attributes, sizeof attributes, "%s, fontsize=8", window_fill);
        snprintf(text, sizeof text, "%zu slots\\n%zu bytes", slots,
                 slots * size);
        draw_box(BITS_LEFT + (int)left, top, (int)(right - left), HEIGHT,
                 attributes, text);
    }
}

static void draw_classes(int top)
{
    static const size_t sizes[] = {16, SIZE, 512};
    char text[160];
    int width = (int)(64 * (size_t)WINDOW * CELL / (span->npages * PAGE_SIZE));

    draw_bold(0, top, CAPTION_SIZE, "Why 64 slots, and not 64 bytes");
    snprintf(text, sizeof text,
             "A bit stands for a slot, however large: a window is a word of the"
             " bitmap, not a part of memory. Spans of %zu bytes, to scale:",
             span->npages * PAGE_SIZE);
    draw_note(0, top + 15 * PT, text);
    top += 32 * PT;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        draw_class(top, sizes[i]);
        top += 28 * PT;
    }
    draw_box(BITS_LEFT, top, width, 9 * PT, fills[NO_OBJECT], "");
    draw_note(BITS_LEFT + width + 4 * PT, top - 3 * PT,
              "64 bytes, a cache line, would be so much");
}

// ---------------------------------------------------------------------------

static void new_span(void)
{
    unsigned sizeclass = size_class_of(SIZE);

    lock_acquire(&mheap.lock);
    span = mheap_alloc(class_npages(sizeclass), PAGE_SIZE);
    lock_release(&mheap.lock);
    if (span == NULL)
        fail("no memory");
    mspan_init_objects(span, sizeclass);
    if (span->elemsize != SIZE || span->nelems <= 2 * WINDOW ||
        span->nelems >= 3 * WINDOW)
        fail("the span does not have the slots that are drawn");
}

static int draw_fresh(int top)
{
    char text[200];
    snprintf(text, sizeof text,
             "Nothing is taken. The window shows the slots 0 to %d: one word of"
             " alloc_bits, inverted, so a 1 is a free slot.",
             WINDOW - 1);
    return draw_moment(top, "1  Fresh", text);
}

// draw_move fetches up to the last slot of the first window, and then that.
static int draw_move(int top)
{
    char text[200];

    fetch(WINDOW - 1);
    hand_out(57);
    give_back(5, 1);
    give_back(20, 3);
    give_back(47, 1);
    if (next_free() != WINDOW - 1)
        fail("the next slot is not the last of the window");
    snprintf(text, sizeof text,
             "%zu objects were fetched; %zu of them were freed and came back."
             " The search does not see them: they are behind freeindex.",
             seen, count_free(0, seen));
    top = draw_moment(top, "2a  The window is about to move", text);

    fetch(1);
    if (span->freeindex != WINDOW || span->alloc_cache != ~span->alloc_bits[1])
        fail("the window has not moved");
    snprintf(text, sizeof text,
             "Slot %d was fetched. freeindex is a multiple of %d now, so the"
             " window was filled anew: alloc_cache = ~alloc_bits[1].",
             WINDOW - 1, WINDOW);
    return draw_moment(top, "2b  It has moved", text);
}

// draw_end fetches all that the search finds before it begins anew.
static int draw_end(int top)
{
    char text[200];

    fetch(span->nelems - seen);
    hand_out(160);
    give_back(70, 3);
    give_back(131, 1);
    if (span->freeindex != span->nelems || next_free() != span->nelems ||
        count_free(0, span->nelems) == 0)
        fail("this is not the end");
    snprintf(text, sizeof text,
             "freeindex = nelems = %u: what is 1 in the window is no slot. %zu"
             " slots are free, all behind freeindex: the search begins anew.",
             span->nelems, count_free(0, span->nelems));
    return draw_moment(top, "3  The end", text);
}

// draw_anew fetches the first object of the next round; one ahead of it, in the
// window, comes back.
static int draw_anew(int top)
{
    enum { LATE = 34 };
    char text[200];

    fetch(1);
    give_back(LATE, 1);
    if (!is_late[LATE] || window_first() != 0 || next_free() > LATE)
        fail("the search has not begun anew");
    snprintf(text, sizeof text,
             "Slot %zu was fetched. %u zeros, then a 1: the next is slot %zu."
             " Slot %d came back after the window was filled, which misses it"
             " till it begins anew.",
             seen - 1, ctz64(span->alloc_cache), next_free(), LATE);
    return draw_moment(top, "4  Begun anew", text);
}

int main(void)
{
    char text[200];

    new_span();
    out("// Drawn by diagrams/07-span-bitmap/window.c from a span in a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("The window and the bitmap");
    draw_bold(0, 0, TITLE_SIZE,
              "The window of 64 slots moves over the bitmap of a span");
    snprintf(text, sizeof text,
             "A span of %zu bytes, cut into %u objects of %zu. A bit of"
             " alloc_bits for each slot; alloc_cache is a copy of those from"
             " freeindex on, inverted.",
             span->npages * PAGE_SIZE, span->nelems, span->elemsize);
    draw_note(0, 20 * PT, text);
    draw_note(0, 33 * PT,
              "Lowest bit first: that of freeindex, for each fetch shifts the"
              " window. The zeros before its first 1 are slots to skip: next ="
              " freeindex + zeros.");
    draw_legend();
    int top = draw_fresh(MOMENTS_TOP);
    top = draw_move(top);
    top = draw_end(top);
    top = draw_anew(top);
    // What is shown as next comes next, and nothing free gets lost.
    fetch(count_free(0, span->nelems));
    check();
    if (mspan_alloc(span) != NULL)
        fail("a full span has a free slot");
    draw_classes(top);
    end_picture();
}
