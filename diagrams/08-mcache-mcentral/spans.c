// spans.c - draws whom the spans of a class belong to, and what frees do.
//
// Two threads take turns: A allocates, B frees what A has. In between, A draws
// both caches, the set of the class, and the spans in no set, as they are in
// memory, after comparing each slot with notes of its own, which know nothing
// of bits.
//
// usage: spans > spans.dot

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "draw_shapes.h"
#include "heap.h"

enum {
    SIZE = 512, // of most objects
    SLOTS = 16, // of them in a span
    LARGER = 1024, // of some
    MAX_SPANS = 8,
};

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "spans: %s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// Two threads. One of them waits while the other does something.

static const struct mcache *cache_a, *cache_b;
static pthread_barrier_t turn;
static void (*b_does)(void); // NULL: end

static void *thread_b(void *unused)
{
    for (;;) {
        pthread_barrier_wait(&turn);
        if (b_does == NULL)
            return unused;
        b_does();
        cache_b = mcache_mine();
        pthread_barrier_wait(&turn);
    }
}

static void let_b(void (*what)(void))
{
    b_does = what;
    pthread_barrier_wait(&turn);
    if (what != NULL)
        pthread_barrier_wait(&turn);
}

// ---------------------------------------------------------------------------
// The spans, called after their pages, and the notes on their slots.

enum slot_state {
    IS_FREE,
    IS_USED,
    IS_UNSWEPT, // freed by another, and not found so far
};

static enum slot_state notes[MAX_SPANS][SLOTS];
static const char *first_page; // of the heap

// next_span returns the first span that ends above p.
static const struct mspan *next_span(const char *p)
{
    lock_acquire(&mheap.lock);
    const struct mspan *s = span_next(p);
    lock_release(&mheap.lock);
    return s;
}

static size_t page_of(const struct mspan *s)
{
    size_t page = (size_t)(s->start_addr - first_page) / PAGE_SIZE;
    if (page >= MAX_SPANS)
        fail("there are more spans than there should be");
    return page;
}

// take allocates n objects.
static void take(size_t n, size_t size)
{
    for (; n > 0; n--) {
        char *p = mm_malloc(size);
        const struct mspan *s = p == NULL ? NULL : span_of(p);
        size_t slot;
        if (s == NULL || !mspan_find(s, p, &slot) || slot >= SLOTS)
            fail("there is no memory, or not where it should be");
        if (first_page == NULL)
            first_page = s->start_addr;
        if (notes[page_of(s)][slot] != IS_FREE)
            fail("an object is taken that is not free");
        notes[page_of(s)][slot] = IS_USED;
    }
}

// give frees n objects of a page, from a slot on: all of them are in that state
// then.
static void give(size_t page, size_t slot, size_t n, enum slot_state state)
{
    const struct mspan *s = span_of(first_page + page * PAGE_SIZE);
    for (; n > 0; n--, slot++) {
        if (notes[page][slot] != IS_USED)
            fail("what is freed is not in use");
        mm_free(s->start_addr + slot * s->elemsize);
        notes[page][slot] = state;
    }
}

// expect fails if a slot of a page is not in that state.
static void expect(size_t page, size_t slot, enum slot_state state)
{
    if (notes[page][slot] != state)
        fail("what is written is not what happened");
}

// expect_span fails if the span at a page is not in that place, or has another
// owner.
static void expect_span(size_t page, enum span_place place,
                        const struct mcache *owner)
{
    const struct mspan *s = span_of(first_page + page * PAGE_SIZE);
    if (s == NULL || mspan_place(s) != place || s->owner != owner)
        fail("a span is not where it is written to be");
}

// note_sweep notes that the span at a page was swept.
static void note_sweep(size_t page)
{
    for (size_t slot = 0; slot < SLOTS; slot++)
        if (notes[page][slot] == IS_UNSWEPT)
            notes[page][slot] = IS_FREE;
}

// A span of fewer slots than a word has them all in word 0.
static bool free_bit(const struct mspan *s, size_t slot)
{
    return (s->free_bits[0] >> slot & 1) != 0;
}

static bool mark_bit(const struct mspan *s, size_t slot)
{
    return (s->mark_bits[0] >> slot & 1) != 0;
}

