#!/bin/sh
# faults.sh - what happens when the OS refuses what malloc asks of it.
#
# programs/faults.c makes each system call of the stage fail, one in each run,
# and then all from there on. A malloc may return NULL for it, but nothing else
# may go wrong: no contents are lost, errno tells, free keeps errno, and once
# the fault is over, the memory is all there.
#
# Environment, $1: see programs/run_programs.sh

# shellcheck disable=SC1091,SC2034,SC2154 # run_programs.sh and its variables
suite=contract/faults
. tests/contract/programs/run_programs.sh

# Its functions are exported: they are found before those of the C library.
compile faults faults.c -rdynamic
all_kept=0

# faulty NAME SENTENCE CALL once|on frees|keeps [NAME=VALUE]
faulty() {
    wanted "$1" || return 0
    name=$1 sentence=$2 call=$3 how=$4 frees=$5
    shift 5
    run "$@" "$programs/faults" "$call" "$how" "$frees"
    expect_success
    # In so many runs a call failed; malloc returned NULL; memory was kept
    # that should have gone back.
    runs=0 refused=0 kept=0
    read -r runs refused kept <"$tmp/out"
    # One refusal may be made good by asking for less.
    case $call:$how:$refused in
    sbrk:*:0 | mmap:on:0)
        wrong 'malloc returns NULL in some runs' "in none of $runs"
        ;;
    esac
    all_kept=$((all_kept + kept))
    verdict "$name" "$sentence ($runs runs)${1:+, $1}"
}

# The first stage does not free.
frees=frees
from 2 || frees=keeps

unused=
for call in sbrk mmap munmap madvise mprotect mremap; do
    run "$programs/faults" "$call" once keeps 1
    if [ "$outcome $(cat "$tmp/out")" = 'exit 0 0 0 0' ]; then
        unused="$unused $call"
        continue
    fi
    faulty "${call}_once" "each call of $call may fail" "$call" once "$frees"
    faulty "${call}_on" "all calls of $call may fail from any one on" \
        "$call" on "$frees"
    # A hardened stage keeps freed blocks for a while.
    if from 2; then
        faulty "${call}_once" "each call of $call may fail" "$call" once keeps \
            MM_HARDEN=1
        faulty "${call}_on" "all calls of $call may fail from any one on" \
            "$call" on keeps MM_HARDEN=1
    fi
done
[ -z "$unused" ] || echo "This stage does not call:$unused"

# From arenas nothing goes back before there is a scavenger.
if from 2 && [ "${STAGE%%-*}" -ne 10 ] && [ "$only" = '*' ] &&
    wanted kept; then
    [ "$all_kept" -gt 0 ] ||
        wrong 'some runs in which memory could not be given back' 'none'
    verdict kept "memory that cannot be given back is kept ($all_kept runs)"
fi
finish
