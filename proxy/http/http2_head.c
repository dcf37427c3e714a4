#include "proxy/http/http2_head.h"

#include <string.h>

#include "proxy/base/ascii.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/strict.h"

#define HEAD_BYTES (64u << 10)
#define FIELDS     100u
#define STREAMS    100u
#define HEAD_NS    (10 * NS_PER_SEC)
#define BODY_NS    (300 * NS_PER_SEC)

/* ------------------------------------------------------------------ reading */

struct reader {
    struct http2_words *words;
    size_t len;
    struct str method, scheme, path, authority, protocol, host, status;
    int64_t content_length;
    size_t cookie_at, n_cookies, cookie_bytes;
    const char *why;
};

void http2_words_fini(struct http2_words *words)
{
    arena_fini(&words->arena);
}

static void read_pseudo(struct reader *r, const struct h2_field *field)
{
    const struct {
        struct str name;
        struct str *slot;
    } known[] = {
        {STR(":method"), &r->method},     {STR(":path"), &r->path},
        {STR(":scheme"), &r->scheme},     {STR(":authority"), &r->authority},
        {STR(":protocol"), &r->protocol}, {STR(":status"), &r->status},
    };

    for (size_t i = 0; i < ARRAY_LEN(known); i++) {
        if (!str_eq(known[i].name, field->name))
            continue;
        if (known[i].slot->ptr)
            r->why = "a pseudo-field came twice";
        else if (str_is_empty(field->value))
            r->why = "an empty pseudo-field";
        *known[i].slot = field->value;
        return;
    }
    r->why = "an unknown pseudo-field";
}

static void keep(struct reader *r, const struct h2_field *field)
{
    r->words->fields[r->len++] = (struct http_field){field->name, field->value};
}

static void read_length(struct reader *r, struct str value)
{
    int64_t length;

    if (!strict_length(value, &length))
        r->why = "content-length is no number";
    else if (r->content_length != HTTP_LENGTH_UNKNOWN)
        r->why = "content-length came twice";
    else
        r->content_length = length;
}

static void read_cookie(struct reader *r, const struct h2_field *field)
{
    if (r->n_cookies == 0)
        r->cookie_at = r->len;
    r->n_cookies++;
    r->cookie_bytes += field->value.len + 2;
    if (r->n_cookies == 1)
        keep(r, field);
}

static void read_field(struct reader *r, const struct h2_field *field)
{
    struct str name = field->name;

    if (!ascii_is_lower_token(name))
        r->why = "a field's name is no token in lower case";
    else if (!strict_is_value(field->value))
        r->why = "a field's value holds what it must not";
    else if (str_eq(name, STR("te")) && str_eq(field->value, STR("trailers")))
        keep(r, field);
    else if (strict_is_hop_field(name))
        r->why = "a field of the connection, of which HTTP/2 has none";
    else if (str_eq(name, STR("content-length")))
        read_length(r, field->value);
    else if (str_eq(name, STR("host")) && r->host.ptr)
        r->why = "host came twice";
    else if (str_eq(name, STR("host")))
        r->host = field->value;
    else if (str_eq(name, STR("cookie")))
        read_cookie(r, field);
    else
        keep(r, field);
}

/* RFC 9113 8.2.3: the crumbs are one field to everyone else. */
static void join_cookies(struct reader *r, const struct h2_head *head)
{
    char *joined = arena_alloc(&r->words->arena, r->cookie_bytes);
    size_t len = 0;

    for (size_t i = 0; i < head->len; i++) {
        struct str crumb = head->fields[i].value;

        if (!str_eq(head->fields[i].name, STR("cookie")))
            continue;
        if (len > 0) {
            joined[len++] = ';';
            joined[len++] = ' ';
        }
        if (crumb.len > 0)
            memcpy(joined + len, crumb.ptr, crumb.len);
        len += crumb.len;
    }
    r->words->fields[r->cookie_at].value = str_of(joined, len);
}

static void read_fields(struct reader *r, const struct h2_head *head, bool is_request)
{
    size_t i = 0;

    r->content_length = HTTP_LENGTH_UNKNOWN;
    for (; i < head->len && str_starts_with(head->fields[i].name, STR(":")) && !r->why; i++)
        read_pseudo(r, &head->fields[i]);
    for (; i < head->len && !r->why; i++) {
        if (!is_request && str_eq(head->fields[i].name, STR("host")))
            keep(r, &head->fields[i]);
        else
            read_field(r, &head->fields[i]);
    }
    if (r->n_cookies > 1 && !r->why)
        join_cookies(r, head);
}

