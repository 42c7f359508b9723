#!/bin/sh
# replay_test.sh - shows that the replay of vectors notices a page heap that is
# wrong, in any kind of line, and files that are not as they must be.
#
# usage: [CC=clang] replay_test.sh [PART]   PART: only the cases with this in
#                                           their sentence
#
# Exit: 0 all passed, 1 not.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
cd "$tmp" || exit 1

# --- The programs: stage 13, and stage 10 ------------------------------------

# compile NUMBER FLAG...: with the headers of that stage.
compile() {
    number=$1
    shift
    "${CC:-gcc}" -std=c11 -D_GNU_SOURCE -pthread -O1 -fno-builtin-malloc \
        -DMM_DEBUG=1 -DMM_COUNTERS=1 -DSTAGE_NUMBER="$number" \
        -I"$root/common" -I"$(echo "$root/stages/$number"-*)" -I"$root/tests" \
        "$@" || exit 1
}

# objects NUMBER: everything but the part that a fault is planted in.
objects() {
    mkdir "objects-$1"
    (
        cd "objects-$1" || exit 1
        for source in "$root"/common/*.c "$root/stages/$1"-*/*.c \
            "$root"/tests/replay/*.c; do
            case ${source##*/} in
            preload.c | harden.c | mk*.c) continue ;;
            esac
            # Two parts have the same name in the stage and in the replay.
            name=${source#"$root/"}
            compile "$1" -c -o "$(echo "$name" | tr / _).o" "$source"
        done
    ) || exit 1
}
objects 13
objects 10
compile 13 -o replay objects-13/*.o
compile 10 -o replay-10 objects-10/*.o

# --- The files ---------------------------------------------------------------

for family in palloc_bits palloc_sum page_alloc page_cache scavenge \
    scav_index addr_ranges; do
    xz -dc <"$root/tests/vectors/$family.txt.xz" >"$family.all" || exit 1
done

# sequence FILE NAME: the file with this sequence only.
sequence() {
    sed -n "1p; /^seq $2 /,/^end /p; /^eof/p" "$1"
}
# Shorter files, with every kind of line.
sed -n '1,40p; /^f/p; /^[gDc]/p; /^eof/p' palloc_bits.all >palloc_bits.txt
cp palloc_sum.all palloc_sum.txt
cp scav_index.all scav_index.txt
cp addr_ranges.all addr_ranges.txt
sequence page_alloc.all grow >page_alloc.txt
{
    sed -n '1,100p' page_cache.all
    sequence page_cache.all refill2 | sed 1d
} >page_cache.txt
sequence scavenge.all mix2-h256 >scavenge.txt

# --- The checks --------------------------------------------------------------

seconds=60 # only to end what hangs
# says SENTENCE STATUS TEXT COMMAND...: it exits with that status and prints
# this text among others. A * in the text stands for anything.
says() {
    sentence=$1 expected=$2 text=$3
    shift 3
    wanted "$sentence" || return 0
    output=$(timeout "$seconds" "$@" 2>&1)
    status=$?
    # shellcheck disable=SC2254 # a pattern
    case $status:$output in
    "$expected:"*$text*) ok "$sentence" ;;
    *) not_ok "$sentence" "exit $expected, $text" "exit $status, $output" ;;
    esac
}

# whole FILE OPERATIONS: all lines of the file are checked, and right.
whole() {
    says "$1 is replayed to its end" 0 \
        "stage 13: $2 operations, 0 mismatches; $(wc -l <"$1") lines checked" \
        ./replay "$1"
}
whole palloc_bits.txt 9236
whole palloc_sum.txt 2015
whole page_alloc.txt 6000
whole page_cache.txt 216
whole scavenge.txt 745
whole scav_index.txt 1667
says 'what no stage does is counted, too' 0 '1409 lines checked, 38 not' \
    ./replay addr_ranges.txt
says 'a stage counts what it cannot do, and what follows' 0 \
    '    not applicable, at a later stage: P 8 p 91 k 1
    not applicable, after what a later stage does: k 44 C 35 x 45 q 73 h 1 D 2'\
' S 6
stage 10: 0 operations, 0 mismatches; 7 lines checked, 306 not applicable' \
    ./replay-10 page_cache.txt
says '... and what it can do only in part' 0 \
    'the rest at a later stage: c 1 go 1 a 3882 r 30 w 29 D 42
    not applicable, at a later stage: q 2942 h 19 S 68
stage 10: 6000 operations, 0 mismatches; 6048 lines checked, 3029 not' \
    ./replay-10 page_alloc.txt
says 'files are added up' 0 \
    'stage 13: 3682 operations, 0 mismatches; 3710 lines checked, 0 not' \
    ./replay palloc_sum.txt scav_index.txt
says 'a file is known by its first line' 0 'x: 2015 operations, 0 mismatches' \
    sh -c 'cp palloc_sum.txt x; ./replay x'
says 'a file is known by its name' 0 '2015 operations, 0 mismatches' \
    sh -c 'mkdir named; sed "1s/.*/# mine/" palloc_sum.txt \
        >named/palloc_sum.txt; ./replay named/palloc_sum.txt'
