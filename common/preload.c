// preload.c - the standard names, for programs that run under
//     LD_PRELOAD=libmalloc.so program
//
// Everything below is called before constructors ran, in the middle of the
// dynamic linker, while other threads end and after exit began. So it uses no
// stdio, never asks for the address of another malloc, and needs no start-up.
//
// Environment  MM_STATS=FILE  append one line of counters to FILE at exit; a
//                             forked child counts on from its parent's numbers
//              MM_HARDEN=1    notice more misuse (harden.c)
//              MM_SCAVENGER=thread  give memory back in a thread, too

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "check.h"
#include "harden.h"
#include "mm.h"

// Everything else in the library is hidden (-fvisibility=hidden).
#define EXPORT __attribute__((visibility("default")))

// The file named by MM_STATS; "": none. A copy, for programs overwrite the
// strings of their environment to change what ps shows.
static char stats_file[PATH_MAX];

// Where the stack began: there lie argc, argv, and the environment. The dynamic
// linker sets it; getenv may not work yet when malloc is called first.
extern void *__libc_stack_end;

// find_variable returns the value of name (which ends with '='), or "".
static const char *find_variable(const char *name)
{
    char **argv = (char **)__libc_stack_end + 1;
    char **e = argv;
    while (*e != NULL)
        e++;
    size_t length = strlen(name);
    for (e++; *e != NULL; e++)
        if (strncmp(*e, name, length) == 0)
            return *e + length;
    return "";
}

// Whether blocks are hardened: all of a process, or none. So it is decided at
// the first call, which may come before any constructor. If two threads are the
// first at once, both decide the same.
enum { UNDECIDED = 2 };
static _Atomic int hardened = UNDECIDED;

static bool decide(void)
{
    bool on =
        strcmp(find_variable("MM_HARDEN="), "1") == 0 && harden_is_possible();
    atomic_store_explicit(&hardened, on, memory_order_relaxed);
    return on;
}

// is_hardened costs a load and a branch where hardening is off.
static inline bool is_hardened(void)
{
    int state = atomic_load_explicit(&hardened, memory_order_relaxed);
    return __builtin_expect(state, 0) != 0 && (state == 1 || decide());
}

__attribute__((constructor)) static void start(void)
{
    const char *file = find_variable("MM_STATS=");
    size_t length = strlen(file);
    if (length < sizeof stats_file)
        memcpy(stats_file, file, length + 1);
    if (strcmp(find_variable("MM_SCAVENGER="), "thread") == 0)
        mm_start_thread();
    is_hardened(); // decided before the program can use up all memory
}

// write_stats writes all counters in one line, so that the lines of several
// processes do not mix: gcc[4711] mallocs=12 frees=10 ...
static void write_stats(int fd)
{
    struct mm_stats stats;
    struct text t = {0};

    mm_stats(&stats);
    text_string(&t, program_invocation_short_name);
    text_string(&t, "[");
    text_number(&t, (uint64_t)getpid());
    text_string(&t, "]");
    for (size_t i = 0; i < MM_STATS_COUNT; i++) {
        text_string(&t, " ");
        text_string(&t, mm_stats_names[i]);
        text_string(&t, "=");
        text_number(&t, mm_stats_value(&stats, i));
    }
    text_write(&t, fd);
}

// finish leaves the heap alone: other threads may still be running, and blocks
// may be freed after this.
__attribute__((destructor)) static void finish(void)
{
    if (*stats_file == '\0')
        return;
    int fd = open(stats_file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        return;
    write_stats(fd);
    close(fd);
}

// hardened_malloc is apart, or malloc would save registers for it.
static __attribute__((noinline)) void *hardened_malloc(size_t size)
{
    return harden_close(mm_malloc(harden_room(size)), size);
}

EXPORT void *malloc(size_t size)
{
    return is_hardened() ? hardened_malloc(size) : mm_malloc(size);
}

EXPORT void free(void *p)
{
    if (is_hardened())
        harden_free(p);
    else
        mm_free(p);
}

EXPORT void *calloc(size_t n, size_t size)
{
    return is_hardened() ? harden_calloc(n, size) : mm_calloc(n, size);
}

EXPORT void *realloc(void *p, size_t size)
{
    return is_hardened() ? harden_realloc(p, size) : mm_realloc(p, size);
}

EXPORT void *reallocarray(void *p, size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes)) {
        errno = ENOMEM;
        return NULL;
    }
    return realloc(p, bytes);
}

// room and closed are harden_room and harden_close, or nothing.
static size_t room(size_t size)
{
    return is_hardened() ? harden_room(size) : size;
}

static void *closed(void *p, size_t size)
{
    return is_hardened() ? harden_close(p, size) : p;
}

EXPORT void *aligned_alloc(size_t align, size_t size)
{
    return closed(mm_aligned_alloc(align, room(size)), size);
}

EXPORT void *memalign(size_t align, size_t size)
{
    return closed(mm_memalign(align, room(size)), size);
}

EXPORT int posix_memalign(void **out, size_t align, size_t size)
{
    int error = mm_posix_memalign(out, align, room(size));
    if (error == 0)
        closed(*out, size);
    return error;
}

static void *allocate_on_page(size_t size)
{
    return closed(mm_valloc(room(size)), size);
}

EXPORT void *valloc(size_t size)
{
    return allocate_on_page(size);
}

EXPORT void *pvalloc(size_t size)
{
    // Not mm_pvalloc: a hardened block must have room behind its last page.
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (size > PTRDIFF_MAX) {
        errno = ENOMEM;
        return NULL;
    }
    return allocate_on_page(round_up(size + (size == 0), page));
}

EXPORT size_t malloc_usable_size(void *p)
{
    if (is_hardened())
        return p == NULL ? 0 : harden_size(p, "malloc_usable_size");
    return mm_usable_size(p);
}

// C23. The size is a promise of the caller; only MM_HARDEN=1 checks it.
EXPORT void free_sized(void *p, size_t size)
{
    if (is_hardened() && p != NULL) {
        size_t actual = harden_size(p, "free_sized");
        if (actual != size)
            mm_misuse("free_sized", p, "not the size it was asked for with", p,
                      actual);
    }
    free(p);
}

EXPORT void free_aligned_sized(void *p, size_t align, size_t size)
{
    (void)align;
    free_sized(p, size);
}

EXPORT int malloc_trim(size_t pad)
{
    return mm_release(pad);
}

EXPORT void malloc_stats(void)
{
    write_stats(STDERR_FILENO);
}

EXPORT struct mallinfo2 mallinfo2(void)
{
    struct mm_stats stats;
    mm_stats(&stats);
    return (struct mallinfo2){
        .arena = stats.bytes_from_os,
        .uordblks = stats.bytes_in_use,
        .fordblks = stats.bytes_from_os - stats.bytes_in_use,
    };
}
