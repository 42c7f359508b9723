// stages: 10-
//
// arena.c: where the heap lies, from an address to its span, and which pages
// were handed out before.

#include "heap.h"

#include <errno.h>
#include <string.h>

#include "blocks.h"
#include "os_memory.h"
#include "page_heap.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

#define MIB ((size_t)1 << 20)
#define ARENA (64 * MIB)
#define TIB (UINT64_C(1) << 40)
#define FIRST_HINT (UINT64_C(0xc0) << 32)
enum { HINTS_BELOW_STACK = 128 };

// ThreadSanitizer knows other parts of the address space only: there the heap
// is where the OS puts it.
#define SKIP_WITHOUT_HINTS()                                                   \
    do {                                                                       \
        if (UNDER_TSAN)                                                        \
            SKIP("ThreadSanitizer forbids these addresses");                   \
    } while (0)

// occupy maps a page there, for somebody else. Returns false if somebody did.
static bool occupy(uintptr_t p)
{
    return (uintptr_t)syscall(SYS_mmap, (void *)p, 4096, PROT_NONE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
                              -1, 0) == p;
}

static void vacate(uintptr_t p)
{
    CHECK_EQ(syscall(SYS_munmap, p, 4096), 0);
}

// is_vacant tells whether an arena can be there.
static bool is_vacant(uintptr_t p)
{
    void *there = (void *)syscall(SYS_mmap, (void *)p, ARENA, PROT_NONE,
                                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
                                      MAP_FIXED_NOREPLACE,
                                  -1, 0);
    if (there != MAP_FAILED)
        syscall(SYS_munmap, there, ARENA);
    return there == (void *)p;
}

// first_vacant returns the hint at which the heap should begin: not the first
// with AddressSanitizer, which has its shadow there.
static uintptr_t first_vacant(void)
{
    uintptr_t hint = FIRST_HINT;
    while (!is_vacant(hint))
        hint += TIB;
    CHECK_TRUE(UNDER_ASAN || hint == FIRST_HINT);
    return hint;
}

static uintptr_t address_of(const void *p)
{
    return (uintptr_t)p;
}

// reserve returns n bytes of arenas that the page heap knows nothing of; n is a
// multiple of ARENA.
static uintptr_t reserve(size_t n)
{
    size_t got = n;
    lock_acquire(&mheap.lock);
    char *p = arena_reserve(&got);
    lock_release(&mheap.lock);
    CHECK_NOT_NULL(p);
    CHECK_EQ(got, n);
    CHECK_ALIGNED(p, PALLOC_CHUNK_BYTES);
    return (uintptr_t)p;
}

static struct mspan *next_from(uintptr_t p)
{
    lock_acquire(&mheap.lock);
    struct mspan *s = span_next((const char *)p);
    lock_release(&mheap.lock);
    return s;
}

// ---------------------------------------------------------------------------
// Where the heap lies.

// use allocates blocks that do not fit in n bytes, and frees them.
static void use(size_t n)
{
    char *blocks[10];
    for (size_t i = 0; i < 10; i++) {
        blocks[i] = mm_malloc(n / 9);
        CHECK_NOT_NULL(blocks[i]);
        blocks[i][0] = blocks[i][n / 9 - 1] = (char)i;
    }
    CHECK_TRUE(mm_check());
    for (size_t i = 0; i < 10; i++) {
        CHECK_EQ(blocks[i][0] + blocks[i][n / 9 - 1], 2 * (int)i);
        mm_free(blocks[i]);
    }
    CHECK_TRUE(mm_check());
}

TEST(the_heap_begins_at_the_first_hint,
     "the first block is at 0xc000000000, and what follows right above: the"
     " heap is in one piece, whatever the number of arenas")
{
    SKIP_WITHOUT_HINTS();
    uintptr_t hint = first_vacant();
    void *p = mm_malloc(100);
    CHECK_EQ(address_of(p), hint);
    void *q = mm_malloc(10 * MIB);
    CHECK_EQ(address_of(q), hint + PAGE_SIZE);
    void *r = mm_malloc(200 * MIB);
    CHECK_EQ(address_of(r), hint + PAGE_SIZE + 10 * MIB);
    void *s = mm_malloc(3 * MIB);
    CHECK_EQ(address_of(s), hint + PAGE_SIZE + 210 * MIB);
    CHECK_EQ(stats().munmaps, (hint - FIRST_HINT) / TIB);
    CHECK_LE(stats().bytes_reserved, 6 * ARENA);
    mm_free(p);
    mm_free(q);
    mm_free(r);
    mm_free(s);
}

