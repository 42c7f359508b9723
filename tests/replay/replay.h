// replay.h - performs recorded operations on the page heap of a stage, and
// compares what it answers with what was recorded.
//
//   main.c     the program: make replay-13
//   replay.c   goes through a file line by line, counts, and prints
//   family.h   a family of files, as a table of its kinds of lines
//   bits.c     palloc_bits
//   sums.c     palloc_sum, addr_ranges, scav_index
//   world.c    page_alloc, page_cache, scavenge
//   stage.h    the functions of the stage
//
// What is not as tests/vectors/FORMAT.md says ends the program with exit status
// 2. What the stage answers wrongly is a mismatch: it is printed, and counted.

#ifndef REPLAY_H
#define REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// replay_trouble tells what is wrong with a line, or with the file if number is
// 0, and exits with status 2.
_Noreturn void replay_trouble(const char *name, size_t number, const char *what,
                              const char *line);

#define VECTORS_REQUIRE(v, condition, what)                                    \
    ((condition) ? (void)0                                                     \
                 : replay_trouble((v)->name, (v)->number, what, (v)->line))
#include "vectors/reader.h"

// What became of a line. Each line of a file is counted in one of these.
enum outcome {
    CHECKED, // performed; everything that was recorded was compared
    IN_PART, // performed; something was recorded that the stage does not have
    LATER, // not performed: a later stage does that
    AFTER_LATER, // not performed: it follows one that a later stage does
    NEVER, // not performed: no stage does that
    UNDONE, // not performed: it follows a mismatch
    NUM_OUTCOMES
};

// What became of the lines of a file, or of several.
struct replay_sum {
    size_t operations; // performed
    size_t mismatches; // lines that differ
    size_t lines[NUM_OUTCOMES]; // all of them
};

enum { KINDS = 32, EVERY_FILE = KINDS - 1 };
struct replay {
    struct vectors v;
    const struct family *family;
    char before[VECTORS_LINE]; // the line before it
    bool differs; // from what was recorded: the line, or the one before it
    enum outcome skipping; // the rest of the sequence; CHECKED: nothing is
    size_t sequence_operations; // of this sequence so far, performed or not
    struct replay_sum sum;
    // Lines, by the row in the family's table; the last is for those that every
    // file has: the comment and eof.
    size_t counts[KINDS][NUM_OUTCOMES];
};

// replay_file replays a file, and prints what became of its lines.
void replay_file(struct replay *r, const char *path);

// replay_print prints a sum.
void replay_print(const struct replay_sum *sum);

// replay_watch_signals has signals that end the program tell at which line.
void replay_watch_signals(void);

// The number of the stage that the program is linked with.
extern const unsigned replay_stage;

#endif
