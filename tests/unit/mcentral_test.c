// stages: 06-07
//
// mcentral.c: objects of a class leave in batches and come back to their spans;
// a span that becomes empty goes back to the page heap.

#include "heap.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "free_objects.h"
#include "os_memory.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

static bool is_before(const void *p, const void *q)
{
    return (uintptr_t)p < (uintptr_t)q;
}

static int compare(const void *p, const void *q)
{
    void *const *a = p;
    void *const *b = q;
    return is_before(*b, *a) - is_before(*a, *b);
}

// n_spans returns in how many spans n objects lie. Sorts them.
static size_t n_spans(void **objects, size_t n)
{
    size_t spans = 0;
    qsort(objects, n, sizeof *objects, compare);
    for (size_t i = 0; i < n; i++)
        spans += i == 0 || span_of(objects[i]) != span_of(objects[i - 1]);
    return spans;
}

enum { MOST = 4000 };
static void *objects[MOST];

// ---------------------------------------------------------------------------
// Batches.

TEST(batches_are_about_64_kib,
     "a batch has 32 objects, or as many as 64 KiB hold, but two at least")
{
    static const struct {
        size_t size, batch;
    } cases[] = {{8, 32},    {16, 32},   {1024, 32}, {2048, 32},
                 {2304, 28}, {3072, 21}, {4096, 16}, {8192, 8},
                 {16384, 4}, {20480, 3}, {24576, 2}, {32768, 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(class_size(size_class_of(cases[i].size)), cases[i].size);
        CHECK_EQ(mcentral_batch(size_class_of(cases[i].size)), cases[i].batch);
    }
    for (unsigned c = 1; c < NUM_SIZE_CLASSES; c++) {
        size_t n = mcentral_batch(c);
        CHECK_TRUE(n >= 2 && n <= 32);
        CHECK_TRUE(n == 2 || n * class_size(c) <= 1 << 16);
        CHECK_TRUE(n == 32 || (n + 1) * class_size(c) > 1 << 16);
    }
}

TEST(objects_of_every_class,
     "of every class, as many objects come as were asked for: different ones,"
     " each an object of a span of the class; when all are back, all spans "
     "are")
{
    // Class 1 may have no room for the links of a free object.
    for (unsigned c = 2; c < NUM_SIZE_CLASSES; c++) {
        size_t n = 2 * mcentral_batch(c) + 3;
        struct mm_stats before = stats();
        CHECK_EQ(central_take(c, objects, n), n);
        CHECK_EQ(stats().batches - before.batches, 1);
        CHECK_EQ(stats().batch_objects - before.batch_objects, n);
        CHECK_EQ(n_spans(objects, n), spans_in_use());
        for (size_t i = 0; i < n; i++) {
            struct mspan *s = span_of(objects[i]);
            CHECK_EQ(s->sizeclass, c);
            CHECK_TRUE(mspan_is_object(s, objects[i]));
            CHECK_TRUE(i == 0 || objects[i] != objects[i - 1]);
            memset(objects[i], 0x77, class_size(c));
        }
        CHECK_TRUE(mm_check());
        before = stats();
        central_give(c, objects, n);
        CHECK_EQ(stats().batches - before.batches, 1);
        CHECK_EQ(stats().batch_objects - before.batch_objects, n);
        CHECK_EQ(spans_in_use(), 0);
        CHECK_TRUE(mm_check());
    }
    central_give(5, NULL, 0);
    CHECK_EQ(spans_in_use(), 0);
}

TEST(each_object_goes_to_its_span,
     "objects that come back in any order each go to their own span; one that"
     " was full has objects again")
{
    unsigned c = size_class_of(1024); // 8 in a page
    CHECK_EQ(central_take(c, objects, 40), 40);
    CHECK_EQ(n_spans(objects, 40), 5);
    CHECK_NULL(mcentral[c].partial.first);
    void *mixed[] = {objects[3], objects[35], objects[12], objects[4],
                     objects[39]};
    central_give(c, mixed, 5);
    static const uint32_t left[] = {6, 7, 8, 8, 6};
    for (size_t i = 0; i < 5; i++)
        CHECK_EQ(span_of(objects[8 * i])->alloc_count, left[i]);
    CHECK_TRUE(mm_check());
    // They are what is handed out next, before a new span.
    void *again[5];
    CHECK_EQ(central_take(c, again, 5), 5);
    CHECK_EQ(spans_in_use(), 5);
    CHECK_NULL(mcentral[c].partial.first);
    qsort(mixed, 5, sizeof *mixed, compare);
    qsort(again, 5, sizeof *again, compare);
    CHECK_TRUE(memcmp(mixed, again, sizeof mixed) == 0);
    central_give(c, objects, 40);
}

TEST(an_empty_span_serves_another_class,
     "a span whose objects are all back goes to the page heap, and not before;"
     " its pages serve other classes")
{
    unsigned c = size_class_of(1024), other = size_class_of(512);
    void *p[16];
    CHECK_EQ(central_take(c, objects, 8), 8);
    CHECK_EQ(n_spans(objects, 8), 1);
    void *page = objects[0];
    central_give(c, objects, 7);
    CHECK_EQ(stats().span_frees, 0);
    CHECK_PTR_EQ(mcentral[c].partial.first, span_of(page));
    central_give(c, objects + 7, 1);
    CHECK_EQ(stats().span_frees, 1);
    CHECK_NULL(span_of(page));
    CHECK_NULL(mcentral[c].partial.first);
    CHECK_EQ(central_take(other, p, 16), 16);
    CHECK_EQ(n_spans(p, 16), 1);
    CHECK_PTR_EQ(p[0], page);
    central_give(other, p, 16);
}

TEST(one_batch_empties_many_spans,
     "one batch may empty many spans: all go back to the page heap, and merge")
{
    unsigned c = size_class_of(32768);
    CHECK_EQ(central_take(c, objects, 32), 32);
    CHECK_EQ(spans_in_use(), 32);
    central_give(c, objects, 32);
    CHECK_EQ(stats().span_frees, 32);
    CHECK_GE(stats().merges, 31);
}

// What mm_walk showed of the spans.
static struct {
    size_t partial; // on the list of a class
    size_t wrong; // of these, those that cannot be
    size_t largest; // bytes of a free one
} shown;

static void look_at_span(const struct mm_item *item, void *unused)
{
    static const char name[] = "spans with objects of ";
    (void)unused;
    if (item->kind != MM_SPAN)
        return;
    if (item->state == MM_FREE && item->size > shown.largest)
        shown.largest = item->size;
    if (item->list == NULL || strncmp(item->list, name, sizeof name - 1) != 0)
        return;
    const struct mspan *s = span_of(item->addr);
    shown.partial++;
    shown.wrong += s == NULL || s->alloc_count == s->nelems ||
                   (size_t)atoi(item->list + sizeof name - 1) != s->elemsize;
}

TEST(the_walk_shows_what_is_on_a_list,
     "mm_walk shows just those spans on the list of a class that have free"
     " objects: no full one, and none that went back to the page heap")
{
    CHECK_EQ(central_take(size_class_of(1024), objects, 1200), 1200);
    CHECK_EQ(n_spans(objects, 1200), 150);
    central_give(size_class_of(1024), objects + 1, 5);
    central_give(size_class_of(1024), objects + 81, 1);
    mm_walk(look_at_span, NULL);
    CHECK_EQ(shown.partial, 2);
    CHECK_EQ(shown.wrong, 0);
    central_give(size_class_of(1024), objects, 1);
    central_give(size_class_of(1024), objects + 6, 75);
    central_give(size_class_of(1024), objects + 82, 1200 - 82);
    memset(&shown, 0, sizeof shown);
    mm_walk(look_at_span, NULL);
    CHECK_EQ(shown.partial, 0);
    CHECK_GE(shown.largest, MAX_LIST_PAGES * PAGE_SIZE);
}

// ---------------------------------------------------------------------------
// When memory is short.

TEST(fewer_when_memory_is_short,
     "if the OS refuses memory, all objects that there are come, and errno"
     " stays; then none, with ENOMEM; and after some came back, those")
{
    unsigned c = size_class_of(1024);
    central_give(c, objects,
                 central_take(c, objects, 1)); // the OS gave 128 pages
    os.fail_from = os.calls + 1;
    struct mm_stats before = stats();
    errno = 4711;
    CHECK_EQ(central_take(c, objects, MOST), 1024);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(stats().batch_objects - before.batch_objects, 1024);
    CHECK_EQ(n_spans(objects, 1024), 128);
    CHECK_TRUE(mm_check());
    before = stats();
    CHECK_EQ(central_take(c, objects + 1024, 32), 0);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(central_take(size_class_of(16), objects + 1024, 1), 0);
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(stats().batches, before.batches);
    CHECK_EQ(stats().batch_objects, before.batch_objects);
    central_give(c, objects, 3);
    errno = 4711;
    CHECK_EQ(central_take(c, objects, 32), 3);
    CHECK_EQ(errno, 4711);
    central_give(c, objects, 1024);
    CHECK_EQ(spans_in_use(), 0);
}

// ---------------------------------------------------------------------------
// Against a model: what was taken and not brought back. All else follows.

static uint64_t seed;
static const size_t sizes[] = {16, 112, 1408, 3072, 8192, 24576, 32768};
enum { CLASSES = sizeof sizes / sizeof *sizes, HELD = 400 };

static struct {
    unsigned sizeclass;
    size_t n;
    void *held[HELD];
} model[CLASSES];

// model_take takes some objects; each is filled with bytes of its class.
static void model_take(size_t m)
{
    size_t most = HELD - model[m].n;
    size_t n = 1 + random_below(&seed, 40);
    n = n < most ? n : most;
    if (n == 0)
        return;
    void **into = model[m].held + model[m].n;
    CHECK_EQ(central_take(model[m].sizeclass, into, n), n);
    for (size_t i = 0; i < n; i++)
        memset(into[i], 0x10 + (int)m, sizes[m]);
    model[m].n += n;
}

// model_give brings some back, in any order. They still hold their bytes.
static void model_give(size_t m, size_t n)
{
    void *back[HELD];
    n = n < model[m].n ? n : model[m].n;
    for (size_t i = 0; i < n; i++) {
        size_t k = random_below(&seed, model[m].n);
        unsigned char *p = back[i] = model[m].held[k];
        model[m].held[k] = model[m].held[--model[m].n];
        for (size_t j = 0; j < sizes[m]; j++)
            if (p[j] != 0x10 + m)
                CHECK_EQ(p[j], 0x10 + m);
    }
    central_give(model[m].sizeclass, back, n);
}

// model_check: the spans in use are those with objects that are held, and each
// counts how many.
static void model_check(void)
{
    uint64_t spans = 0;
    CHECK_TRUE(mm_check());
    for (size_t m = 0; m < CLASSES; m++) {
        void **held = model[m].held;
        size_t in_span = 0;
        spans += n_spans(held, model[m].n);
        for (size_t i = 0; i < model[m].n; i++) {
            struct mspan *s = span_of(held[i]);
            in_span++;
            if (i + 1 < model[m].n && span_of(held[i + 1]) == s)
                continue;
            CHECK_EQ(s->alloc_count, in_span);
            CHECK_EQ(s->sizeclass, model[m].sizeclass);
            in_span = 0;
        }
    }
    CHECK_EQ(spans_in_use(), spans);
}

TEST(lists_agree_with_a_model,
     "after each of 2,000 random batches of seven classes, the spans in use are"
     " those of the objects that were taken, and each counts its own")
{
    seed = random_start();
    for (size_t m = 0; m < CLASSES; m++)
        model[m].sizeclass = size_class_of(sizes[m]);
    size_t batches = UNDER_TSAN ? 500 : 2000;
    for (size_t i = 0; i < batches; i++) {
        size_t m = random_below(&seed, CLASSES);
        // Now they rather come, now they rather go.
        if (random_below(&seed, 8) < (i / (batches / 8) % 2 == 0 ? 5u : 3u))
            model_take(m);
        else
            model_give(m, 1 + random_below(&seed, 40));
        model_check();
    }
    for (size_t m = 0; m < CLASSES; m++) {
        model_give(m, HELD);
        model_check();
    }
    CHECK_EQ(spans_in_use(), 0);
}

// ---------------------------------------------------------------------------
// Threads.

enum { THREADS = 8, ROUNDS = 2000 };
static atomic_size_t troubles;
static atomic_bool stop;

// move_batches takes batches of one class, writes its number to each object,
// and brings them back. Another thread that has one of them would be noticed.
static void *move_batches(void *number)
{
    unsigned c = size_class_of(256);
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t n = 1 + (round * 7 + (uintptr_t)number) % 40;
        void *mine[40];
        if (central_take(c, mine, n) != n) {
            troubles++;
            break;
        }
        for (size_t i = 0; i < n; i++)
            memset(mine[i], (int)(uintptr_t)number, 256);
        for (size_t i = 0; i < n; i++) {
            const unsigned char *p = mine[i];
            for (size_t j = 0; j < 256; j++)
                troubles += p[j] != (uintptr_t)number;
        }
        central_give(c, mine, n);
    }
    return NULL;
}

