/* kind: ControlConfig. */
#include <stdio.h>
#include <string.h>

#include "config/bootstrap_doc.h"
#include "config/bootstrap_fields.h"
#include "config/manifests.h"
#include "config/names.h"
#include "config/traffic_fields.h"
#include "config/url.h"
#include "proxy/base/clock.h"

#define SECOND NS_PER_SEC
#define HOUR   (3600 * NS_PER_SEC)

static void read_listen(const struct fields *top, struct control_config *config)
{
    const struct yaml *node = field(top, "listen", FIELD_OPTIONAL);
    struct str text = yaml_text(node, "listen", STR("[::]:15012"), top->diag);
    struct addr addr = {0};
    if (addr_parse(text, &addr) == 0 && addr.port != 0)
        config->listen = addr;
    else
        diag_error(top->diag, node->place,
                   "listen: \"%.*s\" is not address:port (such as 0.0.0.0:15012 or [::]:15012)",
                   STR_ARG(text));
}

static bool has_host_bits(struct str text)
{
    struct str host, length;
    struct cidr single;
    uint64_t bits;
    return str_split(text, '/', &host, &length) && cidr_parse(host, &single) == 0 &&
           str_to_u64(length, single.prefix_len, &bits);
}

static void read_range(const struct yaml *item, size_t idx, struct control_config *config,
                       struct diag *diag)
{
    struct cidr range;
    struct str text = yaml_text(item, "clusterSetIPs", (struct str){0}, diag);
    if (item->kind == YAML_NULL)
        diag_error(diag, item->place, "clusterSetIPs[%zu]: is empty, expected a range", idx);
    if (item->kind != YAML_TEXT)
        return;
    if (cidr_parse(text, &range) != 0) {
        diag_error(diag, item->place, "clusterSetIPs[%zu]: \"%.*s\" %s", idx, STR_ARG(text),
                   has_host_bits(text) ? "has bits set behind its length"
                                       : "is not a range such as 10.201.0.0/16 or fd00:201::/112");
        return;
    }
    if (range.ip.len * 8u - range.prefix_len < 2)
        diag_error(diag, item->place, "clusterSetIPs[%zu]: \"%.*s\" holds too few addresses", idx,
                   STR_ARG(text));
    for (size_t i = 0; i < config->n_ranges; i++)
        if (config->ranges[i].ip.len == range.ip.len) {
            diag_error(diag, item->place,
                       "clusterSetIPs[%zu]: \"%.*s\" is a second range of IPv%c; one range a "
                       "family",
                       idx, STR_ARG(text), range.ip.len == 4 ? '4' : '6');
            return;
        }
    config->ranges[config->n_ranges++] = range;
}

static void read_ranges(const struct fields *top, struct control_config *config)
{
    const struct yaml *node = field(top, "clusterSetIPs", FIELD_REQUIRED);
    if (!yaml_is_sequence(node, "clusterSetIPs", top->diag))
        return;
    if (node->len == 0)
        diag_error(top->diag, node->place, "clusterSetIPs: is empty, expected one range a family");
    for (size_t i = 0; i < node->len; i++)
        read_range(node->items[i], i, config, top->diag);
}

static void check_peer_name(const struct peer_config *peer, size_t idx, const struct yaml *list,
                            const struct control_config *config, struct diag *diag)
{
    const struct yaml *node = yaml_get(list->items[idx], "name");
    if (!node)
        return;
    if (str_eq(peer->name, config->cluster))
        diag_error(diag, node->place, "peers[%zu].name: \"%.*s\" is this cluster itself", idx,
                   STR_ARG(peer->name));
    for (size_t i = 0; i < idx; i++) {
        const struct yaml *other = yaml_get(list->items[i], "name");
        if (other && str_eq(config->peers[i].name, peer->name))
            diag_error(diag, node->place,
                       "peers[%zu].name: \"%.*s\" is there twice, first at %u:%u", idx,
                       STR_ARG(peer->name), other->place.line, other->place.column);
    }
}

