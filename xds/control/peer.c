#include "xds/control/peer.h"

#include <inttypes.h>
#include <string.h>

#include "certs/bundle.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

/* Half of the lease is for noticing that a peer is silent, the rest for coming back. */
#define LEASE_SHARE     4
#define KEEPALIVE_NS    (10 * NS_PER_SEC) /* at most: h2's own */
#define ROOTS_MAX_BYTES ((size_t)1024 * 1024)
#define HELD_MAX_BYTES  ((size_t)1 << 30) /* of memory for what it exports: some 500,000 pods */
#define ROOTS_COMMENT                                                                              \
    "# configured file: " /* then the hash of what it held when the peer sent its roots */
#define COMMENT_LEN (sizeof(ROOTS_COMMENT) - 1 + 16 + 1)

struct peer {
    struct loop *loop;
    struct arena arena;
    struct peer_options options;
    const struct peer_events *events;
    void *owner;
    struct str id, roots_path;
    struct channel *channel;
    struct xds_client *client;
    struct timer lease;
    uint64_t keepalive_ns; /* also how long an answer may take */
    bool lease_is_fresh;   /* it runs since the channel was up last */
    bool is_expired;
    bool was_expired; /* at the last peer_mark() */
    int64_t changed_ns;
    struct text roots, last_error;
    bool roots_from_stream;
    uint64_t file_hash; /* of the configured file when the stream's roots came; 0: it was missing.
                           On disk, and only the operator writes what it is of: str_hash() */
    uint64_t crls_hash; /* of the lists that the owner knows */
    uint64_t overruled; /* the hash of the stream's roots that a changed file replaced */
};

static void set_error(struct peer *peer, struct str what)
{
    text_clear(&peer->last_error);
    text_add(&peer->last_error, what);
}

/* ---- roots ---- */

static void save_roots(struct peer *peer)
{
    struct text file = {0};
    text_addf(&file, ROOTS_COMMENT "%016" PRIx64 "\n", peer->file_hash);
    text_add(&file, text_str(&peer->roots));
    const int err = file_write_atomic(peer->roots_path, text_str(&file), 0600);
    if (err < 0)
        log_error("the roots of a peer could not be written; they stay in memory",
                  log_str("path", peer->roots_path), log_cstr("error", file_why(err)));
    text_fini(&file);
}

static bool parse_hash(struct str hex, uint64_t *out_hash)
{
    uint64_t hash = 0;
    for (size_t i = 0; i < hex.len; i++) {
        const char c = hex.ptr[i];
        const bool is_digit = c >= '0' && c <= '9';
        if (!is_digit && !(c >= 'a' && c <= 'f'))
            return false;
        hash = hash << 4 | (uint64_t)(is_digit ? c - '0' : c - 'a' + 10);
    }
    *out_hash = hash;
    return true;
}

static const char *use_saved_roots(struct peer *peer, struct str file)
{
    struct text why = {0};
    struct str pem = str_sub(file, COMMENT_LEN, file.len);
    const size_t prefix_len = sizeof(ROOTS_COMMENT) - 1;
    const char *fault = NULL;
    uint64_t hash = 0;
    if (!str_starts_with(file, STR(ROOTS_COMMENT)) ||
        !parse_hash(str_sub(file, prefix_len, 16), &hash) || file.len < COMMENT_LEN)
        fault = "its first line is not ours";
    else if (bundle_check(pem, &why) < 0)
        fault = "it holds no roots";
    text_fini(&why);
    if (fault)
        return fault;
    text_add(&peer->roots, pem);
    peer->file_hash = hash;
    peer->roots_from_stream = true;
    return NULL;
}

static void load_saved_roots(struct peer *peer)
{
    struct text file = {0};
    const int err = file_read_all(peer->roots_path, ROOTS_MAX_BYTES + COMMENT_LEN, &file);
    const char *fault = err < 0 ? err_text(err) : use_saved_roots(peer, text_str(&file));
    if (fault && err != -ERR_NOT_FOUND)
        log_warn("the saved roots of a peer are of no use", log_str("path", peer->roots_path),
                 log_cstr("why", fault));
    text_fini(&file);
}

