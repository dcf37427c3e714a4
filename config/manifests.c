#include "config/manifests.h"

#include <string.h>

#include "config/files.h"
#include "config/k8s.h"
#include "config/manifests_part.h"
#include "config/names.h"
#include "proxy/base/keyed_hash.h"
#include "proxy/base/mem.h"

typedef void object_reader(struct k8s_reader *reader, const struct yaml *doc,
                           const struct object *meta);

struct kind_row {
    const char *group, *kind;
    const char *versions[3]; /* NULL-terminated */
    bool is_namespaced;
    bool (*is_name)(struct str);
    object_reader *read;
};

#define MCS  "multicluster.x-k8s.io"
#define MCS2 "multicluster.k8s.io"

#define GATEWAY "gateway.networking.k8s.io"

/* In fewer letters another kind differs; "Secret" is none that is meant for "Service". */
#define KIND_MISTAKES 3

static const struct kind_row kind_rows[] = {
    {"", "Namespace", {"v1"}, false, name_is_label, k8s_read_namespace},
    {"", "Node", {"v1"}, false, name_is_subdomain, k8s_read_node},
    {"", "Pod", {"v1"}, true, name_is_subdomain, k8s_read_pod},
    {"", "Service", {"v1"}, true, name_is_label, k8s_read_service},
    {"discovery.k8s.io", "EndpointSlice", {"v1"}, true, name_is_subdomain, k8s_read_slice},
    {MCS, "ServiceExport", {"v1alpha1", "v1beta1"}, true, name_is_label, k8s_read_export},
    {MCS2, "ServiceExport", {"v1alpha1", "v1beta1"}, true, name_is_label, k8s_read_export},
    {MCS, "ServiceImport", {"v1alpha1", "v1beta1"}, true, name_is_label, k8s_read_import},
    {MCS2, "ServiceImport", {"v1alpha1", "v1beta1"}, true, name_is_label, k8s_read_import},
    {"security.istio.io",
     "AuthorizationPolicy",
     {"v1", "v1beta1"},
     true,
     name_is_subdomain,
     k8s_read_policy},
    {"security.istio.io",
     "PeerAuthentication",
     {"v1", "v1beta1"},
     true,
     name_is_subdomain,
     k8s_read_peer_auth},
    {"security.istio.io",
     "RequestAuthentication",
     {"v1", "v1beta1"},
     true,
     name_is_subdomain,
     k8s_read_request_auth},
    {GATEWAY, "HTTPRoute", {"v1", "v1beta1"}, true, name_is_subdomain, k8s_read_http_route},
    {GATEWAY, "GRPCRoute", {"v1"}, true, name_is_subdomain, k8s_read_grpc_route},
    {"isthmus.io", "TrafficPolicy", {"v1alpha1"}, true, name_is_subdomain, k8s_read_traffic},
};

void manifests_begin(struct k8s_reader *reader, struct diag *diag)
{
    static const size_t sizes[K8S_KINDS] = {
        [K8S_NAMESPACE] = sizeof(struct k8s_namespace),
        [K8S_NODE] = sizeof(struct k8s_node),
        [K8S_POD] = sizeof(struct k8s_pod),
        [K8S_SERVICE] = sizeof(struct k8s_service),
        [K8S_ENDPOINT_SLICE] = sizeof(struct k8s_endpoint_slice),
        [K8S_EXPORT] = sizeof(struct k8s_export),
        [K8S_IMPORT] = sizeof(struct k8s_import),
        [K8S_POLICY] = sizeof(struct k8s_policy),
        [K8S_TRAFFIC] = sizeof(struct k8s_traffic),
        [K8S_PEER_AUTH] = sizeof(struct k8s_peer_auth),
        [K8S_ROUTE] = sizeof(struct k8s_route),
        [K8S_REQUEST_AUTH] = sizeof(struct k8s_request_auth),
    };
    *reader = (struct k8s_reader){.set = mem_new(struct manifests), .diag = diag};
    reader->arena = &reader->set->arena;
    reader->n_errors_before = diag->n_errors;
    for (size_t i = 0; i < K8S_KINDS; i++)
        reader->objects[i].item_size = sizes[i];
}

