// flow.c - draws thread cache, central list and page heap at work.
//
// It allocates ten blocks, frees them, and empties its cache. In between, it
// looks at its own lists and draws who has which object; an arrow says what was
// moved since the row above, and a number which locks were taken for that.
//
// usage: flow > flow.dot

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "draw_shapes.h"
#include "heap.h"
#include "mlink.h"

enum {
    SIZE = 16, // of a block
    BLOCKS = 10,
    HALF = BLOCKS / 2,
};

static char *blocks[BLOCKS];
static bool is_freed[BLOCKS];
static unsigned sizeclass; // of the blocks

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "flow: %s\n", what);
    _exit(1);
}

// ---------------------------------------------------------------------------
// What there is, and what was moved. There is only one thread.

// the_span returns the span that all blocks lie in; NULL: it is not in use.
static struct mspan *the_span(void)
{
    return blocks[0] == NULL ? NULL : span_of(blocks[0]);
}

struct counts {
    uint64_t batches, objects; // between the thread and the central list
    uint64_t span_allocs, span_frees; // between that and the page heap
    uint64_t class_locks, heap_locks; // how often these were taken
    uint64_t objects_out; // that the central list does not have
};

static struct counts counts_now(void)
{
    const struct mcentral *central = &mcentral[sizeclass];
    const struct mspan *s = the_span();
    return (struct counts){
        .batches = central->batches,
        .objects = central->batch_objects,
        .span_allocs = mheap.stats.span_allocs,
        .span_frees = mheap.stats.span_frees,
        .class_locks = central->lock.taken,
        .heap_locks = mheap.lock.taken,
        .objects_out = s == NULL ? 0 : s->alloc_count,
    };
}

// What happened since the row above.
struct moved {
    struct counts before, after;
    char sizes[100]; // of the batches, in words
};

static struct moved begin_moves(void)
{
    struct counts now = counts_now();
    return (struct moved){.before = now, .after = now};
}

// note_move is called after each thing that may move a batch.
static void note_move(struct moved *m)
{
    struct counts now = counts_now();
    size_t n = strlen(m->sizes);
    if (now.batches > m->after.batches + 1)
        fail("one call moved several batches");
    if (now.batches > m->after.batches)
        snprintf(m->sizes + n, sizeof m->sizes - n, "%s%d", n > 0 ? ", " : "",
                 (int)(now.objects - m->after.objects));
    m->after = now;
}

static struct moved allocate_all(void)
{
    struct moved m = begin_moves();
    for (int i = 0; i < BLOCKS; i++) {
        blocks[i] = mm_malloc(SIZE);
        if (blocks[i] == NULL)
            fail("no memory");
        note_move(&m);
    }
    for (int i = 0; i < BLOCKS; i++)
        if (span_of(blocks[i]) != the_span())
            fail("the blocks lie in several spans");
    return m;
}

// free_from frees half of the blocks, from number i on.
static struct moved free_from(int i)
{
    struct moved m = begin_moves();
    for (int end = i + HALF; i < end; i++) {
        mm_free(blocks[i]);
        is_freed[i] = true;
        note_move(&m);
    }
    return m;
}

static struct moved empty_cache(void)
{
    struct moved m = begin_moves();
    mcache_flush();
    note_move(&m);
    return m;
}

// is_on tells whether p is on the list.
static bool is_on(const struct mlink *list, const void *p)
{
    while (list != NULL && list != p)
        list = list->next;
    return list != NULL;
}

// is_block tells whether p is a block that was not freed.
static bool is_block(const void *p)
{
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i] == p && !is_freed[i])
            return true;
    return false;
}

// free_span returns the one free span of the page heap.
static const struct mspan *free_span(void)
{
    const struct mspan *found = NULL;

    lock_acquire(&mheap.lock);
    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s))) {
        if (s->state != MSPAN_FREE)
            continue;
        if (found != NULL)
            fail("there are several free spans");
        found = s;
    }
    lock_release(&mheap.lock);
    if (found == NULL)
        fail("there is no free span");
    return found;
}

// ---------------------------------------------------------------------------
// The picture.

