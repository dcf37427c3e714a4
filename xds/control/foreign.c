/*
 * What a peer may say: the services it exports, and the workloads that serve these. Its cluster and
 * trust domain are the ones that it is configured with; nothing it sends can name, replace or
 * shadow what belongs to somebody else.
 */
#include <stdarg.h>
#include <string.h>

#include "certs/spiffe.h"
#include "config/names.h"
#include "proxy/base/mem.h"
#include "xds/control/build.h"

void registry_refuse(struct registry_builder *builder, size_t peer_idx, const char *format, ...)
{
    struct registry_peer_row *row = &builder->registry->peers[peer_idx];
    struct text sentence = {0};
    va_list args;
    if (row->n_refused++ > 0)
        return;
    va_start(args, format);
    text_addv(&sentence, format, args);
    va_end(args);
    row->refusal = arena_str(&builder->registry->arena, text_str(&sentence));
    text_fini(&sentence);
}

static bool is_clusterset_host(const struct model_service *service)
{
    struct text expected = {0};
    text_addf(&expected, "%.*s.%.*s." CLUSTERSET_DOMAIN, STR_ARG(service->name),
              STR_ARG(service->namespace_));
    const bool is = str_eq(service->hostname, text_str(&expected));
    text_fini(&expected);
    return is;
}

bool foreign_service_is_good(const struct registry_peer *peer, const struct model_service *service,
                             struct text *why)
{
    if (!name_is_label(service->name) || !name_is_label(service->namespace_)) {
        text_addf(why, "service %.*s/%.*s of %.*s: these are no Kubernetes names",
                  STR_ARG(str_sub(service->namespace_, 0, 80)),
                  STR_ARG(str_sub(service->name, 0, 80)), STR_ARG(peer->cluster));
        return false;
    }
    if (!is_clusterset_host(service)) {
        text_addf(why, "service %.*s/%.*s of %.*s: %.*s is not its name in the clusterset",
                  STR_ARG(service->namespace_), STR_ARG(service->name), STR_ARG(peer->cluster),
                  STR_ARG(str_sub(service->hostname, 0, 253)));
        return false;
    }
    return true;
}

/* One peer's workloads being taken over. */
struct taking {
    struct registry_builder *builder;
    struct foreign_peer *peer;
    size_t peer_idx;
};

static void index_exported(struct taking *taking, const struct registry_peer *from)
{
    static char exported;
    struct text why = {0};
    for (size_t i = 0; i < from->n_resources; i++) {
        const struct model_resource *resource = from->resources[i];
        if (resource->kind != MODEL_SERVICE ||
            !foreign_service_is_good(from, resource->of.service, &why) ||
            !registry_has_namespace(taking->builder, resource->of.service->namespace_))
            continue;
        struct str key = key_make(&taking->builder->scratch, resource->of.service->namespace_,
                                  resource->of.service->hostname);
        map_put(&taking->peer->exported, key, &exported);
    }
    text_fini(&why);
}

/* Who has an address already, in the network that it counts in. NULL: it is free. That of a host is
 * shared by its workloads, which are not found by it: it is taken from no other peer's. */
static const char *address_taken_by(const struct registry_builder *builder, const struct ip *ip,
                                    bool is_of_host)
{
    const struct control_config *config = builder->config;
    if (address_is_held(builder, ip))
        return "a pod of this cluster";
    if (!is_of_host && map_find(&builder->foreign_by_ip, ip_key(ip)))
        return "another peer's workload";
    for (size_t i = 0; i < config->n_ranges; i++)
        if (cidr_contains(&config->ranges[i], ip))
            return "the ClusterSetIPs of this cluster";
    return NULL;
}

/* What would reach the caller's own machine, its links or a group when it is dialled. */
static bool is_special(const struct ip *ip)
{
    static const struct cidr special[] = {
        {{4, {0}}, 8},    {{4, {127}}, 8},          {{4, {169, 254}}, 16}, {{4, {224}}, 3},
        {{16, {0}}, 127}, {{16, {0xfe, 0x80}}, 10}, {{16, {0xff}}, 8},
    };
    for (size_t i = 0; i < ARRAY_LEN(special); i++)
        if (cidr_contains(&special[i], ip))
            return true;
    return false;
}

