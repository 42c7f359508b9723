#!/bin/sh
# replay_test.sh - shows that the replayer catches an allocator that breaks its
# promises, and traces that are none.
#
# usage: [CC=clang] replay_test.sh [PART]   PART: only the cases with this in
#                                           their sentence
#
# Exit: 0 all passed, 1 not.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
here=$root/tests/traces
cd "$tmp" || exit 1

# An allocator that never uses memory twice, with one fault at a time.
cat > faulty.c <<'END'
#include <stdlib.h>
#include <string.h>

#include "mm.h"

static _Alignas(4096) char memory[1 << 22];
static size_t used;
static struct mm_stats stats;

static int fault(const char *name)
{
    const char *chosen = getenv("FAULT");
    return chosen != NULL && strcmp(chosen, name) == 0;
}

void *mm_malloc(size_t size)
{
    if (fault("refuse"))
        return NULL;
    char *p = memory + used + (fault("align") ? 8 : 0);
    stats.mallocs++;
    used += (size + 31) / 16 * 16 - (fault("overlap") && size > 16 ? 32 : 0);
    stats.bytes_from_os_peak = used;
    return p;
}

void mm_free(void *p)
{
    stats.frees += fault("count") ? 2 : 1;
    stats.nodes_visited += 7;
    if (fault("scribble"))
        memset((char *)p + 128, 0, 8);
}

void *mm_malloc_noscan(size_t size)
{
    return (char *)mm_malloc(size) + (size == 12 ? 4 : 3);
}

void *mm_realloc(void *p, size_t size)
{
    void *q = fault("zero") || size != 0 ? mm_malloc(size) : NULL;
    if (q != NULL && !fault("forget"))
        memcpy(q, p, fault("half") ? size / 2 : size);
    if (fault("last"))
        ((char *)q)[size - 1] ^= 1;
    mm_free(p);
    return q;
}

bool mm_check(void)
{
    stats.sbrks++;
    return !fault("check") && !(fault("between") && stats.sbrks == 2);
}

void mm_stats(struct mm_stats *out)
{
    stats.munmaps++; // to be left out
    *out = stats;
}

void mm_walk(mm_visit *visit, void *ctx)
{
    struct mm_item items[] = {
        {.kind = MM_REGION, .size = 99},
        {.kind = MM_SPAN, .size = 99},
        {.kind = MM_BLOCK, .size = 16, .header = 8},
        {.kind = MM_BLOCK, .size = 16, .state = MM_FREE},
        {.kind = MM_BLOCK, .size = 16},
        {.kind = MM_BLOCK, .size = 8, .header = 8}};
    for (int i = 0; i < 6; i++)
        visit(&items[i], ctx);
}

void mm_lock_all(void)
{
    stats.locks_taken += !fault("lockless");
}

void mm_unlock_all(void)
{
}
END
"${CC:-gcc}" -std=c11 -D_GNU_SOURCE -pthread -O1 -I"$root/common" \
    -fno-builtin-malloc -o replay "$here"/replay.c "$here"/trace.c faulty.c \
    "$root"/common/stats.c || exit 1

# says SENTENCE STATUS TEXT OPTION...: with these options, replay exits with
# that status and prints this text among others. A * in the text stands for
# anything.
says() {
    sentence=$1 expected=$2 text=$3
    shift 3
    wanted "$sentence" || return 0
    output=$(./replay "$@" 2>&1)
    status=$?
    case $status:$output in
    "$expected:"*$text*) ok "$sentence" ;;
    *)
        not_ok "$sentence" "exit $expected, $text" \
            "exit $status, $output (replay $*${FAULT:+, fault: $FAULT})"
        ;;
    esac
}

cat > good.rep <<'END'
# A comment
0 3
6 1   # the header may take several lines
a 0 100
a 1 128
r 0 90
f 1
a 1 70000

f 0
END

says 'a trace that is performed well gives its counters' 0 \
'nodes_visited                    21
splits                            0
*
system_calls                      0
nodes_per_malloc                5.2
calls                             6
payload                       70000
payload_peak                  70090
utilisation                   99.5%
blocks_left                       1
objects                           2' good.rep
says 'reading the counters is not counted' 0 \
    'munmaps                           0' --counters munmaps good.rep
says 'only the counters asked for are printed, in that order' 0 \
    'payload                       70000
mallocs                           4' --counters payload,mallocs good.rep
says 'counters are printed in rows, and not at the end' 0 '2 2 0 228
4 3 14 90
6 4 21 70000' --every 2 --counters mallocs,nodes_visited,payload good.rep
says 'rows need counters' 2 '--every needs --counters' --every 2 good.rep
says 'rows are those of one thread' 2 'and one thread' --every 2 \
    --counters mallocs --threads 2 good.rep
printf '0 2 2 1\na 0 12\na 1 7\n' > aligned.rep
says 'noscan blocks are aligned by their size' 0 'mallocs * 2' --noscan \
    --keep aligned.rep
