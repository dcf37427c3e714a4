/*
 * http1.c - a request and its answer through both codecs of HTTP/1.1, as a proxy moves them: read
 * and judged at the server's end, written anew at the client's, and back. The streams below are
 * memory. Two turns of the loop are in it, as in life.
 */
#include <string.h>

#include "bench/micro/cases.h"
#include "proxy/http/message.h"

struct memory_stream { /* takes everything; reads what it is fed */
    struct stream stream;
    size_t n_written;
};

static struct loop *loop;
static struct memory_stream below_server, below_client;
static struct http_client *client;
static struct http_stream *in, *out;
static struct slab *slab;
static size_t request_len, response_len;

static const char request[] =
    "POST /v1/chat/completions?model=large HTTP/1.1\r\nHost: till.shop.svc.clusterset.local\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko)\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8\r\n"
    "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br\r\n"
    "Content-Type: application/json\r\nAuthorization: Bearer eyJhbGciOiJSUzI1NiIsInR5cCI6IkpXVCJ9."
    "eyJzdWIiOiIxMjM0NTY3ODkwIiwibmFtZSI6IkpvaG4gRG9lIiwiYWRtaW4iOnRydWUsImlhdCI6MTUxNjIzOTAyMn0."
    "NHVaYe26MbtOYhSKkoKYdFVomg4i8ZJd8_-RU8VNbftc4TSMb4bXP3l3YlNWACwyXPGffz5aXHc6lty1Y2t4SWRqGtera"
    "gsVdZufDn5BlnJl9pdR_kdVFUsra2rWKEofkZeIC4yWytE58sMIihvo9H1ScmmVwBcQP6XETqYd0aSHp1gOa9RdUPDvoX"
    "Q5oqygTqVtxaDr6wUFKrKItgBMzWIdNZ6y7O9E0DhEPTbE9rfBo6KTFsHAZnMg4k68CDp2woYIaXbmYTWcvbzIuHO7_37"
    "GT79XdIwkm95QJ7hYC9RiwrV7mesbY4PAahERJawntho0my942XheVLmGwLMBkQ\r\n"
    "X-Request-Id: 6f1b2c3d-1111-2222-3333-444455556666\r\nTraceparent: "
    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\nContent-Length: 4\r\n\r\nabcd";

static const char response[] =
    "HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 08:00:00 GMT\r\nServer: till\r\n"
    "Content-Type: application/json\r\nContent-Length: 12\r\n\r\n{\"ok\":true}\n";

static bool take(struct stream *stream, struct slice bytes)
{
    ((struct memory_stream *)(void *)stream)->n_written += bytes.len;
    slice_release(bytes);
    return true;
}

static void ignore(struct stream *stream)
{
    (void)stream;
}

static void ignore_close(struct stream *stream, int err)
{
    (void)stream, (void)err;
}

static size_t nothing(const struct stream *stream)
{
    (void)stream;
    return 0;
}

static const struct stream_ops memory_ops = {take,         ignore,  ignore, ignore,
                                             ignore_close, nothing, NULL};

static void pass_in(void *owner, struct slice bytes)
{
    (void)owner;
    stream_write(&out->stream, slice_ref(bytes));
}

static void end_in(void *owner)
{
    (void)owner;
    stream_shutdown(&out->stream);
}

static void pass_out(void *owner, struct slice bytes)
{
    (void)owner;
    stream_write(&in->stream, slice_ref(bytes));
}

static void end_out(void *owner)
{
    (void)owner;
    stream_shutdown(&in->stream);
    stream_close(&in->stream, 0);
    stream_close(&out->stream, 0);
    in = out = NULL;
}

static void on_drain(void *owner)
{
    (void)owner;
}

static void on_fail(void *owner, int err)
{
    (void)owner, (void)err;
    ensure(false);
}

static void on_response(void *owner, const struct http_response *head)
{
    (void)owner;
    http_respond(in, head);
}

static const struct stream_events in_events = {pass_in, end_in, on_drain, on_fail};
static const struct stream_events out_events = {pass_out, end_out, on_drain, on_fail};
static const struct http_stream_events no_events = {0};
static const struct http_stream_events out_http = {.on_response = on_response};

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    (void)owner;
    in = stream;
    http_stream_set_owner(stream, &no_events, &in_events, NULL);
    out = http_request(client, head, &out_http, &out_events, NULL);
    stream_resume(&stream->stream);
    stream_resume(&out->stream);
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    (void)owner, (void)status, (void)err, (void)why;
    ensure(false);
}

static void on_dead(void *owner, int err, struct str why)
{
    (void)owner, (void)err, (void)why;
    ensure(false);
}

static void born(struct memory_stream *memory)
{
    memory->stream.ops = &memory_ops;
    memory->stream.slabs = loop_slabs(loop);
}

void prepare_http1(size_t size)
{
    static const struct http_limits limits = {0};
    static const struct http_server_events server_events = {on_request, on_refused, on_dead};
    static const struct http_client_events client_events = {.on_dead = on_dead};

    (void)size;
    loop = loop_new();
    born(&below_server);
    born(&below_client);
    client = http1_client_new(loop, &below_client.stream, &limits, &client_events, NULL);
    (void)http1_server_new(loop, &below_server.stream, &limits, &server_events, NULL);
    request_len = sizeof(request) - 1;
    response_len = sizeof(response) - 1;
    slab = slab_new(loop_slabs(loop), SLAB_BYTES);
    memcpy(slab->bytes, request, request_len);
    memcpy(slab->bytes + request_len, response, response_len);
    loop_turn(loop, false);
}

static void feed(struct memory_stream *memory, size_t offset, size_t len)
{
    const struct slice bytes = slice_of(slab, offset, len);

    memory->stream.events->on_data(memory->stream.owner, bytes);
    slice_release(bytes);
}

void http1_once(size_t i)
{
    (void)i;
    feed(&below_server, 0, request_len);
    loop_turn(loop, false);
    feed(&below_client, request_len, response_len);
    loop_turn(loop, false);
    ensure(!in && !out);
}

void loop_turn_once(size_t i)
{
    (void)i;
    loop_turn(loop, false);
}
