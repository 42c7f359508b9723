// draw_dot.c - snapshots as a graph for Graphviz: dot -Tsvg
//
// Every cell is a box and every link a line, all with fixed places. So blocks
// keep their order and their proportions, and arrows run where no text is.

#include "draw_layout.h"

#include <stdio.h>
#include <string.h>

enum {
    CELL_HEIGHT = 38 * PT,
    NAME_HEIGHT = 36 * PT, // of cells that only the program knows
    SPAN_HEIGHT = 15 * PT, // of the row of spans below the cells
    LANE_HEIGHT = 7 * PT, // between two levels of arrows
    CODE_SIZE = 9 * PT,
};

static const char span_fill[] = "#f0f1f4";
static const char break_colour[] = "#da3633";

// One colour for each list, by turns.
static const char *const list_colours[] = {"#6e7781", "#8250df", "#bf5b16",
                                           "#1a7f37"};
enum { LIST_COLOURS = sizeof list_colours / sizeof *list_colours };

static const struct scene *scene;
static int y; // the next thing is drawn here

// What was drawn so far, for the legend.
static bool is_shown[STYLE_COUNT];
static bool names_are_shown, broken_is_shown, folded_is_shown;
static bool spans_are_shown, back_links_are_shown;

// ---------------------------------------------------------------------------
// Cells.

// draw_fold marks a cell of a folded piece that ends at right: more blocks end
// there.
static void draw_fold(int right)
{
    folded_is_shown = true;
    for (int i = 1; i <= 2; i++) {
        struct line edge = {0};
        int x = right - i * FOLD_MARK / 2;
        line_to(&edge, x, y);
        line_to(&edge, x, y + CELL_HEIGHT);
        draw_line(&edge, "color=\"#57606a\", style=dashed, penwidth=0.75",
                  false);
    }
}

// draw_cell draws c in its row, as the layout has it.
static void draw_cell(const struct cell *c, const struct place *place)
{
    const struct look *look = &looks[c->style];
    size_t end = c->offset + c->bytes;
    int left = x_of(c->offset) - place->origin;

    is_shown[c->style] = true;
    if (c->style == STYLE_LINKS && c->bytes > sizeof(void *))
        back_links_are_shown = true;
    begin_node(left, y, x_of(end) - place->origin - left, CELL_HEIGHT);
    if (c->style == STYLE_FOREIGN)
        out(", style=striped, fillcolor=\"#dde1e6:#cdd2d9:#dde1e6:#cdd2d9:"
            "#dde1e6:#cdd2d9:#dde1e6\"");
    else
        out(", fillcolor=\"%s\"", look->fill);
    out(", label=\"");
    if (look->symbol != NULL)
        out("%s\"]\n", look->symbol);
    else if (c->style == STYLE_PAGES || c->style == STYLE_SCAVENGED ||
             c->style == STYLE_GAP)
        out("%s\"]\n", look->word);
    else if (c->blocks > 1)
        out("%zu &times; %zu\\n%s\"]\n", c->blocks, c->size, look->word);
    else
        out("%s%s%zu\\n%s\"]\n", c->name != NULL ? c->name : "",
            c->name != NULL ? "\\n" : "", c->size, look->word);

    if (c->blocks > 1) {
        draw_fold(x_of(end) - place->origin);
        return;
    }
    int middle = broken_at(c->offset, end);
    if (middle < 0)
        return;
    broken_is_shown = true;
    for (int i = -1; i <= 1; i += 2) {
        struct line slash = {0};
        int x = middle - place->origin + i * 2 * PT;
        line_to(&slash, x - 4 * PT, y + CELL_HEIGHT + 4 * PT);
        line_to(&slash, x + 4 * PT, y - 4 * PT);
        draw_line(&slash, "color=\"#6e7781\", penwidth=1.25", false);
    }
}

// has_arrow tells whether arrows of lists of spans run between two x of a row.
static bool has_arrow(const struct snapshot *s, int row, int left, int right)
{
    for (int i = 0; i < s->span_count; i++) {
        const struct place *place = &span_places[i];
        if (s->spans[i].list != NULL && place->row == row &&
            left < place->link_x && place->into_x < right)
            return true;
    }
    return false;
}

// draw_offset writes an offset at left, unless it would reach into the text
// before it, past end, or into an arrow. Returns where the next may start.
static int draw_offset(const struct snapshot *s, int row, size_t offset,
                       int left, int taken, int end)
{
    char text[24];
    snprintf(text, sizeof text, "+%zu", offset);
    int width = text_width(text, SMALL_SIZE) + 2 * PT;
    if (left < taken || left + width > end ||
        has_arrow(s, row, left, left + width))
        return taken;
    draw_text(left, y, SMALL_SIZE, NULL, outside, text);
    return left + width;
}

