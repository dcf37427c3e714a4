/* h1_reader.c - llhttp's callbacks, and what they keep. */
#include "proxy/http/h1_reader.h"

#define FIELD_OVERHEAD 4 /* ": " and the line's end */

/* ---- the parser's callbacks ---- */

static int refuse(struct h1_reader *reader, unsigned status)
{
    if (!reader->refusal)
        reader->refusal = status;
    return -1;
}

static int take_head(struct h1_reader *reader, struct text *text, const char *at, size_t len,
                     unsigned status)
{
    reader->head_bytes += len;
    if (reader->head_bytes > H1_HEAD_MAX)
        return refuse(reader, status);
    text_add(text, str_of(at, len));
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_reader *reader = parser->data;

    return take_head(reader, &reader->url, at, len, 414);
}

static int on_name(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_reader *reader = parser->data;

    return take_head(reader, &reader->name, at, len, 431);
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_reader *reader = parser->data;

    return take_head(reader, &reader->value, at, len, 431);
}

static int keep_field(struct h1_reader *reader)
{
    struct str name = text_str(&reader->name);
    struct str value = text_str(&reader->value);

    if (str_eq_ci(name, STR("host"))) {
        if (reader->n_hosts++ > 0)
            return refuse(reader, 400);
        text_add(&reader->host, value);
    } else if (str_eq_ci(name, STR("origin"))) {
        text_add(&reader->origin, value);
    } else if (str_eq_ci(name, STR("accept-encoding"))) {
        if (reader->accept_encoding.len > 0)
            text_add(&reader->accept_encoding, STR(", "));
        text_add(&reader->accept_encoding, value);
    } else if (str_eq_ci(name, STR("transfer-encoding")) && !str_eq_ci(value, STR("chunked"))) {
        return refuse(reader, 501);
    }
    return 0;
}

static int on_value_complete(llhttp_t *parser)
{
    struct h1_reader *reader = parser->data;
    int rv = keep_field(reader);

    reader->head_bytes += FIELD_OVERHEAD;
    text_clear(&reader->name);
    text_clear(&reader->value);
    if (reader->head_bytes > H1_HEAD_MAX)
        return refuse(reader, 431);
    return rv;
}

/* The target in origin form, of visible characters only. */
static bool is_good_target(struct str url)
{
    if (url.len == 0 || url.ptr[0] != '/')
        return false;
    for (size_t i = 0; i < url.len; i++) {
        if (url.ptr[i] <= 0x20 || url.ptr[i] == 0x7f || url.ptr[i] == '#')
            return false;
    }
    return true;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct h1_reader *reader = parser->data;
    bool is_1_1 = parser->http_major == 1 && parser->http_minor == 1;
    bool is_1_0 = parser->http_major == 1 && parser->http_minor == 0;

    if (!is_1_1 && !is_1_0)
        return refuse(reader, 505);
    if (parser->method == HTTP_CONNECT || parser->upgrade)
        return refuse(reader, 501);
    if (!is_good_target(text_str(&reader->url)) || (is_1_1 && reader->n_hosts != 1))
        return refuse(reader, 400);
    if (is_1_0 && (parser->flags & F_TRANSFER_ENCODING))
        return refuse(reader, 400);
    if ((parser->flags & F_CONTENT_LENGTH) && parser->content_length > H1_BODY_MAX)
        return refuse(reader, 413);
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_reader *reader = parser->data;

    if (reader->body.len + len > H1_BODY_MAX)
        return refuse(reader, 413);
    text_add(&reader->body, str_of(at, len));
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct h1_reader *reader = parser->data;

    reader->is_whole = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t parser_settings = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* ---- reading ---- */

void h1_reader_init(struct h1_reader *reader)
{
    *reader = (struct h1_reader){0};
    llhttp_init(&reader->parser, HTTP_REQUEST, &parser_settings);
    reader->parser.data = reader;
}

enum h1_reading h1_reader_take(struct h1_reader *reader, struct str bytes, size_t *out_used)
{
    const enum llhttp_errno code = llhttp_execute(&reader->parser, bytes.ptr, bytes.len);

    *out_used = bytes.len;
    if (reader->is_whole) {
        *out_used = (size_t)(llhttp_get_error_pos(&reader->parser) - bytes.ptr);
        return H1_WHOLE;
    }
    if (code == HPE_OK)
        return H1_READING;
    if (reader->refusal == 0)
        reader->refusal = 400;
    return H1_REFUSED;
}

void h1_reader_fini(struct h1_reader *reader)
{
    struct text *texts[] = {&reader->url,  &reader->name,   &reader->value,          &reader->body,
                            &reader->host, &reader->origin, &reader->accept_encoding};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        text_fini(texts[i]);
}

void h1_reader_next(struct h1_reader *reader)
{
    h1_reader_fini(reader);
    reader->head_bytes = 0;
    reader->n_hosts = 0;
    reader->is_whole = false;
    llhttp_resume(&reader->parser);
}

struct str h1_reader_method(const struct h1_reader *reader)
{
    return str_from(llhttp_method_name((llhttp_method_t)reader->parser.method));
}

bool h1_reader_keeps_alive(const struct h1_reader *reader)
{
    return llhttp_should_keep_alive(&reader->parser) != 0;
}

bool h1_reader_is_1_1(const struct h1_reader *reader)
{
    return reader->parser.http_minor == 1;
}
