/*
 * fleet.h - what the files of this room share: a fleet is what one worker knows of one endpoint
 * set, a member of one endpoint in it.
 *
 * Members stand in the order of the set's endpoints, so idx is the same in both once the fleet was
 * brought up to date with the set (fleet_get()). Whether a member may serve follows from its facts
 * (ready, checked, state, flows); member_file() compares that with how it is filed in its level and
 * changes the level's sums by the difference. So nothing is ever counted anew, however many
 * members there are, and there is one place where "may serve" is decided.
 *
 *   SERVING ──a connect failed, an outlier──► RESTING ──time is over──► PROBATION
 *      ▲                                         ▲                        │  │
 *      │                                         └───the trial failed─────┘  │
 *      └─────────────────────────────────────────────the trial went well─────┘
 *
 * Owner: the balancer. Thread: the worker's.
 */
#ifndef ISTHMUS_PICK_FLEET_H
#define ISTHMUS_PICK_FLEET_H

#include "proxy/balance/edf.h"
#include "proxy/balance/ewma.h"
#include "proxy/balance/outlier.h"
#include "proxy/base/list.h"
#include "proxy/pick/balancer.h"
#include "proxy/pick/timetable.h"
#include "proxy/pick/weights.h"

#define SHARE_WHOLE 10000 /* shares of levels are in 1/10000 */

enum member_state { MEMBER_SERVING, MEMBER_RESTING, MEMBER_PROBATION, MEMBER_STATES };

/* How it is filed in its level's sums. */
enum filing {
    FILED_NOWHERE,  /* it must not be used but in panic */
    FILED_FIT,      /* it serves */
    FILED_DOUBTFUL, /* ready, but what this worker saw of it was bad: for when nobody is fit */
    FILED_FULL,     /* it would serve, but has as many flows as it may */
    FILINGS
};

struct member {
    uint64_t key;
    struct fleet *fleet; /* NULL: it left the set and lives until its flows have ended */
    uint32_t idx;
    uint16_t level;
    uint8_t distance; /* enum level_kind */
    uint8_t state;    /* enum member_state */
    uint8_t checked;  /* enum checked */
    uint8_t filing;   /* enum filing */
    uint8_t cause;    /* enum rest_cause */
    bool is_ready, is_ejected, is_on_trial;
    bool is_masked; /* tried by the flow for which is being picked right now */
    uint32_t weight;
    uint32_t flows;
    uint32_t connect_failures; /* in a row */
    uint32_t failures;         /* of any kind, in a row */
    uint32_t tally;            /* 1 + idx in the fleet's tallies of this interval, or 0 */
    struct outlier_rest rest;
    struct ewma latency;
    uint64_t node;          /* hash of where it runs */
    uint64_t warm_since_ns; /* in slow start since; 0: not */
    struct appointment due; /* the end of its rest, or of its slow start */
    struct list in_probation;
    uint64_t confirmed_ns; /* took a connection last */
    uint64_t silent_ns;    /* since when connects are not answered, not even by a refusal; 0 */
    uint64_t seen;         /* by the merge of that number */
};

struct fleet_level {
    enum level_kind kind;
    uint64_t identity; /* hash of kind, cluster and locality: the same level in another snapshot */
    uint64_t cluster;  /* hash */
    uint16_t rank;     /* idx in the fleet's ranks */
    uint32_t share_weight, n_callers;
    uint32_t start, len; /* of its members */
    const uint64_t *all; /* len + 1 running sums of weights */
    struct weights fit, doubtful;
    bool is_even; /* all weights are the same */
    uint32_t n_all, n_fit, n_ejected, n_full, n_flows;
    uint64_t w_all;          /* sums of weights; those of the fit are fit.sum */
    uint32_t n_warming;      /* fit members in slow start, */
    uint64_t w_warming;      /* their weights, */
    double warming_since_ns; /* and the sum of their beginnings */
    bool is_in_panic;
    uint32_t share;          /* of SHARE_WHOLE */
    double latency_limit_ns; /* of the last look: slower is an outlier; 0: none */
    double mean_ns;          /* of what was measured lately; 0: nothing yet */
    bool is_silent;          /* nobody of it answers */
    uint32_t n_silences;     /* connects in a row that nobody answered */
    uint32_t n_asked;        /* how often, since it is silent */
    uint64_t ask_at_ns;      /* while it is silent: not before */
    uint64_t answered_ns;    /* somebody of it took a connection last */
    bool has_schedule;
    struct edf schedule; /* made when the algorithm first asks for it */
};

