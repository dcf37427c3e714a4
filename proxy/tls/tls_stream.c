/*
 * tls_stream.c - the byte engine.
 *
 * Happy path: ciphertext from the lower stream is read by OpenSSL through a BIO that borrows the
 * slice at hand; OpenSSL takes all of it (a partial record waits in its own buffer), so nothing is
 * left over except while the owner pauses. Plaintext goes from OpenSSL straight into a slab that
 * the owner gets. What the owner writes waits in `plain` until the end of the turn, is then sealed
 * in records of up to 16 KiB into the stage and handed down.
 *
 * Failure modes: a handshake that fails (fail_handshake(), once), the lower stream's death, a
 * record that does not decrypt, an end without close_notify; after the handshake each is on_fail
 * once.
 *
 * A polite close after shutdown lingers: the stream goes on without an owner until its queue is
 * out.
 */
#include "proxy/tls/tls_stream.h"

#include <openssl/err.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/tls/stage.h"
#include "proxy/tls/tls_internal.h"

#define PLAIN_HIGH           ((size_t)262144)
#define PLAIN_LOW            ((size_t)65536)
#define RECORD_BYTES         ((size_t)16384)
#define RECORDS_PER_KEY      (UINT64_C(1) << 22) /* RFC 8446 section 5.5 allows 2^24.5 with AES-GCM */
#define HANDSHAKE_TIMEOUT_NS (10 * NS_PER_SEC)

/* Each direction: OPEN --(end asked for / seen)--> ENDING --(sent / told)--> ENDED. */
enum half { HALF_OPEN, HALF_ENDING, HALF_ENDED };

struct tls_stream {
    struct stream base;
    struct loop *loop;
    struct stream *lower;
    SSL *ssl;
    struct tls_handshake *handshake; /* NULL once it is done */
    struct slice input;              /* ciphertext that OpenSSL has not taken */
    bool input_is_kept;              /* with a reference of ours; else borrowed for the call */
    struct buf plain;                /* waits to be sealed */
    struct stage stage;
    struct task task;
    struct timer linger;
    struct arena arena;
    struct tls_peer peer;
    enum half in_half, out_half;
    uint64_t n_records; /* sealed under the current key */
    int fail_err;
    bool is_paused;
    bool is_drained; /* on_drain is due */
    bool is_failed;  /* on_fail was told */
    bool is_lingering;
    bool is_closed;
};

struct tls_handshake {
    struct tls_stream *stream;
    struct tls_check check;
    struct timer timer;
    void (*on_done)(void *owner, int err, struct stream *stream, struct str why);
    void *owner;
};

static const struct stream_ops tls_ops;

static struct tls_stream *from_stream(struct stream *stream)
{
    ensure(stream->ops == &tls_ops);
    return container_of(stream, struct tls_stream, base);
}

static const struct tls_stream *
peek_stream(const struct stream *stream) /* base is the first member */
{
    ensure(stream->ops == &tls_ops);
    return (const struct tls_stream *)(const void *)stream;
}

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

static BIO *new_bio(struct tls_stream *s)
{
    BIO *bio;

    ensure(CRYPTO_THREAD_run_once(&bio_once, make_bio_method) == 1);
    bio = BIO_new(bio_method);
    ensure(bio);
    BIO_set_data(bio, s);
    BIO_set_init(bio, 1);
    return bio;
}

/* ------------------------------------------------------------------ the end */

static void free_stream(void *ptr)
{
    struct tls_stream *s = ptr;

    SSL_free(s->ssl);
    arena_fini(&s->arena);
    mem_free(s);
}

static void drop_input(struct tls_stream *s)
{
    if (s->input_is_kept)
        slab_unref(s->input.slab);
    s->input_is_kept = false;
    s->input = (struct slice){0};
}

