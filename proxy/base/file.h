/*
 * file.h - whole files: read with a bound, written so that a crash leaves the old one or the new
 * one and never a half.
 *
 * Paths are bytes without a NUL, shorter than PATH_MAX. Blocking calls: start-up and the control
 * thread only.
 *
 * Thread: any; one writer a path at a time.
 * Errors: -ERR_NOT_FOUND, -ERR_LIMIT (longer than allowed), -ERR_INVALID (not a path, not a regular
 * file), -ERR_SYSTEM; errno then says more (0 if it cannot), and file_why() puts it into words.
 */
#ifndef ISTHMUS_BASE_FILE_H
#define ISTHMUS_BASE_FILE_H

#include "proxy/base/text.h"

#define FILE_TEMPORARY_SUFFIX ".tmp"

/* Reads the file into out, which is empty ({0}). No copy of the bytes stays behind elsewhere in
 * memory, so a key may be read with it; give such a text to file_wipe(). On failure out stays
 * empty. */
MUST_USE int file_read_all(struct str path, size_t max_bytes, struct text *out_text);
/* Why the call above that just failed with err did, for a person: "Permission denied". */
const char *file_why(int err) __attribute__((returns_nonnull));
/* Overwrites what a text held and frees it. */
void file_wipe(struct text *text);

/* Writes path.tmp with the mode, syncs it, renames it over path and syncs the folder. On failure
 * path is as it was. */
MUST_USE int file_write_atomic(struct str path, struct str content, unsigned mode);

/* Makes the folder if it is not there (its parent must be). */
MUST_USE int file_make_dir(struct str path, unsigned mode);

struct file_dir {
    unsigned owner; /* a user's id */
    unsigned mode;  /* the permissions, 07777 at most */
};

/* Of a folder, or of the one that a link leads to. */
MUST_USE int file_about_dir(struct str path, struct file_dir *out_about);

/* Takes the folder for this process alone, until the descriptor is closed or the process ends, by
 * whatever means: a lock on the file "lock" in it. -ERR_AGAIN when another process has it. */
MUST_USE int file_lock_dir(struct str dir, int *out_fd);

/* Deletes the file; one that is not there is fine. */
MUST_USE int file_remove(struct str path);

/* Calls each(owner, name) for every entry of a folder, "." and ".." left out, at most max of them.
 * The name is borrowed for the call; each may remove entries. */
MUST_USE int file_each_name(struct str dir, size_t max, void (*each)(void *owner, struct str name),
                            void *owner);

#endif
