/* Requests that are judged one by one where their destination is. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/http/message.h"
#include "ways.h"

TestSuite(judge, .timeout = 60);

Test(judge, each_request_of_a_connection_has_a_verdict_of_its_own)
{
    for (size_t i = 0; i < (size_t)WAYS; i++) {
        const struct way *way = &ways[i];
        open_way(way, allow_public);
        get("/public/a?x=1");
        cr_assert(app_saw(1, "GET /public/a?x=1 HTTP/1.1\r\n", 1), "%s", way->name);
        answer(1);
        cr_assert(got(&call.tap, &OK[9], 1), "%s", way->name);
        get("/admin?public");
        cr_assert(got(&call.tap, DENIED, 1), "%s", way->name);
        cr_expect(got(&call.tap, "\r\nserver: isthmus\r\n", 1), "%s", way->name);
        cr_expect(got(&call.tap, "\r\nx-isthmus-reason: denied\r\n", 1), "%s", way->name);
        cr_expect(got(&call.tap, "RBAC: access denied", 1), "%s", way->name);
        get("/public/b?access_token=a.b&x=1&access_token=c");
        cr_assert(app_saw(1, "GET /public/b?access_token=a.b&x=1&access_token=c HTTP/1.1\r\n", 1),
                  "%s: on the same connection", way->name);
        answer(1);
        cr_assert(got(&call.tap, "200 OK", 2), "%s", way->name);
        cr_expect_eq(count_of(&town.served[0], "admin"), 0, "%s", way->name);
        cr_expect_eq(town.n_served, 1, "%s", way->name);
        cr_expect_eq(count(METRIC_VERDICTS_ALLOWED), 2, "%s", way->name);
        cr_expect_eq(count(METRIC_VERDICTS_DENIED), 1, "%s", way->name);
        finish();
        cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "request complete",
                         "\"request.path\":\"/public/a?x=1\"", "\"response.code\":200",
                         "\"policy\":\"shop/public\"", "\"dst.workload\":\"pay-1\""),
                  "%s", way->name);
        cr_expect(LOGGED(&town, "\"direction\":\"inbound\"",
                         "\"request.path\":\"/public/b?access_token=REDACTED&x=1&access_token="
                         "REDACTED\""),
                  "%s: no token in a log", way->name);
        cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"denied\"",
                         "\"request.path\":\"/admin?public\"", "\"response.code\":403",
                         "\"response.code_details\":\"rbac_access_denied_matched_policy[none]\""),
                  "%s", way->name);
        cr_expect_not(LOGGED(&town, "\"direction\":\"inbound\"", "connection complete"), "%s: %s",
                      way->name, "its exchanges tell of it");
        struct text page = {0};
        struct traffic_report *report = traffic_report_of(judge_of(way)->traffic);
        traffic_report_write(report, &page);
        traffic_report_free(report);
        cr_expect(str_contains(text_str(&page), STR("response_code=\"403\",response_flags=\"-\"")),
                  "%s", way->name);
        cr_expect(str_contains(text_str(&page),
                               STR("isthmus_policy_verdicts_total{policy=\"shop/public\"")),
                  "%s", way->name);
        text_fini(&page);
        town_close(&town);
    }
}

Test(judge, requests_that_come_at_once_are_judged_one_by_one)
{
    open_way(&ways[0], allow_public);
    say("GET /public/1 HTTP/1.1\r\nHost: s\r\n\r\nGET /admin HTTP/1.1\r\nHost: s\r\n\r\n"
        "POST /admin HTTP/1.1\r\nHost: s\r\nContent-Length: 26\r\n\r\nGET /public "
        "HTTP/1.1\r\n\r\n\r\n"
        "GET /public/2 HTTP/1.1\r\nHost: s\r\n\r\n");
    cr_assert(app_saw(1, "GET /public/1 ", 1));
    answer(1);
    cr_assert(app_saw(1, "GET /public/2 ", 1));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 2));
    cr_expect_eq(count_of(&call.tap, DENIED), 2);
    cr_expect_eq(count_of(&town.served[0], "GET "), 2, "a body is no request");
    close_way();
}

Test(judge, a_path_is_judged_in_the_form_in_which_it_is_forwarded)
{
    static const struct {
        const char *path, *seen; /* NULL: 403; "": 400 */
    } rows[] = {
        {"/public/x", "/public/x"},
        {"/./public/x", "/public/x"},
        {"/a/../public/x", "/public/x"},
        {"/%70ublic/x", "/public/x"},
        {"//public///x", "/public/x"},
        {"\\public\\x", ""},
        {"/public/../admin", NULL},
        {"/public/%2e%2e/admin", NULL},
        {"/public/.%2E/admin", NULL},
        {"/public/..\\admin", NULL},
        {"//admin", NULL},
        {"/Public/x", NULL},
        {"/admin;/public/", NULL},
        {"/public/x;y=..", "/public/x;y=.."},
        {"/public/a%2fb", "/public/a%2Fb"},
        {"/public%2f..%2fadmin", NULL}, /* what a kind server reads is /admin */
        {"/public/..;/admin", NULL},
        {"/public/..%5cadmin", NULL},
        {"/public%00", ""},
        {"/public/%zz", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char line[256];
        const char *seen = rows[i].seen;
        open_way(&ways[0], allow_public);
        get(rows[i].path);
        if (seen && *seen) {
            (void)snprintf(line, sizeof line, "GET %s HTTP/1.1\r\n", seen);
            cr_expect(app_saw(1, line, 1), "%s as %s", rows[i].path, seen);
        } else {
            cr_expect(got(&call.tap, seen ? "HTTP/1.1 400 " : DENIED, 1), "%s", rows[i].path);
        }
        close_way();
    }
}

