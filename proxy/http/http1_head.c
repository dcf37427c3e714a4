/*
 * http1_head.c - the reading half of http1_head.h.
 *
 * A tokenizer of our own and not llhttp: over a head that is whole and in one piece it needs a
 * fraction of the instructions, and it can say that the tokens tile the head, with nothing between
 * them that one reader skips and another one reads (docs/decisions/0018). llhttp is its judge in
 * the tests: what is taken here it reads the same.
 */
#include "proxy/http/http1_head.h"

#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/http/strict.h"

#define FIELD_OVERHEAD 32u /* of a field in what a head may hold, as HTTP/2 counts */
#define HEAD_BYTES     65536u
#define FIELDS         100u

/* ------------------------------------------------------------------ life */

struct http1_head *http1_head_new(enum http1_kind kind, const struct http_limits *limits)
{
    struct http1_head *head = mem_alloc(sizeof(*head));

    memset(head, 0, offsetof(struct http1_head, room));
    head->bytes = head->first_bytes;
    head->cap = sizeof(head->first_bytes);
    head->kind = kind;
    head->limit = limits->head_bytes ? limits->head_bytes : HEAD_BYTES;
    head->fields_limit = limits->fields ? limits->fields : FIELDS;
    head->content_length = HTTP_LENGTH_UNKNOWN;
    head->fields = head->room;
    head->fields_cap = HTTP1_FIELDS_AT_ONCE;
    return head;
}

void http1_head_free(struct http1_head *head)
{
    if (!head)
        return;
    if (head->fields != head->room)
        mem_free(head->fields);
    if (head->bytes != head->first_bytes)
        mem_free(head->bytes);
    mem_free(head);
}

static bool bad(struct http1_head *head, unsigned fault, const char *why)
{
    head->fault = fault;
    head->why = why;
    return false;
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
        return bad(head, 400, "the version is not of the form HTTP/1.1");
    if (text.ptr[5] != '1' || text.ptr[7] > '1')
        return bad(head, 505, "the version is neither HTTP/1.1 nor HTTP/1.0");
    head->version = text.ptr[7] == '1' ? HTTP_1_1 : HTTP_1_0;
    return true;
}

static bool read_request_line(struct http1_head *head, struct str line)
{
    struct str rest, version;

    if (!str_split(line, ' ', &head->method, &rest))
        return bad(head, 400, "the request line has no target");
    if (!strict_is_token(head->method))
        return bad(head, 400, "the method is not a token");
    if (!str_split(rest, ' ', &head->target, &version))
        return bad(head, 400, "the request line has no version");
    if (head->target.len == 0)
        return bad(head, 400, "the target is empty");
    return read_version(head, version);
}

static bool read_status_line(struct http1_head *head, struct str line)
{
    struct str version, rest, reason;

    if (!str_split(line, ' ', &version, &rest))
        return bad(head, 400, "the status line has no status");
    if (!read_version(head, version))
        return false;
    if (rest.len < 3 || (rest.len > 3 && rest.ptr[3] != ' '))
        return bad(head, 400, "the status is not three digits");
    for (unsigned i = 0; i < 3; i++) {
        if (!is_digit(rest.ptr[i]))
            return bad(head, 400, "the status is not three digits");
        head->status = head->status * 10 + (unsigned)(rest.ptr[i] - '0');
    }
    if (head->status < 100 || head->status > 599)
        return bad(head, 400, "there is no such status");
    reason = str_sub(rest, 4, rest.len);
    while (reason.len > 0 && reason.ptr[reason.len - 1] == ' ')
        reason.len--;
    while (reason.len > 0 && reason.ptr[0] == ' ')
        reason = str_sub(reason, 1, reason.len);
    if (!strict_is_value(reason))
        return bad(head, 400, "the reason has a control character");
    return true;
}

static bool read_start_line(struct http1_head *head, struct str line)
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

    while (cap < head->len + len)
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
                   ? bad(head, 414, "the request line is too long")
                   : bad(head, 431, "the head is too large");
    make_room(head, len);
    memcpy(head->bytes + head->len, bytes, len);
    head->len += len;
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
        return bad(head, 400, "a line ends without a carriage return");
    if (line.len == 2 && is_forgiven(head))
        return true;
    head->line_at = head->len;
    head->n_lines++;
    head->has_read_line = true;
    return read_start_line(head, str_sub(line, 0, line.len - 2));
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
            (void)bad(head, 400, "a line ends without a carriage return");
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

/* ------------------------------------------------------------------ fields */

