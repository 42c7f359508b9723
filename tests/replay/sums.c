// sums.c - palloc_sum.txt, addr_ranges.txt and scav_index.txt: the parts that
// tell a page allocator where to look.

#include "family.h"

#if STAGE_NUMBER >= 13

// ---------------------------------------------------------------------------
// palloc_sum.txt

static void expect_runs(struct replay *r, struct palloc_runs runs)
{
    expect_number(r, "start", vectors_number(&r->v), runs.start);
    expect_number(r, "max", vectors_number(&r->v), runs.max);
    expect_number(r, "end", vectors_number(&r->v), runs.end);
}

// K START MAX END PACKED START MAX END
static void check_pack(struct replay *r)
{
    struct palloc_runs runs;
    runs.start = vectors_number(&r->v);
    runs.max = vectors_number(&r->v);
    runs.end = vectors_number(&r->v);
    uint64_t packed = vectors_hex(&r->v);
    expect_word(r, "packed", packed, pack_palloc_sum(runs));
    expect_runs(r, unpack_palloc_sum(packed));
}

// M LOG and 8 children, MERGED
static void check_merge(struct replay *r)
{
    palloc_sum children[8];
    unsigned log_pages = (unsigned)read_below(r, 22);
    for (size_t i = 0; i < 8; i++)
        children[i] = vectors_hex(&r->v);
    expect_word(r, "merged", vectors_hex(&r->v),
                merge_summaries(children, 8, log_pages));
}

// ---------------------------------------------------------------------------
// addr_ranges.txt: addresses are in units of 4096

enum { UNIT = 4096 };

static struct addr_ranges ranges;

static void new_ranges(struct replay *r)
{
    (void)r;
    ranges = (struct addr_ranges){0};
}

static void add_range(struct replay *r, size_t low, size_t high)
{
    VECTORS_REQUIRE(&r->v, low < high, "no range");
    struct addr_range range = {low * UNIT, high * UNIT};
    lock_acquire(&mheap.lock);
    bool added = addr_ranges_add(&ranges, range);
    lock_release(&mheap.lock);
    VECTORS_REQUIRE(&r->v, added, "out of memory");
}

// A LOW HIGH
static void check_add(struct replay *r)
{
    size_t low = vectors_number(&r->v);
    add_range(r, low, vectors_number(&r->v));
}

// Q AT SUCCESSOR NEXT IN
static void check_lookup(struct replay *r)
{
    uintptr_t at = vectors_number(&r->v) * UNIT;
    size_t successor = vectors_number(&r->v);
    size_t next = vectors_number_or_none(&r->v);
    size_t in = read_below(r, 2);
    uintptr_t found = 0;

    expect_number(r, "successor", successor,
                  addr_ranges_find_succ(&ranges, at));
    bool any = addr_ranges_find_addr_greater_equal(&ranges, at, &found);
    expect_number(r, "address not below", next, any ? found / UNIT : SIZE_MAX);
    expect_number(r, "contained", in, addr_ranges_contains(&ranges, at));
}

// = N TOTAL and N times LOW HIGH. After what no stage does, removing, what it
// says is taken over: its ranges are added to an empty set.
static void check_ranges(struct replay *r)
{
    bool removed = r->before[0] == 'L' || r->before[0] == 'G';
    size_t n = vectors_number(&r->v);
    size_t total = vectors_number(&r->v);

    if (removed)
        new_ranges(r);
    else
        expect_number(r, "ranges", n, ranges.n);
    for (size_t i = 0; i < n; i++) {
        size_t low = vectors_number(&r->v);
        size_t high = vectors_number(&r->v);
        if (removed)
            add_range(r, low, high);
        if (i >= ranges.n)
            break; // a difference that was found above
        expect_number(r, "base", low, ranges.ranges[i].base / UNIT);
        expect_number(r, "limit", high, ranges.ranges[i].limit / UNIT);
    }
    expect_number(r, "ranges", n, ranges.n);
    expect_number(r, "bytes", total * UNIT, ranges.total_bytes);
}

#endif
#if STAGE_NUMBER >= 11

// ---------------------------------------------------------------------------
// scav_index.txt

static struct page_alloc pages;
static size_t n_chunks;

// new MAX
static void new_index(struct replay *r)
{
    n_chunks = read_below(r, MAX_CHUNK);
    stage_new(&pages, 0);
    VECTORS_REQUIRE(&r->v, n_chunks > 0, "no chunks");
    VECTORS_REQUIRE(&r->v, stage_grow(&pages, 0, n_chunks), "out of memory");
}

// M LOW HIGH
static void mark(struct replay *r)
{
    size_t low = read_below(r, n_chunks * PALLOC_CHUNK_PAGES);
    size_t high = read_below(r, n_chunks * PALLOC_CHUNK_PAGES + 1);
    VECTORS_REQUIRE(&r->v, low < high, "no pages");
    stage_mark(&pages, page_address(low), page_address(high));
    for (size_t i = low / PALLOC_CHUNK_PAGES;
         i <= (high - 1) / PALLOC_CHUNK_PAGES; i++)
        expect_number(r, "marked", 1, stage_is_marked(&pages, i));
}

// C CHUNK
static void clear(struct replay *r)
{
    size_t chunk = read_below(r, n_chunks);
    stage_clear(&pages, chunk);
    expect_number(r, "marked", 0, stage_is_marked(&pages, chunk));
}

// N CHUNK PAGE
static void check_next(struct replay *r)
{
    struct scavenge_place place = stage_find_scavenge(&pages);
    expect_number(r, "chunk", vectors_number_or_none(&r->v),
                  place.ci == 0 ? SIZE_MAX : place.ci - chunk_number(0));
    expect_number(r, "page", vectors_number(&r->v), place.page);
}

#endif

static const struct line_kind sum_lines[] = {
    {"K", 13, 13, OPERATION, FROM_13(check_pack)},
    {"M", 13, 13, OPERATION, FROM_13(check_merge)},
    {.word = NULL},
};

static const struct line_kind range_lines[] = {
    {"new", 13, 13, STARTS, FROM_13(new_ranges)},
    {"A", 13, 13, OPERATION, FROM_13(check_add)},
    {"Q", 13, 13, OPERATION, FROM_13(check_lookup)},
    {"L", NO_STAGE, NO_STAGE, 0, NULL},
    {"G", NO_STAGE, NO_STAGE, 0, NULL},
    {"=", 13, 13, 0, FROM_13(check_ranges)},
    {.word = NULL},
};

static const struct line_kind index_lines[] = {
    {"new", 11, 11, STARTS, FROM_11(new_index)},
    {"M", 11, 11, OPERATION, FROM_11(mark)},
    {"C", 11, 11, OPERATION, FROM_11(clear)},
    {"N", 11, 11, OPERATION, FROM_11(check_next)},
    {.word = NULL},
};

const struct family palloc_sum_family = {.name = "palloc_sum",
                                         .lines = sum_lines};
const struct family addr_ranges_family = {
    .name = "addr_ranges", .lines = range_lines, .lasting = true};
const struct family scav_index_family = {
    .name = "scav_index", .lines = index_lines, .lasting = true};
