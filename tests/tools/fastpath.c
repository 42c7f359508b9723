// fastpath.c - writes down every instruction of a malloc and of a free.
//
// usage: LD_PRELOAD=LIBRARY fastpath SIZE...
//
// For each size a child allocates and frees blocks of that size, and this
// program lets it do one instruction at a time (PTRACE_SINGLESTEP). First the
// child warms up: so the measured calls find memory at hand, and functions of
// other libraries are bound. It also has a second thread, asleep, for some
// mallocs do without atomic operations as long as there is only one.
//
// Then it allocates a block and frees it, CALLS times. A few calls in a hundred
// take a slow path even so, for example because a span is used up. The call of
// median length is the one that is shown: half of the calls are no longer.
//
// Output   For malloc, then for free, of each size:
//              call malloc 64 31 18 203 /path/of/libmalloc.so
//          that is function, size, calls, instructions of the median call, of
//          the longest, and the file where the function is. Then a line for
//          each instruction of the median call, in order of execution: its
//          address in that file, in hex, or libc.so.6+1a2b in another file.
// Exit     0 done, 77 it cannot be done here, 2 trouble; both with a message.

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TROUBLE = 2, CANNOT = 77 };

#ifndef __x86_64__

int main(void)
{
    fprintf(stderr, "fastpath: counts instructions of x86-64 only\n");
    return CANNOT;
}

#else

enum {
    WARM_UP = 64, // blocks; every other one is freed again
    CALLS = 31, // an odd number has a median
    MAX_SHOWN = 1 << 14, // instructions of a call that are remembered
    MAX_STEPS = 1 << 18, // a call with more instructions hangs
    SECONDS = 60, // only to end a child that hangs
};

// One call, instruction by instruction.
struct path {
    size_t length; // may be more than MAX_SHOWN
    unsigned long at[MAX_SHOWN];
};

// What is measured; volatile, so that the compiler knows nothing about it.
static void *(*volatile allocate)(size_t) = malloc;
static void (*volatile release)(void *) = free;

static struct path mallocs[CALLS], frees[CALLS];

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "fastpath: %s\n", what);
    exit(TROUBLE);
}

static _Noreturn void fail_with_errno(const char *what)
{
    fprintf(stderr, "fastpath: %s: %s\n", what, strerror(errno));
    exit(TROUBLE);
}

// ---------------------------------------------------------------------------
// The child. It writes no more than a message, and ends without cleaning up.

static _Noreturn void end_child(int status, const char *message)
{
    dprintf(STDERR_FILENO, "fastpath: %s\n", message);
    _exit(status);
}

static void *sleep_forever(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void *checked_allocate(size_t size)
{
    void *p = allocate(size);
    if (p == NULL)
        end_child(TROUBLE, "malloc returned NULL");
    return p;
}

// run_child calls malloc and free CALLS times, with a stop before each pair.
static _Noreturn void run_child(size_t size)
{
    void *blocks[WARM_UP];
    pthread_t sleeper;

    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        end_child(CANNOT, "this system does not permit ptrace");
    alarm(SECONDS);
    if (pthread_create(&sleeper, NULL, sleep_forever, NULL) != 0)
        end_child(TROUBLE, "cannot make a thread");
    for (int i = 0; i < WARM_UP; i++)
        blocks[i] = checked_allocate(size);
    for (int i = 0; i < WARM_UP; i += 2)
        release(blocks[i]);
    release(checked_allocate(size));

    for (int i = 0; i < CALLS; i++) {
        raise(SIGSTOP);
        release(checked_allocate(size));
    }
    _exit(0);
}

// ---------------------------------------------------------------------------
// The parent.

// wait_for_stop waits until the child has stopped with signal number.
static void wait_for_stop(pid_t child, int number)
{
    int status;

    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            fail_with_errno("waitpid");
    if (WIFEXITED(status)) // it said why
        exit(WEXITSTATUS(status) == CANNOT ? CANNOT : TROUBLE);
    int signal = WIFSTOPPED(status) ? WSTOPSIG(status) : WTERMSIG(status);
    if (signal != number) {
        fprintf(stderr, "fastpath: a call ended with signal %d (%s)\n", signal,
                strsignal(signal));
        exit(TROUBLE);
    }
}

// step lets the child do one instruction, and reads its registers.
static void step(pid_t child, struct user_regs_struct *registers)
{
    if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) != 0)
        fail_with_errno("PTRACE_SINGLESTEP");
    wait_for_stop(child, SIGTRAP);
    if (ptrace(PTRACE_GETREGS, child, NULL, registers) != 0)
        fail_with_errno("PTRACE_GETREGS");
}

