/*
 * yaml.h - YAML documents as trees that remember where everything stood.
 *
 * On libyaml. Refused, each with its place: tabs as indentation, duplicate keys, keys that are not
 * scalars, aliases that make a cycle, more than YAML_DEPTH_MAX levels, more than YAML_NODES_MAX
 * nodes, a file over YAML_BYTES_MAX, text that is not UTF-8; merge keys (<<) and tags that are not
 * YAML's own, since they would be lost silently. Multi-document streams and `kind: List` are for
 * the caller to walk.
 *
 * Scalars are text; typed readers below say what they expected. "null" (Null, NULL), "~" and "" as
 * plain scalars are absent values.
 * Owner: the tree lives in the arena it was read into, file name
 * included. Thread: any.
 */
#ifndef ISTHMUS_CONFIG_YAML_H
#define ISTHMUS_CONFIG_YAML_H

#include "proxy/base/addr.h"
#include "proxy/base/diag.h"

#define YAML_DEPTH_MAX 64
#define YAML_NODES_MAX 1000000
#define YAML_BYTES_MAX ((size_t)64 << 20)

enum yaml_kind { YAML_NULL, YAML_TEXT, YAML_SEQUENCE, YAML_MAPPING };

struct yaml {
    enum yaml_kind kind;
    struct place place;
    struct str text;     /* YAML_TEXT */
    bool quoted;         /* the scalar had quotes or block style: never a number, bool or null */
    struct yaml **items; /* YAML_SEQUENCE: elements; YAML_MAPPING: values */
    struct yaml **keys;  /* YAML_MAPPING, in order of appearance */
    size_t len;
};

/* Reads every document of the bytes. Returns how many trees were put into *out_docs (arena array;
 * empty documents are left out). Errors go to the diag; documents before the first error are still
 * returned. */
size_t yaml_parse(struct arena *arena, struct str file, struct str bytes, struct yaml ***out_docs,
                  struct diag *diag);

/* The value under a key of a mapping; NULL when node is NULL, no mapping, or has no such key or a
 * null there. */
struct yaml *yaml_get(const struct yaml *node, const char *key);
/* The same along "metadata.labels.app"-like paths whose keys have no dots. */
struct yaml *yaml_path(const struct yaml *node, const char *path);

/* A hash of the tree: of its kinds, texts and keys, not of where they stood; over the one before.
 */
uint64_t yaml_hash(const struct yaml *node, uint64_t before);

/* yaml_json.c: appends the tree as JSON, which reads as the same tree; a plain scalar that JSON has
 * no form for becomes a string. */
void yaml_json(const struct yaml *node, struct text *out);

/* Typed readers. A NULL node gives the fallback; a wrong value adds an error that names the field
 * (what, a dotted path such as "spec.ports[0].port"), the value and what was expected, and gives
 * the fallback. */
struct str yaml_text(const struct yaml *node, const char *what, struct str fallback,
                     struct diag *diag);
bool yaml_bool(const struct yaml *node, const char *what, bool fallback, struct diag *diag);
uint64_t yaml_u64(const struct yaml *node, const char *what, uint64_t min, uint64_t max,
                  uint64_t fallback, struct diag *diag);
uint64_t yaml_duration_ns(const struct yaml *node, const char *what, uint64_t min_ns,
                          uint64_t max_ns, uint64_t fallback_ns, struct diag *diag);
/* True when node is a mapping / sequence; adds an error and gives false when it is something else;
 * false when NULL. */
bool yaml_must_be(enum yaml_kind kind, const struct yaml *node, const char *what,
                  struct diag *diag);

static inline bool yaml_is_mapping(const struct yaml *node, const char *what, struct diag *diag)
{
    return node && yaml_must_be(YAML_MAPPING, node, what, diag);
}

static inline bool yaml_is_sequence(const struct yaml *node, const char *what, struct diag *diag)
{
    return node && yaml_must_be(YAML_SEQUENCE, node, what, diag);
}

/* The word of the NULL-terminated list that may be meant by one with a typing mistake: fewer than
 * so many letters differ, in any case. NULL: none. */
const char *yaml_nearest(struct str word, const char *const *known, size_t max_distance);
/* Adds an error for every key of the mapping that is not in the NULL-terminated list, naming the
 * nearest known one. */
void yaml_only_keys(const struct yaml *node, const char *what, const char *const *known,
                    struct diag *diag);

#endif
