// mpallocbits.c - a bit for each page of a chunk: 1, the page is in use.
//
// 512 pages take 64 bytes, a cache line, and a search looks at 64 pages at a
// time. What a search wants to know of a chunk before it looks inside are three
// numbers: how many free pages it begins with, the longest run in it, and how
// many it ends with. For a run may go on in the next chunk.
//
//     page   0          64         128                            448       511
//     word   0          1          2                              7
//            ....####.. .......... ##########        ...          ####......
//            |start|    |<- max ->|                                   | end |
//
// Locking    mheap.lock guards the chunks of the heap.
// Go         mpallocbits.go

#include "heap.h"

#include "bits.h"

// range_mask returns the bits in word w of the n > 0 pages from i on, some of
// which lie there.
static inline uint64_t range_mask(size_t w, size_t i, size_t n)
{
    size_t first = i > w * 64 ? i - w * 64 : 0;
    size_t end = i + n < w * 64 + 64 ? i + n - w * 64 : 64;
    return UINT64_MAX << first & UINT64_MAX >> (64 - end);
}

// Go: func (b *pageBits) setRange (mpallocbits.go)
void page_bits_set_range(struct page_bits *b, size_t i, size_t n)
{
    for (size_t w = i / 64; w <= (i + n - 1) / 64; w++)
        b->words[w] |= range_mask(w, i, n);
}

// Go: func (b *pageBits) clearRange (mpallocbits.go)
void page_bits_clear_range(struct page_bits *b, size_t i, size_t n)
{
    for (size_t w = i / 64; w <= (i + n - 1) / 64; w++)
        b->words[w] &= ~range_mask(w, i, n);
}

// Go: func (b *pageBits) popcntRange (mpallocbits.go)
size_t page_bits_popcnt_range(const struct page_bits *b, size_t i, size_t n)
{
    size_t count = 0;
    for (size_t w = i / 64; w <= (i + n - 1) / 64; w++)
        count += popcount64(b->words[w] & range_mask(w, i, n));
    return count;
}

// Go: func findBitRange64 (mpallocbits.go)
unsigned find_bit_range64(uint64_t c, unsigned n)
{
    // A bit of c says that `width` ones begin there. If they do at a bit, and
    // at one that lies no further than width above, the two runs are one.
    for (unsigned width = 1; width < n;) {
        unsigned more = n - width < width ? n - width : width;
        c &= c >> more;
        width += more;
    }
    return ctz64(c);
}

// longest_inside returns the longest run of zeros in the word x; max, if none
// is longer. None that touches an end of the word is.
static size_t longest_inside(uint64_t x, size_t max)
{
    while (max < 64) {
        unsigned at = find_bit_range64(~x, (unsigned)max + 1);
        if (at == 64)
            break;
        max = ctz64(x >> at);
    }
    return max;
}

// Go: func (b *pallocBits) summarize (mpallocbits.go)
struct palloc_runs palloc_bits_summarize(const struct page_bits *b)
{
    struct palloc_runs runs = {.start = PALLOC_CHUNK_PAGES};
    size_t run = 0; // free pages up to here
    bool any_used = false;

    for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64; w++) {
        uint64_t x = b->words[w];
        if (x == 0) {
            run += 64;
            continue;
        }
        run += ctz64(x);
        if (!any_used)
            runs.start = run;
        any_used = true;
        if (run > runs.max)
            runs.max = run;
        run = clz64(x);
    }
    runs.end = run;
    if (run > runs.max)
        runs.max = run;
    // A run that touches no end of a word is shorter than 63.
    for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64 && runs.max < 62; w++)
        runs.max = longest_inside(b->words[w], runs.max);
    return runs;
}

// Go: func (b *pallocBits) find (mpallocbits.go)
struct palloc_found palloc_bits_find(const struct page_bits *b, size_t npages,
                                     size_t search_idx)
{
    struct palloc_found found = {SIZE_MAX, SIZE_MAX};
    size_t run = 0; // free pages right below this word

    for (size_t w = search_idx / 64; w < PALLOC_CHUNK_PAGES / 64; w++) {
        uint64_t x = b->words[w];
        if (x == UINT64_MAX) {
            run = 0;
            continue;
        }
        if (found.search_idx == SIZE_MAX)
            found.search_idx = w * 64 + ctz64(~x);
        if (run + ctz64(x) >= npages) {
            found.page = w * 64 - run;
            return found;
        }
        if (x == 0) {
            run += 64;
            continue;
        }
        unsigned at = npages < 64 ? find_bit_range64(~x, (unsigned)npages) : 64;
        if (at < 64) {
            found.page = w * 64 + at;
            return found;
        }
        run = clz64(x);
    }
    return found;
}
