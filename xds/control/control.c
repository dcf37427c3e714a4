/* control.c - the wiring. Every input ends in rebuild.c: manifests, peers and their leases, drills,
 * roots, keys of tokens. */
#include "xds/control/control.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/control/inside.h"
#include "xds/control/issue.h"

#define WATCH_QUIET_NS  (50 * NS_PER_MS)
#define WATCH_RESCAN_NS (30 * NS_PER_SEC)
#define SERVE_RETRY_NS  (5 * NS_PER_SEC)

/* At once: what a drill takes out, and what it gives back, is waited for. */
static void on_drills(void *owner)
{
    struct control *control = owner;
    timer_stop(&control->rebuild);
    control_rebuild(control);
}

/* ---- manifests ---- */

/* The registry borrows from the old set, so it is rebuilt before that goes. */
static void take_whole(struct control *control, struct manifests *set)
{
    struct manifests *old = control->manifests;
    control->manifests = set;
    token_keys_follow(control->token_keys, set);
    timer_stop(&control->rebuild);
    control_rebuild(control);
    manifests_free(old);
}

static void take_news(struct control *control)
{
    struct manifests_changes changes;
    struct manifests *whole;
    text_clear(&control->manifests_error);
    const enum manifests_news news = control_read_news(control, &changes, &whole);
    control->n_refused += news == MANIFESTS_REFUSED ? 1 : 0;
    control->n_loaded += news == MANIFESTS_REFUSED ? 0 : 1;
    if (news != MANIFESTS_REFUSED)
        control->loaded_ns = clock_wall_ns();
    if (news == MANIFESTS_PATCHED)
        control_patch(control, &changes);
    else if (news == MANIFESTS_WHOLE)
        take_whole(control, whole);
    manifests_changes_fini(&changes);
}

static void on_manifests(void *owner)
{
    struct control *control = owner;
    if (control_has_news(control))
        take_news(control);
}

/* ---- peers ---- */

static void on_peer_change(void *owner, struct peer *peer)
{
    (void)peer;
    control_follow_peers(owner);
}

/* What is trusted has changed: streams that rest on what is gone end, ours to peers as well. Their
 * ends come again under what is left, if that bears them. */
static void on_trust(void *owner)
{
    struct control *control = owner;
    control_rebuild_trust(control);
    crl_watch_follow(control->crl_watch, control->trust);
    if (control->server)
        xds_server_recheck(control->server, control->trust);
    for (size_t i = 0; i < control->n_peers; i++)
        if (control->peers[i])
            peer_recheck(control->peers[i], control->trust);
    control_rebuild_soon(control);
}

static struct tls_identity *peer_identity(void *owner)
{
    const struct control *control = owner;
    return *own_identity_current(control->identity);
}

static const struct peer_events peer_events = {
    .on_change = on_peer_change,
    .on_trust = on_trust,
    .identity = peer_identity,
};

static void open_peers(struct control *control)
{
    const struct control_config *config = control->config;
    control->peers = mem_new_array(struct peer *, config->n_peers + 1);
    control->peer_options = mem_new_array(struct peer_options, config->n_peers + 1);
    control->told_refusals = mem_new_array(uint64_t, config->n_peers + 1);
    for (size_t i = 0; i < config->n_peers; i++) {
        control->peer_options[i] = (struct peer_options){
            .config = config,
            .peer = &config->peers[i],
            .meter = control->meter,
            .trust = &control->trust_view,
        };
        control->peers[i] =
            peer_open(control->loop, &control->peer_options[i], &peer_events, control);
        control->n_peers = i + 1;
    }
}

/* ---- the port ---- */

static bool is_own_node(const struct control *control, const struct spiffe_id *id,
                        struct str *out_node)
{
    return str_eq(id->trust_domain, control->config->trust_domain) &&
           spiffe_node_name(id, out_node);
}

static bool is_peer(const struct control *control, const struct spiffe_id *id)
{
    for (size_t i = 0; i < control->n_peers; i++)
        if (str_eq(peer_id(control->peers[i]), id->text))
            return true;
    return false;
}

static struct resource_set *on_subscribe(void *owner, const struct server_peer *peer,
                                         const char **out_why)
{
    struct control *control = owner;
    struct spiffe_id id;
    struct str node;
    if (str_is_empty(peer->id) || spiffe_parse(peer->id, &id, NULL) < 0) {
        *out_why = "a client certificate is needed";
        return NULL;
    }
    if (is_own_node(control, &id, &node)) {
        if (registry_has_node(control->registry, node))
            return control->nodes_set;
        *out_why = "there is no such Node in this cluster";
        return NULL;
    }
    if (is_peer(control, &id))
        return control->peers_set;
    *out_why = "neither a node of this cluster nor a configured peer";
    return NULL;
}

