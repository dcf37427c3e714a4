/*
 * tls_internal.h - what the files of proxy/tls share.
 */
#ifndef ISTHMUS_TLS_TLS_INTERNAL_H
#define ISTHMUS_TLS_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "certs/verify.h"
#include "proxy/tls/tls_identity.h"
#include "proxy/tls/tls_stream.h"

/* What a handshake is checked against. OpenSSL finds it behind the SSL while the handshake lasts.
 */
struct tls_check {
    struct arena arena; /* copies of the expected IDs */
    const struct trust *const *trust;
    struct str *expected;
    size_t n_expected;
    enum tls_role role;
    int err;          /* why it was refused, or 0 */
    char reason[768]; /* as a sentence */
    /* Of the verified peer: */
    char id[SPIFFE_ID_MAX + 1];
    char serial[64];
    int64_t not_after_ns;
};

/* tls_identity.c */
SSL *tls_identity_ssl(struct tls_identity *identity); /* a new one; NULL when OpenSSL fails */
/* tls_check.c */
/* Installs the callbacks that look for a struct tls_check behind the SSL. */
void tls_check_install(SSL_CTX *ctx);
void tls_check_attach(SSL *ssl, struct tls_check *check);
/* Why the last call of OpenSSL failed: the check's reason if it has one, else OpenSSL's. Empties
 * OpenSSL's error queue. */
int tls_check_failure(struct tls_check *check, const char **out_why);

#endif
