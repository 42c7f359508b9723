// stages: 11-
//
// The scavenger in the whole allocator: what mm_release gives back, what frees
// give back little by little, and what happens if the OS does not take it.
// Which pages these are is tested in mgcscavenge_test.c.

#include "heap.h"

#include <errno.h>
#include <string.h>
#include <time.h>

#include "blocks.h"
#include "os_madvise.h"
#include "random.h"
#include "test.h"
#include "workers.h"

enum { KIB = 1 << 10, MIB = 1 << 20, MIB_PAGES = MIB / PAGE_SIZE };

// What the comments of mgcscavenge.c promise, in pages: what a call gives back,
// unless it is a huge page, and of what the heap keeps.
enum { QUANTUM = 64 * KIB / PAGE_SIZE, HUGE_PAGES = 2 * MIB / PAGE_SIZE };
enum { RETAIN = 4 * MIB / PAGE_SIZE };

// The page heap at a moment.
struct heap_now {
    size_t ready, in_use; // pages
};
static struct heap_now heap_now(void)
{
    lock_acquire(&mheap.lock);
    struct heap_now now = {mheap.pages.ready, mheap.pages_in_use};
    lock_release(&mheap.lock);
    return now;
}

// free_ready returns how many bytes are free, and take memory of the machine.
static size_t free_ready(void)
{
    struct heap_now now = heap_now();
    return (now.ready - now.in_use) * PAGE_SIZE;
}

// Blocks, each filled with its number.
enum { MAX_BLOCKS = 4096 };
static void *blocks[MAX_BLOCKS];

static void fill_blocks(size_t n, size_t size)
{
    allocate(blocks, n, size);
    for (size_t i = 0; i < n; i++)
        memset(blocks[i], (int)(i % 255 + 1), size);
}

// is_filled tells whether all size bytes of block i are as they were filled.
static bool is_filled(size_t i, size_t size)
{
    const unsigned char *p = blocks[i];
    return p[0] == i % 255 + 1 && memcmp(p, p + 1, size - 1) == 0;
}

// ---------------------------------------------------------------------------
// mm_release.

TEST(release_gives_all_back,
     "mm_release gives all free pages back: they take no memory any more, and"
     " are counted; the second call has nothing to do, and says so")
{
    fill_blocks(40, MIB);
    for (size_t i = 0; i < 40; i++)
        CHECK_EQ(resident_bytes(blocks[i], MIB), MIB);
    uint64_t held = stats().bytes_from_os;
    release(blocks, 40);

    errno = 4711;
    CHECK_TRUE(mm_release(0));
    CHECK_EQ(errno, 4711);
    for (size_t i = 0; i < 40; i++)
        CHECK_EQ(resident_bytes(blocks[i], MIB), 0);
    CHECK_EQ(free_ready(), 0);
    CHECK_GE(advised.bytes, 40 * MIB);
    CHECK_LE(stats().bytes_from_os, held - 40 * MIB);
    CHECK_GE(stats().bytes_from_os_peak, held);
    CHECK_EQ(stats().madvises, advised.calls);
    CHECK_TRUE(!advised.wrong);

    size_t calls = advised.calls;
    CHECK_TRUE(!mm_release(0));
    CHECK_EQ(advised.calls, calls);
}

TEST(release_keeps_pad,
     "mm_release keeps as many free bytes as it is told, and no page more")
{
    static const size_t pads[] = {39 * MIB + 1,
                                  30 * MIB - 1,
                                  29 * MIB + PAGE_SIZE,
                                  10 * MIB + 1,
                                  10 * MIB,
                                  2 * MIB - PAGE_SIZE,
                                  MIB,
                                  PAGE_SIZE,
                                  1,
                                  0};
    fill_blocks(40, MIB);
    release(blocks, 40);
    CHECK_TRUE(!mm_release(SIZE_MAX));
    CHECK_TRUE(!mm_release(free_ready()));
    for (size_t i = 0; i < sizeof pads / sizeof *pads; i++) {
        size_t before = free_ready();
        bool any = mm_release(pads[i]);
        CHECK_GE(free_ready(), pads[i] < before ? pads[i] : before);
        CHECK_LE(free_ready(), round_up(pads[i], PAGE_SIZE));
        CHECK_EQ(any, free_ready() < before);
        CHECK_TRUE(!mm_release(pads[i]));
    }
}

