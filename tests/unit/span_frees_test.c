// stages: 08-
//
// What is promised of a block that is freed twice, by the holder of its span or
// by other threads, and that no free is lost when all threads free what others
// allocated.
//
//   one after the other   the second free aborts, whoever does which, whatever
//                         became of the span meanwhile; "double free" is said
//                         with the block, or without it if its span is gone
//   two at once           one of them aborts, or the next sweep of the span
//                         does; until then mm_check complains. If the slot is
//                         handed out before the sweep, nobody can tell.
//
// If the two do not hold the span, and nobody sweeps it meanwhile, one of them
// aborts: to clear a mark is one atomic operation. But a span that is full is
// swept by the first one that frees.

#include "heap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"
#include "workers.h"

// Blocks of 1024 bytes: 8 fill a span, of one page.
enum { SIZE = 1024, EACH = PAGE_SIZE / SIZE };

// ---------------------------------------------------------------------------
// One after the other. All of it happens in a child, with threads of its own;
// ThreadSanitizer allows none there.

enum who { HOLDER, ANOTHER, A_THIRD, NUM_WHO };
static const char *const who_names[] = {"the holder", "another", "a third"};

// What the span is when the block is freed for the first time,
enum before { SHOWS_MORE, USED_UP, FULL, PARTIAL, NUM_BEFORE };
static const char *const before_names[] = {"shows more", "used up", "full",
                                           "partial"};

// and what happens before the second free.
enum between {
    NOTHING,
    SWEPT, // by the holder, if there is one
    TAKEN, // by another thread, with the block still free
    ALL_FREED, // so the span is empty
    GONE, // to the page heap
    NUM_BETWEEN
};
static const char *const between_names[] = {"at once", "after a sweep",
                                            "in another cache",
                                            "when all is free", "in no span"};

struct story {
    enum who first, second;
    enum before before;
    enum between between;
    char *block;
};

static struct worker others[2];
static void *blocks[4 * EACH];

static void free_one(void *p)
{
    mm_free(p);
}

static void free_by(enum who who, void *p)
{
    if (who == HOLDER)
        mm_free(p);
    else
        worker_do(&others[who - 1], free_one, p);
}

static void allocate_one(void *into)
{
    *(void **)into = mm_malloc(SIZE);
}

static void put_down_all(void *unused)
{
    (void)unused;
    mcache_flush();
}

// The blocks of a story: the span of the block has eight, 0 to 7.
static const size_t victim = 3;

static void begin_story(const struct story *story)
{
    for (size_t i = 0; i < 2; i++)
        worker_start(&others[i]);
    size_t n = story->before == SHOWS_MORE ? EACH - 1
               : story->before == USED_UP  ? EACH
                                           : EACH + 1;
    for (size_t i = 0; i < n; i++)
        blocks[i] = mm_malloc(SIZE);
    if (story->before == PARTIAL)
        mm_free(blocks[0]);
    CHECK(blocks[victim] == story->block);
    enum span_place place = story->before == FULL      ? PLACE_FULL
                            : story->before == PARTIAL ? PLACE_PARTIAL
                                                       : PLACE_CACHED;
    CHECK(mspan_place(span_of(story->block)) == place);
}

static void go_on(const struct story *story)
{
    struct mspan *s = span_of(story->block);
    void *p;
    switch (story->between) {
    case SWEPT:
        // Somebody frees another block, and then the holder one more.
        free_by(ANOTHER, blocks[1]);
        mm_free(blocks[2]);
        break;
    case TAKEN:
        mcache_flush();
        if (mspan_place(s) == PLACE_PARTIAL && blocks[EACH - 1] != NULL)
            mm_free(blocks[1]); // so that more than one is free
        worker_do(&others[1], allocate_one, &p);
        if (p == story->block)
            worker_do(&others[1], free_one, p); // it is free again
        CHECK(mspan_place(s) == PLACE_CACHED);
        break;
    case ALL_FREED:
    case GONE:
        for (size_t i = story->before == PARTIAL; i < EACH; i++)
            if (i != victim && blocks[i] != NULL)
                mm_free(blocks[i]);
        CHECK(mspan_count_alloc(s) == 0);
        if (story->between == GONE) {
            put_down_all(NULL);
            CHECK(span_of(story->block) == NULL);
        }
        break;
    case NOTHING:
    case NUM_BETWEEN:
        break;
    }
}

static void tell(void *argument)
{
    struct story *story = argument;
    alarm(20); // ends a child that hangs
    begin_story(story);
    free_by(story->first, story->block);
    go_on(story);
    free_by(story->second, story->block);
}

