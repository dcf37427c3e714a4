#include "tests/unit/proxy_dns/zone.h"

#include <libknot/libknot.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/text.h"

/* ------------------------------------------------------------------ the mesh */

#define RESOURCES_MAX 512

struct builder {
    struct arena arena;
    const struct model_resource *resources[RESOURCES_MAX];
    size_t n_resources;
};

static void add_resource(struct builder *builder, struct model_resource resource)
{
    struct model_resource *copy = arena_new(&builder->arena, struct model_resource);
    *copy = resource;
    ensure(builder->n_resources < RESOURCES_MAX);
    builder->resources[builder->n_resources++] = copy;
}

static size_t parse_ips(const char *text, struct ip *ips)
{
    size_t n = 0;
    struct str left = str_from(text), head = left, tail = {0};
    while (left.len > 0) {
        if (!str_split(left, ' ', &head, &tail)) {
            head = left;
            tail = (struct str){0};
        }
        ensure(ip_parse(head, &ips[n++]) == 0);
        left = tail;
    }
    return n;
}

static struct model_service *add_service(struct builder *builder, const char *name,
                                         const char *namespace_, const char *zone, const char *ips)
{
    struct model_service *service = arena_new(&builder->arena, struct model_service);
    service->name = str_from(name);
    service->namespace_ = str_from(namespace_);
    service->hostname = arena_printf(&builder->arena, "%s.%s.svc.%s", name, namespace_, zone);
    service->n_addresses = parse_ips(ips, service->addresses);
    service->is_headless = service->n_addresses == 0;
    service->ports = arena_new_array(&builder->arena, struct model_port, 4);
    struct str key =
        arena_printf(&builder->arena, "%s/%.*s", namespace_, STR_ARG(service->hostname));
    add_resource(builder, (struct model_resource){MODEL_SERVICE, key, {.service = service}});
    return service;
}

static void add_port(struct model_service *service, const char *name, uint16_t port, bool is_udp)
{
    service->ports[service->n_ports++] = (struct model_port){
        .service_port = port, .target_port = port, .name = str_from(name), .is_udp = is_udp};
}

static struct model_membership *add_endpoint(struct builder *builder,
                                             const struct model_service *service,
                                             const char *cluster, const char *hostname,
                                             const char *ips)
{
    struct arena *arena = &builder->arena;
    struct model_workload *workload = arena_new(arena, struct model_workload);
    workload->uid = arena_printf(arena, "%s//v1/Pod/%.*s/pod-%zu", cluster,
                                 STR_ARG(service->namespace_), builder->n_resources);
    workload->name = arena_printf(arena, "pod-%zu", builder->n_resources);
    workload->namespace_ = service->namespace_;
    workload->cluster = str_from(cluster);
    workload->is_healthy = true;
    workload->capacity = 1;
    workload->n_addresses = parse_ips(ips, workload->addresses);
    workload->services = arena_new(arena, struct model_membership);
    workload->n_services = 1;
    workload->services->service =
        arena_printf(arena, "%.*s/%.*s", STR_ARG(service->namespace_), STR_ARG(service->hostname));
    workload->services->dns_hostname = arena_str(arena, str_from(hostname));
    add_resource(builder,
                 (struct model_resource){MODEL_WORKLOAD, workload->uid, {.workload = workload}});
    return workload->services;
}

static void add_vips(struct builder *builder)
{
    struct model_service *web =
        add_service(builder, "web", "shop", "clusterset.local", "10.201.0.1 fd00:201::1");
    add_port(web, "http", 80, false);
    add_port(web, "", 9090, false);
    add_endpoint(builder, web, "west", "", "10.1.0.5");
    struct model_service *hello =
        add_service(builder, "hello", "test", "clusterset.local", "10.201.0.2");
    add_port(hello, "tcp", 42, false);
    add_port(hello, "udp", 42, true);
    add_endpoint(builder, hello, "west", "", "10.1.0.6");
    add_port(add_service(builder, "empty", "shop", "clusterset.local", "10.201.0.3"), "http", 80,
             false);
    struct model_service *cart = add_service(builder, "cart", "shop", "cluster.local", "10.96.0.9");
    add_port(cart, "http", 80, false);
    add_endpoint(builder, cart, "west", "", "10.1.0.7");
}

