/* TrafficPolicy's loadBalancing.hashKeys. */
#include "config/k8s.h"
#include "config/snapshot_build.h"
#include "proxy/base/ascii.h"

#define TTL_MIN_NS UINT64_C(1000000000)

static const char what_keys[] = "spec.loadBalancing.hashKeys";

static const char *const key_words[] = {
    [HASH_KEY_HEADER] = "header",
    [HASH_KEY_COOKIE] = "cookie",
    [HASH_KEY_QUERY] = "queryParameter",
    [HASH_KEY_PATH] = "path",
    [HASH_KEY_SOURCE_ADDRESS] = "sourceAddress",
    [HASH_KEY_SOURCE_PRINCIPAL] = "sourcePrincipal",
    [HASH_KEY_KINDS] = NULL,
};

/* With a ttl the client is given one; "0s" is one that lasts as long as the client runs. */
static void read_cookie(const struct k8s_reader *reader, const struct yaml *node, size_t idx,
                        struct hash_key *key)
{
    static const char *const known[] = {"name", "ttl", "path", NULL};
    const struct yaml *ttl = yaml_get(node, "ttl"), *path = yaml_get(node, "path");
    char what[WHAT_MAX];
    if (!yaml_is_mapping(node, what_at(what, "%s[%zu].cookie", what_keys, idx), reader->diag))
        return;
    k8s_strict_keys(reader, node, what, known);
    key->name = k8s_text(reader, yaml_get(node, "name"),
                         what_at(what, "%s[%zu].cookie.name", what_keys, idx));
    key->is_given = ttl != NULL;
    if (ttl &&
        !(ttl->kind == YAML_TEXT && (str_eq(ttl->text, STR("0s")) || str_eq(ttl->text, STR("0")))))
        key->ttl_ns = yaml_duration_ns(ttl, what_at(what, "%s[%zu].cookie.ttl", what_keys, idx),
                                       TTL_MIN_NS, HASH_KEY_TTL_MAX, TTL_MIN_NS, reader->diag);
    (void)what_at(what, "%s[%zu].cookie.path", what_keys, idx);
    if (path && !ttl)
        diag_error(reader->diag, path->place, "%s: is of a cookie that is given; say its ttl too",
                   what);
    key->path = path ? k8s_text(reader, path, what) : ttl ? STR("/") : (struct str){0};
}

static void read_key(const struct k8s_reader *reader, const struct yaml *item, size_t idx,
                     struct hash_key *key)
{
    const struct yaml *node = NULL;
    char what[WHAT_MAX];
    size_t n = 0;
    if (!k8s_item(reader, item, what_at(what, "%s[%zu]", what_keys, idx)))
        return;
    k8s_strict_keys(reader, item, what, key_words);
    for (int kind = 0; kind < HASH_KEY_KINDS; kind++) {
        const struct yaml *of_kind = yaml_get(item, key_words[kind]);
        if (!of_kind)
            continue;
        node = of_kind;
        key->kind = (enum hash_key_kind)kind;
        n++;
    }
    if (n != 1) {
        diag_error(reader->diag, item->place,
                   "%s: expected exactly one of header, cookie, queryParameter, path, "
                   "sourceAddress and sourcePrincipal",
                   what);
        return;
    }
    key->is_terminal = true;
    (void)what_at(what, "%s[%zu].%s", what_keys, idx, key_words[key->kind]);
    switch (key->kind) {
    case HASH_KEY_HEADER:
        key->name = ascii_lower_str(reader->arena, k8s_text(reader, node, what));
        return;
    case HASH_KEY_QUERY: key->name = k8s_text(reader, node, what); return;
    case HASH_KEY_COOKIE: read_cookie(reader, node, idx, key); return;
    case HASH_KEY_PATH:
    case HASH_KEY_SOURCE_ADDRESS:
    case HASH_KEY_SOURCE_PRINCIPAL:
    case HASH_KEY_KINDS: break;
    }
    static const char *const nothing[] = {NULL};
    if (yaml_is_mapping(node, what, reader->diag))
        k8s_strict_keys(reader, node, what, nothing);
}

void k8s_read_hash_keys(const struct k8s_reader *reader, const struct yaml *spec,
                        struct traffic_policy *policy)
{
    const struct yaml *list = yaml_path(spec, "loadBalancing.hashKeys");
    const size_t n = k8s_values(reader, list, what_keys, HASH_KEYS_MAX);
    const size_t n_errors = reader->diag->n_errors;
    struct hash_key *keys = arena_new_array(reader->arena, struct hash_key, n);
    struct text why = {0};
    if (!list)
        return;
    for (size_t i = 0; i < n; i++)
        read_key(reader, list->items[i], i, &keys[i]);
    if (yaml_path(spec, "loadBalancing.hashOn"))
        diag_error(reader->diag, list->place,
                   "%s: stands in place of hashOn; leave one of the two out", what_keys);
    if (policy->algorithm != ALGORITHM_RING_HASH && policy->algorithm != ALGORITHM_MAGLEV)
        diag_error(reader->diag, list->place, "%s: needs algorithm RingHash or Maglev", what_keys);
    if (reader->diag->n_errors == n_errors && !hash_keys_check(keys, n, what_keys, &why))
        diag_error(reader->diag, list->place, "%.*s", STR_ARG(text_str(&why)));
    text_fini(&why);
    policy->hash_keys = keys;
    policy->n_hash_keys = n;
}
