/* How a service is balanced, on the wire: our own encoding, what other control planes send, what is
 * refused. */
#include <cluster.pb-c.h>
#include <criterion/criterion.h>
#include <details.pb-c.h>
#include <math.h>
#include <string.h>

#include "proxy/base/err.h"
#include "xds/codec.h"
#include "xds/codec_traffic.h"

#define NAME "ns/web.ns.svc.clusterset.local"

static struct arena arena;
static struct text why;

static void fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
    why = (struct text){0};
}

TestSuite(codec_traffic, .timeout = 20, .fini = fini);

#define SECOND UINT64_C(1000000000)

/* Every field is another than the default's. */
static struct traffic_policy rich(void)
{
    static struct locality_weight localities[3];
    static struct cluster_share clusters[2];
    static struct str allowed[2];
    static struct health_check checks[4];
    const struct locality_weight localities_[] = {
        {STR("eu"), STR("eu-1"), 3}, {STR("eu"), {0}, 1}, {STR("us"), STR(""), 0}};
    const struct cluster_share clusters_[] = {{STR("west"), 90, 0, 0},
                                              {STR("east.example"), 10, 20000, 1}};
    const struct str allowed_[] = {STR("west"), STR("east.example")};
    const struct health_check checks_[] = {
        {.kind = CHECK_TCP,
         .port = 99,
         .timeout_ns = SECOND,
         .interval_ns = 2 * SECOND,
         .jitter_ns = SECOND / 2,
         .unhealthy_interval_ns = 3 * SECOND,
         .unhealthy_threshold = 4,
         .healthy_threshold = 5},
        {.kind = CHECK_TLS,
         .timeout_ns = SECOND,
         .interval_ns = SECOND,
         .unhealthy_threshold = 1,
         .healthy_threshold = 1},
        {.kind = CHECK_HTTP,
         .timeout_ns = SECOND,
         .interval_ns = SECOND,
         .unhealthy_threshold = 1,
         .healthy_threshold = 1,
         .path = STR("/healthz"),
         .host = STR("web.example"),
         .status_min = 200,
         .status_max = 599},
        {.kind = CHECK_GRPC,
         .timeout_ns = SECOND,
         .interval_ns = SECOND,
         .unhealthy_threshold = 1,
         .healthy_threshold = 1,
         .grpc_service = STR("a.B")},
    };
    memcpy(localities, localities_, sizeof(localities));
    memcpy(clusters, clusters_, sizeof(clusters));
    memcpy(allowed, allowed_, sizeof(allowed));
    memcpy(checks, checks_, sizeof(checks));
    return (struct traffic_policy){.name = STR("ns/web"),
                                   .algorithm = ALGORITHM_LEAST_REQUEST,
                                   .choice_count = 4,
                                   .active_bias_permille = 500,
                                   .decay_ns = 3 * SECOND,
                                   .hash_on = HASH_ON_SOURCE_PRINCIPAL,
                                   .ring_min = 1024,
                                   .ring_max = TRAFFIC_RING_MAX,
                                   .maglev_size = TRAFFIC_MAGLEV_DEFAULT,
                                   .hash_balance_factor_pct = 125,
                                   .locality = LOCALITY_WEIGHTED,
                                   .localities = localities,
                                   .n_localities = 3,
                                   .zone_min_endpoints = 9,
                                   .cluster_mode = CLUSTERS_WEIGHTED,
                                   .clusters = clusters,
                                   .n_clusters = 2,
                                   .has_priorities = true,
                                   .is_restricted = true,
                                   .allowed_clusters = allowed,
                                   .n_allowed = 2,
                                   .node_only = true,
                                   .drilled_cluster = STR("west"),
                                   .drill_id = UINT64_MAX,
                                   .drill_ns = 11 * UINT64_C(1000000000),
                                   .overprovisioning_pct = 200,
                                   .panic_pct = 0,
                                   .fail_on_panic = true,
                                   .spill_by_load = false,
                                   .slow_start_ns = 30 * SECOND,
                                   .slow_start_aggression_permille = 1500,
                                   .slow_start_min_pct = 5,
                                   .checks = checks,
                                   .n_checks = 4,
                                   .ejection = {.is_on = true,
                                                .consecutive_failures = 7,
                                                .interval_ns = 2 * SECOND,
                                                .base_ns = 3 * SECOND,
                                                .max_ns = 4 * SECOND,
                                                .max_pct = 30,
                                                .success_rate_min_hosts = 6,
                                                .success_rate_min_volume = 50,
                                                .success_rate_stdev_permille = 2500,
                                                .failure_pct = 40,
                                                .failure_pct_min_hosts = 7,
                                                .failure_pct_min_volume = 8,
                                                .latency_factor_pct = 0,
                                                .latency_min_hosts = 9,
                                                .latency_min_volume = 10},
                                   .limits = {.max_connections = 100,
                                              .max_pending = 10,
                                              .endpoint_max_connections = 20,
                                              .retry_budget_pct = 25,
                                              .retry_min_concurrent = 6},
                                   .max_attempts = 4,
                                   .connect_ns = 5 * SECOND,
                                   .attempt_ns = SECOND,
                                   .race_ns = SECOND / 4,
                                   .idle_ns = 60 * SECOND,
                                   .tier = STR("gold"),
                                   .recovery_time_ns = 120 * SECOND};
}

