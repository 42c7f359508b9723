// limits_test.c - no more memory, and memory that somebody else moves.
//
// The limits of a process are set in a child, so that the rest of the test is
// not bound by them.

#include <fcntl.h>
#include <sys/resource.h>

#include "fresh.h"

// ---------------------------------------------------------------------------
// Exhaustion.

// A limit, in bytes above what the process has when it is set.
struct limit {
    unsigned resource;
    const char *field; // of /proc/self/status: what counts against it
    size_t room;
};

// Programs are promised to run with 256 MiB of address space.
static struct limit address_space = {RLIMIT_AS, "VmSize:", 256 << 20};
static struct limit data = {RLIMIT_DATA, "VmData:", 64 << 20};

// status_bytes returns the number behind field in /proc/self/status.
static size_t status_bytes(const char *field)
{
    static char text[4096];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    text[n < 0 ? 0 : n] = '\0';
    const char *found = strstr(text, field);
    return found == NULL ? 0 : strtoull(found + strlen(field), NULL, 10) * 1024;
}

// set_limit limits the process to room more bytes than it has.
static bool set_limit(const struct limit *l, size_t room)
{
    struct rlimit limit;
    size_t have = status_bytes(l->field);
    if (have == 0 || getrlimit(l->resource, &limit) != 0)
        return false;
    limit.rlim_cur = have + room;
    return setrlimit(l->resource, &limit) == 0;
}

// All blocks there were until there was no memory left.
enum { MOST = 50000 };
static struct {
    unsigned char *start;
    size_t size;
} blocks[MOST];
static size_t n_blocks;

// mark and is_marked write and check both ends of a block. Between them, a
// block takes no real memory.
static void mark(size_t i)
{
    size_t size = blocks[i].size;
    size_t end = size < 16 ? size : 16;
    fill(blocks[i].start, 0, end, i);
    fill(blocks[i].start, size - end, size, i);
}

static bool is_marked(size_t i)
{
    const unsigned char *p = blocks[i].start;
    size_t size = blocks[i].size;
    size_t end = size < 16 ? size : 16;
    return first_wrong(p, 0, end, i) == end &&
           first_wrong(p, size - end, size, i) == size;
}

// Whether a success may change errno: glibc 2.36 asks the OS in several ways.
static bool errno_may_change;

// take_all allocates until there is nothing left: large blocks first, then ever
// smaller ones. Adds their bytes to *bytes; returns what is wrong, or NULL.
static const char *take_all(size_t *bytes)
{
    static const size_t sizes[] = {1 << 20, 65536, 4096, 256, 16};

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        errno = 0;
        for (;;) {
            unsigned char *p = mm_malloc(sizes[i]);
            if (p == NULL && errno != ENOMEM)
                return "malloc returned NULL, but errno is not ENOMEM";
            if (p == NULL)
                break;
            if (errno != 0 && !errno_may_change)
                return "malloc succeeded, but changed errno";
            if (n_blocks == MOST)
                return "the limit does not limit malloc";
            blocks[n_blocks].start = p;
            blocks[n_blocks].size = sizes[i];
            mark(n_blocks++);
            *bytes += sizes[i];
        }
    }
    return NULL;
}

static const char *check_blocks(void)
{
    for (size_t i = 0; i < n_blocks; i++)
        if (!is_marked(i))
            return "a block does not hold what was written to it";
    return mm_check() ? NULL : "mm_check found a broken invariant";
}

static const char *free_blocks(void)
{
    const char *wrong = check_blocks();
    while (n_blocks > 0)
        mm_free(blocks[--n_blocks].start);
    if (wrong == NULL && !mm_check())
        wrong = "mm_check found a broken invariant after all was freed";
    return wrong;
}

// refuses tells whether p is NULL and errno is ENOMEM.
static bool refuses(const void *p)
{
    bool refused = p == NULL && errno == ENOMEM;
    errno = 0;
    return refused;
}

// all_refuse calls every function with a size that is too large by now.
static const char *all_refuse(void *block)
{
    enum { TOO_LARGE = 2 << 20 };
    void *unchanged = &unchanged;

    errno = 0;
    if (!refuses(mm_malloc(TOO_LARGE)))
        return "malloc did not return NULL and ENOMEM";
    if (!refuses(mm_calloc(2, TOO_LARGE / 2)))
        return "calloc did not return NULL and ENOMEM";
    if (!refuses(mm_realloc(block, TOO_LARGE)))
        return "realloc did not return NULL and ENOMEM";
    if (!refuses(mm_reallocarray(block, 2, TOO_LARGE / 2)))
        return "reallocarray did not return NULL and ENOMEM";
    if (!refuses(mm_aligned_alloc(64, TOO_LARGE)))
        return "aligned_alloc did not return NULL and ENOMEM";
    if (!refuses(mm_memalign(TOO_LARGE, 100)))
        return "memalign did not return NULL and ENOMEM";
    if (!refuses(mm_pvalloc(TOO_LARGE)))
        return "pvalloc did not return NULL and ENOMEM";
    if (mm_posix_memalign(&unchanged, 4096, TOO_LARGE) != ENOMEM ||
        unchanged != &unchanged)
        return "posix_memalign did not return ENOMEM";
    return NULL;
}

