// stages: 11-
//
// mgcscavenge.c: which pages of a chunk are scavenged, which chunks are looked
// at, and in which order; what scavenge_check sees. What the OS gets from the
// whole allocator is in scavenger_test.c.

#include "heap.h"

#include <unistd.h>

#include "check.h"
#include "child.h"
#include "page_states.h"
#include "random.h"
#include "test.h"

// ---------------------------------------------------------------------------
// fill_aligned.

// filled does what fill_aligned does, bit by bit.
static uint64_t filled(uint64_t x, unsigned m)
{
    uint64_t result = 0;
    for (unsigned group = 0; group < 64; group += m) {
        bool any = false;
        for (unsigned i = group; i < group + m; i++)
            any |= (x >> i & 1) != 0;
        for (unsigned i = group; i < group + m; i++)
            result |= (uint64_t)any << i;
    }
    return result;
}

static void check_filled(uint64_t x)
{
    for (unsigned m = 1; m <= 64; m *= 2)
        CHECK_THAT(fill_aligned(x, m) == filled(x, m),
                   "fill_aligned(0x%llx, %u): expected 0x%llx, got 0x%llx",
                   (unsigned long long)x, m, (unsigned long long)filled(x, m),
                   (unsigned long long)fill_aligned(x, m));
}

TEST(fill_aligned_fills_groups,
     "an aligned group of bits is all ones if one of them is, for each size of"
     " the groups")
{
    check_filled(0);
    check_filled(UINT64_MAX);
    check_filled(UINT64_C(0x5555555555555555));
    check_filled(UINT64_C(0x8000000000000001));
    for (unsigned first = 0; first < 64; first++)
        for (unsigned n = 1; n <= 64 - first; n++) {
            uint64_t run = UINT64_MAX >> (64 - n) << first;
            check_filled(run);
            check_filled(~run);
        }
    for (unsigned i = 0; i < 64; i++) // two bits: of one group, or of two
        for (unsigned j = 0; j < i; j++)
            check_filled(UINT64_C(1) << i | UINT64_C(1) << j);
    uint64_t random = random_start();
    for (size_t i = 0; i < 20000; i++) {
        uint64_t x = random_next(&random) << 32 ^ random_next(&random);
        check_filled(x);
        check_filled(x & (random_next(&random) << 16)); // few ones
    }
}

// ---------------------------------------------------------------------------
// Which pages of a chunk.

static const size_t huge_sizes[] = {0, 16, 64, 256};
enum { N_HUGE_SIZES = sizeof huge_sizes / sizeof *huge_sizes };

// check_candidates compares, for one chunk and all the sizes of max and of huge
// pages, what is found with what is expected.
static void check_candidates(const struct palloc_data *m, size_t search_idx,
                             size_t min, const size_t *maxes, size_t n_maxes)
{
    bool candidates[PALLOC_CHUNK_PAGES];
    take_candidates(m, search_idx, min, candidates);
    for (size_t i = 0; i < n_maxes; i++)
        for (size_t h = 0; h < N_HUGE_SIZES; h++) {
            struct page_range expected =
                expected_candidate(candidates, min, maxes[i], huge_sizes[h]);
            struct page_range found = palloc_data_find_scavenge_candidate(
                m, search_idx, min, maxes[i], huge_sizes[h]);
            CHECK_THAT(
                found.n == expected.n &&
                    (found.n == 0 || found.start == expected.start),
                "search_idx %zu, min %zu, max %zu, huge pages of %zu: expected"
                " %zu pages from %zu on, got %zu from %zu on",
                search_idx, min, maxes[i], huge_sizes[h], expected.n,
                expected.start, found.n, found.start);
        }
}

// set_page makes a page of a chunk free, in use, or scavenged.
enum kind { FREE_PAGE, USED_PAGE, SCAVENGED_PAGE, N_KINDS };
static void set_page(struct palloc_data *m, size_t i, enum kind kind)
{
    page_bits_clear_range(&m->alloc, i, 1);
    page_bits_clear_range(&m->scavenged, i, 1);
    if (kind == USED_PAGE)
        page_bits_set_range(&m->alloc, i, 1);
    if (kind == SCAVENGED_PAGE)
        page_bits_set_range(&m->scavenged, i, 1);
}

