/*
 * tls_kit.h - two trust domains, identities in them, and TLS streams between them over TCP or over
 * fake streams; and a tap, which records what a stream tells its owner.
 */
#ifndef ISTHMUS_TESTS_UNIT_PROXY_TLS_TLS_KIT_H
#define ISTHMUS_TESTS_UNIT_PROXY_TLS_TLS_KIT_H

#include "proxy/io/tcp.h"
#include "proxy/tls/tls_stream.h"
#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/test_ca.h"

#define ID_A "spiffe://west.example/ns/shop/sa/cart"
#define ID_B "spiffe://east.example/ns/shop/sa/pay"

struct world {
    struct loop *loop;
    struct test_ca *west, *east;
    struct trust *trust;           /* both domains */
    const struct trust *trust_now; /* what handshakes read: trust, unless a test changes it */
    struct tls_identity *a, *b;    /* ID_A of west, ID_B of east */
    struct verified *verified;     /* NULL, unless a test sets it: its own */
};

void world_open(struct world *world);
void world_close(struct world *world);
struct tls_identity *world_identity(const struct test_ca *ca, const char *id);

#define TAP_KEEPS ((size_t)131072)

/* What a stream told its owner. */
struct tap {
    struct stream *stream; /* NULL: not yet, or closed */
    struct text got;       /* the beginning of it */
    size_t n_got;
    size_t n_wrong; /* bytes that differ from tap_write_pattern()'s */
    size_t n_wrote;
    size_t largest_queue;
    unsigned n_reads, n_drains;
    bool ended;
    int err;
    /* Which event closes the stream from inside: 'd'ata, 'e'nd, 'r' drain, 'f'ail; and with what.
     */
    char closes_at;
    int closes_with;
};

extern const struct stream_events tap_events;

void tap_attach(struct tap *tap, struct stream *stream);
void tap_close(struct tap *tap, int err);
void tap_free(struct tap *tap); /* closes what is open */
/* Writes pieces of a pattern until the stream says stop or total bytes are out in all; true when
 * they are. */
bool tap_write_pattern(struct tap *tap, size_t total, size_t piece);
bool tap_got(struct loop *loop, const struct tap *tap, size_t n_bytes);
bool tap_ended(struct loop *loop, const struct tap *tap);
bool tap_failed(struct loop *loop, const struct tap *tap);

/* One side of a handshake and how it ended. */
struct side {
    struct tls_handshake *handshake;
    struct tap tap;
    bool is_done;
    int err;
    char why[512];
};

struct tls_options world_options(const struct world *world, enum tls_role role);
void side_start(struct side *side, struct world *world, struct stream *lower,
                const struct tls_options *options);
bool side_wait(struct world *world, struct side *side);

/* Two connected TCP streams on loopback. */
void tcp_pair(struct loop *loop, struct stream **out_client, struct stream **out_server);
/* Two established TLS streams over loopback TCP, resumed, with taps. */
void tls_pair(struct world *world, struct side *client, struct side *server);

#endif
