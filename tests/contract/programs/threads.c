// threads.c - threads that begin, allocate together, and end.

#include "program.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

// start runs a function in a new thread with that many bytes of stack (0: the
// usual number).
static pthread_t start(void *(*run)(void *), void *argument, size_t stack)
{
    pthread_t thread;
    pthread_attr_t attributes;
    REQUIRE(pthread_attr_init(&attributes) == 0);
    if (stack != 0)
        REQUIRE(pthread_attr_setstacksize(&attributes, stack) == 0);
    REQUIRE(pthread_create(&thread, &attributes, run, argument) == 0);
    return thread;
}

static void join(pthread_t thread)
{
    REQUIRE(pthread_join(thread, NULL) == 0);
}

// work allocates and frees blocks that nobody else may touch.
static void work(size_t key)
{
    enum { N = 50 };
    void *blocks[N];
    for (size_t i = 0; i < N; i++) {
        blocks[i] = malloc(1 + i * 20);
        REQUIRE(blocks[i] != NULL);
        fill(blocks[i], 1 + i * 20, key + i);
    }
    for (size_t i = 0; i < N; i++) {
        REQUIRE(is_filled(blocks[i], 1 + i * 20, key + i));
        free(blocks[i]);
    }
}

// All threads leave it at the same moment.
static pthread_barrier_t barrier;

static void *work_together(void *key)
{
    pthread_barrier_wait(&barrier);
    for (size_t i = 0; i < 20; i++)
        work((uintptr_t)key);
    return NULL;
}

// The first calls of several threads come at once. Starting a thread allocates,
// too, so they are not the first calls of the process.
static void first_calls_at_once(void)
{
    enum { N = 4 };
    pthread_t threads[N];
    REQUIRE(pthread_barrier_init(&barrier, NULL, N) == 0);
    for (size_t i = 0; i < N; i++)
        threads[i] = start(work_together, (void *)(i * 1000), 0);
    for (size_t i = 0; i < N; i++)
        join(threads[i]);
}

// Destructors of thread-specific data run at the end of a thread. While they
// store new data, they run again, up to PTHREAD_DESTRUCTOR_ITERATIONS times.
enum { KEYS = 3, ROUNDS = 3 };
_Static_assert(ROUNDS <= PTHREAD_DESTRUCTOR_ITERATIONS, "all rounds run");
static pthread_key_t keys[KEYS];
static atomic_size_t destroyed;

struct data {
    size_t key;
    size_t round;
    size_t size; // of the text
    char text[];
};

static void store(size_t key, size_t round)
{
    size_t size = 100 + key * 1000 + round * 10;
    struct data *data = malloc(sizeof *data + size);
    REQUIRE(data != NULL);
    *data = (struct data){.key = key, .round = round, .size = size};
    fill(data->text, size, key + round);
    REQUIRE(pthread_setspecific(keys[key], data) == 0);
}

static void destroy(void *argument)
{
    struct data *data = argument;
    REQUIRE(is_filled(data->text, data->size, data->key + data->round));
    atomic_fetch_add(&destroyed, 1);
    if (data->round < ROUNDS)
        store(data->key, data->round + 1);
    free(data);
}

static void *end_with_data(void *unused)
{
    work(1);
    for (size_t key = 0; key < KEYS; key++)
        store(key, 1);
    return unused;
}

static void key_destructors(void)
{
    enum { PAIRS = 100 };
    for (size_t key = 0; key < KEYS; key++)
        REQUIRE(pthread_key_create(&keys[key], destroy) == 0);
    for (size_t i = 0; i < PAIRS; i++) {
        pthread_t one = start(end_with_data, NULL, 0);
        pthread_t other = start(end_with_data, NULL, 0);
        join(one);
        join(other);
    }
    REQUIRE(destroyed == (size_t)2 * PAIRS * KEYS * ROUNDS);
}

// The pages of a process: all, and those in memory.
struct pages {
    long all, in_memory;
};

static struct pages pages_of_process(void)
{
    char line[100] = "";
    int fd = open("/proc/self/statm", O_RDONLY);
    REQUIRE(fd >= 0 && read(fd, line, sizeof line - 1) > 0);
    close(fd);
    char *end;
    long all = strtol(line, &end, 10);
    return (struct pages){.all = all, .in_memory = strtol(end, NULL, 10)};
}

static void *work_a_little(void *key)
{
    enum { N = 4 };
    void *blocks[N];
    for (size_t i = 0; i < N; i++) {
        blocks[i] = malloc(40 + i * 1000);
        REQUIRE(blocks[i] != NULL);
        fill(blocks[i], 40 + i * 1000, (uintptr_t)key + i);
    }
    for (size_t i = 0; i < N; i++) {
        REQUIRE(is_filled(blocks[i], 40 + i * 1000, (uintptr_t)key + i));
        free(blocks[i]);
    }
    return NULL;
}

static void run_threads(size_t n)
{
    for (size_t i = 0; i < n; i += 2) {
        pthread_t one = start(work_a_little, (void *)i, 0);
        pthread_t other = start(work_a_little, (void *)(i + 1), 0);
        join(one);
        join(other);
    }
}

// What a thread leaves behind would add up.
static void many_threads(void)
{
    enum { MIB = 1 << 20 };
    long most = MIB / sysconf(_SC_PAGESIZE);
    run_threads(1000);
    struct pages before = pages_of_process();
    size_t held = mallinfo2().arena;

    run_threads(20000);
    struct pages after = pages_of_process();
    REQUIRE(after.all - before.all <= most);
    REQUIRE(after.in_memory - before.in_memory <= most);
    REQUIRE(mallinfo2().arena <= held + MIB);
}