// draw_offsets writes where each piece of the row starts, up to end; in a span,
// no further than its end, that the next span has room.
static void draw_offsets(const struct snapshot *s, int row, int end)
{
    int taken = 0;
    for (int i = 0; i < s->piece_count; i++) {
        const struct piece *p = &s->pieces[i];
        int piece_end = end;
        if (places[i].row != row || p->body == STYLE_TAIL)
            continue;
        if (p->span != NOWHERE && span_places[p->span].row == row)
            piece_end = span_places[p->span].right;
        taken = draw_offset(s, row, p->offset, places[i].left, taken,
                            piece_end < end ? piece_end : end);
    }
    for (int i = 0; i < s->name_count; i++) {
        size_t offset = name_offset(s, &s->names[i]);
        if (offset != SIZE_MAX && places[0].row == row)
            taken = draw_offset(s, row, offset, x_of(offset) - places[0].origin,
                                taken, end);
    }
}

// draw_spans draws the extent of each span of the row, below the cells.
static void draw_spans(const struct snapshot *s, int row)
{
    for (int i = 0; i < s->piece_count; i++) {
        int span = s->pieces[i].span;
        if (places[i].row != row || span == NOWHERE)
            continue;
        int left = places[i].left;
        bool begins = s->spans[span].first_piece == i;
        while (i + 1 < s->piece_count && s->pieces[i + 1].span == span &&
               places[i + 1].row == row)
            i++;
        begin_node(left, y, places[i].right - left, SPAN_HEIGHT);
        out(", fillcolor=\"%s\", fontsize=%s, label=\"%s%s\"]\n", span_fill,
            hundredths(SMALL_SIZE), begins ? "" : "... ",
            span_text(&s->spans[span]));
        spans_are_shown = true;
    }
}

// draw_break draws the end of the heap. Nothing is mapped above it.
static void draw_break(const struct snapshot *s, int x, int height)
{
    struct line line = {0};

    out("  // the program break\n");
    begin_node(x, y, UNMAPPED_WIDTH, CELL_HEIGHT);
    out(", style=dashed, color=\"%s\", fontcolor=\"%s\","
        " label=\"not\\nmapped\"]\n",
        outside, outside);
    line_to(&line, x, y - 5 * PT);
    line_to(&line, x, y + height + 11 * PT);
    draw_line(&line, "color=\"#da3633\", penwidth=2", false);
    draw_text(x + 3 * PT, y + height, SMALL_SIZE, NULL, break_colour,
              break_text(s));
}

// draw_names draws the blocks of a stage that keeps no notes, as only the
// program knows them.
static void draw_names(const struct snapshot *s, int row)
{
    for (int i = 0; i < s->name_count; i++) {
        const struct name *name = &s->names[i];
        size_t offset = name_offset(s, name);
        if (offset == SIZE_MAX || places[0].row != row)
            continue;
        int left = x_of(offset) - places[0].origin;
        begin_node(left, y, x_of(offset + name_bytes(name)) - x_of(offset),
                   NAME_HEIGHT);
        out(", style=dashed, color=\"%s\", fontcolor=\"%s\","
            " label=\"%s\\n%zu%s\"]\n",
            outside, outside, name->text, name->size,
            name->live ? "" : "\\nfreed");
        names_are_shown = true;
    }
}

// ---------------------------------------------------------------------------
// Lists.

// What may be on the lists at one side of a strip: blocks above, spans below.
struct member {
    const char *list; // NULL: on none
    bool first; // the list starts here
    bool in_span; // the list is that of one span
    int next; // the member after it on the list, or NOWHERE
    size_t offset;
    const struct place *place;
    int label_left; // where the label of its list begins
};

struct side {
    struct member members[MAX_PIECES]; // by rising place
    int count;
    int way; // -1: the lists lie above the strip; 1: below
    int strip; // y where their arrows end
    int gap; // between there and the lists
};

// block_side returns the lists of the blocks of s, above y.
static struct side *block_side(const struct snapshot *s)
{
    static struct side side;
    side.count = s->piece_count;
    side.way = -1;
    for (int i = 0; i < s->piece_count; i++) {
        const struct piece *p = &s->pieces[i];
        side.members[i] = (struct member){
            .list = p->list,
            .first = p->first,
            .in_span = is_in_span(s, p),
            .next = p->next,
            .offset = p->offset,
            .place = &places[i],
        };
        if (is_in_span(s, p) && span_places[p->span].row == places[i].row)
            side.members[i].label_left =
                span_places[p->span].left + IN_SPAN_LABEL;
    }
    return &side;
}

