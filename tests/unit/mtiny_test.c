// stages: 09-
//
// mtiny.c: blocks of fewer than 16 bytes are parts of an object, which is free
// when all of them are. And what else is noscan: spans of its own.

#include "heap.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "child.h"
#include "os_memory.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"
#include "vectors.h"
#include "workers.h"

_Static_assert(NUM_SPAN_CLASSES == 134, "67 size classes, each twice");
_Static_assert(TINY_SPAN_CLASS % 2 == 1, "parts hold no pointers");
_Static_assert(PAGE_SIZE % TINY_SIZE == 0, "a page is full of objects");

// align_of returns what a part of size bytes is a multiple of, as mm.h says.
static size_t align_of(size_t size)
{
    size_t align = 1;
    while (align < 8 && size % (2 * align) == 0)
        align *= 2;
    return align;
}

// place_from returns the first place from an offset on for a part.
static size_t place_from(size_t offset, size_t size)
{
    while (offset % align_of(size) != 0)
        offset++;
    return offset;
}

static char *object_of(const void *p)
{
    return (char *)((uintptr_t)p / TINY_SIZE * TINY_SIZE);
}

// is_taken tells whether the object that p lies in is not free.
static bool is_taken(const void *p)
{
    const struct mspan *s = span_of(p);
    return s != NULL &&
           mspan_is_live(s, (size_t)((char *)p - s->start_addr) / TINY_SIZE);
}

// objects_taken returns how many objects of TINY_SPAN_CLASS are not free.
static size_t objects_taken(void)
{
    size_t n = 0;
    lock_acquire(&mheap.lock);
    for (struct mspan *s = pagemap_next(NULL); s != NULL;
         s = pagemap_next(mspan_end(s)))
        if (s->state == MSPAN_IN_USE && s->spanclass == TINY_SPAN_CLASS)
            n += mspan_count_alloc(s);
    lock_release(&mheap.lock);
    return n;
}

static void free_it(void *p)
{
    mm_free(p);
}

// Contents that depend on address and size: no two parts of an object have the
// same.
static unsigned char content(const char *p, size_t size)
{
    return (unsigned char)((uintptr_t)p * 37 + size * 101 + 1);
}

static void fill(char *p, size_t size)
{
    memset(p, content(p, size), size);
}

static bool is_filled(const char *p, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if ((unsigned char)p[i] != content(p, size))
            return false;
    return true;
}

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

