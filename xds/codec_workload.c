/*
 * istio.workload.Workload, both ways. What WDS has no field for (names of ports, the pod's uid)
 * travels as WorkloadDetails, which are matched to its services by name.
 */
#include <string.h>

#include "config/names.h"
#include "proxy/base/err.h"
#include "proxy/base/map.h"
#include "xds/codec_parts.h"

#define DETAILS_TYPE "isthmus.v1alpha1.WorkloadDetails"

/* What workload.proto says of fields that are left out. */
#define DEFAULT_TRUST_DOMAIN    "cluster.local"
#define DEFAULT_SERVICE_ACCOUNT "default"

static ProtobufCBinaryData *addresses_encode(const struct model_workload *workload,
                                             struct arena *arena)
{
    ProtobufCBinaryData *list = arena_new_array(arena, ProtobufCBinaryData, workload->n_addresses);

    for (size_t i = 0; i < workload->n_addresses; i++)
        list[i] = codec_ip_encode(&workload->addresses[i], arena);
    return list;
}

static Istio__Workload__Workload__ServicesEntry *
service_encode(const struct model_membership *membership, const struct codec_ports *ports,
               struct arena *arena)
{
    Istio__Workload__Workload__ServicesEntry *entry =
        arena_new(arena, Istio__Workload__Workload__ServicesEntry);
    Istio__Workload__PortList *list = arena_new(arena, Istio__Workload__PortList);

    istio__workload__workload__services_entry__init(entry);
    istio__workload__port_list__init(list);
    list->ports = ports->ports;
    list->n_ports = ports->n_ports;
    entry->key = wire_text(arena, membership->service);
    entry->value = list;
    return entry;
}

static Isthmus__V1alpha1__MembershipDetails *
membership_encode(const struct model_membership *membership, const struct codec_ports *ports,
                  struct arena *arena)
{
    Isthmus__V1alpha1__MembershipDetails *details =
        arena_new(arena, Isthmus__V1alpha1__MembershipDetails);

    isthmus__v1alpha1__membership_details__init(details);
    details->service = wire_text(arena, membership->service);
    details->dns_hostname = wire_text(arena, membership->dns_hostname);
    details->not_ready = membership->not_ready;
    details->is_terminating = membership->is_terminating;
    details->ports = ports->details;
    details->n_ports = ports->n_details;
    return details;
}

static void services_encode(const struct model_workload *workload, struct arena *arena,
                            Istio__Workload__Workload *message)
{
    Isthmus__V1alpha1__WorkloadDetails details;

    isthmus__v1alpha1__workload_details__init(&details);
    message->services =
        arena_new_array(arena, Istio__Workload__Workload__ServicesEntry *, workload->n_services);
    details.memberships =
        arena_new_array(arena, Isthmus__V1alpha1__MembershipDetails *, workload->n_services);
    for (size_t i = 0; i < workload->n_services; i++) {
        const struct model_membership *membership = &workload->services[i];
        struct codec_ports ports =
            codec_ports_encode(membership->ports, membership->n_ports, arena);

        message->services[message->n_services++] = service_encode(membership, &ports, arena);
        if (ports.n_details || membership->not_ready || membership->is_terminating ||
            !str_is_empty(membership->dns_hostname))
            details.memberships[details.n_memberships++] =
                membership_encode(membership, &ports, arena);
    }
    if (!str_is_empty(workload->pod_uid))
        details.pod_uid = wire_text(arena, workload->pod_uid);
    details.request_authentications =
        codec_texts(arena, workload->request_auths, workload->n_request_auths);
    details.n_request_authentications = workload->n_request_auths;
    if (details.n_memberships == 0 && str_is_empty(workload->pod_uid) &&
        workload->n_request_auths == 0)
        return;
    message->extensions = arena_new(arena, Istio__Workload__Extension *);
    message->extensions[0] = codec_extension(arena, DETAILS_TYPE, &details.base);
    message->n_extensions = 1;
}

static Istio__Workload__Locality *locality_encode(const struct model_workload *workload,
                                                  struct arena *arena)
{
    Istio__Workload__Locality *locality = arena_new(arena, Istio__Workload__Locality);

    istio__workload__locality__init(locality);
    locality->region = wire_text(arena, workload->region);
    locality->zone = wire_text(arena, workload->zone);
    locality->subzone = wire_text(arena, workload->subzone);
    return locality;
}

/* One capacity is the default of a field that is left out, so 0 must be told from it. */
static Google__Protobuf__UInt32Value *capacity_encode(uint32_t capacity, struct arena *arena)
{
    Google__Protobuf__UInt32Value *value;

    if (capacity == 1)
        return NULL;
    value = arena_new(arena, Google__Protobuf__UInt32Value);
    google__protobuf__uint32_value__init(value);
    value->value = capacity;
    return value;
}