TEST(release_counts_what_goes_on_the_way,
     "if pages go back as mm_release empties the cache of the thread, it says "
     "so,"
     " even if there is nothing more to do then")
{
    enum { N = 400 };
    fill_blocks(N, 16 * PAGE_SIZE);
    size_t on_the_way = 0;
    for (size_t i = 0; i < N; i++) {
        mm_free(blocks[i]);
        for (size_t size = 16; size <= MAX_SMALL_SIZE; size *= 2) {
            void *p = mm_malloc(size); // its span stays in the cache
            CHECK_NOT_NULL(p);
            mm_free(p);
        }
        size_t calls = advised.calls;
        bool any = mm_release(SIZE_MAX);
        CHECK_EQ(any, advised.calls > calls);
        on_the_way += any;
    }
    CHECK_GE(on_the_way, 1); // it was put to the test
}

TEST(live_blocks_keep_their_contents,
     "what is released lies between blocks that are in use: these keep their"
     " contents, those are gone")
{
    static const size_t sizes[] = {100,      5000,      PAGE_SIZE, 40 * KIB,
                                   64 * KIB, 136 * KIB, MIB};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        size_t n = sizes[k] < 64 * KIB ? 600 : 60;
        fill_blocks(n, sizes[k]);
        for (size_t i = 0; i < n; i += 2)
            mm_free(blocks[i]);
        mm_release(0);
        for (size_t i = 1; i < n; i += 2)
            CHECK_TRUE(is_filled(i, sizes[k]));
        if (sizes[k] > MAX_SMALL_SIZE)
            for (size_t i = 0; i < n; i += 2)
                CHECK_EQ(resident_bytes(blocks[i], sizes[k]), 0);
        for (size_t i = 1; i < n; i += 2)
            mm_free(blocks[i]);
        CHECK_TRUE(mm_check());
    }
}

TEST(calloc_of_released_memory,
     "calloc clears memory whether it was released or not; what malloc returns"
     " is as it was, or 0")
{
    SKIP_UNDER_TSAN();
    for (size_t round = 0; round < 6; round++) {
        fill_blocks(24, MIB);
        release(blocks, 24);
        mm_release(round * 5 * MIB);
        for (size_t i = 0; i < 24; i++) {
            size_t size = (1 + i % 3) * MIB / 2 + i * PAGE_SIZE;
            unsigned char *p =
                i % 2 == 0 ? mm_calloc(1, size) : mm_malloc(size);
            blocks[i] = p;
            CHECK_NOT_NULL(p);
            size_t usable = mm_usable_size(p);
            bool page_is_zero = true;
            for (size_t k = 0; k < usable; k++) {
                if (k % PAGE_SIZE == 0)
                    page_is_zero = p[k] == 0;
                if ((p[k] == 0) != page_is_zero || (i % 2 == 0 && p[k] != 0))
                    CHECK_THAT(false, "byte %zu of block %zu is %u", k, i,
                               p[k]);
            }
            memset(p, 0xA5, usable);
        }
        release(blocks, 24);
    }
}

// ---------------------------------------------------------------------------
// What frees give back.

// Blocks of 16 pages come from the page heap, whatever a thread has cached.
enum { BLOCK_PAGES = 16, BLOCK = BLOCK_PAGES * PAGE_SIZE };

// The goal as mgcscavenge.c tells it, followed call by call.
static size_t peak, freed;

static void note_peak(void)
{
    size_t in_use = heap_now().in_use;
    peak = peak < in_use ? in_use : peak;
}

static void note_free(size_t npages)
{
    freed += npages;
    peak -= freed / 2 < peak ? freed / 2 : peak;
    freed %= 2;
    note_peak();
}

static size_t goal(void)
{
    return peak + peak / 10 + RETAIN;
}

