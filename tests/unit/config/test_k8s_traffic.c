/* TrafficPolicy: what is read, what it defaults to, what is refused and where. */
#include <criterion/criterion.h>
#include <stdio.h>

#include "config/check.h"
#include "config/traffic_fields.h"
#include "fixture.h"

DIAG_FIXTURE

TestSuite(k8s_traffic, .init = begin, .fini = end, .timeout = 20);

#define HEAD                                                                                       \
    "apiVersion: isthmus.io/v1alpha1\nkind: TrafficPolicy\n"                                       \
    "metadata: {name: web, namespace: shop}\nspec:\n"
#define REF "  targetRef: {kind: Service, name: web}\n"

Test(k8s_traffic, every_value_that_is_said_in_words_has_one)
{
    for (size_t i = 0; i < n_traffic_fields; i++) {
        const struct traffic_field *field = &traffic_fields[i];
        for (uint64_t value = 0; field->unit == TRAFFIC_WORD && value <= field->max; value++)
            cr_expect_not_null(field->words[value], "%s: %d", field->key, (int)value);
        if (field->unit == TRAFFIC_WORD)
            cr_expect_null(field->words[field->max + 1], "%s", field->key);
    }
}

Test(k8s_traffic, without_a_word_is_the_default)
{
    struct manifests *set = read_text(HEAD REF, &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_assert_eq(set->n_traffics, 1);
    const struct traffic_policy *policy = &set->traffics[0].policy;
    for (size_t i = 0; i < n_traffic_fields; i++)
        cr_expect_eq(traffic_field_get(&traffic_fields[i], policy),
                     traffic_field_get(&traffic_fields[i], traffic_policy_default()), "%s.%s",
                     traffic_fields[i].section, traffic_fields[i].key);
    cr_expect(str_eq(policy->name, STR("shop/web")));
    cr_expect_not(set->traffics[0].is_import);
    manifests_free(set);
}

Test(k8s_traffic, reads_every_section)
{
    struct manifests *set = read_text(
        HEAD
        "  targetRef: {group: multicluster.x-k8s.io, kind: ServiceImport, name: web}\n"
        "  tier: gold\n  recoveryTime: 2m\n"
        "  loadBalancing:\n    algorithm: LeastRequest\n    choiceCount: 4\n"
        "    activeRequestBias: 0.5\n    hashBalanceFactor: 125%\n"
        "    slowStart: {window: 30s, aggression: 1.5, minWeight: 5%}\n"
        "  locality:\n    mode: Weighted\n    weights: [{region: eu, zone: a, weight: 3}, {region: "
        "us, "
        "weight: 1}]\n"
        "  clusters:\n    mode: Weighted\n    members:\n"
        "    - {name: west, weight: 90}\n    - {name: east, weight: 10, pricePerGB: 0.02}\n"
        "    allow: {names: [west, east], matchLabels: {region: eu}}\n"
        "  failover: {overprovisioning: 200%, panicThreshold: 0%, failOnPanic: true, spillByLoad: "
        "false}\n"
        "  healthChecks:\n  - {http: {path: /healthz, host: a.b, expectedStatuses: {min: 200, max: "
        "399}}, interval: 2s}\n  - {grpc: {service: a.B}, port: 99, timeout: 500ms}\n  - {tls: "
        "{}}\n"
        "  ejection: {consecutiveFailures: 7, maxEjected: 30%, latency: {factor: 300%}, "
        "successRate: {stdevFactor: 2.5}}\n"
        "  limits: {maxConnections: 100, retryBudget: {percent: 10%}}\n"
        "  retries: {maxAttempts: 4}\n  timeouts: {connect: 5s, race: 250ms, idle: 0}\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    const struct k8s_traffic *traffic = &set->traffics[0];
    const struct traffic_policy *policy = &traffic->policy;
    cr_expect(traffic->is_import && traffic->says_locality && !traffic->says_node_only);
    cr_expect(str_eq(policy->tier, STR("gold")));
    cr_expect_eq(policy->recovery_time_ns, UINT64_C(120000000000));
    cr_expect_eq(policy->algorithm, ALGORITHM_LEAST_REQUEST);
    cr_expect_eq(policy->choice_count, 4);
    cr_expect_eq(policy->active_bias_permille, 500);
    cr_expect_eq(policy->hash_balance_factor_pct, 125);
    cr_expect_eq(policy->slow_start_aggression_permille, 1500);
    cr_expect_eq(policy->locality, LOCALITY_WEIGHTED);
    cr_assert_eq(policy->n_localities, 2);
    cr_expect_eq(policy->localities[0].weight, 3);
    cr_assert_eq(policy->n_clusters, 2);
    cr_expect_eq(policy->clusters[1].price_micro, 20000);
    cr_expect(policy->is_restricted && traffic->allows_by_name);
    cr_expect_eq(policy->n_allowed, 2);
    cr_expect_eq(traffic->n_allow, 1);
    cr_expect_eq(policy->overprovisioning_pct, 200);
    cr_expect_eq(policy->panic_pct, 0);
    cr_expect(policy->fail_on_panic && !policy->spill_by_load);
    cr_assert_eq(policy->n_checks, 3);
    cr_expect_eq(policy->checks[0].kind, CHECK_HTTP);
    cr_expect_eq(policy->checks[0].status_max, 399);
    cr_expect_eq(policy->checks[1].port, 99);
    cr_expect_eq(policy->checks[1].timeout_ns, UINT64_C(500000000));
    cr_expect_eq(policy->checks[2].kind, CHECK_TLS);
    cr_expect_eq(policy->ejection.latency_factor_pct, 300);
    cr_expect_eq(policy->ejection.success_rate_stdev_permille, 2500);
    cr_expect_eq(policy->limits.max_connections, 100);
    cr_expect_eq(policy->limits.retry_budget_pct, 10);
    cr_expect_eq(policy->race_ns, UINT64_C(250000000));
    manifests_free(set);
}

static bool file_names(const char *path, const char *key)
{
    struct text all = {0};
    FILE *file = fopen(path, "rb");
    cr_assert_not_null(file, "%s", path);
    for (int c = fgetc(file); c != EOF; c = fgetc(file))
        text_addc(&all, (char)c);
    (void)fclose(file);
    const bool found = str_contains(text_str(&all), str_from(key));
    text_fini(&all);
    return found;
}

static void expect_words_told(const struct traffic_field *field)
{
    for (const char *const *word = field->words; *word; word++) {
        char quoted[64];
        snprintf(quoted, sizeof(quoted), "\"%s\"", *word);
        cr_expect(file_names(EXAMPLES "/../../docs/traffic-policy.md", *word), "%s", *word);
        cr_expect(file_names(EXAMPLES "/../deploy/crds/trafficpolicies.yaml", quoted), "%s", *word);
    }
}

Test(k8s_traffic, every_field_is_in_the_documentation_and_in_the_schema)
{
    char name[128], key[128];
    for (size_t i = 0; i < n_traffic_fields; i++) {
        const struct traffic_field *field = &traffic_fields[i];
        snprintf(name, sizeof(name), "`%s%s%s`", field->section, *field->section ? "." : "",
                 field->key);
        snprintf(key, sizeof(key), " %s:\n", field->key);
        cr_expect(file_names(EXAMPLES "/../../docs/traffic-policy.md", name), "%s", name);
        cr_expect(file_names(EXAMPLES "/../deploy/crds/trafficpolicies.yaml", key), "%s", name);
        if (field->unit == TRAFFIC_WORD)
            expect_words_told(field);
    }
}

Test(k8s_traffic, knows_the_tiers)
{
    static const struct {
        const char *tier;
        uint64_t minutes;
    } rows[] = {{"critical", 5}, {"batch", 60}, {"development", 1440}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[512];
        snprintf(text, sizeof(text), HEAD REF "  tier: %s\n", rows[i].tier);
        struct manifests *set = read_text(text, &diag);
        cr_assert_not_null(set, "%s", said(&diag));
        cr_expect_eq(set->traffics[0].policy.recovery_time_ns,
                     rows[i].minutes * UINT64_C(60000000000), "%s", rows[i].tier);
        manifests_free(set);
    }
}

#define KEYS "  loadBalancing: {algorithm: Maglev, hashKeys: ["

Test(k8s_traffic, reads_what_of_a_request_is_hashed)
{
    struct manifests *set =
        read_text(HEAD REF KEYS "{header: X-User}, {cookie: {name: s, ttl: 1h}}, "
                                "{cookie: {name: t}}, {cookie: {name: u, ttl: 0s, path: /a}}"
                                "]}\n",
                  &diag);
    cr_assert_null(set, "two cookies that are given");
    diag_fini(&diag);
    begin();
    set = read_text(HEAD REF KEYS "{header: X-User}, {cookie: {name: t}}, "
                                  "{cookie: {name: u, ttl: 0s}}, {queryParameter: q}, {path: {}}, "
                                  "{sourceAddress: {}}, {sourcePrincipal: {}}]}\n"
                                  "  protocolDetection: {timeout: 100ms}\n",
                    &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    const struct traffic_policy *policy = &set->traffics[0].policy;
    cr_assert_eq(policy->n_hash_keys, 7);
    for (size_t i = 0; i < 7; i++)
        cr_expect(policy->hash_keys[i].is_terminal, "key %zu", i);
    cr_expect(str_eq(policy->hash_keys[0].name, STR("x-user")), "in lower case");
    cr_expect(policy->hash_keys[1].kind == HASH_KEY_COOKIE && !policy->hash_keys[1].is_given);
    cr_expect(policy->hash_keys[2].is_given && policy->hash_keys[2].ttl_ns == 0 &&
              str_eq(policy->hash_keys[2].path, STR("/")));
    cr_expect_eq(policy->hash_keys[3].kind, HASH_KEY_QUERY);
    cr_expect_eq(policy->hash_keys[6].kind, HASH_KEY_SOURCE_PRINCIPAL);
    cr_expect_eq(policy->detect_ns, UINT64_C(100000000));
    manifests_free(set);
}

/* Each is refused at its place: the document's line 5 is the targetRef. */
Test(k8s_traffic, refuses_bad_input_with_the_place)
{
    static const struct {
        const char *text, *sentence;
    } rows[] = {
        {"  loadBalancing: {algorithm: Fastest}\n",
         "m.yaml:6:30: error: spec.loadBalancing.algorithm: \"Fastest\" is not one of PeakEwma"},
        {"  loadBalancing: {choiceCount: 1}\n", "6:32: error: spec.loadBalancing.choiceCount"},
        {"  clusters: {mode: Weighted, members: [{name: a, weight: -1}]}\n",
         "6:58: error: spec.clusters.members[0].weight: \"-1\" is not a whole number"},
        {"  clusters: {members: [{name: a, priority: 0}, {name: b, priority: 2}]}\n",
         "6:48: error: spec.clusters.members[1].priority: 2 is there, but not 1"},
        {"  clusters: {members: [{name: a, priority: 0}, {name: b}]}\n", "1 of 2 have a priority"},
        {"  clusters: {mode: Weighted, members: [{name: a, weight: 4294967295}, {name: b, weight: "
         "1}]}\n",
         "6:39: error: spec.clusters.members: the weights sum up to 4294967296"},
        {"  locality: {mode: Weighted, weights: [{region: a, weight: 4294967295}, {region: b, "
         "weight: 1}]}\n",
         "6:39: error: spec.locality.weights: the weights sum up to 4294967296"},
        {"  clusters: {members: [{name: a, pricePerGB: cheap}]}\n",
         "6:46: error: spec.clusters.members[0].pricePerGB: \"cheap\" is not a price"},
        {"  clusters: {members: [{name: a, pricePerGB: .nan}]}\n", "\".nan\" is not a price"},
        {"  clusters: {members: [{name: a, pricePerGB: -0.1}]}\n", "\"-0.1\" is not a price"},
        {"  clusters: {members: [{name: a}, {name: a}]}\n",
         "\"a\" is the name of members[0] already"},
        {"  clusters: {mode: Weighted}\n", "needs at least one weight over 0"},
        {"  clusters: {allow: {}}\n", "spec.clusters.allow: is empty"},
        {"  failover: {panicThreshold: 50}\n", "\"50\" is not a percentage from 0% to 100%"},
        {"  ejection: {maxTime: 1s, baseTime: 2s}\n", "maxTime is under baseTime"},
        {"  loadBalancing: {maglev: {tableSize: 10}}\n", "10 is not a prime"},
        {"  loadBalancing: {ringHash: {minSize: 9, maxSize: 8}}\n", "minSize 9 is over maxSize 8"},
        {"  healthChecks: [{interval: 1s}]\n", "has 0 of tcp, tls, http and grpc"},
        {"  healthChecks: [{tcp: {}, http: {}}]\n", "has 2 of tcp, tls, http and grpc"},
        {"  healthChecks: [{http: {path: x}}]\n",
         "spec.healthChecks[0].http.path: \"x\" does not begin with /"},
        {"  healthChecks: [{tcp: {}}, {http: {expectedStatuses: {min: 1}}}]\n",
         "spec.healthChecks[1].http.expectedStatuses: \"1\" is not a whole number"},
        {"  healthChecks: [{tcp: {}}, {tls: []}]\n",
         "spec.healthChecks[1].tls: expected a mapping"},
        {"  healthChecks: [{tcp: {}}, {grpc: {name: a}}]\n",
         "spec.healthChecks[1].grpc.name: there"},
        {"  healthChecks: [{tcp: {}, port: []}]\n",
         "spec.healthChecks[0].port: expected a whole number from 1 to 65535, found a list"},
        {"  healthChecks: [{tcp: {}, interval: 1ms}]\n", "spec.healthChecks[0].interval"},
        {"  tier: gold\n", "so it needs a recoveryTime"},
        {"  tier: critical\n  recoveryTime: 1m\n", "promises a time of its own"},
        {"  ejections: {}\n", "did you mean \"ejection\"?"},
        {"  ejection: {maxEject: 5%}\n", "did you mean \"maxEjected\"?"},
        {"  timeouts: {connect: 5}\n", "spec.timeouts.connect: \"5\" is not a duration"},
        {"  protocolDetection: {timeout: 1us}\n", "spec.protocolDetection.timeout"},
        {"  loadBalancing: {algorithm: Maglev, hashKeys: []}\n",
         "6:48: error: spec.loadBalancing.hashKeys: is empty, expected at least one value"},
        {"  loadBalancing: {algorithm: Maglev, hashKeys: }\n",
         "6:38: error: spec.loadBalancing.hashKeys: is empty; give it a value or leave it out"},
        {KEYS "~]}\n", "hashKeys[0]: is empty, expected a mapping"},
        {KEYS "{header: }]}\n", "hashKeys[0].header: is empty"},
        {KEYS "{header: ''}]}\n", "hashKeys[0]: has no name"},
        {"  loadBalancing:\n", "6:3: error: spec.loadBalancing: is empty"},
        {"  loadBalancing: {choiceCount: }\n", "spec.loadBalancing.choiceCount: is empty"},
        {"  locality: {weights: []}\n", "6:23: error: spec.locality.weights: is empty"},
        {"  clusters: {members: []}\n", "6:23: error: spec.clusters.members: is empty"},
        {"  clusters: {members: [{name: }]}\n", "spec.clusters.members[0].name: is empty"},
        {"  clusters: {allow: {names: []}}\n", "6:29: error: spec.clusters.allow.names: is empty"},
        {"  clusters: {allow: {names: }}\n", "spec.clusters.allow.names: is empty"},
        {"  healthChecks: []\n", "6:17: error: spec.healthChecks: is empty"},
        {"  healthChecks: [{http: {path: }}]\n", "spec.healthChecks[0].http.path: is empty"},
        {"  tier:\n", "6:3: error: spec.tier: is empty"},
        {"  loadBalancing: {hashKeys: [{header: a}]}\n", "needs algorithm RingHash or Maglev"},
        {KEYS "{header: a, path: {}}]}\n", "hashKeys[0]: expected exactly one of header, cookie"},
        {KEYS "{header: a b}]}\n", "hashKeys[0]: \"a b\" is not the name of a header field"},
        {KEYS "{headers: a}]}\n", "did you mean \"header\"?"},
        {KEYS "{cookie: {ttl: 1h}}]}\n", "hashKeys[0]: has no name"},
        {KEYS "{cookie: {name: a, ttl: 1ms}}]}\n", "hashKeys[0].cookie.ttl"},
        {KEYS "{cookie: {name: a, path: /}}]}\n", "is of a cookie that is given; say its ttl too"},
        {KEYS "{cookie: {name: a, ttl: 1h, path: a}}]}\n", "does not begin with /"},
        {KEYS "{cookie: {name: a, ttl: 1h}}, {cookie: {name: b, ttl: 1h}}]}\n",
         "hashKeys[1]: \"b\" is the second cookie that is given"},
        {KEYS "{path: {}}], hashOn: SourceAddress}\n", "stands in place of hashOn"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024];
        begin();
        snprintf(text, sizeof(text), HEAD REF "%s", rows[i].text);
        cr_expect_null(read_text(text, &diag), "%s", rows[i].text);
        expect_said(&diag, rows[i].text, rows[i].sentence);
        end();
    }
    begin();
}

Test(k8s_traffic, refuses_targets_that_it_cannot_have)
{
    static const struct {
        const char *ref, *sentence;
    } rows[] = {
        {"  tier: batch\n", "spec.targetRef: is required"},
        {"  targetRef: {kind: Pod, name: x}\n", "\"Pod\" of group \"\" is neither a Service"},
        {"  targetRef: {kind: ServiceImport, name: x}\n", "nor a ServiceImport"},
        {"  targetRef: {kind: Service}\n", "spec.targetRef.name: is required"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[1024];
        begin();
        snprintf(text, sizeof(text), HEAD "%s", rows[i].ref);
        cr_expect_null(read_text(text, &diag), "%s", rows[i].ref);
        expect_said(&diag, rows[i].ref, rows[i].sentence);
        end();
    }
    begin();
}

#define SERVICE                                                                                    \
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"                      \
    "spec: {ports: [{port: 80}]}\n---\n"

Test(k8s_traffic, of_a_rival_or_of_nothing_is_told_by_isthmus_check)
{
    struct folder folder;
    struct text out = {0};
    folder_begin(&folder);
    const char *path =
        folder_write(&folder, "m.yaml",
                     SERVICE HEAD REF "---\napiVersion: isthmus.io/v1alpha1\nkind: TrafficPolicy\n"
                                      "metadata: {name: zeb, namespace: shop}\nspec:\n" REF
                                      "---\napiVersion: isthmus.io/v1alpha1\nkind: TrafficPolicy\n"
                                      "metadata: {name: lost, namespace: shop}\n"
                                      "spec: {targetRef: {kind: Service, name: gone}}\n");
    cr_expect(check_files(&path, 1, &out), "warnings only");
    cr_expect(
        str_contains(text_str(&out), STR("TrafficPolicy shop/zeb: has no effect: web is older")),
        "%s", out.ptr);
    cr_expect(
        str_contains(text_str(&out), STR("TrafficPolicy shop/lost: there is no Service \"gone\"")),
        "%s", out.ptr);
    text_clear(&out);
    path = folder_write(&folder, "m.yaml", HEAD REF "  loadBalancing: {algorithm: Fastest}\n");
    cr_expect_not(check_files(&path, 1, &out));
    cr_expect(str_contains(text_str(&out), STR("m.yaml:6:30: error: spec.loadBalancing.algorithm")),
              "%s", out.ptr);
    text_fini(&out);
    folder_end(&folder);
}

Test(k8s_traffic, two_endpoints_with_one_address_are_refused)
{
    cr_expect_null(read_text("apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                             "metadata: {name: s, labels: {kubernetes.io/service-name: web}}\n"
                             "addressType: IPv4\nendpoints:\n- addresses: [10.0.0.1]\n"
                             "- addresses: [10.0.0.2]\n- addresses: [10.0.0.1]\n",
                             &diag));
    expect_said(&diag, "slice",
                "m.yaml:8:3: error: endpoints[2].addresses: 10.0.0.1 is an address of endpoints[0] "
                "already");
}

Test(k8s_traffic, of_kubernetes_itself_is_read_from_the_service)
{
    struct manifests *set =
        read_text("apiVersion: v1\nkind: Service\nmetadata: {name: web, annotations: "
                  "{service.kubernetes.io/topology-mode: Auto}}\n"
                  "spec: {ports: [{port: 80}], internalTrafficPolicy: Local, trafficDistribution: "
                  "PreferClose}\n",
                  &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect(set->services[0].words.is_node_local && set->services[0].is_topology_aware);
    cr_expect_eq(set->services[0].words.distribution, DISTRIBUTION_SAME_ZONE);
    manifests_free(set);
    cr_expect_null(read_text("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
                             "spec: {ports: [{port: 80}], internalTrafficPolicy: Nearby}\n",
                             &diag));
    expect_said(&diag, "internal", "\"Nearby\" is not Cluster or Local");
}

/* A Service and a ServiceImport say it in the same words. */
static const char *const heads[] = {
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n"
    "  ports: [{port: 80}]\n  type: ClusterIP\n",
    "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceImport\n"
    "metadata: {name: web, namespace: shop}\nspec:\n  ports: [{port: 80}]\n  type: ClusterSetIP\n",
};

Test(k8s_traffic, affinity_and_locality_are_read_of_services_and_of_imports)
{
    static const struct {
        const char *words;
        struct service_words expected;
    } rows[] = {
        {"", {0}},
        {"  sessionAffinity: None\n", {0}},
        {"  sessionAffinity: ClientIP\n", {.affinity_s = 10800}},
        {"  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}\n",
         {.affinity_s = 5}},
        {"  internalTrafficPolicy: Local\n", {.is_node_local = true}},
        {"  trafficDistribution: PreferSameZone\n", {.distribution = DISTRIBUTION_SAME_ZONE}},
        {"  trafficDistribution: PreferSameNode\n", {.distribution = DISTRIBUTION_SAME_NODE}},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows) * 2; i++) {
        char text[1024];
        const struct service_words *expected = &rows[i / 2].expected;
        begin();
        snprintf(text, sizeof(text), "%s%s", heads[i % 2], rows[i / 2].words);
        struct manifests *set = read_text(text, &diag);
        cr_assert_not_null(set, "%s: %s", text, said(&diag));
        const struct service_words *words =
            i % 2 ? &set->imports[0].words : &set->services[0].words;
        cr_expect_eq(words->affinity_s, expected->affinity_s, "%s", text);
        cr_expect_eq(words->is_node_local, expected->is_node_local, "%s", text);
        cr_expect_eq(words->distribution, expected->distribution, "%s", text);
        manifests_free(set);
        end();
    }
    begin();
}

Test(k8s_traffic, affinity_and_locality_in_unknown_words_are_refused_with_the_place)
{
    static const struct {
        const char *words, *sentence;
    } rows[] = {
        {"  sessionAffinity: Cookie\n",
         "7:20: error: spec.sessionAffinity: \"Cookie\" is not None or ClientIP"},
        {"  sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}\n",
         "7:26: error: spec.sessionAffinityConfig: goes with sessionAffinity: ClientIP only"},
        {"  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: 0}}\n",
         "8:54: error: spec.sessionAffinityConfig.clientIP.timeoutSeconds"},
        {"  sessionAffinity: ClientIP\n  sessionAffinityConfig: {clientIP: {timeoutSeconds: "
         "86401}}\n",
         "8:54: error: spec.sessionAffinityConfig.clientIP.timeoutSeconds"},
        {"  internalTrafficPolicy: Nearby\n",
         "7:26: error: spec.internalTrafficPolicy: \"Nearby\" is not Cluster or Local"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows) * 2; i++) {
        char text[1024];
        begin();
        snprintf(text, sizeof(text), "%s%s", heads[i % 2], rows[i / 2].words);
        cr_expect_null(read_text(text, &diag), "%s", text);
        expect_said(&diag, text, rows[i / 2].sentence);
        end();
    }
    begin();
}

/* "loadBalancing.ringHash" and "minSize" as "  loadBalancing: {ringHash: {minSize: VALUE}}\n". */
static void write_field(const struct traffic_field *field, const char *value, char *buf,
                        size_t size)
{
    struct str rest = str_from(field->section), part;
    size_t len = (size_t)snprintf(buf, size, "  "), n_open = 0;
    while (rest.len > 0) {
        if (!str_split(rest, '.', &part, &rest)) {
            part = rest;
            rest = (struct str){0};
        }
        len += (size_t)snprintf(buf + len, size - len, "%.*s: {", STR_ARG(part));
        n_open++;
    }
    len += (size_t)snprintf(buf + len, size - len, "%s: %s", field->key, value);
    while (n_open-- > 0)
        len += (size_t)snprintf(buf + len, size - len, "}");
    (void)snprintf(buf + len, size - len, "\n");
}

static void expect_field_refused(const struct traffic_field *field, const char *value)
{
    char spec[256], text[1024], path[160];
    write_field(field, value, spec, sizeof(spec));
    snprintf(text, sizeof(text), HEAD REF "%s", spec);
    snprintf(path, sizeof(path), "error: spec.%s%s%s", field->section, *field->section ? "." : "",
             field->key);
    begin();
    cr_expect_null(read_text(text, &diag), "%s", spec);
    expect_said(&diag, spec, path);
    end();
}

Test(k8s_traffic, every_field_beyond_its_range_is_refused_with_its_path)
{
    static const char *const nonsense[] = {"-1",   ".nan", ".inf", "1e9", "99999999999999999999",
                                           "\"\"", "[]",   "{}",   "0x10"};
    static const char *const units[] = {
        [TRAFFIC_COUNT] = "", [TRAFFIC_PERCENT] = "%", [TRAFFIC_DURATION] = "ns"};

    for (size_t i = 0; i < n_traffic_fields; i++) {
        const struct traffic_field *field = &traffic_fields[i];
        char value[64];
        for (size_t j = 0; j < ARRAY_LEN(nonsense); j++)
            expect_field_refused(field, nonsense[j]);
        if (field->unit == TRAFFIC_WORD || field->unit == TRAFFIC_SWITCH)
            continue;
        if (field->unit == TRAFFIC_PERMILLE) {
            snprintf(value, sizeof(value), "%llu.001", (unsigned long long)field->max / 1000);
            expect_field_refused(field, value);
            continue;
        }
        snprintf(value, sizeof(value), "%llu%s", (unsigned long long)field->max + 1,
                 units[field->unit]);
        expect_field_refused(field, value);
        if (field->min < 2)
            continue;
        snprintf(value, sizeof(value), "%llu%s", (unsigned long long)field->min - 1,
                 units[field->unit]);
        expect_field_refused(field, value);
    }
    begin();
}
