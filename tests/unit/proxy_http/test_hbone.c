#include <criterion/criterion.h>
#include <string.h>

#include "proxy/http/hbone.h"
#include "tests/kit/expect_str.h"

TestSuite(hbone, .timeout = 10);

static struct arena arena;

static void forget(void)
{
    arena_fini(&arena);
}

Test(hbone, baggage_says_what_is_known_and_leaves_out_the_rest, .fini = forget)
{
    const struct workload full = {.cluster = STR("west"),
                                  .namespace_ = STR("shop"),
                                  .workload_name = STR("cart"),
                                  .canonical_name = STR("cart-app"),
                                  .canonical_revision = STR("v2")};
    const struct workload some = {.namespace_ = STR("shop"), .canonical_revision = STR("v2")};
    const struct workload none = {0};

    expect_str(hbone_baggage(&arena, &full),
               "k8s.cluster.name=west,k8s.namespace.name=shop,k8s.deployment.name=cart,"
               "service.name=cart-app,service.version=v2");
    expect_str(hbone_baggage(&arena, &some), "k8s.namespace.name=shop,service.version=v2");
    expect_str(hbone_baggage(&arena, &none), "");
}

Test(hbone, baggage_that_was_written_is_read_back, .fini = forget)
{
    const struct workload workload = {.cluster = STR("west"),
                                      .namespace_ = STR("shop"),
                                      .workload_name = STR("cart"),
                                      .canonical_name = STR("cart-app"),
                                      .canonical_revision = STR("v2")};
    struct hbone_labels labels;

    hbone_parse_baggage(hbone_baggage(&arena, &workload), &labels);

    expect_str(labels.cluster, "west");
    expect_str(labels.namespace_, "shop");
    expect_str(labels.workload, "cart");
    expect_str(labels.service, "cart-app");
    expect_str(labels.revision, "v2");
    expect_str(labels.region, "");
}

Test(hbone, ztunnels_baggage_is_read)
{
    static const struct {
        const char *baggage, *workload, *region, *zone;
    } rows[] = {
        {"k8s.pod.name=a,cloud.region=eu,cloud.availability_zone=eu-1", "a", "eu", "eu-1"},
        {"k8s.job.name=b", "b", "", ""},
        {"k8s.cronjob.name=c", "c", "", ""},
        {"k8s.deployment.name=d,unknown.key=x,,=,k8s.", "d", "", ""},
        {"k8s.deployment.name=with=sign", "with=sign", "", ""},
        {"k8s.deployment.name=", "", "", ""},
        {"k8s.deployment.name", "", "", ""},
        {"", "", "", ""},
        {",,,,", "", "", ""},
        {"====", "", "", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct hbone_labels labels;
        memset(&labels, 0xff, sizeof labels);
        hbone_parse_baggage(str_from(rows[i].baggage), &labels);
        expect_str(labels.workload, rows[i].workload);
        expect_str(labels.region, rows[i].region);
        expect_str(labels.zone, rows[i].zone);
        expect_str(labels.cluster, "");
    }
}

Test(hbone, a_name_that_is_too_long_is_none)
{
    static const size_t lens[] = {253, 254};
    char baggage[300] = "k8s.pod.name=";
    const size_t begin = strlen(baggage);

    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        struct hbone_labels labels;
        memset(baggage + begin, 'x', lens[i]);
        hbone_parse_baggage(str_of(baggage, begin + lens[i]), &labels);
        cr_expect_eq(labels.workload.len, i == 0 ? lens[i] : 0);
    }
}

Test(hbone, forwarded_is_written_as_ztunnel_does, .fini = forget)
{
    struct addr v4, v6;
    cr_assert_eq(addr_parse(STR("10.0.0.1:34567"), &v4), 0);
    cr_assert_eq(addr_parse(STR("[fd00::1]:34567"), &v6), 0);

    expect_str(hbone_forwarded(&arena, &v4, (struct str){0}), "for=\"10.0.0.1:34567\"");
    expect_str(hbone_forwarded(&arena, &v4, STR("svc.ns.svc.cluster.local")),
               "for=\"10.0.0.1:34567\";host=svc.ns.svc.cluster.local");
    expect_str(hbone_forwarded(&arena, &v6, (struct str){0}), "for=\"[fd00::1]:34567\"");
}

Test(hbone, forwarded_is_read_whatever_its_form)
{
    static const struct {
        const char *forwarded, *client, *host;
    } rows[] = {
        {"for=\"10.0.0.1:34567\"", "10.0.0.1:34567", ""},
        {"for=10.0.0.1:34567;host=a.b", "10.0.0.1:34567", "a.b"},
        {"host=\"a.b\";for=\"[fd00::1]:80\"", "[fd00::1]:80", "a.b"},
        {"For=\"10.0.0.1:1\";HOST=a", "10.0.0.1:1", "a"},
        {"for=\"10.0.0.1:1\", for=\"10.0.0.2:2\"", "10.0.0.1:1", ""},
        {"for=\"10.0.0.1\"", NULL, ""},
        {"for=unknown;host=a", NULL, "a"},
        {"for=\"_hidden\"", NULL, ""},
        {"for=\"10.0.0.1:99999\"", NULL, ""},
        {"for=\"", NULL, ""},
        {"for", NULL, ""},
        {";;;", NULL, ""},
        {",for=\"10.0.0.1:1\"", NULL, ""},
        {"", NULL, ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct addr client;
        struct str host;
        char text[ADDR_TEXT_MAX];
        memset(&client, 0xff, sizeof client);
        hbone_parse_forwarded(str_from(rows[i].forwarded), &client, &host);
        if (rows[i].client)
            cr_expect_str_eq(addr_text(&client, text), rows[i].client, "%s", rows[i].forwarded);
        else
            cr_expect(ip_is_none(&client.ip), "%s", rows[i].forwarded);
        expect_str(host, rows[i].host);
    }
}

Test(hbone, a_traceparent_is_new_each_time_and_well_formed, .fini = forget)
{
    struct rng rng;
    struct str before = {0};
    rng_seed(&rng, 1);
    for (int i = 0; i < 100; i++) {
        const struct str now = hbone_traceparent(&arena, &rng);
        cr_assert_eq(now.len, TRACEPARENT_LEN);
        cr_expect(str_starts_with(now, STR("00-")) && str_ends_with(now, STR("-00")));
        cr_expect(now.ptr[35] == '-' && now.ptr[52] == '-');
        for (size_t at = 3; at < 52; at++)
            cr_expect(at == 35 || strchr("0123456789abcdef", now.ptr[at]));
        cr_expect_not(str_eq(now, before));
        before = now;
    }
}

Test(hbone, a_traceparent_is_told_from_what_is_none, .fini = forget)
{
    static const struct {
        const char *text;
        bool is_one;
    } rows[] = {
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", true},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-011", false},
        {"01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01", false},
        {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b716920333\"-01", false},
        {"", false},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        cr_expect_eq(hbone_is_traceparent(str_from(rows[i].text)), rows[i].is_one, "%s",
                     rows[i].text);
}
