/*
 * clients.h - what the connections of one client have in common: who opens many gains nothing.
 *
 *   clients_enter() ─► struct client ─► client_leave()
 *
 * What it sends that has to be refused is forgiven at CLIENT_FAULT_NS each; who has more to be
 * forgiven than CLIENT_FAULTS_FREE is a nuisance, and has its new connections heard late by
 * 1/CLIENT_PENANCE_SHARE of the time that all of it takes, up to CLIENT_FAULTS_MAX: they cost next
 * to nothing meanwhile, so that others of the node are served. Whoever goes on with few connections
 * thus ends at as many refusals a second as are free. They are heard CLIENT_GAP_NS after each
 * other, so that they do not make one long turn together, but none later than CLIENT_WAIT_MAX_NS:
 * who opens many does not pile them up.
 *
 * A client that has left is remembered until there are CLIENTS_MAX of them, so that connections in
 * a row are counted like connections at once.
 *
 * Owner: the walk. Thread: the worker's. Source: a captured connection's address, which no pod can
 * choose.
 */
#ifndef ISTHMUS_FLOW_CLIENTS_H
#define ISTHMUS_FLOW_CLIENTS_H

#include "proxy/base/addr.h"
#include "proxy/base/map.h"
#include "proxy/http/message.h"

#define CLIENTS_MAX          4096 /* remembered; pods of a node, and peers */
#define CLIENT_FAULT_NS      (UINT64_C(100) * 1000000)
#define CLIENT_FAULTS_FREE   20 /* messages that are no HTTP, floods; and 10 a second */
#define CLIENT_FAULTS_MAX    80 /* after the last one it is a nuisance for 6 s at most */
#define CLIENT_PENANCE_SHARE 4  /* 0.5 s at first, 2 s for who goes on */
#define CLIENT_GAP_NS        (UINT64_C(2) * 1000000)
#define CLIENT_WAIT_MAX_NS   (UINT64_C(3000) * 1000000)
/* Of a connection that was heard late: */
#define CLIENT_LATE_RESETS     3 /* rapid ones in a second */
#define CLIENT_LATE_HEAD_BYTES 16384

struct client {
    struct ip ip;
    size_t n_flows;
    struct http_rate resets;
    uint64_t forgiven_ns; /* when all of its faults are */
    uint64_t heard_ns;    /* when the last one that had to wait is heard */
};

struct clients { /* {0} is empty */
    struct map by_ip;
};

/* The client of an address, which is there until client_leave(). */
struct client *clients_enter(struct clients *clients, const struct ip *ip);
void client_leave(struct client *client);
/* It sent what had to be refused. */
void client_note_fault(struct client *client, uint64_t now_ns);
bool client_is_nuisance(const struct client *client, uint64_t now_ns);
/* How long a new connection of a nuisance waits; each call is for another one. */
uint64_t client_penance_ns(struct client *client, uint64_t now_ns);
/* Nobody is in. */
void clients_fini(struct clients *clients);

#endif
