/* Where tokens stand in a request, and what a log shows in their place. */
#include <criterion/criterion.h>

#include "proxy/token/places.h"

TestSuite(places, .timeout = 10);

Test(places, a_log_has_no_token_of_a_query)
{
    struct arena arena = {0};
    static const struct token_place places[] = {
        {TOKEN_IN_PARAM, {"jwt", 3}, {0}},
        {TOKEN_IN_PARAM, {"the key", 7}, {0}},
        {TOKEN_IN_HEADER, {"user", 4}, {0}},
    };
    const struct token_rule rule = {.places = places, .n_places = 3};
    const struct token_layer layer = {.rules = &rule, .n_rules = 1};
    const struct token_layer *const layers[] = {&layer};
    const struct token_set set = {.layers = layers, .n_layers = 1};

    const struct {
        const char *path, *hidden;
        const struct token_set *set;
    } rows[] = {
        {"/a", "/a", &set},
        {"/a?", "/a?", &set},
        {"/a?b=1&c", "/a?b=1&c", &set},
        {"/access_token=1", "/access_token=1", &set},
        {"/a?access_token=x", "/a?access_token=REDACTED", NULL},
        {"/a?access_token=", "/a?access_token=", NULL},
        {"/a?access_token", "/a?access_token", NULL},
        {"/a?access_token=x=y&b=1", "/a?access_token=REDACTED&b=1", NULL},
        {"/a?b=1&access_token=x&access_token=y",
         "/a?b=1&access_token=REDACTED&access_token=REDACTED", NULL},
        {"/a?access%5Ftoken=x&b", "/a?access%5Ftoken=REDACTED&b", NULL},
        {"/a?%61%63%63ess%5ftoke%6E=x", "/a?%61%63%63ess%5ftoke%6E=REDACTED", NULL},
        {"/a?Access_Token=x", "/a?Access_Token=REDACTED", NULL},
        {"/a?xaccess_token=x&access_tokenx=y", "/a?xaccess_token=x&access_tokenx=y", NULL},
        {"/a?b=1;access_token=x;y&c", "/a?b=1;access_token=REDACTED&c", NULL},
        {"/a?b?access_token=x", "/a?b?access_token=x", NULL},
        {"/a?jwt=x&user=y", "/a?jwt=x&user=y", NULL},
        {"/a?jwt=x&user=y", "/a?jwt=REDACTED&user=y", &set},
        {"/a?j%77t=x", "/a?j%77t=REDACTED", &set},
        {"/a?the%20key=x", "/a?the%20key=REDACTED", &set},
        {"/a?other=eyJhbGci.eyJpc3Mi.c2ln&b", "/a?other=REDACTED&b", NULL},
        {"/a?eyJhbGci.eyJpc3Mi.c2ln", "/a?REDACTED", NULL},
        {"/a?o=Bearer%20eyJhbGci%2EeyJpc3Mi", "/a?o=REDACTED", NULL},
        {"/a?o=%65yJhbGci.x", "/a?o=REDACTED", NULL},
        {"/a?o=eyJhbGci", "/a?o=eyJhbGci", NULL},
        {"/a?o=heyJude.mp3", "/a?o=heyJude.mp3", NULL},
        {"/a?access_token=REDACTED", "/a?access_token=REDACTED", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct str hidden = places_hidden(str_from(rows[i].path), rows[i].set, &arena);
        cr_expect(str_eq(hidden, str_from(rows[i].hidden)), "%s: %.*s", rows[i].path,
                  STR_ARG(hidden));
    }
    arena_fini(&arena);
}

Test(places, a_header_concerns_tokens_if_one_is_read_from_it_or_written_to_it)
{
    static const struct token_place places[] = {
        {TOKEN_IN_HEADER, {"x-token", 7}, {0}},
        {TOKEN_IN_PARAM, {"jwt", 3}, {0}},
    };
    static const struct token_claim_header claims[] = {{.header = {"x-sub", 5}}};
    const struct token_rule rule = {.places = places,
                                    .n_places = 2,
                                    .payload_header = STR("x-payload"),
                                    .claim_headers = claims,
                                    .n_claim_headers = 1};
    const struct token_layer layer = {.rules = &rule, .n_rules = 1};
    const struct token_layer *const layers[] = {&layer};
    const struct token_set set = {.layers = layers, .n_layers = 1};

    cr_expect(places_concern(&set, STR("x-token")));
    cr_expect(places_concern(&set, STR("x_token")), "the same to some servers");
    cr_expect(places_concern(&set, STR("x-sub")));
    cr_expect(places_concern(&set, STR("x-payload")));
    cr_expect_not(places_concern(&set, STR("jwt")), "no header");
    cr_expect_not(places_concern(&set, STR("x-tokens")));
    cr_expect_not(places_concern(NULL, STR("x-token")));
}
