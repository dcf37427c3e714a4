/*
 * drill_run.h - a drill from its first look to its end, in a loop of its own.
 *
 *   BEFORE ──► STARTING ──► DURING ──► STOPPING ──► AFTER ──► OVER      every state ──► OVER
 *
 * The nodes are asked in rounds, DRILL_ROUND_NS apart; a round is over when all have answered or
 * failed to. What a round finds new belongs to the phase that it was asked in: a full round lies
 * between the last count of a phase and the order that ends it.
 *
 * Failure modes: a node does not answer (counted, said in the report); control refuses (OVER with
 * its reason) or goes away (OVER; the nodes let go by themselves); SIGINT and SIGTERM (STOPPING,
 * then OVER); this process is killed (the lease ends the drill).
 *
 * Thread: the main one; blocks.
 */
#ifndef ISTHMUS_CTL_DRILL_RUN_H
#define ISTHMUS_CTL_DRILL_RUN_H

#include "proxy/base/addr.h"
#include "proxy/base/clock.h"
#include "proxy/base/text.h"
#include "proxy/ctl/tally.h"

#define DRILL_NODES_MAX   256
#define DRILL_ROUND_NS    (50 * NS_PER_MS)
#define DRILL_BEFORE_NS   (2 * NS_PER_SEC) /* of counting, before it begins */
#define DRILL_SETTLED_NS  (1 * NS_PER_SEC) /* without a call to the cluster: it has recovered */
#define DRILL_BACK_MAX_NS (15 * NS_PER_SEC)
#define DRILL_AFTER_NS    (1 * NS_PER_SEC) /* of counting, once calls are back */

struct drill_wish { /* borrowed */
    struct addr control;
    const struct addr *nodes; /* their metrics ports */
    size_t n_nodes;
    struct str service, cluster;
    uint64_t length_ns;
    bool is_forced;
};

enum drill_phase { PHASE_BEFORE, PHASE_DURING, PHASE_AFTER, PHASES };

struct drill_outcome {
    struct text host, tier; /* as control says */
    uint64_t promise_ns;    /* 0: none */
    struct tally counts[PHASES];
    uint64_t took_ns[PHASES];
    uint64_t last_ns; /* after the start: the round that saw the last new connection to the cluster;
                         0: none did */
    uint64_t back_ns; /* after the end: the round that saw the first one again; 0: none did */
    uint64_t n_misses; /* questions that a node did not answer */
    bool has_begun, is_interrupted;
    struct text problem; /* why it was refused or broken off; "" it went its way */
};

/* The caller has drill_outcome_fini() it. */
void drill_run(const struct drill_wish *wish, struct drill_outcome *outcome);
void drill_outcome_fini(struct drill_outcome *outcome);

#endif
