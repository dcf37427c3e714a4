#include "tests/kit/temp_dir.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define OPEN_FILES 8

struct temp_dir temp_dir_new(void)
{
    struct temp_dir dir = {"/tmp/isthmus-test-XXXXXX"};

    ensure(mkdtemp(dir.path));
    return dir;
}

struct str temp_dir_path(const struct temp_dir *dir)
{
    return str_from(dir->path);
}

static int remove_one(const char *path, const struct stat *stat, int kind, struct FTW *where)
{
    (void)stat;
    (void)kind;
    (void)where;
    return remove(path);
}

void temp_dir_remove(const struct temp_dir *dir)
{
    ensure(nftw(dir->path, remove_one, OPEN_FILES, FTW_DEPTH | FTW_PHYS) == 0);
}
