// harden.c - a layer above any stage that notices more kinds of misuse.
//
// A closed block of n bytes is a larger block of the stage:
//
//     | n bytes for the caller | canary, at least 8 bytes | seal, 8 bytes |
//
// A write past the end changes the canary or the seal; it is noticed when the
// block is used as an argument again. The seal is n, mixed with the address.
//
// A freed block waits in quarantine, filled with one pattern, until QUARANTINE
// others were freed after it. Freed twice meanwhile: the seal tells. Written to
// meanwhile: the pattern tells. Then the stage gets it.
//
// Locking  The quarantine is a ring of atomic pointers; a slot changes hands in
//          one exchange, so that a fork can come at any time.

#include "harden.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "check.h"
#include "mm.h"

enum {
    SEAL = sizeof(uint64_t),
    EXTRA = 8 + SEAL, // canary and seal
    CANARY = 0xCA,
    FREED = 0xDE,
    QUARANTINE = 256, // blocks
    QUARANTINE_LARGEST = 1 << 16, // bytes; larger blocks do not wait
};

static _Atomic(void *) quarantine[QUARANTINE];
static _Atomic size_t freed_count;

bool harden_is_possible(void)
{
    int saved_errno = errno;
    void *p = mm_malloc(1);
    bool has_sizes = mm_usable_size(p) != 0;
    mm_free(p);
    errno = saved_errno;
    return has_sizes;
}

size_t harden_room(size_t size)
{
    return size > SIZE_MAX - EXTRA ? SIZE_MAX : size + EXTRA;
}

// seal_of returns the seal of a closed block of n bytes at p.
static uint64_t seal_of(const void *p, size_t n)
{
    return n ^ (uintptr_t)p ^ UINT64_C(0x5EA1ED0B10C50000);
}

void *harden_close(void *p, size_t size)
{
    if (p == NULL)
        return NULL;
    size_t whole = mm_block_size(p, "malloc");
    uint64_t seal = seal_of(p, size);
    memset((char *)p + size, CANARY, whole - SEAL - size);
    memcpy((char *)p + whole - SEAL, &seal, SEAL);
    return p;
}

// is_filled tells whether all n bytes are this one: the first is, and each is
// as the one before.
static bool is_filled(const void *p, size_t n, unsigned char byte)
{
    const unsigned char *bytes = p;
    return n == 0 || (bytes[0] == byte && memcmp(bytes, bytes + 1, n - 1) == 0);
}

size_t harden_size(const void *p, const char *call)
{
    const char *bytes = p;
    size_t whole = mm_block_size(p, call); // p is a block of the stage

    if (is_filled(bytes + whole - SEAL, SEAL, FREED))
        mm_misuse(call, p, "double free", p, whole);
    uint64_t seal;
    memcpy(&seal, bytes + whole - SEAL, SEAL);
    size_t size = (size_t)(seal ^ seal_of(p, 0));
    if (size > whole - EXTRA ||
        !is_filled(bytes + size, whole - SEAL - size, CANARY))
        mm_misuse(call, p, "something wrote past its end", p, whole);
    return size;
}

void *harden_calloc(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        bytes = SIZE_MAX;
    void *p = harden_close(mm_malloc(harden_room(bytes)), bytes);
    return p == NULL ? NULL : memset(p, 0, bytes);
}

void *harden_realloc(void *p, size_t size)
{
    size_t old_size = p == NULL ? 0 : harden_size(p, "realloc");

    // Every block moves, so that a pointer kept from before is noticed.
    void *q = NULL;
    if (p == NULL || size != 0) {
        q = harden_close(mm_malloc(harden_room(size)), size);
        if (q == NULL)
            return NULL;
    }
    if (p != NULL && q != NULL)
        memcpy(q, p, old_size < size ? old_size : size);
    harden_free(p);
    return q;
}

// end_quarantine gives p back to the stage, if nothing wrote to it meanwhile.
static void end_quarantine(void *p)
{
    if (p == NULL)
        return;
    size_t whole = mm_block_size(p, "free");
    if (!is_filled(p, whole, FREED))
        mm_misuse("free", p, "something wrote to it after it was freed", p,
                  whole);
    mm_free(p);
}

void harden_free(void *p)
{
    if (p == NULL)
        return;
    (void)harden_size(p, "free");
    size_t whole = mm_block_size(p, "free");
    if (whole > QUARANTINE_LARGEST) {
        mm_free(p);
        return;
    }
    memset(p, FREED, whole);
    size_t slot =
        atomic_fetch_add_explicit(&freed_count, 1, memory_order_relaxed);
    // release: pairs with the acquire of the same exchange by the thread that
    // finds p in the slot, which then sees the whole pattern.
    void *oldest = atomic_exchange_explicit(&quarantine[slot % QUARANTINE], p,
                                            memory_order_acq_rel);
    end_quarantine(oldest);
}
