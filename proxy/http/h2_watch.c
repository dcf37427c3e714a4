/*
 * h2_watch.c - what a connection that carries messages is watched for beyond nghttp2: frames on
 * streams that cannot have any, and window updates without a cause.
 *
 * nghttp2 ignores a frame whose stream is neither open nor beyond the last one. RFC 9113 knows
 * three kinds of those. A stream that the peer passed over when it opened a later one was never
 * opened and never can be (5.1.1): PROTOCOL_ERROR. A stream that we reset may still have frames on
 * their way: they are dropped. Any other is one that the peer itself has ended: STREAM_CLOSED. Both
 * lists are bounded; what has fallen out of them is ignored as nghttp2 does.
 *
 * Window updates have a cause when DATA was sent: each frame of it buys some, and a second a few
 * more.
 */
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/h2_internal.h"

#define GAPS_MAX           16u
#define RESETS_MAX         256u
#define UPDATES_AT_ONCE    20000u /* window updates that need no cause */
#define UPDATES_PER_SEC    1000u
#define UPDATES_PER_DATA   4u   /* a DATA frame is given back in so many pieces at most, */
#define UPDATE_BYTES_LEAST 512u /* or in pieces of so many bytes */

struct gap { /* streams first..last of the peer's that it passed over */
    int32_t first, last;
};

struct h2_watch {
    struct gap *gaps;          /* GAPS_MAX of them, NULL until there is one */
    int32_t *resets;           /* streams that we reset; a ring of RESETS_MAX; the same */
    unsigned n_gaps, n_resets; /* ever */
    int32_t last_id;           /* the last stream of the peer's */
    uint32_t updates;          /* window updates that it may still send */
    uint64_t refilled_ns;
    size_t n_skip;   /* bytes until the next frame's head */
    uint8_t head[9]; /* of it, as far as it has come */
    uint8_t n_head;
    bool is_of_head, ends_head; /* the last frame */
    uint32_t n_heads;
};

struct h2_watch *h2_watch_new(bool is_server)
{
    struct h2_watch *watch = mem_new(struct h2_watch);

    watch->updates = UPDATES_AT_ONCE;
    watch->last_id = -1; /* so that 1 is its next */
    watch->n_skip = is_server ? NGHTTP2_CLIENT_MAGIC_LEN : 0;
    return watch;
}

void h2_watch_free(struct h2_watch *watch)
{
    if (!watch)
        return;
    mem_free(watch->gaps);
    mem_free(watch->resets);
    mem_free(watch);
}

/* ------------------------------------------------------------------ finding heads */

static uint32_t number(const uint8_t *bytes, size_t len)
{
    uint32_t value = 0;

    for (size_t i = 0; i < len; i++)
        value = value << 8 | bytes[i];
    return value;
}

static void take_head(struct h2_watch *watch, nghttp2_frame_hd *out_hd)
{
    const uint8_t *head = watch->head;

    *out_hd = (nghttp2_frame_hd){
        .length = number(head, 3),
        .type = head[3],
        .flags = head[4],
        .stream_id = (int32_t)(number(head + 5, 4) & INT32_MAX),
    };
    watch->n_skip = out_hd->length;
    watch->n_head = 0;
    if (out_hd->type == NGHTTP2_HEADERS)
        watch->n_heads++;
    watch->is_of_head = out_hd->type == NGHTTP2_HEADERS || out_hd->type == NGHTTP2_CONTINUATION;
    watch->ends_head = (out_hd->flags & NGHTTP2_FLAG_END_HEADERS) != 0;
}

uint32_t h2_watch_head(const struct h2_watch *watch)
{
    bool is_whole = watch->ends_head && watch->n_skip == 0;

    return watch->is_of_head && !is_whole ? watch->n_heads : 0;
}

