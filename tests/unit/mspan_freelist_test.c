// stages: 05-06
//
// mspan.c: the free objects of a span are on a list that runs through them.

#include "heap.h"

#include <unistd.h>

#include "child.h"
#include "mlink.h"
#include "page_heap.h"
#include "test.h"

TEST(every_class_is_cut_into_as_many_as_fit,
     "a span of each class has as many objects as fit, all free, in order of"
     " address, each in the span")
{
    for (unsigned class = 2; class < NUM_SIZE_CLASSES; class ++) {
        struct mspan *s = take_cut(class_npages(class), class);
        size_t bytes = class_npages(class) * PAGE_SIZE;
        CHECK_EQ(s->sizeclass, class);
        CHECK_EQ(s->elemsize, class_size(class));
        CHECK_EQ(s->nelems, bytes / class_size(class));
        CHECK_EQ(s->alloc_count, 0);
        const struct mlink *o = s->freelist;
        for (size_t i = 0; i < s->nelems; i++, o = o->next) {
            CHECK_PTR_EQ(o, s->start_addr + i * class_size(class));
            CHECK_TRUE(mlink_is_sealed(o));
        }
        CHECK_NULL(o);
        CHECK_TRUE(mspan_check(s));
        give(s);
    }
}

TEST(class_0_is_one_object,
     "a span of no class is one object, as long as the span, handed out")
{
    for (size_t npages = 1; npages < 300; npages += 49) {
        struct mspan *s = take_cut(npages, 0);
        CHECK_EQ(s->nelems, 1);
        CHECK_EQ(s->alloc_count, 1);
        CHECK_EQ(s->elemsize, npages * PAGE_SIZE);
        CHECK_NULL(s->freelist);
        CHECK_TRUE(mspan_check(s));
        CHECK_TRUE(mspan_is_object(s, s->start_addr));
        CHECK_TRUE(!mspan_is_object(s, s->start_addr + PAGE_SIZE - 1));
        CHECK_TRUE(!mspan_is_object(s, mspan_end(s) - 16));
        give(s);
    }
}

static void check_it(void *s)
{
    _exit(mspan_check(s) ? 0 : 1);
}

TEST(check_finds_what_is_wrong,
     "mspan_check notices a wrong count, a lost object, one that is on the list"
     " twice, and one that was written to")
{
    struct mspan *s = take_cut(1, size_class_of(1024));
    CHECK_TRUE(mspan_check(s));
    s->alloc_count++;
    CHECK_COMPLAINS(check_it, s, "I1 what is not handed out is on freelist");
    s->alloc_count--;

    struct mlink *lost = mlink_pop(&s->freelist);
    CHECK_COMPLAINS(check_it, s, "I1 what is not handed out is on freelist");
    struct mlink *other = mlink_pop(&s->freelist);
    mlink_push(&s->freelist, lost);
    mlink_push(&s->freelist, other);
    mlink_push(&s->freelist, lost);
    CHECK_COMPLAINS(check_it, s, "I2");

    mspan_init_objects(s, s->sizeclass);
    s->start_addr[1024 * 3 + 3] ^= 1;
    CHECK_COMPLAINS(check_it, s, "I2 what is on freelist is a free object");
    s->start_addr[1024 * 3 + 3] ^= 1;
    CHECK_TRUE(mspan_check(s));

    mlink_push(&s->freelist, s->start_addr + 16);
    CHECK_COMPLAINS(check_it, s, "I2 what is on freelist is a free object");
    mspan_init_objects(s, s->sizeclass);
    s->nelems--;
    CHECK_COMPLAINS(check_it, s, "a span is cut into as many objects as fit");
    give(s);
}
