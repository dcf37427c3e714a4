#include "proxy/flow/acquaintance.h"

#define ALIGNMENT_BITS 4 /* of what a snapshot allocates */

static size_t place_of(const struct acquaintance_key *key)
{
    const uint64_t mixed =
        ((uint64_t)(uintptr_t)key->source * 31 + (uintptr_t)key->destination) * 31 +
        (uintptr_t)key->service;
    return (mixed >> ALIGNMENT_BITS) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (ACQUAINTANCES - 1);
}

struct acquaintance *acquaintances_place(struct acquaintances *all, uint64_t generation,
                                         const struct acquaintance_key *key)
{
    if (all->generation != generation)
        acquaintances_forget(all);
    all->generation = generation;
    return &all->at[place_of(key)];
}

void acquaintance_keep(struct acquaintance *place, const struct acquaintance_key *key,
                       const struct str *names, struct traffic_series *const series[2],
                       const struct ending *ending)
{
    traffic_hold(series[0]);
    traffic_hold(series[1]);
    acquaintance_forget(place);
    *place = (struct acquaintance){*key, names, {series[0], series[1]}, *ending};
}

bool acquaintance_key_eq(const struct acquaintance_key *a, const struct acquaintance_key *b)
{
    return a->source == b->source && a->destination == b->destination && a->service == b->service;
}

bool acquaintance_ended_so(const struct acquaintance *known, const struct ending *ending)
{
    const struct ending *a = &known->ending, *b = ending;
    return a->status == b->status && a->err == b->err && a->is_spent == b->is_spent &&
           a->is_mutual_tls == b->is_mutual_tls && a->is_same_node == b->is_same_node &&
           a->is_grpc == b->is_grpc;
}

void acquaintance_forget(struct acquaintance *known)
{
    traffic_let_go(known->series[0]);
    traffic_let_go(known->series[1]);
    *known = (struct acquaintance){0};
}

void acquaintances_forget(struct acquaintances *all)
{
    for (size_t i = 0; i < ACQUAINTANCES; i++)
        acquaintance_forget(&all->at[i]);
}
