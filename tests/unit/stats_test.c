// stages: 01-
//
// stats.c: names and numbers of the counters are kept apart from the struct.

#include <stddef.h>
#include <string.h>

#include "test.h"

#define FIELD(name)                                                            \
    {                                                                          \
#name, offsetof(struct mm_stats, name)                                 \
    }

static const struct {
    const char *name;
    size_t offset;
} fields[] = {
    FIELD(mallocs),
    FIELD(frees),
    FIELD(bytes_in_use),
    FIELD(bytes_in_use_peak),
    FIELD(bytes_from_os),
    FIELD(bytes_from_os_peak),
    FIELD(bytes_of_metadata),
    FIELD(bytes_reserved),
    FIELD(sbrks),
    FIELD(mmaps),
    FIELD(munmaps),
    FIELD(madvises),
    FIELD(mprotects),
    FIELD(locks_taken),
    FIELD(locks_contended),
    FIELD(nodes_visited),
    FIELD(splits),
    FIELD(merges),
    FIELD(span_allocs),
    FIELD(span_frees),
    FIELD(batches),
    FIELD(batch_objects),
    FIELD(tiny_allocs),
};

TEST(every_counter_has_its_name,
     "mm_stats_names and mm_stats_value follow the order of struct mm_stats")
{
    struct mm_stats stats;
    for (size_t i = 0; i < MM_STATS_COUNT; i++)
        memcpy((char *)&stats + i * sizeof(uint64_t), &(uint64_t){i + 100},
               sizeof(uint64_t));

    CHECK_EQ(sizeof fields / sizeof *fields, MM_STATS_COUNT);
    for (size_t i = 0; i < MM_STATS_COUNT; i++) {
        CHECK_EQ(fields[i].offset, i * sizeof(uint64_t));
        CHECK_THAT(strcmp(mm_stats_names[i], fields[i].name) == 0,
                   "counter %zu: expected the name %s, got %s", i,
                   fields[i].name, mm_stats_names[i]);
        CHECK_EQ(mm_stats_value(&stats, i), i + 100);
    }
}