TEST(frees_keep_to_the_goal,
     "after each free, the heap holds no more than the peak, 10 % and 4 MiB"
     " above it, and the peak sinks by a page for two that are freed; it does"
     " not hold much less either")
{
    enum { N = 800 };
    // Even and odd numbers of pages.
    for (size_t i = 0; i < N; i++) {
        blocks[i] = mm_malloc((BLOCK_PAGES + i % 6) * PAGE_SIZE);
        CHECK_NOT_NULL(blocks[i]);
    }
    note_peak();
    CHECK_GE(peak, N * BLOCK_PAGES);
    CHECK_EQ(advised.calls, 0);
    size_t ready = heap_now().ready;
    for (size_t i = 0; i < N; i++) {
        mm_free(blocks[i]);
        note_free(BLOCK_PAGES + i % 6);
        struct heap_now now = heap_now();
        CHECK_LE(now.ready, goal() + QUANTUM - 1);
        if (advised.calls > 0)
            CHECK_GE(now.ready + BLOCK_PAGES + 5 + HUGE_PAGES, goal());
    }
    CHECK_LE(heap_now().ready, ready * 9 / 10);
    CHECK_EQ(heap_now().ready + advised.bytes / PAGE_SIZE, ready);
    CHECK_TRUE(!advised.wrong);
}

TEST(one_block_can_be_the_peak,
     "a block of 100 MiB that is freed counts as a peak: what is above the goal"
     " goes back with it, and nothing below")
{
    enum { LARGE = 100 * MIB };
    fill_blocks(1, LARGE);
    note_peak();
    mm_free(blocks[0]);
    note_free(LARGE / PAGE_SIZE);
    CHECK_GE(heap_now().ready + HUGE_PAGES, goal());
    CHECK_LE(heap_now().ready, goal() + QUANTUM - 1);
}

TEST(a_peak_is_forgotten,
     "a program that goes on with few blocks gives back what a peak needed, to"
     " the last page above the goal; then there is nothing to do any more")
{
    enum { N = 800 };
    fill_blocks(N, BLOCK);
    release(blocks, N);
    for (size_t i = 0; i < 4 * N; i++)
        mm_free(mm_malloc(BLOCK));
    struct heap_now now = heap_now();
    size_t few = now.in_use + BLOCK_PAGES;
    CHECK_LE(now.ready, few + few / 10 + RETAIN + QUANTUM);
    size_t calls = advised.calls;
    for (size_t i = 0; i < 4 * N; i++)
        mm_free(mm_malloc(BLOCK));
    CHECK_EQ(advised.calls, calls);
}

TEST(release_forgets_the_peak,
     "after mm_release, the goal begins at what is in use, and huge pages stay"
     " whole as before")
{
    enum { N = 800, FEW = N / 2 };
    fill_blocks(N, BLOCK);
    release(blocks, N);
    CHECK_TRUE(mm_release(0));
    fill_blocks(FEW, BLOCK);
    note_peak();
    CHECK_LE(peak, (FEW + 1) * BLOCK_PAGES);
    advised.largest = 0;
    // From the highest down, so that free pages are in one piece.
    for (size_t i = FEW; i > 0; i--) {
        mm_free(blocks[i - 1]);
        note_free(BLOCK_PAGES);
        CHECK_LE(heap_now().ready, goal() + QUANTUM - 1);
    }
    CHECK_EQ(advised.largest, HUGE_PAGES * PAGE_SIZE);
}

TEST(small_waves_cost_nothing,
     "a program whose heap rises and falls by 4 MiB makes no system call for"
     " that, however long it goes on")
{
    enum { BASE = 400, WAVE = 4 * MIB / BLOCK };
    fill_blocks(BASE + WAVE, BLOCK);
    uint64_t mmaps = stats().mmaps, mprotects = stats().mprotects;
    for (size_t round = 0; round < 300; round++) {
        release(blocks + BASE, WAVE);
        allocate(blocks + BASE, WAVE, BLOCK);
    }
    CHECK_EQ(advised.calls, 0);
    CHECK_EQ(stats().mmaps, mmaps);
    CHECK_EQ(stats().mprotects, mprotects);
    release(blocks, BASE + WAVE);
}

