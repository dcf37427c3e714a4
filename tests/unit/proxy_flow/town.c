#include "town.h"

#include <criterion/criterion.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/connect/http_pool.h"
#include "proxy/trace/tracer.h"

static const struct ip loopback = {4, {127, 0, 0, 1}};

static struct ip ip_of(const char *text)
{
    struct ip ip;
    cr_assert_eq(ip_parse(str_from(text), &ip), 0, "%s", text);
    return ip;
}

/* ------------------------------------------------------------------ nodes */

static void on_arrival(void *owner, struct arrival *arrival)
{
    struct town_node *node = owner;
    walk_start(node->walk, arrival);
}

static void on_refusal(void *owner, const struct refusal *refusal)
{
    struct town_node *node = owner;
    walk_note_refusal(node->walk, refusal);
}

void town_walk(struct town_node *node, const struct walk_options *options)
{
    struct town *town = node->town;
    struct walk_options all = *options;
    const struct walk_tools tools = {
        .loop = town->world.loop,
        .snapshot = &node->snapshot_now,
        .connector = node->connector,
        .balancer = node->balancer,
        .traffic = node->traffic,
        .meter = town->meter,
        .audit = town->audit ? audit_pen(town->audit, node == &town->n2) : NULL,
        .tracer = town->tracer && node == &town->n1 ? tracer_pen(town->tracer, 0) : NULL,
        .ledger = node->ledger,
        .worker = node == &town->n2 && node->ledger,
        .rechecked = node->rechecked,
    };
    all.own = (struct own_ports){15001, 15006, 15008, false};
    all.attempt_ns = all.attempt_ns ? all.attempt_ns : LONG_NS;
    all.connect_ns = all.connect_ns ? all.connect_ns : LONG_NS;
    all.idle_ns = all.idle_ns ? all.idle_ns : LONG_NS;
    all.half_close_ns = all.half_close_ns ? all.half_close_ns : LONG_NS;
    all.max_flows = all.max_flows ? all.max_flows : 1000;
    all.max_attempts = all.max_attempts ? all.max_attempts : 5;
    all.log_access = true;
    if (node->walk)
        walk_free(node->walk);
    node->walk = walk_new(&tools, &all);
}

static void open_node(struct town *town, struct town_node *node, const char *name,
                      uint16_t own_tunnel_port, uint16_t tunnel_port)
{
    const struct connector_options options = {.tunnel_port = tunnel_port,
                                              .own_tunnel_port = own_tunnel_port,
                                              .connect_ns = LONG_NS,
                                              .handshake_ns = LONG_NS,
                                              .follows_trust = true};
    node->town = town;
    node->name = name;
    node->balancer = balancer_new(town->meter, 1);
    node->traffic = traffic_new();
    node->connector =
        connector_new(town->world.loop, &options, &town->set_now, &town->trust, town->meter);
    town_walk(node, &(struct walk_options){0});
}

static uint16_t open_acceptor(struct town *town, struct town_node *node)
{
    struct text why = {0};
    const struct acceptor_options options = {
        .outbound = {loopback, 0},
        .inbound = {loopback, 0},
        .tunnel = {{0}, 0}, /* every address of loopback is a pod's */
        .tunnels = {.handshake_ns = LONG_NS,
                    .on_refusal = on_refusal,
                    .snapshot = &node->snapshot_now,
                    .tls = &town->set_now,
                    .trust = &town->trust,
                    .follows_trust = true},
    };
    cr_assert_eq(acceptor_open(town->world.loop, &options, town->meter, on_arrival, node,
                               &node->acceptor, &why),
                 0, "%s", why.ptr);
    return acceptor_addr(node->acceptor, ARRIVAL_TUNNEL).port;
}

static void close_node(struct town_node *node)
{
    walk_free(node->walk);
    connector_free(node->connector);
    if (node->acceptor)
        acceptor_close(node->acceptor);
    cr_expect(balancer_flows(node->balancer) == 0 || node->town,
              "failures may be remembered, flows not");
    balancer_free(node->balancer);
    traffic_free(node->traffic);
    snapshot_free(node->snapshot);
}

void town_audit(struct town *town, const char *path)
{
    struct text why = {0};
    const struct audit_options options = {.path = str_from(path),
                                          .node = STR("town"),
                                          .version = STR("0"),
                                          .max_bytes = UINT64_MAX,
                                          .wants_verdicts = !town->lacks_verdicts,
                                          .wants_ends = !town->lacks_ends,
                                          .wants_each = town->audits_requests,
                                          .n_workers = 2};
    cr_assert_eq(audit_open(&options, &town->audit, &why), 0, "%s", why.ptr);
    town_walk(&town->n1, &(struct walk_options){0});
    town_walk(&town->n2, &(struct walk_options){0});
}

/* A machine that stands still for the usual time before a race would have another endpoint asked,
 * too, and served: races are for the test of them. */
