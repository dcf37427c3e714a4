/*
 * acquaintance.h - what requests have in common that go from one pod to one endpoint of a service:
 * what their ends are called, and the series in which they are counted.
 *
 * Most requests go where others went and end as those ended. So the names and the series of one are
 * kept, the next borrows the names, and one comparison of numbers says that the series are its own
 * as well; else they are looked for by their labels, and kept in place of those.
 *
 * A request that comes to a pod of this node has the names of its connection, which keeps an
 * acquaintance of its own. Those of requests that leave stand in a table of the walk, at the place
 * of their key; whoever comes to a place takes it.
 *
 * Void: a table knows one generation of the snapshot. When another one asks all is forgotten, since
 * the keys are pointers into that generation, compared and never followed.
 *
 * Bound: ACQUAINTANCES a worker. Owner: the walk, or the connection. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_ACQUAINTANCE_H
#define ISTHMUS_FLOW_ACQUAINTANCE_H

#include "proxy/meter/traffic.h"

#define ACQUAINTANCES 256u

struct workload;
struct service;

struct acquaintance_key {
    const struct workload *source, *destination;
    const struct service *service;
};

struct ending { /* of a request, as far as its series differ by it */
    unsigned status;
    int err;
    bool is_spent, is_mutual_tls, is_same_node;
    bool is_grpc; /* whose status is a label that is compared besides */
};

struct acquaintance {
    struct acquaintance_key key;
    const struct str *names;          /* by traffic label; the first series', or the connection's */
    struct traffic_series *series[2]; /* by reporter, held; the first NULL: nobody is known */
    struct ending ending;             /* of those that are counted there */
};

struct acquaintances { /* {0} is empty */
    uint64_t generation;
    struct acquaintance at[ACQUAINTANCES];
};

/* The place of a key of that generation, the newest there is; whose it is its key says. */
struct acquaintance *acquaintances_place(struct acquaintances *all, uint64_t generation,
                                         const struct acquaintance_key *key);
/* Takes the place: these are the series now; the second may be NULL. */
void acquaintance_keep(struct acquaintance *place, const struct acquaintance_key *key,
                       const struct str *names, struct traffic_series *const series[2],
                       const struct ending *ending);
bool acquaintance_key_eq(const struct acquaintance_key *a, const struct acquaintance_key *b);
bool acquaintance_ended_so(const struct acquaintance *known, const struct ending *ending);
void acquaintance_forget(struct acquaintance *known);
void acquaintances_forget(struct acquaintances *all);

#endif
