/* What of a request its endpoint is chosen by: from the manifest, over the wire, to the number. */
#include <criterion/criterion.h>

#include "lane.h"
#include "proxy/route/hash.h"

static struct lane lane;

static void end(void)
{
    lane_end(&lane);
}

TestSuite(route_hash, .fini = end, .timeout = 30);

static void open_with(const char *algorithm, const char *keys)
{
    lane_begin(&lane);
    cluster_addf(&lane.cluster,
                 "{apiVersion: isthmus.io/v1alpha1, kind: TrafficPolicy, metadata: {name: echo, "
                 "namespace: mesh}, spec: {targetRef: {group: \"\", kind: Service, name: echo}, "
                 "loadBalancing: {algorithm: %s, hashKeys: [%s]}}}",
                 algorithm, keys);
    lane_build(&lane);
}

static struct route_hash hash_of(const struct call *call)
{
    return lane_ask(&lane, call).hash;
}

Test(route_hash, is_of_the_first_key_that_the_request_has)
{
    static const struct {
        const char *what;
        struct call call;
        const char *value; /* NULL: there is none */
    } rows[] = {
        {"nothing", {.path = "/"}, NULL},
        {"the first", {.path = "/?u=q", .headers = {"x-user", "anna"}}, "anna"},
        {"a list", {.path = "/", .headers = {"x-user", "a", "x-user", "b"}}, "a,b"},
        {"the second", {.path = "/", .headers = {"cookie", "a=1; s=\"bob\"; b"}}, "bob"},
        {"another cookie", {.path = "/", .headers = {"cookie", "xs=1"}}, NULL},
        {"the third, decoded", {.path = "/?a&u=%61b&u=c"}, "ab"},
        {"an empty one is one", {.path = "/?u"}, ""},
    };

    open_with("RingHash", "{header: X-User}, {cookie: {name: s}}, {queryParameter: u}");
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct route_hash hash = hash_of(&rows[i].call);
        cr_expect(hash.is_made, "%s", rows[i].what);
        cr_expect_eq(hash.is_there, rows[i].value != NULL, "%s", rows[i].what);
        if (rows[i].value)
            cr_expect_eq(hash.value, str_hash(str_from(rows[i].value), 0), "%s", rows[i].what);
        cr_expect(str_is_empty(hash.set_cookie), "%s", rows[i].what);
    }
}

Test(route_hash, a_cookie_is_given_by_chance_and_honoured_when_it_comes_back)
{
    open_with("Maglev", "{cookie: {name: s, ttl: 1h}}");
    const struct route_hash a = hash_of(&(struct call){.random = 10}),
                            b = hash_of(&(struct call){.random = 11});
    cr_expect(str_eq(a.set_cookie, STR("s=\"000000000000000a\"; Max-Age=3600; Path=/; HttpOnly")),
              "%.*s", STR_ARG(a.set_cookie));
    cr_expect(a.is_there && b.is_there && a.value != b.value);
    const struct route_hash back =
        hash_of(&(struct call){.random = 12, .headers = {"cookie", "s=000000000000000a"}});
    cr_expect_eq(back.value, a.value);
    cr_expect(str_is_empty(back.set_cookie));
}

Test(route_hash, of_a_path_is_without_its_query)
{
    open_with("Maglev", "{path: {}}");
    const uint64_t value = hash_of(&(struct call){.path = "/a/b?x=1"}).value;
    cr_expect_eq(hash_of(&(struct call){.path = "/a/%62?y"}).value, value);
    cr_expect_eq(value, str_hash(STR("/a/b"), 0));
}

Test(route_hash, is_not_made_for_a_service_that_does_not_hash)
{
    lane_begin(&lane);
    lane_build(&lane);
    cr_expect_not(hash_of(&(struct call){.path = "/"}).is_made);
}

/* Envoy's meaning: keys are mixed until a terminal one is there. */
Test(route_hash, of_a_rule_goes_before_the_service_s_and_is_mixed_where_no_key_is_terminal)
{
    const struct traffic_policy policy = {.algorithm = ALGORITHM_RING_HASH};
    const struct service service = {.traffic = &policy};
    const struct hash_key keys[] = {{.kind = HASH_KEY_HEADER, .name = STR("a")},
                                    {.kind = HASH_KEY_HEADER, .name = STR("b")}};
    struct hash_key terminal[] = {keys[0], keys[1]};
    struct http_field fields[] = {{STR("a"), STR("1")}, {STR("b"), STR("2")}};
    const struct http_request head = {.fields = {.at = fields, .len = 2}};
    const struct http_path path = {.path = STR("/")};
    const struct route_question question = {.head = &head, .path = &path};
    struct route_rule rule = {.hash_keys = keys, .n_hash_keys = 2};
    struct route_hash hash;
    const uint64_t first = str_hash(STR("1"), 0), second = str_hash(STR("2"), 0);

    lane_begin(&lane);
    route_hash_make(&question, &rule, &service, &lane.arena, &hash);
    cr_expect_eq(hash.value, ((first << 1) | (first >> 63)) ^ second);
    terminal[0].is_terminal = true;
    rule.hash_keys = terminal;
    route_hash_make(&question, &rule, &service, &lane.arena, &hash);
    cr_expect_eq(hash.value, first);
}
