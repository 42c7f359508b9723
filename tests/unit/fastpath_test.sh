#!/bin/sh
# stages: 08-
#
# fastpath_test.sh - a malloc and a free of a small block take few instructions,
# and none that is slow: no atomic one, no call, no system call.
#
# What is measured is said in tests/tools/fastpath.c. See the instructions with:
# make fastpath-08
#
# Environment  STAGE, LIBRARY, CC, $1: see run_programs.sh in
#              tests/contract/programs; but LIBRARY has no counters.
#              FASTPATH is tests/tools/fastpath.c, compiled. MOST is how
#              many instructions mm_malloc and mm_free may have (20,30).

# shellcheck disable=SC1091,SC2034,SC2154 # cases.sh and its variables
suite=unit/fastpath_test
. tests/contract/programs/run_programs.sh
most=${MOST:-20,30}

tests/tools/fastpath --most "$most" "${FASTPATH:?is not set}" "$LIBRARY" \
    >"$tmp/output" 2>&1
status=$?

# absent NAME SENTENCE TEXT: no complaint has this text.
absent() {
    if [ $status -eq 77 ]; then
        skip "$1" "$2" "$(tail -n 1 "$tmp/output")"
    elif wanted "$1"; then
        found=$(grep -e "^[a-z]* of [0-9, ]*: $3" "$tmp/output")
        [ -z "$found" ] || wrong 'none' "$found"
        [ $status -le 1 ] || wrong 'exit status 0 or 1' "$(cat "$tmp/output")"
        verdict "$1" "$2"
    fi
}

# The numbers are those of gcc; clang is not held to them.
few() {
    case ${CC##*/} in
    gcc*) absent "$1" "$2" "$3" ;;
    *) skip "$1" "$2" 'counted with gcc only' ;;
    esac
}

few malloc_is_short "mm_malloc has at most ${most%,*} instructions" \
    '.* in mm_malloc, at most'
few free_is_short "mm_free has at most ${most#*,} instructions" \
    '.* in mm_free, at most'
absent no_atomic 'neither has an atomic instruction' 'atomic: '
absent no_call 'neither calls a function' 'call: '
absent no_system_call 'neither calls the system' 'system call: '
# Without this, the cases above could be green because nothing was measured.
sentence='six sizes were measured, in mm_malloc and mm_free'
if [ $status -eq 77 ]; then
    skip measured "$sentence" "$(tail -n 1 "$tmp/output")"
elif wanted measured; then
    found=$(grep -e '^[a-z]* of [0-9, ]*: .* was not called' "$tmp/output")
    [ -z "$found" ] || wrong 'mm_malloc and mm_free are called' "$found"
    rows=$(grep -c '^ *[0-9][0-9]*\( *[0-9][0-9]*\)\{9\}$' "$tmp/output")
    [ "$rows" -eq 6 ] || wrong '6 sizes in the table' "$rows"
    verdict measured "$sentence"
fi

if [ $failed -gt 0 ]; then
    sed -n '/^ size/,/^$/p' "$tmp/output"
fi
finish
