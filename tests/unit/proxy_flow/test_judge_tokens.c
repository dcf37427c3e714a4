/* What tokens say of requests, where they are judged. */
#include <criterion/criterion.h>

#include "proxy/flow/walk.h"
#include "tests/kit/jwt_kit.h"
#include "ways.h"

TestSuite(judge, .timeout = 60);

#define ISSUER "https://id.example"

static struct jwt_key key;

static void take_tokens(void)
{
    (void)snap_request_auth(&town.snap, "tokens", ISSUER,
                            jwt_key_set(&key, 1, "", &town.snap.arena));
}

static void say_tcp_only(void)
{
    town_service(&town)->ports[0].app_protocol = APP_TCP;
    take_tokens();
}

static void take_tokens_of_alice(void)
{
    struct model_policy *policy = snap_policy(&town.snap, "alice", POLICY_ALLOW, NULL);
    snap_asks(&town.snap, policy, REQUEST_TOKEN_PRINCIPAL, NULL, MATCH_EXACT, ISSUER "/alice");
    take_tokens();
}

/* GET / with the token that says who, or with a word that is none. */
static void get_as(const char *who)
{
    struct arena arena = {0};
    struct str token = STR("no.token.atall");
    if (*who)
        token = jwt_sign(
            &key, NULL,
            arena_printf(&arena, "{\"iss\":\"" ISSUER "\",\"sub\":\"%s\",\"exp\":32503680000}", who)
                .ptr,
            &arena);
    say(arena_printf(&arena, "GET / HTTP/1.1\r\nHost: store\r\nAuthorization: Bearer %.*s\r\n\r\n",
                     STR_ARG(token))
            .ptr);
    arena_fini(&arena);
}

Test(judge, who_a_token_says_is_asked_where_the_request_is_judged)
{
    key = jwt_key_new("EdDSA", "k");
    for (size_t i = 0; i < (size_t)WAYS; i++) {
        const char *name = ways[i].name;
        open_way(&ways[i], take_tokens_of_alice);
        get_as("alice");
        cr_assert(app_saw(1, "GET / HTTP/1.1", 1), "%s", name);
        cr_expect_eq(count_of(&town.served[0], "uthorization"), 0, "%s: the token stays here",
                     name);
        answer(1);
        cr_assert(got(&call.tap, "200 OK", 1), "%s", name);
        get_as("bob");
        cr_expect(got(&call.tap, DENIED, 1), "%s", name);
        get("/");
        cr_expect(got(&call.tap, DENIED, 2), "%s: nobody said who", name);
        get_as("");
        cr_expect(got(&call.tap, "HTTP/1.1 401 ", 1), "%s", name);
        cr_expect(got(&call.tap, "www-authenticate: Bearer realm=\"store\"", 1), "%s", name);
        cr_expect(got(&call.tap, "x-isthmus-reason: token_refused", 1), "%s", name);
        get_as("alice");
        cr_expect(app_saw(1, "GET / HTTP/1.1", 2), "%s", name);
        finish();
        cr_expect(LOGGED(&town, "\"why\":\"token_refused\"", "\"response.code\":401"), "%s", name);
        town_close(&town);
    }
    jwt_key_free(&key);
}

/* A request is lost with a connection that had rested, and said again: by then its token is
 * nobody's. Where another pod might be asked the verdict was forgotten with the first. */
Test(judge, a_second_try_that_is_refused_for_its_token_does_not_say_what_let_the_first_in)
{
    key = jwt_key_new("EdDSA", "k");
    struct jwt_key another = jwt_key_new("EdDSA", "k");
    for (size_t i = 0; i < (size_t)WAYS; i++) {
        const char *name = ways[i].name;
        open_way(&ways[i], take_tokens_of_alice);
        get_as("alice");
        cr_assert(app_saw(1, "GET / HTTP/1.1", 1), "%s", name);
        answer(1);
        cr_assert(got(&call.tap, "200 OK", 1), "%s", name);
        get_as("alice");
        cr_assert(app_saw(1, "GET / HTTP/1.1", 2), "%s", name);
        snap_drop(&town.snap, "shop/tokens");
        (void)snap_request_auth(&town.snap, "tokens", ISSUER,
                                jwt_key_set(&another, 1, "", &town.snap.arena));
        town_learn(&town);
        tap_close(&town.served[0], -ERR_RESET);
        cr_expect(got(&call.tap, "x-isthmus-reason: token_refused", 1), "%s", name);
        finish();
        cr_expect(LOGGED(&town, "\"response.code\":200", "\"policy\":\"shop/alice\""), "%s", name);
        cr_expect_not(LOGGED(&town, "token_refused", "\"policy\":"), "%s: nobody was asked", name);
        town_close(&town);
    }
    jwt_key_free(&another);
    jwt_key_free(&key);
}

Test(judge, rules_for_tokens_hold_from_the_next_request_on_where_none_was_looked_at)
{
    key = jwt_key_new("EdDSA", "k");
    open_way(&ways[4], allow_cart);
    get_as("");
    cr_assert(app_saw(1, "no.token.atall", 1), "nobody asked for one");
    answer(1);
    cr_assert(got(&call.tap, "200 OK", 1));
    take_tokens();
    town_learn(&town);
    get_as("");
    cr_expect(got(&call.tap, "HTTP/1.1 401 ", 1));
    get_as("alice");
    cr_assert(app_saw(1, "GET / HTTP/1.1", 2));
    cr_expect_eq(count_of(&town.served[0], "uthorization"), 1, "the second stays here");
    close_way();
    jwt_key_free(&key);
}

