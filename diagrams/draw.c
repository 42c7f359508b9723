// draw.c - performs a scene on a stage's malloc, and draws the heap.
//
// The program is linked with the libmm.a of one stage. It calls the mm_
// functions as the scene says, and takes snapshots with mm_walk; draw_dot.c
// and draw_text.c show them. Nothing here may disturb the heap in the picture:
// all state is static, and the output is written with write(2).
//
// The same scene on the same stage gives the same bytes: addresses are shown
// as offsets from the start of the heap only.

#include "draw.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bits.h"
#include "mm.h"

static const char help[] =
    "usage: draw [--dot | --text] [--title TEXT] [FILE]\n"
    "\n"
    "Performs the scene in FILE (default: standard input) on a stage's malloc\n"
    "and draws the heap, for Graphviz (--dot) or as text (--text, default).\n"
    "--title replaces the title of the scene. A line of a scene is one of:\n"
    "\n"
    "    # comment\n"
    "    title TEXT          stands above the picture\n"
    "    a = malloc 100      a name, as in C, for a block of 100 bytes\n"
    "    a = memalign 64 100 the same, at a multiple of 64\n"
    "    a = realloc a 300   a becomes longer or shorter, and may move\n"
    "    free a\n"
    "    foreign 4096        somebody else moves the program break up\n"
    "    show CAPTION        draws the heap as it is after the lines above\n"
    "    scale 40            40 points per 100 bytes (default: what fits)\n"
    "    compact             counters in place of the code; no legend\n";

const struct look looks[STYLE_COUNT] = {
    [STYLE_HEADER] = {"h", "h", "#ffdf8f", "header of a block"},
    [STYLE_LINKS] = {"links", "&rarr;", "#dfc8f5",
                     "links to the next and the previous free block"},
    [STYLE_USED] = {"used", NULL, "#a9d3f5", "used"},
    [STYLE_WASTED] = {"wasted", NULL, "#e1effb",
                      "wasted: in a used block, but nobody asked for it"},
    [STYLE_FREE] = {"free", NULL, "#bfe8b9", "free"},
    [STYLE_PAGES] = {"free", NULL, "#e3efc3", "free pages: a free span"},
    [STYLE_SCAVENGED] = {"scavenged", NULL, "#ffffff",
                         "scavenged: free pages that take no memory"},
    [STYLE_TAIL] = {"end", "end", "#e6dcc6",
                    "end of the span: too short for an object"},
    [STYLE_REGION] = {"no notes", NULL, "#d3d6ef",
                      "heap: nowhere is written what is in it"},
    [STYLE_FENCE] = {"f", "f", "#f7b98f", "fence: a header without a block"},
    [STYLE_FOREIGN] = {"not ours", NULL, "#d5d9df",
                       "not ours: somebody else asked for it"},
    [STYLE_GAP] = {"between", NULL, "#d5d9df",
                   "between two regions of the heap"},
};

static struct scene scene;
static struct name names[MAX_NAMES];
static int name_count;
static char code[MAX_TEXT]; // what was done since the last snapshot
static char *start; // offsets count from here; NULL: no heap so far

// ---------------------------------------------------------------------------
// Output and messages.

void append(char *string, size_t size, const char *format, ...)
{
    size_t length = strlen(string);
    va_list arguments;

    va_start(arguments, format);
    int n = vsnprintf(string + length, size - length, format, arguments);
    va_end(arguments);
    if (n < 0 || (size_t)n >= size - length)
        fail(0, "a text is too long: %.40s...", string);
}

void fail(unsigned line, const char *format, ...)
{
    static char message[2 * MAX_TEXT];
    va_list arguments;
    int n = line == 0
                ? snprintf(message, MAX_TEXT, "%s: ", scene.file)
                : snprintf(message, MAX_TEXT, "%s:%u: ", scene.file, line);

    va_start(arguments, format);
    vsnprintf(message + n, MAX_TEXT, format, arguments);
    va_end(arguments);
    append(message, sizeof message, "\n");
    write_all(STDERR_FILENO, message, strlen(message));
    _exit(1);
}

// ---------------------------------------------------------------------------
// Snapshots.

// Where the program break was at first. Below it is memory of other kinds, too.
static const char *first_break;

// is_on_break tells whether p lies where memory comes by moving the break.
static bool is_on_break(const char *p)
{
    return first_break <= p && p <= (char *)sbrk(0);
}