/* Whether it may have it is decided anew when a pod of ours comes to it or leaves it. */
static void note_address(struct registry_builder *builder, const struct ip *ip)
{
    struct ip *copy;
    if (map_find(&builder->foreign_ips, ip_key(ip)))
        return;
    copy = arena_new(&builder->scratch, struct ip);
    *copy = *ip;
    map_put(&builder->foreign_ips, ip_key(copy), copy);
}

static bool addresses_are_good(const struct taking *taking, const struct model_workload *from)
{
    char buf[IP_TEXT_MAX];
    /* In another network the same addresses mean other machines. */
    const bool is_near = str_eq(from->network, taking->builder->config->network);
    for (size_t i = 0; i < from->n_addresses; i++) {
        const char *by =
            is_near ? address_taken_by(taking->builder, &from->addresses[i], from->host_network)
                    : NULL;
        if (is_special(&from->addresses[i]))
            by = "no machine of a network";
        if (is_near && (by || from->host_network))
            note_address(taking->builder, &from->addresses[i]);
        if (!by)
            continue;
        registry_refuse(taking->builder, taking->peer_idx,
                        "workload %.*s: its address %s belongs to %s",
                        STR_ARG(str_sub(from->uid, 0, 300)), ip_text(&from->addresses[i], buf), by);
        return false;
    }
    return true;
}

static bool is_good(const struct taking *taking, const struct model_workload *from)
{
    struct registry_builder *builder = taking->builder;
    if (!str_starts_with(from->uid, taking->peer->uid_prefix)) {
        registry_refuse(builder, taking->peer_idx, "workload %.*s: %.*s may only send its own",
                        STR_ARG(str_sub(from->uid, 0, 300)), STR_ARG(taking->peer->cluster));
        return false;
    }
    if (!str_eq(from->trust_domain, taking->peer->trust_domain)) {
        registry_refuse(builder, taking->peer_idx,
                        "workload %.*s: its trust domain is \"%.*s\", and that of %.*s is \"%.*s\"",
                        STR_ARG(str_sub(from->uid, 0, 300)),
                        STR_ARG(str_sub(from->trust_domain, 0, 255)),
                        STR_ARG(taking->peer->cluster), STR_ARG(taking->peer->trust_domain));
        return false;
    }
    if (!name_is_label(from->namespace_) || !name_is_subdomain(from->service_account)) {
        registry_refuse(builder, taking->peer_idx,
                        "workload %.*s: its namespace or service account is no Kubernetes name",
                        STR_ARG(str_sub(from->uid, 0, 300)));
        return false;
    }
    return true;
}

static void copy_membership(struct arena *arena, struct model_membership *to,
                            const struct model_membership *from)
{
    *to = *from;
    to->service = arena_str(arena, from->service);
    to->dns_hostname = arena_str(arena, from->dns_hostname);
    to->ports = arena_new_array(arena, struct model_port, from->n_ports);
    for (size_t i = 0; i < from->n_ports; i++) {
        to->ports[i] = from->ports[i];
        to->ports[i].name = arena_str(arena, from->ports[i].name);
    }
}

static void copy_memberships(const struct taking *taking, struct arena *arena,
                             struct model_workload *to, const struct model_workload *from)
{
    to->services = arena_new_array(arena, struct model_membership, from->n_services);
    to->n_services = 0;
    for (size_t i = 0; i < from->n_services; i++) {
        const struct model_membership *membership = &from->services[i];
        const struct str host = str_sub(membership->service, 0, 300);
        if (map_find(&taking->peer->exported, membership->service))
            copy_membership(arena, &to->services[to->n_services++], membership);
        else if (!str_ends_with(host, STR("." CLUSTERSET_DOMAIN)))
            registry_refuse(taking->builder, taking->peer_idx,
                            "workload %.*s: it claims to serve %.*s, which %.*s does not export",
                            STR_ARG(str_sub(from->uid, 0, 300)), STR_ARG(host),
                            STR_ARG(taking->peer->cluster));
    }
}

