#include "config/route.h"

#include "proxy/base/ascii.h"

/* ---- names ---- */

struct str routes_name(const struct model_routes *routes, struct arena *arena)
{
    const bool is_scoped = !str_is_empty(routes->source_namespace);
    struct str name = routes->service;
    if (routes->port != 0)
        name = arena_printf(arena, "%.*s:%u", STR_ARG(name), routes->port);
    return is_scoped
               ? arena_printf(arena, "%.*s@%.*s", STR_ARG(name), STR_ARG(routes->source_namespace))
               : arena_str(arena, name);
}

static bool take_port(struct str *name, uint16_t *out_port)
{
    struct str head, digits;
    uint64_t port;
    if (!str_rsplit(*name, ':', &head, &digits) || !str_to_u64(digits, UINT16_MAX, &port) ||
        port == 0 || digits.ptr[0] == '0')
        return false;
    *name = head;
    *out_port = (uint16_t)port;
    return true;
}

/* "<namespace>/<hostname>" */
static bool is_service(struct str name)
{
    struct str namespace_, host, more;
    return str_split(name, '/', &namespace_, &host) && namespace_.len > 0 && host.len > 0 &&
           !str_split(host, '/', &more, &more) && !str_contains(name, STR(":")) &&
           !str_contains(name, STR("@"));
}

bool routes_parse_name(struct str name, struct model_routes *out_routes)
{
    struct model_routes routes = {0};
    if (str_split(name, '@', &name, &routes.source_namespace) &&
        (routes.source_namespace.len == 0 || str_contains(routes.source_namespace, STR("@"))))
        return false;
    if (str_contains(name, STR(":")) && !take_port(&name, &routes.port))
        return false;
    if (!is_service(name))
        return false;
    out_routes->service = name;
    out_routes->port = routes.port;
    out_routes->source_namespace = routes.source_namespace;
    return true;
}

struct str route_backend_name(struct str service, uint16_t port, struct str cluster,
                              struct arena *arena)
{
    return arena_printf(arena, "%.*s:%u%s%.*s", STR_ARG(service), port, cluster.len ? "@" : "",
                        STR_ARG(cluster));
}

bool route_parse_backend(struct str name, struct str *out_service, uint16_t *out_port,
                         struct str *out_cluster)
{
    struct str cluster = {0};
    uint16_t port;
    if ((str_split(name, '@', &name, &cluster) && cluster.len == 0) ||
        str_contains(cluster, STR("@")) || !take_port(&name, &port) || !is_service(name))
        return false;
    *out_service = name;
    *out_port = port;
    *out_cluster = cluster;
    return true;
}

/* ---- copies ---- */

static struct str keep(struct arena *arena, struct str text)
{
    return text.len > 0 ? arena_str(arena, text) : (struct str){0};
}

static const struct route_field *copy_fields(struct arena *arena, const struct route_field *from,
                                             size_t n)
{
    struct route_field *fields = n > 0 ? arena_new_array(arena, struct route_field, n) : NULL;
    for (size_t i = 0; i < n; i++)
        fields[i] = (struct route_field){keep(arena, from[i].name), keep(arena, from[i].value)};
    return fields;
}

struct route_edits route_edits_copy(struct arena *arena, const struct route_edits *from)
{
    struct route_edits edits = *from;
    struct str *remove =
        from->n_remove > 0 ? arena_new_array(arena, struct str, from->n_remove) : NULL;
    for (size_t i = 0; i < from->n_remove; i++)
        remove[i] = keep(arena, from->remove[i]);
    edits.remove = remove;
    edits.set = copy_fields(arena, from->set, from->n_set);
    edits.add = copy_fields(arena, from->add, from->n_add);
    return edits;
}

static const struct route_text_match *copy_texts(struct arena *arena,
                                                 const struct route_text_match *from, size_t n)
{
    struct route_text_match *texts =
        n > 0 ? arena_new_array(arena, struct route_text_match, n) : NULL;
    for (size_t i = 0; i < n; i++) {
        texts[i] = from[i];
        texts[i].name = keep(arena, from[i].name);
        texts[i].value = keep(arena, from[i].value);
    }
    return texts;
}

