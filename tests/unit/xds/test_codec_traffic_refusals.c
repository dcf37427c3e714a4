/* Clusters that are refused, and with which sentence. */
#include <criterion/criterion.h>
#include <math.h>

#include "proxy/base/err.h"
#include "traffic_kit.h"

TestSuite(codec_traffic, .timeout = 20, .fini = traffic_fini);

/* ---- what is refused: of Envoy's fields ---- */

Test(codec_traffic, refuses_an_unknown_algorithm)
{
    static const uint32_t unknown[] = {4, 6, 7, 8, UINT32_MAX};

    for (size_t i = 0; i < ARRAY_LEN(unknown); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        cluster.lb_policy = unknown[i];
        cr_expect(is_refused(&cluster, "lb_policy: "), "%s", refusal());
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
    cr_expect(
        is_refused(&cluster,
                   "ring_hash_lb_config.hash_function: 2 is not XX_HASH (0) or MURMUR_HASH_2 (1)"),
        "%s", refusal());
}

Test(codec_traffic, refuses_a_policy_in_place_of_an_algorithm)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Cluster__V3__LoadBalancingPolicy policy =
        ENVOY__CONFIG__CLUSTER__V3__LOAD_BALANCING_POLICY__INIT;

    cluster.load_balancing_policy = &policy;
    cr_expect(is_refused(&cluster, "load_balancing_policy is not read here"), "%s", refusal());
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
            cr_expect(is_refused(&cluster, rows[i].sentence), "%s", refusal());
        else
            cr_expect_eq(traffic_decode(&cluster, &policy), 0, "%zu: %s", i, why.ptr);
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
    cr_expect(
        is_refused(&cluster, "google.protobuf.UInt32Value.value: -1 does not fit into 32 bits"),
        "%s", refusal());
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
        cr_expect(is_refused(&cluster, rows[i].sentence), "%s", refusal());
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
    cr_expect_eq(traffic_decode(&cluster, &policy), 0, "%s", why.ptr);
    add_endpoint(groups[1], "10.0.0.1");
    cr_expect(is_refused(&cluster, "10.0.0.1 port 80 stands there twice"), "%s", refusal());
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
        cr_expect(is_refused(&cluster, "common_lb_config.healthy_panic_threshold: "), "%s",
                  refusal());
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
    cr_expect(is_refused(&cluster, "neither a TCP, an HTTP nor a gRPC check"), "%s", refusal());
    check.health_checker_case =
        ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_TCP_HEALTH_CHECK;
    check.tcp_health_check = &tcp;
    cr_expect(is_refused(&cluster, "health_checks.timeout: 0 is not from"), "%s", refusal());
    check.timeout = check.interval = &second;
    check.unhealthy_threshold = check.healthy_threshold = &one;
    cr_expect_eq(traffic_decode(&cluster, &policy), 0, "%s", why.ptr);
    second.nanos = -1;
    cr_expect(is_refused(&cluster, "are not a duration"), "%s", refusal());
    second.nanos = 0;
    tcp.send = &payload;
    cr_expect(is_refused(&cluster, "send and receive are not supported"), "%s", refusal());
    tcp.send = NULL;
    cluster.n_health_checks = 5;
    cr_expect(is_refused(&cluster, "health_checks: there are 5, 4 at most"), "%s", refusal());
}

static ProtobufCMessageUnknownField one(unsigned number)
{
    static uint8_t bytes[] = {1};
    return (ProtobufCMessageUnknownField){number, PROTOBUF_C_WIRE_TYPE_VARINT, 1, bytes};
}

static void add_unknown(ProtobufCMessage *message, ProtobufCMessageUnknownField *field)
{
    message->unknown_fields = field;
    message->n_unknown_fields = field->tag != 0;
}