static struct model_workload *copy_workload(const struct taking *taking, struct arena *arena,
                                            const struct model_workload *from)
{
    struct model_workload *to = arena_new(arena, struct model_workload);
    *to = *from;
    to->uid = arena_str(arena, from->uid);
    to->name = arena_str(arena, from->name);
    to->namespace_ = arena_str(arena, from->namespace_);
    to->service_account = arena_str(arena, from->service_account);
    to->trust_domain = taking->peer->trust_domain;
    to->node = arena_str(arena, from->node);
    to->cluster = taking->peer->cluster;
    to->network = arena_str(arena, from->network);
    to->canonical_name = arena_str(arena, from->canonical_name);
    to->canonical_revision = arena_str(arena, from->canonical_revision);
    to->workload_name = arena_str(arena, from->workload_name);
    to->region = arena_str(arena, from->region);
    to->zone = arena_str(arena, from->zone);
    to->subzone = arena_str(arena, from->subzone);
    to->pod_uid = (struct str){0}; /* a matter of its own cluster's, like its policies */
    to->policies = NULL;           /* its own cluster enforces them */
    to->n_policies = 0;
    to->request_auths = NULL;
    to->n_request_auths = 0;
    copy_memberships(taking, arena, to, from);
    return to;
}

static bool takes_addresses(const struct registry_builder *builder,
                            const struct model_workload *workload)
{
    return str_eq(workload->network, builder->config->network) && !workload->host_network;
}

static void take_addresses(struct registry_builder *builder, struct model_workload *workload)
{
    for (size_t i = 0; i < workload->n_addresses && takes_addresses(builder, workload); i++)
        map_put(&builder->foreign_by_ip, ip_key(&workload->addresses[i]), workload);
}

static void leave_addresses(struct registry_builder *builder, const struct model_workload *workload)
{
    for (size_t i = 0; i < workload->n_addresses && takes_addresses(builder, workload); i++)
        (void)map_remove(&builder->foreign_by_ip, ip_key(&workload->addresses[i]));
}

/* What it was is gone already; one that is of no service imported here stays away, whatever its
 * addresses are. */
static void take(const struct taking *taking, struct arena *arena,
                 const struct model_workload *from, struct foreign_workload *to)
{
    struct registry_builder *builder = taking->builder;
    to->listed.resource = (struct model_resource){0};
    if (!is_good(taking, from))
        return;
    struct model_workload *workload = copy_workload(taking, arena, from);
    if (workload->n_services == 0 || !addresses_are_good(taking, workload))
        return;
    to->listed.resource = (struct model_resource){
        .kind = MODEL_WORKLOAD, .name = workload->uid, .of.workload = workload};
    map_put(&builder->foreign, workload->uid, to);
    builder->registry->peers[taking->peer_idx].n_workloads++;
    take_addresses(builder, workload);
}

static void take_first(const struct taking *taking, const struct model_workload *from)
{
    struct foreign_workload *to;
    if (map_find(&taking->builder->foreign, from->uid))
        return; /* a stream has each name once */
    to = mem_new(struct foreign_workload);
    take(taking, &taking->builder->registry->arena, from, to);
    if (!to->listed.resource.of.workload)
        mem_free(to);
}

static void take_all(struct registry_builder *builder, size_t peer_idx)
{
    const struct registry_peer *from = &builder->input->peers[peer_idx];
    struct taking taking = {builder, &builder->foreign_peers[peer_idx], peer_idx};
    *taking.peer = (struct foreign_peer){
        .cluster = from->cluster,
        .trust_domain = from->trust_domain,
        .uid_prefix = arena_printf(&builder->scratch, "%.*s//", STR_ARG(from->cluster)),
    };
    index_exported(&taking, from);
    for (size_t i = 0; i < from->n_resources; i++) {
        const struct model_resource *resource = from->resources[i];
        if (resource->kind == MODEL_WORKLOAD && !from->is_expired)
            take_first(&taking, resource->of.workload);
        else if (resource->kind == MODEL_POLICY)
            registry_refuse(builder, peer_idx, "policy %.*s: a peer has no say in policies",
                            STR_ARG(str_sub(resource->name, 0, 300)));
        else if (resource->kind == MODEL_REQUEST_AUTH)
            registry_refuse(builder, peer_idx,
                            "RequestAuthentication %.*s: a peer has no say in tokens",
                            STR_ARG(str_sub(resource->name, 0, 300)));
        else if (resource->kind == MODEL_BUNDLE &&
                 !str_eq(resource->of.bundle->trust_domain, from->trust_domain))
            registry_refuse(builder, peer_idx,
                            "bundle of \"%.*s\": %.*s may only send that of \"%.*s\"",
                            STR_ARG(str_sub(resource->of.bundle->trust_domain, 0, 255)),
                            STR_ARG(from->cluster), STR_ARG(from->trust_domain));
    }
}

