// vectors.h - reads a file of tests/vectors; FORMAT.md there has its rules.
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

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "test.h"

struct vectors {
    FILE *file;
    const char *name;
    size_t number; // of the line, from 1
    char line[8192];
    const char *at; // what of the line was not read so far
};

// CHECK_VECTORS is CHECK_THAT, and tells the line.
#define CHECK_VECTORS(v, condition, what)                                      \
    CHECK_THAT(condition, "%s:%zu: %s: %s", (v)->name, (v)->number, what,      \
               (v)->line)

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

// vectors_read reads a line. Returns false if there is none.
static inline bool vectors_read(struct vectors *v)
{
    if (fgets(v->line, sizeof v->line, v->file) == NULL)
        return false;
    v->number++;
    size_t length = strcspn(v->line, "\n");
    CHECK_VECTORS(v, v->line[length] == '\n', "a line is too long, or ends");
    v->line[length] = '\0';
    v->at = v->line;
    return true;
}

static inline void vectors_open(struct vectors *v, const char *name)
{
    *v = (struct vectors){.file = fopen(name, "r"), .name = name};
    CHECK_THAT(v->file != NULL, "cannot open %s", name);
    CHECK_THAT(vectors_read(v) && v->line[0] == '#',
               "%s does not begin with a comment", name);
}

// vectors_next goes to the next line. Returns false if it is the end.
static inline bool vectors_next(struct vectors *v)
{
    CHECK_THAT(vectors_read(v), "%s ends without \"eof\"", v->name);
    if (strcmp(v->line, "eof") != 0)
        return true;
    CHECK_VECTORS(v, !vectors_read(v), "a line after the end");
    fclose(v->file);
    return false;
}

// vectors_word tells whether the line begins with that word, and reads it.
static inline bool vectors_word(struct vectors *v, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(v->line, word, length) != 0 || v->line[length] != ' ')
        return false;
    v->at = v->line + length + 1;
    return true;
}

// vectors_space reads the space after a number, if it is not the last.
static inline void vectors_space(struct vectors *v)
{
    if (*v->at == '\0')
        return;
    CHECK_VECTORS(v, v->at[0] == ' ' && v->at[1] != '\0', "not a number");
    v->at++;
}

static inline bool vectors_is_read(const struct vectors *v)
{
    return *v->at == '\0';
}

// vectors_number reads a decimal number.
static inline size_t vectors_number(struct vectors *v)
{
    size_t n = 0;
    int digits = 0;

    for (; *v->at >= '0' && *v->at <= '9'; v->at++, digits++)
        n = n * 10 + (size_t)(*v->at - '0');
    CHECK_VECTORS(v, digits > 0 && digits < 19, "not a number");
    vectors_space(v);
    return n;
}

// vectors_number_or_none reads a number, or -1, for which it returns SIZE_MAX.
static inline size_t vectors_number_or_none(struct vectors *v)
{
    if (strncmp(v->at, "-1", 2) != 0)
        return vectors_number(v);
    v->at += 2;
    vectors_space(v);
    return SIZE_MAX;
}

// vectors_hex reads a number of 64 bits: 16 hex digits.
static inline uint64_t vectors_hex(struct vectors *v)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t n = 0;

    for (int i = 0; i < 16; i++, v->at++) {
        const char *digit = *v->at == '\0' ? NULL : strchr(digits, *v->at);
        CHECK_VECTORS(v, digit != NULL, "not 16 hex digits");
        n = n << 4 | (uint64_t)(digit - digits);
    }
    vectors_space(v);
    return n;
}

#endif