static void set_roots(struct peer *peer, struct str pem)
{
    text_clear(&peer->roots);
    text_add(&peer->roots, pem);
    log_info("the roots of a peer have changed", log_str("peer", peer->options.peer->name),
             log_cstr("from", peer->roots_from_stream ? "its stream" : "the configured file"));
    peer->events->on_trust(peer->owner);
}

/* The configured file, when it can be read and holds roots. */
static bool read_configured(struct peer *peer, struct text *out_file)
{
    struct text why = {0};
    int err = file_read_all(peer->options.peer->trust_bundle, ROOTS_MAX_BYTES, out_file);
    if (err < 0)
        text_add(&why, str_from(err_text(err)));
    else
        err = bundle_check(text_str(out_file), &why);
    if (err < 0 && peer->roots.len == 0) {
        struct text sentence = {0};
        text_addf(&sentence, "no roots to know it by: %.*s: %.*s",
                  STR_ARG(peer->options.peer->trust_bundle), STR_ARG(text_str(&why)));
        set_error(peer, text_str(&sentence));
        log_warn("the roots of a peer are not known", log_str("peer", peer->options.peer->name),
                 log_str("why", text_str(&sentence)));
        text_fini(&sentence);
    }
    text_fini(&why);
    return err == 0;
}

static void refresh_roots(struct peer *peer)
{
    struct text file = {0};
    if (read_configured(peer, &file)) {
        struct str pem = text_str(&file);
        const bool is_news = !peer->roots_from_stream || str_hash(pem, 0) != peer->file_hash;
        if (is_news && !str_eq(pem, text_str(&peer->roots))) {
            peer->overruled = peer->roots_from_stream ? str_hash(text_str(&peer->roots), 0) : 0;
            peer->roots_from_stream = false;
            set_roots(peer, pem);
        }
    }
    text_fini(&file);
}

static const struct model_bundle *stream_bundle(const struct peer *peer)
{
    const struct delta_client *state = xds_client_state(peer->client);
    const struct delta_resource *resource;
    size_t idx = 0;
    while ((resource = delta_client_next(state, &idx)))
        if (resource->model.kind == MODEL_BUNDLE &&
            str_eq(resource->model.of.bundle->trust_domain, peer->options.peer->trust_domain))
            return resource->model.of.bundle;
    return NULL;
}

/* Only a peer that is there now is believed; what was held from before may be what the file has
 * replaced. */
static void take_stream_roots(struct peer *peer)
{
    const struct model_bundle *bundle = stream_bundle(peer);
    const struct str pem = bundle ? bundle->pem : (struct str){0};
    struct text file = {0};
    if (str_is_empty(pem) || !xds_client_is_connected(peer->client) ||
        (peer->overruled && str_hash(pem, 0) == peer->overruled) ||
        (peer->roots_from_stream && str_eq(pem, text_str(&peer->roots))))
        return;
    peer->file_hash = read_configured(peer, &file) ? str_hash(text_str(&file), 0) : 0;
    peer->roots_from_stream = true;
    peer->overruled = 0;
    if (!str_eq(pem, text_str(&peer->roots)))
        set_roots(peer, pem);
    save_roots(peer);
    text_fini(&file);
}

/* Also of a peer that is away: a list only takes back, and only what its issuer signed. */
static void take_stream_crls(struct peer *peer)
{
    const uint64_t hash = keyed_hash(0, peer_crls(peer));
    if (hash == peer->crls_hash)
        return;
    peer->crls_hash = hash;
    log_info("the revocation lists of a peer have changed",
             log_str("peer", peer->options.peer->name));
    peer->events->on_trust(peer->owner);
}

/* ---- the lease ---- */

