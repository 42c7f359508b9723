// bits.c - palloc_bits.txt: the bitmap of a chunk.

#include "family.h"

static struct page_bits bits; // the last line B

static void read_bitmap(struct replay *r)
{
    bits = read_bits(r);
}

// S START MAX END SUM
static void check_summarize(struct replay *r)
{
    struct palloc_runs runs = palloc_bits_summarize(&bits);
    expect_number(r, "start", vectors_number(&r->v), runs.start);
    expect_number(r, "max", vectors_number(&r->v), runs.max);
    expect_number(r, "end", vectors_number(&r->v), runs.end);
    uint64_t packed = vectors_hex(&r->v);
#if STAGE_NUMBER >= 13
    expect_word(r, "packed", packed, pack_palloc_sum(runs));
#else
    (void)packed;
#endif
}

// F NPAGES FROM PAGE FIRST
static void check_find(struct replay *r)
{
    size_t npages = vectors_number(&r->v);
    size_t from = read_below(r, PALLOC_CHUNK_PAGES);
    VECTORS_REQUIRE(&r->v, npages > 0, "no pages");
    struct palloc_found found = palloc_bits_find(&bits, npages, from);
    expect_number(r, "page", vectors_number_or_none(&r->v), found.page);
    expect_number(r, "first free page", vectors_number_or_none(&r->v),
                  found.search_idx);
}

// P I N COUNT
static void check_popcnt(struct replay *r)
{
    struct chunk_pages pages = read_pages(r);
    expect_number(r, "set bits", vectors_number(&r->v),
                  page_bits_popcnt_range(&bits, pages.i, pages.n));
}

// A I N and 8 words
static void check_set(struct replay *r)
{
    struct chunk_pages pages = read_pages(r);
    struct page_bits expected = read_bits(r), changed = bits;
    page_bits_set_range(&changed, pages.i, pages.n);
    expect_bits(r, "after it", &expected, &changed);
}

// R I N and 8 words
static void check_clear(struct replay *r)
{
    struct chunk_pages pages = read_pages(r);
    struct page_bits expected = read_bits(r), changed = bits;
    page_bits_clear_range(&changed, pages.i, pages.n);
    expect_bits(r, "after it", &expected, &changed);
}

// f WORD N BIT
static void check_find_bits(struct replay *r)
{
    uint64_t word = vectors_hex(&r->v);
    unsigned n = (unsigned)read_below(r, 65);
    VECTORS_REQUIRE(&r->v, n > 0, "no bits");
    expect_number(r, "bit", vectors_number(&r->v), find_bit_range64(word, n));
}

#if STAGE_NUMBER >= 11

static struct palloc_data chunk; // the last line D

static void read_chunk(struct replay *r)
{
    chunk.alloc = read_short_bits(r);
    chunk.scavenged = read_short_bits(r);
}

// g WORD M FILLED
static void check_fill(struct replay *r)
{
    uint64_t word = vectors_hex(&r->v);
    unsigned m = (unsigned)read_below(r, 65);
    VECTORS_REQUIRE(&r->v, is_power_of_two(m), "not a power of two");
    expect_word(r, "filled", vectors_hex(&r->v), fill_aligned(word, m));
}

// c HUGE FROM MIN MAX START N
static void check_candidate(struct replay *r)
{
    size_t huge_pages = vectors_number(&r->v);
    size_t from = read_below(r, PALLOC_CHUNK_PAGES);
    size_t min = read_below(r, 65);
    size_t max = vectors_number(&r->v);
    VECTORS_REQUIRE(&r->v, is_power_of_two(min), "not a power of two");
    struct page_range found =
        palloc_data_find_scavenge_candidate(&chunk, from, min, max, huge_pages);
    expect_number(r, "start", vectors_number(&r->v), found.start);
    expect_number(r, "pages", vectors_number(&r->v), found.n);
}

#endif

static const struct line_kind lines[] = {
    {"B", 10, 10, STARTS, read_bitmap},
    {"S", 10, 13, OPERATION, check_summarize},
    {"F", 10, 10, OPERATION, check_find},
    {"P", 10, 10, OPERATION, check_popcnt},
    {"A", 10, 10, OPERATION, check_set},
    {"R", 10, 10, OPERATION, check_clear},
    {"f", 10, 10, OPERATION, check_find_bits},
    {"g", 11, 11, OPERATION, FROM_11(check_fill)},
    {"D", 11, 11, STARTS, FROM_11(read_chunk)},
    {"c", 11, 11, OPERATION, FROM_11(check_candidate)},
    {.word = NULL},
};

const struct family palloc_bits_family = {.name = "palloc_bits",
                                          .lines = lines};
