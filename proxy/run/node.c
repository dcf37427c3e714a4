/*
 * Happy path: open everything -> loop -> changes arrive -> snapshots and identities are published
 * -> SIGTERM -> drain -> end. Failure modes: something cannot be opened (said with its reason, exit
 * status 1); a worker's port is taken (the same); control is away (the saved state serves);
 * nftables refuses a change (logged, the rules stay as they were, tried again with the next
 * change).
 */
#include "proxy/run/node.h"

#include <signal.h>
#include <unistd.h>

#include "certs/spiffe.h"
#include "proxy/audit/recovery.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/flow/ledger.h"
#include "proxy/io/scheduling.h"
#include "proxy/run/generations.h"
#include "proxy/run/node_state.h"
#include "proxy/run/state_dir.h"
#include "proxy/run/version.h"

#define LOG_DRAIN_NS (UINT64_C(20) * NS_PER_MS)

/* ---- snapshots ---- */

static void on_xds_change(void *owner);

static void on_drill_end(struct timer *timer)
{
    struct node *node = container_of(timer, struct node, drill_end);
    generation_reconsider(node);
    on_xds_change(node);
}

static void free_snapshot(void *object)
{
    snapshot_free(object);
}

/* A trust domain whose bundle went is trusted no more; before the first state nobody knows which
 * ones went. */
static void update_bundles(struct node *node)
{
    const struct delta_client *state = xds_client_state(node->xds);
    struct str *domains = mem_new_array(struct str, delta_client_count(state) + 1);
    const struct delta_resource *resource;
    size_t idx = 0, n = 0;
    while ((resource = delta_client_next(state, &idx)) != NULL) {
        const struct model_resource *model = &resource->model;
        if (model->kind != MODEL_BUNDLE)
            continue;
        (void)identities_set_bundle(node->identities, model->of.bundle->trust_domain,
                                    model->of.bundle->pem, model->of.bundle->crls);
        domains[n++] = model->of.bundle->trust_domain;
    }
    if (delta_client_is_synced(state))
        identities_keep_bundles(node->identities, domains, n);
    mem_free(domains);
}

static void update_capture(struct node *node)
{
    struct text why = {0};
    if (node->capture && capture_update(node->capture, node->snapshot, &why) < 0)
        log_error("the capture rules could not be changed", log_str("error", text_str(&why)));
    text_fini(&why);
}

static void rebuild(struct node *node)
{
    struct snapshot *snapshot = generation_next(node, on_drill_end);
    if (!snapshot->base)
        update_bundles(node);
    publication_release(node->snapshot_publication);
    node->snapshot = snapshot;
    node->snapshot_publication = publish(snapshot, free_snapshot, node->inboxes, node->n_workers,
                                         node->mailbox, worker_deliver_snapshot);
    publication_add(node->snapshot_publication, health_thread_mailbox(node->health),
                    health_deliver_snapshot);
    meter_add(node->meter, METRIC_SNAPSHOTS_PUBLISHED, 1);
    identities_follow(node->identities, snapshot);
    update_capture(node);
}

static void on_rebuild(struct timer *timer)
{
    rebuild(container_of(timer, struct node, rebuild));
}

static void on_xds_change(void *owner)
{
    struct node *node = owner;
    if (!timer_is_running(&node->rebuild))
        timer_start(node->loop, &node->rebuild, generation_wait_ns(node), on_rebuild);
}

static void on_xds_connected(void *owner, bool is_up)
{
    struct node *node = owner;
    node->connected_ns = is_up ? loop_now_ns(node->loop) : 0;
    log_info(is_up ? "the control stream is up" : "the control stream is down");
    if (!is_up && timer_is_running(&node->drill_end)) {
        log_warn("a drill is let go: control is not there to end it");
        generation_reconsider(node);
        on_xds_change(node);
    }
}

static const struct xds_client_events xds_events = {
    .on_change = on_xds_change,
    .on_connected = on_xds_connected,
};

/* ---- identities and the control channel ---- */

static void free_tls_set(void *object)
{
    tls_set_free(object);
}

static void on_tls_set(void *owner, struct tls_set *set)
{
    struct node *node = owner;
    publication_release(node->tls_publication);
    node->tls = set;
    node->tls_publication = publish(set, free_tls_set, node->inboxes, node->n_workers,
                                    node->mailbox, worker_deliver_tls);
    publication_add(node->tls_publication, health_thread_mailbox(node->health), health_deliver_tls);
    if (node->channel)
        channel_recheck(node->channel, set->trust);
}

/* The first certificate turns the anonymous channel into one that may subscribe; a renewed one is
 * shown at the next dial. */
static void on_node_identity(void *owner)
{
    struct node *node = owner;
    if (node->channel && node->is_anonymous)
        channel_redial(node->channel);
}

