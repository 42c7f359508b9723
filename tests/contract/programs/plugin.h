// plugin.h - what plugin.c offers: two calls of whatever malloc it uses.

#ifndef PLUGIN_H
#define PLUGIN_H

#include <stddef.h>

struct plugin {
    void *(*allocate)(size_t size);
    void (*release)(void *p);
};

#endif