static void on_stream(void *owner, const struct server_peer *peer, bool is_up)
{
    struct control *control = owner;
    struct spiffe_id id;
    struct str node;
    struct node_row *row = map_find(&control->nodes, peer->id);
    if (spiffe_parse(peer->id, &id, NULL) < 0 || !is_own_node(control, &id, &node))
        return;
    if (is_up && !row) {
        char *behind;
        row = mem_zalloc(sizeof(*row) + peer->id.len);
        behind = (char *)(row + 1);
        memcpy(behind, peer->id.ptr, peer->id.len);
        row->id = str_of(behind, peer->id.len);
        map_put(&control->nodes, row->id, row);
    }
    if (!row)
        return;
    row->n_streams += is_up ? 1U : 0U;
    row->n_streams -= is_up ? 0U : 1U;
    if (row->n_streams == 0) {
        map_remove(&control->nodes, row->id);
        mem_free(row);
    } else if (is_up) {
        row->remote = peer->remote;
        row->since_ns = clock_wall_ns();
    }
}

static void on_nack(void *owner, const struct server_peer *peer)
{
    struct control *control = owner;
    struct node_row *row = map_find(&control->nodes, peer->id);
    meter_add(control->meter, METRIC_XDS_NACKS, 1);
    if (row)
        row->n_nacks++;
}

static enum grpc_status on_certificate(void *owner, const struct server_peer *peer,
                                       const struct certificate_request *request,
                                       struct text *out_chain_pem, struct text *out_root_pem,
                                       struct text *why)
{
    struct control *control = owner;
    const struct issuer issuer = {
        .trust_domain = control->config->trust_domain,
        .tokens_dir = control->config->tokens_dir,
        .ttl_ns = control->config->workload_ttl_ns,
        .ca = control->ca,
        .registry = control->registry,
    };
    const enum grpc_status status =
        issue_decide(&issuer, peer, request, out_chain_pem, out_root_pem, why);
    if (status == GRPC_OK) {
        meter_add(control->meter, METRIC_CERTIFICATES_ISSUED, 1);
    } else {
        meter_add(control->meter, METRIC_CERTIFICATES_REFUSED, 1);
        log_warn("a certificate was refused", log_str("who", peer->id),
                 log_addr("remote", &peer->remote), log_str("wanted", request->wanted_id),
                 log_str("why", text_str(why)));
    }
    return status;
}

static const struct xds_server_events server_events = {
    .on_subscribe = on_subscribe,
    .on_stream = on_stream,
    .on_nack = on_nack,
    .on_certificate = on_certificate,
};

static int open_server(struct control *control, struct text *why)
{
    char buf[ADDR_TEXT_MAX];
    int saved_errno = 0;
    const struct xds_server_options options = {
        .listen = control->config->listen,
        .identity = own_identity_current(control->identity),
        .trust = &control->trust_view,
    };
    const int err = xds_server_open(control->loop, &options, &server_events, control,
                                    &control->server, &saved_errno);
    if (err < 0)
        text_addf(why, "cannot listen on %s: %s", addr_text(&control->config->listen, buf),
                  strerrordesc_np(saved_errno));
    return err;
}

/* ---- the API server ---- */

/* All that hangs on objects begins when it is known what there is of them. */
static int begin(struct control *control, struct text *why)
{
    struct manifests *empty = control->manifests;
    control->manifests = control_read_manifests(control, why);
    if (!control->manifests) {
        control->manifests = empty;
        return -ERR_INVALID;
    }
    control->is_known = true;
    token_keys_follow(control->token_keys, control->manifests);
    control->n_loaded = 1;
    control->loaded_ns = clock_wall_ns();
    open_peers(control);
    control_rebuild_trust(control);
    crl_watch_follow(control->crl_watch, control->trust);
    control_rebuild(control);
    manifests_free(empty);
    return 0;
}

/* A port that another process has is the only thing that can be wrong once all kinds are known. */
static void on_follow(struct timer *timer)
{
    struct control *control = container_of(timer, struct control, follow);
    struct text why = {0};
    int err = 0;
    if (control->is_known)
        take_news(control);
    else
        err = begin(control, &why);
    if (err == 0 && !control->server)
        err = open_server(control, &why);
    if (err < 0) {
        log_error("control does not serve yet", log_str("why", text_str(&why)));
        timer_start(control->loop, &control->follow, SERVE_RETRY_NS, on_follow);
    }
    text_fini(&why);
}

static void on_source(void *owner)
{
    struct control *control = owner;
    if (!timer_is_running(&control->follow))
        timer_start(control->loop, &control->follow, control_settle_ns(control), on_follow);
}

/* Nobody is served before the server was heard: what nodes hold is more than nothing. */
static void open_source(struct control *control)
{
    const struct kube_source_options options = {
        .config = &control->config->kubernetes,
        .meter = control->meter,
        .state_dir = control->config->state_dir,
        .on_change = on_source,
        .owner = control,
    };
    struct diag diag = {0};
    control->source = kube_source_open(control->loop, &options);
    control->manifests = manifests_store_set(kube_source_store(control->source), &diag);
    ensure(control->manifests);
    control_rebuild_trust(control);
    control_begin_empty(control);
    diag_fini(&diag);
}