// span_side returns the lists of the spans of s, below y and a gap.
static struct side *span_side(const struct snapshot *s, int gap)
{
    static struct side side;
    side.count = s->span_count;
    side.way = 1;
    side.gap = gap;
    for (int i = 0; i < s->span_count; i++)
        side.members[i] = (struct member){
            .list = s->spans[i].list,
            .first = s->spans[i].first,
            .next = s->spans[i].next,
            .offset = s->spans[i].offset,
            .place = &span_places[i],
        };
    return &side;
}

// An arrow from one member to another in a row, and its level: the distance
// from the strip.
struct arc {
    int from, to; // members
    int left, right;
    int level;
};

// find_arcs stores the links inside a row. Returns the highest level: short
// arcs lie nearer than long ones, and no two overlap in a level.
static int find_arcs(const struct side *side, int row,
                     struct arc arcs[MAX_PIECES], int *count)
{
    int highest = 0;
    *count = 0;
    for (int i = 0; i < side->count; i++) {
        int to = side->members[i].next;
        if (to == NOWHERE || side->members[i].place->row != row ||
            side->members[to].place->row != row)
            continue;
        int a = side->members[i].place->link_x;
        int b = side->members[to].place->into_x;
        struct arc arc = {i, to, a < b ? a : b, a < b ? b : a, 0};
        int at = (*count)++;
        for (; at > 0 &&
               arcs[at - 1].right - arcs[at - 1].left > arc.right - arc.left;
             at--)
            arcs[at] = arcs[at - 1];
        arcs[at] = arc;
    }
    for (int i = 0; i < *count; i++) {
        arcs[i].level = 1;
        for (int j = 0; j < i; j++)
            if (arcs[j].left <= arcs[i].right &&
                arcs[i].left <= arcs[j].right && arcs[j].level >= arcs[i].level)
                arcs[i].level = arcs[j].level + 1;
        if (arcs[i].level > highest)
            highest = arcs[i].level;
    }
    return highest;
}

// list_colour returns the attributes of the lines of a list.
static const char *list_colour(const struct side *side, const char *list)
{
    static char attributes[40];
    int n = side->way < 0 ? 0 : 2; // not the same on both sides
    for (int i = 0; i < side->count; i++) {
        if (!side->members[i].first)
            continue;
        if (strcmp(side->members[i].list, list) == 0)
            break;
        n++;
    }
    snprintf(attributes, sizeof attributes, "color=\"%s\"",
             list_colours[n % LIST_COLOURS]);
    return attributes;
}

// draw_list_start writes the name of the list that starts at m, and an arrow
// from there to it.
static void draw_list_start(const struct side *side, const struct member *m,
                            int top)
{
    struct line line = {0};
    const char *label = list_label(m->list);
    int x = m->place->into_x;
    int end = m->label_left + text_width(label, SMALL_SIZE) + 4 * PT;

    draw_text(m->label_left, top, SMALL_SIZE, NULL, outside, label);
    if (x > end || x < m->label_left) {
        line_to(&line, x > end ? end : m->label_left - 2 * PT, top + 7 * PT);
        line_to(&line, x, top + 7 * PT);
    } else {
        line_to(&line, x, side->way < 0 ? top + LINE_HEIGHT + PT : top + PT);
    }
    line_to(&line, x, side->strip);
    draw_line(&line, list_colour(side, m->list), true);
}

// crosses tells whether the link of m leads into another row.
static bool crosses(const struct side *side, const struct member *m)
{
    return m->next != NOWHERE &&
           m->place->row != side->members[m->next].place->row;
}

// draw_crossing draws what there is in a row of a link into another one: it
// leaves into the line of text at top, which says where to, or it arrives.
static void draw_crossing(const struct side *side, const struct member *m,
                          int row, int top)
{
    const struct member *to = &side->members[m->next];
    int x = m->place->link_x;
    char text[24];
    struct line line = {0};

    if (m->place->row == row) {
        line_to(&line, x, side->strip);
        line_to(&line, x, side->way < 0 ? top : top + LINE_HEIGHT);
        draw_line(&line, list_colour(side, m->list), false);
        snprintf(text, sizeof text, "to +%zu", to->offset);
        int width = text_width(text, SMALL_SIZE) + 5 * PT;
        int before = side->way < 0 ? x : m->place->into_x; // of its arrows
        draw_text(x + width > PICTURE_WIDTH ? before - width : x + 3 * PT,
                  top - 2 * PT, SMALL_SIZE, NULL, outside, text);
    } else if (to->place->row == row) {
        line_to(&line, to->place->into_x, side->strip + side->way * 12 * PT);
        line_to(&line, to->place->into_x, side->strip);
        draw_line(&line, list_colour(side, m->list), true);
    }
}