/* Gives up the lower stream and everything else; the memory goes at the end of the turn. */
static void detach(struct tls_stream *s, int lower_err)
{
    struct stream *lower = s->lower;

    s->is_closed = true;
    task_cancel(&s->task);
    timer_stop(&s->linger);
    buf_fini(&s->plain);
    stage_fini(&s->stage);
    drop_input(s);
    s->lower = NULL;
    stream_close(lower, lower_err);
    loop_bury(s->loop, s, free_stream);
}

static void fail(struct tls_stream *s, int err)
{
    if (s->fail_err)
        return;
    s->fail_err = err;
    stage_flush(&s->stage); /* an alert, perhaps */
    if (s->is_lingering) {
        detach(s, err);
        return;
    }
    if (!s->is_closed) {
        s->is_failed = true;
        s->base.events->on_fail(s->base.owner, err);
    }
}

/* ------------------------------------------------------------------ writing */

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
    if (++s->n_records < RECORDS_PER_KEY)
        return;
    s->n_records = 0;
    (void)SSL_key_update(s->ssl, SSL_KEY_UPDATE_NOT_REQUESTED); /* goes out with the next record */
}

static bool seal_record(struct tls_stream *s)
{
    uint8_t room[RECORD_BYTES];
    const uint8_t *bytes;
    size_t len = next_record(s, room, &bytes);
    size_t written = 0;

    ERR_clear_error();
    if (SSL_write_ex(s->ssl, bytes, len, &written) != 1) {
        ERR_clear_error();
        fail(s, -ERR_TLS);
        return false;
    }
    if (buf_pop(&s->plain, written))
        s->is_drained = true;
    count_record(s);
    return true;
}

static void maybe_end(struct tls_stream *s)
{
    if (s->out_half == HALF_ENDING && s->plain.bytes == 0 && !stage_is_full(&s->stage)) {
        s->out_half = HALF_ENDED;
        ERR_clear_error();
        (void)SSL_shutdown(s->ssl); /* close_notify; 0 says that the peer's is not here yet */
        ERR_clear_error();
        stage_flush(&s->stage);
        stream_shutdown(s->lower);
    }
    if (s->is_lingering && s->out_half == HALF_ENDED)
        detach(s, 0);
}

static void flush(struct tls_stream *s)
{
    while (s->plain.bytes > 0 && !stage_is_full(&s->stage)) {
        if (!seal_record(s))
            return;
    }
    stage_flush(&s->stage);
    maybe_end(s);
    if (s->is_drained && !s->is_closed && !s->fail_err) {
        s->is_drained = false;
        if (s->out_half == HALF_OPEN)
            s->base.events->on_drain(s->base.owner);
    }
}

static bool write_op(struct stream *stream, struct slice bytes)
{
    struct tls_stream *s = from_stream(stream);

    if (s->out_half != HALF_OPEN || s->fail_err) {
        slice_release(bytes);
        return true;
    }
    loop_defer(s->loop, &s->task);
    return buf_push(&s->plain, bytes);
}

static void shutdown_op(struct stream *stream)
{
    struct tls_stream *s = from_stream(stream);

    if (s->out_half != HALF_OPEN || s->fail_err)
        return;
    s->out_half = HALF_ENDING;
    loop_defer(s->loop, &s->task);
}

/* ------------------------------------------------------------------ reading */

enum read_status { READ_MORE, READ_FULL, READ_END, READ_FAIL };

static enum read_status status_of(struct tls_stream *s, int result)
{
    int code = SSL_get_error(s->ssl, result);

    ERR_clear_error();
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
        return READ_MORE;
    return code == SSL_ERROR_ZERO_RETURN ? READ_END : READ_FAIL;
}

/* Decrypts into the slab until it is full or the ciphertext is used up. */
static enum read_status fill(struct tls_stream *s, struct slab *slab, size_t *out_len)
{
    size_t len = 0;
    enum read_status status = READ_FULL;

