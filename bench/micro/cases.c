#include "bench/micro/cases.h"

#include "config/policy.h"
#include "proxy/audit/audit.h"
#include "proxy/base/mem.h"
#include "proxy/dns/answer.h"
#include "proxy/flow/witness.h"
#include "proxy/identify/identify.h"
#include "proxy/io/record_ring.h"
#include "proxy/pick/balancer.h"
#include "proxy/resolve/resolve.h"

#define POLICIES_MAX 10000

static struct snapshot *snapshot;
static struct balancer *balancer;
static struct rng rng;
static struct addr vip;
static struct ip client;
static const struct policy *policies[POLICIES_MAX];
static struct policy_set policy_set;

/* ---- a mesh ---- */

static struct arena arena; /* lives as long as the process */

static struct ip ip_of(const char *text)
{
    struct ip ip;
    const int err = ip_parse(str_from(text), &ip);
    ensure(err == 0);
    return ip;
}

static struct model_resource *resource_of(enum model_kind kind, struct str name)
{
    struct model_resource *resource = arena_new(&arena, struct model_resource);
    resource->kind = kind;
    resource->name = name;
    return resource;
}

static struct model_resource *make_pod(size_t i, struct str service)
{
    struct model_workload *pod = arena_new(&arena, struct model_workload);
    pod->name = arena_printf(&arena, "pod-%zu", i);
    pod->uid = arena_printf(&arena, "west//v1/Pod/shop/pod-%zu", i);
    pod->namespace_ = STR("shop");
    pod->service_account = STR("till");
    pod->trust_domain = STR("west.example");
    pod->cluster = STR("west");
    pod->node = i == 0 ? STR("n1") : STR("n2");
    pod->speaks_hbone = pod->is_healthy = true;
    pod->capacity = 1;
    pod->n_addresses = 1;
    pod->addresses[0] = (struct ip){4, {10, (uint8_t)(i >> 16), (uint8_t)(i >> 8), (uint8_t)i}};
    pod->services = arena_new(&arena, struct model_membership);
    pod->n_services = 1;
    pod->services->service = service;
    pod->services->ports = arena_new(&arena, struct model_port);
    pod->services->n_ports = 1;
    *pod->services->ports = (struct model_port){.service_port = 80, .target_port = 8080};
    struct model_resource *resource = resource_of(MODEL_WORKLOAD, pod->uid);
    resource->of.workload = pod;
    return resource;
}

static struct model_resource *make_service(void)
{
    struct model_service *service = arena_new(&arena, struct model_service);
    service->name = STR("till");
    service->namespace_ = STR("shop");
    service->hostname = STR("till.shop.svc.clusterset.local");
    service->n_addresses = 1;
    service->addresses[0] = ip_of("10.201.0.7");
    service->ports = arena_new(&arena, struct model_port);
    service->n_ports = 1;
    *service->ports = (struct model_port){.service_port = 80, .name = STR("http")};
    struct model_resource *resource =
        resource_of(MODEL_SERVICE, STR("shop/till.shop.svc.clusterset.local"));
    resource->of.service = service;
    return resource;
}

static const struct vantage vantage = {
    .node = {"n1", 2}, .cluster = {"west", 4}, .trust_domain = {"west.example", 12}};

static void prepare_mesh(size_t n_pods)
{
    const struct model_resource **resources =
        mem_new_array(const struct model_resource *, n_pods + 1);
    resources[0] = make_service();
    for (size_t i = 0; i < n_pods; i++)
        resources[i + 1] = make_pod(i, resources[0]->name);
    snapshot = snapshot_build(resources, n_pods + 1, &vantage, 1, true);
    mem_free(resources);
    balancer = balancer_new(meter_new(), 1);
    rng_seed(&rng, 1);
    vip = (struct addr){.ip = ip_of("10.201.0.7"), .port = 80};
    client = (struct ip){4, {10, 0, 0, 0}};
}

