/*
 * What a client says first is acknowledged with what answers it only where that is all it has to
 * say: one that writes the rest in a piece of its own may hold it back until then (Nagle's
 * algorithm). The kernel is asked for it with TCP_QUICKACK, which is counted on its way there.
 */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proxy/io/tcp.h"
#include "town.h"

TestSuite(acknowledged, .timeout = 60);

static struct town town;
static struct listener *door; /* where captured connections come */
static unsigned n_acks;

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    n_acks += level == IPPROTO_TCP && name == TCP_QUICKACK && *(const int *)value == 1;
    return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static void on_accept(void *owner, struct stream *stream)
{
    const struct addr from = {{4, {10, 0, 0, 1}}, 40000}, vip = {{4, {10, 96, 0, 1}}, 6379};
    (void)owner;
    walk_start(town.n1.walk, arrival_new(ARRIVAL_OUTBOUND, stream, &from, &vip));
}

static int open_all(enum app_protocol protocol)
{
    const struct addr any = {{4, {127, 0, 0, 1}}, 0};
    const struct listener_options late = {.acks_late = true};
    int errnum;
    town_open(&town);
    town_service(&town)->ports[0].app_protocol = protocol;
    town_learn(&town);
    cr_assert_eq(listener_open(town.world.loop, &any, &late, on_accept, NULL, &door, &errnum), 0);
    n_acks = 0;
    return town_dial(door);
}

static void close_all(int client)
{
    const struct linger reset = {.l_onoff = 1};
    cr_assert_eq(setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
    close(client);
    cr_assert(town_is_quiet(&town));
    listener_close(door);
    town_close(&town);
}

static bool is_acknowledged(void *ctx)
{
    (void)ctx;
    return n_acks > 0;
}

static bool is_asked(void *ctx)
{
    return town.n_served == 1 && str_contains(text_str(&town.served[0].got), str_from(ctx));
}

static void say(int client, const char *text)
{
    cr_assert_eq(write(client, text, strlen(text)), (ssize_t)strlen(text));
}

#define HOST "Host: store\r\n"

Test(acknowledged, a_request_that_comes_whole_is_acknowledged_with_its_answer)
{
    static char get[] = "GET /";
    const int client = open_all(APP_HTTP11);

    say(client, "GET / HTTP/1.1\r\n" HOST "\r\n");

    cr_assert(run_until(town.world.loop, is_asked, get, PATIENCE_MS));
    cr_expect_eq(n_acks, 0);
    close_all(client);
}

Test(acknowledged, what_may_have_a_rest_that_waits_is_acknowledged_at_once)
{
    static const struct {
        const char *what, *first;
    } rows[] = {
        {"part of a first line", "GE"},
        {"part of a head", "GET / HTTP/1.1\r\n" HOST},
        {"a head without its body", "POST / HTTP/1.1\r\n" HOST "Content-Length: 2\r\n\r\n"},
        {"a head without its chunks",
         "PUT / HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n"},
        {"part of the preface", "PRI * HTT"},
        {"the preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const int client = open_all(APP_HTTP11);
        say(client, rows[i].first);
        cr_expect(run_until(town.world.loop, is_acknowledged, NULL, PATIENCE_MS), "%s",
                  rows[i].what);
        cr_expect_eq(n_acks, 1, "%s: %u times", rows[i].what, n_acks);
        close_all(client);
    }
}

Test(acknowledged, of_bytes_that_nobody_understands_nothing_is_acknowledged_late)
{
    const int client = open_all(APP_UNKNOWN);

    cr_expect(run_until(town.world.loop, is_acknowledged, NULL, PATIENCE_MS));

    cr_expect_eq(n_acks, 1);
    close_all(client);
}
