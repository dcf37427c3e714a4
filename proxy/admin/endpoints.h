/*
 * endpoints.h - a page of endpoints, each with how it is balanced and, when it gets nothing, why.
 *
 * Where an endpoint stands is in the snapshot; how it has been doing only the workers know, each
 * for itself. A poll is one page on its way: it says which endpoints to ask every worker about,
 * takes the workers' answers one by one, and writes the page at the end:
 *   {"endpoints":[{"service","port","cluster","zone","node","workload","namespace","address",
 *                  "level","ready","share_pct","in_flight","latency_ms","health","active",
 *                  "passive","until","why","identity"}],"total":n,"offset":n}
 * Sorted by service, then nearest first. Summed over the workers: in_flight; share_pct and
 * latency_ms are means of the workers that know them, null when none does; health, active and until
 * are the worst; why says how many workers think so unless all do.
 *
 * An endpoint that the policy keeps out has no share at all: it stands behind those of its port, as
 * "hidden".
 *
 * Bounds: ENDPOINTS_SHOWN_MAX rows a page; "total" says how many there are.
 * Owner: the control thread. Thread: its own. The snapshot is borrowed only within a call.
 */
#ifndef ISTHMUS_ADMIN_ENDPOINTS_H
#define ISTHMUS_ADMIN_ENDPOINTS_H

#include "config/snapshot.h"
#include "proxy/base/text.h"
#include "proxy/pick/balancer.h"

#define ENDPOINTS_SHOWN_MAX 1000

struct endpoint_wish {
    struct str host; /* only services whose host contains it; "": all */
    size_t offset, limit;
};

/* "" stands for what was not said. 0 or -ERR_INVALID with a sentence. */
MUST_USE int endpoint_wish_parse(struct str host, struct str offset, struct str limit,
                                 struct endpoint_wish *out_wish, struct text *why);

struct endpoint_ask { /* about one endpoint */
    uint64_t set_id, key;
};

struct endpoint_answer { /* of one worker */
    bool is_known;       /* else it does not use the set */
    struct member_view view;
};

struct endpoint_poll;

struct endpoint_poll *endpoint_poll_new(const struct snapshot *snapshot,
                                        const struct endpoint_wish *wish);
void endpoint_poll_free(struct endpoint_poll *poll);
/* What to ask every worker, borrowed. */
const struct endpoint_ask *endpoint_poll_asks(const struct endpoint_poll *poll, size_t *out_n);
/* One worker's answers, one for each ask. */
void endpoint_poll_note(struct endpoint_poll *poll, const struct endpoint_answer *answers);

struct endpoint_time { /* of both clocks at one moment */
    uint64_t mono_ns;
    int64_t wall_ns;
};

/* The snapshot may be a newer one than the poll was made with. */
void endpoint_poll_write(const struct endpoint_poll *poll, const struct snapshot *snapshot,
                         const struct endpoint_time *now, struct text *out);

#endif