static const struct route_backend *copy_backends(struct arena *arena, const struct route_rule *from)
{
    struct route_backend *backends =
        from->n_backends > 0 ? arena_new_array(arena, struct route_backend, from->n_backends)
                             : NULL;
    for (size_t i = 0; i < from->n_backends; i++) {
        backends[i] = from->backends[i];
        backends[i].service = keep(arena, from->backends[i].service);
        backends[i].cluster = keep(arena, from->backends[i].cluster);
        backends[i].request = route_edits_copy(arena, &from->backends[i].request);
        backends[i].response = route_edits_copy(arena, &from->backends[i].response);
    }
    return backends;
}

static const struct route_mirror *copy_mirrors(struct arena *arena, const struct route_rule *from)
{
    struct route_mirror *mirrors =
        from->n_mirrors > 0 ? arena_new_array(arena, struct route_mirror, from->n_mirrors) : NULL;
    for (size_t i = 0; i < from->n_mirrors; i++) {
        mirrors[i] = from->mirrors[i];
        mirrors[i].service = keep(arena, from->mirrors[i].service);
        mirrors[i].cluster = keep(arena, from->mirrors[i].cluster);
    }
    return mirrors;
}

const uint16_t *route_codes_copy(struct arena *arena, const struct route_retry *from)
{
    uint16_t *codes = from->n_codes > 0 ? arena_new_array(arena, uint16_t, from->n_codes) : NULL;
    for (size_t i = 0; i < from->n_codes; i++)
        codes[i] = from->codes[i];
    return codes;
}

struct route_rule route_rule_copy(struct arena *arena, const struct route_rule *from)
{
    struct route_rule rule = *from;
    rule.name = keep(arena, from->name);
    rule.match.path = keep(arena, from->match.path);
    rule.match.method = keep(arena, from->match.method);
    rule.match.headers = copy_texts(arena, from->match.headers, from->match.n_headers);
    rule.match.params = copy_texts(arena, from->match.params, from->match.n_params);
    rule.request = route_edits_copy(arena, &from->request);
    rule.response = route_edits_copy(arena, &from->response);
    rule.backends = copy_backends(arena, from);
    rule.mirrors = copy_mirrors(arena, from);
    rule.retry.codes = route_codes_copy(arena, &from->retry);
    rule.hash_keys = hash_keys_copy(arena, from->hash_keys, from->n_hash_keys);
    rule.path = keep(arena, from->path);
    rule.host = keep(arena, from->host);
    rule.scheme = keep(arena, from->scheme);
    rule.body = keep(arena, from->body);
    return rule;
}

/* ---- what a route may say ---- */

static bool is_token(struct str text)
{
    return text.len <= ROUTE_NAME_MAX && ascii_is_token(text);
}

/* host is urlRewrite's to change; the others belong to a hop or frame the body. */
bool route_is_field_name(struct str name)
{
    static const char *const forbidden[] = {"host",
                                            "content-length",
                                            "transfer-encoding",
                                            "connection",
                                            "proxy-connection",
                                            "keep-alive",
                                            "upgrade",
                                            "te",
                                            "trailer"};
    for (size_t i = 0; i < ARRAY_LEN(forbidden); i++)
        if (str_eq_ci(name, str_from(forbidden[i])))
            return false;
    return is_token(name);
}

bool route_is_field_value(struct str value)
{
    for (size_t i = 0; i < value.len; i++) {
        const unsigned char c = (unsigned char)value.ptr[i];
        if ((c < ' ' && c != '\t') || c == 0x7f)
            return false;
    }
    return value.len <= ROUTE_VALUE_MAX &&
           (value.len == 0 ||
            (value.ptr[0] != ' ' && value.ptr[0] != '\t' && value.ptr[value.len - 1] != ' ' &&
             value.ptr[value.len - 1] != '\t'));
}

bool route_is_method(struct str method)
{
    return is_token(method);
}
