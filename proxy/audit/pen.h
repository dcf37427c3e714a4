/*
 * pen.h - how a worker says something in the audit log: it packs a record into its pen and commits
 * it to a bounded ring, never waiting.
 *
 * Requests come by the ten thousand: what ended alike within AUDIT_FOLD_NS on one connection is one
 * record (fold.h), unless wants_each. Records of requests leave a quarter of the ring to others, so
 * that whoever asks much pushes no denial out; what does not fit waits, folded on, until no record
 * can be begun.
 *
 * Owner: the audit log. Thread: its worker's; the writer takes from the ring, and when the workers
 * are gone what waited. Errors: none; what is lost is counted in the ring.
 */
#ifndef ISTHMUS_AUDIT_PEN_H
#define ISTHMUS_AUDIT_PEN_H

#include "proxy/audit/again.h"
#include "proxy/audit/entry.h"
#include "proxy/audit/fold.h"
#include "proxy/base/clock.h"

/* So much later than it ended a request may be told. Who has the pen asks for it in turns. */
#define AUDIT_FOLD_NS NS_PER_SEC
/* Longer requests are not for folding: see witness.h. */
#define AUDIT_LONG_NS NS_PER_SEC

/* The longest record fits beside the quarter that is for others: nothing waits for a room that
 * never comes. */
#define AUDIT_RING_MIN (2 * ENTRY_MAX)

/* So that strangers cannot push out of the log what others did: some 70 MB a day and worker. */
#define AUDIT_STRANGERS_MAX 60
#define AUDIT_STRANGER_NS   NS_PER_SEC

#define AUDIT_NAME_MAX   64 /* of a connection */
#define AUDIT_PREFIX_MAX 44 /* of that, what is before its number */

struct record_ring;

struct audit_pen {
    struct record_ring *ring;
    struct fold *fold; /* NULL: each request is told by itself */
    struct again again;
    struct fold_record *added_to; /* by the request before, until something else is said */
    bool wants_verdicts, wants_ends, wants_each;
    size_t spare_bytes; /* of the ring, for others than requests */
    size_t prefix_len;
    char prefix[AUDIT_PREFIX_MAX];
    uint64_t strangers_until_ns; /* what was let in counts until then */
    struct audit_entry entry;
};

bool audit_wants(const struct audit_pen *pen, enum audit_event event);
/* An empty record of an event that is wanted; NULL when it is not, or pen is NULL. Fill it with
 * entry_*(), in the order of fields.def, then commit. */
struct audit_entry *audit_begin(struct audit_pen *pen, enum audit_event event);
/* The same for what anybody can cause who has proved nothing: AUDIT_STRANGERS_MAX records at once,
 * and one more each AUDIT_STRANGER_NS. What is beyond is held back (NULL), counted, and told by a
 * line "lost" of the cause "flood", one a worker each AUDIT_FLOOD_TOLD_NS at most. */
struct audit_entry *audit_begin_stranger(struct audit_pen *pen, enum audit_event event);
void audit_commit(struct audit_pen *pen);
/* Whether requests are told at all. has_verdict: as for the next. */
bool audit_wants_request(const struct audit_pen *pen, bool has_verdict);
/* A record of requests, without what they differ in. has_verdict: it tells one that no line has. */
struct audit_entry *audit_begin_request(struct audit_pen *pen, bool has_verdict);
/* Of one request on a connection of this number; n, times and longest_ns are filled in here.
 * now_ns: of any clock that never goes back, the same in all calls. */
void audit_commit_request(struct audit_pen *pen, uint64_t connection,
                          const struct audit_request *request, uint64_t now_ns);
/* True: one made of the same facts waits to be told, and this request is in it; nothing is to be
 * packed. */
bool audit_commit_again(struct audit_pen *pen, const struct audit_facts *facts,
                        const struct audit_request *request);
/* What the request that was committed just now was made of. */
void audit_remember(struct audit_pen *pen, const struct audit_facts *facts);
/* Whether a line may tell of several requests. */
bool audit_folds(const struct audit_pen *pen);
/* Tells of the requests that have waited for AUDIT_FOLD_NS, and gives back memory when nothing was
 * said lately; tells of those of a connection; of all. */
void audit_tell_due(struct audit_pen *pen, uint64_t now_ns);
void audit_tell_connection(struct audit_pen *pen, uint64_t connection);
void audit_tell_all(struct audit_pen *pen);

/* The name of a connection of this number: of this process only. Into buf, which is returned. */
struct str audit_name(const struct audit_pen *pen, uint64_t connection, char buf[AUDIT_NAME_MAX]);

/* ---- the audit log's ---- */

/* A pen that is zero but for what it wants; its connections are called by process and worker.
 * ring_bytes: AUDIT_RING_MIN at least. */
void audit_pen_init(struct audit_pen *pen, size_t ring_bytes, const char *process, unsigned worker);
void audit_pen_fini(struct audit_pen *pen);
/* The worker is gone: the whole ring is for what waited. False when it is full, and some is left.
 */
bool audit_pen_empty(struct audit_pen *pen);
/* Counts as lost what waits. */
void audit_pen_lose(struct audit_pen *pen);

#endif