/* Of a cluster, for TrafficPolicies to select it by. */
static struct label *read_labels(const struct fields *fields, size_t *out_n)
{
    const struct yaml *node = field(fields, "labels", FIELD_OPTIONAL);
    char what[64];
    (void)snprintf(what, sizeof(what), "%slabels", fields->prefix);
    *out_n = 0;
    if (!yaml_is_mapping(node, what, fields->diag))
        return NULL;
    struct label *labels = arena_new_array(fields->arena, struct label, node->len);
    for (size_t i = 0; i < node->len; i++) {
        labels[i].key = arena_str(fields->arena, node->keys[i]->text);
        labels[i].value = arena_str(fields->arena,
                                    yaml_text(node->items[i], what, (struct str){0}, fields->diag));
    }
    *out_n = node->len;
    return labels;
}

static void read_price(const struct fields *fields, struct peer_config *peer)
{
    const struct yaml *node = field(fields, "pricePerGB", FIELD_OPTIONAL);
    if (!node)
        return;
    if (node->kind != YAML_TEXT || !traffic_parse_decimal(node->text, 6, &peer->price_micro) ||
        peer->price_micro > TRAFFIC_PRICE_MAX_MICRO)
        diag_error(fields->diag, node->place,
                   "%spricePerGB: \"%.*s\" is not a price such as 0.02 (0 to 1000000, six decimals "
                   "at most)",
                   fields->prefix, STR_ARG(str_sub(node->text, 0, 40)));
}

static void read_peer(const struct fields *top, const struct yaml *list, size_t idx,
                      struct control_config *config)
{
    static const char *const keys[] = {"name",   "address",    "trustDomain", "trustBundle",
                                       "labels", "pricePerGB", NULL};
    const struct yaml *item = list->items[idx];
    struct str prefix = arena_printf(top->arena, "peers[%zu].", idx);
    struct peer_config *peer = &config->peers[idx];
    if (item->kind != YAML_MAPPING) {
        diag_error(top->diag, item->place, "peers[%zu]: expected a mapping", idx);
        return;
    }
    struct fields fields = {top->arena, top->diag, item, prefix.ptr};
    yaml_only_keys(item, arena_printf(top->arena, "peers[%zu]", idx).ptr, keys, top->diag);
    peer->name = field_name(&fields, "name", FIELD_REQUIRED, "", name_is_cluster,
                            "a cluster's name (RFC 1123, 127 letters at most)");
    peer->address = field_endpoint(&fields, "address");
    peer->trust_domain = field_trust_domain(&fields, "trustDomain");
    peer->trust_bundle = field_path(&fields, "trustBundle", FIELD_REQUIRED);
    peer->labels = read_labels(&fields, &peer->n_labels);
    read_price(&fields, peer);
    check_peer_name(peer, idx, list, config, top->diag);
}

static void read_peers(const struct fields *top, struct control_config *config)
{
    const struct yaml *node = field(top, "peers", FIELD_OPTIONAL);
    if (!yaml_is_sequence(node, "peers", top->diag))
        return;
    if (node->len > PEERS_MAX) {
        diag_error(top->diag, node->place, "peers: has %zu entries, %d at most", node->len,
                   PEERS_MAX);
        return;
    }
    config->peers = arena_new_array(top->arena, struct peer_config, node->len);
    config->n_peers = node->len;
    for (size_t i = 0; i < node->len; i++)
        read_peer(top, node, i, config);
}

/* NULL, or why the alias is none. */
static const char *alias_fault(const struct control_config *config, struct str alias)
{
    if (!field_is_trust_domain(alias))
        return "is not a trust domain (lower-case letters, digits, dots, dashes)";
    if (str_eq(alias, config->trust_domain))
        return "is trustDomain itself";
    for (size_t i = 0; i < config->n_trust_domain_aliases; i++)
        if (str_eq(alias, config->trust_domain_aliases[i]))
            return "is there twice";
    for (size_t i = 0; i < config->n_peers; i++)
        if (str_eq(alias, config->peers[i].trust_domain))
            return "is a peer's trust domain, whose identities would count as ours";
    return NULL;
}