/* Kind, namespace and name once. */
static void check_unique(struct k8s_reader *reader, const struct kind_row *row,
                         const struct object *meta)
{
    struct str key = arena_printf(reader->arena, "%s/%.*s/%.*s", row->kind,
                                  STR_ARG(meta->namespace_), STR_ARG(meta->name));
    struct place *place = arena_new(reader->arena, struct place);
    const struct place *first = map_find(&reader->seen, key);
    *place = meta->place;
    if (!first) {
        map_put(&reader->seen, key, place);
        return;
    }
    diag_error(reader->diag, meta->place, "%s %.*s%s%.*s is there twice, first at %.*s:%u:%u",
               row->kind, STR_ARG(meta->namespace_), row->is_namespaced ? "/" : "",
               STR_ARG(meta->name), STR_ARG(first->file), first->line, first->column);
}

static void read_names(struct k8s_reader *reader, const struct yaml *metadata,
                       const struct kind_row *row, struct object *meta)
{
    const struct yaml *name = yaml_get(metadata, "name");
    meta->name = k8s_name(reader, name, "metadata.name", row->is_name,
                          row->is_name == name_is_label
                              ? "a name (RFC 1123 label: a-z, 0-9 and -, 63 letters at most)"
                              : "a name (RFC 1123: a-z, 0-9, - and ., 253 letters at most)");
    if (!name)
        diag_error(reader->diag, metadata->place, "metadata.name: is required");
    if (!row->is_namespaced)
        return;
    meta->namespace_ =
        k8s_name(reader, yaml_get(metadata, "namespace"), "metadata.namespace", name_is_label,
                 "a namespace (RFC 1123 label: a-z, 0-9 and -, 63 letters at most)");
    if (str_is_empty(meta->namespace_))
        meta->namespace_ = STR("default");
}

static void read_created(struct k8s_reader *reader, const struct yaml *metadata,
                         struct object *meta)
{
    const struct yaml *node = yaml_get(metadata, "creationTimestamp");
    struct str text = yaml_text(node, "metadata.creationTimestamp", (struct str){0}, reader->diag);
    if (node && node->kind == YAML_TEXT && !k8s_parse_time(text, &meta->created_ns))
        diag_error(reader->diag, node->place,
                   "metadata.creationTimestamp: \"%.*s\" is not a time such as "
                   "2026-01-31T12:00:00Z (RFC 3339)",
                   STR_ARG(str_sub(text, 0, 40)));
}

/* "true" and the like would leave a pod out of the mesh in silence. */
static void check_mesh_label(struct k8s_reader *reader, const struct yaml *labels,
                             const struct object *meta)
{
    struct str value = label_find(meta->labels, meta->n_labels, "isthmus.io/mesh");
    if (!str_is_empty(value) && !str_eq(value, STR("enabled")) && !str_eq(value, STR("disabled")))
        diag_warn(reader->diag, labels->place,
                  "metadata.labels: isthmus.io/mesh: \"%.*s\" is neither enabled nor disabled; it "
                  "counts as disabled",
                  STR_ARG(value));
}

static bool read_meta(struct k8s_reader *reader, const struct yaml *doc, const struct kind_row *row,
                      struct object *meta)
{
    const struct yaml *metadata = yaml_get(doc, "metadata");
    meta->place = k8s_place(reader, doc);
    if (!metadata)
        diag_error(reader->diag, doc->place, "metadata: is required");
    if (!yaml_is_mapping(metadata, "metadata", reader->diag))
        return false;
    read_names(reader, metadata, row, meta);
    meta->labels =
        k8s_labels(reader, yaml_get(metadata, "labels"), "metadata.labels", &meta->n_labels);
    check_mesh_label(reader, yaml_get(metadata, "labels"), meta);
    meta->annotations = k8s_labels(reader, yaml_get(metadata, "annotations"),
                                   "metadata.annotations", &meta->n_annotations);
    meta->uid = k8s_name(reader, yaml_get(metadata, "uid"), "metadata.uid", name_is_uid,
                         "a uid (letters, digits, -, . and _; 128 at most)");
    read_created(reader, metadata, meta);
    return true;
}

