// stages: 08-
//
// mcentral.c: where the spans of a class are, and how they go from one place to
// another; what goes back to the page heap; and what mcentral_check notices.

#include "heap.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "os_memory.h"
#include "test.h"
#include "workers.h"

#include "class_spans.h"
#include "full_spans.h"

static void free_one(void *p)
{
    mm_free(p);
}

#define CHECK_STATE(s, expected_place, expected_length, expected_empty)        \
    do {                                                                       \
        CHECK_EQ(mspan_place(s), expected_place);                              \
        CHECK_EQ((s)->place,                                                   \
                 (expected_place) + class_of_span(s) * NUM_PLACES);            \
        CHECK_EQ(set_length(size_class_of((s)->elemsize)), expected_length);   \
        CHECK_EQ(mcentral[class_of_span(s)].n_empty, expected_empty);          \
        CHECK_TRUE(mm_check());                                                \
    } while (0)

// ---------------------------------------------------------------------------
// The picture in mcentral.c, arrow by arrow.

TEST(from_place_to_place,
     "a span goes from a cache to FULL when it is used up, with a free to"
     " PARTIAL, with the last one to EMPTY, and from both back into a cache")
{
    unsigned c = class_of_size();
    blocks[0] = mm_malloc(SIZE);
    struct mspan *s = held(c);
    CHECK_STATE(s, PLACE_CACHED, 0, 0);
    allocate(blocks + 1, EACH - 1, SIZE);
    CHECK_STATE(s, PLACE_CACHED, 0, 0); // used up, but nobody asked for more
    void *more = mm_malloc(SIZE);
    struct mspan *t = held(c);
    CHECK_TRUE(t != s);
    CHECK_STATE(s, PLACE_FULL, 0, 0);
    CHECK_NULL(s->owner);
    mm_free(blocks[0]);
    CHECK_STATE(s, PLACE_PARTIAL, 1, 0);
    mm_free(blocks[1]);
    CHECK_STATE(s, PLACE_PARTIAL, 1, 0);
    release(blocks + 2, EACH - 3);
    CHECK_STATE(s, PLACE_PARTIAL, 1, 0);
    mm_free(blocks[EACH - 1]);
    CHECK_STATE(s, PLACE_EMPTY, 1, 1);

    // From both into a cache: t is used up first.
    allocate(blocks, EACH - 1, SIZE);
    CHECK_STATE(s, PLACE_EMPTY, 1, 1);
    blocks[EACH - 1] = mm_malloc(SIZE);
    CHECK_PTR_EQ(held(c), s);
    CHECK_PTR_EQ(s->owner, mcache);
    CHECK_STATE(s, PLACE_CACHED, 0, 0);
    CHECK_STATE(t, PLACE_FULL, 0, 0);
    mm_free(more);
    CHECK_STATE(t, PLACE_PARTIAL, 1, 0);
    allocate(blocks + EACH, EACH - 1, SIZE);
    CHECK_STATE(t, PLACE_PARTIAL, 1, 0);
    CHECK_PTR_EQ(mm_malloc(SIZE), more);
    CHECK_PTR_EQ(held(c), t);
    CHECK_STATE(t, PLACE_CACHED, 0, 0);
    CHECK_STATE(s, PLACE_FULL, 0, 0);
    mm_free(more);
    release(blocks, 2 * EACH - 1);
}

TEST(put_down_with_what_it_has,
     "a span that a thread puts down becomes FULL, PARTIAL or EMPTY, as its"
     " slots are")
{
    unsigned c = class_of_size();
    for (size_t n = 0; n <= EACH; n++) {
        allocate(blocks, EACH, SIZE);
        struct mspan *s = held(c);
        release(blocks + n, EACH - n);
        *cached_at(c) = &emptymspan;
        mcentral_uncache_span(s);
        CHECK_NULL(s->owner);
        enum span_place place = n == 0      ? PLACE_EMPTY
                                : n == EACH ? PLACE_FULL
                                            : PLACE_PARTIAL;
        CHECK_STATE(s, place, n < EACH, n == 0);
        release(blocks, n);
        CHECK_STATE(s, PLACE_EMPTY, 1, 1);
        CHECK_TRUE(mcentral_reclaim());
        CHECK_EQ(spans_in_use(), 0);
        CHECK_EQ(n_empty(), 0);
    }
}

