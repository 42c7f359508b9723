// stages: 05-09
//
// mtreap.c: a set of spans in order. Against a sorted array.

#include "heap.h"

#include <string.h>
#include <unistd.h>

#include "child.h"
#include "random.h"
#include "test.h"

// The model: the spans of the treap, in order.
enum { MOST = 4096 };
static struct mspan *sorted[MOST];
static size_t n_sorted;
static struct mtreap treap;

// is_before is the order: by length, and by address where that is the same.
static bool is_before(const struct mspan *a, const struct mspan *b)
{
    if (a->npages != b->npages)
        return a->npages < b->npages;
    return (uintptr_t)a->start_addr < (uintptr_t)b->start_addr;
}

// place_of returns the index in the model of the first that is not before s.
static size_t place_of(const struct mspan *s)
{
    size_t i = 0;
    while (i < n_sorted && is_before(sorted[i], s))
        i++;
    return i;
}

static void insert(struct mspan *s)
{
    size_t i = place_of(s);
    memmove(sorted + i + 1, sorted + i, (n_sorted - i) * sizeof *sorted);
    sorted[i] = s;
    n_sorted++;
    mtreap_insert(&treap, s);
    CHECK_TRUE(mtreap_check(&treap, n_sorted));
}

static void take_out(struct mspan *s)
{
    size_t i = place_of(s);
    CHECK_PTR_EQ(sorted[i], s);
    n_sorted--;
    memmove(sorted + i, sorted + i + 1, (n_sorted - i) * sizeof *sorted);
    mtreap_remove(&treap, s);
    CHECK_NULL(s->left);
    CHECK_NULL(s->right);
    CHECK_TRUE(mtreap_check(&treap, n_sorted));
}

// find compares what the treap and the model find.
static void find(size_t npages)
{
    size_t i = 0;
    uint64_t visited = 0;
    while (i < n_sorted && sorted[i]->npages < npages)
        i++;
    CHECK_PTR_EQ(mtreap_find(&treap, npages, &visited),
                 i < n_sorted ? sorted[i] : NULL);
    CHECK_LE(visited, n_sorted);
}

// span_at makes a span at an address made up: no memory is needed there.
static struct mspan span_at(size_t page, size_t npages)
{
    return (struct mspan){
        .start_addr = (char *)((page + 1) * PAGE_SIZE), // NOLINT
        .npages = npages,
        .state = MSPAN_FREE,
    };
}

static uint64_t seed;

TEST(an_empty_treap_finds_nothing, "nothing is found in an empty set")
{
    find(1);
    CHECK_TRUE(mtreap_check(&treap, 0));
}

TEST(one_span, "a set of one span finds it for its length and below")
{
    struct mspan s = span_at(0, 200);
    insert(&s);
    find(1);
    find(200);
    find(201);
    take_out(&s);
    find(1);
}

TEST(lowest_address_of_equal_lengths,
     "of spans of the same length, the one with the lowest address is found,"
     " in whatever order they came")
{
    static const size_t orders[4][4] = {
        {0, 1, 2, 3}, {3, 2, 1, 0}, {2, 0, 3, 1}, {1, 3, 0, 2}};
    struct mspan s[4];
    for (size_t i = 0; i < 4; i++)
        s[i] = span_at(1000 * i, 300);
    for (size_t order = 0; order < 4; order++) {
        for (size_t i = 0; i < 4; i++)
            insert(&s[orders[order][i]]);
        for (size_t i = 0; i < 4; i++) {
            uint64_t visited = 0;
            CHECK_PTR_EQ(mtreap_find(&treap, 299, &visited), &s[i]);
            take_out(&s[i]);
        }
    }
}

