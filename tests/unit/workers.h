// workers.h - other threads that do what a test tells them, step by step.
//
//     struct worker w;
//     worker_start(&w);
//     worker_do(&w, free_it, p); // returns when it is done
//     worker_end(&w);
//
// A worker keeps what a thread has, such as a cache, from step to step.

#ifndef UNIT_WORKERS_H
#define UNIT_WORKERS_H

#include <pthread.h>
#include <semaphore.h>
#include <stddef.h>

#include "test.h"

struct worker {
    pthread_t thread;
    sem_t go, done;
    void (*work)(void *); // NULL: the end
    void *argument;
};

static inline void *worker_run(void *worker)
{
    struct worker *w = worker;
    for (;;) {
        while (sem_wait(&w->go) != 0)
            continue;
        if (w->work == NULL)
            return NULL;
        w->work(w->argument);
        sem_post(&w->done);
    }
}

static inline void worker_start(struct worker *w)
{
    sem_init(&w->go, 0, 0);
    sem_init(&w->done, 0, 0);
    CHECK_EQ(pthread_create(&w->thread, NULL, worker_run, w), 0);
}

// worker_begin makes w call work(argument), and does not wait for the end;
// worker_wait does.
static inline void worker_begin(struct worker *w, void (*work)(void *),
                                void *argument)
{
    w->work = work;
    w->argument = argument;
    sem_post(&w->go);
}

static inline void worker_wait(struct worker *w)
{
    while (sem_wait(&w->done) != 0)
        continue;
}

static inline void worker_do(struct worker *w, void (*work)(void *),
                             void *argument)
{
    worker_begin(w, work, argument);
    worker_wait(w);
}

// worker_end ends the thread of w; what it does at its end is done then.
static inline void worker_end(struct worker *w)
{
    worker_begin(w, NULL, NULL);
    CHECK_EQ(pthread_join(w->thread, NULL), 0);
}

// in_other_thread calls work(argument) in a thread that ends then.
static inline void in_other_thread(void (*work)(void *), void *argument)
{
    struct worker w;
    worker_start(&w);
    worker_do(&w, work, argument);
    worker_end(&w);
}

// run_threads runs n threads of body, with the numbers from 0 as arguments.
static inline void run_threads(size_t n, void *(*body)(void *))
{
    pthread_t threads[16];
    CHECK_LE(n, sizeof threads / sizeof *threads);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, body, (void *)i), 0);
    for (size_t i = 0; i < n; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

#endif
