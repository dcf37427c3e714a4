/*
 * Any bytes as a server's answers to an HTTP/1.1 client that asks again as long as it may. Each
 * exchange is whole or fails once, and what was read whole llhttp has to read the same way.
 */
#include <string.h>

#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"
#include "tests/unit/proxy_http/http1_judge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX 65536

struct owner {
    struct http_client *client;
    struct text ours;
    struct http_stream *stream;
    struct rng rng;
    bool has_response, is_ended, is_dead, is_upgrade, asks_head, is_wild;
    unsigned n_asked;
};

static void ask(struct owner *owner);

static void on_interim(void *ptr, const struct http_response *head)
{
    struct owner *owner = ptr;

    ensure(!owner->has_response && head->status >= 100 && head->status < 200 &&
           head->status != 101);
    judge_response(&owner->ours, head);
    judge_end(&owner->ours);
}

static void on_response(void *ptr, const struct http_response *head)
{
    struct owner *owner = ptr;

    ensure(!owner->has_response);
    ensure(head->status >= 200 || (head->status == 101 && owner->is_upgrade));
    owner->has_response = true;
    judge_response(&owner->ours, head);
}

static void on_trailers(void *ptr, const struct http_fields *trailers)
{
    struct owner *owner = ptr;

    ensure(owner->has_response && trailers->len > 0);
}

static void on_data(void *ptr, struct slice bytes)
{
    struct owner *owner = ptr;

    ensure(bytes.len > 0 && owner->has_response && !owner->is_ended);
    judge_data(&owner->ours, slice_str(bytes));
    if (owner->is_wild && rng_below(&owner->rng, 8) == 0)
        stream_pause(&owner->stream->stream);
}

static void on_end(void *ptr)
{
    struct owner *owner = ptr;
    struct http_stream *stream = owner->stream;

    ensure(owner->has_response && !owner->is_ended);
    owner->is_ended = true;
    judge_end(&owner->ours);
    stream_shutdown(&stream->stream);
    owner->stream = NULL;
    stream_close(&stream->stream, 0);
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

static void on_capacity(void *ptr)
{
    ask(ptr);
}

static void on_dead(void *ptr, int err, struct str why)
{
    struct owner *owner = ptr;

    (void)err, (void)why;
    ensure(!owner->is_dead && !owner->stream);
    owner->is_dead = true;
}

static void ask(struct owner *owner)
{
    static const struct http_stream_events http_events = {on_interim, on_response, on_trailers};
    static const struct stream_events events = {on_data, on_end, on_drain, on_fail};
    const struct http_request head = {.method = owner->asks_head ? STR("HEAD") : STR("GET"),
                                      .authority = STR("a"),
                                      .path = STR("/"),
                                      .protocol =
                                          owner->is_upgrade ? STR("websocket") : (struct str){0}};

    if (!http_client_can_open(owner->client) || owner->n_asked++ > 20)
        return;
    owner->has_response = owner->is_ended = false;
    owner->stream = http_request(owner->client, &head, &http_events, &events, owner);
    ensure(owner->stream);
    stream_resume(&owner->stream->stream);
    stream_write_copy(&owner->stream->stream, "early", 5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct http_client_events events = {on_capacity, on_dead};
    static const struct http_limits limits = {.head_bytes = 4096, .fields = 20};
    static struct loop *loop;
    struct owner owner = {0};
    struct fake_stream *wire;

    if (size < 2 || size > INPUT_MAX)
        return 0;
    if (!loop)
        loop = loop_new();
    rng_seed(&owner.rng, data[0]);
    owner.is_upgrade = data[1] & 1;
    owner.asks_head = data[1] & 2;
    owner.is_wild = data[1] & 4;
    const struct str bytes = str_of(data + 2, size - 2);
    struct str rest = bytes;
    wire = fake_stream_new(loop);
    owner.client = http1_client_new(loop, &wire->stream, &limits, &events, &owner);
    run_turns(loop, 2);
    ask(&owner);
    for (unsigned n = 0; rest.len > 0; n++) {
        const size_t len = n > 50 ? rest.len : 1 + rng_below(&owner.rng, (uint32_t)rest.len);
        fake_feed(wire, rest.ptr, len);
        rest = str_sub(rest, len, rest.len);
        run_turns(loop, rng_below(&owner.rng, 3));
        if (!owner.is_dead)
            ask(&owner); /* if there is room */
        if (owner.stream && rng_below(&owner.rng, 4) == 0)
            stream_resume(&owner.stream->stream);
    }
    for (unsigned n = 0; n < 20; n++) {
        if (owner.stream)
            stream_resume(&owner.stream->stream);
        if (n == 10 && data[1] & 8)
            fake_end(wire);
        run_turns(loop, 5);
    }
    if (!owner.is_upgrade)
        judge_check_responses(&owner.ours, bytes, owner.asks_head, data[1] & 8);
    http_client_close(owner.client, data[1] & 16 ? -ERR_SHUTDOWN : 0);
    if (owner.stream)
        stream_close(&owner.stream->stream, -ERR_SHUTDOWN);
    run_turns(loop, 10);
    ensure(wire->is_closed);
    fake_stream_free(wire);
    text_fini(&owner.ours);
    return 0;
}