static struct str encode(const struct traffic_policy *policy)
{
    struct model_traffic traffic = {.service = STR(NAME), .policy = *policy};
    struct model_resource resource = {MODEL_TRAFFIC, STR(NAME), {.traffic = &traffic}};
    struct text bytes = {0};
    struct str name = xds_encode(&resource, &arena, &bytes), kept;

    cr_assert(str_eq(name, STR(NAME)));
    kept = arena_str(&arena, text_str(&bytes));
    text_fini(&bytes);
    return kept;
}

static int decode_bytes(struct str bytes, struct traffic_policy *out)
{
    struct model_resource resource;
    int err;

    text_clear(&why);
    err = xds_decode(XDS_CLUSTER, STR(NAME), bytes, &arena, &resource, &why);
    if (err == 0) {
        cr_assert_eq(resource.kind, MODEL_TRAFFIC);
        cr_assert(str_eq(resource.of.traffic->service, STR(NAME)));
        *out = resource.of.traffic->policy;
    }
    return err;
}

static int decode_message(const Envoy__Config__Cluster__V3__Cluster *cluster,
                          struct traffic_policy *out)
{
    struct text bytes = {0};
    int err;

    wire_pack(&cluster->base, &bytes);
    err = decode_bytes(text_str(&bytes), out);
    text_fini(&bytes);
    return err;
}

static void expect_refused(const Envoy__Config__Cluster__V3__Cluster *cluster, const char *sentence)
{
    struct traffic_policy policy;

    cr_expect_eq(decode_message(cluster, &policy), -ERR_INVALID, "%s", sentence);
    cr_expect(str_contains(text_str(&why), str_from(sentence)), "said \"%s\", expected \"%s\"",
              why.ptr ? why.ptr : "", sentence);
}

static Envoy__Config__Cluster__V3__Cluster plain(void)
{
    Envoy__Config__Cluster__V3__Cluster cluster = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__INIT;

    cluster.name = (char *)(uintptr_t)NAME;
    return cluster;
}

