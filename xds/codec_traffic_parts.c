/* Single values of a Cluster. */
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "xds/codec_traffic.h"

void codec_reading_refuse(struct reading *reading, const char *format, ...)
{
    va_list args;

    if (reading->err)
        return;
    reading->err = -ERR_INVALID;
    va_start(args, format);
    text_addv(reading->why, format, args);
    va_end(args);
}

uint64_t codec_duration_of(struct reading *reading, const Google__Protobuf__Duration *from,
                           const char *field, uint64_t fallback_ns)
{
    if (!from)
        return fallback_ns;
    if (from->seconds < 0 || from->seconds > INT32_MAX || from->nanos < 0 ||
        (uint64_t)from->nanos >= NS_PER_SEC) {
        codec_reading_refuse(reading, "%s: %lld s and %d ns are not a duration from 0 to 68 years",
                             field, (long long)from->seconds, from->nanos);
        return fallback_ns;
    }
    return (uint64_t)from->seconds * NS_PER_SEC + (uint64_t)from->nanos;
}

uint32_t codec_u32_of(const Google__Protobuf__UInt32Value *from, uint32_t fallback)
{
    return from ? from->value : fallback;
}
