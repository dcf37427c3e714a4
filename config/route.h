/*
 * route.h - where requests to a service go: Gateway API's HTTPRoute and GRPCRoute as values, in the
 * order in which they are tried.
 *
 * One struct model_routes says it for a service, for all its ports or for one, for everybody or for
 * the callers of one namespace. Of those that fit a request the narrowest counts, alone: namespace
 * and port, namespace, port, service. In it the host picks one list of rules (exact, then the
 * longest wildcard, then "*") and the first rule that matches decides. Whoever writes the rules
 * sorts them (xds/control/routes.c, by Gateway API's precedence); nothing here reorders them.
 *
 * Paths and host names are in normal form (proxy/http/path.h; lower case), header names in lower
 * case, methods as they are. Besides header fields a match may ask for ":path" (without the query),
 * ":authority" (without the port; "host" is the same) and ":scheme".
 *
 * Strings and arrays belong to the arena of whoever made the routes. Values here are valid: whoever
 * makes one (manifests, the control stream) checks it and refuses it with its place otherwise.
 * Source: Gateway API v1 (HTTPRoute, GRPCRoute, GEP-1294, GEP-1731); Envoy's RouteConfiguration.
 * Thread: immutable; any.
 */
#ifndef ISTHMUS_CONFIG_ROUTE_H
#define ISTHMUS_CONFIG_ROUTE_H

#include "config/hash_key.h"

#define ROUTE_HOSTS_MAX    64    /* lists of one model_routes */
#define ROUTE_DOMAINS_MAX  64    /* of one list */
#define ROUTE_RULES_MAX    16384 /* of one model_routes; a resource's bytes are the nearer bound */
#define ROUTE_MATCHES_MAX  16    /* headers, and parameters, of one rule */
#define ROUTE_BACKENDS_MAX 64    /* of one rule */
#define ROUTE_MIRRORS_MAX  16
#define ROUTE_EDITS_MAX    64 /* set, add, remove: each */
#define ROUTE_CODES_MAX    64
#define ROUTE_NAME_MAX     1024 /* of a name, a host, a path, a method */
#define ROUTE_VALUE_MAX    4096 /* of a field's value, a body */
#define ROUTE_WEIGHT_MAX   1000000
#define ROUTE_RETRIES_MAX  10
#define ROUTE_MILLION      1000000

/* The enums below travel in Envoy's words, so their order is ours. */
enum route_path_kind {
    ROUTE_PATH_ANY,
    ROUTE_PATH_EXACT,
    ROUTE_PATH_PREFIX, /* whole segments: "/a" is for "/a" and "/a/b"; without a slash at its end */
    ROUTE_PATH_START,  /* bytes: "/a" is for "/ab" too */
};

enum route_text_kind {
    ROUTE_TEXT_EXACT,
    ROUTE_TEXT_PRESENT,
    ROUTE_TEXT_PREFIX,
    ROUTE_TEXT_SUFFIX,
    ROUTE_TEXT_CONTAINS,
};

struct route_text_match { /* of a header field or a query parameter */
    enum route_text_kind kind;
    struct str name, value;
    bool is_negated, ignores_case;
};

struct route_match {
    enum route_path_kind path_kind;
    struct str path;
    struct str method; /* "" any */
    bool is_grpc;      /* content-type application/grpc */
    const struct route_text_match *headers, *params;
    size_t n_headers, n_params;
};

struct route_field {
    struct str name, value;
};

struct route_edits { /* of header fields: remove, then set, then add */
    const struct route_field *set, *add;
    const struct str *remove;
    size_t n_set, n_add, n_remove;
};

enum route_path_edit { ROUTE_PATH_KEEP, ROUTE_PATH_REPLACE, ROUTE_PATH_REPLACE_PREFIX };

struct route_backend {
    struct str service; /* "<namespace>/<hostname>"; "": what was named there cannot be used */
    uint16_t port;
    struct str cluster; /* only the endpoints of this cluster; "" all */
    uint32_t weight;
    struct route_edits request, response;
};

struct route_mirror {
    struct str service;
    uint16_t port;
    struct str cluster;
    uint32_t per_million;
};