Test(codec_traffic, keeps_every_field)
{
    const struct traffic_policy from = rich();
    struct str bytes = encode(&from);
    struct traffic_policy to;

    cr_assert_eq(decode_bytes(bytes, &to), 0, "%s", why.ptr);
    cr_expect(str_eq(encode(&to), bytes), "it encodes to the same bytes again");
    cr_expect_eq(to.algorithm, ALGORITHM_LEAST_REQUEST);
    cr_expect_eq(to.choice_count, 4);
    cr_expect_eq(to.active_bias_permille, 500);
    cr_expect_eq(to.decay_ns, 3 * SECOND);
    cr_expect_eq(to.hash_on, HASH_ON_SOURCE_PRINCIPAL);
    cr_expect_eq(to.hash_balance_factor_pct, 125);
    cr_expect_eq(to.locality, LOCALITY_WEIGHTED);
    cr_assert_eq(to.n_localities, 3);
    cr_expect(str_eq(to.localities[0].zone, STR("eu-1")) && to.localities[0].weight == 3);
    cr_expect(str_is_empty(to.localities[1].zone) && to.localities[2].weight == 0);
    cr_expect_eq(to.zone_min_endpoints, 9);
    cr_expect_eq(to.cluster_mode, CLUSTERS_WEIGHTED);
    cr_assert_eq(to.n_clusters, 2);
    cr_expect(str_eq(to.clusters[1].cluster, STR("east.example")));
    cr_expect_eq(to.clusters[1].price_micro, 20000);
    cr_expect_eq(to.clusters[1].priority, 1);
    cr_expect(to.has_priorities && to.is_restricted && to.node_only && to.fail_on_panic);
    cr_assert_eq(to.n_allowed, 2);
    cr_expect(str_eq(to.drilled_cluster, STR("west")));
    cr_expect_eq(to.drill_id, UINT64_MAX);
    cr_expect_eq(to.drill_ns, 11 * UINT64_C(1000000000));
    cr_expect_eq(to.overprovisioning_pct, 200);
    cr_expect_eq(to.panic_pct, 0);
    cr_expect_not(to.spill_by_load);
    cr_expect_eq(to.slow_start_ns, 30 * SECOND);
    cr_expect_eq(to.slow_start_aggression_permille, 1500);
    cr_expect_eq(to.slow_start_min_pct, 5);
    cr_expect_eq(to.limits.endpoint_max_connections, 20);
    cr_expect_eq(to.limits.retry_min_concurrent, 6);
    cr_expect_eq(to.ejection.max_ns, 4 * SECOND);
    cr_expect_eq(to.ejection.success_rate_stdev_permille, 2500);
    cr_expect_eq(to.ejection.failure_pct, 40);
    cr_expect_eq(to.ejection.latency_factor_pct, 0);
    cr_expect_eq(to.connect_ns, 5 * SECOND);
    cr_expect_eq(to.race_ns, SECOND / 4);
    cr_expect(str_eq(to.tier, STR("gold")) && str_eq(to.name, STR("ns/web")));
}

Test(codec_traffic, keeps_every_check)
{
    const struct traffic_policy from = rich();
    struct traffic_policy to;

    cr_assert_eq(decode_bytes(encode(&from), &to), 0, "%s", why.ptr);
    cr_assert_eq(to.n_checks, 4);
    for (size_t i = 0; i < 4; i++) {
        const struct health_check *a = &from.checks[i], *b = &to.checks[i];
        cr_expect(a->kind == b->kind && a->port == b->port && a->timeout_ns == b->timeout_ns &&
                      a->interval_ns == b->interval_ns && a->jitter_ns == b->jitter_ns &&
                      a->unhealthy_interval_ns == b->unhealthy_interval_ns &&
                      a->unhealthy_threshold == b->unhealthy_threshold &&
                      a->healthy_threshold == b->healthy_threshold && str_eq(a->path, b->path) &&
                      str_eq(a->host, b->host) && a->status_min == b->status_min &&
                      a->status_max == b->status_max && str_eq(a->grpc_service, b->grpc_service),
                  "check %zu", i);
    }
}

Test(codec_traffic, keeps_each_algorithm_with_what_belongs_to_it)
{
    for (unsigned algorithm = 0; algorithm < ALGORITHMS; algorithm++) {
        struct traffic_policy from = *traffic_policy_default(), to;
        from.algorithm = (enum algorithm)algorithm;
        from.slow_start_ns = SECOND;
        if (algorithm == ALGORITHM_RING_HASH) {
            from.ring_min = 12;
            from.ring_function = RING_MURMUR_HASH_2;
        }
        if (algorithm == ALGORITHM_MAGLEV)
            from.maglev_size = 7;
        cr_assert_eq(decode_bytes(encode(&from), &to), 0, "%u: %s", algorithm, why.ptr);
        cr_expect_eq(to.algorithm, algorithm);
        cr_expect_eq(to.slow_start_ns, SECOND, "%u", algorithm);
        cr_expect_eq(to.ring_min, from.ring_min);
        cr_expect_eq(to.ring_function, from.ring_function);
        cr_expect_eq(to.maglev_size, from.maglev_size);
    }
}

Test(codec_traffic, keeps_each_mode_and_switch)
{
    for (unsigned mode = 0; mode < LOCALITY_MODES; mode++) {
        const struct locality_weight locality = {STR("eu"), {0}, 1};
        struct traffic_policy from = *traffic_policy_default(), to;
        from.locality = (enum locality_mode)mode;
        from.localities = &locality;
        from.n_localities = 1;
        from.ejection.is_on = false;
        cr_assert_eq(decode_bytes(encode(&from), &to), 0, "%u: %s", mode, why.ptr);
        cr_expect_eq(to.locality, mode);
        cr_expect_not(to.ejection.is_on);
        cr_expect_eq(to.limits.max_connections, 0, "no bound stays none");
        cr_expect_not(to.fail_on_panic);
        cr_expect(to.spill_by_load);
    }
}

