/*
 * http2_head.h - heads of HTTP messages as HTTP/2 writes them: pseudo-fields, and what goes without
 * saying on the wire of another version.
 *
 * Read strictly: what nghttp2 lets through and strict.h does not is malformed. Cookie crumbs become
 * one field; host is authority; an extended CONNECT becomes the GET that it stands for, with a
 * protocol.
 *
 * Owner:  what is read borrows from the head and from struct http2_words, until http2_words_fini().
 * Thread: the loop's. Source: RFC 9113 8.2, 8.3; RFC 8441 4.
 */
#ifndef ISTHMUS_HTTP_HTTP2_HEAD_H
#define ISTHMUS_HTTP_HTTP2_HEAD_H

#include "proxy/base/arena.h"
#include "proxy/http/h2.h"
#include "proxy/http/message.h"

#define HTTP2_FIELDS_MAX 128u /* of a head that is read, pseudo-fields among them */

struct http2_words {
    struct http_field fields[HTTP2_FIELDS_MAX];
    struct arena arena;
};

void http2_words_fini(struct http2_words *words);

/* NULL: good, and the out set; or why the head is malformed. *out_status is what fits that: 0 for a
 * reset. */
const char *http2_read_request(const struct h2_head *head, struct http2_words *words,
                               struct http_request *out, unsigned *out_status);
const char *http2_read_response(const struct h2_head *head, struct http2_words *words,
                                struct http_response *out);

/* A head to be sent. The fields are borrowed from the message and from this struct. */
struct http2_nv {
    struct h2_field room[40];
    struct h2_field *at;
    size_t len;
    char digits[24], status[4];
};

void http2_write_request(const struct http_request *head, struct http2_nv *out);
void http2_write_response(const struct http_response *head, struct http2_nv *out);
void http2_nv_fini(struct http2_nv *nv);

/* Options and callbacks that both ends have in common. */
struct h2_options http2_options(const struct http_limits *limits, const struct h2_http *http);
bool http2_may_be_trailers(const struct h2_head *trailers);
void http2_on_trailers(struct http_stream *stream, const struct h2_head *trailers);
void http2_send_trailers(struct http_stream *stream, const struct http_fields *fields);

#endif