static const char *judge_authority(struct reader *r)
{
    if (!r->authority.ptr)
        r->authority = r->host;
    else if (r->host.ptr && !str_eq_ci(r->authority, r->host))
        return "host is not :authority";
    if (!r->authority.ptr)
        return "neither :authority nor host";
    return strict_is_authority(r->authority) ? NULL : ":authority is no host with a port";
}

static const char *judge_request(struct reader *r, unsigned *out_status)
{
    bool is_connect = str_eq(r->method, STR("CONNECT"));

    if (r->why)
        return r->why;
    if (r->status.ptr)
        return "a request with :status";
    if (!ascii_is_token(r->method))
        return ":method is no token";
    if (r->protocol.ptr && (!is_connect || !ascii_is_token(r->protocol)))
        return ":protocol without CONNECT, or no token";
    if (r->protocol.len > HTTP_PROTOCOL_MAX)
        return ":protocol is too long a name";
    if (is_connect && !r->protocol.ptr) {
        *out_status = 501;
        return "CONNECT is not served";
    }
    if (is_connect && strict_is_http_itself(r->protocol)) {
        *out_status = 501;
        return "HTTP within HTTP is not served";
    }
    if (!str_eq(r->scheme, STR("http")) && !str_eq(r->scheme, STR("https")))
        return ":scheme is neither http nor https";
    if (!strict_is_path(r->method, r->path))
        return ":path is no path";
    return judge_authority(r);
}

const char *http2_read_request(const struct h2_head *head, struct http2_words *words,
                               struct http_request *out, unsigned *out_status)
{
    struct reader r = {.words = words};
    const char *why;

    *out_status = 0;
    words->arena = (struct arena){0};
    if (head->is_cut || head->len > HTTP2_FIELDS_MAX) {
        *out_status = 431;
        return "the head is too large";
    }
    read_fields(&r, head, true);
    why = judge_request(&r, out_status);
    if (why)
        return why;
    *out = (struct http_request){
        .method = r.protocol.ptr ? STR("GET") : r.method,
        .scheme = r.scheme,
        .authority = r.authority,
        .path = r.path,
        .protocol = r.protocol,
        .fields = {.at = words->fields, .len = r.len},
        .content_length = r.protocol.ptr ? HTTP_LENGTH_UNKNOWN : r.content_length,
        .has_body = !head->end_stream,
        .version = HTTP_2,
    };
    return NULL;
}

static bool read_status(struct str digits, unsigned *out_status)
{
    uint64_t status;

    if (digits.len != 3 || !str_to_u64(digits, 599, &status) || status < 100 || status == 101)
        return false;
    *out_status = (unsigned)status;
    return true;
}

const char *http2_read_response(const struct h2_head *head, struct http2_words *words,
                                struct http_response *out)
{
    struct reader r = {.words = words};
    unsigned status;

    words->arena = (struct arena){0};
    if (head->is_cut || head->len > HTTP2_FIELDS_MAX)
        return "the head is too large";
    read_fields(&r, head, false);
    if (r.why)
        return r.why;
    if (r.method.ptr || r.path.ptr || r.scheme.ptr || r.authority.ptr || r.protocol.ptr)
        return "a response with a pseudo-field of requests";
    if (!read_status(r.status, &status))
        return ":status is none";
    *out = (struct http_response){
        .status = status,
        .fields = {.at = words->fields, .len = r.len},
        .content_length = r.content_length,
        .has_body = !head->end_stream && status >= 200 && status != 204 && status != 304,
    };
    return NULL;
}

/* ------------------------------------------------------------------ writing */

static void nv_open(struct http2_nv *nv, size_t n_most)
{
    nv->len = 0;
    nv->at = n_most <= ARRAY_LEN(nv->room) ? nv->room : mem_new_array(struct h2_field, n_most);
}

static void nv_add(struct http2_nv *nv, struct str name, struct str value)
{
    nv->at[nv->len++] = (struct h2_field){name, value};
}

void http2_nv_fini(struct http2_nv *nv)
{
    if (nv->at != nv->room)
        mem_free(nv->at);
}

static void nv_add_fields(struct http2_nv *nv, const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++)
        nv_add(nv, fields->at[i].name, fields->at[i].value);
}

