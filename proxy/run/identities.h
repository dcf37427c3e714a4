/*
 * identities.h - the certificates of one node: its own, and one for every identity of its pods.
 *
 * Binds the sources that the configuration names, the rotations, the disk and the TLS contexts
 * together. What comes out is a tls_set, made anew when an identity or the trust changed, for the
 * owner to publish.
 *
 * The node's own identity comes first (from control: with the bootstrap token); then the pods',
 * under it. What control issued is kept under the state folder, so that a restart without a control
 * plane has it; what other sources gave is theirs to keep.
 *
 * Trust is what the control stream, the Workload API and bundle files say, each for itself
 * (certs/anchors.h).
 *
 * Owner: the proxy process. Thread: the control thread's.
 */
#ifndef ISTHMUS_RUN_IDENTITIES_H
#define ISTHMUS_RUN_IDENTITIES_H

#include "certs/rotation.h"
#include "config/bootstrap.h"
#include "config/snapshot.h"
#include "proxy/meter/meter.h"
#include "proxy/tls/tls_identity.h"

struct h2;
struct identities;

#define IDENTITIES_ROTATIONS 2

struct identities_events {
    void (*on_set)(void *owner, struct tls_set *set); /* a new generation; the owner's to free */
    void (*on_node_identity)(void *owner); /* the node's own certificate is there or is newer */
};

/* 0, or a negative enum err with the file and the reason in *why. */
MUST_USE int identities_open(struct loop *loop, const struct proxy_config *config,
                             struct meter *meter, const struct identities_events *events,
                             void *owner, struct identities **out_identities, struct text *why);
void identities_close(struct identities *identities);

/* The control channel's connection, NULL while it is down. */
void identities_set_h2(struct identities *identities, struct h2 *h2, bool is_anonymous);
/* The node's own identity, or NULL before it has one. */
struct tls_identity *identities_node(const struct identities *identities);
/* Where the current trust is; the place stays for the life of identities. */
const struct trust *const *identities_trust(const struct identities *identities);

/* What a new snapshot needs: the identities of its local workloads. */
void identities_follow(struct identities *identities, const struct snapshot *snapshot);
/* The roots and revocation lists of a trust domain as the control stream gives them; an empty pem
 * removes the domain. False and a log line when they are no roots. */
bool identities_set_bundle(struct identities *identities, struct str trust_domain, struct str pem,
                           struct str crls);

/* Trust domains that are not among these lose their roots; our own keeps them in any case. */
void identities_keep_bundles(struct identities *identities, const struct str *trust_domains,
                             size_t n);

/* IDENTITIES_ROTATIONS of them: the node's own, its pods'. */
const struct rotation *const *identities_rotations(const struct identities *identities);

#endif