/* A service that hashes onto a ring, built once; the next snapshot takes its table over. */
static const struct model_resource **hashed;
static size_t n_hashed;

static void prepare_hashed_mesh(size_t n_pods)
{
    struct model_resource *policy =
        resource_of(MODEL_TRAFFIC, STR("shop/till.shop.svc.clusterset.local"));
    policy->of.traffic = arena_new(&arena, struct model_traffic);
    policy->of.traffic->service = policy->name;
    policy->of.traffic->policy = *traffic_policy_default();
    policy->of.traffic->policy.algorithm = ALGORITHM_RING_HASH;
    policy->of.traffic->policy.ring_min = 65536;
    hashed = mem_new_array(const struct model_resource *, n_pods + 2);
    hashed[n_hashed++] = make_service();
    hashed[n_hashed++] = policy;
    for (size_t i = 0; i < n_pods; i++)
        hashed[n_hashed++] = make_pod(i, hashed[0]->name);
    snapshot = snapshot_build(hashed, n_hashed, &vantage, 1, true);
}

/* One in a hundred, so that callgrind ends. */
static void rebuild_once(size_t i)
{
    if (i % 100 != 0)
        return;
    struct snapshot *next = snapshot_build_next(snapshot, hashed, n_hashed, &vantage, i + 2, true);
    ensure(next->n_tables_built == 0);
    snapshot_free(snapshot);
    snapshot = next;
}

/* ---- the decisions ---- */

static void identify_once(size_t i)
{
    struct principal principal;
    (void)i;
    const int err = identify_pod(snapshot, &client, &principal);
    ensure(err == 0);
}

static void resolve_once(size_t i)
{
    static const struct own_ports own = {15001, 15006, 15008};
    struct target target;
    (void)i;
    const int err = resolve_outbound(snapshot, &own, &vip, &target);
    ensure(err == 0);
}

static void pick_once(size_t i)
{
    const struct service *service = snapshot_service_by_ip(snapshot, &vip.ip);
    const struct question question = {.service = service, .set = &service->ports[0].v4};
    struct lease lease;
    const int err = lease_cut(balancer, &question, i, &rng, &lease);
    ensure(err == 0);
    lease_confirm(balancer, &lease, 1000, i);
    lease_sample(balancer, &lease, 1000, i);
    lease_return(balancer, &lease, LEASE_SERVED, i);
}

static struct endpoint_set own_set; /* a copy, so that it can change */

static void lease_once(size_t i)
{
    const struct service *service = snapshot_service_by_ip(snapshot, &vip.ip);
    const struct question question = {.service = service, .set = &own_set};
    struct lease lease;
    const int err = lease_cut(balancer, &question, i, &rng, &lease);
    ensure(err == 0);
    lease_return(balancer, &lease, LEASE_UNUSED, i);
}

static void prepare_own_set(size_t n_pods)
{
    prepare_mesh(n_pods);
    own_set = snapshot_service_by_ip(snapshot, &vip.ip)->ports[0].v4;
    lease_once(1);
}

/* One endpoint's health changes, and the shares follow with the next lease. */
static void flip_once(size_t i)
{
    const struct endpoint *endpoint = &own_set.endpoints[i * 7919 % own_set.len];
    balancer_set_health(balancer, own_set.id, endpoint->key,
                        i / own_set.len % 2 ? CHECKED_GOOD : CHECKED_BAD, i);
    lease_once(i);
}

/* The worst single operation is the lease after a snapshot in which the set has changed: one in a
 * hundred here, so that callgrind ends. */
static void merge_once(size_t i)
{
    if (i % 100 == 0) {
        own_set.generation++;
        own_set.fingerprint++;
    }
    lease_once(i);
}

static void dns_once(size_t i)
{
    static const char query[] = "\0\1\1\0\0\1\0\0\0\0\0\0"
                                "\4till\4shop\3svc\12clusterset\5local\0\0\1\0\1";
    static uint8_t packet[DNS_TCP_MAX];
    size_t len;
    const enum dns_verdict verdict =
        dns_answer(snapshot, str_of(query, sizeof query - 1), false, (uint32_t)i, packet, &len);
    ensure(verdict == DNS_ANSWERED);
}

