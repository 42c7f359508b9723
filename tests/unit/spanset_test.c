// stages: 08-
//
// spanset.c: a set of spans is a queue. Here one thread uses it: alone, against
// the Go runtime, after threads that stopped half way, and without memory.

#include "heap.h"

#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "child.h"
#include "os_memory.h"
#include "test.h"
#include "vectors.h"

enum { ENTRIES = SPAN_SET_BLOCK_ENTRIES, FIRST_CAPACITY = 256 };

static struct span_set set;

// A set does not look into its spans, so numbers from 1 on take their place.
static struct mspan *span(size_t number)
{
    return (struct mspan *)(number * 16);
}

static size_t pop_number(void)
{
    return (uintptr_t)span_set_pop(&set) / 16; // 0: there is none
}

// How many spans were pushed and popped by these two, in order.
static size_t pushed, popped;

static void push_next(size_t n)
{
    while (n-- > 0)
        CHECK_TRUE(span_set_push(&set, span(++pushed)));
}

static void pop_next(size_t n)
{
    while (n-- > 0) {
        popped++;
        CHECK_EQ(pop_number(), popped);
    }
}

// pop_all pops what is left, and looks whether that was all.
static void pop_all(void)
{
    pop_next(pushed - popped);
    CHECK_NULL(span_set_pop(&set));
    CHECK_EQ(span_set_length(&set), 0);
}

// check_set: the set is sound, and holds so many spans.
static void check_set(size_t length)
{
    CHECK_TRUE(span_set_check(&set));
    CHECK_EQ(span_set_length(&set), length);
}

// start_at makes the set one that so many spans went through, a multiple of
// ENTRIES.
static void start_at(uint32_t position)
{
    CHECK_EQ(position % ENTRIES, 0);
    set.index = (uint64_t)position << 32 | position;
    set.spine_len = position / ENTRIES;
}

static uint32_t head(void)
{
    return (uint32_t)(set.index >> 32);
}

static uint32_t tail(void)
{
    return (uint32_t)set.index;
}

static size_t capacity(void)
{
    return set.spine == NULL ? 0 : set.spine->capacity;
}

// blocks_in_use counts the blocks of the set, blocks_free those of no set.
static size_t blocks_in_use(void)
{
    size_t n = 0;
    for (size_t i = 0; i < capacity(); i++)
        n += set.spine->blocks[i] != NULL;
    return n;
}

static size_t blocks_free(void)
{
    size_t n = 0;
    lock_acquire(&mheap.lock);
    for (void *p = mheap.blockalloc.list; p != NULL; p = *(void **)p)
        n++;
    lock_release(&mheap.lock);
    return n;
}

// spans_in_free_blocks counts what is left in those: where it is, a push would
// be taken for finished before it is.
static size_t spans_in_free_blocks(void)
{
    size_t n = 0;
    lock_acquire(&mheap.lock);
    for (void *p = mheap.blockalloc.list; p != NULL; p = *(void **)p)
        for (size_t i = 0; i < ENTRIES; i++)
            n += ((struct span_set_block *)p)->spans[i] != NULL;
    lock_release(&mheap.lock);
    return n;
}

static uint64_t bytes_of_metadata(void)
{
    struct mm_stats stats;
    mm_stats(&stats);
    return stats.bytes_of_metadata;
}

// ---------------------------------------------------------------------------
// One thread.

TEST(an_untouched_set_is_empty,
     "a set that is all 0 is an empty one, and asking it takes no memory")
{
    uint64_t before = bytes_of_metadata();
    check_set(0);
    for (int i = 0; i < 3; i++)
        CHECK_NULL(span_set_pop(&set));
    span_set_reset(&set);
    check_set(0);
    CHECK_EQ(bytes_of_metadata(), before);
    CHECK_EQ(os.calls, 0);
    CHECK_TRUE(set.spine == NULL);
}

TEST(spans_leave_in_the_order_in_which_they_came,
     "a set is a queue, however many spans come and go at a time")
{
    for (size_t i = 1; i <= 600; i++) {
        size_t n = i % 2 == 0 ? i % 7 : i * 37 % 1500;
        push_next(n);
        check_set(pushed - popped);
        n = i % 3 == 0 ? i % 5 : i * 53 % 1600;
        n = n < pushed - popped ? n : pushed - popped;
        pop_next(n);
        check_set(pushed - popped);
    }
    CHECK_GE(pushed, 100 * ENTRIES);
    pop_all();
    check_set(0);
}

