#!/bin/sh
# harness_test.sh - shows that a test cannot be green when it should not be.
#
# usage: harness_test.sh [WORDS OF A SENTENCE]
#
# In a copy of the tree, with one stage, tests are planted that Criterion or a
# sanitizer would let pass. make must fail on each, name it, and print the
# command that runs it alone; that command is the one that is run here.
# Exit: 0 all passed, 1 not.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
# Not those of a make that runs this.
unset MM_ROOT MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES V STAGE SUITE T
unset ASAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS LSAN_OPTIONS
stage=$(cd "$root/stages" && echo 02-*)

mkdir -p "$tmp/tree/stages" "$tmp/tree/tests/contract" "$tmp/tree/tests/unit"
cd "$tmp/tree" || exit 1
cp "$root/Makefile" .
cp -R "$root/common" .
cp -R "$root/stages/$stage" stages
cp "$root"/tests/*.[ch] tests
cp -R "$root/tests/tools" tests
cp "$root/tests/contract/glibc.c" tests/contract

# ---- the planted tests

cat >tests/unit/good_test.c <<'END'
// stages: 01-
#include "test.h"

TEST(good, "nothing is wrong here")
{
    void *p = mm_malloc(1);
    CHECK_NOT_NULL(p);
    mm_free(p);
}
END

cat >tests/unit/planted_test.c <<'END'
// stages: 01-
#include <unistd.h>
#include "test.h"

TEST(vacuous, "it checks nothing")
{
    mm_free(mm_malloc(1));
}

TEST(fails, "a sentence about the planted test")
{
    CHECK_EQ(2 + 2, 5);
}

TEST(calls_exit, "exit before the end")
{
    CHECK_EQ(1, 1);
    exit(0);
}

TEST(calls_underscore_exit, "_exit before the end")
{
    CHECK_EQ(1, 1);
    _exit(0);
}

TEST(crashes, "a signal")
{
    CHECK_EQ(1, 1);
    *(volatile int *)8 = 1;
}

TEST(forgets_a_block, "a block that is not freed")
{
    CHECK_NOT_NULL(mm_malloc(1));
}

TEST(frees_too_much, "an mm_check that fails at the end")
{
    char *p = mm_malloc(1);
    CHECK_NOT_NULL(p);
    p[-16] ^= 16; // its size, in its header
}

#define TEST_SECONDS 1
TEST(hangs, "a test without end")
{
    CHECK_EQ(1, 1);
    for (;;)
        pause();
}
END

cat >tests/unit/sanitized_test.c <<'END'
// stages: 01-
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include "test.h"

static void *volatile place;

TEST(writes_past_the_end, "a heap overflow")
{
    place = malloc(10);
    ((char *)place)[10] = 1;
    free(place);
    CHECK_EQ(1, 1);
}

TEST(writes_in_a_child, "a heap overflow in a child whose status is ignored")
{
    place = malloc(10);
    if (fork() == 0) {
        ((char *)place)[10] = 1;
        _exit(0);
    }
    wait(NULL);
    free(place);
    CHECK_EQ(1, 1);
}

TEST(loses_memory, "a block of the C library that nobody points to")
{
    place = malloc(1000);
    CHECK_NOT_NULL(place);
    place = NULL;
}

static void overflow(void)
{
    volatile int most = 0x7fffffff;
    most = most + 1;
}

TEST(overflows, "an int that overflows")
{
    overflow();
    CHECK_EQ(1, 1);
}

TEST(overflows_in_a_child, "the same in a child whose status is ignored")
{
    if (fork() == 0) {
        overflow();
        _exit(0);
    }
    wait(NULL);
    CHECK_EQ(1, 1);
}

static int shared;

static void *add(void *unused)
{
    for (int i = 0; i < 1000; i++)
        shared++;
    return unused;
}

TEST(races, "two threads write without a lock")
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_create(&threads[i], NULL, add, NULL), 0);
    for (int i = 0; i < 2; i++)
        CHECK_EQ(pthread_join(threads[i], NULL), 0);
}
END

cat >tests/unit/unbuilt_test.c <<'END'
// stages: 01-
#include "test.h"

TEST(unbuilt, "a program that cannot be compiled")
{
    CHECK_EQ(no_such_name, 1);
}
END

echo 'echo "ok - the first case"' >tests/contract/dies.sh
echo 'echo "ok - it"; echo "1 passed, 0 failed"; exit 3' \
    >tests/contract/fails_late.sh
echo 'echo "FAIL - it"; echo "0 passed, 1 failed"' >tests/contract/lies.sh
echo 'echo "ok - it"; echo "1 passed, 0 failed"' >tests/contract/good.sh

# ---- the cases

# again NAME prints the command that runs one planted test.
again() {
    echo "make test STAGE=$stage SUITE=unit/planted_test T=$1"
}

# sanitized TOOL prints the command that runs all that a sanitizer must find.
sanitized() {
    echo "make $1 STAGE=$stage SUITE=unit/sanitized_test"
}

# case_is SENTENCE STATUS COMMAND TEXT...: the command ends with this status (0
# or 1: any other), and prints each of the texts.
case_is() {
    sentence=$1 expected=$2 command=$3
    shift 3
    wanted "$sentence" || return 0
    output=$(sh -c "$command" 2>&1 </dev/null)
    status=$?
    missing=
    [ $((status != 0)) -eq "$expected" ] || missing="exit status $expected"
    for text; do
        case $output in
        *"$text"*) ;;
        *) missing="$missing${missing:+, }\"$text\"" ;;
        esac
    done
    if [ -z "$missing" ]; then
        ok "$sentence"
    else
        not_ok "$sentence" "$missing" "exit status $status after
$output"
    fi
}

good="STAGE=$stage SUITE=unit/good_test"

case_is 'a good test is green' 0 "make test $good" '1 passed, 0 failed'
case_is 'a test that checks nothing fails' 1 "$(again vacuous)" \
    'this test checks nothing' "$(again vacuous)" '0 passed, 1 failed'
case_is 'a failed check tells sentence, expected and actual value' 1 \
    "$(again fails)" 'mm::fails' 'a sentence about the planted test' \
    'expected == 5, got 4' "$(again fails)" '0 passed, 1 failed'
case_is 'exit(0) in a test fails' 1 "$(again calls_exit)" \
    'mm::calls_exit' "$(again calls_exit)" '0 passed, 1 failed'
case_is '_exit(0) in a test fails' 1 "$(again calls_underscore_exit)" \
    'calls_underscore_exit' "$(again calls_underscore_exit)" \
    '0 passed, 1 failed'
case_is 'a crash fails' 1 "$(again crashes)" \
    'mm::crashes' "$(again crashes)" '0 passed, 1 failed'
case_is 'a test that hangs is ended, and fails' 1 "$(again hangs)" \
    'mm::hangs: Timed out' "$(again hangs)" '0 passed, 1 failed'
case_is 'a block that is not freed fails' 1 "$(again forgets_a_block)" \
    'expected 0 live blocks at the end, got 1' "$(again forgets_a_block)" \
    '0 passed, 1 failed'
case_is 'a broken invariant at the end fails' 1 "$(again frees_too_much)" \
    'mm: mm_check: broken: ' 'mm_check found a broken invariant' \
    "$(again frees_too_much)" '0 passed, 1 failed'
case_is 'a filter that matches nothing fails' 1 "$(again no_such_test)" \
    'no test ran: the filter matches none' '0 passed, 1 failed'
case_is 'a suite that does not exist fails' 1 \
    "make test STAGE=$stage SUITE=unit/no_such_test" \
    'no suite unit/no_such_test applies to: '
case_is 'a program that cannot be compiled fails' 1 \
    "make test STAGE=$stage SUITE=unit/unbuilt_test" \
    'no_such_name' 'no result: ' 'unit/unbuilt_test' '0 passed, 1 failed'
case_is 'a good script is green' 0 \
    "make test STAGE=$stage SUITE=contract/good" '1 passed, 0 failed'
case_is 'a script that dies before its summary fails' 1 \
    "make test STAGE=$stage SUITE=contract/dies" \
    'contract/dies' 'it did not say how many passed' '0 passed, 1 failed'
case_is 'a script that fails after its summary fails' 1 \
    "make test STAGE=$stage SUITE=contract/fails_late" \
    'contract/fails_late' 'exit status 3' '1 passed, 1 failed'
case_is 'a script with a failure that exits 0 fails' 1 \
    "make test STAGE=$stage SUITE=contract/lies" \
    'contract/lies' 'FAIL - it' '0 passed, 1 failed'
case_is 'one bad suite among good ones fails the whole, and is named' 1 \
    "make test STAGE=$stage" \
    'no result: ' 'unit/unbuilt_test' 'failed:' "$stage unit/planted_test" \
    "$stage contract/lies" "ok    $stage       unit/good_test"

case_is 'a good test is green under ASan' 0 "make asan $good" \
    '1 passed, 0 failed'
case_is 'ASan: a write past the end fails' 1 \
    "$(sanitized asan) T=writes_past_the_end" 'heap-buffer-overflow' \
    "$(sanitized asan) T=writes_past_the_end" 'failed:'
case_is 'ASan: a report in a child that nobody looks at fails' 1 \
    "$(sanitized asan) T=writes_in_a_child" \
    'heap-buffer-overflow' 'writes_in_a_child' "$(sanitized asan)" 'failed:'
case_is 'ASan: a leak in the process of a test fails' 1 \
    "$(sanitized asan) T=loses_memory" \
    'LeakSanitizer: detected memory leaks' 'loses_memory' \
    "$(sanitized asan)" 'failed:'
# UBSan is a part of asan, too.
ubsan_finds() { # CONFIG COMPILER
    command -v "$2" >/dev/null || return
    run="$(sanitized "$1") CC=$2"
    case_is "a good test is green with $1, $2" 0 "make $1 $good CC=$2" \
        '1 passed, 0 failed'
    case_is "UBSan: undefined behaviour fails with $1, $2" 1 \
        "$run T=overflows" 'runtime error: signed integer overflow' \
        "$(sanitized "$1") T=overflows" 'failed:'
    case_is "... also in a child, $1, $2" 1 "$run T=overflows_in_a_child" \
        'runtime error: signed integer overflow' "a sanitizer's report"
}
ubsan_finds ubsan gcc
ubsan_finds asan clang
case "$(uname -m)" in
x86_64)
    case_is 'a good test is green under TSan' 0 "make tsan $good" \
        '1 passed, 0 failed'
    case_is 'TSan: a data race fails' 1 "$(sanitized tsan) T=races" \
        'ThreadSanitizer: data race' 'races' "$(sanitized tsan)" 'failed:'
    ;;
esac

totals
