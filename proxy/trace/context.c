#include "proxy/trace/context.h"

#include <string.h>

static const struct str parent_name = {"traceparent", 11};
static const struct str state_name = {"tracestate", 10};

/* ---- reading ---- */

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; /* upper case is not allowed */
}

static bool read_hex(struct str text, size_t at, uint8_t *out_bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        const int high = digit_value(text.ptr[at + 2 * i]);
        const int low = digit_value(text.ptr[at + 2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        out_bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
    uint8_t all = 0;
    for (size_t i = 0; i < len; i++)
        all |= bytes[i];
    return all == 0;
}

bool trace_parse(struct str text, struct trace_context *out_context)
{
    struct trace_context context = {0};
    uint8_t version;
    if (text.len < TRACE_PARENT_LEN || text.ptr[2] != '-' || text.ptr[35] != '-' ||
        text.ptr[52] != '-' || !read_hex(text, 0, &version, 1) || version == 0xff)
        return false;
    /* A later version may say more, behind a dash. */
    if (text.len > TRACE_PARENT_LEN && (version == 0 || text.ptr[TRACE_PARENT_LEN] != '-'))
        return false;
    if (!read_hex(text, 3, context.trace_id, TRACE_ID_LEN) ||
        !read_hex(text, 36, context.parent_id, TRACE_SPAN_LEN) ||
        !read_hex(text, 53, &context.flags, 1) || is_zero(context.trace_id, TRACE_ID_LEN) ||
        is_zero(context.parent_id, TRACE_SPAN_LEN))
        return false;
    context.flags &= TRACE_SAMPLED | TRACE_RANDOM;
    *out_context = context;
    return true;
}

/* The one traceparent; more than one is none. */
static bool read_parent(const struct http_fields *fields, struct trace_context *out_context)
{
    const struct http_field *found = NULL;
    for (size_t i = 0; i < fields->len; i++) {
        if (!str_eq(fields->at[i].name, parent_name))
            continue;
        if (found)
            return false;
        found = &fields->at[i];
    }
    return found && trace_parse(found->value, out_context);
}

/* As much of the text as fits, cut at a comma. */
static struct str whole_members(struct str text, size_t max)
{
    if (text.len <= max)
        return text;
    size_t len = max + 1;
    while (len > 0 && text.ptr[len - 1] != ',')
        len--;
    return str_sub(text, 0, len > 0 ? len - 1 : 0);
}

static struct str join_state(const struct http_fields *fields, struct arena *arena)
{
    char *joined = NULL;
    size_t len = 0;
    for (size_t i = 0; i < fields->len; i++) {
        const struct str value = fields->at[i].value;
        if (!str_eq(fields->at[i].name, state_name) || str_is_empty(value))
            continue;
        if (!joined)
            joined = arena_alloc(arena, TRACE_STATE_MAX);
        const size_t comma = len > 0 ? 1 : 0;
        if (len + comma >= TRACE_STATE_MAX)
            break;
        const struct str part = whole_members(value, TRACE_STATE_MAX - len - comma);
        if (part.len > 0) {
            if (comma > 0)
                joined[len++] = ',';
            memcpy(joined + len, part.ptr, part.len);
            len += part.len;
        }
        if (part.len < value.len)
            break;
    }
    return str_of(joined, len);
}

/* ---- beginning ---- */

static void draw(struct rng *rng, uint8_t *out_id, size_t len)
{
    do {
        for (size_t at = 0; at < len; at += sizeof(uint64_t)) {
            const uint64_t random = rng_next(rng);
            memcpy(out_id + at, &random, sizeof random);
        }
    } while (is_zero(out_id, len));
}

void trace_begin(const struct http_fields *fields, uint32_t sampling_ppm, struct rng *rng,
                 struct arena *arena, struct trace_context *out_context)
{
    struct trace_context context = {0};
    if (read_parent(fields, &context)) {
        context.state = join_state(fields, arena);
    } else {
        draw(rng, context.trace_id, TRACE_ID_LEN);
        context.flags = rng_below(rng, TRACE_ALL_PPM) < sampling_ppm ? TRACE_SAMPLED : 0;
    }
    draw(rng, context.span_id, TRACE_SPAN_LEN);
    *out_context = context;
}

/* ---- writing ---- */

void trace_hex(const uint8_t *bytes, size_t len, char *out_digits)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < len; i++) {
        out_digits[2 * i] = digits[bytes[i] >> 4];
        out_digits[2 * i + 1] = digits[bytes[i] & 15];
    }
}

static struct str write_parent(const struct trace_context *context, struct arena *arena)
{
    char *text = arena_alloc(arena, TRACE_PARENT_LEN);
    text[0] = text[1] = '0'; /* the version */
    text[2] = '-';
    trace_hex(context->trace_id, TRACE_ID_LEN, text + 3);
    text[35] = '-';
    trace_hex(context->span_id, TRACE_SPAN_LEN, text + 36);
    text[52] = '-';
    trace_hex(&context->flags, 1, text + 53);
    return str_of(text, TRACE_PARENT_LEN);
}

struct http_fields trace_forward(const struct http_fields *fields,
                                 const struct trace_context *context, struct arena *arena)
{
    struct http_field *copy = arena_new_array(arena, struct http_field, fields->len + 2);
    size_t n = 0;
    for (size_t i = 0; i < fields->len; i++) {
        const struct str name = fields->at[i].name;
        if (!str_eq(name, parent_name) && !str_eq(name, state_name))
            copy[n++] = fields->at[i];
    }
    copy[n++] = (struct http_field){parent_name, write_parent(context, arena)};
    if (!str_is_empty(context->state))
        copy[n++] = (struct http_field){state_name, context->state};
    return (struct http_fields){.at = copy, .len = n};
}
