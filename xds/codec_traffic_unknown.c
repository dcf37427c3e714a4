/*
 * What Envoy's Cluster can say about balancing and this program cannot do. Protobuf readers pass
 * over fields that they do not know; here that would be a policy that silently does not apply. So
 * wherever a Cluster says how to balance, a field beyond ours is refused with its path; elsewhere
 * (transport sockets, statistics, names) it is passed over, as it has to be.
 */
#include "xds/codec_traffic.h"

#define LB_SUBSET_CONFIG 22

struct known { /* to us by its number alone */
    const char *message;
    unsigned number;
    const char *name; /* NULL: of no effect here, passed over */
};

#define CLUSTER      "envoy.config.cluster.v3.Cluster."
#define OUTLIERS     "envoy.config.cluster.v3.OutlierDetection"
#define THRESHOLDS   "envoy.config.cluster.v3.CircuitBreakers.Thresholds"
#define HEALTH_CHECK "envoy.config.core.v3.HealthCheck"

static const struct known known[] = {
    {CLUSTER "CommonLbConfig", 4, NULL}, /* update_merge_window */
    {CLUSTER "CommonLbConfig", 5, "ignore_new_hosts_until_first_hc"},
    {CLUSTER "CommonLbConfig", 6, "close_connections_on_host_set_change"},
    {CLUSTER "CommonLbConfig", 8, "override_host_status"},
    {OUTLIERS, 10, "consecutive_gateway_failure"},
    {OUTLIERS, 11, "enforcing_consecutive_gateway_failure"},
    {OUTLIERS, 12, "split_external_local_origin_errors"},
    {OUTLIERS, 13, "consecutive_local_origin_failure"},
    {OUTLIERS, 22, "max_ejection_time_jitter"},
    {OUTLIERS, 23, "successful_active_health_check_uneject_host"},
    {OUTLIERS, 25, NULL},     /* always_eject_one_host: so it is */
    {THRESHOLDS, 6, NULL},    /* track_remaining */
    {THRESHOLDS, 7, NULL},    /* max_connection_pools */
    {HEALTH_CHECK, 7, NULL},  /* reuse_connection: each check is a connection */
    {HEALTH_CHECK, 12, NULL}, /* no_traffic_interval: what has no traffic is not checked */
    {HEALTH_CHECK, 15, "unhealthy_edge_interval"},
    {HEALTH_CHECK, 16, "healthy_edge_interval"},
    {HEALTH_CHECK, 17, NULL}, /* event_log_path */
    {HEALTH_CHECK, 19, NULL}, /* always_log_health_check_failures */
    {HEALTH_CHECK, 20, NULL}, /* initial_jitter */
    {HEALTH_CHECK, 22, NULL}, /* event_service */
    {HEALTH_CHECK, 24, NULL}, /* no_traffic_healthy_interval */
    {HEALTH_CHECK, 25, NULL}, /* event_logger */
};

static const struct known *find_known(const ProtobufCMessage *message, unsigned number)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (known[i].number == number &&
            str_eq(str_from(known[i].message), str_from(message->descriptor->name)))
            return &known[i];
    return NULL;
}

static void refuse_own(struct reading *reading, const ProtobufCMessage *message, struct str path)
{
    for (unsigned i = 0; i < message->n_unknown_fields; i++) {
        const unsigned number = message->unknown_fields[i].tag;
        const struct known *field = find_known(message, number);
        if (field && field->name)
            codec_reading_refuse(reading, "%.*s.%s is not supported", STR_ARG(path), field->name);
        else if (!field)
            codec_reading_refuse(reading, "%.*s: field %u is not supported", STR_ARG(path), number);
    }
}

static void refuse_all(struct reading *reading, const ProtobufCMessage *message, struct str path);

/* How many messages a field holds, and the first; 0 when it is another member of its oneof that is
 * there. */
static size_t messages_of(const ProtobufCMessage *message, const ProtobufCFieldDescriptor *field,
                          ProtobufCMessage *const **out_first)
{
    const char *at = (const char *)message;
    const bool is_one_of = field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
    const void *place = at + field->offset, *count = at + field->quantifier_offset;
    if (field->label == PROTOBUF_C_LABEL_REPEATED) {
        *out_first = *(ProtobufCMessage *const *const *)place;
        return *(const size_t *)count;
    }
    *out_first = place;
    return (!is_one_of || *(const uint32_t *)count == field->id) && **out_first ? 1 : 0;
}

static void refuse_in(struct reading *reading, const ProtobufCMessage *message,
                      const ProtobufCFieldDescriptor *field, struct str path)
{
    ProtobufCMessage *const *first;
    if (field->type != PROTOBUF_C_TYPE_MESSAGE)
        return;
    const size_t n = messages_of(message, field, &first);
    for (size_t i = 0; i < n; i++)
        refuse_all(reading, first[i],
                   path.len > 0
                       ? arena_printf(reading->arena, "%.*s.%s", STR_ARG(path), field->name)
                       : str_from(field->name));
}

/* Recursion is bounded by the messages' own nesting, which wire_unpack() has bounded before. */
static void refuse_all(struct reading *reading, const ProtobufCMessage *message, struct str path)
{
    refuse_own(reading, message, path);
    for (unsigned i = 0; i < message->descriptor->n_fields && !reading->err; i++)
        refuse_in(reading, message, &message->descriptor->fields[i], path);
}

void codec_refuse_unknown(struct reading *reading,
                          const Envoy__Config__Cluster__V3__Cluster *cluster)
{
    static const char *const where[] = {"health_checks",           "circuit_breakers",
                                        "outlier_detection",       "ring_hash_lb_config",
                                        "least_request_lb_config", "maglev_lb_config",
                                        "round_robin_lb_config",   "common_lb_config"};
    for (size_t i = 0; i < ARRAY_LEN(where) && !reading->err; i++)
        refuse_in(
            reading, &cluster->base,
            protobuf_c_message_descriptor_get_field_by_name(cluster->base.descriptor, where[i]),
            (struct str){0});
    for (unsigned i = 0; i < cluster->base.n_unknown_fields; i++)
        if (cluster->base.unknown_fields[i].tag == LB_SUBSET_CONFIG)
            codec_reading_refuse(reading, "lb_subset_config is not supported");
    if (cluster->load_assignment && cluster->load_assignment->policy)
        refuse_all(reading, &cluster->load_assignment->policy->base, STR("load_assignment.policy"));
}
