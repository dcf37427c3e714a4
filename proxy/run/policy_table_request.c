/* The request of a case of PolicyTest. Header names in any case; a list is several headers of one
 * name, or several values of a claim; claims may be nested. */
#include "config/route.h"
#include "proxy/base/ascii.h"
#include "proxy/base/text.h"
#include "proxy/http/path.h"
#include "proxy/run/policy_table.h"

#define HEADERS_MAX 64
#define CLAIMS_MAX  64
#define NESTED_MAX  16

struct reading {
    struct arena *arena;
    struct diag *diag;
};

static struct str text_of(const struct reading *reading, const struct yaml *node, const char *what,
                          const char *fallback)
{
    return arena_str(reading->arena, yaml_text(node, what, str_from(fallback), reading->diag));
}

static struct str *texts_of(const struct reading *reading, const struct yaml *node,
                            const char *what, size_t *out_n)
{
    const bool is_list = node && node->kind == YAML_SEQUENCE;
    *out_n = is_list ? node->len : node != NULL;
    struct str *texts = arena_new_array(reading->arena, struct str, *out_n);
    for (size_t i = 0; i < *out_n; i++)
        texts[i] = text_of(reading, is_list ? node->items[i] : node, what, "");
    return texts;
}

static bool is_small(const struct reading *reading, const struct yaml *node, const char *what,
                     size_t n, size_t max)
{
    if (n <= max)
        return true;
    diag_error(reading->diag, node->place, "%s: has %zu entries, %zu at most", what, n, max);
    return false;
}

/* ---- headers ---- */

static void read_headers(const struct reading *reading, const struct yaml *node,
                         struct policy_request *request)
{
    size_t n = 0;
    if (!yaml_is_mapping(node, "request.headers", reading->diag))
        return;
    for (size_t i = 0; i < node->len; i++)
        n += node->items[i]->kind == YAML_SEQUENCE ? node->items[i]->len : 1;
    if (!is_small(reading, node, "request.headers", n, HEADERS_MAX))
        return;
    struct policy_header *headers = arena_new_array(reading->arena, struct policy_header, n);
    for (size_t i = 0; i < node->len; i++) {
        size_t n_values;
        const struct str *values = texts_of(reading, node->items[i], "request.headers", &n_values);
        for (size_t v = 0; v < n_values; v++)
            headers[request->n_headers++] = (struct policy_header){
                ascii_lower_str(reading->arena, node->keys[i]->text), values[v]};
    }
    request->headers = headers;
}

/* ---- the token ---- */

/* How many there are; those beyond CLAIMS_MAX are counted alone. */
static size_t read_claims(const struct reading *reading, const struct yaml *node, struct str above,
                          size_t depth, struct policy_claim *claims, size_t n)
{
    for (size_t i = 0; i < node->len; i++) {
        struct text path = {0};
        text_add(&path, above);
        if (depth > 0)
            text_addc(&path, '\0');
        text_add(&path, node->keys[i]->text);
        const struct str kept = arena_str(reading->arena, text_str(&path));
        text_fini(&path);
        if (node->items[i]->kind == YAML_MAPPING && depth < NESTED_MAX) {
            n = read_claims(reading, node->items[i], kept, depth + 1, claims, n);
            continue;
        }
        if (n < CLAIMS_MAX) {
            claims[n].path = kept;
            claims[n].values =
                texts_of(reading, node->items[i], "request.token.claims", &claims[n].n_values);
        }
        n++;
    }
    return n;
}

static const struct policy_token *read_token(const struct reading *reading, const struct yaml *node)
{
    static const char *const keys[] = {"principal", "presenter", "audiences", "claims", NULL};
    if (!node || !yaml_is_mapping(node, "request.token", reading->diag))
        return NULL;
    yaml_only_keys(node, "request.token", keys, reading->diag);
    const struct yaml *claims = yaml_get(node, "claims");
    struct policy_token *token = arena_new(reading->arena, struct policy_token);
    struct policy_claim *list = arena_new_array(reading->arena, struct policy_claim, CLAIMS_MAX);
    token->principal = text_of(reading, yaml_get(node, "principal"), "request.token.principal", "");
    token->presenter = text_of(reading, yaml_get(node, "presenter"), "request.token.presenter", "");
    token->audiences = texts_of(reading, yaml_get(node, "audiences"), "request.token.audiences",
                                &token->n_audiences);
    token->claims = list;
    if (!claims || !yaml_is_mapping(claims, "request.token.claims", reading->diag))
        return token;
    const size_t n = read_claims(reading, claims, (struct str){0}, 0, list, 0);
    if (is_small(reading, claims, "request.token.claims", n, CLAIMS_MAX))
        token->n_claims = n;
    return token;
}

/* ---- the request ---- */

const struct policy_request *policy_table_read_request(const struct yaml *node, struct arena *arena,
                                                       struct diag *diag)
{
    static const char *const keys[] = {"method", "path", "host", "headers", "token", NULL};
    const struct reading reading = {arena, diag};
    struct str path, query;
    if (!node || !yaml_is_mapping(node, "request", diag))
        return NULL;
    yaml_only_keys(node, "request", keys, diag);
    struct policy_request *request = arena_new(arena, struct policy_request);
    request->method = text_of(&reading, yaml_get(node, "method"), "request.method", "GET");
    request->path = text_of(&reading, yaml_get(node, "path"), "request.path", "/");
    request->host = text_of(&reading, yaml_get(node, "host"), "request.host", "");
    if (!route_is_method(request->method))
        diag_error(diag, yaml_get(node, "method")->place,
                   "request.method: \"%.*s\" is not a method such as GET",
                   STR_ARG(str_sub(request->method, 0, 80)));
    if (!str_starts_with(request->path, STR("/")))
        diag_error(diag, yaml_get(node, "path")->place,
                   "request.path: \"%.*s\" does not begin with a slash", STR_ARG(request->path));
    if (str_split(request->path, '?', &path, &query))
        request->path = path;
    request->lax_path = http_path_lax(request->path, arena);
    if (yaml_get(node, "headers"))
        read_headers(&reading, yaml_get(node, "headers"), request);
    request->token = read_token(&reading, yaml_get(node, "token"));
    return request;
}
