/*
 * identity_sources.h - the sources of certificates that a proxy's configuration names: one for the
 * node's own, one for its pods'.
 *
 * control: signed over the control channel. SPIFFE: the Workload API for the node, the Broker API
 * for the pods. files: kept fresh by somebody else. docs/identity.md says which when.
 *
 * Owner: identities.c. Thread: the control thread's.
 */
#ifndef ISTHMUS_RUN_IDENTITY_SOURCES_H
#define ISTHMUS_RUN_IDENTITY_SOURCES_H

#include "certs/anchors.h"
#include "certs/file_source.h"
#include "config/bootstrap.h"
#include "xds/broker_api.h"
#include "xds/ca_client.h"
#include "xds/workload_api.h"

struct identity_sources {
    /* NULL but for those that are configured. */
    struct ca_client *node_ca, *pods_ca;
    struct workload_api *workload_api;
    struct broker_api *broker_api;
    struct file_source *node_files, *pods_files;
    struct cert_source *node, *pods; /* one of them each */
};

struct identity_sources_options {
    const struct proxy_config *config;
    const struct trust *const *trust;
    workload_api_trust_fn *on_trust;
    struct tls_identity *(*node_identity)(void *owner);
    void *owner;
};

void identity_sources_open(struct identity_sources *sources, struct loop *loop,
                           const struct identity_sources_options *options);
/* After the rotations. */
void identity_sources_close(struct identity_sources *sources);
/* The control channel's connection, as in ca_client.h. */
void identity_sources_set_h2(struct identity_sources *sources, struct h2 *h2, bool is_anonymous);

#endif
