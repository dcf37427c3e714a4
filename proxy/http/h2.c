/*
 * h2.c - the connection: birth, reading, flushing, timers, death.
 *
 * Happy path: lower on_data -> nghttp2 -> owners; at the end of the turn what they produced is
 * pulled out of nghttp2 and handed down in slabs, until the lower stream is full. Failure modes:
 * the peer breaks the protocol, floods, goes silent, the lower stream ends or fails; each ends in
 * die(), once.
 */
#include "proxy/http/h2.h"

#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

#define STILL_MS             2000
#define STILL_LATE_NS        (4 * NS_PER_MS)
#define SETTINGS_TIMEOUT_NS  (10 * NS_PER_SEC)
#define OPEN_BEFORE_SETTINGS 100u /* RFC 9113 section 6.5.2 asks for no smaller limit */

static void die(struct h2 *h2, int err, const char *why);

/* ------------------------------------------------------------------ sending */

static void flush(struct h2 *h2)
{
    h2_memory_take();
    while (!stage_is_full(&h2->stage)) {
        const uint8_t *bytes;
        ssize_t len = nghttp2_session_mem_send(h2_session(h2), &bytes);

        if (len < 0 && !h2->doom_err) {
            h2->doom_err = -ERR_H2;
            h2->doom_code = NGHTTP2_INTERNAL_ERROR;
        }
        if (len <= 0)
            break;
        stage_add(&h2->stage, bytes, (size_t)len);
    }
    h2_memory_give();
    if (nghttp2_session_get_outbound_queue_size(h2_session(h2)) == 0)
        h2->queued_heads = 0;
    stage_flush(&h2->stage);
}

static void tell_capacity(struct h2 *h2)
{
    if (!h2->capacity_changed || h2->is_dead || h2->is_closed)
        return;
    h2->capacity_changed = false;
    if (h2->events->on_capacity)
        h2->events->on_capacity(h2->owner);
}

/* ------------------------------------------------------------------ stillness */

/* One lazy timer: it looks whether anything moved since it was started. Of many sessions that fell
 * still together only some are folded in one turn. */
static void on_still(struct timer *timer)
{
    struct h2 *h2 = container_of(timer, struct h2, still_timer);

    if (h2->has_moved)
        timer_start(h2->loop, timer, h2->options.still_ms * NS_PER_MS, on_still);
    else if (loop_is_late(h2->loop))
        timer_start(h2->loop, timer, STILL_LATE_NS, on_still);
    else
        h2_session_fold(h2);
    h2->has_moved = false;
}

static void note_moved(struct h2 *h2)
{
    const uint32_t still_ms = h2->options.still_ms;

    h2->has_moved = true;
    if (still_ms == H2_NEVER_STILL || !h2->is_ready || h2->is_dead)
        return;
    if (still_ms == H2_ALWAYS_STILL)
        h2_session_fold(h2);
    else if (!timer_is_running(&h2->still_timer))
        timer_start(h2->loop, &h2->still_timer, still_ms * NS_PER_MS, on_still);
    assume(h2_session_rehearse(h2));
}

static void flush_and_tell(struct h2 *h2)
{
    flush(h2);
    if (h2->doom_err)
        die(h2, h2->doom_err, h2_why(h2));
    else
        tell_capacity(h2);
    note_moved(h2);
}

static void run_task(struct task *task)
{
    struct h2 *h2 = container_of(task, struct h2, task);

    if (!h2->is_dead)
        flush_and_tell(h2);
}

/* ------------------------------------------------------------------ death */

static void fail_streams(struct h2 *h2, int err)
{
    while (!list_is_empty(&h2->streams))
        h2_stream_orphan(list_entry(h2->streams.next, struct h2_stream, link), err);
}

/* GOAWAY, as far as the lower stream takes it, and a polite end; abortive when the lower stream
 * itself is the matter. */
static void close_lower(struct h2 *h2, int err)
{
    struct stream *lower = h2->stage.lower;
    bool is_polite = err == 0 || err == -ERR_EOF || h2_is_fault(err);

    if (is_polite && !stage_is_full(&h2->stage)) {
        (void)nghttp2_session_terminate_session(h2_session(h2), h2->doom_code);
        flush(h2);
    }
    is_polite = is_polite && stage_bytes(&h2->stage) == 0;
    if (is_polite)
        stream_shutdown(lower);
    stage_fini(&h2->stage);
    h2->stage.lower = NULL;
    stream_close(lower, is_polite || h2->has_parted ? 0 : err ? err : -ERR_SHUTDOWN);
}

