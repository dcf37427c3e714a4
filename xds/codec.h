/*
 * codec.h - resources of the model as protobuf bytes, and back.
 *
 * Type URLs: istio.workload.Address (workloads and services), istio.security.Authorization
 * (policies), envoy.extensions.transport_sockets.tls.v3.Secret named "spiffe://<trust domain>" with
 * the roots as validation_context.trusted_ca.inline_bytes (the naming SPIRE's SDS uses),
 * envoy.config.cluster.v3.Cluster named by a service's key (how it is balanced),
 * envoy.config.route.v3.RouteConfiguration named by routes_name() (where its requests go),
 * isthmus.v1alpha1.RequestAuthentication (whose tokens workloads take; nobody else's type). What
 * WDS has no field for (port names, UDP ports, headlessness, endpoint host names) travels in its
 * extensions field as isthmus.v1alpha1.ServiceDetails and WorkloadDetails, which other readers pass
 * over.
 *
 * Decoding checks everything a peer could get wrong: address lengths, port ranges, enum values,
 * names that do not match the resource's own, counts (MODEL_*_MAX), UTF-8. An unknown field of a
 * policy's match sets has_unknown, so that it fails closed.
 *
 * Thread: any. Source: workload.proto, authorization.proto of ztunnel; Envoy's Secret.
 */
#ifndef ISTHMUS_XDS_CODEC_H
#define ISTHMUS_XDS_CODEC_H

#include "config/model.h"
#include "proxy/base/text.h"

/* Of one resource; a larger one is refused. A response with nothing else in it stays below the 4
 * MiB that readers of gRPC take unless they are told otherwise. */
#define XDS_RESOURCE_MAX_BYTES (((size_t)4 << 20) - 4096)
#define XDS_NAME_MAX_BYTES     2100 /* of its name: spiffe:// and the longest trust domain fit */

/* Their numbers are kept on disk. */
enum xds_type {
    XDS_ADDRESS,
    XDS_AUTHORIZATION,
    XDS_SECRET,
    XDS_CLUSTER,
    XDS_ROUTE,
    XDS_REQUEST_AUTH,
    XDS_TYPES
};

const char *xds_type_url(enum xds_type type);
/* True and the type, or false for a URL that is none of ours. */
bool xds_type_of_url(struct str url, enum xds_type *out_type);
enum xds_type xds_type_of_kind(enum model_kind kind);

/* The message's bytes appended to out, and its resource name put into the arena. Deterministic:
 * equal models give equal bytes, so that a hash of them can be the version. */
struct str xds_encode(const struct model_resource *resource, struct arena *arena, struct text *out);

/* bytes is the value of the Any, name the resource's name in the stream. 0 with everything
 * allocated in the arena, or -ERR_INVALID with a sentence (field, value, expectation) appended to
 * *why. */
MUST_USE int xds_decode(enum xds_type type, struct str name, struct str bytes, struct arena *arena,
                        struct model_resource *out_resource, struct text *why);

#endif
