/* What a policy asks of a request, field by field, and what it makes of a connection. */
#include <criterion/criterion.h>
#include <string.h>

#include "tests/kit/plain_policy.h"

static struct arena arena;

static void begin(void)
{
    arena = (struct arena){0};
}

static void end(void)
{
    arena_fini(&arena);
}

TestSuite(policy_http, .init = begin, .fini = end, .timeout = 20);

/* "GET", "GET*", "*GET", "*", "/a/{*}". */
static struct string_match match_of(const char *text)
{
    const struct str value = str_from(text);
    if (str_contains(value, STR("{")))
        return (struct string_match){MATCH_TEMPLATE, value};
    if (str_eq(value, STR("*")))
        return (struct string_match){MATCH_PRESENCE, {0}};
    if (str_starts_with(value, STR("*")))
        return (struct string_match){MATCH_SUFFIX, str_sub(value, 1, value.len)};
    if (str_ends_with(value, STR("*")))
        return (struct string_match){MATCH_PREFIX, str_sub(value, 0, value.len - 1)};
    return (struct string_match){MATCH_EXACT, value};
}

static const struct policy *compile(enum policy_action action, struct model_match match)
{
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};
    const struct model_policy model = {.name = STR("p"),
                                       .namespace_ = STR("shop"),
                                       .action = action,
                                       .rules = &rule,
                                       .n_rules = 1};
    return policy_compile(&arena, &model);
}

/* ALLOW: does it allow; DENY: does it deny. */
static bool matches(enum policy_action action, struct request_field field,
                    const struct policy_request *request)
{
    const struct policy *policy =
        compile(action, (struct model_match){.http = &field, .n_http = 1});
    const struct policy_question question = {.request = request};
    const struct policy_answer answer = compiled_policy_ask(&arena, &policy, 1, false, &question);
    cr_expect_not(answer.depends_on_request);
    return answer.allowed == (action == POLICY_ALLOW);
}

struct row {
    const char *value, *subject;
    bool matches;
};

/* Both actions, and as a value that must not be. */
static void expect_rows(enum request_subject subject, const struct row *rows, size_t n,
                        void (*set)(struct policy_request *, struct str))
{
    for (size_t i = 0; i < n; i++) {
        struct policy_request request = {0};
        struct string_match value = match_of(rows[i].value);
        const struct request_field in = {.subject = subject, .values = &value, .n_values = 1};
        const struct request_field out = {
            .subject = subject, .not_values = &value, .n_not_values = 1};
        set(&request, str_from(rows[i].subject));
        for (enum policy_action action = POLICY_ALLOW; action <= POLICY_DENY; action++) {
            cr_expect_eq(matches(action, in, &request), rows[i].matches, "%s %s: %s",
                         policy_action_text(action), rows[i].value, rows[i].subject);
            cr_expect_eq(matches(action, out, &request), !rows[i].matches, "%s not %s: %s",
                         policy_action_text(action), rows[i].value, rows[i].subject);
        }
    }
}

static void set_method(struct policy_request *request, struct str value)
{
    request->method = value;
}

static void set_host(struct policy_request *request, struct str value)
{
    request->host = value;
}

static void set_path(struct policy_request *request, struct str value)
{
    request->path = value;
}

Test(policy_http, a15_methods_are_compared_in_their_case)
{
    static const struct row rows[] = {
        {"GET", "GET", true}, {"get", "GET", false},  {"GET", "GETX", false},
        {"GET", "", false},   {"GET*", "GETX", true}, {"*ET", "GET", true},
        {"*", "GET", true},   {"*", "", false},       {"P*", "GET", false},
    };
    expect_rows(REQUEST_METHOD, rows, ARRAY_LEN(rows), set_method);
}

