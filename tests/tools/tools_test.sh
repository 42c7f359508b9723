#!/bin/sh
# tools_test.sh - shows that each tool in this directory catches its faults.
#
# usage: tools_test.sh [WORDS OF A SENTENCE]
#
# The trees that the tools see are made up, in a temporary directory; most
# tests plant one fault into a copy of a tree in order.
# Exit: 0 all passed, 1 not.

tools=$(cd "$(dirname "$0")" && pwd) || exit 1
# shellcheck source=tests/tools/cases.sh
. "$tools/cases.sh"
unset MM_ROOT BASE GOSRC COLUMNS GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE

# run runs a tool in the tree; what it prints, on both ways out, is $output.
run() {
    tool=$1
    shift
    output=$(cd "$tmp/tree" && MM_ROOT=$tmp/tree "$tools/$tool" "$@" 2>&1)
    status=$?
}

# prints SENTENCE STATUS TEXT TOOL...: the tool prints exactly this text.
prints() {
    sentence=$1
    expected="exit $2, $3"
    shift 3
    run "$@"
    equal "$sentence" "$expected" "exit $status, $output"
}

# says SENTENCE STATUS TEXT TOOL...: the tool prints this text among others.
says() {
    sentence=$1
    expected=$2
    text=$3
    shift 3
    run "$@"
    wanted "$sentence" || return 0
    case $status:$output in
    "$expected:"*"$text"*) ok "$sentence" ;;
    *)
        not_ok "$sentence" "exit $expected, and somewhere: $text" \
            "exit $status, $output"
        ;;
    esac
}

# holds SENTENCE COMMAND...: the command succeeds in the tree.
holds() {
    sentence=$1
    shift
    output=$(cd "$tmp/tree" && "$@" 2>&1)
    status=$?
    wanted "$sentence" || return 0
    if [ $status -eq 0 ]; then
        ok "$sentence"
    else
        not_ok "$sentence" "$* succeeds" "exit $status, $output"
    fi
}

tab=$(printf '\t')

# lines FROM TO prints numbered lines of C.
lines() {
    awk -v from="$1" -v to="$2" 'BEGIN {
        for (i = from; i <= to; i++)
            print "int x" i ";"
    }'
}

# edit SCRIPT FILE edits by sed.
edit() {
    sed "$1" "$2" > "$tmp/edited" && cat "$tmp/edited" > "$2"
}

# fresh makes the tree anew, with nothing wrong, and goes there.
fresh() {
    cd "$tmp" || exit 1
    rm -rf tree
    cp -R order tree
    cd tree || exit 1
}

# ---- a tree in order: four stages, the last one grown out of the second

mkdir -p "$tmp/order/stages" "$tmp/order/common" "$tmp/order/tests/unit" \
    "$tmp/order/tests/contract"