TEST(an_occupied_hint_is_left_out,
     "if somebody else is anywhere in the first arena, the heap begins a TiB"
     " above, and what was mapped elsewhere goes back")
{
    SKIP_WITHOUT_HINTS();
    uintptr_t hint = first_vacant();
    CHECK_TRUE(occupy(hint + 20 * MIB));
    CHECK_EQ(reserve(ARENA), hint + TIB);
    CHECK_EQ(stats().bytes_reserved, ARENA);
    CHECK_EQ(stats().munmaps, 1 + (hint - FIRST_HINT) / TIB);
    // From there it goes on.
    CHECK_EQ(reserve(ARENA), hint + TIB + ARENA);
    CHECK_TRUE(occupy(hint + TIB + 2 * ARENA));
    CHECK_EQ(reserve(ARENA), hint + 2 * TIB);
    CHECK_EQ(stats().bytes_reserved, 3 * ARENA);
    use(ARENA);
}

TEST(an_occupied_end_of_the_first_arena,
     "the same if only the last page of the first arena is somebody else's")
{
    SKIP_WITHOUT_HINTS();
    uintptr_t hint = first_vacant();
    CHECK_TRUE(occupy(hint + ARENA - 4096));
    void *p = mm_malloc(100);
    CHECK_EQ(address_of(p), hint + TIB);
    mm_free(p);
    use(ARENA);
}

TEST(the_heap_goes_on_elsewhere,
     "if somebody else is right above the last arena, the heap goes on a TiB"
     " above; what is left of the old arena is used, too")
{
    SKIP_WITHOUT_HINTS();
    enum { N = 40 };
    uintptr_t hint = first_vacant();
    void *blocks[N];
    blocks[0] = mm_malloc(2 * MIB);
    CHECK_EQ(address_of(blocks[0]), hint);
    CHECK_TRUE(occupy(hint + ARENA));
    char *giant = mm_malloc(63 * MIB);
    CHECK_EQ(address_of(giant), hint + TIB);
    // 62 MiB are left below.
    for (size_t i = 1; i < N; i++) {
        blocks[i] = mm_malloc(2 * MIB);
        CHECK_EQ(address_of(blocks[i]),
                 i < 32 ? hint + i * 2 * MIB
                        : hint + TIB + 63 * MIB + (i - 32) * 2 * MIB);
    }
    CHECK_TRUE(mm_check());
    release(blocks, N);
    mm_free(giant);
    use(3 * ARENA);
    vacate(hint + ARENA);
}

TEST(all_hints_are_occupied,
     "if somebody else is at every hint, the OS chooses where an arena lies, of"
     " whole chunks; all works as before")
{
    SKIP_WITHOUT_HINTS();
    for (size_t i = 0; i < HINTS_BELOW_STACK; i++)
        occupy(FIRST_HINT + i * TIB);
    char *p = mm_malloc(100);
    CHECK_NOT_NULL(p);
    CHECK_TRUE(address_of(p) % TIB != FIRST_HINT);
    CHECK_ALIGNED(span_of(p)->start_addr, PALLOC_CHUNK_BYTES);
    CHECK_PTR_EQ(span_of(p + 99)->start_addr, p);
    CHECK_EQ(stats().bytes_reserved, ARENA);
    use(20 * MIB);
    use(3 * ARENA);
    mm_free(p);
}

