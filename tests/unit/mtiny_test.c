// stages: 09-
//
// mtiny.c: blocks of fewer than 16 bytes are parts of an object, which is free
// when all of them are, whoever frees them.

#include "heap.h"

#include <pthread.h>
#include <sched.h>
#include <string.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"
#include "vectors.h"
#include "workers.h"

#include "parts.h"

_Static_assert(PAGE_SIZE % TINY_SIZE == 0, "a page is full of objects");

// ---------------------------------------------------------------------------
// Against the Go runtime.

// check_part: T SIZE FRESH BLOCK OFFSET TINY TINYOFFSET. blocks are those that
// the sequence took so far, n of them. Returns the part.
static void *check_part(struct vectors *v, char **blocks, size_t *n)
{
    size_t size = vectors_number(v);
    size_t fresh = vectors_number(v);
    size_t block = vectors_number(v);
    char *p = mm_malloc_noscan(size);

    CHECK_VECTORS(v, p != NULL, "no memory");
    if (fresh != 0) {
        CHECK_VECTORS(v, block == *n, "not the next block");
        for (size_t i = 0; i < *n; i++)
            CHECK_VECTORS(v, object_of(p) != blocks[i], "not a fresh block");
        blocks[(*n)++] = object_of(p);
    }
    CHECK_VECTORS(v, block < *n, "a block that was not taken");
    CHECK_LINE(v, (uintptr_t)p, (uintptr_t)blocks[block] + vectors_number(v));
    size_t tiny = vectors_number(v);
    CHECK_VECTORS(v, tiny < *n, "a block that was not taken");
    CHECK_LINE(v, (uintptr_t)mcache_mine()->tiny, (uintptr_t)blocks[tiny]);
    CHECK_LINE(v, mcache_mine()->tinyoffset, vectors_number(v));
    return p;
}

TEST(parts_lie_as_in_go,
     "each block of 12 sequences lies where Go puts it, in a fresh object where"
     " Go takes one, and leaves the same tiny block with the same tinyoffset")
{
    static char *blocks[500]; // of a sequence
    static void *parts[500];
    size_t sequences = 0, flushes = 0, all_parts = 0, all_blocks = 0;
    size_t n_blocks = 0, n_parts = 0;
    struct vectors v;

    vectors_open(&v, "tests/vectors/tiny.txt");
    while (vectors_next(&v)) {
        if (vectors_word(&v, "T")) {
            CHECK_VECTORS(&v, n_parts < 500 && n_blocks < 500, "too many");
            all_blocks -= n_blocks;
            parts[n_parts++] = check_part(&v, blocks, &n_blocks);
            all_blocks += n_blocks;
            all_parts++;
            CHECK_VECTORS(&v, vectors_is_read(&v), "more than was read");
        } else if (strcmp(v.line, "C") == 0) {
            flushes++;
            mcache_flush();
            CHECK_NULL(mcache_mine()->tiny);
        } else {
            CHECK_VECTORS(&v, strcmp(v.line, "new") == 0,
                          "no line of this file");
            sequences++;
            release(parts, n_parts);
            n_parts = n_blocks = 0;
            mcache_flush();
        }
    }
    release(parts, n_parts);
    CHECK_EQ(sequences, 12);
    CHECK_EQ(flushes, 111);
    CHECK_EQ(all_parts, 5889);
    CHECK_EQ(all_blocks, 3222);
    CHECK_EQ(v.number, 2 + 6012); // the comment, and eof
    CHECK_EQ(stats().tiny_allocs, all_parts - all_blocks);
    fprintf(stderr, "%s: %zu lines checked, 0 not applicable\n", v.name,
            sequences + flushes + all_parts);
}

// ---------------------------------------------------------------------------
// Sizes and alignment.