static bool has_version(const struct kind_row *row, struct str version)
{
    for (size_t i = 0; row->versions[i]; i++)
        if (str_eq(version, str_from(row->versions[i])))
            return true;
    return false;
}

static void read_object(struct k8s_reader *reader, const struct yaml *doc,
                        const struct kind_row *row, struct str version)
{
    struct object meta = {0};
    if (!has_version(row, version)) {
        diag_error(reader->diag, yaml_get(doc, "apiVersion")->place,
                   "apiVersion: version \"%.*s\" of %s is not supported, expected %s%s%s",
                   STR_ARG(str_sub(version, 0, 40)), row->kind, row->versions[0],
                   row->versions[1] ? " or " : "", row->versions[1] ? row->versions[1] : "");
        return;
    }
    if (!read_meta(reader, doc, row, &meta))
        return;
    if (!str_is_empty(meta.name))
        check_unique(reader, row, &meta);
    row->read(reader, doc, &meta);
    if (row->read != k8s_read_pod && row->read != k8s_read_slice)
        reader->structure = yaml_hash(doc, reader->structure);
}

/* In another case or in the plural, as on a command line. */
static bool is_meant(const struct kind_row *row, struct str group, struct str kind)
{
    const size_t len = strlen(row->kind);
    struct str end = str_sub(kind, len, kind.len);
    return str_eq(group, str_from(row->group)) &&
           str_eq_ci(str_sub(kind, 0, len), str_from(row->kind)) &&
           (str_is_empty(end) || str_eq_ci(end, STR("s")));
}

static bool is_route_beside_http(struct str kind)
{
    return str_eq(kind, STR("TCPRoute")) || str_eq(kind, STR("TLSRoute")) ||
           str_eq(kind, STR("UDPRoute"));
}

/* One for gateways alone is theirs. */
static bool is_of_mesh(const struct yaml *doc)
{
    const struct yaml *gateways = yaml_path(doc, "spec.gateways");
    bool is = !gateways || gateways->kind != YAML_SEQUENCE || gateways->len == 0;
    for (size_t i = 0; !is && i < gateways->len; i++)
        is = gateways->items[i]->kind == YAML_TEXT && str_eq(gateways->items[i]->text, STR("mesh"));
    return is;
}

/* What Istio's sidecars take and nothing here reads, with what is read in its place. */
static void on_kind_of_istio(struct k8s_reader *reader, const struct yaml *doc, struct str kind)
{
    static const char *const rows[][2] = {
        {"VirtualService", "requests are routed by HTTPRoute and GRPCRoute of " GATEWAY},
        {"DestinationRule", "a service is balanced, watched and limited by a TrafficPolicy of "
                            "isthmus.io"},
        {"ServiceEntry", "only Services and ServiceImports are known"},
        {"WorkloadEntry", "only Pods are workloads"},
        {"WorkloadGroup", "only Pods are workloads"},
        {"Sidecar", "every node knows all services"},
        {"EnvoyFilter", "there is no Envoy here"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows) && is_of_mesh(doc); i++)
        if (str_eq(kind, str_from(rows[i][0])))
            diag_warn(reader->diag, yaml_get(doc, "kind")->place,
                      "kind: %s of networking.istio.io is passed over: %s", rows[i][0], rows[i][1]);
}

/* A kind of that group that is nearly spelt so; NULL: none. */
static const char *nearest_kind(struct str group, struct str kind)
{
    const char *known[ARRAY_LEN(kind_rows) + 1] = {0};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(kind_rows); i++)
        if (str_eq(group, str_from(kind_rows[i].group)))
            known[n++] = kind_rows[i].kind;
    return yaml_nearest(kind, known, KIND_MISTAKES);
}

