/*
 * istio.workload.Service, both ways. What WDS has no field for travels as ServiceDetails beside it,
 * and only where a reader without them would guess wrong.
 */
#include <string.h>

#include "proxy/base/err.h"
#include "xds/codec_parts.h"

#define DETAILS_TYPE "isthmus.v1alpha1.ServiceDetails"

static Istio__Workload__NetworkAddress **addresses_encode(const struct model_service *service,
                                                          struct arena *arena)
{
    Istio__Workload__NetworkAddress **list =
        arena_new_array(arena, Istio__Workload__NetworkAddress *, service->n_addresses);

    for (size_t i = 0; i < service->n_addresses; i++) {
        list[i] = arena_new(arena, Istio__Workload__NetworkAddress);
        istio__workload__network_address__init(list[i]);
        list[i]->address = codec_ip_encode(&service->addresses[i], arena);
    }
    return list;
}

static bool has_words(const struct service_words *words)
{
    return words->affinity_s != 0 || words->is_node_local ||
           words->distribution != DISTRIBUTION_NONE;
}

/* The details go along unless a reader would guess the same without them (see read_details). */
static void add_details(const struct model_service *service, const struct codec_ports *ports,
                        struct arena *arena, Istio__Workload__Service *message)
{
    Isthmus__V1alpha1__ServiceDetails details = ISTHMUS__V1ALPHA1__SERVICE_DETAILS__INIT;

    if (ports->n_details == 0 && service->is_headless == (service->n_addresses == 0) &&
        service->created_ns == 0 && !has_words(&service->words))
        return;
    details.is_headless = service->is_headless;
    details.created_ns = service->created_ns;
    details.affinity_s = service->words.affinity_s;
    details.is_node_local = service->words.is_node_local;
    details.distribution = service->words.distribution;
    details.ports = ports->details;
    details.n_ports = ports->n_details;
    message->extensions = arena_new(arena, Istio__Workload__Extension *);
    message->extensions[0] = codec_extension(arena, DETAILS_TYPE, &details.base);
    message->n_extensions = 1;
}

void codec_service_encode(const struct model_service *service, struct arena *arena,
                          struct text *out)
{
    Istio__Workload__Address address = ISTIO__WORKLOAD__ADDRESS__INIT;
    Istio__Workload__Service message = ISTIO__WORKLOAD__SERVICE__INIT;
    Istio__Workload__LoadBalancing balancing = ISTIO__WORKLOAD__LOAD_BALANCING__INIT;
    struct codec_ports ports = codec_ports_encode(service->ports, service->n_ports, arena);

    message.name = wire_text(arena, service->name);
    message.namespace_ = wire_text(arena, service->namespace_);
    message.hostname = wire_text(arena, service->hostname);
    message.addresses = addresses_encode(service, arena);
    message.n_addresses = service->n_addresses;
    message.ports = ports.ports;
    message.n_ports = ports.n_ports;
    message.subject_alt_names = codec_texts(arena, service->sans, service->n_sans);
    message.n_subject_alt_names = service->n_sans;
    if (service->allow_unhealthy) {
        balancing.health_policy = ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL;
        message.load_balancing = &balancing;
    }
    add_details(service, &ports, arena, &message);
    address.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_SERVICE;
    address.service = &message;
    wire_pack(&address.base, out);
}

static int decode_addresses(const Istio__Workload__Service *message, struct model_service *service,
                            struct text *why)
{
    if (message->n_addresses > MODEL_ADDRESSES_MAX)
        return codec_refuse(why, "Service.addresses: %zu addresses (at most %d)",
                            message->n_addresses, MODEL_ADDRESSES_MAX);
    for (size_t i = 0; i < message->n_addresses; i++) {
        const Istio__Workload__NetworkAddress *address = message->addresses[i];
        int err =
            codec_ip_decode(&address->address, "Service.addresses", &service->addresses[i], why);

        if (err)
            return err;
        if (address->length && address->length != address->address.len * 8)
            return codec_refuse(why, "Service.addresses: a range of /%u (single addresses only)",
                                address->length);
    }
    service->n_addresses = message->n_addresses;
    return 0;
}

