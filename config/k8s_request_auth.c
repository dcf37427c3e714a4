/*
 * RequestAuthentication (security.istio.io): whose tokens workloads take.
 *
 * Strict as the readers of policies are: what is not supported is an error, not silence, for a rule
 * that is not there verifies nothing. Keys that stand in the rule are read here, so that a set that
 * is none is an error with its place.
 */
#include "certs/jwk.h"
#include "config/k8s.h"
#include "config/k8s_route.h"
#include "config/url.h"
#include "proxy/base/clock.h"

#define TIMEOUT_DEFAULT_NS (5 * NS_PER_SEC) /* Istio's */
#define TIMEOUT_MAX_NS     (60 * NS_PER_SEC)
#define PARTS_MAX          16 /* of each kind of place */

/* ---- texts ---- */

/* A text of 1 to max bytes; "" after an error, or when it is absent and may be. */
static struct str word(const struct k8s_reader *reader, const struct yaml *node,
                       const struct yaml *parent, const char *what, size_t max)
{
    struct str text = k8s_text(reader, node, what);

    if (!node && parent) {
        diag_error(reader->diag, parent->place, "%s: is required", what);
    } else if (node && node->kind == YAML_TEXT && (text.len == 0 || text.len > max)) {
        diag_error(reader->diag, node->place, "%s: has %zu bytes, expected 1 to %zu", what,
                   text.len, max);
        return (struct str){0};
    }
    return text;
}

/* Some texts of a list that is not empty. */
static struct str *words(const struct k8s_reader *reader, const struct yaml *rule, const char *key,
                         const char *what, size_t most, size_t max, size_t *out_n)
{
    char buf[WHAT_MAX], item[WHAT_MAX];
    const struct yaml *node = yaml_get(rule, key);
    const size_t n = k8s_values(reader, node, what_at(buf, "%s.%s", what, key), most);
    struct str *list = arena_new_array(reader->arena, struct str, n);

    for (size_t i = 0; i < n; i++) {
        list[i] = word(reader, node->items[i], NULL, what_at(item, "%s[%zu]", buf, i), max);
        if (node->items[i]->kind == YAML_NULL)
            diag_error(reader->diag, node->items[i]->place, "%s: is empty, expected a value", item);
    }
    *out_n = n;
    return list;
}

/* ---- where tokens stand ---- */

static void read_header_place(const struct k8s_reader *reader, const struct yaml *item,
                              const char *what, struct token_place *place)
{
    static const char *const known[] = {"name", "prefix", NULL};
    char buf[WHAT_MAX];
    const struct yaml *prefix = yaml_get(item, "prefix");

    if (!k8s_item(reader, item, what))
        return;
    k8s_strict_keys(reader, item, what, known);
    place->kind = TOKEN_IN_HEADER;
    place->name =
        k8s_route_header(reader, yaml_get(item, "name"), item, what_at(buf, "%s.name", what));
    if (route_is_method(place->name) && !route_is_field_name(place->name))
        diag_error(reader->diag, item->place, "%s: no token can stand in \"%.*s\"", buf,
                   STR_ARG(place->name));
    place->prefix = word(reader, prefix, NULL, what_at(buf, "%s.prefix", what), TOKEN_NAME_MAX);
}

static void read_named_places(const struct k8s_reader *reader, const struct yaml *node,
                              const char *key, enum token_place_kind kind, const char *what,
                              struct token_place *places, size_t *n_places)
{
    size_t n;
    struct str *names = words(reader, node, key, what, PARTS_MAX, TOKEN_NAME_MAX, &n);

    for (size_t i = 0; i < n; i++)
        places[(*n_places)++] = (struct token_place){kind, names[i], {0}};
}

static void read_places(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                        struct token_rule *rule)
{
    char buf[WHAT_MAX], item[WHAT_MAX];
    const struct yaml *headers = yaml_get(node, "fromHeaders");
    const size_t n = k8s_values(reader, headers, what_at(buf, "%s.fromHeaders", what), PARTS_MAX);
    struct token_place *places =
        arena_new_array(reader->arena, struct token_place, 3 * (size_t)PARTS_MAX);

    for (size_t i = 0; i < n; i++)
        read_header_place(reader, headers->items[i], what_at(item, "%s[%zu]", buf, i),
                          &places[rule->n_places++]);
    read_named_places(reader, node, "fromParams", TOKEN_IN_PARAM, what, places, &rule->n_places);
    read_named_places(reader, node, "fromCookies", TOKEN_IN_COOKIE, what, places, &rule->n_places);
    if (rule->n_places > TOKEN_PLACES_MAX)
        diag_error(reader->diag, node->place,
                   "%s: names %zu places in which a token may stand, expected %d at most", what,
                   rule->n_places, TOKEN_PLACES_MAX);
    rule->places = places;
    if (rule->n_places == 0)
        rule->places = token_default_places(&rule->n_places);
}

