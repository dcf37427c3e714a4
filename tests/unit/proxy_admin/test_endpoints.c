/* A page of endpoints on its way: who is asked, what the workers say, what is written. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "proxy/admin/endpoints.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "tests/unit/config/mesh.h"

#define REDIS "shop/redis.shop.svc.clusterset.local"

TestSuite(endpoints, .timeout = 30);

static struct mesh mesh;
static struct snapshot *snapshot;
static json_t *page;
static const struct endpoint_time now = {.mono_ns = 50 * NS_PER_SEC,
                                         .wall_ns = INT64_C(1772000000) * (int64_t)NS_PER_SEC};

/* One worker a row of answers; said[i] is about the i-th endpoint that is asked about. */
static void ask_workers(const struct endpoint_wish *wish, size_t n_workers, size_t n_said,
                        const struct endpoint_answer said[n_workers][n_said])
{
    size_t n;
    json_error_t error;
    struct text out = {0};
    struct endpoint_poll *poll = endpoint_poll_new(snapshot, wish);
    (void)endpoint_poll_asks(poll, &n);
    struct endpoint_answer *answers = mem_new_array(struct endpoint_answer, n);
    for (size_t i = 0; i < n_workers; i++) {
        for (size_t j = 0; j < n; j++)
            answers[j] = j < n_said ? said[i][j] : (struct endpoint_answer){0};
        endpoint_poll_note(poll, answers);
    }
    endpoint_poll_write(poll, snapshot, &now, &out);
    page = json_loadb(out.ptr, out.len, 0, &error);
    cr_assert_not_null(page, "%s: %s", error.text, out.ptr);
    text_fini(&out);
    mem_free(answers);
    endpoint_poll_free(poll);
}

static void ask(const char *host)
{
    const struct endpoint_wish wish = {str_from(host), 0, ENDPOINTS_SHOWN_MAX};
    const struct endpoint_answer nothing[1][1] = {{{.is_known = false}}};
    ask_workers(&wish, 1, 1, nothing);
}

static void finish(void)
{
    json_decref(page);
    snapshot_free(snapshot);
    mesh_end(&mesh);
}

static size_t n_rows(void)
{
    return json_array_size(json_object_get(page, "endpoints"));
}

static const json_t *row(size_t idx)
{
    return json_array_get(json_object_get(page, "endpoints"), idx);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert_not_null(text, "%s is no string", key);
    return text;
}

static double number_of(const json_t *object, const char *key)
{
    cr_assert(json_is_number(json_object_get(object, key)), "%s is no number", key);
    return json_number_value(json_object_get(object, key));
}

/* redis with three endpoints in two clusters, one of them unready, one with IPv6 only. */
static void make_shop(void)
{
    mesh_begin(&mesh);
    mesh_service(&mesh, "shop/web.shop.svc.cluster.local", "10.96.0.9", "http:80:8080");
    mesh_service(&mesh, REDIS, "10.96.0.7 fd00::7", "redis:6379:6379 stats:9100:9100");
    mesh_workload(&mesh, "west", "redis-0", "n1", "10.0.0.1 fd01::1", REDIS);
    mesh_workload(&mesh, "east", "redis-1", "n7", "10.1.0.1", REDIS)->is_healthy = false;
    mesh_workload(&mesh, "east", "redis-2", "n8", "fd01::3", REDIS);
}

Test(endpoints, stand_nearest_first_under_their_service)
{
    make_shop();
    snapshot = mesh_build(&mesh);
    ask("");
    /* Two ports; on each two IPv4 and two IPv6 endpoints. */
    cr_assert_eq(n_rows(), 8);
    const json_t *near = row(0), *far = row(1);
    cr_expect_str_eq(text_of(near, "service"), "redis.shop.svc.clusterset.local");
    cr_expect_eq(number_of(near, "port"), 6379);
    cr_expect_str_eq(text_of(near, "cluster"), "west");
    cr_expect_str_eq(text_of(near, "node"), "n1");
    cr_expect_str_eq(text_of(near, "workload"), "redis-0");
    cr_expect_str_eq(text_of(near, "namespace"), "shop");
    cr_expect_str_eq(text_of(near, "address"), "10.0.0.1:6379");
    cr_expect_str_eq(text_of(near, "level"), "node");
    cr_expect_str_eq(text_of(near, "identity"), "spiffe://td/ns/shop/sa/web");
    cr_expect(json_is_true(json_object_get(near, "ready")));
    cr_expect_str_eq(text_of(far, "level"), "other cluster");
    cr_expect(json_is_false(json_object_get(far, "ready")));
    cr_expect_str_eq(text_of(row(2), "address"), "[fd01::1]:6379");
    finish();
}

