#!/bin/sh
# bench_test.sh - shows that the bench computes what it says, and that it
# notices mallocs that crash, hang, lie or are not used at all.
#
#   sh tests/bench/bench_test.sh [WORDS]   only cases with WORDS in the sentence
#
# Where numbers count, they come from a launcher that only pretends to run
# anything. Nothing here depends on how long something takes.

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 2
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
CC=${CC:-gcc}
for tool in gcc python3; do
    if ! sh "$root/common/setup.sh" --need $tool; then
        skip 'the bench computes what it says' "$tool is not installed"
        totals
        exit
    fi
done
unset LD_PRELOAD
mkdir -p "$tmp/tests" "$tmp/common"
cp -R "$root/tests/bench" "$tmp/tests"
cd "$tmp" || exit 2

# json EXPRESSION... prints what they are in the JSON of the last run; j is
# all, r(NAME, CONTENDER) the result of a row, and m(CONTENDER) the means of
# CPU time over all rows.
json() {
    python3 -c '
import json, sys
j = json.load(open("out.json"))
def r(name, contender):
    rows = [row for row in j["rows"] if row["name"] == name]
    return rows[0]["results"][contender]
def m(contender):
    return j["geometric_means"][contender]["cpu"]["all"]
values = map(eval, sys.argv[1:])
print(*["%.4f" % v if isinstance(v, float) else v for v in values])' "$@"
}

# bench OPTION... runs the bench with what stands in $launcher; all output is
# in the file output, and the exit status in $status.
bench() {
    python3 tests/bench/bench.py --launcher "$launcher" \
        --workloads ./bench_workloads --out out.json "$@" > output 2>&1 \
        < /dev/null
    status=$?
}

# in_table LABEL prints the first line of the tables that begins with it, the
# words with one space between.
in_table() {
    grep "^ *$1 " output | head -n 1 | xargs
}

# --- Known numbers ----------------------------------------------------------

# The launcher that pretends: for the n-th run of a row on a library it takes
# the n-th number from the file ROW.LIBRARY as user time, or 3. System time is
# 1 second, wall time twice the user time, and memory the user time in MiB.
cat > pretend << 'END'
#!/bin/sh
path=$3 library=${3##*/} output=$4 row=$6 threads=$7
: > "$output"
case $row:$library in
which:*) echo "${path:-$PWD/libc}" > "$output" ;;
huge_pages:a.so) echo 'asked 65536 got 40960' > "$output" ;;
huge_pages:*) echo 'asked 0 got 0' > "$output" ;;
*:liar.so) echo 'two and two is five' > "$output" ;;
*:gone.so) echo 'gone.so from LD_PRELOAD cannot be preloaded' > "$output" ;;
esac
case $row in
which | huge_pages) user=3 ;;
*)
    echo "$row $threads ${library:-glibc}" >> ../order
    n=$(grep -c "^$row $threads ${library:-glibc}\$" ../order)
    user=$(sed -n "${n}p" "../$row.${library:-glibc}" 2> /dev/null)
    ;;
esac
user=${user:-3}
echo "ended exit 0 user $user sys 1 wall $((2 * user)) peak_kib $((user << 10))"
END
chmod +x pretend
launcher=./pretend
for file in a.so b.so liar.so gone.so bench_workloads order; do
    : > $file
done

# The first number of glibc belongs to the run that does not count.
printf '%s\n' 50 3 1 5 > lifo.glibc   # with sys: 4 2 6, median 4
printf '%s\n' 1 1 9 > lifo.a.so       # 2 2 10, median 2
printf '%s\n' 15 14 16 > lifo.b.so    # 16 15 17, median 16
printf '%s\n' 50 1 1 1 > random.glibc # median 2
printf '%s\n' 15 15 15 > random.a.so  # median 16
printf '%s\n' 3 2 90 > random.b.so    # 4 3 91, median 4
bench --rounds 3 --threads 1 --bench lifo,random --vs ./b.so a=a.so

