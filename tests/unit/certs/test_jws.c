#include <criterion/criterion.h>
#include <string.h>

#include "certs/jws.h"
#include "proxy/base/err.h"
#include "tests/kit/jwt_kit.h"

#define JOE                                                                                        \
    "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnV"  \
    "lfQ"

static const char *const all_algorithms[] = {"RS256", "RS384", "RS512", "PS256", "PS384",
                                             "PS512", "ES256", "ES384", "ES512", "EdDSA"};

static struct arena arena;

static void fini(void)
{
    arena_fini(&arena);
}

TestSuite(jws, .fini = fini, .timeout = 60);

static struct jwk_set *parse(struct str json)
{
    struct jwk_set *set = NULL;
    struct text why = {0};

    cr_assert_eq(jwk_set_parse(json, &set, &why), 0, "%s", why.ptr);
    text_fini(&why);
    return set;
}

/* NULL when it is good. */
static const char *verdict_of(struct str token, const struct jwk_set *set)
{
    struct jws jws;
    const char *why = NULL;

    if (jws_read(token, &arena, &jws, &why) < 0 || jws_verify(&jws, set, &why) < 0) {
        cr_assert_not_null(why);
        return why;
    }
    return NULL;
}

Test(jws, verifies_the_examples_of_the_standards)
{
    static const struct {
        const char *of, *keys, *token;
    } rows[] = {
        {"RFC 7515 A.2",
         "{\"keys\":[{\"kty\":\"RSA\",\"e\":\"AQAB\",\"n\":"
         "\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-"
         "4qPCJrcS2mJPMEzP1Pt"
         "0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-"
         "bSf63kpaSHSXndS"
         "5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_"
         "I5IhlJH7"
         "aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\"}]}",
         "eyJhbGciOiJSUzI1NiJ9." JOE "."
         "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
         "O8W2F"
         "p5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
         "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBM"
         "Hlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-"
         "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2"
         "w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"},
        {"RFC 7515 A.3",
         "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":"
         "\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\",\"y\":"
         "\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}]}",
         "eyJhbGciOiJFUzI1NiJ9." JOE "."
         "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"},
        {"RFC 7515 A.4",
         "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-521\",\"x\":"
         "\"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_"
         "NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk"
         "\",\"y\":"
         "\"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-"
         "x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"
         "\"}]}",
         "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA."
         "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_"
         "7XdtAG8"
         "GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn"},
        {"RFC 8037 A.4",
         "{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":"
         "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
         "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
         "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct jwk_set *set = parse(str_from(rows[i].keys));
        const char *why = verdict_of(str_from(rows[i].token), set);

        cr_assert_null(why, "%s: %s", rows[i].of, why);
        jwk_set_free(set);
    }
}

Test(jws, verifies_every_algorithm_and_no_flipped_byte)
{
    for (size_t i = 0; i < sizeof(all_algorithms) / sizeof(all_algorithms[0]); i++) {
        struct jwt_key key = jwt_key_new(all_algorithms[i], "a");
        struct jwk_set *set = parse(jwt_key_set(&key, 1, ",\"use\":\"sig\"", &arena));
        struct str token = jwt_sign(&key, NULL, "{\"sub\":\"x\"}", &arena);
        char *mutant = (char *)(uintptr_t)arena_str(&arena, token).ptr;
        const char *why = verdict_of(token, set);

        cr_assert_null(why, "%s: %s", all_algorithms[i], why);
        for (size_t at = 0; at < token.len; at++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                mutant[at] = (char)(token.ptr[at] ^ (1 << bit));
                cr_assert_not_null(verdict_of(str_of(mutant, token.len), set),
                                   "%s: byte %zu, bit %u", all_algorithms[i], at, bit);
            }
            mutant[at] = token.ptr[at];
            cr_assert_not_null(verdict_of(str_sub(token, 0, at), set), "%s: cut at %zu",
                               all_algorithms[i], at);
        }
        jwk_set_free(set);
        jwt_key_free(&key);
        arena_reset(&arena);
    }
}

