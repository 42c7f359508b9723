// malloc.c - a header in front of every block, and one list of all blocks.
//
// The header remembers how long its block is and whether it is free. malloc
// takes the first free block that is large enough; only if there is none, it
// moves the program break up. free marks the block, and moves the break down
// over free blocks at its end.
//
//     head                                   tail
//      v                                      v
//     |h| block |h| block |h|   block   |h| block |   not mapped
//                                                 the break
//
// Invariant  I1 The list holds all blocks by rising address, from head to tail.
//            I2 Blocks do not overlap, and lie between start and the break.
//            I3 Every header is sealed (header_is_sealed).
//            I4 Every block starts at a multiple of 16.
// Locking    global_malloc_lock guards everything: list, headers, counters.
// Source     K&R, The C Programming Language, 8.7, with a list of all blocks

#include "mm.h"

#include <errno.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"
#include "lock.h"

// The header stands directly below the block.
struct header {
    uint64_t size : 48; // bytes in the block, a multiple of 16, at least 16
    uint64_t seal : 15; // header_seal(h): this is a header, and not just data
    uint64_t is_free : 1;
    struct header *next; // the next header up; NULL: this is the tail
};
_Static_assert(sizeof(struct header) == MM_ALIGNMENT,
               "an aligned header must end where an aligned block starts");

static struct lock global_malloc_lock = LOCK_INIT("malloc", 0);

static struct header *head GUARDED_BY(global_malloc_lock);
static struct header *tail GUARDED_BY(global_malloc_lock);
static struct mm_stats stats GUARDED_BY(global_malloc_lock);

// header_seal returns the seal of a header at h. The address is part of it, so
// a copy elsewhere is no header; so is the size, so it cannot change unnoticed.
// Other data passes for a header once in 32768 times.
static uint64_t header_seal(const struct header *h)
{
    return ((uintptr_t)h >> 4 ^ h->size) * UINT64_C(0x9E3779B97F4A7C15) >> 49;
}

// header_is_sealed tells whether a header is at h, any address in the heap.
static bool header_is_sealed(const struct header *h)
{
    return padding_to(h, MM_ALIGNMENT) == 0 && h->seal == header_seal(h);
}

// block_of returns the block that follows the header h.
static void *block_of(const struct header *h)
{
    return (void *)(h + 1);
}

// block_end returns the first byte above the block of h.
static char *block_end(const struct header *h)
{
    return (char *)block_of(h) + h->size;
}

// header_init makes h the header of a free block of that size.
static void header_init(struct header *h, size_t size)
{
    h->size = size & ((UINT64_C(1) << 48) - 1);
    h->seal = header_seal(h) & 0x7FFF;
    h->is_free = true;
}

// fail reports a misuse, or damage that one left behind, without the lock.
static _Noreturn void fail(const char *call, const void *p, const char *what,
                           const struct header *h) RELEASES(global_malloc_lock)
{
    lock_release(&global_malloc_lock);
    mm_misuse(call, p, what, h == NULL ? NULL : block_of(h),
              h == NULL ? 0 : h->size);
}

// check_damage fails if something wrote over the header h.
static void check_damage(const char *call, const void *p,
                         const struct header *h) REQUIRES(global_malloc_lock)
{
    bool next_is_above = h < h->next && h->next <= tail;
    if (!header_is_sealed(h) || !(h == tail ? h->next == NULL : next_is_above))
        fail(call, p, "something wrote over the header of a block", h);
}

// header_of returns the header of the live block p. Anything else is a misuse
// of the function named call.
static struct header *header_of(const char *call, const void *p)
    REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    struct header *h = (struct header *)p - 1;

    // Outside the heap there may be no memory to read a header from.
    if (head == NULL || h < head || h > tail)
        fail(call, p, "not a block of this allocator", NULL);
    if (!header_is_sealed(h))
        fail(call, p, "no block starts here, or its header was damaged", NULL);
    if (h->is_free)
        fail(call, p, "double free", h);
    check_damage(call, p, h);
    if (h->next != NULL)
        check_damage(call, p, h->next); // the first victim of an overflow
    return h;
}

// get_free_block returns the first free block of at least size bytes at a
// multiple of align, or NULL.
static struct header *get_free_block(size_t align, size_t size)
    REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    for (struct header *h = head; h != NULL; h = h->next) {
        count(&stats.nodes_visited, 1);
        check_damage("malloc", block_of(h), h);
        if (h->is_free && h->size >= size &&
            padding_to(block_of(h), align) == 0)
            return h;
    }
    return NULL;
}

// move_break moves the program break by n bytes, up or down. Returns where it
// was; NULL, with errno ENOMEM, if the OS refuses.
static char *move_break(intptr_t n) REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    count(&stats.sbrks, 1);
    char *old_break = sbrk(n);
    if (old_break == (char *)-1)
        return NULL;
    count_level(&stats.bytes_from_os, &stats.bytes_from_os_peak,
                stats.bytes_from_os + (uint64_t)n);
    return old_break;
}

// append_block adds a free block of that size, whose header is at h, to the
// list as its tail. Returns h.
static struct header *append_block(struct header *h, size_t size)
    REQUIRES(global_malloc_lock)
{
    header_init(h, size);
    h->next = NULL;
    if (tail == NULL)
        head = h;
    else
        tail->next = h;
    tail = h;
    return h;
}

