/*
 * Happy path: take -> handshake -> h2 server -> on_request -> arrival.
 * Failure modes: the pod is not here (a stale route: RST, so that the caller tries another), no
 * SVID for it yet, handshake refused, a peer that breaks HTTP/2, a peer that falls silent (h2's
 * keepalive), too many sessions, the node drains and the caller has somewhere else to go (RST).
 */
#include "proxy/accept/tunnel_server.h"

#include "certs/verified.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/log.h"
#include "proxy/base/map.h"
#include "proxy/base/mem.h"
#include "proxy/http/h2.h"
#include "proxy/io/sweep.h"
#include "proxy/io/tcp.h"
#include "proxy/tls/tls_stream.h"

struct tunnel_server {
    struct loop *loop;
    struct tunnel_server_options options;
    struct meter *meter;
    void (*on_arrival)(void *owner, struct arrival *arrival);
    void *owner;
    struct list sessions; /* proven, HTTP/2 is spoken */
    struct list unproven; /* in their handshake, the oldest first */
    size_t n_sessions, n_unproven, max_sessions;
    struct map peers;          /* ip -> struct peer, with a session each */
    struct sweep sweep;        /* of the proven */
    struct verified *verified; /* clients */
    bool is_draining, is_last_call;
};

struct peer {
    struct ip ip;
    size_t n_sessions;
};

struct session {
    struct list link;
    struct tunnel_server *server;
    struct peer *of;
    struct addr peer, dialled;
    uint64_t shown;    /* as whom: hash_of() the identity */
    uint64_t stood_in; /* the snapshot in which it was looked up last, by its generation */
    struct tls_handshake *handshake;
    struct stream *secured;     /* below h2, which owns it */
    const struct tls_peer *tls; /* borrowed from it */
    struct h2 *h2;
    struct timer idle;
};

/* ---- shares ---- */

static struct str peer_key(const struct ip *ip)
{
    return str_of((const char *)ip->bytes, sizeof ip->bytes);
}

static struct peer *peer_enter(struct tunnel_server *server, const struct ip *ip)
{
    struct peer *peer = map_find(&server->peers, peer_key(ip));
    if (!peer) {
        peer = mem_new(struct peer);
        peer->ip = *ip;
        (void)map_put(&server->peers, peer_key(&peer->ip), peer);
    }
    peer->n_sessions++;
    return peer;
}

static void peer_leave(struct tunnel_server *server, struct peer *peer)
{
    if (--peer->n_sessions > 0)
        return;
    (void)map_remove(&server->peers, peer_key(&peer->ip));
    mem_free(peer);
}

/* NULL, or why there is no room for another session of that peer. */
static const char *why_no_room(const struct tunnel_server *server, const struct ip *ip)
{
    if (server->n_sessions >= server->max_sessions)
        return "too many tunnels";
    if (server->n_sessions < server->max_sessions / 2)
        return NULL;
    const struct peer *peer = map_find(&server->peers, peer_key(ip));
    return peer && peer->n_sessions >= server->max_sessions / SESSIONS_PEER_SHARE
               ? "too many tunnels of one address"
               : NULL;
}

/* ---- sessions ---- */

static void free_session(void *ptr)
{
    mem_free(ptr);
}

static void end_session(struct session *session, int err)
{
    struct tunnel_server *server = session->server;
    timer_stop(&session->idle);
    if (session->handshake)
        tls_handshake_cancel(session->handshake);
    session->handshake = NULL;
    if (!session->h2)
        server->n_unproven--;
    if (session->h2)
        h2_close(session->h2, err);
    session->h2 = NULL;
    sweep_loses(&server->sweep, &session->link);
    list_remove(&session->link);
    server->n_sessions--;
    peer_leave(server, session->of);
    meter_add(server->meter, METRIC_TUNNEL_SESSIONS_OPEN, -1);
    loop_bury(server->loop, session, free_session);
}

static void log_refusal(const struct addr *peer, const struct addr *dialled, int err,
                        struct str detail)
{
    log_warn("connection failed", log_addr("src.addr", peer), log_addr("dst.addr", dialled),
             log_cstr("direction", "inbound"), log_err("why", err), log_str("error", detail));
}