TEST(parts_are_aligned_by_their_size,
     "after any part, one of 8 bytes is at a multiple of 8, of 4 or 12 bytes of"
     " 4, of another even size of 2; its usable size is what was asked for")
{
    for (size_t first = 1; first < TINY_SIZE; first++) {
        for (size_t size = 1; size < TINY_SIZE; size++) {
            mtiny_release();
            char *p = mm_malloc_noscan(first);
            char *q = mm_malloc_noscan(size);
            CHECK_ALIGNED(p, TINY_SIZE);
            CHECK_ALIGNED(q, align_of(size));
            CHECK_EQ(mm_usable_size(p), first);
            CHECK_EQ(mm_usable_size(q), size);
            size_t offset = place_from(first, size);
            CHECK_EQ(object_of(q) == p, offset + size <= TINY_SIZE);
            CHECK_PTR_EQ(q, object_of(q) == p ? p + offset : object_of(q));
            mm_free(p);
            mm_free(q);
        }
    }
    mtiny_release();
    CHECK_EQ(objects_taken(), 0);
}

TEST(no_bytes_are_a_block,
     "each block of 0 bytes is one of its own: it has a byte, 16 are in an"
     " object, and each is freed")
{
    enum { N = 100 };
    char *p[N];
    for (size_t i = 0; i < N; i++) {
        p[i] = mm_malloc_noscan(0);
        CHECK_NOT_NULL(p[i]);
        CHECK_EQ(mm_usable_size(p[i]), 1);
        CHECK_PTR_EQ(object_of(p[i]), p[i - i % TINY_SIZE]);
        for (size_t k = 0; k < i; k++)
            CHECK_TRUE(p[k] != p[i]);
    }
    CHECK_EQ(stats().bytes_in_use, N);
    CHECK_EQ(stats().tiny_allocs, N - (N + TINY_SIZE - 1) / TINY_SIZE);
    CHECK_EQ(objects_taken(), (N + TINY_SIZE - 1) / TINY_SIZE);
    for (size_t i = 0; i < N; i++)
        mm_free(p[i]);
    CHECK_EQ(stats().bytes_in_use, 0);
    CHECK_EQ(objects_taken(), 1); // the one in hand
}

TEST(parts_are_counted,
     "bytes_in_use is the sum of the sizes of the parts; tiny_allocs counts"
     " those that share an object with an earlier one")
{
    static const struct {
        size_t size, in_use, shared;
    } steps[] = {{5, 5, 0},   {1, 6, 1},   {2, 8, 2},   {8, 16, 3},
                 {15, 31, 3}, {1, 32, 4},  {16, 48, 4}, {0, 49, 4},
                 {3, 52, 5},  {12, 64, 6}, {9, 73, 6}};
    enum { N = sizeof steps / sizeof *steps };
    void *p[N];
    for (size_t i = 0; i < N; i++) {
        p[i] = mm_malloc_noscan(steps[i].size);
        CHECK_EQ(stats().bytes_in_use, steps[i].in_use);
        CHECK_EQ(stats().tiny_allocs, steps[i].shared);
        CHECK_EQ(stats().mallocs, i + 1);
        CHECK_TRUE(mm_check());
    }
    for (size_t i = 0; i < N; i++) {
        mm_free(p[i]);
        CHECK_EQ(stats().bytes_in_use, steps[N - 1].in_use - steps[i].in_use);
        CHECK_EQ(stats().frees, i + 1);
        CHECK_TRUE(mm_check());
    }
    CHECK_EQ(stats().bytes_in_use_peak, steps[N - 1].in_use);
}

// ---------------------------------------------------------------------------
// Packings: parts of some sizes, in one object.

struct packing {
    size_t n;
    size_t size[TINY_SIZE];
    size_t offset[TINY_SIZE];
    char *part[TINY_SIZE];
};

// add_size adds a part to what will be packed. Returns false if there is no
// room for it.
static bool add_size(struct packing *p, size_t size)
{
    size_t end = p->n == 0 ? 0 : p->offset[p->n - 1] + p->size[p->n - 1];
    size_t offset = place_from(end, size);
    if (offset + size > TINY_SIZE)
        return false;
    p->offset[p->n] = offset;
    p->size[p->n++] = size;
    return true;
}

