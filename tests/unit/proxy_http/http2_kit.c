#include "http2_kit.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/mem.h"

/* ------------------------------------------------------------------ talks */

static struct talk *new_talk(struct duo *duo, struct talk **all, unsigned *n)
{
    struct talk *talk = mem_new(struct talk);

    cr_assert(*n < TALKS_MAX);
    talk->duo = duo;
    all[(*n)++] = talk;
    return talk;
}

static void keep_fields(char *room, size_t size, const struct http_fields *fields)
{
    size_t at = strlen(room);

    for (size_t i = 0; i < fields->len && at < size; i++)
        at += (size_t)snprintf(room + at, size - at, "%.*s=%.*s;", STR_ARG(fields->at[i].name),
                               STR_ARG(fields->at[i].value));
}

static void on_interim(void *owner, const struct http_response *head)
{
    struct talk *talk = owner;
    size_t at = strlen(talk->interims);

    cr_assert(talk->tap.stream && talk->n_heads == 0);
    snprintf(talk->interims + at, sizeof(talk->interims) - at, "%u ", head->status);
    keep_fields(talk->interims, sizeof(talk->interims), &head->fields);
}

static void on_response(void *owner, const struct http_response *head)
{
    struct talk *talk = owner;

    cr_assert(talk->tap.stream && talk->n_heads == 0);
    talk->n_heads++;
    snprintf(talk->head, sizeof(talk->head), "%u", head->status);
    keep_fields(talk->fields, sizeof(talk->fields), &head->fields);
    talk->content_length = head->content_length;
    talk->has_body = head->has_body;
    if (talk->tap.closes_at == 'h')
        tap_close(&talk->tap, talk->tap.closes_with);
}

static void on_trailers(void *owner, const struct http_fields *trailers)
{
    struct talk *talk = owner;

    cr_assert(talk->tap.stream && !talk->tap.ended);
    talk->n_trailers++;
    keep_fields(talk->trailers, sizeof(talk->trailers), trailers);
}

static const struct http_stream_events talk_events = {on_interim, on_response, on_trailers};

struct talk *duo_ask(struct duo *duo, const struct http_request *head)
{
    struct talk *talk = new_talk(duo, duo->asked, &duo->n_asked);

    talk->stream = http_request(duo->client, head, &talk_events, &tap_events, &talk->tap);
    cr_assert(talk->stream);
    talk->tap.stream = &talk->stream->stream;
    stream_resume(talk->tap.stream);
    return talk;
}

struct talk *duo_get(struct duo *duo, const char *path, const char *const *from)
{
    struct http_field fields[64];
    size_t n = 0;

    for (; from && from[n * 2]; n++)
        fields[n] = (struct http_field){str_from(from[n * 2]), str_from(from[n * 2 + 1])};
    return duo_ask(duo, &(struct http_request){.method = STR("GET"),
                                               .scheme = STR("http"),
                                               .authority = STR("a.example"),
                                               .path = str_from(path),
                                               .fields = {.at = fields, .len = n},
                                               .content_length = HTTP_LENGTH_UNKNOWN});
}

struct talk *duo_post(struct duo *duo, const char *path, int64_t length)
{
    return duo_ask(duo, &(struct http_request){.method = STR("POST"),
                                               .scheme = STR("http"),
                                               .authority = STR("a.example"),
                                               .path = str_from(path),
                                               .content_length = length,
                                               .has_body = true});
}

void talk_write(struct talk *talk, const char *text)
{
    stream_write_copy(talk->tap.stream, text, strlen(text));
}

void talk_respond(struct talk *talk, unsigned status, int64_t length, bool has_body)
{
    const struct http_field field = {STR("x-from"), STR("server")};
    struct http_response head = {status, {&field, 1}, length, has_body};

    http_respond(talk->stream, &head);
}

void talk_trailers(struct talk *talk, const char *name, const char *value)
{
    const struct http_field field = {str_from(name), str_from(value)};

    http_trailers(talk->stream, &(struct http_fields){.at = &field, .len = 1});
}

/* ------------------------------------------------------------------ ends */

static void echo_data(void *owner, struct slice bytes)
{
    struct talk *talk = owner;

    tap_events.on_data(owner, bytes);
    if (talk->tap.stream && !stream_write(talk->tap.stream, slice_ref(bytes)))
        stream_pause(talk->tap.stream);
}

static void echo_drain(void *owner)
{
    struct talk *talk = owner;

    tap_events.on_drain(owner);
    stream_resume(talk->tap.stream);
}

static void echo_end(void *owner)
{
    struct talk *talk = owner;

    tap_events.on_end(owner);
    stream_shutdown(talk->tap.stream);
    if (talk->tap.closes_at != 'k') /* to keep it */
        tap_close(&talk->tap, 0);
}

static void echo_trailers(void *owner, const struct http_fields *trailers)
{
    struct talk *talk = owner;

    on_trailers(owner, trailers);
    http_trailers(talk->stream, trailers);
}

