// stages: 12-
//
// mheap.c: what the child of a fork finds: pages that were in the caches of
// threads that are not there.

#include "heap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks.h"
#include "check.h"
#include "child.h"
#include "random.h"
#include "sanitizers.h"
#include "test.h"
#include "workers.h"

// mine returns the free pages of the cache of the calling thread.
static struct page_cache mine(void)
{
    const struct mcache *c = mcache_mine();
    return c == NULL ? (struct page_cache){0} : c->pcache;
}

// A census of the pages of the heap.
struct census {
    size_t in_use; // by their bits
    size_t of_spans;
    size_t cached; // by the calling thread
};

static struct census take_census(void)
{
    struct census c = {.cached = popcount64(mine().cache)};
    lock_acquire(&mheap.lock);
    for (chunk_idx ci = page_alloc_next_chunk(&mheap.pages, 0);
         ci < mheap.pages.end; ci = page_alloc_next_chunk(&mheap.pages, ci + 1))
        c.in_use +=
            page_alloc_count(&mheap.pages, chunk_base(ci), PALLOC_CHUNK_PAGES);
    for (const struct mspan *s = span_next(NULL); s != NULL;
         s = span_next(mspan_end(s)))
        c.of_spans += s->npages;
    lock_release(&mheap.lock);
    return c;
}

// every_page_is_known tells whether each page that is not free is in a span, or
// in the cache of this thread, if there is no other. mm_check does not, in the
// child of a fork, as it does not know which threads are gone.
static bool every_page_is_known(void)
{
    struct census c = take_census();
    return c.in_use == c.of_spans + c.cached && mm_check();
}

// ---------------------------------------------------------------------------

enum { WORKERS = 4 };
static struct worker workers[WORKERS];
static char *blocks[WORKERS][3];

static void take_pages(void *into)
{
    char **p = into;
    for (size_t i = 0; i < 3; i++)
        p[i] = mm_malloc((1 + i) * PAGE_SIZE);
}

// begin makes four threads that have 58 pages each in their caches, beside this
// one, which has 63.
static char *begin(void)
{
    mm_free(mm_malloc(PAGE_SIZE)); // the first span makes the heap grow
    mm_release(0);
    for (size_t i = 0; i < WORKERS; i++) {
        worker_start(&workers[i]);
        worker_do(&workers[i], take_pages, blocks[i]);
    }
    char *mine = mm_malloc(PAGE_SIZE);
    struct census c = take_census();
    CHECK_EQ(c.in_use, 5 * 64);
    CHECK_EQ(c.of_spans, WORKERS * (1 + 2 + 3) + 1);
    CHECK_EQ(c.cached, 63);
    return mine;
}

static void end(char *mine)
{
    for (size_t i = 0; i < WORKERS; i++) {
        release((void **)blocks[i], 3);
        worker_end(&workers[i]);
    }
    mm_free(mine);
}

static void find_pages(void *mine_at_fork)
{
    char *next = mine_at_fork;
    struct census c = take_census();
    CHECK(c.cached == 63);
    CHECK(c.in_use == c.of_spans + c.cached);
    CHECK(every_page_is_known());
    // This thread goes on with its own pages.
    for (size_t i = 1; i < 64; i++) {
        next += PAGE_SIZE;
        CHECK(mm_malloc(PAGE_SIZE) == next);
    }
    // The next ones are the lowest that a lost thread had.
    for (size_t i = 0; i < 58; i++) {
        char *p = mm_malloc(PAGE_SIZE);
        CHECK(p == blocks[0][0] + (6 + i) * PAGE_SIZE);
        memset(p, 1, PAGE_SIZE);
    }
    CHECK(mm_malloc(PAGE_SIZE) == blocks[1][0] + 6 * PAGE_SIZE);
    CHECK(every_page_is_known());
}

TEST(the_child_finds_pages_of_lost_threads,
     "in the child of a fork, pages that were in the caches of threads that are"
     " not there are free, and this thread keeps those that it has")
{
    char *mine = begin();
    CHECK_RETURNS(find_pages, mine, "");
    CHECK_TRUE(mm_check()); // nothing of it happened here
    CHECK_EQ(take_census().in_use, 5 * 64);
    end(mine);
}

static void free_all(void *mine_at_fork)
{
    for (size_t i = 0; i < WORKERS; i++)
        release((void **)blocks[i], 3);
    mm_free(mine_at_fork);
    CHECK(every_page_is_known());
    mm_release(0);
    struct census c = take_census();
    CHECK(c.in_use == 0);
    CHECK(mheap.pages.ready == 0);
}

TEST(
    all_pages_of_the_child_can_be_given_back,
    "in the child of a fork, pages that lost threads had in their caches can be"
    " given back to the OS")
{
    char *mine = begin();
    CHECK_RETURNS(free_all, mine, "");
    end(mine);
}

static void *others[2];

static void find_pages_without_a_cache(void *unused)
{
    (void)unused;
    CHECK(take_census().in_use == 2);
    CHECK(every_page_is_known());
    CHECK(mm_malloc(20 * PAGE_SIZE) == (char *)others[1] + PAGE_SIZE);
    CHECK(every_page_is_known());
}

