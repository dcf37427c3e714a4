/* What is refused, how the caller hears of it, and the reason that is written down. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "proxy/http/h2.h"
#include "proxy/meter/series.h"
#include "town.h"

TestSuite(refusals, .timeout = 60);

static struct town town;

static void finish(struct town_call *call)
{
    call_end(call);
    cr_expect(town_is_quiet(&town));
}

/* A service whose pod lets nobody in is called, and refuses. */
static void call_where_nobody_may(void)
{
    struct town_call call;
    town_open(&town);
    town_service(&town);
    snap_policy(&town.snap, "nobody", POLICY_DENY, NULL);
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
    cr_expect(call_refused(&call));
    finish(&call);
}

Test(refusals, a_policy_of_the_destination_denies_and_both_sides_say_so)
{
    call_where_nobody_may();

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"tunnel_denied\"",
                     "http status: 401 Unauthorized"));
    cr_expect(
        LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"denied\"",
               "connection closed due to policy rejection: explicitly denied by: shop/nobody"));
    cr_expect_eq(town.n_served, 0);
    cr_expect_eq(meter_total(METRIC_CONNECT_RETRIES), 0, "what is denied is not asked elsewhere");
    town_close(&town);
}

Test(refusals, a_denial_says_nothing_bad_of_the_endpoint)
{
    call_where_nobody_may();

    cr_expect_eq(town_blamed(&town.n1), 0, "others may be allowed to use it");
    town_close(&town);
}

Test(refusals, an_allow_policy_for_others_denies)
{
    struct town_call call;
    town_open(&town);
    snap_policy(&town.snap, "others", POLICY_ALLOW, "west.example/ns/shop/sa/other");
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_refused(&call));
    finish(&call);

    cr_expect(LOGGED(&town, "\"why\":\"denied\"", "allow policies exist, but none allowed"));
    town_close(&town);
}

Test(refusals, a_dry_run_denial_is_noted_and_lets_it_pass)
{
    struct town_call call;
    town_open(&town);
    snap_policy(&town.snap, "trial", POLICY_DENY, NULL)->dry_run = true;
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_echoes(&call, 1));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"policy.dry_run\":\"shop/trial\""));
    town_close(&town);
}

Test(refusals, on_one_node_the_same_policy_holds)
{
    struct town_call call;
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-1", "n1", PAY1);
    snap_policy(&town.snap, "nobody", POLICY_DENY, NULL);
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_refused(&call));
    finish(&call);

    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"denied\"", "shop/nobody"));
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"denied\"", "shop/nobody"));
    cr_expect_eq(town.n_served, 0);
    town_close(&town);
}

Test(refusals, of_what_is_called_and_by_whom)
{
    const struct {
        const char *what;
        enum arrival_kind kind;
        const char *source, *destination;
        uint16_t port; /* 0: the app's */
        const char *why;
    } rows[] = {
        {"nobody's address", ARRIVAL_OUTBOUND, "10.7.7.7", PAY1, 0, "\"why\":\"unknown_source\""},
        {"a pod of another node", ARRIVAL_OUTBOUND, PAY1, PAY1, 0, "\"why\":\"unknown_source\""},
        {"our outbound port", ARRIVAL_OUTBOUND, CART, PAY1, 15001, "\"why\":\"self_call\""},
        {"our tunnel port", ARRIVAL_OUTBOUND, CART, PAY1, 15008, "\"why\":\"self_call\""},
        {"a port the VIP has not", ARRIVAL_OUTBOUND, CART, VIP, 6380, "\"why\":\"no_such_port\""},
        {"a pod that is not here", ARRIVAL_PLAINTEXT, CART, PAY1, 0,
         "\"why\":\"unknown_destination\""},
        {"our plaintext port", ARRIVAL_PLAINTEXT, "192.0.2.1", CART, 15006,
         "\"why\":\"self_call\""},
    };

    town_open(&town);
    town_service(&town);
    town_learn(&town);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct town_call call;
        call_start(&call, &town.n1, rows[i].kind, rows[i].source, rows[i].destination,
                   rows[i].port ? rows[i].port : town.port);
        cr_expect(call_refused(&call), "%s", rows[i].what);
        finish(&call);
        cr_expect(LOGGED(&town, rows[i].why), "%s", rows[i].what);
        text_clear(&town.log);
    }
    cr_expect_eq(town.n_served, 0);
    town_close(&town);
}

