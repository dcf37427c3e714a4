/*
 * verify.h - proves a log whole, or names the first line that is not.
 *
 * Bytes go in, in any pieces, file after file; memory stays bounded. Checked are: every line is one
 * (line.h), numbers follow each other, every line carries the hash of the line before, what a crash
 * tore is what the line "start" behind it says, the end is whole, anchors are met.
 *
 * What it proves: nothing between the first and the last line was changed, removed, moved, added or
 * repeated, unless everything behind that place was written anew. What only an anchor proves (the
 * number and hash of a line, noted elsewhere when it was written): that the rest was not written
 * anew, and that the end was not cut off.
 *
 * Owner: the caller. Thread: one at a time.
 */
#ifndef ISTHMUS_AUDIT_VERIFY_H
#define ISTHMUS_AUDIT_VERIFY_H

#include "proxy/audit/journal.h"

#define VERIFY_ANCHORS_MAX 64

enum verify_fault {
    VERIFY_WHOLE,
    VERIFY_NOT_A_LINE,   /* edited or torn, and no restart says so */
    VERIFY_LINK,         /* two neighbours do not fit: one was changed or is of another log */
    VERIFY_REMOVED,      /* numbers are missing, and come nowhere behind */
    VERIFY_REORDERED,    /* numbers are missing, and come later */
    VERIFY_DUPLICATED,   /* a number comes again */
    VERIFY_CUT_OFF,      /* the last line has no end */
    VERIFY_ANCHOR,       /* an anchored line is another one */
    VERIFY_ANCHOR_BEHIND /* the log ends before an anchor */
};

struct verify_anchor {
    uint64_t seq;
    char hash[DIGEST_HEX_LEN + 1];
    bool is_met;
};

struct verify_totals {
    uint64_t n_lines, n_files;
    uint64_t by_event[AUDIT_EVENTS], n_other_events;
    uint64_t n_requests; /* that lines "requests" count */
    uint64_t n_lost;     /* records that lines "lost" count */
    uint64_t n_crashes;  /* starts behind a crash: what was in memory then is not in the log */
    uint64_t n_torn;     /* of these, with a torn line */
    uint64_t first_seq;
    char first_time[40], last_time[40];
    bool ends_with_stop, ends_with_rotate;
};

struct verify {
    struct audit_chain chain;
    struct verify_totals totals;
    struct verify_anchor anchors[VERIFY_ANCHORS_MAX];
    size_t n_anchors;
    /* where we are */
    struct text file, line, suspect;
    uint64_t line_no, last_line_no;
    struct text last_file;
    uint64_t suspect_line_no;
    bool is_too_long;
    /* the first fault */
    enum verify_fault fault;
    struct text sentence;
    uint64_t awaited_seq; /* of VERIFY_REMOVED: seen later, it becomes VERIFY_REORDERED */
};

/* "SEQ:HASH". False when it is none, or there are too many. */
bool verify_add_anchor(struct verify *verify, struct str text);
/* The bytes that follow are of this file. */
void verify_file(struct verify *verify, struct str name);
void verify_feed(struct verify *verify, struct str bytes);
/* The end of everything: 0 when whole, else -ERR_INVALID. verify->sentence then names the line. */
MUST_USE int verify_end(struct verify *verify);
void verify_fini(struct verify *verify);

#endif
