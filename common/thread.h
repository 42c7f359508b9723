// thread.h - to be told when a thread ends: thread.c.

#ifndef MM_THREAD_H
#define MM_THREAD_H

#include <stdbool.h>

// thread_at_end makes the calling thread call end, once, when it ends; the same
// end for all threads. Returns false if that is not possible. It may call
// malloc and free, so no lock may be held.
bool thread_at_end(void (*end)(void));

#endif
