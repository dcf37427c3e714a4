/*
 * tls_stream.c - an established TLS stream.
 *
 * Happy path: ciphertext from the lower stream is read by OpenSSL through a BIO that borrows the
 * slice at hand; OpenSSL takes all of it (a partial record waits in its own buffer), so nothing is
 * left over except while the owner pauses. Plaintext goes from OpenSSL straight into a slab that
 * the owner gets. What the owner writes waits in `plain` until the end of the turn, is then sealed
 * in records of up to 16 KiB into the stage and handed down.
 *
 * Failure modes: the lower stream's death, a record that does not decrypt, an end without
 * close_notify, a flood of key updates, a peer that is not trusted any more; each is on_fail once.
 *
 * A polite close after shutdown lingers: the stream goes on without an owner until its queue is
 * out.
 */
#include "proxy/tls/tls_stream.h"

#include <openssl/err.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/io/tcp.h"
#include "proxy/tls/tls_internal.h"

#define PLAIN_HIGH ((size_t)262144)
#define PLAIN_LOW  ((size_t)65536)

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

/* ------------------------------------------------------------------ the end */

static void free_stream(void *ptr)
{
    struct tls_stream *s = ptr;

    SSL_free(s->ssl);
    verify_path_free(s->proof.path);
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

void tls_stream_drop(struct tls_stream *s, int lower_err)
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
        tls_stream_drop(s, err);
        return;
    }
    if (!s->is_closed) {
        s->is_failed = true;
        s->base.events->on_fail(s->base.owner, err);
    }
}

/* ------------------------------------------------------------------ trust that changed */

/* 0 under the present trust, if it follows that, or why the peer does not stand. */
static int ask_again(struct tls_stream *s)
{
    const struct trust *trust = s->trust ? *s->trust : NULL; /* none: its owner is on the way out */

    if (trust && s->proof.generation != trust->generation && !s->barred_err)
        s->barred_err = tls_check_again(&s->proof, s->ssl, s->peer.id, trust);
    return s->barred_err;
}

static bool may_pass(struct tls_stream *s)
{
    const int err = ask_again(s);

    if (err < 0)
        fail(s, err);
    return err == 0;
}

/* ------------------------------------------------------------------ writing */

static void say_end(struct tls_stream *s)
{
    s->out_half = TLS_HALF_ENDED;
    tls_forget_errors();
    (void)SSL_shutdown(s->ssl); /* close_notify; 0 says that the peer's is not here yet */
    tls_forget_errors();
    stage_flush(&s->stage);
    stream_shutdown(s->lower);
}

static void maybe_end(struct tls_stream *s)
{
    if (s->out_half == TLS_HALF_ENDING && s->plain.bytes == 0 && !stage_is_full(&s->stage))
        say_end(s);
    if (s->is_lingering && s->out_half == TLS_HALF_ENDED)
        tls_stream_drop(s, 0);
}

/* False: it failed. */
static bool seal(struct tls_stream *s)
{
    while (s->plain.bytes > 0 && !stage_is_full(&s->stage)) {
        if (!tls_engine_seal(s)) {
            fail(s, -ERR_TLS);
            return false;
        }
        s->is_torn = s->plain.bytes > 0;
    }
    return true;
}

static void tell_drain(struct tls_stream *s)
{
    if (!s->is_drained || s->is_closed || s->fail_err)
        return;
    s->is_drained = false;
    if (s->out_half == TLS_HALF_OPEN)
        s->base.events->on_drain(s->base.owner);
}

/* What the owner writes as it hears of room leaves together with what made the room. */
static void flush(struct tls_stream *s)
{
    if (!s->is_closed && !may_pass(s)) /* one that lingers was closed before */
        return;
    if (!seal(s))
        return;
    tell_drain(s);
    if (!s->lower || !seal(s))
        return;
    stage_flush(&s->stage);
    maybe_end(s);
}

static bool write_op(struct stream *stream, struct slice bytes)
{
    struct tls_stream *s = from_stream(stream);

    if (s->out_half != TLS_HALF_OPEN || s->fail_err) {
        slice_release(bytes);
        return true;
    }
    loop_defer(s->loop, &s->task);
    return buf_push(&s->plain, bytes);
}

static void shutdown_op(struct stream *stream)
{
    struct tls_stream *s = from_stream(stream);

    if (s->out_half != TLS_HALF_OPEN || s->fail_err)
        return;
    s->out_half = TLS_HALF_ENDING;
    loop_defer(s->loop, &s->task);
}

/* ------------------------------------------------------------------ reading */

static bool may_read(const struct tls_stream *s)
{
    return !s->is_closed && !s->is_paused && !s->fail_err && s->in_half == TLS_HALF_OPEN;
}

static void tell_end(struct tls_stream *s)
{
    if (s->is_closed || s->is_paused || s->fail_err || s->in_half != TLS_HALF_ENDING)
        return;
    s->in_half = TLS_HALF_ENDED;
    s->base.events->on_end(s->base.owner);
}

static void read_all(struct tls_stream *s)
{
    enum tls_read status = TLS_READ_FULL;

    if (!may_pass(s))
        return;
    while (status == TLS_READ_FULL && may_read(s)) {
        struct slab *slab = slab_new(s->base.slabs, SLAB_BYTES);
        size_t len;

        status = tls_engine_fill(s, slab, &len);
        if (len > 0)
            s->base.events->on_data(s->base.owner, (struct slice){slab, slab->bytes, len});
        slab_unref(slab);
        if (s->is_closed)
            return;
    }
    if (status == TLS_READ_END)
        s->in_half = TLS_HALF_ENDING;
    else if (status == TLS_READ_FAIL)
        fail(s, -ERR_TLS);
    else if (status == TLS_READ_FLOOD)
        fail(s, -ERR_TLS_FLOOD);
    tell_end(s);
}