TEST(no_room_for_an_arena,
     "if 64 MiB are too much to reserve, it is what is needed, at the hint, and"
     " the next right above: the heap is in one piece")
{
    SKIP_WITHOUT_HINTS();
    os.refuse = ARENA - 1;
    uintptr_t hint = first_vacant();
    errno = 4711;
    void *p = mm_malloc(100);
    CHECK_EQ(address_of(p), hint);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(stats().bytes_reserved, PALLOC_CHUNK_BYTES);
    void *q = mm_malloc(6 * MIB); // over the chunk's border
    CHECK_EQ(address_of(q), hint + PAGE_SIZE);
    CHECK_EQ(stats().bytes_reserved, 3 * (size_t)PALLOC_CHUNK_BYTES);
    os.refuse = SIZE_MAX;
    void *r = mm_malloc(6 * MIB);
    CHECK_EQ(address_of(r), hint + PAGE_SIZE + 6 * MIB);
    CHECK_EQ(stats().bytes_reserved, 3 * (size_t)PALLOC_CHUNK_BYTES + ARENA);
    CHECK_TRUE(mm_check());
    mm_free(p);
    mm_free(q);
    mm_free(r);
}

TEST(no_hint_and_no_room_for_an_arena,
     "if somebody is at every hint, and 64 MiB are too much, the OS chooses"
     " where what is needed lies; later, it is asked for 64 MiB again")
{
    SKIP_WITHOUT_HINTS();
    for (size_t i = 0; i < HINTS_BELOW_STACK; i++)
        occupy(FIRST_HINT + i * TIB);
    os.refuse = ARENA - 1;
    errno = 4711;
    char *p = mm_malloc(100);
    CHECK_NOT_NULL(p);
    CHECK_EQ(errno, 4711);
    CHECK_ALIGNED(span_of(p)->start_addr, PALLOC_CHUNK_BYTES);
    CHECK_EQ(stats().bytes_reserved, PALLOC_CHUNK_BYTES);
    os.refuse = SIZE_MAX;
    use(20 * MIB);
    CHECK_EQ(stats().bytes_reserved, PALLOC_CHUNK_BYTES + ARENA);
    mm_free(p);
}

TEST(no_memory_for_an_arena_is_no_harm,
     "without memory for the struct of an arena, or for a table of arenas,"
     " malloc fails with ENOMEM, and the addresses go back; then it works")
{
    enum { NEEDED = 2 }; // a table, and an arena
    mm_free(NULL);
    for (size_t made = 0; made < NEEDED; made++) {
        uint64_t before = stats().bytes_reserved;
        size_t n = ARENA;
        lock_acquire(&mheap.lock);
        size_t calls = UNDER_TSAN ? 0 : 1; // to reserve: else it fails early
        os.fail_from = os.calls + 1 + calls + made;
        errno = 0;
        char *p = arena_reserve(&n);
        lock_release(&mheap.lock);
        os.fail_from = SIZE_MAX;
        CHECK_NULL(p);
        CHECK_EQ(errno, ENOMEM);
        CHECK_EQ(stats().bytes_reserved, before);
        CHECK_TRUE(mm_check());
    }
    // The place is the same, for it went back.
    SKIP_WITHOUT_HINTS();
    uintptr_t hint = first_vacant();
    CHECK_EQ(reserve(ARENA), hint);
}

TEST(the_os_does_not_take_addresses_back,
     "what was reserved in vain stays reserved if the OS refuses it; errno says"
     " what malloc returns, not that")
{
    SKIP_WITHOUT_HINTS();
    if (UNDER_ASAN)
        SKIP("at the first hints is AddressSanitizer, and all would be kept");
    uintptr_t hint = first_vacant();
    size_t n = ARENA;
    os.keep = true;
    lock_acquire(&mheap.lock);
    os.fail_from = os.calls + 2;
    errno = 0;
    CHECK_NULL(arena_reserve(&n));
    lock_release(&mheap.lock);
    os.fail_from = SIZE_MAX;
    CHECK_EQ(errno, ENOMEM);
    uint64_t kept = stats().bytes_reserved;
    CHECK_EQ(kept, ARENA);
    // So the heap is elsewhere.
    errno = 4711;
    void *p = mm_malloc(100);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(address_of(p), hint + TIB);
    CHECK_EQ(stats().bytes_reserved, kept + 2 * ARENA);
    CHECK_TRUE(mm_check());
    mm_free(p);
}

// ---------------------------------------------------------------------------
// From an address to its span.

