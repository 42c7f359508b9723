#!/bin/sh
# model_test.sh - does the model notice if a step is wrong or missing?
#
#   sh tests/model/model_test.sh [WORDS]     only cases with these words
#
# Each case plants a fault into a copy of the model, and expects the checker to
# find an order of the steps that breaks the property named, in a configuration
# that shows it soon.
set -u
# The faults are found soon: to optimize would take longer.
OPTIMIZE=-O0
export OPTIMIZE
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/tools/cases.sh
. "$here/../tools/cases.sh"

# broken SENTENCE CONFIG PROPERTY SED-COMMANDS
broken() {
    wanted "$1" || return 0
    sed "$4" "$here/span.pml" >"$tmp/model.pml"
    if cmp -s "$here/span.pml" "$tmp/model.pml"; then
        not_ok "$1" 'a changed copy' 'sed found nothing to change'
        return
    fi
    said=$(BUILD=$tmp/build "$here/check" "$tmp/model.pml" "$2" 2>&1)
    found=$(printf '%s\n' "$said" |
        sed -n 's/^ *line [0-9]*: .*\/\/ \(P[0-9]\)$/\1/p')
    if [ "$found" = "$3" ]; then
        ok "$1: $3"
    else
        not_ok "$1" "$3 does not hold" "$said"
    fi
}

for tool in spin gcc; do
    command -v $tool >/dev/null && continue
    skip 'faults planted into the model' "no $tool here"
    totals
    exit
done

broken 'a sweep that gives the mark back before it sets the free bit' 4 P6 '
    s/^            span\[sp\].free\[w\] = 1$/            span[sp].mark[w] = 1/
    s/^        span\[sp\].mark\[w\] = 1;$/        span[sp].free[w] = 1;/'
broken 'a sweep that gives marks back without a look at them' 1 P3 \
    's/:: w < SLOTS && span\[sp\].mark\[w\] ->/& span[sp].mark[w] = 1;/'
broken 'the right to free taken after the sweep' 4 P6 '
    /^inline cache_sweep/,/^}/ {
        s/span\[mine\].owner = me;/sweep(mine);/
        s/sweep(mine)$/span[mine].owner = me/
    }'
broken 'the class left out of the place' 3 P4 \
    's/won = (span\[sp\].place == AT(from, cl))/won = (STATE(sp) == from)/'
broken 'n_empty raised after the change of place' 1 P5 '
    /^inline note_empty/,/^}/ {
        /^    n_empty\[cl\]++;/d
        s/^    :: won$/    :: won -> n_empty[cl]++/
        s/^    :: !won .*/    :: !won/
    }'
broken 'n_empty not lowered by pop' 1 P5 \
    's/:: was == EMPTY -> n_empty.*/:: was == EMPTY/'
broken 'a free that looks at the free bit before the mark' 4 P6 '
    s/caught = !span\[s\].mark\[i\];/caught = span[s].free[i];/
    s/caught || span\[s\].free\[i\];/caught || !span[s].mark[i];/'
broken 'a free that looks at the place before it clears the mark' 1 P3 '
    /^inline central_free/,/^}/ {
        s/STATE(s)/was/g
        s/^    caught = !/    was = STATE(s); caught = !/
    }'
broken 'a free that leaves the owner the right to free' 4 P6 \
    's/:: STATE(s) == CACHED -> .*/:: STATE(s) == CACHED/'
broken 'a free that takes a full span that another one took' 1 P4 '
    /^inline take_full/,/^}/ s/change_place(.*/won = 1;\
        span[sp].place = AT(CACHED, cl);/'
broken 'a free that does not look whether it was the last' 1 P3 \
    's/:: seen == SLOTS -> note_empty(s, k)/:: seen == SLOTS/'
broken 'put_down with no second look at the marks' 1 P3 \
    's/:: seen > 0 -> take_full(put, k)/:: seen > 0/'
broken 'put_down that leaves the owner' 2 P1 \
    '/^    span\[put\].owner = 0;/d'
broken 'push with no look whether all is free' 1 P3 \
    's/:: IS_EMPTY(sp) -> note_empty(sp, cl)/:: IS_EMPTY(sp)/'
broken 'push of a span with no free slot' 1 P7 '
    s/:: HAS_FREE(put) -> push/:: true -> push/'
broken 'reclaim with no look whether all is free' 1 P5 \
    's/:: put != NO_SPAN && IS_EMPTY(put) ->/:: put != NO_SPAN ->/'
broken 'the holder frees without a sweep when it lost the right to' 4 P6 \
    's/:: s == mine -> cache_sweep();/:: s == mine -> span[s].owner = me;/'

totals
