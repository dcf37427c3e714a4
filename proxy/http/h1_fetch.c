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

#define BODY_MAX      ((size_t)256 << 20)
#define OVER_BODY_MAX ((size_t)1 << 20)

struct h1_fetch {
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
    struct h1_fetch *fetch = ptr;

    text_fini(&fetch->request);
    h1_answer_fini(&fetch->answer);
    mem_free(fetch);
}

static void dismantle(struct h1_fetch *fetch, int err)
{
    timer_stop(&fetch->timer);
    if (fetch->connect)
        tcp_connect_cancel(fetch->connect);
    if (fetch->stream)
        stream_close(fetch->stream, err);
    loop_bury(fetch->loop, fetch, free_fetch);
}

static void finish(struct h1_fetch *fetch, int err)
{
    dismantle(fetch, err);
    if (err)
        fetch->on_done(fetch->owner, err, 0, (struct str){0});
    else
        fetch->on_done(fetch->owner, 0, fetch->answer.status, text_str(&fetch->answer.body));
}

/* ------------------------------------------------------------------ the answer */

static void on_data(void *owner, struct slice bytes)
{
    struct h1_fetch *fetch = owner;
    const int err = h1_answer_take(&fetch->answer, slice_str(bytes));

    if (err || fetch->answer.is_whole)
        finish(fetch, err);
}

static void on_end(void *owner)
{
    struct h1_fetch *fetch = owner;

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

static void ask(struct h1_fetch *fetch, struct stream *stream)
{
    fetch->stream = stream;
    stream_set_owner(stream, &fetch_events, fetch);
    stream_write_copy(stream, fetch->request.ptr, fetch->request.len);
    stream_resume(stream);
}

static void on_connected(void *owner, int err, struct stream *stream)
{
    struct h1_fetch *fetch = owner;

    fetch->connect = NULL;
    if (err)
        finish(fetch, err);
    else
        ask(fetch, stream);
}

static void on_timeout(struct timer *timer)
{
    struct h1_fetch *fetch = container_of(timer, struct h1_fetch, timer);

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

struct request {
    struct str method, host, path;
    size_t max_body;
};

/* Whether it can be asked: what is not visible would break the request's head. */
static bool prepare(struct h1_fetch *fetch, const struct request *request)
{
    h1_answer_init(&fetch->answer, request->max_body);
    text_addf(&fetch->request, "%.*s %.*s HTTP/1.1\r\nHost: %.*s\r\nConnection: close\r\n%s\r\n",
              STR_ARG(request->method), STR_ARG(request->path), STR_ARG(request->host),
              str_eq(request->method, STR("GET")) ? "" : "Content-Length: 0\r\n");
    if (is_visible(request->method) && is_visible(request->host) && is_visible(request->path))
        return true;
    fetch->err = -ERR_INVALID;
    timer_start(fetch->loop, &fetch->timer, 0, on_timeout);
    return false;
}

void h1_fetch(struct loop *loop, const struct addr *remote, struct str method, struct str path,
              uint64_t timeout_ns,
              void (*on_done)(void *owner, int err, unsigned status, struct str body), void *owner)
{
    struct h1_fetch *fetch = mem_new(struct h1_fetch);
    struct tcp_options options = {.timeout_ns = timeout_ns};
    char host[ADDR_TEXT_MAX];
    const struct request request = {method, str_from(addr_text(remote, host)), path, BODY_MAX};

    fetch->loop = loop;
    fetch->on_done = on_done;
    fetch->owner = owner;
    if (!prepare(fetch, &request))
        return;
    timer_start(loop, &fetch->timer, timeout_ns, on_timeout);
    fetch->connect = tcp_connect(loop, remote, &options, on_connected, fetch);
}

struct h1_fetch *
h1_fetch_over(struct loop *loop, struct stream *stream, struct str host, struct str path,
              void (*on_done)(void *owner, int err, unsigned status, struct str body), void *owner)
{
    struct h1_fetch *fetch = mem_new(struct h1_fetch);
    const struct request request = {STR("GET"), host, path, OVER_BODY_MAX};

    fetch->loop = loop;
    fetch->on_done = on_done;
    fetch->owner = owner;
    if (prepare(fetch, &request))
        ask(fetch, stream);
    else
        fetch->stream = stream;
    return fetch;
}

void h1_fetch_cancel(struct h1_fetch *fetch)
{
    dismantle(fetch, -ERR_SHUTDOWN);
}
