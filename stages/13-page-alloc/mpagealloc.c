// mpagealloc.c - the page allocator: finds free pages, by a tree of summaries.
//
// A chunk is 512 pages in a row, 4 MiB, and has a bitmap. A summary says of
// some memory how many free pages it begins with, the most in a row, and how
// many it ends with. Those of the chunks are the lowest level of a tree; an
// entry of a level above summarises eight of the level below:
//
//     level  0        1       2         3        4
//     entry  16 GiB   2 GiB   256 MiB   32 MiB   4 MiB, a chunk
//
// The search is first fit: the lowest address wins. On each level, it reads the
// entries of one row from the lowest on. If a run of free pages that goes on
// from entry to entry is long enough, that is the answer. If one entry has such
// a run inside, the search goes on in its children; at the bottom, in the
// bitmap. So below the root it visits eight entries on each level, at most,
// however large the heap is; in the root, one for each 16 GiB of the heap.
//
// Below search_addr, no page is free: what lies there is skipped. A search
// learns an address below which no page is free, and the next one begins there.
//
// A second bit says whether a free page takes memory of the machine:
// mgcscavenge.c.
//
// Invariant  I1 A page can be handed out exactly if its chunk is in in_use and
//               its bit is 0.
//            I2 Every chunk in in_use lies in start .. end-1.
//            I3 The summary of a chunk follows from its bits, that of an entry
//               above from its children; where nothing is in use, it is 0.
//            I4 No page below search_addr is free.
// Locking    mheap.lock guards a page allocator and all its tables.
// Go         mpagealloc.go

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

// chunk_of returns the chunk ci, which is in use.
//
// Go: func (p *pageAlloc) chunkOf (mpagealloc.go)
static inline struct palloc_data *chunk_of(const struct page_alloc *p,
                                           chunk_idx ci)
{
    return &p->tables[table_index(ci)]->chunks[index_in_table(ci)];
}

chunk_idx page_alloc_next_chunk(const struct page_alloc *p, chunk_idx ci)
{
    uintptr_t found;
    assert_lock_held(&mheap.lock);
    return ci < p->end && addr_ranges_find_addr_greater_equal(
                              &p->in_use, chunk_base(ci), &found)
               ? chunk_index(found)
               : p->end;
}

// Go: func (p *pageAlloc) tryChunkOf (mpagealloc.go)
struct palloc_data *page_alloc_chunk(const struct page_alloc *p, chunk_idx ci)
{
    return addr_ranges_contains(&p->in_use, chunk_base(ci)) ? chunk_of(p, ci)
                                                            : NULL;
}

// ---------------------------------------------------------------------------
// Summaries.

// MAX_PACKED pages in a row have no place in their part of a summary; there are
// so many only where all is free, and bit 63 says so.
static const palloc_sum all_free = UINT64_C(1) << 63;
static const palloc_sum packed_mask = MAX_PACKED - 1;

// Go: func packPallocSum (mpagealloc.go)
palloc_sum pack_palloc_sum(struct palloc_runs runs)
{
    if (runs.max == MAX_PACKED)
        return all_free;
    return (runs.start & packed_mask) |
           (runs.max & packed_mask) << LOG_MAX_PACKED |
           (runs.end & packed_mask) << 2 * LOG_MAX_PACKED;
}

// Go: func (p pallocSum) unpack (mpagealloc.go)
struct palloc_runs unpack_palloc_sum(palloc_sum sum)
{
    if ((sum & all_free) != 0)
        return (struct palloc_runs){MAX_PACKED, MAX_PACKED, MAX_PACKED};
    return (struct palloc_runs){
        .start = sum & packed_mask,
        .max = sum >> LOG_MAX_PACKED & packed_mask,
        .end = sum >> 2 * LOG_MAX_PACKED & packed_mask,
    };
}

