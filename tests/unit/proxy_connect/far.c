#include "far.h"

#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* ------------------------------------------------------------------ far */

static void keep(char *room, size_t size, struct str value)
{
    snprintf(room, size, "%.*s", STR_ARG(value));
}

void far_answer(struct far *far, unsigned idx, const char *status)
{
    struct stream *stream = far->streams[idx].stream;
    const struct h2_field fields[] = {{STR(":status"), str_from(status)},
                                      {STR("baggage"), STR("k8s.pod.name=pay-1")}};
    const bool is_good = strcmp(status, "200") == 0;
    h2_respond(stream, fields, 2, !is_good && !far->body_follows);
    if (is_good && far->first_words)
        (void)stream_write_copy(stream, far->first_words, strlen(far->first_words));
    if (is_good || far->body_follows)
        stream_resume(stream);
    else
        tap_close(&far->streams[idx], 0);
}

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    struct far_tunnel *tunnel = owner;
    struct far *far = tunnel->far;
    cr_assert_lt(far->n_requests, FAR_STREAMS_MAX);
    cr_assert(str_eq(h2_find(head, ":method"), STR("CONNECT")));
    keep(far->authority, sizeof far->authority, h2_find(head, ":authority"));
    keep(far->baggage, sizeof far->baggage, h2_find(head, "baggage"));
    keep(far->forwarded, sizeof far->forwarded, h2_find(head, "forwarded"));
    keep(far->traceparent, sizeof far->traceparent, h2_find(head, "traceparent"));
    tap_attach(&far->streams[far->n_requests++], stream);
    if (far->status)
        far_answer(far, far->n_requests - 1, far->status);
}

static void on_dead(void *owner, int err, struct str why)
{
    struct far_tunnel *tunnel = owner;
    (void)err;
    keep(tunnel->far->lost_why, sizeof tunnel->far->lost_why, why);
    h2_close(tunnel->h2, 0);
    tunnel->h2 = NULL;
    tunnel->far->n_lost++;
}

static const struct h2_events far_events = {.on_request = on_request, .on_dead = on_dead};

static void on_secured(void *owner, int err, struct stream *stream, struct str why)
{
    struct far_tunnel *tunnel = owner;
    struct far *far = tunnel->far;
    (void)why;
    tunnel->handshake = NULL;
    if (err < 0) {
        far->n_lost++;
        return;
    }
    far->n_secured++;
    keep(far->peer_id, sizeof far->peer_id, tls_peer(stream)->id);
    tunnel->h2 = h2_server_new(far->world->loop, stream, &far->h2, &far_events, tunnel);
}

static void on_accept(void *owner, struct stream *tcp)
{
    struct far *far = owner;
    cr_assert_lt(far->n_accepted, FAR_TUNNELS_MAX);
    struct far_tunnel *tunnel = &far->tunnels[far->n_accepted++];
    const struct tls_options options = {
        .role = TLS_SERVER, .identity = far->identity, .trust = &far->trust, .timeout_ns = LONG_NS};
    tunnel->far = far;
    if (far->is_deaf)
        stream_set_owner(tcp, &tap_events, &far->streams[far->n_requests]),
            far->streams[far->n_requests++].stream = tcp;
    else
        tunnel->handshake = tls_handshake(far->world->loop, tcp, &options, on_secured, tunnel);
}

void far_open(struct far *far, struct world *world)
{
    struct addr any = {.ip = {4, {127, 0, 0, 1}}};
    int errnum;
    *far =
        (struct far){.world = world, .identity = world->b, .trust = world->trust, .status = "200"};
    cr_assert_eq(listener_open(world->loop, &any, NULL, on_accept, far, &far->listener, &errnum),
                 0);
}

void far_drain(struct far *far, unsigned tunnel)
{
    h2_drain(far->tunnels[tunnel].h2);
}

void far_kill(struct far *far, unsigned tunnel)
{
    struct far_tunnel *t = &far->tunnels[tunnel];
    if (t->handshake)
        tls_handshake_cancel(t->handshake);
    if (t->h2)
        h2_close(t->h2, -ERR_RESET);
    t->handshake = NULL;
    t->h2 = NULL;
}

void far_close(struct far *far)
{
    listener_close(far->listener);
    run_turns(far->world->loop, 2);
    for (unsigned i = 0; i < far->n_requests; i++)
        tap_free(&far->streams[i]);
    for (unsigned i = 0; i < far->n_accepted; i++)
        far_kill(far, i);
}

static bool has_requests(void *ctx)
{
    const void *const *goal = ctx;
    return ((const struct far *)goal[0])->n_requests >= *(const unsigned *)goal[1];
}

bool far_has_requests(struct far *far, unsigned n)
{
    const void *goal[] = {far, &n};
    return run_until(far->world->loop, has_requests, goal, PATIENCE_MS) && far->n_requests == n;
}