static void take_two_spans(void *unused)
{
    (void)unused;
    others[0] = mm_malloc(PAGE_SIZE);
    others[1] = mm_malloc(PAGE_SIZE);
}

TEST(a_thread_without_a_cache_forks,
     "in the child of a fork, the pages of all caches are free if the thread"
     " that forked has none")
{
    struct worker w;
    worker_start(&w);
    worker_do(&w, take_two_spans, NULL);
    CHECK_NULL(mcache_mine());
    CHECK_EQ(take_census().in_use, 64);
    CHECK_RETURNS(find_pages_without_a_cache, NULL, "");
    release(others, 2);
    worker_end(&w);
}

// ---------------------------------------------------------------------------
// Forks by forks: each child starts threads of its own, and forks.

enum { GENERATIONS = 200 };

// What the last process tells the first one.
struct report {
    size_t generations;
    size_t unknown; // generations in which a page was in no known place
    size_t held; // that had pages in use when all was freed
    uint64_t bytes[GENERATIONS + 1]; // from the OS, with nothing in use
};

// go_on forks, and returns in the child; the parent is done.
static void go_on(void)
{
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid > 0)
        _exit(0);
}

static void live_and_fork(int to)
{
    static struct report r;
    for (; r.generations < GENERATIONS; r.generations++) {
        for (size_t i = 0; i < WORKERS; i++) {
            worker_start(&workers[i]);
            worker_do(&workers[i], take_pages, blocks[i]);
        }
        char *p = mm_malloc(PAGE_SIZE);
        go_on();
        r.unknown += !every_page_is_known();
        for (size_t i = 0; i < WORKERS; i++)
            release((void **)blocks[i], 3);
        mm_free(p);
        mm_release(0);
        r.held += take_census().in_use != 0;
        r.bytes[r.generations] = stats().bytes_from_os;
    }
    CHECK(write(to, &r, sizeof r) == sizeof r);
    _exit(0);
}

TEST(nothing_is_lost_in_200_generations,
     "when each child starts threads and forks, no pages are lost on the way,"
     " and of structs a few for each lost thread")
{
    if (UNDER_TSAN || UNDER_ASAN) {
        test_failed(); // it has no end
        cr_skip_test("the sanitizers do not start threads in such a child");
    }
    static struct report r;
    int ends[2];
    CHECK_EQ(pipe(ends), 0);
    pid_t pid = fork();
    if (pid == 0)
        live_and_fork(ends[1]);
    close(ends[1]);
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n < sizeof r; n += (size_t)got)
        got = read(ends[0], (char *)&r + n, sizeof r - n);
    CHECK_EQ(waitpid(pid, NULL, 0), pid);
    CHECK_EQ(n, sizeof r);
    CHECK_EQ(r.generations, GENERATIONS);
    CHECK_EQ(r.unknown, 0);
    CHECK_EQ(r.held, 0);
    // A thread that is lost takes the structs with it that it had in stock.
    CHECK_LE(r.bytes[GENERATIONS - 1] - r.bytes[0],
             (GENERATIONS - 1) * WORKERS * (12 << 10));
}

// ---------------------------------------------------------------------------

static atomic_bool stop;
static atomic_size_t troubles;

// spans_come_and_go takes spans from its page cache, and frees them, until it
// is told to stop.
static void *spans_come_and_go(void *number)
{
    enum { LIVE = 20 };
    uint64_t state = 10 + (uintptr_t)number;
    void *p[LIVE] = {0};
    while (!atomic_load(&stop)) {
        size_t k = random_below(&state, LIVE);
        mm_free(p[k]);
        p[k] = mm_malloc((1 + random_below(&state, 12)) * PAGE_SIZE);
    }
    release(p, LIVE);
    return NULL;
}

// look_and_take is what a child does. Returns whether all is well.
static bool look_and_take(void)
{
    void *p[100];
    bool ok = every_page_is_known();
    for (size_t i = 0; i < 100; i++) {
        p[i] = mm_malloc((1 + i % 14) * PAGE_SIZE);
        memset(p[i], 1, PAGE_SIZE);
    }
    ok &= every_page_is_known();
    release(p, 100);
    mm_release(0);
    return ok && every_page_is_known() && take_census().cached == 0;
}

static void *fork_often(void *unused)
{
    mm_free(mm_malloc(100));
    for (size_t i = 0; i < (UNDER_TSAN || UNDER_ASAN ? 40 : 200); i++) {
        void *p = mm_malloc(PAGE_SIZE); // a cache with something in it
        int status = 0;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(60);
            _exit(!look_and_take());
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
            troubles++;
        mm_free(p);
    }
    atomic_store(&stop, true);
    return unused;
}

static void *fork_or_allocate(void *number)
{
    return number == NULL ? fork_often(number) : spans_come_and_go(number);
}

TEST(threads_take_spans_while_another_forks,
     "in the child of a fork, each page has a place that is known, whatever"
     " other threads were doing with spans and page caches at that moment")
{
    run_threads(1 + WORKERS, fork_or_allocate);
    CHECK_EQ(troubles, 0);
}
