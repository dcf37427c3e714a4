/*
 * peers.h - who a DNS server talks to: clients over UDP and TCP, and a resolver that does what a
 * test tells it.
 *
 * Everything is on 127.0.0.1 with ports of the kernel's choice. Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_DNS_PEERS_H
#define ISTHMUS_TESTS_UNIT_PROXY_DNS_PEERS_H

#include "proxy/dns/frame.h"
#include "proxy/dns/server.h"
#include "proxy/io/udp.h"
#include "tests/unit/proxy_dns/zone.h"

#define GOT_MAX 4096

/* A client: what came back is kept, in order. */
struct client {
    struct loop *loop;
    struct udp *udp;
    struct stream *stream;
    struct tcp_connect *connect;
    struct dns_framer framer;
    struct str got[GOT_MAX]; /* copies */
    unsigned n_got;
    bool is_connected, is_ended, is_failed;
};

void client_open_udp(struct client *client, struct loop *loop, struct addr server);
void client_open_tcp(struct client *client, struct loop *loop, struct addr server);
void client_open_tcp_from(struct client *client, struct loop *loop, struct addr server,
                          const char *source);
void client_send(struct client *client, struct str message);
/* A query for name over whatever the client has, with the id. */
void client_ask(struct client *client, const char *name, uint16_t type, uint16_t id);
/* Turns the loop until n messages came in all; false after five seconds. */
bool client_wait(struct client *client, unsigned n);
const char *client_text(const struct client *client, unsigned idx);
uint16_t client_id(const struct client *client, unsigned idx);
void client_close(struct client *client);

/* One query that the resolver got, and the way back. */
struct asked {
    struct message query;
    struct addr from;      /* UDP */
    struct stream *stream; /* TCP */
};

struct resolver {
    struct loop *loop;
    struct udp *udp;
    struct listener *listener;
    struct addr addr; /* of both */
    struct stream *streams[16];
    struct dns_framer framers[16];
    unsigned n_streams; /* that were opened */
    unsigned n_asked;
    struct asked last[40]; /* by order of arrival */
    /* NULL: silence. */
    void (*on_asked)(struct resolver *resolver, struct asked *asked);
};

void resolver_open(struct resolver *resolver, struct loop *loop);
/* Sends bytes back the way the query came. */
void resolver_send(struct resolver *resolver, const struct asked *asked, struct str message);
/* For on_asked: the query itself with QR set, and one A record 192.0.2.1 of TTL 77. */
void resolver_answer(struct resolver *resolver, struct asked *asked);
void resolver_make_answer(const struct asked *asked, struct message *out_answer);
void resolver_hang_up(struct resolver *resolver, struct stream *stream);
bool resolver_wait(struct resolver *resolver, unsigned n_asked);
void resolver_close(struct resolver *resolver);

struct addr localhost(void);

#endif
