// draw_layout.c - where everything in the strips of a picture stands.
//
// A mark is an offset at which some cell of some snapshot starts or ends. All
// snapshots share one row of marks, so that a byte of the heap is drawn at the
// same x in each of them. Marks are as far apart as the bytes between them
// demand, or as the text of a cell between two marks demands (a need).

#include "draw_layout.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

enum {
    BROKEN_WIDTH = 104 * PT, // what is too long for its proportion
    FOLDED_WIDTH = 72 * PT, // blocks that are not all drawn
    LEAST_BROKEN = 2000, // bytes; what is shorter is never broken
    NARROW_WIDTH = 14 * PT, // of cells with a symbol
    WIDER_WIDTH = 20 * PT, // where arrows both arrive and leave, or "end" is
    SPAN_ARROWS = 20 * PT, // where they do at the right end of a span
    MAX_SCALE = PT, // for one byte
    SCALE_UNIT = 1000,
    MAX_MARKS = 2000,
    MAX_NEEDS = 4000,
};

// Between two marks there must be room for this. Each mark has the list of the
// needs that end at it.
struct need {
    int from; // a mark
    int width;
    int next; // with the same end; NOWHERE: the last
};

static struct {
    size_t offset;
    int x;
    int needs; // the first that ends here, or NOWHERE
    int fixed; // width of the bytes below, down to the mark before, which
        // are drawn shorter than they are; 0: in proportion
} marks[MAX_MARKS];
static int mark_count;

static struct need needs[MAX_NEEDS];
static int need_count;

struct place places[MAX_PIECES];
struct place span_places[MAX_SPANS];

static long scale; // of a byte, in units of 1/SCALE_UNIT
static const struct scene *scene;

const char *break_text(const struct snapshot *s)
{
    static char text[40];
    snprintf(text, sizeof text, "break +%zu", s->break_at);
    return text;
}

const char *list_label(const char *list)
{
    static char label[MAX_TEXT];
    snprintf(label, sizeof label, "list of %s", list);
    return label;
}

bool is_in_span(const struct snapshot *s, const struct piece *p)
{
    return p->list != NULL && p->span != NOWHERE &&
           p->owner == s->spans[p->span].addr;
}

size_t name_bytes(const struct name *name)
{
    return name->size + (name->size == 0);
}

size_t name_offset(const struct snapshot *s, const struct name *name)
{
    const struct piece *region = &s->pieces[0];
    const char *first = region->addr;
    if (!s->is_opaque || name->block < first ||
        name->block >= first + region->bytes)
        return SIZE_MAX;
    return region->offset + (size_t)(name->block - first);
}

// ---------------------------------------------------------------------------
// Marks and needs.

