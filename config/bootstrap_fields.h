/*
 * bootstrap_fields.h - what the two configuration kinds of bootstrap.h have in common: their
 * fields, read and checked.
 *
 * Inside the room. Every reader adds an error with the field's place when the value is wrong or a
 * required one is absent, and gives the fallback. Strings are copied into the arena of the
 * configuration.
 */
#ifndef ISTHMUS_CONFIG_BOOTSTRAP_FIELDS_H
#define ISTHMUS_CONFIG_BOOTSTRAP_FIELDS_H

#include "config/bootstrap.h"
#include "config/yaml.h"

#define ISTHMUS_API_GROUP   "isthmus.io/"
#define ISTHMUS_API_VERSION "isthmus.io/v1alpha1"

struct fields {
    struct arena *arena; /* of the configuration */
    struct diag *diag;
    const struct yaml *node; /* the mapping that the keys are looked up in */
    const char *prefix;      /* its path with a dot behind it, "" at the top */
};

/* The fields of a mapping below a key; its node is NULL when it is absent, and a wrong one is an
 * error. */
struct fields fields_below(const struct fields *fields, const char *key, const char *prefix);

enum field_need { FIELD_OPTIONAL, FIELD_REQUIRED };

/* The node under a key; an error when it is required and absent. */
const struct yaml *field(const struct fields *fields, const char *key, enum field_need need);

/* apiVersion is there and is the one this version reads. */
void field_version(const struct fields *top);
/* Any text. */
struct str field_text(const struct fields *fields, const char *key, enum field_need need,
                      const char *fallback);
/* A path, relative to the folder of the file. */
struct str field_path(const struct fields *fields, const char *key, enum field_need need);
/* Text that a check accepts; expected says what it wants ("a name such as west-1 (RFC 1123)"). */
struct str field_name(const struct fields *fields, const char *key, enum field_need need,
                      const char *fallback, bool (*is_valid)(struct str), const char *expected);
bool field_is_trust_domain(struct str text);
struct str field_trust_domain(const struct fields *fields, const char *key);
struct endpoint_name field_endpoint(const struct fields *fields, const char *key);
uint64_t field_u64(const struct fields *fields, const char *key, uint64_t min, uint64_t max,
                   uint64_t fallback);
uint64_t field_duration(const struct fields *fields, const char *key, uint64_t min_ns,
                        uint64_t max_ns, uint64_t fallback_ns);
bool field_bool(const struct fields *fields, const char *key, bool fallback);
enum log_level field_log_level(const struct fields *fields, const char *key);
/* The index of the text in the words (NULL-terminated), or the fallback. */
unsigned field_word(const struct fields *fields, const char *key, const char *const *words,
                    unsigned fallback);

/* The key tracing (bootstrap_tracing.c). */
void read_tracing(const struct fields *top, struct tracing_config *tracing);
/* The keys identity and trustBundles (bootstrap_identity.c). */
void read_identity(const struct fields *top, struct proxy_config *config);
/* urls_allowed: entries may name federation endpoints. */
struct trust_bundle_config *read_trust_bundles(const struct fields *top, bool urls_allowed,
                                               size_t *out_n);

struct port_field {
    const char *key;
    uint16_t fallback;
    uint16_t *out_port;
};

/* Ports of a mapping, 1 to 65535, each used once. taken is one that is in use already (0: none) and
 * by what. */
void field_ports(const struct fields *fields, const struct port_field *ports, size_t n_ports,
                 uint16_t taken, const char *taken_by);

#endif
