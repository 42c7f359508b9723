// spanset.c - a set of spans, which threads push and pop without a lock.
//
// A set is a queue. Its positions are numbered in the order of the pushes; head
// is the next one to be popped, tail the next one to be pushed, and both are in
// one word, index. The entries of 512 positions are in a block, and the spine
// is a ring of blocks: with a capacity of 256, block 300 is in place 44.
//
//                   head                     tail
//                   1400                     2100
//                   |--- spans of the set ---|
//      | block 2         | block 3         | block 4         |
//      1024              1536              2048              2560
//
// A push first makes sure that its entry exists, then claims the position, and
// then stores the span. A pop first looks at the entry, then claims the
// position, and then clears the entry. To claim is one compare-and-swap of
// index: of several threads that try, one gets the position.
//
// So a thread that stops in the middle, or is missing in the child of a fork,
// makes nobody wait. While an entry is claimed but empty, a pop says that there
// is nothing, and what lies behind it has to wait.
//
// Invariant  I1 The positions from head up to tail, and no others, are those of
//               the set: their entries are not NULL, except while a push is
//               under way. Other entries are NULL, except while a pop is.
//            I2 Blocks below spine_len were added; tail is in one of them, or
//               the first position behind the last.
//            I3 A block is in place (number % capacity) of the spine from when
//               it was added until head is behind it, at least.
//            I4 A block is given back when each of its 512 entries was pushed,
//               popped and cleared; popped tells how many were.
// Old reads  Between reading index and claiming, others may do anything. But
//            head and tail never step back: a claim succeeds only if there was
//            no push or pop meanwhile, and then the block of the position was
//            in its place all the time. Else what was read is not used. It was
//            safe to read: blocks stay blocks (fixalloc.c), and old spines
//            stay. These cost little: together less than the spine in use,
//            which has 8 bytes for 512 spans. (A thread that stood still here
//            for exactly 2^32 pushes would be fooled.)
// Wrapping   Numbers of positions go on from 0 after 2^32 - 1, those of blocks
//            after 2^23 - 1; only their differences mean something. A capacity
//            is a power of two, so places go on without a gap.
// Locking    Blocks are added and removed, and the spine grows, under
//            mheap.lock, which push and pop take themselves: once in 512.
// Go         mspanset.go, which a collection resets: so there the spine is no
//            ring, and index does not wrap

#include "heap.h"

#include <errno.h>
#include <stdatomic.h>

#include "bits.h"
#include "check.h"

enum {
    SPAN_SET_INIT_SPINE_CAP = 256,
    MAX_SPINE_CAP = 1 << 22, // then the set holds 16 TiB of spans
};
_Static_assert(MAX_SPINE_CAP < (1ull << 32) / SPAN_SET_BLOCK_ENTRIES,
               "a full set and an empty one differ");
_Static_assert(offsetof(struct span_set_block, spans) >= sizeof(void *),
               "the link in a free block spares its entries: they stay NULL");

// The parts of an index.
static uint32_t head_of(uint64_t index)
{
    return (uint32_t)(index >> 32);
}

static uint32_t tail_of(uint64_t index)
{
    return (uint32_t)index;
}

static uint64_t load_index(const struct span_set *set)
{
    // acquire: pairs with the release in claim. Who sees tail behind a position
    // sees its block, too.
    return atomic_load_explicit(&set->index, memory_order_acquire);
}

// claim sets index to (head, tail) if it is still *index. Else it returns false
// and stores there what it is.
//
// Go: func makeHeadTailIndex (mspanset.go)
static bool claim(struct span_set *set, uint64_t *index, uint32_t head,
                  uint32_t tail)
{
    // release: pairs with the acquire here, and in load_index
    return atomic_compare_exchange_weak_explicit(
        &set->index, index, (uint64_t)head << 32 | tail, memory_order_acq_rel,
        memory_order_acquire);
}

static struct span_set_spine *load_spine(const struct span_set *set)
{
    // acquire: pairs with the release in grow_spine
    return atomic_load_explicit(&set->spine, memory_order_acquire);
}

// load_block returns what is in the place of a block, store_block changes it.
static struct span_set_block *load_block(struct span_set_spine *spine,
                                         uint32_t number)
{
    // acquire: pairs with the release in store_block
    return atomic_load_explicit(&spine->blocks[number & (spine->capacity - 1)],
                                memory_order_acquire);
}

