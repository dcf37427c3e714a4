/* The key tracing: where spans go, and how many. */
#include <string.h>

#include "config/bootstrap_fields.h"
#include "config/url.h"

#define ALL_PPM      1000000u
#define DECIMALS_MAX 4u /* of a percentage: parts per million */

#define EXAMPLE "expected a URL such as http://collector.example:4318/v1/traces"

/* ---- otlp: URL ---- */

/* A path has to be there: one that is only a host is mostly a base, to which others would append
 * /v1/traces. */
static const char *read_url(struct str text, struct arena *arena, struct tracing_config *tracing)
{
    struct url url;
    const char *why = url_parse(text, true, arena, &url);
    if (why)
        return why;
    if (url.path.len < 2 || url.path.ptr[1] == '?')
        return "needs a path, mostly /v1/traces";
    tracing->collector = url.server;
    tracing->path = url.path;
    tracing->is_plain = url.is_plain;
    return NULL;
}

/* ---- sampling: a percentage ---- */

/* "0.25" is 2500 parts per million. */
static bool read_percent(struct str text, uint32_t *out_ppm)
{
    struct str whole = text, decimals = {0};
    uint64_t ppm, part = 0;
    const bool has_point = str_split(text, '.', &whole, &decimals);
    if (!str_to_u64(whole, 100, &ppm) || (has_point && decimals.len == 0) ||
        decimals.len > DECIMALS_MAX || (has_point && !str_to_u64(decimals, 9999, &part)))
        return false;
    for (size_t i = decimals.len; i < DECIMALS_MAX; i++)
        part *= 10;
    ppm = ppm * 10000 + part;
    *out_ppm = (uint32_t)ppm;
    return ppm <= ALL_PPM;
}

static void read_sampling(const struct fields *fields, struct tracing_config *tracing)
{
    const struct yaml *node = yaml_get(fields->node, "sampling");
    const struct str text = yaml_text(node, "tracing.sampling", STR("1"), fields->diag);
    if (!read_percent(text, &tracing->sampling_ppm))
        diag_error(fields->diag, node->place,
                   "tracing.sampling: \"%.*s\" is not a percentage from 0 to 100 with at most 4 "
                   "decimals",
                   STR_ARG(text));
}

/* ---- headers ---- */

static bool is_name(struct str name)
{
    static const char more[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < name.len; i++) {
        const char c = name.ptr[i];
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !memchr(more, c, sizeof more - 1))
            return false;
    }
    return name.len > 0;
}

static bool is_value(struct str value)
{
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.ptr[i] < 0x20 || (unsigned char)value.ptr[i] >= 0x7f)
            return false;
    return value.len > 0;
}

/* Those that the request itself has. */
static bool is_taken(struct str name)
{
    static const struct str taken[] = {
        {"host", 4},        {"content-type", 12}, {"content-length", 14},
        {"connection", 10}, {"user-agent", 10},   {"transfer-encoding", 17}};
    for (size_t i = 0; i < ARRAY_LEN(taken); i++)
        if (str_eq(name, taken[i]))
            return true;
    return false;
}

/* The value is not shown: it may be a secret. */
static void read_header(const struct fields *fields, const struct yaml *key,
                        const struct yaml *value, struct tracing_header *header)
{
    header->name = arena_str(fields->arena, key->text);
    if (!is_name(key->text))
        diag_error(fields->diag, key->place,
                   "tracing.headers: \"%.*s\" is not the name of a header field in lower case",
                   STR_ARG(key->text));
    else if (is_taken(key->text))
        diag_error(fields->diag, key->place, "tracing.headers: %.*s is set by the proxy itself",
                   STR_ARG(key->text));
    if (value->kind != YAML_TEXT || !is_value(value->text))
        diag_error(fields->diag, value->place,
                   "tracing.headers.%.*s: expected a text of visible ASCII characters",
                   STR_ARG(key->text));
    else
        header->value = arena_str(fields->arena, value->text);
}

static void read_headers(const struct fields *fields, struct tracing_config *tracing)
{
    const struct yaml *node = yaml_get(fields->node, "headers");
    if (!yaml_is_mapping(node, "tracing.headers", fields->diag))
        return;
    if (node->len > TRACING_HEADERS_MAX) {
        diag_error(fields->diag, node->place, "tracing.headers: has %zu entries, %d at most",
                   node->len, TRACING_HEADERS_MAX);
        return;
    }
    tracing->headers = arena_new_array(fields->arena, struct tracing_header, node->len + 1);
    for (size_t i = 0; i < node->len; i++)
        read_header(fields, node->keys[i], node->items[i], &tracing->headers[i]);
    tracing->n_headers = node->len;
}

void read_tracing(const struct fields *top, struct tracing_config *tracing)
{
    static const char *const keys[] = {"otlp", "sampling", "headers", NULL};
    struct fields fields = fields_below(top, "tracing", "tracing.");
    if (!fields.node)
        return;
    yaml_only_keys(fields.node, "tracing", keys, fields.diag);
    const struct yaml *node = field(&fields, "otlp", FIELD_REQUIRED);
    const struct str url = yaml_text(node, "tracing.otlp", (struct str){0}, fields.diag);
    const char *why = node && node->kind == YAML_TEXT ? read_url(url, top->arena, tracing) : NULL;
    if (why)
        diag_error(fields.diag, node->place, "tracing.otlp: \"%.*s\" %s; " EXAMPLE, STR_ARG(url),
                   why);
    read_sampling(&fields, tracing);
    read_headers(&fields, tracing);
}
