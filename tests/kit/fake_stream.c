#include "tests/kit/fake_stream.h"

#include <string.h>

#include "proxy/base/mem.h"

struct chunk {
    struct list link;
    struct slice bytes;
};

static struct fake_stream *fake_of(struct stream *stream)
{
    return container_of(stream, struct fake_stream, stream);
}

/* ------------------------------------------------------------------ arriving */

static bool has_news(const struct fake_stream *fake)
{
    if (fake->is_closed || fake->is_dead || !fake->stream.events)
        return false; /* without an owner news wait; stream_resume() looks for them */
    if (fake->fail_err || fake->drain_due)
        return true;
    return !fake->is_paused &&
           (!list_is_empty(&fake->arrivals) || (fake->has_end && !fake->end_told));
}

static void wake(struct fake_stream *fake)
{
    if (fake->is_woken || !has_news(fake))
        return;
    fake->is_woken = true;
    mailbox_post(fake->mailbox, &fake->wake);
}

static void arrive(struct fake_stream *fake, struct slice bytes)
{
    struct chunk *chunk = mem_new(struct chunk);
    chunk->bytes = bytes;
    list_push_back(&fake->arrivals, &chunk->link);
    fake->arrived_bytes += bytes.len;
    wake(fake);
}

static struct slice take_arrival(struct fake_stream *fake)
{
    struct chunk *chunk = list_entry(fake->arrivals.next, struct chunk, link);
    struct slice bytes = chunk->bytes;
    list_remove(&chunk->link);
    mem_free(chunk);
    fake->arrived_bytes -= bytes.len;
    return bytes;
}

static void drop_arrivals(struct fake_stream *fake)
{
    while (!list_is_empty(&fake->arrivals))
        slice_release(take_arrival(fake));
}

static void send_queue(struct fake_stream *fake);

static void tell_one(struct fake_stream *fake)
{
    const struct stream_events *events = fake->stream.events;
    void *owner = fake->stream.owner;
    if (fake->fail_err) {
        fake->is_dead = true;
        drop_arrivals(fake);
        events->on_fail(owner, fake->fail_err);
    } else if (fake->drain_due) {
        fake->drain_due = false;
        events->on_drain(owner);
    } else if (!list_is_empty(&fake->arrivals)) {
        struct slice bytes = take_arrival(fake);
        if (fake->peer)
            send_queue(fake->peer); /* there is room on the wire */
        events->on_data(owner, bytes);
        slice_release(bytes);
    } else {
        fake->end_told = true;
        events->on_end(owner);
    }
}

static void deliver_wake(struct letter *letter, void *receiver)
{
    (void)letter;
    struct fake_stream *fake = receiver;
    fake->is_woken = false;
    if (has_news(fake))
        tell_one(fake);
    wake(fake);
}

/* ------------------------------------------------------------------ writing */

static bool wire_is_full(const struct fake_stream *fake)
{
    return fake->is_held || (fake->peer && fake->peer->arrived_bytes >= FAKE_WIRE_BYTES);
}

static void leave(struct fake_stream *fake, struct slice bytes)
{
    fake->n_written += bytes.len;
    if (!fake->peer) {
        text_add(&fake->written, slice_str(bytes));
        slice_release(bytes);
    } else if (fake->peer->is_closed) {
        slice_release(bytes);
        fake_fail(fake, -ERR_RESET);
    } else {
        arrive(fake->peer, bytes);
    }
}

static void send_queue(struct fake_stream *fake)
{
    if (fake->is_dead)
        return;
    while (fake->queue.bytes > 0 && !wire_is_full(fake)) {
        bool drained;
        leave(fake, buf_shift(&fake->queue, &drained));
        fake->drain_due |= drained && !fake->is_shut;
    }
    if (fake->is_shut && fake->queue.bytes == 0 && !fake->fin_sent) {
        fake->fin_sent = true;
        if (fake->peer)
            fake_end(fake->peer);
    }
    wake(fake);
}

static bool fake_write(struct stream *stream, struct slice bytes)
{
    struct fake_stream *fake = fake_of(stream);
    ensure(!fake->is_closed);
    if (fake->is_shut || fake->is_dead || fake->fail_err) {
        slice_release(bytes);
        return true;
    }
    fake->n_writes++;
    if (fake->queue.bytes == 0 && !wire_is_full(fake)) {
        leave(fake, bytes);
        return true;
    }
    return buf_push(&fake->queue, bytes);
}