Test(jws, refuses_headers_that_are_not_strictly_what_they_must_be)
{
    static const struct {
        const char *header, *why;
    } rows[] = {
        {"{\"alg\":\"none\"}", "algorithm is none that is accepted"},
        {"{\"alg\":\"None\"}", "algorithm is none that is accepted"},
        {"{\"alg\":\"HS256\"}", "algorithm is none that is accepted"},
        {"{\"alg\":\"es256\"}", "algorithm is none that is accepted"},
        {"{\"alg\":\"ES256K\"}", "algorithm is none that is accepted"},
        {"{\"alg\":[\"ES256\"]}", "algorithm is none that is accepted"},
        {"{}", "algorithm is none that is accepted"},
        {"[\"ES256\"]", "not a JSON object"},
        {"{\"alg\":\"ES256\",\"alg\":\"none\"}", "strictly read"},
        {"{\"alg\":\"ES256\"} ", NULL},
        {"{\"alg\":\"ES256\"}x", "strictly read"},
        {"{\"alg\":\"ES256\\u0000\"}", "strictly read"},
        {"{\"alg\":\"ES256\",\"crit\":[\"exp\"],\"exp\":1}", "crit"},
        {"{\"alg\":\"ES256\",\"crit\":[]}", "crit"},
        {"{\"alg\":\"ES256\",\"b64\":false}", "crit"},
        {"{\"alg\":\"ES256\",\"kid\":1}", "kid is not a string"},
        {"{\"alg\":\"ES256\",\"kid\":\"other\"}", "no key fits"},
        {"{\"alg\":\"ES256\",\"kid\":\"\"}", "no key fits"},
        {"{\"alg\":\"ES256\",\"kid\":\"../../dev/null\"}", "no key fits"},
        {"{\"alg\":\"ES256\",\"kid\":\"a\"}", NULL},
        {"{\"alg\":\"ES256\",\"typ\":\"JWT\",\"cty\":\"x\"}", NULL},
        {"{\"alg\":\"ES384\"}", "no key fits"},
        {"{\"alg\":\"RS256\"}", "no key fits"},
        {"{\"alg\":\"EdDSA\"}", "no key fits"},
        {"{\"alg\":\"ES256\",\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":{\"a\":1}}}}}}}",
         "strictly read"},
    };
    struct jwt_key key = jwt_key_new("ES256", "a");
    struct jwk_set *set = parse(jwt_key_set(&key, 1, "", &arena));

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *why = verdict_of(jwt_sign(&key, rows[i].header, "{}", &arena), set);

        if (!rows[i].why)
            cr_assert_null(why, "%s: %s", rows[i].header, why);
        else
            cr_assert(why && strstr(why, rows[i].why), "%s: %s", rows[i].header, why);
    }
    jwk_set_free(set);
    jwt_key_free(&key);
}

Test(jws, a_key_that_a_token_brings_along_is_nobodys)
{
    struct jwt_key own = jwt_key_new("ES256", "a"), strangers = jwt_key_new("ES256", "a");
    struct jwk_set *set = parse(jwt_key_set(&own, 1, "", &arena));
    struct str keys = jwt_key_set(&strangers, 1, "", &arena);
    struct str jwk = str_sub(keys, 9, keys.len - 11); /* within {"keys":[...]} */
    struct str header = arena_printf(
        &arena, "{\"alg\":\"ES256\",\"jwk\":%.*s,\"jku\":\"https://evil.example/\"}", STR_ARG(jwk));
    const char *why = verdict_of(jwt_sign(&strangers, header.ptr, "{}", &arena), set);

    cr_assert_str_eq(why, "the token's signature is not good");
    jwk_set_free(set);
    jwt_key_free(&own);
    jwt_key_free(&strangers);
}

Test(jws, a_public_key_is_never_a_secret)
{
    struct jwt_key key = jwt_key_new("RS256", "a");
    struct str keys = jwt_key_set(&key, 1, "", &arena);
    struct jwk_set *set = parse(keys);
    const struct str secrets[] = {jwt_key_pem(&key, &arena), keys};
    static const char *const algorithms[] = {"HS256", "RS256", "PS256"};

    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < 3; i++) {
            struct str header = arena_printf(&arena, "{\"alg\":\"%s\"}", algorithms[i]);
            struct str first = jwt_base64url(header, &arena);
            struct str both = arena_printf(&arena, "%.*s.e30", STR_ARG(first));
            struct str third = jwt_base64url(jwt_hmac(secrets[s], both, &arena), &arena);
            struct str token = arena_printf(&arena, "%.*s.%.*s", STR_ARG(both), STR_ARG(third));

            cr_assert_not_null(verdict_of(token, set), "%s, secret %zu", algorithms[i], s);
        }
    }
    jwk_set_free(set);
    jwt_key_free(&key);
}

