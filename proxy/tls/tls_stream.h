/*
 * tls_stream.h - TLS over any stream, and the handshake that makes it.
 *
 * OpenSSL is a byte engine here: ciphertext in from the lower stream's on_data, ciphertext out into
 * the lower stream's queue, through a BIO of ours that borrows the read buffer. What a turn of the
 * loop writes is encrypted in records of up to 16 KiB and handed down at once at the end of the
 * turn.
 *
 * Happy path: tls_handshake() -> on_done(0, stream). Failure modes: timeout
 * (-ERR_HANDSHAKE_TIMEOUT), no client certificate (-ERR_TLS_NO_CERTIFICATE), verification
 * (-ERR_TLS_SVID, _TRUST_DOMAIN, _CHAIN, _REVOKED, _IDENTITY), trust that
 * changed meanwhile (-ERR_TRUST_REMOVED), ALPN (-ERR_TLS_ALPN), everything else OpenSSL
 * says (-ERR_TLS), the lower stream's own errors. The lower stream is closed in all of them, with
 * the TLS alert sent first.
 *
 * A close_notify is on_end; a TCP FIN without it is -ERR_EOF (truncation is never taken for an
 * end). TLS 1.3: a client's handshake is done before the server judged its certificate; a refusal
 * then comes as on_fail with -ERR_TLS on the first read.
 *
 * Owner:  tls_handshake() takes the lower stream. Thread: the loop's.
 */
#ifndef ISTHMUS_TLS_TLS_STREAM_H
#define ISTHMUS_TLS_TLS_STREAM_H

#include "certs/verify.h"
#include "proxy/io/loop.h"
#include "proxy/io/stream.h"
#include "proxy/tls/tls_identity.h"

enum tls_role { TLS_CLIENT, TLS_SERVER };

struct tls_options {
    enum tls_role role;
    struct tls_identity *identity;    /* borrowed for the call */
    const struct trust *const *trust; /* the owner's current trust, read when the peer is verified;
                                         outlives the handshake */
    /* Whenever trust has changed, the peer is asked about again before anything else comes or goes;
     * one that does not stand fails with the reason. Trust outlives the stream, too. */
    bool follows_trust;
    struct verified *verified;      /* certs/verified.h, outlives it too; NULL: none */
    const struct str *expected;     /* SPIFFE IDs of which the peer must have one; copied */
    size_t n_expected;              /* 0: any verified ID */
    bool peer_certificate_optional; /* a server that also admits clients without one */
    uint64_t timeout_ns;            /* 0 is 10 s */
    /* A client of HTTP/1.1, in place of h2: the server's host name or address. Told to the server
     * when it is a name; with tls_identity_web() the certificate must be for it (RFC 6125). */
    struct str server_name;
};

struct tls_peer {  /* of an established stream; borrowed while it lives */
    struct str id; /* verified SPIFFE ID, "" when it showed no certificate */
    struct str serial;
    int64_t not_after_ns;
    bool was_known;      /* verified before, and remembered: certs/verified.h */
    const char *version; /* "TLSv1.3" */
    const char *cipher;
};

struct tls_claim { /* what a certificate says that was refused: unverified; "" and 0: it showed none
                    */
    struct str id, serial;
    int64_t not_after_ns;
};

/* In which all that rest on trust are looked at, at the latest, when it has changed (sweep.h).
 * Those that follow it carry nothing meanwhile, so it is only when their end is told, and there is
 * no reason to look at the last thousands of them at once. */
#define TRUST_SWEEP_NS (UINT64_C(2) * 1000000000)

struct tls_handshake;

/* on_done is called once, from the loop: err 0 with the TLS stream (paused, no owner yet); or err <
 * 0, stream NULL, why a sentence (borrowed for the call) with what was wrong with whom. */
struct tls_handshake *
tls_handshake(struct loop *loop, struct stream *lower, const struct tls_options *options,
              void (*on_done)(void *owner, int err, struct stream *stream, struct str why),
              void *owner);
void tls_handshake_cancel(struct tls_handshake *handshake);
/* During an on_done with err < 0, of the handshake that failed: who the peer said it was. Borrowed
 * for the call. */
struct tls_claim tls_handshake_claim(const struct tls_handshake *handshake);

/* False for a stream of another kind, or NULL. */
bool tls_is_stream(const struct stream *stream);
const struct tls_peer *tls_peer(const struct stream *stream);
/* Whether the peer would be let in under this trust as well: its root is still there, or another
 * that vouches for it, and nothing in its chain was revoked. Dates are as at the handshake. 0, or
 * -ERR_TRUST_REMOVED or -ERR_TLS_REVOKED; the stream is left as it is, but through one that follows
 * trust nothing passes any more, and whoever asked closes it. No signature is computed unless the
 * root is gone. */
MUST_USE int tls_recheck(struct stream *stream, const struct trust *trust);
/* The same under the present trust, for one that follows it, at the price of a comparison if it was
 * asked before. Any other stands. */
bool tls_stands(struct stream *stream);
/* The last words to a peer that is not to hear what waits to be said: that is dropped, last and a
 * close_notify go in its place, at most TLS_PART_MAX bytes. Only where the peer takes them at once
 * and for what they are: false, and they are not said, if anything waits below to be sent, or if
 * what is dropped is the rest of something. Nothing is written or read any more; the caller closes
 * the stream, with 0 if they were said. */
#define TLS_PART_MAX ((size_t)4096)
MUST_USE bool tls_part(struct stream *stream, struct str last);
/* The stream below, borrowed: for tcp_local() and tcp_remote(). */
const struct stream *tls_lower(const struct stream *stream);
/* Changes the key we write with after the next record. It happens on its own every 4 million
 * records; tests ask. */
void tls_rekey(struct stream *stream);

#endif
