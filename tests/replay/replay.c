// replay.c - goes through a file of vectors line by line, compares, counts, and
// prints. What a line means is told by the table of its family: replay.h.

#include "family.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PRINTED = 10 }; // mismatches of a run; the others are only counted

const unsigned replay_stage = STAGE_NUMBER;

// Families of which nothing belongs to the page heap.
static const struct family other_families[] = {
    {.name = "mspan", .reader = "tests/unit/mspan_vectors_test.c"},
    {.name = "size_classes", .reader = "tests/unit/msize_test.c"},
    {.name = "span_set", .reader = "tests/unit/spanset_test.c"},
    {.name = "tiny", .reader = "tests/unit/mtiny_test.c"},
    {.name = "meta", .reader = "nothing: it is about the recording"},
};

static const struct family *const families[] = {
    &palloc_bits_family, &palloc_sum_family, &addr_ranges_family,
    &scav_index_family,  &world_families[0], &world_families[1],
    &world_families[2],  &other_families[0], &other_families[1],
    &other_families[2],  &other_families[3], &other_families[4],
};

// ---------------------------------------------------------------------------
// What went wrong

void replay_trouble(const char *name, size_t number, const char *what,
                    const char *line)
{
    fflush(stdout);
    if (number == 0)
        fprintf(stderr, "%s: %s\n", name, what);
    else
        fprintf(stderr, "%s:%zu: %s: %s\n", name, number, what, line);
    exit(2);
}

// differ prints one difference, below the line that it is in. `earlier` is how
// many lines before this one that is.
static size_t printed;
__attribute__((format(printf, 3, 4))) static void differ(struct replay *r,
                                                         size_t earlier,
                                                         const char *format,
                                                         ...)
{
    bool first = !r->differs;
    r->differs = true;
    if (printed >= MOST_PRINTED)
        return;
    printed++;
    if (first)
        printf("%s:%zu: %s\n", r->v.name, r->v.number - earlier,
               earlier == 0 ? r->v.line : r->before);
    va_list args;
    va_start(args, format);
    printf("    ");
    vprintf(format, args);
    printf("\n");
    va_end(args);
    if (printed == MOST_PRINTED)
        printf("    (further differences are not printed)\n");
}

bool expect_number(struct replay *r, const char *what, uint64_t expected,
                   uint64_t actual)
{
    if (expected == actual)
        return true;
    differ(r, 0, "%s: expected %" PRId64 ", got %" PRId64, what,
           (int64_t)expected, (int64_t)actual);
    return false;
}

bool expect_word(struct replay *r, const char *what, uint64_t expected,
                 uint64_t actual)
{
    if (expected == actual)
        return true;
    differ(r, 0, "%s: expected %016" PRIx64 ", got %016" PRIx64, what, expected,
           actual);
    return false;
}

// page_text prints the number of the page at an address.
struct page_text {
    char chars[64];
};
static struct page_text page_text(uintptr_t address, uintptr_t none)
{
    struct page_text t;
    if (address == none)
        snprintf(t.chars, sizeof t.chars, "-1");
    else if (address < origin || address % PAGE_SIZE != 0)
        snprintf(t.chars, sizeof t.chars, "address %#" PRIxPTR, address);
    else
        snprintf(t.chars, sizeof t.chars, "%" PRIuPTR,
                 (address - origin) / PAGE_SIZE);
    return t;
}

bool expect_page(struct replay *r, const char *what, size_t expected,
                 uintptr_t actual, uintptr_t none)
{
    uintptr_t address = expected == SIZE_MAX ? none : page_address(expected);
    if (address == actual)
        return true;
    differ(r, 0, "%s: expected %s, got %s", what,
           page_text(address, none).chars, page_text(actual, none).chars);
    return false;
}

void expect_same_search_addr(struct replay *r, uintptr_t expected,
                             uintptr_t actual, uintptr_t none)
{
    if (expected != actual)
        differ(r, 1, "search address: expected %s as before, got %s",
               page_text(expected, none).chars, page_text(actual, none).chars);
}

