// stages: 05-09
//
// mem_linux.c: memory by mmap, at multiples of PAGE_SIZE.

#include "heap.h"

#include <string.h>

#include "blocks.h"
#include "os_memory.h"
#include "test.h"

static char *from_os(size_t n)
{
    lock_acquire(&mheap.lock);
    char *p = sys_alloc(n);
    lock_release(&mheap.lock);
    return p;
}

static void to_os(void *p, size_t n)
{
    lock_acquire(&mheap.lock);
    sys_free(p, n);
    lock_release(&mheap.lock);
}

TEST(
    memory_is_fresh,
    "what comes from the OS is at a multiple of PAGE_SIZE, all 0, writable, and"
    " right below what came before; it is counted, and what is too much is not"
    " kept")
{
    static const size_t npages[] = {1, 3, 128, 1, 1000};
    char *last = NULL;
    size_t bytes = 0;
    for (size_t i = 0; i < 5; i++) {
        size_t n = npages[i] * PAGE_SIZE;
        char *p = from_os(n);
        CHECK_ALIGNED(p, PAGE_SIZE);
        CHECK_TRUE(last == NULL || p + n == last);
        for (size_t k = 0; k < n; k += 512)
            CHECK_EQ(p[k], 0);
        memset(p, 0x5A, n);
        last = p;
        bytes += n;
        CHECK_EQ(stats().bytes_from_os, bytes);
        CHECK_EQ(stats().mmaps, i + 1);
    }
}

TEST(crooked_memory_is_put_right, "if the OS puts a mapping at no multiple of "
                                  "PAGE_SIZE, another is cut right,"
                                  " and all that is left over goes back")
{
    size_t os_page = (size_t)sysconf(_SC_PAGESIZE);
    if (os_page >= PAGE_SIZE) {
        CHECK_ALIGNED(from_os(PAGE_SIZE), PAGE_SIZE);
        return;
    }
    size_t bytes = 0;
    for (size_t i = 0; i < 4; i++) {
        // At the first call, and at later ones; and not at some.
        os.skew = i == 2 ? 0 : os_page;
        char *p = from_os(3 * PAGE_SIZE);
        CHECK_ALIGNED(p, PAGE_SIZE);
        memset(p, 0x5A, 3 * PAGE_SIZE);
        bytes += 3 * PAGE_SIZE;
        CHECK_EQ(stats().bytes_from_os, bytes);
        CHECK_TRUE(p >= os.low);
    }
}

TEST(refused_memory_is_enomem,
     "if the OS refuses, whatever its reason, errno says ENOMEM, and nothing is"
     " counted as held")
{
    char *p = from_os(PAGE_SIZE);
    CHECK_NOT_NULL(p);
    uint64_t bytes = stats().bytes_from_os;
    os.fail_from = os.calls + 1;
    errno = 0;
    CHECK_NULL(from_os(PAGE_SIZE));
    CHECK_EQ(errno, ENOMEM);
    CHECK_EQ(stats().bytes_from_os, bytes);
    os.fail_from = SIZE_MAX;
    CHECK_NOT_NULL(from_os(PAGE_SIZE));
}

TEST(memory_goes_back,
     "what is given back is not counted any more; if the OS refuses to take it,"
     " it stays, and errno is as it was")
{
    char *p = from_os(4 * PAGE_SIZE);
    uint64_t bytes = stats().bytes_from_os;
    uint64_t peak = stats().bytes_from_os_peak;
    errno = 4711;
    to_os(p, PAGE_SIZE);
    CHECK_EQ(stats().bytes_from_os, bytes - PAGE_SIZE);
    to_os(p, 0);
    os.keep = true;
    to_os(p + PAGE_SIZE, PAGE_SIZE);
    CHECK_EQ(errno, 4711);
    CHECK_EQ(stats().bytes_from_os, bytes - PAGE_SIZE);
    CHECK_EQ(stats().bytes_from_os_peak, peak);
    p[PAGE_SIZE] = 1; // it is still there
}
