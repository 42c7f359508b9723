// malloc.c - boundary tags: blocks are split, and merged with both neighbours.
//
// The size of a block stands at both of its ends: in its own header, and in
// the header above it. So both neighbours are found in one step. A free block
// that is too large is split; a block that becomes free is merged with its free
// neighbours at once. Free blocks are on a list of their own, whose links lie
// in the blocks themselves.
//
//     |h| block |h| block  |h| links ... free |h| block |h|   not mapped
//      ^ size    ^ prev_size                             ^ fence
//
// The last header is a fence: it has no block, and keeps the one below it from
// looking for a neighbour. Where somebody else moved the break, the fence
// covers their memory, and ours goes on above it.
//
// Invariant  I1 Headers and blocks fill the heap, from heap_start to heap_end.
//            I2 prev_size of every header is the size of the block below it.
//            I3 Every header is sealed (header_is_sealed).
//            I4 Every block starts at a multiple of 16.
//            I5 No two free blocks are neighbours.
//            I6 A block is on the free list exactly if it is free.
// Locking    global_malloc_lock guards everything: list, headers, counters.
// Source     Knuth, The Art of Computer Programming, vol. 1, 2.5, algorithm C;
//            D. Lea, A Memory Allocator

#include "mm.h"

#include <errno.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"
#include "lock.h"

// The header stands directly below the block.
struct header {
    size_t prev_size; // of the block below; SIZE_MAX: this header is the first
    uint64_t size : 48; // bytes in the block, a multiple of 16, at least 16
    uint64_t seal : 14; // header_seal(h): this is a header, and not just data
    uint64_t is_free : 1;
    uint64_t is_fence : 1; // with this word last, glibc's free refuses a block
};
_Static_assert(sizeof(struct header) == MM_ALIGNMENT,
               "an aligned header must end where an aligned block starts");

// What stands in a block while it is free.
struct links {
    struct header *next; // on the free list; NULL: the last
    struct header *prev; // NULL: the first
};
_Static_assert(sizeof(struct links) <= MM_ALIGNMENT,
               "the smallest block must have room for its links");

enum {
    GROW = 1 << 16, // the break moves by multiples of this: a rest can be split
    TRIM = 1 << 17, // and down only if this much is free at the end
};

static struct lock global_malloc_lock = LOCK_INIT("malloc", 0);

static struct header *heap_start GUARDED_BY(global_malloc_lock);
static char *heap_end GUARDED_BY(global_malloc_lock);
static struct header *free_list GUARDED_BY(global_malloc_lock);
static struct mm_stats stats GUARDED_BY(global_malloc_lock);

