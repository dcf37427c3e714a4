/*
 * The input is a script: the first byte chooses limits, then each step is a byte that says what,
 * and how much. Whatever comes: no event after a close or before its time, what is shown is
 * strictly formed, the write queue bounded, nothing left at the end. Each script is played twice,
 * with a session that is never folded and with one that is after each turn: neither the peer nor
 * the owner can tell them apart.
 */
#include "fuzz_http2.h"

#include "proxy/base/ascii.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/h2.h"
#include "proxy/http/message.h"
#include "proxy/http/strict.h"
#include "proxy/io/loop.h"

#define STREAMS_MAX 64
#define STEPS_MAX   2000

/* The stream below: swallows what is written, and says stop when the script wants so. */
struct below {
    struct stream stream;
    bool is_full, is_closed, is_ended;
};

struct slot {
    struct http_stream *stream; /* NULL: closed */
    bool failed, ended, has_head, has_trailers;
    int64_t length; /* of the body that comes, HTTP_LENGTH_UNKNOWN, or an upgrade's */
    uint64_t n_got;
};

static struct below below;
static struct loop *loop;
static struct slot slots[STREAMS_MAX];
static unsigned n_slots;
static struct http_server *server;
static struct http_client *client;
static uint8_t mood; /* what the next event makes the owner do */
static bool is_dead;
static uint64_t told; /* a digest of all that peer and owner were told */

static void tell(const void *bytes, size_t len)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < len; i++) /* FNV-1a */
        told = (told ^ at[i]) * UINT64_C(0x100000001b3);
}

static void tell_event(char event, int64_t what)
{
    tell(&event, 1);
    tell(&what, sizeof(what));
}

static bool below_write(struct stream *stream, struct slice bytes)
{
    (void)stream;
    ensure(!below.is_closed);
    tell(bytes.ptr, bytes.len);
    slice_release(bytes);
    return !below.is_full;
}

static void below_nothing(struct stream *stream)
{
    (void)stream;
    ensure(!below.is_closed);
}

static void below_close(struct stream *stream, int err)
{
    (void)stream;
    ensure(!below.is_closed);
    tell_event('c', err);
    below.is_closed = true;
}

static size_t below_queued(const struct stream *stream)
{
    (void)stream;
    return 0;
}

static const struct stream_ops below_ops = {below_write,   below_nothing, below_nothing,
                                            below_nothing, below_close,   below_queued};

/* ------------------------------------------------------------------ the owner */

static void close_slot(struct slot *slot, int err)
{
    struct http_stream *stream = slot->stream;

    slot->stream = NULL;
    if (stream)
        stream_close(&stream->stream, err);
}

static void close_end(void)
{
    struct http_server *old_server = server;
    struct http_client *old_client = client;

    server = NULL;
    client = NULL;
    if (old_server)
        http_server_close(old_server, mood & 128 ? -ERR_RESET : 0);
    if (old_client)
        http_client_close(old_client, mood & 128 ? -ERR_RESET : 0);
}

static void respond(struct slot *slot, unsigned status, bool has_body)
{
    const struct http_field field = {STR("x"), STR("y")};
    const struct http_response head = {status, {&field, 1}, HTTP_LENGTH_UNKNOWN, has_body};

    if (!slot->stream || !server)
        return;
    if (status < 200 && status != 101)
        http_interim(slot->stream, &head);
    else
        http_respond(slot->stream, &head);
}

static void send_trailers(struct slot *slot)
{
    const struct http_field field = {STR("x-sum"), STR("1")};

    if (slot->stream)
        http_trailers(slot->stream, &(struct http_fields){.at = &field, .len = 1});
}

static void react(struct slot *slot)
{
    switch (mood % 16) {
    case 1: close_slot(slot, 0); break;
    case 2: close_slot(slot, -ERR_RESET); break;
    case 3: close_end(); break;
    case 4: stream_pause(&slot->stream->stream); break;
    case 5: stream_shutdown(&slot->stream->stream); break;
    case 6: close_slot(&slots[(size_t)(slot - slots + 1) % STREAMS_MAX], -ERR_H2_REFUSED); break;
    case 7: stream_write_copy(&slot->stream->stream, "echo", 4); break;
    case 8: send_trailers(slot); break;
    case 9: respond(slot, 103, false); break;
    default: break;
    }
}

static void on_data(void *owner, struct slice bytes)
{
    struct slot *slot = owner;

    ensure(slot->stream && !slot->failed && !slot->ended && !slot->has_trailers && bytes.len > 0);
    ensure(slot->has_head || server);
    slot->n_got += bytes.len;
    tell(bytes.ptr, bytes.len);
    ensure(slot->length == HTTP_LENGTH_UNKNOWN || slot->n_got <= (uint64_t)slot->length);
    for (size_t at = 0; at < bytes.len; at++)
        *(volatile uint8_t *)&bytes.ptr[at];
    if (stream_queued(&slot->stream->stream) < 65536)
        stream_write(&slot->stream->stream, slice_ref(bytes));
    react(slot);
}