bool far_has_lost(struct far *far, unsigned n)
{
    return run_until_count(far->world->loop, &far->n_lost, n, PATIENCE_MS) && far->n_lost == n;
}

/* ------------------------------------------------------------------ near */

void near_open(struct near *near, const struct connector_options *options)
{
    struct connector_options all = options ? *options : (struct connector_options){0};
    memset(near, 0, sizeof *near);
    world_open(&near->world);
    far_open(&near->far, &near->world);
    near->set = tls_set_new(1, near->world.trust);
    tls_set_add(near->set, near->world.a);
    near->set_now = near->set;
    near->meter = meter_new();
    all.tunnel_port = listener_addr(near->far.listener).port;
    all.connect_ns = all.connect_ns ? all.connect_ns : LONG_NS;
    all.handshake_ns = all.handshake_ns ? all.handshake_ns : LONG_NS;
    all.follows_trust = true;
    near->connector =
        connector_new(near->world.loop, &all, &near->set_now, &near->world.trust_now, near->meter);
}

void near_close(struct near *near)
{
    connector_free(near->connector);
    far_close(&near->far);
    tls_set_free(near->set);
    meter_free(near->meter);
    world_close(&near->world);
    cr_expect_eq(meter_total(METRIC_TUNNELS_OPEN), 0);
}

struct connect_request near_request(void)
{
    static const struct str expected[] = {STR(ID_B)};
    return (struct connect_request){
        .through_tunnel = true,
        .addr = {{4, {127, 0, 0, 1}}, 8080},
        .identity = STR(ID_A),
        .expected = expected,
        .n_expected = 1,
        .baggage = STR("k8s.cluster.name=west"),
        .forwarded = STR("for=\"10.0.0.1:4711\""),
        .traceparent = STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        .timeout_ns = LONG_NS,
    };
}

static void on_connect_done(void *owner, int err, const struct upstream *upstream, struct str why)
{
    struct attempt *attempt = owner;
    cr_assert_not(attempt->is_done);
    cr_assert_eq(err == 0, upstream != NULL);
    attempt->n_done++;
    attempt->n_beside = attempt->beside ? attempt->beside->n_got : 0;
    attempt->err = err;
    keep(attempt->why, sizeof attempt->why, why);
    attempt->connect = NULL;
    if (err < 0 && attempt->n_again > 0) {
        attempt->n_again--;
        attempt->connect =
            connect_start(attempt->near->connector, &attempt->request, on_connect_done, attempt);
        return;
    }
    attempt->is_done = true;
    if (!upstream)
        return;
    keep(attempt->peer_id, sizeof attempt->peer_id, upstream->peer_id);
    keep(attempt->baggage, sizeof attempt->baggage, upstream->baggage);
    tap_attach(&attempt->tap, upstream->stream);
    stream_resume(upstream->stream);
}

void attempt_start(struct attempt *attempt, struct near *near,
                   const struct connect_request *request)
{
    attempt->near = near;
    attempt->request = *request;
    attempt->connect = connect_start(near->connector, request, on_connect_done, attempt);
    cr_assert_not(attempt->is_done, "never before the call returns");
}

bool attempt_wait(struct attempt *attempt)
{
    cr_assert(run_until_set(attempt->near->world.loop, &attempt->is_done, PATIENCE_MS));
    return attempt->err == 0;
}

void attempt_end(struct attempt *attempt)
{
    if (attempt->connect)
        connect_cancel(attempt->connect);
    attempt->connect = NULL;
    tap_free(&attempt->tap);
}

/* ------------------------------------------------------------------ places */

static int bound_socket(struct sockaddr_in *out_sa)
{
    socklen_t len = sizeof *out_sa;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    *out_sa =
        (struct sockaddr_in){.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    cr_assert_geq(fd, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)out_sa, sizeof *out_sa), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)out_sa, &len), 0);
    return fd;
}

/* Bound until the test's process ends: a port that was given back may be another test's by then. */
struct addr dead_end(void)
{
    struct sockaddr_in sa;
    (void)bound_socket(&sa);
    return (struct addr){{4, {127, 0, 0, 1}}, ntohs(sa.sin_port)};
}

/* A queue of one that is full: the kernel drops what comes then, as a firewall would. */
struct addr black_hole(int out_fds[4])
{
    struct sockaddr_in sa;
    out_fds[0] = bound_socket(&sa);
    cr_assert_eq(listen(out_fds[0], 0), 0);
    for (int i = 1; i < 4; i++) {
        out_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(out_fds[i], (struct sockaddr *)&sa, sizeof sa);
    }
    return (struct addr){{4, {127, 0, 0, 1}}, ntohs(sa.sin_port)};
}
