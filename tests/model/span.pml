// span.pml - how threads take spans and free objects, for the checker spin.
//
// From the stage that keeps spans in caches on, threads malloc and free
// objects of spans, their own and each other's, with no lock. Does an object
// ever go out twice, does a free ever get lost? A test tries some orders of the
// steps; spin tries every order there is. Each step is one access to shared
// memory, and stands beside the name of the function in C that does it.
//
//     make model            checks all configurations
//
// Small, but nothing is left out that the argument needs:
// - A span has two slots, and each has a word of the bitmaps to itself: so to
//   look at all bits takes four steps, and something can happen in between.
// - There are two spans. One that went back to the page heap is used anew,
//   by another class, too, while a slow free may still look at it.
// - partial is a channel: push and pop are one step each. How a queue does
//   that without a lock is another matter.
// - Any thread may reclaim at any time. A rule when to do so (reclaim_if_many)
//   chooses some of these times.
// - A thread may put its span down at any time, and end when it has none.
// - If there is no memory to push a span, it goes on a list under a lock: as
//   good as the channel.
// Left out are fork, and two frees of one object at the same moment: a program
// that does that is not promised more than a late message.
//
// Checked are, by assertions, in every state or at the end of all threads:
//
//     P1 One thread at most holds a span, and it alone writes the free bits.
//     P2 No slot is handed out that the program has.
//     P3 No free is lost: at the end the bits say what the program has; a span
//        is FULL exactly if that is all, and EMPTY if it is nothing. But EMPTY
//        may also be one that was, when a thread looked that then was slow.
//     P4 A span is in partial once if it is PARTIAL or EMPTY, else not.
//     P5 n_empty counts the spans that are EMPTY, and is never below 0. What
//        goes to the page heap has no object that the program has.
//     P6 Who frees an object again, when a free of it has returned, is told so;
//        and nobody else is.
//     P7 Who pops a span finds a free slot in it.
//
// Spin runs the steps one after the other, as if all were seq_cst. The code
// must ask for that where a thread writes one thing and then looks at another
// one: marks, place and owner. The free bits may be relaxed: there is a
// read-modify-write of place or of a mark between any two threads.

// ---------------------------------------------------------------------------
// Configurations: of each thread its number, the class, how many objects it may
// malloc and free, how many of those that were freed it may free again, how
// many spans reclaim, and whether it has a cache.

#ifndef CONFIG
#define CONFIG 1
#endif

inline start_threads() {
#if CONFIG == 1   // P1-P5 P7: two threads free what a third one takes
    run thread(1, 0, 3, 0, 0, 1, 1);
    run thread(2, 0, 0, 2, 0, 0, 1);
    run thread(3, 0, 0, 1, 0, 0, 1)
#elif CONFIG == 2 // P1-P5 P7: two threads take objects, and free each other's
    run thread(1, 0, 2, 1, 0, 1, 1);
    run thread(2, 0, 2, 1, 0, 0, 1)
#elif CONFIG == 3 // P1-P5 P7: a span is used anew by another class
    run thread(1, 0, 2, 0, 0, 0, 1);
    run thread(2, 0, 0, 2, 0, 0, 1);
    run thread(3, 1, 1, 0, 0, 1, 1)
#elif CONFIG == 4 // P1-P7: objects are freed again
    run thread(1, 0, 2, 1, 1, 0, 1);
    run thread(2, 0, 1, 1, 1, 0, 1)
#elif CONFIG == 5 // P1-P5 P7: a thread without a cache takes objects, too
    run thread(1, 0, 2, 0, 0, 0, 0);
    run thread(2, 0, 1, 1, 0, 0, 1);
    run thread(3, 0, 0, 1, 0, 0, 1)
#endif
}

// ---------------------------------------------------------------------------
// What the code has.

#define SPANS   2
#define SLOTS   2
#define CLASSES 2
#define NO_SPAN SPANS
#define NOTHING (SPANS * SLOTS)

// enum span_place
#define NONE    0
#define CACHED  1
#define PARTIAL 2
#define EMPTY   3
#define FULL    4
#define NUM_PLACES 8
#define AT(state, cl)   ((state) + NUM_PLACES * (cl))
#define STATE(sp)       (span[sp].place % NUM_PLACES)
#define CLASS(sp)       (span[sp].place / NUM_PLACES)

typedef mspan {
    byte place;         // one word: the state and the class
    byte owner;         // the thread that may free with no look at the marks
    bit free[SLOTS];    // free_bits
    bit mark[SLOTS]     // mark_bits
}
mspan span[SPANS];
chan partial[CLASSES] = [SPANS] of { byte };
short n_empty[CLASSES];

