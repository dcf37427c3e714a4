/*
 * relief.h - when memory is short, who holds most of it gives it back, so that nobody else has to.
 *
 * What a flow holds is what waits in it to be read: bytes of answers that their client does not
 * take, bytes of uploads that the server does not. The client that holds most, all its flows
 * together, has them cut from the largest down until there is enough. Whose flows hold less than
 * RELIEF_BYTES_MIN together is never cut: then it is not them that memory is short for.
 *
 * Owner: the walk. Thread: the worker's. Units: bytes. Source: a client is the address that its
 * connection came from; a captured one's no pod can choose.
 */
#ifndef ISTHMUS_FLOW_RELIEF_H
#define ISTHMUS_FLOW_RELIEF_H

#include "proxy/flow/flow.h"

#define RELIEF_BYTES_MIN (UINT64_C(4) << 20)

/* Ends flows with -ERR_HELD_MOST that hold need_bytes together, or all of that one client. Returns
 * what they held, which is free at the end of the turn; 0: nobody holds much. */
uint64_t relief_cut(struct walk *walk, uint64_t need_bytes);

#endif