TEST(large_waves_cost_little,
     "a program that takes 100 MiB and frees all of it, again and again, finds"
     " nearly all of it still there: what went back the first time was missed,"
     " and stays from then on")
{
    enum { N = 800, ROUNDS = 8 };
    size_t bytes[ROUNDS];
    for (size_t round = 0; round < ROUNDS; round++) {
        size_t calls_before = advised.calls, bytes_before = advised.bytes;
        allocate(blocks, N, BLOCK);
        CHECK_EQ(advised.calls, calls_before);
        release(blocks, N);
        bytes[round] = advised.bytes - bytes_before;
    }
    CHECK_GE(bytes[0], (size_t)N * BLOCK / 4);
    // A part of what was missed is forgotten each time: a page in 64 freed.
    for (size_t round = 2; round < ROUNDS; round++)
        CHECK_LE(bytes[round], (size_t)N * BLOCK / 20);
}

TEST(no_free_takes_long, "no free gives back more than it frees, 64 KiB, or "
                         "what is missing to a huge"
                         " page; no malloc gives anything back")
{
    uint64_t random = random_start();
    size_t most_calls = 0, most_bytes = 0;
    for (size_t round = 0; round < 40000; round++) {
        size_t i = random_below(&random, 400);
        size_t size = (size_t)1 << random_below(&random, 22);
        size = 1 + random_below(&random, size);
        // Up and down again, so that there is something to give back.
        bool up = round / 5000 % 2 == 0;
        size_t calls = advised.calls, bytes = advised.bytes;
        size_t pages = mm_usable_size(blocks[i]) / PAGE_SIZE;
        if (blocks[i] == NULL && up) {
            blocks[i] = mm_malloc(size);
            CHECK_NOT_NULL(blocks[i]);
            CHECK_EQ(advised.calls, calls);
        } else if (blocks[i] != NULL && random_below(&random, 8) == 0) {
            blocks[i] = mm_realloc(blocks[i], size);
            CHECK_NOT_NULL(blocks[i]);
        } else {
            mm_free(blocks[i]);
            blocks[i] = NULL;
        }
        calls = advised.calls - calls;
        bytes = advised.bytes - bytes;
        most_calls = most_calls < calls ? calls : most_calls;
        most_bytes = most_bytes < bytes ? bytes : most_bytes;
        // In single pages, if they are scattered; the last a huge one.
        pages = pages < QUANTUM ? QUANTUM : pages;
        CHECK_LE(calls, pages);
        CHECK_LE(bytes, (pages - 1 + HUGE_PAGES) * PAGE_SIZE);
    }
    release(blocks, 400);
    CHECK_GE(most_bytes, (size_t)QUANTUM * PAGE_SIZE); // it was put to the test
    CHECK_TRUE(!advised.wrong);
}

TEST(a_block_that_shrinks_gives_back,
     "pages that realloc cuts off are free pages like others: they go back, and"
     " what is left of the block is as it was")
{
    fill_blocks(1, 64 * MIB);
    memset(blocks[0], 1, 64 * MIB);
    char *p = mm_realloc(blocks[0], MIB);
    CHECK_PTR_EQ(p, blocks[0]);
    CHECK_TRUE(is_filled(0, MIB));
    CHECK_TRUE(mm_release(0));
    CHECK_EQ(resident_bytes(p + MIB, 63 * MIB), 0);
    CHECK_TRUE(is_filled(0, MIB));
    p = mm_realloc(p, 64 * MIB);
    CHECK_TRUE(memcmp(p, p + 1, MIB - 1) == 0);
    for (size_t i = MIB; i < 64 * MIB; i += 512)
        CHECK_EQ(p[i], 0); // fresh again
    mm_free(p);
}

// ---------------------------------------------------------------------------
// If the OS refuses.

