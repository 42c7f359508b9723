#!/bin/sh
# run_test.sh - tests that `run` notices what goes wrong: libraries with
# planted faults, and programs that are not what they seem.
#
#   sh tests/realworld/run_test.sh [NAME]    only the cases whose name has NAME
#
# It works on a copy of `run` in a directory of its own.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
unset REALWORLD_SECONDS REALWORLD_PATH MM_HARDEN
mkdir -p "$tmp/tests/realworld" "$tmp/common" "$tmp/bin"
cp "$root/tests/realworld/run" "$root/tests/realworld/programs.sh" \
    "$tmp/tests/realworld"
cp "$root/common/setup.sh" "$tmp/common"
cd "$tmp" || exit 2

# says NAME SENTENCE STATUS TEXT COMMAND... runs COMMAND, and expects that exit
# status and TEXT somewhere in the output. No COMMAND: it is the one before.
says() {
    name=$1 sentence=$2 status=$3 text=$4
    shift 4
    wanted "$name" || return 0
    if [ $# -gt 0 ]; then
        "$@" > output 2>&1 < /dev/null
        got=$?
    fi
    if [ "$got" -eq "$status" ] && grep -qF -e "$text" output; then
        ok "$sentence"
    else
        not_ok "$sentence" "exit status $status and: $text" \
            "exit status $got and: $(cat output)" "$name"
    fi
}

# library NAME [OPTION...] compiles NAME.so.
library() {
    so=$1.so
    shift
    gcc -shared -fPIC -O1 -Wall -o "$so" "$@" library.c || exit 2
}

# run_on LIBRARY PROGRAM... runs programs on a library of above.
run_on() {
    so=$1.so
    shift
    tests/realworld/run 02-fake "$so" "$@"
}

# A malloc that never frees, and writes the counter that `run` looks for.
cat > library.c <<'END'
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef AT_CALL
#define AT_CALL(n)
#endif
#ifndef AT_EXIT
#define AT_EXIT
#endif

#ifndef MALLOCS
#define MALLOCS 0
#endif
static unsigned long mallocs = MALLOCS;
static unsigned long threads;

#ifdef COUNT_THREADS
#include <pthread.h>
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
                   void *(*start)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    extern void *dlsym(void *, const char *);
    real = dlsym((void *)-1l, "pthread_create");
    __atomic_fetch_add(&threads, 1, __ATOMIC_RELAXED);
    return real(thread, attributes, start, argument);
}
#endif

#ifndef NO_MALLOC
#ifndef OVERLAP
#define OVERLAP 0
#endif
static char heap[1 << 28] __attribute__((aligned(16)));
static size_t top;

void *malloc(size_t size)
{
    size_t room = (size + 31) / 16 * 16;
    AT_CALL(++mallocs);
    if (size > sizeof heap || room > sizeof heap - top) {
        errno = ENOMEM;
        return NULL;
    }
    size_t *header = (size_t *)(heap + top);
    top += size > 64 ? room - OVERLAP : room;
    *header = size;
    return header + 2;
}

void free(void *p)
{
    (void)p;
}

void *calloc(size_t n, size_t size)
{
    void *p = malloc(n * size);
    return p == NULL ? NULL : memset(p, 0, n * size);
}

void *realloc(void *p, size_t size)
{
    void *q = malloc(size);
    if (p != NULL && q != NULL) {
        size_t old = ((size_t *)p)[-2];
        memcpy(q, p, old < size ? old : size);
    }
    return q;
}
#endif

#ifdef ONLY_THE_FIRST
__attribute__((constructor)) static void leave_children_alone(void)
{
    unsetenv("LD_PRELOAD");
}
#endif

#ifdef WRITE
ssize_t write(int fd, const void *bytes, size_t n)
{
    static ssize_t (*real)(int, const void *, size_t);
    extern void *dlsym(void *, const char *);
    if (real == NULL)
        real = dlsym((void *)-1l, "write");
    if (fd > 2 && n > 5000)
        ((char *)bytes)[5000] ^= 1;
    return real(fd, bytes, n);
}
#endif

__attribute__((destructor)) static void finish(void)
{
    const char *name = getenv("MM_STATS");
    int how = O_WRONLY | O_APPEND | O_CREAT;
    int fd = name == NULL ? -1 : open(name, how, 0666);
    char line[100];
    int n = snprintf(line, sizeof line, "%s[%d] mallocs=%lu threads=%lu\n",
                     program_invocation_short_name, (int)getpid(), mallocs,
                     threads);
    if (fd >= 0 && syscall(SYS_write, fd, line, n) < 0)
        abort();
    AT_EXIT;
}
END

# ---- libraries

library good '-DAT_CALL(n)=n'
says good 'a library that works passes' 0 '3 passed, 0 failed, 0 skipped' \
    run_on good ls sed find
says good '... and gets one row in the table' 0 \
    '02-fake                     3    3    0          0    0         7 '

library overlap '-DAT_CALL(n)=n' -DOVERLAP=32
says overlap 'blocks that overlap are noticed' 1 'FAIL  02-fake sed: edits' \
    run_on overlap sed

library status '-DAT_CALL(n)=n' '-DAT_EXIT=fflush(NULL);_exit(3)'
says status 'a wrong exit status is noticed, though the output is right' 1 \
    '+exit status 3' run_on status sort

