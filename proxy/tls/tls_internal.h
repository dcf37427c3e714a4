/*
 * tls_internal.h - what the files of proxy/tls share.
 *
 * tls_engine.c (OpenSSL's reads and writes) <- tls_stream.c (the stream) <- tls_handshake.c (how it
 * comes to be), with tls_check.c and tls_identity.c beside them. A lower file calls no higher one.
 */
#ifndef ISTHMUS_TLS_TLS_INTERNAL_H
#define ISTHMUS_TLS_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "certs/verify.h"
#include "proxy/base/buf.h"
#include "proxy/tls/stage.h"
#include "proxy/tls/tls_identity.h"
#include "proxy/tls/tls_stream.h"

/* What a peer's standing rests on, so that it can be asked again when trust changes. */
struct tls_proof {
    STACK_OF(X509) * path; /* leaf, intermediates, anchor; NULL: it showed no certificate */
    enum verify_role role;
    uint64_t generation; /* of the trust it was last checked against */
    int64_t proven_ns;   /* wall clock */
};

/* What a handshake is checked against. OpenSSL finds it behind the SSL while the handshake lasts.
 */
struct tls_check {
    struct arena arena; /* copies of the expected IDs */
    const struct trust *const *trust;
    struct verified *verified;
    struct str *expected;
    size_t n_expected;
    enum tls_role role;
    int err;          /* why it was refused, or 0 */
    char reason[768]; /* as a sentence */
    /* Of the peer: verified while err is 0, else what its refused certificate claims. */
    char id[SPIFFE_ID_MAX + 1];
    char serial[64];
    int64_t not_after_ns;
    bool was_known;
    struct tls_proof proof;
};

/* Each direction: OPEN --(end asked for / seen)--> ENDING --(sent / told)--> ENDED. */
enum tls_half { TLS_HALF_OPEN, TLS_HALF_ENDING, TLS_HALF_ENDED };

struct tls_stream {
    struct stream base;
    struct loop *loop;
    struct stream *lower;
    SSL *ssl;
    struct slice input; /* ciphertext that OpenSSL has not taken */
    bool input_is_kept; /* with a reference of ours; else borrowed for the call */
    struct buf plain;   /* waits to be sealed */
    struct stage stage;
    struct task task;
    struct timer linger;
    struct arena arena;
    struct tls_peer peer;
    struct tls_proof proof;
    const struct trust *const *trust; /* that it follows; NULL: none */
    int barred_err; /* the peer does not stand any more: nothing passes until its owner closes it */
    enum tls_half in_half, out_half;
    uint64_t n_records; /* sealed under the current key */
    uint32_t n_updates; /* messages of the handshake's protocol since, less those paid for */
    size_t paid_bytes;  /* towards the next */
    int fail_err;
    bool is_paused;
    bool is_drained; /* on_drain is due */
    bool is_torn;    /* of what was written together some is sealed, and some waits */
    bool has_parted; /* tls_part(): its last words are out */
    bool is_failed;  /* on_fail was told */
    bool is_lingering;
    bool is_closed;
};

enum tls_read { TLS_READ_MORE, TLS_READ_FULL, TLS_READ_END, TLS_READ_FAIL, TLS_READ_FLOOD };

#define TLS_RECORDS_PER_KEY                                                                        \
    (UINT64_C(1) << 22) /* RFC 8446 section 5.5 allows 2^24.5 with AES-GCM */

/* tls_engine.c */
/* Makes OpenSSL read from s->input and write into s->stage. */
void tls_engine_attach(struct tls_stream *s);
/* The handshake is done: what comes of its protocol from here on is counted. */
void tls_engine_watch(struct tls_stream *s);
/* Seals the next record of the plaintext that waits. False when OpenSSL fails. */
bool tls_engine_seal(struct tls_stream *s);
/* Decrypts into the slab until it is full or the ciphertext is used up. */
void tls_forget_errors(void);
enum tls_read tls_engine_fill(struct tls_stream *s, struct slab *slab, size_t *out_len);

/* tls_stream.c */
/* A stream whose handshake is still to be made; takes both. Its maker owns the lower stream's
 * events until tls_stream_start(). */
struct tls_stream *tls_stream_new(struct loop *loop, struct stream *lower, SSL *ssl);
/* The handshake is done: from here on it is a stream, paused. */
void tls_stream_start(struct tls_stream *s);
/* Keeps what OpenSSL has not taken of the bytes that were borrowed for a call. */
void tls_stream_keep_input(struct tls_stream *s);
/* Lets go of what was kept, if OpenSSL has taken all of it. */
void tls_stream_trim_input(struct tls_stream *s);
/* Gives up the lower stream and everything else; the memory goes at the end of the turn. */
void tls_stream_drop(struct tls_stream *s, int lower_err);

/* tls_identity.c */
SSL *tls_identity_ssl(struct tls_identity *identity); /* a new one; NULL when OpenSSL fails */
/* The handshake is done: the connection needs key and certificate no more (TLS 1.3 signs once). */
void tls_identity_forget(SSL *ssl);
bool tls_identity_is_web(const struct tls_identity *identity);
/* tls_check.c */
/* A client's handshake for HTTP/1.1: what it offers, whom it names, and, is_web, whom the
 * certificate must be for. False when the name is none. */
bool tls_check_name_server(SSL *ssl, struct str name, bool is_web);
/* Installs the callbacks that look for a struct tls_check behind the SSL. */
void tls_check_install(SSL_CTX *ctx);
void tls_check_attach(SSL *ssl, struct tls_check *check);
/* Whether what a proof says still holds under another trust; finds another path when its own is
 * gone (ssl has what the peer sent). 0, or -ERR_TRUST_REMOVED or -ERR_TLS_REVOKED. */
int tls_check_again(struct tls_proof *proof, const SSL *ssl, struct str id,
                    const struct trust *trust);
/* Why the last call of OpenSSL failed: the check's reason if it has one, else OpenSSL's. Empties
 * OpenSSL's error queue. */
int tls_check_failure(struct tls_check *check, const char **out_why);

#endif