TEST(refused_pages_stay,
     "if the OS takes nothing back, nothing is lost: errno is kept, counts are"
     " right, the memory can be used again; and nobody tries for ever")
{
    fill_blocks(64, MIB);
    uint64_t held = stats().bytes_from_os;
    size_t reserved = stats().bytes_reserved;
    size_t ready = heap_now().ready;
    advised.refuse = true;
    for (size_t i = 0; i < 64; i++) {
        errno = 4711;
        mm_free(blocks[i]);
        CHECK_EQ(errno, 4711);
        CHECK_TRUE(mm_check());
    }
    CHECK_TRUE(!mm_release(0));
    CHECK_EQ(errno, 4711);
    size_t calls = advised.calls;
    CHECK_GE(calls, 1);
    // A free puts two chunks at most into the index, where each is tried once.
    CHECK_LE(calls, 64 * 2 + 8);
    CHECK_TRUE(!mm_release(0));
    CHECK_EQ(advised.calls, calls);
    CHECK_EQ(stats().madvises, calls);
    CHECK_EQ(stats().bytes_from_os, held);
    CHECK_EQ(heap_now().ready, ready);
    for (size_t i = 0; i < 64; i++)
        CHECK_EQ(resident_bytes(blocks[i], MIB), MIB);

    fill_blocks(64, MIB);
    CHECK_EQ(stats().bytes_from_os, held);
    CHECK_EQ(stats().bytes_reserved, reserved);
    for (size_t i = 0; i < 64; i++)
        CHECK_TRUE(is_filled(i, MIB));
    advised.refuse = false;
    release(blocks, 64);
    CHECK_TRUE(mm_release(0));
    CHECK_EQ(free_ready(), 0);
}

TEST(refused_pages_do_not_count, "if the OS refuses pages of one chunk, "
                                 "mm_release gives others back instead;"
                                 " and those, too, after a free there")
{
    fill_blocks(60, MIB);
    release(blocks, 60);
    advised.refuse_next = 1;
    CHECK_TRUE(mm_release(20 * MIB));
    CHECK_EQ(advised.refuse_next, 0);
    CHECK_EQ(free_ready(), 20 * MIB);
    fill_blocks(60, MIB);
    release(blocks, 60);
    CHECK_TRUE(mm_release(0));
    CHECK_EQ(free_ready(), 0);
}

TEST(refused_between,
     "if the OS takes some pages and refuses others, in any order, the counts"
     " are right at each step")
{
    uint64_t random = random_start();
    for (size_t round = 0; round < 3000; round++) {
        size_t i = random_below(&random, 200);
        uint64_t held = stats().bytes_from_os;
        size_t bytes = advised.bytes;
        advised.refuse = random_below(&random, 3) == 0;
        if (blocks[i] == NULL) {
            blocks[i] = mm_malloc(BLOCK * (1 + random_below(&random, 40)));
            CHECK_NOT_NULL(blocks[i]);
        } else {
            mm_free(blocks[i]);
            blocks[i] = NULL;
            CHECK_EQ(stats().bytes_from_os, held - (advised.bytes - bytes));
        }
        if (round % 100 == 0) {
            mm_release(random_below(&random, 8 * MIB));
            CHECK_TRUE(mm_check());
        }
    }
    advised.refuse = false;
    release(blocks, 200);
}

// ---------------------------------------------------------------------------
// mm_walk.

// What mm_walk showed.
static struct {
    size_t regions, used, free, released; // bytes: of spans
    size_t wrong; // items that are released, but not free pages
    size_t split; // two of a kind side by side
    size_t resident; // bytes that are released, and take memory
} walked;
static struct mm_item last_item;

static void note_item(const struct mm_item *item, void *ctx)
{
    (void)ctx;
    if (item->kind == MM_REGION)
        walked.regions += item->size;
    if (item->released && (item->kind != MM_SPAN || item->state != MM_FREE))
        walked.wrong++;
    if (item->kind == MM_SPAN && item->state == MM_USED)
        walked.used += item->size;
    if (item->kind == MM_SPAN && item->state == MM_FREE) {
        walked.free += item->size;
        walked.split +=
            last_item.kind == MM_SPAN && last_item.state == MM_FREE &&
            last_item.released == item->released &&
            (const char *)last_item.addr + last_item.size == item->addr;
        if (item->released) {
            walked.released += item->size;
            walked.resident += resident_bytes((void *)item->addr, item->size);
        }
    }
    last_item = *item;
}

TEST(walk_shows_what_is_released,
     "mm_walk shows free pages that take no memory apart from those that do,"
     " and they add up")
{
    fill_blocks(60, MIB);
    for (size_t i = 0; i < 60; i++)
        if (i % 3 != 0)
            mm_free(blocks[i]);
    for (size_t pad = 40 * MIB; pad + 9 * MIB > 9 * MIB; pad -= 10 * MIB) {
        mm_release(pad);
        memset(&walked, 0, sizeof walked);
        mm_walk(note_item, NULL);
        CHECK_EQ(walked.wrong, 0);
        CHECK_EQ(walked.split, 0);
        CHECK_EQ(walked.resident, 0);
        CHECK_EQ(walked.used + walked.free, walked.regions);
        CHECK_EQ(walked.regions - walked.released,
                 heap_now().ready * PAGE_SIZE);
        CHECK_GE(walked.released, 40 * MIB - pad);
    }
    for (size_t i = 0; i < 60; i += 3)
        mm_free(blocks[i]);
}