equal 'a bench without failures exits 0' 0 $status
equal 'the median of three runs is the one in the middle' '4.0000 2.0000' \
    "$(json 'r("lifo", "glibc")["cpu"]["median"]' \
        'r("lifo", "a")["cpu"]["median"]')"
equal 'user and system time are added' 2.0000 \
    "$(json 'r("random", "glibc")["cpu"]["median"]')"
equal 'a ratio to glibc is one of medians' '0.5000 4.0000 8.0000 2.0000' \
    "$(json 'r("lifo", "a")["cpu"]["to_glibc"]' \
        'r("lifo", "b.so")["cpu"]["to_glibc"]' \
        'r("random", "a")["cpu"]["to_glibc"]' \
        'r("random", "b.so")["cpu"]["to_glibc"]')"
equal 'a ratio to the best is one of medians' '2.0000 1.0000 8.0000' \
    "$(json 'r("lifo", "glibc")["cpu"]["to_best"]' \
        'r("lifo", "a")["cpu"]["to_best"]' \
        'r("lifo", "b.so")["cpu"]["to_best"]')"
# To glibc sqrt(0.5 * 8) and sqrt(4 * 2); to the best sqrt(2 * 1), sqrt(1 * 8)
# and sqrt(8 * 2).
equal 'the means are geometric' '2.0000 2.8284 1.4142 2.8284 4.0000' \
    "$(json 'm("a")["to_glibc"]' 'm("b.so")["to_glibc"]' \
        'm("glibc")["to_best"]' 'm("a")["to_best"]' 'm("b.so")["to_best"]')"
equal 'scatter is (largest - smallest) / median' '1.0000 22.0000 0.0000' \
    "$(json 'r("lifo", "glibc")["cpu"]["spread"]' \
        'r("random", "b.so")["cpu"]["spread"]' \
        'r("random", "a")["cpu"]["spread"]')"
contains 'scatter is told' 'cpu random 1: b.so 22.00' "$(cat output)"
equal 'memory is compared, too' '3.0000 0.3333' \
    "$(json 'r("lifo", "glibc")["peak"]["median"]' \
        'r("lifo", "a")["peak"]["to_glibc"]')"
equal 'wall time of one thread is left out' False \
    "$(json '"wall" in r("lifo", "a")')"
equal 'the table shows the ratios' 'lifo 1 4.000~2.00 0.50~best 4.00 8.00' \
    "$(in_table 'lifo 1')"
equal 'the table shows the means' \
    'mean of all 1.00 1.41 2.00 2.83 2.83 4.00' "$(in_table 'mean of all')"
contains 'who asks for huge pages is told' 'asks for huge pages (of 64 MiB' \
    "$(grep -A 1 '^a  ' output)"
contains 'who does not ask is told' 'does not ask' \
    "$(grep -A 1 '^b.so  ' output)"
equal 'contenders take turns, and every round and row starts one further' \
    'glibc glibc
glibc a.so b.so
a.so b.so glibc
a.so b.so glibc
b.so glibc a.so
b.so glibc a.so
glibc a.so b.so' \
    "$(cut -d' ' -f3 order | { read -r x && read -r y && echo "$x $y"
        xargs -n 3; })"
equal 'all rows take part in each round' 'lifo lifo lifo random random random' \
    "$(sed -n '3,8s/ .*//p' order | xargs)"
equal 'the JSON knows the order of the runs' '[0, 8, 13]' \
    "$(json '[run["order"] for run in r("lifo", "glibc")["runs"]]')"

: > order
printf '%s\n' 50 1 2 5 9 > lifo.glibc
bench --rounds 4 --threads 1 --bench lifo --vs glibc
equal 'the median of four runs is half way between the inner two' 4.5000 \
    "$(json 'r("lifo", "glibc")["cpu"]["median"]')"
: > order
bench --rounds 1 --threads 2 --bench lifo --vs ./a.so
equal 'wall time counts for several threads' '2.0000 1.0000' \
    "$(json 'r("lifo", "glibc")["wall"]["median"]' \
        'r("lifo", "a.so")["wall"]["to_glibc"]')"

