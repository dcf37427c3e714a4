/*
 * manifests_kept.h - last good versions of objects from before this process began; inside the room.
 *
 * Each waits for its object to be put: one that is wrong then stands as it was (kept_take()), for
 * one that is good or gone it is of no more use (kept_drop()).
 *
 * Owner: kept_fini(). Thread: one.
 */
#ifndef ISTHMUS_CONFIG_MANIFESTS_KEPT_H
#define ISTHMUS_CONFIG_MANIFESTS_KEPT_H

#include "config/manifests_part.h"
#include "proxy/base/map.h"

struct kept {       /* {0} is none */
    struct map all; /* path -> struct kept_one */
};

struct kept_one {
    struct manifests_part *part;
    struct text json; /* of the object */
    struct text uid;  /* that it had */
    struct str path;  /* in the part */
};

/* The object's metadata.uid; "" without any. */
struct str kept_uid(const struct yaml *doc);
/* Of a kind that Kubernetes checks less than our readers do, so that a wrong one may come. */
bool kept_is_kind(struct str path);
/* {"path":...,"object":...} as one line. */
void kept_add_line(struct str path, struct str json, struct text *out);

/* False: it is not good by the readers of today. */
bool kept_put(struct kept *kept, struct str path, const struct yaml *doc);
/* False: there is none of the path, or it was another object's. Else part and json are the
 * caller's. */
bool kept_take(struct kept *kept, struct str path, struct str uid, struct manifests_part **out_part,
               struct text *out_json);
/* False: there was none. */
bool kept_drop(struct kept *kept, struct str path);
void kept_one_free(struct kept_one *one);
void kept_fini(struct kept *kept);

#endif