// state_of returns what s says of a slot.
static enum slot_state state_of(const struct mspan *s, size_t slot)
{
    if (!mark_bit(s, slot)) {
        if (free_bit(s, slot))
            fail("a slot is freed twice");
        return IS_UNSWEPT;
    }
    return free_bit(s, slot) ? IS_FREE : IS_USED;
}

static void check_slots(const struct mspan *s)
{
    if (s->nelems > SLOTS || !mspan_check(s))
        fail("a span is damaged, or has too many slots");
    for (size_t slot = 0; slot < s->nelems; slot++)
        if (state_of(s, slot) != notes[page_of(s)][slot])
            fail("a slot is not what it should be");
}

// ---------------------------------------------------------------------------
// The picture of a span.

enum {
    CELL = 9 * PT, // width of a slot
    // A digit and a space of the code font are as wide as a slot.
    BITS_SIZE = 747,
    BITS = 11 * PT, // height of a row
    LEFT = 44 * PT, // of everything but the names of the rows
    PAD = 6 * PT,
    GAP = 7 * PT, // between spans
    WIDTH = SLOTS * CELL, // of a span
    // In a frame:
    SPAN_TOP = 13 * PT,
    SCALE_TOP = SPAN_TOP + 11 * PT,
    BITS_TOP = SCALE_TOP + 12 * PT,
    FRAME = BITS_TOP + 2 * BITS + PAD, // height
};

static const char *const fills[] = {
    [IS_FREE] = "fillcolor=\"#bfe8b9\"",
    [IS_USED] = "fillcolor=\"#a9d3f5\"",
    [IS_UNSWEPT] = "fillcolor=\"#f7cdb4\"",
};
static const char changed_frame[] =
    "style=\"\", penwidth=1.75, color=\"#cf222e\"";
static const char cache_frame[] = "style=\"\", color=\"#bf8700\", penwidth=1.5";
static const char set_frame[] = "style=\"\", color=\"#8250df\", penwidth=1.5";

// What the moment before showed of a span.
static struct {
    bool is_known;
    enum span_place place;
    uint64_t free_bits, mark_bits;
} before[MAX_SPANS];

static const char *const place_names[] = {
    [PLACE_NONE] = "NONE",       [PLACE_CACHED] = "CACHED",
    [PLACE_PARTIAL] = "PARTIAL", [PLACE_EMPTY] = "EMPTY",
    [PLACE_FULL] = "FULL",
};

static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

static void draw_code(int left, int top, const char *colour, const char *s)
{
    draw_text(left, top, BITS_SIZE, code_font, colour, s);
}

// draw_row draws the bits of a row.
static void draw_row(const struct mspan *s, int left, int top,
                     bool (*bit)(const struct mspan *s, size_t slot))
{
    char text[2 * SLOTS] = "";
    for (size_t slot = 0; slot < s->nelems; slot++) {
        text[2 * slot] = (char)('0' + bit(s, slot));
        text[2 * slot + 1] = ' ';
    }
    text[2 * s->nelems - 1] = '\0';
    draw_code(left + PT / 2, top - 2 * PT, inside, text);
}

// draw_changes draws boxes around what was different at the moment before.
static void draw_changes(const struct mspan *s, int left, int top)
{
    size_t page = page_of(s), run = 0;
    uint64_t changed = 0;

    if (before[page].is_known)
        changed = (s->free_bits[0] ^ before[page].free_bits) |
                  (s->mark_bits[0] ^ before[page].mark_bits);
    for (size_t slot = 0; slot <= s->nelems; slot++) {
        if (slot < s->nelems && (changed >> slot & 1) != 0)
            continue;
        if (slot > run)
            draw_box(left + (int)run * CELL, top, (int)(slot - run) * CELL,
                     2 * BITS, changed_frame, "");
        run = slot + 1;
    }
}

// draw_slots draws a slot as two bits, one below the other.
static void draw_slots(const struct mspan *s, int left, int top)
{
    size_t run = 0;
    for (size_t slot = 0; slot < s->nelems; slot++) {
        char number[32];
        if (slot % 4 == 0) {
            snprintf(number, sizeof number, "%zu", slot);
            draw_code(left + (int)slot * CELL + PT / 2,
                      top + SCALE_TOP - BITS_TOP, outside, number);
        }
        if (slot + 1 < s->nelems && state_of(s, slot + 1) == state_of(s, slot))
            continue;
        draw_box(left + (int)run * CELL, top, (int)(slot + 1 - run) * CELL,
                 2 * BITS, fills[state_of(s, slot)], "");
        run = slot + 1;
    }
    draw_row(s, left, top, free_bit);
    draw_row(s, left, top + BITS, mark_bit);
    draw_changes(s, left, top);
}