struct fleet_rank { /* levels that share by weight; ranks fail over to the next */
    uint64_t identity;
    uint16_t first_level, n_levels;
    bool is_last_resort;
    uint64_t price_micro;
    /* spill by load */
    uint32_t n_samples; /* since the last look */
    uint32_t n_given;   /* flows, since the last look */
    double sum_ns;
    double served, given; /* answers and flows of a look, smoothed */
    double mean_ns;       /* lately */
    double base_ns;       /* when it is not loaded; 0: not known yet */
    uint32_t n_window;
    double window_ns;                    /* sum of the samples that base_ns will learn from next */
    uint64_t sampled_ns, heard_since_ns; /* its last answer; its first since it was silent or new */
    double spilled;                      /* 0 to 1: what of its share goes on to the next rank */
    double error;                        /* at the last look */
};

struct tally { /* of one member in one interval */
    struct member *member;
    struct outlier_tally count;
    uint32_t n_samples;
    double sum_ns;
};

#define TALLIES_MAX 4096 /* members looked at in one interval; others wait for the next */

struct crew { /* what the fleets of one service share: its limits */
    uint64_t key;
    uint32_t n_fleets, n_flows, n_pending, n_retries;
};

struct fleet {
    struct balancer *balancer;
    uint64_t id, generation, fingerprint;
    struct list by_use; /* in balancer.fleets_by_use, the longest unused first */
    uint64_t used_ns;
    struct str service; /* its key */
    uint16_t port;
    bool is_v6;
    char *principal; /* who asked last */
    size_t principal_len;
    struct traffic_policy policy; /* a copy; arrays and strings in it are not to be looked at */
    uint32_t endpoint_limit;      /* flows of one endpoint that this worker may have */
    struct crew *crew;

    struct member **members;
    uint32_t n_members;
    uint32_t n_flows;
    uint64_t n_merges;
    uint64_t *sums;         /* storage of the levels' trees and running sums */
    struct member **by_key; /* open addressing, n_slots of them; made when it is first needed */
    size_t n_slots;
    uint64_t *kept_out; /* keys of those that served until the policy took them out; sorted */
    size_t n_kept_out;

    struct fleet_level *levels;
    size_t n_levels;
    struct fleet_rank *ranks;
    size_t n_ranks;
    uint16_t rank_order[LEVELS_MAX]; /* ranks in the order in which they serve */
    bool shares_are_stale;
    uint64_t shares_until_ns;
    uint64_t spill_at_ns;  /* when load is looked at next */
    uint16_t nearest_rank; /* that has somebody fit */
    uint32_t n_silent;     /* of its levels */

    struct list probation; /* the longest waiting first */
    uint32_t n_trials;

    struct tally *tallies; /* made with the first outcome */
    uint32_t n_tallies;
    uint64_t look_at_ns; /* when rates are looked at next */
};

struct node { /* a node some of whose endpoints could not be reached */
    uint64_t key;
    uint64_t member;           /* key of the first */
    uint64_t failed_ns;        /* last */
    uint32_t suspicions;       /* in a row */
    uint64_t suspect_until_ns; /* 0: only one endpoint has failed so far */
};

struct reach { /* how far a cluster is */
    uint64_t cluster;
    double rtt_ns;
};

#define FLEETS_AT_HAND 64 /* a power of two */
#define NODES_MAX      10000
#define REACHES_MAX    1024

struct balancer {
    struct meter *meter;
    unsigned n_workers;
    struct map fleets; /* by id */
    struct fleet
        *at_hand[FLEETS_AT_HAND]; /* used last, of those with the same low bits of the id */
    struct list fleets_by_use;
    struct map crews;   /* by hash of the service's key */
    struct map nodes;   /* by hash; only those that failed */
    struct map reaches; /* by hash of the cluster's name */
    struct timetable timetable;
    size_t n_members, n_flows;
    struct list free_members; /* by in_probation */
    struct member_block *blocks;
    uint64_t tidied_ns;
};

static inline struct str key_of(const uint64_t *key)
{
    return (struct str){(const char *)key, sizeof(*key)};
}

static inline struct fleet_level *member_level(const struct member *member)
{
    return &member->fleet->levels[member->level];
}

/* Who of it may be chosen by its share. */
static inline uint32_t level_n_fit(const struct fleet_level *level)
{
    return level->is_silent ? 0 : level->n_fit;
}

/* ---- member.c: who may serve ---- */

/* A limit of one node's, divided by its workers: at least one; UINT32_MAX for 0, which is none. */
static inline uint32_t worker_part(const struct balancer *balancer, uint32_t limit)
{
    const uint32_t n = balancer->n_workers;
    return limit == 0 ? UINT32_MAX : limit / n + (limit % n > 0);
}

