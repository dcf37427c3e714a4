#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/health/checker.h"
#include "proxy/http/h2.h"
#include "proxy/meter/meter.h"
#include "tests/kit/snap.h"
#include "tests/unit/proxy_tls/tls_kit.h"

TestSuite(checker, .timeout = 60);

#define PATIENCE_MS 10000
#define CLIENTS_MAX 400
#define CART        "spiffe://west.example/ns/shop/sa/cart"
#define GOOD        "HTTP/1.1 204 No Content\r\n\r\n"
#define SICK        "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"

/* A server of the test's, and the node that checks it. */
static struct {
    struct world world;
    struct tls_set *set;
    const struct tls_set *set_now;
    const struct trust *trust;
    struct meter *meter;
    struct connector *connector;
    struct checker *checker;
    struct snap snap;
    struct snapshot *snapshot;
    const struct snapshot *snapshot_now;
    struct traffic_policy policy;
    struct health_check check;
    struct listener *server;
    struct tap clients[CLIENTS_MAX];
    struct h2 *h2[CLIENTS_MAX];
    unsigned n_clients;
    struct str answer; /* "": says nothing */
    bool speaks_h2;
    const char *grpc_status;
    struct str grpc_message;
    enum health_status status;
    unsigned n_changes;
} b;

/* ---- the server ---- */

static void drop_bytes(void *owner, struct slice bytes)
{
    (void)owner;
    (void)bytes;
}

static void hear_end(void *owner)
{
    (void)owner;
}

static void hear_failure(void *owner, int err)
{
    (void)owner;
    (void)err;
}

static void on_request(void *owner, struct stream *stream, const struct h2_head *head)
{
    static const struct stream_events events = {drop_bytes, hear_end, hear_end, hear_failure};
    const struct h2_field fields[] = {{STR(":status"), STR("200")},
                                      {STR("content-type"), STR("application/grpc")}};
    const struct h2_field trailers[] = {{STR("grpc-status"), str_from(b.grpc_status)}};
    (void)owner;
    cr_expect(str_eq(h2_find(head, ":path"), STR("/grpc.health.v1.Health/Check")));
    stream_set_owner(stream, &events, NULL);
    h2_respond(stream, fields, 2, false);
    stream_write_copy(stream, b.grpc_message.ptr, b.grpc_message.len);
    h2_send_trailers(stream, trailers, 1);
    stream_close(stream, 0);
}

static void on_h2_dead(void *owner, int err, struct str why)
{
    struct h2 **h2 = owner;
    (void)err;
    (void)why;
    h2_close(*h2, 0);
    *h2 = NULL;
}

static const struct h2_events server_events = {.on_request = on_request, .on_dead = on_h2_dead};

static void on_accept(void *owner, struct stream *stream)
{
    static const struct h2_options defaults = {0};
    (void)owner;
    cr_assert_lt(b.n_clients, CLIENTS_MAX);
    const unsigned n = b.n_clients++;
    if (b.speaks_h2) {
        b.h2[n] = h2_server_new(b.world.loop, stream, &defaults, &server_events, &b.h2[n]);
        return;
    }
    tap_attach(&b.clients[n], stream);
    stream_resume(stream);
    if (b.answer.len > 0)
        stream_write_copy(stream, b.answer.ptr, b.answer.len);
}

static void open_server(void)
{
    const struct addr addr = {{4, {127, 0, 0, 31}}, 0};
    int errnum;
    cr_assert_eq(listener_open(b.world.loop, &addr, NULL, on_accept, NULL, &b.server, &errnum), 0);
}

static void close_server(void)
{
    if (b.server)
        listener_close(b.server);
    b.server = NULL;
}

/* ---- the node ---- */

static void on_change(void *owner, const struct health_state *state)
{
    (void)owner;
    b.status = state->status;
    b.n_changes++;
}

static void learn(void)
{
    struct snapshot *before = b.snapshot;
    size_t idx = 0;
    struct str key;
    void *value;
    b.snapshot_now = b.snapshot = snap_build(&b.snap);
    while (map_next(&b.snapshot->services, &idx, &key, &value))
        ((struct service *)value)->traffic = &b.policy;
    checker_learn(b.checker);
    snapshot_free(before);
}

