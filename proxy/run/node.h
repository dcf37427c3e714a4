/*
 * node.h - `isthmus proxy`: the control thread of one node's data plane, and its workers.
 *
 *   control stream ──► resources ──► snapshot ──► the workers, capture rules, identities
 *   identities ──► tls_set ──► the workers
 *
 * Life: start from the disk if there is a saved state; SIGTERM drains (no new connections, GOAWAY,
 * not ready), and ends when the last flow did or the drain time passed; a second SIGTERM or SIGINT
 * ends at once.
 *
 * Owner: main. Thread: the main one.
 */
#ifndef ISTHMUS_RUN_NODE_H
#define ISTHMUS_RUN_NODE_H

#include "config/bootstrap.h"

/* Runs until it is told to end. Returns the exit status: 0, or 1 when it could not start, with the
 * reason logged. */
int node_run(const struct proxy_config *config);

#endif
