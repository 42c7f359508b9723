// mm.h - what every stage of the course promises, and what it is asked for.
//
// A stage is a complete allocator. It defines the functions of the second
// section, and common/mm_api.c builds the rest of the malloc family on top of
// them. Tests call the mm_ names; common/preload.c exports the same functions
// as malloc, free and so on, for real programs.
//
// All sizes are bytes. No function needs to be initialised first.

#ifndef MM_H
#define MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// Every block starts at a multiple of 16, whatever its size: the ABI promises
// it (it is the alignment of max_align_t), and compilers use it.
enum { MM_ALIGNMENT = 16 };
_Static_assert(_Alignof(max_align_t) <= MM_ALIGNMENT,
               "a block must be aligned for every C type");

// ---------------------------------------------------------------------------
// The malloc family. Failure is NULL with errno ENOMEM, unless said otherwise;
// then nothing has changed. Success leaves errno as it was.

// mm_malloc returns a block of at least size bytes with undefined contents.
// mm_malloc(0) returns a unique block. A size above PTRDIFF_MAX fails.
void *mm_malloc(size_t size);

// mm_free takes the block p back and keeps errno. mm_free(NULL) does nothing.
// A p that is not a live block is the caller's error: one line on stderr, then
// abort, where the stage can tell.
void mm_free(void *p);

// mm_malloc_noscan is mm_malloc for data that holds no pointers, and asks for
// no more alignment than it has a size: from 16 bytes on, the block is aligned
// as one of mm_malloc; below, at a multiple of 8, 4 or 2 if size is one. So a
// stage may pack such blocks. It need not: then it is mm_malloc. A block that
// mm_realloc leaves in its place keeps the alignment that it has.
void *mm_malloc_noscan(size_t size);

// mm_calloc returns a block for n objects of size bytes, all bytes zero up to
// the block's usable size. Fails if n * size overflows.
void *mm_calloc(size_t n, size_t size);

// mm_realloc returns a block of at least size bytes that begins with the
// contents of block p, and frees p; the block may be p itself. On failure p is
// still there, untouched. (NULL, n) is mm_malloc(n); (p, 0) frees p and
// returns NULL.
void *mm_realloc(void *p, size_t size);

// mm_reallocarray is mm_realloc(p, n * size), and fails if that overflows.
void *mm_reallocarray(void *p, size_t n, size_t size);

// mm_aligned_alloc returns a block that starts at a multiple of align. Fails
// with EINVAL if align is not a power of two. size is any number of bytes.
void *mm_aligned_alloc(size_t align, size_t size);

// mm_memalign is mm_aligned_alloc with align rounded up to a power of two.
// Fails with EINVAL if there is none that large.
void *mm_memalign(size_t align, size_t size);

// mm_posix_memalign stores such a block in *out and returns 0, or returns
// EINVAL (align is no power of two, or no multiple of sizeof(void *)) or
// ENOMEM, and leaves *out and errno alone.
int mm_posix_memalign(void **out, size_t align, size_t size);

// mm_valloc returns a block that starts on a page of the OS; mm_pvalloc also
// rounds its size up to whole pages (0: one page).
void *mm_valloc(size_t size);
void *mm_pvalloc(size_t size);

// mm_usable_size returns how many bytes of the live block p may be written: at
// least as many as were asked for, the same number as long as p lives.
// 0 for NULL. A stage that keeps no sizes (the first) returns 0 always.
size_t mm_usable_size(const void *p);

// mm_release gives free memory back to the OS and keeps pad bytes of it for
// the next calls. Returns whether any went back. (malloc_trim)
bool mm_release(size_t pad);

// ---------------------------------------------------------------------------
// What a stage defines: mm_malloc, mm_free, mm_walk, mm_check, mm_stats and

// mm_alloc_aligned returns a block as mm_malloc does, at a multiple of align,
// which is a power of two. align and size are each at most PTRDIFF_MAX.
void *mm_alloc_aligned(size_t align, size_t size);

// mm_block_size returns the usable size of the live block p. If p is not one,
// it reports that as an error of the function named call, and aborts.
size_t mm_block_size(const void *p, const char *call);