Test(policy_http, a14_a_host_is_compared_in_any_case_and_a_value_without_a_port_is_for_every_port)
{
    static const struct row rows[] = {
        {"shop.example", "shop.example", true},
        {"shop.example", "SHOP.Example", true},
        {"SHOP.Example", "shop.example", true},
        {"shop.example", "shop.example:8080", true},
        {"shop.example", "Shop.Example:80", true},
        {"shop.example", "shop.example:", true},
        {"shop.example", "shop.example.evil", false},
        {"shop.example", "a.shop.example", false},
        {"shop.example:8080", "shop.example:8080", true},
        {"shop.example:8080", "shop.example:80", false},
        {"shop.example:8080", "shop.example", false},
        {"shop.example:*", "shop.example:80", true},
        {"shop.example:*", "shop.example", false},
        {"*.example", "Shop.Example:443", true},
        {"*.example", "example", false},
        {"*:8080", "shop.example:8080", true},
        {"*:8080", "shop.example:80", false},
        {"shop.*", "SHOP.example:1", true},
        {"*", "shop.example", true},
        {"*", "", false},
        {"shop.example", "", false},
        {"[::1]", "[::1]", true},
        {"[::1]", "[::1]:80", true},
        {"[::1]:80", "[::1]", false},
        {"[fd00::A]", "[FD00::a]:1", true},
        {"[:", "[::1]", false},
    };
    expect_rows(REQUEST_HOST, rows, ARRAY_LEN(rows), set_host);
}

Test(policy_http, a16_paths_are_whole_begun_ended_there_or_templates)
{
    static const struct row rows[] = {
        {"/info", "/info", true},
        {"/info", "/info/", false},
        {"/info", "/INFO", false},
        {"/info*", "/info", true},
        {"/info*", "/information", true},
        {"/info*", "/inf", false},
        {"*/edit", "/a/edit", true},
        {"*/edit", "/a/edit/", false},
        {"*", "/", true},
        {"*", "", false},
        {"/a/{*}", "/a/b", true},
        {"/a/{*}", "/a/b/c", false},
        {"/a/{**}", "/a/b/c", true},
        {"/a/{**}/", "/a//", true},
        {"/a/{**}", "", false},
        {"/pkg.Till/Pay", "/pkg.Till/Pay", true},
    };
    expect_rows(REQUEST_PATH, rows, ARRAY_LEN(rows), set_path);
}

/* ---- headers ---- */

