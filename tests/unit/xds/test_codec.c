#include <authorization.pb-c.h>
#include <criterion/criterion.h>
#include <google/protobuf/struct.pb-c.h>
#include <workload.pb-c.h>

#include "certs/bundle.h"
#include "models.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "tests/kit/test_ca.h"
#include "xds/codec.h"
#include "xds/codec_parts.h"
#include "xds/wire.h"

static struct arena arena;
static struct text why;

static void fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
}

TestSuite(codec, .timeout = 20, .fini = fini);

static struct str encode(const struct model_resource *resource, struct str *out_name)
{
    struct text bytes = {0};
    struct str kept;

    *out_name = xds_encode(resource, &arena, &bytes);
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

/* Encodes and decodes; a round trip that keeps everything encodes to the same bytes again. */
static struct model_resource round_trip(const struct model_resource *resource)
{
    struct model_resource back;
    struct str name, again_name;
    struct str bytes = encode(resource, &name);
    int err = xds_decode(xds_type_of_kind(resource->kind), name, bytes, &arena, &back, &why);

    cr_assert_eq(err, 0, "%s", why.ptr);
    cr_assert(str_eq(name, resource->name), "named %.*s", STR_ARG(name));
    cr_assert_eq(back.kind, resource->kind);
    cr_assert(str_eq(back.name, resource->name));
    cr_assert(str_eq(encode(&back, &again_name), bytes));
    return back;
}

static void assert_refused(enum xds_type type, struct str name, struct str bytes, const char *part)
{
    struct model_resource out = {.kind = MODEL_KINDS};

    text_clear(&why);
    cr_assert_eq(xds_decode(type, name, bytes, &arena, &out, &why), -ERR_INVALID, "%s", part);
    cr_assert(str_contains(text_str(&why), str_from(part)), "\"%s\" does not say \"%s\"", why.ptr,
              part);
    cr_assert_eq(out.kind, MODEL_KINDS, "the out parameter was touched");
}

Test(codec, keeps_every_field_of_a_workload)
{
    struct model_resource *from = model_rich_pod(&arena);
    struct model_workload *a = from->of.workload;
    struct model_workload *b = round_trip(from).of.workload;

    cr_assert(str_eq(a->uid, b->uid) && str_eq(a->name, b->name));
    cr_assert(str_eq(a->namespace_, b->namespace_) &&
              str_eq(a->service_account, b->service_account));
    cr_assert(str_eq(a->trust_domain, b->trust_domain) && str_eq(a->node, b->node));
    cr_assert(str_eq(a->cluster, b->cluster) && str_eq(a->network, b->network));
    cr_assert(str_eq(a->canonical_name, b->canonical_name));
    cr_assert(str_eq(a->canonical_revision, b->canonical_revision));
    cr_assert(str_eq(a->workload_name, b->workload_name));
    cr_assert(str_eq(a->region, b->region) && str_eq(a->zone, b->zone));
    cr_assert(str_eq(a->subzone, b->subzone));
    cr_assert(str_eq(a->pod_uid, b->pod_uid) && a->pod_uid.len > 0);
    cr_assert_eq(b->n_addresses, 2);
    cr_assert(ip_eq(&a->addresses[0], &b->addresses[0]) &&
              ip_eq(&a->addresses[1], &b->addresses[1]));
    cr_assert(b->speaks_hbone && !b->is_healthy && b->host_network);
    cr_assert_eq(b->capacity, 0);
    cr_assert_eq(b->n_policies, 2);
    cr_assert(str_eq(b->policies[1], STR("ns/deny-all")));
}

Test(codec, k7_keeps_the_uid_of_a_pod_that_serves_nothing)
{
    struct model_resource *from = model_pod(&arena, "web-0", "10.1.2.3");

    cr_assert(str_is_empty(round_trip(from).of.workload->pod_uid));
    from->of.workload->pod_uid = STR("0b7c1f6e");
    cr_assert(str_eq(round_trip(from).of.workload->pod_uid, STR("0b7c1f6e")));
}

Test(codec, keeps_what_a_workload_serves)
{
    struct model_workload *pod = round_trip(model_rich_pod(&arena)).of.workload;
    struct model_membership *db = &pod->services[0];

    cr_assert_eq(pod->n_services, 2);
    cr_assert(str_eq(db->service, STR("ns/db.ns.svc.clusterset.local")));
    cr_assert(str_eq(db->dns_hostname, STR("db-0")) && db->not_ready);
    cr_assert(db->is_terminating && !pod->services[1].is_terminating);
    cr_assert_eq(db->n_ports, 3);
    cr_assert(str_eq(db->ports[0].name, STR("dns-tcp")) && !db->ports[0].is_udp);
    cr_assert_eq(db->ports[1].target_port, 8080);
    cr_assert_eq(db->ports[1].app_protocol, APP_HTTP11);
    cr_assert(str_eq(db->ports[2].name, STR("dns")) && db->ports[2].is_udp);
    cr_assert_eq(db->ports[2].target_port, 1053);
    cr_assert_eq(pod->services[1].n_ports, 0);
    cr_assert(!pod->services[1].not_ready);
}

Test(codec, keeps_every_field_of_a_service)
{
    struct model_service *service = round_trip(model_rich_service(&arena)).of.service;

    cr_assert(str_eq(service->hostname, STR("db.ns.svc.clusterset.local")));
    cr_assert_eq(service->n_addresses, 2);
    cr_assert_eq(service->addresses[1].len, 16);
    cr_assert_eq(service->n_ports, 2);
    cr_assert(str_eq(service->ports[0].name, STR("https")) && service->ports[0].target_port == 0);
    cr_assert(str_eq(service->ports[1].name, STR("quic")) && service->ports[1].is_udp);
    cr_assert(str_eq(service->sans[0], STR("spiffe://east.example/ns/ns/sa/db")));
    cr_assert(service->allow_unhealthy && !service->is_headless);
    cr_assert_eq(service->created_ns, INT64_C(1767225600000000000));
    cr_assert_eq(service->words.affinity_s, 60);
    cr_assert(service->words.is_node_local);
    cr_assert_eq(service->words.distribution, DISTRIBUTION_SAME_NODE);
}

Test(codec, tells_a_headless_service_from_one_without_an_address_yet)
{
    struct model_resource *from = model_headless_service(&arena);

    cr_assert(round_trip(from).of.service->is_headless);

    from->of.service->is_headless = false;
    cr_assert(!round_trip(from).of.service->is_headless);
}

static void assert_matches_eq(const struct model_match *a, const struct model_match *b)
{
    cr_assert_eq(a->n_namespaces, b->n_namespaces);
    cr_assert_eq(b->namespaces[1].kind, MATCH_PREFIX);
    cr_assert(str_eq(b->namespaces[1].value, STR("team-")));
    cr_assert_eq(b->n_not_principals, 2);
    cr_assert_eq(b->not_principals[0].kind, MATCH_SUFFIX);
    cr_assert_eq(b->not_principals[1].kind, MATCH_PRESENCE);
    cr_assert_eq(b->n_source_ips, 2);
    cr_assert(ip_eq(&a->source_ips[1].ip, &b->source_ips[1].ip));
    cr_assert_eq(b->source_ips[1].prefix_len, 17);
    cr_assert_eq(b->not_destination_ips[0].prefix_len, 32);
    cr_assert_eq(b->n_ports, 2);
    cr_assert_eq(b->ports[1], 65535);
    cr_assert_eq(b->not_ports[0], 8080);
    cr_assert(!b->has_unknown);
}

Test(codec, keeps_every_field_of_a_policy)
{
    struct model_resource *from = model_rich_policy(&arena);
    struct model_policy *policy = round_trip(from).of.policy;

    cr_assert(str_eq(policy->name, STR("rich")) && str_eq(policy->namespace_, STR("ns")));
    cr_assert_eq(policy->action, POLICY_DENY);
    cr_assert_eq(policy->scope, POLICY_WORKLOAD);
    cr_assert(policy->dry_run);
    cr_assert_eq(policy->n_rules, 2);
    cr_assert_eq(policy->rules[0].n_clauses, 2);
    cr_assert_eq(policy->rules[0].clauses[0].n_matches, 2);
    cr_assert_eq(policy->rules[0].clauses[1].n_matches, 0);
    cr_assert_eq(policy->rules[1].n_clauses, 0);
    assert_matches_eq(&from->of.policy->rules[0].clauses[0].matches[0],
                      &policy->rules[0].clauses[0].matches[0]);
}

Test(codec, keeps_the_mark_of_what_cannot_be_evaluated)
{
    struct model_resource *from = model_rich_policy(&arena);
    struct model_policy *policy;

    from->of.policy->rules[0].clauses[0].matches[1].has_unknown = true;
    policy = round_trip(from).of.policy;

    cr_assert(!policy->rules[0].clauses[0].matches[0].has_unknown);
    cr_assert(policy->rules[0].clauses[0].matches[1].has_unknown);
}

Test(codec, keeps_a_bundle)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct model_bundle bundle = {.trust_domain = STR("west.example")};
    struct model_resource from = {
        .kind = MODEL_BUNDLE, .name = STR("spiffe://west.example"), .of.bundle = &bundle};
    struct text pem = {0};
    struct model_bundle *back;