static void set_pages(struct palloc_data *m, size_t i, size_t n, enum kind kind)
{
    for (; n > 0; n--)
        set_page(m, i++, kind);
}

TEST(candidates_where_two_words_meet,
     "all patterns of ten pages where two words meet, with all pages around"
     " them free, or none")
{
    enum { WIDTH = 10, WORD = 3, FIRST = WORD * 64 - WIDTH / 2 };
    static const size_t maxes[] = {0, 1, 2, 3, 5, 8, 70};
    for (unsigned pattern = 0; pattern < 1 << WIDTH; pattern++)
        for (unsigned around = 0; around < 2; around++) {
            struct palloc_data m = {0};
            set_pages(&m, 0, PALLOC_CHUNK_PAGES,
                      around == 0 ? USED_PAGE : FREE_PAGE);
            for (size_t i = 0; i < WIDTH; i++)
                if ((pattern >> i & 1) != 0)
                    set_page(&m, FIRST + i,
                             i % 2 == 0 ? USED_PAGE : SCAVENGED_PAGE);
                else
                    set_page(&m, FIRST + i, FREE_PAGE);
            for (size_t min = 1; min <= 8; min *= 2) {
                check_candidates(&m, WORD * 64 + 1, min, maxes, 7);
                check_candidates(&m, WORD * 64 - 1, min, maxes, 7);
            }
        }
}

TEST(candidates_of_whole_words,
     "all patterns of eight words that are free, in use, or have one page that"
     " is; so for all ways in which huge pages can be broken")
{
    enum { WORDS = PALLOC_CHUNK_PAGES / 64, PATTERNS = 6561 };
    static const size_t mins[] = {1, 16, 64};
    static const size_t maxes[] = {0, 1, 8, 63, 65, 300, 512};
    for (unsigned pattern = 0; pattern < PATTERNS; pattern++) {
        struct palloc_data m = {0};
        unsigned rest = pattern;
        for (size_t w = 0; w < WORDS; w++, rest /= 3) {
            if (rest % 3 == 1)
                set_pages(&m, w * 64, 64,
                          w % 2 == 0 ? USED_PAGE : SCAVENGED_PAGE);
            if (rest % 3 == 2)
                set_page(&m, w * 64 + (pattern + w * 5) % 64, USED_PAGE);
        }
        for (size_t i = 0; i < 3; i++)
            check_candidates(&m, pattern % 4 == 0 ? 300 : 511, mins[i], maxes,
                             7);
    }
}

// random_word returns a word of ones, of zeros, or in between.
static uint64_t random_word(uint64_t *random)
{
    uint64_t x = random_next(random) << 32 ^ random_next(random);
    uint64_t y = random_next(random) << 32 ^ random_next(random);
    switch (random_below(random, 8)) {
    case 0:
        return UINT64_MAX;
    case 1:
        return x;
    case 2:
        return x & y & x >> 7;
    case 3: // a run
        return UINT64_MAX >> x % 64 << y % 64;
    default: // most words have nothing, or long runs would be rare
        return 0;
    }
}

TEST(candidates_of_random_chunks,
     "random chunks, with each size of groups, each number of pages, and from"
     " each word on")
{
    uint64_t random = random_start();
    for (size_t round = 0; round < 20000; round++) {
        struct palloc_data m;
        for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64; w++) {
            m.alloc.words[w] = random_word(&random);
            m.scavenged.words[w] = random_word(&random);
        }
        size_t max = round % (PALLOC_CHUNK_PAGES + 2);
        check_candidates(&m, random_below(&random, PALLOC_CHUNK_PAGES),
                         (size_t)1 << round % 7, &max, 1);
    }
}

TEST(every_max_and_every_end,
     "all numbers of pages that can be asked for, and all that a run can have,"
     " to the first page and to the last")
{
    size_t maxes[PALLOC_CHUNK_PAGES + 1];
    for (size_t i = 0; i <= PALLOC_CHUNK_PAGES; i++)
        maxes[i] = i;
    for (size_t n = 0; n <= PALLOC_CHUNK_PAGES; n += n < 8 || n > 500 ? 1 : 21)
        for (unsigned upper = 0; upper < 2; upper++) {
            struct palloc_data m = {0};
            set_pages(&m, upper == 0 ? n : 0, PALLOC_CHUNK_PAGES - n,
                      SCAVENGED_PAGE);
            check_candidates(&m, PALLOC_CHUNK_PAGES - 1, (size_t)1 << n % 7,
                             maxes, PALLOC_CHUNK_PAGES + 1);
        }
}

