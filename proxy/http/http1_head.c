/*
 * http1_head.c - a head that is whole: its fields, and what they say together.
 *
 * A tokenizer of our own and not llhttp: over a head that is whole and in one piece it needs a
 * fraction of the instructions, and it can say that the tokens tile the head, with nothing between
 * them that one reader skips and another one reads (docs/decisions/0018). llhttp is its judge in
 * the tests: what is taken here it reads the same.
 */
#include "proxy/http/http1_head.h"

#include <string.h>

#include "proxy/base/ascii.h"
#include "proxy/base/mem.h"
#include "proxy/http/strict.h"

#define FIELD_OVERHEAD 32u /* of a field in what a head may hold, as HTTP/2 counts */

/* ------------------------------------------------------------------ fields */

static bool note_connection(struct http1_head *head, struct str value)
{
    struct str list = value, member;

    if (head->n_connections == HTTP1_CONNECTIONS_MAX)
        return http1_bad(head, 400, "connection came too often");
    head->connections[head->n_connections++] = value;
    while (strict_next_member(&list, &member)) {
        if (member.len == 0)
            continue;
        if (!ascii_is_token(member))
            return http1_bad(head, 400, "connection names what is no token");
        if (str_eq_ci(member, STR("close")))
            head->says_close = true;
        else if (str_eq_ci(member, STR("upgrade")))
            head->says_upgrade = true;
        else if (str_eq_ci(member, STR("host")) || str_eq_ci(member, STR("content-length")))
            return http1_two_ways(head, "connection names a field that is not of one hop");
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
        return http1_two_ways(head, "transfer-encoding came twice");
    return str_eq_ci(value, STR("chunked")) ||
           http1_two_ways(head, "transfer-encoding is not exactly chunked");
}

static bool note_length(struct http1_head *head, struct str value)
{
    if (head->content_length != HTTP_LENGTH_UNKNOWN)
        return http1_two_ways(head, "content-length came twice");
    return strict_length(value, &head->content_length) ||
           http1_two_ways(head, "content-length is not a length");
}

static bool note_host(struct http1_head *head, struct str value)
{
    head->host = value;
    return head->n_hosts++ == 0 || http1_two_ways(head, "host came twice");
}

static bool note_upgrade(struct http1_head *head, struct str value)
{
    head->upgrade = value;
    head->n_upgrades++;
    return true;
}

static void grow_fields(struct http1_head *head)
{
    struct http_field *fields = mem_new_array(struct http_field, head->fields_cap * 2);

    memcpy(fields, head->fields, head->n_fields * sizeof(*fields));
    if (head->fields != head->room)
        mem_free(head->fields);
    head->fields = fields;
    head->fields_cap *= 2;
}

static inline void keep_field(struct http1_head *head, struct http_field field)
{
    if (head->n_fields == head->fields_cap)
        grow_fields(head);
    head->fields[head->n_fields++] = field;
}

/* By the length and the first letter of a name: most are none that the codec has to look at. */
static inline bool may_be_ours(struct str name)
{
    static const char firsts[18][2] = {[2] = {'t'},       [4] = {'h'},  [6] = {'e'},  [7] = {'u'},
                                       [10] = {'c', 'k'}, [14] = {'c'}, [16] = {'p'}, [17] = {'t'}};

    return name.len < ARRAY_LEN(firsts) &&
           (name.ptr[0] == firsts[name.len][0] || name.ptr[0] == firsts[name.len][1]);
}

/* What a field says to the codec. */
static bool note_field(struct http1_head *head, struct http_field field)
{
    const struct str name = field.name, value = field.value;

    if (str_eq(name, STR("te")))
        return note_te(head, value);
    if (str_eq(name, STR("host")) && head->kind == HTTP1_REQUEST)
        return note_host(head, value);
    if (str_eq(name, STR("upgrade")))
        return note_upgrade(head, value);
    if (str_eq(name, STR("connection")))
        return note_connection(head, value);
    if (str_eq(name, STR("content-length")))
        return note_length(head, value);
    if (str_eq(name, STR("transfer-encoding")))
        return note_coding(head, value);
    if (str_eq(name, STR("keep-alive")) || str_eq(name, STR("proxy-connection")))
        return true;
    if (str_eq(name, STR("expect")))
        head->expects_continue |= str_eq_ci(value, STR("100-continue"));
    keep_field(head, field);
    return true;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static char *refuse_name(struct http1_head *head, const char *line, const char *end)
{
    const char *feed = memchr(line, '\n', (size_t)(end - line));
    const size_t line_len = (size_t)((feed ? feed : end) - line);

    if (is_blank(line[0]))
        (void)http1_two_ways(head, "a line begins with a blank");
    else
        (void)http1_bad(head, 400,
                        memchr(line, ':', line_len) ? "a field's name is not a token"
                                                    : "a line has no colon");
    return NULL;
}

static struct str trim(struct http1_head *head, struct str value)
{
    while (value.len > 0 && is_blank(value.ptr[0]))
        value = (struct str){value.ptr + 1, value.len - 1};
    while (value.len > 0 && is_blank(value.ptr[value.len - 1]))
        value.len--;
    head->is_untidy = true;
    return value;
}

/* Of the characters up to it a value has no other. */
static bool begins_blank(const char *at)
{
    return (uint8_t)*at <= ' ';
}

/* "name: value", with whatever blanks around the value, and the end of the line; there are zeros at
 * least before end. Answers the next line; NULL: it is bad. */
static char *split_line(struct http1_head *head, char *line, const char *end,
                        struct http_field *out_field)
{
    const size_t name_len = ascii_lower_token(line, (size_t)(end - line));
    char *at = line + name_len;

    if (name_len == 0 || *at++ != ':')
        return refuse_name(head, line, end);
    if (*at == ' ')
        at++;
    else
        head->is_untidy = true;
    struct str value = str_of(at, strict_value_len(at, (size_t)(end - at)));
    at += value.len;
    if (at[0] != '\r' || at[1] != '\n') {
        (void)http1_bad(head, 400, "a field's value has a control character");
        return NULL;
    }
    if (value.len > 0 && (begins_blank(value.ptr) || begins_blank(at - 1)))
        value = trim(head, value);
    *out_field = (struct http_field){{line, name_len}, value};
    return at + 2;
}

static bool count_field(struct http1_head *head, const struct http_field *field)
{
    head->size += field->name.len + field->value.len + FIELD_OVERHEAD;
    if (head->size > head->limit)
        return http1_bad(head, 431, "the head is too large");
    return head->n_read++ < head->fields_limit ||
           http1_bad(head, 431, "the head has too many fields");
}

/* Every line from there to the one that begins with a carriage return. */
static bool read_fields(struct http1_head *head, char *at, char **out_end)
{
    const char *const end = head->bytes + head->len + HTTP1_SLACK;
    const bool are_trailers = head->kind == HTTP1_TRAILERS;
    struct http_field field;

    while (*at != '\r') {
        at = split_line(head, at, end, &field);
        if (!at || !count_field(head, &field))
            return false;
        if (are_trailers && !strict_may_trail(field.name))
            return http1_bad(head, 400, "a trailer may not be sent behind a body");
        if (are_trailers || !may_be_ours(field.name))
            keep_field(head, field);
        else if (!note_field(head, field))
            return false;
    }
    *out_end = at;
    return true;
}

/* Every line, up to the empty one. Each of them ends in CRLF, as http1_gather() has seen; a CR
 * inside of one is a control character of a value. */
static bool read_gathered(struct http1_head *head)
{
    char *at = head->bytes;

    if (head->kind != HTTP1_TRAILERS) {
        char *feed = memchr(at, '\n', head->len);
        if (!head->has_read_line && /* the head moved since its line was read */
            !http1_read_start_line(head, str_of(at, (size_t)(feed - at) - 1)))
            return false;
        at = feed + 1;
    }
    if (!read_fields(head, at, &at))
        return false;
    return at + 2 == head->bytes + head->len ||
           http1_two_ways(head, "a line begins with a carriage return");
}

static bool read_lines(struct http1_head *head)
{
    return head->has_read_all || read_gathered(head);
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

__attribute__((noinline)) static void drop_named(struct http1_head *head)
{
    size_t n_kept = 0;

    for (size_t i = 0; i < head->n_fields; i++)
        if (!is_named(head, head->fields[i].name))
            head->fields[n_kept++] = head->fields[i];
    head->n_fields = n_kept;
}

/* Takes out the fields that connection names, and says in its own words what is left of te. */
static void settle_hop_fields(struct http1_head *head)
{
    if (head->names_fields)
        drop_named(head);
    if (head->takes_trailers)
        keep_field(head, (struct http_field){STR("te"), STR("trailers")});
    head->is_untidy |= head->takes_trailers;
}

static struct http_fields fields_of(const struct http1_head *head)
{
    return (struct http_fields){head->fields, head->n_fields, !head->is_untidy};
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
        return http1_bad(head, 400, "the target is neither a path nor an http URI");
    rest = str_sub(rest, 3, rest.len);
    while (at < rest.len && rest.ptr[at] != '/' && rest.ptr[at] != '?')
        at++;
    *out_authority = str_sub(rest, 0, at);
    *out_path = str_sub(rest, at, rest.len);
    if (out_path->len == 0)
        *out_path = str_eq(head->method, STR("OPTIONS")) ? STR("*") : STR("/");
    if (!strict_is_authority(*out_authority))
        return http1_bad(head, 400, "the target's authority is not host or host:port");
    if (head->n_hosts > 0 && !str_eq_ci(*out_authority, head->host))
        return http1_two_ways(head, "the target's authority is not that of host");
    return true;
}

static bool read_target(struct http1_head *head, struct http_request *request)
{
    const bool is_absolute = head->target.ptr[0] != '/' && !str_eq(head->target, STR("*"));

    if (str_eq(head->method, STR("CONNECT")))
        return http1_bad(head, 501, "CONNECT is not for this proxy");
    if (head->version == HTTP_1_1 && head->n_hosts == 0)
        return http1_bad(head, 400, "there is no host");
    if (head->n_hosts > 0 && !strict_is_authority(head->host))
        return http1_bad(head, 400, "host is not host or host:port");
    request->authority = head->host;
    request->path = head->target;
    if (is_absolute && !split_absolute(head, &request->authority, &request->path))
        return false;
    return strict_is_path(head->method, request->path) ||
           http1_bad(head, 400, "the target has a character that is not for a path");
}

static bool read_framing(struct http1_head *head, struct http1_verdict *verdict)
{
    if (head->n_codings > 0 && head->version == HTTP_1_0)
        return http1_two_ways(head, "transfer-encoding came with HTTP/1.0");
    if (head->n_codings > 0 && head->content_length != HTTP_LENGTH_UNKNOWN)
        return http1_two_ways(head, "transfer-encoding and content-length came together");
    if (head->n_codings > 0)
        verdict->framing = HTTP1_CHUNKED;
    else if (head->content_length > 0)
        verdict->framing = HTTP1_LENGTH;
    else
        verdict->framing = HTTP1_NO_BODY;
    return true;
}

/* A protocol with a version perhaps; HTTP itself is declined by silence, as it may be. */
static bool is_upgrade(struct str protocol)
{
    struct str name = protocol, version = STR("1");

    (void)str_split(protocol, '/', &name, &version);
    return ascii_is_token(name) && ascii_is_token(version) && !strict_is_http_itself(protocol);
}

/* RFC 9110 7.8: an upgrade is one hop's, so connection says so as well; HTTP/1.0 has none. */
static bool read_upgrade(struct http1_head *head, struct http1_verdict *verdict)
{
    if (head->n_upgrades == 0 || !head->says_upgrade || head->version == HTTP_1_0)
        return true;
    if (head->n_upgrades > 1 || !is_upgrade(head->upgrade))
        return true;
    verdict->upgrade = head->upgrade;
    return verdict->framing == HTTP1_NO_BODY || http1_two_ways(head, "an upgrade came with a body");
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
    out_request->fields = fields_of(head);
    out_request->has_body = out_verdict->framing != HTTP1_NO_BODY || out_verdict->upgrade.len > 0;
    out_request->content_length = head->content_length;
    if (out_request->content_length == HTTP_LENGTH_UNKNOWN && !out_request->has_body)
        out_request->content_length = 0;
    out_request->version = head->version;
    out_request->piece = str_of(head->bytes, head->len);
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
        return http1_bad(head, 400, "an interim response came with HTTP/1.0");
    if (has_none && verdict->framing != HTTP1_NO_BODY)
        return http1_bad(head, 400, "a response that can have no body says that it has one");
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
    out_response->fields = fields_of(head);
    out_response->has_body = out_verdict->framing != HTTP1_NO_BODY;
    out_response->content_length = head->content_length;
    return true;
}

bool http1_read_trailers(struct http1_head *head, struct http_fields *out_trailers)
{
    if (!read_lines(head))
        return false;
    *out_trailers = fields_of(head);
    return true;
}

/* ------------------------------------------------------------------ all of it at once */

/* Up to where zeros end what there is to read. */
static size_t len_from(const struct http1_head *head, const char *at)
{
    return (size_t)(head->bytes + head->len + HTTP1_SLACK - at);
}

/* "GET /path HTTP/1.1", up to its end. False: it is not so, whether it may be or not. */
static bool skim_request_line(struct http1_head *head, char **at)
{
    const char *method = *at, *target;

    target = method + ascii_token_len(method, len_from(head, method));
    head->method = str_of(method, (size_t)(target - method));
    if (*target++ != ' ')
        return false;
    head->target = str_of(target, strict_path_len(target, len_from(head, target)));
    *at += head->method.len + 1 + head->target.len;
    if (head->method.len == 0 || head->target.len == 0 || memcmp(*at, " HTTP/1.1", 9) != 0)
        return false;
    *at += 9;
    return true;
}

/* "HTTP/1.1 200 Reason" in the same way. */
static bool skim_status_line(struct http1_head *head, char **at)
{
    const char *const digits = *at + 9;

    if (memcmp(*at, "HTTP/1.1 ", 9) != 0)
        return false;
    for (unsigned i = 0; i < 3; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return false;
        head->status = head->status * 10 + (unsigned)(digits[i] - '0');
    }
    if (head->status < 100 || head->status > 599 || digits[3] != ' ')
        return false;
    *at += 13;
    *at += strict_value_len(*at, len_from(head, *at));
    return digits[4] == '\r' || (!is_blank(digits[4]) && !is_blank((*at)[-1]));
}

static bool skim(struct http1_head *head)
{
    char *at = head->bytes;

    if (!(head->kind == HTTP1_REQUEST ? skim_request_line(head, &at) : skim_status_line(head, &at)))
        return false;
    if (at[0] != '\r' || at[1] != '\n' || !read_fields(head, at + 2, &at) || at[1] != '\n')
        return false;
    head->len = (size_t)(at + 2 - head->bytes);
    head->version = HTTP_1_1;
    head->n_lines = 1;
    head->is_whole = head->has_read_line = head->has_read_all = true;
    return true;
}

/* Most heads come in one piece and are as they should be: those are read in one go. Of every other
 * nothing is kept, and it is gathered and read from its first byte on. */
size_t http1_take(struct http1_head *head, const void *bytes, size_t len)
{
    const size_t room = head->cap - HTTP1_SLACK;
    const size_t n = len < room ? len : room;

    if (head->len > 0 || head->had_empty_line || head->kind == HTTP1_TRAILERS || n > head->limit)
        return http1_gather(head, bytes, len);
    memcpy(head->bytes, bytes, n);
    memset(head->bytes + n, 0, HTTP1_SLACK);
    head->len = n;
    if (skim(head))
        return head->len;
    http1_head_restart(head);
    return http1_gather(head, bytes, len);
}
