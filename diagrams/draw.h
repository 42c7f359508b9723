// draw.h - what a scene shows: snapshots of the heap, in pieces and cells.
//
//     mm_item  what the stage tells (common/mm.h)
//     piece    one block, or memory between blocks, with what the scene knows;
//              or a stretch of equal free blocks, folded into one
//     span     one span: some pieces in a row
//     cell     a part of a piece with one meaning: header, links, used, ...
//
// draw.c makes snapshots, draw_dot.c and draw_text.c show them. A new kind of
// item needs: a style, its row in looks, and its cells in cells_of.

#ifndef DRAW_H
#define DRAW_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "draw_shapes.h"

enum style {
    STYLE_HEADER, // the allocator's own, in front of a block
    STYLE_LINKS, // the allocator's own, inside a free block
    STYLE_USED, // handed out, and asked for
    STYLE_WASTED, // handed out, but nobody asked for it
    STYLE_FREE, // a free block
    STYLE_PAGES, // a free span
    STYLE_SCAVENGED, // the same, and it takes no memory
    STYLE_TAIL, // the end of a span, too short for a block
    STYLE_REGION, // memory that the stage keeps no notes on
    STYLE_FENCE, // a header without a block
    STYLE_FOREIGN, // inside the heap, but not the allocator's
    STYLE_GAP, // between two regions, neither on the break
    STYLE_COUNT
};

// How a style looks.
struct look {
    const char *word; // in the cell
    const char *symbol; // in a cell too narrow for words; NULL: words fit
    const char *fill; // colour of the cell
    const char *meaning; // in the legend
};
extern const struct look looks[STYLE_COUNT];

struct cell {
    enum style style;
    size_t offset; // of its first byte from the start of the heap
    size_t bytes;
    size_t size; // to be shown: of a free block with its links
    size_t blocks; // so many of that size; 1, except in a folded piece
    const char *name; // of the block in the scene; NULL: none
};

enum { NOWHERE = -1, MAX_CELLS = 4 };

struct piece {
    enum style body;
    size_t offset; // of its first byte from the start of the heap
    size_t bytes;
    size_t blocks; // folded into it, all equal; 1: it is not folded
    size_t header; // of these, how many are its header, at the start
    size_t links; // after the header, how many bytes hold links; 0: none do
    size_t asked; // what the program asked for; 0: not known
    const char *name;
    const char *list; // it is on this list; NULL: on none
    const void *owner; // whose list it is, where many have that name
    bool first; // the list starts here
    int next; // the piece after it on the list, or NOWHERE
    int span; // the span that it lies in, or NOWHERE
    const void *addr; // where it is; never shown
    const void *next_addr;
};

// A span: its pieces are those from the index first_piece on that name it.
struct span {
    size_t offset; // of its first byte from the start of the heap
    size_t bytes;
    size_t object; // bytes of each of its blocks; 0: it has one, or none
    bool is_free;
    bool is_scavenged; // free, and takes no memory
    int first_piece;
    const char *list; // as in a piece, but next is a span
    bool first;
    int next;
    const void *addr;
    const void *next_addr;
};

enum { PAGE_BYTES = 8192 }; // spans are shown as so many of these

// A block as the scene knows it.
struct name {
    char text[16];
    char *block;
    size_t size; // as asked for
    bool live;
    unsigned line; // where it was made, or freed
};

enum { LEAST_FOLDED = 3 }; // so many blocks, at least, become one piece

enum {
    MAX_PIECES = 200,
    MAX_SPANS = MAX_PIECES,
    MAX_NAMES = 64,
    MAX_SNAPSHOTS = 16,
    MAX_TEXT = 1000
};

struct snapshot {
    char caption[MAX_TEXT];
    char code[MAX_TEXT]; // what the program did since the snapshot before
    struct piece pieces[MAX_PIECES];
    int piece_count;
    struct span spans[MAX_SPANS]; // by rising address; a stage may have none
    int span_count;
    bool on_break; // the heap ends at the program break
    size_t break_at; // offset of the break
    bool is_opaque; // the stage keeps no notes: only names tell the blocks
    struct name names[MAX_NAMES];
    int name_count;
    uint64_t system_calls; // so far
    uint64_t bytes_from_os;
};

struct scene {
    const char *file; // for messages
    char title[MAX_TEXT];
    bool compact; // only strips and counters: no code, no legend
    unsigned scale; // points per 100 bytes; 0: as large as fits
    struct snapshot snapshots[MAX_SNAPSHOTS];
    int count;
};

// cells_of stores the cells of p by rising offset and returns how many.
int cells_of(const struct piece *p, struct cell cells[MAX_CELLS]);

// span_text returns what stands at a span: "2 pages, objects of 2304".
const char *span_text(const struct span *span);

// line_length returns how many letters of the code belong in one line: at most
// that many, and whole statements.
size_t line_length(const char *statements, size_t most);

// fail ends the program with a message about the scene's line (0: none).
_Noreturn __attribute__((format(printf, 2, 3))) void fail(unsigned line,
                                                          const char *format,
                                                          ...);

// append appends to the string at end of an array of that size, or fails.
__attribute__((format(printf, 3, 4))) void append(char *string, size_t size,
                                                  const char *format, ...);

// The output formats.
void show_dot(const struct scene *scene);
void show_text(const struct scene *scene);

#endif
