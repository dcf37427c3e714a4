/*
 * ledger.h - what clients hold at all workers of a process together: who holds most, and whose turn
 * it is to cut.
 *
 * Memory is the process's, a client's connections are spread over its workers. So near the bound
 * each worker says what its greatest clients hold (ledger_tell), and one that has to do something
 * about it asks (ledger_judge). The client that holds most at all workers together is cut, by
 * whoever has connections of it:
 *
 *   CUT      the asking worker has some: it ends them and says so (ledger_note_cut)
 *   WAIT     only others have, or somebody has not told yet, or was cut just now, and what comes
 *            again of it holds little yet: nobody is to be refused meanwhile
 *   NOBODY   nobody holds LEDGER_BYTES_MIN, or those whose turn it is do nothing, or what is cut
 *            has not been enough for LEDGER_SHORT_NS: new work is to be refused
 *
 *                    others have told, or LEDGER_TOLD_NS are over
 *   short ─► WAIT ─┬──────────────────────────────────────────────► CUT ─► enough, or again
 *                  └── LEDGER_PATIENCE_NS without a cut by anybody ──► NOBODY
 *
 * What was cut counts as free at once for all of them (ledger_owed), until the worker that cut has
 * given it back to the system.
 *
 * Owner: the process. Thread: any, each worker under its number; behind a lock that is taken ten
 * times a second by each worker, and for a walk over n_workers * LEDGER_HOLDINGS entries. Units:
 * bytes, ns of the monotonic clock.
 */
#ifndef ISTHMUS_FLOW_LEDGER_H
#define ISTHMUS_FLOW_LEDGER_H

#include <stddef.h>

#include "proxy/base/addr.h"

#define LEDGER_BYTES_MIN   (UINT64_C(4) << 20)
#define LEDGER_HOLDINGS    8 /* of each worker, the greatest */
#define LEDGER_TOLD_NS     (UINT64_C(250) * 1000000)
#define LEDGER_PATIENCE_NS (UINT64_C(1000) * 1000000)
#define LEDGER_SHORT_NS    (UINT64_C(5000) * 1000000)

/* Who is cut as one: an address that calls, and of those that a peer node's tunnels carry the
 * identity too, which was proven. */
struct client_key {
    struct ip ip;
    uint64_t identity; /* its hash; 0: the address says it all */
};

struct holding {
    struct client_key client;
    uint64_t bytes;
};

enum ledger_say { LEDGER_CUT, LEDGER_WAIT, LEDGER_NOBODY };

struct ledger_verdict {
    enum ledger_say say;
    struct client_key client; /* CUT: whose connections, */
    uint64_t bytes;           /* and how much they are to give back at least */
};

struct ledger;

struct ledger *ledger_new(unsigned n_workers);
void ledger_free(struct ledger *ledger);

bool client_key_eq(const struct client_key *a, const struct client_key *b);

/* What the clients of that worker hold now, at most LEDGER_HOLDINGS of them; takes the place of
 * what it told before. */
void ledger_tell(struct ledger *ledger, unsigned worker, uint64_t now_ns,
                 const struct holding *holdings, size_t n_holdings);
/* It does not look any more: what it told is forgotten. */
void ledger_forget(struct ledger *ledger, unsigned worker);
/* Memory is not short: patience begins anew when it is. */
void ledger_note_enough(struct ledger *ledger);
/* Memory lacks need_bytes. With CUT they count as free from here on; ledger_note_cut() must
 * follow. */
struct ledger_verdict ledger_judge(struct ledger *ledger, unsigned worker, uint64_t now_ns,
                                   uint64_t need_bytes);
/* So much was really cut for what the verdict said. */
void ledger_note_cut(struct ledger *ledger, unsigned worker, uint64_t now_ns,
                     const struct ledger_verdict *verdict, uint64_t bytes);
/* The worker gave back what it had cut. */
void ledger_note_paid(struct ledger *ledger, unsigned worker);
/* What was cut and is not given back yet. */
uint64_t ledger_owed(struct ledger *ledger);

#endif
