/*
 * recovery.c - the last whole line of a file, found from its end, and what is behind it.
 *
 * Happy path: the file ends with a whole line. A crash may have left the beginning of a line, or
 * after a power failure anything at all, behind it: everything behind the last line that reads as
 * one is torn, and is told by length and hash. A last line without its line break is whole when it
 * reads as one.
 */
#include "proxy/audit/recovery.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/file.h"
#include "proxy/base/mem.h"

#define FILES_SEEN_MAX 100000

void recovery_split(struct str path, struct str *out_dir, struct str *out_base)
{
    if (!str_rsplit(path, '/', out_dir, out_base)) {
        *out_dir = STR(".");
        *out_base = path;
    } else if (str_is_empty(*out_dir)) {
        *out_dir = STR("/");
    }
}

bool recovery_is_rotated(struct str name, struct str base, struct str *out_number)
{
    uint64_t value;
    const struct str number = str_sub(name, base.len + 1, name.len);
    if (!str_starts_with(name, base) || name.len != base.len + 1 + RECOVERY_SUFFIX_LEN ||
        name.ptr[base.len] != '.' || !str_to_u64(number, UINT64_MAX, &value))
        return false;
    *out_number = number;
    return true;
}

/* ---- one file ---- */

static int read_at(int fd, uint64_t from, size_t len, struct text *out)
{
    char piece[4096];
    while (len > 0) {
        const ssize_t n =
            pread(fd, piece, len < sizeof piece ? len : sizeof piece, (off_t)(from + out->len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -ERR_SYSTEM;
        if (n == 0)
            break;
        text_add(out, str_of(piece, (size_t)n));
        len -= (size_t)n;
    }
    return 0;
}

/* The last line of tail that reads as one: true with it and where what is behind it begins. */
static bool find_last(struct str tail, struct audit_line *out_line, struct str *out_text,
                      size_t *out_behind)
{
    size_t end = tail.len;
    while (end > 0) {
        const bool has_break = tail.ptr[end - 1] == '\n';
        const size_t stop = end - has_break;
        const char *before = stop > 0 ? memrchr(tail.ptr, '\n', stop) : NULL;
        const size_t start = before ? (size_t)(before + 1 - tail.ptr) : 0;
        *out_text = str_sub(tail, start, stop - start);
        if (line_read(*out_text, out_line)) {
            *out_behind = end;
            return true;
        }
        end = start;
    }
    return false;
}

static void tell_torn(struct recovery *recovery, struct str torn)
{
    recovery->told.torn_bytes = torn.len;
    if (torn.len > 0)
        digest_sha256_hex(torn, recovery->told.torn_sha256);
}

static int read_end(int fd, uint64_t size, struct recovery *recovery)
{
    struct text text = {0};
    struct audit_line line;
    struct str last;
    size_t behind = 0;
    const size_t len = size < JOURNAL_TAIL_MAX ? (size_t)size : JOURNAL_TAIL_MAX;
    const int err = read_at(fd, size - len, len, &text);
    const struct str tail = text_str(&text);
    if (err == 0 && find_last(tail, &line, &last, &behind)) {
        chain_move(&recovery->chain, line.seq, last);
        recovery->told.after = str_eq(line.event, STR("stop")) ? "stop" : "crash";
        tell_torn(recovery, str_sub(tail, behind, tail.len));
    } else if (err == 0 && len == size) {
        recovery->told.after = "crash"; /* in the first line, of this file at least */
        tell_torn(recovery, tail);
    } else {
        recovery->told.after = "unreadable";
    }
    recovery->lacks_line_break = tail.len > 0 && tail.ptr[tail.len - 1] != '\n';
    text_fini(&text);
    return err;
}

static int read_first_seq(int fd, struct recovery *recovery)
{
    struct text text = {0};
    struct audit_line line;
    struct str first, rest;
    const int err = read_at(fd, 0, LINE_MAX_BYTES, &text);
    if (err == 0 && str_split(text_str(&text), '\n', &first, &rest) && line_read(first, &line))
        recovery->first_seq = line.seq;
    text_fini(&text);
    return err;
}

/* ---- the file before ---- */

struct newest {
    struct str base;
    char number[RECOVERY_SUFFIX_LEN + 1];
};

static void look_for_newest(void *owner, struct str name)
{
    struct newest *newest = owner;
    struct str number;
    if (recovery_is_rotated(name, newest->base, &number) &&
        str_cmp(number, str_from(newest->number)) > 0)
        memcpy(newest->number, number.ptr, RECOVERY_SUFFIX_LEN);
}

/* The chain as a rotated file left it. It ended whole: it was synced before it got its name. */
static int read_newest_rotated(struct str path, struct recovery *recovery)
{
    struct str dir, base;
    struct stat stat;
    recovery_split(path, &dir, &base);
    struct newest newest = {.base = base};
    int err = file_each_name(dir, FILES_SEEN_MAX, look_for_newest, &newest);
    if (err < 0 || newest.number[0] == '\0')
        return err;
    struct text name = {0};
    text_addf(&name, "%.*s.%s", STR_ARG(path), newest.number);
    const int fd = open(name.ptr, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    text_fini(&name);
    if (fd < 0)
        return -ERR_SYSTEM;
    err = fstat(fd, &stat) < 0 ? -ERR_SYSTEM : read_end(fd, (uint64_t)stat.st_size, recovery);
    (void)close(fd);
    /* Whatever is behind its last line is not ours to end. */
    recovery->lacks_line_break = false;
    recovery->told.torn_bytes = 0;
    return err;
}

int recovery_run(int fd, struct str path, struct recovery *out_recovery)
{
    struct stat stat;
    struct recovery recovery = {.told = {.after = "nothing"}};
    chain_init(&recovery.chain);
    if (fstat(fd, &stat) < 0)
        return -ERR_SYSTEM;
    int err = 0;
    /* Also when the file has no whole line: the one before it says where the log stood. */
    if (stat.st_size > 0)
        err = read_end(fd, (uint64_t)stat.st_size, &recovery);
    if (err == 0 && stat.st_size > 0)
        err = read_first_seq(fd, &recovery);
    if (err == 0 && recovery.chain.seq == 0) {
        struct recovery before = recovery;
        err = read_newest_rotated(path, &before);
        recovery.chain = before.chain;
        if (before.chain.seq > 0 && stat.st_size == 0)
            recovery.told.after = before.told.after;
    }
    *out_recovery = recovery;
    return err;
}
