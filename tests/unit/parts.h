// parts.h - blocks of fewer than 16 bytes, the objects that they are parts of,
// and what tests write to them.

#ifndef UNIT_PARTS_H
#define UNIT_PARTS_H

#include <string.h>

#include "heap.h"
#include "test.h"

// align_of returns what a part of size bytes is a multiple of, as mm.h says.
static inline size_t align_of(size_t size)
{
    size_t align = 1;
    while (align < 8 && size % (2 * align) == 0)
        align *= 2;
    return align;
}

// place_from returns the first place from an offset on for a part.
static inline size_t place_from(size_t offset, size_t size)
{
    while (offset % align_of(size) != 0)
        offset++;
    return offset;
}

static inline char *object_of(const void *p)
{
    return (char *)((uintptr_t)p / TINY_SIZE * TINY_SIZE);
}

// is_taken tells whether the object that p lies in is not free.
static inline bool is_taken(const void *p)
{
    const struct mspan *s = span_of(p);
    return s != NULL &&
           mspan_is_live(s, (size_t)((char *)p - s->start_addr) / TINY_SIZE);
}

// objects_taken returns how many objects of TINY_SPAN_CLASS are not free.
static inline size_t objects_taken(void)
{
    size_t n = 0;
    lock_acquire(&mheap.lock);
    for (struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s)))
        if (s->state == MSPAN_IN_USE && s->spanclass == TINY_SPAN_CLASS)
            n += mspan_count_alloc(s);
    lock_release(&mheap.lock);
    return n;
}

static inline void free_it(void *p)
{
    mm_free(p);
}

// Contents that depend on address and size: no two parts of an object have the
// same.
static inline unsigned char content(const char *p, size_t size)
{
    return (unsigned char)((uintptr_t)p * 37 + size * 101 + 1);
}

static inline void fill(char *p, size_t size)
{
    memset(p, content(p, size), size);
}

static inline bool is_filled(const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)p[i] != content(p, size))
            return false;
    return true;
}

// allocate_three makes three parts of 4 bytes.
static inline void allocate_three(void *parts)
{
    char **p = parts;
    for (size_t i = 0; i < 3; i++)
        p[i] = mm_malloc_noscan(4);
}

#endif
