// mm_api.c - the malloc family on top of what a stage defines.
//
// Every function here is weak: a stage that defines it, too, wins.
//
// Sources  ISO C 7.22.3, POSIX, and the manual of glibc where those two leave
//          a choice (realloc(p, 0) frees; memalign rounds up).

#include "mm.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"

#define WEAK __attribute__((weak))

// fail sets errno and returns NULL.
static void *fail(int error)
{
    errno = error;
    return NULL;
}

WEAK void *mm_malloc_noscan(size_t size)
{
    return mm_malloc(size);
}

WEAK void *mm_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return fail(ENOMEM);

    void *p = mm_malloc(bytes);
    if (p == NULL)
        return NULL;
    if (mm_is_zero(p))
        return p;
    size_t usable = mm_usable_size(p);
    return memset(p, 0, usable > bytes ? usable : bytes);
}

WEAK void *mm_realloc(void *p, size_t size)
{
    if (p == NULL)
        return mm_malloc(size);
    if (size == 0) {
        mm_free(p);
        return NULL;
    }

    size_t old_size = mm_block_size(p, "realloc");
    // Stay if it fits and wastes less than half.
    if (size <= old_size && old_size / 2 <= size)
        return p;
    if (mm_resize(p, size))
        return p;

    int saved_errno = errno;
    void *q = mm_malloc(size);
    if (q == NULL) {
        if (size > old_size)
            return NULL;
        errno = saved_errno; // the old block is large enough, after all
        return p;
    }
    memcpy(q, p, old_size < size ? old_size : size);
    mm_free(p);
    return q;
}

WEAK void *mm_reallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        return fail(ENOMEM);
    return mm_realloc(p, bytes);
}

// allocate_aligned leaves to the stage only what can be satisfied.
static void *allocate_aligned(size_t align, size_t size)
{
    if (align <= MM_ALIGNMENT)
        return mm_malloc(size);
    if (align > PTRDIFF_MAX || size > PTRDIFF_MAX)
        return fail(ENOMEM);
    return mm_alloc_aligned(align, size);
}

WEAK void *mm_aligned_alloc(size_t align, size_t size)
{
    if (!is_power_of_two(align))
        return fail(EINVAL);
    return allocate_aligned(align, size);
}

WEAK void *mm_memalign(size_t align, size_t size)
{
    if (align > SIZE_MAX / 2 + 1)
        return fail(EINVAL); // no power of two above it
    size_t power = MM_ALIGNMENT;
    while (power < align)
        power *= 2;
    return allocate_aligned(power, size);
}

WEAK int mm_posix_memalign(void **out, size_t align, size_t size)
{
    if (!is_power_of_two(align) || align % sizeof(void *) != 0)
        return EINVAL;

    int saved_errno = errno;
    void *p = allocate_aligned(align, size);
    errno = saved_errno;
    if (p == NULL)
        return ENOMEM;
    *out = p;
    return 0;
}

// os_page returns the size of a page of the OS, a power of two.
static size_t os_page(void)
{
    return (size_t)sysconf(_SC_PAGESIZE);
}

WEAK void *mm_valloc(size_t size)
{
    return allocate_aligned(os_page(), size);
}

WEAK void *mm_pvalloc(size_t size)
{
    if (size > PTRDIFF_MAX)
        return fail(ENOMEM);
    return allocate_aligned(os_page(), round_up(size + (size == 0), os_page()));
}

WEAK size_t mm_usable_size(const void *p)
{
    return p == NULL ? 0 : mm_block_size(p, "malloc_usable_size");
}

WEAK bool mm_is_zero(const void *p)
{
    (void)p;
    return false;
}

WEAK bool mm_resize(void *p, size_t size)
{
    (void)p;
    (void)size;
    return false;
}

WEAK void mm_start_thread(void)
{
}

WEAK bool mm_release(size_t pad)
{
    (void)pad;
    return false;
}

WEAK void mm_lock_all(void)
{
}

WEAK void mm_unlock_all(void)
{
}

WEAK void mm_fork_child(void)
{
}
