/* Who has which address, for endpoints that name no pod and for peers' workloads that must not have
 * one of ours. Pods of the host's network share its addresses, so a pod with an address of its own
 * is the better match; of several the first by name. */
#include "proxy/base/mem.h"
#include "xds/control/build.h"

static struct address *address_of(struct registry_builder *builder, const struct ip *ip)
{
    struct address *address = map_find(&builder->addresses, ip_key(ip));
    if (address)
        return address;
    address = mem_new(struct address);
    address->ip = *ip;
    list_init(&address->holders);
    list_init(&address->mentions);
    map_put(&builder->addresses, ip_key(&address->ip), address);
    return address;
}

static void free_unused(struct registry_builder *builder, struct address *address)
{
    if (!list_is_empty(&address->holders) || !list_is_empty(&address->mentions))
        return;
    (void)map_remove(&builder->addresses, ip_key(&address->ip));
    mem_free(address);
}

bool address_is_held(const struct registry_builder *builder, const struct ip *ip)
{
    const struct address *address = map_find(&builder->addresses, ip_key(ip));
    return address && !list_is_empty(&address->holders);
}

/* ---- endpoints ---- */

static bool is_better(const struct own_workload *a, const struct own_workload *b)
{
    if (a->pod->host_network != b->pod->host_network)
        return b->pod->host_network;
    return str_cmp(a->key, b->key) < 0;
}

static struct own_workload *best_holder(const struct address *address)
{
    struct own_workload *best = NULL;
    list_foreach(link, &address->holders)
    {
        struct own_workload *workload = list_entry(link, struct holder, link)->workload;
        if (!best || is_better(workload, best))
            best = workload;
    }
    return best;
}

/* By the first of its addresses that somebody has. */
static void resolve(struct registry_builder *builder, struct endpoint_ref *ref)
{
    struct own_workload *found = NULL;
    for (size_t i = 0; i < ref->endpoint->n_addresses && !found; i++)
        found = best_holder(ref->mentions[i].address);
    if (found == ref->workload)
        return;
    ref_uncount(builder, ref);
    if (ref->workload)
        workload_touch(builder, ref->workload);
    list_remove(&ref->link);
    list_init(&ref->link);
    ref->workload = found;
    if (found) {
        list_push_back(&found->refs, &ref->link);
        workload_touch(builder, found);
    }
    ref_count(builder, ref);
}

void addresses_mention(struct registry_builder *builder, struct endpoint_ref *ref)
{
    const struct k8s_endpoint *endpoint = ref->endpoint;
    ref->mentions = mem_new_array(struct mention, endpoint->n_addresses + 1);
    for (size_t i = 0; i < endpoint->n_addresses; i++) {
        struct address *address = address_of(builder, &endpoint->addresses[i]);
        ref->mentions[i] = (struct mention){.ref = ref, .address = address};
        list_push_back(&address->mentions, &ref->mentions[i].link);
    }
    resolve(builder, ref);
}

void addresses_forget(struct registry_builder *builder, struct endpoint_ref *ref)
{
    for (size_t i = 0; ref->mentions && i < ref->endpoint->n_addresses; i++) {
        list_remove(&ref->mentions[i].link);
        free_unused(builder, ref->mentions[i].address);
    }
    mem_free(ref->mentions);
    ref->mentions = NULL;
}

/* ---- pods ---- */

/* What peers' workloads may have depends on what ours have. */
static void tell(struct registry_builder *builder, const struct address *address)
{
    if (map_find(&builder->foreign_ips, ip_key(&address->ip)) ||
        map_find(&builder->foreign_by_ip, ip_key(&address->ip)))
        builder->reaches_further = true;
    list_foreach(link, &address->mentions)
        resolve(builder, list_entry(link, struct mention, link)->ref);
}

void addresses_join(struct registry_builder *builder, struct own_workload *workload)
{
    const struct k8s_pod *pod = workload->pod;
    if (!workload_is_live(workload))
        return;
    workload->n_holders = pod->n_addresses;
    workload->holders = mem_new_array(struct holder, pod->n_addresses);
    for (size_t i = 0; i < pod->n_addresses; i++) {
        struct address *address = address_of(builder, &pod->addresses[i]);
        workload->holders[i] = (struct holder){.workload = workload, .address = address};
        list_push_back(&address->holders, &workload->holders[i].link);
        tell(builder, address);
    }
}

void addresses_leave(struct registry_builder *builder, struct own_workload *workload)
{
    for (size_t i = 0; i < workload->n_holders; i++) {
        struct address *address = workload->holders[i].address;
        list_remove(&workload->holders[i].link);
        tell(builder, address);
        free_unused(builder, address);
    }
    mem_free(workload->holders);
    workload->holders = NULL;
    workload->n_holders = 0;
}
