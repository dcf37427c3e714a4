#include <criterion/criterion.h>
#include <jansson.h>
#include <string.h>

#include "proxy/admin/views.h"
#include "proxy/base/clock.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/test_ca.h"
#include "tests/unit/config/mesh.h"

#define REDIS "shop/redis.shop.svc.clusterset.local"
#define WEB   "shop/web.shop.svc.cluster.local"

TestSuite(views, .timeout = 30);

static json_t *parse(struct text *page)
{
    json_error_t error;
    json_t *json = json_loadb(page->ptr, page->len, 0, &error);
    cr_assert_not_null(json, "%s: %s", error.text, page->ptr);
    text_fini(page);
    return json;
}

static json_t *view(const struct mesh *mesh, const char *host,
                    void (*fn)(const struct snapshot *snapshot, struct str host, struct text *out))
{
    struct text page = {0};
    struct snapshot *snapshot = mesh_build(mesh);
    fn(snapshot, str_from(host), &page);
    snapshot_free(snapshot);
    return parse(&page);
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    cr_assert_not_null(text, "%s is no string", key);
    return text;
}

static long long number_of(const json_t *object, const char *key)
{
    cr_assert(json_is_integer(json_object_get(object, key)), "%s is no number", key);
    return json_integer_value(json_object_get(object, key));
}

static struct mesh mesh;

/* redis with three endpoints in two clusters, one of them unready, one with IPv6 only; web with
 * none. */
static void make_shop(void)
{
    mesh_begin(&mesh);
    mesh_service(&mesh, WEB, "10.96.0.9", "http:80:8080 quic:80:8080/udp");
    mesh_service(&mesh, REDIS, "10.96.0.7 fd00::7", "redis:6379:6379 stats:9100:9100");
    mesh_workload(&mesh, "west", "redis-0", "n1", "10.0.0.1 fd01::1", REDIS);
    mesh_workload(&mesh, "east", "redis-1", "n7", "10.1.0.1", REDIS)->is_healthy = false;
    mesh_workload(&mesh, "east", "redis-2", "n8", "fd01::3", REDIS);
}

Test(views, services_are_sorted_and_complete)
{
    make_shop();
    json_t *page = view(&mesh, "", view_services);
    const json_t *services = json_object_get(page, "services");
    cr_assert_eq(json_array_size(services), 2);
    const json_t *redis = json_array_get(services, 0), *web = json_array_get(services, 1);
    cr_expect_str_eq(text_of(redis, "host"), "redis.shop.svc.clusterset.local");
    cr_expect_str_eq(text_of(redis, "namespace"), "shop");
    cr_expect_str_eq(text_of(redis, "scope"), "clusterset");
    cr_expect(json_is_false(json_object_get(redis, "headless")));
    const json_t *vips = json_object_get(redis, "vips");
    cr_expect_str_eq(json_string_value(json_array_get(vips, 0)), "10.96.0.7");
    cr_expect_str_eq(json_string_value(json_array_get(vips, 1)), "fd00::7");
    const json_t *clusters = json_object_get(redis, "clusters");
    cr_assert_eq(json_array_size(clusters), 2);
    cr_expect_str_eq(json_string_value(json_array_get(clusters, 0)), "east");
    cr_expect_str_eq(json_string_value(json_array_get(clusters, 1)), "west");
    cr_expect_str_eq(text_of(web, "host"), "web.shop.svc.cluster.local");
    cr_expect_str_eq(text_of(web, "scope"), "cluster");
    cr_expect_eq(json_array_size(json_object_get(web, "clusters")), 0);
    json_decref(page);
    mesh_end(&mesh);
}

Test(views, ports_count_each_workload_once_whatever_its_families)
{
    make_shop();
    json_t *page = view(&mesh, "redis", view_services);
    cr_assert_eq(json_array_size(json_object_get(page, "services")), 1);
    const json_t *ports =
        json_object_get(json_array_get(json_object_get(page, "services"), 0), "ports");
    cr_assert_eq(json_array_size(ports), 2);
    const json_t *port = json_array_get(ports, 0);
    cr_expect_str_eq(text_of(port, "name"), "redis");
    cr_expect_str_eq(text_of(port, "protocol"), "TCP");
    cr_expect_eq(number_of(port, "port"), 6379);
    cr_expect_eq(number_of(port, "target_port"), 6379);
    cr_expect_eq(number_of(port, "endpoints"), 3);
    cr_expect_eq(number_of(port, "ready"), 2);
    json_decref(page);
    mesh_end(&mesh);
}

