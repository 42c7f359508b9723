// stages: 06
//
// mlink.h, mcache.c, mcentral.c: whoever takes a free object off a list looks
// whether its links were written to meanwhile.

#include "heap.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "child.h"
#include "free_objects.h"
#include "mlink.h"
#include "test.h"

enum { MOST = 1000 };
static void *objects[5], *blocks[MOST];

// list_of returns what this thread has in stock of the class of size bytes.
static struct mcache_list list_of(size_t size)
{
    return mcache_mine()->lists[size_class_of(size)];
}

// ---------------------------------------------------------------------------
// In a central list.

static void take_damaged(void *p)
{
    unsigned c = size_class_of(1024);
    central_give(c, &p, 1);
    memset(p, 0, 16);
    struct mlink *list = NULL;
    mcentral_remove_range(c, &list, 2);
}

static void give_damaged(void *p)
{
    struct mlink *list = NULL;
    mlink_push(&list, objects[1]);
    mlink_push(&list, p);
    mlink_push(&list, objects[2]);
    memset(p, 0, 16);
    mcentral_insert_range(size_class_of(1024), list);
}

// try_locks says that no lock is held when the process aborts.
static void try_locks(int number)
{
    (void)number;
    static const char text[] = "no lock is held\n";
    mm_lock_all();
    if (write(STDERR_FILENO, text, sizeof text - 1) > 0)
        _exit(0);
}

static void give_damaged_with_handler(void *p)
{
    signal(SIGABRT, try_locks);
    give_damaged(p);
}

static void take_damaged_with_handler(void *p)
{
    signal(SIGABRT, try_locks);
    take_damaged(p);
}

TEST(damage_is_reported,
     "an object that was written to while it was free is reported when it is"
     " taken, and when it is brought back, without a lock")
{
    CHECK_EQ(central_take(size_class_of(1024), objects, 5), 5);
    void *p = objects[0];
    char said[2][200];
    for (size_t i = 0; i < 2; i++)
        snprintf(said[i], sizeof said[i],
                 "mm: %s(%p): something wrote to a block after it was freed"
                 " (block %p, 1024 bytes)\n",
                 i == 0 ? "malloc" : "free", p, p);
    CHECK_ABORTS(take_damaged, p, "%s", said[0]);
    CHECK_ABORTS(give_damaged, p, "%s", said[1]);
    strcat(said[0], "no lock is held\n");
    strcat(said[1], "no lock is held\n");
    CHECK_RETURNS(take_damaged_with_handler, p, said[0]);
    CHECK_RETURNS(give_damaged_with_handler, p, said[1]);
    central_give(size_class_of(1024), objects, 5);
}

// ---------------------------------------------------------------------------
// In a cache.

#define WRITTEN(call)                                                          \
    "mm: " call "(%p): something wrote to a block after it was freed"          \
    " (block %p, 1024 bytes)\n"

static void write_next(void *p)
{
    mm_free(p);
    ((char *)p)[3] ^= 1;
    mm_malloc(1000);
}

static void write_seal(void *p)
{
    mm_free(p);
    ((char *)p)[15] ^= 1;
    mm_malloc(1000);
}

static void write_second(void *p)
{
    mm_free(p);
    mm_free(blocks[1]);
    memset(p, 0, 1000);
    mm_malloc(1000);
    mm_malloc(1000);
}

static void write_in_central(void *p)
{
    mm_free(p);
    mcache_flush();
    memset(p, 0xFF, 1000);
    mm_malloc(1000);
}

static void write_before_flush(void *p)
{
    mm_free(p);
    mm_free(blocks[1]);
    memset(p, 0x11, 8);
    mcache_flush();
}

// write_before_batch frees blocks until one more would be too many. Then it
// writes to p, the last of the batch that goes back.
static void write_before_batch(void *p)
{
    size_t i = 0;
    while (list_of(1000).length < list_of(1000).max_length)
        mm_free(blocks[i++]);
    if (blocks[i - 32] != p)
        _exit(3);
    memset(p, 0, 16);
    mm_free(blocks[i]);
}

TEST(
    write_to_a_free_block,
    "a block that was written to after it was freed is reported when it is"
    " handed out, from the stock of the thread or the central list, and when it"
    " goes back")
{
    for (size_t i = 0; i < MOST; i++)
        blocks[i] = mm_malloc(1000);
    void *p = blocks[0];
    CHECK_ABORTS(write_next, p, WRITTEN("malloc"), p, p);
    CHECK_ABORTS(write_seal, p, WRITTEN("malloc"), p, p);
    CHECK_ABORTS(write_second, p, WRITTEN("malloc"), p, p);
    CHECK_ABORTS(write_in_central, p, WRITTEN("malloc"), p, p);
    CHECK_ABORTS(write_before_flush, p, WRITTEN("free"), p, p);
    p = blocks[list_of(1000).max_length - list_of(1000).length - 32];
    CHECK_ABORTS(write_before_batch, p, WRITTEN("free"), p, p);
    for (size_t i = 0; i < MOST; i++)
        mm_free(blocks[i]);
}
