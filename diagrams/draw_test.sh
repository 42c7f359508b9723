#!/bin/sh
# draw_test.sh - are the pictures right, and are wrong ones noticed?
#
# usage: sh diagrams/draw_test.sh [NAME]    NAME: only the cases with this in
#                                           their sentence
#
# Works in a copy of the tree with the first five stages.

root=$(cd "$(dirname "$0")/.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
CC=${CC:-cc}
case $CC in
*clang*) COMPILER=clang ;;
*) COMPILER=gcc ;;
esac
export COMPILER

# ---------------------------------------------------------------------------
# The copy, with its programs.

cd "$tmp" || exit 2
mkdir -p stages diagrams tests/tools
cp -R "$root/common" .
cp "$root/tests/tools/stages" tests/tools/
cp "$root"/diagrams/*.[ch] "$root/diagrams/generate" \
    "$root/diagrams/strip.scene" diagrams/
cp -R "$root/diagrams/concepts" diagrams/

# compile FLAG... runs the compiler.
compile() {
    # shellcheck disable=SC2086 # CC may be a compiler and its flags
    $CC -std=c11 -D_GNU_SOURCE -pthread -fno-builtin-malloc -g -O0 \
        -DMM_DEBUG=0 -DMM_COUNTERS=1 -Icommon "$@" || exit 2
}

# link_stage STAGE PROGRAM FILE... links a program with a stage.
link_stage() {
    stage=$1 program=build/$1/$COMPILER-release/$2
    shift 2
    mkdir -p "${program%/*}"
    compile "-Istages/$stage" -Idiagrams -o "$program" "$@" common/*.o \
        "stages/$stage"/*.c
}

compile -c diagrams/draw*.c diagrams/process.c
rm common/preload.c common/harden.c
(cd common && compile -c ./*.c)
for stage in 01-sbrk-bump 02-linked-list 03-split-coalesce 04-size-classes \
    05-spans; do
    cp -R "$root/stages/$stage" stages/
    cp -R "$root/diagrams/$stage" diagrams/
    rm -f "stages/$stage"/mk*.c
    for chart in "diagrams/$stage"/*.gp; do # chart_test.sh tests charts
        rm -f "$chart" "${chart%.gp}.svg"
    done
    link_stage $stage draw draw*.o
done
mkdir later
cp -R "$root/stages/11-scavenger" later/
rm later/11-scavenger/mk*.c
compile -Ilater/11-scavenger -o draw11 draw*.o common/*.o later/11-scavenger/*.c
link_stage 01-sbrk-bump process process.o
link_stage 05-spans diagrams/pagemap diagrams/05-spans/pagemap.c draw_shapes.o
draw1=build/01-sbrk-bump/$COMPILER-release/draw
draw2=build/02-linked-list/$COMPILER-release/draw
draw3=build/03-split-coalesce/$COMPILER-release/draw
draw4=build/04-size-classes/$COMPILER-release/draw
draw5=build/05-spans/$COMPILER-release/draw
pagemap=build/05-spans/$COMPILER-release/diagrams/pagemap

# ---------------------------------------------------------------------------
# Scenes with errors. Each ends with exit status 1 and one line that says
# where, what, and nothing on standard output.

# scene_error SENTENCE MESSAGE SCENE, where SCENE is a format of printf.
scene_error() {
    # shellcheck disable=SC2059 # the scene is a format
    actual=$(printf "$3" | $draw2 --dot 2>&1 >out)
    status=$?
    equal "a scene is refused: $1" "standard input:$2, status 1, no output" \
        "$actual, status $status, $([ -s out ] && echo output ||
            echo no output)"
}

scene_error 'no such command' \
    "1: not a line of a scene: 'fre a'; see draw --help" 'fre a\nshow x\n'
scene_error 'free without a name' \
    "1: not a line of a scene: 'free'; see draw --help" 'free\nshow x\n'
scene_error 'free of two' \
    "2: not a line of a scene: 'free a b'; see draw --help" \
    'a = malloc 1\nfree a b\nshow x\n'
scene_error 'show without a caption' \
    "2: not a line of a scene: 'show'; see draw --help" \
    'a = malloc 1\nshow\n'
scene_error 'free of an unknown name' "2: no block is named 'b'" \
    'a = malloc 1\nfree b\nshow x\n'
scene_error 'free of a freed name' "4: 'a' was freed in line 3" \
    'a = malloc 1\nb = malloc 1\nfree a\nfree a\nshow x\n'
scene_error 'realloc of a freed name' "3: 'a' was freed in line 2" \
    'a = malloc 1\nfree a\nb = realloc a 5\nshow x\n'
scene_error 'realloc of an unknown name' "1: no block is named 'a'" \
    'a = realloc a 5\nshow x\n'
scene_error 'realloc to 0 bytes' \
    "2: to free a block, write: free a" \
    'a = malloc 1\na = realloc a 0\nshow x\n'
scene_error 'a name that is in use' \
    "3: 'a' already names a block, from line 1" \
    'a = malloc 1\n\na = malloc 2\nshow x\n'
scene_error 'realloc to a name that is in use' \
    "3: 'a' already names a block, from line 1" \
    'a = malloc 1\nb = malloc 1\na = realloc b 2\nshow x\n'
scene_error 'a name that is none' "1: '2a' is not a name as in C" \
    '2a = malloc 1\nshow x\n'
scene_error 'a long name' \
    "1: the name 'abcdefghijklmnop' is longer than 15 letters" \
    'abcdefghijklmnop = malloc 1\nshow x\n'
scene_error 'an unknown call' "1: write one of: a = malloc SIZE, \
a = memalign ALIGN SIZE, a = realloc NAME SIZE" 'a = calloc 1 1\nshow x\n'
scene_error 'a size that is none' "1: '1K' is not a number of bytes" \
    'a = malloc 1K\nshow x\n'
scene_error 'a size above 64 bits' \
    "1: '18446744073709551616' is not a number of bytes" \
    'a = malloc 18446744073709551616\nshow x\n'
scene_error 'a size that the stage refuses' \
    "1: the stage has no memory for 9223372036854775808 bytes" \
    'a = malloc 9223372036854775808\nshow x\n'
scene_error 'an alignment that is no power of two' \
    "1: '48' is not a power of two" 'a = memalign 48 1\nshow x\n'
scene_error 'a scale of 0' "1: the scale must be 1 to 1000" 'scale 0\nshow x\n'
scene_error 'two titles' "2: a second title" 'title x\ntitle y\nshow x\n'
scene_error 'nothing to show' " shows nothing: it has no line 'show CAPTION'" \
    'a = malloc 1\n'
scene_error 'code that is never shown' " ends without 'show' after: free(a);" \
    'a = malloc 1\nshow x\nfree a\n'

actual=$($draw2 nowhere.scene 2>&1)
equal 'a scene that cannot be opened is named' \
    'nowhere.scene: cannot be opened, status 1' "$actual, status $?"
printf '# comment\n\nshow x\nfree q\n' >bad.scene
equal 'an error names file and line' "bad.scene:4: no block is named 'q'" \
    "$($draw2 bad.scene 2>&1)"
$draw2 --svg </dev/null >/dev/null 2>&1
equal 'an unknown option is refused' 2 $?
contains '--help explains the language' 'a = realloc a 300' "$($draw2 --help)"

# ---------------------------------------------------------------------------
# Pictures show what there is.

shown() {
    sed -n '/offset  /,$p' | sed 1d
}

printf 'a = malloc 100\nb = malloc 200\nfree a\nforeign 4095
c = malloc 113\nd = malloc 20\nshow x\n' >all.scene
equal 'stage 02 is shown with its list, what is wasted, and what is not ours' \
'          +0          16  header of a block, first of all blocks, next +128
         +16          20  used: d, asked for 20
         +36          92  wasted: in a used block, but nobody asked for it
        +128          16  header of a block, next +4448
        +144         208  used: b, asked for 200
        +352        4096  not ours: somebody else asked for it
       +4448          16  header of a block, last
       +4464         128  used: c, asked for 113
       +4592              the program break' "$($draw2 all.scene | shown)"

printf 'a = malloc 100\nb = malloc 200\nc = malloc 1\nd = malloc 1
free a\nfree c\nshow x\n' >list.scene
equal 'stage 03 is shown with its free list and its fence' \
'          +0          16  header of a block, next +416
         +16         112  free
        +128          16  header of a block
        +144         208  used: b, asked for 200
        +352          16  header of a block, first of free blocks, next +0
        +368          16  free
        +384          16  header of a block
        +400          16  used: d, asked for 1
        +416          16  header of a block, last
        +432       65088  free
      +65520          16  fence: a header without a block
      +65536              the program break' "$($draw3 list.scene | shown)"
contains 'the links of stage 03 are found in its free blocks' 'label="&rarr;"' \
    "$($draw3 --dot list.scene)"

printf 'a = malloc 100\nfree a\nb = malloc 5\nshow x\n' >notes.scene
equal 'stage 01 is shown as one piece, and what the program remembers' \
'          +0         128  heap: nowhere is written what is in it
        +128              the program break

  the stage keeps no notes on blocks; the program knows:
          +0         100  a, freed: not used again
        +112           5  b' "$($draw1 notes.scene | shown)"

# folded SENTENCE SCENE EXPECTED, in a run of three blocks of stage 04.
folded() {
    # shellcheck disable=SC2059 # the scene is a format
    equal "$1" "$3" "$(printf "a = malloc 2048\n$2show x\n" | $draw4 |
        shown | sed '/ +6192/,$d')"
}

rising='          +0        6192  3 × 2048 free and headers'
folded 'equal free blocks are one line if their list rises' 'free a\n' \
    "$rising, first of class of 2048, last"
three='b = malloc 2048\nc = malloc 2048\n'
folded 'equal free blocks are one line if their list falls' \
    "${three}free a\nfree b\nfree c\n" "$rising, first of class of 2048, last"
folded 'equal free blocks are not one if their list goes to and fro' \
    "${three}free b\nfree a\nfree c\nd = malloc 2600\n" \
'          +0          16  header of a block, next +2064
         +16        2048  free
       +2064          16  header of a block, last
       +2080        2048  free
       +4128          16  header of a block, first of class of 2048, next +0
       +4144        2048  free'

printf 'a = malloc 1280\nb = malloc 1200\nc = malloc 40000\nd = malloc 3000
e = malloc 40000\nfree a\nfree d\nfree c\nshow x\n' >spans.scene
equal 'stage 05 is shown with its spans, and what is in each' \
'          +0        8192  span: 1 page, objects of 1280, first of spans with '\
'objects of 1280, last
          +0        1280    free, first of objects of the span, next +2560
       +1280        1200    used: b, asked for 1200
       +2480          80    wasted: in a used block, but nobody asked for it
       +2560        5120    4 × 1280 free, last
       +7680         512    end of the span: too short for an object
       +8192       40960  span: 5 pages, free, first of spans of 5 pages, last
      +49152       24576  span: 3 pages, objects of 3072, first of spans with '\
'objects of 3072, last
      +49152       24576    8 × 3072 free, first of objects of the span, last
      +73728       40960  span: 5 pages
      +73728       40000    used: e, asked for 40000
     +113728         960    wasted: in a used block, but nobody asked for it
     +114688      933888  span: 114 pages, free, first of spans of 114 pages, '\
'last' "$($draw5 spans.scene | shown)"

# Eight objects of 2048 are two spans, without an end.
eight='a = malloc 2048\nb = malloc 2048\nc = malloc 2048\nd = malloc 2048
e = malloc 2048\nf = malloc 2048\ng = malloc 2048\nh = malloc 2048\n'
# shellcheck disable=SC2059 # the scene is a format
printf "${eight}free d\nfree c\nfree b\nfree g\nfree f\nfree e\nshow x\n" \
    >neighbours.scene
equal 'lists of two spans stay apart, even if their objects are neighbours' \
'          +0        8192  span: 1 page, objects of 2048, last
          +0        2048    used: a, asked for 2048
       +2048        6144    3 × 2048 free, first of objects of the span, last
       +8192        8192  span: 1 page, objects of 2048, first of spans with '\
'objects of 2048, next +0
       +8192        6144    3 × 2048 free, first of objects of the span, last
      +14336        2048    used: h, asked for 2048' \
    "$($draw5 neighbours.scene | shown | sed '/spans of 126/d')"
$draw5 --dot spans.scene >spans.dot
# pictured WHAT LABEL: the picture of that scene has it.
pictured() {
    contains "a picture of spans has $1" "label=\"$2\"" "$(cat spans.dot)"
}
pictured 'a span with its objects' '1 page, objects of 1280'
pictured 'a span without' '5 pages'
pictured 'a large block' 'e\n40000\nused'
pictured 'free pages' 'free'
pictured 'a fold' '4 &times; 1280\nfree'
pictured 'the list of a span' 'list of objects of the span\l'
pictured 'a list of spans' 'list of spans of 5 pages\l'
pictured 'the end of a span' 'end of the span: too short for an object\l'

printf 'a = malloc 40000\nb = malloc 40000\nfree b\nshow x\n' >scavenged.scene
equal 'stage 11 is shown with the pages that take no memory' \
'          +0       40960  span: 5 pages
          +0       40000    used: a, asked for 40000
      +40000         960    wasted: in a used block, but nobody asked for it
      +40960       40960  span: 5 pages, free
      +81920     4112384  span: 502 pages, free, scavenged' \
    "$(./draw11 scavenged.scene | shown)"
contains 'and so it is drawn' 'fillcolor="#ffffff", label="scavenged"' \
    "$(./draw11 --dot scavenged.scene)"

printf 'a = malloc 100\nshow x\nb = malloc 3000000\nshow y\n' >regions.scene
# How far the regions lie apart is up to the stage.
equal 'offsets count from the lowest region, even if it came last' \
'a at n
b at +0
a at n' "$($draw5 regions.scene | awk '/: [ab], asked/ {
        if ($4 == "a," && a == "")
            a = $1
        print substr($4, 1, 1), "at", a != "+0" && $1 == a ? "n" : $1
    }')"

actual=$(for _ in 1 2 3 4 5 6 7 8 9 10; do
    for _ in 1 2 3 4 5 6 7 8 9 10; do $pagemap 2>&1 | cksum; done
done | uniq -c | wc -l)
equal 'a hundred runs draw the same page map' 1 "$actual"
equal 'no addresses are shown (pagemap)' '' \
    "$($pagemap | grep -E '0x|[0-9]{9}')"

for draw in $draw1 $draw2 $draw3 $draw4 $draw5; do
    stage=${draw#build/}
    stage=${stage%%/*}
    for format in --dot --text; do
        for scene in "diagrams/$stage"/*.scene; do
            $draw $format "$scene" 2>&1
        done >first
        for scene in "diagrams/$stage"/*.scene; do
            $draw $format "$scene" 2>&1
        done >second
        cmp -s first second && [ -s first ]
        equal "two runs give the same bytes ($stage $format)" 0 $?
        equal "no addresses are shown ($stage $format)" '' \
            "$(grep -E '0x|[0-9]{9}' first)"
    done
done

# ---------------------------------------------------------------------------
# generate --check. Each case changes one thing, looks, and changes it back.

# check_fails SENTENCE MESSAGE [STAGES]: generate --check must fail with this
# message.
check_fails() {
    actual=$(sh diagrams/generate --check "${3:-2-3}" 2>&1) &&
        actual='it is content (exit status 0)'
    contains "generate --check notices $1" "$2" "$actual"
    rm -rf diagrams && cp -R "$tmp/saved" diagrams
}

contains 'generate --check is content with the committed pictures' \
    'pictures, 0 files changed' "$(sh diagrams/generate --check 2>&1)"
sh diagrams/generate >/dev/null 2>&1 # so that the cases differ by one thing
rm -rf saved && cp -R diagrams saved

dot2=diagrams/02-linked-list/list.dot
sed -i 's/208/209/' $dot2
check_fails 'a changed .dot' "$dot2 differs from what is drawn now:"
sed -i 's/208/209/' $dot2
check_fails 'a changed .dot, and shows the lines' '209'
echo 'show once more' >>diagrams/02-linked-list/list.scene
check_fails 'a scene that was not drawn' "$dot2 differs"
rm $dot2
check_fails 'a missing .dot' "$dot2 is missing"
rm diagrams/concepts/process.svg
check_fails 'a missing .svg' 'diagrams/concepts/process.svg is missing'
rm diagrams/03-split-coalesce/split.scene
check_fails 'a picture without a scene' \
    'diagrams/03-split-coalesce/split.svg: nothing draws it any more'
mkdir diagrams/99-gone && touch diagrams/99-gone/x.dot
check_fails 'a directory without a stage' \
    'diagrams/99-gone/x.dot: nothing draws it any more'
echo 'free nobody' >>diagrams/02-linked-list/list.scene
check_fails 'a scene with an error' "no block is named 'nobody'"
mv $draw2 $draw2.away
check_fails 'a program that was not built' 'is not there: make draw builds it'
mv $draw2.away $draw2
sed -i 's/sizeof \*h + h->size,/sizeof *h + h->size - 16,/' \
    stages/02-linked-list/malloc.c
link_stage 02-linked-list draw draw*.o
check_fails 'a stage that has changed' "$dot2 differs"
cp "$root/stages/02-linked-list/malloc.c" stages/02-linked-list/
link_stage 02-linked-list draw draw*.o

dot5=diagrams/05-spans/pagemap.dot
sed -i 's/objects of 48/objects of 49/' $dot5
check_fails 'a changed .dot of a program' "$dot5 differs" 5
rm diagrams/05-spans/pagemap.c
check_fails 'a picture without its program' "$dot5: nothing draws it any more" 5
mv $pagemap $pagemap.away
check_fails 'a program of a picture that was not built' \
    "$pagemap is not there: make draw builds it" 5
sed -i -e 's/MIDDLE_BITS = 12/MIDDLE_BITS = 11/' \
    -e 's/ROOT_BITS == 12/ROOT_BITS == 13/' stages/05-spans/pagemap.c
link_stage 05-spans diagrams/pagemap diagrams/05-spans/pagemap.c draw_shapes.o
check_fails 'a page map with other tables' \
    'pagemap: the tables are not as large as they are drawn' 5
cp "$root/stages/05-spans/pagemap.c" stages/05-spans/
mv $pagemap.away $pagemap

if [ "$(dot -V 2>&1)" = 'dot - graphviz version 2.43.0 (0)' ] &&
    fc-list | grep -q '/DejaVuSans\.ttf'; then
    sed -i 's/#a9d3f5/#ff0000/' diagrams/02-linked-list/list.svg
    check_fails 'a changed .svg' 'diagrams/02-linked-list/list.svg differs'
    sed -i "s/WIDTH=\"150\"/FIXEDSIZE=\"TRUE\" WIDTH=\"9\" HEIGHT=\"9\"/" \
        diagrams/concepts/process.dot
    check_fails 'text that does not fit' 'too small'
else
    skip 'the .svg are compared' 'they are not those of this Graphviz'
fi

echo 'show once more' >>diagrams/02-linked-list/list.scene
equal 'generate repairs what is old' "$dot2" \
    "$(sh diagrams/generate 2 2>/dev/null | head -n 1)"
contains 'generate changes nothing the second time' '0 files changed' \
    "$(sh diagrams/generate 2 2>&1)"
sh diagrams/generate --check 99 >out 2>&1
equal 'generate refuses a stage that there is not' 2 $?

totals
