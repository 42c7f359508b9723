// world.c - page_alloc.txt, page_cache.txt and scavenge.txt: a page allocator,
// what was done with it, and what it looked like afterwards.
//
// A sequence is in three parts, with lines in this order:
//
//     seq, c, c, ..., go      the chunks that there are at first
//     a, f, k, ...            operations; after each of them, q if the search
//                             address has changed; h, i now and then: the state
//     D, ..., S, ..., end     the state of every chunk and of every summary
//
// What is compared is also looked at in the bits: pages that are taken must be
// free before, and in use afterwards.

#include "family.h"

#include <stdlib.h>
#include <string.h>

enum { NUM_SLOTS = 8, LEVELS = 5 };

static struct world {
    struct page_alloc p;
    bool tracked; // the file has a line q for every new search address
    size_t *chunks; // there are so many now: their numbers, ascending
    size_t n_chunks, capacity;
    enum { OUTSIDE, BUILDING, RUNNING, DUMPING } part;

    uintptr_t search_addr; // as the file says

    // How many chunks the lines D, and the lines S of a level, went through.
    size_t dumped;
    size_t summed[LEVELS];
#if STAGE_NUMBER >= 12
    struct page_cache slots[NUM_SLOTS];
    struct page_cache alone; // of lines P and p
#endif
} w;

static const uintptr_t no_page = 0;
#if STAGE_NUMBER >= 13
static const uintptr_t no_search_addr = MAX_SEARCH_ADDR;
#endif

static void require_part(struct replay *r, unsigned part)
{
    VECTORS_REQUIRE(&r->v, w.part == part, "a line in the wrong place");
}

// ---------------------------------------------------------------------------
// Chunks and pages

