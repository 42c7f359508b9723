// stages: 11-
//
// mgcscavenge.c and mpagealloc.c together: random calls, compared with an array
// that says of each page whether it is used, ready, or released.

#include "heap.h"

#include "page_states.h"
#include "random.h"
#include "test.h"

// Chunks in a row, also where one table ends and the next one begins, with
// gaps.
enum {
    BORDER = 6 << 13,
    N_CHUNKS = 7,
    N_PAGES = N_CHUNKS * PALLOC_CHUNK_PAGES
};
static const chunk_idx chunks[N_CHUNKS] = {BORDER - 64,
                                           BORDER - 2,
                                           BORDER - 1,
                                           BORDER,
                                           BORDER + 1,
                                           BORDER + 3,
                                           BORDER + (9 << 13) + 62};

enum page_state { USED, READY, RELEASED };
static enum page_state states[N_PAGES]; // of the pages of all chunks in a row

static struct page_alloc pages;

// address returns where page i of the array lies.
static uintptr_t address(size_t i)
{
    return chunk_base(chunks[i / PALLOC_CHUNK_PAGES]) +
           i % PALLOC_CHUNK_PAGES * PAGE_SIZE;
}

// run_from returns how many pages from i on lie in a row in memory and are
// used, or are free; at most n.
static size_t run_from(size_t i, size_t n, bool used)
{
    size_t length = 0;
    while (length < n && i + length < N_PAGES &&
           (states[i + length] == USED) == used &&
           address(i + length) == address(i) + length * PAGE_SIZE)
        length++;
    return length;
}

// lowest_run returns the first of the lowest n free pages in a row; N_PAGES:
// there are none.
static size_t lowest_run(size_t n)
{
    size_t i = 0;
    while (i < N_PAGES) {
        size_t length = run_from(i, n, false);
        if (length == n)
            return i;
        i += length > 0 ? length : 1;
    }
    return N_PAGES;
}

// set_states makes n pages from i on what is said, and returns how many were
// released.
static size_t set_states(size_t i, size_t n, enum page_state state)
{
    size_t released = 0;
    for (; n > 0; n--, i++) {
        released += states[i] == RELEASED;
        states[i] = state;
    }
    return released;
}

// expected_scavenge does to the array what page_alloc_scavenge promises: of the
// highest chunk with something to release, the highest pages; and so on until
// they are enough. Returns how many bytes.
static size_t expected_scavenge(size_t nbytes)
{
    size_t released = 0;
    for (size_t k = N_CHUNKS; k > 0 && released < nbytes;) {
        bool candidates[PALLOC_CHUNK_PAGES];
        enum page_state *chunk = &states[(k - 1) * PALLOC_CHUNK_PAGES];
        for (size_t i = 0; i < PALLOC_CHUNK_PAGES; i++)
            candidates[i] = chunk[i] == READY;
        size_t left = nbytes - released;
        struct page_range r = expected_candidate(
            candidates, 1, left / PAGE_SIZE + (left % PAGE_SIZE != 0),
            pages.huge_pages);
        for (size_t i = r.start; i < r.start + r.n; i++)
            chunk[i] = RELEASED;
        released += r.n * PAGE_SIZE;
        if (r.n == 0)
            k--;
    }
    return released;
}

// check_states compares all bits with the array.
static void check_states(void)
{
    size_t ready = 0;
    uintptr_t highest = 0; // page that can be scavenged
    lock_acquire(&mheap.lock);
    for (size_t k = 0; k < N_CHUNKS; k++) {
        const struct palloc_data *chunk = page_alloc_chunk(&pages, chunks[k]);
        CHECK_NOT_NULL(chunk);
        for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64; w++) {
            uint64_t used = 0, released = 0;
            for (size_t b = 0; b < 64; b++) {
                size_t i = k * PALLOC_CHUNK_PAGES + w * 64 + b;
                used |= (uint64_t)(states[i] == USED) << b;
                released |= (uint64_t)(states[i] == RELEASED) << b;
                ready += states[i] != RELEASED;
                if (states[i] == READY)
                    highest = address(i);
            }
            CHECK_THAT(chunk->alloc.words[w] == used &&
                           chunk->scavenged.words[w] == released,
                       "chunk %zu, word %zu: expected 0x%llx in use, 0x%llx"
                       " scavenged, got 0x%llx, 0x%llx",
                       k, w, (unsigned long long)used,
                       (unsigned long long)released,
                       (unsigned long long)chunk->alloc.words[w],
                       (unsigned long long)chunk->scavenged.words[w]);
        }
        bool any = highest >= chunk_base(chunks[k]);
        CHECK_TRUE(!any || scavenge_index_has(&pages, chunks[k]));
    }
    CHECK_EQ(pages.ready, ready);
    CHECK_GE(pages.scav.search_addr, highest);
    lock_release(&mheap.lock);
}

