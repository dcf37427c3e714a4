/*
 * node_state.h - what the files of the proxy process share.
 */
#ifndef ISTHMUS_RUN_NODE_STATE_H
#define ISTHMUS_RUN_NODE_STATE_H

#include "proxy/accept/capture.h"
#include "proxy/admin/admin.h"
#include "proxy/audit/audit.h"
#include "proxy/io/process.h"
#include "proxy/meter/meter.h"
#include "proxy/run/drill_watch.h"
#include "proxy/run/health_thread.h"
#include "proxy/run/identities.h"
#include "proxy/run/publication.h"
#include "proxy/run/worker.h"
#include "proxy/trace/tracer.h"
#include "xds/client.h"

struct node {
    const struct proxy_config *config;
    struct loop *loop;
    struct mailbox *mailbox;
    struct meter *meter;
    struct arena arena;
    struct identities *identities;
    struct channel *channel;
    bool is_anonymous; /* the channel was dialled without a certificate */
    struct xds_client *xds;
    const struct snapshot *snapshot; /* the newest, held through its publication */
    struct publication *snapshot_publication;
    const struct tls_set *tls; /* the same */
    struct publication *tls_publication;
    uint64_t generation;
    struct timer rebuild;
    uint64_t rebuilt_ns, rebuild_took_ns; /* the last time */
    bool must_build_whole;                /* the next snapshot */
    struct drill_watch drills;            /* that the snapshot was built with */
    struct timer drill_end;
    struct capture *capture;
    struct worker **workers;
    struct mailbox **inboxes;
    struct ledger *ledger; /* of the workers' walks */
    struct health_thread *health;
    unsigned n_workers, n_serving, n_drained;
    struct admin *admin;
    struct audit *audit;   /* NULL: no audit log */
    struct tracer *tracer; /* NULL: no spans */
    struct signal_watch *on_term, *on_int, *on_hup;
    struct timer log_timer, drain_timer;
    uint64_t log_dropped;
    uint64_t started_ns, connected_ns;
    struct text last_error; /* of the control channel */
    int state_dir_fd;       /* holds the folder for us; -1 before */
    bool is_draining, has_failed;
    bool is_closing; /* workers go: nothing is asked of them any more */
};

/* pages.c: the admin port's pages and the metrics, whose answers gather from the workers. */
extern const struct admin_page node_pages[];
extern const size_t node_n_pages;
void node_answer_metrics(void *owner, struct h1_exchange *exchange);

/* connections.c: the page of live connections. */
void node_answer_connections(void *owner, struct h1_exchange *exchange,
                             const struct h1_request *request);

#endif