static void put_off_races(const struct snapshot *snapshot)
{
    static struct traffic_policy calm;
    size_t idx = 0;
    struct str key;
    void *value;
    calm = *traffic_policy_default();
    calm.race_ns = LONG_NS;
    while (map_next(&snapshot->services, &idx, &key, &value)) {
        struct service *service = value;
        if (service->traffic == traffic_policy_default())
            service->traffic = &calm;
        else if (service->traffic->race_ns == traffic_policy_default()->race_ns)
            ((struct traffic_policy *)(uintptr_t)service->traffic)->race_ns = LONG_NS;
    }
}

static void learn(struct town_node *node)
{
    struct snapshot *before = node->snapshot;
    node->town->snap.vantage.node = str_from(node->name);
    node->snapshot_now = node->snapshot = snap_build(&node->town->snap);
    put_off_races(node->snapshot);
    walk_recheck(node->walk);
    snapshot_free(before);
}

void town_learn(struct town *town)
{
    learn(&town->n1);
    learn(&town->n2);
}

static size_t blamed_of(struct town_node *node, const struct endpoint_set *set)
{
    size_t n = 0;
    for (size_t i = 0; i < set->len; i++) {
        struct member_view view;
        n +=
            balancer_view(node->balancer, set->id, set->endpoints[i].key, clock_mono_ns(), &view) &&
            view.unfit != UNFIT_NOT;
    }
    return n;
}

size_t town_blamed(struct town_node *node)
{
    size_t idx = 0, n = balancer_flows(node->balancer);
    struct str key;
    void *value;
    while (map_next(&node->snapshot->services, &idx, &key, &value)) {
        const struct service *service = value;
        for (size_t i = 0; i < service->n_ports; i++)
            n += blamed_of(node, &service->ports[i].v4) + blamed_of(node, &service->ports[i].v6);
    }
    return n;
}

/* ------------------------------------------------------------------ the app */

static void on_served(void *owner, struct stream *stream)
{
    struct town *town = owner;
    cr_assert_lt(town->n_served, APP_TAPS_MAX);
    tap_attach(&town->served[town->n_served++], stream);
    stream_resume(stream);
}

static void on_served_second(void *owner, struct stream *stream)
{
    struct town *town = owner;
    town->is_of_second[town->n_served] = true;
    on_served(town, stream);
}

void town_open_second(struct town *town)
{
    const struct addr addr = {ip_of(PAY2), town->port};
    int errnum;
    cr_assert_eq(listener_open(town->world.loop, &addr, NULL, on_served_second, town, &town->second,
                               &errnum),
                 0);
}

static void open_app(struct town *town)
{
    const struct addr addr = {ip_of(PAY1), 0};
    int errnum;
    cr_assert_eq(listener_open(town->world.loop, &addr, NULL, on_served, town, &town->app, &errnum),
                 0);
    town->port = listener_addr(town->app).port;
}

/* ------------------------------------------------------------------ the town */

static void open_log(struct town *town)
{
    cr_assert_eq(pipe2(town->log_fds, O_CLOEXEC | O_NONBLOCK), 0);
    log_attach("town");
    log_start(open("/dev/null", O_WRONLY | O_CLOEXEC), town->log_fds[1]);
}

bool town_logged(struct town *town, const char *const *words)
{
    char buf[4096];
    ssize_t len;
    do {
        (void)log_drain();
        while ((len = read(town->log_fds[0], buf, sizeof buf)) > 0)
            text_add(&town->log, str_of(buf, (size_t)len));
    } while (log_drain() > 0);
    struct str rest = text_str(&town->log), line, tail;
    while (str_split(rest, '\n', &line, &tail)) {
        size_t n = 0;
        while (words[n] && str_contains(line, str_from(words[n])))
            n++;
        if (!words[n])
            return true;
        rest = tail;
    }
    fprintf(stderr, "no such line in:\n%.*s", STR_ARG(str_sub(text_str(&town->log), 0, 4000)));
    return false;
}

struct model_workload *town_pay(struct town *town, const char *name, const char *node,
                                const char *address)
{
    struct model_workload *pay = snap_pod(&town->snap, name, node, address);
    pay->trust_domain = STR("east.example");
    return pay;
}

struct model_service *town_service(struct town *town)
{
    struct model_service *service = snap_service(&town->snap, "store", VIP, 6379, town->port);
    for (size_t i = 0; i < town->snap.n; i++) {
        const struct model_resource *resource = town->snap.resources[i];
        if (resource->kind == MODEL_WORKLOAD &&
            str_starts_with(resource->of.workload->name, STR("pay")))
            snap_serve(&town->snap, resource->of.workload, service);
    }
    return service;
}