// header_seal returns the seal of a header at h. The address is part of it, so
// a copy elsewhere is no header; so is the size, so it cannot change unnoticed.
// Other data passes for a header once in 16384 times.
static uint64_t header_seal(const struct header *h)
{
    return ((uintptr_t)h >> 4 ^ h->size) * UINT64_C(0x9E3779B97F4A7C15) >> 50;
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

// above and below return the neighbours of h.
static struct header *above(const struct header *h)
{
    return (struct header *)(void *)block_end(h);
}

static struct header *below(const struct header *h)
{
    return (struct header *)(void *)((char *)h - h->prev_size) - 1;
}

static struct links *links_of(const struct header *h)
{
    return block_of(h);
}

// header_init makes h the header of a used block of that size, and tells the
// header above it, where there is one.
static void header_init(struct header *h, size_t size)
    REQUIRES(global_malloc_lock)
{
    h->size = size & ((UINT64_C(1) << 48) - 1);
    h->seal = header_seal(h) & 0x3FFF;
    h->is_free = false;
    h->is_fence = false;
    if (block_end(h) < heap_end)
        above(h)->prev_size = size;
}

// fail reports a misuse, or damage that one left behind, without the lock.
static _Noreturn void fail(const char *call, const void *p, const char *what,
                           const struct header *h) RELEASES(global_malloc_lock)
{
    lock_release(&global_malloc_lock);
    mm_misuse(call, p, what, h == NULL ? NULL : block_of(h),
              h == NULL ? 0 : h->size);
}

// in_heap tells whether there is room for a header at h and a block above it.
static bool in_heap(const struct header *h) REQUIRES(global_malloc_lock)
{
    return heap_start <= h && (char *)(h + 1) < heap_end;
}

// is_tagged tells whether h, in the heap, agrees with both of its neighbours.
static bool is_tagged(const struct header *h) REQUIRES(global_malloc_lock)
{
    size_t room_above = (size_t)(heap_end - (char *)h);
    size_t room_below = (size_t)((char *)h - (char *)heap_start);
    return header_is_sealed(h) && h->size + 2 * sizeof *h <= room_above &&
           header_is_sealed(above(h)) && above(h)->prev_size == h->size &&
           (h == heap_start ||
            (h->prev_size <= room_below - sizeof *h &&
             header_is_sealed(below(h)) && below(h)->size == h->prev_size));
}

// is_linked tells whether the free block h agrees with those before and after
// it on the list.
static bool is_linked(const struct header *h) REQUIRES(global_malloc_lock)
{
    const struct header *next = links_of(h)->next;
    const struct header *prev = links_of(h)->prev;
    return (next == NULL || (in_heap(next) && header_is_sealed(next) &&
                             links_of(next)->prev == h)) &&
           (prev == NULL ? free_list == h
                         : in_heap(prev) && header_is_sealed(prev) &&
                               links_of(prev)->next == h);
}

// check_damage fails if something wrote over the header h or its links.
static void check_damage(const char *call, const void *p,
                         const struct header *h) REQUIRES(global_malloc_lock)
{
    if (!in_heap(h) || !is_tagged(h))
        fail(call, p, "something wrote over the header of a block", h);
    if (h->is_free && !is_linked(h))
        fail(call, p, "something wrote to a block after it was freed", h);
}

// header_of returns the header of the live block p. Anything else is a misuse
// of the function named call.
static struct header *header_of(const char *call, const void *p)
    REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    struct header *h = (struct header *)p - 1;

    // Outside the heap there may be no memory to read a header from.
    if (!in_heap(h))
        fail(call, p, "not a block of this allocator", NULL);
    if (!header_is_sealed(h) || h->is_fence)
        fail(call, p, "no block starts here, or its header was damaged", NULL);
    if (h->is_free)
        fail(call, p, "double free", h);
    check_damage(call, p, h);
    return h;
}

// push_free makes h a free block and the first on the list.
static void push_free(struct header *h) REQUIRES(global_malloc_lock)
{
    h->is_free = true;
    *links_of(h) = (struct links){.next = free_list};
    if (free_list != NULL)
        links_of(free_list)->prev = h;
    free_list = h;
}

// unlink_free takes h, which check_damage has seen, off the list.
static void unlink_free(struct header *h) REQUIRES(global_malloc_lock)
{
    const struct links *links = links_of(h);
    if (links->next != NULL)
        links_of(links->next)->prev = links->prev;
    if (links->prev != NULL)
        links_of(links->prev)->next = links->next;
    else
        free_list = links->next;
}

// split makes the used block h end after size bytes, and frees the rest if it
// can hold a header and a block.
static void split(struct header *h, size_t size) REQUIRES(global_malloc_lock)
{
    size_t rest = h->size - size;
    if (rest < sizeof(struct header) + MM_ALIGNMENT)
        return;
    count(&stats.splits, 1);
    header_init(h, size);
    header_init(above(h), rest - sizeof(struct header));
    push_free(above(h));
}

