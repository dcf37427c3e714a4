#include <criterion/criterion.h>
#include <string.h>

#include "config/endpoint.h"

TestSuite(endpoint);

static const struct {
    const char *text;
    const char *fault; /* a part of the sentence; NULL: good */
} rows[] = {
    {"unix:///run/spire/agent.sock", NULL},
    {"unix:/run/spire/agent.sock", NULL},
    {"tcp://127.0.0.1:8081", NULL},
    {"tcp://[::1]:8081", NULL},
    {"", "is empty"},
    {"\t", "control character"},
    {"blah", "must begin with unix:// or tcp://"},
    {"http://127.0.0.1:1", "must begin with unix:// or tcp://"},
    {"unix:opaque", "not opaque"},
    {"unix://", "has no path"},
    {"unix:///", "has no path"},
    {"unix://host/path", "authority"},
    {"unix://john:doe@foo/path", "user information"},
    {"unix:///foo?whatever", "query"},
    {"unix:///foo#whatever", "fragment"},
    {"unix:///a%20b", "percent-encoding"},
    {"tcp:opaque", "not opaque"},
    {"tcp://", "host and a port"},
    {"tcp://1.2.3.4", "host and a port"},
    {"tcp://1.2.3.4:0", "host and a port"},
    {"tcp://1.2.3.4:65536", "host and a port"},
    {"tcp://1.2.3.4:5?whatever", "query"},
    {"tcp://1.2.3.4:5#whatever", "fragment"},
    {"tcp://john:doe@1.2.3.4:5", "user information"},
    {"tcp://1.2.3.4:5/path", "path"},
    {"tcp://1.2.3.4:5/", "path"},
    {"tcp://foo:9", "IP address"},
};

Test(endpoint, w2_an_address_of_the_workload_api_is_a_socket_or_an_ip_address_and_nothing_more)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct spiffe_endpoint endpoint = {0};
        const char *why = "";
        const int err = spiffe_endpoint_parse(str_from(rows[i].text), false, &endpoint, &why);

        cr_expect_eq(err == 0, rows[i].fault == NULL, "%s: %s", rows[i].text, why);
        cr_expect_eq(spiffe_endpoint_is_set(&endpoint), rows[i].fault == NULL, "%s", rows[i].text);
        if (rows[i].fault)
            cr_expect_not_null(strstr(why, rows[i].fault), "%s: %s", rows[i].text, why);
    }
}

Test(endpoint, w2_a_path_longer_than_a_socket_can_have_is_refused)
{
    char text[200] = "unix:///";
    struct spiffe_endpoint endpoint;
    const char *why = "";

    memset(text + 8, 'a', 106);
    cr_expect_eq(spiffe_endpoint_parse(str_from(text), false, &endpoint, &why), 0, "%s", why);
    text[8 + 106] = 'a';
    cr_expect_lt(spiffe_endpoint_parse(str_from(text), false, &endpoint, &why), 0);
}

Test(endpoint, k4_the_broker_api_may_be_at_a_name)
{
    struct spiffe_endpoint endpoint;
    const char *why = "";

    cr_assert_eq(spiffe_endpoint_parse(STR("tcp://broker.spire.svc:8443"), true, &endpoint, &why),
                 0, "%s", why);
    cr_expect(str_eq(endpoint.tcp.host, STR("broker.spire.svc")));
    cr_expect_eq(endpoint.tcp.port, 8443);
    cr_assert_eq(spiffe_endpoint_parse(STR("unix:///run/b.sock"), true, &endpoint, &why), 0);
    cr_expect(str_eq(endpoint.unix_path, STR("/run/b.sock")));
}