// draw_lists draws the lists at one side of a row, and moves y to what is drawn
// next: upper lists lie between y and the cells, lower ones begin at y. From
// the strip outwards there are the arrows inside the row, a line of text for
// links into other rows, one for the lists of single spans, and one for the
// start of each other list.
static void draw_lists(struct side *side, int row)
{
    static struct arc arcs[MAX_PIECES];
    int count, labels = 0;
    bool leaves = false, arrives = false, in_spans = false;
    int levels = find_arcs(side, row, arcs, &count);

    for (int i = 0; i < side->count; i++) {
        const struct member *m = &side->members[i];
        bool starts = m->first && m->place->row == row;
        labels += starts && !m->in_span;
        in_spans |= starts && m->in_span;
        leaves |= crosses(side, m) && m->place->row == row;
        arrives |= crosses(side, m) && side->members[m->next].place->row == row;
    }
    if (levels == 0 && labels == 0 && !leaves && !arrives && !in_spans)
        return;
    if (levels == 0)
        levels = 1;
    int near = side->gap + (levels + 1) * LANE_HEIGHT;
    int lines = labels + leaves + in_spans;
    int height = near + lines * LINE_HEIGHT;
    side->strip = side->way < 0 ? y + height : y;
    // Where line 0 lies; each other one is a step further out.
    int line_0 = side->way < 0 ? side->strip - near - LINE_HEIGHT : y + near;
    int step = side->way * LINE_HEIGHT;

    // The list that starts farthest to the right comes first, so that no arrow
    // crosses another or a name.
    for (int i = side->count - 1, n = lines; i >= 0; i--) {
        const struct member *m = &side->members[i];
        if (m->first && m->place->row == row)
            draw_list_start(side, m,
                            line_0 + (m->in_span ? leaves : --n) * step);
    }
    for (int i = 0; i < side->count; i++)
        if (crosses(side, &side->members[i]))
            draw_crossing(side, &side->members[i], row, line_0);
    for (int i = 0; i < count; i++) {
        const struct arc *a = &arcs[i];
        const struct member *from = &side->members[a->from];
        const struct place *to = side->members[a->to].place;
        struct line line = {0};
        int level = side->strip +
                    side->way * (side->gap + 2 * PT + a->level * LANE_HEIGHT);
        line_to(&line, from->place->link_x, side->strip);
        line_to(&line, from->place->link_x, level);
        line_to(&line, to->into_x, level);
        line_to(&line, to->into_x, side->strip);
        draw_line(&line, list_colour(side, from->list), true);
    }
    y += height;
}

// ---------------------------------------------------------------------------
// Pictures.

// draw_code writes the code of a snapshot, in lines as long as fit.
static void draw_code(const char *code)
{
    char text[MAX_TEXT];
    while (*code != '\0') {
        size_t length = line_length(code, 112);
        snprintf(text, sizeof text, "%.*s", (int)length, code);
        draw_text(0, y - PT, CODE_SIZE, code_font, outside, text);
        y += LINE_HEIGHT;
        code += length + strspn(code + length, " ");
    }
}

// draw_counters writes what distinguishes stages that did the same.
static void draw_counters(const struct snapshot *s)
{
    char text[MAX_TEXT];
    snprintf(text, sizeof text, "%llu system call%s, %llu bytes from the OS",
             (unsigned long long)s->system_calls,
             s->system_calls == 1 ? "" : "s",
             (unsigned long long)s->bytes_from_os);
    draw_text(0, y, TEXT_SIZE, NULL, outside, text);
    y += LINE_HEIGHT;
}

