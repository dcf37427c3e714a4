/*
 * spiffe.h - SPIFFE IDs: parsed strictly, compared by bytes.
 *
 * Source: SPIFFE-ID standard, section 2. Scheme and trust domain in lower case only, no userinfo,
 * port, query, fragment, percent-encoding, empty, "." or ".." segments; at most 2048 bytes. The
 * scheme in capitals is refused too, as go-spiffe does, although section 2.4 allows it.
 *
 * Values; trust_domain and path are views into text. Thread: any.
 */
#ifndef ISTHMUS_CERTS_SPIFFE_H
#define ISTHMUS_CERTS_SPIFFE_H

#include "proxy/base/arena.h"
#include "proxy/base/str.h"

#define SPIFFE_ID_MAX 2048

struct spiffe_id {
    struct str text;         /* spiffe://td/path */
    struct str trust_domain; /* td */
    struct str path;         /* /path, empty for a trust domain's own ID */
};

/* Parses borrowed text, whose bytes the result points into. 0 or -ERR_INVALID; *out_why then says
 * what is wrong (constant; may be NULL). */
MUST_USE int spiffe_parse(struct str text, struct spiffe_id *out_id, const char **out_why);

/* A trust domain name alone ("west.example"): 0 or -ERR_INVALID. */
MUST_USE int spiffe_check_trust_domain(struct str name);

/* "spiffe://td/ns/<ns>/sa/<sa>", allocated in the arena. The parts are Kubernetes names and not
 * checked again. */
struct str spiffe_for_workload(struct arena *arena, struct str trust_domain, struct str namespace_,
                               struct str service_account);

/* True when the path is exactly /ns/<ns>/sa/<sa>: both parts out. */
bool spiffe_workload_parts(const struct spiffe_id *id, struct str *out_namespace,
                           struct str *out_service_account);

/* IDs of our own processes: "spiffe://td/isthmus/node/<node>" and "spiffe://td/isthmus/control". */
struct str spiffe_for_node(struct arena *arena, struct str trust_domain, struct str node);
struct str spiffe_for_control(struct arena *arena, struct str trust_domain);
/* True when the path is /isthmus/node/<node>: the node out. */
bool spiffe_node_name(const struct spiffe_id *id, struct str *out_node);

/* The principal as policies write it: without "spiffe://". */
struct str spiffe_principal(const struct spiffe_id *id);

#endif
