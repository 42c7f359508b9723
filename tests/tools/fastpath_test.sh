#!/bin/sh
# fastpath_test.sh - shows that make fastpath counts right, and that it notices
# what may not be on the path.
#
# usage: sh tests/tools/fastpath_test.sh [NAME]
#                         NAME: only the cases with this in their sentence
#
# What is measured here are small mallocs in assembler, so that every
# instruction is known: mm_malloc has 5, mm_free 3, and around them is 1. Each
# fault is a few lines more.

# shellcheck disable=SC2016 # $1 is a number in assembler

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
CC=${CC:-cc}
unset LD_PRELOAD STAGE LIBRARY FASTPATH MOST
flags='-std=c11 -D_GNU_SOURCE -pthread -fPIC -O2 -fno-builtin'

# ---------------------------------------------------------------------------
# The measured malloc. It has memory for all there is to measure, once.

cat >"$tmp/mm.c" <<'END_C'
#include <errno.h>
#include <stddef.h>
#include <string.h>

// What the cases plant.
#ifndef IN_MALLOC
#define IN_MALLOC ""
#endif
#ifndef IN_FREE
#define IN_FREE ""
#endif
#ifndef AROUND
#define AROUND ""
#endif
#ifndef ELSEWHERE
#define ELSEWHERE ""
#endif
#ifndef MALLOC
#define MALLOC "mm_malloc"
#endif

__attribute__((visibility("hidden"))) char memory[1 << 24];
__attribute__((visibility("hidden"))) char *top = memory;
__attribute__((visibility("hidden"))) long word, counter;

__asm__(".text\n"
    ".type mm_malloc, @function\n"
    "mm_malloc:\n" IN_MALLOC
    "    mov top(%rip), %rax\n"
    "    lea 15(%rax, %rdi), %rdi\n"
    "    and $-16, %rdi\n"
    "    mov %rdi, top(%rip)\n"
    "    ret\n"
    ".size mm_malloc, . - mm_malloc\n"
    ".type mm_free, @function\n"
    "mm_free:\n" IN_FREE
    "    test %rdi, %rdi\n"
    "    mov %rdi, word(%rip)\n"
    "    ret\n"
    ".size mm_free, . - mm_free\n"
    ".globl malloc\n"
    ".type malloc, @function\n"
    "malloc:\n" AROUND
    "    jmp " MALLOC "\n"
    ".size malloc, . - malloc\n"
    ".globl free\n"
    ".type free, @function\n"
    "free:\n"
    "    jmp mm_free\n"
    ".size free, . - free\n"
    ".type elsewhere, @function\n"
    "elsewhere:\n" ELSEWHERE
    "    ret\n"
    ".size elsewhere, . - elsewhere\n");

void *malloc(size_t size);
void *calloc(size_t n, size_t size)
{
    return malloc(n * size);
}
void *realloc(void *p, size_t size)
{
    void *q = malloc(size);
    return p == NULL ? q : memmove(q, p, size);
}

#ifdef NO_PTRACE
long ptrace(int request, ...)
{
    (void)request;
    errno = EPERM;
    return -1;
}
#endif
END_C

program=$tmp/fastpath
# shellcheck disable=SC2086 # several words
$CC $flags -o "$program" "$root/tests/tools/fastpath.c" -ldl || exit 2

# library FLAG... compiles it.
library=$tmp/libmalloc.so
library() {
    # shellcheck disable=SC2086 # several words
    $CC $flags -shared -o "$library" "$tmp/mm.c" "$@" || exit 2
}

# measure [OPTION...] sets output and status of the tool, for 64 bytes.
measure() {
    output=$("$root/tests/tools/fastpath" "$@" "$program" "$library" 64 2>&1)
    status=$?
}

# says SENTENCE STATUS PART: the last measurement ended so, and said this.
says() {
    if [ "$status" = "$2" ]; then
        contains "$1" "$3" "$output"
    else
        equal "$1" "exit status $2" "exit status $status: $output"
    fi
}

# row: the line of the table, with one space between.
row() {
    echo "$output" | awk '$1 == 64 { $1 = $1; print }'
}

# ---------------------------------------------------------------------------
# Where it cannot be done.

sed 's/__x86_64__/another_processor/' "$root/tests/tools/fastpath.c" \
    >"$tmp/other.c"
