// stages: 04-
//
// msize.c and its tables against those of the Go runtime (Go 1.9 to 1.15, whose
// 67 classes ours are), and against what the rules promise.

#include <string.h>

#include "heap.h"
#include "test.h"
#include "vectors.h"

// Lines of the file, by what became of them.
struct lines {
    int checked;
    int not_applicable; // about dividing by a class size: mspan_vectors_test.c
    int classes; // checked: "c" lines
    int tables; // "t8" and "t128"
    int ranges; // "s"
    int large; // "r"
};

// check_class: c CLASS SIZE PAGES MAGIC OBJECTS
static void check_class(struct vectors *v)
{
    unsigned class = (unsigned)vectors_number(v);
    size_t size = vectors_number(v);
    size_t npages = vectors_number(v);
    vectors_number(v); // to divide by the size: not of this file
    size_t objects = vectors_number(v);

    CHECK_VECTORS(v, class < NUM_SIZE_CLASSES, "no such class");
    CHECK_LINE(v, class_size(class), size);
    CHECK_LINE(v, class_npages(class), npages);
    CHECK_LINE(v, size == 0 ? 0 : npages * PAGE_SIZE / size, objects);
}

// check_table: t8 or t128, N, and N classes: of the sizes first, first + unit
// and so on.
static void check_table(const uint8_t *table, size_t length, struct vectors *v)
{
    CHECK_LINE(v, length, vectors_number(v));
    for (size_t i = 0; i < length; i++)
        CHECK_THAT(vectors_number(v) == table[i], "entry %zu is %u in: %s", i,
                   table[i], v->line);
}

// check_range: s LOW HIGH CLASS ROUNDED; *next is the size that must follow.
static void check_range(struct vectors *v, size_t *next)
{
    size_t low = vectors_number(v);
    size_t high = vectors_number(v);
    size_t class = vectors_number(v);
    size_t rounded = vectors_number(v);

    CHECK_THAT(low == *next && low <= high && high <= MAX_SMALL_SIZE,
               "not the sizes from %zu on: %s", *next, v->line);
    for (size_t size = low; size <= high; size++) {
        CHECK_THAT(size_class_of(size) == class,
                   "size %zu has class %u, not: %s", size, size_class_of(size),
                   v->line);
        CHECK_THAT(round_up_size(size) == rounded,
                   "size %zu is rounded to %zu, not: %s", size,
                   round_up_size(size), v->line);
    }
    *next = high + 1;
}

// check_large: r SIZE ROUNDED
static void check_large(struct vectors *v)
{
    size_t size = vectors_number(v);
    size_t rounded = vectors_number(v);

    CHECK_VECTORS(v, size > MAX_SMALL_SIZE, "not a large size");
    CHECK_THAT(round_up_size(size) == rounded, "%zu is rounded to %zu, not: %s",
               size, round_up_size(size), v->line);
}

// check_line checks one line of the table and counts it.
static void check_line(struct vectors *v, struct lines *lines, size_t *next)
{
    if (vectors_word(v, "m") || vectors_word(v, "d")) {
        lines->not_applicable++;
        return;
    }
    lines->checked++;
    if (vectors_word(v, "c")) {
        lines->classes++;
        check_class(v);
    } else if (vectors_word(v, "t8")) {
        lines->tables++;
        check_table(size_to_class8, sizeof size_to_class8, v);
    } else if (vectors_word(v, "t128")) {
        lines->tables++;
        check_table(size_to_class128, sizeof size_to_class128, v);
    } else if (vectors_word(v, "s")) {
        lines->ranges++;
        check_range(v, next);
    } else {
        CHECK_VECTORS(v, vectors_word(v, "r"), "no line of this file");
        lines->large++;
        check_large(v);
    }
    CHECK_VECTORS(v, vectors_is_read(v), "more than was read");
}

TEST(classes_are_those_of_go,
     "sizes, pages, both look-up tables and every rounded size are those"
     " recorded from the Go runtime")
{
    struct lines lines = {0};
    size_t next = 0;
    struct vectors v;

    vectors_open(&v, "tests/vectors/size_classes.txt");
    CHECK_TRUE(vectors_next(&v) && strcmp(v.line, "table go1.9-1.15 67") == 0);
    while (vectors_next(&v))
        check_line(&v, &lines, &next);

    // Nothing was left out: every class, both tables, every size.
    CHECK_EQ(lines.classes, 67);
    CHECK_EQ(lines.tables, 2);
    CHECK_EQ(lines.ranges, 67);
    CHECK_EQ(next, 32769);
    CHECK_EQ(lines.large, 69);
    CHECK_EQ(lines.checked, 205);
    CHECK_EQ(lines.not_applicable, 595);
}

