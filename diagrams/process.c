// process.c - draws the memory of a running process: of itself.
//
// It has allocated through a stage and started a thread. What it draws comes
// from /proc/self/maps: which areas there are, in which order, what may be done
// with them, and what of this program lies in them. Left out is what differs
// from run to run and from machine to machine: addresses, sizes, how many
// libraries there are, and the areas of the kernel.
//
// usage: process > process.dot

#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mm.h"

enum kind {
    TEXT,
    DATA,
    BSS,
    HEAP,
    FILES,
    GUARD,
    THREAD_STACK,
    MAIN_STACK,
    KINDS,
    OTHER = KINDS // not drawn
};

static const struct {
    const char *name, *fill;
    int height;
} looks[KINDS] = {
    [TEXT] = {"text", "#e6dcc6", 30},
    [DATA] = {"data", "#f7cdb4", 30},
    [BSS] = {"bss", "#fbe3d4", 30},
    [HEAP] = {"heap", "#d3d6ef", 30},
    [FILES] = {"mapped files", "#c4e6e3", 30},
    [GUARD] = {"guard page", "#d5d9df", 20},
    [THREAD_STACK] = {"stack of the thread &darr;", "#f7e3a1", 30},
    [MAIN_STACK] = {"stack of main", "#f2cf70", 30},
};

// A line of /proc/self/maps.
struct area {
    enum kind kind;
    uintptr_t start, end;
    char access[8]; // rwx, as far as allowed
    char file[200]; // or a name in brackets; empty: neither
};
enum { MAX_AREAS = 500 };
static struct area areas[MAX_AREAS];
static int area_count;

// What the program looks for.
int main(void);
static int with_value = 1;
static int without_value;
static void *block;
static int *local_of_main, *local_of_thread;

// Where the linker put the end of each part of the program: see end(3).
extern char edata[], end[];

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "process: %s\n", what);
    exit(1);
}

static bool contains(const struct area *a, const void *p)
{
    return a->start <= (uintptr_t)p && (uintptr_t)p < a->end;
}

// ---------------------------------------------------------------------------
// Areas.

// add_area stores an area; two of a kind in a row are one, with the access of
// that which allows more.
static void add_area(const struct area *area, enum kind kind, uintptr_t first,
                     uintptr_t after)
{
    struct area *last = area_count > 0 ? &areas[area_count - 1] : NULL;
    if (last != NULL && last->kind == kind) {
        last->end = after;
        if (strlen(last->access) < strlen(area->access))
            memcpy(last->access, area->access, sizeof last->access);
        return;
    }
    if (area_count == MAX_AREAS)
        fail("too many areas");
    areas[area_count] = *area;
    areas[area_count].kind = kind;
    areas[area_count].start = first;
    areas[area_count++].end = after;
}

// kind_of tells what an area is, by what lies in it.
static enum kind kind_of(const struct area *a, const char *program)
{
    if (contains(a, block))
        return HEAP;
    if (contains(a, local_of_main))
        return MAIN_STACK;
    if (contains(a, local_of_thread))
        return THREAD_STACK;
    if (strcmp(a->file, program) == 0)
        return strchr(a->access, 'w') != NULL ? DATA : TEXT;
    if (a->file[0] == '/')
        return FILES;
    if (a->access[0] == '\0' && a->file[0] == '\0')
        return GUARD;
    return OTHER;
}

// read_maps stores all areas that are drawn, by rising address.
static void read_maps(void)
{
    static char text[1 << 16];
    size_t length = 0;
    ssize_t n;
    int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    while ((n = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)n;
    close(fd);
    if (n < 0 || length == 0)
        fail("/proc/self/maps cannot be read");

    char program[200] = "";
    if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
        fail("/proc/self/exe cannot be read");

    struct area guard = {.kind = OTHER};
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        struct area a = {.kind = OTHER};
        char access[8];
        if (sscanf(line, "%lx-%lx %4s %*s %*s %*s %199s", &a.start, &a.end,
                   access, a.file) < 3)
            fail("/proc/self/maps is not as expected");
        size_t count = 0;
        for (const char *c = access; *c != '\0'; c++)
            if (strchr("rwx", *c) != NULL)
                a.access[count++] = *c;

        enum kind kind = kind_of(&a, program);
        if (kind == GUARD)
            guard = a; // drawn if a stack follows
        if (kind == THREAD_STACK && guard.end == a.start)
            add_area(&guard, GUARD, guard.start, guard.end);
        if (kind == DATA) {
            // Both are in one mapping, or bss goes on in the next.
            add_area(&a, DATA, a.start, (uintptr_t)edata);
            add_area(&a, BSS, (uintptr_t)edata, (uintptr_t)end);
        } else if (kind != OTHER && kind != GUARD) {
            add_area(&a, kind, a.start, a.end);
        }
    }
}

// ---------------------------------------------------------------------------
// The picture.

