/*
 * h2_stream_in.c - one HTTP/2 stream, towards its owner: what came, in order, as soon as it may be
 * heard, and the windows that are given back for it.
 */
#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

/* A kept slice that is a small part of its slab is copied, so that paused streams pin at most so
 * many times their bytes. */
#define PIN_FACTOR 4

/* NULL: of a tunnel. Also once the connection is dead. */
static const struct h2_http *http_of(const struct h2_stream *s)
{
    const char *ops = (const char *)s->base.http;

    return ops ? (const struct h2_http *)(const void *)(ops - offsetof(struct h2_http, ops)) : NULL;
}

/* ------------------------------------------------------------------ windows */

static void pay_connection(struct h2 *h2, size_t n_bytes)
{
    if (n_bytes > 0 && !h2->is_dead)
        (void)nghttp2_session_consume_connection(h2_session(h2), n_bytes);
}

void h2_window_pay(struct h2 *h2, size_t n_bytes)
{
    pay_connection(h2, n_bytes);
    h2_schedule(h2);
}

/* The owner keeps up: bytes went straight through for a whole window. */
static void maybe_grow_window(struct h2_stream *s)
{
    size_t max = s->h2->options.stream_window_max;

    if (s->taken_bytes < s->window || s->window >= max)
        return;
    s->window = s->window > max / 2 ? max : s->window * 2;
    s->taken_bytes = 0;
    (void)nghttp2_session_set_local_window_size(h2_session(s->h2), NGHTTP2_FLAG_NONE, s->id,
                                                (int32_t)s->window);
}

static void pay_stream(struct h2_stream *s, size_t n_bytes)
{
    if (!h2_stream_is_live(s))
        return;
    (void)nghttp2_session_consume_stream(h2_session(s->h2), s->id, n_bytes);
    if (s->in_half == H2_HALF_OPEN)
        maybe_grow_window(s);
    h2_schedule(s->h2);
}

static void note_held(struct h2 *h2, size_t n_bytes)
{
    h2->held_bytes += n_bytes;
    if (h2->held_bytes <= h2->options.connection_window)
        pay_connection(h2, n_bytes);
    else
        h2->owed_bytes += n_bytes;
}

static void note_not_held(struct h2_stream *s, size_t n_bytes)
{
    struct h2 *h2 = s->h2;
    size_t owed;

    if (!h2)
        return;
    h2->held_bytes -= n_bytes;
    owed = h2->owed_bytes < n_bytes ? h2->owed_bytes : n_bytes;
    h2->owed_bytes -= owed;
    if (owed > 0)
        h2_window_pay(h2, owed);
}

void h2_stream_drop_held(struct h2_stream *s)
{
    note_not_held(s, s->in.bytes);
    buf_fini(&s->in);
}

/* ------------------------------------------------------------------ towards the owner */

static void hold(struct h2_stream *s, struct slice bytes)
{
    bool is_sparse = bytes.len * PIN_FACTOR < bytes.slab->cap;

    s->taken_bytes = 0;
    note_held(s->h2, bytes.len);
    (void)buf_push(&s->in, is_sparse ? slice_copy(s->base.stream.slabs, bytes.ptr, bytes.len)
                                     : slice_ref(bytes));
}

void h2_stream_note_moved(struct h2_stream *s)
{
    if (s->base.http)
        s->moved_ns = loop_now_ns(s->loop);
}

void h2_stream_on_chunk(struct h2_stream *s, struct slice bytes)
{
    if (h2_stream_is_deaf(s)) {
        h2_window_pay(s->h2, bytes.len);
        return;
    }
    h2_stream_note_moved(s);
    if (s->is_paused || s->in.bytes > 0) {
        hold(s, bytes);
        return;
    }
    s->taken_bytes += bytes.len;
    h2_window_pay(s->h2, bytes.len);
    pay_stream(s, bytes.len);
    s->base.stream.events->on_data(s->base.stream.owner, bytes);
}