Test(judge, in_plaintext_the_pod_hears_nothing_of_who_is_denied)
{
    open_way(&ways[2], allow_public);
    get("/admin");
    cr_assert(got(&call.tap, DENIED, 1));
    get("/%");
    cr_assert(got(&call.tap, "HTTP/1.1 400 ", 1));
    cr_expect_eq(town.n_served, 0, "not even a connection");
    get("/public");
    cr_assert(app_saw(1, "GET /public HTTP/1.1", 1), "but for one that may come");
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    cr_expect_eq(town.n_served, 1);
    finish();
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"denied\"",
                     "\"dst.workload\":\"pay-1\"", "\"request.path\":\"/admin\""));
    town_close(&town);
}

static void allow_public_of_second(void)
{
    town_pay(&town, "pay-2", "n2", PAY2);
    allow_public();
}

Test(judge, a_request_that_names_no_host_is_judged_and_sent_for_the_pod_s_address)
{
    char host[64];
    open_way(&ways[2], allow_public);
    say("GET /public HTTP/1.0\r\n\r\n");
    (void)snprintf(host, sizeof host, "\r\nhost: " PAY1 ":%u\r\n", town.port);
    cr_expect(app_saw(1, host, 1));
    close_way();
}

Test(judge, a_server_cannot_make_series_without_end_of_its_grpc_status)
{
    static const char *const said[] = {"4711", "-1", "x", "0007", "16"};
    open_way(&ways[2], allow_public);
    for (unsigned i = 0; i < ARRAY_LEN(said); i++) {
        char text[128];
        say("POST /public HTTP/1.1\r\nHost: s\r\nContent-Type: application/grpc\r\n"
            "Content-Length: 0\r\n\r\n");
        cr_assert(app_saw(1, "POST /public ", i + 1));
        (void)snprintf(text, sizeof text,
                       "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ngrpc-status: %s\r\n\r\n", said[i]);
        (void)stream_write_copy(town.served[0].stream, text, strlen(text));
        cr_assert(got(&call.tap, "HTTP/1.1 200 ", i + 1));
    }
    finish();
    struct text page = {0};
    struct traffic_report *report = traffic_report_of(town.n2.traffic);
    traffic_report_write(report, &page);
    traffic_report_free(report);
    cr_expect(str_contains(text_str(&page), STR("grpc_response_status=\"other\"")));
    cr_expect(str_contains(text_str(&page), STR("grpc_response_status=\"7\"")));
    cr_expect(str_contains(text_str(&page), STR("grpc_response_status=\"16\"")));
    cr_expect_not(str_contains(text_str(&page), STR("4711")), "%s", page.ptr);
    text_fini(&page);
    town_close(&town);
}

