/*
 * http1_head.h - heads and trailers of HTTP/1.1: gathered, read strictly, judged, and written.
 *
 * Most heads come whole in one read and are as they should be: those are copied and read in one go.
 * Every other one is gathered line by line until the empty one, into one block, and read then. Both
 * read in place: names become lower case where they stand, everything that is shown is a view into
 * the block, and says when it lies there as it can be copied and sent. A head is
 * exactly start-line CRLF *(name ":" OWS value OWS CRLF) CRLF: the first byte that does not fit
 * makes it bad, with the status that its sender is answered with and a sentence. Nothing is
 * repaired. Framing is judged here as well, since that is where messages are smuggled: one
 * content-length or one "chunked", never both, and neither where the message can have none.
 *
 * Owner: who made it, in a block of the loop's slabs; views live as long as it does. Thread: any
 * one. Source: RFC 9112 2-7, RFC 9110 6.5, 7.6.1, 7.8.
 */
#ifndef ISTHMUS_HTTP_HTTP1_HEAD_H
#define ISTHMUS_HTTP_HTTP1_HEAD_H

#include "proxy/http/message.h"

#define HTTP1_FIELDS_AT_ONCE  32u /* before the array of fields grows */
#define HTTP1_BYTES_AT_ONCE   2048u
#define HTTP1_SLACK           16u /* zeros behind what was gathered, for who reads it in blocks */
#define HTTP1_CONNECTIONS_MAX 4u  /* connection fields of a head */

enum http1_framing {
    HTTP1_NO_BODY,
    HTTP1_LENGTH,
    HTTP1_CHUNKED,
    HTTP1_UNTIL_CLOSE, /* a response's body, or what follows a 101 */
};

enum http1_kind { HTTP1_REQUEST, HTTP1_RESPONSE, HTTP1_TRAILERS };

struct http1_head {
    enum http1_kind kind;

    /* What was gathered. */
    char *bytes;
    size_t len, cap, limit;
    size_t line_at; /* where the line that is not whole yet begins */
    uint32_t n_lines, fields_limit;
    bool had_empty_line, is_whole;
    bool has_read_line; /* the start line, and it is where it was */
    bool has_read_all;  /* the fields as well */
    bool is_untidy;     /* a line of a field is not exactly "name: value" */

    /* The start line. */
    struct str method, target;
    unsigned status;
    enum http_version version;

    /* The fields, but for those of the hop, host and content-length. */
    struct http_field *fields;
    size_t n_fields, fields_cap, size;

    /* What those say. */
    struct str host, upgrade;
    struct str connections[HTTP1_CONNECTIONS_MAX];
    int64_t content_length; /* HTTP_LENGTH_UNKNOWN: there is none */
    uint32_t n_read;        /* fields, with those that are not kept */
    unsigned n_hosts, n_codings, n_connections, n_upgrades;
    bool says_close, says_upgrade, names_fields, takes_trailers, expects_continue;

    /* Why it is bad. */
    unsigned fault; /* 0: it is not */
    bool is_ambiguous;
    const char *why;

    /* Where most find place. */
    struct http_field room[HTTP1_FIELDS_AT_ONCE];
    char first_bytes[HTTP1_BYTES_AT_ONCE];
};

/* What a request or a response means for its connection. */
struct http1_verdict {
    enum http1_framing framing;
    bool closes;           /* no other message may follow on the connection */
    bool expects_continue; /* of a request */
    struct str upgrade;    /* what a request asks for or a 101 agrees to */
};

struct http1_head *http1_head_new(struct slab_pool *slabs, enum http1_kind kind,
                                  const struct http_limits *limits);
void http1_head_free(struct http1_head *head);    /* accepts NULL */
void http1_head_restart(struct http1_head *head); /* as new, with no byte of it */

/* Takes bytes up to the end of the head; answers how many. Then is_whole or fault may be set. */
size_t http1_gather(struct http1_head *head, const void *bytes, size_t len);
/* The same, which also reads it when all of a head that is as it should be came in one piece. */
size_t http1_take(struct http1_head *head, const void *bytes, size_t len);

/* The first line, without its end. False: as below. */
MUST_USE bool http1_read_start_line(struct http1_head *head, struct str line);

static inline bool http1_bad(struct http1_head *head, unsigned fault, const char *why)
{
    head->fault = fault;
    head->why = why;
    return false;
}

/* The same of what two readers could read as two messages. */
static inline bool http1_two_ways(struct http1_head *head, const char *why)
{
    head->is_ambiguous = true;
    return http1_bad(head, 400, why);
}

/* Read what is whole. False: fault and why say what is wrong. */
MUST_USE bool http1_read_request(struct http1_head *head, struct http_request *out_request,
                                 struct http1_verdict *out_verdict);
MUST_USE bool http1_read_response(struct http1_head *head, bool to_head,
                                  struct http_response *out_response,
                                  struct http1_verdict *out_verdict);
MUST_USE bool http1_read_trailers(struct http1_head *head, struct http_fields *out_trailers);

/* ---- written ---- */

/* What goes into a head beside the fields that it was given. */
struct http1_hop {
    bool is_chunked;                            /* transfer-encoding: chunked */
    int64_t length;                             /* content-length, unless HTTP_LENGTH_UNKNOWN */
    bool closes;                                /* connection: close */
    struct str upgrade;                         /* connection: upgrade, and to what; or empty */
    struct str websocket_key, websocket_accept; /* those fields, made up here; or empty */
};

/* The bytes of a head, one slice with a reference for the caller. */
struct slice http1_write_request(struct slab_pool *slabs, const struct http_request *head,
                                 const struct http1_hop *hop);
struct slice http1_write_response(struct slab_pool *slabs, const struct http_response *head,
                                  const struct http1_hop *hop);
/* The last chunk with trailers behind it. */
struct slice http1_write_trailers(struct slab_pool *slabs, const struct http_fields *trailers);

/* What a status is called; empty when we have no word for it. */
const char *http1_reason(unsigned status);

#endif