Test(refusals, before_the_first_state_there_is_no_walk)
{
    struct town_call call;
    town_open(&town);
    town.snap.is_unsynced = true;
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_refused(&call));
    finish(&call);
    town.n1.snapshot_now = NULL;
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_refused(&call));
    finish(&call);

    cr_expect(LOGGED(&town, "\"why\":\"not_synced\""));
    town_close(&town);
}

Test(refusals, beyond_its_bound_a_worker_sheds)
{
    struct town_call first, second, third;
    town_open(&town);
    town_walk(&town.n1, &(struct walk_options){.max_flows = 1});
    call_start(&first, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_assert(call_echoes(&first, 1));

    call_start(&second, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_refused(&second));
    call_end(&second);
    cr_expect_eq(meter_total(METRIC_FLOWS_SHED), 1);
    cr_expect(LOGGED(&town, "\"why\":\"overload\""));
    finish(&first);
    call_start(&third, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_echoes(&third, 2), "there is room again");
    finish(&third);
    town_close(&town);
}

Test(refusals, plaintext_is_nobodys_call_and_policy_decides)
{
    struct town_call call;
    town_open(&town);
    call_start(&call, &town.n2, ARRIVAL_PLAINTEXT, CART, PAY1, town.port);
    cr_expect(call_echoes(&call, 1));
    finish(&call);
    cr_expect(
        LOGGED(&town, "\"direction\":\"inbound\"", "\"mtls\":false", "\"src.workload\":\"cart\""));
    cr_expect_not(str_contains(text_str(&town.log), STR("src.identity")), "it proved none");

    snap_policy(&town.snap, "cart-only", POLICY_ALLOW, "west.example/ns/shop/sa/cart");
    town_learn(&town);
    call_start(&call, &town.n2, ARRIVAL_PLAINTEXT, CART, PAY1, town.port);
    cr_expect(call_refused(&call));
    finish(&call);
    cr_expect(LOGGED(&town, "\"why\":\"denied\""));
    town_close(&town);
}

/* ---- a peer that speaks HBONE by hand ---- */

struct hand {
    struct side side;
    struct h2 *h2;
    struct stream *stream;
    bool has_head, end_stream, is_dead;
    int err;
    char status[8];
};

static void on_head(void *owner, const struct h2_head *head)
{
    struct hand *hand = owner;
    snprintf(hand->status, sizeof hand->status, "%.*s", STR_ARG(h2_find(head, ":status")));
    hand->end_stream = head->end_stream;
    hand->has_head = true;
}

static void on_hand_fail(void *owner, int err)
{
    struct hand *hand = owner;
    hand->err = err;
    hand->has_head = true;
}

static void on_nothing(void *owner, struct slice bytes)
{
    (void)owner, (void)bytes;
}

static void on_hand_end(void *owner)
{
    (void)owner;
}

static const struct h2_stream_events head_events = {.on_head = on_head};
static const struct stream_events body_events = {
    .on_data = on_nothing, .on_end = on_hand_end, .on_fail = on_hand_fail};

static void on_hand_dead(void *owner, int err, struct str why)
{
    struct hand *hand = owner;
    (void)err, (void)why;
    hand->is_dead = true;
}

static const struct h2_events hand_events = {.on_dead = on_hand_dead};

static void on_dialled(void *owner, int err, struct stream *stream)
{
    cr_assert_eq(err, 0);
    *(struct stream **)owner = stream;
}

static bool is_dialled(void *ctx)
{
    return *(struct stream **)ctx != NULL;
}

/* A tunnel as cart to the pod at 127.0.0.21. */
static void hand_open(struct hand *hand)
{
    struct stream *tcp = NULL;
    struct addr addr = acceptor_addr(town.n2.acceptor, ARRIVAL_TUNNEL);
    *hand = (struct hand){0};
    cr_assert_eq(ip_parse(STR(PAY1), &addr.ip), 0);
    (void)tcp_connect(town.world.loop, &addr, NULL, on_dialled, &tcp);
    cr_assert(run_until(town.world.loop, is_dialled, &tcp, PATIENCE_MS));
    const struct tls_options options = world_options(&town.world, TLS_CLIENT);
    side_start(&hand->side, &town.world, tcp, &options);
    cr_assert(side_wait(&town.world, &hand->side));
    cr_assert_eq(hand->side.err, 0, "%s", hand->side.why);
    hand->h2 = h2_client_new(town.world.loop, hand->side.tap.stream, NULL, &hand_events, hand);
    hand->side.tap.stream = NULL;
}

static void hand_ask(struct hand *hand, const struct h2_field *fields, size_t n)
{
    if (hand->stream)
        stream_close(hand->stream, 0);
    hand->has_head = false;
    hand->stream = h2_request(hand->h2, fields, n, false, &head_events, &body_events, hand);
    cr_assert_not_null(hand->stream);
    cr_assert(run_until_set(town.world.loop, &hand->has_head, PATIENCE_MS));
}

static void hand_close(struct hand *hand)
{
    if (hand->stream)
        stream_close(hand->stream, -ERR_RESET);
    h2_close(hand->h2, 0);
    tap_free(&hand->side.tap);
    run_turns(town.world.loop, 10);
}

Test(refusals, statuses_of_the_tunnel_are_ztunnels)
{
    char self[32];

    const struct {
        const char *authority, *status, *why;
    } rows[] = {
        {"127.0.0.22:80", "400", "\"why\":\"ip_mismatch\""},
        {"10.0.0.1:80", "400", "\"why\":\"ip_mismatch\""},
        {"127.0.0.21", "400", "\"why\":\"bad_authority\""},
        {"a,b:80", "400", "\"why\":\"bad_authority\""},
        {"nobody.shop.svc.clusterset.local:80", "503", "\"why\":\"unknown_destination\""},
        {"store.shop.svc.clusterset.local:81", "503", "\"why\":\"no_such_port\""},
        {"127.0.0.21:15006", "503", "\"why\":\"self_call\""},
        {"127.0.0.21:1", "503", "\"why\":\"refused\""},
        {"store.shop.svc.clusterset.local:6379", "200", NULL},
        {self, "200", NULL},
    };
    struct hand hand;
    town_open(&town);
    town_service(&town);
    town_learn(&town);
    snprintf(self, sizeof self, "%s:%u", PAY1, town.port);
    hand_open(&hand);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct h2_field fields[] = {{STR(":method"), STR("CONNECT")},
                                          {STR(":authority"), str_from(rows[i].authority)}};
        hand_ask(&hand, fields, 2);
        cr_expect_str_eq(hand.status, rows[i].status, "%s", rows[i].authority);
        cr_expect_eq(hand.end_stream, rows[i].why != NULL, "%s", rows[i].authority);
        if (rows[i].why)
            cr_expect(LOGGED(&town, rows[i].why), "%s", rows[i].authority);
        text_clear(&town.log);
    }
    hand_close(&hand);
    cr_expect(town_is_quiet(&town));
    town_close(&town);
}

