#include "proxy/http/http1_body.h"

#include "proxy/base/ascii.h"
#include "proxy/http/strict.h"

#define DIGITS_MAX     16u /* of a chunk's size, leading zeros and all */
#define CHUNK_MAX      (UINT64_C(1) << 50)
#define EXTENSIONS_MAX ((size_t)4096) /* of a body: nobody has a use for them */

void http1_body_init(struct http1_body *body, enum http1_framing framing, int64_t length,
                     const struct http_limits *limits, struct slab_pool *slabs)
{
    *body = (struct http1_body){.framing = framing, .limits = limits, .slabs = slabs};
    if (framing == HTTP1_LENGTH)
        body->left = (uint64_t)length;
}

void http1_body_fini(struct http1_body *body)
{
    http1_head_free(body->trailers);
    body->trailers = NULL;
}

static enum http1_step fault(struct http1_body *body, const char *why)
{
    body->fault = 400;
    body->why = why;
    return HTTP1_STEP_FAULT;
}

/* ------------------------------------------------------------------ chunks */

static enum http1_step take_size(struct http1_body *body, uint8_t c)
{
    const int digit = ascii_hex((char)c);

    if (digit >= 0) {
        body->left = body->left * 16 + (unsigned)digit;
        if (++body->n_digits > DIGITS_MAX || body->left > CHUNK_MAX)
            return fault(body, "a chunk's size is too large");
        return HTTP1_STEP_MORE;
    }
    if (body->n_digits == 0)
        return fault(body, "a chunk has no size");
    if (c == '\r')
        body->part = HTTP1_CHUNK_SIZE_LF;
    else if (c == ';')
        body->part = HTTP1_CHUNK_EXTENSION;
    else
        return fault(body, "a chunk's size has a character that is no hexadecimal digit");
    return HTTP1_STEP_MORE;
}

/* One of "name" or "name=value", which is what the one known user sends (chunk-signature). */
static enum http1_step take_extension(struct http1_body *body, uint8_t c)
{
    const bool is_name = body->part == HTTP1_CHUNK_EXTENSION;

    if (++body->extension_bytes > EXTENSIONS_MAX)
        return fault(body, "chunks have too long extensions");
    if (body->n_extension > 0 && (c == '\r' || (c == '=' && is_name))) {
        body->n_extension = 0;
        body->part = c == '\r' ? HTTP1_CHUNK_SIZE_LF : HTTP1_CHUNK_EXTENSION_VALUE;
        return HTTP1_STEP_MORE;
    }
    body->n_extension++;
    return ascii_is_token(str_of(&c, 1))
               ? HTTP1_STEP_MORE
               : fault(body, "a chunk's extension is not one name or name=value");
}

static enum http1_step end_size_line(struct http1_body *body, uint8_t c)
{
    if (c != '\n')
        return fault(body, "a carriage return stands alone in a chunk's size");
    body->n_digits = 0;
    body->part = body->left > 0 ? HTTP1_CHUNK_DATA : HTTP1_CHUNK_TRAILERS;
    return HTTP1_STEP_MORE;
}

static enum http1_step take_framing(struct http1_body *body, uint8_t c)
{
    switch (body->part) {
    case HTTP1_CHUNK_SIZE: return take_size(body, c);
    case HTTP1_CHUNK_EXTENSION:
    case HTTP1_CHUNK_EXTENSION_VALUE: return take_extension(body, c);
    case HTTP1_CHUNK_SIZE_LF: return end_size_line(body, c);
    case HTTP1_CHUNK_CR:
        body->part = HTTP1_CHUNK_LF;
        return c == '\r' ? HTTP1_STEP_MORE : fault(body, "a chunk is longer than its size");
    case HTTP1_CHUNK_LF:
        body->part = HTTP1_CHUNK_SIZE;
        return c == '\n' ? HTTP1_STEP_MORE : fault(body, "a chunk is longer than its size");
    case HTTP1_CHUNK_DATA:
    case HTTP1_CHUNK_TRAILERS: break;
    }
    return HTTP1_STEP_MORE;
}

static enum http1_step take_trailers(struct http1_body *body, const uint8_t *bytes, size_t len,
                                     size_t *out_used)
{
    struct http_fields ignored;

    if (!body->trailers)
        body->trailers = http1_head_new(body->slabs, HTTP1_TRAILERS, body->limits);
    *out_used += http1_gather(body->trailers, bytes, len);
    if (!body->trailers->fault && !body->trailers->is_whole)
        return HTTP1_STEP_MORE;
    if (!body->trailers->fault && http1_read_trailers(body->trailers, &ignored))
        return HTTP1_STEP_END;
    body->fault = body->trailers->fault;
    body->why = body->trailers->why;
    return HTTP1_STEP_FAULT;
}

/* ------------------------------------------------------------------ steps */

static enum http1_step take_data(struct http1_body *body, size_t len, size_t *out_used,
                                 size_t *out_data)
{
    *out_data = len < body->left ? len : (size_t)body->left;
    *out_used += *out_data;
    body->left -= *out_data;
    return HTTP1_STEP_DATA;
}

static enum http1_step step_chunked(struct http1_body *body, const uint8_t *bytes, size_t len,
                                    size_t *out_used, size_t *out_data)
{
    while (*out_used < len && body->part != HTTP1_CHUNK_TRAILERS) {
        if (body->part == HTTP1_CHUNK_DATA) {
            const enum http1_step step = take_data(body, len - *out_used, out_used, out_data);
            if (body->left == 0)
                body->part = HTTP1_CHUNK_CR;
            return step;
        }
        if (take_framing(body, bytes[(*out_used)++]) == HTTP1_STEP_FAULT)
            return HTTP1_STEP_FAULT;
    }
    return *out_used < len ? take_trailers(body, bytes + *out_used, len - *out_used, out_used)
                           : HTTP1_STEP_MORE;
}

enum http1_step http1_body_step(struct http1_body *body, const uint8_t *bytes, size_t len,
                                size_t *out_used, size_t *out_data)
{
    *out_used = *out_data = 0;
    switch (body->framing) {
    case HTTP1_NO_BODY: return HTTP1_STEP_END;
    case HTTP1_LENGTH:
        if (body->left == 0)
            return HTTP1_STEP_END;
        return len > 0 ? take_data(body, len, out_used, out_data) : HTTP1_STEP_MORE;
    case HTTP1_CHUNKED: return step_chunked(body, bytes, len, out_used, out_data);
    case HTTP1_UNTIL_CLOSE:
        *out_used = *out_data = len;
        return len > 0 ? HTTP1_STEP_DATA : HTTP1_STEP_MORE;
    }
    return HTTP1_STEP_FAULT;
}

bool http1_body_trailers(const struct http1_body *body, struct http_fields *out_trailers)
{
    if (!body->trailers || body->trailers->n_fields == 0)
        return false;
    *out_trailers =
        (struct http_fields){.at = body->trailers->fields, .len = body->trailers->n_fields};
    return true;
}