cd "$tmp/order/stages" || exit 1
mkdir 01-bump 02-list 03-split 04-other more-lists
lines 1 20 > 01-bump/malloc.c
echo 'int same;' > 01-bump/util.h
edit 's/x5;/five;/' 01-bump/malloc.c
for stage in 02-list 03-split 04-other; do
    cp 01-bump/* $stage
done
for stage in 02-list 03-split 04-other; do
    edit 's/x10;/ten;/' $stage/malloc.c
done
lines 1 3 > 02-list/list.c
cp 02-list/list.c 04-other
edit 's/x15;/fifteen;/' 03-split/malloc.c
edit 's/x18;/eighteen;/' 04-other/malloc.c
cat > 01-bump/CHANGES <<END
new malloc.c  a pointer that moves
new util.h    what all need
END
cat > 02-list/CHANGES <<END
# what is free is remembered
changed malloc.c  searches the list
new list.c        one list
END
cat > 03-split/CHANGES <<END
changed malloc.c  splits what is too large
removed list.c    the tags are the list
END
cat > 04-other/CHANGES <<END
after 02-list
changed malloc.c  does it in another way
END
for stage in 0*; do
    echo "The chapter" > "$stage/README.md"
done
cd ../tests || exit 1
echo '// stages: 02-' > contract/thread_test.c
echo 'int everywhere;' > contract/basic_test.c
echo 'int where_list_c_is;' > unit/list_test.c
echo '// stages: 01, 03-' > unit/part_test.c

# ---- stages

all='01-bump
02-list
03-split
04-other'
known='the stages are: 01-bump 02-list 03-split 04-other'

fresh
prints 'the stages are listed in order, and nothing else' 0 "$all" stages list
prints '"all" names all stages' 0 "$all" stages resolve all
prints 'a number, a name and a noun name the same stage, once' 0 02-list \
    stages resolve 2 02 02-list list stages/02-list/
prints 'a range includes both ends' 0 '02-list
03-split' stages resolve 02-3
prints 'a range may be open above' 0 '03-split
04-other' stages resolve 3-
prints 'a range may be open below' 0 '01-bump
02-list' stages resolve -2
prints 'specs joined by commas and blanks come out in order' 0 '01-bump
02-list
04-other' stages resolve '4,1 2' 1-2
prints 'an unknown name is an error that lists the stages' 2 \
    "no stage 'foo'; $known" stages resolve 1 foo
prints 'a range that ends beyond the last stage is an error' 2 \
    "no stage '2-9'; $known" stages resolve 2-9
prints 'a range that runs backwards is an error' 2 \
    "no stage '3-1'; $known" stages resolve 3-1
prints 'a lone dash is not a range' 2 "no stage '-'; $known" stages resolve -
prints 'nothing named is an error, not all stages' 2 \
    'stages: no stage was named' stages resolve ''
prints 'glibc is no stage where nobody asked for it' 2 \
    "no stage 'glibc'; $known" stages resolve glibc
prints 'glibc is a stage with --with-glibc' 0 '01-bump
glibc' stages --with-glibc resolve glibc,1
prints 'the first stage has none before it' 0 '' stages previous 1
prints 'a stage follows its neighbour' 0 02-list stages previous 03-split
prints '"after" in CHANGES names another stage to follow' 0 02-list \
    stages previous 4
prints 'two stages cannot be asked for where one is needed' 2 \
    "stages: '1-2' names several stages, but one is needed" \
    stages previous 1-2
for after in 'after 05-none' 'after 02' 'after' 'after 02-list too' \
    'after 04-other'; do
    echo "$after" > stages/04-other/CHANGES
    says "\"$after\" is refused, for it names no earlier stage" 2 \
        'stages/04-other/CHANGES:1: "after" must name' stages previous 4
done
mkdir stages/02-again
prints 'a number used twice is an error' 2 \
    'stages: two stages are numbered 02' stages list

fresh
prints 'compare tells what happened to each file' 0 'changed malloc.c
same util.h
removed list.c' stages compare 03-split
prints 'compare follows "after"' 0 'same list.c
changed malloc.c
same util.h' stages compare 04-other
prints 'all files of the first stage are new' 0 'new malloc.c
new util.h' stages compare 1

prints 'a test without a line runs on every stage' 0 '' \
    stages applies tests/contract/basic_test.c 1
prints '"02-" does not run on 01' 1 '' \
    stages applies tests/contract/thread_test.c 1
prints '"02-" runs on 02 and after' 0 '' \
    stages applies tests/contract/thread_test.c 4
prints '"01, 03-" leaves out 02' 1 '' stages applies tests/unit/part_test.c 2
prints '"01, 03-" runs on 01' 0 '' stages applies tests/unit/part_test.c 1
echo '// stages: 02-03' > tests/unit/part_test.c
prints '"02-03" ends with 03' 1 '' stages applies tests/unit/part_test.c 4
echo '// stages: 02' > tests/unit/part_test.c
prints '"02" is one stage' 1 '' stages applies tests/unit/part_test.c 3
prints 'X_test.c runs where X.c is' 0 'tests/unit/list_test.c
tests/unit/part_test.c' stages suites unit 2
prints 'X_test.c does not run where X.c is not' 0 '' stages suites unit 3
prints 'contract tests are chosen by their lines' 0 \
    tests/contract/basic_test.c stages suites contract 1
prints 'glibc runs all contract tests' 0 'tests/contract/basic_test.c
tests/contract/thread_test.c' stages --with-glibc suites contract glibc
prints 'glibc runs no unit tests' 0 '' stages --with-glibc suites unit glibc
printf '#!/bin/sh\n# stages: 02-03\n' > tests/unit/path_test.sh
echo '#!/bin/sh' > tests/contract/every.sh
prints 'a script says where it applies in its second line' 0 \
    tests/unit/path_test.sh stages scripts unit 3
prints '... and does not run elsewhere' 0 '' stages scripts unit 4
prints 'a script without the line runs on every stage' 0 \
    tests/contract/every.sh stages scripts contract 1
prints '... but none on glibc' 0 '' stages --with-glibc scripts contract glibc
prints 'scripts are not among the tests in C' 0 tests/contract/basic_test.c \
    stages suites contract 1
printf '#!/bin/sh\n#\n# stages: 02\n' > tests/unit/path_test.sh
says 'such a line in another place is refused' 2 \
    'a "# stages:" line must be the second line' \
    stages applies tests/unit/path_test.sh 2
printf '#!/bin/sh\n# stage: 02\n' > tests/unit/path_test.sh
says 'such a line in other words is refused' 2 \
    'write it like this: # stages: 02-' stages scripts unit 2
prints 'there are only two kinds of tests' 2 \
    "stages: no kind of tests 'units'; the kinds are: contract unit" \
    stages suites units 1
prints 'a missing test is trouble, not "does not apply"' 2 \
    'stages: no test tests/unit/none_test.c' \
    stages applies tests/unit/none_test.c 1
for line in '// stages: 2-' '// stages:02-' '//stages: 02-' '// Stages: 02-' \
    '// stage: 02-' '// stages: 02..04' '// stages: 02- not yet' \
    '// stages: ' '// stages: 04-02' '/* stages: 02- */' '// stages: 02-list'
