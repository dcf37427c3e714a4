/*
 * match.h - the first rule that matches a head; inside the room.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_ROUTE_MATCH_H
#define ISTHMUS_ROUTE_MATCH_H

#include "config/route_table.h"
#include "proxy/route/route.h"

/* An authority without its port; "[::1]" keeps its brackets. */
struct str route_host_of(struct str authority);

/* A field's value, several of one name joined; of HTTP/2's own too, as ":path", which is without
 * its query. False when there is none. */
bool route_find_field(const struct route_question *question, struct str name, struct arena *arena,
                      struct str *out_value);
/* The first parameter of that name in the query, decoded. */
bool route_find_param(const struct route_question *question, struct str wanted, struct arena *arena,
                      struct str *out_value);

/* NULL when none does. Fields that stand there several times are joined in the arena. */
const struct route *route_match(const struct route_table *table,
                                const struct route_question *question, struct arena *arena);

#endif
