#include <criterion/criterion.h>

#include "proxy/base/err.h"
#include "proxy/flow/http_refusals.h"

TestSuite(http_refusals, .timeout = 20);

Test(http_refusals, each_kind_has_its_counter_and_what_is_no_fault_has_none)
{
    static const struct {
        int err;
        bool is_cut;
        enum metric metric;
    } rows[] = {
        {ERR_HEAD_TIMEOUT, true, METRIC_HTTP_HEAD_TIMEOUT},
        {ERR_BODY_TIMEOUT, true, METRIC_HTTP_BODY_TIMEOUT},
        {ERR_LIMIT, true, METRIC_HTTP_HEAD_LIMIT},
        {ERR_HTTP_SMUGGLING, true, METRIC_HTTP_SMUGGLING},
        {ERR_HTTP_REQUEST, true, METRIC_HTTP_MALFORMED},
        {ERR_H2, true, METRIC_HTTP_H2},
        {ERR_H2_RESET_FLOOD, true, METRIC_HTTP_RESETS},
        {ERR_H2_CONTINUATION_FLOOD, true, METRIC_HTTP_CONTINUATIONS},
        {ERR_H2_PING_FLOOD, true, METRIC_HTTP_PINGS},
        {ERR_H2_SETTINGS_FLOOD, true, METRIC_HTTP_SETTINGS},
        {ERR_H2_EMPTY_FLOOD, true, METRIC_HTTP_EMPTY},
        {ERR_H2_WINDOW_FLOOD, true, METRIC_HTTP_WINDOWS},
        {ERR_H2_CONTROL_FLOOD, true, METRIC_HTTP_CONTROLS},
        {ERR_OK, false, METRICS},
        {ERR_EOF, false, METRICS},
        {ERR_CLIENT_RESET, false, METRICS},
        {ERR_IDLE_TIMEOUT, false, METRICS},
        {ERR_SHUTDOWN, false, METRICS},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        enum metric metric = METRICS;
        cr_expect_eq(http_cut_of(-rows[i].err, &metric), rows[i].is_cut, "%s",
                     err_label(rows[i].err));
        cr_expect_eq(metric, rows[i].metric, "%s", err_label(rows[i].err));
    }
}

Test(http_refusals, one_stream_that_is_refused_is_a_message_and_no_connection)
{
    cr_expect_eq(http_refusal_of(0, -ERR_H2), METRIC_HTTP_MALFORMED);
    cr_expect_eq(http_refusal_of(501, -ERR_H2), METRIC_HTTP_MALFORMED);
    cr_expect_eq(http_refusal_of(431, -ERR_H2), METRIC_HTTP_HEAD_LIMIT);
    cr_expect_eq(http_refusal_of(400, -ERR_HTTP_SMUGGLING), METRIC_HTTP_SMUGGLING);
    cr_expect_eq(http_refusal_of(408, -ERR_BODY_TIMEOUT), METRIC_HTTP_BODY_TIMEOUT);
}
