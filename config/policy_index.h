/*
 * policy_index.h - which rules of a layer may match a question; inside the room.
 *
 * A rule is filed under the values of one field in each match of one of its clauses: the field
 * whose values fewest other rules ask for. What a question can find it under is looked up: whole
 * values in a hash table; beginnings, endings and address ranges (which are beginnings of bits) in
 * sorted arrays whose entries know the next shorter one. So every rule that matches is found, a few
 * that do not are too, and those are asked in full. Rules that only say what must not be are always
 * candidates.
 *
 * Owner: the arena. Thread: any; immutable.
 */
#ifndef ISTHMUS_CONFIG_POLICY_INDEX_H
#define ISTHMUS_CONFIG_POLICY_INDEX_H

#include "config/policy_match.h"

const struct policy_index *policy_index_new(struct arena *arena, const struct policy_layer *layer);

struct policy_place { /* of a rule in its layer; in order of policies, then rules */
    uint32_t policy_idx, rule_idx;
};

/* Calls for every candidate, in no order, maybe more than once. */
typedef void policy_visitor(void *owner, uint32_t number, const struct policy_place *place);

void policy_index_visit(const struct policy_index *index, const struct policy_asked *asked,
                        policy_visitor *each, void *owner);

/* The place of a rule by its number. */
const struct policy_place *policy_index_place(const struct policy_index *index, uint32_t number);

#endif
