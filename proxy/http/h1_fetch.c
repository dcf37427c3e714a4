/*
 * h1_fetch.c - connect, ask, collect.
 *
 * Happy path: connected -> request written -> head and body parsed -> on_done(0). Failure modes: no
 * connection, no answer in time, an answer that is malformed, cut short or too large; each is
 * on_done once.
 */
#include "proxy/http/h1_fetch.h"

#include "proxy/base/mem.h"
#include "proxy/http/h1_answer.h"

#define BODY_MAX ((size_t)256 << 20)

struct fetch {
    struct loop *loop;
    struct tcp_connect *connect; /* NULL once connected */
    struct stream *stream;
    struct h1_answer answer;
    struct timer timer;
    struct text request;
    int err; /* found before it was asked */
    void (*on_done)(void *owner, int err, unsigned status, struct str body);
    void *owner;
};

static void free_fetch(void *ptr)
{
    struct fetch *fetch = ptr;

    text_fini(&fetch->request);
    h1_answer_fini(&fetch->answer);
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
        fetch->on_done(fetch->owner, 0, fetch->answer.status, text_str(&fetch->answer.body));
}

/* ------------------------------------------------------------------ the answer */

static void on_data(void *owner, struct slice bytes)
{
    struct fetch *fetch = owner;
    const int err = h1_answer_take(&fetch->answer, slice_str(bytes));

    if (err || fetch->answer.is_whole)
        finish(fetch, err);
}

static void on_end(void *owner)
{
    struct fetch *fetch = owner;

    finish(fetch, h1_answer_end(&fetch->answer));
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
    h1_answer_init(&fetch->answer, BODY_MAX);
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
