/*
 * tally.h - how many connections to a service a node has opened so far, and how many HTTP requests
 * it has carried, by the cluster that they went to, and how many failed: read off its metrics page.
 *
 * Counted are the series of reporter="source", on the node of the caller: there every one is
 * counted once, also one that reached nobody. A failed one counts as opened too, towards the
 * cluster of the last endpoint that was tried, "unknown" if there was none.
 *
 * Owner: whoever embeds it; {0} is empty. Thread: one. Bound: TALLY_CLUSTERS_MAX clusters; what
 * goes to further ones counts for the last.
 */
#ifndef ISTHMUS_CTL_TALLY_H
#define ISTHMUS_CTL_TALLY_H

#include "proxy/base/str.h"

#define TALLY_CLUSTERS_MAX 66
#define TALLY_NAME_MAX     64

struct tally_cluster {
    char name[TALLY_NAME_MAX];
    uint64_t n_opened;
};

struct tally {
    struct tally_cluster clusters[TALLY_CLUSTERS_MAX];
    size_t len;
    uint64_t n_failed;
};

/* Adds what a metrics page says of the service of that host name. */
void tally_read(struct tally *tally, struct str page, struct str host);
/* Adds now - before: what came in between. Counters that fell (the process began anew) count from
 * 0. */
void tally_add_difference(struct tally *to, const struct tally *now, const struct tally *before);
uint64_t tally_of(const struct tally *tally, struct str cluster);
uint64_t tally_sum(const struct tally *tally);

#endif