// draw_span draws s in a frame with that top, below a name.
static void draw_span(const struct mspan *s, int left, int top,
                      const char *name)
{
    check_slots(s);
    draw_note(left, top + SPAN_TOP, name);
    draw_slots(s, left, top + BITS_TOP);
}

// remember keeps what is there for the next moment.
static void remember(const struct mspan *s)
{
    size_t page = page_of(s);
    before[page].is_known = true;
    before[page].place = mspan_place(s);
    before[page].free_bits = s->free_bits[0];
    before[page].mark_bits = s->mark_bits[0];
}

// draw_placed draws s, which no thread holds, with its place.
static void draw_placed(const struct mspan *s, int left, int top)
{
    char name[64];
    size_t page = page_of(s);
    int n = snprintf(name, sizeof name, "page %zu: %s", page,
                     place_names[mspan_place(s)]);
    if (before[page].is_known && before[page].place != mspan_place(s))
        snprintf(name + n, sizeof name - (size_t)n, ", was %s",
                 place_names[before[page].place]);
    draw_span(s, left, top, name);
}

// ---------------------------------------------------------------------------
// Where they are.

// draw_cache draws the cache of a thread.
static void draw_cache(const struct mcache *c, const char *thread, int left,
                       int width, int top)
{
    char text[100];
    size_t n = 0;
    int x = left + PAD;

    draw_box(left, top, width, FRAME, cache_frame, "");
    for (unsigned i = 0; i < NUM_SIZE_CLASSES; i++) {
        const struct mspan *s = c->alloc[i];
        if (s == &emptymspan)
            continue;
        if (mspan_place(s) != PLACE_CACHED || s->sizeclass != i ||
            (s->owner != NULL && s->owner != c))
            fail("what is in a cache is not held by its thread");
        snprintf(text, sizeof text, "alloc[%u]: page %zu, owner %s", i,
                 page_of(s), s->owner == NULL ? "NULL" : thread);
        draw_span(s, x, top, text);
        x += WIDTH + GAP;
        n++;
    }
    snprintf(text, sizeof text,
             "mcache of %s: %zu CACHED span%s, %zu classes without", thread, n,
             n == 1 ? "" : "s", NUM_SIZE_CLASSES - 1 - n);
    draw_note(left + PAD, top, text);
}

// set_entry returns the span at a position of a set.
static const struct mspan *set_entry(const struct span_set *set,
                                     uint32_t position)
{
    struct span_set_spine *spine = set->spine;
    uint32_t number = position / SPAN_SET_BLOCK_ENTRIES % spine->capacity;
    struct span_set_block *block = spine->blocks[number];
    return block->spans[position % SPAN_SET_BLOCK_ENTRIES];
}

// draw_set draws the set of a class in the order in which spans are taken.
// Returns its right end, and adds the pages to *pages.
static int draw_set(unsigned sizeclass, int top, unsigned *pages)
{
    const struct mcentral *c = &mcentral[sizeclass];
    uint32_t head = (uint32_t)(c->partial.index >> 32);
    uint32_t tail = (uint32_t)c->partial.index;
    int width = head == tail
                    ? 136 * PT
                    : (int)(tail - head) * (WIDTH + GAP) - GAP + 2 * PAD;
    int x = LEFT + PAD;
    unsigned n_empty = 0;
    char text[100];

    snprintf(text, sizeof text, "mcentral[%u].partial: %u span%s", sizeclass,
             tail - head, tail - head == 1 ? "" : "s");
    draw_box(LEFT, top, width, FRAME, set_frame, "");
    draw_note(x, top, text);
    if (head == tail)
        draw_note(x, top + SPAN_TOP, "no span");
    for (; head != tail; head++, x += WIDTH + GAP) {
        const struct mspan *s = set_entry(&c->partial, head);
        if (mspan_place(s) != PLACE_PARTIAL && mspan_place(s) != PLACE_EMPTY)
            fail("what is in a set is neither PARTIAL nor EMPTY");
        n_empty += mspan_place(s) == PLACE_EMPTY;
        draw_placed(s, x, top);
        *pages |= 1u << page_of(s);
    }
    if (c->n_empty != n_empty || c->n_rest != 0)
        fail("the class counts something else");
    return LEFT + width;
}