Test(judge, in_plaintext_a_pod_that_cannot_be_reached_is_told_to_the_request)
{
    town_open(&town);
    allow_public_of_second();
    town_learn(&town);
    call_start(&call, &town.n2, ARRIVAL_PLAINTEXT, CART, PAY2, town.port);
    get("/public");
    cr_expect(got(&call.tap, "HTTP/1.1 503 ", 1));
    cr_expect(got(&call.tap, "x-isthmus-reason: refused", 1));
    close_way();
}

static void close_first(void)
{
    tap_close(&town.served[0], 0);
}

static void reset_first(void)
{
    tap_close(&town.served[0], -ERR_RESET);
}

/* What it says would be the answer to a request that it has not seen. */
static void answer_nobody(void)
{
    answer(1);
}

/* Where it was reached before there was a request, which then came late. */
Test(judge, a_pod_that_closed_or_spoke_before_a_request_came_is_reached_anew)
{
    static void (*const acts[])(void) = {close_first, reset_first, answer_nobody};
    for (size_t i = 0; i < (size_t)WAYS * ARRAY_LEN(acts); i++) {
        const struct way *way = &ways[i / ARRAY_LEN(acts)];
        unsigned n = 1;
        open_way(way, allow_public);
        if (!run_until(town.world.loop, is_served, &n, 100)) { /* it waits for a request */
            close_way();
            continue;
        }
        acts[i % ARRAY_LEN(acts)]();
        run_turns(town.world.loop, 20);
        get("/public");
        cr_assert(app_saw(2, "GET /public HTTP/1.1", 1), "%s, %zu: %s", way->name, i,
                  call.tap.got.ptr);
        answer(2);
        cr_expect(got(&call.tap, "200 OK", 1), "%s", way->name);
        close_way();
    }
}

static void ask_header(void)
{
    struct model_policy *policy = snap_policy(&town.snap, "vip", POLICY_ALLOW, CART_ID);
    snap_asks(&town.snap, policy, REQUEST_HEADER, "x-tier", MATCH_EXACT, "gold");
    snap_asks(&town.snap, policy, REQUEST_HOST, NULL, MATCH_EXACT, "store");
    policy = snap_policy(&town.snap, "no-upgrade", POLICY_DENY, NULL);
    snap_asks(&town.snap, policy, REQUEST_HEADER, "upgrade", MATCH_PRESENCE, "");
}

Test(judge, headers_host_and_the_verified_caller_count_together)
{
    open_way(&ways[0], ask_header);
    say("GET / HTTP/1.1\r\nHost: store\r\nX-Tier: gold\r\n\r\n");
    cr_assert(app_saw(1, "GET / ", 1));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    say("GET / HTTP/1.1\r\nHost: store\r\nX-Tier: silver\r\n\r\n");
    cr_assert(got(&call.tap, DENIED, 1));
    say("GET / HTTP/1.1\r\nHost: other\r\nX-Tier: gold\r\n\r\n");
    cr_assert(got(&call.tap, DENIED, 2));
    say("GET / HTTP/1.1\r\nHost: store\r\nX-Tier: gold\r\nConnection: upgrade\r\n"
        "Upgrade: websocket\r\n\r\n");
    cr_assert(got(&call.tap, DENIED, 3), "of one hop, and still seen");
    close_way();

    open_way(&ways[2], ask_header); /* plaintext: nobody proved to be cart */
    say("GET / HTTP/1.1\r\nHost: store\r\nX-Tier: gold\r\n\r\n");
    cr_expect(call_refused(&call), "no request can help: denied at once");
    close_way();
}

