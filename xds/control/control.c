/*
 * control.c - the wiring. Every input (manifests, a peer, its lease, roots) ends in rebuild_soon();
 * the rebuild derives everything anew and the resource sets find out what differs.
 */
#include "xds/control/control.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/control/fingerprint.h"
#include "xds/control/inside.h"
#include "xds/control/issue.h"

#define WATCH_QUIET_NS  (50 * NS_PER_MS)
#define WATCH_RESCAN_NS (30 * NS_PER_SEC)
#define DISK_RETRY_NS   (5 * NS_PER_SEC)
#define REBUILD_SHARE   4 /* of the time between two rebuilds, one may take a fourth */

/* ---- rebuilding ---- */

static void on_rebuild(struct timer *timer);

/* Large clusters take longer to derive; then changes are gathered for longer, so that most of the
 * loop's time is left for streams and certificates. */
static void rebuild_soon(void *owner)
{
    struct control *control = owner;
    const uint64_t least_ns = CONTROL_SETTLE_MS * NS_PER_MS;
    const uint64_t settle_ns = control->rebuild_took_ns * REBUILD_SHARE;
    if (!timer_is_running(&control->rebuild))
        timer_start(control->loop, &control->rebuild, settle_ns > least_ns ? settle_ns : least_ns,
                    on_rebuild);
}

static void on_retry(struct timer *timer)
{
    rebuild_soon(container_of(timer, struct control, retry));
}

static struct registry *build(struct control *control)
{
    struct arena arena = {0};
    struct registry_peer *peers = arena_new_array(&arena, struct registry_peer, control->n_peers);
    struct registry_drill drills[DRILLS_MAX];
    struct registry_input input = {
        .drills = drills,
        .n_drills = drills_list(control->drills, drills),
        .config = control->config,
        .manifests = control->manifests,
        .peers = peers,
        .n_peers = control->n_peers,
    };
    for (size_t i = 0; i < control->n_peers; i++)
        peers[i] = peer_exports(control->peers[i], &arena);
    input.own_roots_pem = control_own_roots(control, &arena);
    input.own_crls = control_own_crls(control);
    input.keys = token_keys_list(control->token_keys, &arena, &input.n_keys);
    input.bundles = control->bundles;
    input.n_bundles = control->n_bundles;
    struct registry *registry = registry_build(&input);
    arena_fini(&arena);
    return registry;
}

static void give_addresses(struct control *control, struct registry *registry)
{
    struct vip_request *requests = mem_new_array(struct vip_request, registry->n_imports + 1);
    struct registry_import **imports =
        mem_new_array(struct registry_import *, registry->n_imports + 1);
    size_t n = 0;
    for (size_t i = 0; i < registry->n_imports; i++) {
        struct registry_import *import = &registry->imports[i];
        if (import->service.is_headless)
            continue;
        imports[n] = import;
        requests[n] = (struct vip_request){.name = import->key, .n_wanted = import->n_wanted};
        memcpy(requests[n++].wanted, import->wanted, sizeof(import->wanted));
    }
    if (vips_assign(control->vips, requests, n, clock_wall_ns()) < 0)
        timer_start(control->loop, &control->retry, DISK_RETRY_NS, on_retry);
    for (size_t i = 0; i < n; i++) {
        struct registry_import *import = imports[i];
        memcpy(import->service.addresses, requests[i].got, sizeof(requests[i].got));
        import->service.n_addresses = requests[i].n_got;
        import->problem = arena_str(&registry->arena, text_str(&requests[i].problem));
        text_fini(&requests[i].problem);
    }
    mem_free(imports);
    mem_free(requests);
}

