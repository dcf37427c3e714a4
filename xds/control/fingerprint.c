#include "xds/control/fingerprint.h"

#include <sys/stat.h>

#include "config/files.h"
#include "proxy/base/clock.h"
#include "proxy/base/keyed_hash.h"

struct file_print { /* hashed as bytes: no padding between equal types */
    int64_t size, mtime_s, mtime_ns, ctime_s, ctime_ns, young_at_ns;
    uint64_t inode;
};

/* A file that is younger than that may be written once more without another sign of it: within one
 * tick of the file system's clock its times stay, and with as many bytes its size. */
#define SETTLED_NS ((int64_t)(2 * NS_PER_SEC))

static bool is_young(const struct timespec *time, int64_t now_ns)
{
    return now_ns - ((int64_t)time->tv_sec * (int64_t)NS_PER_SEC + time->tv_nsec) < SETTLED_NS;
}

static uint64_t add_file(uint64_t hash, struct str path, int64_t now_ns)
{
    struct stat info;
    struct file_print print = {0};
    if (stat(path.ptr, &info) == 0)
        print = (struct file_print){
            .size = info.st_size,
            .mtime_s = info.st_mtim.tv_sec,
            .mtime_ns = info.st_mtim.tv_nsec,
            .ctime_s = info.st_ctim.tv_sec,
            .ctime_ns = info.st_ctim.tv_nsec,
            .inode = info.st_ino,
            .young_at_ns =
                is_young(&info.st_mtim, now_ns) || is_young(&info.st_ctim, now_ns) ? now_ns : 0,
        };
    return keyed_hash(keyed_hash(hash, path), str_of(&print, sizeof(print)));
}

uint64_t folder_fingerprint(const char *path, int64_t now_ns)
{
    struct arena arena = {0};
    struct diag diag = {0};
    struct str *paths = NULL;
    size_t n = 0;
    uint64_t hash = 0;
    if (files_find(path, &arena, &paths, &n, &diag))
        for (size_t i = 0; i < n; i++)
            hash = add_file(hash, paths[i], now_ns);
    diag_fini(&diag);
    arena_fini(&arena);
    return hash;
}