Test(endpoints, a_hostile_name_does_not_break_the_page)
{
    mesh_begin(&mesh);
    mesh_service(&mesh, REDIS, "10.96.0.7", "redis:6379:6379");
    struct model_workload *workload =
        mesh_workload(&mesh, "west", "redis-0", "n1", "10.0.0.1", REDIS);
    workload->name = STR("\"},{\"x\":\"\x1b[2J\xff\\");
    snapshot = mesh_build(&mesh);
    ask("");
    cr_assert_eq(n_rows(), 1);
    cr_expect_str_eq(text_of(row(0), "workload"), "\"},{\"x\":\"\x1b[2J\xef\xbf\xbd\\");
    finish();
}

Test(endpoints, a_part_of_a_host_selects_and_nothing_gives_an_empty_list)
{
    static const struct {
        const char *part;
        size_t n;
    } rows[] = {{"", 8}, {"redis", 8}, {"clusterset", 8}, {"web.", 0}, {"Redis", 0}, {"x", 0}};

    make_shop();
    snapshot = mesh_build(&mesh);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        ask(rows[i].part);
        cr_expect_eq(n_rows(), rows[i].n, "%s", rows[i].part);
        cr_expect_eq((size_t)number_of(page, "total"), rows[i].n, "%s", rows[i].part);
        json_decref(page);
    }
    page = NULL;
    finish();
}

/* Four endpoints on one port: three in the zone, one in another cluster. */
static void make_till(struct model_workload **out_first)
{
    mesh_begin(&mesh);
    mesh_service(&mesh, REDIS, "10.96.0.7", "redis:6379:6379");
    *out_first = mesh_workload(&mesh, "west", "redis-0", "n1", "10.0.0.1", REDIS);
    mesh_workload(&mesh, "west", "redis-1", "n1", "10.0.0.2", REDIS);
    mesh_workload(&mesh, "west", "redis-2", "n1", "10.0.0.3", REDIS);
    mesh_workload(&mesh, "east", "redis-3", "n7", "10.1.0.1", REDIS);
}

Test(endpoints, what_the_workers_say_is_added_up)
{
    struct model_workload *first;
    const struct endpoint_wish wish = {STR("redis"), 0, ENDPOINTS_SHOWN_MAX};
    const struct endpoint_answer said[3][2] = {
        {{true, {.flows = 2, .share = 0.5, .latency_ns = 4 * NS_PER_MS}},
         {true, {.flows = 1, .share = 0.1, .checked = CHECKED_GOOD}}},
        {{true, {.flows = 3, .share = 0.3, .latency_ns = 2 * NS_PER_MS}},
         {true,
          {.unfit = UNFIT_EJECTED,
           .cause = REST_LATENCY,
           .until_ns = 53 * NS_PER_SEC,
           .checked = CHECKED_BAD}}},
        {{false, {.flows = 99, .share = 99}}, {false, {.unfit = UNFIT_FULL}}},
    };
    make_till(&first);
    first->region = STR("eu");
    first->zone = STR("eu-1");
    snapshot = mesh_build(&mesh);
    ask_workers(&wish, 3, 2, said);

    cr_expect_str_eq(text_of(row(0), "zone"), "eu/eu-1");
    cr_expect_eq(number_of(row(0), "in_flight"), 5);
    cr_expect_eq(number_of(row(0), "share_pct"), 40.0);
    cr_expect_eq(number_of(row(0), "latency_ms"), 3.0);
    cr_expect_str_eq(text_of(row(0), "health"), "healthy");
    cr_expect_str_eq(text_of(row(0), "active"), "unchecked");
    cr_expect_str_eq(text_of(row(0), "why"), "");
    cr_expect(json_is_null(json_object_get(row(0), "until")));

    cr_expect_str_eq(text_of(row(1), "health"), "ejected");
    cr_expect_str_eq(text_of(row(1), "active"), "bad");
    cr_expect_str_eq(text_of(row(1), "passive"), "ejected");
    cr_expect_str_eq(text_of(row(1), "until"), "2026-02-25T06:13:23.000000Z");
    cr_expect_str_eq(text_of(row(1), "why"),
                     "ejected until 2026-02-25T06:13:23.000000Z: much slower than the others "
                     "(1 of 2 workers)");

    cr_expect(json_is_null(json_object_get(row(2), "share_pct")), "nobody knows");
    cr_expect(json_is_null(json_object_get(row(2), "latency_ms")));
    cr_expect_str_eq(text_of(row(2), "why"), "nobody on this node has called it lately");
    finish();
}