static void start_threads(pthread_t *threads, void *(*body)(void *))
{
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)i), 0);
}

static void join_threads(pthread_t *threads)
{
    for (size_t i = 0; i < THREADS; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

TEST(eight_threads_share_a_class,
     "threads that take and bring back objects of one class at the same time"
     " never get the same one")
{
    pthread_t threads[THREADS];
    start_threads(threads, move_batches);
    join_threads(threads);
    CHECK_EQ(troubles, 0);
    CHECK_EQ(spans_in_use(), 0);
    CHECK_TRUE(mm_check());
}

static void *allocate_until_stopped(void *number)
{
    void *mine[64] = {0};
    for (size_t i = (uintptr_t)number; !stop; i++) {
        mm_free(mine[i % 64]);
        mine[i % 64] = mm_malloc(i * 37 % 9000);
    }
    for (size_t i = 0; i < 64; i++)
        mm_free(mine[i]);
    return NULL;
}

// work_in_child is what a forked process does: it has none of the threads, and
// what was in their stock is lost, but nothing is broken.
static void work_in_child(void *unused)
{
    (void)unused;
    static void *mine[500];
    alarm(60); // if a lock is held for ever
    CHECK(mm_check());
    for (size_t round = 0; round < 3; round++) {
        for (size_t i = 0; i < 500; i++) {
            mine[i] = mm_malloc(i * 61 % 40000);
            CHECK(mine[i] != NULL);
            memset(mine[i], 0xCC, i * 61 % 40000);
        }
        for (size_t i = 0; i < 500; i++)
            mm_free(mine[i]);
        CHECK(mm_check());
    }
    mcache_flush();
    CHECK(mm_check());
}

TEST(fork_while_eight_threads_allocate,
     "the child of a fork finds the heap whole, whatever other threads were"
     " doing to it, and can allocate")
{
    pthread_t threads[THREADS];
    mm_free(mm_malloc(100)); // the child, too, has something in stock
    start_threads(threads, allocate_until_stopped);
    for (size_t i = 0; i < 8; i++)
        CHECK_RETURNS(work_in_child, NULL, "");
    stop = true;
    join_threads(threads);
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}
