// tree_shape.h - the page allocator with a tree of another shape, beside that
// of the stage: a test defines TREE_SHAPE, and includes this file first.
//
// The sources are compiled once more, as a part of the test, and what they
// define has other names. Only page allocators of the test may be used with
// them: what they say of mheap.pages is about one of the usual shape. The lock
// and the counters of mheap are the same.

#ifndef UNIT_TREE_SHAPE_H
#define UNIT_TREE_SHAPE_H

#ifndef TREE_SHAPE
#error "define TREE_SHAPE, as mheap.h does"
#endif

#define addr_ranges_add shaped_addr_ranges_add
#define addr_ranges_check shaped_addr_ranges_check
#define addr_ranges_contains shaped_addr_ranges_contains
#define addr_ranges_find_addr_greater_equal                                    \
    shaped_addr_ranges_find_addr_greater_equal
#define addr_ranges_find_succ shaped_addr_ranges_find_succ
#define fill_aligned shaped_fill_aligned
#define find_bit_range64 shaped_find_bit_range64
#define merge_summaries shaped_merge_summaries
#define mm_start_thread shaped_mm_start_thread
#define pack_palloc_sum shaped_pack_palloc_sum
#define page_alloc_alloc shaped_page_alloc_alloc
#define page_alloc_alloc_range shaped_page_alloc_alloc_range
#define page_alloc_alloc_to_cache shaped_page_alloc_alloc_to_cache
#define page_alloc_check shaped_page_alloc_check
#define page_alloc_chunk shaped_page_alloc_chunk
#define page_alloc_count shaped_page_alloc_count
#define page_alloc_find shaped_page_alloc_find
#define page_alloc_free shaped_page_alloc_free
#define page_alloc_grow shaped_page_alloc_grow
#define page_alloc_is_scavenged shaped_page_alloc_is_scavenged
#define page_alloc_next_chunk shaped_page_alloc_next_chunk
#define page_alloc_scavenge shaped_page_alloc_scavenge
#define page_alloc_summary shaped_page_alloc_summary
#define page_alloc_sys_grow shaped_page_alloc_sys_grow
#define page_alloc_update shaped_page_alloc_update
#define page_bits_clear_range shaped_page_bits_clear_range
#define page_bits_popcnt_range shaped_page_bits_popcnt_range
#define page_bits_set_range shaped_page_bits_set_range
#define page_cache_alloc shaped_page_cache_alloc
#define page_cache_check shaped_page_cache_check
#define page_cache_flush shaped_page_cache_flush
#define palloc_bits_find shaped_palloc_bits_find
#define palloc_bits_summarize shaped_palloc_bits_summarize
#define palloc_data_find_scavenge_candidate                                    \
    shaped_palloc_data_find_scavenge_candidate
#define scavenge_after_free shaped_scavenge_after_free
#define scavenge_note_use shaped_scavenge_note_use
#define scavenge_all shaped_scavenge_all
#define scavenge_check shaped_scavenge_check
#define scavenge_index_clear shaped_scavenge_index_clear
#define scavenge_index_find shaped_scavenge_index_find
#define scavenge_index_has shaped_scavenge_index_has
#define scavenge_index_mark shaped_scavenge_index_mark
#define unpack_palloc_sum shaped_unpack_palloc_sum

#include "mgcscavenge.c"
#include "mpagealloc.c"
#include "mpagealloc_64bit.c"
#include "mpagecache.c"
#include "mpallocbits.c"
#include "mranges.c"

#endif
