// stages: 06-
//
// thread.c: a thread is told once when it ends, after other destructors.

#include "thread.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "child.h"
#include "heap.h"
#include "sanitizers.h"
#include "test.h"

// It is for stages whose threads have something to give back.
_Static_assert(sizeof(struct mcache) > 0, "a thread has a cache");

enum { THREADS = 8 };

static void run_threads(size_t n, void *(*body)(void *))
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < n; i++)
        if (pthread_create(&threads[i], NULL, body, (void *)i) != 0)
            abort();
    for (size_t i = 0; i < n; i++)
        pthread_join(threads[i], NULL);
}

// What happened in a thread, in its order.
static _Thread_local char *story;
static char stories[THREADS][100];

static void tell(const char *what)
{
    if (story != NULL)
        strcat(story, what);
}

static atomic_size_t ends;
static atomic_size_t refused;

static void end(void)
{
    ends++;
    tell("end ");
}

// ---------------------------------------------------------------------------

static void *ask_twice(void *number)
{
    story = stories[(uintptr_t)number];
    refused += !thread_at_end(end);
    refused += !thread_at_end(end);
    return NULL;
}

static void *ask_if_odd(void *number)
{
    if ((uintptr_t)number % 2 == 1)
        refused += !thread_at_end(end);
    return NULL;
}

static void *ask_and_exit(void *unused)
{
    refused += !thread_at_end(end);
    pthread_exit(unused);
}

TEST(each_thread_ends_once,
     "each thread that asked is told once, however often it asked, and however"
     " it ends; one that did not ask is not")
{
    CHECK_TRUE(thread_at_end(end)); // and so there is a key
    for (size_t i = 1; i <= 10; i++) {
        memset(stories, 0, sizeof stories);
        run_threads(THREADS, ask_twice);
        CHECK_EQ(ends, i * THREADS);
        for (size_t k = 0; k < THREADS; k++)
            CHECK_TRUE(strcmp(stories[k], "end ") == 0);
    }
    ends = 0;
    run_threads(THREADS, ask_if_odd);
    CHECK_EQ(ends, THREADS / 2);
    ends = 0;
    run_threads(THREADS, ask_and_exit);
    CHECK_EQ(ends, THREADS);
    CHECK_EQ(refused, 0);
}

// ---------------------------------------------------------------------------
// Destructors of others, of keys from before ours and from after it, that ask
// for another round each time.

static pthread_key_t earlier, later;
static const char *const earlier_says[] = {"", "e1 ", "e2 ", "e3 ", "e4 "};
static const char *const later_says[] = {"", "l1 ", "l2 ", "l3 ", "l4 "};

// ThreadSanitizer takes leave of the thread in the last round.
enum { LAST_ROUND = UNDER_TSAN ? 3 : PTHREAD_DESTRUCTOR_ITERATIONS };

static void destroy_earlier(void *round)
{
    tell(earlier_says[(uintptr_t)round]);
    if ((uintptr_t)round < LAST_ROUND)
        pthread_setspecific(earlier, (char *)round + 1);
}

static void destroy_later(void *round)
{
    tell(later_says[(uintptr_t)round]);
    if ((uintptr_t)round < LAST_ROUND)
        pthread_setspecific(later, (char *)round + 1);
}

static void *end_with_others(void *number)
{
    story = stories[(uintptr_t)number];
    pthread_setspecific(later, (void *)1);
    refused += !thread_at_end(end);
    pthread_setspecific(earlier, (void *)1);
    return NULL;
}

// position returns where a word is in a text.
static size_t position(const char *text, const char *word)
{
    const char *at = strstr(text, word);
    CHECK_THAT(at != NULL, "expected \"%s\" in \"%s\"", word, text);
    return (size_t)(at - text);
}

TEST(others_come_first,
     "a thread is told after two rounds of the destructors of others, and the"
     " last round is not over then")
{
    CHECK_EQ(PTHREAD_DESTRUCTOR_ITERATIONS, 4);
    CHECK_EQ(pthread_key_create(&earlier, destroy_earlier), 0);
    CHECK_TRUE(thread_at_end(end));
    CHECK_EQ(pthread_key_create(&later, destroy_later), 0);
    run_threads(THREADS, end_with_others);
    CHECK_EQ(refused, 0);
    for (size_t i = 0; i < THREADS; i++) {
        const char *text = stories[i];
        size_t told = position(text, "end ");
        CHECK_GE(told, position(text, "e2 "));
        CHECK_GE(told, position(text, "l2 "));
        if (LAST_ROUND == 4) {
            CHECK_LE(told, position(text, "e4 "));
            CHECK_LE(told, position(text, "l4 "));
        }
    }
}