/* A server that knows no details of ours (istiod) calls a service without addresses headless. */
static int read_details(const Istio__Workload__Service *message, struct model_service *service,
                        struct codec_ports *ports, struct arena *scratch, struct text *why)
{
    struct str bytes =
        codec_find_extension(message->extensions, message->n_extensions, DETAILS_TYPE);
    Isthmus__V1alpha1__ServiceDetails *details;

    service->is_headless = message->n_addresses == 0;
    if (!bytes.ptr)
        return 0;
    details = (Isthmus__V1alpha1__ServiceDetails *)(void *)wire_unpack(
        &isthmus__v1alpha1__service_details__descriptor, bytes, scratch, why);
    if (!details)
        return -ERR_INVALID;
    service->is_headless = details->is_headless;
    service->created_ns = details->created_ns;
    if (details->affinity_s > AFFINITY_S_MAX || details->distribution >= DISTRIBUTIONS)
        return codec_refuse(why,
                            "ServiceDetails: affinity_s %u or distribution %u is not known (at "
                            "most %u and %u)",
                            details->affinity_s, details->distribution, AFFINITY_S_MAX,
                            DISTRIBUTIONS - 1);
    service->words = (struct service_words){
        .affinity_s = details->affinity_s,
        .is_node_local = details->is_node_local,
        .distribution = (enum traffic_distribution)details->distribution,
    };
    ports->details = details->ports;
    ports->n_details = details->n_ports;
    return 0;
}

static int decode_ports(const Istio__Workload__Service *message, struct model_service *service,
                        struct arena *arena, struct text *why)
{
    struct codec_ports ports = {.ports = message->ports, .n_ports = message->n_ports};
    struct arena scratch = {0};
    int err = read_details(message, service, &ports, &scratch, why);

    if (!err)
        err = codec_ports_decode(&ports, "Service.ports", arena, &service->ports, &service->n_ports,
                                 why);
    arena_fini(&scratch);
    return err;
}

static int check_health_policy(const Istio__Workload__LoadBalancing *balancing, bool *out_all,
                               struct text *why)
{
    if (balancing && (unsigned)balancing->health_policy >
                         ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL)
        return codec_refuse(why, "LoadBalancing.health_policy: %d is not known (0 or 1)",
                            (int)balancing->health_policy);
    *out_all = balancing && balancing->health_policy ==
                                ISTIO__WORKLOAD__LOAD_BALANCING__HEALTH_POLICY__ALLOW_ALL;
    return 0;
}

static int check_names(const Istio__Workload__Service *message, struct str name,
                       struct arena *arena, struct text *why)
{
    if (!message->namespace_[0] || !message->hostname[0])
        return codec_refuse(why, "Service: namespace and hostname must not be empty");
    return codec_check_name(
        name, arena_printf(arena, "%s/%s", message->namespace_, message->hostname), why);
}

int codec_service_decode(const Istio__Workload__Service *message, struct str name,
                         struct arena *arena, struct model_service **out_service, struct text *why)
{
    struct model_service *service = arena_new(arena, struct model_service);
    int err = check_names(message, name, arena, why);

    if (!err)
        err = decode_addresses(message, service, why);
    if (!err)
        err = check_health_policy(message->load_balancing, &service->allow_unhealthy, why);
    if (!err)
        err = decode_ports(message, service, arena, why);
    if (err)
        return err;
    service->name = codec_keep(arena, message->name);
    service->namespace_ = codec_keep(arena, message->namespace_);
    service->hostname = codec_keep(arena, message->hostname);
    service->sans = codec_keep_all(arena, message->subject_alt_names, message->n_subject_alt_names);
    service->n_sans = message->n_subject_alt_names;
    *out_service = service;
    return 0;
}
