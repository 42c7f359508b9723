// mksizeclasses.c - computes the size classes and prints the tables for them.
//
// A request is rounded up to the size of its class. Four rules make the table:
//
//   Steps    Between two powers of two, sizes grow by equal steps: the largest
//            power of two that is at most 12.5 % of the lower one. So rounding
//            up to a step adds at most 12.5 %. Steps are never below 16, so
//            every size from 16 up is a multiple of 16, as malloc needs it,
//            and never above 256.
//   Spans    Objects of one class are cut out of a span: so many pages that
//            at most 12.5 % of them remain at its end, where no further object
//            fits.
//   Merging  A step that gets as many objects out of as many pages as the one
//            before costs no memory: both become one class, of the larger size.
//            Here a request may be rounded up by more than 12.5 % (4097 becomes
//            4864); without the merge, that memory would lie idle at the end of
//            the span instead.
//   Growing  Last, each size grows to what its objects can have in the span,
//            in multiples of 128, the unit of the look-up table.
//
// TCMalloc's design notes speak of about 170 classes: 8 bytes apart at first,
// at most 256 at the end. --step 8 --no-merge gives that table: 168 classes,
// and class 0, which is empty. But these have only 73 different shares of a
// span: the seven from 10752 to 12288, for example, each get two objects out of
// three pages, so each object is paid with 12288 bytes. Merging keeps one class
// of each kind, 73; the seven of them that are odd multiples of 8 (24, 40 ...
// 120) are not aligned for C. The other 66, and class 0, suffice: --summary
// shows that requests cost less memory with them than with 168.
// tests/tools/mksizeclasses_test.sh pins these numbers.
//
// TCMalloc   SizeMap::Init
// Go         mksizeclasses.go

#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    MAX_SMALL_SIZE = 32768, // the largest class
    SMALL_SIZE_DIV = 8, // up to SMALL_SIZE_MAX, look-up is by multiples of 8
    SMALL_SIZE_MAX = 1024,
    LARGE_SIZE_DIV = 128, // and above by multiples of 128
    PAGE_SHIFT = 13,
    PAGE_SIZE = 1 << PAGE_SHIFT,
    // At most as many classes as there are multiples of 8, and class 0.
    MOST_CLASSES = MAX_SMALL_SIZE / 8 + 1
};

// The rules; what stands here gives the table of the stage.
static double max_waste = 12.5; // per cent, of rounding and of a span's end
static size_t min_step = 16;
static size_t max_step = 256;
static bool merge = true; // merging and growing

struct class
{
    size_t size; // bytes of an object; 0: class 0, which has none
    size_t npages; // pages in its span
};

static struct class classes[MOST_CLASSES];
static size_t n_classes;

static size_t span_bytes(const struct class *c)
{
    return c->npages * PAGE_SIZE;
}

static size_t objects(const struct class *c)
{
    return span_bytes(c) / c->size;
}

// bytes_per_object: an object's share of its span, with that of the rest.
static double bytes_per_object(const struct class *c)
{
    return (double)span_bytes(c) / (double)objects(c);
}

static double percent(double part, double whole)
{
    return 100 * part / whole;
}

// step_after returns how far the next size is from this one.
static size_t step_after(size_t size)
{
    size_t power = 1;
    size_t step = 1;

    while (power * 2 <= size)
        power *= 2;
    while (percent((double)step * 2, (double)power) <= max_waste)
        step *= 2;
    if (step > max_step)
        step = max_step;
    if (step < min_step)
        step = min_step;
    // Multiples of a step above 8 begin at that step: 8, 16, 32, 48 ...
    return size % step == 0 ? step : step - size % step;
}

// pages_for returns how many pages a span of such objects has.
static size_t pages_for(size_t size)
{
    size_t bytes = PAGE_SIZE;

    while (bytes < size ||
           percent((double)(bytes % size), (double)bytes) > max_waste)
        bytes += PAGE_SIZE;
    return bytes / PAGE_SIZE;
}

