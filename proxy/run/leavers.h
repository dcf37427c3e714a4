/*
 * leavers.h - what workloads leave behind in a worker when they leave the node: their series, which
 * are not shown for ever, and HTTP connections that were made on their behalf, which serve nobody
 * else who gets the address.
 *
 * Both can only go when the flows that hold them are cut, that is when all flows were looked at
 * since: leavers_note() -> walk_recheck() -> leavers_forget(). Each costs a look at every series,
 * so of many that left at once some are forgotten in each turn.
 *
 * Owner: the worker. Thread: its loop's.
 */
#ifndef ISTHMUS_RUN_LEAVERS_H
#define ISTHMUS_RUN_LEAVERS_H

#include "config/snapshot.h"
#include "proxy/base/list.h"
#include "proxy/io/chore.h"

struct http_pool;
struct traffic;

struct leavers {
    struct chore chore;
    struct traffic *traffic;
    struct http_pool *http_pool;
    struct list next;    /* left while flows were looked at: not before the look behind that */
    struct list present; /* before the present look, or the one to come if there is none */
    struct list over;    /* their flows are gone: to be forgotten */
};

void leavers_init(struct leavers *leavers, struct loop *loop, struct traffic *traffic,
                  struct http_pool *http_pool);
/* Those that are on the node in before, and are not any more. is_looking: flows are being looked at
 * now, and not all of that look will see that they left. */
void leavers_note(struct leavers *leavers, const struct snapshot *before,
                  const struct snapshot *now, bool is_looking);
/* A look at all flows has come to its end. */
void leavers_forget(struct leavers *leavers);
void leavers_fini(struct leavers *leavers);

#endif