// each_packing calls visit for all packings of n parts that begin with p.
static void each_packing(const struct packing *p, size_t n,
                         void (*visit)(struct packing *))
{
    for (size_t size = 1; size < TINY_SIZE; size++) {
        struct packing longer = *p;
        if (!add_size(&longer, size))
            continue;
        if (longer.n == n)
            visit(&longer);
        else
            each_packing(&longer, n, visit);
    }
}

// pack_next allocates part i.
static void pack_next(struct packing *p, size_t i)
{
    p->part[i] = mm_malloc_noscan(p->size[i]);
    CHECK_PTR_EQ(p->part[i], p->part[0] + p->offset[i]);
    fill(p->part[i], p->size[i]);
}

// pack allocates all parts, in an object of their own.
static void pack(struct packing *p)
{
    mtiny_release();
    for (size_t i = 0; i < p->n; i++)
        pack_next(p, i);
    CHECK_PTR_EQ(mcache->tiny, p->part[0]);
}

static size_t n_visited;

// check_sizes adds part after part, and looks at those before.
static void check_sizes(struct packing *p)
{
    n_visited++;
    mtiny_release();
    for (size_t n = 1; n <= p->n; n++) {
        pack_next(p, n - 1);
        for (size_t i = 0; i < n; i++)
            CHECK_EQ(mm_usable_size(p->part[i]), p->size[i]);
    }
    // What is freed says nothing of the others.
    for (size_t n = 0; n < p->n; n++) {
        CHECK_TRUE(is_filled(p->part[n], p->size[n]));
        mm_free(p->part[n]);
        for (size_t i = n + 1; i < p->n; i++)
            CHECK_EQ(mm_usable_size(p->part[i]), p->size[i]);
    }
}

TEST(each_part_keeps_its_size,
     "in every packing, the usable size of a part is its size, when others are"
     " added, and when others are freed")
{
    SKIP_UNDER_TSAN();
    for (size_t n = 1; n <= TINY_SIZE; n++)
        each_packing(&(struct packing){0}, n, check_sizes);
    CHECK_EQ(n_visited, 35312);
    mtiny_release();
    CHECK_EQ(objects_taken(), 0);
}

// next_order makes order the next of all orders of n numbers. Returns false
// after the last, which falls.
static bool next_order(size_t *order, size_t n)
{
    size_t i = n - 1;
    while (i > 0 && order[i - 1] > order[i])
        i--;
    if (i == 0)
        return false;
    size_t k = n - 1;
    while (order[k] < order[i - 1])
        k--;
    size_t saved = order[i - 1];
    order[i - 1] = order[k];
    order[k] = saved;
    for (size_t last = n - 1; i < last; i++, last--) {
        saved = order[i];
        order[i] = order[last];
        order[last] = saved;
    }
    return true;
}

// free_packed frees the parts in that order, and lets the object go as the tiny
// block after n_held of them. Part i is freed by the worker if bit i of
// by_worker is set.
static void free_packed(struct packing *p, const size_t *order, size_t n_held,
                        struct worker *worker, unsigned by_worker)
{
    pack(p);
    size_t taken = objects_taken();
    for (size_t n = 0; n <= p->n; n++) {
        if (n == n_held)
            mtiny_release();
        CHECK_EQ(is_taken(p->part[0]), n < p->n || n < n_held);
        for (size_t i = n; i < p->n; i++)
            CHECK_TRUE(is_filled(p->part[order[i]], p->size[order[i]]));
        if (n == p->n)
            break;
        if (by_worker >> order[n] & 1)
            worker_do(worker, free_it, p->part[order[n]]);
        else
            mm_free(p->part[order[n]]);
    }
    if (n_held > p->n) {
        CHECK_PTR_EQ(mcache->tiny, p->part[0]);
        mtiny_release();
        CHECK_TRUE(!is_taken(p->part[0]));
    }
    CHECK_EQ(objects_taken(), taken - 1);
}