// make_classes fills classes[] by the rules at the head of this file.
//
// Go: func makeClasses (mksizeclasses.go)
static void make_classes(void)
{
    n_classes = 1; // class 0 is empty
    for (size_t size = 8; size <= MAX_SMALL_SIZE; size += step_after(size)) {
        struct class c = {size, pages_for(size)};
        struct class *last = &classes[n_classes - 1];
        if (merge && n_classes > 1 && c.npages == last->npages &&
            objects(&c) == objects(last))
            last->size = size;
        else
            classes[n_classes++] = c;
    }
    for (size_t i = 1; merge && i < n_classes; i++) {
        struct class *c = &classes[i];
        size_t size = span_bytes(c) / objects(c);
        size -= size % LARGE_SIZE_DIV;
        if (c->size < size)
            c->size = size;
    }
}

// class_for returns the first class that has room for size bytes.
static size_t class_for(size_t size)
{
    size_t i = 0;
    while (classes[i].size < size)
        i++;
    return i;
}

// class_by_table returns what the look-up tables say: they only know the class
// of the next multiple of their unit.
static size_t class_by_table(size_t size)
{
    size_t unit = size <= SMALL_SIZE_MAX ? SMALL_SIZE_DIV : LARGE_SIZE_DIV;
    return class_for((size + unit - 1) / unit * unit);
}

// fits_tables tells whether the C tables can hold these classes.
static bool fits_tables(void)
{
    if (n_classes > 256 || classes[n_classes - 1].size != MAX_SMALL_SIZE)
        return false;
    for (size_t i = 1; i < n_classes; i++)
        if (classes[i].npages > 255 || classes[i].size <= classes[i - 1].size)
            return false;
    for (size_t size = 0; size <= MAX_SMALL_SIZE; size++)
        if (class_by_table(size) != class_for(size))
            return false;
    return true;
}

// print_array prints a table of n entries, with as many in a line as fit.
static void print_array(const char *declaration, size_t entry(size_t), size_t n)
{
    const int last_column = 80;
    int column = last_column;
    char text[32];

    printf("%s = {", declaration);
    for (size_t i = 0; i < n; i++) {
        int length = snprintf(text, sizeof text, " %zu,", entry(i));
        if (column + length > last_column)
            column = printf("\n   ") - 1;
        column += length;
        fputs(text, stdout);
    }
    printf("\n};\n");
}

static size_t size_entry(size_t i)
{
    return classes[i].size;
}

static size_t npages_entry(size_t i)
{
    return classes[i].npages;
}

static size_t class8_entry(size_t i)
{
    return class_for(i * SMALL_SIZE_DIV);
}

static size_t class128_entry(size_t i)
{
    return class_for(SMALL_SIZE_MAX + i * LARGE_SIZE_DIV);
}

static const char header_head[] =
    "// sizeclasses.h - the size classes, made by mksizeclasses.c: edit that.\n"
    "//\n"
    "// Most who include this file mean the constants; the tables are for the "
    "few\n"
    "// that look classes up.\n"
    "//\n"
    "// TCMalloc   SizeMap\n"
    "// Go         sizeclasses.go\n"
    "\n"
    "#ifndef SIZECLASSES_H\n"
    "#define SIZECLASSES_H\n"
    "\n"
    "#include <stdint.h>\n"
    "\n"
    "enum {\n"
    "    MAX_SMALL_SIZE = %d, // the largest class\n"
    "    SMALL_SIZE_DIV = %d, // unit of size_to_class8\n"
    "    SMALL_SIZE_MAX = %d, // the last size in it\n"
    "    LARGE_SIZE_DIV = %d, // unit of size_to_class128\n"
    "    NUM_SIZE_CLASSES = %zu, // with class 0, which is empty\n"
    "    PAGE_SHIFT = %d\n"
    "};\n"
    "\n"
    "// The tables are packed as mksizeclasses prints them.\n"
    "// clang-format off\n";

