// trace.h - an allocation trace: what a program asked malloc for.
//
// It is text, in the format of the malloc lab of the book "Computer Systems: A
// Programmer's Perspective". It begins with four numbers: a suggested heap size
// (not used), how many ids there are, how many operations, and a weight (not
// used). After them stands one operation on each line:
//
//     a ID SIZE    malloc(SIZE); the block is called ID from here on
//     r ID SIZE    realloc of block ID; SIZE 0 frees it
//     f ID         free block ID
//
// Ids count from 0; the id of a freed block may be given again. Here, a # and
// what follows it on the line is a comment.

#ifndef TESTS_TRACE_H
#define TESTS_TRACE_H

#include <stddef.h>
#include <stdint.h>

struct operation {
    char kind; // 'a', 'r' or 'f'
    uint32_t line;
    uint32_t id;
    size_t size; // bytes; 0 for 'f'
};

struct trace {
    const char *file;
    uint32_t n_lines;
    uint32_t n_ids;
    uint32_t n_operations;
    struct operation *operations;
};

// trace_read reads a file. If it is not a trace, or uses an id wrongly, the
// program ends with the line and what is wrong with it, as trouble does.
const struct trace *trace_read(const char *file);

// trouble prints a message and ends the program with exit status TROUBLE: for
// all that is not the fault of a stage.
enum { TROUBLE = 2 };
__attribute__((format(printf, 1, 2))) _Noreturn void trouble(const char *format,
                                                             ...);

// new_array returns memory for n objects, all bytes zero.
void *new_array(size_t n, size_t size);

#endif