: > order
bench --rounds 2 --threads 1 --bench lifo,random --vs '' liar=liar.so \
    gone=gone.so
equal 'a malloc that changes results has failed' '1 wrong result True' \
    "$status $(json 'r("lifo", "liar")["fault"]' \
        'r("lifo", "liar")["failed"]')"
equal 'and is not run again' 1 "$(grep -c '^lifo 1 liar' order)"
equal 'a library that is gone after a while is noticed' \
    'not preloaded True' \
    "$(json 'r("lifo", "gone")["fault"]' 'r("lifo", "gone")["failed"]')"
equal 'a mean over no rows is none' 'mean of all 1.00 1.00 - -' \
    "$(in_table 'mean of all')"

: > order
bench --rounds 1 --threads 1,2 --bench lifo --vs '' 01-none=a.so 02-some=b.so
equal 'a stage without locks runs with one thread only' '0 lifo 1 a.so' \
    "$status $(grep -F a.so order | xargs)"
contains 'and that is said' '01: no locks: lifo 2' "$(cat output)"
contains 'a mean that leaves a row out is marked' '*' \
    "$(in_table 'mean of all')"

# --- Words ------------------------------------------------------------------

# refuses SENTENCE TEXT OPTION...: that is trouble, with this message.
refuses() {
    sentence=$1 text=$2
    shift 2
    bench "$@"
    contains "$sentence" "2: bench: $text" "$status: $(cat output)"
}
refuses 'an unknown row is refused' 'no row "lift"; there are: lifo' \
    --bench lift
refuses 'an unknown allocator is refused' 'no allocator "hoard"' --vs hoard
refuses 'a library must be there' 'no library ./none.so' --vs ./none.so
refuses 'threads must make sense' 'no row has "3" threads' --threads 3
refuses 'one row at least must remain' 'nothing to measure' --threads 4 \
    --bench realloc_growth
: > 'a b.so'
refuses 'a path must suit LD_PRELOAD' 'LD_PRELOAD allows no space' \
    'x=a b.so' --vs ''

# A peer that is not installed: the pattern of its library is changed.
sed -i 's/libjemalloc.so/libabsent.so/' tests/bench/bench.py
# shellcheck disable=SC2016 # for setup.sh
echo 'echo "make: this needs $2: install it with: apt-get install x"' \
    > common/setup.sh
: > order
bench --rounds 1 --threads 1 --bench lifo --vs jemalloc,glibc
equal 'a peer that is missing does not stop the bench' 0 $status
contains 'how to install it is told' \
    'MISSING   jemalloc: this needs jemalloc: install it with: apt-get' \
    "$(cat output)"

# --- Real runs --------------------------------------------------------------

compile() {
    # shellcheck disable=SC2086 # CC may be several words
    $CC -std=c11 -D_GNU_SOURCE -pthread -O1 -fPIC -fno-builtin "$@" -ldl ||
        exit 2
}
compile -o launch tests/bench/launch.c
compile -o bench_workloads tests/bench/bench_workloads.c
launcher=./launch

# ended SENTENCE EXPECTED MIB COMMAND...: how the launcher says it ended.
ended() {
    sentence=$1 expected=$2 mib=$3
    shift 3
    wanted "$sentence" || return 0
    equal "$sentence" "$expected" \
        "$(./launch 0.7 "$mib" '' said "$@" | cut -d' ' -f2,3)"
}
ended 'an exit status is reported' 'exit 7' 500 sh -c 'exit 7'
# shellcheck disable=SC2016 # for the inner shell
ended 'a signal is reported' 'signal 11' 500 sh -c 'kill -SEGV $$'
ended 'what hangs is ended' 'time 0' 500 sleep 20
ended 'a program that is not there is reported' 'exit 127' 500 ./none
contains '... by its name' './none: No such file' \
    "$(./launch 1 500 '' said ./none > said.by && cat said)"
sentence='what uses too much memory is ended'
wanted "$sentence" && equal "$sentence" 'memory 0' \
    "$(./launch 20 60 '' said python3 -c '
