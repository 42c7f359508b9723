// early_late.c - calls malloc before main and frees after it.
//
// Early  from .preinit_array, which the dynamic linker runs before the
//        constructors of libraries; from constructors of a library and of the
//        program.
// Late   from atexit, and from destructors of both.

#include "program.h"

#include <stdlib.h>

enum { SIZE = 200 };

extern void *library_block; // 300 bytes with key 1

static void *preinit_block, *constructor_block, *late_block;

static void allocate_before_constructors(void)
{
    preinit_block = fill(malloc(SIZE), SIZE, 3);
}

__attribute__((section(".preinit_array"), used)) static void (*preinit)(void) =
    allocate_before_constructors;

__attribute__((constructor)) static void allocate_before_main(void)
{
    constructor_block = fill(realloc(NULL, SIZE), SIZE, 4);
}

// use_late replaces late_block by one with the next key.
static void use_late(size_t key)
{
    REQUIRE(is_filled(late_block, SIZE, key));
    void *next = fill(malloc(SIZE), SIZE, key + 1);
    free(late_block);
    late_block = next;
}

static void at_exit(void)
{
    use_late(5);
}

__attribute__((destructor)) static void after_exit(void)
{
    use_late(6);
    free(late_block);
}

int main(void)
{
    REQUIRE(is_filled(preinit_block, SIZE, 3));
    REQUIRE(is_filled(library_block, 300, 1));
    REQUIRE(is_filled(constructor_block, SIZE, 4));
    free(preinit_block);
    free(constructor_block);
    library_block = realloc(library_block, 5000);
    REQUIRE(library_block != NULL && is_filled(library_block, 300, 1));
    free(library_block);

    late_block = fill(malloc(SIZE), SIZE, 5);
    REQUIRE(atexit(at_exit) == 0);
    return 0;
}