// named_block returns the live block of the scene that starts at p, or NULL.
static const struct name *named_block(const char *p)
{
    for (int i = 0; i < name_count; i++)
        if (names[i].live && names[i].block == p)
            return &names[i];
    return NULL;
}

// What the walk finds, before it is folded. A link is an index here, too.
enum { MAX_WALKED = 8192 };
static struct piece walked[MAX_WALKED];
static int walked_count;

// A walk over the heap. Below at all is shown: above it, more may follow.
struct walk {
    struct snapshot *snapshot;
    const char *at; // everything below is in the snapshot
    const char *region_end; // of the region that is being shown
    const char *span_end; // of the span in it; NULL: of none
    bool has_blocks; // so far, in this region
};

// add_piece returns a new piece for the memory from first to end.
static struct piece *add_piece(const struct walk *w, enum style body,
                               const char *first, const char *end)
{
    if (walked_count == MAX_WALKED)
        fail(0, "more than %d blocks in the heap", MAX_WALKED);
    struct piece *p = &walked[walked_count++];
    *p = (struct piece){
        .body = body,
        .offset = (size_t)(first - start),
        .bytes = (size_t)(end - first),
        .blocks = 1,
        .next = NOWHERE,
        .span = w->span_end == NULL ? NOWHERE : w->snapshot->span_count - 1,
        .addr = first,
    };
    return p;
}

// end_span shows what the blocks of a span left over.
static void end_span(struct walk *w)
{
    if (w->span_end != NULL && w->at < w->span_end) {
        add_piece(w, STYLE_TAIL, w->at, w->span_end);
        w->at = w->span_end;
    }
    w->span_end = NULL;
}

// end_region shows what the blocks of a region left over.
static void end_region(struct walk *w)
{
    end_span(w);
    if (w->at >= w->region_end)
        return;
    w->snapshot->is_opaque |= !w->has_blocks;
    add_piece(w, w->has_blocks ? STYLE_FOREIGN : STYLE_REGION, w->at,
              w->region_end);
    w->at = w->region_end;
}

// add_span begins a span. The pages of a free one are a piece.
static void add_span(struct walk *w, const struct mm_item *item)
{
    struct snapshot *s = w->snapshot;
    const char *addr = item->addr;

    if (s->span_count == MAX_SPANS)
        fail(0, "more than %d spans in a picture", MAX_SPANS);
    s->spans[s->span_count++] = (struct span){
        .offset = (size_t)(addr - start),
        .bytes = item->size,
        .is_free = item->state == MM_FREE,
        .is_scavenged = item->released,
        .list = item->list,
        .first = item->first,
        .next = NOWHERE,
        .addr = addr,
        .next_addr = item->next,
    };
    w->span_end = addr + item->size;
    if (item->state == MM_FREE) {
        add_piece(w, item->released ? STYLE_SCAVENGED : STYLE_PAGES, addr,
                  w->span_end);
        w->at = w->span_end;
    }
}

// add_block makes a piece of a block, with what the scene knows of it.
static void add_block(const struct walk *w, const struct mm_item *item)
{
    const char *addr = item->addr;
    struct piece *p =
        add_piece(w, item->state == MM_FREE ? STYLE_FREE : STYLE_USED, addr,
                  addr + item->size);

    p->header = item->header;
    if (p->header == p->bytes)
        p->body = STYLE_FENCE;
    p->list = item->list;
    p->owner = item->owner;
    p->first = item->first;
    p->next_addr = item->next;
    const struct name *name = named_block(addr + item->header);
    if (name != NULL && item->state == MM_USED) {
        p->name = name->text;
        p->asked = name->size;
    }
    if (p->span != NOWHERE && p->bytes < w->snapshot->spans[p->span].bytes)
        w->snapshot->spans[p->span].object = p->bytes;
}

// begin_at makes addr the start of the heap, for all snapshots.
static void begin_at(const char *addr)
{
    size_t below = start == NULL ? 0 : (size_t)(start - addr);

    start = (char *)(uintptr_t)addr;
    for (int i = 0; i < scene.count; i++) {
        struct snapshot *s = &scene.snapshots[i];
        s->break_at += below;
        for (int j = 0; j < s->piece_count; j++)
            s->pieces[j].offset += below;
        for (int j = 0; j < s->span_count; j++)
            s->spans[j].offset += below;
    }
}

