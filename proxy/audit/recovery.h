/*
 * recovery.h - where a log stands whose file was left by a process before.
 *
 * Thread: any; blocking.
 * Errors: -ERR_SYSTEM with errno when a file cannot be read. A file that is no log is no error: the
 * log then begins anew behind it, and says that what is before cannot be read.
 */
#ifndef ISTHMUS_AUDIT_RECOVERY_H
#define ISTHMUS_AUDIT_RECOVERY_H

#include "proxy/audit/journal.h"

#define RECOVERY_SUFFIX_LEN 20 /* digits behind the dot of a rotated file's name */

struct recovery {
    struct audit_chain chain;
    uint64_t first_seq; /* of the file; 0: it is empty, or its beginning is no line */
    bool lacks_line_break;
    struct journal_found told;
};

/* fd is the file at path; an empty one is the continuation of the newest rotated one, if any. */
MUST_USE int recovery_run(int fd, struct str path, struct recovery *out_recovery);

/* path as folder and name. */
void recovery_split(struct str path, struct str *out_dir, struct str *out_base);
/* Whether name is that of a rotated file of base, and its number. */
bool recovery_is_rotated(struct str name, struct str base, struct str *out_number);

#endif