    test_ca_pem(ca, &pem);
    bundle.pem = text_str(&pem);
    back = round_trip(&from).of.bundle;

    cr_assert(str_eq(back->trust_domain, STR("west.example")));
    cr_assert(str_eq(back->pem, text_str(&pem)));
    text_fini(&pem);
    test_ca_free(ca);
}

Test(codec, keeps_the_revocation_lists_of_a_bundle_and_refuses_what_is_none)
{
    struct test_ca *ca = test_ca_new("west.example");
    struct test_crl spec = {0};
    struct model_bundle bundle = {.trust_domain = STR("west.example")};
    struct model_resource from = {
        .kind = MODEL_BUNDLE, .name = STR("spiffe://west.example"), .of.bundle = &bundle};
    struct text pem = {0}, der = {0};
    struct str name;

    test_ca_pem(ca, &pem);
    test_crl_der(ca, &spec, &der);
    bundle.pem = text_str(&pem);
    cr_assert(str_is_empty(round_trip(&from).of.bundle->crls));
    bundle.crls = text_str(&der);
    cr_assert(str_eq(round_trip(&from).of.bundle->crls, text_str(&der)));

    bundle.crls = STR("no list");
    struct str bytes = encode(&from, &name);
    assert_refused(XDS_SECRET, name, bytes, "validation_context.crl: ");
    text_fini(&pem);
    text_fini(&der);
    test_ca_free(ca);
}