Test(policy_http, a19_several_headers_of_one_name_are_one_value_and_in_doubt_each_is_one)
{
    static const struct {
        const char *value, *headers[3];
        bool allows, denies; /* as a value */
        bool not_allows, not_denies;
    } rows[] = {
        {"admin", {"x-role", "admin"}, true, true, false, false},
        {"admin", {"x-role", "user"}, false, false, true, true},
        {"admin", {"x-other", "admin"}, false, false, true, true},
        {"admin", {"x-role", "ADMIN"}, false, false, true, true},
        {"*", {"x-role", "a"}, true, true, false, false},
        {"*", {"x-role", ""}, true, true, false, false}, /* there, and empty */
        {"a*", {"x-role", ""}, false, false, true, true},
        {"*", {"x-other", ""}, false, false, true, true},
        /* Two of them: "user,admin" to one reader, either to another. */
        {"user,admin", {"x-role", "user", "admin"}, true, true, false, false},
        {"admin", {"x-role", "user", "admin"}, false, true, false, true},
        {"user", {"x-role", "user", "admin"}, false, true, false, true},
        {"admin,user", {"x-role", "user", "admin"}, false, false, true, true},
        {"*admin", {"x-role", "user", "admin"}, true, true, false, false},
        {"user*", {"x-role", "user", "admin"}, true, true, false, false},
        {"*user", {"x-role", "user", "admin"}, false, true, false, true},
        {"*", {"x-role", "", ""}, true, true, false, false},
        /* One with commas: several to some readers. */
        {"admin", {"x-role", "user, admin"}, false, true, false, true},
        {"user", {"x-role", "user, admin"}, false, true, false, true},
        {"user, admin", {"x-role", "user, admin"}, true, true, false, false},
        /* Another name, and the same one where names become variables. */
        {"admin", {"x_role", "admin"}, false, true, false, true},
        {"*", {"x_role", "admin"}, false, true, false, true},
        {"admin", {"xxrole", "admin"}, false, false, true, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct string_match value = match_of(rows[i].value);
        struct policy_header headers[2] = {0};
        struct policy_request request = {.headers = headers};
        for (size_t h = 1; h < 3 && rows[i].headers[h]; h++)
            headers[request.n_headers++] =
                (struct policy_header){str_from(rows[i].headers[0]), str_from(rows[i].headers[h])};
        const struct request_field in = {
            .subject = REQUEST_HEADER, .name = STR("x-role"), .values = &value, .n_values = 1};
        const struct request_field out = {.subject = REQUEST_HEADER,
                                          .name = STR("x-role"),
                                          .not_values = &value,
                                          .n_not_values = 1};
        cr_expect_eq(matches(POLICY_ALLOW, in, &request), rows[i].allows, "row %zu allows", i);
        cr_expect_eq(matches(POLICY_DENY, in, &request), rows[i].denies, "row %zu denies", i);
        cr_expect_eq(matches(POLICY_ALLOW, out, &request), rows[i].not_allows, "row %zu: not", i);
        cr_expect_eq(matches(POLICY_DENY, out, &request), rows[i].not_denies, "row %zu: not", i);
    }
}

/* What one server reads otherwise than another. */
Test(policy_http, a_path_or_method_that_a_kind_server_takes_for_another_is_held_against_the_request)
{
    static const struct {
        const char *value, *path, *lax;
        bool allows, denies, not_allows, not_denies;
    } rows[] = {
        {"/admin*", "/pub/..;/admin", "/admin", false, true, false, true},
        {"/pub/*", "/pub/..;/admin", "/admin", false, true, false, true},
        {"/pub/*", "/pub/a%2Fb", "/pub/a/b", true, true, false, false},
        {"/pub/{*}", "/pub/a%2Fb", "/pub/a/b", false, true, false, true},
        {"/pub/a%2Fb", "/pub/a%2Fb", "/pub/a/b", true, true, false, false},
        {"/x", "/pub/a;b", "/pub/a", false, false, true, true},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct string_match value = match_of(rows[i].value);
        const struct policy_request request = {.path = str_from(rows[i].path),
                                               .lax_path = str_from(rows[i].lax)};
        const struct request_field in = {.subject = REQUEST_PATH, .values = &value, .n_values = 1};
        const struct request_field out = {
            .subject = REQUEST_PATH, .not_values = &value, .n_not_values = 1};
        cr_expect_eq(matches(POLICY_ALLOW, in, &request), rows[i].allows, "row %zu allows", i);
        cr_expect_eq(matches(POLICY_DENY, in, &request), rows[i].denies, "row %zu denies", i);
        cr_expect_eq(matches(POLICY_ALLOW, out, &request), rows[i].not_allows, "row %zu: not", i);
        cr_expect_eq(matches(POLICY_DENY, out, &request), rows[i].not_denies, "row %zu: not", i);
    }
    struct string_match method = match_of("DELETE");
    const struct policy_request request = {.method = STR("delete")};
    struct request_field field = {.subject = REQUEST_METHOD, .values = &method, .n_values = 1};
    cr_expect_not(matches(POLICY_ALLOW, field, &request));
    cr_expect(matches(POLICY_DENY, field, &request));
    field =
        (struct request_field){.subject = REQUEST_METHOD, .not_values = &method, .n_not_values = 1};
    cr_expect_not(matches(POLICY_ALLOW, field, &request));
    cr_expect(matches(POLICY_DENY, field, &request));
}

/* A host with a dot at its end, and what is too long to be compared. */
Test(policy_http, what_is_doubtful_is_held_against_the_request)
{
    char *host = arena_new_array(&arena, char, POLICY_HOST_MAX + 1);
    char *value = arena_new_array(&arena, char, POLICY_HEADER_MAX);
    memset(host, 'a', POLICY_HOST_MAX + 1);
    memset(value, 'a', POLICY_HEADER_MAX);
    struct policy_header headers[] = {{STR("x"), STR("a")},
                                      {STR("x"), str_of(value, POLICY_HEADER_MAX)}};
    const struct policy_request dotted = {.host = STR("shop.example.:80")},
                                long_host = {.host = str_of(host, POLICY_HOST_MAX + 1)},
                                fits = {.host = str_of(host, POLICY_HOST_MAX)},
                                joined = {.headers = headers, .n_headers = 2};
    struct string_match shop = match_of("shop.example"), a = match_of("a*"), b = match_of("b*");
    struct request_field field = {.subject = REQUEST_HOST, .values = &shop, .n_values = 1};
    cr_expect_not(matches(POLICY_ALLOW, field, &dotted));
    cr_expect(matches(POLICY_DENY, field, &dotted));
    field.values = &a;
    cr_expect(matches(POLICY_ALLOW, field, &fits));
    cr_expect_not(matches(POLICY_ALLOW, field, &long_host));
    field.values = &b;
    cr_expect(matches(POLICY_DENY, field, &long_host));
    field = (struct request_field){
        .subject = REQUEST_HEADER, .name = STR("x"), .values = &a, .n_values = 1};
    cr_expect_not(matches(POLICY_ALLOW, field, &joined));
    field.values = &b;
    cr_expect(matches(POLICY_DENY, field, &joined));
    field = (struct request_field){
        .subject = REQUEST_HEADER, .name = STR("x"), .not_values = &b, .n_not_values = 1};
    cr_expect_not(matches(POLICY_ALLOW, field, &joined));
    memset(value, ',', POLICY_PARTS_MAX);
    headers[0].value = str_of(value, POLICY_PARTS_MAX - 1);
    const struct policy_request parts = {.headers = headers, .n_headers = 1};
    cr_expect(matches(POLICY_ALLOW, field, &parts));
    headers[0].value.len++;
    cr_expect_not(matches(POLICY_ALLOW, field, &parts));
}

/* ---- tokens ---- */

Test(policy_http, a20_what_a_token_says_is_asked_and_a_request_without_one_says_nothing)
{
    static const struct str audiences[] = {STR("shop"), STR("bank")},
                            roles[] = {STR("user"), STR("admin")}, group[] = {STR("ops")},
                            empty[] = {STR("")};
    static const struct policy_claim claims[] = {{STR("role"), roles, 2},
                                                 {STR("realm\0group"), group, 1},
                                                 {STR("empty"), empty, 1},
                                                 {STR("none"), NULL, 0}};
    static const struct policy_token token = {.principal = STR("https://idp.example/me"),
                                              .presenter = STR("app"),
                                              .audiences = audiences,
                                              .n_audiences = 2,
                                              .claims = claims,
                                              .n_claims = ARRAY_LEN(claims)};

    static const struct {
        enum request_subject subject;
        struct str name;
        const char *value;
        bool matches;
    } rows[] = {
        {REQUEST_TOKEN_PRINCIPAL, {0}, "https://idp.example/me", true},
        {REQUEST_TOKEN_PRINCIPAL, {0}, "https://idp.example/*", true},
        {REQUEST_TOKEN_PRINCIPAL, {0}, "*", true},
        {REQUEST_TOKEN_PRINCIPAL, {0}, "idp.example/me", false},
        {REQUEST_TOKEN_PRESENTER, {0}, "app", true},
        {REQUEST_TOKEN_PRESENTER, {0}, "ap", false},
        {REQUEST_TOKEN_AUDIENCE, {0}, "bank", true},
        {REQUEST_TOKEN_AUDIENCE, {0}, "shop,bank", false},
        {REQUEST_TOKEN_AUDIENCE, {0}, "sh*", true},
        {REQUEST_TOKEN_CLAIM, STR("role"), "admin", true},
        {REQUEST_TOKEN_CLAIM, STR("role"), "root", false},
        {REQUEST_TOKEN_CLAIM, STR("realm\0group"), "ops", true},
        {REQUEST_TOKEN_CLAIM, STR("realm"), "*", false},
        {REQUEST_TOKEN_CLAIM, STR("group"), "ops", false},
        {REQUEST_TOKEN_CLAIM, STR("empty"), "*", false},
        {REQUEST_TOKEN_CLAIM, STR("none"), "*", false},
    };
    const struct policy_request with = {.token = &token}, without = {0};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct string_match value = match_of(rows[i].value);
        const struct request_field in = {rows[i].subject, rows[i].name, &value, NULL, 1, 0};
        const struct request_field out = {rows[i].subject, rows[i].name, NULL, &value, 0, 1};
        for (enum policy_action action = POLICY_ALLOW; action <= POLICY_DENY; action++) {
            cr_expect_eq(matches(action, in, &with), rows[i].matches, "row %zu", i);
            cr_expect_eq(matches(action, out, &with), !rows[i].matches, "row %zu: not", i);
            cr_expect_not(matches(action, in, &without), "row %zu: no token", i);
            cr_expect(matches(action, out, &without), "row %zu: not, no token", i);
        }
    }
}

