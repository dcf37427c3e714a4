/* isthmus check --policy-test: exit codes, what is said of a mismatch, and faults with their place.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/arena.h"
#include "proxy/run/policy_test.h"
#include "tests/kit/temp_dir.h"

static struct temp_dir dir;
static struct arena arena;
static struct text out;

static void begin(void)
{
    dir = temp_dir_new();
    out = (struct text){0};
}

static void end(void)
{
    text_fini(&out);
    arena_fini(&arena);
    arena = (struct arena){0};
    temp_dir_remove(&dir);
}

TestSuite(policy_test, .init = begin, .fini = end, .timeout = 30);

static const char *const shop = EXAMPLES "/shop.yaml";

static const char *path_of(const char *name)
{
    return arena_printf(&arena, "%.*s/%s", STR_ARG(temp_dir_path(&dir)), name).ptr;
}

static const char *write_table(const char *head, const char *cases)
{
    const char *path = path_of("table.yaml");
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    fprintf(file, "apiVersion: isthmus.io/v1alpha1\nkind: PolicyTest\n%scases:\n%s", head, cases);
    fclose(file);
    return path;
}

#define HEAD "trustDomain: west.example\n"

static enum policy_test_outcome run(const char *cases)
{
    text_clear(&out);
    return policy_test_run(write_table(HEAD, cases), &shop, 1, &out);
}

static void expect_said(const char *sentence)
{
    cr_expect(out.ptr && strstr(out.ptr, sentence), "\"%s\" is not in:\n%s", sentence, out.ptr);
}

Test(policy_test, the_example_is_as_expected)
{
    cr_expect_eq(policy_test_run(EXAMPLES "/policy-test.yaml", &shop, 1, &out),
                 POLICY_TEST_AS_EXPECTED, "%s", out.ptr);
    expect_said("the web shop calls the till: allowed: allowed by shop/only-web, rule 0\n");
    expect_said("8 cases, 0 not as expected\n");
}

Test(policy_test, a_folder_of_manifests_and_the_table_in_it)
{
    const char *folder = EXAMPLES;
    cr_expect_eq(policy_test_run(EXAMPLES "/policy-test.yaml", &folder, 1, &out),
                 POLICY_TEST_AS_EXPECTED, "%s", out.ptr);
}

Test(policy_test, a_mismatch_is_told_with_every_rule_that_was_in_question)
{
    cr_expect_eq(run("- {from: {principal: west.example/ns/apps/sa/thief}, to: {pod: shop/till-1}, "
                     "port: 8080, expect: allow}\n"
                     "- {from: {pod: apps/web-1}, to: {pod: shop/till-1}, port: 8080, expect: "
                     "allow}\n"),
                 POLICY_TEST_MISMATCH);
    expect_said("FAIL ");
    expect_said("table.yaml:5:3: spiffe://west.example/ns/apps/sa/thief to shop/till-1 port 8080: "
                "denied: allow policies exist, but none allowed\n");
    expect_said("expected allow at shop/till-1 (10.1.0.2:8080)\n");
    expect_said("DENY shop/no-debugging, rule 0: ports: 8080 is none of 9901\n");
    expect_said("ALLOW shop/only-web, rule 0: principals: west.example/ns/apps/sa/thief is none of "
                "west.example/ns/apps/sa/web\n");
    expect_said("ok   ");
    expect_said("2 cases, 1 not as expected\n");
}

Test(policy_test, a_request_is_told_with_the_field_that_kept_a_rule_from_matching)
{
#define KIOSK                                                                                      \
    "from: {principal: west.example/ns/apps/sa/kiosk}, to: {service: shop/catalog}, port: 80"
    cr_expect_eq(run("- {" KIOSK ", request: {method: PUT, path: '/items/7?x=y'}, expect: allow}\n"
                     "- {" KIOSK ", request: {path: /items/7, host: bank.example}, expect: allow}\n"
                     "- {" KIOSK ", request: {path: /admin, headers: {X-Office: [front, back]}}, "
                     "expect: allow}\n"
                     "- {" KIOSK ", request: {path: /admin/x, headers: {x-office: back}, token: "
                     "{principal: i/s, claims: {role: [user, guest]}}}, expect: allow}\n"
                     "- {" KIOSK ", expect: allow}\n"),
                 POLICY_TEST_MISMATCH);
    expect_said("kiosk to shop/catalog port 80, PUT /items/7: denied: allow policies exist");
    expect_said("ALLOW shop/catalog-to-read, rule 0: methods: PUT is none of GET, HEAD\n");
    expect_said("hosts: bank.example is none of catalog.shop.svc.cluster.local\n");
    expect_said("DENY shop/catalog-admin, rule 0: matches\n");
    expect_said("DENY shop/catalog-admin, rule 1: matches\n");
    expect_said("paths: /admin/x is none of /search, /items/{*}");
    expect_said(
        "port 80: denied: explicitly denied by shop/catalog-admin, rule 0; a request may be "
        "answered otherwise\n");
    expect_said("DENY shop/catalog-admin, rule 0: may match\n");
    expect_said(
        "ALLOW shop/catalog-to-read, rule 0: methods, hosts, paths: no request is shown, and "
        "without one it allows nobody\n");
#undef KIOSK
}

Test(policy_test, a_request_that_cannot_be_made_is_an_error_with_its_place)
{
    static const struct {
        const char *request, *sentence;
    } rows[] = {
        {"{methods: GET}", "request.methods: there is no such key; did you mean \"method\"?"},
        {"GET", "request: \"GET\" is not a mapping"},
        {"{method: G T}", "request.method: \"G T\" is not a method such as GET"},
        {"{path: items}",
         "table.yaml:5:92: error: request.path: \"items\" does not begin with a slash"},
        {"{headers: [a]}", "request.headers: expected a mapping"},
        {"{token: {claim: {}}}", "request.token.claim: there is no such key"},
        {"{token: {claims: [a]}}", "request.token.claims: expected a mapping"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *text =
            arena_printf(
                &arena,
                "- {from: {pod: apps/web-1}, to: {pod: shop/till-1}, port: 1, expect: deny, "
                "request: %s}\n",
                rows[i].request)
                .ptr;
        cr_expect_eq(run(text), POLICY_TEST_BAD_FILE, "%s", rows[i].request);
        expect_said(rows[i].sentence);
    }
}

Test(policy_test, claims_that_are_too_many_are_told_and_not_cut_off)
{
    struct text claims = {0};

    for (int i = 0; i < 65; i++)
        text_addf(&claims, "%sc%d: x", i > 0 ? ", " : "", i);
    cr_expect_eq(run(arena_printf(&arena,
                                  "- {from: {pod: apps/web-1}, to: {pod: shop/till-1}, port: 1, "
                                  "expect: deny, request: {token: {claims: {in: {%.*s}}}}}\n",
                                  STR_ARG(text_str(&claims)))
                         .ptr),
                 POLICY_TEST_BAD_FILE);
    expect_said("request.token.claims: has 65 entries, 64 at most");
    text_fini(&claims);
}

Test(policy_test, the_policy_that_decides_can_be_expected_too)
{
    cr_expect_eq(run("- {from: {pod: apps/web-1}, to: {service: shop/till}, port: 80, expect: "
                     "allow, policy: shop/other}\n"),
                 POLICY_TEST_MISMATCH);
    expect_said("expected allow by shop/other at shop/till-1");
    cr_expect_eq(
        run("- {from: {pod: apps/web-1}, to: {service: till.shop.svc.cluster.local}, port: "
            "80, expect: allow, policy: shop/only-web}\n"),
        POLICY_TEST_AS_EXPECTED, "%s", out.ptr);
}

Test(policy_test, an_address_beside_a_principal_is_where_it_calls_from)
{
    FILE *file = fopen(path_of("ranges.yaml"), "w");
    cr_assert_not_null(file);
    fputs("apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
          "metadata: {name: near, namespace: isthmus-system}\n"
          "spec: {action: DENY, rules: [{from: [{source: {notIpBlocks: [10.0.0.0/8]}}]}]}\n",
          file);
    fclose(file);
    const char *const manifests[] = {shop, path_of("ranges.yaml")};
    const char *table = write_table(
        HEAD, "- {from: {principal: west.example/ns/apps/sa/web, address: 10.2.0.1}, to: "
              "{pod: shop/till-1}, port: 8080, expect: allow}\n"
              "- {from: {principal: west.example/ns/apps/sa/web, address: 192.0.2.1}, "
              "to: {pod: shop/till-1}, port: 8080, expect: deny, policy: "
              "isthmus-system/near}\n");
    text_clear(&out);
    (void)policy_test_run(table, manifests, 2, &out);
    expect_said("ok   ");
    cr_expect(strstr(out.ptr, "explicitly denied by"), "%s", out.ptr);
}

/* P5, P8, P9: it takes the way of policies, so it is asked offline too. */
Test(policy_test, a_PeerAuthentication_is_asked_like_a_policy)
{
    FILE *file = fopen(path_of("strict.yaml"), "w");
    cr_assert_not_null(file);
    fputs("apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
          "metadata: {name: all, namespace: isthmus-system}\nspec: {mtls: {mode: STRICT}}\n"
          "---\napiVersion: security.istio.io/v1\nkind: PeerAuthentication\n"
          "metadata: {name: till, namespace: shop}\n"
          "spec: {selector: {matchLabels: {app: till}}, mtls: {mode: STRICT}, "
          "portLevelMtls: {9000: {mode: PERMISSIVE}}}\n"
          "---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
          "metadata: {name: anybody, namespace: shop}\nspec: {rules: [{}]}\n",
          file);
    fclose(file);
    const char *const manifests[] = {shop, path_of("strict.yaml")};
    const char *table = write_table(
        HEAD,
        "- {from: {address: 192.0.2.7}, to: {pod: shop/till-1}, port: 8080, expect: deny, "
        "policy: shop/isthmus_peer_authentication_till}\n"
        "- {from: {address: 192.0.2.7}, to: {pod: shop/till-1}, port: 9000, expect: allow}\n"
        "- {from: {address: 192.0.2.7}, to: {pod: apps/web-1}, port: 80, expect: deny, "
        "policy: isthmus-system/isthmus_strict_mtls}\n"
        "- {from: {pod: apps/web-1}, to: {pod: shop/till-1}, port: 8080, expect: allow}\n"
        "- {from: {address: 192.0.2.7}, to: {pod: shop/till-1}, port: 8081, expect: allow}\n");
    text_clear(&out);
    cr_expect_eq(policy_test_run(table, manifests, 2, &out), POLICY_TEST_MISMATCH, "%s", out.ptr);
    expect_said("DENY shop/isthmus_peer_authentication_till, rule 0: matches\n");
    expect_said("5 cases, 1 not as expected\n");
}