/* Once when it is new, not at every rebuild. */
static void tell_oddities(struct control *control, const struct registry *registry)
{
    for (size_t i = 0; i < registry->n_peers; i++) {
        const struct registry_peer_row *row = &registry->peers[i];
        const uint64_t told = row->n_refused ? keyed_hash(row->n_refused, row->refusal) : 0;
        if (told != 0 && told != control->told_refusals[i])
            log_warn("resources of a peer were refused",
                     log_str("peer", control->config->peers[i].name),
                     log_u64("refused", row->n_refused), log_str("first", row->refusal));
        control->told_refusals[i] = told;
    }
    if (registry->n_stray_endpoints > 0 && registry->n_stray_endpoints != control->told_strays)
        log_info("endpoints without a pod in the manifests are left out",
                 log_u64("endpoints", registry->n_stray_endpoints));
    control->told_strays = registry->n_stray_endpoints;
}

/* Streams of nodes that are no more. Ending one takes its row out of the map, so they are gathered
 * first. */
static void disconnect_absent_nodes(struct control *control)
{
    struct arena arena = {0};
    struct str *absent = arena_new_array(&arena, struct str, control->nodes.len);
    struct str id, node;
    struct spiffe_id parsed;
    void *value;
    size_t n = 0;
    for (size_t idx = 0; map_next(&control->nodes, &idx, &id, &value);)
        if (spiffe_parse(id, &parsed, NULL) < 0 || !spiffe_node_name(&parsed, &node) ||
            !registry_has_node(control->registry, node))
            absent[n++] = arena_str(&arena, id);
    for (size_t i = 0; i < n; i++) {
        log_warn("a node is no Node of this cluster any more; its stream is ended",
                 log_str("node", absent[i]));
        xds_server_disconnect(control->server, absent[i]);
    }
    arena_fini(&arena);
}

static void rebuild(struct control *control)
{
    const uint64_t begun_ns = clock_mono_ns();
    struct registry *registry = build(control);
    give_addresses(control, registry);
    registry_emit(registry);
    tell_oddities(control, registry);
    registry_free(control->registry);
    control->registry = registry;
    const size_t n_for_nodes =
        resource_set_replace(control->nodes_set, registry->for_nodes, registry->n_for_nodes);
    const size_t n_for_peers =
        resource_set_replace(control->peers_set, registry->for_peers, registry->n_for_peers);
    if (n_for_nodes + n_for_peers > 0)
        log_info("resources have changed", log_u64("for_nodes", n_for_nodes),
                 log_u64("for_peers", n_for_peers));
    control->rebuild_took_ns = clock_mono_ns() - begun_ns;
    if (!control->server)
        return;
    disconnect_absent_nodes(control);
    if (n_for_nodes > 0)
        xds_server_notify(control->server, control->nodes_set);
    if (n_for_peers > 0)
        xds_server_notify(control->server, control->peers_set);
}

static void on_rebuild(struct timer *timer)
{
    rebuild(container_of(timer, struct control, rebuild));
}

/* At once: what a drill takes out, and what it gives back, is waited for. */
static void on_drills(void *owner)
{
    struct control *control = owner;
    timer_stop(&control->rebuild);
    rebuild(control);
}

/* ---- manifests ---- */

static void tell_entry(enum log_level level, const char *message, const struct diag_entry *entry)
{
    if (level == LOG_ERROR)
        log_error(message, log_str("file", entry->place.file), log_u64("line", entry->place.line),
                  log_u64("column", entry->place.column), log_str("why", entry->sentence));
    else
        log_warn(message, log_str("file", entry->place.file), log_u64("line", entry->place.line),
                 log_u64("column", entry->place.column), log_str("why", entry->sentence));
}

/* The same findings are told once, however often the folder is read. */
static void tell_findings(struct control *control, const struct diag *diag)
{
    struct text all = {0};
    diag_print(diag, &all);
    const uint64_t told = keyed_hash(0, text_str(&all));
    for (size_t i = 0; i < diag->len && told != control->told_findings; i++) {
        const struct diag_entry *entry = &diag->entries[i];
        if (entry->severity == DIAG_ERROR)
            tell_entry(LOG_ERROR, "a manifest is wrong; the last good set stays", entry);
        else if (diag_is_clean(diag))
            tell_entry(LOG_WARN, "a manifest is odd", entry);
    }
    control->told_findings = told;
    text_fini(&all);
}