static void names_encode(const struct model_workload *workload, struct arena *arena,
                         Istio__Workload__Workload *message)
{
    message->uid = wire_text(arena, workload->uid);
    message->name = wire_text(arena, workload->name);
    message->namespace_ = wire_text(arena, workload->namespace_);
    message->service_account = wire_text(arena, workload->service_account);
    message->trust_domain = wire_text(arena, workload->trust_domain);
    message->node = wire_text(arena, workload->node);
    message->cluster_id = wire_text(arena, workload->cluster);
    message->network = wire_text(arena, workload->network);
    message->canonical_name = wire_text(arena, workload->canonical_name);
    message->canonical_revision = wire_text(arena, workload->canonical_revision);
    message->workload_name = wire_text(arena, workload->workload_name);
}

void codec_workload_encode(const struct model_workload *workload, struct arena *arena,
                           struct text *out)
{
    Istio__Workload__Address address;
    Istio__Workload__Workload message;

    istio__workload__address__init(&address);
    istio__workload__workload__init(&message);
    names_encode(workload, arena, &message);
    message.addresses = addresses_encode(workload, arena);
    message.n_addresses = workload->n_addresses;
    if (workload->speaks_hbone)
        message.tunnel_protocol = ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE;
    if (!workload->is_healthy)
        message.status = ISTIO__WORKLOAD__WORKLOAD_STATUS__UNHEALTHY;
    if (workload->host_network)
        message.network_mode = ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK;
    message.authorization_policies = codec_texts(arena, workload->policies, workload->n_policies);
    message.n_authorization_policies = workload->n_policies;
    if (workload->region.len || workload->zone.len || workload->subzone.len)
        message.locality = locality_encode(workload, arena);
    message.capacity = capacity_encode(workload->capacity, arena);
    services_encode(workload, arena, &message);
    address.type_case = ISTIO__WORKLOAD__ADDRESS__TYPE_WORKLOAD;
    address.workload = &message;
    wire_pack(&address.base, out);
}

static int decode_addresses(const Istio__Workload__Workload *message,
                            struct model_workload *workload, struct text *why)
{
    if (message->n_addresses > MODEL_ADDRESSES_MAX)
        return codec_refuse(why, "Workload.addresses: %zu addresses (at most %d)",
                            message->n_addresses, MODEL_ADDRESSES_MAX);
    for (size_t i = 0; i < message->n_addresses; i++) {
        int err = codec_ip_decode(&message->addresses[i], "Workload.addresses",
                                  &workload->addresses[i], why);
        if (err)
            return err;
    }
    workload->n_addresses = message->n_addresses;
    return 0;
}

static int decode_enums(const Istio__Workload__Workload *message, struct model_workload *workload,
                        struct text *why)
{
    if (message->tunnel_protocol != ISTIO__WORKLOAD__TUNNEL_PROTOCOL__NONE &&
        message->tunnel_protocol != ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE)
        return codec_refuse(why, "Workload.tunnel_protocol: %d is not supported (NONE or HBONE)",
                            (int)message->tunnel_protocol);
    if ((unsigned)message->status > ISTIO__WORKLOAD__WORKLOAD_STATUS__UNHEALTHY)
        return codec_refuse(why, "Workload.status: %d is not known (0 or 1)", (int)message->status);
    if ((unsigned)message->network_mode > ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK)
        return codec_refuse(why, "Workload.network_mode: %d is not known (0 or 1)",
                            (int)message->network_mode);
    workload->speaks_hbone = message->tunnel_protocol == ISTIO__WORKLOAD__TUNNEL_PROTOCOL__HBONE;
    workload->is_healthy = message->status == ISTIO__WORKLOAD__WORKLOAD_STATUS__HEALTHY;
    workload->host_network = message->network_mode == ISTIO__WORKLOAD__NETWORK_MODE__HOST_NETWORK;
    return 0;
}

/* What is decoded of a workload's memberships on the way: WDS first, then our details by the
 * service's name. */
struct memberships {
    const Istio__Workload__Workload *message;
    const Isthmus__V1alpha1__WorkloadDetails *details; /* NULL: none came along */
    struct model_membership *list;
    struct map by_service; /* service -> its details, or the message itself when it has none */
};

static int index_details(struct memberships *memberships, struct text *why)
{
    const Istio__Workload__Workload *message = memberships->message;
    size_t n_details = memberships->details ? memberships->details->n_memberships : 0;

    for (size_t i = 0; i < message->n_services; i++) {
        struct str head, tail, key = str_from(message->services[i]->key);

        if (!str_split(key, '/', &head, &tail) || !head.len || !tail.len)
            return codec_refuse(why, "Workload.services: \"%.*s\" is not <namespace>/<hostname>",
                                STR_ARG(key));
        if (map_put(&memberships->by_service, key, message->services[i]))
            return codec_refuse(why, "Workload.services: \"%.*s\" stands there twice",
                                STR_ARG(key));
    }
    for (size_t i = 0; i < n_details; i++) {
        Isthmus__V1alpha1__MembershipDetails *details = memberships->details->memberships[i];

        if (!map_find(&memberships->by_service, str_from(details->service)))
            return codec_refuse(why, "Workload: details of \"%s\", which it does not serve",
                                details->service);
        map_put(&memberships->by_service, str_from(details->service), details);
    }
    return 0;
}

