/*
 * house.h - a node's doors on loopback, with one pod behind them (ID_B at 127.0.0.1), and what
 * knocked.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_ACCEPT_HOUSE_H
#define ISTHMUS_TESTS_UNIT_PROXY_ACCEPT_HOUSE_H

#include "proxy/accept/acceptor.h"
#include "proxy/connect/connect.h"
#include "tests/kit/snap.h"
#include "tests/unit/proxy_tls/tls_kit.h"

#define ARRIVALS_MAX 400
#define PATIENCE_MS  30000
#define LONG_NS      (UINT64_C(60) * 1000000000)

struct house {
    struct world world;
    struct snap snap;
    struct snapshot *snapshot;
    const struct snapshot *snapshot_now;
    struct tls_set *set;
    const struct tls_set *set_now;
    const struct trust *trust;
    struct meter *meter;
    struct acceptor *acceptor;
    struct connector *callers; /* speak as ID_A */
    struct arrival *arrivals[ARRIVALS_MAX];
    unsigned n_arrivals;
    unsigned n_refusals; /* and of the last one: */
    struct addr refused_peer, refused_dialled;
    int refused_err;
    char refused_why[512], claimed_id[256], claimed_serial[64];
};

void house_open(struct house *house);
/* With room for so many tunnels; 0: the usual. */
void house_open_with(struct house *house, size_t max_sessions);
/* Swaps in a snapshot made of what the snap holds now. */
void house_learn(struct house *house);
void house_close(struct house *house);
bool house_has(struct house *house, unsigned n_arrivals);
struct addr house_door(const struct house *house, enum arrival_kind kind);

/* A plain TCP connection to a door, with a tap. */
void house_dial(struct house *house, enum arrival_kind kind, struct tap *tap);
/* The same from an address; none: any. */
void house_dial_from(struct house *house, enum arrival_kind kind, const struct ip *source,
                     struct tap *tap);

struct caller {
    struct house *house;
    struct connect *connect;
    const char *other; /* another ID that it would take too; NULL: none */
    bool is_done;
    int err;
    struct tap tap;
};

/* A CONNECT through the tunnel door as ID_A, expecting ID_B. */
void caller_start(struct caller *caller, struct house *house, const char *authority);
bool caller_wait(struct caller *caller);
void caller_end(struct caller *caller);

#endif