bool expect_bits(struct replay *r, const char *what,
                 const struct page_bits *expected,
                 const struct page_bits *actual)
{
    for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64; w++) {
        uint64_t wrong = expected->words[w] ^ actual->words[w];
        if (wrong == 0)
            continue;
        differ(r, 0,
               "%s: bit %zu: expected %d; its word: expected %016" PRIx64
               ", got %016" PRIx64,
               what, w * 64 + ctz64(wrong),
               (int)(expected->words[w] >> ctz64(wrong) & 1),
               expected->words[w], actual->words[w]);
        return false;
    }
    return true;
}

// ---------------------------------------------------------------------------
// Reading

struct page_bits read_bits(struct replay *r)
{
    struct page_bits b;
    for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64; w++)
        b.words[w] = vectors_hex(&r->v);
    return b;
}

struct page_bits read_short_bits(struct replay *r)
{
    struct page_bits b;
    if (strcspn(r->v.at, " ") == 1) {
        memset(&b, read_below(r, 2) == 0 ? 0 : 0xff, sizeof b);
        return b;
    }
    for (size_t w = 0; w < PALLOC_CHUNK_PAGES / 64; w++)
        b.words[w] = vectors_word64(&r->v);
    vectors_space(&r->v);
    return b;
}

size_t read_below(struct replay *r, size_t limit)
{
    size_t n = vectors_number(&r->v);
    VECTORS_REQUIRE(&r->v, n < limit, "a number that is too large");
    return n;
}

struct chunk_pages read_pages(struct replay *r)
{
    struct chunk_pages pages;
    pages.i = read_below(r, PALLOC_CHUNK_PAGES);
    pages.n = read_below(r, PALLOC_CHUNK_PAGES - pages.i + 1);
    VECTORS_REQUIRE(&r->v, pages.n > 0, "no pages");
    return pages;
}

// ---------------------------------------------------------------------------
// Line by line

// find_kind returns the row of the line's word, and goes to what follows it.
static const struct line_kind *find_kind(struct replay *r)
{
    struct vectors *v = &r->v;
    size_t length = strcspn(v->line, " ");
    const struct line_kind *kind = r->family->lines;

    for (; kind->word != NULL; kind++)
        if (strlen(kind->word) == length &&
            memcmp(kind->word, v->line, length) == 0)
            break;
    VECTORS_REQUIRE(v, kind->word != NULL, "no line of this file");
    v->at = v->line + length;
    vectors_space(v);
    return kind;
}

// settle counts a mismatch, if there was one.
static bool settle(struct replay *r)
{
    if (!r->differs)
        return false;
    r->sum.mismatches++;
    if (r->family->lasting)
        r->skipping = UNDONE;
    r->differs = false;
    return true;
}

// replay_line performs a line, and returns what became of it.
static enum outcome replay_line(struct replay *r, const struct line_kind *kind)
{
    if (r->skipping == CHECKED && r->family->before_line != NULL) {
        r->family->before_line(r);
        settle(r);
    }
    if (kind->flags & STARTS) {
        r->skipping = CHECKED;
        r->sequence_operations = 0;
    }
    if (kind->flags & OPERATION)
        r->sequence_operations++;
    if (kind->from == NO_STAGE)
        return NEVER;
    if (r->skipping != CHECKED && !(kind->flags & ALWAYS))
        return r->skipping;
    if (replay_stage < kind->from) {
        if (kind->flags & SPOILS)
            r->skipping = AFTER_LATER;
        return LATER;
    }
    if (kind->flags & OPERATION)
        r->sum.operations++;
    kind->perform(r);
    if (!settle(r))
        VECTORS_REQUIRE(&r->v, vectors_is_read(&r->v), "more than was read");
    return replay_stage < kind->whole ? IN_PART : CHECKED;
}

// ---------------------------------------------------------------------------
// A file

// family_of returns the family that the first line names, or else the name of
// the file.
static const struct family *family_of(struct replay *r)
{
    char named[64];
    const char *slash = strrchr(r->v.name, '/');
    const char *candidates[] = {named, slash == NULL ? r->v.name : slash + 1};

    if (sscanf(r->v.line, "# oracle %63s", named) != 1)
        named[0] = '\0';
    for (size_t c = 0; c < 2; c++)
        for (size_t f = 0; f < sizeof families / sizeof families[0]; f++) {
            size_t length = strlen(families[f]->name);
            if (strncmp(candidates[c], families[f]->name, length) == 0 &&
                (candidates[c][length] == '.' || candidates[c][length] == '\0'))
                return families[f];
        }
    replay_trouble(r->v.name, 1,
                   "neither this line nor the name of the file"
                   " says what is in it",
                   r->v.line);
}

