/* mesh.h - resources for a snapshot, written in a line each. */
#ifndef TESTS_UNIT_CONFIG_MESH_H
#define TESTS_UNIT_CONFIG_MESH_H

#include "config/snapshot.h"

struct mesh {
    struct arena arena;
    const struct model_resource *resources[4096];
    size_t n;
    struct vantage vantage; /* node n1 of cluster west */
};

void mesh_begin(struct mesh *mesh);
void mesh_end(struct mesh *mesh);

/* A healthy workload that is enrolled; addresses and services separated by blanks. The caller
 * changes what differs. */
struct model_workload *mesh_workload(struct mesh *mesh, const char *cluster, const char *name,
                                     const char *node, const char *addresses, const char *services);
/* "ns/host"; ports are "name:port:target" or "name:port:target/udp", addresses as above; no
 * address: headless. */
struct model_service *mesh_service(struct mesh *mesh, const char *key, const char *addresses,
                                   const char *ports);
struct model_policy *mesh_policy(struct mesh *mesh, const char *key, enum policy_action action,
                                 enum policy_scope scope);
/* How the service with that key is balanced: the default, for the caller to change. */
struct traffic_policy *mesh_traffic(struct mesh *mesh, const char *key);
struct snapshot *mesh_build(const struct mesh *mesh);

#endif