says 'a file may be compressed' 0 '.xz: 2015 operations, 0 mismatches; 2017' \
    ./replay "$root/tests/vectors/palloc_sum.txt.xz"
says 'files that unit tests read are not applicable' 0 \
    'stage 13: 0 operations, 0 mismatches; 2 lines checked, 7378 not' \
    ./replay "$root/tests/vectors/mspan.txt"

# --- Wrong answers -----------------------------------------------------------

# changed FILE WORD FIELD...: each of these numbers, if it is another one in a
# line with this word, is found, and the line printed.
changed() {
    file=$1 word=$2
    shift 2
    for field in "$@"; do
        sentence="$file: $word: field $field is compared"
        wanted "$sentence" || continue
        # The last digit is another one; 0 and 1 change places.
        awk -v word="$word" -v field="$field" '
            !done && $1 == word && $field != "-1" && NR > 20 {
                last = substr($field, length($field))
                if (last ~ /[a-f]/) last = 0
                else last = last == 0 ? 1 : last - 1
                $field = substr($field, 1, length($field) - 1) last
                done = 1
                print NR >"line"
            }
            { print }' "$file" >changed.txt
        line=$(cat line)
        says "$sentence" 1 "changed.txt:$line: $(sed -n "${line}p" changed.txt |
            cut -c 1-200)" ./replay changed.txt
    done
}
changed palloc_bits.txt S 2 3 4 5
changed palloc_bits.txt F 4 5
changed palloc_bits.txt P 4
changed palloc_bits.txt A 4 7 11
changed palloc_bits.txt R 4 7 11
changed palloc_bits.txt f 4
changed palloc_bits.txt g 4
changed palloc_bits.txt c 6 7
changed palloc_sum.txt K 5 6 7 8
changed palloc_sum.txt M 11
changed addr_ranges.txt Q 3 4 5
changed addr_ranges.txt = 2 3 4 5
changed scav_index.txt N 2 3
changed page_alloc.txt a 3 4
changed page_alloc.txt r 4
changed page_alloc.txt w 3 4
changed page_alloc.txt q 2
changed page_alloc.txt h 2 3 4
changed page_alloc.txt D 4 5
changed page_alloc.txt S 5
changed page_cache.txt p 3 4 5 6
changed page_cache.txt k 3 4 5
changed page_cache.txt C 4 5 6 7
changed scavenge.txt v 3
changed scavenge.txt i 2 3 4

# edited SENTENCE STATUS TEXT FILE SED: what becomes of an edited file.
edited() {
    wanted "$1" || return 0
    sed "$5" "$4" >edited.txt
    if cmp -s "$4" edited.txt; then
        not_ok "$1" "an edited file: sed '$5'" 'the same'
    else
        says "$1" "$2" "$3" ./replay edited.txt
    fi
}
edited 'another start of the search is found' 1 \
    'edited.txt:4: go 51201
    search address: expected 51201, got 51200
' page_alloc.txt 's/^go 51200/go 51201/'
edited 'another chunk at the start is found' 1 \
    'search address: expected 51200' page_alloc.txt '3s/100 100/101 101/'
edited 'a page more in use at the start is found' 1 'edited.txt:5: ' \
    page_alloc.txt '3s/.*/c 100 100 1 0 1 0/'