// ---------------------------------------------------------------------------
// The index of chunks, and what is scavenged: in an allocator of its own.

static struct page_alloc pages;

static void grow(chunk_idx ci, size_t n)
{
    lock_acquire(&mheap.lock);
    bool done = page_alloc_grow(&pages, chunk_base(ci), n * PALLOC_CHUNK_BYTES);
    lock_release(&mheap.lock);
    CHECK_TRUE(done);
}

static uintptr_t page_at(chunk_idx ci, size_t i)
{
    return chunk_base(ci) + i * PAGE_SIZE;
}

// mark adds the chunks of n pages from base on to the index.
static void mark(uintptr_t base, size_t n)
{
    lock_acquire(&mheap.lock);
    scavenge_index_mark(&pages, base, base + n * PAGE_SIZE);
    lock_release(&mheap.lock);
}

static void clear(chunk_idx ci)
{
    lock_acquire(&mheap.lock);
    scavenge_index_clear(&pages, ci);
    lock_release(&mheap.lock);
}

static bool has(chunk_idx ci)
{
    lock_acquire(&mheap.lock);
    bool result = scavenge_index_has(&pages, ci);
    lock_release(&mheap.lock);
    return result;
}

static struct scavenge_place find(void)
{
    lock_acquire(&mheap.lock);
    struct scavenge_place place = scavenge_index_find(&pages);
    lock_release(&mheap.lock);
    return place;
}

static size_t scavenge(size_t nbytes)
{
    lock_acquire(&mheap.lock);
    size_t released = page_alloc_scavenge(&pages, nbytes);
    lock_release(&mheap.lock);
    return released;
}

// use takes n pages from base on, and returns how many were scavenged. put
// makes them free.
static size_t use(uintptr_t base, size_t n)
{
    lock_acquire(&mheap.lock);
    size_t scav = page_alloc_alloc_range(&pages, base, n);
    lock_release(&mheap.lock);
    return scav;
}

static void put(uintptr_t base, size_t n)
{
    lock_acquire(&mheap.lock);
    page_alloc_free(&pages, base, n, false);
    lock_release(&mheap.lock);
}

// Chunks where one table ends and the next one begins, and far from there.
enum { BORDER = 6 << 13, FAR = BORDER + (5 << 13) + 63 };

#define CHECK_FINDS(chunk, index)                                              \
    do {                                                                       \
        struct scavenge_place place_ = find();                                 \
        CHECK_EQ(place_.ci, chunk);                                            \
        CHECK_EQ(place_.page, index);                                          \
    } while (0)

TEST(index_begins_at_the_highest_page,
     "the search begins at the highest page that was freed, and at the last of"
     " any chunk below; it ends when nothing is left")
{
    page_alloc_begin(&pages, 0);
    grow(BORDER - 3, 6);
    CHECK_EQ(find().ci, 0);
    CHECK_EQ(pages.scav.search_addr, 0);
    CHECK_TRUE(!has(BORDER));

    mark(page_at(BORDER - 2, 7), 3);
    CHECK_EQ(pages.scav.search_addr, page_at(BORDER - 2, 9));
    CHECK_TRUE(pages.scav.marked);
    CHECK_FINDS(BORDER - 2, 9);
    mark(page_at(BORDER + 1, 100), 1);
    mark(page_at(BORDER - 3, 511), 1); // below: the search goes on above
    CHECK_EQ(pages.scav.search_addr, page_at(BORDER + 1, 100));
    CHECK_FINDS(BORDER + 1, 100);
    CHECK_FINDS(BORDER + 1, 100); // to look changes nothing

    clear(BORDER + 1);
    CHECK_TRUE(!has(BORDER + 1) && has(BORDER - 2));
    CHECK_FINDS(BORDER - 2, PALLOC_CHUNK_PAGES - 1);
    CHECK_EQ(pages.scav.search_addr,
             page_at(BORDER - 2, PALLOC_CHUNK_PAGES - 1));
    CHECK_TRUE(!pages.scav.marked); // the search has been there
    clear(BORDER - 2);
    CHECK_FINDS(BORDER - 3, PALLOC_CHUNK_PAGES - 1);
    clear(BORDER - 3);
    CHECK_EQ(find().ci, 0);
    CHECK_EQ(pages.scav.search_addr, 0);

    mark(page_at(BORDER - 3, 0), 1); // from there on upwards again
    CHECK_FINDS(BORDER - 3, 0);
}

