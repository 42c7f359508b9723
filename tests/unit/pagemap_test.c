// stages: 05-09
//
// pagemap.c: from an address to the span that it lies in. The map never looks
// at the memory of a page, so most spans here are at addresses made up.

#include "heap.h"

#include <pthread.h>
#include <stdatomic.h>

#include "check.h"
#include "os_memory.h"
#include "test.h"

// The bytes that a leaf and a middle serve: 16 MiB and 64 GiB.
#define LEAF_BYTES (UINT64_C(1) << 24)
#define MIDDLE_BYTES (UINT64_C(1) << 36)
#define ADDRESS_END (UINT64_C(1) << 48)

// A span at an address made up, in the middle of the lower half of what a
// program can have, far from everything real.
#define FAR_AWAY (UINT64_C(0x2000) << 32)

static char *address(uint64_t a)
{
    return (char *)(uintptr_t)a; // NOLINT(performance-no-int-to-ptr)
}

static struct mspan made_up(uint64_t start, size_t npages)
{
    return (struct mspan){
        .start_addr = address(start), .npages = npages, .state = MSPAN_IN_USE};
}

// map_span makes room for s, and maps all of its pages to s, or to nothing.
static void map_span(struct mspan *s)
{
    lock_acquire(&mheap.lock);
    bool ok = pagemap_ensure(s->start_addr, s->npages);
    if (ok)
        pagemap_set(s->start_addr, s->npages, s);
    lock_release(&mheap.lock);
    CHECK_TRUE(ok);
}

static void unmap_span(struct mspan *s)
{
    lock_acquire(&mheap.lock);
    pagemap_set(s->start_addr, s->npages, NULL);
    lock_release(&mheap.lock);
}

static struct mspan *next_from(uint64_t a)
{
    lock_acquire(&mheap.lock);
    struct mspan *s = span_next(address(a));
    lock_release(&mheap.lock);
    return s;
}

static struct mspan *take(size_t npages)
{
    lock_acquire(&mheap.lock);
    struct mspan *s = mheap_alloc(npages, PAGE_SIZE);
    lock_release(&mheap.lock);
    return s;
}

static void give(struct mspan *s)
{
    lock_acquire(&mheap.lock);
    mheap_free(s);
    lock_release(&mheap.lock);
}

TEST(empty_map_knows_nothing,
     "before anything is mapped, no address leads to a span")
{
    static const uint64_t addresses[] = {
        0, 1, PAGE_SIZE, FAR_AWAY, ADDRESS_END - 1, ADDRESS_END, UINT64_MAX};
    for (size_t i = 0; i < sizeof addresses / sizeof *addresses; i++) {
        CHECK_NULL(span_of(address(addresses[i])));
        CHECK_NULL(pagemap_get(address(addresses[i])));
    }
    CHECK_NULL(next_from(0));
}

TEST(every_page_leads_to_its_span,
     "each page of a span leads to it, at its first byte, its last and one in"
     " between; the bytes around it do not")
{
    static const struct {
        const char *name;
        uint64_t start;
        size_t npages;
    } cases[] = {
        {"one page", FAR_AWAY, 1},
        {"last page of a leaf", FAR_AWAY + LEAF_BYTES - PAGE_SIZE, 1},
        {"across leaves", FAR_AWAY + LEAF_BYTES - 3 * PAGE_SIZE, 7},
        {"a whole leaf and more", FAR_AWAY + LEAF_BYTES - PAGE_SIZE, 2050},
        {"across middles", FAR_AWAY + MIDDLE_BYTES - 2 * PAGE_SIZE, 4},
        {"last page of a middle", FAR_AWAY + MIDDLE_BYTES - PAGE_SIZE, 1},
        {"first page of all", PAGE_SIZE, 1},
        {"last page of all", ADDRESS_END - PAGE_SIZE, 1},
        {"last pages of all", ADDRESS_END - 5 * PAGE_SIZE, 5},
    };
    static const size_t offsets[] = {0, 1, 16, 4097, PAGE_SIZE - 1};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct mspan s = made_up(cases[i].start, cases[i].npages);
        map_span(&s);
        for (size_t page = 0; page < s.npages; page++)
            for (size_t o = 0; o < 5; o++) {
                const char *p = s.start_addr + page * PAGE_SIZE + offsets[o];
                CHECK_THAT(span_of(p) == &s && pagemap_get(p) == &s,
                           "%s: page %zu, byte %zu", cases[i].name, page,
                           offsets[o]);
            }
        CHECK_NULL(span_of(s.start_addr - 1));
        CHECK_NULL(span_of(mspan_end(&s)));
        CHECK_PTR_EQ(next_from(0), &s);
        unmap_span(&s);
        CHECK_NULL(span_of(s.start_addr));
    }
}

