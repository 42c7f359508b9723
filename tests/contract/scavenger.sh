#!/bin/sh
# stages: 11-
#
# scavenger.sh - the thread that gives memory back while a program does
# something else, or nothing: under LD_PRELOAD, with MM_SCAVENGER=thread.
#
# Environment, $1: see programs/run_programs.sh

# shellcheck disable=SC1091,SC2034,SC2154 # run_programs.sh and its variables
suite=contract/scavenger
. tests/contract/programs/run_programs.sh
unset MM_SCAVENGER

compile scavenger scavenger.c
scavenger=$programs/scavenger
thread=MM_SCAVENGER=thread

holds no_thread 'without the variable there is no thread' "$scavenger" alone
holds other_values 'other values of the variable mean nothing' \
    MM_SCAVENGER=threads "$scavenger" alone
holds no_value '... the empty one neither' MM_SCAVENGER= "$scavenger" alone

hardened_too large_blocks_go \
    'a program that freed 64 MiB and sleeps becomes small' \
    $thread "$scavenger" large_blocks_go
holds small_blocks_go '... also if that was in small blocks' \
    $thread "$scavenger" small_blocks_go
hardened_too forks 'a program with the thread forks 300 times' \
    $thread "$scavenger" forks
holds ends '40 programs end, whatever their threads do at that moment' \
    $thread "$scavenger" ends
holds signals 'the thread takes no signal of the program' \
    $thread "$scavenger" signals

# A program with one thread of its own, which knows nothing of the other.
wanted real_program && {
    run $thread awk 'BEGIN { for (i = 0; i < 200000; i++) a[i] = i "" i
        for (i in a) n += length(a[i]); print n }'
    expect_success
    [ "$(cat "$tmp/out")" = 2177780 ] || wrong 2177780 "$(cat "$tmp/out")"
    verdict real_program 'a program that has no threads works'
}

# Between the calls of a program, the thread sleeps, locks, and gives back.
sentence='the thread makes only a few system calls'
if ! strace -o /dev/null true 2>/dev/null; then
    skip system_calls "$sentence" 'strace is missing, or may not be used'
elif wanted system_calls; then
    rm -f "$tmp/stats"
    guarded strace -f -qq -o "$tmp/trace" -E LD_PRELOAD="$LIBRARY" \
        -E MM_STATS="$tmp/stats" -E $thread "$scavenger" large_blocks_go
    expect_success
    # Those of all threads but the first.
    names=$(awk 'NR == 1 { main = $1 }
        $1 != main && $2 ~ /^[a-z_0-9]+\(/ { sub(/\(.*/, "", $2); print $2 }' \
        "$tmp/trace" | sort -u | tr '\n' ' ')
    for call in $names; do
        case $call in
        clock_nanosleep | futex | madvise) ;;
        # The C library, when it starts a thread.
        rseq | set_robust_list | rt_sigprocmask) ;;
        *) wrong 'clock_nanosleep futex madvise' "$names" ;;
        esac
    done
    case $names in *madvise*) ;; *) wrong madvise "$names" ;; esac
    verdict system_calls "$sentence"
fi

finish