Test(jws, an_algorithm_is_not_swapped_for_another_of_the_same_key)
{
    struct jwt_key pkcs = jwt_key_new("RS256", NULL);
    struct jwt_key pss = {pkcs.pkey, NULL, "PS256"};
    struct jwk_set *any = parse(jwt_key_set(&pkcs, 1, "", &arena));
    struct jwk_set *only_pss = parse(jwt_key_set(&pkcs, 1, ",\"alg\":\"PS256\"", &arena));

    cr_assert_null(verdict_of(jwt_sign(&pkcs, NULL, "{}", &arena), any));
    cr_assert_null(verdict_of(jwt_sign(&pss, NULL, "{}", &arena), any));
    cr_assert_null(verdict_of(jwt_sign(&pss, NULL, "{}", &arena), only_pss));
    cr_assert_str_eq(verdict_of(jwt_sign(&pkcs, NULL, "{}", &arena), only_pss),
                     "no key fits the token's kid and algorithm");
    cr_assert_not_null(verdict_of(jwt_sign(&pkcs, "{\"alg\":\"PS256\"}", "{}", &arena), any));
    cr_assert_not_null(verdict_of(jwt_sign(&pss, "{\"alg\":\"RS256\"}", "{}", &arena), any));
    jwk_set_free(any);
    jwk_set_free(only_pss);
    jwt_key_free(&pkcs);
}

Test(jws, an_ec_signature_is_two_numbers_of_exactly_their_width)
{
    struct jwt_key key = jwt_key_new("ES256", NULL);
    struct jwk_set *set = parse(jwt_key_set(&key, 1, "", &arena));
    struct str header = jwt_base64url(STR("{\"alg\":\"ES256\"}"), &arena);
    struct str both = arena_printf(&arena, "%.*s.e30", STR_ARG(header));
    struct str der, raw = jwt_signature(&key, both, &der, &arena);
    unsigned char wide[66] = {0}, zeros[64] = {0}, longer[65] = {0};

    memcpy(longer, raw.ptr, 64);
    memcpy(wide + 1, raw.ptr, 32);
    memcpy(wide + 34, raw.ptr + 32, 32);
    const struct str wrong[] = {der, str_of(wide, 66), str_of(zeros, 64), str_sub(raw, 0, 63),
                                str_of(longer, 65)};
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct str third = jwt_base64url(wrong[i], &arena);
        struct str token = arena_printf(&arena, "%.*s.%.*s", STR_ARG(both), STR_ARG(third));

        cr_assert_not_null(verdict_of(token, set), "row %zu", i);
    }
    jwk_set_free(set);
    jwt_key_free(&key);
}

Test(jws, refuses_what_is_no_compact_form)
{
    static const char *const rows[] = {"",
                                       ".",
                                       "..",
                                       "...",
                                       "eyJhbGciOiJFUzI1NiJ9",
                                       "eyJhbGciOiJFUzI1NiJ9.e30",
                                       "eyJhbGciOiJFUzI1NiJ9.e30.",
                                       "eyJhbGciOiJFUzI1NiJ9..AA",
                                       ".e30.AA",
                                       "eyJhbGciOiJFUzI1NiJ9.e30.AA.AA",
                                       "eyJhbGciOiJFUzI1NiJ9.e30.AA==",
                                       "eyJhbGciOiJFUzI1NiJ9.e30=.AAAA",
                                       " eyJhbGciOiJFUzI1NiJ9.e30.AAAA",
                                       "{\"payload\":\"e30\"}"};
    struct jwt_key key = jwt_key_new("ES256", NULL);
    struct jwk_set *set = parse(jwt_key_set(&key, 1, "", &arena));

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        cr_assert_not_null(verdict_of(str_from(rows[i]), set), "\"%s\"", rows[i]);
    jwk_set_free(set);
    jwt_key_free(&key);
}

