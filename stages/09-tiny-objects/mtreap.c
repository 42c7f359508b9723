// mtreap.c - free spans in order: a search tree that chance keeps balanced.
//
// Every span has a random priority. By order, the spans are a search tree; by
// priority, a heap. Only one tree is both, and as it is the one that grows if
// the spans are inserted in random order, it is flat, most likely: with n spans
// a search visits about 2 log2 n.
//
//                 400 pages, priority 90
//                /                      \           left: shorter, or as long
//     200 pages, priority 30    500 pages, priority 70     and lower
//
// The random numbers begin with the same one in every process, so that the same
// calls visit the same number of spans.
//
// Invariant  I1 Left of a span are those before it in the order, right of it
//               those after it.
//            I2 No child has a higher priority than its parent.
// TCMalloc   SpanSet in span.h: a std::set
// Go         mTreap, in versions 1.9 to 1.13
// Source     R. Seidel, C. R. Aragon: Randomized Search Trees (1996)

#include "heap.h"

#include "check.h"

// is_before tells whether a is before b in the order.
static bool is_before(const struct mspan *a, const struct mspan *b)
{
    return a->npages != b->npages ? a->npages < b->npages
                                  : a->start_addr < b->start_addr;
}

// split cuts the tree root in two: *low gets what is before s, *high the rest.
static void split(struct mspan *root, const struct mspan *s, struct mspan **low,
                  struct mspan **high)
{
    while (root != NULL) {
        if (is_before(root, s)) {
            *low = root;
            low = &root->right;
            root = root->right;
        } else {
            *high = root;
            high = &root->left;
            root = root->left;
        }
    }
    *low = NULL;
    *high = NULL;
}

// join returns a tree of low and high; all of low is before all of high.
static struct mspan *join(struct mspan *low, struct mspan *high)
{
    struct mspan *root = NULL;
    struct mspan **at = &root;

    while (low != NULL && high != NULL) {
        if (low->priority >= high->priority) {
            *at = low;
            at = &low->right;
            low = low->right;
        } else {
            *at = high;
            at = &high->left;
            high = high->left;
        }
    }
    *at = low != NULL ? low : high;
    return root;
}

// next_random returns a random number: xorshift, by G. Marsaglia.
static uint32_t next_random(struct mtreap *t)
{
    if (t->random == 0)
        t->random = UINT64_C(88172645463325252);
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return (uint32_t)(t->random >> 32);
}

void mtreap_insert(struct mtreap *t, struct mspan *s)
{
    struct mspan **at = &t->root;

    s->priority = next_random(t);
    while (*at != NULL && (*at)->priority >= s->priority)
        at = is_before(s, *at) ? &(*at)->left : &(*at)->right;
    split(*at, s, &s->left, &s->right);
    *at = s;
}

void mtreap_remove(struct mtreap *t, struct mspan *s)
{
    struct mspan **at = &t->root;

    while (*at != s)
        at = is_before(s, *at) ? &(*at)->left : &(*at)->right;
    *at = join(s->left, s->right);
    s->left = NULL;
    s->right = NULL;
}

struct mspan *mtreap_find(const struct mtreap *t, size_t npages,
                          uint64_t *visited)
{
    struct mspan *best = NULL;

    for (struct mspan *s = t->root; s != NULL;) {
        count(visited, 1);
        if (s->npages >= npages) {
            best = s;
            s = s->left;
        } else {
            s = s->right;
        }
    }
    return best;
}

// check_tree tests the tree root, all of which must lie between low and high
// (NULL: no bound), and counts down *n for each span.
// NOLINTNEXTLINE(misc-no-recursion): as deep as the tree
static bool check_tree(const struct mspan *root, const struct mspan *low,
                       const struct mspan *high, size_t *n)
{
    if (root == NULL)
        return true;
    if ((*n)-- == 0)
        return mm_complain("a treap holds its spans, once", root);
    if ((low != NULL && !is_before(low, root)) ||
        (high != NULL && !is_before(root, high)))
        return mm_complain("I1 a treap is in order", root);
    if ((root->left != NULL && root->left->priority > root->priority) ||
        (root->right != NULL && root->right->priority > root->priority))
        return mm_complain("I2 a child has no higher priority", root);
    return check_tree(root->left, low, root, n) &&
           check_tree(root->right, root, high, n);
}

bool mtreap_check(const struct mtreap *t, size_t n)
{
    if (!check_tree(t->root, NULL, NULL, &n))
        return false;
    if (n != 0)
        return mm_complain("a treap holds its spans, all of them", t->root);
    return true;
}
