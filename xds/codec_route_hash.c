/*
 * Envoy's RouteAction.HashPolicy. There is no word in it for a calling principal, which a route of
 * ours does not hash; the path is the header field ":path", which is without its query here.
 */
#include "proxy/base/clock.h"
#include "xds/codec_new.h"
#include "xds/codec_route.h"

/* ---- reading ---- */

static void read_header(struct reading_routes *reading,
                        const Envoy__Config__Route__V3__RouteAction__HashPolicy__Header *from,
                        struct hash_key *key)
{
    codec_route_unknown(reading, &from->base, "hash_policy.header", codec_route_nothing);
    key->kind = HASH_KEY_HEADER;
    key->name = codec_route_lower(reading, from->header_name, "hash_policy.header.header_name");
    if (str_eq(key->name, STR(":path"))) {
        key->kind = HASH_KEY_PATH;
        key->name = (struct str){0};
    }
}

static void read_cookie(struct reading_routes *reading,
                        const Envoy__Config__Route__V3__RouteAction__HashPolicy__Cookie *from,
                        struct hash_key *key)
{
    codec_route_unknown(reading, &from->base, "hash_policy.cookie", codec_route_nothing);
    key->kind = HASH_KEY_COOKIE;
    key->name = codec_route_keep(reading, from->name, HASH_KEY_NAME_MAX, "hash_policy.cookie.name");
    key->is_given = from->ttl != NULL;
    key->ttl_ns = codec_route_duration(reading, from->ttl, "hash_policy.cookie.ttl", 0);
    if (key->is_given)
        key->path =
            codec_route_keep(reading, from->path, HASH_KEY_NAME_MAX, "hash_policy.cookie.path");
}

static void
read_source(struct reading_routes *reading,
            const Envoy__Config__Route__V3__RouteAction__HashPolicy__ConnectionProperties *from,
            struct hash_key *key)
{
    codec_route_unknown(reading, &from->base, "hash_policy.connection_properties",
                        codec_route_nothing);
    key->kind = HASH_KEY_SOURCE_ADDRESS;
    if (!from->source_ip)
        codec_route_refuse(reading, "hash_policy.connection_properties: source_ip is not set");
}

static void read_key(struct reading_routes *reading,
                     const Envoy__Config__Route__V3__RouteAction__HashPolicy *from,
                     struct hash_key *key)
{
    codec_route_unknown(reading, &from->base, "hash_policy", codec_route_nothing);
    key->is_terminal = from->terminal;
    switch (from->policy_specifier_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_HEADER:
        read_header(reading, from->header, key);
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_COOKIE:
        read_cookie(reading, from->cookie, key);
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_CONNECTION_PROPERTIES:
        read_source(reading, from->connection_properties, key);
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_QUERY_PARAMETER:
        codec_route_unknown(reading, &from->query_parameter->base, "hash_policy.query_parameter",
                            codec_route_nothing);
        key->kind = HASH_KEY_QUERY;
        key->name = codec_route_keep(reading, from->query_parameter->name, HASH_KEY_NAME_MAX,
                                     "hash_policy.query_parameter.name");
        return;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER__NOT_SET:
    case _ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER__CASE_IS_INT_SIZE:
        break;
    }
    codec_route_refuse(reading, "hash_policy: is of none of header, cookie, query_parameter and "
                                "connection_properties");
}

void codec_route_hash(struct reading_routes *reading,
                      const Envoy__Config__Route__V3__RouteAction *from, struct route_rule *rule)
{
    struct text why = {0};

    if (!codec_route_within(reading, from->n_hash_policy, HASH_KEYS_MAX, "hash_policy"))
        return;
    struct hash_key *keys = arena_new_array(reading->arena, struct hash_key, from->n_hash_policy);
    for (size_t i = 0; i < from->n_hash_policy; i++)
        read_key(reading, from->hash_policy[i], &keys[i]);
    if (!reading->err && !hash_keys_check(keys, from->n_hash_policy, "hash_policy", &why))
        codec_route_refuse(reading, "%.*s", STR_ARG(text_str(&why)));
    text_fini(&why);
    rule->hash_keys = keys;
    rule->n_hash_keys = from->n_hash_policy;
}

/* ---- writing ---- */

#define SPECIFIER(kind) ENVOY__CONFIG__ROUTE__V3__ROUTE_ACTION__HASH_POLICY__POLICY_SPECIFIER_##kind
#define NEW_PART(arena, type, init)                                                                \
    NEW(arena, Envoy__Config__Route__V3__RouteAction__HashPolicy__##type,                          \
        envoy__config__route__v3__route_action__hash_policy__##init##__init)

static void header_encode(struct str name, struct arena *arena,
                          Envoy__Config__Route__V3__RouteAction__HashPolicy *made)
{
    made->policy_specifier_case = SPECIFIER(HEADER);
    made->header = NEW_PART(arena, Header, header);
    made->header->header_name = wire_text(arena, name);
}

static void cookie_encode(const struct hash_key *from, struct arena *arena,
                          Envoy__Config__Route__V3__RouteAction__HashPolicy *made)
{
    made->policy_specifier_case = SPECIFIER(COOKIE);
    made->cookie = NEW_PART(arena, Cookie, cookie);
    made->cookie->name = wire_text(arena, from->name);
    made->cookie->path = wire_text(arena, from->path);
    if (!from->is_given)
        return;
    made->cookie->ttl = NEW(arena, Google__Protobuf__Duration, google__protobuf__duration__init);
    made->cookie->ttl->seconds = (int64_t)(from->ttl_ns / NS_PER_SEC);
    made->cookie->ttl->nanos = (int32_t)(from->ttl_ns % NS_PER_SEC);
}

static Envoy__Config__Route__V3__RouteAction__HashPolicy *key_encode(const struct hash_key *from,
                                                                     struct arena *arena)
{
    Envoy__Config__Route__V3__RouteAction__HashPolicy *made =
        NEW(arena, Envoy__Config__Route__V3__RouteAction__HashPolicy,
            envoy__config__route__v3__route_action__hash_policy__init);

    made->terminal = from->is_terminal;
    switch (from->kind) {
    case HASH_KEY_HEADER: header_encode(from->name, arena, made); break;
    case HASH_KEY_PATH: header_encode(STR(":path"), arena, made); break;
    case HASH_KEY_COOKIE: cookie_encode(from, arena, made); break;
    case HASH_KEY_QUERY:
        made->policy_specifier_case = SPECIFIER(QUERY_PARAMETER);
        made->query_parameter = NEW_PART(arena, QueryParameter, query_parameter);
        made->query_parameter->name = wire_text(arena, from->name);
        break;
    case HASH_KEY_SOURCE_ADDRESS:
    case HASH_KEY_SOURCE_PRINCIPAL: /* never: nothing makes a route with one */
    case HASH_KEY_KINDS:
        made->policy_specifier_case = SPECIFIER(CONNECTION_PROPERTIES);
        made->connection_properties = NEW_PART(arena, ConnectionProperties, connection_properties);
        made->connection_properties->source_ip = true;
        break;
    }
    return made;
}

void codec_route_hash_encode(const struct route_rule *from, struct arena *arena,
                             Envoy__Config__Route__V3__RouteAction *action)
{
    action->hash_policy = arena_new_array(
        arena, Envoy__Config__Route__V3__RouteAction__HashPolicy *, from->n_hash_keys);
    for (size_t i = 0; i < from->n_hash_keys; i++)
        action->hash_policy[action->n_hash_policy++] = key_encode(&from->hash_keys[i], arena);
}
