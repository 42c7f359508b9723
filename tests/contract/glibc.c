// glibc.c - the C library's malloc in place of a stage (STAGE=glibc): a
// contract test that fails there is wrong, unless it says why.

#include <malloc.h>
#include <stdlib.h>

#include "mm.h"

void *mm_malloc(size_t size)
{
    return malloc(size);
}

void mm_free(void *p)
{
    free(p);
}

void *mm_malloc_noscan(size_t size)
{
    return malloc(size);
}

void *mm_calloc(size_t n, size_t size)
{
    return calloc(n, size);
}

void *mm_realloc(void *p, size_t size)
{
    return realloc(p, size);
}

void *mm_reallocarray(void *p, size_t n, size_t size)
{
    return reallocarray(p, n, size);
}

void *mm_aligned_alloc(size_t align, size_t size)
{
    return aligned_alloc(align, size);
}

void *mm_memalign(size_t align, size_t size)
{
    return memalign(align, size);
}

int mm_posix_memalign(void **out, size_t align, size_t size)
{
    return posix_memalign(out, align, size);
}

void *mm_valloc(size_t size)
{
    return valloc(size);
}

void *mm_pvalloc(size_t size)
{
    return pvalloc(size);
}

size_t mm_usable_size(const void *p)
{
    return malloc_usable_size((void *)(uintptr_t)p);
}

bool mm_release(size_t pad)
{
    return malloc_trim(pad) != 0;
}

void mm_walk(mm_visit *visit, void *ctx)
{
    (void)visit;
    (void)ctx;
}

bool mm_check(void)
{
    return true;
}

void mm_stats(struct mm_stats *out)
{
    *out = (struct mm_stats){0};
}
