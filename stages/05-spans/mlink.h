// mlink.h - free objects as a list, whose links lie in the objects themselves.
//
//     list -> | next | seal | free ... |   an object of 16 bytes or more
//               |
//               v
//             | NULL | seal | free ... |
//
// A free object is sealed: its second word is made of its address and its first
// word. So an object that is freed again is noticed; and so is, when a free
// object is taken, that somebody wrote to these words meanwhile. One that is
// handed out is not sealed, unless the program itself makes the same 8 bytes.
//
// TCMalloc   linked_list.h
// Go         gclink in mcache.go

#ifndef MLINK_H
#define MLINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mlink {
    struct mlink *next; // NULL: the last
    uint64_t seal; // mlink_seal of this link
};

// mlink_seal returns the seal of a free object. The number is any that no
// program is likely to compute.
static inline uint64_t mlink_seal(const struct mlink *link)
{
    return ((uintptr_t)link ^ (uintptr_t)link->next) +
           UINT64_C(0x9D39247E33776D41);
}

// mlink_is_sealed tells whether the object at p is free and unchanged.
static inline bool mlink_is_sealed(const void *p)
{
    const struct mlink *link = p;
    return link->seal == mlink_seal(link);
}

// mlink_push puts the object p first on the list.
static inline void mlink_push(struct mlink **list, void *p)
{
    struct mlink *link = p;
    link->next = *list;
    link->seal = mlink_seal(link);
    *list = link;
}

// mlink_pop takes the first object off the list and returns it. The caller has
// seen that there is one, and that it is sealed.
static inline void *mlink_pop(struct mlink **list)
{
    struct mlink *link = *list;
    *list = link->next;
    link->seal = 0;
    return link;
}

#endif