bool member_is_full(const struct member *member);
/* What keeps it from serving. */
enum unfit member_unfit(const struct member *member);
/* Whether it may be used when health is not believed any more. */
bool member_serves_in_panic(const struct member *member);
/* Its facts have changed: files it where it belongs now. */
void member_file(struct member *member);
/* Files one that is filed nowhere while its level's trees still hold the weights themselves and are
 * not built: for a whole list at once. */
void member_file_first(struct member *member);
/* Takes it out of the sums and of every list. */
void member_unfile(struct member *member);
/* The share of its weight that slow start leaves it: 0 to 1. */
double member_warmth(const struct member *member, uint64_t now_ns);
/* It is new or healthy again. */
void member_warm_up(struct member *member, uint64_t now_ns);
void member_rest(struct member *member, uint64_t until_ns, bool is_ejected, enum rest_cause cause);
/* The trial went well, or a doubtful one served: it is as good as any. */
void member_recover(struct member *member, uint64_t now_ns);
/* The trial is over without a verdict. */
void member_end_trial(struct member *member);
/* Ends what falls due; at most a few at a time, the rest with the next call. */
void members_run_due(struct balancer *balancer, uint64_t now_ns);

/* ---- fleet.c: sets in use ---- */

/* The fleet of the question's set, made or brought up to date; NULL when the balancer is full. */
struct fleet *fleet_get(struct balancer *balancer, const struct question *question,
                        uint64_t now_ns);
struct fleet *fleet_find(const struct balancer *balancer, uint64_t id);
struct member *fleet_find_member(struct fleet *fleet, uint64_t key);
void fleet_free(struct fleet *fleet);
void members_free_all(struct balancer *balancer);
/* A flow has left a member that is no longer in a set. */
void member_free_if_left(struct balancer *balancer, struct member *member);
void crew_free_if_left(struct balancer *balancer, struct crew *crew);

/* ---- lease.c: limits ---- */

/* The service has as many flows as its policy allows. */
bool crew_is_full(const struct fleet *fleet);

/* ---- shares.c, spill.c: which level ---- */

/* Brings the levels' shares up to date. */
void shares_refresh(struct fleet *fleet, uint64_t now_ns);
/* The member's part of its level's new flows, 0 to 1, as weights and slow start have it. */
double shares_part(const struct member *member, uint64_t now_ns);
/* The level of a point, 0 <= point < SHARE_WHOLE; NULL when no level has a share. */
struct fleet_level *shares_find(struct fleet *fleet, uint32_t point);
/* Moves shares from ranks that are slower than the next one; shares are per rank, of SHARE_WHOLE.
 */
void spill_adjust(struct fleet *fleet, uint32_t *shares, uint64_t now_ns);
/* An answer of the rank took this long. */
void spill_sample(struct fleet_rank *rank, uint64_t latency_ns, uint64_t now_ns);

/* ---- silence.c: levels that do not answer ---- */

/* A connect that was begun at since_ns has not been answered for long. */
void silence_met(struct member *member, uint64_t since_ns, uint64_t now_ns);
/* One was. */
void silence_broken(struct member *member, uint64_t now_ns);
/* What is known of the level's silence is out of date. */
void silence_end(struct fleet *fleet, struct fleet_level *level);

/* ---- ejection.c: outliers ---- */

/* One flow went well or not; may eject. */
void ejection_count(struct member *member, bool is_good, uint64_t now_ns);
void ejection_sample(struct member *member, uint64_t latency_ns, uint64_t now_ns);
/* Looks at rates and latencies when it is time. */
void ejection_look(struct fleet *fleet, uint64_t now_ns);
/* Rests it if the cap of its level allows. */
void ejection_eject(struct member *member, enum rest_cause cause, uint64_t now_ns);

/* ---- reach.c: how far places are ---- */

void reach_measured(struct balancer *balancer, uint64_t cluster, uint64_t rtt_ns);
/* 0: not known. */
double reach_rtt_ns(const struct balancer *balancer, uint64_t cluster);
/* Nodes that could not be reached. */
/* One pod that is gone is not its node: a second one makes the node suspect. */
void node_failed(struct balancer *balancer, const struct member *member, uint64_t now_ns);
void node_reached(struct balancer *balancer, uint64_t key);
/* Until when, 0: not suspect. */
uint64_t node_suspect_until_ns(const struct balancer *balancer, uint64_t key, uint64_t now_ns);
void nodes_tidy(struct balancer *balancer, uint64_t now_ns);
void reach_fini(struct balancer *balancer);

#endif