/* Nobody came to be a peer: the operator reads it, and who writes the audit log is told. */
static void refuse(const struct tunnel_server *server, const struct refusal *refusal)
{
    log_refusal(&refusal->peer, &refusal->dialled, refusal->err, refusal->detail);
    if (server->options.on_refusal)
        server->options.on_refusal(server->owner, refusal);
}

static void refuse_session(const struct session *session, int err, struct str why,
                           const struct tls_claim *claim)
{
    const struct refusal refusal = {.peer = session->peer,
                                    .dialled = session->dialled,
                                    .err = err,
                                    .detail = why,
                                    .claim = *claim};
    refuse(session->server, &refusal);
}

/* The pod that was dialled; NULL: it is not here. */
static const struct workload *find_pod(const struct tunnel_server *server, const struct ip *dialled)
{
    const struct snapshot *snapshot = *server->options.snapshot;
    const struct workload *workload = snapshot ? snapshot_workload_by_ip(snapshot, dialled) : NULL;
    return workload && workload->is_local && workload->speaks_hbone ? workload : NULL;
}

/* Its identity, or why there is none. */
static int find_identity(const struct tunnel_server *server, const struct ip *dialled,
                         struct tls_identity **out_identity)
{
    const struct tls_set *tls = *server->options.tls;
    const struct workload *workload = find_pod(server, dialled);
    if (!workload)
        return -ERR_UNKNOWN_DESTINATION;
    struct tls_identity *identity = tls ? tls_set_find(tls, workload->svid_key) : NULL;
    if (!identity)
        return -ERR_NO_IDENTITY;
    *out_identity = identity;
    return 0;
}

/* ---- where else its callers may go ---- */

static bool has_endpoint_elsewhere(const struct endpoint_set *set)
{
    for (size_t i = 0; i < set->len; i++)
        if (set->endpoints[i].is_ready && !set->endpoints[i].workload->is_local)
            return true;
    return false;
}

static bool is_served_elsewhere(const struct snapshot *snapshot, const struct service *service)
{
    for (size_t i = 0; i < service->n_ports; i++) {
        const struct service_port *port = &service->ports[i];
        if (!port->is_udp && !has_endpoint_elsewhere(snapshot_set(snapshot, port, false)) &&
            !has_endpoint_elsewhere(snapshot_set(snapshot, port, true)))
            return false;
    }
    return true;
}

/* Whoever calls a pod by its own address, as those of headless services do, wants no other. */
static bool has_stand_in(const struct snapshot *snapshot, const struct workload *pod)
{
    for (size_t i = 0; i < pod->n_services; i++)
        if (pod->services[i]->is_headless || !is_served_elsewhere(snapshot, pod->services[i]))
            return false;
    return pod->n_services > 0;
}

/* Callers of the pod do better elsewhere, since this process is about to end. */
static bool is_left_to_others(const struct tunnel_server *server, const struct ip *dialled)
{
    const struct workload *pod = server->is_draining ? find_pod(server, dialled) : NULL;
    return pod && has_stand_in(*server->options.snapshot, pod);
}

/* ---- streams ---- */

static uint64_t hash_of(struct str svid_key)
{
    return keyed_hash(0, svid_key);
}

/* 0, or why nothing may begin on it any more, and what there is ends. Another pod may have the
 * address by now: who was shown the one before it is not to reach this one. Trust was asked when
 * this was read. */
static int standing(struct session *session)
{
    const struct snapshot *snapshot = *session->server->options.snapshot;
    if (snapshot && snapshot->generation == session->stood_in)
        return 0;
    const struct workload *pod = find_pod(session->server, &session->dialled.ip);
    if (!pod || hash_of(pod->svid_key) != session->shown)
        return -ERR_WORKLOAD_GONE;
    session->stood_in = snapshot->generation;
    return 0;
}

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    struct session *session = owner;
    struct tunnel_server *server = session->server;
    const int err = standing(session);
    if (err < 0) {
        stream_close(stream, err);
        end_session(session, err);
        return;
    }
    timer_stop(&session->idle);
    struct arrival *arrival =
        arrival_new(ARRIVAL_TUNNEL, stream, &session->peer, &session->dialled);
    struct arena *arena = &arrival->arena;
    arrival->peer_id = arena_str(arena, session->tls->id);
    arrival->peer_serial = arena_str(arena, session->tls->serial);
    arrival->peer_not_after_ns = session->tls->not_after_ns;
    arrival->tls_version = session->tls->version;
    arrival->cipher = session->tls->cipher;
    arrival->method = arena_str(arena, h2_find(head, ":method"));
    arrival->authority = arena_str(arena, h2_find(head, ":authority"));
    arrival->baggage = arena_str(arena, h2_find(head, "baggage"));
    arrival->forwarded = arena_str(arena, h2_find(head, "forwarded"));
    arrival->traceparent = arena_str(arena, h2_find(head, "traceparent"));
    server->on_arrival(server->owner, arrival);
}

