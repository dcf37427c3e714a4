#include "proxy/trace/span.h"

#include <string.h>

#define ATTRIBUTE(id, key, what) [SPAN_##id] = (key),
static const char *const keys[SPAN_ATTRIBUTES] = {
#include "proxy/trace/attributes.def"
};
#undef ATTRIBUTE

#define NUMBER 1
#define TEXT   2

struct part_head {
    uint8_t part, kind;
    uint16_t len;
};

void span_begin(struct span *span, const struct trace_context *context, enum span_kind kind)
{
    static const uint8_t none[TRACE_SPAN_LEN];
    span->head = (struct span_head){.flags = context->flags, .kind = (uint8_t)kind};
    memcpy(span->head.trace_id, context->trace_id, TRACE_ID_LEN);
    memcpy(span->head.span_id, context->span_id, TRACE_SPAN_LEN);
    memcpy(span->head.parent_id, context->parent_id, TRACE_SPAN_LEN);
    span->head.has_parent = memcmp(context->parent_id, none, sizeof none) != 0;
    span->len = sizeof span->head;
    if (context->state.len <= SPAN_STATE_MAX)
        span_text(span, SPAN_STATE, context->state);
}

static void add(struct span *span, struct part_head head, const void *bytes)
{
    if (sizeof head + head.len > SPAN_BYTES_MAX - span->len)
        return;
    memcpy(span->bytes + span->len, &head, sizeof head);
    memcpy(span->bytes + span->len + sizeof head, bytes, head.len);
    span->len += sizeof head + head.len;
}

void span_text(struct span *span, enum span_attribute part, struct str text)
{
    const struct str kept = str_sub(text, 0, SPAN_TEXT_MAX);
    if (kept.len > 0)
        add(span, (struct part_head){(uint8_t)part, TEXT, (uint16_t)kept.len}, kept.ptr);
}

void span_number(struct span *span, enum span_attribute part, int64_t number)
{
    add(span, (struct part_head){(uint8_t)part, NUMBER, sizeof number}, &number);
}

struct str span_end(struct span *span, int64_t start_ns, int64_t end_ns, bool has_failed)
{
    span->head.start_ns = start_ns;
    span->head.end_ns = end_ns;
    span->head.has_failed = has_failed;
    memcpy(span->bytes, &span->head, sizeof span->head);
    return str_of(span->bytes, span->len);
}

void span_read(struct str record, struct span_head *out_head, struct str *out_rest)
{
    ensure(record.len >= sizeof *out_head);
    memcpy(out_head, record.ptr, sizeof *out_head);
    *out_rest = str_sub(record, sizeof *out_head, record.len);
}

bool span_next(struct str *rest, struct span_part *out_part)
{
    struct part_head head;
    if (rest->len < sizeof head)
        return false;
    memcpy(&head, rest->ptr, sizeof head);
    *out_part = (struct span_part){.part = head.part, .is_number = head.kind == NUMBER};
    const struct str bytes = str_sub(*rest, sizeof head, head.len);
    ensure(bytes.len == head.len && head.part < SPAN_PARTS);
    if (out_part->is_number)
        memcpy(&out_part->number, bytes.ptr, sizeof out_part->number);
    else
        out_part->text = bytes;
    *rest = str_sub(*rest, sizeof head + head.len, rest->len);
    return true;
}

const char *span_key(enum span_attribute attribute)
{
    ensure(attribute < SPAN_ATTRIBUTES);
    return keys[attribute];
}
