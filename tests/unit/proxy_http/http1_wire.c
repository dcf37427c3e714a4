#include "tests/unit/proxy_http/http1_wire.h"

#include <criterion/criterion.h>

struct loop *loop;
struct fake_stream *wire;
struct http1_seen seen;
struct http_limits limits;

void begin(void)
{
    loop = loop_new();
    wire = fake_stream_new(loop);
    seen = (struct http1_seen){.closes_at_fail = true};
    seen.server = http1_server_new(loop, &wire->stream, &limits, &http1_seen_server, &seen);
}

void start(void)
{
    limits = (struct http_limits){0};
    begin();
}

void finish(void)
{
    http1_seen_fini(&seen);
    run_turns(loop, 20);
    fake_stream_free(wire);
    loop_finish(loop);
}

void feed(const char *text)
{
    fake_feed_text(wire, text);
    run_turns(loop, 20);
}

void expect_sent(const char *text)
{
    run_turns(loop, 20);
    cr_expect_str_eq(wire->written.ptr ? wire->written.ptr : "", text);
    fake_forget_written(wire);
}

void respond(unsigned status, int64_t length)
{
    struct http_response head = http1_plain(status, length);

    http_respond(seen.stream, &head);
}
