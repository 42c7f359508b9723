// plugin.c - a shared object with calls of malloc and free: see plugin_host.c.

#include "plugin.h"

#include <stdlib.h>

static void *allocate(size_t size)
{
    return malloc(size);
}

static void release(void *p)
{
    free(p);
}

extern const struct plugin plugin;
const struct plugin plugin = {.allocate = allocate, .release = release};
