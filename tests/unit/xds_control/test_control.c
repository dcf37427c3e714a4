/*
 * Whole control processes on loopback: two of them as peers, and a node that joins with nothing but
 * a token.
 */
#include <criterion/criterion.h>
#include <jansson.h>

#include "pair.h"
#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"
#include "xds/control/fingerprint.h"
#include "xds/control/inside.h"

#define WORKLOAD_ID "spiffe://west.example/ns/shop/sa/sa"

TestSuite(control, .init = pair_init, .fini = pair_fini, .timeout = 60);

static bool has_two_svids(void *ctx)
{
    (void)ctx;
    return guest.n_svids == 2;
}

static bool both_peers_are_connected(void *ctx)
{
    (void)ctx;
    return meter_total(METRIC_PEERS_CONNECTED) == 2;
}

Test(control, a_node_joins_with_a_token_and_learns_of_both_clusters)
{
    introduce();
    side_start(&west);
    side_start(&east);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);

    cr_assert(until(is_joined), "%s", guest.last_failure);

    const struct model_workload *pod = guest_find(&guest, EAST_POD)->of.workload;
    assert_str(pod->cluster, "east");
    assert_str(pod->trust_domain, "east.example");
    cr_assert_eq(pod->n_services, 1);
    assert_str(pod->services[0].service, CART);
    cr_assert_eq(pod->services[0].ports[0].target_port, 8080);
    const struct model_service *cart = guest_find(&guest, CART)->of.service;
    cr_assert_eq(cart->n_addresses, 1);
    cr_assert(cidr_contains(&west.cluster.config.ranges[0], &cart->addresses[0]));
    cr_assert_null(guest_find(&guest, "shop/secret.shop.svc.cluster.local"));
    cr_assert_null(guest_find(&guest, "shop/cart.shop.svc.cluster.local"));

    rotation_want(guest.rotation, STR(WORKLOAD_ID));
    cr_assert(until(has_two_svids), "%s", guest.last_failure);
    cr_assert_not_null(rotation_find(guest.rotation, STR(WORKLOAD_ID)));
    cr_assert_eq(meter_total(METRIC_CERTIFICATES_ISSUED), 2);
    cr_assert(until(both_peers_are_connected));
    cr_assert(side_status_has(&west, "\"name\":\"n1\",\"connected\":true"));
    cr_assert(side_status_has(&west, "\"name\":\"east\""));
    cr_assert(side_status_has(&west, "\"lease\":\"held\""));
    guest_close(&guest);
}

static bool guest_is_asked_away(void *ctx)
{
    (void)ctx;
    return guest.n_downs > 1 && channel_h2(guest.channel);
}

Test(control, the_certificate_of_a_workload_opens_no_stream)
{
    side_start(&west);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    rotation_want(guest.rotation, STR(WORKLOAD_ID));
    cr_assert(until(has_two_svids), "%s", guest.last_failure);
    tls_identity_unref(guest.identity);
    cr_assert_eq(tls_identity_new(rotation_find(guest.rotation, STR(WORKLOAD_ID)), &guest.identity),
                 0);
    guest.n_downs = 1;
    channel_redial(guest.channel);
    cr_assert(until(guest_is_asked_away));
    guest.is_connected = false;

    cr_assert(!run_until_set(loop, &guest.is_connected, 1000));
    guest_close(&guest);
}

static bool token_was_refused(void *ctx)
{
    (void)ctx;
    return str_contains(str_from(guest.last_failure), STR("not that of node n1"));
}

Test(control, a_node_with_a_wrong_token_gets_nothing)
{
    side_start(&west);
    guest_open(&guest, &west, "n1", "another-token-of-that-length");

    cr_assert(until(token_was_refused), "%s", guest.last_failure);

    cr_assert_eq(guest.n_svids, 0);
    cr_assert_geq(meter_total(METRIC_CERTIFICATES_REFUSED), 1);
    guest_close(&guest);
}

static bool guest_is_out(void *ctx)
{
    (void)ctx;
    return !guest.is_connected;
}

Test(control, a_node_that_is_taken_out_of_the_manifests_is_disconnected)
{
    side_start(&west);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(guest_is_connected));

    text_clear(&west.cluster.yaml);
    cluster_node(&west.cluster, "n2");
    side_publish(&west);

    cr_assert(until(guest_is_out));
    cr_assert(side_status_has(&west, "\"name\":\"n2\",\"connected\":false"));
    guest_close(&guest);
}