/* Everything of the connection ends but its memory. */
static void end(struct h2 *h2, int lower_err, int streams_err)
{
    h2->is_dead = true;
    timer_stop(&h2->still_timer);
    timer_stop(&h2->keepalive_timer);
    timer_stop(&h2->head_timer);
    task_cancel(&h2->task);
    h2->end_err = lower_err;
    if (lower_err == 0 && !h2->in_codec)
        flush(h2); /* what owners wrote before they closed their streams */
    else if (h2_is_lost_trust(lower_err) && !h2->in_codec)
        h2->has_parted = h2_part(h2, lower_err);
    fail_streams(h2, streams_err);
    if (!h2->in_codec)
        close_lower(h2, lower_err);
}

static void die(struct h2 *h2, int err, const char *why)
{
    char kept[H2_WHY_MAX];
    struct str sentence = {kept, 0};

    if (h2->is_dead)
        return;
    (void)snprintf(kept, sizeof(kept), "%s", why[0] ? why : err_text(err));
    sentence.len = strlen(kept);
    end(h2, err, err);
    if (!h2->is_closed)
        h2->events->on_dead(h2->owner, err, sentence);
}

static void free_h2(void *ptr)
{
    struct h2 *h2 = ptr;

    h2_session_free(h2);
    h2_watch_free(h2->watch);
    mem_free(h2->why);
    mem_free(h2);
}

void h2_close(struct h2 *h2, int err)
{
    ensure(!h2->is_closed);
    h2->is_closed = true;
    if (!h2->is_dead) /* nothing is said any more to a peer that has lost trust, but why */
        end(h2, h2_is_lost_trust(err) ? err : 0, err ? err : -ERR_SHUTDOWN);
    loop_bury(h2->loop, h2, free_h2);
}

/* ------------------------------------------------------------------ timers */

static void on_settings_timeout(struct timer *timer)
{
    struct h2 *h2 = container_of(timer, struct h2, still_timer);

    h2->doom_code = NGHTTP2_SETTINGS_TIMEOUT;
    die(h2, -ERR_H2, "the peer sent no SETTINGS in time");
}

/* One lazy timer: it looks when something was last read and sleeps for the rest. */
static void on_keepalive(struct timer *timer)
{
    struct h2 *h2 = container_of(timer, struct h2, keepalive_timer);
    uint64_t now_ns = loop_now_ns(h2->loop);
    uint64_t quiet_ns = now_ns - h2->last_read_ns;

    if (h2->ping_sent_ns) {
        die(h2, -ERR_KEEPALIVE_TIMEOUT, "");
        return;
    }
    if (quiet_ns < h2->options.keepalive_ns) {
        timer_start(h2->loop, timer, h2->options.keepalive_ns - quiet_ns, on_keepalive);
        return;
    }
    h2->ping_sent_ns = now_ns;
    (void)nghttp2_submit_ping(h2_session(h2), NGHTTP2_FLAG_NONE, NULL);
    h2_schedule(h2);
    timer_start(h2->loop, timer, h2->options.keepalive_timeout_ns, on_keepalive);
}

static void on_head_timeout(struct timer *timer)
{
    struct h2 *h2 = container_of(timer, struct h2, head_timer);

    h2->doom_code = NGHTTP2_ENHANCE_YOUR_CALM;
    die(h2, -ERR_HEAD_TIMEOUT, "a head did not end in time");
}

/* A head that is not whole when what was read is at its end. */
static void watch_head(struct h2 *h2)
{
    uint32_t head = h2_watch_head(h2->watch);

    if (head == h2->timed_head)
        return;
    timer_stop(&h2->head_timer);
    if (head)
        timer_start(h2->loop, &h2->head_timer, h2->options.head_ns, on_head_timeout);
    h2->timed_head = head;
}

static void note_read(struct h2 *h2)
{
    h2->last_read_ns = loop_now_ns(h2->loop);
    if (!h2->ping_sent_ns)
        return;
    h2->ping_sent_ns = 0; /* whatever was read answers the ping */
    timer_start(h2->loop, &h2->keepalive_timer, h2->options.keepalive_ns, on_keepalive);
}

/* ------------------------------------------------------------------ receiving */

