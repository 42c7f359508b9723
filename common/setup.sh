#!/bin/sh
# setup.sh - install what the course needs, or tell what is missing.
#
#   sh common/setup.sh               install what is required
#   sh common/setup.sh --all         install the optional tools too
#   sh common/setup.sh --check       list all tools, install nothing
#   sh common/setup.sh --need T ...  say which of the tools T are missing
#   sh common/setup.sh --help        explain all that
#
# It is plain POSIX sh, because a bare machine has nothing else. It asks no
# questions, installs only what is missing, and needs neither root nor a
# network when nothing is.
set -u
LC_ALL=C
export LC_ALL

# each_tool FUNCTION calls FUNCTION once a tool, with the row in variables:
#
#   level  name      test              purpose
#          apt                dnf                pacman          zypper
#
# A level is required, optional for what --all installs too, or rare for what
# is large and needed for one command only, and installed by hand.
# A test is cmd:COMMAND, hdr:HEADER, lib:LIBRARY, font:FILE, file:PATH, or
# gcc:LIBRARY and clang:LIBRARY for what the compiler brings along itself.
# A package is "-" where the distribution has none (else_how says what to do
# then); a comma joins two packages. FUNCTION must not read standard input.
each_tool() {
    while read -r level name test purpose &&
          read -r apt dnf pacman zypper; do
        "$1"
    done <<'END'
required gcc         cmd:gcc           compiles the stages and the tests
    gcc                gcc                gcc             gcc
required libc        hdr:stdlib.h      C headers
    libc6-dev          glibc-devel        glibc           glibc-devel
required make        cmd:make          runs everything: make tour, make test
    make               make               make            make
required criterion   hdr:criterion/criterion.h  runs the tests
    libcriterion-dev   -                  criterion       libcriterion-devel
required dot         cmd:dot           draws the pictures (Graphviz)
    graphviz           graphviz           graphviz        graphviz
required font        font:DejaVuSans.ttf  the font of the pictures
    fonts-dejavu-core  dejavu-sans-fonts  ttf-dejavu      dejavu-fonts
required awk         cmd:awk           tables and reports
    mawk               gawk               gawk            gawk
required diff        cmd:diff          compares stages: make diff-02
    diffutils          diffutils          diffutils       diffutils
required find        cmd:find          walks the tree
    findutils          findutils          findutils       findutils
required sort        cmd:sort          sorts, for make tour
    coreutils          coreutils          coreutils       coreutils
required xz          cmd:xz            unpacks recorded results: make replay
    xz-utils           xz                 xz              xz
optional bash        cmd:bash          a real program to run on a stage
    bash               bash               bash            bash
optional sed         cmd:sed           a real program to run on a stage
    sed                sed                sed             sed
optional grep        cmd:grep          a real program to run on a stage
    grep               grep               grep            grep
optional gawk        cmd:gawk          a real program to run on a stage
    gawk               gawk               gawk            gawk
optional tar         cmd:tar           a real program to run on a stage
    tar                tar                tar             tar
optional git         cmd:git           make carry, and a program to run
    git                git                git             git
optional curl        cmd:curl          a real program to run on a stage
    curl               curl               curl            curl
optional perl        cmd:perl          a real program to run on a stage
    perl               perl               perl            perl
optional python3     cmd:python3       a real program to run on a stage
    python3            python3            python          python3
optional ruby        cmd:ruby          a real program to run on a stage
    ruby               ruby               ruby            ruby
optional sqlite3     cmd:sqlite3       a real program to run on a stage
    sqlite3            sqlite             sqlite          sqlite3
optional redis       cmd:redis-server  a real server to run on a stage
    redis-server       redis              redis           redis
optional g++         cmd:g++           tests new and delete on a stage
    g++                gcc-c++            gcc             gcc-c++
optional sanitizers  gcc:libtsan.so    asan, ubsan and tsan with gcc
    gcc                libasan,libubsan,libtsan  gcc      gcc
optional clang       cmd:clang         the second compiler: make CC=clang
    clang              clang              clang           clang
optional fuzzer      clang:fuzzer      fuzzing and sanitizers with clang
    libclang-rt-dev    compiler-rt        compiler-rt     clang
optional llvm        cmd:llvm-symbolizer  names and lines in clang's reports
    llvm               llvm               llvm            llvm
optional gdb         cmd:gdb           the debugger
    gdb                gdb                gdb             gdb
optional objdump     cmd:objdump       shows instructions: make fastpath-08
    binutils           binutils           binutils        binutils
optional valgrind    cmd:valgrind      finds wrong memory accesses
    valgrind           valgrind           valgrind        valgrind
optional strace      cmd:strace        shows system calls, makes them fail
    strace             strace             strace          strace
optional gnuplot     cmd:gnuplot       draws the charts
    gnuplot-nox        gnuplot            gnuplot         gnuplot
optional jemalloc    lib:libjemalloc   an allocator to compare with
    libjemalloc2       jemalloc           jemalloc        libjemalloc2
optional tcmalloc    lib:libtcmalloc_minimal  an allocator to compare with
    libtcmalloc-minimal4  gperftools-libs  gperftools     libtcmalloc_minimal4
optional mimalloc    lib:libmimalloc   an allocator to compare with
    libmimalloc2.0     mimalloc           mimalloc        libmimalloc2
optional go-source   file:/usr/share/go-1.19/src/runtime  the model of the code
    golang-1.19-src    -                  -               -
optional clang-format  cmd:clang-format  checks the layout of the code
    clang-format       clang-tools-extra  clang           clang-tools
optional clang-tidy  cmd:clang-tidy    searches the code for mistakes
    clang-tidy         clang-tools-extra  clang           clang-tools
optional cppcheck    cmd:cppcheck      searches the code for mistakes
    cppcheck           cppcheck           cppcheck        cppcheck
optional shellcheck  cmd:shellcheck    searches shell scripts for mistakes
    shellcheck         ShellCheck         shellcheck      ShellCheck
optional spin        cmd:spin          tries every order of steps: make model
    spin               -                  -               -
rare     go          file:/usr/lib/go-1.19/bin/go  records results: make vectors
    golang-1.19-go     -                  -               -
END
}