Test(endpoints, every_reason_to_get_nothing_has_its_sentence)
{
    static const struct {
        struct member_view view;
        const char *why;
    } rows[] = {
        {{.share = 0.2}, ""},
        {{.share = 0}, "level not reached: nearer ones serve"},
        {{.share = 0, .is_level_silent = true},
         "its level does not answer; one connection at a time asks it"},
        {{.share = 0.2, .is_service_full = true},
         "breaker open: the service has as many connections as its limits allow"},
        {{.unfit = UNFIT_FULL},
         "breaker open: as many connections as limits.maxConnectionsPerEndpoint allows"},
        {{.unfit = UNFIT_CHECK}, "fails its active check: isthmus ctl health"},
        {{.unfit = UNFIT_CHECK, .is_level_in_panic = true},
         "fails its active check: isthmus ctl health; used all the same, its level is in panic"},
        {{.unfit = UNFIT_SUSPECT, .cause = REST_CONNECT, .until_ns = 51 * NS_PER_SEC},
         "suspect until 2026-02-25T06:13:21.000000Z: a connect failed"},
        {{.unfit = UNFIT_SUSPECT, .cause = REST_NODE, .until_ns = 51 * NS_PER_SEC},
         "suspect until 2026-02-25T06:13:21.000000Z: its node could not be reached"},
        {{.unfit = UNFIT_SUSPECT, .cause = REST_SILENCE, .until_ns = 51 * NS_PER_SEC},
         "suspect until 2026-02-25T06:13:21.000000Z: nobody answered a connect"},
        {{.unfit = UNFIT_EJECTED, .cause = REST_FAILURES, .until_ns = 50 * NS_PER_SEC},
         "ejected until 2026-02-25T06:13:20.000000Z: too many failures in a row"},
        {{.unfit = UNFIT_EJECTED, .cause = REST_SUCCESS_RATE, .until_ns = 50 * NS_PER_SEC},
         "ejected until 2026-02-25T06:13:20.000000Z: a success rate far below the others'"},
        {{.unfit = UNFIT_EJECTED, .cause = REST_FAILURE_RATE, .until_ns = 50 * NS_PER_SEC},
         "ejected until 2026-02-25T06:13:20.000000Z: too many failures of a hundred"},
        {{.unfit = UNFIT_EJECTED, .cause = REST_TRIAL, .until_ns = 50 * NS_PER_SEC},
         "ejected until 2026-02-25T06:13:20.000000Z: the connection that tried it again failed"},
        {{.unfit = UNFIT_PROBATION, .cause = REST_FAILURES},
         "on probation, one connection at a time tries it: too many failures in a row"},
    };
    struct model_workload *first;
    const struct endpoint_wish wish = {STR("redis"), 0, 1};
    make_till(&first);
    snapshot = mesh_build(&mesh);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct endpoint_answer said[1][1] = {{{true, rows[i].view}}};
        ask_workers(&wish, 1, 1, said);
        cr_expect_str_eq(text_of(row(0), "why"), rows[i].why);
        json_decref(page);
    }
    page = NULL;
    finish();
}