Test(codec_traffic, of_another_control_plane_means_what_envoy_makes_of_it)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Cluster__V3__OutlierDetection outlier =
        ENVOY__CONFIG__CLUSTER__V3__OUTLIER_DETECTION__INIT;
    struct traffic_policy policy;

    cr_assert_eq(decode_message(&cluster, &policy), 0, "%s", why.ptr);
    cr_expect_eq(policy.algorithm, ALGORITHM_ROUND_ROBIN);
    cr_expect_not(policy.ejection.is_on, "Envoy has none unless it is said");
    cr_expect_eq(policy.panic_pct, 50);
    cr_expect_eq(policy.overprovisioning_pct, 140);
    cr_expect_eq(policy.limits.max_connections, 0);
    cr_expect_eq(policy.locality, LOCALITY_ZONE, "as ours, which Envoy has no word for");
    cluster.outlier_detection = &outlier;
    cr_assert_eq(decode_message(&cluster, &policy), 0, "%s", why.ptr);
    cr_expect(policy.ejection.is_on);
    cr_expect_eq(policy.ejection.consecutive_failures, 5);
    cr_expect_eq(policy.ejection.interval_ns, 10 * SECOND);
    cr_expect_eq(policy.ejection.base_ns, 30 * SECOND);
    cr_expect_eq(policy.ejection.max_ns, 300 * SECOND);
    cr_expect_eq(policy.ejection.max_pct, 10);
    cr_expect_eq(policy.ejection.success_rate_stdev_permille, 1900);
    cr_expect_eq(policy.ejection.failure_pct, 0, "not enforced");
}

Test(codec_traffic, a_check_of_another_control_plane_expects_200_alone)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Core__V3__HealthCheck check = ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__INIT;
    Envoy__Config__Core__V3__HealthCheck *list[] = {&check};
    Envoy__Config__Core__V3__HealthCheck__HttpHealthCheck http =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HTTP_HEALTH_CHECK__INIT;
    Google__Protobuf__Duration second = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Protobuf__UInt32Value one = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
    struct traffic_policy policy;

    second.seconds = one.value = 1;
    check.timeout = check.interval = &second;
    check.unhealthy_threshold = check.healthy_threshold = &one;
    check.health_checker_case =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_HTTP_HEALTH_CHECK;
    check.http_health_check = &http;
    http.path = (char *)(uintptr_t) "/healthz";
    cluster.health_checks = list;
    cluster.n_health_checks = 1;
    cr_assert_eq(decode_message(&cluster, &policy), 0, "%s", why.ptr);
    cr_assert_eq(policy.n_checks, 1);
    cr_expect_eq(policy.checks[0].status_min, 200);
    cr_expect_eq(policy.checks[0].status_max, 200);
}

/* ---- what is refused: of Envoy's fields ---- */

Test(codec_traffic, refuses_an_unknown_algorithm)
{
    static const uint32_t unknown[] = {4, 6, 7, 8, UINT32_MAX};

    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        cluster.lb_policy = unknown[i];
        expect_refused(&cluster, "lb_policy: ");
    }
}

Test(codec_traffic, refuses_a_hash_function_that_envoy_does_not_have)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Cluster__V3__Cluster__RingHashLbConfig ring =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__RING_HASH_LB_CONFIG__INIT;

    cluster.lb_policy = CODEC_RING_HASH;
    cluster.lb_config_case = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_RING_HASH_LB_CONFIG;
    cluster.ring_hash_lb_config = &ring;
    ring.hash_function = 2;
    expect_refused(&cluster,
                   "ring_hash_lb_config.hash_function: 2 is not XX_HASH (0) or MURMUR_HASH_2 (1)");
}

Test(codec_traffic, refuses_a_policy_in_place_of_an_algorithm)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Cluster__V3__LoadBalancingPolicy policy =
        ENVOY__CONFIG__CLUSTER__V3__LOAD_BALANCING_POLICY__INIT;

    cluster.load_balancing_policy = &policy;
    expect_refused(&cluster, "load_balancing_policy is not read here");
}

