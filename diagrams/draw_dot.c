// draw_dot.c - snapshots as a graph for Graphviz: dot -Tsvg
//
// Every cell is a node and every link an edge, all with fixed places
// (layout=nop2): Graphviz only draws. So blocks keep their order and their
// proportions, arrows run where there is no text, and the picture does not
// depend on how Graphviz would lay it out.
//
// Lengths are hundredths of a point. y runs downwards here, upwards in DOT.

#include "draw_layout.h"

#include <stdio.h>
#include <string.h>

enum {
    CELL_HEIGHT = 38 * PT,
    NAME_HEIGHT = 36 * PT, // of cells that only the program knows
    LANE_HEIGHT = 7 * PT, // between two levels of arrows
    LINE_HEIGHT = 12 * PT, // of text
    CODE_SIZE = 9 * PT,
    CAPTION_SIZE = 11 * PT,
    TITLE_SIZE = 13 * PT,
};

static const char outside[] = "#6e7781"; // text and lines on the page
static const char inside[] = "#1f2328"; // text on fills
static const char break_colour[] = "#da3633";
static const char code_font[] = "DejaVu Sans Mono,Menlo,monospace";

// One colour for each list, by turns.
static const char *const list_colours[] = {"#6e7781", "#8250df", "#bf5b16",
                                           "#1a7f37"};
enum { LIST_COLOURS = sizeof list_colours / sizeof *list_colours };

static const struct scene *scene;
static int y; // the next thing is drawn here
static int next_node; // number of the next node

// What was drawn so far, for the legend.
static bool is_shown[STYLE_COUNT];
static bool names_are_shown, broken_is_shown, folded_is_shown;

// ---------------------------------------------------------------------------
// Text.

// hundredths prints n as a number of points.
static const char *hundredths(int n)
{
    static char strings[8][16];
    static int next;
    char *s = strings[next++ % 8];
    snprintf(s, sizeof strings[0], "%s%d.%02d", n < 0 ? "-" : "",
             (n < 0 ? -n : n) / PT, (n < 0 ? -n : n) % PT);
    return s;
}

// inches prints n hundredths of a point as inches.
static const char *inches(int n)
{
    static char strings[4][16];
    static int next;
    char *s = strings[next++ % 4];
    long t = (long)n * 10000 / (72 * PT); // ten-thousandths of an inch
    snprintf(s, sizeof strings[0], "%ld.%04ld", t / 10000, t % 10000);
    return s;
}

