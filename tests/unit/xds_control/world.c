#include "world.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <unistd.h>

#include "proxy/base/file.h"

#define META(ns, name) "metadata: {namespace: " ns ", name: " name "}"
#define SERVICE(name, spec)                                                                        \
    "{apiVersion: v1, kind: Service, " META("shop", name) ", spec: {" spec "}}"
#define EXPORT(name)                                                                               \
    "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceExport, " META("shop", name) "}"
#define SECURITY(kind, ns, name, spec)                                                             \
    "{apiVersion: security.istio.io/v1, kind: " kind ", " META(ns, name) ", spec: {" spec "}}"
#define RULES "rules: [{from: [{source: {namespaces: [shop]}}]}]"

#define KEYS "jwksUri: \"https://idp.example/keys\""

/* Each as it is, and edited. */
static const char *const others[WORLD_OTHERS][2] = {
    {"{apiVersion: v1, kind: Namespace, metadata: {name: shop}}",
     "{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {isthmus.io/mesh: "
     "enabled}}}"},
    {"{apiVersion: v1, kind: Node, metadata: {name: n0, labels: {topology.kubernetes.io/zone: "
     "z0}}}",
     "{apiVersion: v1, kind: Node, metadata: {name: n0, labels: {topology.kubernetes.io/zone: "
     "z1}}}"},
    {"{apiVersion: v1, kind: Node, metadata: {name: n1}}",
     "{apiVersion: v1, kind: Node, metadata: {name: n1, labels: {topology.kubernetes.io/region: "
     "r}}}"},
    {SERVICE("s0", "clusterIP: 10.96.0.1, ports: [{name: http, port: 80}]"),
     SERVICE("s0", "clusterIP: 10.96.0.1, ports: [{name: http, port: 81}]")},
    {SERVICE("s1", "clusterIP: None, ports: [{name: http, port: 80}, {name: more, port: 90}]"),
     SERVICE("s1", "clusterIP: 10.96.0.2, ports: [{name: http, port: 80}]")},
    {SERVICE("s2", "clusterIP: 10.96.0.3, ports: [{name: http, port: 80}], selector: {app: a0}"),
     SERVICE("s2", "clusterIP: 10.96.0.3, ports: [{name: http, port: 80}], selector: {app: a1}")},
    {SERVICE("s3", "clusterIP: 10.96.0.4, ports: [{name: http, port: 80, targetPort: web}], "
                   "selector: {app: a0, tier: t1}"),
     SERVICE("s3", "clusterIP: 10.96.0.4, ports: [{name: http, port: 80, targetPort: 8080}], "
                   "selector: {tier: t1}")},
    {SERVICE("s4", "type: ExternalName, externalName: example.com"),
     SERVICE("s4", "clusterIP: 10.96.0.5, ports: [{name: http, port: 80}]")},
    {EXPORT("s0"), "{apiVersion: multicluster.x-k8s.io/v1beta1, kind: ServiceExport, metadata: "
                   "{namespace: shop, name: s0, creationTimestamp: \"2020-01-01T00:00:00Z\"}}"},
    {EXPORT("s2"), EXPORT("s3")},
    {SECURITY("AuthorizationPolicy", "shop", "p0", "selector: {matchLabels: {app: a0}}, " RULES),
     SECURITY("AuthorizationPolicy", "shop", "p0",
              "selector: {matchLabels: {app: a0, tier: t0}}, " RULES)},
    {SECURITY("AuthorizationPolicy", "isthmus-system", "p1",
              "selector: {matchLabels: {tier: t0}}, " RULES),
     SECURITY("AuthorizationPolicy", "isthmus-system", "p1", RULES)},
    {SECURITY("AuthorizationPolicy", "shop", "p2",
              "targetRefs: [{group: \"\", kind: Service, name: s0}, {group: \"\", kind: Service, "
              "name: s2}], " RULES),
     SECURITY(
         "AuthorizationPolicy", "shop", "p2",
         "targetRefs: [{group: multicluster.x-k8s.io, kind: ServiceImport, name: s0}], " RULES)},
    {SECURITY("AuthorizationPolicy", "shop", "p3", RULES),
     SECURITY("AuthorizationPolicy", "shop", "p3", "action: DENY, " RULES)},
    {SECURITY("PeerAuthentication", "shop", "q0", "mtls: {mode: STRICT}"),
     SECURITY("PeerAuthentication", "shop", "q0", "mtls: {mode: PERMISSIVE}")},
    {SECURITY("PeerAuthentication", "shop", "q1",
              "selector: {matchLabels: {tier: t1}}, mtls: {mode: STRICT}, portLevelMtls: {8080: "
              "{mode: PERMISSIVE}}"),
     SECURITY("PeerAuthentication", "shop", "q1",
              "selector: {matchLabels: {app: a1}}, mtls: {mode: PERMISSIVE}")},
    {SECURITY("PeerAuthentication", "isthmus-system", "q2", "mtls: {mode: STRICT}"),
     SECURITY("PeerAuthentication", "isthmus-system", "q2", "mtls: {mode: PERMISSIVE}")},
    {SECURITY("RequestAuthentication", "shop", "r0",
              "selector: {matchLabels: {app: a0}}, jwtRules: [{issuer: i, " KEYS "}]"),
     SECURITY("RequestAuthentication", "shop", "r0",
              "selector: {matchLabels: {app: a1}}, jwtRules: [{issuer: i, " KEYS "}]")},
    {SECURITY("RequestAuthentication", "shop", "r1",
              "targetRefs: [{group: \"\", kind: Service, name: s1}], jwtRules: [{issuer: i, " KEYS
              "}]"),
     SECURITY("RequestAuthentication", "shop", "r1",
              "targetRefs: [{group: \"\", kind: Service, name: s0}], jwtRules: [{issuer: j, " KEYS
              "}]")},
    {"{apiVersion: isthmus.io/v1alpha1, kind: TrafficPolicy, " META(
         "shop", "t0") ", spec: {targetRef: {kind: Service, name: s0}}}",
     "{apiVersion: isthmus.io/v1alpha1, kind: TrafficPolicy, " META(
         "shop", "t0") ", spec: {targetRef: {kind: Service, name: s1}}}"},
    {"{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, " META(
         "shop", "s0") ", spec: {type: ClusterSetIP, ips: [10.201.0.9], ports: [{port: 80}]}}",
     "{apiVersion: multicluster.x-k8s.io/v1alpha1, kind: ServiceImport, " META(
         "shop", "s0") ", spec: {type: ClusterSetIP, ports: [{port: 80}]}}"},
    {"{apiVersion: v1, kind: ConfigMap, " META("shop", "c") "}",
     "{apiVersion: v1, kind: ConfigMap, " META("shop", "c") ", data: {a: b}}"},
};

