// draw_shapes.h - boxes, texts and lines for Graphviz: dot -Tsvg
//
// Everything has a fixed place (layout=nop2): Graphviz only draws. A box or a
// text is a node, a line is an edge. So a picture is what its program says, and
// does not depend on how Graphviz would lay it out.
//
// Lengths are hundredths of a point; y runs downwards.
//
// A stage may have pictures that only its own structures give. For such a one,
// diagrams/STAGE/NAME.c is a program, linked with this file and the libmm.a of
// the stage, and may include the stage's headers. It prints NAME.dot:
//
//     out("// Drawn by ... Not to be edited.\n");
//     begin_picture("its title");
//     draw_bold, draw_box, draw_text, draw_line, ... in any order
//     end_picture();
//
// Each run must print the same, so it shows no addresses; see pagemap.c.

#ifndef DRAW_SHAPES_H
#define DRAW_SHAPES_H

#include <stdbool.h>
#include <stddef.h>

enum {
    PT = 100,
    PICTURE_WIDTH = 640 * PT,
    LINE_HEIGHT = 12 * PT, // of text
    TITLE_SIZE = 13 * PT,
    CAPTION_SIZE = 11 * PT,
    TEXT_SIZE = 9 * PT, // in boxes
    SMALL_SIZE = 8 * PT, // beside them
};

extern const char outside[]; // colour of text and lines on the page
extern const char inside[]; // of text on fills
extern const char code_font[];

// write_all writes n bytes to a file descriptor, or ends the program.
void write_all(int fd, const char *bytes, size_t n);

// out appends to the output; write_output writes all of it to stdout. Neither
// allocates memory.
__attribute__((format(printf, 1, 2))) void out(const char *format, ...);
void write_output(void);

// begin_picture starts a picture that is PICTURE_WIDTH wide; end_picture ends
// and writes it.
void begin_picture(const char *title);
void end_picture(void);

// out_string prints s for a string of DOT.
void out_string(const char *s);

// hundredths prints n as a number of points.
const char *hundredths(int n);

// text_width returns about how wide s is; seldom too little.
int text_width(const char *s, int size);

// begin_node starts a node of that size around the middle of a rectangle. The
// caller prints its attributes, from a comma on, and the bracket.
void begin_node(int left, int top, int width, int height);

// draw_box draws a box with text in its middle; "\\n" in it starts a line.
// attributes are those of Graphviz.
void draw_box(int left, int top, int width, int height, const char *attributes,
              const char *text);

// draw_text writes s on the page, left aligned. font is NULL or code_font.
void draw_text(int left, int top, int size, const char *font,
               const char *colour, const char *s);

// draw_bold writes s on the page in bold, left aligned.
void draw_bold(int left, int top, int size, const char *s);

// A line of straight pieces with round corners.
struct line {
    int x[8], y[8];
    int count;
};

// line_to adds a point to l.
void line_to(struct line *l, int x, int to_y);

// draw_line draws l; an arrow ends at its last point.
void draw_line(const struct line *l, const char *attributes, bool arrow);

#endif