// open_file opens a file, and one that ends in .xz by way of xz.
static void open_file(struct replay *r, const char *path)
{
    size_t length = strlen(path);
    FILE *file = fopen(path, "r");

    if (file == NULL)
        replay_trouble(path, 0, strerror(errno), "");
    if (length < 3 || strcmp(path + length - 3, ".xz") != 0) {
        vectors_start(&r->v, path, file, fclose);
        return;
    }
    fclose(file);
    setenv("VECTORS", path, 1);
    file = popen("exec xz -dc <\"$VECTORS\"", "r");
    if (file == NULL)
        replay_trouble(path, 0, strerror(errno), "");
    vectors_start(&r->v, path, file, pclose);
}

void replay_print(const struct replay_sum *sum)
{
    const size_t *lines = sum->lines;
    printf("%zu operations, %zu mismatches; %zu lines checked, %zu not"
           " applicable at this stage",
           sum->operations, sum->mismatches, lines[CHECKED] + lines[IN_PART],
           lines[LATER] + lines[AFTER_LATER] + lines[NEVER]);
    if (lines[UNDONE] != 0)
        printf("; %zu not performed after a mismatch", lines[UNDONE]);
    printf("\n");
}

// print_kinds prints the kinds of the lines that had some outcome.
static void print_kinds(const struct replay *r, enum outcome outcome,
                        const char *what)
{
    if (r->sum.lines[outcome] == 0)
        return;
    printf("    %s:", what);
    for (size_t i = 0; r->family->lines[i].word != NULL; i++)
        if (r->counts[i][outcome] != 0)
            printf(" %s %zu", r->family->lines[i].word, r->counts[i][outcome]);
    printf("\n");
}

static void print_file(const struct replay *r)
{
    printf("%s: ", r->v.name);
    replay_print(&r->sum);
    if (r->family->lines == NULL) {
        printf("    it is read by %s\n", r->family->reader);
        return;
    }
    print_kinds(r, IN_PART, "checked in part, the rest at a later stage");
    print_kinds(r, LATER, "not applicable, at a later stage");
    print_kinds(r, AFTER_LATER,
                "not applicable, after what a later stage does");
    print_kinds(r, NEVER, "not applicable, at any stage");
    print_kinds(r, UNDONE, "not performed after a mismatch");
}

// count_line adds a line to the sum, and to those of its kind.
static void count_line(struct replay *r, size_t kind, enum outcome outcome)
{
    r->counts[kind][outcome]++;
    r->sum.lines[outcome]++;
}

// Where the replay is, for on_signal.
static struct replay *current;

// on_signal tells which line the stage did not survive, or was too long about.
static void on_signal(int signal)
{
    char text[2 * VECTORS_LINE];
    int length =
        snprintf(text, sizeof text, "%s:%zu: %s\n    %s\n", current->v.name,
                 current->v.number, current->v.line, strsignal(signal));
    if (write(STDOUT_FILENO, text, (size_t)length) != length)
        _exit(2);
    _exit(1);
}

void replay_watch_signals(void)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGTERM};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
        signal(signals[i], on_signal);
}

void replay_file(struct replay *r, const char *path)
{
    memset(r, 0, sizeof *r);
    current = r;
    open_file(r, path);
    r->family = family_of(r);
    count_line(r, EVERY_FILE, CHECKED);
    while (vectors_next(&r->v)) {
        if (r->family->lines == NULL) {
            count_line(r, EVERY_FILE, NEVER);
            continue;
        }
        const struct line_kind *kind = find_kind(r);
        enum outcome outcome = replay_line(r, kind);
        count_line(r, (size_t)(kind - r->family->lines), outcome);
        strcpy(r->before, r->v.line);
    }
    if (r->family->end_file != NULL)
        r->family->end_file(r);
    count_line(r, EVERY_FILE, CHECKED);

    // No line was left out: each is in one of the sums.
    size_t lines = 0;
    for (size_t i = 0; i < NUM_OUTCOMES; i++)
        lines += r->sum.lines[i];
    VECTORS_REQUIRE(&r->v, lines == r->v.number, "lines were not counted");
    print_file(r);
}
