// thread.c - a function that is called when a thread ends.
//
// POSIX calls the destructor of each key whose value is not NULL, in no order,
// and again if they set new values: PTHREAD_DESTRUCTOR_ITERATIONS rounds at
// most. Destructors of others may use malloc. So ours sets its value anew, and
// acts in the last round but one: in the last, ThreadSanitizer takes leave of
// the thread in the same way. What is freed after that has to do without.
//
// Exit   A thread that ends the process runs no destructors, nor do the others.

#include "thread.h"

#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

static void (*at_end)(void);
static pthread_key_t key;

// Whether there is a key. Several threads may come first at once.
enum { NO_KEY, MAKING_KEY, HAS_KEY, NO_MORE_KEYS };
static _Atomic int state = NO_KEY;

// destroy is called with the number of the round.
static void destroy(void *round)
{
    uintptr_t n = (uintptr_t)round;
    if (n < PTHREAD_DESTRUCTOR_ITERATIONS - 1 &&
        pthread_setspecific(key, (void *)(n + 1)) == 0)
        return;
    at_end();
}

// has_key makes the key, if there is none.
static bool has_key(void (*end)(void))
{
    int expected = NO_KEY;
    // acquire: pairs with the release below, by the thread that made the key
    if (atomic_compare_exchange_strong_explicit(&state, &expected, MAKING_KEY,
                                                memory_order_acquire,
                                                memory_order_acquire)) {
        at_end = end;
        bool made = pthread_key_create(&key, destroy) == 0;
        atomic_store_explicit(&state, made ? HAS_KEY : NO_MORE_KEYS,
                              memory_order_release);
        return made;
    }
    return expected == HAS_KEY;
}

bool thread_at_end(void (*end)(void))
{
    return has_key(end) && pthread_setspecific(key, (void *)1) == 0;
}
