/*
 * worker.h - one worker thread: a loop with its own doors, tunnels, flows, memory and counters.
 *
 * Life: born without anything; the first snapshot and identities open its doors; each later one
 * replaces what it had; drain waits for the flows; stop ends them. While those from before the
 * drain go on, pods of the node may make new ones, but for the last tenth of the drain's time.
 *
 *   WAITING ──snapshot and identities──► SERVING ──drain──► DRAINING ──no flow left──► told
 *      └── a door cannot be opened ──► FAILED (told to control)
 *
 * Owner: the proxy process. Thread: worker_start/stop and the posts the control thread's;
 * everything inside the worker's.
 */
#ifndef ISTHMUS_RUN_WORKER_H
#define ISTHMUS_RUN_WORKER_H

#include "config/bootstrap.h"
#include "proxy/admin/endpoints.h"
#include "proxy/base/text.h"
#include "proxy/flow/flow.h"
#include "proxy/io/thread.h"
#include "proxy/meter/traffic.h"

struct worker;

struct worker_events { /* on the control thread */
    void (*on_serving)(void *owner, struct worker *worker);
    void (*on_failed)(void *owner, struct worker *worker, struct str why);
    void (*on_drained)(void *owner, struct worker *worker);
};

struct audit_pen;
struct ledger;
struct tracer_pen;

/* One of n_workers. config outlives the worker, and so do pen (NULL: no audit log), tracer (NULL:
 * no spans) and ledger (NULL: there is no other worker). control is the control thread's mailbox,
 * whose receiver is the owner of the events. */
struct worker *worker_start(unsigned idx, unsigned n_workers, const struct proxy_config *config,
                            struct audit_pen *pen, struct tracer_pen *tracer, struct ledger *ledger,
                            struct mailbox *control, const struct worker_events *events);
struct mailbox *worker_mailbox(struct worker *worker);
/* For publish(): the letter's delivery holds a struct snapshot / a struct tls_set. */
void worker_deliver_snapshot(struct letter *letter, void *receiver);
void worker_deliver_tls(struct letter *letter, void *receiver);
/* Says from now on which services it uses, and hears how their endpoints are. */
void worker_watch(struct worker *worker, struct mailbox *health);
/* No new flows from other nodes, and in the end from nobody; tells when the last one ended. */
void worker_drain(struct worker *worker);
/* Ends what is left and joins the thread; deliveries are returned before. What it said last is
 * heard once control's mailbox is looked at again; then its memory goes. */
void worker_stop(struct worker *worker);

/* What a worker says of itself when asked. */
struct worker_report {
    size_t n_flows, n_tunnels, n_sessions;
    struct traffic_report *traffic;
    struct text flows;                 /* JSON objects, when they were asked for */
    struct flow_page page;             /* that they are of, and the next to ask for */
    struct endpoint_answer *endpoints; /* one for each ask */
};

struct worker_question {
    bool wants_traffic, wants_flows;
    struct flow_page page; /* of flows; its strings are borrowed until the answer is there */
    const struct endpoint_ask *asks; /* likewise, until every answer is there */
    size_t n_asks;
};

/* Asks; on_report runs on the control thread and frees nothing: the report is the callee's to take
 * apart. */
void worker_ask(struct worker *worker, const struct worker_question *question,
                void (*on_report)(void *owner, struct worker_report *report), void *owner);

#endif
