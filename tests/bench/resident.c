// resident.c - how much memory does a process hold, while it frees what it has?
//
// usage: resident ORDER MIB STEP      as in: resident oldest 1024 100
//
// Allocates MIB of blocks, frees 90 %, does nothing, allocates half of MIB,
// frees as much, and does nothing again. ORDER says which blocks are freed
// first: the oldest, the newest, or random ones. After each step of so many
// milliseconds, a line on stdout says how many MiB of the process are resident.
//
// Sizes are random, from 9 bytes to 64 KiB; each doubling of the size is as
// likely as any other, so most of the memory is in large blocks. All bytes are
// written to. The table of blocks is mapped, not allocated, and takes 1 % of
// MIB.

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

struct block {
    char *p;
    uint32_t size;
};

// The blocks that there are: blocks[first] .. blocks[end - 1].
static struct block *blocks;
static size_t first, end, max_blocks;
static size_t bytes; // of all blocks

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "resident: %s\n", what);
    _exit(1);
}

// random_next is xorshift64*. The numbers are the same in every run.
static uint64_t random_next(void)
{
    static uint64_t state = 1;
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * UINT64_C(0x2545F4914F6CDD1D) >> 32;
}

static void allocate(void)
{
    size_t half = (size_t)8 << random_next() % 12;
    struct block b = {.size = (uint32_t)(half + random_next() % half + 1)};
    if (end == max_blocks)
        fail("too many blocks");
    b.p = malloc(b.size);
    if (b.p == NULL)
        fail("no memory");
    memset(b.p, 1, b.size);
    blocks[end++] = b;
    bytes += b.size;
}

// release frees the block whose turn it is.
static void release(char order)
{
    size_t i = first;
    if (order == 'n')
        i = end - 1;
    else if (order == 'r')
        i += random_next() % (end - first);
    bytes -= blocks[i].size;
    free(blocks[i].p);
    if (order == 'o')
        first++;
    else
        blocks[i] = blocks[--end];
}

// report ends a step: it waits for its end, and writes what is resident.
static void report(long milliseconds)
{
    static struct timespec next;
    char text[100] = "";
    long pages;

    if (next.tv_sec == 0)
        clock_gettime(CLOCK_MONOTONIC, &next);
    next.tv_nsec += milliseconds * 1000000;
    next.tv_sec += next.tv_nsec / 1000000000;
    next.tv_nsec %= 1000000000;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);

    int statm = open("/proc/self/statm", O_RDONLY);
    if (read(statm, text, sizeof text - 1) <= 0 ||
        sscanf(text, "%*s %ld", &pages) != 1)
        fail("/proc/self/statm cannot be read");
    close(statm);
    dprintf(STDOUT_FILENO, "%ld\n",
            pages * (sysconf(_SC_PAGESIZE) >> 10) >> 10);
}

int main(int argc, char **argv)
{
    // In so many steps each: to so many tenths of MIB.
    static const struct {
        int steps, tenths;
    } phases[] = {{20, 10}, {20, 1}, {40, 1}, {10, 6}, {10, 1}, {40, 1}};
    size_t n_phases = sizeof phases / sizeof *phases;
    char order = argc == 4 ? *argv[1] : 0;
    size_t whole = argc == 4 ? strtoul(argv[2], NULL, 10) << 20 : 0;
    long milliseconds = argc == 4 ? strtol(argv[3], NULL, 10) : 0;

    if (whole == 0 || milliseconds <= 0 || order == 0 ||
        strchr("nor", order) == NULL) {
        fprintf(stderr, "usage: resident oldest|newest|random MIB STEP\n");
        return 2;
    }
    max_blocks = 1000 + whole / 1024;
    blocks = mmap(NULL, max_blocks * sizeof *blocks, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blocks == MAP_FAILED)
        fail("no memory");

    for (size_t i = 0; i < n_phases; i++) {
        size_t begin = bytes, goal = whole / 10 * (size_t)phases[i].tenths;
        for (int step = 1; step <= phases[i].steps; step++) {
            size_t share = (goal > begin ? goal - begin : begin - goal) *
                           (size_t)step / (size_t)phases[i].steps;
            while (goal > begin && bytes < begin + share)
                allocate();
            while (goal < begin && bytes > begin - share)
                release(order);
            report(milliseconds);
        }
    }
    return 0;
}