/* It denies one caller, another one each. */
static struct model_policy *make_policy(size_t i)
{
    struct model_match *match = arena_new(&arena, struct model_match);
    match->principals = arena_new(&arena, struct string_match);
    match->n_principals = 1;
    match->principals->value = arena_printf(&arena, "west.example/ns/shop/sa/other-%zu", i);
    struct model_clause *clause = arena_new(&arena, struct model_clause);
    *clause = (struct model_clause){match, 1};
    struct model_rule *rule = arena_new(&arena, struct model_rule);
    *rule = (struct model_rule){clause, 1};
    struct model_policy *policy = arena_new(&arena, struct model_policy);
    *policy = (struct model_policy){.name = arena_printf(&arena, "policy-%zu", i),
                                    .namespace_ = STR("shop"),
                                    .action = POLICY_DENY,
                                    .scope = POLICY_NAMESPACE,
                                    .rules = rule,
                                    .n_rules = 1,
                                    .revision = i + 1};
    return policy;
}

static void prepare_policies(size_t size)
{
    ensure(size <= POLICIES_MAX);
    for (size_t i = 0; i < size; i++)
        policies[i] = policy_compile(&arena, make_policy(i));
    policy_set.layers = arena_new_array(&arena, const struct policy_layer *, 1);
    policy_set.n_layers = 1;
    *(const struct policy_layer **)(uintptr_t)policy_set.layers =
        policy_layer_new(&arena, policies, size, NULL, 0);
}

/* It allows requests to one host below one path, another one each. */
static struct model_policy *make_http_policy(size_t i)
{
    struct model_policy *policy = make_policy(i);
    struct model_match *match = policy->rules->clauses->matches;
    const struct request_field fields[] = {{.subject = REQUEST_HOST, .n_values = 1},
                                           {.subject = REQUEST_PATH, .n_values = 1}};
    struct string_match *values = arena_new_array(&arena, struct string_match, 2);
    values[0].value = arena_printf(&arena, "shop-%zu.example.com", i);
    values[1] = (struct string_match){MATCH_PREFIX, arena_printf(&arena, "/items/%zu/", i)};
    match->n_principals = 0;
    match->http = arena_new_array(&arena, struct request_field, 2);
    match->n_http = 2;
    for (size_t k = 0; k < 2; k++) {
        match->http[k] = fields[k];
        match->http[k].values = &values[k];
    }
    policy->action = POLICY_ALLOW;
    return policy;
}

static void prepare_http_policies(size_t size)
{
    for (size_t i = 0; i < size; i++)
        policies[i] = policy_compile(&arena, make_http_policy(i));
    policy_set.layers = arena_new_array(&arena, const struct policy_layer *, 1);
    policy_set.n_layers = 1;
    *(const struct policy_layer **)(uintptr_t)policy_set.layers =
        policy_layer_new(&arena, policies, size, NULL, 0);
}

static void policy_http_once(size_t i)
{
    static const struct policy_header header = {{"host", 4}, {"shop-99.example.com", 19}};
    const struct policy_request request = {.method = STR("GET"),
                                           .host = header.value,
                                           .path = STR("/items/99/pictures"),
                                           .headers = &header,
                                           .n_headers = 1};
    const struct policy_question question = {.principal = STR("west.example/ns/shop/sa/buyer"),
                                             .namespace_ = STR("shop"),
                                             .port = (uint16_t)i,
                                             .request = &request};
    ensure(policy_ask(&policy_set, &question).allowed);
}

static void policy_once(size_t i)
{
    const struct policy_question question = {.principal = STR("west.example/ns/shop/sa/buyer"),
                                             .namespace_ = STR("shop"),
                                             .port = (uint16_t)i};
    ensure(policy_ask(&policy_set, &question).allowed);
}

