// mpagealloc.c - the page allocator: finds free pages, in bitmaps of chunks.
//
// A chunk is 512 pages in a row, 4 MiB, and has a bitmap. An address of 48 bits
// is the number of a chunk, of a page in it, and of a byte in that. Bitmaps are
// in tables, which are made when the heap first comes to their part of the
// address space:
//
//     47             35 34            22 21      13 12            0
//     | table: 13      | chunk: 13      | page: 9  | byte in page |
//
// The search is first fit: the lowest address wins, so the heap stays dense,
// and what is above stays free in one piece. It goes from the lowest chunk to
// the highest, and remembers a run that ends with a chunk, for it may go on in
// the next one.
//
// A second bit says whether a free page takes memory of the machine:
// mgcscavenge.c.
//
// Invariant  I1 A page can be handed out exactly if its chunk is grown and its
//               bit is 0.
//            I2 Every grown chunk lies in start .. end-1.
// Locking    mheap.lock guards a page allocator and all its tables.
// Go         mpagealloc.go; there, a tree of summaries spares the search most
//            chunks

#include "heap.h"

#include "bits.h"
#include "check.h"

// Go: func (i chunkIdx) l1 (mpagealloc.go)
static inline size_t table_index(chunk_idx ci)
{
    return ci >> CHUNK_TABLE_BITS;
}

static inline size_t index_in_table(chunk_idx ci)
{
    return ci & ((1 << CHUNK_TABLE_BITS) - 1);
}

// chunk_of returns the chunk ci, which is grown.
//
// Go: func (p *pageAlloc) chunkOf (mpagealloc.go)
static inline struct palloc_data *chunk_of(const struct page_alloc *p,
                                           chunk_idx ci)
{
    return &p->tables[table_index(ci)]->chunks[index_in_table(ci)];
}

// page_alloc_next_chunk skips the gaps 64 chunks at a time.
chunk_idx page_alloc_next_chunk(const struct page_alloc *p, chunk_idx ci)
{
    assert_lock_held(&mheap.lock);
    while (ci < p->end) {
        const struct chunk_table *t = p->tables[table_index(ci)];
        if (t == NULL) {
            ci = (table_index(ci) + 1) << CHUNK_TABLE_BITS;
            continue;
        }
        uint64_t word = t->grown[index_in_table(ci) / 64] >> ci % 64;
        if (word != 0)
            return ci + ctz64(word);
        ci = round_up(ci + 1, 64);
    }
    return p->end;
}

// Go: func (p *pageAlloc) tryChunkOf (mpagealloc.go)
struct palloc_data *page_alloc_chunk(const struct page_alloc *p, chunk_idx ci)
{
    return page_alloc_next_chunk(p, ci) == ci && ci < p->end ? chunk_of(p, ci)
                                                             : NULL;
}

// Go: func (p *pageAlloc) grow (mpagealloc.go)
bool page_alloc_grow(struct page_alloc *p, uintptr_t base, size_t size)
{
    assert_lock_held(&mheap.lock);
    chunk_idx start = chunk_index(base);
    chunk_idx end = chunk_index(base + size);
    ASSERT(base % PALLOC_CHUNK_BYTES == 0 && size % PALLOC_CHUNK_BYTES == 0);

    for (size_t i = table_index(start); i <= table_index(end - 1); i++)
        if (p->tables[i] == NULL) {
            p->tables[i] = persistent_alloc(sizeof *p->tables[i]);
            if (p->tables[i] == NULL)
                return false;
        }
    for (chunk_idx ci = start; ci < end; ci++) {
        p->tables[table_index(ci)]->grown[index_in_table(ci) / 64] |=
            UINT64_C(1) << ci % 64;
        page_bits_set_range(&chunk_of(p, ci)->scavenged, 0, PALLOC_CHUNK_PAGES);
    }
    if (p->end == 0 || start < p->start)
        p->start = start;
    if (end > p->end)
        p->end = end;
    return true;
}

