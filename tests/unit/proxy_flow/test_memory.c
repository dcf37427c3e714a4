/*
 * What an idle connection costs on the heap, both nodes counted: everything that malloc gave out,
 * nghttp2's and libuv's included. The client and the app are bare sockets, which cost the heap
 * nothing.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <malloc.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/connect/http_pool.h"
#include "town.h"

TestSuite(memory, .timeout = 60);

#define N_WARM 20  /* series, pools, maps and the tunnel are there before it is counted */
#define N_IDLE 120 /* four descriptors each, under the usual limit of 1,024 */

/* All of them are less than 10 % above what was measured: 5,364, 2,712 and 3,334 bytes. */

/* Of both nodes together, with their share of the tunnels between them. */
#define IDLE_BYTES_MOST 5800
/* Of the caller's node, to which the client speaks HTTP. */
#define HTTP1_BYTES_MOST 2900
#define HTTP2_BYTES_MOST 3580

struct pair {
    int client, app;
};

static struct town town;
static int app_fd;
static uint16_t app_port;
static struct listener *door; /* where captured connections come */
static struct addr called;    /* by them */

static void on_accept(void *owner, struct stream *stream)
{
    const struct addr from = {{4, {10, 0, 0, 1}}, 40000};
    struct town_node *node = owner;
    walk_start(node->walk, arrival_new(ARRIVAL_OUTBOUND, stream, &from, &called));
}

static int listen_at(const char *ip, uint16_t *out_port)
{
    struct sockaddr_in sa = {.sin_family = AF_INET};
    socklen_t len = sizeof sa;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    cr_assert_eq(inet_pton(AF_INET, ip, &sa.sin_addr), 1);
    cr_assert(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 64) == 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    *out_port = ntohs(sa.sin_port);
    return fd;
}

struct hope {
    int fd;
    int got; /* the connection; or 1, the byte; 0: nothing yet */
};

static bool is_accepted(void *ctx)
{
    struct hope *hope = ctx;
    if (hope->got == 0)
        hope->got = accept4(hope->fd, NULL, NULL, SOCK_CLOEXEC);
    if (hope->got < 0)
        hope->got = 0;
    return hope->got > 0;
}

static bool has_byte(void *ctx)
{
    struct hope *hope = ctx;
    char byte;
    hope->got = hope->got || recv(hope->fd, &byte, 1, MSG_DONTWAIT) == 1;
    return hope->got;
}

/* A byte goes there and back, so that everything is in place that a used connection holds. */
static void open_pair(struct pair *pair)
{
    pair->client = town_dial(door);
    struct hope accepted = {.fd = app_fd};
    cr_assert(run_until(town.world.loop, is_accepted, &accepted, PATIENCE_MS));
    pair->app = accepted.got;
    struct hope there = {.fd = pair->app}, back = {.fd = pair->client};
    cr_assert_eq(write(pair->client, "?", 1), 1);
    cr_assert(run_until(town.world.loop, has_byte, &there, PATIENCE_MS));
    cr_assert_eq(write(pair->app, "!", 1), 1);
    cr_assert(run_until(town.world.loop, has_byte, &back, PATIENCE_MS));
}

static size_t heap_bytes(void)
{
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

static void open_door(void)
{
    const struct addr any = {{4, {127, 0, 0, 1}}, 0};
    int errnum;
    town_open(&town);
    app_fd = listen_at(PAY1, &app_port);
    cr_assert_eq(listener_open(town.world.loop, &any, NULL, on_accept, &town.n1, &door, &errnum),
                 0);
}

static void close_door(void)
{
    listener_close(door);
    close(app_fd);
    town_close(&town);
}

Test(memory, an_idle_connection_costs_little_on_both_nodes_together)
{
    static struct pair pairs[N_WARM + N_IDLE];
    open_door();
    called = (struct addr){{4, {127, 0, 0, 21}}, app_port};
    for (size_t i = 0; i < N_WARM; i++)
        open_pair(&pairs[i]);
    run_turns(town.world.loop, 3);
    const size_t before = heap_bytes();
    for (size_t i = N_WARM; i < N_WARM + N_IDLE; i++)
        open_pair(&pairs[i]);
    run_turns(town.world.loop, 3);
    const size_t each = (heap_bytes() - before) / N_IDLE;
    /* A sanitizer's heap tells nothing. */
    if (before > 0)
        cr_expect_lt(each, IDLE_BYTES_MOST, "%zu bytes a connection", each);

    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        close(pairs[i].client);
        close(pairs[i].app);
    }
    cr_expect(town_is_quiet(&town));
    close_door();
}

/* ---- HTTP ---- */

#define BODY   "all is well"
#define ANSWER "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" BODY

static const char http1_request[] = "GET /some/where?with=a&query HTTP/1.1\r\nHost: store\r\n"
                                    "User-Agent: client/1.2\r\nAccept: */*\r\n\r\n";
