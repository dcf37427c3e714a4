/*
 * manifests_store.h - Kubernetes objects one by one, as an API server tells of them; what
 * manifests.h reads from a folder, from the other source.
 *
 * An object is what a file is there: read by the same readers into the same sets, parsed again only
 * when it changed, with "AuthorizationPolicy shop/buyers" where a file's place has its name. What
 * nothing here reads (status, managedFields, most annotations) is passed over first, so that a
 * heartbeat of a Node is no change.
 *
 * A folder is taken or refused as one, and that cannot be here: the objects belong to many people,
 * and one team's mistake must not keep the endpoints of all the others from following. So each is
 * taken or refused alone. One that is refused stays as it was last good, also when that was before
 * this process began, if it is told so (manifests_store_recall()). One that never was good is
 * closed in doubt: an AuthorizationPolicy that allows allows nothing of its own, one that denies or
 * whose action is unknown denies whatever it may be about, so does a RequestAuthentication, and a
 * PeerAuthentication is STRICT. Selectors and targets count as far as they can be read, else it is
 * about its whole namespace. All other kinds are left out (docs/decisions/0032).
 *
 * Owner: manifests_store_free(). Thread: one.
 */
#ifndef ISTHMUS_CONFIG_MANIFESTS_STORE_H
#define ISTHMUS_CONFIG_MANIFESTS_STORE_H

#include "config/manifests.h"

#define MANIFESTS_STORE_MAX 400000 /* objects */

struct manifests_store;

enum manifests_put {
    MANIFESTS_PUT_TAKEN,
    MANIFESTS_PUT_SAME,     /* nothing that counts differs from what was put last */
    MANIFESTS_PUT_KEPT,     /* wrong: its last good version stays in force */
    MANIFESTS_PUT_CLOSED,   /* wrong, and no good version known: what closes stands in for it */
    MANIFESTS_PUT_LEFT_OUT, /* the same, and of a kind that nothing stands in for */
    MANIFESTS_PUT_FULL,     /* there is no room for another one; nothing was changed */
};

struct manifests_store *manifests_store_new(void);
void manifests_store_free(struct manifests_store *store);

/* Takes an object in under what it is called ("Node west-1", "Pod shop/till-1"), in place of the
 * one that was called so. The tree is changed. */
enum manifests_put manifests_store_put(struct manifests_store *store, struct str path,
                                       struct yaml *doc);
/* False: it was not there. */
bool manifests_store_remove(struct manifests_store *store, struct str path);

/* Around the putting of all objects of a kind: those that were not put between are gone, their
 * number is returned. */
uint64_t manifests_store_begin(struct manifests_store *store);
size_t manifests_store_end(struct manifests_store *store, struct str kind, uint64_t begun);

size_t manifests_store_count(const struct manifests_store *store, struct str kind);

struct manifests_refusal { /* borrowed until the next change */
    struct str path, why;  /* why: a line for each error */
    enum manifests_put fate;
};

/* Those that are wrong, in the order of their paths; start with idx = 0. False at the end. */
bool manifests_store_next_refusal(const struct manifests_store *store, size_t *idx,
                                  struct manifests_refusal *out_refusal);
/* The same of one; false when it is good or not there. */
bool manifests_store_refusal(const struct manifests_store *store, struct str path,
                             struct manifests_refusal *out_refusal);
size_t manifests_store_n_refused(const struct manifests_store *store);

/*
 * Last good versions, to outlive the process: of kinds whose objects an API server lets through
 * wrong, as routes and policies. Not of Pods, Nodes, Namespaces, Services and EndpointSlices, which
 * it checks itself.
 */
#define MANIFESTS_KEPT_BYTES ((size_t)16 << 20)

/* Changes whenever manifests_store_kept() would say something else. */
uint64_t manifests_store_kept_round(const struct manifests_store *store);
/* What is in force in place of objects that are wrong, and what was recalled and is not decided
 * yet: {"path":...,"object":...} on a line each. Returns how many found no room in
 * MANIFESTS_KEPT_BYTES. */
size_t manifests_store_kept(const struct manifests_store *store, struct text *out);
/* Before anything is put: that was the last good version of an object, which it stays if it is the
 * same one (metadata.uid), still there and wrong. Listing its kind decides. False: it is not good
 * any more, or of another kind. The tree is changed. */
bool manifests_store_recall(struct manifests_store *store, struct str path, struct yaml *doc);

/* manifests_read_cached() and manifests_read_news() of what is in force. */
struct manifests *manifests_store_set(const struct manifests_store *store, struct diag *diag);
enum manifests_news manifests_store_news(const struct manifests_store *store, struct manifests *set,
                                         struct manifests_changes *out_changes,
                                         struct manifests **out_whole, struct diag *diag);

#endif
