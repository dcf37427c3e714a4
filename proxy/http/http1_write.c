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

static const char *line_end(const struct http_field *field)
{
    return field->value.ptr + field->value.len + 2;
}

/* What is learnt of the fields in one look at them. */
struct measure {
    size_t size; /* as lines, at most */
    bool has_te; /* which never stands as it came */
};

static struct measure measure(const struct http_fields *fields)
{
    struct measure all = {0};

    if (fields->are_lines && fields->len > 0) {
        all.size = (size_t)(line_end(&fields->at[fields->len - 1]) - fields->at[0].name.ptr);
        return all;
    }
    for (size_t i = 0; i < fields->len; i++) {
        const struct str name = fields->at[i].name;
        all.size += name.len + fields->at[i].value.len + 4;
        all.has_te |= name.len == 2 && memcmp(name.ptr, "te", 2) == 0;
    }
    return all;
}

static struct pen pen_new(struct slab_pool *slabs, size_t len)
{
    struct slab *slab = slab_new(slabs, len > SLAB_SMALL ? len : SLAB_SMALL);

    return (struct pen){slab, (char *)slab->bytes};
}

static struct slice pen_lift(struct pen pen, const char *end)
{
    const size_t len = (size_t)(end - pen.at);

    ensure(len <= pen.slab->cap);
    pen.slab->used = (uint32_t)len;
    return (struct slice){pen.slab, pen.slab->bytes, len}; /* with the pen's reference */
}

/* Each writes at a place and answers the one behind. */
static inline char *put(char *at, struct str text)
{
    if (text.len > 0)
        memcpy(at, text.ptr, text.len);
    return at + text.len;
}

static char *put_field(char *at, struct str name, struct str value)
{
    at = put(put(at, name), STR(": "));
    return put(put(at, value), STR("\r\n"));
}

/* What stands there as lines is copied as it stands, as far as nothing is left out: first what is
 * to come before them. */
static char *put_lines(char *at, struct str before, const struct http_fields *fields)
{
    const char *from = before.ptr ? before.ptr : "", *to = from + before.len;

    for (size_t i = 0; i < fields->len; i++) {
        if (fields->at[i].name.ptr != to) {
            at = put(at, str_of(from, (size_t)(to - from)));
            from = fields->at[i].name.ptr;
        }
        to = line_end(&fields->at[i]);
    }
    return put(at, str_of(from, (size_t)(to - from)));
}

static char *put_fields(char *at, struct str before, const struct http_fields *fields)
{
    if (fields->are_lines)
        return put_lines(at, before, fields);
    at = put(at, before);
    for (size_t i = 0; i < fields->len; i++) {
        assume(ascii_is_token(fields->at[i].name) && strict_is_value(fields->at[i].value));
        at = put_field(at, fields->at[i].name, fields->at[i].value);
    }
    return at;
}

static char *put_number(char *at, uint64_t number)
{
    char digits[20];
    size_t first = sizeof(digits);

    for (; number >= 10; number /= 10)
        digits[--first] = (char)('0' + number % 10);
    digits[--first] = (char)('0' + number);
    return put(at, str_of(digits + first, sizeof(digits) - first));
}

static char *put_option(char *at, struct str option, bool *is_first)
{
    at = put(at, *is_first ? STR("connection: ") : STR(", "));
    *is_first = false;
    return put(at, option);
}

static char *put_connection(char *at, const struct http1_hop *hop, bool has_te)
{
    bool is_first = true;

    if (hop->closes)
        at = put_option(at, STR("close"), &is_first);
    if (hop->upgrade.len > 0)
        at = put_option(at, STR("upgrade"), &is_first);
    if (has_te)
        at = put_option(at, STR("te"), &is_first);
    return is_first ? at : put(at, STR("\r\n"));
}