Test(codec, refuses_a_bundle_that_is_none)
{
    struct model_bundle bundle = {.trust_domain = STR("west.example"), .pem = STR("no PEM")};
    struct model_resource from = {.kind = MODEL_BUNDLE, .of.bundle = &bundle};
    struct str name, bytes = encode(&from, &name);

    assert_refused(XDS_SECRET, name, bytes, "");

    bundle.pem = STR("");
    bytes = encode(&from, &name);
    assert_refused(XDS_SECRET, name, bytes, "no roots");

    bundle.trust_domain = STR("West Example");
    bytes = encode(&from, &name);
    bundle.pem = STR("x");
    bytes = encode(&from, &name);
    assert_refused(XDS_SECRET, name, bytes, "is not spiffe://<trust domain>");
}

Test(codec, refuses_a_name_that_is_not_the_resources_own)
{
    struct str name;
    struct str pod = encode(model_pod(&arena, "a", "10.0.0.1"), &name);
    struct str policy = encode(model_small_policy(&arena, "p"), &name);
    struct str service = encode(model_rich_service(&arena), &name);

    assert_refused(XDS_ADDRESS, STR("c1//v1/Pod/ns/b"), pod, "but its content says");
    assert_refused(XDS_AUTHORIZATION, STR("other/p"), policy, "but its content says");
    assert_refused(XDS_ADDRESS, STR("ns/web.ns.svc.clusterset.local"), service,
                   "but its content says");
}

/* Decoding never reads past its end: every cut of good bytes is refused or is itself a message. */
Test(codec, survives_every_cut_of_good_bytes)
{
    const struct model_resource *resources[] = {model_rich_pod(&arena), model_rich_service(&arena),
                                                model_rich_policy(&arena)};

    for (size_t i = 0; i < ARRAY_LEN(resources); i++) {
        struct str name, bytes = encode(resources[i], &name);
        size_t n_refused = 0;

        for (size_t len = 0; len < bytes.len; len++) {
            struct model_resource out;
            char *cut = mem_alloc(len + 1);

            memcpy(cut, bytes.ptr, len);
            n_refused += xds_decode(xds_type_of_kind(resources[i]->kind), name, str_of(cut, len),
                                    &arena, &out, &why) != 0;
            mem_free(cut);
        }
        cr_assert_gt(n_refused, bytes.len / 2, "only %zu of %zu cuts were refused", n_refused,
                     bytes.len);
    }
}

