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

#endif
