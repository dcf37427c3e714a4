/* What a node of a large cluster holds of each workload that it knows. */
#include <criterion/criterion.h>
#include <malloc.h>

#include "xds/codec.h"
#include "xds/held.h"

TestSuite(held_memory, .timeout = 30);

#define N_WORKLOADS 2000

struct sort {
    const char *name;
    void (*make)(struct arena *arena, unsigned number, struct model_workload *workload);
};

static struct model_membership *serves(struct arena *arena, const char *service, const char *port)
{
    struct model_membership *membership = arena_new(arena, struct model_membership);
    struct model_port *made = arena_new(arena, struct model_port);
    *made = (struct model_port){80, 8080, APP_HTTP11, str_from(port), false};
    *membership =
        (struct model_membership){.service = str_from(service), .ports = made, .n_ports = 1};
    return membership;
}

static void make_bare(struct arena *arena, unsigned number, struct model_workload *workload)
{
    *workload = (struct model_workload){
        .uid = arena_printf(arena, "west//Pod/shop/pod-%u", number),
        .name = arena_printf(arena, "pod-%u", number),
        .namespace_ = STR("shop"),
        .service_account = STR("default"),
        .trust_domain = STR("west.example"),
        .node = STR("node-1"),
        .cluster = STR("west"),
    };
}

static void make_short(struct arena *arena, unsigned number, struct model_workload *workload)
{
    *workload = (struct model_workload){
        .uid = arena_printf(arena, "west//Pod/crowd/pod-%u", number),
        .name = arena_printf(arena, "pod-%u", number),
        .namespace_ = STR("crowd"),
        .service_account = STR("crowd"),
        .trust_domain = STR("west.example"),
        .node = STR("elsewhere"),
        .cluster = STR("west"),
        .network = STR("west"),
        .canonical_name = arena_printf(arena, "service-%u", number / 10),
        .canonical_revision = STR("latest"),
        .workload_name = arena_printf(arena, "pod-%u", number),
        .region = STR("region-x"),
        .zone = STR("zone-x"),
        .services = serves(arena, "crowd/service-1000.crowd.svc.clusterset.local", "http"),
        .n_services = 1,
    };
}

/* As deployments of a cloud have them. */
static void make_long(struct arena *arena, unsigned number, struct model_workload *workload)
{
    *workload = (struct model_workload){
        .uid = arena_printf(
            arena, "eu-west-1-prod//v1/Pod/payments-prod/checkout-api-7d9f8b6c5d-%05u", number),
        .name = arena_printf(arena, "checkout-api-7d9f8b6c5d-%05u", number),
        .namespace_ = STR("payments-prod"),
        .service_account = STR("checkout-api"),
        .trust_domain = STR("prod.mesh.example.com"),
        .node = STR("ip-10-0-131-27.eu-west-1.compute.internal"),
        .cluster = STR("eu-west-1-prod"),
        .network = STR("eu-west-1-vpc"),
        .canonical_name = STR("checkout-api"),
        .canonical_revision = STR("2026-11-27-4f2a9c1"),
        .workload_name = STR("checkout-api"),
        .region = STR("eu-west-1"),
        .zone = STR("eu-west-1a"),
        .pod_uid = arena_printf(arena, "2f0d4c1e-7b1a-4f3e-9c58-0a6de4b%05u", number),
        .services =
            serves(arena, "payments-prod/checkout-api.payments-prod.svc.clusterset.local", "http"),
        .n_services = 1,
    };
}

static void put_one(struct held *held, const struct sort *sort, unsigned number)
{
    struct arena arena = {0};
    struct text bytes = {0}, why = {0};
    struct model_workload workload;
    struct model_resource resource = {.kind = MODEL_WORKLOAD, .of.workload = &workload};
    sort->make(&arena, number, &workload);
    workload.addresses[0] =
        (struct ip){4, {10, (uint8_t)(number >> 16), (uint8_t)(number >> 8), (uint8_t)number}};
    workload.n_addresses = 1;
    workload.speaks_hbone = workload.is_healthy = true;
    workload.capacity = 1;
    const struct held_source source = {
        .type = XDS_ADDRESS,
        .name = xds_encode(&resource, &arena, &bytes),
        .version = STR("0123456789abcdef0123456789abcdef"),
        .bytes = text_str(&bytes),
    };
    struct held_item *item = held_item_new(&source, &why);
    cr_assert_not_null(item, "%s", why.ptr);
    held_put(held, item);
    arena_fini(&arena);
    text_fini(&bytes);
}

static size_t heap_bytes(void)
{
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

/* A chunk is never smaller; and beside it are the item, and its places in the list and the map. */
#define CHUNK_LEAST_BYTES 992
#define BESIDE_BYTES_MOST 360

Test(held_memory, a_workload_takes_one_chunk_of_its_size_whatever_it_is_called)
{
    static const struct sort sorts[] = {
        {"bare", make_bare},
        {"short names", make_short},
        {"long names", make_long},
    };
    for (size_t i = 0; i < ARRAY_LEN(sorts); i++) {
        struct held held = {0};
        const size_t before = heap_bytes();
        for (unsigned n = 0; n < N_WORKLOADS; n++)
            put_one(&held, &sorts[i], n);
        const size_t each = (heap_bytes() - before) / N_WORKLOADS;
        const size_t used = held.items[0]->resource.arena.allocated_bytes;
        const size_t least = used > CHUNK_LEAST_BYTES ? used : CHUNK_LEAST_BYTES;
        if (before > 0) /* a sanitizer's heap tells nothing */
            cr_expect_lt(each, least + BESIDE_BYTES_MOST, "%s: %zu bytes each, %zu of them in use",
                         sorts[i].name, each, used);
        held_fini(&held);
    }
}
