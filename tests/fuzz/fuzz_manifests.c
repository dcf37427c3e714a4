/*
 * fuzz_manifests.c - any bytes as a file that `isthmus check` and the control process read: YAML,
 * Kubernetes objects, our own configuration kinds. Whatever is accepted is walked on: cross checks,
 * compiled policies.
 */
#include "config/bootstrap_doc.h"
#include "config/k8s.h"
#include "config/policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_as_bootstrap(const struct yaml *doc)
{
    struct diag diag = {0};
    struct proxy_config proxy = {0};
    struct control_config control = {0};
    bootstrap_doc_proxy(doc, &proxy, &diag);
    bootstrap_doc_control(doc, &control, &diag);
    bootstrap_fini_proxy(&proxy);
    bootstrap_fini_control(&control);
    diag_fini(&diag);
}

static void walk(const struct manifests *set, struct diag *diag)
{
    struct arena arena = {0};
    const struct policy_question question = {.principal = STR("td/ns/a/sa/b"),
                                             .namespace_ = STR("a"),
                                             .source = {4, {10, 0, 0, 1}},
                                             .port = 80};
    manifests_cross_check(set, STR("isthmus-system"), true, diag);
    for (size_t i = 0; i < set->n_policies; i++) {
        const struct policy *policy = policy_compile(&arena, &set->policies[i].policy);
        const struct policy_layer *layer = policy_layer_new(&arena, &policy, 1, NULL, 0);
        const struct policy_set asked = {.layers = &layer, .n_layers = 1};
        (void)policy_ask(&asked, &question);
    }
    for (size_t i = 0; i < set->n_pods; i++)
        (void)manifests_is_enrolled(&set->pods[i], NULL);
    arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct diag diag = {0};
    struct k8s_reader reader;
    struct yaml **docs;
    manifests_begin(&reader, &diag);
    reader.file = STR("input.yaml");
    size_t n_docs = yaml_parse(&arena, reader.file, str_of(data, size), &docs, &diag);
    for (size_t i = 0; i < n_docs; i++) {
        manifests_add_doc(&reader, docs[i]);
        if (bootstrap_kind_of(docs[i]) != BOOTSTRAP_NONE)
            read_as_bootstrap(docs[i]);
    }
    arena_fini(&arena); /* the set may not refer to the trees */
    struct manifests *set = manifests_end(&reader);
    if (set)
        walk(set, &diag);
    manifests_free(set);
    diag_fini(&diag);
    return 0;
}
