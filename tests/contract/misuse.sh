#!/bin/sh
# misuse.sh - what a stage notices of the mistakes of its callers.
#
# programs/misuse.c makes one mistake a run. The table below says how the stage
# must stop it: SIGABRT and exactly one line. What cannot be noticed must be
# harmless: nothing that is in use is handed out again.
#
# Environment, $1: see programs/run_programs.sh

# shellcheck disable=SC1091,SC2034,SC2154 # run_programs.sh and its variables
suite=contract/misuse
. tests/contract/programs/run_programs.sh

# The mistakes: each with its name, what it is, and two lines of what must
# happen, without and with MM_HARDEN=1. Their cells are for stages with
#   a list of all blocks (02) | boundary tags (03-04) | spans (05-06)
#       | a bit for each block (07-)
# and a cell that is left out is like the one before. "-" is nothing; else it is
# the message in short, as line_of spells it out.
#
# Where there are spans, no header lies between two blocks: what is written past
# a block is in the next one, and nobody notices. Where there are bits, nothing
# of the allocator is in a free block, either: what is written there damages
# nothing, and hides nothing.
mistakes() {
    cat <<'END'
double_free: a block is freed twice
    freed 48
    freed 64
double_free_with_another_between: p, q and p again are freed
    freed 48
    freed 64
double_free_by_a_thread: a block is freed again by another thread
    freed 48
    freed 64
double_free_overwritten: a block is freed twice, and overwritten in between
    freed 48 | freed 48 | malloc: links 48 | freed 48
    freed 64
double_free_large: a block of 1 MiB is freed twice
    freed 1048576 | freed 1048576 | freed
    freed 1048592 | freed 1048592 | freed
double_free_aligned: an aligned block is freed twice
    freed 48 | freed 48 | freed 4096
    freed 64 | freed 64 | freed 4096
double_free_merged_below: a block is freed that became part of the one below
    freed 40000 | freed 40000 | freed
    freed 40016 | freed 40016 | freed 40960
double_free_merged_above: a block is freed that took in the one above
    freed 40000 | freed 80016 | freed
    freed 40016 | freed 40016 | freed 40960
double_free_given_back: a block is freed that the OS may have back
    foreign | foreign | freed
    foreign | foreign | freed
double_free_after_realloc_0: a block is freed after realloc(p, 0)
    freed 48
    freed 64
double_free_after_realloc_moved: a block is freed that realloc moved away
    freed 48
    freed 64
double_free_after_reuse: a block is freed twice, and reused in between
    -
    freed 64
free_stack: a local variable is freed
    foreign
    foreign
free_global: a global variable is freed
    foreign
    foreign
free_mapping: a page from mmap is freed
    foreign
    foreign
free_wild_low: the pointer 0x10 is freed
    foreign
    foreign
free_wild_high: a pointer is freed that is no address at all
    foreign
    foreign
free_foreign_block: a block of another allocator is freed
    foreign
    foreign
free_foreign_break: memory of another user of sbrk is freed
    no_header | no_header | foreign
    no_header | no_header | foreign
free_copied_block: a copy of a block, with its header, is freed
    no_header | no_header | no_block
    no_header | no_header | no_block
free_interior: an aligned pointer into a block is freed
    no_header | no_header | no_block
    no_header | no_header | no_block
free_misaligned: a misaligned pointer into a block is freed
    no_header | no_header | no_block
    no_header | no_header | no_block
free_end: the end of a block is freed, above which nothing is in use
    no_header | no_header | freed 48
    no_header | no_header | no_block
realloc_freed: realloc of a freed block
    realloc: freed 48
    realloc: freed 64
realloc_stack: realloc of a local variable
    realloc: foreign
    realloc: foreign
usable_size_freed: malloc_usable_size of a freed block
    usable: freed 48
    usable: freed 64
write_below: 16 bytes are written below a block
    no_header | no_header | -
    no_header | no_header | OTHER: past 64
write_1_below: a byte is written below a block
    header 48 | no_header | -
    header 64 | no_header | OTHER: past 64
write_1_past_33: a byte is written past 33, the last of what they were made
    -
    past 64
write_0_past: a zero byte is written past a block
    OTHER header 0 | header 48 | -
    past 64
write_1_past: a byte other than zero is written past a block
    OTHER header 255 | header 48 | -
    past 64
write_16_past: 16 bytes are written past a block
    OTHER header 71748523475265 | header 48 | -
    past 64
write_past_large: 16 bytes are written past a block of 1 MiB
    OTHER header 71748523475265 | header 1048576 | -
    past 1048592 | past 1048592 | past 1056768
write_after_free: the first word of a freed block is written
    - | malloc: links 48 | malloc: links 48 | -
    written 64
write_after_free_further_in: another word of a freed block is written
    -
    written 64
free_sized_wrong: free_sized is told a wrong size
    -
    sized: size 48
END
}