if command -v xz > /dev/null; then
    library write '-DAT_CALL(n)=n' -DWRITE
    says file 'a file that differs by one bit is noticed' 1 \
        'it does something else than without the library' run_on write tar
else
    skip 'a file that differs by one bit is noticed' 'tar needs xz'
fi

library crash '-DAT_CALL(n)=if(n==50)abort()'
says crash 'a crash is noticed, and its signal named' 1 \
    'killed by signal 6 (ABRT)' run_on crash ls
says crash '... with the command that runs it again' 1 \
    'again: tests/realworld/run 02-fake crash.so ls'
says crash '... and it is in the table' 1 'failed: ls'

library hang '-DAT_CALL(n)=while(n==50)pause()'
REALWORLD_SECONDS=1
export REALWORLD_SECONDS
says hang 'a program that hangs is ended and has failed' 1 \
    'it was ended after 1 seconds' run_on hang ls
library stubborn '-DAT_CALL(n)=while(n==50){signal(SIGTERM,SIG_IGN);pause();}'
says stubborn 'a program that hangs and cannot be asked to end has failed' 1 \
    'it was ended after 1 seconds' run_on stubborn ls
if wanted stubborn; then
    for _ in 1 2 3 4 5 6 7 8 9; do
        alive=$(grep -ls "$tmp/stubborn.so" /proc/[0-9]*/maps)
        [ -z "$alive" ] && break || sleep 0.2 # to die takes a moment
    done
    [ -z "$alive" ] && ok '... and nothing of it is left' ||
        not_ok '... and nothing of it is left' 'no process' "$alive" stubborn
fi
unset REALWORLD_SECONDS

library absent -DNO_MALLOC
says absent 'a library without malloc is noticed' 1 \
    'not a test of this malloc, which was not called by: ls' run_on absent ls
says text 'a library that the linker refuses is noticed' 1 \
    'not a test of this malloc' tests/realworld/run 02-fake ./library.c ls

library first '-DAT_CALL(n)=n' -DONLY_THE_FIRST
says children 'a child that does not run on the library is noticed' 1 \
    'not called by: grep' run_on first find

sed -i 's/^ls|ls|ls|/ls|ls|ls:1000000|/' tests/realworld/programs.sh
says times 'a program that uses another malloc most of the time is noticed' 1 \
    'not called by: ls (1000000 times)' run_on good ls
sed -i 's/^ls|ls|ls:1000000|/ls|ls|ls|/' tests/realworld/programs.sh

# ---- programs

# Here the malloc is that of the C library, and only threads are counted.
if wanted threads; then
    library threads -DNO_MALLOC -DMALLOCS=1000000 -DCOUNT_THREADS
    says threads 'all programs run' 0 ' 0 failed' run_on threads
    tests/realworld/run --list | sed 1d | while read -r program kind _; do
        [ -s "build/realworld/02-fake/$program.stats" ] || continue # skipped
        awk -v program="$program" -v kind="$kind" '
        {
            sub(/.*threads=/, "")
            if ($0 + 0 > most)
                most = $0 + 0
        }
        END {
            if (kind == "one" ? most > 0 : most < 2)
                print program " (" kind "): " most + 0 " threads"
        }' "build/realworld/02-fake/$program.stats"
    done > offenders
    sentence='programs have threads where the list says so: two at least'
    [ ! -s offenders ] && ok "$sentence" ||
        not_ok "$sentence" 'many: 2 threads or more, one: none' \
            "$(cat offenders)" threads
fi

for command in sh awk cat chmod cksum cmp cp cut date diff dirname env find \
    getconf grep head id ls mkdir mv rm sed sort tail timeout touch tr uname; do
    ln -s "$(command -v $command)" bin
done
printf '#!/bin/sh\necho no network; exit 7\n' > bin/curl
printf '#!/bin/sh\n' > bin/apt-get
chmod +x bin/curl bin/apt-get
REALWORLD_PATH=$tmp/bin
export REALWORLD_PATH
says skip 'a program that is not there is skipped' 0 \
    '1 passed, 0 failed, 1 skipped' run_on good ls ruby
says skip '... with a line that says how to get it' 0 \
    'skip  02-fake ruby: ruby is not installed; install it with: apt-get '
says skip '... also where a package has another name' 1 \
    'skip  02-fake redis-threads: redis-server is not installed; install it w' \
    run_on good redis-threads
echo "lacks_ls() { echo 'it is Monday'; }" >> tests/realworld/programs.sh
says lacks 'a program that lacks something else is skipped, with the reason' \
    0 'skip  02-fake ls: it is Monday' run_on good sed ls
sed -i '$d' tests/realworld/programs.sh
says nothing 'a run in which nothing ran is not green' 1 \
    '0 passed, 0 failed, 1 skipped' run_on good ruby
says reference 'a program that fails by itself is no reference' 1 \
    'exit status 7 without the library; that is no reference' run_on good curl
unset REALWORLD_PATH

says locks 'a stage without locks is spared the threads, and says so' 0 \
    'left out, as the stage has no locks: sort-threads' \
    tests/realworld/run 01-fake good.so ls sort-threads
says unknown 'an unknown program is trouble' 2 "no program 'emacs'" \
    run_on good emacs
says missing 'a library that is not there is trouble' 2 'no library none.so' \
    run_on none
says list 'the list has a sentence for each program' 0 \
    'xz               one      packs and unpacks' tests/realworld/run --list

totals
