/*
 * check.h - what `isthmus check` does: reads configuration files and manifests as the processes
 * would, and says all that is wrong with them.
 *
 * Thread: any; reads the disk.
 */
#ifndef ISTHMUS_CONFIG_CHECK_H
#define ISTHMUS_CONFIG_CHECK_H

#include "proxy/base/text.h"

/* Reads files, and folders with all their manifests. Each document is judged by its kind: a
 * configuration of ours or a Kubernetes object; all objects together are one set and are checked
 * against each other. Appends a line for every error and warning ("file:line:column: error: ...")
 * and a summary ("12 objects in 3 files: no errors"). True without errors; warnings are allowed. */
bool check_files(const char *const *paths, size_t n_paths, struct text *out);

#endif