static void *work_once(void *key)
{
    work((uintptr_t)key);
    free(realloc(hidden(calloc(1, 100)), 10000));
    void *aligned = NULL;
    REQUIRE(posix_memalign(&aligned, 4096, 100) == 0);
    free(aligned);
    return NULL;
}

// The stack of a thread may be as small as the C library allows.
static void smallest_stack(void)
{
    join(start(work_once, NULL, (size_t)PTHREAD_STACK_MIN));
}

static void *end_the_process(void *first)
{
    join(*(pthread_t *)first);
    work(1);
    exit(0);
}

// The first thread may end before the others; the process goes on.
static void first_thread_ends(void)
{
    static pthread_t first;
    first = pthread_self();
    start(end_the_process, &first, 0);
    pthread_exit(NULL);
}

// A block may be freed by another thread, and after its own has ended.
static void *allocate(void *size)
{
    return fill(malloc((uintptr_t)size), (uintptr_t)size, (uintptr_t)size);
}

static void freed_by_another(void)
{
    for (size_t size = 1; size < 100000; size += size / 4 + 1) {
        void *block;
        REQUIRE(pthread_join(start(allocate, (void *)size, 0), &block) == 0);
        REQUIRE(is_filled(block, size, size));
        free(block);
    }
}

// Thread-local objects of C++ are destroyed in the reverse of their order,
// before thread-specific data. Compilers register them with this function of
// the C++ ABI. A destructor may allocate, free, and register another object.
int __cxa_thread_atexit_impl(void (*destroy)(void *), void *object,
                             void *library);
extern void *__dso_handle;

struct object {
    size_t size; // of the text
    size_t left; // so many objects follow it
    char *text;
};

static void destroy_object(void *object);

static void make_object(size_t size, size_t left)
{
    struct object *object = malloc(sizeof *object);
    REQUIRE(object != NULL);
    *object = (struct object){.size = size, .left = left, .text = malloc(size)};
    REQUIRE(object->text != NULL);
    fill(object->text, size, left);
    REQUIRE(__cxa_thread_atexit_impl(destroy_object, object, &__dso_handle) ==
            0);
}

static void destroy_object(void *argument)
{
    struct object *object = argument;
    REQUIRE(is_filled(object->text, object->size, object->left));
    free(object->text);
    work(object->left);
    if (object->left > 0)
        make_object(object->size * 3, object->left - 1);
    free(object);
    atomic_fetch_add(&destroyed, 1);
}

// In odd threads, the first call of malloc is that of an object.
static void *end_with_objects(void *number)
{
    if ((uintptr_t)number % 2 == 0)
        work(1);
    for (size_t i = 0; i < 5; i++)
        make_object(100 + i * 1000, i);
    store(0, 1); // and thread-specific data, too
    return NULL;
}

static void thread_local_objects(void)
{
    enum { TIMES = 50, OBJECTS = 1 + 2 + 3 + 4 + 5 };
    REQUIRE(pthread_key_create(&keys[0], destroy) == 0);
    for (size_t i = 0; i < TIMES; i++) {
        pthread_t one = start(end_with_objects, (void *)0, 0);
        pthread_t other = start(end_with_objects, (void *)1, 0);
        join(one);
        join(other);
    }
    REQUIRE(destroyed == (size_t)2 * TIMES * (OBJECTS + ROUNDS));
}

// Keys may be taken before the first malloc: for those above 32, the C library
// allocates memory in each thread that uses one; or there is none left.
static void take_keys(int argc, char **argv, char **environment)
{
    (void)environment;
    pthread_key_t key;
    const char *name = argc > 1 ? argv[1] : "";
    size_t n = strcmp(name, "many_keys") == 0 ? 40
               : strcmp(name, "no_keys") == 0 ? SIZE_MAX
                                              : 0;
    while (n > 0 && pthread_key_create(&key, NULL) == 0)
        n--;
}

__attribute__((section(".preinit_array"),
               used)) static void (*preinit)(int, char **, char **) = take_keys;

static void keys_are_taken(void)
{
    for (size_t i = 0; i < 50; i++)
        first_calls_at_once();
    work(1);
}

// A library that allocates in its constructor is opened in one thread, what it
// allocated freed in another, and the library closed in a third.
static const char *library_path;
static void *library;

static void *open_library(void *unused)
{
    library = dlopen(library_path, RTLD_NOW);
    REQUIRE(library != NULL);
    return unused;
}

static void *free_its_block(void *unused)
{
    void **block = dlsym(library, "library_block");
    REQUIRE(block != NULL && is_filled(*block, 300, 1));
    free(*block);
    return unused;
}

static void *close_library(void *unused)
{
    work(1);
    REQUIRE(dlclose(library) == 0);
    return unused;
}

static void opened_in_thread(void)
{
    for (size_t i = 0; i < 50; i++) {
        join(start(open_library, NULL, 0));
        join(start(free_its_block, NULL, 0));
        join(start(close_library, NULL, 0));
        REQUIRE(dlopen(library_path, RTLD_NOW | RTLD_NOLOAD) == NULL);
    }
}

static const struct named_case cases[] = {
    {"first_calls_at_once", first_calls_at_once},
    {"key_destructors", key_destructors},
    {"many_threads", many_threads},
    {"smallest_stack", smallest_stack},
    {"first_thread_ends", first_thread_ends},
    {"freed_by_another", freed_by_another},
    {"thread_local_objects", thread_local_objects},
    {"many_keys", keys_are_taken},
    {"no_keys", keys_are_taken},
    {"opened_in_thread", opened_in_thread},
    {NULL, NULL},
};

int main(int argc, char **argv)
{
    library_path = argc > 2 ? argv[2] : "";
    run_case(argc, argv, cases);
    return 0;
}
