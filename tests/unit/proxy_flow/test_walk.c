#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/flow/walk.h"
#include "proxy/meter/process.h"
#include "town.h"

TestSuite(walk, .timeout = 60);

static struct town town;

static void finish(struct town_call *call)
{
    call_end(call);
    cr_expect(town_is_quiet(&town));
}

Test(walk, a_pod_reaches_a_service_on_another_node_under_its_identity)
{
    struct town_call call;
    town_open(&town);
    town_service(&town);
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_assert(call_echoes(&call, 1));
    cr_expect_eq(walk_flows(town.n1.walk), 1);
    cr_expect_eq(walk_flows(town.n2.walk), 1);
    cr_expect_eq(balancer_flows(town.n1.balancer), 1);
    cr_expect_eq(meter_total(METRIC_TUNNEL_STREAMS_OPEN), 2, "it leaves n1, it comes to n2");
    stream_shutdown(call.tap.stream);
    cr_assert(tap_ended(town.world.loop, &town.served[0]));
    stream_shutdown(town.served[0].stream);
    cr_assert(tap_ended(town.world.loop, &call.tap));
    cr_expect(town_is_quiet(&town));

    cr_expect_eq(balancer_flows(town.n1.balancer), 0, "the lease came back");
    cr_expect_eq(meter_total(METRIC_TUNNEL_STREAMS_OPEN), 0);
    cr_expect_eq(meter_total(METRIC_BYTES_TUNNELLED), 2 * (11 + 22), "on each of both nodes");
    cr_expect_eq(meter_total(METRIC_BYTES_COPIED), 0);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"ok\"", "\"mtls\":true",
                     "\"src.identity\":\"" ID_A "\"", "\"dst.identity\":\"" ID_B "\"",
                     "\"bytes_sent\":11,\"bytes_recv\":22"));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"ok\"", "\"mtls\":true",
                     "\"src.identity\":\"" ID_A "\"", "\"dst.workload\":\"pay-1\"",
                     "\"bytes_sent\":22,\"bytes_recv\":11"));
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"",
                     "\"dst.service\":\"store.shop.svc.clusterset.local\"",
                     "\"dst.hbone_addr\":\"" PAY1));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"",
                     "\"dst.service\":\"store.shop.svc.clusterset.local\""));
    struct text page = {0};
    struct traffic_report *report = traffic_report_of(town.n1.traffic);
    traffic_report_write(report, &page);
    traffic_report_free(report);
    cr_expect(str_contains(text_str(&page), STR("reporter=\"source\"")));
    cr_expect(str_contains(text_str(&page), STR("connection_security_policy=\"mutual_tls\"")));
    text_fini(&page);
    finish(&call);
    town_close(&town);
}

Test(walk, a_pod_reaches_a_pod_by_its_address_and_tunnels_are_shared)
{
    town_open(&town);
    for (unsigned i = 1; i <= 3; i++) {
        struct town_call call;
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        cr_expect(call_echoes(&call, i));
        finish(&call);
    }
    cr_expect_eq(meter_total(METRIC_TUNNELS_OPENED), 1);
    town_close(&town);
}

Test(walk, what_nobody_knows_passes_through_in_plain)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_echoes(&call, 1));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"mtls\":false"));
    cr_expect_eq(meter_total(METRIC_TUNNELS_OPENED), 0);
    cr_expect_eq(meter_total(METRIC_BYTES_COPIED), 11 + 22);
    cr_expect_eq(meter_total(METRIC_BYTES_TUNNELLED), 0);
    town_close(&town);
}

Test(walk, pods_of_one_node_meet_without_tls_and_are_reported_by_both_sides)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-1", "n1", PAY1);
    snap_policy(&town.snap, "let-cart-in", POLICY_ALLOW, "west.example/ns/shop/sa/cart");
    town_service(&town);
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(call_echoes(&call, 1));
    finish(&call);

    cr_expect_eq(meter_total(METRIC_TUNNELS_OPENED), 0);
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"policy\":\"shop/let-cart-in\""));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"policy\":\"shop/let-cart-in\""));
    town_close(&town);
}

static bool is_at_the_app(void *ctx)
{
    (void)ctx;
    return town.n_served > 0;
}