static void visit(const struct mm_item *item, void *context)
{
    struct walk *w = context;
    const char *addr = item->addr;

    if (start == NULL || addr < start)
        begin_at(addr);
    if (item->kind == MM_REGION) {
        end_region(w);
        if (w->at != NULL && w->at < addr)
            add_piece(w, is_on_break(w->at) ? STYLE_FOREIGN : STYLE_GAP, w->at,
                      addr);
        w->at = addr;
        w->region_end = addr + item->size;
        w->has_blocks = false;
        return;
    }
    if (w->span_end != NULL && addr >= w->span_end)
        end_span(w);
    if (w->at < addr)
        add_piece(w, STYLE_FOREIGN, w->at, addr);
    w->has_blocks = true;
    if (item->kind == MM_SPAN) {
        add_span(w, item);
        return;
    }
    add_block(w, item);
    w->at = addr + item->size;
}

enum { NOT_FOUND = -1 };

// find_word returns where in the first bytes of piece p the address value
// stands, or NOT_FOUND. A header does not begin with one.
static ptrdiff_t find_word(const struct piece *p, const void *value)
{
    for (size_t at = p->header == 0 ? 0 : sizeof value;
         at + sizeof value <= p->bytes && at <= p->header + 24; at += 8) {
        const void *word;
        memcpy(&word, (const char *)p->addr + at, sizeof word);
        if (word == value)
            return (ptrdiff_t)at;
    }
    return NOT_FOUND;
}

// is_same_list tells whether p and q are on the same list.
static bool is_same_list(const struct piece *p, const struct piece *q)
{
    return p->list != NULL && q->list != NULL &&
           strcmp(p->list, q->list) == 0 && p->owner == q->owner;
}

// connect turns the links between pieces, and between spans, from addresses
// into indices.
static void connect(struct snapshot *s)
{
    for (int i = 0; i < walked_count; i++)
        for (int j = 0; walked[i].next_addr != NULL && j < walked_count; j++)
            if (walked[j].addr == walked[i].next_addr &&
                is_same_list(&walked[i], &walked[j]))
                walked[i].next = j;
    for (int i = 0; i < s->span_count; i++)
        for (int j = 0; s->spans[i].next_addr != NULL && j < s->span_count; j++)
            if (s->spans[j].addr == s->spans[i].next_addr)
                s->spans[i].next = j;
}

// find_links finds out which bytes of p hold the links of its list.
static void find_links(struct piece *p, const struct piece *next)
{
    ptrdiff_t forth = find_word(p, next->addr);
    ptrdiff_t back = find_word(next, p->addr);
    ptrdiff_t last = forth > back ? forth : back;
    if (forth >= (ptrdiff_t)p->header) // else in the header, or no address
        p->links = (size_t)last + sizeof(void *) - p->header;
}

// are_alike tells whether p and the piece above it are equal free blocks of one
// list, or of none.
static bool are_alike(const struct piece *p)
{
    const struct piece *q = p + 1;
    return p->body == STYLE_FREE && q->body == STYLE_FREE &&
           (is_same_list(p, q) || (p->list == NULL && q->list == NULL)) &&
           p->span == q->span && p->bytes == q->bytes &&
           p->header == q->header && p->offset + p->bytes == q->offset;
}

// stretch returns how many pieces from i on are alike and follow each other on
// their list, if there is one: the next by rising address if is_up, else by
// falling.
static int stretch(int i, bool is_up)
{
    int end = i + 1;
    while (end < walked_count && are_alike(&walked[end - 1]) &&
           (walked[end].list == NULL || (is_up ? walked[end - 1].next == end
                                               : walked[end].next == end - 1)))
        end++;
    return end - i;
}

// fold makes the pieces of s of what was walked. A stretch of equal blocks is
// one piece: the links into it and out of it are its own.
static void fold(struct snapshot *s)
{
    static int folded_into[MAX_WALKED];

    for (int i = 0, n; i < walked_count; i += n) {
        int up = stretch(i, true), down = stretch(i, false);
        n = up > down ? up : down;
        if (n < LEAST_FOLDED)
            n = 1;
        if (s->piece_count == MAX_PIECES)
            fail(0, "more than %d pieces in a picture", MAX_PIECES);
        const struct piece *low = &walked[i], *high = &walked[i + n - 1];
        struct piece *p = &s->pieces[s->piece_count];
        *p = *low;
        p->blocks = (size_t)n;
        p->bytes = low->bytes * p->blocks;
        p->first = low->first || high->first;
        p->next = up > down ? high->next : low->next;
        if (p->span != NOWHERE && (i == 0 || walked[i - 1].span != p->span))
            s->spans[p->span].first_piece = s->piece_count;
        for (int j = i; j < i + n; j++)
            folded_into[j] = s->piece_count;
        s->piece_count++;
    }
    for (int i = 0; i < s->piece_count; i++)
        if (s->pieces[i].next != NOWHERE)
            s->pieces[i].next = folded_into[s->pieces[i].next];
}

