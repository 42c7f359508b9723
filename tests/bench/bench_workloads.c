// bench_workloads.c - patterns of malloc and free, to measure allocators with.
//
// usage: bench_workloads NAME THREADS SCALE   do SCALE times the work of NAME
//        bench_workloads which                which library malloc is from
//        bench_workloads huge_pages           does malloc ask for huge pages?
//
// The work is the same on every run and every malloc: what is random comes
// from generators with fixed seeds. The time is measured from outside.
//
// Every block is stamped where it begins and where it ends, and the stamps are
// looked at before it is freed. So a malloc that gives the same memory to two
// does not pass for a fast one: exit 1, with a line about the block.
//
// Published descriptions that these patterns follow:
// - larson: P. Larson, M. Krishnan: Memory Allocation for Long-Running Server
//   Applications. ISMM 1998.
// - producer_consumer: C. Lever, D. Boreham: malloc() Performance in a
//   Multithreaded Linux Environment. USENIX 2000.
// - random: B. Zorn, D. Grunwald: Evaluating Models of Memory Allocation.
//   ACM TOMACS 1994 (sizes and lifetimes drawn at random).

#include <dlfcn.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { KIB = 1 << 10, MIB = 1 << 20, MAX_THREADS = 64 };

static unsigned threads, scale;

// ---------------------------------------------------------------------------
// Random numbers: xorshift64*, a generator for each thread.

struct random {
    uint64_t state; // not 0
};

static struct random random_seed(uint64_t seed)
{
    return (struct random){(seed + 1) * UINT64_C(0x9E3779B97F4A7C15)};
}

static uint64_t random_next(struct random *r)
{
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(0x2545F4914F6CDD1D);
}

// random_below returns a number from 0 to limit - 1.
static size_t random_below(struct random *r, size_t limit)
{
    return (size_t)((random_next(r) >> 32) * limit >> 32);
}

static size_t random_between(struct random *r, size_t low, size_t high)
{
    return low + random_below(r, high - low + 1);
}

// random_size returns a size from 16 to 16 << doublings; each doubling of the
// size is half as likely. Programs ask for small blocks most of the time.
static size_t random_size(struct random *r, int doublings)
{
    size_t largest = 32;
    while (doublings-- > 1 && random_next(r) >> 63)
        largest *= 2;
    return random_between(r, largest / 2, largest);
}

// ---------------------------------------------------------------------------
// Blocks with a stamp at both ends.

struct block {
    char *p; // NULL: none
    uint32_t size; // at least 2 * sizeof(uint64_t)
    uint32_t serial;
};

// The serial numbers of a thread begin somewhere else than those of others.
static _Thread_local uint32_t allocated;

static void fail(const char *what, const void *p, size_t size)
{
    fprintf(stderr, "bench_workloads: %s: %p, size %zu\n", what, p, size);
    exit(1);
}

// must returns p, the result of a call for size bytes or objects; NULL ends
// the program.
static void *must(void *p, const char *call, size_t size)
{
    if (p == NULL)
        fail(call, p, size);
    return p;
}

// stamp_of is another number for every block, even if it is the same memory.
static uint64_t stamp_of(struct block b)
{
    uint64_t numbers = (uint64_t)b.serial << 32 | b.size;
    return (numbers ^ (uintptr_t)b.p) * UINT64_C(0xFF51AFD7ED558CCD);
}

static void *last_word(struct block b)
{
    return b.p + b.size - sizeof(uint64_t);
}

static void stamp(struct block b)
{
    uint64_t s = stamp_of(b);
    memcpy(b.p, &s, sizeof s);
    memcpy(last_word(b), &s, sizeof s);
}

static struct block allocate(size_t size)
{
    uint32_t serial = ++allocated + (uint32_t)(uintptr_t)&allocated;
    struct block b = {must(malloc(size), "malloc", size), (uint32_t)size,
                      serial};
    stamp(b);
    return b;
}

