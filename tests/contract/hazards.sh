#!/bin/sh
# hazards.sh - what a malloc meets in real programs, under LD_PRELOAD.
#
# First and last calls, threads, fork, limits, other users of the memory: each
# case is a run of a small program in programs/.
#
# Environment, $1: see programs/run_programs.sh

# shellcheck disable=SC1091,SC2034,SC2154 # run_programs.sh and its variables
suite=contract/hazards
. tests/contract/programs/run_programs.sh

# The first stage with a lock, and the first that frees.
first_with_threads=2
first_that_frees=2

compile threads threads.c
compile processes processes.c
compile memory memory.c
compile plugin.so plugin.c -shared -fPIC
compile plugin_host plugin_host.c
compile libearly.so early_late_library.c -shared -fPIC
compile libearlier.so early_late_library.c -shared -fPIC -Wl,-z,initfirst
compile early_late early_late.c "$programs/libearly.so"
compile earlier_late early_late.c "$programs/libearlier.so"
threads=$programs/threads processes=$programs/processes memory=$programs/memory
host=$programs/plugin_host plugin=$programs/plugin.so

# ---- start and end

hardened_too early_late 'malloc works before main, free after it' \
    "$programs/early_late"
hardened_too earlier_late \
    'malloc works before the constructors of its own library' \
    "$programs/earlier_late"

# ---- threads

if from $first_with_threads; then
    hardened_too first_calls_at_once 'first calls of threads come at once' \
        "$threads" first_calls_at_once
    hardened_too key_destructors \
        'destructors of thread-specific data allocate, three rounds' \
        "$threads" key_destructors
    holds many_threads '20,000 threads leave at most 1 MiB behind' \
        "$threads" many_threads
    hardened_too smallest_stack 'the smallest stack of a thread is enough' \
        "$threads" smallest_stack
    hardened_too first_thread_ends 'the first thread may end before others' \
        "$threads" first_thread_ends
    hardened_too freed_by_another 'a block outlives its thread' \
        "$threads" freed_by_another
    hardened_too thread_local_objects \
        'destructors of thread-local objects allocate, and make more objects' \
        "$threads" thread_local_objects
    hardened_too many_keys \
        'keys of threads were taken before the first malloc' \
        "$threads" many_keys
    hardened_too no_keys 'all keys were taken before the first malloc' \
        "$threads" no_keys
    hardened_too opened_in_thread \
        'a library that allocates is opened, used and closed by threads' \
        "$threads" opened_in_thread "$programs/libearly.so"

    # ---- fork and its relatives

    hardened_too fork_handlers \
        'handlers of fork may allocate, and the child, and its threads' \
        "$processes" fork_handlers
    hardened_too threads_in_child 'a child may start threads, and fork' \
        "$processes" threads_in_child
    hardened_too vfork_and_exec 'vfork and exec, while others allocate' \
        "$processes" vfork_and_exec
    hardened_too spawn 'posix_spawn, while others allocate' \
        "$processes" spawn
    hardened_too exit_while_others_allocate 'exit, while others allocate' \
        "$processes" exit_while_others_allocate
else
    echo 'This stage has no lock: programs with threads are out of its reach.'
fi
hardened_too fork_in_signal_handler \
    'fork in a signal handler, in the middle of malloc' \
    "$processes" fork_in_signal_handler

# ---- memory

hardened_too others_move_the_break \
    'others move the break, by odd numbers, and keep what is theirs' \
    "$memory" others_move_the_break
for mib in 64 256; do
    hardened_too starts_in_little_memory "a program starts with $mib MiB" \
        "$memory" starts_in_${mib}_mib
done

# in_64_mib LINE COMMAND...: it prints the line with so few addresses, too.
in_64_mib() {
    line=$1
    shift
    if ! command -v "$1" >/dev/null; then
        skip real_programs_in_64_mib "$1 works with 64 MiB" "there is no $1"
        return
    fi
    wanted real_programs_in_64_mib || return 0
    rm -f "$tmp/stats"
    # shellcheck disable=SC3045 # dash and bash have ulimit -v
    (
        ulimit -v 65536
        guarded env LD_PRELOAD="$LIBRARY" MM_STATS="$tmp/stats" \
            PYTHONMALLOC=malloc "$@"
        echo "$outcome" >"$tmp/outcome"
    )
    outcome=$(cat "$tmp/outcome")
    expect_success
    [ -n "$wrong" ] || [ "$(cat "$tmp/out")" = "$line" ] ||
        wrong "$line" "$(cat "$tmp/out")"
    verdict real_programs_in_64_mib "$1 works with 64 MiB"
}

