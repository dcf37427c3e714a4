#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/err.h"
#include "xds/codec.h"

static struct arena arena;
static struct text why;

static void fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
}

TestSuite(codec_token, .fini = fini, .timeout = 20);

static const struct str texts[] = {{"a", 1}, {"b", 1}};
static const struct token_place places[] = {{TOKEN_IN_HEADER, {"x-a", 3}, {"JWT ", 4}},
                                            {TOKEN_IN_PARAM, {"p", 1}, {0}},
                                            {TOKEN_IN_COOKIE, {"c", 1}, {0}}};
static const struct token_claim_header headers[] = {{{"x-s", 3}, {"sub", 3}}};

static struct token_rule full_rule(void)
{
    return (struct token_rule){.issuer = STR("https://id.example"),
                               .audiences = texts,
                               .n_audiences = 2,
                               .jwks = STR("{\"keys\":[]}"),
                               .places = places,
                               .n_places = 3,
                               .forwards = true,
                               .payload_header = STR("x-p"),
                               .claim_headers = headers,
                               .n_claim_headers = 1};
}

static struct str encode(struct token_rule *rule)
{
    struct model_request_auth auth = {.name = STR("a"),
                                      .namespace_ = STR("shop"),
                                      .scope = POLICY_WORKLOAD,
                                      .targets = (struct str *)(uintptr_t)texts,
                                      .n_targets = 1,
                                      .rules = rule,
                                      .n_rules = 1};
    const struct model_resource resource = {.kind = MODEL_REQUEST_AUTH, .of.request_auth = &auth};
    struct text bytes = {0};

    cr_assert(str_eq(xds_encode(&resource, &arena, &bytes), STR("shop/a")));
    struct str kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

static struct model_request_auth *decode(struct str bytes)
{
    struct model_resource resource;

    text_clear(&why);
    if (xds_decode(XDS_REQUEST_AUTH, STR("shop/a"), bytes, &arena, &resource, &why) < 0)
        return NULL;
    cr_assert_eq(resource.kind, MODEL_REQUEST_AUTH);
    return resource.of.request_auth;
}

static bool are_one(const struct token_rule *a, const struct token_rule *b)
{
    unsigned char of_a[DIGEST_LEN], of_b[DIGEST_LEN];

    token_rule_digest(a, of_a);
    token_rule_digest(b, of_b);
    return memcmp(of_a, of_b, DIGEST_LEN) == 0;
}

Test(codec_token, what_is_written_is_read_back)
{
    struct token_rule rule = full_rule();
    const struct model_request_auth *auth = decode(encode(&rule));

    cr_assert_not_null(auth, "%s", why.ptr);
    cr_assert_eq(auth->scope, POLICY_WORKLOAD);
    cr_assert(auth->n_targets == 1 && str_eq(auth->targets[0], texts[0]));
    cr_assert_eq(auth->n_rules, 1);
    cr_assert(are_one(&auth->rules[0], &rule));
    rule.forwards = false;
    cr_assert(!are_one(&auth->rules[0], &rule));
}

/* Their issuers were searched for, in less than a second: as token_rule_digest() writes them, one
 * XXH64 is that of both. */
Test(codec_token, rules_that_were_made_to_look_alike_are_two)
{
    struct token_rule ours = full_rule(), theirs = ours;

    ours.issuer = STR("https://id.example/u8jzPde0IgxLd6GncfBAepfJBd0Kh8oOOL8dKLzdoc"
                      "J2isAjIhKtJ0RlgLKOmxgJTeKdNnFRIBXuD");
    theirs.issuer = STR("https://id.example/u8jzPde0IgoTVF0ZjWBAepfJBd0Kh8oOOL8dKLzdoc"
                        "KB6OGNHrKtJ0RlgLKOmxgJTeKdNnFRIBXuD");
    cr_assert_eq(str_hash(arena_printf(&arena, "96:%.*s", STR_ARG(ours.issuer)), 0),
                 str_hash(arena_printf(&arena, "96:%.*s", STR_ARG(theirs.issuer)), 0));
    cr_assert(!are_one(&ours, &theirs));
}

Test(codec_token, what_is_not_known_takes_no_token)
{
    struct token_rule rule = full_rule();
    struct str whole = encode(&rule);
    /* Field 200, "x", behind the message. */
    char *bytes = arena_alloc(&arena, whole.len + 4);

    memcpy(bytes, whole.ptr, whole.len);
    memcpy(bytes + whole.len, "\xc2\x0c\x01x", 4);
    const struct model_request_auth *auth = decode(str_of(bytes, whole.len + 4));

    cr_assert_not_null(auth, "%s", why.ptr);
    cr_assert_eq(auth->n_rules, 2);
    cr_assert(auth->rules[0].is_unknown && auth->rules[1].is_unknown);
    cr_assert(auth->rules[1].n_places == 2 &&
              str_eq(auth->rules[1].places[0].name, STR("authorization")));
    rule.is_unknown = true;
    cr_assert(decode(encode(&rule))->rules[0].is_unknown);
}

Test(codec_token, a_place_of_a_kind_that_is_not_known_takes_no_token)
{
    const struct token_place odd[] = {{(enum token_place_kind)7, {"x", 1}, {0}}};
    struct token_rule rule = full_rule();

    rule.places = odd;
    rule.n_places = 1;
    const struct model_request_auth *auth = decode(encode(&rule));
    cr_assert_not_null(auth, "%s", why.ptr);
    cr_assert(auth->rules[0].is_unknown && auth->rules[0].n_places == 0);
}

Test(codec_token, refuses_what_is_malformed)
{
    static const struct token_place upper[] = {{TOKEN_IN_HEADER, {"X-A", 3}, {0}}};
    static const struct token_place hop[] = {{TOKEN_IN_HEADER, {"connection", 10}, {0}}};
    static const struct token_claim_header empty[] = {{{"x", 1}, {0}}};
    static const struct token_claim_header host[] = {{{"host", 4}, {"a", 1}}};
    struct token_rule rows[7];

    for (size_t i = 0; i < 7; i++)
        rows[i] = full_rule();
    rows[0].issuer = (struct str){0};
    rows[1].n_places = 0;
    rows[2].places = upper;
    rows[2].n_places = 1;
    rows[3].places = hop;
    rows[3].n_places = 1;
    rows[4].claim_headers = empty;
    rows[5].claim_headers = host;
    rows[6].payload_header = STR("a b");
    for (size_t i = 0; i < 7; i++) {
        cr_assert_null(decode(encode(&rows[i])), "row %zu", i);
        cr_assert_gt(why.len, 0, "row %zu", i);
    }
}