static void read_aliases(const struct fields *top, struct control_config *config)
{
    const struct yaml *node = field(top, "trustDomainAliases", FIELD_OPTIONAL);
    char what[64];
    if (!yaml_is_sequence(node, "trustDomainAliases", top->diag))
        return;
    if (node->len > TRUST_DOMAIN_ALIASES_MAX) {
        diag_error(top->diag, node->place, "trustDomainAliases: has %zu entries, %d at most",
                   node->len, TRUST_DOMAIN_ALIASES_MAX);
        return;
    }
    config->trust_domain_aliases = arena_new_array(top->arena, struct str, node->len);
    for (size_t i = 0; i < node->len; i++) {
        (void)snprintf(what, sizeof(what), "trustDomainAliases[%zu]", i);
        struct str alias = yaml_text(node->items[i], what, (struct str){0}, top->diag);
        const char *fault = alias_fault(config, alias);
        if (!fault)
            config->trust_domain_aliases[config->n_trust_domain_aliases++] =
                arena_str(top->arena, alias);
        else if (node->items[i]->kind == YAML_TEXT)
            diag_error(top->diag, node->items[i]->place, "%s: \"%.*s\" %s", what,
                       STR_ARG(str_sub(alias, 0, 80)), fault);
    }
}

static void read_ports(const struct fields *top, struct control_config *config)
{
    static const char *const keys[] = {"metrics", "ready", "admin", NULL};
    const struct port_field ports[] = {
        {"metrics", 15020, &config->ports.metrics},
        {"ready", 15021, &config->ports.ready},
        {"admin", 15000, &config->ports.admin},
    };
    struct fields fields = fields_below(top, "ports", "ports.");
    yaml_only_keys(fields.node, "ports", keys, fields.diag);
    field_ports(&fields, ports, ARRAY_LEN(ports), config->listen.port, "listen");
}

/* ---- where objects come from ---- */

static struct str path_or(const struct fields *fields, const char *key, const char *fallback)
{
    const struct str path = field_path(fields, key, FIELD_OPTIONAL);
    return str_is_empty(path) ? str_from(fallback) : path;
}

static void read_server(const struct fields *fields, struct kubernetes_config *kubernetes)
{
    const struct yaml *node = field(fields, "server", FIELD_OPTIONAL);
    const struct str text = yaml_text(node, "kubernetes.server", (struct str){0}, fields->diag);
    struct url url;
    if (!node || node->kind != YAML_TEXT)
        return;
    const char *why = url_parse(text, false, fields->arena, &url);
    if (!why && !str_eq(url.path, STR("/")))
        why = "must not have a path";
    if (why)
        diag_error(fields->diag, node->place, "kubernetes.server: \"%.*s\" %s", STR_ARG(text), why);
    else
        kubernetes->server = url.server;
}

static void read_kubernetes(const struct fields *top, const struct yaml *node,
                            struct kubernetes_config *kubernetes)
{
    static const char *const keys[] = {"server", "tokenFile", "trustBundle", NULL};
    const struct fields fields = fields_below(top, "kubernetes", "kubernetes.");
    kubernetes->is_used = true;
    kubernetes->place = (struct place){arena_str(top->arena, node->place.file), node->place.line,
                                       node->place.column};
    if (!fields.node)
        return;
    yaml_only_keys(fields.node, "kubernetes", keys, fields.diag);
    read_server(&fields, kubernetes);
    kubernetes->token_file = path_or(&fields, "tokenFile", KUBERNETES_SERVICE_ACCOUNT "/token");
    kubernetes->trust_bundle =
        path_or(&fields, "trustBundle", KUBERNETES_SERVICE_ACCOUNT "/ca.crt");
}

/* Exactly one of the two. */
static void read_source(const struct fields *top, struct control_config *config)
{
    const struct yaml *manifests = field(top, "manifests", FIELD_OPTIONAL);
    const struct yaml *kubernetes = field(top, "kubernetes", FIELD_OPTIONAL);
    if (manifests && kubernetes)
        diag_error(top->diag, kubernetes->place,
                   "kubernetes: cannot stand beside manifests, first at %u:%u; objects come from "
                   "the API server or from a folder",
                   manifests->place.line, manifests->place.column);
    else if (!manifests && !kubernetes)
        diag_error(top->diag, top->node->place,
                   "manifests: is required, or kubernetes ({} in a pod) where the API server is to "
                   "be asked");
    else if (kubernetes)
        read_kubernetes(top, kubernetes, &config->kubernetes);
    else
        config->manifests_dir = field_path(top, "manifests", FIELD_REQUIRED);
}

