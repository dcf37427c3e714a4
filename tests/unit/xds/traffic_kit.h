/*
 * traffic_kit.h - how a service is balanced as a Cluster, there and back.
 *
 * Everything lives in the arena, which traffic_fini() empties after each test.
 */
#ifndef TESTS_UNIT_XDS_TRAFFIC_KIT_H
#define TESTS_UNIT_XDS_TRAFFIC_KIT_H

#include <cluster.pb-c.h>
#include <details.pb-c.h>

#include "xds/codec.h"
#include "xds/codec_traffic.h"

#define NAME   "ns/web.ns.svc.clusterset.local"
#define SECOND UINT64_C(1000000000)

extern struct arena arena;
extern struct text why;

void traffic_fini(void);

struct str traffic_encode(const struct traffic_policy *policy);
int traffic_decode_bytes(struct str bytes, struct traffic_policy *out);
int traffic_decode(const Envoy__Config__Cluster__V3__Cluster *cluster, struct traffic_policy *out);
/* As invalid, with a sentence that has this in it. */
bool is_refused(const Envoy__Config__Cluster__V3__Cluster *cluster, const char *sentence);
/* What the last one that was read was refused with; empty: with nothing. */
const char *refusal(void);
Envoy__Config__Cluster__V3__Cluster plain(void);

#endif
