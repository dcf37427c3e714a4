#include "proxy/run/policy_table.h"

#include <stdio.h>

#include "certs/spiffe.h"
#include "config/files.h"
#include "config/names.h"
#include "config/yaml.h"
#include "proxy/base/mem.h"

#define WHAT_MAX 64

struct reading {
    struct policy_table *table;
    struct diag *diag;
};

/* ---- fields ---- */

static struct str text_field(const struct reading *reading, const struct yaml *node, size_t idx,
                             const char *field)
{
    char what[WHAT_MAX];
    (void)snprintf(what, sizeof(what), "cases[%zu].%s", idx, field);
    return arena_str(&reading->table->arena, yaml_text(node, what, (struct str){0}, reading->diag));
}

static struct str top_field(const struct reading *reading, const struct yaml *doc, const char *key,
                            const char *fallback, bool (*is_valid)(struct str),
                            const char *expected)
{
    const struct yaml *node = yaml_get(doc, key);
    const struct str text = yaml_text(node, key, str_from(fallback), reading->diag);
    if (node && node->kind == YAML_TEXT && !is_valid(text))
        diag_error(reading->diag, node->place, "%s: \"%.*s\" is not %s", key, STR_ARG(text),
                   expected);
    return arena_str(&reading->table->arena, text);
}

static bool is_trust_domain(struct str text)
{
    return spiffe_check_trust_domain(text) == 0;
}

/* ---- which cluster ---- */

static void read_control(const struct reading *reading, const struct yaml *doc,
                         const struct yaml *control)
{
    static const char *const others[] = {"cluster", "trustDomain", "clusterDomain",
                                         "rootNamespace"};
    struct policy_table *table = reading->table;
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        const struct yaml *other = yaml_get(doc, others[i]);
        if (other)
            diag_error(reading->diag, other->place, "%s: is in the file that control names",
                       others[i]);
    }
    const struct str path = file_beside(&table->arena, doc->place.file,
                                        yaml_text(control, "control", STR(""), reading->diag));
    bootstrap_read_control(path.ptr, &table->config, reading->diag);
}

static void read_cluster(const struct reading *reading, const struct yaml *doc)
{
    struct control_config *config = &reading->table->config;
    const struct yaml *control = yaml_get(doc, "control");
    if (control) {
        read_control(reading, doc, control);
        return;
    }
    if (!yaml_get(doc, "trustDomain"))
        diag_error(reading->diag, doc->place,
                   "trustDomain: is required, or control with the path of a ControlConfig");
    config->cluster = top_field(reading, doc, "cluster", "cluster", name_is_cluster,
                                "a cluster's name (RFC 1123)");
    config->trust_domain = top_field(reading, doc, "trustDomain", "", is_trust_domain,
                                     "a trust domain such as west.example");
    config->cluster_domain = top_field(reading, doc, "clusterDomain", "cluster.local",
                                       name_is_subdomain, "a domain (RFC 1123)");
    config->root_namespace = top_field(reading, doc, "rootNamespace", "isthmus-system",
                                       name_is_label, "a namespace (RFC 1123 label)");
}

/* ---- cases ---- */

/* namespace/name */
static bool is_key(struct str text)
{
    struct str namespace_, name;
    return str_split(text, '/', &namespace_, &name) && name_is_label(namespace_) &&
           name_is_subdomain(name);
}

static void expect_key(const struct reading *reading, const struct yaml *node, struct str text,
                       const char *what)
{
    if (node && node->kind == YAML_TEXT && !is_key(text))
        diag_error(reading->diag, node->place, "%s: \"%.*s\" is not namespace/name", what,
                   STR_ARG(text));
}

static void check_address(const struct reading *reading, const struct yaml *node, struct str text)
{
    struct ip ip;
    if (node && node->kind == YAML_TEXT && ip_parse(text, &ip) < 0)
        diag_error(reading->diag, node->place, "from.address: \"%.*s\" is not an IP address",
                   STR_ARG(text));
}

