#include "proxy/flow/retry.h"

#include "proxy/base/clock.h"
#include "proxy/http/date.h"

static unsigned grpc_reason(struct str status)
{
    static const struct {
        struct str code;
        unsigned on;
    } table[] = {
        {{"1", 1}, ROUTE_RETRY_GRPC_CANCELLED},    {{"4", 1}, ROUTE_RETRY_GRPC_DEADLINE},
        {{"8", 1}, ROUTE_RETRY_GRPC_EXHAUSTED},    {{"13", 2}, ROUTE_RETRY_GRPC_INTERNAL},
        {{"14", 2}, ROUTE_RETRY_GRPC_UNAVAILABLE},
    };

    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (str_eq(status, table[i].code))
            return table[i].on;
    return 0;
}

unsigned retry_reasons(const struct route_retry *retry, const struct http_response *head)
{
    const unsigned status = head->status;
    unsigned on = grpc_reason(http_find(&head->fields, "grpc-status"));
    if (status >= 500)
        on |= ROUTE_RETRY_5XX;
    if (status == 502 || status == 503 || status == 504)
        on |= ROUTE_RETRY_GATEWAY;
    for (size_t i = 0; i < retry->n_codes; i++)
        if (retry->codes[i] == status)
            on |= ROUTE_RETRY_CODES;
    return on;
}

uint64_t retry_after_ns(const struct http_response *head, int64_t now_s)
{
    return http_retry_after_s(http_find(&head->fields, "retry-after"), now_s, RETRY_AFTER_MAX_S) *
           NS_PER_SEC;
}

uint64_t retry_pause_ns(const struct route_retry *retry, unsigned n, struct rng *rng)
{
    uint64_t span_ns = retry->backoff_ns;
    for (unsigned i = 1; i < n && span_ns < retry->backoff_max_ns; i++)
        span_ns *= 2;
    if (retry->backoff_max_ns > 0 && span_ns > retry->backoff_max_ns)
        span_ns = retry->backoff_max_ns;
    return span_ns == 0 ? 0 : span_ns / 2 + rng_next(rng) % (span_ns / 2 + 1);
}
