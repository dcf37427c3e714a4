/*
 * audit.h - the audit log of a process: who has records gets a pen, one thread of its own writes.
 *
 * A worker packs a record into its pen (pen.h) and commits it: bytes copied into a bounded ring,
 * never a wait, a lock or a call of the system. The writer gathers the rings every AUDIT_TURN_NS,
 * oldest record first, renders, numbers, chains and appends them, in pieces between which others
 * have the processor. Neither a slow disk nor a stalled
 * control thread holds up a flow: rings that overflow lose records, which are counted by worker and
 * cause, and the count is a line of the log as soon as it can be written.
 *
 * Happy path: audit_open -> audit_pen for each worker -> audit_close once the workers are gone.
 * Failure modes: the file cannot be opened (audit_open says why); the disk is full later (lines
 * wait, then rings overflow, then records are lost and counted; the event log says so once).
 *
 * Owner: the proxy process. Thread: open, close, reopen the control thread's; a pen its worker's.
 */
#ifndef ISTHMUS_AUDIT_AUDIT_H
#define ISTHMUS_AUDIT_AUDIT_H

#include "proxy/audit/journal.h"
#include "proxy/audit/pen.h"

#define AUDIT_TURN_NS       (UINT64_C(20) * NS_PER_MS)
#define AUDIT_CHECKPOINT_NS (UINT64_C(60) * NS_PER_SEC)
/* Some thousand records: seconds of a disk that does not answer. Untouched pages take no memory,
 * nor do those of a worker that has said nothing for a while. */
#define AUDIT_RING_BYTES ((size_t)2 * 1024 * 1024)

/* Lines are written so many bytes at a time, with one line more at most, and the processor is
 * offered to others, workers that share it, once the writer has gone on for so long. */
#define AUDIT_PIECE_BYTES ((size_t)64 * 1024) /* some 90 us */
#define AUDIT_PIECE_NS    UINT64_C(50000)

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
    size_t ring_bytes;      /* AUDIT_RING_MIN at least; 0 is AUDIT_RING_BYTES */
    uint64_t checkpoint_ns; /* 0 is AUDIT_CHECKPOINT_NS */
    ssize_t (*write)(int fd, const void *bytes, size_t len); /* NULL: write(2) */
};

struct audit;

MUST_USE int audit_open(const struct audit_options *options, struct audit **out_audit,
                        struct text *why);
/* Writes what the rings hold and the line "stop"; what the disk does not take any more is lost and
 * counted. The workers are gone. */
void audit_close(struct audit *audit);
/* Ends a file that was renamed and opens its path anew, at once and not within a second. */
void audit_reopen(struct audit *audit);

/* The pen of a worker, below n_workers. */
struct audit_pen *audit_pen(struct audit *audit, unsigned worker);

#endif