// place_of returns how many chunks lie below one.
static size_t place_of(size_t chunk)
{
    size_t low = 0, high = w.n_chunks;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (w.chunks[middle] < chunk)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool has_chunk(size_t chunk)
{
    size_t at = place_of(chunk);
    return at < w.n_chunks && w.chunks[at] == chunk;
}

// read_chunks reads the first and the last of some chunks.
struct chunk_range {
    size_t low, high;
};
static struct chunk_range read_chunks(struct replay *r)
{
    struct chunk_range range;
    range.low = read_below(r, MAX_CHUNK);
    range.high = read_below(r, MAX_CHUNK);
    VECTORS_REQUIRE(&r->v, range.low <= range.high, "no chunks");
    return range;
}

// add_chunks adds chunks to the list, and to the page allocator.
static void add_chunks(struct replay *r, size_t low, size_t high)
{
    for (size_t chunk = low; chunk <= high; chunk++) {
        VECTORS_REQUIRE(&r->v, !has_chunk(chunk), "that chunk is there");
        if (w.n_chunks == w.capacity) {
            w.capacity = w.capacity * 2 + 64;
            w.chunks = realloc(w.chunks, w.capacity * sizeof w.chunks[0]);
            VECTORS_REQUIRE(&r->v, w.chunks != NULL, "out of memory");
        }
        size_t at = place_of(chunk);
        memmove(&w.chunks[at + 1], &w.chunks[at],
                (w.n_chunks - at) * sizeof w.chunks[0]);
        w.chunks[at] = chunk;
        w.n_chunks++;
    }
    VECTORS_REQUIRE(&r->v, stage_grow(&w.p, low, high - low + 1),
                    "out of memory");
}

// pages_in_use returns how many of n pages from base on are in use; SIZE_MAX if
// one of them is not there. It does not use what it is to check.
static size_t pages_in_use(size_t base, size_t n)
{
    size_t used = 0;
    const struct palloc_data *data = NULL;

    for (size_t page = base, step; page < base + n; page += step) {
        size_t i = page % PALLOC_CHUNK_PAGES;
        if (data == NULL || i == 0)
            data = stage_chunk(&w.p, page / PALLOC_CHUNK_PAGES);
        if (data == NULL)
            return SIZE_MAX;
        uint64_t word = data->alloc.words[i / 64];
        bool whole = i % 64 == 0 && base + n - page >= 64;
        step = whole ? 64 : 1;
        used += whole ? popcount64(word) : word >> i % 64 & 1;
    }
    return used;
}

static bool expect_in_use(struct replay *r, const char *what, size_t base,
                          size_t n, size_t expected)
{
    return expect_number(r, what, expected, pages_in_use(base, n));
}

// read_run reads the number of a page and how many there are from there on.
struct page_numbers {
    size_t base, n;
};
static struct page_numbers read_run(struct replay *r)
{
    struct page_numbers run;
    run.base = read_below(r, (size_t)MAX_CHUNK * PALLOC_CHUNK_PAGES);
    run.n = read_below(r, (size_t)MAX_CHUNK * PALLOC_CHUNK_PAGES);
    VECTORS_REQUIRE(&r->v, run.n > 0, "no pages");
    return run;
}

static size_t read_npages(struct replay *r)
{
    size_t n = vectors_number(&r->v);
    VECTORS_REQUIRE(&r->v, n > 0, "no pages");
    return n;
}

// expect_scav compares a number of scavenged pages.
static void expect_scav(struct replay *r, size_t actual)
{
    size_t expected = vectors_number(&r->v);
    if (replay_stage >= 11)
        expect_number(r, "scavenged pages", expected, actual);
}

// ---------------------------------------------------------------------------
// The search address

// expect_search_addr reads one, and compares it.
static void expect_search_addr(struct replay *r)
{
    size_t expected = vectors_number_or_none(&r->v);
#if STAGE_NUMBER >= 13
    expect_page(r, "search address", expected, w.p.search_addr, no_search_addr);
    w.search_addr = w.p.search_addr;
#else
    (void)expected;
#endif
}

#if STAGE_NUMBER >= 13

// check_unmoved: an operation changes the search address only if a line q
// follows.
static void check_unmoved(struct replay *r)
{
    if (w.part == RUNNING && w.tracked && r->v.line[0] != 'q')
        expect_same_search_addr(r, w.search_addr, w.p.search_addr,
                                no_search_addr);
}

// q PAGE
static void check_moved(struct replay *r)
{
    VECTORS_REQUIRE(&r->v,
                    w.part == RUNNING && w.tracked && r->before[0] != 'q',
                    "a line in the wrong place");
    expect_search_addr(r);
}

#endif

// ---------------------------------------------------------------------------
// Building

// seq NAME HUGE TRACK
static void begin_sequence(struct replay *r)
{
    size_t name = strcspn(r->v.at, " ");
    VECTORS_REQUIRE(&r->v, w.part == OUTSIDE, "the sequence before has no end");
    VECTORS_REQUIRE(&r->v, name > 0 && r->v.at[name] == ' ', "no name");
    r->v.at += name + 1;
    size_t huge_pages = vectors_number(&r->v);
    w.tracked = read_below(r, 2) == 1;
    w.n_chunks = w.dumped = 0;
    memset(w.summed, 0, sizeof w.summed);
#if STAGE_NUMBER >= 12
    memset(w.slots, 0, sizeof w.slots);
#endif
    stage_new(&w.p, huge_pages);
    w.part = BUILDING;
}

static struct page_bits read_ranges(struct replay *r)
{
    struct page_bits bits = {0};
    for (size_t n = vectors_number(&r->v); n > 0; n--) {
        struct chunk_pages pages = read_pages(r);
        for (size_t i = pages.i; i < pages.i + pages.n; i++)
            bits.words[i / 64] |= UINT64_C(1) << i % 64;
    }
    return bits;
}

// get_bit returns a bit, 0 or 1.
static bool get_bit(const struct page_bits *b, size_t i)
{
    return b->words[i / 64] >> i % 64 & 1;
}

// for_runs takes each run of pages of a chunk that are 1 in b, or gives them
// back.
static void for_runs(size_t chunk, const struct page_bits *b, bool take)
{
    for (size_t i = 0, n; i < PALLOC_CHUNK_PAGES; i += n) {
        for (n = 0; i + n < PALLOC_CHUNK_PAGES && get_bit(b, i + n); n++)
            ;
        uintptr_t base = page_address(chunk * PALLOC_CHUNK_PAGES + i);
        if (n == 0)
            n = 1;
        else if (take)
            stage_alloc_range(&w.p, base, n);
        else
            stage_free(&w.p, base, n, true);
    }
}

// c LOW HIGH NA and NA ranges, NS and NS ranges. All pages of a chunk are free
// and scavenged at first. Those that are not to be are taken, and those that
// are to be free are given back.
static void add_initial(struct replay *r)
{
    require_part(r, BUILDING);
    struct chunk_range range = read_chunks(r);
    struct page_bits alloc = read_ranges(r), scavenged = read_ranges(r);
    struct page_bits taken, given;
    bool any = false;
    for (size_t i = 0; i < PALLOC_CHUNK_PAGES / 64; i++) {
        taken.words[i] = alloc.words[i] | ~scavenged.words[i];
        given.words[i] = taken.words[i] & ~alloc.words[i];
        any |= given.words[i] != 0;
    }
    add_chunks(r, range.low, range.high);
    for (size_t chunk = range.low; chunk <= range.high; chunk++) {
        for_runs(chunk, &taken, true);
        for_runs(chunk, &given, false);
        if (any)
            stage_mark(&w.p, page_address(chunk * PALLOC_CHUNK_PAGES),
                       page_address((chunk + 1) * PALLOC_CHUNK_PAGES));
    }
}

// go PAGE
static void begin_operations(struct replay *r)
{
    require_part(r, BUILDING);
    expect_search_addr(r);
    w.part = RUNNING;
}

// ---------------------------------------------------------------------------
// Operations

// a N PAGE SCAV
static void alloc_pages(struct replay *r)
{
    require_part(r, RUNNING);
    size_t n = read_npages(r);
    size_t base = vectors_number_or_none(&r->v);
    struct stage_run run = stage_alloc(&w.p, n);
    if (expect_page(r, "page", base, run.base, no_page) && base != SIZE_MAX)
        expect_in_use(r, "pages in use after it", base, n, n);
    expect_scav(r, run.scav);
}

static void free_pages(struct replay *r, bool scavenged)
{
    require_part(r, RUNNING);
    struct page_numbers run = read_run(r);
    if (!expect_in_use(r, "pages in use before it", run.base, run.n, run.n))
        return;
    stage_free(&w.p, page_address(run.base), run.n, scavenged);
    expect_in_use(r, "pages in use after it", run.base, run.n, 0);
}

// f PAGE N
static void free_scavenged(struct replay *r)
{
    free_pages(r, true);
}

// F PAGE N
static void free_unscavenged(struct replay *r)
{
    free_pages(r, false);
}

// r PAGE N SCAV
static void alloc_range(struct replay *r)
{
    require_part(r, RUNNING);
    struct page_numbers run = read_run(r);
    if (!expect_in_use(r, "pages in use before it", run.base, run.n, 0))
        return;
    size_t scav = stage_alloc_range(&w.p, page_address(run.base), run.n);
    expect_in_use(r, "pages in use after it", run.base, run.n, run.n);
    expect_scav(r, scav);
}

// w N PAGE CANDIDATE
static void find_pages(struct replay *r)
{
    require_part(r, RUNNING);
    size_t n = read_npages(r);
    size_t base = vectors_number_or_none(&r->v);
    size_t candidate = vectors_number_or_none(&r->v);
    struct stage_found found = stage_find(&w.p, n);
    expect_page(r, "page", base, found.base, no_page);
#if STAGE_NUMBER >= 13
    if (base != SIZE_MAX) // else it means nothing
        expect_page(r, "candidate", candidate, found.search_addr,
                    no_search_addr);
#else
    (void)candidate;
#endif
}

// g CHUNK N
static void grow(struct replay *r)
{
    require_part(r, RUNNING);
    size_t chunk = read_below(r, MAX_CHUNK);
    size_t n = read_below(r, MAX_CHUNK);
    VECTORS_REQUIRE(&r->v, n > 0 && chunk + n <= MAX_CHUNK, "no chunks");
    add_chunks(r, chunk, chunk + n - 1);
    expect_in_use(r, "pages in use after it", chunk * PALLOC_CHUNK_PAGES,
                  n * PALLOC_CHUNK_PAGES, 0);
}

#if STAGE_NUMBER >= 11

// v NBYTES RELEASED
static void scavenge(struct replay *r)
{
    require_part(r, RUNNING);
    size_t nbytes = vectors_number(&r->v);
    size_t released = stage_scavenge(&w.p, nbytes);
    expect_number(r, "bytes", vectors_number(&r->v), released);
}

#endif
#if STAGE_NUMBER >= 12

static void expect_cache(struct replay *r, const struct page_cache *c)
{
    expect_word(r, "cache", vectors_hex(&r->v), c->cache);
    expect_word(r, "scavenged in the cache", vectors_hex(&r->v), c->scav);
}

// N PAGE SCAV CACHE SCAV, of lines C and p
static void cache_alloc(struct replay *r, struct page_cache *c)
{
    size_t n = read_npages(r);
    VECTORS_REQUIRE(&r->v, n <= PAGE_CACHE_PAGES, "too many pages");
    struct page_run run = page_cache_alloc(c, n);
    expect_page(r, "page", vectors_number_or_none(&r->v), run.base, no_page);
    expect_number(r, "scavenged pages", vectors_number(&r->v), run.scav);
    expect_cache(r, c);
}

// k SLOT PAGE CACHE SCAV
static void fill_cache(struct replay *r)
{
    require_part(r, RUNNING);
    struct page_cache *c = &w.slots[read_below(r, NUM_SLOTS)];
    VECTORS_REQUIRE(&r->v, c->cache == 0, "the slot is not empty");
    *c = stage_alloc_to_cache(&w.p);
    size_t base = vectors_number_or_none(&r->v);
    if (expect_page(r, "base", base, c->base, no_page) && base != SIZE_MAX)
        expect_in_use(r, "pages in use after it", base, PAGE_CACHE_PAGES,
                      PAGE_CACHE_PAGES);
    expect_cache(r, c);
}

// C SLOT N PAGE SCAV CACHE SCAV
static void alloc_from_cache(struct replay *r)
{
    require_part(r, RUNNING);
    cache_alloc(r, &w.slots[read_below(r, NUM_SLOTS)]);
}

// x SLOT
static void flush_cache(struct replay *r)
{
    require_part(r, RUNNING);
    struct page_cache *c = &w.slots[read_below(r, NUM_SLOTS)];
    // Of what was handed out, some may be free again.
    size_t base = c->cache == 0 ? 0 : (c->base - origin) / PAGE_SIZE;
    size_t n = c->cache == 0 ? 0 : PAGE_CACHE_PAGES;
    size_t used = pages_in_use(base, n) - popcount64(c->cache);
    stage_flush(c, &w.p);
    expect_word(r, "cache", 0, c->cache);
    expect_word(r, "scavenged in the cache", 0, c->scav);
    expect_in_use(r, "pages in use after it", base, n, used);
}

// P PAGE CACHE SCAV
static void new_cache(struct replay *r)
{
    require_part(r, OUTSIDE);
    w.alone.base = page_address(vectors_number(&r->v));
    w.alone.cache = vectors_hex(&r->v);
    w.alone.scav = vectors_hex(&r->v);
}

// p N PAGE SCAV CACHE SCAV
static void alloc_alone(struct replay *r)
{
    require_part(r, OUTSIDE);
    cache_alloc(r, &w.alone);
}

#endif

// ---------------------------------------------------------------------------
// The state

#if STAGE_NUMBER >= 11

// mix continues a hash with a word.
static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * UINT64_C(0x100000001b3);
    return hash ^ hash >> 29;
}
static const uint64_t mix_start = UINT64_C(0xcbf29ce484222325);