// random_size returns a number of pages: mostly few, sometimes several chunks.
static size_t random_size(uint64_t *random)
{
    size_t most = (size_t)1 << random_below(random, 12);
    return 1 + random_below(random, most);
}

// call makes one random call, and does the same to the array.
static void call(uint64_t *random)
{
    size_t n = random_size(random);
    size_t i = random_below(random, N_PAGES);
    size_t nbytes = random_below(random, 8) == 0
                        ? random_next(random) % (N_PAGES * PAGE_SIZE)
                        : random_next(random) % (64 * PAGE_SIZE);
    bool used = states[i] == USED;

    lock_acquire(&mheap.lock);
    switch (random_below(random, 8)) {
    case 0:
    case 1: {
        size_t lowest = lowest_run(n);
        struct page_run run = page_alloc_alloc(&pages, n);
        CHECK_EQ(run.base, lowest == N_PAGES ? 0 : address(lowest));
        if (lowest < N_PAGES)
            CHECK_EQ(run.scav, set_states(lowest, n, USED));
        break;
    }
    case 2: // those pages, whatever is free below them
        n = run_from(i, n, false);
        if (n > 0)
            CHECK_EQ(page_alloc_alloc_range(&pages, address(i), n),
                     set_states(i, n, USED));
        break;
    case 3:
    case 4:
    case 5:
        n = run_from(i, n, true);
        if (n > 0) {
            page_alloc_free(&pages, address(i), n, false);
            set_states(i, n, READY);
        }
        break;
    case 6:
        CHECK_EQ(page_alloc_scavenge(&pages, nbytes),
                 expected_scavenge(nbytes));
        break;
    default:
        CHECK_EQ(page_alloc_is_scavenged(&pages, address(i)),
                 states[i] == RELEASED);
        n = run_from(i, n, used);
        CHECK_EQ(page_alloc_count(&pages, address(i), n), used ? n : 0);
        break;
    }
    lock_release(&mheap.lock);
}

static void random_calls(size_t huge_pages)
{
    uint64_t random = random_start();
    page_alloc_begin(&pages, huge_pages);
    for (size_t k = 0; k < N_CHUNKS; k++) {
        size_t grown = k * 4 % N_CHUNKS; // in any order
        lock_acquire(&mheap.lock);
        bool done = page_alloc_grow(&pages, chunk_base(chunks[grown]),
                                    PALLOC_CHUNK_BYTES);
        lock_release(&mheap.lock);
        CHECK_TRUE(done);
    }
    set_states(0, N_PAGES, RELEASED); // nobody has used them so far
    check_states();
    for (size_t i = 0; i < 12000; i++) {
        call(&random);
        check_states();
    }
    lock_acquire(&mheap.lock);
    CHECK_EQ(page_alloc_scavenge(&pages, SIZE_MAX),
             expected_scavenge(SIZE_MAX));
    lock_release(&mheap.lock);
    check_states();
}

TEST(pages_are_used_ready_or_released,
     "random calls of the page allocator and the scavenger do to each page what"
     " an array says, and count the scavenged ones right")
{
    random_calls(0);
}

TEST(with_huge_pages_of_a_quarter_word, "the same, with huge pages of 16 pages")
{
    random_calls(16);
}

TEST(with_huge_pages_of_a_word, "the same, with huge pages of 64 pages")
{
    random_calls(64);
}

TEST(with_huge_pages_of_half_a_chunk, "the same, with huge pages of 256 pages")
{
    random_calls(256);
}
