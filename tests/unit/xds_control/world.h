/*
 * world.h - a cluster that changes at random, in the files of a folder: what patches are held
 * against registries built whole with.
 *
 * Nearly all changes are of pods and EndpointSlices; some are of everything else, some move objects
 * between files or files to other names, some are wrong.
 */
#ifndef ISTHMUS_TESTS_UNIT_XDS_CONTROL_WORLD_H
#define ISTHMUS_TESTS_UNIT_XDS_CONTROL_WORLD_H

#include "proxy/base/text.h"
#include "tests/kit/temp_dir.h"

#define WORLD_PODS      24
#define WORLD_ADDRESSES 12 /* that pods have; some share one */
#define WORLD_SLICES    14
#define WORLD_ENDPOINTS 6
#define WORLD_OTHERS    22
#define WORLD_FILES     6

struct world_pod {
    bool exists, is_ready, is_finished, is_on_host, is_elsewhere; /* elsewhere: its own namespace */
    unsigned mesh, app, tier, address, n_addresses, node, file;
};

struct world_endpoint {
    unsigned pod, state, hostname;
    bool is_by_address;
};

struct world_slice {
    bool exists, is_imported;
    unsigned service, port, n_endpoints, file;
    struct world_endpoint endpoints[WORLD_ENDPOINTS];
};

struct world_other { /* a row of others[] in world.c */
    bool exists;
    unsigned edit, file;
};

struct world {
    struct temp_dir dir;
    uint64_t seed;
    struct world_pod pods[WORLD_PODS];
    struct world_slice slices[WORLD_SLICES];
    struct world_other others[WORLD_OTHERS];
    unsigned names[WORLD_FILES]; /* of files: the number in their names */
    unsigned written_names[WORLD_FILES];
    struct text written[WORLD_FILES];
    bool is_wrong;    /* a file of no use is among them */
    struct text last; /* what was done last, for the message of a test that fails */
};

void world_init(struct world *world, uint64_t seed);
void world_fini(struct world *world);
uint64_t world_random(struct world *world, uint64_t below);
/* One change; false when it was none of a pod or a slice. */
bool world_change(struct world *world);
/* What was changed is in the folder. */
void world_write(struct world *world);

#endif
