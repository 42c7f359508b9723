// reader.h - reads a file of vectors, whose rules are in FORMAT.md, line by
// line and number by number.
//
// Who includes it says first what happens when a file is not as the rules say:
//
//     #define VECTORS_REQUIRE(v, condition, what) ...
//
// must not go on unless condition holds; what tells what is wrong with line
// v->number of the file v->name, which is v->line.

#ifndef VECTORS_READER_H
#define VECTORS_READER_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// The longest line, with its newline and a 0.
enum { VECTORS_LINE = 8191 + 2 };

struct vectors {
    FILE *file;
    int (*close)(FILE *);
    const char *name;
    size_t number; // of the line, from 1
    char line[VECTORS_LINE];
    const char *at; // what of the line was not read so far
};

// vectors_read reads a line. Returns false if there is none.
static inline bool vectors_read(struct vectors *v)
{
    if (fgets(v->line, sizeof v->line, v->file) == NULL)
        return false;
    v->number++;
    size_t length = strcspn(v->line, "\n");
    VECTORS_REQUIRE(v, v->line[length] == '\n', "a line is too long, or ends");
    v->line[length] = '\0';
    v->at = v->line;
    return true;
}

// vectors_start begins to read a file that is open, with its first line. The
// file is closed after its last line, by that function.
static inline void vectors_start(struct vectors *v, const char *name,
                                 FILE *file, int (*close)(FILE *))
{
    v->file = file;
    v->close = close;
    v->name = name;
    v->number = 0;
    v->line[0] = '\0';
    VECTORS_REQUIRE(v, vectors_read(v) && v->line[0] == '#',
                    "it does not begin with a comment");
}

// vectors_next goes to the next line. Returns false if it is the end.
static inline bool vectors_next(struct vectors *v)
{
    VECTORS_REQUIRE(v, vectors_read(v), "it ends without \"eof\", after");
    if (strcmp(v->line, "eof") != 0)
        return true;
    VECTORS_REQUIRE(v, !vectors_read(v), "a line after the end");
    VECTORS_REQUIRE(v, v->close(v->file) == 0, "it cannot be read");
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
    VECTORS_REQUIRE(v, v->at[0] == ' ' && v->at[1] != '\0', "not a number");
    v->at++;
}

static inline bool vectors_is_read(const struct vectors *v)
{
    return *v->at == '\0';
}

// vectors_number reads a decimal number of at most 64 bits.
static inline size_t vectors_number(struct vectors *v)
{
    size_t n = 0;
    int digits = 0;
    bool fits = true;

    for (; *v->at >= '0' && *v->at <= '9'; v->at++, digits++)
        if (__builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (size_t)(*v->at - '0'), &n))
            fits = false;
    VECTORS_REQUIRE(v, digits > 0 && fits, "not a number");
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

// vectors_word64 reads 16 hex digits, and not what is after them.
static inline uint64_t vectors_word64(struct vectors *v)
{
    static const char digits[] = "0123456789abcdef";
    uint64_t n = 0;

    for (int i = 0; i < 16; i++, v->at++) {
        const char *digit = *v->at == '\0' ? NULL : strchr(digits, *v->at);
        VECTORS_REQUIRE(v, digit != NULL, "not 16 hex digits");
        n = n << 4 | (uint64_t)(digit - digits);
    }
    return n;
}

// vectors_hex reads a number of 64 bits: 16 hex digits.
static inline uint64_t vectors_hex(struct vectors *v)
{
    uint64_t n = vectors_word64(v);
    vectors_space(v);
    return n;
}

#endif