TEST(a_run_marks_all_its_chunks,
     "pages of several chunks put all of these into the index, and no other;"
     " also where a table ends")
{
    page_alloc_begin(&pages, 0);
    grow(BORDER - 70, 140);
    for (size_t first = 0; first < 3; first++)
        for (size_t last = 0; last < 3; last++) {
            static const size_t ends[] = {0, 200, 511};
            uintptr_t base = page_at(BORDER - 66, ends[first]);
            uintptr_t end = page_at(BORDER + 3, ends[last]) + PAGE_SIZE;
            mark(base, (end - base) / PAGE_SIZE);
            for (chunk_idx ci = BORDER - 70; ci < BORDER + 70; ci++) {
                CHECK_EQ(has(ci), ci >= BORDER - 66 && ci <= BORDER + 3);
                clear(ci);
            }
        }
    mark(page_at(BORDER, 0) - PAGE_SIZE, 1); // ends where the next one begins
    CHECK_TRUE(has(BORDER - 1) && !has(BORDER));
}

// The chunks of the two tests below: some in a row, where words and tables
// meet, with gaps of any length between them.
static const struct {
    chunk_idx first;
    size_t n;
} parts[] = {{BORDER - 200, 3}, {BORDER - 65, 2},   {BORDER - 2, 4},
             {BORDER + 62, 4},  {BORDER + 8190, 2}, {FAR, 1},
             {FAR + 2, 64},     {FAR + 8192, 1}};
enum { N_PARTS = sizeof parts / sizeof *parts, MAX_CHUNKS = 128 };

static chunk_idx chunks[MAX_CHUNKS]; // by rising address
static size_t n_chunks;

// grow_parts makes them chunks of the allocator, in another order.
static void grow_parts(void)
{
    for (size_t i = 0; i < N_PARTS; i++) {
        grow(parts[i * 3 % N_PARTS].first, parts[i * 3 % N_PARTS].n);
        for (size_t k = 0; k < parts[i].n; k++)
            chunks[n_chunks++] = parts[i].first + k;
    }
}

TEST(index_goes_downwards,
     "each chunk in the index is found once, from the highest down to the"
     " lowest, and gaps are skipped")
{
    page_alloc_begin(&pages, 0);
    grow_parts();
    for (size_t step = 1; step < 12; step++) { // each, each second, and so on
        for (size_t i = 0; i < n_chunks; i += step)
            mark(page_at(chunks[i], 13), 1);
        for (size_t i = (n_chunks - 1) / step * step;; i -= step) {
            CHECK_EQ(find().ci, chunks[i]);
            clear(chunks[i]);
            if (i == 0)
                break;
        }
        CHECK_EQ(find().ci, 0);
    }
}

TEST(index_as_an_array_of_bools,
     "random marks and searches: found is the highest chunk in the index, and"
     " no page above the one to begin with was freed")
{
    bool in_index[MAX_CHUNKS] = {false};
    size_t highest[MAX_CHUNKS] = {0}; // page that was freed since it was clear
    uint64_t random = random_start();
    page_alloc_begin(&pages, 0);
    grow_parts();
    for (size_t round = 0; round < 30000; round++) {
        size_t k = random_below(&random, n_chunks);
        size_t i = random_below(&random, PALLOC_CHUNK_PAGES);
        size_t what = random_below(&random, 8);
        if (what < 3) {
            mark(page_at(chunks[k], i), 1);
            if (!in_index[k] || highest[k] < i)
                highest[k] = i;
            in_index[k] = true;
        } else if (what == 3) {
            clear(chunks[k]);
            in_index[k] = false;
        } else {
            struct scavenge_place place = find();
            size_t top = n_chunks;
            while (top > 0 && !in_index[top - 1])
                top--;
            CHECK_EQ(place.ci, top == 0 ? 0 : chunks[top - 1]);
            if (top > 0) {
                CHECK_GE(place.page, highest[top - 1]);
                CHECK_LE(place.page, PALLOC_CHUNK_PAGES - 1);
                CHECK_GE(pages.scav.search_addr,
                         page_at(chunks[top - 1], highest[top - 1]));
                clear(place.ci); // as if nothing were left in it
                in_index[top - 1] = false;
            }
        }
        CHECK_EQ(has(chunks[k]), in_index[k]);
    }
}

