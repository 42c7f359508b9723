// free_objects.h - free objects on their way, however a stage links them.
//
// Some stages thread a list through the free objects (mlink.h), others keep
// their addresses in an array. Tests that do not care see an array.

#ifndef UNIT_FREE_OBJECTS_H
#define UNIT_FREE_OBJECTS_H

#include "heap.h"

#if __has_include("mlink.h")

#include "mlink.h"

// The longest that a list of a thread may become.
enum { LONGEST_LIST = 8192 };

// central_take takes up to n objects of a class off the central list, and
// stores them in objects. Returns how many; SIZE_MAX if they are not free
// objects, or not as many as mcentral_remove_range says.
static inline size_t central_take(unsigned sizeclass, void **objects, size_t n)
{
    struct mlink *list = NULL;
    size_t got = mcentral_remove_range(sizeclass, &list, n);
    for (size_t i = 0; i < got; i++) {
        if (list == NULL || !mlink_is_sealed(list))
            return SIZE_MAX;
        objects[i] = mlink_pop(&list);
    }
    return list == NULL ? got : SIZE_MAX;
}

// central_give brings n objects of a class back, in their order.
static inline void central_give(unsigned sizeclass, void **objects, size_t n)
{
    struct mlink *list = NULL;
    while (n > 0)
        mlink_push(&list, objects[--n]);
    mcentral_insert_range(sizeclass, list);
}

// list_next returns what a thread takes next off its list; NULL: it is empty.
static inline void *list_next(const struct mcache_list *list)
{
    return list->head;
}

#else

enum { LONGEST_LIST = MAX_LIST_LENGTH };

static inline size_t central_take(unsigned sizeclass, void **objects, size_t n)
{
    return mcentral_remove_range(sizeclass, objects, n);
}

static inline void central_give(unsigned sizeclass, void **objects, size_t n)
{
    mcentral_insert_range(sizeclass, objects, n);
}

static inline void *list_next(const struct mcache_list *list)
{
    return list->length == 0 ? NULL : list->objects[list->length - 1];
}

#endif

#endif
