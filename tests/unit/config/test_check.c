#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "config/check.h"
#include "fixture.h"

static struct folder folder;
static struct text out;

static void begin(void)
{
    folder_begin(&folder);
    out = (struct text){0};
}

static void end(void)
{
    text_fini(&out);
    folder_end(&folder);
}

TestSuite(check, .init = begin, .fini = end, .timeout = 20);

#define SERVICE                                                                                    \
    "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {ports: [{port: 80}]}\n"
#define EXPORT                                                                                     \
    "apiVersion: multicluster.x-k8s.io/v1beta1\nkind: ServiceExport\nmetadata: {name: web}\n"

Test(check, the_examples_are_clean)
{
    const char *paths[] = {EXAMPLES};
    cr_expect(check_files(paths, 1, &out), "%s", out.ptr);
    cr_expect_str_eq(out.ptr, "24 objects in 6 files: no errors\n");
}

Test(check, objects_of_several_files_are_one_set)
{
    const char *paths[] = {folder_write(&folder, "s.yaml", SERVICE),
                           folder_write(&folder, "e.yaml", EXPORT)};
    cr_expect(check_files(paths, 2, &out), "%s", out.ptr);
    cr_expect_str_eq(out.ptr, "2 objects in 2 files: no errors\n");
    text_clear(&out);
    cr_expect_not(check_files(paths + 1, 1, &out));
    cr_expect(strstr(out.ptr, "e.yaml:1:1: error: ServiceExport default/web: there is no Service"));
    cr_expect(strstr(out.ptr, "1 object in 1 file: 1 error\n"));
}

Test(check, one_file_may_hold_both_sorts)
{
    const char *paths[] = {folder_write(
        &folder, "both.yaml",
        SERVICE "---\napiVersion: isthmus.io/v1alpha1\nkind: ProxyConfig\nnodes: x\n")};
    cr_expect_not(check_files(paths, 1, &out));
    cr_expect(strstr(out.ptr, "both.yaml:8:1: error: nodes: there is no such key; did you mean "
                              "\"node\"?"),
              "%s", out.ptr);
    cr_expect(strstr(out.ptr, "both.yaml:6:1: error: stateDir: is required"), "%s", out.ptr);
}

Test(check, counts_warnings_and_is_still_clean)
{
    folder_write(&folder, "sub/s.yaml",
                 "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\n"
                 "addressType: IPv6\nendpoints: []\n");
    const char *paths[] = {folder.dir.path};
    cr_expect(check_files(paths, 1, &out));
    cr_expect(strstr(out.ptr, "1 object in 1 file: no errors, 1 warning\n"), "%s", out.ptr);
}

Test(check, says_that_there_is_nothing_to_check)
{
    const char *paths[] = {folder.dir.path, "/nonexistent.yaml"};
    cr_expect_not(check_files(paths, 2, &out));
    cr_expect(strstr(out.ptr, "warning: the folder holds no manifests"), "%s", out.ptr);
    cr_expect(strstr(out.ptr, "/nonexistent.yaml: error: cannot be opened"), "%s", out.ptr);
}

Test(check, does_not_wait_for_a_fifo)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/pipe.yaml", folder.dir.path);
    cr_assert_eq(mkfifo(path, 0600), 0);
    const char *paths[] = {path};
    cr_expect_not(check_files(paths, 1, &out));
    cr_expect(strstr(out.ptr, "pipe.yaml: error: is not a regular file"), "%s", out.ptr);
}

Test(check, a_bad_file_does_not_hide_what_is_wrong_with_the_others)
{
    const char *paths[] = {folder_write(&folder, "a.yaml", "a: {\n"),
                           folder_write(&folder, "b.yaml", "kind: Service\n")};
    cr_expect_not(check_files(paths, 2, &out));
    cr_expect(strstr(out.ptr, "a.yaml:2:1: error: not valid YAML"), "%s", out.ptr);
    cr_expect(strstr(out.ptr, "b.yaml:1:1: error: apiVersion: is required"), "%s", out.ptr);
    cr_expect(strstr(out.ptr, "0 objects in 2 files: 2 errors\n"), "%s", out.ptr);
}

