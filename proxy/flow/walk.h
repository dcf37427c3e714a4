/*
 * walk.h - what the files of this room share: a worker's walk and its flows.
 */
#ifndef ISTHMUS_FLOW_WALK_H
#define ISTHMUS_FLOW_WALK_H

#include "proxy/flow/flow.h"
#include "proxy/flow/http_side.h"
#include "proxy/flow/ledger.h"
#include "proxy/flow/listing.h"
#include "proxy/flow/overload.h"
#include "proxy/flow/record.h"
#include "proxy/flow/settled.h"
#include "proxy/io/sweep.h"
#include "proxy/token/token.h"

enum flow_state {
    FLOW_ACCEPTED,
    FLOW_CONNECTING,
    FLOW_PUMPING,
    FLOW_SERVING,
    FLOW_CLOSED,
    FLOW_STATES
};

enum walk_sweep {
    SWEEP_RECHECK, /* after a change of what verdicts depend on */
    SWEEP_REPORT,  /* bytes of long flows reach the metrics while they run */
    SWEEP_TELL,    /* requests that last reach the audit log */
    SWEEP_DRAIN,   /* connections that could go on forever are asked to end */
    WALK_SWEEPS
};

struct walk {
    struct walk_tools tools;
    struct walk_options options;
    struct token_room *tokens;
    struct list flows[FLOW_STATES]; /* the roster: state is list */
    size_t n_flows;
    struct listing listing; /* the same by age */
    uint64_t next_id;
    uint64_t
        old_below_id;  /* calls with a smaller one were there when the drain began; 0: none has */
    bool is_last_call; /* what begins now is from a backlog, and not to go on */
    struct sweep sweeps[WALK_SWEEPS];
    struct timer report;
    struct overload overload;
    struct clients clients; /* of HTTP */
    struct acquaintances acquaintances;
    struct settled settled[SETTLED_MAX];
    struct timer sample;
    uint64_t sample_due_ns;
    uint64_t trim_due_ns;               /* memory is not given back to the system before */
    bool owes_memory;                   /* but for what was cut, at the next look */
    struct ledger *ledger, *own_ledger; /* the same, or NULL: that of all workers */
    struct timer audit;                 /* requests that wait to be told */
    uint64_t long_due_ns;               /* when those that last are looked for again */
    size_t replay_bytes;                /* of the bodies that its exchanges keep */

    struct buffers_told { /* of the loop's pool, as the metrics have it */
        uint64_t live_bytes, n_reused, n_made;
    } buffers;

    struct long_turns long_turns; /* of the loop, the same */
};

struct judged { /* what a verdict was about, to ask again when policies change */
    bool is_judged;
    bool is_by_request; /* a connection of which each request is judged by itself */
    bool is_unshown;    /* a request that no policy looked at: it is shown once one does */
    const struct policy_request *request; /* of the call's arena; NULL: a connection */
    struct str principal_id;
    struct ip source;
    struct addr destination;
    uint64_t pod;  /* which has that address: its uid_hash */
    uint64_t mark; /* of the policies that were asked; 0 is like no other */
};

/* What the record says while an attempt is the one that counts. */
struct reached {
    struct party destination;
    struct str names[PARTY_NAMES]; /* of it */
    struct addr hbone_addr;
    struct str dry_run_policy, trace;
    struct ruling ruling;
    bool is_same_node;
};

struct attempt { /* one endpoint that is being connected to */
    struct call *call;
    struct connect *connect;
    uint64_t started_ns;
    struct lease lease;
    struct judged judged;
    struct reached reached;
    struct http_making making; /* an HTTP connection that others may wait for */
};

/* So many endpoints are connected to at once for one call: a slow one, and one that races it. */
#define CALL_RACERS 2

struct patience { /* the node's own, but for what the service's policy says */
    unsigned max_attempts;
    uint64_t connect_ns, attempt_ns, idle_ns;
};

struct call_events {
    /* Who calls, and what, by the snapshot of now: 0, or why nothing can be. */
    int (*resolve)(struct call *call, const struct snapshot *snapshot, struct principal *out_source,
                   struct target *out_target);
    /* True: what is written about calls to that endpoint is known, and the record names it. NULL:
     * it never is. */
    bool (*recall)(struct call *call, const struct acquaintance_key *key);
    /* True: a connection to addr that is there already serves, and the call is on its way. NULL:
     * there never is one. */
    bool (*reuse)(struct call *call, const struct addr *addr, bool through_tunnel);
    /* What its request shows to the policies of a workload of this node: 0, or why it is refused
     * without them. NULL: the call is a connection, as it is for the two that follow. */
    int (*show)(struct call *call, const struct workload *destination, const struct addr *addr,
                const struct policy_request **out_request);
    /* The same for policies that did not look at it when it was judged, and do so now. */
    const struct policy_request *(*reveal)(struct call *call);
    /* What the audit log says of it; no more is in it. */
    const struct policy_request *(*glimpse)(struct call *call);
    /* An attempt begins. */
    void (*on_attempt)(struct call *call, struct attempt *attempt,
                       const struct connect_request *request);
    /* An endpoint is reached: lease, verdict and record are the winner's. Takes the stream. */
    void (*on_reached)(struct call *call, const struct upstream *upstream);
    /* None can be; nothing is in progress. */
    void (*on_failed)(struct call *call, int err, struct str detail);
    /* The pod that was reached, or was to be, left its node. True: the call does without it. NULL:
     * it never can. */
    bool (*move_on)(struct call *call);
};

