/*
 * TrafficPolicy (isthmus.io/v1alpha1): how a Service or ServiceImport is balanced, watched and
 * limited. The plain fields are those of traffic_fields.h, section by section; the lists and the
 * rules between fields are here. What a manifest leaves out keeps its default.
 */
#include <stdio.h>
#include <string.h>

#include "config/k8s.h"
#include "config/names.h"
#include "config/traffic_fields.h"

#define KEYS_MAX 32
#define SUM_MAX  UINT32_MAX

/* "spec.ejection.successRate.minVolume" */
static const char *path_of(char *buf, const char *section, const char *key)
{
    return what_at(buf, "spec%s%s%s%s", *section ? "." : "", section, *key ? "." : "", key);
}

/* ---- plain fields ---- */

static void say_wrong(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                      const char *expected)
{
    if (node->kind == YAML_TEXT)
        diag_error(reader->diag, node->place, "%s: \"%.*s\" is not %s", what,
                   STR_ARG(str_sub(node->text, 0, 80)), expected);
    else
        diag_error(reader->diag, node->place, "%s: expected %s", what, expected);
}

static bool parse_percent(struct str text, uint64_t *out)
{
    return str_ends_with(text, STR("%")) &&
           str_to_u64(str_sub(text, 0, text.len - 1), UINT32_MAX, out);
}

static void add_words(const char *const *words, char *buf, size_t size)
{
    size_t len = (size_t)snprintf(buf, size, "one of ");
    for (size_t i = 0; words[i] && len < size; i++)
        len += (size_t)snprintf(buf + len, size - len, "%s%s", i ? ", " : "", words[i]);
}

static bool parse_word(const struct traffic_field *field, struct str text, uint64_t *out)
{
    for (*out = 0; field->words[*out]; ++*out)
        if (str_eq(text, str_from(field->words[*out])))
            return true;
    return false;
}

static bool parse_value(const struct traffic_field *field, struct str text, uint64_t *out)
{
    switch (field->unit) {
    case TRAFFIC_PERCENT: return parse_percent(text, out);
    case TRAFFIC_PERMILLE: return traffic_parse_decimal(text, 3, out);
    case TRAFFIC_WORD: return parse_word(field, text, out);
    case TRAFFIC_COUNT: return str_to_u64(text, UINT64_MAX, out);
    case TRAFFIC_DURATION:
    case TRAFFIC_SWITCH: break;
    }
    return false;
}

/* "a percentage from 101% to 10000% or 0%" */
static void expectation(const struct traffic_field *field, char *buf, size_t size)
{
    const char *zero = field->zero_is_fine && field->min > 0 ? " or 0" : "";
    const unsigned long long min = field->min, max = field->max;
    switch (field->unit) {
    case TRAFFIC_PERCENT:
        (void)snprintf(buf, size, "a percentage from %llu%% to %llu%%%s%s", min, max, zero,
                       *zero ? "%" : "");
        return;
    case TRAFFIC_PERMILLE:
        (void)snprintf(buf, size, "a number from %llu.%03llu to %llu, three decimals at most%s",
                       min / 1000, min % 1000, max / 1000, zero);
        return;
    case TRAFFIC_WORD: add_words(field->words, buf, size); return;
    case TRAFFIC_COUNT:
    case TRAFFIC_DURATION:
    case TRAFFIC_SWITCH: break;
    }
    (void)snprintf(buf, size, "a whole number from %llu to %llu%s", min, max, zero);
}

static void read_field(const struct k8s_reader *reader, const struct traffic_field *field,
                       const struct yaml *node, const char *what, void *object)
{
    char expected[256];
    uint64_t value = traffic_field_get(field, object);
    if (!node || node->kind == YAML_NULL) /* which is told already */
        return;
    if (field->unit == TRAFFIC_SWITCH) {
        value = yaml_bool(node, what, value != 0, reader->diag);
    } else if (field->unit == TRAFFIC_DURATION) {
        const bool is_zero = node->kind == YAML_TEXT && field->zero_is_fine &&
                             (str_eq(node->text, STR("0")) || str_eq(node->text, STR("0s")));
        value =
            is_zero ? 0 : yaml_duration_ns(node, what, field->min, field->max, value, reader->diag);
    } else if (node->kind != YAML_TEXT || !parse_value(field, node->text, &value) ||
               !traffic_field_takes(field, value)) {
        expectation(field, expected, sizeof(expected));
        say_wrong(reader, node, what, expected);
        return;
    }
    traffic_field_set(field, object, value);
}

