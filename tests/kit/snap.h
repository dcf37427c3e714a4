/*
 * snap.h - a snapshot from a few calls: pods, services, policies, in the namespace "shop" of the
 * cluster "west" and the trust domain "west.example".
 *
 * What is added is returned for the test to change before snap_build(), which may be called again
 * and again.
 *
 * Owner: the test, until snap_fini(). A built snapshot outlives the snap.
 */
#ifndef ISTHMUS_TESTS_KIT_SNAP_H
#define ISTHMUS_TESTS_KIT_SNAP_H

#include "config/snapshot.h"

struct snap {
    struct arena arena;
    const struct model_resource **resources;
    size_t n, cap;
    struct vantage vantage;
    uint64_t generation;
    bool is_unsynced;
};

/* Seen from that node. */
void snap_init(struct snap *snap, const char *node);
void snap_fini(struct snap *snap);

/* An enrolled, healthy pod with up to two addresses ("10.0.0.1" or "10.0.0.1 fd00::1"). Its service
 * account is its name up to the first '-', so that "web-1" and "web-2" are
 * spiffe://west.example/ns/shop/sa/web. */
struct model_workload *snap_pod(struct snap *snap, const char *name, const char *node,
                                const char *addresses);
/* "<name>.shop.svc.clusterset.local" with one TCP port. */
struct model_service *snap_service(struct snap *snap, const char *name, const char *vip,
                                   uint16_t port, uint16_t target_port);
/* The pod serves the service on its target port. */
void snap_serve(struct snap *snap, struct model_workload *pod, const struct model_service *service);
/* How the service is balanced: starts as the default. */
struct traffic_policy *snap_traffic(struct snap *snap, const struct model_service *service);
/* One rule for all requests of all ports of the service: to the service itself at its first port,
 * without any bound or retry. */
struct route_rule *snap_route(struct snap *snap, const struct model_service *service);
/* A policy of the namespace with one rule: this principal ("west.example/ns/shop/sa/web"), or
 * everybody when NULL. */
struct model_policy *snap_policy(struct snap *snap, const char *name, enum policy_action action,
                                 const char *principal);
/* Its rule asks this of a request too; name is of a header, else NULL. */
void snap_asks(struct snap *snap, struct model_policy *policy, enum request_subject subject,
               const char *name, enum match_kind kind, const char *value);
/* A RequestAuthentication of the namespace with one rule; tokens stand where they usually do. */
struct model_request_auth *snap_request_auth(struct snap *snap, const char *name,
                                             const char *issuer, struct str jwks);
/* Any other resource; borrowed. */
void snap_add(struct snap *snap, const struct model_resource *resource);
/* Takes the newest resource of that name out again ("shop/deny-all", a pod's name, ...). */
void snap_drop(struct snap *snap, const char *name);

struct snapshot *snap_build(struct snap *snap);

#endif
