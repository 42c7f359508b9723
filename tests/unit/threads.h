// threads.h - to know for certain that another thread waits.

#ifndef TESTS_UNIT_THREADS_H
#define TESTS_UNIT_THREADS_H

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// thread_number returns the number of the calling thread, as Linux counts them.
static inline long thread_number(void)
{
    return syscall(SYS_gettid);
}

// thread_sleeps tells whether that thread of this process sleeps, for a lock or
// for a system call: it is in state S.
static inline bool thread_sleeps(long thread)
{
    char path[64], line[256] = "";
    snprintf(path, sizeof path, "/proc/self/task/%ld/stat", thread);
    FILE *file = fopen(path, "r");
    if (file != NULL) {
        if (fgets(line, sizeof line, file) == NULL)
            *line = '\0';
        fclose(file);
    }
    const char *state = strrchr(line, ')'); // ends the name of the program
    return state != NULL && strncmp(state, ") S", 3) == 0;
}

static inline void wait_until_sleeps(long thread)
{
    while (!thread_sleeps(thread))
        usleep(1000);
}

#endif