# shellcheck disable=SC2086 # several words
$CC $flags -o "$tmp/other" "$tmp/other.c" || exit 2
message=$("$tmp/other" 64 2>&1)
equal 'another processor is told of, exit 77' \
    '77: fastpath: counts instructions of x86-64 only' "$?: $message"
if [ "$(uname -m)" != x86_64 ]; then
    skip 'make fastpath counts right' "$message"
    totals
    exit
fi
library
measure
if [ "$status" -eq 77 ]; then
    skip 'make fastpath counts right' "$output"
    totals
    exit
fi

mkdir "$tmp/bin"
for tool in sh sed awk expr dirname env cat uname getconf mktemp rm; do
    ln -s "$(command -v $tool)" "$tmp/bin"
done
path=$PATH
PATH=$tmp/bin
measure
PATH=$path
says 'without objdump it says what is missing, exit 77' 77 'needs objdump'

library -DNO_PTRACE
measure
equal 'without ptrace it says so, exit 77' \
    '77: fastpath: this system does not permit ptrace' "$status: $output"
unit_test() {
    output=$(cd "$root" && env STAGE=08-x LIBRARY="$library" CC=gcc \
        FASTPATH="$program" MOST="$1" sh tests/unit/fastpath_test.sh 2>&1)
    status=$?
}
unit_test 5,3
says '... and the test of a stage is skipped' 0 '0 passed, 0 failed, 6 skipped'

# ---------------------------------------------------------------------------
# What is counted.

library
measure --most 5,3
says 'a path is fast that has no more than its limits' 0 ' size  mm_malloc'
equal 'the instructions are counted, from entry to return' \
    '64 5 1 6 3 1 4 0 0 0' "$(row)"
equal 'they are shown, in the order in which they are executed' \
'malloc+0 jmp
mm_malloc+0 mov
mm_malloc+7 lea
mm_malloc+12 and
mm_malloc+16 mov
mm_malloc+23 ret
free+0 jmp
mm_free+0 test
mm_free+3 mov
mm_free+10 ret' "$(echo "$output" |
    sed -n 's/^  *\([a-z_]*+[0-9]*\)  *\([a-z]*\).*/\1 \2/p')"
measure --most 4,3
says 'a malloc above its limit is noticed' 1 \
    'malloc of 64: 5 instructions in mm_malloc, at most 4'
measure --most 5,2
says 'a free above its limit is noticed' 1 \
    'free of 64: 3 instructions in mm_free, at most 2'

# planted FLAG...: measures a malloc with a fault.
planted() {
    library "$@"
    measure
}

planted '-DIN_MALLOC="mov $10, %ecx\n 1: dec %ecx\n jnz 1b\n"'
equal 'what is executed ten times counts ten times' '64 26 1 27 3 1 4 0 0 0' \
    "$(row)"
planted '-DIN_MALLOC="jmp 1f\n lock incl word(%rip)\n call elsewhere\n 1:\n"'
says 'what is not executed does not count' 0 '64          6 '
planted '-DIN_MALLOC="incl counter(%rip)\n testb $3, counter(%rip)\n jnz 1f\n'\
'mov $10, %ecx\n 2: dec %ecx\n jnz 2b\n 1:\n"'
equal 'a path that one call in four takes is only the longest' \
    '64 8 1 30 3 1 4 0 0 0' "$(row)"

# ---------------------------------------------------------------------------
# What may not be on the path.

planted '-DIN_MALLOC="lock incl word(%rip)\n"'
says 'the prefix lock is noticed in malloc' 1 \
    'malloc of 64: atomic: mm_malloc+0 lock incl'
contains '... and marked in the path' '! mm_malloc+0 ' "$output"
equal '... and counted in the table' '64 6 1 7 3 1 4 1 0 0' "$(row)"
planted '-DIN_FREE="lock incl word(%rip)\n"'
says 'the prefix lock is noticed in free' 1 \
    'free of 64: atomic: mm_free+0 lock incl'
planted '-DAROUND="lock incl word(%rip)\n"'
says 'the prefix lock is noticed in the exported malloc' 1 \
    'malloc of 64: atomic: malloc+0 lock incl'
planted '-DIN_FREE="xchg %rcx, word(%rip)\n"'
says 'xchg with memory is atomic, without a prefix' 1 \
    'free of 64: atomic: mm_free+0 xchg %rcx,'
