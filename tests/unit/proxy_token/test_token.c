#include <criterion/criterion.h>
#include <string.h>

#include "certs/jwk.h"
#include "proxy/token/places.h"
#include "proxy/token/token.h"
#include "tests/kit/jwt_kit.h"

#define NOW UINT64_C(1800000000)
#define ISS "https://id.example"

/* One workload with rules, a key, a room. */
struct fixture {
    struct arena arena; /* of the model */
    struct arena turn;  /* of one request */
    struct jwt_key key;
    struct token_rule rules[4];
    struct token_layer layer;
    const struct token_layer *layers[1];
    struct token_set set;
    struct workload workload;
    struct token_room *room;
    struct meter *meter;
    struct http_field fields[8];
    struct http_request head;
};

static struct fixture f;

static void init(void)
{
    struct text why = {0};
    struct jwk_set *set = NULL;

    f.key = jwt_key_new("EdDSA", "k");
    cr_assert_eq(jwk_set_parse(jwt_key_set(&f.key, 1, "", &f.arena), &set, &why), 0);
    f.rules[0] = (struct token_rule){.issuer = STR(ISS), .keys = set, .revision = {1}};
    f.rules[0].places = token_default_places(&f.rules[0].n_places);
    f.layer = (struct token_layer){.rules = f.rules, .n_rules = 1};
    f.layers[0] = &f.layer;
    f.set = (struct token_set){.layers = f.layers, .n_layers = 1};
    f.workload.tokens = &f.set;
    f.meter = meter_new();
    f.room = token_room_new(f.meter);
    f.head = (struct http_request){.method = STR("GET"),
                                   .authority = STR("shop.example:80"),
                                   .path = STR("/a?b=c"),
                                   .fields = {f.fields, 0}};
    text_fini(&why);
}

static void fini(void)
{
    jwk_set_free((struct jwk_set *)(uintptr_t)f.rules[0].keys);
    jwt_key_free(&f.key);
    token_room_free(f.room);
    meter_free(f.meter);
    arena_fini(&f.arena);
    arena_fini(&f.turn);
}

TestSuite(token, .init = init, .fini = fini, .timeout = 30);

static void field(const char *name, struct str value)
{
    f.fields[f.head.fields.len++] = (struct http_field){str_from(name), value};
}

static struct str token_of(const char *payload)
{
    return jwt_sign(&f.key, NULL, payload, &f.arena);
}

static void bear(struct str token)
{
    f.head.fields.len = 0;
    field("accept", STR("*/*"));
    field("authorization", arena_printf(&f.arena, "Bearer %.*s", STR_ARG(token)));
}

static struct token_answer ask_at(uint64_t now_s)
{
    return token_check(f.room, &f.workload, 8080, &f.head, now_s, &f.turn);
}

static struct token_answer ask(void)
{
    return ask_at(NOW);
}

static void assert_refused(const char *why)
{
    struct token_answer answer = ask();

    cr_assert_eq(answer.err, -ERR_TOKEN_REFUSED, "expected \"%s\"", why);
    cr_assert(strstr(answer.why, why), "\"%s\" is not \"%s\"", answer.why, why);
    cr_assert_null(answer.token);
}

static bool has_field(const struct token_answer *answer, const char *name, struct str value)
{
    for (size_t i = 0; i < answer->fields.len; i++)
        if (str_eq(answer->fields.at[i].name, str_from(name)) &&
            str_eq(answer->fields.at[i].value, value))
            return true;
    return false;
}

static bool has_name(const struct token_answer *answer, const char *name)
{
    return http_find(&answer->fields, name).ptr != NULL;
}

Test(token, a_workload_without_rules_looks_at_nothing)
{
    f.workload.tokens = NULL;
    bear(STR("nonsense"));

    struct token_answer answer = ask();

    cr_assert_eq(answer.err, 0);
    cr_assert_null(answer.token);
    cr_assert_eq(answer.fields.at, f.fields);
}

