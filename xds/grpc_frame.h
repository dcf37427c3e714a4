/*
 * grpc_frame.h - what gRPC puts on HTTP/2, without a connection: five-byte frames, statuses,
 * percent-encoded sentences.
 *
 * Thread: any. Source: gRPC over HTTP/2 (PROTOCOL-HTTP2.md), statuscodes.md,
 * http-grpc-status-mapping.md.
 */
#ifndef ISTHMUS_XDS_GRPC_FRAME_H
#define ISTHMUS_XDS_GRPC_FRAME_H

#include "proxy/base/text.h"

#define GRPC_PREFIX_BYTES 5

/* Gathers messages from bytes that come in pieces. {.max_bytes = n} is empty; owns its buffer until
 * grpc_reader_fini(). */
struct grpc_reader {
    size_t max_bytes; /* of one message */
    bool is_secret;   /* what it gathers is overwritten before its memory goes */
    uint8_t prefix[GRPC_PREFIX_BYTES];
    size_t n_prefix;
    char *buffer; /* grows with what arrived, not with what the prefix claims */
    size_t len, cap, want;
};

enum grpc_read {
    GRPC_READ_MORE, /* all bytes are taken, and no message is whole */
    GRPC_READ_MESSAGE,
    GRPC_READ_COMPRESSED, /* the reader must not be used any more */
    GRPC_READ_TOO_LARGE   /* the same */
};

/* Takes bytes off the front of *bytes. A message is borrowed until the next call, and from *bytes'
 * owner. */
enum grpc_read grpc_reader_take(struct grpc_reader *reader, struct str *bytes,
                                struct str *out_message);
/* True in the middle of a message: the stream must not end here. */
bool grpc_reader_is_inside(const struct grpc_reader *reader);
void grpc_reader_fini(struct grpc_reader *reader);

/* The prefix of a message of that length, uncompressed. */
void grpc_prefix(uint8_t *out_prefix, size_t len);

/* What a client makes of an HTTP status that is not 200. */
int grpc_status_of_http(struct str http_status);
/* The value of grpc-status; GRPC_UNKNOWN for what is no number. */
int grpc_status_parse(struct str value);

/* The value of grpc-message. Decoding keeps what is no escape as it is. */
void grpc_message_encode(struct str message, struct text *out);
void grpc_message_decode(struct str value, struct text *out);

#endif
