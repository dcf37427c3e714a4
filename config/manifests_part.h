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
    uint64_t content;      /* the hash of its bytes */
    uint64_t structure;    /* the hash of its objects but Pods and EndpointSlices; 0: it has none */
    struct map seen;       /* "kind/namespace/name" -> struct place; empty without a set */
    struct diag diag;
};

void manifests_part_unref(struct manifests_part *part);

/* manifests_cache.c: the parts of a folder in the order of their paths, read where they have to be;
 * the array is in the arena, the references are the cache's. What was found in them is not told.
 * False with an error when the folder cannot be walked. */
bool manifests_parts(struct manifests_cache *cache, const char *dir, int64_t now_ns,
                     struct arena *arena, struct manifests_part ***out_parts, size_t *out_n,
                     struct diag *diag);
void manifests_part_tell(const struct manifests_part *part, struct diag *diag);
/* key is that of seen. Of the two the one in the lesser path is the first. */
void manifests_tell_twice(struct diag *diag, struct str key, const struct place *a,
                          const struct place *b);
/* One set out of parts that are good. NULL with errors when two of their objects share a name. */
struct manifests *manifests_join(struct manifests_part *const *parts, size_t n, struct diag *diag);

#endif