planted '-DIN_FREE="xchg %rcx, %fs:0x28\n xchg %rcx, %fs:0x28\n"'
says '... also with memory of the thread' 1 \
    'free of 64: atomic: mm_free+0 xchg %rcx,%fs:0x28'
planted '-DIN_FREE="xchg %rcx, %rdx\n"'
says 'xchg of two registers is not' 0 '     4      1'
planted '-DIN_FREE="mfence\n"'
says 'a fence is noticed' 1 'free of 64: atomic: mm_free+0 mfence'
planted '-DIN_MALLOC="call elsewhere\n"'
says 'a call is noticed' 1 'malloc of 64: call: mm_malloc+0 call'
equal '... and what is called counts' '64 7 1 8 3 1 4 0 1 0' "$(row)"
planted '-DIN_MALLOC="call elsewhere\n"' '-DELSEWHERE="lock incl word(%rip)\n"'
says '... and is searched, too' 1 \
    'malloc of 64: atomic: elsewhere+0 lock incl'
planted '-DIN_FREE="call getpid@PLT\n"'
says 'a call of another library is noticed' 1 'free of 64: call: mm_free+0 call'
contains '... and counts once' '0    1           0' "$output"
planted '-DIN_FREE="jmp getpid@PLT\n"'
says 'so is a jump to one' 1 'free of 64: call: libc.so.6+'
planted '-DIN_FREE="mov $39, %eax\n syscall\n"' # getpid
says 'a system call is noticed' 1 'free of 64: system call: mm_free+5 syscall'
planted '-DMALLOC="elsewhere"' '-DELSEWHERE="mov top(%rip), %rax\n'\
'lea 15(%rax, %rdi), %rdi\n and $-16, %rdi\n mov %rdi, top(%rip)\n"'
says 'a malloc that does not come to mm_malloc is noticed' 1 \
    'malloc of 64: mm_malloc was not called'

# ---------------------------------------------------------------------------
# The test that stages have to pass.

# in_stage SENTENCE STATUS PART MOST [FLAG...]
in_stage() {
    sentence=$1 expected=$2 part=$3 most=$4
    shift 4
    library "$@"
    unit_test "$most"
    says "$sentence" "$expected" "$part"
}

in_stage 'a stage without a fault passes' 0 '6 passed, 0 failed' 5,3
in_stage 'a malloc that is too long fails its case' 1 \
    'FAIL - mm_malloc has at most 4 instructions' 4,3
in_stage '... and only this' 1 '5 passed, 1 failed' 4,3
in_stage 'a free that is too long fails its case' 1 \
    'FAIL - mm_free has at most 2 instructions' 5,2
in_stage '... and only this' 1 '5 passed, 1 failed' 5,2
in_stage 'an atomic instruction fails its case' 1 \
    'FAIL - neither has an atomic instruction' 9,9 \
    '-DIN_MALLOC="lock incl word(%rip)\n"'
in_stage '... and only this' 1 '5 passed, 1 failed' 9,9 \
    '-DIN_MALLOC="lock incl word(%rip)\n"'
in_stage 'a call fails its case' 1 'FAIL - neither calls a function' 9,9 \
    '-DIN_FREE="call elsewhere\n"'
in_stage 'a system call fails its case' 1 'FAIL - neither calls the system' \
    9,9 '-DIN_FREE="mov $39, %eax\n syscall\n"'
in_stage 'a stage that crashes fails all cases' 1 '0 passed, 6 failed' 9,9 \
    '-DIN_FREE="cmp $0, %rdi\n je 1f\n ud2\n 1:\n"'

# ---------------------------------------------------------------------------
# Trouble.

planted '-DIN_FREE="cmp $0, %rdi\n je 1f\n ud2\n 1:\n"'
says 'a crash is trouble' 2 'a call ended with signal 4'
planted '-DIN_MALLOC="cmp $64, %rdi\n jne 1f\n xor %eax, %eax\n ret\n 1:\n"'
says 'NULL is trouble' 2 'malloc returned NULL'
echo 'not a library' >"$library"
measure
says 'a library that cannot be loaded is trouble' 2 ", not in $library"
rm -f "$library"
measure
says 'so is one that is not there' 2 "there is no $library"
library
measure --most 20
says 'a limit for one of two is refused' 2 '--most needs two numbers'
measure --mots 20,30
says 'an unknown option is refused' 2 'usage: fastpath'

totals