static const struct identities_events identities_events = {
    .on_set = on_tls_set,
    .on_node_identity = on_node_identity,
};

static struct tls_identity *identity_to_show(void *owner)
{
    struct node *node = owner;
    struct tls_identity *identity = identities_node(node->identities);
    node->is_anonymous = identity == NULL;
    return identity;
}

static void on_channel_up(void *owner, struct h2 *h2)
{
    struct node *node = owner;
    text_clear(&node->last_error);
    identities_set_h2(node->identities, h2, node->is_anonymous);
    if (!node->is_anonymous)
        xds_client_channel_up(node->xds, h2);
}

static void on_channel_down(void *owner, int err, struct str why)
{
    struct node *node = owner;
    text_clear(&node->last_error);
    text_addf(&node->last_error, "%s%s%.*s", err_text(err), str_is_empty(why) ? "" : ": ",
              STR_ARG(why));
    if (node->is_anonymous && identities_node(node->identities))
        log_info("the node has its certificate; control is called again under it");
    else
        log_warn("the control channel is down", log_str("control", node->config->control.host),
                 log_err("why", err), log_str("detail", why));
    identities_set_h2(node->identities, NULL, node->is_anonymous);
    xds_client_channel_down(node->xds);
}

static const struct channel_events channel_events = {
    .on_up = on_channel_up,
    .on_down = on_channel_down,
};

static void open_channel(struct node *node)
{
    const struct proxy_config *config = node->config;
    const struct channel_options options = {
        .server = config->control,
        .mark = config->capture == CAPTURE_TPROXY ? config->mark : 0,
        .trust = identities_trust(node->identities),
        .expected_id = spiffe_for_control(&node->arena, config->trust_domain),
        .identity = identity_to_show,
    };
    node->channel = channel_open(node->loop, &options, &channel_events, node);
}

static void open_xds(struct node *node)
{
    const struct proxy_config *config = node->config;
    const struct xds_client_options options = {
        .node_id = arena_printf(&node->arena, "isthmus~%.*s~%.*s", STR_ARG(config->node),
                                STR_ARG(config->cluster)),
        .cluster = config->cluster,
        .subscribed = {[XDS_ADDRESS] = true,
                       [XDS_AUTHORIZATION] = true,
                       [XDS_SECRET] = true,
                       [XDS_CLUSTER] = true,
                       [XDS_ROUTE] = true,
                       [XDS_REQUEST_AUTH] = true},
        .state_file = arena_printf(&node->arena, "%.*s/state.pb", STR_ARG(config->state_dir)),
    };
    node->xds = xds_client_open(node->loop, &options, node->meter, &xds_events, node);
}

/* ---- workers ---- */

static void quit(struct node *node, bool failed)
{
    node->has_failed |= failed;
    loop_stop(node->loop);
}

/* Doors first, then the rules: nobody is sent to a door that is not open. */
static void install_capture(struct node *node)
{
    const struct proxy_config *config = node->config;
    struct text why = {0};
    const struct capture_options options = {
        .outbound = config->ports.outbound,
        .inbound = config->ports.inbound,
        .tunnel = config->ports.tunnel,
        .dns = config->ports.dns,
        .own_mark = config->mark,
        .route_table = config->route_table,
    };
    if (capture_install(&options, node->snapshot, &node->capture, &why) < 0) {
        log_error("the capture rules cannot be installed", log_str("error", text_str(&why)));
        quit(node, true);
    }
    text_fini(&why);
}

static void on_worker_serving(void *owner, struct worker *worker)
{
    struct node *node = owner;
    (void)worker;
    if (++node->n_serving < node->n_workers || node->is_draining)
        return;
    if (node->config->capture == CAPTURE_TPROXY && !node->capture)
        install_capture(node);
    log_info("serving", log_u64("workers", node->n_workers));
}

static void on_worker_failed(void *owner, struct worker *worker, struct str why)
{
    (void)worker;
    log_error("a worker cannot serve", log_str("error", why));
    quit(owner, true);
}

static void on_worker_drained(void *owner, struct worker *worker)
{
    struct node *node = owner;
    (void)worker;
    if (++node->n_drained == node->n_workers) {
        log_info("drained: no connection is left");
        quit(node, false);
    }
}

static const struct worker_events worker_events = {
    .on_serving = on_worker_serving,
    .on_failed = on_worker_failed,
    .on_drained = on_worker_drained,
};