TEST(every_page_leads_to_its_span,
     "span_of finds the span of every page of a block, also over the borders of"
     " arenas, and none right outside; arena_get knows what was freed")
{
    static const size_t sizes[] = {40000, MIB, ARENA, 150 * MIB, 8192, 50000};
    enum { N = sizeof sizes / sizeof *sizes };
    char *blocks[N];
    for (size_t i = 0; i < N; i++)
        blocks[i] = mm_malloc(sizes[i]);
    for (size_t i = 0; i < N; i++) {
        struct mspan *s = span_of(blocks[i]);
        CHECK_NOT_NULL(s);
        CHECK_PTR_EQ(s->start_addr, blocks[i]);
        for (char *p = s->start_addr; p < mspan_end(s); p += PAGE_SIZE) {
            CHECK_PTR_EQ(span_of(p), s);
            CHECK_PTR_EQ(span_of(p + 1), s);
            CHECK_PTR_EQ(span_of(p + PAGE_SIZE - 1), s);
            CHECK_PTR_EQ(arena_get(p), s);
        }
        CHECK_TRUE(span_of(s->start_addr - 1) != s);
        CHECK_TRUE(span_of(mspan_end(s)) != s);
    }
    char *above = mspan_end(span_of(blocks[N - 1]));
    CHECK_NULL(span_of(above));
    CHECK_NULL(arena_get(above));
    // Freed, one after the other, in no order.
    for (size_t k = 0; k < N; k++) {
        size_t i = k * 5 % N;
        size_t npages = span_of(blocks[i])->npages;
        mm_free(blocks[i]);
        mcache_flush();
        for (size_t page = 0; page < npages; page++) {
            CHECK_NULL(span_of(blocks[i] + page * PAGE_SIZE));
            CHECK_NOT_NULL(arena_get(blocks[i] + page * PAGE_SIZE));
        }
    }
}

TEST(a_freed_page_leads_to_no_other_span,
     "when the struct of a span describes other pages, the old ones do not lead"
     " to it")
{
    struct mspan *s = take(10);
    char *old = s->start_addr;
    struct mspan *wall = take(1);
    give(s);
    struct mspan *t = take(20);
    CHECK_PTR_EQ(t, s); // its struct
    CHECK_TRUE(t->start_addr != old);
    for (size_t i = 0; i < 10; i++)
        CHECK_NULL(span_of(old + i * PAGE_SIZE));
    struct mspan *u = take(3);
    CHECK_PTR_EQ(u->start_addr, old);
    for (size_t i = 0; i < 10; i++)
        CHECK_PTR_EQ(span_of(old + i * PAGE_SIZE), i < 3 ? u : NULL);
    give(t);
    give(u);
    give(wall);
}

TEST(wild_addresses_have_no_span,
     "what is no address of the heap has no span, and asking does not crash,"
     " before and after the first malloc")
{
    static const uint64_t wild[] = {
        0,
        1,
        4096,
        UINT64_C(0xbfffffffff),
        UINT64_C(0xc004000000),
        UINT64_C(0x1c000000000),
        (UINT64_C(1) << 37) - 1,
        UINT64_C(1) << 37,
        (UINT64_C(1) << 47) - 1,
        UINT64_C(1) << 47,
        (UINT64_C(1) << 48) - 1,
        UINT64_C(1) << 48,
        (UINT64_C(1) << 48) + FIRST_HINT,
        UINT64_C(1) << 63,
        UINT64_C(0xffff8000000000),
        UINT64_C(0xffffffff80000000),
        UINT64_MAX,
    };
    int local = 0;
    void *block = NULL;
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < sizeof wild / sizeof *wild; i++) {
            CHECK_NULL(span_of((void *)(uintptr_t)wild[i]));
            CHECK_NULL(arena_get((void *)(uintptr_t)wild[i]));
        }
        CHECK_NULL(span_of(&local));
        CHECK_NULL(span_of(&mheap));
        CHECK_NULL(next_from(UINT64_C(1) << 48));
        CHECK_NULL(next_from(UINT64_MAX));
        if (round == 0)
            block = mm_malloc(100);
    }
    // The same bits, but more of them.
    uintptr_t p = address_of(block);
    CHECK_NULL(span_of((void *)(p | UINT64_C(1) << 48)));
    CHECK_NULL(span_of((void *)(p | UINT64_C(1) << 63)));
    CHECK_NULL(span_of((void *)(p ^ UINT64_C(1) << 37)));
    mm_free(block);
}