TEST(frees_of_others_in_a_cache,
     "what others free in a span that a thread holds changes no place; when it"
     " is put down, it is swept, and goes where it belongs")
{
    unsigned c = class_of_size();
    for (size_t n = 1; n <= EACH; n++) {
        allocate(blocks, EACH, SIZE);
        struct mspan *s = held(c);
        CHECK_EQ(mspan_next(s), 0);
        for (size_t i = 0; i < n; i++) {
            in_other_thread(free_one, blocks[i]);
            CHECK_STATE(s, PLACE_CACHED, 0, 0);
            CHECK_NULL(s->owner);
        }
        *cached_at(c) = &emptymspan;
        mcentral_uncache_span(s);
        CHECK_STATE(s, n == EACH ? PLACE_EMPTY : PLACE_PARTIAL, 1, n == EACH);
        CHECK_EQ(s->mark_bits[0], UINT64_MAX);
        CHECK_EQ(mspan_count_alloc(s), EACH - n);
        release(blocks + n, EACH - n);
        mcache_flush();
    }
}

TEST(others_free_in_every_place,
     "another thread that frees does what the holder would have done: FULL to"
     " PARTIAL to EMPTY; of a class with one object, FULL to EMPTY")
{
    full_spans(1);
    struct mspan *s = span_of(blocks[0]);
    for (size_t i = 0; i < EACH; i++) {
        CHECK_STATE(s, i == 0 ? PLACE_FULL : PLACE_PARTIAL, i > 0, 0);
        in_other_thread(free_one, blocks[i]);
    }
    CHECK_STATE(s, PLACE_EMPTY, 1, 1);

    unsigned c = size_class_of(32768);
    void *p = mm_malloc(32768);
    s = held(c);
    CHECK_EQ(s->nelems, 1);
    mcache_flush();
    CHECK_STATE(s, PLACE_FULL, 0, 0);
    in_other_thread(free_one, p);
    CHECK_STATE(s, PLACE_EMPTY, 1, 1);
    CHECK_EQ(mspan_count_alloc(s), 0);
}

// ---------------------------------------------------------------------------
// Nothing that is free is overlooked.

TEST(one_free_slot_is_found_before_the_heap_grows,
     "of many full spans, the one that gets a free slot is taken next, whoever"
     " freed it; only without any does the heap grow")
{
    enum { N = 50 };
    struct worker w;
    worker_start(&w);
    full_spans(N);
    uint64_t before = stats().span_allocs;
    for (size_t i = 0; i < 4 * N; i++) {
        void **p = &blocks[i * 29 % (N * EACH)];
        if (i % 2 == 0)
            mm_free(*p);
        else
            worker_do(&w, free_one, *p);
        void *q = mm_malloc(SIZE);
        CHECK_PTR_EQ(q, *p);
        CHECK_EQ(set_length(class_of_size()), 0);
    }
    CHECK_EQ(stats().span_allocs, before);
    void *p = mm_malloc(SIZE);
    CHECK_EQ(stats().span_allocs, before + 1);
    mm_free(p);
    worker_end(&w);
    release(blocks, N * EACH);
}

TEST(
    what_others_freed_is_found_before_the_heap_grows,
    "all that another thread freed, in spans that were full, is allocated again"
    " without a new span: the same blocks")
{
    enum { N = 40 };
    full_spans(N);
    uint64_t before = stats().span_allocs;
    size_t n_freed = 0;
    static void *freed[N * EACH], *again[N * EACH];
    struct worker w;
    worker_start(&w);
    // Of most spans some blocks, of some all, of some none.
    for (size_t i = 0; i < N * EACH; i++)
        if (i / EACH % 4 != 3 && (i / EACH % 4 == 2 || i * i % 3 == 1)) {
            worker_do(&w, free_one, blocks[i]);
            freed[n_freed++] = blocks[i];
            blocks[i] = NULL;
        }
    worker_end(&w);
    CHECK_GE(n_freed, 100);
    allocate(again, n_freed, SIZE);
    CHECK_EQ(stats().span_allocs, before);
    CHECK_EQ(stats().span_frees, 0);
    for (size_t i = 0; i < n_freed; i++) {
        size_t k = 0;
        while (k < n_freed && freed[k] != again[i])
            k++;
        CHECK_LE(k, n_freed - 1);
        freed[k] = NULL;
    }
    CHECK_EQ(set_length(class_of_size()), 0);
    void *one_more = mm_malloc(SIZE);
    CHECK_EQ(stats().span_allocs, before + 1);
    mm_free(one_more);
    release(again, n_freed);
    release(blocks, N * EACH);
}

