// mspan.c - a span: some pages in a row, and the objects they are cut into.
//
// An object has no header: where it starts and how long it is follows from its
// span. What is left over at the end of a span is too short for an object.
//
//     start_addr                                       mspan_end
//       | object 0 | object 1 | ... | object nelems-1 |  |
//
// Invariant  I1 alloc_count objects are handed out, the others on freelist.
//            I2 What is on freelist is sealed, and starts an object of s.
// TCMalloc   span.h, CentralFreeList::Populate
// Go         mspan in mheap.go

#include "heap.h"

#include "check.h"
#include "mlink.h"

// Go: func (span *mspan) init (mheap.go)
// TCMalloc   CentralFreeList::Populate
void mspan_init_objects(struct mspan *s, unsigned sizeclass)
{
    size_t bytes = s->npages * PAGE_SIZE;

    s->sizeclass = (uint8_t)sizeclass;
    s->elemsize = sizeclass == 0 ? bytes : class_size(sizeclass);
    s->nelems = (uint32_t)(bytes / s->elemsize);
    s->alloc_count = sizeclass == 0;
    s->freelist = NULL;
    // From the last to the first, so that the first is handed out first.
    for (uint32_t i = s->nelems; i > s->alloc_count; i--)
        mlink_push(&s->freelist, s->start_addr + (i - 1) * s->elemsize);
}

bool mspan_is_object(const struct mspan *s, const void *p)
{
    size_t offset = (size_t)((const char *)p - s->start_addr);
    if (s->sizeclass == 0)
        return offset == 0;
    // The span of a class is short, and 32 bits are divided faster than 64.
    uint32_t i = (uint32_t)offset / (uint32_t)s->elemsize;
    return i * s->elemsize == offset && i < s->nelems;
}

bool mspan_check(const struct mspan *s)
{
    if (s->nelems != s->npages * PAGE_SIZE / s->elemsize)
        return mm_complain("a span is cut into as many objects as fit", s);
    size_t used = s->nelems;
    for (const struct mlink *o = s->freelist; o != NULL; o = o->next) {
        if (span_of(o) != s || !mspan_is_object(s, o) || !mlink_is_sealed(o))
            return mm_complain("I2 what is on freelist is a free object", o);
        if (used-- == 0)
            return mm_complain("I2 nothing is on freelist twice", s);
    }
    if (used != s->alloc_count)
        return mm_complain("I1 what is not handed out is on freelist", s);
    return true;
}

// Go: func (list *mSpanList) insert (mheap.go)
void mspan_list_insert(struct mspan_list *list, struct mspan *s)
{
    s->prev = NULL;
    s->next = list->first;
    if (s->next != NULL)
        s->next->prev = s;
    list->first = s;
}

// Go: func (list *mSpanList) remove (mheap.go)
void mspan_list_remove(struct mspan_list *list, struct mspan *s)
{
    if (s->next != NULL)
        s->next->prev = s->prev;
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        list->first = s->next;
    s->prev = NULL;
    s->next = NULL;
}