/* Who cannot keep the log it was told to keep does not serve. */
static int open_audit(struct node *node, struct text *why)
{
    static const enum audit_sync syncs[] = {
        [AUDIT_FSYNC_NEVER] = AUDIT_SYNC_NEVER,
        [AUDIT_FSYNC_SECOND] = AUDIT_SYNC_SECOND,
        [AUDIT_FSYNC_ALWAYS] = AUDIT_SYNC_ALWAYS,
    };
    const struct audit_config *config = &node->config->audit;
    if (str_is_empty(config->file))
        return 0;
    struct str dir, base;
    recovery_split(config->file, &dir, &base);
    const int err = file_make_dir(dir, 0700);
    if (err < 0) {
        text_addf(why, "audit.file: the folder %.*s cannot be made: %s", STR_ARG(dir),
                  file_why(err));
        return err;
    }
    const struct audit_options options = {
        .path = config->file,
        .node = node->config->node,
        .version = STR(ISTHMUS_VERSION),
        .max_bytes = config->max_bytes,
        .keep = config->keep,
        .sync = syncs[config->fsync],
        .wants_verdicts = config->verdicts,
        .wants_ends = config->ends,
        .wants_each = config->requests,
        .n_workers = node->n_workers,
    };
    return audit_open(&options, &node->audit, why);
}

static void open_tracer(struct node *node)
{
    const struct proxy_config *config = node->config;
    const struct tracing_config *tracing = &config->tracing;
    if (tracing->collector.port == 0)
        return;
    struct http_field *fields =
        arena_new_array(&node->arena, struct http_field, tracing->n_headers + 1);
    for (size_t i = 0; i < tracing->n_headers; i++)
        fields[i] = (struct http_field){tracing->headers[i].name, tracing->headers[i].value};
    const struct tracer_options options = {
        .collector = {.host = tracing->collector.host,
                      .port = tracing->collector.port,
                      .path = tracing->path,
                      .is_plain = tracing->is_plain,
                      .fields = {.at = fields, .len = tracing->n_headers},
                      .mark = config->capture == CAPTURE_TPROXY ? config->mark : 0},
        .origin = {config->node, config->cluster, STR(ISTHMUS_VERSION)},
        .sampling_ppm = tracing->sampling_ppm,
        .n_workers = node->n_workers,
    };
    node->tracer = tracer_open(node->loop, &options);
}

static void count_workers(struct node *node)
{
    const long processors = sysconf(_SC_NPROCESSORS_ONLN);
    node->n_workers = node->config->workers > 0 ? node->config->workers
                                                : (unsigned)(processors > 0 ? processors : 1);
}

static void start_workers(struct node *node)
{
    node->workers = mem_new_array(struct worker *, node->n_workers);
    node->inboxes = mem_new_array(struct mailbox *, node->n_workers);
    node->ledger = ledger_new(node->n_workers);
    for (unsigned i = 0; i < node->n_workers; i++) {
        node->workers[i] = worker_start(i, node->n_workers, node->config,
                                        node->audit ? audit_pen(node->audit, i) : NULL,
                                        node->tracer ? tracer_pen(node->tracer, i) : NULL,
                                        node->ledger, node->mailbox, &worker_events);
        node->inboxes[i] = worker_mailbox(node->workers[i]);
    }
    node->health = health_thread_start(node->config, node->mailbox);
    for (unsigned i = 0; i < node->n_workers; i++)
        worker_watch(node->workers[i], health_thread_mailbox(node->health));
}

/* ---- the end ---- */

static void on_drain_deadline(struct timer *timer)
{
    struct node *node = container_of(timer, struct node, drain_timer);
    log_warn("the drain time is over; what is left is cut");
    quit(node, false);
}

static void drain(struct node *node)
{
    if (node->is_draining) {
        quit(node, false);
        return;
    }
    node->is_draining = true;
    log_info("draining", log_u64("at_most_ms", node->config->drain_ns / NS_PER_MS));
    timer_start(node->loop, &node->drain_timer, node->config->drain_ns, on_drain_deadline);
    for (unsigned i = 0; i < node->n_workers; i++)
        worker_drain(node->workers[i]);
}

static void on_signal(void *owner, int signum)
{
    struct node *node = owner;
    if (signum == SIGINT && node->is_draining)
        quit(node, false);
    else
        drain(node);
}

static void on_quit(void *owner)
{
    drain(owner);
}

static void on_hangup(void *owner, int signum)
{
    const struct node *node = owner;
    (void)signum;
    if (node->audit)
        audit_reopen(node->audit);
    log_warn("SIGHUP changes nothing but an audit log that was renamed, which is begun anew: the "
             "configuration is read at the start only");
}

static bool is_ready(void *owner, struct text *why)
{
    const struct node *node = owner;
    if (node->is_draining)
        text_addf(why, "draining");
    else if (!node->snapshot || !node->snapshot->is_synced)
        text_addf(why, "control stream");
    else if (node->n_serving < node->n_workers)
        text_addf(why, "workers");
    return why->len == 0;
}

/* ---- wiring ---- */