import time
ballast = b"1" * (200 << 20)
time.sleep(60)' | cut -d' ' -f2,3)"
sentence='the memory of the bench is not put under the program'
wanted "$sentence" && equal "$sentence" small "$(python3 -c '
import subprocess
ballast = b"1" * (200 << 20)
line = subprocess.run(["./launch", "5", "500", "", "said", "true"],
                      stdout=subprocess.PIPE, text=True).stdout
print("small" if 0 < int(line.split()[-1]) < 20000 else line)')"

# Mallocs with a fault at the millionth block, on top of the C library's.
cat > faulty.c << 'END'
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>
void *__libc_malloc(size_t size);
void __libc_free(void *p);
void *__libc_calloc(size_t n, size_t size), *__libc_realloc(void *p, size_t n);
static atomic_long calls = BEGIN;
static _Atomic(void *) before;
void *malloc(size_t size)
{
    if (++calls >= 1000000) {
        FAULT;
    }
    void *p = __libc_malloc(size);
    before = p;
    return p;
}
// All in one: a program may be linked with another malloc, as redis-server.
void free(void *p) { __libc_free(p); }
void *calloc(size_t n, size_t size) { return __libc_calloc(n, size); }
void *realloc(void *p, size_t size) { return __libc_realloc(p, size); }
size_t malloc_usable_size(void *p)
{
    return p == NULL ? 0 : (((size_t *)p)[-1] & ~(size_t)7) - sizeof(size_t);
}
END
# faulty NAME FAULT [OPTION...] compiles NAME.so.
faulty() {
    so=$1.so fault=$2
    shift 2
    compile -shared -o "$so" -DFAULT="$fault" -DBEGIN="${begin:-0}" "$@" \
        faulty.c
}
faulty sound ''
faulty crash 'abort()'
faulty hang 'sleep(60); abort()'
faulty refuse 'return NULL'
faulty twice 'return before'
faulty other '' -Dmalloc=other
begin=970000
faulty late 'abort()'
echo 'not a library' > text.so
bench --quick --rounds 1 --threads 1 --bench lifo --slower 1 --least 2 \
    --vs '' sound=sound.so crash=crash.so hang=hang.so refuse=refuse.so \
    twice=twice.so other=other.so text=text.so
equal 'a bench with failures exits 1' 1 $status
# row SENTENCE CONTENDER FAULT FAILED WHY: what the JSON says about lifo.
row() {
    equal "$1" "$3 $4" "$(json "r('lifo', '$2').get('fault')" \
        "r('lifo', '$2').get('failed')")"
    contains "... with the reason ($2)" "$5" \
        "$(json "r('lifo', '$2').get('why')")"
}
row 'a sound malloc is measured' sound None None None
row 'a crash is reported' crash 'signal 6' True ''
row 'a malloc that hangs is over the limit' hang 'over limit' False ''
row 'a malloc that returns NULL has failed' refuse 'exit 1' True \
    'malloc: (nil)'
row 'a block handed out twice is noticed' twice 'exit 1' True \
    'another wrote here'
row 'a library that cannot be preloaded is noticed' text 'not in use' True \
    'cannot be preloaded'
row 'a library without a malloc is noticed' other 'not in use' True \
    'malloc comes from'
contains 'all of them are in the table' \
    ' signal 6 over limit exit 1 exit 1 not in use not in use' \
    "$(in_table 'lifo 1')"
contains 'and left out of the means, which is said' \
    'crash: signal 6: lifo 1' \
    "$(sed -n '/^Left out of the means:/,$p' output)"

# With real programs, the dynamic linker tells whose malloc they call.
if command -v sqlite3 > said; then
    bench --quick --rounds 1 --bench sqlite3 --vs '' sound=sound.so \
        late=late.so other=other.so
    equal 'a program is measured' None \
        "$(json 'r("sqlite3", "sound").get("fault")')"
    equal 'its crash is reported' 'signal 6' \
        "$(json 'r("sqlite3", "late")["fault"]')"
    equal 'a library whose malloc it does not call is noticed' 'not in use' \
        "$(json 'r("sqlite3", "other")["fault"]')"