/* For one line of a log or a table: without the last newline. */
static void print_line(const struct diag *diag, struct text *out)
{
    struct text all = {0};
    diag_print(diag, &all);
    text_add(out, str_sub(text_str(&all), 0, all.len > 0 ? all.len - 1 : 0));
    text_fini(&all);
}

static struct manifests *read_manifests(struct control *control, struct text *out_error)
{
    struct diag diag = {0};
    struct text path = {0};
    text_add(&path, control->config->manifests_dir);
    control->fingerprint = folder_fingerprint(path.ptr);
    struct manifests *set =
        manifests_read_cached(control->manifests_cache, path.ptr, clock_wall_ns(), &diag);
    if (set)
        manifests_cross_check(set, control->config->root_namespace, false, &diag);
    else
        print_line(&diag, out_error);
    tell_findings(control, &diag);
    meter_add(control->meter, set ? METRIC_MANIFESTS_LOADED : METRIC_MANIFESTS_REFUSED, 1);
    text_fini(&path);
    diag_fini(&diag);
    return set;
}

static bool has_changed(const struct control *control)
{
    struct text path = {0};
    text_add(&path, control->config->manifests_dir);
    const bool changed = folder_fingerprint(path.ptr) != control->fingerprint;
    text_fini(&path);
    return changed;
}

/* The registry borrows from the old set, so it is rebuilt before that goes. */
static void on_manifests(void *owner)
{
    struct control *control = owner;
    struct manifests *old = control->manifests;
    if (!has_changed(control))
        return;
    text_clear(&control->manifests_error);
    struct manifests *set = read_manifests(control, &control->manifests_error);
    if (!set) {
        control->n_refused++;
        return;
    }
    control->n_loaded++;
    control->loaded_ns = clock_wall_ns();
    control->manifests = set;
    token_keys_follow(control->token_keys, set);
    timer_stop(&control->rebuild);
    rebuild(control);
    manifests_free(old);
}

/* ---- peers ---- */

static void on_peer_change(void *owner, struct peer *peer)
{
    (void)peer;
    rebuild_soon(owner);
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
    rebuild_soon(control);
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
        .on_change = rebuild_soon,
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
    if (err < 0)
        return err;
    control->manifests = read_manifests(control, why);
    if (!control->manifests)
        return -ERR_INVALID;
    token_keys_follow(control->token_keys, control->manifests);
    control->n_loaded = 1;
    control->loaded_ns = clock_wall_ns();
    return 0;
}

int control_open(struct loop *loop, const struct control_config *config, struct meter *meter,
                 struct control **out_control, struct text *why)
{
    struct control *control = mem_new(struct control);
    struct text path = {0};
    control->loop = loop;
    control->config = config;
    control->meter = meter;
    control->manifests_cache = manifests_cache_new();
    control->nodes_set = resource_set_new();
    control->peers_set = resource_set_new();
    control->drills = drills_new(loop, on_drills, control);
    control->crl_watch = crl_watch_new(loop, meter);
    int err = open_inputs(control, why);
    if (err == 0) {
        open_peers(control);
        control_rebuild_trust(control);
        crl_watch_follow(control->crl_watch, control->trust);
        rebuild(control);
        err = open_server(control, why);
    }
    if (err < 0) {
        control_close(control);
        return err;
    }
    text_add(&path, config->manifests_dir);
    control->watch =
        folder_watch_open(loop, path.ptr, WATCH_QUIET_NS, WATCH_RESCAN_NS, on_manifests, control);
    text_fini(&path);
    *out_control = control;
    return 0;
}

struct addr control_addr(const struct control *control)
{
    return xds_server_addr(control->server);
}

bool control_is_ready(const struct control *control, struct text *why)
{
    if (control->server && control->registry)
        return true;
    text_add(why, STR("the manifests are not read yet"));
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
