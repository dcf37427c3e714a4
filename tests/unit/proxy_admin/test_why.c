/* The page /why: who may, and why, out of a snapshot. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "proxy/admin/why.h"
#include "tests/unit/config/mesh.h"

#define REDIS "shop/redis.shop.svc.clusterset.local"

static struct mesh mesh;
static struct model_match match;
static struct model_clause clause = {&match, 1};
static struct model_rule rule = {&clause, 1};
static struct string_match web = {MATCH_EXACT, STR("td/ns/shop/sa/web")};

/* redis-0 (with IPv6 too) and redis-1 behind one service, web-0 that calls, out-0 not in the mesh.
 */
static void begin(void)
{
    mesh_begin(&mesh);
    mesh_service(&mesh, REDIS, "10.96.0.7 fd00::7", "redis:80:6379");
    mesh_workload(&mesh, "west", "redis-0", "n1", "10.0.0.1 fd01::1", REDIS);
    mesh_workload(&mesh, "west", "redis-1", "n2", "10.0.0.2", REDIS);
    mesh_workload(&mesh, "west", "web-0", "n1", "10.0.0.9", "");
    mesh_workload(&mesh, "west", "out-0", "n1", "10.0.0.8", "")->speaks_hbone = false;
    mesh_workload(&mesh, "east", "far-0", "n7", "10.9.0.1", "");
    match = (struct model_match){.principals = &web, .n_principals = 1};
}

static void end(void)
{
    mesh_end(&mesh);
}

TestSuite(why, .init = begin, .fini = end, .timeout = 30);

static json_t *ask(const char *from, const char *to, const char *method)
{
    struct text page = {0};
    struct snapshot *snapshot = mesh_build(&mesh);
    const struct why_question question = {str_from(from), str_from(to), str_from(method), {0}};
    json_error_t error;
    cr_assert_eq(view_why(snapshot, &question, &page), 0, "%s", page.ptr);
    json_t *json = json_loadb(page.ptr, page.len, 0, &error);
    cr_assert_not_null(json, "%s: %s", error.text, page.ptr);
    text_fini(&page);
    snapshot_free(snapshot);
    return json;
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "(none)";
}

static void allow_web(void)
{
    struct model_policy *policy =
        mesh_policy(&mesh, "shop/only-web", POLICY_ALLOW, POLICY_NAMESPACE);
    policy->rules = &rule;
    policy->n_rules = 1;
    policy->revision = 0xabc;
}

Test(why, the_verdict_depends_on_who_asks_and_says_what_failed)
{
    static const struct {
        const char *from, *verdict, *identity, *why_not;
    } rows[] = {
        {"spiffe://td/ns/shop/sa/web", "allow", "spiffe://td/ns/shop/sa/web", ""},
        {"shop/web-0", "allow", "spiffe://td/ns/shop/sa/web", ""},
        {"spiffe://td/ns/shop/sa/thief", "deny", "spiffe://td/ns/shop/sa/thief",
         "principals: td/ns/shop/sa/thief is none of td/ns/shop/sa/web"},
        {"10.0.0.9", "deny", "none: plaintext", "principals: the source has no such identity"},
        {"shop/out-0", "deny", "none: plaintext", "principals: the source has no such identity"},
    };

    allow_web();

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *page = ask(rows[i].from, "shop/redis-0:6379", "");
        const json_t *line = json_array_get(json_object_get(page, "rules"), 0);
        cr_expect_str_eq(text_of(page, "verdict"), rows[i].verdict, "%s", rows[i].from);
        cr_expect_str_eq(text_of(page, "identity"), rows[i].identity, "%s", rows[i].from);
        cr_expect_str_eq(text_of(page, "destination"), "shop/redis-0");
        cr_expect_str_eq(text_of(page, "address"), "10.0.0.1:6379");
        cr_expect_str_eq(text_of(line, "policy"), "shop/only-web");
        cr_expect_str_eq(text_of(line, "action"), "ALLOW");
        cr_expect_str_eq(text_of(line, "mode"), "enforced");
        cr_expect_str_eq(text_of(line, "revision"), "0000000000000abc");
        cr_expect_str_eq(text_of(line, "why_not"), rows[i].why_not, "%s", rows[i].from);
        cr_expect_eq(json_is_true(json_object_get(line, "matches")),
                     strcmp(rows[i].verdict, "allow") == 0);
        cr_expect_null(json_object_get(page, "http"));
        json_decref(page);
    }
}

