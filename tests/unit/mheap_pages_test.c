// stages: 10-
//
// mheap.c on top of a page allocator: spans at multiples, spans that grow and
// shrink where they are, damage, and random spans against an array with a bool
// for every page.

#include "heap.h"

#include <errno.h>
#include <string.h>

#include "blocks.h"
#include "child.h"
#include "os_memory.h"
#include "page_heap.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"

enum { CHUNK = PALLOC_CHUNK_PAGES };
#define MIB ((size_t)1 << 20)

// ThreadSanitizer forbids the addresses at which the heap is in one piece.
#define SKIP_IN_PIECES()                                                       \
    do {                                                                       \
        if (UNDER_TSAN)                                                        \
            SKIP("here the heap is not in one piece");                         \
    } while (0)

static bool resize(struct mspan *s, size_t npages)
{
    lock_acquire(&mheap.lock);
    bool done = mheap_resize(s, npages);
    lock_release(&mheap.lock);
    return done;
}

static size_t used_pages(const char *p, size_t npages)
{
    lock_acquire(&mheap.lock);
    size_t n = page_alloc_count(&mheap.pages, (uintptr_t)p, npages);
    lock_release(&mheap.lock);
    return n;
}

// check_span checks that the span is as long as that, and all its pages are
// its.
static void check_span(struct mspan *s, const char *start, size_t npages)
{
    CHECK_PTR_EQ(s->start_addr, start);
    CHECK_EQ(s->npages, npages);
    CHECK_EQ(used_pages(start, npages), npages);
    for (size_t i = 0; i < npages; i++)
        CHECK_PTR_EQ(span_of(start + i * PAGE_SIZE), s);
    CHECK_TRUE(span_of(start + npages * PAGE_SIZE) != s);
    CHECK_TRUE(is_sound());
}

// ---------------------------------------------------------------------------
// Spans at multiples.

TEST(spans_begin_at_multiples,
     "a span begins at a multiple of whatever power of two it was asked for, up"
     " to 128 MiB; the pages that lie below are free")
{
    struct mspan *wall = take(1); // so that no free page is at a multiple
    for (size_t align = PAGE_SIZE; align <= 128 * MIB; align *= 2) {
        for (size_t npages = 1; npages <= 600; npages = npages * 9 + 1) {
            struct mspan *s = take_aligned(npages, align);
            CHECK_NOT_NULL(s);
            CHECK_ALIGNED(s->start_addr, align);
            check_span(s, s->start_addr, npages);
            CHECK_EQ(spans_in_use(), 2);
            struct mspan *t = take(1);
            if (!UNDER_TSAN) // there, the heap goes on below
                CHECK_PTR_EQ(t->start_addr,
                             s->start_addr == wall->start_addr + PAGE_SIZE
                                 ? mspan_end(s)
                                 : wall->start_addr + PAGE_SIZE);
            give(t);
            give(s);
        }
    }
    give(wall);
}

TEST(no_room_for_a_multiple,
     "if the OS refuses what an alignment needs, there is no span, errno is"
     " ENOMEM, and nothing has changed")
{
    struct mspan *s = take(1);
    give(s);
    size_t free_before = free_pages();
    os.fail_from = os.calls + 1;
    errno = 0;
    CHECK_NULL(take_aligned(1, 64 * MIB));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(free_pages(), free_before);
    // Nor is a struct lost.
    uint64_t metadata = stats().bytes_of_metadata;
    for (size_t i = 0; i < 1000; i++)
        CHECK_NULL(take(10 * CHUNK));
    CHECK_EQ(stats().bytes_of_metadata, metadata);
    errno = 4711;
    s = take_aligned(CHUNK / 4, CHUNK / 4 * (size_t)PAGE_SIZE);
    CHECK_NOT_NULL(s); // there are as many free pages
    CHECK_EQ(errno, 4711);
    give(s);
}

// ---------------------------------------------------------------------------
// Spans that change their length.

TEST(a_span_shrinks,
     "the pages that a span gives up are free, lead to it no more, and are"
     " handed out next; the others stay as they were")
{
    struct mspan *s = take(100);
    char *start = s->start_addr;
    struct mspan *wall = take(1);
    size_t free_before = free_pages();
    for (size_t npages = 99; npages > 0; npages = npages * 2 / 3) {
        CHECK_TRUE(resize(s, npages));
        check_span(s, start, npages);
        CHECK_EQ(free_pages(), free_before + (100 - npages) * PAGE_SIZE);
        CHECK_EQ(used_pages(start + npages * PAGE_SIZE, 100 - npages), 0);
        for (size_t i = npages; i < 100; i++)
            CHECK_NULL(span_of(start + i * PAGE_SIZE));
        struct mspan *t = take(1);
        CHECK_PTR_EQ(t->start_addr, start + npages * PAGE_SIZE);
        give(t);
    }
    CHECK_EQ(s->npages, 1);
    CHECK_EQ(spans_in_use(), 2);
    give(s);
    give(wall);
    CHECK_TRUE(is_sound());
}

