#include "proxy/token/claims.h"

#include <string.h>

#include "certs/json_strict.h"
#include "proxy/http/strict.h"
#include "proxy/token/token.h"

#define EXACT_MAX        INT64_C(9007199254740992) /* 2^53 */
#define HEADER_VALUE_MAX 4096

static const struct json_bounds bounds = {TOKEN_MAX_BYTES, CLAIMS_DEPTH_MAX};

struct reading {
    struct arena *arena;
    struct policy_claim claims[CLAIMS_MAX];
    size_t n_claims, n_values;
    const char *why; /* NULL: nothing is wrong yet */
};

static struct str keep(const struct reading *reading, const json_t *value)
{
    return arena_str(reading->arena, json_strict_text(value));
}

/* ---- registered claims ---- */

static struct str read_string(struct reading *reading, const json_t *root, const char *name,
                              const char *fault)
{
    const json_t *value = json_object_get(root, name);

    if (value && !json_is_string(value))
        reading->why = fault;
    return keep(reading, value);
}

/* Rounded up: a token counts from the first whole second, and until the first. */
static bool read_time(struct reading *reading, const json_t *root, const char *name, int64_t *out_s,
                      const char *fault)
{
    const json_t *value = json_object_get(root, name);

    *out_s = 0;
    if (!value)
        return false;
    const double real = json_number_value(value);

    if (!json_is_number(value) || !(real >= 0 && real <= (double)EXACT_MAX)) {
        reading->why = fault;
        return false;
    }
    *out_s = (int64_t)real;
    *out_s += (double)*out_s < real;
    return true;
}

static void read_audiences(struct reading *reading, const json_t *root, struct policy_token *token)
{
    json_t *value = json_object_get(root, "aud");
    const size_t n = json_is_array(value) ? json_array_size(value) : value ? 1 : 0;

    if (n > CLAIM_VALUES_MAX) {
        reading->why = "the token has too many audiences";
        return;
    }
    struct str *audiences = arena_new_array(reading->arena, struct str, n);
    for (size_t i = 0; i < n; i++) {
        const json_t *one = json_is_array(value) ? json_array_get(value, i) : value;

        if (!json_is_string(one))
            reading->why = "the token's aud is neither a string nor an array of strings";
        audiences[i] = keep(reading, one);
    }
    token->audiences = audiences;
    token->n_audiences = n;
}

/* ---- all claims ---- */

static void add_claim(struct reading *reading, struct str path, const struct str *values, size_t n)
{
    reading->n_values += n;
    if (reading->n_claims == CLAIMS_MAX || reading->n_values > CLAIM_VALUES_MAX)
        reading->why = "the token has too many claims";
    else if (n > 0)
        reading->claims[reading->n_claims++] =
            (struct policy_claim){.path = path, .values = values, .n_values = n};
}

static void add_array(struct reading *reading, struct str path, const json_t *array)
{
    const size_t len = json_array_size(array);
    size_t n = 0;

    if (len > CLAIM_VALUES_MAX) {
        reading->why = "the token has too many claims";
        return;
    }
    struct str *values = arena_new_array(reading->arena, struct str, len);
    for (size_t i = 0; i < len; i++)
        if (json_is_string(json_array_get(array, i)))
            values[n++] = keep(reading, json_array_get(array, i));
    add_claim(reading, path, values, n);
}

static size_t count_words(struct str text)
{
    size_t n = 0;

    for (size_t i = 0; i < text.len; i++)
        n += text.ptr[i] != ' ' && (i == 0 || text.ptr[i - 1] == ' ');
    return n;
}

/* "read write" is two values. */
static void add_words(struct reading *reading, struct str path, struct str text)
{
    const size_t n = count_words(text);
    size_t at = 0;

    if (n > CLAIM_VALUES_MAX) {
        reading->why = "the token has too many claims";
        return;
    }
    struct str *words = arena_new_array(reading->arena, struct str, n);
    for (size_t i = 0; i < n; i++) {
        while (text.ptr[at] == ' ')
            at++;
        const size_t start = at;
        while (at < text.len && text.ptr[at] != ' ')
            at++;
        words[i] = str_sub(text, start, at - start);
    }
    add_claim(reading, path, words, n);
}

static bool is_list_of_words(struct str path)
{
    return str_eq(path, STR("scope")) || str_eq(path, STR("permission"));
}

