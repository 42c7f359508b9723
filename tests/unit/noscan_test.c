// stages: 09-
//
// What noscan blocks, parts of objects among them, have to do with the rest of
// the allocator: spans of their own, realloc, mistakes, and no memory; and all
// blocks against a model.

#include "heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "child.h"
#include "os_memory.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

#include "parts.h"

_Static_assert(NUM_SPAN_CLASSES == 134, "67 size classes, each twice");
_Static_assert(TINY_SPAN_CLASS % 2 == 1, "parts hold no pointers");

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
    void *rest = mm_malloc(free_pages()); // in one piece
    CHECK_EQ(free_pages(), 0);
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
