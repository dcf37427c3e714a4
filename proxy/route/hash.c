#include "proxy/route/hash.h"

#include "proxy/base/clock.h"
#include "proxy/route/match.h"

/* Of a cookie header's pairs; quotes are not of the value. */
static bool find_cookie(const struct route_question *question, struct str wanted,
                        struct arena *arena, struct str *out_value)
{
    struct str rest = {0}, pair, name, value;
    (void)route_find_field(question, STR("cookie"), arena, &rest);
    while (rest.len > 0) {
        pair = rest;
        rest = (struct str){0};
        (void)str_split(pair, ';', &pair, &rest);
        while (pair.len > 0 && pair.ptr[0] == ' ')
            pair = str_sub(pair, 1, pair.len);
        if (!str_split(pair, '=', &name, &value) || !str_eq(name, wanted))
            continue;
        if (value.len >= 2 && value.ptr[0] == '"' && value.ptr[value.len - 1] == '"')
            value = str_sub(value, 1, value.len - 2);
        *out_value = value;
        return true;
    }
    return false;
}

/* One for a client that has none, and the field that gives it. */
static struct str give_cookie(const struct route_question *question, const struct hash_key *key,
                              struct arena *arena, struct str *out_set_cookie)
{
    const struct str value = arena_printf(arena, "%016llx", (unsigned long long)question->random);
    struct str field = arena_printf(arena, "%.*s=\"%.*s\"", STR_ARG(key->name), STR_ARG(value));
    if (key->ttl_ns > 0)
        field = arena_printf(arena, "%.*s; Max-Age=%llu", STR_ARG(field),
                             (unsigned long long)(key->ttl_ns / NS_PER_SEC));
    if (key->path.len > 0)
        field = arena_printf(arena, "%.*s; Path=%.*s", STR_ARG(field), STR_ARG(key->path));
    *out_set_cookie = arena_printf(arena, "%.*s; HttpOnly", STR_ARG(field));
    return value;
}

static bool find_value(const struct route_question *question, const struct hash_key *key,
                       struct arena *arena, struct route_hash *hash, struct str *out_value)
{
    switch (key->kind) {
    case HASH_KEY_HEADER: return route_find_field(question, key->name, arena, out_value);
    case HASH_KEY_QUERY: return route_find_param(question, key->name, arena, out_value);
    case HASH_KEY_PATH: *out_value = question->path->path; return true;
    case HASH_KEY_SOURCE_ADDRESS: *out_value = ip_key(&question->source); return true;
    case HASH_KEY_SOURCE_PRINCIPAL:
        *out_value = question->principal;
        return question->principal.len > 0;
    case HASH_KEY_COOKIE:
        if (!find_cookie(question, key->name, arena, out_value) && key->is_given)
            *out_value = give_cookie(question, key, arena, &hash->set_cookie);
        return out_value->ptr != NULL;
    case HASH_KEY_KINDS: break;
    }
    return false;
}

bool route_hashes(const struct service *service)
{
    const enum algorithm algorithm = service->traffic->algorithm;
    return (algorithm == ALGORITHM_RING_HASH || algorithm == ALGORITHM_MAGLEV) &&
           service->traffic->n_hash_keys > 0;
}

void route_hash_make(const struct route_question *question, const struct route_rule *rule,
                     const struct service *service, struct arena *arena,
                     struct route_hash *out_hash)
{
    const struct traffic_policy *policy = service->traffic;
    const bool is_rules = rule && rule->n_hash_keys > 0;
    const struct hash_key *keys = is_rules ? rule->hash_keys : policy->hash_keys;
    const size_t n_keys = is_rules ? rule->n_hash_keys : policy->n_hash_keys;
    struct route_hash hash = {0};
    if (policy->algorithm != ALGORITHM_RING_HASH && policy->algorithm != ALGORITHM_MAGLEV)
        return;
    for (size_t i = 0; i < n_keys; i++) {
        struct str value = {0};
        if (find_value(question, &keys[i], arena, &hash, &value)) {
            hash.value = ((hash.value << 1) | (hash.value >> 63)) ^ str_hash(value, 0);
            hash.is_there = true;
        }
        if (keys[i].is_terminal && hash.is_there)
            break;
    }
    hash.is_made = n_keys > 0;
    *out_hash = hash;
}