static void bench_open(enum check_kind kind)
{
    memset(&b, 0, sizeof b);
    world_open(&b.world);
    b.set_now = b.set = tls_set_new(1, b.world.trust);
    b.trust = b.world.trust;
    b.meter = meter_new();
    const struct connector_options options = {
        .tunnel_port = 1, .connect_ns = NS_PER_SEC, .handshake_ns = NS_PER_SEC};
    b.connector = connector_new(b.world.loop, &options, &b.set_now, &b.trust, b.meter);
    const struct checker_tools tools = {b.world.loop, &b.snapshot_now, b.connector, b.meter};
    b.checker = checker_new(&tools, on_change, NULL);
    b.policy = *traffic_policy_default();
    b.check = (struct health_check){
        .kind = kind,
        .timeout_ns = 2 * NS_PER_SEC,
        .interval_ns = 20 * NS_PER_MS,
        .unhealthy_threshold = 2,
        .healthy_threshold = 2,
        .path = STR("/healthz"),
    };
    b.policy.checks = &b.check;
    b.policy.n_checks = 1;
    open_server();
    snap_init(&b.snap, "n1");
    snap_pod(&b.snap, "cart", "n1", "10.0.0.1");
    struct model_workload *pay = snap_pod(&b.snap, "pay", "n2", "127.0.0.31");
    pay->speaks_hbone = false;
    snap_serve(&b.snap, pay,
               snap_service(&b.snap, "store", "10.96.0.1", 80, listener_addr(b.server).port));
    learn();
}

static const struct service *service_at(uint8_t last)
{
    const struct ip vip = {4, {10, 96, 0, last}};
    const struct service *service = snapshot_service_by_ip(b.snapshot, &vip);
    cr_assert_not_null(service);
    return service;
}

static void use(const struct service *service)
{
    const struct health_use seen = {.set_id = service->ports[0].v4.id,
                                    .service = service->key,
                                    .port = 80,
                                    .principal = STR(CART)};
    checker_use(b.checker, &seen);
}

static void bench_close(void)
{
    checker_free(b.checker);
    connector_free(b.connector);
    close_server();
    run_turns(b.world.loop, 5);
    for (unsigned i = 0; i < b.n_clients; i++) {
        if (b.h2[i])
            h2_close(b.h2[i], 0);
        else if (b.clients[i].stream)
            tap_free(&b.clients[i]);
    }
    cr_expect_eq(meter_total(METRIC_HEALTH_GOOD), 0);
    cr_expect_eq(meter_total(METRIC_HEALTH_BAD), 0);
    cr_expect_eq(meter_total(METRIC_HEALTH_UNKNOWN), 0);
    snapshot_free(b.snapshot);
    snap_fini(&b.snap);
    tls_set_free(b.set);
    meter_free(b.meter);
    world_close(&b.world);
}

static bool has_status(void *ctx)
{
    return b.status == *(const enum health_status *)ctx;
}

static bool becomes(enum health_status status)
{
    return run_until(b.world.loop, has_status, &status, PATIENCE_MS);
}

static bool has_counted(void *ctx)
{
    const int64_t *goal = ctx;
    return meter_total((enum metric)goal[0]) >= goal[1];
}

static bool counts(enum metric metric, int64_t n)
{
    const int64_t goal[] = {metric, n};
    return run_until(b.world.loop, has_counted, (void *)(uintptr_t)goal, PATIENCE_MS);
}

Test(checker, an_endpoint_turns_unhealthy_with_its_answer_and_comes_back)
{
    bench_open(CHECK_HTTP);
    b.answer = STR(GOOD);
    use(service_at(1));
    cr_expect(becomes(HEALTH_GOOD));
    b.answer = STR(SICK);
    cr_expect(becomes(HEALTH_BAD));
    b.answer = STR(GOOD);
    cr_expect(becomes(HEALTH_GOOD));

    struct text page = {0};
    checker_json(b.checker, &page);
    cr_expect(str_contains(text_str(&page), STR("\"health\":\"healthy\"")), "%s", page.ptr);
    cr_expect(str_contains(text_str(&page), STR("status 204")), "%s", page.ptr);
    text_fini(&page);
    cr_expect_gt(meter_total(METRIC_HEALTH_CHECKS_FAILED), 0);
    struct health_state states[4];
    cr_expect_eq(checker_states(b.checker, service_at(1)->ports[0].v4.id, states, 4), 1);
    cr_expect_eq(states[0].status, HEALTH_GOOD);
    bench_close();
}

Test(checker, silence_and_refusal_make_an_endpoint_unhealthy)
{
    bench_open(CHECK_HTTP);
    b.check.timeout_ns = 20 * NS_PER_MS;
    use(service_at(1));
    cr_expect(becomes(HEALTH_BAD), "it takes the connection and says nothing");
    bench_close();

    bench_open(CHECK_TCP);
    use(service_at(1));
    cr_expect(becomes(HEALTH_GOOD));
    close_server();
    cr_expect(becomes(HEALTH_BAD), "nobody listens");
    bench_close();
}