static bool note_connection(struct http1_head *head, struct str value)
{
    struct str list = value, member;

    if (head->n_connections == HTTP1_CONNECTIONS_MAX)
        return bad(head, 400, "connection came too often");
    head->connections[head->n_connections++] = value;
    while (strict_next_member(&list, &member)) {
        if (member.len == 0)
            continue;
        if (!strict_is_token(member))
            return bad(head, 400, "connection names what is no token");
        if (str_eq_ci(member, STR("close")))
            head->says_close = true;
        else if (str_eq_ci(member, STR("upgrade")))
            head->says_upgrade = true;
        else if (str_eq_ci(member, STR("host")) || str_eq_ci(member, STR("content-length")))
            return bad(head, 400, "connection names a field that is not of one hop");
        else if (!str_eq_ci(member, STR("keep-alive")) && !str_eq_ci(member, STR("te")))
            head->names_fields = true;
    }
    return true;
}

static bool note_te(struct http1_head *head, struct str value)
{
    struct str list = value, member;

    while (strict_next_member(&list, &member))
        head->takes_trailers |= str_eq_ci(member, STR("trailers"));
    return true;
}

static bool note_coding(struct http1_head *head, struct str value)
{
    if (head->n_codings++ > 0)
        return bad(head, 400, "transfer-encoding came twice");
    return str_eq_ci(value, STR("chunked")) ||
           bad(head, 400, "transfer-encoding is not exactly chunked");
}

static bool note_length(struct http1_head *head, struct str value)
{
    if (head->content_length != HTTP_LENGTH_UNKNOWN)
        return bad(head, 400, "content-length came twice");
    return strict_length(value, &head->content_length) ||
           bad(head, 400, "content-length is not a length");
}

static bool note_host(struct http1_head *head, struct str value)
{
    head->host = value;
    return head->n_hosts++ == 0 || bad(head, 400, "host came twice");
}

static bool note_upgrade(struct http1_head *head, struct str value)
{
    head->upgrade = value;
    head->n_upgrades++;
    return true;
}

static bool keep_field(struct http1_head *head, struct str name, struct str value)
{
    if (head->n_fields == head->fields_cap) {
        struct http_field *fields = mem_new_array(struct http_field, head->fields_cap * 2);

        memcpy(fields, head->fields, head->n_fields * sizeof(*fields));
        if (head->fields != head->room)
            mem_free(head->fields);
        head->fields = fields;
        head->fields_cap *= 2;
    }
    head->fields[head->n_fields++] = (struct http_field){name, value};
    return true;
}

/* What a field says to the codec, by its name's length first: most names are none of these. */
static bool note_field(struct http1_head *head, struct str name, struct str value)
{
    switch (name.len) {
    case 2:
        if (str_eq(name, STR("te")))
            return note_te(head, value);
        break;
    case 4:
        if (str_eq(name, STR("host")) && head->kind == HTTP1_REQUEST)
            return note_host(head, value);
        break;
    case 6:
        if (str_eq(name, STR("expect")))
            head->expects_continue |= str_eq_ci(value, STR("100-continue"));
        break;
    case 7:
        if (str_eq(name, STR("upgrade")))
            return note_upgrade(head, value);
        break;
    case 10:
        if (str_eq(name, STR("connection")))
            return note_connection(head, value);
        if (str_eq(name, STR("keep-alive")))
            return true;
        break;
    case 14:
        if (str_eq(name, STR("content-length")))
            return note_length(head, value);
        break;
    case 16:
        if (str_eq(name, STR("proxy-connection")))
            return true;
        break;
    case 17:
        if (str_eq(name, STR("transfer-encoding")))
            return note_coding(head, value);
        break;
    default: break;
    }
    return keep_field(head, name, value);
}