// hash_bits returns the hash of the bits of all chunks.
static uint64_t hash_bits(void)
{
    uint64_t hash = mix_start;
    for (size_t k = 0; k < w.n_chunks; k++) {
        struct palloc_data *data = stage_chunk(&w.p, w.chunks[k]);
        const struct page_bits *scavenged = stage_scavenged_bits(data);
        for (size_t i = 0; i < PALLOC_CHUNK_PAGES / 64; i++)
            hash = mix(hash, data->alloc.words[i]);
        for (size_t i = 0; i < PALLOC_CHUNK_PAGES / 64; i++)
            hash = mix(hash, scavenged->words[i]);
    }
    return hash;
}

#endif
#if STAGE_NUMBER >= 13

// entry_of returns which entry of a level summarizes a chunk, by its number in
// the file.
static size_t entry_of(unsigned level, size_t chunk)
{
    return chunk >> SUMMARY_LEVEL_BITS * (LEVELS - 1 - level);
}

static palloc_sum summary_of(unsigned level, size_t entry)
{
    return stage_summary(&w.p, level, entry_of(level, chunk_number(0)) + entry);
}

// hash_summaries returns the hash of the summaries of all chunks.
static uint64_t hash_summaries(void)
{
    uint64_t hash = mix_start;
    for (unsigned level = 0; level < LEVELS; level++)
        for (size_t k = 0; k < w.n_chunks; k++) {
            size_t entry = entry_of(level, w.chunks[k]);
            if (k == 0 || entry != entry_of(level, w.chunks[k - 1]))
                hash = mix(hash, summary_of(level, entry));
        }
    return hash;
}

