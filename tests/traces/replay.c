// replay.c - performs an allocation trace on a stage, watches every block
// meanwhile, and prints the counters of the stage.
//
// Watched  Every block is aligned as promised, overlaps no other, keeps what
//          was written into it until it is freed, and takes it along when
//          realloc moves it. mm_check holds at the end.
// Edges    A large block is written only near both of its ends, so that a trace
//          can have blocks larger than the memory of the machine.
// Counters They are read when the trace ends, before its last blocks are freed.
//          The C library's malloc stays away from the program break, and
//          reading the counters is not counted: so they are the trace's alone.

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mm.h"
#include "trace.h"

enum {
    OK = 0,
    BROKEN = 1, // exit status: the stage broke a promise
    EDGE = 1 << 15,
    MAX_THREADS = 64,
};

// A block of the trace, while it lives: at is NULL before and after.
struct block {
    unsigned char *at;
    size_t size; // as the trace asks for
    uint64_t seed; // of its pattern
};

// What one thread has: a copy of the trace's blocks.
struct replayer {
    pthread_t thread;
    uint32_t number;
    uint64_t patterns; // how many were written
    struct block *blocks; // by id
    struct block **live; // the living ones by address
    uint32_t n_live;
};

static const struct trace *trace;
static uint64_t check_every; // operations from one mm_check to the next; 0: off
static bool keep; // leave the last blocks alone
static bool noscan; // the blocks hold no pointers
static uint64_t every; // operations from one row to the next; 0: off
static pthread_barrier_t start_together;

// Bytes that the live blocks of all threads asked for. relaxed: it is a
// statistic, nothing is found through it.
static _Atomic uint64_t payload;
static _Atomic uint64_t payload_peak;

// broken ends the program: the stage broke a promise in this operation; NULL:
// after the last one.
__attribute__((format(printf, 3, 4))) static _Noreturn void broken(
    const struct replayer *r, const struct operation *op, const char *format,
    ...)
{
    va_list args;
    va_start(args, format);
    flockfile(stderr);
    fprintf(stderr, "%s:%" PRIu32 ": ", trace->file,
            op == NULL ? trace->n_lines : op->line);
    if (op == NULL)
        fprintf(stderr, "after the last operation: ");
    else if (op->kind == 'f')
        fprintf(stderr, "f %" PRIu32 ": ", op->id);
    else
        fprintf(stderr, "%c %" PRIu32 " %zu: ", op->kind, op->id, op->size);
    if (r->number != 0)
        fprintf(stderr, "thread %" PRIu32 ": ", r->number + 1);
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    _exit(BROKEN); // other threads may still be running
}

// ---------------------------------------------------------------------------
// Watching blocks

// pattern_word returns the 8 bytes that belong at an offset, a multiple of 8.
static uint64_t pattern_word(uint64_t seed, size_t offset)
{
    uint64_t x = (seed + offset) * UINT64_C(0x9E3779B97F4A7C15);
    return x ^ x >> 29;
}

// middle_of returns where the middle of a block begins and ends, which is not
// written; 0 bytes of a small block.
static void middle_of(size_t size, size_t *begin, size_t *end)
{
    bool large = size > 2 * EDGE;
    *begin = large ? EDGE : size;
    *end = large ? (size - EDGE) & ~(size_t)7 : size;
}

static void write_range(const struct block *b, size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i += 8) {
        uint64_t word = pattern_word(b->seed, i);
        memcpy(b->at + i, &word, end - i < 8 ? end - i : 8);
    }
}

// range_is_intact tells whether at begins with the pattern of b, from one
// offset to another.
static bool range_is_intact(const struct block *b, const unsigned char *at,
                            size_t begin, size_t end)
{
    for (size_t i = begin; i < end; i += 8) {
        uint64_t word = pattern_word(b->seed, i);
        if (memcmp(at + i, &word, end - i < 8 ? end - i : 8) != 0)
            return false;
    }
    return true;
}

// is_intact tells whether the first n bytes of b are now at `at`.
static bool is_intact(const struct block *b, const unsigned char *at, size_t n)
{
    size_t begin, end;
    middle_of(b->size, &begin, &end);
    return range_is_intact(b, at, 0, begin < n ? begin : n) &&
           range_is_intact(b, at, end, b->size < n ? b->size : n);
}

// end_of returns the first byte above b. No two blocks may have the same
// address, so even one of 0 bytes takes one.
static const unsigned char *end_of(const struct block *b)
{
    return b->at + b->size + (b->size == 0);
}

