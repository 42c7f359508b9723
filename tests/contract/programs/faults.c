// faults.c - makes each system call of malloc fail in turn.
//
//     faults CALL once frees    the 1st call fails; in another run the 2nd; and
//                               so on, as long as there is one to fail
//     faults CALL on frees      in each run, all calls from there on fail
//     faults CALL once frees 3  only the run in which the 3rd call fails
//
// "keeps" instead of "frees" is for a malloc that does not free at once: then
// the memory in use is not compared with that at the start.
//
// CALL is sbrk, mmap, munmap, madvise, mprotect or mremap. The functions below
// of these names take the place of the C library's, for they are found first.
// Prints three numbers: the runs in which a call failed; those in which some
// malloc returned NULL; and those in which memory could not be given back.
//
// A fault may cost a call of malloc its memory, and nothing else: blocks keep
// their contents, errno tells, and when the fault is over all is as before.

#include "program.h"

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum call { SBRK, MMAP, MUNMAP, MADVISE, MPROTECT, MREMAP, CALLS };
static const char *const call_names[CALLS] = {"sbrk",    "mmap",     "munmap",
                                              "madvise", "mprotect", "mremap"};

// The plan: calls number first to last fail, counted from 1.
static struct {
    enum call call;
    size_t first, last;
    size_t made; // calls so far
    size_t failed; // of those
    bool kept; // some that failed would have given memory back
} plan;

// fails tells whether this call must fail, and sets errno.
static bool fails(enum call call, bool gives_back)
{
    if (call != plan.call)
        return false;
    plan.made++;
    if (plan.made < plan.first || plan.made > plan.last)
        return false;
    plan.failed++;
    plan.kept = plan.kept || gives_back;
    errno = call == MADVISE ? EAGAIN : ENOMEM;
    return true;
}

void *sbrk(intptr_t n)
{
    char *old = (char *)syscall(SYS_brk, 0);
    if (n == 0)
        return old;
    if (fails(SBRK, n < 0) || brk(old + n) != 0)
        return (void *)-1;
    return old;
}

void *mmap(void *p, size_t size, int protection, int flags, int fd,
           off_t offset)
{
    if (fails(MMAP, false))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, p, size, protection, flags, fd, offset);
}

int munmap(void *p, size_t size)
{
    if (fails(MUNMAP, true))
        return -1;
    return (int)syscall(SYS_munmap, p, size);
}

int madvise(void *p, size_t size, int advice)
{
    if (fails(MADVISE, true))
        return -1;
    return (int)syscall(SYS_madvise, p, size, advice);
}

int mprotect(void *p, size_t size, int protection)
{
    if (fails(MPROTECT, false))
        return -1;
    return (int)syscall(SYS_mprotect, p, size, protection);
}

void *mremap(void *p, size_t old_size, size_t size, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    if (fails(MREMAP, false))
        return MAP_FAILED;
    return (void *)syscall(SYS_mremap, p, old_size, size, flags, to);
}

// The blocks that are live, with what they must contain.
enum { SLOTS = 30, STEPS = 150 };
static struct slot {
    char *p; // NULL: none
    size_t size;
    size_t key;
} slots[SLOTS];

enum { EDGE = 256 }; // bytes at both ends of a block that are filled

static size_t edge_of(const struct slot *slot)
{
    return slot->size < EDGE ? slot->size : EDGE;
}

static void fill_slot(struct slot *slot)
{
    fill(slot->p, edge_of(slot), slot->key);
    fill(slot->p + slot->size - edge_of(slot), edge_of(slot), slot->key + 1);
}

// require_filled checks a block up to its end, which lies in the last of the
// edges, or in both.
static void require_filled(const struct slot *slot)
{
    size_t edge = edge_of(slot);
    const char *end = slot->p + slot->size;
    if (slot->size >= (size_t)2 * EDGE)
        REQUIRE(is_filled(slot->p, edge, slot->key));
    REQUIRE(is_filled(end - edge, edge, slot->key + 1));
}

// An errno that no call sets.
enum { UNTOUCHED = 4711 };

// n_refused counts the calls that returned NULL.
static size_t n_refused;

// got checks what a call returned, and returns it.
static char *got(void *p)
{
    if (p == NULL) {
        REQUIRE(errno == ENOMEM);
        n_refused++;
    } else {
        REQUIRE(errno == UNTOUCHED && (uintptr_t)p % 16 == 0);
    }
    errno = UNTOUCHED;
    return p;
}

static void empty(struct slot *slot)
{
    require_filled(slot);
    free(slot->p);
    REQUIRE(errno == UNTOUCHED);
    slot->p = NULL;
}

