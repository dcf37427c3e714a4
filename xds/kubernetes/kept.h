/*
 * kept.h - last good versions of objects that are wrong, in a file: a restart of control changes
 * nothing of what is in force.
 *
 * One line of JSON for each (manifests_store_kept()). The file is replaced as one, mode 0600,
 * whenever that changes, and there is none when nothing is wrong. When it cannot be written, a full
 * disk say, it is deleted, since a version that is older than the last good one may be more open;
 * after a restart such objects are closed in doubt. It is tried again every KUBE_KEPT_AGAIN_NS.
 *
 * Owner: the caller; kube_kept_fini(). Thread: the loop's; writes block it, and are rare.
 */
#ifndef ISTHMUS_KUBERNETES_KEPT_H
#define ISTHMUS_KUBERNETES_KEPT_H

#include "config/manifests_store.h"

#define KUBE_KEPT_AGAIN_NS (UINT64_C(10) * 1000000000)

struct kube_kept {
    struct text path; /* "": nothing is kept */
    uint64_t round;   /* of the store, that the file has */
    uint64_t again_ns;
    bool has_failed;
};

/* Reads what was kept in the folder into the store, which is empty. What cannot be read is told in
 * the log, passed over, and gone from the file with the next kube_kept_follow(). dir "": nothing is
 * kept. */
void kube_kept_open(struct kube_kept *kept, struct str dir, struct manifests_store *store);
/* Writes what is to be kept, if that is something else than before. */
void kube_kept_follow(struct kube_kept *kept, const struct manifests_store *store, uint64_t now_ns);
void kube_kept_fini(struct kube_kept *kept);

#endif
