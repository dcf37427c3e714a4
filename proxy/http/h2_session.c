/* How nghttp2's session is made: what it is told to leave to us, and what SETTINGS the peer gets.
 */
#include "proxy/http/h2_internal.h"

#define HEAD_SENT_MAX ((size_t)98304) /* in a few CONTINUATIONs, of which peers bear eight */

static nghttp2_option *make_options(void)
{
    nghttp2_option *option;

    ensure(nghttp2_option_new(&option) == 0);
    nghttp2_option_set_no_auto_window_update(option, 1);
    nghttp2_option_set_no_closed_streams(option, 1);
    /* Its own limit counts every reset, also those of a busy tunnel's honest clients; ours counts
     * the rapid ones. */
    nghttp2_option_set_stream_reset_rate_limit(option, UINT32_MAX, UINT32_MAX);
    /* Heads are bounded where they are read, and routes and tokens add to them. */
    nghttp2_option_set_max_send_header_block_length(option, HEAD_SENT_MAX);
    return option;
}

static void submit_settings(struct h2 *h2)
{
    const struct h2_options *o = &h2->options;
    nghttp2_settings_entry own = {NGHTTP2_SETTINGS_ENABLE_PUSH, 0};

    if (h2->is_server)
        own = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
                                       o->max_concurrent_streams};
    nghttp2_settings_entry entries[] = {
        own,
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, o->stream_window},
        {NGHTTP2_SETTINGS_MAX_FRAME_SIZE, o->max_frame_size},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, o->max_header_list_size},
        {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    size_t n = !o->http ? 4 : h2->is_server && o->allow_protocols ? 6 : 5;

    ensure(nghttp2_submit_settings(h2_session(h2), NGHTTP2_FLAG_NONE, entries, n) == 0);
    h2->window = h2->asked_window = o->stream_window;
    h2->is_asking = true;
    ensure(nghttp2_session_set_local_window_size(h2_session(h2), NGHTTP2_FLAG_NONE, 0,
                                                 (int32_t)o->connection_window) == 0);
}

/* A client's session is born with its preface in the buffer of frames, which is not its alone. */
static void send_preface(struct h2 *h2)
{
    const uint8_t *bytes;
    ssize_t len;

    h2_memory_take();
    len = nghttp2_session_mem_send(h2_session(h2), &bytes);
    ensure(len == NGHTTP2_CLIENT_MAGIC_LEN);
    stage_add(&h2->stage, bytes, (size_t)len);
    h2_memory_give();
}

void h2_session_new(struct h2 *h2)
{
    nghttp2_session_callbacks *cbs = h2_codec_callbacks();
    nghttp2_option *option = make_options();
    nghttp2_mem memory;

    h2->nest = h2_nest_new();
    memory = h2_memory_for_birth(h2->nest);
    if (h2->is_server)
        ensure(nghttp2_session_server_new3(&h2->in_nest, cbs, h2, option, &memory) == 0);
    else
        ensure(nghttp2_session_client_new3(&h2->in_nest, cbs, h2, option, &memory) == 0);
    h2_memory_born();
    if (!h2->is_server)
        send_preface(h2);
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(cbs);
    submit_settings(h2);
}

void h2_session_free(struct h2 *h2)
{
    nghttp2_session *session = h2_session(h2);

    h2_scratch_reset(&h2->scratch); /* whose fields may be in the nest as well */
    nghttp2_session_del(session);
    h2_nest_free(h2->nest);
}

struct h2_door h2_session_door(const struct h2 *h2)
{
    nghttp2_session *session = h2->in_nest;

    if (h2_nest_is_folded(h2->nest))
        return h2->door;
    return (struct h2_door){
        nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS),
        nghttp2_session_check_request_allowed(session) != 0,
    };
}

void h2_session_fold(struct h2 *h2)
{
    if (h2_nest_is_folded(h2->nest))
        return;
    h2->door = h2_session_door(h2);
    h2_nest_fold(h2->nest);
}

bool h2_session_rehearse(struct h2 *h2)
{
    static _Thread_local unsigned n_turns;

    if (n_turns++ % 2 == 0)
        h2_session_fold(h2);
    return true;
}
