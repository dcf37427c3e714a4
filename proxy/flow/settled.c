#include "proxy/flow/settled.h"

#include "proxy/flow/witness.h"

#define ALIGNMENT_BITS 4 /* of what a snapshot allocates */

/* The snapshot's workloads have one identity each. */
bool settled_key_of(uint64_t generation, const struct workload *destination,
                    const struct principal *source, const struct addr *addr,
                    struct settled_key *out_key)
{
    const bool is_proven = !str_is_empty(source->id);
    *out_key = (struct settled_key){.generation = generation,
                                    .source = source->workload,
                                    .destination = destination,
                                    .is_proven = is_proven,
                                    .source_ip = source->ip,
                                    .addr = *addr};
    return source->workload || !is_proven;
}

static bool is_same_key(const struct settled_key *a, const struct settled_key *b)
{
    return a->generation == b->generation && a->source == b->source &&
           a->destination == b->destination && a->is_proven == b->is_proven &&
           a->addr.port == b->addr.port && ip_eq(&a->addr.ip, &b->addr.ip) &&
           ip_eq(&a->source_ip, &b->source_ip);
}

struct settled *settled_place(struct settled *all, const struct settled_key *key)
{
    const uint64_t mixed =
        (uint64_t)(uintptr_t)key->source * 31 + (uintptr_t)key->destination + key->addr.port;
    struct settled *place =
        &all[(mixed >> ALIGNMENT_BITS) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (SETTLED_MAX - 1)];
    if (!is_same_key(&place->key, key))
        *place = (struct settled){.key = *key};
    return place;
}

void settled_ask(struct settled *place, const struct workload *destination,
                 const struct principal *source, struct traffic *traffic)
{
    const struct verdict verdict = authorize(destination, source, &place->key.addr, NULL);
    const struct policy_answer *answer = &verdict.answer;
    place->settlement = SETTLED_OPEN;
    if (destination->tokens || verdict.err < 0 || answer->looks_at_request ||
        answer->n_audits_matched > 0 || answer->dry_run.is_asked)
        return;
    place->settlement = SETTLED_ALLOW;
    place->ruling = witness_ruling_of(answer, place->key.generation);
    place->counters = traffic_policy(traffic, answer->policy);
}