static void fake_shutdown(struct stream *stream)
{
    struct fake_stream *fake = fake_of(stream);
    ensure(!fake->is_closed && !fake->is_shut);
    fake->is_shut = true;
    send_queue(fake);
}

static void fake_pause(struct stream *stream)
{
    struct fake_stream *fake = fake_of(stream);
    ensure(!fake->is_closed);
    fake->is_paused = true;
}

static void fake_resume(struct stream *stream)
{
    struct fake_stream *fake = fake_of(stream);
    ensure(!fake->is_closed);
    fake->is_paused = false;
    wake(fake);
}

static void tell_peer_of_close(struct fake_stream *fake, int err)
{
    struct fake_stream *peer = fake->peer;
    if (!peer || peer->is_closed)
        return;
    if (err < 0)
        fake_fail(peer, -ERR_RESET);
    else if (!fake->fin_sent)
        fake_end(peer);
}

static void fake_close(struct stream *stream, int err)
{
    struct fake_stream *fake = fake_of(stream);
    ensure(!fake->is_closed);
    if (err == 0 && fake->is_shut && !fake->is_held && fake->peer && !fake->peer->is_closed)
        while (fake->queue.bytes > 0) { /* a polite close flushes, whatever the wire holds */
            bool drained;
            leave(fake, buf_shift(&fake->queue, &drained));
        }
    fake->is_closed = true;
    fake->close_err = err;
    tell_peer_of_close(fake, err);
    drop_arrivals(fake);
    buf_fini(&fake->queue);
    mailbox_close(fake->mailbox);
    fake->mailbox = NULL;
}

static size_t fake_queued(const struct stream *stream)
{
    return ((const struct fake_stream *)(const void *)stream)->queue.bytes;
}

static const struct stream_ops fake_ops = {
    .write = fake_write,
    .shutdown = fake_shutdown,
    .pause = fake_pause,
    .resume = fake_resume,
    .close = fake_close,
    .queued = fake_queued,
};

/* ------------------------------------------------------------------ the test's side */

struct fake_stream *fake_stream_new(struct loop *loop)
{
    struct fake_stream *fake = mem_new(struct fake_stream);
    fake->stream.ops = &fake_ops;
    fake->stream.slabs = loop_slabs(loop);
    fake->loop = loop;
    fake->is_paused = true;
    list_init(&fake->arrivals);
    buf_init(&fake->queue, loop_slabs(loop), FAKE_QUEUE_LOW, FAKE_QUEUE_HIGH);
    fake->mailbox = mailbox_open(loop, fake);
    fake->wake.deliver = deliver_wake;
    return fake;
}

void fake_stream_pair(struct loop *loop, struct fake_stream **out_a, struct fake_stream **out_b)
{
    struct fake_stream *a = fake_stream_new(loop), *b = fake_stream_new(loop);
    a->peer = b;
    b->peer = a;
    *out_a = a;
    *out_b = b;
}

void fake_stream_free(struct fake_stream *fake)
{
    ensure(fake->is_closed);
    if (fake->peer)
        fake->peer->peer = NULL;
    text_fini(&fake->written);
    mem_free(fake);
}

void fake_feed(struct fake_stream *fake, const void *bytes, size_t len)
{
    if (!fake->is_closed && !fake->has_end && len > 0)
        arrive(fake, slice_copy(loop_slabs(fake->loop), bytes, len));
}

void fake_feed_text(struct fake_stream *fake, const char *text)
{
    fake_feed(fake, text, strlen(text));
}

void fake_end(struct fake_stream *fake)
{
    fake->has_end = true;
    wake(fake);
}

void fake_fail(struct fake_stream *fake, int err)
{
    ensure(err < 0);
    if (!fake->fail_err)
        fake->fail_err = err;
    wake(fake);
}

void fake_hold(struct fake_stream *fake)
{
    fake->is_held = true;
}

void fake_release(struct fake_stream *fake)
{
    fake->is_held = false;
    if (!fake->is_closed)
        send_queue(fake);
}

struct str fake_written(const struct fake_stream *fake)
{
    return text_str(&fake->written);
}

void fake_forget_written(struct fake_stream *fake)
{
    text_clear(&fake->written);
}
