// full_spans.h - spans of one class that no thread holds, and what they are
// said to be.

#ifndef UNIT_FULL_SPANS_H
#define UNIT_FULL_SPANS_H

#include "blocks.h"
#include "heap.h"
#include "test.h"

#include "class_spans.h"

// Blocks of SIZE bytes, those of a span one after the other.
enum { MOST = 40000 };
static void *blocks[MOST];

static inline uint32_t n_empty(void)
{
    return central_of(class_of_size())->n_empty;
}

// full_spans makes n spans whose blocks, in blocks[], are all allocated, and
// which no thread holds.
static inline void full_spans(size_t n)
{
    allocate(blocks, n * EACH, SIZE);
    mcache_flush();
    for (size_t i = 0; i < n; i++) {
        CHECK_EQ(mspan_place(span_of(blocks[i * EACH])), PLACE_FULL);
        CHECK_PTR_EQ(span_of(blocks[i * EACH]),
                     span_of(blocks[i * EACH + EACH - 1]));
    }
    CHECK_EQ(set_length(class_of_size()), 0);
}

// set_place says that s is elsewhere, as damage does.
static inline void set_place(struct mspan *s, enum span_place place)
{
    s->place = place + class_of_span(s) * NUM_PLACES;
}

#endif