static void deny_a_length(void)
{
    struct model_policy *policy = snap_policy(&town.snap, "five", POLICY_DENY, NULL);
    snap_asks(&town.snap, policy, REQUEST_HEADER, "content-length", MATCH_EXACT, "5");
}

Test(judge, the_length_of_a_body_is_a_header_like_others)
{
    open_way(&ways[0], deny_a_length);
    say("POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 4\r\n\r\nfour");
    cr_assert(app_saw(1, "four", 1));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    say("POST / HTTP/1.1\r\nHost: store\r\nContent-Length: 5\r\n\r\nfive!");
    cr_expect(got(&call.tap, DENIED, 1));
    close_way();
}

Test(judge, an_upgrade_is_judged_once_and_carries_bytes_from_then_on)
{
    open_way(&ways[0], allow_public);
    say("GET /public/ws HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    cr_assert(app_saw(1, "GET /public/ws ", 1));
    static const char agreed[] =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n";
    (void)stream_write_copy(town.served[0].stream, agreed, strlen(agreed));
    cr_assert(got(&call.tap, "HTTP/1.1 101 ", 1));
    get("/admin");
    cr_expect(app_saw(1, "GET /admin HTTP/1.1", 1), "bytes of another protocol");
    close_way();
}

Test(judge, an_upgrade_by_another_method_is_not_told_to_http_2_as_a_get)
{
    town_open(&town);
    town_service(&town)->ports[0].app_protocol = APP_HTTP2;
    allow_public();
    town_learn(&town);
    start(&ways[0]);
    say("POST /public/ws HTTP/1.1\r\nHost: s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    cr_expect(got(&call.tap, "HTTP/1.1 501 ", 1));
    cr_expect(got(&call.tap, "x-isthmus-reason: bad_upgrade", 1));
    get("/public");
    cr_expect(app_saw(1, "PRI * HTTP/2.0", 1), "the connection goes on");
    close_way();
}

static const struct str every_host = STR("*");
static struct route_backend itself = {.port = 6379, .weight = 1};
static const struct route_rule rewritten = {
    .name = STR("shop/files/0"),
    .match = {.path_kind = ROUTE_PATH_START, .path = STR("/pub")},
    .path_edit = ROUTE_PATH_REPLACE_PREFIX,
    .path = STR("/files/"),
    .backends = &itself,
    .n_backends = 1,
};
static const struct route_host rewrites = {
    .domains = &every_host, .n_domains = 1, .rules = &rewritten, .n_rules = 1};

static void allow_files_behind_a_rewrite(void)
{
    static struct model_routes routes = {
        .service = STR("shop/store.shop.svc.clusterset.local"), .hosts = &rewrites, .n_hosts = 1};
    itself.service = routes.service;
    (void)allow("files", "/files/");
    snap_add(&town.snap,
             &(struct model_resource){MODEL_ROUTES, routes.service, {.routes = &routes}});
}

Test(judge, a_path_that_a_route_puts_together_is_in_normal_form_again)
{
    open_way(&ways[4], allow_files_behind_a_rewrite);
    get("/public");
    cr_assert(app_saw(1, "GET /files/lic HTTP/1.1", 1));
    answer(1);
    cr_assert(got(&call.tap, OK, 1));
    get("/pub../admin?q");
    cr_expect(got(&call.tap, DENIED, 1), "%s", call.tap.got.ptr);
    close_way();
}

Test(judge, what_is_no_http_is_refused_and_reaches_nobody)
{
    for (size_t i = 0; i < 4; i++) {
        if (i == 1)
            continue; /* as the one before */
        open_way(&ways[i], allow_public);
        say("\x16\x03\x01\x02 hello, is this TLS?\r\n\r\n");
        cr_expect(got(&call.tap, "HTTP/1.1 400 ", 1), "%s", ways[i].name);
        cr_expect(tap_ended(town.world.loop, &call.tap), "%s", ways[i].name);
        finish();
        for (unsigned n = 0; n < town.n_served; n++)
            cr_expect_eq(town.served[n].n_got, 0, "%s", ways[i].name);
        cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "connection complete",
                         "\"why\":\"http_request\""),
                  "%s", ways[i].name);
        town_close(&town);
    }
}

