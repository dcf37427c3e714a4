#include "bench/macro/load_h2.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define STREAMS_MAX  1000
#define OUT_BYTES    65536
#define WINDOW_BYTES ((int32_t)1 << 30)

struct exchange {
    struct load_h2 *h2;
    uint64_t begun_ns;
    size_t n_bytes;
    bool is_good; /* :status 200 */
};

struct load_h2 {
    const struct load_h2_plan *plan;
    void *owner;
    nghttp2_session *session;
    char path[32];
    uint8_t out[OUT_BYTES];
    size_t out_len;
    bool is_broken;
    struct exchange exchanges[];
};

static nghttp2_nv field(const char *name, const char *value)
{
    return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name),
                        strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static void ask(struct load_h2 *h2, struct exchange *exchange)
{
    const nghttp2_nv fields[] = {
        field(":method", "GET"),  field(":scheme", "http"),    field(":authority", "bench"),
        field(":path", h2->path), field("user-agent", "load"), field("accept", "*/*"),
    };

    *exchange = (struct exchange){.h2 = h2, .begun_ns = h2->plan->now_ns()};
    if (nghttp2_submit_request(h2->session, NULL, fields, sizeof fields / sizeof fields[0], NULL,
                               exchange) < 0)
        h2->is_broken = true;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *user_data)
{
    struct exchange *exchange = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

    (void)flags, (void)user_data;
    if (exchange && name_len == 7 && memcmp(name, ":status", 7) == 0)
        exchange->is_good = value_len == 3 && memcmp(value, "200", 3) == 0;
    return 0;
}

static int on_chunk(nghttp2_session *session, uint8_t flags, int32_t stream_id, const uint8_t *data,
                    size_t len, void *user_data)
{
    struct exchange *exchange = nghttp2_session_get_stream_user_data(session, stream_id);

    (void)flags, (void)data, (void)user_data;
    if (exchange)
        exchange->n_bytes += len;
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream_id, uint32_t code, void *user_data)
{
    struct load_h2 *h2 = user_data;
    struct exchange *exchange = nghttp2_session_get_stream_user_data(session, stream_id);

    if (code != NGHTTP2_NO_ERROR || !exchange->is_good || exchange->n_bytes != h2->plan->size) {
        h2->is_broken = true;
        return 0;
    }
    h2->plan->on_answer(h2->owner, exchange->begun_ns);
    if (!h2->plan->is_once)
        ask(h2, exchange);
    return 0;
}

static nghttp2_session *new_session(struct load_h2 *h2)
{
    const nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                               {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 20}};
    nghttp2_session_callbacks *callbacks;
    nghttp2_session *session;

    if (nghttp2_session_callbacks_new(&callbacks) < 0)
        abort();
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_chunk);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    if (nghttp2_session_client_new(&session, callbacks, h2) < 0 ||
        nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2) < 0 ||
        nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES) < 0)
        abort();
    nghttp2_session_callbacks_del(callbacks);
    return session;
}

struct load_h2 *load_h2_new(const struct load_h2_plan *plan, void *owner)
{
    struct load_h2 *h2 = calloc(1, sizeof *h2 + plan->n_streams * sizeof h2->exchanges[0]);

    if (!h2 || plan->n_streams > STREAMS_MAX)
        abort();
    h2->plan = plan;
    h2->owner = owner;
    h2->session = new_session(h2);
    snprintf(h2->path, sizeof h2->path, "/%zu", plan->size);
    for (unsigned i = 0; i < plan->n_streams; i++)
        ask(h2, &h2->exchanges[i]);
    return h2;
}

void load_h2_free(struct load_h2 *h2)
{
    if (!h2)
        return;
    nghttp2_session_del(h2->session);
    free(h2);
}

bool load_h2_receive(struct load_h2 *h2, const uint8_t *bytes, size_t len)
{
    const ssize_t n = nghttp2_session_mem_recv(h2->session, bytes, len);

    return n == (ssize_t)len && !h2->is_broken;
}

/* What the socket has not taken stays at the front. */
static bool write_out(struct load_h2 *h2, int fd)
{
    const ssize_t sent = send(fd, h2->out, h2->out_len, MSG_NOSIGNAL);

    if (sent < 0)
        return errno == EAGAIN;
    h2->out_len -= (size_t)sent;
    memmove(h2->out, h2->out + sent, h2->out_len);
    return true;
}

bool load_h2_send(struct load_h2 *h2, int fd, bool *out_blocked)
{
    for (;;) {
        const uint8_t *bytes;
        /* A frame of ours is a request's head or smaller, and may wait for its turn here. */
        const ssize_t n =
            h2->out_len < OUT_BYTES / 2 ? nghttp2_session_mem_send(h2->session, &bytes) : 0;
        if (n < 0 || (size_t)n > OUT_BYTES - h2->out_len)
            return false;
        if (n == 0)
            break;
        memcpy(h2->out + h2->out_len, bytes, (size_t)n);
        h2->out_len += (size_t)n;
    }
    if (h2->out_len > 0 && !write_out(h2, fd))
        return false;
    *out_blocked = h2->out_len > 0;
    return !h2->is_broken;
}