usage() {
    cat <<'END'
usage: sh common/setup.sh [--all | --check | --need TOOL... | --help]

  (nothing)     install the required tools that are missing
  --all         install the optional tools too, but not the rare ones
  --check       list every tool: version, purpose, how to install it;
                exit 1 if a required one is missing
  --need TOOL   say nothing if all TOOLs are here; else say how to install
                them and exit 1
  --help        print this
END
}

# --- What is here -----------------------------------------------------------

# present is true if the tool of this row is here. It sets found to the file,
# if the test was for a file.
present() {
    found=
    what=${test#*:}
    case $test in
    cmd:*)   command -v "$what" >/dev/null ;;
    hdr:*)   has_header "$what" ;;
    lib:*)   exists /lib/"$what".so* /lib/*/"$what".so* \
                 /usr/lib/"$what".so* /usr/lib/*/"$what".so* \
                 /usr/lib64/"$what".so* /usr/local/lib*/"$what".so* ;;
    font:*)  exists /usr/share/fonts/*/"$what" /usr/share/fonts/*/*/"$what" \
                 /usr/local/share/fonts/*/"$what" ;;
    file:*)  exists "$what" ;;
    gcc:*)   exists "$(gcc -print-file-name="$what" 2>/dev/null)" ;;
    clang:*) dir=$(clang -print-resource-dir 2>/dev/null)
             exists "$dir"/lib/*/*."$what"* ;;
    esac
}

# exists FILE... sets found to the last FILE that exists.
exists() {
    for f in "$@"; do
        [ -e "$f" ] && found=$f
    done
    [ -n "$found" ]
}

# has_header HEADER asks the compiler, which knows where it looks. Without a
# compiler it looks in the usual places.
has_header() {
    for cc in "${CC:-}" cc gcc clang; do
        command -v "${cc%% *}" >/dev/null || continue
        echo "#include <$1>" | ${cc%% *} -E - >/dev/null 2>&1
        return
    done
    exists /usr/include/"$1" /usr/include/*/"$1" /usr/local/include/"$1"
}

# version prints what looks like a version number in the tool's own words, and
# for a library the end of its file name.
version() {
    case $test in
    cmd:dot)         dot -V ;;
    cmd:awk)         awk -W version ;;
    cmd:spin)        spin -V ;;
    cmd:*)           "$what" --version ;;
    hdr:criterion/*) pkg-config --modversion criterion ;;
    hdr:stdlib.h)    getconf GNU_LIBC_VERSION ;;
    lib:*)           echo "so.${found##*.so.}" ;;
    esac </dev/null 2>&1 |
        awk 'match($0, /(so|[0-9]+)\.[0-9][0-9a-z.]*/) {
                 print substr($0, RSTART, RLENGTH)
                 exit
             }'
}