#define BYTES(literal) str_of(literal, sizeof(literal) - 1)

Test(checker, a_tls_server_is_known_by_its_answer)
{
    const struct {
        struct str answer;
        enum health_status status;
    } rows[] = {
        {BYTES("\x16\x03\x03\x01\x7a\x02\x00"), HEALTH_GOOD}, /* ServerHello */
        {BYTES("\x15\x03\x03\x00\x02\x02\x28"), HEALTH_BAD},  /* alert: handshake_failure */
        {BYTES("HTTP/1.1 400 Bad Request\r\n\r\n"), HEALTH_BAD},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bench_open(CHECK_TLS);
        b.answer = rows[i].answer;
        use(service_at(1));
        cr_expect(becomes(rows[i].status), "row %zu", i);
        bench_close();
    }
}

Test(checker, a_grpc_server_says_whether_it_serves)
{
    const struct {
        const char *status;
        struct str message;
        enum health_status health;
    } rows[] = {
        {"0", BYTES("\0\0\0\0\2\x08\1"), HEALTH_GOOD}, /* SERVING */
        {"0", BYTES("\0\0\0\0\2\x08\2"), HEALTH_BAD},  /* NOT_SERVING */
        {"0", BYTES("\0\0\0\0\0"), HEALTH_BAD},        /* UNKNOWN */
        {"0", BYTES("\0\0\0\0\7\x08\1"), HEALTH_BAD},  /* cut short */
        {"12", BYTES(""), HEALTH_BAD},                 /* UNIMPLEMENTED */
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        bench_open(CHECK_GRPC);
        b.speaks_h2 = true;
        b.grpc_status = rows[i].status;
        b.grpc_message = rows[i].message;
        use(service_at(1));
        cr_expect(becomes(rows[i].health), "row %zu", i);
        bench_close();
    }
}

Test(checker, who_is_not_used_or_has_no_checks_is_left_alone)
{
    bench_open(CHECK_TCP);
    run_turns(b.world.loop, 200);
    cr_expect_eq(b.n_clients, 0, "nobody uses it");

    b.policy.n_checks = 0;
    learn();
    use(service_at(1));
    run_turns(b.world.loop, 100);
    cr_expect_eq(meter_total(METRIC_HEALTH_UNKNOWN), 0, "its policy has none");

    b.policy.n_checks = 1;
    learn();
    cr_expect(becomes(HEALTH_GOOD), "the policy changed");
    b.policy.n_checks = 0;
    learn();
    cr_expect_eq(b.status, HEALTH_UNKNOWN, "configuration alone decides again");
    bench_close();
}

Test(checker, what_cannot_be_asked_says_nothing_about_the_endpoint)
{
    bench_open(CHECK_TCP);
    struct model_workload *remote = snap_pod(&b.snap, "pay-2", "n2", "127.0.0.32");
    snap_serve(&b.snap, remote, snap_service(&b.snap, "far", "10.96.0.2", 80, 80));
    snap_drop(&b.snap, "cart"); /* who used it is gone: there is no identity to go under */
    learn();

    use(service_at(2));

    cr_expect(counts(METRIC_HEALTH_CHECKS_UNTOLD, 2));
    cr_expect_eq(b.n_changes, 0);
    cr_expect_eq(meter_total(METRIC_HEALTH_UNKNOWN), 1);
    bench_close();
}

Test(checker, checks_are_bounded_in_number_and_rate)
{
    bench_open(CHECK_TCP);
    struct model_service *service =
        snap_service(&b.snap, "big", "10.96.0.2", 80, listener_addr(b.server).port);
    for (unsigned i = 0; i < CHECKER_SET_MAX + 20; i++) {
        char name[16], address[16];
        (void)snprintf(name, sizeof name, "big-%u", i);
        (void)snprintf(address, sizeof address, "127.0.1.%u", i + 1);
        struct model_workload *pod = snap_pod(&b.snap, name, "n2", address);
        pod->speaks_hbone = false;
        snap_serve(&b.snap, pod, service);
    }
    b.check.interval_ns = NS_PER_MS;
    learn();
    const uint64_t started_ns = clock_mono_ns();

    use(service_at(2));

    cr_expect_eq(meter_total(METRIC_HEALTH_UNKNOWN), CHECKER_SET_MAX);
    cr_expect(counts(METRIC_HEALTH_CHECKS_FAILED, 40));
    const uint64_t took_ns = clock_mono_ns() - started_ns;
    cr_expect_geq(took_ns, 38 * (NS_PER_SEC / CHECKER_PER_SEC), "they are paced");
    bench_close();
}