    while (len < slab->cap) {
        size_t part;
        int result;

        ERR_clear_error();
        result = SSL_read_ex(s->ssl, slab->bytes + len, slab->cap - len, &part);
        if (result != 1) {
            status = status_of(s, result);
            break;
        }
        len += part;
    }
    slab->used = (uint32_t)len;
    *out_len = len;
    return status;
}

static bool may_read(const struct tls_stream *s)
{
    return !s->is_closed && !s->is_paused && !s->fail_err && s->in_half == HALF_OPEN;
}

static void tell_end(struct tls_stream *s)
{
    if (s->is_closed || s->is_paused || s->fail_err || s->in_half != HALF_ENDING)
        return;
    s->in_half = HALF_ENDED;
    s->base.events->on_end(s->base.owner);
}

static void read_all(struct tls_stream *s)
{
    enum read_status status = READ_FULL;

    while (status == READ_FULL && may_read(s)) {
        struct slab *slab = slab_new(s->base.slabs, SLAB_BYTES);
        size_t len;

        status = fill(s, slab, &len);
        if (len > 0)
            s->base.events->on_data(s->base.owner, (struct slice){slab, slab->bytes, len});
        slab_unref(slab);
        if (s->is_closed)
            return;
    }
    if (status == READ_END)
        s->in_half = HALF_ENDING;
    else if (status == READ_FAIL)
        fail(s, -ERR_TLS);
    tell_end(s);
}

static bool has_waiting_input(const struct tls_stream *s)
{
    return s->input.len > 0 || s->in_half == HALF_ENDING || SSL_pending(s->ssl) > 0;
}

static void pause_op(struct stream *stream)
{
    struct tls_stream *s = from_stream(stream);

    s->is_paused = true;
    stream_pause(s->lower);
}

static void resume_op(struct stream *stream)
{
    struct tls_stream *s = from_stream(stream);

    s->is_paused = false;
    if (has_waiting_input(s))
        loop_defer(s->loop, &s->task);
    else
        stream_resume(s->lower);
}

/* What waited while the owner paused comes before the lower stream goes on. */
static void read_on(struct tls_stream *s)
{
    read_all(s);
    if (s->is_closed || s->is_paused || s->fail_err)
        return;
    drop_input(s);
    stream_resume(s->lower);
}

static void run_task(struct task *task)
{
    struct tls_stream *s = container_of(task, struct tls_stream, task);

    if (!s->is_lingering && !s->is_paused && has_waiting_input(s))
        read_on(s);
    if (!s->is_closed || s->is_lingering)
        flush(s);
}

/* ------------------------------------------------------------------ handshake */

static void free_memory(void *ptr)
{
    mem_free(ptr);
}

static void end_handshake(struct tls_handshake *h)
{
    timer_stop(&h->timer);
    arena_fini(&h->check.arena);
    tls_check_attach(h->stream->ssl, NULL);
    h->stream->handshake = NULL;
    loop_bury(h->stream->loop, h, free_memory);
}

/* lower_err 0 lets the alert go out before the lower stream ends. */
static void fail_handshake(struct tls_handshake *h, int err, const char *why, int lower_err)
{
    struct tls_stream *s = h->stream;

    stage_flush(&s->stage);
    if (lower_err == 0)
        stream_shutdown(s->lower);
    end_handshake(h);
    detach(s, lower_err);
    h->on_done(h->owner, err, NULL, str_from(why));
}

static void handshake_refused(struct tls_handshake *h)
{
    const char *why;
    int err = tls_check_failure(&h->check, &why);

    fail_handshake(h, err, why, 0);
}

static bool peer_speaks_h2(const SSL *ssl)
{
    const unsigned char *name;
    unsigned len;

    SSL_get0_alpn_selected(ssl, &name, &len);
    return str_eq(str_of(name, len), STR("h2"));
}

static void keep_peer(struct tls_stream *s, const struct tls_check *check)
{
    s->peer.id = arena_str(&s->arena, str_from(check->id));
    s->peer.serial = arena_str(&s->arena, str_from(check->serial));
    s->peer.not_after_ns = check->not_after_ns;
    s->peer.version = SSL_get_version(s->ssl);
    s->peer.cipher = SSL_get_cipher_name(s->ssl);
}