Test(refusals, a_method_that_is_not_connect_is_a_bad_request)
{
    const struct h2_field fields[] = {{STR(":method"), STR("GET")},
                                      {STR(":scheme"), STR("https")},
                                      {STR(":authority"), STR("127.0.0.21:80")},
                                      {STR(":path"), STR("/")}};
    struct hand hand;
    town_open(&town);
    hand_open(&hand);

    hand_ask(&hand, fields, 4);

    cr_expect_str_eq(hand.status, "400");
    cr_expect(LOGGED(&town, "\"why\":\"bad_method\"", "expected method CONNECT, got GET"));
    hand_close(&hand);
    cr_expect(town_is_quiet(&town));
    town_close(&town);
}

Test(refusals, a_false_claim_of_who_it_is_for_is_not_believed)
{
    const struct {
        const char *forwarded, *src;
        size_t n_strangers; /* series whose names are claims */
    } rows[] = {
        {"for=\"" CART ":1\"", "\"src.workload\":\"cart\"", 0},
        {"for=\"" PAY1 ":1\";host=evil.example", "\"src.workload\":\"made-up\"", 1},
        {"for=;;;=,", "\"src.workload\":\"made-up\"", 1},
    };
    struct hand hand;
    char authority[32];
    town_open(&town);
    snprintf(authority, sizeof authority, "%s:1", PAY1);
    hand_open(&hand);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct h2_field fields[] = {
            {STR(":method"), STR("CONNECT")},
            {STR(":authority"), str_from(authority)},
            {STR("forwarded"), str_from(rows[i].forwarded)},
            {STR("baggage"), STR("k8s.deployment.name=made-up,=,k8s.cluster.name")},
        };
        hand_ask(&hand, fields, 4);
        cr_expect_str_eq(hand.status, "503");
        cr_expect(LOGGED(&town, rows[i].src, "\"src.identity\":\"" ID_A "\""), "%s",
                  rows[i].forwarded);
        cr_expect_eq(town.n2.traffic->n_of_strangers, rows[i].n_strangers, "%s", rows[i].forwarded);
        text_clear(&town.log);
    }
    hand_close(&hand);
    cr_expect(town_is_quiet(&town));
    town_close(&town);
}