// ---------------------------------------------------------------------------
// The thread.

// sleeps_until waits until the heap holds few free pages. Returns false if it
// still does not after 30 seconds; that only ends what hangs.
static bool sleeps_until(size_t free_bytes)
{
    const struct timespec pause = {.tv_nsec = 20 * 1000 * 1000};
    for (size_t i = 0; i < 1500; i++) {
        if (free_ready() <= free_bytes)
            return true;
        nanosleep(&pause, NULL);
    }
    return false;
}

TEST(thread_gives_back,
     "while a program does nothing, the thread gives back what is free, but 4"
     " MiB and 10 % of what is in use; what is in use stays")
{
    fill_blocks(40, MIB);
    release(blocks + 20, 20);
    CHECK_GE(free_ready(), 12 * MIB);
    mm_start_thread();
    CHECK_TRUE(sleeps_until(4 * MIB + 2 * MIB + 64 * KIB));
    CHECK_TRUE(!advised.wrong);
    for (size_t i = 0; i < 20; i++)
        CHECK_TRUE(is_filled(i, MIB));
    // It stops there.
    CHECK_GE(free_ready() + 2 * MIB, 4 * MIB);
    release(blocks, 20);
}

// take_and_free fills and frees blocks of many sizes. Returns NULL if all kept
// their contents.
static void *take_and_free(void *number)
{
    uint64_t random = (uintptr_t)number * 77 + 1;
    unsigned char *mine[16] = {NULL};
    size_t sizes[16];
    size_t wrong = 0;
    for (size_t round = 0; round < 3000; round++) {
        size_t i = random_below(&random, 16);
        if (mine[i] != NULL) {
            wrong += mine[i][0] != i + 1 || mine[i][sizes[i] - 1] != i + 1;
            mm_free(mine[i]);
            mine[i] = NULL;
            continue;
        }
        sizes[i] =
            1 + random_below(&random, (size_t)1 << random_below(&random, 21));
        mine[i] = mm_malloc(sizes[i]);
        memset(mine[i], (int)(i + 1), sizes[i]);
        if (round % 512 == 0)
            mm_release(0);
    }
    for (size_t i = 0; i < 16; i++)
        mm_free(mine[i]);
    return (void *)wrong;
}

static _Atomic(size_t) n_wrong;
static void *count_wrong(void *number)
{
    if (take_and_free(number) != NULL)
        n_wrong++;
    return NULL;
}

TEST(thread_and_others,
     "the thread gives back while others allocate, free and release: no block"
     " loses its contents")
{
    mm_start_thread();
    for (size_t round = 0; round < 4; round++) {
        fill_blocks(30, MIB);
        release(blocks + 10, 20);
        run_threads(4, count_wrong);
        CHECK_EQ(n_wrong, 0);
        for (size_t i = 0; i < 10; i++)
            CHECK_TRUE(is_filled(i, MIB));
        release(blocks, 10);
        CHECK_TRUE(mm_check());
    }
    CHECK_TRUE(sleeps_until(4 * MIB + MIB));
}

TEST(thread_and_a_refusing_os,
     "if the OS takes nothing back, the thread does not try without end, and"
     " goes on when it does")
{
    fill_blocks(40, MIB);
    advised.refuse = true;
    mm_start_thread();
    release(blocks, 40);
    nanosleep(&(struct timespec){.tv_nsec = 500 * 1000 * 1000}, NULL);
    CHECK_LE(advised.calls, 40 * 2 + 8);
    CHECK_GE(free_ready(), 39 * MIB);
    advised.refuse = false;
    fill_blocks(40, MIB);
    release(blocks, 40);
    CHECK_TRUE(sleeps_until(4 * MIB + 64 * KIB));
}