Test(token, a_good_token_gives_principal_audiences_and_claims)
{
    bear(token_of("{\"iss\":\"" ISS "\",\"sub\":\"ann\",\"azp\":\"app\",\"aud\":[\"x\",\"y\"],"
                  "\"exp\":1800000001,\"groups\":[\"a\",1,\"b\"],\"n\":7,\"scope\":\"read  write\","
                  "\"deep\":{\"er\":{\"still\":\"v\"}},\"dots.in\":\"w\"}"));

    struct token_answer answer = ask();

    cr_assert_eq(answer.err, 0, "%s", answer.why);
    cr_assert(str_eq(answer.token->principal, STR(ISS "/ann")));
    cr_assert(str_eq(answer.token->presenter, STR("app")));
    cr_assert_eq(answer.token->n_audiences, 2);
    cr_assert(str_eq(answer.token->audiences[1], STR("y")));

    static const struct {
        struct str path;
        const char *values;
    } rows[] = {
        {{"groups", 6}, "a b"}, {{"scope", 5}, "read write"}, {{"deep\0er\0still", 13}, "v"},
        {{"dots.in", 7}, "w"},  {{"sub", 3}, "ann"},          {{"n", 1}, NULL}};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct text values = {0};
        bool is_there = false;

        for (size_t c = 0; c < answer.token->n_claims; c++) {
            const struct policy_claim *claim = &answer.token->claims[c];

            if (!str_eq(claim->path, rows[i].path))
                continue;
            is_there = true;
            for (size_t v = 0; v < claim->n_values; v++)
                text_addf(&values, "%s%.*s", v > 0 ? " " : "", STR_ARG(claim->values[v]));
        }
        cr_assert_eq(is_there, rows[i].values != NULL, "row %zu", i);
        if (is_there)
            cr_assert_str_eq(values.ptr, rows[i].values);
        text_fini(&values);
    }
}

Test(token, a_request_without_one_passes_without_a_principal)
{
    field("authorization", STR("Basic YTpi"));

    struct token_answer answer = ask();

    cr_assert_eq(answer.err, 0);
    cr_assert_null(answer.token);
    cr_assert(has_field(&answer, "authorization", STR("Basic YTpi")));
}

Test(token, refuses_tokens_that_do_not_count)
{
    static const struct {
        const char *payload, *why; /* NULL: it counts */
    } rows[] = {
        {"{\"iss\":\"" ISS "\",\"sub\":\"a\"}", NULL},
        {"{\"iss\":\"https://id.example/\",\"sub\":\"a\"}", "issuer is none"},
        {"{\"iss\":\"https://ID.example\",\"sub\":\"a\"}", "issuer is none"},
        {"{\"sub\":\"a\"}", "issuer is none"},
        {"{\"iss\":\"\",\"sub\":\"a\"}", "issuer is none"},
        {"{\"iss\":[\"" ISS "\"]}", "iss is not a string"},
        {"{\"iss\":\"" ISS "\",\"iss\":\"b\"}", "strictly read"},
        {"{\"iss\":\"" ISS "\",\"x\":{\"a\":1,\"a\":2}}", "strictly read"},
        {"{\"iss\":\"" ISS "\",\"sub\":7}", "sub is not a string"},
        {"{\"iss\":\"" ISS "\",\"azp\":{}}", "azp is not a string"},
        {"{\"iss\":\"" ISS "\",\"aud\":7}", "aud is neither"},
        {"{\"iss\":\"" ISS "\",\"aud\":[\"a\",7]}", "aud is neither"},
        {"{\"iss\":\"" ISS "\",\"exp\":1799999941}", NULL},
        {"{\"iss\":\"" ISS "\",\"exp\":1799999940}", "has expired"},
        {"{\"iss\":\"" ISS "\",\"exp\":1799999940.5}", NULL},
        {"{\"iss\":\"" ISS "\",\"exp\":\"1899999940\"}", "exp is not a time"},
        {"{\"iss\":\"" ISS "\",\"exp\":-1}", "exp is not a time"},
        {"{\"iss\":\"" ISS "\",\"exp\":null}", "exp is not a time"},
        {"{\"iss\":\"" ISS "\",\"exp\":1e300}", "exp is not a time"},
        {"{\"iss\":\"" ISS "\",\"exp\":99999999999999999999}", "strictly read"},
        {"{\"iss\":\"" ISS "\",\"nbf\":1800000060}", NULL},
        {"{\"iss\":\"" ISS "\",\"nbf\":1800000061}", "does not count yet"},
        {"{\"iss\":\"" ISS "\",\"nbf\":true}", "nbf is not a time"},
        {"[\"" ISS "\"]", "not a JSON object"},
        {"\"" ISS "\"", "not a JSON object"},
        {"{\"iss\":\"" ISS "\",\"sub\":\"a\\u0000b\"}", "strictly read"},
        {"{\"iss\":\"" ISS
         "\",\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}}}",
         "strictly read"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bear(token_of(rows[i].payload));
        if (rows[i].why)
            assert_refused(rows[i].why);
        else
            cr_assert_eq(ask().err, 0, "%s: %s", rows[i].payload, ask().why);
    }
}

Test(token, an_audience_of_the_rule_must_be_among_the_tokens)
{
    static const struct str wanted[] = {{"x", 1}, {"y", 1}};

    static const struct {
        const char *aud;
        bool is_good;
    } rows[] = {{"\"aud\":\"y\",", true},
                {"\"aud\":[\"z\",\"x\"],", true},
                {"\"aud\":\"z\",", false},
                {"\"aud\":[],", false},
                {"", false},
                {"\"aud\":\"X\",", false},
                {"\"aud\":\"x y\",", false}};

    f.rules[0].audiences = wanted;
    f.rules[0].n_audiences = 2;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bear(token_of(
            arena_printf(&f.arena, "{%s\"iss\":\"" ISS "\",\"sub\":\"a\"}", rows[i].aud).ptr));
        cr_assert_eq(ask().err == 0, rows[i].is_good, "%s", rows[i].aud);
    }
}

