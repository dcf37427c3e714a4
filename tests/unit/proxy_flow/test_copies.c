/*
 * Copies of requests, and the client whose they are.
 */
#include <criterion/criterion.h>
#include <string.h>

#include "requests_kit.h"

TestSuite(copies, .timeout = 60);

#define GET  "GET / HTTP/1.1\r\nHost: store\r\n\r\n"
#define POST "POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 10\r\n\r\n01234"

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

/* Each request goes to the service twice. */
static void ask(const char *request)
{
    static struct route_mirror mirror;
    town_open(&town);
    service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    struct route_rule *rule = snap_route(&town.snap, service);
    mirror = (struct route_mirror){.service = rule->backends[0].service,
                                   .port = rule->backends[0].port,
                                   .per_million = 1000000};
    rule->mirrors = &mirror;
    rule->n_mirrors = 1;
    memset(n_answered, 0, sizeof n_answered);
    start();
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
