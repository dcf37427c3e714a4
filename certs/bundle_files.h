/*
 * bundle_files.h - the roots and the revocation lists of trust domains from files, read again when
 * they change.
 *
 * A file of roots is PEM (certificates), or a bundle of SPIFFE (a JSON Web Key Set); one of
 * revocation lists PEM or DER. A file that is missing
 * or wrong is told with its name and reason, and what was read before stays.
 *
 * Owner: whoever opened them. Thread: the loop's.
 */
#ifndef ISTHMUS_CERTS_BUNDLE_FILES_H
#define ISTHMUS_CERTS_BUNDLE_FILES_H

#include "proxy/base/text.h"
#include "proxy/io/loop.h"

struct bundle_files;

/* Told when it is other than what was told before. pem may be empty: the file says that nobody is
 * trusted. */
typedef void bundle_file_fn(void *owner, struct str trust_domain, struct str pem);

/* Lists as crl_read() takes them; told under the same rule. */
typedef void crl_file_fn(void *owner, struct str trust_domain, struct str crls);

/* on_crls may be NULL when no such file is added. */
struct bundle_files *bundle_files_new(struct loop *loop, bundle_file_fn *on_bundle,
                                      crl_file_fn *on_crls, void *owner);
/* Watches a file; its content comes from a call of bundle_files_read() or with its next change. */
void bundle_files_add(struct bundle_files *files, struct str trust_domain, struct str path);
void bundle_files_add_crls(struct bundle_files *files, struct str trust_domain, struct str path);
/* Reads all of them and tells those that are good; safe in the owner's start. 0, or
 * the error of the first that is not, with file and reason in *why. */
MUST_USE int bundle_files_read(struct bundle_files *files, struct text *why);
void bundle_files_free(struct bundle_files *files);

/* One file's roots as PEM, whichever of the two forms it has. */
MUST_USE int bundle_file_read(struct str path, struct text *out_pem, struct text *why);

#endif
