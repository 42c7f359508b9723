# shellcheck shell=sh
# run_programs.sh - what scripts share that run small programs under the malloc
# of a stage.
#
# A script sets suite=contract/NAME, includes this file, compiles its programs,
# runs one case after another, and ends with finish.
#
# Environment  STAGE=02-linked-list, LIBRARY=build/.../libmalloc.so, CC=gcc.
#              The current directory is the root of the tree.
# Argument     $1: only the cases whose name matches this pattern.

: "${suite:?}" "${STAGE:?is not set}" "${LIBRARY:?is not set}"
LC_ALL=C
export LC_ALL
unset LD_PRELOAD MM_STATS MM_HARDEN

CC=${CC:-gcc}
case $LIBRARY in /*) ;; *) LIBRARY=$PWD/$LIBRARY ;; esac
sources=tests/contract/programs
# Compilers differ, but all stages and suites use the same programs.
compiler=${CC%% *}
programs=$PWD/build/tests/programs/${compiler##*/}
only=${1:-*}
seconds=60 # only to end what hangs
passed=0 failed=0 skipped=0

tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' HUP INT TERM

# from N: the stage is number N or a later one.
from() {
    [ "${STAGE%%-*}" -ge "$1" ]
}

# finish prints the result of the script, and ends it.
finish() {
    if [ $((passed + failed + skipped)) -eq 0 ]; then
        echo "FAIL - no case is named $only"
        failed=1
    fi
    printf '%d passed, %d failed' "$passed" "$failed"
    [ "$skipped" -eq 0 ] || printf ', %d skipped' "$skipped"
    echo
    [ "$failed" -eq 0 ]
    exit
}

# A compiler may leave out calls of malloc and free that it knows; not here.
flags='-O1 -g -pthread -Wall -Wextra -Wconversion -Wshadow -Wundef -Werror
    -fno-builtin'

# compile_with COMPILER TARGET SOURCE FLAG...: only if the source is newer. The
# target appears at once: other suites may be compiling or running it.
compile_with() {
    with=$1 target=$programs/$2 source=$sources/$3
    shift 3
    if [ -x "$target" ] && [ -z "$(find "$source" "$sources"/*.h \
        "$sources/run_programs.sh" -newer "$target")" ]; then
        return
    fi
    mkdir -p "$programs"
    # shellcheck disable=SC2086 # several words each
    if $with $flags -o "$target.$$" "$source" "$@" >"$tmp/compiler" 2>&1; then
        mv -f "$target.$$" "$target"
        return
    fi
    cat "$tmp/compiler"
    echo "FAIL - $source compiles"
    echo '0 passed, 1 failed'
    exit 1
}

# compile TARGET SOURCE FLAG...: as above, for C.
compile() {
    compile_with "$CC -std=c11 -D_GNU_SOURCE" "$@"
}

# wanted NAME: the case was asked for. Nothing was wrong with it so far.
wanted() {
    # shellcheck disable=SC2254 # a pattern
    case $1 in $only) ;; *) return 1 ;; esac
    wrong=
}

# guarded COMMAND...: runs it with an end; what it prints goes to $tmp/out and
# $tmp/err. Sets outcome to SIGABRT, hung, exit 0 and so on.
guarded() {
    # The shell in between is there to say "Aborted" where nobody hears it.
    (
        (exec timeout -s KILL "$seconds" "$@" </dev/null \
            >"$tmp/out" 2>"$tmp/err")
        exit $?
    ) 2>/dev/null
    status=$?
    case $status in
    124 | 137) outcome=hung ;;
    134) outcome=SIGABRT ;;
    135) outcome=SIGBUS ;;
    139) outcome=SIGSEGV ;;
    *) outcome="exit $status" ;;
    esac
}

# run [NAME=VALUE...] PROGRAM ARGUMENT...: guarded, under the stage's malloc.
run() {
    rm -f "$tmp/stats"
    guarded env LD_PRELOAD="$LIBRARY" MM_STATS="$tmp/stats" "$@"
}

# interposed: the program that ran last got its memory from the stage. This
# shows only if it ended by exit.
interposed() {
    grep -q ' mallocs=[1-9]' "$tmp/stats" 2>/dev/null
}

# wrong EXPECTED ACTUAL notes what is wrong with the case.
wrong() {
    wrong="    expected: $1
    actual:   $2"
}

# verdict NAME SENTENCE ends a case: it passed if nothing was wrong.
verdict() {
    if [ -z "$wrong" ]; then
        passed=$((passed + 1))
        echo "ok - $2"
        return
    fi
    failed=$((failed + 1))
    echo "FAIL - $2"
    echo "$wrong"
    echo "    again:    make test STAGE=${STAGE%%-*} SUITE=$suite T=$1"
}

# skip NAME SENTENCE REASON: a case that cannot be run here.
skip() {
    if wanted "$1"; then
        skipped=$((skipped + 1))
        echo "skip - $2 ($3)"
    fi
}

# expect_success: the program that ran last ended well, said nothing on stderr,
# and used the stage's malloc.
expect_success() {
    if [ "$outcome" != 'exit 0' ] || [ -s "$tmp/err" ]; then
        wrong 'exit 0' "$outcome
$(sed 's/^/              /' "$tmp/err")"
    elif ! interposed; then
        wrong 'MM_STATS counts the mallocs of the program' \
            "$(cat "$tmp/stats" 2>&1)"
    fi
}

# holds NAME SENTENCE [NAME=VALUE...] PROGRAM ARGUMENT...: a case in which the
# program checks everything itself.
holds() {
    wanted "$1" || return 0
    name=$1 sentence=$2
    shift 2
    run "$@"
    expect_success
    verdict "$name" "$sentence"
}

# hardened_too: as holds, and the same again with MM_HARDEN=1.
hardened_too() {
    holds "$@"
    name=$1 sentence=$2
    shift 2
    holds "$name" "$sentence, MM_HARDEN=1" MM_HARDEN=1 "$@"
}
