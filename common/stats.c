// stats.c - the counters of mm_stats by name and number, for those who print.

#include <string.h>

#include "mm.h"

const char *const mm_stats_names[] = {
    "mallocs",
    "frees",
    "bytes_in_use",
    "bytes_in_use_peak",
    "bytes_from_os",
    "bytes_from_os_peak",
    "bytes_of_metadata",
    "bytes_reserved",
    "sbrks",
    "mmaps",
    "munmaps",
    "madvises",
    "mprotects",
    "locks_taken",
    "locks_contended",
    "nodes_visited",
    "splits",
    "merges",
    "span_allocs",
    "span_frees",
    "batches",
    "batch_objects",
    "tiny_allocs",
};

uint64_t mm_stats_value(const struct mm_stats *stats, size_t index)
{
    uint64_t value;
    memcpy(&value, (const char *)stats + index * sizeof value, sizeof value);
    return value;
}
