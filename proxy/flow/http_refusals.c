#include "proxy/flow/http_refusals.h"

#include "proxy/base/err.h"

#define TOO_LARGE 431u

bool http_cut_of(int err, enum metric *out_metric)
{
    switch (-err) {
    case ERR_HEAD_TIMEOUT: *out_metric = METRIC_HTTP_HEAD_TIMEOUT; return true;
    case ERR_BODY_TIMEOUT: *out_metric = METRIC_HTTP_BODY_TIMEOUT; return true;
    case ERR_LIMIT: *out_metric = METRIC_HTTP_HEAD_LIMIT; return true;
    case ERR_HTTP_SMUGGLING: *out_metric = METRIC_HTTP_SMUGGLING; return true;
    case ERR_HTTP_REQUEST: *out_metric = METRIC_HTTP_MALFORMED; return true;
    case ERR_H2: *out_metric = METRIC_HTTP_H2; return true;
    case ERR_H2_RESET_FLOOD: *out_metric = METRIC_HTTP_RESETS; return true;
    case ERR_H2_CONTINUATION_FLOOD: *out_metric = METRIC_HTTP_CONTINUATIONS; return true;
    case ERR_H2_PING_FLOOD: *out_metric = METRIC_HTTP_PINGS; return true;
    case ERR_H2_SETTINGS_FLOOD: *out_metric = METRIC_HTTP_SETTINGS; return true;
    case ERR_H2_EMPTY_FLOOD: *out_metric = METRIC_HTTP_EMPTY; return true;
    case ERR_H2_WINDOW_FLOOD: *out_metric = METRIC_HTTP_WINDOWS; return true;
    case ERR_H2_CONTROL_FLOOD: *out_metric = METRIC_HTTP_CONTROLS; return true;
    default: return false;
    }
}

enum metric http_refusal_of(unsigned status, int err)
{
    enum metric metric;
    if (status == TOO_LARGE)
        return METRIC_HTTP_HEAD_LIMIT;
    /* HTTP/2 refuses one stream: the connection goes on. */
    return err != -ERR_H2 && http_cut_of(err, &metric) ? metric : METRIC_HTTP_MALFORMED;
}