// out_string prints s for a string of DOT.
static void out_string(const char *s)
{
    for (; *s != '\0'; s++)
        out(*s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
}

// out_html prints s for an HTML label.
static void out_html(const char *s)
{
    for (; *s != '\0'; s++)
        if (*s == '<' || *s == '>' || *s == '&' || *s == '"')
            out("&#%d;", *s);
        else
            out("%c", *s);
}

// begin_node starts a node of that size around the middle of a rectangle.
static void begin_node(int left, int top, int width, int height)
{
    out("  n%d [pos=\"%s,%s\", width=%s, height=%s", next_node++,
        hundredths(left + width / 2), hundredths(-(top + height / 2)),
        inches(width), inches(height));
}

// draw_text writes s on the page, left aligned.
static void draw_text(int left, int top, int size, const char *font,
                      const char *colour, const char *s)
{
    int width = text_width(s, size) + 3 * PT;
    if (font == code_font)
        width = (int)strlen(s) * (size * 61 / 100) + 3 * PT;
    begin_node(left, top, width, LINE_HEIGHT + 3 * PT);
    out(", shape=plaintext, style=\"\", fontsize=%s, fontcolor=\"%s\"",
        hundredths(size), colour);
    if (font != NULL)
        out(", fontname=\"%s\"", font);
    out(", label=\"");
    out_string(s);
    out("\\l\"]\n");
}

// draw_bold writes s on the page in bold, left aligned.
static void draw_bold(int left, int top, int size, const char *s)
{
    begin_node(left, top, PICTURE_WIDTH - left, LINE_HEIGHT + 3 * PT);
    out(", shape=plaintext, style=\"\", fontsize=%s, fontcolor=\"%s\",\n"
        "    label=<<TABLE BORDER=\"0\" CELLSPACING=\"0\" CELLPADDING=\"0\">"
        "<TR><TD FIXEDSIZE=\"TRUE\" WIDTH=\"%d\" HEIGHT=\"%d\""
        " ALIGN=\"LEFT\"><B>",
        hundredths(size), outside, (PICTURE_WIDTH - left) / PT,
        (LINE_HEIGHT + 3 * PT) / PT);
    out_html(s);
    out("</B></TD></TR></TABLE>>]\n");
}

// ---------------------------------------------------------------------------
// Lines.

// A line of straight pieces with round corners.
struct line {
    int x[8], y[8];
    int count;
};

static void line_to(struct line *l, int x, int to_y)
{
    l->x[l->count] = x;
    l->y[l->count++] = to_y;
}

static void out_point(int x, int point_y)
{
    out(" %s,%s", hundredths(x), hundredths(-point_y));
}

// toward returns the point at most far from a in the direction of b, where both
// lie on one horizontal or vertical; no more than half the way.
static int toward(int a, int b, int far)
{
    int half = (b - a) / 2;
    if (half > far)
        return a + far;
    if (half < -far)
        return a - far;
    return a + half;
}

// draw_line draws l; an arrow ends at its last point.
static void draw_line(const struct line *l, const char *attributes, bool arrow)
{
    enum { ROUND = 3 * PT, HEAD = 5 * PT };
    int last = l->count - 1;
    int end_x = l->x[last], end_y = l->y[last];

    out("  n0 -> n0 [pos=\"");
    if (arrow) {
        out("e,%s,%s", hundredths(end_x), hundredths(-end_y));
        end_y += l->y[last - 1] < end_y ? -HEAD : 0;
        end_x += l->y[last - 1] == l->y[last]
                     ? (l->x[last - 1] < end_x ? -HEAD : HEAD)
                     : 0;
    }
    // Bezier curves: a point, then two handles and a point for each part.
    int x = l->x[0], from_y = l->y[0];
    out_point(x, from_y);
    for (int i = 1; i <= last; i++) {
        bool is_end = i == last;
        int to_x = is_end ? end_x : l->x[i], to_y = is_end ? end_y : l->y[i];
        int cut_x = is_end ? to_x : toward(to_x, l->x[i - 1], ROUND);
        int cut_y = is_end ? to_y : toward(to_y, l->y[i - 1], ROUND);
        out_point(x, from_y);
        out_point(cut_x, cut_y);
        out_point(cut_x, cut_y);
        if (is_end)
            break;
        x = toward(to_x, l->x[i + 1], ROUND);
        from_y = toward(to_y, l->y[i + 1], ROUND);
        out_point(to_x, to_y);
        out_point(to_x, to_y);
        out_point(x, from_y);
    }
    out("\", %s%s]\n", attributes, arrow ? "" : ", arrowhead=none");
}

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
    begin_node(left, y, x_of(end) - place->origin - left, CELL_HEIGHT);
    if (c->style == STYLE_FOREIGN)
        out(", style=striped, fillcolor=\"#dde1e6:#cdd2d9:#dde1e6:#cdd2d9:"
            "#dde1e6:#cdd2d9:#dde1e6\"");
    else
        out(", fillcolor=\"%s\"", look->fill);
    out(", label=\"");
    if (look->symbol != NULL)
        out("%s\"]\n", look->symbol);
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

// draw_offset writes an offset at left, unless it would reach into the text
// before it or past end. Returns where the next may start.
static int draw_offset(size_t offset, int left, int taken, int end)
{
    char text[24];
    snprintf(text, sizeof text, "+%zu", offset);
    int width = text_width(text, SMALL_SIZE) + 2 * PT;
    if (left < taken || left + width > end)
        return taken;
    draw_text(left, y, SMALL_SIZE, NULL, outside, text);
    return left + width;
}

// draw_offsets writes where each piece of the row starts, up to end.
static void draw_offsets(const struct snapshot *s, int row, int end)
{
    int taken = 0;
    for (int i = 0; i < s->piece_count; i++)
        if (places[i].row == row)
            taken =
                draw_offset(s->pieces[i].offset, places[i].left, taken, end);
    for (int i = 0; i < s->name_count; i++) {
        size_t offset = name_offset(s, &s->names[i]);
        if (offset != SIZE_MAX && places[0].row == row)
            taken = draw_offset(offset, x_of(offset) - places[0].origin, taken,
                                end);
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

// An arrow from one piece to another in a row, and its level above the cells.
struct arc {
    int from, to; // pieces
    int left, right;
    int level;
};

// find_arcs stores the links inside a row. Returns the highest level: short
// arcs lie below long ones, and no two overlap in a level.
static int find_arcs(const struct snapshot *s, int row,
                     struct arc arcs[MAX_PIECES], int *count)
{
    int highest = 0;
    *count = 0;
    for (int i = 0; i < s->piece_count; i++) {
        int to = s->pieces[i].next;
        if (to == NOWHERE || places[i].row != row || places[to].row != row)
            continue;
        int a = places[i].link_x, b = places[to].into_x;
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
static const char *list_colour(const struct snapshot *s, const char *list)
{
    static char attributes[40];
    int n = 0;
    for (const char *name; (name = list_name(s, n)) != NULL; n++)
        if (strcmp(name, list) == 0)
            break;
    snprintf(attributes, sizeof attributes, "color=\"%s\"",
             list_colours[n % LIST_COLOURS]);
    return attributes;
}

// draw_list_start writes the name of the list that starts at piece i, and an
// arrow from there to it.
static void draw_list_start(const struct snapshot *s, int i, int top, int strip)
{
    char text[MAX_TEXT];
    struct line line = {0};
    int x = places[i].into_x;

    snprintf(text, sizeof text, "list of %s", s->pieces[i].list);
    int end = text_width(text, SMALL_SIZE) + 4 * PT;
    draw_text(0, top, SMALL_SIZE, NULL, outside, text);
    if (x > end) {
        line_to(&line, end, top + 7 * PT);
        line_to(&line, x, top + 7 * PT);
    } else {
        line_to(&line, x, top + LINE_HEIGHT + PT);
    }
    line_to(&line, x, strip);
    draw_line(&line, list_colour(s, s->pieces[i].list), true);
}

// crosses tells whether the link of piece i leads into another row.
static bool crosses(const struct snapshot *s, int i)
{
    int to = s->pieces[i].next;
    return to != NOWHERE && places[i].row != places[to].row;
}

// draw_crossing draws what there is in a row of a link into another one: it
// leaves upwards to y, with a text that says where to, or it arrives.
static void draw_crossing(const struct snapshot *s, int i, int row, int strip)
{
    int to = s->pieces[i].next;
    int x = places[i].link_x;
    char text[24];
    struct line line = {0};

    if (places[i].row == row) {
        line_to(&line, x, strip);
        line_to(&line, x, y);
        draw_line(&line, list_colour(s, s->pieces[i].list), false);
        snprintf(text, sizeof text, "to +%zu", s->pieces[to].offset);
        int width = text_width(text, SMALL_SIZE) + 5 * PT;
        draw_text(x + width > PICTURE_WIDTH ? x - width : x + 3 * PT,
                  y - 2 * PT, SMALL_SIZE, NULL, outside, text);
    } else if (places[to].row == row) {
        line_to(&line, places[to].into_x, strip - 12 * PT);
        line_to(&line, places[to].into_x, strip);
        draw_line(&line, list_colour(s, s->pieces[i].list), true);
    }
}

// draw_lists draws the lists over a row and moves y down to the cells: first a
// line for the start of each list, then one for links into other rows, then the
// arrows inside the row.
static void draw_lists(const struct snapshot *s, int row)
{
    static struct arc arcs[MAX_PIECES];
    int count, labels = 0;
    bool leaves = false, arrives = false;
    int levels = find_arcs(s, row, arcs, &count);

    for (int i = 0; i < s->piece_count; i++) {
        labels += s->pieces[i].first && places[i].row == row;
        leaves |= crosses(s, i) && places[i].row == row;
        arrives |= crosses(s, i) && places[s->pieces[i].next].row == row;
    }
    if (levels == 0 && labels == 0 && !leaves && !arrives)
        return;
    if (levels == 0)
        levels = 1;
    int strip =
        y + (labels + leaves) * LINE_HEIGHT + (levels + 1) * LANE_HEIGHT;

    // The list that starts farthest to the right comes first, so that no arrow
    // crosses another or a name. Pieces are in the order of their places.
    for (int i = s->piece_count - 1; i >= 0; i--)
        if (s->pieces[i].first && places[i].row == row) {
            draw_list_start(s, i, y, strip);
            y += LINE_HEIGHT;
        }
    for (int i = 0; i < s->piece_count; i++)
        if (crosses(s, i))
            draw_crossing(s, i, row, strip);
    for (int i = 0; i < count; i++) {
        const struct arc *a = &arcs[i];
        struct line line = {0};
        int top = strip - a->level * LANE_HEIGHT - 2 * PT;
        line_to(&line, places[a->from].link_x, strip);
        line_to(&line, places[a->from].link_x, top);
        line_to(&line, places[a->to].into_x, top);
        line_to(&line, places[a->to].into_x, strip);
        draw_line(&line, list_colour(s, s->pieces[a->from].list), true);
    }
    y = strip;
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
    if (!scene->compact)
        draw_offsets(s, row, ends ? end - 2 * PT : PICTURE_WIDTH);
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
        draw_lists(s, row);
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
        draw_key(&x, fill, looks[i].symbol != NULL ? looks[i].symbol : "",
                 looks[i].meaning);
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
        "// %s says. Not to be edited.\n"
        "digraph \"",
        file == NULL ? scene->file : file + 1);
    out_string(scene->title[0] == '\0' ? "heap" : scene->title);
    out("\" {\n"
        "  graph [layout=nop2, bgcolor=transparent, pad=0.08,\n"
        "    outputorder=nodesfirst]\n"
        "  node [shape=box, style=filled, fixedsize=true, margin=0,"
        " penwidth=0.75,\n"
        "    fontsize=9, fontname=\"DejaVu Sans,Verdana,sans-serif\",\n"
        "    color=\"#57606a\", fontcolor=\"%s\"]\n"
        "  edge [arrowsize=0.5, penwidth=1]\n"
        "  // n0 gives all pictures the same width; lines start and end there\n"
        "  // by name, their places are in pos.\n",
        inside);
    begin_node(0, 0, PICTURE_WIDTH, PT);
    out(", style=invis, label=\"\"]\n");

    if (scene->title[0] != '\0') {
        draw_bold(0, y, TITLE_SIZE, scene->title);
        y += LINE_HEIGHT + (scene->compact ? 5 * PT : 10 * PT);
    }
    for (int i = 0; i < scene->count; i++)
        draw_snapshot(&scene->snapshots[i]);
    if (!scene->compact)
        draw_legend();
    out("}\n");
}
