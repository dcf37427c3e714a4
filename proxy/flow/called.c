#include "proxy/flow/called.h"

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