Test(token, whatever_stands_where_a_token_stands_is_one)
{
    static const char *const rows[] = {
        "Bearer",       "Bearer x", "bearer x",           "BEARER x",
        "Bearer a.b.c", "Bearer  ", "Bearer a, Bearer b", "Bearer\tx"};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        f.head.fields.len = 0;
        field("authorization", str_from(rows[i]));
        cr_assert_eq(ask().err, -ERR_TOKEN_REFUSED, "\"%s\"", rows[i]);
    }
    f.head.fields.len = 0;
    f.head.path = STR("/a?access_token=");
    assert_refused("compact JWS");
    f.head.path = STR("/a?access_token");
    assert_refused("compact JWS");
    f.head.path = STR("/a?access%5Ftoken=x");
    assert_refused("compact JWS");
    f.head.path = STR("/a?b&%61ccess_toke%6e=x");
    assert_refused("compact JWS");
    f.head.path = STR("/a?b=1;access_token=y"); /* is what b says, as to WHATWG's URL and Envoy */
    cr_assert_eq(ask().err, 0);
    f.head.path = STR("/a?xaccess_token=y&b");
    cr_assert_eq(ask().err, 0);
    f.head.path = STR("/a?access%255Ftoken=y");
    cr_assert_eq(ask().err, 0, "decoded once");
}

Test(token, a_parameter_s_name_is_decoded_where_it_is_looked_for_and_taken_out)
{
    const struct str token = token_of("{\"iss\":\"" ISS "\",\"sub\":\"a\"}");

    f.head.path = arena_printf(&f.arena, "/?a=1&access%%5ftoken=%.*s&b", STR_ARG(token));
    const struct token_answer answer = ask();
    cr_assert_eq(answer.err, 0, "%s", answer.why);
    cr_assert(answer.token);
    cr_expect(str_eq(answer.path, STR("/?a=1&b")), "%.*s", STR_ARG(answer.path));
}

Test(token, a_second_token_is_one_too_many)
{
    struct str one = token_of("{\"iss\":\"" ISS "\",\"sub\":\"a\"}");
    struct str other = token_of("{\"iss\":\"" ISS "\",\"sub\":\"b\"}");

    bear(one);
    field("authorization", arena_printf(&f.arena, "Bearer %.*s", STR_ARG(other)));
    assert_refused("several tokens");
    f.head.fields.len = 2;
    f.head.path = arena_printf(&f.arena, "/?access_token=%.*s", STR_ARG(other));
    assert_refused("several tokens");
    f.head.path = STR("/?access_token=junk");
    assert_refused("several tokens");
    f.head.path = arena_printf(&f.arena, "/?access_token=%.*s", STR_ARG(one));
    cr_assert_eq(ask().err, 0, "the same twice is one");
}

