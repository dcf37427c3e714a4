#include "tests/unit/proxy_http/http1_judge.h"

#include <llhttp.h>
#include <stdio.h>

#include "proxy/http/strict.h"

#define FIELDS_MAX 1000

static void add_field(struct text *text, struct str name, struct str value)
{
    text_addf(text, " %.*s: ", STR_ARG(name));
    text_add(text, value);
    text_addc(text, '\n');
}

static void add_fields(struct text *text, const struct http_fields *fields)
{
    for (size_t i = 0; i < fields->len; i++)
        if (!str_eq(fields->at[i].name, STR("te")))
            add_field(text, fields->at[i].name, fields->at[i].value);
}

void judge_request(struct text *ours, const struct http_request *request)
{
    text_addf(ours, "%.*s\n", STR_ARG(request->method));
    add_fields(ours, &request->fields);
}

void judge_response(struct text *ours, const struct http_response *response)
{
    text_addf(ours, "%u\n", response->status);
    add_fields(ours, &response->fields);
}

void judge_data(struct text *ours, struct str bytes)
{
    text_add(ours, bytes);
}

void judge_end(struct text *ours)
{
    text_add(ours, STR("\nEND\n"));
}

/* ------------------------------------------------------------------ llhttp's reading */

struct field {
    struct text name, value;
};

struct reading {
    struct text log;
    struct field fields[FIELDS_MAX];
    size_t n_fields;
    struct text method;
    bool is_in_value, to_head;
};

static struct reading *of(llhttp_t *parser)
{
    return parser->data;
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
    struct reading *r = of(parser);

    if (r->n_fields == 0 || r->is_in_value) {
        ensure(r->n_fields < FIELDS_MAX);
        r->fields[r->n_fields++] = (struct field){0};
    }
    r->is_in_value = false;
    for (size_t i = 0; i < len; i++)
        text_addc(&r->fields[r->n_fields - 1].name,
                  (char)(at[i] >= 'A' && at[i] <= 'Z' ? at[i] + 32 : at[i]));
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct reading *r = of(parser);

    ensure(r->n_fields > 0);
    r->is_in_value = true;
    text_add(&r->fields[r->n_fields - 1].value, str_of(at, len));
    return 0;
}

static int on_value_complete(llhttp_t *parser)
{
    of(parser)->is_in_value = true;
    return 0;
}

static int on_method(llhttp_t *parser, const char *at, size_t len)
{
    text_add(&of(parser)->method, str_of(at, len));
    return 0;
}

static bool is_named(const struct reading *r, struct str name)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        struct str list = text_str(&r->fields[i].value), member;
        if (!str_eq(text_str(&r->fields[i].name), STR("connection")))
            continue;
        while (strict_next_member(&list, &member))
            if (str_eq_ci(member, name))
                return true;
    }
    return false;
}

static void forget_fields(struct reading *r)
{
    for (size_t i = 0; i < r->n_fields; i++) {
        text_fini(&r->fields[i].name);
        text_fini(&r->fields[i].value);
    }
    r->n_fields = 0;
    r->is_in_value = false;
}

static struct str trimmed(struct str value)
{
    while (value.len > 0 && (value.ptr[value.len - 1] == ' ' || value.ptr[value.len - 1] == '\t'))
        value.len--;
    return value;
}

/* llhttp takes the length of a 304 for that of a body. */
static bool has_no_body(const struct reading *r, unsigned status)
{
    return status == 204 || status == 304 || (r->to_head && status >= 200);
}

static int on_headers_complete(llhttp_t *parser)
{
    struct reading *r = of(parser);

    if (parser->type == HTTP_REQUEST)
        text_addf(&r->log, "%.*s\n", STR_ARG(text_str(&r->method)));
    else
        text_addf(&r->log, "%u\n", parser->status_code);
    for (size_t i = 0; i < r->n_fields; i++) {
        const struct str name = text_str(&r->fields[i].name);
        const bool is_host = parser->type == HTTP_REQUEST && str_eq(name, STR("host"));
        if (!is_host && !str_eq(name, STR("content-length")) && !strict_is_hop_field(name) &&
            !is_named(r, name))
            add_field(&r->log, name, trimmed(text_str(&r->fields[i].value)));
    }
    text_clear(&r->method);
    forget_fields(r);
    return parser->type == HTTP_RESPONSE && has_no_body(r, parser->status_code) ? 1 : 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    text_add(&of(parser)->log, str_of(at, len));
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct reading *r = of(parser);

    forget_fields(r); /* trailers */
    text_add(&r->log, STR("\nEND\n"));
    return 0;
}

static const llhttp_settings_t settings = {
    .on_method = on_method,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

static enum llhttp_errno read_all(struct reading *r, llhttp_type_t type, struct str bytes,
                                  bool has_end)
{
    llhttp_t parser;
    enum llhttp_errno code;

    llhttp_init(&parser, type, &settings);
    parser.data = r;
    /* "Connection: close" is about what comes after the final answer (RFC 9112 section 9.6); llhttp
     * lets it end the connection at an interim one too, and reads no further. */
    if (type == HTTP_RESPONSE)
        llhttp_set_lenient_keep_alive(&parser, 1);
    code = llhttp_execute(&parser, bytes.ptr, bytes.len);
    while (code == HPE_PAUSED_UPGRADE && type == HTTP_REQUEST) {
        const char *at = llhttp_get_error_pos(&parser);
        llhttp_resume_after_upgrade(&parser);
        code = llhttp_execute(&parser, at, (size_t)(bytes.ptr + bytes.len - at));
    }
    if (code == HPE_OK && has_end)
        code = llhttp_finish(&parser);
    return code;
}

/* What ours took as whole: up to the last end. */
static struct str whole_part(const struct text *ours)
{
    struct str text = text_str(ours);

    while (text.len > 0 && !str_ends_with(text, STR("\nEND\n")))
        text.len--;
    return text;
}

static void compare(const struct reading *r, const struct text *ours, enum llhttp_errno code)
{
    const struct str whole = whole_part(ours), theirs = text_str(&r->log);
    const bool is_same = str_starts_with(theirs, whole) ||
                         (code == HPE_INVALID_METHOD && str_starts_with(whole, theirs));

    if (!is_same)
        fprintf(stderr, "--- ours\n%.*s\n--- llhttp (%s)\n%.*s\n", STR_ARG(whole),
                llhttp_errno_name(code), STR_ARG(theirs));
    ensure(is_same);
}

static void check(llhttp_type_t type, const struct text *ours, struct str bytes, bool to_head,
                  bool has_end)
{
    static struct reading r;

    r.to_head = to_head;
    text_clear(&r.log);
    compare(&r, ours, read_all(&r, type, bytes, has_end));
    forget_fields(&r);
    text_fini(&r.log);
    text_fini(&r.method);
}

void judge_check_requests(const struct text *ours, struct str bytes)
{
    check(HTTP_REQUEST, ours, bytes, false, false);
}

void judge_check_responses(const struct text *ours, struct str bytes, bool to_head, bool has_end)
{
    check(HTTP_RESPONSE, ours, bytes, to_head, has_end);
}
