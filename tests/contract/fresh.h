// fresh.h - processes without a past, for what only happens once.
//
// The process of a test has run a lot before the test begins, and has a second
// thread. A fresh process is this program, started again with other arguments:
// it has one thread and has not called malloc. A program that includes this
// file defines fresh_bodies.

#ifndef TESTS_FRESH_H
#define TESTS_FRESH_H

#include "contract.h"

// What a fresh process can be asked to do, by name. The last name is NULL.
struct fresh_body {
    const char *name;
    child_body *body;
};
static const struct fresh_body fresh_bodies[];

// in_fresh_process runs the body of that name, and returns what became of it.
static inline struct outcome in_fresh_process(const char *name)
{
    int report[2];
    if (pipe(report) != 0)
        return (struct outcome){"no pipe"};
    char number[16];
    snprintf(number, sizeof number, "%d", report[1]);
    pid_t pid = fork();
    if (pid == 0) {
        unsetenv("BXFI_MAP"); // what makes it one of Criterion's processes
        execl("/proc/self/exe", "fresh", "--fresh", name, number, NULL);
        _exit(127);
    }
    close(report[1]);
    struct outcome outcome = child_outcome(pid, report[0]);
    close(report[0]);
    return outcome;
}

// fresh_run does what the fresh process was started for.
static inline _Noreturn void fresh_run(const char *name, int report)
{
    for (const struct fresh_body *b = fresh_bodies; b->name != NULL; b++)
        if (strcmp(b->name, name) == 0)
            child_run(report, b->body, NULL);
    fprintf(stderr, "no fresh body is called %s\n", name);
    _exit(2);
}

// main is Criterion's, but for fresh processes. Criterion finds it by its name,
// to take its place in the process of a test.
__attribute__((visibility("default"))) int main(int argc, char *argv[])
{
    if (argc == 4 && strcmp(argv[1], "--fresh") == 0)
        fresh_run(argv[2], atoi(argv[3]));

    struct criterion_test_set *tests = criterion_initialize();
    int failed = 0;
    if (criterion_handle_args(argc, argv, true))
        failed = !criterion_run_all_tests(tests);
    criterion_finalize(tests);
    return failed;
}

#endif