static const char *exhaust(void *arg)
{
    const struct limit *limit = arg;
    size_t bytes = 0;
    unsigned char *kept = mm_malloc(10000);
    fill(kept, 0, 10000, 1);
    errno_may_change = is_c_library();

    if (!set_limit(limit, limit->room))
        return "the limit could not be set";
    const char *wrong = take_all(&bytes);
    if (wrong == NULL)
        wrong = all_refuse(kept);
    if (wrong == NULL)
        wrong = check_blocks();
    if (wrong != NULL)
        return wrong;
    if (bytes < limit->room / 2)
        return "less than half of the memory could be allocated";
    if (first_wrong(kept, 0, 10000, 1) != 10000)
        return "a realloc that failed changed the block";

    // With more memory, all is as it was.
    if (!set_limit(limit, limit->room))
        return "the limit could not be raised";
    kept = mm_realloc(kept, 3 << 20);
    if (kept == NULL || first_wrong(kept, 0, 10000, 1) != 10000)
        return "realloc does not work when there is memory again";
    return check_blocks();
}

TEST(exhausted_address_space,
     "without address space every call fails with ENOMEM and breaks nothing")
{
    CHECK_CHILD(in_child(exhaust, &address_space));
}

TEST(exhausted_data,
     "without memory every call fails with ENOMEM and breaks nothing")
{
    CHECK_CHILD(in_child(exhaust, &data));
}

static const char *recover(void *arg)
{
    const struct limit *limit = arg;

    errno_may_change = is_c_library();
    if (!set_limit(limit, limit->room))
        return "the limit could not be set";
    for (int round = 0; round < 5; round++) {
        size_t bytes = 0;
        const char *wrong = take_all(&bytes);
        if (wrong == NULL)
            wrong = free_blocks();
        if (wrong != NULL)
            return wrong;
        if (bytes < limit->room / 2)
            return round == 0 ? "less than half could be allocated at first"
                              : "less than half could be allocated again";
    }
    return NULL;
}

TEST(recovers_address_space,
     "when all was freed after the address space ran out, malloc works again")
{
    if (!keeps_sizes())
        SKIP("this stage takes nothing back");
    CHECK_CHILD(in_child(recover, &address_space));
}

TEST(recovers_data,
     "when all was freed after the memory ran out, malloc works again")
{
    if (!keeps_sizes())
        SKIP("this stage takes nothing back");
    CHECK_CHILD(in_child(recover, &data));
}

// free_in_between frees every other block when nothing is left, and allocates
// the same sizes again: what was freed must be found.
static const char *free_in_between(void *arg)
{
    const struct limit *limit = arg;
    size_t bytes = 0;

    errno_may_change = is_c_library();
    if (!set_limit(limit, limit->room))
        return "the limit could not be set";
    const char *wrong = take_all(&bytes);
    if (wrong != NULL)
        return wrong;
    for (size_t i = 0; i < n_blocks; i += 2)
        mm_free(blocks[i].start);
    for (size_t i = 0; i < n_blocks; i += 2) {
        blocks[i].start = mm_malloc(blocks[i].size);
        if (blocks[i].start == NULL)
            return "what was freed cannot be allocated again";
        mark(i);
    }
    return free_blocks();
}

TEST(reuses_what_is_freed_when_exhausted,
     "when nothing is left, what is freed can be allocated again")
{
    if (!keeps_sizes())
        SKIP("this stage takes nothing back");
    CHECK_CHILD(in_child(free_in_between, &data));
}

// ---------------------------------------------------------------------------
// The program break belongs to the whole process. Somebody else may move it up
// by any number of bytes, and down by as many, if nobody moved it since.

enum { PIECES = 64 };
static struct {
    unsigned char *start;
    size_t size;
} pieces[PIECES]; // of memory that is not the allocator's
static size_t n_pieces;
static size_t n_removed;

static void add_piece(size_t size)
{
    unsigned char *p = sbrk((intptr_t)size);
    CHECK_TRUE(p != (void *)-1);
    pieces[n_pieces].start = p;
    pieces[n_pieces].size = size;
    fill(p, 0, size, 1000 + n_pieces);
    n_pieces++;
}

// remove_piece gives the last piece back, if the break is still at its end.
static void remove_piece(void)
{
    size_t size = pieces[n_pieces - 1].size;
    if (sbrk(0) != pieces[n_pieces - 1].start + size)
        return;
    CHECK_TRUE(sbrk(-(intptr_t)size) != (void *)-1);
    n_pieces--;
    n_removed++;
}

