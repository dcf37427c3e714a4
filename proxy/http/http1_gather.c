/*
 * http1_gather.c - a head of HTTP/1.1 until it is whole: its bytes, line by line, and its first
 * line as soon as that is there.
 */
#include <string.h>

#include "proxy/base/ascii.h"
#include "proxy/base/mem.h"
#include "proxy/http/http1_head.h"
#include "proxy/http/strict.h"

#define HEAD_BYTES 65536u
#define FIELDS     100u

/* ------------------------------------------------------------------ life */

_Static_assert(sizeof(struct http1_head) <= SLAB_SMALL_BYTES, "a head is a block");

/* The memory stays, and nothing else. */
static void begin(struct http1_head *head, enum http1_kind kind, size_t limit,
                  uint32_t fields_limit)
{
    memset(head, 0, offsetof(struct http1_head, room));
    head->bytes = head->first_bytes;
    head->cap = sizeof(head->first_bytes);
    head->kind = kind;
    head->limit = limit;
    head->fields_limit = fields_limit;
    head->content_length = HTTP_LENGTH_UNKNOWN;
    head->fields = head->room;
    head->fields_cap = HTTP1_FIELDS_AT_ONCE;
}

struct http1_head *http1_head_new(struct slab_pool *slabs, enum http1_kind kind,
                                  const struct http_limits *limits)
{
    struct http1_head *head = slab_block_new(slabs);

    begin(head, kind, limits->head_bytes ? limits->head_bytes : HEAD_BYTES,
          limits->fields ? limits->fields : FIELDS);
    return head;
}

static void drop(struct http1_head *head)
{
    if (head->fields != head->room)
        mem_free(head->fields);
    if (head->bytes != head->first_bytes)
        mem_free(head->bytes);
}

void http1_head_restart(struct http1_head *head)
{
    drop(head);
    begin(head, head->kind, head->limit, head->fields_limit);
}

void http1_head_free(struct http1_head *head)
{
    if (!head)
        return;
    drop(head);
    slab_block_free(head);
}

/* ------------------------------------------------------------------ start lines */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool read_version(struct http1_head *head, struct str text)
{
    const bool has_form = text.len == 8 && str_starts_with(text, STR("HTTP/")) &&
                          is_digit(text.ptr[5]) && text.ptr[6] == '.' && is_digit(text.ptr[7]);

    if (!has_form)
        return http1_bad(head, 400, "the version is not of the form HTTP/1.1");
    if (text.ptr[5] != '1' || text.ptr[7] > '1')
        return http1_bad(head, 505, "the version is neither HTTP/1.1 nor HTTP/1.0");
    head->version = text.ptr[7] == '1' ? HTTP_1_1 : HTTP_1_0;
    return true;
}

static bool read_request_line(struct http1_head *head, struct str line)
{
    struct str rest, version;

    if (!str_split(line, ' ', &head->method, &rest))
        return http1_bad(head, 400, "the request line has no target");
    if (!ascii_is_token(head->method))
        return http1_bad(head, 400, "the method is not a token");
    if (!str_split(rest, ' ', &head->target, &version))
        return http1_bad(head, 400, "the request line has no version");
    if (head->target.len == 0)
        return http1_bad(head, 400, "the target is empty");
    return read_version(head, version);
}

static bool read_status_line(struct http1_head *head, struct str line)
{
    struct str version, rest, reason;

    if (!str_split(line, ' ', &version, &rest))
        return http1_bad(head, 400, "the status line has no status");
    if (!read_version(head, version))
        return false;
    if (rest.len < 3 || (rest.len > 3 && rest.ptr[3] != ' '))
        return http1_bad(head, 400, "the status is not three digits");
    for (unsigned i = 0; i < 3; i++) {
        if (!is_digit(rest.ptr[i]))
            return http1_bad(head, 400, "the status is not three digits");
        head->status = head->status * 10 + (unsigned)(rest.ptr[i] - '0');
    }
    if (head->status < 100 || head->status > 599)
        return http1_bad(head, 400, "there is no such status");
    reason = str_sub(rest, 4, rest.len);
    while (reason.len > 0 && reason.ptr[reason.len - 1] == ' ')
        reason.len--;
    while (reason.len > 0 && reason.ptr[0] == ' ')
        reason = str_sub(reason, 1, reason.len);
    if (!strict_is_value(reason))
        return http1_bad(head, 400, "the reason has a control character");
    return true;
}

