// stages: 07-
//
// What a program finds in blocks that it has freed, and what it does to them:
// the allocator keeps nothing there, so there is nothing to damage, and nothing
// to damage it with.

#include <pthread.h>
#include <string.h>

#include "child.h"
#include "test.h"

// Sizes of which a span holds eight or more. Every fourth block is never freed,
// so that their spans stay.
static const size_t sizes[] = {16, 48, 144, 512, 1024, 3072};
enum { SIZES = sizeof sizes / sizeof *sizes, MOST = 2000 };
static char *blocks[MOST];
static size_t size;

static bool stays(size_t i)
{
    return i % 4 == 0;
}

static char pattern(size_t i, size_t at)
{
    return (char)(i * 31 + i / 256 + at * 7 + 1);
}

static void allocate(void)
{
    for (size_t i = 0; i < MOST; i++) {
        blocks[i] = mm_malloc(size);
        CHECK_NOT_NULL(blocks[i]);
        for (size_t at = 0; at < size; at++)
            blocks[i][at] = pattern(i, at);
    }
}

static void check_filled(size_t i)
{
    size_t at = 0;
    while (at < size && blocks[i][at] == pattern(i, at))
        at++;
    CHECK_THAT(at == size, "block %zu of %zu bytes: byte %zu was written to", i,
               size, at);
}

static void *free_most(void *unused)
{
    (void)unused;
    for (size_t i = 0; i < MOST; i++)
        if (!stays(i))
            mm_free(blocks[i]);
    return NULL;
}

// run runs body in another thread, and waits for its end: what it had in stock
// went back then.
static void run(void *(*body)(void *), void *argument)
{
    pthread_t thread;
    CHECK_EQ(pthread_create(&thread, NULL, body, argument), 0);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}

// index_of returns which of the blocks lies at p; MOST: none.
static size_t index_of(const char *p)
{
    size_t i = 0;
    while (i < MOST && blocks[i] != p)
        i++;
    return i;
}

static void free_rest(void)
{
    for (size_t i = 0; i < MOST; i++)
        mm_free(blocks[i]);
}

TEST(nothing_is_written_to_a_free_block,
     "a freed block keeps every byte: after free, after it went back from the"
     " thread, and until somebody else got it from malloc")
{
    for (size_t k = 0; k < SIZES; k++) {
        size = sizes[k];
        allocate();
        for (size_t i = 1; i < MOST; i += 2) {
            mm_free(blocks[i]);
            check_filled(i);
            blocks[i] = mm_malloc(size);
            for (size_t at = 0; at < size; at++)
                blocks[i][at] = pattern(i, at);
        }
        run(free_most, NULL);
        for (size_t i = 0; i < MOST; i++)
            check_filled(i);
        CHECK_TRUE(mm_check());
        size_t again = 0;
        static char *others[MOST];
        for (size_t i = 0; i < MOST; i++) {
            others[i] = mm_malloc(size);
            size_t old = index_of(others[i]);
            CHECK_TRUE(old == MOST || !stays(old));
            again += old < MOST;
            if (old < MOST)
                check_filled(old);
        }
        CHECK_GE(again, MOST / 2);
        for (size_t i = 0; i < MOST; i++) {
            mm_free(others[i]);
            if (stays(i))
                mm_free(blocks[i]);
        }
    }
}

// damage overwrites all blocks that are free.
static void damage(int byte)
{
    for (size_t i = 0; i < MOST; i++)
        if (!stays(i))
            memset(blocks[i], byte, size);
}

TEST(
    a_write_after_free_does_no_harm,
    "a program that overwrites blocks after it freed them damages nothing: what"
    " is in use stays, and every block that is handed out then is another")
{
    static const int bytes[] = {0, 0xFF, 0x55};
    for (size_t k = 0; k < SIZES; k++) {
        size = sizes[k];
        allocate();
        for (size_t round = 0; round < 3; round++) {
            // Some of them in the stock of this thread, some not.
            if (round == 1)
                run(free_most, NULL);
            else
                free_most(NULL);
            damage(bytes[round]);
            CHECK_TRUE(mm_check());
            for (size_t i = 0; i < MOST; i++)
                if (!stays(i)) {
                    blocks[i] = mm_malloc(size);
                    CHECK_NOT_NULL(blocks[i]);
                    for (size_t at = 0; at < size; at++)
                        blocks[i][at] = pattern(i, at);
                }
            for (size_t i = 0; i < MOST; i++)
                check_filled(i); // nobody else wrote there
        }
        free_rest();
        CHECK_TRUE(mm_check());
    }
}

// What is done to the block between its two frees.
static void overwrite_0(void *p)
{
    mm_free(p);
    memset(p, 0, size);
    mm_free(p);
}

static void overwrite_1(void *p)
{
    mm_free(p);
    memset(p, 0xFF, size);
    mm_free(p);
}

static void *free_it(void *p)
{
    mm_free(p);
    return NULL;
}

static void overwrite_free(void *p)
{
    memset(p, 0x55, size);
    mm_free(p);
}

static void overwrite_and_ask(void *p)
{
    mm_free(p);
    memset(p, 0, size);
    (void)mm_usable_size(p);
}

static void overwrite_and_realloc(void *p)
{
    mm_free(p);
    memset(p, 0, size);
    (void)mm_realloc(p, 1);
}

TEST(
    double_free_of_an_overwritten_block,
    "a block that is freed twice is reported, also if all of it was overwritten"
    " in between, and wherever it is then")
{
    for (size_t k = 0; k < SIZES; k++) {
        size = sizes[k];
        char *below = mm_malloc(size), *p = mm_malloc(size);
        char what[100];
        snprintf(what, sizeof what, "(%p): double free (block %p, %zu bytes)\n",
                 (void *)p, (void *)p, mm_usable_size(p));
        CHECK_ABORTS(overwrite_0, p, "mm: free%s", what);
        CHECK_ABORTS(overwrite_1, p, "mm: free%s", what);
        CHECK_ABORTS(overwrite_and_ask, p, "mm: malloc_usable_size%s", what);
        CHECK_ABORTS(overwrite_and_realloc, p, "mm: realloc%s", what);
        run(free_it, p);
        CHECK_ABORTS(overwrite_free, p, "mm: free%s", what);
        mm_free(below);
    }
}

// ---------------------------------------------------------------------------
// What mm_walk shows.

static pthread_barrier_t barrier;

static void *free_and_wait(void *unused)
{
    free_most(unused);
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    return NULL;
}

// count_used counts the blocks in use, of any size.
static void count_used(const struct mm_item *item, void *used)
{
    if (item->kind == MM_BLOCK && item->state == MM_USED)
        ++*(size_t *)used;
}

TEST(what_others_have_in_stock_is_free,
     "mm_walk shows the blocks that a program has as used, and no other: not"
     " those that any thread freed and has in stock")
{
    pthread_t thread;
    size_t before = 0, all = 0, rest = 0, after = 0;
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    mm_walk(count_used, &before);
    size = 48;
    allocate();
    mm_walk(count_used, &all);
    CHECK_EQ(all, before + MOST);
    CHECK_EQ(pthread_create(&thread, NULL, free_and_wait, NULL), 0);
    pthread_barrier_wait(&barrier);
    mm_walk(count_used, &rest);
    CHECK_EQ(rest, before + MOST / 4);
    for (size_t i = 0; i < MOST; i += 4)
        mm_free(blocks[i]);
    mm_walk(count_used, &after);
    CHECK_EQ(after, before);
    pthread_barrier_wait(&barrier);
    CHECK_EQ(pthread_join(thread, NULL), 0);
}
