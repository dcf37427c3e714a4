/*
 * capture.h - the node's rules that bring enrolled pods' traffic to the proxy: one nftables table,
 * one routing rule.
 *
 * Table inet isthmus, with the enrolled pods' addresses in two sets:
 *   pod -> anywhere, TCP      to the outbound port, original addresses kept (TPROXY)
 *   pod -> anywhere, port 53  to the DNS port, UDP and TCP
 *   others -> pod, port 15008 to the tunnel port
 *   others -> pod, other TCP  to the inbound port
 * When nobody listens, new connections are held back (dropped: TCP tries again) and packets of
 * connections whose proxy is gone are answered with a reset. The node's own connections to its pods
 * (kubelet's probes) are not touched; its answers to what we open to it from a pod's address are
 * brought back to us. Captured connections are not tracked by conntrack, so that
 * kube-proxy's NAT does not rewrite where they were going.
 *
 * Marks: own is on our sockets that connect out or that pods are called through, own + 1 on those
 * that pods talk to; CAPTURE_ROUTE_MARK (under CAPTURE_ROUTE_MASK) routes captured packets to the
 * local stack through the routing table.
 *
 * Written by nft(8), each change one transaction; the routing rules through libmnl. The table is
 * replaced whole at start, so what an earlier process left behind does no harm.
 *
 * Owner: the control thread. Thread: its own. Needs CAP_NET_ADMIN.
 */
#ifndef ISTHMUS_ACCEPT_CAPTURE_H
#define ISTHMUS_ACCEPT_CAPTURE_H

#include "config/snapshot.h"
#include "proxy/base/err.h"
#include "proxy/base/text.h"

#define CAPTURE_ROUTE_MARK  0x111u
#define CAPTURE_ROUTE_MASK  0xfffu
#define CAPTURE_TUNNEL_PORT 15008 /* what peers dial, wherever our listener is */

struct capture_options {
    uint16_t outbound, inbound, tunnel, dns; /* our ports */
    uint32_t own_mark;
    uint32_t route_table;
};

struct capture;

/* Installs the routes and the table, with the snapshot's local mesh workloads in it, in one
 * transaction: pods that an earlier table held back are never let through in between. 0, or
 * -ERR_SYSTEM with what failed in *why; an earlier table is then still there. */
MUST_USE int capture_install(const struct capture_options *options, const struct snapshot *snapshot,
                             struct capture **out_capture, struct text *why);
/* Makes the sets hold exactly the addresses of the snapshot's local mesh workloads. Does nothing
 * when they already do. 0, or -ERR_SYSTEM with the sets as they were. */
MUST_USE int capture_update(struct capture *capture, const struct snapshot *snapshot,
                            struct text *why);
/* Removes table and routes; or leaves them in place, so that pods are held back until the next
 * start. Frees. */
void capture_close(struct capture *capture, bool hold);

/* The rules as text, for tests and for `isthmus ctl`. */
void capture_rules(const struct capture_options *options, struct text *out);

#endif
