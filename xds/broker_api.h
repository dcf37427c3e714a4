/*
 * broker_api.h - the SVIDs of this node's pods from the SPIFFE Broker API, as a cert_source that
 * gives by itself: one call for every pod.
 *
 * Mutual TLS under the node's own SVID, to the server with one SPIFFE ID, over a Unix socket or
 * TCP. Keys are those of svid_key_for(): a pod's SVID is never used for another pod, not even for
 * one with the same SPIFFE ID. A pod is named by namespace, name and, where its workload knows it,
 * its uid. The bundles in the answers may be used for their own workload only and are checked, but
 * used for none: trust comes from where the node has it.
 *
 * PERMISSION_DENIED withdraws the SVID of that pod; NOT_FOUND and UNAVAILABLE are asked again after
 * a rest; UNAUTHENTICATED brings a new connection under the SVID that the node then has.
 *
 * Owner: proxy/run. Thread: the loop's. Source: SPIFFE Broker Endpoint and Broker API.
 */
#ifndef ISTHMUS_XDS_BROKER_API_H
#define ISTHMUS_XDS_BROKER_API_H

#include "certs/rotation.h"
#include "config/endpoint.h"
#include "xds/channel.h"

struct broker_api;

struct broker_api_options {
    struct spiffe_endpoint endpoint;
    struct str server_id;
    uint32_t mark;
    const struct trust *const *trust;
    struct tls_identity *(*identity)(void *owner); /* as in channel_options; NULL: not yet */
    void *owner;
};

struct broker_api *broker_api_new(struct loop *loop, const struct broker_api_options *options);
struct cert_source *broker_api_source(struct broker_api *api);
/* The node's own SVID is there, or is another one: the channel is dialed, or anew. */
void broker_api_identity_changed(struct broker_api *api);
/* The trust has changed: the channel ends when the server's certificate rests on what is gone. */
void broker_api_recheck(struct broker_api *api, const struct trust *trust);
/* After the rotation. */
void broker_api_free(struct broker_api *api);

/* The request for a workload by its key (svid_key_for()): by the namespace and the name in its uid,
 * "<cluster>//v1/Pod/<namespace>/<name>", and by its pod's uid where that is known. False when it
 * is no pod's. */
bool broker_api_request(struct str key, struct text *out);

#endif