#endif
#if STAGE_NUMBER >= 11

// h BITS SUMMARIES PAGE
static void check_state(struct replay *r)
{
    require_part(r, RUNNING);
    expect_word(r, "hash of the bits", vectors_hex(&r->v), hash_bits());
    uint64_t summaries = vectors_hex(&r->v);
#if STAGE_NUMBER >= 13
    expect_word(r, "hash of the summaries", summaries, hash_summaries());
#else
    (void)summaries;
#endif
    expect_search_addr(r);
}

// i MARKED PAGE BITS
static void check_index(struct replay *r)
{
    require_part(r, RUNNING);
    VECTORS_REQUIRE(&r->v, r->before[0] == 'h', "a line in the wrong place");
    expect_number(r, "marked", read_below(r, 2), w.p.scav.marked);
    expect_page(r, "position", vectors_number_or_none(&r->v),
                w.p.scav.search_addr, 0);
    for (size_t k = 0; k < w.n_chunks; k++, r->v.at++) {
        char bit = *r->v.at;
        VECTORS_REQUIRE(&r->v, bit == '0' || bit == '1', "not a bit a chunk");
        if (!expect_number(r, "bit of a chunk", bit == '1',
                           stage_is_marked(&w.p, w.chunks[k])))
            expect_number(r, "which is chunk", SIZE_MAX, w.chunks[k]);
    }
}