static int err_of(int nghttp2_err)
{
    switch (nghttp2_err) {
    case NGHTTP2_ERR_FLOODED: return -ERR_H2_CONTROL_FLOOD;
    case NGHTTP2_ERR_TOO_MANY_SETTINGS: return -ERR_H2_SETTINGS_FLOOD;
    case NGHTTP2_ERR_TOO_MANY_CONTINUATIONS: return -ERR_H2_CONTINUATION_FLOOD;
    default: return -ERR_H2;
    }
}

static void after_receive(struct h2 *h2, ssize_t result)
{
    if (h2->is_dead) { /* closed by its owner in a callback */
        if (h2_is_lost_trust(h2->end_err) && h2->stage.lower)
            h2->has_parted = h2_part(h2, h2->end_err);
        if (h2->stage.lower)
            close_lower(h2, h2->end_err);
        return;
    }
    if (h2->doom_err) {
        die(h2, h2->doom_err, h2_why(h2));
        return;
    }
    if (result < 0) {
        const int err = err_of((int)result);
        h2->doom_code = err == -ERR_H2 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_ENHANCE_YOUR_CALM;
        die(h2, err, h2_why(h2)[0] ? h2_why(h2) : nghttp2_strerror((int)result));
        return;
    }
    if (nghttp2_session_get_outbound_queue_size(h2_session(h2)) > H2_OUTBOUND_MAX ||
        h2->queued_heads > H2_HEADS_MAX) {
        h2->doom_code = NGHTTP2_ENHANCE_YOUR_CALM;
        die(h2, -ERR_H2_CONTROL_FLOOD, "the peer does not read what it is answered");
        return;
    }
    if (h2->watch && h2->options.head_ns)
        watch_head(h2);
    h2_schedule(h2);
    tell_capacity(h2);
}

static void on_lower_data(void *owner, struct slice bytes)
{
    struct h2 *h2 = owner;
    ssize_t result;

    note_read(h2);
    h2->input = bytes;
    h2->in_codec = true;
    result = h2_codec_receive(h2, bytes.ptr, bytes.len);
    h2->in_codec = false;
    h2->input = (struct slice){0};
    after_receive(h2, result);
}

static void on_lower_end(void *owner)
{
    struct h2 *h2 = owner;

    die(h2, -ERR_EOF, h2->peer_is_leaving ? h2_why(h2) : "");
}

static void on_lower_drain(void *owner)
{
    struct h2 *h2 = owner;

    stage_drained(&h2->stage);
    flush_and_tell(h2);
}

static void on_lower_fail(void *owner, int err)
{
    die(owner, err, "");
}

static const struct stream_events lower_events = {
    .on_data = on_lower_data,
    .on_end = on_lower_end,
    .on_drain = on_lower_drain,
    .on_fail = on_lower_fail,
};

/* ------------------------------------------------------------------ birth */