do
    echo "$line" > tests/unit/part_test.c
    says "\"$line\" is refused, not overlooked" 2 'tests/unit/part_test.c:1: ' \
        stages suites unit 2
done
{
    echo '// part_test.c'
    echo '// stages: 02-'
} > tests/unit/part_test.c
says 'a "// stages:" line below the first is refused' 2 \
    'tests/unit/part_test.c:2: a "// stages:" line must be the first line' \
    stages suites unit 2

# ---- check_stages

fresh
prints 'a tree in order gets one ok line a stage' 0 \
'ok - 01-bump: 2 new, 0 changed, 0 removed files; 0 changed lines
ok - 02-list: 1 new, 1 changed, 0 removed files; 2 changed lines
ok - 03-split: 0 new, 1 changed, 1 removed files; 2 changed lines
ok - 04-other: 0 new, 1 changed, 0 removed files; 2 changed lines' check_stages

edit 's/same/sane/' stages/03-split/util.h
says 'one word that drifts in a copied file is caught' 1 \
'stages/03-split/util.h: differs from 02-list, but CHANGES does not list it '\
'(add: changed util.h ...)' check_stages 3
says '... while the other stages are still reported' 1 'ok - 04-other' \
    check_stages

fresh
echo 'changed util.h  nothing at all' >> stages/02-list/CHANGES
says 'a file listed as changed that is identical is caught' 1 \
'stages/02-list/util.h: is identical to that of 01-bump, but CHANGES says '\
'changed (drop the line)' check_stages 2

fresh
echo 'int extra;' > stages/02-list/extra.h
says 'a new file that is not listed is caught' 1 \
'stages/02-list/extra.h: is not in 01-bump, but CHANGES does not list it '\
'(add: new extra.h ...)' check_stages 2
fresh
edit '/list.c/d' stages/03-split/CHANGES
says 'a removed file that is not listed is caught' 1 \
'stages/03-split/list.c: is gone since 02-list, but CHANGES does not list it '\
'(add: removed list.c ...)' check_stages 3
fresh
edit 's/changed/new/' stages/02-list/CHANGES
says 'a file listed as new that was there before is caught' 1 \
'stages/02-list/malloc.c: differs from 01-bump, but CHANGES says new '\
'(write: changed malloc.c ...)' check_stages 2
fresh
cp stages/02-list/list.c stages/03-split
says 'a file listed as removed that is still there is caught' 1 \
'stages/03-split/list.c: is identical to that of 02-list, but CHANGES says '\
'removed (drop the line)' check_stages 3
fresh
edit 's/  a pointer.*//' stages/01-bump/CHANGES
says 'a line without a reason is caught' 1 \
    'stages/01-bump/CHANGES:1: new malloc.c has no reason' check_stages 1
fresh
edit 's/new util.h/changed util.h/' stages/01-bump/CHANGES
says 'in the first stage every file is new' 1 \
'stages/01-bump/util.h: is in the first stage, but CHANGES says changed '\
'(write: new util.h ...)' check_stages 1