Test(policy_http, fields_must_all_hold_and_many_values_are_searched)
{
    struct string_match paths[300], post = match_of("POST"), not_this = match_of("/p/77");
    for (size_t i = 0; i < 300; i++)
        paths[i] = (struct string_match){MATCH_EXACT, arena_printf(&arena, "/p/%zu", i)};
    paths[0] = match_of("/t/{*}");
    struct request_field fields[] = {{.subject = REQUEST_PATH,
                                      .values = paths,
                                      .n_values = 300,
                                      .not_values = &not_this,
                                      .n_not_values = 1},
                                     {.subject = REQUEST_METHOD, .values = &post, .n_values = 1}};
    uint16_t port = 80;
    const struct policy *policy =
        compile(POLICY_ALLOW,
                (struct model_match){.http = fields, .n_http = 2, .ports = &port, .n_ports = 1});

    static const struct {
        const char *method, *path;
        uint16_t port;
        bool allowed;
    } rows[] = {
        {"POST", "/p/1", 80, true},  {"POST", "/p/299", 80, true}, {"POST", "/t/x", 80, true},
        {"POST", "/p/0", 80, false}, {"POST", "/p/77", 80, false}, {"GET", "/p/1", 80, false},
        {"POST", "/p/1", 81, false}, {"POST", "", 80, false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct policy_request request = {.method = str_from(rows[i].method),
                                               .path = str_from(rows[i].path)};
        const struct policy_question question = {.port = rows[i].port, .request = &request};
        cr_expect_eq(compiled_policy_ask(&arena, &policy, 1, false, &question).allowed,
                     rows[i].allowed, "row %zu", i);
    }
}

/* ---- of a connection ---- */

Test(policy_http, a_connection_depends_on_its_requests_only_where_they_can_change_something)
{
    struct string_match get = match_of("GET");
    struct request_field method = {.subject = REQUEST_METHOD, .values = &get, .n_values = 1};
    uint16_t port = 80, other_port = 81;
    const struct model_match l4 = {.ports = &port, .n_ports = 1},
                             not_l4 = {.ports = &other_port, .n_ports = 1},
                             l7 = {.http = &method, .n_http = 1},
                             both = {.http = &method, .n_http = 1, .ports = &port, .n_ports = 1},
                             not_both = {
                                 .http = &method, .n_http = 1, .ports = &other_port, .n_ports = 1};
    const struct model_match unknown = {.http = &method, .n_http = 1, .has_unknown = true};

    const struct {
        const char *row;
        enum policy_action actions[2];
        const struct model_match *matches[2];
        bool is_missing, allowed, depends;
    } rows[] = {
        {"DENY l4", {POLICY_DENY}, {&l4}, false, false, false},
        {"DENY l7", {POLICY_DENY}, {&l7}, false, false, true},
        {"DENY both", {POLICY_DENY}, {&both}, false, false, true},
        {"DENY elsewhere", {POLICY_DENY}, {&not_both}, false, true, false},
        {"DENY l4 and l7", {POLICY_DENY, POLICY_DENY}, {&l7, &l4}, false, false, false},
        {"ALLOW l4", {POLICY_ALLOW}, {&l4}, false, true, false},
        {"ALLOW l7", {POLICY_ALLOW}, {&l7}, false, false, true},
        {"ALLOW both", {POLICY_ALLOW}, {&both}, false, false, true},
        {"ALLOW elsewhere", {POLICY_ALLOW}, {&not_both}, false, false, false},
        {"ALLOW l4 and l7", {POLICY_ALLOW, POLICY_ALLOW}, {&l7, &l4}, false, true, false},
        {"ALLOW l4, DENY l7", {POLICY_ALLOW, POLICY_DENY}, {&l4, &l7}, false, false, true},
        {"ALLOW l7, DENY l4", {POLICY_ALLOW, POLICY_DENY}, {&l7, &l4}, false, false, false},
        {"ALLOW nobody, DENY l7", {POLICY_ALLOW, POLICY_DENY}, {&not_l4, &l7}, false, false, false},
        {"missing", {POLICY_ALLOW}, {&l7}, true, false, false},
        {"AUDIT l7", {POLICY_AUDIT}, {&l7}, false, true, true},
        {"AUDIT l7, DENY l4", {POLICY_AUDIT, POLICY_DENY}, {&l7, &l4}, false, false, false},
        {"ALLOW unknown", {POLICY_ALLOW}, {&unknown}, false, false, false},
        {"DENY unknown", {POLICY_DENY}, {&unknown}, false, false, true},
    };
    const struct policy_question question = {.port = 80};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct policy *policies[2];
        size_t n = 0;
        for (; n < 2 && rows[i].matches[n]; n++)
            policies[n] = compile(rows[i].actions[n], *rows[i].matches[n]);
        const struct policy_answer answer =
            compiled_policy_ask(&arena, policies, n, rows[i].is_missing, &question);
        cr_expect_eq(answer.allowed, rows[i].allowed, "%s", rows[i].row);
        cr_expect_eq(answer.depends_on_request, rows[i].depends, "%s", rows[i].row);
    }
}

