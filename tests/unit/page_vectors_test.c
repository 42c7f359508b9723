// stages: 10-
//
// The page heap against the Go runtime: recorded operations, replayed. What a
// stage does not have is not applicable; how much that is, is told here for
// each file and stage. See more: make replay-13

#include "replay/replay.h"

#include "test.h"

// What becomes of a file on the stages up to one: how many operations are
// performed, and how many lines are checked. All others are not applicable.
struct share {
    unsigned last_stage;
    size_t operations, checked;
};

enum { SHARES = 4 };

static void check_file(const char *path, size_t lines,
                       const struct share shares[SHARES])
{
    static struct replay r;
    const struct share *share = shares;
    while (share->last_stage < replay_stage)
        share++;

    replay_file(&r, path);
    const size_t *counted = r.sum.lines;
    CHECK_EQ(r.sum.mismatches, 0);
    CHECK_EQ(r.sum.operations, share->operations);
    CHECK_EQ(counted[CHECKED] + counted[IN_PART], share->checked);
    CHECK_EQ(counted[UNDONE], 0);
    CHECK_EQ(counted[CHECKED] + counted[IN_PART] + counted[LATER] +
                 counted[AFTER_LATER] + counted[NEVER],
             lines);
    CHECK_EQ(r.v.number, lines);
    if (replay_stage >= 13)
        CHECK_EQ(counted[IN_PART] + counted[LATER] + counted[AFTER_LATER], 0);
}

#define FILE_TEST(name, lines, sentence, ...)                                  \
    TEST(name, sentence)                                                       \
    {                                                                          \
        static const struct share shares[SHARES] = {__VA_ARGS__};              \
        check_file("tests/vectors/" #name ".txt.xz", lines, shares);           \
    }

enum { EVER = 99 };

FILE_TEST(palloc_bits, 23030,
          "in the bitmap of a chunk, the same runs are found as in Go",
          {10, 15142, 16130}, {EVER, 21342, 23030})

FILE_TEST(palloc_sum, 2017, "summaries are packed and merged as in Go",
          {12, 0, 2}, {EVER, 2015, 2017})

FILE_TEST(page_alloc, 386053,
          "the same pages are taken as in Go, and from 11 on all bits are the"
          " same, from 13 on all summaries and search addresses, too",
          {10, 356681, 357362}, {12, 356681, 357670}, {EVER, 356681, 386053})

FILE_TEST(page_cache, 31837,
          "the caches of pages are filled, used and flushed as in Go",
          {10, 7, 84}, {11, 7, 84}, {12, 24549, 25126}, {EVER, 24549, 31837})

FILE_TEST(scavenge, 30933,
          "the same pages are scavenged as in Go, in the same order",
          {10, 10707, 11308}, {11, 12935, 18212}, {12, 18577, 24725},
          {EVER, 18577, 30933})

FILE_TEST(scav_index, 1693,
          "the index leads to the same chunk as in Go, from the top",
          {10, 0, 2}, {EVER, 1667, 1693})

FILE_TEST(addr_ranges, 1447, "ranges of addresses are kept as in Go",
          {12, 0, 2}, {EVER, 937, 1409})
