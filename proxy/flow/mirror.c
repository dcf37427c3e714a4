#include "proxy/flow/mirror.h"

#include "proxy/base/err.h"
#include "proxy/base/mem.h"

static struct mirror *mirror_of(struct stream *stream)
{
    return container_of(stream, struct mirror, stream.stream);
}

/* ---- the answer goes nowhere ---- */

static bool drop(struct stream *stream, struct slice bytes)
{
    (void)stream;
    slice_release(bytes);
    return true;
}

static void ignore(struct stream *stream)
{
    (void)stream;
}

static size_t queued(const struct stream *stream)
{
    (void)stream;
    return 0;
}

static void ignore_head(struct http_stream *stream, const struct http_response *head)
{
    (void)stream;
    (void)head;
}

static void ignore_trailers(struct http_stream *stream, const struct http_fields *fields)
{
    (void)stream;
    (void)fields;
}

static const struct http_stream_ops http_ops = {
    .interim = ignore_head,
    .respond = ignore_head,
    .trailers = ignore_trailers,
};

/* ---- the request's body ---- */

static void fail(struct mirror *mirror, int err)
{
    if (mirror->is_failed)
        return;
    mirror->is_failed = true;
    list_remove(&mirror->by_copied);
    list_init(&mirror->by_copied);
    mirror->stream.stream.events->on_fail(mirror->stream.stream.owner, err);
}

static void tell_end(struct mirror *mirror)
{
    if (!mirror->has_ended || mirror->end_was_told || mirror->is_paused || mirror->is_failed ||
        mirror->waiting.bytes > 0)
        return;
    mirror->end_was_told = true;
    mirror->stream.stream.events->on_end(mirror->stream.stream.owner);
}

static void on_deliver(struct task *task)
{
    struct mirror *mirror = container_of(task, struct mirror, deliver);
    bool has_drained;
    while (mirror->waiting.bytes > 0 && !mirror->is_paused && !mirror->is_failed) {
        struct slice bytes = buf_shift(&mirror->waiting, &has_drained);
        mirror->stream.stream.events->on_data(mirror->stream.stream.owner, bytes);
        slice_release(bytes);
    }
    tell_end(mirror);
}

static void pause(struct stream *stream)
{
    mirror_of(stream)->is_paused = true;
}

static void resume(struct stream *stream)
{
    struct mirror *mirror = mirror_of(stream);
    mirror->is_paused = false;
    if (mirror->waiting.bytes > 0 || mirror->has_ended)
        loop_defer(mirror->loop, &mirror->deliver);
}

static void free_mirror(void *ptr)
{
    struct mirror *mirror = ptr;
    buf_fini(&mirror->waiting);
    mem_free(mirror);
}

static void close(struct stream *stream, int err)
{
    struct mirror *mirror = mirror_of(stream);
    (void)err;
    mirror->is_failed = true;
    task_cancel(&mirror->deliver);
    list_remove(&mirror->by_copied);
    loop_bury(mirror->loop, mirror, free_mirror);
}

static size_t kept(const struct stream *stream)
{
    const struct mirror *mirror = (const struct mirror *)(const void *)stream; /* it is first */
    return mirror->waiting.bytes;
}

static const struct stream_ops stream_ops = {
    .write = drop,
    .shutdown = ignore,
    .pause = pause,
    .resume = resume,
    .close = close,
    .queued = queued,
    .kept = kept,
};

struct mirror *mirror_new(struct loop *loop, struct list *copies)
{
    struct mirror *mirror = mem_new(struct mirror);
    mirror->stream.stream.ops = &stream_ops;
    mirror->stream.stream.slabs = loop_slabs(loop);
    mirror->stream.http = &http_ops;
    mirror->loop = loop;
    mirror->is_paused = true;
    mirror->deliver.run = on_deliver;
    list_init(&mirror->deliver.link);
    buf_init(&mirror->waiting, loop_slabs(loop), MIRROR_QUEUE_MAX / 2, MIRROR_QUEUE_MAX);
    list_push_back(copies, &mirror->by_copied);
    return mirror;
}

void mirrors_say(struct list *copies, struct slice bytes)
{
    list_foreach(it, copies)
    {
        struct mirror *mirror = list_entry(it, struct mirror, by_copied);
        if (mirror->waiting.bytes > 0 || mirror->is_paused) {
            if (mirror->waiting.bytes + bytes.len > MIRROR_QUEUE_MAX)
                fail(mirror, -ERR_OVERLOAD);
            else
                (void)buf_push(&mirror->waiting, slice_ref(bytes));
        } else {
            mirror->stream.stream.events->on_data(mirror->stream.stream.owner, bytes);
        }
    }
}

void mirrors_end(struct list *copies)
{
    list_foreach(it, copies)
    {
        struct mirror *mirror = list_entry(it, struct mirror, by_copied);
        mirror->has_ended = true;
        tell_end(mirror);
    }
}

void mirrors_leave(struct list *copies)
{
    while (!list_is_empty(copies)) {
        struct mirror *mirror = list_entry(copies->next, struct mirror, by_copied);
        list_remove(&mirror->by_copied);
        list_init(&mirror->by_copied);
        if (!mirror->has_ended)
            fail(mirror, -ERR_CLIENT_RESET);
    }
}