TEST(parts_of_an_address_do_not_mix,
     "two addresses that differ in one of the bits of a page number lead to two"
     " spans")
{
    uint64_t at = FAR_AWAY + 5 * PAGE_SIZE; // so that no other is 0
    struct mspan zero = made_up(at, 1);
    map_span(&zero);
    for (unsigned bit = PAGE_SHIFT; bit < 48; bit++) {
        struct mspan other = made_up(at ^ UINT64_C(1) << bit, 1);
        CHECK_NULL(span_of(other.start_addr));
        map_span(&other);
        CHECK_PTR_EQ(span_of(other.start_addr), &other);
        CHECK_PTR_EQ(span_of(zero.start_addr), &zero);
        unmap_span(&other);
    }
    unmap_span(&zero);
}

TEST(wild_addresses_lead_nowhere,
     "an address above 48 bits leads to no span, even if its lower bits are"
     " those of one")
{
    struct mspan s = made_up(FAR_AWAY, 3);
    map_span(&s);
    CHECK_NULL(span_of(NULL));
    for (unsigned bit = 48; bit < 64; bit++) {
        CHECK_NULL(span_of(address(FAR_AWAY | UINT64_C(1) << bit)));
        CHECK_NULL(pagemap_get(address(FAR_AWAY | UINT64_C(1) << bit)));
        CHECK_NULL(next_from(FAR_AWAY | UINT64_C(1) << bit));
    }
    CHECK_NULL(span_of(address(UINT64_MAX)));
    unmap_span(&s);
}

TEST(only_spans_in_use_are_found,
     "span_of does not return a free span, nor one that a stale page leads to")
{
    struct mspan s = made_up(FAR_AWAY, 4);
    map_span(&s);
    s.state = MSPAN_FREE;
    CHECK_NULL(span_of(s.start_addr));
    CHECK_PTR_EQ(pagemap_get(s.start_addr), &s);
    s = (struct mspan){.state = MSPAN_DEAD};
    CHECK_NULL(span_of(address(FAR_AWAY)));

    // The struct is used again, below, above, and for a part.
    s = made_up(FAR_AWAY - 4 * PAGE_SIZE, 4);
    CHECK_NULL(span_of(address(FAR_AWAY)));
    s = made_up(FAR_AWAY + PAGE_SIZE, 2);
    CHECK_NULL(span_of(address(FAR_AWAY + PAGE_SIZE - 1)));
    CHECK_PTR_EQ(span_of(address(FAR_AWAY + PAGE_SIZE)), &s);
    CHECK_PTR_EQ(span_of(address(FAR_AWAY + 3 * PAGE_SIZE - 1)), &s);
    CHECK_NULL(span_of(address(FAR_AWAY + 3 * PAGE_SIZE)));
    s = made_up(FAR_AWAY, 4);
    unmap_span(&s);
}

TEST(freed_spans_are_not_found,
     "a page that was merged into a free span is no longer found, until it is"
     " handed out again")
{
    struct mspan *s[5];
    for (size_t i = 0; i < 5; i++)
        s[i] = take(3);
    char *start[5];
    for (size_t i = 0; i < 5; i++) {
        start[i] = s[i]->start_addr;
        CHECK_PTR_EQ(span_of(start[i] + 2 * PAGE_SIZE), s[i]);
    }
    for (size_t i = 1; i < 4; i++)
        give(s[i]);
    for (size_t i = 1; i < 4; i++)
        for (size_t page = 0; page < 3; page++)
            CHECK_NULL(span_of(start[i] + page * PAGE_SIZE));
    CHECK_PTR_EQ(span_of(start[0]), s[0]);
    CHECK_PTR_EQ(span_of(start[4]), s[4]);

    struct mspan *all = take(9);
    CHECK_PTR_EQ(all->start_addr, start[1]);
    for (size_t page = 0; page < 9; page++)
        CHECK_PTR_EQ(span_of(start[1] + page * PAGE_SIZE), all);
    give(all);
    give(s[0]);
    give(s[4]);
}

TEST(next_skips_what_is_not_mapped,
     "span_next finds all spans by rising address, from NULL on, however far"
     " they are apart")
{
    static const uint64_t starts[] = {
        PAGE_SIZE,
        2 * LEAF_BYTES - PAGE_SIZE,
        2 * LEAF_BYTES,
        MIDDLE_BYTES - PAGE_SIZE,
        3 * MIDDLE_BYTES,
        3 * MIDDLE_BYTES + 5 * LEAF_BYTES + 7 * PAGE_SIZE,
        FAR_AWAY,
        FAR_AWAY + 2 * PAGE_SIZE,
        ADDRESS_END - PAGE_SIZE,
    };
    enum { N = sizeof starts / sizeof *starts };
    struct mspan s[N];
    for (size_t i = 0; i < N; i++) {
        s[i] = made_up(starts[i], 1);
        map_span(&s[i]);
    }
    uint64_t from = 0;
    for (size_t i = 0; i < N; i++) {
        CHECK_PTR_EQ(next_from(from), &s[i]);
        CHECK_PTR_EQ(next_from(starts[i]), &s[i]);
        from = starts[i] + PAGE_SIZE;
    }
    CHECK_NULL(next_from(from));
    for (size_t i = 0; i < N; i++)
        unmap_span(&s[i]);
    CHECK_NULL(next_from(0));
}