// Destructors that call malloc in three rounds, as others do.
static void destroy_block(void *block)
{
    size_t round = *(unsigned char *)block;
    mm_free(block);
    char *next = mm_calloc(1, 100 * round);
    refused += next == NULL;
    *next = (char)(round + 1);
    if (round < 3)
        pthread_setspecific(later, next);
    else
        mm_free(next);
    ends++;
}

static void *end_with_block(void *unused)
{
    char *block = mm_malloc(1);
    *block = 1;
    pthread_setspecific(later, block);
    return unused;
}

TEST(others_may_allocate_at_the_end,
     "destructors that allocate and free, three rounds, leave nothing behind")
{
    CHECK_EQ(pthread_key_create(&later, destroy_block), 0);
    for (size_t i = 0; i < 10; i++)
        run_threads(THREADS, end_with_block);
    CHECK_EQ(ends, 10 * THREADS * 3);
    CHECK_EQ(refused, 0);
}

// ---------------------------------------------------------------------------
// The key.

static atomic_size_t ready;

static void *ask_together(void *unused)
{
    // Two threads, and no barrier, so that they come within nanoseconds.
    ready++;
    while (ready < 2)
        continue;
    // While one thread makes the key, the other is refused. Nothing here orders
    // them: that is what ThreadSanitizer looks at.
    while (!thread_at_end(end))
        continue;
    return unused;
}

// keys_left returns how many keys there may still be.
static size_t keys_left(void)
{
    static pthread_key_t keys[PTHREAD_KEYS_MAX];
    size_t n = 0;
    while (n < PTHREAD_KEYS_MAX && pthread_key_create(&keys[n], NULL) == 0)
        n++;
    for (size_t i = 0; i < n; i++)
        pthread_key_delete(keys[i]);
    return n;
}

static void first_calls_at_once(void *unused)
{
    (void)unused;
    size_t left = keys_left();
    run_threads(2, ask_together);
    if (ends != 2 || keys_left() != left - 1)
        abort();
}

TEST(
    first_calls_at_once,
    "threads may ask at the same time for the first time: each gets its answer,"
    " and is told once")
{
    for (size_t i = 0; i < 300 && !UNDER_TSAN; i++)
        CHECK_RETURNS(first_calls_at_once, NULL, "");
    first_calls_at_once(NULL);
    CHECK_EQ(ends, 2);
}

// use_up_keys takes all keys there are.
static void use_up_keys(void)
{
    pthread_key_t key;
    size_t n = 0;
    while (pthread_key_create(&key, NULL) == 0)
        n++;
    CHECK_GE(n, PTHREAD_KEYS_MAX / 2);
}

static void *ask_in_vain(void *unused)
{
    refused += !thread_at_end(end);
    refused += !thread_at_end(end);
    return unused;
}

TEST(without_a_key_it_is_not_possible,
     "if there is no key left, all threads are refused, and nobody is told")
{
    use_up_keys();
    CHECK_TRUE(!thread_at_end(end));
    run_threads(THREADS, ask_in_vain);
    CHECK_EQ(refused, 2 * THREADS);
    CHECK_EQ(ends, 0);
}

static void *allocate_without_key(void *number)
{
    enum { N = 100 };
    unsigned char *mine[N] = {0};
    for (size_t i = 0; i < 50 * N; i++) {
        size_t k = i * 7 % N;
        if (mine[k] != NULL && mine[k][k] != (uintptr_t)number)
            refused++;
        mm_free(mine[k]);
        mine[k] = mm_malloc(N + i * 31 % 3000);
        refused += mine[k] == NULL;
        memset(mine[k], (int)(uintptr_t)number, N);
    }
    for (size_t k = 0; k < N; k++)
        mm_free(mine[k]);
    return NULL;
}

TEST(
    malloc_works_without_a_key,
    "if the program took all keys before its first malloc, threads allocate and"
    " free without anything in stock, and leave nothing behind")
{
    struct mm_stats stats;
    use_up_keys();
    mm_free(mm_malloc(100));
    run_threads(THREADS, allocate_without_key);
    CHECK_EQ(refused, 0);
    mm_stats(&stats);
    CHECK_EQ(stats.bytes_in_use, 0);
}

TEST(keys_beyond_the_first_32,
     "a thread is told also if the key is one for which the C library allocates"
     " memory in each thread")
{
    pthread_key_t key;
    for (size_t i = 0; i < 100; i++)
        CHECK_EQ(pthread_key_create(&key, NULL), 0);
    run_threads(THREADS, ask_twice);
    CHECK_EQ(refused, 0);
    CHECK_EQ(ends, THREADS);
}
