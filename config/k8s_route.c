/*
 * HTTPRoute and GRPCRoute (gateway.networking.k8s.io), as far as they are bound to a Service or a
 * ServiceImport. One that has Gateways alone for parents is somebody else's, whatever it says. In
 * the others nothing is passed over in silence: a match that was not understood would send requests
 * where they do not belong.
 */
#include "config/k8s_route.h"

#include "config/names.h"
#include "proxy/base/clock.h"

#define GATEWAY_GROUP "gateway.networking.k8s.io"
#define DAY_NS        (UINT64_C(24) * 3600 * NS_PER_SEC)
#define BACKOFF_NS    (25 * NS_PER_MS)
#define BACKOFF_TIMES 10 /* the longest backoff, in the first one's */

/* ---- parents ---- */

static bool is_mcs(struct str group)
{
    return str_eq(group, STR("multicluster.x-k8s.io")) || str_eq(group, STR("multicluster.k8s.io"));
}

static struct str text_at(const struct yaml *parent, const char *key, const char *fallback)
{
    const struct yaml *node = yaml_get(parent, key);
    return node && node->kind == YAML_TEXT ? node->text : str_from(fallback);
}

static bool is_ours(const struct yaml *ref, bool *out_is_import)
{
    const struct str group = text_at(ref, "group", GATEWAY_GROUP);
    const struct str kind = text_at(ref, "kind", "Gateway");
    *out_is_import = str_eq(kind, STR("ServiceImport")) && is_mcs(group);
    return *out_is_import || (str_eq(kind, STR("Service")) && str_is_empty(group));
}

static bool has_ours(const struct yaml *refs)
{
    bool is_import;
    for (size_t i = 0; refs && refs->kind == YAML_SEQUENCE && i < refs->len; i++)
        if (refs->items[i]->kind == YAML_MAPPING && is_ours(refs->items[i], &is_import))
            return true;
    return false;
}

static void read_parent(const struct k8s_reader *reader, const struct yaml *ref, const char *what,
                        struct k8s_route *route)
{
    static const char *const keys[] = {"group",       "kind", "namespace", "name",
                                       "sectionName", "port", NULL};
    const struct yaml *namespace_ = yaml_get(ref, "namespace"), *port = yaml_get(ref, "port");
    const struct yaml *section = yaml_get(ref, "sectionName");
    struct k8s_route_ref *parent = &route->parents[route->n_parents];
    char buf[WHAT_MAX];
    if (!is_ours(ref, &parent->is_import))
        return;
    k8s_strict_keys(reader, ref, what, keys);
    if (section)
        diag_error(reader->diag, section->place,
                   "%s.sectionName: a Service has no sections; say port in its place", what);
    parent->place = k8s_place(reader, ref);
    parent->name = k8s_route_word(reader, ref, "name", what);
    if (parent->name.len > 0 && !name_is_label(parent->name))
        diag_error(reader->diag, ref->place, "%s.name: \"%.*s\" is not a name (RFC 1123 label)",
                   what, STR_ARG(str_sub(parent->name, 0, 80)));
    parent->namespace_ = k8s_name(reader, namespace_, what_at(buf, "%s.namespace", what),
                                  name_is_label, "a namespace (RFC 1123 label)");
    if (str_is_empty(parent->namespace_))
        parent->namespace_ = route->meta.namespace_;
    if (port)
        parent->port = k8s_port(reader, port, ref, what_at(buf, "%s.port", what));
    for (size_t i = 0; i < route->n_parents; i++) {
        const struct k8s_route_ref *other = &route->parents[i];
        if (other->is_import == parent->is_import && other->port == parent->port &&
            str_eq(other->name, parent->name) && str_eq(other->namespace_, parent->namespace_))
            diag_error(reader->diag, ref->place, "%s: is there already", what);
    }
    route->n_parents++;
}

static void read_parents(const struct k8s_reader *reader, const struct yaml *spec,
                         struct k8s_route *route)
{
    char what[WHAT_MAX];
    const struct yaml *refs = yaml_get(spec, "parentRefs");
    const size_t n = k8s_list(reader, refs, "spec.parentRefs", K8S_ROUTE_PARENTS_MAX);
    route->parents = arena_new_array(reader->arena, struct k8s_route_ref, n);
    for (size_t i = 0; i < n; i++)
        if (k8s_item(reader, refs->items[i], what_at(what, "spec.parentRefs[%zu]", i)))
            read_parent(reader, refs->items[i], what, route);
}