static void say_tcp(void)
{
    town_service(&town)->ports[0].app_protocol = APP_TCP;
    allow_public();
}

Test(judge, a_port_that_says_tcp_is_never_guessed_about)
{
    for (size_t i = 0; i < 4; i++) {
        if (ways[i].is_http_there)
            continue;
        open_way(&ways[i], say_tcp);
        get("/public");
        cr_expect(call_refused(&call), "%s", ways[i].name);
        finish();
        cr_expect(
            LOGGED(&town, "\"direction\":\"inbound\"", "\"why\":\"denied\"", "connection complete"),
            "%s", ways[i].name);
        town_close(&town);
    }
}

/* On one node, on a port that says nothing and whose service wants its first bytes looked at. */
static void open_sniffed(uint64_t detect_ns)
{
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-1", "n1", PAY1);
    snap_traffic(&town.snap, town_service(&town))->detect_ns = detect_ns;
    allow_public();
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, VIP, 6379);
}

Test(judge, bytes_that_were_looked_at_before_are_judged_with_those_that_follow)
{
    open_sniffed(LONG_NS);
    get("/public/a");
    cr_assert(app_saw(1, "GET /public/a ", 1));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    get("/admin");
    cr_expect(got(&call.tap, DENIED, 1));
    close_way();

    open_sniffed(LONG_NS);
    say("PING\r\n\r\n");
    cr_expect(got(&call.tap, "HTTP/1.1 400 ", 1), "it is no HTTP, and its policies ask for it");
    close_way();

    open_sniffed(20 * NS_PER_MS);
    say("GE"); /* too little to tell in time */
    cr_assert(run_until(town.world.loop, is_served, &(unsigned){1}, PATIENCE_MS));
    say("T /admin HTTP/1.1\r\nHost: s\r\n\r\n");
    cr_expect(got(&call.tap, DENIED, 1), "none of it was lost");
    cr_expect_eq(town.served[0].n_got, 0);
    close_way();
}

static bool shows(const struct town_node *node, const char *state)
{
    struct text out = {0};
    struct flow_page page = {.state = str_from(state), .max = 10};
    walk_page(node->walk, &page, &out);
    const bool is_there = out.len > 0;
    text_fini(&out);
    return is_there;
}

Test(judge, where_no_policy_asks_about_requests_bytes_pass_unread)
{
    open_way(&ways[1], allow_cart);
    cr_assert(call_echoes(&call, 1), "what it carries is no HTTP");
    cr_expect(shows(&town.n2, "pumping"));
    cr_expect_not(shows(&town.n2, "serving"));
    cr_expect_eq(count(METRIC_EXCHANGES), 0);
    close_way();
}

static void audit_posts(void)
{
    struct model_policy *policy = snap_policy(&town.snap, "posts", POLICY_AUDIT, NULL);
    snap_asks(&town.snap, policy, REQUEST_METHOD, NULL, MATCH_EXACT, "POST");
    policy = snap_policy(&town.snap, "trial", POLICY_DENY, NULL);
    snap_asks(&town.snap, policy, REQUEST_METHOD, NULL, MATCH_EXACT, "PUT");
    policy->dry_run = true;
}

Test(judge, what_decides_nothing_makes_no_http_of_a_port_that_does_not_say_it)
{
    open_way(&ways[0], audit_posts);
    cr_expect(call_echoes(&call, 1));
    audit_posts();
    town_learn(&town);
    cr_expect(call_echoes(&call, 1), "nor cuts it");
    close_way();

    open_way(&ways[1], audit_posts); /* it says HTTP: each request is recorded */
    say("POST / HTTP/1.1\r\nHost: s\r\nContent-Length: 0\r\n\r\n");
    cr_assert(app_saw(1, "POST / ", 1));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    get("/");
    cr_assert(app_saw(1, "GET / ", 1));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 2));
    cr_expect_eq(count(METRIC_VERDICTS_AUDITED), 1);
    cr_expect_eq(count(METRIC_VERDICTS_WOULD_DENY), 0);
    close_way();
}

