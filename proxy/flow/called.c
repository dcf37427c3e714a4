#include "proxy/flow/called.h"

#include "proxy/flow/walk.h"
#include "proxy/route/route.h"

static void look_up(struct called *called, const struct snapshot *snapshot,
                    const struct record *record)
{
    const struct ip *source = &record->source.addr.ip;
    const struct addr destination = {*source, called->port}; /* of the client's family */
    struct target target = {0};
    const struct service *service = snapshot_service_by_key(snapshot, called->key);
    if (service && resolve_service(snapshot, service, &destination, &target) < 0)
        target = (struct target){0};
    *called = (struct called){
        .key = called->key,
        .port = called->port,
        .generation = snapshot->generation,
        .pod = record_caller(record, snapshot),
        .service = service,
        .service_port = target.port,
        .endpoints = target.endpoints,
        .passes = target.port && route_passes(service, target.port,
                                              record_name(record, LABEL_SOURCE_WORKLOAD_NAMESPACE)),
    };
}

const struct called *called_now(struct called *called, const struct snapshot *snapshot,
                                const struct record *record)
{
    if (called->generation != snapshot->generation)
        look_up(called, snapshot, record);
    return called;
}

static void find_both(struct visit *visit, const struct snapshot *snapshot,
                      const struct judged *judged)
{
    const struct workload *pod = snapshot_workload_by_ip(snapshot, &judged->destination.ip);
    *visit = (struct visit){.generation = snapshot->generation};
    visit->pod = pod && pod->is_local && pod->uid_hash == judged->pod ? pod : NULL;
    visit->err = call_identify(judged, snapshot, &visit->caller);
}

const struct visit *visit_now(struct visit *visit, const struct snapshot *snapshot,
                              const struct judged *judged)
{
    if (visit->generation != snapshot->generation)
        find_both(visit, snapshot, judged);
    return visit;
}