#endif

// D LOW HIGH BITS SCAVENGED
static void check_chunks(struct replay *r)
{
    VECTORS_REQUIRE(&r->v, w.part == RUNNING || w.part == DUMPING,
                    "a line in the wrong place");
    w.part = DUMPING;
    struct chunk_range range = read_chunks(r);
    struct page_bits alloc = read_short_bits(r);
    struct page_bits scavenged = read_short_bits(r);
    for (size_t chunk = range.low; chunk <= range.high; chunk++) {
        VECTORS_REQUIRE(&r->v,
                        w.dumped < w.n_chunks && w.chunks[w.dumped] == chunk,
                        "not the next chunk");
        w.dumped++;
        struct palloc_data *data = stage_chunk(&w.p, chunk);
        expect_bits(r, "in use", &alloc, &data->alloc);
        if (stage_scavenged_bits(data) != NULL)
            expect_bits(r, "scavenged", &scavenged, stage_scavenged_bits(data));
    }
}

#if STAGE_NUMBER >= 13

// S LEVEL LOW HIGH SUMMARY
static void check_summaries(struct replay *r)
{
    require_part(r, DUMPING);
    unsigned level = (unsigned)read_below(r, LEVELS);
    struct chunk_range range = read_chunks(r);
    uint64_t expected = vectors_hex(&r->v);
    size_t *k = &w.summed[level];
    for (size_t entry = range.low; entry <= range.high; entry++) {
        VECTORS_REQUIRE(
            &r->v, *k < w.n_chunks && entry_of(level, w.chunks[*k]) == entry,
            "not the next summary");
        while (*k < w.n_chunks && entry_of(level, w.chunks[*k]) == entry)
            ++*k;
        expect_word(r, "summary", expected, summary_of(level, entry));
    }
}

