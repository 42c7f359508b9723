// draw_layout.h - where everything in the strips of a picture stands.
//
// Lengths are hundredths of a point; y runs downwards.

#ifndef DRAW_LAYOUT_H
#define DRAW_LAYOUT_H

#include "draw.h"

enum {
    UNMAPPED_WIDTH = 54 * PT, // the stub above the break
    IN_SPAN_LABEL = 9 * PT, // from its left end to the label of its list
    FOLD_MARK = 7 * PT, // at the right of a cell of a folded piece
};

// Where a piece of a snapshot stands.
struct place {
    int row;
    int left, right;
    int origin; // x in the row is x_of(offset) - origin
    int link_x; // where its link to the next piece leaves
    int into_x; // where links to it arrive
};
extern struct place places[MAX_PIECES];
extern struct place span_places[MAX_SPANS]; // as far as the first row goes

// layout finds the scale for a scene. Afterwards the functions below work.
void layout(const struct scene *scene);

// place_pieces stores the places of the pieces and the spans of a snapshot.
// Returns how many rows there are. *end is where the last one ends.
int place_pieces(const struct snapshot *s, int *end);

// x_of returns where the byte at that offset is: the same for all snapshots.
int x_of(size_t offset);

// broken_at returns where, between two offsets, memory is left out that is too
// long to be drawn in proportion; if in several places, the last. -1: nowhere.
int broken_at(size_t from, size_t to);

// break_text returns what stands at the program break of a snapshot.
const char *break_text(const struct snapshot *s);

// list_label returns what stands at the start of a list.
const char *list_label(const char *list);

// is_in_span tells whether the list of piece p belongs to its span.
bool is_in_span(const struct snapshot *s, const struct piece *p);

// name_offset returns the offset of a block that only the scene knows, in the
// first region of a snapshot; SIZE_MAX: it is not there.
size_t name_offset(const struct snapshot *s, const struct name *name);

// name_bytes returns how many bytes to draw for it.
size_t name_bytes(const struct name *name);

#endif