static void add_row(struct builder *builder, struct model_service *service, const char *hostname,
                    unsigned n_endpoints)
{
    add_port(service, "sql", 5432, false);
    for (unsigned i = 0; i < n_endpoints; i++) {
        char name[16], ip[32];
        snprintf(name, sizeof(name), "%s-%u", hostname, i);
        snprintf(ip, sizeof(ip), "10.2.%u.%u", i / 100, i % 100);
        add_endpoint(builder, service, "west", name, ip);
    }
}

static void add_headless(struct builder *builder)
{
    struct model_service *db = add_service(builder, "db", "data", "clusterset.local", "");
    add_port(db, "sql", 5432, false);
    add_endpoint(builder, db, "west", "db-0", "10.1.0.10 fd00:1::10");
    add_endpoint(builder, db, "west", "twin", "10.1.0.21");
    add_endpoint(builder, db, "west", "twin", "10.1.0.22");
    add_endpoint(builder, db, "east", "", "172.0.0.2");
    add_endpoint(builder, db, "east", "", "5678:abcd::1");
    add_endpoint(builder, db, "west", "db-9", "10.1.0.99")->not_ready = true;
    struct model_service *idle = add_service(builder, "idle", "data", "clusterset.local", "");
    add_port(idle, "sql", 5432, false);
    add_endpoint(builder, idle, "west", "idle-0", "10.1.0.12")->not_ready = true;
    add_row(builder, add_service(builder, "six", "data", "clusterset.local", ""), "six", 6);
    add_row(builder, add_service(builder, "big", "data", "clusterset.local", ""), "big", N_BIG);
}

struct snapshot *zone_snapshot(uint64_t generation, bool is_synced)
{
    const struct vantage vantage = {.node = STR("west-1"),
                                    .cluster = STR("west"),
                                    .trust_domain = STR("west.example"),
                                    .cluster_domain = STR("cluster.local")};
    struct builder builder = {0};
    add_vips(&builder);
    add_headless(&builder);
    struct snapshot *snapshot =
        snapshot_build(builder.resources, builder.n_resources, &vantage, generation, is_synced);
    arena_fini(&builder.arena);
    return snapshot;
}

/* ------------------------------------------------------------------ queries */

struct str message_str(const struct message *message)
{
    return str_of(message->bytes, message->len);
}

void message_add(struct message *message, const void *bytes, size_t len)
{
    ensure(message->len + len <= sizeof(message->bytes));
    if (len > 0)
        memcpy(message->bytes + message->len, bytes, len);
    message->len += len;
}

void message_set_u16(struct message *message, size_t at, uint16_t value)
{
    message->bytes[at] = (uint8_t)(value >> 8);
    message->bytes[at + 1] = (uint8_t)value;
}

static void add_u16(struct message *message, uint16_t value)
{
    message_add(message, (uint8_t[]){(uint8_t)(value >> 8), (uint8_t)value}, 2);
}

static void add_name(struct message *message, const char *name)
{
    while (*name) {
        size_t label_len = strcspn(name, ".");
        message_add(message, &(uint8_t){(uint8_t)label_len}, 1);
        message_add(message, name, label_len);
        name += label_len + (name[label_len] == '.');
    }
    message_add(message, "", 1);
}

void query_make(struct message *message, const char *name, uint16_t type)
{
    static const uint8_t header[12] = {0x12, 0x34, 0x01, 0x00, 0, 1};
    message->len = 0;
    message_add(message, header, sizeof(header));
    add_name(message, name);
    add_u16(message, type);
    add_u16(message, 1);
}

