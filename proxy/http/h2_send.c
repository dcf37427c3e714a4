/*
 * h2_send.c - what is sent of a stream but its body: heads and trailers.
 */
#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

void h2_stream_submit(struct h2_stream *s, const struct h2_field *fields, size_t n_fields,
                      bool end_stream)
{
    nghttp2_data_provider body = h2_stream_body();
    nghttp2_nv room[H2_NV_ROOM];
    nghttp2_nv *nv = h2_nv_make(fields, n_fields, room, ARRAY_LEN(room));

    s->head_is_sent = true;
    s->id =
        nghttp2_submit_request(h2_session(s->h2), NULL, nv, n_fields, end_stream ? NULL : &body, s);
    ensure(s->id > 0);
    h2_nv_free(nv, room);
    h2_schedule(s->h2);
}

void h2_stream_hold(struct h2_stream *s, const struct h2_field *fields, size_t n_fields)
{
    h2_saved_put(&h2_stream_rest(s)->held, fields, n_fields);
    if (s->h2->is_ready)
        h2_stream_release(s);
}

void h2_stream_release(struct h2_stream *s)
{
    struct h2_saved *held = s->rest ? &s->rest->held : NULL;

    if (!held || !held->is_set)
        return;
    if (nghttp2_session_get_remote_settings(h2_session(s->h2),
                                            NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1) {
        h2_stream_submit(s, held->fields, held->len, false);
    } else {
        s->codec_closed = true;
        h2_note_ended(s);
        s->fail_err = -ERR_REFUSED;
        loop_defer(s->loop, &s->deliver);
    }
    h2_saved_fini(held);
}

/* An answer that waits to be sent is kept even when its stream was reset. */
static void note_head(struct h2 *h2, const nghttp2_nv *nv, size_t n_fields)
{
    for (size_t i = 0; i < n_fields; i++)
        h2->queued_heads += nv[i].namelen + nv[i].valuelen + sizeof(*nv);
}

void h2_interim(struct stream *stream, const struct h2_field *fields, size_t n_fields)
{
    struct h2_stream *s = h2_stream_of(stream);
    nghttp2_nv room[H2_NV_ROOM];
    nghttp2_nv *nv;

    if (!h2_stream_is_live(s) || s->head_is_sent || s->h2->queued_heads > H2_HEADS_HIGH)
        return;
    nv = h2_nv_make(fields, n_fields, room, ARRAY_LEN(room));
    note_head(s->h2, nv, n_fields);
    ensure(nghttp2_submit_headers(h2_session(s->h2), NGHTTP2_FLAG_NONE, s->id, NULL, nv, n_fields,
                                  NULL) == 0);
    h2_nv_free(nv, room);
    h2_schedule(s->h2);
}

void h2_respond(struct stream *stream, const struct h2_field *fields, size_t n_fields,
                bool end_stream)
{
    struct h2_stream *s = h2_stream_of(stream);
    nghttp2_data_provider body = h2_stream_body();
    nghttp2_nv room[H2_NV_ROOM];
    nghttp2_nv *nv;

    if (!h2_stream_is_live(s) || s->head_is_sent)
        return;
    s->head_is_sent = true;
    if (end_stream)
        s->out_half = H2_HALF_ENDING;
    nv = h2_nv_make(fields, n_fields, room, ARRAY_LEN(room));
    note_head(s->h2, nv, n_fields);
    ensure(nghttp2_submit_response(h2_session(s->h2), s->id, nv, n_fields,
                                   end_stream ? NULL : &body) == 0);
    h2_nv_free(nv, room);
    h2_schedule(s->h2);
}

void h2_send_trailers(struct stream *stream, const struct h2_field *fields, size_t n_fields)
{
    struct h2_stream *s = h2_stream_of(stream);

    if (s->out_half == H2_HALF_OPEN)
        h2_saved_put(&h2_stream_rest(s)->trailers_out, fields, n_fields);
    stream_shutdown(stream);
}
