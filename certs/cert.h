/*
 * cert.h - what this room reads out of a certificate and writes as PEM, by bytes with explicit
 * lengths.
 *
 * Shared by the other files of certs; other rooms have no use for it. Nothing here leaves an entry
 * in OpenSSL's error queue.
 *
 * Thread: any. Units: wall clock in ns since 1970, cut to the range of int64_t (the years 1677 to
 * 2262). Errors: 0 or -ERR_INVALID with *out_why constant.
 */
#ifndef ISTHMUS_CERTS_CERT_H
#define ISTHMUS_CERTS_CERT_H

#include <openssl/x509v3.h>

#include "proxy/base/text.h"

#define CERT_PEM_MAX_BYTES ((size_t)1024 * 1024)
#define CERT_DER_MAX_BYTES ((size_t)1024 * 1024)

/* The one certificate that the bytes are, or NULL. */
X509 *cert_from_der(const unsigned char *der, long len);

/* The certificates of a PEM text in order: 1 to max, and no other PEM block. Free with
 * cert_list_free(). */
MUST_USE int cert_list_from_pem(struct str pem, int max, STACK_OF(X509) * *out_certs,
                                const char **out_why);
/* The same from DER certificates one behind the other, as the Workload API carries them. */
MUST_USE int cert_list_from_der(struct str der, int max, STACK_OF(X509) * *out_certs,
                                const char **out_why);
void cert_list_free(STACK_OF(X509) * certs);
void cert_add_pem(X509 *cert, struct text *out);

/* Gives every block of a PEM text to take(), in order; all must have this name and no headers, and
 * nothing may look like a block without being one. take() returns NULL, or why the text is no good
 * (constant), which ends it. No block at all is fine here. */
typedef const char *cert_take_block(void *owner, const unsigned char *der, long len);
MUST_USE int cert_each_block(struct str pem, const char *name, cert_take_block *take, void *owner,
                             const char **out_why);

/* The only PEM block of a text, which must have this name and no headers: its DER, free with
 * OPENSSL_clear_free(). */
MUST_USE int cert_block_from_pem(struct str pem, const char *name, unsigned char **out_der,
                                 long *out_len, const char **out_why);
/* Takes what a memory BIO holds into text and frees the BIO, which overwrites it. */
void cert_take_bio(BIO *bio, struct text *out);

int64_t cert_time_ns(const ASN1_TIME *time);
/* Upper-case hex, NUL-terminated, cut to cap. */
void cert_serial_hex(const X509 *cert, char *out_hex, size_t cap);

/* The subject alternative names of a certificate or of a request. */
struct cert_san {
    GENERAL_NAMES *names; /* NULL: there is no such extension */
    size_t n_uris;
    bool is_critical;
};

/* Reads the extension: it may be there once, and must be whole DER without bytes behind it. */
MUST_USE int cert_san_read(const STACK_OF(X509_EXTENSION) * extensions, struct cert_san *out_san,
                           const char **out_why);
/* Visits the URIs; start with *idx 0. The bytes are borrowed from san and may hold anything. */
bool cert_san_next_uri(const struct cert_san *san, int *idx, struct str *out_uri);
void cert_san_fini(struct cert_san *san);
/* A critical extension with this one URI. NULL when OpenSSL fails. */
X509_EXTENSION *cert_san_make(struct str uri);

/* The rules for a certificate that signs (X.509-SVID sections 3.2 and 4): a CA with keyCertSign; if
 * it has a SPIFFE ID, then one, well-formed, without a path. */
MUST_USE int cert_check_signer(X509 *cert, const char **out_why);

#endif