# --- How to install ---------------------------------------------------------

# find_manager sets manager to the package manager, or to nothing.
find_manager() {
    for manager in apt-get dnf zypper pacman ''; do
        command -v "$manager" >/dev/null && return
    done
}

# find_root sets root to the command that runs another one as root, and
# may_install to "no" if there is none.
find_root() {
    root='' may_install=yes
    [ "$(id -u)" = 0 ] && return
    for root in sudo doas ''; do
        command -v "$root" >/dev/null && return
    done
    may_install=no
}

# packages_of_row sets row_packages to what brings the tool of this row, with
# spaces between.
packages_of_row() {
    case $manager in
    apt-get) row_packages=$apt ;;
    dnf)     row_packages=$dnf ;;
    pacman)  row_packages=$pacman ;;
    zypper)  row_packages=$zypper ;;
    *)       row_packages=- ;;
    esac
    IFS=,
    # shellcheck disable=SC2086 # words
    set -- $row_packages
    unset IFS
    row_packages=$*
}

# survey LEVEL looks for every tool of LEVEL. It sets
#   here        how many are here, and total, of how many
#   missing     the names of those that a package brings
#   packages    these packages, each once
#   unpackaged  the names of those that no package of this system brings
survey() {
    wanted=$1 here=0 total=0 missing='' packages='' unpackaged=''
    each_tool survey_row
}

survey_row() {
    [ "$level" = "$wanted" ] || return 0
    total=$((total + 1))
    if present; then
        here=$((here + 1))
        return
    fi
    packages_of_row
    if [ "$row_packages" = - ]; then
        unpackaged="$unpackaged $name"
        return
    fi
    missing="$missing $name"
    for p in $row_packages; do
        case " $packages " in
        *" $p "*) ;;
        *) packages="${packages:+$packages }$p" ;;
        esac
    done
}

