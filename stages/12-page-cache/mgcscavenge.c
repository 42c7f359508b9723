// mgcscavenge.c - the scavenger: free pages go back to the OS.
//
// A page that was handed out once takes memory of the machine, even when it is
// free. The scavenger tells the OS that nobody needs what is in it: the page
// stays part of the heap, but takes no memory before it is used again. A bit
// for each page says that this is so: it is scavenged. Pages that were never
// used are scavenged, too.
//
// Which ones? Malloc takes the lowest free pages, so the highest ones will not
// be missed soon. The index has a bit for each chunk with something to
// scavenge, and the search goes down from search_addr. As the OS may use a huge
// page for 2 MiB in a row, those are given back whole, where they are free.
//
// When? To give a page back and to get it again costs more than to keep it. So
// the heap keeps as much as it will need again, most likely: the pages in use
// when there were most, and 10 % more. That peak is forgotten bit by bit as
// pages are freed. Who frees pages gives back what is above this goal, but no
// more than it frees, or a little: so no call takes long.
//
// And it learns: pages that went back and are used again were missed. The goal
// rises by as many, and forgets them slowly.
//
// Invariant  I1 No page is in use and scavenged.
//            I2 A chunk with free pages that are not scavenged has its bit in
//               the index, or the OS refused to take them; the chunk does not
//               lie above search_addr.
//            I3 ready counts the pages that are not scavenged.
// Locking    mheap.lock guards all of it. Unlike Go, it is held while the OS
//            takes the pages.
// Go         mgcscavenge.go

#include "heap.h"

#include <pthread.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"

enum {
    SCAVENGE_QUANTUM = 64 << 10, // bytes, for one call
    RETAIN_EXTRA_PERCENT = 10, // above the peak
    RETAIN_PAGES = PALLOC_CHUNK_PAGES, // are not worth the trouble
    PEAK_DECAY = 2, // the peak sinks by one page when so many were freed
    MISSED_DECAY = 64, // and the pages that were missed
};

// ---------------------------------------------------------------------------
// What to scavenge in a chunk.

// Go: func fillAligned (mgcscavenge.go)
uint64_t fill_aligned(uint64_t x, unsigned m)
{
    ASSERT(is_power_of_two(m) && m <= 64);
    // The lowest bit of each group of m: the or of all m bits.
    uint64_t any = x;
    for (unsigned shift = 1; shift < m; shift *= 2)
        any |= any >> shift;
    uint64_t lowest = UINT64_MAX / (shl64(1, m) - 1);
    // Each of these, times all ones of a group.
    return (any & lowest) * (shl64(1, m) - 1);
}

// busy returns the pages of word w that cannot be scavenged: in use, scavenged,
// or in a page of the OS (min pages of ours) with one of these.
static inline uint64_t busy(const struct palloc_data *m, size_t w, size_t min)
{
    return fill_aligned(m->alloc.words[w] | m->scavenged.words[w],
                        (unsigned)min);
}

// Go: func (m *pallocData) findScavengeCandidate (mgcscavenge.go)
struct page_range palloc_data_find_scavenge_candidate(
    const struct palloc_data *m, size_t search_idx, size_t min, size_t max,
    size_t huge_pages)
{
    ASSERT(is_power_of_two(min) && min <= 64);
    max = max == 0 ? min : round_up(max, min);

    // The highest word with something, and the highest run that ends in it.
    size_t w = search_idx / 64 + 1;
    while (w > 0 && busy(m, w - 1, min) == UINT64_MAX)
        w--;
    if (w == 0)
        return (struct page_range){0, 0};
    uint64_t x = busy(m, w - 1, min);
    unsigned above = clz64(~x);
    size_t end = w * 64 - above;
    size_t run = clz64(shl64(x, above));
    if (run == 64) {
        run = 64 - above;
        for (w--; w > 0; w--) {
            x = busy(m, w - 1, min);
            run += clz64(x);
            if (x != 0)
                break;
        }
    }

    size_t start = end - (run < max ? run : max);
    // A huge page that begins below start, and would be broken, goes whole.
    if (huge_pages > 1 && round_up(start, huge_pages) <= end) {
        size_t huge_start = start / huge_pages * huge_pages;
        if (huge_start >= end - run)
            start = huge_start;
    }
    return (struct page_range){start, end - start};
}

// ---------------------------------------------------------------------------
// The index of chunks.

// index_word returns the word with the bit of chunk ci, whose table exists.
static inline uint64_t *index_word(const struct page_alloc *p, chunk_idx ci)
{
    return &p->tables[ci >> CHUNK_TABLE_BITS]
                ->scavenge[(ci & ((1 << CHUNK_TABLE_BITS) - 1)) / 64];
}

