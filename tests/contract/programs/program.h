// program.h - for small programs that run under a stage's malloc, one case of
// their table a run.
//
// They use no stdio: it allocates, and the heap should hold only what a case
// puts there. In C and C++.

#ifndef PROGRAM_H
#define PROGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

// A case of a program, run by naming it.
struct named_case {
    const char *name;
    void (*run)(void);
};

// say writes a string to a file descriptor.
static inline void say(int fd, const char *text)
{
    // Nobody is left to tell if this fails.
    ssize_t ignored = write(fd, text, strlen(text));
    (void)ignored;
}

// fail ends the program, also in a destructor or another thread.
__attribute__((noreturn)) static inline void fail(const char *where,
                                                  const char *condition)
{
    say(STDERR_FILENO, where);
    say(STDERR_FILENO, ": does not hold: ");
    say(STDERR_FILENO, condition);
    say(STDERR_FILENO, "\n");
    _exit(1);
}

#define TEXT_OF(x) #x
#define LINE_TEXT(line) TEXT_OF(line)

// FAIL ends the program, which should not have come here.
#define FAIL(condition) fail(__FILE__ ":" LINE_TEXT(__LINE__), condition)

// REQUIRE ends the program with a message unless condition holds.
#define REQUIRE(condition) ((condition) ? (void)0 : FAIL(#condition))

// hidden returns p, but the compiler cannot tell: else it would see the errors
// that are made here on purpose.
static inline void *hidden(const void *p)
{
    void *q = (void *)(uintptr_t)p;
    __asm__ volatile("" : "+r"(q) : : "memory");
    return q;
}

// run_case runs the case that the program's argument names.
static inline void run_case(int argc, char **argv,
                            const struct named_case *cases)
{
    for (; argc > 1 && cases->name != NULL; cases++) {
        if (strcmp(argv[1], cases->name) == 0) {
            cases->run();
            return;
        }
    }
    fail(argv[0], "its argument names a case");
}

// fill writes size bytes that belong to the key; is_filled tells whether they
// are still there.
static inline void *fill(void *p, size_t size, size_t key)
{
    unsigned char *bytes = (unsigned char *)p;
    for (size_t i = 0; i < size; i++)
        bytes[i] = (unsigned char)(key * 31 + i * 7 + 1);
    return p;
}

static inline bool is_filled(const void *p, size_t size, size_t key)
{
    const unsigned char *bytes = (const unsigned char *)p;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != (unsigned char)(key * 31 + i * 7 + 1))
            return false;
    return true;
}

#endif