// spread_links tells all pieces what was found out about their list.
static void spread_links(const struct piece *p)
{
    for (int i = 0; i < scene.count; i++)
        for (int j = 0; j < scene.snapshots[i].piece_count; j++) {
            struct piece *q = &scene.snapshots[i].pieces[j];
            if (q->list != NULL && strcmp(q->list, p->list) == 0)
                q->links = p->links;
        }
}

static void take_snapshot(unsigned line, const char *caption)
{
    if (scene.count == MAX_SNAPSHOTS)
        fail(line, "more than %d snapshots", MAX_SNAPSHOTS);
    struct snapshot *s = &scene.snapshots[scene.count++];
    struct walk w = {.snapshot = s};
    struct mm_stats stats;

    append(s->caption, sizeof s->caption, "%s", caption);
    append(s->code, sizeof s->code, "%s", code);
    code[0] = '\0';
    if (!mm_check())
        fail(line, "the heap is damaged");

    walked_count = 0;
    mm_walk(visit, &w);
    end_region(&w);
    char *the_break = sbrk(0);
    s->on_break = w.at == NULL || is_on_break(start);
    if (s->on_break && w.at != NULL && w.at < the_break)
        add_piece(&w, STYLE_FOREIGN, w.at, the_break);
    s->break_at = start == NULL ? 0 : (size_t)(the_break - start);
    connect(s);
    for (int i = 0; i < walked_count; i++)
        if (walked[i].next != NOWHERE)
            find_links(&walked[i], &walked[walked[i].next]);
    fold(s);

    memcpy(s->names, names, sizeof names);
    s->name_count = name_count;
    mm_stats(&stats);
    s->system_calls = stats.sbrks + stats.mmaps + stats.munmaps +
                      stats.madvises + stats.mprotects;
    s->bytes_from_os = stats.bytes_from_os;
}

int cells_of(const struct piece *p, struct cell cells[MAX_CELLS])
{
    size_t body = p->bytes - p->header;
    size_t links = 0;
    if (p->body == STYLE_FREE && body > p->links)
        links = p->links; // else there is no room to show both
    body -= links;
    size_t wasted = 0;
    if (p->body == STYLE_USED && p->asked != 0 && body >= p->asked)
        wasted = body - p->asked;
    if (wasted < MM_ALIGNMENT)
        wasted = 0; // only rounded up
    const struct {
        enum style style;
        size_t bytes;
    } parts[MAX_CELLS] = {
        {STYLE_HEADER, p->body == STYLE_FENCE ? 0 : p->header},
        {STYLE_LINKS, links},
        {p->body, p->body == STYLE_FENCE ? p->header : body - wasted},
        {STYLE_WASTED, wasted},
    };

    int count = 0;
    size_t offset = p->offset;
    for (int i = 0; i < MAX_CELLS; i++) {
        if (parts[i].bytes == 0)
            continue;
        cells[count++] = (struct cell){
            .style = parts[i].style,
            .offset = offset,
            .bytes = parts[i].bytes,
            .size = parts[i].bytes + (parts[i].style == STYLE_FREE ? links : 0),
            .blocks = 1,
            .name = parts[i].style == p->body ? p->name : NULL,
        };
        offset += parts[i].bytes;
    }
    if (p->blocks > 1) {
        cells[count - 1].blocks = p->blocks;
        cells[count - 1].size = p->bytes / p->blocks - p->header;
    }
    return count;
}

size_t line_length(const char *statements, size_t most)
{
    size_t length = strlen(statements);
    if (length <= most)
        return length;
    for (length = most; length > 1; length--)
        if (strncmp(statements + length - 1, ";  ", 3) == 0)
            return length;
    return most;
}

const char *span_text(const struct span *span)
{
    static char text[64];
    size_t pages = span->bytes / PAGE_BYTES;

    text[0] = '\0';
    append(text, sizeof text, "%zu page%s", pages, pages == 1 ? "" : "s");
    if (span->object != 0)
        append(text, sizeof text, ", objects of %zu", span->object);
    return text;
}

// ---------------------------------------------------------------------------
// Scenes.

