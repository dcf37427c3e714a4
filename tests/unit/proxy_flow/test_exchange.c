/*
 * What becomes of an exchange when one of its sides behaves badly: whoever is left gets an answer,
 * and the endpoint its lease back.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/connect/http_pool.h"
#include "town.h"

TestSuite(exchange, .timeout = 60);

#define GET "GET / HTTP/1.1\r\nHost: store\r\n\r\n"

static struct town town;
static struct town_call call;

static void open_with(const struct walk_options *options)
{
    town_open(&town);
    struct model_service *service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    town_walk(&town.n1, options);
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
}

static bool is_nothing_leased(void *ctx)
{
    (void)ctx;
    return balancer_flows(town.n1.balancer) == 0;
}

/* A connection that rests in the pool is a flow of the other node, until its pod goes. */
static void close_all(void)
{
    struct ip cart;
    cr_assert_eq(ip_parse(STR(CART), &cart), 0);
    call_end(&call);
    cr_expect(run_until(town.world.loop, is_nothing_leased, NULL, PATIENCE_MS),
              "every lease came back");
    http_pool_forget(connector_http_pool(town.n1.connector), &cart);
    cr_expect(town_is_quiet(&town));
    town_close(&town);
}

static void say(const char *text)
{
    (void)stream_write_copy(call.tap.stream, text, strlen(text));
}

struct wanted {
    const struct tap *tap;
    const char *part;
    unsigned times;
};

static bool has_come(void *ctx)
{
    const struct wanted *wanted = ctx;
    struct str rest = text_str(&wanted->tap->got);
    unsigned n = 0;
    for (; rest.len >= strlen(wanted->part); rest = str_sub(rest, 1, rest.len))
        n += str_starts_with(rest, str_from(wanted->part));
    return n >= wanted->times;
}

static bool got(const struct tap *tap, const char *part, unsigned times)
{
    struct wanted wanted = {tap, part, times};
    return run_until(town.world.loop, has_come, &wanted, PATIENCE_MS);
}

static bool is_served(void *ctx)
{
    return town.n_served >= *(const unsigned *)ctx;
}

static bool is_asked(unsigned n_served)
{
    return run_until(town.world.loop, is_served, &n_served, PATIENCE_MS) &&
           got(&town.served[n_served - 1], "\r\n\r\n", 1);
}

static void answer(const char *text)
{
    (void)stream_write_copy(town.served[0].stream, text, strlen(text));
}

Test(exchange, requests_that_follow_each_other_share_one_connection_of_the_server)
{
    open_with(&(struct walk_options){0});
    say(GET GET GET);
    for (unsigned i = 1; i <= 3; i++) {
        cr_assert(is_asked(1));
        cr_assert(got(&town.served[0], "GET / HTTP/1.1", i));
        cr_expect_eq(balancer_flows(town.n1.balancer), 1);
        answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        cr_assert(got(&call.tap, "\r\n\r\nok", i));
    }
    cr_expect_eq(town.n_served, 1);
    close_all();
}

Test(exchange, a_server_that_says_nothing_for_the_idle_time_is_answered_for)
{
    open_with(&(struct walk_options){.idle_ns = 100 * NS_PER_MS});
    say(GET);
    cr_assert(is_asked(1));
    cr_expect(got(&call.tap, "HTTP/1.1 504 ", 1));
    close_all();
}

Test(exchange, an_answer_that_is_no_http_is_502)
{
    open_with(&(struct walk_options){0});
    say(GET);
    cr_assert(is_asked(1));
    answer("SSH-2.0-OpenSSH_9.2\r\n\r\n");
    cr_expect(got(&call.tap, "HTTP/1.1 502 ", 1));
    close_all();
}

Test(exchange, a_client_that_leaves_gives_the_lease_back_and_blames_nobody)
{
    open_with(&(struct walk_options){0});
    say(GET);
    cr_assert(is_asked(1));
    tap_close(&call.tap, -ERR_RESET);
    cr_expect(run_until(town.world.loop, is_nothing_leased, NULL, PATIENCE_MS));
    cr_expect_eq(town_blamed(&town.n1), 0);
    close_all();
}

Test(exchange, the_node_may_stop_while_exchanges_run_and_links_rest)
{
    open_with(&(struct walk_options){0});
    say(GET GET);
    cr_assert(is_asked(1));
    answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    cr_assert(got(&town.served[0], "GET / HTTP/1.1", 2));
    town_walk(&town.n1, &(struct walk_options){0});
    cr_expect(tap_failed(town.world.loop, &call.tap) || call.tap.ended);
    cr_expect_eq(balancer_flows(town.n1.balancer), 0);
    cr_expect_eq(town_blamed(&town.n1), 0, "that we stop is no failure of the endpoint");
    close_all();
}
