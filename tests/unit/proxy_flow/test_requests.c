/*
 * What a request says decides where it goes and how it is spoken there: hash keys, versions.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "hole.h"
#include "proxy/base/clock.h"
#include "proxy/connect/http_pool.h"
#include "requests_kit.h"

TestSuite(requests, .timeout = 60);

static bool has_answers(void *n)
{
    return times_in(text_str(&call.tap.got), "HTTP/1.1 200 ") >= *(const unsigned *)n;
}

/* One request with this field, answered; true when pay-2 got it. */
static bool second_gets(const char *field)
{
    static const char ok[] = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    char text[256];
    unsigned idx = 0, n = times_in(text_str(&call.tap.got), "HTTP/1.1 200 ") + 1;
    (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: store\r\n%s\r\n", field);
    call_say(&call, text);
    cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
    n_answered[idx]++;
    (void)stream_write_copy(town.served[idx].stream, ok, sizeof ok - 1);
    cr_assert(run_until(town.world.loop, has_answers, &n, PATIENCE_MS));
    return town.is_of_second[idx];
}

static void hash_by(struct hash_key *key)
{
    struct traffic_policy *policy = snap_traffic(&town.snap, service);
    policy->algorithm = ALGORITHM_MAGLEV;
    policy->maglev_size = 251;
    policy->hash_keys = key;
    policy->n_hash_keys = 1;
}

Test(requests, with_one_header_go_to_one_endpoint_and_others_spread)
{
    struct hash_key key = {.kind = HASH_KEY_HEADER, .name = STR("x-user"), .is_terminal = true};
    char field[64];
    unsigned n_second = 0, n_by_chance = 0;
    open_two(APP_HTTP11);
    hash_by(&key);
    start();
    for (int user = 0; user < 24; user++) {
        (void)snprintf(field, sizeof field, "x-user: %d\r\n", user);
        const bool is_second = second_gets(field);
        cr_expect_eq(second_gets(field), is_second, "user %d", user);
        n_second += is_second;
        n_by_chance += second_gets("");
    }
    cr_expect(n_second > 0 && n_second < 24, "%u", n_second);
    cr_expect(n_by_chance > 0 && n_by_chance < 24, "%u", n_by_chance);
    close_all();
}

Test(requests, whose_client_has_no_cookie_give_it_one_that_leads_back)
{
    struct hash_key key = {.kind = HASH_KEY_COOKIE,
                           .name = STR("at"),
                           .is_terminal = true,
                           .is_given = true,
                           .path = STR("/")};
    static const char field[] = "set-cookie: at=\"";
    struct str answer, value;
    char cookie[64];
    open_two(APP_HTTP11);
    hash_by(&key);
    start();
    for (unsigned client = 1; client <= 6; client++) {
        const bool is_second = second_gets("");
        cr_expect_eq(times_in(text_str(&call.tap.got), field), client);
        for (answer = text_str(&call.tap.got);
             times_in(answer, field) > 1 || !str_starts_with(answer, STR("set-cookie: at=\""));)
            answer = str_sub(answer, 1, answer.len);
        value = str_sub(answer, sizeof field - 1, 16);
        cr_expect(str_starts_with(str_sub(answer, sizeof field - 1 + 16, answer.len),
                                  STR("\"; Path=/; HttpOnly\r\n")));
        (void)snprintf(cookie, sizeof cookie, "cookie: a=b; at=%.*s\r\n", STR_ARG(value));
        for (int i = 0; i < 4; i++)
            cr_expect_eq(second_gets(cookie), is_second);
        cr_expect_eq(times_in(text_str(&call.tap.got), field), client, "it has one already");
    }
    close_all();
}

/* ---- what is counted ---- */

struct sent {
    bool is_second;
    unsigned status;
};

static void ask_and_answer(const struct sent *sent, const char *field)
{
    char text[256];
    unsigned idx = 0, n = times_in(text_str(&call.tap.got), "content-length: 0") + 1;
    (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: store\r\n%s\r\n", field);
    call_say(&call, text);
    cr_assert(run_until(town.world.loop, find_asked, &idx, PATIENCE_MS));
    cr_assert_eq(town.is_of_second[idx], sent->is_second);
    n_answered[idx]++;
    (void)snprintf(text, sizeof text, "HTTP/1.1 %u Said\r\ncontent-length: 0\r\n\r\n",
                   sent->status);
    (void)stream_write_copy(town.served[idx].stream, text, strlen(text));
    for (int i = 0; i < 1000 && times_in(text_str(&call.tap.got), "content-length: 0") < n; i++)
        (void)loop_turn(town.world.loop, true);
}

/* The value of n1's istio_requests_total with that workload, name and status. */
static unsigned counted(const char *workload, const char *name, unsigned status)
{
    char parts[3][96];
    struct text page = {0};
    struct str rest, line, head, value;
    uint64_t number, sum = 0;
    struct traffic_report *report = traffic_report_of(town.n1.traffic);
    traffic_report_write(report, &page);
    traffic_report_free(report);
    (void)snprintf(parts[0], sizeof parts[0], "destination_workload=\"%s\"", workload);
    (void)snprintf(parts[1], sizeof parts[1], "destination_canonical_service=\"%s\"", name);
    (void)snprintf(parts[2], sizeof parts[2], "response_code=\"%u\"", status);
    for (rest = text_str(&page); str_split(rest, '\n', &line, &rest);) {
        bool is_it = str_starts_with(line, STR("istio_requests_total{"));
        for (size_t i = 0; i < ARRAY_LEN(parts); i++)
            is_it = is_it && str_contains(line, str_from(parts[i]));
        if (is_it && str_rsplit(line, ' ', &head, &value) && str_to_u64(value, 1000, &number))
            sum += number;
    }
    text_fini(&page);
    return (unsigned)sum;
}

/* Names and series are remembered from one request to the next: of none that is another's. */
Test(requests, are_counted_each_for_the_endpoint_the_status_and_the_names_of_its_time)
{
    static const unsigned statuses[] = {200, 200, 404, 200, 503, 404};
    struct hash_key key = {.kind = HASH_KEY_HEADER, .name = STR("x-user"), .is_terminal = true};
    char to_first[32] = "", to_second[32] = "";
    unsigned n[2][2][600] = {0};
    memset(n_answered, 0, sizeof n_answered);
    town_open(&town);
    town_open_second(&town);
    struct model_workload *pay2 = town_pay(&town, "pay-2", "n2", PAY2);
    pay2->canonical_name = STR("pay");
    service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP11;
    hash_by(&key);
    start();
    for (int user = 0; !to_first[0] || !to_second[0]; user++) {
        char field[32];
        (void)snprintf(field, sizeof field, "x-user: %d\r\n", user);
        const bool is_second = second_gets(field);
        n[is_second][0][200]++;
        memcpy(is_second ? to_second : to_first, field, sizeof field);
    }
    for (int renamed = 0; renamed < 2; renamed++) {
        for (size_t i = 0; i < 4 * ARRAY_LEN(statuses); i++) {
            const struct sent sent = {.is_second = i % 4 > 1, .status = statuses[i % 6]};
            ask_and_answer(&sent, sent.is_second ? to_second : to_first);
            n[sent.is_second][sent.is_second && renamed][sent.status]++;
        }
        pay2->canonical_name = STR("till");
        town_learn(&town);
    }
    static const unsigned all[] = {200, 404, 503};
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        const unsigned status = all[i];
        cr_expect_eq(counted("pay-1", "pay", status), n[0][0][status], "first, %u", status);
        cr_expect_eq(counted("pay-2", "pay", status), n[1][0][status], "second, %u", status);
        cr_expect_eq(counted("pay-2", "till", status), n[1][1][status], "renamed, %u", status);
    }
    close_all();
}

/* ---- versions ---- */

static void on_response(void *owner, const struct http_response *head)
{
    *(unsigned *)owner = head->status;
}

static void on_data(void *owner, struct slice bytes)
{
    (void)owner, (void)bytes;
}

static void on_end(void *owner)
{
    (void)owner;
}

static void on_fail(void *owner, int err)
{
    (void)owner, (void)err;
}

static void on_dead(void *owner, int err, struct str why)
{
    (void)owner, (void)err, (void)why;
}

static const struct http_stream_events http_events = {.on_response = on_response};
static const struct stream_events events = {
    .on_data = on_data, .on_end = on_end, .on_fail = on_fail};
static const struct http_client_events client_events = {.on_dead = on_dead};

static bool has_spoken(void *ctx)
{
    (void)ctx;
    return town.n_served > 0 && town.served[0].n_got >= 24;
}

static bool has_status(void *status)
{
    return *(unsigned *)status != 0;
}

Test(requests, of_http_2_go_on_in_the_version_that_the_port_says)
{
    static const struct {
        const char *what, *type, *begins;
        enum app_protocol protocol;
    } rows[] = {
        {"http", "text/plain", "GET /a HTTP/1.1\r\n", APP_HTTP11},
        {"http, gRPC", "application/grpc+proto", "PRI * HTTP/2.0\r\n", APP_HTTP11},
        {"http2", "text/plain", "PRI * HTTP/2.0\r\n", APP_HTTP2},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_field type = {STR("content-type"), str_from(rows[i].type)};
        const struct http_request head = {.method = STR("GET"),
                                          .scheme = STR("http"),
                                          .authority = STR("store"),
                                          .path = STR("/a"),
                                          .fields = {.at = &type, .len = 1},
                                          .content_length = HTTP_LENGTH_UNKNOWN,
                                          .version = HTTP_2};
        unsigned status = 0;
        open_two(rows[i].protocol);
        start();
        call.tap.stream = NULL;
        struct http_client *client =
            http2_client_new(town.world.loop, &call.ours->stream, NULL, &client_events, NULL);
        struct http_stream *stream = http_request(client, &head, &http_events, &events, &status);
        stream_resume(&stream->stream);
        cr_assert(run_until(town.world.loop, has_spoken, NULL, PATIENCE_MS), "%s", rows[i].what);
        cr_expect(str_starts_with(text_str(&town.served[0].got), str_from(rows[i].begins)),
                  "%s: %.*s", rows[i].what, STR_ARG(text_str(&town.served[0].got)));
        if (rows[i].begins[0] == 'G') {
            (void)stream_write_copy(town.served[0].stream, "HTTP/1.1 204 \r\n\r\n", 17);
            cr_assert(run_until(town.world.loop, has_status, &status, PATIENCE_MS));
            cr_expect_eq(status, 204);
        }
        stream_close(&stream->stream, -ERR_RESET);
        http_client_close(client, 0);
        close_all();
    }
}

/* ---- bursts ---- */

#define BURST 30u

static struct http_stream *burst[BURST];
static unsigned statuses[BURST];

/* A client of HTTP/2 asks so many things at once. */
static struct http_client *ask_at_once(void)
{
    const struct http_request head = {.method = STR("GET"),
                                      .scheme = STR("http"),
                                      .authority = STR("store"),
                                      .path = STR("/a"),
                                      .content_length = HTTP_LENGTH_UNKNOWN,
                                      .version = HTTP_2};
    call.tap.stream = NULL;
    struct http_client *client =
        http2_client_new(town.world.loop, &call.ours->stream, NULL, &client_events, NULL);
    for (unsigned i = 0; i < BURST; i++) {
        statuses[i] = 0;
        burst[i] = http_request(client, &head, &http_events, &events, &statuses[i]);
        stream_resume(&burst[i]->stream);
    }
    return client;
}

static void leave(struct http_client *client)
{
    for (unsigned i = 0; i < BURST; i++)
        stream_close(&burst[i]->stream, -ERR_RESET);
    http_client_close(client, 0);
    close_all();
}

static bool are_all_leased(void *ctx)
{
    (void)ctx;
    return balancer_flows(town.n1.balancer) == BURST;
}

static bool is_pooled(void *n)
{
    return http_pool_links(connector_http_pool(town.n1.connector)) == *(const size_t *)n;
}

static bool have_statuses(void *ctx)
{
    (void)ctx;
    for (unsigned i = 0; i < BURST; i++)
        if (statuses[i] == 0)
            return false;
    return true;
}

Test(requests, at_once_to_an_http_2_server_make_one_connection_and_to_one_of_http_1_one_each)
{
    static const struct {
        enum app_protocol protocol;
        size_t n_links;
    } rows[] = {{APP_HTTP2, 1}, {APP_HTTP11, BURST}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        size_t n_links = rows[i].n_links;
        town_open(&town);
        service = town_service(&town);
        service->ports[0].app_protocol = rows[i].protocol;
        start();
        struct http_client *client = ask_at_once();
        cr_expect(run_until(town.world.loop, are_all_leased, NULL, PATIENCE_MS));
        cr_expect(run_until(town.world.loop, is_pooled, &n_links, PATIENCE_MS), "%zu links",
                  http_pool_links(connector_http_pool(town.n1.connector)));
        run_turns(town.world.loop, 20);
        cr_expect_eq(town.n_served, n_links);
        leave(client);
    }
}

Test(requests, that_wait_for_a_connection_that_fails_are_answered_each)
{
    town_open(&town);
    snap_drop(&town.snap, "pay-1");
    town_pay(&town, "pay-2", "n2", PAY2);
    service = town_service(&town);
    service->ports[0].app_protocol = APP_HTTP2;
    start();
    struct http_client *client = ask_at_once();
    cr_expect(run_until(town.world.loop, have_statuses, NULL, PATIENCE_MS));
    for (unsigned i = 0; i < BURST; i++)
        cr_expect_eq(statuses[i], 503, "%u: %u", i, statuses[i]);
    leave(client);
}

/* ---- pods that leave ---- */

Test(requests, on_their_way_to_a_pod_that_leaves_go_to_another_those_too_that_wait_for_a_connection)
{
    static const struct {
        enum app_protocol protocol;
        size_t n_links;
    } rows[] = {{APP_HTTP2, 1}, {APP_HTTP11, BURST}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct hole hole;
        size_t n_links = rows[i].n_links;
        open_near_and_far(rows[i].protocol);
        snap_traffic(&town.snap, service)->race_ns = 0;
        hole_dig(&hole, PAY2, town.port);
        start();
        struct http_client *client = ask_at_once();
        cr_assert(run_until(town.world.loop, are_all_leased, NULL, PATIENCE_MS));
        cr_assert_eq(town.n_served, 0);

        leave_near();

        cr_expect(run_until(town.world.loop, is_pooled, &n_links, PATIENCE_MS), "%zu links",
                  http_pool_links(connector_http_pool(town.n1.connector)));
        run_turns(town.world.loop, 20);
        for (unsigned k = 0; k < BURST; k++)
            cr_expect_eq(statuses[k], 0, "%zu, %u: %u", i, k, statuses[k]);
        cr_expect_eq(town.n_served, n_links);
        hole_fill(&hole);
        leave(client);
    }
}
