/*
 * journal.c - append, rotate, reopen, on a descriptor with O_APPEND.
 *
 * Happy path: open (recovery.c finds where the log stands) -> append -> flush -> rotate -> ...
 * Failure modes: a write that fails or is short leaves the rest waiting; a rename or open that
 * fails leaves the present file in use, and is tried again by whoever asks again.
 */
#include "proxy/audit/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/audit/recovery.h"
#include "proxy/base/err.h"
#include "proxy/base/file.h"

#define FILES_SEEN_MAX 100000

/* ---- names ---- */

static int to_c(struct str path, char *buf)
{
    if (path.len == 0 || path.len >= PATH_MAX || memchr(path.ptr, '\0', path.len)) {
        errno = ENAMETOOLONG;
        return -ERR_SYSTEM;
    }
    memcpy(buf, path.ptr, path.len);
    buf[path.len] = '\0';
    return 0;
}

struct oldest {
    struct str base;
    char name[RECOVERY_SUFFIX_LEN + 1];
    size_t n;
};

static void look_for_oldest(void *owner, struct str name)
{
    struct oldest *oldest = owner;
    struct str number;
    if (!recovery_is_rotated(name, oldest->base, &number))
        return;
    if (oldest->n++ == 0 || str_cmp(number, str_from(oldest->name)) < 0)
        memcpy(oldest->name, number.ptr, RECOVERY_SUFFIX_LEN);
}

/* A file too many is no reason to stop writing: what cannot be removed stays. */
static void remove_oldest(const struct journal *journal)
{
    struct str dir, base;
    for (;;) {
        recovery_split(journal->options.path, &dir, &base);
        struct oldest oldest = {.base = base};
        if (file_each_name(dir, FILES_SEEN_MAX, look_for_oldest, &oldest) < 0 ||
            oldest.n <= journal->options.keep)
            return;
        struct text path = {0};
        text_addf(&path, "%.*s.%s", STR_ARG(journal->options.path), oldest.name);
        const int err = file_remove(text_str(&path));
        text_fini(&path);
        if (err < 0)
            return;
    }
}

/* ---- opening ---- */

static int open_path(struct journal *journal)
{
    char path[PATH_MAX];
    struct stat stat;
    int err = to_c(journal->options.path, path);
    if (err < 0)
        return err;
    /* Not blocking, so that a named pipe in its place is refused and does not hang us. */
    const int fd = open(
        path, O_RDWR | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
    if (fd < 0)
        return -ERR_SYSTEM;
    if (fstat(fd, &stat) < 0 || !S_ISREG(stat.st_mode) || fchmod(fd, 0600) < 0) {
        const int errnum = S_ISREG(stat.st_mode) ? errno : EINVAL;
        (void)close(fd);
        errno = errnum;
        return -ERR_SYSTEM;
    }
    if (journal->fd >= 0)
        (void)close(journal->fd);
    journal->fd = fd;
    journal->dev = stat.st_dev;
    journal->ino = stat.st_ino;
    journal->bytes = (uint64_t)stat.st_size;
    journal->first_seq = 0;
    return 0;
}

int journal_open(const struct journal_options *options, struct journal *out_journal,
                 struct journal_found *out_found, struct text *why)
{
    struct journal journal = {.options = *options, .fd = -1};
    struct recovery found = {0};
    if (!journal.options.write)
        journal.options.write = write;
    int err = open_path(&journal);
    if (err == 0)
        err = recovery_run(journal.fd, options->path, &found);
    if (err < 0) {
        text_addf(why, "audit.file: %.*s cannot be opened: %s", STR_ARG(options->path),
                  errno == EINVAL ? "it is not a regular file" : file_why(err));
        if (journal.fd >= 0)
            (void)close(journal.fd);
        return err;
    }
    journal.chain = found.chain;
    journal.first_seq = found.first_seq;
    if (found.lacks_line_break)
        text_addc(&journal.pending, '\n');
    *out_found = found.told;
    *out_journal = journal;
    return 0;
}

size_t journal_close(struct journal *journal)
{
    size_t n_lines = 0;
    for (size_t i = journal->written; i < journal->pending.len; i++)
        n_lines += journal->pending.ptr[i] == '\n';
    text_fini(&journal->pending);
    if (journal->fd >= 0)
        (void)close(journal->fd);
    journal->fd = -1;
    return n_lines;
}

/* ---- appending ---- */

bool journal_has_room(const struct journal *journal)
{
    return journal->pending.len < JOURNAL_PENDING_MAX;
}

void journal_append(struct journal *journal, struct str packed)
{
    chain_seal(&journal->chain, packed, journal->options.common, &journal->pending);
    if (journal->first_seq == 0)
        journal->first_seq = journal->chain.seq;
}

int journal_flush(struct journal *journal)
{
    struct text *pending = &journal->pending;
    while (journal->written < pending->len) {
        const ssize_t n = journal->options.write(journal->fd, pending->ptr + journal->written,
                                                 pending->len - journal->written);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            errno = n == 0 ? ENOSPC : errno;
            return -ERR_SYSTEM;
        }
        journal->written += (size_t)n;
        journal->bytes += (uint64_t)n;
        journal->is_dirty = true;
    }
    text_clear(pending);
    journal->written = 0;
    return 0;
}

int journal_sync(struct journal *journal)
{
    if (!journal->is_dirty)
        return 0;
    if (fdatasync(journal->fd) < 0)
        return -ERR_SYSTEM;
    journal->is_dirty = false;
    return 0;
}

void journal_rest(struct journal *journal)
{
    if (journal->pending.len == 0)
        text_fini(&journal->pending);
}

/* ---- the next file ---- */

bool journal_wants_rotation(const struct journal *journal)
{
    return journal->bytes >= journal->options.max_bytes;
}

/* A file's last words are on the disk before anything is written into the next one. */
static int end_file(struct journal *journal, struct str packed)
{
    int err = journal_flush(journal);
    if (err < 0)
        return err;
    journal_append(journal, packed);
    err = journal_flush(journal);
    return err < 0 ? err : journal_sync(journal);
}

int journal_rotate(struct journal *journal, struct str packed)
{
    char path[PATH_MAX], to[PATH_MAX];
    struct text name = {0};
    int err = end_file(journal, packed);
    if (err < 0)
        return err;
    text_addf(&name, "%.*s.%020llu", STR_ARG(journal->options.path),
              (unsigned long long)journal->first_seq);
    err = to_c(journal->options.path, path);
    if (err == 0)
        err = to_c(text_str(&name), to);
    text_fini(&name);
    /* Never over a file that is there: that would be the end of a part of the log. */
    if (err == 0 && renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) < 0)
        err = -ERR_SYSTEM;
    if (err == 0)
        err = open_path(journal);
    if (err == 0)
        remove_oldest(journal);
    return err;
}

bool journal_was_moved(const struct journal *journal)
{
    char path[PATH_MAX];
    struct stat stat_;
    if (to_c(journal->options.path, path) < 0)
        return false;
    if (lstat(path, &stat_) < 0)
        return errno == ENOENT;
    return stat_.st_dev != journal->dev || stat_.st_ino != journal->ino;
}

int journal_reopen(struct journal *journal, struct str packed)
{
    const int err = end_file(journal, packed);
    return err < 0 ? err : open_path(journal);
}
