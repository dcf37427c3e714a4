/*
 * fingerprint.h - has a folder changed since it was read? Cheaper than reading it, for the rescans
 * that come without a notice.
 *
 * Thread: one; blocks on the disk.
 */
#ifndef ISTHMUS_XDS_CONTROL_FINGERPRINT_H
#define ISTHMUS_XDS_CONTROL_FINGERPRINT_H

#include <stdint.h>

/* A hash of the names, sizes, times and inodes of the manifests below a folder. While one of them
 * is so young that a write would show in none of these, it is another at every look. */
uint64_t folder_fingerprint(const char *path, int64_t now_ns);

#endif
