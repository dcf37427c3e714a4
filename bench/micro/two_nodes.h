/*
 * two_nodes.h - two nodes in one loop, for cases that move real bytes: captured connections of cart
 * on n1, apps of pay on n2 (through a tunnel) and of till on n1 (plain). Client and app are bare
 * sockets, whose system calls cost few instructions of their own.
 *
 * Owner: the process; nothing is freed. Errors: every failure aborts.
 */
#ifndef ISTHMUS_BENCH_TWO_NODES_H
#define ISTHMUS_BENCH_TWO_NODES_H

#include <stddef.h>

enum route { ROUTE_PLAIN, ROUTE_TUNNEL };

/* splice_after_bytes as in pump.h. */
void nodes_open(size_t splice_after_bytes);

struct wire { /* a client and the app that it reached, as descriptors */
    int client, app;
};

struct wire nodes_connect(enum route route);
/* Resets it from the client's side, and waits until both nodes have forgotten it. */
void nodes_disconnect(struct wire *wire);
/* Moves bytes from one end to the other, reading all of them there. */
void nodes_move(int from, int to, size_t bytes);

/* n1's worker takes the next snapshot, in which the same is said. */
void nodes_take_snapshot(void);

#endif
