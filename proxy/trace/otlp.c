#include "proxy/trace/otlp.h"

#include <otlp.pb-c.h>
#include <string.h>

#define HAS_REMOTE 0x100u /* the flag below is known (Span.flags of opentelemetry-proto 1.1 on) */
#define IS_REMOTE  0x200u /* the parent is of another process */

#define STATUS_ERROR 2

/* ---- values ---- */

static char *copy_of(struct arena *arena, struct str text)
{
    char *copy = arena_alloc(arena, text.len + 1);
    if (text.len > 0)
        memcpy(copy, text.ptr, text.len);
    return copy;
}

/* A string of protobuf is UTF-8, or a collector refuses the whole batch. */
static char *string(struct arena *arena, struct str text)
{
    char *copy = copy_of(arena, text);
    for (size_t at = 0; at < text.len;) {
        const size_t len = str_utf8_len(text, at);
        if (len == 0 || copy[at] == '\0')
            copy[at] = '?';
        at += len > 0 ? len : 1;
    }
    return copy;
}

static Otlp__KeyValue *new_pair(struct arena *arena, const char *key)
{
    Otlp__KeyValue *pair = arena_new(arena, Otlp__KeyValue);
    otlp__key_value__init(pair);
    pair->key = copy_of(arena, str_from(key));
    pair->value = arena_new(arena, Otlp__AnyValue);
    otlp__any_value__init(pair->value);
    return pair;
}

static Otlp__KeyValue *text_pair(struct arena *arena, const char *key, struct str text)
{
    Otlp__KeyValue *pair = new_pair(arena, key);
    pair->value->value_case = OTLP__ANY_VALUE__VALUE_STRING_VALUE;
    pair->value->string_value = string(arena, text);
    return pair;
}

static Otlp__KeyValue *number_pair(struct arena *arena, const char *key, int64_t number)
{
    Otlp__KeyValue *pair = new_pair(arena, key);
    pair->value->value_case = OTLP__ANY_VALUE__VALUE_INT_VALUE;
    pair->value->int_value = number;
    return pair;
}

static ProtobufCBinaryData id(struct arena *arena, const uint8_t *bytes, size_t len)
{
    return (ProtobufCBinaryData){len, (uint8_t *)copy_of(arena, str_of(bytes, len))};
}

/* ---- spans ---- */

static void take_head(Otlp__Span *span, const struct span_head *head, struct arena *arena)
{
    span->trace_id = id(arena, head->trace_id, TRACE_ID_LEN);
    span->span_id = id(arena, head->span_id, TRACE_SPAN_LEN);
    span->flags = head->flags | HAS_REMOTE;
    if (head->has_parent) {
        span->parent_span_id = id(arena, head->parent_id, TRACE_SPAN_LEN);
        span->flags |= IS_REMOTE;
    }
    span->kind = head->kind;
    span->start_time_unix_nano = (uint64_t)head->start_ns;
    span->end_time_unix_nano = (uint64_t)head->end_ns;
    if (head->has_failed) {
        span->status = arena_new(arena, Otlp__Status);
        otlp__status__init(span->status);
        span->status->code = STATUS_ERROR;
    }
}

static void take_part(Otlp__Span *span, const struct span_part *part, struct arena *arena)
{
    if (part->part == SPAN_NAME)
        span->name = string(arena, part->text);
    else if (part->part == SPAN_STATE)
        span->trace_state = string(arena, part->text);
    else if (part->part < SPAN_ATTRIBUTES)
        span->attributes[span->n_attributes++] =
            part->is_number ? number_pair(arena, span_key(part->part), part->number)
                            : text_pair(arena, span_key(part->part), part->text);
}

static Otlp__Span *span_of(struct str record, struct arena *arena, struct str *out_service)
{
    struct span_head head;
    struct span_part part;
    struct str rest;
    Otlp__Span *span = arena_new(arena, Otlp__Span);
    otlp__span__init(span);
    span->attributes = arena_new_array(arena, Otlp__KeyValue *, SPAN_PARTS);
    span_read(record, &head, &rest);
    take_head(span, &head, arena);
    *out_service = (struct str){0};
    while (span->n_attributes < SPAN_PARTS && span_next(&rest, &part)) {
        if (part.part == SPAN_SERVICE)
            *out_service = part.text;
        else
            take_part(span, &part, arena);
    }
    return span;
}

