#include "config/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/mem.h"

static struct place place_of_path(const char *path)
{
    return (struct place){.file = str_from(path)};
}

static bool failed(const char *path, const char *what, struct diag *diag)
{
    char buf[128];
    const char *why = strerror_r(errno, buf, sizeof(buf)); /* the GNU form, see _GNU_SOURCE */
    diag_error(diag, place_of_path(path), "%s: %s", what, why);
    return false;
}

static bool refused(const char *path, const char *sentence, struct diag *diag)
{
    diag_error(diag, place_of_path(path), "%s", sentence);
    return false;
}

static bool is_same_state(const struct stat *a, const struct stat *b)
{
    return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
           a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Reads exactly size bytes; fewer means that somebody is writing the file. */
static bool read_all(int fd, char *bytes, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, bytes + done, size - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = EBUSY;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static bool read_open(int fd, const char *path, size_t max, struct str *out_bytes,
                      struct diag *diag)
{
    struct stat before, after;
    if (fstat(fd, &before) != 0)
        return failed(path, "cannot be read", diag);
    if (!S_ISREG(before.st_mode))
        return refused(path, "is not a regular file", diag);
    if (before.st_size == 0)
        return refused(path, "the file is empty, as one that is half written is", diag);
    if ((size_t)before.st_size > max) {
        diag_error(diag, place_of_path(path), "the file is too large (%zu bytes at most)", max);
        return false;
    }
    size_t size = (size_t)before.st_size;
    char *bytes = mem_alloc(size);
    bool ok = read_all(fd, bytes, size);
    if (!ok)
        (void)failed(path, "cannot be read", diag);
    else if (fstat(fd, &after) != 0 || !is_same_state(&before, &after))
        ok = refused(path, "the file changed while it was read", diag);
    if (!ok) {
        mem_free(bytes);
        return false;
    }
    *out_bytes = (struct str){bytes, size};
    return true;
}

bool file_read(const char *path, size_t max, struct str *out_bytes, struct diag *diag)
{
    /* O_NONBLOCK: opening a FIFO that nobody writes must not wait. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return failed(path, "cannot be opened", diag);
    bool ok = read_open(fd, path, max, out_bytes, diag);
    (void)close(fd);
    return ok;
}

struct finder {
    struct arena *arena;
    struct diag *diag;
    struct str *paths;
    size_t len, cap;
};

static bool has_ending(const char *name)
{
    struct str text = str_from(name);
    return str_ends_with(text, STR(".yaml")) || str_ends_with(text, STR(".yml")) ||
           str_ends_with(text, STR(".json"));
}

static bool add_path(struct finder *finder, struct str path)
{
    if (finder->len == FILES_MAX)
        return refused(path.ptr, "the folder has too many files (100000 at most)", finder->diag);
    if (finder->len == finder->cap) {
        finder->cap = finder->cap ? 2 * finder->cap : 64;
        finder->paths = mem_realloc(finder->paths, finder->cap * sizeof(struct str));
    }
    finder->paths[finder->len++] = path;
    return true;
}

struct todo { /* folders that were found and not read yet */
    struct str path;
    unsigned depth;
    struct todo *next;
};

/* DT_REG, DT_DIR, or something else. Most file systems tell with the name; symlinks are followed.
 * False when it cannot be asked. */
static bool kind_of(const struct dirent *entry, const char *path, unsigned char *out_kind)
{
    struct stat info;
    *out_kind = entry->d_type;
    if (entry->d_type != DT_UNKNOWN && entry->d_type != DT_LNK)
        return true;
    if (stat(path, &info) != 0)
        return false;
    *out_kind = IFTODT(info.st_mode);
    return true;
}

static bool on_entry(struct finder *finder, const struct todo *dir, const struct dirent *entry,
                     struct todo **todo)
{
    unsigned char kind;
    if (entry->d_name[0] == '.')
        return true;
    struct str path = arena_printf(finder->arena, "%.*s/%s", STR_ARG(dir->path), entry->d_name);
    if (!kind_of(entry, path.ptr, &kind))
        /* A dangling link that is no manifest is none of our business. */
        return has_ending(entry->d_name) ? failed(path.ptr, "cannot be read", finder->diag) : true;
    if (kind == DT_REG)
        return has_ending(entry->d_name) ? add_path(finder, path) : true;
    if (kind != DT_DIR)
        return true;
    if (dir->depth == FILES_DEPTH_MAX)
        return refused(path.ptr, "folders are nested too deeply (16 levels at most)", finder->diag);
    struct todo *sub = arena_new(finder->arena, struct todo);
    *sub = (struct todo){path, dir->depth + 1, *todo};
    *todo = sub;
    return true;
}

static bool read_dir(struct finder *finder, const struct todo *dir, struct todo **todo)
{
    DIR *stream = opendir(dir->path.ptr);
    if (!stream)
        return failed(dir->path.ptr, "the folder cannot be opened", finder->diag);
    bool ok = true;
    const struct dirent *entry;
    errno = 0;
    /* NOLINTNEXTLINE(concurrency-mt-unsafe): the stream is our own, which is safe in glibc */
    while (ok && (entry = readdir(stream)) != NULL) {
        ok = on_entry(finder, dir, entry, todo);
        errno = 0;
    }
    if (ok && errno != 0)
        ok = failed(dir->path.ptr, "the folder cannot be read", finder->diag);
    (void)closedir(stream);
    return ok;
}

static int compare_paths(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

bool files_find(const char *dir, struct arena *arena, struct str **out_paths, size_t *out_n,
                struct diag *diag)
{
    struct finder finder = {.arena = arena, .diag = diag};
    struct todo *todo = arena_new(arena, struct todo);
    bool ok = true;
    todo->path = arena_str(arena, str_from(dir));
    while (ok && todo) {
        const struct todo *next = todo;
        todo = todo->next;
        ok = read_dir(&finder, next, &todo);
    }
    if (ok) {
        if (finder.len > 1)
            qsort(finder.paths, finder.len, sizeof(struct str), compare_paths);
        *out_paths = arena_new_array(arena, struct str, finder.len);
        if (finder.len > 0)
            memcpy(*out_paths, finder.paths, finder.len * sizeof(struct str));
        *out_n = finder.len;
    }
    mem_free(finder.paths);
    return ok;
}

struct str file_beside(struct arena *arena, struct str file, struct str path)
{
    struct str folder, name;
    if (str_is_empty(path) || path.ptr[0] == '/' || !str_rsplit(file, '/', &folder, &name))
        return arena_str(arena, path);
    return arena_printf(arena, "%.*s/%.*s", STR_ARG(folder), STR_ARG(path));
}