static void on_end(void *owner)
{
    struct slot *slot = owner;

    ensure(slot->stream && !slot->failed && !slot->ended && slot->has_head);
    ensure(slot->length == HTTP_LENGTH_UNKNOWN || slot->n_got == (uint64_t)slot->length);
    slot->ended = true;
    tell_event('e', slot - slots);
    react(slot);
}

static void on_drain(void *owner)
{
    struct slot *slot = owner;

    ensure(slot->stream && !slot->failed);
    react(slot);
}

static void on_fail(void *owner, int err)
{
    struct slot *slot = owner;

    ensure(err < 0 && slot->stream && !slot->failed);
    ensure(err != -ERR_H2_REFUSED || !slot->has_head || server);
    slot->failed = true;
    tell_event('f', err);
    if (mood & 16)
        close_slot(slot, err);
}

static const struct stream_events stream_events = {on_data, on_end, on_drain, on_fail};

static void check_fields(const struct http_fields *fields, bool is_head)
{
    for (size_t i = 0; i < fields->len; i++) {
        struct str name = fields->at[i].name;

        tell(name.ptr, name.len);
        tell(fields->at[i].value.ptr, fields->at[i].value.len);
        ensure(ascii_is_lower_token(name) && strict_is_value(fields->at[i].value));
        ensure(!str_eq(name, STR("content-length")));
        ensure(!strict_is_hop_field(name) || (is_head && str_eq(name, STR("te")) &&
                                              str_eq(fields->at[i].value, STR("trailers"))));
    }
}

static void on_interim(void *owner, const struct http_response *head)
{
    struct slot *slot = owner;

    ensure(slot->stream && !slot->failed && !slot->has_head && !server);
    ensure(head->status >= 100 && head->status < 200 && head->status != 101);
    check_fields(&head->fields, true);
    react(slot);
}

static void on_response(void *owner, const struct http_response *head)
{
    struct slot *slot = owner;
    bool is_empty = head->status == 204 || head->status == 304 || !head->has_body;

    ensure(slot->stream && !slot->failed && !slot->has_head && !slot->ended && !server);
    ensure((head->status >= 200 || head->status == 101) && head->status <= 999);
    check_fields(&head->fields, true);
    slot->has_head = true;
    if (!is_empty)
        slot->length = head->content_length;
    react(slot);
}

static void on_trailers(void *owner, const struct http_fields *trailers)
{
    struct slot *slot = owner;

    ensure(slot->stream && !slot->failed && !slot->ended && !slot->has_trailers);
    check_fields(trailers, false);
    slot->has_trailers = true;
    react(slot);
}

static const struct http_stream_events http_events = {on_interim, on_response, on_trailers};

static struct slot *new_slot(void)
{
    slots[n_slots] = (struct slot){.length = HTTP_LENGTH_UNKNOWN};
    return &slots[n_slots++];
}

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    struct slot *slot;

    (void)owner;
    ensure(server && !is_dead);
    ensure(ascii_is_token(head->method) && strict_is_authority(head->authority));
    ensure(strict_is_path(head->method, head->path) && head->version == HTTP_2);
    ensure(str_is_empty(head->protocol) || ascii_is_token(head->protocol));
    check_fields(&head->fields, true);
    if (n_slots == STREAMS_MAX) {
        stream_close(&stream->stream, -ERR_OVERLOAD);
        return;
    }
    slot = new_slot();
    slot->stream = stream;
    slot->has_head = true;
    slot->length = head->content_length;
    http_stream_set_owner(stream, &http_events, &stream_events, slot);
    if (mood & 32)
        respond(slot, !str_is_empty(head->protocol) ? 101 : 200, (mood & 64) != 0);
    if (slot->stream)
        stream_resume(&stream->stream);
    react(slot);
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    (void)owner;
    ensure(server && !is_dead && err < 0 && why.len > 0);
    ensure(status == 0 || status == 431 || status == 501);
    if (mood == 0xfe)
        close_end();
}

static void on_capacity(void *owner)
{
    (void)owner;
    ensure(client && !is_dead);
    if (mood == 0xff)
        close_end();
}

static void on_dead(void *owner, int err, struct str why)
{
    (void)owner;
    ensure((server || client) && !is_dead && err <= 0 && why.len > 0);
    tell_event('d', err);
    tell(why.ptr, why.len);
    is_dead = true;
    if (mood & 16)
        close_end();
}

static const struct http_server_events server_events = {on_request, on_refused, on_dead};
static const struct http_client_events client_events = {on_capacity, on_dead};

static void open_request(uint8_t kind)
{
    struct http_request head = {.method = kind & 16 ? STR("HEAD") : STR("POST"),
                                .scheme = STR("http"),
                                .authority = STR("a"),
                                .path = STR("/"),
                                .content_length = HTTP_LENGTH_UNKNOWN,
                                .has_body = (kind & 32) != 0};
    struct slot *slot;

    if (!client || n_slots == STREAMS_MAX || !http_client_can_open(client))
        return;
    if (kind & 64)
        head.protocol = STR("websocket");
    slot = new_slot();
    slot->stream = http_request(client, &head, &http_events, &stream_events, slot);
    ensure(slot->stream);
    stream_resume(&slot->stream->stream);
}