in_64_mib hazards.sh sed -n '2s/.* \(.*sh\) - .*/\1/p' \
    tests/contract/hazards.sh
in_64_mib 8890 awk 'BEGIN {
    for (i = 0; i < 2000; i++)
        text[i] = "number " i
    for (i = 0; i < 2000; i++)
        sum += length(text[i]) - 6
    print sum }'
in_64_mib 38890 python3 -c 'print(sum([len(str(i)) for i in range(10000)]))'
if from $first_that_frees; then
    holds data_limit 'memory that ran out can be freed and used again' \
        "$memory" data_limit
    holds address_limit '... and so can addresses' "$memory" address_limit
    holds windows_show_frees 'mallinfo2 shows blocks come and go' \
        "$memory" windows_show_frees
fi


# ---- statistics

# windows NAME SENTENCE [NAME=VALUE]: malloc_stats writes one line of counters.
windows() {
    wanted "$1" || return 0
    name=$1 sentence=$2
    shift 2
    run "$@" "$memory" windows
    line=$(sed 's/\[[0-9]*\]/[N]/' "$tmp/err")
    case $outcome:$line in
    'exit 0:memory[N] mallocs='[1-9]*) [ "$(wc -l <"$tmp/err")" -eq 1 ] ;;
    *) false ;;
    esac || wrong 'exit 0: memory[N] mallocs=..., one line' "$outcome: $line"
    verdict "$name" "$sentence"
}

windows windows 'malloc_stats, mallinfo2 and malloc_trim can be called'
windows no_such_directory 'MM_STATS may name a file that cannot be made' \
    MM_STATS=/nothing/stats
windows stats_is_directory 'MM_STATS may name a directory' MM_STATS="$tmp"
windows stats_is_empty 'MM_STATS may be empty' MM_STATS=

# The descriptors of stdin, stdout and stderr may be those of other files.
for harden in 0 1; do
    wanted closed_files || continue
    rm -f "$tmp/stats.own"
    run MM_HARDEN=$harden "$memory" closed_files
    expect_success
    own=$(cat "$tmp/stats.own" 2>&1)
    [ "$own" = own ] || wrong 'a file with one line: own' "$own"
    verdict closed_files "without stdin, stdout and stderr nothing is written\
 elsewhere, MM_HARDEN=$harden"
done

# The dynamic linker can preload without a variable.
sentence='the environment may be empty'
loader=$(readelf -l "$memory" 2>/dev/null |
    sed -n 's/.*interpreter: \(.*\)]/\1/p')
if [ ! -x "$loader" ] || ! "$loader" --help | grep -q -e --preload; then
    skip empty_environment "$sentence" 'no dynamic linker with --preload'
elif wanted empty_environment; then
    guarded env -i "$loader" --preload "$LIBRARY" "$memory" empty_environment
    line=$(cat "$tmp/err")
    case $outcome:$line in
    'exit 0:memory['*'] mallocs='[1-9]*) ;;
    *) wrong 'exit 0: memory[N] mallocs=...' "$outcome: $line" ;;
    esac
    verdict empty_environment "$sentence"
fi

if wanted environment_overwritten; then
    mkdir "$tmp/empty"
    root=$PWD
    cd "$tmp/empty" || exit 1
    run "$memory" environment_overwritten
    cd "$root" || exit 1
    expect_success
    files=$(ls "$tmp/empty")
    [ -z "$files" ] || wrong 'no file with another name' "$files"
    verdict environment_overwritten \
        'statistics go to the right file, if the environment was overwritten'
fi

# ---- libraries with another malloc: RTLD_DEEPBIND