Test(codec_traffic, refuses_names_that_are_no_service_s)
{
    static const char *const names[] = {"outbound|80||web.ns", "/host", "ns/", "UP/host"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        struct text bytes = {0};
        struct model_resource out;
        cluster.name = (char *)(uintptr_t)names[i];
        wire_pack(&cluster.base, &bytes);
        text_clear(&why);
        cr_expect_eq(
            xds_decode(XDS_CLUSTER, str_from(names[i]), text_str(&bytes), &arena, &out, &why),
            -ERR_INVALID, "%s", names[i]);
        cr_expect(str_contains(text_str(&why), STR("of a service")), "%s: %s", names[i], why.ptr);
        text_fini(&bytes);
    }
}

static Envoy__Config__Endpoint__V3__LocalityLbEndpoints *group(uint32_t priority, uint32_t weight)
{
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *made =
        arena_new(&arena, Envoy__Config__Endpoint__V3__LocalityLbEndpoints);

    envoy__config__endpoint__v3__locality_lb_endpoints__init(made);
    made->priority = priority;
    made->load_balancing_weight = arena_new(&arena, Google__Protobuf__UInt32Value);
    google__protobuf__uint32_value__init(made->load_balancing_weight);
    made->load_balancing_weight->value = weight;
    return made;
}

Test(codec_traffic, refuses_a_gap_in_priorities_and_a_sum_of_weights_that_overflows)
{
    static const struct {
        uint32_t priorities[3], weights[3];
        size_t n;
        const char *sentence; /* NULL: fine */
    } rows[] = {
        {{0, 1, 2}, {1, 1, 1}, 3, NULL},
        {{2, 0, 1}, {1, 1, 1}, 3, NULL},
        {{0, 2}, {1, 1}, 2, "priority: 2 is there, but not 1"},
        {{1}, {1}, 1, "priority: 1 is there, but not 0"},
        {{0, 128}, {1, 1}, 2, "priority: 128 is over 127"},
        {{0, 0}, {UINT32_MAX, 1}, 2, "the weights of priority 0 sum up to 4294967296"},
        {{0, 1}, {UINT32_MAX, UINT32_MAX}, 2, NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        Envoy__Config__Endpoint__V3__ClusterLoadAssignment assignment =
            ENVOY__CONFIG__ENDPOINT__V3__CLUSTER_LOAD_ASSIGNMENT__INIT;
        Envoy__Config__Endpoint__V3__LocalityLbEndpoints *groups[3];
        struct traffic_policy policy;
        for (size_t j = 0; j < rows[i].n; j++)
            groups[j] = group(rows[i].priorities[j], rows[i].weights[j]);
        assignment.endpoints = groups;
        assignment.n_endpoints = rows[i].n;
        cluster.load_assignment = &assignment;
        if (rows[i].sentence)
            expect_refused(&cluster, rows[i].sentence);
        else
            cr_expect_eq(decode_message(&cluster, &policy), 0, "%zu: %s", i, why.ptr);
    }
}

/* -1 as a varint of field 1: protobuf takes what does not fit into 32 bits for the largest number
 * that does. */
static ProtobufCMessageUnknownField minus_one(unsigned field)
{
    static uint8_t bytes[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01};
    return (ProtobufCMessageUnknownField){field, PROTOBUF_C_WIRE_TYPE_VARINT, sizeof(bytes), bytes};
}

Test(codec_traffic, refuses_a_negative_weight_of_a_locality)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment assignment =
        ENVOY__CONFIG__ENDPOINT__V3__CLUSTER_LOAD_ASSIGNMENT__INIT;
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *groups[] = {group(0, 0)};
    ProtobufCMessageUnknownField weight = minus_one(1);

    groups[0]->load_balancing_weight->base.unknown_fields = &weight;
    groups[0]->load_balancing_weight->base.n_unknown_fields = 1;
    assignment.endpoints = groups;
    assignment.n_endpoints = 1;
    cluster.load_assignment = &assignment;
    expect_refused(&cluster, "google.protobuf.UInt32Value.value: -1 does not fit into 32 bits");
}