static void check_pieces(void)
{
    for (size_t i = 0; i < n_pieces; i++)
        CHECK_PATTERN(pieces[i].start, pieces[i].size, 1000 + i);
}

TEST(break_moved_by_odd_numbers,
     "memory that somebody else takes at the break stays theirs, and blocks "
     "stay aligned")
{
    static const size_t moves[] = {1, 7,  8,    15,   16,   17,    31, 100,
                                   1, 16, 4095, 4096, 4097, 65537, 3,  200000};
    enum { MOVES = sizeof moves / sizeof moves[0], EACH = 5 };
    unsigned char *p[MOVES][EACH];

    for (size_t i = 0; i < MOVES; i++) {
        add_piece(moves[i]);
        p[i][0] = mm_malloc(1 + i);
        p[i][1] = mm_malloc(1000 * i + 1);
        p[i][2] = mm_memalign(64, 100);
        p[i][3] = mm_memalign(4096, 3000);
        p[i][4] = mm_malloc(100000);
        for (int k = 0; k < EACH; k++) {
            CHECK_NOT_NULL(p[i][k]);
            CHECK_ALIGNED(p[i][k], MM_ALIGNMENT);
            memset(p[i][k], 0xEE, room_of(p[i][k], 1));
        }
        CHECK_ALIGNED(p[i][2], 64);
        CHECK_ALIGNED(p[i][3], 4096);
        check_pieces();
        CHECK_TRUE(mm_check());
    }
    for (size_t i = 0; i < MOVES; i++) {
        for (size_t k = 0; k < EACH; k++)
            mm_free(p[i][(i + k) % EACH]);
        check_pieces();
    }
    for (size_t i = 0; i < MOVES; i++) {
        unsigned char *q = mm_malloc(moves[i]);
        CHECK_NOT_NULL(q);
        memset(q, 0xEE, room_of(q, moves[i]));
        check_pieces();
        mm_free(q);
    }
}

TEST(break_moved_up_and_down,
     "somebody else may move the break up, and down again, between any calls")
{
    enum { BLOCKS = 24, ROUNDS = 2000 };
    unsigned char *p[BLOCKS] = {0};
    size_t sizes[BLOCKS] = {0};
    uint64_t state = number_from("MM_SEED", 9);

    for (int round = 0; round < ROUNDS; round++) {
        size_t what = random_below(&state, 8);
        size_t i = random_below(&state, BLOCKS);
        if (what == 0 && n_pieces < PIECES) {
            add_piece(1 + random_size(&state, 5000));
        } else if (what == 1 && n_pieces > 0) {
            remove_piece();
        } else if (p[i] == NULL) {
            bool large = random_below(&state, 20) == 0 && keeps_sizes();
            sizes[i] = random_size(&state, large ? 500000 : 3000);
            p[i] = mm_malloc(sizes[i]);
            CHECK_NOT_NULL(p[i]);
            CHECK_ALIGNED(p[i], MM_ALIGNMENT);
            fill(p[i], 0, sizes[i], i);
        } else {
            CHECK_PATTERN(p[i], sizes[i], i);
            mm_free(p[i]);
            p[i] = NULL;
        }
        if (round % 100 == 0) {
            check_pieces();
            CHECK_TRUE(mm_check());
        }
    }
    for (size_t i = 0; i < BLOCKS; i++) {
        if (p[i] != NULL)
            CHECK_PATTERN(p[i], sizes[i], i);
        mm_free(p[i]);
    }
    check_pieces();
    CHECK_GE(n_pieces, 10);
    CHECK_GE(n_removed, 10);
}

// start_at_odd_break makes the very first calls when the break is anywhere.
static const char *start_at_odd_break(void *arg)
{
    static const size_t moves[] = {1, 15, 16, 4097};
    (void)arg;

    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        unsigned char *mine = sbrk((intptr_t)moves[i]);
        fill(mine, 0, moves[i], 6);
        unsigned char *p = mm_malloc(100);
        unsigned char *q = mm_memalign(1024, 100);
        if (p == NULL || (uintptr_t)p % MM_ALIGNMENT != 0 || q == NULL ||
            (uintptr_t)q % 1024 != 0)
            return "no block, or one that is not aligned";
        memset(p, 0xEE, 100);
        memset(q, 0xEE, 100);
        mm_free(p);
        mm_free(q);
        if (first_wrong(mine, 0, moves[i], 6) != moves[i])
            return "the allocator wrote to memory that is not its own";
        if (!mm_check())
            return "mm_check found a broken invariant";
    }
    return NULL;
}

TEST(first_call_at_odd_break,
     "the break may be anywhere when malloc is called for the first time")
{
    CHECK_CHILD(in_fresh_process("start_at_odd_break"));
}

static const struct fresh_body fresh_bodies[] = {
    {"start_at_odd_break", start_at_odd_break},
    {NULL, NULL},
};