Test(why, a_service_is_all_its_endpoints_and_the_one_that_denies_is_explained)
{
    allow_web();
    struct model_policy *deny = mesh_policy(&mesh, "shop/no-redis-1", POLICY_DENY, POLICY_WORKLOAD);
    struct model_rule everybody = {0};
    struct str name = STR("shop/no-redis-1");
    deny->rules = &everybody;
    deny->n_rules = 1;
    for (size_t i = 0; i < mesh.n; i++)
        if (mesh.resources[i]->kind == MODEL_WORKLOAD &&
            str_eq(mesh.resources[i]->of.workload->name, STR("redis-1"))) {
            mesh.resources[i]->of.workload->policies = &name;
            mesh.resources[i]->of.workload->n_policies = 1;
        }

    json_t *page = ask("shop/web-0", "redis.shop.svc.clusterset.local:80", "");
    const json_t *endpoints = json_object_get(page, "endpoints");
    cr_assert_eq(json_array_size(endpoints), 2);
    cr_expect_str_eq(text_of(page, "verdict"), "deny");
    cr_expect_str_eq(text_of(page, "reason"), "explicitly denied by shop/no-redis-1, rule 0");
    cr_expect_str_eq(text_of(page, "address"), "10.0.0.2:6379");
    for (size_t i = 0; i < 2; i++) {
        const json_t *row = json_array_get(endpoints, i);
        const bool is_first = strcmp(text_of(row, "workload"), "shop/redis-0") == 0;
        cr_expect_str_eq(text_of(row, "verdict"), is_first ? "allow" : "deny");
    }
    json_decref(page);

    page = ask("shop/web-0", "10.96.0.7:80", "");
    cr_expect_str_eq(text_of(page, "verdict"), "deny", "the service's address is the service");
    json_decref(page);
}

Test(why, an_endpoint_of_another_cluster_is_not_decided_here)
{
    allow_web();
    mesh_workload(&mesh, "east", "redis-far", "n7", "10.0.0.0", REDIS);

    json_t *page = ask("spiffe://td/ns/shop/sa/thief", "redis.shop.svc.clusterset.local:80", "");
    const json_t *endpoints = json_object_get(page, "endpoints");
    cr_assert_eq(json_array_size(endpoints), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *row = json_array_get(endpoints, i);
        const bool is_far = strcmp(text_of(row, "cluster"), "east") == 0;
        cr_expect_eq(is_far, strcmp(text_of(row, "workload"), "shop/redis-far") == 0);
        cr_expect_str_eq(text_of(row, "verdict"), is_far ? "not known here" : "deny");
    }
    cr_expect_str_eq(text_of(page, "verdict"), "deny");
    cr_expect_null(json_object_get(page, "note"), "a pod of ours is explained");
    json_decref(page);
}

Test(why, what_was_written_as_a_PeerAuthentication_is_said)
{
    static const struct {
        const char *key, *written_as;
    } rows[] = {
        {"isthmus-system/isthmus_strict_mtls", "PeerAuthentication STRICT"},
        {"istio-system/istio_converted_static_strict", "PeerAuthentication STRICT"},
        {"shop/isthmus_peer_authentication_redis", "PeerAuthentication shop/redis"},
        {"shop/no-plaintext", NULL},
    };
    struct string_match anybody = {.kind = MATCH_PRESENCE};
    struct model_match nobody = {.not_principals = &anybody, .n_not_principals = 1};
    struct model_clause clause_ = {&nobody, 1};
    struct model_rule plaintext = {&clause_, 1};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct model_policy *policy = mesh_policy(&mesh, rows[i].key, POLICY_DENY, POLICY_GLOBAL);
        policy->rules = &plaintext;
        policy->n_rules = 1;
    }

    json_t *page = ask("10.0.0.9", "shop/redis-0:6379", "");
    const json_t *lines = json_object_get(page, "rules");
    cr_assert_eq(json_array_size(lines), ARRAY_LEN(rows));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const json_t *line = json_array_get(lines, i);
        size_t row = 0;
        while (row < ARRAY_LEN(rows) && strcmp(rows[row].key, text_of(line, "policy")) != 0)
            row++;
        cr_assert_lt(row, ARRAY_LEN(rows), "%s", text_of(line, "policy"));
        const char *said = json_string_value(json_object_get(line, "written_as"));
        cr_expect_str_eq(said ? said : "-", rows[row].written_as ? rows[row].written_as : "-");
    }
    json_decref(page);
}

