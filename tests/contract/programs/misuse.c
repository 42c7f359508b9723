// misuse.c - makes one mistake, named by its argument, and goes on.
//
// Prints the pointer that the mistake is about, and where it matters, on a
// second line, that of another block. A program that is not stopped there, or
// later by the damage, goes on: it allocates, frees, and exits with 1 if some
// memory is handed out twice, else with 0.

#include "program.h"

#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

// C23. The C library may not have it yet, but the stage has.
__attribute__((weak)) void free_sized(void *p, size_t size);

// The blocks that the program may use at this moment.
enum { MOST_BLOCKS = 1024 };
static struct live {
    char *p;
    size_t size;
} live[MOST_BLOCKS];
static size_t n_live;

// Some sizes. Every stage rounds 40 up to 48, but has no reason to round 48.
enum { SMALL = 48, LARGE = 1 << 20 };

// keep notes a live block of size bytes, and returns it.
static char *keep(void *start, size_t size)
{
    char *q = start;
    REQUIRE(q != NULL && n_live < MOST_BLOCKS);
    for (size_t i = 0; i < n_live; i++) {
        bool apart = q + size <= live[i].p || live[i].p + live[i].size <= q;
        REQUIRE(apart && "no memory is handed out twice");
    }
    live[n_live++] = (struct live){.p = q, .size = size};
    return q;
}

static char *block(size_t size)
{
    return keep(hidden(malloc(size)), size);
}

// forget notes that a block is no longer live, and returns it.
static char *forget(char *start)
{
    size_t i = 0;
    while (i < n_live && live[i].p != start)
        i++;
    REQUIRE(i < n_live);
    live[i] = live[--n_live];
    return start;
}

static void release(char *start)
{
    free(forget(start));
}

// print writes a line with an address as the messages show it.
static void print(const void *address)
{
    char line[] = "0x0000000000000000\n";
    char *digit = line + strlen(line) - 1;
    uintptr_t rest = (uintptr_t)address;
    do {
        *--digit = "0123456789abcdef"[rest % 16];
        rest /= 16;
    } while (rest != 0);
    *--digit = 'x';
    *--digit = '0';
    say(STDOUT_FILENO, digit);
}

// mistaken announces the pointer of the mistake, and returns it.
static char *mistaken(const void *address)
{
    print(address);
    return hidden(address);
}

static int compare(const void *a, const void *b)
{
    uintptr_t q = (uintptr_t) * (char *const *)a,
              r = (uintptr_t) * (char *const *)b;
    return q < r ? -1 : q > r;
}

// The mistake is made with p, between two other blocks, and two around them, by
// address, in whatever order malloc returned them.
static char *lowest, *below, *p, *above, *highest;

static void five_blocks(size_t size)
{
    char *blocks[5];
    for (size_t i = 0; i < 5; i++)
        blocks[i] = block(size);
    qsort(blocks, 5, sizeof *blocks, compare);
    lowest = blocks[0];
    below = blocks[1];
    p = blocks[2];
    above = blocks[3];
    highest = blocks[4];
}

static void double_free(void)
{
    release(p);
    free(mistaken(p));
}

static void double_free_with_another_between(void)
{
    release(p);
    release(lowest);
    free(mistaken(p));
}

static void *free_it(void *block)
{
    free(block);
    return NULL;
}

static void double_free_by_a_thread(void)
{
    pthread_t thread;
    release(p);
    REQUIRE(pthread_create(&thread, NULL, free_it, mistaken(p)) == 0);
    REQUIRE(pthread_join(thread, NULL) == 0);
}

// Whatever the allocator keeps in a free block is gone by the second free.
static void double_free_overwritten(void)
{
    release(p);
    memset(hidden(p), 0, SMALL);
    free(mistaken(p));
}

static void double_free_large(void)
{
    five_blocks(LARGE);
    double_free();
}

static void double_free_aligned(void)
{
    void *aligned = NULL;
    REQUIRE(posix_memalign(&aligned, 4096, SMALL) == 0);
    (void)block(LARGE);
    free(aligned);
    free(mistaken(aligned));
}