static void store_block(struct span_set_spine *spine, uint32_t number,
                        struct span_set_block *block)
{
    // release: pairs with the acquire in load_block
    atomic_store_explicit(&spine->blocks[number & (spine->capacity - 1)], block,
                          memory_order_release);
}

// The block of a position, and its entry in there.
static uint32_t number_of(uint32_t position)
{
    return position / SPAN_SET_BLOCK_ENTRIES;
}

static _Atomic(struct mspan *) *entry_of(struct span_set_block *block,
                                         uint32_t position)
{
    return &block->spans[position % SPAN_SET_BLOCK_ENTRIES];
}

// first_missing returns the first position that no block was added for.
static uint32_t first_missing(const struct span_set *set)
{
    // acquire: pairs with the release in add_block
    return atomic_load_explicit(&set->spine_len, memory_order_acquire) *
           SPAN_SET_BLOCK_ENTRIES;
}

// grow_spine replaces the spine by one with twice as many places. Returns it;
// NULL, with errno ENOMEM, if there is no memory.
static struct span_set_spine *grow_spine(struct span_set *set)
    REQUIRES(mheap.lock)
{
    struct span_set_spine *spine = NULL, *old = load_spine(set);
    uint32_t capacity = old == NULL ? 0 : old->capacity;
    uint32_t more = old == NULL ? SPAN_SET_INIT_SPINE_CAP : 2 * capacity;
    size_t size = sizeof *spine + more * sizeof spine->blocks[0];

    assert_lock_held(&mheap.lock);
    if (more > MAX_SPINE_CAP)
        errno = ENOMEM;
    else if (size <= PAGE_SIZE)
        spine = persistent_alloc(size);
    else {
        size = round_up(size, PAGE_SIZE);
        spine = sys_alloc(size);
        count(&mheap.stats.bytes_of_metadata, spine != NULL ? size : 0);
    }
    if (spine == NULL)
        return NULL;
    spine->capacity = more;
    uint32_t end = number_of(first_missing(set));
    for (uint32_t number = end - capacity; number != end; number++)
        store_block(spine, number, load_block(old, number));
    // release: pairs with the acquire in load_spine
    atomic_store_explicit(&set->spine, spine, memory_order_release);
    return spine;
}

// add_block adds the block that begins at position, if no other thread was
// faster. Returns false, with errno ENOMEM, if there is no memory; then no more
// than the capacity has changed.
static bool add_block(struct span_set *set, uint32_t position)
{
    uint32_t number = number_of(position);
    struct span_set_block *block = NULL;

    lock_acquire(&mheap.lock);
    bool missing = first_missing(set) == position;
    if (missing) {
        struct span_set_spine *spine = load_spine(set);
        // Is head still in the block that has the place?
        if (spine == NULL || position - head_of(load_index(set)) >
                                 (spine->capacity - 1) * SPAN_SET_BLOCK_ENTRIES)
            spine = grow_spine(set);
        if (spine != NULL)
            block = fixalloc_alloc(&mheap.blockalloc);
        if (block != NULL) {
            atomic_store_explicit(&block->popped, 0, memory_order_relaxed);
            store_block(spine, number, block);
            // release: pairs with the acquire in first_missing
            atomic_store_explicit(&set->spine_len, number + 1,
                                  memory_order_release);
        }
    }
    lock_release(&mheap.lock);
    return !missing || block != NULL;
}

// remove_block gives back a block that is done with. Its place may have been
// given to another meanwhile.
static void remove_block(struct span_set *set, uint32_t number,
                         struct span_set_block *block) REQUIRES(mheap.lock)
{
    assert_lock_held(&mheap.lock);
    if (load_block(load_spine(set), number) == block)
        store_block(load_spine(set), number, NULL);
    fixalloc_free(&mheap.blockalloc, block);
}

// Go: func (b *spanSet) push (mspanset.go)
//
// Unlike Go: makes sure of the block first, and may fail.
bool span_set_push(struct span_set *set, struct mspan *s)
{
    uint64_t index = load_index(set);
    for (;;) {
        uint32_t tail = tail_of(index);
        if (tail == first_missing(set)) {
            if (!add_block(set, tail))
                return false;
            index = load_index(set);
            continue;
        }
        struct span_set_block *block =
            load_block(load_spine(set), number_of(tail));
        if (claim(set, &index, head_of(index), tail + 1)) {
            // release: pairs with the acquire in span_set_pop
            atomic_store_explicit(entry_of(block, tail), s,
                                  memory_order_release);
            return true;
        }
    }
}