// ---------------------------------------------------------------------------
// Empty spans, and the page heap.

// kept returns how many empty spans may wait in a class whose set has a length:
// a quarter, and 128 KiB.
static size_t kept(unsigned sizeclass, size_t length)
{
    return length / 4 + ((size_t)128 << 10) / (class_npages(sizeclass) * 8192);
}

// check_reclaim makes n_partial spans PARTIAL and n EMPTY, one after the other,
// and looks when the empty ones go back.
static void check_reclaim(size_t size, size_t n_partial, size_t n)
{
    unsigned c = size_class_of(size);
    size_t each = class_npages(c) * PAGE_SIZE / class_size(c);
    CHECK_LE((n_partial + n) * each, MOST);
    allocate(blocks, (n_partial + n) * each, size);
    mcache_flush();
    for (size_t i = 0; i < n_partial; i++)
        mm_free(blocks[i * each]);
    struct mm_stats before = stats();
    size_t empty = 0, times = 0;
    for (size_t i = n_partial; i < n_partial + n; i++) {
        release(blocks + i * each, each);
        empty++;
        if (empty > kept(c, n_partial + empty)) {
            times++;
            empty = 0;
        }
        CHECK_EQ(central_of(c)->n_empty, empty);
        CHECK_EQ(set_length(c), n_partial + empty);
        CHECK_EQ(stats().span_frees - before.span_frees,
                 i + 1 - n_partial - empty);
    }
    CHECK_GE(times, 2);
    CHECK_TRUE(mm_check());
    for (size_t i = 0; i < n_partial; i++)
        release(blocks + i * each + 1, each - 1);
    mcentral_reclaim();
    CHECK_EQ(spans_in_use(), 0);
}

TEST(
    many_empty_spans_go_back,
    "empty spans go back to the page heap when there are more of them than"
    " 128 KiB and a quarter of those with free slots, and not before; then all;"
    " those with blocks stay")
{
    check_reclaim(SIZE, 0, 100);
    check_reclaim(SIZE, 101, 150);
    check_reclaim(3072, 7, 60); // three pages
    check_reclaim(32768, 0, 30); // one object
    check_reclaim(16, 10, 65);
}

TEST(no_thrashing,
     "what was freed and is needed again at once does not come from the page"
     " heap: 16 spans, again and again, are taken from it once")
{
    static const size_t sizes[] = {64, 1024, 8192};
    for (size_t i = 0; i < 3; i++) {
        size_t n = 16 * PAGE_SIZE / sizes[i];
        allocate(blocks, n, sizes[i]);
        struct mm_stats before = stats();
        for (size_t round = 0; round < 50; round++) {
            release(blocks, n);
            allocate(blocks, n, sizes[i]);
        }
        struct mm_stats after = stats();
        CHECK_EQ(after.span_allocs, before.span_allocs);
        CHECK_EQ(after.span_frees, before.span_frees);
        release(blocks, n);
    }
    // Of more, each span goes and comes once a round, at most.
    size_t n = (size_t)500 * EACH;
    allocate(blocks, n, SIZE);
    struct mm_stats before = stats();
    for (size_t round = 0; round < 10; round++) {
        release(blocks, n);
        allocate(blocks, n, SIZE);
    }
    struct mm_stats after = stats();
    CHECK_LE(after.span_allocs - before.span_allocs, 10 * 500);
    CHECK_EQ(after.bytes_from_os, before.bytes_from_os);
    release(blocks, n);
}

TEST(one_free_at_the_border_does_not_thrash,
     "one block, freed and allocated again and again, where a span becomes full"
     " and empty each time, costs no span of the page heap")
{
    full_spans(3);
    struct mm_stats before = stats();
    for (size_t i = 0; i < 1000; i++) {
        void *p = mm_malloc(SIZE);
        mm_free(p);
        mm_free(blocks[0]);
        blocks[0] = mm_malloc(SIZE);
        void *q = mm_malloc(32768), *r = mm_malloc(32768);
        mm_free(q);
        mm_free(r);
    }
    CHECK_LE(stats().span_allocs - before.span_allocs, 3);
    CHECK_EQ(stats().span_frees, before.span_frees);
    release(blocks, 3 * EACH);
}