// Go: func (p *pageAlloc) find (mpagealloc.go)
uintptr_t page_alloc_find(const struct page_alloc *p, size_t npages)
{
    size_t run = 0; // free pages right below the chunk
    chunk_idx next = 0; // the one after the last that was looked at

    assert_lock_held(&mheap.lock);
    for (chunk_idx ci = page_alloc_next_chunk(p, p->start); ci < p->end;
         ci = page_alloc_next_chunk(p, next)) {
        const struct page_bits *bits = &chunk_of(p, ci)->alloc;
        struct palloc_runs runs = palloc_bits_summarize(bits);
        count(&mheap.stats.nodes_visited, 1);
        if (ci != next)
            run = 0;
        if (run + runs.start >= npages)
            return chunk_base(ci) - run * PAGE_SIZE;
        if (runs.max >= npages)
            return chunk_base(ci) +
                   palloc_bits_find(bits, npages, 0).page * PAGE_SIZE;
        run = runs.start == PALLOC_CHUNK_PAGES ? run + runs.start : runs.end;
        next = ci + 1;
    }
    return 0;
}

// A run of pages is visited chunk by chunk: pages_here returns how many of the
// npages pages from base on lie in the chunk of base.
static inline size_t pages_here(uintptr_t base, size_t npages)
{
    size_t here = PALLOC_CHUNK_PAGES - chunk_page_index(base);
    return npages < here ? npages : here;
}

// Go: func (p *pageAlloc) allocRange (mpagealloc.go)
size_t page_alloc_alloc_range(struct page_alloc *p, uintptr_t base,
                              size_t npages)
{
    size_t scav = 0;

    assert_lock_held(&mheap.lock);
    while (npages > 0) {
        struct palloc_data *chunk = chunk_of(p, chunk_index(base));
        size_t i = chunk_page_index(base);
        size_t n = pages_here(base, npages);
        page_bits_set_range(&chunk->alloc, i, n);
        scav += page_bits_popcnt_range(&chunk->scavenged, i, n);
        page_bits_clear_range(&chunk->scavenged, i, n);
        base += n * PAGE_SIZE;
        npages -= n;
    }
    p->ready += scav;
    return scav;
}

// Go: func (p *pageAlloc) alloc (mpagealloc.go)
struct page_run page_alloc_alloc(struct page_alloc *p, size_t npages)
{
    struct page_run run = {.base = page_alloc_find(p, npages)};
    if (run.base != 0)
        run.scav = page_alloc_alloc_range(p, run.base, npages);
    return run;
}

// Go: func (p *pageAlloc) free (mpagealloc.go)
void page_alloc_free(struct page_alloc *p, uintptr_t base, size_t npages,
                     bool scavenged)
{
    assert_lock_held(&mheap.lock);
    if (!scavenged)
        scavenge_index_mark(p, base, base + npages * PAGE_SIZE);
    while (npages > 0) {
        struct palloc_data *chunk = chunk_of(p, chunk_index(base));
        size_t n = pages_here(base, npages);
        page_bits_clear_range(&chunk->alloc, chunk_page_index(base), n);
        base += n * PAGE_SIZE;
        npages -= n;
    }
}

size_t page_alloc_count(const struct page_alloc *p, uintptr_t base,
                        size_t npages)
{
    size_t used = 0;

    assert_lock_held(&mheap.lock);
    while (npages > 0) {
        const struct palloc_data *chunk =
            page_alloc_chunk(p, chunk_index(base));
        size_t n = pages_here(base, npages);
        used += chunk == NULL ? n
                              : page_bits_popcnt_range(
                                    &chunk->alloc, chunk_page_index(base), n);
        base += n * PAGE_SIZE;
        npages -= n;
    }
    return used;
}

bool page_alloc_is_scavenged(const struct page_alloc *p, uintptr_t page)
{
    assert_lock_held(&mheap.lock);
    const struct palloc_data *chunk = chunk_of(p, chunk_index(page));
    return page_bits_popcnt_range(&chunk->scavenged, chunk_page_index(page),
                                  1) != 0;
}

bool page_alloc_check(const struct page_alloc *p)
{
    assert_lock_held(&mheap.lock);
    for (size_t i = 0; i < 1 << CHUNK_ROOT_BITS; i++)
        for (chunk_idx j = 0; p->tables[i] != NULL && j < 1 << CHUNK_TABLE_BITS;
             j++) {
            chunk_idx ci = (i << CHUNK_TABLE_BITS) + j;
            bool grown = (p->tables[i]->grown[j / 64] >> j % 64 & 1) != 0;
            if (grown && (ci < p->start || ci >= p->end))
                return mm_complain("I2 grown chunks lie in start .. end-1",
                                   (void *)chunk_base(ci));
        }
    return true;
}
