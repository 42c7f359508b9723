// early_late_library.c - a shared library that allocates before main and frees
// after it: see early_late.c.

#include "program.h"

#include <stdlib.h>

enum { SIZE = 300 };

void *library_block; // freed in main
static void *own_block; // freed at the end

__attribute__((constructor)) static void allocate_early(void)
{
    library_block = fill(malloc(SIZE), SIZE, 1);
    own_block = fill(calloc(1, SIZE), SIZE, 2);
}

__attribute__((destructor)) static void free_late(void)
{
    REQUIRE(is_filled(own_block, SIZE, 2));
    own_block = realloc(own_block, 10 * SIZE);
    REQUIRE(own_block != NULL && is_filled(own_block, SIZE, 2));
    free(own_block);
}
