/*
 * fake_stream.h - a struct stream in memory, scripted by a test.
 *
 * Alone it records what is written to it and delivers what the test feeds. As a pair, what is
 * written to one arrives at the other, through a wire that holds FAKE_WIRE_BYTES, so back pressure
 * goes from end to end. Events come from the loop (each in a turn of its own), as those of every
 * stream.
 *
 * Owner:  the test, until fake_stream_free(); the code under test closes the stream before that,
 * and fake->is_closed and the rest stay readable. Thread: the loop's.
 */
#ifndef ISTHMUS_TESTS_KIT_FAKE_STREAM_H
#define ISTHMUS_TESTS_KIT_FAKE_STREAM_H

#include "proxy/base/buf.h"
#include "proxy/base/text.h"
#include "proxy/io/mailbox.h"
#include "proxy/io/stream.h"

#define FAKE_WIRE_BYTES ((size_t)65536)
#define FAKE_QUEUE_HIGH ((size_t)262144)
#define FAKE_QUEUE_LOW  ((size_t)65536)

struct fake_stream {
    struct stream stream; /* first: &fake->stream is what the code under test gets */
    struct loop *loop;
    struct fake_stream *peer; /* NULL: alone, or the peer was freed */

    /* What the code under test did; to be read by tests. */
    struct text written; /* all bytes that left the queue (not of a pair) */
    size_t n_written;    /* their number, also of a pair */
    size_t n_writes;     /* in how many pieces they were given */
    bool is_paused;
    bool is_shut;   /* stream_shutdown() was called */
    bool is_closed; /* stream_close() was called */
    int close_err;  /* with this */

    /* Its own. */
    struct buf queue;     /* what was written and has not left */
    bool is_held;         /* nothing leaves */
    struct list arrivals; /* chunks for on_data */
    size_t arrived_bytes;
    bool has_end, end_told, drain_due, fin_sent;
    int fail_err; /* negative: on_fail is due */
    bool is_dead; /* it was told */
    struct mailbox *mailbox;
    struct letter wake;
    bool is_woken;
};

struct fake_stream *fake_stream_new(struct loop *loop);
void fake_stream_pair(struct loop *loop, struct fake_stream **out_a, struct fake_stream **out_b);
/* Ensures that the stream was closed. */
void fake_stream_free(struct fake_stream *fake);

/* Bytes for on_data; each call is one chunk, delivered once the stream is resumed. */
void fake_feed(struct fake_stream *fake, const void *bytes, size_t len);
void fake_feed_text(struct fake_stream *fake, const char *text);
/* The peer's direction ends, after what was fed. */
void fake_end(struct fake_stream *fake);
/* The stream dies, before what was fed. */
void fake_fail(struct fake_stream *fake, int err);

/* From here on nothing leaves the write queue: a peer that does not read. */
void fake_hold(struct fake_stream *fake);
/* It leaves again; on_drain comes from the loop if the queue had been full. */
void fake_release(struct fake_stream *fake);

/* What was written so far, borrowed; and forgetting it. */
struct str fake_written(const struct fake_stream *fake);
void fake_forget_written(struct fake_stream *fake);

#endif