// ---------------------------------------------------------------------------
// Spans by hand, in arenas that the page heap does not use.

enum { BY_HAND = 12 };
static struct mspan by_hand[BY_HAND];

static struct mspan *put(size_t i, uintptr_t p, size_t npages)
{
    struct mspan *s = &by_hand[i];
    mspan_init(s, (char *)p, npages);
    s->state = MSPAN_IN_USE;
    lock_acquire(&mheap.lock);
    arena_set_span(s);
    lock_release(&mheap.lock);
    return s;
}

static void take_away(struct mspan *s)
{
    lock_acquire(&mheap.lock);
    arena_clear_span(s);
    lock_release(&mheap.lock);
    s->state = MSPAN_DEAD;
}

TEST(spans_at_all_borders,
     "spans are found, and found next, at the borders of words of pages, of"
     " arenas, and of tables of arenas, and on both sides of them")
{
    SKIP_WITHOUT_HINTS();
    // From one table into the next: 128 GiB, of which nothing is touched.
    enum { TABLE_BITS = 37 };
    size_t n = (size_t)1 << TABLE_BITS;
    uintptr_t low = reserve(n + ARENA);
    uintptr_t arena = round_up(low, ARENA);
    uintptr_t table = round_up(low + ARENA, n);
    if (table > low + n) // it begins at the border of a table
        table = low + n;
    struct {
        uintptr_t start;
        size_t npages;
    } spans[] = {
        {arena, 1}, // the first of a word, and of an arena
        {arena + 63 * PAGE_SIZE, 1},
        {arena + 64 * PAGE_SIZE, 1},
        {arena + 65 * PAGE_SIZE, 63},
        {arena + 200 * PAGE_SIZE, 300},
        {arena + ARENA - PAGE_SIZE, 1},
        {arena + ARENA, 1},
        {arena + 3 * ARENA - 5 * PAGE_SIZE, 10}, // over a border
        {arena + 5 * ARENA - PAGE_SIZE, 2 + ARENA / PAGE_SIZE},
        {table - 4 * PAGE_SIZE, 4},
        {table, 1},
        {table + 64 * PAGE_SIZE, 2},
    };
    enum { N = sizeof spans / sizeof *spans };
    _Static_assert(N == (size_t)BY_HAND, "each has a struct");
    for (size_t i = 0; i < N; i++) // in another order
        put(i * 5 % N, spans[i * 5 % N].start, spans[i * 5 % N].npages);
    CHECK_PTR_EQ(next_from(0), &by_hand[0]);
    for (size_t i = 0; i < N; i++) {
        struct mspan *s = &by_hand[i], *next = i + 1 < N ? s + 1 : NULL;
        for (size_t page = 0; page < spans[i].npages; page++)
            CHECK_PTR_EQ(span_of(s->start_addr + page * PAGE_SIZE), s);
        uintptr_t end = spans[i].start + spans[i].npages * PAGE_SIZE;
        CHECK_PTR_EQ(next_from(spans[i].start), s);
        CHECK_PTR_EQ(next_from(end), next);
        if (next != NULL && end < spans[i + 1].start) {
            CHECK_PTR_EQ(next_from(end + PAGE_SIZE), next);
            CHECK_PTR_EQ(next_from(spans[i + 1].start - PAGE_SIZE), next);
            CHECK_NULL(span_of((void *)end));
        }
    }
    // Those that are gone are skipped.
    for (size_t i = 0; i < N; i++) {
        take_away(&by_hand[i]);
        CHECK_NULL(span_of(by_hand[i].start_addr));
        CHECK_PTR_EQ(arena_get(by_hand[i].start_addr), &by_hand[i]);
        CHECK_PTR_EQ(next_from(0), i + 1 < N ? &by_hand[i + 1] : NULL);
    }
}