Test(codec_traffic, refuses_a_negative_weight_or_price_of_a_cluster)
{
    static const struct {
        unsigned field;
        const char *sentence;
    } rows[] = {
        {2, "isthmus.v1alpha1.TrafficDetails.ClusterShare.weight: -1 does not fit into 32 bits"},
        {3, "TrafficDetails.clusters: the price of east is over 1000000000000"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        Isthmus__V1alpha1__TrafficDetails details = ISTHMUS__V1ALPHA1__TRAFFIC_DETAILS__INIT;
        Isthmus__V1alpha1__TrafficDetails__ClusterShare share =
            ISTHMUS__V1ALPHA1__TRAFFIC_DETAILS__CLUSTER_SHARE__INIT;
        Isthmus__V1alpha1__TrafficDetails__ClusterShare *shares[] = {&share};
        Envoy__Config__Core__V3__Metadata metadata = ENVOY__CONFIG__CORE__V3__METADATA__INIT;
        Envoy__Config__Core__V3__Metadata__TypedFilterMetadataEntry entry =
            ENVOY__CONFIG__CORE__V3__METADATA__TYPED_FILTER_METADATA_ENTRY__INIT;
        Envoy__Config__Core__V3__Metadata__TypedFilterMetadataEntry *entries[] = {&entry};
        ProtobufCMessageUnknownField number = minus_one(rows[i].field);
        share.cluster = (char *)(uintptr_t) "east";
        share.base.unknown_fields = &number;
        share.base.n_unknown_fields = 1;
        details.clusters = shares;
        details.n_clusters = 1;
        details.choice_count = 2;
        details.decay_ns = SECOND;
        details.slow_start_aggression_permille = 1000;
        details.latency_min_hosts = 3;
        details.latency_min_volume = 5;
        entry.key = (char *)(uintptr_t)CODEC_TRAFFIC_KEY;
        entry.value = codec_any(&arena, CODEC_TRAFFIC_TYPE, &details.base);
        metadata.typed_filter_metadata = entries;
        metadata.n_typed_filter_metadata = 1;
        cluster.metadata = &metadata;
        expect_refused(&cluster, rows[i].sentence);
    }
}

static void add_endpoint(Envoy__Config__Endpoint__V3__LocalityLbEndpoints *to, const char *address)
{
    Envoy__Config__Endpoint__V3__LbEndpoint *made =
        arena_new(&arena, Envoy__Config__Endpoint__V3__LbEndpoint);
    Envoy__Config__Core__V3__SocketAddress *socket =
        arena_new(&arena, Envoy__Config__Core__V3__SocketAddress);

    envoy__config__endpoint__v3__lb_endpoint__init(made);
    envoy__config__core__v3__socket_address__init(socket);
    made->host_identifier_case = ENVOY__CONFIG__ENDPOINT__V3__LB_ENDPOINT__HOST_IDENTIFIER_ENDPOINT;
    made->endpoint = arena_new(&arena, Envoy__Config__Endpoint__V3__Endpoint);
    envoy__config__endpoint__v3__endpoint__init(made->endpoint);
    made->endpoint->address = arena_new(&arena, Envoy__Config__Core__V3__Address);
    envoy__config__core__v3__address__init(made->endpoint->address);
    made->endpoint->address->address_case =
        ENVOY__CONFIG__CORE__V3__ADDRESS__ADDRESS_SOCKET_ADDRESS;
    made->endpoint->address->socket_address = socket;
    socket->address = (char *)(uintptr_t)address;
    socket->port_specifier_case =
        ENVOY__CONFIG__CORE__V3__SOCKET_ADDRESS__PORT_SPECIFIER_PORT_VALUE;
    socket->port_value = 80;
    if (!to->lb_endpoints)
        to->lb_endpoints = arena_new_array(&arena, Envoy__Config__Endpoint__V3__LbEndpoint *, 4);
    to->lb_endpoints[to->n_lb_endpoints++] = made;
}

Test(codec_traffic, refuses_two_endpoints_with_one_address)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Endpoint__V3__ClusterLoadAssignment assignment =
        ENVOY__CONFIG__ENDPOINT__V3__CLUSTER_LOAD_ASSIGNMENT__INIT;
    Envoy__Config__Endpoint__V3__LocalityLbEndpoints *groups[] = {group(0, 1), group(0, 1)};
    struct traffic_policy policy;

    assignment.endpoints = groups;
    assignment.n_endpoints = 2;
    cluster.load_assignment = &assignment;
    add_endpoint(groups[0], "10.0.0.1");
    add_endpoint(groups[1], "10.0.0.2");
    cr_expect_eq(decode_message(&cluster, &policy), 0, "%s", why.ptr);
    add_endpoint(groups[1], "10.0.0.1");
    expect_refused(&cluster, "10.0.0.1 port 80 stands there twice");
}

