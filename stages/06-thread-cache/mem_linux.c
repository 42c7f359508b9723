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
    count_level(&mheap.stats.bytes_from_os, &mheap.stats.bytes_from_os_peak,
                mheap.stats.bytes_from_os + n);
    return p;
}

// Go: func sysFree (mem.go)
void sys_free(void *p, size_t n)
{
    assert_lock_held(&mheap.lock);
    if (n == 0)
        return;
    int saved_errno = errno;
    count(&mheap.stats.munmaps, 1);
    if (munmap(p, n) == 0)
        count_level(&mheap.stats.bytes_from_os, &mheap.stats.bytes_from_os_peak,
                    mheap.stats.bytes_from_os - n);
    errno = saved_errno;
}

// map_aligned returns n fresh bytes at a multiple of PAGE_SIZE; NULL, with
// errno ENOMEM. It asks for as many more as can be missing.
static char *map_aligned(size_t n) REQUIRES(mheap.lock)
{
    size_t os_page = (size_t)sysconf(_SC_PAGESIZE);
    size_t extra = os_page < PAGE_SIZE ? PAGE_SIZE - os_page : 0;
    char *p = map(NULL, n + extra);
    if (p == NULL)
        return NULL;
    size_t cut = padding_to(p, PAGE_SIZE);
    sys_free(p, cut);
    sys_free(p + cut + n, extra - cut);
    return p + cut;
}

// Go: func sysAlloc (mem.go)
void *sys_alloc(size_t n)
{
    assert_lock_held(&mheap.lock);
    char *p = NULL;
    if (last != NULL) {
        p = map((char *)((uintptr_t)last - n), n);
        if (p == NULL)
            return NULL;
        if (padding_to(p, PAGE_SIZE) != 0) { // others were there
            sys_free(p, n);
            p = NULL;
        }
    }
    if (p == NULL)
        p = map_aligned(n);
    if (p != NULL)
        last = p;
    return p;
}
