// lock.h - a mutex that knows its owner, its place in the order, and how often
// it was taken.
//
// Rank   A thread takes locks by rising rank, and those of the same rank by
//        rising address; a debug build checks it. Two threads that obey can
//        never wait for each other.
// Clang  -Wthread-safety checks REQUIRES and GUARDED_BY when compiling.

#ifndef MM_LOCK_H
#define MM_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#if defined(__clang__)
#define MM_ATTRIBUTE(x) __attribute__((x))
#else
#define MM_ATTRIBUTE(x)
#endif

#define CAPABILITY(name) MM_ATTRIBUTE(capability(name))
#define GUARDED_BY(lock) MM_ATTRIBUTE(guarded_by(lock))
#define REQUIRES(lock) MM_ATTRIBUTE(requires_capability(lock))
#define ACQUIRES(lock) MM_ATTRIBUTE(acquire_capability(lock))
#define RELEASES(lock) MM_ATTRIBUTE(release_capability(lock))
#define ASSERTS(lock) MM_ATTRIBUTE(assert_capability(lock))
#define UNCHECKED MM_ATTRIBUTE(no_thread_safety_analysis)

struct CAPABILITY("mutex") lock {
    pthread_mutex_t mutex;
    const char *name;
    unsigned rank;
    // The thread that holds the lock; 0: none. Written by the holder only. A
    // thread that reads its own name here wrote it itself, so relaxed is
    // enough, and there is no partner.
    _Atomic(pthread_t) owner;
    // Guarded by the lock itself.
    struct lock *before; // that its holder took last before it (debug builds)
    uint64_t taken;
    uint64_t contended;
};

// LOCK_INIT initialises a lock statically: first calls come before main.
#define LOCK_INIT(lock_name, lock_rank)                                        \
    {                                                                          \
        .mutex = PTHREAD_MUTEX_INITIALIZER, .name = (lock_name),               \
        .rank = (lock_rank)                                                    \
    }

// lock_acquire waits for the lock. A thread that already holds it would wait
// for ever (malloc in a signal handler that interrupted malloc): reported, and
// aborts.
void lock_acquire(struct lock *l) ACQUIRES(*l);

void lock_release(struct lock *l) RELEASES(*l);

// lock_is_mine tells whether the calling thread holds l.
bool lock_is_mine(struct lock *l);

// assert_lock_held is the first statement of a function that REQUIRES l.
void assert_lock_held(struct lock *l) ASSERTS(*l);

#endif