// mark_below returns the last mark that is not above offset.
static int mark_below(size_t offset)
{
    int low = -1, high = mark_count;
    while (high - low > 1) {
        int middle = (low + high) / 2;
        if (marks[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return low;
}

static void add_mark(size_t offset)
{
    int below = mark_below(offset);
    if (below >= 0 && marks[below].offset == offset)
        return;
    if (mark_count == MAX_MARKS)
        fail(0, "too many cells for a picture");
    memmove(&marks[below + 2], &marks[below + 1],
            (size_t)(mark_count - below - 1) * sizeof *marks);
    mark_count++;
    memset(&marks[below + 1], 0, sizeof *marks);
    marks[below + 1].offset = offset;
    marks[below + 1].needs = NOWHERE;
}

// add_need asks for room for something that covers those bytes.
static void add_need(size_t offset, size_t bytes, int width)
{
    if (need_count == MAX_NEEDS)
        fail(0, "too many cells for a picture");
    int end = mark_below(offset + bytes);
    needs[need_count] = (struct need){
        .from = mark_below(offset), .width = width, .next = marks[end].needs};
    marks[end].needs = need_count++;
}

// folded_room returns how wide a cell of a folded piece must be.
static int folded_room(const struct cell *c)
{
    char text[48];
    snprintf(text, sizeof text, "%zu M %zu", c->blocks, c->size); // M: &times;
    return text_width(text, TEXT_SIZE) + 2 * FOLD_MARK + 5 * PT;
}

// room returns how wide a cell with these lines must be.
static int room(const char *name, size_t size, const char *word)
{
    char text[24];
    snprintf(text, sizeof text, "%zu", size);
    int widest = text_width(text, TEXT_SIZE);
    if (text_width(word, TEXT_SIZE) > widest)
        widest = text_width(word, TEXT_SIZE);
    if (name != NULL && text_width(name, TEXT_SIZE) > widest)
        widest = text_width(name, TEXT_SIZE);
    return widest + 5 * PT;
}

// span_room returns how wide span n must be: for its text, for its offset
// beside the arrows of a list, and for the label of a list of its own.
static int span_room(const struct snapshot *s, int n)
{
    const struct span *span = &s->spans[n];
    char offset[24];
    snprintf(offset, sizeof offset, "+%zu", span->offset);
    int widest = text_width(span_text(span), SMALL_SIZE);
    int beside = text_width(offset, SMALL_SIZE) + SPAN_ARROWS;
    if (span->list != NULL && beside > widest)
        widest = beside;
    for (int i = span->first_piece;
         i < s->piece_count && s->pieces[i].span == n; i++) {
        const struct piece *p = &s->pieces[i];
        if (!p->first || !is_in_span(s, p))
            continue;
        int label = text_width(list_label(p->list), SMALL_SIZE) + IN_SPAN_LABEL;
        if (label > widest)
            widest = label;
    }
    return widest + 8 * PT;
}

// mark_snapshot adds marks (first) or needs for all that s shows.
static void mark_snapshot(const struct snapshot *s, bool first)
{
    for (int i = 0; i < s->piece_count; i++) {
        struct cell cells[MAX_CELLS];
        int count = cells_of(&s->pieces[i], cells);
        for (int j = 0; j < count; j++) {
            const struct cell *c = &cells[j];
            const struct look *look = &looks[c->style];
            if (first) {
                add_mark(c->offset);
                add_mark(c->offset + c->bytes);
            } else {
                add_need(c->offset, c->bytes,
                         (c->style == STYLE_LINKS && j == 0) ||
                                 c->style == STYLE_TAIL
                             ? WIDER_WIDTH
                         : look->symbol != NULL ? NARROW_WIDTH
                         : c->blocks > 1        ? folded_room(c)
                                         : room(c->name, c->size, look->word));
            }
        }
    }
    for (int i = 0; i < s->span_count && !first; i++)
        add_need(s->spans[i].offset, s->spans[i].bytes, span_room(s, i));
    for (int i = 0; i < s->name_count; i++) {
        const struct name *name = &s->names[i];
        size_t offset = name_offset(s, name);
        if (offset == SIZE_MAX)
            continue;
        if (first) {
            add_mark(offset);
            add_mark(offset + name_bytes(name));
        } else {
            add_need(offset, name->size, room(name->text, name->size, "freed"));
        }
    }
}

// fold_marks leaves out memory between two marks in a folded piece: that of
// more than one of its blocks.
static void fold_marks(const struct piece *p)
{
    if (p->blocks == 1)
        return;
    int low = mark_below(p->offset), high = mark_below(p->offset + p->bytes);
    for (int i = low + 1; i <= high; i++)
        if (marks[i].offset - marks[i - 1].offset > p->bytes / p->blocks)
            marks[i].fixed = FOLDED_WIDTH;
}

// break_marks leaves out memory between two marks if it is longer than all that
// is between marks closer to each other.
static void break_marks(void)
{
    size_t limit = SIZE_MAX;
    size_t broken_from = SIZE_MAX;

    for (;;) {
        size_t longest = 0, sum = 0;
        for (int i = 1; i < mark_count; i++) {
            size_t bytes = marks[i].offset - marks[i - 1].offset;
            if (bytes >= limit || marks[i].fixed != 0)
                continue;
            sum += bytes;
            if (bytes > longest)
                longest = bytes;
        }
        if (longest < LEAST_BROKEN)
            break;
        if (longest / 2 > sum - longest)
            broken_from = longest;
        limit = longest;
    }
    for (int i = 1; i < mark_count; i++)
        if (marks[i].fixed == 0 &&
            marks[i].offset - marks[i - 1].offset >= broken_from)
            marks[i].fixed = BROKEN_WIDTH;
}

// set_marks finds x for all marks at the present scale.
static void set_marks(void)
{
    for (int i = 1; i < mark_count; i++) {
        size_t bytes = marks[i].offset - marks[i - 1].offset;
        long width = marks[i].fixed != 0 ? marks[i].fixed
                                         : (long)bytes * scale / SCALE_UNIT;
        int x = marks[i - 1].x + (int)width;
        for (int n = marks[i].needs; n != NOWHERE; n = needs[n].next)
            if (x < marks[needs[n].from].x + needs[n].width)
                x = marks[needs[n].from].x + needs[n].width;
        marks[i].x = x;
    }
}

int x_of(size_t offset)
{
    int mark = mark_below(offset);
    return mark < 0 ? 0 : marks[mark].x;
}

int broken_at(size_t from, size_t to)
{
    for (int i = mark_below(to); i > mark_below(from); i--)
        if (marks[i].fixed != 0)
            return (marks[i - 1].x + 7 * marks[i].x) / 8;
    return -1;
}

// ---------------------------------------------------------------------------
// Rows.

// connect_place finds where the links of p touch its cells.
static void connect_place(const struct piece *p, struct place *place)
{
    struct cell cells[MAX_CELLS];
    int count = cells_of(p, cells);
    int end = x_of(cells[0].offset + cells[0].bytes) - place->origin;

    if (cells[0].style == STYLE_LINKS) {
        place->into_x = place->left + 5 * PT;
        place->link_x = end - 5 * PT;
    } else if (count > 1 && p->links != 0) {
        int links_end = x_of(cells[1].offset + cells[1].bytes) - place->origin;
        place->into_x = (place->left + end) / 2;
        place->link_x = (end + links_end) / 2;
    } else {
        place->into_x = place->left + 4 * PT;
        place->link_x = end - 4 * PT;
        if (place->link_x > place->left + 16 * PT)
            place->link_x = place->left + 16 * PT;
    }
}

// row_width returns where piece i must end, at the latest: after the last one
// comes the break.
static int row_width(const struct snapshot *s, int i)
{
    if (!s->on_break || i < s->piece_count - 1)
        return PICTURE_WIDTH;
    int text = text_width(break_text(s), SMALL_SIZE) + 6 * PT;
    return PICTURE_WIDTH - (text > UNMAPPED_WIDTH ? text : UNMAPPED_WIDTH);
}

// end_together returns where piece i ends, and if it begins a span, where that
// ends: it shall be in one row, if it fits.
static int end_together(const struct snapshot *s, int i)
{
    const struct piece *p = &s->pieces[i];
    if (p->span == NOWHERE || s->spans[p->span].first_piece != i)
        return x_of(p->offset + p->bytes);
    return x_of(p->offset + s->spans[p->span].bytes);
}

// place_span finds the place of span i, after those of its pieces. The arrows
// arrive and leave at its right end; at the left stands its offset.
static void place_span(const struct snapshot *s, int i)
{
    int first = s->spans[i].first_piece, last = first;
    while (last + 1 < s->piece_count && s->pieces[last + 1].span == i &&
           places[last + 1].row == places[first].row)
        last++;
    span_places[i] = places[first];
    span_places[i].right = places[last].right;
    span_places[i].into_x = places[last].right - SPAN_ARROWS + 3 * PT;
    span_places[i].link_x = places[last].right - 6 * PT;
}

int place_pieces(const struct snapshot *s, int *end)
{
    int row = 0, origin = 0;

    *end = 0;
    for (int i = 0; i < s->piece_count; i++) {
        const struct piece *p = &s->pieces[i];
        int left = x_of(p->offset), right = x_of(p->offset + p->bytes);
        int together = end_together(s, i);
        if (together - left > row_width(s, i))
            together = right;
        if (i == 0) {
            origin = left;
        } else if (together - origin > row_width(s, i)) {
            row++;
            origin = left;
        }
        places[i] = (struct place){.row = row,
                                   .left = left - origin,
                                   .right = right - origin,
                                   .origin = origin};
        connect_place(p, &places[i]);
        *end = places[i].right;
    }
    for (int i = 0; i < s->span_count; i++)
        place_span(s, i);
    return row + 1;
}

// rows_at returns the rows of the snapshot that needs most, at a scale; INT_MAX
// if some piece is longer than a row.
static int rows_at(long the_scale)
{
    int most = 0, end;
    scale = the_scale;
    set_marks();
    for (int i = 0; i < scene->count; i++) {
        const struct snapshot *s = &scene->snapshots[i];
        int rows = place_pieces(s, &end);
        for (int j = 0; j < s->piece_count; j++)
            if (places[j].right > row_width(s, j))
                rows = INT_MAX;
        if (rows > most)
            most = rows;
    }
    return most;
}

void layout(const struct scene *the_scene)
{
    scene = the_scene;
    for (int i = 0; i < scene->count; i++)
        mark_snapshot(&scene->snapshots[i], true);
    for (int i = 0; i < scene->count; i++)
        mark_snapshot(&scene->snapshots[i], false);
    for (int i = 0; i < scene->count; i++)
        for (int j = 0; j < scene->snapshots[i].piece_count; j++)
            fold_marks(&scene->snapshots[i].pieces[j]);
    break_marks();

    // As large as fits in as few rows as possible.
    long low = 0, high = (long)MAX_SCALE * SCALE_UNIT + 1;
    int rows = rows_at(low);
    while (high - low > 1) {
        long middle = (low + high) / 2;
        if (rows_at(middle) <= rows)
            low = middle;
        else
            high = middle;
    }
    if (scene->scale != 0)
        low = (long)scene->scale * SCALE_UNIT;
    if (rows_at(low) == INT_MAX)
        fail(0, "something is too long for a row of the picture");
}