static void prepare_policed_mesh(size_t n_policies)
{
    enum { PODS = 1000 };
    const struct model_resource **resources =
        mem_new_array(const struct model_resource *, PODS + n_policies);
    for (size_t i = 0; i < PODS; i++)
        resources[i] = make_pod(i, STR("shop/till.shop.svc.clusterset.local"));
    for (size_t i = 0; i < n_policies; i++) {
        struct model_resource *resource =
            resource_of(MODEL_POLICY, arena_printf(&arena, "shop/policy-%zu", i));
        resource->of.policy = make_policy(i);
        resources[PODS + i] = resource;
    }
    snapshot = snapshot_build(resources, PODS + n_policies, &vantage, 1, true);
    mem_free(resources);
    client = (struct ip){4, {10, 0, 0, 7}};
}

static void ask_policed_mesh_once(size_t i)
{
    const struct workload *workload = snapshot_workload_by_ip(snapshot, &client);
    const struct policy_question question = {.principal = STR("west.example/ns/shop/sa/buyer"),
                                             .namespace_ = STR("shop"),
                                             .port = (uint16_t)i};
    ensure(policy_ask(workload->policies, &question).allowed);
}

/* ---- the audit log ---- */

static struct record record;
static struct audit_entry entry;
static struct record_ring *ring;

static void prepare_record(size_t size)
{
    static struct str names[TRAFFIC_LABELS];
    names[LABEL_SOURCE_WORKLOAD] = STR("cart-5d8f7c9b4-x2x7q");
    names[LABEL_SOURCE_WORKLOAD_NAMESPACE] = STR("shop");
    names[LABEL_SOURCE_PRINCIPAL] = STR("spiffe://west.example/ns/shop/sa/buyer");
    names[LABEL_SOURCE_CLUSTER] = STR("west");
    names[LABEL_DESTINATION_WORKLOAD] = STR("till-6b7d8c9d5-k9k2p");
    names[LABEL_DESTINATION_WORKLOAD_NAMESPACE] = STR("shop");
    names[LABEL_DESTINATION_PRINCIPAL] = STR("spiffe://east.example/ns/shop/sa/seller");
    names[LABEL_DESTINATION_CLUSTER] = STR("east");
    names[LABEL_DESTINATION_SERVICE] = STR("till.shop.svc.clusterset.local");
    (void)size;
    record = (struct record){
        .kind = ARRIVAL_TUNNEL,
        .is_mutual_tls = true,
        .source = {.addr = {.ip = ip_of("10.1.1.10"), .port = 40000}, .proof = "mtls"},
        .destination = {.addr = {.ip = ip_of("10.2.1.10"), .port = 15008}, .proof = "node"},
        .hbone_addr = {.ip = ip_of("10.2.1.10"), .port = 7070},
        .names = names,
        .tls_version = "TLSv1.3",
        .cipher = "TLS_AES_128_GCM_SHA256",
        .peer_serial = STR("5f0e4a3b2c1d00112233445566778899"),
        .peer_not_after_ns = INT64_C(1800000000000000000),
        .trace = STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        .ruling = {.decision = "allow",
                   .policy = STR("shop/buyers"),
                   .has_rule = true,
                   .action = POLICY_ALLOW,
                   .mode = "enforced",
                   .revision = 0x1234567890abcdef,
                   .sentence = "allowed by"},
    };
    ring = record_ring_new(AUDIT_RING_BYTES);
}

static struct str pack_record(size_t i)
{
    entry_begin(&entry, AUDIT_END, (int64_t)i);
    entry_str(&entry, AUDIT_CONNECTION, STR("0123456789abcdef-0-1234567"));
    witness_parties(&entry, &record);
    witness_ruling(&entry, &record.ruling);
    entry_u64(&entry, AUDIT_DURATION, i);
    return entry_end(&entry);
}