// Blocks that are large, but fit into the quarantine of MM_HARDEN.
enum { MEDIUM = 40000 };

static void double_free_merged_below(void)
{
    five_blocks(MEDIUM);
    release(below);
    release(p);
    free(mistaken(p));
}

static void double_free_merged_above(void)
{
    five_blocks(MEDIUM);
    release(above);
    release(p);
    free(mistaken(p));
}

// The OS may have the memory back: nobody may read a header there.
static void double_free_given_back(void)
{
    char *first = block(LARGE);
    char *last = block(LARGE);
    release(last);
    release(first);
    free(mistaken(last));
}

static void double_free_after_realloc_0(void)
{
    REQUIRE(realloc(forget(p), 0) == NULL);
    free(mistaken(p));
}

static void double_free_after_realloc_moved(void)
{
    char *moved = keep(realloc(forget(p), LARGE), LARGE);
    REQUIRE(moved != hidden(p));
    free(mistaken(p));
}

// By the time of the second free, the block belongs to somebody else. If they
// have the same address, nobody can tell the two frees apart: this frees their
// block. From here on, it must be handed out once, not twice.
static void double_free_after_reuse(void)
{
    release(p);
    char *reused = block(SMALL);
    free(mistaken(p));
    if (reused == hidden(p))
        forget(reused);
}

static void free_stack(void)
{
    alignas(16) char on_stack[64] = {0};
    free(mistaken(on_stack + 16));
}

static void free_global(void)
{
    alignas(16) static char global[64];
    free(mistaken(global + 16));
}

static char *new_page(void)
{
    char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(page != MAP_FAILED);
    return page;
}

static void free_mapping(void)
{
    free(mistaken(new_page() + 64));
}

static void free_wild_low(void)
{
    free(mistaken((void *)0x10));
}

// No address at all: its upper bits are neither all 0 nor all 1.
static void free_wild_high(void)
{
    free(mistaken((void *)0x5bad5badbad00000));
}

// Looks like a block of this allocator, but is in memory of another.
static void free_foreign_block(void)
{
    char *page = new_page();
    memcpy(page, below - 16, (size_t)(highest - below));
    free(mistaken(page + (p - below) + 16));
}

// Somebody else moved the break, too: their memory lies between ours.
static void free_foreign_break(void)
{
    char *foreign = sbrk(4096);
    REQUIRE(foreign != (char *)-1);
    (void)block(LARGE);
    free(mistaken(foreign + 1024 - (uintptr_t)foreign % 16));
}

// A header belongs to its address; a copy of it does not make a block.
static void free_copied_block(void)
{
    char *copy = block(1024);
    (void)block(LARGE);
    memcpy(copy, p - 16, 16 + SMALL + 16);
    free(mistaken(copy + 16));
}

static void free_interior(void)
{
    free(mistaken(p + 16));
}

static void free_misaligned(void)
{
    free(mistaken(p + 1));
}

// Where blocks have no headers, the end of one can be the start of the next. If
// that is live, nobody can tell what the program meant; here it is not.
static void free_end(void)
{
    release(above);
    free(mistaken(p + SMALL));
}

static void realloc_freed(void)
{
    release(p);
    char *q = realloc(mistaken(p), LARGE);
    if (q != NULL)
        keep(q, LARGE);
}

static void usable_size_freed(void)
{
    release(p);
    (void)malloc_usable_size(mistaken(p));
}

static void realloc_stack(void)
{
    alignas(16) char on_stack[64] = {0};
    char *q = realloc(mistaken(on_stack + 16), 128);
    if (q != NULL)
        keep(q, 128);
}

static void write_below(void)
{
    memset(mistaken(p) - 16, 'A', 16);
    print(below);
    release(p);
}

static void write_1_below(void)
{
    char *last = mistaken(p) - 1;
    *last = (char)~*last;
    print(below);
    release(p);
}

// The last byte of what the block was rounded up to.
static void write_1_past_33(void)
{
    char *q = block(33);
    memset(mistaken(q) + 47, 'A', 1);
    release(q);
}

