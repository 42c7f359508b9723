#!/bin/sh
# fuzz_test.sh - shows that the fuzz target finds bugs: each is planted into a
# copy of a stage, and must be found within a few seconds.
#
# usage: fuzz_test.sh [PART]    PART: only the cases with this in their sentence
#
# Needs clang with libFuzzer, and is skipped without. Exit: 0 all passed, or
# skipped, 1 not.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
stage=$root/stages/03-split-coalesce
if ! sh "$root/common/setup.sh" --need clang fuzzer; then
    skip 'the fuzz target finds bugs' 'clang or libFuzzer is not installed'
    totals
    exit
fi

# All that does not change is compiled once; the stage each time.
options="-std=c11 -D_GNU_SOURCE -pthread -g -O1 -fno-builtin-malloc
    -DMM_DEBUG=1 -DMM_COUNTERS=1 -I$root/common -fno-sanitize-recover=all
    -fsanitize=address,undefined"
mkdir "$tmp/rest"
cd "$tmp/rest" || exit 1
for file in check fork lock mm_api stats; do
    # shellcheck disable=SC2086 # options are words
    clang $options -c "$root/common/$file.c" || exit 1
done
# shellcheck disable=SC2086
clang $options -c "$root/tests/fuzz/fuzz.c" || exit 1
cd "$tmp" || exit 1

# fuzz FILE RUNS makes the stage from FILE, and runs so many inputs on it.
fuzz() {
    # shellcheck disable=SC2086
    clang $options -fsanitize=fuzzer -o fuzz "$1" rest/*.o || exit 1
    ./fuzz -seed=1 -runs="$2" -max_len=512 -len_control=0 > log 2>&1
}

# planted SENTENCE SED: the stage, changed by SED, is found to be broken.
planted() {
    wanted "$1" || return 0
    sed "$2" "$stage/malloc.c" > malloc.c
    if cmp -s malloc.c "$stage/malloc.c"; then
        not_ok "$1" "a changed line: sed '$2'" 'none (was it reworded?)'
    elif fuzz malloc.c 20000; then
        not_ok "$1" "a report: sed '$2'" \
            "none within 20000 inputs: $(tail -n 5 log)"
    else
        ok "$1"
    fi
}

sound='the stage as it is has none of these bugs'
if wanted "$sound"; then
    fuzz "$stage/malloc.c" 2000 && ok "$sound" ||
        not_ok "$sound" 'no report' "$(tail -n 5 log)"
fi
planted 'a merge that forgets prev_size of the block above' \
    's/^\( *\)above(h)->prev_size = size;/\1above(h)->prev_size += 0;/'
planted 'a split that leaves no room for links' \
    's/rest < sizeof(struct header) + MM_ALIGNMENT/rest < sizeof *h/'
planted 'a search that accepts a block that is too small' \
    's/if (h->size >= size)/if (h->size + 16 >= size)/'
planted 'a list that loses its links backward' \
    's/links_of(links->next)->prev = links->prev;/(void)0;/'
planted 'a misaligned break, left by somebody else' \
    's/size_t lost = padding_to(sbrk(0), MM_ALIGNMENT);/size_t lost = 0;/'
planted 'somebody else'"'"'s memory, taken for its own' \
    's/added == heap_end/true/'
planted 'a failure without ENOMEM' 's/errno = ENOMEM;/errno = EAGAIN;/'
planted 'an aligned block that is not' \
    's/size_t cut = padding_to(block_of(h), align);/size_t cut = 0;/'
planted 'a walk that shows used blocks as free' \
    's/h->is_free ? MM_FREE : MM_USED/h->size > 99 ? MM_FREE : MM_USED/'

totals
