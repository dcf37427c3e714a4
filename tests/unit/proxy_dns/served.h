/*
 * served.h - a DNS server with what is around it: a zone, a resolver, and a client.
 *
 * One of each in a test program, between set_up() and tear_down(), which proves that nothing is
 * left. Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_DNS_SERVED_H
#define ISTHMUS_TESTS_UNIT_PROXY_DNS_SERVED_H

#include "tests/kit/loop_kit.h"
#include "tests/unit/proxy_dns/peers.h"

#define WEB         "web.shop.svc.clusterset.local"
#define WEB_ANSWER  "NOERROR aa ra\nanswer " WEB ". 5 A 10.201.0.1"
#define EXAMPLE     "NOERROR ra\nanswer example.com. 77 A 192.0.2.1"
#define PATIENCE_MS 5000

extern struct loop *loop;
extern struct meter *meter;
extern struct snapshot *snapshot;
extern const struct snapshot *current; /* that the server reads */
extern struct resolver resolver;
extern struct dns_server *server;
extern struct client client;

/* Without a client; with one. */
void set_up(void);
void set_up_udp(void);
void set_up_tcp(void);
void tear_down(void);

void open_server(struct addr listen, struct addr to);

/* What answer_oddly() answers: everything that a proxy could be tempted to rewrite, odd flags, odd
 * records, bytes behind the end. */
extern struct message odd_answer;
void answer_oddly(struct resolver *from, struct asked *asked);

void expect_same_but_id(struct str a, struct str b);

#endif
