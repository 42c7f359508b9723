// stages: 07
//
// mcache.c: what a thread has in stock of a class is a stack of addresses, of
// which the bottom goes back first.

#include "heap.h"

#include <unistd.h>

#include "blocks.h"
#include "child.h"
#include "test.h"

enum { MOST = 1000, LIMIT = 2 << 20 };
static void *blocks[MOST];

static const struct mcache_list *list_of(size_t size)
{
    return &mcache_mine()->lists[size_class_of(size)];
}

// check_stack checks that the stack holds just these objects, the last on top.
static void check_stack(size_t size, void *const *objects, size_t n)
{
    const struct mcache_list *list = list_of(size);
    CHECK_EQ(list->length, n);
    for (size_t i = 0; i < n; i++)
        CHECK_PTR_EQ(list->objects[i], objects[i]);
}

TEST(
    last_in_first_out,
    "malloc returns what the thread freed last, then what it freed before, down"
    " to the bottom of the stack")
{
    allocate(blocks, MOST, 1024);
    mcache_flush();
    CHECK_EQ(list_of(1024)->max_length, MAX_LIST_LENGTH);
    for (size_t i = 0; i < MAX_LIST_LENGTH; i++) {
        mm_free(blocks[i]);
        check_stack(1024, blocks, i + 1);
    }
    for (size_t i = MAX_LIST_LENGTH; i > 0; i--)
        CHECK_PTR_EQ(mm_malloc(1024), blocks[i - 1]);
    CHECK_EQ(list_of(1024)->length, 0);
    for (size_t i = 0; i < MOST; i++)
        mm_free(blocks[i]);
}

TEST(
    the_bottom_goes_back,
    "when the stack is full, the batch that lay there for the longest time goes"
    " back, the others stay in their order; what went back is free in its span")
{
    allocate(blocks, MOST, 1024);
    mcache_flush();
    for (size_t i = 0; i <= MAX_LIST_LENGTH; i++)
        mm_free(blocks[i]);
    check_stack(1024, blocks + 32, MAX_LIST_LENGTH - 32 + 1);
    for (size_t i = 0; i <= MAX_LIST_LENGTH; i++) {
        const struct mspan *s = span_of(blocks[i]);
        bool gone = s == NULL; // the whole span went back
        if (!gone) {
            size_t slot = mspan_object_index(s, blocks[i]);
            gone = (s->alloc_bits[slot / 64] >> slot % 64 & 1) == 0;
            CHECK_TRUE(!mspan_is_marked(s, blocks[i]));
        }
        CHECK_EQ(gone, i < 32);
    }
    CHECK_TRUE(mm_check());
    for (size_t i = MAX_LIST_LENGTH + 1; i < MOST; i++)
        mm_free(blocks[i]);
}

TEST(a_scavenged_stack_keeps_its_top,
     "when there is too much in stock, what goes back is the bottom of each"
     " stack; one may then be longer than it may become, and nothing is wrong")
{
    static void *large[100], *needed[62];
    allocate(blocks, 200, 8192);
    allocate(large, 100, 32768);
    mcache_flush();
    size_t n = 63, i = 0;
    for (size_t k = 0; k < n; k++)
        mm_free(blocks[k]);
    // Scavenged for the first time: all may have been needed.
    while (mcache_mine()->size < LIMIT)
        mm_free(large[i++]);
    mm_free(large[i++]);
    check_stack(8192, blocks, n);
    CHECK_EQ(list_of(8192)->low_water, n);
    while (i > 0)
        large[--i] = mm_malloc(32768);
    // All but one are needed, so one goes back.
    allocate(needed, n - 1, 8192);
    for (size_t k = n - 1; k > 0; k--) {
        CHECK_PTR_EQ(needed[n - 1 - k], blocks[k]);
        mm_free(blocks[n - k]);
    }
    check_stack(8192, blocks, n);
    CHECK_EQ(list_of(8192)->low_water, 1);
    while (mcache_mine()->size < LIMIT)
        mm_free(large[i++]);
    mm_free(large[i++]);
    check_stack(8192, blocks + 1, n - 1);
    CHECK_EQ(list_of(8192)->max_length, MAX_LIST_LENGTH - 8);
    CHECK_TRUE(mm_check());
    // One more, and a batch goes back.
    mm_free(blocks[n]);
    check_stack(8192, blocks + 9, n - 8);
    CHECK_TRUE(mm_check());
    for (size_t k = n + 1; k < 200; k++)
        mm_free(blocks[k]);
    while (i < 100)
        mm_free(large[i++]);
}

// ---------------------------------------------------------------------------
// The check.

static struct mcache_list *damaged;

static void check_cache(void *unused)
{
    (void)unused;
    _exit(mcache_check() ? 0 : 1);
}

TEST(check_finds_what_is_wrong,
     "mcache_check notices a block in stock that the program has, one of"
     " another class, no object, one that is there twice, one that its span"
     " may hand out again, and wrong sizes")
{
    static const char wrong[] = "I1 what is in a cache is free";
    void *small = mm_malloc(48);
    allocate(blocks, 100, 1024);
    for (size_t i = 0; i < 5; i++)
        mm_free(blocks[i]);
    struct mcache *mine = (struct mcache *)(uintptr_t)mcache_mine();
    damaged = &mine->lists[size_class_of(1024)];
    uint32_t n = damaged->length;
    CHECK_GE(n, 2);
    void **at = &damaged->objects[n - 2], *p = *at;
    CHECK_TRUE(mm_check());

    *at = blocks[9]; // in use
    CHECK_COMPLAINS(check_cache, NULL, wrong);
    *at = small;
    CHECK_COMPLAINS(check_cache, NULL, wrong);
    *at = (char *)p + 16;
    CHECK_COMPLAINS(check_cache, NULL, wrong);
    *at = &damaged; // not of this allocator
    CHECK_COMPLAINS(check_cache, NULL, wrong);
    *at = damaged->objects[n - 1];
    CHECK_COMPLAINS(check_cache, NULL, "I1 what is in a cache is there once");
    *at = p;
    CHECK_TRUE(mm_check());

    mspan_free(span_of(p), p); // another thread could take it
    CHECK_COMPLAINS(check_cache, NULL, "I1 what is in a cache is taken");
    CHECK_PTR_EQ(mspan_alloc(span_of(p)), p);
    CHECK_TRUE(mm_check());

    uint32_t low_water = damaged->low_water;
    damaged->low_water = n + 1;
    CHECK_COMPLAINS(check_cache, NULL, "I1 a list is not too long");
    damaged->low_water = low_water;

    mine->size += 16;
    CHECK_COMPLAINS(check_cache, NULL, "I2 size is the sum of the lists");
    mine->size -= 16;
    CHECK_TRUE(mm_check());

    mm_free(small);
    for (size_t i = 5; i < 100; i++)
        mm_free(blocks[i]);
}
