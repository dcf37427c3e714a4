/*
 * clock.h - the clocks of the operating system. Code that decides takes time as an argument;
 * only edges read these.
 */
#ifndef ISTHMUS_BASE_CLOCK_H
#define ISTHMUS_BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_MS  UINT64_C(1000000)
#define NS_PER_SEC UINT64_C(1000000000)

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC */
int64_t clock_wall_ns(void);  /* CLOCK_REALTIME, ns since 1970 */
/* Processor time of the calling thread: CLOCK_THREAD_CPUTIME_ID, which costs a system call. */
uint64_t clock_thread_ns(void);

/* "2026-01-31T12:00:00.123456Z" (RFC 3339, UTC) into buf of CLOCK_TEXT_MAX bytes, which is
 * returned. */
#define CLOCK_TEXT_MAX 32
const char *clock_text(int64_t wall_ns, char *buf);
/* The same with all nine digits: "2026-01-31T12:00:00.123456789Z". */
const char *clock_text_ns(int64_t wall_ns, char *buf);

#endif