# install_line PACKAGES prints the command that a person would type.
install_line() {
    run=${root:+$root }
    case $manager in
    apt-get)
        line="${run}apt-get install $1"
        exists /var/lib/apt/lists/*Packages* ||
            line="${run}apt-get update && $line" ;;
    pacman) line="${run}pacman -S $1" ;;
    *)      line="$run$manager install $1" ;;
    esac
    [ $may_install = yes ] || line="$line   (as root)"
    echo "$line"
}

# install PACKAGE... runs that command, without questions and without the
# packages that are only recommended.
install() {
    case $manager in
    apt-get) $root env DEBIAN_FRONTEND=noninteractive \
                 apt-get install -y --no-install-recommends "$@" ;;
    dnf)     $root dnf install -y --setopt=install_weak_deps=False "$@" ;;
    pacman)  $root pacman -S --needed --noconfirm "$@" ;;
    zypper)  $root zypper --non-interactive install --no-recommends "$@" ;;
    esac </dev/null
}

# else_how NAME says how to get a tool that has no package here.
else_how() {
    case $1 in
    criterion) echo 'build it: https://github.com/Snaipe/Criterion' ;;
    spin)      echo 'build it: https://github.com/nimble-code/Spin' ;;
    go-source) echo 'unpack https://go.dev/dl 1.19 to /usr/share/go-1.19' ;;
    go)        echo 'unpack https://go.dev/dl 1.19 to /usr/lib/go-1.19' ;;
    *)         echo "use this system's own package manager" ;;
    esac
}

say() {
    echo "setup: $*"
}

fail() {
    say "$@" >&2
    exit 1
}

# --- The four commands ------------------------------------------------------

# setup LEVEL installs what is missing of this level, and looks again.
setup() {
    [ "$(uname -s)" = Linux ] ||
        fail "the course needs Linux and this is $(uname -s):" \
            "open it in the container that .devcontainer/ describes"
    survey "$1"
    if [ -z "$packages$unpackaged" ]; then
        say "all $total $1 tools are here, nothing to install"
        return
    fi
    [ -n "$manager" ] ||
        fail "no apt-get, dnf, zypper or pacman; install by hand:$unpackaged"
    for n in $unpackaged; do
        say "$n has no package here: $(else_how "$n")"
    done
    if [ -n "$packages" ]; then
        # shellcheck disable=SC2086 # packages is a list of words
        install_all "$1" $packages
        survey "$1"
    fi
    [ -z "$missing" ] || fail "installed, but still not found:$missing"
    [ "$1" = optional ] || [ -z "$unpackaged" ] ||
        fail "get what has no package first:$unpackaged"
    say "$here of $total $1 tools are here"
}

# install_all LEVEL PACKAGE... stops the script if it cannot install them.
# One package that does not exist makes a package manager refuse all; so the
# optional ones are tried again one at a time, to get as many as there are.
install_all() {
    of_level=$1
    shift
    all=
    [ "$of_level" = required ] || all=' --all'
    [ $may_install = yes ] ||
        fail "only root can install, and there is no sudo and no doas." \
            "As root, run: sh common/setup.sh$all" \
            "or: $(may_install=yes && install_line "$*")"
    say "running ${root:+$root }$manager to install:" "$@"
    [ "$manager" != apt-get ] || $root apt-get update </dev/null ||
        say "apt-get update failed; trying with the lists of before" >&2
    install "$@" && return
    [ "$of_level" = optional ] ||
        fail "$manager failed, its message is above (no network?" \
            "old package lists?); not installed:" "$@"
    refused=''
    for p in "$@"; do
        install "$p" || refused="$refused $p"
    done
    [ -z "$refused" ] || fail "$manager could not install:$refused"
}

# check prints a line for each fact and tool. It is true if the machine is fit
# for the course and all required tools are here.
check() {
    check_platform
    each_tool check_row
    echo
    for l in required optional rare; do
        survey "$l"
        line="$l: $here of $total are here"
        [ -z "$packages" ] ||
            line="$line; install the others: $(install_line "$packages")"
        echo "$line"
        for n in $unpackaged; do
            echo "$l: $n has no package here: $(else_how "$n")"
        done
        [ $l != required ] || [ "$here" = "$total" ] || fit=no
    done
    [ $fit = yes ]
}

check_line() {
    printf '%-8s %-13s %-10s %-9s %s\n' "$@"
}

check_row() {
    if present; then
        v=$(version)
        check_line ok "$name" "${v:--}" "$level" "$purpose"
    else
        check_line missing "$name" - "$level" "$purpose"
    fi
}

# check_platform prints what no package can change and sets fit.
check_platform() {
    fit=yes
    libc=$(getconf GNU_LIBC_VERSION 2>/dev/null) || libc='another libc'
    case $(uname -s) in Linux) r=ok ;; *) r=wrong ;; esac
    fact $r kernel "$(uname -s)" 'must be Linux'
    case $(uname -m) in x86_64 | aarch64 | arm64) r=ok ;; *) r=wrong ;; esac
    fact $r processor "$(uname -m)" 'must be x86-64 or arm64'
    case $libc in glibc*) r=ok ;; *) r=wrong ;; esac
    fact $r 'C library' "$libc" 'must be glibc'
}

fact() {
    check_line "$1" "$2" "$3" required "$4"
    [ "$1" = ok ] || fit=no
}

# need NAME... is true, and silent, if all these tools are here.
need() {
    all_here=yes
    for tool in "$@"; do
        known=no
        each_tool need_row
        if [ $known = no ]; then
            say "no tool is called '$tool'; 'make doctor' lists them" >&2
            exit 2
        fi
    done
    [ $all_here = yes ]
}

need_row() {
    [ "$name" = "$tool" ] || return 0
    known=yes
    present && return
    all_here=no
    packages_of_row
    if [ "$row_packages" = - ]; then
        how=$(else_how "$name")
    else
        how="install it with: $(install_line "$row_packages")"
        case $level in
        required) how="$how, or: sh common/setup.sh" ;;
        optional) how="$how, or: sh common/setup.sh --all" ;;
        esac
    fi
    echo "make: this needs $name ($purpose): $how" >&2
}

find_manager
find_root
case $#:${1-} in
0:)       setup required ;;
1:--all)  setup required && setup optional ;;
1:--check) check ;;
1:--help | 1:-h) usage ;;
1:--need) usage >&2; exit 2 ;;
*:--need) shift; need "$@" ;;
*)        usage >&2; exit 2 ;;
esac
