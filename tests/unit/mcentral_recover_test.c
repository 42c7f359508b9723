// stages: 08-
//
// mcentral.c: what the child of a fork finds: spans of threads that are not
// there, and what these left half done.

#include "heap.h"

#include <stdatomic.h>
#include <string.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "os_memory.h"
#include "test.h"
#include "workers.h"

#include "class_spans.h"
#include "full_spans.h"

static atomic_size_t troubles;

static void allocate_one(void *block)
{
    *(void **)block = mm_malloc(SIZE);
    troubles += *(void **)block == NULL;
}

// is_whole tells, in the child of a fork, what mm_check would tell: that does
// not look at objects there, for it knows of threads that are gone.
static bool is_whole(void)
{
    bool ok = mm_check();
    lock_acquire(&mheap.lock);
    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s)))
        ok &= s->state != MSPAN_IN_USE || mspan_check(s);
    ok &= mcentral_check();
    lock_release(&mheap.lock);
    return ok;
}

// What a test expects in the child: n blocks can be allocated without a new
// span, in set_length spans, and one more cannot.
static struct {
    size_t slots;
    size_t spans; // in the set, with free slots
    size_t empty;
} expected;

static void find_all(void *unused)
{
    (void)unused;
    unsigned c = class_of_size();
    CHECK(is_whole());
    CHECK(set_length(c) == expected.spans);
    CHECK(central_of(c)->n_rest == 0);
    CHECK(n_empty() == expected.empty);
    struct mm_stats before = stats();
    for (size_t i = 0; i < expected.slots; i++) {
        char *p = mm_malloc(SIZE);
        CHECK(p != NULL);
        memset(p, 0xCC, SIZE);
        for (size_t k = 0; k < MOST && blocks[k] != NULL; k++)
            CHECK(blocks[k] != p);
    }
    CHECK(set_length(c) == 0);
    struct mm_stats after = stats();
    CHECK(after.span_allocs == before.span_allocs);
    CHECK(mm_malloc(SIZE) != NULL);
    after = stats();
    CHECK(after.span_allocs == before.span_allocs + 1);
    // Blocks of all threads can be freed.
    for (size_t k = 0; k < MOST && blocks[k] != NULL; k++)
        mm_free(blocks[k]);
    CHECK(is_whole());
    mcache_flush();
    CHECK(is_whole());
}

static void allocate_some(void *into)
{
    void **p = into;
    for (size_t i = 0; i < 3; i++)
        p[i] = mm_malloc(SIZE);
}

TEST(the_child_finds_spans_of_lost_threads,
     "in the child of a fork, spans that threads held that are not there can be"
     " taken, with all their free slots, and their blocks freed")
{
    struct worker w[3];
    for (size_t i = 0; i < 3; i++) {
        worker_start(&w[i]);
        worker_do(&w[i], allocate_some, blocks + 3 * i);
    }
    // The second one's shows nothing free, and a mark was cleared there.
    for (size_t i = 0; i < EACH - 3; i++)
        worker_do(&w[1], allocate_one, blocks + 9 + i);
    CHECK_EQ(troubles, 0);
    mm_free(blocks[3]);
    blocks[3] = blocks[9 + EACH - 4];
    blocks[9 + EACH - 4] = NULL;
    // The third one's is all free, by marks.
    for (size_t i = 6; i < 9; i++) {
        mm_free(blocks[i]);
        blocks[i] = mm_malloc(SIZE); // of a span of this thread
    }
    expected.slots = (EACH - 3) * 2 + 1 + EACH;
    expected.spans = 3;
    expected.empty = 1;
    CHECK_RETURNS(find_all, NULL, "");
    for (size_t i = 0; i < 3; i++)
        worker_end(&w[i]);
    release(blocks, 9 + EACH - 4);
}

// entry returns where the set of the class has its span with that number, from
// the first on.
static _Atomic(struct mspan *) *entry(size_t number)
{
    struct span_set *set = &central_of(class_of_size())->partial;
    uint32_t position = (uint32_t)(set->index >> 32) + (uint32_t)number;
    struct span_set_spine *spine = set->spine;
    struct span_set_block *block =
        spine->blocks[position / SPAN_SET_BLOCK_ENTRIES % spine->capacity];
    return &block->spans[position % SPAN_SET_BLOCK_ENTRIES];
}

TEST(the_child_ends_half_done_pushes,
     "in the child of a fork, spans are found although a thread that is not"
     " there had claimed a place in the set, and not stored its span yet")
{
    enum { N = 6 };
    full_spans(N);
    for (size_t i = 0; i < N; i++)
        mm_free(blocks[i * EACH + 7]);
    for (size_t i = 0; i < N; i++)
        blocks[i * EACH + 7] = blocks[i * EACH + 6];
    CHECK_EQ(set_length(class_of_size()), N);
    struct worker w; // so that the process has two threads
    worker_start(&w);
    expected.slots = N;
    expected.spans = N;
    expected.empty = 0;
    // find_all frees all blocks until NULL, each once.
    for (size_t i = 0; i < N; i++)
        memmove(blocks + i * (EACH - 1), blocks + i * EACH,
                (EACH - 1) * sizeof *blocks);
    memset(blocks + N * (EACH - 1), 0, N * sizeof *blocks);
    for (size_t hole = 0; hole < N; hole++) {
        struct mspan *s = atomic_exchange(entry(hole), NULL);
        CHECK_EQ(mspan_place(s), PLACE_PARTIAL);
        CHECK_RETURNS(find_all, NULL, "");
        *entry(hole) = s;
    }
    CHECK_RETURNS(find_all, NULL, "");
    worker_end(&w);
    release(blocks, N * (EACH - 1));
}