// find returns how many live blocks start below at.
static uint32_t find(const struct replayer *r, const unsigned char *at)
{
    uint32_t low = 0, high = r->n_live;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (r->live[middle]->at < at)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void check_overlap(const struct replayer *r, const struct operation *op,
                          const struct block *b, const struct block *other)
{
    if (b->at < end_of(other) && other->at < end_of(b))
        broken(r, op, "the block at %p overlaps block %td, %zu bytes at %p",
               (void *)b->at, other - r->blocks, other->size,
               (void *)other->at);
}

// alignment_of returns what the address of a new block is a multiple of.
static size_t alignment_of(size_t size)
{
    if (!noscan || size >= MM_ALIGNMENT)
        return MM_ALIGNMENT;
    return size == 0 ? 1 : size & -size; // the largest power of two in it
}

// begin_life makes the size bytes at p, a multiple of align, the live block b,
// and writes into it.
static void begin_life(struct replayer *r, const struct operation *op,
                       struct block *b, void *p, size_t size, size_t align)
{
    if ((uintptr_t)p % align != 0)
        broken(r, op, "the block at %p is not at a multiple of %zu", p, align);
    *b = (struct block){.at = p, .size = size};
    uint32_t place = find(r, b->at);
    if (place > 0)
        check_overlap(r, op, b, r->live[place - 1]);
    if (place < r->n_live)
        check_overlap(r, op, b, r->live[place]);
    memmove(&r->live[place + 1], &r->live[place],
            (r->n_live - place) * sizeof r->live[0]);
    r->live[place] = b;
    r->n_live++;

    // No two patterns of a run are the same, in whatever thread.
    b->seed = (++r->patterns * MAX_THREADS + r->number) << 32;
    size_t begin, end;
    middle_of(size, &begin, &end);
    write_range(b, 0, begin);
    write_range(b, end, size);
}

static void end_life(struct replayer *r, struct block *b)
{
    uint32_t place = find(r, b->at);
    r->n_live--;
    memmove(&r->live[place], &r->live[place + 1],
            (r->n_live - place) * sizeof r->live[0]);
    b->at = NULL;
}

static void check_contents(const struct replayer *r, const struct operation *op,
                           const struct block *b)
{
    if (!is_intact(b, b->at, b->size))
        broken(r, op, "the contents of block %td, %zu bytes at %p, changed",
               b - r->blocks, b->size, (void *)b->at);
}

// ---------------------------------------------------------------------------
// Performing a trace

static void add_payload(uint64_t n)
{
    uint64_t sum =
        atomic_fetch_add_explicit(&payload, n, memory_order_relaxed) + n;
    uint64_t peak = atomic_load_explicit(&payload_peak, memory_order_relaxed);
    while (peak < sum && !atomic_compare_exchange_weak_explicit(
                             &payload_peak, &peak, sum, memory_order_relaxed,
                             memory_order_relaxed))
        ;
}

static void perform_malloc(struct replayer *r, const struct operation *op)
{
    void *p = noscan ? mm_malloc_noscan(op->size) : mm_malloc(op->size);
    if (p == NULL)
        broken(r, op, "malloc returned NULL: %s", strerror(errno));
    begin_life(r, op, &r->blocks[op->id], p, op->size, alignment_of(op->size));
    add_payload(op->size);
}

static void perform_free(struct replayer *r, const struct operation *op,
                         struct block *b)
{
    unsigned char *p = b->at;
    check_contents(r, op, b);
    end_life(r, b);
    mm_free(p);
    add_payload(-(uint64_t)b->size);
}

static void perform_realloc(struct replayer *r, const struct operation *op)
{
    struct block *b = &r->blocks[op->id];
    struct block old = *b;

    check_contents(r, op, b);
    end_life(r, b);
    void *p = mm_realloc(old.at, op->size);
    if (op->size == 0) {
        if (p != NULL)
            broken(r, op, "realloc to 0 bytes returned %p, not NULL", p);
    } else {
        if (p == NULL)
            broken(r, op, "realloc returned NULL: %s", strerror(errno));
        if (!is_intact(&old, p, op->size < old.size ? op->size : old.size))
            broken(r, op, "realloc from %p to %p changed the contents",
                   (void *)old.at, p);
        // One that stays where it is, is aligned as it was.
        bool stays = noscan && p == old.at;
        begin_life(r, op, b, p, op->size, stays ? 1 : MM_ALIGNMENT);
    }
    add_payload(op->size - old.size);
}

static void perform(struct replayer *r, const struct operation *op)
{
    if (op->kind == 'a')
        perform_malloc(r, op);
    else if (op->kind == 'r')
        perform_realloc(r, op);
    else
        perform_free(r, op, &r->blocks[op->id]);
}

static void print_row(const struct replayer *r, uint32_t n_operations);

static void check_stage(const struct replayer *r, const struct operation *op)
{
    if (!mm_check())
        broken(r, op, "mm_check found a broken invariant");
}

// replay performs the whole trace: the body of a thread.
static void *replay(void *replayer)
{
    struct replayer *r = replayer;

    pthread_barrier_wait(&start_together);
    for (uint32_t i = 0; i < trace->n_operations; i++) {
        const struct operation *op = &trace->operations[i];
        perform(r, op);
        if (check_every != 0 && (i + 1) % check_every == 0)
            check_stage(r, op);
        if (every != 0 && (i + 1) % every == 0)
            print_row(r, i + 1);
    }
    return NULL;
}

// replay_all performs the trace in n threads at once; 1: in this one.
static void replay_all(struct replayer *replayers, uint32_t n)
{
    pthread_barrier_init(&start_together, NULL, n);
    for (uint32_t i = 0; i < n; i++) {
        struct replayer *r = &replayers[i];
        r->number = i;
        r->blocks = new_array(trace->n_ids, sizeof r->blocks[0]);
        r->live = new_array(trace->n_ids, sizeof(struct block *));
    }
    for (uint32_t i = 1; i < n; i++) {
        int error =
            pthread_create(&replayers[i].thread, NULL, replay, &replayers[i]);
        if (error != 0)
            trouble("cannot start a thread: %s", strerror(error));
    }
    replay(&replayers[0]);
    for (uint32_t i = 1; i < n; i++)
        pthread_join(replayers[i].thread, NULL);
}

// finish checks the blocks that the trace left, and frees them unless they are
// to be kept.
static void finish(struct replayer *r)
{
    for (uint32_t id = 0; id < trace->n_ids; id++) {
        struct block *b = &r->blocks[id];
        if (b->at == NULL)
            continue;
        if (keep)
            check_contents(r, NULL, b);
        else
            perform_free(r, NULL, b);
    }
}

// ---------------------------------------------------------------------------
// Counters

// A line of the output.
struct line {
    const char *name;
    char value[32];
};

enum { N_DERIVED = 8, N_LINES = MM_STATS_COUNT + N_DERIVED };

static const char *const derived_names[N_DERIVED] = {
    "system_calls", "nodes_per_malloc", "calls",       "payload",
    "payload_peak", "utilisation",      "blocks_left", "objects"};

static const char *name_of_line(size_t i)
{
    return i < MM_STATS_COUNT ? mm_stats_names[i]
                              : derived_names[i - MM_STATS_COUNT];
}

// is_level tells whether a counter goes up and down, or is the highest value of
// one that does. The others only go up.
static bool is_level(size_t i)
{
    return strncmp(mm_stats_names[i], "bytes_", strlen("bytes_")) == 0;
}

// write_ratio writes a / b with one decimal, rounded down, and a unit.
static void write_ratio(struct line *line, uint64_t a, uint64_t b,
                        const char *unit)
{
    if (b == 0)
        snprintf(line->value, sizeof line->value, "-");
    else
        snprintf(line->value, sizeof line->value, "%" PRIu64 ".%" PRIu64 "%s",
                 a / b, a % b * 10 / b, unit);
}

static void write_number(struct line *line, uint64_t n)
{
    snprintf(line->value, sizeof line->value, "%" PRIu64, n);
}

// What the counters are compared with.
struct baseline {
    struct mm_stats start; // before the trace
    struct mm_stats reading; // what reading them adds
};

static struct mm_stats difference(const struct mm_stats *a,
                                  const struct mm_stats *b)
{
    uint64_t values[MM_STATS_COUNT];
    struct mm_stats result;

    for (size_t i = 0; i < MM_STATS_COUNT; i++)
        values[i] =
            mm_stats_value(a, i) - (is_level(i) ? 0 : mm_stats_value(b, i));
    memcpy(&result, values, sizeof result);
    return result;
}

static struct baseline read_baseline(void)
{
    struct baseline b;
    struct mm_stats first;

    mm_stats(&first);
    mm_stats(&b.start);
    b.reading = difference(&b.start, &first);
    return b;
}

// read_counters returns what the counters rose by since the baseline.
static struct mm_stats read_counters(const struct baseline *b)
{
    struct mm_stats end;
    mm_stats(&end);
    end = difference(&end, &b->start);
    return difference(&end, &b->reading);
}

// count_objects returns how many pieces of memory are in use: fewer than blocks
// where several share one. A header without anything behind it is none.
static void visit_object(const struct mm_item *item, void *count)
{
    *(uint64_t *)count += item->kind == MM_BLOCK && item->state == MM_USED &&
                          item->size > item->header;
}

static uint64_t count_objects(void)
{
    uint64_t n = 0;
    mm_walk(visit_object, &n);
    return n;
}

// write_lines writes all lines of the output, in the order of their names.
static void write_lines(struct line *lines, const struct baseline *baseline,
                        uint32_t n_threads, uint64_t blocks_left)
{
    struct mm_stats s = read_counters(baseline);
    struct line *derived = lines + MM_STATS_COUNT;
    uint64_t peak = atomic_load(&payload_peak);

    for (size_t i = 0; i < N_LINES; i++)
        lines[i].name = name_of_line(i);
    for (size_t i = 0; i < MM_STATS_COUNT; i++)
        write_number(&lines[i], mm_stats_value(&s, i));
    write_number(derived++,
                 s.sbrks + s.mmaps + s.munmaps + s.madvises + s.mprotects);
    write_ratio(derived++, s.nodes_visited, s.mallocs, "");
    write_number(derived++, (uint64_t)trace->n_operations * n_threads);
    write_number(derived++, atomic_load(&payload));
    write_number(derived++, peak);
    write_ratio(derived++, 100 * peak, s.bytes_from_os_peak, "%");
    write_number(derived++, blocks_left);
    write_number(derived++, count_objects());
}

static void print_line(const struct line *line)
{
    printf("%-20s %14s\n", line->name, line->value);
}

// find_name returns the index of the line with a name of that many characters,
// or ends the program.
static size_t find_name(const char *name, size_t length)
{
    for (size_t i = 0; i < N_LINES; i++)
        if (strlen(name_of_line(i)) == length &&
            strncmp(name_of_line(i), name, length) == 0)
            return i;
    fprintf(stderr,
            "replay: no counter \"%.*s\"; the counters are:", (int)length,
            name);
    for (size_t i = 0; i < N_LINES; i++)
        fprintf(stderr, " %s", name_of_line(i));
    fprintf(stderr, "\n");
    exit(TROUBLE);
}

// next_name returns the index of the first line that a list with commas names,
// and moves *names to what follows; NULL: nothing.
static size_t next_name(const char **names)
{
    size_t length = strcspn(*names, ",");
    size_t i = find_name(*names, length);
    *names = (*names)[length] == '\0' ? NULL : *names + length + 1;
    return i;
}

// print_named prints the lines that a list names; lines may be NULL: then the
// names are only looked up.
static void print_named(const struct line *lines, const char *names)
{
    while (names != NULL) {
        size_t i = next_name(&names);
        if (lines != NULL)
            print_line(&lines[i]);
    }
}

// What a row needs to know.
static const char *row_names; // a list
static struct baseline row_baseline;

// print_row prints the counters that row_names lists, after the first
// n_operations operations.
static void print_row(const struct replayer *r, uint32_t n_operations)
{
    struct line lines[N_LINES];

    write_lines(lines, &row_baseline, 1, r->n_live);
    printf("%" PRIu32, n_operations);
    for (const char *names = row_names; names != NULL;)
        printf(" %s", lines[next_name(&names)].value);
    printf("\n");
}

// ---------------------------------------------------------------------------
// The command

static const char usage[] =
    "usage: replay [OPTION]... TRACE\n"
    "\n"
    "Performs an allocation trace, checks every block, prints the counters.\n"
    "\n"
    "  --threads N      N threads, each with blocks of its own, at once\n"
    "  --counters A,B   print only these, in this order\n"
    "  --check-every N  call mm_check after every N operations; the locks "
    "that\n"
    "                   it takes are counted\n"
    "  --every N        print them after every N operations, a row each time,\n"
    "                   and not at the end\n"
    "  --noscan         the blocks hold no pointers: mm_malloc_noscan\n"
    "  --keep           do not free the blocks that the trace leaves\n"
    "  --quiet          print no counters\n"
    "\n"
    "Beside the counters of mm_stats (common/mm.h):\n"
    "  system_calls      all that changed the memory of the process\n"
    "  nodes_per_malloc  nodes_visited / mallocs\n"
    "  calls             operations of the trace, times threads\n"
    "  payload           bytes that the blocks left at the end asked for\n"
    "  payload_peak      the most there ever were\n"
    "  utilisation       payload_peak / bytes_from_os_peak\n"
    "  blocks_left       blocks that live when the trace ends\n"
    "  objects           pieces of memory in use then: blocks may share one\n"
    "\n"
    "Exit: 0 fine, 1 the stage broke a promise, 2 trouble (not a trace).\n";

struct options {
    const char *file; // the trace
    uint32_t threads;
    const char *counters; // NULL: all
    bool quiet;
};

// option_number reads the argument of an option, from 1 to max.
static uint64_t option_number(const char *option, const char *text,
                              uint64_t max)
{
    char *end;
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || n == 0 ||
        n > max)
        trouble("%s: expected a number from 1 to %" PRIu64 ", not \"%s\"",
                option, max, text);
    return n;
}