// Go: func (s *scavengeIndex) mark (mgcscavenge.go)
void scavenge_index_mark(struct page_alloc *p, uintptr_t base, uintptr_t limit)
{
    assert_lock_held(&mheap.lock);
    for (chunk_idx ci = chunk_index(base); ci <= chunk_index(limit - 1); ci++)
        *index_word(p, ci) |= UINT64_C(1) << ci % 64;
    if (p->scav.search_addr < limit - PAGE_SIZE) {
        p->scav.search_addr = limit - PAGE_SIZE;
        p->scav.marked = true;
    }
}

// Go: func (s *scavengeIndex) clear (mgcscavenge.go)
void scavenge_index_clear(struct page_alloc *p, chunk_idx ci)
{
    assert_lock_held(&mheap.lock);
    *index_word(p, ci) &= ~(UINT64_C(1) << ci % 64);
}

bool scavenge_index_has(const struct page_alloc *p, chunk_idx ci)
{
    assert_lock_held(&mheap.lock);
    return (*index_word(p, ci) >> ci % 64 & 1) != 0;
}

// lower_marked returns the highest chunk in the index that is not above ci; 0:
// there is none.
static chunk_idx lower_marked(const struct page_alloc *p, chunk_idx ci)
{
    // Below 0 comes the highest number.
    while (ci >= p->start && ci < p->end) {
        if (p->tables[ci >> CHUNK_TABLE_BITS] == NULL) {
            ci = (ci >> CHUNK_TABLE_BITS << CHUNK_TABLE_BITS) - 1;
            continue;
        }
        // Its bit becomes the highest of the word.
        uint64_t word = *index_word(p, ci) << (63 - ci % 64);
        if (word != 0)
            return ci - clz64(word);
        ci = ci / 64 * 64 - 1;
    }
    return 0;
}

// Go: func (s *scavengeIndex) find (mgcscavenge.go)
struct scavenge_place scavenge_index_find(struct page_alloc *p)
{
    const struct scavenge_place none = {0, 0};

    assert_lock_held(&mheap.lock);
    if (p->scav.search_addr == 0)
        return none;
    chunk_idx first = chunk_index(p->scav.search_addr);
    chunk_idx ci = lower_marked(p, first);
    if (ci == 0) {
        // A mark that came since the last search keeps its address.
        if (!p->scav.marked)
            p->scav.search_addr = 0;
        return none;
    }
    if (ci != first) {
        p->scav.search_addr = chunk_base(ci + 1) - PAGE_SIZE;
        p->scav.marked = false;
    }
    return (struct scavenge_place){ci, chunk_page_index(p->scav.search_addr)};
}

// ---------------------------------------------------------------------------
// Scavenging.

// scavenge_one scavenges up to max bytes in chunk ci; more, if that keeps a
// huge page in one piece. Returns how many bytes; if none are left in the
// chunk, 0.
//
// Go: func (p *pageAlloc) scavengeOne (mgcscavenge.go)
static size_t scavenge_one(struct page_alloc *p, chunk_idx ci, size_t max)
    REQUIRES(mheap.lock)
{
    struct palloc_data *chunk = page_alloc_chunk(p, ci);
    size_t max_pages = max / PAGE_SIZE + (max % PAGE_SIZE != 0);
    size_t os_page = (size_t)getpagesize();
    size_t min_pages = os_page > PAGE_SIZE ? os_page / PAGE_SIZE : 1;

    struct page_range r = palloc_data_find_scavenge_candidate(
        chunk, PALLOC_CHUNK_PAGES - 1, min_pages, max_pages, p->huge_pages);
    char *at = (char *)(chunk_base(ci) + r.start * PAGE_SIZE);
    if (r.n == 0 || (!p->test && !sys_unused(at, r.n * PAGE_SIZE))) {
        scavenge_index_clear(p, ci);
        return 0;
    }
    page_bits_set_range(&chunk->scavenged, r.start, r.n);
    p->ready -= r.n;
    p->scav.released += r.n;
    return r.n * PAGE_SIZE;
}

// Go: func (p *pageAlloc) scavenge (mgcscavenge.go)
size_t page_alloc_scavenge(struct page_alloc *p, size_t nbytes)
{
    size_t released = 0;

    assert_lock_held(&mheap.lock);
    while (released < nbytes) {
        struct scavenge_place place = scavenge_index_find(p);
        if (place.ci == 0)
            break;
        released += scavenge_one(p, place.ci, nbytes - released);
    }
    return released;
}

// ---------------------------------------------------------------------------
// When to scavenge.

// above_goal returns how many bytes the heap holds that it need not keep.
//
// Go: func gcPaceScavenger (mgcscavenge.go)
// Unlike Go: the goal follows from the peak, as there is no collection to tell
// how much the program will need.
static size_t above_goal(void) REQUIRES(mheap.lock)
{
    size_t goal = mheap.peak_pages +
                  mheap.peak_pages * RETAIN_EXTRA_PERCENT / 100 + RETAIN_PAGES +
                  mheap.missed_pages;
    return mheap.pages.ready > goal ? (mheap.pages.ready - goal) * PAGE_SIZE
                                    : 0;
}