enum {
    CACHE_LEFT = 0,
    CACHE_WIDTH = 170 * PT,
    CENTRAL_LEFT = 272 * PT,
    CENTRAL_WIDTH = 178 * PT,
    HEAP_LEFT = 530 * PT,
    HEAP_WIDTH = PICTURE_WIDTH - HEAP_LEFT,
    HEAD_TOP = 24 * PT,
    HEAD_HEIGHT = 32 * PT,
    ROWS_TOP = 72 * PT,
    ROW = 82 * PT, // from a row to the next; in it:
    BAR_TOP = 34 * PT,
    BAR = 18 * PT, // height
    OBJECT = 12 * PT, // width of an object in its span
    LINK = 18 * PT, // the same on a list
    LINK_GAP = 10 * PT,
    HEAD_LINK = 30 * PT, // width of the head of a list
};

static const char used_fill[] = "fillcolor=\"#a9d3f5\"";
static const char stock_fill[] = "fillcolor=\"#f2cf70\"";
static const char free_fill[] = "fillcolor=\"#bfe8b9\"";
static const char pages_fill[] = "fillcolor=\"#e3efc3\"";
static const char null_fill[] = "fillcolor=\"#f0f1f4\"";
static const char small_font[] = "fontsize=8";
static const char grey[] = "color=\"#6e7781\"";

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

// draw_note writes s above or below what a row shows.
static void draw_note(int left, int top, const char *s)
{
    draw_text(left, top, SMALL_SIZE, NULL, outside, s);
}

// draw_object draws object i of a span.
static void draw_object(int left, int top, int width, const char *fill,
                        size_t i)
{
    char attributes[64], text[32];
    snprintf(attributes, sizeof attributes, "%s, %s", fill, small_font);
    snprintf(text, sizeof text, "%zu", i);
    draw_box(left, top, width, BAR, attributes, text);
}

static void draw_arrow(int from_x, int to_x, int y)
{
    struct line line = {0};
    line_to(&line, from_x, y);
    line_to(&line, to_x, y);
    draw_line(&line, grey, true);
}

// draw_cache draws the list of the class in the cache of this thread.
static void draw_cache(int top)
{
    const struct mcache *cache = mcache_mine();
    char text[64];
    int x = CACHE_LEFT + HEAD_LINK;
    uint32_t n = 0;

    if (cache == NULL)
        fail("the thread has no cache");
    const struct mcache_list *list = &cache->lists[sizeclass];
    if (list->length * SIZE != cache->size)
        fail("there is more in the cache than is drawn");
    snprintf(text, sizeof text, "length %u, max_length %u", list->length,
             list->max_length);
    draw_note(CACHE_LEFT, top + BAR_TOP - 16 * PT, text);
    draw_box(CACHE_LEFT, top + BAR_TOP, HEAD_LINK, BAR, null_fill,
             list->head == NULL ? "NULL" : "head");
    for (const struct mlink *o = list->head; o != NULL; o = o->next, n++) {
        const struct mspan *s = the_span();
        if (s == NULL || !mspan_is_object(s, o) || span_of(o) != s)
            fail("the cache has something else than objects of the span");
        draw_arrow(x, x + LINK_GAP - PT, top + BAR_TOP + BAR / 2);
        draw_object(x + LINK_GAP, top + BAR_TOP, LINK, stock_fill,
                    (size_t)((const char *)o - s->start_addr) / SIZE);
        x += LINK_GAP + LINK;
    }
    if (x > CACHE_LEFT + CACHE_WIDTH || n != list->length)
        fail("the list is longer than it is drawn");
}