Test(refusals, verdicts_are_counted_by_action_and_mode)
{
    static const struct {
        const char *name, *principal;
        enum policy_action action;
        bool dry_run;
        enum metric counted;
        bool passes;
    } rows[] = {
        {"allow", "west.example/ns/shop/sa/cart", POLICY_ALLOW, false, METRIC_VERDICTS_ALLOWED,
         true},
        {"deny", NULL, POLICY_DENY, false, METRIC_VERDICTS_DENIED, false},
        {"audit", NULL, POLICY_AUDIT, false, METRIC_VERDICTS_AUDITED, true},
        {"would-deny", NULL, POLICY_DENY, true, METRIC_VERDICTS_WOULD_DENY, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct town_call call;
        town_open(&town);
        snap_policy(&town.snap, rows[i].name, rows[i].action, rows[i].principal)->dry_run =
            rows[i].dry_run;
        town_learn(&town);
        const int64_t before = meter_total(rows[i].counted);
        const int64_t allowed = meter_total(METRIC_VERDICTS_ALLOWED);
        call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
        if (rows[i].passes) {
            cr_expect(call_echoes(&call, 1), "%s", rows[i].name);
        } else {
            cr_expect(call_refused(&call), "%s", rows[i].name);
        }
        finish(&call);
        cr_expect_eq(meter_total(rows[i].counted) - before, 1, "%s", rows[i].name);
        cr_expect_eq(meter_total(METRIC_VERDICTS_ALLOWED) - allowed, rows[i].passes, "%s",
                     rows[i].name);
        town_close(&town);
    }
}

Test(refusals, a_dry_run_that_would_allow_what_is_denied_is_counted)
{
    struct town_call call;
    town_open(&town);
    snap_policy(&town.snap, "others", POLICY_ALLOW, "west.example/ns/shop/sa/other");
    snap_policy(&town.snap, "trial", POLICY_ALLOW, "west.example/ns/shop/sa/cart")->dry_run = true;
    town_learn(&town);

    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY1, town.port);
    cr_expect(call_refused(&call));
    finish(&call);

    cr_expect_eq(meter_total(METRIC_VERDICTS_WOULD_ALLOW), 1);
    cr_expect_eq(meter_total(METRIC_VERDICTS_DENIED), 1);
    town_close(&town);
}