TEST(a_block_goes_with_its_last_span,
     "the first span of a block brings it, the last that is popped takes it"
     " away; none is leaked, none is made where an old one will do")
{
    push_next(1);
    CHECK_EQ(blocks_in_use(), 1);
    push_next(ENTRIES - 1);
    CHECK_EQ(blocks_in_use(), 1);
    push_next(1);
    CHECK_EQ(blocks_in_use(), 2);
    pop_next(ENTRIES - 1);
    CHECK_EQ(blocks_in_use(), 2);
    CHECK_EQ(blocks_free(), 0);
    pop_next(1);
    CHECK_EQ(blocks_in_use(), 1);
    CHECK_EQ(blocks_free(), 1);
    uint64_t before = bytes_of_metadata();
    for (size_t i = 0; i < 1000 * ENTRIES; i++) {
        push_next(1);
        pop_next(1);
    }
    CHECK_EQ(blocks_in_use() + blocks_free(), 2);
    CHECK_EQ(bytes_of_metadata(), before);
    check_set(1);
    pop_all();
}

TEST(places_are_used_again,
     "the spine is a ring: a set through which a million spans go, but which"
     " never holds many, needs no more places than at first")
{
    for (size_t i = 0; i < 1000; i++) {
        push_next(1000);
        CHECK_EQ(capacity(), FIRST_CAPACITY);
        CHECK_LE(blocks_in_use(), 5);
        pop_next(i == 0 ? 1 : 1000);
    }
    check_set(999);
    pop_all();
}

TEST(the_ring_grows_when_it_is_full,
     "the spine is doubled when its places do not suffice, not earlier, and no"
     " span is lost, wherever in the ring head and tail are")
{
    static const size_t shifts[] = {0, 1, 100, 255, 256, 300};
    for (size_t i = 0; i < sizeof shifts / sizeof shifts[0]; i++) {
        set = (struct span_set){0};
        for (size_t n = 0; n < shifts[i]; n++) {
            push_next(ENTRIES);
            pop_next(ENTRIES);
        }
        for (size_t full = FIRST_CAPACITY; full <= 1024; full *= 2) {
            push_next(full * ENTRIES - (pushed - popped));
            CHECK_EQ(capacity(), full);
            CHECK_EQ(blocks_in_use(), full);
            push_next(1);
            CHECK_EQ(capacity(), 2 * full);
            check_set(full * ENTRIES + 1);
            pop_next(ENTRIES - 1);
            CHECK_EQ(blocks_in_use(), full + 1);
            pop_next(1);
            CHECK_EQ(blocks_in_use(), full);
        }
        pop_all();
        check_set(0);
    }
}

TEST(a_spine_is_counted,
     "the memory of spines and blocks is counted, that of large spines, which"
     " come straight from the OS, too")
{
    size_t spine = sizeof *set.spine + FIRST_CAPACITY * sizeof(void *);
    size_t block = round_up(sizeof(struct span_set_block), MM_ALIGNMENT);
    uint64_t before = bytes_of_metadata();
    push_next(1);
    CHECK_EQ(bytes_of_metadata() - before,
             round_up(spine, MM_ALIGNMENT) + block);
    push_next(512 * ENTRIES - 1);
    CHECK_EQ(capacity(), 512);
    before = bytes_of_metadata();
    push_next(1);
    CHECK_EQ(capacity(), 1024);
    CHECK_EQ(bytes_of_metadata() - before, 2 * PAGE_SIZE + block);
    pop_all();
}

TEST(positions_wrap_around,
     "a set goes on after 2^32 pushes as before: with few spans and with many,"
     " and while its spine grows")
{
    static const struct {
        size_t blocks_before; // so many before the end of the numbers
        size_t length;
        size_t capacity; // that this takes
    } cases[] = {
        {1, 1, 256},
        {1, ENTRIES, 256},
        {2, ENTRIES + 1, 256},
        {10, 3000, 256},
        {300, 100 * ENTRIES, 256},
        {100, 300 * ENTRIES, 512},
        {511, 512 * ENTRIES + 7, 1024},
        {600, 513 * ENTRIES + 7, 1024},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        set = (struct span_set){0};
        start_at(-(uint32_t)(cases[i].blocks_before * ENTRIES));
        check_set(0);
        push_next(cases[i].length);
        check_set(cases[i].length);
        size_t rest = cases[i].blocks_before * ENTRIES + 10;
        for (size_t n = 0; n < rest; n++) {
            push_next(1);
            pop_next(1);
        }
        CHECK_EQ(capacity(), cases[i].capacity);
        check_set(cases[i].length);
        CHECK_EQ(head(), 10);
        CHECK_EQ(tail(), 10 + cases[i].length);
        pop_all();
        check_set(0);
    }
}

