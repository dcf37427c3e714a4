#include "tests/unit/proxy_http/http1_kit.h"

#include <string.h>

void http1_note(struct http1_seen *seen, const char *format, ...)
{
    va_list args;

    if (seen->log.len > 0 && seen->log.ptr[seen->log.len - 1] != '\n')
        text_addc(&seen->log, '\n');
    va_start(args, format);
    text_addv(&seen->log, format, args);
    va_end(args);
    text_addc(&seen->log, '\n');
}

bool http1_saw(const struct http1_seen *seen, const char *part)
{
    return str_contains(text_str(&seen->log), str_from(part));
}

static void note_fields(struct http1_seen *seen, const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++)
        http1_note(seen, " %.*s: %.*s", STR_ARG(fields->at[i].name), STR_ARG(fields->at[i].value));
}

static void on_data(void *owner, struct slice bytes)
{
    struct http1_seen *seen = owner;

    seen->n_bytes += (unsigned)bytes.len;
    if (seen->log.len == 0 || seen->log.ptr[seen->log.len - 1] == '\n')
        text_add(&seen->log, STR("DATA "));
    text_add(&seen->log, slice_str(bytes));
}

void http1_close(struct http1_seen *seen, int err)
{
    struct http_stream *stream = seen->stream;

    seen->stream = NULL;
    if (stream)
        stream_close(&stream->stream, err);
}

static void on_end(void *owner)
{
    struct http1_seen *seen = owner;

    http1_note(seen, "END");
    seen->n_ends++;
    if (seen->answers) {
        const struct http_response head = http1_plain(200, 2);

        http_respond(seen->stream, &head); /* nothing happens if it was answered */
        http1_say(seen, "ok");
        http1_close(seen, 0);
    } else if (seen->closes_at_end) {
        http1_close(seen, 0);
    }
}

static void on_drain(void *owner)
{
    ((struct http1_seen *)owner)->n_drained++;
}

static void on_fail(void *owner, int err)
{
    struct http1_seen *seen = owner;

    http1_note(seen, "FAIL %s", err_label(err));
    seen->fail_err = err;
    if (seen->closes_at_fail)
        http1_close(seen, err);
}

const struct stream_events http1_seen_stream = {on_data, on_end, on_drain, on_fail};

static void on_interim(void *owner, const struct http_response *head)
{
    http1_note(owner, "INTERIM %u", head->status);
    note_fields(owner, &head->fields);
}

static void on_response(void *owner, const struct http_response *head)
{
    struct http1_seen *seen = owner;

    seen->n_responses++;
    http1_note(seen, "RESPONSE %u %lld %s", head->status, (long long)head->content_length,
               head->has_body ? "body" : "nothing");
    note_fields(seen, &head->fields);
}

static void on_trailers(void *owner, const struct http_fields *trailers)
{
    http1_note(owner, "TRAILERS");
    note_fields(owner, trailers);
}

const struct http_stream_events http1_seen_exchange = {on_interim, on_response, on_trailers};

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    struct http1_seen *seen = owner;

    seen->n_requests++;
    seen->stream = stream;
    seen->version = head->version;
    text_clear(&seen->protocol);
    text_add(&seen->protocol, head->protocol);
    http1_note(seen, "REQUEST %.*s %.*s %.*s %.*s %lld %s", STR_ARG(head->method),
               STR_ARG(head->authority), STR_ARG(head->path), STR_ARG(head->protocol),
               (long long)head->content_length, head->has_body ? "body" : "nothing");
    note_fields(seen, &head->fields);
    http_stream_set_owner(stream, &http1_seen_exchange, &http1_seen_stream, seen);
    if (seen->refuses) {
        const struct http_response refusal = http1_plain(403, 0);
        http_respond(stream, &refusal);
        http1_close(seen, 0);
        return;
    }
    if (!seen->stays_paused)
        stream_resume(&stream->stream);
    if (seen->answers && head->protocol.len > 0) { /* declined: only then it is whole */
        const struct http_response declined = http1_plain(200, 2);
        http_respond(stream, &declined);
    }
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    struct http1_seen *seen = owner;

    ensure(err < 0 && why.len > 0);
    http1_note(seen, "REFUSED %u", status);
    seen->n_refused++;
    seen->refused_status = status;
    text_clear(&seen->why);
    text_add(&seen->why, why);
}

static void on_dead(void *owner, int err, struct str why)
{
    struct http1_seen *seen = owner;

    ensure(!seen->is_dead);
    http1_note(seen, "DEAD %s", err_label(err));
    seen->is_dead = true;
    seen->dead_err = err;
    text_clear(&seen->why);
    text_add(&seen->why, why);
}

static void on_capacity(void *owner)
{
    ((struct http1_seen *)owner)->n_capacity++;
}

const struct http_server_events http1_seen_server = {on_request, on_refused, on_dead};
const struct http_client_events http1_seen_client = {on_capacity, on_dead};

struct http_response http1_plain(unsigned status, int64_t length)
{
    return (struct http_response){
        .status = status, .content_length = length, .has_body = length != 0};
}

void http1_say(struct http1_seen *seen, const char *body)
{
    if (body[0])
        stream_write_copy(&seen->stream->stream, body, strlen(body));
    stream_shutdown(&seen->stream->stream);
}

void http1_seen_fini(struct http1_seen *seen)
{
    http1_close(seen, 0);
    if (seen->server)
        http_server_close(seen->server, 0);
    if (seen->client)
        http_client_close(seen->client, 0);
    text_fini(&seen->log);
    text_fini(&seen->why);
    text_fini(&seen->protocol);
    *seen = (struct http1_seen){0};
}