// draw_full draws the spans of a class that are in no cache and on none of the
// pages.
static void draw_full(unsigned sizeclass, int left, int top, unsigned pages)
{
    int x = left + 2 * GAP;

    draw_note(x, top, "in no set, held by nobody");
    for (const struct mspan *s = next_span(NULL); s != NULL;
         s = next_span(mspan_end(s))) {
        if (s->state != MSPAN_IN_USE || s->sizeclass != sizeclass ||
            cache_a->alloc[sizeclass] == s || cache_b->alloc[sizeclass] == s ||
            (pages >> page_of(s) & 1) != 0)
            continue;
        if (mspan_place(s) != PLACE_FULL)
            fail("what is nowhere is not FULL");
        draw_placed(s, x, top);
        x += WIDTH + GAP;
    }
    if (x - GAP > PICTURE_WIDTH)
        fail("the full spans are more than are drawn");
}

static void draw_names(int top)
{
    draw_code(0, top + SCALE_TOP, outside, "slot");
    draw_code(0, top + BITS_TOP - 2 * PT, outside, "free_bits");
    draw_code(0, top + BITS_TOP + BITS - 2 * PT, outside, "mark_bits");
}

// draw_moment draws what there is below what was done. Returns the top of what
// follows.
static int draw_moment(int top, const char *caption, const char *locks,
                       const char *line1, const char *line2)
{
    enum { MIDDLE = (LEFT + PICTURE_WIDTH) / 2, HALF = MIDDLE - LEFT - GAP };
    unsigned sizeclass = size_class_of(SIZE), pages = 0;

    if (!mm_check())
        fail("the heap is damaged");
    draw_bold(0, top, CAPTION_SIZE, caption);
    draw_note(PICTURE_WIDTH - text_width(locks, SMALL_SIZE), top, locks);
    draw_note(0, top + 15 * PT, line1);
    draw_note(0, top + 27 * PT, line2);
    top += 43 * PT;
    draw_names(top);
    draw_cache(cache_a, "A", LEFT, HALF, top);
    draw_cache(cache_b, "B", MIDDLE + GAP, HALF, top);
    top += FRAME + GAP;
    draw_names(top);
    int right = draw_set(sizeclass, top, &pages);
    draw_full(sizeclass, right, top, pages);
    for (const struct mspan *s = next_span(NULL); s != NULL;
         s = next_span(mspan_end(s)))
        if (s->state == MSPAN_IN_USE)
            remember(s);
    return top + FRAME + 16 * PT;
}

static int draw_entry(int x, int top, const char *fill, const char *text)
{
    draw_box(x, top + 3 * PT, 9 * PT, 9 * PT, fill, "");
    draw_note(x + 13 * PT, top, text);
    return x + 30 * PT + text_width(text, SMALL_SIZE);
}

static void draw_legend(int top)
{
    int x = draw_entry(0, top, fills[IS_USED], "0 over 1: used");
    x = draw_entry(x, top, fills[IS_FREE], "1 over 1: free");
    x = draw_entry(x, top, fills[IS_UNSWEPT],
                   "0 over 0: freed by another thread, not swept yet");
    draw_entry(x, top, changed_frame, "changed");
}

// ---------------------------------------------------------------------------
// What happens.

// expect_locks fails if mheap.lock was not taken n times since it had been
// taken so many times.
static void expect_locks(uint64_t taken, uint64_t n)
{
    if (mheap.lock.taken - taken != n)
        fail("the lock was taken another number of times than is written");
}

static void b_takes(void)
{
    take(7, SIZE);
}

// b_frees frees objects that B took, that A took from the span in its cache,
// and that A took from spans that are full.
static void b_frees(void)
{
    give(5, 2, 1, IS_FREE);
    give(5, 5, 1, IS_FREE);
    give(3, 1, 2, IS_UNSWEPT);
    give(3, 4, 1, IS_UNSWEPT);
    give(1, 5, 1, IS_FREE);
    give(1, 9, 1, IS_UNSWEPT);
    give(0, 0, 1, IS_FREE);
    give(0, 1, SLOTS - 1, IS_UNSWEPT);
}