Test(judge, a_connection_whose_requests_nobody_read_is_cut_when_they_are_to_be_judged)
{
    for (size_t i = 0; i < 4; i++) {
        open_way(&ways[i], allow_cart);
        if (ways[i].kind != ARRIVAL_PLAINTEXT) {
            cr_assert(call_echoes(&call, 1), "%s", ways[i].name);
            snap_drop(&town.snap, "shop/cart");
            allow_public();
            town_learn(&town);
            cr_expect(tap_failed(town.world.loop, &call.tap), "%s", ways[i].name);
        }
        finish();
        if (ways[i].kind != ARRIVAL_PLAINTEXT)
            cr_expect(LOGGED(&town, "\"why\":\"denied_late\"", "its requests were not read"), "%s",
                      ways[i].name);
        town_close(&town);
    }
}

Test(judge, a_change_of_policy_ends_the_exchange_and_not_the_connection)
{
    for (size_t i = 0; i < (size_t)WAYS; i++) {
        const struct way *way = &ways[i];
        open_way(way, allow_public);
        get("/public/slow");
        cr_assert(app_saw(1, "GET /public/slow ", 1), "%s", way->name);
        snap_drop(&town.snap, "shop/public");
        allow("other", "/other");
        town_learn(&town);
        cr_expect(got(&call.tap, DENIED, 1), "%s: not answered yet", way->name);
        cr_expect(LOGGED(&town, "\"why\":\"denied_late\"", "/public/slow"), "%s", way->name);
        get("/other");
        cr_assert(app_saw(2, "GET /other ", 1), "%s: on another connection to the app", way->name);
        answer(2);
        cr_expect(got(&call.tap, "200 OK", 1), "%s", way->name);
        cr_assert(ended(2), "%s", way->name);
        snap_drop(&town.snap, "shop/other");
        allow("none", "/none");
        town_learn(&town);
        get("/other");
        cr_expect(got(&call.tap, DENIED, 2), "%s", way->name);
        snap_drop(&town.snap, "shop/none");
        snap_policy(&town.snap, "nobody", POLICY_DENY, NULL);
        town_learn(&town);
        if (!(way->is_http_there && way->is_same_node))
            cr_expect(tap_failed(town.world.loop, &call.tap) || call.tap.ended,
                      "%s: no request may come any more", way->name);
        close_way();
    }
}

Test(judge, a_change_that_allows_a_running_exchange_lets_it_be)
{
    open_way(&ways[0], allow_public);
    get("/public/slow");
    cr_assert(app_saw(1, "GET /public/slow ", 1));
    (void)allow("more", "/more");
    town_learn(&town);
    allow_cart();
    town_learn(&town);
    answer(1);
    cr_expect(got(&call.tap, "200 OK", 1));
    get("/admin");
    cr_assert(app_saw(1, "GET /admin ", 1), "cart may all by now");
    close_way();
}

Test(judge, the_app_may_close_a_connection_between_two_requests)
{
    open_way(&ways[0], allow_public);
    get("/public/1");
    cr_assert(app_saw(1, "GET /public/1 ", 1));
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    tap_close(&town.served[0], 0);
    get("/public/2");
    cr_assert(app_saw(2, "GET /public/2 ", 1));
    answer(2);
    cr_expect(got(&call.tap, "200 OK", 2));
    close_way();
}

Test(judge, a_pod_that_refuses_is_told_to_the_callers_node_before_anything_is_read)
{
    town_open(&town);
    town_pay(&town, "pay-2", "n2", PAY2); /* nobody listens */
    allow_public();
    town_learn(&town);
    call_start(&call, &town.n1, ARRIVAL_OUTBOUND, CART, PAY2, town.port);
    get("/public");
    cr_expect(call_refused(&call));
    finish();
    cr_expect(LOGGED(&town, "\"direction\":\"outbound\"", "\"why\":\"tunnel_unavailable\""),
              "so that it can try another");
    town_close(&town);
}
