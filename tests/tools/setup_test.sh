#!/bin/sh
# setup_test.sh - tests common/setup.sh without a network and without root.
#
# usage: setup_test.sh [WORDS OF A SENTENCE]
#
# Each case gets a PATH of its own: one directory, with the few programs that
# setup.sh itself uses, and fakes. A fake package manager or sudo only writes
# its arguments to a log; so nothing is ever installed. SETUP is another script
# to test.
set -u
unset CC

root=$(cd "$(dirname "$0")/../.." && pwd) || exit 1
# shellcheck source=tests/tools/cases.sh
. "$root/tests/tools/cases.sh"
setup=${SETUP:-$root/common/setup.sh}
sh=$(command -v sh)
log=$tmp/log

# --- A PATH with only what a case wants -------------------------------------

# bare starts a PATH with only what setup.sh needs to run, for a plain user.
bare() {
    bin=$tmp/bin
    rm -rf "$bin" "$log"
    mkdir "$bin"
    : >"$log"
    real cat awk uname getconf env
    fake id 'echo 1000'
}

# real NAME... lets real programs in. A script calls them: writing a fake over
# a symbolic link would overwrite the program it leads to.
real() {
    for c in "$@"; do
        fake "$c" "exec $(command -v "$c") \"\$@\""
    done
}

# fake NAME COMMANDS puts a script on the PATH.
fake() {
    rm -f "$bin/$1"
    printf '#!%s\n%s\n' "$sh" "$2" >"$bin/$1"
    chmod +x "$bin/$1"
}

# recorder NAME puts a script on the PATH that logs how it was called.
recorder() {
    fake "$1" "echo $1 \"\$@\" >>'$log'; ${2:-}"
}

# root_by NAME is a sudo or doas that logs its call, then runs the command.
root_by() {
    recorder "$1" '"$@"'
}

# required_tools fakes all the required tools, so that none is missing.
required_tools() {
    fake gcc 'echo gcc 12.2'
    for c in make dot diff find sort xz; do
        fake $c "echo $c 1.0"
    done
}

# run ARGUMENTS runs setup.sh; sets out (both streams) and rc.
run() {
    out=$(PATH=$bin "$sh" "$setup" "$@" 2>&1)
    rc=$?
}

# --- The checks -------------------------------------------------------------

# verdict STATUS SENTENCE EXPECTED
verdict() {
    wanted "$2" || return 0
    if [ "$1" = 0 ]; then
        ok "$2"
    else
        not_ok "$2" "$3" "exit $rc
$(printf '%s\n' "$out" | sed 's/^/| /' | head -n 20)
$(sed 's/^/log| /' "$log")"
    fi
}

# exits CODE SENTENCE
exits() {
    [ "$rc" = "$1" ]
    verdict $? "$2" "exit $1"
}

# says TEXT SENTENCE: the output holds TEXT.
says() {
    case $out in *"$1"*) true ;; *) false ;; esac
    verdict $? "$2" "the output holds: $1"
}

# prints TEXT SENTENCE: the output is TEXT and nothing else.
prints() {
    [ "$out" = "$1" ]
    verdict $? "$2" "the output is: ${1:-(nothing)}"
}

# ran LINE SENTENCE: the log holds exactly this line.
ran() {
    grep -qxF -- "$1" "$log"
    verdict $? "$2" "the log holds: $1"
}

# ran_nothing SENTENCE
ran_nothing() {
    [ ! -s "$log" ]
    verdict $? "$1" "an empty log"
}

# --- Usage ------------------------------------------------------------------

bare
run --help
exits 0 "--help succeeds"
says "usage: sh common/setup.sh" "--help shows the usage"
for bad in --frob extra; do
    run $bad
    exits 2 "the unknown option '$bad' exits 2"
    out=$(PATH=$bin "$sh" "$setup" $bad 2>/dev/null)
    prints "" "the usage for '$bad' goes to stderr"
done
run --need
exits 2 "--need without a tool exits 2"

# --- The table --------------------------------------------------------------

# Rows come in pairs of lines: level, name, test, purpose; then four packages.
out=$(sed -n "/^    done <<'END'/,/^END/p" "$setup" | sed '1d;$d' | awk '
    NR % 2 == 1 && !(NF >= 4 && /^(required|optional|rare) /) {
        print "row: " $0
    }
    NR % 2 == 1 && $3 !~ /^(cmd|hdr|lib|font|file|gcc|clang):./ {
        print "test: " $0 }
    NR % 2 == 1 && seen[$2]++ { print "twice: " $0 }
    NR % 2 == 0 && !(NF == 4 && /^    /) { print "packages: " $0 }
    NR % 2 == 0 && $1 == "-" { print "not in Debian: " $0 }
    END { if (NR % 2 || NR < 60) print "lines: " NR }')
rc=0
prints "" "every row of the table has all its columns"

# --- --need -----------------------------------------------------------------

bare
required_tools
recorder apt-get
root_by sudo
run --need gcc dot criterion
exits 0 "--need succeeds when all is here"
prints "" "--need is silent when all is here"
run --need gcc gdb dot valgrind
exits 1 "--need exits 1 when a tool is missing"
says "make: this needs gdb (the debugger): install it with: sudo apt-get" \
    "--need names the tool and its purpose"
says "apt-get install gdb, or: sh common/setup.sh --all" \
    "--need tells both ways to get an optional tool"
[ "$(printf '%s\n' "$out" | wc -l)" = 2 ]
verdict $? "--need prints one line a missing tool" "2 lines"
rm "$bin/dot"
run --need dot
says "apt-get install graphviz, or: sh common/setup.sh" \
    "--need tells the package where it is named otherwise"
sed 's|file:/usr/lib/go-1.19|file:/nowhere|' "$setup" >"$tmp/no_go.sh"
out=$(PATH=$bin "$sh" "$tmp/no_go.sh" --need go 2>&1)
rc=$?
exits 1 "--need exits 1 when a rare tool is missing"
case $out in *"apt-get install golang-1.19-go") true ;; *) false ;; esac
verdict $? "--need does not promise that --all installs a rare tool" \
    "... apt-get install golang-1.19-go, and no more"
