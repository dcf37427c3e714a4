/*
 * walk.h - what the files of this room share: a worker's walk and its flows.
 */
#ifndef ISTHMUS_FLOW_WALK_H
#define ISTHMUS_FLOW_WALK_H

#include "proxy/flow/flow.h"
#include "proxy/flow/record.h"

enum flow_state { FLOW_ACCEPTED, FLOW_CONNECTING, FLOW_PUMPING, FLOW_CLOSED, FLOW_STATES };

struct walk {
    struct walk_tools tools;
    struct walk_options options;
    struct list flows[FLOW_STATES]; /* the roster: state is list */
    size_t n_flows;
    uint64_t next_id;
    struct timer report; /* bytes of long flows reach the metrics while they run */
};

struct judged { /* what a verdict was about, to ask again when policies change */
    bool is_judged;
    struct str principal_id;
    struct ip source;
    struct addr destination;
};

struct flow {
    int state;
    struct list by_state;
    struct walk *walk;
    uint64_t id, started_ns;
    struct arrival *arrival;
    struct arena arena;
    struct record record;
    struct judged judged;
    struct tried tried;
    struct lease lease;
    unsigned attempts;
    struct connect *connect;
    struct pump pump;
};

const char *flow_state_name(enum flow_state state);

/* Ends a flow in whatever state it is: cuts, records, frees at the end of the turn. */
void flow_end(struct flow *flow, int err, struct str detail);

#endif