hardened_too opened_often 'libraries are opened and closed' \
    "$host" opened_often "$plugin"
hardened_too each_its_own \
    'a plug-in with the malloc of the C library grows in the same memory' \
    "$host" each_its_own "$plugin"

# aborts NAME SENTENCE MESSAGE: the host is stopped, with that on stderr.
aborts() {
    wanted "$1" || return 0
    for harden in 0 1; do
        wrong=
        run MM_HARDEN=$harden "$host" "$1" "$plugin"
        line=$(cat "$tmp/err")
        # shellcheck disable=SC2254 # a pattern
        case $outcome:$line in
        SIGABRT:$3) ;;
        *) wrong "SIGABRT:$3" "$outcome:$line" ;;
        esac
        verdict "$1" "$2, MM_HARDEN=$harden"
    done
}

if from $first_that_frees; then
    aborts frees_of_plugin 'a program that frees a block of it is stopped' \
        'mm: free(0x*): not a block of this allocator'
    aborts frees_of_plugin_between '... also if it lies among our blocks' \
        'mm: free(0x*): no*block*'
    # The C library finds a block of ours wrong, and says so.
    for size in small medium large; do
        aborts plugin_frees_$size \
            "a plug-in that frees a $size block of ours is stopped" '*[a-z]*'
    done
fi

# ---- the library itself

# is NAME SENTENCE EXPECTED ACTUAL
is() {
    wanted "$1" || return 0
    [ "$3" = "$4" ] || wrong "$3" "$4"
    verdict "$1" "$2"
}

is exports 'the library exports the malloc family and nothing else' \
    'aligned_alloc calloc free free_aligned_sized free_sized mallinfo2 malloc '\
'malloc_stats malloc_trim malloc_usable_size memalign posix_memalign pvalloc '\
'realloc reallocarray valloc ' \
    "$(nm -D --defined-only "$LIBRARY" | awk '{ print $3 }' | sort |
        tr '\n' ' ')"
# Each of these allocates, takes locks, or needs a start-up of its own.
is imports 'the library calls nothing that may call malloc' '' \
    "$(nm -D --undefined-only "$LIBRARY" | awk '{ print $2 }' |
        grep -E '^(dlsym|dlopen|getenv|setenv|atexit|pthread_once|.*printf|'\
'fopen|fwrite|puts|perror|str(n)?dup|malloc|calloc|realloc|free|'\
'__tls_get_addr)(@|$)')"
is flags 'the library is initialised first, and never unloaded' \
    'INITFIRST NODELETE ' \
    "$(readelf -dW "$LIBRARY" | sed -n 's/.*(FLAGS_1).*Flags: //p' |
        tr ' ' '\n' | sort | tr '\n' ' ')"

# calls NAME SENTENCE: between two marks, the program makes only these system
# calls; a sandbox can allow them by name.
allowed='brk futex madvise mmap mprotect mremap munmap write'
calls() {
    if ! strace -o /dev/null true 2>/dev/null; then
        skip "$1" "$2" 'strace is missing, or may not be used'
        return
    fi
    wanted "$1" || return 0
    rm -f "$tmp/stats"
    guarded strace -f -qq -o "$tmp/trace" -E LD_PRELOAD="$LIBRARY" \
        -E MM_STATS="$tmp/stats" "$memory" "$1"
    expect_success
    names=$(awk '
        { sub(/^[0-9]+ +/, "") }
        /^getppid\(/ { marks++; next }
        marks == 1 && /^[a-z_0-9]+\(/ { sub(/\(.*/, ""); print }
        END { print marks " marks" }' "$tmp/trace" | sort -u | tr '\n' ' ')
    for call in $names; do
        case " $allowed 2 marks " in *" $call "*) ;; *)
            wrong "only $allowed" "$names"
            ;;
        esac
    done
    case " $names " in *' brk '* | *' mmap '*) ;; *)
        wrong 'brk or mmap' "$names"
        ;;
    esac
    verdict "$1" "$2"
}

calls system_calls 'malloc makes only a few system calls'
if from $first_with_threads; then
    calls system_calls_of_threads 'malloc makes only a few, in threads, too'
fi

finish