static void take_tokens_of_a_parameter(void)
{
    static const struct token_place places[] = {{TOKEN_IN_PARAM, {"my_jwt", 6}, {0}}};
    struct model_request_auth *auth =
        snap_request_auth(&town.snap, "tokens", ISSUER, jwt_key_set(&key, 1, "", &town.snap.arena));
    auth->rules[0].places = places;
    auth->rules[0].n_places = 1;
}

Test(judge, no_log_has_a_token_that_stands_in_a_query)
{
    key = jwt_key_new("EdDSA", "k");
    for (size_t i = 0; i < (size_t)WAYS; i++) {
        open_way(&ways[i], take_tokens_of_a_parameter);
        get("/a?x=1&my%5Fjwt=secret");
        cr_assert(got(&call.tap, "HTTP/1.1 401 ", 1), "%s", ways[i].name);
        get("/%?my_jwt=secret"); /* refused before it is judged */
        cr_assert(got(&call.tap, "HTTP/1.1 400 ", 1), "%s", ways[i].name);
        get("/b?access%5Ftoken=secret");
        cr_assert(app_saw(1, "GET /b", 1), "%s", ways[i].name);
        answer(1);
        cr_assert(got(&call.tap, "200 OK", 1), "%s", ways[i].name);
        finish();
        cr_expect(LOGGED(&town, "\"request.path\":\"/a?x=1&my%5Fjwt=REDACTED\""), "%s",
                  ways[i].name);
        cr_expect(LOGGED(&town, "\"request.path\":\"/%\""), "%s", ways[i].name);
        cr_expect(LOGGED(&town, "\"request.path\":\"/b?access%5Ftoken=REDACTED\""), "%s",
                  ways[i].name);
        cr_expect_not(LOGGED(&town, "secret"), "%s", ways[i].name);
        town_close(&town);
    }
    jwt_key_free(&key);
}

Test(judge, no_log_has_one_that_was_not_looked_at_for_want_of_memory)
{
    key = jwt_key_new("EdDSA", "k");
    open_way(&ways[0], take_tokens_of_a_parameter);
    get("/a?my_jwt=secret");
    cr_assert(got(&call.tap, "HTTP/1.1 401 ", 1));
    town.n2.walk->overload.strain = STRAIN_MEMORY;
    get("/b?my_jwt=secret");
    cr_assert(got(&call.tap, "x-isthmus-reason: overload", 1));
    town.n2.walk->overload.strain = STRAIN_NONE;
    finish();
    cr_expect(LOGGED(&town, "\"request.path\":\"/b?my_jwt=REDACTED\""));
    cr_expect_not(LOGGED(&town, "secret"));
    town_close(&town);
    jwt_key_free(&key);
}

Test(judge, tokens_alone_make_http_of_a_connection_and_cut_one_that_was_not_read)
{
    key = jwt_key_new("EdDSA", "k");
    open_way(&ways[0], take_tokens);
    get_as("");
    cr_expect(got(&call.tap, "HTTP/1.1 401 ", 1));
    get("/");
    cr_expect(app_saw(1, "GET / HTTP/1.1", 1), "who has none is let in: no policy asks for one");
    close_way();

    open_way(&ways[0], allow_cart);
    cr_assert(call_echoes(&call, 1));
    take_tokens();
    town_learn(&town);
    cr_expect(tap_failed(town.world.loop, &call.tap));
    finish();
    cr_expect(LOGGED(&town, "\"why\":\"denied_late\"", "a RequestAuthentication asks for tokens"));
    town_close(&town);

    open_way(&ways[0], say_tcp_only);
    cr_assert(call_echoes(&call, 1), "a port that says TCP has no tokens");
    close_way();
    jwt_key_free(&key);
}

static void deny_a_role(void)
{
    struct model_policy *policy = snap_policy(&town.snap, "no-root", POLICY_DENY, NULL);
    struct model_request_auth *auth =
        snap_request_auth(&town.snap, "tokens", ISSUER, jwt_key_set(&key, 1, "", &town.snap.arena));
    snap_asks(&town.snap, policy, REQUEST_HEADER, "x-role", MATCH_EXACT, "root");
    auth->rules[0].payload_header = STR("x-payload");
}

/* A server that merges trailers into headers would read what no policy has seen. */
Test(judge, a_trailer_of_a_header_that_policies_or_tokens_ask_for_does_not_reach_the_pod)
{
    static const char request[] =
        "POST / HTTP/1.1\r\nHost: store\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
        "X-Sum: 1\r\nX-Role: root\r\nX_Role: root\r\nX-Payload: e30\r\nX-Rolex: 2\r\n\r\n";
    key = jwt_key_new("EdDSA", "k");
    for (size_t i = 0; i < (size_t)WAYS; i++) {
        const char *name = ways[i].name;
        open_way(&ways[i], deny_a_role);
        say(request);
        cr_assert(app_saw(1, "0\r\nx-sum: 1\r\nx-rolex: 2\r\n\r\n", 1), "%s: %s", name,
                  town.served[0].got.ptr);
        answer(1);
        cr_assert(got(&call.tap, "200 OK", 1), "%s", name);
        close_way();
    }
    jwt_key_free(&key);
}
