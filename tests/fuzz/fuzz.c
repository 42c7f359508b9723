// fuzz.c - a libFuzzer target: turns bytes into calls of the malloc family, and
// compares what a stage does with a model.
//
// Every call is allowed: no block is freed twice, none is written outside its
// usable size. So whatever goes wrong is the stage's fault.
//
// Model    An array of slots, each with a live block or none: where it is, how
//          long, what was written into it. Blocks must be aligned, must not
//          overlap, and must keep their contents. mm_check holds every so
//          often, mm_walk shows what is live, and at the end of each input,
//          when all blocks are freed, mm_check holds again.
// Errors   A call that must fail (its size overflows, its alignment is none)
//          returns NULL, sets errno, and changes nothing. One that succeeds
//          leaves errno alone.
// Carried  The stage's heap lives on from input to input; all blocks are freed
//          in between, but where the free memory lies may depend on the past.
//
// With -DFUZZ_REPLAY the program has a main of its own that runs files and,
// with -v, prints the calls in them: for any compiler and debugger.

#include <errno.h>
#include <malloc.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "mm.h"

enum {
    SLOTS = 64,
    CHECK_EVERY = 16, // calls from one mm_check to the next
    EDGE = 128, // bytes written at each end of a large block
    LIVE_LIMIT = 1 << 24, // bytes of all blocks; more is not asked for
    FOREIGN_MOVES = 64, // of the program break, in the whole run
    ERRNO_BEFORE = EXDEV, // no call sets this one
};

struct slot {
    unsigned char *block; // NULL: none
    size_t usable; // mm_usable_size; size, if the stage keeps no sizes
    uint64_t seed; // of its contents
};

static struct slot slots[SLOTS];
static size_t live_bytes; // of all slots
static uint64_t seeds; // how many were given out
static bool verbose;

// True for a stage that never uses memory again, nor knows how long blocks are.
static bool keeps_nothing;
static char *break_at_start;

// Memory that somebody else took at the program break, and filled.
enum { FOREIGN_BYTE = 0xAB };
static struct {
    char *begin;
    size_t size;
} foreign[FOREIGN_MOVES];
static size_t n_foreign;
static char *foreign_break; // where the break was after the last of them

// ---------------------------------------------------------------------------
// Input

struct input {
    const uint8_t *data;
    size_t size;
};

// next returns the next byte; 0 after the last.
static unsigned next(struct input *in)
{
    if (in->size == 0)
        return 0;
    in->size--;
    return *in->data++;
}

// next_size returns a size that a stage must be able to serve, small ones more
// often. Two bytes.
static size_t next_size(struct input *in)
{
    unsigned kind = next(in);
    size_t n = next(in);

    if (kind < 128)
        return n; // 0 to 255
    if (kind < 192)
        return 16 * n + kind % 3 - (n != 0); // around multiples of 16
    if (kind < 224)
        return n << 8 | kind; // up to 64 KiB
    if (kind < 240) // around powers of two, 2^6 to 2^17
        return ((size_t)64 << n % 12) + kind - 232;
    return n << 10 | kind; // up to 256 KiB
}

// next_impossible_size returns one that nobody can serve.
static size_t next_impossible_size(struct input *in)
{
    size_t n = next(in) * 32; // up to two pages
    n += next(in) % 32;
    return n % 2 != 0 ? SIZE_MAX - n / 2 : (size_t)PTRDIFF_MAX + 1 + n / 2;
}

// next_align returns a power of two, from 1 to 64 KiB.
static size_t next_align(struct input *in)
{
    return (size_t)1 << next(in) % 17;
}

// ---------------------------------------------------------------------------
// Verdicts