/* The preface, SETTINGS, and HEADERS of a GET of "/" with an :authority. */
static const char http2_request[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
                                    "\0\0\0\4\0\0\0\0\0"
                                    "\0\0\12\1\5\0\0\0\1\202\206\204\1\5store";

struct talk {
    int fd;
    const char *end; /* of what is heard */
    char heard[2048];
    size_t len;
};

static bool has_heard(void *ctx)
{
    struct talk *talk = ctx;
    const ssize_t n =
        recv(talk->fd, talk->heard + talk->len, sizeof talk->heard - talk->len, MSG_DONTWAIT);
    talk->len += n > 0 ? (size_t)n : 0;
    return memmem(talk->heard, talk->len, talk->end, strlen(talk->end)) != NULL;
}

static bool hears(int fd, const char *end)
{
    struct talk talk = {.fd = fd, .end = end};
    return run_until(town.world.loop, has_heard, &talk, PATIENCE_MS);
}

/* All requests come to the app by one connection, whatever the client speaks. */
static int ask_app(const char *request, size_t len)
{
    static int app;
    const int client = town_dial(door);
    struct hope accepted = {.fd = app_fd};
    cr_assert_eq(write(client, request, len), (ssize_t)len);
    if (app == 0) {
        cr_assert(run_until(town.world.loop, is_accepted, &accepted, PATIENCE_MS));
        app = accepted.got;
    }
    cr_assert(hears(app, "\r\n\r\n"));
    cr_assert_eq(write(app, ANSWER, sizeof ANSWER - 1), (ssize_t)sizeof ANSWER - 1);
    cr_assert(hears(client, BODY));
    return client;
}

struct allowance {
    size_t before, each_most, each;
};

/* A session is folded when nothing has moved for a while. */
static bool holds_little(void *ctx)
{
    struct allowance *allowance = ctx;
    allowance->each = (heap_bytes() - allowance->before) / N_IDLE;
    return allowance->each <= allowance->each_most;
}

static void expect_idle_to_hold(const char *request, size_t len, size_t bytes_most)
{
    static int clients[N_WARM + N_IDLE];
    open_door();
    struct model_service *service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    service->ports[0].target_port = app_port;
    town_learn(&town);
    called = (struct addr){{4, {10, 96, 0, 1}}, 6379};
    for (size_t i = 0; i < N_WARM; i++)
        clients[i] = ask_app(request, len);
    run_turns(town.world.loop, 3);
    struct allowance allowance = {.before = heap_bytes(), .each_most = bytes_most};
    for (size_t i = N_WARM; i < N_WARM + N_IDLE; i++)
        clients[i] = ask_app(request, len);
    /* A sanitizer's heap tells nothing. */
    if (allowance.before > 0)
        cr_expect(run_until(town.world.loop, holds_little, &allowance, PATIENCE_MS),
                  "%zu bytes a connection", allowance.each);
    for (size_t i = 0; i < ARRAY_LEN(clients); i++)
        close(clients[i]);
    const struct ip cart = {4, {10, 0, 0, 1}};
    cr_expect(town_has_leased_nothing(&town));
    http_pool_forget(connector_http_pool(town.n1.connector), &cart);
    cr_expect(town_is_quiet(&town));
    close_door();
}

Test(memory, an_idle_connection_of_http_1_costs_little)
{
    expect_idle_to_hold(http1_request, sizeof http1_request - 1, HTTP1_BYTES_MOST);
}

Test(memory, an_idle_connection_of_http_2_costs_little_once_it_is_folded)
{
    expect_idle_to_hold(http2_request, sizeof http2_request - 1, HTTP2_BYTES_MOST);
}

/* ---- metrics ---- */

static bool buffers_are_told(void *ctx)
{
    (void)ctx;
    return meter_total(METRIC_BUFFERS_REUSED) > 0 && meter_total(METRIC_BUFFERS_MADE) > 0;
}

Test(memory, buffers_come_from_pools_and_metrics_say_so)
{
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&call, 1));
    cr_expect(run_until(town.world.loop, buffers_are_told, NULL, PATIENCE_MS));
    call_end(&call);
    cr_expect(town_is_quiet(&town));
    town_close(&town);
    cr_expect_eq(meter_total(METRIC_BUFFER_BYTES), 0, "nobody holds a buffer at the end");
}

static bool long_turns_are_told(void *ctx)
{
    (void)ctx;
    return meter_total(METRIC_LONG_TURNS_WORKED) > 0;
}

static void dawdle(struct task *task)
{
    const uint64_t until_ns = clock_thread_ns() + LOOP_LONG_NS;

    (void)task;
    while (clock_thread_ns() < until_ns)
        continue;
}

Test(memory, turns_that_keep_others_waiting_are_told)
{
    struct task task = {.run = dawdle};
    town_open(&town);
    loop_defer(town.world.loop, &task);
    cr_expect(run_until(town.world.loop, long_turns_are_told, NULL, PATIENCE_MS));
    town_close(&town);
}