/* ---- messages that another server could send ---- */

static struct str packed(const ProtobufCMessage *message)
{
    struct text bytes = {0};
    struct str kept;

    wire_pack(message, &bytes);
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

static struct str packed_workload(Istio__Workload__Workload *workload)
{
    Istio__Workload__Address address = ISTIO__WORKLOAD__ADDRESS__INIT;

    address.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD;
    address.workload = workload;
    return packed(&address.base);
}

static struct str packed_service(Istio__Workload__Service *service)
{
    Istio__Workload__Address address = ISTIO__WORKLOAD__ADDRESS__INIT;

    address.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_SERVICE;
    address.service = service;
    return packed(&address.base);
}

Test(codec, fills_in_what_istiod_leaves_out)
{
    Istio__Workload__Workload message = ISTIO__WORKLOAD__WORKLOAD__INIT;
    struct model_resource out;

    message.uid = (char[]){"u"};
    cr_assert_eq(xds_decode(XDS_ADDRESS, STR("u"), packed_workload(&message), &arena, &out, &why),
                 0, "%s", why.ptr);

    cr_assert(str_eq(out.of.workload->trust_domain, STR("cluster.local")));
    cr_assert(str_eq(out.of.workload->service_account, STR("default")));
    cr_assert_eq(out.of.workload->capacity, 1);
    cr_assert(out.of.workload->is_healthy);
}

Test(codec, refuses_workloads_with_bad_values)
{
    Istio__Workload__Workload good = ISTIO__WORKLOAD__WORKLOAD__INIT;
    Istio__Workload__Workload message;
    ProtobufCBinaryData addresses[5];
    Istio__Workload__Workload__ServicesEntry entry =
        ISTIO__WORKLOAD__WORKLOAD__SERVICES_ENTRY__INIT;
    Istio__Workload__Workload__ServicesEntry *entries[2] = {&entry, &entry};

    for (size_t i = 0; i < 5; i++)
        addresses[i] = (ProtobufCBinaryData){4, (uint8_t *)"\x0a\0\0\x01"};
    good.uid = (char[]){"u"};

    message = good;
    message.uid = (char[]){""};
    assert_refused(XDS_ADDRESS, STR(""), packed_workload(&message), "uid must not be empty");

    message = good;
    message.addresses = addresses;
    message.n_addresses = 5;
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message), "5 addresses (at most 4)");
    addresses[0].len = 3;
    message.n_addresses = 1;
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message), "3 bytes are no IP address");

    message = good;
    message.tunnel_protocol = 2;
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message), "tunnel_protocol: 2");
    message = good;
    message.status = 7;
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message), "status: 7");
    message = good;
    message.network_mode = -1;
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message), "network_mode: -1");

    Isthmus__V1alpha1__WorkloadDetails details = ISTHMUS__V1ALPHA1__WORKLOAD_DETAILS__INIT;
    details.pod_uid = (char[]){"a b"};
    Istio__Workload__Extension *extension =
        codec_extension(&arena, "isthmus.v1alpha1.WorkloadDetails", &details.base);
    message = good;
    message.extensions = &extension;
    message.n_extensions = 1;
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message), "\"a b\" is no uid");

    message = good;
    message.services = entries;
    message.n_services = 1;
    entry.key = (char[]){"no-slash"};
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message),
                   "is not <namespace>/<hostname>");
    entry.key = (char[]){"ns/host"};
    message.n_services = 2;
    assert_refused(XDS_ADDRESS, STR("u"), packed_workload(&message), "stands there twice");
}

