/*
 * log_kit.h - small logs for tests: entries, files, and what the verifier says of them.
 */
#ifndef ISTHMUS_TESTS_AUDIT_LOG_KIT_H
#define ISTHMUS_TESTS_AUDIT_LOG_KIT_H

#include "proxy/audit/verify.h"
#include "tests/kit/temp_dir.h"

/* An entry "end" of a connection of this number; borrowed until the next call. */
struct str kit_entry(unsigned number);
/* n lines of a log of their own, from number 1. */
void kit_log(unsigned n, struct text *out);
/* The fault of one file of these bytes, fed in pieces of a prime length; sentence may be NULL. */
enum verify_fault kit_verify(struct str bytes, struct text *sentence, struct verify_totals *totals);
/* The same for a file. */
enum verify_fault kit_verify_file(const char *path, struct text *sentence,
                                  struct verify_totals *totals);
/* Line idx (from 0) of bytes, with its line break. */
struct str kit_line(struct str bytes, unsigned idx);
/* dir/name, into buf of 256 bytes. */
const char *kit_path(const struct temp_dir *dir, const char *name, char *buf);
void kit_read(const char *path, struct text *out);
void kit_append(const char *path, struct str bytes);

#endif