/* P10: a listener that guesses what comes would wait for the caller's first bytes, or take its TLS
 * for ours. */
Test(walk, p10_plaintext_is_not_sniffed)
{
    static const char hello[] = "\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03"; /* of the app's */
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n2, ARRIVAL_PLAINTEXT, CART, PAY1, town.port);
    cr_assert(run_until(town.world.loop, is_at_the_app, NULL, PATIENCE_MS),
              "it waits for the caller to speak");

    (void)tap_write_pattern(&town.served[0], 22, 22);
    cr_expect(tap_got(town.world.loop, &call.tap, 22), "a server that speaks first is not heard");
    (void)stream_write_copy(call.tap.stream, hello, sizeof hello - 1);
    cr_assert(run_until_count(town.world.loop, &town.served[0].n_reads, 1, PATIENCE_MS));
    cr_expect(str_eq(text_str(&town.served[0].got), str_of(hello, sizeof hello - 1)));

    finish(&call);
    town_close(&town);
}

Test(walk, an_endpoint_that_refuses_is_passed_over_for_another)
{
    town_open(&town);
    town_pay(&town, "pay-2", "n2", PAY2);
    town_service(&town);
    town_learn(&town);
    const uint64_t started_ns = clock_mono_ns();

    for (unsigned i = 1; i <= 40; i++) { /* each picks one of the two */
        struct town_call call;
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
        cr_expect(call_echoes(&call, i), "call %u", i);
        finish(&call);
    }

    const uint64_t rests = (clock_mono_ns() - started_ns) / SUSPECT_MIN_NS;
    const uint64_t n_retries = (uint64_t)meter_total(METRIC_CONNECT_RETRIES);
    cr_expect(n_retries >= 1 && n_retries <= 1 + rests, "the suspect is not asked again at once");
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"attempts\":2"));
    town_close(&town);
}

Test(walk, when_every_endpoint_refuses_the_reason_is_the_last_ones)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n2", PAY2);
    town_pay(&town, "pay-3", "n2", "127.0.0.23");
    town_service(&town);
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(call_refused(&call));
    finish(&call);

    cr_expect(LOGGED(&town, "\"why\":\"tunnel_unavailable\"", "503", "\"attempts\":2"));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"refused\""));
    cr_expect_eq(meter_total(METRIC_CONNECT_RETRIES), 1);
    town_close(&town);
}

Test(walk, a_service_without_endpoints_has_no_healthy_upstream)
{
    struct town_call call;
    town_open(&town);
    snap_service(&town.snap, "empty", "10.96.0.9", 80, 80);
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, "10.96.0.9", 80);
    cr_expect(call_refused(&call));
    finish(&call);

    cr_expect(LOGGED(&town, "\"why\":\"no_healthy_upstream\"",
                     "\"dst.service\":\"empty.shop.svc.clusterset.local\""));
    town_close(&town);
}

/* An address that drops packets, outside the mesh. */
static int hole_fds[4];

static void dig_hole(const char *address, uint16_t port)
{
    struct addr addr = {.port = port};
    struct sockaddr_storage sa;
    cr_assert_eq(ip_parse(str_from(address), &addr.ip), 0);
    const socklen_t len = addr_to_sockaddr(&addr, &sa);
    hole_fds[0] = socket(AF_INET, SOCK_STREAM, 0);
    cr_assert_eq(bind(hole_fds[0], (struct sockaddr *)&sa, len), 0);
    cr_assert_eq(listen(hole_fds[0], 0), 0);
    for (int i = 1; i < 4; i++) {
        hole_fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void)connect(hole_fds[i], (struct sockaddr *)&sa, len);
    }
}

static void fill_hole(void)
{
    for (int i = 0; i < 4; i++)
        close(hole_fds[i]);
}

Test(walk, a_silent_endpoint_costs_little_while_another_is_left)
{
    struct town_call call;
    town_open(&town);
    town_pay(&town, "pay-2", "n9", PAY2)->speaks_hbone = false;
    town_service(&town);
    town_learn(&town);
    dig_hole(PAY2, town.port);
    town_walk(&town.n1, &(struct walk_options){.attempt_ns = 500 * NS_PER_MS});
    const uint64_t started_ns = clock_mono_ns();

    for (unsigned i = 1; i <= 6; i++) {
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
        cr_expect(call_echoes(&call, i), "call %u", i);
        finish(&call);
    }

    cr_expect_lt(clock_mono_ns() - started_ns, LONG_NS / 2);
    fill_hole();
    town_close(&town);
}

