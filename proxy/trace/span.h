/*
 * span.h - one span, as a worker packs it into a record and the exporter reads it.
 *
 * span_begin -> span_text and span_number, in any order -> span_end gives the record: bytes without
 * pointers, for a ring between threads. Bounded: SPAN_BYTES_MAX; a text is cut at SPAN_TEXT_MAX,
 * and what does not fit any more is left out.
 *
 * Owner: whoever embeds it. Thread: one at a time. Units: ns since 1970.
 */
#ifndef ISTHMUS_TRACE_SPAN_H
#define ISTHMUS_TRACE_SPAN_H

#include "proxy/trace/context.h"

#define SPAN_BYTES_MAX ((size_t)4096)
#define SPAN_TEXT_MAX  ((size_t)1024)
#define SPAN_STATE_MAX ((size_t)512) /* a longer tracestate is passed on, and not exported */

#define ATTRIBUTE(id, key, what) SPAN_##id,

enum span_attribute {

#include "proxy/trace/attributes.def"
    SPAN_ATTRIBUTES,
    /* no attributes of the span, but part of what it says */
    SPAN_NAME = SPAN_ATTRIBUTES,
    SPAN_STATE,
    SPAN_SERVICE, /* whose span it is */
    SPAN_PARTS
};
#undef ATTRIBUTE

enum span_kind { SPAN_SERVER = 2, SPAN_CLIENT = 3 }; /* OTLP's numbers */

struct span_head {
    uint8_t trace_id[TRACE_ID_LEN];
    uint8_t span_id[TRACE_SPAN_LEN], parent_id[TRACE_SPAN_LEN];
    int64_t start_ns, end_ns;
    uint8_t flags, kind;
    bool has_failed, has_parent;
};

struct span {
    struct span_head head;
    size_t len;
    char bytes[SPAN_BYTES_MAX]; /* the record: the head, then the parts */
};

void span_begin(struct span *span, const struct trace_context *context, enum span_kind kind);
/* An empty text is left out. */
void span_text(struct span *span, enum span_attribute part, struct str text);
void span_number(struct span *span, enum span_attribute part, int64_t number);
/* The whole record, borrowed until the next span_begin(). */
struct str span_end(struct span *span, int64_t start_ns, int64_t end_ns, bool has_failed);

/* ---- reading a record ---- */

struct span_part {
    enum span_attribute part;
    bool is_number;
    struct str text; /* borrowed of the record */
    int64_t number;
};

/* The head; *out_rest are its parts. */
void span_read(struct str record, struct span_head *out_head, struct str *out_rest);
bool span_next(struct str *rest, struct span_part *out_part);
const char *span_key(enum span_attribute attribute);

#endif