// check_story checks that the second free of a story aborts.
static void check_story(struct story *story)
{
    char expected[200];
    snprintf(expected, sizeof expected,
             story->between == GONE
                 ? "mm: free(%p): double free\n"
                 : "mm: free(%p): double free (block %p, 1024 bytes)\n",
             (void *)story->block, (void *)story->block);
    struct child child = child_run(tell, story);
    CHECK_THAT(
        child.signal == SIGABRT && strcmp(child.said, expected) == 0,
        "freed by %s, when the span was %s, and then by %s, %s: expected an"
        " abort after \"%s\", got signal %d after \"%s\"",
        who_names[story->first], before_names[story->before],
        who_names[story->second], between_names[story->between], expected,
        child.signal, child.said);
}

TEST(the_second_free_aborts,
     "a block that is freed twice, one after the other, makes the second free"
     " abort: freed by whomever, wherever its span was and is")
{
    void *p[EACH];
    allocate(p, EACH, SIZE); // in the child they are the same
    release(p, EACH);
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
    struct story story = {.block = p[victim]};
    for (unsigned i = 0; i < NUM_WHO * NUM_WHO * NUM_BEFORE; i++) {
        story.first = i % NUM_WHO;
        story.second = i / NUM_WHO % NUM_WHO;
        story.before = i / NUM_WHO / NUM_WHO;
        for (unsigned between = 0; between < NUM_BETWEEN; between++) {
            story.between = between;
            if (!UNDER_TSAN)
                check_story(&story);
        }
    }
}

static void free_it_twice(void *p)
{
    mm_free(p);
    mm_free(p);
}

static void free_it_and_others(void *p)
{
    mm_free(p);
    for (size_t i = 0; i < EACH; i++)
        if (blocks[i] != p)
            mm_free(blocks[i]);
    mm_free(p);
}

TEST(one_thread_frees_twice,
     "a thread that frees a block twice aborts: in its own span, in a full one,"
     " in one that is empty then; a large block, too")
{
    allocate(blocks, 2 * EACH, SIZE);
    for (size_t i = 0; i < 2 * EACH; i++)
        CHECK_ABORTS(free_it_twice, blocks[i],
                     "mm: free(%p): double free (block %p, 1024 bytes)\n",
                     blocks[i], blocks[i]);
    for (size_t i = 0; i < EACH; i++)
        CHECK_ABORTS(free_it_and_others, blocks[i],
                     "mm: free(%p): double free (block %p, 1024 bytes)\n",
                     blocks[i], blocks[i]);
    release(blocks, 2 * EACH);
    void *p = mm_malloc(100000);
    CHECK_ABORTS(free_it_twice, p, "mm: free(%p): double free\n", p);
    mm_free(p);
    p = mm_malloc(32768); // one object in its span
    CHECK_ABORTS(free_it_twice, p,
                 "mm: free(%p): double free (block %p, 32768 bytes)\n", p, p);
    mm_free(p);
}

// ---------------------------------------------------------------------------
// Two at once.

static pthread_barrier_t barrier;

static void free_at_once(void *p)
{
    pthread_barrier_wait(&barrier);
    mm_free(p);
}

static void free_neighbours(void *p)
{
    mm_free((char *)p + SIZE);
    mm_free((char *)p + 2 * SIZE);
}

// sweep_after makes this thread sweep the span of p, which was freed twice, and
// take nothing from it before. There are no other threads now: else mm_check
// would not look at objects.
static void sweep_after(void *p)
{
    mm_free(mm_malloc(1)); // there is a cache
    if (mm_check())
        fprintf(stderr, "unnoticed\n");
    in_other_thread(free_neighbours, p);
    mm_free((char *)p + 3 * SIZE); // the holder sweeps
    for (size_t i = 0; i < 2 * EACH; i++)
        mm_malloc(SIZE); // who takes the span, too
}

static void two_others(void *p)
{
    alarm(20);
    for (size_t i = 0; i < 2; i++) {
        worker_start(&others[i]);
        worker_begin(&others[i], free_at_once, p);
    }
    for (size_t i = 0; i < 2; i++) {
        worker_wait(&others[i]);
        worker_end(&others[i]);
    }
    sweep_after(p);
}

static void holder_and_another(void *p)
{
    alarm(20);
    worker_start(&others[0]);
    worker_begin(&others[0], free_at_once, p);
    free_at_once(p);
    worker_wait(&others[0]);
    worker_end(&others[0]);
    sweep_after(p);
}