#define CONTROL                                                                                    \
    "apiVersion: isthmus.io/v1alpha1\nkind: ControlConfig\ncluster: west\ntrustDomain: "           \
    "w.example\n"                                                                                  \
    "manifests: /m\nstateDir: /s\ntokensDir: /t\nclusterSetIPs: [10.201.0.0/16]\npeers:\n"         \
    "- {name: east, address: 'e:15012', trustDomain: e.example, trustBundle: /e.pem}\n"
#define TRAFFIC(spec)                                                                              \
    "apiVersion: isthmus.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: web}\nspec:\n"         \
    "  targetRef: {group: '', kind: Service, name: web}\n  clusters: " spec "\n"
#define ROUTE(cluster)                                                                             \
    "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec:\n"      \
    "  parentRefs: [{group: '', kind: Service, name: web}]\n  rules:\n  - backendRefs:\n"          \
    "    - {group: multicluster.x-k8s.io, kind: ServiceImport, name: web, port: 80,\n"             \
    "       filters: [{type: ExtensionRef,\n"                                                      \
    "         extensionRef: {group: isthmus.io, kind: Cluster, name: " cluster "}}]}\n"
#define NEITHER " is neither the cluster nor a peer of a ControlConfig here; "

Test(check, a_cluster_that_no_control_config_knows_is_told)
{
    static const struct {
        const char *object, *sentence;
    } rows[] = {
        {ROUTE("eas"), "o.yaml:10:65: warning: spec.rules[0].backendRefs[0].filters[0]."
                        "extensionRef.name: \"eas\"" NEITHER "did you mean \"east\"?"},
        {TRAFFIC("{allow: {names: [west, eats]}}"),
         "o.yaml:6:36: warning: spec.clusters.allow.names[1]: \"eats\"" NEITHER
         "did you mean \"east\"?"},
        {TRAFFIC(
             "{mode: Weighted, members: [{name: west, weight: 1}, {name: south-7, weight: 2}]}"),
         "warning: spec.clusters.members[1].name: \"south-7\"" NEITHER
         "they are of \"west\", \"east\""},
    };

    const char *others = folder_write(&folder, "s.yaml", SERVICE "---\n" EXPORT);

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *paths[] = {folder_write(&folder, "o.yaml", rows[i].object), others,
                               folder_write(&folder, "control.yaml", CONTROL)};
        cr_expect(check_files(paths, 3, &out), "%s", out.ptr);
        cr_expect(strstr(out.ptr, rows[i].sentence), "%zu: %s", i, out.ptr);
        cr_expect(strstr(out.ptr, "no errors, 1 warning\n"), "%zu: %s", i, out.ptr);
        text_clear(&out);
        cr_expect(check_files(paths, 2, &out), "%s", out.ptr);
        cr_expect(strstr(out.ptr, "no errors\n"), "without a ControlConfig nobody knows: %s",
                  out.ptr);
        text_clear(&out);
    }
}

Test(check, clusters_of_any_control_config_are_known)
{
    const char *paths[] = {
        folder_write(&folder, "o.yaml",
                     SERVICE "---\n" EXPORT "---\n" ROUTE("east") "---\n" TRAFFIC(
                         "{allow: {names: [west, east, north]}}")),
        folder_write(&folder, "west.yaml", CONTROL),
        folder_write(&folder, "north.yaml",
                     "apiVersion: isthmus.io/v1alpha1\nkind: ControlConfig\ncluster: north\n"
                     "trustDomain: n.example\nmanifests: /m\nstateDir: /s\ntokensDir: /t\n"
                     "clusterSetIPs: [10.202.0.0/16]\n")};
    cr_expect(check_files(paths, 3, &out), "%s", out.ptr);
    cr_expect(strstr(out.ptr, "6 objects in 3 files: no errors\n"), "%s", out.ptr);
}