/* The keys of a section: its fields, its subsections, and what else the caller reads in it. */
static void check_section(const struct k8s_reader *reader, const struct yaml *node,
                          const char *section, const char *const *more)
{
    const char *keys[KEYS_MAX];
    char what[WHAT_MAX];
    size_t n = 0;
    for (size_t i = 0; i < n_traffic_fields; i++)
        if (strcmp(traffic_fields[i].section, section) == 0)
            keys[n++] = traffic_fields[i].key;
    for (size_t i = 0; more && more[i]; i++)
        keys[n++] = more[i];
    keys[n] = NULL;
    k8s_strict_keys(reader, node, path_of(what, section, ""), keys);
}

struct section {
    const char *name;
    const char *more[5]; /* NULL-terminated */
};

static const struct section sections[] = {
    {"loadBalancing", {"ringHash", "maglev", "slowStart", "hashKeys"}},
    {"loadBalancing.ringHash", {NULL}},
    {"loadBalancing.maglev", {NULL}},
    {"loadBalancing.slowStart", {NULL}},
    {"locality", {"weights"}},
    {"clusters", {"members", "allow"}},
    {"failover", {NULL}},
    {"ejection", {"successRate", "failurePercentage", "latency"}},
    {"ejection.successRate", {NULL}},
    {"ejection.failurePercentage", {NULL}},
    {"ejection.latency", {NULL}},
    {"limits", {"retryBudget"}},
    {"limits.retryBudget", {NULL}},
    {"retries", {NULL}},
    {"timeouts", {NULL}},
    {"protocolDetection", {NULL}},
};

static void read_sections(const struct k8s_reader *reader, const struct yaml *spec,
                          struct traffic_policy *policy)
{
    char what[WHAT_MAX];
    for (size_t i = 0; i < ARRAY_LEN(sections); i++) {
        const struct yaml *node = yaml_path(spec, sections[i].name);
        if (yaml_is_mapping(node, path_of(what, sections[i].name, ""), reader->diag))
            check_section(reader, node, sections[i].name, sections[i].more);
    }
    for (size_t i = 0; i < n_traffic_fields; i++) {
        const struct traffic_field *field = &traffic_fields[i];
        const struct yaml *node = *field->section ? yaml_path(spec, field->section) : spec;
        read_field(reader, field, yaml_get(node, field->key),
                   path_of(what, field->section, field->key), policy);
    }
}

/* ---- lists ---- */

static uint32_t read_weight(const struct k8s_reader *reader, const struct yaml *item,
                            const char *what)
{
    return (uint32_t)yaml_u64(yaml_get(item, "weight"), what, 0, UINT32_MAX, 0, reader->diag);
}

/* list: NULL when there is none. */
static void check_weights(const struct k8s_reader *reader, const struct yaml *spec,
                          const struct yaml *list, const char *what, uint64_t sum, bool is_weighted)
{
    if (sum > SUM_MAX)
        diag_error(reader->diag, list->place, "%s: the weights sum up to %llu, %u at most", what,
                   (unsigned long long)sum, SUM_MAX);
    if (is_weighted && sum == 0)
        diag_error(reader->diag, list ? list->place : spec->place,
                   "%s: mode Weighted needs at least one weight over 0", what);
}

static void read_localities(const struct k8s_reader *reader, const struct yaml *spec,
                            struct traffic_policy *policy)
{
    static const char *const keys[] = {"region", "zone", "weight", NULL};
    const struct yaml *list = yaml_path(spec, "locality.weights");
    const size_t n = k8s_values(reader, list, "spec.locality.weights", TRAFFIC_LOCALITIES_MAX);
    struct locality_weight *weights = arena_new_array(reader->arena, struct locality_weight, n);
    char what[WHAT_MAX];
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        const struct yaml *item = list->items[i];
        if (!k8s_item(reader, item, what_at(what, "spec.locality.weights[%zu]", i)))
            continue;
        k8s_strict_keys(reader, item, what, keys);
        weights[i].region = k8s_text(reader, yaml_get(item, "region"), what);
        weights[i].zone = k8s_text(reader, yaml_get(item, "zone"), what);
        if (str_is_empty(weights[i].region))
            diag_error(reader->diag, item->place, "%s.region: is required", what);
        for (size_t j = 0; j < i; j++)
            if (str_eq(weights[i].region, weights[j].region) &&
                str_eq(weights[i].zone, weights[j].zone))
                diag_error(reader->diag, item->place, "%s: is the locality of weights[%zu] already",
                           what, j);
        weights[i].weight =
            read_weight(reader, item, what_at(what, "spec.locality.weights[%zu].weight", i));
        sum += weights[i].weight;
    }
    check_weights(reader, spec, list, "spec.locality.weights", sum,
                  policy->locality == LOCALITY_WEIGHTED);
    policy->localities = weights;
    policy->n_localities = n;
}

