/*
 * flow.h - the walk of one connection through the rooms, in the order that the design fixes.
 *
 *              identify, authorize, resolve, pick         connected
 *  ACCEPTED ────────────────────────────────────► CONNECTING ────────► PUMPING ────► CLOSED
 *      │                                            │  ▲ failed before a byte: another endpoint
 *      │                                            └──┘
 *      │                                            └── no endpoint left, denied ──► CLOSED
 *      ├── a port on which HTTP is spoken ──► SERVING, exchange by exchange ──► CLOSED
 *      │     CONNECTING ── connected, and policies ask about each request ──┘
 *      └── refused ──► CLOSED
 *
 * Where a policy wants it a flow stays ACCEPTED until its client's first bytes have told whether
 * the port, which does not say, is one of those (sniff.h).
 *
 * A flow holds nothing of a snapshot: what it needs later it copied. It ends with exactly one
 * reason.
 *
 * Bounds: walk_options.max_flows flows a worker; beyond it new ones are refused with -ERR_OVERLOAD.
 * Owner: flows own themselves; the walk's roster knows them all. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_FLOW_H
#define ISTHMUS_FLOW_FLOW_H

#include "proxy/accept/arrival.h"
#include "proxy/connect/connect.h"
#include "proxy/pick/balancer.h"
#include "proxy/resolve/resolve.h"

struct audit_pen;
struct ledger;
struct refusal;
struct tracer_pen;
struct traffic;

struct walk_options {
    struct own_ports own;
    uint64_t attempt_ns; /* the first attempt's time while another endpoint is left; doubles */
    uint64_t connect_ns; /* all attempts together */
    uint64_t idle_ns, half_close_ns;
    uint64_t splice_after_bytes; /* see pump.h */
    bool tunnels_own_node;       /* calls to pods of this node go as those to others do */
    unsigned max_flows, max_attempts;
    uint64_t max_memory_bytes, max_lag_ns; /* beyond which new flows are shed; 0: no bound */
    bool log_access;
};

/* What the walk of a worker works with; all borrowed, all but the ledger of the same loop. */
struct walk_tools {
    struct loop *loop;
    const struct snapshot *const *snapshot;
    struct connector *connector;
    struct balancer *balancer;
    struct traffic *traffic;
    struct meter *meter;
    struct audit_pen *audit;   /* NULL: no audit log */
    struct tracer_pen *tracer; /* NULL: no spans */
    struct ledger *ledger;     /* of all workers; NULL: there is only this one */
    unsigned worker;           /* its number there */
    struct task *rechecked;    /* is run when walk_recheck() has looked at all; NULL: none */
};

struct walk;

struct walk *walk_new(const struct walk_tools *tools, const struct walk_options *options);
/* Cuts what is left for the reason -ERR_SHUTDOWN and frees. */
void walk_free(struct walk *walk);

/* Starts the walk of an arrival; takes it. */
void walk_start(struct walk *walk, struct arrival *arrival);

/* Somebody was refused before there was an arrival. It is a verdict of the audit log, unless the
 * caller left by itself, which nobody decided. */
void walk_note_refusal(struct walk *walk, const struct refusal *refusal);

/* The snapshot has changed: flows that a policy now denies, or whose pod left this node, are cut.
 * Of very many flows the last are looked at some turns later, SWEEP_NS at most: whoever has to come
 * after them is tools.rechecked. While an earlier change is being looked at, this one is from the
 * beginning once that has come to its end, with a tools.rechecked each. */
void walk_recheck(struct walk *walk);
/* A change of now is looked at in the next look, not in the present one. */
bool walk_is_rechecking(const struct walk *walk);
/* Connections that could go on forever are asked to end: HTTP takes no new exchanges. Of very many
 * the last are some turns later. */
void walk_drain(struct walk *walk);
/* The same, and for what begins from now on: the doors are closed, and a backlog is all that there
 * may be. */
void walk_last_call(struct walk *walk);
/* Whether one goes on that had begun when walk_drain() was first called. */
bool walk_has_old(const struct walk *walk);
/* Cuts every flow. */
void walk_cut_all(struct walk *walk, int err);
size_t walk_flows(const struct walk *walk);

/* A listing of all flows goes page by page, and says where it stands: nothing of it is kept here,
 * so it may pause for long or never go on. Each flow that lives from its first page to its last is
 * shown once, in the order in which they began, as it is by then. */
struct flow_page {
    struct str state;  /* wanted; "": all */
    size_t max;        /* that are shown, FLOW_PAGE for a piece of work */
    uint64_t after_id; /* where the page before ended; 0 at first */
    uint64_t below_id; /* flows that begin later are not shown; 0 at first */
    size_t n;          /* shown in this page */
    bool has_more;     /* this was not the last: it is the next to ask for */
};

#define FLOW_PAGE 16 /* some 100 us */

/* Appends one JSON object a flow, separated by commas. */
void walk_page(struct walk *walk, struct flow_page *page, struct text *out);

#endif