Test(policy_http, what_denies_for_certain_is_named_before_what_may)
{
    struct string_match get = match_of("GET");
    struct request_field method = {.subject = REQUEST_METHOD, .values = &get, .n_values = 1};
    uint16_t port = 80;
    struct model_match matches_of[] = {{.http = &method, .n_http = 1},
                                       {.ports = &port, .n_ports = 1}};
    struct model_clause clauses[] = {{&matches_of[0], 1}, {&matches_of[1], 1}};
    struct model_rule rules[] = {{&clauses[0], 1}, {&clauses[1], 1}};
    const struct model_policy model = {.name = STR("p"),
                                       .namespace_ = STR("shop"),
                                       .action = POLICY_DENY,
                                       .rules = rules,
                                       .n_rules = 2};
    const struct policy *policy = policy_compile(&arena, &model);
    const struct policy_request request = {.method = STR("GET")};
    struct policy_question question = {.port = 80};
    cr_expect_eq(compiled_policy_ask(&arena, &policy, 1, false, &question).rule_idx, 1);
    question.request = &request;
    cr_expect_eq(compiled_policy_ask(&arena, &policy, 1, false, &question).rule_idx, 0);
}

Test(policy_http, a_compiled_field_outlives_its_model)
{
    char name[] = "x-role", value[] = "admin";
    struct string_match match = {MATCH_EXACT, str_of(value, strlen(value))};
    struct request_field field = {.subject = REQUEST_HEADER,
                                  .name = str_of(name, strlen(name)),
                                  .values = &match,
                                  .n_values = 1};
    const struct policy *policy =
        compile(POLICY_ALLOW, (struct model_match){.http = &field, .n_http = 1});
    memset(name, 'z', strlen(name));
    memset(value, 'z', strlen(value));
    field.subject = REQUEST_METHOD;
    const struct policy_header header = {STR("x-role"), STR("admin")};
    const struct policy_request request = {.headers = &header, .n_headers = 1};
    const struct policy_question question = {.request = &request};
    cr_expect(compiled_policy_ask(&arena, &policy, 1, false, &question).allowed);
}

