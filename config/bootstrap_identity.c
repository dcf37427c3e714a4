/* The keys identity (of ProxyConfig) and trustBundles (of both kinds). */
#include <string.h>

#include "certs/spiffe.h"
#include "config/bootstrap_fields.h"
#include "config/names.h"
#include "config/url.h"
#include "proxy/base/arena.h"

/* ---- identity ---- */

static void read_endpoint(const struct fields *fields, const char *key, bool names_allowed,
                          struct spiffe_endpoint *out_endpoint)
{
    const struct yaml *node = field(fields, key, FIELD_OPTIONAL);
    struct str text = yaml_text(node, key, (struct str){0}, fields->diag);
    const char *why = NULL;
    if (!node || node->kind != YAML_TEXT)
        return;
    text = arena_str(fields->arena, text);
    if (spiffe_endpoint_parse(text, names_allowed, out_endpoint, &why) < 0)
        diag_error(fields->diag, node->place, "%s%s: \"%.*s\" %s", fields->prefix, key,
                   STR_ARG(text), why);
}

static struct str read_id(const struct fields *fields, const char *key, enum field_need need)
{
    const struct yaml *node = field(fields, key, need);
    struct str text = yaml_text(node, key, (struct str){0}, fields->diag);
    struct spiffe_id id;
    const char *why = NULL;
    if (!node || node->kind != YAML_TEXT)
        return (struct str){0};
    if (spiffe_parse(text, &id, &why) < 0)
        diag_error(fields->diag, node->place, "%s%s: \"%.*s\" is no SPIFFE ID: %s", fields->prefix,
                   key, STR_ARG(text), why);
    else if (str_is_empty(id.path))
        diag_error(fields->diag, node->place,
                   "%s%s: \"%.*s\" names a trust domain, expected an ID with a path",
                   fields->prefix, key, STR_ARG(text));
    return arena_str(fields->arena, text);
}

static enum field_need need_if(bool is_needed)
{
    return is_needed ? FIELD_REQUIRED : FIELD_OPTIONAL;
}

void read_identity(const struct fields *top, struct proxy_config *config)
{
    static const char *const keys[] = {"node",      "pods",     "workloadAPI",
                                       "brokerAPI", "brokerID", "nodeCertificate",
                                       "nodeKey",   "podsDir",  NULL};
    static const char *const nodes[] = {"control", "workloadAPI", "files", NULL};
    static const char *const pods[] = {"control", "brokerAPI", "files", NULL};
    struct identity_config *identity = &config->identity;
    struct fields fields = fields_below(top, "identity", "identity.");
    if (!fields.node)
        return;
    yaml_only_keys(fields.node, "identity", keys, fields.diag);
    identity->node = (enum identity_source)field_word(&fields, "node", nodes, IDENTITY_CONTROL);
    identity->pods = (enum identity_source)field_word(&fields, "pods", pods, IDENTITY_CONTROL);
    read_endpoint(&fields, "workloadAPI", false, &identity->workload_api);
    read_endpoint(&fields, "brokerAPI", true, &identity->broker_api);
    identity->broker_id = read_id(&fields, "brokerID", need_if(identity->pods == IDENTITY_SPIFFE));
    identity->node_certificate =
        field_path(&fields, "nodeCertificate", need_if(identity->node == IDENTITY_FILES));
    identity->node_key = field_path(&fields, "nodeKey", need_if(identity->node == IDENTITY_FILES));
    identity->pods_dir = field_path(&fields, "podsDir", need_if(identity->pods == IDENTITY_FILES));
}

static void use_variable(struct proxy_config *config, const char *name, const char *value,
                         bool names_allowed, const char *key, struct spiffe_endpoint *out_endpoint,
                         struct diag *diag)
{
    const struct place place = {.file = str_from("environment")};
    const char *why = NULL;
    struct str text = arena_str(&config->arena, str_from(value));
    if (spiffe_endpoint_is_set(out_endpoint))
        return;
    if (!value)
        diag_error(diag, place, "%s is not set, and the configuration has no identity.%s", name,
                   key);
    else if (spiffe_endpoint_parse(text, names_allowed, out_endpoint, &why) < 0)
        diag_error(diag, place, "%s: \"%s\" %s", name, value, why);
}

void bootstrap_use_environment(struct proxy_config *config, const char *workload_api,
                               const char *broker_api, struct diag *diag)
{
    struct identity_config *identity = &config->identity;
    if (identity->node == IDENTITY_SPIFFE)
        use_variable(config, "SPIFFE_ENDPOINT_SOCKET", workload_api, false, "workloadAPI",
                     &identity->workload_api, diag);
    if (identity->pods == IDENTITY_SPIFFE)
        use_variable(config, "SPIFFE_BROKER_SOCKET", broker_api, true, "brokerAPI",
                     &identity->broker_api, diag);
}

/* ---- trust bundles ---- */

