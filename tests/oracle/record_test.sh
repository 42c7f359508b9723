#!/bin/sh
# record_test.sh - what the recorder of vectors says when it cannot record, and,
# where Go 1.19 is installed, that the committed vectors are those of seed 1.
#
# usage: record_test.sh [WORDS OF A SENTENCE]
#
# Exit: 0 all passed, or skipped, 1 not.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
record=$root/tests/oracle/record
vectors=$root/tests/vectors
cd "$tmp" || exit 1

# refuses SENTENCE STATUS TEXT ARGUMENT...
refuses() {
    sentence=$1 expected=$2 text=$3
    shift 3
    wanted "$sentence" || return 0
    output=$("$record" "$@" 2>&1)
    status=$?
    case $status:$output in
    "$expected:"*"$text"*) ok "$sentence" ;;
    *) not_ok "$sentence" "exit $expected, $text" "exit $status, $output" ;;
    esac
}
refuses 'a directory is needed' 2 'usage: record DIRECTORY [SEED]'
refuses 'an argument too many is refused' 2 'usage: record' out 1 2
refuses 'a seed must be a number' 2 "a seed is a number, not '1x'" out 1x
refuses 'a seed must not be empty' 2 "a seed is a number, not ''" out ''

mkdir -p old/bin old/src/runtime
: >old/src/runtime/export_test.go
printf '#!/bin/sh\n' >old/bin/go
chmod +x old/bin/go
echo go1.21.5 >old/VERSION
GO119=$tmp/none
export GO119
refuses 'without Go it says what to install' 1 \
    'on Debian 12: apt-get install golang-1.19-go golang-1.19-src' out
GO119=$tmp/old
refuses 'another Go is refused' 1 'is go1.21.5; the vectors are those of' out
unset GO119
equal 'what is refused writes nothing' '' "$(ls -d out 2>&- || :)"

# same SENTENCE FILE COMMAND...: the file is what the command prints.
same() {
    sentence=$1 file=$2
    shift 2
    wanted "$sentence" || return 0
    if "$@" | cmp - "$file" >differences 2>&1; then
        ok "$sentence"
    else
        not_ok "$sentence" 'the same bytes' "$(cat differences)"
    fi
}

if ! sh "$root/common/setup.sh" --need go 2>/dev/null; then
    skip 'the committed vectors are those of seed 1' \
        'Go 1.19 is not installed'
    totals
    exit
fi
"$record" recorded 1 || exit 1
for file in "$vectors"/*.txt.xz; do
    name=${file##*/}
    name=${name%.xz}
    same "$name is that of seed 1" "recorded/$name" xz -dc "$file"
done
for name in mspan span_set tiny; do
    same "$name.txt is that of seed 1" "recorded/$name.txt" \
        cat "$vectors/$name.txt"
done
# Of the two tables, ours is the older one.
sed -n '1p; /^table go1.9-1.15/,$p' recorded/size_classes.txt >classes.txt
same 'size_classes.txt is that of seed 1' classes.txt \
    cat "$vectors/size_classes.txt"

totals