TEST(every_request_gets_the_smallest_class,
     "a request fits the blocks of its class, but not those of the class below,"
     " for each size up to the largest")
{
    CHECK_EQ(size_class_of(0), 0);
    CHECK_EQ(size_class_of(MAX_SMALL_SIZE), NUM_SIZE_CLASSES - 1);
    for (size_t size = 1; size <= MAX_SMALL_SIZE; size++) {
        unsigned class = size_class_of(size);
        CHECK_TRUE(class > 0 && class < NUM_SIZE_CLASSES);
        CHECK_GE(class_size(class), size);
        CHECK_LE(class_size(class - 1) + 1, size);
        CHECK_EQ(round_up_size(size), class_size(class));
    }
}

TEST(classes_are_aligned_for_c,
     "every class but that of 8 bytes is a multiple of 16, and larger than the"
     " one before")
{
    CHECK_EQ(class_size(0), 0);
    CHECK_EQ(class_size(1), 8);
    CHECK_EQ(class_size(2), 16);
    for (unsigned class = 2; class < NUM_SIZE_CLASSES; class ++) {
        CHECK_EQ(class_size(class) % MM_ALIGNMENT, 0);
        CHECK_GE(class_size(class), class_size(class - 1) + 1);
    }
}

TEST(spans_are_used_up_to_an_eighth,
     "what remains at the end of a span, where no object fits, is at most"
     " 12.5 % of it")
{
    CHECK_EQ(class_npages(0), 0);
    for (unsigned class = 1; class < NUM_SIZE_CLASSES; class ++) {
        size_t span = class_npages(class) * PAGE_SIZE;
        CHECK_GE(span, class_size(class));
        CHECK_LE(span % class_size(class) * 8, span);
    }
}

// A request takes its share of a span, with its part of the rest at the end. A
// step is less than 9/8 of the request, and objects of that step fill 7/8 of
// the span, so the request fills more than 7/9 of its share. Merging steps does
// not change this, for it leaves the number of objects as it is.
TEST(waste_is_bounded,
     "a request above 128 bytes fills at least 7/9 of its share of the span"
     " (12.5 % more by rounding to a step, 12.5 % at the end of the span)")
{
    size_t worst = 0; // in 1/10000 of the share

    for (size_t size = 1; size <= MAX_SMALL_SIZE; size++) {
        size_t block = class_size(size_class_of(size));
        size_t span = class_npages(size_class_of(size)) * PAGE_SIZE;
        size_t used = span / block * size;
        if (size <= 128) {
            CHECK_LE(block - size, 15);
            continue;
        }
        CHECK_GE(used * 9, span * 7);
        if (worst < (span - used) * 10000 / span)
            worst = (span - used) * 10000 / span;
    }
    CHECK_EQ(worst, 1664); // 16.65 %: request 4097, five in three pages
}

TEST(large_sizes_are_whole_pages,
     "above the largest class a request gets whole pages, and one to which no"
     " page can be added is not rounded")
{
    CHECK_EQ(round_up_size(MAX_SMALL_SIZE), MAX_SMALL_SIZE);
    CHECK_EQ(round_up_size(MAX_SMALL_SIZE + 1), 5 * PAGE_SIZE);
    for (size_t size = MAX_SMALL_SIZE + 1; size <= 8 * MAX_SMALL_SIZE; size++) {
        CHECK_EQ(round_up_size(size) % PAGE_SIZE, 0);
        CHECK_GE(round_up_size(size), size);
        CHECK_LE(round_up_size(size), size + PAGE_SIZE - 1);
    }
    size_t last = SIZE_MAX - PAGE_SIZE; // the last to which a page can be added
    CHECK_TRUE(round_up_size(last) == last + 1);
    CHECK_TRUE(round_up_size(last + 1) == last + 1);
    CHECK_TRUE(round_up_size(last + 2) == last + 2);
    CHECK_TRUE(round_up_size(SIZE_MAX) == SIZE_MAX);
}
