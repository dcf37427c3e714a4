/*
 * source.h - the API server of Kubernetes as the source of objects: every kind of kinds.h listed
 * and watched, over connections of their own.
 *
 * Each kind has one request at a time (watch.h), over HTTP/1.1 and TLS with a bearer token. Token
 * and roots are read from their files for every request, so what rotates there is used with the
 * next one. A watch that says nothing for KUBE_SILENT_S, not even by a bookmark, is ended and begun
 * again, since a connection may die without a word.
 *
 * Nothing is told before all kinds are known (kube_source_is_synced()); from then on what is held
 * stays, whatever becomes of the server, and each kind follows alone.
 *
 * Failure modes: as watch.h has them, each said in the log once, in the status as long as it lasts,
 * and counted; an object that is wrong: manifests_store.h.
 * Owner: the caller, until kube_source_close(). Thread: the loop's.
 */
#ifndef ISTHMUS_KUBERNETES_SOURCE_H
#define ISTHMUS_KUBERNETES_SOURCE_H

#include "config/bootstrap.h"
#include "config/manifests_store.h"
#include "proxy/io/loop.h"
#include "proxy/meter/meter.h"

#define KUBE_SILENT_S       150 /* bookmarks come about every minute */
#define KUBE_LIST_TIMEOUT_S 60
#define KUBE_TOKEN_MAX      16384
#define KUBE_ROOTS_MAX      ((size_t)1 << 20)

struct kube_source;

struct kube_source_options {
    const struct kubernetes_config *config; /* borrowed for the life of the source */
    struct meter *meter;
    uint64_t silent_ns; /* 0: KUBE_SILENT_S */
    /* Where last good versions of wrong objects are kept over a restart (kept.h); "": nowhere. */
    struct str state_dir;
    /* Something is new, and all kinds are known. From the loop. */
    void (*on_change)(void *owner);
    void *owner;
};

struct kube_source *kube_source_open(struct loop *loop, const struct kube_source_options *options);
void kube_source_close(struct kube_source *source);

bool kube_source_is_synced(const struct kube_source *source);
/* What is known; borrowed. */
const struct manifests_store *kube_source_store(const struct kube_source *source);
/* What is not known yet and why, as a sentence. */
void kube_source_pending(const struct kube_source *source, struct text *out);
/* {"server":...,"synced":...,"kinds":[{"kind",...}],"refused":[{"object","in_force","why"}]} */
void kube_source_json(const struct kube_source *source, struct text *out);

#endif
