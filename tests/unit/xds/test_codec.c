/* Workloads, services and bundles on the wire; what any message may not be. */
#include <criterion/criterion.h>
#include <google/protobuf/struct.pb-c.h>
#include <workload.pb-c.h>

#include "certs/bundle.h"
#include "codec_kit.h"
#include "models.h"
#include "proxy/base/mem.h"
#include "tests/kit/test_ca.h"
#include "xds/codec.h"
#include "xds/codec_parts.h"
#include "xds/wire.h"

TestSuite(codec, .timeout = 20, .fini = codec_fini);

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
                   "a resource of 4190209 bytes");
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
