/*
 * rotation.h - keeps one fresh SVID for every identity this node needs.
 *
 * wanted -> requested -> held -> renewed at half-life -> ... A source makes the certificates;
 * rotation decides when to ask, with at most ROTATION_IN_FLIGHT requests at once, jittered
 * exponential backoff (1 s to 150 s) per identity after a failure, the old SVID kept until it
 * expires, and dropped when the identity is no longer wanted. That is a source that is asked: a CA,
 * which signs keys made here. The other kind gives by itself, key and all, when it sees fit (the
 * SPIFFE Workload and Broker APIs, files): it is told what to follow, and gives, renews and takes
 * back; what it gave is kept while it is away, until it expires.
 *
 *          want             sent               issued
 *  ABSENT ──────► WAITING ──────► REQUESTED ──────────► HELD ──┐ half-life: WAITING again,
 *                    ▲   failed: backoff │                └────┘ the SVID kept meanwhile
 *                    └──────────────────┘       every state ──► ABSENT (unwant)
 *  ABSENT ──► WAITING ──► FOLLOWED (a source that gives by itself) ──► ABSENT
 *
 * Owner: the control thread. Thread: its loop's.
 */
#ifndef ISTHMUS_CERTS_ROTATION_H
#define ISTHMUS_CERTS_ROTATION_H

#include "certs/svid.h"
#include "proxy/io/loop.h"

#define ROTATION_IN_FLIGHT 16

/*
 * Where certificates come from. A key is a SPIFFE ID, or the ID with a workload's uid (svid.h); the
 * certificate is for the ID.
 *
 * One that is asked: request() starts one and must later call rotation_answer() exactly once for
 * it, from the loop, after a time that the source bounds.
 * One that gives by itself (request is NULL): between follow() and forget() it calls
 * rotation_give() and rotation_fail(), from the loop.
 * cancel_all() drops what is in flight or followed without answering.
 */
struct cert_source {
    const char *name; /* for operators: "control", "workload API", ... */
    void (*request)(struct cert_source *source, struct str key, struct str csr_pem);
    void (*follow)(struct cert_source *source, struct str key);
    void (*forget)(struct cert_source *source, struct str key);
    void (*cancel_all)(struct cert_source *source);
    struct rotation *rotation; /* set by rotation_new() */
};

struct rotation;

struct rotation_events {
    /* An identity got its first or a newer SVID (borrowed), or lost it (svid NULL: expired or no
     * longer wanted). */
    void (*on_svid)(void *owner, struct str id, struct svid *svid);
    /* An attempt failed, for the reason why; it will be made again. A source that gives by itself:
     * told when the reason is another than before. May be NULL. */
    void (*on_failed)(void *owner, struct str id, struct str why);
};

/* Takes a copy of events. All of them, and all calls of the source, come from the loop, never out
 * of a call below. */
struct rotation *rotation_new(struct loop *loop, struct cert_source *source,
                              const struct rotation_events *events, void *owner);
/* Cancels what is in flight and frees without events. Not from inside an event. */
void rotation_free(struct rotation *rotation);

struct rotation_clock { /* validity is wall clock, waiting is monotonic */
    int64_t (*wall_ns)(void *owner);
    uint64_t (*mono_ns)(void *owner);
    void *owner;
};

/* Reads these clocks from now on, in place of the system's and the loop's: tests let hours pass
 * with it. */
void rotation_use_clock(struct rotation *rotation, const struct rotation_clock *clock);
/* Looks at every identity at the end of this turn, as the timer does at least once a minute. */
void rotation_check(struct rotation *rotation);

/* Says that an identity is needed (counted: want twice, unwant twice). */
void rotation_want(struct rotation *rotation, struct str id);
void rotation_unwant(struct rotation *rotation, struct str id);
/* Gives an SVID from the disk; takes the reference. Used if the identity is wanted and has none
 * fresher. */
void rotation_offer(struct rotation *rotation, struct svid *svid);

/* The source's answer: chain_pem on success, or err < 0 with the sentence why. */
void rotation_answer(struct rotation *rotation, struct str id, struct str chain_pem, int err,
                     struct str why);
/* A source that gives by itself has a certificate for a key; takes the reference. The one in hand
 * is replaced, whichever is younger: the source knows. Ignored when the key is not wanted. */
void rotation_give(struct rotation *rotation, struct str key, struct svid *svid);
/* It has none, for the reason why; or, is_withdrawn, the one in hand must not be used any more. */
void rotation_fail(struct rotation *rotation, struct str key, struct str why, bool is_withdrawn);

/* The source can be reached again: ask now for what waits in backoff. */
void rotation_retry_now(struct rotation *rotation);

/* The SVID held for an identity, or NULL. Borrowed. */
struct svid *rotation_find(const struct rotation *rotation, struct str id);
/* True when every wanted identity holds an SVID. */
bool rotation_is_complete(const struct rotation *rotation);

struct rotation_status { /* for ctl certs */
    struct str id;       /* the key */
    const char *state;
    const char *source;                  /* its name */
    int64_t not_before_ns, not_after_ns; /* 0: none */
    struct str serial;
    struct str last_error;
};

/* Visits every identity; start with *idx 0. */
bool rotation_next(const struct rotation *rotation, size_t *idx,
                   struct rotation_status *out_status);

#endif
