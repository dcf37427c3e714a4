/*
 * h2_kit.h - two ends of an HTTP/2 connection that record what they hear, over TLS on TCP or over
 * fake streams; and a raw peer, which says what no honest one says.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_HTTP_H2_KIT_H
#define ISTHMUS_TESTS_UNIT_PROXY_HTTP_H2_KIT_H

#include <nghttp2/nghttp2.h>

#include "proxy/http/h2.h"
#include "tests/unit/proxy_tls/tls_kit.h"

#define CALLS_MAX 2100

struct call {       /* one HTTP/2 stream */
    struct tap tap; /* first: the owner of all its events */
    struct peer *peer;
    unsigned n_heads, n_trailers;
    bool head_ends; /* the head said that no body follows */
    char status[16], method[16], authority[64], trailer[64];
};

struct peer {
    struct h2 *h2; /* NULL: closed */
    struct call *calls[CALLS_MAX];
    unsigned n_calls;
    unsigned n_ready, n_capacity, n_dead;
    int dead_err;
    char dead_why[256];
    bool answers;              /* a server: 200, and resumes */
    bool refuses;              /* a server: closes with -ERR_H2_REFUSED */
    unsigned n_ended_at_death; /* calls that had failed when on_dead came */
    /* In which event to close the connection from inside: 'q' request, 'h'ead, 'd'ead, 'y' ready.
     */
    char closes_at;
};

extern const struct h2_events peer_events;
extern const struct h2_stream_events call_events;

/* Sends a request of the fields "name: value" ... NULL; the call is the peer's newest. */
struct call *peer_request(struct peer *peer, bool end_stream, const char *const *fields);
struct call *peer_connect(struct peer *peer); /* CONNECT 10.0.0.1:80 */
struct call *peer_last(const struct peer *peer);
void call_respond(struct call *call, const char *status, bool end_stream);
void peer_free(struct peer *peer); /* closes what is open */

/* The n-th call of a server has come. */
bool peer_has_calls(struct loop *loop, const struct peer *peer, unsigned n);
bool call_has_head(struct loop *loop, const struct call *call);
bool peer_dies(struct loop *loop, const struct peer *peer);
bool peer_is_idle(struct loop *loop, const struct peer *peer); /* no open streams */

/* A connected pair over fake streams, or over TLS on TCP; both ends heard each other's SETTINGS. */
struct link {
    struct world world;
    struct loop *loop; /* of the world, or its own */
    struct fake_stream *below_client, *below_server;
    struct peer client, server;
};

void link_open(struct link *link, const struct h2_options *client, const struct h2_options *server);
void link_open_tls(struct link *link);
void link_close(struct link *link);
/* A CONNECT that was answered with 200; both sides resumed. */
void link_tunnel(struct link *link, struct call **out_client, struct call **out_server);

/* A server (or client) of ours whose peer is the test, frame by frame. */
struct raw {
    struct loop *loop;
    struct fake_stream *below;
    struct peer peer;
    nghttp2_hd_deflater *deflater;
};

void raw_open(struct raw *raw, bool is_server, const struct h2_options *options);
void raw_close(struct raw *raw);
void raw_greet(
    struct raw *raw); /* the preface, if a client's, and empty SETTINGS with their answer */
void raw_frame(struct raw *raw, uint8_t type, uint8_t flags, int32_t stream_id, const void *payload,
               size_t len);
/* HEADERS with END_HEADERS and the fields "name", "value", ..., NULL. */
void raw_headers(struct raw *raw, uint8_t flags, int32_t stream_id, const char *const *fields);
void raw_run(struct raw *raw);
/* The first frame of a type that was written: its payload, and whether there is one. */
bool raw_saw(const struct raw *raw, uint8_t type, int32_t stream_id, struct str *out_payload);
uint32_t raw_code(struct str payload, size_t at); /* a number of 32 bits */

extern const char *const connect_fields[];
extern const char *const get_fields[];

#endif