// begin_row starts a row of the picture, with the cell for an area.
static void begin_row(int height, const char *attributes, const char *text)
{
    printf("  <TR><TD FIXEDSIZE=\"TRUE\" WIDTH=\"200\" HEIGHT=\"%d\" %s>"
           "%s</TD>\n",
           height, attributes, text);
}

// end_row writes what stands beside the cell.
static void end_row(const char *access, const char *note)
{
    printf("    <TD WIDTH=\"60\">%s</TD><TD WIDTH=\"380\" ALIGN=\"LEFT\""
           " BALIGN=\"LEFT\" VALIGN=\"%s\">%s</TD></TR>\n",
           access, strstr(note, "break") != NULL ? "BOTTOM" : "MIDDLE", note);
}

static void draw_gap(const char *text, const char *note)
{
    begin_row(44, "BORDER=\"1\" STYLE=\"DASHED\" COLOR=\"#6e7781\"", text);
    end_row("", note);
}

static void draw_area(const struct area *a)
{
    // What may lie in an area, and how C calls it.
    const struct {
        const void *p;
        const char *name;
    } things[] = {
        {(void *)(uintptr_t)main, "the code of main"},
        {"constant", "the string &quot;constant&quot;"},
        {&with_value, "static int with_value = 1"},
        {&without_value, "static int without_value"},
        {block, "what malloc(100) returned"},
        {(void *)(uintptr_t)write, "the code of write, from the C library"},
        {local_of_thread, "a local variable of the thread's function"},
        {local_of_main, "a local variable of main"},
    };
    char attributes[100], text[100], found[200] = "";

    for (size_t i = 0; i < sizeof things / sizeof *things; i++)
        if (contains(a, things[i].p)) {
            strcat(found, found[0] == '\0' ? "" : ", ");
            strcat(found, things[i].name);
        }
    snprintf(attributes, sizeof attributes,
             "BORDER=\"1\" COLOR=\"#57606a\" BGCOLOR=\"%s\"",
             looks[a->kind].fill);
    snprintf(text, sizeof text, "<FONT COLOR=\"#1f2328\">%s</FONT>",
             looks[a->kind].name);
    begin_row(looks[a->kind].height, attributes, text);
    end_row(a->kind == FILES       ? ""
            : a->access[0] == '\0' ? "none"
                                   : a->access,
            found);
}

static void draw(void)
{
    puts("// Drawn by diagrams/process from its own /proc/self/maps. Not to be"
         " edited.\n"
         "digraph \"The memory of a running process\" {\n"
         "  graph [bgcolor=transparent, pad=0.08]\n"
         "  node [shape=plain, fontsize=9, fontcolor=\"#6e7781\",\n"
         "    fontname=\"DejaVu Sans,Verdana,sans-serif\"]\n"
         "  process [label=<<TABLE BORDER=\"0\" CELLBORDER=\"0\""
         " CELLSPACING=\"0\" CELLPADDING=\"0\">");
    begin_row(18, "", "high addresses");
    end_row("<B>access</B>", "<B>what was found there</B>");
    for (int i = area_count - 1; i >= 0; i--) {
        if (areas[i].kind == HEAP) {
            draw_gap("not mapped<BR/>&uarr; the heap grows up",
                     "<FONT COLOR=\"#da3633\">the program break</FONT>");
            begin_row(3, "BGCOLOR=\"#da3633\"", "");
            end_row("", "");
        }
        draw_area(&areas[i]);
        if (areas[i].kind == MAIN_STACK)
            draw_gap("&darr; the stack grows down<BR/>not mapped", "");
    }
    begin_row(18, "", "low addresses");
    end_row("", "(not in proportion)");
    puts("  </TABLE>>]\n}");
}

// ---------------------------------------------------------------------------

static pthread_barrier_t thread_is_there, picture_is_there;

static void *run(void *unused)
{
    int local = 0;
    local_of_thread = &local;
    pthread_barrier_wait(&thread_is_there);
    pthread_barrier_wait(&picture_is_there);
    return unused;
}

int main(void)
{
    static char buffer[1 << 16];
    int local = 0;
    pthread_t thread;

    // The C library's own malloc and stdio must stay away from the heap.
    mallopt(M_MMAP_THRESHOLD, 0);
    mallopt(M_MMAP_MAX, 1 << 20);
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);

    local_of_main = &local;
    block = mm_malloc(100);
    pthread_barrier_init(&thread_is_there, NULL, 2);
    pthread_barrier_init(&picture_is_there, NULL, 2);
    if (block == NULL || pthread_create(&thread, NULL, run, NULL) != 0)
        fail("no memory");
    pthread_barrier_wait(&thread_is_there);
    read_maps();
    draw();
    pthread_barrier_wait(&picture_is_there);
    pthread_join(thread, NULL);
    return fflush(stdout) == 0 ? 0 : 1;
}
