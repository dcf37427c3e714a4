#include "house.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static const struct addr loopback = {{4, {127, 0, 0, 1}}, 0};

static void on_arrival(void *owner, struct arrival *arrival)
{
    struct house *house = owner;
    cr_assert_lt(house->n_arrivals, ARRIVALS_MAX);
    cr_assert_not_null(house->acceptor, "nothing comes once the acceptor is closed");
    house->arrivals[house->n_arrivals++] = arrival;
}

static void on_refusal(void *owner, const struct refusal *refusal)
{
    struct house *house = owner;
    house->n_refusals++;
    house->refused_peer = refusal->peer;
    house->refused_dialled = refusal->dialled;
    house->refused_err = refusal->err;
    (void)snprintf(house->refused_why, sizeof house->refused_why, "%.*s", STR_ARG(refusal->detail));
    (void)snprintf(house->claimed_id, sizeof house->claimed_id, "%.*s", STR_ARG(refusal->claim.id));
    (void)snprintf(house->claimed_serial, sizeof house->claimed_serial, "%.*s",
                   STR_ARG(refusal->claim.serial));
}

void house_learn(struct house *house)
{
    struct snapshot *before = house->snapshot;
    house->snapshot_now = house->snapshot = snap_build(&house->snap);
    snapshot_free(before);
}

static void open_callers(struct house *house)
{
    const struct connector_options options = {
        .tunnel_port = house_door(house, ARRIVAL_TUNNEL).port,
        .connect_ns = LONG_NS,
        .handshake_ns = LONG_NS,
        .follows_trust = true,
    };
    house->callers = connector_new(house->world.loop, &options, &house->set_now,
                                   &house->world.trust_now, house->meter);
}

void house_open(struct house *house)
{
    house_open_with(house, 0);
}

void house_open_with(struct house *house, size_t max_sessions)
{
    memset(house, 0, sizeof *house);
    world_open(&house->world);
    snap_init(&house->snap, "n1");
    snap_pod(&house->snap, "pay", "n1", "127.0.0.1")->trust_domain = STR("east.example");
    house_learn(house);
    house->set_now = house->set = tls_set_new(1, house->world.trust);
    tls_set_add(house->set, house->world.a);
    tls_set_add(house->set, house->world.b);
    house->trust = house->world.trust;
    house->meter = meter_new();
    const struct acceptor_options options = {
        .outbound = loopback,
        .inbound = loopback,
        .tunnel = loopback,
        .tunnels = {.handshake_ns = LONG_NS,
                    .max_sessions = max_sessions,
                    .on_refusal = on_refusal,
                    .snapshot = &house->snapshot_now,
                    .tls = &house->set_now,
                    .trust = &house->trust,
                    .follows_trust = true},
    };
    struct text why = {0};
    cr_assert_eq(acceptor_open(house->world.loop, &options, house->meter, on_arrival, house,
                               &house->acceptor, &why),
                 0, "%s", why.ptr);
    open_callers(house);
}

void house_close(struct house *house)
{
    for (unsigned i = 0; i < house->n_arrivals; i++)
        if (house->arrivals[i])
            arrival_free(house->arrivals[i], -ERR_SHUTDOWN);
    connector_free(house->callers);
    if (house->acceptor)
        acceptor_close(house->acceptor);
    house->acceptor = NULL;
    run_turns(house->world.loop, 5);
    tls_set_free(house->set);
    snapshot_free(house->snapshot);
    snap_fini(&house->snap);
    meter_free(house->meter);
    world_close(&house->world);
    cr_expect_eq(meter_total(METRIC_TUNNEL_SESSIONS_OPEN), 0);
}

struct addr house_door(const struct house *house, enum arrival_kind kind)
{
    return acceptor_addr(house->acceptor, kind);
}

bool house_has(struct house *house, unsigned n_arrivals)
{
    return run_until_count(house->world.loop, &house->n_arrivals, n_arrivals, PATIENCE_MS) &&
           house->n_arrivals == n_arrivals;
}

struct dialled {
    bool is_done;
    int err;
    struct stream *stream;
};

static void on_dialled(void *owner, int err, struct stream *stream)
{
    *(struct dialled *)owner = (struct dialled){true, err, stream};
}

void house_dial(struct house *house, enum arrival_kind kind, struct tap *tap)
{
    house_dial_from(house, kind, &(struct ip){0}, tap);
}

void house_dial_from(struct house *house, enum arrival_kind kind, const struct ip *source,
                     struct tap *tap)
{
    struct dialled dialled = {0};
    const struct addr door = house_door(house, kind);
    const struct tcp_options options = {.source.ip = *source};
    (void)tcp_connect(house->world.loop, &door, &options, on_dialled, &dialled);
    cr_assert(run_until_set(house->world.loop, &dialled.is_done, PATIENCE_MS));
    tap->err = dialled.err; /* a reset may come as early as this */
    if (!dialled.stream)
        return;
    tap_attach(tap, dialled.stream);
    stream_resume(dialled.stream);
}

static void on_called(void *owner, int err, const struct upstream *upstream, struct str why)
{
    struct caller *caller = owner;
    (void)why;
    caller->connect = NULL;
    caller->is_done = true;
    caller->err = err;
    if (!upstream)
        return;
    tap_attach(&caller->tap, upstream->stream);
    stream_resume(upstream->stream);
}

void caller_start(struct caller *caller, struct house *house, const char *authority)
{
    const struct str expected[] = {STR(ID_B), str_from(caller->other ? caller->other : "")};
    struct connect_request request = {
        .through_tunnel = true,
        .identity = STR(ID_A),
        .expected = expected,
        .n_expected = caller->other ? 2 : 1,
        .baggage = STR("k8s.cluster.name=west"),
        .forwarded = STR("for=\"10.0.0.1:4711\""),
        .traceparent = STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"),
        .timeout_ns = LONG_NS,
    };
    cr_assert_eq(addr_parse(str_from(authority), &request.addr), 0);
    caller->house = house;
    caller->connect = connect_start(house->callers, &request, on_called, caller);
}

bool caller_wait(struct caller *caller)
{
    cr_assert(run_until_set(caller->house->world.loop, &caller->is_done, PATIENCE_MS));
    return caller->err == 0;
}

void caller_end(struct caller *caller)
{
    if (caller->connect)
        connect_cancel(caller->connect);
    caller->connect = NULL;
    tap_free(&caller->tap);
}
