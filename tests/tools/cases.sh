# shellcheck shell=sh
#
# cases.sh - what the tests in shell share: a line for each case, the totals,
# and a directory for scratch files, $tmp. A test sources it, states its cases,
# and ends with totals:
#
#     . "$root/tests/tools/cases.sh"
#     equal 'two and two is four' 4 $((2 + 2))
#     totals
#
# A case is named by its sentence. The first argument of a test, if there is
# one, chooses the cases with these words in their sentence.

LC_ALL=C
export LC_ALL
tmp=$(mktemp -d) || exit 2
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' HUP INT TERM
only=${1-}
passed=0 failed=0 skipped=0

# wanted SENTENCE: shall this case run?
wanted() {
    case $1 in
    *"$only"*) return 0 ;;
    *) return 1 ;;
    esac
}

ok() {
    passed=$((passed + 1))
    echo "ok - $1"
}

# not_ok SENTENCE EXPECTED ACTUAL [NAME]: NAME chooses the case, if its
# sentence does not.
not_ok() {
    failed=$((failed + 1))
    echo "FAIL - $1"
    printf '%s\n' "$2" | sed 's/^/       expected: /'
    printf '%s\n' "$3" | sed 's/^/       actual:   /'
    printf '%s\n' "${4:-$1}" |
        sed "s/'/'\\\\''/g; s|.*|       again:    sh $0 '&'|"
}

# skip SENTENCE WHY
skip() {
    wanted "$1" || return 0
    skipped=$((skipped + 1))
    echo "skip - $1: $2"
}

# equal SENTENCE EXPECTED ACTUAL
equal() {
    wanted "$1" || return 0
    if [ "$2" = "$3" ]; then
        ok "$1"
    else
        not_ok "$1" "$2" "$3"
    fi
}

# contains SENTENCE PART ACTUAL
contains() {
    wanted "$1" || return 0
    case $3 in
    *"$2"*) ok "$1" ;;
    *) not_ok "$1" "... $2 ..." "$3" ;;
    esac
}

# totals ends a test. It fails if a case failed, or if none was there to run.
totals() {
    also=
    [ $skipped -eq 0 ] || also=", $skipped skipped"
    echo
    echo "$passed passed, $failed failed$also"
    [ $failed -eq 0 ] && [ $((passed + skipped)) -gt 0 ]
}
