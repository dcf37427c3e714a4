/*
 * file.c - open, read, write, sync, rename, with every failure told and every descriptor closed.
 */
#include "proxy/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/base/pace.h"

#define READ_FIRST_BYTES 4096
#define WRITE_BYTES      (256 << 10) /* at once: the kernel copies them in one piece */

static int fail(int err)
{
    errno = 0;
    return err;
}

static int from_errno(void)
{
    return errno == ENOENT || errno == ENOTDIR ? -ERR_NOT_FOUND : -ERR_SYSTEM;
}

const char *file_why(int err)
{
    const char *words = errno != 0 ? strerrordesc_np(errno) : NULL;
    return words ? words : err_text(err);
}

/* path + suffix as a C string in buf of PATH_MAX bytes. */
static int to_c(struct str path, const char *suffix, char *buf)
{
    if (path.len == 0 || memchr(path.ptr, '\0', path.len) || path.len + strlen(suffix) >= PATH_MAX)
        return fail(-ERR_INVALID);
    (void)snprintf(buf, PATH_MAX, "%.*s%s", STR_ARG(path), suffix);
    return 0;
}

/* The usual growth of a text would leave pieces of a key in freed memory. */
static void grow_wiping(struct text *text, size_t cap)
{
    char *ptr = mem_alloc(cap);

    if (text->len > 0)
        memcpy(ptr, text->ptr, text->len);
    if (text->ptr)
        mem_wipe(text->ptr, text->cap);
    mem_free(text->ptr);
    text->ptr = ptr;
    text->cap = cap;
}

/* Keeps one byte free behind what was read, for the NUL. */
static int read_to_end(int fd, size_t max_bytes, struct text *text)
{
    for (;;) {
        if (text->len + 1 >= text->cap)
            grow_wiping(text, text->cap * 2);
        ssize_t n = read(fd, text->ptr + text->len, text->cap - text->len - 1);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -ERR_SYSTEM;
        if (n == 0)
            return 0;
        text->len += (size_t)n;
        if (text->len > max_bytes)
            return fail(-ERR_LIMIT);
    }
}

static int read_descriptor(int fd, size_t max_bytes, struct text *text)
{
    struct stat stat;

    if (fstat(fd, &stat) < 0)
        return -ERR_SYSTEM;
    if (!S_ISREG(stat.st_mode))
        return fail(-ERR_INVALID);
    if (stat.st_size > 0 && (size_t)stat.st_size > max_bytes)
        return fail(-ERR_LIMIT);
    /* The size is a hint (files under /proc say 0): two more bytes let one read find the end. */
    grow_wiping(text, (size_t)stat.st_size + (stat.st_size > 0 ? 2 : READ_FIRST_BYTES));
    return read_to_end(fd, max_bytes, text);
}

int file_read_all(struct str path, size_t max_bytes, struct text *out_text)
{
    char name[PATH_MAX];
    struct text text = {0};

    if (to_c(path, "", name) < 0)
        return -ERR_INVALID;
    /* Not blocking, so that a named pipe in the place of a file does not hang the caller. */
    int fd = open(name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return from_errno();
    int err = read_descriptor(fd, max_bytes, &text);
    int errnum = errno;

    (void)close(fd);
    if (err < 0) {
        file_wipe(&text);
        errno = errnum;
        return err;
    }
    text.ptr[text.len] = '\0';
    *out_text = text;
    return 0;
}

void file_wipe(struct text *text)
{
    if (text->ptr)
        mem_wipe(text->ptr, text->cap);
    text_fini(text);
}

static int write_all(int fd, struct str content)
{
    size_t done = 0;

    while (done < content.len) {
        const size_t rest = content.len - done;

        (void)pace();
        ssize_t n = write(fd, content.ptr + done, rest < WRITE_BYTES ? rest : WRITE_BYTES);

        if (n < 0 && errno != EINTR)
            return -ERR_SYSTEM;
        if (n > 0)
            done += (size_t)n;
    }
    return fsync(fd) < 0 ? -ERR_SYSTEM : 0;
}

static int write_new(const char *name, struct str content, unsigned mode)
{
    /* A leftover of a crash is replaced and not followed, should it be a link; O_EXCL gives the
     * mode for sure. */
    if (unlink(name) < 0 && errno != ENOENT)
        return -ERR_SYSTEM;
    int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, (mode_t)mode);
    if (fd < 0)
        return from_errno();
    int err = write_all(fd, content);
    int errnum = errno;

    if (close(fd) < 0 && err == 0) {
        err = -ERR_SYSTEM;
        errnum = errno;
    }
    errno = errnum;
    return err;
}