Test(policy_test, faults_of_the_files_have_their_place_and_their_own_exit_status)
{
    static const struct {
        const char *head, *cases, *sentence;
    } rows[] = {
        {"", "- {}\n", "trustDomain: is required"},
        {HEAD, "  []\n", "table.yaml:5:3: error: cases: has 0 entries"},
        {HEAD, "- {}\n", "table.yaml:5:3: error: cases[0].from: is required"},
        {HEAD, "- 7\n", "table.yaml:5:3: error: cases[0]: expected a mapping"},
        {HEAD, "- {from: {pod: web}, to: {pod: shop/till-1}, port: 1, expect: deny}\n",
         "table.yaml:5:16: error: from.pod: \"web\" is not namespace/name"},
        {HEAD, "- {from: {address: x}, to: {pod: shop/till-1}, port: 1, expect: deny}\n",
         "from.address: \"x\" is not an IP address"},
        {HEAD, "- {from: {principal: A/b}, to: {pod: shop/till-1}, port: 1, expect: deny}\n",
         "table.yaml:5:22: error: from.principal: \"spiffe://A/b\" is no SPIFFE ID"},
        {HEAD, "- {from: {}, to: {pod: shop/till-1}, port: 1, expect: deny}\n",
         "cases[0].from: expected principal"},
        {HEAD,
         "- {from: {pod: a/b, address: 10.0.0.1}, to: {pod: shop/till-1}, port: 1, expect: deny}\n",
         "nothing stands beside it"},
        {HEAD, "- {from: {address: 10.0.0.1}, to: {}, port: 1, expect: deny}\n",
         "cases[0].to: expected either pod or service"},
        {HEAD,
         "- {from: {address: 10.0.0.1}, to: {pod: a/b, service: a/b}, port: 1, expect: deny}\n",
         "cases[0].to: expected either pod or service"},
        {HEAD, "- {from: {address: 10.0.0.1}, to: {pod: shop/till-1}, expect: deny}\n",
         "cases[0].port: is required"},
        {HEAD, "- {from: {address: 10.0.0.1}, to: {pod: shop/till-1}, port: 65536, expect: deny}\n",
         "cases[0].port"},
        {HEAD, "- {from: {address: 10.0.0.1}, to: {pod: shop/till-1}, port: 1, expect: maybe}\n",
         "cases[0].expect: \"maybe\" is neither allow nor deny"},
        {HEAD, "- {from: {address: 10.0.0.1}, to: {pod: shop/till-1}, port: 1, expects: deny}\n",
         "expects: there is no such key; did you mean \"expect\"?"},
        {HEAD, "- {from: {pod: apps/nobody}, to: {pod: shop/till-1}, port: 1, expect: deny}\n",
         "table.yaml:5:10: error: the source \"apps/nobody\" is no pod here"},
        {HEAD, "- {from: {address: 10.0.0.1}, to: {pod: shop/nobody}, port: 1, expect: deny}\n",
         "table.yaml:5:35: error: the destination \"shop/nobody\" is no pod here"},
        {HEAD, "- {from: {address: 10.0.0.1}, to: {service: shop/till}, port: 81, expect: deny}\n",
         "the service till.shop.svc.cluster.local has no port 81"},
        {"control: nowhere.yaml\n",
         "- {from: {address: 10.0.0.1}, to: {pod: shop/till-1}, port: 1, expect: deny}\n",
         "nowhere.yaml"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        text_clear(&out);
        const char *table = write_table(rows[i].head, rows[i].cases);
        cr_expect_eq(policy_test_run(table, &shop, 1, &out), POLICY_TEST_BAD_FILE, "%s",
                     rows[i].cases);
        cr_expect(out.ptr && strstr(out.ptr, rows[i].sentence), "\"%s\" is not in:\n%s",
                  rows[i].sentence, out.ptr);
    }
}

Test(policy_test, manifests_that_are_wrong_or_not_there_are_told)
{
    const char *const nowhere = "/nowhere.yaml";
    cr_expect_eq(policy_test_run(EXAMPLES "/policy-test.yaml", &nowhere, 1, &out),
                 POLICY_TEST_BAD_FILE);
    expect_said("/nowhere.yaml");
    text_clear(&out);
    cr_expect_eq(policy_test_run("/nowhere.yaml", &shop, 1, &out), POLICY_TEST_BAD_FILE);
    text_clear(&out);
    cr_expect_eq(policy_test_run(shop, &shop, 1, &out), POLICY_TEST_BAD_FILE);
    expect_said("documents, expected one of kind PolicyTest");
}

Test(policy_test, the_cluster_can_come_from_a_ControlConfig)
{
    const char *table = write_table("control: " EXAMPLES "/control.yaml\n",
                                    "- {from: {pod: apps/web-1}, to: {service: shop/till}, port: "
                                    "80, expect: allow, policy: shop/only-web}\n");
    cr_expect_eq(policy_test_run(table, &shop, 1, &out), POLICY_TEST_AS_EXPECTED, "%s", out.ptr);
}
