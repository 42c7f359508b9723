// draw_text.c - snapshots as text, 80 columns wide.

#include "draw.h"

#include <stdio.h>
#include <string.h>

enum { COLUMNS = 70, MAX_LABEL = 64, LONGEST = 24 };

static const char times[] = "\u00d7"; // two bytes, but one column

// label returns what stands in a cell: its name, its size, its state.
static const char *label(const struct cell *c)
{
    static char text[MAX_LABEL];
    text[0] = '\0';
    if (looks[c->style].symbol != NULL)
        return looks[c->style].word;
    if (c->name != NULL)
        append(text, sizeof text, "%s ", c->name);
    if (c->blocks > 1)
        append(text, sizeof text, "%zu %s ", c->blocks, times);
    append(text, sizeof text, "%zu %s", c->size, looks[c->style].word);
    return text;
}

// hidden returns how many bytes of the label take no column.
static int hidden(const struct cell *c)
{
    return c->blocks > 1 ? (int)strlen(times) - 1 : 0;
}

// columns returns how wide a cell is: 8 bytes a column, but at most LONGEST,
// and at least what the label needs.
static int columns(const struct cell *c)
{
    int least = (int)strlen(label(c)) - hidden(c);
    if (looks[c->style].symbol != NULL)
        return least;
    int width = c->bytes > 8 * LONGEST ? LONGEST : (int)(c->bytes / 8);
    return width > least ? width : least;
}

// begun_span returns the span that begins with piece i; NULL: none does.
static const struct span *begun_span(const struct snapshot *s, int i)
{
    int span = s->pieces[i].span;
    return span != NOWHERE && s->spans[span].first_piece == i ? &s->spans[span]
                                                              : NULL;
}

// draw_strip draws all cells in address order. Spans have lines of their own.
static void draw_strip(const struct snapshot *s)
{
    int column = 0;

    for (int i = 0; i < s->piece_count; i++) {
        struct cell cells[MAX_CELLS];
        int count = cells_of(&s->pieces[i], cells);
        int width = 0;
        if (i > 0 && s->pieces[i].span != s->pieces[i - 1].span) {
            out("|\n");
            column = 0;
        }
        if (begun_span(s, i) != NULL)
            out("    span: %s\n", span_text(begun_span(s, i)));
        for (int j = 0; j < count; j++)
            if (cells[j].style != STYLE_LINKS)
                width += columns(&cells[j]) + 1;
        if (column > 0 && column + width > COLUMNS) {
            out("|\n");
            column = 0;
        }
        if (column == 0)
            out("    ");
        for (int j = 0; j < count; j++)
            if (cells[j].style != STYLE_LINKS)
                out("|%-*s", columns(&cells[j]) + hidden(&cells[j]),
                    label(&cells[j]));
        column += width;
    }
    out(s->on_break ? "%s| break\n" : "%s|\n", column == 0 ? "    " : "");
}

// describe_list prints where something is on a list. next is NULL at its end.
static void describe_list(const char *list, bool first, const size_t *next)
{
    if (list == NULL)
        return;
    if (first)
        out(", first of %s", list);
    if (next == NULL)
        out(", last");
    else
        out(", next +%zu", *next);
}

// list_piece prints where piece p is on a list.
static void list_piece(const struct snapshot *s, const struct piece *p)
{
    describe_list(p->list, p->first,
                  p->next == NOWHERE ? NULL : &s->pieces[p->next].offset);
}

// list_span prints a line for a span.
static void list_span(const struct snapshot *s, const struct span *span)
{
    out("  %+10td  %10zu  span: %s%s%s", (ptrdiff_t)span->offset, span->bytes,
        span_text(span), span->is_free ? ", free" : "",
        span->is_scavenged ? ", scavenged" : "");
    describe_list(span->list, span->first,
                  span->next == NOWHERE ? NULL : &s->spans[span->next].offset);
    out("\n");
}

// indent returns what shifts the line of a piece that lies in a span.
static const char *indent(const struct piece *p)
{
    return p->span != NOWHERE ? "  " : "";
}

// list_fold prints a folded piece, whose last cell is c: one line for all.
static void list_fold(const struct snapshot *s, const struct piece *p,
                      const struct cell *c)
{
    out("  %+10td  %10zu  %s%zu %s %zu %s%s", (ptrdiff_t)p->offset, p->bytes,
        indent(p), c->blocks, times, c->size, looks[c->style].word,
        p->header != 0 ? " and headers" : "");
    list_piece(s, p);
    out("\n");
}

static void list_cells(const struct snapshot *s)
{
    out("\n      offset       bytes\n");
    for (int i = 0; i < s->piece_count; i++) {
        const struct piece *p = &s->pieces[i];
        struct cell cells[MAX_CELLS];
        int count = cells_of(p, cells);
        if (begun_span(s, i) != NULL)
            list_span(s, begun_span(s, i));
        if (p->body == STYLE_PAGES || p->body == STYLE_SCAVENGED)
            continue; // the line of the span says it all
        if (p->blocks > 1) {
            list_fold(s, p, &cells[count - 1]);
            continue;
        }
        for (int j = 0; j < count; j++) {
            const struct cell *c = &cells[j];
            if (c->style == STYLE_LINKS)
                continue; // part of the free block
            out("  %+10td  %10zu  %s%s",
                (ptrdiff_t)(c->offset - (c->size - c->bytes)), c->size,
                indent(p), looks[c->style].meaning);
            if (c->name != NULL)
                out(": %s, asked for %zu", c->name, p->asked);
            if (c->offset - (c->size - c->bytes) == p->offset)
                list_piece(s, p);
            out("\n");
        }
    }
    if (s->on_break)
        out("  %+10td              the program break\n",
            (ptrdiff_t)s->break_at);
}

// list_names prints what only the program knows.
static void list_names(const struct snapshot *s)
{
    out("\n  the stage keeps no notes on blocks; the program knows:\n");
    for (int i = 0; i < s->name_count; i++) {
        const struct name *n = &s->names[i];
        ptrdiff_t offset = n->block - (const char *)s->pieces[0].addr;
        out("  %+10td  %10zu  %s%s\n", offset, n->size, n->text,
            n->live ? "" : ", freed: not used again");
    }
}

void show_text(const struct scene *scene)
{
    if (scene->title[0] != '\0')
        out("%s\n\n", scene->title);
    for (int i = 0; i < scene->count; i++) {
        const struct snapshot *s = &scene->snapshots[i];
        out("%s%s\n", i == 0 ? "" : "\n", s->caption);
        for (const char *code = s->code; *code != '\0';) {
            size_t length = line_length(code, COLUMNS);
            out("    %.*s\n", (int)length, code);
            code += length + strspn(code + length, " ");
        }
        out("\n");
        draw_strip(s);
        list_cells(s);
        if (s->is_opaque)
            list_names(s);
    }
    write_output();
}