/* What is tried again. */
enum {
    ROUTE_RETRY_CONNECT = 1 << 0, /* no connection */
    ROUTE_RETRY_REFUSED = 1 << 1, /* the backend did not act on it (REFUSED_STREAM, GOAWAY) */
    ROUTE_RETRY_RESET = 1 << 2,   /* no answer: reset, end, attempt_ns */
    ROUTE_RETRY_5XX = 1 << 3,     /* with RESET and CONNECT */
    ROUTE_RETRY_GATEWAY = 1 << 4, /* 502, 503, 504 */
    ROUTE_RETRY_CODES = 1 << 5,   /* those that are listed */
    ROUTE_RETRY_GRPC_CANCELLED = 1 << 6,
    ROUTE_RETRY_GRPC_DEADLINE = 1 << 7,
    ROUTE_RETRY_GRPC_INTERNAL = 1 << 8,
    ROUTE_RETRY_GRPC_EXHAUSTED = 1 << 9,
    ROUTE_RETRY_GRPC_UNAVAILABLE = 1 << 10,
};

struct route_retry {
    uint32_t attempts; /* after the first; 0: none */
    unsigned on;       /* ROUTE_RETRY_ */
    const uint16_t *codes;
    size_t n_codes;
    uint64_t backoff_ns, backoff_max_ns; /* of the first; doubled for each that follows, jittered */
};

enum route_action { ROUTE_FORWARD, ROUTE_REDIRECT, ROUTE_RESPOND };

struct route_rule {
    struct str name; /* "<namespace>/<name>/<rule>", for logs */
    struct route_match match;
    enum route_action action;
    struct route_edits request, response; /* REDIRECT, RESPOND: response alone */

    /* FORWARD */
    const struct route_backend *backends;
    size_t n_backends;
    const struct route_mirror *mirrors;
    size_t n_mirrors;
    uint64_t timeout_ns, attempt_ns; /* the whole answer; each try. 0: none */
    struct route_retry retry;
    const struct hash_key *hash_keys; /* in place of the service's own */
    size_t n_hash_keys;
    uint16_t missing_status; /* when the chosen backend is not there */

    /* FORWARD: the path and host that are forwarded; REDIRECT: those of the location */
    enum route_path_edit path_edit;
    struct str path; /* ROUTE_PATH_REPLACE_PREFIX: in place of what matched, one slash at the seam
                      */
    struct str host; /* "" keeps it */

    /* REDIRECT */
    struct str scheme; /* "" keeps it */
    uint16_t port;     /* 0: see docs/routing.md */

    uint16_t status; /* REDIRECT, RESPOND */
    struct str body; /* RESPOND */
};

struct route_host {
    const struct str *domains; /* "web.example", "*.example", "*" */
    size_t n_domains;
    const struct route_rule *rules;
    size_t n_rules;
};

struct model_routes {
    struct str service;          /* "<namespace>/<hostname>" */
    uint16_t port;               /* 0: of every port that is not of another protocol by its word */
    struct str source_namespace; /* "": of everybody */
    const struct route_host *hosts;
    size_t n_hosts;
};

/* "<service>", "<service>:<port>", "<service>@<namespace>", "<service>:<port>@<namespace>": the
 * name under which they travel; and back, borrowed. */
struct str routes_name(const struct model_routes *routes, struct arena *arena);
bool routes_parse_name(struct str name, struct model_routes *out_routes);

/* "<namespace>/<hostname>:<port>" with perhaps a "@<cluster>": a backend as one word; and back. */
struct str route_backend_name(struct str service, uint16_t port, struct str cluster,
                              struct arena *arena);
bool route_parse_backend(struct str name, struct str *out_service, uint16_t *out_port,
                         struct str *out_cluster);

/* Copies that borrow nothing. */
struct route_rule route_rule_copy(struct arena *arena, const struct route_rule *from);
struct route_edits route_edits_copy(struct arena *arena, const struct route_edits *from);
const uint16_t *route_codes_copy(struct arena *arena, const struct route_retry *from);

/* May a route say this: a token of RFC 9110 that is no field of the framing or of one hop; a value
 * without control characters. */
bool route_is_field_name(struct str name);
bool route_is_field_value(struct str value);
bool route_is_method(struct str method);

#endif
