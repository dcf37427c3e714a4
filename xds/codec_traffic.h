/*
 * codec_traffic.h - what the writer and the reader of a Cluster share; inside the room.
 */
#ifndef ISTHMUS_XDS_CODEC_TRAFFIC_H
#define ISTHMUS_XDS_CODEC_TRAFFIC_H

#include <cluster.pb-c.h>

#include "xds/codec_parts.h"

#define CODEC_TRAFFIC_KEY  "isthmus.io"
#define CODEC_TRAFFIC_TYPE "isthmus.v1alpha1.TrafficDetails"

/* Cluster.LbPolicy. */
enum codec_lb_policy {
    CODEC_ROUND_ROBIN = 0,
    CODEC_LEAST_REQUEST = 1,
    CODEC_RING_HASH = 2,
    CODEC_RANDOM = 3,
    CODEC_MAGLEV = 5,
};

/* Fields of TrafficDetails that have the name and the meaning of a traffic_policy's: SAME(field).
 */
#define CODEC_TRAFFIC_SAME(SAME)                                                                   \
    SAME(decay_ns)                                                                                 \
    SAME(choice_count)                                                                             \
    SAME(zone_min_endpoints)                                                                       \
    SAME(node_only)                                                                                \
    SAME(has_priorities)                                                                           \
    SAME(is_restricted)                                                                            \
    SAME(drill_id)                                                                                 \
    SAME(drill_ns)                                                                                 \
    SAME(fail_on_panic)                                                                            \
    SAME(spill_by_load)                                                                            \
    SAME(slow_start_ns)                                                                            \
    SAME(slow_start_aggression_permille)                                                           \
    SAME(slow_start_min_pct)                                                                       \
    SAME(max_attempts)                                                                             \
    SAME(attempt_ns)                                                                               \
    SAME(race_ns)                                                                                  \
    SAME(idle_ns)                                                                                  \
    SAME(detect_ns)                                                                                \
    SAME(recovery_time_ns)

/* The same of its ejection. */
#define CODEC_EJECTION_SAME(SAME)                                                                  \
    SAME(latency_factor_pct)                                                                       \
    SAME(latency_min_hosts)                                                                        \
    SAME(latency_min_volume)

/* A resource on its way into the model; the first thing that is wrong is told, and ends it. */
struct reading {
    struct traffic_policy *policy;
    struct arena *arena;
    struct text *why;
    int err;
};

void codec_reading_refuse(struct reading *reading, const char *format, ...) PRINTF_LIKE(2, 3);
uint64_t codec_duration_of(struct reading *reading, const Google__Protobuf__Duration *from,
                           const char *field, uint64_t fallback_ns);
uint32_t codec_u32_of(const Google__Protobuf__UInt32Value *from, uint32_t fallback);

/* codec_traffic_health.c */
void codec_read_checks(struct reading *reading, const Envoy__Config__Cluster__V3__Cluster *cluster);
void codec_read_ejection(struct reading *reading,
                         const Envoy__Config__Cluster__V3__OutlierDetection *from);

/* codec_traffic_unknown.c: fields of Envoy's that would change how a service is balanced. */
void codec_refuse_unknown(struct reading *reading,
                          const Envoy__Config__Cluster__V3__Cluster *cluster);

#endif