/* A server that makes variables of headers would find it where the verified one stands. */
Test(token, what_is_written_like_its_header_goes_nowhere)
{
    static const struct token_place places[] = {{TOKEN_IN_HEADER, {"x-user-jwt", 10}, {0}}};
    struct str token = token_of("{\"iss\":\"" ISS "\",\"sub\":\"a\"}");

    f.rules[0].places = places;
    f.rules[0].n_places = 1;
    f.rules[0].forwards = true;
    for (int with_token = 0; with_token < 2; with_token++) {
        f.head.fields.len = 0;
        field("x_user_jwt", STR("forged"));
        field("x-user_jwt", STR("forged"));
        field("x-user", STR("stays"));
        if (with_token)
            field("x-user-jwt", token);

        struct token_answer answer = ask();

        cr_assert_eq(answer.err, 0, "%s", answer.why);
        cr_assert_eq(answer.fields.len, (size_t)(1 + with_token));
        cr_assert(has_field(&answer, "x-user", STR("stays")));
        cr_assert_eq(has_field(&answer, "x-user-jwt", token), with_token == 1);
    }
}

Test(token, is_taken_out_of_what_goes_on_unless_it_is_forwarded)
{
    static const struct token_place places[] = {{TOKEN_IN_HEADER, {"x-jwt", 5}, {0}},
                                                {TOKEN_IN_PARAM, {"t", 1}, {0}},
                                                {TOKEN_IN_COOKIE, {"session", 7}, {0}}};
    struct str token = token_of("{\"iss\":\"" ISS "\",\"sub\":\"a\"}");

    f.rules[0].places = places;
    f.rules[0].n_places = 3;
    field("x-jwt", token);
    field("cookie", arena_printf(&f.arena, "a=b; session=%.*s; c=d", STR_ARG(token)));
    f.head.path = arena_printf(&f.arena, "/p?a=b&t=%.*s&c", STR_ARG(token));

    struct token_answer answer = ask();

    cr_assert_eq(answer.err, 0, "%s", answer.why);
    cr_assert_eq(answer.fields.len, 1);
    cr_assert(has_field(&answer, "cookie", STR("a=b; c=d")), "%.*s",
              STR_ARG(http_find(&answer.fields, "cookie")));
    cr_assert(str_eq(answer.path, STR("/p?a=b&c")), "%.*s", STR_ARG(answer.path));
    f.fields[1].value = arena_printf(&f.arena, "session=%.*s", STR_ARG(token));
    f.head.path = arena_printf(&f.arena, "/p?t=%.*s", STR_ARG(token));
    answer = ask();
    cr_assert_eq(answer.fields.len, 0);
    cr_assert(str_eq(answer.path, STR("/p")));
    f.rules[0].forwards = true;
    answer = ask();
    cr_assert_eq(answer.fields.len, 2);
    cr_assert(str_eq(answer.path, f.head.path));
}

Test(token, writes_its_headers_and_nobody_else_does)
{
    static const struct token_claim_header headers[] = {
        {{"x-sub", 5}, {"sub", 3}},           {{"x-age", 5}, {"age", 3}},
        {{"x-admin", 7}, {"role.admin", 10}}, {{"x-list", 6}, {"list", 4}},
        {{"x-bad", 5}, {"bad", 3}},           {{"x-dots", 6}, {"a.b", 3}}};
    struct str token =
        token_of("{\"iss\":\"" ISS "\",\"sub\":\"ann\",\"age\":41,\"role\":{\"admin\":true},"
                 "\"list\":[\"a\"],\"bad\":\"a\\r\\nx-evil: 1\",\"a.b\":\"c\"}");
    struct str payload, rest;

    f.rules[0].payload_header = STR("x-payload");
    f.rules[0].claim_headers = headers;
    f.rules[0].n_claim_headers = 6;
    for (int round = 0; round < 2; round++) { /* the second out of the cache */
        bear(token);
        field("x-sub", STR("root"));
        field("x_sub", STR("root"));
        field("x-list", STR("root"));
        field("x-payload", STR("e30"));

        struct token_answer answer = ask();

        cr_assert_eq(answer.err, 0, "%s", answer.why);
        cr_assert(str_split(token, '.', &rest, &payload));
        cr_assert(str_split(payload, '.', &payload, &rest));
        cr_assert(has_field(&answer, "x-payload", payload));
        cr_assert(has_field(&answer, "x-sub", STR("ann")));
        cr_assert(has_field(&answer, "x-age", STR("41")));
        cr_assert(has_field(&answer, "x-admin", STR("true")));
        cr_assert(has_field(&answer, "x-dots", STR("c")));
        cr_assert(!has_name(&answer, "x_sub") && !has_name(&answer, "x-bad") &&
                  !has_name(&answer, "x-list") && !has_name(&answer, "authorization"));
        cr_assert_eq(answer.fields.len, 6);
    }
    f.head.fields.len = 0;
    field("x-sub", STR("root"));
    field("X-other", STR("stays"));

    struct token_answer answer = ask();

    cr_assert_eq(answer.err, 0);
    cr_assert_eq(answer.fields.len, 1, "headers of rules are taken out of what has no token too");
}

