/* What a kept connection called, when the configuration changes under it. */
#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/flow/called.h"
#include "proxy/flow/walk.h"
#include "ways.h"

TestSuite(called, .timeout = 60);

/* On one node, as HTTP: each request is sent to where it is routed. */
static const struct way *const as_http = &ways[4];

static void no_policies(void)
{
}

static struct model_service *store(void)
{
    for (size_t i = 0; i < town.snap.n; i++)
        if (town.snap.resources[i]->kind == MODEL_SERVICE)
            return town.snap.resources[i]->of.service;
    return NULL;
}

static void serve(unsigned n_served, unsigned times, unsigned n_answers)
{
    get("/");
    cr_assert(app_saw(n_served, "GET ", times));
    answer(n_served);
    cr_assert(got(&call.tap, "200 OK", n_answers));
}

Test(called, a_route_that_comes_or_goes_holds_from_the_next_request_on)
{
    open_way(as_http, no_policies);
    serve(1, 1, 1);
    struct route_rule *rule = snap_route(&town.snap, store());
    rule->action = ROUTE_RESPOND;
    rule->status = 410;
    town_learn(&town);
    get("/");
    cr_assert(got(&call.tap, "HTTP/1.1 410 ", 1));
    rule->action = ROUTE_FORWARD;
    town_learn(&town);
    serve(1, 2, 2);
    close_way();
}

Test(called, other_endpoints_serve_from_the_next_request_on)
{
    town_open(&town);
    town_open_second(&town);
    open_way_of(as_http, no_policies);
    serve(1, 1, 1);
    snap_serve(&town.snap, town_pay(&town, "pay-2", "n1", PAY2), store());
    snap_drop(&town.snap, "pay-1");
    town_learn(&town);
    serve(2, 1, 2);
    cr_expect(town.is_of_second[1]);
    close_way();
}

Test(called, a_service_that_is_gone_answers_nobody)
{
    open_way(as_http, no_policies);
    serve(1, 1, 1);
    snap_drop(&town.snap, "/store.shop.svc.clusterset.local");
    town_learn(&town);
    get("/");
    cr_expect(got(&call.tap, "x-isthmus-reason: no_such_port", 1));
    close_way();
}

/* One timer watches all exchanges of a connection: none is cut by what is left of another's time.
 */
Test(called, a_request_behind_others_has_its_whole_time)
{
    const uint64_t idle_ns = 600 * NS_PER_MS, opened_ns = clock_mono_ns();
    town_open(&town);
    town_walk(&town.n1, &(struct walk_options){.idle_ns = idle_ns});
    open_way_of(as_http, no_policies);
    serve(1, 1, 1);
    const uint64_t begun_ns = clock_mono_ns();
    while (clock_mono_ns() - begun_ns < idle_ns / 2)
        (void)loop_turn(town.world.loop, false);
    const uint64_t asked_ns = clock_mono_ns();
    get("/");
    if (asked_ns - opened_ns < idle_ns) { /* else the machine stood still, and it may be cut */
        cr_assert(got(&call.tap, "HTTP/1.1 504 ", 1));
        cr_expect_geq(clock_mono_ns() - asked_ns, idle_ns - 10 * NS_PER_MS);
    }
    close_way();
}

/* ---- what is looked up ---- */

static struct snap snap;
static struct snapshot *snapshot;
static const struct str names_of_web[TRAFFIC_LABELS] = {
    [LABEL_SOURCE_PRINCIPAL] = STR("spiffe://west.example/ns/shop/sa/web")};
static const struct record of_web = {.source.addr = {{4, {10, 0, 0, 1}}, 40000},
                                     .names = names_of_web};

static const struct called *look(struct called *called)
{
    snapshot_free(snapshot);
    snapshot = snap_build(&snap);
    return called_now(called, snapshot, &of_web);
}