TEST(from_16_bytes_on_they_are_blocks,
     "a noscan block of 16 bytes or more is at a multiple of 16, and has a size"
     " and a class as any other, but in a noscan span")
{
    for (size_t size = TINY_SIZE; size <= 40000; size++) {
        char *p = mm_malloc_noscan(size);
        CHECK_NOT_NULL(p);
        CHECK_ALIGNED(p, MM_ALIGNMENT);
        CHECK_EQ(mm_usable_size(p), round_up_size(size));
        unsigned sizeclass = size <= MAX_SMALL_SIZE ? size_class_of(size) : 0;
        CHECK_EQ(span_of(p)->spanclass, 2 * sizeclass + 1);
        p[0] = p[size - 1] = 1;
        mm_free(p);
    }
    CHECK_EQ(stats().tiny_allocs, 0);
    errno = 0;
    CHECK_NULL(mm_malloc_noscan((size_t)PTRDIFF_MAX + 1));
    CHECK_EQ(errno, ENOMEM);
    errno = 0;
    CHECK_NULL(mm_malloc_noscan(SIZE_MAX));
    CHECK_EQ(errno, ENOMEM);
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

static void allocate_three(void *parts)
{
    char **p = parts;
    for (size_t i = 0; i < 3; i++)
        p[i] = mm_malloc_noscan(4);
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

// ---------------------------------------------------------------------------
// realloc

TEST(realloc_keeps_contents,
     "realloc of a part to any size, and of blocks to the size of a part, keeps"
     " the contents, and the other parts of the object")
{
    for (size_t from = 1; from <= 40; from++) {
        for (size_t to = 1; to <= 40; to++) {
            mtiny_release();
            char *below = mm_malloc_noscan(1);
            char *p = mm_malloc_noscan(from);
            char *above = mm_malloc_noscan(1);
            fill(below, 1);
            fill(p, from);
            fill(above, 1);
            unsigned char byte = content(p, from);
            char *q = mm_realloc(p, to);
            CHECK_NOT_NULL(q);
            CHECK_GE(mm_usable_size(q), to);
            for (size_t i = 0; i < from && i < to; i++)
                CHECK_EQ((unsigned char)q[i], byte);
            memset(q, 0xEE, mm_usable_size(q));
            CHECK_TRUE(is_filled(below, 1) && is_filled(above, 1));
            CHECK_EQ(mm_usable_size(below), 1);
            CHECK_EQ(mm_usable_size(above), 1);
            mm_free(below);
            CHECK_NULL(mm_realloc(q, 0));
            mm_free(above);
            mtiny_release();
            CHECK_EQ(objects_taken(), 0);
        }
    }
    CHECK_EQ(stats().bytes_in_use, 0);
    CHECK_TRUE(mm_check());
}

// ---------------------------------------------------------------------------
// Mistakes.

#define NO_BLOCK "mm: free(%p): no block starts here\n"

static void free_twice(void *p)
{
    mm_free(p);
    mm_free(p);
}

static void let_go_and_free_twice(void *p)
{
    mtiny_release();
    free_twice(p);
}

static void flush_and_free_twice(void *p)
{
    mm_free(p);
    mcache_flush();
    mm_free(p);
}

static void free_three_and_first(void *parts)
{
    char **p = parts;
    for (size_t i = 0; i < 3; i++)
        mm_free(p[i]);
    mm_free(p[0]);
}

static void ask_size_of_freed(void *p)
{
    mm_free(p);
    (void)mm_usable_size(p);
}

static void realloc_freed(void *p)
{
    mm_free(p);
    mm_realloc(p, 1);
}

TEST(a_part_that_is_freed_twice,
     "a part that was freed is no block: free, malloc_usable_size and realloc"
     " say so, while its object has other parts, or is the tiny block")
{
    char *p[3];
    mtiny_release();
    allocate_three(p);
    for (size_t i = 0; i < 3; i++)
        CHECK_ABORTS(free_twice, p[i], NO_BLOCK, (void *)p[i]);
    CHECK_ABORTS(free_three_and_first, p, NO_BLOCK, (void *)p[0]);
    CHECK_ABORTS(ask_size_of_freed, p[1],
                 "mm: malloc_usable_size(%p): no block starts here\n",
                 (void *)p[1]);
    CHECK_ABORTS(realloc_freed, p[1], "mm: realloc(%p): no block starts here\n",
                 (void *)p[1]);
    mtiny_release();
    for (size_t i = 0; i < 3; i++)
        CHECK_ABORTS(free_twice, p[i], NO_BLOCK, (void *)p[i]);
    release((void **)p, 3);
}

TEST(an_object_that_is_freed_twice,
     "a part that was freed, and its object with it, is reported: at the start"
     " of the object as a double free, elsewhere as no block")
{
    char *p = mm_malloc_noscan(5);
    CHECK_ABORTS(let_go_and_free_twice, p,
                 "mm: free(%p): double free (block %p, 16 bytes)\n", (void *)p,
                 (void *)p);
    CHECK_ABORTS(flush_and_free_twice, p, "mm: free(%p): double free\n",
                 (void *)p);
    char *q = mm_malloc_noscan(5);
    CHECK_PTR_EQ(q, p + 5);
    mm_free(p);
    CHECK_ABORTS(let_go_and_free_twice, q, NO_BLOCK, (void *)q);
    mm_free(q);

    p = mm_malloc_noscan(16);
    CHECK_ABORTS(free_twice, p,
                 "mm: free(%p): double free (block %p, 16 bytes)\n", (void *)p,
                 (void *)p);
    CHECK_ABORTS(free_it, p + 8, NO_BLOCK, (void *)(p + 8));
    mm_free(p);
}

TEST(no_block_starts_inside_a_part,
     "what lies in a part, or between parts, is no block")
{
    mtiny_release();
    char *p = mm_malloc_noscan(5);
    char *q = mm_malloc_noscan(4);
    CHECK_PTR_EQ(q, p + 8);
    for (char *inside = p; inside < p + TINY_SIZE; inside++)
        if (inside != p && inside != q)
            CHECK_ABORTS(free_it, inside, NO_BLOCK, (void *)inside);
    mm_free(p);
    mm_free(q);
}

// ---------------------------------------------------------------------------
// When memory is short.

// exhaust allocates parts until there is no memory. Returns how many.
enum { MOST = 200000 };
static void *all[MOST];

static size_t exhaust(void)
{
    size_t n = 0;
    errno = 4711;
    for (; (all[n] = mm_malloc_noscan(1 + n % 15)) != NULL; n++) {
        CHECK_EQ(errno, 4711);
        fill(all[n], 1 + n % 15);
        CHECK_LE(n, MOST - 2);
    }
    CHECK_EQ(errno, ENOMEM);
    return n;
}

TEST(
    no_memory_for_a_part,
    "if the OS refuses memory, a part is NULL with errno ENOMEM; the others are"
    " as they were, and when they are freed, there is room for as many")
{
    mm_free(mm_malloc_noscan(1));
    os.fail_from = os.calls + 1;
    size_t n[3];
    for (size_t round = 0; round < 3; round++) {
        n[round] = exhaust();
        CHECK_GE(n[round], 10000);
        CHECK_TRUE(mm_check());
        size_t sum = 0;
        for (size_t i = 0; i < n[round]; i++) {
            CHECK_TRUE(is_filled(all[i], 1 + i % 15));
            sum += 1 + i % 15;
        }
        CHECK_EQ(stats().bytes_in_use, sum);
        errno = 0;
        CHECK_NULL(mm_malloc_noscan(40000000));
        CHECK_EQ(errno, ENOMEM);
        release(all, n[round]);
        CHECK_EQ(stats().bytes_in_use, 0);
        mcache_flush();
        CHECK_EQ(spans_in_use(), 0);
    }
    CHECK_GE(n[1], n[0]); // the first round needed structs
    CHECK_EQ(n[2], n[1]);
}

TEST(what_is_in_hand_makes_room,
     "if the OS refuses memory, an empty span of another class makes room for a"
     " part, and a tiny block without parts for another class; errno stays")
{
    void *small = mm_malloc_noscan(5);
    void *rest = mm_malloc(127 * PAGE_SIZE);
    os.fail_from = os.calls + 1;
    mm_free(small);
    errno = 4711;
    small = mm_malloc(1024);
    CHECK_NOT_NULL(small);
    CHECK_NULL(mcache->tiny);
    CHECK_EQ(errno, 4711);
    mm_free(small);
    char *p = mm_malloc_noscan(5);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    char *q = mm_malloc_noscan(5);
    CHECK_PTR_EQ(q, p + 5);
    CHECK_NULL(mm_malloc(1024));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(mm_usable_size(p), 5);
    mm_free(p);
    mm_free(q);
    mm_free(rest);
}

TEST(
    no_memory_for_the_words_of_parts,
    "if there are pages for a span, but no memory for the words of its objects,"
    " a part is NULL with errno ENOMEM; the pages go back, and serve others")
{
    void *first = mm_malloc(16);
    os.fail_from = os.calls + 1;
    lock_acquire(&mheap.lock);
    void *spare = fixalloc_alloc(&mheap.spanalloc);
    while (persistent_alloc(MM_ALIGNMENT) != NULL)
        continue;
    fixalloc_free(&mheap.spanalloc, spare); // for what is left of the pages
    lock_release(&mheap.lock);
    uint64_t spans = spans_in_use();
    for (size_t i = 0; i < 3; i++) {
        errno = 0;
        CHECK_NULL(mm_malloc_noscan(5));
        CHECK_EQ(errno, ENOMEM);
        CHECK_NULL(mm_malloc_noscan(16));
        CHECK_EQ(spans_in_use(), spans);
        CHECK_TRUE(mm_check());
    }
    errno = 4711;
    char *p = mm_malloc(127 * PAGE_SIZE);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_TRUE(mm_check());
    CHECK_RETURNS(free_it, p, ""); // a fork finds no span to recover
    mm_free(p);
    mm_free(first);
}

// ---------------------------------------------------------------------------
// Span classes.

TEST(there_are_134_span_classes,
     "a span class is a size class and whether it is noscan, and no two are the"
     " same; parts are of the noscan one of 16 bytes")
{
    bool seen[NUM_SPAN_CLASSES] = {false};
    for (unsigned c = 0; c < NUM_SIZE_CLASSES; c++) {
        for (unsigned noscan = 0; noscan < 2; noscan++) {
            spanclass class = make_spanclass(c, noscan != 0);
            CHECK_TRUE(class < NUM_SPAN_CLASSES && !seen[class]);
            seen[class] = true;
            CHECK_EQ(spanclass_sizeclass(class), c);
            CHECK_EQ(spanclass_noscan(class), noscan);
            for (spanclass other = 0; other < class; other++)
                CHECK_TRUE(mcache_span(mcache, other) !=
                           mcache_span(mcache, class));
        }
    }
    CHECK_EQ(class_size(spanclass_sizeclass(TINY_SPAN_CLASS)), TINY_SIZE);
    CHECK_EQ(class_npages(spanclass_sizeclass(TINY_SPAN_CLASS)), 1);
    CHECK_TRUE(spanclass_noscan(TINY_SPAN_CLASS));
}

// span_class_of returns the class that a block of size bytes should be of.
static spanclass span_class_of(size_t size, bool noscan)
{
    if (noscan && size < TINY_SIZE)
        return TINY_SPAN_CLASS;
    if (size > MAX_SMALL_SIZE)
        return make_spanclass(0, noscan);
    return make_spanclass(
        size_class_of(size < MM_ALIGNMENT ? MM_ALIGNMENT : size), noscan);
}

static bool is_of_class(const void *p, spanclass class)
{
    const struct mspan *s = span_of(p);
    return s->spanclass == class &&
           (s->parts != NULL) == (class == TINY_SPAN_CLASS);
}

TEST(each_span_class_has_its_spans,
     "a noscan block and another of the same size are never in one span; what"
     " calloc, realloc and aligned_alloc return is not noscan")
{
    void *p[2][NUM_SIZE_CLASSES];
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++) {
        p[0][c] = mm_malloc(class_size(c));
        p[1][c] = mm_malloc_noscan(class_size(c));
        CHECK_TRUE(span_of(p[0][c]) != span_of(p[1][c]));
        for (unsigned noscan = 0; noscan < 2; noscan++) {
            spanclass class = make_spanclass(c, noscan != 0);
            CHECK_TRUE(is_of_class(p[noscan][c], class));
            CHECK_PTR_EQ(*mcache_span(mcache, class), span_of(p[noscan][c]));
        }
    }
    CHECK_EQ(spans_in_use(), 2 * (NUM_SIZE_CLASSES - 2));
    CHECK_TRUE(mm_check());
    // Put down, and taken up again by class.
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++)
        for (unsigned noscan = 0; noscan < 2; noscan++)
            CHECK_EQ(span_set_length(
                         &mcentral[make_spanclass(c, noscan != 0)].partial),
                     0);
    mcache_flush();
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++)
        for (unsigned noscan = 0; noscan < 2; noscan++) {
            struct mspan *s = span_of(p[noscan][c]);
            CHECK_EQ(span_set_length(&mcentral[s->spanclass].partial),
                     s->nelems > 1);
            mm_free(p[noscan][c]);
        }
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);

    void *q = mm_calloc(1, 10);
    CHECK_TRUE(is_of_class(q, span_class_of(10, false)));
    mm_free(q);
    q = mm_aligned_alloc(64, 64);
    CHECK_TRUE(is_of_class(q, span_class_of(64, false)));
    mm_free(q);
    q = mm_realloc(mm_malloc_noscan(10), 100);
    CHECK_TRUE(is_of_class(q, span_class_of(100, false)));
    mm_free(q);
}