edited 'a change of the search address must be recorded' 1 \
    'edited.txt:6: a 5 51201 0
    search address: expected 51200 as before, got 51201' page_alloc.txt 7d
edited 'a page freed that is not in use is found' 1 'edited.txt:16: f 51220 1
    pages in use before it: expected 1, got 0' page_alloc.txt \
    '16s/51200/51220/'
edited 'the rest of a sequence is left out after a mismatch' 1 \
    '1 operations, 1 mismatches; 7 lines checked, 0 not applicable at this'\
' stage; 9070 not performed after a mismatch' page_alloc.txt '5s/$/1/'
edited 'a mismatch ends no more than its sequence' 1 \
    '355650 operations, 1 mismatches; 384243 lines checked' \
    page_alloc.all '5s/$/1/'

# --- Files that are none -----------------------------------------------------

edited 'an unknown word is refused' 2 \
    'edited.txt:9: no line of this file: z 1' page_alloc.txt '9s/.*/z 1/'
edited 'a word of another family is refused' 2 'edited.txt:9: no line of this' \
    palloc_sum.txt '9s/.*/a 1 1 1/'
edited 'a number too many is refused' 2 'edited.txt:85: more than was read: M' \
    palloc_sum.txt '/^K/d;900s/$/ 0000000000000000/'
edited 'a number too few is refused' 2 'edited.txt:5: not a number: a 1 51200' \
    page_alloc.txt '5s/ [0-9]*$//'
edited 'a space at the end is refused' 2 'edited.txt:5: not a number' \
    page_alloc.txt '5s/$/ /'
edited 'what is no number is refused' 2 'edited.txt:5: not a number' \
    page_alloc.txt '5s/.$/x/'
edited 'a page out of range is refused' 2 'edited.txt:16: a number that is' \
    page_alloc.txt '16s/.*/f 99999999999 1/'
edited 'more than 64 bits are refused' 2 'edited.txt:16: not a number' \
    page_alloc.txt '16s/.*/f 99999999999999999999 1/'
edited 'a missing operation is noticed' 2 'lines are missing: end 6000' \
    page_alloc.txt '/^w/d'
edited 'a missing chunk is noticed' 2 'not the next chunk: D' page_alloc.txt \
    '/^D/{x;s/^/x/;/^x$/{x;d;};x;}'
edited 'missing chunks are noticed' 2 'a line in the wrong place: S 0' \
    page_alloc.txt '/^D/d'
edited 'missing summaries are noticed' 2 'a summary is missing: end' \
    page_alloc.txt '/^S 2/d'
edited 'a sequence needs an end' 2 'a sequence has no end' page_alloc.txt \
    '/^end/d'
# shellcheck disable=SC2016 # what has a $ is sed's, or for the shell inside
edited 'a line after the end is noticed' 2 'a line after the end: a 1 0 0' \
    page_alloc.txt '$a\
a 1 0 0'
edited 'an operation after the dump is noticed' 2 'in the wrong place: a 1 0' \
    page_alloc.txt '/^S/i\
a 1 0 0'
edited 'a truncated file is noticed' 2 'edited.txt:100: it ends without "eof"' \
    page_alloc.txt '100q'
edited 'an unknown file is refused' 2 'neither this line nor the name' \
    page_alloc.txt '1s/.*/# something/'
edited 'a file without its first line is refused' 2 'begin with a comment' \
    page_alloc.txt 1d
says 'a line that is cut is noticed' 2 'a line is too long, or ends' \
    sh -c 'head -c 1000 page_alloc.txt >cut.txt; ./replay cut.txt'
says 'a line may have 8191 characters' 0 ' 2015 operations, 0 mismatches' \
    sh -c '{ printf "# oracle palloc_sum.txt %08167d\n" 0
        sed 1d palloc_sum.txt; } >long.txt; ./replay long.txt'
says 'a line that is too long is noticed' 2 'a line is too long, or ends' \
    sh -c '{ printf "# oracle palloc_sum.txt %08168d\n" 0
        sed 1d palloc_sum.txt; } >long.txt; ./replay long.txt'
