// draw_shapes.c - boxes, texts and lines for Graphviz: dot -Tsvg
//
// y runs downwards here, upwards in DOT.

#include "draw_shapes.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char outside[] = "#6e7781";
const char inside[] = "#1f2328";
const char code_font[] = "DejaVu Sans Mono,Menlo,monospace";

static int next_node; // number of the next node

// ---------------------------------------------------------------------------
// Output.

static char output[1 << 20];
static size_t output_length;

void write_all(int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t written = write(fd, bytes, n);
        if (written <= 0)
            _exit(1);
        bytes += written;
        n -= (size_t)written;
    }
}

void out(const char *format, ...)
{
    size_t room = sizeof output - output_length;
    va_list arguments;

    va_start(arguments, format);
    int n = vsnprintf(output + output_length, room, format, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= room) {
        static const char message[] = "the picture is too large\n";
        write_all(STDERR_FILENO, message, sizeof message - 1);
        _exit(1);
    }
    output_length += (size_t)n;
}

void write_output(void)
{
    write_all(STDOUT_FILENO, output, output_length);
}

void begin_picture(const char *title)
{
    out("digraph \"");
    out_string(title);
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
}

void end_picture(void)
{
    out("}\n");
    write_output();
}

// ---------------------------------------------------------------------------
// Text and boxes.

int text_width(const char *s, int size)
{
    // Of DejaVu Sans, in thousandths of the size, rounded up.
    static const short small[26] = {620, 640, 550, 640, 620, 360, 640, 640, 280,
                                    280, 580, 280, 980, 640, 620, 640, 640, 420,
                                    530, 400, 640, 600, 820, 600, 600, 530};
    int width = 0;
    for (; *s != '\0'; s++) {
        if (*s >= 'a' && *s <= 'z')
            width += small[*s - 'a'];
        else if (strchr(" .,:;'|!()-/I", *s) != NULL)
            width += 400;
        else
            width += *s >= '0' && *s <= '9' ? 640 : 840;
    }
    return width * (size / 10) / 100;
}

const char *hundredths(int n)
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

void out_string(const char *s)
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

void begin_node(int left, int top, int width, int height)
{
    out("  n%d [pos=\"%s,%s\", width=%s, height=%s", next_node++,
        hundredths(left + width / 2), hundredths(-(top + height / 2)),
        inches(width), inches(height));
}

void draw_box(int left, int top, int width, int height, const char *attributes,
              const char *text)
{
    begin_node(left, top, width, height);
    out(", %s, label=\"%s\"]\n", attributes, text);
}

void draw_text(int left, int top, int size, const char *font,
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

void draw_bold(int left, int top, int size, const char *s)
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

void line_to(struct line *l, int x, int to_y)
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
void draw_line(const struct line *l, const char *attributes, bool arrow)
{
    enum { ROUND = 3 * PT, HEAD = 5 * PT };
    int last = l->count - 1;
    int end_x = l->x[last], end_y = l->y[last];

    out("  n0 -> n0 [pos=\"");
    if (arrow) {
        out("e,%s,%s", hundredths(end_x), hundredths(-end_y));
        end_y += l->x[last - 1] == l->x[last]
                     ? (l->y[last - 1] < end_y ? -HEAD : HEAD)
                     : 0;
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