Test(codec_traffic, refuses_numbers_that_are_none)
{
    static const double numbers[] = {NAN, INFINITY, -1, 1e12};

    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        Envoy__Config__Cluster__V3__Cluster__CommonLbConfig common =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__INIT;
        Envoy__Type__V3__Percent percent = ENVOY__TYPE__V3__PERCENT__INIT;
        percent.value = numbers[i];
        common.healthy_panic_threshold = &percent;
        cluster.common_lb_config = &common;
        expect_refused(&cluster, "common_lb_config.healthy_panic_threshold: ");
    }
}

Test(codec_traffic, refuses_checks_that_it_could_not_do_as_said)
{
    Envoy__Config__Core__V3__HealthCheck check = ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__INIT;
    Envoy__Config__Core__V3__HealthCheck *list[] = {&check, &check, &check, &check, &check};
    Envoy__Config__Core__V3__HealthCheck__TcpHealthCheck tcp =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__TCP_HEALTH_CHECK__INIT;
    Envoy__Config__Core__V3__HealthCheck__Payload payload =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__PAYLOAD__INIT;
    Google__Protobuf__Duration second = GOOGLE__PROTOBUF__DURATION__INIT;
    Google__Protobuf__UInt32Value one = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    struct traffic_policy policy;

    second.seconds = 1;
    one.value = 1;
    cluster.health_checks = list;
    cluster.n_health_checks = 1;
    expect_refused(&cluster, "neither a TCP, an HTTP nor a gRPC check");
    check.health_checker_case =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_TCP_HEALTH_CHECK;
    check.tcp_health_check = &tcp;
    expect_refused(&cluster, "health_checks.timeout: 0 is not from");
    check.timeout = check.interval = &second;
    check.unhealthy_threshold = check.healthy_threshold = &one;
    cr_expect_eq(decode_message(&cluster, &policy), 0, "%s", why.ptr);
    second.nanos = -1;
    expect_refused(&cluster, "are not a duration");
    second.nanos = 0;
    tcp.send = &payload;
    expect_refused(&cluster, "send and receive are not supported");
    tcp.send = NULL;
    cluster.n_health_checks = 5;
    expect_refused(&cluster, "health_checks: there are 5, 4 at most");
}

/* ---- what is refused: of our own ---- */

Test(codec_traffic, refuses_what_does_not_hold_together)
{
    const struct cluster_share twice[] = {{STR("a"), 1, 0, 0}, {STR("a"), 1, 0, 0}};
    const struct cluster_share heavy[] = {{STR("a"), UINT32_MAX, 0, 0}, {STR("b"), 1, 0, 0}};
    const struct cluster_share gap[] = {{STR("a"), 1, 0, 0}, {STR("b"), 1, 0, 2}};
    const struct cluster_share weightless[] = {{STR("a"), 0, 0, 0}};

    const struct {
        const struct cluster_share *clusters;
        size_t n;
        enum cluster_mode mode;
        bool has_priorities;
        const char *sentence;
    } rows[] = {
        {twice, 2, CLUSTERS_WEIGHTED, false, "a stands there twice"},
        {heavy, 2, CLUSTERS_WEIGHTED, false, "the weights sum up to 4294967296"},
        {gap, 2, CLUSTERS_ACTIVE_PASSIVE, true, "priority 2 is there, but not 1"},
        {weightless, 1, CLUSTERS_WEIGHTED, false, "no cluster has a weight"},
        {NULL, 0, CLUSTER_MODES, false, "TrafficDetails.cluster_mode: 3 is not from 0 to 2"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct traffic_policy policy = *traffic_policy_default(), out;
        policy.clusters = rows[i].clusters;
        policy.n_clusters = rows[i].n;
        policy.cluster_mode = rows[i].mode;
        policy.has_priorities = rows[i].has_priorities;
        cr_expect_eq(decode_bytes(encode(&policy), &out), -ERR_INVALID, "%s", rows[i].sentence);
        cr_expect(str_contains(text_str(&why), str_from(rows[i].sentence)), "said %s", why.ptr);
    }
}

Test(codec_traffic, takes_what_is_cut_off_for_nothing)
{
    const struct traffic_policy from = rich();
    struct str bytes = encode(&from);
    struct traffic_policy out;

    for (size_t len = 1; len < bytes.len; len++) {
        struct str part = str_sub(bytes, 0, len);
        (void)decode_bytes(part, &out); /* no crash, no leak; a sanitizer looks on */
    }
    cr_expect_eq(decode_bytes(str_sub(bytes, 0, bytes.len - 1), &out), -ERR_INVALID);
}