Test(called, is_looked_up_anew_in_each_generation)
{
    static struct hash_key key = {.kind = HASH_KEY_HEADER, .name = STR("x-user")};
    snap_init(&snap, "n1");
    struct model_service *till = snap_service(&snap, "till", "10.201.0.7", 80, 8080);
    struct called called = {.key = STR("shop/till.shop.svc.clusterset.local"), .port = 80};
    const struct called *now = look(&called);
    cr_expect_null(now->pod, "nobody has that address");
    cr_expect(now->service && now->service_port && now->endpoints && now->passes);

    snap_pod(&snap, "web", "n1", "10.0.0.1");
    struct traffic_policy *policy = snap_traffic(&snap, till);
    policy->algorithm = ALGORITHM_RING_HASH;
    cr_expect(look(&called)->pod && called.passes, "of a request nothing is hashed");
    policy->hash_keys = &key;
    policy->n_hash_keys = 1;
    cr_expect_not(look(&called)->passes);
    policy->algorithm = ALGORITHM_RANDOM;
    cr_expect(look(&called)->passes);
    (void)snap_route(&snap, till);
    cr_expect_not(look(&called)->passes);

    till->ports[0].service_port = 81;
    cr_expect(look(&called)->service && !called.service_port && !called.passes);
    for (int i = 0; i < 3; i++) /* its routes, its policy, it */
        snap_drop(&snap, "/till.shop.svc.clusterset.local");
    cr_expect(!look(&called)->service && !called.endpoints);
    snapshot_free(snapshot);
    snap_fini(&snap);
}

/* The connection is whose it was, however long it takes until it is cut. */
Test(called, an_address_that_another_identity_has_now_does_not_call_as_that_one)
{
    snap_init(&snap, "n1");
    (void)snap_service(&snap, "till", "10.201.0.7", 80, 8080);
    snap_pod(&snap, "web", "n1", "10.0.0.1");
    struct called called = {.key = STR("shop/till.shop.svc.clusterset.local"), .port = 80};
    cr_expect(look(&called)->pod);
    snap_drop(&snap, "web");
    snap_pod(&snap, "other", "n1", "10.0.0.1");
    cr_expect_null(look(&called)->pod);
    snap_drop(&snap, "other");
    snap_pod(&snap, "web-2", "n1", "10.0.0.1");
    cr_expect(look(&called)->pod, "its identity is the same");
    snapshot_free(snapshot);
    snap_fini(&snap);
}

#define WEB_ID "spiffe://west.example/ns/shop/sa/web"

static const struct visit *see(struct visit *visit, const char *id)
{
    const struct judged judged = {.principal_id = str_from(id),
                                  .source = {4, {10, 0, 0, 1}},
                                  .destination = {{4, {10, 0, 0, 2}}, 80},
                                  .pod = keyed_hash(0, STR("west//v1/Pod/shop/pod"))};
    snapshot_free(snapshot);
    snapshot = snap_build(&snap);
    return visit_now(visit, snapshot, &judged);
}

Test(called, a_pod_and_who_calls_it_are_looked_up_anew_in_each_generation)
{
    struct visit proven = {0}, plain = {0}, bad = {0};
    snap_init(&snap, "n1");
    cr_expect_null(see(&proven, WEB_ID)->pod, "nobody has that address");
    cr_expect(proven.err == 0 && !proven.caller.workload);
    cr_expect(str_eq(proven.caller.id, STR(WEB_ID)), "which is proven all the same");

    struct model_workload *pod = snap_pod(&snap, "pod", "n1", "10.0.0.2");
    snap_pod(&snap, "web", "n1", "10.0.0.1");
    cr_expect(see(&proven, WEB_ID)->pod && proven.caller.workload);
    cr_expect(see(&plain, "")->pod && plain.caller.workload && plain.caller.id.len == 0);
    cr_expect_lt(see(&bad, "no id")->err, 0);

    snap_drop(&snap, "web");
    snap_pod(&snap, "other", "n1", "10.0.0.1");
    cr_expect_null(see(&proven, WEB_ID)->caller.workload, "the address is another identity's");
    cr_expect_not_null(see(&plain, "")->caller.workload, "all that is known is the address");

    pod->node = STR("n2");
    cr_expect_null(see(&proven, WEB_ID)->pod, "it is another node's");
    snap_drop(&snap, "pod");
    snap_pod(&snap, "pod-2", "n1", "10.0.0.2");
    cr_expect_null(see(&proven, WEB_ID)->pod, "the address is another pod's");
    snapshot_free(snapshot);
    snap_fini(&snap);
}
