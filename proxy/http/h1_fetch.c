/*
 * h1_fetch.c - connect, ask, collect.
 *
 * Happy path: connected -> request written -> head and body parsed -> on_done(0). Failure modes: no
 * connection, no answer in time, an answer that is malformed, cut short or too large; each is
 * on_done once.
 */
#include "proxy/http/h1_fetch.h"

#include <llhttp.h>

#include "proxy/base/mem.h"
#include "proxy/base/text.h"

#define BODY_MAX ((size_t)256 << 20)
#define HEAD_MAX ((size_t)65536)

struct fetch {
    struct loop *loop;
    struct tcp_connect *connect; /* NULL once connected */
    struct stream *stream;
    llhttp_t parser;
    struct timer timer;
    struct text request, body;
    size_t head_bytes;
    unsigned status;
    int err; /* found while parsing */
    bool is_whole;
    void (*on_done)(void *owner, int err, unsigned status, struct str body);
    void *owner;
};

static void free_fetch(void *ptr)
{
    struct fetch *fetch = ptr;

    text_fini(&fetch->request);
    text_fini(&fetch->body);
    mem_free(fetch);
}

static void finish(struct fetch *fetch, int err)
{
    timer_stop(&fetch->timer);
    if (fetch->connect)
        tcp_connect_cancel(fetch->connect);
    if (fetch->stream)
        stream_close(fetch->stream, err);
    loop_bury(fetch->loop, fetch, free_fetch);
    if (err)
        fetch->on_done(fetch->owner, err, 0, (struct str){0});
    else
        fetch->on_done(fetch->owner, 0, fetch->status, text_str(&fetch->body));
}

/* ------------------------------------------------------------------ the answer */

static int on_head_part(llhttp_t *parser, const char *at, size_t len)
{
    struct fetch *fetch = parser->data;

    (void)at;
    fetch->head_bytes += len + 1;
    if (fetch->head_bytes <= HEAD_MAX)
        return 0;
    fetch->err = -ERR_LIMIT;
    return -1;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct fetch *fetch = parser->data;

    if (len > BODY_MAX - fetch->body.len) {
        fetch->err = -ERR_LIMIT;
        return -1;
    }
    text_add(&fetch->body, str_of(at, len));
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct fetch *fetch = parser->data;

    if (parser->status_code < 200)
        return 0; /* interim: the answer follows */
    fetch->status = parser->status_code;
    fetch->is_whole = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t parser_settings = {
    .on_status = on_head_part,
    .on_header_field = on_head_part,
    .on_header_value = on_head_part,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static void settle(struct fetch *fetch, enum llhttp_errno code)
{
    if (fetch->is_whole)
        finish(fetch, 0);
    else if (code != HPE_OK)
        finish(fetch, fetch->err ? fetch->err : -ERR_INVALID);
}

static void on_data(void *owner, struct slice bytes)
{
    struct fetch *fetch = owner;

    settle(fetch, llhttp_execute(&fetch->parser, (const char *)bytes.ptr, bytes.len));
}

static void on_end(void *owner)
{
    struct fetch *fetch = owner;

    (void)llhttp_finish(&fetch->parser); /* completes a body that the end delimits */
    finish(fetch, fetch->is_whole ? 0 : -ERR_EOF);
}

static void on_drain(void *owner)
{
    (void)owner; /* the request is small and written at once */
}

static void on_fail(void *owner, int err)
{
    finish(owner, err);
}

static const struct stream_events fetch_events = {on_data, on_end, on_drain, on_fail};

static void on_connected(void *owner, int err, struct stream *stream)
{
    struct fetch *fetch = owner;

    fetch->connect = NULL;
    if (err) {
        finish(fetch, err);
        return;
    }
    fetch->stream = stream;
    stream_set_owner(stream, &fetch_events, fetch);
    stream_write_copy(stream, fetch->request.ptr, fetch->request.len);
    stream_resume(stream);
}

static void on_timeout(struct timer *timer)
{
    struct fetch *fetch = container_of(timer, struct fetch, timer);

    if (fetch->err)
        finish(fetch, fetch->err);
    else
        finish(fetch, fetch->stream ? -ERR_IDLE_TIMEOUT : -ERR_CONNECT_TIMEOUT);
}

static bool is_visible(struct str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= 0x20 || text.ptr[i] == 0x7f)
            return false;
    }
    return text.len > 0;
}

void h1_fetch(struct loop *loop, const struct addr *remote, struct str method, struct str path,
              uint64_t timeout_ns,
              void (*on_done)(void *owner, int err, unsigned status, struct str body), void *owner)
{
    struct fetch *fetch = mem_new(struct fetch);
    struct tcp_options options = {.timeout_ns = timeout_ns};
    char host[ADDR_TEXT_MAX];

    fetch->loop = loop;
    fetch->on_done = on_done;
    fetch->owner = owner;
    fetch->body.limit = BODY_MAX * 2; /* on_body() bounds it */
    llhttp_init(&fetch->parser, HTTP_RESPONSE, &parser_settings);
    fetch->parser.data = fetch;
    text_addf(&fetch->request, "%.*s %.*s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n%s\r\n",
              STR_ARG(method), STR_ARG(path), addr_text(remote, host),
              str_eq(method, STR("GET")) ? "" : "Content-Length: 0\r\n");
    if (!is_visible(method) || !is_visible(path)) {
        fetch->err = -ERR_INVALID;
        timer_start(loop, &fetch->timer, 0, on_timeout);
        return;
    }
    timer_start(loop, &fetch->timer, timeout_ns, on_timeout);
    fetch->connect = tcp_connect(loop, remote, &options, on_connected, fetch);
}
