#!/bin/sh
# mksizeclasses_test.sh - are the size classes those that the program computes,
# and are wrong ones noticed?
#
# usage: sh tests/tools/mksizeclasses_test.sh [NAME]
#                         NAME: only the cases with this in their sentence
#
# The faults are planted in a copy of the tree.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
# Not those of a make that runs this.
unset MM_ROOT MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES V STAGE SUITE T
CC=${CC:-cc}

cd "$root" || exit 2
first=
for source in stages/*/mksizeclasses.c; do
    directory=${source%/*}
    stage=${directory#stages/}
    : "${first:=$stage}"
    # shellcheck disable=SC2086 # CC may be a compiler and its flags
    $CC -std=c11 -D_GNU_SOURCE -o "$tmp/$stage" "$source" || exit 2
    "$tmp/$stage" >"$tmp/header"
    equal "sizeclasses.h is what mksizeclasses prints ($stage)" '' \
        "$(diff "$directory/sizeclasses.h" "$tmp/header" 2>&1 | head -n 6)"
done
mk=$tmp/$first

# ---------------------------------------------------------------------------
# What it prints.

# summary OPTION... shows the three lines of --summary.
summary() {
    "$mk" --summary "$@" 2>&1
}

equal 'the classes of the stages: 66, and what they waste' \
'66 classes and class 0
waste by rounding: 5.20 % on average, from 129 up at most 15.77 % (4097)
with ends of spans: 5.55 % on average, from 129 up at most 16.65 % (4097)' \
    "$(summary)"
equal 'classes as in the notes on TCMalloc: 168, which waste more' \
'168 classes and class 0
waste by rounding: 1.33 % on average, from 129 up at most 11.07 % (2049)
with ends of spans: 7.48 % on average, from 129 up at most 18.73 % (3329)' \
    "$(summary --step 8 --no-merge)"
contains 'merged, 73 of the 168 are left' '73 classes and' "$(summary --step 8)"
equal 'the 168 classes have 73 different shares of a span' 73 \
    "$("$mk" --step 8 --no-merge --table |
        awk -F'|' 'NR > 2 && !seen[$4 / $5]++ { n++ } END { print n }')"
equal 'seven of the 168 classes get two objects out of three pages' \
    '10752 11008 11264 11520 11776 12032 12288' \
    "$("$mk" --step 8 --no-merge --table |
        awk -F'|' '$4 == 3 && $5 == 2 { printf "%s%d", s, $3; s = " " }')"
equal 'seven of the 73 classes are no multiples of 16, above 8' \
    '24 40 56 72 88 104 120' "$("$mk" --step 8 --table | awk -F'|' '
        NR > 2 && $3 > 8 && $3 % 16 { printf "%s%d", s, $3; s = " " }')"
contains 'a larger waste gives fewer classes' '36 classes and' \
    "$(summary --max-waste 25)"
contains 'a smaller waste gives more classes' '103 classes and' \
    "$(summary --max-waste 6.25)"
equal 'only powers of two: 13 classes' \
    '8 16 32 64 128 256 512 1024 2048 4096 8192 16384 32768' \
    "$("$mk" --max-waste 100 --max-step 32768 --table |
        awk -F'|' 'NR > 2 { printf "%s%d", s, $3; s = " " }')"
equal '--table has a row for each class' '66 of 66, last 32768' \
    "$("$mk" --table | awk -F'|' 'NR > 2 && $2 == NR - 2 { n++; last = $3 }
        END { print n " of " NR - 2 ", last " last + 0 }')"
equal '--waste has a line for each size, with its waste' \
    '32768 sizes, 0 wrong' "$("$mk" --waste | awk '
        /^#/ { next }
        {
            n++
            waste = 100 * ($2 - $1) / $2 - $3
            if ($1 != n || $2 < $1 || waste > 0.006 || waste < -0.006)
                wrong++
        }
        END { print n " sizes, " wrong + 0 " wrong" }')"
equal 'no line of the header is longer than 80 characters' '' \
    "$("$mk" | awk 'length > 80')"

# ---------------------------------------------------------------------------
# Options that it refuses.

# refuses SENTENCE STATUS MESSAGE OPTION...: nothing but the message comes.
refuses() {
    sentence=$1 expected=$2 message=$3
    shift 3
    actual=$("$mk" "$@" 2>&1 >"$tmp/output")
    status=$?
    [ ! -s "$tmp/output" ] || status="$status, with output"
    equal "$sentence: exit status" "$expected" "$status"
    contains "$sentence: message" "$message" "$actual"
}

contains '--help explains the options' '--max-waste PERCENT' "$("$mk" --help)"
refuses 'an unknown option' 2 'usage: mksizeclasses' --wast-e
refuses 'a word' 2 "not an option: 'table'" table
refuses 'a step that is no power of two' 2 \
    "not a power of two from 8 to 32768: '24'" --step 24
refuses 'a step that is no number' 2 "'8x'" --step 8x
refuses 'a step above the largest' 2 'is above --max-step' --step 512
refuses 'no waste at all' 2 'from 1 to 100' --max-waste 0
refuses 'a waste that is no number' 2 'from 1 to 100' --max-waste nan
refuses 'two outputs at once' 2 'only one thing' --table --waste
refuses 'classes that the tables cannot hold' 1 'do not fit into the tables' \
    --max-waste 1
if [ -w /dev/full ]; then
    "$mk" 2>"$tmp/message" >/dev/full
    equal 'a full disk is an error' 1 $?
fi

# ---------------------------------------------------------------------------
# Faults, each one in a copy of the tree, which must make the tests fail.

mkdir -p "$tmp/tree/stages" "$tmp/tree/tests/unit"
cp -R Makefile common "$tmp/tree"
cp -R "stages/$first" "$tmp/tree/stages"
cp tests/*.[ch] "$tmp/tree/tests"
cp -R tests/tools tests/vectors "$tmp/tree/tests"
cp tests/unit/msize_test.c tests/unit/vectors.h "$tmp/tree/tests/unit"
cd "$tmp/tree" || exit 2
vectors=tests/vectors/size_classes.txt
header=stages/$first/sizeclasses.h

# unit_test runs msize_test in the copy and prints its last line.
unit_test() {
    make CC="$CC" test STAGE="$first" SUITE=unit/msize_test 2>&1 | tail -n 40
}

# caught SENTENCE FILE SCRIPT MESSAGE: changed by sed, FILE fails the tests.
caught() {
    wanted "$1" || return
    cp "$2" "$tmp/saved"
    sed "$3" "$tmp/saved" >"$2"
    if [ "$(cmp -l "$2" "$tmp/saved" | wc -l)" != 1 ]; then
        not_ok "$1" "one changed byte in $2" \
            "$(diff "$tmp/saved" "$2" | head -n 4)"
    else
        contains "$1" "$4" "$(unit_test)"
    fi
    cp "$tmp/saved" "$2"
}

contains 'without a fault the tests pass' '6 passed, 0 failed' "$(unit_test)"
caught 'one bit in the size of a class, as recorded' $vectors \
    's/^c 40 3072 /c 40 3073 /' 'class_size(class): expected 0xc01, got 0xc00'
caught 'one bit in the pages of a class, as recorded' $vectors \
    's/^c 66 32768 4 /c 66 32768 5 /' 'expected 0x5, got 0x4'
caught 'one bit in a look-up table, as recorded' $vectors \
    's/^\(t128 249 .*\) 66$/\1 67/' 'entry 248 is 66 in'
caught 'one bit in a range of sizes, as recorded' $vectors \
    's/^s 4097 4864 44 4864/s 4097 4864 44 4865/' 'is rounded to 4864, not'
caught 'one bit in a large size, as recorded' $vectors \
    's/^r 2467668 2473984/r 2467668 2473985/' 'is rounded to 2473984, not'
caught 'a kind of line that is not known' $vectors 's/^m 66 /l 66 /' \
    'no line of this file'
caught 'one bit in class_to_size' "$header" 's/ 3072, / 3073, /' \
    'expected 0xc00, got 0xc01'
caught 'one bit in class_to_allocnpages' "$header" \
    's/ 10, 7, 4,$/ 10, 7, 5,/' 'expected 0x4, got 0x5'
caught 'one bit in size_to_class8' "$header" \
    's/^    0, 1, 2, 3, 3, 4, 4/    0, 1, 3, 3, 3, 4, 4/' 'entry 2 is 3 in'
caught 'one bit in size_to_class128' "$header" \
    's/^    31, 32, 33/    31, 32, 32/' 'entry 2 is 32 in'

# A line that is missing, and a table that is too short.
for fault in '/^s 9 16 /d' '/^r 2467668 /d' '/^d 1 0 0$/d' '/^eof$/d'; do
    cp "$tmp/tree/$vectors" "$tmp/saved"
    sed "$fault" "$tmp/saved" >$vectors
    contains "a missing line is noticed: $fault" '5 passed, 1 failed' \
        "$(unit_test)"
    cp "$tmp/saved" $vectors
done

# changed SENTENCE SCRIPT MESSAGE: the same for several bytes of the header.
changed() {
    cp "$header" "$tmp/saved"
    sed "$2" "$tmp/saved" >"$header"
    contains "$1" "$3" "$(unit_test)"
    cp "$tmp/saved" "$header"
}

changed 'a missing entry is noticed' 's/ 28672, 32768,$/ 28672,/' \
    '[FAIL] mm::classes_are_those_of_go'
changed 'an empty class too many is noticed' \
    's/NUM_SIZE_CLASSES = 67/NUM_SIZE_CLASSES = 68/' '3 passed, 3 failed'
changed 'constants that do not agree are refused by the compiler' \
    's/SMALL_SIZE_MAX = 1024/SMALL_SIZE_MAX = 1040/' \
    'the last entry of size_to_class128 is for MAX_SMALL_SIZE'

totals