// Go: func mergeSummaries (mpagealloc.go)
palloc_sum merge_summaries(const palloc_sum *sums, size_t n,
                           unsigned log_max_pages)
{
    const size_t whole = (size_t)1 << log_max_pages;
    struct palloc_runs all = unpack_palloc_sum(sums[0]);

    for (size_t i = 1; i < n; i++) {
        struct palloc_runs here = unpack_palloc_sum(sums[i]);
        if (all.start == i * whole)
            all.start += here.start;
        if (all.max < all.end + here.start)
            all.max = all.end + here.start;
        if (all.max < here.max)
            all.max = here.max;
        all.end = here.end == whole ? all.end + whole : here.end;
    }
    return pack_palloc_sum(all);
}

palloc_sum page_alloc_summary(const struct page_alloc *p, unsigned level,
                              size_t i)
{
    if (p->blocks[i >> level * SUMMARY_LEVEL_BITS] == NULL)
        return 0;
    return *summary_at(p, level, i);
}

// chunk_summary returns what the bits of chunk ci say.
static palloc_sum chunk_summary(const struct page_alloc *p, chunk_idx ci)
{
    return pack_palloc_sum(palloc_bits_summarize(&chunk_of(p, ci)->alloc));
}

// parent_summary returns what the children of entry i of a level say.
static palloc_sum parent_summary(const struct page_alloc *p, unsigned level,
                                 size_t i)
{
    return merge_summaries(summary_at(p, level + 1, i << SUMMARY_LEVEL_BITS),
                           1 << SUMMARY_LEVEL_BITS, level_log_pages(level + 1));
}

// On the way up, it stops at a level where nothing changes.
//
// Go: func (p *pageAlloc) update (mpagealloc.go)
void page_alloc_update(struct page_alloc *p, uintptr_t base, size_t npages)
{
    assert_lock_held(&mheap.lock);
    uintptr_t last = base + npages * PAGE_SIZE - 1;
    bool changed = true;

    for (unsigned level = SUMMARY_LEVELS; level-- > 0 && changed;) {
        changed = false;
        for (size_t i = base >> level_shift(level);
             i <= last >> level_shift(level); i++) {
            palloc_sum *sum = summary_at(p, level, i);
            palloc_sum old = *sum;
            *sum = level == SUMMARY_LEVELS - 1 ? chunk_summary(p, i)
                                               : parent_summary(p, level, i);
            changed |= *sum != old;
        }
    }
}

// ---------------------------------------------------------------------------
// Growing.

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
    if (!page_alloc_sys_grow(p, base, base + size) ||
        !addr_ranges_add(&p->in_use, (struct addr_range){base, base + size}))
        return false;
    for (chunk_idx ci = start; ci < end; ci++)
        page_bits_set_range(&chunk_of(p, ci)->scavenged, 0, PALLOC_CHUNK_PAGES);
    if (p->end == 0 || start < p->start)
        p->start = start;
    if (end > p->end)
        p->end = end;
    if (base < p->search_addr)
        p->search_addr = base;
    page_alloc_update(p, base, size / PAGE_SIZE);
    return true;
}

// ---------------------------------------------------------------------------
// Searching.

// see_free narrows the window first_free, in which the lowest free page of the
// heap lies, to size bytes at base, if these lie in it: some page there is
// free.
static void see_free(struct addr_range *first_free, uintptr_t base, size_t size)
{
    if (base < first_free->base || base + size > first_free->limit) {
        ASSERT(base + size <= first_free->base || base >= first_free->limit);
        return;
    }
    *first_free = (struct addr_range){base, base + size};
}

// Go: func (p *pageAlloc) findMappedAddr (mpagealloc.go)
static uintptr_t find_mapped_addr(const struct page_alloc *p, uintptr_t addr)
{
    uintptr_t found;
    return addr_ranges_find_addr_greater_equal(&p->in_use, addr, &found)
               ? found
               : MAX_SEARCH_ADDR;
}

// What a search learns from the entries of a row: a run of pages, which goes on
// from entry to entry, or an entry to look into.
struct row_found {
    size_t first, n; // pages from the start of the row on, and how many
    size_t inside; // the number of the entry in the level; SIZE_MAX: none
};