// draw_central draws the span on partial: its first objects, one by one, and
// that the others are free.
static void draw_central(int top)
{
    const struct mspan *s = mcentral[sizeclass].partial.first;
    const struct mcache *cache = mcache_mine();
    size_t used = 0, in_stock = 0;
    char text[100];

    if (s != the_span() || (s != NULL && s->next != NULL))
        fail("there is another span on partial than that of the blocks");
    if (s == NULL) {
        draw_note(CENTRAL_LEFT, top + BAR_TOP - 16 * PT, "partial: no span");
        draw_box(CENTRAL_LEFT, top + BAR_TOP, HEAD_LINK, BAR, null_fill,
                 "NULL");
        return;
    }
    snprintf(text, sizeof text, "partial: 1 span, %zu page%s, %u objects",
             s->npages, plural(s->npages), s->nelems);
    draw_note(CENTRAL_LEFT, top + BAR_TOP - 16 * PT, text);
    for (size_t i = 0; i < s->nelems; i++) {
        const char *o = s->start_addr + i * s->elemsize, *fill = used_fill;
        bool is_free = is_on(s->freelist, o);
        bool is_cached = is_on(cache->lists[sizeclass].head, o);
        if (is_free + is_cached + is_block(o) != 1)
            fail("an object is not in exactly one place");
        used += is_block(o);
        in_stock += is_cached;
        if (is_free)
            fill = free_fill;
        else if (is_cached)
            fill = stock_fill;
        if (i < BLOCKS)
            draw_object(CENTRAL_LEFT + (int)i * OBJECT, top + BAR_TOP, OBJECT,
                        fill, i);
        else if (!is_free)
            fail("an object is in use that is drawn as free");
    }
    if (s->alloc_count != used + in_stock)
        fail("alloc_count is not what is used and in stock");
    snprintf(text, sizeof text, "%u more", s->nelems - BLOCKS);
    draw_box(CENTRAL_LEFT + BLOCKS * OBJECT, top + BAR_TOP,
             CENTRAL_WIDTH - BLOCKS * OBJECT, BAR, free_fill, text);
    snprintf(text, sizeof text, "%zu used, %zu in stock, %zu free", used,
             in_stock, s->nelems - used - in_stock);
    draw_note(CENTRAL_LEFT, top + BAR_TOP + BAR + PT, text);
}

static void draw_heap(int top)
{
    const struct mspan *s = free_span();
    char text[64];

    if (s->npages < MAX_LIST_PAGES) {
        if (mheap.free[s->npages].first != s)
            fail("a free span is not on its list");
        snprintf(text, sizeof text, "free[%zu]: 1 span", s->npages);
    } else {
        if (mheap.large.root != s)
            fail("a long free span is not in the treap");
        snprintf(text, sizeof text, "large: 1 span");
    }
    draw_note(HEAP_LEFT, top + BAR_TOP - 16 * PT, text);
    snprintf(text, sizeof text, "%zu pages", s->npages);
    draw_box(HEAP_LEFT, top + BAR_TOP, HEAP_WIDTH, BAR, pages_fill, text);
}

// draw_move draws an arrow between two columns, to the left or to the right,
// with two lines on it.
static void draw_move(int left, int right, bool to_left, int top,
                      const char *line1, const char *line2)
{
    enum { SPACE = 5 * PT };
    int y = top + BAR_TOP + BAR / 2;
    left += SPACE;
    right -= SPACE;
    draw_arrow(to_left ? right : left, to_left ? left : right, y);
    draw_note(left, y - 16 * PT, line1);
    draw_note(left, y + PT, line2);
}

// draw_moves draws what was moved to come to this row.
static void draw_moves(int top, const struct moved *m)
{
    uint64_t batches = m->after.batches - m->before.batches;
    uint64_t objects = m->after.objects - m->before.objects;
    uint64_t allocs = m->after.span_allocs - m->before.span_allocs;
    uint64_t frees = m->after.span_frees - m->before.span_frees;
    bool fetched = m->after.objects_out > m->before.objects_out;
    char text[100], sizes[120];

    if (objects != (fetched ? m->after.objects_out - m->before.objects_out
                            : m->before.objects_out - m->after.objects_out))
        fail("batch_objects is not what the span lost or got");
    if (batches > 0) {
        snprintf(text, sizeof text, "%d batch%s of", (int)batches,
                 batches == 1 ? "" : "es");
        snprintf(sizes, sizeof sizes, "%s object%s", m->sizes, plural(objects));
        draw_move(CACHE_LEFT + CACHE_WIDTH, CENTRAL_LEFT, fetched, top, text,
                  sizes);
    }
    if (allocs > 0 && frees > 0)
        fail("spans were moved in both directions");
    if (allocs + frees > 0) {
        snprintf(text, sizeof text, "%d span%s", (int)(allocs + frees),
                 plural(allocs + frees));
        draw_move(CENTRAL_LEFT + CENTRAL_WIDTH, HEAP_LEFT, allocs > 0, top,
                  text, "");
    }
}