/* The rename is on disk only when the folder is. */
static int sync_parent(char *name)
{
    char *slash = strrchr(name, '/');
    const char *parent = ".";

    if (slash == name)
        parent = "/";
    else if (slash) {
        *slash = '\0';
        parent = name;
    }
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -ERR_SYSTEM;
    int err = fsync(fd) < 0 ? -ERR_SYSTEM : 0;
    int errnum = errno;

    (void)close(fd);
    errno = errnum;
    return err;
}

int file_write_atomic(struct str path, struct str content, unsigned mode)
{
    char name[PATH_MAX];
    char temporary[PATH_MAX];

    if (to_c(path, "", name) < 0 || to_c(path, FILE_TEMPORARY_SUFFIX, temporary) < 0)
        return -ERR_INVALID;
    int err = write_new(temporary, content, mode);

    if (err == 0 && rename(temporary, name) < 0)
        err = -ERR_SYSTEM;
    if (err < 0) {
        int errnum = errno;

        (void)unlink(temporary);
        errno = errnum;
        return err;
    }
    return sync_parent(name);
}

int file_about_dir(struct str path, struct file_dir *out_about)
{
    char name[PATH_MAX];
    struct stat stat_;

    if (to_c(path, "", name) < 0)
        return -ERR_INVALID;
    if (stat(name, &stat_) < 0)
        return -ERR_SYSTEM;
    *out_about = (struct file_dir){stat_.st_uid, stat_.st_mode & 07777};
    if (S_ISDIR(stat_.st_mode))
        return 0;
    errno = ENOTDIR;
    return -ERR_INVALID;
}

int file_make_dir(struct str path, unsigned mode)
{
    char name[PATH_MAX];
    struct file_dir about;

    if (to_c(path, "", name) < 0)
        return -ERR_INVALID;
    if (mkdir(name, (mode_t)mode) == 0)
        return 0;
    return errno == EEXIST ? file_about_dir(path, &about) : from_errno();
}

int file_lock_dir(struct str dir, int *out_fd)
{
    char name[PATH_MAX];

    if (to_c(dir, "/lock", name) < 0)
        return -ERR_INVALID;
    int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return from_errno();
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) {
        *out_fd = fd;
        return 0;
    }
    int err = errno == EWOULDBLOCK ? -ERR_AGAIN : -ERR_SYSTEM;
    int saved = errno;
    (void)close(fd);
    errno = saved;
    return err;
}

int file_remove(struct str path)
{
    char name[PATH_MAX];

    if (to_c(path, "", name) < 0)
        return -ERR_INVALID;
    return unlink(name) < 0 && errno != ENOENT ? -ERR_SYSTEM : 0;
}

int file_each_name(struct str dir, size_t max, void (*each)(void *owner, struct str name),
                   void *owner)
{
    char name[PATH_MAX];
    size_t n_seen = 0;
    const struct dirent *entry;
    int err = 0;

    if (to_c(dir, "", name) < 0)
        return -ERR_INVALID;
    DIR *handle = opendir(name);
    if (!handle)
        return from_errno();
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is our own, which is safe in glibc */
    while (err == 0 && (entry = readdir(handle))) {
        struct str found = str_from(entry->d_name);

        if (str_eq(found, STR(".")) || str_eq(found, STR("..")))
            continue;
        if (n_seen++ == max)
            err = fail(-ERR_LIMIT);
        else
            each(owner, found);
    }
    (void)closedir(handle);
    return err;
}
