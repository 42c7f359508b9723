// heap.h - what the parts of the allocator tell each other.
//
//   malloc.c   blocks: takes them from the list of a class, or makes them
//   msize.c    size classes: which one a request belongs to, and how large
//              its blocks are
//
// A part calls only what is declared here, and callers stand above callees.
//
// TCMalloc   common.h
// Go         mheap.go, msize.go

#ifndef HEAP_H
#define HEAP_H

#include <stddef.h>

#include "sizeclasses.h"

// A page of the heap: memory for objects of a class comes in whole pages.
enum { PAGE_SIZE = 1 << PAGE_SHIFT };

// ---------------------------------------------------------------------------
// msize.c

// size_class_of returns the smallest class whose blocks have room for size
// bytes; size is at most MAX_SMALL_SIZE. The class of 0 is 0.
//
// A C block has to start at a multiple of 16, so malloc asks for 16 bytes at
// least. Every class from there on is a multiple of 16; class 1, of 8 bytes,
// is for objects that need no such alignment.
unsigned size_class_of(size_t size);

// class_size returns the size in bytes of the blocks of a class; 0 for class 0.
size_t class_size(unsigned class);

// class_npages returns how many pages of memory are cut into blocks of a class
// at a time; 0 for class 0.
size_t class_npages(unsigned class);

// round_up_size returns how many bytes a request for size bytes gets: the size
// of its class, or whole pages if it is above MAX_SMALL_SIZE. A size to which
// no page can be added is returned as it is.
size_t round_up_size(size_t size);

#endif