// draw_row draws row n: everything as it is now, and what was moved for it.
static void draw_row(int n, const char *caption, const struct moved *m)
{
    int top = ROWS_TOP + n * ROW;
    uint64_t class_locks = m->after.class_locks - m->before.class_locks;
    uint64_t heap_locks = m->after.heap_locks - m->before.heap_locks;
    char text[100];

    struct mm_stats stats;
    mm_stats(&stats);
    if (stats.batches != m->after.batches ||
        stats.batch_objects != m->after.objects)
        fail("another class has moved objects");
    if (!mm_check())
        fail("the heap is damaged");
    draw_bold(0, top, CAPTION_SIZE, caption);
    snprintf(text, sizeof text, "no lock taken");
    if (class_locks + heap_locks > 0)
        snprintf(text, sizeof text, "locks taken: class %d, page heap %d",
                 (int)class_locks, (int)heap_locks);
    draw_note(CENTRAL_LEFT, top, text);
    snprintf(text, sizeof text, "so far: %d batch%s, %d object%s",
             (int)m->after.batches, m->after.batches == 1 ? "" : "es",
             (int)m->after.objects, plural(m->after.objects));
    draw_note(PICTURE_WIDTH - text_width(text, SMALL_SIZE), top, text);
    draw_cache(top);
    draw_central(top);
    draw_heap(top);
    draw_moves(top, m);
}

static void draw_legend(int top)
{
    static const struct {
        const char *fill, *text;
    } entries[] = {{used_fill, "used by the program"},
                   {stock_fill, "in stock in the thread cache"},
                   {free_fill, "free in its span"},
                   {pages_fill, "free pages"}};
    int x = 0;
    for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
        draw_box(x, top + 3 * PT, 9 * PT, 9 * PT, entries[i].fill, "");
        draw_note(x + 13 * PT, top, entries[i].text);
        x += 34 * PT + text_width(entries[i].text, SMALL_SIZE);
    }
}

int main(void)
{
    char text[100];

    sizeclass = size_class_of(SIZE);
    out("// Drawn by diagrams/06-thread-cache/flow.c from the lists of a "
        "running\n"
        "// program. Not to be edited.\n");
    begin_picture("Thread cache, central list and page heap");
    draw_bold(0, 0, TITLE_SIZE, "From the page heap to the thread and back");
    draw_box(CACHE_LEFT, HEAD_TOP, CACHE_WIDTH, HEAD_HEIGHT, stock_fill,
             "thread cache\\nno lock");
    snprintf(text, sizeof text,
             "central list of %d bytes, batch %zu\\nlock of the class", SIZE,
             mcentral_batch(sizeclass));
    draw_box(CENTRAL_LEFT, HEAD_TOP, CENTRAL_WIDTH, HEAD_HEIGHT, free_fill,
             text);
    draw_box(HEAP_LEFT, HEAD_TOP, HEAP_WIDTH, HEAD_HEIGHT, pages_fill,
             "page heap\\nlock of the page heap");

    struct moved moved = allocate_all();
    snprintf(text, sizeof text, "%d times malloc(%d)", BLOCKS, SIZE);
    draw_row(0, text, &moved);
    moved = free_from(0);
    snprintf(text, sizeof text, "%d times free", HALF);
    draw_row(1, text, &moved);
    moved = free_from(HALF);
    snprintf(text, sizeof text, "%d times free again", HALF);
    draw_row(2, text, &moved);
    moved = empty_cache();
    draw_row(3, "all goes back, as at a thread's end", &moved);
    draw_legend(ROWS_TOP + 4 * ROW - 8 * PT);
    end_picture();
}