Test(codec, refuses_services_with_bad_values)
{
    Istio__Workload__Service good = ISTIO__WORKLOAD__SERVICE__INIT;
    Istio__Workload__Service message;
    Istio__Workload__NetworkAddress address = ISTIO__WORKLOAD__NETWORK_ADDRESS__INIT;
    Istio__Workload__NetworkAddress *addresses[] = {&address};
    Istio__Workload__Port port = ISTIO__WORKLOAD__PORT__INIT;
    Istio__Workload__Port **ports = arena_new_array(&arena, Istio__Workload__Port *, 257);

    for (size_t i = 0; i < 257; i++)
        ports[i] = &port;
    good.namespace_ = (char[]){"ns"};
    good.hostname = (char[]){"h"};

    message = good;
    message.addresses = addresses;
    message.n_addresses = 1;
    address.address = (ProtobufCBinaryData){4, (uint8_t *)"\x0a\0\0\0"};
    address.length = 8;
    assert_refused(XDS_ADDRESS, STR("ns/h"), packed_service(&message), "a range of /8");

    message = good;
    message.ports = ports;
    message.n_ports = 1;
    assert_refused(XDS_ADDRESS, STR("ns/h"), packed_service(&message), "service_port 0");
    port.service_port = 70000;
    assert_refused(XDS_ADDRESS, STR("ns/h"), packed_service(&message), "service_port 70000");
    port.service_port = 80;
    port.target_port = 65536;
    assert_refused(XDS_ADDRESS, STR("ns/h"), packed_service(&message), "target_port 65536");
    port.target_port = 80;
    port.app_protocol = 6;
    assert_refused(XDS_ADDRESS, STR("ns/h"), packed_service(&message), "app_protocol 6");
    port.app_protocol = 1;
    message.n_ports = 2;
    assert_refused(XDS_ADDRESS, STR("ns/h"), packed_service(&message),
                   "port 80 stands there twice");
    message.n_ports = 257;
    assert_refused(XDS_ADDRESS, STR("ns/h"), packed_service(&message), "257 ports (at most 256)");
}

Test(codec, refuses_text_that_is_not_utf8_or_holds_nul)
{
    /* Address{workload{uid: ...}}: 0x0a len 0xa2 0x01 len ... */
    struct str nul = {"\x0a\x06\xa2\x01\x03"
                      "a\0b",
                      8};
    struct str latin = {"\x0a\x06\xa2\x01\x03"
                        "a\xe9"
                        "b",
                        8};

    assert_refused(XDS_ADDRESS, STR("a"), nul, "uid is not UTF-8 text without NUL");
    assert_refused(XDS_ADDRESS, STR("a"), latin, "uid is not UTF-8 text without NUL");
}

Test(codec, refuses_amplification_and_deep_nesting)
{
    /* Authorization.rules as 500,000 empty messages: two bytes each here, 40 each in memory and
     * more. */
    size_t n = 500000;
    char *bytes = arena_alloc(&arena, n * 2);
    struct str name = STR("ns/p");

    for (size_t i = 0; i < n; i++)
        memcpy(bytes + i * 2, "\x2a\x00", 2);
    assert_refused(XDS_AUTHORIZATION, name, str_of(bytes, n * 2), "far too many empty parts");

    assert_refused(XDS_ADDRESS, name, str_of(bytes, XDS_RESOURCE_MAX_BYTES + 1),
                   "a resource of 1048577 bytes");
}

/* A google.protobuf.Value around a ListValue around a Value ..., from the inside out. */
static struct str nested_values(unsigned depth)
{
    struct text bytes = {0};
    struct str kept;

    for (unsigned i = 0; i < depth * 2; i++) {
        struct text outer = {0};

        text_addc(&outer, i % 2 ? '\x32' : '\x0a'); /* list_value = 6; values = 1 */
        for (size_t len = bytes.len; len >= 0x80; len >>= 7)
            text_addc(&outer, (char)(0x80 | (len & 0x7f)));
        text_addc(&outer, (char)(bytes.len >> (bytes.len < 0x80     ? 0
                                               : bytes.len < 0x4000 ? 7
                                                                    : 14)));
        text_add(&outer, text_str(&bytes));
        text_fini(&bytes);
        bytes = outer;
    }
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

/* libprotobuf-c alone would follow this until the stack ends. */
Test(codec, messages_are_not_followed_too_deep)
{
    const ProtobufCMessageDescriptor *type = &google__protobuf__value__descriptor;

    cr_assert_not_null(wire_unpack(type, nested_values(10), &arena, &why), "%s", why.ptr);
    cr_assert_null(wire_unpack(type, nested_values(40), &arena, &why));
    cr_assert(str_contains(text_str(&why), STR("nested deeper than 32")), "%s", why.ptr);
    text_clear(&why);
    cr_assert_null(wire_unpack(type, nested_values(5000), &arena, &why));
    cr_assert(str_contains(text_str(&why), STR("nested deeper than 32")), "%s", why.ptr);
}

Test(codec, a_message_field_stands_once)
{
    /* Address {workload {uid: a}, workload {uid: b}} */
    struct str twice = STR("\x0a\x04\xa2\x01\x01"
                           "a"
                           "\x0a\x04\xa2\x01\x01"
                           "b");

    assert_refused(XDS_ADDRESS, STR("b"), twice, "workload stands there twice");
}

/* ---- closed in doubt ---- */

static struct model_policy *decode_policy(struct str bytes)
{
    struct model_resource out;