Test(control, a_silent_peer_loses_its_endpoints_after_the_lease_and_has_them_back_with_the_stream)
{
    introduce();
    west.cluster.config.peer_lease_ns = 300 * NS_PER_MS;
    side_start(&west);
    side_start(&east);
    cr_assert(until(west_has_east_pod));
    cr_assert(side_services_have(&west, "cart.shop.svc.clusterset.local"));
    const uint64_t down_at_ns = clock_mono_ns();
    side_stop(&east);

    cr_assert(until(west_has_no_east_pod));
    cr_assert_geq(clock_mono_ns() - down_at_ns, 290 * NS_PER_MS, "not at the first lost packet");
    cr_assert(side_services_have(&west, "cart.shop.svc.clusterset.local"), "its name stays");
    cr_assert(side_status_has(&west, "\"lease\":\"expired\""));

    side_start(&east);
    cr_assert(until(west_has_east_pod));
}

static bool east_pod_is_gone_from_guest(void *ctx)
{
    (void)ctx;
    return !guest_find(&guest, EAST_POD) && !guest_find(&guest, CART);
}

Test(control, an_export_that_is_taken_back_is_gone_everywhere)
{
    introduce();
    side_start(&west);
    side_start(&east);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(is_joined), "%s", guest.last_failure);

    text_clear(&east.cluster.yaml);
    cluster_namespace(&east.cluster, "shop", "");
    cluster_node(&east.cluster, "n1");
    cluster_pod(&east.cluster, "shop", "e", "10.2.0.1", "app: cart");
    side_publish(&east);

    cr_assert(until(east_pod_is_gone_from_guest));
    guest_close(&guest);
}

static bool guest_has_new_pod(void *ctx)
{
    (void)ctx;
    return guest_find(&guest, "east//v1/Pod/shop/new") != NULL;
}

static bool is_about_to_rebuild(const struct side *side)
{
    return side->control->is_stale || timer_is_running(&side->control->rebuild);
}

#define STILL_NS (300 * NS_PER_MS)
#define LOOK_NS  (100 * NS_PER_MS) /* so much a pause of the machine counts */

/* What each builds anew for having met the other is built; on a slow machine they wait for longer
 * before they do. */
static bool is_joined_and_still(void *ctx)
{
    static uint64_t looked_ns, still_ns;
    const uint64_t now_ns = clock_mono_ns(), since_ns = now_ns - looked_ns;
    looked_ns = now_ns;
    still_ns += since_ns < LOOK_NS ? since_ns : LOOK_NS;
    if (is_about_to_rebuild(&west) || is_about_to_rebuild(&east) || !is_joined(ctx) ||
        !side_status_has(&east, "from its stream"))
        still_ns = 0;
    return still_ns > STILL_NS;
}

/* In the cluster of the pod and in that of the peer. */
Test(control, a_pod_that_comes_costs_nobody_a_rebuild)
{
    introduce();
    side_start(&west);
    side_start(&east);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(is_joined_and_still), "%s", guest.last_failure);
    const int64_t n_rebuilds = meter_total(METRIC_CONTROL_REBUILDS);
    const int64_t n_patches = meter_total(METRIC_CONTROL_PATCHES);

    cluster_pod(&east.cluster, "shop", "new", "10.2.0.2", "app: cart");
    side_publish(&east);

    cr_assert(until(guest_has_new_pod));
    cr_assert_eq(meter_total(METRIC_CONTROL_REBUILDS), n_rebuilds);
    cr_assert_geq(meter_total(METRIC_CONTROL_PATCHES), n_patches + 2);
    guest_close(&guest);
}

static bool west_is_refused(void *ctx)
{
    (void)ctx;
    return !side_status_has(&west, "\"last_error\":\"\"");
}

Test(control, a_peer_that_does_not_know_us_tells_us_nothing)
{
    side_knows(&west, &east);
    side_start(&west);
    side_start(&east);

    cr_assert(until(west_is_refused));

    cr_assert(!side_endpoints_have(&west, EAST_POD));
    cr_assert(!side_services_have(&west, "cart.shop"));
    cr_assert(side_status_has(&west, "\"connected\":false,\"lease\":\"running out\""));
}

Test(control, addresses_and_the_peers_endpoints_survive_a_restart_of_ours)
{
    introduce();
    side_start(&west);
    side_start(&east);
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(is_joined), "%s", guest.last_failure);
    cr_assert(until(knows_easts_roots));
    const struct ip vip = guest_find(&guest, CART)->of.service->addresses[0];
    guest_close(&guest);
    side_stop(&west);
    side_stop(&east);

    side_start(&west);
    cr_assert(until(west_has_east_pod), "for one lease, without the peer");
    guest_open(&guest, &west, "n1", SIDE_TOKEN);
    cr_assert(until(is_joined), "%s", guest.last_failure);
    cr_assert(ip_eq(&guest_find(&guest, CART)->of.service->addresses[0], &vip));
    guest_close(&guest);
}

