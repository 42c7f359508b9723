// stages: 12-
//
// mheap.c: spans from the page cache of the thread: how often the lock is
// taken, and when the pages go back to the heap.

#include "heap.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "random.h"
#include "test.h"
#include "workers.h"

enum { N = 1000 };
static void *blocks[N];

// mine returns the page cache of the calling thread.
static struct page_cache *mine(void)
{
    return &((struct mcache *)(uintptr_t)mcache_mine())->pcache;
}

// pages_in_use returns how many pages of the heap are in use, or cached.
static size_t pages_in_use(void)
{
    lock_acquire(&mheap.lock);
    size_t n = mheap.pages_in_use;
    lock_release(&mheap.lock);
    return n;
}

static size_t ready_pages(void)
{
    lock_acquire(&mheap.lock);
    size_t n = mheap.pages.ready;
    lock_release(&mheap.lock);
    return n;
}

// begin makes a heap of one chunk, all free and scavenged, and gives this
// thread an empty cache. The first span of a process makes the heap grow: there
// is no page for a cache before.
static void begin(void)
{
    mm_free(mm_malloc(PAGE_SIZE));
    mm_release(0);
    CHECK_EQ(mheap.pages.end - mheap.pages.start, 1);
    CHECK_EQ(mine()->cache, 0);
    CHECK_EQ(pages_in_use(), 0);
    CHECK_EQ(ready_pages(), 0);
}

// ---------------------------------------------------------------------------
// Locks.

TEST(few_spans_take_the_lock,
     "a thousand spans take the lock of the heap as often as it says here; it"
     " was once for each, before there were page caches")
{
    // Each block is a span of its own, of the lengths 1 .. most in turn.
    static const struct {
        size_t least, most, locks;
    } cases[] = {
        {1, 1, 34},
        {2, 2, 36},
        {1, 4, 109},
        {8, 8, 147},
        // What is left in a cache fits no span of the rest.
        {5, 5, 989},
        {1, 15, 616},
        // They are too long for a cache.
        {16, 16, 1000},
    };
    begin();
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        struct mm_stats before = stats();
        size_t turns = cases[k].most - cases[k].least + 1;
        for (size_t i = 0; i < N; i++)
            blocks[i] = mm_malloc((cases[k].least + i % turns) * PAGE_SIZE);
        struct mm_stats after = stats();
        CHECK_EQ(after.span_allocs - before.span_allocs, N);
        CHECK_EQ(after.locks_taken - before.locks_taken - 1, cases[k].locks);
        release(blocks, N);
        mm_release(0);
    }
}

TEST(spans_of_a_cache_lie_in_its_64_pages,
     "as long as its page cache lasts, a thread gets spans of 64 pages, the"
     " lowest first")
{
    begin();
    char *first = mm_malloc(PAGE_SIZE);
    CHECK_EQ((uintptr_t)first % (PAGE_CACHE_PAGES * PAGE_SIZE), 0);
    CHECK_EQ(pages_in_use(), PAGE_CACHE_PAGES);
    CHECK_EQ(mine()->cache, UINT64_MAX - 1);
    blocks[0] = mm_malloc(5 * PAGE_SIZE);
    CHECK_PTR_EQ(blocks[0], first + PAGE_SIZE);
    CHECK_EQ(mine()->cache, UINT64_MAX << 6);
    CHECK_EQ(pages_in_use(), PAGE_CACHE_PAGES);
    mm_free(blocks[0]); // to the heap, not to the cache
    CHECK_EQ(pages_in_use(), PAGE_CACHE_PAGES - 5);
    CHECK_EQ(mine()->cache, UINT64_MAX << 6);
    mm_free(first);
}

static void take_a_page(void *into)
{
    *(char **)into = mm_malloc(PAGE_SIZE);
}