Test(why, what_is_not_decided_here_is_said)
{
    json_t *page = ask("shop/web-0", "10.0.0.1:6379", "GET");
    cr_expect_str_eq(text_of(page, "http"), "every request is answered so, whatever it shows");
    cr_expect_str_eq(text_of(page, "reason"), "no allow policies");
    json_decref(page);

    page = ask("shop/web-0", "shop/out-0:80", "");
    cr_expect_str_eq(text_of(page, "verdict"), "allow");
    cr_expect(strstr(text_of(page, "reason"), "not in the mesh"));
    json_decref(page);

    page = ask("shop/web-0", "10.9.0.1:80", "");
    cr_expect(strstr(text_of(page, "note"), "another cluster"));
    json_decref(page);
}

Test(why, a_method_and_a_path_are_asked_where_requests_are_judged)
{
    static struct string_match get = {MATCH_EXACT, STR("GET")};
    static struct request_field field = {.subject = REQUEST_METHOD, .values = &get, .n_values = 1};

    static const struct {
        const char *method, *verdict, *http, *why_not;
    } rows[] = {
        {"GET", "allow", "asked with this method and path", ""},
        {"PUT", "deny", "asked with this method and path", "methods: PUT is none of GET"},
        {"", "by request", "each request is judged",
         "methods: no request is shown, and without one it allows nobody"},
    };

    match = (struct model_match){.http = &field, .n_http = 1};
    allow_web();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *page = ask("shop/web-0", "shop/redis-0:6379", rows[i].method);
        const json_t *line = json_array_get(json_object_get(page, "rules"), 0);
        cr_expect_str_eq(text_of(page, "verdict"), rows[i].verdict, "%s", rows[i].method);
        cr_expect(strstr(text_of(page, "http"), rows[i].http), "%s", text_of(page, "http"));
        cr_expect_str_eq(text_of(line, "why_not"), rows[i].why_not, "%s", rows[i].method);
        cr_expect_eq(json_is_true(json_object_get(line, "depends_on_request")),
                     rows[i].method[0] == '\0');
        json_decref(page);
    }
}

Test(why, a_dry_run_says_what_it_would_do)
{
    struct model_policy *deny = mesh_policy(&mesh, "shop/trial", POLICY_DENY, POLICY_NAMESPACE);
    deny->rules = &rule;
    deny->n_rules = 1;
    deny->dry_run = true;
    json_t *page = ask("shop/web-0", "shop/redis-0:6379", "");
    cr_expect_str_eq(text_of(page, "verdict"), "allow");
    cr_expect_str_eq(text_of(page, "dry_run"), "would be denied by shop/trial");
    cr_expect_str_eq(text_of(json_array_get(json_object_get(page, "rules"), 0), "mode"), "dry-run");
    json_decref(page);
}

Test(why, a_question_that_cannot_be_asked_says_what_is_wrong)
{
    static const struct {
        const char *from, *to, *sentence, *path;
    } rows[] = {
        {"", "shop/redis-0:1", "the source \"\" is no pod here", NULL},
        {"spiffe://TD/x", "shop/redis-0:1", "the source \"spiffe://TD/x\" is not a SPIFFE ID",
         NULL},
        {"shop/nobody", "shop/redis-0:1", "the source \"shop/nobody\" is no pod here", NULL},
        {"shop/web-0", "", "the destination \"\" has no port", NULL},
        {"shop/web-0", "shop/redis-0", "the destination \"shop/redis-0\" has no port", NULL},
        {"shop/web-0", "shop/redis-0:0", "has no port from 1 to 65535", NULL},
        {"shop/web-0", "shop/redis-0:65536", "has no port from 1 to 65535", NULL},
        {"shop/web-0", "shop/nobody:80", "the destination \"shop/nobody\" is no pod here", NULL},
        {"shop/web-0", "10.77.0.1:80", "the destination \"10.77.0.1\" is no pod here", NULL},
        {"shop/web-0", "redis.shop.svc.clusterset.local:81", "has no port 81", NULL},
        {"shop/web-0", "shop/redis-0:6379", "the path \"who\" does not begin with a slash", "who"},
    };
    struct snapshot *snapshot = mesh_build(&mesh);

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text out = {0};
        const struct why_question question = {str_from(rows[i].from), str_from(rows[i].to),
                                              STR("GET"),
                                              str_from(rows[i].path ? rows[i].path : "")};
        cr_expect_eq(view_why(snapshot, &question, &out), -ERR_INVALID, "%s %s", rows[i].from,
                     rows[i].to);
        cr_expect(out.ptr && strstr(out.ptr, rows[i].sentence), "%s %s: %s", rows[i].from,
                  rows[i].to, out.ptr);
        text_fini(&out);
    }
    snapshot_free(snapshot);
}
