// vectors.h - reads a file of tests/vectors in a test; how, is in reader.h.
//
//     struct vectors v;
//     vectors_open(&v, "tests/vectors/mspan.txt");
//     while (vectors_next(&v))
//         if (vectors_word(&v, "Z"))
//             CHECK_LINE(&v, mspan_count_alloc(&s), vectors_number(&v));
//
// What is not as the rules say makes the test fail.

#ifndef UNIT_VECTORS_H
#define UNIT_VECTORS_H

#include "test.h"

// CHECK_VECTORS is CHECK_THAT, and tells the line.
#define CHECK_VECTORS(v, condition, what)                                      \
    CHECK_THAT(condition, "%s:%zu: %s: %s", (v)->name, (v)->number, what,      \
               (v)->line)

#define VECTORS_REQUIRE CHECK_VECTORS
#include "vectors/reader.h"

// CHECK_LINE compares what the stage says with what was recorded.
#define CHECK_LINE(v, actual, recorded)                                        \
    do {                                                                       \
        uint64_t actual_ = (actual);                                           \
        uint64_t recorded_ = (recorded);                                       \
        CHECK_THAT(actual_ == recorded_,                                       \
                   "%s:%zu: %s: expected %#llx, got %#llx: %s", (v)->name,     \
                   (v)->number, #actual, (unsigned long long)recorded_,        \
                   (unsigned long long)actual_, (v)->line);                    \
    } while (0)

static inline void vectors_open(struct vectors *v, const char *name)
{
    FILE *file = fopen(name, "r");
    CHECK_THAT(file != NULL, "cannot open %s", name);
    vectors_start(v, name, file, fclose);
}

#endif
