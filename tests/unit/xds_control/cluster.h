/*
 * cluster.h - a cluster in a text: manifests written a line an object, and the registry they come
 * to.
 */
#ifndef ISTHMUS_TESTS_UNIT_XDS_CONTROL_CLUSTER_H
#define ISTHMUS_TESTS_UNIT_XDS_CONTROL_CLUSTER_H

#include "tests/kit/temp_dir.h"
#include "xds/control/registry.h"

#define PEERS_OF_TESTS 3

struct cluster {
    struct temp_dir dir;
    struct arena arena;
    struct text yaml;
    struct control_config config; /* cluster west, trust domain west.example */
    struct manifests *manifests;
    struct registry_peer peers[PEERS_OF_TESTS];
    size_t n_peers;
    const struct registry_keys *keys; /* that were fetched */
    size_t n_keys;
    struct registry *registry;
};

void cluster_init(struct cluster *cluster);
void cluster_fini(struct cluster *cluster);

/* Any document, as a YAML text in flow style or not. */
void cluster_add(struct cluster *cluster, const char *document);
void cluster_addf(struct cluster *cluster, const char *format, ...) PRINTF_LIKE(2, 3);
/* labels: "app: web, x: y". A pod is in the mesh, ready, on node n1 with account "sa" unless other
 * fields say. */
void cluster_pod(struct cluster *cluster, const char *namespace_, const char *name, const char *ip,
                 const char *labels);
void cluster_namespace(struct cluster *cluster, const char *name, const char *labels);
void cluster_node(struct cluster *cluster, const char *name);
/* ports: "{name: http, port: 80, targetPort: 8080}, ..."; selector: "app: web". */
void cluster_service(struct cluster *cluster, const char *namespace_, const char *name,
                     const char *cluster_ip, const char *ports, const char *selector);
/* created: RFC 3339 */
void cluster_export(struct cluster *cluster, const char *namespace_, const char *name,
                    const char *created);

/* Writes what was added to a folder; the registry of it. Peers are what was put there. */
void cluster_write(struct cluster *cluster, const char *folder);
struct registry *cluster_build(struct cluster *cluster);

/* Out of a built cluster's resources for the nodes (or for the peers); NULL when it is not there.
 */
const struct model_workload *find_workload(const struct registry *registry, const char *uid);
const struct model_service *find_service(const struct registry *registry, const char *hostname);
const struct model_policy *find_policy(const struct registry *registry, const char *name);
const struct model_workload *find_shared_workload(const struct registry *registry, const char *uid);
const struct model_service *find_shared_service(const struct registry *registry,
                                                const char *hostname);
const struct model_membership *find_membership(const struct model_workload *workload,
                                               const char *service);
const struct registry_import *find_import(const struct registry *registry, const char *key);
const struct registry_export *find_export(const struct registry *registry, const char *name);

/* A peer's resources, as models. */
struct registry_peer *cluster_peer(struct cluster *cluster, const char *name);
struct model_service *peer_service(struct cluster *cluster, struct registry_peer *peer,
                                   const char *namespace_, const char *name, uint16_t port,
                                   const char *port_name, int64_t created_ns);
struct model_workload *peer_workload(struct cluster *cluster, struct registry_peer *peer,
                                     const char *namespace_, const char *name, const char *ip,
                                     const char *service, uint16_t port);
struct model_resource *peer_add(struct cluster *cluster, struct registry_peer *peer,
                                struct model_resource resource);

#define assert_str(actual, expected)                                                               \
    cr_assert(str_eq((actual), str_from(expected)), "\"%.*s\" is not \"%s\"", STR_ARG(actual),     \
              (expected))

#endif