/* What a call needs until an endpoint is reached. */
struct search {
    struct call *call;
    struct tried tried;
    struct attempt *racers[CALL_RACERS]; /* in progress, the older first; NULL behind them */
    struct timer race;
    struct patience patience;
    uint64_t since_ns; /* all attempts together have their time from here on */
    uint64_t race_ns;  /* until another is asked, longer while nobody can be; 0: nobody is */
    bool is_in_turn;   /* in place of the first, not beside it: the service has no races */
    bool has_other;    /* endpoint than the one that was chosen last */
    bool is_request;   /* it is chosen for by request_hash in place of the source's */
    struct request_hash request_hash;
};

/* What the audit log has of a request that was allowed: see witness.h. */
struct told {
    bool is_copy;  /* a mirror's: nothing is said at its end */
    bool is_due;   /* the end will tell the verdict */
    bool is_apart; /* the end has a line of its own */
};

/* Somebody calls somebody: what is asked, decided and tried until an endpoint is reached, and what
 * is written about it. A flow is one. */
struct call {
    struct walk *walk;
    const struct call_events *events;
    uint64_t id, started_ns;
    uint64_t connection; /* the id of the one that the request came on; its own: it is one */
    struct arena arena;
    struct record record;
    struct judged judged;
    const struct policy_request *shown; /* what was judged last, for the log; NULL: a connection */
    struct lease lease;                 /* of the attempt that won */
    unsigned n_attempts;
    struct told told;
    struct search *search; /* NULL when no endpoint is searched for any more */
    char *kept;            /* the strings after call_fold(); NULL: they are in the arena */
};

/* What a flow does that is more than a pump: HTTP, finding out what is spoken. */
struct sniff;

struct flow_work {
    struct totals (*end)(struct flow *flow, int err); /* what has moved */
    struct totals (*totals)(const struct flow *flow);
    void (*recheck)(struct flow *flow);
    void (*drain)(struct flow *flow);
    /* Requests that have lasted since before then are told of in the audit log. NULL: none are. */
    void (*tell)(struct flow *flow, uint64_t before_ns);
    /* Bytes that wait in it to be read. NULL: none to speak of. */
    uint64_t (*held)(const struct flow *flow);
};

struct flow {
    struct call call;
    int state;
    struct list by_state, by_age;
    struct arrival *arrival;
    const struct flow_work *work; /* NULL: it pumps */
    bool spoke_no_http;           /* nothing else came: it is written about as a connection */
    struct sniff *sniff;          /* NULL: its first bytes were not looked at, or are said */

    union { /* it pumps, or it serves */
        struct pump pump;
        struct http_side side;
    };
};

static inline const struct snapshot *call_snapshot(const struct call *call)
{
    return *call->walk->tools.snapshot;
}

static inline uint64_t call_now_ns(const struct call *call)
{
    return loop_now_ns(call->walk->tools.loop);
}

/* ---- flow.c: states, end ---- */

const char *flow_state_name(enum flow_state state);
void flow_move(struct flow *flow, enum flow_state next);

/* Ends a flow in whatever state it is: cuts, records, frees at the end of the turn. */
void flow_end(struct flow *flow, int err, struct str detail);
/* The end of a flow whose streams are closed already. */
void flow_close(struct flow *flow, const struct totals *totals, struct str detail);

/* ---- call.c: verdicts, what is given back ---- */

/* The search is the caller's, which outlives it. */
void call_init(struct call *call, struct walk *walk, const struct call_events *events,
               struct search *search);
/* Nothing is in progress. */
void call_fini(struct call *call);
/* Nothing is in progress, and no endpoint is searched for: a connection of HTTP leaves that to its
 * exchanges. */
void call_end_search(struct call *call);
/* An endpoint is reached, no other is searched for, and it may last: what only the search needed
 * goes, and the strings move together, so that a long connection holds little. */
void call_fold(struct call *call);
/* A verdict that was about another try; it is told by itself in the audit log. */
void call_forget_verdict(struct call *call);
/* Asks the destination's policies and keeps the question for the day they change. 0 with
 * judged.is_by_request: nothing is decided yet, each request is to be judged. */
MUST_USE int call_judge(struct call *call, const struct workload *destination,
                        const struct principal *source, const struct addr *addr);
/* Who it was that was judged, by the snapshot of now; borrows from both. */
MUST_USE int call_identify(const struct judged *judged, const struct snapshot *snapshot,
                           struct principal *out_source);
/* The record tells of this attempt from now on. */
void call_show(struct call *call, const struct attempt *attempt);
/* Whom the connection that serves it reached. */
void call_note_upstream(struct call *call, const struct upstream *upstream);
/* Stops an attempt if it is still in progress, gives its lease back, forgets it. */
void call_drop_attempt(struct call *call, struct attempt *attempt, enum lease_outcome outcome);
/* Stops whatever is being attempted. */
void call_drop_attempts(struct call *call);
/* ---- recheck.c: verdicts, asked again ---- */

/* What the present snapshot says of a call that an earlier one allowed: 0, or why it is over, with
 * the sentence in the record. Attempts at pods that have left are given up for others, and where
 * none is left the call has ended by on_failed, and this is 0. */
MUST_USE int call_recheck(struct call *call);

/* ---- roster.c: the flows of a worker as a whole ---- */

/* Looks anew whether new work is to be shed. */
void walk_sample(struct walk *walk, uint64_t lag_ns);

/* ---- attempt.c: connecting ---- */

/* One attempt of an outbound call, by the snapshot of now. On failure nothing is in progress. */
MUST_USE int attempt_outbound(struct call *call);
/* Dials an address without a tunnel, from a source of ours or "none". */
void attempt_plain(struct call *call, const struct addr *addr, const struct ip *source,
                   bool is_last);
/* Nobody waits for this one any more: as if it had failed with err, which may end the call. */
void attempt_lose(struct attempt *attempt, int err);

#endif