TEST(spans_of_different_tib,
     "spans that lie TiB apart are found one after the other")
{
    SKIP_WITHOUT_HINTS();
    uintptr_t places[4];
    for (size_t i = 0; i < 4; i++) {
        places[i] = reserve(ARENA);
        if (i > 0)
            CHECK_TRUE(places[i] - places[i - 1] >= TIB);
        put(i, places[i] + i * MIB, 1);
        occupy(places[i] + ARENA);
    }
    for (size_t i = 0; i < 4; i++)
        CHECK_PTR_EQ(next_from(i == 0 ? 0 : places[i]), &by_hand[i]);
    CHECK_PTR_EQ(next_from(places[1] + 2 * MIB), &by_hand[2]);
    CHECK_PTR_EQ(next_from(places[1] + TIB / 2), &by_hand[2]);
    for (size_t i = 0; i < 4; i++)
        take_away(&by_hand[i]);
}

// ---------------------------------------------------------------------------
// Which pages were handed out before.

enum { ZERO_ARENAS = 3, ARENA_PAGES = 8192 };

static bool needs_zero(uintptr_t p, size_t npages)
{
    lock_acquire(&mheap.lock);
    bool answer = arena_needs_zero(p, npages);
    lock_release(&mheap.lock);
    return answer;
}

TEST(fresh_pages_need_no_zeros,
     "pages need zeros if one of them, or of those above in its arena, was"
     " handed out before")
{
    _Static_assert(ARENA_PAGES * PAGE_SIZE == 64 << 20, "pages of an arena");
    uintptr_t p = round_up(reserve(4 * ARENA), ARENA);
    CHECK_TRUE(!needs_zero(p, 10));
    CHECK_TRUE(!needs_zero(p + 10 * PAGE_SIZE, 1));
    CHECK_TRUE(needs_zero(p, 1)); // reused
    CHECK_TRUE(needs_zero(p + 9 * PAGE_SIZE, 2));
    CHECK_TRUE(needs_zero(p + 10 * PAGE_SIZE, 2)); // partly
    CHECK_TRUE(!needs_zero(p + 12 * PAGE_SIZE, 1));
    // To the end of the arena, and over it.
    CHECK_TRUE(!needs_zero(p + 13 * PAGE_SIZE, ARENA_PAGES - 13));
    CHECK_TRUE(!needs_zero(p + ARENA, 1));
    CHECK_TRUE(needs_zero(p + ARENA - PAGE_SIZE, 2));
    CHECK_TRUE(!needs_zero(p + ARENA + 2 * PAGE_SIZE, ARENA_PAGES));
    CHECK_TRUE(needs_zero(p + 2 * ARENA + PAGE_SIZE, 1));
    CHECK_TRUE(!needs_zero(p + 2 * ARENA + 2 * PAGE_SIZE, 1));
}

TEST(random_pages_need_zeros,
     "in a random order, exactly those runs need no zeros that have only pages"
     " above all that were handed out in their arena")
{
    size_t n = (size_t)ZERO_ARENAS * ARENA_PAGES;
    uintptr_t p = round_up(reserve((ZERO_ARENAS + 1) * ARENA), ARENA);
    size_t ends[ZERO_ARENAS] = {0}; // above what was handed out
    uint64_t seed = random_start();
    for (size_t i = 0; i < 2000; i++) {
        size_t most = i % 10 == 0 ? 10000 : 1 + i / 4;
        size_t from = random_below(&seed, n);
        // Often right above what was handed out.
        if (i % 3 == 0) {
            size_t k = random_below(&seed, ZERO_ARENAS);
            from = k * ARENA_PAGES + ends[k];
            most = 20;
        }
        if (from >= n)
            continue;
        size_t npages = 1 + random_below(&seed, most);
        if (npages > n - from)
            npages = n - from;
        bool expected = false;
        for (size_t page = from; page < from + npages; page++)
            expected |= page % ARENA_PAGES < ends[page / ARENA_PAGES];
        for (size_t page = from; page < from + npages; page++)
            if (page % ARENA_PAGES >= ends[page / ARENA_PAGES])
                ends[page / ARENA_PAGES] = page % ARENA_PAGES + 1;
        CHECK_EQ(needs_zero(p + from * PAGE_SIZE, npages), expected);
    }
}