TEST(an_empty_span_serves_another_class,
     "after mcentral_reclaim, the pages of spans that were empty serve other"
     " classes; it says whether there were any")
{
    full_spans(2);
    CHECK_TRUE(!mcentral_reclaim());
    struct mspan *s = span_of(blocks[0]);
    char *page = s->start_addr;
    release(blocks, EACH);
    mm_free(blocks[EACH]);
    CHECK_STATE(s, PLACE_EMPTY, 2, 1);
    CHECK_TRUE(mcentral_reclaim());
    CHECK_TRUE(!mcentral_reclaim());
    CHECK_NULL(span_of(page));
    CHECK_EQ(set_length(class_of_size()), 1);
    CHECK_EQ(n_empty(), 0);
    char *p = mm_malloc(64);
    CHECK_PTR_EQ(span_of(p)->start_addr, page);
    CHECK_EQ(class_of_span(span_of(p)), scan_class(size_class_of(64)));
    mm_free(p);
    release(blocks + EACH + 1, EACH - 1);
}

TEST(
    what_becomes_empty_by_others_goes_back,
    "frees of a thread without any span of the class count its empty ones, too,"
    " and give them back when there are many")
{
    full_spans(60);
    struct worker w;
    worker_start(&w);
    size_t most = 0;
    for (size_t i = 0; i < 60 * EACH; i++) {
        worker_do(&w, free_one, blocks[i]);
        most = n_empty() > most ? n_empty() : most;
    }
    worker_end(&w);
    CHECK_EQ(most, 21);
    CHECK_EQ(stats().span_frees, 44);
    CHECK_EQ(n_empty(), 60 - 44);
}

// ---------------------------------------------------------------------------
// When memory is short.

TEST(without_memory_for_the_set,
     "if there is no memory for the set, a list takes the spans: none is lost,"
     " those with free slots are found before the heap grows, and empty ones go"
     " back")
{
    enum { N = 40 };
    unsigned c = class_of_size();
    full_spans(N);
    mcache_flush();
    exhaust_structs(0);
    errno = 4711;
    for (size_t i = 0; i < N; i++)
        mm_free(blocks[i * EACH]);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(span_set_length(&central_of(c)->partial), 0);
    CHECK_EQ(central_of(c)->n_rest, N);
    CHECK_TRUE(mm_check());
    uint64_t before = stats().span_allocs;
    for (size_t i = 0; i < N; i++) {
        blocks[i * EACH] = mm_malloc(SIZE);
        CHECK_EQ(central_of(c)->n_rest, N - 1 - i);
    }
    CHECK_EQ(errno, 4711);
    CHECK_EQ(stats().span_allocs, before);
    CHECK_TRUE(mm_check());
    // Empty ones are counted there, too.
    for (size_t i = 0; i < N * EACH; i++)
        mm_free(blocks[i]);
    CHECK_EQ(errno, 4711);
    CHECK_GE(stats().span_frees, N / 2);
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(central_of(c)->n_rest, 0);
    CHECK_EQ(spans_in_use(), 0);
}