TEST(
    a_span_grows_over_free_pages,
    "a span takes free pages above it, up to the next span and no further; with"
    " one page too many it stays as it is")
{
    struct mspan *s = take(10);
    char *start = s->start_addr;
    struct mspan *above = take(90);
    struct mspan *wall = take(1);
    CHECK_TRUE(!resize(s, 11));
    give(above);
    uint64_t protects = stats().mprotects;
    errno = 4711;
    CHECK_TRUE(resize(s, 10));
    CHECK_TRUE(resize(s, 11));
    check_span(s, start, 11);
    CHECK_TRUE(!resize(s, 101));
    check_span(s, start, 11);
    CHECK_EQ(used_pages(start, 101), 12);
    CHECK_TRUE(!resize(s, 100000));
    check_span(s, start, 11);
    CHECK_TRUE(resize(s, 100));
    check_span(s, start, 100);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(stats().mprotects, protects);
    CHECK_PTR_EQ(span_of(start + 100 * PAGE_SIZE), wall);
    // Shorter, and longer again.
    CHECK_TRUE(resize(s, 50));
    struct mspan *between = take(20);
    CHECK_PTR_EQ(between->start_addr, start + 50 * PAGE_SIZE);
    CHECK_TRUE(!resize(s, 51));
    give(between);
    CHECK_TRUE(resize(s, 100));
    check_span(s, start, 100);
    give(s);
    give(wall);
}

TEST(the_last_span_grows_with_the_heap,
     "the highest span grows over the end of the heap, whole chunks are added,"
     " and what it does not need of them is free; also over an arena's end")
{
    SKIP_IN_PIECES();
    struct mspan *wall = take(3);
    struct mspan *s = take(CHUNK - 10); // 7 pages are left
    char *start = s->start_addr;
    CHECK_EQ(free_pages(), 7 * PAGE_SIZE);
    CHECK_TRUE(resize(s, CHUNK - 3)); // just all
    CHECK_EQ(free_pages(), 0);
    CHECK_TRUE(resize(s, CHUNK - 2));
    CHECK_EQ(free_pages(), (CHUNK - 1) * (size_t)PAGE_SIZE);
    check_span(s, start, CHUNK - 2);
    CHECK_TRUE(resize(s, 3 * CHUNK - 3)); // a chunk more
    check_span(s, start, 3 * CHUNK - 3);
    CHECK_EQ(free_pages(), 0);
    CHECK_TRUE(resize(s, 40 * (size_t)CHUNK)); // an arena is 16
    check_span(s, start, 40 * (size_t)CHUNK);
    CHECK_EQ(free_pages(), (CHUNK - 3) * (size_t)PAGE_SIZE);
    CHECK_EQ(spans_in_use(), 2);
    CHECK_TRUE(resize(s, 1));
    check_span(s, start, 1);
    give(s);
    give(wall);
}

TEST(the_os_refuses_to_let_a_span_grow,
     "if the OS gives no memory above the heap, the span stays as it is, and so"
     " does errno; later it can grow")
{
    struct mspan *s = take(5);
    char *start = s->start_addr;
    size_t free_before = free_pages();
    // The call that fails is the one that makes a chunk prepared, the one that
    // reserves an arena, or the one after that.
    for (size_t fails = 1; fails <= 3; fails++) {
        size_t npages = fails == 1 ? (size_t)CHUNK + 1 : 17 * (size_t)CHUNK;
        os.fail_from = os.calls + fails - (fails > 1);
        errno = 4711;
        CHECK_TRUE(!resize(s, npages));
        CHECK_EQ(errno, 4711);
        check_span(s, start, 5);
        CHECK_EQ(free_pages(), free_before);
        os.fail_from = SIZE_MAX;
    }
    if (!UNDER_TSAN) {
        CHECK_TRUE(resize(s, 17 * (size_t)CHUNK));
        check_span(s, start, 17 * (size_t)CHUNK);
    }
    give(s);
}