// record waits until the child calls the function at entry, and writes down the
// path from there to the return.
static void record(pid_t child, unsigned long entry, struct path *path)
{
    struct user_regs_struct registers = {0};

    for (size_t i = 0; registers.rip != entry; i++) {
        if (i == MAX_STEPS)
            fail("the child does not come to the call");
        step(child, &registers);
    }
    // The return takes its address from the stack, so only then is the top of
    // the stack above where it was at entry.
    unsigned long top = registers.rsp;
    path->length = 0;
    while (registers.rsp <= top) {
        if (path->length == MAX_STEPS)
            fail("a call does not return");
        if (path->length < MAX_SHOWN)
            path->at[path->length] = registers.rip;
        path->length++;
        step(child, &registers);
    }
}

static int compare_lengths(const void *a, const void *b)
{
    const struct path *x = a, *y = b;
    return (x->length > y->length) - (x->length < y->length);
}

// base_of returns where the file is loaded that has the code at address, and
// stores its name.
static void *base_of(unsigned long address, const char **name)
{
    Dl_info info;

    // NOLINTNEXTLINE(performance-no-int-to-ptr): registers hold numbers
    if (dladdr((void *)address, &info) == 0) {
        *name = "unknown";
        return NULL;
    }
    *name = info.dli_fname;
    return info.dli_fbase;
}

// print_median prints the call of median length.
static void print_median(const char *function, size_t size, unsigned long entry,
                         struct path *paths)
{
    qsort(paths, CALLS, sizeof *paths, compare_lengths);
    const struct path *median = &paths[CALLS / 2];
    if (median->length > MAX_SHOWN)
        fail("too many instructions to show");

    const char *name;
    void *base = base_of(entry, &name);
    printf("call %s %zu %d %zu %zu %s\n", function, size, CALLS, median->length,
           paths[CALLS - 1].length, name);
    for (size_t i = 0; i < median->length; i++) {
        unsigned long address = median->at[i];
        void *base_here = base_of(address, &name);
        if (base_here != base) {
            const char *slash = strrchr(name, '/');
            printf("%s+", slash == NULL ? name : slash + 1);
        }
        printf("%lx\n", address - (unsigned long)base_here);
    }
}

static void measure(size_t size)
{
    unsigned long at_malloc = (unsigned long)allocate;
    unsigned long at_free = (unsigned long)release;

    fflush(stdout);
    pid_t child = fork();
    if (child < 0)
        fail_with_errno("fork");
    if (child == 0)
        run_child(size);
    wait_for_stop(child, SIGSTOP);
    if (ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_EXITKILL) != 0)
        fail_with_errno("PTRACE_SETOPTIONS");
    for (int i = 0; i < CALLS; i++) {
        record(child, at_malloc, &mallocs[i]);
        record(child, at_free, &frees[i]);
        if (i + 1 < CALLS) {
            if (ptrace(PTRACE_CONT, child, NULL, NULL) != 0)
                fail_with_errno("PTRACE_CONT");
            wait_for_stop(child, SIGSTOP);
        }
    }
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);

    print_median("malloc", size, at_malloc, mallocs);
    print_median("free", size, at_free, frees);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        fail("usage: LD_PRELOAD=LIBRARY fastpath SIZE...");
    for (int i = 1; i < argc; i++) {
        char *end;
        errno = 0;
        size_t size = strtoul(argv[i], &end, 10);
        if (errno != 0 || *end != '\0' || *argv[i] < '0' || *argv[i] > '9')
            fail("a size must be a number");
        measure(size);
    }
    return fflush(stdout) == 0 ? 0 : TROUBLE;
}

#endif
