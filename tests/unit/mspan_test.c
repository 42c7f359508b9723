// stages: 05-07
//
// mspan.c: where the objects of a span are, and lists of spans.

#include "heap.h"

#include "page_heap.h"
#include "test.h"

TEST(as_many_as_fit,
     "a span of each class is cut into as many objects as fit; that of no class"
     " is one object, as long as the span")
{
    for (unsigned class = 1; class < NUM_SIZE_CLASSES; class ++) {
        if (class_size(class) < MM_ALIGNMENT)
            continue; // some stages have no room for links there
        struct mspan *s = take_cut(class_npages(class), class);
        CHECK_EQ(s->sizeclass, class);
        CHECK_EQ(s->elemsize, class_size(class));
        CHECK_EQ(s->nelems, class_npages(class) * PAGE_SIZE / s->elemsize);
        CHECK_TRUE(mspan_check(s));
        give(s);
    }
    for (size_t npages = 1; npages < 300; npages += 49) {
        struct mspan *s = take_cut(npages, 0);
        CHECK_EQ(s->sizeclass, 0);
        CHECK_EQ(s->elemsize, npages * PAGE_SIZE);
        CHECK_EQ(s->nelems, 1);
        CHECK_TRUE(mspan_check(s));
        CHECK_TRUE(mspan_is_object(s, s->start_addr));
        CHECK_TRUE(!mspan_is_object(s, s->start_addr + 1));
        CHECK_TRUE(!mspan_is_object(s, s->start_addr + PAGE_SIZE - 1));
        CHECK_TRUE(!mspan_is_object(s, mspan_end(s) - 16));
        give(s);
    }
}

TEST(objects_start_at_multiples_of_their_size,
     "of all bytes of a span, objects start at the multiples of their size, but"
     " not in what is left over at the end")
{
    static const size_t sizes[] = {16, 48, 1152, 5376, 9472, 27264};
    for (size_t i = 0; i < 6; i++) {
        unsigned class = size_class_of(sizes[i]);
        struct mspan *s = take_cut(class_npages(class), class);
        size_t n = 0;
        for (char *p = s->start_addr; p < mspan_end(s); p++) {
            size_t offset = (size_t)(p - s->start_addr);
            bool is_start = offset % sizes[i] == 0 &&
                            offset + sizes[i] <= s->npages * PAGE_SIZE;
            CHECK_EQ(mspan_is_object(s, p), is_start);
            n += is_start;
        }
        CHECK_EQ(n, s->nelems);
        give(s);
    }
}

// is_list tells whether the list holds just these spans, and their links agree.
static bool is_list(const struct mspan_list *list, struct mspan *const *spans,
                    size_t n)
{
    const struct mspan *prev = NULL, *s = list->first;
    for (size_t i = 0; i < n; i++, prev = s, s = s->next)
        if (s != spans[i] || s->prev != prev)
            return false;
    return s == NULL;
}

TEST(lists_of_spans,
     "a span goes first on a list, and comes off it from wherever it is")
{
    struct mspan a = {0}, b = {0}, c = {0};
    struct mspan_list list = {0};
    mspan_list_insert(&list, &a);
    CHECK_TRUE(is_list(&list, (struct mspan *[]){&a}, 1));
    mspan_list_insert(&list, &b);
    mspan_list_insert(&list, &c);
    CHECK_TRUE(is_list(&list, (struct mspan *[]){&c, &b, &a}, 3));
    mspan_list_remove(&list, &b);
    CHECK_TRUE(b.prev == NULL && b.next == NULL);
    CHECK_TRUE(is_list(&list, (struct mspan *[]){&c, &a}, 2));
    mspan_list_insert(&list, &b);
    mspan_list_remove(&list, &b); // the first
    CHECK_TRUE(is_list(&list, (struct mspan *[]){&c, &a}, 2));
    mspan_list_remove(&list, &a); // the last
    CHECK_TRUE(is_list(&list, (struct mspan *[]){&c}, 1));
    mspan_list_remove(&list, &c); // the only one
    CHECK_TRUE(is_list(&list, NULL, 0));
}
