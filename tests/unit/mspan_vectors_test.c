// stages: 07-07
//
// mspan.c against the Go runtime: the search for free slots, step by step, and
// the division of an offset by the size of an object.

#include "heap.h"

#include <string.h>

#include "bits.h"
#include "test.h"
#include "vectors.h"

// report says what became of the lines of a file.
static void report(const struct vectors *v, size_t checked, size_t left_out)
{
    fprintf(stderr, "%s: %zu lines checked, %zu not applicable\n", v->name,
            checked, left_out);
}

// ---------------------------------------------------------------------------
// mspan.txt: a span, and what is done with it until the next one.

// read_span: span NELEMS FREEINDEX NW and NW words of alloc_bits.
static void read_span(struct vectors *v, struct mspan *s)
{
    memset(s, 0, sizeof *s);
    s->nelems = (uint32_t)vectors_number(v);
    s->freeindex = (uint32_t)vectors_number(v);
    size_t n = vectors_number(v);
    CHECK_VECTORS(v, s->nelems <= MAX_OBJECTS && n == (s->nelems + 63) / 64,
                  "not the words of a span");
    for (size_t i = 0; i < n; i++)
        s->alloc_bits[i] = vectors_hex(v);
    // Go starts in the middle of a span when it caches one that was in use.
    mspan_refill_alloc_cache(s, s->freeindex & ~63u);
    s->alloc_cache = shr64(s->alloc_cache, s->freeindex % 64);
}

// check_state: FREEINDEX CACHE, with which each step ends.
static void check_state(struct vectors *v, const struct mspan *s)
{
    CHECK_LINE(v, s->freeindex, vectors_number(v));
    CHECK_LINE(v, s->alloc_cache, vectors_hex(v));
}

// check_is_free: z SLOT FREEINDEX BIT
static void check_is_free(struct vectors *v, const struct mspan *s)
{
    struct mspan scanned = *s;
    size_t slot = vectors_number(v);
    scanned.freeindex = (uint32_t)vectors_number(v);
    CHECK_LINE(v, mspan_is_free(&scanned, slot), vectors_number(v));
}

TEST(the_search_is_that_of_go,
     "each step of the search in 260 spans finds the slot that Go finds, and"
     " leaves the same freeindex and the same alloc_cache")
{
    static struct mspan s;
    size_t spans = 0, states = 0, slow = 0, fast = 0, free = 0, counts = 0;
    struct vectors v;

    vectors_open(&v, "tests/vectors/mspan.txt");
    while (vectors_next(&v)) {
        if (vectors_word(&v, "span")) {
            spans++;
            read_span(&v, &s);
        } else if (vectors_word(&v, "I")) {
            states++;
            check_state(&v, &s);
        } else if (vectors_word(&v, "n")) {
            slow++;
            CHECK_LINE(&v, mspan_next_free_index(&s), vectors_number(&v));
            check_state(&v, &s);
        } else if (vectors_word(&v, "N")) {
            fast++;
            CHECK_LINE(&v, mspan_next_free_fast(&s),
                       vectors_number_or_none(&v));
            check_state(&v, &s);
        } else if (vectors_word(&v, "z")) {
            free++;
            check_is_free(&v, &s);
        } else {
            CHECK_VECTORS(&v, vectors_word(&v, "Z"), "no line of this file");
            counts++;
            CHECK_LINE(&v, mspan_count_alloc(&s), vectors_number(&v));
        }
        CHECK_VECTORS(&v, vectors_is_read(&v), "more than was read");
    }
    CHECK_EQ(NO_SLOT, SIZE_MAX); // as vectors_number_or_none says it
    CHECK_EQ(spans, 260);
    CHECK_EQ(states, 260);
    CHECK_EQ(slow, 2883);
    CHECK_EQ(fast, 2883);
    CHECK_EQ(free, 1040);
    CHECK_EQ(counts, 52);
    CHECK_EQ(v.number, 2 + 7378); // the comment, and eof
    report(&v, spans + states + slow + fast + free + counts, 0);
}

// ---------------------------------------------------------------------------
// size_classes.txt: how to divide.

static size_t divide(size_t offset, size_t size)
{
    return offset * mspan_div_magic((uint32_t)size) >> 32;
}