# in_changes adds a line to CHANGES of 02-list and expects an error there.
in_changes() {
    fresh
    echo "$2" >> stages/02-list/CHANGES
    says "$1" 1 "stages/02-list/CHANGES:4: $3" check_stages 2
}
in_changes 'a file that no stage has is caught' 'removed none.c  gone' \
    'no file none.c, neither here nor in 01-bump'
in_changes 'a file listed twice is caught' 'new list.c  again' \
    'list.c is listed twice'
in_changes 'a word that CHANGES does not know is caught' 'added list.c  x' \
    'cannot read "added list.c  x"'
in_changes '"after" below the first line is caught' 'after 01-bump' \
    'cannot read "after 01-bump"'
in_changes 'README.md is not listed' 'changed README.md  always' \
    'README.md always differs and is not listed'
in_changes 'a budget line without a reason is caught' 'budget:' \
    '"budget:" gives no reason'

fresh
edit 's/02-list/07-none/' stages/04-other/CHANGES
says 'an "after" that names no stage is caught' 1 \
    'stages/04-other/CHANGES:1: "after" must name an earlier' check_stages 4
fresh
rm stages/02-list/CHANGES
says 'a missing CHANGES is caught' 1 'stages/02-list/CHANGES: is missing' \
    check_stages 2

# in_source adds a line to a source of the first stage.
in_source() {
    fresh
    echo "$2" >> stages/01-bump/util.h
    cp stages/01-bump/util.h stages/02-list
    cp stages/01-bump/util.h stages/03-split
    cp stages/01-bump/util.h stages/04-other
    says "$1" 1 "stages/03-split/util.h:2: $3" check_stages 3
}
in_source 'a source that names its stage by number is caught' \
    '// as in stage 3' 'a source does not name stages by number'
in_source 'a source that names the directory of a stage is caught' \
    '// see 02-list' 'a source does not name stages (02-list)'
in_source 'a TODO is caught' '// TODO: all' 'TODO and FIXME'
in_source 'a FIXME is caught' '// FIXME' 'TODO and FIXME'
long="// $(printf '%075d' 0)"
in_source 'a line of 81 columns is caught' "${long}abc" \
    '81 columns; at most 80'
for file in common/mm.h tests/test.h tests/unit/child.h diagrams/draw.c \
    .ci/run; do
    fresh
    mkdir -p "${file%/*}"
    printf '#!/bin/sh\n%s\n' "${long}abc" > $file
    says "... in $file, too" 1 "$file:2: 81 columns; at most 80" check_stages 4
done
fresh
echo "${long}abc" > tests/table.txt
says '... but not in data' 0 'ok - 04-other' check_stages 4
fresh
echo "${long}ab" > stages/04-other/wide.h
echo "${long}éü" >> stages/04-other/wide.h
echo 'new wide.h  80 columns' >> stages/04-other/CHANGES
says 'a line of 80 columns is fine, whatever its bytes' 0 'ok - 04-other' \
    check_stages
lines 1 801 > stages/04-other/wide.h
says 'a source of more than 800 lines is caught' 1 \
    'stages/04-other/wide.h: 801 lines; at most 800' check_stages 4
fresh
lines 1 251 > stages/04-other/README.md
says 'a chapter of more than 250 lines is caught' 1 \
    'stages/04-other/README.md: 251 lines; at most 250' check_stages 4

for name in malloc.o .malloc.c.swp notes.txt; do
    fresh
    : > "stages/03-split/$name"
    says "$name in the directory of a stage is caught" 1 \
        "stages/03-split/$name: only *.c, *.h, README.md and" check_stages
done
fresh
mkdir stages/03-split/build
says 'a directory inside a stage is caught' 1 'stages/03-split/build: only' \
    check_stages 3
fresh
rm stages/03-split/util.h
ln -s ../02-list/util.h stages/03-split/util.h
says 'a link in the place of a copy is caught' 1 \
    'stages/03-split/util.h: is not a plain file' check_stages 3

fresh
echo '// stages: 07-' > tests/unit/part_test.c
says 'a test that runs on no stage is caught' 1 \
    'tests/unit/part_test.c: runs on no stage' check_stages
printf '#!/bin/sh\n# stages: 07-\n' > tests/unit/path_test.sh
says '... also in shell' 1 'tests/unit/path_test.sh: runs on no stage' \
    check_stages