/* A kind that nothing here reads. Others of the groups that decide who may talk to whom are not
 * passed over in silence; a kind that is read, but from another group, most likely has a typing
 * mistake in it. */
static void on_other_kind(struct k8s_reader *reader, const struct yaml *doc, struct str group,
                          struct str kind)
{
    struct place place = yaml_get(doc, "kind")->place;
    for (size_t i = 0; i < ARRAY_LEN(kind_rows); i++) {
        if (is_meant(&kind_rows[i], group, kind)) {
            diag_error(reader->diag, place, "kind: there is no %.*s; did you mean %s?",
                       STR_ARG(kind), kind_rows[i].kind);
            return;
        }
    }
    if (str_eq(group, STR("isthmus.io")) && !str_eq(kind, STR("ProxyConfig")) &&
        !str_eq(kind, STR("ControlConfig")) && !str_eq(kind, STR("PolicyTest"))) {
        const char *near = nearest_kind(group, kind);
        diag_error(reader->diag, place, "kind: there is no %.*s in %.*s%s%s%s", STR_ARG(kind),
                   STR_ARG(group), near ? "; did you mean " : "", near ? near : "",
                   near ? "?" : "");
        return;
    }
    if (str_eq(group, STR("security.istio.io"))) {
        diag_error(reader->diag, place,
                   "kind: %.*s is not supported yet; expected AuthorizationPolicy, "
                   "PeerAuthentication or RequestAuthentication of this group",
                   STR_ARG(kind));
        return;
    }
    if (str_eq(group, STR("networking.istio.io"))) {
        on_kind_of_istio(reader, doc, kind);
        return;
    }
    if (str_eq(group, str_from(GATEWAY)) && is_route_beside_http(kind)) {
        diag_warn(reader->diag, place,
                  "kind: %.*s is passed over: only HTTPRoute and GRPCRoute are read, and what it "
                  "routes goes where its Service says",
                  STR_ARG(kind));
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(kind_rows); i++) {
        const struct kind_row *row = &kind_rows[i];
        if (*row->group && str_eq(kind, str_from(row->kind))) {
            diag_warn(reader->diag, place,
                      "kind: %s of \"%.*s\" is passed over; it is read from %s", row->kind,
                      STR_ARG(group), row->group);
            return;
        }
    }
    const char *near = nearest_kind(group, kind);
    if (near)
        diag_warn(reader->diag, place, "kind: %.*s is passed over; did you mean %s?", STR_ARG(kind),
                  near);
}

static void read_list(struct k8s_reader *reader, const struct yaml *doc)
{
    const struct yaml *items = yaml_get(doc, "items");
    if (!yaml_is_sequence(items, "items", reader->diag))
        return;
    for (size_t i = 0; i < items->len; i++)
        manifests_add_doc(reader, items->items[i]);
}

static struct str required_text(struct k8s_reader *reader, const struct yaml *doc, const char *key)
{
    const struct yaml *node = yaml_get(doc, key);
    if (!node)
        diag_error(reader->diag, doc->place, "%s: is required", key);
    else if (node->kind == YAML_TEXT && str_is_empty(node->text))
        diag_error(reader->diag, node->place, "%s: is empty", key);
    return yaml_text(node, key, (struct str){0}, reader->diag);
}

void manifests_add_doc(struct k8s_reader *reader, const struct yaml *doc)
{
    struct str group = {0};
    if (doc->kind != YAML_MAPPING) {
        diag_error(reader->diag, doc->place,
                   "expected an object with apiVersion, kind and metadata");
        return;
    }
    struct str version = required_text(reader, doc, "apiVersion");
    struct str kind = required_text(reader, doc, "kind");
    if (str_is_empty(version) || str_is_empty(kind))
        return;
    (void)str_split(version, '/', &group, &version);
    if (str_is_empty(group) && str_eq(kind, STR("List"))) {
        read_list(reader, doc);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(kind_rows); i++) {
        const struct kind_row *row = &kind_rows[i];
        if (str_eq(group, str_from(row->group)) && str_eq(kind, str_from(row->kind))) {
            read_object(reader, doc, row, version);
            return;
        }
    }
    on_other_kind(reader, doc, group, kind);
}

