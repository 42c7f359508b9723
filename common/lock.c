// lock.c - see lock.h.

#include "lock.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"

// Ranks of the locks that this thread holds, one bit each (debug builds). The
// model makes an access one instruction; the default may allocate.
#if MM_DEBUG
static _Thread_local uint64_t held __attribute__((tls_model("initial-exec")));
#endif

// note_acquired checks the order of locks and remembers that l is held.
static void note_acquired(const struct lock *l)
{
#if MM_DEBUG
    CHECK(l->rank < 64);
    CHECK(held >> l->rank == 0); // locks are taken by rising rank
    held |= UINT64_C(1) << l->rank;
#else
    (void)l;
#endif
}

static void note_released(const struct lock *l)
{
#if MM_DEBUG
    held &= ~(UINT64_C(1) << l->rank);
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
