#!/bin/sh
# fuzz_test.sh - shows that the fuzz target finds bugs: each is planted into a
# copy of a stage, and must be found within a few seconds.
#
# usage: fuzz_test.sh
#
# Needs clang with libFuzzer, and is skipped without. Exit: 0 all passed, or
# skipped, 1 not.

cd "$(dirname "$0")/../.." || exit 1
root=$(pwd)
tmp=$(mktemp -d) || exit 1
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' HUP INT TERM
passed=0
failed=0
stage=$root/stages/03-split-coalesce
if ! sh common/setup.sh --need clang fuzzer; then
    echo '0 passed, 0 failed, 1 skipped'
    exit
fi

verdict() {
    if [ "$1" = yes ]; then
        passed=$((passed + 1))
        echo "ok - $2"
    else
        failed=$((failed + 1))
        echo "FAIL - $2"
        echo "    $3"
        tail -n 5 "$tmp/log" | sed 's/^/    /'
    fi
}

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
    sed "$2" "$stage/malloc.c" > malloc.c
    if cmp -s malloc.c "$stage/malloc.c"; then
        : > log
        verdict no "$1" "this changes nothing: sed '$2' (was the line reworded?)"
        return
    fi
    if fuzz malloc.c 20000; then
        verdict no "$1" "not found within 20000 inputs: sed '$2'"
    else
        verdict yes "$1"
    fi
}

if fuzz "$stage/malloc.c" 2000; then
    verdict yes 'the stage as it is has none of these bugs'
else
    verdict no 'the stage as it is has none of these bugs' 'a bug was found'
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

echo
echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
