// stages: 04
//
// A list for each size class: the first block on it always fits.

#include <errno.h>
#include <sys/resource.h>

#include "child.h"
#include "heap_shape.h"

// make_holes frees every second of n blocks of that size, so that what is free
// has used neighbours.
enum { MOST = 10000 };
static void *holes[MOST];

static void make_holes(size_t n, size_t size)
{
    for (size_t i = 0; i < n; i++)
        holes[i] = mm_malloc(size);
    for (size_t i = 0; i < n; i += 2)
        mm_free(holes[i]);
}

static void remove_holes(size_t n)
{
    for (size_t i = 1; i < n; i += 2)
        mm_free(holes[i]);
}

TEST(one_node_however_many_are_free,
     "a small malloc looks at one block, whatever the number of free blocks")
{
    void *first = mm_malloc(96); // now there is a run of that class
    for (size_t n = 10; n <= MOST; n *= 10) {
        make_holes(n, 64);
        struct mm_stats before = {0};
        counted(&before);
        void *p = mm_malloc(96);
        CHECK_EQ(counted(&before).nodes_visited, 1);
        mm_free(p);
        CHECK_EQ(counted(&before).nodes_visited, 0);
        remove_holes(n);
    }
    mm_free(first);
}

TEST(requests_become_the_size_of_their_class,
     "a small block has the size of the smallest class that is large enough, "
     "at least 16")
{
    static const struct {
        size_t asked, got;
    } cases[] = {{0, 16},      {8, 16},        {16, 16},       {17, 32},
                 {33, 48},     {113, 128},     {1024, 1024},   {1025, 1152},
                 {5000, 5376}, {32767, 32768}, {32768, 32768}, {32769, 32784}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *p = mm_malloc(cases[i].asked);
        CHECK_EQ(mm_usable_size(p), cases[i].got);
        mm_free(p);
    }
}

TEST(a_run_is_cut_at_once,
     "an empty list gets as many blocks as fit into the pages of its class")
{
    char *p = mm_malloc(1000);
    CHECK_HEAP("used 1024, free 1024, free 1024, free 1024, free 1024,"
               " free 1024, free 1024, free 58224, fence");
    CHECK_LIST("class of 1024", "1024, 1024, 1024, 1024, 1024, 1024");
    char *q = mm_malloc(1010);
    CHECK_PTR_EQ(q, p + 1024 + 16);
    mm_free(q);
    mm_free(p);
    CHECK_LIST("free blocks", "58224");
}

TEST(last_freed_is_first_used,
     "a freed small block is handed out next to its class, and to no other")
{
    void *p = mm_malloc(100);
    void *q = mm_malloc(100);
    mm_free(p);
    mm_free(q);
    void *other = mm_malloc(128);
    CHECK_THAT(other != p && other != q, "other: got a block of another class");
    CHECK_PTR_EQ(mm_malloc(97), q);
    CHECK_PTR_EQ(mm_malloc(112), p);
    mm_free(p);
    mm_free(q);
    mm_free(other);
}

TEST(small_blocks_do_not_merge,
     "freed small blocks keep their size, freed large ones merge")
{
    struct mm_stats before = {0};
    void *small[4], *large[4];
    for (size_t i = 0; i < 4; i++)
        small[i] = mm_malloc(200);
    for (size_t i = 0; i < 4; i++)
        large[i] = mm_malloc(40000);
    counted(&before);
    for (size_t i = 0; i < 4; i++)
        mm_free(small[i]);
    CHECK_EQ(counted(&before).merges, 0);
    for (size_t i = 0; i < 4; i++)
        mm_free(large[i]);
    CHECK_GE(counted(&before).merges, 4);
}

// data_size returns what RLIMIT_DATA counts of this process, in bytes.
static rlim_t data_size(void)
{
    size_t pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    CHECK_TRUE(file != NULL);
    CHECK_EQ(fscanf(file, "%*s %*s %*s %*s %*s %zu", &pages), 1);
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

TEST(cached_blocks_are_used_when_memory_is_short,
     "when the system has no more, the lists give their blocks up to be merged")
{
    static void *p[1 << 16];
    size_t n = 0;
    rlim_t most = data_size() + (64 << 20);
    struct rlimit limit = {most, most};

    CHECK_EQ(setrlimit(RLIMIT_DATA, &limit), 0);
    while ((p[n] = mm_malloc(2000)) != NULL)
        n++;
    CHECK_EQ(errno, ENOMEM);
    CHECK_GE(n, 1000);
    for (size_t i = 0; i < n; i++)
        mm_free(p[i]);
    struct mm_stats before = {0};
    counted(&before);
    errno = 0;
    void *large = mm_malloc(16 << 20);
    CHECK_NOT_NULL(large);
    CHECK_EQ(errno, 0);
    CHECK_GE(counted(&before).merges, n / 2);
    mm_free(large);
}

static void free_twice(void *p)
{
    mm_free(p);
    mm_free(p);
}

static void write_link(void *p)
{
    void *first = mm_malloc(100);
    mm_free(first);
    mm_free(p);
    *(void **)p = (char *)first + 1;
    mm_malloc(100);
}

TEST(cached_blocks_are_watched,
     "a second free of a cached block, and a write to its link, are noticed")
{
    void *p = mm_malloc(100);
    CHECK_LIST("class of 112",
               "112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112,"
               " 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112,"
               " 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112,"
               " 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112,"
               " 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112, 112,"
               " 112, 112, 112");
    CHECK_ABORTS(free_twice, p,
                 "mm: free(%p): double free (block %p, 112 "
                 "bytes)\n",
                 p, p);
    CHECK_ABORTS(write_link, p,
                 "mm: malloc(%p): something wrote to a block after it was"
                 " freed (block %p, 112 bytes)\n",
                 p, p);
    mm_free(p);
}
