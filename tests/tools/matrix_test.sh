#!/bin/sh
# matrix_test.sh - shows that `matrix` catches what it is there for.
#
# usage: matrix_test.sh [WORDS OF A SENTENCE]
#
# In a copy of the tree, with two stages and suites made up for this, one fault
# after the other is planted.
# Exit: 0 all passed, 1 not.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
# Not those of a make that runs this.
unset MM_ROOT MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES V STAGE SUITE T

# copy_tree makes a tree with stages 01 and 02, and suites as they should be.
copy_tree() {
    mkdir -p "$tmp/tree/stages" "$tmp/tree/tests/contract" \
        "$tmp/tree/tests/unit"
    cd "$tmp/tree" || exit 1
    cp "$root/Makefile" .
    cp -R "$root/common" .
    cp -R "$root"/stages/01-* "$root"/stages/02-* stages
    cp "$root"/tests/*.[ch] tests
    cp -R "$root/tests/tools" tests
    cp "$root/tests/contract/glibc.c" tests/contract

    suite tests/contract/every_test.c '' 'CHECK_NOT_NULL(p);'
    suite tests/unit/first_test.c '// stages: 01' \
        'CHECK_EQ(mm_usable_size(p), 0);'
    suite tests/unit/second_test.c '// stages: 02-' \
        'CHECK_EQ(mm_usable_size(p), 16);'
    # Names of a stage's own sources and functions do not exist before.
    cat >stages/02-linked-list/extra.h <<END
enum { EXTRA = 1 };
END
    suite tests/unit/extra_test.c '// stages: 02' 'CHECK_EQ(EXTRA, 1);' \
        '#include "extra.h"'
}

# suite FILE FIRST-LINE CHECK [INCLUDE] writes a suite with one test.
suite() {
    {
        [ -z "$2" ] || echo "$2"
        cat <<END
#include "test.h"
${4-}
TEST(one_block, "a block is as it should be")
{
    void *p = mm_malloc(1);
    $3
    mm_free(p);
}
END
    } >"$1"
}

# more FILE NAME CHECK adds a test to a suite.
more() {
    cat >>"$1" <<END
TEST($2, "planted")
{
    $3
}
END
}

# fresh puts the tree back in order. It touches only what differs, so that make
# builds exactly that again.
fresh() {
    for file in contract/every_test.c contract/glibc.c matrix.txt \
        unit/first_test.c unit/second_test.c unit/extra_test.c; do
        cmp -s "$tmp/order/$file" "tests/$file" ||
            cp "$tmp/order/$file" "tests/$file"
    done
}

# says SENTENCE STATUS TEXT [OPTION] runs matrix, which must print the text.
says() {
    output=$(HANG=1 tests/tools/matrix ${4+"$4"} 2>&1)
    status=$?
    case $status:$output in
    "$2:"*"$3"*) ok "$1" ;;
    *) not_ok "$1" "exit $2, and somewhere: $3" "exit $status, $output" ;;
    esac
}

copy_tree
sentence='without a committed table, --check fails'
if wanted "$sentence"; then
    says "$sentence" 1 'the table is not the one in tests/matrix.txt'
fi
sentence='suites in order make a triangle, and --update writes it'
says "$sentence" 0 'suite                stages  01        02
contract/every_test  all     1/1       1/1
unit/extra_test      02      no build  1/1
unit/first_test      01      1/1       .
unit/second_test     02-     red       1/1' --update
# What follows changes these suites.
[ $failed -eq 0 ] || {
    totals
    exit 1
}
mkdir "$tmp/order"
cp -Rp tests/unit tests/contract tests/matrix.txt "$tmp/order"

sentence='the same table again passes --check'
if wanted "$sentence"; then
    says "$sentence" 0 'unit/second_test     02-     red       1/1' --check
fi

# What make test ran is not run again, so what it said can be exchanged.
compiler=${CC:-gcc}
compiler=${compiler%% *}
said=build/01-sbrk-bump/${compiler##*/}-debug/unit/first_test.result.tap
tested_before() {
    fresh
    make test STAGE=1 SUITE=unit/first_test >/dev/null 2>&1
    sed -i 's/^ok/not ok/' "$said"
}
sentence='what make test has run is not run again'
if wanted "$sentence"; then
    tested_before
    says "$sentence" 1 \
        'error: 01-sbrk-bump unit/first_test: one_block fails, where the suite'
fi
sentence='... but if it was built since'
if wanted "$sentence"; then
    tested_before
    touch tests/unit/first_test.c
    says "$sentence" 0 'unit/first_test      01      1/1       .'
fi
sentence='... or if what it reads is newer'
if wanted "$sentence"; then
    tested_before
    mkdir -p tests/vectors
    touch -d '1 second' tests/vectors/numbers.txt # clocks of files are coarse
    says "$sentence" 0 'unit/first_test      01      1/1       .'