// draw_strip draws the cells of a row and what stands below them. end is where
// the heap ends, if it does so in this row.
static void draw_strip(const struct snapshot *s, int row, bool ends, int end)
{
    int height = CELL_HEIGHT + (s->is_opaque ? NAME_HEIGHT : 0);

    for (int i = 0; i < s->piece_count; i++) {
        struct cell cells[MAX_CELLS];
        int count = cells_of(&s->pieces[i], cells);
        for (int j = 0; j < count && places[i].row == row; j++)
            draw_cell(&cells[j], &places[i]);
    }
    if (ends)
        draw_break(s, end, height);
    y += CELL_HEIGHT;
    draw_names(s, row);
    y += height - CELL_HEIGHT;
    if (s->span_count > 0) {
        draw_spans(s, row);
        y += SPAN_HEIGHT;
    }
    if (!scene->compact)
        draw_offsets(s, row, ends ? end - 2 * PT : PICTURE_WIDTH);
    if (!scene->compact)
        draw_lists(span_side(s, LINE_HEIGHT), row);
    y += LINE_HEIGHT + 4 * PT;
}

static void draw_snapshot(const struct snapshot *s)
{
    int end;
    int rows = place_pieces(s, &end);

    out("\n  // ");
    out_string(s->caption);
    out("\n");
    if (scene->compact) {
        draw_counters(s);
    } else {
        draw_bold(0, y, CAPTION_SIZE, s->caption);
        y += LINE_HEIGHT + 4 * PT;
        draw_code(s->code);
    }
    y += 4 * PT;

    for (int row = 0; row < rows; row++) {
        draw_lists(block_side(s), row);
        draw_strip(s, row, row == rows - 1 && s->on_break, end);
    }
    y += 12 * PT;
}

// draw_key draws one entry of the legend: a small cell and what it means.
static void draw_key(int *x, const char *attributes, const char *letter,
                     const char *meaning)
{
    enum { SWATCH = 14 * PT };
    int width = SWATCH + 4 * PT + text_width(meaning, SMALL_SIZE) + 8 * PT;
    if (*x > 0 && *x + width > PICTURE_WIDTH) {
        *x = 0;
        y += LINE_HEIGHT + 4 * PT;
    }
    begin_node(*x, y + PT, SWATCH, 12 * PT);
    out(", %s, fontsize=8, label=\"%s\"]\n", attributes, letter);
    draw_text(*x + SWATCH + 4 * PT, y, SMALL_SIZE, NULL, outside, meaning);
    *x += width;
}

static void draw_legend(void)
{
    int x = 0;

    out("\n  // the legend\n");
    for (int i = 0; i < STYLE_COUNT; i++) {
        char fill[40];
        if (!is_shown[i])
            continue;
        snprintf(fill, sizeof fill, "fillcolor=\"%s\"", looks[i].fill);
        // The symbol of an end is too long, and the meaning begins with it.
        bool has_symbol = looks[i].symbol != NULL && i != STYLE_TAIL;
        draw_key(&x, fill, has_symbol ? looks[i].symbol : "",
                 i != STYLE_LINKS || back_links_are_shown
                     ? looks[i].meaning
                     : "link to the next free block");
    }
    if (spans_are_shown) {
        char fill[40];
        snprintf(fill, sizeof fill, "fillcolor=\"%s\"", span_fill);
        draw_key(&x, fill, "", "a span, below what is in it");
    }
    if (names_are_shown)
        draw_key(&x, "style=dashed, color=\"#6e7781\"", "",
                 "a block, as the program remembers it");
    draw_key(&x, "style=\"\", penwidth=0, fontcolor=\"#6e7781\"", "+n",
             "bytes above the start of the heap");
    if (broken_is_shown)
        draw_key(&x, "style=\"\", penwidth=0, fontcolor=\"#6e7781\"", "//",
                 "drawn shorter than it is");
    if (folded_is_shown)
        draw_key(&x, "style=\"\", penwidth=0, fontcolor=\"#6e7781\"", "&times;",
                 "equal blocks side by side, drawn as one");
    y += LINE_HEIGHT + 4 * PT;
}

void show_dot(const struct scene *the_scene)
{
    scene = the_scene;
    layout(scene);

    const char *file = strrchr(scene->file, '/');
    out("// Drawn by diagrams/draw from the memory of a running program, as\n"
        "// %s says. Not to be edited.\n",
        file == NULL ? scene->file : file + 1);
    begin_picture(scene->title[0] == '\0' ? "heap" : scene->title);

    if (scene->title[0] != '\0') {
        draw_bold(0, y, TITLE_SIZE, scene->title);
        y += LINE_HEIGHT + (scene->compact ? 5 * PT : 10 * PT);
    }
    for (int i = 0; i < scene->count; i++)
        draw_snapshot(&scene->snapshots[i]);
    if (!scene->compact)
        draw_legend();
    end_picture();
}