bool http1_read_start_line(struct http1_head *head, struct str line)
{
    head->status = 0;
    return head->kind == HTTP1_REQUEST ? read_request_line(head, line)
                                       : read_status_line(head, line);
}

/* ------------------------------------------------------------------ gathering */

static void make_room(struct http1_head *head, size_t len)
{
    size_t cap = head->cap;
    char *bytes;

    while (cap < head->len + len + HTTP1_SLACK)
        cap *= 2;
    if (cap == head->cap)
        return;
    bytes = mem_alloc(cap);
    memcpy(bytes, head->bytes, head->len);
    if (head->bytes != head->first_bytes)
        mem_free(head->bytes);
    head->bytes = bytes;
    head->cap = cap;
    head->has_read_line = false;
}

static bool add(struct http1_head *head, const char *bytes, size_t len)
{
    if (len > head->limit - head->len)
        return head->kind == HTTP1_REQUEST && head->n_lines == 0
                   ? http1_bad(head, 414, "the request line is too long")
                   : http1_bad(head, 431, "the head is too large");
    make_room(head, len);
    memcpy(head->bytes + head->len, bytes, len);
    head->len += len;
    memset(head->bytes + head->len, 0, HTTP1_SLACK);
    return true;
}

/* An empty line before a request is forgiven once: RFC 9112 2.2. */
static bool is_forgiven(struct http1_head *head)
{
    if (head->kind != HTTP1_REQUEST || head->n_lines > 0 || head->had_empty_line)
        return false;
    head->had_empty_line = true;
    head->len = head->line_at = 0;
    return true;
}

/* A first line is looked at as soon as it is there: who speaks another protocol, or HTTP/0.9, waits
 * for an answer and sends no more. */
static bool take_first_line(struct http1_head *head)
{
    const struct str line = str_of(head->bytes, head->len);

    if (line.len < 2 || line.ptr[line.len - 2] != '\r')
        return http1_two_ways(head, "a line ends without a carriage return");
    if (line.len == 2 && is_forgiven(head))
        return true;
    head->line_at = head->len;
    head->n_lines++;
    head->has_read_line = true;
    return http1_read_start_line(head, str_sub(line, 0, line.len - 2));
}

/* The length of the first line and its end, or of all there is. */
static size_t gather_first_line(struct http1_head *head, const char *bytes, size_t len)
{
    const char *feed = memchr(bytes, '\n', len);
    const size_t n_taken = feed ? (size_t)(feed - bytes) + 1 : len;

    if (!add(head, bytes, n_taken))
        return 0;
    if (feed)
        (void)take_first_line(head);
    return n_taken;
}

/* Lines of fields are looked for in what came, so that they are copied at once. */
static size_t gather_fields(struct http1_head *head, const char *bytes, size_t len)
{
    size_t before = head->len - head->line_at; /* of the line at hand, gathered earlier */
    const char *line = bytes, *const end = bytes + len;
    char last = before > 0 ? head->bytes[head->len - 1] : 0;

    while (!head->is_whole) {
        const char *feed = line < end ? memchr(line, '\n', (size_t)(end - line)) : NULL;
        if (!feed)
            break;
        if ((feed > line ? feed[-1] : last) != '\r') {
            (void)http1_two_ways(head, "a line ends without a carriage return");
            break;
        }
        head->is_whole = before + (size_t)(feed - line) == 1;
        line = feed + 1;
        before = 0;
        last = 0;
    }
    const size_t n_taken = (size_t)((head->is_whole || head->fault ? line : end) - bytes);
    const size_t n_lines = (size_t)(line - bytes);
    if (!add(head, bytes, n_taken))
        return 0;
    if (n_lines > 0)
        head->line_at = head->len - (n_taken - n_lines);
    return n_taken;
}

size_t http1_gather(struct http1_head *head, const void *bytes, size_t len)
{
    const char *at = bytes;
    size_t n_taken = 0;

    while (head->n_lines == 0 && head->kind != HTTP1_TRAILERS && !head->fault && n_taken < len)
        n_taken += gather_first_line(head, at + n_taken, len - n_taken);
    if (!head->fault && n_taken < len)
        n_taken += gather_fields(head, at + n_taken, len - n_taken);
    return n_taken;
}
