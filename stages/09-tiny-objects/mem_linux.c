// mem_linux.c - memory from the OS, by mmap.
//
// mmap finds free addresses anywhere between the program and its stack, so the
// heap need not be one piece. But pages that lie side by side can be merged, so
// each mapping is asked for right below the one before.
//
// Locking    mheap.lock guards the counters and last.
// TCMalloc   system-alloc.cc
// Go         mem_linux.go

#include "heap.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"

// A leaf of the page map serves so many bytes. Where addresses are chosen anew,
// they end at a multiple of it: so a heap needs the same number of leaves in
// every process, and as few as can be.
enum { LEAF_BYTES = 1 << 24 };

// What sys_alloc returned last; NULL: nothing so far.
static char *last GUARDED_BY(mheap.lock);

// map returns n fresh bytes, at p if they are free; NULL, with errno ENOMEM.
static char *map(char *p, size_t n) REQUIRES(mheap.lock)
{
    count(&mheap.stats.mmaps, 1);
    p = mmap(p, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        errno = ENOMEM; // whatever it was: a limit of the process, for one
        return NULL;
    }
    return p;
}

// unmap gives n bytes at p back. Returns how many the OS took: all, or none.
// Keeps errno.
static size_t unmap(void *p, size_t n) REQUIRES(mheap.lock)
{
    if (n == 0)
        return 0;
    int saved_errno = errno;
    count(&mheap.stats.munmaps, 1);
    size_t taken = munmap(p, n) == 0 ? n : 0;
    errno = saved_errno;
    return taken;
}

// map_aligned returns n fresh bytes that end at a multiple of LEAF_BYTES; NULL,
// with errno ENOMEM. It asks for more, and gives back what is below and above.
// Stores how many bytes it holds: n, if the OS takes the others.
static char *map_aligned(size_t n, size_t *held) REQUIRES(mheap.lock)
{
    size_t more = n + LEAF_BYTES;
    char *p = map(NULL, more);
    if (p == NULL)
        return NULL;
    size_t above = (uintptr_t)(p + more) % LEAF_BYTES;
    size_t below = LEAF_BYTES - above;
    *held = more - unmap(p, below) - unmap(p + below + n, above);
    return p + below;
}

// Go: func sysFree (mem.go)
void sys_free(void *p, size_t n)
{
    assert_lock_held(&mheap.lock);
    count_level(&mheap.stats.bytes_from_os, &mheap.stats.bytes_from_os_peak,
                mheap.stats.bytes_from_os - unmap(p, n));
}

// Go: func sysAlloc (mem.go)
void *sys_alloc(size_t n)
{
    assert_lock_held(&mheap.lock);
    size_t held = n;
    char *p = NULL;
    if (last != NULL) {
        p = map((char *)((uintptr_t)last - n), n);
        if (p == NULL)
            return NULL;
        if (padding_to(p, PAGE_SIZE) != 0) { // others were there
            held += n - unmap(p, n);
            p = NULL;
        }
    }
    if (p == NULL) {
        size_t unaligned = held - n;
        p = map_aligned(n, &held);
        held += unaligned;
    }
    if (p == NULL)
        return NULL;
    last = p;
    count_level(&mheap.stats.bytes_from_os, &mheap.stats.bytes_from_os_peak,
                mheap.stats.bytes_from_os + held);
    return p;
}