size_t manifests_open_file(struct k8s_reader *reader, const char *path, struct arena *scratch,
                           struct yaml ***out_docs)
{
    struct str bytes;
    *out_docs = NULL;
    if (!file_read(path, YAML_BYTES_MAX, &bytes, reader->diag))
        return 0;
    reader->file = arena_str(reader->arena, str_from(path));
    reader->set->n_files++;
    reader->content = keyed_hash(0, bytes);
    size_t n_docs = yaml_parse(scratch, reader->file, bytes, out_docs, reader->diag);
    mem_free((void *)(uintptr_t)bytes.ptr);
    return n_docs;
}

static void read_file(struct k8s_reader *reader, const char *path)
{
    struct arena scratch = {0};
    struct yaml **docs;
    size_t n_docs = manifests_open_file(reader, path, &scratch, &docs);
    for (size_t i = 0; i < n_docs; i++)
        manifests_add_doc(reader, docs[i]);
    arena_fini(&scratch);
}

/* The items of one kind, moved from the heap into the set. */
static void *settle(struct k8s_reader *reader, enum k8s_kind kind, size_t *out_n)
{
    struct vec *vec = &reader->objects[kind];
    void *items = arena_alloc_array(reader->arena, vec->len, vec->item_size);
    if (vec->len > 0)
        memcpy(items, vec->items, vec->len * vec->item_size);
    *out_n = vec->len;
    mem_free(vec->items);
    *vec = (struct vec){0};
    return items;
}

struct manifests *manifests_end(struct k8s_reader *reader)
{
    struct manifests *set = reader->set;
    set->namespaces = settle(reader, K8S_NAMESPACE, &set->n_namespaces);
    set->nodes = settle(reader, K8S_NODE, &set->n_nodes);
    set->pods = settle(reader, K8S_POD, &set->n_pods);
    set->services = settle(reader, K8S_SERVICE, &set->n_services);
    set->slices = settle(reader, K8S_ENDPOINT_SLICE, &set->n_slices);
    set->exports = settle(reader, K8S_EXPORT, &set->n_exports);
    set->imports = settle(reader, K8S_IMPORT, &set->n_imports);
    set->policies = settle(reader, K8S_POLICY, &set->n_policies);
    set->traffics = settle(reader, K8S_TRAFFIC, &set->n_traffics);
    set->peer_auths = settle(reader, K8S_PEER_AUTH, &set->n_peer_auths);
    set->routes = settle(reader, K8S_ROUTE, &set->n_routes);
    set->request_auths = settle(reader, K8S_REQUEST_AUTH, &set->n_request_auths);
    map_fini(&reader->seen);
    if (reader->diag->n_errors == reader->n_errors_before)
        return set;
    manifests_free(set);
    return NULL;
}

void manifests_part_take(struct manifests_part *part, struct k8s_reader *reader)
{
    part->structure = reader->structure;
    part->content = reader->content;
    if (diag_is_clean(&part->diag)) { /* else its keys go with the set */
        part->seen = reader->seen;
        reader->seen = (struct map){0};
    }
    part->set = manifests_end(reader);
}

struct manifests *manifests_read_files(const char *const *paths, size_t n_paths, struct diag *diag)
{
    struct k8s_reader reader;
    manifests_begin(&reader, diag);
    for (size_t i = 0; i < n_paths; i++)
        read_file(&reader, paths[i]);
    return manifests_end(&reader);
}

struct manifests *manifests_read(const char *dir, struct diag *diag)
{
    struct k8s_reader reader;
    struct arena scratch = {0};
    struct str *paths;
    size_t n_paths = 0;
    manifests_begin(&reader, diag);
    if (files_find(dir, &scratch, &paths, &n_paths, diag))
        for (size_t i = 0; i < n_paths; i++)
            read_file(&reader, paths[i].ptr);
    arena_fini(&scratch);
    return manifests_end(&reader);
}
