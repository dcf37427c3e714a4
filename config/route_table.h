/*
 * route_table.h - routes as they are looked up: by host, then by path, then in their order.
 *
 * A path finds its rules in a sorted table: what may match it are the entry right before it and the
 * prefixes of that one, which form a chain. So the cost follows the depth of the path and the rules
 * that share a prefix, not the number of rules.
 *
 * Everything lives in the snapshot's arena. Thread: immutable; any.
 */
#ifndef ISTHMUS_CONFIG_ROUTE_TABLE_H
#define ISTHMUS_CONFIG_ROUTE_TABLE_H

#include "config/route.h"
#include "config/snapshot.h"

struct route_target { /* NULL: it is not there */
    const struct service *service;
    const struct service_port *port;
};

struct route { /* a rule with what it names */
    const struct route_rule *rule;
    const struct route_target *backends, *mirrors; /* as many as the rule has */
    uint64_t total_weight;
};

struct route_path {
    struct str text;
    const uint32_t *routes; /* ascending */
    size_t n_routes;
    uint32_t parent; /* idx of the longest other text that begins this one plus one; 0: none */
};

struct route_list {
    const struct route *routes; /* the first that matches decides */
    size_t n_routes;
    const struct route_path *paths; /* by text; ROUTE_PATH_ANY is "" */
    size_t n_paths;
};

struct route_domain {
    struct str name; /* "web.example"; ".example" of "*.example" */
    const struct route_list *list;
};

struct route_table {
    const struct route_domain *exact, *wildcards; /* by name */
    size_t n_exact, n_wildcards;
    const struct route_list *any; /* "*"; NULL without */
};

/* The table for callers of a namespace; NULL when the port has no routes for them. */
const struct route_table *route_table_of(const struct service_port *port,
                                         struct str source_namespace);
/* The list for a host (in any case, without a port); NULL when there is none. */
const struct route_list *route_table_find(const struct route_table *table, struct str host);
/* Where the path's chain begins: the idx of the last entry that is not behind it plus one, 0
 * without. */
uint32_t route_list_find(const struct route_list *list, struct str path);

#endif