uint64_t world_random(struct world *world, uint64_t below)
{
    world->seed ^= world->seed << 13;
    world->seed ^= world->seed >> 7;
    world->seed ^= world->seed << 17;
    return (world->seed >> 11) % below;
}

static unsigned any(struct world *world, unsigned below)
{
    return (unsigned)world_random(world, below);
}

static bool one_in(struct world *world, unsigned n)
{
    return any(world, n) == 0;
}

/* ---- changes ---- */

static void change_pod(struct world *world, struct world_pod *pod)
{
    switch (any(world, 9)) {
    case 0: pod->exists = !pod->exists; break;
    case 1: pod->is_ready = !pod->is_ready; break;
    case 2: pod->is_finished = !pod->is_finished; break;
    case 3: pod->app = any(world, 3); break;
    case 4: pod->tier = any(world, 3); break;
    case 5: pod->address = any(world, WORLD_ADDRESSES); break;
    case 6: pod->node = any(world, 3); break;
    case 7: pod->file = any(world, WORLD_FILES); break;
    default:
        *pod = (struct world_pod){
            .exists = true,
            .is_ready = !one_in(world, 4),
            .is_on_host = one_in(world, 5),
            .is_elsewhere = pod < &world->pods[2] && one_in(world, 2),
            .mesh = any(world, 3),
            .app = any(world, 3),
            .tier = any(world, 3),
            .address = any(world, WORLD_ADDRESSES),
            .n_addresses = any(world, 3),
            .node = any(world, 3),
            .file = any(world, WORLD_FILES),
        };
    }
}

static void change_endpoint(struct world *world, struct world_endpoint *endpoint)
{
    *endpoint = (struct world_endpoint){any(world, WORLD_PODS), any(world, 5), any(world, 3),
                                        one_in(world, 4)};
}

static void change_slice(struct world *world, struct world_slice *slice)
{
    switch (any(world, 8)) {
    case 0: slice->exists = !slice->exists; break;
    case 1: slice->file = any(world, WORLD_FILES); break;
    case 2: slice->port = any(world, 3); break;
    case 3:
        slice->exists = true;
        slice->is_imported = one_in(world, 10);
        slice->service = any(world, 6);
        slice->n_endpoints = any(world, WORLD_ENDPOINTS + 1);
        for (unsigned i = 0; i < WORLD_ENDPOINTS; i++)
            change_endpoint(world, &slice->endpoints[i]);
        break;
    default:
        change_endpoint(world, &slice->endpoints[any(world, WORLD_ENDPOINTS)]);
        slice->endpoints[any(world, WORLD_ENDPOINTS)].state = any(world, 5);
    }
}

