#!/bin/sh
# cplusplus.sh - C++ programs on a stage's malloc.
#
# Environment  CXX=g++ names the C++ compiler; without one all is skipped
#              the rest, and $1: see programs/run_programs.sh

# shellcheck disable=SC1091,SC2034,SC2154 # run_programs.sh and its variables
suite=contract/cplusplus
. tests/contract/programs/run_programs.sh

CXX=${CXX:-g++}
program=$programs/cplusplus
missing=
if command -v "${CXX%% *}" >/dev/null; then
    compile_with "$CXX -std=c++17 -fsized-deallocation" cplusplus cplusplus.cc
else
    missing="no ${CXX%% *}"
fi

# The cases of the program, with what they show.
while read -r name sentence; do
    if [ -z "$missing" ]; then
        hardened_too "$name" "$sentence" "$program" "$name"
    else
        skip "$name" "$sentence" "$missing"
    fi
done <<'END'
new_and_delete new constructs, delete destroys
new_and_delete_array arrays, also of no elements
operators operator new and delete as functions, with and without the size
new_0_is_unique operator new(0) gives distinct blocks
new_huge_throws what cannot be had throws bad_alloc
new_nothrow ... or is a null pointer where nothrow is asked for
new_aligned align_val_t from 32 to 4096
new_aligned_types types with an alignment of their own
new_handler the handler of new is called when there is no memory
vectors vectors grow and shrink
strings_and_maps strings and maps of them
lists lists are sorted
exceptions exceptions are thrown, kept and thrown again
constructor_throws what new allocated is freed if the constructor throws
smart_pointers shared and unique pointers, and functions that capture
globals globals are constructed before main and destroyed after it
END

# The compiler's C++ library has them, and they must stay those of the library.
if wanted no_operators; then
    operators=$(nm -D --defined-only "$LIBRARY" | awk '$3 ~ /^_Z/ { print $3 }')
    [ -z "$operators" ] || wrong 'no C++ names' "$operators"
    verdict no_operators 'the library exports no operator new or delete'
fi
finish