TEST(the_heap_goes_on_elsewhere,
     "if somebody else is above the last arena, the highest span cannot grow"
     " over its end; what is found elsewhere is of use")
{
    SKIP_IN_PIECES();
    struct mspan *s = take(15 * CHUNK + 1);
    char *start = s->start_addr;
    char *end = mheap.cur_arena.end;
    CHECK_EQ((size_t)(end - start), 64 * MIB);
    CHECK_TRUE(
        (char *)syscall(SYS_mmap, end, PAGE_SIZE, PROT_NONE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
                        0) == end);
    CHECK_TRUE(resize(s, 16 * CHUNK)); // all of the arena
    errno = 4711;
    CHECK_TRUE(!resize(s, 16 * CHUNK + 1));
    CHECK_EQ(errno, 4711);
    check_span(s, start, 16 * CHUNK);
    struct mspan *t = take(1);
    CHECK_TRUE(t->start_addr > end);
    CHECK_TRUE(!resize(s, 16 * CHUNK + 1));
    CHECK_TRUE(!resize(s, 100 * (size_t)CHUNK));
    CHECK_TRUE(resize(t, 20 * CHUNK));
    check_span(t, t->start_addr, 20 * CHUNK);
    // Below a gap, some pages are free.
    CHECK_TRUE(resize(s, 16 * CHUNK - 5));
    CHECK_TRUE(!resize(s, 16 * CHUNK + 1));
    CHECK_TRUE(resize(s, 16 * CHUNK));
    check_span(s, start, 16 * CHUNK);
    give(s);
    give(t);
    syscall(SYS_munmap, end, PAGE_SIZE);
}