/* ---- the batch ---- */

static Otlp__Resource *resource_of(const struct otlp_origin *origin, struct str service,
                                   struct arena *arena)
{
    Otlp__Resource *resource = arena_new(arena, Otlp__Resource);
    otlp__resource__init(resource);
    resource->attributes = arena_new_array(arena, Otlp__KeyValue *, 3);
    resource->attributes[resource->n_attributes++] =
        text_pair(arena, "service.name", str_is_empty(service) ? STR("isthmus") : service);
    resource->attributes[resource->n_attributes++] =
        text_pair(arena, "k8s.node.name", origin->node);
    resource->attributes[resource->n_attributes++] =
        text_pair(arena, "k8s.cluster.name", origin->cluster);
    return resource;
}

static Otlp__ResourceSpans *new_group(const struct otlp_origin *origin, struct str service,
                                      size_t n_spans, struct arena *arena)
{
    Otlp__ResourceSpans *group = arena_new(arena, Otlp__ResourceSpans);
    Otlp__ScopeSpans *scoped = arena_new(arena, Otlp__ScopeSpans);
    otlp__resource_spans__init(group);
    otlp__scope_spans__init(scoped);
    group->resource = resource_of(origin, service, arena);
    group->n_scope_spans = 1;
    group->scope_spans = arena_new_array(arena, Otlp__ScopeSpans *, 1);
    group->scope_spans[0] = scoped;
    scoped->scope = arena_new(arena, Otlp__Scope);
    otlp__scope__init(scoped->scope);
    scoped->scope->name = string(arena, STR("isthmus"));
    scoped->scope->version = string(arena, origin->version);
    scoped->spans = arena_new_array(arena, Otlp__Span *, n_spans);
    return group;
}

/* Few services speak in a batch, so they are looked for one by one. */
static Otlp__ScopeSpans *group_of(Otlp__Export *export_, struct str *services,
                                  const struct otlp_origin *origin, struct str service,
                                  size_t n_spans, struct arena *arena)
{
    size_t i = 0;
    while (i < export_->n_resource_spans && !str_eq(services[i], service))
        i++;
    if (i == export_->n_resource_spans) {
        services[i] = service;
        export_->resource_spans[export_->n_resource_spans++] =
            new_group(origin, service, n_spans, arena);
    }
    return export_->resource_spans[i]->scope_spans[0];
}

void otlp_encode(const struct otlp_origin *origin, const struct str *records, size_t n,
                 struct text *out)
{
    struct arena arena = {0};
    struct str *services = arena_new_array(&arena, struct str, n);
    Otlp__Export export_;
    otlp__export__init(&export_);
    export_.resource_spans = arena_new_array(&arena, Otlp__ResourceSpans *, n);
    for (size_t i = 0; i < n; i++) {
        struct str service;
        Otlp__Span *span = span_of(records[i], &arena, &service);
        Otlp__ScopeSpans *group = group_of(&export_, services, origin, service, n - i, &arena);
        group->spans[group->n_spans++] = span;
    }
    const size_t len = otlp__export__get_packed_size(&export_);
    uint8_t *bytes = arena_alloc(&arena, len + 1);
    (void)otlp__export__pack(&export_, bytes);
    text_add(out, str_of(bytes, len));
    arena_fini(&arena);
}

size_t otlp_rejected(struct str body, size_t n, struct arena *arena, struct str *out_sentence)
{
    Otlp__Answer *answer = otlp__answer__unpack(NULL, body.len, (const uint8_t *)body.ptr);
    size_t rejected = 0;
    *out_sentence = (struct str){0};
    if (answer && answer->partial_success) {
        const int64_t said = answer->partial_success->rejected_spans;
        rejected = said <= 0 ? 0 : (uint64_t)said < n ? (size_t)said : n;
        *out_sentence = arena_str(arena, str_from(answer->partial_success->error_message));
    }
    if (answer)
        otlp__answer__free_unpacked(answer, NULL);
    return rejected;
}
