/*
 * context.h - the W3C Trace Context of a request: which trace it is part of, and what it is told
 * when it is sent on.
 *
 * A traceparent that is well formed is continued: its trace and its sampled flag stay, our span
 * becomes the parent of what follows. None, one that is malformed, or more than one begins a new
 * trace, and then a tracestate that came along is dropped, since it is of a trace that is not ours.
 * A version that is not known is read as version 00 as far as that goes; ff is none. What is sent
 * on is always version 00. tracestate is passed on as it came, its lines joined in their order;
 * members beyond TRACE_STATE_MAX bytes are left out from the end, each whole.
 *
 * Thread: any. Source: W3C Trace Context, Recommendation (level 1), and of level 2 the flag that
 * says that an id is random, which is passed on.
 */
#ifndef ISTHMUS_TRACE_CONTEXT_H
#define ISTHMUS_TRACE_CONTEXT_H

#include "proxy/base/arena.h"
#include "proxy/base/rng.h"
#include "proxy/http/message.h"

#define TRACE_ID_LEN     16
#define TRACE_SPAN_LEN   8
#define TRACE_PARENT_LEN 55u
#define TRACE_STATE_MAX  ((size_t)4096)

#define TRACE_SAMPLED 0x01u
#define TRACE_RANDOM  0x02u

#define TRACE_ALL_PPM 1000000u /* every trace */

struct trace_context {
    uint8_t trace_id[TRACE_ID_LEN];
    uint8_t span_id[TRACE_SPAN_LEN];   /* ours */
    uint8_t parent_id[TRACE_SPAN_LEN]; /* the caller's span; zeros: we are the root */
    uint8_t flags;
    struct str state; /* tracestate, in the arena; "" without */
};

/* The trace, the parent and the flags of a traceparent; false when it is none. */
bool trace_parse(struct str text, struct trace_context *out_context);
/* Continues or begins: a new span in either case. A trace that begins here is sampled with a chance
 * of sampling_ppm in a million; one that is continued as its caller decided. */
void trace_begin(const struct http_fields *fields, uint32_t sampling_ppm, struct rng *rng,
                 struct arena *arena, struct trace_context *out_context);
/* The fields with our traceparent and tracestate in place of those that came. */
struct http_fields trace_forward(const struct http_fields *fields,
                                 const struct trace_context *context, struct arena *arena);
/* Lower-case hexadecimal digits, 2 * len of them. */
void trace_hex(const uint8_t *bytes, size_t len, char *out_digits);

static inline bool trace_is_sampled(const struct trace_context *context)
{
    return (context->flags & TRACE_SAMPLED) != 0;
}

#endif
