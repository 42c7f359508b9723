// page_states.h - what each page of some chunks is to the scavenger, one by
// one, and what heap.h promises about them, done page by page.

#ifndef UNIT_PAGE_STATES_H
#define UNIT_PAGE_STATES_H

#include "heap.h"
#include "test.h"

// page_alloc_begin makes p, all 0, an empty page allocator whose pages have no
// memory behind them. The preprocessor sees no function of heap.h, but it sees
// files: summaries came with ranges.
static inline void page_alloc_begin(struct page_alloc *p, size_t huge_pages)
{
#if __has_include("mranges.c")
    page_alloc_init(p);
#endif
    p->test = true;
    p->huge_pages = huge_pages;
}

// take_candidates stores, for each page of a chunk, whether it can be
// scavenged: it lies in an aligned group of min pages that are all free and not
// scavenged, in the words up to that of search_idx.
static inline void take_candidates(const struct palloc_data *m,
                                   size_t search_idx, size_t min,
                                   bool candidates[PALLOC_CHUNK_PAGES])
{
    for (size_t group = 0; group < PALLOC_CHUNK_PAGES; group += min) {
        bool all = group / 64 <= search_idx / 64;
        for (size_t i = group; i < group + min; i++)
            if (((m->alloc.words[i / 64] | m->scavenged.words[i / 64]) >>
                     i % 64 &
                 1) != 0)
                all = false;
        for (size_t i = group; i < group + min; i++)
            candidates[i] = all;
    }
}

// expected_candidate returns the highest of these pages in a row: about max (0:
// min), rounded up to whole groups; and if the lowest of them lies in a huge
// page that could all go, that from its first page on.
static inline struct page_range expected_candidate(
    const bool candidates[PALLOC_CHUNK_PAGES], size_t min, size_t max,
    size_t huge_pages)
{
    size_t end = PALLOC_CHUNK_PAGES;
    while (end > 0 && !candidates[end - 1])
        end--;
    if (end == 0)
        return (struct page_range){0, 0};

    size_t want = max == 0 ? min : (max + min - 1) / min * min;
    size_t start = end;
    while (start > 0 && candidates[start - 1] && end - start < want)
        start--;
    if (huge_pages > 1) {
        size_t huge = start - start % huge_pages;
        bool whole = huge + huge_pages <= end;
        for (size_t i = huge; whole && i < huge + huge_pages; i++)
            whole = candidates[i];
        if (whole)
            start = huge;
    }
    return (struct page_range){start, end - start};
}

#endif