static void on_idle(struct timer *timer)
{
    struct session *session = container_of(timer, struct session, idle);
    h2_drain(session->h2);
    end_session(session, 0);
}

static void watch_idleness(struct session *session)
{
    if (h2_open_streams(session->h2) > 0)
        timer_stop(&session->idle);
    else if (!timer_is_running(&session->idle))
        timer_start(session->server->loop, &session->idle, SESSION_IDLE_NS, on_idle);
}

static void on_capacity(void *owner)
{
    watch_idleness(owner);
}

static void tell_cut(const struct session *session, int err)
{
    meter_add(session->server->meter, METRIC_TUNNELS_CUT, 1);
    log_warn("a tunnel was cut", log_addr("src.addr", &session->peer),
             log_addr("dst.addr", &session->dialled), log_cstr("direction", "inbound"),
             log_str("peer", session->tls->id), log_str("serial", session->tls->serial),
             log_err("why", err));
}

static void on_dead(void *owner, int err, struct str why)
{
    struct session *session = owner;
    if (err == -ERR_TRUST_REMOVED || err == -ERR_TLS_REVOKED)
        tell_cut(session, err); /* it was used before it was looked at */
    else if (err != -ERR_EOF && err != -ERR_RESET)
        log_refusal(&session->peer, &session->dialled, err, why);
    end_session(session, err);
}

static const struct h2_events session_events = {
    .on_request = on_request,
    .on_capacity = on_capacity,
    .on_dead = on_dead,
};

static void drain_if_due(struct session *session)
{
    const struct tunnel_server *server = session->server;
    if (session->h2 && (server->is_last_call || is_left_to_others(server, &session->dialled.ip)))
        h2_drain(session->h2);
}

static void on_secured(void *owner, int err, struct stream *stream, struct str why)
{
    struct session *session = owner;
    struct tunnel_server *server = session->server;
    const struct tls_handshake *handshake = session->handshake;
    session->handshake = NULL;
    if (err < 0) {
        const struct tls_claim claim = tls_handshake_claim(handshake);
        meter_add(server->meter, METRIC_HANDSHAKES_FAILED, 1);
        refuse_session(session, err, why, &claim);
        end_session(session, err);
        return;
    }
    static const struct h2_options options = {.max_concurrent_streams = SESSION_STREAMS_MAX};
    list_remove(&session->link);
    list_push_back(&server->sessions, &session->link);
    server->n_unproven--;
    session->secured = stream;
    session->tls = tls_peer(stream);
    if (session->tls->was_known)
        meter_add(server->meter, METRIC_PEERS_RECALLED, 1);
    session->h2 = h2_server_new(server->loop, stream, &options, &session_events, session);
    watch_idleness(session);
    drain_if_due(session);
}

static void start_session(struct tunnel_server *server, struct stream *tcp,
                          struct tls_identity *identity)
{
    struct session *session = mem_new(struct session);
    session->server = server;
    session->peer = tcp_remote(tcp);
    session->dialled = tcp_local(tcp);
    session->shown = hash_of(tls_identity_key(identity));
    session->of = peer_enter(server, &session->peer.ip);
    list_push_back(&server->unproven, &session->link);
    server->n_sessions++;
    server->n_unproven++;
    meter_add(server->meter, METRIC_TUNNEL_SESSIONS_OPEN, 1);
    const struct tls_options options = {
        .role = TLS_SERVER,
        .identity = identity,
        .trust = server->options.trust,
        .verified = server->verified,
        .timeout_ns = server->options.handshake_ns,
        .follows_trust = server->options.follows_trust,
    };
    tcp_bound_unsent(tcp, SESSION_UNSENT_BYTES);
    session->handshake = tls_handshake(server->loop, tcp, &options, on_secured, session);
}