TEST(the_child_ends_half_done_pops,
     "in the child of a fork, a span is found that a thread that is not there "
     "had"
     " just taken out of the set, wherever it was stopped")
{
    enum { N = 3 };
    full_spans(N);
    for (size_t i = 0; i < N; i++) {
        mm_free(blocks[i * EACH + 7]);
        memmove(blocks + i * (EACH - 1), blocks + i * EACH,
                (EACH - 1) * sizeof *blocks);
    }
    memset(blocks + N * (EACH - 1), 0, N * sizeof *blocks);
    struct worker w;
    worker_start(&w);
    struct span_set *set = &central_of(class_of_size())->partial;
    expected.slots = N;
    expected.spans = N;
    expected.empty = 0;
    struct mspan *s = *entry(0);
    _Atomic(struct mspan *) *at = entry(0);
    uint64_t index = set->index;
    for (size_t step = 0; step < 4; step++) {
        set->index = index + ((uint64_t)1 << 32); // claimed
        *at = step == 0 ? s : NULL; // and cleared
        set_place(s, step < 2 ? PLACE_PARTIAL : PLACE_CACHED);
        s->owner = step < 3 ? NULL : mcache + 1;
        CHECK_RETURNS(find_all, NULL, "");
    }
    set->index = index;
    *at = s;
    set_place(s, PLACE_PARTIAL);
    s->owner = NULL;
    worker_end(&w);
    release(blocks, N * (EACH - 1));
}

static void use_another_class(void *unused)
{
    (void)unused;
    mm_free(mm_malloc(16));
}

TEST(the_child_ends_half_done_frees,
     "in the child of a fork, a free slot of a full span is found although who"
     " cleared its mark had no time to change its place; so is one whose sweep"
     " was half done")
{
    full_spans(2);
    struct worker w;
    worker_start(&w);
    worker_do(&w, use_another_class, NULL); // mm_check knows that it is lost
    // blocks[7] and blocks[15] are freed by what follows.
    struct mspan *s = span_of(blocks[0]), *t = span_of(blocks[8]);
    struct mspan *both[] = {s, t};
    void *freed[] = {blocks[7], blocks[15]};
    memmove(blocks + 7, blocks + 8, 7 * sizeof *blocks);
    memset(blocks + 14, 0, 2 * sizeof *blocks);
    for (size_t i = 0; i < 2; i++) {
        CHECK_EQ(both[i]->mark_bits[0], UINT64_MAX);
        both[i]->mark_bits[0] &= ~(UINT64_C(1) << 7);
    }
    t->free_bits[0] |= 1 << 7;
    expected.slots = 2;
    expected.spans = 2;
    expected.empty = 0;
    CHECK_RETURNS(find_all, NULL, "");
    for (size_t i = 0; i < 2; i++) {
        both[i]->mark_bits[0] = UINT64_MAX;
        both[i]->free_bits[0] = 0;
    }
    worker_end(&w);
    release(blocks, 14);
    release(freed, 2);
}

static size_t n_on_list;

static void find_on_list(void *unused)
{
    (void)unused;
    CHECK(is_whole());
    CHECK(central_of(class_of_size())->n_rest == n_on_list);
    void *p[16];
    for (size_t i = 0; i < n_on_list; i++) {
        p[i] = mm_malloc(SIZE);
        CHECK(p[i] != NULL);
    }
    CHECK(mm_malloc(SIZE) == NULL);
    lock_acquire(&mheap.lock);
    CHECK(central_of(class_of_size())->rest.first == NULL);
    lock_release(&mheap.lock);
    CHECK(central_of(class_of_size())->n_rest == 0);
    CHECK(is_whole());
    for (size_t i = 0; i < n_on_list; i++)
        mm_free(p[i]);
    CHECK(is_whole());
}

TEST(the_child_finds_what_is_on_the_list,
     "in the child of a fork, spans are found for which there was no memory in"
     " the set, also if there is none in the child")
{
    enum { N = 5 };
    full_spans(N);
    exhaust_structs(0);
    for (size_t i = 0; i < N; i++) {
        mm_free(blocks[i * EACH + 7]);
        memmove(blocks + i * (EACH - 1), blocks + i * EACH,
                (EACH - 1) * sizeof *blocks);
    }
    memset(blocks + N * (EACH - 1), 0, N * sizeof *blocks);
    CHECK_EQ(central_of(class_of_size())->n_rest, N);
    struct worker w;
    worker_start(&w);
    n_on_list = N;
    CHECK_RETURNS(find_on_list, NULL, "");
    os.fail_from = SIZE_MAX;
    expected.slots = N;
    expected.spans = N;
    expected.empty = 0;
    CHECK_RETURNS(find_all, NULL, "");
    worker_end(&w);
    CHECK_EQ(central_of(class_of_size())->n_rest, N);
    CHECK_TRUE(mm_check());
    release(blocks, N * (EACH - 1));
}