static int draw_start(int top)
{
    uint64_t taken = mheap.lock.taken;

    take(3 * SLOTS + 5, SIZE);
    take(3, LARGER);
    cache_a = mcache_mine();
    let_b(b_takes);
    expect_locks(taken, 8);
    if (mheap.stats.span_allocs != 6)
        fail("there are not six spans");
    return draw_moment(
        top, "1  A uses up spans",
        "mheap.lock taken 8 times: 6 spans, 2 caches",
        "A took 53 objects of 512 bytes, span after span, and 3 of 1024. B took"
        " 7 of 512, from a span of its own.",
        "A span with nothing left to take is put down, and only remembered by"
        " its place: FULL.");
}

static int draw_frees(int top)
{
    uint64_t taken = mheap.lock.taken;

    let_b(b_frees);
    expect_locks(taken, 1);
    if (mcentral[size_class_of(SIZE)].partial.spine_len != 1)
        fail("the set has not got its first block");
    expect_span(3, PLACE_CACHED, NULL);
    expect_span(1, PLACE_PARTIAL, NULL);
    expect_span(0, PLACE_EMPTY, NULL);
    expect_span(2, PLACE_FULL, NULL);
    return draw_moment(
        top, "2  B frees", "mheap.lock taken once: memory for the set",
        "In its own span (page 5): free bits. In A's (page 3): marks, and A is"
        " not the owner until it sweeps. In full ones (first page 1,",
        "then page 0): the first free puts the span into the set, swept; later"
        " ones clear marks. All of page 0 is free: EMPTY.");
}

static int draw_sweep(int top)
{
    uint64_t taken = mheap.lock.taken;

    take(SLOTS - 5, SIZE);
    note_sweep(3);
    take(1, SIZE);
    expect(3, 1, IS_USED);
    expect(3, 2, IS_FREE);
    expect(3, 4, IS_FREE);
    expect_span(3, PLACE_CACHED, cache_a);
    expect_locks(taken, 0);
    return draw_moment(
        top, "3  A finds no free bit, and sweeps its span",
        "mheap.lock not taken",
        "A took the other 11 objects of page 3. For the next, it made B's"
        " cleared marks free bits, and set the marks again:",
        "slots 1, 2 and 4 are back, 1 is taken. No set is needed for that. A is"
        " the owner again.");
}

static int draw_refill(int top)
{
    uint64_t taken = mheap.lock.taken;

    take(2, SIZE);
    note_sweep(1);
    take(1, SIZE);
    expect(1, 5, IS_USED);
    expect(1, 9, IS_FREE);
    expect_span(1, PLACE_CACHED, cache_a);
    expect_span(3, PLACE_FULL, NULL);
    expect_locks(taken, 0);
    return draw_moment(
        top, "4  Nothing to sweep: A takes a span of the set",
        "mheap.lock not taken",
        "A took slots 2 and 4. For the next, it found no cleared mark, put page"
        " 3 down, and took the span at the head of the set, page 1,",
        "swept it, and took slot 5; slot 9 is free. Page 0 is next; if many"
        " are EMPTY, their pages go back to the page heap.");
}

int main(void)
{
    pthread_t b;
    char text[200];
    unsigned sizeclass = size_class_of(SIZE), larger = size_class_of(LARGER);

    if (pthread_barrier_init(&turn, NULL, 2) != 0 ||
        pthread_create(&b, NULL, thread_b, NULL) != 0)
        fail("there is no thread");
    out("// Drawn by diagrams/08-mcache-mcentral/spans.c from the spans of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("Spans and their places");
    draw_bold(0, 0, TITLE_SIZE, "Whose are the spans?");
    snprintf(text, sizeof text,
             "Class %u: objects of %zu bytes, %zu in a span. Class %u: %zu"
             " bytes, %zu in a span. Each of these spans is one page, and is"
             " called after it.",
             sizeclass, class_size(sizeclass),
             class_npages(sizeclass) * PAGE_SIZE / SIZE, larger,
             class_size(larger), class_npages(larger) * PAGE_SIZE / LARGER);
    draw_note(0, 20 * PT, text);
    draw_legend(35 * PT);
    int top = draw_start(60 * PT);
    top = draw_frees(top);
    top = draw_sweep(top);
    draw_refill(top);
    let_b(NULL);
    // What B held is put down when it ends; nothing is lost.
    if (pthread_join(b, NULL) != 0 || !mm_check())
        fail("the heap is damaged when B has ended");
    end_picture();
}
