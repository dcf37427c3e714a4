/*
 * h2_codec.c - nghttp2's callbacks: what it reads becomes calls to streams and owners, what it is
 * about to write comes out of the streams' queues.
 *
 * Every receive callback first asks whether the owner closed the connection in an earlier one; the
 * failure it returns then ends nghttp2_session_mem_recv() at once.
 */
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

#define RAPID_NS                                                                                   \
    NS_PER_SEC /* a reset is rapid when the stream is younger and was not answered yet */
#define STOP NGHTTP2_ERR_CALLBACK_FAILURE

#define FRAME_HEAD_BYTES 9
#define BOMB_FACTOR      4 /* a head so many times larger than its limit is no mistake */

/* Counts one; true when more than max came in this second. */
static bool is_over(struct http_rate *rate, uint64_t now_ns, uint32_t max)
{
    if (now_ns - rate->window_start_ns >= NS_PER_SEC)
        *rate = (struct http_rate){.window_start_ns = now_ns};
    return ++rate->n > max;
}

static bool must_stop(const struct h2 *h2)
{
    return h2->is_closed || h2->is_dead || h2->doom_err;
}

/* Few connections have anything to say. */
static void set_why(struct h2 *h2, const char *why, size_t len)
{
    size_t kept = len < H2_WHY_MAX ? len : H2_WHY_MAX - 1;

    if (!h2->why)
        h2->why = mem_alloc(H2_WHY_MAX);
    memmove(h2->why, why, kept); /* it may be the same */
    h2->why[kept] = '\0';
}

static int doom(struct h2 *h2, int err, uint32_t code, const char *why)
{
    if (!h2->doom_err) {
        h2->doom_err = err;
        h2->doom_code = code;
        set_why(h2, why, strlen(why));
    }
    return STOP;
}

/* The flood is named by the frame that is one too many. */
static int count_control_as(struct h2 *h2, int err)
{
    if (is_over(&h2->controls, loop_now_ns(h2->loop), H2_CONTROL_PER_SEC))
        return doom(h2, err, NGHTTP2_ENHANCE_YOUR_CALM,
                    "the peer sent too many control frames in a second");
    return 0;
}

static int count_control(struct h2 *h2)
{
    return count_control_as(h2, -ERR_H2_CONTROL_FLOOD);
}

static int count_reset(struct h2 *h2)
{
    const uint64_t now_ns = loop_now_ns(h2->loop);
    struct http_rate *shared = h2->options.resets;
    const bool are_many = shared && is_over(shared, now_ns, H2_RESETS_OF_CLIENT);
    const uint32_t most = h2->options.resets_max ? h2->options.resets_max : H2_RESETS_PER_SEC;

    if (is_over(&h2->resets, now_ns, are_many ? H2_RESETS_WHEN_MANY : most))
        return doom(h2, -ERR_H2_RESET_FLOOD, NGHTTP2_ENHANCE_YOUR_CALM,
                    "the peer reset too many streams in a second");
    return 0;
}

/* ------------------------------------------------------------------ receiving */

static int flood_of(uint8_t type)
{
    switch (type) {
    case NGHTTP2_PING: return -ERR_H2_PING_FLOOD;
    case NGHTTP2_SETTINGS: return -ERR_H2_SETTINGS_FLOOD;
    case NGHTTP2_CONTINUATION: return -ERR_H2_CONTINUATION_FLOOD;
    default: return -ERR_H2_CONTROL_FLOOD;
    }
}

static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *hd, void *user_data)
{
    struct h2 *h2 = user_data;
    const size_t padding = hd->flags & NGHTTP2_FLAG_PADDED ? 1 : 0; /* at the least */
    const bool is_empty_data = hd->type == NGHTTP2_DATA && hd->length <= padding &&
                               (hd->flags & NGHTTP2_FLAG_END_STREAM) == 0;

    (void)session;
    if (must_stop(h2))
        return STOP;
    if (is_empty_data)
        return count_control_as(h2, -ERR_H2_EMPTY_FLOOD);
    if (hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS ||
        hd->type == NGHTTP2_WINDOW_UPDATE || hd->type == NGHTTP2_RST_STREAM)
        return 0;
    return count_control_as(h2, flood_of(hd->type));
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2 *h2 = user_data;

    (void)session, (void)frame;
    if (must_stop(h2))
        return STOP;
    h2_scratch_reset(&h2->scratch);
    h2->was_refused = false;
    return 0;
}