// ---------------------------------------------------------------------------
// Against a model: the blocks there are, and where the tiny block is.

enum { LIVE = 1500, OPERATIONS = UNDER_TSAN ? 30000 : 120000 };
static struct {
    size_t n, bytes;
    struct {
        char *p;
        size_t size; // asked for
        bool noscan;
    } live[LIVE];
    char *tiny; // NULL: none
    size_t tinyoffset;
    uint64_t tiny_allocs;
} model;

static size_t expected_size(size_t size, bool noscan)
{
    if (noscan && size < TINY_SIZE)
        return size == 0 ? 1 : size;
    return round_up_size(size < MM_ALIGNMENT ? MM_ALIGNMENT : size);
}

// model_part notes that p, of size bytes, was allocated as a part.
static void model_part(char *p, size_t size)
{
    size_t offset = place_from(model.tinyoffset, size);
    if (model.tiny != NULL && offset + size <= TINY_SIZE) {
        CHECK_PTR_EQ(p, model.tiny + offset);
        model.tinyoffset = offset + size;
        model.tiny_allocs++;
    } else {
        CHECK_ALIGNED(p, TINY_SIZE);
        if (model.tiny == NULL || size < model.tinyoffset) {
            model.tiny = p;
            model.tinyoffset = size;
        }
    }
    CHECK_PTR_EQ(mcache->tiny, model.tiny);
    CHECK_EQ(mcache->tinyoffset, model.tinyoffset);
}

