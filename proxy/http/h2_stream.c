/*
 * h2_stream.c - one HTTP/2 stream as a struct stream.
 *
 * Happy path: chunks come from nghttp2 and go to the owner at once (or wait in `in` while paused);
 * what the owner writes waits in `out` until nghttp2 has window for it. Failure modes: RST_STREAM
 * of the peer, a fault nghttp2 found in the peer's frames, the death of the connection; each is
 * on_fail once.
 *
 * A reset after the peer's END_STREAM, with NO_ERROR or CANCEL, means that it wants no more of us:
 * what it sent is told first, then -ERR_RESET if the owner was still writing.
 */
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

struct h2_stream *h2_stream_of(struct stream *stream)
{
    ensure(stream->ops == &h2_stream_ops);
    return container_of(stream, struct h2_stream, base.stream);
}

static const struct h2_stream *
peek_stream(const struct stream *stream) /* base is the first member */
{
    ensure(stream->ops == &h2_stream_ops);
    return (const struct h2_stream *)(const void *)stream;
}

/* ------------------------------------------------------------------ towards the peer */

/* nghttp2 asks how much of the body goes into the next DATA frame; send_body() then copies it. */
/* NOLINTNEXTLINE(readability-non-const-parameter): the type is nghttp2's */
static ssize_t body_length(nghttp2_session *session, int32_t stream_id, uint8_t *buf, size_t length,
                           uint32_t *data_flags, nghttp2_data_source *source, void *user_data)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, stream_id);
    struct h2 *h2 = user_data;
    size_t n_bytes;

    (void)buf, (void)source;
    if (!s)
        return NGHTTP2_ERR_DEFERRED; /* closed by its owner: the RST_STREAM is on its way */
    if (stage_is_full(&h2->stage))
        return NGHTTP2_ERR_PAUSE;
    n_bytes = s->out.bytes < length ? s->out.bytes : length;
    if (n_bytes == 0 && s->out_half == H2_HALF_OPEN)
        return NGHTTP2_ERR_DEFERRED;
    if (n_bytes == s->out.bytes && s->out_half != H2_HALF_OPEN) {
        *data_flags |= NGHTTP2_DATA_FLAG_EOF;
        if (s->rest && s->rest->trailers_out.is_set) {
            const struct h2_saved *out = &s->rest->trailers_out;
            nghttp2_nv *nv = h2_nv_make(out->fields, out->len, NULL, 0);
            *data_flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            (void)nghttp2_submit_trailer(session, stream_id, nv, out->len);
            h2_nv_free(nv, NULL);
        }
    }
    h2_stream_note_moved(s);
    if (n_bytes > 0)
        *data_flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    return (ssize_t)n_bytes;
}

nghttp2_data_provider h2_stream_body(void)
{
    return (nghttp2_data_provider){.read_callback = body_length};
}

/* What a stream's queue may hold now: the more all hold together the less, so that many streams of
 * which nothing is read hold little more than a few do. A frame is always let in, so that whoever
 * is read goes on beside them. */
static size_t share_of_queues(const struct h2 *h2)
{
    const size_t left = h2->queued_bytes < H2_QUEUES ? H2_QUEUES - h2->queued_bytes : 0;
    const size_t share = left / H2_QUEUE_PART;

    if (share < H2_FRAME_PAYLOAD)
        return H2_FRAME_PAYLOAD;
    return share < H2_QUEUE_HIGH ? share : H2_QUEUE_HIGH;
}

static bool has_drained(const struct h2_stream *s)
{
    return s->is_stopped && s->out.bytes <= share_of_queues(s->h2) / H2_QUEUE_PART;
}

static void drop_queue(struct h2_stream *s)
{
    if (s->h2)
        s->h2->queued_bytes -= s->out.bytes;
    buf_fini(&s->out);
}

