#include <criterion/criterion.h>

#include "proxy/base/clock.h"
#include "proxy/flow/retry.h"

TestSuite(retry, .timeout = 30);

static struct http_response answer_of(unsigned status, struct http_field *field)
{
    return (struct http_response){.status = status, .fields = {.at = field, .len = field ? 1 : 0}};
}

Test(retry, the_reasons_of_an_answer_are_its_status_its_code_and_grpc_s_word_in_the_head)
{
    static const uint16_t codes[] = {429, 503};
    const struct route_retry retry = {.codes = codes, .n_codes = 2};
    struct http_field unavailable = {STR("grpc-status"), STR("14")};
    struct http_field fine = {STR("grpc-status"), STR("0")};

    const struct {
        const char *what;
        unsigned status;
        struct http_field *field;
        unsigned on;
    } rows[] = {
        {"a good answer", 200, NULL, 0},
        {"an error of the server's own", 500, NULL, ROUTE_RETRY_5XX},
        {"a gateway's", 502, NULL, ROUTE_RETRY_5XX | ROUTE_RETRY_GATEWAY},
        {"a listed one", 429, NULL, ROUTE_RETRY_CODES},
        {"all at once", 503, NULL, ROUTE_RETRY_5XX | ROUTE_RETRY_GATEWAY | ROUTE_RETRY_CODES},
        {"gRPC, unavailable", 200, &unavailable, ROUTE_RETRY_GRPC_UNAVAILABLE},
        {"gRPC, fine", 200, &fine, 0},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct http_response head = answer_of(rows[i].status, rows[i].field);
        cr_expect_eq(retry_reasons(&retry, &head), rows[i].on, "%s", rows[i].what);
    }
}

Test(retry, a_server_is_given_the_time_it_asks_for_within_a_bound)
{
    const int64_t now_s = 1795777200; /* Fri, 27 Nov 2026 11:00:00 GMT */

    const struct {
        const char *value;
        uint64_t ns;
    } rows[] = {{"2", 2 * NS_PER_SEC},
                {"60", 60 * NS_PER_SEC},
                {"61", 60 * NS_PER_SEC},
                {"-1", 0},
                {"", 0},
                {"Fri, 27 Nov 2026 11:00:03 GMT", 3 * NS_PER_SEC},
                {"Friday, 27-Nov-26 11:00:03 GMT", 3 * NS_PER_SEC},
                {"Fri Nov 27 11:00:03 2026", 3 * NS_PER_SEC},
                {"Fri, 27 Nov 2026 12:00:00 GMT", 60 * NS_PER_SEC},
                {"Fri, 27 Nov 2026 10:00:00 GMT", 0}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct http_field field = {STR("retry-after"), str_from(rows[i].value)};
        const struct http_response head = answer_of(503, &field);
        cr_expect_eq(retry_after_ns(&head, now_s), rows[i].ns, "%s", rows[i].value);
    }
}

Test(retry, pauses_double_up_to_their_bound_and_are_jittered_down_to_half)
{
    const struct route_retry retry = {.backoff_ns = 1000, .backoff_max_ns = 5000};
    const struct route_retry none = {0};
    const uint64_t most[] = {1000, 2000, 4000, 5000, 5000};
    struct rng rng;
    rng_seed(&rng, 7);
    for (unsigned n = 1; n <= ARRAY_LEN(most); n++) {
        uint64_t least = UINT64_MAX, greatest = 0;
        for (int i = 0; i < 2000; i++) {
            const uint64_t ns = retry_pause_ns(&retry, n, &rng);
            least = ns < least ? ns : least;
            greatest = ns > greatest ? ns : greatest;
        }
        cr_expect_leq(greatest, most[n - 1], "try %u", n);
        cr_expect_geq(least, most[n - 1] / 2, "try %u", n);
        cr_expect_gt(greatest - least, most[n - 1] / 4, "try %u is jittered", n);
    }
    cr_expect_eq(retry_pause_ns(&none, 1, &rng), 0);
}