Test(endpoints, what_is_not_ready_says_whether_it_is_ending)
{
    struct model_workload *first;
    make_till(&first);
    first->services[0].not_ready = true;
    snapshot = mesh_build(&mesh);
    ask("redis");
    cr_expect_str_eq(text_of(row(0), "health"), "unready");
    cr_expect_str_eq(text_of(row(0), "why"), "not ready");
    json_decref(page);
    snapshot_free(snapshot);
    first->services[0].is_terminating = true;
    snapshot = mesh_build(&mesh);
    ask("redis");
    cr_expect_str_eq(text_of(row(0), "why"), "terminating");
    finish();
}

Test(endpoints, who_is_kept_out_by_the_policy_is_shown_with_the_reason)
{
    static const struct str allowed[] = {{"west", 4}};
    struct model_workload *first;
    make_till(&first);
    mesh_workload(&mesh, "west", "redis-4", "n2", "10.0.0.4", REDIS);
    mesh_workload(&mesh, "west", "redis-5", "n1", "10.0.0.3", REDIS);
    struct traffic_policy *policy = mesh_traffic(&mesh, REDIS);
    policy->name = STR("shop/redis");
    policy->is_restricted = true;
    policy->allowed_clusters = allowed;
    policy->n_allowed = 1;
    policy->node_only = true;
    snapshot = mesh_build(&mesh);
    ask("redis");
    cr_assert_eq(n_rows(), 6);
    for (size_t i = 3; i < 6; i++) {
        const char *workload = text_of(row(i), "workload");
        const char *why = text_of(row(i), "why");
        cr_expect_str_eq(text_of(row(i), "health"), "hidden");
        cr_expect_eq(number_of(row(i), "share_pct"), 0);
        if (strcmp(workload, "redis-3") == 0)
            cr_expect_str_eq(why, "outside the clusters that the policy shop/redis allows");
        else if (strcmp(workload, "redis-4") == 0)
            cr_expect_str_eq(why, "on another node, and locality.nodeOnly is set");
        else
            cr_expect_str_eq(why, "another endpoint has its address and takes its part");
    }
    json_decref(page);
    snapshot_free(snapshot);

    policy->is_restricted = policy->node_only = false;
    policy->drilled_cluster = STR("east");
    snapshot = mesh_build(&mesh);
    ask("redis");
    cr_expect_str_eq(text_of(row(5), "workload"), "redis-3");
    cr_expect_str_eq(text_of(row(5), "why"), "drilled out: isthmus ctl drill");
    finish();
}

Test(endpoints, ten_thousand_come_in_pages_that_say_where_they_are)
{
    static char ports[] = "a:1:1 b:2:2 c:3:3 d:4:4 e:5:5 f:6:6 g:7:7 h:8:8 i:9:9 j:10:10";
    static bool seen[10000];
    mesh_begin(&mesh);
    mesh_service(&mesh, REDIS, "10.96.0.7", ports);
    for (int i = 0; i < 1000; i++) {
        char ip[32], pod[32];
        snprintf(ip, sizeof(ip), "10.0.%d.%d", i / 250, i % 250);
        snprintf(pod, sizeof(pod), "redis-%d", i);
        mesh_workload(&mesh, "west", pod, "n1", ip, REDIS);
    }
    snapshot = mesh_build(&mesh);
    for (size_t offset = 0; offset < 11000; offset += ENDPOINTS_SHOWN_MAX) {
        const struct endpoint_wish wish = {STR("redis"), offset, ENDPOINTS_SHOWN_MAX};
        const struct endpoint_answer nothing[1][1] = {{{.is_known = false}}};
        ask_workers(&wish, 1, 1, nothing);
        cr_expect_eq(n_rows(), offset < 10000 ? 1000 : 0);
        cr_expect_eq(number_of(page, "total"), 10000);
        cr_expect_eq((size_t)number_of(page, "offset"), offset);
        for (size_t i = 0; i < n_rows(); i++) {
            const size_t pod = strtoul(text_of(row(i), "workload") + strlen("redis-"), NULL, 10);
            seen[((size_t)number_of(row(i), "port") - 1) * 1000 + pod] = true;
        }
        json_decref(page);
    }
    for (size_t i = 0; i < ARRAY_LEN(seen); i++)
        cr_assert(seen[i], "endpoint %zu was on no page", i);
    page = NULL;
    finish();
}

