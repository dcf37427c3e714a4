/* h1_answer.c - llhttp's callbacks. */
#include "proxy/http/h1_answer.h"

#include "proxy/base/err.h"

#define HEAD_MAX  ((size_t)65536)
#define VALUE_MAX ((size_t)4096)

static int fail(struct h1_answer *answer, int err)
{
    answer->err = err;
    return -1;
}

static int on_head_part(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_answer *answer = parser->data;

    (void)at;
    answer->head_bytes += len + 1;
    return answer->head_bytes <= HEAD_MAX ? 0 : fail(answer, -ERR_LIMIT);
}

/* Two names are of interest, so only as much as the longer one's length is kept, and one more. */
static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_answer *answer = parser->data;

    for (size_t i = 0; i < len; i++)
        if (answer->name_len < sizeof(answer->name))
            answer->name[answer->name_len++] = at[i];
    return on_head_part(parser, at, len);
}

static int on_field_complete(llhttp_t *parser)
{
    struct h1_answer *answer = parser->data;

    const struct str name = str_of(answer->name, answer->name_len);

    answer->value = str_eq_ci(name, STR("location"))      ? &answer->location
                    : str_eq_ci(name, STR("retry-after")) ? &answer->retry_after
                                                          : NULL;
    answer->name_len = 0;
    return 0;
}

static int on_value(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_answer *answer = parser->data;

    if (answer->value && answer->value->len + len > VALUE_MAX)
        return fail(answer, -ERR_LIMIT);
    if (answer->value)
        text_add(answer->value, str_of(at, len));
    return on_head_part(parser, at, len);
}

static int on_headers_complete(llhttp_t *parser)
{
    struct h1_answer *answer = parser->data;

    if (answer->on_piece && parser->status_code == 200)
        answer->on_piece(answer->owner, (struct str){0});
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    struct h1_answer *answer = parser->data;

    if (answer->on_piece && parser->status_code == 200) {
        answer->on_piece(answer->owner, str_of(at, len));
        return 0;
    }
    if (len > answer->max_body - answer->body.len)
        return fail(answer, -ERR_LIMIT);
    text_add(&answer->body, str_of(at, len));
    return 0;
}

static int on_message_complete(llhttp_t *parser)
{
    struct h1_answer *answer = parser->data;

    if (parser->status_code < 200)
        return 0; /* interim: the answer follows */
    answer->status = parser->status_code;
    answer->is_whole = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_status = on_head_part,
    .on_header_field = on_field,
    .on_header_field_complete = on_field_complete,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void h1_answer_init(struct h1_answer *answer, size_t max_body)
{
    *answer = (struct h1_answer){.max_body = max_body};
    answer->body.limit = max_body * 2 + 1; /* on_body() bounds it */
    llhttp_init(&answer->parser, HTTP_RESPONSE, &settings);
    answer->parser.data = answer;
}

int h1_answer_take(struct h1_answer *answer, struct str bytes)
{
    enum llhttp_errno code = llhttp_execute(&answer->parser, bytes.ptr, bytes.len);

    if (answer->is_whole || code == HPE_OK)
        return 0;
    return answer->err ? answer->err : -ERR_INVALID;
}

int h1_answer_end(struct h1_answer *answer)
{
    (void)llhttp_finish(&answer->parser); /* completes a body that the end delimits */
    return answer->is_whole ? 0 : -ERR_EOF;
}

void h1_answer_fini(struct h1_answer *answer)
{
    text_fini(&answer->body);
    text_fini(&answer->location);
    text_fini(&answer->retry_after);
}