static void change_other(struct world *world, struct world_other *other)
{
    if (one_in(world, 3))
        other->exists = !other->exists;
    else if (one_in(world, 3))
        other->file = any(world, WORLD_FILES);
    else
        other->edit = 1 - other->edit;
}

bool world_change(struct world *world)
{
    const unsigned what = any(world, 40);
    unsigned idx;
    if (what < 20) {
        idx = any(world, WORLD_PODS);
        change_pod(world, &world->pods[idx]);
        text_addf(&world->last, " pod %u", idx);
    } else if (what < 37) {
        idx = any(world, WORLD_SLICES);
        change_slice(world, &world->slices[idx]);
        text_addf(&world->last, " slice %u", idx);
    } else if (what == 37) {
        idx = any(world, WORLD_FILES);
        world->names[idx] += WORLD_FILES;
        text_addf(&world->last, " file %u", idx);
    } else if (what == 38) {
        idx = any(world, WORLD_OTHERS);
        change_other(world, &world->others[idx]);
        text_addf(&world->last, " other %u", idx);
    } else {
        world->is_wrong = true;
    }
    return what < 37;
}

/* ---- documents ---- */

static void add_address(struct text *out, unsigned number, unsigned family)
{
    if (family == 0)
        text_addf(out, "10.1.0.%u", number + 1);
    else
        text_addf(out, "\"fd00::%x\"", number + 1);
}

static void write_pod(const struct world_pod *pod, size_t idx, struct text *out)
{
    static const char *const mesh[] = {"isthmus.io/mesh: enabled, ", "isthmus.io/mesh: disabled, ",
                                       ""};
    text_addf(out,
              "---\n{apiVersion: v1, kind: Pod, metadata: {namespace: %s, name: pod%zu, labels: "
              "{%sapp: a%u, tier: t%u}}, spec: {nodeName: n%u, serviceAccountName: sa%u, hostname: "
              "h, subdomain: s2, hostNetwork: %s, containers: [{name: c, ports: [{name: web, "
              "containerPort: 8088}]}]}, status: {phase: %s, conditions: [{type: Ready, status: "
              "\"%s\"}], podIPs: [",
              pod->is_elsewhere ? "depot" : "shop", idx, mesh[pod->mesh], pod->app, pod->tier,
              pod->node, pod->app, pod->is_on_host ? "true" : "false",
              pod->is_finished ? "Succeeded" : "Running", pod->is_ready ? "True" : "False");
    for (unsigned i = 0; i < pod->n_addresses; i++) {
        text_addf(out, "%s{ip: ", i ? ", " : "");
        add_address(out, pod->is_on_host ? WORLD_PODS + pod->node : pod->address, i);
        text_addf(out, "}");
    }
    text_addf(out, "]}}\n");
}

static unsigned address_of(const struct world *world, const struct world_endpoint *endpoint)
{
    const struct world_pod *pod = &world->pods[endpoint->pod];
    return pod->is_on_host ? WORLD_PODS + pod->node : pod->address;
}

/* An address stands once in a slice, so who comes second with one is called by its name. */
static bool goes_by_address(const struct world *world, const struct world_slice *slice, unsigned at)
{
    if (!slice->endpoints[at].is_by_address)
        return false;
    for (unsigned i = 0; i < at; i++)
        if (slice->endpoints[i].is_by_address &&
            address_of(world, &slice->endpoints[i]) == address_of(world, &slice->endpoints[at]))
            return false;
    return true;
}

static void write_endpoint(const struct world *world, const struct world_slice *slice, unsigned at,
                           struct text *out)
{
    static const char *const states[] = {
        "ready: true", "ready: false", "ready: false, serving: true, terminating: true",
        "ready: false, serving: false, terminating: true", "ready: true, serving: true"};
    const struct world_endpoint *endpoint = &slice->endpoints[at];
    text_addf(out, "{addresses: [");
    if (goes_by_address(world, slice, at))
        add_address(out, address_of(world, endpoint), 0);
    else
        text_addf(out, "10.9.0.%u", at);
    text_addf(out, "], conditions: {%s}", states[endpoint->state]);
    if (endpoint->hostname)
        text_addf(out, ", hostname: h%u", endpoint->hostname);
    if (!goes_by_address(world, slice, at))
        text_addf(out, ", targetRef: {kind: Pod, name: pod%u}", endpoint->pod);
    text_addf(out, "}");
}

