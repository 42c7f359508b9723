// mem_linux.c - memory from the OS: the states of address space.
//
//              sys_reserve             sys_map                sys_used
//     NONE -----------------> RESERVED -------> PREPARED --------------> READY
//       ^                        |                 | ^                     |
//       +------------------------+-----------------+ +---------------------+
//                                sys_free                    sys_unused
//
//     NONE      Whoever asks the OS for memory may get it.
//     RESERVED  Ours, but not to be touched. It costs nothing.
//     PREPARED  Can be made ready, for sure.
//     READY     Can be read and written.
//
// On Linux, memory that was mapped takes no page of the machine before it is
// written to. So prepared memory is mapped for reading and writing, and to make
// it ready is to do nothing. To make it prepared again is madvise: the pages
// are taken away, and what is read there then is 0.
//
// Locking    mheap.lock guards the counters.
// TCMalloc   system-alloc.cc
// Go         mem.go, where the states are explained; mem_linux.go

#include "heap.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"

// map asks for n bytes at p, or wherever the OS finds room. NULL, with errno
// ENOMEM, if it refuses.
static char *map(void *p, size_t n, int protection) REQUIRES(mheap.lock)
{
    count(&mheap.stats.mmaps, 1);
    p = mmap(p, n, protection, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        errno = ENOMEM; // whatever it was: a limit of the process, for one
        return NULL;
    }
    return p;
}

// Go: func sysAlloc (mem.go)
void *sys_alloc(size_t n)
{
    assert_lock_held(&mheap.lock);
    char *p = map(NULL, n, PROT_READ | PROT_WRITE);
    if (p != NULL)
        sys_used(p, n);
    return p;
}

// Go: func sysReserve (mem.go)
void *sys_reserve(void *p, size_t n)
{
    assert_lock_held(&mheap.lock);
    p = map(p, n, PROT_NONE);
    if (p != NULL)
        count(&mheap.stats.bytes_reserved, n);
    return p;
}

// Go: func sysReserveAligned (malloc.go)
void *sys_reserve_aligned(size_t n, size_t align)
{
    assert_lock_held(&mheap.lock);
    char *p = sys_reserve(NULL, n + align);
    if (p == NULL)
        return NULL;
    size_t below = padding_to(p, align);
    if (below > 0)
        sys_free(p, below);
    sys_free(p + below + n, align - below);
    return p + below;
}

// Go: func sysMap (mem.go)
bool sys_map(void *p, size_t n)
{
    assert_lock_held(&mheap.lock);
    count(&mheap.stats.mprotects, 1);
    if (mprotect(p, n, PROT_READ | PROT_WRITE) != 0) {
        errno = ENOMEM;
        return false;
    }
    return true;
}

// Go: func sysUsed (mem.go)
void sys_used(void *p, size_t n)
{
    (void)p;
    assert_lock_held(&mheap.lock);
    count_level(&mheap.stats.bytes_from_os, &mheap.stats.bytes_from_os_peak,
                mheap.stats.bytes_from_os + n);
}

void sys_untouched(size_t n)
{
    assert_lock_held(&mheap.lock);
    count_level(&mheap.stats.bytes_from_os, &mheap.stats.bytes_from_os_peak,
                mheap.stats.bytes_from_os - n);
}

// Go: func sysUnused (mem.go)
bool sys_unused(void *p, size_t n)
{
    assert_lock_held(&mheap.lock);
    int saved_errno = errno;
    count(&mheap.stats.madvises, 1);
    bool done = madvise(p, n, MADV_DONTNEED) == 0;
    if (done)
        count_level(&mheap.stats.bytes_from_os, &mheap.stats.bytes_from_os_peak,
                    mheap.stats.bytes_from_os - n);
    errno = saved_errno;
    return done;
}

// Go: func sysFree (mem.go)
void sys_free(void *p, size_t n)
{
    assert_lock_held(&mheap.lock);
    int saved_errno = errno;
    count(&mheap.stats.munmaps, 1);
    if (munmap(p, n) == 0)
        count(&mheap.stats.bytes_reserved, -(uint64_t)n);
    errno = saved_errno;
}
