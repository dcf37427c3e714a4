#include "bench/macro/backend_h2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define BYTES        65536
#define FRAME_MAX    ((size_t)16384 + 9)
#define WINDOW_BYTES ((int32_t)1 << 30)

struct backend_h2 {
    int fd;
    nghttp2_session *session;
    uint8_t out[BYTES];
    size_t out_len;
};

/* What is left of an answer's body is the stream's user data itself. */
static void set_left(nghttp2_session *session, int32_t stream_id, size_t left)
{
    (void)nghttp2_session_set_stream_user_data(session, stream_id, (void *)left);
}

static size_t left_of(nghttp2_session *session, int32_t stream_id)
{
    return (size_t)nghttp2_session_get_stream_user_data(session, stream_id);
}

static ssize_t read_body(nghttp2_session *session, int32_t stream_id, uint8_t *to, size_t room,
                         uint32_t *flags, nghttp2_data_source *source, void *user_data)
{
    const size_t left = left_of(session, stream_id), len = left < room ? left : room;

    (void)source, (void)user_data;
    memset(to, 'y', len);
    set_left(session, stream_id, left - len);
    if (len == left)
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)len;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    (void)flags, (void)user_data, (void)value_len;
    if (name_len == 5 && memcmp(name, ":path", 5) == 0) /* a NUL is behind every value */
        set_left(session, frame->hd.stream_id, strtoull((const char *)value + 1, NULL, 10));
    return 0;
}

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user_data)
{
    const nghttp2_data_provider body = {.read_callback = read_body};
    char length[24];

    (void)user_data;
    if (frame->hd.type != NGHTTP2_HEADERS || !(frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
        return 0;
    (void)snprintf(length, sizeof length, "%zu", left_of(session, frame->hd.stream_id));
    const nghttp2_nv fields[] = {field(":status", "200"), field("content-type", "text/plain"),
                                 field("content-length", length)};
    return nghttp2_submit_response(session, frame->hd.stream_id, fields, 3, &body);
}

struct backend_h2 *backend_h2_new(int fd)
{
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000}};
    struct backend_h2 *h2 = calloc(1, sizeof *h2);
    nghttp2_session_callbacks *callbacks;

    if (!h2 || nghttp2_session_callbacks_new(&callbacks) < 0)
        abort();
    h2->fd = fd;
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    if (nghttp2_session_server_new(&h2->session, callbacks, h2) < 0 ||
        nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, 1) < 0 ||
        nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) < 0)
        abort();
    nghttp2_session_callbacks_del(callbacks);
    return h2;
}

void backend_h2_free(struct backend_h2 *h2)
{
    if (!h2)
        return;
    nghttp2_session_del(h2->session);
    free(h2);
}

static bool send_out(struct backend_h2 *h2)
{
    const ssize_t sent = send(h2->fd, h2->out, h2->out_len, MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN;
    h2->out_len -= (size_t)sent;
    memmove(h2->out, h2->out + sent, h2->out_len);
    return true;
}

/* Frames are gathered, so that many answers are one write. */
static bool send_all(struct backend_h2 *h2, bool *out_blocked)
{
    for (;;) {
        const uint8_t *bytes;
        ssize_t n = 0;
        while (h2->out_len + FRAME_MAX <= BYTES &&
               (n = nghttp2_session_mem_send(h2->session, &bytes)) > 0) {
            memcpy(h2->out + h2->out_len, bytes, (size_t)n);
            h2->out_len += (size_t)n;
        }
        if (n < 0 || (h2->out_len > 0 && !send_out(h2)))
            return false;
        *out_blocked = h2->out_len > 0;
        if (*out_blocked || !nghttp2_session_want_write(h2->session))
            return true;
    }
}

bool backend_h2_run(struct backend_h2 *h2, bool *out_blocked)
{
    static uint8_t in[BYTES];
    const ssize_t len = recv(h2->fd, in, sizeof in, 0);

    if (len == 0 || (len < 0 && errno != EAGAIN))
        return false;
    if (len > 0 && nghttp2_session_mem_recv(h2->session, in, (size_t)len) != len)
        return false;
    return send_all(h2, out_blocked);
}