static void on_lease_end(struct timer *timer)
{
    struct peer *peer = container_of(timer, struct peer, lease);
    log_warn("a peer was silent for the lease; its endpoints are taken out",
             log_str("peer", peer->options.peer->name));
    peer->is_expired = true;
    peer->events->on_change(peer->owner, peer);
}

static void on_connected(void *owner, bool is_up)
{
    struct peer *peer = owner;
    peer->changed_ns = clock_wall_ns();
    meter_add(peer->options.meter, METRIC_PEERS_CONNECTED, is_up ? 1 : -1);
    if (!is_up) {
        timer_start(peer->loop, &peer->lease, peer->options.config->peer_lease_ns, on_lease_end);
        peer->lease_is_fresh = true;
        log_warn("the stream to a peer is down", log_str("peer", peer->options.peer->name),
                 log_str("why", text_str(&peer->last_error)));
        return;
    }
    timer_stop(&peer->lease);
    set_error(peer, (struct str){0});
    log_info("the stream to a peer is up", log_str("peer", peer->options.peer->name));
    take_stream_roots(peer);
    if (!peer->is_expired)
        return;
    peer->is_expired = false;
    peer->events->on_change(peer->owner, peer);
}

static void on_change(void *owner)
{
    struct peer *peer = owner;
    take_stream_roots(peer);
    take_stream_crls(peer);
    peer->events->on_change(peer->owner, peer);
}

static const struct xds_client_events client_events = {
    .on_change = on_change,
    .on_connected = on_connected,
};

/* ---- the channel ---- */

static struct tls_identity *on_dial(void *owner)
{
    struct peer *peer = owner;
    refresh_roots(peer);
    return peer->events->identity(peer->owner);
}

static void on_up(void *owner, struct h2 *h2)
{
    struct peer *peer = owner;
    xds_client_channel_up(peer->client, h2);
}

static void on_down(void *owner, int err, struct str why)
{
    struct peer *peer = owner;
    if (peer->roots.len > 0) /* else that is what is wrong, and is told already */
        set_error(peer, str_is_empty(why) ? str_from(err_text(err)) : why);
    xds_client_channel_down(peer->client);
    /* It has been silent for a while already; the lease counts from its last sign of life. */
    if (err == -ERR_KEEPALIVE_TIMEOUT && peer->lease_is_fresh && timer_is_running(&peer->lease))
        timer_start(peer->loop, &peer->lease,
                    peer->options.config->peer_lease_ns - 2 * peer->keepalive_ns, on_lease_end);
    peer->lease_is_fresh = false;
}

static const struct channel_events channel_events = {.on_up = on_up, .on_down = on_down};

/* ---- the owner's calls ---- */

static void open_client(struct peer *peer)
{
    const struct control_config *config = peer->options.config;
    const struct xds_client_options options = {
        .node_id = spiffe_for_control(&peer->arena, config->trust_domain),
        .cluster = config->cluster,
        .subscribed = {[XDS_ADDRESS] = true, [XDS_SECRET] = true},
        .state_file = arena_printf(&peer->arena, "%.*s/peers/%.*s.state",
                                   STR_ARG(config->state_dir), STR_ARG(peer->options.peer->name)),
        .max_bytes = HELD_MAX_BYTES,
    };
    peer->client = xds_client_open(peer->loop, &options, peer->options.meter, &client_events, peer);
}

static void open_channel(struct peer *peer)
{
    const struct channel_options options = {
        .server = peer->options.peer->address,
        .trust = peer->options.trust,
        .expected_id = peer->id,
        .identity = on_dial,
        .keepalive_ns = peer->keepalive_ns,
        .keepalive_timeout_ns = peer->keepalive_ns,
    };
    peer->channel = channel_open(peer->loop, &options, &channel_events, peer);
}