static int decode_membership(const Istio__Workload__Workload__ServicesEntry *entry,
                             const void *found, struct model_membership *membership,
                             struct arena *arena, struct text *why)
{
    const Isthmus__V1alpha1__MembershipDetails *details = found == entry ? NULL : found;
    struct codec_ports ports = {0};

    if (entry->value) {
        ports.ports = entry->value->ports;
        ports.n_ports = entry->value->n_ports;
    }
    membership->service = codec_keep(arena, entry->key);
    if (details) {
        ports.details = details->ports;
        ports.n_details = details->n_ports;
        membership->dns_hostname = codec_keep(arena, details->dns_hostname);
        membership->not_ready = details->not_ready;
        membership->is_terminating = details->is_terminating;
    }
    return codec_ports_decode(&ports, "Workload.services", arena, &membership->ports,
                              &membership->n_ports, why);
}

static int decode_memberships(struct memberships *memberships, struct arena *arena,
                              struct text *why)
{
    const Istio__Workload__Workload *message = memberships->message;
    int err = index_details(memberships, why);

    for (size_t i = 0; i < message->n_services && !err; i++)
        err = decode_membership(
            message->services[i],
            map_find(&memberships->by_service, str_from(message->services[i]->key)),
            &memberships->list[i], arena, why);
    return err;
}

static int decode_pod_uid(const Isthmus__V1alpha1__WorkloadDetails *details,
                          struct model_workload *workload, struct arena *arena, struct text *why)
{
    if (!details || !details->pod_uid[0])
        return 0;
    if (!name_is_uid(str_from(details->pod_uid)))
        return codec_refuse(why, "WorkloadDetails.pod_uid: \"%.40s\" is no uid", details->pod_uid);
    workload->pod_uid = codec_keep(arena, details->pod_uid);
    return 0;
}

static int decode_services(const Istio__Workload__Workload *message,
                           struct model_workload *workload, struct arena *arena, struct text *why)
{
    struct memberships memberships = {
        .message = message,
        .list = arena_new_array(arena, struct model_membership, message->n_services),
    };
    struct str bytes =
        codec_find_extension(message->extensions, message->n_extensions, DETAILS_TYPE);
    struct arena scratch = {0};
    int err = 0;

    if (bytes.ptr) {
        memberships.details = (const void *)wire_unpack(
            &isthmus__v1alpha1__workload_details__descriptor, bytes, &scratch, why);
        err = memberships.details ? 0 : -ERR_INVALID;
    }
    if (!err)
        err = decode_pod_uid(memberships.details, workload, arena, why);
    if (!err && memberships.details) {
        workload->n_request_auths = memberships.details->n_request_authentications;
        workload->request_auths = codec_keep_all(
            arena, memberships.details->request_authentications, workload->n_request_auths);
    }
    if (!err)
        err = decode_memberships(&memberships, arena, why);
    map_fini(&memberships.by_service);
    arena_fini(&scratch);
    if (err)
        return err;
    workload->services = memberships.list;
    workload->n_services = message->n_services;
    return 0;
}

static struct str keep_or(struct arena *arena, const char *field, struct str otherwise)
{
    return field[0] ? codec_keep(arena, field) : otherwise;
}

static void keep_names(const Istio__Workload__Workload *message, struct arena *arena,
                       struct model_workload *workload)
{
    const Istio__Workload__Locality *locality = message->locality;

    workload->uid = codec_keep(arena, message->uid);
    workload->name = codec_keep(arena, message->name);
    workload->namespace_ = codec_keep(arena, message->namespace_);
    workload->service_account =
        keep_or(arena, message->service_account, STR(DEFAULT_SERVICE_ACCOUNT));
    workload->trust_domain = keep_or(arena, message->trust_domain, STR(DEFAULT_TRUST_DOMAIN));
    workload->node = codec_keep(arena, message->node);
    workload->cluster = codec_keep(arena, message->cluster_id);
    workload->network = codec_keep(arena, message->network);
    workload->canonical_name = codec_keep(arena, message->canonical_name);
    workload->canonical_revision = codec_keep(arena, message->canonical_revision);
    workload->workload_name = codec_keep(arena, message->workload_name);
    if (!locality)
        return;
    workload->region = codec_keep(arena, locality->region);
    workload->zone = codec_keep(arena, locality->zone);
    workload->subzone = codec_keep(arena, locality->subzone);
}

int codec_workload_decode(const Istio__Workload__Workload *message, struct str name,
                          struct arena *arena, struct model_workload **out_workload,
                          struct text *why)
{
    struct model_workload *workload = arena_new(arena, struct model_workload);
    int err = message->uid[0] ? codec_check_name(name, str_from(message->uid), why)
                              : codec_refuse(why, "Workload.uid must not be empty");

    if (!err)
        err = decode_addresses(message, workload, why);
    if (!err)
        err = decode_enums(message, workload, why);
    if (!err)
        err = decode_services(message, workload, arena, why);
    if (err)
        return err;
    keep_names(message, arena, workload);
    workload->capacity = message->capacity ? message->capacity->value : 1;
    workload->policies =
        codec_keep_all(arena, message->authorization_policies, message->n_authorization_policies);
    workload->n_policies = message->n_authorization_policies;
    *out_workload = workload;
    return 0;
}