TEST(no_spine_is_too_long_for_its_numbers,
     "a spine as long as it can be is not doubled: a set that holds nothing and"
     " one that holds 2^32 spans would look the same")
{
    push_next(ENTRIES);
    uint64_t index = set.index;
    // A spine that says so of itself, and positions for which it is full.
    set.spine->capacity = 1 << 22;
    set.index = (uint64_t)(tail() - (1u << 31)) << 32 | tail();
    size_t calls = os.calls;
    errno = 0;
    CHECK_TRUE(!span_set_push(&set, span(1)));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(os.calls, calls);
    CHECK_EQ(tail(), ENTRIES);
    set.spine->capacity = FIRST_CAPACITY;
    set.index = index;
    pop_all();
}

// ---------------------------------------------------------------------------
// span_set.txt: what is done with a set until the next one.

// is_line tells whether the line is just that word.
static bool is_line(struct vectors *v, const char *word)
{
    if (strcmp(v->line, word) != 0)
        return false;
    v->at = v->line + strlen(word);
    return true;
}

// check_popped: O N COUNT FIRST
static void check_popped(struct vectors *v)
{
    size_t n = vectors_number(v);
    size_t expected = vectors_number(v);
    size_t first = vectors_number_or_none(v);
    size_t got = 0, number;

    while (got < n && (number = pop_number()) != 0) {
        CHECK_LINE(v, number, first + got);
        got++;
    }
    CHECK_LINE(v, got, expected);
    CHECK_LINE(v, first == SIZE_MAX, got == 0);
}

// check_emptied: E N
static void check_emptied(struct vectors *v)
{
    size_t got = 0;
    while (pop_number() != 0)
        got++;
    CHECK_LINE(v, got, vectors_number(v));
}

// check_state: = HEAD TAIL LEN CAPACITY BLOCKS
static void check_state(struct vectors *v)
{
    CHECK_LINE(v, head(), vectors_number(v));
    CHECK_LINE(v, tail(), vectors_number(v));
    CHECK_LINE(v, set.spine_len, vectors_number(v));
    CHECK_LINE(v, capacity(), vectors_number(v));
    CHECK_LINE(v, blocks_in_use(), vectors_number(v));
    CHECK_VECTORS(v, span_set_check(&set), "the set is not sound");
}

TEST(the_queue_is_that_of_go,
     "each of 500 steps with six sets gives the spans that it gives in Go, and"
     " leaves the same positions and the same number of blocks")
{
    size_t sets = 0, pushes = 0, pops = 0, emptied = 0, resets = 0, states = 0;
    struct vectors v;

    vectors_open(&v, "tests/vectors/span_set.txt");
    while (vectors_next(&v)) {
        if (is_line(&v, "new")) {
            sets++;
            span_set_reset(&set);
            set = (struct span_set){0};
            pushed = 0;
        } else if (vectors_word(&v, "P")) {
            pushes++;
            push_next(vectors_number(&v));
        } else if (vectors_word(&v, "O")) {
            pops++;
            check_popped(&v);
        } else if (vectors_word(&v, "E")) {
            emptied++;
            check_emptied(&v);
        } else if (is_line(&v, "R")) {
            resets++;
            span_set_reset(&set);
        } else {
            CHECK_VECTORS(&v, vectors_word(&v, "="), "no line of this file");
            states++;
            check_state(&v);
        }
        CHECK_VECTORS(&v, vectors_is_read(&v), "more than was read");
    }
    CHECK_EQ(sets, 6);
    CHECK_EQ(pushes, 122);
    CHECK_EQ(pops, 118);
    CHECK_EQ(emptied, 8);
    CHECK_EQ(resets, 8);
    CHECK_EQ(states, 248);
    CHECK_EQ(v.number, 2 + 510); // the comment, and eof
    fprintf(stderr, "%s: %zu lines checked\n", v.name, v.number - 2);
}

// ---------------------------------------------------------------------------
// A thread that stops half way, for long or for ever: what it did so far is
// done here by hand.

