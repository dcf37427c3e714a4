/*
 * Copies of requests, and the client whose they are.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "requests_kit.h"

TestSuite(copies, .timeout = 60);

#define GET  "GET / HTTP/1.1\r\nHost: store\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 10\r\n\r\n01234"

#define UPGRADE(method)                                                                            \
    method " / HTTP/1.1\r\nHost: store\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"

static unsigned original, copy; /* connections of the app */

static bool are_asked(void *ctx)
{
    (void)ctx;
    if (town.n_served < 2)
        return false;
    for (unsigned i = 0; i < 2; i++)
        if (times_in(text_str(&town.served[i].got), "\r\n\r\n") == 0)
            return false;
    return true;
}

/* Each request goes to the service's port twice, of which the copy goes to one that speaks so. */
static void open_with_copies(enum app_protocol protocol)
{
    static struct route_mirror mirror;
    town_open(&town);
    struct model_service *second = snap_service(&town.snap, "second", "10.96.0.2", 6380, town.port);
    second->ports[0].app_protocol = protocol;
    for (size_t i = 0; i < town.snap.n; i++)
        if (town.snap.resources[i]->kind == MODEL_WORKLOAD &&
            str_eq(town.snap.resources[i]->of.workload->name, STR("pay-1")))
            snap_serve(&town.snap, town.snap.resources[i]->of.workload, second);
    service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    struct route_rule *rule = snap_route(&town.snap, service);
    mirror = (struct route_mirror){.service = STR("shop/second.shop.svc.clusterset.local"),
                                   .port = 6380,
                                   .per_million = 1000000};
    rule->mirrors = &mirror;
    rule->n_mirrors = 1;
    memset(n_answered, 0, sizeof n_answered);
    start();
}

/* Each request goes twice. */
static void ask(const char *request)
{
    open_with_copies(APP_HTTP11);
    call_say(&call, request);
    cr_assert(run_until(town.world.loop, are_asked, NULL, PATIENCE_MS));
    copy = times_in(text_str(&town.served[0].got), "store-shadow") == 1 ? 0 : 1;
    original = 1 - copy;
    cr_assert_eq(times_in(text_str(&town.served[copy].got), "store-shadow"), 1);
}

static void leave(int err)
{
    stream_close(call.tap.stream, err);
    call.tap.stream = NULL;
}

static bool has_no_flow(void *ctx)
{
    (void)ctx;
    return walk_flows(town.n1.walk) == 0;
}

static void close_town(void)
{
    cr_expect(town_has_leased_nothing(&town));
    close_all();
}

Test(copies, of_a_request_that_came_whole_go_on_without_its_client)
{
    for (int is_answered = 0; is_answered < 2; is_answered++) {
        ask(GET);
        if (is_answered) {
            answer(original, "200");
            cr_assert(run_until(town.world.loop, is_told, "HTTP/1.1 200 ", PATIENCE_MS));
        }

        leave(is_answered ? 0 : -ERR_RESET);
        run_turns(town.world.loop, 20);
        cr_expect_eq(walk_flows(town.n1.walk), 1, "%d", is_answered);
        cr_expect_eq(meter_total(METRIC_MIRRORS), is_answered, "%d: it still runs", is_answered);
        answer(copy, "200");

        cr_expect(run_until(town.world.loop, has_no_flow, NULL, PATIENCE_MS), "%d", is_answered);
        cr_expect_eq(meter_total(METRIC_MIRRORS), is_answered + 1, "%d", is_answered);
        close_town();
    }
}

Test(copies, of_a_request_that_did_not_come_whole_end_with_it)
{
    ask(POST);

    leave(-ERR_RESET);

    cr_expect(run_until(town.world.loop, has_no_flow, NULL, PATIENCE_MS));
    cr_expect(tap_failed(town.world.loop, &town.served[copy]));
    close_town();
}

Test(copies, end_when_the_node_does_or_the_pod_that_asked)
{
    for (int is_drain = 0; is_drain < 2; is_drain++) {
        ask(GET);
        leave(-ERR_RESET);
        run_turns(town.world.loop, 20);
        cr_assert_eq(walk_flows(town.n1.walk), 1);

        if (is_drain) {
            walk_drain(town.n1.walk);
        } else {
            snap_drop(&town.snap, "cart");
            town_learn(&town);
        }

        cr_expect(run_until(town.world.loop, has_no_flow, NULL, PATIENCE_MS), "%d", is_drain);
        cr_expect(tap_failed(town.world.loop, &town.served[copy]));
        close_town();
    }
}

/* HTTP/2 has it for GET alone: policies would have judged another request than comes. */
Test(copies, of_an_upgrade_that_http_2_cannot_say_are_not_sent)
{
    open_with_copies(APP_HTTP2);
    call_say(&call, UPGRADE("POST"));
    unsigned idx;
    cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
    run_turns(town.world.loop, 50);

    cr_expect_eq(town.n_served, 1);
    cr_expect(str_starts_with(text_str(&town.served[idx].got), STR("POST / HTTP/1.1")));
    leave(-ERR_RESET);
    close_town();
}
