#include "proxy/http/hbone.h"

#include <string.h>

#define NAME_LEN_MAX 253 /* of anything in Kubernetes */

/* Heads are made for every connection: they are put together by copying, at their size. */
static struct str join(struct arena *arena, const struct str *parts, size_t n_parts)
{
    size_t len = 0;
    char *text, *to;
    for (size_t i = 0; i < n_parts; i++)
        len += parts[i].len;
    if (len == 0)
        return (struct str){0};
    text = to = arena_alloc(arena, len);
    for (size_t i = 0; i < n_parts; i++) {
        if (parts[i].len > 0)
            memcpy(to, parts[i].ptr, parts[i].len);
        to += parts[i].len;
    }
    return str_of(text, len);
}

struct str hbone_baggage(struct arena *arena, const struct workload *workload)
{
    const struct {
        struct str key, value;
    } pairs[] = {
        {STR(",k8s.cluster.name="), workload->cluster},
        {STR(",k8s.namespace.name="), workload->namespace_},
        {STR(",k8s.deployment.name="), workload->workload_name},
        {STR(",service.name="), workload->canonical_name},
        {STR(",service.version="), workload->canonical_revision},
    };
    struct str parts[2 * ARRAY_LEN(pairs)];
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        if (str_is_empty(pairs[i].value))
            continue;
        parts[n] = n == 0 ? str_sub(pairs[i].key, 1, pairs[i].key.len - 1) : pairs[i].key;
        parts[n + 1] = pairs[i].value;
        n += 2;
    }
    return join(arena, parts, n);
}

void hbone_parse_baggage(struct str baggage, struct hbone_labels *out_labels)
{
    const struct {
        struct str key;
        struct str *value;
    } known[] = {
        {STR("k8s.cluster.name"), &out_labels->cluster},
        {STR("k8s.namespace.name"), &out_labels->namespace_},
        {STR("k8s.deployment.name"), &out_labels->workload},
        {STR("k8s.pod.name"), &out_labels->workload},
        {STR("k8s.job.name"), &out_labels->workload},
        {STR("k8s.cronjob.name"), &out_labels->workload},
        {STR("service.name"), &out_labels->service},
        {STR("service.version"), &out_labels->revision},
        {STR("cloud.region"), &out_labels->region},
        {STR("cloud.availability_zone"), &out_labels->zone},
    };

    *out_labels = (struct hbone_labels){0};
    struct str rest = baggage;
    while (!str_is_empty(rest)) {
        struct str pair, tail = {0}, key, value;
        if (!str_split(rest, ',', &pair, &tail)) {
            pair = rest;
            tail = (struct str){0};
        }
        rest = tail;
        if (!str_split(pair, '=', &key, &value) || value.len > NAME_LEN_MAX)
            continue;
        for (size_t i = 0; i < ARRAY_LEN(known); i++) {
            if (str_eq(key, known[i].key))
                *known[i].value = value;
        }
    }
}

struct str hbone_forwarded(struct arena *arena, const struct addr *client, struct str host)
{
    char buf[ADDR_TEXT_MAX];
    const struct str parts[] = {STR("for=\""), str_from(addr_text(client, buf)), STR("\""),
                                STR(";host="), host};
    return join(arena, parts, str_is_empty(host) ? 3 : ARRAY_LEN(parts));
}

static struct str unquoted(struct str value)
{
    if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
        return str_sub(value, 1, value.len - 2);
    return value;
}

void hbone_parse_forwarded(struct str forwarded, struct addr *out_client, struct str *out_host)
{
    struct str element, rest, ignored;
    *out_client = (struct addr){0};
    *out_host = (struct str){0};
    if (!str_split(forwarded, ',', &rest, &ignored))
        rest = forwarded;
    while (!str_is_empty(rest)) {
        struct str tail = {0}, key, value;
        if (!str_split(rest, ';', &element, &tail)) {
            element = rest;
            tail = (struct str){0};
        }
        rest = tail;
        if (!str_split(element, '=', &key, &value))
            continue;
        value = unquoted(value);
        struct addr client;
        if (str_eq_ci(key, STR("for")) && addr_parse(value, &client) == 0)
            *out_client = client;
        else if (str_eq_ci(key, STR("host")))
            *out_host = value;
    }
}

static char *put_hex(char *to, uint64_t value)
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned shift = 64; shift > 0; shift -= 4)
        *to++ = digits[(value >> (shift - 4)) & 15];
    return to;
}

struct str hbone_traceparent(struct arena *arena, struct rng *rng)
{
    char text[TRACEPARENT_LEN + 1] = "00-";
    char *to = text + 3;
    to = put_hex(to, rng_next(rng));
    to = put_hex(to, rng_next(rng) | 1);
    *to++ = '-';
    to = put_hex(to, rng_next(rng) | 1);
    memcpy(to, "-00", 3);
    return arena_str(arena, str_of(text, TRACEPARENT_LEN));
}

static bool is_lower_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
}

bool hbone_is_traceparent(struct str text)
{
    if (text.len != TRACEPARENT_LEN || !str_starts_with(text, STR("00-")))
        return false;
    for (size_t at = 3; at < text.len; at++) {
        const bool is_dash = at == 35 || at == 52;
        if (is_dash ? text.ptr[at] != '-' : !is_lower_hex(text.ptr[at]))
            return false;
    }
    return true;
}
