// stages: 09-
//
// mtiny.c: mm_check names what is wrong with the parts of an object.

#include "heap.h"

#include <unistd.h>

#include "child.h"
#include "test.h"

static const uint32_t HELD = UINT32_C(1) << 31;

// word_at returns the word of the object that p lies in.
static _Atomic(uint32_t) *word_at(const void *p)
{
    const struct mspan *s = span_of(p);
    return &s->parts[(size_t)((const char *)p - s->start_addr) / TINY_SIZE];
}

// check_with changes the word of an object, in the child, for fork repairs some
// of it.
struct change {
    void *object;
    uint32_t word;
};
static void check_with(void *change)
{
    const struct change *c = change;
    *word_at(c->object) = c->word;
    _exit(mm_check() ? 0 : 1);
}

TEST(parts_of_a_free_object,
     "an object that is free has no parts, and is no thread's tiny block")
{
    char *p = mm_malloc_noscan(15), *q = mm_malloc_noscan(15);
    mm_free(q); // p is the tiny block, for it came first
    CHECK_TRUE(mm_check());
    for (unsigned bit = 0; bit < 32; bit++) {
        if (bit >= 16 && bit < 31) // where a part ends: these are left behind
            continue;
        struct change change = {q, UINT32_C(1) << bit};
        CHECK_COMPLAINS(check_with, &change, "I1 an object of parts is taken");
    }
    mm_free(p);
    CHECK_TRUE(mm_check());
}

TEST(parts_that_overlap, "no part begins before the one below it ends")
{
    char *p = mm_malloc_noscan(7);
    uint32_t word = *word_at(p);
    CHECK_EQ(word, HELD | UINT32_C(1) << (16 + 6) | 1);
    CHECK_TRUE(mm_check());
    for (unsigned bit = 1; bit < 7; bit++) {
        struct change change = {p, word | UINT32_C(1) << bit};
        CHECK_COMPLAINS(check_with, &change, "I2 parts do not overlap");
    }
    mm_free(p);
    CHECK_TRUE(mm_check());
}
