/* PeerAuthentication (security.istio.io): who may come without mutual TLS. */
#include "config/k8s.h"

#define PORTS_MAX 256

static const char *const mode_words[] = {"UNSET", "DISABLE", "PERMISSIVE", "STRICT"};

/* {mode: ...}; UNSET when there is none. */
static enum mtls_mode read_mode(const struct k8s_reader *reader, const struct yaml *node,
                                const char *what)
{
    static const char *const known[] = {"mode", NULL};
    char buf[WHAT_MAX];
    if (!yaml_is_mapping(node, what, reader->diag))
        return MTLS_UNSET;
    k8s_strict_keys(reader, node, what, known);
    const struct yaml *mode = yaml_get(node, "mode");
    struct str text =
        yaml_text(mode, what_at(buf, "%s.mode", what), str_from(mode_words[0]), reader->diag);
    for (size_t i = 0; i < ARRAY_LEN(mode_words); i++) {
        if (!str_eq(text, str_from(mode_words[i])))
            continue;
        if (i == MTLS_DISABLE)
            diag_warn(reader->diag, mode->place,
                      "%s: DISABLE counts as PERMISSIVE; callers in the mesh still come by mutual "
                      "TLS",
                      buf);
        return (enum mtls_mode)i;
    }
    if (mode->kind == YAML_TEXT)
        diag_error(reader->diag, mode->place,
                   "%s: \"%.*s\" is not UNSET, DISABLE, PERMISSIVE or STRICT", buf,
                   STR_ARG(str_sub(text, 0, 40)));
    return MTLS_UNSET;
}

static bool is_twice(const struct k8s_peer_auth *auth, uint16_t port)
{
    for (size_t i = 0; i < auth->n_ports; i++)
        if (auth->ports[i].port == port)
            return true;
    return false;
}

static void read_port(const struct k8s_reader *reader, const struct yaml *key,
                      const struct yaml *value, struct k8s_peer_auth *auth)
{
    char what[WHAT_MAX];
    uint64_t port = 0;
    (void)what_at(what, "spec.portLevelMtls.%.*s", STR_ARG(str_sub(key->text, 0, 40)));
    if (!str_to_u64(key->text, UINT16_MAX, &port) || port == 0)
        diag_error(reader->diag, key->place, "%s: is not a port (1 to 65535)", what);
    else if (is_twice(auth, (uint16_t)port))
        diag_error(reader->diag, key->place, "%s: is there twice", what);
    if (value->kind == YAML_NULL)
        diag_error(reader->diag, key->place, "%s: is empty; give it a mode or leave it out", what);
    else
        auth->ports[auth->n_ports++] =
            (struct k8s_port_mtls){(uint16_t)port, read_mode(reader, value, what)};
}

static void read_ports(const struct k8s_reader *reader, const struct yaml *node,
                       struct k8s_peer_auth *auth)
{
    if (!yaml_is_mapping(node, "spec.portLevelMtls", reader->diag))
        return;
    if (node->len == 0 || node->len > PORTS_MAX) {
        diag_error(reader->diag, node->place, "spec.portLevelMtls: has %zu ports, expected 1 to %d",
                   node->len, PORTS_MAX);
        return;
    }
    if (auth->n_selector == 0)
        diag_error(reader->diag, node->place,
                   "spec.portLevelMtls: needs a selector; ports are of workloads");
    auth->ports = arena_new_array(reader->arena, struct k8s_port_mtls, node->len);
    for (size_t i = 0; i < node->len; i++)
        read_port(reader, node->keys[i], node->items[i], auth);
}

void k8s_read_peer_auth(struct k8s_reader *reader, const struct yaml *doc,
                        const struct object *meta)
{
    static const char *const known[] = {"selector", "mtls", "portLevelMtls", NULL};
    struct k8s_peer_auth *auth = vec_add(&reader->objects[K8S_PEER_AUTH]);
    const struct yaml *spec = yaml_get(doc, "spec");
    auth->meta = *meta;
    k8s_strict_top(reader, doc);
    if (yaml_is_mapping(spec, "spec", reader->diag))
        k8s_strict_keys(reader, spec, "spec", known);
    auth->selector = k8s_selector(reader, spec, &auth->n_selector);
    auth->mode = read_mode(reader, yaml_get(spec, "mtls"), "spec.mtls");
    read_ports(reader, yaml_get(spec, "portLevelMtls"), auth);
}
