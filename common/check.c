// check.c - reports with write(2), on the stack: no stdio, no malloc, no lock.

#include "check.h"

#include <stdlib.h>
#include <unistd.h>

void text_string(struct text *t, const char *s)
{
    // The last byte is kept for the newline.
    while (*s != '\0' && t->length < sizeof t->chars - 1)
        t->chars[t->length++] = *s++;
}

// text_digits appends n in the given base.
static void text_digits(struct text *t, uint64_t n, unsigned base)
{
    char digits[21]; // UINT64_MAX has 20 in base 10
    char *d = digits + sizeof digits - 1;

    *d = '\0';
    do {
        *--d = "0123456789abcdef"[n % base];
        n /= base;
    } while (n != 0);
    text_string(t, d);
}

void text_number(struct text *t, uint64_t n)
{
    text_digits(t, n, 10);
}

void text_address(struct text *t, const void *p)
{
    text_string(t, "0x");
    text_digits(t, (uintptr_t)p, 16);
}

void text_write(struct text *t, int fd)
{
    t->chars[t->length] = '\n';
    // Nobody is left to tell if this fails.
    ssize_t ignored = write(fd, t->chars, t->length + 1);
    (void)ignored;
}

_Noreturn void mm_misuse(const char *call, const void *p, const char *what,
                         const void *block, size_t size)
{
    struct text t = {0};

    text_string(&t, "mm: ");
    text_string(&t, call);
    text_string(&t, "(");
    text_address(&t, p);
    text_string(&t, "): ");
    text_string(&t, what);
    if (block != NULL) {
        text_string(&t, " (block ");
        text_address(&t, block);
        text_string(&t, ", ");
        text_number(&t, size);
        text_string(&t, " bytes)");
    }
    text_write(&t, STDERR_FILENO);
    abort();
}

_Noreturn void mm_broken(const char *file, int line, const char *condition)
{
    struct text t = {0};

    text_string(&t, "mm: ");
    text_string(&t, file);
    text_string(&t, ":");
    text_number(&t, (uint64_t)line);
    text_string(&t, ": does not hold: ");
    text_string(&t, condition);
    text_write(&t, STDERR_FILENO);
    abort();
}

_Bool mm_complain(const char *invariant, const void *where)
{
    struct text t = {0};

    text_string(&t, "mm: mm_check: broken: ");
    text_string(&t, invariant);
    if (where != NULL) {
        text_string(&t, " at ");
        text_address(&t, where);
    }
    text_write(&t, STDERR_FILENO);
    return 0;
}