// broken prints what went wrong and aborts, which libFuzzer takes for a crash.
__attribute__((format(printf, 1, 2))) static _Noreturn void broken(
    const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "fuzz: broken: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

// tell prints a call, if asked to.
__attribute__((format(printf, 1, 2))) static void tell(const char *format, ...)
{
    if (!verbose)
        return;
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
}

static void check_stage(void)
{
    if (!mm_check())
        broken("mm_check found a broken invariant");
}

// What mm_walk shows of the slots.
struct walk {
    bool shows_blocks; // the first stage cannot
    bool found[SLOTS]; // the block of that slot lies in a used one
};

static void find_slots(const struct mm_item *item, void *ctx)
{
    struct walk *walk = ctx;
    const char *begin = (const char *)item->addr + item->header;
    const char *end = (const char *)item->addr + item->size;

    if (item->kind != MM_BLOCK)
        return;
    walk->shows_blocks = true;
    for (size_t i = 0; i < SLOTS && item->state == MM_USED; i++) {
        const char *block = (const char *)slots[i].block;
        if (begin <= block && block < end &&
            slots[i].usable <= (size_t)(end - block))
            walk->found[i] = true;
    }
}

// check_walk checks that mm_walk shows every live block, as a used one.
static void check_walk(void)
{
    struct walk walk = {0};

    mm_walk(find_slots, &walk);
    for (size_t i = 0; i < SLOTS && walk.shows_blocks; i++)
        if (slots[i].block != NULL && !walk.found[i])
            broken("mm_walk does not show the block of slot %zu as used", i);
}

// expect_success checks a call that returned p, not NULL.
static void expect_success(const char *call, const void *p)
{
    if (p == NULL)
        broken("%s returned NULL: %s", call, strerror(errno));
    if (errno != ERRNO_BEFORE)
        broken("%s succeeded, but set errno: %s", call, strerror(errno));
}

// expect_failure checks a call that returned p, and must fail with that error.
static void expect_failure(const char *call, const void *p, int error)
{
    if (p != NULL)
        broken("%s returned %p, but cannot succeed", call, p);
    if (errno != error)
        broken("%s must fail with \"%s\", but: %s", call, strerror(error),
               strerror(errno));
}

// ---------------------------------------------------------------------------
// Contents of blocks

static unsigned char byte_at(uint64_t seed, size_t offset)
{
    return (unsigned char)((seed + offset) * UINT64_C(0x9E3779B97F4A7C15) >>
                           56);
}

// is_written tells whether the byte of a block of n bytes is written: all of
// small blocks, both ends of large ones.
static bool is_written(size_t offset, size_t n)
{
    return offset < EDGE || offset >= n - EDGE;
}

// after returns the offset of the next byte that is written.
static size_t after(size_t offset, size_t n)
{
    offset++;
    return n < EDGE || is_written(offset, n) ? offset : n - EDGE;
}

// write_contents fills all bytes that may be written.
static void write_contents(struct slot *s)
{
    s->seed = ++seeds << 32;
    for (size_t i = 0; i < s->usable; i = after(i, s->usable))
        s->block[i] = byte_at(s->seed, i);
}

// check_contents checks that the first n bytes of s, as they were written, are
// now at `at`.
static void check_contents(const struct slot *s, const unsigned char *at,
                           size_t n)
{
    for (size_t i = 0; i < s->usable && i < n; i = after(i, s->usable))
        if (at[i] != byte_at(s->seed, i))
            broken("byte %zu of the block of slot %td, %zu bytes at %p, "
                   "changed; it is looked for at %p",
                   i, s - slots, s->usable, (void *)s->block, (const void *)at);
}

// check_place checks that s lies where it may.
static void check_place(const struct slot *s, size_t align)
{
    size_t room = s->usable + (s->usable == 0);
    if (align < MM_ALIGNMENT)
        align = MM_ALIGNMENT;
    if ((uintptr_t)s->block % align != 0)
        broken("%p is not a multiple of %zu", (void *)s->block, align);
    for (const struct slot *o = slots; o < slots + SLOTS; o++)
        if (o != s && o->block != NULL &&
            s->block < o->block + o->usable + (o->usable == 0) &&
            o->block < s->block + room)
            broken("%zu bytes at %p overlap %zu bytes at %p", s->usable,
                   (void *)s->block, o->usable, (void *)o->block);
}

// ---------------------------------------------------------------------------
// Calls

// begin_life puts the block p, of at least size bytes, into s.
static void begin_life(struct slot *s, void *p, size_t align, size_t size)
{
    size_t usable = keeps_nothing ? size : mm_usable_size(p);
    if (usable < size)
        broken("%zu bytes were asked for, only %zu are usable", size, usable);
    *s = (struct slot){.block = p, .usable = usable};
    check_place(s, align);
    write_contents(s);
    live_bytes += usable;
}

static void end_life(struct slot *s)
{
    live_bytes -= s->usable;
    s->block = NULL;
}

static void call_free(struct slot *s)
{
    unsigned char *p = s->block;
    tell("free(slot %td)", s - slots);
    check_contents(s, p, s->usable);
    end_life(s);
    mm_free(p);
    if (errno != ERRNO_BEFORE)
        broken("free set errno: %s", strerror(errno));
}

static void call_malloc(struct slot *s, size_t size)
{
    tell("slot %td = malloc(%zu)", s - slots, size);
    void *p = mm_malloc(size);
    expect_success("malloc", p);
    begin_life(s, p, 1, size);
}

static void call_calloc(struct slot *s, size_t n, size_t size)
{
    tell("slot %td = calloc(%zu, %zu)", s - slots, n, size);
    unsigned char *p = mm_calloc(n, size);
    expect_success("calloc", p);
    size_t usable = keeps_nothing ? n * size : mm_usable_size(p);
    // All bytes are 0 if the first is, and each is the same as the next.
    if (usable > 0 && (p[0] != 0 || memcmp(p, p + 1, usable - 1) != 0))
        broken("not all of the %zu usable bytes of calloc are 0", usable);
    begin_life(s, p, 1, n * size);
}

// call_realloc resizes the block of s; a stage may move it or not.
static void call_realloc(struct slot *s, size_t n, size_t size)
{
    struct slot old = *s;
    size_t bytes = n * size;

    tell("slot %td = reallocarray(slot %td, %zu, %zu)", s - slots, s - slots, n,
         size);
    if (old.block != NULL) {
        check_contents(s, s->block, s->usable);
        end_life(s);
    }
    unsigned char *p = n == 1 ? mm_realloc(old.block, size)
                              : mm_reallocarray(old.block, n, size);
    if (old.block != NULL && bytes == 0) {
        if (p != NULL || errno != ERRNO_BEFORE)
            broken("realloc to 0 bytes returned %p, errno %d", (void *)p,
                   errno);
        return;
    }
    expect_success("realloc", p);
    if (old.block != NULL)
        check_contents(&old, p, bytes);
    begin_life(s, p, 1, bytes);
}

static void call_aligned(struct slot *s, unsigned which, size_t align,
                         size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *p = NULL;

    tell("slot %td = aligned, way %u (%zu, %zu)", s - slots, which, align,
         size);
    switch (which) {
    case 0:
        p = mm_aligned_alloc(align, size);
        break;
    case 1:
        align += align == 1; // one byte more is no power of two
        p = mm_memalign(align - (align > 2), size);
        break;
    case 2:
        align = align < sizeof(void *) ? sizeof(void *) : align;
        if (mm_posix_memalign(&p, align, size) != 0)
            p = NULL;
        break;
    case 3:
        align = page;
        p = mm_valloc(size);
        break;
    default:
        align = page;
        p = mm_pvalloc(size);
        size = round_up(size + (size == 0), page);
        break;
    }
    expect_success("an aligned allocation", p);
    begin_life(s, p, align, size);
}

// call_impossible asks for what nobody can serve. The block of s, if there is
// one, must survive.
static void call_impossible(struct slot *s, unsigned which, size_t size,
                            size_t align)
{
    void *p = s; // to be left alone
    size_t half = SIZE_MAX / 2 + 1;

    tell("impossible, way %u (%zu, %zu), slot %td", which, size, align,
         s - slots);
    switch (which) {
    case 0:
        expect_failure("malloc", mm_malloc(size), ENOMEM);
        break;
    case 1:
        expect_failure("calloc", mm_calloc(half, 2), ENOMEM);
        break;
    case 2:
        expect_failure("calloc", mm_calloc(size, 1), ENOMEM);
        break;
    case 3:
        expect_failure("realloc", mm_realloc(s->block, size), ENOMEM);
        break;
    case 4:
        expect_failure("reallocarray", mm_reallocarray(s->block, 2, half),
                       ENOMEM);
        break;
    case 5:
        expect_failure("aligned_alloc", mm_aligned_alloc(align, size), ENOMEM);
        break;
    case 6:
        expect_failure("aligned_alloc", mm_aligned_alloc(align * 2 + 1, 1),
                       EINVAL);
        break;
    case 7:
        if (mm_posix_memalign(&p, align * 8, size) != ENOMEM || p != s)
            broken("posix_memalign must return ENOMEM, and leave its result");
        break;
    case 8:
        if (mm_posix_memalign(&p, align * 4 - 1, 1) != EINVAL || p != s)
            broken("posix_memalign must return EINVAL, and leave its result");
        break;
    case 9:
        expect_failure("memalign", mm_memalign(half + 1, 1), EINVAL);
        break;
    case 10:
        expect_failure("aligned_alloc", mm_aligned_alloc(half, 1), ENOMEM);
        break;
    case 11:
        expect_failure("valloc", mm_valloc(size), ENOMEM);
        break;
    default:
        expect_failure("pvalloc", mm_pvalloc(size), ENOMEM);
        break;
    }
}

// move_break_foreign does what the rest of a program may do at any time: it
// takes memory at the program break, and keeps it. Not twice at the same place:
// nothing new comes of that.
static void move_break_foreign(size_t n)
{
    if (n_foreign == FOREIGN_MOVES || sbrk(0) == foreign_break)
        return;
    tell("sbrk(%zu), by somebody else", n);
    char *p = sbrk((intptr_t)n);
    if (p == (char *)-1)
        return;
    memset(p, FOREIGN_BYTE, n);
    foreign[n_foreign].begin = p;
    foreign[n_foreign].size = n;
    n_foreign++;
    foreign_break = p + n;
}

// check_foreign checks that the stage left the memory of others alone.
static void check_foreign(void)
{
    for (size_t i = 0; i < n_foreign; i++) {
        const char *p = foreign[i].begin;
        if (*p != (char)FOREIGN_BYTE ||
            memcmp(p, p + 1, foreign[i].size - 1) != 0)
            broken("somebody else has %zu bytes at %p; they changed",
                   foreign[i].size, (const void *)p);
    }
}

// ---------------------------------------------------------------------------
// One input

// allocate fills the empty slot s.
static void allocate(struct input *in, struct slot *s, unsigned operation)
{
    size_t size = next_size(in);
    if (live_bytes + size > LIVE_LIMIT)
        return;
    if (operation < 8) {
        call_malloc(s, size);
    } else if (operation < 11) {
        call_calloc(s, operation - 7, size);
    } else {
        unsigned which = next(in) % 5;
        call_aligned(s, which, next_align(in), size);
    }
}

static void resize(struct input *in, struct slot *s, unsigned operation)
{
    size_t n = operation == 25 ? next(in) % 4 : 1;
    size_t size = next_size(in);
    if (live_bytes + n * size <= LIVE_LIMIT)
        call_realloc(s, n, size);
}

static void fail(struct input *in, struct slot *s)
{
    unsigned which = next(in) % 13;
    size_t size = next_impossible_size(in);
    call_impossible(s, which, size, next_align(in));
}

// perform performs one call: which, follows from one byte, and on which slot,
// from another. Each byte is read in a statement of its own, because C leaves
// open in which order the arguments of a call are computed.
static void perform(struct input *in)
{
    unsigned operation = next(in) % 32;
    struct slot *s = &slots[next(in) % SLOTS];

    errno = ERRNO_BEFORE;
    if (operation < 16 && s->block == NULL)
        allocate(in, s, operation);
    else if (operation < 20 && s->block != NULL)
        call_free(s);
    else if (operation < 26)
        resize(in, s, operation);
    else if (operation < 28)
        fail(in, s);
    else if (operation == 28)
        (void)mm_release(next_size(in));
    else if (operation == 29 && s->block != NULL && !keeps_nothing &&
             mm_usable_size(s->block) != s->usable)
        broken("the usable size of a block changed");
    else if (operation == 30)
        mm_free(NULL);
    else if (operation == 31)
        move_break_foreign(next_size(in) % 1024 + 1);
}

// forget_heap gives back the memory of a stage that never does so itself, with
// all that lies in between.
static void forget_heap(void)
{
    if (!keeps_nothing)
        return;
    if (sbrk(break_at_start - (char *)sbrk(0)) == (void *)-1)
        broken("the program break cannot be moved back");
    n_foreign = 0;
    foreign_break = NULL;
}

// start prepares the first input.
static void start(void)
{
    // The C library's malloc leaves the program break alone; that of a
    // sanitizer always does.
    mallopt(M_MMAP_THRESHOLD, 0);
    mallopt(M_MMAP_MAX, 1 << 20);

    void *p = mm_malloc(1);
    if (p == NULL)
        broken("the first malloc returned NULL");
    keeps_nothing = mm_usable_size(p) == 0;
    break_at_start = sbrk(0);
    mm_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input in = {.data = data, .size = size};
    struct mm_stats stats;

    if (break_at_start == NULL)
        start();
    for (unsigned calls = 1; in.size > 0; calls++) {
        perform(&in);
        if (calls % CHECK_EVERY == 0)
            check_stage();
    }

    check_walk();
    check_foreign();

    errno = ERRNO_BEFORE;
    for (struct slot *s = slots; s < slots + SLOTS; s++)
        if (s->block != NULL)
            call_free(s);
    check_stage();
    mm_stats(&stats);
    if (stats.mallocs != stats.frees)
        broken("%llu mallocs and %llu frees were counted",
               (unsigned long long)stats.mallocs,
               (unsigned long long)stats.frees);
    forget_heap();
    return 0;
}

// ---------------------------------------------------------------------------
// Without libFuzzer

#ifdef FUZZ_REPLAY

// run_file runs one input. Returns false if it cannot be read.
static bool run_file(const char *file)
{
    static uint8_t data[1 << 20];
    FILE *in = fopen(file, "rb");
    if (in == NULL)
        return false;
    size_t size = fread(data, 1, sizeof data, in);
    bool ok = !ferror(in) && size < sizeof data;
    fclose(in);
    if (ok) {
        tell("%s: %zu bytes", file, size);
        LLVMFuzzerTestOneInput(data, size);
    }
    return ok;
}

int main(int argc, char **argv)
{
    int first = 1;
    if (first < argc && strcmp(argv[first], "-v") == 0) {
        verbose = true;
        first++;
    }
    if (first == argc) {
        fprintf(stderr, "usage: fuzz_replay [-v] FILE...\n");
        return 2;
    }
    for (int i = first; i < argc; i++) {
        if (!run_file(argv[i])) {
            fprintf(stderr, "fuzz_replay: %s cannot be read\n", argv[i]);
            return 2;
        }
    }
    printf("%d inputs, nothing broken\n", argc - first);
    return 0;
}

#endif