static void allocate(struct slot *slot, size_t way)
{
    if (way == 0) {
        slot->p = got(memalign(1024, slot->size));
        REQUIRE((uintptr_t)slot->p % 1024 == 0);
    } else if (way == 1) {
        slot->p = got(calloc(1, slot->size));
        for (size_t i = 0; slot->p != NULL && i < slot->size; i++)
            REQUIRE(slot->p[i] == 0);
    } else {
        slot->p = got(malloc(slot->size));
    }
    if (slot->p != NULL)
        fill_slot(slot);
}

// resize keeps a block as it is where that fails.
static void resize(struct slot *slot, size_t size)
{
    require_filled(slot);
    char *p = got(realloc(slot->p, size));
    if (p != NULL) {
        if (size > EDGE && slot->size >= (size_t)2 * EDGE)
            REQUIRE(is_filled(p, EDGE, slot->key));
        slot->p = p;
        slot->size = size;
        fill_slot(slot);
    }
    require_filled(slot);
}

// More than a stage reserves at a time. Only the ends of such a block are
// touched.
enum { GIANT = 100 << 20 };

// work is the same sequence of calls each time, with sizes from 1 to 200000,
// and one giant.
static void work(void)
{
    uint64_t random = 1;
    errno = UNTOUCHED;
    for (size_t step = 0; step < STEPS; step++) {
        random = random * 6364136223846793005 + 1442695040888963407;
        size_t r = random >> 40;
        struct slot *slot = &slots[r % SLOTS];
        static const size_t most[] = {100, 1000, 10000, 200000};
        size_t size = 1 + r / SLOTS % most[r / 7 % 4];
        if (slot->p == NULL) {
            *slot = (struct slot){.size = size, .key = r};
            allocate(slot, r % 5);
        } else if (r % 3 == 0) {
            resize(slot, size);
        } else {
            empty(slot);
        }
    }
    struct slot giant = {.size = GIANT, .key = 1};
    allocate(&giant, 2);
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].p != NULL)
            require_filled(&slots[i]);
    if (giant.p != NULL)
        empty(&giant);
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i].p != NULL)
            empty(&slots[i]);
    (void)malloc_trim(0);
    errno = UNTOUCHED;
}

// How a run ended, as bits of its exit status.
enum { GOOD = 64, FAILED = 1, REFUSED = 2, KEPT = 4 };

// What a thread keeps in stock grows for so many rounds.
enum { ROUNDS = 8 };

// run works while calls fail, and again, often, when none does.
static int run(bool frees)
{
    size_t in_use = mallinfo2().uordblks;
    work();
    int status = GOOD | (plan.failed > 0 ? FAILED : 0) |
                 (n_refused > 0 ? REFUSED : 0) | (plan.kept ? KEPT : 0);

    plan.last = 0; // the fault is over
    n_refused = 0;
    for (int i = 0; i < ROUNDS; i++)
        work();
    size_t held = mallinfo2().arena;
    work();
    REQUIRE(n_refused == 0);
    if (frees) {
        REQUIRE(mallinfo2().uordblks == in_use);
        REQUIRE(mallinfo2().arena <= held);
    }
    return status;
}

// run_in_child is run, for a plan that begins at the call number first.
static int run_in_child(size_t first, bool on, bool frees)
{
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        plan.made = 0;
        plan.first = first;
        plan.last = on ? SIZE_MAX : first;
        _exit(run(frees));
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    if (!WIFEXITED(status) || (WEXITSTATUS(status) & GOOD) == 0) {
        char line[100];
        snprintf(line, sizeof line, "%s %s %zu: status %#x\n",
                 call_names[plan.call], on ? "on" : "once", first,
                 (unsigned)status);
        say(STDERR_FILENO, line);
        _exit(1);
    }
    return WEXITSTATUS(status);
}

int main(int argc, char **argv)
{
    REQUIRE(argc == 4 || argc == 5);
    while (strcmp(argv[1], call_names[plan.call]) != 0)
        REQUIRE(++plan.call < CALLS);
    bool on = strcmp(argv[2], "on") == 0;
    bool frees = strcmp(argv[3], "frees") == 0;
    size_t first = argc == 5 ? strtoul(argv[4], NULL, 10) : 1;
    size_t n_failed = 0, n_null = 0, n_kept = 0;

    int status;
    do {
        status = run_in_child(first++, on, frees);
        n_failed += (status & FAILED) != 0;
        n_null += (status & REFUSED) != 0;
        n_kept += (status & KEPT) != 0;
    } while (argc == 4 && status & FAILED);
    free(hidden(malloc(1))); // counted; those of the children are not
    char line[100];
    snprintf(line, sizeof line, "%zu %zu %zu\n", n_failed, n_null, n_kept);
    say(STDOUT_FILENO, line);
    return 0;
}
