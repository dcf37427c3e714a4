/*
 * two_nodes.h - two nodes in one loop, for cases that move real bytes: captured connections of cart
 * on n1, apps of pay on n2 (through a tunnel) and of till on n1 (plain), and of shelf on n1 behind
 * a service whose port says that it speaks HTTP. Client and app are bare sockets, whose system
 * calls cost few instructions of their own.
 *
 * Owner: the process; nothing is freed. Errors: every failure aborts.
 */
#ifndef ISTHMUS_BENCH_TWO_NODES_H
#define ISTHMUS_BENCH_TWO_NODES_H

#include <stddef.h>

enum route { ROUTE_PLAIN, ROUTE_TUNNEL, ROUTE_HTTP, ROUTE_HTTP2, ROUTES };

/* What they do is told in an audit log, as far as that is the workers'. Before they are opened. */
void nodes_audit(void);
/* splice_after_bytes as in pump.h. */
void nodes_open(size_t splice_after_bytes);

struct wire { /* a client and the app that it reached, as descriptors; -1: none of its own */
    int client, app;
};

struct wire nodes_connect(enum route route);
/* The same for an app that is reached only when the client has spoken. */
struct wire nodes_connect_asking(enum route route, const void *first, size_t len);
/* A client alone, whose request finds a connection that is there. */
struct wire nodes_call(enum route route, const void *first, size_t len);
/* Resets it from the client's side, and waits until both nodes have forgotten it. */
void nodes_disconnect(struct wire *wire);
/* Moves bytes from one end to the other, reading all of them there. */
void nodes_move(int from, int to, size_t bytes);

void nodes_send(int fd, const void *bytes, size_t len);
/* Turns the loop until something can be read there; answers how much it was, at most room. */
size_t nodes_read(int fd, void *into, size_t room);

/* n1's worker takes the next snapshot, in which the same is said. */
void nodes_take_snapshot(void);

#endif