// What the checks know, and the code does not.
byte holder[SPANS];     // the thread that holds the span, or 0
byte slot[SPANS * SLOTS];
#define UNUSED    0     // of a slot: free
#define LIVE      1     //   the program has it
#define GONE      2     //   free: the program freed it, and free returned
#define FREEING   3     //   passed to free, which has done nothing so far
#define RETURNING 4     //   free; RETURNING + t: the free by thread t may not
                        //   be over
#define AGAIN     8     //   AGAIN + t: GONE, and t is freeing it again
#define OBJECT(sp, i) ((sp) * SLOTS + (i))
#define TAKEN(sp, i) \
    (slot[OBJECT(sp, i)] == LIVE || slot[OBJECT(sp, i)] == FREEING)

inline hold(sp) {
    assert(holder[sp] == 0);                                        // P1
    holder[sp] = me
}

// ---------------------------------------------------------------------------
// mspan.c

// What the holder sees. One step, though it is several words: only the holder
// writes free bits, and others only clear marks, so that what it saw was so at
// the moment when it began to look, or ended.
#define IS_FREE(sp, i)  (span[sp].free[i] || !span[sp].mark[i])
#define HAS_FREE(sp)    (IS_FREE(sp, 0) || IS_FREE(sp, 1))
#define IS_EMPTY(sp)    (IS_FREE(sp, 0) && IS_FREE(sp, 1))
#define HAS_FREE_BIT(sp) (span[sp].free[0] || span[sp].free[1])

// mspan_sweep: first the free bit, then the mark. To see a cleared mark and to
// set the free bit is one step: nobody else changes either.
inline sweep(sp) {
    w = 0;
    do
    :: d_step { w < SLOTS && !span[sp].mark[w] ->
            assert(holder[sp] == me);                               // P1
            assert(!span[sp].free[w]);                              // P6
            span[sp].free[w] = 1
        }
        span[sp].mark[w] = 1;
        w++
    :: w < SLOTS && span[sp].mark[w] -> w++
    :: w == SLOTS -> w = 0; break
    od
}

// mspan_is_empty: seen == SLOTS, and mspan_has_free: seen > 0, for one who does
// not hold the span, or no longer. First the free bit, then the mark: so a
// sweep in between makes it miss one; the other order would miss none.
inline look(sp) {
    d_step { w = 0; seen = 0 }
    do
    :: w < SLOTS ->
        if
        :: span[sp].free[w] -> seen++
        :: !span[sp].free[w] ->
            if
            :: !span[sp].mark[w] -> seen++
            :: span[sp].mark[w]
            fi
        fi;
        w++
    :: w == SLOTS -> w = 0; break
    od
}

// ---------------------------------------------------------------------------
// mcentral.c

// change_place: compare and swap. Sets won.
inline change_place(sp, cl, from, to) {
    won = (span[sp].place == AT(from, cl));
    if
    :: won -> span[sp].place = AT(to, cl)
    :: else
    fi
}

// note_empty: counts first.
inline note_empty(sp, cl) {
    n_empty[cl]++;
    d_step { change_place(sp, cl, PARTIAL, EMPTY) }
    if
    :: won
    :: !won -> n_empty[cl]--
    fi;
    won = 0
}

// take_full: change_place from FULL to CACHED. Who does it holds the span.
inline take_full(sp, cl) {
    d_step {
        change_place(sp, cl, FULL, CACHED);
        if
        :: won -> hold(sp)
        :: else
        fi
    }
}

// push: frees see that it is PARTIAL, but nobody can pop it yet, so it is
// looked at as if it were held.
inline push(sp, cl) {
    d_step { holder[sp] = 0; span[sp].place = AT(PARTIAL, cl) }
    if
    :: IS_EMPTY(sp) -> note_empty(sp, cl)
    :: !IS_EMPTY(sp)
    fi;
    d_step {
        assert(!partial[cl]??[eval(sp)]);                           // P4
        partial[cl]!sp
    }
}

// pop: sp becomes the span, or NO_SPAN.
inline pop(sp, cl) {
    if
    :: d_step { nempty(partial[cl]) -> partial[cl]?sp }
        d_step {
            was = STATE(sp);
            assert(was == PARTIAL || was == EMPTY);                 // P4
            assert(CLASS(sp) == cl);                                // P4
            span[sp].place = AT(CACHED, cl);
            hold(sp)
        }
        if
        :: was == EMPTY -> n_empty[cl]--; assert(n_empty[cl] >= 0)  // P5
        :: was != EMPTY
        fi;
        was = 0;
        sweep(sp);
        assert(HAS_FREE(sp))                                        // P7
    :: d_step { empty(partial[cl]) -> sp = NO_SPAN }
    fi
}

