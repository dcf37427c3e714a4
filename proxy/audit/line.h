/*
 * line.h - a line of the audit log: how it is chained when written, how it is read back.
 *
 * A line is one flat JSON object: {"seq":N,"prev":"<64 hex>","time":"...","event":"...",...}. seq
 * counts the lines of a log from 1, over files and processes; prev is the SHA-256 of the whole line
 * before (its bytes without the line break), of no bytes at all for the first.
 *
 * Reading is strict: one object, no nesting, strings, whole numbers, true and false, valid UTF-8
 * and nothing else. So the beginning of a line is never taken for a line.
 *
 * Thread: any.
 */
#ifndef ISTHMUS_AUDIT_LINE_H
#define ISTHMUS_AUDIT_LINE_H

#include "certs/digest.h"
#include "proxy/audit/entry.h"

#define LINE_COMMON_MAX ((size_t)2048)
/* With the number, the hash and the common members around a rendered entry. */
#define LINE_MAX_BYTES (ENTRY_LINE_MAX + LINE_COMMON_MAX + 256)

struct audit_chain { /* where a log stands: its last line */
    uint64_t seq;    /* 0: there is none yet */
    char hash[DIGEST_HEX_LEN + 1];
};

/* The state before the first line. */
void chain_init(struct audit_chain *chain);
/* Appends the line of an entry, with its line break, and moves the chain on. common: members that
 * every line ends with, rendered, each with a comma before it. */
void chain_seal(struct audit_chain *chain, struct str packed, struct str common, struct text *out);
/* Moves the chain to a line (without its line break) that was read. */
void chain_move(struct audit_chain *chain, uint64_t seq, struct str line);

struct audit_line { /* what a reader needs of a line; borrowed from it, escapes as they stand */
    uint64_t seq;
    struct str prev, time, event, after, torn_sha256, lost_cause;
    uint64_t torn_bytes, lost_count, count;
};

/* A line without its line break. False when it is none. */
bool line_read(struct str line, struct audit_line *out_line);

#endif
