// stages: 05-06
//
// mlink.h: a list of free objects, whose links are sealed.

#include "mlink.h"

#include <string.h>

#include "heap.h"
#include "test.h"

enum { N = 20, SIZE = 48 };
static _Alignas(16) char objects[N][SIZE];

TEST(last_in_first_out, "objects come off the list in the opposite order")
{
    struct mlink *list = NULL;
    for (size_t i = 0; i < N; i++) {
        mlink_push(&list, objects[i]);
        CHECK_PTR_EQ(list, objects[i]);
    }
    for (size_t i = N; i > 0; i--)
        CHECK_PTR_EQ(mlink_pop(&list), objects[i - 1]);
    CHECK_NULL(list);
}

TEST(sealed_on_the_list_only,
     "an object is sealed while it is on a list, and not when it is taken off")
{
    struct mlink *list = NULL;
    CHECK_TRUE(!mlink_is_sealed(objects[0]));
    for (size_t i = 0; i < N; i++)
        mlink_push(&list, objects[i]);
    for (size_t i = 0; i < N; i++)
        CHECK_TRUE(mlink_is_sealed(objects[i]));
    for (size_t i = N; i > 0; i--) {
        mlink_pop(&list);
        CHECK_TRUE(!mlink_is_sealed(objects[i - 1]));
    }
}

TEST(every_changed_bit_breaks_the_seal,
     "whichever bit of the first two words of a free object is changed, it is"
     " noticed")
{
    struct mlink *list = NULL;
    mlink_push(&list, objects[0]);
    mlink_push(&list, objects[1]);
    for (size_t i = 0; i < 2; i++)
        for (size_t bit = 0; bit < 8 * sizeof(struct mlink); bit++) {
            char *byte = &objects[i][bit / 8];
            char flip = (char)(1 << bit % 8);
            *byte = (char)(*byte ^ flip);
            CHECK_THAT(!mlink_is_sealed(objects[i]), "object %zu, bit %zu", i,
                       bit);
            *byte = (char)(*byte ^ flip);
            CHECK_TRUE(mlink_is_sealed(objects[i]));
        }
}

TEST(a_seal_belongs_to_its_object,
     "the bytes of a free object, copied to another, are no seal there; neither"
     " are bytes that are all the same")
{
    struct mlink *list = NULL;
    mlink_push(&list, objects[0]);
    for (size_t i = 1; i < N; i++) {
        memcpy(objects[i], objects[0], SIZE);
        CHECK_TRUE(!mlink_is_sealed(objects[i]));
    }
    for (int byte = 0; byte < 256; byte++) {
        memset(objects[1], byte, SIZE);
        CHECK_TRUE(!mlink_is_sealed(objects[1]));
    }
}

TEST(only_two_words_are_written,
     "a list uses the first 16 bytes of an object, and leaves the others")
{
    struct mlink *list = NULL;
    CHECK_EQ(sizeof(struct mlink), MM_ALIGNMENT);
    memset(objects, 0x5A, sizeof objects);
    for (size_t i = 0; i < N; i++)
        mlink_push(&list, objects[i]);
    for (size_t i = 0; i < N; i++)
        mlink_pop(&list);
    for (size_t i = 0; i < N; i++)
        for (size_t k = sizeof(struct mlink); k < SIZE; k++)
            CHECK_EQ(objects[i][k], 0x5A);
}