Test(policy_http, a_set_knows_which_headers_its_policies_ask_for)
{
    struct request_field fields[] = {{.subject = REQUEST_HEADER, .name = STR("x-role")},
                                     {.subject = REQUEST_METHOD},
                                     {.subject = REQUEST_HEADER, .name = STR("x_role")},
                                     {.subject = REQUEST_HEADER, .name = STR("a")},
                                     {.subject = REQUEST_HEADER, .name = STR("x-roles")}};
    const struct policy *policies[] = {
        compile(POLICY_DENY, (struct model_match){.http = fields, .n_http = 3}),
        compile(POLICY_AUDIT, (struct model_match){.http = fields, .n_http = 5}),
        compile(POLICY_ALLOW, (struct model_match){0})};
    const struct policy_layer *none = policy_layer_new(&arena, NULL, 0, NULL, 0);
    const struct policy_layer *layers[] = {none, policy_layer_new(&arena, policies, 3, NULL, 0)};
    const struct policy_set set = {.layers = layers, .n_layers = 2};

    cr_expect_eq(layers[1]->n_headers, 3, "each once");
    cr_expect(policy_set_asks_header(&set, STR("x-role")));
    cr_expect(policy_set_asks_header(&set, STR("x_role")));
    cr_expect(policy_set_asks_header(&set, STR("x-roles")));
    cr_expect(policy_set_asks_header(&set, STR("a")));
    cr_expect_not(policy_set_asks_header(&set, STR("x-rol")));
    cr_expect_not(policy_set_asks_header(&set, STR("")));
    cr_expect_not(policy_set_asks_header(&set, STR("x-sum")));
}