static void handshake_done(struct tls_handshake *h)
{
    struct tls_stream *s = h->stream;

    if (!peer_speaks_h2(s->ssl)) {
        fail_handshake(h, -ERR_TLS_ALPN, "the server did not agree to h2", 0);
        return;
    }
    stage_flush(&s->stage);
    keep_peer(s, &h->check);
    end_handshake(h);
    s->is_paused = true;
    stream_pause(s->lower);
    h->on_done(h->owner, 0, &s->base, (struct str){0});
}

static void step_handshake(struct tls_handshake *h)
{
    struct tls_stream *s = h->stream;
    int result;
    int code;

    ERR_clear_error();
    result = SSL_do_handshake(s->ssl);
    if (result == 1) {
        handshake_done(h);
        return;
    }
    code = SSL_get_error(s->ssl, result);
    if (code == SSL_ERROR_WANT_READ || code == SSL_ERROR_WANT_WRITE)
        stage_flush(&s->stage);
    else
        handshake_refused(h);
}

static void on_handshake_timeout(struct timer *timer)
{
    struct tls_handshake *h = container_of(timer, struct tls_handshake, timer);

    fail_handshake(h, -ERR_HANDSHAKE_TIMEOUT, err_text(-ERR_HANDSHAKE_TIMEOUT),
                   -ERR_HANDSHAKE_TIMEOUT);
}

static void start_handshake(struct task *task)
{
    struct tls_stream *s = container_of(task, struct tls_stream, task);

    s->task.run = run_task;
    stream_resume(s->lower);
    step_handshake(s->handshake);
}

/* ------------------------------------------------------------------ the lower stream's events */

static void on_lower_data(void *owner, struct slice bytes)
{
    struct tls_stream *s = owner;

    if (s->is_closed)
        return;
    ensure(!s->input_is_kept);
    s->input = bytes;
    if (s->handshake)
        step_handshake(s->handshake);
    else
        read_all(s);
    if (!s->is_closed && stage_bytes(&s->stage) > 0)
        loop_defer(s->loop, &s->task); /* what OpenSSL answered on its own */
    if (s->is_closed || s->input.len == 0) {
        s->input = (struct slice){0};
        return;
    }
    slab_ref(s->input.slab);
    s->input_is_kept = true;
}

static void on_lower_end(void *owner)
{
    struct tls_stream *s = owner;

    if (s->handshake)
        fail_handshake(s->handshake, -ERR_EOF, "the peer closed during the TLS handshake", 0);
    else if (s->in_half == HALF_OPEN && !s->is_closed)
        fail(s, -ERR_EOF);
}

static void on_lower_drain(void *owner)
{
    struct tls_stream *s = owner;

    stage_drained(&s->stage);
    if (!s->handshake)
        flush(s);
}

static void on_lower_fail(void *owner, int err)
{
    struct tls_stream *s = owner;

    if (s->handshake)
        fail_handshake(s->handshake, err, err_text(err), err);
    else
        fail(s, err);
}

static const struct stream_events lower_events = {
    .on_data = on_lower_data,
    .on_end = on_lower_end,
    .on_drain = on_lower_drain,
    .on_fail = on_lower_fail,
};

/* ------------------------------------------------------------------ closing */

static void on_linger_timeout(struct timer *timer)
{
    detach(container_of(timer, struct tls_stream, linger), -ERR_SHUTDOWN);
}

/* Bytes that were dropped must not look like an end: only what is whole gets a close_notify. */
static bool may_linger(const struct tls_stream *s)
{
    return !s->fail_err && (s->out_half != HALF_OPEN || s->plain.bytes == 0);
}