// mm_is_zero tells whether all bytes of the block p are zero that mm_malloc has
// just returned: if its memory is fresh from the OS, for one. A stage that does
// not know it has no such function: then the answer is no.
bool mm_is_zero(const void *p);

// mm_resize makes the live block p, whose size is too small or more than twice
// too large, one of at least size > 0 bytes, without moving it. Returns false
// if that is not possible; then nothing has changed. A stage may do without.
bool mm_resize(void *p, size_t size);

// mm_start_thread starts a thread that works for the allocator while the
// program does something else, or nothing. Called when a library is loaded, if
// the user wants it; a stage may have none.
void mm_start_thread(void);

// mm_lock_all takes every lock of the allocator in rank order, mm_unlock_all
// gives them back: around fork(). A stage without locks has neither.
void mm_lock_all(void);
void mm_unlock_all(void);

// mm_fork_child repairs, in the child of a fork, what threads that are not
// there left half done. Called by the only thread, without locks. A stage needs
// it only if its threads share anything without a lock.
void mm_fork_child(void);

// A stage may define any other function of the family, too, where its data
// structures can do better than mm_api.c.

// ---------------------------------------------------------------------------
// Looking inside.

enum mm_kind {
    MM_REGION, // memory obtained from the OS; the items after it lie in it
    MM_SPAN, // pages of a region; the blocks after it lie in it
    MM_BLOCK // what malloc hands out, with its header
};

enum mm_state {
    MM_USED, // handed out, or not distinguishable from it
    MM_FREE // will be handed out again
};

// One piece of memory, as mm_walk shows it. Lists are shown by their elements.
struct mm_item {
    enum mm_kind kind;
    enum mm_state state;
    bool released; // free, and takes no memory of the machine
    const void *addr; // first byte, header included
    size_t size; // all bytes, header included
    size_t header; // bytes at addr that are the allocator's own
    const char *list; // name of the list it is on; NULL: on none
    const void *owner; // where there are many of that name, whose it is
    bool first; // the list starts here
    const void *next; // addr of the element after it; NULL: the last
};

// mm_walk calls visit for every region, and after each region for its spans and
// blocks by rising address, a span before its blocks. Locks are held meanwhile,
// so visit must not call any function above, nor malloc.
typedef void mm_visit(const struct mm_item *item, void *ctx);
void mm_walk(mm_visit *visit, void *ctx);

// mm_check tests every invariant of the stage. Returns false after a line on
// stderr about the first that is broken. Takes time in the size of the heap.
bool mm_check(void);

// Counters since the program started. The same calls give the same numbers on
// every machine, locks_contended apart. A build with -DMM_COUNTERS=0 leaves
// all at 0, and they cost nothing there.
struct mm_stats {
    uint64_t mallocs; // blocks handed out
    uint64_t frees; // blocks taken back
    uint64_t bytes_in_use; // usable bytes of the live blocks
    uint64_t bytes_in_use_peak; // the most there ever were
    uint64_t bytes_from_os; // held at this moment, metadata included
    uint64_t bytes_from_os_peak; // the most there ever were
    uint64_t bytes_of_metadata; // of these: headers of live blocks, structs
    uint64_t bytes_reserved; // addresses that may become memory of the heap
    uint64_t sbrks; // system calls that moved the break
    uint64_t mmaps; // system calls of that name, and so on
    uint64_t munmaps;
    uint64_t madvises;
    uint64_t mprotects;
    uint64_t locks_taken;
    uint64_t locks_contended; // of those, how many had to wait
    uint64_t nodes_visited; // elements of lists or trees looked at
    uint64_t splits; // blocks cut in two
    uint64_t merges; // neighbours made one
    uint64_t span_allocs; // spans handed out by the page heap
    uint64_t span_frees; // and taken back
    uint64_t batches; // times that objects moved between a thread and all
    uint64_t batch_objects; // how many did
    uint64_t tiny_allocs; // blocks that share an object with an earlier one
};
void mm_stats(struct mm_stats *out);

// The names of the counters in the order of struct mm_stats.
enum { MM_STATS_COUNT = sizeof(struct mm_stats) / sizeof(uint64_t) };
extern const char *const mm_stats_names[MM_STATS_COUNT];

// mm_stats_value returns the counter with that index.
uint64_t mm_stats_value(const struct mm_stats *stats, size_t index);

#endif
