// malloc.c - every call moves the program break.
//
// The heap is one stretch of memory that ends at the program break. malloc
// moves the break up and returns the memory that this adds. Nothing is written
// down about a block, so nothing can be taken back.
//
//     start                                         the break
//     | block | block |   block   | block | block   |  not mapped
//
// Invariant  Every block lies between start and the break, at a multiple of 16.
// Locking    None: one thread only.
// Source     sbrk(2); K. Thompson, D. Ritchie, Unix, the call break

#include "mm.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"

// The first block, or NULL before the first call.
static char *start;

static struct mm_stats stats;

// move_break raises the program break by n bytes. Returns where it was: there
// the added memory begins. NULL, with errno ENOMEM, if the OS refuses.
static char *move_break(size_t n)
{
    if (n > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    count(&stats.sbrks, 1);
    char *old_break = sbrk((intptr_t)n);
    if (old_break == (char *)-1)
        return NULL;
    count_level(&stats.bytes_from_os, &stats.bytes_from_os_peak,
                stats.bytes_from_os + n);
    return old_break;
}

// allocate returns size bytes at a multiple of align, or NULL.
static void *allocate(size_t align, size_t size)
{
    if (size > PTRDIFF_MAX - align) {
        errno = ENOMEM;
        return NULL;
    }
    // No two blocks may have the same address, so even 0 bytes take 16.
    size = round_up(size + (size == 0), MM_ALIGNMENT);

    // Whoever else moves the break may leave it anywhere.
    size_t padding = padding_to(sbrk(0), align);
    char *added = move_break(padding + size);
    if (added == NULL)
        return NULL;

    char *block = added + padding;
    if (start == NULL)
        start = block;
    count(&stats.mallocs, 1);
    count_level(&stats.bytes_in_use, &stats.bytes_in_use_peak,
                stats.bytes_in_use + size);
    return block;
}

void *mm_malloc(size_t size)
{
    return allocate(MM_ALIGNMENT, size);
}

void *mm_alloc_aligned(size_t align, size_t size)
{
    return allocate(align, size);
}

// mm_free has nothing to go by: neither where the block ends, nor a place to
// remember that it is free.
void mm_free(void *p)
{
    if (p != NULL)
        count(&stats.frees, 1);
}

// mm_block_size cannot know. 0 is never too much.
size_t mm_block_size(const void *p, const char *call)
{
    (void)p;
    (void)call;
    return 0;
}

// mm_realloc does not know where the block ends, but the new one lies above
// it. Copying all that lies between is too much, never too little.
void *mm_realloc(void *p, size_t size)
{
    if (p != NULL && size == 0) {
        mm_free(p);
        return NULL;
    }
    char *q = mm_malloc(size);
    if (p == NULL || q == NULL)
        return q;

    size_t between = (size_t)(q - (char *)p);
    memcpy(q, p, between < size ? between : size);
    mm_free(p);
    return q;
}

// mm_walk can show only that there is memory: where the blocks are in it,
// nobody knows.
void mm_walk(mm_visit *visit, void *ctx)
{
    if (start == NULL)
        return;
    struct mm_item region = {
        .kind = MM_REGION,
        .addr = start,
        .size = (size_t)((char *)sbrk(0) - start),
    };
    visit(&region, ctx);
}

bool mm_check(void)
{
    if (start == NULL)
        return true;
    if (padding_to(start, MM_ALIGNMENT) != 0)
        return mm_complain("the heap starts at a multiple of 16", start);
    if ((char *)sbrk(0) <= start)
        return mm_complain("the heap ends above its start", start);
    return true;
}

void mm_stats(struct mm_stats *out)
{
    *out = stats;
}