// search_row looks for npages free pages in the entries of a row: on the level,
// those from i on.
static struct row_found search_row(const struct page_alloc *p, unsigned level,
                                   size_t i, size_t npages,
                                   struct addr_range *first_free)
{
    const size_t whole = (size_t)1 << level_log_pages(level);
    size_t n = (size_t)1 << level_bits(level);
    struct row_found run = {.inside = SIZE_MAX};
    size_t search = p->search_addr >> level_shift(level);
    size_t j = search / n * n == i ? search % n : 0;

    // Above end, all summaries are 0; there are many in the root.
    if (level == 0)
        n = ((chunk_base(p->end) - 1) >> level_shift(0)) + 1;
    for (; j < n; j++) {
        palloc_sum sum = *summary_at(p, level, i + j);
        count(&mheap.stats.nodes_visited, 1);
        if (sum == 0) {
            run.n = 0;
            continue;
        }
        see_free(first_free, (i + j) << level_shift(level), whole * PAGE_SIZE);
        struct palloc_runs here = unpack_palloc_sum(sum);
        if (run.n + here.start >= npages) {
            if (run.n == 0)
                run.first = j * whole;
            run.n += here.start;
            return run;
        }
        if (here.max >= npages) {
            run.inside = i + j;
            return run;
        }
        if (run.n == 0 || here.start < whole) {
            run.n = here.end;
            run.first = (j + 1) * whole - here.end;
        } else {
            run.n += whole;
        }
    }
    return run;
}

// Go: func (p *pageAlloc) find (mpagealloc.go)
struct page_found page_alloc_find(const struct page_alloc *p, size_t npages)
{
    struct addr_range first_free = {0, UINT64_C(1) << HEAP_ADDR_BITS};
    size_t i = 0;

    assert_lock_held(&mheap.lock);
    if (p->end == 0)
        return (struct page_found){0, MAX_SEARCH_ADDR};
    for (unsigned level = 0; level < SUMMARY_LEVELS; level++) {
        i <<= level_bits(level);
        struct row_found found = search_row(p, level, i, npages, &first_free);
        if (found.inside != SIZE_MAX) {
            i = found.inside;
            continue;
        }
        if (found.n >= npages)
            return (struct page_found){(i << level_shift(level)) +
                                           found.first * PAGE_SIZE,
                                       find_mapped_addr(p, first_free.base)};
        // The parent said that there is a run.
        CHECK(level == 0);
        return (struct page_found){0, MAX_SEARCH_ADDR};
    }

    struct palloc_found found =
        palloc_bits_find(&chunk_of(p, i)->alloc, npages, 0);
    count(&mheap.stats.nodes_visited, 1);
    CHECK(found.page != SIZE_MAX); // its summary said so
    uintptr_t lowest = chunk_base(i) + found.search_idx * PAGE_SIZE;
    see_free(&first_free, lowest, chunk_base(i + 1) - lowest);
    return (struct page_found){chunk_base(i) + found.page * PAGE_SIZE,
                               find_mapped_addr(p, first_free.base)};
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
    for (size_t n, done = 0; done < npages; done += n) {
        uintptr_t at = base + done * PAGE_SIZE;
        struct palloc_data *chunk = chunk_of(p, chunk_index(at));
        size_t i = chunk_page_index(at);
        n = pages_here(at, npages - done);
        page_bits_set_range(&chunk->alloc, i, n);
        scav += page_bits_popcnt_range(&chunk->scavenged, i, n);
        page_bits_clear_range(&chunk->scavenged, i, n);
    }
    p->ready += scav;
    page_alloc_update(p, base, npages);
    return scav;
}

// Go: func (p *pageAlloc) alloc (mpagealloc.go)
struct page_run page_alloc_alloc(struct page_alloc *p, size_t npages)
{
    assert_lock_held(&mheap.lock);
    chunk_idx ci = chunk_index(p->search_addr);
    size_t i = chunk_page_index(p->search_addr);
    struct page_found found;

