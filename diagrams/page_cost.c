// page_cost.c - what it costs to find pages, in heaps of 4 MiB to 64 GiB.
//
// The heaps are addresses only: bitmaps, and what says where to look in them.
// In each, all pages are in use but 16 at the top. In half of the columns, the
// first page of each chunk is free, too: too short, but a search sees it. The
// 16 pages are allocated and freed, again and again.
//
// usage: page_cost [--time]
//
// A row is the size of the heap in MiB, without holes and with holes: the nodes
// visited to allocate; with --time, nanoseconds of CPU time for a pair, in the
// fastest of some runs. For time, build it with config bench, which counts
// nothing.

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "heap.h"
#include "lock.h"

enum {
    WANTED = 16, // pages
    RUNS = 200,
    RUN_NS = 2 * 1000 * 1000,
};

static const uintptr_t heap_base = UINT64_C(0xc0) << 32;
static const size_t smallest = (size_t)4 << 20;
static const size_t largest = (size_t)64 << 30;

static _Noreturn void fail(const char *what)
{
    dprintf(STDERR_FILENO, "page_cost: %s\n", what);
    _exit(1);
}

// make_heap returns a page allocator of so many bytes.
static struct page_alloc *make_heap(size_t size, bool holes)
    REQUIRES(mheap.lock)
{
    struct page_alloc *p = mmap(NULL, sizeof *p, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        fail("no memory");
    p->test = true;
#ifdef MAX_SEARCH_ADDR
    page_alloc_init(p);
#endif
    uintptr_t last = heap_base + size - (size_t)WANTED * PAGE_SIZE;
    if (!page_alloc_grow(p, heap_base, size) ||
        page_alloc_alloc(p, size / PAGE_SIZE).base != heap_base)
        fail("no heap");
    page_alloc_free(p, last, WANTED, true);
    for (size_t at = 0; holes && at < size; at += PALLOC_CHUNK_BYTES)
        page_alloc_free(p, heap_base + at, 1, true);
    return p;
}

// pairs allocates and frees, n times.
static void pairs(struct page_alloc *p, size_t n) REQUIRES(mheap.lock)
{
    for (size_t i = 0; i < n; i++) {
        struct page_run run = page_alloc_alloc(p, WANTED);
        if (run.base == 0)
            fail("nothing found");
        page_alloc_free(p, run.base, WANTED, true);
    }
}

static size_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (size_t)t.tv_sec * 1000000000 + (size_t)t.tv_nsec;
}

static size_t nodes_of(struct page_alloc *p) REQUIRES(mheap.lock)
{
    struct mm_stats before, after;

    pairs(p, 1); // the first may look for more
    memcpy(&before, &mheap.stats, sizeof before);
    pairs(p, 1);
    memcpy(&after, &mheap.stats, sizeof after);
    return after.nodes_visited - before.nodes_visited;
}

static size_t nanoseconds_of(struct page_alloc *p) REQUIRES(mheap.lock)
{
    size_t n = 1, best = SIZE_MAX;

    for (int run = 0; run < RUNS;) {
        size_t start = now();
        pairs(p, n);
        size_t took = now() - start;
        if (took < RUN_NS / 2) {
            n *= 2;
            continue;
        }
        if (took / n < best)
            best = took / n;
        run++;
    }
    return best;
}

int main(int argc, char **argv)
{
    bool time = argc == 2 && strcmp(argv[1], "--time") == 0;

    if (argc > 1 && !time)
        fail("usage: page_cost [--time]");
    lock_acquire(&mheap.lock);
    for (size_t size = smallest; size <= largest; size *= 2) {
        printf("%zu", size >> 20);
        for (int holes = 0; holes < 2; holes++) {
            struct page_alloc *p = make_heap(size, holes);
            printf(" %zu", time ? nanoseconds_of(p) : nodes_of(p));
        }
        printf("\n");
        fflush(stdout);
    }
    lock_release(&mheap.lock);
}
