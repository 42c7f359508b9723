// span_class.h - what a span is of: a size class, and in stages with span
// classes whether it is noscan. Tests speak of span classes; in a stage without
// them, they are its size classes.

#ifndef UNIT_SPAN_CLASS_H
#define UNIT_SPAN_CLASS_H

#include "heap.h"

// Span classes and mtiny.c came together: its objects need spans of their own.
// The preprocessor sees no type and no function of heap.h, but it sees files.
#if __has_include("mtiny.c")

static inline spanclass class_of_span(const struct mspan *s)
{
    return s->spanclass;
}

#else

typedef unsigned spanclass;
enum { NUM_SPAN_CLASSES = NUM_SIZE_CLASSES };

static inline spanclass make_spanclass(unsigned sizeclass, bool noscan)
{
    (void)noscan;
    return sizeclass;
}

static inline unsigned spanclass_sizeclass(spanclass class)
{
    return class;
}

static inline spanclass class_of_span(const struct mspan *s)
{
    return s->sizeclass;
}

// As a macro, for the first stages with spans have no struct mcache.
#define mcache_span(cache, class) (&(cache)->alloc[class])

#endif

// scan_class returns the class of the spans that malloc takes for a size class.
static inline spanclass scan_class(unsigned sizeclass)
{
    return make_spanclass(sizeclass, false);
}

#endif