static char *put_upgrade(char *at, const struct http1_hop *hop)
{
    if (hop->upgrade.len > 0)
        at = put_field(at, STR("upgrade"), hop->upgrade);
    if (hop->websocket_key.len > 0)
        at = put_field(at, STR("sec-websocket-key"), hop->websocket_key);
    if (hop->websocket_accept.len > 0)
        at = put_field(at, STR("sec-websocket-accept"), hop->websocket_accept);
    return at;
}

static char *put_hop(char *at, const struct http1_hop *hop, bool has_te)
{
    if (hop->length != HTTP_LENGTH_UNKNOWN) {
        at = put_number(put(at, STR("content-length: ")), (uint64_t)hop->length);
        at = put(at, STR("\r\n"));
    }
    if (hop->is_chunked)
        at = put(at, STR("transfer-encoding: chunked\r\n"));
    return put(put_upgrade(put_connection(at, hop, has_te), hop), STR("\r\n"));
}

#define BEHIND_PATH " HTTP/1.1\r\nhost: "

/* The first lines of a request as they are to be sent, if that is how they came and still stand in
 * one piece: the method, the path and the authority where they were read, and nothing else between
 * them than what we would write. Empty otherwise. */
static struct str start_as_it_came(const struct http_request *head)
{
    const struct str piece = head->piece;
    const size_t host_at = head->method.len + 1 + head->path.len + sizeof(BEHIND_PATH) - 1;
    const size_t end = host_at + head->authority.len;

    if (piece.len < end + 2 || head->method.ptr != piece.ptr ||
        head->path.ptr != piece.ptr + head->method.len + 1 ||
        head->authority.ptr != piece.ptr + host_at || piece.ptr[head->method.len] != ' ' ||
        memcmp(head->path.ptr + head->path.len, BEHIND_PATH, sizeof(BEHIND_PATH) - 1) != 0 ||
        memcmp(piece.ptr + end, "\r\n", 2) != 0)
        return (struct str){0};
    return str_of(piece.ptr, end + 2);
}

struct slice http1_write_request(struct slab_pool *slabs, const struct http_request *head,
                                 const struct http1_hop *hop)
{
    const struct measure fields = measure(&head->fields);
    const size_t size = head->method.len + head->path.len + head->authority.len + hop->upgrade.len +
                        fields.size + LINES_MAX;
    const struct str start = start_as_it_came(head);
    const struct pen pen = pen_new(slabs, size);
    char *at = pen.at;

    if (start.len == 0) {
        at = put(put(at, head->method), STR(" "));
        at = put(put(at, head->path), STR(BEHIND_PATH));
        at = put(put(at, head->authority), STR("\r\n"));
    }
    return pen_lift(pen, put_hop(put_fields(at, start, &head->fields), hop, fields.has_te));
}

static char *put_status_line(char *at, unsigned status)
{
    if (status == 200)
        return put(at, STR("HTTP/1.1 200 OK\r\n"));
    at = put_number(put(at, STR("HTTP/1.1 ")), status);
    at = put(put(at, STR(" ")), str_from(http1_reason(status)));
    return put(at, STR("\r\n"));
}

struct slice http1_write_response(struct slab_pool *slabs, const struct http_response *head,
                                  const struct http1_hop *hop)
{
    const struct measure fields = measure(&head->fields);
    const struct pen pen = pen_new(slabs, hop->upgrade.len + fields.size + LINES_MAX);
    const struct str none = {0};

    ensure(head->status >= 100 && head->status <= 599);
    char *const at = put_fields(put_status_line(pen.at, head->status), none, &head->fields);
    return pen_lift(pen, put_hop(at, hop, fields.has_te));
}

struct slice http1_write_trailers(struct slab_pool *slabs, const struct http_fields *trailers)
{
    const struct pen pen = pen_new(slabs, measure(trailers).size + LINES_MAX);

    return pen_lift(pen, put(put_fields(pen.at, STR("0\r\n"), trailers), STR("\r\n")));
}
