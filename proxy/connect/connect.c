/*
 * A connect is one of three things in turn: a TCP dial; a waiter in the pool; a CONNECT stream
 * without its answer. One timer bounds all of them. A CONNECT that gets no answer in time on a
 * tunnel on which nothing else was heard either retires it, since the far side may be gone: what
 * flows on it goes on, new streams get a fresh tunnel. When something was heard it is the pod
 * behind the far side that is slow, which is no matter of the tunnel.
 */
#include "proxy/connect/connect.h"

#include "certs/verified.h"
#include "proxy/base/arena.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/connect/http_pool.h"

#define IDENTITY_POLL_NS (UINT64_C(50) * NS_PER_MS)

struct connector {
    struct loop *loop;
    struct connector_options options;
    const struct tls_set *const *tls;
    const struct trust *const *trust;
    struct verified *verified; /* the far ends of tunnels */
    struct pool *pool;
    struct http_pool *http_pool;
};

struct connect {
    struct connector *connector;
    struct arena arena;
    struct connect_request request; /* strings in the arena; none of a plain one */
    void (*on_done)(void *owner, int err, const struct upstream *upstream, struct str why);
    void *owner;
    struct timer timer;
    struct timer identity; /* running while the identity's certificate is awaited */
    struct tcp_connect *dial;
    struct pool_waiter waiter;
    struct tunnel *tunnel; /* while the stream waits for its head */
    uint64_t asked_ns;     /* when that began */
    struct stream *stream;
};

static void free_connect(void *ptr)
{
    struct connect *connect = ptr;
    arena_fini(&connect->arena);
    mem_free(connect);
}

/* Stops whatever is in progress and lets the memory go at the end of the turn. */
static void dismantle(struct connect *connect, int err)
{
    timer_stop(&connect->timer);
    timer_stop(&connect->identity);
    pool_forget(&connect->waiter);
    if (connect->dial)
        tcp_connect_cancel(connect->dial);
    if (connect->stream)
        stream_close(connect->stream, err);
    connect->dial = NULL;
    connect->stream = NULL;
    loop_bury(connect->connector->loop, connect, free_connect);
}

static void fail(struct connect *connect, int err, struct str why)
{
    dismantle(connect, err);
    connect->on_done(connect->owner, err, NULL, why);
}

/* ---- plain ---- */

static void on_dialed(void *owner, int err, struct stream *stream)
{
    struct connect *connect = owner;
    connect->dial = NULL;
    if (err < 0) {
        fail(connect, err, (struct str){0});
        return;
    }
    const struct upstream upstream = {.stream = stream};
    dismantle(connect, 0);
    connect->on_done(connect->owner, 0, &upstream, (struct str){0});
}

static void dial_plainly(struct connect *connect)
{
    const struct connector_options *options = &connect->connector->options;
    struct tcp_options tcp = {.mark = options->mark, .timeout_ns = UINT64_MAX};
    if (options->transparent && connect->request.source.len == connect->request.addr.ip.len) {
        tcp.source.ip = connect->request.source;
        tcp.transparent = true;
    }
    connect->dial =
        tcp_connect(connect->connector->loop, &connect->request.addr, &tcp, on_dialed, connect);
}

/* ---- through a tunnel ---- */

static int err_of_status(struct str status)
{
    if (str_eq(status, STR("401")))
        return -ERR_TUNNEL_DENIED;
    if (str_eq(status, STR("400")))
        return -ERR_TUNNEL_BAD_REQUEST;
    if (str_eq(status, STR("503")))
        return -ERR_TUNNEL_UNAVAILABLE;
    return -ERR_TUNNEL_STATUS;
}