enum { AT_ONCE = 150 };

// check_at_once checks that two frees of p at once, many times, are noticed
// each time. Returns how often neither aborted, but what came then.
static size_t check_at_once(void (*body)(void *), char *p)
{
    size_t later = 0;
    char expected[100];
    snprintf(expected, sizeof expected,
             "mm: free(%p): double free (block %p, 1024 bytes)\n", (void *)p,
             (void *)p);
    for (size_t i = 0; i < AT_ONCE && !UNDER_TSAN; i++) {
        struct child child = child_run(body, p);
        const char *says = strstr(child.said, expected);
        bool at_the_end = says != NULL && strcmp(says, expected) == 0;
        CHECK_THAT(child.signal == SIGABRT && at_the_end &&
                       strstr(child.said, "unnoticed") == NULL,
                   "signal %d after \"%s\"", child.signal, child.said);
        bool complained =
            strstr(child.said, "I2 what is free is marked") != NULL;
        CHECK_EQ(complained, says != child.said);
        later += complained;
    }
    return later;
}

TEST(two_others_at_once,
     "of two threads that free a block at the same time, and do not hold its"
     " span, one aborts, if the span is in a cache; if it is full, one of them,"
     " or the next sweep")
{
    allocate(blocks, EACH + 1, SIZE);
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    CHECK_EQ(mspan_place(span_of(blocks[EACH])), PLACE_CACHED);
    CHECK_EQ(check_at_once(two_others, blocks[EACH]), 0);
    CHECK_EQ(mspan_place(span_of(blocks[3])), PLACE_FULL);
    check_at_once(two_others, blocks[3]);
    release(blocks, EACH + 1);
}

TEST(
    the_holder_and_another_at_once,
    "if the holder of a span and another thread free a block at the same time,"
    " one of them aborts, or else mm_check complains and the next sweep aborts")
{
    allocate(blocks, EACH, SIZE);
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    check_at_once(holder_and_another, blocks[3]);
    release(blocks, EACH);
}

TEST(two_free_a_large_block_at_once,
     "of two threads that free a large block at the same time, one aborts")
{
    char *p = mm_malloc(100000);
    char with_block[100], without[100];
    snprintf(without, sizeof without, "mm: free(%p): double free\n", (void *)p);
    snprintf(with_block, sizeof with_block,
             "mm: free(%p): double free (block %p, 106496 bytes)\n", (void *)p,
             (void *)p);
    CHECK_EQ(pthread_barrier_init(&barrier, NULL, 2), 0);
    for (size_t i = 0; i < AT_ONCE && !UNDER_TSAN; i++) {
        struct child child = child_run(two_others, p);
        CHECK_THAT(child.signal == SIGABRT &&
                       (strcmp(child.said, without) == 0 ||
                        strcmp(child.said, with_block) == 0),
                   "signal %d after \"%s\"", child.signal, child.said);
    }
    mm_free(p);
}

// Both at once, so that neither noticed: the bits say so of slot 3 of a span
// that waits in the set. What others do then must notice it.
static void both_at_once(struct mspan *s)
{
    s->free_bits[0] |= 1 << 3;
    s->mark_bits[0] &= ~(UINT64_C(1) << 3);
}

static void then_it_is_taken(void *s)
{
    both_at_once(s);
    mm_malloc(SIZE);
}

static void then_it_is_given_back(void *s)
{
    for (size_t i = 1; i < EACH; i++)
        if (i != 3)
            mm_free(blocks[i]);
    both_at_once(s);
    mcentral_reclaim();
}

TEST(a_span_in_a_set_that_was_freed_in_twice,
     "two frees at once that nobody noticed are noticed when the span is taken,"
     " and when it is given back to the page heap")
{
    allocate(blocks, EACH, SIZE);
    mcache_flush();
    mm_free(blocks[0]);
    struct mspan *s = span_of(blocks[0]);
    CHECK_EQ(mspan_place(s), PLACE_PARTIAL);
    static const char says[] =
        "mm: free(%p): double free (block %p, 1024 bytes)\n";
    CHECK_ABORTS(then_it_is_taken, s, says, blocks[3], blocks[3]);
    CHECK_ABORTS(then_it_is_given_back, s, says, blocks[3], blocks[3]);
    release(blocks + 1, EACH - 1);
}

// ---------------------------------------------------------------------------
// Four threads exchange blocks, each of which says what it is.