size_t h2_stream_send(struct h2_stream *s, struct stage *stage, size_t len)
{
    size_t left = len;

    while (left > 0) {
        struct iovec front;
        size_t part;

        if (buf_peek(&s->out, &front, 1) == 0)
            break;
        part = front.iov_len < left ? front.iov_len : left;
        stage_add(stage, front.iov_base, part);
        left -= part;
        (void)buf_pop(&s->out, part);
        s->h2->queued_bytes -= part;
    }
    if (has_drained(s)) {
        s->is_stopped = false;
        s->is_drained = true;
        loop_defer(s->loop, &s->deliver);
    }
    return len - left;
}

static void wake_body(struct h2_stream *s)
{
    if (!s->head_is_sent || !h2_stream_is_live(s))
        return;
    (void)nghttp2_session_resume_data(h2_session(s->h2), s->id); /* fails if it was not deferred */
    h2_schedule(s->h2);
}

static bool write_op(struct stream *stream, struct slice bytes)
{
    struct h2_stream *s = h2_stream_of(stream);
    bool was_empty = s->out.bytes == 0;

    if (s->out_half != H2_HALF_OPEN || !h2_stream_is_live(s)) {
        slice_release(bytes);
        return true;
    }
    s->h2->queued_bytes += bytes.len;
    if (!buf_push(&s->out, bytes) || s->out.bytes >= share_of_queues(s->h2))
        s->is_stopped = true;
    if (was_empty)
        wake_body(s);
    return !s->is_stopped;
}

static void shutdown_op(struct stream *stream)
{
    struct h2_stream *s = h2_stream_of(stream);

    if (s->out_half != H2_HALF_OPEN)
        return;
    s->out_half = H2_HALF_ENDING;
    wake_body(s);
}

void h2_stream_set_events(struct stream *stream, const struct h2_stream_events *head_events)
{
    h2_stream_of(stream)->head_events = head_events;
}

struct h2 *h2_of(const struct stream *stream)
{
    return peek_stream(stream)->h2;
}

static size_t queued_op(const struct stream *stream)
{
    return peek_stream(stream)->out.bytes;
}

static size_t kept_op(const struct stream *stream)
{
    return peek_stream(stream)->in.bytes;
}

static void pause_op(struct stream *stream)
{
    h2_stream_of(stream)->is_paused = true;
}

static void resume_op(struct stream *stream)
{
    struct h2_stream *s = h2_stream_of(stream);

    s->is_paused = false;
    h2_stream_note_moved(s);
    if (s->in.bytes > 0 || s->in_half == H2_HALF_ENDING || s->fail_err)
        loop_defer(s->loop, &s->deliver);
}

/* ------------------------------------------------------------------ the end */

static void free_stream(void *ptr)
{
    mem_free(ptr);
}

/* Unlinks from everything; the memory goes at the end of the turn. */
static void detach(struct h2_stream *s)
{
    s->is_closed = true;
    h2_stream_drop_held(s);
    drop_queue(s);
    if (h2_stream_is_live(s))
        h2_note_ended(s);
    h2_stream_drop_rest(s);
    task_cancel(&s->deliver);
    timer_stop(&s->timer);
    list_remove(&s->link);
    if (h2_stream_is_live(s))
        (void)nghttp2_session_set_stream_user_data(h2_session(s->h2), s->id, NULL);
    s->h2 = NULL;
    loop_bury(s->loop, s, free_stream);
}

static void reset(struct h2_stream *s, uint32_t code)
{
    if (!h2_stream_is_live(s))
        return;
    (void)nghttp2_submit_rst_stream(h2_session(s->h2), NGHTTP2_FLAG_NONE, s->id, code);
    h2_schedule(s->h2);
}

/* A client that lost interest cancels. To a client CANCEL of an answer would mean that it did so
 * itself (gRPC's CANCELLED), or to some that the answer is whole. */
static uint32_t breaking_code(const struct h2_stream *s)
{
    return s->h2 && s->h2->is_server ? NGHTTP2_INTERNAL_ERROR : NGHTTP2_CANCEL;
}

static void on_linger_timeout(struct timer *timer)
{
    struct h2_stream *s = container_of(timer, struct h2_stream, timer);

    reset(s, breaking_code(s));
    detach(s);
}