// coalesce frees the used block h and makes it one with the free blocks next
// to it. Returns the header of the whole.
static struct header *coalesce(const char *call, struct header *h)
    REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    if (above(h)->is_free) {
        count(&stats.merges, 1);
        check_damage(call, block_of(h), above(h));
        unlink_free(above(h));
        header_init(h, h->size + sizeof *h + above(h)->size);
    }
    if (h != heap_start && below(h)->is_free) {
        count(&stats.merges, 1);
        struct header *low = below(h);
        check_damage(call, block_of(h), low);
        unlink_free(low);
        h->is_free = true; // stays behind, so that a second free is noticed
        header_init(low, low->size + sizeof *h + h->size);
        h = low;
    }
    push_free(h);
    return h;
}

// get_free_block takes the first block of at least size bytes off the free
// list. NULL: there is none.
static struct header *get_free_block(size_t size) REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    for (struct header *h = free_list; h != NULL; h = links_of(h)->next) {
        count(&stats.nodes_visited, 1);
        check_damage("malloc", block_of(h), h);
        if (h->size >= size) {
            unlink_free(h);
            h->is_free = false;
            return h;
        }
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

// end_heap makes a fence at the top of the heap, which ends at end.
static void end_heap(char *end) REQUIRES(global_malloc_lock)
{
    heap_end = end;
    struct header *fence = (struct header *)(void *)end - 1;
    header_init(fence, 0);
    fence->is_fence = true;
}

// grow adds memory to the heap, so that a free block of at least size bytes is
// the first on the list. Returns false, with errno ENOMEM, if the OS refuses.
static bool grow(size_t size) REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    // Whoever else moves the break may leave it anywhere.
    size_t lost = padding_to(sbrk(0), MM_ALIGNMENT);
    size_t n = lost + round_up(size + 2 * sizeof(struct header), GROW);
    if (n > PTRDIFF_MAX) {
        errno = ENOMEM;
        return false;
    }
    char *added = move_break((intptr_t)n);
    if (added == NULL)
        return false;

    struct header *h = (struct header *)(void *)(added + lost);
    struct header *fence = NULL; // that ends the heap so far
    if (heap_start != NULL)
        fence = (struct header *)(void *)heap_end - 1;
    bool contiguous = added == heap_end;
    end_heap(added + n);
    if (fence == NULL) {
        heap_start = h;
        h->prev_size = SIZE_MAX;
    } else if (contiguous) {
        h = fence; // becomes the header of the new block
    } else {
        header_init(fence, (size_t)((char *)h - (char *)(fence + 1)));
        fence->is_fence = true;
    }
    header_init(h, (size_t)(heap_end - (char *)(h + 2)));
    coalesce("malloc", h);
    return true;
}

// align_block makes the used block h start at a multiple of align, by cutting
// off and freeing what lies below. Returns the header of the rest.
static struct header *align_block(struct header *h, size_t align)
    REQUIRES(global_malloc_lock)
{
    size_t cut = padding_to(block_of(h), align);
    if (cut == 0)
        return h;
    if (cut == sizeof(struct header))
        cut += align; // a block of its own, of more than 0 bytes
    count(&stats.splits, 1);
    size_t size = h->size;
    header_init(h, cut - sizeof(struct header));
    header_init(above(h), size - cut);
    push_free(h);
    return above(h);
}