static void close_op(struct stream *stream, int err)
{
    struct tls_stream *s = from_stream(stream);

    if (err == 0 && may_linger(s)) {
        shutdown_op(stream);
        s->is_closed = true;
        s->is_lingering = true;
        stream_pause(s->lower);
        loop_defer(s->loop, &s->task);
        timer_start(s->loop, &s->linger, STREAM_LINGER_MS * NS_PER_MS, on_linger_timeout);
        return;
    }
    if (s->fail_err == -ERR_TLS && stage_bytes(&s->stage) == 0) {
        stream_shutdown(s->lower); /* the alert goes out */
        detach(s, 0);
        return;
    }
    detach(s, err ? err : s->fail_err);
}

static size_t queued_op(const struct stream *stream)
{
    const struct tls_stream *s = peek_stream(stream);

    return s->plain.bytes + stage_bytes(&s->stage);
}

static const struct stream_ops tls_ops = {
    .write = write_op,
    .shutdown = shutdown_op,
    .pause = pause_op,
    .resume = resume_op,
    .close = close_op,
    .queued = queued_op,
};

/* ------------------------------------------------------------------ birth */

static struct tls_stream *new_stream(struct loop *loop, struct stream *lower, SSL *ssl)
{
    struct tls_stream *s = mem_new(struct tls_stream);
    BIO *bio;

    s->base.ops = &tls_ops;
    s->base.slabs = loop_slabs(loop);
    s->loop = loop;
    s->lower = lower;
    s->ssl = ssl;
    s->task.run = start_handshake;
    buf_init(&s->plain, s->base.slabs, PLAIN_LOW, PLAIN_HIGH);
    stage_init(&s->stage, s->base.slabs, lower);
    bio = new_bio(s);
    SSL_set_bio(ssl, bio, bio);
    stream_set_owner(lower, &lower_events, s);
    return s;
}

static void set_role(SSL *ssl, const struct tls_options *options)
{
    int mode = SSL_VERIFY_PEER;

    if (options->role == TLS_CLIENT)
        SSL_set_connect_state(ssl);
    else
        SSL_set_accept_state(ssl);
    if (!options->peer_certificate_optional)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_set_verify(ssl, mode, NULL);
}

static void fill_check(struct tls_check *check, const struct tls_options *options)
{
    check->role = options->role;
    check->trust = options->trust;
    check->n_expected = options->n_expected;
    if (options->n_expected == 0)
        return;
    check->expected = arena_new_array(&check->arena, struct str, options->n_expected);
    for (size_t i = 0; i < options->n_expected; i++)
        check->expected[i] = arena_str(&check->arena, options->expected[i]);
}

struct tls_handshake *
tls_handshake(struct loop *loop, struct stream *lower, const struct tls_options *options,
              void (*on_done)(void *owner, int err, struct stream *stream, struct str why),
              void *owner)
{
    struct tls_handshake *h = mem_new(struct tls_handshake);
    SSL *ssl = tls_identity_ssl(options->identity);

    ensure(ssl); /* fails for want of memory only */
    h->stream = new_stream(loop, lower, ssl);
    h->stream->handshake = h;
    h->on_done = on_done;
    h->owner = owner;
    set_role(ssl, options);
    fill_check(&h->check, options);
    tls_check_attach(ssl, &h->check);
    timer_start(loop, &h->timer, options->timeout_ns ? options->timeout_ns : HANDSHAKE_TIMEOUT_NS,
                on_handshake_timeout);
    loop_defer(loop, &h->stream->task);
    return h;
}

void tls_handshake_cancel(struct tls_handshake *h)
{
    struct tls_stream *s = h->stream;

    end_handshake(h);
    detach(s, -ERR_SHUTDOWN);
}

const struct tls_peer *tls_peer(const struct stream *stream)
{
    return &peek_stream(stream)->peer;
}

const struct stream *tls_lower(const struct stream *stream)
{
    return peek_stream(stream)->lower;
}

void tls_rekey(struct stream *stream)
{
    from_stream(stream)->n_records = RECORDS_PER_KEY - 1;
}