static void on_log_timer(struct timer *timer)
{
    struct node *node = container_of(timer, struct node, log_timer);
    (void)log_drain();
    const uint64_t dropped = log_dropped();
    meter_add(node->meter, METRIC_LOG_DROPPED, (int64_t)(dropped - node->log_dropped));
    node->log_dropped = dropped;
    timer_start(node->loop, timer, LOG_DRAIN_NS, on_log_timer);
}

static int open_admin(struct node *node, struct text *why)
{
    const struct proxy_config *config = node->config;
    struct admin_options options = {
        .metrics = {.port = config->ports.metrics},
        .ready = {.port = config->ports.ready},
        .admin = {.port = config->ports.admin},
        .pages = node_pages,
        .n_pages = node_n_pages,
        .on_metrics = node_answer_metrics,
        .is_ready = is_ready,
        .on_quit = on_quit,
    };
    const int err = ip_parse(STR("127.0.0.1"), &options.admin.ip);
    ensure(err == 0);
    return admin_open(node->loop, &options, node, &node->admin, why);
}

static int open_node(struct node *node, struct text *why)
{
    const struct proxy_config *config = node->config;
    int err = state_dir_take(config->state_dir, &node->state_dir_fd, why);
    if (err < 0)
        return err;
    err = open_admin(node, why);
    if (err < 0)
        return err;
    count_workers(node);
    err = open_audit(node, why);
    if (err < 0)
        return err;
    open_tracer(node);
    start_workers(node);
    err = identities_open(node->loop, config, node->meter, &identities_events, node,
                          &node->identities, why);
    if (err < 0)
        return err;
    open_xds(node);
    open_channel(node);
    return 0;
}

/* The workers' last words (answers to admin pages, returned generations) are heard while everything
 * they are about is still there. */
static void stop_workers(struct node *node)
{
    for (unsigned i = 0; node->workers && i < node->n_workers; i++)
        worker_stop(node->workers[i]);
    if (node->health)
        health_thread_stop(node->health);
    mailbox_close(node->mailbox);
}

static void close_node(struct node *node)
{
    node->is_draining = true; /* a signal that comes now ends, and calls no worker */
    node->is_closing = true;
    if (node->health)
        health_thread_mute(node->health, node->loop);
    timer_stop(&node->rebuild);
    timer_stop(&node->drill_end);
    timer_stop(&node->drain_timer);
    stop_workers(node);
    if (node->audit)
        audit_close(node->audit);
    /* After the workers: without the rules the last bytes of tunnels are acknowledged to the pods,
     * and not to us. */
    if (node->capture)
        capture_close(node->capture, node->config->capture_on_exit == CAPTURE_EXIT_HOLD);
    if (node->channel)
        channel_close(node->channel);
    if (node->xds)
        xds_client_close(node->xds);
    if (node->identities)
        identities_close(node->identities);
    if (node->admin)
        admin_close(node->admin);
    if (node->tracer) /* turns the loop, in which nothing else that could call workers is left */
        tracer_close(node->tracer);
    publication_release(node->snapshot_publication);
    publication_release(node->tls_publication);
    ledger_free(node->ledger);
    mem_free(node->workers);
    mem_free(node->inboxes);
    text_fini(&node->last_error);
    arena_fini(&node->arena);
}

int node_run(const struct proxy_config *config)
{
    struct text why = {0};
    struct node node = {
        .config = config, .loop = loop_new(), .meter = meter_new(), .state_dir_fd = -1};
    node.mailbox = mailbox_open(node.loop, &node);
    node.started_ns = clock_mono_ns();
    node.on_term = signal_watch_open(node.loop, SIGTERM, on_signal, &node);
    node.on_int = signal_watch_open(node.loop, SIGINT, on_signal, &node);
    node.on_hup = signal_watch_open(node.loop, SIGHUP, on_hangup, &node);
    log_attach("control");
    log_start(STDERR_FILENO, config->log_access ? STDOUT_FILENO : -1);
    timer_start(node.loop, &node.log_timer, LOG_DRAIN_NS, on_log_timer);
    if (open_node(&node, &why) < 0) {
        log_error("the proxy cannot start", log_str("error", text_str(&why)));
        node.has_failed = true;
    } else {
        scheduling_give_way(); /* workers go first; they have been started */
        loop_run(node.loop);
    }
    close_node(&node);
    signal_watch_close(node.on_term);
    signal_watch_close(node.on_int);
    signal_watch_close(node.on_hup);
    timer_stop(&node.log_timer);
    while (loop_turn(node.loop, true))
        ;
    loop_free(node.loop);
    log_stop();
    meter_free(node.meter);
    state_dir_release(node.state_dir_fd);
    text_fini(&why);
    return node.has_failed ? 1 : 0;
}