/* Fields that mean something before the body or to who routes the message: RFC 9110 6.5.1. */
static bool may_trail(struct str name)
{
    static const struct str never[] = {
        {"trailer", 7},        {"content-length", 14},   {"host", 4},
        {"expect", 6},         {"authorization", 13},    {"proxy-authorization", 19},
        {"cookie", 6},         {"set-cookie", 10},       {"content-type", 12},
        {"content-range", 13}, {"content-encoding", 16}, {"max-forwards", 12},
    };

    for (size_t i = 0; i < ARRAY_LEN(never); i++)
        if (str_eq(name, never[i]))
            return false;
    return !strict_is_hop_field(name);
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool read_name(struct http1_head *head, char *line, size_t len, struct str *out_name)
{
    *out_name = str_of(line, strict_lower_token(line, len));
    if (out_name->len > 0 && out_name->len < len && line[out_name->len] == ':')
        return true;
    if (is_blank(line[0]))
        return bad(head, 400, "a line begins with a blank");
    return bad(head, 400,
               memchr(line, ':', len) ? "a field's name is not a token" : "a line has no colon");
}

static bool read_field(struct http1_head *head, char *line, size_t len)
{
    struct str name, value;
    size_t at, end = len;

    if (!read_name(head, line, len, &name))
        return false;
    for (at = name.len + 1; at < end && is_blank(line[at]); at++)
        ;
    while (end > at && is_blank(line[end - 1]))
        end--;
    value = (struct str){line + at, end - at};
    if (!strict_is_value(value))
        return bad(head, 400, "a field's value has a control character");
    head->size += name.len + value.len + FIELD_OVERHEAD;
    if (head->size > head->limit)
        return bad(head, 431, "the head is too large");
    if (head->n_read++ >= head->fields_limit)
        return bad(head, 431, "the head has too many fields");
    if (head->kind != HTTP1_TRAILERS)
        return note_field(head, name, value);
    return may_trail(name) ? keep_field(head, name, value)
                           : bad(head, 400, "a trailer may not be sent behind a body");
}

/* Every line, up to the empty one. Each of them ends in CRLF, as http1_gather() has seen; a CR
 * inside of one is a control character of a value. */
static bool read_lines(struct http1_head *head)
{
    char *at = head->bytes;

    if (head->kind != HTTP1_TRAILERS) {
        char *feed = memchr(at, '\n', head->len);
        if (!head->has_read_line && /* the head moved since its line was read */
            !read_start_line(head, str_of(at, (size_t)(feed - at) - 1)))
            return false;
        at = feed + 1;
    }
    while (*at != '\r') {
        char *feed = memchr(at, '\n', (size_t)(head->bytes + head->len - at));
        if (!read_field(head, at, (size_t)(feed - at) - 1))
            return false;
        at = feed + 1;
    }
    return at + 2 == head->bytes + head->len ||
           bad(head, 400, "a line begins with a carriage return");
}

/* ------------------------------------------------------------------ what they say together */

static bool is_named(const struct http1_head *head, struct str name)
{
    for (unsigned i = 0; i < head->n_connections; i++) {
        struct str list = head->connections[i], member;
        while (strict_next_member(&list, &member))
            if (str_eq_ci(member, name))
                return true;
    }
    return false;
}

/* Takes out the fields that connection names, and says in its own words what is left of te. */
static void settle_hop_fields(struct http1_head *head)
{
    size_t n_kept = 0;

    if (head->names_fields) {
        for (size_t i = 0; i < head->n_fields; i++)
            if (!is_named(head, head->fields[i].name))
                head->fields[n_kept++] = head->fields[i];
        head->n_fields = n_kept;
    }
    if (head->takes_trailers)
        (void)keep_field(head, STR("te"), STR("trailers"));
}

static bool is_http_scheme(struct str scheme)
{
    return str_eq_ci(scheme, STR("http")) || str_eq_ci(scheme, STR("https"));
}

/* The target "http://authority/path": the authority is the one of host, or it is two messages in
 * one. */
static bool split_absolute(struct http1_head *head, struct str *out_authority, struct str *out_path)
{
    const char *colon = memchr(head->target.ptr, ':', head->target.len);
    const size_t scheme_len = colon ? (size_t)(colon - head->target.ptr) : 0;
    struct str rest = str_sub(head->target, scheme_len, head->target.len);
    size_t at = 0;

    if (!is_http_scheme(str_sub(head->target, 0, scheme_len)) || !str_starts_with(rest, STR("://")))
        return bad(head, 400, "the target is neither a path nor an http URI");
    rest = str_sub(rest, 3, rest.len);
    while (at < rest.len && rest.ptr[at] != '/' && rest.ptr[at] != '?')
        at++;
    *out_authority = str_sub(rest, 0, at);
    *out_path = str_sub(rest, at, rest.len);
    if (out_path->len == 0)
        *out_path = str_eq(head->method, STR("OPTIONS")) ? STR("*") : STR("/");
    if (!strict_is_authority(*out_authority))
        return bad(head, 400, "the target's authority is not host or host:port");
    if (head->n_hosts > 0 && !str_eq_ci(*out_authority, head->host))
        return bad(head, 400, "the target's authority is not that of host");
    return true;
}

static bool read_target(struct http1_head *head, struct http_request *request)
{
    const bool is_absolute = head->target.ptr[0] != '/' && !str_eq(head->target, STR("*"));

    if (str_eq(head->method, STR("CONNECT")))
        return bad(head, 501, "CONNECT is not for this proxy");
    if (head->version == HTTP_1_1 && head->n_hosts == 0)
        return bad(head, 400, "there is no host");
    if (head->n_hosts > 0 && !strict_is_authority(head->host))
        return bad(head, 400, "host is not host or host:port");
    request->authority = head->host;
    request->path = head->target;
    if (is_absolute && !split_absolute(head, &request->authority, &request->path))
        return false;
    return strict_is_path(head->method, request->path) ||
           bad(head, 400, "the target has a character that is not for a path");
}

static bool read_framing(struct http1_head *head, struct http1_verdict *verdict)
{
    if (head->n_codings > 0 && head->version == HTTP_1_0)
        return bad(head, 400, "transfer-encoding came with HTTP/1.0");
    if (head->n_codings > 0 && head->content_length != HTTP_LENGTH_UNKNOWN)
        return bad(head, 400, "transfer-encoding and content-length came together");
    if (head->n_codings > 0)
        verdict->framing = HTTP1_CHUNKED;
    else if (head->content_length > 0)
        verdict->framing = HTTP1_LENGTH;
    else
        verdict->framing = HTTP1_NO_BODY;
    return true;
}

/* A protocol with a version perhaps; h2c is declined by silence, as it may be. */
static bool is_upgrade(struct str protocol)
{
    struct str name = protocol, version = STR("1");

    (void)str_split(protocol, '/', &name, &version);
    return strict_is_token(name) && strict_is_token(version) && !str_eq_ci(name, STR("h2c"));
}

/* RFC 9110 7.8: an upgrade is one hop's, so connection says so as well; HTTP/1.0 has none. */
static bool read_upgrade(struct http1_head *head, struct http1_verdict *verdict)
{
    if (head->n_upgrades == 0 || !head->says_upgrade || head->version == HTTP_1_0)
        return true;
    if (head->n_upgrades > 1 || !is_upgrade(head->upgrade))
        return true;
    verdict->upgrade = head->upgrade;
    return verdict->framing == HTTP1_NO_BODY || bad(head, 400, "an upgrade came with a body");
}

bool http1_read_request(struct http1_head *head, struct http_request *out_request,
                        struct http1_verdict *out_verdict)
{
    *out_request = (struct http_request){.scheme = STR("http")};
    *out_verdict = (struct http1_verdict){0};
    if (!read_lines(head) || !read_target(head, out_request) || !read_framing(head, out_verdict) ||
        !read_upgrade(head, out_verdict))
        return false;
    settle_hop_fields(head);
    out_verdict->closes = head->says_close || head->version == HTTP_1_0;
    out_verdict->expects_continue = head->expects_continue && head->version == HTTP_1_1;
    out_request->method = head->method;
    out_request->protocol = out_verdict->upgrade;
    out_request->fields = (struct http_fields){head->fields, head->n_fields};
    out_request->has_body = out_verdict->framing != HTTP1_NO_BODY || out_verdict->upgrade.len > 0;
    out_request->content_length = head->content_length;
    if (out_request->content_length == HTTP_LENGTH_UNKNOWN && !out_request->has_body)
        out_request->content_length = 0;
    out_request->version = head->version;
    return true;
}

/* RFC 9112 6.3, but for what its "ought to" forgives. */
static bool read_answer_framing(struct http1_head *head, bool to_head,
                                struct http1_verdict *verdict)
{
    const bool has_none = head->status < 200 || head->status == 204;

    if (!read_framing(head, verdict))
        return false;
    if (head->status < 200 && head->version == HTTP_1_0)
        return bad(head, 400, "an interim response came with HTTP/1.0");
    if (has_none && verdict->framing != HTTP1_NO_BODY)
        return bad(head, 400, "a response that can have no body says that it has one");
    if (head->status == 101)
        verdict->framing = HTTP1_UNTIL_CLOSE;
    else if (has_none || to_head || head->status == 304)
        verdict->framing = HTTP1_NO_BODY;
    else if (head->n_codings == 0 && head->content_length == HTTP_LENGTH_UNKNOWN)
        verdict->framing = HTTP1_UNTIL_CLOSE;
    return true;
}

bool http1_read_response(struct http1_head *head, bool to_head, struct http_response *out_response,
                         struct http1_verdict *out_verdict)
{
    *out_response = (struct http_response){0};
    *out_verdict = (struct http1_verdict){0};
    if (!read_lines(head) || !read_answer_framing(head, to_head, out_verdict))
        return false;
    if (head->status == 101 && head->says_upgrade && head->n_upgrades == 1)
        out_verdict->upgrade = head->upgrade;
    settle_hop_fields(head);
    out_verdict->closes =
        head->says_close || head->version == HTTP_1_0 || out_verdict->framing == HTTP1_UNTIL_CLOSE;
    out_response->status = head->status;
    out_response->fields = (struct http_fields){head->fields, head->n_fields};
    out_response->has_body = out_verdict->framing != HTTP1_NO_BODY;
    out_response->content_length = head->content_length;
    return true;
}

bool http1_read_trailers(struct http1_head *head, struct http_fields *out_trailers)
{
    if (!read_lines(head))
        return false;
    *out_trailers = (struct http_fields){head->fields, head->n_fields};
    return true;
}
