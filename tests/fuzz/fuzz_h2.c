/*
 * A peer that sends any bytes in any pieces, while the owner opens, writes, pauses, resumes and
 * closes streams at any time. The input is a script: the first byte chooses the side, then each
 * step is a byte that says what, and how much. Whatever comes: no event after a close, the write
 * queue bounded, nothing left at the end.
 */
#include <string.h>

#include "proxy/base/mem.h"
#include "proxy/http/h2.h"
#include "proxy/io/loop.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STREAMS_MAX 64
#define STEPS_MAX   2000

/* The stream below: swallows what is written, and says stop when the script wants so. */
struct below {
    struct stream stream;
    bool is_full, is_closed, is_ended;
};

struct owner {
    struct h2 *h2; /* NULL: closed */
    struct stream *streams[STREAMS_MAX];
    bool failed[STREAMS_MAX], ended[STREAMS_MAX];
    unsigned n_streams;
    uint8_t mood; /* what the next event makes the owner do */
    bool is_dead;
};

static struct owner owner;
static struct below below;
static struct loop *loop;

static bool below_write(struct stream *stream, struct slice bytes)
{
    (void)stream;
    ensure(!below.is_closed);
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
    (void)stream, (void)err;
    ensure(!below.is_closed);
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

static void close_stream(unsigned i, int err)
{
    struct stream *stream = owner.streams[i];

    if (!stream)
        return;
    owner.streams[i] = NULL;
    stream_close(stream, err);
}

static void close_all(void)
{
    struct h2 *h2 = owner.h2;

    owner.h2 = NULL;
    if (h2)
        h2_close(h2, 0);
}

static unsigned index_of(const void *slot)
{
    return (unsigned)((struct stream *const *)slot - owner.streams);
}

static void react(unsigned i)
{
    switch (owner.mood % 16) {
    case 1: close_stream(i, 0); break;
    case 2: close_stream(i, -ERR_RESET); break;
    case 3: close_all(); break;
    case 4: stream_pause(owner.streams[i]); break;
    case 5: stream_shutdown(owner.streams[i]); break;
    case 6: close_stream((i + 1) % STREAMS_MAX, -ERR_H2_REFUSED); break;
    case 7: stream_write_copy(owner.streams[i], "echo", 4); break;
    default: break;
    }
}

static void on_data(void *slot, struct slice bytes)
{
    unsigned i = index_of(slot);

    ensure(owner.streams[i] && !owner.failed[i] && !owner.ended[i] && bytes.len > 0);
    for (size_t at = 0; at < bytes.len; at++)
        *(volatile uint8_t *)&bytes.ptr[at];
    if (stream_queued(owner.streams[i]) < 65536)
        stream_write(owner.streams[i], slice_ref(bytes));
    react(i);
}

static void on_end(void *slot)
{
    unsigned i = index_of(slot);

    ensure(owner.streams[i] && !owner.failed[i] && !owner.ended[i]);
    owner.ended[i] = true;
    react(i);
}

static void on_drain(void *slot)
{
    unsigned i = index_of(slot);

    ensure(owner.streams[i] && !owner.failed[i]);
    react(i);
}

static void on_fail(void *slot, int err)
{
    unsigned i = index_of(slot);

    ensure(err < 0 && owner.streams[i] && !owner.failed[i]);
    owner.failed[i] = true;
    if (owner.mood & 16)
        close_stream(i, err);
}

static const struct stream_events stream_events = {on_data, on_end, on_drain, on_fail};

static void on_head(void *slot, const struct h2_head *head)
{
    unsigned i = index_of(slot);

    ensure(owner.streams[i] && !owner.failed[i]);
    for (size_t at = 0; at < head->len; at++)
        ensure(head->fields[at].name.len + head->fields[at].value.len <= 65536);
    react(i);
}

static const struct h2_stream_events head_events = {on_head, on_head};

static void on_request(void *ctx, struct stream *stream, const struct h2_head *head)
{
    static const struct h2_field fields[] = {{STR(":status"), STR("200")}};
    unsigned i = owner.n_streams;

    (void)ctx;
    ensure(owner.h2 && !owner.is_dead && head->len > 0);
    if (i == STREAMS_MAX) {
        stream_close(stream, -ERR_OVERLOAD);
        return;
    }
    owner.n_streams++;
    owner.streams[i] = stream;
    stream_set_owner(stream, &stream_events, &owner.streams[i]);
    h2_stream_set_events(stream, &head_events);
    if (owner.mood & 32)
        h2_respond(stream, fields, 1, (owner.mood & 64) != 0);
    stream_resume(stream);
    react(i);
}

static void on_word(void *ctx)
{
    (void)ctx;
    ensure(owner.h2 && !owner.is_dead);
    if (owner.mood == 0xff)
        close_all();
}

static void on_dead(void *ctx, int err, struct str why)
{
    (void)ctx;
    ensure(owner.h2 && !owner.is_dead && err < 0 && why.len > 0);
    owner.is_dead = true;
    for (unsigned i = 0; i < owner.n_streams; i++)
        ensure(!owner.streams[i] || h2_of(owner.streams[i]) == NULL);
    if (owner.mood & 16)
        close_all();
}

static const struct h2_events events = {on_request, on_word, on_word, on_dead};

static void open_request(bool end_stream)
{
    static const struct h2_field fields[] = {{STR(":method"), STR("CONNECT")},
                                             {STR(":authority"), STR("10.0.0.1:80")}};
    unsigned i = owner.n_streams;

    if (!owner.h2 || i == STREAMS_MAX)
        return;
    owner.streams[i] = h2_request(owner.h2, fields, 2, end_stream, &head_events, &stream_events,
                                  &owner.streams[i]);
    if (owner.streams[i])
        owner.n_streams++;
}

static void write_some(unsigned i, size_t len)
{
    static const uint8_t zeros[65536];

    if (owner.streams[i] && stream_queued(owner.streams[i]) < 65536)
        stream_write_copy(owner.streams[i], zeros, len);
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

static void feed(const void *bytes, size_t len)
{
    struct slice slice = slice_copy(loop_slabs(loop), bytes, len);

    if (below_speaks() && len > 0)
        below.stream.events->on_data(below.stream.owner, slice);
    slice_release(slice);
}

static void feed_script(struct script *script, size_t len)
{
    if (len > script->left)
        len = script->left;
    feed(script->at, len);
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
    unsigned i = what / 16 % STREAMS_MAX;

    switch (what % 16) {
    case 0: feed_script(script, next(script)); break;
    case 1: feed_script(script, (size_t)next(script) * 256); break;
    case 2: feed_script(script, 9 + (size_t)what / 16); break;
    case 3: loop_turn(loop, false); break;
    case 4: owner.mood = next(script); break;
    case 5: open_request(what & 16); break;
    case 6: write_some(i, (size_t)next(script) * 257); break;
    case 7:
        if (owner.streams[i])
            stream_shutdown(owner.streams[i]);
        break;
    case 8:
        if (owner.streams[i])
            stream_pause(owner.streams[i]);
        break;
    case 9:
        if (owner.streams[i])
            stream_resume(owner.streams[i]);
        break;
    case 10: close_stream(i, 0); break;
    case 11: close_stream(i, -(int)(next(script) % (ERR_COUNT - 1)) - 1); break;
    case 12: below.is_full = true; break;
    case 13: drain_below(); break;
    case 14:
        if (owner.h2)
            h2_drain(owner.h2);
        break;
    case 15: end_below(what & 16 ? 0 : what & 32 ? -ERR_RESET : 0); break;
    default: break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script script = {data, size};
    uint8_t first = next(&script);
    struct h2_options options = {0};

    loop = loop_new();
    owner = (struct owner){0};
    below = (struct below){.stream = {.ops = &below_ops, .slabs = loop_slabs(loop)}};
    if (first & 2)
        options = (struct h2_options){
            .stream_window = 100, .connection_window = 65535, .max_concurrent_streams = 5};
    owner.h2 = first & 1 ? h2_client_new(loop, &below.stream, &options, &events, NULL)
                         : h2_server_new(loop, &below.stream, &options, &events, NULL);
    if (first & 4) { /* saves the fuzzer the opening */
        if (!(first & 1))
            feed("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
        feed("\0\0\0\4\0\0\0\0\0", 9);
    }
    for (unsigned steps = 0; script.left > 0 && steps < STEPS_MAX; steps++)
        step(&script);
    for (unsigned i = 0; i < STREAMS_MAX; i++)
        close_stream(i, 0);
    loop_turn(loop, false);
    close_all();
    loop_turn(loop, false);
    ensure(below.is_closed && loop_slabs(loop)->n_live == 0);
    loop_free(loop);
    return 0;
}