struct peer *peer_open(struct loop *loop, const struct peer_options *options,
                       const struct peer_events *events, void *owner)
{
    struct peer *peer = mem_new(struct peer);
    peer->loop = loop;
    peer->options = *options;
    peer->events = events;
    peer->owner = owner;
    peer->changed_ns = clock_wall_ns();
    peer->keepalive_ns = options->config->peer_lease_ns / LEASE_SHARE;
    if (peer->keepalive_ns > KEEPALIVE_NS)
        peer->keepalive_ns = KEEPALIVE_NS;
    peer->id = spiffe_for_control(&peer->arena, options->peer->trust_domain);
    peer->roots_path =
        arena_printf(&peer->arena, "%.*s/bundles/%.*s.pem", STR_ARG(options->config->state_dir),
                     STR_ARG(options->peer->name));
    load_saved_roots(peer);
    open_client(peer);
    peer->crls_hash = keyed_hash(0, peer_crls(peer));
    open_channel(peer);
    timer_start(loop, &peer->lease, options->config->peer_lease_ns, on_lease_end);
    return peer;
}

static void peer_free(void *ptr)
{
    struct peer *peer = ptr;
    text_fini(&peer->roots);
    text_fini(&peer->last_error);
    arena_fini(&peer->arena);
    mem_free(peer);
}

void peer_close(struct peer *peer)
{
    timer_stop(&peer->lease);
    if (xds_client_is_connected(peer->client))
        meter_add(peer->options.meter, METRIC_PEERS_CONNECTED, -1);
    xds_client_close(peer->client);
    channel_close(peer->channel);
    loop_bury(peer->loop, peer, peer_free);
}

struct str peer_roots(const struct peer *peer)
{
    return text_str(&peer->roots);
}

struct str peer_crls(const struct peer *peer)
{
    const struct model_bundle *bundle = stream_bundle(peer);
    return bundle ? bundle->crls : (struct str){0};
}

struct str peer_id(const struct peer *peer)
{
    return peer->id;
}

void peer_recheck(struct peer *peer, const struct trust *trust)
{
    channel_recheck(peer->channel, trust);
}

struct registry_peer peer_exports(const struct peer *peer, struct arena *arena)
{
    const struct delta_client *state = xds_client_state(peer->client);
    const size_t most = delta_client_count(state);
    const struct model_resource **resources =
        arena_new_array(arena, const struct model_resource *, most);
    const struct delta_resource *resource;
    size_t idx = 0, n = 0;
    while (n < most && (resource = delta_client_next(state, &idx)))
        resources[n++] = &resource->model;
    return (struct registry_peer){
        .cluster = peer->options.peer->name,
        .trust_domain = peer->options.peer->trust_domain,
        .resources = resources,
        .n_resources = n,
        .is_expired = peer->is_expired,
    };
}

void peer_mark(struct peer *peer)
{
    peer->was_expired = peer->is_expired;
    xds_client_mark(peer->client);
}

bool peer_changes(const struct peer *peer, struct arena *arena,
                  const struct registry_peer_change **out_changes, size_t *out_n)
{
    const struct delta_client *state = xds_client_state(peer->client);
    struct registry_peer_change *changes;
    const struct str *uids;
    if (!delta_client_changes(state, &uids, out_n) || peer->is_expired != peer->was_expired ||
        (peer->is_expired && *out_n > 0))
        return false;
    changes = arena_new_array(arena, struct registry_peer_change, *out_n);
    for (size_t i = 0; i < *out_n; i++) {
        const struct delta_resource *held = delta_client_find(state, XDS_ADDRESS, uids[i]);
        changes[i].uid = uids[i];
        changes[i].workload = held ? held->model.of.workload : NULL;
    }
    *out_changes = changes;
    return true;
}

void peer_status(const struct peer *peer, struct peer_status *out_status)
{
    *out_status = (struct peer_status){
        .config = peer->options.peer,
        .is_connected = xds_client_is_connected(peer->client),
        .is_expired = peer->is_expired,
        .has_roots = peer->roots.len > 0,
        .roots_from_stream = peer->roots_from_stream,
        .changed_ns = peer->changed_ns,
        .last_error = text_str(&peer->last_error),
    };
}