static void read_price(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                       uint64_t *out_micro)
{
    if (node && (node->kind != YAML_TEXT || !traffic_parse_decimal(node->text, 6, out_micro) ||
                 *out_micro > TRAFFIC_PRICE_MAX_MICRO))
        say_wrong(reader, node, what, "a price such as 0.02 (0 to 1000000, six decimals at most)");
}

static void read_member(const struct k8s_reader *reader, const struct yaml *item, size_t idx,
                        struct cluster_share *shares, size_t *n_priorities)
{
    static const char *const keys[] = {"name", "weight", "priority", "pricePerGB", NULL};
    const struct yaml *name = yaml_get(item, "name"), *priority = yaml_get(item, "priority");
    struct cluster_share *share = &shares[idx];
    char what[WHAT_MAX];
    if (!k8s_item(reader, item, what_at(what, "spec.clusters.members[%zu]", idx)))
        return;
    k8s_strict_keys(reader, item, what, keys);
    share->cluster = k8s_name(reader, name, what_at(what, "spec.clusters.members[%zu].name", idx),
                              name_is_cluster, "a cluster's name (RFC 1123, 127 letters at most)");
    k8s_mention(reader, name, what, share->cluster);
    if (!name)
        diag_error(reader->diag, item->place, "%s: is required", what);
    for (size_t i = 0; name && i < idx; i++)
        if (str_eq(shares[i].cluster, share->cluster))
            diag_error(reader->diag, name->place,
                       "%s: \"%.*s\" is the name of members[%zu] already", what,
                       STR_ARG(share->cluster), i);
    share->weight =
        read_weight(reader, item, what_at(what, "spec.clusters.members[%zu].weight", idx));
    (void)what_at(what, "spec.clusters.members[%zu].priority", idx);
    share->priority =
        (uint32_t)yaml_u64(priority, what, 0, TRAFFIC_CLUSTERS_MAX - 1, 0, reader->diag);
    *n_priorities += priority != NULL;
    read_price(reader, yaml_get(item, "pricePerGB"),
               what_at(what, "spec.clusters.members[%zu].pricePerGB", idx), &share->price_micro);
}

static void check_priorities(const struct k8s_reader *reader, const struct yaml *list,
                             const struct cluster_share *shares, size_t n, size_t n_priorities)
{
    if (n_priorities < n)
        diag_error(reader->diag, list->place,
                   "spec.clusters.members: %zu of %zu have a priority; give one to all or to none",
                   n_priorities, n);
    for (size_t i = 0; i < n; i++) {
        bool is_next = shares[i].priority == 0;
        for (size_t j = 0; j < n && !is_next; j++)
            is_next = shares[j].priority + 1 == shares[i].priority ||
                      (j < i && shares[j].priority == shares[i].priority);
        if (!is_next)
            diag_error(reader->diag, list->items[i]->place,
                       "spec.clusters.members[%zu].priority: %u is there, but not %u", i,
                       shares[i].priority, shares[i].priority - 1);
    }
}

static void read_members(const struct k8s_reader *reader, const struct yaml *spec,
                         struct traffic_policy *policy)
{
    const struct yaml *list = yaml_path(spec, "clusters.members");
    const size_t n = k8s_values(reader, list, "spec.clusters.members", TRAFFIC_CLUSTERS_MAX);
    struct cluster_share *shares = arena_new_array(reader->arena, struct cluster_share, n);
    size_t n_priorities = 0;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        read_member(reader, list->items[i], i, shares, &n_priorities);
        sum += shares[i].weight;
    }
    check_weights(reader, spec, list, "spec.clusters.members", sum,
                  policy->cluster_mode == CLUSTERS_WEIGHTED);
    if (n_priorities > 0)
        check_priorities(reader, list, shares, n, n_priorities);
    policy->has_priorities = n_priorities > 0;
    policy->clusters = shares;
    policy->n_clusters = n;
}

