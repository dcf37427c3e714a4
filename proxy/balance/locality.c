#include "proxy/balance/locality.h"

#include "proxy/base/ensure.h"

#define WHOLE 10000

double locality_weight(uint32_t weight, uint64_t n_eligible, uint64_t n_hosts,
                       uint32_t overprovisioning_pct)
{
    if (n_hosts == 0)
        return 0;
    const double available = (double)n_eligible / (double)n_hosts * overprovisioning_pct / 100;
    return weight * (available < 1 ? available : 1);
}

static uint64_t permyriad(uint64_t part, uint64_t sum)
{
    return sum > 0 ? WHOLE * part / sum : 0;
}

bool zone_split_make(const struct zone *zones, size_t n, uint32_t min_servers,
                     struct zone_split *out_split)
{
    uint64_t clients = 0, servers = 0;
    size_t serving = 0;
    ensure(n <= ZONES_MAX);
    for (size_t i = 0; i < n; i++) {
        clients += zones[i].n_clients;
        servers += zones[i].n_servers;
        serving += zones[i].n_servers > 0;
    }
    if (serving < 2 || servers < min_servers || zones[0].n_clients == 0)
        return false;
    struct zone_split split = {.n = n, .local_permyriad = WHOLE};
    const uint64_t own_clients = permyriad(zones[0].n_clients, clients);
    const uint64_t own_servers = permyriad(zones[0].n_servers, servers);
    if (own_servers == 0 || own_servers < own_clients)
        split.local_permyriad = (uint32_t)permyriad(own_servers, own_clients);
    for (size_t i = 1; i < n; i++) {
        const uint64_t needs = permyriad(zones[i].n_clients, clients);
        const uint64_t has = permyriad(zones[i].n_servers, servers);
        split.residual[i] = split.residual[i - 1] + (has > needs ? (uint32_t)(has - needs) : 0);
    }
    *out_split = split;
    return true;
}

size_t zone_choose(const struct zone_split *split, struct rng *rng)
{
    size_t zone = 0;
    if (rng_below(rng, WHOLE) < split->local_permyriad)
        return 0;
    const uint32_t rest = split->residual[split->n - 1];
    if (rest == 0) /* rounding: nobody has anything left over */
        return rng_below(rng, (uint32_t)split->n);
    const uint32_t threshold = rng_below(rng, rest);
    while (threshold >= split->residual[zone])
        zone++;
    return zone;
}