// free_in_all_orders frees the parts in all orders, and lets the object go
// before, meanwhile, or after.
static void free_in_all_orders(struct packing *p)
{
    for (size_t n_held = 0; n_held <= p->n + 1; n_held++) {
        size_t order[TINY_SIZE] = {0, 1, 2, 3, 4, 5, 6, 7};
        do {
            free_packed(p, order, n_held, NULL, 0);
            n_visited++;
        } while (next_order(order, p->n));
    }
}

TEST(an_object_is_free_with_its_last_part,
     "an object is free when its last part is, and it is no longer the tiny"
     " block, and not before: all packings of up to three parts, in all orders")
{
    SKIP_UNDER_TSAN();
    for (size_t n = 1; n <= 3; n++)
        each_packing(&(struct packing){0}, n, free_in_all_orders);
    CHECK_EQ(n_visited, 15 * 3 + 120 * 2 * 4 + 492 * 6 * 5);
    CHECK_TRUE(mm_check());
}

TEST(
    an_object_of_more_parts_is_free_with_its_last,
    "so is one of four parts, of five and of six; and one of up to 16 in random"
    " orders")
{
    SKIP_UNDER_TSAN();
    static const size_t sizes[][7] = {
        {4, 4, 4, 4},     {1, 2, 4, 8},    {5, 3, 7, 1},      {12, 1, 1, 2},
        {1, 1, 1, 1, 12}, {3, 3, 3, 3, 3}, {2, 2, 2, 2, 2, 6}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        struct packing p = {0};
        for (size_t i = 0; sizes[k][i] != 0; i++)
            CHECK_TRUE(add_size(&p, sizes[k][i]));
        free_in_all_orders(&p);
    }
    CHECK_EQ(n_visited, 4 * 24 * 6 + 2 * 120 * 7 + 720 * 8);

    uint64_t state = random_start();
    for (size_t round = 0; round < 3000; round++) {
        size_t order[TINY_SIZE];
        struct packing p = {0};
        size_t most = 1 + random_below(&state, 5);
        for (size_t i = 0; i < TINY_SIZE; i++)
            add_size(&p, 1 + random_below(&state, most));
        for (size_t i = 0; i < p.n; i++) {
            size_t k = random_below(&state, i + 1);
            order[i] = order[k];
            order[k] = i;
        }
        free_packed(&p, order, random_below(&state, p.n + 2), NULL, 0);
    }
    CHECK_TRUE(mm_check());
}

TEST(a_part_is_never_used_again,
     "the place of a freed part is not used again while its object is taken;"
     " then all of it is")
{
    char *p = mm_malloc_noscan(8);
    mm_free(p);
    CHECK_TRUE(is_taken(p));
    char *q = mm_malloc_noscan(4); // in the object that has no part
    CHECK_PTR_EQ(q, p + 8);
    mm_free(q);
    q = mm_malloc_noscan(4);
    CHECK_PTR_EQ(q, p + 12);
    mtiny_release();
    CHECK_TRUE(is_taken(p));
    mm_free(q);
    CHECK_TRUE(!is_taken(p));
    void *others[2 * PAGE_SIZE / TINY_SIZE]; // all of that span, at least
    bool again = false;
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        others[i] = mm_malloc_noscan(15);
        again |= others[i] == p;
    }
    CHECK_TRUE(again);
    release(others, sizeof others / sizeof *others);
}

TEST(words_that_come_back_say_nothing,
     "when spans of parts went back to the page heap, and others are made, no"
     " object has a part that nobody allocated")
{
    enum { SPANS = 4, EACH = PAGE_SIZE / TINY_SIZE };
    static void *parts[SPANS * EACH];
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < SPANS * EACH; i++)
            parts[i] = mm_malloc_noscan(15);
        release(parts, SPANS * EACH);
        mcache_flush();
        CHECK_EQ(spans_in_use(), 0);
        for (size_t i = 0; i < SPANS * EACH; i++) {
            parts[i] = mm_malloc_noscan(TINY_SIZE);
            CHECK_EQ(mm_usable_size(parts[i]), TINY_SIZE);
        }
        CHECK_EQ(spans_in_use(), SPANS);
        CHECK_TRUE(mm_check());
        release(parts, SPANS * EACH);
        mcache_flush();
    }
}