/* ---- timeouts, retries ---- */

static uint64_t read_duration(const struct k8s_reader *reader, const struct yaml *node,
                              const char *what, uint64_t fallback_ns)
{
    static const char *const zeros[] = {"0", "0s", "0ms", "0m", "0h"};
    for (size_t i = 0; node && node->kind == YAML_TEXT && i < ARRAY_LEN(zeros); i++)
        if (str_eq(node->text, str_from(zeros[i])))
            return 0;
    return yaml_duration_ns(node, what, NS_PER_MS, DAY_NS, fallback_ns, reader->diag);
}

static void read_timeouts(const struct k8s_reader *reader, const struct yaml *rule,
                          const char *what, struct route_rule *out_rule)
{
    static const char *const keys[] = {"request", "backendRequest", NULL};
    const struct yaml *node = yaml_get(rule, "timeouts"), *attempt;
    char buf[WHAT_MAX];
    if (!yaml_is_mapping(node, what_at(buf, "%s.timeouts", what), reader->diag))
        return;
    k8s_strict_keys(reader, node, buf, keys);
    attempt = yaml_get(node, "backendRequest");
    out_rule->timeout_ns = read_duration(reader, yaml_get(node, "request"),
                                         what_at(buf, "%s.timeouts.request", what), 0);
    out_rule->attempt_ns =
        read_duration(reader, attempt, what_at(buf, "%s.timeouts.backendRequest", what), 0);
    if (out_rule->timeout_ns != 0 && out_rule->attempt_ns > out_rule->timeout_ns)
        diag_error(reader->diag, attempt->place, "%s: is longer than timeouts.request", buf);
}

static void read_codes(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                       struct route_retry *retry)
{
    char buf[WHAT_MAX];
    const size_t n = k8s_list(reader, node, what, ROUTE_CODES_MAX);
    uint16_t *codes = arena_new_array(reader->arena, uint16_t, n);
    for (size_t i = 0; i < n; i++) {
        codes[i] = (uint16_t)yaml_u64(node->items[i], what_at(buf, "%s[%zu]", what, i), 400, 599, 0,
                                      reader->diag);
        if (node->items[i]->kind == YAML_NULL)
            diag_error(reader->diag, node->items[i]->place, "%s: is empty, expected a status", buf);
        for (size_t j = 0; j < i; j++)
            if (codes[j] == codes[i] && codes[i] != 0)
                diag_error(reader->diag, node->items[i]->place, "%s: %u is there already", buf,
                           codes[i]);
    }
    retry->codes = codes;
    retry->n_codes = n;
    if (n > 0)
        retry->on |= ROUTE_RETRY_CODES;
    else if (node && node->kind == YAML_SEQUENCE && node->len == 0)
        diag_warn(reader->diag, node->place, "%s: is empty, so no answer is tried again", what);
}

static void read_retry(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                       struct route_retry *retry)
{
    static const char *const keys[] = {"codes", "attempts", "backoff", NULL};
    const struct yaml *node = yaml_get(rule, "retry");
    char buf[WHAT_MAX];
    if (!yaml_is_mapping(node, what_at(buf, "%s.retry", what), reader->diag))
        return;
    k8s_strict_keys(reader, node, buf, keys);
    retry->on = ROUTE_RETRY_CONNECT | ROUTE_RETRY_REFUSED | ROUTE_RETRY_RESET;
    retry->attempts =
        (uint32_t)yaml_u64(yaml_get(node, "attempts"), what_at(buf, "%s.retry.attempts", what), 0,
                           ROUTE_RETRIES_MAX, 1, reader->diag);
    retry->backoff_ns = read_duration(reader, yaml_get(node, "backoff"),
                                      what_at(buf, "%s.retry.backoff", what), BACKOFF_NS);
    retry->backoff_max_ns = retry->backoff_ns * BACKOFF_TIMES;
    read_codes(reader, yaml_get(node, "codes"), what_at(buf, "%s.retry.codes", what), retry);
}