/* The owner is gone, but what it wrote before shutdown (or nothing at all) is to be followed by
 * END_STREAM. */
static bool may_linger(const struct h2_stream *s)
{
    if (!h2_stream_is_live(s) || !s->head_is_sent)
        return false;
    return s->out_half == H2_HALF_ENDING || (s->out_half == H2_HALF_OPEN && s->out.bytes == 0);
}

static void to_lingering(struct h2_stream *s)
{
    shutdown_op(&s->base.stream);
    s->is_lingering = true;
    s->base.stream.events = NULL;
    s->base.http_events = NULL;
    s->head_events = NULL;
    h2_stream_drop_held(s);
    timer_start(s->loop, &s->timer, STREAM_LINGER_MS * NS_PER_MS, on_linger_timeout);
}

static uint32_t reset_code(const struct h2_stream *s, int err)
{
    if (err == 0)
        return s->out_half == H2_HALF_ENDED ? NGHTTP2_NO_ERROR : breaking_code(s);
    if (err == -ERR_H2)
        return NGHTTP2_INTERNAL_ERROR;
    if (err == -ERR_H2_REFUSED || err == -ERR_OVERLOAD)
        return NGHTTP2_REFUSED_STREAM;
    return breaking_code(s);
}

static void close_op(struct stream *stream, int err)
{
    struct h2_stream *s = h2_stream_of(stream);

    if (err == 0 && may_linger(s)) {
        to_lingering(s);
        return;
    }
    reset(s, reset_code(s, err));
    detach(s);
}

void h2_refuse(struct stream *stream)
{
    struct h2_stream *s = h2_stream_of(stream);

    reset(s, NGHTTP2_PROTOCOL_ERROR);
    detach(s);
}

const struct stream_ops h2_stream_ops = {
    .write = write_op,
    .shutdown = shutdown_op,
    .pause = pause_op,
    .resume = resume_op,
    .close = close_op,
    .queued = queued_op,
    .kept = kept_op,
};

void h2_stream_end_sent(struct h2_stream *s)
{
    s->out_half = H2_HALF_ENDED;
    if (s->is_lingering && s->in_half == H2_HALF_OPEN)
        reset(s, NGHTTP2_NO_ERROR);
}

static int err_from_code(const struct h2_stream *s, uint32_t code)
{
    switch (code) {
    case NGHTTP2_REFUSED_STREAM: /* not the truth about one that was answered */
        return s->head_has_come ? -ERR_RESET : -ERR_H2_REFUSED;
    case NGHTTP2_PROTOCOL_ERROR:
    case NGHTTP2_FLOW_CONTROL_ERROR:
    case NGHTTP2_STREAM_CLOSED:
    case NGHTTP2_FRAME_SIZE_ERROR:
    case NGHTTP2_COMPRESSION_ERROR: return -ERR_H2;
    default: return -ERR_RESET;
    }
}

/* What the owner must hear of a stream that ended with that code; 0 for nothing. */
static int closing_err(struct h2_stream *s, uint32_t code)
{
    bool peer_is_done = s->in_half != H2_HALF_OPEN;
    /* INTERNAL_ERROR of a server's stream is our own word, for what cannot be sent. */
    bool is_late = code == NGHTTP2_NO_ERROR || code == NGHTTP2_CANCEL ||
                   (code == NGHTTP2_INTERNAL_ERROR && !s->h2->is_server);

    if (s->fail_err)
        return s->fail_err;
    if (peer_is_done && (s->out_half == H2_HALF_ENDED && code == NGHTTP2_NO_ERROR))
        return 0;
    if (peer_is_done && is_late) {
        s->fail_after_end = true;
        return s->out_half == H2_HALF_OPEN ? -ERR_RESET : 0;
    }
    return err_from_code(s, code);
}