echo '// stages 7' > tests/unit/list_test.c
echo '// stages: 7' > tests/unit/part_test.c
says 'a malformed "// stages:" line is caught' 1 'tests/unit/part_test.c:1: ' \
    check_stages

# ---- the diff budget: check_stages and diffstat

# large N makes a stage 04 that changes N lines of a file of stage 02.
large() {
    fresh
    lines 1 300 > stages/02-list/list.c
    cp stages/02-list/list.c stages/04-other
    lines 301 $((300 + $1 - 2)) >> stages/04-other/list.c
    echo 'changed list.c  much' >> stages/04-other/CHANGES
}
large 249
prints '249 changed lines, nothing to say' 0 \
    'ok - 04-other: 0 new, 2 changed, 0 removed files; 249 changed lines' \
    check_stages 4
large 250
says '250 changed lines are warned of' 0 \
    'stages/04-other: warning: 250 changed lines' check_stages 4
large 400
says '400 changed lines are only warned of' 0 \
    'stages/04-other: warning: 400 changed lines' check_stages 4
large 401
says '401 changed lines without a reason are caught' 1 \
    'stages/04-other: 401 changed lines, more than 400' check_stages 4
says 'diffstat says so, too' 0 "${tab}401${tab}0${tab}over" diffstat --plain 4
echo 'budget: the layers are exchanged all at once' >> stages/04-other/CHANGES
says 'a reason that the chapter does not show is caught' 1 \
    'stages/04-other/README.md: does not show the reason' check_stages 4
{
    echo '> budget: the layers are'
    echo '> exchanged all at once.'
} >> stages/04-other/README.md
says 'a reason that the chapter shows will do' 0 \
    'ok - 04-other: 0 new, 2 changed, 0 removed files; 401' check_stages
says 'diffstat says that there is a reason' 0 \
    "${tab}401${tab}0${tab}over, with reason" diffstat --plain

fresh
prints 'diffstat counts files and lines' 0 \
'                          -- files --- lines in the
stage             after new chg rem  add  rem changed in new  budget
01-bump               -   2   0   0    0    0       0     21  ok
02-list              01   1   1   0    1    1       2      3  ok
03-split             02   0   1   1    1    1       2      0  ok
04-other             02   0   1   0    1    1       2      0  ok' diffstat
says 'diffstat writes a table for a chapter' 0 \
    '| 02-list | 01-bump | 1 | 1 | 0 | 1 | 1 | 2 | 3 | ok |' diffstat --markdown

# ---- diff

prints 'a diff begins with the reasons and has no times in it' 0 \
'02-list, after 01-bump

  malloc.c  changed  searches the list
  list.c    new      one list

--- 01-bump/malloc.c
+++ 02-list/malloc.c
@@ -7,7 +7,7 @@ int x6;
 int x7;
 int x8;
 int x9;
-int x10;
+int ten;
 int x11;
 int x12;
 int x13;
New: stages/02-list/list.c, 3 lines, read it from top to bottom' diff 1 2
says 'a stage alone is compared with the one it follows' 0 \
    '--- 02-list/malloc.c' diff 4
says 'between distant stages, the reasons on the way are shown' 0 \
    'searches the list' diff 1 3
says '... and those of the end' 0 'splits what is too large' diff 1 3
says 'a removed file is named' 0 'Removed: list.c, 3 lines' diff 3
prints 'STYLE stat counts lines' 0 '03-split, after 02-list

  malloc.c  changed  splits what is too large
  list.c    removed  the tags are the list

  malloc.c                     1 added     1 removed
  list.c                       3 lines, removed' diff 2 3 stat
says 'STYLE side puts old and new on one line' 0 '|' diff 2 3 side
holds 'STYLE side is as wide as two times 80 columns' sh -c "
    MM_ROOT=. '$tools/diff' 3 side | awk '/x15;.*fifteen;/ && length > 80 &&
        length <= 164 { good = 1 } END { exit !good }'"
! command -v git > /dev/null ||
    says 'STYLE words marks words' 0 'int [-x15-]{+fifteen+};' diff 3 words
says 'the first stage can be shown, too' 0 \
    'New: stages/01-bump/malloc.c, 20 lines' diff 1