static void model_allocate(uint64_t *state)
{
    static const size_t most[] = {4, 15, 20, 40, 600, 40000};
    bool noscan = random_below(state, 4) != 0;
    size_t i = random_below(state, 40);
    size_t size = random_below(state, most[i < 4 ? 2 + i : i % 2] + 1);
    char *p = noscan ? mm_malloc_noscan(size) : mm_malloc(size);
    size_t usable = expected_size(size, noscan);

    CHECK_NOT_NULL(p);
    if (noscan && size < TINY_SIZE)
        model_part(p, usable);
    else
        CHECK_ALIGNED(p, MM_ALIGNMENT);
    CHECK_TRUE(is_of_class(p, span_class_of(size, noscan)));
    CHECK_EQ(mm_usable_size(p), usable);
    fill(p, usable);
    model.live[model.n].p = p;
    model.live[model.n].size = size;
    model.live[model.n++].noscan = noscan;
    model.bytes += usable;
}

static void model_free(size_t i)
{
    char *p = model.live[i].p;
    size_t usable = expected_size(model.live[i].size, model.live[i].noscan);
    CHECK_EQ(mm_usable_size(p), usable);
    CHECK_TRUE(is_filled(p, usable));
    mm_free(p);
    model.bytes -= usable;
    model.live[i] = model.live[--model.n];
}