/* Decimal, at the end of the room: printf would cost more than the rest of a head. */
static struct str write_decimal(char *room, size_t size, uint64_t value)
{
    size_t at = size;

    do {
        room[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0 && at > 0);
    return str_of(room + at, size - at);
}

static void nv_add_length(struct http2_nv *nv, int64_t length)
{
    if (length < 0) /* HTTP_LENGTH_UNKNOWN */
        return;
    nv_add(nv, STR("content-length"),
           write_decimal(nv->digits, sizeof(nv->digits), (uint64_t)length));
}

void http2_write_request(const struct http_request *head, struct http2_nv *out)
{
    bool has_protocol = !str_is_empty(head->protocol);

    nv_open(out, head->fields.len + 6);
    nv_add(out, STR(":method"), has_protocol ? STR("CONNECT") : head->method);
    if (has_protocol)
        nv_add(out, STR(":protocol"), head->protocol);
    nv_add(out, STR(":scheme"), str_is_empty(head->scheme) ? STR("http") : head->scheme);
    if (!str_is_empty(head->authority))
        nv_add(out, STR(":authority"), head->authority);
    nv_add(out, STR(":path"), head->path);
    nv_add_fields(out, &head->fields);
    if (!has_protocol)
        nv_add_length(out, head->content_length);
}

void http2_write_response(const struct http_response *head, struct http2_nv *out)
{
    ensure(head->status >= 100 && head->status <= 999);
    nv_open(out, head->fields.len + 2);
    nv_add(out, STR(":status"), write_decimal(out->status, sizeof(out->status), head->status));
    nv_add_fields(out, &head->fields);
    if (head->status >= 200 && head->status != 204)
        nv_add_length(out, head->content_length);
}

/* ------------------------------------------------------------------ both ends */

static uint32_t u32_or(uint32_t value, uint32_t fallback)
{
    return value ? value : fallback;
}

static uint64_t u64_or(uint64_t value, uint64_t fallback)
{
    return value ? value : fallback;
}

struct h2_options http2_options(const struct http_limits *limits, const struct h2_http *http)
{
    static const struct http_limits defaults;
    const struct http_limits *l = limits ? limits : &defaults;
    uint32_t fields = u32_or(l->fields, FIELDS) + 4; /* and the pseudo-fields */

    return (struct h2_options){
        .http = http,
        .allow_protocols = true,
        .max_header_list_size = u32_or(l->head_bytes, HEAD_BYTES),
        .max_fields = fields < HTTP2_FIELDS_MAX ? fields : HTTP2_FIELDS_MAX,
        .max_concurrent_streams = u32_or(l->streams, STREAMS),
        .head_ns = u64_or(l->head_ns, HEAD_NS),
        .body_ns = u64_or(l->body_ns, BODY_NS),
        .resets = l->resets,
        .resets_max = l->resets_max,
        .stream_window = l->stream_window,
        .stream_window_max = l->stream_window_max,
        .connection_window = l->connection_window,
        .still_ms = l->still_ms,
        .keepalive_ns = H2_NO_KEEPALIVE,
    };
}

static bool may_be_trailer(const struct h2_field *field)
{
    return ascii_is_lower_token(field->name) && strict_is_value(field->value) &&
           strict_may_trail(field->name);
}

bool http2_may_be_trailers(const struct h2_head *trailers)
{
    if (!trailers->end_stream || trailers->len > HTTP2_FIELDS_MAX)
        return false;
    for (size_t i = 0; i < trailers->len; i++) {
        if (!may_be_trailer(&trailers->fields[i]))
            return false;
    }
    return true;
}

void http2_on_trailers(struct http_stream *stream, const struct h2_head *trailers)
{
    struct http_field fields[HTTP2_FIELDS_MAX];
    struct http_fields shown = {.at = fields, .len = trailers->len};

    for (size_t i = 0; i < trailers->len; i++)
        fields[i] = (struct http_field){trailers->fields[i].name, trailers->fields[i].value};
    if (stream->http_events && stream->http_events->on_trailers)
        stream->http_events->on_trailers(stream->stream.owner, &shown);
}

void http2_send_trailers(struct http_stream *stream, const struct http_fields *fields)
{
    struct http2_nv nv;

    nv_open(&nv, fields->len + 1);
    nv_add_fields(&nv, fields);
    h2_send_trailers(&stream->stream, nv.at, nv.len);
    http2_nv_fini(&nv);
}