/* ---- what the workload is told ---- */

static struct str read_header(const struct k8s_reader *reader, const struct yaml *node,
                              const struct yaml *parent, const char *what)
{
    struct str name = k8s_route_header(reader, node, parent, what);

    if (node && route_is_method(name) && !route_is_field_name(name))
        diag_error(reader->diag, node->place, "%s: \"%.*s\" is not one that a rule may write", what,
                   STR_ARG(name));
    return name;
}

static bool is_written_already(const struct token_rule *rule, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(rule->claim_headers[i].header, name))
            return true;
    return name.len > 0 && str_eq(rule->payload_header, name);
}

static void read_claim_header(const struct k8s_reader *reader, const struct yaml *item,
                              const char *what, const struct token_rule *rule, size_t idx,
                              struct token_claim_header *header)
{
    static const char *const known[] = {"header", "claim", NULL};
    char buf[WHAT_MAX];

    if (!k8s_item(reader, item, what))
        return;
    k8s_strict_keys(reader, item, what, known);
    header->claim =
        word(reader, yaml_get(item, "claim"), item, what_at(buf, "%s.claim", what), TOKEN_NAME_MAX);
    struct str name =
        read_header(reader, yaml_get(item, "header"), item, what_at(buf, "%s.header", what));
    if (is_written_already(rule, idx, name))
        diag_error(reader->diag, item->place, "%s: \"%.*s\" is written twice by the rule", buf,
                   STR_ARG(name));
    header->header = name;
}

static void read_outputs(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                         struct token_rule *rule)
{
    char buf[WHAT_MAX], item[WHAT_MAX];
    const struct yaml *payload = yaml_get(node, "outputPayloadToHeader");
    const struct yaml *claims = yaml_get(node, "outputClaimToHeaders");
    const size_t n = k8s_values(reader, claims, what_at(buf, "%s.outputClaimToHeaders", what),
                                TOKEN_CLAIM_HEADERS_MAX);
    struct token_claim_header *headers =
        arena_new_array(reader->arena, struct token_claim_header, n);

    rule->forwards = yaml_bool(yaml_get(node, "forwardOriginalToken"),
                               what_at(item, "%s.forwardOriginalToken", what), false, reader->diag);
    if (payload)
        rule->payload_header =
            read_header(reader, payload, node, what_at(item, "%s.outputPayloadToHeader", what));
    rule->claim_headers = headers;
    for (size_t i = 0; i < n; i++)
        read_claim_header(reader, claims->items[i], what_at(item, "%s[%zu]", buf, i), rule, i,
                          &headers[i]);
    rule->n_claim_headers = n;
}

/* ---- keys ---- */

static void read_inline_keys(const struct k8s_reader *reader, const struct yaml *node,
                             const char *what, struct token_rule *rule)
{
    struct str text = yaml_text(node, what, (struct str){0}, reader->diag);
    struct text keys = {0}, why = {0};

    if (node->kind != YAML_TEXT)
        return;
    if (jwk_set_normalize(text, &keys, &why) < 0)
        diag_error(reader->diag, node->place, "%s: is no JSON Web Key Set for tokens: %s", what,
                   why.ptr);
    else if (keys.len > TOKEN_KEYS_TEXT_MAX)
        diag_error(reader->diag, node->place, "%s: its keys have %zu bytes, expected %zu at most",
                   what, keys.len, TOKEN_KEYS_TEXT_MAX);
    rule->jwks = arena_str(reader->arena, text_str(&keys));
    text_fini(&keys);
    text_fini(&why);
}