// grow: a span from the page heap, under its lock. NO_SPAN: there is none.
inline grow(sp, cl) {
    d_step {
        if
        :: STATE(0) == NONE -> sp = 0
        :: STATE(0) != NONE && STATE(1) == NONE -> sp = 1
        :: else -> sp = NO_SPAN
        fi;
        if
        :: sp != NO_SPAN ->
            span[sp].free[0] = 1; span[sp].free[1] = 1;
            span[sp].mark[0] = 1; span[sp].mark[1] = 1;
            span[sp].place = AT(CACHED, cl);
            hold(sp)
        :: else
        fi
    }
}

// put_down, of the span in put.
inline put_down() {
    k = CLASS(put);
    span[put].owner = 0;
    do
    ::  sweep(put);
        if
        :: HAS_FREE(put) -> push(put, k); break
        :: !HAS_FREE(put) ->
            d_step { holder[put] = 0; span[put].place = AT(FULL, k) }
            look(put);
            if
            :: seen > 0 -> take_full(put, k)
            :: seen == 0
            fi;
            if
            :: won -> won = 0       // again
            :: !won -> break
            fi
        fi
    od;
    atomic { put = NO_SPAN; k = 0; seen = 0 }
}

// reclaim, for one span. One loop of the code is several of these.
inline reclaim(cl) {
    reclaims--;
    pop(put, cl);
    if
    :: put != NO_SPAN && IS_EMPTY(put) ->
        d_step {
            assert(!TAKEN(put, 0) && !TAKEN(put, 1));               // P5
            slot[OBJECT(put, 0)] = UNUSED;
            slot[OBJECT(put, 1)] = UNUSED;
            holder[put] = 0;
            span[put].place = NONE;         // mheap_free
            put = NO_SPAN
        }
    :: put != NO_SPAN && !IS_EMPTY(put)     // put_down
    :: put == NO_SPAN
    fi
}

// mcentral_free, of slot i of the span s.
inline central_free() {
    // mspan_clear_mark: is the mark there, and is there no free bit?
    caught = !span[s].mark[i];
    caught = caught || span[s].free[i];
    assert(!caught || again);                                       // P6
    if
    :: caught
    :: !caught ->
        d_step {
            if
            :: again ->
                caught = 1;     // checked only: the program is wrong
                assert(!span[s].mark[i] || slot[o] != AGAIN + me)   // P6
            :: !again ->
                assert(span[s].mark[i] && slot[o] == FREEING);      // P6
                span[s].mark[i] = 0;
                slot[o] = RETURNING + me
            fi
        }
    fi;
    // mcentral_free: what follows depends on where the span is.
    if
    :: caught
    :: !caught ->
        if
        :: STATE(s) == CACHED -> span[s].owner = 0  // no store if it is 0
        :: STATE(s) == FULL ->
            take_full(s, k);
            if
            :: won -> won = 0; put = s
            :: !won
            fi
        :: STATE(s) == PARTIAL ->
            look(s);
            if
            :: seen == SLOTS -> note_empty(s, k)
            :: seen < SLOTS
            fi
        :: STATE(s) == EMPTY || STATE(s) == NONE
        fi
    fi;
    atomic { caught = 0; seen = 0 }
}

// ---------------------------------------------------------------------------
// mcache.c and malloc.c

// sweep: the right to free first, then the marks.
inline cache_sweep() {
    span[mine].owner = me;
    sweep(mine)
}

// mspan_next_free_fast
inline take(i) {
    d_step {
        assert(holder[mine] == me);                                 // P1
        assert(!TAKEN(mine, i));                                    // P2
        span[mine].free[i] = 0;
        slot[OBJECT(mine, i)] = LIVE;
        mallocs--
    }
}

// mm_malloc, one part at a time: what is left to do, it does the next time.
inline mm_malloc() {
    if
    :: mine == NO_SPAN ->                       // mcentral_cache_span
        pop(mine, class);
        if
        :: mine == NO_SPAN -> grow(mine, class)
        :: mine != NO_SPAN
        fi;
        if
        :: mine == NO_SPAN -> mallocs--         // no memory
        :: mine != NO_SPAN && cached -> cache_sweep()
        :: mine != NO_SPAN && !cached -> sweep(mine)
        fi
    :: mine != NO_SPAN && HAS_FREE_BIT(mine) ->
        if
        :: span[mine].free[0] -> take(0)
        :: !span[mine].free[0] -> take(1)
        fi;
        if
        :: cached
        :: !cached -> put = mine; mine = NO_SPAN    // one_object
        fi
    :: mine != NO_SPAN && !HAS_FREE_BIT(mine) ->    // refill
        cache_sweep();
        if
        :: HAS_FREE_BIT(mine)
        :: !HAS_FREE_BIT(mine) -> put = mine; mine = NO_SPAN
        fi
    fi
}