static void release(struct block b)
{
    uint64_t s = stamp_of(b);
    if (b.p == NULL)
        return;
    if (memcmp(b.p, &s, sizeof s) != 0 ||
        memcmp(last_word(b), &s, sizeof s) != 0)
        fail("another wrote here", b.p, b.size);
    free(b.p);
}

// new_table returns room for n blocks that are none so far.
static struct block *new_table(size_t n)
{
    return must(calloc(n, sizeof(struct block)), "calloc", n);
}

static void free_table(struct block *table, size_t n)
{
    for (size_t i = 0; i < n; i++)
        release(table[i]);
    free(table);
}

// ---------------------------------------------------------------------------
// Threads.

static pthread_t start(void *(*f)(void *), void *argument)
{
    pthread_t thread;
    int error = pthread_create(&thread, NULL, f, argument);
    if (error != 0) {
        fprintf(stderr, "bench_workloads: pthread_create: %s\n",
                strerror(error));
        exit(1);
    }
    return thread;
}

// in_threads calls f in as many threads as asked for; the argument is the
// number of the thread. One thread is main itself, so that a malloc and a C
// library that treat a program without threads better can do so.
static void in_threads(void *(*f)(void *))
{
    pthread_t thread[MAX_THREADS];
    for (uintptr_t i = 1; i < threads; i++)
        thread[i] = start(f, (void *)i);
    f((void *)0);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(thread[i], NULL);
}

// ---------------------------------------------------------------------------
// lifo: blocks of one size, the last one is freed first; short batches more
// often than long ones.

static void *lifo(void *argument)
{
    enum { LONGEST = 1000, BLOCKS = 20 * LONGEST, LARGEST = 2048 };
    struct block *batch = new_table(LONGEST);

    // One block stays behind the others, as in any larger program. Without it,
    // some mallocs give the memory back after each batch, and nothing but
    // these system calls would be measured.
    for (size_t i = 0; i < LONGEST; i++)
        batch[i] = allocate(LARGEST);
    struct block last = allocate(LARGEST);
    for (size_t i = 0; i < LONGEST; i++)
        release(batch[i]);

    for (unsigned round = 0; round < scale; round++)
        for (size_t size = 16; size <= LARGEST; size *= 2)
            for (size_t length = 10; length <= LONGEST; length *= 10)
                for (size_t n = 0; n < BLOCKS; n += length) {
                    for (size_t i = 0; i < length; i++)
                        batch[i] = allocate(size);
                    for (size_t i = length; i-- > 0;)
                        release(batch[i]);
                }
    release(last);
    free(batch);
    return argument;
}

// ---------------------------------------------------------------------------
// random: a table of blocks; one at random is freed, and its place gets a
// block of another size. So lifetimes are random, too.

static void *random_sizes(void *argument)
{
    enum { SLOTS = 10000, STEPS = 200000 };
    struct random r = random_seed((uintptr_t)argument);
    struct block *table = new_table(SLOTS);
    for (size_t step = 0; step < (size_t)STEPS * scale; step++) {
        struct block *slot = &table[random_below(&r, SLOTS)];
        release(*slot);
        *slot = allocate(random_size(&r, 10));
    }
    free_table(table, SLOTS);
    return NULL;
}

// ---------------------------------------------------------------------------
// larson: a server. A thread replaces blocks at random, starts a thread that
// goes on with the blocks, and ends. So most blocks are freed by another
// thread than allocated them, and the thread that did is gone.

struct shop {
    struct block *table;
    struct random random;
    unsigned generations; // still to come
    pthread_barrier_t *closed; // main and each shop meet here at the end
};

enum { SHOP_BLOCKS = 1000, SHOP_STEPS = 4000, SHOP_GENERATIONS = 80 };

