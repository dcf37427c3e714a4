/*
 * k8s_route.h - what the readers of HTTPRoute and GRPCRoute share; inside the room.
 */
#ifndef ISTHMUS_CONFIG_K8S_ROUTE_H
#define ISTHMUS_CONFIG_K8S_ROUTE_H

#include "config/k8s.h"

/* The bounds of Gateway API's CRDs. */
#define K8S_ROUTE_PARENTS_MAX  32
#define K8S_ROUTE_RULES_MAX    16
#define K8S_ROUTE_MATCHES_MAX  64  /* of one rule */
#define K8S_ROUTE_MATCHES_ALL  128 /* of one route */
#define K8S_ROUTE_LIST_MAX     16  /* headers, parameters, filters, backends, edits */
#define K8S_ROUTE_HEADER_MAX   256 /* bytes of a field's name */
#define K8S_ROUTE_HOSTNAME_MAX 253

/* k8s_route_parts.c */
/* A required text; "" after an error. */
struct str k8s_route_word(const struct k8s_reader *reader, const struct yaml *parent,
                          const char *key, const char *what);
/* group, kind, namespace, name and port of what requests are sent to; keys: what may stand there.
 */
struct k8s_route_ref k8s_route_ref(const struct k8s_reader *reader, const struct yaml *node,
                                   const char *what, const char *const *keys,
                                   const struct object *meta);
/* A path as a route may name it, in normal form; "" after an error. */
struct str k8s_route_path(const struct k8s_reader *reader, const struct yaml *node,
                          const char *what);
/* A header's name in lower case. */
struct str k8s_route_header(const struct k8s_reader *reader, const struct yaml *node,
                            const struct yaml *parent, const char *what);
/* requestHeaderModifier, responseHeaderModifier */
void k8s_route_edits(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                     struct route_edits *out_edits);

/* k8s_route_match.c: spec.rules[].matches; without any, one that takes everything. */
void k8s_route_matches(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                       bool is_grpc, struct k8s_route_rule *out_rule);

/* k8s_route_filter.c: spec.rules[].filters and what they do to the rule; "at most one" and "not
 * together" too. */
void k8s_route_filters(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                       const struct object *meta, bool is_grpc, struct k8s_route_rule *out_rule);

/* k8s_route_backend.c: spec.rules[].backendRefs with their filters. */
void k8s_route_backends(const struct k8s_reader *reader, const struct yaml *rule, const char *what,
                        const struct object *meta, struct k8s_route_rule *out_rule);

#endif