static void read_allow(const struct k8s_reader *reader, const struct yaml *spec,
                       struct k8s_traffic *traffic)
{
    static const char *const keys[] = {"names", "matchLabels", NULL};
    const struct yaml *allow = yaml_path(spec, "clusters.allow"), *list = yaml_get(allow, "names");
    char what[WHAT_MAX];
    if (!yaml_is_mapping(allow, "spec.clusters.allow", reader->diag))
        return;
    k8s_strict_keys(reader, allow, "spec.clusters.allow", keys);
    const size_t n = k8s_values(reader, list, "spec.clusters.allow.names", TRAFFIC_CLUSTERS_MAX);
    struct str *names = arena_new_array(reader->arena, struct str, n);
    for (size_t i = 0; i < n; i++) {
        names[i] =
            k8s_name(reader, list->items[i], what_at(what, "spec.clusters.allow.names[%zu]", i),
                     name_is_cluster, "a cluster's name (RFC 1123, 127 letters at most)");
        k8s_mention(reader, list->items[i], what, names[i]);
    }
    traffic->allow = k8s_labels(reader, yaml_get(allow, "matchLabels"),
                                "spec.clusters.allow.matchLabels", &traffic->n_allow);
    /* Without either nobody knows what is meant, and everybody would be the worst guess. */
    if (!list && traffic->n_allow == 0)
        diag_error(reader->diag, allow->place,
                   "spec.clusters.allow: is empty, expected names or matchLabels");
    traffic->allows_by_name = list != NULL;
    traffic->policy.is_restricted = true;
    traffic->policy.allowed_clusters = names;
    traffic->policy.n_allowed = n;
}

/* ---- checks ---- */

static const char *const check_words[] = {"tcp", "tls", "http", "grpc"};

static void read_statuses(const struct k8s_reader *reader, const struct yaml *http, size_t idx,
                          struct health_check *check)
{
    static const char *const keys[] = {"min", "max", NULL};
    char what[WHAT_MAX];
    const struct yaml *node = yaml_get(http, "expectedStatuses");
    (void)what_at(what, "spec.healthChecks[%zu].http.expectedStatuses", idx);
    check->status_min = 200;
    check->status_max = 299;
    if (!yaml_is_mapping(node, what, reader->diag))
        return;
    k8s_strict_keys(reader, node, what, keys);
    check->status_min =
        (uint16_t)yaml_u64(yaml_get(node, "min"), what, 100, 599, 200, reader->diag);
    check->status_max =
        (uint16_t)yaml_u64(yaml_get(node, "max"), what, 100, 599, 299, reader->diag);
    if (check->status_min > check->status_max)
        diag_error(reader->diag, node->place, "%s: min %u is over max %u", what, check->status_min,
                   check->status_max);
}

static void read_http(const struct k8s_reader *reader, const struct yaml *http, size_t idx,
                      struct health_check *check)
{
    static const char *const keys[] = {"path", "host", "expectedStatuses", NULL};
    const struct yaml *path = yaml_get(http, "path");
    char what[WHAT_MAX];
    k8s_strict_keys(reader, http, what_at(what, "spec.healthChecks[%zu].http", idx), keys);
    check->host = k8s_text(reader, yaml_get(http, "host"),
                           what_at(what, "spec.healthChecks[%zu].http.host", idx));
    (void)what_at(what, "spec.healthChecks[%zu].http.path", idx);
    check->path = path ? k8s_text(reader, path, what) : STR("/");
    if (path && !str_starts_with(check->path, STR("/")))
        diag_error(reader->diag, path->place, "%s: \"%.*s\" does not begin with /", what,
                   STR_ARG(str_sub(check->path, 0, 80)));
    read_statuses(reader, http, idx, check);
}