# line_of SHORT prints the whole message. POINTER is the one that the mistake
# is about, OTHER that of a block beside it. SHORT may begin with another call
# than free(POINTER), and a block other than POINTER; it ends with the bytes in
# the block, where a block is shown.
line_of() {
    call='free(POINTER)' block=POINTER short=$1
    case $short in
    'OTHER:'*) call='free(OTHER)' block=OTHER ;;
    'realloc:'*) call='realloc(POINTER)' ;;
    'malloc:'*) call='malloc(POINTER)' ;;
    'usable:'*) call='malloc_usable_size(POINTER)' ;;
    'sized:'*) call='free_sized(POINTER)' ;;
    OTHER*) block=OTHER short=${short#OTHER } ;;
    esac
    short=${short#*: }
    case $short in
    freed*) what='double free' ;;
    foreign) what='not a block of this allocator' ;;
    no_block) what='no block starts here' ;;
    no_header) what='no block starts here, or its header was damaged' ;;
    header*) what='something wrote over the header of a block' ;;
    links*) what='something wrote to a block after it was freed' ;;
    past*) what='something wrote past its end' ;;
    written*) what='something wrote to it after it was freed' ;;
    size*) what='not the size it was asked for with' ;;
    *) what="misuse.sh does not know '$1'" ;;
    esac
    case $short in
    *' '*) what="$what (block $block, ${short##* } bytes)" ;;
    esac
    echo "mm: $call: $what"
}

# said prints what the program wrote to stderr, with names for its pointers.
said() {
    pointer=$(sed -n 1p "$tmp/out") other=$(sed -n 2p "$tmp/out")
    sed -e "s/${pointer:-none}\([^0-9a-f]\)/POINTER\1/g" \
        -e "s/${other:-none}\([^0-9a-f]\)/OTHER\1/g" "$tmp/err"
}

# happens SHORT: what happened in the last run is what must.
happens() {
    if [ "$1" = - ]; then
        expect_success
        return
    fi
    line=$(line_of "$1")
    if [ "$outcome: $(said)" != "SIGABRT: $line" ]; then
        wrong "SIGABRT: $line" "$outcome: $(said)"
    elif [ "$(wc -c <"$tmp/err")" -gt 200 ]; then
        wrong 'a line of at most 200 bytes' "$(cat "$tmp/err")"
    fi
}

# cell CELLS prints the cell of this stage: that number $kind, or the last.
cell() {
    echo "$1" | awk -F ' *[|] *' -v n="$kind" '{ print (n > NF ? $NF : $n) }'
}

compile misuse misuse.c
case ${STAGE%%-*} in
01) kind=0 ;;
02) kind=1 ;;
03 | 04) kind=2 ;;
05 | 06) kind=3 ;;
0[7-9] | 1[0-3]) kind=4 ;;
*)
    echo "FAIL - misuse.sh has no column for $STAGE"
    failed=1
    finish
    ;;
esac
if [ "$kind" -eq 0 ]; then
    echo 'This stage knows nothing of its blocks, so it notices no mistake. It'
    echo 'takes no memory back, so it cannot hand out any twice.'
fi

mistakes | sed 's/^ *//' >"$tmp/mistakes"
cases=0 stopped=0 stopped_hardened=0
while IFS= read -r row && IFS= read -r plain && IFS= read -r hardened; do
    name=${row%%:*} sentence=${row#*: }
    wanted "$name" || continue
    cases=$((cases + 1))
    [ "$kind" -gt 0 ] || plain=- hardened=-

    run "$programs/misuse" "$name"
    happens "$(cell "$plain")"
    [ "$outcome" != SIGABRT ] || stopped=$((stopped + 1))
    verdict "$name" "$sentence"

    wrong=
    run MM_HARDEN=1 "$programs/misuse" "$name"
    happens "$(cell "$hardened")"
    [ "$outcome" != SIGABRT ] || stopped_hardened=$((stopped_hardened + 1))
    verdict "$name" "$sentence, MM_HARDEN=1"
done <"$tmp/mistakes"

# A handler of SIGABRT runs after the message, and may allocate.
if from 2 && wanted abort_handler; then
    for harden in 0 1; do
        wrong=
        run MM_HARDEN=$harden "$programs/misuse" abort_handler
        happened="$outcome, $(sed -n 2p "$tmp/out"), $(said | cut -c 1-30)"
        expected='exit 7, the handler allocated, mm: free(POINTER): double free'
        [ "$happened" = "$expected" ] || wrong "$expected" "$happened"
        verdict abort_handler \
            "after a message, a handler may allocate, MM_HARDEN=$harden"
    done
fi

# Nine production allocators stop 0 to 19 of 24 such mistakes.
if from 2 && [ "$only" = '*' ] && wanted totals; then
    if [ $((stopped * 24)) -lt $((cases * 14)) ] ||
        [ $((stopped_hardened * 24)) -lt $((cases * 20)) ]; then
        wrong 'at least 14 of 24, and 20 of 24 with MM_HARDEN=1' \
            "$stopped of $cases, and $stopped_hardened of $cases"
    fi
    verdict totals "$stopped of $cases mistakes are stopped,\
 $stopped_hardened with MM_HARDEN=1"
fi
finish