TEST(threads_do_not_share_64_pages,
     "each thread gets its spans of 64 pages that no other has")
{
    struct worker w[4];
    char *p[4][3];
    begin();
    for (size_t i = 0; i < 4; i++)
        worker_start(&w[i]);
    for (size_t k = 0; k < 3; k++)
        for (size_t i = 0; i < 4; i++)
            worker_do(&w[i], take_a_page, &p[i][k]);
    for (size_t i = 0; i < 4; i++) {
        CHECK_PTR_EQ(p[i][0], p[0][0] + i * PAGE_CACHE_PAGES * PAGE_SIZE);
        CHECK_PTR_EQ(p[i][1], p[i][0] + PAGE_SIZE);
        CHECK_PTR_EQ(p[i][2], p[i][0] + 2 * PAGE_SIZE);
    }
    for (size_t i = 0; i < 4; i++) {
        release((void **)p[i], 3);
        worker_end(&w[i]);
    }
}

static void alloc_cached(void *spans)
{
    struct mspan **s = spans;
    errno = EDOM;
    s[0] = mheap_alloc_cached(1, make_spanclass(0, false));
    CHECK(errno == EDOM);
    mm_free(mm_malloc(100)); // from here on, there is a cache
    s[1] = mheap_alloc_cached(15, make_spanclass(0, false));
    s[2] = mheap_alloc_cached(16, make_spanclass(0, false));
    s[3] = mheap_alloc_cached(SIZE_MAX, make_spanclass(0, false));
    CHECK(errno == EDOM);
}

TEST(long_spans_are_not_cached,
     "a thread without a cache gets no span of one, and nobody one of 16 pages"
     " or more; errno stays as it was")
{
    struct mspan *s[4];
    begin();
    in_other_thread(alloc_cached, s);
    CHECK_NULL(s[0]);
    CHECK_NOT_NULL(s[1]);
    CHECK_EQ(s[1]->npages, 15);
    CHECK_EQ(s[1]->state, MSPAN_IN_USE);
    CHECK_PTR_EQ(span_of(s[1]->start_addr), s[1]);
    CHECK_PTR_EQ(span_of(mspan_end(s[1]) - 1), s[1]);
    CHECK_NULL(s[2]);
    CHECK_NULL(s[3]);
    lock_acquire(&mheap.lock);
    mheap_free(s[1]);
    lock_release(&mheap.lock);
}

TEST(fresh_pages_of_a_cache_are_known_to_be_zero,
     "a block of fresh pages is known to be zero when it comes from a page"
     " cache, and one of used pages is not")
{
    begin();
    void *used_before = mm_malloc(PAGE_SIZE);
    char *p = mm_malloc(5 * PAGE_SIZE);
    CHECK_TRUE(mm_is_zero(p));
    memset(p, 1, 5 * PAGE_SIZE);
    mm_free(p);
    mm_release(SIZE_MAX); // the cache is flushed, nothing is scavenged
    char *q = mm_malloc(6 * PAGE_SIZE);
    CHECK_PTR_EQ(q, p);
    CHECK_TRUE(!mm_is_zero(q)); // the first five pages were used
    mm_free(q);
    mm_release(SIZE_MAX);
    q = mm_calloc(1, 6 * PAGE_SIZE);
    CHECK_PTR_EQ(q, p);
    for (size_t i = 0; i < 6 * PAGE_SIZE; i++)
        CHECK_EQ(q[i], 0);
    mm_free(q);
    mm_free(used_before);
}

// ---------------------------------------------------------------------------
// Back to the heap.

static void allocate_and_free(void *cached)
{
    mm_free(mm_malloc(100)); // now there is a cache
    mm_free(mm_malloc(5 * PAGE_SIZE));
    *(unsigned *)cached = popcount64(mine()->cache);
}

TEST(a_thread_that_ends_flushes_its_cache,
     "the pages of the cache of a thread that ends are free again, and its"
     " structs serve other threads")
{
    unsigned cached = 0;
    begin();
    in_other_thread(allocate_and_free, &cached);
    CHECK_EQ(cached, 58);
    CHECK_EQ(pages_in_use(), 1); // of a span that 100 bytes were in
    uint64_t bytes = stats().bytes_from_os;
    for (size_t i = 0; i < 100; i++)
        in_other_thread(allocate_and_free, &cached);
    CHECK_EQ(pages_in_use(), 1);
    CHECK_EQ(stats().bytes_from_os, bytes);
}