// ---------------------------------------------------------------------------
// Other threads.

TEST(whoever_frees_the_last_part,
     "an object is free with its last part, whoever frees which, in all orders,"
     " and lets it go as the tiny block when")
{
    static const size_t sizes[][3] = {{4, 4, 8}, {1, 2, 3}, {15, 1, 0}};
    struct worker w;
    worker_start(&w);
    for (size_t k = 0; k < 3; k++) {
        struct packing p = {0};
        for (size_t i = 0; i < 3 && sizes[k][i] != 0; i++)
            CHECK_TRUE(add_size(&p, sizes[k][i]));
        for (size_t n_held = 0; n_held <= p.n + 1; n_held++) {
            for (unsigned by_worker = 1; by_worker < 1u << p.n; by_worker++) {
                size_t order[TINY_SIZE] = {0, 1, 2};
                do
                    free_packed(&p, order, n_held, &w, by_worker);
                while (next_order(order, p.n));
            }
        }
    }
    worker_end(&w);
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

TEST(a_thread_that_ends_lets_its_block_go,
     "when a thread ends, its tiny block is free at once if it has no parts,"
     " else with the last of them")
{
    for (size_t before = 0; before <= 3; before++) {
        char *p[3];
        struct worker w;
        worker_start(&w);
        worker_do(&w, allocate_three, p);
        CHECK_TRUE(p[1] == p[0] + 4 && p[2] == p[0] + 8);
        for (size_t i = 0; i < before; i++)
            mm_free(p[i]);
        CHECK_EQ(objects_taken(), 1);
        worker_end(&w);
        CHECK_EQ(objects_taken(), before < 3);
        for (size_t i = before; i < 3; i++) {
            CHECK_EQ(mm_usable_size(p[i]), 4);
            CHECK_TRUE(is_taken(p[0]));
            mm_free(p[i]);
        }
        CHECK_EQ(objects_taken(), 0);
        mcache_flush();
        CHECK_EQ(spans_in_use(), 0);
    }
}

// What a thread has that is not there in the child of a fork: a tiny block, and
// the other objects of its span.
enum { OTHERS = PAGE_SIZE / TINY_SIZE - 1 };
static struct {
    char *parts[3];
    size_t n_parts; // the last n_parts are not freed
    void *objects[OTHERS];
    size_t n_objects; // so are these
} lost;

static void use_span_up(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < OTHERS; i++)
        lost.objects[i] = mm_malloc_noscan(TINY_SIZE);
    mm_free(mm_malloc_noscan(TINY_SIZE)); // of another span
    lost.n_objects = OTHERS;
}

// find_lost checks, in the child, that what is lost is free with its last part,
// and that mine, a part of the tiny block of this thread, did not get lost.
static void find_lost(void *mine)
{
    char *object = lost.parts[0];
    CHECK(is_taken(object) == (lost.n_parts > 0));
    for (size_t i = 3 - lost.n_parts; i < 3; i++) {
        CHECK(mm_usable_size(lost.parts[i]) == 4);
        CHECK(is_taken(object));
        mm_free(lost.parts[i]);
    }
    CHECK(!is_taken(object));
    mm_free(mine);
    char *p = mm_malloc_noscan(4);
    CHECK(p == (char *)mine + 4);
    mm_free(p);
    CHECK(is_taken(p));
    release(lost.objects + OTHERS - lost.n_objects, lost.n_objects);
    mcache_flush();
    CHECK(spans_in_use() == 0);
}