// find_name returns the last block of that name, or NULL.
static struct name *find_name(const char *text)
{
    for (int i = name_count; i-- > 0;)
        if (strcmp(names[i].text, text) == 0)
            return &names[i];
    return NULL;
}

// live_name returns the block of that name, which must be there.
static struct name *live_name(unsigned line, const char *text)
{
    struct name *name = find_name(text);
    if (name == NULL)
        fail(line, "no block is named '%s'", text);
    if (!name->live)
        fail(line, "'%s' was freed in line %u", text, name->line);
    return name;
}

static void check_name(unsigned line, const char *text)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    if (strspn(text, letters) != strlen(text) || strchr("0123456789", *text))
        fail(line, "'%s' is not a name as in C", text);
    if (strlen(text) >= sizeof names[0].text)
        fail(line, "the name '%s' is longer than %zu letters", text,
             sizeof names[0].text - 1);
}

// bind gives the name text to block, which a call returned.
static void bind(unsigned line, const char *text, void *block, size_t size)
{
    if (block == NULL)
        fail(line, "the stage has no memory for %zu bytes", size);
    if (name_count == MAX_NAMES)
        fail(line, "more than %d blocks", MAX_NAMES);
    struct name *name = &names[name_count++];
    *name =
        (struct name){.block = block, .size = size, .live = true, .line = line};
    append(name->text, sizeof name->text, "%s", text);
}

static void unbind(unsigned line, struct name *name)
{
    name->live = false;
    name->line = line;
}

// number reads a count of bytes.
static size_t number(unsigned line, const char *word)
{
    size_t n = 0;
    for (const char *c = word; *c != '\0' || c == word; c++)
        if (*c < '0' || *c > '9' || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, (size_t)(*c - '0'), &n))
            fail(line, "'%s' is not a number of bytes", word);
    return n;
}

// note appends a statement to the code of the next snapshot.
#define note(...)                                                              \
    (append(code, sizeof code, "%s", code[0] == '\0' ? "" : "  "),             \
     append(code, sizeof code, __VA_ARGS__))

// assign performs NAME = CALL ARGUMENT ARGUMENT; unused arguments are NULL.
static void assign(unsigned line, char *words[], int count)
{
    const char *name = words[0];
    const char *call = count > 2 ? words[2] : "";
    const struct name *old = find_name(name);
    struct name *source = NULL;
    bool in_place = false;

    check_name(line, name);
    if (strcmp(call, "realloc") == 0 && count == 5) {
        source = live_name(line, words[3]);
        in_place = strcmp(name, words[3]) == 0;
    }
    if (old != NULL && old->live && !in_place)
        fail(line, "'%s' already names a block, from line %u", name, old->line);

    if (strcmp(call, "malloc") == 0 && count == 4) {
        size_t size = number(line, words[3]);
        bind(line, name, mm_malloc(size), size);
        note("%s = malloc(%zu);", name, size);
    } else if (strcmp(call, "memalign") == 0 && count == 5) {
        size_t align = number(line, words[3]);
        size_t size = number(line, words[4]);
        if (!is_power_of_two(align))
            fail(line, "'%s' is not a power of two", words[3]);
        bind(line, name, mm_memalign(align, size), size);
        note("%s = memalign(%zu, %zu);", name, align, size);
    } else if (source != NULL) {
        size_t size = number(line, words[4]);
        if (size == 0)
            fail(line, "to free a block, write: free %s", words[3]);
        void *block = mm_realloc(source->block, size);
        if (block != NULL)
            unbind(line, source);
        bind(line, name, block, size);
        note("%s = realloc(%s, %zu);", name, words[3], size);
    } else {
        fail(line,
             "write one of: %s = malloc SIZE, %s = memalign ALIGN SIZE,"
             " %s = realloc NAME SIZE",
             name, name, name);
    }
}

// move_break moves the program break, as another part of a program might.
static void move_break(unsigned line, size_t n)
{
    if (n > INTPTR_MAX || sbrk((intptr_t)n) == (void *)-1)
        fail(line, "the break cannot be moved by %zu bytes", n);
    note("somebody_else_calls_sbrk(%zu);", n);
}

enum { MAX_WORDS = 6 };

