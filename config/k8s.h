/*
 * k8s.h - how the kinds of manifests.h are read out of YAML trees; inside the room.
 *
 * One reader a kind: it gets a document of its group, kind and version and adds an object to the
 * set. Strings are copied into the set; the trees are freed file by file. What is wrong goes to the
 * diag and the object is added all the same, as far as it could be read: the set is thrown away
 * then, but what refers to the object is not told to be missing too.
 */
#ifndef ISTHMUS_CONFIG_K8S_H
#define ISTHMUS_CONFIG_K8S_H

#include "config/manifests.h"
#include "proxy/base/map.h"

struct vec { /* grows on the heap while the files are read */
    void *items;
    size_t len, cap, item_size;
};

/* A new zeroed item at the end; the pointer is good until the next call. */
void *vec_add(struct vec *vec);

enum k8s_kind {
    K8S_NAMESPACE,
    K8S_NODE,
    K8S_POD,
    K8S_SERVICE,
    K8S_ENDPOINT_SLICE,
    K8S_EXPORT,
    K8S_IMPORT,
    K8S_POLICY,
    K8S_TRAFFIC,
    K8S_PEER_AUTH,
    K8S_ROUTE,
    K8S_REQUEST_AUTH,
    K8S_KINDS
};

struct k8s_mention { /* of a cluster by its name */
    struct k8s_mention *next;
    struct place place;
    struct str what, name; /* what: the field */
};

struct k8s_mentions { /* in the order in which they were read */
    struct k8s_mention *first, *last;
};

struct k8s_reader {
    struct manifests *set;
    struct arena *arena; /* of the set */
    struct diag *diag;
    struct str file; /* the current one, in the arena */
    struct vec objects[K8S_KINDS];
    struct map seen;               /* "kind/namespace/name" -> struct place */
    uint64_t content;              /* the hash of the bytes of the file that was opened last */
    uint64_t structure;            /* the hash of all documents but Pods and EndpointSlices */
    size_t n_errors_before;        /* in the diag when the reading began */
    struct k8s_mentions *mentions; /* NULL: nobody asks for them */
};

#define WHAT_MAX 160

/* "spec.ports[3].port" into buf of WHAT_MAX bytes, which is returned. */
const char *what_at(char *buf, const char *format, ...) PRINTF_LIKE(2, 3);

/* A place that outlives the tree. */
struct place k8s_place(const struct k8s_reader *reader, const struct yaml *node);
/* Text in the arena of the set; "" when absent. */
struct str k8s_text(const struct k8s_reader *reader, const struct yaml *node, const char *what);
/* The same, checked; expected says what is wanted. */
struct str k8s_name(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                    bool (*is_valid)(struct str), const char *expected);
/* Notes that the node names a cluster, for who knows which clusters there are. */
void k8s_mention(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                 struct str cluster);
/* A port from 1 to 65535; an error and 0 when the node is absent. parent gives the place then. */
uint16_t k8s_port(const struct k8s_reader *reader, const struct yaml *node,
                  const struct yaml *parent, const char *what);
/* True, with a warning, of what Kubernetes takes and the mesh does not carry: the port is to be
 * left out. */
bool k8s_is_sctp(const struct k8s_reader *reader, const struct yaml *node, const char *what);
/* TCP or UDP ("TCP" when absent); anything else is an error. */
bool k8s_is_udp(const struct k8s_reader *reader, const struct yaml *node, const char *what);
bool k8s_ip(const struct k8s_reader *reader, const struct yaml *node, const char *what,
            struct ip *out_ip);
/* A mapping of texts. */
struct label *k8s_labels(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                         size_t *out_n);
/* The sequence's length, 0 when it is none (which is an error unless absent). At most max, else an
 * error and 0. */
size_t k8s_length(const struct k8s_reader *reader, const struct yaml *list, const char *what,
                  size_t max);

static inline size_t k8s_list(const struct k8s_reader *reader, const struct yaml *node,
                              const char *what, size_t max)
{
    return node ? k8s_length(reader, node, what, max) : 0;
}

/* A mapping inside a sequence; an error and false otherwise. */
bool k8s_item(const struct k8s_reader *reader, const struct yaml *item, const char *what);

/* What policies have in common (k8s_security.c): nothing in them is passed over in silence. known:
 * NULL-terminated. A key that is not known and one without a value are errors. */
