#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "config/k8s.h"
#include "config/manifests.h"
#include "fixture.h"
#include "tests/kit/expect_str.h"

DIAG_FIXTURE

TestSuite(manifests, .init = begin, .fini = end, .timeout = 20);

static const char *const whole =
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {isthmus.io/mesh: enabled}}\n"
    "---\n"
    "apiVersion: v1\nkind: Node\nmetadata:\n  name: w1\n  labels:\n"
    "    topology.kubernetes.io/region: eu\n    topology.kubernetes.io/zone: eu-a\n"
    "---\n"
    "apiVersion: v1\nkind: Pod\nmetadata:\n  name: web-0\n  namespace: shop\n  uid: u-1\n"
    "  creationTimestamp: \"2026-01-31T12:00:00Z\"\n  labels: {app: web}\n"
    "  annotations: {note: hello}\n"
    "  ownerReferences:\n  - {kind: Other, name: o}\n"
    "  - {kind: StatefulSet, name: web, controller: true}\n"
    "spec:\n  nodeName: w1\n  hostname: web-0\n  subdomain: web\n  containers:\n"
    "  - name: c\n    ports: [{name: http, containerPort: 8080}, {containerPort: 9}]\n"
    "status:\n  phase: Running\n  podIP: 10.1.0.5\n  podIPs: [{ip: 10.1.0.5}, {ip: \"fd00::5\"}]\n"
    "  conditions: [{type: Ready, status: \"True\"}]\n"
    "---\n"
    "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n"
    "  type: NodePort\n  clusterIP: 10.96.0.9\n  clusterIPs: [10.96.0.9, \"fd00:96::9\"]\n"
    "  selector: {app: web}\n  publishNotReadyAddresses: true\n  ports:\n"
    "  - {name: http, port: 80, targetPort: http, appProtocol: http}\n"
    "  - {name: dns, port: 80, protocol: UDP}\n"
    "---\n"
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
    "metadata: {name: web-x, namespace: shop, labels: {kubernetes.io/service-name: web}}\n"
    "ports: [{name: http, port: 8080}]\n"
    "endpoints:\n- addresses: [10.1.0.5]\n  hostname: web-0\n  nodeName: w1\n  zone: eu-a\n"
    "  targetRef: {kind: Pod, name: web-0}\n"
    "- addresses: [10.1.0.6]\n  conditions: {ready: false, serving: true, terminating: true}\n"
    "---\n"
    "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\n"
    "metadata: {name: web, namespace: shop}\n"
    "---\n"
    "apiVersion: multicluster.k8s.io/v1beta1\nkind: ServiceImport\n"
    "metadata: {name: far, namespace: shop}\nspec:\n  type: ClusterSetIP\n"
    "  ips: [10.201.0.7]\n  ports: [{port: 6379}]\n"
    "---\n"
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {anything: [goes]}\n";