// ---------------------------------------------------------------------------
// page_alloc_scavenge.

TEST(the_highest_pages_go_first,
     "the highest free pages are scavenged first, as many as were asked for")
{
    page_alloc_begin(&pages, 0);
    grow(BORDER - 1, 3);
    CHECK_EQ(use(page_at(BORDER - 1, 0), 3 * PALLOC_CHUNK_PAGES),
             3 * PALLOC_CHUNK_PAGES);
    CHECK_EQ(pages.ready, 3 * PALLOC_CHUNK_PAGES);
    put(page_at(BORDER - 1, 10), 10);
    put(page_at(BORDER - 1, 500), 20); // to page 7 of the next one
    put(page_at(BORDER + 1, 0), 3);

    CHECK_EQ(scavenge(0), 0);
    CHECK_EQ(scavenge(5 * PAGE_SIZE), 5 * PAGE_SIZE);
    CHECK_EQ(pages.ready, 3 * PALLOC_CHUNK_PAGES - 5);
    // The 3 in the last chunk, and of the 8 in the one below the upper 2.
    CHECK_EQ(use(page_at(BORDER + 1, 0), 3), 3);
    CHECK_EQ(use(page_at(BORDER, 6), 2), 2);
    CHECK_EQ(use(page_at(BORDER, 0), 6), 0);
    CHECK_EQ(use(page_at(BORDER - 1, 500), 12), 0);
    // A byte more than a page is two pages.
    CHECK_EQ(scavenge(PAGE_SIZE + 1), 2 * PAGE_SIZE);
    CHECK_EQ(use(page_at(BORDER - 1, 18), 2), 2);
    CHECK_EQ(pages.ready, 3 * PALLOC_CHUNK_PAGES);
    // No more than there are, and those once.
    CHECK_EQ(scavenge(SIZE_MAX), 8 * PAGE_SIZE);
    CHECK_EQ(scavenge(SIZE_MAX), 0);
    CHECK_EQ(pages.ready, 3 * PALLOC_CHUNK_PAGES - 8);
    // What is freed is looked for again, also below where the search ended.
    put(page_at(BORDER - 1, 0), 1);
    CHECK_EQ(scavenge(SIZE_MAX), PAGE_SIZE);
    put(page_at(BORDER + 1, 511), 1);
    CHECK_EQ(scavenge(SIZE_MAX), PAGE_SIZE);
}

TEST(huge_pages_stay_whole,
     "a free huge page goes whole, or not at all; one that is in use in part"
     " goes page by page")
{
    page_alloc_begin(&pages, 256);
    grow(BORDER, 2);
    use(page_at(BORDER, 0), 2 * PALLOC_CHUNK_PAGES);
    put(page_at(BORDER, 0), 2 * PALLOC_CHUNK_PAGES);
    CHECK_EQ(scavenge(1), 256 * PAGE_SIZE);
    CHECK_EQ(scavenge(255 * PAGE_SIZE), 256 * PAGE_SIZE);
    CHECK_EQ(scavenge(257 * PAGE_SIZE), 512 * PAGE_SIZE);
    CHECK_EQ(pages.ready, 0);

    // 300 pages, of which 44 lie in one that is in use above.
    use(page_at(BORDER, 0), 2 * PALLOC_CHUNK_PAGES);
    put(page_at(BORDER, 0), 300);
    CHECK_EQ(scavenge(40 * PAGE_SIZE), 40 * PAGE_SIZE);
    CHECK_EQ(scavenge(4 * PAGE_SIZE), 4 * PAGE_SIZE);
    CHECK_EQ(scavenge(PAGE_SIZE), 256 * PAGE_SIZE);

    // One that was broken before has nothing to lose.
    use(page_at(BORDER, 0), 300);
    put(page_at(BORDER, 256), 256);
    use(page_at(BORDER, 256), 1);
    CHECK_EQ(scavenge(9 * PAGE_SIZE), 9 * PAGE_SIZE);
    put(page_at(BORDER, 256), 1);
    CHECK_EQ(scavenge(9 * PAGE_SIZE), 9 * PAGE_SIZE);
}

