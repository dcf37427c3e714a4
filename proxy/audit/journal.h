/*
 * journal.h - the files of an audit log: appending, rotating, going on after a crash.
 *
 * Lines wait in memory until they are written whole. A disk that takes nothing keeps them there, at
 * most JOURNAL_PENDING_MAX bytes; then journal_has_room() says no, and whoever has records keeps or
 * drops them, and counts. So within a process the chain has no holes, whatever the disk does.
 *
 * path is the file that grows. At max_bytes it gets a last line "rotate" and the name
 * path.<number of its first line, 20 digits>, so that names never change again and sort by age; of
 * these the newest keep remain. A path that somebody else moved or removed is made anew at the next
 * journal_reopen(). Files have mode 0600, are only appended to, and are no links.
 *
 * Opening reads the last whole line and goes on from it. What a crash left behind it (a torn line)
 * stays in the file; its length and hash are told in the line "start", so that it can be told from
 * an edit.
 *
 * Owner: the audit writer. Thread: one at a time; every call may block on the disk.
 * Errors: 0, or -ERR_SYSTEM with errno.
 */
#ifndef ISTHMUS_AUDIT_JOURNAL_H
#define ISTHMUS_AUDIT_JOURNAL_H

#include <sys/types.h>

#include "proxy/audit/line.h"

#define JOURNAL_PENDING_MAX ((size_t)256 * 1024)
/* The longest end of a file that is looked at for its last whole line. */
#define JOURNAL_TAIL_MAX (2 * LINE_MAX_BYTES)

struct journal_options {
    struct str path;   /* borrowed, outlives the journal */
    struct str common; /* the same: see chain_seal() */
    uint64_t max_bytes;
    unsigned keep;
    ssize_t (*write)(int fd, const void *bytes, size_t len); /* NULL: write(2); tests pass others */
};

struct journal {
    struct journal_options options;
    int fd;
    dev_t dev;
    ino_t ino;
    uint64_t bytes;     /* in the file, without what waits */
    uint64_t first_seq; /* of the file's first line; 0: none yet */
    struct audit_chain chain;
    struct text pending;
    size_t written; /* of pending */
    bool is_dirty;  /* written since the last sync */
};

struct journal_found { /* what the log was when it was opened */
    const char *after; /* "stop", "crash", "nothing", "unreadable" */
    uint64_t torn_bytes;
    char torn_sha256[DIGEST_HEX_LEN + 1];
};

/* On failure why has a sentence and nothing is open. */
MUST_USE int journal_open(const struct journal_options *options, struct journal *out_journal,
                          struct journal_found *out_found, struct text *why);
/* Closes; what still waits is gone. Lines that were not written: */
size_t journal_close(struct journal *journal);

bool journal_has_room(const struct journal *journal);
void journal_append(struct journal *journal, struct str packed);
/* Writes what waits. On -ERR_SYSTEM the rest waits on. */
MUST_USE int journal_flush(struct journal *journal);
MUST_USE int journal_sync(struct journal *journal);
/* Nothing was appended for a while: gives back the room in which lines waited, if none does. */
void journal_rest(struct journal *journal);

bool journal_wants_rotation(const struct journal *journal);
/* Ends the file with packed (an entry "rotate") and begins the next. */
MUST_USE int journal_rotate(struct journal *journal, struct str packed);
/* Whether path is another file by now, or none. */
bool journal_was_moved(const struct journal *journal);
/* Ends the file that was moved with packed, and opens path anew. */
MUST_USE int journal_reopen(struct journal *journal, struct str packed);

#endif