Test(jws, tries_a_bounded_number_of_keys)
{
    struct jwt_key keys[JWS_TRIES_MAX + 1];

    for (size_t i = 0; i <= JWS_TRIES_MAX; i++)
        keys[i] = jwt_key_new("EdDSA", NULL);
    struct jwk_set *set = parse(jwt_key_set(keys, JWS_TRIES_MAX + 1, "", &arena));

    for (size_t i = 0; i <= JWS_TRIES_MAX; i++) {
        const bool is_good = !verdict_of(jwt_sign(&keys[i], NULL, "{}", &arena), set);

        cr_assert_eq(is_good, i < JWS_TRIES_MAX, "key %zu", i);
        jwt_key_free(&keys[i]);
    }
    jwk_set_free(set);
}

/* ---- keys ---- */

Test(jws, passes_over_keys_that_are_not_for_it)
{
    static const char *const passed_over[] = {
        "{\"kty\":\"oct\",\"k\":\"AAAA\"}",
        "{\"kty\":\"EC\",\"crv\":\"secp256k1\",\"x\":\"AA\",\"y\":\"AA\"}",
        "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}",
        "{\"kty\":\"RSA\",\"e\":\"AQAB\"}",
        "{\"kty\":\"OKP\",\"crv\":\"X25519\",\"x\":\"11qYAYKxCrfVS_"
        "7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
        "7TyWQHOg7hcvPapiMlrwIaaPcHUR\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"use\":\"enc\","
        "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"key_ops\":[\"sign\"],"
        "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"alg\":\"RS256\","
        "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
        "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"kid\":7,"
        "\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
        /* not on the curve */
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
        "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a4\"}",
        "7",
    };

    for (size_t i = 0; i < sizeof(passed_over) / sizeof(passed_over[0]); i++) {
        struct str alone = arena_printf(&arena, "{\"keys\":[%s]}", passed_over[i]);
        struct str beside = arena_printf(
            &arena,
            "{\"keys\":[%s,{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"d\":\"secret\",\"x\":"
            "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}",
            passed_over[i]);
        struct jwk_set *set = NULL;
        struct text why = {0}, out = {0};
        size_t n;

        cr_assert_eq(jwk_set_parse(alone, &set, &why), -ERR_INVALID, "%s", passed_over[i]);
        text_clear(&why);
        cr_assert_eq(jwk_set_parse(beside, &set, &why), 0, "%s: %s", passed_over[i], why.ptr);
        (void)jwk_set_keys(set, &n);
        cr_assert_eq(n, 1, "%s", passed_over[i]);
        cr_assert_eq(jwk_set_normalize(beside, &out, &why), 0);
        cr_assert_str_eq(out.ptr, "{\"keys\":[{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":"
                                  "\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}");
        jwk_set_free(set);
        text_fini(&why);
        text_fini(&out);
    }
}

Test(jws, refuses_sets_that_are_none)
{
    static const char *const rows[] = {"",
                                       "{}",
                                       "[]",
                                       "{\"keys\":{}}",
                                       "{\"keys\":[]}",
                                       "{\"keys\":[],\"keys\":[]}",
                                       "{\"keys\":[]"};

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct jwk_set *set = NULL;
        struct text why = {0};

        cr_assert_lt(jwk_set_parse(str_from(rows[i]), &set, &why), 0, "%s", rows[i]);
        cr_assert_gt(why.len, 0, "%s", rows[i]);
        cr_assert_null(set);
        text_fini(&why);
    }
}

Test(jws, refuses_a_set_of_too_many_keys)
{
    struct jwt_key key = jwt_key_new("EdDSA", NULL);
    struct jwt_key keys[JWK_SET_KEYS_MAX + 1];
    struct jwk_set *set = NULL;
    struct text why = {0};

    for (size_t i = 0; i <= JWK_SET_KEYS_MAX; i++)
        keys[i] = key;
    cr_assert_eq(jwk_set_parse(jwt_key_set(keys, JWK_SET_KEYS_MAX + 1, "", &arena), &set, &why),
                 -ERR_LIMIT);
    jwk_set_free(parse(jwt_key_set(keys, JWK_SET_KEYS_MAX, "", &arena)));
    text_fini(&why);
    jwt_key_free(&key);
}