TEST(
    the_child_lets_tiny_blocks_of_lost_threads_go,
    "in the child of a fork, the tiny block of a thread that is not there is"
    " free with its last part, wherever its span is; that of this thread stays")
{
    enum { HELD_BY_OTHER, FULL, PARTIAL, HELD_HERE, WAYS };
    for (size_t way = 0; way < WAYS; way++)
        for (lost.n_parts = 0; lost.n_parts <= 3; lost.n_parts++) {
            struct worker w;
            worker_start(&w);
            worker_do(&w, allocate_three, lost.parts);
            void *mine = NULL; // in the first span that this thread gets
            if (way != HELD_HERE)
                mine = mm_malloc_noscan(4);
            for (size_t i = 0; i < 3 - lost.n_parts; i++)
                mm_free(lost.parts[i]);
            if (way >= FULL)
                worker_do(&w, use_span_up, NULL);
            if (way >= PARTIAL) {
                mm_free(lost.objects[0]);
                mm_free(lost.objects[1]);
                lost.n_objects -= 2;
            }
            if (way == HELD_HERE)
                mine = mm_malloc_noscan(4);
            const struct mspan *s = span_of(lost.parts[0]);
            CHECK_EQ(mspan_place(s), way == FULL      ? PLACE_FULL
                                     : way == PARTIAL ? PLACE_PARTIAL
                                                      : PLACE_CACHED);
            CHECK_EQ(s == span_of(mine), way == HELD_HERE);
            CHECK_RETURNS(find_lost, mine, "");
            mm_free(mine);
            worker_end(&w);
            release((void **)lost.parts + 3 - lost.n_parts, lost.n_parts);
            release(lost.objects + OTHERS - lost.n_objects, lost.n_objects);
            lost.n_objects = 0;
            mcache_flush();
            CHECK_EQ(spans_in_use(), 0);
        }
}

// A destructor that asks for another round, until its thread has no cache.
static pthread_key_t last_key;
static char *late[3];

static void allocate_at_the_end(void *round)
{
    (void)round;
    if (mcache_mine() == NULL)
        allocate_three(late);
    else
        pthread_setspecific(last_key, late);
}

static void end_with_destructor(void *unused)
{
    (void)unused;
    mm_free(mm_malloc_noscan(1)); // the cache; its key is the earlier one
    CHECK_EQ(pthread_key_create(&last_key, allocate_at_the_end), 0);
    pthread_setspecific(last_key, late);
}

TEST(
    a_thread_without_a_cache_has_no_tiny_block,
    "what a thread allocates after its end has an object of its own each, which"
    " is free with it")
{
    in_other_thread(end_with_destructor, NULL);
    CHECK_EQ(objects_taken(), 3);
    CHECK_EQ(stats().tiny_allocs, 0);
    for (size_t i = 0; i < 3; i++) {
        CHECK_ALIGNED(late[i], TINY_SIZE);
        CHECK_EQ(mm_usable_size(late[i]), 4);
        mm_free(late[i]);
        CHECK_EQ(objects_taken(), 2 - i);
    }
}

enum { THREADS = 4 };
static atomic_size_t troubles;

// The only order between what this thread does and what the other does is that
// of free: the flag adds none. ThreadSanitizer sees whether that is enough; one
// byte, for it remembers few accesses.
static atomic_bool is_freed;

static void *write_and_free(void *part)
{
    *(char *)part = 1;
    mm_free(part);
    atomic_store_explicit(&is_freed, true, memory_order_relaxed);
    return NULL;
}

TEST(a_write_comes_before_the_next_use,
     "what a thread wrote to a part that it freed comes before what is written"
     " when another thread freed the object, and has it again")
{
    pthread_t thread;
    char *p[3];
    allocate_three(p);
    CHECK_EQ(pthread_create(&thread, NULL, write_and_free, p[1]), 0);
    while (!atomic_load_explicit(&is_freed, memory_order_relaxed))
        sched_yield();
    mm_free(p[0]);
    mm_free(p[2]);
    mtiny_release();
    char *blocks[PAGE_SIZE / TINY_SIZE];
    size_t n = 0;
    do {
        CHECK_LE(n + 1, PAGE_SIZE / TINY_SIZE);
        blocks[n] = mm_malloc_noscan(15);
    } while (blocks[n++] != p[0]);
    *p[1] = 2;
    CHECK_EQ(pthread_join(thread, NULL), 0);
    CHECK_EQ(*p[1], 2);
    release((void **)blocks, n);
}