/* ---- life ---- */

static int make_dirs(struct control *control, struct text *why)
{
    static const char *const subfolders[] = {"", "/peers", "/bundles"};
    for (size_t i = 0; i < ARRAY_LEN(subfolders); i++) {
        struct text path = {0};
        text_addf(&path, "%.*s%s", STR_ARG(control->config->state_dir), subfolders[i]);
        const int err = file_make_dir(text_str(&path), 0700);
        if (err < 0)
            text_addf(why, "stateDir: %.*s cannot be made: %s", STR_ARG(text_str(&path)),
                      file_why(err));
        text_fini(&path);
        if (err < 0)
            return err;
    }
    return 0;
}

static int open_federation(struct control *control, struct text *why)
{
    const struct federation_options options = {
        .config = control->config,
        .trust = &control->trust_view,
        .meter = control->meter,
        .on_change = on_trust,
        .owner = control,
    };
    return federation_open(control->loop, &options, &control->federation, why);
}

static int open_token_keys(struct control *control, struct text *why)
{
    const struct token_keys_options options = {
        .state_dir = control->config->state_dir,
        .meter = control->meter,
        .on_change = control_rebuild_soon,
        .owner = control,
    };
    return token_keys_open(control->loop, &options, &control->token_keys, why);
}

static int open_inputs(struct control *control, struct text *why)
{
    const struct control_config *config = control->config;
    int err = make_dirs(control, why);
    if (err == 0)
        err = ca_open(config->state_dir, config->trust_domain, &control->ca, why);
    if (err == 0)
        err = vips_open(config->state_dir, config->ranges, config->n_ranges, &control->vips, why);
    if (err == 0)
        err = own_identity_open(control->loop, control->ca, config->trust_domain,
                                config->workload_ttl_ns, &control->identity, why);
    if (err == 0)
        err = open_federation(control, why);
    if (err == 0)
        err = open_token_keys(control, why);
    return err;
}

static int open_folder(struct control *control, struct text *why)
{
    struct text path = {0};
    int err = begin(control, why);
    if (err == 0)
        err = open_server(control, why);
    if (err < 0)
        return err;
    text_add(&path, control->config->manifests_dir);
    control->watch = folder_watch_open(control->loop, path.ptr, WATCH_QUIET_NS, WATCH_RESCAN_NS,
                                       on_manifests, control);
    text_fini(&path);
    return 0;
}

int control_open(struct loop *loop, const struct control_config *config, struct meter *meter,
                 struct control **out_control, struct text *why)
{
    struct control *control = mem_new(struct control);
    control->loop = loop;
    control->config = config;
    control->meter = meter;
    control->manifests_cache = manifests_cache_new();
    control->nodes_set = resource_set_new();
    control->peers_set = resource_set_new();
    control->drills = drills_new(loop, on_drills, control);
    control->crl_watch = crl_watch_new(loop, meter);
    int err = open_inputs(control, why);
    if (err == 0 && config->kubernetes.is_used)
        open_source(control);
    else if (err == 0)
        err = open_folder(control, why);
    if (err < 0) {
        control_close(control);
        return err;
    }
    *out_control = control;
    return 0;
}

struct addr control_addr(const struct control *control)
{
    return xds_server_addr(control->server);
}

bool control_is_ready(const struct control *control, struct text *why)
{
    if (control->server)
        return true;
    if (control->source && !control->is_known)
        kube_source_pending(control->source, why);
    else
        text_add(why, STR("the port is not open yet"));
    return false;
}

/* At the end of the turn: what was closed above may still look at it. */
static void control_free(void *ptr)
{
    struct control *control = ptr;
    struct str id;
    void *row;
    for (size_t idx = 0; map_next(&control->nodes, &idx, &id, &row);)
        mem_free(row);
    map_fini(&control->nodes);
    resource_set_free(control->nodes_set);
    resource_set_free(control->peers_set);
    registry_free(control->registry);
    manifests_free(control->manifests);
    manifests_cache_free(control->manifests_cache);
    vips_free(control->vips);
    if (control->trust)
        trust_unref(control->trust);
    arena_fini(&control->bundles_arena);
    own_identity_close(control->identity);
    ca_close(control->ca);
    text_fini(&control->manifests_error);
    mem_free(control->peers);
    mem_free(control->peer_options);
    mem_free(control->told_refusals);
    mem_free(control);
}

void control_close(struct control *control)
{
    timer_stop(&control->rebuild);
    timer_stop(&control->retry);
    timer_stop(&control->follow);
    kube_source_close(control->source);
    drills_free(control->drills);
    crl_watch_free(control->crl_watch);
    if (control->watch)
        folder_watch_close(control->watch);
    if (control->server)
        xds_server_close(control->server);
    for (size_t i = 0; i < control->n_peers; i++)
        peer_close(control->peers[i]);
    federation_close(control->federation);
    token_keys_close(control->token_keys);
    loop_bury(control->loop, control, control_free);
}