// Go: func (b *spanSet) pop (mspanset.go)
//
// Unlike Go: looks at the entry first, and does not wait for it.
struct mspan *span_set_pop(struct span_set *set)
{
    uint64_t index = load_index(set);
    struct span_set_block *block;
    struct mspan *s;
    uint32_t head;
    do {
        head = head_of(index);
        if (head == tail_of(index))
            return NULL;
        block = load_block(load_spine(set), number_of(head));
        // acquire: pairs with the release in span_set_push
        s = block == NULL ? NULL
                          : atomic_load_explicit(entry_of(block, head),
                                                 memory_order_acquire);
        if (s == NULL) {
            index = load_index(set);
            if (head_of(index) == head)
                return NULL; // its push is under way
        }
    } while (s == NULL || !claim(set, &index, head + 1, tail_of(index)));

    atomic_store_explicit(entry_of(block, head), NULL, memory_order_relaxed);
    // acquire and release: pairs with itself. Who counts the last entry, which
    // need not be the one with the highest position, knows that all are clear.
    if (atomic_fetch_add_explicit(&block->popped, 1, memory_order_acq_rel) ==
        SPAN_SET_BLOCK_ENTRIES - 1) {
        lock_acquire(&mheap.lock);
        remove_block(set, number_of(head), block);
        lock_release(&mheap.lock);
    }
    return s;
}

size_t span_set_length(const struct span_set *set)
{
    uint64_t index = load_index(set);
    return tail_of(index) - head_of(index);
}

// Go: func (b *spanSet) reset (mspanset.go)
//
// Unlike Go: whatever is in the set goes. (A block is lost if its place went to
// another while a thread popped there, and that thread is missing now.)
void span_set_reset(struct span_set *set)
{
    lock_acquire(&mheap.lock);
    struct span_set_spine *spine = load_spine(set);
    for (uint32_t n = 0; spine != NULL && n < spine->capacity; n++) {
        struct span_set_block *block = load_block(spine, n);
        if (block == NULL)
            continue;
        for (uint32_t i = 0; i < SPAN_SET_BLOCK_ENTRIES; i++)
            atomic_store_explicit(entry_of(block, i), NULL,
                                  memory_order_relaxed);
        remove_block(set, n, block);
    }
    atomic_store_explicit(&set->spine_len, 0, memory_order_relaxed);
    atomic_store_explicit(&set->index, 0, memory_order_relaxed);
    lock_release(&mheap.lock);
}

// check_block tests I1 and I4 of a block whose position i is end - i positions
// before the first that is missing; head is live positions before it, and tail
// ahead positions.
static bool check_block(struct span_set_block *block, uint32_t end,
                        uint32_t live, uint32_t ahead)
{
    uint32_t popped = 0;
    for (uint32_t i = 0; i < SPAN_SET_BLOCK_ENTRIES; i++) {
        bool is_of_set = end - i <= live && end - i > ahead;
        popped += end - i > live;
        if ((*entry_of(block, i) != NULL) != is_of_set)
            return mm_complain("I1 there are spans from head to tail", block);
    }
    if (block->popped != popped)
        return mm_complain("I4 a block counts what was popped", block);
    return true;
}

bool span_set_check(const struct span_set *set)
{
    uint32_t live = first_missing(set) - head_of(load_index(set));
    uint32_t ahead = first_missing(set) - tail_of(load_index(set));
    struct span_set_spine *spine = load_spine(set);
    uint32_t capacity = spine == NULL ? 0 : spine->capacity;

    if (ahead > SPAN_SET_BLOCK_ENTRIES)
        return mm_complain("I2 tail is in the last block or behind it", set);
    if (live < ahead || live > capacity * SPAN_SET_BLOCK_ENTRIES)
        return mm_complain("I3 every block has a place", set);
    for (uint32_t end = SPAN_SET_BLOCK_ENTRIES;
         end <= capacity * SPAN_SET_BLOCK_ENTRIES;
         end += SPAN_SET_BLOCK_ENTRIES) {
        struct span_set_block *block =
            load_block(spine, number_of(first_missing(set) - end));
        if ((block != NULL) != (end - SPAN_SET_BLOCK_ENTRIES < live))
            return mm_complain("I3 a block is in its place until it is popped",
                               set);
        if (block != NULL && !check_block(block, end, live, ahead))
            return false;
    }
    return true;
}