    if (ci >= p->end)
        return (struct page_run){0, 0};
    if (PALLOC_CHUNK_PAGES - i >= npages &&
        unpack_palloc_sum(page_alloc_summary(p, SUMMARY_LEVELS - 1, ci)).max >=
            npages) {
        // The chunk where the last search ended has room.
        struct palloc_found here =
            palloc_bits_find(&chunk_of(p, ci)->alloc, npages, i);
        count(&mheap.stats.nodes_visited, 1);
        CHECK(here.page != SIZE_MAX);
        found.base = chunk_base(ci) + here.page * PAGE_SIZE;
        found.search_addr = chunk_base(ci) + here.search_idx * PAGE_SIZE;
    } else {
        found = page_alloc_find(p, npages);
        if (found.base == 0) {
            if (npages == 1) // nothing at all is free
                p->search_addr = MAX_SEARCH_ADDR;
            return (struct page_run){0, 0};
        }
    }
    struct page_run run = {found.base,
                           page_alloc_alloc_range(p, found.base, npages)};
    // Not above the pages just taken: it may point at one of them.
    if (p->search_addr < found.search_addr)
        p->search_addr = found.search_addr;
    return run;
}

// Go: func (p *pageAlloc) free (mpagealloc.go)
void page_alloc_free(struct page_alloc *p, uintptr_t base, size_t npages,
                     bool scavenged)
{
    assert_lock_held(&mheap.lock);
    if (!scavenged)
        scavenge_index_mark(p, base, base + npages * PAGE_SIZE);
    for (size_t n, done = 0; done < npages; done += n) {
        uintptr_t at = base + done * PAGE_SIZE;
        n = pages_here(at, npages - done);
        page_bits_clear_range(&chunk_of(p, chunk_index(at))->alloc,
                              chunk_page_index(at), n);
    }
    if (base < p->search_addr)
        p->search_addr = base;
    page_alloc_update(p, base, npages);
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

// ---------------------------------------------------------------------------

// check_block tests I3 in the block below entry r of the root.
static bool check_block(const struct page_alloc *p, size_t r)
    REQUIRES(mheap.lock)
{
    for (unsigned level = SUMMARY_LEVELS; level-- > 0;) {
        size_t n = (size_t)1 << level * SUMMARY_LEVEL_BITS;
        for (size_t i = r * n; i < (r + 1) * n; i++) {
            palloc_sum sum = 0;
            if (level < SUMMARY_LEVELS - 1)
                sum = parent_summary(p, level, i);
            else if (page_alloc_chunk(p, i) != NULL)
                sum = chunk_summary(p, i);
            if (sum != *summary_at(p, level, i))
                return mm_complain("I3 summaries follow from the bits",
                                   (void *)(i << level_shift(level)));
        }
    }
    return true;
}

bool page_alloc_check(const struct page_alloc *p)
{
    assert_lock_held(&mheap.lock);
    if (!addr_ranges_check(&p->in_use))
        return false;
    for (size_t r = 0; r < 1 << SUMMARY_L0_BITS; r++) {
        if (p->blocks[r] != NULL && !check_block(p, r))
            return false;
        if (p->blocks[r] == NULL && p->root != NULL && p->root[r] != 0)
            return mm_complain("I3 where nothing is in use, nothing is free",
                               (void *)(r << level_shift(0)));
    }
    for (chunk_idx ci = page_alloc_next_chunk(p, 0); ci < p->end;
         ci = page_alloc_next_chunk(p, ci + 1)) {
        struct palloc_found lowest =
            palloc_bits_find(&chunk_of(p, ci)->alloc, 1, 0);
        if (ci < p->start)
            return mm_complain("I2 every chunk lies above start",
                               (void *)chunk_base(ci));
        if (lowest.page != SIZE_MAX &&
            chunk_base(ci) + lowest.page * PAGE_SIZE < p->search_addr)
            return mm_complain("I4 no page below search_addr is free",
                               (void *)chunk_base(ci));
    }
    return true;
}