TEST(pages_that_are_no_matter_of_the_scavenger,
     "pages that are freed as scavenged are not looked for")
{
    page_alloc_begin(&pages, 0);
    grow(BORDER, 1);
    lock_acquire(&mheap.lock);
    page_alloc_alloc_range(&pages, page_at(BORDER, 0), 10);
    page_alloc_free(&pages, page_at(BORDER, 0), 10, true);
    lock_release(&mheap.lock);
    CHECK_TRUE(!has(BORDER));
    CHECK_EQ(pages.scav.search_addr, 0);
    CHECK_EQ(scavenge(SIZE_MAX), 0);
    put(page_at(BORDER, 0), 1); // with the next one that is freed, all are
    CHECK_EQ(scavenge(SIZE_MAX), 10 * PAGE_SIZE);
}

// ---------------------------------------------------------------------------
// scavenge_check, of the heap.

static uintptr_t used_page, ready_page; // of the heap, the latter free

static void say_whether_sound(void)
{
    lock_acquire(&mheap.lock);
    bool ok = scavenge_check();
    lock_release(&mheap.lock);
    _exit(ok ? 0 : 1);
}

// heap_chunk returns what is known of the chunk of a page.
static struct palloc_data *heap_chunk(uintptr_t page) REQUIRES(mheap.lock)
{
    return page_alloc_chunk(&mheap.pages, chunk_index(page));
}

static void scavenge_used_page(void *unused)
{
    (void)unused;
    lock_acquire(&mheap.lock);
    page_bits_set_range(&heap_chunk(used_page)->scavenged,
                        chunk_page_index(used_page), 1);
    mheap.pages.ready--; // so that this is all that is wrong
    lock_release(&mheap.lock);
    say_whether_sound();
}

static void use_scavenged_page(void *unused)
{
    (void)unused;
    lock_acquire(&mheap.lock);
    page_alloc_scavenge(&mheap.pages, SIZE_MAX);
    page_bits_set_range(&heap_chunk(ready_page)->alloc,
                        chunk_page_index(ready_page), 1);
    lock_release(&mheap.lock);
    say_whether_sound();
}

static void miscount_ready(void *by)
{
    mheap.pages.ready += (size_t)by;
    say_whether_sound();
}

static void forget_scavenged(void *unused)
{
    (void)unused;
    lock_acquire(&mheap.lock);
    page_bits_set_range(&heap_chunk(ready_page)->scavenged,
                        chunk_page_index(ready_page), 1);
    lock_release(&mheap.lock);
    say_whether_sound();
}

static void lower_search_addr(void *to)
{
    mheap.pages.scav.search_addr = (uintptr_t)to;
    say_whether_sound();
}

static void nothing_wrong(void *unused)
{
    (void)unused;
    say_whether_sound();
}

TEST(scavenge_check_sees_damage,
     "scavenge_check says what is wrong: a page in use that is scavenged, a"
     " chunk that the search would miss, a wrong count; and nothing if nothing"
     " is")
{
    char *used = mm_malloc(3 * PALLOC_CHUNK_BYTES);
    char *ready = mm_malloc(3 * PALLOC_CHUNK_BYTES);
    used_page = (uintptr_t)used;
    ready_page = (uintptr_t)ready + PALLOC_CHUNK_BYTES;
    mm_free(ready);

    CHECK_RETURNS(nothing_wrong, NULL, "");
    CHECK_COMPLAINS(scavenge_used_page, NULL, "I1 no page in use is scavenged");
    CHECK_COMPLAINS(use_scavenged_page, NULL, "I1 no page in use is scavenged");
    CHECK_COMPLAINS(miscount_ready, (void *)1,
                    "I3 ready counts what is not scavenged");
    CHECK_COMPLAINS(miscount_ready, (void *)SIZE_MAX,
                    "I3 ready counts what is not scavenged");
    CHECK_COMPLAINS(forget_scavenged, NULL,
                    "I3 ready counts what is not scavenged");
    CHECK_COMPLAINS(lower_search_addr, NULL,
                    "I2 nothing to scavenge is above search_addr");
    CHECK_COMPLAINS(lower_search_addr,
                    (void *)(ready_page - PALLOC_CHUNK_BYTES),
                    "I2 nothing to scavenge is above search_addr");
    mm_free(used);
}