// takes_value tells whether the argument is that option, and if so, moves to
// its value.
static bool takes_value(char ***arg, const char *option)
{
    if (strcmp(**arg, option) != 0)
        return false;
    if (*++*arg == NULL)
        trouble("%s: its value is missing (--help explains)", option);
    return true;
}

// read_options reads the command line.
static struct options read_options(char **arg)
{
    struct options o = {.threads = 1};

    for (arg++; *arg != NULL; arg++) {
        if (strcmp(*arg, "--help") == 0) {
            fputs(usage, stdout);
            exit(OK);
        } else if (strcmp(*arg, "--keep") == 0) {
            keep = true;
        } else if (strcmp(*arg, "--noscan") == 0) {
            noscan = true;
        } else if (strcmp(*arg, "--quiet") == 0) {
            o.quiet = true;
        } else if (takes_value(&arg, "--threads")) {
            o.threads = (uint32_t)option_number("--threads", *arg, MAX_THREADS);
        } else if (takes_value(&arg, "--check-every")) {
            check_every = option_number("--check-every", *arg, UINT32_MAX);
        } else if (takes_value(&arg, "--every")) {
            every = option_number("--every", *arg, UINT32_MAX);
        } else if (takes_value(&arg, "--counters")) {
            o.counters = *arg;
            print_named(NULL, o.counters);
        } else if (**arg == '-') {
            trouble("no option \"%s\" (--help lists them)", *arg);
        } else if (o.file != NULL) {
            trouble("one trace at a time, not \"%s\" as well", *arg);
        } else {
            o.file = *arg;
        }
    }
    if (o.file == NULL)
        trouble("which trace? (--help explains)");
    if (every != 0 && (o.counters == NULL || o.threads != 1))
        trouble("--every needs --counters, and one thread");
    row_names = o.counters;
    return o;
}