static const char header_tail[] = "// clang-format on\n"
                                  "\n"
                                  "#endif\n";

// print_header prints sizeclasses.h.
//
// Go: func printClasses (mksizeclasses.go)
static void print_header(void)
{
    printf(header_head, MAX_SMALL_SIZE, SMALL_SIZE_DIV, SMALL_SIZE_MAX,
           LARGE_SIZE_DIV, n_classes, PAGE_SHIFT);
    printf("\n// Bytes of an object.\n");
    print_array("static const uint16_t class_to_size[NUM_SIZE_CLASSES]",
                size_entry, n_classes);
    printf("\n// Pages of a span that is cut into such objects.\n");
    print_array("static const uint8_t class_to_allocnpages[NUM_SIZE_CLASSES]",
                npages_entry, n_classes);
    printf(
        "\n// Class of a size up to SMALL_SIZE_MAX; index (size + 7) / 8.\n");
    print_array("static const uint8_t\n"
                "    size_to_class8[SMALL_SIZE_MAX / SMALL_SIZE_DIV + 1]",
                class8_entry, SMALL_SIZE_MAX / SMALL_SIZE_DIV + 1);
    printf("\n// Class of a size above it; index"
           " (size - SMALL_SIZE_MAX + 127) / 128.\n");
    print_array("static const uint8_t size_to_class128\n"
                "    [(MAX_SMALL_SIZE - SMALL_SIZE_MAX) / LARGE_SIZE_DIV + 1]",
                class128_entry,
                (MAX_SMALL_SIZE - SMALL_SIZE_MAX) / LARGE_SIZE_DIV + 1);
    fputs(header_tail, stdout);
}

// waste_of returns what a request loses by rounding, in per cent of its block.
static double waste_of(size_t size)
{
    const struct class *c = &classes[class_for(size)];
    return percent((double)(c->size - size), (double)c->size);
}

// total_waste_of returns what a request loses by rounding and at the end of the
// span, in per cent of its share of the span.
static double total_waste_of(size_t size)
{
    double bytes = bytes_per_object(&classes[class_for(size)]);
    return percent(bytes - (double)size, bytes);
}

static void print_waste(void)
{
    printf("# request, size of its class, per cent of it that is wasted\n");
    for (size_t size = 1; size <= MAX_SMALL_SIZE; size++)
        printf("%zu %zu %.2f\n", size, classes[class_for(size)].size,
               waste_of(size));
}

// print_table prints the classes for a chapter. The largest waste is that of a
// span whose objects are all used for the smallest requests of the class.
//
// Go: func printComment (mksizeclasses.go)
static void print_table(void)
{
    printf("| class | size | pages | objects | tail waste | largest waste |\n"
           "|--:|--:|--:|--:|--:|--:|\n");
    for (size_t i = 1; i < n_classes; i++) {
        const struct class *c = &classes[i];
        printf("| %zu | %zu | %zu | %zu | %zu | %.2f %% |\n", i, c->size,
               c->npages, objects(c), span_bytes(c) - objects(c) * c->size,
               total_waste_of(classes[i - 1].size + 1));
    }
}

// print_summary prints what the rules cost. Below 128 bytes the smallest step
// decides, not max_waste; so the worst case is looked for from there on.
static void print_summary(void)
{
    size_t first = 129;
    size_t worst = first;
    size_t worst_total = first;
    double sum = 0;
    double sum_total = 0;

    for (size_t size = 1; size <= MAX_SMALL_SIZE; size++) {
        sum += waste_of(size);
        sum_total += total_waste_of(size);
        if (size >= first && waste_of(size) > waste_of(worst))
            worst = size;
        if (size >= first && total_waste_of(size) > total_waste_of(worst_total))
            worst_total = size;
    }
    printf("%zu classes and class 0\n", n_classes - 1);
    printf("waste by rounding: %.2f %% on average, from %zu up at most %.2f %%"
           " (%zu)\n",
           sum / MAX_SMALL_SIZE, first, waste_of(worst), worst);
    printf("with ends of spans: %.2f %% on average, from %zu up at most %.2f %%"
           " (%zu)\n",
           sum_total / MAX_SMALL_SIZE, first, total_waste_of(worst_total),
           worst_total);
}