TEST(mm_release_flushes_the_cache,
     "after mm_release, the thread has no pages in its cache, and none that is"
     " free takes memory")
{
    begin();
    char *p = mm_malloc(5 * PAGE_SIZE);
    memset(p, 1, 5 * PAGE_SIZE);
    char *q = mm_malloc(5 * PAGE_SIZE);
    mm_free(p);
    CHECK_TRUE(mine()->cache != 0);
    CHECK_GE(ready_pages(), PAGE_CACHE_PAGES);
    CHECK_TRUE(mm_release(0));
    CHECK_EQ(mine()->cache, 0);
    CHECK_EQ(mine()->scav, 0);
    CHECK_EQ(pages_in_use(), 5);
    CHECK_EQ(ready_pages(), 5);
    mm_free(q);
}

TEST(flushed_pages_can_be_scavenged,
     "pages that took memory all the time while they were in a cache are found"
     " by the scavenger after the flush, though it has been there before")
{
    begin();
    char *used_before = mm_malloc(PAGE_CACHE_PAGES * PAGE_SIZE);
    memset(used_before, 1, PAGE_CACHE_PAGES * PAGE_SIZE);
    mm_free(used_before);
    char *p = mm_malloc(PAGE_SIZE);
    CHECK_PTR_EQ(p, used_before);
    CHECK_EQ(mine()->scav, 0);
    lock_acquire(&mheap.lock);
    CHECK_EQ(page_alloc_scavenge(&mheap.pages, SIZE_MAX), 0);
    lock_release(&mheap.lock);
    CHECK_EQ(ready_pages(), PAGE_CACHE_PAGES);
    CHECK_TRUE(mm_release(0));
    CHECK_EQ(ready_pages(), 1);
    mm_free(p);
}

TEST(cached_pages_count_as_held_until_they_are_flushed,
     "pages that a cache took and nobody used are counted as memory from the OS"
     " until they are flushed")
{
    begin();
    uint64_t before = stats().bytes_from_os;
    char *p = mm_malloc(5 * PAGE_SIZE);
    CHECK_EQ(stats().bytes_from_os, before + 64 * PAGE_SIZE);
    mm_release(SIZE_MAX); // what was used stays
    CHECK_EQ(stats().bytes_from_os, before + 5 * PAGE_SIZE);
    mm_free(p);
}

// fill_heap makes a heap of one chunk, with five pages in use, the lowest, and
// 59 in the page cache.
static char *fill_heap(void)
{
    begin();
    char *p = mm_malloc(5 * PAGE_SIZE);
    CHECK_EQ(popcount64(mine()->cache), 59);
    return p;
}

TEST(a_large_span_takes_what_the_cache_had,
     "before the heap grows, the thread gives up its page cache: that may be"
     " what is missing")
{
    char *p = fill_heap();
    char *q = mm_malloc((PALLOC_CHUNK_PAGES - 5) * PAGE_SIZE);
    CHECK_PTR_EQ(q, p + 5 * PAGE_SIZE);
    CHECK_EQ(mheap.pages.end - mheap.pages.start, 1);
    CHECK_EQ(mine()->cache, 0);
    mm_free(q);
    mm_free(p);
}

TEST(an_aligned_span_takes_what_the_cache_had,
     "before the heap grows for an aligned span, the thread gives up its page"
     " cache")
{
    char *p = fill_heap();
    size_t align = 8 * PAGE_SIZE;
    char *q = mm_memalign(align, (PALLOC_CHUNK_PAGES - 5 - 7) * PAGE_SIZE);
    CHECK_PTR_EQ(q, p + align);
    CHECK_EQ(mheap.pages.end - mheap.pages.start, 1);
    mm_free(q);
    mm_free(p);
}

TEST(
    a_small_span_takes_what_the_cache_had,
    "a span that the rest of the cache is too short for is found with the lock,"
    " without growing the heap")
{
    char *p = fill_heap();
    char *most = mm_malloc((PALLOC_CHUNK_PAGES - 64) * PAGE_SIZE);
    void *small[4];
    for (size_t i = 0; i < 3; i++)
        small[i] = mm_malloc(15 * PAGE_SIZE);
    CHECK_EQ(popcount64(mine()->cache), 14);
    mm_free(most);
    CHECK_PTR_EQ(mm_malloc(15 * PAGE_SIZE), p + 64 * PAGE_SIZE);
    small[3] = p + 64 * PAGE_SIZE;
    CHECK_EQ(mheap.pages.end - mheap.pages.start, 1);
    release(small, 4);
    mm_free(p);
}