// has_locks tells whether the stage can be called from several threads.
static bool has_locks(const struct baseline *baseline)
{
    mm_lock_all();
    mm_unlock_all();
    return read_counters(baseline).locks_taken != 0;
}

int main(int argc, char **argv)
{
    (void)argc;
    // From here on, the C library's malloc never moves the program break.
    mallopt(M_MMAP_THRESHOLD, 0);
    mallopt(M_MMAP_MAX, 1 << 30);

    struct options options = read_options(argv);
    trace = trace_read(options.file);
    struct baseline baseline = read_baseline();
    if (options.threads > 1 && !has_locks(&baseline))
        trouble("this stage has no locks: it is for one thread only");
    row_baseline = baseline = read_baseline();

    static struct replayer replayers[MAX_THREADS];
    replay_all(replayers, options.threads);

    uint64_t blocks_left = 0;
    for (uint32_t i = 0; i < options.threads; i++)
        blocks_left += replayers[i].n_live;
    struct line lines[N_LINES];
    write_lines(lines, &baseline, options.threads, blocks_left);

    for (uint32_t i = 0; i < options.threads; i++)
        finish(&replayers[i]);
    check_stage(&replayers[0], NULL);
    struct mm_stats s = read_counters(&baseline);
    if (s.mallocs - s.frees != (keep ? blocks_left : 0))
        broken(&replayers[0], NULL,
               "%" PRIu64 " mallocs and %" PRIu64 " frees were counted",
               s.mallocs, s.frees);

    if (every != 0)
        ; // printed already
    else if (options.counters != NULL && !options.quiet)
        print_named(lines, options.counters);
    else if (!options.quiet)
        for (size_t i = 0; i < N_LINES; i++)
            print_line(&lines[i]);
    return fflush(stdout) == 0 ? OK : TROUBLE;
}