void bootstrap_use_pod(struct control_config *config, const char *host, const char *port,
                       struct diag *diag)
{
    struct kubernetes_config *kubernetes = &config->kubernetes;
    struct text authority = {0};
    if (!kubernetes->is_used || kubernetes->server.host.len > 0)
        return;
    if (!host || !port) {
        diag_error(diag, kubernetes->place,
                   "kubernetes.server: is required where KUBERNETES_SERVICE_HOST and "
                   "KUBERNETES_SERVICE_PORT are not set, as they are in a pod");
        return;
    }
    text_addf(&authority, strchr(host, ':') ? "[%s]:%s" : "%s:%s", host, port);
    const struct str kept = arena_str(&config->arena, text_str(&authority));
    if (!name_split_host_port(kept, &kubernetes->server.host, &kubernetes->server.port))
        diag_error(diag, kubernetes->place,
                   "kubernetes.server: KUBERNETES_SERVICE_HOST \"%s\" and KUBERNETES_SERVICE_PORT "
                   "\"%s\" are no host and port",
                   host, port);
    text_fini(&authority);
}

static void read_names(const struct fields *top, struct control_config *config)
{
    config->cluster = field_name(top, "cluster", FIELD_REQUIRED, "", name_is_cluster,
                                 "a cluster's name (RFC 1123, 127 letters at most)");
    config->network = field_text(top, "network", FIELD_OPTIONAL, "");
    config->trust_domain = field_trust_domain(top, "trustDomain");
    config->cluster_domain = field_name(top, "clusterDomain", FIELD_OPTIONAL, "cluster.local",
                                        name_is_subdomain, "a domain (RFC 1123)");
    config->root_namespace = field_name(top, "rootNamespace", FIELD_OPTIONAL, ROOT_NAMESPACE,
                                        name_is_label, "a namespace (RFC 1123 label)");
}

void bootstrap_doc_control(const struct yaml *doc, struct control_config *config, struct diag *diag)
{
    static const char *const keys[] = {"apiVersion",
                                       "kind",
                                       "cluster",
                                       "network",
                                       "trustDomain",
                                       "trustDomainAliases",
                                       "clusterDomain",
                                       "rootNamespace",
                                       "manifests",
                                       "kubernetes",
                                       "stateDir",
                                       "listen",
                                       "clusterSetIPs",
                                       "tokensDir",
                                       "workloadCertificateTTL",
                                       "peerLease",
                                       "peers",
                                       "trustBundles",
                                       "ports",
                                       "log",
                                       "labels",
                                       NULL};
    static const char *const log_keys[] = {"level", NULL};
    struct fields top = {&config->arena, diag, doc, ""};
    if (!yaml_is_mapping(doc, "the document", diag))
        return;
    yaml_only_keys(doc, "", keys, diag);
    field_version(&top);
    read_names(&top, config);
    read_source(&top, config);
    config->state_dir = field_path(&top, "stateDir", FIELD_REQUIRED);
    config->tokens_dir = field_path(&top, "tokensDir", FIELD_REQUIRED);
    read_listen(&top, config);
    read_ranges(&top, config);
    config->workload_ttl_ns =
        field_duration(&top, "workloadCertificateTTL", SECOND, 720 * HOUR, 24 * HOUR);
    config->peer_lease_ns = field_duration(&top, "peerLease", SECOND, HOUR, 30 * SECOND);
    config->labels = read_labels(&top, &config->n_labels);
    read_peers(&top, config);
    read_aliases(&top, config);
    config->trust_bundles = read_trust_bundles(&top, true, &config->n_trust_bundles);
    read_ports(&top, config);
    struct fields log = fields_below(&top, "log", "log.");
    yaml_only_keys(log.node, "log", log_keys, diag);
    config->log_level = field_log_level(&log, "level");
}
