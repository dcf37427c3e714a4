/*
 * http1_body.h - where the body of an HTTP/1.1 message ends: its framing, taken off what comes.
 *
 * The caller gives what came and gets steps: a piece of the body as a window into it, the end with
 * or without trailers, or a fault. Nothing is copied but trailers. Chunks are exactly
 * 1*16HEXDIG [ extension ] CRLF data CRLF; extensions of tokens are skipped, and bounded for the
 * whole body.
 *
 * Owner: whoever embeds it; http1_body_fini() frees the trailers. Thread: any one. Source: RFC 9112
 * 6 and 7.
 */
#ifndef ISTHMUS_HTTP_HTTP1_BODY_H
#define ISTHMUS_HTTP_HTTP1_BODY_H

#include "proxy/http/http1_head.h"

enum http1_chunk_part {
    HTTP1_CHUNK_SIZE,
    HTTP1_CHUNK_EXTENSION,
    HTTP1_CHUNK_EXTENSION_VALUE,
    HTTP1_CHUNK_SIZE_LF,
    HTTP1_CHUNK_DATA,
    HTTP1_CHUNK_CR,
    HTTP1_CHUNK_LF,
    HTTP1_CHUNK_TRAILERS,
};

struct http1_body {
    enum http1_framing framing;
    enum http1_chunk_part part;
    uint64_t left;                  /* of the body, or of the chunk */
    unsigned n_digits, n_extension; /* characters of what is being read */
    size_t extension_bytes;
    struct http1_head *trailers; /* while and after they are read; NULL: there are none */
    const struct http_limits *limits;
    struct slab_pool *slabs;
    unsigned fault; /* as in http1_head.h */
    const char *why;
};

enum http1_step {
    HTTP1_STEP_MORE, /* all was taken, more is needed */
    HTTP1_STEP_DATA,
    HTTP1_STEP_END, /* nothing behind it was taken */
    HTTP1_STEP_FAULT,
};

void http1_body_init(struct http1_body *body, enum http1_framing framing, int64_t length,
                     const struct http_limits *limits, struct slab_pool *slabs);
void http1_body_fini(struct http1_body *body);

/* One step over what came, which is not empty unless the body is. out_used counts what was taken; a
 * piece of the body is the last out_data bytes of it. */
enum http1_step http1_body_step(struct http1_body *body, const uint8_t *bytes, size_t len,
                                size_t *out_used, size_t *out_data);

/* The trailers, after the end; borrowed. */
bool http1_body_trailers(const struct http1_body *body, struct http_fields *out_trailers);

#endif
