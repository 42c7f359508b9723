// family.h - a family of files: a table of its kinds of lines, with the
// function that performs each, and the stages that can.
//
// So the table tells what becomes of a line at a stage, and no function has to
// ask. Functions for what a stage does not have are left out by STAGE_NUMBER.

#ifndef REPLAY_FAMILY_H
#define REPLAY_FAMILY_H

#include "replay.h"
#include "stage.h"

// A kind of line. A stage before `from` cannot perform it; a stage before
// `whole` can compare only a part of it.
enum {
    NO_STAGE = 99,
    OPERATION = 1, // the stage does something, or is asked something
    STARTS = 2, // begins a sequence: what was before has no influence
    SPOILS = 4, // if it is not performed, neither is the rest of the sequence
    ALWAYS = 8, // performed even if the rest of the sequence is not
};
struct line_kind {
    const char *word; // that the line begins with; NULL: end of the table
    unsigned from, whole;
    unsigned flags;
    void (*perform)(struct replay *r); // NULL if this is a stage before `from`
};

struct family {
    const char *name; // palloc_bits
    const struct line_kind *lines; // NULL: a file that others read
    // Called before a line, if the lines since the start of the sequence were
    // performed; NULL: nothing to do. May find mismatches in the line before.
    void (*before_line)(struct replay *r);
    void (*end_file)(struct replay *r); // called at eof; NULL: nothing to do
    bool lasting; // after a mismatch the rest of a sequence means nothing
    const char *reader; // of a file that others read
};
extern const struct family palloc_bits_family, palloc_sum_family,
    addr_ranges_family, scav_index_family, world_families[3];

// A function that a stage before 11, 12, 13 does not have, in a table.
#if STAGE_NUMBER >= 11
#define FROM_11(function) function
#else
#define FROM_11(function) NULL
#endif
#if STAGE_NUMBER >= 12
#define FROM_12(function) function
#else
#define FROM_12(function) NULL
#endif
#if STAGE_NUMBER >= 13
#define FROM_13(function) function
#else
#define FROM_13(function) NULL
#endif

// ---------------------------------------------------------------------------
// What these functions call. They read the rest of the line, from r->v on.

// Each compares an answer with what was recorded; `what` names it. Returns
// whether they are the same.
bool expect_number(struct replay *r, const char *what, uint64_t expected,
                   uint64_t actual);
bool expect_word(struct replay *r, const char *what, uint64_t expected,
                 uint64_t actual);

// expect_page compares the address of a page with its recorded number;
// SIZE_MAX: the address should be `none`.
bool expect_page(struct replay *r, const char *what, size_t expected,
                 uintptr_t actual, uintptr_t none);

// expect_same_search_addr does so after the line before, which has changed
// nothing there.
void expect_same_search_addr(struct replay *r, uintptr_t expected,
                             uintptr_t actual, uintptr_t none);

// expect_bits compares two bitmaps of a chunk.
bool expect_bits(struct replay *r, const char *what,
                 const struct page_bits *expected,
                 const struct page_bits *actual);

// read_bits reads 8 words; read_short_bits reads 0, 1, or 8 words in one.
struct page_bits read_bits(struct replay *r);
struct page_bits read_short_bits(struct replay *r);

// read_below reads a number below a limit.
size_t read_below(struct replay *r, size_t limit);

// read_pages reads the first page and the number of some pages of a chunk.
struct chunk_pages {
    size_t i, n;
};
struct chunk_pages read_pages(struct replay *r);

#endif
