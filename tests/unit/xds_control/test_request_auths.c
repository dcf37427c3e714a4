/* Whose tokens a workload takes: from manifests over the wire into a snapshot. */
#include <criterion/criterion.h>

#include "cluster.h"
#include "config/snapshot.h"
#include "tests/kit/jwt_kit.h"
#include "xds/codec.h"

static struct cluster cluster;
static struct snapshot *snapshot;

static void init(void)
{
    cluster_init(&cluster);
    cluster_pod(&cluster, "shop", "web", "10.1.0.1", "app: web");
    cluster_pod(&cluster, "shop", "db", "10.1.0.2", "app: db");
    cluster_pod(&cluster, "bank", "web", "10.1.0.3", "app: web");
}

static void fini(void)
{
    snapshot_free(snapshot);
    cluster_fini(&cluster);
}

TestSuite(request_auths, .init = init, .fini = fini, .timeout = 30);

#define KEYS                                                                                       \
    "{\\\"keys\\\":[{\\\"crv\\\":\\\"Ed25519\\\",\\\"kty\\\":\\\"OKP\\\",\\\"x\\\":"               \
    "\\\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\\\"}]}"

static void auth(const char *namespace_, const char *name, const char *spec)
{
    cluster_addf(&cluster,
                 "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: "
                 "{namespace: %s, name: %s}, spec: {%s jwtRules: [{issuer: %s, jwks: \"" KEYS
                 "\"}]}}",
                 namespace_, name, spec, name);
}

static void travel(const char *left_out)
{
    const struct registry *registry = cluster_build(&cluster);
    struct arena *arena = &cluster.arena;
    struct text why = {0};
    const struct model_resource **got =
        arena_new_array(arena, const struct model_resource *, registry->n_for_nodes);
    const struct vantage vantage = {.node = STR("n1"),
                                    .cluster = STR("west"),
                                    .trust_domain = STR("west.example"),
                                    .cluster_domain = STR("cluster.local")};
    size_t n = 0;

    for (size_t i = 0; i < registry->n_for_nodes; i++) {
        const struct model_resource *sent = registry->for_nodes[i];
        struct model_resource *one = arena_new(arena, struct model_resource);
        struct text bytes = {0};

        if (sent->kind == MODEL_BUNDLE)
            continue; /* the roots of these tests are none */
        const struct str name = xds_encode(sent, arena, &bytes);
        cr_assert_eq(xds_decode(xds_type_of_kind(sent->kind), name,
                                arena_str(arena, text_str(&bytes)), arena, one, &why),
                     0, "%s", why.ptr);
        text_fini(&bytes);
        if (!left_out || sent->kind != MODEL_REQUEST_AUTH || !str_eq(name, str_from(left_out)))
            got[n++] = one;
    }
    struct snapshot *next = snapshot_build_next(snapshot, got, n, &vantage, 1, true);
    snapshot_free(snapshot);
    snapshot = next;
}

static const struct token_set *set_of(const char *address)
{
    struct ip ip;

    cr_assert_eq(ip_parse(str_from(address), &ip), 0);
    return snapshot_workload_by_ip(snapshot, &ip)->tokens;
}

/* The issuers whose tokens are taken there, with the ports. */
static void expect(const char *address, const char *expected)
{
    const struct token_set *set = set_of(address);
    struct text all = {0};

    for (size_t i = 0; set && i < set->n_layers; i++) {
        const struct token_layer *layer = set->layers[i];

        cr_assert_eq(layer->n_rules, 1);
        text_addf(&all, " %.*s", STR_ARG(layer->rules[0].issuer));
        for (size_t p = 0; p < layer->n_ports; p++)
            text_addf(&all, ":%u", layer->ports[p]);
        cr_assert_not_null(layer->rules[0].keys);
    }
    if (set && set->missing.len > 0)
        text_addf(&all, " -%.*s", STR_ARG(set->missing));
    cr_assert(str_eq(text_str(&all), str_from(expected)), "%s: \"%s\", expected \"%s\"", address,
              all.len ? all.ptr : "", expected);
    text_fini(&all);
}

Test(request_auths, reach_whom_policies_would)
{
    cluster_service(&cluster, "shop", "store", "10.96.0.1", "{port: 80, targetPort: 8080}",
                    "app: db");
    cluster_service(&cluster, "shop", "store2", "10.96.0.2", "{port: 80, targetPort: 8081}",
                    "app: db");
    auth("isthmus-system", "mesh", "");
    auth("shop", "space", "");
    auth("shop", "pods", "selector: {matchLabels: {app: web}},");
    auth("shop", "service",
         "targetRefs: [{kind: Service, group: \"\", name: store}, {kind: Service, group: \"\", "
         "name: store2}],");
    travel(NULL);
    expect("10.1.0.1", " mesh space pods");
    expect("10.1.0.2", " mesh space service:8080:8081");
    expect("10.1.0.3", " mesh");
}

Test(request_auths, nobody_is_asked_where_there_are_none)
{
    travel(NULL);
    cr_assert_null(set_of("10.1.0.1"));
}

Test(request_auths, one_that_is_named_and_not_there_is_known_to_be_missing)
{
    auth("shop", "pods", "selector: {matchLabels: {app: web}},");
    travel("shop/pods");
    expect("10.1.0.1", " -shop/pods");
    cr_assert_null(set_of("10.1.0.2"));
}

Test(request_auths, keys_that_were_fetched_travel_with_the_rule)
{
    struct jwt_key key = jwt_key_new("ES256", "a");
    struct registry_keys keys = {STR("https://id.example/keys"), {0}};

    cluster_add(&cluster,
                "{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: "
                "{namespace: shop, name: a}, spec: {jwtRules: [{issuer: i, jwksUri: "
                "\"https://id.example/keys\"}]}}");
    cluster.keys = &keys;
    cluster.n_keys = 1;
    travel(NULL);
    cr_assert_null(set_of("10.1.0.1")->layers[0]->rules[0].keys, "none have come yet");
    keys.jwks = jwt_key_set(&key, 1, "", &cluster.arena);
    travel(NULL);
    const struct jwk_set *parsed = set_of("10.1.0.1")->layers[0]->rules[0].keys;
    cr_assert_not_null(parsed);
    travel(NULL);
    cr_assert_eq(set_of("10.1.0.1")->layers[0]->rules[0].keys, parsed,
                 "the next snapshot has the same");
    jwt_key_free(&key);
}
