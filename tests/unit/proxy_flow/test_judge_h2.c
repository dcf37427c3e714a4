/* Verdicts on the streams of an HTTP/2 connection. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/flow/walk.h"
#include "proxy/http/message.h"
#include "tests/kit/temp_dir.h"
#include "ways.h"

TestSuite(judge_h2, .timeout = 60);

struct asked { /* one request of an HTTP/2 client */
    struct http_stream *stream;
    struct str method, path, type;
    unsigned status;
    struct text grpc_status;
    bool has_ended;
};

static void on_response(void *owner, const struct http_response *head)
{
    struct asked *asked = owner;
    asked->status = head->status;
    text_add(&asked->grpc_status, http_find(&head->fields, "grpc-status"));
    stream_resume(&asked->stream->stream);
}

static void on_data(void *owner, struct slice bytes)
{
    (void)owner;
    (void)bytes;
}

static void on_end(void *owner)
{
    ((struct asked *)owner)->has_ended = true;
}

static void on_fail(void *owner, int err)
{
    (void)err;
    ((struct asked *)owner)->has_ended = true;
}

static const struct http_stream_events asked_http = {.on_response = on_response};
static const struct stream_events asked_events = {
    .on_data = on_data, .on_end = on_end, .on_fail = on_fail};

static void on_dead(void *owner, int err, struct str why)
{
    (void)owner;
    (void)err;
    (void)why;
}

static const struct http_client_events h2_events = {.on_dead = on_dead};

static void ask(struct http_client *client, struct asked *asked)
{
    const struct http_field type = {STR("content-type"), asked->type};
    const struct http_request head = {
        .method = asked->method,
        .scheme = STR("http"),
        .authority = STR("store"),
        .path = asked->path,
        .fields = {.at = &type, .len = 1},
        .content_length = 0,
    };
    asked->stream = http_request(client, &head, &asked_http, &asked_events, asked);
    cr_assert_not_null(asked->stream);
    stream_resume(&asked->stream->stream);
}

static void leave(struct asked *asked)
{
    stream_close(&asked->stream->stream, -ERR_RESET);
    text_fini(&asked->grpc_status);
}

/* The call's bytes are HTTP/2 from here on. */
static struct http_client *speak_h2(void)
{
    static const struct http_limits limits = {0};
    struct stream *stream = call.tap.stream;
    stream_pause(stream);
    call.tap.stream = NULL;
    return http2_client_new(town.world.loop, stream, &limits, &h2_events, NULL);
}

static bool are_denied(void *ctx)
{
    const struct asked *asked = ctx;
    return asked[1].has_ended && asked[2].has_ended;
}

Test(judge_h2, streams_of_http_2_are_judged_each)
{
    struct asked asked[] = {
        {.method = STR("GET"), .path = STR("/public"), .type = STR("text/plain")},
        {.method = STR("GET"), .path = STR("/admin"), .type = STR("text/plain")},
        {.method = STR("POST"), .path = STR("/pay.Till/Open"), .type = STR("application/grpc")},
        {.method = STR("GET"), .path = STR("/public/2"), .type = STR("text/plain")},
    };
    open_way(&ways[0], allow_public);
    struct http_client *client = speak_h2();
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        ask(client, &asked[i]);
    cr_assert(run_until(town.world.loop, are_denied, asked, PATIENCE_MS));
    cr_expect_eq(asked[1].status, 403);
    cr_expect_eq(asked[2].status, 200);
    cr_expect(str_eq(text_str(&asked[2].grpc_status), STR("7")), "PERMISSION_DENIED");
    cr_expect(app_saw(1, "PRI * HTTP/2.0", 1), "the backend is spoken to as the client speaks");
    cr_expect_eq(asked[0].status, 0, "it waits for the app");
    for (size_t i = 0; i < ARRAY_LEN(asked); i++)
        leave(&asked[i]);
    http_client_close(client, 0);
    finish();
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "\"request.path\":\"/pay.Till/Open\"",
                     "\"response.code\":200", "\"grpc.status\":\"7\"", "\"why\":\"denied\""),
              "as it was answered");
    town_close(&town);
}

static bool has_asked_ended(void *ctx)
{
    return ((const struct asked *)ctx)->has_ended;
}

