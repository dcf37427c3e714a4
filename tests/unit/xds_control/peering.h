/*
 * peering.h - whole control processes in one loop, over real TLS on loopback, and a node that asks
 * one of them.
 */
#ifndef ISTHMUS_TESTS_UNIT_XDS_CONTROL_PEERING_H
#define ISTHMUS_TESTS_UNIT_XDS_CONTROL_PEERING_H

#include "certs/rotation.h"
#include "cluster.h"
#include "proxy/io/loop.h"
#include "tests/kit/test_ca.h"
#include "xds/ca_client.h"
#include "xds/client.h"
#include "xds/control/control.h"

#define SIDE_PEERS_MAX 2

struct side { /* one cluster with its control process */
    struct loop *loop;
    struct cluster cluster; /* its manifests; config is what the control is opened with */
    struct peer_config peers[SIDE_PEERS_MAX];
    struct trust_bundle_config lists[SIDE_PEERS_MAX];
    struct meter *meter;
    struct control *control; /* NULL while it is down */
    char manifests_dir[96], roots_path[96];
};

/* A cluster with a CA, a namespace shop, a node n1 with the token SIDE_TOKEN, and a port that is
 * free. */
#define SIDE_TOKEN "a-token-of-sufficient-length"
void side_init(struct side *side, struct loop *loop, const char *name);
void side_fini(struct side *side);
/* side will know other as a peer, by a copy of its roots. */
void side_knows(struct side *side, struct side *other);
void side_start(struct side *side);
/* Expects that it fails; what was said is in *why. */
void side_start_badly(struct side *side, struct text *why);
void side_stop(struct side *side);
/* Writes the manifests anew. */
void side_publish(struct side *side);
/* Makes a new CA, as if the old one was lost; the control is down. */
void side_lose_ca(struct side *side);
void side_copy_roots(struct side *from, struct side *to);

/* Makes an intermediate of the side's root sign from its next start on. Free with test_ca_free().
 */
struct test_ca *side_give_intermediate(struct side *side);
/* What side's configuration (before its start) or its file (later) says that of's root takes back:
 * the certificate, or NULL: nothing. */
void side_revokes(struct side *side, struct side *of, X509 *cert);
/* The same of its own root before its start: lists of nothing, so many. */
void side_has_many_lists(struct side *side, size_t n_lists);
/* What other said last time of its roots, as side keeps it: so many, its own as the first. */
void side_was_told_many_roots(struct side *side, struct side *other, size_t n_roots);

/* Is the word in the JSON of status, services or endpoints? */
bool side_status_has(const struct side *side, const char *word);
bool side_services_have(const struct side *side, const char *word);
/* All endpoints that control knows of. */
void side_endpoints_json(const struct control *control, struct text *out);
bool side_endpoints_have(const struct side *side, const char *word);

struct guest { /* a node, as its proxy would be */
    struct side *side;
    struct arena arena;
    const char *id;
    struct trust *trust;
    const struct trust *trust_now;
    struct tls_identity *identity;
    struct channel *channel;
    struct xds_client *client;
    struct ca_client *ca_client;
    struct rotation *rotation;
    unsigned n_svids, n_failed, n_downs;
    bool is_connected;
    char last_failure[256];
};

/* Dials anonymously and asks for its own identity with the token. */
void guest_open(struct guest *guest, struct side *side, const char *node, const char *token);
void guest_close(struct guest *guest);
const struct model_resource *guest_find(const struct guest *guest, const char *name);

#endif
