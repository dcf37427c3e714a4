#include "bench/micro/two_nodes.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/accept/acceptor.h"
#include "proxy/audit/audit.h"
#include "proxy/base/clock.h"
#include "proxy/flow/walk.h"
#include "proxy/io/tcp.h"
#include "proxy/meter/traffic.h"
#include "tests/kit/snap.h"
#include "tests/kit/test_ca.h"

#define CART_ID "spiffe://west.example/ns/shop/sa/cart"
#define PAY_ID  "spiffe://west.example/ns/shop/sa/pay"
#define BLOCK   65536
/* Which a client's kernel takes in turn. */
#define FIRST_PORT 32768
#define PORTS      28232

struct node {
    struct snapshot *snapshot;
    const struct snapshot *snapshot_now;
    struct walk *walk;
};

static struct {
    struct loop *loop;
    struct meter *meter;
    struct trust *trust;
    const struct trust *trust_now;
    struct tls_set *set;
    const struct tls_set *set_now;
    struct snap snap;
    struct node near, far;
    struct audit_pen *pen;  /* NULL: nothing is told */
    struct acceptor *doors; /* of n2 */
    struct listener *captured;
    unsigned n_captured;
    enum route route;    /* of the connection that is being captured */
    int app_fds[ROUTES]; /* by route: they listen */
    struct addr apps[ROUTES];
    struct addr called[ROUTES]; /* what the client thinks it calls */
} world;

static const struct addr cart = {{4, {10, 0, 0, 1}}, 0};

static void on_arrival(void *owner, struct arrival *arrival)
{
    struct node *node = owner;
    walk_start(node->walk, arrival);
}

/* What capture would say: cart called the app. */
static void on_captured(void *owner, struct stream *stream)
{
    struct addr client = cart;
    client.port = (uint16_t)(FIRST_PORT + world.n_captured++ % PORTS);
    on_arrival(owner, arrival_new(ARRIVAL_OUTBOUND, stream, &client, &world.called[world.route]));
}

static void add_identity(const struct test_ca *ca, const char *id)
{
    struct svid *svid = test_svid_new(ca, id);
    struct tls_identity *identity;
    const int err = tls_identity_new(svid, &identity);
    ensure(err == 0);
    tls_set_add(world.set, identity);
}

static void open_trust(void)
{
    struct test_ca *ca = test_ca_new("west.example");
    test_trust_add(&world.trust, "west.example", ca);
    world.trust_now = world.trust;
    world.set_now = world.set = tls_set_new(1, world.trust);
    add_identity(ca, CART_ID);
    add_identity(ca, PAY_ID);
    test_ca_free(ca);
}

static uint16_t open_doors(void)
{
    static const struct addr loopback = {{4, {127, 0, 0, 1}}, 0};
    const struct acceptor_options options = {
        .outbound = loopback,
        .inbound = loopback,
        .tunnels = {.handshake_ns = 20 * NS_PER_SEC,
                    .snapshot = &world.far.snapshot_now,
                    .tls = &world.set_now,
                    .trust = &world.trust_now},
    };
    struct text why = {0};
    int errnum;
    const int err = acceptor_open(world.loop, &options, world.meter, on_arrival, &world.far,
                                  &world.doors, &why);
    ensure(err == 0);
    ensure(listener_open(world.loop, &loopback, NULL, on_captured, &world.near, &world.captured,
                         &errnum) == 0);
    return acceptor_addr(world.doors, ARRIVAL_TUNNEL).port;
}

static void open_node(struct node *node, const char *name, uint16_t tunnel_port,
                      size_t splice_after_bytes)
{
    const struct connector_options connector = {
        .tunnel_port = tunnel_port, .connect_ns = 5 * NS_PER_SEC, .handshake_ns = 20 * NS_PER_SEC};
    const struct walk_options options = {
        .own = {15001, 15006, 15008},
        .attempt_ns = NS_PER_SEC,
        .connect_ns = 5 * NS_PER_SEC,
        .idle_ns = 3600 * NS_PER_SEC,
        .half_close_ns = 60 * NS_PER_SEC,
        .splice_after_bytes = splice_after_bytes,
        .max_flows = 1000,
        .max_attempts = 3,
    };
    const struct walk_tools tools = {
        .loop = world.loop,
        .snapshot = &node->snapshot_now,
        .connector =
            connector_new(world.loop, &connector, &world.set_now, &world.trust_now, world.meter),
        .balancer = balancer_new(world.meter, 1),
        .traffic = traffic_new(),
        .meter = world.meter,
        .audit = world.pen,
    };
    world.snap.vantage.node = str_from(name);
    node->snapshot_now = node->snapshot = snap_build(&world.snap);
    node->walk = walk_new(&tools, &options);
}

static void open_app(enum route route, uint8_t last_byte)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t len = sizeof sa;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    sa.sin_addr.s_addr = htonl(INADDR_LOOPBACK - 1 + last_byte);
    ensure(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 64) == 0);
    ensure(getsockname(fd, (struct sockaddr *)&sa, &len) == 0);
    world.app_fds[route] = fd;
    world.apps[route] = (struct addr){{4, {127, 0, 0, last_byte}}, ntohs(sa.sin_port)};
    world.called[route] = world.apps[route];
}