    cr_assert_eq(xds_decode(XDS_AUTHORIZATION, STR("ns/p"), bytes, &arena, &out, &why), 0, "%s",
                 why.ptr);
    return out.of.policy;
}

/* name "p", namespace "ns", then what the test adds. */
static struct str policy_with(struct str rest)
{
    char *bytes = arena_alloc(&arena, 7 + rest.len);

    memcpy(bytes, "\x0a\x01p\x12\x02ns", 7);
    memcpy(bytes + 7, rest.ptr, rest.len);
    return str_of(bytes, 7 + rest.len);
}

Test(codec, marks_a_match_with_an_unknown_field)
{
    /* rules[0].clauses[0].matches[0] = {field 14: 1} */
    struct model_policy *policy =
        decode_policy(policy_with(STR("\x2a\x06\x0a\x04\x0a\x02\x70\x01")));

    cr_assert_eq(policy->rules[0].clauses[0].n_matches, 1);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);
}

Test(codec, marks_a_match_with_a_field_that_is_known_and_not_evaluated)
{
    Istio__Security__Authorization message = ISTIO__SECURITY__AUTHORIZATION__INIT;
    Istio__Security__Rule rule = ISTIO__SECURITY__RULE__INIT, *rules[] = {&rule};
    Istio__Security__Clause clause = ISTIO__SECURITY__CLAUSE__INIT, *clauses[] = {&clause};
    Istio__Security__Match match = ISTIO__SECURITY__MATCH__INIT, *matches[] = {&match};
    Istio__Security__ServiceAccountMatch account = ISTIO__SECURITY__SERVICE_ACCOUNT_MATCH__INIT;
    Istio__Security__ServiceAccountMatch *accounts[] = {&account};
    Istio__Security__StringMatch unset = ISTIO__SECURITY__STRING_MATCH__INIT, *strings[] = {&unset};

    message.name = (char[]){"p"};
    message.namespace_ = (char[]){"ns"};
    message.rules = rules;
    message.n_rules = 1;
    rule.clauses = clauses;
    rule.n_clauses = 1;
    clause.matches = matches;
    clause.n_matches = 1;

    match.not_service_accounts = accounts;
    match.n_not_service_accounts = 1;
    cr_assert(decode_policy(packed(&message.base))->rules[0].clauses[0].matches[0].has_unknown);

    match.n_not_service_accounts = 0;
    cr_assert(!decode_policy(packed(&message.base))->rules[0].clauses[0].matches[0].has_unknown);

    match.principals = strings;
    match.n_principals = 1;
    cr_assert(decode_policy(packed(&message.base))->rules[0].clauses[0].matches[0].has_unknown,
              "a string match of a kind that is not known");
}

Test(codec, closes_clauses_rules_and_policies_with_unknown_fields)
{
    /* clause {matches: {destination_ports: 80}, field 2: 1} */
    struct model_policy *policy =
        decode_policy(policy_with(STR("\x2a\x09\x0a\x07\x0a\x03\x4a\x01\x50\x10\x01")));
    cr_assert_eq(policy->rules[0].clauses[0].n_matches, 2);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);
    cr_assert(policy->rules[0].clauses[0].matches[1].has_unknown);

    /* rule {field 2: 1} */
    policy = decode_policy(policy_with(STR("\x2a\x02\x10\x01")));
    cr_assert_eq(policy->rules[0].n_clauses, 1);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);

    /* policy {rules: {}, field 8: 1} */
    policy = decode_policy(policy_with(STR("\x2a\x00\x40\x01")));
    cr_assert_eq(policy->n_rules, 2);
    cr_assert_eq(policy->rules[0].n_clauses, 1);
    cr_assert(policy->rules[0].clauses[0].matches[0].has_unknown);
    cr_assert(policy->rules[1].clauses[0].matches[0].has_unknown);
}

