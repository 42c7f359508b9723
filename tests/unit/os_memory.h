// os_memory.h - takes the place of mmap, munmap and mprotect for the stage
// under test, so that a test sees what is asked of the OS, knows where it lies,
// and can refuse.
//
// Each mapping lies right below the one before, at a multiple of PAGE_SIZE, in
// a part of the address space that is kept free for them; the allocator asks
// for just that, and in most processes it gets it. Where an allocator asks for
// a place elsewhere, it gets that if it is free. Nothing else in the process
// calls these three, for they are hidden in the test program, which the stage
// is linked with.
//
// Include it in one file of a program.

#ifndef UNIT_OS_MEMORY_H
#define UNIT_OS_MEMORY_H

#include <errno.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"
#include "heap.h"
#include "sanitizers.h"

enum { OS_PAGES = 1 << 17 }; // 1 GiB; what is not used costs nothing

static struct {
    char *low; // the lowest address handed out so far; NULL: none
    char *end; // of the part of the address space
    size_t calls; // of mmap and mprotect
    size_t refuse; // mappings above this number of bytes fail
    size_t refuse_just; // and so do those of just that number; 0: none
    size_t fail_from; // so does the call with this number, and all after it
    size_t last; // bytes of the last mapping
    size_t skew; // the next mapping lies so many bytes lower
    bool keep; // munmap fails
    size_t largest; // bytes of the largest mapping since a test set this to 0
    char *largest_at; // and where that is
} os = {.refuse = SIZE_MAX, .fail_from = SIZE_MAX};

// lies_in_part tells whether p lies in the part of the address space that is
// kept free.
static bool lies_in_part(const void *p)
{
    return (const char *)p < os.end &&
           (const char *)p >= os.end - (size_t)OS_PAGES * PAGE_SIZE;
}

void *mmap(void *p, size_t size, int protection, int flags, int fd,
           off_t offset)
{
    size_t bytes = (size_t)OS_PAGES * PAGE_SIZE;
    if (os.low == NULL) {
        os.low =
            (char *)syscall(SYS_mmap, NULL, bytes + PAGE_SIZE, PROT_NONE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        CHECK((void *)os.low != MAP_FAILED);
        os.low += padding_to(os.low, PAGE_SIZE) + bytes;
        os.end = os.low;
    }
    os.calls++;
    os.last = size;
    if (size > os.refuse || size == os.refuse_just ||
        os.calls >= os.fail_from) {
        errno = EAGAIN; // the allocator must say ENOMEM, whatever the OS said
        return MAP_FAILED;
    }
    // ThreadSanitizer knows only some parts of the address space.
    bool fits = size <= bytes - (size_t)(os.end - os.low);
    if (p != NULL && !UNDER_TSAN && !lies_in_part(p)) {
        int place = fits ? MAP_FIXED_NOREPLACE : 0;
        void *there = (void *)syscall(SYS_mmap, p, size, protection,
                                      flags | place, fd, offset);
        if (there != MAP_FAILED)
            return there;
    }
    if (!fits) {
        errno = EAGAIN;
        return MAP_FAILED;
    }
    os.low -= round_up(size, PAGE_SIZE) + os.skew;
    os.skew = 0;
    if (size > os.largest) {
        os.largest = size;
        os.largest_at = os.low;
    }
    return (void *)syscall(SYS_mmap, os.low, size, protection,
                           flags | MAP_FIXED, fd, offset);
}

int munmap(void *p, size_t size)
{
    if (os.keep) {
        errno = EAGAIN;
        return -1;
    }
    if (!lies_in_part(p))
        return (int)syscall(SYS_munmap, p, size);
    // What goes back from the low end is the place for the next mapping, and
    // what goes back of the largest is not part of it.
    if (p == os.low)
        os.low += size;
    if ((char *)p >= os.largest_at && (char *)p < os.largest_at + os.largest) {
        if (p == os.largest_at)
            os.largest_at += size;
        os.largest -= size;
    }
    // Kept free for the next mapping: the stack of a thread may not go there.
    return (void *)syscall(SYS_mmap, p, size, PROT_NONE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
                               MAP_FIXED,
                           -1, 0) == p
               ? 0
               : -1;
}

int mprotect(void *p, size_t size, int protection)
{
    if (++os.calls >= os.fail_from) {
        errno = EAGAIN;
        return -1;
    }
    return (int)syscall(SYS_mprotect, p, size, protection);
}

#endif
