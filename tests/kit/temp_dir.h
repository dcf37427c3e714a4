/*
 * temp_dir.h - a folder of a test's own under /tmp, and the end of it.
 */
#ifndef ISTHMUS_TESTS_KIT_TEMP_DIR_H
#define ISTHMUS_TESTS_KIT_TEMP_DIR_H

#include "proxy/base/str.h"

struct temp_dir {
    char path[64];
};

/* A new empty folder, mode 0700. Aborts if it cannot be made. */
struct temp_dir temp_dir_new(void);
struct str temp_dir_path(const struct temp_dir *dir);
/* Removes the folder with all that is in it. */
void temp_dir_remove(const struct temp_dir *dir);

#endif