Test(codec, refuses_policies_with_bad_values)
{
    assert_refused(XDS_AUTHORIZATION, STR("ns/p"), policy_with(STR("\x18\x03")), "scope: 3");
    assert_refused(XDS_AUTHORIZATION, STR("ns/p"), policy_with(STR("\x20\x02")), "action: 2");
    /* matches {destination_ports: 65536} */
    assert_refused(XDS_AUTHORIZATION, STR("ns/p"),
                   policy_with(STR("\x2a\x09\x0a\x07\x0a\x05\x4a\x03\x80\x80\x04")),
                   "65536 is not a port");
    /* matches {source_ips: {address: 4 bytes, length: 33}} */
    assert_refused(
        XDS_AUTHORIZATION, STR("ns/p"),
        policy_with(STR("\x2a\x0e\x0a\x0c\x0a\x0a\x2a\x08\x0a\x04\x0a\x01\x01\x01\x10\x21")),
        "a prefix of /33 does not fit");
}

Test(codec, clears_the_host_bits_of_a_range)
{
    /* matches {source_ips: {address: 10.1.1.255, length: 25}} */
    struct model_policy *policy = decode_policy(
        policy_with(STR("\x2a\x0e\x0a\x0c\x0a\x0a\x2a\x08\x0a\x04\x0a\x01\x01\xff\x10\x19")));
    const struct cidr *cidr = &policy->rules[0].clauses[0].matches[0].source_ips[0];

    cr_assert_eq(cidr->prefix_len, 25);
    cr_assert_eq(cidr->ip.bytes[3], 0x80);
}

Test(codec, knows_its_type_urls)
{
    enum xds_type type = XDS_TYPES;

    for (unsigned i = 0; i < XDS_TYPES; i++) {
        cr_assert(xds_type_of_url(str_from(xds_type_url((enum xds_type)i)), &type));
        cr_assert_eq(type, (enum xds_type)i);
    }
    cr_assert(
        !xds_type_of_url(STR("type.googleapis.com/envoy.config.listener.v3.Listener"), &type));
    cr_assert(!xds_type_of_url(STR(""), &type));
    cr_assert_eq(xds_type_of_kind(MODEL_SERVICE), XDS_ADDRESS);
}

/* ---- what istio.security has no word for ---- */

static struct model_policy *travel(const struct model_policy *policy)
{
    struct model_resource sent = {.kind = MODEL_POLICY,
                                  .of.policy = (struct model_policy *)(uintptr_t)policy};
    struct model_resource got;
    struct text bytes = {0};
    const struct str name = xds_encode(&sent, &arena, &bytes);
    cr_assert_eq(xds_decode(XDS_AUTHORIZATION, name, text_str(&bytes), &arena, &got, &why), 0, "%s",
                 why.ptr ? why.ptr : "");
    cr_expect_eq(got.of.policy->revision, str_hash(text_str(&bytes), 0));
    text_fini(&bytes);
    return got.of.policy;
}

Test(codec, a_policy_with_details_arrives_whole)
{
    static struct string_match globs[] = {{MATCH_GLOB, STR("team-*-prod")},
                                          {MATCH_EXACT, STR("a")}};
    static struct string_match domains[] = {{MATCH_PREFIX, STR("td")}, {MATCH_GLOB, STR("*.x*")}};
    static struct account_match accounts[] = {{STR("ops"), STR("admin")}};
    static struct str targets[] = {STR("shop/till.shop.svc.cluster.local")};

    static const enum policy_action actions[] = {POLICY_ALLOW, POLICY_DENY, POLICY_AUDIT};
    struct model_match match = {.namespaces = globs,
                                .n_namespaces = 2,
                                .trust_domains = domains,
                                .n_trust_domains = 2,
                                .not_accounts = accounts,
                                .n_not_accounts = 1,
                                .needs_http = true};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};

    for (size_t i = 0; i < ARRAY_LEN(actions); i++) {
        const struct model_policy policy = {.name = STR("p"),
                                            .namespace_ = STR("shop"),
                                            .action = actions[i],
                                            .scope = POLICY_WORKLOAD,
                                            .dry_run = i == 2,
                                            .targets = targets,
                                            .n_targets = 1,
                                            .rules = &rule,
                                            .n_rules = 1};
        const struct model_policy *got = travel(&policy);
        const struct model_match *m = &got->rules[0].clauses[0].matches[0];
        cr_assert_eq(got->n_rules, 1);
        cr_expect_eq(got->action, actions[i]);
        cr_expect_eq(got->dry_run, i == 2);
        cr_assert_eq(got->n_targets, 1);
        cr_expect(str_eq(got->targets[0], targets[0]));
        cr_assert_eq(m->n_namespaces, 2);
        cr_expect_eq(m->namespaces[1].kind, MATCH_GLOB);
        cr_expect(str_eq(m->namespaces[1].value, STR("team-*-prod")));
        cr_assert_eq(m->n_trust_domains, 2);
        cr_assert_eq(m->n_not_accounts, 1);
        cr_expect(str_eq(m->not_accounts[0].name, STR("admin")));
        cr_expect(m->needs_http);
        cr_expect_not(m->has_unknown);
        cr_expect_eq(m->n_source_ips, 0);
    }
}

