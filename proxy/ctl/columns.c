#include "proxy/ctl/columns.h"

#include "proxy/ctl/values.h"

static struct str member_str(json_t *row, const char *key)
{
    return value_str(json_object_get(row, key));
}

/* ---- cells made of several members ---- */

static void write_vips(json_t *row, struct text *out)
{
    if (json_is_true(json_object_get(row, "headless")))
        text_add(out, STR("headless"));
    else
        value_add(out, "vips", json_object_get(row, "vips"));
}

/* "redis:6379 2/3": the name, the port, how many of its endpoints are ready. */
static void write_port(json_t *port, struct text *out)
{
    json_t *ready = json_object_get(port, "ready");
    json_t *endpoints = json_object_get(port, "endpoints");
    const struct str name = member_str(port, "name"), protocol = member_str(port, "protocol");
    if (!str_is_empty(name))
        text_addf(out, "%.*s:", STR_ARG(name));
    value_add(out, "port", json_object_get(port, "port"));
    if (!str_is_empty(protocol) && !str_eq(protocol, STR("TCP")))
        text_addf(out, "/%.*s", STR_ARG(protocol));
    else if (json_is_integer(ready) && json_is_integer(endpoints))
        text_addf(out, " %lld/%lld", (long long)json_integer_value(ready),
                  (long long)json_integer_value(endpoints));
}

static void write_ports(json_t *row, struct text *out)
{
    json_t *ports = json_object_get(row, "ports");
    for (size_t i = 0; i < json_array_size(ports); i++) {
        if (i > 0)
            text_add(out, STR(", "));
        write_port(json_array_get(ports, i), out);
    }
}

static void write_named(struct text *out, struct str namespace_, struct str name)
{
    if (!str_is_empty(namespace_))
        text_addf(out, "%.*s/", STR_ARG(namespace_));
    text_add(out, name);
}

static void write_workload(json_t *row, struct text *out)
{
    write_named(out, member_str(row, "namespace"), member_str(row, "workload"));
}

/* A workload by its name, anyone else by the address. */
static void write_party(struct text *out, struct str namespace_, struct str workload,
                        struct str addr)
{
    if (str_is_empty(workload))
        text_add(out, addr);
    else
        write_named(out, namespace_, workload);
}

static void write_source(json_t *row, struct text *out)
{
    write_party(out, member_str(row, "src.namespace"), member_str(row, "src.workload"),
                member_str(row, "src.addr"));
}

static void write_destination(json_t *row, struct text *out)
{
    write_party(out, member_str(row, "dst.namespace"), member_str(row, "dst.workload"),
                member_str(row, "dst.addr"));
}

static void write_tls(json_t *row, struct text *out)
{
    const struct str version = member_str(row, "tls.version");
    if (json_is_true(json_object_get(row, "mtls")) && !str_is_empty(version))
        text_add(out, version);
    else
        value_add(out, "mtls", json_object_get(row, "mtls"));
}

/* A time to the second. */
static void write_second(json_t *row, const char *key, struct text *out)
{
    struct str date, fraction;
    const struct str time = member_str(row, key);
    if (str_split(time, '.', &date, &fraction))
        text_addf(out, "%.*sZ", STR_ARG(date));
    else
        text_add(out, time);
}

static void write_not_before(json_t *row, struct text *out)
{
    write_second(row, "not_before", out);
}

static void write_not_after(json_t *row, struct text *out)
{
    write_second(row, "not_after", out);
}

/* A number with its unit; "-" stands where there is none. */
static void write_measure(json_t *row, const char *key, const char *unit, struct text *out)
{
    json_t *value = json_object_get(row, key);
    if (json_is_number(value))
        text_addf(out, "%.1f%s", json_number_value(value), unit);
}

static void write_share(json_t *row, struct text *out)
{
    write_measure(row, "share_pct", "%", out);
}

static void write_latency(json_t *row, struct text *out)
{
    write_measure(row, "latency_ms", "ms", out);
}

static void write_crl_due(json_t *row, struct text *out)
{
    write_second(row, "crl_next_update", out);
}

/* ---- tables ---- */

static const struct column services[] = {
    {"HOST", "host", NULL},
    {"NAMESPACE", "namespace", NULL},
    {"SCOPE", "scope", NULL},
    {"VIPS", "vips headless", write_vips},
    {"PORTS (READY)", "ports", write_ports},
    {"CLUSTERS", "clusters", NULL},
};

