/*
 * Happy path: tunnel_open -> tcp_connect -> tls_handshake -> h2_client_new -> on_up, all without
 * waiting for the peer's SETTINGS, which saves a round trip.
 * Failure modes: the dial times out (a
 * NetworkPolicy may block the port), is refused, the handshake fails, the peer judges our
 * certificate after our handshake was done (TLS 1.3: the connection dies on first read), the peer
 * goes silent (keepalive), its certificate or ours ends (the tunnel retires, a new one proves
 * identity anew).
 */
#include "proxy/connect/tunnel.h"

#include "proxy/base/arena.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"

struct tunnel {
    int state;
    struct loop *loop;
    const struct tunnel_events *events;
    void *owner;
    struct arena arena; /* the options' strings */
    struct tunnel_options options;
    struct tcp_connect *dial;
    struct tls_handshake *handshake;
    struct stream *tls; /* owned by h2 once that is there */
    struct h2 *h2;
    struct timer idle;
    struct timer old; /* a certificate ends */
    struct task last_stream;
};

static const struct sm_rule tunnel_rules[TUNNEL_STATES] = {
    [TUNNEL_DIALING] = {"dialing", SM_TO(TUNNEL_SECURING) | SM_TO(TUNNEL_DEAD)},
    [TUNNEL_SECURING] = {"securing", SM_TO(TUNNEL_UP) | SM_TO(TUNNEL_DEAD)},
    [TUNNEL_UP] = {"up", SM_TO(TUNNEL_RETIRED) | SM_TO(TUNNEL_DEAD)},
    [TUNNEL_RETIRED] = {"retired", SM_TO(TUNNEL_DEAD)},
    [TUNNEL_DEAD] = {"dead", 0},
};

static void free_tunnel(void *ptr)
{
    struct tunnel *tunnel = ptr;
    tls_identity_unref(tunnel->options.identity);
    arena_fini(&tunnel->arena);
    mem_free(tunnel);
}

/* Everything stops; memory goes at the end of the turn. */
static void dismantle(struct tunnel *tunnel, int err)
{
    sm_move(tunnel_rules, &tunnel->state, TUNNEL_DEAD);
    timer_stop(&tunnel->idle);
    timer_stop(&tunnel->old);
    task_cancel(&tunnel->last_stream);
    if (tunnel->dial)
        tcp_connect_cancel(tunnel->dial);
    if (tunnel->handshake)
        tls_handshake_cancel(tunnel->handshake);
    if (tunnel->h2)
        h2_close(tunnel->h2, err);
    tunnel->dial = NULL;
    tunnel->handshake = NULL;
    tunnel->h2 = NULL;
    loop_bury(tunnel->loop, tunnel, free_tunnel);
}

static void die(struct tunnel *tunnel, int err, struct str why)
{
    dismantle(tunnel, err);
    tunnel->events->on_dead(tunnel->owner, tunnel, err, why);
}

static void on_idle(struct timer *timer)
{
    struct tunnel *tunnel = container_of(timer, struct tunnel, idle);
    h2_drain(tunnel->h2);
    die(tunnel, 0, STR("idle"));
}

/* A deferred look whether the last stream of a retired tunnel is gone: h2 tells us inside its own
 * work. */
static void on_last_stream(struct task *task)
{
    struct tunnel *tunnel = container_of(task, struct tunnel, last_stream);
    if (tunnel->state == TUNNEL_RETIRED && h2_open_streams(tunnel->h2) == 0)
        die(tunnel, 0, STR("retired"));
}

static void watch_idleness(struct tunnel *tunnel)
{
    if (h2_open_streams(tunnel->h2) > 0)
        timer_stop(&tunnel->idle);
    else if (!timer_is_running(&tunnel->idle))
        timer_start(tunnel->loop, &tunnel->idle, tunnel->options.idle_ns, on_idle);
}

void tunnel_retire(struct tunnel *tunnel)
{
    if (tunnel->state != TUNNEL_UP)
        return;
    sm_move(tunnel_rules, &tunnel->state, TUNNEL_RETIRED);
    timer_stop(&tunnel->idle);
    loop_defer(tunnel->loop, &tunnel->last_stream);
}

bool tunnel_was_heard_since(const struct tunnel *tunnel, uint64_t since_ns)
{
    return tunnel->h2 && h2_last_read_ns(tunnel->h2) > since_ns;
}

static void on_old(struct timer *timer)
{
    struct tunnel *tunnel = container_of(timer, struct tunnel, old);
    tunnel_retire(tunnel);
    tunnel->events->on_capacity(tunnel->owner, tunnel);
}

static void on_h2_capacity(void *owner)
{
    struct tunnel *tunnel = owner;
    if (tunnel->state == TUNNEL_UP && h2_is_draining(tunnel->h2))
        tunnel_retire(tunnel);
    if (tunnel->state == TUNNEL_RETIRED)
        loop_defer(tunnel->loop, &tunnel->last_stream);
    else
        watch_idleness(tunnel);
    tunnel->events->on_capacity(tunnel->owner, tunnel);
}

static void on_h2_dead(void *owner, int err, struct str why)
{
    die(owner, err, why);
}

