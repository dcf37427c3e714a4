/*
 * relief.h - when memory is short, who holds most of it gives it back, so that nobody else has to.
 *
 * What a flow holds is what waits in it to be read: bytes of answers that their client does not
 * take, bytes of uploads that the server does not. The client that holds most, all its flows at all
 * workers together (ledger.h), has them cut from the largest down until there is enough; if that is
 * not enough, so has the next. Whose flows hold less than LEDGER_BYTES_MIN together is never cut:
 * then it is not them that memory is short for.
 *
 * Owner: the walk. Thread: the worker's. Units: bytes. Source: a client is the address that its
 * connection came from, which no captured pod can choose. What comes out of a tunnel has the
 * address of the peer node, of which a pod's identity is told apart: the node has proven it.
 */
#ifndef ISTHMUS_FLOW_RELIEF_H
#define ISTHMUS_FLOW_RELIEF_H

#include "proxy/flow/flow.h"

struct relief {
    uint64_t bytes;  /* what those held that were cut; free at the end of the turn */
    bool is_awaited; /* it is another worker's turn: nobody is to be refused meanwhile */
};

/* Ends flows with -ERR_HELD_MOST that hold need_bytes together, as far as it is this worker's turn.
 */
struct relief relief_cut(struct walk *walk, uint64_t need_bytes);
/* Memory is nearly short: the others are told who holds much here. */
void relief_tell(struct walk *walk);

#endif