// grow adds a free block of size bytes at a multiple of align above the tail.
// Returns its header, or NULL with errno ENOMEM.
static struct header *grow(size_t align, size_t size)
    REQUIRES(global_malloc_lock)
{
    // Whoever else moves the break may leave it anywhere.
    char *old_break = sbrk(0);
    size_t lost = padding_to(old_break, MM_ALIGNMENT);
    size_t below = padding_to(old_break + lost + sizeof(struct header), align);
    if (below == sizeof(struct header))
        below += align; // a block of its own, of more than 0 bytes
    size_t n;
    if (__builtin_add_overflow(lost + below + sizeof(struct header), size,
                               &n) ||
        n > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    char *added = move_break((intptr_t)n);
    if (added == NULL)
        return NULL;

    struct header *h = (struct header *)(void *)(added + lost);
    if (below != 0) {
        append_block(h, below - sizeof *h);
        h = (struct header *)(void *)block_end(h);
    }
    return append_block(h, size);
}

static void *allocate(size_t align, size_t size)
{
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    // No two blocks may have the same address, so even 0 bytes take 16.
    size = round_up(size + (size == 0), MM_ALIGNMENT);

    lock_acquire(&global_malloc_lock);
    struct header *h = get_free_block(align, size);
    if (h == NULL)
        h = grow(align, size);
    if (h != NULL) {
        h->is_free = false;
        count(&stats.mallocs, 1);
        count_level(&stats.bytes_in_use, &stats.bytes_in_use_peak,
                    stats.bytes_in_use + h->size);
    }
    lock_release(&global_malloc_lock);
    return h == NULL ? NULL : block_of(h);
}

void *mm_malloc(size_t size)
{
    return allocate(MM_ALIGNMENT, size);
}

void *mm_alloc_aligned(size_t align, size_t size)
{
    return allocate(align, size);
}

// give_back_tail moves the break down over the free blocks that end at it. If
// the OS refuses, they stay. Keeps errno.
static void give_back_tail(void) REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    if (block_end(tail) != sbrk(0))
        return; // somebody else has memory above ours

    // The list leads only upwards, so finding the last block that stays takes
    // a walk from the head.
    struct header *new_tail = NULL;
    struct header *before = NULL;
    for (struct header *h = head; h != NULL; before = h, h = h->next) {
        count(&stats.nodes_visited, 1);
        if (!h->is_free)
            new_tail = h;
        else if (before != NULL && block_end(before) != (char *)h)
            new_tail = before; // between the two is memory of somebody else
    }

    struct header *first = new_tail == NULL ? head : new_tail->next;
    intptr_t n = block_end(tail) - (char *)first;
    int saved_errno = errno;
    if (move_break(-n) != NULL) {
        tail = new_tail;
        if (new_tail == NULL)
            head = NULL;
        else
            new_tail->next = NULL;
    }
    errno = saved_errno;
}

void mm_free(void *p)
{
    if (p == NULL)
        return;
    lock_acquire(&global_malloc_lock);
    struct header *h = header_of("free", p);
    h->is_free = true;
    count(&stats.frees, 1);
    count_level(&stats.bytes_in_use, &stats.bytes_in_use_peak,
                stats.bytes_in_use - h->size);
    if (h == tail)
        give_back_tail();
    lock_release(&global_malloc_lock);
}

size_t mm_block_size(const void *p, const char *call)
{
    lock_acquire(&global_malloc_lock);
    size_t size = header_of(call, p)->size;
    lock_release(&global_malloc_lock);
    return size;
}

void mm_lock_all(void) ACQUIRES(global_malloc_lock)
{
    lock_acquire(&global_malloc_lock);
}

void mm_unlock_all(void) RELEASES(global_malloc_lock)
{
    lock_release(&global_malloc_lock);
}

void mm_walk(mm_visit *visit, void *ctx)
{
    lock_acquire(&global_malloc_lock);
    if (head != NULL) {
        struct mm_item region = {
            .kind = MM_REGION,
            .addr = head,
            .size = (size_t)(block_end(tail) - (char *)head),
        };
        visit(&region, ctx);
    }
    for (const struct header *h = head; h != NULL; h = h->next) {
        struct mm_item block = {
            .kind = MM_BLOCK,
            .state = h->is_free ? MM_FREE : MM_USED,
            .addr = h,
            .size = sizeof *h + h->size,
            .header = sizeof *h,
            .list = "all blocks",
            .first = h == head,
            .next = h->next,
        };
        visit(&block, ctx);
    }
    lock_release(&global_malloc_lock);
}

// check_list is mm_check with the lock.
static bool check_list(void) REQUIRES(global_malloc_lock)
{
    uint64_t used = 0;
    const struct header *last = NULL;

    for (const struct header *h = head; h != NULL; last = h, h = h->next) {
        if (padding_to(block_of(h), MM_ALIGNMENT) != 0)
            return mm_complain("I4 blocks start at a multiple of 16", h);
        if (!header_is_sealed(h))
            return mm_complain("I3 every header is sealed", h);
        if (last != NULL && (char *)h < block_end(last))
            return mm_complain("I2 blocks do not overlap", h);
        if (!h->is_free)
            used += h->size;
    }
    if (last != tail)
        return mm_complain("I1 the list ends at the tail", last);
    if (tail != NULL && block_end(tail) > (char *)sbrk(0))
        return mm_complain("I2 all blocks lie below the break", tail);
    if (MM_COUNTERS && used != stats.bytes_in_use)
        return mm_complain("bytes_in_use is the sum of the used blocks", NULL);
    return true;
}

bool mm_check(void)
{
    lock_acquire(&global_malloc_lock);
    bool ok = check_list();
    lock_release(&global_malloc_lock);
    return ok;
}

void mm_stats(struct mm_stats *out)
{
    lock_acquire(&global_malloc_lock);
    *out = stats;
    out->bytes_of_metadata =
        (stats.mallocs - stats.frees) * sizeof(struct header);
    out->locks_taken = global_malloc_lock.taken;
    out->locks_contended = global_malloc_lock.contended;
    lock_release(&global_malloc_lock);
}