static void on_head(void *owner, const struct h2_head *head)
{
    struct connect *connect = owner;
    const struct str status = h2_find(head, ":status");
    if (!str_eq(status, STR("200"))) {
        struct stream *stream = connect->stream;
        connect->stream = NULL;
        stream_close(stream, head->end_stream ? 0 : -ERR_TUNNEL_STATUS);
        fail(connect, err_of_status(status), status);
        return;
    }
    const struct tls_peer *peer = tunnel_peer(connect->tunnel);
    const struct upstream upstream = {
        .stream = connect->stream,
        .is_tunnel = true,
        .tls_version = peer->version,
        .cipher = peer->cipher,
        .peer_id = peer->id,
        .peer_serial = peer->serial,
        .peer_not_after_ns = peer->not_after_ns,
        .baggage = h2_find(head, "baggage"),
    };
    h2_stream_set_events(connect->stream, NULL);
    connect->stream = NULL;
    dismantle(connect, 0);
    connect->on_done(connect->owner, 0, &upstream, (struct str){0});
}

static void on_stream_fail(void *owner, int err)
{
    fail(owner, err, (struct str){0});
}

/* The stream is paused until its head came, so neither of these is called; they are here to make
 * that a contract. */
static void on_early_data(void *owner, struct slice bytes)
{
    (void)bytes;
    fail(owner, -ERR_H2, STR("data before the response's head"));
}

static void on_early_end(void *owner)
{
    fail(owner, -ERR_H2, STR("the end before the response's head"));
}

static const struct stream_events waiting_events = {
    .on_data = on_early_data,
    .on_end = on_early_end,
    .on_fail = on_stream_fail,
};

static const struct h2_stream_events head_events = {.on_head = on_head};

static size_t connect_fields(const struct connect *connect, char *authority,
                             struct h2_field fields[5])
{
    const struct connect_request *request = &connect->request;
    size_t n = 0;
    fields[n++] = (struct h2_field){STR(":method"), STR("CONNECT")};
    fields[n++] =
        (struct h2_field){STR(":authority"), str_from(addr_text(&request->addr, authority))};
    if (!str_is_empty(request->baggage))
        fields[n++] = (struct h2_field){STR("baggage"), request->baggage};
    if (!str_is_empty(request->forwarded))
        fields[n++] = (struct h2_field){STR("forwarded"), request->forwarded};
    if (!str_is_empty(request->traceparent))
        fields[n++] = (struct h2_field){STR("traceparent"), request->traceparent};
    return n;
}

static void ask_pool(struct connect *connect);

static void on_tunnel(struct pool_waiter *waiter, int err, struct tunnel *tunnel, struct str why)
{
    struct connect *connect = container_of(waiter, struct connect, waiter);
    if (err < 0) {
        fail(connect, err, why);
        return;
    }
    char authority[ADDR_TEXT_MAX];
    struct h2_field fields[5];
    const size_t n = connect_fields(connect, authority, fields);
    connect->stream = tunnel_request(tunnel, fields, n, &head_events, &waiting_events, connect);
    connect->tunnel = tunnel;
    connect->asked_ns = loop_now_ns(connect->connector->loop);
    if (!connect->stream)
        ask_pool(connect); /* it filled up meanwhile */
}

static void on_identity_timer(struct timer *timer)
{
    ask_pool(container_of(timer, struct connect, identity));
}

/* Where the tunnel is dialled: of our own node, from an address that the pod does not have. */
static void aim(const struct connect *connect, struct tunnel_options *options)
{
    const struct connector_options *own = &connect->connector->options;
    options->remote = (struct addr){connect->request.addr.ip, own->tunnel_port};
    options->mark = own->mark;
    if (connect->request.is_own_node) {
        options->remote.port = own->own_tunnel_port;
        options->mark = own->own_tunnel_mark;
        options->source = ip_loopback(connect->request.addr.ip.len);
    }
}

/* A pod that has just come to the node has no certificate for a moment: worth waiting for, within
 * the time there is. */
static void ask_pool(struct connect *connect)
{
    const struct connector *connector = connect->connector;
    const struct tls_set *set = *connector->tls;
    struct tls_identity *identity = set ? tls_set_find(set, connect->request.identity) : NULL;
    if (!identity) {
        timer_start(connector->loop, &connect->identity, IDENTITY_POLL_NS, on_identity_timer);
        return;
    }
    struct tunnel_options options = {
        .identity = identity,
        .trust = connector->trust,
        .verified = connector->verified,
        .expected = connect->request.expected,
        .n_expected = connect->request.n_expected,
        .connect_ns = connector->options.connect_ns,
        .handshake_ns = connector->options.handshake_ns,
        .idle_ns = connector->options.idle_ns,
        .follows_trust = connector->options.follows_trust,
    };
    aim(connect, &options);
    pool_ask(connector->pool, &options, &connect->waiter);
}

