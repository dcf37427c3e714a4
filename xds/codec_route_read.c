/*
 * Envoy's RouteConfiguration as routes. What it says counts as Envoy understands it, with Envoy's
 * defaults. What cannot be followed is refused by name: a condition that was passed over would send
 * requests where they do not belong. What only concerns statistics and tracing is passed over.
 */
#include <string.h>

#include "config/names.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "xds/codec_route.h"

static void read_rule(struct reading_routes *reading, const Envoy__Config__Route__V3__Route *from,
                      struct route_rule *rule)
{
    /* Metadata, decorator, tracing, buffer limits, statistics. */
    static const unsigned harmless[] = {4, 5, 15, 16, 19, 20, 0};

    reading->rule = rule->name = codec_route_keep(reading, from->name, ROUTE_NAME_MAX, "name");
    codec_route_unknown(reading, &from->base, "Route", harmless);
    codec_route_match(reading, from->match, &rule->match);
    switch (from->action_case) {
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_ROUTE:
        codec_route_forward(reading, from->route, rule);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_REDIRECT:
        codec_route_redirect(reading, from->redirect, rule);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION_DIRECT_RESPONSE:
        codec_route_response(reading, from->direct_response, rule);
        break;
    case ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION__NOT_SET:
    case _ENVOY__CONFIG__ROUTE__V3__ROUTE__ACTION__CASE_IS_INT_SIZE:
        codec_route_refuse(reading, "has neither route, redirect nor direct_response");
    }
    rule->request = codec_route_edits(
        reading, from->request_headers_to_add, from->n_request_headers_to_add,
        from->request_headers_to_remove, from->n_request_headers_to_remove, "request_headers");
    rule->response = codec_route_edits(
        reading, from->response_headers_to_add, from->n_response_headers_to_add,
        from->response_headers_to_remove, from->n_response_headers_to_remove, "response_headers");
    reading->rule = (struct str){0};
}

/* A port is left out: it is not compared. */
static struct str read_domain(struct reading_routes *reading, const char *from)
{
    struct str domain = codec_route_lower(reading, from, "domains"), rest;
    (void)str_split(domain, ':', &domain, &rest);
    rest = str_starts_with(domain, STR("*.")) ? str_sub(domain, 2, domain.len) : domain;
    if (!str_eq(domain, STR("*")) && !name_is_subdomain(rest))
        codec_route_refuse(reading, "domains: \"%.*s\" is not a host name, *.<host name> or *",
                           STR_ARG(str_sub(domain, 0, 80)));
    return domain;
}

static void read_domains(struct reading_routes *reading,
                         const Envoy__Config__Route__V3__VirtualHost *from, struct map *seen,
                         struct route_host *host)
{
    if (from->n_domains == 0)
        codec_route_refuse(reading, "VirtualHost.domains: is empty");
    if (!codec_route_within(reading, from->n_domains, ROUTE_DOMAINS_MAX, "VirtualHost.domains"))
        return;
    struct str *domains = arena_new_array(reading->arena, struct str, from->n_domains);
    for (size_t i = 0; i < from->n_domains; i++) {
        const struct str domain = read_domain(reading, from->domains[i]);
        const void *before = map_find(seen, domain);

        if (before == host) /* with a port and without */
            continue;
        if (before)
            codec_route_refuse(reading, "domains: \"%.*s\" stands in two virtual hosts",
                               STR_ARG(str_sub(domain, 0, 80)));
        (void)map_put(seen, domain, host);
        domains[host->n_domains++] = domain;
    }
    host->domains = domains;
}

static void read_vhost(struct reading_routes *reading,
                       const Envoy__Config__Route__V3__VirtualHost *from, struct map *seen,
                       struct route_host *host)
{
    /* Statistics, attempt counts, metadata, buffer limits. */
    static const unsigned harmless[] = {5, 14, 18, 19, 23, 24, 25, 0};

    codec_route_unknown(reading, &from->base, "VirtualHost", harmless);
    read_domains(reading, from, seen, host);
    if (!codec_route_within(reading, from->n_routes, ROUTE_RULES_MAX, "VirtualHost.routes"))
        return;
    struct route_rule *rules = arena_new_array(reading->arena, struct route_rule, from->n_routes);
    for (size_t i = 0; i < from->n_routes && !reading->err; i++)
        read_rule(reading, from->routes[i], &rules[i]);
    host->rules = rules;
    host->n_rules = from->n_routes;
}

static void read_hosts(struct reading_routes *reading,
                       const Envoy__Config__Route__V3__RouteConfiguration *from,
                       struct model_routes *routes)
{
    /* internal_only_headers, validate_clusters, body sizes, ports in hosts, metadata. */
    static const unsigned harmless[] = {3, 7, 11, 14, 17, 0};
    struct map seen = {0};

    codec_route_unknown(reading, &from->base, "RouteConfiguration", harmless);
    if (!codec_route_within(reading, from->n_virtual_hosts, ROUTE_HOSTS_MAX, "virtual_hosts"))
        return;
    struct route_host *hosts =
        arena_new_array(reading->arena, struct route_host, from->n_virtual_hosts);
    for (size_t i = 0; i < from->n_virtual_hosts && !reading->err; i++)
        read_vhost(reading, from->virtual_hosts[i], &seen, &hosts[i]);
    map_fini(&seen);
    routes->hosts = hosts;
    routes->n_hosts = from->n_virtual_hosts;
}

int codec_routes_decode(struct str bytes, struct str name, struct arena *arena,
                        struct model_routes **out_routes, struct text *why)
{
    struct model_routes *routes = arena_new(arena, struct model_routes);
    struct arena scratch = {0};
    const Envoy__Config__Route__V3__RouteConfiguration *message = (const void *)wire_unpack(
        &envoy__config__route__v3__route_configuration__descriptor, bytes, &scratch, why);
    struct reading_routes reading = {.arena = arena, .why = why};

    if (!message) {
        reading.err = -ERR_INVALID;
    } else {
        reading.err = codec_check_name(name, str_from(message->name), why);
        if (!reading.err && !routes_parse_name(arena_str(arena, name), routes))
            codec_route_refuse(
                &reading,
                "RouteConfiguration.name: \"%.*s\" is not <namespace>/<host name>[:<port>]"
                "[@<namespace of the callers>]",
                STR_ARG(str_sub(name, 0, 200)));
        if (!reading.err)
            read_hosts(&reading, message, routes);
    }
    arena_fini(&scratch);
    if (!reading.err)
        *out_routes = routes;
    return reading.err;
}
