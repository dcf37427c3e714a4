/* What is held of the control stream, and what is said of it. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <unistd.h>

#include "proxy/base/log.h"
#include "traffic_kit.h"
#include "xds/held.h"
#include "xds/wire.h"

TestSuite(held, .timeout = 20, .fini = traffic_fini);

static struct held held;

/* The Cluster comes, with a bound of requests or none; so many lines of the log are due to it. */
static size_t lines_of(const char *version, const uint32_t *max_requests, unsigned max_retries)
{
    Envoy__Config__Cluster__V3__Cluster cluster = plain();
    Envoy__Config__Cluster__V3__CircuitBreakers breakers =
        ENVOY__CONFIG__CLUSTER__V3__CIRCUIT_BREAKERS__INIT;
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds thresholds =
        ENVOY__CONFIG__CLUSTER__V3__CIRCUIT_BREAKERS__THRESHOLDS__INIT;
    Envoy__Config__Cluster__V3__CircuitBreakers__Thresholds *all[] = {&thresholds};
    Google__Protobuf__UInt32Value requests = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
    Google__Protobuf__UInt32Value retries = GOOGLE__PROTOBUF__UINT32_VALUE__INIT;
    struct text bytes = {0};

    requests.value = max_requests ? *max_requests : 0;
    retries.value = max_retries;
    thresholds.max_requests = max_requests ? &requests : NULL;
    thresholds.max_retries = &retries;
    breakers.thresholds = all;
    breakers.n_thresholds = 1;
    cluster.circuit_breakers = &breakers;
    wire_pack(&cluster.base, &bytes);
    const struct held_source source = {XDS_CLUSTER, STR(NAME), str_from(version), text_str(&bytes)};
    struct held_item *item = held_item_new(&source, &why);
    cr_assert_not_null(item, "%s", refusal());
    held_put(&held, item);
    text_fini(&bytes);
    return log_drain();
}

Test(held, a_bound_that_is_not_applied_is_told_once_for_each_change_of_it)
{
    static const uint32_t none = 0, many = 1024, unbounded = UINT32_MAX;
    const int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

    log_start(fd, -1);
    log_attach("test");
    cr_expect_eq(lines_of("1", NULL, 1), 0, "there is none");
    cr_expect_eq(lines_of("2", &unbounded, 1), 0, "it bounds nothing");
    cr_expect_eq(lines_of("3", &many, 1), 1);
    cr_expect_eq(lines_of("4", &many, 1), 0, "the same, as after each reconnect to another server");
    cr_expect_eq(lines_of("5", &many, 2), 0, "something else changed");
    cr_expect_eq(lines_of("6", &none, 2), 1, "another bound");
    cr_expect_eq(lines_of("7", NULL, 2), 0, "it is gone");
    cr_expect_eq(lines_of("8", &none, 2), 1, "it is back");
    log_stop();
    held_fini(&held);
    (void)close(fd);
}
