// heap_shape.h - the heap as a line of text, which a test can compare whole.
//
// A test arranges blocks, and says what must lie in the heap afterwards:
//
//     CHECK_HEAP("used 32, free 64, used 16");
//
// The words come from mm_walk, by rising address. The numbers are the bytes of
// the blocks without their headers. "gap 48" are 48 bytes between two blocks
// that belong to neither; "fence" is a header without a block.

#ifndef UNIT_HEAP_SHAPE_H
#define UNIT_HEAP_SHAPE_H

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "test.h"

// What mm_walk showed, from the last heap_read.
enum { HEAP_MOST = 4096 };
struct heap {
    size_t n_regions;
    struct mm_item region; // the last one
    size_t n;
    struct mm_item blocks[HEAP_MOST];
    size_t not_stored; // there was no room for that many
};
static struct heap heap;

static inline void heap_visit(const struct mm_item *item, void *ctx)
{
    struct heap *into = ctx;
    if (item->kind == MM_REGION) {
        into->n_regions++;
        into->region = *item;
    } else if (into->n < HEAP_MOST) {
        into->blocks[into->n++] = *item;
    } else {
        into->not_stored++;
    }
}

static inline void heap_read(void)
{
    heap.n_regions = heap.n = heap.not_stored = 0;
    mm_walk(heap_visit, &heap);
    CHECK_EQ(heap.not_stored, 0);
}

// item_end returns the first byte above the item.
static inline const char *item_end(const struct mm_item *item)
{
    return (const char *)item->addr + item->size;
}

// item_block returns the block of an item, as malloc returned it.
static inline void *item_block(const struct mm_item *item)
{
    return (char *)(uintptr_t)item->addr + item->header;
}

// heap_item returns what heap_read saw at the header of block p; NULL: nothing.
static inline const struct mm_item *heap_item(const void *p)
{
    for (size_t i = 0; i < heap.n; i++)
        if (item_block(&heap.blocks[i]) == p)
            return &heap.blocks[i];
    return NULL;
}

// A line of text that grows by words.
struct heap_line {
    size_t length;
    char chars[8192];
};

// heap_word appends a word, and a number unless it is SIZE_MAX.
static inline void heap_word(struct heap_line *line, const char *word,
                             size_t number)
{
    char digits[24] = "";
    if (number != SIZE_MAX)
        snprintf(digits, sizeof digits, "%s%zu", *word == '\0' ? "" : " ",
                 number);
    int n =
        snprintf(line->chars + line->length, sizeof line->chars - line->length,
                 "%s%s%s", line->length == 0 ? "" : ", ", word, digits);
    line->length += (size_t)n;
    CHECK_THAT(line->length < sizeof line->chars, "too long: %s", line->chars);
}

// heap_text returns the line that the head of this file describes. The next
// call overwrites it.
static inline const char *heap_text(void)
{
    static struct heap_line line;
    const char *end = NULL;

    line = (struct heap_line){0};
    heap_read();
    for (size_t i = 0; i < heap.n; i++) {
        const struct mm_item *item = &heap.blocks[i];
        const char *addr = item->addr;
        if (end != NULL && end != addr)
            heap_word(&line, "gap", (size_t)(addr - end));
        if (item->size == item->header)
            heap_word(&line, "fence", SIZE_MAX);
        else
            heap_word(&line, item->state == MM_FREE ? "free" : "used",
                      item->size - item->header);
        end = item_end(item);
    }
    return line.chars;
}

// list_text returns the sizes of the blocks on the list of that name, in its
// order: "64, 32". The next call overwrites it.
static inline const char *list_text(const char *name)
{
    static struct heap_line line;
    const struct mm_item *item = NULL;

    line = (struct heap_line){0};
    heap_read();
    for (size_t i = 0; i < heap.n; i++)
        if (heap.blocks[i].list != NULL && heap.blocks[i].first &&
            strcmp(heap.blocks[i].list, name) == 0)
            item = &heap.blocks[i];
    for (size_t n = 0; item != NULL; n++) {
        heap_word(&line, n < heap.n ? "" : "a circle",
                  item->size - item->header);
        const char *next = item->next;
        item =
            n >= heap.n || next == NULL ? NULL : heap_item(next + item->header);
        if (next != NULL && item == NULL)
            heap_word(&line, "no block", SIZE_MAX);
    }
    return line.chars;
}

// CHECK_HEAP compares the heap, CHECK_LIST a list, with such a line.
#define CHECK_HEAP(expected) CHECK_TEXT("the heap", heap_text(), expected)
#define CHECK_LIST(name, expected) CHECK_TEXT(name, list_text(name), expected)
#define CHECK_TEXT(what, actual, expected)                                     \
    do {                                                                       \
        const char *text_ = (actual);                                          \
        CHECK_THAT(strcmp(text_, expected) == 0,                               \
                   "%s: expected \"%s\", got \"%s\"", what, expected, text_);  \
    } while (0)

// counted returns the counters that differ from those in *before by their
// difference, and brings *before up to date.
static inline struct mm_stats counted(struct mm_stats *before)
{
    struct mm_stats now;
    mm_stats(&now);
    struct mm_stats difference = {
        .mallocs = now.mallocs - before->mallocs,
        .frees = now.frees - before->frees,
        .bytes_in_use = now.bytes_in_use - before->bytes_in_use,
        .bytes_from_os = now.bytes_from_os - before->bytes_from_os,
        .sbrks = now.sbrks - before->sbrks,
        .locks_taken = now.locks_taken - before->locks_taken,
        .nodes_visited = now.nodes_visited - before->nodes_visited,
        .splits = now.splits - before->splits,
        .merges = now.merges - before->merges,
    };
    *before = now;
    return difference;
}

// move_break_to moves the break up, as a program may do that uses sbrk itself,
// until it is remainder above a multiple of unit. Returns where it is.
static inline char *move_break_to(size_t unit, size_t remainder)
{
    char *old_break = sbrk(0);
    size_t n = padding_to(old_break - remainder, unit);
    CHECK_PTR_EQ(sbrk((intptr_t)n), old_break);
    return old_break + n;
}

#endif
