/*
 * manifests_part.h - what one file of a folder gave, shared by the sets that were joined out of it;
 * inside the room.
 *
 * Owner: counted; the last manifests_part_unref() frees. Thread: one.
 */
#ifndef ISTHMUS_CONFIG_MANIFESTS_PART_H
#define ISTHMUS_CONFIG_MANIFESTS_PART_H

#include "config/manifests.h"
#include "proxy/base/map.h"

struct file_state { /* size is -1 when the file cannot be asked */
    int64_t size, modified_ns, changed_ns;
    uint64_t inode, device;
};

struct manifests_part {
    unsigned refs;
    struct arena arena;
    struct str path;
    struct file_state state;
    bool is_settled;       /* a change since would show in the state */
    struct manifests *set; /* NULL: the file is wrong */
    struct map seen;       /* "kind/namespace/name" -> struct place; empty without a set */
    struct diag diag;
};

void manifests_part_unref(struct manifests_part *part);

#endif
