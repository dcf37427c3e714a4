/*
 * manifests_part.h - what one file of a folder, or one object of an API server, gave, shared by the
 * sets that were joined out of it; inside the room.
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
    struct str path;         /* of an object what it is called: "Pod shop/till-1" */
    struct file_state state; /* of a file */
    bool is_settled;         /* a change since would show in the state */
    struct manifests *set;   /* NULL: the file is wrong */
    uint64_t content;        /* the hash of its bytes */
    uint64_t structure; /* the hash of its objects but Pods and EndpointSlices; 0: it has none */
    struct map seen;    /* "kind/namespace/name" -> struct place; empty without a set */
    struct diag diag;
};

struct k8s_reader; /* k8s.h */

/* manifests.c: what a reader read becomes the part's; the diag is the part's own. */
void manifests_part_take(struct manifests_part *part, struct k8s_reader *reader);
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

/* manifests_news.c: manifests_read_news() of these parts, in the order of their paths. */
enum manifests_news manifests_find_news(struct manifests *set, struct manifests_part **parts,
                                        size_t n, struct manifests_changes *out_changes,
                                        struct manifests **out_whole, struct diag *diag);

/* manifests_object.c: one object. Takes out of the tree what nothing here reads and what changes by
 * itself, so that its hash changes when something that counts does. */
void manifests_prune(struct yaml *doc);
/* The tree must be one object of the kind that the path begins with; what is wrong is in the part's
 * diag. */
struct manifests_part *manifests_part_of(struct str path, const struct yaml *doc);
/* What is in force in place of an object that was never good; NULL: nothing. */
struct manifests_part *manifests_stand_in(struct str path, const struct yaml *doc);

#endif