static void read_uri(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                     struct k8s_token_rule *rule)
{
    struct arena scratch = {0};
    struct url url;
    const char *why = NULL;

    rule->jwks_uri = word(reader, node, NULL, what, TOKEN_WORD_MAX);
    if (str_is_empty(rule->jwks_uri))
        return;
    if (!str_starts_with(rule->jwks_uri, STR("file:///")))
        why = url_parse(rule->jwks_uri, true, &scratch, &url);
    if (why)
        diag_error(reader->diag, node->place,
                   "%s: \"%.*s\" %s; expected https://HOST[:PORT]/PATH, http:// or file:///PATH",
                   what, STR_ARG(str_sub(rule->jwks_uri, 0, 200)), why);
    else if (str_starts_with(rule->jwks_uri, STR("http://")))
        diag_warn(reader->diag, node->place,
                  "%s: whoever stands between here and there can put other keys in place of the "
                  "issuer's; use https://",
                  what);
    arena_fini(&scratch);
}

static void read_keys(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                      struct k8s_token_rule *rule)
{
    char buf[WHAT_MAX];
    const struct yaml *jwks = yaml_get(node, "jwks"), *uri = yaml_get(node, "jwksUri");

    if (jwks && uri)
        diag_error(reader->diag, jwks->place, "%s.jwks: cannot stand beside jwksUri", what);
    else if (!jwks && !uri)
        diag_error(reader->diag, node->place,
                   "%s: needs jwks or jwksUri; keys are not looked for by OpenID discovery", what);
    if (jwks)
        read_inline_keys(reader, jwks, what_at(buf, "%s.jwks", what), &rule->rule);
    if (uri)
        read_uri(reader, uri, what_at(buf, "%s.jwksUri", what), rule);
    rule->timeout_ns =
        yaml_duration_ns(yaml_get(node, "timeout"), what_at(buf, "%s.timeout", what), NS_PER_MS,
                         TIMEOUT_MAX_NS, TIMEOUT_DEFAULT_NS, reader->diag);
}

/* ---- the object ---- */

static void read_rule(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                      struct k8s_token_rule *rule)
{
    static const char *const known[] = {"issuer",
                                        "audiences",
                                        "jwks",
                                        "jwksUri",
                                        "fromHeaders",
                                        "fromParams",
                                        "fromCookies",
                                        "outputPayloadToHeader",
                                        "outputClaimToHeaders",
                                        "forwardOriginalToken",
                                        "timeout",
                                        NULL};
    char buf[WHAT_MAX];

    rule->place = k8s_place(reader, node);
    if (!k8s_item(reader, node, what))
        return;
    k8s_strict_keys(reader, node, what, known);
    rule->rule.issuer = word(reader, yaml_get(node, "issuer"), node,
                             what_at(buf, "%s.issuer", what), TOKEN_WORD_MAX);
    rule->rule.audiences = words(reader, node, "audiences", what, TOKEN_AUDIENCES_MAX,
                                 TOKEN_WORD_MAX, &rule->rule.n_audiences);
    read_keys(reader, node, what, rule);
    read_places(reader, node, what, &rule->rule);
    read_outputs(reader, node, what, &rule->rule);
}

void k8s_read_request_auth(struct k8s_reader *reader, const struct yaml *doc,
                           const struct object *meta)
{
    static const char *const known[] = {"selector", "targetRef", "targetRefs", "jwtRules", NULL};
    struct k8s_request_auth *auth = vec_add(&reader->objects[K8S_REQUEST_AUTH]);
    const struct yaml *spec = yaml_get(doc, "spec"), *rules = yaml_get(spec, "jwtRules");
    char buf[WHAT_MAX];

    auth->meta = *meta;
    k8s_strict_top(reader, doc);
    if (yaml_is_mapping(spec, "spec", reader->diag))
        k8s_strict_keys(reader, spec, "spec", known);
    auth->selector = k8s_selector(reader, spec, &auth->n_selector);
    auth->targets = k8s_targets(reader, spec, meta, &auth->n_targets);
    if (auth->n_selector > 0 && auth->n_targets > 0)
        diag_error(reader->diag, yaml_get(spec, "selector")->place,
                   "spec.selector: cannot stand beside targetRefs");
    auth->n_rules = k8s_list(reader, rules, "spec.jwtRules", TOKEN_RULES_MAX);
    auth->rules = arena_new_array(reader->arena, struct k8s_token_rule, auth->n_rules);
    if (!rules || (rules->kind == YAML_SEQUENCE && rules->len == 0))
        diag_warn(reader->diag, rules ? rules->place : doc->place,
                  "spec.jwtRules: there are none, so it does nothing");
    for (size_t i = 0; i < auth->n_rules; i++)
        read_rule(reader, rules->items[i], what_at(buf, "spec.jwtRules[%zu]", i), &auth->rules[i]);
}