static bool error_is_told(void *ctx)
{
    (void)ctx;
    return side_status_has(&west, "broken.yaml");
}

static bool error_is_gone(void *ctx)
{
    return !error_is_told(ctx);
}

Test(control, a_broken_change_keeps_the_last_good_manifests_and_says_where)
{
    struct arena arena = {0};
    struct str path = arena_printf(&arena, "%s/broken.yaml", west.manifests_dir);
    log_set_level(LOG_ERROR);
    side_start(&west);
    cr_assert(side_status_has(&west, "\"loaded\":1,\"refused\":0"));

    cr_assert_eq(
        file_write_atomic(path, STR("apiVersion: v1\nkind: Pod\nmetadata: {name: \"-\"}\n"), 0600),
        0);
    cr_assert(until(error_is_told));
    cr_assert(side_status_has(&west, "broken.yaml:3:"));
    cr_assert(side_status_has(&west, "\"workloads\":1"));
    cr_assert_geq(meter_total(METRIC_MANIFESTS_REFUSED), 1);

    cr_assert_eq(file_remove(path), 0);
    cr_assert(until(error_is_gone));
    arena_fini(&arena);
}

Test(control, a_folder_whose_files_are_young_has_news_at_every_look)
{
    const int64_t now_ns = clock_wall_ns(), later_ns = now_ns + 3600 * (int64_t)NS_PER_SEC;
    side_publish(&west);
    cr_assert_neq(folder_fingerprint(west.manifests_dir, now_ns),
                  folder_fingerprint(west.manifests_dir, now_ns + 1));
    cr_assert_eq(folder_fingerprint(west.manifests_dir, later_ns),
                 folder_fingerprint(west.manifests_dir, later_ns + 1));
    cr_assert_neq(folder_fingerprint(west.manifests_dir, now_ns),
                  folder_fingerprint(west.manifests_dir, later_ns), "one more look when it is old");
}

Test(control, the_first_manifests_must_be_good)
{
    struct text why = {0};
    cluster_add(&west.cluster, "{apiVersion: v1, kind: Node}");
    side_publish(&west);

    side_start_badly(&west, &why);

    cr_assert(str_contains(text_str(&why), STR("all.yaml:")), "%s", why.ptr);
    text_fini(&why);
}

Test(control, what_operators_are_shown_is_json)
{
    static void (*const writers[])(const struct control *, struct text *) = {
        control_status_json, control_services_json, side_endpoints_json};
    introduce();
    cluster_export(&west.cluster, "shop", "nothing", "2026-01-01T00:00:00Z");
    side_start(&west);
    side_start(&east);
    cr_assert(until(west_has_east_pod));
    for (size_t i = 0; i < ARRAY_LEN(writers); i++) {
        struct text text = {0};
        json_error_t error;
        writers[i](west.control, &text);
        json_t *json = json_loadb(text.ptr, text.len, 0, &error);
        cr_assert_not_null(json, "%s in %s", error.text, text.ptr);
        json_decref(json);
        text_fini(&text);
    }
    cr_assert(side_status_has(&west, "\"reason\":\"NoService\""));
}

Test(control, endpoints_come_in_pages)
{
    static const struct {
        struct control_page page;
        long long n, total;
    } rows[] = {
        {{{"", 0}, 0, 1000}, 1, 1},       {{{"", 0}, 0, 1}, 1, 1},     {{{"", 0}, 1, 1}, 0, 1},
        {{{"cart.shop", 9}, 0, 9}, 1, 1}, {{{"none", 4}, 0, 9}, 0, 0},
    };

    introduce();
    side_start(&west);
    side_start(&east);
    cr_assert(until(west_has_east_pod));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct text text = {0};
        control_endpoints_json(west.control, &rows[i].page, &text);
        json_t *json = json_loadb(text.ptr, text.len, 0, NULL);
        cr_assert_not_null(json, "%s", text.ptr);
        cr_expect_eq(json_integer_value(json_object_get(json, "total")), rows[i].total,
                     "row %zu: %s", i, text.ptr);
        cr_expect_eq((long long)json_array_size(json_object_get(json, "endpoints")), rows[i].n,
                     "row %zu: %s", i, text.ptr);
        json_decref(json);
        text_fini(&text);
    }
}
