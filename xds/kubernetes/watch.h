/*
 * watch.h - one kind of objects of an API server, listed and then followed; without a connection.
 *
 * A list is asked for page by page; when the last one is in, what was not listed is gone, and from
 * the list's resourceVersion on the server tells what changes. Every event says the version to go
 * on from, bookmarks too, so a watch that ends is asked for again from there. Only when the server
 * has forgotten that version (410 Gone), or refuses the watch again and again, as one that was
 * restored from a backup does, is the kind listed anew. What is held stays whatever goes wrong.
 *
 * The caller sends what kube_watch_ask() says, hands over what is answered, and asks again after
 * the wait that kube_watch_over() gives. Objects go into the store.
 *
 * A kind that is optional and not installed (404) is empty, when the server has said so twice: one
 * that is starting may say it of what it does not serve yet, and without its policies a cluster
 * would be open. It is asked for again after KUBE_ABSENT_FIRST_MS, then after twice as long each
 * time, up to KUBE_ABSENT_S. If there are objects of it, they stay instead: a server or something
 * before it that answers 404 to everything shall not take policies away, and objects of a kind that
 * is taken out are deleted one by one, which a watch tells.
 *
 * Bounds: KUBE_PAGE_OBJECTS and KUBE_PAGE_BYTES a page, KUBE_LINE_BYTES an event,
 * MANIFESTS_STORE_MAX objects, KUBE_BACKOFF_MAX_S between two attempts, KUBE_RETRY_AFTER_MAX_S if
 * the server asks for longer.
 *
 * Owner: the caller; kube_watch_fini(). Thread: the loop's. Source: Kubernetes API concepts
 * (efficient detection of changes, retrieving large result sets in chunks).
 */
#ifndef ISTHMUS_KUBERNETES_WATCH_H
#define ISTHMUS_KUBERNETES_WATCH_H

#include "config/manifests_store.h"
#include "xds/kubernetes/kinds.h"

#define KUBE_PAGE_OBJECTS 500
#define KUBE_PAGE_BYTES   ((size_t)32 << 20)
#define KUBE_LINE_BYTES   ((size_t)8 << 20)
#define KUBE_WATCH_S      240 /* that the server is asked to let a watch last */
#define KUBE_SHORT_WATCH_NS                                                                        \
    UINT64_C(1000000000) /* an empty one that ended earlier is a failure                           \
                          */
#define KUBE_BACKOFF_FIRST_MS  500
#define KUBE_BACKOFF_MAX_S     30
#define KUBE_RETRY_AFTER_MAX_S 120
#define KUBE_ABSENT_FIRST_MS   1000
#define KUBE_ABSENT_S          30

/*   asked           last page          asked
 *  WAIT_LIST ──► LISTING ──► WAIT_WATCH ──► WATCHING
 *     ▲  ▲ page, failure │        ▲   ended, cut │ │
 *     │  └───────────────┘        └──────────────┘ │
 *     └────────────────────────────────── 410 ─────┘
 */
enum kube_watch_state { KUBE_WAIT_LIST, KUBE_LISTING, KUBE_WAIT_WATCH, KUBE_WATCHING, KUBE_STATES };

struct kube_watch_events {
    /* An object was put; told for whatever is not MANIFESTS_PUT_SAME. */
    void (*on_put)(void *owner, struct str path, enum manifests_put fate);
    /* Something in the store is not what it was; called once for an event or a page. */
    void (*on_change)(void *owner);
    void *owner;
};

struct kube_watch {
    const struct kube_kind *kind;
    struct manifests_store *store;
    struct kube_watch_events events;
    int state; /* enum kube_watch_state; sm_move() */
    unsigned place;
    unsigned page_objects;   /* asked for; less when they were too large */
    uint64_t begun;          /* of the store, when the listing began */
    struct text version;     /* that a watch goes on from */
    struct text next;        /* continue token of the next page; "" the first */
    struct text line;        /* what has come of an event */
    bool is_expired, is_bad; /* what an event said, until the watch is over */
    bool is_synced;          /* it was listed whole once, or is known not to be installed */
    bool is_absent;
    unsigned n_absent;   /* how often in a row the server said so */
    unsigned n_failures; /* in a row */
    struct text trouble; /* what is wrong, as a sentence; "" nothing */
    uint64_t n_lists, n_events;
};

void kube_watch_init(struct kube_watch *watch, const struct kube_kind *kind,
                     struct manifests_store *store, const struct kube_watch_events *events);
void kube_watch_fini(struct kube_watch *watch);

/* What is to be asked for next, path and query. True: a watch, whose body goes to
 * kube_watch_piece(). */
bool kube_watch_ask(struct kube_watch *watch, struct text *out_target);

/* Of a watch that was answered with 200; an empty one says just that. False: the request shall be
 * cancelled, and kube_watch_over() called with an answer of status 200. */
MUST_USE bool kube_watch_piece(struct kube_watch *watch, struct str piece);

struct kube_answer {
    int err; /* no answer, or none that was whole; why says why */
    struct str why;
    unsigned status;
    struct str body, retry_after;
    uint64_t lasted_ns;
};

/* The request is over. Returns after how long to ask again; 0: at once. The caller adds jitter. */
uint64_t kube_watch_over(struct kube_watch *watch, const struct kube_answer *answer);

const char *kube_watch_state_name(const struct kube_watch *watch);

#endif
