// sanitizers.h - which sanitizer is part of the program: some make it much
// slower, and ThreadSanitizer cannot start threads in the child of a fork.

#ifndef UNIT_SANITIZERS_H
#define UNIT_SANITIZERS_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UNDER_TSAN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#endif
#ifndef UNDER_TSAN
#define UNDER_TSAN 0
#endif

#endif