// perform does what one line of the scene says. rest is the line from its
// second word on.
static void perform(unsigned line, char *words[], int count, const char *rest)
{
    const char *command = words[0];

    if (count >= 2 && strcmp(words[1], "=") == 0) {
        assign(line, words, count);
    } else if (strcmp(command, "title") == 0 && count > 1) {
        static bool has_title;
        if (has_title)
            fail(line, "a second title");
        has_title = true;
        if (scene.title[0] == '\0') // else from the command line
            append(scene.title, sizeof scene.title, "%s", rest);
    } else if (strcmp(command, "show") == 0 && count > 1) {
        take_snapshot(line, rest);
    } else if (strcmp(command, "free") == 0 && count == 2) {
        struct name *name = live_name(line, words[1]);
        mm_free(name->block);
        unbind(line, name);
        note("free(%s);", words[1]);
    } else if (strcmp(command, "foreign") == 0 && count == 2) {
        move_break(line, number(line, words[1]));
    } else if (strcmp(command, "scale") == 0 && count == 2) {
        size_t scale = number(line, words[1]);
        if (scale < 1 || scale > 1000)
            fail(line, "the scale must be 1 to 1000");
        scene.scale = (unsigned)scale;
    } else if (strcmp(command, "compact") == 0 && count == 1) {
        scene.compact = true;
    } else {
        fail(line, "not a line of a scene: '%s%s%s'; see draw --help", command,
             count > 1 ? " " : "", rest);
    }
}

// perform_line splits one line into words.
static void perform_line(unsigned line, char *text)
{
    static char copy[MAX_TEXT];
    char *words[MAX_WORDS];
    int count = 0;

    copy[0] = '\0';
    if (strlen(text) >= sizeof copy)
        fail(line, "longer than %zu characters", sizeof copy - 1);
    append(copy, sizeof copy, "%s", text);
    for (char *c = copy; count < MAX_WORDS; c += strlen(c) + 1) {
        c += strspn(c, " \t\r");
        if (*c == '\0')
            break;
        words[count++] = c;
        size_t length = strcspn(c, " \t\r");
        if (c[length] == '\0')
            break;
        c[length] = '\0';
    }
    if (count == 0 || words[0][0] == '#')
        return;
    perform(line, words, count, count > 1 ? text + (words[1] - copy) : "");
}

// perform_scene performs the scene that fd reads.
static void perform_scene(int fd)
{
    static char text[1 << 16];
    size_t length = 0;
    ssize_t n;

    while ((n = read(fd, text + length, sizeof text - 1 - length)) > 0)
        length += (size_t)n;
    if (n < 0)
        fail(0, "cannot be read");
    if (length == sizeof text - 1)
        fail(0, "longer than %zu bytes", sizeof text - 2);

    unsigned line = 1;
    for (char *at = text; at < text + length; line++) {
        char *end = at + strcspn(at, "\n");
        bool is_last = *end == '\0';
        *end = '\0';
        perform_line(line, at);
        if (is_last)
            break;
        at = end + 1;
    }
    if (scene.count == 0)
        fail(0, "shows nothing: it has no line 'show CAPTION'");
    for (int i = 0; i < scene.count; i++)
        for (int j = 0; j < scene.snapshots[i].piece_count; j++)
            if (scene.snapshots[i].pieces[j].links != 0)
                spread_links(&scene.snapshots[i].pieces[j]);
    if (code[0] != '\0')
        fail(0, "ends without 'show' after: %s", code);
}

static _Noreturn void usage(int status)
{
    write_all(status == 0 ? STDOUT_FILENO : STDERR_FILENO, help,
              sizeof help - 1);
    _exit(status);
}

int main(int argc, char **argv)
{
    bool dot = false;
    const char *path = NULL;

    scene.file = "draw";
    first_break = sbrk(0);

    // The C library's own malloc must stay away from the program break.
    mallopt(M_MMAP_THRESHOLD, 0);
    mallopt(M_MMAP_MAX, 1 << 20);

    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0)
            usage(0);
        else if (strcmp(argv[i], "--dot") == 0)
            dot = true;
        else if (strcmp(argv[i], "--text") == 0)
            dot = false;
        else if (strcmp(argv[i], "--title") == 0 && i + 1 < argc)
            append(scene.title, sizeof scene.title, "%s", argv[++i]);
        else if (argv[i][0] == '-' || path != NULL)
            usage(2);
        else
            path = argv[i];
    }

    int fd = STDIN_FILENO;
    scene.file = path == NULL ? "standard input" : path;
    if (path != NULL && (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
        fail(0, "cannot be opened");
    perform_scene(fd);
    if (dot)
        show_dot(&scene);
    else
        show_text(&scene);
}