// Parts that are freed at the same time: thread i frees part i of each object,
// and the objects are used again at once.
enum { OBJECTS = UNDER_TSAN ? 20000 : 100000, KEPT = 16 };
static char *together[OBJECTS][THREADS];
static pthread_barrier_t barrier;

static void *free_own_parts(void *number)
{
    char *kept[KEPT] = {NULL};
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < OBJECTS; i++) {
        char *p = together[i][(uintptr_t)number];
        troubles += !is_filled(p, 4);
        p[0] = p[3] = 1;
        mm_free(p);
        char **q = &kept[i % KEPT];
        troubles += *q != NULL && !is_filled(*q, 15);
        mm_free(*q);
        *q = mm_malloc_noscan(15);
        fill(*q, 15);
    }
    release((void **)kept, KEPT);
    return NULL;
}

TEST(parts_freed_at_once,
     "if four threads free the parts of an object at the same time, one of them"
     " frees the object")
{
    for (size_t i = 0; i < OBJECTS; i++)
        for (size_t k = 0; k < THREADS; k++) {
            together[i][k] = mm_malloc_noscan(4);
            CHECK_NOT_NULL(together[i][k]);
            fill(together[i][k], 4);
        }
    CHECK_EQ(objects_taken(), OBJECTS);
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, THREADS), 0);
    run_threads(THREADS, free_own_parts);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(stats().bytes_in_use, 0);
    mcache_flush(); // also the tiny block, which is the last object
    CHECK_EQ(objects_taken(), 0);
    CHECK_EQ(spans_in_use(), 0);
}

// Threads that exchange blocks: each puts one into the table, and frees what
// was there.
enum { EXCHANGES = UNDER_TSAN ? 15000 : 150000, TABLE = 256, ROUNDS = 4 };
static _Atomic(char *) table[TABLE];
static atomic_uint_fast64_t next_seed;

static bool is_block(const char *p)
{
    return is_filled(p, mm_usable_size(p));
}

// random_block returns one that is a part, most often.
static char *random_block(uint64_t *state)
{
    size_t kind = random_below(state, 16);
    char *p = kind == 0   ? mm_malloc(random_below(state, 40))
              : kind == 1 ? mm_malloc_noscan(16)
              : kind == 2 ? mm_malloc_noscan(random_below(state, 2000))
              : kind < 10 ? mm_malloc_noscan(1 + random_below(state, 4))
                          : mm_malloc_noscan(random_below(state, TINY_SIZE));
    if (p != NULL)
        fill(p, mm_usable_size(p));
    return p;
}

static void *exchange(void *unused)
{
    uint64_t state = atomic_fetch_add(&next_seed, 2) | 1;
    (void)unused;
    for (size_t i = 0; i < EXCHANGES; i++) {
        char *p = random_block(&state);
        troubles += p == NULL;
        p = atomic_exchange(&table[random_below(&state, TABLE)], p);
        if (p == NULL)
            continue;
        troubles += !is_block(p);
        if (random_below(&state, 8) == 0) {
            size_t old = mm_usable_size(p);
            unsigned char first = content(p, old);
            p = mm_realloc(p, 1 + random_below(&state, 24));
            troubles += p == NULL || (unsigned char)*p != first;
        }
        mm_free(p);
    }
    return NULL;
}

TEST(
    threads_exchange_parts,
    "four threads, and later another four, that free what others allocated find"
    " every block as it was; at the end nothing is lost")
{
    next_seed = random_start();
    for (size_t round = 0; round < ROUNDS; round++)
        run_threads(THREADS, exchange);
    CHECK_EQ(troubles, 0);
    CHECK_GE(stats().tiny_allocs, EXCHANGES);
    for (size_t i = 0; i < TABLE; i++) {
        CHECK_TRUE(table[i] == NULL || is_block(table[i]));
        mm_free(table[i]);
    }
    CHECK_EQ(stats().bytes_in_use, 0);
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(objects_taken(), 0);
    CHECK_EQ(spans_in_use(), 0);
}
