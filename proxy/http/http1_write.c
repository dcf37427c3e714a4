/*
 * http1_write.c - the writing half of http1_head.h: a head is measured, then written in one go into
 * a slab with room behind it, where the first bytes of a small body can follow.
 */
#include <stdio.h>
#include <string.h>

#include "proxy/base/ascii.h"
#include "proxy/http/http1_head.h"
#include "proxy/http/strict.h"

#define SLAB_SMALL ((size_t)4096) /* what a queue of slices appends to */
#define LINES_MAX  ((size_t)320)  /* what a hop adds to a head, and the start line's own words */

const char *http1_reason(unsigned status)
{
    static const struct {
        unsigned status;
        const char *reason;
    } rows[] = {
        {200, "OK"},
        {100, "Continue"},
        {101, "Switching Protocols"},
        {103, "Early Hints"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {301, "Moved Permanently"},
        {302, "Found"},
        {303, "See Other"},
        {304, "Not Modified"},
        {307, "Temporary Redirect"},
        {308, "Permanent Redirect"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {409, "Conflict"},
        {410, "Gone"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {416, "Range Not Satisfiable"},
        {417, "Expectation Failed"},
        {421, "Misdirected Request"},
        {422, "Unprocessable Content"},
        {425, "Too Early"},
        {426, "Upgrade Required"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (rows[i].status == status)
            return rows[i].reason;
    }
    return ""; /* it means nothing: RFC 9112 4 */
}

struct pen {
    struct slab *slab;
    char *at;
};

static struct pen pen_new(struct slab_pool *slabs, size_t len)
{
    struct slab *slab = slab_new(slabs, len > SLAB_SMALL ? len : SLAB_SMALL);

    return (struct pen){slab, (char *)slab->bytes};
}

static void put(struct pen *pen, struct str text)
{
    if (text.len > 0)
        memcpy(pen->at, text.ptr, text.len);
    pen->at += text.len;
}

static struct slice pen_lift(struct pen *pen)
{
    struct slice slice = slice_of(pen->slab, 0, (size_t)(pen->at - (char *)pen->slab->bytes));

    ensure(slice.len <= pen->slab->cap);
    slab_unref(pen->slab);
    return slice;
}

static size_t size_of_fields(const struct http_fields *fields)
{
    size_t size = 0;

    for (size_t i = 0; i < fields->len; i++)
        size += fields->at[i].name.len + fields->at[i].value.len + 4;
    return size;
}

static void put_field(struct pen *pen, struct str name, struct str value)
{
    put(pen, name);
    memcpy(pen->at, ": ", 2);
    pen->at += 2;
    put(pen, value);
    memcpy(pen->at, "\r\n", 2);
    pen->at += 2;
}

static void put_fields(struct pen *pen, const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++) {
        assume(ascii_is_token(fields->at[i].name) && strict_is_value(fields->at[i].value));
        put_field(pen, fields->at[i].name, fields->at[i].value);
    }
}

static void put_number(struct pen *pen, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);

    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    put(pen, str_of(digits + at, sizeof(digits) - at));
}

static bool has_te(const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++)
        if (fields->at[i].name.len == 2 && memcmp(fields->at[i].name.ptr, "te", 2) == 0)
            return true;
    return false;
}

static void put_connection(struct pen *pen, const struct http_fields *fields,
                           const struct http1_hop *hop)
{
    const struct str options[] = {hop->closes ? STR("close") : (struct str){0},
                                  hop->upgrade.len > 0 ? STR("upgrade") : (struct str){0},
                                  has_te(fields) ? STR("te") : (struct str){0}};
    bool is_first = true;

    for (size_t i = 0; i < ARRAY_LEN(options); i++) {
        if (options[i].len == 0)
            continue;
        put(pen, is_first ? STR("connection: ") : STR(", "));
        put(pen, options[i]);
        is_first = false;
    }
    if (!is_first)
        put(pen, STR("\r\n"));
}

static void put_hop(struct pen *pen, const struct http_fields *fields, const struct http1_hop *hop)
{
    if (hop->length != HTTP_LENGTH_UNKNOWN) {
        put(pen, STR("content-length: "));
        put_number(pen, (uint64_t)hop->length);
        put(pen, STR("\r\n"));
    }
    if (hop->is_chunked)
        put(pen, STR("transfer-encoding: chunked\r\n"));
    put_connection(pen, fields, hop);
    if (hop->upgrade.len > 0)
        put_field(pen, STR("upgrade"), hop->upgrade);
    if (hop->websocket_key.len > 0)
        put_field(pen, STR("sec-websocket-key"), hop->websocket_key);
    if (hop->websocket_accept.len > 0)
        put_field(pen, STR("sec-websocket-accept"), hop->websocket_accept);
    put(pen, STR("\r\n"));
}

struct slice http1_write_request(struct slab_pool *slabs, const struct http_request *head,
                                 const struct http1_hop *hop)
{
    const size_t size = head->method.len + head->path.len + head->authority.len + hop->upgrade.len +
                        size_of_fields(&head->fields) + LINES_MAX;
    struct pen pen = pen_new(slabs, size);

    put(&pen, head->method);
    put(&pen, STR(" "));
    put(&pen, head->path);
    put(&pen, STR(" HTTP/1.1\r\nhost: "));
    put(&pen, head->authority);
    put(&pen, STR("\r\n"));
    put_fields(&pen, &head->fields);
    put_hop(&pen, &head->fields, hop);
    return pen_lift(&pen);
}

struct slice http1_write_response(struct slab_pool *slabs, const struct http_response *head,
                                  const struct http1_hop *hop)
{
    struct pen pen = pen_new(slabs, hop->upgrade.len + size_of_fields(&head->fields) + LINES_MAX);

    ensure(head->status >= 100 && head->status <= 599);
    put(&pen, STR("HTTP/1.1 "));
    put_number(&pen, head->status);
    put(&pen, STR(" "));
    put(&pen, str_from(http1_reason(head->status)));
    put(&pen, STR("\r\n"));
    put_fields(&pen, &head->fields);
    put_hop(&pen, &head->fields, hop);
    return pen_lift(&pen);
}

struct slice http1_write_trailers(struct slab_pool *slabs, const struct http_fields *trailers)
{
    struct pen pen = pen_new(slabs, size_of_fields(trailers) + LINES_MAX);

    put(&pen, STR("0\r\n"));
    put_fields(&pen, trailers);
    put(&pen, STR("\r\n"));
    return pen_lift(&pen);
}