/* ---- rules ---- */

static void read_name(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                      const struct k8s_route *route, size_t idx)
{
    struct k8s_route_rule *out_rule = &route->rules[idx];
    const struct yaml *node = yaml_get(rule, "name");
    const struct object *meta = &route->meta;
    char buf[WHAT_MAX];
    const struct str name = k8s_name(reader, node, what_at(buf, "%s.name", what), name_is_subdomain,
                                     "a name (RFC 1123: a-z, 0-9, - and ., 253 letters at most)");
    for (size_t i = 0; node && i < idx; i++)
        if (str_ends_with(route->rules[i].rule.name,
                          arena_printf(reader->arena, "/%.*s", STR_ARG(name))))
            diag_error(reader->diag, node->place, "%s: \"%.*s\" is the name of rules[%zu] already",
                       buf, STR_ARG(name), i);
    if (name.len > 0)
        out_rule->rule.name =
            arena_printf(reader->arena, "%.*s/%.*s/%.*s", STR_ARG(meta->namespace_),
                         STR_ARG(meta->name), STR_ARG(name));
    else
        out_rule->rule.name = arena_printf(reader->arena, "%.*s/%.*s/%zu",
                                           STR_ARG(meta->namespace_), STR_ARG(meta->name), idx);
}

/* What replaces a prefix has to know which one. */
static void check_prefix_edit(const struct k8s_reader *reader, const struct yaml *rule,
                              const char *what, const struct k8s_route_rule *out_rule)
{
    const enum route_path_kind kind = out_rule->matches[0].path_kind;
    const bool knows =
        out_rule->n_matches == 1 && (kind == ROUTE_PATH_PREFIX || kind == ROUTE_PATH_ANY);
    if (out_rule->rule.path_edit == ROUTE_PATH_REPLACE_PREFIX && !knows)
        diag_error(reader->diag, rule->place,
                   "%s: replacePrefixMatch needs exactly one match, of a PathPrefix", what);
}

static void read_rule(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                      struct k8s_route *route, size_t idx)
{
    static const char *const http_keys[] = {
        "name", "matches", "filters", "backendRefs", "timeouts", "retry", "sessionPersistence",
        NULL};
    static const char *const grpc_keys[] = {
        "name", "matches", "filters", "backendRefs", "sessionPersistence", NULL};
    const struct yaml *session = yaml_get(rule, "sessionPersistence");
    struct k8s_route_rule *out_rule = &route->rules[idx];
    k8s_strict_keys(reader, rule, what, route->is_grpc ? grpc_keys : http_keys);
    if (session)
        diag_error(reader->diag, session->place,
                   "%s.sessionPersistence: is not supported; a TrafficPolicy's hashKeys keep a "
                   "source on one endpoint",
                   what);
    out_rule->rule.missing_status = 500;
    out_rule->rule.action = ROUTE_FORWARD;
    read_name(reader, rule, what, route, idx);
    k8s_route_matches(reader, rule, what, route->is_grpc, out_rule);
    k8s_route_filters(reader, rule, what, &route->meta, route->is_grpc, out_rule);
    k8s_route_backends(reader, rule, what, &route->meta, out_rule);
    read_timeouts(reader, rule, what, &out_rule->rule);
    read_retry(reader, rule, what, &out_rule->rule.retry);
    if (out_rule->matches)
        check_prefix_edit(reader, rule, what, out_rule);
}

static void read_rules(const struct k8s_reader *reader, const struct yaml *spec,
                       struct k8s_route *route)
{
    char what[WHAT_MAX];
    const struct yaml *list = yaml_get(spec, "rules");
    const size_t n = k8s_list(reader, list, "spec.rules", K8S_ROUTE_RULES_MAX);
    size_t n_matches = 0;
    if (n == 0)
        diag_error(reader->diag, list ? list->place : spec->place,
                   "spec.rules: is required, with a rule at least");
    route->rules = arena_new_array(reader->arena, struct k8s_route_rule, n);
    for (size_t i = 0; i < n; i++) {
        if (!k8s_item(reader, list->items[i], what_at(what, "spec.rules[%zu]", i)))
            continue;
        route->n_rules = i + 1;
        read_rule(reader, list->items[i], what, route, i);
        n_matches += route->rules[i].n_matches;
    }
    if (n_matches > K8S_ROUTE_MATCHES_ALL)
        diag_error(reader->diag, list->place, "spec.rules: have %zu matches together, %d at most",
                   n_matches, K8S_ROUTE_MATCHES_ALL);
}