static const char usage[] =
    "usage: mksizeclasses [OPTION...]\n"
    "\n"
    "Prints sizeclasses.h, the size classes as C tables, or instead\n"
    "  --table              the classes, in Markdown\n"
    "  --waste              size, class size, waste in % of it, for each size\n"
    "  --summary            number of classes, average and largest waste\n"
    "  --help               this\n"
    "of the classes that these rules give:\n"
    "  --max-waste PERCENT  of rounding, and of a span's end (default 12.5)\n"
    "  --step BYTES         smallest distance of classes (default 16)\n"
    "  --max-step BYTES     largest distance (default 256)\n"
    "  --no-merge           keep classes that save no memory\n"
    "\n"
    "Steps are powers of two, from 8 to 32768. TCMalloc's notes speak of "
    "about\n"
    "170 classes: --step 8 --no-merge. Powers of two alone: --max-waste 100\n"
    "--max-step 32768.\n";

_Noreturn static void refuse(const char *what, const char *argument)
{
    if (what != NULL)
        fprintf(stderr, "mksizeclasses: %s: '%s'\n", what, argument);
    fputs(usage, stderr);
    exit(2);
}

// parse_step returns a distance of classes.
static size_t parse_step(const char *text)
{
    char *end;
    errno = 0;
    long step = strtol(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || step < 8 ||
        step > MAX_SMALL_SIZE || (step & (step - 1)) != 0)
        refuse("not a power of two from 8 to 32768", text);
    return (size_t)step;
}

static double parse_percent(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 1 && value <= 100))
        refuse("not a number of per cent from 1 to 100", text);
    return value;
}

// parse_options sets the rules and returns what is to be printed.
static int parse_options(int argc, char **argv)
{
    static const struct option options[] = {
        {"help", no_argument, NULL, 'h'},
        {"max-step", required_argument, NULL, 'l'},
        {"max-waste", required_argument, NULL, 'p'},
        {"no-merge", no_argument, NULL, 'n'},
        {"step", required_argument, NULL, 's'},
        {"summary", no_argument, NULL, 'S'},
        {"table", no_argument, NULL, 'T'},
        {"waste", no_argument, NULL, 'W'},
        {NULL, 0, NULL, 0}};
    int output = 0; // the header
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
        switch (option) {
        case 'l':
            max_step = parse_step(optarg);
            break;
        case 'n':
            merge = false;
            break;
        case 'p':
            max_waste = parse_percent(optarg);
            break;
        case 's':
            min_step = parse_step(optarg);
            break;
        case '?':
            refuse(NULL, NULL);
        default:
            if (output != 0 && output != option)
                refuse("only one thing can be printed", argv[optind - 1]);
            output = option;
        }
    if (optind < argc)
        refuse("not an option", argv[optind]);
    if (min_step > max_step)
        refuse("--step is above --max-step", argv[argc - 1]);
    return output;
}

int main(int argc, char **argv)
{
    int output = parse_options(argc, argv);

    make_classes();
    if (output == 0 && !fits_tables()) {
        fprintf(stderr,
                "mksizeclasses: these %zu classes do not fit into the"
                " tables; see them with --table\n",
                n_classes);
        return 1;
    }
    switch (output) {
    case 'h':
        fputs(usage, stdout);
        break;
    case 'S':
        print_summary();
        break;
    case 'T':
        print_table();
        break;
    case 'W':
        print_waste();
        break;
    default:
        print_header();
    }
    if (fclose(stdout) != 0) {
        perror("mksizeclasses");
        return 1;
    }
    return 0;
}
