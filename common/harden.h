// harden.h - the layer above a stage that MM_HARDEN=1 switches on: harden.c.

#ifndef MM_HARDEN_H
#define MM_HARDEN_H

#include <stdbool.h>
#include <stddef.h>

// harden_is_possible tells whether the stage knows the sizes of its blocks.
bool harden_is_possible(void);

// harden_room returns how many bytes to ask of the stage for a block of size.
// SIZE_MAX, which no stage grants, if that overflows.
size_t harden_room(size_t size);

// harden_close makes p, a block of the stage with harden_room(size) bytes, one
// of size bytes for the caller, and returns it. NULL stays NULL.
void *harden_close(void *p, size_t size);

// harden_size returns the size of the closed block p. If p is not one, or was
// written past its end, it reports an error of the function call, and aborts.
size_t harden_size(const void *p, const char *call);

// As mm_calloc, mm_realloc and mm_free, for closed blocks.
void *harden_calloc(size_t n, size_t size);
void *harden_realloc(void *p, size_t size);
void harden_free(void *p);

#endif
