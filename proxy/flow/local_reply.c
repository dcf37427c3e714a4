#include "proxy/flow/local_reply.h"

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/http/date.h"

#define FIELDS_MAX 7

static unsigned status_of(int err)
{
    switch (-err) {
    case ERR_INVALID: return 400;
    case ERR_TOKEN_REFUSED: return 401;
    case ERR_DENIED:
    case ERR_DENIED_LATE:
    case ERR_TUNNEL_DENIED: return 403;
    case ERR_NOT_FOUND: return 404;
    case ERR_CONNECT_TIMEOUT:
    case ERR_RESPONSE_TIMEOUT:
    case ERR_IDLE_TIMEOUT:
    case ERR_HALF_CLOSE_TIMEOUT:
    case ERR_NETWORK_POLICY: return 504;
    case ERR_UPSTREAM_RESET:
    case ERR_HTTP_RESPONSE:
    case ERR_HTTP_RESPONSE_LIMIT:
    case ERR_H2: return 502;
    default: return 503;
    }
}

struct local_reply local_reply_of(int err)
{
    return (struct local_reply){
        .status = status_of(err),
        .reason = str_from(err_label(err)),
        .body = status_of(err) == 403 ? STR("RBAC: access denied") : str_from(err_text(err)),
    };
}

bool local_reply_is_grpc(const struct http_fields *request_fields)
{
    const struct str type = http_find(request_fields, "content-type");
    return str_starts_with(type, STR("application/grpc")) &&
           (type.len == 16 || type.ptr[16] == '+' || type.ptr[16] == ';');
}

struct str local_reply_grpc_status(unsigned status)
{
    switch (status) {
    case 400: return STR("13");
    case 401: return STR("16");
    case 403: return STR("7");
    case 404: return STR("12");
    case 429:
    case 502:
    case 503: return STR("14");
    case 504: return STR("4");
    default: return STR("2");
    }
}

/* In a grpc-message only visible ASCII but "%" stands for itself; our sentences are that, but for
 * what may be quoted in them. */
static struct str grpc_message(struct arena *arena, struct str sentence)
{
    struct str copy = arena_str(arena, sentence);
    char *letters = (char *)(uintptr_t)copy.ptr;
    for (size_t i = 0; i < copy.len; i++)
        if (letters[i] < ' ' || letters[i] > '~' || letters[i] == '%')
            letters[i] = '?';
    return copy;
}

static size_t send_grpc(struct http_stream *client, const struct local_reply *reply,
                        struct arena *arena)
{
    char date[HTTP_DATE_MAX];
    const struct http_field fields[] = {
        {STR("date"), http_date_text(clock_wall_ns() / (int64_t)NS_PER_SEC, date)},
        {STR("content-type"), STR("application/grpc")},
        {STR("grpc-status"), local_reply_grpc_status(reply->status)},
        {STR("grpc-message"), grpc_message(arena, reply->body)},
        {STR("server"), STR("isthmus")},
        {STR("x-isthmus-reason"), reply->reason},
    };
    const struct http_response head = {
        .status = LOCAL_REPLY_GRPC,
        .fields = {.at = fields, .len = ARRAY_LEN(fields)},
        .content_length = HTTP_LENGTH_UNKNOWN,
    };
    http_respond(client, &head);
    stream_close(&client->stream, 0);
    return 0;
}

size_t local_reply_send(struct http_stream *client, const struct http_request *request,
                        const struct local_reply *reply, struct arena *arena)
{
    static const struct route_edit_list no_edits;
    struct http_field fields[FIELDS_MAX];
    char date[HTTP_DATE_MAX];
    size_t n = 0;
    if (local_reply_is_grpc(&request->fields))
        return send_grpc(client, reply, arena);
    const bool has_content =
        !str_is_empty(reply->body) && reply->status != 204 && reply->status != 304;
    const bool has_body = has_content && !str_eq(request->method, STR("HEAD"));
    fields[n++] = (struct http_field){STR("date"),
                                      http_date_text(clock_wall_ns() / (int64_t)NS_PER_SEC, date)};
    fields[n++] = (struct http_field){STR("server"), STR("isthmus")};
    fields[n++] = (struct http_field){STR("x-isthmus-reason"), reply->reason};
    if (!str_is_empty(reply->location))
        fields[n++] = (struct http_field){STR("location"), reply->location};
    if (!str_is_empty(reply->challenge))
        fields[n++] = (struct http_field){STR("www-authenticate"), reply->challenge};
    if (has_content)
        fields[n++] = (struct http_field){STR("content-type"), STR("text/plain")};
    const struct http_fields plain = {.at = fields, .len = n};
    const struct str body =
        has_content ? arena_printf(arena, "%.*s\n", STR_ARG(reply->body)) : (struct str){0};
    const struct http_response head = {
        .status = reply->status,
        .fields = route_edit(&plain, reply->edits ? reply->edits : &no_edits, arena),
        /* For HEAD what GET would have; what the 200 would be of which this is a 304 nobody knows
         * (RFC 9110 8.6). */
        .content_length = reply->status == 304 ? HTTP_LENGTH_UNKNOWN : (int64_t)body.len,
        .has_body = has_body,
    };
    http_respond(client, &head);
    if (has_body) {
        (void)stream_write_copy(&client->stream, body.ptr, body.len);
        stream_shutdown(&client->stream);
    }
    stream_close(&client->stream, 0);
    return has_body ? body.len : 0;
}
