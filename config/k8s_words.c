/* What a Service and a ServiceImport say in the same words about where traffic goes. */
#include "config/k8s.h"

static enum traffic_distribution read_distribution(const struct k8s_reader *reader,
                                                   const struct yaml *node)
{
    struct str text = yaml_text(node, "spec.trafficDistribution", (struct str){0}, reader->diag);
    if (str_eq(text, STR("PreferClose")) || str_eq(text, STR("PreferSameZone")))
        return DISTRIBUTION_SAME_ZONE;
    if (str_eq(text, STR("PreferSameNode")))
        return DISTRIBUTION_SAME_NODE;
    if (!str_is_empty(text)) /* a hint: Kubernetes lets implementations have words of their own */
        diag_warn(reader->diag, node->place,
                  "spec.trafficDistribution: \"%.*s\" is not PreferClose, PreferSameZone or "
                  "PreferSameNode; it is passed over",
                  STR_ARG(str_sub(text, 0, 40)));
    return DISTRIBUTION_NONE;
}

static bool read_internal(const struct k8s_reader *reader, const struct yaml *node)
{
    struct str text = yaml_text(node, "spec.internalTrafficPolicy", STR("Cluster"), reader->diag);
    const bool is_local = str_eq(text, STR("Local"));
    if (!is_local && !str_eq(text, STR("Cluster")))
        diag_error(reader->diag, node->place,
                   "spec.internalTrafficPolicy: \"%.*s\" is not Cluster or Local",
                   STR_ARG(str_sub(text, 0, 40)));
    return is_local;
}

/* Seconds; 0: no affinity. */
static uint32_t read_affinity(const struct k8s_reader *reader, const struct yaml *spec)
{
    const struct yaml *node = yaml_get(spec, "sessionAffinity");
    const struct yaml *config = yaml_get(spec, "sessionAffinityConfig");
    struct str text = yaml_text(node, "spec.sessionAffinity", STR("None"), reader->diag);
    const bool is_on = str_eq(text, STR("ClientIP"));
    if (!is_on && !str_eq(text, STR("None")))
        diag_error(reader->diag, node->place,
                   "spec.sessionAffinity: \"%.*s\" is not None or ClientIP",
                   STR_ARG(str_sub(text, 0, 40)));
    if (!is_on && config && config->kind == YAML_MAPPING && config->len > 0)
        diag_error(reader->diag, config->place,
                   "spec.sessionAffinityConfig: goes with sessionAffinity: ClientIP only");
    if (!yaml_is_mapping(config, "spec.sessionAffinityConfig", reader->diag))
        return is_on ? AFFINITY_S_DEFAULT : 0;
    const uint64_t timeout_s = yaml_u64(yaml_path(config, "clientIP.timeoutSeconds"),
                                        "spec.sessionAffinityConfig.clientIP.timeoutSeconds", 1,
                                        AFFINITY_S_MAX, AFFINITY_S_DEFAULT, reader->diag);
    return is_on ? (uint32_t)timeout_s : 0;
}

void k8s_service_words(const struct k8s_reader *reader, const struct yaml *spec,
                       struct service_words *words)
{
    *words = (struct service_words){
        .affinity_s = read_affinity(reader, spec),
        .is_node_local = read_internal(reader, yaml_get(spec, "internalTrafficPolicy")),
        .distribution = read_distribution(reader, yaml_get(spec, "trafficDistribution")),
    };
}
