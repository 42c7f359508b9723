// child.h - what a function does that ends its process, and what it says.
//
// Criterion can expect a signal, but not a signal and a message. So the
// function runs in a child, and its stderr goes into a pipe.

#ifndef TESTS_UNIT_CHILD_H
#define TESTS_UNIT_CHILD_H

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "test.h"

struct child {
    int signal; // that ended it; 0: it returned from the function
    int exit_status;
    char said[4096]; // on stderr
};

// child_run runs body(argument) in a child. Call it from a process with one
// thread only.
static inline struct child child_run(void (*body)(void *), void *argument)
{
    struct child child = {0};
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGABRT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        dup2(ends[1], STDERR_FILENO);
        close(ends[0]);
        close(ends[1]);
        body(argument);
        _exit(0);
    }
    CHECK_GE(pid, 0);
    close(ends[1]);

    size_t length = 0;
    ssize_t n = 1;
    while (n > 0 && length < sizeof child.said - 1) {
        n = read(ends[0], child.said + length, sizeof child.said - 1 - length);
        length += n > 0 ? (size_t)n : 0;
    }
    close(ends[0]);

    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
    child.signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    child.exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : 0;
    return child;
}

// CHECK_ABORTS checks that body(argument) says exactly this, and aborts.
#define CHECK_ABORTS(body, argument, ...)                                      \
    do {                                                                       \
        char expected_[4096];                                                  \
        snprintf(expected_, sizeof expected_, __VA_ARGS__);                    \
        struct child child_ = child_run(body, argument);                       \
        CHECK_THAT(                                                            \
            child_.signal == SIGABRT && strcmp(child_.said, expected_) == 0,   \
            "%s: expected an abort after \"%s\","                              \
            " got signal %d, status %d after \"%s\"",                          \
            #body, expected_, child_.signal, child_.exit_status, child_.said); \
    } while (0)

// CHECK_COMPLAINS checks that body(argument) says this, among other things, and
// ends with _exit(1): a check in it returned false.
#define CHECK_COMPLAINS(body, argument, part)                                  \
    do {                                                                       \
        struct child child_ = child_run(body, argument);                       \
        CHECK_THAT(                                                            \
            child_.exit_status == 1 && strstr(child_.said, part) != NULL,      \
            "%s: expected status 1 after \"%s\", got signal %d,"               \
            " status %d after \"%s\"",                                         \
            #body, part, child_.signal, child_.exit_status, child_.said);      \
    } while (0)

// CHECK_COMPLAINS_AT checks that it says this of the address where.
#define CHECK_COMPLAINS_AT(body, argument, part, where)                        \
    do {                                                                       \
        char at_[256];                                                         \
        snprintf(at_, sizeof at_, "%s at %p\n", part, (const void *)(where));  \
        CHECK_COMPLAINS(body, argument, at_);                                  \
    } while (0)

// CHECK_RETURNS checks that body(argument) says exactly this, and returns.
#define CHECK_RETURNS(body, argument, expected)                                \
    do {                                                                       \
        struct child child_ = child_run(body, argument);                       \
        CHECK_THAT(child_.signal == 0 && child_.exit_status == 0 &&            \
                       strcmp(child_.said, expected) == 0,                     \
                   "%s: expected it to return after \"%s\","                   \
                   " got signal %d, status %d after \"%s\"",                   \
                   #body, expected, child_.signal, child_.exit_status,         \
                   child_.said);                                               \
    } while (0)

#endif
