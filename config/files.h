/*
 * files.h - reads files whole, and finds the files of a folder in a fixed order.
 *
 * Errors go to the diag with the file as the place. Thread: any; these calls block on the disk, so
 * only the control thread and tools make them.
 */
#ifndef ISTHMUS_CONFIG_FILES_H
#define ISTHMUS_CONFIG_FILES_H

#include "proxy/base/diag.h"

#define FILES_MAX       100000 /* of one folder with its subfolders */
#define FILES_DEPTH_MAX 16     /* of subfolders; also what ends a ring of symlinks */

/* The bytes of a regular file, in heap memory that the caller frees with mem_free(). False adds an
 * error: not there, not a file, larger than max, empty, or changed while it was read (half
 * written). */
bool file_read(const char *path, size_t max, struct str *out_bytes, struct diag *diag);

/* Every *.yaml, *.yml and *.json below a folder, hidden ones left out, symlinks followed, sorted by
 * path. The array and its paths (NUL-terminated) are in the arena. False adds an error. */
bool files_find(const char *dir, struct arena *arena, struct str **out_paths, size_t *out_n,
                struct diag *diag);

/* A path as written in a file, relative to the folder of that file; absolute ones stay. In the
 * arena. */
struct str file_beside(struct arena *arena, struct str file, struct str path);

#endif
