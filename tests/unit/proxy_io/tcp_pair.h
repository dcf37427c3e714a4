/*
 * tcp_pair.h - the loop of a test and its TCP streams a and b, connected to each other; or a alone,
 * with a plain socket at its other end.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_IO_TCP_PAIR_H
#define ISTHMUS_TESTS_UNIT_PROXY_IO_TCP_PAIR_H

#include "peers.h"

#define PATIENCE_MS 5000

extern struct loop *loop;
extern struct end a, b; /* a called, b was accepted */

void start(void);
/* The same, with b pausing in each of its reads. */
void start_pausing(void);
/* a was accepted from a plain non-blocking socket, which is the caller's to close. */
int start_plain(void);
/* Closes what is open, and proves that no event came out of a call and that nothing is left. */
void finish(void);

void say(struct end *end, const char *text);
/* Writes the pattern from a, total counting on, until something stays queued over a turn: then the
 * socket takes no more. */
void fill_socket(size_t *total);
/* For run_until(): b read so many bytes; ctx is their number, a size_t. */
bool b_got(void *ctx);

#endif