static struct span_set_block *block_at(uint32_t position)
{
    return set.spine->blocks[position / ENTRIES % capacity()];
}

// begin_push is a push that claimed its position, and no more.
static uint32_t begin_push(void)
{
    return (uint32_t)set.index++;
}

static void end_push(uint32_t position, struct mspan *s)
{
    block_at(position)->spans[position % ENTRIES] = s;
}

// begin_pop is a pop that claimed its position, and no more.
static uint32_t begin_pop(void)
{
    set.index += UINT64_C(1) << 32;
    return head() - 1;
}

TEST(nobody_waits_for_a_push,
     "a span that was announced but is not there yet makes no other thread"
     " wait; what comes behind it comes out behind it")
{
    push_next(2);
    uint32_t position = begin_push();
    pushed++;
    push_next(2);
    pop_next(2);
    for (int i = 0; i < 3; i++)
        CHECK_NULL(span_set_pop(&set));
    push_next(ENTRIES);
    CHECK_NULL(span_set_pop(&set));
    CHECK_EQ(span_set_length(&set), ENTRIES + 3);
    end_push(position, span(3));
    check_set(ENTRIES + 3);
    pop_all();
}

TEST(nobody_waits_for_a_pop,
     "a block stays as it is as long as a thread pops there; others go on, more"
     " than once around the ring, which need not grow for that")
{
    push_next(10);
    pop_next(3);
    CHECK_EQ(begin_pop(), 3);
    popped++;
    struct span_set_block *block = block_at(3);
    for (size_t i = 0; i < 3 * FIRST_CAPACITY * ENTRIES; i++) {
        if (i == (FIRST_CAPACITY - 1) * ENTRIES) {
            CHECK_PTR_EQ(block_at(3), block);
            CHECK_EQ(blocks_in_use(), 2);
        }
        push_next(1);
        pop_next(1);
    }
    CHECK_EQ(capacity(), FIRST_CAPACITY);
    check_set(pushed - popped);
    CHECK_EQ(blocks_in_use(), 1);
    CHECK_EQ(block->popped, ENTRIES - 1);
    CHECK_PTR_EQ(block->spans[3], span(4));
    CHECK_EQ(blocks_free(), 1);
    pop_all();
}

TEST(reset_takes_everything,
     "reset empties a set, whatever it holds and whatever was left half done,"
     " and gives its blocks back, clear")
{
    for (size_t round = 0; round < 3; round++) {
        start_at(round == 2 ? -(uint32_t)(10 * ENTRIES) : 0);
        push_next(20 * ENTRIES + 7);
        pop_next(ENTRIES + 100);
        size_t blocks = blocks_in_use() + blocks_free();
        if (round > 0) {
            begin_pop();
            begin_push();
        }
        span_set_reset(&set);
        check_set(0);
        CHECK_EQ(blocks_in_use(), 0);
        CHECK_EQ(blocks_free(), blocks);
        CHECK_EQ(tail(), 0);
        CHECK_EQ(set.spine_len, 0);
        CHECK_EQ(capacity(), FIRST_CAPACITY);

        CHECK_EQ(spans_in_free_blocks(), 0);
        popped = pushed;
        push_next(21 * ENTRIES);
        pop_all();
        CHECK_EQ(blocks_free(), blocks);
    }
}

// ---------------------------------------------------------------------------
// Without memory.

// refuse_memory uses up what the page heap has in stock, and lets the OS refuse
// more.
static void refuse_memory(void)
{
    os.fail_from = os.calls + 1;
    lock_acquire(&mheap.lock);
    while (persistent_alloc(16) != NULL)
        ;
    lock_release(&mheap.lock);
}

// check_refused: a push fails, and changes nothing but, perhaps, the capacity.
static void check_refused(void)
{
    uint64_t index = set.index;
    uint32_t spine_len = set.spine_len;
    size_t blocks = blocks_in_use(), blocks_left = blocks_free();
    uint64_t bytes = bytes_of_metadata();
    for (int i = 0; i < 3; i++) {
        errno = 0;
        CHECK_TRUE(!span_set_push(&set, span(1)));
        CHECK_EQ(errno, ENOMEM);
        CHECK_EQ(set.index, index);
        CHECK_EQ(set.spine_len, spine_len);
        CHECK_EQ(blocks_in_use(), blocks);
        CHECK_EQ(blocks_free(), blocks_left);
        CHECK_EQ(bytes_of_metadata(), bytes);
        check_set(pushed - popped);
    }
}

