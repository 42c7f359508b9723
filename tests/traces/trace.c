// trace.c - see trace.h.

#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_OPERATIONS = 1 << 26, // a trace of a gigabyte; and as many ids
};

// The trace that is being read; n_lines is the number of the current line.
static struct trace trace;

_Noreturn void trouble(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "replay: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(TROUBLE);
}

// malformed ends the program: the current line is not part of a trace.
__attribute__((format(printf, 1, 2))) static _Noreturn void malformed(
    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%" PRIu32 ": ", trace.file, trace.n_lines);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(TROUBLE);
}

void *new_array(size_t n, size_t size)
{
    void *array = calloc(n + (n == 0), size);
    if (array == NULL)
        trouble("no memory left for %zu objects", n);
    return array;
}

// read_line reads the next line that is not empty into line, without its
// comment. Returns false at the end of the file.
static bool read_line(FILE *in, char *line, int room)
{
    while (fgets(line, room, in) != NULL) {
        trace.n_lines++;
        if (strchr(line, '\n') == NULL && !feof(in))
            malformed("this line is too long");
        line[strcspn(line, "#\r\n")] = '\0';
        if (line[strspn(line, " \t")] != '\0')
            return true;
    }
    if (ferror(in))
        trouble("%s: %s", trace.file, strerror(errno));
    return false;
}

// read_number reads a number of at most max at *text, and moves *text behind
// it. name says what it is, for errors.
static uint64_t read_number(char **text, const char *name, uint64_t max)
{
    *text += strspn(*text, " \t");
    char *end = *text + strcspn(*text, " \t");
    size_t n_digits = strspn(*text, "0123456789");
    if (n_digits == 0 || *text + n_digits != end)
        malformed("expected %s, a number, at \"%s\"", name, *text);
    errno = 0;
    uint64_t n = strtoull(*text, text, 10);
    if (errno != 0 || n > max)
        malformed("%s must be at most %" PRIu64, name, max);
    return n;
}

static void expect_end(const char *text)
{
    text += strspn(text, " \t");
    if (*text != '\0')
        malformed("expected the end of the line at \"%s\"", text);
}

// read_header reads the four numbers, on one line or several.
static void read_header(FILE *in, char *line, int room)
{
    static const struct {
        const char *name;
        uint64_t max;
    } fields[] = {
        {"the suggested heap size", UINT64_MAX},
        {"the number of ids", MAX_OPERATIONS},
        {"the number of operations", MAX_OPERATIONS},
        {"the weight", UINT64_MAX},
    };
    uint64_t numbers[4];
    char *text = line;

    line[0] = '\0';
    for (size_t i = 0; i < 4; i++) {
        if (text[strspn(text, " \t")] == '\0') {
            if (!read_line(in, line, room))
                malformed("the trace ends before %s", fields[i].name);
            text = line;
        }
        numbers[i] = read_number(&text, fields[i].name, fields[i].max);
    }
    expect_end(text);
    trace.n_ids = (uint32_t)numbers[1];
    trace.n_operations = (uint32_t)numbers[2];
}

// read_operation reads line. live tells of each id whether it is in use.
static struct operation read_operation(char *line, bool *live)
{
    char *text = line + strspn(line, " \t");
    struct operation op = {.kind = *text, .line = trace.n_lines};

    if (strchr("arf", op.kind) == NULL || (text[1] != ' ' && text[1] != '\t'))
        malformed("expected a, r or f, at \"%s\"", text);
    text++;
    op.id = (uint32_t)read_number(&text, "the id", UINT32_MAX);
    if (op.id >= trace.n_ids)
        malformed("id %" PRIu32 ", but the header says %" PRIu32 " ids", op.id,
                  trace.n_ids);
    if (op.kind != 'f')
        op.size = read_number(&text, "the size", PTRDIFF_MAX);
    expect_end(text);

    if (op.kind == 'a' && live[op.id])
        malformed("id %" PRIu32 " is in use: its block was not freed", op.id);
    if (op.kind != 'a' && !live[op.id])
        malformed("no block has the id %" PRIu32, op.id);
    live[op.id] = op.kind == 'a' || (op.kind == 'r' && op.size != 0);
    return op;
}

const struct trace *trace_read(const char *file)
{
    char line[256];

    trace = (struct trace){.file = file};
    FILE *in = fopen(file, "r");
    if (in == NULL)
        trouble("%s: %s", file, strerror(errno));
    read_header(in, line, sizeof line);

    bool *live = new_array(trace.n_ids, sizeof *live);
    trace.operations = new_array(trace.n_operations, sizeof *trace.operations);
    uint32_t n = 0;
    while (read_line(in, line, sizeof line)) {
        if (n == trace.n_operations)
            malformed("the header says %" PRIu32
                      " operations, but there are more",
                      n);
        trace.operations[n++] = read_operation(line, live);
    }
    if (n < trace.n_operations)
        malformed("the header says %" PRIu32
                  " operations, but the trace ends after %" PRIu32,
                  trace.n_operations, n);
    free(live);
    fclose(in);
    return &trace;
}
