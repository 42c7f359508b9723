// fork.c - fork() in a program whose other threads may be inside malloc.
//
// The child has only the thread that forked. A lock that another thread held
// at that moment would stay locked in the child for ever, and the structure
// behind it half changed. So all locks are taken before the fork and given
// back after it, in both processes.
//
// Order  POSIX runs the prepare handlers in reverse order of registration.
//        Other handlers may allocate, so ours must run last: it is registered
//        by a constructor, and the linker marks the library as the first to be
//        initialised (-z initfirst).
// Alone  A process with one thread needs no locks. It takes none, so it may
//        also fork in a signal handler that interrupted malloc itself.

#include <pthread.h>
#include <stdbool.h>
#include <sys/single_threaded.h>

#include "check.h"
#include "mm.h"

// Whether the fork under way took the locks. Written with all of them held, or
// by the only thread.
static bool took_locks;

static void before_fork(void)
{
    bool alone = __libc_single_threaded;
    if (!alone)
        mm_lock_all();
    took_locks = !alone;
}

static void after_fork(void)
{
    if (took_locks)
        mm_unlock_all();
}

static void after_fork_in_child(void)
{
    after_fork();
    if (took_locks)
        mm_fork_child();
}

__attribute__((constructor)) static void register_handlers(void)
{
    CHECK(pthread_atfork(before_fork, after_fork, after_fork_in_child) == 0);
}
