/*
 * audit.h - the audit log of a process: who has records gets a pen, one thread of its own writes.
 *
 * A worker packs a record into its pen and commits it: bytes copied into a bounded ring, never a
 * wait, a lock or a call of the system. The writer gathers the rings every AUDIT_TURN_NS, oldest
 * record first, renders, numbers, chains and appends them. Neither a slow disk nor a stalled
 * control thread holds up a flow: rings that overflow lose records, which are counted by worker and
 * cause, and the count is a line of the log as soon as it can be written.
 *
 * Requests come by the ten thousand: what ended alike within AUDIT_FOLD_NS on one connection is one
 * record (fold.h), unless wants_each. Records of requests leave a quarter of the ring to others, so
 * that whoever asks much pushes no denial out; what does not fit waits, folded on, until no record
 * can be begun.
 *
 * Happy path: audit_open -> audit_pen for each worker -> audit_close once the workers are gone.
 * Failure modes: the file cannot be opened (audit_open says why); the disk is full later (lines
 * wait, then rings overflow, then records are lost and counted; the event log says so once).
 *
 * Owner: the proxy process. Thread: open, close, reopen the control thread's; a pen its worker's.
 */
#ifndef ISTHMUS_AUDIT_AUDIT_H
#define ISTHMUS_AUDIT_AUDIT_H

#include "proxy/audit/fold.h"
#include "proxy/audit/journal.h"
#include "proxy/base/clock.h"

#define AUDIT_TURN_NS       (UINT64_C(20) * NS_PER_MS)
#define AUDIT_CHECKPOINT_NS (UINT64_C(60) * NS_PER_SEC)
/* Some thousand records: seconds of a disk that does not answer. Untouched pages take no memory. */
#define AUDIT_RING_BYTES ((size_t)2 * 1024 * 1024)

/* So much later than it ended a request may be told. Who has the pen asks for it in turns. */
#define AUDIT_FOLD_NS NS_PER_SEC
/* Longer requests are not for folding: see witness.h. */
#define AUDIT_LONG_NS NS_PER_SEC

/* So that strangers cannot push out of the log what others did: some 70 MB a day and worker. */
#define AUDIT_STRANGERS_MAX 60
#define AUDIT_STRANGER_NS   NS_PER_SEC
#define AUDIT_FLOOD_TOLD_NS (UINT64_C(10) * NS_PER_SEC)

enum audit_sync { AUDIT_SYNC_NEVER, AUDIT_SYNC_SECOND, AUDIT_SYNC_ALWAYS };

struct audit_options { /* copied but for the strings, which outlive the audit */
    struct str path, node, version;
    uint64_t max_bytes;
    unsigned keep;
    enum audit_sync sync;
    bool wants_verdicts, wants_ends;
    bool wants_each; /* a line for every request */
    unsigned n_workers;
    size_t ring_bytes;                                       /* 0 is AUDIT_RING_BYTES */
    uint64_t checkpoint_ns;                                  /* 0 is AUDIT_CHECKPOINT_NS */
    ssize_t (*write)(int fd, const void *bytes, size_t len); /* NULL: write(2) */
};

struct audit;

MUST_USE int audit_open(const struct audit_options *options, struct audit **out_audit,
                        struct text *why);
/* Writes what the rings hold and the line "stop". The workers are gone. */
void audit_close(struct audit *audit);
/* Ends a file that was renamed and opens its path anew, at once and not within a second. */
void audit_reopen(struct audit *audit);

struct audit_pen;

/* The pen of a worker, below n_workers. */
struct audit_pen *audit_pen(struct audit *audit, unsigned worker);
bool audit_wants(const struct audit_pen *pen, enum audit_event event);
/* An empty record of an event that is wanted; NULL when it is not, or pen is NULL. Fill it with
 * entry_*(), in the order of fields.def, then commit. */
struct audit_entry *audit_begin(struct audit_pen *pen, enum audit_event event);
/* The same for what anybody can cause who has proved nothing: AUDIT_STRANGERS_MAX records at once,
 * and one more each AUDIT_STRANGER_NS. What is beyond is held back (NULL), counted, and told by a
 * line "lost" of the cause "flood", one a worker each AUDIT_FLOOD_TOLD_NS at most. */
struct audit_entry *audit_begin_stranger(struct audit_pen *pen, enum audit_event event);
void audit_commit(struct audit_pen *pen);
/* A record of requests, without what they differ in. is_judged: a policy was asked. */
struct audit_entry *audit_begin_request(struct audit_pen *pen, bool is_judged);
/* Of one request on a connection of this number; n, times and longest_ns are filled in here.
 * now_ns: of any clock that never goes back, the same in all calls. */
void audit_commit_request(struct audit_pen *pen, uint64_t connection,
                          const struct audit_request *request, uint64_t now_ns);
/* Whether a line may tell of several requests. */
bool audit_folds(const struct audit_pen *pen);
/* Tells of the requests that have waited for AUDIT_FOLD_NS; of those of a connection; of all. */
void audit_tell_due(struct audit_pen *pen, uint64_t now_ns);
void audit_tell_connection(struct audit_pen *pen, uint64_t connection);
void audit_tell_all(struct audit_pen *pen);

#define AUDIT_NAME_MAX 64
/* The name of a connection of this number: of this process only. Into buf, which is returned. */
struct str audit_name(const struct audit_pen *pen, uint64_t connection, char buf[AUDIT_NAME_MAX]);

#endif