// check_class: c CLASS SIZE PAGES MAGIC OBJECTS
static void check_class(struct vectors *v)
{
    size_t sizeclass = vectors_number(v);
    size_t size = vectors_number(v);
    vectors_number(v);
    size_t magic = vectors_number(v);
    vectors_number(v);
    CHECK_LINE(v, class_size((unsigned)sizeclass), size);
    if (sizeclass > 0)
        CHECK_LINE(v, mspan_div_magic((uint32_t)size), magic);
}

// check_divided: d CLASS OFFSET INDEX
static void check_divided(struct vectors *v)
{
    size_t sizeclass = vectors_number(v);
    size_t offset = vectors_number(v);
    CHECK_LINE(v, divide(offset, class_size((unsigned)sizeclass)),
               vectors_number(v));
}

// check_method reads SHIFT SHIFT2 MULTIPLIER MASK, and divides every offset
// from 0 to last in a span of the class with them, and as we do.
static void check_method(struct vectors *v, size_t sizeclass, size_t last)
{
    unsigned shift = (unsigned)vectors_number(v);
    unsigned shift2 = (unsigned)vectors_number(v);
    size_t multiplier = vectors_number(v);
    size_t mask = vectors_number(v);
    size_t size = class_size((unsigned)sizeclass);

    if (sizeclass == 0) {
        CHECK_VECTORS(v, (shift | shift2 | multiplier | mask) == 0,
                      "class 0 is not divided");
        return;
    }
    CHECK_VECTORS(v, mask == (is_power_of_two(size) ? (uint16_t)-size : 0),
                  "a mask is for a power of two");
    for (size_t offset = 0; offset <= last; offset++) {
        size_t index = (offset >> shift) * multiplier >> shift2;
        if (index != divide(offset, size) ||
            (mask != 0 && (offset & mask) != index * size))
            CHECK_THAT(false, "offset %zu has index %zu, not %zu: %s", offset,
                       divide(offset, size), index, v->line);
    }
}

TEST(division_is_that_of_go,
     "an offset is divided by the size of an object as Go does, with one"
     " multiplication: at every byte of a span, and at its end")
{
    size_t classes = 0, methods = 0, divided = 0, left_out = 0;
    struct vectors v;

    vectors_open(&v, "tests/vectors/size_classes.txt");
    while (vectors_next(&v)) {
        if (vectors_word(&v, "c")) {
            classes++;
            check_class(&v);
        } else if (vectors_word(&v, "m")) {
            methods++;
            size_t sizeclass = vectors_number(&v);
            size_t bytes = class_npages((unsigned)sizeclass) * PAGE_SIZE;
            check_method(&v, sizeclass, bytes - 1);
            check_method(&v, sizeclass, bytes);
        } else if (vectors_word(&v, "d")) {
            divided++;
            check_divided(&v);
        } else {
            left_out++; // msize_test.c
            continue;
        }
        CHECK_VECTORS(&v, vectors_is_read(&v), "more than was read");
    }
    CHECK_EQ(classes, 67);
    CHECK_EQ(methods, 67);
    CHECK_EQ(divided, 528);
    CHECK_EQ(left_out, 139); // table, t8, t128, s and r
    report(&v, classes + methods + divided, left_out);
}

TEST(every_offset_is_divided_right,
     "for each class and each byte of its span, the multiplication gives the"
     " same as a division")
{
    for (unsigned sizeclass = 1; sizeclass < NUM_SIZE_CLASSES; sizeclass++) {
        size_t size = class_size(sizeclass);
        size_t bytes = class_npages(sizeclass) * PAGE_SIZE;
        struct mspan s = {.start_addr = (char *)(uintptr_t)PAGE_SIZE,
                          .sizeclass = (uint8_t)sizeclass,
                          .div_mul = mspan_div_magic((uint32_t)size)};
        for (size_t offset = 0; offset < bytes; offset++) {
            size_t index = mspan_object_index(&s, s.start_addr + offset);
            if (index != offset / size)
                CHECK_THAT(false, "%zu / %zu: expected %zu, got %zu", offset,
                           size, offset / size, index);
        }
        CHECK_EQ(divide(bytes, size), bytes / size);
    }
}
