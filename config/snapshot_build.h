/*
 * snapshot_build.h - the parts in which a snapshot is made; inside the room.
 *
 * The steps run in this order: policies, traffic, workloads, services and their parts (their
 * endpoints refer to the workloads), routes, names. Each works on resources of one kind, sorted by
 * name, so that the same resources give the same snapshot in whatever order they came. Thread: the
 * builder's.
 */
#ifndef ISTHMUS_CONFIG_SNAPSHOT_BUILD_H
#define ISTHMUS_CONFIG_SNAPSHOT_BUILD_H

#include "config/policy.h"
#include "config/snapshot.h"

#define SNAPSHOT_NAME_MAX 253 /* of a DNS name */

/* One workload serving one service. */
struct serving {
    struct workload *workload;
    const struct model_workload *model;
    const struct model_membership *membership;
};

/* A service being built, with those that serve it, sorted by workload uid. */
struct service_build {
    struct service *service;
    struct serving *servings;
    size_t n_servings;
    struct str
        memory_key; /* of what is remembered of its endpoints: the service's, for parts too */
};

/* The endpoints of one set, before they are sorted. */
struct gathering {
    struct endpoint *endpoints;
    const struct model_workload **models; /* of each */
    size_t len;
    struct hidden_endpoint *hidden;
    size_t n_hidden;
    struct map by_place; /* of address and network -> struct endpoint */
    uint64_t *places;    /* the map's keys */
};

/* A port whose endpoints are others than in the base. */
struct patched_port {
    const struct service_port *port; /* the map's key */
    struct endpoint_set v4, v6;
};

extern const struct workload snapshot_gone; /* stands for one that left; snapshot.c */

/* What a workload or an endpoint set needs of resources of other kinds must stand in the snapshot
 * (snapshot_roots), where a patch finds it: a builder's own maps are those of one build. */
struct snapshot_builder {
    struct snapshot *snapshot;
    const struct snapshot *before; /* NULL: none */
    struct arena scratch;          /* freed when the snapshot is done */
    bool must_be_whole;            /* a patch cannot say what the snapshot would */

    struct map policy_layers; /* of named workloads: policies and ports -> struct policy_layer */
    struct map policy_sets;   /* layers -> struct policy_set */

    struct map token_layers; /* of those for services: rules and ports -> struct token_layer */
    struct map token_sets;   /* layers -> struct token_set */

    struct workload *workloads; /* by idx of the sorted resources */
    const struct model_workload **workload_models;
    size_t n_workloads;

    struct service_build *services;
    size_t n_services;
    struct map services_by_key;  /* -> struct service_build */
    struct service_build *parts; /* of services, for backends that name a cluster */
    size_t n_parts;

    struct map traffic; /* service key -> const struct traffic_policy */
};

/* snapshot_policies.c */
void snapshot_add_policies(struct snapshot_builder *builder,
                           const struct model_resource *const *resources, size_t n_resources);
void snapshot_attach_policies(struct snapshot_builder *builder, struct workload *workload,
                              const struct model_workload *model);
/* The ports under which the workload serves one of the targets. False when that cannot be said to
 * the number: what is for them then holds on all ports. ports: of MODEL_PORTS_MAX. */
bool snapshot_target_ports(const struct model_workload *workload, const struct str *targets,
                           size_t n_targets, uint16_t *ports, size_t *out_n);
/* snapshot_tokens.c */
void snapshot_add_tokens(struct snapshot_builder *builder,
                         const struct model_resource *const *resources, size_t n_resources);
void snapshot_attach_tokens(struct snapshot_builder *builder, struct workload *workload,
                            const struct model_workload *model);
void snapshot_leave_tokens(struct snapshot *snapshot);
/* snapshot_traffic.c */
void snapshot_add_traffic(struct snapshot_builder *builder,
                          const struct model_resource *const *resources, size_t n_resources);
const struct traffic_policy *snapshot_traffic_of(const struct snapshot_builder *builder,
                                                 struct str service);
/* snapshot_workloads.c */
void snapshot_add_workloads(struct snapshot_builder *builder,
                            const struct model_resource *const *resources, size_t n_resources);
/* Everything of it but its services; it is not filed. */
void snapshot_fill_workload(struct snapshot_builder *builder, struct workload *to,
                            const struct model_workload *from);
/* Whether it is found by its addresses here. */
bool snapshot_files_address(const struct snapshot *snapshot, const struct model_workload *model);
bool snapshot_is_in_our_care(const struct workload *workload, const struct model_workload *model);
/* snapshot_services.c */
void snapshot_add_services(struct snapshot_builder *builder,
                           const struct model_resource *const *resources, size_t n_resources);
/* The port under which a membership serves a port of its service; 0 when it does not. */
uint16_t snapshot_target_port(const struct model_membership *membership, uint16_t port, bool is_udp,
                              uint16_t service_target, size_t hint);
/* What is spoken on the ports of a local workload, which has its services. */
void snapshot_say_ports(struct snapshot_builder *builder, struct workload *workload,
                        const struct model_workload *model);
bool snapshot_is_ready(const struct service *service, const struct serving *serving);
/* snapshot_routes.c: parts before their endpoints, routes when all services are there. */
void snapshot_add_parts(struct snapshot_builder *builder,
                        const struct model_resource *const *resources, size_t n_resources);
void snapshot_add_routes(struct snapshot_builder *builder,
                         const struct model_resource *const *resources, size_t n_resources);
/* snapshot_endpoints.c: the endpoints of every port, of the services with their servings. Of a
 * patch they go into the patched sets. */
void snapshot_add_endpoints(struct snapshot_builder *builder);
/* snapshot_levels.c: sorts what was gathered into the levels of the service's policy and makes the
 * set of it. */
void snapshot_level_set(struct snapshot_builder *builder, const struct service *service,
                        struct gathering *gathering, struct endpoint_set *set);
/* snapshot_hash.c: the levels' tables, where the policy hashes; those of the snapshot before serve
 * on where they can. */
void snapshot_add_tables(struct snapshot_builder *builder, const struct traffic_policy *policy,
                         const struct endpoint *endpoints, struct level *levels, size_t n_levels);
void snapshot_leave_tables(struct snapshot *snapshot);
/* snapshot_names.c */
void snapshot_add_names(struct snapshot_builder *builder);

#endif
