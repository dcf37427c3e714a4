#include "proxy/dns/frame.h"

#include "proxy/dns/context.h"

static size_t claimed_len(const char *bytes)
{
    return (size_t)((uint8_t)bytes[0] << 8 | (uint8_t)bytes[1]);
}

void dns_framer_feed(struct dns_framer *framer, struct slice bytes)
{
    ensure(dns_framer_is_drained(framer));
    slice_release(framer->rest);
    framer->rest = bytes;
}

static const char *take_from_rest(struct dns_framer *framer, size_t len)
{
    const char *taken = (const char *)framer->rest.ptr;
    framer->rest.ptr += len;
    framer->rest.len -= len;
    return taken;
}

static bool next_in_place(struct dns_framer *framer, struct str *out_message)
{
    if (framer->rest.len < DNS_FRAME_HEAD_BYTES)
        return false;
    size_t len = claimed_len((const char *)framer->rest.ptr);
    if (framer->rest.len < DNS_FRAME_HEAD_BYTES + len)
        return false;
    const char *frame = take_from_rest(framer, DNS_FRAME_HEAD_BYTES + len);
    *out_message = (struct str){frame + DNS_FRAME_HEAD_BYTES, len};
    return true;
}

static size_t held_wants(const struct dns_framer *framer)
{
    if (framer->held.len < DNS_FRAME_HEAD_BYTES)
        return DNS_FRAME_HEAD_BYTES - framer->held.len;
    return DNS_FRAME_HEAD_BYTES + claimed_len(framer->held.ptr) - framer->held.len;
}

/* Gathers what is held up to the end of its message; twice, since the length must be there before
 * the rest is known. */
static bool next_gathered(struct dns_framer *framer, struct str *out_message)
{
    for (unsigned step = 0; step < 2; step++) {
        size_t wanted = held_wants(framer);
        size_t len = wanted < framer->rest.len ? wanted : framer->rest.len;
        if (len > 0)
            text_add(&framer->held, (struct str){take_from_rest(framer, len), len});
    }
    if (framer->held.len < DNS_FRAME_HEAD_BYTES || held_wants(framer) > 0)
        return false;
    framer->held_is_out = true;
    *out_message = (struct str){framer->held.ptr + DNS_FRAME_HEAD_BYTES,
                                framer->held.len - DNS_FRAME_HEAD_BYTES};
    return true;
}

bool dns_framer_next(struct dns_framer *framer, struct str *out_message)
{
    if (framer->held_is_out) {
        text_fini(&framer->held);
        framer->held_is_out = false;
    }
    if (framer->held.len == 0 && next_in_place(framer, out_message))
        return true;
    return next_gathered(framer, out_message);
}

bool dns_framer_is_drained(const struct dns_framer *framer)
{
    return framer->rest.len == 0;
}

void dns_framer_fini(struct dns_framer *framer)
{
    slice_release(framer->rest);
    text_fini(&framer->held);
    *framer = (struct dns_framer){0};
}

bool dns_frame_write(struct stream *stream, uint8_t *frame, size_t message_len)
{
    size_t len = DNS_FRAME_HEAD_BYTES + message_len;
    size_t first = len < SLAB_BYTES ? len : SLAB_BYTES; /* the longest frame is one byte longer */
    frame[0] = (uint8_t)(message_len >> 8);
    frame[1] = (uint8_t)message_len;
    bool go_on = stream_write_copy(stream, frame, first);
    return (len == first || stream_write_copy(stream, frame + first, len - first)) && go_on;
}