static void *larson_thread(void *argument)
{
    struct shop *shop = argument;
    for (int step = 0; step < SHOP_STEPS; step++) {
        size_t i = random_below(&shop->random, SHOP_BLOCKS);
        release(shop->table[i]);
        shop->table[i] = allocate(random_between(&shop->random, 16, 500));
    }
    if (--shop->generations > 0)
        pthread_detach(start(larson_thread, shop));
    else
        pthread_barrier_wait(shop->closed);
    return NULL;
}

static void larson(void)
{
    struct shop shops[MAX_THREADS];
    pthread_barrier_t closed;
    pthread_barrier_init(&closed, NULL, threads + 1);
    for (unsigned i = 0; i < threads; i++) {
        shops[i] = (struct shop){
            .table = new_table(SHOP_BLOCKS),
            .random = random_seed(i),
            .generations = SHOP_GENERATIONS * scale,
            .closed = &closed,
        };
        pthread_detach(start(larson_thread, &shops[i]));
    }
    pthread_barrier_wait(&closed);
    for (unsigned i = 0; i < threads; i++)
        free_table(shops[i].table, SHOP_BLOCKS);
}

// ---------------------------------------------------------------------------
// producer_consumer: in each pair of threads one allocates all blocks, and the
// other frees them. They go over in batches, so that what is measured is the
// malloc and not the queue.

enum { BATCH = 200, QUEUE = 8, BATCHES = 500 };

struct batch {
    struct block block[BATCH];
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct batch *batch[QUEUE]; // a ring
    unsigned put, taken; // batches so far; put - taken are in the ring
};
static struct queue queues[MAX_THREADS / 2];

static void queue_put(struct queue *q, struct batch *batch)
{
    pthread_mutex_lock(&q->lock);
    while (q->put - q->taken == QUEUE)
        pthread_cond_wait(&q->changed, &q->lock);
    q->batch[q->put++ % QUEUE] = batch;
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
}

static struct batch *queue_take(struct queue *q)
{
    pthread_mutex_lock(&q->lock);
    while (q->put == q->taken)
        pthread_cond_wait(&q->changed, &q->lock);
    struct batch *batch = q->batch[q->taken++ % QUEUE];
    pthread_cond_signal(&q->changed);
    pthread_mutex_unlock(&q->lock);
    return batch;
}

static void produce(struct queue *q, struct random r)
{
    for (unsigned n = 0; n < BATCHES * scale; n++) {
        struct batch *batch = must(malloc(sizeof *batch), "malloc", BATCH);
        for (int i = 0; i < BATCH; i++)
            batch->block[i] = allocate(random_size(&r, 6));
        queue_put(q, batch);
    }
}

static void consume(struct queue *q)
{
    for (unsigned n = 0; n < BATCHES * scale; n++) {
        struct batch *batch = queue_take(q);
        for (int i = 0; i < BATCH; i++)
            release(batch->block[i]);
        free(batch);
    }
}

static void *producer_consumer_thread(void *argument)
{
    uintptr_t number = (uintptr_t)argument;
    struct queue *q = &queues[number / 2];
    if (number % 2 == 0)
        produce(q, random_seed(number));
    else
        consume(q);
    return NULL;
}

static void producer_consumer(void)
{
    if (threads % 2 != 0) {
        fprintf(stderr, "bench_workloads: the threads must be pairs\n");
        exit(2);
    }
    for (unsigned i = 0; i < threads / 2; i++) {
        pthread_mutex_init(&queues[i].lock, NULL);
        pthread_cond_init(&queues[i].changed, NULL);
    }
    in_threads(producer_consumer_thread);
}

// ---------------------------------------------------------------------------
// short_threads: threads that live for some hundred blocks only, one after
// another. What a malloc sets up for a thread must be worth it.

