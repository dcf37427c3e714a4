/*
 * frame.h - DNS messages out of a stream of bytes: each has its length before it (RFC 1035
 * section 4.2.2).
 *
 * Bytes go in with dns_framer_feed(), messages come out one at a time with dns_framer_next(), as
 * the reader has room for them. A message that lies whole in one slice is not copied; one that is
 * spread over slices is gathered as its bytes come, so a length that is only claimed allocates
 * nothing.
 *
 * Owner: whoever embeds it; {0} is empty. Thread: the slices' loop's.
 */
#ifndef ISTHMUS_DNS_FRAME_H
#define ISTHMUS_DNS_FRAME_H

#include "proxy/base/text.h"
#include "proxy/io/stream.h"

struct dns_framer {
    struct slice rest; /* came and was not looked at yet */
    struct text held;  /* the beginning of a message, its length included */
    bool held_is_out;  /* what is held was handed out by the last dns_framer_next() */
};

/* Takes the reference. All that came before has been taken out: dns_framer_is_drained(). */
void dns_framer_feed(struct dns_framer *framer, struct slice bytes);

/* The next whole message, borrowed until the next call; false when more bytes are needed. */
bool dns_framer_next(struct dns_framer *framer, struct str *out_message);
bool dns_framer_is_drained(const struct dns_framer *framer);
void dns_framer_fini(struct dns_framer *framer);

/* Writes the length and then the message that stands behind DNS_FRAME_HEAD_BYTES of room for it.
 * False: stop until on_drain, as with stream_write(). */
bool dns_frame_write(struct stream *stream, uint8_t *frame, size_t message_len);

#endif