void registry_add_foreign(struct registry_builder *builder)
{
    builder->n_foreign_peers = builder->input->n_peers;
    builder->foreign_peers =
        arena_new_array(&builder->scratch, struct foreign_peer, builder->n_foreign_peers);
    for (size_t i = 0; i < builder->n_foreign_peers; i++)
        take_all(builder, i);
}

void registry_free_foreign(struct registry_builder *builder)
{
    struct str uid;
    void *value;
    for (size_t idx = 0; map_next(&builder->foreign, &idx, &uid, &value);) {
        struct foreign_workload *workload = value;
        arena_fini(&workload->arena);
        mem_free(workload);
    }
    for (size_t i = 0; i < builder->n_foreign_peers; i++)
        map_fini(&builder->foreign_peers[i].exported);
    map_fini(&builder->foreign);
    map_fini(&builder->foreign_by_ip);
    map_fini(&builder->foreign_ips);
}

/* ---- patches ---- */

bool registry_takes_peers(const struct registry *registry)
{
    for (size_t i = 0; i < registry->n_peers; i++)
        if (registry->peers[i].n_refused > 0)
            return false;
    return true;
}

struct step {                          /* of one change */
    struct foreign_workload *workload; /* NULL: it was not there */
    struct str before;                 /* its name, if it was there */
};

/* All leave before any is taken, so that one may have what another had. What one was stays in
 * memory until it is something else. */
static struct step leave(const struct taking *taking, const struct registry_peer_change *change,
                         struct registry_patch *patch)
{
    struct registry_builder *builder = taking->builder;
    struct step step = {.workload = map_remove(&builder->foreign, change->uid)};
    if (!step.workload)
        return step;
    step.before = arena_str(&patch->arena, change->uid);
    leave_addresses(builder, step.workload->listed.resource.of.workload);
    step.workload->listed.resource = (struct model_resource){0};
    builder->registry->peers[taking->peer_idx].n_workloads--;
    return step;
}

static void arrive(const struct taking *taking, const struct registry_peer_change *change,
                   const struct step *step, struct registry_patch *patch)
{
    struct registry *registry = taking->builder->registry;
    struct foreign_workload *workload =
        step->workload ? step->workload : mem_new(struct foreign_workload);
    struct arena arena = {0};
    if (change->workload)
        take(taking, &arena, change->workload, workload);
    arena_fini(&workload->arena);
    workload->arena = arena;
    registry_list_for_nodes(registry, &workload->listed);
    registry_tell(&patch->nodes, &workload->listed, step->before);
    if (workload->listed.resource.of.workload)
        return;
    arena_fini(&workload->arena);
    mem_free(workload);
}

bool registry_patch_peer(struct registry *registry, size_t peer_idx,
                         const struct registry_peer_change *changes, size_t n_changes,
                         struct registry_patch *patch)
{
    struct registry_builder *builder = registry->builder;
    struct taking taking = {builder, &builder->foreign_peers[peer_idx], peer_idx};
    struct step *steps = arena_new_array(&patch->arena, struct step, n_changes);
    registry_side_grow(&patch->nodes, &patch->arena, n_changes);
    for (size_t i = 0; i < n_changes; i++)
        steps[i] = leave(&taking, &changes[i], patch);
    for (size_t i = 0; i < n_changes; i++)
        arrive(&taking, &changes[i], &steps[i], patch);
    return registry->peers[peer_idx].n_refused == 0;
}