fi
sentence='... or if not all tests were run'
if wanted "$sentence"; then
    tested_before
    make test STAGE=1 SUITE=unit/first_test T=one_block >/dev/null 2>&1
    says "$sentence" 0 'unit/first_test      01      1/1       .'
fi

sentence='a test that checks nothing new is named'
if wanted "$sentence"; then
    fresh
    more tests/unit/second_test.c too_early 'CHECK_TRUE(mm_check());'
    says "$sentence" 1 'error: unit/second_test: too_early passes on 01-sbrk'
fi

sentence='a test turned vacuous is named'
if wanted "$sentence"; then
    fresh
    suite tests/unit/second_test.c '// stages: 02-' \
        'CHECK_GE(mm_usable_size(p), 0);'
    says "$sentence" 1 'error: unit/second_test: one_block passes on 01-sbrk'
fi

sentence='a test that skips itself on the stage before is named'
if wanted "$sentence"; then
    fresh
    more tests/unit/second_test.c shirks \
        'test_failed(); cr_skip_test("no");'
    says "$sentence" 1 'error: unit/second_test: shirks skips itself on 01-sbrk'
fi

sentence='a range that begins too late is an error'
if wanted "$sentence"; then
    fresh
    suite tests/contract/every_test.c '// stages: 02-' 'CHECK_NOT_NULL(p);'
    says "$sentence" 1 'error: contract/every_test: one_block passes on 01-sbrk'
fi

sentence='a range that begins too early is an error'
if wanted "$sentence"; then
    fresh
    suite tests/unit/second_test.c '// stages: 01-' \
        'CHECK_EQ(mm_usable_size(p), 16);'
    says "$sentence" 1 \
        'error: 01-sbrk-bump unit/second_test: one_block fails, where the suite'
fi

sentence='a range that ends too late is an error'
if wanted "$sentence"; then
    fresh
    suite tests/unit/first_test.c '// stages: 01-02' \
        'CHECK_EQ(mm_usable_size(p), 0);'
    says "$sentence" 1 'error: 02-linked-list unit/first_test: one_block '\
'fails, where the suite'
fi

sentence='a range that names no stage is an error'
if wanted "$sentence"; then
    fresh
    suite tests/unit/first_test.c '// stages: 09' 'CHECK_NOT_NULL(p);'
    says "$sentence" 1 'error: unit/first_test: applies to no stage'
fi

sentence='a suite that cannot be built where it applies is an error'
if wanted "$sentence"; then
    fresh
    suite tests/unit/extra_test.c '// stages: 01-' 'CHECK_EQ(EXTRA, 1);' \
        '#include "extra.h"'
    says "$sentence" 1 \
        'error: 01-sbrk-bump unit/extra_test: cannot be built, where the suite'
fi

sentence='a program left over from when it could be built does not count'
if wanted "$sentence"; then
    fresh
    suite tests/unit/second_test.c '// stages: 02-' 'CHECK_EQ(EXTRAS, 1);'
    says "$sentence" 1 \
        'error: 02-linked-list unit/second_test: cannot be built, where the'
fi

sentence='a suite that ends before it ran its tests is an error'
if wanted "$sentence"; then
    fresh
    cat >>tests/unit/first_test.c <<END
#include <unistd.h>
__attribute__((constructor)) static void end_all(void)
{
    _exit(0);
}
END
    says "$sentence" 1 \
        'error: 01-sbrk-bump unit/first_test: ended before all its tests'
fi

sentence='a test that hangs or crashes on the stage before is red'
if wanted "$sentence"; then
    fresh
    more tests/unit/second_test.c hangs 'void *p = mm_malloc(1);
        while (mm_usable_size(p) == 0) { }
        CHECK_NOT_NULL(p);
        mm_free(p);'
    more tests/unit/second_test.c crashes 'void *p = mm_malloc(1);
        if (mm_usable_size(p) == 0) __builtin_trap();
        CHECK_NOT_NULL(p);
        mm_free(p);'
    says "$sentence" 1 '+unit/second_test     02-     red       3/3'
fi

sentence='a test that is gone is seen in the table'
if wanted "$sentence"; then
    fresh
    more tests/contract/every_test.c another 'CHECK_TRUE(mm_check());'
    says "$sentence" 1 '+contract/every_test  all     2/2       2/2'
fi

sentence='a table with errors is not written'
if wanted "$sentence"; then
    fresh
    more tests/unit/second_test.c too_early 'CHECK_TRUE(mm_check());'
    says "$sentence" 2 'tests/matrix.txt is left as it was' --update
    equal "$sentence: it is the old one" "$(cat "$tmp/order/matrix.txt")" \
        "$(cat tests/matrix.txt)"
fi

totals
