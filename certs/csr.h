/*
 * csr.h - certificate signing requests: a new P-256 key and a PKCS#10 request that carries one
 * SPIFFE ID.
 *
 * Source: RFC 2986; SPIFFE X.509-SVID section 2 (one URI SAN). Thread: any.
 */
#ifndef ISTHMUS_CERTS_CSR_H
#define ISTHMUS_CERTS_CSR_H

#include <openssl/evp.h>

#include "certs/spiffe.h"
#include "proxy/base/text.h"

/* Makes a key and the request for id as PEM. The caller frees the key with EVP_PKEY_free(). 0 or
 * -ERR_SYSTEM. */
MUST_USE int csr_make(struct str id, EVP_PKEY **out_key, struct text *out_pem);

/* Reads a request of at most 64 KiB: checks its own signature, a P-256/P-384 or RSA >= 2048 key,
 * exactly one URI SAN with a SPIFFE ID. 0 with the ID in *out_id (NUL-terminated, SPIFFE_ID_MAX + 1
 * bytes) and the key (caller frees), or -ERR_INVALID with *out_why constant. */
MUST_USE int csr_read(struct str pem, char *out_id, EVP_PKEY **out_key, const char **out_why);

/* Frees a key of either, for rooms that do not speak OpenSSL themselves. Accepts NULL. */
void csr_key_free(EVP_PKEY *key);

#endif
