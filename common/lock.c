// lock.c - see lock.h.

#include "lock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

// The lock that this thread took last, of those it holds: the first of a list
// (debug builds). The model makes an access one instruction; the default may
// allocate.
#if MM_DEBUG
static _Thread_local struct lock *last
    __attribute__((tls_model("initial-exec")));

// in_order tells whether l may be taken by the holder of held (NULL: nothing).
static bool in_order(const struct lock *held, const struct lock *l)
{
    return held == NULL || held->rank < l->rank ||
           (held->rank == l->rank && held < l);
}
#endif

// note_acquired checks the order of locks and remembers that l is held.
static void note_acquired(struct lock *l)
{
#if MM_DEBUG
    for (const struct lock *held = last; held != NULL; held = held->before)
        CHECK(in_order(held, l)); // locks are taken by rising rank
    l->before = last;
    last = l;
#else
    (void)l;
#endif
}

static void note_released(const struct lock *l)
{
#if MM_DEBUG
    struct lock **at = &last;
    while (*at != l)
        at = &(*at)->before;
    *at = l->before;
#else
    (void)l;
#endif
}

// fail_taken_twice ends a thread that waits for itself.
static _Noreturn void fail_taken_twice(const struct lock *l)
{
    struct text t = {0};

    text_string(&t, "mm: lock ");
    text_string(&t, l->name);
    text_string(&t, ": its own thread asks for it again"
                    " (malloc in a signal handler?)");
    text_write(&t, STDERR_FILENO);
    abort();
}

UNCHECKED void lock_acquire(struct lock *l)
{
    bool waited = pthread_mutex_trylock(&l->mutex) != 0;

    if (waited) {
        if (lock_is_mine(l))
            fail_taken_twice(l);
        CHECK(pthread_mutex_lock(&l->mutex) == 0);
    }
    atomic_store_explicit(&l->owner, pthread_self(), memory_order_relaxed);
    note_acquired(l);
    count(&l->taken, 1);
    count(&l->contended, waited);
}

UNCHECKED void lock_release(struct lock *l)
{
    ASSERT(lock_is_mine(l));
    note_released(l);
    atomic_store_explicit(&l->owner, 0, memory_order_relaxed);
    CHECK(pthread_mutex_unlock(&l->mutex) == 0);
}

bool lock_is_mine(struct lock *l)
{
    return atomic_load_explicit(&l->owner, memory_order_relaxed) ==
           pthread_self();
}

void assert_lock_held(struct lock *l)
{
    ASSERT(lock_is_mine(l));
    (void)l;
}