Test(views, ports_of_udp_are_named_and_never_served)
{
    make_shop();
    json_t *page = view(&mesh, "web", view_services);
    const json_t *ports =
        json_object_get(json_array_get(json_object_get(page, "services"), 0), "ports");
    cr_assert_eq(json_array_size(ports), 2);
    cr_expect_str_eq(text_of(json_array_get(ports, 0), "protocol"), "TCP");
    cr_expect_str_eq(text_of(json_array_get(ports, 1), "protocol"), "UDP");
    cr_expect_eq(number_of(json_array_get(ports, 1), "endpoints"), 0);
    json_decref(page);
    mesh_end(&mesh);
}

Test(views, a_part_of_a_host_selects_and_nothing_gives_an_empty_list)
{
    static const struct {
        const char *part;
        size_t services;
    } rows[] = {{"", 2}, {"redis", 1}, {"clusterset", 1}, {"web.", 1}, {"Redis", 0}, {"x", 0}};

    make_shop();
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        json_t *services = view(&mesh, rows[i].part, view_services);
        cr_expect_eq(json_array_size(json_object_get(services, "services")), rows[i].services, "%s",
                     rows[i].part);
        json_decref(services);
    }
    mesh_end(&mesh);
}

Test(views, an_empty_snapshot_gives_an_empty_list)
{
    mesh_begin(&mesh);
    json_t *services = view(&mesh, "", view_services);
    cr_expect(json_is_array(json_object_get(services, "services")));
    json_decref(services);
    mesh_end(&mesh);
}

/* ---- certificates ---- */

static void request_nothing(struct cert_source *source, struct str id, struct str csr_pem)
{
    (void)source;
    (void)id;
    (void)csr_pem;
}

static void cancel_nothing(struct cert_source *source)
{
    (void)source;
}

static void on_svid(void *owner, struct str id, struct svid *svid)
{
    (void)owner;
    (void)id;
    (void)svid;
}

Test(views, certificates_show_what_is_held_what_is_awaited_and_whom_we_trust)
{
    struct loop *loop = loop_new();
    struct test_ca *ca = test_ca_new("td");
    struct svid *svid = test_svid_new(ca, "spiffe://td/ns/shop/sa/web");
    struct cert_source source = {.request = request_nothing, .cancel_all = cancel_nothing};
    const struct rotation_events events = {.on_svid = on_svid};
    struct rotation *rotation = rotation_new(loop, &source, &events, NULL);
    struct trust *trust = NULL;
    struct text page = {0};
    char until[CLOCK_TEXT_MAX];
    test_trust_add(&trust, "td", ca);
    test_trust_add(&trust, "another", ca);
    rotation_want(rotation, STR("spiffe://td/ns/shop/sa/web"));
    rotation_want(rotation, STR("spiffe://td/ns/shop/sa/db"));
    rotation_offer(rotation, svid_ref(svid));
    run_turns(loop, 3);

    view_certificates((const struct rotation *const[]){rotation}, 1, trust, &page);
    json_t *json = parse(&page);
    const json_t *list = json_object_get(json, "certificates");
    cr_assert_eq(json_array_size(list), 2);
    const json_t *db = json_array_get(list, 0), *web = json_array_get(list, 1);
    cr_expect_str_eq(text_of(db, "identity"), "spiffe://td/ns/shop/sa/db");
    cr_expect_str_eq(text_of(db, "state"), "requested");
    cr_expect(json_is_null(json_object_get(db, "not_after")));
    cr_expect_str_eq(text_of(web, "state"), "held");
    cr_expect(str_eq(str_from(text_of(web, "serial")), svid->serial));
    cr_expect_str_eq(text_of(web, "not_after"), clock_text(svid->not_after_ns, until));
    const json_t *bundles = json_object_get(json, "bundles");
    cr_assert_eq(json_array_size(bundles), 2);
    cr_expect_str_eq(text_of(json_array_get(bundles, 0), "trust_domain"), "another");
    cr_expect_eq(number_of(json_array_get(bundles, 1), "roots"), 1);
    cr_expect(json_is_string(json_object_get(json_array_get(bundles, 1), "not_after")));

    json_decref(json);
    rotation_free(rotation);
    trust_unref(trust);
    svid_unref(svid);
    test_ca_free(ca);
    loop_finish(loop);
}