static struct session *oldest_unproven_of(const struct tunnel_server *server, const struct ip *peer)
{
    list_foreach(it, &server->unproven)
    {
        struct session *session = list_entry(it, struct session, link);
        if (ip_eq(&session->peer.ip, peer))
            return session;
    }
    return NULL;
}

/* The oldest handshake makes room, of who wants the room if it has any: who is slowest to prove
 * itself goes first, and a flood takes nobody else's place. */
static void displace_unproven(struct tunnel_server *server, const struct ip *peer)
{
    if (server->n_unproven < SESSIONS_UNPROVEN_MAX)
        return;
    struct session *oldest = oldest_unproven_of(server, peer);
    if (!oldest)
        oldest = list_entry(server->unproven.next, struct session, link);
    refuse_session(oldest, -ERR_OVERLOAD, STR("too many handshakes"), &(struct tls_claim){0});
    end_session(oldest, -ERR_OVERLOAD);
}

void tunnel_server_take(struct tunnel_server *server, struct stream *tcp)
{
    struct refusal refusal = {.peer = tcp_remote(tcp), .dialled = tcp_local(tcp)};
    struct tls_identity *identity;
    if (is_left_to_others(server, &refusal.dialled.ip)) {
        stream_close(tcp, -ERR_SHUTDOWN);
        return;
    }
    int err = find_identity(server, &refusal.dialled.ip, &identity);
    const char *why = err < 0 ? NULL : why_no_room(server, &refusal.peer.ip);
    if (why) {
        err = -ERR_OVERLOAD;
        refusal.detail = str_from(why);
    }
    if (err < 0) {
        refusal.err = err;
        refuse(server, &refusal);
        stream_close(tcp, err);
        return;
    }
    displace_unproven(server, &refusal.peer.ip);
    start_session(server, tcp, identity);
}

static void recheck(struct session *session)
{
    const struct tunnel_server_options *options = &session->server->options;
    const int gone = standing(session);
    const int err = gone < 0 || !session->h2 || !options->follows_trust
                        ? gone
                        : tls_recheck(session->secured, *options->trust);
    if (err == 0)
        return;
    if (gone == 0)
        tell_cut(session, err);
    end_session(session, err);
}

static void visit(struct sweep *sweep, struct list *item)
{
    struct session *session = list_entry(item, struct session, link);
    (void)sweep;
    recheck(session);
    drain_if_due(session);
}

/* Those in their handshake are few, and look at the current trust before they are done. */
void tunnel_server_recheck(struct tunnel_server *server)
{
    list_foreach(it, &server->unproven) recheck(list_entry(it, struct session, link));
    sweep_start(&server->sweep);
}

void tunnel_server_drain(struct tunnel_server *server)
{
    server->is_draining = true;
    sweep_start(&server->sweep);
}

void tunnel_server_last_call(struct tunnel_server *server)
{
    server->is_last_call = true;
    tunnel_server_drain(server);
}

size_t tunnel_server_sessions(const struct tunnel_server *server)
{
    return server->n_sessions;
}

struct tunnel_server *tunnel_server_new(struct loop *loop,
                                        const struct tunnel_server_options *options,
                                        struct meter *meter,
                                        void (*on_arrival)(void *owner, struct arrival *arrival),
                                        void *owner)
{
    struct tunnel_server *server = mem_new(struct tunnel_server);
    server->loop = loop;
    server->options = *options;
    server->max_sessions = options->max_sessions > 0 ? options->max_sessions : SESSIONS_MAX;
    server->meter = meter;
    server->on_arrival = on_arrival;
    server->owner = owner;
    list_init(&server->sessions);
    list_init(&server->unproven);
    sweep_init(&server->sweep, loop, &server->sessions, 1, TRUST_SWEEP_NS, visit, NULL);
    server->verified = verified_new();
    return server;
}

void tunnel_server_free(struct tunnel_server *server)
{
    sweep_stop(&server->sweep);
    list_foreach(it, &server->unproven)
        end_session(list_entry(it, struct session, link), -ERR_SHUTDOWN);
    list_foreach(it, &server->sessions)
        end_session(list_entry(it, struct session, link), -ERR_SHUTDOWN);
    map_fini(&server->peers);
    verified_free(server->verified);
    mem_free(server);
}