static void write_some(struct slot *slot, size_t len)
{
    static const uint8_t zeros[65536];

    if (slot->stream && stream_queued(&slot->stream->stream) < 65536 && len > 0)
        stream_write_copy(&slot->stream->stream, zeros, len);
}

/* ------------------------------------------------------------------ the script */

struct script {
    const uint8_t *at;
    size_t left;
};

static uint8_t next(struct script *script)
{
    if (script->left == 0)
        return 0;
    script->left--;
    return *script->at++;
}

static bool below_speaks(void)
{
    return !below.is_closed && !below.is_ended;
}

static void feed(struct script *script, size_t len)
{
    struct slice slice;

    if (len > script->left)
        len = script->left;
    slice = slice_copy(loop_slabs(loop), script->at, len);
    if (below_speaks() && len > 0)
        below.stream.events->on_data(below.stream.owner, slice);
    slice_release(slice);
    script->at += len;
    script->left -= len;
}

static void drain_below(void)
{
    bool was_full = below.is_full;

    below.is_full = false;
    if (was_full && !below.is_closed)
        below.stream.events->on_drain(below.stream.owner);
}

static void end_below(int err)
{
    if (!below_speaks())
        return;
    below.is_ended = true;
    if (err)
        below.stream.events->on_fail(below.stream.owner, err);
    else
        below.stream.events->on_end(below.stream.owner);
}

static void step(struct script *script)
{
    uint8_t what = next(script);
    struct slot *slot = &slots[what / 16 % STREAMS_MAX];

    switch (what % 16) {
    case 0: feed(script, next(script)); break;
    case 1: feed(script, (size_t)next(script) * 256); break;
    case 2: feed(script, 9 + (size_t)what / 16); break;
    case 3: loop_turn(loop, false); break;
    case 4: mood = next(script); break;
    case 5: open_request(what); break;
    case 6: write_some(slot, (size_t)next(script) * 257); break;
    case 7:
        if (slot->stream)
            stream_shutdown(&slot->stream->stream);
        break;
    case 8:
        if (slot->stream)
            stream_pause(&slot->stream->stream);
        break;
    case 9:
        if (slot->stream)
            stream_resume(&slot->stream->stream);
        break;
    case 10: close_slot(slot, 0); break;
    case 11: close_slot(slot, -(int)(next(script) % (ERR_COUNT - 1)) - 1); break;
    case 12: below.is_full = !below.is_full || (drain_below(), false); break;
    case 13: send_trailers(slot); break;
    case 14:
        if (server && what & 128)
            http_server_drain(server);
        else
            respond(slot, 200, (what & 64) != 0);
        break;
    case 15: end_below(what & 16 ? -ERR_RESET : 0); break;
    default: break;
    }
}

/* The digest. */
static uint64_t play(struct script script, bool is_server, uint32_t still_ms)
{
    uint8_t first = next(&script);
    struct http_limits limits = {0};

    told = 0;
    loop = loop_new();
    n_slots = 0;
    for (unsigned i = 0; i < STREAMS_MAX; i++)
        slots[i] = (struct slot){0};
    mood = first & 4 ? 32 | 64 : 0;
    is_dead = false;
    below = (struct below){.stream = {.ops = &below_ops, .slabs = loop_slabs(loop)}};
    if (first & 2)
        limits = (struct http_limits){.head_bytes = 200,
                                      .fields = 6,
                                      .streams = 3,
                                      .requests = 8,
                                      .stream_window = 1000,
                                      .stream_window_max = 2000,
                                      .connection_window = 70000};
    limits.still_ms = still_ms;
    server = NULL;
    client = NULL;
    if (is_server)
        server = http2_server_new(loop, &below.stream, &limits, &server_events, NULL);
    else
        client = http2_client_new(loop, &below.stream, &limits, &client_events, NULL);
    for (unsigned i = 0; i < STEPS_MAX && script.left > 0; i++)
        step(&script);
    loop_turn(loop, false);
    mood = 0;
    for (unsigned i = 0; i < STREAMS_MAX; i++)
        close_slot(&slots[i], 0);
    close_end();
    for (unsigned i = 0; i < 3; i++)
        loop_turn(loop, false);
    ensure(below.is_closed);
    loop_free(loop);
    return told;
}

int fuzz_http2(const uint8_t *data, size_t size, bool is_server)
{
    const struct script script = {data, size};
    const uint64_t started_ns = clock_mono_ns();
    const int64_t started_s = clock_wall_ns() / (int64_t)NS_PER_SEC;
    const uint64_t awake = play(script, is_server, H2_NEVER_STILL);
    const uint64_t folded = play(script, is_server, H2_ALWAYS_STILL);

    /* What is counted a second may differ when it took longer, and the date of a refusal when a
     * second began. */
    ensure(awake == folded || clock_mono_ns() - started_ns > NS_PER_SEC / 2 ||
           clock_wall_ns() / (int64_t)NS_PER_SEC != started_s);
    return 0;
}
