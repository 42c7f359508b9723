// shadow_test.c - random operations, compared with a model of the heap.
//
// The model, the shadow, knows of each live block where it is, how large, how
// aligned, and which bytes were written to it. After every call it checks what
// malloc promises: the new block overlaps no live block, is aligned, and the
// contents are what was written, over any number of calls in between.
//
// Environment  MM_SEED        the first random number; printed on failure
//              MM_OPERATIONS  how many calls to make

#include "contract.h"

// ---------------------------------------------------------------------------
// The shadow. Nothing here is allocated with what is being tested.

enum {
    SLOTS_MOST = 1024,
    WHOLE = 512, // bytes; contents up to this size are checked as a whole,
    END = 64, // of larger blocks only so many at both ends
};

// A live block, or none: then start is NULL.
struct slot {
    unsigned char *start;
    size_t size; // as asked for
    size_t room; // bytes that may be written
    uint64_t pattern;
};

static struct slot slots[SLOTS_MOST];

// The numbers of the slots with a live block, by rising address.
static uint16_t by_address[SLOTS_MOST];
static size_t live;

// What is being tried, for messages.
static uint64_t seed;
static uint64_t operation;

// AGREE is CHECK_THAT, and also says how to get there again.
#define AGREE(condition, format, ...)                                          \
    CHECK_THAT(condition, "MM_SEED=%llu, operation %llu: " format,             \
               (unsigned long long)seed, (unsigned long long)operation,        \
               __VA_ARGS__)