const char *bundle_endpoint_url(struct str text, struct trust_bundle_config *bundle,
                                struct arena *arena)
{
    struct url url;
    const char *why = url_parse(text, false, arena, &url);
    if (why)
        return why;
    bundle->server = url.server;
    bundle->path = url.path;
    bundle->url = arena_str(arena, text);
    return NULL;
}

static void read_url(const struct fields *fields, struct trust_bundle_config *bundle)
{
    static const char *const profiles[] = {"https_web", "https_spiffe", NULL};
    const struct yaml *node = yaml_get(fields->node, "url");
    struct str url = yaml_text(node, "url", (struct str){0}, fields->diag);
    const char *why =
        node->kind == YAML_TEXT ? bundle_endpoint_url(url, bundle, fields->arena) : NULL;
    if (why)
        diag_error(fields->diag, node->place, "%surl: \"%.*s\" %s", fields->prefix, STR_ARG(url),
                   why);
    (void)field(fields, "profile", FIELD_REQUIRED);
    bundle->is_spiffe = field_word(fields, "profile", profiles, 0) == 1;
    bundle->endpoint_id = read_id(fields, "endpointID", need_if(bundle->is_spiffe));
    if (!bundle->is_spiffe && bundle->endpoint_id.len > 0)
        diag_error(fields->diag, yaml_get(fields->node, "endpointID")->place,
                   "%sendpointID: is for profile https_spiffe", fields->prefix);
}

/* A self-serving https_spiffe endpoint needs roots to begin with (SPIFFE Federation 5.2.2.2). */
static void check_bootstrap(const struct fields *fields, const struct trust_bundle_config *bundle)
{
    struct spiffe_id id;
    if (bundle->is_spiffe && str_is_empty(bundle->file) &&
        spiffe_parse(bundle->endpoint_id, &id, NULL) == 0 &&
        str_eq(id.trust_domain, bundle->trust_domain))
        diag_error(fields->diag, fields->node->place,
                   "%sfile: is required: the endpoint is of the trust domain itself, and its first "
                   "certificate is verified with this bundle",
                   fields->prefix);
}

static void read_trust_bundle(const struct fields *top, const struct yaml *item, size_t idx,
                              bool urls_allowed, struct trust_bundle_config *bundle)
{
    static const char *const keys[] = {"trustDomain", "file",       "crls", "url",
                                       "profile",     "endpointID", NULL};
    static const char *const file_keys[] = {"trustDomain", "file", "crls", NULL};
    struct str prefix = arena_printf(top->arena, "trustBundles[%zu].", idx);
    struct fields fields = {top->arena, top->diag, item, prefix.ptr};
    if (item->kind != YAML_MAPPING) {
        diag_error(top->diag, item->place, "trustBundles[%zu]: expected a mapping", idx);
        return;
    }
    yaml_only_keys(item, arena_printf(top->arena, "trustBundles[%zu]", idx).ptr,
                   urls_allowed ? keys : file_keys, top->diag);
    const bool has_url = urls_allowed && yaml_get(item, "url");
    bundle->trust_domain = field_trust_domain(&fields, "trustDomain");
    bundle->crls = field_path(&fields, "crls", FIELD_OPTIONAL);
    bundle->file = field_path(&fields, "file", need_if(!has_url && str_is_empty(bundle->crls)));
    if (has_url) {
        read_url(&fields, bundle);
        check_bootstrap(&fields, bundle);
    } else if (yaml_get(item, "profile") || yaml_get(item, "endpointID")) {
        diag_error(top->diag, item->place, "%surl: is required with profile and endpointID",
                   prefix.ptr);
    }
}

struct trust_bundle_config *read_trust_bundles(const struct fields *top, bool urls_allowed,
                                               size_t *out_n)
{
    const struct yaml *node = field(top, "trustBundles", FIELD_OPTIONAL);
    if (!yaml_is_sequence(node, "trustBundles", top->diag))
        return NULL;
    if (node->len > TRUST_BUNDLES_MAX) {
        diag_error(top->diag, node->place, "trustBundles: has %zu entries, %d at most", node->len,
                   TRUST_BUNDLES_MAX);
        return NULL;
    }
    struct trust_bundle_config *bundles =
        arena_new_array(top->arena, struct trust_bundle_config, node->len + 1);
    for (size_t i = 0; i < node->len; i++) {
        read_trust_bundle(top, node->items[i], i, urls_allowed, &bundles[i]);
        for (size_t j = 0; j < i; j++)
            if (str_eq(bundles[i].trust_domain, bundles[j].trust_domain) &&
                bundles[i].trust_domain.len > 0)
                diag_error(top->diag, node->items[i]->place,
                           "trustBundles[%zu].trustDomain: \"%.*s\" is there twice", i,
                           STR_ARG(bundles[i].trust_domain));
    }
    *out_n = node->len;
    return bundles;
}
