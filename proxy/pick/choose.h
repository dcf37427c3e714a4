/*
 * choose.h - an algorithm: one member of a level, among those that are fit.
 *
 * Each algorithm is a function of this form in a file of its own, and a line in the table in
 * choose.c. It may rely on the level having a fit member, and answers with a fit one of this level,
 * or NULL, upon which one is drawn by weight. Members tried before by the flow are not filed as fit
 * while it chooses.
 */
#ifndef ISTHMUS_PICK_CHOOSE_H
#define ISTHMUS_PICK_CHOOSE_H

#include "proxy/pick/fleet.h"

struct choice { /* what is being asked */
    const struct question *question;
    struct fleet *fleet;
    uint64_t now_ns;
    uint64_t hash; /* of what the policy hashes on */
    bool is_retry;
    struct rng *rng;
};

typedef struct member *(*chooser)(const struct choice *choice, struct fleet_level *level);

struct member *choose_least_loaded(const struct choice *choice, struct fleet_level *level);
struct member *choose_round_robin(const struct choice *choice, struct fleet_level *level);
struct member *choose_random(const struct choice *choice, struct fleet_level *level);
struct member *choose_ring(const struct choice *choice, struct fleet_level *level);
struct member *choose_maglev(const struct choice *choice, struct fleet_level *level);

/* For algorithms: a fit member by weight; in slow start it gets its share only. Not NULL when there
 * is one. */
struct member *draw_fit(const struct choice *choice, struct fleet_level *level);
/* The same, but another one than this, when there is one; else NULL. */
struct member *draw_other(const struct choice *choice, struct fleet_level *level,
                          const struct member *than);

/* A silent level that this flow should ask; NULL: none. silence.c */
struct fleet_level *silence_to_ask(const struct choice *choice);

/* The member for a question: the whole way down, from levels, whose shares are up to date, to the
 * doubtful. NULL: nobody is left. */
struct member *choose_member(const struct choice *choice);

#endif