void town_open(struct town *town)
{
    memset(town, 0, sizeof *town);
    open_log(town);
    world_open(&town->world);
    snap_init(&town->snap, "n1");
    town->set_now = town->set = tls_set_new(1, town->world.trust);
    tls_set_add(town->set, town->world.a);
    tls_set_add(town->set, town->world.b);
    town->trust = town->world.trust;
    town->meter = meter_new();
    open_app(town);
    town->n1.town = town->n2.town = town;
    const uint16_t near_port = open_acceptor(town, &town->n1);
    const uint16_t far_port = open_acceptor(town, &town->n2);
    open_node(town, &town->n1, "n1", near_port, far_port);
    open_node(town, &town->n2, "n2", far_port, near_port);
    snap_pod(&town->snap, "cart", "n1", CART);
    town_pay(town, "pay-1", "n2", PAY1);
    town_learn(town);
}

void town_close(struct town *town)
{
    close_node(&town->n1);
    close_node(&town->n2);
    if (town->audit)
        audit_close(town->audit);
    listener_close(town->app);
    if (town->second)
        listener_close(town->second);
    run_turns(town->world.loop, 5);
    for (unsigned i = 0; i < town->n_served; i++)
        tap_free(&town->served[i]);
    cr_expect_eq(meter_total(METRIC_SOCKETS_OPEN), 0);
    tls_set_free(town->set);
    snap_fini(&town->snap);
    meter_free(town->meter);
    text_fini(&town->log);
    world_close(&town->world);
    log_stop();
    close(town->log_fds[0]);
    close(town->log_fds[1]);
}

static bool is_quiet(void *ctx)
{
    const struct town *town = ctx;
    return walk_flows(town->n1.walk) == 0 && walk_flows(town->n2.walk) == 0;
}

bool town_is_quiet(struct town *town)
{
    return run_until(town->world.loop, is_quiet, town, PATIENCE_MS);
}

/* ------------------------------------------------------------------ calls */

void call_start(struct town_call *call, struct town_node *node, enum arrival_kind kind,
                const char *source, const char *destination_ip, uint16_t port)
{
    struct town *town = node->town;
    const struct addr from = {ip_of(source), 40000}, to = {ip_of(destination_ip), port};
    *call = (struct town_call){.town = town};
    fake_stream_pair(town->world.loop, &call->ours, &call->theirs);
    tap_attach(&call->tap, &call->ours->stream);
    stream_resume(&call->ours->stream);
    walk_start(node->walk, arrival_new(kind, &call->theirs->stream, &from, &to));
}

static bool is_let_go(void *ctx)
{
    return ((const struct town_call *)ctx)->theirs->is_closed;
}

void call_end(struct town_call *call)
{
    if (call->tap.stream)
        tap_close(&call->tap, call->tap.err ? call->tap.err : -ERR_RESET);
    cr_assert(run_until(call->town->world.loop, is_let_go, call, PATIENCE_MS));
    run_turns(call->town->world.loop, 2);
    tap_free(&call->tap);
    fake_stream_free(call->ours);
    fake_stream_free(call->theirs);
}

static bool is_served(void *ctx)
{
    const void *const *goal = ctx;
    const struct town_call *call = goal[0];
    return call->tap.err || call->town->n_served >= *(const unsigned *)goal[1];
}

bool call_echoes(struct town_call *call, unsigned n_served)
{
    struct town *town = call->town;
    const void *goal[] = {call, &n_served};
    if (!run_until(town->world.loop, is_served, goal, PATIENCE_MS) || call->tap.err)
        return false;
    struct tap *served = &town->served[n_served - 1];
    const size_t up = call->tap.n_wrote + 11, down = served->n_wrote + 22;
    (void)tap_write_pattern(&call->tap, up, 11);
    (void)tap_write_pattern(served, down, 22);
    return tap_got(town->world.loop, served, up) && tap_got(town->world.loop, &call->tap, down);
}

bool call_refused(struct town_call *call)
{
    return tap_failed(call->town->world.loop, &call->tap) && call->tap.n_got == 0;
}

void call_say(struct town_call *call, const char *text)
{
    (void)stream_write_copy(call->tap.stream, text, strlen(text));
}

static bool is_nothing_leased(void *ctx)
{
    const struct town *town = ctx;
    return balancer_flows(town->n1.balancer) == 0;
}

bool town_has_leased_nothing(struct town *town)
{
    return run_until(town->world.loop, is_nothing_leased, town, PATIENCE_MS);
}

void town_close_with(struct town *town, struct town_call *call)
{
    struct ip cart;
    cr_assert_eq(ip_parse(STR(CART), &cart), 0);
    call_end(call);
    cr_expect(town_has_leased_nothing(town), "every lease came back");
    http_pool_forget(connector_http_pool(town->n1.connector), &cart);
    cr_expect(town_is_quiet(town));
    town_close(town);
}

int town_dial(const struct listener *door)
{
    const struct sockaddr_in sa = {
        .sin_family = AF_INET,
        .sin_port = htons(listener_addr(door).port),
        .sin_addr = {htonl(INADDR_LOOPBACK)},
    };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert(fd >= 0 && connect(fd, (const struct sockaddr *)&sa, sizeof sa) == 0);
    return fd;
}