static void record_once(size_t i)
{
    static char taken[ENTRY_MAX];
    ensure(record_ring_put(ring, pack_record(i)));
    ensure(record_ring_take(ring, taken, sizeof taken) > 0);
}

static struct fold *fold;

static void prepare_request(size_t size)
{
    prepare_record(size);
    fold = fold_new();
}

static void request_once(size_t i)
{
    const struct audit_request request = {
        .n = 1, .last_wall_ns = (int64_t)i, .bytes_sent = 1024, .duration_ns = i, .attempts = 1};
    ensure(fold_add(fold, pack_record(0), 1, &request, i));
}

static struct audit_chain chain;
static struct text line;

static void prepare_line(size_t size)
{
    prepare_record(size);
    chain_init(&chain);
}

static void line_once(size_t i)
{
    text_clear(&line);
    chain_seal(&chain, pack_record(i), STR(",\"node\":\"east-1\",\"version\":\"1.0.0\""), &line);
}

static void hash_once(size_t i)
{
    (void)i;
    chain_move(&chain, chain.seq, text_str(&line));
}

static void prepare_hash(size_t size)
{
    prepare_line(size);
    line_once(0);
}

const struct bench_case bench_cases[] = {
    {"identify", "a source address among 10,000 pods", prepare_mesh, 10000, identify_once},
    {"resolve", "a VIP", prepare_mesh, 10000, resolve_once},
    {"pick-10", "a lease of 10 endpoints, cut and given back", prepare_mesh, 10, pick_once},
    {"pick-100", "a lease of 100 endpoints", prepare_mesh, 100, pick_once},
    {"pick-1000", "a lease of 1,000 endpoints", prepare_mesh, 1000, pick_once},
    {"pick-10000", "a lease of 10,000 endpoints", prepare_mesh, 10000, pick_once},
    {"flip-10000", "one of 10,000 endpoints changes its health, and a lease", prepare_own_set,
     10000, flip_once},
    {"merge-10000", "a lease, and a hundredth of merging 10,000 endpoints that changed",
     prepare_own_set, 10000, merge_once},
    {"rebuild-ring",
     "a hundredth of a snapshot of 100 endpoints on a ring of 65,536 points, which stays",
     prepare_hashed_mesh, 100, rebuild_once},
    {"dns-a", "a query for a service's address, answered", prepare_mesh, 10000, dns_once},
    {"policy-10", "a verdict over 10 policies, none of which matches", prepare_policies, 10,
     policy_once},
    {"policy-100", "the same over 100", prepare_policies, 100, policy_once},
    {"policy-1000", "the same over 1,000", prepare_policies, 1000, policy_once},
    {"audit-record", "an audit record with every member, packed, into a ring and out of it",
     prepare_record, 0, record_once},
    {"audit-request", "a request that is folded with others: packed, found, added up",
     prepare_request, 0, request_once},
    {"audit-line", "an audit record packed, rendered, numbered and hashed, as the writer does it",
     prepare_line, 0, line_once},
    {"audit-hash", "of that, the SHA-256 (callgrind's CPU has no instructions for it)",
     prepare_hash, 0, hash_once},
    {"policy-http", "whether a request may, over 100 policies that ask for a host and a path",
     prepare_http_policies, 100, policy_http_once},
    {"policy-10000", "a verdict over 10,000", prepare_policies, 10000, policy_once},
    {"policy-mesh", "the same for one of 1,000 workloads in a snapshot of 10,000 policies",
     prepare_policed_mesh, 10000, ask_policed_mesh_once},
    {"http1", "a request of 1 KB and its answer, read and written at both ends, and two turns",
     prepare_http1, 0, http1_once},
    {"route-10", "where a request goes, over 10 rules", prepare_route, 10, route_once},
    {"route-1000", "the same over 1,000", prepare_route, 1000, route_once},
    {"loop-turn", "a turn of the loop in which nothing happens", prepare_http1, 0, loop_turn_once},
};

const size_t bench_n_cases = ARRAY_LEN(bench_cases);