/* ---- both ---- */

static void doubt_tunnel(struct connect *connect)
{
    if (connect->stream && !tunnel_was_heard_since(connect->tunnel, connect->asked_ns))
        tunnel_retire(connect->tunnel);
}

static void on_timeout(struct timer *timer)
{
    struct connect *connect = container_of(timer, struct connect, timer);
    doubt_tunnel(connect);
    int err = -ERR_CONNECT_TIMEOUT;
    if (connect_awaits_identity(connect))
        err = -ERR_NO_IDENTITY;
    else if (pool_is_dialing(&connect->waiter))
        err = -ERR_NETWORK_POLICY;
    fail(connect, err, (struct str){0});
}

/* A plain dial has no use for strings. */
static void keep_plainly(struct connect *connect, const struct connect_request *request)
{
    connect->request = (struct connect_request){
        .addr = request->addr, .source = request->source, .timeout_ns = request->timeout_ns};
}

static void keep_request(struct connect *connect, const struct connect_request *request)
{
    struct arena *arena = &connect->arena;
    connect->request = *request;
    connect->request.identity = arena_str(arena, request->identity);
    connect->request.baggage = arena_str(arena, request->baggage);
    connect->request.forwarded = arena_str(arena, request->forwarded);
    connect->request.traceparent = arena_str(arena, request->traceparent);
    struct str *expected = arena_new_array(arena, struct str, request->n_expected + 1);
    for (size_t i = 0; i < request->n_expected; i++)
        expected[i] = arena_str(arena, request->expected[i]);
    connect->request.expected = expected;
}

struct connect *connect_start(struct connector *connector, const struct connect_request *request,
                              void (*on_done)(void *owner, int err, const struct upstream *upstream,
                                              struct str why),
                              void *owner)
{
    struct connect *connect = mem_new(struct connect);
    connect->connector = connector;
    connect->on_done = on_done;
    connect->owner = owner;
    connect->waiter.on_tunnel = on_tunnel;
    list_init(&connect->waiter.link);
    timer_start(connector->loop, &connect->timer, request->timeout_ns, on_timeout);
    if (request->through_tunnel) {
        keep_request(connect, request);
        ask_pool(connect);
    } else {
        keep_plainly(connect, request);
        dial_plainly(connect);
    }
    return connect;
}

bool connect_awaits_identity(const struct connect *connect)
{
    return timer_is_running(&connect->identity);
}

void connect_give_time(struct connect *connect, uint64_t timeout_ns)
{
    timer_start(connect->connector->loop, &connect->timer, timeout_ns, on_timeout);
}

void connect_cancel(struct connect *connect)
{
    dismantle(connect, -ERR_SHUTDOWN);
}

void connect_abandon(struct connect *connect)
{
    doubt_tunnel(connect);
    dismantle(connect, -ERR_SHUTDOWN);
}

struct connector *connector_new(struct loop *loop, const struct connector_options *options,
                                const struct tls_set *const *tls, const struct trust *const *trust,
                                struct meter *meter)
{
    struct connector *connector = mem_new(struct connector);
    connector->loop = loop;
    connector->options = *options;
    connector->tls = tls;
    connector->trust = trust;
    connector->verified = verified_new();
    connector->pool = pool_new(loop, meter, trust);
    connector->http_pool = http_pool_new(loop);
    return connector;
}

void connector_free(struct connector *connector)
{
    http_pool_free(connector->http_pool);
    pool_free(connector->pool);
    verified_free(connector->verified);
    mem_free(connector);
}

struct pool *connector_pool(struct connector *connector)
{
    return connector->pool;
}

struct http_pool *connector_http_pool(struct connector *connector)
{
    return connector->http_pool;
}