bool h2_watch_scan(struct h2_watch *watch, const uint8_t *bytes, size_t len, size_t *at,
                   nghttp2_frame_hd *out_hd)
{
    size_t left = len - *at;
    size_t n_skip = watch->n_skip < left ? watch->n_skip : left;

    watch->n_skip -= n_skip;
    *at += n_skip;
    while (*at < len) {
        watch->head[watch->n_head++] = bytes[(*at)++];
        if (watch->n_head < sizeof(watch->head))
            continue;
        take_head(watch, out_hd);
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------ streams */

static bool was_passed_over(const struct h2_watch *watch, int32_t id)
{
    unsigned n = watch->n_gaps < GAPS_MAX ? watch->n_gaps : GAPS_MAX;

    for (unsigned i = 0; i < n; i++) {
        if (id >= watch->gaps[i].first && id <= watch->gaps[i].last)
            return true;
    }
    return false;
}

static bool was_reset(const struct h2_watch *watch, int32_t id)
{
    if (watch->n_resets > RESETS_MAX)
        return true; /* perhaps */
    for (unsigned i = 0; i < watch->n_resets; i++) {
        if (watch->resets[i] == id)
            return true;
    }
    return false;
}

static void note_opened(struct h2_watch *watch, int32_t id)
{
    const bool passes_over = id > watch->last_id + 2;

    if (passes_over && !watch->gaps)
        watch->gaps = mem_new_array(struct gap, GAPS_MAX);
    if (passes_over)
        watch->gaps[watch->n_gaps++ % GAPS_MAX] = (struct gap){watch->last_id + 2, id - 2};
    watch->last_id = id;
}

static bool is_of_peer(const struct h2 *h2, int32_t id)
{
    return (id % 2 == 1) == h2->is_server;
}

/* A frame on a stream that is not open. */
static const char *judge_stranger(const struct h2 *h2, const nghttp2_frame_hd *hd,
                                  uint32_t *out_code)
{
    bool has_content = hd->type == NGHTTP2_DATA || hd->type == NGHTTP2_HEADERS;

    if (!has_content || h2->is_draining || was_reset(h2->watch, hd->stream_id))
        return NULL;
    *out_code = NGHTTP2_STREAM_CLOSED;
    return "a frame on a stream that the peer had ended";
}

static const char *judge_stream(struct h2 *h2, const nghttp2_frame_hd *hd, uint32_t *out_code)
{
    struct h2_watch *watch = h2->watch;
    bool is_old = is_of_peer(h2, hd->stream_id)
                      ? hd->stream_id <= watch->last_id
                      : hd->stream_id < (int32_t)nghttp2_session_get_next_stream_id(h2_session(h2));

    if (!is_old) {
        if (hd->type == NGHTTP2_HEADERS && h2->is_server && is_of_peer(h2, hd->stream_id))
            note_opened(watch, hd->stream_id);
        return NULL;
    }
    if (hd->type == NGHTTP2_PRIORITY)
        return NULL;
    if (is_of_peer(h2, hd->stream_id) && was_passed_over(watch, hd->stream_id)) {
        *out_code = NGHTTP2_PROTOCOL_ERROR;
        return "a frame on a stream that was passed over and never opened";
    }
    if (nghttp2_session_find_stream(h2_session(h2), hd->stream_id))
        return NULL;
    return judge_stranger(h2, hd, out_code);
}

/* ------------------------------------------------------------------ window updates */

static void refill_updates(struct h2_watch *watch, uint64_t now_ns)
{
    if (now_ns - watch->refilled_ns < NS_PER_SEC)
        return;
    watch->refilled_ns = now_ns;
    if (watch->updates < UPDATES_AT_ONCE)
        watch->updates += UPDATES_PER_SEC;
}

static bool may_update(struct h2_watch *watch, uint64_t now_ns)
{
    refill_updates(watch, now_ns);
    if (watch->updates == 0)
        return false;
    watch->updates--;
    return true;
}

const char *h2_watch_frame(struct h2 *h2, const nghttp2_frame_hd *hd, uint32_t *out_code)
{
    *out_code = NGHTTP2_PROTOCOL_ERROR;
    if (hd->type == NGHTTP2_PUSH_PROMISE)
        return "a PUSH_PROMISE, which nobody asked for";
    if (hd->type == NGHTTP2_WINDOW_UPDATE && !may_update(h2->watch, loop_now_ns(h2->loop))) {
        *out_code = NGHTTP2_ENHANCE_YOUR_CALM;
        return "the peer sent too many window updates";
    }
    if (hd->type == NGHTTP2_PRIORITY && hd->stream_id == 0)
        return "a PRIORITY without a stream";
    return hd->stream_id > 0 ? judge_stream(h2, hd, out_code) : NULL;
}

static void note_data(struct h2_watch *watch, size_t len)
{
    size_t bought = UPDATES_PER_DATA + len / UPDATE_BYTES_LEAST;

    watch->updates += (uint32_t)bought;
    if (watch->updates > 2 * UPDATES_AT_ONCE)
        watch->updates = 2 * UPDATES_AT_ONCE;
}

static void note_reset(struct h2_watch *watch, int32_t id)
{
    if (watch->n_resets > 0 && watch->n_resets <= RESETS_MAX && was_reset(watch, id))
        return; /* when it was refused */
    if (!watch->resets)
        watch->resets = mem_new_array(int32_t, RESETS_MAX);
    watch->resets[watch->n_resets++ % RESETS_MAX] = id;
}

/* A stream beyond the limit is never open, and its body may come before the reset has left. */
void h2_watch_refused(struct h2_watch *watch, int32_t id)
{
    note_reset(watch, id);
}

void h2_watch_sent(struct h2_watch *watch, const nghttp2_frame_hd *hd)
{
    if (hd->type == NGHTTP2_DATA)
        note_data(watch, hd->length);
    else if (hd->type == NGHTTP2_RST_STREAM)
        note_reset(watch, hd->stream_id);
}