static uint32_t u32_or(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static struct h2_options with_defaults(const struct h2_options *given)
{
    struct h2_options o = given ? *given : (struct h2_options){0};

    o.stream_window = u32_or(o.stream_window, 256 << 10);
    o.stream_window_max = u32_or(o.stream_window_max, 4 << 20);
    o.connection_window = u32_or(o.connection_window, 16 << 20);
    o.max_frame_size = u32_or(o.max_frame_size, 64 << 10);
    o.max_concurrent_streams = u32_or(o.max_concurrent_streams, 1000);
    o.max_header_list_size = u32_or(o.max_header_list_size, 16 << 10);
    o.still_ms = u32_or(o.still_ms, STILL_MS);
    if (o.stream_window_max < o.stream_window)
        o.stream_window_max = o.stream_window;
    if (o.keepalive_ns == 0)
        o.keepalive_ns = 10 * NS_PER_SEC;
    if (o.keepalive_timeout_ns == 0)
        o.keepalive_timeout_ns = 20 * NS_PER_SEC;
    return o;
}

static struct h2 *new_connection(struct loop *loop, struct stream *lower,
                                 const struct h2_options *options, const struct h2_events *events,
                                 void *owner, bool is_server)
{
    struct h2 *h2 = mem_new(struct h2);

    h2->loop = loop;
    h2->options = with_defaults(options);
    h2->events = events;
    h2->owner = owner;
    h2->is_server = is_server;
    h2->task.run = run_task;
    h2->scratch.slabs = loop_slabs(loop);
    h2->last_read_ns = loop_now_ns(loop);
    list_init(&h2->streams);
    stage_init(&h2->stage, loop_slabs(loop), lower);
    if (h2->options.http)
        h2->watch = h2_watch_new(is_server);
    h2_session_new(h2);
    timer_start(loop, &h2->still_timer, SETTINGS_TIMEOUT_NS, on_settings_timeout);
    if (h2->options.keepalive_ns != H2_NO_KEEPALIVE)
        timer_start(loop, &h2->keepalive_timer, h2->options.keepalive_ns, on_keepalive);
    stream_set_owner(lower, &lower_events, h2);
    stream_resume(lower);
    h2_schedule(h2);
    return h2;
}

struct h2 *h2_client_new(struct loop *loop, struct stream *lower, const struct h2_options *options,
                         const struct h2_events *events, void *owner)
{
    return new_connection(loop, lower, options, events, owner, false);
}

struct h2 *h2_server_new(struct loop *loop, struct stream *lower, const struct h2_options *options,
                         const struct h2_events *events, void *owner)
{
    return new_connection(loop, lower, options, events, owner, true);
}

/* ------------------------------------------------------------------ use */

uint32_t h2_streams_allowed(const struct h2 *h2)
{
    const uint32_t max = h2_session_door(h2).max_streams;

    return !h2->is_ready && max > OPEN_BEFORE_SETTINGS ? OPEN_BEFORE_SETTINGS : max;
}

bool h2_can_open(const struct h2 *h2)
{
    if (h2->is_server || h2->is_dead || h2->is_closed || h2_is_draining(h2))
        return false;
    return h2->n_open < h2_streams_allowed(h2) && h2_session_door(h2).is_open;
}

bool h2_is_ready(const struct h2 *h2)
{
    return h2->is_ready;
}

bool h2_is_draining(const struct h2 *h2)
{
    return h2->is_draining || h2->peer_is_leaving;
}

unsigned h2_open_streams(const struct h2 *h2)
{
    return h2->n_open;
}

uint64_t h2_last_read_ns(const struct h2 *h2)
{
    return h2->last_read_ns;
}

static struct h2_stream *open_stream(struct h2 *h2, const struct stream_events *events, void *owner)
{
    struct h2_stream *s = h2_can_open(h2) ? h2_stream_new(h2, 0) : NULL;

    if (s)
        stream_set_owner(&s->base.stream, events, owner);
    return s;
}

struct stream *h2_request(struct h2 *h2, const struct h2_field *fields, size_t n_fields,
                          bool end_stream, const struct h2_stream_events *head_events,
                          const struct stream_events *events, void *owner)
{
    struct h2_stream *s = open_stream(h2, events, owner);

    if (!s)
        return NULL;
    s->head_events = head_events;
    if (end_stream)
        s->out_half = H2_HALF_ENDING;
    h2_stream_submit(s, fields, n_fields, end_stream);
    return &s->base.stream;
}

struct stream *h2_request_protocol(struct h2 *h2, const struct h2_field *fields, size_t n_fields,
                                   const struct stream_events *events, void *owner)
{
    struct h2_stream *s = open_stream(h2, events, owner);

    if (!s)
        return NULL;
    s->is_protocol = true;
    h2_stream_hold(s, fields, n_fields);
    return &s->base.stream;
}

void h2_drain(struct h2 *h2)
{
    static const uint8_t drain_ping[9] = H2_DRAIN_PING;

    if (h2->is_draining || h2->is_dead)
        return;
    h2->is_draining = true;
    if (h2->is_server) {
        (void)nghttp2_submit_shutdown_notice(h2_session(h2));
        (void)nghttp2_submit_ping(h2_session(h2), NGHTTP2_FLAG_NONE, drain_ping);
    } else {
        (void)nghttp2_submit_goaway(h2_session(h2), NGHTTP2_FLAG_NONE, 0, NGHTTP2_NO_ERROR, NULL,
                                    0);
        h2->goaway_is_final = true;
    }
    h2_schedule(h2);
}

void h2_drain_now(struct h2 *h2)
{
    if (h2->is_dead)
        return;
    h2->is_draining = true;
    h2_finish_drain(h2);
    h2_schedule(h2);
}

bool h2_is_drained(const struct h2 *h2)
{
    return h2->goaway_is_final && h2->n_open == 0;
}

struct stream *h2_lower(const struct h2 *h2)
{
    return h2->stage.lower;
}