/* A slip by which a route would be nobody's without a word: Gateway API's own group is meant where
 * none is said, and it has no Service. */
static void warn_of_parent(const struct k8s_reader *reader, const struct yaml *ref, size_t idx)
{
    const struct str group = text_at(ref, "group", GATEWAY_GROUP);
    const struct str kind = text_at(ref, "kind", "Gateway");
    const bool is_service = str_eq(kind, STR("Service"));
    const char *its_group = is_service ? "" : "multicluster.x-k8s.io";
    bool is_import;
    if (is_ours(ref, &is_import))
        return;
    if (!is_service && !str_eq(kind, STR("ServiceImport"))) {
        if (str_is_empty(group) || is_mcs(group))
            diag_warn(reader->diag, ref->place,
                      "spec.parentRefs[%zu]: is passed over; of group \"%.*s\" only %s is read, "
                      "found \"%.*s\"",
                      idx, STR_ARG(group), str_is_empty(group) ? "Service" : "ServiceImport",
                      STR_ARG(kind));
    } else if (yaml_get(ref, "group")) {
        diag_warn(reader->diag, ref->place,
                  "spec.parentRefs[%zu]: is passed over; a %.*s is of \"%s\", found \"%.*s\"", idx,
                  STR_ARG(kind), its_group, STR_ARG(group));
    } else {
        diag_warn(reader->diag, ref->place,
                  "spec.parentRefs[%zu]: is passed over; without a group it is of " GATEWAY_GROUP
                  ", and a %.*s is of \"%s\"",
                  idx, STR_ARG(kind), its_group);
    }
}

static void warn_of_parents(const struct k8s_reader *reader, const struct yaml *doc)
{
    const struct yaml *spec = yaml_get(doc, "spec"), *refs = yaml_get(spec, "parentRefs");
    if (!refs || (refs->kind == YAML_SEQUENCE && refs->len == 0))
        diag_warn(reader->diag, spec ? spec->place : doc->place,
                  "spec.parentRefs: there are none, so the route is passed over");
    else if (refs->kind != YAML_SEQUENCE)
        diag_warn(reader->diag, refs->place,
                  "spec.parentRefs: is not a list, so the route is passed over");
    for (size_t i = 0; refs && refs->kind == YAML_SEQUENCE && i < refs->len; i++)
        if (refs->items[i]->kind == YAML_MAPPING)
            warn_of_parent(reader, refs->items[i], i);
        else
            diag_warn(reader->diag, refs->items[i]->place,
                      "spec.parentRefs[%zu]: is not a mapping, so it is passed over", i);
}

static void read_route(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta,
                       bool is_grpc)
{
    static const char *const keys[] = {"parentRefs", "hostnames", "rules", NULL};
    const struct yaml *spec = yaml_get(doc, "spec"), *hostnames = yaml_get(spec, "hostnames");
    warn_of_parents(reader, doc);
    if (!has_ours(yaml_get(spec, "parentRefs")))
        return;
    struct k8s_route *route = vec_add(&reader->objects[K8S_ROUTE]);
    route->meta = *meta;
    route->is_grpc = is_grpc;
    k8s_strict_top(reader, doc);
    k8s_strict_keys(reader, spec, "spec", keys);
    /* Gateway API leaves them without a meaning in a mesh, and one route may have both kinds of
     * parents. */
    if (hostnames)
        diag_warn(reader->diag, hostnames->place,
                  "spec.hostnames: count for Gateways alone; for a Service match the header Host");
    read_parents(reader, spec, route);
    read_rules(reader, spec, route);
}

void k8s_read_http_route(struct k8s_reader *reader, const struct yaml *doc,
                         const struct object *meta)
{
    read_route(reader, doc, meta, false);
}

void k8s_read_grpc_route(struct k8s_reader *reader, const struct yaml *doc,
                         const struct object *meta)
{
    read_route(reader, doc, meta, true);
}