// mspan_free, by the thread that holds the span.
inline own_free() {
    d_step {
        if
        :: again ->
            assert(span[s].free[i] || slot[o] != AGAIN + me)        // P6
        :: else ->
            assert(holder[s] == me);                                // P1
            assert(!span[s].free[i] && slot[o] == FREEING);         // P6
            span[s].free[i] = 1;
            slot[o] = RETURNING + me
        fi
    }
}

// mm_free, of the object o.
inline mm_free() {
    d_step { s = o / SLOTS; i = o % SLOTS; k = CLASS(s) }
    if
    :: span[s].owner == me -> own_free()
    :: span[s].owner != me ->                       // mcache_free
        if
        :: s == mine -> cache_sweep(); own_free()
        :: s != mine -> central_free()
        fi
    fi;
    d_step {
        if
        :: slot[o] == RETURNING + me || slot[o] == AGAIN + me ->
            slot[o] = GONE
        :: else
        fi;
        s = 0; i = 0; k = 0; o = NOTHING; again = 0
    }
}

// ---------------------------------------------------------------------------

#define PICK(x) \
    d_step { frees > 0 && slot[x] == LIVE -> \
        o = x; slot[x] = FREEING; frees-- }
#define PICK_AGAIN(x) \
    d_step { agains > 0 && slot[x] == GONE -> \
        o = x; slot[x] = AGAIN + me; again = 1; agains-- }

proctype thread(byte me, class, mallocs, frees, agains, reclaims;
    bit cached) {
    byte mine = NO_SPAN;    // mcache->alloc[class]
    byte put = NO_SPAN;     // a span that it holds, to be put down next
    byte o = NOTHING;       // an object, to be freed next
    byte s, i, w, k, was, seen;
    bit won, caught, again;

    do
    :: put != NO_SPAN -> put_down()
    :: put == NO_SPAN && o != NOTHING -> mm_free()
    :: put == NO_SPAN && o == NOTHING ->
        if
        :: mallocs > 0 -> mm_malloc()
        :: PICK(0)
        :: PICK(1)
        :: PICK(2)
        :: PICK(3)
        :: PICK_AGAIN(0)
        :: PICK_AGAIN(1)
        :: PICK_AGAIN(2)
        :: PICK_AGAIN(3)
        :: mine != NO_SPAN -> put = mine; mine = NO_SPAN
        :: reclaims > 0 && nempty(partial[0]) -> reclaim(0)
        :: reclaims > 0 && nempty(partial[1]) -> reclaim(1)
        :: mine == NO_SPAN -> break
        fi
    od;
    atomic { mallocs = 0; frees = 0; agains = 0; reclaims = 0 }
}

#define IN_PARTIAL(x, cl) (partial[cl]??[eval(x)] -> 1 : 0)
#define MAY_BE_IN(x, cl) \
    (span[x].place == AT(PARTIAL, cl) || span[x].place == AT(EMPTY, cl))
inline check_end(x) {
    assert(holder[x] == 0 && STATE(x) != CACHED);                   // P1
    if
    :: STATE(x) == NONE
    :: else ->
        assert(TAKEN(x, 0) == !IS_FREE(x, 0));                      // P3
        assert(TAKEN(x, 1) == !IS_FREE(x, 1));                      // P3
        assert((STATE(x) == FULL) == !HAS_FREE(x));                 // P3
        assert(STATE(x) == EMPTY || !IS_EMPTY(x))                   // P3
    fi;
    assert(IN_PARTIAL(x, 0) == MAY_BE_IN(x, 0));                    // P4
    assert(IN_PARTIAL(x, 1) == MAY_BE_IN(x, 1))                     // P4
}

#define IS_EMPTY_OF(x, cl) (span[x].place == AT(EMPTY, cl))
init {
    atomic { start_threads() }
    d_step {
        _nr_pr == 1;
        check_end(0);
        check_end(1);
        assert(n_empty[0] == IS_EMPTY_OF(0, 0) + IS_EMPTY_OF(1, 0)); // P5
        assert(n_empty[1] == IS_EMPTY_OF(0, 1) + IS_EMPTY_OF(1, 1)) // P5
    }
}
