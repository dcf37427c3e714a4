/*
 * tls_engine.c - OpenSSL as a byte engine: a BIO over the slice at hand and the stage, one record
 * out, all records in.
 */
#include <openssl/err.h>
#include <string.h>

#include "proxy/tls/tls_internal.h"

#define RECORD_BYTES ((size_t)16384)

/* What comes of the handshake's protocol behind the handshake: new keys, tickets. Each costs us as
 * much as many records do, and new keys an answer, which waits in the stage for a peer that may
 * read nothing. So many are free; others are paid for with data. */
#define UPDATES_AT_ONCE  32u
#define BYTES_PER_UPDATE ((size_t)4096)

/* ------------------------------------------------------------------ the BIO */

static int bio_write(BIO *bio, const char *bytes, int len)
{
    struct tls_stream *s = BIO_get_data(bio);

    BIO_clear_retry_flags(bio);
    if (len > 0)
        stage_add(&s->stage, bytes, (size_t)len);
    return len;
}

static int bio_read(BIO *bio, char *bytes, int len)
{
    struct tls_stream *s = BIO_get_data(bio);
    size_t part = (size_t)len < s->input.len ? (size_t)len : s->input.len;

    BIO_clear_retry_flags(bio);
    if (s->n_updates > UPDATES_AT_ONCE)
        return -1; /* OpenSSL would go through all there is of them before it returns */
    if (part == 0) {
        BIO_set_retry_read(bio);
        return -1;
    }
    memcpy(bytes, s->input.ptr, part);
    s->input.ptr += part;
    s->input.len -= part;
    return (int)part;
}

static long bio_ctrl(BIO *bio, int command, long num, void *ptr)
{
    (void)bio, (void)num, (void)ptr;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;
static CRYPTO_ONCE bio_once = CRYPTO_ONCE_STATIC_INIT;

static void make_bio_method(void)
{
    bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "isthmus stream");
    ensure(bio_method && BIO_meth_set_write(bio_method, bio_write) == 1 &&
           BIO_meth_set_read(bio_method, bio_read) == 1 &&
           BIO_meth_set_ctrl(bio_method, bio_ctrl) == 1);
}

void tls_engine_attach(struct tls_stream *s)
{
    BIO *bio;

    ensure(CRYPTO_THREAD_run_once(&bio_once, make_bio_method) == 1);
    bio = BIO_new(bio_method);
    ensure(bio);
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio);
}

/* ------------------------------------------------------------------ updates */

static void on_message(int is_ours, int version, int type, const void *bytes, size_t len, SSL *ssl,
                       void *stream)
{
    struct tls_stream *s = stream;

    (void)version, (void)bytes, (void)len, (void)ssl;
    if (!is_ours && type == SSL3_RT_HANDSHAKE)
        s->n_updates++;
}

void tls_engine_watch(struct tls_stream *s)
{
    SSL_set_msg_callback(s->ssl, on_message);
    SSL_set_msg_callback_arg(s->ssl, s);
}

static void pay_updates(struct tls_stream *s, size_t n_bytes)
{
    if (s->n_updates == 0)
        return;
    s->paid_bytes += n_bytes;
    const size_t n = s->paid_bytes / BYTES_PER_UPDATE;
    s->paid_bytes %= BYTES_PER_UPDATE;
    s->n_updates -= n < s->n_updates ? (uint32_t)n : s->n_updates;
}

/* ------------------------------------------------------------------ records */

/* SSL_get_error() is right only if nothing was there before. ERR_clear_error() wipes sixteen
 * entries whether there is anything in them or not. */
void tls_forget_errors(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* The next record's plaintext in one piece: in place if the front of the queue is large enough or
 * alone, else gathered. */
static size_t next_record(const struct tls_stream *s, uint8_t *room, const uint8_t **out_bytes)
{
    struct iovec iov[16];
    unsigned n = buf_peek(&s->plain, iov, ARRAY_LEN(iov));
    size_t len = 0;

    if (n == 1 || iov[0].iov_len >= RECORD_BYTES) {
        *out_bytes = iov[0].iov_base;
        return iov[0].iov_len < RECORD_BYTES ? iov[0].iov_len : RECORD_BYTES;
    }
    for (unsigned i = 0; i < n && len < RECORD_BYTES; i++) {
        size_t part = iov[i].iov_len < RECORD_BYTES - len ? iov[i].iov_len : RECORD_BYTES - len;
        memcpy(room + len, iov[i].iov_base, part);
        len += part;
    }
    *out_bytes = room;
    return len;
}

static void count_record(struct tls_stream *s)
{
    if (++s->n_records < TLS_RECORDS_PER_KEY)
        return;
    s->n_records = 0;
    (void)SSL_key_update(s->ssl, SSL_KEY_UPDATE_NOT_REQUESTED); /* goes out with the next record */
}

bool tls_engine_seal(struct tls_stream *s)
{
    uint8_t room[RECORD_BYTES];
    const uint8_t *bytes;
    size_t len = next_record(s, room, &bytes);
    size_t written = 0;

    if (SSL_write_ex(s->ssl, bytes, len, &written) != 1) {
        tls_forget_errors();
        return false;
    }
    if (buf_pop(&s->plain, written))
        s->is_drained = true;
    count_record(s);
    return true;
}

static enum tls_read status_of(struct tls_stream *s, int result)
{
    int code = SSL_get_error(s->ssl, result);

    tls_forget_errors();
    if (s->n_updates > UPDATES_AT_ONCE)
        return TLS_READ_FLOOD;
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
        return TLS_READ_MORE;
    return code == SSL_ERROR_ZERO_RETURN ? TLS_READ_END : TLS_READ_FAIL;
}

/* Decrypts into the slab until it is full or the ciphertext is used up. */
enum tls_read tls_engine_fill(struct tls_stream *s, struct slab *slab, size_t *out_len)
{
    size_t len = 0;
    enum tls_read status = TLS_READ_FULL;

    tls_forget_errors();
    while (len < slab->cap) {
        size_t part;
        int result;

        result = SSL_read_ex(s->ssl, slab->bytes + len, slab->cap - len, &part);
        if (result != 1) {
            status = status_of(s, result);
            break;
        }
        len += part;
        if (s->input.len == 0 && !SSL_has_pending(s->ssl)) {
            status =
                TLS_READ_MORE; /* all that was there; asking OpenSSL costs as much as a record */
            break;
        }
    }
    pay_updates(s, len);
    slab->used = (uint32_t)len;
    *out_len = len;
    return status;
}
