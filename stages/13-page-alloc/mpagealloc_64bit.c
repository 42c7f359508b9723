// mpagealloc_64bit.c - where the summaries are, when there are too many
// addresses to have them all.
//
// The root has an entry for each 16 GiB that an address can lie in: 16384 of
// them. Each is the top of a tree, and the rest of that tree is one block, made
// when the heap first comes there:
//
//     root   | 16 GiB | 16 GiB | 16 GiB | ...                16384 entries
//                 |
//     block  | 8 of 2 GiB | 64 of 256 MiB | 512 of 32 MiB | 4096 of 4 MiB |
//
// In a block, a level lies behind the one above it, and the eight children of
// an entry lie in a row. So an entry is found by its level and its number,
// without pointers.
//
// Unlike Go: Go reserves addresses for all summaries there can be, 585 MiB of
// them, and maps those that it needs. That cannot work where address space is
// limited.
//
// Locking    mheap.lock guards all of it.
// Go         mpagealloc_64bit.go

#include "heap.h"

#include "check.h"

_Static_assert(SUM_OFFSET(2) == 1 << SUMMARY_LEVEL_BITS,
               "the second level of a block lies behind the first");

// Go: func (p *pageAlloc) sysGrow (mpagealloc_64bit.go)
bool page_alloc_sys_grow(struct page_alloc *p, uintptr_t base, uintptr_t limit)
{
    assert_lock_held(&mheap.lock);
    if (p->root == NULL)
        p->root = persistent_alloc(sizeof *p->root << SUMMARY_L0_BITS);
    if (p->root == NULL)
        return false;
    for (size_t i = base >> level_shift(0); i <= (limit - 1) >> level_shift(0);
         i++) {
        if (p->blocks[i] == NULL)
            p->blocks[i] = persistent_alloc(sizeof *p->blocks[i]);
        if (p->blocks[i] == NULL)
            return false;
    }
    return true;
}
