/*
 * town.h - two nodes in one loop, without capture: n1 where cart calls from, n2 where pay serves on
 * loopback; real tunnels between them and, where options ask for them, within one, and the access
 * log of both.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_FLOW_TOWN_H
#define ISTHMUS_TESTS_UNIT_PROXY_FLOW_TOWN_H

#include "proxy/accept/acceptor.h"
#include "proxy/audit/audit.h"
#include "proxy/flow/flow.h"
#include "proxy/meter/traffic.h"
#include "tests/kit/snap.h"
#include "tests/unit/proxy_tls/tls_kit.h"

#define PATIENCE_MS  10000
#define LONG_NS      (UINT64_C(100) * 1000000000)
#define APP_TAPS_MAX 200

#define CART "10.0.0.1"   /* n1, ID_A */
#define PAY1 "127.0.0.21" /* n2, ID_B; the app listens here only */
#define PAY2 "127.0.0.22" /* n2, ID_B; nobody listens, but for town_open_second() */
#define VIP  "10.96.0.1"

struct town_node {
    struct town *town;
    const char *name;
    struct snapshot *snapshot;
    const struct snapshot *snapshot_now;
    struct balancer *balancer;
    struct traffic *traffic;
    struct connector *connector;
    struct walk *walk;
    struct acceptor *acceptor;
    struct task *rechecked; /* of the next town_walk(); NULL: none */
    struct ledger *ledger;  /* shared by both, for the next town_walk(); NULL: each has its own */
};

struct town {
    struct world world;
    struct snap snap;
    struct tls_set *set;
    const struct tls_set *set_now;
    const struct trust *trust;
    struct meter *meter;
    struct town_node n1, n2;
    struct listener *app;
    uint16_t port; /* of the app */
    struct tap served[APP_TAPS_MAX];
    unsigned n_served;
    struct listener *second;         /* on PAY2, at the same port; NULL: none */
    bool is_of_second[APP_TAPS_MAX]; /* served there */
    int log_fds[2];
    struct audit *audit;             /* NULL: none */
    bool audits_requests;            /* set these before town_audit(): each request; but */
    bool lacks_verdicts, lacks_ends; /* not these */
    struct tracer *tracer;           /* of n1; NULL: none */
    struct text log;
};

/* n1: cart; n2: pay-1. The caller adds to town->snap and calls town_learn(). */
void town_open(struct town *town);
void town_close(struct town *town);
/* Opens an audit log in which n1 is worker 0 and n2 worker 1. Read it once the town is closed. */
void town_audit(struct town *town, const char *path);
/* Both nodes take a snapshot of what the snap holds now, and recheck their flows. */
void town_learn(struct town *town);
/* How many flows it counts on endpoints, and how many endpoints it holds something against. */
size_t town_blamed(struct town_node *node);
/* The app listens on PAY2 too. */
void town_open_second(struct town *town);
/* Makes the walk of a node anew with other options: fields that are 0 keep their default. */
void town_walk(struct town_node *node, const struct walk_options *options);
/* The service "store" at VIP:6379 with pay-1, and pay-2 if it was added. */
struct model_service *town_service(struct town *town);
struct model_workload *town_pay(struct town *town, const char *name, const char *node,
                                const char *address);

/* A bare socket that is connected to where captured connections come. */
int town_dial(const struct listener *door);

struct town_call {
    struct town *town;
    struct fake_stream *ours, *theirs;
    struct tap tap;
};

/* An arrival by hand: kind ARRIVAL_OUTBOUND or ARRIVAL_PLAINTEXT. */
void call_start(struct town_call *call, struct town_node *node, enum arrival_kind kind,
                const char *source, const char *destination_ip, uint16_t port);
void call_end(struct town_call *call);
void call_say(struct town_call *call, const char *text);
/* Bytes go through to the n-th connection of the app and back. */
bool call_echoes(struct town_call *call, unsigned n_served);
bool call_refused(struct town_call *call);
bool town_is_quiet(struct town *town);           /* no flow is left on either node */
bool town_has_leased_nothing(struct town *town); /* n1, soon */
/* Ends the call, and everything that it left behind: leases came back, and what rests in the pool
 * of cart, each of which is a flow of the other node, is forgotten. */
void town_close_with(struct town *town, struct town_call *call);

/* Whether the access log has a line with all of the words (at most 6, NULL at the end). */
bool town_logged(struct town *town, const char *const *words);
#define LOGGED(town, ...) town_logged((town), (const char *const[]){__VA_ARGS__, NULL})

#endif