static void deliver_held(struct h2_stream *s)
{
    while (!h2_stream_is_deaf(s) && !s->is_paused && s->in.bytes > 0) {
        bool drained;
        struct slice bytes = buf_shift(&s->in, &drained);

        note_not_held(s, bytes.len);
        pay_stream(s, bytes.len);
        s->base.stream.events->on_data(s->base.stream.owner, bytes);
        slice_release(bytes);
    }
}

struct h2_rest *h2_stream_rest(struct h2_stream *s)
{
    if (!s->rest)
        s->rest = mem_new(struct h2_rest);
    return s->rest;
}

void h2_stream_drop_rest(struct h2_stream *s)
{
    if (!s->rest)
        return;
    h2_saved_fini(&s->rest->trailers_in);
    h2_saved_fini(&s->rest->trailers_out);
    h2_saved_fini(&s->rest->held);
    mem_free(s->rest);
    s->rest = NULL;
}

static void tell_trailers(struct h2_stream *s)
{
    if (!s->rest || !s->rest->trailers_in.is_set)
        return;
    struct h2_saved *in = &s->rest->trailers_in;
    const struct h2_head trailers = {.fields = in->fields, .len = in->len, .end_stream = true};
    in->is_set = false;
    if (http_of(s))
        http_of(s)->on_trailers(&s->base, &trailers);
    else if (s->head_events && s->head_events->on_trailers)
        s->head_events->on_trailers(s->base.stream.owner, &trailers);
}

static bool may_tell_end(const struct h2_stream *s)
{
    return !h2_stream_is_deaf(s) && !s->is_paused && s->in.bytes == 0 &&
           s->in_half == H2_HALF_ENDING;
}

static void deliver_end(struct h2_stream *s)
{
    if (may_tell_end(s))
        tell_trailers(s);
    if (!may_tell_end(s))
        return;
    s->in_half = H2_HALF_ENDED;
    s->base.stream.events->on_end(s->base.stream.owner);
}

static void deliver_drain(struct h2_stream *s)
{
    if (!s->is_drained || h2_stream_is_deaf(s) || s->fail_err)
        return;
    s->is_drained = false;
    s->base.stream.events->on_drain(s->base.stream.owner);
}

/* What a server does wrong, floods too, makes an answer of it that is none, as in HTTP/1.1. */
static int told_err(const struct h2_stream *s)
{
    return s->is_asked && h2_is_fault(s->fail_err) ? -ERR_HTTP_RESPONSE : s->fail_err;
}

static void deliver_fail(struct h2_stream *s)
{
    if (!s->fail_err || h2_stream_is_deaf(s) || (s->fail_after_end && s->in_half != H2_HALF_ENDED))
        return;
    h2_stream_drop_held(s);
    s->is_failed = true;
    s->base.stream.events->on_fail(s->base.stream.owner, told_err(s));
}

/* All that the owner may hear now; each step looks again, since the owner may close the stream in
 * any of them. */
void h2_stream_deliver(struct h2_stream *s)
{
    if (s->fail_err && !s->fail_after_end) {
        deliver_fail(s);
        return;
    }
    deliver_drain(s);
    deliver_held(s);
    deliver_end(s);
    deliver_fail(s);
}

void h2_stream_run_deliver(struct task *task)
{
    h2_stream_deliver(container_of(task, struct h2_stream, deliver));
}

void h2_stream_on_trailers(struct h2_stream *s, const struct h2_head *trailers)
{
    if (!h2_stream_is_deaf(s) && !h2_stream_rest(s)->trailers_in.is_set)
        h2_saved_put(&s->rest->trailers_in, trailers->fields, trailers->len);
}

void h2_stream_on_end(struct h2_stream *s)
{
    if (s->in_half != H2_HALF_OPEN)
        return;
    s->in_half = H2_HALF_ENDING;
    h2_stream_deliver(s);
}
