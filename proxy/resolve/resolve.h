/*
 * resolve.h - what they asked for -> target: a service's port, a workload, or a plain address.
 *
 * Outbound: VIP, then workload, else passthrough. Inbound: the CONNECT's authority must name the
 * pod that was dialled. Calls to our own ports are refused, never looped, and so are those to the
 * loopback, which would be the node's.
 *
 * No I/O, no state; targets borrow from the snapshot. Thread: any.
 * Source: ztunnel's outbound decision table and its inbound authority check.
 */
#ifndef ISTHMUS_RESOLVE_RESOLVE_H
#define ISTHMUS_RESOLVE_RESOLVE_H

#include "config/snapshot.h"
#include "proxy/base/err.h"

struct own_ports { /* what of ours nobody may be sent to */
    uint16_t outbound, inbound, tunnel;
    bool has_loopback; /* and the node's loopback, which is not only where a test's pods are */
};

enum target_kind { TARGET_SERVICE, TARGET_WORKLOAD, TARGET_PASSTHROUGH };

struct target {
    enum target_kind kind;
    const struct service
        *service; /* TARGET_SERVICE; inbound: the service that the authority named, or NULL */
    const struct service_port *port; /* TARGET_SERVICE */
    const struct endpoint_set
        *endpoints; /* TARGET_SERVICE: of the client's address family, the other if it is empty */
    const struct workload *workload; /* TARGET_WORKLOAD */
    struct addr addr; /* what was called; inbound: the pod's address and port to dial */
};

/* A captured connection to destination. 0, -ERR_SELF_CALL, or -ERR_NO_SUCH_PORT for a VIP without
 * that port. */
MUST_USE int resolve_outbound(const struct snapshot *snapshot, const struct own_ports *own,
                              const struct addr *destination, struct target *out_target);

/* A port of a service, for a client of destination's address family. 0, or -ERR_NO_SUCH_PORT. */
MUST_USE int resolve_service(const struct snapshot *snapshot, const struct service *service,
                             const struct addr *destination, struct target *out_target);

/* A CONNECT for authority on a tunnel whose socket was dialled at dialled. 0 with a TARGET_WORKLOAD
 * of this node, or -ERR_BAD_AUTHORITY, -ERR_IP_MISMATCH (both 400), -ERR_UNKNOWN_DESTINATION,
 * -ERR_NO_SUCH_PORT, -ERR_SELF_CALL (503). */
MUST_USE int resolve_inbound(const struct snapshot *snapshot, const struct own_ports *own,
                             struct str authority, const struct ip *dialled,
                             struct target *out_target);

/* A captured plaintext connection to a pod of this node. 0, -ERR_UNKNOWN_DESTINATION,
 * -ERR_SELF_CALL. */
MUST_USE int resolve_plaintext(const struct snapshot *snapshot, const struct own_ports *own,
                               const struct addr *destination, struct target *out_target);

#endif
