/*
 * peers.h - the two ends of a connection, for the tests of this folder: streams that record their
 * events, plain sockets.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_IO_PEERS_H
#define ISTHMUS_TESTS_UNIT_PROXY_IO_PEERS_H

#include "proxy/base/text.h"
#include "proxy/io/tcp.h"

/* A stream and what happened to it. */
struct end {
    struct stream *stream; /* NULL before and after its life */
    struct text got;
    size_t n_got, n_wrong; /* bytes; those that differ from the pattern of write_pattern() */
    size_t n_wrote;
    unsigned n_reads, n_drains;
    bool ended, failed;
    int err;
    bool echoes;
    bool in_call; /* a call of ours runs: no event may come */
    unsigned n_inside;
};

extern const struct stream_events end_events;

void end_attach(struct end *end, struct stream *stream);
void end_close(struct end *end, int err);
void end_free(struct end *end);

/* Writes slices of a pattern until the stream says stop or total bytes are out; true when all are.
 */
bool end_write_pattern(struct end *end, size_t total);

/* A listener whose connections go to the ends one after the other. */
struct door {
    struct listener *listener;
    struct addr addr;
    struct end *ends;
    unsigned n_ends, n_accepted;
    bool closes_itself; /* on the first connection */
};

void door_open(struct door *door, struct loop *loop, const char *local, struct end *ends,
               unsigned n_ends);
void door_on_accept(void *owner, struct stream *stream);

/* Two streams that are connected: a called, b was accepted. */
void pair_open(struct loop *loop, struct end *a, struct end *b);

/* A plain non-blocking socket, connected or connecting to the address. */
int plain_connect(const struct addr *remote);
/* It is connected, or was refused: 0 or the errno. */
int plain_connected(int fd);
struct addr loopback(const char *text);

#endif