static int compare(const void *p, const void *q)
{
    uintptr_t a = (uintptr_t) * (char *const *)p;
    uintptr_t b = (uintptr_t) * (char *const *)q;
    return (b < a) - (a < b);
}

// model_check compares the whole heap with the model.
static void model_check(void)
{
    char *objects[LIVE + 1]; // of 16 bytes, noscan
    size_t n = 0, different = 0;

    if (model.tiny != NULL)
        objects[n++] = model.tiny;
    for (size_t i = 0; i < model.n; i++) {
        char *p = model.live[i].p;
        size_t usable = expected_size(model.live[i].size, model.live[i].noscan);
        CHECK_EQ(mm_usable_size(p), usable);
        CHECK_TRUE(is_filled(p, usable));
        if (model.live[i].noscan && usable <= TINY_SIZE)
            objects[n++] = object_of(p);
    }
    qsort(objects, n, sizeof *objects, compare);
    for (size_t i = 0; i < n; i++)
        different += i == 0 || objects[i] != objects[i - 1];
    CHECK_EQ(objects_taken(), different);
    CHECK_EQ(stats().bytes_in_use, model.bytes);
    CHECK_EQ(stats().mallocs - stats().frees, model.n);
    CHECK_EQ(stats().tiny_allocs, model.tiny_allocs);
    CHECK_TRUE(mm_check());
}

TEST(blocks_are_those_of_the_model,
     "over random operations, blocks of all kinds lie apart, keep contents and"
     " size, and parts lie where the tiny block has room")
{
    uint64_t state = random_start();
    size_t most = 1;
    for (size_t i = 0; i < OPERATIONS; i++) {
        if (i % 4096 == 0) // few blocks at times, and many
            most = 1 + random_below(&state, LIVE);
        if (model.n < most && random_below(&state, 5) < 3)
            model_allocate(&state);
        else if (model.n > 0)
            model_free(random_below(&state, model.n));
        if (random_below(&state, 2000) == 0) {
            mcache_flush();
            model.tiny = NULL;
        }
        if (i % 1000 == 0)
            model_check();
    }
    while (model.n > 0)
        model_free(random_below(&state, model.n));
    mcache_flush();
    CHECK_EQ(objects_taken(), 0);
    CHECK_EQ(spans_in_use(), 0);
    CHECK_EQ(stats().tiny_allocs, model.tiny_allocs);
}
