/*
 * workload_api.h - the node's own SVID from the SPIFFE Workload API, as a cert_source that gives by
 * itself; and the bundles and CRLs that come with it.
 *
 * HTTP/2 in the clear over a Unix socket or to an address of this host: the server knows its
 * callers by the kernel's word. Every message replaces all of the one before. When the server is
 * away, what it gave stays until it expires; when it answers PERMISSION_DENIED, or its message no
 * longer has the identity, that is withdrawn.
 *
 * Owner: proxy/run. Thread: the loop's. Source: SPIFFE Workload Endpoint and Workload API.
 */
#ifndef ISTHMUS_XDS_WORKLOAD_API_H
#define ISTHMUS_XDS_WORKLOAD_API_H

#include "certs/rotation.h"
#include "config/endpoint.h"
#include "xds/svid_update.h"

struct workload_api;

/* Bundles and CRLs as they are from now on; NULL: all were taken back. Borrowed for the call. */
typedef void workload_api_trust_fn(void *owner, const struct svid_update *update);

/* It dials when the rotation first follows something. mark: SO_MARK for tcp. */
struct workload_api *workload_api_new(struct loop *loop, const struct spiffe_endpoint *endpoint,
                                      uint32_t mark, workload_api_trust_fn *on_trust, void *owner);
struct cert_source *workload_api_source(struct workload_api *api);
/* After the rotation. */
void workload_api_free(struct workload_api *api);

#endif
