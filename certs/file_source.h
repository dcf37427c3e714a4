/*
 * file_source.h - SVIDs from files that somebody else keeps fresh (cert-manager, a secret of
 * Kubernetes, spiffe-helper), as a cert_source that gives by itself.
 *
 * Two forms: one pair of files, certificate chain and key, PEM; or a folder with a folder for each
 * identity, in it tls.crt and tls.key as Kubernetes names them. The identity is what the
 * certificate says; the folders' names do not matter.
 *
 * A pair counts only when the key fits the certificate, so a half-made change is never used: it is
 * read again a moment later. Changes are seen by notice, at the latest after
 * FILE_SOURCE_RESCAN_NS (inside of the folders always so). What cannot be read is told with file
 * and reason, and what was read before stays until it expires.
 *
 * Owner: proxy/run. Thread: the loop's; blocking reads of small files.
 */
#ifndef ISTHMUS_CERTS_FILE_SOURCE_H
#define ISTHMUS_CERTS_FILE_SOURCE_H

#include "certs/rotation.h"

#define FILE_SOURCE_RESCAN_NS      UINT64_C(10000000000)
#define FILE_SOURCE_IDENTITIES_MAX 4096

struct file_source;

struct file_source *file_source_pair(struct loop *loop, struct str certificate, struct str key);
struct file_source *file_source_folder(struct loop *loop, struct str folder);
struct cert_source *file_source_source(struct file_source *source);
/* Reads now, as a notice would have it. */
void file_source_read(struct file_source *source);
/* After the rotation. */
void file_source_free(struct file_source *source);

#endif