// sink lowers *level by one for each `decay` pages freed: npages were just now,
// the last of mheap.freed_pages.
static void sink(size_t *level, size_t decay, size_t npages)
    REQUIRES(mheap.lock)
{
    size_t by =
        mheap.freed_pages / decay - (mheap.freed_pages - npages) / decay;
    *level -= by < *level ? by : *level;
}

void scavenge_after_free(size_t npages)
{
    assert_lock_held(&mheap.lock);
    size_t freed = npages * PAGE_SIZE;
    mheap.freed_pages += npages;
    sink(&mheap.peak_pages, PEAK_DECAY, npages);
    sink(&mheap.missed_pages, MISSED_DECAY, npages);
    if (mheap.peak_pages < mheap.pages_in_use)
        mheap.peak_pages = mheap.pages_in_use;
    size_t most = freed > SCAVENGE_QUANTUM ? freed : SCAVENGE_QUANTUM;
    size_t above = above_goal();
    if (above >= SCAVENGE_QUANTUM)
        page_alloc_scavenge(&mheap.pages, above < most ? above : most);
}

void scavenge_note_use(size_t npages)
{
    assert_lock_held(&mheap.lock);
    size_t gone = mheap.pages.scav.released - mheap.pages_again;
    size_t again = npages < gone ? npages : gone;
    mheap.pages_again += again;
    mheap.missed_pages += again;
}

void scavenge_all(size_t pad)
{
    struct page_alloc *p = &mheap.pages;

    assert_lock_held(&mheap.lock);
    size_t free_bytes = (p->ready - mheap.pages_in_use) * PAGE_SIZE;
    size_t huge_pages = p->huge_pages;
    mheap.peak_pages = mheap.pages_in_use;
    mheap.missed_pages = 0;
    p->huge_pages = 0; // pad bytes stay, even if that breaks one
    if (free_bytes > pad)
        page_alloc_scavenge(p, (free_bytes - pad) / PAGE_SIZE * PAGE_SIZE);
    p->huge_pages = huge_pages;
    mheap.pages_again = p->scav.released; // these are not missed: on request
}

bool scavenge_check(void)
{
    struct page_alloc *p = &mheap.pages;
    size_t ready = 0;

    assert_lock_held(&mheap.lock);
    for (chunk_idx ci = page_alloc_next_chunk(p, 0); ci < p->end;
         ci = page_alloc_next_chunk(p, ci + 1)) {
        const struct palloc_data *chunk = page_alloc_chunk(p, ci);
        for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64; w++)
            if ((chunk->alloc.words[w] & chunk->scavenged.words[w]) != 0)
                return mm_complain("I1 no page in use is scavenged",
                                   (void *)chunk_base(ci));
        ready +=
            PALLOC_CHUNK_PAGES -
            page_bits_popcnt_range(&chunk->scavenged, 0, PALLOC_CHUNK_PAGES);
        if (scavenge_index_has(p, ci) && ci > chunk_index(p->scav.search_addr))
            return mm_complain("I2 nothing to scavenge is above search_addr",
                               (void *)chunk_base(ci));
    }
    if (p->ready != ready)
        return mm_complain("I3 ready counts what is not scavenged", NULL);
    return true;
}

// ---------------------------------------------------------------------------
// The thread that scavenges, if it is asked for: MM_SCAVENGER=thread.

// scavenger wakes up ten times a second. The peak sinks each time, so that
// after some seconds a program that does nothing holds what it uses, and 10 %
// more.
//
// Go: func bgscavenge (mgcscavenge.go)
static void *scavenger(void *unused)
{
    const struct timespec pause = {.tv_nsec = 100L * 1000 * 1000};

    for (;;) {
        nanosleep(&pause, NULL);
        lock_acquire(&mheap.lock);
        mheap.peak_pages -= (mheap.peak_pages - mheap.pages_in_use + 7) / 8;
        mheap.missed_pages -= (mheap.missed_pages + 7) / 8;
        size_t left = above_goal();
        while (left >= SCAVENGE_QUANTUM &&
               page_alloc_scavenge(&mheap.pages, SCAVENGE_QUANTUM) > 0) {
            // Others may want the lock.
            lock_release(&mheap.lock);
            lock_acquire(&mheap.lock);
            left = above_goal();
        }
        lock_release(&mheap.lock);
    }
    return unused;
}

// All signals are blocked in the thread: their handlers belong to threads of
// the program. After a fork, the child has no such thread, and does without.
//
// With it, a process never has one thread alone. It does not end with the last
// thread of the program, but by exit, or at the end of main. And fork takes the
// locks, so a handler that interrupted malloc must not call it.
void mm_start_thread(void)
{
    sigset_t all, old;
    pthread_t thread;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&thread, NULL, scavenger, NULL) == 0)
        pthread_detach(thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
}
