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

/* How far a window that was born wide may grow; all of them together, by much of what the
 * connection's allows. */
static size_t room_to_grow(const struct h2_stream *s)
{
    const struct h2 *h2 = s->h2;
    const size_t own = h2->options.stream_window_max - h2->options.stream_window - s->grown_bytes;
    const size_t all = h2->options.connection_window / 4 * 3;
    const size_t left = h2->grown_bytes < all ? all - h2->grown_bytes : 0;

    return own < left ? own : left;
}

/* The owner keeps up: bytes went straight through for a whole window. */
static void maybe_grow_window(struct h2_stream *s)
{
    const size_t window = s->h2->window + s->grown_bytes, room = room_to_grow(s);
    const size_t more = window < room ? window : room;

    if (s->taken_bytes < window || more == 0 || s->h2->is_asking)
        return;
    s->grown_bytes += more;
    s->h2->grown_bytes += more;
    s->taken_bytes = 0;
    (void)nghttp2_session_set_local_window_size(h2_session(s->h2), NGHTTP2_FLAG_NONE, s->id,
                                                (int32_t)(window + more));
}

/* What a paused stream holds it may hold whole, as long as few do. When they hold much together,
 * the peer may send little ahead, on streams that are open too: else the connection's window is
 * used up by those that are not read, and those that are stand still with them. */
static uint32_t wanted_window(const struct h2 *h2)
{
    const struct h2_options *o = &h2->options;
    const bool was_narrow = h2->window < o->stream_window;
    const size_t much = o->connection_window / 8 * (was_narrow ? 1 : 3);

    if (h2->held_bytes < much || o->stream_window < H2_NARROW_WINDOW)
        return o->stream_window;
    return H2_NARROW_WINDOW;
}

static void maybe_ask_window(struct h2 *h2)
{
    const uint32_t wanted = wanted_window(h2);
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, wanted};

    if (wanted == h2->window || h2->is_asking || h2->is_dead)
        return;
    ensure(nghttp2_submit_settings(h2_session(h2), NGHTTP2_FLAG_NONE, &entry, 1) == 0);
    h2->asked_window = wanted;
    h2->is_asking = true;
    h2_schedule(h2);
}

void h2_window_told(struct h2 *h2)
{
    h2->window = h2->asked_window;
    h2->is_asking = false;
    maybe_ask_window(h2);
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
    maybe_ask_window(h2);
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
    maybe_ask_window(h2);
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
    if (!s->is_asked || !h2_is_fault(s->fail_err))
        return s->fail_err;
    return s->fail_err == -ERR_LIMIT ? -ERR_HTTP_RESPONSE_LIMIT : -ERR_HTTP_RESPONSE;
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
