/*
 * control.h - the control process of one cluster: manifests in, resources out; certificates; peers.
 *
 *   manifests ──► registry ──► resources of this cluster ──┬──► set of the nodes  ──► delta xDS to
 * every node peers' exports (delta xDS, each with a lease) ─────────┘ registry ──► this cluster's
 * exports ─────────► set of the peers ──► delta xDS to every peer CSR + who asks ──► registry: does
 * that node hold a pod of that identity? ──► embedded CA
 *
 * Pods and EndpointSlices that change are patched into the registry, at the cost of what they touch
 * (registry_patch). Everything else is derived anew from its inputs when one changes (gathered over
 * CONTROL_SETTLE_MS); the resource sets send only what differs. Kept on disk: the CA's key, the
 * ClusterSetIPs, each peer's last bundle.
 *
 * Failure modes: a manifest is broken (the last good set stays, the error is logged with its place
 * and shown by status); a peer is silent (its endpoints go unhealthy when the lease runs out, and
 * come back with it); the disk is full (logged; a new ClusterSetIP is not handed out before it is
 * safely written); the VIP range is full (the service has no VIP, said in status and log).
 *
 * Owner: proxy/run. Thread: the loop's.
 */
#ifndef ISTHMUS_XDS_CONTROL_CONTROL_H
#define ISTHMUS_XDS_CONTROL_CONTROL_H

#include "config/bootstrap.h"
#include "proxy/io/loop.h"
#include "proxy/meter/meter.h"

#define CONTROL_SETTLE_MS 50

struct control;

/* Opens everything; the first read of a folder of manifests must succeed. What an API server has is
 * waited for, and meanwhile nobody is served: nodes and peers keep what they have. 0, or a negative
 * enum err with what is wrong in *why (several lines when manifests are). config is borrowed for
 * the life of the control. */
MUST_USE int control_open(struct loop *loop, const struct control_config *config,
                          struct meter *meter, struct control **out_control, struct text *why);
/* Where xDS is served, for tests that asked for port 0. */
struct addr control_addr(const struct control *control);
/* True once it is known what there is of objects and the port is open. What is pending otherwise,
 * as a sentence, in *why. */
bool control_is_ready(const struct control *control, struct text *why);
void control_close(struct control *control);

/* drill_orders.c: a cluster is taken out of a service for a while; drills.h says how and for how
 * long. 0 with JSON in *out, or with the reason in *why: -ERR_INVALID, -ERR_NOT_FOUND (no such
 * service, cluster or drill), -ERR_LIMIT (refused: already drilled, too many, the others could not
 * carry it). Times are in the answer:
 * {"id":"..","service":..,"cluster":..,"lease_ms":..,"length_ms":..,"tier":..,"recovery_time_ms":..,
 *  "ready_taken":..,"ready_left":..} */
struct drill_request {
    struct str service; /* "<namespace>/<name>" of a clusterset service, or a host name */
    struct str cluster;
    uint64_t length_ns;
    bool is_forced; /* whether or not the others could carry the load */
};

MUST_USE int control_drill_start(struct control *control, const struct drill_request *request,
                                 struct text *out, struct text *why);
MUST_USE int control_drill_renew(struct control *control, uint64_t id, struct text *why);
MUST_USE int control_drill_stop(struct control *control, uint64_t id, struct text *why);
/* {"drills":[{"id","service","cluster","left_ms","lease_left_ms"}]} */
void control_drills_json(const struct control *control, struct text *out);

/* JSON for the admin port:
 * {"cluster":...,"trust_domain":...,"manifests":{...,"error":...},"peers":[...],"nodes":[...],...}.
 */
void control_status_json(const struct control *control, struct text *out);
/* {"services":[{"host":...,"vips":[...],"clusters":[...],"ports":[...],"conditions":[...]}...]} */
void control_services_json(const struct control *control, struct text *out);

struct control_page { /* of endpoints */
    struct str host;  /* only of services whose host contains it; "": of all */
    size_t offset, limit;
};

/* {"endpoints":[{"service":...,"cluster":...,"workload":...,"address":...,"port":...,"ready":...}...],
 *  "total":...,"offset":...} */
void control_endpoints_json(const struct control *control, const struct control_page *page,
                            struct text *out);

#endif