static void read_check_kind(const struct k8s_reader *reader, const struct yaml *item, size_t idx,
                            struct health_check *check)
{
    static const char *const grpc_keys[] = {"service", NULL};
    static const char *const no_keys[] = {NULL};
    const struct yaml *found = NULL;
    char what[WHAT_MAX];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(check_words); i++) {
        const struct yaml *node = yaml_get(item, check_words[i]);
        (void)what_at(what, "spec.healthChecks[%zu].%s", idx, check_words[i]);
        if (!node || !yaml_is_mapping(node, what, reader->diag))
            continue;
        check->kind = (enum check_kind)i;
        found = node;
        n++;
    }
    if (n != 1) {
        diag_error(reader->diag, item->place,
                   "spec.healthChecks[%zu]: has %zu of tcp, tls, http and grpc, expected one (tcp: "
                   "{})",
                   idx, n);
        return;
    }
    if (check->kind == CHECK_HTTP) {
        read_http(reader, found, idx, check);
        return;
    }
    (void)what_at(what, "spec.healthChecks[%zu].%s", idx, check_words[check->kind]);
    k8s_strict_keys(reader, found, what, check->kind == CHECK_GRPC ? grpc_keys : no_keys);
    check->grpc_service = k8s_text(reader, yaml_get(found, "service"),
                                   what_at(what, "spec.healthChecks[%zu].grpc.service", idx));
}

static void read_checks(const struct k8s_reader *reader, const struct yaml *spec,
                        struct traffic_policy *policy)
{
    static const char *const keys[] = {"tcp",
                                       "tls",
                                       "http",
                                       "grpc",
                                       "port",
                                       "timeout",
                                       "interval",
                                       "jitter",
                                       "unhealthyInterval",
                                       "unhealthyThreshold",
                                       "healthyThreshold",
                                       NULL};
    const struct yaml *list = yaml_get(spec, "healthChecks");
    const size_t n = k8s_values(reader, list, "spec.healthChecks", TRAFFIC_CHECKS_MAX);
    struct health_check *checks = arena_new_array(reader->arena, struct health_check, n);
    char what[WHAT_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct yaml *item = list->items[i];
        if (!k8s_item(reader, item, what_at(what, "spec.healthChecks[%zu]", i)))
            continue;
        k8s_strict_keys(reader, item, what, keys);
        checks[i] = *traffic_check_default();
        read_check_kind(reader, item, i, &checks[i]);
        if (yaml_get(item, "port"))
            checks[i].port = k8s_port(reader, yaml_get(item, "port"), item,
                                      what_at(what, "spec.healthChecks[%zu].port", i));
        for (size_t j = 0; j < n_traffic_check_fields; j++)
            read_field(reader, &traffic_check_fields[j],
                       yaml_get(item, traffic_check_fields[j].key),
                       what_at(what, "spec.healthChecks[%zu].%s", i, traffic_check_fields[j].key),
                       &checks[i]);
    }
    policy->checks = checks;
    policy->n_checks = n;
}

/* ---- the whole ---- */

static void read_tier(const struct k8s_reader *reader, const struct yaml *spec,
                      struct traffic_policy *policy)
{
    const struct yaml *tier = yaml_get(spec, "tier"), *time = yaml_get(spec, "recoveryTime");
    uint64_t recovery_ns;
    policy->tier = k8s_name(reader, tier, "spec.tier", name_is_label,
                            "a tier (critical, batch, development or a name of your own)");
    if (!tier)
        return;
    if (traffic_tier(policy->tier, &recovery_ns)) {
        if (time && policy->recovery_time_ns != recovery_ns)
            diag_error(reader->diag, time->place,
                       "spec.recoveryTime: tier %.*s promises a time of its own; leave it out or "
                       "name another tier",
                       STR_ARG(policy->tier));
        policy->recovery_time_ns = recovery_ns;
    } else if (!time) {
        diag_error(reader->diag, tier->place,
                   "spec.tier: \"%.*s\" is not critical, batch or development, so it needs a "
                   "recoveryTime",
                   STR_ARG(str_sub(policy->tier, 0, 80)));
    }
}

