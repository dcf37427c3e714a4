/*
 * crl.h - certificate revocation lists of one trust domain.
 *
 * A list takes certificates back; it never vouches for one. So everything in doubt is read in that
 * one direction: what a list names is refused whatever the list's dates say, and a certificate that
 * no list names, or for whose issuer there is no list, is as good as its chain. A list that is out
 * of date therefore stays in force until a newer set replaces it, and is a matter for an alarm
 * (crl_next_update_ns()), not for a refusal of everybody: an authority that is away must not stop
 * the mesh.
 *
 * Who may take back: whoever signed. A list counts for a certificate when it is from the issuer in
 * the certificate's verified path, by name and by signature, so one trust domain's lists cannot
 * touch another's peers and a stranger's list touches nobody.
 *
 * Refused when read, whole: what is not a list, lists with a critical extension we do not know,
 * indirect, delta and attribute lists, lists that claim to be from a root of the domain (by its
 * name, and by no other key identifier) and are not signed by it.
 *
 * Source: RFC 5280, sections 5 and 6.3; SPIFFE Workload API, section 4.6 (X509SVIDResponse.crl).
 * Thread: reading a list any, once crl_read() has returned. Errors: -ERR_INVALID or -ERR_LIMIT with
 * the reason appended to *why.
 */
#ifndef ISTHMUS_CERTS_CRL_H
#define ISTHMUS_CERTS_CRL_H

#include <openssl/x509.h>

#include "proxy/base/text.h"

#define CRLS_MAX      64                        /* lists of one trust domain */
#define CRL_MAX_BYTES ((size_t)4 * 1024 * 1024) /* all of them together, in DER */

/* Reads lists out of PEM blocks ("X509 CRL"), or out of DER, one list behind the other without
 * padding. At least one. Free with crl_list_free(). */
MUST_USE int crl_read(struct str bytes, STACK_OF(X509_CRL) * *out_crls, struct text *why);
/* Another reference to each of the lists, in a new stack. */
STACK_OF(X509_CRL) * crl_list_ref(const STACK_OF(X509_CRL) * crls);
void crl_list_free(STACK_OF(X509_CRL) * crls);
/* The lists in bytes, as PEM or DER, appended in DER: what comes from several sources may be joined
 * behind one another. */
MUST_USE int crl_to_der(struct str bytes, struct text *out_der, struct text *why);

/* Checks every list whose issuer has the name of one of the roots: one of those must have signed
 * it, unless by its authority key identifier it is of none of their keys: trust domains'
 * authorities may share a name, and the Workload API hands their lists over together. Whether a
 * list takes a certificate back is a matter of name and signature alone. Lists of other issuers
 * (intermediates, which only a peer's chain shows) pass. */
MUST_USE int crl_check_roots(const STACK_OF(X509_CRL) * crls, const STACK_OF(X509) * roots,
                             struct text *why);
/* The first certificate of a verified path (leaf first, anchor last) that a list takes back, or
 * NULL. The anchor itself is withdrawn with its bundle, not here. Borrowed. */
X509 *crl_find_revoked(const STACK_OF(X509_CRL) * crls, const STACK_OF(X509) * path);
size_t crl_count(const STACK_OF(X509_CRL) * crls);
/* When the first issuer's newest list is due to be replaced (wall clock): of two lists of one
 * issuer the newer one counts here. INT64_MAX: they do not say. */
int64_t crl_next_update_ns(const STACK_OF(X509_CRL) * crls);

#endif