// ---------------------------------------------------------------------------
// Threads.

static atomic_bool stop;
static atomic_size_t troubles;

// spans_come_and_go allocates and frees spans of all lengths up to 20.
static void *spans_come_and_go(void *number)
{
    enum { LIVE = 40 };
    uint64_t state = 10 + (uintptr_t)number;
    unsigned char *p[LIVE] = {0};
    size_t npages[LIVE] = {0};
    for (size_t i = 0; i < 3000; i++) {
        size_t k = random_below(&state, LIVE);
        if (p[k] != NULL) {
            unsigned char *last = p[k] + npages[k] * PAGE_SIZE - 1;
            troubles += *p[k] != (unsigned char)k;
            troubles += *last != (unsigned char)(k + (uintptr_t)number);
        }
        mm_free(p[k]);
        npages[k] = 1 + random_below(&state, random_below(&state, 20) + 1);
        p[k] = mm_malloc(npages[k] * PAGE_SIZE);
        *p[k] = (unsigned char)k;
        p[k][npages[k] * PAGE_SIZE - 1] =
            (unsigned char)(k + (uintptr_t)number);
        if (i % 1000 == 999)
            mm_release(0);
    }
    for (size_t k = 0; k < LIVE; k++)
        mm_free(p[k]);
    return NULL;
}

static void add_bytes(const struct mm_item *item, void *sum)
{
    if (item->kind == MM_SPAN)
        *(size_t *)sum += item->size;
}

// look_around walks and checks until it is told to stop.
static void *look_around(void *unused)
{
    while (!atomic_load(&stop)) {
        size_t bytes = 0;
        mm_walk(add_bytes, &bytes);
        troubles += bytes % PALLOC_CHUNK_BYTES != 0;
        troubles += !mm_check();
        stats();
    }
    return unused;
}

TEST(threads_take_spans_while_others_look,
     "threads may take spans from their page caches while another walks"
     " through the heap and checks it")
{
    pthread_t looking;
    CHECK_EQ(pthread_create(&looking, NULL, look_around, NULL), 0);
    run_threads(4, spans_come_and_go);
    atomic_store(&stop, true);
    CHECK_EQ(pthread_join(looking, NULL), 0);
    CHECK_EQ(troubles, 0);
    mm_release(0);
    CHECK_EQ(pages_in_use(), 0);
}

// ---------------------------------------------------------------------------
// mm_check sees what is wrong with a page cache.

static void check_all(void *change)
{
    void (*body)(void) = (void (*)(void))change;
    body();
    if (!mm_check())
        _exit(1);
}

static void do_nothing(void)
{
}

static void claim_a_page_in_a_span(void)
{
    mine()->cache ^= 3; // the first page is in use, the second is forgotten
}

static void forget_a_page(void)
{
    mine()->cache &= mine()->cache - 1;
}

static void claim_a_page_of_the_heap(void)
{
    lock_acquire(&mheap.lock);
    uintptr_t next = mine()->base + PAGE_CACHE_PAGES * PAGE_SIZE;
    CHECK(page_alloc_count(&mheap.pages, next, 64) == 0);
    mine()->base = next;
    lock_release(&mheap.lock);
}

static void remember_a_used_page_as_scavenged(void)
{
    mine()->scav |= 1;
}

TEST(check_sees_a_damaged_page_cache,
     "mm_check notices a page cache with a page that is in a span, or free for"
     " all, or lost, or scavenged but not free")
{
    begin();
    void *p = mm_malloc(PAGE_SIZE);
    CHECK_RETURNS(check_all, do_nothing, "");
    CHECK_COMPLAINS(check_all, claim_a_page_in_a_span,
                    "I2 a cached page has no span");
    CHECK_COMPLAINS(check_all, forget_a_page,
                    "I2 a page in use has a span, or is cached");
    CHECK_COMPLAINS(check_all, claim_a_page_of_the_heap,
                    "I1 what is free in a cache is in use");
    CHECK_COMPLAINS(check_all, remember_a_used_page_as_scavenged,
                    "I2 what is scavenged in a cache is free in it");
    mm_free(p);
}