Test(token, rules_without_keys_or_not_understood_take_none)
{
    const struct jwk_set *keys = f.rules[0].keys;

    bear(token_of("{\"iss\":\"" ISS "\",\"sub\":\"a\"}"));
    cr_assert_eq(ask().err, 0);
    f.rules[0].keys = NULL;
    assert_refused("no keys of the token's issuer");
    f.rules[0].keys = keys;
    f.rules[0].is_unknown = true;
    assert_refused("not understood");
    f.rules[0].is_unknown = false;
    f.set.missing = STR("shop/gone");
    assert_refused("is not there");
    f.head.fields.len = 0;
    assert_refused("is not there");
}

Test(token, any_rule_of_the_issuer_may_take_it)
{
    struct jwt_key other = jwt_key_new("ES256", "k");
    struct text why = {0};
    struct jwk_set *set = NULL;

    cr_assert_eq(jwk_set_parse(jwt_key_set(&other, 1, "", &f.arena), &set, &why), 0);
    f.rules[1] = f.rules[0];
    f.rules[1].keys = set;
    f.rules[1].revision[0] = 2;
    f.layer.n_rules = 2;
    bear(jwt_sign(&other, NULL, "{\"iss\":\"" ISS "\",\"sub\":\"a\"}", &f.arena));
    cr_assert_eq(ask().err, 0);
    f.layer.n_rules = 1;
    assert_refused("no key fits");
    jwk_set_free(set);
    jwt_key_free(&other);
}

Test(token, one_issuer_does_not_speak_for_another_below_it)
{
    f.rules[1] = f.rules[0];
    f.rules[1].issuer = STR(ISS "/tenant");
    f.rules[1].revision[0] = 2;
    bear(token_of("{\"iss\":\"" ISS "\",\"sub\":\"tenant/root\"}"));
    cr_assert_eq(ask().err, 0, "alone it may be called what it likes");
    f.layer.n_rules = 2;
    assert_refused("of another issuer");
    bear(token_of("{\"iss\":\"" ISS "\",\"sub\":\"tenants\"}"));
    cr_assert_eq(ask().err, 0);
}

Test(token, one_issuer_does_not_speak_for_another_whose_tokens_stand_elsewhere)
{
    static const struct token_place elsewhere = {TOKEN_IN_HEADER, {"x-tenant", 8}, {0}};
    static const uint16_t other_port = 9090;
    struct token_layer other = {.rules = &f.rules[1], .n_rules = 1};
    const struct token_layer *layers[] = {&f.layer, &other};

    f.rules[1] = f.rules[0];
    f.rules[1].issuer = STR(ISS "/tenant");
    f.rules[1].revision[0] = 2;
    f.rules[1].places = &elsewhere;
    f.rules[1].n_places = 1;
    f.set = (struct token_set){.layers = layers, .n_layers = 2};
    bear(token_of("{\"iss\":\"" ISS "\",\"sub\":\"tenant/root\"}"));
    assert_refused("of another issuer");
    other.ports = &other_port;
    other.n_ports = 1;
    assert_refused("of another issuer");
    f.set.n_layers = 1;
    cr_assert_eq(ask().err, 0);
    f.set.n_layers = 2;
    assert_refused("of another issuer"); /* also when it is remembered */
}

Test(token, holds_on_the_ports_of_its_service_alone)
{
    static const uint16_t ports[] = {80, 8080};

    bear(STR("nonsense"));
    f.layer.ports = ports;
    f.layer.n_ports = 2;
    assert_refused("compact JWS");
    f.layer.n_ports = 1;
    cr_assert_eq(ask().err, 0);
}