static void write_slice(const struct world *world, const struct world_slice *slice, size_t idx,
                        struct text *out)
{
    static const char *const ports[] = {"{name: http, port: 8080}",
                                        "{name: http, port: 9090}, {name: more, port: 8081}",
                                        "{name: more, port: 8081}"};
    text_addf(out,
              "---\n{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: "
              "shop, name: slice%zu, labels: {%s: s%u}}, addressType: IPv4, ports: [%s], "
              "endpoints: [",
              idx,
              slice->is_imported ? "multicluster.kubernetes.io/service-name"
                                 : "kubernetes.io/service-name",
              slice->service, ports[slice->port]);
    for (unsigned i = 0; i < slice->n_endpoints; i++) {
        if (i)
            text_addf(out, ", ");
        write_endpoint(world, slice, i, out);
    }
    text_addf(out, "]}\n");
}

static void write_file(const struct world *world, unsigned file, struct text *out)
{
    text_addf(out, "---\n{apiVersion: v1, kind: ConfigMap, " META("shop", "file%u") "}\n", file);
    for (size_t i = 0; i < WORLD_OTHERS; i++)
        if (world->others[i].exists && world->others[i].file == file)
            text_addf(out, "---\n%s\n", others[i][world->others[i].edit]);
    for (size_t i = 0; i < WORLD_PODS; i++)
        if (world->pods[i].exists && world->pods[i].file == file)
            write_pod(&world->pods[i], i, out);
    for (size_t i = 0; i < WORLD_SLICES; i++)
        if (world->slices[i].exists && world->slices[i].file == file)
            write_slice(world, &world->slices[i], i, out);
}

/* In no order that later names would keep. */
static void file_path(const struct world *world, unsigned name, struct text *out)
{
    text_clear(out);
    text_addf(out, "%s/%u-%u.yaml", world->dir.path, name * 7 % 10, name);
}

static void put(struct world *world, unsigned file, struct str content)
{
    struct text path = {0};
    const bool is_renamed = world->written_names[file] != world->names[file];
    if (is_renamed) {
        file_path(world, world->written_names[file], &path);
        (void)unlink(path.ptr);
        world->written_names[file] = world->names[file];
    }
    if (is_renamed || !str_eq(content, text_str(&world->written[file]))) {
        file_path(world, world->names[file], &path);
        FILE *out = fopen(path.ptr, "we");
        cr_assert_not_null(out);
        cr_assert_eq(fwrite(content.ptr, 1, content.len, out), content.len);
        cr_assert_eq(fclose(out), 0);
        text_clear(&world->written[file]);
        text_add(&world->written[file], content);
    }
    text_fini(&path);
}

/* What is wrong is a pod that is there twice, in two files, or a document with an error. */
static void put_wrong(const struct world *world, bool is_twice)
{
    struct text path = {0}, content = {0};
    text_addf(&path, "%s/wrong.yaml", world->dir.path);
    (void)unlink(path.ptr);
    for (size_t i = 0; is_twice && i < WORLD_PODS && content.len == 0; i++)
        if (world->pods[i].exists)
            write_pod(&world->pods[i], i, &content);
    if (content.len == 0)
        text_addf(&content, "apiVersion: v1\nkind: Pod\nmetadata: {name: No_name}\n");
    if (world->is_wrong)
        cr_assert_eq(file_write_atomic(text_str(&path), text_str(&content), 0600), 0);
    text_fini(&path);
    text_fini(&content);
}

void world_write(struct world *world)
{
    for (unsigned i = 0; i < WORLD_FILES; i++) {
        struct text content = {0};
        write_file(world, i, &content);
        put(world, i, text_str(&content));
        text_fini(&content);
    }
    put_wrong(world, one_in(world, 2));
}

void world_init(struct world *world, uint64_t seed)
{
    *world = (struct world){.dir = temp_dir_new(), .seed = seed * 0x9e3779b97f4a7c15U + 1};
    for (unsigned i = 0; i < WORLD_FILES; i++)
        world->names[i] = world->written_names[i] = i;
    for (size_t i = 0; i < WORLD_PODS; i++)
        for (unsigned k = 0; k < 20 && !world->pods[i].exists; k++)
            change_pod(world, &world->pods[i]);
    for (size_t i = 0; i < WORLD_SLICES; i++)
        for (unsigned k = 0; k < 20; k++)
            change_slice(world, &world->slices[i]);
    for (size_t i = 0; i < WORLD_OTHERS; i++)
        world->others[i] =
            (struct world_other){!one_in(world, 4), any(world, 2), any(world, WORLD_FILES)};
}

void world_fini(struct world *world)
{
    for (unsigned i = 0; i < WORLD_FILES; i++)
        text_fini(&world->written[i]);
    text_fini(&world->last);
    temp_dir_remove(&world->dir);
}
