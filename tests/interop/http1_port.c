/*
 * http1_port.c - our HTTP/1.1 server as a program, for raw bytes.
 *
 * It listens on 127.0.0.1, prints its port, and answers every request that it has read whole with
 * 200, "x-backend: 1" and "ok"; until SIGTERM.
 */
#include <signal.h>
#include <stdio.h>

#include "proxy/base/mem.h"
#include "proxy/http/message.h"
#include "proxy/io/process.h"
#include "proxy/io/tcp.h"

static struct loop *loop;

struct visit { /* of a client */
    struct http_server *server;
    struct http_stream *stream;
};

static void on_data(void *owner, struct slice bytes)
{
    (void)owner, (void)bytes;
}

static void answer(struct visit *visit)
{
    static const struct http_field field = {STR("x-backend"), STR("1")};
    const struct http_response head = {
        .status = 200, .fields = {.at = &field, .len = 1}, .content_length = 2, .has_body = true};

    http_respond(visit->stream, &head);
    stream_write_copy(&visit->stream->stream, "ok", 2);
    stream_shutdown(&visit->stream->stream);
}

static void on_end(void *owner)
{
    struct visit *visit = owner;

    answer(visit); /* nothing happens where an upgrade was declined */
    stream_close(&visit->stream->stream, 0);
}

static void on_drain(void *owner)
{
    (void)owner;
}

static void on_fail(void *owner, int err)
{
    stream_close(&((struct visit *)owner)->stream->stream, err);
}

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    static const struct stream_events events = {on_data, on_end, on_drain, on_fail};
    static const struct http_stream_events http_events = {0};
    struct visit *visit = owner;

    visit->stream = stream;
    http_stream_set_owner(stream, &http_events, &events, visit);
    stream_resume(&stream->stream);
    if (head->protocol.len > 0)
        answer(visit);
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    (void)owner, (void)status, (void)err, (void)why;
}

static void on_dead(void *owner, int err, struct str why)
{
    struct visit *visit = owner;

    (void)err, (void)why;
    http_server_close(visit->server, 0);
    mem_free(visit);
}

static void on_accept(void *owner, struct stream *stream)
{
    static const struct http_server_events events = {on_request, on_refused, on_dead};
    static const struct http_limits limits = {0};
    struct visit *visit = mem_new(struct visit);

    (void)owner;
    visit->server = http1_server_new(loop, stream, &limits, &events, visit);
}

static void on_stop(void *owner, int signum)
{
    (void)owner, (void)signum;
    loop_stop(loop);
}

int main(void)
{
    struct addr local = {0};
    struct listener *listener;
    int errnum;

    loop = loop_new();
    ensure(ip_parse(STR("127.0.0.1"), &local.ip) == 0);
    ensure(listener_open(loop, &local, &(struct listener_options){0}, on_accept, NULL, &listener,
                         &errnum) == 0);
    (void)signal_watch_open(loop, SIGTERM, on_stop, NULL);
    printf("%u\n", listener_addr(listener).port);
    fflush(stdout);
    loop_run(loop);
    return 0;
}
