/*
 * h1_reader.h - a request that comes to a port of the process itself, read within bounds.
 *
 *   bytes ─► h1_reader_take() ─► whole ─► ... ─► h1_reader_next()
 *
 * With llhttp, and stricter than it: origin form, one Host, HTTP/1.0 and 1.1, no CONNECT and no
 * upgrade. What follows a whole request is left to the caller.
 * Bounds: H1_HEAD_MAX, H1_BODY_MAX. Owner: the caller; h1_reader_fini(). Thread: any.
 * Source: RFC 9112.
 */
#ifndef ISTHMUS_HTTP_H1_READER_H
#define ISTHMUS_HTTP_H1_READER_H

#include <llhttp.h>
#include <stdbool.h>

#include "proxy/base/text.h"

#define H1_HEAD_MAX ((size_t)16384)
#define H1_BODY_MAX ((size_t)65536)

enum h1_reading { H1_READING, H1_WHOLE, H1_REFUSED };

struct h1_reader {
    llhttp_t parser;
    size_t head_bytes;
    struct text url, name, value; /* as they come */
    struct text body, host, origin, accept_encoding;
    unsigned n_hosts;
    unsigned refusal; /* the status it is refused with, 0 for none */
    bool is_whole;
};

void h1_reader_init(struct h1_reader *reader);
/* *out_used: how many of the bytes are the request's, once it is whole. Refused: reader->refusal
 * says with which status, and nothing more is read. */
enum h1_reading h1_reader_take(struct h1_reader *reader, struct str bytes, size_t *out_used);
/* Forgets the request, for the next one of the connection. */
void h1_reader_next(struct h1_reader *reader);
void h1_reader_fini(struct h1_reader *reader);

struct str h1_reader_method(const struct h1_reader *reader);
/* Of a whole request: its connection may have another one. */
bool h1_reader_keeps_alive(const struct h1_reader *reader);
bool h1_reader_is_1_1(const struct h1_reader *reader);

#endif
