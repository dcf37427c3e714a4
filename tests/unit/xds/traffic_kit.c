#include "traffic_kit.h"

#include <criterion/criterion.h>

#include "proxy/base/err.h"

struct arena arena;
struct text why;

void traffic_fini(void)
{
    arena_fini(&arena);
    text_fini(&why);
    why = (struct text){0};
}

struct str traffic_encode(const struct traffic_policy *policy)
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

int traffic_decode_bytes(struct str bytes, struct traffic_policy *out)
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

int traffic_decode(const Envoy__Config__Cluster__V3__Cluster *cluster, struct traffic_policy *out)
{
    struct text bytes = {0};
    int err;

    wire_pack(&cluster->base, &bytes);
    err = traffic_decode_bytes(text_str(&bytes), out);
    text_fini(&bytes);
    return err;
}

bool is_refused(const Envoy__Config__Cluster__V3__Cluster *cluster, const char *sentence)
{
    struct traffic_policy policy;

    return traffic_decode(cluster, &policy) == -ERR_INVALID &&
           str_contains(text_str(&why), str_from(sentence));
}

const char *refusal(void)
{
    return why.ptr ? why.ptr : "";
}

Envoy__Config__Cluster__V3__Cluster plain(void)
{
    Envoy__Config__Cluster__V3__Cluster cluster = ENVOY__CONFIG__CLUSTER__V3__CLUSTER__INIT;

    cluster.name = (char *)(uintptr_t)NAME;
    return cluster;
}
