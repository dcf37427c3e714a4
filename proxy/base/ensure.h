/*
 * ensure.h - contracts that hold in every build.
 *
 * ensure() states what must be true if our own code is right; when it is not, the process logs
 * where and aborts, since going on would mean guessing. What a peer, a file or a user can cause is
 * never an ensure(): that is an error. assume() is the same for loops too hot to check in a release
 * build.
 */
#ifndef ISTHMUS_BASE_ENSURE_H
#define ISTHMUS_BASE_ENSURE_H

#define MUST_USE                          __attribute__((warn_unused_result))
#define PRINTF_LIKE(format_idx, args_idx) __attribute__((format(printf, format_idx, args_idx)))

/* Reports a broken contract on standard error and aborts. */
_Noreturn void ensure_failed(const char *condition, const char *file, int line);

#define ensure(condition) ((condition) ? (void)0 : ensure_failed(#condition, __FILE__, __LINE__))

#ifdef NDEBUG
#define assume(condition) ((void)0)
#else
#define assume(condition) ensure(condition)
#endif

/* The struct of the given type whose member is at ptr. */
#define container_of(ptr, type, member)                                                            \
    ((type *)(void *)((char *)(void *)(ptr)-offsetof(type, member)))

#define ARRAY_LEN(array) (sizeof(array) / sizeof((array)[0]))

#endif
