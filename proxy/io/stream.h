/*
 * stream.h - two directions of bytes, whatever carries them: a TCP socket, TLS over a stream, one
 * HTTP/2 stream.
 *
 * A stream pushes what it reads to its owner's events and queues what it is given to write. Back
 * pressure is two rules:
 *   - stream_write() answers false when its queue is at its high mark: stop writing until on_drain.
 *   - stream_pause() stops on_data (a TCP socket is no longer read; an HTTP/2 stream gives no more
 *     window); stream_resume() starts it. One read may still be in flight inside the layer when
 *     pausing, and it is delivered after the resume.
 * Both directions end separately (half-close): on_end says that the peer will send no more;
 * stream_shutdown() says that we will not, once what is queued has gone.
 *
 * A stream is born paused: the owner sets events and calls stream_resume().
 *
 * Failure: on_fail(err) once, when the stream died under the owner (reset, write error, TLS alert,
 * timeout of a layer); no event follows it. The owner still calls stream_close().
 *
 * Owner:  whoever holds the pointer, until stream_close(), after which it must not be used and no
 * event comes.
 * Thread: the loop's. Events come from the loop, never from inside a call of the owner
 * (rule 1 of loop.h), with one exception that costs nothing and saves a copy: on_data may come
 * while the owner's stream_resume() runs only if the layer says so; none of ours does.
 * Errors: enum err.
 */
#ifndef ISTHMUS_IO_STREAM_H
#define ISTHMUS_IO_STREAM_H

#include "proxy/base/addr.h"
#include "proxy/base/err.h"
#include "proxy/base/slice.h"

struct stream;

struct stream_events {
    /* Bytes arrived. The slice is borrowed for the call: slice_ref() to keep it, pass
     * slice_ref(bytes) to a writer. */
    void (*on_data)(void *owner, struct slice bytes);
    /* The peer's direction ended cleanly. Not called while paused. */
    void (*on_end)(void *owner);
    /* The write queue fell to its low mark after stream_write() or stream_write_copy() had answered
     * false. */
    void (*on_drain)(void *owner);
    /* The stream is dead: err is negative. */
    void (*on_fail)(void *owner, int err);
};

struct stream_ops {
    bool (*write)(struct stream *stream, struct slice bytes);
    void (*shutdown)(struct stream *stream);
    void (*pause)(struct stream *stream);
    void (*resume)(struct stream *stream);
    void (*close)(struct stream *stream, int err);
    size_t (*queued)(const struct stream *stream);
    size_t (*kept)(const struct stream *stream); /* NULL: none */
};

/* The part that every kind embeds, first in its own struct. Kinds keep the rest to themselves. */
struct stream {
    const struct stream_ops *ops;
    const struct stream_events *events;
    void *owner;
    struct slab_pool *slabs;
};

static inline void stream_set_owner(struct stream *stream, const struct stream_events *events,
                                    void *owner)
{
    stream->events = events;
    stream->owner = owner;
}

/* Queues bytes for writing, at most SLAB_BYTES a call; takes the reference. True: go on. False: the
 * bytes are queued, but stop until on_drain. After a failure or stream_shutdown() the bytes are
 * dropped (true). */
static inline bool stream_write(struct stream *stream, struct slice bytes)
{
    return stream->ops->write(stream, bytes);
}

/* The same from memory that is copied; also at most SLAB_BYTES a call. */
bool stream_write_copy(struct stream *stream, const void *bytes, size_t len);

/* Ends our direction after what is queued. At most once. */
static inline void stream_shutdown(struct stream *stream)
{
    stream->ops->shutdown(stream);
}

static inline void stream_pause(struct stream *stream)
{
    stream->ops->pause(stream);
}

static inline void stream_resume(struct stream *stream)
{
    stream->ops->resume(stream);
}

/*
 * Ends the stream and gives up the pointer. err 0: politely; both directions are at their end, or
 * what is left is not wanted. err < 0: abortively, so that the peer learns that bytes are missing:
 * RST on TCP, RST_STREAM on HTTP/2. Queued bytes are dropped unless stream_shutdown() was called
 * before and err is 0, in which case the layer keeps flushing them in the background for at most
 * STREAM_LINGER_MS (TCP, TLS and HTTP/2 streams alike). If the peer has not ended its direction by
 * then, TCP meanwhile reads and drops what still comes: left unread, it would make the kernel
 * answer our last bytes with a reset. Of that it takes STREAM_LINGER_BYTES and then resets, so that
 * nobody makes a worker read for nothing.
 */
#define STREAM_LINGER_MS    5000
#define STREAM_LINGER_BYTES ((size_t)4 * 1048576)

static inline void stream_close(struct stream *stream, int err)
{
    stream->ops->close(stream, err);
}

/* Bytes that wait in the write queue. */
static inline size_t stream_queued(const struct stream *stream)
{
    return stream->ops->queued(stream);
}

/* Bytes that came, and wait in the stream's memory because it is paused. */
static inline size_t stream_kept(const struct stream *stream)
{
    return stream->ops->kept ? stream->ops->kept(stream) : 0;
}

#endif