// position_of returns how many live blocks start below p.
static size_t position_of(const unsigned char *p)
{
    size_t low = 0;
    size_t high = live;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (slots[by_address[middle]].start < p)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

// slot_end returns the first byte above s. A block of 0 bytes counts as one
// byte here, for its address must be its own.
static unsigned char *slot_end(const struct slot *s)
{
    return s->start + (s->room == 0 ? 1 : s->room);
}

// shadow_add notes that s is live, and checks that it overlaps no other.
static void shadow_add(struct slot *s)
{
    size_t position = position_of(s->start);
    if (position < live) {
        const struct slot *above = &slots[by_address[position]];
        AGREE(slot_end(s) <= above->start,
              "expected no overlap, got %zu bytes at %p and %zu bytes at %p",
              s->room, (void *)s->start, above->room, (void *)above->start);
    }
    if (position > 0) {
        const struct slot *below = &slots[by_address[position - 1]];
        AGREE(slot_end(below) <= s->start,
              "expected no overlap, got %zu bytes at %p and %zu bytes at %p",
              below->room, (void *)below->start, s->room, (void *)s->start);
    }
    memmove(&by_address[position + 1], &by_address[position],
            (live - position) * sizeof by_address[0]);
    by_address[position] = (uint16_t)(s - slots);
    live++;
}

// shadow_remove notes that s is not live any more.
static void shadow_remove(const struct slot *s)
{
    size_t position = position_of(s->start);
    live--;
    memmove(&by_address[position], &by_address[position + 1],
            (live - position) * sizeof by_address[0]);
}

// write_pattern fills s: as a whole, or from the first byte and to the last.
// What lies above the size that was asked for may be written, too.
static void write_pattern(struct slot *s)
{
    if (s->size <= WHOLE) {
        fill(s->start, 0, s->size, s->pattern);
    } else {
        fill(s->start, 0, END, s->pattern);
        fill(s->start, s->size - END, s->size, s->pattern);
    }
    if (s->room - s->size <= END) // or the last byte, if it is much
        memset(s->start + s->size, 0xEE, s->room - s->size);
    else
        s->start[s->room - 1] = 0xEE;
}

// check_bytes checks bytes from to to of the block at p, whose pattern is in s.
static void check_bytes(const struct slot *s, const unsigned char *p,
                        size_t from, size_t to)
{
    size_t wrong = first_wrong(p, from, to, s->pattern);
    AGREE(wrong == to,
          "expected the contents kept, got another byte %zu in the block of "
          "%zu bytes at %p",
          wrong, s->size, (const void *)p);
}

// check_pattern checks those of the first kept bytes at p that were written to
// s: p is where the block is, which was that of s.
static void check_pattern(const struct slot *s, const unsigned char *p,
                          size_t kept)
{
    if (s->size <= WHOLE) {
        check_bytes(s, p, 0, kept);
        return;
    }
    check_bytes(s, p, 0, kept < END ? kept : END);
    if (kept > s->size - END)
        check_bytes(s, p, s->size - END, kept);
}

// ---------------------------------------------------------------------------
// The operations.

static uint64_t random_state;

static size_t below(size_t n)
{
    return random_below(&random_state, n);
}

// choose_size returns a size: small mostly, but now and then one of those that
// allocators treat in another way.
static size_t choose_size(void)
{
    size_t n = below(2048);
    if (n == 0)
        return random_size(&random_state, 2 << 20);
    if (n < 16)
        return random_size(&random_state, 256 << 10);
    return random_size(&random_state, 2000);
}

// adopt makes the block at p, of size bytes at a multiple of align, that of s.
static void adopt(struct slot *s, unsigned char *p, size_t size, size_t align)
{
    AGREE(p != NULL, "expected a block of %zu bytes, got NULL", size);
    AGREE((uintptr_t)p % align == 0, "expected a multiple of %zu, got %p",
          align, (void *)p);
    s->start = p;
    s->size = size;
    s->room = room_of(p, size);
    s->pattern = random_next(&random_state);
    shadow_add(s);
}

static void do_malloc(struct slot *s)
{
    size_t size = choose_size();
    adopt(s, mm_malloc(size), size, MM_ALIGNMENT);
    write_pattern(s);
}

static void do_calloc(struct slot *s)
{
    size_t n = 1 + below(4);
    size_t size = choose_size();
    adopt(s, mm_calloc(n, size), n * size, MM_ALIGNMENT);
    AGREE(is_zero(s->start, room_of(s->start, s->size)),
          "expected calloc(%zu, %zu) to be zero, got other bytes", n, size);
    write_pattern(s);
}

static void do_aligned(struct slot *s)
{
    size_t align = (size_t)1 << below(below(100) == 0 ? 17 : 11);
    size_t size = choose_size();
    void *p = NULL;

    switch (below(3)) {
    case 0:
        p = mm_aligned_alloc(align, size);
        break;
    case 1:
        p = mm_memalign(align, size);
        break;
    case 2:
        align = align < sizeof p ? sizeof p : align;
        AGREE(mm_posix_memalign(&p, align, size) == 0,
              "expected posix_memalign(%zu, %zu) to succeed", align, size);
        break;
    }
    adopt(s, p, size, align < MM_ALIGNMENT ? MM_ALIGNMENT : align);
    write_pattern(s);
}

static void do_free(struct slot *s)
{
    check_pattern(s, s->start, s->size);
    shadow_remove(s);
    mm_free(s->start);
    s->start = NULL;
}

static void do_realloc(struct slot *s)
{
    size_t size = choose_size();
    check_pattern(s, s->start, s->size);
    shadow_remove(s);
    unsigned char *p = mm_realloc(s->start, size);
    s->start = NULL;
    if (size == 0) {
        AGREE(p == NULL, "expected realloc(p, 0) to be NULL, got %p",
              (void *)p);
        return;
    }
    AGREE(p != NULL, "expected a block of %zu bytes, got NULL", size);
    check_pattern(s, p, size < s->size ? size : s->size);
    adopt(s, p, size, MM_ALIGNMENT);
    write_pattern(s);
}

static void do_one(size_t n_slots)
{
    struct slot *s = &slots[below(n_slots)];
    size_t kind = below(16);

    if (s->start != NULL) {
        if (kind < 5)
            do_realloc(s);
        else
            do_free(s);
    } else if (kind < 3) {
        do_calloc(s);
    } else if (kind < 6) {
        do_aligned(s);
    } else {
        do_malloc(s);
    }
}

// check_all checks the contents of all live blocks, and the heap.
static void check_all(void)
{
    for (size_t i = 0; i < live; i++) {
        const struct slot *s = &slots[by_address[i]];
        size_t usable = mm_usable_size(s->start);
        check_pattern(s, s->start, s->size);
        AGREE(usable == 0 || usable == s->room,
              "expected %zu usable bytes as before, got %zu", s->room, usable);
    }
    AGREE(mm_check(), "mm_check found a broken invariant after %zu blocks",
          live);
}

// ---------------------------------------------------------------------------
// How much a stage can be asked to do.

struct measure {
    uint64_t operations;
    size_t slots;
};

// nodes_among returns how many nodes malloc visits if there are n free blocks,
// none of which is large enough.
static uint64_t nodes_among(size_t n)
{
    enum { MOST = 400 };
    void *p[2 * MOST];
    struct mm_stats before, after;

    CHECK_LE(n, MOST);
    for (size_t i = 0; i < 2 * n; i++)
        p[i] = mm_malloc(64);
    for (size_t i = 0; i < 2 * n; i += 2) { // no two side by side
        mm_free(p[i]);
        p[i] = NULL;
    }
    mm_stats(&before);
    void *q = mm_malloc(1000);
    mm_stats(&after);
    mm_free(q);
    for (size_t i = 0; i < 2 * n; i++)
        mm_free(p[i]);
    return after.nodes_visited - before.nodes_visited;
}

// searches_lists tells whether malloc takes longer the more blocks there are.
static bool searches_lists(void)
{
    return nodes_among(400) >= 200 + nodes_among(100);
}

static struct measure measure_of_stage(void)
{
    if (!keeps_sizes()) // nothing is reused: all blocks together must fit
        return (struct measure){50000, 256};
    if (is_c_library()) // it shows that the test is right, as a stage does
        return (struct measure){1000000, SLOTS_MOST};
    if (searches_lists())
        return (struct measure){1000000, 512};
    return (struct measure){10000000, SLOTS_MOST};
}

// The sanitizers make everything several times slower.
enum { SHARE = UNDER_TSAN || UNDER_ASAN ? 10 : 1, BETWEEN_CHECKS = 1000 };

static void run(uint64_t first_seed, uint64_t operations, size_t n_slots)
{
    seed = number_from("MM_SEED", first_seed);
    operations = number_from("MM_OPERATIONS", operations);
    random_state = seed | UINT64_C(1) << 63;
    for (operation = 1; operation <= operations; operation++) {
        do_one(n_slots);
        if (operation % BETWEEN_CHECKS == 0)
            check_all();
    }
    for (size_t i = 0; i < n_slots; i++)
        if (slots[i].start != NULL)
            do_free(&slots[i]);
    check_all();
}

TEST(random_operations,
     "every block is where, and holds what, the model of the heap says")
{
    struct measure m = measure_of_stage();
    run(1, m.operations / SHARE, m.slots);
}

TEST(random_operations_on_few_blocks,
     "the same while the heap empties again and again")
{
    struct measure m = measure_of_stage();
    run(2, m.operations / SHARE / 4, 4);
}