static const struct column endpoints[] = {
    {"SERVICE", "service", NULL},
    {"PORT", "port", NULL},
    {"READY", "ready", NULL},
    {"LEVEL", "level", NULL},
    {"CLUSTER", "cluster", NULL},
    {"ZONE", "zone", NULL},
    {"NODE", "node", NULL},
    {"WORKLOAD", "workload namespace", write_workload},
    {"ADDRESS", "address", NULL},
    {"SHARE", "share_pct", write_share},
    {"IN FLIGHT", "in_flight", NULL},
    {"LATENCY", "latency_ms", write_latency},
    {"HEALTH", "health", NULL},
    {"WHY", "why", NULL},
    {NULL, "identity active passive until", NULL},
};

static const struct column routes[] = {
    {"SERVICE", "service", NULL}, {"PORT", "port", NULL},   {"CALLERS", "callers", NULL},
    {"RULE", "rule", NULL},       {"MATCH", "match", NULL}, {"ACTION", "action", NULL},
    {NULL, "host", NULL},
};

static const struct column health[] = {
    {"SERVICE", "service", NULL},
    {"PORT", "port", NULL},
    {"HEALTH", "health", NULL},
    {"WORKLOAD", "workload namespace", write_workload},
    {"CLUSTER", "cluster", NULL},
    {"ADDRESS", "address", NULL},
    {"WHY", "why", NULL},
    {"SINCE", "since_ms", NULL},
    {"CHECKED", "checked_ms", NULL},
    {"AS", "as", NULL},
};

static const struct column connections[] = {
    {"ID", "id", NULL},
    {"STATE", "state", NULL},
    {"AGE", "age_ms", NULL},
    {"DIRECTION", "direction", NULL},
    {"SOURCE", "src.workload src.namespace src.addr", write_source},
    {"SERVICE", "dst.service", NULL},
    {"DESTINATION", "dst.workload dst.namespace dst.addr", write_destination},
    {"CLUSTER", "dst.cluster", NULL},
    {"MTLS", "mtls tls.version", write_tls},
    {"RECEIVED", "bytes_received", NULL},
    {"SENT", "bytes_sent", NULL},
    {NULL, "src.identity src.cluster dst.identity dst.hbone_addr tls.cipher policy", NULL},
};

static const struct column certificates[] = {
    {"IDENTITY", "identity", NULL},
    {"STATE", "state", NULL},
    {"SERIAL", "serial", NULL},
    {"FROM", "not_before", write_not_before},
    {"UNTIL", "not_after", write_not_after},
    {"ERROR", "error", NULL},
};

static const struct column bundles[] = {
    {"TRUST DOMAIN", "trust_domain", NULL},        {"ROOTS", "roots", NULL},
    {"UNTIL", "not_after", write_not_after},       {"CRLS", "crls", NULL},
    {"CRL DUE", "crl_next_update", write_crl_due},
};

static const struct columns known[] = {
    {"services", services, ARRAY_LEN(services)},
    {"endpoints", endpoints, ARRAY_LEN(endpoints)},
    {"routes", routes, ARRAY_LEN(routes)},
    {"health", health, ARRAY_LEN(health)},
    {"connections", connections, ARRAY_LEN(connections)},
    {"certificates", certificates, ARRAY_LEN(certificates)},
    {"bundles", bundles, ARRAY_LEN(bundles)},
};

const struct columns *columns_find(const char *list)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (str_eq(str_from(known[i].list), str_from(list)))
            return &known[i];
    }
    return NULL;
}

bool column_uses(const struct column *column, const char *key)
{
    struct str rest = str_from(column->uses), word;
    while (str_split(rest, ' ', &word, &rest)) {
        if (str_eq(word, str_from(key)))
            return true;
    }
    return str_eq(rest, str_from(key));
}

/* The first word of what it uses, as the C string that jansson wants. */
static json_t *first_used(const struct column *column, json_t *row)
{
    const char *key;
    json_t *value;
    struct str first = str_from(column->uses), rest;
    (void)str_split(first, ' ', &first, &rest);
    json_object_foreach(row, key, value)
    {
        if (str_eq(str_from(key), first))
            return value;
    }
    return NULL;
}

void column_write(const struct column *column, json_t *row, struct text *out)
{
    if (column->write)
        column->write(row, out);
    else
        value_add(out, column->uses, first_used(column, row));
}
