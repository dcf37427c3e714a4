/*
 * settled.h - verdicts that hold for every request of a caller, of one generation of the snapshot.
 *
 * Mostly no policy of a workload looks at what only a request shows. Then what is said of one
 * request is said of all that follow from the same caller to the same port, until the configuration
 * changes: it is asked once, of the connection that carries them (policy.h: looks_at_request), and
 * kept here with what is counted for it. A request then costs the comparison of a key. Only the
 * plain case is kept: allowed, with no AUDIT or dry-run policy beside it and no rules for tokens.
 * Where that is not so it is kept too, so that it is not found out anew for each request.
 *
 * A verdict stands at the place of its key; whoever comes to a place takes it. What it borrows is
 * of its generation's snapshot, and looked at only while that is the walk's own; pointers of a key
 * are compared and never followed.
 *
 * Bound: SETTLED_MAX a worker. Owner: the walk. Thread: the worker's.
 */
#ifndef ISTHMUS_FLOW_SETTLED_H
#define ISTHMUS_FLOW_SETTLED_H

#include "proxy/authorize/authorize.h"
#include "proxy/flow/record.h"

#define SETTLED_MAX 256u

struct settled_key {
    uint64_t generation;
    const struct workload *source, *destination;
    bool is_proven; /* the source, by its identity; else an address is all that is known */
    struct ip source_ip;
    struct addr addr;
};

enum settlement {
    SETTLED_NOT,   /* nobody has asked yet */
    SETTLED_ALLOW, /* every request */
    SETTLED_OPEN   /* each is to be judged by itself */
};

struct settled {
    struct settled_key key;
    enum settlement settlement;
    struct ruling ruling;              /* that allows; its policy is the snapshot's */
    struct verdict_counters *counters; /* of that policy */
};

/* False: who asks is known by a name alone, which no key has. */
bool settled_key_of(uint64_t generation, const struct workload *destination,
                    const struct principal *source, const struct addr *addr,
                    struct settled_key *out_key);
/* The place of a key, of SETTLED_MAX; emptied for it when it was another's. */
struct settled *settled_place(struct settled *all, const struct settled_key *key);
/* Asks whether what is said of a connection holds for all of its requests. */
void settled_ask(struct settled *place, const struct workload *destination,
                 const struct principal *source, struct traffic *traffic);

#endif