/* With the scheme or without it, as policies write it. */
static struct str read_principal(const struct reading *reading, const struct yaml *node, size_t idx)
{
    struct spiffe_id id;
    const char *why;
    struct str text = text_field(reading, node, idx, "from.principal");
    if (!node || node->kind != YAML_TEXT)
        return (struct str){0};
    if (!str_starts_with(text, STR("spiffe://")))
        text = arena_printf(&reading->table->arena, "spiffe://%.*s", STR_ARG(text));
    if (spiffe_parse(text, &id, &why) < 0)
        diag_error(reading->diag, node->place, "from.principal: \"%.*s\" is no SPIFFE ID: %s",
                   STR_ARG(text), why);
    return text;
}

static void read_from(const struct reading *reading, const struct yaml *item, size_t idx,
                      struct policy_case *to)
{
    static const char *const keys[] = {"principal", "pod", "address", NULL};
    const struct yaml *from = yaml_get(item, "from");
    if (!from) {
        diag_error(reading->diag, item->place, "cases[%zu].from: is required", idx);
        return;
    }
    if (!yaml_is_mapping(from, "from", reading->diag))
        return;
    yaml_only_keys(from, "from", keys, reading->diag);
    const struct yaml *pod = yaml_get(from, "pod"), *address = yaml_get(from, "address");
    to->from_place = from->place;
    to->principal = read_principal(reading, yaml_get(from, "principal"), idx);
    to->pod = text_field(reading, pod, idx, "from.pod");
    to->address = text_field(reading, address, idx, "from.address");
    expect_key(reading, pod, to->pod, "from.pod");
    check_address(reading, address, to->address);
    if (!yaml_get(from, "principal") && !pod && !address)
        diag_error(reading->diag, from->place,
                   "cases[%zu].from: expected principal (and address), pod or address", idx);
    if (pod && from->len > 1)
        diag_error(reading->diag, from->place,
                   "cases[%zu].from: a pod has its own identity and address; nothing stands beside "
                   "it",
                   idx);
}

static void read_to(const struct reading *reading, const struct yaml *item, size_t idx,
                    struct policy_case *to)
{
    static const char *const keys[] = {"pod", "service", NULL};
    const struct yaml *node = yaml_get(item, "to");
    if (!node) {
        diag_error(reading->diag, item->place, "cases[%zu].to: is required", idx);
        return;
    }
    if (!yaml_is_mapping(node, "to", reading->diag))
        return;
    yaml_only_keys(node, "to", keys, reading->diag);
    const struct yaml *pod = yaml_get(node, "pod"), *service = yaml_get(node, "service");
    to->to_place = node->place;
    to->to_pod = text_field(reading, pod, idx, "to.pod");
    expect_key(reading, pod, to->to_pod, "to.pod");
    to->to_service = text_field(reading, service, idx, "to.service");
    if (str_contains(to->to_service, STR("/")))
        expect_key(reading, service, to->to_service, "to.service");
    if (!pod == !service)
        diag_error(reading->diag, node->place, "cases[%zu].to: expected either pod or service",
                   idx);
}

static void read_expected(const struct reading *reading, const struct yaml *item, size_t idx,
                          struct policy_case *to)
{
    const struct yaml *expect = yaml_get(item, "expect"), *policy = yaml_get(item, "policy");
    const struct str word = text_field(reading, expect, idx, "expect");
    to->is_allowed = str_eq(word, STR("allow"));
    if (!expect)
        diag_error(reading->diag, item->place, "cases[%zu].expect: is required", idx);
    else if (!to->is_allowed && !str_eq(word, STR("deny")))
        diag_error(reading->diag, expect->place,
                   "cases[%zu].expect: \"%.*s\" is neither allow nor deny", idx, STR_ARG(word));
    to->policy = text_field(reading, policy, idx, "policy");
}