TEST(without_memory_nothing_changes,
     "a push that needs memory and gets none fails; the set stays as it was,"
     " and is used on, when there is memory again, too")
{
    refuse_memory();
    check_refused();
    CHECK_NULL(span_set_pop(&set));
    CHECK_TRUE(set.spine == NULL);
    os.fail_from = SIZE_MAX;
    push_next(1);

    refuse_memory();
    push_next(ENTRIES - 1); // there is a block
    check_refused();
    pop_next(ENTRIES - 1);
    check_refused();
    pop_next(1);
    push_next(ENTRIES); // the block that was just given back
    check_refused();
    pop_next(ENTRIES);
    CHECK_NULL(span_set_pop(&set));

    os.fail_from = SIZE_MAX;
    errno = 0;
    for (size_t full = FIRST_CAPACITY; full <= 512; full *= 2) {
        push_next(full * ENTRIES - (pushed - popped));
        CHECK_EQ(capacity(), full);
        refuse_memory();
        // A block can be had, but no spine.
        lock_acquire(&mheap.lock);
        static struct span_set_block blocks[2];
        fixalloc_free(&mheap.blockalloc, &blocks[full / 512]);
        lock_release(&mheap.lock);
        check_refused();
        CHECK_EQ(capacity(), full);
        os.fail_from = SIZE_MAX;
        push_next(1);
        CHECK_EQ(capacity(), 2 * full);
    }
    pop_all();
    check_set(0);
}

TEST(errno_stays,
     "a push that succeeds leaves errno as it was, though it needs memory")
{
    errno = EDOM;
    push_next(513 * ENTRIES);
    pop_all();
    CHECK_EQ(errno, EDOM);
}

// ---------------------------------------------------------------------------
// The check of the stage.

static void check_it(void *unused)
{
    (void)unused;
    _exit(span_set_check(&set) ? 0 : 1);
}

TEST(
    the_check_sees_what_is_wrong,
    "span_set_check notices a span that is missing, one that was left, a"
    " wrong count, a missing block, a block too many, and impossible positions")
{
    push_next(3 * ENTRIES);
    pop_next(ENTRIES + 10);
    push_next(10);
    CHECK_RETURNS(check_it, NULL, "");
    struct span_set_block *first = block_at(head());
    struct span_set_block *last = block_at(tail());
    struct mspan *s = first->spans[10];

    first->spans[10] = NULL;
    CHECK_COMPLAINS_AT(check_it, NULL, "I1 there are spans from head to tail",
                       first);
    first->spans[10] = s;
    first->spans[9] = s;
    CHECK_COMPLAINS_AT(check_it, NULL, "I1 there are spans from head to tail",
                       first);
    first->spans[9] = NULL;
    last->spans[10] = s;
    CHECK_COMPLAINS_AT(check_it, NULL, "I1 there are spans from head to tail",
                       last);
    last->spans[10] = NULL;
    first->popped++;
    CHECK_COMPLAINS_AT(check_it, NULL, "I4 a block counts what was popped",
                       first);
    first->popped--;

    set.spine->blocks[1] = NULL;
    CHECK_COMPLAINS_AT(check_it, NULL,
                       "I3 a block is in its place until it is popped", &set);
    set.spine->blocks[1] = first;
    set.spine->blocks[0] = first;
    CHECK_COMPLAINS_AT(check_it, NULL,
                       "I3 a block is in its place until it is popped", &set);
    set.spine->blocks[0] = NULL;

    set.spine_len++;
    CHECK_COMPLAINS_AT(check_it, NULL,
                       "I2 tail is in the last block or behind it", &set);
    set.spine_len -= 2;
    CHECK_COMPLAINS_AT(check_it, NULL,
                       "I2 tail is in the last block or behind it", &set);
    set.spine_len++;
    uint64_t index = set.index;
    set.index = (uint64_t)(tail() + 1) << 32 | tail();
    CHECK_COMPLAINS_AT(check_it, NULL, "I3 every block has a place", &set);
    set.index = (uint64_t)(tail() - FIRST_CAPACITY * ENTRIES) << 32 | tail();
    CHECK_COMPLAINS_AT(check_it, NULL, "I3 every block has a place", &set);
    set.index = index;
    CHECK_RETURNS(check_it, NULL, "");
    pop_all();
}