says 'an unknown stage is trouble' 2 "no stage '9'; $known" diff 1 9
says 'an unknown style is trouble' 2 "diff: no style 'wide'" diff 1 2 wide
mkdir "$tmp/bin"
for program in sh awk cat cmp diff dirname grep mktemp rm sed wc; do
    ln -s "$(command -v $program)" "$tmp/bin"
done
path=$PATH
PATH=$tmp/bin
says 'without git, STYLE words says so and shows lines' 0 \
    '(words needs git' diff 3 words
says '... the lines, indeed' 0 '+int fifteen;' diff 3 words
says 'without git, carry says what to install' 2 \
    'carry: git is not installed (apt-get install git)' carry 1 malloc.c
PATH=$path

# ---- check_refs

fresh
mkdir "$tmp/go"
cat > "$tmp/go/mheap.go" <<END
package runtime
func (h *mheap) grow(npage uintptr) (uintptr, bool) {
func (h *mheap) allocSpan(npages uintptr) *mspan {
END
GOSRC=$tmp/go
export GOSRC
cat > stages/02-list/malloc.c <<END
// malloc.c - what it is.
//
// Go         mheap.go
//
// Go: func (h *mheap) grow (mheap.go)
// Unlike Go: never (nothing.go)
    // Go: mheap.go
END
prints 'references that hold are counted' 0 \
    "ok - 3 references to Go's sources, all found" check_refs
# ref TEXT ERROR: the reference gives this error.
ref() {
    fresh
    echo "// Go: $2" > common/bits.h
    says "$1" 1 "common/bits.h:1: $3" check_refs --require
}
ref 'a declaration that Go does not have is caught' \
    'func (h *mheap) shrink (mheap.go)' \
    "\"func (h *mheap) shrink\" is not in Go's mheap.go"
ref 'half of a name is not a declaration' 'func (h *mheap) alloc (mheap.go)' \
    "\"func (h *mheap) alloc\" is not in Go's mheap.go"
ref 'a file that Go does not have is caught' 'func main (nothing.go)' \
    'Go has no file nothing.go'
ref 'a file alone that Go does not have is caught' nothing.go \
    'Go has no file nothing.go'
ref 'a line number is caught' 'func (h *mheap) grow (mheap.go:2)' \
    'no line numbers'
ref 'a reference without a file is caught' 'func (h *mheap) grow' 'cannot read'
GOSRC=$tmp/none
prints 'without the sources of Go the check says that it was skipped' 0 \
    "skipped: Go's sources are not installed (golang-1.19-src)" check_refs
says '... which is an error where they are required' 1 skipped \
    check_refs --require
unset GOSRC

# ---- carry
#
# Line 5 is to be repaired in 01. 02 is a copy, 03 differs elsewhere, 04
# differs in line 5, 05 is a copy of 04. 06, which follows 03, is a copy of it;
# 07 has no such file; 08 begins another one; 09, which follows 05, is a copy.

GIT_CONFIG_GLOBAL=/dev/null
GIT_CONFIG_NOSYSTEM=1
GIT_AUTHOR_NAME='A Test'
GIT_AUTHOR_EMAIL=test@example.org
GIT_COMMITTER_NAME='A Test'
GIT_COMMITTER_EMAIL=test@example.org
export GIT_CONFIG_GLOBAL GIT_CONFIG_NOSYSTEM GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL
export GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL

rm -rf "$tmp/tree"
mkdir -p "$tmp/tree/stages"
cd "$tmp/tree/stages" || exit 1
mkdir 01-a 02-b 03-c 04-d 05-e 06-f 07-g 08-h 09-i
lines 1 20 > 01-a/malloc.c
cp 01-a/malloc.c 02-b
sed 's/x15;/fifteen;/' 01-a/malloc.c > 03-c/malloc.c
sed 's/x5;/five;/' 03-c/malloc.c > 04-d/malloc.c
cp 04-d/malloc.c 05-e
cp 03-c/malloc.c 06-f
echo 'after 03-c' > 06-f/CHANGES
cp 05-e/malloc.c 09-i
echo 'after 05-e' > 09-i/CHANGES
echo 'int another;' > 08-h/malloc.c
cp 08-h/malloc.c 07-g/keep.c
cd .. || exit 1
if ! command -v git > /dev/null; then
    skip 'what carry does' 'it needs git'
    totals
    exit
fi
git init -q . 2> /dev/null
git add .
git commit -qm 'before the repair'
start=$(git rev-parse --short HEAD)

again() {
    git reset -q --hard "$start"
}
repair() {
    again
    edit 's/x5;/repaired5;/' stages/01-a/malloc.c
}
resolve() {
    edit '/^<<<<<<< /d; /^||||||| /,/^>>>>>>> /d; s/ five;/ repairedfive;/' \
        stages/04-d/malloc.c
}

says 'carry refuses where there is no repair' 2 \
    "carry: nothing to carry: stages/01-a/malloc.c is as in commit $start" \
    carry 1 malloc.c
says 'carry knows the stages' 2 "no stage '12'" carry 12 malloc.c
says 'carry needs a file that is there' 2 'carry: 07-g has no malloc.c' \
    carry 7 malloc.c
says 'chapters are not carried' 2 'carry: README.md belongs to one stage' \
    carry 1 README.md

repair
prints 'a repair is copied, merged, and stops at a conflict' 1 \
"copied     02-b
merged     03-c
conflict   04-d
waiting    05-e
copied     06-f
no file    07-g
other file 08-h
waiting    09-i

To go on from 04:
  1. resolve the conflict in stages/04-d/malloc.c
     (from <<<<<<< to >>>>>>>; between ||||||| and ======= is the old text)
  2. make carry FROM=04 FILE=malloc.c BASE=$start" carry 01-a malloc.c
holds 'an identical copy is identical afterwards' \
    cmp stages/01-a/malloc.c stages/02-b/malloc.c
holds 'a merged copy has the repair' grep -q repaired5 stages/03-c/malloc.c
holds 'a merged copy keeps what is its own' grep -q fifteen stages/03-c/malloc.c
holds 'the repair reaches a stage by its "after" line' \
    cmp stages/03-c/malloc.c stages/06-f/malloc.c
holds 'the conflict is marked in the file' \
    grep -q '^<<<<<<<' stages/04-d/malloc.c
holds 'stages behind the conflict are not touched' \
    git diff --quiet -- stages/05-e stages/09-i stages/08-h
says 'starting again is refused while the markers are there' 2 \
    'carry: stages/04-d/malloc.c still has conflict markers' carry 01 malloc.c
BASE=$start
export BASE
says 'going on is refused while the markers are there' 2 \
    'carry: stages/04-d/malloc.c still has conflict markers' carry 04 malloc.c
resolve
prints 'after resolving, the command that was named goes on' 0 \
    'copied     05-e
copied     09-i' carry 04 malloc.c
holds 'the resolved text arrives' \
    cmp stages/04-d/malloc.c stages/09-i/malloc.c
unset BASE
says 'from the start again, a resolved copy is not mixed up' 2 \
    'carry: stages/04-d/malloc.c has changes that are not committed' \
    carry 01 malloc.c
git commit -qam 'the repair'
BASE=HEAD~1
export BASE
says 'BASE names the commit before a repair that is committed' 1 \
    'has it     02-b
has it     03-c' carry 01 malloc.c

repair
unset BASE
run carry 01 malloc.c
resolve
git commit -qam 'the repair'
BASE=$start
export BASE
says 'going on also works when all was committed in between' 0 \
    'copied     05-e' carry 04 malloc.c
unset BASE
again

repair
edit 's/x14;/mine;/' stages/03-c/malloc.c
says 'a copy with changes that are not committed is refused' 2 \
    'carry: stages/03-c/malloc.c has changes that are not committed' \
    carry 01 malloc.c
holds 'a refusal leaves all copies as they were' \
    git diff --quiet -- stages/02-b stages/04-d
says '--force merges all the same' 1 'merged     03-c' \
    carry --force 01 malloc.c
holds '... and keeps the changes' grep -q mine stages/03-c/malloc.c

repair
edit 's/x5;/five;/' stages/03-c/malloc.c
cp stages/03-c/malloc.c stages/06-f
git commit -qm 'line 5 differs in 03 as well' stages/03-c stages/06-f
run carry 01 malloc.c
edit '/^<<<<<<< /d; /^||||||| /,/^>>>>>>> /d; s/ five;/ repairedfive;/' \
    stages/03-c/malloc.c
says 'all branches that wait for one conflict go on after it' 0 'copied     04-d
copied     05-e
copied     06-f' carry 03 malloc.c
again

echo

totals