printf '0 1 1 1\na 0 14\n' > odd.rep
says '... at least' 1 'odd.rep:2: a 0 14: the block at 0x* is not at' \
    --noscan odd.rep
says '... and like all others from 16 bytes on' 1 'of 16' --noscan good.rep
says 'an unknown counter is trouble' 2 'no counter "nodes"; the counters are:' \
    --counters mallocs,nodes good.rep
says '--help explains' 0 'usage: replay' --help
says 'an unknown option is trouble' 2 'no option "--loud"' --loud good.rep
says 'a number of threads must be one' 2 '--threads: expected a number from' \
    --threads 0 good.rep
says 'an option without its value is trouble' 2 'its value is missing' \
    good.rep --threads
says 'a trace is needed' 2 'which trace?'
says 'a trace must be there' 2 'none.rep: No such file' none.rep

# broken SENTENCE FAULT TEXT OPTION...: that fault is found, with this message.
broken() {
    sentence=$1 FAULT=$2 text=$3
    export FAULT
    shift 3
    says "$sentence" 1 "good.rep:$text" "$@" good.rep
    unset FAULT
}
broken 'a block at an odd address is found' align \
    '4: a 0 100: the block at 0x'
broken 'overlapping blocks are found, with the number of the other' overlap \
    '5: a 1 128: the block at 0x* overlaps block 0, 100 bytes'
broken 'damaged contents are found' scribble '7: f 1: the contents of block 1'
broken 'realloc without the contents is found' forget '6: r 0 90: realloc from'
broken 'realloc without the last byte is found' last '6: r 0 90: realloc from'
broken 'a refused request is found' refuse '4: a 0 100: malloc returned NULL'
broken 'mm_check is asked at the end' check \
    '10: after the last operation: mm_check'
broken 'mm_check is asked in between' between '7: f 1: mm_check' --check-every 2
broken 'frees are counted' count '10: after the last operation: 4 mallocs and'

FAULT=lockless
export FAULT
says 'a stage without locks is given one thread only' 2 \
    'this stage has no locks' --threads 2 good.rep
unset FAULT
printf '0 1 2 1\na 0 10\nr 0 0\n' > zero.rep
says 'realloc to 0 bytes frees' 0 'blocks_left                       0' zero.rep
FAULT=zero
export FAULT
says '... and returns NULL' 1 'zero.rep:3: r 0 0: realloc to 0 bytes returned' \
    zero.rep
unset FAULT

# malformed SENTENCE LINE TEXT TRACE: the trace is refused at that line.
malformed() {
    printf '%b' "$4" > bad.rep
    says "$1" 2 "bad.rep:$2: $3" bad.rep
}
printf '0 1 2 1\na 0 200000\nr 0 300000\n' > large.rep
FAULT=half
export FAULT
says 'a large block is watched up to its end' 1 \
    'large.rep:3: r 0 300000: realloc from 0x* changed the contents' large.rep
unset FAULT

malformed 'an unknown id is refused' 4 'no block has the id 1' \
    '0 2 3 1\n# x\na 0 1\nf 1\nf 0\n'
malformed 'a second free is refused' 4 'no block has the id 0' \
    '0 2 3 1\na 0 1\nf 0\nf 0\n'
malformed 'realloc of what was freed by realloc is refused' 4 \
    'no block has the id 0' '0 2 3 1\na 0 1\nr 0 0\nr 0 5\n'
malformed 'an id in use is refused' 3 'id 0 is in use' '0 2 2 1\na 0 1\na 0 1\n'
malformed 'an id out of range is refused' 2 'id 2, but the header says 2 ids' \
    '0 2 1 1\na 2 1\n'
malformed 'a negative size is refused' 2 \
    'expected the size, a number, at "-1"' '0 1 1 1\na 0 -1\n'
malformed 'a size above PTRDIFF_MAX is refused' 2 'the size must be at most' \
    '0 1 1 1\na 0 9223372036854775808\n'
malformed 'a missing size is refused' 2 'expected the size' '0 1 1 1\na 0\n'
malformed 'half a number is refused' 2 'expected the id' '0 1 1 1\na 0x1 1\n'
malformed 'more on a line is refused' 2 'expected the end of the line at "9"' \
    '0 1 1 1\na 0 1 9\n'
malformed 'an unknown operation is refused' 2 'expected a, r or f, at "m 0 1"' \
    '0 1 1 1\nm 0 1\n'
malformed 'too many operations are refused' 3 '* but there are more' \
    '0 1 1 1\na 0 1\nf 0\n'
malformed 'too few operations are refused' 2 '* but the trace ends after 1' \
    '0 1 2 1\na 0 1\n'
malformed 'a header that ends early is refused' 1 \
    'the trace ends before the weight' '0 1 2\n'
malformed 'an empty file is refused' 0 'the trace ends before the suggested' ''

# The traces of the course are read up to their ends, and then refused.
"$here"/make_traces made || exit 1
FAULT=refuse
export FAULT
for trace in "$here"/*.rep made/*.rep; do
    says "${trace##*/} is a trace" 1 'malloc returned NULL' "$trace"
done

totals
