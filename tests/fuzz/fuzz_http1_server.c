/*
 * Any bytes as a client of an HTTP/1.1 server, in pieces and with an owner that the first bytes of
 * the input choose: pauses, early answers, closes, half-closes. Streams are whole or fail once, and
 * what was read whole llhttp has to read the same way.
 */
#include <string.h>

#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"
#include "tests/unit/proxy_http/http1_judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 65536

struct owner {
    struct text ours;
    struct http_stream *stream;
    struct rng rng;
    bool is_wild; /* else every request is read to its end and answered */
    bool is_ended, is_dead;
};

static void answer_and_close(struct owner *owner)
{
    const bool is_chunked = owner->is_wild && rng_below(&owner->rng, 2);
    const struct http_response head = {
        .status = 200, .content_length = is_chunked ? HTTP_LENGTH_UNKNOWN : 2, .has_body = true};
    struct http_stream *stream = owner->stream;

    owner->stream = NULL;
    http_respond(stream, &head);
    stream_write_copy(&stream->stream, "ok", 2);
    stream_shutdown(&stream->stream);
    stream_close(&stream->stream, 0);
}

static void on_data(void *ptr, struct slice bytes)
{
    struct owner *owner = ptr;

    ensure(bytes.len > 0 && !owner->is_ended);
    judge_data(&owner->ours, slice_str(bytes));
    if (!owner->is_wild)
        return;
    switch (rng_below(&owner->rng, 16)) {
    case 0: stream_pause(&owner->stream->stream); break;
    case 1: answer_and_close(owner); break;
    case 2:
        stream_close(&owner->stream->stream, -ERR_DENIED);
        owner->stream = NULL;
        break;
    default: break;
    }
}

static void on_end(void *ptr)
{
    struct owner *owner = ptr;

    ensure(!owner->is_ended);
    owner->is_ended = true;
    judge_end(&owner->ours);
    answer_and_close(owner);
}

static void on_drain(void *ptr)
{
    (void)ptr;
}

static void on_fail(void *ptr, int err)
{
    struct owner *owner = ptr;
    struct http_stream *stream = owner->stream;

    ensure(err < 0 && stream);
    owner->stream = NULL;
    stream_close(&stream->stream, err);
}

static void on_request(void *ptr, struct http_stream *stream, const struct http_request *head)
{
    static const struct stream_events events = {on_data, on_end, on_drain, on_fail};
    static const struct http_stream_events http_events = {0};
    const struct http_response switched = {.status = 101}, declined = {.status = 426};
    struct owner *owner = ptr;

    ensure(!owner->stream && !owner->is_dead);
    ensure(head->version == HTTP_1_0 || head->authority.len > 0);
    ensure(head->path.ptr[0] == '/' || str_eq(head->path, STR("*")));
    owner->stream = stream;
    owner->is_ended = false;
    judge_request(&owner->ours, head);
    http_stream_set_owner(stream, &http_events, &events, owner);
    stream_resume(&stream->stream);
    if (head->protocol.len > 0)
        http_respond(stream, owner->is_wild ? &switched : &declined);
}

static void on_refused(void *ptr, unsigned status, int err, struct str why)
{
    (void)ptr;
    ensure((status == 0 || status >= 400) && err < 0 && why.len > 0);
}

static void on_dead(void *ptr, int err, struct str why)
{
    struct owner *owner = ptr;

    (void)err, (void)why;
    ensure(!owner->is_dead && !owner->stream);
    owner->is_dead = true;
}

static void feed(struct fake_stream *wire, struct owner *owner, struct str bytes)
{
    for (unsigned n = 0; bytes.len > 0; n++) {
        const size_t len = n > 50 ? bytes.len : 1 + rng_below(&owner->rng, (uint32_t)bytes.len);
        fake_feed(wire, bytes.ptr, len);
        bytes = str_sub(bytes, len, bytes.len);
        run_turns(wire->loop, rng_below(&owner->rng, 3));
        if (owner->stream && rng_below(&owner->rng, 4) == 0)
            stream_resume(&owner->stream->stream);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_server_events events = {on_request, on_refused, on_dead};
    static const struct http_limits limits = {.head_bytes = 4096, .fields = 20};
    static struct loop *loop;
    struct owner owner = {0};
    struct fake_stream *wire;
    struct http_server *server;

    if (size < 2 || size > INPUT_MAX)
        return 0;
    if (!loop)
        loop = loop_new();
    rng_seed(&owner.rng, data[0]);
    owner.is_wild = data[1] & 1;
    const struct str bytes = str_of(data + 2, size - 2);
    wire = fake_stream_new(loop);
    server = http1_server_new(loop, &wire->stream, &limits, &events, &owner);
    feed(wire, &owner, bytes);
    run_turns(loop, 10);
    for (unsigned n = 0; owner.stream && n < 20; n++) {
        stream_resume(&owner.stream->stream);
        run_turns(loop, 5);
    }
    if (!owner.is_wild)
        judge_check_requests(&owner.ours, bytes);
    if (data[1] & 2) {
        fake_end(wire);
        run_turns(loop, 10);
    }
    http_server_close(server, data[1] & 4 ? -ERR_SHUTDOWN : 0);
    if (owner.stream)
        stream_close(&owner.stream->stream, -ERR_SHUTDOWN);
    run_turns(loop, 10);
    ensure(wire->is_closed);
    fake_stream_free(wire);
    text_fini(&owner.ours);
    return 0;
}
