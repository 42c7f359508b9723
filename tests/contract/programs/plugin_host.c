// plugin_host.c - a program and a plug-in that may have different mallocs.
//
// With RTLD_DEEPBIND a plug-in prefers the functions of the libraries it was
// linked with to those of the program. So it gets the malloc of the C library,
// and the program has the stage's. Each may use its own; that they free the
// other's blocks cannot work, and must end in a message.

#include "plugin.h"
#include "program.h"

#include <dlfcn.h>
#include <stdlib.h>

static const char *plugin_path;

static const struct plugin *open_plugin(int flags)
{
    void *handle = dlopen(plugin_path, RTLD_NOW | flags);
    REQUIRE(handle != NULL);
    const struct plugin *plugin = dlsym(handle, "plugin");
    REQUIRE(plugin != NULL);
    return plugin;
}

static void *filled_block(size_t size)
{
    void *p = malloc(size);
    REQUIRE(p != NULL);
    return fill(p, size, size);
}

// The dynamic linker uses the same malloc for what it notes about libraries.
static void opened_often(void)
{
    for (size_t i = 0; i < 100; i++) {
        void *p = filled_block(i * 50);
        void *handle = dlopen(plugin_path, RTLD_NOW);
        REQUIRE(handle != NULL);
        const struct plugin *plugin = dlsym(handle, "plugin");
        REQUIRE(plugin != NULL);
        REQUIRE(dlsym(handle, "nothing") == NULL && dlerror() != NULL);
        void *q = plugin->allocate(100);
        plugin->release(p);
        free(q);
        REQUIRE(dlclose(handle) == 0);
        REQUIRE(dlopen("/nothing", RTLD_NOW) == NULL && dlerror() != NULL);
    }
}

// Both heaps grow by turns in the same memory.
static void each_its_own(void)
{
    enum { N = 200 };
    const struct plugin *plugin = open_plugin(RTLD_DEEPBIND);
    void *own[N], *theirs[N];
    for (size_t i = 0; i < N; i++) {
        own[i] = filled_block(1 + i * 50);
        theirs[i] = plugin->allocate(1 + i * 50);
        REQUIRE(theirs[i] != NULL);
        fill(theirs[i], 1 + i * 50, i);
    }
    for (size_t i = 0; i < N; i++) {
        REQUIRE(is_filled(own[i], 1 + i * 50, 1 + i * 50));
        free(own[i]);
        REQUIRE(is_filled(theirs[i], 1 + i * 50, i));
        plugin->release(theirs[i]);
    }
}

static void frees_of_plugin(void)
{
    const struct plugin *plugin = open_plugin(RTLD_DEEPBIND);
    void *own = filled_block(48);
    void *theirs = plugin->allocate(48);
    REQUIRE(own != NULL && theirs != NULL);
    free(theirs);
    FAIL("the program was stopped");
}

// The heap has gone on above the memory of the plug-in.
static void frees_of_plugin_between(void)
{
    const struct plugin *plugin = open_plugin(RTLD_DEEPBIND);
    void *theirs = plugin->allocate(48);
    void *own = filled_block(1 << 20);
    REQUIRE(own != NULL && theirs != NULL);
    free(theirs);
    FAIL("the program was stopped");
}

static void plugin_frees(size_t size)
{
    const struct plugin *plugin = open_plugin(RTLD_DEEPBIND);
    void *below = filled_block(size);
    void *own = filled_block(size);
    void *above = filled_block(size);
    plugin->release(plugin->allocate(size));
    REQUIRE(below != NULL && above != NULL);
    plugin->release(own);
    FAIL("the program was stopped");
}

static void plugin_frees_small(void)
{
    plugin_frees(48);
}

static void plugin_frees_medium(void)
{
    plugin_frees(2000);
}

static void plugin_frees_large(void)
{
    plugin_frees(1 << 20);
}

static const struct named_case cases[] = {
    {"opened_often", opened_often},
    {"each_its_own", each_its_own},
    {"frees_of_plugin", frees_of_plugin},
    {"frees_of_plugin_between", frees_of_plugin_between},
    {"plugin_frees_small", plugin_frees_small},
    {"plugin_frees_medium", plugin_frees_medium},
    {"plugin_frees_large", plugin_frees_large},
    {NULL, NULL},
};

// plugin_host CASE PLUGIN
int main(int argc, char **argv)
{
    REQUIRE(argc == 3);
    plugin_path = argv[2];
    run_case(argc, argv, cases);
    return 0;
}