void k8s_strict_keys(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                     const char *const *known);
/* The values of a field: at least one, each of them a text that is not empty. Their number. */
size_t k8s_n_values(const struct k8s_reader *reader, const struct yaml *list, const char *what,
                    size_t max);

static inline size_t k8s_values(const struct k8s_reader *reader, const struct yaml *node,
                                const char *what, size_t max)
{
    return node ? k8s_n_values(reader, node, what, max) : 0;
}
struct str k8s_value(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                     size_t idx);
/* Istio's wildcards: one star, at either end; the value copied. Another star is warned of. */
struct string_match k8s_string_match(struct arena *arena, struct str text);
void k8s_warn_star(const struct k8s_reader *reader, const struct yaml *node, const char *what,
                   size_t idx, struct str matched);
/* The same of the document itself and of its metadata. */
void k8s_strict_top(const struct k8s_reader *reader, const struct yaml *doc);
/* spec.selector.matchLabels; n is 0 without any. */
struct label *k8s_selector(const struct k8s_reader *reader, const struct yaml *spec, size_t *out_n);
/* spec.targetRefs, or spec.targetRef as the only one. */
struct k8s_target *k8s_targets(const struct k8s_reader *reader, const struct yaml *spec,
                               const struct object *meta, size_t *out_n);

/* What a policy asks of a request (k8s_policy_request.c), into the match: of a source, of an
 * operation, in a condition. */
struct k8s_condition { /* of a rule's when */
    const struct yaml *key, *values, *not_values;
    const char *item, *what, *not_what; /* its name; those of values and of not_values */
};

#define K8S_POLICY_VALUES_MAX 512

void k8s_read_request_source(const struct k8s_reader *reader, const struct yaml *source,
                             const char *what, enum policy_action action,
                             struct model_match *match);
void k8s_read_request_operation(const struct k8s_reader *reader, const struct yaml *operation,
                                const char *what, struct model_match *match);
/* False when its key is none of a request. */
bool k8s_read_request_condition(const struct k8s_reader *reader,
                                const struct k8s_condition *condition, enum policy_action action,
                                struct model_match *match);

/* RFC 3339 ("2026-01-31T12:00:00Z") as nanoseconds since 1970. */
bool k8s_parse_time(struct str text, int64_t *out_ns);

/* The readers; doc is a mapping, meta is read already. */
void k8s_read_namespace(struct k8s_reader *reader, const struct yaml *doc,
                        const struct object *meta);
void k8s_read_node(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
void k8s_read_pod(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
void k8s_read_service(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
void k8s_read_slice(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
void k8s_read_export(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
void k8s_read_import(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
void k8s_read_policy(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
void k8s_read_traffic(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta);
/* loadBalancing.hashKeys; k8s_traffic_hash.c. After the plain fields. */
void k8s_read_hash_keys(const struct k8s_reader *reader, const struct yaml *spec,
                        struct traffic_policy *policy);
void k8s_read_peer_auth(struct k8s_reader *reader, const struct yaml *doc,
                        const struct object *meta);
void k8s_read_request_auth(struct k8s_reader *reader, const struct yaml *doc,
                           const struct object *meta);
void k8s_read_http_route(struct k8s_reader *reader, const struct yaml *doc,
                         const struct object *meta);
void k8s_read_grpc_route(struct k8s_reader *reader, const struct yaml *doc,
                         const struct object *meta);

/* Ports of a Service or ServiceImport: numbers, names and protocols checked against each other. */
/* What both a Service and a ServiceImport say of where traffic goes; k8s_words.c. */
void k8s_service_words(const struct k8s_reader *reader, const struct yaml *spec,
                       struct service_words *words);
struct k8s_service_port *k8s_service_ports(const struct k8s_reader *reader, const struct yaml *node,
                                           size_t *out_n);

/* manifests.c, for check.c: a set under way. */
void manifests_begin(struct k8s_reader *reader, struct diag *diag);
/* Reads and parses a file; its trees go into scratch, errors into the diag. Returns the number of
 * documents. */
size_t manifests_open_file(struct k8s_reader *reader, const char *path, struct arena *scratch,
                           struct yaml ***out_docs);
/* Reads a document that is a Kubernetes object or a List of them. */
void manifests_add_doc(struct k8s_reader *reader, const struct yaml *doc);
/* The set, or NULL when the diag has errors. Frees what the reader holds. */
struct manifests *manifests_end(struct k8s_reader *reader);

#endif
