// tsan_rand.c - lets Criterion run under ThreadSanitizer; TSan builds only.
//
// Criterion shares memory with the processes of its tests at 2^45 + r * 2^24,
// where r is drawn with rand_r. ThreadSanitizer keeps most of the address space
// for itself, so nearly every draw ends the run before the first test. This
// rand_r takes the place of the C library's and draws only addresses that
// ThreadSanitizer leaves to the program, on x86-64, and that lie far above the
// program itself and its heap.

#if !defined(__x86_64__)
#error "the addresses in this file are those of x86-64"
#endif

enum {
    FIRST = 0x366000, // 2^45 + FIRST * 2^24 is 0x566000000000
    COUNT = 0x2000 // up to 0x568000000000
};

// The rest of the program is hidden (-fvisibility=hidden), but libcriterion.so
// must find this.
__attribute__((visibility("default"))) int rand_r(unsigned *seed);

int rand_r(unsigned *seed)
{
    *seed = *seed * 1103515245U + 12345U;
    return FIRST + (int)((*seed >> 8) % COUNT);
}