static void echo_fail(void *owner, int err)
{
    tap_events.on_fail(owner, err);
}

static const struct http_stream_events echo_http_events = {.on_trailers = echo_trailers};

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    static struct stream_events echo_events;
    struct duo *duo = owner;
    struct talk *talk = new_talk(duo, duo->heard, &duo->n_heard);

    echo_events = (struct stream_events){echo_data, echo_end, echo_drain, echo_fail};
    talk->stream = stream;
    talk->tap.stream = &stream->stream;
    talk->n_heads++;
    talk->content_length = head->content_length;
    talk->has_body = head->has_body;
    cr_expect_eq(head->version, HTTP_2);
    snprintf(talk->head, sizeof(talk->head), "%.*s %.*s %.*s %.*s %.*s", STR_ARG(head->method),
             STR_ARG(head->scheme), STR_ARG(head->authority), STR_ARG(head->path),
             STR_ARG(head->protocol));
    keep_fields(talk->fields, sizeof(talk->fields), &head->fields);
    if (duo->manner == 'e') {
        http_stream_set_owner(stream, &echo_http_events, &echo_events, talk);
        http_respond(stream,
                     &(struct http_response){.status = str_is_empty(head->protocol) ? 200 : 101,
                                             .content_length = HTTP_LENGTH_UNKNOWN,
                                             .has_body = true});
        stream_resume(&stream->stream);
        return;
    }
    http_stream_set_owner(stream, &talk_events, &tap_events, talk);
    stream_resume(&stream->stream);
    if (duo->manner == 'o') {
        talk_respond(talk, 200, 2, true);
        talk_write(talk, "ok");
        stream_shutdown(&stream->stream);
    }
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    struct duo *duo = owner;

    cr_expect(err < 0 && why.len > 0);
    duo->n_refused++;
    duo->refused_status = status;
    snprintf(duo->refused_why, sizeof(duo->refused_why), "%.*s", STR_ARG(why));
}

static void on_server_dead(void *owner, int err, struct str why)
{
    struct duo *duo = owner;

    cr_assert_eq(duo->n_server_dead++, 0);
    cr_expect(why.len > 0);
    duo->server_err = err;
    snprintf(duo->server_why, sizeof(duo->server_why), "%.*s", STR_ARG(why));
    http_server_close(duo->server, 0);
    duo->server = NULL;
}

static void on_client_dead(void *owner, int err, struct str why)
{
    struct duo *duo = owner;

    cr_assert_eq(duo->n_client_dead++, 0);
    cr_expect(why.len > 0);
    duo->client_err = err;
    http_client_close(duo->client, 0);
    duo->client = NULL;
}

static void on_capacity(void *owner)
{
    ((struct duo *)owner)->n_capacity++;
}

static const struct http_server_events server_events = {on_request, on_refused, on_server_dead};
static const struct http_client_events client_events = {on_capacity, on_client_dead};

void duo_open(struct duo *duo, const struct http_limits *client, const struct http_limits *server)
{
    *duo = (struct duo){.loop = loop_new(), .manner = 'o'};
    duo->below_client = fake_stream_new(duo->loop);
    duo->below_server = fake_stream_new(duo->loop);
    duo->client =
        http2_client_new(duo->loop, &duo->below_client->stream, client, &client_events, duo);
    duo->server =
        http2_server_new(duo->loop, &duo->below_server->stream, server, &server_events, duo);
    run_turns(duo->loop, 2);
}

static void free_talks(struct talk **talks, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        tap_free(&talks[i]->tap);
        mem_free(talks[i]);
    }
}

void duo_close(struct duo *duo)
{
    free_talks(duo->asked, duo->n_asked);
    free_talks(duo->heard, duo->n_heard);
    if (duo->client)
        http_client_close(duo->client, 0);
    if (duo->server)
        http_server_close(duo->server, 0);
    run_turns(duo->loop, 3);
    fake_stream_free(duo->below_client);
    fake_stream_free(duo->below_server);
    loop_finish(duo->loop);
}

/* ------------------------------------------------------------------ the wire */

bool duo_carry(struct duo *duo, bool to_client, size_t n_bytes)
{
    const struct fake_stream *from = to_client ? duo->below_server : duo->below_client;
    struct fake_stream *to = to_client ? duo->below_client : duo->below_server;
    size_t *at = &duo->carried[to_client];
    struct str news = str_sub(fake_written(from), *at, n_bytes);

    if (news.len == 0 && from->is_shut && !to->is_closed && !to->has_end)
        fake_end(to);
    if (news.len == 0)
        return false;
    *at += news.len;
    if (!to->is_closed)
        fake_feed(to, news.ptr, news.len);
    return true;
}

void duo_run(struct duo *duo, size_t piece)
{
    unsigned n_quiet = 0;

    while (n_quiet < 8) {
        bool moved = duo_carry(duo, false, piece);

        moved |= duo_carry(duo, true, piece);
        n_quiet = moved ? 0 : n_quiet + 1;
        run_turns(duo->loop, 2);
    }
}