TEST(treap_agrees_with_a_sorted_array,
     "after every change, the set is in order, and finds what a sorted array"
     " of the same spans does")
{
    enum { N = 300, OPERATIONS = 20000 };
    static struct mspan spans[N];
    static bool is_in[N];
    seed = random_start();
    for (int i = 0; i < OPERATIONS; i++) {
        size_t k = random_below(&seed, N);
        if (is_in[k]) {
            take_out(&spans[k]);
        } else {
            // Few lengths, so that many are the same.
            size_t most = random_below(&seed, 2) == 0 ? 5 : 1000;
            spans[k] = span_at(k * 2000, 128 + random_below(&seed, most));
            insert(&spans[k]);
        }
        is_in[k] = !is_in[k];
        find(random_below(&seed, 1200));
    }
    for (size_t k = 0; k < N; k++)
        if (is_in[k])
            take_out(&spans[k]);
    CHECK_NULL(treap.root);
}

// deepest returns how many spans lie on the longest way down.
static size_t deepest(const struct mspan *s) // NOLINT(misc-no-recursion)
{
    if (s == NULL)
        return 0;
    size_t left = deepest(s->left), right = deepest(s->right);
    return 1 + (left > right ? left : right);
}

TEST(a_search_visits_few,
     "a set of n spans stays flat, even if they come in order: a search visits"
     " about 2 log2 n of them, and never more than three times that many")
{
    static struct mspan spans[MOST];
    uint64_t visited = 0;
    for (size_t i = 0; i < MOST; i++) {
        spans[i] = span_at(i * 10000, 128 + i);
        mtreap_insert(&treap, &spans[i]);
    }
    CHECK_TRUE(mtreap_check(&treap, MOST));
    CHECK_LE(deepest(treap.root), 3 * 12); // log2 4096 is 12
    for (size_t i = 0; i < MOST; i++)
        CHECK_PTR_EQ(mtreap_find(&treap, 128 + i, &visited), &spans[i]);
    CHECK_LE(visited, (uint64_t)MOST * 2 * 12);
    CHECK_GE(visited, (uint64_t)MOST * 6); // it counts
    for (size_t i = 0; i < MOST; i++)
        mtreap_remove(&treap, &spans[i]);
    CHECK_NULL(treap.root);
}

TEST(the_same_calls_visit_the_same_spans,
     "two sets that the same spans come into look the same")
{
    enum { N = 100 };
    struct mspan spans[2][N];
    struct mtreap treaps[2] = {{0}};
    uint64_t visited[2] = {0};
    for (size_t t = 0; t < 2; t++) {
        for (size_t i = 0; i < N; i++) {
            spans[t][i] = span_at(i * 1000, 128 + i * 7 % 50);
            mtreap_insert(&treaps[t], &spans[t][i]);
        }
        for (size_t i = 0; i < N; i++)
            (void)mtreap_find(&treaps[t], 128 + i, &visited[t]);
    }
    CHECK_EQ(visited[0], visited[1]);
}

// ---------------------------------------------------------------------------
// The check itself.

static struct mspan few[3];

static void three(void)
{
    for (size_t i = 0; i < 3; i++) {
        few[i] = span_at(i * 1000, 200 + i);
        mtreap_insert(&treap, &few[i]);
    }
}

static void check_it(void *n)
{
    _exit(mtreap_check(&treap, *(size_t *)n) ? 0 : 1);
}

TEST(check_finds_what_is_wrong,
     "mtreap_check notices a wrong number, a wrong order, a wrong priority")
{
    three();
    CHECK_TRUE(mtreap_check(&treap, 3));
    CHECK_COMPLAINS(check_it, &(size_t){2}, "a treap holds its spans, once");
    CHECK_COMPLAINS(check_it, &(size_t){4},
                    "a treap holds its spans, all of them");
    few[1].npages = 300;
    CHECK_COMPLAINS(check_it, &(size_t){3}, "I1 a treap is in order");
    few[1].npages = 201;
    uint32_t priority = treap.root->priority;
    treap.root->priority = 0;
    CHECK_COMPLAINS(check_it, &(size_t){3},
                    "I2 a child has no higher priority");
    treap.root->priority = priority;
    CHECK_TRUE(mtreap_check(&treap, 3));
}