TEST(a_refusal_leaves_the_map_as_it_was,
     "if the OS refuses memory for a table, pagemap_ensure says so, and what"
     " was mapped is found as before")
{
    struct mspan s = made_up(FAR_AWAY, 1);
    map_span(&s);
    os.fail_from = os.calls + 1;
    // What is left of the last piece of metadata serves a few leaves more.
    bool ok = true;
    uint64_t at = FAR_AWAY;
    size_t leaves = 0;
    lock_acquire(&mheap.lock);
    while (ok && leaves++ < 100)
        ok = pagemap_ensure(address(at += LEAF_BYTES), 1);
    lock_release(&mheap.lock);
    CHECK_TRUE(!ok);
    CHECK_EQ(errno, ENOMEM);
    CHECK_NULL(span_of(address(at)));
    CHECK_PTR_EQ(span_of(s.start_addr), &s);
    CHECK_PTR_EQ(next_from(0), &s);
    os.fail_from = SIZE_MAX;
    struct mspan other = made_up(at, 1);
    map_span(&other);
    CHECK_PTR_EQ(span_of(other.start_addr), &other);
    unmap_span(&other);
    unmap_span(&s);
}

TEST(room_costs_what_it_must,
     "the first span costs a middle and a leaf, the next in the same leaf"
     " nothing, one in another leaf a leaf")
{
    struct mm_stats stats;
    static const struct {
        uint64_t start;
        size_t npages, bytes;
    } cases[] = {
        {FAR_AWAY, 1, (1 << 15) + (1 << 14)},
        {FAR_AWAY + PAGE_SIZE, 2047, 0},
        {FAR_AWAY + LEAF_BYTES, 2048, 1 << 14},
        {FAR_AWAY + LEAF_BYTES, 2049, 1 << 14},
        {FAR_AWAY + MIDDLE_BYTES - PAGE_SIZE, 2, (1 << 15) + (2 << 14)},
    };
    uint64_t bytes = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lock_acquire(&mheap.lock);
        bool ok = pagemap_ensure(address(cases[i].start), cases[i].npages);
        lock_release(&mheap.lock);
        CHECK_TRUE(ok);
        mm_stats(&stats);
        CHECK_EQ(stats.bytes_of_metadata - bytes, cases[i].bytes);
        bytes = stats.bytes_of_metadata;
    }
}

// ---------------------------------------------------------------------------
// Readers without a lock.

enum { READERS = 3, OWN = 16, ROUNDS = 300 };

static _Atomic bool stop;

// read_own looks for its own spans, without a lock, while others come and go.
// Returns how many times it found another one.
static void *read_own(void *number)
{
    struct mspan *own[OWN];
    uintptr_t wrong = 0;
    size_t first = (size_t)(uintptr_t)number;
    for (size_t i = 0; i < OWN; i++)
        own[i] = take(1 + (first + i) % 5);
    while (!atomic_load_explicit(&stop, memory_order_relaxed))
        for (size_t i = 0; i < OWN; i++)
            for (size_t page = 0; page < own[i]->npages; page++)
                wrong += span_of(own[i]->start_addr + page * PAGE_SIZE + i) !=
                         own[i];
    for (size_t i = 0; i < OWN; i++)
        give(own[i]);
    return address(wrong);
}

TEST(readers_need_no_lock,
     "a thread finds the spans that it holds, without a lock, while others"
     " allocate and free spans beside them, and tables are added")
{
    pthread_t threads[READERS];
    struct mspan *s[64];
    for (uintptr_t i = 0; i < READERS; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, read_own, address(i)), 0);
    for (size_t round = 0; round < ROUNDS; round++) {
        for (size_t i = 0; i < 64; i++)
            s[i] = take(1 + (round + i) % 7);
        for (size_t i = 0; i < 64; i += 2)
            give(s[i]);
        for (size_t i = 1; i < 64; i += 2)
            give(s[i]);
        if (round % 16 == 0) {
            struct mspan other = made_up(FAR_AWAY + round * LEAF_BYTES, 1);
            map_span(&other);
            unmap_span(&other);
        }
    }
    atomic_store_explicit(&stop, true, memory_order_relaxed);
    for (size_t i = 0; i < READERS; i++) {
        void *wrong;
        CHECK_EQ(pthread_join(threads[i], &wrong), 0);
        CHECK_NULL(wrong);
    }
    lock_acquire(&mheap.lock);
    bool ok = mheap_check();
    lock_release(&mheap.lock);
    CHECK_TRUE(ok);
}
