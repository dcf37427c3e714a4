/* ServiceExport, ServiceImport (KEP-1645); v1alpha1 and v1beta1 have the same fields. */
#include "config/k8s.h"

void k8s_read_export(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    struct k8s_export *export_ = vec_add(&reader->objects[K8S_EXPORT]);
    export_->meta = *meta;
    (void)yaml_is_mapping(yaml_get(doc, "spec"), "spec", reader->diag);
}

static void read_ips(const struct k8s_reader *reader, const struct yaml *spec,
                     struct k8s_import *import)
{
    char buf[WHAT_MAX];
    struct ip ip;
    const struct yaml *list = yaml_get(spec, "ips");
    size_t n = k8s_list(reader, list, "spec.ips", ARRAY_LEN(import->addresses));
    if (import->is_headless && n > 0)
        diag_error(reader->diag, list->place, "spec.ips: a Headless import has no addresses");
    for (size_t i = 0; i < n; i++) {
        if (!k8s_ip(reader, list->items[i], what_at(buf, "spec.ips[%zu]", i), &ip))
            continue;
        if (import->n_addresses == 1 && import->addresses[0].len == ip.len)
            diag_error(reader->diag, list->items[i]->place,
                       "%s: is a second address of one family; one address a family", buf);
        else
            import->addresses[import->n_addresses++] = ip;
    }
}

static void read_import_type(const struct k8s_reader *reader, const struct yaml *spec,
                             struct k8s_import *import)
{
    const struct yaml *type = yaml_get(spec, "type");
    struct str text = yaml_text(type, "spec.type", (struct str){0}, reader->diag);
    import->is_headless = str_eq(text, STR("Headless"));
    if (!type)
        diag_error(reader->diag, spec->place, "spec.type: is required (ClusterSetIP or Headless)");
    else if (!import->is_headless && !str_eq(text, STR("ClusterSetIP")))
        diag_error(reader->diag, type->place, "spec.type: \"%.*s\" is not ClusterSetIP or Headless",
                   STR_ARG(str_sub(text, 0, 40)));
}

void k8s_read_import(struct k8s_reader *reader, const struct yaml *doc, const struct object *meta)
{
    struct k8s_import *import = vec_add(&reader->objects[K8S_IMPORT]);
    const struct yaml *spec = yaml_get(doc, "spec");
    import->meta = *meta;
    if (!spec) {
        diag_error(reader->diag, doc->place, "spec: is required");
        return;
    }
    if (!yaml_is_mapping(spec, "spec", reader->diag))
        return;
    read_import_type(reader, spec, import);
    read_ips(reader, spec, import);
    k8s_service_words(reader, spec, &import->words);
    import->says_affinity = yaml_get(spec, "sessionAffinity") != NULL;
    import->says_internal = yaml_get(spec, "internalTrafficPolicy") != NULL;
    import->says_distribution = yaml_get(spec, "trafficDistribution") != NULL;
    import->ports = k8s_service_ports(reader, yaml_get(spec, "ports"), &import->n_ports);
}