static void *short_thread(void *argument)
{
    enum { BLOCKS = 300 };
    struct random r = random_seed((uintptr_t)argument);
    struct block table[BLOCKS] = {{NULL, 0, 0}};
    for (int step = 0; step < 2 * BLOCKS; step++) {
        struct block *slot = &table[random_below(&r, BLOCKS)];
        release(*slot);
        *slot = allocate(random_size(&r, 6));
    }
    for (int i = 0; i < BLOCKS; i++)
        release(table[i]);
    return NULL;
}

static void *short_threads(void *argument)
{
    enum { LIVES = 100 };
    for (uintptr_t life = 0; life < LIVES * scale; life++) {
        uintptr_t seed = (uintptr_t)argument << 32 | life;
        pthread_join(start(short_thread, (void *)seed), NULL);
    }
    return NULL;
}

// ---------------------------------------------------------------------------
// realloc_growth: arrays that grow in turns, each time by a sixteenth, as those
// of text editors, parsers and interpreters do.

struct array {
    uint64_t *words; // words[i] == i + seed
    size_t n;
    uint64_t seed;
};

static void array_grow(struct array *a, size_t n)
{
    a->words = must(realloc(a->words, n * sizeof *a->words), "realloc", n);
    while (a->n < n) {
        a->words[a->n] = a->n + a->seed;
        a->n++;
    }
}

static void array_free(struct array *a)
{
    for (size_t i = 0; i < a->n; i++)
        if (a->words[i] != i + a->seed)
            fail("realloc lost the contents", a->words,
                 a->n * sizeof *a->words);
    free(a->words);
}

static void *realloc_growth(void *argument)
{
    enum { ARRAYS = 8, LARGEST = 1 * MIB / sizeof(uint64_t) };
    for (unsigned round = 0; round < scale; round++) {
        struct array array[ARRAYS] = {{NULL, 0, 0}};
        for (uint64_t i = 0; i < ARRAYS; i++)
            array[i].seed = i << 32;
        for (size_t n = 4; n <= LARGEST; n += n / 16 + 1)
            for (int i = 0; i < ARRAYS; i++)
                array_grow(&array[i], n);
        for (int i = 0; i < ARRAYS; i++)
            array_free(&array[i]);
    }
    return argument;
}

// ---------------------------------------------------------------------------
// large_blocks: as random, from 32 KiB to 2 MiB. Every page is written to,
// for that is what memory is asked for.

static void touch_pages(struct block b)
{
    for (size_t at = 4096; at + 8 < b.size; at += 4096)
        b.p[at] = 1;
}

static void *large_blocks(void *argument)
{
    enum { SLOTS = 40, STEPS = 200 };
    struct random r = random_seed((uintptr_t)argument);
    struct block *table = new_table(SLOTS);
    for (size_t step = 0; step < (size_t)STEPS * scale; step++) {
        struct block *slot = &table[random_below(&r, SLOTS)];
        release(*slot);
        *slot = allocate(random_between(&r, 32 * KIB + 1, 2 * MIB));
        touch_pages(*slot);
    }
    free_table(table, SLOTS);
    return NULL;
}

// ---------------------------------------------------------------------------
// small_strings: words are copied, joined and cut, as a script does. Every
// byte is looked at: a string is one letter, and the letter tells its length.

static char *new_string(size_t length)
{
    char *s = must(malloc(length + 1), "malloc", length + 1);
    memset(s, (int)('a' + length % 26), length);
    s[length] = '\0';
    return s;
}

static void free_string(char *s)
{
    size_t length = strlen(s);
    for (size_t i = 0; i < length; i++)
        if ((size_t)(s[i] - 'a') != length % 26)
            fail("another wrote into a string", s, length + 1);
    free(s);
}