else
    skip 'a program is measured' 'sqlite3 is not installed'
fi
# A program that brings its own malloc, in the place of sqlite3.
mkdir own
echo 'int main(void) { free(malloc(1)); }' > main.c
compile -DFAULT= -DBEGIN=0 -include stdlib.h -o own/sqlite3 main.c faulty.c
(PATH=$tmp/own:$PATH && bench --quick --rounds 1 --bench sqlite3 --vs '' \
    sound=sound.so)
equal 'a program that does not call the malloc meant is noticed' \
    'not in use not in use' "$(json 'r("sqlite3", "glibc")["fault"]' \
        'r("sqlite3", "sound")["fault"]')"
if command -v redis-server > said; then
    bench --quick --rounds 1 --bench redis --vs '' sound=sound.so late=late.so
    equal 'a server is measured' None \
        "$(json 'r("redis", "sound").get("fault")')"
    equal 'the crash of a server is reported' 'signal 6' \
        "$(json 'r("redis", "late")["fault"]')"
else
    skip 'a server is measured' 'redis-server is not installed'
fi

# --- Resident memory over time ----------------------------------------------

compile -o resident tests/bench/resident.c
# Mallocs that never give memory back, and that always do; and one that only
# runs where the thread is asked for.
cat > maps.c << 'END'
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
void *malloc(size_t size)
{
    size_t *p = mmap(0, size + 16, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    *p = size + 16;
    return p + 2;
}
void free(void *p)
{
    if (p != NULL && GIVES_BACK)
        munmap((size_t *)p - 2, ((size_t *)p)[-2]);
}
void *calloc(size_t n, size_t size) { return malloc(n * size); }
void *realloc(void *p, size_t size)
{
    void *q = malloc(size);
    return p == NULL ? q : memcpy(q, p, size);
}
__attribute__((constructor)) static void start(void)
{
    const char *value = getenv("MM_SCAVENGER");
    if (NEEDS_THREAD && (value == NULL || strcmp(value, "thread") != 0))
        abort();
}
END
compile -shared -o keeps.so -DGIVES_BACK=0 -DNEEDS_THREAD=0 maps.c
compile -shared -o gives.so -DGIVES_BACK=1 -DNEEDS_THREAD=0 maps.c
compile -shared -o needs.so -DGIVES_BACK=1 -DNEEDS_THREAD=1 maps.c

# resident OPTION... measures 4 MiB; rows are in the file rows.
resident() {
    python3 tests/bench/resident.py --launcher ./launch --program ./resident \
        --workloads ./bench_workloads --vs '' --mib 4 --step 1 "$@" \
        > rows 2> output < /dev/null
    status=$?
}
# column NAME prints what it held when all was allocated, when 90 % were freed,
# and at the end, in parts of the first.
column() {
    awk -v name="$1" 'NR == 2 { for (i = 1; $i != name; i++) continue }
        $1 == 20 { all = $i }
        $1 == 20 || $1 == 40 || $1 == 140 {
            printf "%s ", ($i < all / 2 ? "little" :
                $i > all ? "more" : "all") }
        END { print NR }' rows
}
for order in oldest newest random; do
    resident --order $order keeps=keeps.so gives=gives.so x+thread=needs.so
    equal "resident memory is measured, $order first" 0 $status
    equal '... of a malloc that gives all back' 'all little little 142' \
        "$(column gives)"
    equal '... and of one that gives nothing back' 'all all more 142' \
        "$(column keeps)"
    contains '... and of glibc, and with the thread' \
        'step keeps gives x+thread glibc' "$(sed -n 2p rows)"
done
contains 'a table tells the same' 'idle    CPU time' "$(cat output)"
resident needs=needs.so
equal 'only who is called +thread has the variable' 2 $status
contains '... and who fails is named' 'needs: ' "$(cat output)"

totals