TEST(the_heap_goes_on_below,
     "if the OS lets the heap go on below its older parts only, a span there"
     " grows over the free pages above it, and not over the end of its part")
{
    for (uintptr_t hint = UINT64_C(0xc0) << 32; hint >> 47 == 0;
         hint += UINT64_C(1) << 40)
        syscall(SYS_mmap, hint, PAGE_SIZE, PROT_NONE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    struct mspan *s = take(16 * CHUNK);
    struct mspan *t = take(10);
    CHECK_TRUE(t->start_addr < s->start_addr);
    struct mspan *spans[] = {s, t};
    for (size_t i = 0; i < 2; i++) {
        size_t most = 16 * CHUNK; // an arena
        char *start = spans[i]->start_addr;
        CHECK_TRUE(resize(spans[i], most - 1));
        CHECK_TRUE(resize(spans[i], most));
        check_span(spans[i], start, most);
        CHECK_TRUE(!resize(spans[i], most + 1));
        CHECK_TRUE(!resize(spans[i], most + 100 * CHUNK));
        check_span(spans[i], start, most);
    }
    give(s);
    give(t);
    CHECK_TRUE(is_sound());
}

// ---------------------------------------------------------------------------
// Damage.

static struct mspan *victim; // of 5 pages, with a free page above

static void check_it(void)
{
    lock_acquire(&mheap.lock);
    _exit(mheap_check() ? 0 : 1);
}

static uint64_t *word_of(const char *p, uint64_t *bit)
{
    lock_acquire(&mheap.lock);
    struct palloc_data *chunk =
        page_alloc_chunk(&mheap.pages, chunk_index((uintptr_t)p));
    lock_release(&mheap.lock);
    size_t page = chunk_page_index((uintptr_t)p);
    *bit = UINT64_C(1) << page % 64;
    return &chunk->alloc.words[page / 64];
}

// flip makes a page in use free, or the other way round.
static void flip(void *page)
{
    uint64_t bit;
    uint64_t *word = word_of(page, &bit);
    *word ^= bit;
    check_it();
}

// lead makes a page lead to another span, in which it does not lie.
static void lead(void *page)
{
    static struct mspan wrong;
    mspan_init(&wrong, page, 1);
    lock_acquire(&mheap.lock);
    arena_set_span(&wrong);
    arena_clear_span(&wrong);
    lock_release(&mheap.lock);
    check_it();
}

// forget lets no bit lead to the span.
static void forget(void *s)
{
    lock_acquire(&mheap.lock);
    arena_clear_span(s);
    lock_release(&mheap.lock);
    check_it();
}

// appear makes a span of a page that is free.
static struct mspan ghost;
static void appear(void *page)
{
    ghost.start_addr = page;
    lock_acquire(&mheap.lock);
    arena_set_span(&ghost);
    lock_release(&mheap.lock);
    check_it();
}

static void end_early(void *state)
{
    victim->state = *(enum mspan_state *)state;
    check_it();
}

static void lengthen(void *npages)
{
    victim->npages = *(size_t *)npages;
    check_it();
}

// hand_out_unnoticed puts a span into an arena of which nothing was handed out.
static void hand_out_unnoticed(void *unused)
{
    (void)unused;
    size_t n = 64 * MIB;
    lock_acquire(&mheap.lock);
    uintptr_t p = (uintptr_t)arena_reserve(&n);
    CHECK(page_alloc_grow(&mheap.pages, p, n));
    page_alloc_alloc_range(&mheap.pages, p, 3);
    mspan_init(&ghost, (char *)p, 3);
    ghost.state = MSPAN_IN_USE;
    arena_set_span(&ghost);
    lock_release(&mheap.lock);
    check_it();
}

TEST(damage_is_noticed,
     "mheap_check sees a page too many and one too few in the bitmaps, pages"
     " that lead to a wrong span, and spans that are missing, or are none")
{
    mm_free(mm_malloc(100)); // so that this thread has a cache, and no other
    struct mspan *below = take(3);
    victim = take(5);
    struct mspan *above = take(2);
    char *start = victim->start_addr;
    struct mspan *hole = take(1), *top = take(4);
    give(hole);
    char *free_page = mspan_end(above);
    CHECK_TRUE(is_sound());

    for (size_t i = 0; i < 5; i++) {
        CHECK_COMPLAINS(flip, start + i * PAGE_SIZE,
                        "I2 the pages of a span are in use");
        if (i > 0)
            CHECK_COMPLAINS(lead, start + i * PAGE_SIZE,
                            "I1 every page leads to its span");
    }
    CHECK_COMPLAINS(flip, free_page, "I2");
    CHECK_COMPLAINS(flip, mspan_end(top), "I2");
    CHECK_COMPLAINS(flip, mspan_end(top) + 100 * PAGE_SIZE, "I2");
    CHECK_COMPLAINS(forget, victim, "I2");
    CHECK_COMPLAINS(forget, top, "I2");

    enum mspan_state dead = MSPAN_DEAD;
    CHECK_COMPLAINS(end_early, &dead, "I1 a span in use has pages");
    size_t npages = 0;
    CHECK_COMPLAINS(lengthen, &npages, "I1 a span in use has pages");
    npages = 6; // over the next one
    CHECK_COMPLAINS(lengthen, &npages, "I1 every page leads to its span");
    npages = 4;
    CHECK_COMPLAINS(lengthen, &npages, "I2");

    mspan_init(&ghost, NULL, 1);
    ghost.state = MSPAN_IN_USE;
    CHECK_COMPLAINS(appear, free_page, "I2 the pages of a span are in use");
    CHECK_COMPLAINS(appear, start + PAGE_SIZE, "I1");
    ghost.npages = 0;
    CHECK_COMPLAINS(appear, free_page, "I1 a span in use has pages");
    mspan_init(&ghost, NULL, 1);
    CHECK_COMPLAINS(appear, free_page, "I1 a span in use has pages");
    CHECK_COMPLAINS(hand_out_unnoticed, NULL,
                    "I3 what was never handed out is zero");

    CHECK_TRUE(is_sound());
    give(below);
    give(victim);
    give(above);
    give(top);
}

// ---------------------------------------------------------------------------
// Against a model of the heap, from its lowest page on.

enum { MOST_PAGES = 1 << 16, ARENA_PAGES = 8192 };
static bool used[MOST_PAGES];
static size_t heap_end; // in pages
static size_t handed_out[MOST_PAGES / ARENA_PAGES]; // page above, in an arena
static char *heap;

enum { SLOTS = 300 };
static struct mspan *slots[SLOTS];
static uint64_t seed;

// model_find returns the lowest npages free pages; heap_end: there are none.
static size_t model_find(size_t npages)
{
    size_t run = 0;
    for (size_t page = 0; page < heap_end; page++) {
        run = used[page] ? 0 : run + 1;
        if (run == npages)
            return page + 1 - npages;
    }
    return heap_end;
}

static void model_grow(size_t npages)
{
    heap_end += round_up(npages, CHUNK);
    CHECK_LE(heap_end, MOST_PAGES);
}

// model_hand_out tells whether one of the pages needs zeros.
static bool model_hand_out(size_t page, size_t npages)
{
    bool needs_zero = false;
    for (size_t i = page; i < page + npages; i++)
        needs_zero |= i % ARENA_PAGES < handed_out[i / ARENA_PAGES];
    for (size_t i = page; i < page + npages; i++)
        if (i % ARENA_PAGES >= handed_out[i / ARENA_PAGES])
            handed_out[i / ARENA_PAGES] = i % ARENA_PAGES + 1;
    memset(used + page, true, npages);
    return needs_zero;
}

static size_t page_of(const struct mspan *s)
{
    return (size_t)(s->start_addr - heap) / PAGE_SIZE;
}

static size_t random_length(size_t most)
{
    switch (random_below(&seed, 8)) {
    case 0:
        return 1 + random_below(&seed, most);
    case 1:
        return 1 + random_below(&seed, 127);
    default:
        return 1 + random_below(&seed, 12);
    }
}

static struct mspan *take_random(size_t most)
{
    size_t npages = random_length(most), align = 1; // in pages
    if (random_below(&seed, 6) == 0)
        align = (size_t)1 << random_below(&seed, 9);
    size_t page = model_find(npages + align - 1);
    if (page == heap_end) {
        model_grow(npages + align - 1);
        page = model_find(npages + align - 1);
    }
    page = round_up(page, align); // heap is at a multiple of all of them
    struct mspan *s = take_aligned(npages, align * PAGE_SIZE);
    CHECK_NOT_NULL(s);
    CHECK_THAT(page_of(s) == page && s->npages == npages,
               "%zu pages at a multiple of %zu: expected page %zu, got %zu",
               npages, align, page, page_of(s));
    CHECK_EQ(s->needzero, model_hand_out(page, npages));
    return s;
}

static void resize_random(struct mspan *s, size_t most)
{
    size_t page = page_of(s), old = s->npages;
    size_t npages = random_below(&seed, 2) == 0 ? old + random_below(&seed, 20)
                                                : random_length(most);
    size_t end = page + npages;
    bool possible = true, needs_zero = s->needzero;
    for (size_t i = page + old; i < end && i < heap_end; i++)
        possible &= !used[i];
    CHECK_EQ(resize(s, npages), possible);
    CHECK_EQ(s->npages, possible ? npages : old);
    if (!possible)
        return;
    if (end > heap_end)
        model_grow(end - heap_end);
    if (npages < old)
        memset(used + end, false, old - npages);
    else
        needs_zero |= model_hand_out(page + old, npages - old);
    CHECK_EQ(s->needzero, needs_zero);
}

static void check_pages(void)
{
    bool same = true;
    CHECK_TRUE(is_sound());
    lock_acquire(&mheap.lock);
    for (size_t page = 0; page < heap_end; page++)
        same &=
            page_alloc_count(&mheap.pages, (uintptr_t)heap + page * PAGE_SIZE,
                             1) == used[page];
    same &= (size_t)(mheap.cur_arena.base - heap) == heap_end * PAGE_SIZE;
    lock_release(&mheap.lock);
    CHECK_THAT(same, "pages differ");
    for (size_t i = 0; i < SLOTS; i++)
        if (slots[i] != NULL)
            for (size_t page = 0; page < slots[i]->npages; page++)
                CHECK_PTR_EQ(span_of(slots[i]->start_addr + page * PAGE_SIZE),
                             slots[i]);
}

// work does n random operations with so many slots. All is free again then.
static void work(size_t n, size_t n_slots, size_t most)
{
    SKIP_IN_PIECES();
    seed = random_start();
    struct mspan *s = take(1); // so that there is a heap
    heap = s->start_addr;
    model_grow(1);
    model_hand_out(0, 1);
    give(s);
    used[0] = false;
    for (size_t i = 0; i < n; i++) {
        struct mspan **slot = &slots[random_below(&seed, n_slots)];
        if (*slot == NULL) {
            *slot = take_random(most);
        } else if (random_below(&seed, 3) == 0) {
            resize_random(*slot, most);
        } else {
            memset(used + page_of(*slot), false, (*slot)->npages);
            give(*slot);
            *slot = NULL;
        }
        if (i % (n / 200) == 0)
            check_pages();
    }
    for (size_t i = 0; i < n_slots; i++)
        if (slots[i] != NULL) {
            memset(used + page_of(slots[i]), false, slots[i]->npages);
            give(slots[i]);
            slots[i] = NULL;
        }
    check_pages();
}

// Under these sanitizers all is slower, and less must do.
enum { OPERATIONS = UNDER_TSAN || UNDER_ASAN ? 10000 : 100000 };

TEST(spans_agree_with_a_model,
     "in 100,000 operations, every span is at the lowest place, grows where the"
     " pages above it are free, and needs zeros if it must")
{
    work(OPERATIONS, 60, 200);
}

TEST(long_spans_agree_with_a_model, "the same for spans of several chunks")
{
    work(OPERATIONS / 20, 40, 3000);
}

TEST(many_short_spans_agree_with_a_model, "the same for a heap in many pieces")
{
    work(OPERATIONS / 4, SLOTS, 10);
}