void query_add_opt(struct message *message, uint16_t payload, uint8_t version, struct str options)
{
    message_add(message, "\0\0\051", 3); /* root, type 41 */
    add_u16(message, payload);
    message_add(message, (uint8_t[]){0, version, 0, 0}, 4);
    add_u16(message, (uint16_t)options.len);
    message_add(message, options.ptr, options.len);
    message->bytes[11]++;
}

/* ------------------------------------------------------------------ answers */

static const char *rcode_name(unsigned rcode)
{
    static const char *const names[] = {"NOERROR",  "FORMERR", "SERVFAIL",
                                        "NXDOMAIN", "NOTIMP",  "REFUSED"};
    return rcode == 16 ? "BADVERS" : rcode < ARRAY_LEN(names) ? names[rcode] : "?";
}

static void add_opt(struct text *text, const knot_rrset_t *opt)
{
    text_addf(text, " OPT version %u payload %u%s", knot_edns_get_version(opt),
              knot_edns_get_payload(opt), knot_edns_do(opt) ? " do" : "");
    if (opt->rrs.rdata->len > 0)
        text_addf(text, " with options");
}

static void add_record(struct text *text, const knot_rrset_t *rrset)
{
    char owner[KNOT_DNAME_TXT_MAXLEN + 1], type[16], data[2048];
    if (rrset->type == KNOT_RRTYPE_OPT) {
        add_opt(text, rrset);
        return;
    }
    knot_dname_to_str(owner, rrset->owner, sizeof(owner));
    knot_rrtype_to_string(rrset->type, type, sizeof(type));
    ensure(knot_rrset_txt_dump_data(rrset, 0, data, sizeof(data), &KNOT_DUMP_STYLE_DEFAULT) >= 0);
    text_addf(text, " %s %u %s %s", owner, rrset->ttl, type, data);
}

static void add_packet(struct text *text, const knot_pkt_t *packet)
{
    static const char *const names[] = {"answer", "authority", "additional"};
    text_addf(text, "%s%s%s%s", rcode_name(knot_pkt_ext_rcode(packet)),
              knot_wire_get_aa(packet->wire) ? " aa" : "",
              knot_wire_get_tc(packet->wire) ? " tc" : "",
              knot_wire_get_ra(packet->wire) ? " ra" : "");
    for (unsigned section = 0; section < 3; section++) {
        const knot_pktsection_t *records = knot_pkt_section(packet, (knot_section_t)section);
        for (uint16_t i = 0; i < records->count; i++) {
            text_addf(text, "\n%s", names[section]);
            add_record(text, knot_pkt_rr(records, i));
        }
    }
}

const char *message_text(struct str bytes)
{
    static char results[8][32768];
    static unsigned n_calls;
    static struct message copy;
    struct text text = {0};
    copy.len = 0;
    message_add(&copy, bytes.ptr, bytes.len);
    knot_pkt_t *packet = knot_pkt_new(copy.bytes, (uint16_t)copy.len, NULL);
    int err = knot_pkt_parse(packet, KNOT_PF_KEEPWIRE | KNOT_PF_NOCANON);
    /* An answer that is a header alone is well-formed, too. */
    if (err == KNOT_EOK || (bytes.len == 12 && knot_wire_get_qdcount(copy.bytes) == 0))
        add_packet(&text, packet);
    else
        text_addf(&text, "unreadable");
    knot_pkt_free(packet);
    char *result = results[n_calls++ % 8];
    snprintf(result, sizeof(results[0]), "%.*s", STR_ARG(text_str(&text)));
    text_fini(&text);
    return result;
}

const char *ask_message(const struct snapshot *snapshot, const struct message *query, bool tcp)
{
    static struct message answer;
    switch (dns_answer(snapshot, message_str(query), tcp, 0, answer.bytes, &answer.len)) {
    case DNS_ANSWERED: break;
    case DNS_RELAY: return "relay";
    case DNS_DROP: return "drop";
    }
    return message_text(message_str(&answer));
}

const char *ask(const struct snapshot *snapshot, const char *name, uint16_t type)
{
    static struct message query;
    query_make(&query, name, type);
    return ask_message(snapshot, &query, true);
}
