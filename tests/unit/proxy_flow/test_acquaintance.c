#include <criterion/criterion.h>

#include "proxy/flow/acquaintance.h"

TestSuite(acquaintance, .timeout = 10);

static struct acquaintances all;
static struct traffic *traffic;

static struct traffic_series *count_once(const char *workload)
{
    struct traffic_labels labels = {0};
    labels.value[LABEL_REPORTER] = STR("source");
    labels.value[LABEL_SOURCE_WORKLOAD] = str_from(workload);
    labels.value[LABEL_SOURCE_WORKLOAD_NAMESPACE] = STR("ns");
    return traffic_request(traffic, &labels, &(struct traffic_request){0});
}

/* Pointers that nobody follows. */
static struct acquaintance_key key_of(uintptr_t source, uintptr_t destination)
{
    return (struct acquaintance_key){.source = (const void *)source,
                                     .destination = (const void *)destination,
                                     .service = (const void *)(uintptr_t)0x30};
}

static const struct ending ok = {.status = 200};

static void keep(uint64_t generation, const struct acquaintance_key *key, const char *workload)
{
    struct traffic_series *const series[2] = {count_once(workload)};
    acquaintance_keep(acquaintances_place(&all, generation, key), key,
                      traffic_names(traffic, series[0]), series, &ok);
}

static bool knows(uint64_t generation, const struct acquaintance_key *key)
{
    const struct acquaintance *place = acquaintances_place(&all, generation, key);
    return place->series[0] && acquaintance_key_eq(&place->key, key);
}

Test(acquaintance, is_known_by_its_key_until_another_generation_asks)
{
    const struct acquaintance_key a = key_of(0x10, 0x20), b = key_of(0x20, 0x10);
    traffic = traffic_new();
    keep(7, &a, "a");
    keep(7, &b, "b");
    cr_expect(knows(7, &a) && knows(7, &b));
    cr_expect_eq(traffic_forget_idle(traffic, STR("ns"), STR("a")), 0, "it is held");

    cr_expect_not(knows(8, &b));
    cr_expect_not(knows(8, &a));
    cr_expect_eq(traffic_forget_idle(traffic, STR("ns"), STR("a")), 1, "nobody holds it");
    acquaintances_forget(&all);
    traffic_free(traffic);
}

Test(acquaintance, gives_its_place_to_whoever_comes)
{
    traffic = traffic_new();
    for (uintptr_t i = 1; i <= 4 * ACQUAINTANCES; i++) {
        const struct acquaintance_key key = key_of(i << 4, 0x20);
        keep(1, &key, i % 2 ? "odd" : "even");
        cr_assert(knows(1, &key));
        const struct str name = acquaintances_place(&all, 1, &key)->names[LABEL_SOURCE_WORKLOAD];
        cr_assert(str_eq(name, i % 2 ? STR("odd") : STR("even")));
    }
    acquaintances_forget(&all);
    cr_expect_eq(traffic_forget_idle(traffic, STR("ns"), STR("odd")), 1);
    cr_expect_eq(traffic_forget_idle(traffic, STR("ns"), STR("even")), 1);
    traffic_free(traffic);
}

Test(acquaintance, ended_so_when_every_number_is_the_same)
{
    const struct ending base = {.status = 200};
    const struct ending others[] = {
        {.status = 404},
        {.status = 200, .err = -1},
        {.status = 200, .is_spent = true},
        {.status = 200, .is_mutual_tls = true},
        {.status = 200, .is_same_node = true},
        {.status = 200, .is_grpc = true},
    };
    const struct acquaintance known = {.ending = base};
    cr_expect(acquaintance_ended_so(&known, &base));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        cr_expect_not(acquaintance_ended_so(&known, &others[i]), "row %zu", i);
}