Test(codec_traffic, refuses_what_it_cannot_do_of_balancing_with_the_path_and_passes_over_the_rest)
{
    static const struct {
        unsigned outliers, common, thresholds, http, slow_start, cluster;
        const char *sentence; /* NULL: fine */
    } rows[] = {
        {.outliers = 12,
         .sentence = "outlier_detection.split_external_local_origin_errors is not supported"},
        {.outliers = 99, .sentence = "outlier_detection: field 99 is not supported"},
        {.outliers = 25},
        {.common = 6,
         .sentence = "common_lb_config.close_connections_on_host_set_change is not supported"},
        {.common = 4},
        {.thresholds = 99, .sentence = "circuit_breakers.thresholds: field 99 is not supported"},
        {.thresholds = 6},
        {.http = 13, .sentence = "health_checks.http_health_check: field 13 is not supported"},
        {.slow_start = 9,
         .sentence = "round_robin_lb_config.slow_start_config: field 9 is not supported"},
        {.cluster = 22, .sentence = "lb_subset_config is not supported"},
        {.cluster = 24}, /* a transport socket */
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        Envoy__Config__Cluster__V3__OutlierDetection outliers =
            ENVOY__CONFIG__CLUSTER__V3__OUTLIER_DETECTION__INIT;
        Envoy__Config__Cluster__V3__Cluster__CommonLbConfig common =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__INIT;
        Envoy__Config__Cluster__V3__CircuitBreakers breakers =
            ENVOY__CONFIG__CLUSTER__V3__CIRCUIT_BREAKERS__INIT;
        Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds thresholds =
            ENVOY__CONFIG__CLUSTER__V3__CIRCUIT_BREAKERS__THRESHOLDS__INIT;
        Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *all[] = {&thresholds};
        Envoy__Config__Core__V3__HealthCheck check = ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__INIT;
        Envoy__Config__Core__V3__HealthCheck *checks[] = {&check};
        Envoy__Config__Core__V3__HealthCheck__HttpHealthCheck http =
            ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HTTP_HEALTH_CHECK__INIT;
        Envoy__Config__Cluster__V3__Cluster__RoundRobinLbConfig round_robin =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__ROUND_ROBIN_LB_CONFIG__INIT;
        Envoy__Config__Cluster__V3__Cluster__SlowStartConfig slow_start =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__SLOW_START_CONFIG__INIT;
        ProtobufCMessageUnknownField fields[] = {one(rows[i].outliers),   one(rows[i].common),
                                                 one(rows[i].thresholds), one(rows[i].http),
                                                 one(rows[i].slow_start), one(rows[i].cluster)};
        struct traffic_policy policy;
        add_unknown(&outliers.base, &fields[0]);
        add_unknown(&common.base, &fields[1]);
        add_unknown(&thresholds.base, &fields[2]);
        add_unknown(&http.base, &fields[3]);
        add_unknown(&slow_start.base, &fields[4]);
        add_unknown(&cluster.base, &fields[5]);
        breakers.thresholds = all;
        breakers.n_thresholds = 1;
        check.health_checker_case =
            ENVOY__CONFIG__CORE__V3__HEALTH_CHECK__HEALTH_CHECKER_HTTP_HEALTH_CHECK;
        check.http_health_check = &http;
        round_robin.slow_start_config = &slow_start;
        cluster.outlier_detection = &outliers;
        cluster.common_lb_config = &common;
        cluster.circuit_breakers = &breakers;
        cluster.lb_config_case =
            ENVOY__CONFIG__CLUSTER__V3__CLUSTER__LB_CONFIG_ROUND_ROBIN_LB_CONFIG;
        cluster.round_robin_lb_config = &round_robin;
        cluster.health_checks = checks;
        cluster.n_health_checks = rows[i].http != 0;
        if (rows[i].sentence)
            cr_expect(is_refused(&cluster, rows[i].sentence), "%s", refusal());
        else
            cr_expect_eq(traffic_decode(&cluster, &policy), 0, "row %zu: %s", i, why.ptr);
    }
}

Test(codec_traffic, a_number_of_retries_is_a_budget_of_no_share_where_there_is_no_budget)
{
    static const struct {
        const char *name;
        bool has_number, has_budget;
        uint32_t number, pct, min;
    } rows[] = {
        {"nothing", false, false, 0, 20, 1000}, /* as in traffic_policy_default() */
        {"a number", true, false, 7, 0, 7},
        {"both", true, true, 7, 20, 3}, /* Envoy's defaults of a budget */
        {"a budget", false, true, 0, 20, 3},
        {"none at all", true, false, 0, 0, 0},
        {"any, as istiod says it", true, false, UINT32_MAX, 0, TRAFFIC_RETRIES_MAX},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        Envoy__Config__Cluster__V3__Cluster cluster = plain();
        Envoy__Config__Cluster__V3__CircuitBreakers breakers =
            ENVOY__CONFIG__CLUSTER__V3__CIRCUIT_BREAKERS__INIT;
        Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds thresholds =
            ENVOY__CONFIG__CLUSTER__V3__CIRCUIT_BREAKERS__THRESHOLDS__INIT;
        Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *all[] = {&thresholds};
        Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds__RetryBudget budget =
            ENVOY__CONFIG__CLUSTER__V3__CIRCUIT_BREAKERS__THRESHOLDS__RETRY_BUDGET__INIT;
        Google__Protobuf__UInt32Value number = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
        struct traffic_policy policy;

        number.value = rows[i].number;
        thresholds.max_retries = rows[i].has_number ? &number : NULL;
        thresholds.max_requests = &number; /* is kept to be warned of, and refuses nothing */
        thresholds.retry_budget = rows[i].has_budget ? &budget : NULL;
        breakers.thresholds = all;
        breakers.n_thresholds = 1;
        cluster.circuit_breakers = &breakers;
        cr_assert_eq(traffic_decode(&cluster, &policy), 0, "%s: %s", rows[i].name, why.ptr);
        cr_expect_eq(policy.limits.retry_budget_pct, rows[i].pct, "%s", rows[i].name);
        cr_expect_eq(policy.limits.retry_min_concurrent, rows[i].min, "%s", rows[i].name);
        cr_expect_eq(policy.limits.asks_max_requests, rows[i].number != UINT32_MAX);
        if (policy.limits.asks_max_requests)
            cr_expect_eq(policy.limits.max_requests, rows[i].number, "%s", rows[i].name);
    }
}

Test(codec_traffic, refuses_to_hash_by_names_of_hosts)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Cluster__V3__Cluster__CommonLbConfig common =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__INIT;
    Envoy__Config__Cluster__V3__Cluster__CommonLbConfig__ConsistentHashingLbConfig hashing =
        ENVOY__CONFIG__CLUSTER__V3__CLUSTER__COMMON_LB_CONFIG__CONSISTENT_HASHING_LB_CONFIG__INIT;

    hashing.use_hostname_for_hashing = true;
    common.consistent_hashing_lb_config = &hashing;
    cluster.common_lb_config = &common;
    cr_expect(
        is_refused(&cluster, "use_hostname_for_hashing: endpoints are hashed by their addresses"),
        "%s", refusal());
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
        cr_expect_eq(traffic_decode_bytes(traffic_encode(&policy), &out), -ERR_INVALID, "%s",
                     rows[i].sentence);
        cr_expect(str_contains(text_str(&why), str_from(rows[i].sentence)), "said %s", why.ptr);
    }
}
