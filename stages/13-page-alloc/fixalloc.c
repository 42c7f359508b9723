// fixalloc.c - memory for the allocator's own structs, apart from the heap.
//
// What the program writes past the end of a block hits another block, but not
// the books of the allocator. A struct that was freed is used again for one of
// the same type only, and its memory is never given back: so a thread may look
// at a struct that is just being freed, and finds one of that type, if an old
// one.
//
// Locking    mheap.lock guards all of it.
// TCMalloc   PageHeapAllocator, MetaDataAlloc
// Go         mfixalloc.go, persistentalloc in malloc.go

#include "heap.h"

#include "bits.h"
#include "check.h"

// So much comes from the OS at a time; what is large comes alone. What is not
// written to costs nothing.
enum { PERSISTENT_CHUNK = 1 << 17 };

// What is left of the last chunk.
static char *chunk GUARDED_BY(mheap.lock);
static size_t chunk_left GUARDED_BY(mheap.lock);

// Go: func persistentalloc (malloc.go)
void *persistent_alloc(size_t size)
{
    assert_lock_held(&mheap.lock);
    size = round_up(size, MM_ALIGNMENT);
    if (size > PERSISTENT_CHUNK / 4) {
        void *large = sys_alloc(round_up(size, PAGE_SIZE));
        count(&mheap.stats.bytes_of_metadata, large == NULL ? 0 : size);
        return large;
    }
    if (chunk_left < size) {
        char *p = sys_alloc(PERSISTENT_CHUNK);
        if (p == NULL)
            return NULL;
        chunk = p;
        chunk_left = PERSISTENT_CHUNK;
    }
    void *p = chunk;
    chunk += size;
    chunk_left -= size;
    count(&mheap.stats.bytes_of_metadata, size);
    return p;
}

// Go: func (f *fixalloc) alloc (mfixalloc.go)
void *fixalloc_alloc(struct fixalloc *f)
{
    assert_lock_held(&mheap.lock);
    if (f->list == NULL)
        return persistent_alloc(f->size);
    void *p = f->list;
    f->list = *(void **)p;
    return p;
}

// Go: func (f *fixalloc) free (mfixalloc.go)
void fixalloc_free(struct fixalloc *f, void *p)
{
    assert_lock_held(&mheap.lock);
    *(void **)p = f->list;
    f->list = p;
}