/* Ends one stream for a fault of the peer; nothing more of the block is heard. */
static int refuse_block(struct h2 *h2, nghttp2_session *session, int32_t stream_id, uint32_t code)
{
    h2_scratch_reset(&h2->scratch);
    (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, stream_id, code);
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static bool is_request(const nghttp2_frame *frame)
{
    return frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                     nghttp2_rcbuf *value, uint8_t flags, void *user_data)
{
    struct h2 *h2 = user_data;
    struct h2_stream *s;

    (void)flags;
    if (must_stop(h2))
        return STOP;
    if (h2_scratch_add(&h2->scratch, name, value, h2->options.max_header_list_size,
                       h2->options.max_fields))
        return 0;
    if (h2->watch && h2->scratch.size / BOMB_FACTOR > h2->options.max_header_list_size)
        return doom(h2, -ERR_LIMIT, NGHTTP2_ENHANCE_YOUR_CALM,
                    "a head many times larger than what is allowed");
    if (h2->watch && is_request(frame))
        return 0; /* is answered when it ends */
    s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
    if (s)
        s->fail_err = -ERR_LIMIT;
    return refuse_block(h2, session, frame->hd.stream_id, NGHTTP2_ENHANCE_YOUR_CALM);
}

/* The head of a request is refused: its owner never hears of it but here. */
static void note_refused(struct h2 *h2, const nghttp2_frame *frame, const char *why)
{
    const struct h2_http *http = h2->options.http;

    if (!http || frame->hd.type != NGHTTP2_HEADERS)
        return;
    if (is_request(frame) && !h2->was_refused && http->on_refused)
        http->on_refused(h2->owner, -ERR_H2, str_from(why));
    h2->was_refused = true;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame,
                             nghttp2_rcbuf *name, nghttp2_rcbuf *value, uint8_t flags,
                             void *user_data)
{
    (void)name, (void)value, (void)flags;
    if (must_stop(user_data))
        return STOP;
    note_refused(user_data, frame, "a field with a name or a value that is not allowed");
    return refuse_block(user_data, session, frame->hd.stream_id, NGHTTP2_PROTOCOL_ERROR);
}

/* nghttp2 refuses a frame, by a reset of its stream or with the connection. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int err,
                            void *user_data)
{
    struct h2 *h2 = user_data;

    (void)session;
    if (must_stop(h2))
        return STOP;
    if (h2->watch)
        h2_watch_refused(h2->watch, frame->hd.stream_id);
    if (frame->hd.type == NGHTTP2_HEADERS)
        h2_scratch_reset(&h2->scratch);
    note_refused(h2, frame,
                 err == NGHTTP2_ERR_HTTP_HEADER
                     ? "a field that is not allowed, or a pseudo-field that is missing"
                     : nghttp2_strerror(err));
    return must_stop(h2) ? STOP : 0;
}

static struct h2_head head_of(const struct h2 *h2, const nghttp2_frame *frame)
{
    return (struct h2_head){h2->scratch.fields, h2->scratch.len,
                            (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0, h2->scratch.is_cut};
}

static void on_request(struct h2 *h2, const nghttp2_frame *frame)
{
    struct h2_head head = head_of(h2, frame);
    struct h2_stream *s = h2_stream_new(h2, frame->hd.stream_id);

    (void)nghttp2_session_set_stream_user_data(h2_session(h2), s->id, s);
    h2->events->on_request(h2->owner, &s->base.stream, &head);
}

static bool is_interim(struct str status)
{
    return status.len == 3 && status.ptr[0] == '1';
}

/* The same of a connection that carries messages. */
static int on_message_head(struct h2 *h2, struct h2_stream *s, const nghttp2_frame *frame)
{
    struct h2_head head = head_of(h2, frame);
    struct str status = h2_find(&head, ":status");
    bool is_good = true;

    if (str_is_empty(status)) {
        is_good = h2->options.http->may_be_trailers(&head);
        if (is_good)
            h2_stream_on_trailers(s, &head);
    } else {
        s->head_has_come = !is_interim(status);
        if (!s->is_closed && !s->is_failed && s->base.http_events)
            is_good = h2->options.http->on_response(&s->base, &head);
    }
    if (!is_good && s->h2)
        h2_stream_fault(s);
    return is_interim(status) ? count_control(h2) : 0;
}

static int on_response_or_trailers(struct h2 *h2, struct h2_stream *s, const nghttp2_frame *frame)
{
    struct h2_head head = head_of(h2, frame);
    struct str status = h2_find(&head, ":status");

    if (is_interim(status))
        return count_control(h2);
    if (str_is_empty(status))
        h2_stream_on_trailers(s, &head);
    else if (s->head_events && s->head_events->on_head && !s->is_closed)
        s->head_events->on_head(s->base.stream.owner, &head);
    return 0;
}

static int on_headers(struct h2 *h2, const nghttp2_frame *frame)
{
    struct h2_stream *s;

    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        on_request(h2, frame);
        return 0;
    }
    s = nghttp2_session_get_stream_user_data(h2_session(h2), frame->hd.stream_id);
    if (!s)
        return 0;
    return h2->options.http ? on_message_head(h2, s, frame) : on_response_or_trailers(h2, s, frame);
}