/* The name behind those on the way to it, with a NUL between them. */
static struct str path_of(struct reading *reading, struct str path, struct str name)
{
    char *own;

    if (!path.ptr)
        return arena_str(reading->arena, name);
    own = arena_alloc(reading->arena, path.len + 1 + name.len + 1);
    memcpy(own, path.ptr, path.len);
    memcpy(own + path.len + 1, name.ptr, name.len);
    return str_of(own, path.len + 1 + name.len);
}

/* As deep as json_strict_load() lets objects stand in each other. */
static void add_object(struct reading *reading, struct str path, json_t *object)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        const struct str own = path_of(reading, path, str_from(name));

        if (reading->why)
            return;
        if (json_is_object(value)) {
            add_object(reading, own, value);
        } else if (json_is_array(value)) {
            add_array(reading, own, value);
        } else if (json_is_string(value)) {
            struct str *text = arena_new(reading->arena, struct str);

            *text = keep(reading, value);
            if (is_list_of_words(own))
                add_words(reading, own, *text);
            else
                add_claim(reading, own, text, 1);
        }
    }
}

static void read_root(struct reading *reading, json_t *root, struct claims *claims)
{
    struct policy_token *token = &claims->token;
    struct str subject;

    claims->issuer = read_string(reading, root, "iss", "the token's iss is not a string");
    subject = read_string(reading, root, "sub", "the token's sub is not a string");
    token->presenter = read_string(reading, root, "azp", "the token's azp is not a string");
    read_audiences(reading, root, token);
    claims->expires = read_time(reading, root, "exp", &claims->expires_s,
                                "the token's exp is not a time in seconds");
    (void)read_time(reading, root, "nbf", &claims->not_before_s,
                    "the token's nbf is not a time in seconds");
    if (claims->issuer.len > 0 && subject.len > 0)
        token->principal =
            arena_printf(reading->arena, "%.*s/%.*s", STR_ARG(claims->issuer), STR_ARG(subject));
    add_object(reading, (struct str){0}, root);
}

int claims_read(struct str payload, struct arena *arena, struct claims *out_claims,
                const char **out_why)
{
    struct reading *reading = arena_new(arena, struct reading);
    struct claims claims = {0};
    json_t *root = json_strict_load(payload, bounds, NULL);

    reading->arena = arena;
    if (!json_is_object(root))
        reading->why = "the token's payload is not a JSON object, strictly read";
    else
        read_root(reading, root, &claims);
    json_decref(root);
    if (reading->why) {
        *out_why = reading->why;
        return -ERR_INVALID;
    }
    claims.token.claims = reading->claims;
    claims.token.n_claims = reading->n_claims;
    *out_claims = claims;
    return 0;
}

/* ---- headers ---- */

/* The claim of that very name, else the one that its parts between dots lead to. */
static const json_t *find(const json_t *root, struct str dotted, struct arena *arena)
{
    const json_t *value = json_object_get(root, arena_str(arena, dotted).ptr);
    struct str head, rest = dotted;

    if (value)
        return value;
    for (value = root; str_split(rest, '.', &head, &rest);)
        value = json_object_get(value, arena_str(arena, head).ptr);
    return json_object_get(value, arena_str(arena, rest).ptr);
}

static struct str header_value(const json_t *value, struct arena *arena)
{
    if (json_is_string(value))
        return arena_str(arena, json_strict_text(value));
    if (json_is_integer(value))
        return arena_printf(arena, "%lld", (long long)json_integer_value(value));
    if (json_is_boolean(value))
        return json_is_true(value) ? STR("true") : STR("false");
    return (struct str){0};
}

size_t claims_headers(struct str payload, const struct token_rule *rule, struct arena *arena,
                      struct http_field *out)
{
    json_t *root = json_strict_load(payload, bounds, NULL);
    size_t n = 0;

    for (size_t i = 0; i < rule->n_claim_headers && root; i++) {
        const struct token_claim_header *header = &rule->claim_headers[i];
        struct str value = header_value(find(root, header->claim, arena), arena);

        if (value.len > 0 && value.len <= HEADER_VALUE_MAX && strict_is_value(value))
            out[n++] = (struct http_field){arena_str(arena, header->header), value};
    }
    json_decref(root);
    return n;
}