static void await_end(struct asked *asked)
{
    cr_assert(run_until(town.world.loop, has_asked_ended, asked, PATIENCE_MS));
    leave(asked);
}

Test(judge_h2, a_stream_that_was_refused_makes_no_bytes_of_the_connection)
{
    struct asked asked[] = {
        {.method = STR("GET"), .path = STR("public"), .type = STR("text/plain")},
        {.method = STR("GET"), .path = STR("/admin"), .type = STR("text/plain")},
    };
    open_way(&ways[0], allow_public);
    struct http_client *client = speak_h2();
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        ask(client, &asked[i]);
        await_end(&asked[i]);
    }
    cr_expect_neq(asked[0].status, 403, "no policy was asked");
    cr_expect_eq(asked[1].status, 403);
    http_client_close(client, 0);
    finish();
    cr_expect(LOGGED(&town, "\"direction\":\"inbound\"", "request complete"));
    cr_expect_not(LOGGED(&town, "\"direction\":\"inbound\"", "connection complete"),
                  "its exchanges tell of it");
    town_close(&town);
}

/* What the flow of the judging node holds. */
static size_t held_by_the_connection(void)
{
    const struct list *serving = &town.n2.walk->flows[FLOW_SERVING];
    cr_assert(!list_is_empty(serving));
    return list_entry(serving->next, struct flow, by_state)->call.arena.allocated_bytes;
}

Test(judge_h2, a_connection_that_is_refused_without_end_holds_no_more_for_it)
{
    static struct http_field many[120];
    struct asked asked = {.method = STR("GET"), .path = STR("/public"), .type = STR("text/plain")};
    size_t held = 0;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        many[i] = (struct http_field){STR("x"), STR("y")};
    open_way(&ways[0], allow_public);
    struct http_client *client = speak_h2();
    for (int i = 0; i < 400; i++) {
        const struct http_request head = {
            .method = STR("GET"),
            .scheme = STR("http"),
            .authority = STR("store"),
            .path = STR("/public"),
            .protocol = i % 2 ? STR("h2c") : (struct str){0},
            .fields = {.at = many, .len = i % 2 ? 0 : ARRAY_LEN(many)},
            .content_length = HTTP_LENGTH_UNKNOWN,
            .has_body = i % 2,
        };
        asked = (struct asked){0};
        asked.stream = http_request(client, &head, &asked_http, &asked_events, &asked);
        cr_assert_not_null(asked.stream);
        stream_resume(&asked.stream->stream);
        await_end(&asked);
        cr_assert_eq(asked.status, i % 2 ? 501 : 431);
        if (i == 3)
            held = held_by_the_connection();
    }
    cr_expect_eq(held_by_the_connection(), held);
    http_client_close(client, 0);
    finish();
    town_close(&town);
}

Test(judge_h2, a_connection_that_served_does_not_end_with_the_reason_of_a_stream_it_refused)
{
    char path[256];
    struct temp_dir dir = temp_dir_new();
    struct text text = {0};
    struct asked asked[] = {
        {.method = STR("GET"), .path = STR("/admin"), .type = STR("text/plain")},
        {.method = STR("GET"), .path = STR("no path"), .type = STR("text/plain")},
    };
    (void)snprintf(path, sizeof path, "%s/audit.log", dir.path);
    town_open(&town);
    town_audit(&town, path);
    allow_public();
    town_learn(&town);
    start(&ways[0]);
    struct http_client *client = speak_h2();
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        ask(client, &asked[i]);
        await_end(&asked[i]);
    }
    cr_expect_eq(asked[0].status, 403);
    cr_expect_eq(asked[1].status, 0, "reset: it is no request");
    http_client_close(client, 0);
    finish();
    town_close(&town);
    cr_assert_eq(file_read_all(str_from(path), (size_t)1 << 20, &text), 0);
    struct str rest = text_str(&text), line;
    unsigned n_ends = 0;
    while (str_split(rest, '\n', &line, &rest) && !str_is_empty(line)) {
        if (!str_contains(line, STR("\"end\"")) || str_contains(line, STR("request.path")))
            continue;
        n_ends++;
        cr_expect(str_contains(line, STR("\"why\":\"ok\"")), "%.*s", STR_ARG(line));
    }
    cr_expect_eq(n_ends, 2, "both nodes' connections");
    text_fini(&text);
    temp_dir_remove(&dir);
}