static void read_target(const struct k8s_reader *reader, const struct yaml *spec,
                        struct k8s_traffic *traffic)
{
    static const char *const keys[] = {"group", "kind", "name", NULL};
    const struct yaml *ref = yaml_get(spec, "targetRef");
    if (!ref) {
        diag_error(reader->diag, spec->place, "spec.targetRef: is required");
        return;
    }
    if (!yaml_is_mapping(ref, "spec.targetRef", reader->diag))
        return;
    k8s_strict_keys(reader, ref, "spec.targetRef", keys);
    struct str group =
        yaml_text(yaml_get(ref, "group"), "spec.targetRef.group", (struct str){0}, reader->diag);
    struct str kind =
        yaml_text(yaml_get(ref, "kind"), "spec.targetRef.kind", (struct str){0}, reader->diag);
    traffic->is_import = str_eq(kind, STR("ServiceImport"));
    const bool is_mcs =
        str_eq(group, STR("multicluster.x-k8s.io")) || str_eq(group, STR("multicluster.k8s.io"));
    if (!(traffic->is_import && is_mcs) && !(str_eq(kind, STR("Service")) && str_is_empty(group)))
        diag_error(
            reader->diag, ref->place,
            "spec.targetRef: \"%.*s\" of group \"%.*s\" is neither a Service (group \"\") nor "
            "a ServiceImport (group multicluster.x-k8s.io)",
            STR_ARG(str_sub(kind, 0, 40)), STR_ARG(str_sub(group, 0, 80)));
    traffic->target = k8s_name(reader, yaml_get(ref, "name"), "spec.targetRef.name", name_is_label,
                               "a name (RFC 1123 label)");
    if (str_is_empty(traffic->target))
        diag_error(reader->diag, ref->place, "spec.targetRef.name: is required");
}

/* What two fields say together. */
static void check_pairs(const struct k8s_reader *reader, const struct yaml *spec,
                        const struct traffic_policy *policy)
{
    struct text why = {0};
    const struct yaml *maglev = yaml_path(spec, "loadBalancing.maglev.tableSize");
    if (policy->ring_min > policy->ring_max)
        diag_error(reader->diag, yaml_path(spec, "loadBalancing.ringHash")->place,
                   "spec.loadBalancing.ringHash: minSize %u is over maxSize %u", policy->ring_min,
                   policy->ring_max);
    else if (policy->ejection.max_ns < policy->ejection.base_ns)
        diag_error(reader->diag, yaml_path(spec, "ejection")->place,
                   "spec.ejection: maxTime is under baseTime");
    else if (!traffic_policy_check(policy, &why)) /* a prime table, or what was told already */
        diag_error(reader->diag, maglev ? maglev->place : spec->place, "spec: %.*s",
                   STR_ARG(text_str(&why)));
    text_fini(&why);
}

void k8s_read_traffic(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    static const char *const sections_of_spec[] = {
        "targetRef", "tier",     "loadBalancing", "locality",
        "clusters",  "failover", "healthChecks",  "ejection",
        "limits",    "retries",  "timeouts",      "protocolDetection",
        NULL};
    struct k8s_traffic *traffic = vec_add(&reader->objects[K8S_TRAFFIC]);
    const struct yaml *spec = yaml_get(doc, "spec");
    const size_t n_errors = reader->diag->n_errors;
    traffic->meta = *meta;
    traffic->policy = *traffic_policy_default();
    if (!spec)
        diag_error(reader->diag, doc->place, "spec: is required");
    if (!yaml_is_mapping(spec, "spec", reader->diag))
        return;
    check_section(reader, spec, "", sections_of_spec);
    traffic->policy.name =
        arena_printf(reader->arena, "%.*s/%.*s", STR_ARG(meta->namespace_), STR_ARG(meta->name));
    traffic->says_locality = yaml_path(spec, "locality.mode") != NULL;
    traffic->says_node_only = yaml_path(spec, "locality.nodeOnly") != NULL;
    traffic->says_algorithm = yaml_path(spec, "loadBalancing.algorithm") != NULL;
    traffic->says_spill = yaml_path(spec, "failover.spillByLoad") != NULL;
    read_target(reader, spec, traffic);
    read_sections(reader, spec, &traffic->policy);
    read_tier(reader, spec, &traffic->policy);
    read_localities(reader, spec, &traffic->policy);
    read_members(reader, spec, &traffic->policy);
    read_allow(reader, spec, traffic);
    read_checks(reader, spec, &traffic->policy);
    k8s_read_hash_keys(reader, spec, &traffic->policy);
    if (reader->diag->n_errors == n_errors)
        check_pairs(reader, spec, &traffic->policy);
}