says 'an empty file is noticed' 2 'does not begin with a comment' \
    sh -c ': >empty.txt; ./replay empty.txt'
# shellcheck disable=SC2016
says 'half a compressed file is noticed' 2 '' \
    sh -c 'head -c 1000 "$0" >half.xz; ./replay half.xz' \
    "$root/tests/vectors/palloc_sum.txt.xz"
says 'a missing file is noticed' 2 'none.txt: No such file' ./replay none.txt
says 'a directory is no file' 2 '' ./replay "$root/tests"
says 'a file is needed' 2 'usage: replay FILE...' ./replay
says 'a stage must exist' 2 "no stage '77'" \
    make -s -C "$root" replay STAGE=77 MAKEFLAGS=
says 'a stage must have such a page heap' 2 \
    "none of these stages has Go's page heap: 09" \
    make -s -C "$root" replay-09 MAKEFLAGS=

# --- Faults planted into the stage -------------------------------------------

# planted SENTENCE PART SED FILE TEXT [STATUS]: the part with that fault is
# found out by the file.
planted() {
    wanted "$1" || return 0
    part=$(echo "$root"/stages/13-*/"$2".c)
    sed "$3" "$part" >"$2.c"
    if cmp -s "$part" "$2.c"; then
        not_ok "$1" "a changed line: sed '$3'" 'none (was it reworded?)'
        return
    fi
    # shellcheck disable=SC2046 # words
    compile 13 -o faulty "$2.c" \
        $(find objects-13 -name '*.o' ! -name "*_$2.c.o")
    says "$1" "${6-1}" "$5" ./faulty "$4"
}
planted 'find: the longest run of an entry is not looked at' mpagealloc \
    's/if (here.max >= npages) {/if (here.max > npages) {/' page_alloc.txt ''
planted 'find: another candidate' mpagealloc \
    's/uintptr_t lowest = .*/uintptr_t lowest = chunk_base(i);/' \
    page_alloc.txt 'candidate: expected'
planted 'update: the root is left out' mpagealloc \
    's/level-- > 0 && changed/level-- > 1 \&\& changed/' \
    page_alloc.txt ''
planted 'update: one bit of a summary' mpagealloc \
    's/: parent_summary(p, level, i);/& *sum ^= level == 1;/' \
    page_alloc.txt 'hash of the summaries: expected'
planted 'alloc: the search address stays' mpagealloc \
    's/p->search_addr = found.search_addr;/;/' page_alloc.txt \
    'search address: expected'
planted 'free: the search address stays' mpagealloc \
    '/^void page_alloc_free/,/^}/s/p->search_addr = base;/;/' page_alloc.txt ''
planted 'alloc_to_cache: one bit of the cache' mpagecache \
    's/\.cache = ~chunk->alloc.words\[w\]/& ^ 1/' page_cache.txt \
    'cache: expected'
planted 'alloc_to_cache: the search address is a page too high' mpagecache \
    's/(PAGE_CACHE_PAGES - 1) \* PAGE_SIZE/PAGE_CACHE_PAGES * PAGE_SIZE/' \
    page_cache.txt 'search address: expected'
planted 'flush: what is scavenged is forgotten' mpagecache \
    's/chunk->scavenged.words\[w\] |= c->scav/(void)0/' page_cache.txt ''
planted 'scavenge: a page too many' mgcscavenge \
    's/(max % PAGE_SIZE != 0)/1/' scavenge.txt 'bytes: expected'
planted 'scavenge: the huge page is broken' mgcscavenge \
    's/start = huge_start;/;/' scavenge.all 'expected'
planted 'scavenge: the lowest bit of the index' mgcscavenge \
    's/ci = ci \/ 64 \* 64 - 1;/return 0;/' scav_index.txt 'N '
planted 'a stage that aborts is told the line' mpagecache \
    's/^    ASSERT(npages > 0);/    CHECK(npages == 0);/' page_cache.txt \
    'page_cache.txt:3: p *
    Aborted'
seconds=2
planted 'a stage that hangs is told the line' mpagecache \
    's/^    ASSERT(npages > 0);/    for (;;) continue;/' page_cache.txt \
    'page_cache.txt:3: p *
    Terminated' 124

totals