Test(walk, endpoints_that_are_not_ready_do_not_cut_the_time_of_the_one_that_is)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n9", PAY2)->speaks_hbone = false;
    town_pay(&town, "pay-3", "n9", "127.0.0.23")->is_healthy = false;
    town_service(&town);
    town_learn(&town);
    dig_hole(PAY2, town.port);
    town_walk(&town.n1,
              &(struct walk_options){.attempt_ns = 20 * NS_PER_MS, .connect_ns = 300 * NS_PER_MS});
    const uint64_t started_ns = clock_mono_ns();

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(call_refused(&call));

    cr_expect_geq(clock_mono_ns() - started_ns, 290 * NS_PER_MS);
    finish(&call);
    cr_expect(LOGGED(&town, "\"why\":\"connect_timeout\""));
    fill_hole();
    town_close(&town);
}

Test(walk, the_last_attempt_has_all_the_time_that_is_left)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n9", PAY2)->speaks_hbone = false;
    town_pay(&town, "pay-3", "n9", PAY2)->speaks_hbone = false; /* both lead into the hole */
    town_service(&town);
    town_learn(&town);
    dig_hole(PAY2, town.port);
    town_walk(&town.n1, &(struct walk_options){.attempt_ns = 20 * NS_PER_MS,
                                               .connect_ns = 300 * NS_PER_MS,
                                               .max_attempts = 1});
    const uint64_t started_ns = clock_mono_ns();

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(call_refused(&call));

    cr_expect_geq(clock_mono_ns() - started_ns, 290 * NS_PER_MS);
    finish(&call);
    fill_hole();
    town_close(&town);
}

Test(walk, a_client_that_left_while_connecting_ends_the_flow_as_its_reset)
{
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);

    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"client_reset\""));
    town_close(&town);
}

Test(walk, a_reset_of_the_server_reaches_the_client_with_its_reason)
{
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&call, 1));

    tap_close(&town.served[0], -ERR_RESET);
    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"upstream_reset\""));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"upstream_reset\""));
    town_close(&town);
}

Test(walk, a_flow_on_which_nothing_moves_ends_with_the_idle_timeout)
{
    struct town_call call;
    town_open(&town);
    town_walk(&town.n1, &(struct walk_options){.idle_ns = 500 * NS_PER_MS});
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&call, 1));

    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"idle_timeout\""));
    town_close(&town);
}

Test(walk, who_was_there_before_the_drain_is_told_from_who_came_since)
{
    struct town_call old, young;
    town_open(&town);
    call_start(&old, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&old, 1));
    cr_expect_not(walk_has_old(town.n1.walk), "nobody drains");

    walk_drain(town.n1.walk);
    call_start(&young, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&young, 2));
    walk_drain(town.n1.walk); /* once more, which makes nobody older */
    cr_expect(walk_has_old(town.n1.walk));
    call_end(&old);
    cr_expect_not(walk_has_old(town.n1.walk));

    finish(&young);
    town_close(&town);
}

Test(walk, its_end_cuts_flows_in_every_state)
{
    for (unsigned n_turns = 0; n_turns < 60; n_turns += 4) {
        struct town_call call;
        town_open(&town);
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        run_turns(town.world.loop, n_turns);

        town_walk(&town.n1, &(struct walk_options){0}); /* frees the one there was */
        cr_expect(tap_failed(town.world.loop, &call.tap), "after %u turns", n_turns);
        finish(&call);

        cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"shutdown\""));
        town_close(&town);
    }
}

static unsigned n_shown_in(const struct text *out)
{
    unsigned n = 0;
    for (const char *at = out->ptr; at && (at = strstr(at, "{\"id\":")); at++)
        n++;
    return n;
}

static uint64_t first_id_in(const struct text *out)
{
    const char *at = strstr(out->ptr, "{\"id\":");
    return at ? strtoull(at + strlen("{\"id\":"), NULL, 10) : 0;
}