Test(manifests, reads_every_kind)
{
    struct manifests *set = read_text(whole, &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(diag.len, 0, "%s", said(&diag));
    cr_expect_eq(set->n_files, 1);
    cr_assert_eq(set->n_namespaces + set->n_nodes + set->n_pods + set->n_services + set->n_slices +
                     set->n_exports + set->n_imports,
                 7);
    expect_str(set->nodes[0].region, "eu");
    expect_str(set->nodes[0].zone, "eu-a");
    cr_expect(manifests_is_enrolled(&set->pods[0], &set->namespaces[0]));
    cr_expect_not(manifests_is_enrolled(&set->pods[0], NULL));
    manifests_cross_check(set, STR("isthmus-system"), true, &diag);
    cr_expect_eq(diag.len, 0, "%s", said(&diag));
    manifests_free(set);
}

Test(manifests, reads_a_pod)
{
    struct manifests *set = read_text(whole, &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    const struct k8s_pod *pod = &set->pods[0];
    char text[IP_TEXT_MAX];
    expect_str(pod->node, "w1");
    expect_str(pod->service_account, "default");
    expect_str(pod->hostname, "web-0");
    expect_str(pod->subdomain, "web");
    expect_str(pod->owner_kind, "StatefulSet");
    expect_str(pod->owner_name, "web");
    expect_str(pod->meta.uid, "u-1");
    expect_str(label_find(pod->meta.annotations, pod->meta.n_annotations, "note"), "hello");
    cr_expect_eq(pod->meta.created_ns, INT64_C(1769860800) * 1000000000);
    cr_expect_eq(pod->meta.place.line, 13);
    cr_assert_eq(pod->n_addresses, 2);
    cr_expect_str_eq(ip_text(&pod->addresses[1], text), "fd00::5");
    cr_assert_eq(pod->n_ports, 1);
    expect_str(pod->ports[0].name, "http");
    cr_expect_eq(pod->ports[0].port, 8080);
    cr_expect(pod->is_ready);
    cr_expect_not(pod->is_finished);
    manifests_free(set);
}

Test(manifests, reads_a_service_with_its_slice_and_an_import)
{
    struct manifests *set = read_text(whole, &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    const struct k8s_service *service = &set->services[0];
    const struct k8s_endpoint_slice *slice = &set->slices[0];
    cr_expect_eq(service->type, SERVICE_CLUSTER_IP);
    cr_expect_eq(service->n_addresses, 2);
    cr_expect(service->publish_not_ready);
    cr_assert_eq(service->n_ports, 2);
    cr_expect_eq(service->ports[0].target_port, 0);
    expect_str(service->ports[0].target_name, "http");
    expect_str(service->ports[0].app_protocol, "http");
    cr_expect_eq(service->ports[1].target_port, 80);
    cr_expect(service->ports[1].is_udp);
    expect_str(slice->service, "web");
    cr_expect_eq(slice->ports[0].port, 8080);
    cr_assert_eq(slice->n_endpoints, 2);
    expect_str(slice->endpoints[0].target_pod, "web-0");
    expect_str(slice->endpoints[0].zone, "eu-a");
    cr_expect(slice->endpoints[0].is_ready && slice->endpoints[0].is_serving);
    cr_expect_not(slice->endpoints[1].is_ready);
    cr_expect(slice->endpoints[1].is_serving && slice->endpoints[1].is_terminating);
    cr_expect_not(set->imports[0].is_headless);
    cr_expect_eq(set->imports[0].n_addresses, 1);
    cr_expect_eq(set->imports[0].ports[0].port, 6379);
    manifests_free(set);
}

#define SERVICE "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"
#define SLICE                                                                                      \
    "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: "     \
    "IPv4\n"
#define POD "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n"
#define IMPORT                                                                                     \
    "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceImport\nmetadata: {name: i}\n"

Test(manifests, refuses_wrong_objects_with_their_place)
{
    static const struct {
        const char *name, *text, *said;
    } rows[] = {
        {"a tab", "kind: Service\nspec:\n\tports: []\n", "m.yaml:3:1: error: a tab stands"},
        {"a uid that is none",
         "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  uid: \"a b\"\n",
         "m.yaml:5:8: error: metadata.uid: \"a b\" is not a uid"},
        {"a duplicate key", SERVICE "spec:\n  type: ClusterIP\n  type: NodePort\n",
         "m.yaml:6:3: error: the key \"type\" is there twice, first in line 5"},
        {"a Service without ports", SERVICE "spec:\n  type: ClusterIP\n",
         "m.yaml:5:3: error: Service web: spec.ports: a Service needs at least one port"},
        {"a Service with an empty list of ports", SERVICE "spec:\n  ports: []\n",
         "m.yaml:5:10: error: Service web: spec.ports: a Service needs at least one port"},
        {"a Service without spec", SERVICE, "m.yaml:1:1: error: Service web: spec: is required"},
        {"a host name as address", SLICE "endpoints:\n- addresses: [web.example]\n",
         "m.yaml:6:15: error: endpoints[0].addresses[0]: \"web.example\" is not an IP address"},
        {"an address of the other family", SLICE "endpoints:\n- addresses: [\"fd00::1\"]\n",
         "m.yaml:6:15: error: endpoints[0].addresses[0]: \"fd00::1\" is not an IPv4 address"},
        {"no addresses", SLICE "endpoints:\n- nodeName: w1\n",
         "m.yaml:6:3: error: endpoints[0].addresses: is required"},
        {"addressType",
         "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\n"
         "addressType: fqdn\n",
         "m.yaml:4:14: error: addressType: \"fqdn\" is not IPv4 or IPv6"},
        {"a port out of range", SERVICE "spec:\n  ports:\n  - port: 70000\n",
         "m.yaml:6:11: error: spec.ports[0].port: 70000 is not a port (1 to 65535)"},
        {"no port", SERVICE "spec:\n  ports: [{name: a}]\n", "spec.ports[0].port: is required"},
        {"a protocol", SERVICE "spec:\n  ports: [{port: 1, protocol: ICMP}]\n",
         "spec.ports[0].protocol: \"ICMP\" is not TCP or UDP"},
        {"a name that an SCTP port has",
         SERVICE "spec:\n  ports: [{name: a, port: 1, protocol: SCTP}, {name: a, port: 2}]\n",
         "spec.ports[1].name: \"a\" is the name of spec.ports[0] already"},
        {"two ports of one number",
         SERVICE "spec:\n  ports: [{name: a, port: 1}, {name: b, port: 1}]\n",
         "m.yaml:5:31: error: spec.ports[1].port: 1 is the port of spec.ports[0] already"},
        {"two ports of one name",
         SERVICE "spec:\n  ports: [{name: a, port: 1}, {name: a, port: 2}]\n",
         "spec.ports[1].name: \"a\" is the name of spec.ports[0] already"},
        {"unnamed ports", SERVICE "spec:\n  ports: [{name: a, port: 1}, {port: 2}]\n",
         "spec.ports[1].name: is required when there are several ports"},
        {"targetPort", SERVICE "spec:\n  ports: [{port: 1, targetPort: 99999}]\n",
         "spec.ports[0].targetPort: 99999 is not a port"},
        {"targetPort name", SERVICE "spec:\n  ports: [{port: 1, targetPort: Not_A_Port}]\n",
         "\"Not_A_Port\" is not a port (1 to 65535) or a port's name"},
        {"type", SERVICE "spec:\n  type: Balancer\n  ports: [{port: 1}]\n",
         "spec.type: \"Balancer\" is not one of ClusterIP"},
        {"clusterIP", SERVICE "spec:\n  clusterIP: none\n  ports: [{port: 1}]\n",
         "spec.clusterIP: \"none\" is not an IP address"},
        {"name",
         "apiVersion: v1\nkind: Service\nmetadata: {name: Web_1}\nspec: {ports: [{port: 1}]}\n",
         "m.yaml:3:18: error: metadata.name: \"Web_1\" is not a name"},
        {"no name", "apiVersion: v1\nkind: Service\nmetadata: {}\nspec: {ports: [{port: 1}]}\n",
         "m.yaml:3:11: error: metadata.name: is required"},
        {"namespace", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a.b}\n",
         "metadata.namespace: \"a.b\" is not a namespace"},
        {"no metadata", "apiVersion: v1\nkind: Pod\n", "m.yaml:1:1: error: metadata: is required"},
        {"no kind", "apiVersion: v1\n", "m.yaml:1:1: error: kind: is required"},
        {"no apiVersion", "kind: Pod\n", "error: apiVersion: is required"},
        {"empty apiVersion", "apiVersion: ''\nkind: AuthorizationPolicy\n",
         "m.yaml:1:13: error: apiVersion: is empty"},
        {"empty kind", "apiVersion: v1\nkind: ''\n", "m.yaml:2:7: error: kind: is empty"},
        {"a version", "apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\n",
         "m.yaml:1:13: error: apiVersion: version \"v1beta1\" of EndpointSlice is not supported, "
         "expected v1"},
        {"no object", "- 1\n", "m.yaml:1:1: error: expected an object with apiVersion, kind"},
        {"twice",
         SERVICE "spec: {ports: [{port: 1}]}\n---\n" SERVICE "spec: {ports: [{port: 1}]}\n",
         "error: Service default/web is there twice, first at "},
        {"a time", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, creationTimestamp: yesterday}\n",
         "\"yesterday\" is not a time such as 2026-01-31T12:00:00Z (RFC 3339)"},
        {"a pod's address", POD "status: {podIP: 10.0.0}\n",
         "status.podIP: \"10.0.0\" is not an IP"},
        {"a phase", POD "status: {phase: Runing}\n", "status.phase: \"Runing\" is not one of"},
        {"labels", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: [a]}\n",
         "metadata.labels: expected a mapping, found a list"},
        {"a label's value", "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {a: {b: c}}}\n",
         "metadata.labels.a: expected text, found a mapping"},
        {"import without type", IMPORT "spec: {ports: [{port: 1}]}\n", "spec.type: is required"},
        {"import ips", IMPORT "spec: {type: ClusterSetIP, ips: [10.0.0.1, 10.0.0.2]}\n",
         "spec.ips[1]: is a second address of one family"},
        {"headless import with an address", IMPORT "spec: {type: Headless, ips: [10.0.0.1]}\n",
         "spec.ips: a Headless import has no addresses"},
        {"our own kind",
         "apiVersion: isthmus.io/v1alpha1\nkind: TrafficPlan\nmetadata: {name: a}\n",
         "m.yaml:2:7: error: kind: there is no TrafficPlan in isthmus.io"},
        {"a kind of Istio's", "apiVersion: security.istio.io/v1\nkind: RequestAuthorization\n",
         "m.yaml:2:7: error: kind: RequestAuthorization is not supported yet"},
        {"an empty file", "", "m.yaml: error: the file is empty"},
        {"a file cut off", SERVICE "spec: {ports: [{port: 80}", "error: not valid YAML"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        diag = (struct diag){0};
        cr_expect_null(read_text(rows[i].text, &diag), "%s", rows[i].name);
        cr_expect_eq(diag.n_errors, 1, "%s: %s", rows[i].name, said(&diag));
        expect_said(&diag, rows[i].name, rows[i].said);
        diag_fini(&diag);
    }
}

Test(manifests, tells_both_places_of_two_objects_of_one_name)
{
    struct folder folder;
    folder_begin(&folder);
    folder_write(&folder, "b.yaml", "\n" SERVICE "spec: {ports: [{port: 1}]}\n");
    folder_write(&folder, "a.yaml", SERVICE "spec: {ports: [{port: 1}]}\n");
    cr_expect_null(manifests_read(folder.dir.path, &diag));
    expect_said(&diag, "second",
                "b.yaml:2:1: error: Service default/web is there twice, first at /");
    expect_said(&diag, "first", "a.yaml:1:1\n");
    folder_end(&folder);
}

Test(manifests, accepts_what_kubernetes_accepts)
{
    static const struct {
        const char *name, *text;
    } rows[] = {
        {"headless without ports", SERVICE "spec: {clusterIP: None}\n"},
        {"ExternalName without ports", SERVICE "spec: {type: ExternalName, externalName: a.b}\n"},
        {"no clusterIP yet", SERVICE "spec: {clusterIP: \"\", ports: [{port: 1}]}\n"},
        {"targetPort in quotes is a name",
         SERVICE "spec: {ports: [{port: 1, targetPort: \"web\"}]}\n"},
        {"a slice without endpoints", SLICE "endpoints: []\nports: []\n"},
        {"a slice with null endpoints", SLICE "endpoints: null\nports: null\n"},
        {"SCTP in a pod",
         POD "spec: {containers: [{ports: [{containerPort: 1, protocol: SCTP}]}]}\n"},
        {"another kind", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A_B}\n"},
        {"a kind of another group", "apiVersion: serving.knative.dev/v1\nkind: Service\n"},
        {"unknown fields",
         SERVICE "spec: {ports: [{port: 1, nodePort: 3}], foo: bar}\nstatus: {}\n"},
        {"one port over TCP and UDP",
         SERVICE "spec: {ports: [{name: a, port: 53}, {name: b, port: 53, protocol: UDP}]}\n"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct manifests *set = read_text(rows[i].text, &diag);
        cr_expect_not_null(set, "%s: %s", rows[i].name, said(&diag));
        cr_expect_eq(diag.len, 0, "%s: %s", rows[i].name, said(&diag));
        manifests_free(set);
    }
}

Test(manifests, says_that_a_kind_is_read_from_another_group)
{
    struct manifests *set =
        read_text("apiVersion: multicluster.xk8s.io/v1alpha1\nkind: ServiceExport\n", &diag);
    cr_expect_not_null(set);
    expect_said(&diag, "group",
                "m.yaml:2:7: warning: kind: ServiceExport of \"multicluster.xk8s.io\" "
                "is passed over; it is read from multicluster.x-k8s.io");
    manifests_free(set);
}

/* Kubernetes takes them from whoever may make a Service: they must not hold up everybody's changes.
 */
Test(manifests, passes_over_ports_of_sctp_and_slices_of_host_names_and_says_so)
{
    struct manifests *set = read_text(
        SERVICE "spec:\n  ports:\n  - {name: a, port: 80, protocol: SCTP}\n  - {name: b, port: "
                "80}\n---\n" SLICE "endpoints: []\nports: [{port: 9, protocol: SCTP}, {port: 8}]\n"
                "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"
                "metadata: {name: names, labels: {kubernetes.io/service-name: web}}\n"
                "addressType: FQDN\nendpoints: [{addresses: [a.example]}]\nports: []\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(diag.len, 3, "%s", said(&diag));
    expect_said(&diag, "service",
                "m.yaml:6:35: warning: spec.ports[0].protocol: SCTP is passed over with its port: "
                "only TCP and UDP are carried");
    expect_said(&diag, "slice", "warning: ports[0].protocol: SCTP is passed over with its port");
    expect_said(&diag, "names", "warning: addressType: FQDN is passed over with its endpoints");
    cr_assert_eq(set->services[0].n_ports, 1);
    cr_expect(str_eq(set->services[0].ports[0].name, STR("b")));
    cr_expect_eq(set->services[0].ports[0].port, 80);
    cr_assert_eq(set->slices[0].n_ports, 1);
    cr_expect_eq(set->slices[0].ports[0].port, 8);
    cr_assert_eq(set->n_slices, 2);
    cr_expect_eq(set->slices[1].n_endpoints, 0);
    manifests_free(set);
}

Test(manifests, says_what_of_istio_is_passed_over_and_what_is_read_in_its_place)
{
    static const struct {
        const char *kind, *spec, *sentence; /* "": not a word */
    } rows[] = {
        {"VirtualService", "spec: {hosts: [web]}\n",
         "m.yaml:2:7: warning: kind: VirtualService of networking.istio.io is passed over: "
         "requests "
         "are routed by HTTPRoute and GRPCRoute of gateway.networking.k8s.io"},
        {"VirtualService", "spec: {gateways: [ingress, mesh]}\n", "VirtualService of"},
        {"VirtualService", "spec: {gateways: [shop/ingress]}\n", ""},
        {"VirtualService", "spec: {gateways: []}\n", "VirtualService of"},
        {"VirtualService", "spec: []\n", "VirtualService of"},
        {"DestinationRule", "", "by a TrafficPolicy of isthmus.io"},
        {"ServiceEntry", "", "only Services and ServiceImports are known"},
        {"Sidecar", "", "every node knows all services"},
        {"Gateway", "", ""},
        {"NewKind", "", ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[512];
        struct diag told = {0};
        (void)snprintf(text, sizeof(text), "apiVersion: networking.istio.io/v1\nkind: %s\n%s",
                       rows[i].kind, rows[i].spec);
        struct manifests *set = read_text(text, &told);
        cr_assert_not_null(set, "%s: %s", rows[i].kind, said(&told));
        cr_expect_eq(told.len, *rows[i].sentence ? 1 : 0, "%s: %s", rows[i].kind, said(&told));
        if (*rows[i].sentence)
            expect_said(&told, rows[i].spec, rows[i].sentence);
        manifests_free(set);
        diag_fini(&told);
    }
}

Test(manifests, says_that_routes_of_other_protocols_are_passed_over)
{
    struct manifests *set =
        read_text("apiVersion: gateway.networking.k8s.io/v1alpha2\nkind: TCPRoute\n", &diag);
    cr_expect_not_null(set);
    expect_said(&diag, "kind",
                "m.yaml:2:7: warning: kind: TCPRoute is passed over: only HTTPRoute and GRPCRoute "
                "are read, and what it routes goes where its Service says");
    manifests_free(set);
}

Test(manifests, knows_a_kind_that_is_written_wrong)
{
    struct manifests *set = read_text("apiVersion: v1\nkind: service\n---\n"
                                      "apiVersion: multicluster.x-k8s.io/v1alpha1\n"
                                      "kind: ServiceExports\n",
                                      &diag);
    cr_expect_null(set);
    expect_said(&diag, "case",
                "m.yaml:2:7: error: kind: there is no service; did you mean Service?");
    expect_said(&diag, "plural",
                "m.yaml:5:7: error: kind: there is no ServiceExports; did you mean ServiceExport?");
}

Test(manifests,
     a_kind_that_is_nearly_spelt_like_one_of_ours_is_told_and_others_of_its_group_are_not)
{
    static const struct {
        const char *text, *says;
    } rows[] = {
        {"apiVersion: v1\nkind: Servce\n",
         "m.yaml:2:7: warning: kind: Servce is passed over; did you mean Service?"},
        {"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlices1\n", "did you mean EndpointSlice?"},
        {"apiVersion: gateway.networking.k8s.io/v1\nkind: HTPRoute\n", "did you mean HTTPRoute?"},
        {"apiVersion: isthmus.io/v1alpha1\nkind: TrafficPolcy\n",
         "m.yaml:2:7: error: kind: there is no TrafficPolcy in isthmus.io; did you mean "
         "TrafficPolicy?"},
        {"apiVersion: v1\nkind: Secret\n", ""},
        {"apiVersion: v1\nkind: ServiceAccount\n", ""},
        {"apiVersion: v1\nkind: Endpoints\n", ""},
        {"apiVersion: v1\nkind: Event\n", ""},
        {"apiVersion: apps/v1\nkind: Servce\n", ""},
        {"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\n", ""},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        manifests_free(read_text(rows[i].text, &diag));
        if (*rows[i].says)
            cr_expect(strstr(said(&diag), rows[i].says), "%s: %s", rows[i].text, said(&diag));
        else
            cr_expect_eq(diag.len, 0, "%s: %s", rows[i].text, said(&diag));
        diag_fini(&diag);
        diag = (struct diag){0};
    }
}

Test(manifests, warns_of_a_mesh_label_that_says_neither)
{
    struct manifests *set = read_text("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n"
                                      "  labels: {isthmus.io/mesh: \"true\"}\n",
                                      &diag);
    cr_expect_not_null(set);
    expect_said(&diag, "true",
                "m.yaml:5:11: warning: metadata.labels: isthmus.io/mesh: \"true\" is neither "
                "enabled nor disabled; it counts as disabled");
    manifests_free(set);
}

Test(manifests, unwraps_lists_and_reads_json)
{
    struct manifests *set = read_text(
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n"
        "{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {\"name\": \"a\"}},\n"
        "{\"apiVersion\": \"v1\", \"kind\": \"List\", \"items\": [\n"
        "{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {\"name\": \"b\"}}]}]}\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    cr_assert_eq(set->n_nodes, 2);
    expect_str(set->nodes[1].meta.name, "b");
    manifests_free(set);
}

Test(manifests, walks_folders_in_a_fixed_order_without_hidden_files)
{
    struct folder folder;
    char from[128], to[128];
    folder_begin(&folder);
    folder_write(&folder, "z.json",
                 "{\"apiVersion\": \"v1\", \"kind\": \"Node\", \"metadata\": {\"name\": \"z\"}}");
    folder_write(&folder, "sub/deep/m.yml", "apiVersion: v1\nkind: Node\nmetadata: {name: m}\n");
    folder_write(&folder, "a.yaml", "apiVersion: v1\nkind: Node\nmetadata: {name: a}\n");
    folder_write(&folder, "README.md", "\tnot a manifest\n");
    folder_write(&folder, ".hidden.yaml", "\tno\n");
    folder_write(&folder, "..2026/linked.yaml",
                 "apiVersion: v1\nkind: Node\nmetadata: {name: l}\n");
    snprintf(from, sizeof(from), "%s/..data", folder.dir.path);
    cr_assert_eq(symlink("..2026", from), 0);
    snprintf(to, sizeof(to), "%s/linked.yaml", folder.dir.path);
    cr_assert_eq(symlink("..data/linked.yaml", to), 0);

    struct manifests *set = manifests_read(folder.dir.path, &diag);

    cr_assert_not_null(set, "%s", said(&diag));
    cr_expect_eq(set->n_files, 4);
    cr_assert_eq(set->n_nodes, 4);
    expect_str(set->nodes[0].meta.name, "a");
    expect_str(set->nodes[1].meta.name, "l");
    expect_str(set->nodes[2].meta.name, "m");
    expect_str(set->nodes[3].meta.name, "z");
    manifests_free(set);
    folder_end(&folder);
}

Test(manifests, ends_a_ring_of_symlinks_with_an_error)
{
    struct folder folder;
    char ring[128];
    folder_begin(&folder);
    snprintf(ring, sizeof(ring), "%s/again", folder.dir.path);
    cr_assert_eq(symlink(".", ring), 0);
    cr_expect_null(manifests_read(folder.dir.path, &diag));
    expect_said(&diag, "ring", "error: folders are nested too deeply");
    folder_end(&folder);
}

Test(manifests, says_that_a_folder_or_file_is_not_there)
{
    struct folder folder;
    char dangling[128];
    cr_expect_null(manifests_read("/nonexistent", &diag));
    expect_said(&diag, "folder", "/nonexistent: error: the folder cannot be opened");
    folder_begin(&folder);
    snprintf(dangling, sizeof(dangling), "%s/a.yaml", folder.dir.path);
    cr_assert_eq(symlink("nowhere.yaml", dangling), 0);
    cr_expect_null(manifests_read(folder.dir.path, &diag));
    expect_said(&diag, "dangling", "a.yaml: error: cannot be read: No such file");
    folder_end(&folder);
}

Test(manifests, cross_check_sees_what_takes_two_objects)
{
    struct manifests *set = read_text(
        "apiVersion: v1\nkind: Node\nmetadata: {name: w1}\n---\n"
        "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\nmetadata: {name: ghost}\n"
        "---\n"
        "apiVersion: multicluster.x-k8s.io/v1alpha1\nkind: ServiceExport\nmetadata: {name: ext}\n"
        "---\n"
        "apiVersion: v1\nkind: Service\nmetadata: {name: ext}\nspec: {type: ExternalName}\n---\n"
        "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\n"
        "metadata: {name: s, labels: {kubernetes.io/service-name: gone}}\n---\n"
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, labels: {app: a}}\nspec: {nodeName: "
        "w9}\n---\n"
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: none}\n"
        "spec: {selector: {matchLabels: {app: b}}}\n---\n"
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: some}\n"
        "spec: {selector: {matchLabels: {app: a}}}\n",
        &diag);
    cr_assert_not_null(set, "%s", said(&diag));
    manifests_cross_check(set, STR("isthmus-system"), false, &diag);
    cr_expect_eq(diag.n_errors, 0);
    cr_expect_eq(diag.len, 5, "%s", said(&diag));
    expect_said(&diag, "export",
                "m.yaml:5:1: warning: ServiceExport default/ghost: there is no Service");
    expect_said(&diag, "external", "ServiceExport default/ext: an ExternalName Service cannot");
    expect_said(&diag, "slice", "EndpointSlice default/s: there is no Service \"gone\"");
    expect_said(&diag, "pod", "Pod default/p: there is no Node \"w9\"");
    expect_said(&diag, "policy", "AuthorizationPolicy default/none: its selector selects no pod");
    manifests_cross_check(set, STR("isthmus-system"), true, &diag);
    cr_expect_eq(diag.n_errors, 2);
    manifests_free(set);
}

Test(manifests, enrols_by_pod_then_namespace_never_the_host_network)
{
    struct label in = {STR("isthmus.io/mesh"), STR("enabled")};
    struct label out = {STR("isthmus.io/mesh"), STR("disabled")};
    struct label ambient = {STR("istio.io/dataplane-mode"), STR("ambient")};
    struct label none = {STR("istio.io/dataplane-mode"), STR("none")};
    struct label other = {STR("app"), STR("web")};

    const struct {
        const char *name;
        struct label *pod, *namespace_;
        bool host_network, enrolled;
    } rows[] = {
        {"nothing", &other, NULL, false, false},
        {"pod", &in, NULL, false, true},
        {"namespace", &other, &in, false, true},
        {"pod wins out", &out, &in, false, false},
        {"pod wins in", &in, &out, false, true},
        {"ambient", &other, &ambient, false, true},
        {"none over ambient", &none, &ambient, false, false},
        {"host network", &in, &in, true, false},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct k8s_pod pod = {.meta = {.labels = rows[i].pod, .n_labels = 1},
                              .host_network = rows[i].host_network};
        struct k8s_namespace namespace_ = {
            .meta = {.labels = rows[i].namespace_, .n_labels = rows[i].namespace_ ? 1 : 0}};
        cr_expect_eq(manifests_is_enrolled(&pod, &namespace_), rows[i].enrolled, "%s",
                     rows[i].name);
    }
}

Test(manifests, selects_by_all_labels)
{
    struct label labels[] = {{STR("a"), STR("1")}, {STR("b"), STR("2")}};
    struct label wrong[] = {{STR("a"), STR("1")}, {STR("b"), STR("3")}};
    struct label more[] = {{STR("c"), STR("")}};
    cr_expect(label_select(NULL, 0, labels, 2));
    cr_expect(label_select(labels, 1, labels, 2));
    cr_expect(label_select(labels, 2, labels, 2));
    cr_expect_not(label_select(wrong, 2, labels, 2));
    cr_expect_not(label_select(more, 1, labels, 2));
    cr_expect_not(label_select(labels, 1, NULL, 0));
}

Test(manifests, parses_times)
{
    static const struct {
        const char *text;
        int64_t ns; /* -1: not a time */
    } rows[] = {
        {"1970-01-01T00:00:00Z", 0},
        {"1970-01-01T00:00:01.5Z", 1500000000},
        {"2000-02-29T00:00:00Z", INT64_C(951782400000000000)},
        {"2026-01-31T12:00:00+02:00", INT64_C(1769853600000000000)},
        {"2026-01-31T12:00:00-01:30", INT64_C(1769866200000000000)},
        {"2026-12-31T23:59:60Z", INT64_C(1798761600000000000)},
        {"2026-02-29T00:00:00Z", -1},
        {"2026-13-01T00:00:00Z", -1},
        {"2026-01-31", -1},
        {"2026-01-31T12:00:00", -1},
        {"2026-01-31T12:00:00.Z", -1},
        {"2026-01-31T12:00:00Zx", -1},
        {"", -1},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t ns = -1;
        cr_expect_eq(k8s_parse_time(str_from(rows[i].text), &ns), rows[i].ns >= 0, "%s",
                     rows[i].text);
        cr_expect_eq(ns, rows[i].ns, "%s", rows[i].text);
    }
}