enum {
    THREADS = 4,
    TABLE = 512,
    EXCHANGES = UNDER_TSAN ? 30000 : 300000, // of each thread
};
static _Atomic(unsigned char *) table[TABLE];
static atomic_size_t troubles;

// A block begins with its size; every other byte is the lowest of its address.
static unsigned char *new_block(uint64_t *random)
{
    // Of a few classes, so that threads meet in them; some have few objects.
    static const uint32_t sizes[] = {16, 48, 64, 200, 1024, 3000, 9000, 32768};
    uint32_t size =
        sizes[random_below(random, 100) == 0 ? 4 + random_below(random, 4)
                                             : random_below(random, 5)];
    unsigned char *p = mm_malloc(size);
    if (p == NULL) {
        troubles++;
        return NULL;
    }
    memset(p, (int)((uintptr_t)p >> 4 & 0xFF), size);
    memcpy(p, &size, sizeof size);
    return p;
}

static void end_block(unsigned char *p)
{
    uint32_t size;
    if (p == NULL)
        return;
    memcpy(&size, p, sizeof size);
    if (size > 32768)
        troubles++;
    else
        for (size_t i = sizeof size; i < size; i++)
            troubles += p[i] != ((uintptr_t)p >> 4 & 0xFF);
    memset(p, 0xDD, sizeof size);
    mm_free(p);
}

static uint64_t start;

static void *exchange(void *number)
{
    uint64_t random = start + (uintptr_t)number * 2;
    for (size_t i = 0; i < EXCHANGES; i++) {
        // Now blocks become more, now they become fewer.
        bool more = random_below(&random, 8) < (i >> 13 & 1 ? 3 : 5);
        unsigned char *p = more ? new_block(&random) : NULL;
        end_block(atomic_exchange(&table[random_below(&random, TABLE)], p));
    }
    return NULL;
}

TEST(threads_exchange_blocks,
     "four threads put blocks into a table and free what they find there: no"
     " block is handed out twice or damaged, and when all are free, all spans"
     " are")
{
    start = random_start();
    run_threads(THREADS, exchange);
    for (size_t i = 0; i < TABLE; i++) {
        end_block(table[i]);
        table[i] = NULL;
    }
    CHECK_EQ(troubles, 0);
    mm_free(mm_malloc(1)); // so that mm_check looks at all spans
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
    CHECK_EQ(stats().bytes_in_use, 0);
}

// exchange_and_end does the same in many threads that end soon.
static void *exchange_a_little(void *number)
{
    uint64_t random = start + (uintptr_t)number * 2;
    for (size_t i = 0; i < 300; i++)
        end_block(atomic_exchange(&table[random_below(&random, TABLE)],
                                  i % 2 == 0 ? new_block(&random) : NULL));
    return NULL;
}

TEST(
    threads_that_end_exchange_blocks,
    "threads that live shortly hand over their spans while others free in them:"
    " nothing is lost")
{
    start = random_start();
    for (size_t round = 0; round < (UNDER_TSAN ? 30 : 300); round++) {
        start += 1000;
        run_threads(THREADS, exchange_a_little);
    }
    for (size_t i = 0; i < TABLE; i++)
        end_block(table[i]);
    CHECK_EQ(troubles, 0);
    mm_free(mm_malloc(1));
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}

// The smallest set of spans there can be: all threads use one class, and one
// span is enough for all blocks.
static void *exchange_few(void *number)
{
    uint64_t random = start + (uintptr_t)number * 2;
    for (size_t i = 0; i < EXCHANGES / 3; i++) {
        unsigned char *p = NULL;
        if (i % 2 == 0) {
            p = mm_malloc(3000);
            troubles += p == NULL;
            memset(p, (int)((uintptr_t)p >> 4 & 0xFF), 16);
            memcpy(p, &(uint32_t){16}, sizeof(uint32_t));
        }
        end_block(atomic_exchange(&table[random_below(&random, 24)], p));
    }
    return NULL;
}

TEST(
    threads_exchange_few_blocks,
    "when there are as many blocks as a few spans have slots, spans become full"
    " and empty all the time: no block is handed out twice, and none is lost")
{
    start = random_start();
    run_threads(THREADS, exchange_few);
    for (size_t i = 0; i < 24; i++)
        end_block(table[i]);
    CHECK_EQ(troubles, 0);
    mm_free(mm_malloc(1));
    CHECK_TRUE(mm_check());
    mcache_flush();
    CHECK_EQ(spans_in_use(), 0);
}