static void read_case(const struct reading *reading, const struct yaml *item, size_t idx,
                      struct policy_case *to)
{
    static const char *const keys[] = {"name",    "from",   "to",     "port",
                                       "request", "expect", "policy", NULL};
    char what[WHAT_MAX];
    if (item->kind != YAML_MAPPING) {
        diag_error(reading->diag, item->place, "cases[%zu]: expected a mapping", idx);
        return;
    }
    yaml_only_keys(item, "", keys, reading->diag);
    to->place = item->place;
    to->place.file = arena_str(&reading->table->arena, item->place.file);
    to->name = text_field(reading, yaml_get(item, "name"), idx, "name");
    read_from(reading, item, idx, to);
    read_to(reading, item, idx, to);
    to->from_place.file = to->to_place.file = to->place.file;
    (void)snprintf(what, sizeof(what), "cases[%zu].port", idx);
    if (!yaml_get(item, "port"))
        diag_error(reading->diag, item->place, "%s: is required", what);
    to->port = (uint16_t)yaml_u64(yaml_get(item, "port"), what, 1, 65535, 1, reading->diag);
    to->request =
        policy_table_read_request(yaml_get(item, "request"), &reading->table->arena, reading->diag);
    read_expected(reading, item, idx, to);
}

static void read_cases(const struct reading *reading, const struct yaml *doc)
{
    struct policy_table *table = reading->table;
    const struct yaml *cases = yaml_get(doc, "cases");
    if (!cases) {
        diag_error(reading->diag, doc->place, "cases: is required");
        return;
    }
    if (!yaml_is_sequence(cases, "cases", reading->diag))
        return;
    if (cases->len == 0 || cases->len > POLICY_CASES_MAX) {
        diag_error(reading->diag, cases->place, "cases: has %zu entries, expected 1 to %d",
                   cases->len, POLICY_CASES_MAX);
        return;
    }
    table->cases = arena_new_array(&table->arena, struct policy_case, cases->len);
    table->n_cases = cases->len;
    for (size_t i = 0; i < cases->len; i++)
        read_case(reading, cases->items[i], i, &table->cases[i]);
}

/* ---- the document ---- */

static void read_doc(const struct reading *reading, const struct yaml *doc)
{
    static const char *const keys[] = {"apiVersion",    "kind",        "control",
                                       "cluster",       "trustDomain", "clusterDomain",
                                       "rootNamespace", "cases",       NULL};
    const struct yaml *version = yaml_get(doc, "apiVersion"), *kind = yaml_get(doc, "kind");
    if (!yaml_is_mapping(doc, "the document", reading->diag))
        return;
    if (!version || !str_eq(version->text, STR("isthmus.io/v1alpha1")) || !kind ||
        !str_eq(kind->text, STR("PolicyTest"))) {
        diag_error(reading->diag, doc->place,
                   "expected kind PolicyTest of apiVersion isthmus.io/v1alpha1");
        return;
    }
    yaml_only_keys(doc, "", keys, reading->diag);
    read_cluster(reading, doc);
    read_cases(reading, doc);
}

void policy_table_read(const char *path, struct policy_table *out_table, struct diag *diag)
{
    struct arena scratch = {0};
    struct yaml **docs = NULL;
    struct str bytes;
    *out_table = (struct policy_table){0};
    const struct reading reading = {out_table, diag};
    if (!file_read(path, YAML_BYTES_MAX, &bytes, diag))
        return;
    const size_t n = yaml_parse(&scratch, str_from(path), bytes, &docs, diag);
    mem_free((void *)(uintptr_t)bytes.ptr);
    if (n == 1)
        read_doc(&reading, docs[0]);
    else if (diag_is_clean(diag))
        diag_error(diag, (struct place){.file = str_from(path)},
                   "holds %zu documents, expected one of kind PolicyTest", n);
    arena_fini(&scratch);
}

void policy_table_fini(struct policy_table *table)
{
    bootstrap_fini_control(&table->config);
    arena_fini(&table->arena);
}