/* Requests that had to wait for the peer's SETTINGS. */
static void release_held(struct h2 *h2)
{
    for (struct list *at = h2->streams.next; at != &h2->streams; at = at->next)
        h2_stream_release(list_entry(at, struct h2_stream, link));
}

static int on_settings(struct h2 *h2, const nghttp2_frame *frame)
{
    if (frame->hd.flags & NGHTTP2_FLAG_ACK) {
        h2_window_told(h2);
        return 0;
    }
    h2->capacity_changed = true;
    if (h2->is_ready)
        return 0;
    h2->is_ready = true;
    timer_stop(&h2->still_timer);
    if (h2->options.http)
        release_held(h2);
    if (h2->events->on_ready)
        h2->events->on_ready(h2->owner);
    return 0;
}

void h2_finish_drain(struct h2 *h2)
{
    if (h2->goaway_is_final)
        return;
    h2->goaway_is_final = true;
    h2->capacity_changed = true;
    (void)nghttp2_submit_goaway(h2_session(h2), NGHTTP2_FLAG_NONE,
                                nghttp2_session_get_last_proc_stream_id(h2_session(h2)),
                                NGHTTP2_NO_ERROR, NULL, 0);
}

static int on_ping(struct h2 *h2, const nghttp2_frame *frame)
{
    bool is_of_drain = memcmp(frame->ping.opaque_data, H2_DRAIN_PING, 8) == 0;

    if ((frame->hd.flags & NGHTTP2_FLAG_ACK) && is_of_drain && h2->is_draining)
        h2_finish_drain(h2);
    return 0;
}

static int on_reset(struct h2 *h2, const nghttp2_frame *frame)
{
    const struct h2_stream *s =
        nghttp2_session_get_stream_user_data(h2_session(h2), frame->hd.stream_id);
    bool is_rapid =
        h2->is_server && s && !s->head_is_sent && loop_now_ns(h2->loop) - s->opened_ns < RAPID_NS;

    if (!s && h2->watch)
        return count_control_as(h2, -ERR_H2_RESET_FLOOD);
    return is_rapid ? count_reset(h2) : 0;
}

static int on_goaway(struct h2 *h2, const nghttp2_frame *frame)
{
    char why[H2_WHY_MAX];
    int len;

    if (frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        len = snprintf(why, sizeof(why), "the peer sent GOAWAY with %s",
                       nghttp2_http2_strerror(frame->goaway.error_code));
        set_why(h2, why, (size_t)len);
    }
    h2->peer_is_leaving = true;
    h2->capacity_changed = true;
    return 0;
}

static int on_whole_head(struct h2 *h2, const nghttp2_frame *frame)
{
    const int rv = on_headers(h2, frame);

    h2_scratch_reset(&h2->scratch);
    return rv;
}

