/*
 * hole.h - an address that drops packets: a connect to it neither succeeds nor fails.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_FLOW_HOLE_H
#define ISTHMUS_TESTS_UNIT_PROXY_FLOW_HOLE_H

#include <stdint.h>

#define HOLE_FDS 4

struct hole { /* a listener whose queue is full */
    int fds[HOLE_FDS];
};

void hole_dig(struct hole *hole, const char *address, uint16_t port);
/* It drops them no longer; those that filled it would ask again too, and take the room. */
void hole_make_room(struct hole *hole);
void hole_fill(struct hole *hole);

#endif