Test(token, one_that_comes_again_is_remembered_until_it_expires)
{
    bear(token_of("{\"iss\":\"" ISS "\",\"sub\":\"a\",\"exp\":1800000000}"));
    cr_assert_eq(ask().err, 0);
    cr_assert_eq(meter_total(METRIC_TOKENS_REMEMBERED), 0);

    struct token_answer answer = ask();

    cr_assert_eq(answer.err, 0);
    cr_assert(str_eq(answer.token->principal, STR(ISS "/a")));
    cr_assert_eq(meter_total(METRIC_TOKENS_REMEMBERED), 1);
    cr_assert_eq(ask_at(NOW + 59).err, 0);
    cr_assert_eq(ask_at(NOW + 60).err, -ERR_TOKEN_REFUSED);
    f.rules[0].revision[0] = 7; /* other keys: nothing is remembered of them */
    const int64_t before = meter_total(METRIC_TOKENS_REMEMBERED);
    cr_assert_eq(ask().err, 0);
    cr_assert_eq(meter_total(METRIC_TOKENS_REMEMBERED), before);
}

Test(token, remembers_a_bounded_number_of_them)
{
    for (int i = 0; i < 2 * TOKEN_CACHE_ENTRIES; i++) {
        bear(token_of(arena_printf(&f.arena, "{\"iss\":\"" ISS "\",\"sub\":\"%d\"}", i).ptr));
        struct token_answer answer = ask();
        cr_assert_eq(answer.err, 0);
        cr_assert(str_eq(answer.token->principal, arena_printf(&f.arena, ISS "/%d", i)));
        arena_reset(&f.turn);
    }
}

Test(token, of_which_much_would_be_held_is_verified_each_time)
{
    static const struct {
        unsigned n_claims;
        int64_t n_remembered; /* of two that are asked about */
    } rows[] = {{10, 1}, {40, 1}, {250, 0}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const int64_t before = meter_total(METRIC_TOKENS_REMEMBERED);
        struct text claims = {0};

        text_addf(&claims, "{\"iss\":\"" ISS "\",\"sub\":\"%zu\"", i);
        for (unsigned k = 0; k < rows[i].n_claims; k++)
            text_addf(&claims, ",\"c%u\":\"\"", k); /* little in the token, more in memory */
        text_addc(&claims, '}');
        bear(token_of(arena_str(&f.arena, text_str(&claims)).ptr));
        cr_assert_lt(f.fields[0].value.len, 4096);
        cr_assert_eq(ask().err, 0);
        cr_assert_eq(ask().err, 0);
        cr_expect_eq(meter_total(METRIC_TOKENS_REMEMBERED) - before, rows[i].n_remembered,
                     "%u claims", rows[i].n_claims);
        text_fini(&claims);
    }
}

Test(token, no_byte_of_a_good_one_may_differ)
{
    struct str token = token_of("{\"iss\":\"" ISS "\",\"sub\":\"a\"}");
    char *mutant = (char *)(uintptr_t)arena_str(&f.arena, token).ptr;

    bear(token);
    cr_assert_eq(ask().err, 0); /* remembered from here on */
    for (size_t at = 0; at < token.len; at++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            mutant[at] = (char)(token.ptr[at] ^ (1 << bit));
            bear(str_of(mutant, token.len));
            cr_assert_eq(ask().err, -ERR_TOKEN_REFUSED, "byte %zu, bit %u", at, bit);
        }
        mutant[at] = token.ptr[at];
        arena_reset(&f.turn);
    }
}

Test(token, one_that_is_too_large_is_refused)
{
    char *blank = arena_alloc(&f.arena, TOKEN_MAX_BYTES);

    memset(blank, 'x', TOKEN_MAX_BYTES - 1);
    bear(token_of(arena_printf(&f.arena, "{\"iss\":\"" ISS "\",\"x\":\"%s\"}", blank).ptr));
    assert_refused("longer than 8192");
    struct text many = {0};
    text_addf(&many, "{\"iss\":\"" ISS "\"");
    for (int i = 0; i < 300; i++)
        text_addf(&many, ",\"%d\":\"\"", i);
    text_addf(&many, "}");
    bear(token_of(many.ptr));
    assert_refused("too many claims");
    text_fini(&many);
}

Test(token, the_challenge_names_the_host_that_was_asked)
{
    bear(STR("x"));
    cr_assert(
        str_eq(ask().challenge, STR("Bearer realm=\"shop.example:80\", error=\"invalid_token\"")));
    f.head.authority = STR("");
    cr_assert(str_eq(ask().challenge, STR("Bearer realm=\"isthmus\", error=\"invalid_token\"")));
}