static int on_frame_by_type(struct h2 *h2, const nghttp2_frame *frame)
{
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS: return on_whole_head(h2, frame);
    case NGHTTP2_SETTINGS: return on_settings(h2, frame);
    case NGHTTP2_PING: return on_ping(h2, frame);
    case NGHTTP2_RST_STREAM: return on_reset(h2, frame);
    case NGHTTP2_GOAWAY: return on_goaway(h2, frame);
    default: return 0;
    }
}

static bool ends_stream(const nghttp2_frame *frame)
{
    return (frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS) &&
           (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2 *h2 = user_data;
    int rv = must_stop(h2) ? STOP : on_frame_by_type(h2, frame);

    if (rv == 0 && must_stop(h2))
        rv = STOP;
    if (rv == 0 && ends_stream(frame)) {
        struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (s)
            h2_stream_on_end(s);
    }
    return rv == 0 && must_stop(h2) ? STOP : rv;
}

/* The window into the slab that is being received; a copy should nghttp2 ever hand out bytes of its
 * own. */
static struct slice input_part(const struct h2 *h2, const uint8_t *data, size_t len)
{
    const struct slice *in = &h2->input;

    if (data >= in->ptr && data <= in->ptr + in->len && len <= (size_t)(in->ptr + in->len - data))
        return slice_sub(*in, (size_t)(data - in->ptr), len);
    return slice_copy(loop_slabs(h2->loop), data, len);
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                    size_t len, void *user_data)
{
    struct h2 *h2 = user_data;
    struct h2_stream *s;
    struct slice bytes;

    (void)flags;
    if (must_stop(h2))
        return STOP;
    s = nghttp2_session_get_stream_user_data(session, stream_id);
    if (!s) {
        h2_window_pay(h2, len);
        return 0;
    }
    bytes = input_part(h2, data, len);
    h2_stream_on_chunk(s, bytes);
    slice_release(bytes);
    return must_stop(h2) ? STOP : 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream_id, uint32_t error_code,
                           void *user_data)
{
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, stream_id);

    (void)user_data;
    if (s && s->h2)
        h2_stream_codec_closed(s, error_code);
    return 0;
}

/* ------------------------------------------------------------------ sending; owners are not called
 * here */

static ssize_t frame_payload(nghttp2_session *session, uint8_t frame_type, int32_t stream_id,
                             int32_t session_window, int32_t stream_window, uint32_t max_frame_size,
                             void *user_data)
{
    (void)session, (void)frame_type, (void)stream_id, (void)session_window, (void)stream_window;
    (void)user_data;
    return max_frame_size < H2_FRAME_PAYLOAD ? (ssize_t)max_frame_size : (ssize_t)H2_FRAME_PAYLOAD;
}

static int send_body(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *framehd,
                     size_t length, nghttp2_data_source *source, void *user_data)
{
    struct h2 *h2 = user_data;
    struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)source;
    if (!s || s->out.bytes < length)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    stage_add(&h2->stage, framehd, FRAME_HEAD_BYTES);
    h2_stream_send(s, &h2->stage, length);
    return 0;
}

static bool is_fault_of_peer(uint32_t code)
{
    return code != NGHTTP2_NO_ERROR && code != NGHTTP2_CANCEL && code != NGHTTP2_REFUSED_STREAM &&
           code != NGHTTP2_INTERNAL_ERROR;
}

static void count_reset_sent(struct h2 *h2, const nghttp2_frame *frame)
{
    /* For SETTINGS that make a window overflow nghttp2 resets the stream, where RFC 9113 6.9.2 asks
     * for the connection; who overruns windows otherwise may lose it as well (5.4.1). */
    if (h2->watch && frame->rst_stream.error_code == NGHTTP2_FLOW_CONTROL_ERROR)
        (void)doom(h2, -ERR_H2, NGHTTP2_FLOW_CONTROL_ERROR, "the peer does not keep to windows");
    else if (is_fault_of_peer(frame->rst_stream.error_code))
        (void)count_reset(h2);
    else if (h2->watch && frame->rst_stream.error_code == NGHTTP2_REFUSED_STREAM)
        (void)count_control(h2); /* more streams than it may open */
}