static void *small_strings(void *argument)
{
    enum { WORDS = 5000, LONGEST = 40, STEPS = 60000 };
    struct random r = random_seed((uintptr_t)argument);
    char **words = must(calloc(WORDS, sizeof *words), "calloc", WORDS);
    for (size_t i = 0; i < WORDS; i++)
        words[i] = new_string(1 + i % 12);
    for (size_t step = 0; step < (size_t)STEPS * scale; step++) {
        char **a = &words[random_below(&r, WORDS)];
        char **b = &words[random_below(&r, WORDS)];
        char *copy = must(strdup(*a), "strdup", strlen(*a) + 1);
        char *joined = new_string(strlen(*a) + strlen(*b));
        free_string(copy);
        free_string(*a);
        *a = joined;
        if (strlen(joined) > LONGEST) {
            *a = new_string(1 + random_below(&r, 12));
            free_string(joined);
        }
    }
    for (size_t i = 0; i < WORDS; i++)
        free_string(words[i]);
    free(words);
    return NULL;
}

// ---------------------------------------------------------------------------
// Two questions.

// which prints the file that malloc is from.
static void which(void)
{
    Dl_info info;
    if (dladdr((void *)malloc, &info) == 0)
        fail("dladdr does not know malloc", NULL, 0);
    puts(info.dli_fname);
}

// huge_pages allocates 64 MiB in blocks of many sizes, and then counts the
// mappings that were given to madvise(MADV_HUGEPAGE) ("hg" in smaps), and what
// the system did about it; in KiB.
static void huge_pages(void)
{
    struct random r = random_seed(0);
    char line[512];
    unsigned long size = 0, huge = 0, value, asked = 0, got = 0;

    for (size_t total = 0; total < 64 * MIB;) {
        struct block b = allocate(random_size(&r, 16));
        touch_pages(b);
        total += b.size;
    }
    FILE *smaps = fopen("/proc/self/smaps", "r");
    if (smaps == NULL)
        fail("no /proc/self/smaps", NULL, 0);
    while (fgets(line, sizeof line, smaps) != NULL) {
        if (sscanf(line, "Size: %lu", &value) == 1)
            size = value;
        if (sscanf(line, "AnonHugePages: %lu", &value) == 1)
            huge = value;
        if (strncmp(line, "VmFlags:", 8) != 0)
            continue;
        got += huge;
        asked += strstr(line, " hg") != NULL ? size : 0;
    }
    fclose(smaps);
    printf("asked %lu got %lu\n", asked, got);
}

// ---------------------------------------------------------------------------

static const struct workload {
    const char *name;
    void *(*in_each_thread)(void *); // or, if there is more to do,
    void (*once)(void);
} workloads[] = {
    {"lifo", lifo, NULL},
    {"random", random_sizes, NULL},
    {"larson", NULL, larson},
    {"producer_consumer", NULL, producer_consumer},
    {"short_threads", short_threads, NULL},
    {"realloc_growth", realloc_growth, NULL},
    {"large_blocks", large_blocks, NULL},
    {"small_strings", small_strings, NULL},
    {"which", NULL, which},
    {"huge_pages", NULL, huge_pages},
};
enum { WORKLOADS = sizeof workloads / sizeof workloads[0] };

static unsigned number(const char *text, int most)
{
    int value = atoi(text);
    if (value < 1 || value > most) {
        fprintf(stderr, "bench_workloads: expected a number from 1 to %d: %s\n",
                most, text);
        exit(2);
    }
    return (unsigned)value;
}

int main(int argc, char **argv)
{
    threads = argc > 2 ? number(argv[2], MAX_THREADS) : 1;
    scale = argc > 3 ? number(argv[3], 1000000) : 1;
    for (size_t i = 0; argc > 1 && i < WORKLOADS; i++)
        if (strcmp(argv[1], workloads[i].name) == 0) {
            if (workloads[i].once != NULL)
                workloads[i].once();
            else
                in_threads(workloads[i].in_each_thread);
            return 0;
        }
    fprintf(stderr, "usage: bench_workloads NAME THREADS SCALE, NAME one of:");
    for (size_t i = 0; i < WORKLOADS; i++)
        fprintf(stderr, " %s", workloads[i].name);
    fprintf(stderr, "\n");
    return 2;
}