// What strcpy does that forgets the zero at the end.
static void write_0_past(void)
{
    memset(mistaken(p) + SMALL, 0, 1);
    print(above);
    release(p);
}

// Makes the size of the block above look larger, where it is stored there.
static void write_1_past(void)
{
    memset(mistaken(p) + SMALL, 0xFF, 1);
    print(above);
    release(p);
    release(above);
}

static void write_16_past(void)
{
    memset(mistaken(p) + SMALL, 'A', 16);
    print(above);
    release(p);
}

static void write_past_large(void)
{
    five_blocks(LARGE);
    memset(mistaken(p) + LARGE, 'A', 16);
    print(above);
    release(p);
}

static void write_after_free(void)
{
    release(p);
    memset(mistaken(p), 'A', 8);
}

static void write_after_free_further_in(void)
{
    release(p);
    memset(mistaken(p) + 32, 'A', 8);
}

static void free_sized_wrong(void)
{
    free_sized(forget(mistaken(p)), 40);
}

// After a message, abort() may run a handler, and the handler may allocate.
static void allocate_in_handler(int signal)
{
    (void)signal;
    free(hidden(malloc(SMALL)));
    release(above);
    say(STDOUT_FILENO, "the handler allocated\n");
    _exit(7);
}

static void abort_handler(void)
{
    REQUIRE(signal(SIGABRT, allocate_in_handler) != SIG_ERR);
    double_free();
}

static const struct named_case cases[] = {
    {"double_free", double_free},
    {"double_free_with_another_between", double_free_with_another_between},
    {"double_free_by_a_thread", double_free_by_a_thread},
    {"double_free_overwritten", double_free_overwritten},
    {"double_free_large", double_free_large},
    {"double_free_aligned", double_free_aligned},
    {"double_free_merged_below", double_free_merged_below},
    {"double_free_merged_above", double_free_merged_above},
    {"double_free_given_back", double_free_given_back},
    {"double_free_after_realloc_0", double_free_after_realloc_0},
    {"double_free_after_realloc_moved", double_free_after_realloc_moved},
    {"double_free_after_reuse", double_free_after_reuse},
    {"free_stack", free_stack},
    {"free_global", free_global},
    {"free_mapping", free_mapping},
    {"free_wild_low", free_wild_low},
    {"free_wild_high", free_wild_high},
    {"free_foreign_block", free_foreign_block},
    {"free_foreign_break", free_foreign_break},
    {"free_copied_block", free_copied_block},
    {"free_interior", free_interior},
    {"free_misaligned", free_misaligned},
    {"free_end", free_end},
    {"realloc_freed", realloc_freed},
    {"realloc_stack", realloc_stack},
    {"usable_size_freed", usable_size_freed},
    {"write_below", write_below},
    {"write_1_below", write_1_below},
    {"write_1_past_33", write_1_past_33},
    {"write_0_past", write_0_past},
    {"write_1_past", write_1_past},
    {"write_16_past", write_16_past},
    {"write_past_large", write_past_large},
    {"write_after_free", write_after_free},
    {"write_after_free_further_in", write_after_free_further_in},
    {"free_sized_wrong", free_sized_wrong},
    {"abort_handler", abort_handler},
    {NULL, NULL},
};

// go_on allocates and frees blocks of many sizes, small ones above all.
static void go_on(void)
{
    size_t n_before = n_live;
    for (size_t i = 0; i < 1000; i++) {
        size_t size = i % 50 == 49 ? 10000 : 1 + i * 37 % 300;
        fill(block(size), size, size);
        if (i % 3 != 0) {
            size_t index = n_before + i * 11 % (n_live - n_before);
            struct live old = live[index];
            REQUIRE(is_filled(old.p, old.size, old.size));
            release(old.p);
        }
    }
    while (n_live > 0)
        release(live[n_live - 1].p);
}

int main(int argc, char **argv)
{
    five_blocks(SMALL);
    run_case(argc, argv, cases);
    go_on();
    return 0;
}