static const struct h2_events h2_events = {
    .on_capacity = on_h2_capacity,
    .on_dead = on_h2_dead,
};

/* Retires when the first of both certificates ends. */
static void watch_age(struct tunnel *tunnel)
{
    const int64_t ours_ns = tls_identity_not_after_ns(tunnel->options.identity);
    const int64_t theirs_ns = tls_peer(tunnel->tls)->not_after_ns;
    const int64_t left_ns = (ours_ns < theirs_ns ? ours_ns : theirs_ns) - clock_wall_ns();
    timer_start(tunnel->loop, &tunnel->old, left_ns > 0 ? (uint64_t)left_ns : 1, on_old);
}

static void on_secured(void *owner, int err, struct stream *stream, struct str why)
{
    struct tunnel *tunnel = owner;
    tunnel->handshake = NULL;
    if (err < 0) {
        die(tunnel, err, why);
        return;
    }
    static const struct h2_options defaults = {0};
    tunnel->tls = stream;
    tunnel->h2 = h2_client_new(tunnel->loop, stream, &defaults, &h2_events, tunnel);
    sm_move(tunnel_rules, &tunnel->state, TUNNEL_UP);
    watch_idleness(tunnel);
    watch_age(tunnel);
    tls_identity_unref(tunnel->options.identity); /* its key may be replaced and wiped now */
    tunnel->options.identity = NULL;
    tunnel->events->on_up(tunnel->owner, tunnel);
}

static void on_dialed(void *owner, int err, struct stream *stream)
{
    struct tunnel *tunnel = owner;
    tunnel->dial = NULL;
    if (err < 0) {
        die(tunnel, err == -ERR_CONNECT_TIMEOUT ? -ERR_NETWORK_POLICY : err, (struct str){0});
        return;
    }
    const struct tls_options options = {
        .role = TLS_CLIENT,
        .identity = tunnel->options.identity,
        .trust = tunnel->options.trust,
        .verified = tunnel->options.verified,
        .expected = tunnel->options.expected,
        .n_expected = tunnel->options.n_expected,
        .timeout_ns = tunnel->options.handshake_ns,
        .follows_trust = tunnel->options.follows_trust,
    };
    sm_move(tunnel_rules, &tunnel->state, TUNNEL_SECURING);
    tcp_bound_unsent(stream, TUNNEL_UNSENT_BYTES);
    tunnel->handshake = tls_handshake(tunnel->loop, stream, &options, on_secured, tunnel);
}

struct tunnel *tunnel_open(struct loop *loop, const struct tunnel_options *options,
                           const struct tunnel_events *events, void *owner)
{
    struct tunnel *tunnel = mem_new(struct tunnel);
    tunnel->loop = loop;
    tunnel->events = events;
    tunnel->owner = owner;
    tunnel->last_stream.run = on_last_stream;
    list_init(&tunnel->last_stream.link);
    tunnel->options = *options;
    tunnel->options.identity = tls_identity_ref(options->identity);
    if (tunnel->options.idle_ns == 0)
        tunnel->options.idle_ns = TUNNEL_IDLE_NS;
    struct str *expected = arena_new_array(&tunnel->arena, struct str, options->n_expected + 1);
    for (size_t i = 0; i < options->n_expected; i++)
        expected[i] = arena_str(&tunnel->arena, options->expected[i]);
    tunnel->options.expected = expected;
    const struct tcp_options tcp = {.mark = options->mark,
                                    .source = {.ip = options->source},
                                    .timeout_ns = options->connect_ns};
    tunnel->dial = tcp_connect(loop, &options->remote, &tcp, on_dialed, tunnel);
    return tunnel;
}

enum tunnel_state tunnel_state(const struct tunnel *tunnel)
{
    return (enum tunnel_state)tunnel->state;
}

bool tunnel_has_room(const struct tunnel *tunnel)
{
    return tunnel->state == TUNNEL_UP && h2_open_streams(tunnel->h2) < TUNNEL_STREAMS_MAX &&
           h2_can_open(tunnel->h2);
}

struct stream *tunnel_request(struct tunnel *tunnel, const struct h2_field *fields, size_t n_fields,
                              const struct h2_stream_events *head_events,
                              const struct stream_events *events, void *owner)
{
    if (!tunnel_has_room(tunnel))
        return NULL;
    struct stream *stream =
        h2_request(tunnel->h2, fields, n_fields, false, head_events, events, owner);
    if (stream)
        timer_stop(&tunnel->idle);
    return stream;
}

int tunnel_recheck(struct tunnel *tunnel, const struct trust *trust)
{
    return tunnel->h2 ? tls_recheck(tunnel->tls, trust) : 0;
}

bool tunnel_stream_stands(const struct stream *stream)
{
    const struct h2 *h2 = h2_of(stream);
    struct stream *tls = h2 && !h2_is_draining(h2) ? h2_lower(h2) : NULL;
    return tls && tls_stands(tls);
}

void tunnel_close(struct tunnel *tunnel, int err)
{
    dismantle(tunnel, err);
}

const struct tls_peer *tunnel_peer(const struct tunnel *tunnel)
{
    return tls_peer(tunnel->tls);
}
