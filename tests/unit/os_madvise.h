// os_madvise.h - takes the place of madvise for the stage under test, so that a
// test sees what goes back to the OS, and can refuse to take it.
//
// Nothing else in the process calls it, for it is hidden in the test program,
// which the stage is linked with. Include it in one file of a program.

#ifndef UNIT_OS_MADVISE_H
#define UNIT_OS_MADVISE_H

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Atomic: a thread of the allocator may call it while a test looks.
static struct {
    _Atomic(size_t) calls;
    _Atomic(size_t) bytes; // that went back
    _Atomic(size_t) largest; // of these, in one call
    _Atomic(bool) refuse; // all calls fail
    _Atomic(size_t) refuse_next; // so do so many of the next ones
    _Atomic(bool) wrong; // a call was not about whole pages to be taken away
} advised;

int madvise(void *p, size_t size, int advice)
{
    size_t os_page = (size_t)sysconf(_SC_PAGESIZE);
    advised.calls++;
    if ((size_t)p % os_page != 0 || size % os_page != 0 || size == 0 ||
        advice != MADV_DONTNEED)
        advised.wrong = true;
    if (advised.refuse || advised.refuse_next > 0) {
        advised.refuse_next -= advised.refuse_next > 0;
        errno = EAGAIN;
        return -1;
    }
    advised.bytes += size;
    if (advised.largest < size)
        advised.largest = size;
    return (int)syscall(SYS_madvise, p, size, advice);
}

// resident_bytes returns how much of the n bytes from p on, whole pages, takes
// memory of the machine.
static inline size_t resident_bytes(void *p, size_t n)
{
    static unsigned char pages[1 << 16];
    size_t os_page = (size_t)sysconf(_SC_PAGESIZE);
    size_t resident = 0;
    while (n > 0) {
        size_t here = n / os_page < sizeof pages ? n / os_page : sizeof pages;
        if (mincore(p, here * os_page, pages) != 0)
            return SIZE_MAX;
        for (size_t i = 0; i < here; i++)
            resident += (pages[i] & 1) * os_page;
        p = (char *)p + here * os_page;
        n -= here * os_page;
    }
    return resident;
}

#endif