static bool has_waiting_input(const struct tls_stream *s)
{
    return s->input.len > 0 || s->in_half == TLS_HALF_ENDING || SSL_pending(s->ssl) > 0;
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

/* ------------------------------------------------------------------ the lower stream's events */

void tls_stream_keep_input(struct tls_stream *s)
{
    if (s->is_closed || s->input.len == 0) {
        s->input = (struct slice){0};
        return;
    }
    slab_ref(s->input.slab);
    s->input_is_kept = true;
}

void tls_stream_trim_input(struct tls_stream *s)
{
    if (s->input.len == 0)
        drop_input(s);
}

static void on_lower_data(void *owner, struct slice bytes)
{
    struct tls_stream *s = owner;

    if (s->is_closed)
        return;
    ensure(!s->input_is_kept);
    s->input = bytes;
    read_all(s);
    if (!s->is_closed && stage_bytes(&s->stage) > 0)
        loop_defer(s->loop, &s->task); /* what OpenSSL answered on its own */
    tls_stream_keep_input(s);
}

static void on_lower_end(void *owner)
{
    struct tls_stream *s = owner;

    if (s->in_half == TLS_HALF_OPEN && !s->is_closed)
        fail(s, -ERR_EOF);
}

static void on_lower_drain(void *owner)
{
    struct tls_stream *s = owner;

    stage_drained(&s->stage);
    flush(s);
}

static void on_lower_fail(void *owner, int err)
{
    fail(owner, err);
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
    tls_stream_drop(container_of(timer, struct tls_stream, linger), -ERR_SHUTDOWN);
}

/* Bytes that were dropped must not look like an end: only what is whole gets a close_notify. */
static bool may_linger(const struct tls_stream *s)
{
    return !s->fail_err && !s->barred_err && (s->out_half != TLS_HALF_OPEN || s->plain.bytes == 0);
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
    if (err == 0 && s->has_parted) {
        tls_stream_drop(s, 0);
        return;
    }
    if (s->fail_err == -ERR_TLS && stage_bytes(&s->stage) == 0) {
        stream_shutdown(s->lower); /* the alert goes out */
        tls_stream_drop(s, 0);
        return;
    }
    tls_stream_drop(s, err ? err : s->fail_err ? s->fail_err : s->barred_err);
}

static bool may_part(struct tls_stream *s)
{
    const bool is_well = !s->fail_err || s->fail_err == s->barred_err;

    return is_well && s->out_half == TLS_HALF_OPEN && !s->is_torn && stage_bytes(&s->stage) == 0 &&
           tcp_has_sent_all(s->lower);
}

bool tls_part(struct stream *stream, struct str last)
{
    struct tls_stream *s = from_stream(stream);
    struct slab *slab;

    ensure(last.len > 0 && last.len <= TLS_PART_MAX);
    if (!may_part(s))
        return false;
    (void)buf_pop(&s->plain, s->plain.bytes);
    slab = slab_new(s->base.slabs, last.len);
    memcpy(slab->bytes, last.ptr, last.len);
    slab->used = (uint32_t)last.len;
    (void)buf_push(&s->plain, (struct slice){slab, slab->bytes, last.len});
    if (!tls_engine_seal(s))
        return false;
    say_end(s);
    if (stage_bytes(&s->stage) > 0 || stream_queued(s->lower) > 0)
        return false;
    s->has_parted = true;
    return true;
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

struct tls_stream *tls_stream_new(struct loop *loop, struct stream *lower, SSL *ssl)
{
    struct tls_stream *s = mem_new(struct tls_stream);

    s->base.ops = &tls_ops;
    s->base.slabs = loop_slabs(loop);
    s->loop = loop;
    s->lower = lower;
    s->ssl = ssl;
    s->task.run = run_task;
    buf_init(&s->plain, s->base.slabs, PLAIN_LOW, PLAIN_HIGH);
    stage_init(&s->stage, s->base.slabs, lower);
    tls_engine_attach(s);
    return s;
}

void tls_stream_start(struct tls_stream *s)
{
    s->is_paused = true;
    tls_engine_watch(s);
    stream_pause(s->lower);
    stream_set_owner(s->lower, &lower_events, s);
}

bool tls_is_stream(const struct stream *stream)
{
    return stream && stream->ops == &tls_ops;
}

const struct tls_peer *tls_peer(const struct stream *stream)
{
    return &peek_stream(stream)->peer;
}

int tls_recheck(struct stream *stream, const struct trust *trust)
{
    struct tls_stream *s = from_stream(stream);

    if (s->barred_err)
        return s->barred_err;
    const int err = tls_check_again(&s->proof, s->ssl, s->peer.id, trust);
    if (s->trust)
        s->barred_err = err;
    return err;
}

bool tls_stands(struct stream *stream)
{
    return ask_again(from_stream(stream)) == 0;
}

const struct stream *tls_lower(const struct stream *stream)
{
    return peek_stream(stream)->lower;
}

void tls_rekey(struct stream *stream)
{
    from_stream(stream)->n_records = TLS_RECORDS_PER_KEY - 1;
}