static void *allocate(size_t align, size_t size)
{
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    // No two blocks may have the same address, so even 0 bytes take 16.
    size = round_up(size + (size == 0), MM_ALIGNMENT);

    // A block that is too long by this much can be cut to start aligned.
    size_t room =
        align == MM_ALIGNMENT ? size : size + align + sizeof(struct header);

    lock_acquire(&global_malloc_lock);
    struct header *h = get_free_block(room);
    if (h == NULL && grow(room))
        h = get_free_block(room);
    if (h != NULL) {
        h = align_block(h, align);
        split(h, size);
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

// give_back_tail moves the break down over the free block h, if it is large and
// ends there. At least GROW bytes stay. If the OS refuses, all stay. Keeps
// errno.
static void give_back_tail(struct header *h) REQUIRES(global_malloc_lock)
{
    assert_lock_held(&global_malloc_lock);
    if (h->size < TRIM || (char *)(above(h) + 1) != heap_end ||
        heap_end != sbrk(0))
        return;

    size_t n = (h->size - GROW) / GROW * GROW;
    int saved_errno = errno;
    if (move_break(-(intptr_t)n) != NULL) {
        end_heap(heap_end - n);
        header_init(h, h->size - n);
        h->is_free = true;
    }
    errno = saved_errno;
}

void mm_free(void *p)
{
    if (p == NULL)
        return;
    lock_acquire(&global_malloc_lock);
    struct header *h = header_of("free", p);
    count(&stats.frees, 1);
    count_level(&stats.bytes_in_use, &stats.bytes_in_use_peak,
                stats.bytes_in_use - h->size);
    give_back_tail(coalesce("free", h));
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

// next_header returns the header above h, or NULL if h ends the heap.
static const struct header *next_header(const struct header *h)
    REQUIRES(global_malloc_lock)
{
    return block_end(h) < heap_end ? above(h) : NULL;
}

void mm_walk(mm_visit *visit, void *ctx)
{
    lock_acquire(&global_malloc_lock);
    if (heap_start != NULL) {
        struct mm_item region = {
            .kind = MM_REGION,
            .addr = heap_start,
            .size = (size_t)(heap_end - (char *)heap_start),
        };
        visit(&region, ctx);
    }
    for (const struct header *h = heap_start; h != NULL; h = next_header(h)) {
        struct mm_item block = {
            .kind = MM_BLOCK,
            .state = h->is_free ? MM_FREE : MM_USED,
            .addr = h,
            .size = sizeof *h + (h->is_fence ? 0 : h->size),
            .header = sizeof *h,
            .list = h->is_free ? "free blocks" : NULL,
            .first = h == free_list,
            .next = h->is_free ? links_of(h)->next : NULL,
        };
        visit(&block, ctx);
    }
    lock_release(&global_malloc_lock);
}

// check_tags tests the invariants of the headers, and counts the free blocks.
static bool check_tags(size_t *n_free) REQUIRES(global_malloc_lock)
{
    uint64_t used = 0;
    const struct header *last = NULL;

    *n_free = 0;
    for (const struct header *h = heap_start; h != NULL;
         last = h, h = next_header(h)) {
        if (padding_to(block_of(h), MM_ALIGNMENT) != 0)
            return mm_complain("I4 blocks start at a multiple of 16", h);
        if (!header_is_sealed(h))
            return mm_complain("I3 every header is sealed", h);
        if (last != NULL && h->prev_size != last->size)
            return mm_complain("I2 both tags of a block are the same", h);
        if (last != NULL && h->is_free && last->is_free)
            return mm_complain("I5 no two free blocks are neighbours", h);
        *n_free += h->is_free;
        if (!h->is_free && !h->is_fence)
            used += h->size;
    }
    if (last != NULL && (block_end(last) != heap_end || !last->is_fence))
        return mm_complain("I1 a fence ends the heap", last);
    if (heap_end > (char *)sbrk(0))
        return mm_complain("I1 the heap ends below the break", heap_end);
    if (MM_COUNTERS && used != stats.bytes_in_use)
        return mm_complain("bytes_in_use is the sum of the used blocks", NULL);
    return true;
}

// check_list is mm_check with the lock.
static bool check_list(void) REQUIRES(global_malloc_lock)
{
    size_t n_free;
    if (!check_tags(&n_free))
        return false;
    for (const struct header *h = free_list; h != NULL; h = links_of(h)->next) {
        if (!in_heap(h) || !h->is_free || !is_linked(h))
            return mm_complain("I6 what is on the list is free", h);
        if (n_free-- == 0)
            return mm_complain("I6 nothing is on the list twice", h);
    }
    if (n_free != 0)
        return mm_complain("I6 what is free is on the list", NULL);
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