void h2_stream_codec_closed(struct h2_stream *s, uint32_t code)
{
    s->codec_closed = true;
    h2_note_ended(s);
    if (s->is_lingering) {
        detach(s);
        return;
    }
    s->fail_err = closing_err(s, code);
    drop_queue(s);
    s->is_drained = false;
    if (s->fail_err)
        loop_defer(s->loop, &s->deliver);
}

void h2_stream_orphan(struct h2_stream *s, int err)
{
    bool was_live = !s->codec_closed;

    if (was_live)
        (void)nghttp2_session_set_stream_user_data(h2_session(s->h2), s->id, NULL);
    list_remove(&s->link);
    s->codec_closed = true;
    s->h2 = NULL;
    if (s->is_lingering) {
        detach(s);
        return;
    }
    if (!was_live && !s->fail_err)
        return; /* whole: what waits in it can still be read */
    if (was_live)
        s->fail_err = s->id == 0 ? -ERR_H2_REFUSED : err; /* 0: it never left */
    s->fail_after_end = s->fail_after_end && !was_live;
    h2_stream_deliver(s);
}

/* ------------------------------------------------------------------ the body's time */

static void on_body_timeout(struct timer *timer)
{
    struct h2_stream *s = container_of(timer, struct h2_stream, timer);
    uint64_t body_ns, quiet_ns = loop_now_ns(s->loop) - s->moved_ns;

    if (!h2_stream_is_live(s) || s->in_half != H2_HALF_OPEN || s->is_protocol)
        return;
    bool is_awaited = !s->is_paused && (s->head_has_come || s->h2->is_server);
    body_ns = s->h2->options.body_ns;
    if (!is_awaited || quiet_ns < body_ns) {
        timer_start(s->loop, timer, is_awaited ? body_ns - quiet_ns : body_ns, on_body_timeout);
        return;
    }
    const struct h2 *h2 = s->h2;
    const struct h2_http *http = h2->options.http;
    if (h2->is_server && http && http->on_refused)
        http->on_refused(h2->owner, -ERR_BODY_TIMEOUT, STR("the body did not come in time"));
    if (!h2_stream_is_live(s))
        return;
    s->fail_err = h2->is_server ? -ERR_BODY_TIMEOUT : -ERR_IDLE_TIMEOUT;
    reset(s, NGHTTP2_CANCEL);
    h2_stream_deliver(s);
}

void h2_set_protocol(struct stream *stream)
{
    h2_stream_of(stream)->is_protocol = true;
}

bool h2_is_protocol(const struct stream *stream)
{
    return peek_stream(stream)->is_protocol;
}

void h2_set_head(struct stream *stream)
{
    h2_stream_of(stream)->is_head = true;
}

bool h2_is_head(const struct stream *stream)
{
    return peek_stream(stream)->is_head;
}

void h2_stream_fault(struct h2_stream *s)
{
    if (h2_stream_is_live(s) && !s->fail_err)
        s->fail_err = -ERR_H2;
    reset(s, NGHTTP2_PROTOCOL_ERROR);
}

/* ------------------------------------------------------------------ birth */

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
{
    struct h2_stream *s = mem_new(struct h2_stream);
    size_t max = h2->options.stream_window_max;

    s->base.stream.ops = &h2_stream_ops;
    s->base.stream.slabs = loop_slabs(h2->loop);
    if (h2->options.http)
        s->base.http = &h2->options.http->ops;
    s->loop = h2->loop;
    s->h2 = h2;
    s->id = id;
    s->is_paused = true;
    s->is_asked = !h2->is_server && h2->options.http;
    s->opened_ns = loop_now_ns(h2->loop);
    s->deliver.run = h2_stream_run_deliver;
    buf_init(&s->in, s->base.stream.slabs, 0, max);
    buf_init(&s->out, s->base.stream.slabs, H2_QUEUE_LOW, H2_QUEUE_HIGH);
    list_push_back(&h2->streams, &s->link);
    if (h2->options.body_ns) {
        s->moved_ns = s->opened_ns;
        timer_start(s->loop, &s->timer, h2->options.body_ns, on_body_timeout);
    }
    h2->n_open++;
    return s;
}