/* A13: 0 is a port that a policy may name; lost on the way it would leave a match without ports. */
/* As istiod sends it: a field that has its default is not in the bytes. */
Test(codec, a3_an_action_that_is_not_there_is_allow)
{
    struct text bytes = {0};
    struct model_policy policy = {.name = STR("p"), .namespace_ = STR("shop")};
    const struct model_resource sent = {.kind = MODEL_POLICY, .of.policy = &policy};

    policy.action = POLICY_ALLOW;
    (void)xds_encode(&sent, &arena, &bytes);
    const size_t len = bytes.len;
    cr_expect_eq(travel(&policy)->action, POLICY_ALLOW);
    text_clear(&bytes);
    policy.action = POLICY_DENY;
    (void)xds_encode(&sent, &arena, &bytes);
    cr_expect_gt(bytes.len, len, "ALLOW is in the bytes, so this shows nothing");
    cr_expect_eq(travel(&policy)->action, POLICY_DENY);
    text_fini(&bytes);
}

Test(codec, a13_port_0_of_a_policy_arrives)
{
    static uint16_t ports[] = {0}, not_ports[] = {0, 80};
    struct model_match match = {
        .ports = ports, .n_ports = 1, .not_ports = not_ports, .n_not_ports = 2};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};
    const struct model_policy policy = {.name = STR("p"),
                                        .namespace_ = STR("shop"),
                                        .action = POLICY_DENY,
                                        .rules = &rule,
                                        .n_rules = 1};
    const struct model_match *got = &travel(&policy)->rules[0].clauses[0].matches[0];
    cr_assert_eq(got->n_ports, 1);
    cr_expect_eq(got->ports[0], 0);
    cr_assert_eq(got->n_not_ports, 2);
    cr_expect(got->not_ports[0] == 0 && got->not_ports[1] == 80);
    cr_expect_not(got->has_unknown);
}

/* What a reader sees who passes over extensions. */
Test(codec, details_that_are_passed_over_leave_a_policy_closed)
{
    static const struct {
        enum policy_action action;
        bool dry_run;
        size_t n_ranges;
    } rows[] = {{POLICY_ALLOW, false, 0}, {POLICY_DENY, false, 2}, {POLICY_AUDIT, true, 2}};
    struct model_match match = {.needs_http = true};
    struct model_clause clause = {&match, 1};
    struct model_rule rule = {&clause, 1};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text bytes = {0};
        struct model_policy policy = {.name = STR("p"),
                                      .namespace_ = STR("shop"),
                                      .action = rows[i].action,
                                      .rules = &rule,
                                      .n_rules = 1};
        struct model_resource sent = {.kind = MODEL_POLICY, .of.policy = &policy};
        (void)xds_encode(&sent, &arena, &bytes);
        Istio__Security__Authorization *message =
            istio__security__authorization__unpack(NULL, bytes.len, (const uint8_t *)bytes.ptr);
        cr_assert_not_null(message);
        const Istio__Security__Match *seen = message->rules[0]->clauses[0]->matches[0];
        cr_expect_eq(message->action, rows[i].action == POLICY_ALLOW
                                          ? ISTIO__SECURITY__ACTION__ALLOW
                                          : ISTIO__SECURITY__ACTION__DENY);
        cr_expect_eq(message->dry_run, rows[i].dry_run);
        cr_expect_eq(seen->n_source_ips, rows[i].n_ranges, "row %zu", i);
        cr_expect_eq(seen->n_extensions, 1);
        istio__security__authorization__free_unpacked(message, NULL);
        text_fini(&bytes);
    }
}