#endif

// end OPERATIONS
static void end_sequence(struct replay *r)
{
    bool whole = r->skipping == CHECKED;
    VECTORS_REQUIRE(&r->v, vectors_number(&r->v) == r->sequence_operations,
                    "lines are missing");
    VECTORS_REQUIRE(&r->v, !whole || w.dumped == w.n_chunks,
                    "a chunk is missing");
    for (unsigned level = 0; level < LEVELS; level++)
        VECTORS_REQUIRE(
            &r->v, !whole || replay_stage < 13 || w.summed[level] == w.n_chunks,
            "a summary is missing");
    w.part = OUTSIDE;
}

static void end_file(struct replay *r)
{
    VECTORS_REQUIRE(&r->v, w.part == OUTSIDE, "a sequence has no end");
}

// ---------------------------------------------------------------------------

// What a stage does not do changes nothing that it has: where pages cannot be
// scavenged, v does nothing. But k takes pages, and what follows depends on
// that.
static const struct line_kind lines[] = {
    {"P", 12, 12, STARTS, FROM_12(new_cache)},
    {"p", 12, 12, OPERATION, FROM_12(alloc_alone)},
    {"seq", 10, 10, STARTS, begin_sequence},
    {"c", 10, 11, 0, add_initial},
    {"go", 10, 13, 0, begin_operations},
    {"a", 10, 11, OPERATION, alloc_pages},
    {"f", 10, 10, OPERATION, free_scavenged},
    {"F", 10, 10, OPERATION, free_unscavenged},
    {"r", 10, 11, OPERATION, alloc_range},
    {"w", 10, 13, OPERATION, find_pages},
    {"g", 10, 10, OPERATION, grow},
    {"k", 12, 12, OPERATION | SPOILS, FROM_12(fill_cache)},
    {"C", 12, 12, OPERATION, FROM_12(alloc_from_cache)},
    {"x", 12, 12, OPERATION, FROM_12(flush_cache)},
    {"v", 11, 11, OPERATION, FROM_11(scavenge)},
    {"q", 13, 13, 0, FROM_13(check_moved)},
    {"h", 11, 13, 0, FROM_11(check_state)},
    {"i", 11, 11, 0, FROM_11(check_index)},
    {"D", 10, 11, 0, check_chunks},
    {"S", 13, 13, 0, FROM_13(check_summaries)},
    {"end", 10, 10, ALWAYS, end_sequence},
    {.word = NULL},
};

#define WORLD(file)                                                            \
    {                                                                          \
        .name = file, .lines = lines, .before_line = FROM_13(check_unmoved),   \
        .end_file = end_file, .lasting = true                                  \
    }
const struct family world_families[3] = {
    WORLD("page_alloc"), WORLD("page_cache"), WORLD("scavenge")};