/* What nghttp2 ends the connection for is said to the peer, and to us. */
static void doom_of_goaway(struct h2 *h2, const nghttp2_goaway *goaway)
{
    if (!h2->doom_err && !h2_why(h2)[0] && goaway->opaque_data_len > 0)
        set_why(h2, (const char *)goaway->opaque_data, goaway->opaque_data_len);
    (void)doom(h2, h2_err_of_code(goaway->error_code), goaway->error_code,
               h2_why(h2)[0] ? h2_why(h2) : nghttp2_http2_strerror(goaway->error_code));
}

static int on_frame_sent(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    struct h2 *h2 = user_data;

    if (h2->watch)
        h2_watch_sent(h2->watch, &frame->hd);
    if (ends_stream(frame)) {
        struct h2_stream *s = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
        if (s)
            h2_stream_end_sent(s);
    }
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        count_reset_sent(h2, frame);
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR)
        doom_of_goaway(h2, &frame->goaway);
    return 0;
}

/* A head that became too large on the way: nobody else would hear of it. */
static int on_frame_not_sent(nghttp2_session *session, const nghttp2_frame *frame, int err,
                             void *user_data)
{
    (void)user_data;
    if (err == NGHTTP2_ERR_FRAME_SIZE_ERROR && frame->hd.type == NGHTTP2_HEADERS &&
        frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        (void)nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                        NGHTTP2_INTERNAL_ERROR);
    return 0;
}

static int on_message(nghttp2_session *session, int lib_error_code, const char *msg, size_t len,
                      void *user_data)
{
    struct h2 *h2 = user_data;

    (void)session;
    if (h2->watch && lib_error_code == NGHTTP2_ERR_HTTP_HEADER)
        return 0; /* it quotes the field, which may be a secret */
    if (!h2->doom_err)
        set_why(h2, msg, len);
    return 0;
}

/* ------------------------------------------------------------------ frame by frame */

static void watch_frame(struct h2 *h2, const nghttp2_frame_hd *hd)
{
    uint32_t code;
    const char *why = h2_watch_frame(h2, hd, &code);

    if (why)
        (void)doom(h2,
                   hd->type == NGHTTP2_WINDOW_UPDATE && code == NGHTTP2_ENHANCE_YOUR_CALM
                       ? -ERR_H2_WINDOW_FLOOD
                       : -ERR_H2,
                   code, why);
    else if (hd->type > NGHTTP2_CONTINUATION)
        (void)count_control(h2);
}

/* nghttp2 has no callback for frames that it ignores, so each head is looked at first: it gets all
 * before the head's last byte, the frame is judged, and the byte goes with what follows. */
ssize_t h2_codec_receive(struct h2 *h2, const uint8_t *bytes, size_t len)
{
    nghttp2_frame_hd hd;
    size_t at = 0, given = 0;

    while (h2->watch && h2_watch_scan(h2->watch, bytes, len, &at, &hd)) {
        ssize_t rv = nghttp2_session_mem_recv(h2_session(h2), bytes + given, at - 1 - given);

        given = at - 1;
        if (rv < 0 || must_stop(h2))
            return rv;
        watch_frame(h2, &hd);
        if (h2->doom_err)
            return 0;
    }
    return nghttp2_session_mem_recv(h2_session(h2), bytes + given, len - given);
}

/* ------------------------------------------------------------------ the session */

nghttp2_session_callbacks *h2_codec_callbacks(void)
{
    nghttp2_session_callbacks *cbs;

    ensure(nghttp2_session_callbacks_new(&cbs) == 0);
    nghttp2_session_callbacks_set_on_begin_frame_callback(cbs, on_begin_frame);
    nghttp2_session_callbacks_set_on_begin_headers_callback(cbs, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback2(cbs, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback2(cbs, on_invalid_header);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cbs, on_invalid_frame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(cbs, on_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cbs, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(cbs, on_stream_close);
    nghttp2_session_callbacks_set_data_source_read_length_callback(cbs, frame_payload);
    nghttp2_session_callbacks_set_send_data_callback(cbs, send_body);
    nghttp2_session_callbacks_set_on_frame_send_callback(cbs, on_frame_sent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(cbs, on_frame_not_sent);
    nghttp2_session_callbacks_set_error_callback2(cbs, on_message);
    return cbs;
}