TEST(the_set_and_the_list_together,
     "spans on the list are found when the set has none, and the set takes them"
     " again when there is memory")
{
    enum { N = 20 };
    unsigned c = class_of_size();
    full_spans(2 * N);
    exhaust_structs(0);
    for (size_t i = 0; i < N; i++)
        mm_free(blocks[i * EACH]);
    CHECK_EQ(central_of(c)->n_rest, N);
    os.fail_from = SIZE_MAX;
    for (size_t i = N; i < 2 * N; i++)
        mm_free(blocks[i * EACH]);
    CHECK_EQ(central_of(c)->n_rest, N);
    CHECK_EQ(span_set_length(&central_of(c)->partial), N);
    CHECK_TRUE(mm_check());
    uint64_t before = stats().span_allocs;
    for (size_t i = 0; i < 2 * N; i++)
        blocks[i * EACH] = mm_malloc(SIZE);
    CHECK_EQ(stats().span_allocs, before);
    CHECK_EQ(set_length(c), 0);
    CHECK_TRUE(mm_check());
    // A reclaim takes all off the list, and puts those with blocks in the set.
    release(blocks, 2 * N * EACH);
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

TEST(
    freed_memory_can_be_allocated_again,
    "when the OS gives nothing more, malloc fails with ENOMEM when all is used;"
    " what is freed then can be allocated again, by any class")
{
    mm_free(mm_malloc(SIZE));
    exhaust_structs(200);
    static const size_t sizes[] = {SIZE, 48, 32768, 64, SIZE};
    size_t first = 0;
    for (size_t k = 0; k < 5; k++) {
        size_t n = 0;
        errno = 4711;
        void *p;
        while (n < MOST && (p = mm_malloc(sizes[k])) != NULL) {
            CHECK_EQ(errno, 4711);
            blocks[n++] = p;
        }
        CHECK_TRUE(n < MOST);
        CHECK_EQ(errno, ENOMEM);
        CHECK_TRUE(mm_check());
        if (k == 0)
            first = n;
        // One that is freed, of any span, is the one that is there.
        for (size_t i = 0; i < 100; i++) {
            size_t victim = i * 31 % n;
            mm_free(blocks[victim]);
            blocks[victim] = mm_malloc(sizes[k]);
            CHECK_NOT_NULL(blocks[victim]);
            if (i % 10 == 0)
                CHECK_NULL(mm_malloc(sizes[k]));
        }
        release(blocks, n);
        CHECK_TRUE(mm_check());
        if (k == 4)
            CHECK_EQ(n, first);
    }
    CHECK_GE(first, 100);
}

// ---------------------------------------------------------------------------
// Damage. It is done in the child, for fork repairs some of it.

static struct {
    struct mspan *s; // NULL: none
    enum span_place place; // where s is said to be
    uint32_t n_empty, n_rest; // so many are counted that are not there
    bool missing, twice; // s is not in the set, or twice
    bool unlisted; // the first on the list is not there
    uint64_t freed, taken; // its free bits that are wrong
    uint64_t cleared; // and its marks
} wrong;

static void check_damaged(void *unused)
{
    (void)unused;
    struct mcentral *c = central_of(class_of_size());
    c->n_empty += wrong.n_empty;
    c->n_rest += wrong.n_rest;
    struct mspan *s = wrong.s;
    if (s != NULL) {
        set_place(s, wrong.place);
        s->free_bits[0] = (s->free_bits[0] | wrong.freed) & ~wrong.taken;
        s->mark_bits[0] &= ~wrong.cleared;
    }
    if (wrong.missing)
        span_set_pop(&c->partial);
    if (wrong.twice)
        span_set_push(&c->partial, s);
    lock_acquire(&mheap.lock);
    if (wrong.unlisted)
        mspan_list_remove(&c->rest, c->rest.first);
    lock_release(&mheap.lock);
    _exit(mm_check() ? 0 : 1);
}

static const char says_cached[] = "I1 a span that is cached is in a cache",
                  says_full[] = "I3 nothing is free in a full span",
                  says_partial[] = "I4 some slots of a partial span are free",
                  says_set[] = "I4 what has free slots is in partial",
                  says_rest[] = "I4 n_rest counts what is on the list",
                  says_empty[] = "I5 n_empty counts the empty spans",
                  says_place[] = "a span of a class has a place";

TEST(damaged_places_are_noticed,
     "mm_check names what is wrong with the place of a span: a cache, fullness,"
     " emptiness, the class")
{
    // What it says of a span that is in the first place, if the second is
    // written there.
    static const char *const says[NUM_PLACES][NUM_PLACES] = {
        [PLACE_PARTIAL] = {says_place, says_cached, NULL, says_empty,
                           says_full},
        [PLACE_EMPTY] = {says_place, says_cached, says_partial, NULL,
                         says_full},
        [PLACE_FULL] = {says_place, says_cached, says_partial, says_set, NULL},
    };
    full_spans(3);
    mm_free(blocks[EACH]);
    release(blocks + 2 * EACH, EACH);
    void *large = mm_malloc(100000);
    struct mspan *spans[] = {span_of(blocks[0]), span_of(blocks[EACH]),
                             span_of(blocks[2 * EACH])};
    for (size_t i = 0; i < 3; i++)
        for (unsigned place = 0; place < NUM_PLACES; place++) {
            enum span_place right = mspan_place(spans[i]);
            wrong.s = spans[i];
            wrong.place = place;
            if (place == right)
                CHECK_RETURNS(check_damaged, NULL, "");
            else
                CHECK_COMPLAINS(check_damaged, NULL, says[right][place]);
        }
    wrong.s = span_of(large);
    wrong.place = PLACE_FULL;
    CHECK_COMPLAINS(check_damaged, NULL, says_place);
    mm_free(large);
    release(blocks, EACH);
    release(blocks + EACH + 1, EACH - 1);
}

TEST(damaged_sets_are_noticed,
     "mm_check notices a span that is missing in its set, or there twice, and"
     " wrong counts of those that are there, empty, or on the list")
{
    full_spans(2);
    release(blocks, EACH);
    mm_free(blocks[EACH]);
    CHECK_RETURNS(check_damaged, NULL, "");
    wrong.n_empty = 1;
    CHECK_COMPLAINS(check_damaged, NULL, says_empty);
    wrong.n_empty = (uint32_t)-1;
    CHECK_COMPLAINS(check_damaged, NULL, says_empty);
    wrong.n_empty = 0;
    wrong.n_rest = 1;
    CHECK_COMPLAINS(check_damaged, NULL, says_rest);
    wrong.missing = true; // so that the sum is right
    CHECK_COMPLAINS(check_damaged, NULL, says_rest);
    wrong.n_rest = 0;
    CHECK_COMPLAINS(check_damaged, NULL, says_set);
    wrong.missing = false;
    wrong.twice = true;
    wrong.s = span_of(blocks[EACH]);
    wrong.place = PLACE_PARTIAL;
    CHECK_COMPLAINS(check_damaged, NULL, says_set);
    wrong.twice = false;
    CHECK_RETURNS(check_damaged, NULL, "");
    release(blocks + EACH + 1, EACH - 1);
}

TEST(damaged_lists_are_noticed,
     "mm_check notices a span that is missing on the list of those for which"
     " there was no memory in the set, and a wrong count of them")
{
    enum { N = 3 };
    full_spans(N);
    exhaust_structs(0);
    for (size_t i = 0; i < N; i++)
        mm_free(blocks[i * EACH]);
    CHECK_EQ(central_of(class_of_size())->n_rest, N);
    CHECK_RETURNS(check_damaged, NULL, "");
    wrong.unlisted = true;
    CHECK_COMPLAINS(check_damaged, NULL, says_rest);
    wrong.n_rest = (uint32_t)-1;
    CHECK_COMPLAINS(check_damaged, NULL, says_set);
    wrong.unlisted = false;
    CHECK_COMPLAINS(check_damaged, NULL, says_rest);
    wrong.n_rest = 0;
    for (size_t i = 0; i < N; i++)
        release(blocks + i * EACH + 1, EACH - 1);
}

TEST(damaged_bits_are_noticed,
     "mm_check notices a bit of a span that is wrong, in a cache or in the set:"
     " too many free slots, too few, or one that is free twice")
{
    static const char sum[] = "bytes_in_use is the sum of the used blocks";
    full_spans(1);
    mm_free(blocks[EACH - 1]);
    void *p = mm_malloc(2 * SIZE);
    struct mspan *spans[] = {span_of(blocks[0]), span_of(p)};
    for (size_t i = 0; i < 2; i++) {
        wrong.s = spans[i];
        wrong.place = mspan_place(wrong.s);
        uint32_t last = wrong.s->nelems - 1;
        CHECK_RETURNS(check_damaged, NULL, "");
        wrong.freed = 1;
        CHECK_COMPLAINS(check_damaged, NULL, sum);
        wrong.cleared = 1;
        CHECK_COMPLAINS(check_damaged, NULL, "I2 what is free is marked");
        wrong.freed = 0;
        CHECK_COMPLAINS(check_damaged, NULL, sum);
        wrong.cleared = 0;
        wrong.taken = UINT64_C(1) << last;
        CHECK_COMPLAINS(check_damaged, NULL, sum);
        wrong.taken = 0;
        wrong.freed = UINT64_C(2) << last;
        CHECK_COMPLAINS(check_damaged, NULL, "I1 nothing is free beyond");
        wrong.freed = 0;
        wrong.cleared = UINT64_C(1) << 63;
        CHECK_COMPLAINS(check_damaged, NULL, "I1 nothing is free beyond");
        wrong.cleared = 0;
    }
    mm_free(p);
    release(blocks, EACH - 1);
}