Test(endpoints, a_page_that_is_too_long_says_so_and_stays_whole)
{
    static char name[60000];
    memset(name, 'x', sizeof(name) - 1);
    mesh_begin(&mesh);
    mesh_service(&mesh, REDIS, "10.96.0.7", "a:1:1");
    for (int i = 0; i < 1000; i++) { /* with a long name each: 60 MB */
        char ip[32], pod[32];
        snprintf(ip, sizeof(ip), "10.0.%d.%d", i / 250, i % 250);
        snprintf(pod, sizeof(pod), "redis-%d", i);
        mesh_workload(&mesh, "west", pod, "n1", ip, REDIS)->name = str_from(name);
    }
    snapshot = mesh_build(&mesh);
    ask("");
    cr_expect(json_is_true(json_object_get(page, "truncated")));
    cr_expect_gt(n_rows(), 500);
    finish();
}

Test(endpoints, a_snapshot_that_came_meanwhile_is_written_and_says_what_was_asked_of_nobody)
{
    struct model_workload *first;
    struct text out = {0};
    const struct endpoint_wish wish = {STR("redis"), 0, 10};
    make_till(&first);
    snapshot = mesh_build(&mesh);
    struct endpoint_poll *poll = endpoint_poll_new(snapshot, &wish);
    snapshot_free(snapshot);
    const struct endpoint_answer answers[4] = {
        {true, {.flows = 7}}, {true, {.flows = 7}}, {true, {.flows = 7}}, {true, {.flows = 7}}};
    endpoint_poll_note(poll, answers);
    mesh_workload(&mesh, "west", "redis-9", "n1", "10.0.0.9", REDIS);
    snapshot = mesh_build(&mesh);
    endpoint_poll_write(poll, snapshot, &now, &out);
    endpoint_poll_free(poll);
    page = json_loadb(out.ptr, out.len, 0, NULL);
    text_fini(&out);
    cr_assert_eq(n_rows(), 5);
    for (size_t i = 0; i < 5; i++) {
        const bool is_new = strcmp(text_of(row(i), "workload"), "redis-9") == 0;
        cr_expect_eq(number_of(row(i), "in_flight"), is_new ? 0 : 7);
    }
    finish();
}

Test(endpoints, a_page_that_cannot_be_is_refused_with_what_it_may_be)
{
    static const struct {
        const char *offset, *limit, *why;
    } rows[] = {
        {"", "", NULL},
        {"0", "1", NULL},
        {"999999999", "1000", NULL},
        {"-1", "", "offset has to be a whole number below 1000000000\n"},
        {"1e3", "", "offset has to be a whole number below 1000000000\n"},
        {"1000000000", "", "offset has to be a whole number below 1000000000\n"},
        {"", "0", "limit has to be 1 to 1000\n"},
        {"", "1001", "limit has to be 1 to 1000\n"},
        {"", "x", "limit has to be a whole number below 1000000000\n"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct endpoint_wish wish = {.limit = 77};
        struct text why = {0};
        const int err = endpoint_wish_parse(STR("a"), str_from(rows[i].offset),
                                            str_from(rows[i].limit), &wish, &why);
        cr_expect_eq(err, rows[i].why ? -ERR_INVALID : 0, "row %zu", i);
        if (rows[i].why) {
            cr_expect_str_eq(why.ptr, rows[i].why);
            cr_expect_eq(wish.limit, 77, "untouched");
        }
        text_fini(&why);
    }
}