run --need gdb frobnicator
exits 2 "--need exits 2 for a name that is not in the table"
says "no tool is called 'frobnicator'" "--need says which name is unknown"
fake gcc 'exit 1'
run --need criterion
exits 1 "a header that the compiler cannot find is missing"
ran_nothing "--need installs nothing"

# --- --check ----------------------------------------------------------------

bare
required_tools
recorder apt-get
run --check
exits 0 "--check succeeds when only optional tools are missing"
says "ok       make          1.0        required" \
    "--check shows state, name, version and level"
says "missing  gdb           -          optional  the debugger" \
    "--check shows what is missing and its purpose"
says "ok       C library     glibc" "--check shows the C library"
says "valgrind strace" "--check tells how to install the optional ones"
rm "$bin/make" "$bin/dot"
run --check
exits 1 "--check fails when a required tool is missing"
says "install make graphviz" "--check tells how to install the required ones"
required_tools
fake uname 'echo Darwin'
run --check
exits 1 "--check fails on another kernel"
says "wrong    kernel        Darwin" "--check says that the kernel is wrong"
ran_nothing "--check installs nothing"

# --- Installing -------------------------------------------------------------

bare
required_tools
recorder apt-get
root_by sudo
run
exits 0 "a second run succeeds"
prints "setup: all 11 required tools are here, nothing to install" \
    "a second run says so in one line"
ran_nothing "a second run needs neither root nor a package manager"

# installs MANAGER CALL: with make and dot missing, a plain user with sudo.
# The fake manager brings both, as a real one does.
bring="cp '$tmp/bin/sort' '$tmp/bin/make'; cp '$tmp/bin/sort' '$tmp/bin/dot'"
installs() {
    bare
    required_tools
    real cp
    rm "$bin/make" "$bin/dot"
    recorder "$1" "$bring"
    root_by sudo
    run
    exits 0 "$1: setting up succeeds"
    ran "$2" "$1: it installs what is missing, asking nothing"
    says "setup: 11 of 11 required tools are here" "$1: it looks again"
}
installs dnf "dnf install -y --setopt=install_weak_deps=False make graphviz"
installs pacman "pacman -S --needed --noconfirm make graphviz"
installs zypper \
    "zypper --non-interactive install --no-recommends make graphviz"
installs apt-get "apt-get install -y --no-install-recommends make graphviz"
ran "apt-get update" "apt-get: it updates the lists first"
ran "sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y\
 --no-install-recommends make graphviz" "apt-get: it goes through sudo"

rm "$bin/make" "$bin/dot"
rm "$bin/sudo"
root_by doas
run
ran "doas apt-get update" "doas serves where there is no sudo"

rm "$bin/make" "$bin/doas"
: >"$log"
run
exits 1 "without root, sudo and doas it fails"
says "As root, run: sh common/setup.sh or: " "it says what to run as root"
says "apt-get install make" "it says which packages root can install"
ran_nothing "without root it does not try"

fake id 'echo 0'
run
exits 0 "root needs no sudo"

rm "$bin/make"
recorder apt-get
run
exits 1 "a manager that installs nothing is noticed"
says "still not found: make" "it names what is not there"
recorder apt-get 'exit 100'
run
exits 1 "a failing install fails"
says "apt-get failed" "a failing install says who failed"
rm "$bin/apt-get"
run
exits 1 "without a package manager it fails"
says "install by hand:" "it says what to install by hand"

bare
required_tools
fake gcc 'exit 1'
recorder dnf
root_by sudo
run
exits 1 "a required tool without a package is a failure"
says "https://github.com/Snaipe/Criterion" "it says where Criterion comes from"
run --need sanitizers
says "dnf install libasan libubsan libtsan, or" \
    "--need names all packages of a tool"

bare
required_tools
root_by sudo
recorder apt-get 'case "$*" in *gdb*) exit 100 ;; esac'
with=$setup setup=$tmp/no_go.sh
run --all
setup=$with
exits 1 "--all fails when a package cannot be had"
ran "apt-get install -y --no-install-recommends strace" \
    "--all then installs the others one at a time"
says "could not install: gdb" "--all names the package that it could not get"
! grep -q golang-1.19-go "$log"
verdict $? "--all leaves out what is rare" "no golang-1.19-go in the log"

fake uname 'echo Darwin'
rm "$bin/make"
recorder brew
run
exits 1 "it refuses another kernel"
says "needs Linux" "it says that the course needs Linux"

totals
