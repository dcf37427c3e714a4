#include "lane.h"

#include <criterion/criterion.h>
#include <stdio.h>

#include "xds/codec.h"

static void add_service(struct lane *lane, const char *name, const char *ip, const char *pod)
{
    char labels[64];
    (void)snprintf(labels, sizeof(labels), "app: %s", name);
    cluster_service(
        &lane->cluster, "mesh", name, ip,
        "{name: http, port: 80, targetPort: 8080}, {name: http-alt, port: 8080}, "
        "{name: grpc, port: 7070}, {name: plain, port: 9000}, {name: tcp-x, port: 9001}",
        labels);
    cluster_pod(&lane->cluster, "mesh", name, pod, labels);
}

void lane_begin(struct lane *lane)
{
    *lane = (struct lane){0};
    cluster_init(&lane->cluster);
    cluster_namespace(&lane->cluster, "mesh", "");
    cluster_namespace(&lane->cluster, "consumer", "");
    add_service(lane, "echo", "10.96.0.1", "10.0.0.1");
    add_service(lane, "echo-v1", "10.96.0.11", "10.0.0.11");
    add_service(lane, "echo-v2", "10.96.0.12", "10.0.0.12");
}

void lane_end(struct lane *lane)
{
    snapshot_free(lane->snapshot);
    arena_fini(&lane->arena);
    cluster_fini(&lane->cluster);
}

void lane_route(struct lane *lane, const char *kind, const char *namespace_, const char *name,
                const char *created, const char *parent, const char *rules)
{
    cluster_addf(
        &lane->cluster,
        "{apiVersion: gateway.networking.k8s.io/v1, kind: %s, metadata: {name: %s, "
        "namespace: %s, creationTimestamp: \"%s\"}, spec: {parentRefs: [%s], rules: [%s]}}",
        kind, name, namespace_, created, parent, rules);
}

/* As a node gets it. */
static const struct model_resource *travel(struct lane *lane, const struct model_resource *resource)
{
    struct model_resource *there = arena_new(&lane->arena, struct model_resource);
    struct text bytes = {0}, why = {0};
    const struct str name = xds_encode(resource, &lane->arena, &bytes);
    cr_assert_eq(xds_decode(xds_type_of_kind(resource->kind), name, text_str(&bytes), &lane->arena,
                            there, &why),
                 0, "%.*s: %s", STR_ARG(name), why.ptr);
    text_fini(&bytes);
    text_fini(&why);
    return there;
}

void lane_build(struct lane *lane)
{
    const struct vantage vantage = {.node = STR("n1"),
                                    .cluster = STR("west"),
                                    .trust_domain = STR("west.example"),
                                    .cluster_domain = STR("cluster.local")};
    const struct registry *registry = cluster_build(&lane->cluster);
    const struct model_resource **all =
        arena_new_array(&lane->arena, const struct model_resource *, registry->n_for_nodes);
    size_t n = 0;
    for (size_t i = 0; i < registry->n_for_nodes; i++)
        if (registry->for_nodes[i]->kind != MODEL_BUNDLE)
            all[n++] = travel(lane, registry->for_nodes[i]);
    snapshot_free(lane->snapshot);
    lane->snapshot = snapshot_build(all, n, &vantage, 1, true);
}

struct http_fields fields_of(struct lane *lane, const struct call *call)
{
    struct http_field *fields = arena_new_array(&lane->arena, struct http_field, 5);
    size_t n = 0;
    for (size_t i = 0; i < 10 && call->headers[i]; i += 2)
        fields[n++] =
            (struct http_field){str_from(call->headers[i]), str_from(call->headers[i + 1])};
    return (struct http_fields){.at = fields, .len = n};
}

struct route_decision lane_ask(struct lane *lane, const struct call *call)
{
    struct http_request *head = arena_new(&lane->arena, struct http_request);
    struct http_path *path = arena_new(&lane->arena, struct http_path);
    const char *why, *name = call->service ? call->service : "mesh/echo.mesh.svc.cluster.local";
    struct route_decision decision;
    *head = (struct http_request){
        .method = str_from(call->method ? call->method : "GET"),
        .scheme = STR("http"),
        .authority = str_from(call->host ? call->host : "echo"),
        .path = str_from(call->path ? call->path : "/"),
        .fields = fields_of(lane, call),
        .version = HTTP_1_1,
    };
    cr_assert_eq(http_path_normalize(head->path, HTTP_PATH_MERGE_SLASHES, &lane->arena, path, &why),
                 0);
    struct route_question question = {
        .head = head,
        .path = path,
        .service = snapshot_service_by_key(lane->snapshot, str_from(name)),
        .source_namespace = str_from(call->source ? call->source : "mesh"),
        .random = call->random,
    };
    cr_assert_not_null(question.service, "there is no %s", name);
    question.port = service_find_port(question.service, call->port ? call->port : 80);
    cr_assert_not_null(question.port);
    route_decide(&question, &lane->arena, &decision);
    return decision;
}

const char *lane_says(struct lane *lane, const struct call *call)
{
    const struct route_decision decision = lane_ask(lane, call);
    if (decision.location.len > 0)
        return arena_printf(&lane->arena, "%u %.*s", decision.status, STR_ARG(decision.location))
            .ptr;
    if (decision.status != 0)
        return arena_printf(&lane->arena, "%u", decision.status).ptr;
    struct str cluster = {0}, key = decision.service->key;
    (void)str_split(key, '@', &key, &cluster);
    return arena_printf(&lane->arena, "%.*s:%u%s%.*s", STR_ARG(decision.service->name),
                        decision.port->port, cluster.len ? "@" : "", STR_ARG(cluster))
        .ptr;
}

const char *field_of(struct lane *lane, const struct http_fields *fields, const char *name)
{
    struct str joined = {0};
    for (size_t i = 0; i < fields->len; i++)
        if (str_eq(fields->at[i].name, str_from(name)))
            joined = arena_printf(&lane->arena, "%.*s%s%.*s", STR_ARG(joined),
                                  joined.len ? "," : "", STR_ARG(fields->at[i].value));
    return joined.len ? joined.ptr : "";
}
