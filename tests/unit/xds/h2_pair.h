/*
 * h2_pair.h - a client and a server of HTTP/2 on one loop, joined by a pair of fake streams: for
 * what is said on streams of HTTP/2; the requests go to the test.
 */
#ifndef ISTHMUS_TESTS_UNIT_XDS_H2_PAIR_H
#define ISTHMUS_TESTS_UNIT_XDS_H2_PAIR_H

#include "proxy/http/h2.h"
#include "tests/kit/fake_stream.h"

struct h2_pair {
    struct loop *loop;
    struct fake_stream *below_client, *below_server;
    struct h2 *client, *server;
    struct h2_events server_events;
    bool is_ready; /* the client heard the server's SETTINGS */
};

/* The client is ready when it returns. on_request, of the server, is called with the owner. */
void h2_pair_open(struct h2_pair *pair,
                  void (*on_request)(void *owner, struct stream *stream,
                                     const struct h2_head *head),
                  void *owner);
/* Frees the loop, too, which ensures that nothing is left in it. */
void h2_pair_close(struct h2_pair *pair);

#endif
