/* The words and numbers of Envoy's routes, and single values of them. */
#include <stdarg.h>

#include "proxy/base/ascii.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "xds/codec_route.h"

const uint32_t codec_denominators[3] = {100, 10000, ROUTE_MILLION};
const uint16_t codec_redirect_codes[5] = {301, 302, 303, 307, 308};
const uint16_t codec_missing_codes[3] = {503, 404, 500};

/* In the order in which we write them. */
const struct codec_retry_word codec_retry_words[] = {
    {"connect-failure", ROUTE_RETRY_CONNECT},
    {"refused-stream", ROUTE_RETRY_REFUSED},
    {"reset", ROUTE_RETRY_RESET},
    {"5xx", ROUTE_RETRY_5XX},
    {"gateway-error", ROUTE_RETRY_GATEWAY},
    {"retriable-status-codes", ROUTE_RETRY_CODES},
    {"cancelled", ROUTE_RETRY_GRPC_CANCELLED},
    {"deadline-exceeded", ROUTE_RETRY_GRPC_DEADLINE},
    {"internal", ROUTE_RETRY_GRPC_INTERNAL},
    {"resource-exhausted", ROUTE_RETRY_GRPC_EXHAUSTED},
    {"unavailable", ROUTE_RETRY_GRPC_UNAVAILABLE},
    /* What Envoy means by this is a part of what is meant by these two. */
    {"reset-before-request", ROUTE_RETRY_CONNECT | ROUTE_RETRY_REFUSED},
};
const size_t codec_n_retry_words = ARRAY_LEN(codec_retry_words);

const unsigned codec_route_nothing[1] = {0};

void codec_route_refuse(struct reading_routes *reading, const char *format, ...)
{
    va_list args;

    if (reading->err)
        return;
    reading->err = -ERR_INVALID;
    if (reading->rule.len > 0)
        text_addf(reading->why, "Route \"%.*s\": ", STR_ARG(str_sub(reading->rule, 0, 200)));
    va_start(args, format);
    text_addv(reading->why, format, args);
    va_end(args);
}

/* Fields that we have no word for, but for those in harmless (ended by 0). */
void codec_route_unknown(struct reading_routes *reading, const ProtobufCMessage *message,
                         const char *what, const unsigned *harmless)
{
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        const unsigned number = message->unknown_fields[i].tag;
        const unsigned *known = harmless;
        while (*known != 0 && *known != number)
            known++;
        if (*known == 0)
            codec_route_refuse(reading, "%s: field %u is not supported", what, number);
    }
}

struct str codec_route_keep(struct reading_routes *reading, const char *from, size_t max,
                            const char *what)
{
    const struct str text = str_from(from);

    if (text.len > max)
        codec_route_refuse(reading, "%s: is longer than %zu bytes", what, max);
    return codec_keep(reading->arena, from);
}

struct str codec_route_lower(struct reading_routes *reading, const char *from, const char *what)
{
    const struct str text = codec_route_keep(reading, from, ROUTE_NAME_MAX, what);

    return ascii_lower_str(reading->arena, text);
}

bool codec_route_within(struct reading_routes *reading, size_t n, size_t max, const char *what)
{
    if (n > max)
        codec_route_refuse(reading, "%s: has %zu entries, %zu at most", what, n, max);
    return n <= max;
}

uint64_t codec_route_duration(struct reading_routes *reading,
                              const Google__Protobuf__Duration *from, const char *what,
                              uint64_t fallback_ns)
{
    if (!from)
        return fallback_ns;
    if (from->seconds < 0 || from->seconds > INT32_MAX || from->nanos < 0 ||
        (uint64_t)from->nanos >= NS_PER_SEC) {
        codec_route_refuse(reading, "%s: %lld s and %d ns are not a duration from 0 to 68 years",
                           what, (long long)from->seconds, from->nanos);
        return fallback_ns;
    }
    return (uint64_t)from->seconds * NS_PER_SEC + (uint64_t)from->nanos;
}