Test(walk, a_listing_goes_page_by_page_and_shows_once_who_lives_meanwhile)
{
    enum { CALLS = 5 };

    struct town_call calls[CALLS + 1];
    struct text first = {0}, second = {0}, last = {0};
    struct flow_page page = {.max = 2};
    town_open(&town);
    for (unsigned i = 0; i < CALLS; i++) {
        call_start(&calls[i], &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        cr_assert(call_echoes(&calls[i], i + 1));
    }

    walk_page(town.n1.walk, &page, &first);
    const uint64_t id_of_call_1 = page.after_id;
    call_end(&calls[1]); /* at which the page ended */
    call_end(&calls[2]); /* the next to come */
    call_start(&calls[CALLS], &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&calls[CALLS], CALLS + 1));
    walk_page(town.n1.walk, &page, &second);
    cr_expect(page.has_more);
    walk_page(town.n1.walk, &page, &last);
    cr_expect_not(page.has_more, "who began since is not waited for");

    cr_expect_eq(n_shown_in(&first), 2);
    cr_expect_eq(n_shown_in(&second), 2);
    cr_expect_eq(last.len, 0);
    cr_expect_gt(first_id_in(&second), id_of_call_1);
    call_end(&calls[0]);
    for (unsigned i = 3; i <= CALLS; i++)
        call_end(&calls[i]);
    cr_expect(town_is_quiet(&town));
    text_fini(&first);
    text_fini(&second);
    text_fini(&last);
    town_close(&town);
}

Test(walk, shows_its_flows_by_state_and_not_more_than_asked_for)
{
    struct town_call calls[3];
    struct text all = {0}, some = {0}, none = {0};
    town_open(&town);
    for (unsigned i = 0; i < 3; i++) {
        call_start(&calls[i], &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        cr_assert(call_echoes(&calls[i], i + 1));
    }

    struct flow_page pages[] = {{.max = 100},
                                {.state = STR("pumping"), .max = 2},
                                {.state = STR("connecting"), .max = 100}};
    walk_page(town.n1.walk, &pages[0], &all);
    walk_page(town.n1.walk, &pages[1], &some);
    walk_page(town.n1.walk, &pages[2], &none);
    cr_expect(!pages[0].has_more && pages[1].has_more && !pages[2].has_more);

    unsigned n = 0;
    for (const char *at = all.ptr; (at = strstr(at, "\"state\":\"pumping\"")); at++)
        n++;
    cr_expect_eq(n, 3);
    cr_expect_not_null(strstr(all.ptr, "\"bytes_received\":11,\"bytes_sent\":22"));
    cr_expect_not_null(strstr(some.ptr, "},{"));
    cr_expect_lt(some.len, all.len);
    cr_expect_eq(none.len, 0);
    for (unsigned i = 0; i < 3; i++)
        call_end(&calls[i]);
    cr_expect(town_is_quiet(&town));
    text_fini(&all);
    text_fini(&some);
    town_close(&town);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__clang__) /* which keeps what is freed */

#define BLOCKS      4096
#define BLOCK_BYTES 16384
#define MIB         (UINT64_C(1) << 20)

Test(walk, memory_that_is_free_again_ends_the_strain)
{
    static void *blocks[BLOCKS];
    town_open(&town);
    for (size_t i = 0; i < BLOCKS; i++)
        blocks[i] = memset(mem_alloc(BLOCK_BYTES), 1, BLOCK_BYTES);
    void *above = mem_alloc(BLOCK_BYTES); /* so that it does not end with the heap */
    const uint64_t bound = process_resident_bytes() - 8 * MIB;
    town_walk(&town.n1, &(struct walk_options){.max_memory_bytes = bound});
    struct walk *walk = town.n1.walk;
    walk_sample(walk, 0);
    cr_expect_eq(walk->overload.strain, STRAIN_MEMORY, "it is in use");
    for (size_t i = 0; i < BLOCKS; i++)
        mem_free(blocks[i]);
    walk->trim_due_ns = 0;
    walk_sample(walk, 0);
    cr_expect_eq(walk->overload.strain, STRAIN_NONE, "%llu of %llu MiB are in use",
                 (unsigned long long)(process_resident_bytes() / MIB),
                 (unsigned long long)(bound / MIB));
    mem_free(above);
    town_close(&town);
}

#endif
