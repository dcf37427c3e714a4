/*
 * h2_part.c - what a peer is told that has lost our trust, if it can be told at once: GOAWAY with a
 * reason, and of each stream that it was reset for the same.
 *
 * nghttp2 may have heads and data in its queues that are not to be sent any more, so the frames are
 * made here. They stand behind whole frames, or tls_part() does not send them: frames are handed
 * down whole as long as the stream below takes all, and what it has not begun to send is dropped
 * together.
 *
 * Source: RFC 9113 sections 6.4, 6.8 and 7.
 */
#include <string.h>

#include "proxy/base/err.h"
#include "proxy/http/h2_internal.h"
#include "proxy/tls/tls_stream.h"

#define FRAME_HEAD     9u
#define RESET_BYTES    (FRAME_HEAD + 4)
#define REASON_MAX     ((size_t)128)
#define GOAWAY_BYTES   (FRAME_HEAD + 8 + REASON_MAX)
#define RESETS_AT_MOST ((TLS_PART_MAX - GOAWAY_BYTES) / RESET_BYTES)

struct last_words {
    uint8_t bytes[TLS_PART_MAX];
    size_t len;
};

static void add_u32(struct last_words *last, uint32_t number)
{
    for (int shift = 24; shift >= 0; shift -= 8)
        last->bytes[last->len++] = (uint8_t)(number >> shift);
}

static void add_head(struct last_words *last, size_t len, uint8_t type, int32_t stream_id)
{
    add_u32(last, (uint32_t)len << 8 | type);
    last->bytes[last->len++] = NGHTTP2_FLAG_NONE;
    add_u32(last, (uint32_t)stream_id);
}

/* Of the first of very many; GOAWAY is for all of them. Without those of which the peer may not
 * have heard, as what waits is dropped. */
static void add_resets(struct last_words *last, struct h2 *h2)
{
    size_t n = 0;

    if (stage_bytes(&h2->stage) > 0 || stream_queued(h2->stage.lower) > 0)
        return;
    list_foreach(it, &h2->streams)
    {
        const struct h2_stream *s = list_entry(it, struct h2_stream, link);

        if (s->codec_closed || !nghttp2_session_find_stream(h2_session(h2), s->id))
            continue;
        if (n++ == RESETS_AT_MOST)
            return;
        add_head(last, 4, NGHTTP2_RST_STREAM, s->id);
        add_u32(last, NGHTTP2_INADEQUATE_SECURITY);
    }
}

static void add_goaway(struct last_words *last, const struct h2 *h2, const char *reason)
{
    const size_t len = strnlen(reason, REASON_MAX);

    add_head(last, 8 + len, NGHTTP2_GOAWAY, 0);
    add_u32(last,
            h2->is_server ? (uint32_t)nghttp2_session_get_last_proc_stream_id(h2_session(h2)) : 0);
    add_u32(last, NGHTTP2_INADEQUATE_SECURITY);
    memcpy(last->bytes + last->len, reason, len);
    last->len += len;
}

bool h2_is_lost_trust(int err)
{
    return err == -ERR_TRUST_REMOVED || err == -ERR_TLS_REVOKED;
}

bool h2_part(struct h2 *h2, int err)
{
    struct last_words last = {.len = 0};

    if (!tls_is_stream(h2->stage.lower))
        return false;
    add_resets(&last, h2);
    add_goaway(&last, h2, err_text(err));
    return tls_part(h2->stage.lower, str_of((const char *)last.bytes, last.len));
}
