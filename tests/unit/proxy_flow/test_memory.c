/*
 * What an idle connection costs on the heap, both nodes counted: everything that malloc gave out,
 * nghttp2's and libuv's included. The client and the app are bare sockets, which cost the heap
 * nothing.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <malloc.h>
#include <sys/socket.h>
#include <unistd.h>

#include "town.h"

TestSuite(memory, .timeout = 60);

#define N_WARM 20  /* series, pools, maps and the tunnel are there before it is counted */
#define N_IDLE 120 /* four descriptors each, under the usual limit of 1,024 */

/* Of both nodes together, with their share of the tunnels between them. */
#define IDLE_BYTES_MOST 6144

struct pair {
    int client, app;
};

static struct town town;
static int app_fd;
static uint16_t app_port;
static struct listener *door; /* where captured connections come */

static void on_accept(void *owner, struct stream *stream)
{
    const struct addr from = {{4, {10, 0, 0, 1}}, 40000}, to = {{4, {127, 0, 0, 21}}, app_port};
    struct town_node *node = owner;
    walk_start(node->walk, arrival_new(ARRIVAL_OUTBOUND, stream, &from, &to));
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

static int dial_door(void)
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
    pair->client = dial_door();
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

Test(memory, an_idle_connection_costs_little_on_both_nodes_together)
{
    static struct pair pairs[N_WARM + N_IDLE];
    const struct addr any = {{4, {127, 0, 0, 1}}, 0};
    int errnum;
    town_open(&town);
    app_fd = listen_at(PAY1, &app_port);
    cr_assert_eq(listener_open(town.world.loop, &any, NULL, on_accept, &town.n1, &door, &errnum),
                 0);
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
    listener_close(door);
    close(app_fd);
    town_close(&town);
}

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