static void open_http_app(void)
{
    struct model_workload *pod = snap_pod(&world.snap, "shelf", "n1", "127.0.0.33");
    open_app(ROUTE_HTTP, 33);
    struct model_service *service =
        snap_service(&world.snap, "shelf", "10.201.0.1", 80, world.apps[ROUTE_HTTP].port);
    service->ports[0].app_protocol = APP_HTTP11;
    snap_serve(&world.snap, pod, service);
    struct model_service *other =
        snap_service(&world.snap, "shelf2", "10.201.0.2", 80, world.apps[ROUTE_HTTP].port);
    other->ports[0].app_protocol = APP_HTTP2;
    snap_serve(&world.snap, pod, other);
    world.called[ROUTE_HTTP] = (struct addr){{4, {10, 201, 0, 1}}, 80};
    world.called[ROUTE_HTTP2] = (struct addr){{4, {10, 201, 0, 2}}, 80};
    world.app_fds[ROUTE_HTTP2] = world.app_fds[ROUTE_HTTP];
}

void nodes_audit(void)
{
    static struct audit_pen pen = {.wants_verdicts = true, .wants_ends = true};
    audit_pen_init(&pen, AUDIT_RING_BYTES, "bench", 0);
    world.pen = &pen;
}

void nodes_open(size_t splice_after_bytes)
{
    world.loop = loop_new();
    world.meter = meter_new();
    open_trust();
    snap_init(&world.snap, "n1");
    snap_pod(&world.snap, "cart", "n1", "10.0.0.1");
    snap_pod(&world.snap, "till", "n1", "127.0.0.31");
    snap_pod(&world.snap, "pay", "n2", "127.0.0.32");
    open_app(ROUTE_PLAIN, 31);
    open_app(ROUTE_TUNNEL, 32);
    open_http_app();
    const uint16_t tunnel_port = open_doors();
    open_node(&world.near, "n1", tunnel_port, splice_after_bytes);
    open_node(&world.far, "n2", tunnel_port, splice_after_bytes);
}

static void tune(int fd)
{
    const int one = 1;
    ensure(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) == 0);
}

static int dial(void)
{
    const struct sockaddr_in sa = {.sin_family = AF_INET,
                                   .sin_port = htons(listener_addr(world.captured).port),
                                   .sin_addr = {htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ensure(fd >= 0 && connect(fd, (const struct sockaddr *)&sa, sizeof sa) == 0);
    tune(fd);
    return fd;
}

void nodes_send(int fd, const void *bytes, size_t len)
{
    ensure(write(fd, bytes, len) == (ssize_t)len);
}

size_t nodes_read(int fd, void *into, size_t room)
{
    for (;;) {
        const ssize_t n_read = recv(fd, into, room, MSG_DONTWAIT);
        if (n_read > 0)
            return (size_t)n_read;
        ensure(n_read < 0 && errno == EAGAIN);
        loop_turn(world.loop, true);
    }
}

struct wire nodes_connect(enum route route)
{
    return nodes_connect_asking(route, NULL, 0);
}

struct wire nodes_call(enum route route, const void *first, size_t len)
{
    world.route = route;
    const struct wire wire = {.client = dial(), .app = -1};
    if (len > 0)
        nodes_send(wire.client, first, len);
    return wire;
}

struct wire nodes_connect_asking(enum route route, const void *first, size_t len)
{
    struct wire wire = nodes_call(route, first, len);
    for (;;) {
        wire.app = accept4(world.app_fds[route], NULL, NULL, SOCK_CLOEXEC);
        if (wire.app >= 0)
            break;
        loop_turn(world.loop, true);
    }
    tune(wire.app);
    return wire;
}

void nodes_disconnect(struct wire *wire)
{
    const struct linger at_once = {.l_onoff = 1};
    ensure(setsockopt(wire->client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(wire->client);
    while (walk_flows(world.near.walk) + walk_flows(world.far.walk) > 0)
        loop_turn(world.loop, true);
    if (wire->app >= 0)
        close(wire->app);
}

void nodes_move(int from, int to, size_t bytes)
{
    static char block[BLOCK];
    size_t left = bytes;
    ensure(bytes <= BLOCK && write(from, block, bytes) == (ssize_t)bytes);
    while (left > 0) {
        const ssize_t n_read = recv(to, block, left, MSG_DONTWAIT);
        if (n_read > 0)
            left -= (size_t)n_read;
        else
            loop_turn(world.loop, true);
    }
}

void nodes_take_snapshot(void)
{
    static struct snapshot *other;
    if (!other) {
        world.snap.vantage.node = STR("n1");
        other = snap_build(&world.snap);
    }
    struct node *near = &world.near;
    near->snapshot_now = near->snapshot_now == other ? near->snapshot : other;
    walk_recheck(near->walk);
    /* Where the machine was too slow for all of it in one turn: how many turns is its affair. */
    if (walk_is_rechecking(near->walk))
        chore_finish(&near->walk->sweeps[SWEEP_RECHECK].chore);
}
