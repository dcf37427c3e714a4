/*
 * Happy path: on_data of one stream writes the same slice to the other; on_end passes the end on;
 * when both ended and what is queued has left, both streams are closed politely. Failure modes: a
 * stream dies (the other is cut, so that its peer does not take a broken transfer for a whole one);
 * time runs out (both are cut).
 *
 * The timer is lazy: it is started once and, when it fires, looks at when a byte last moved. A byte
 * costs no timer call. Bytes that leave a queue are seen only then, since a stream tells when its
 * queue has drained, not each step on the way: a reader that is slow but reads is not idle. For the
 * same reason the last bytes are waited for by looking: a stream lingers for a few seconds only,
 * which a slow reader may need more than.
 */
#include "proxy/pump/pump.h"

#include "proxy/base/clock.h"
#include "proxy/io/tcp_splice.h"

/* Between looks whether the last bytes have left. The first is at the end of the turn, when mostly
 * they have. */
#define FIRST_PAUSE_NS NS_PER_MS
#define LAST_PAUSE_NS  (UINT64_C(20) * NS_PER_MS)

static void finish(struct pump *pump, int err);

static uint64_t limit_ns(const struct pump *pump)
{
    return pump->up.ended || pump->down.ended ? pump->options.half_close_ns : pump->options.idle_ns;
}

static size_t queued_bytes(const struct pump *pump)
{
    return stream_queued(pump->up.to) + stream_queued(pump->down.to);
}

/* What must have left before it is over. */
static size_t last_bytes(const struct pump *pump)
{
    return pump->options.ends_with_server ? stream_queued(pump->down.to) : queued_bytes(pump);
}

static bool has_ended(const struct pump *pump)
{
    return pump->down.ended && (pump->up.ended || pump->options.ends_with_server);
}

/* What left a queue since the last look has moved just as what came. */
static void look_at_queues(struct pump *pump, uint64_t now_ns)
{
    const uint64_t queued = queued_bytes(pump);
    const uint64_t left = pump->up.bytes + pump->down.bytes - queued;
    if (queued > 0 && left != pump->left_bytes)
        pump->last_moved_ns = now_ns;
    pump->left_bytes = left;
}

/* For a reason that the owner may know better what to do about. */
static void lose(struct pump *pump, int err)
{
    if (pump->options.on_server_lost && pump->options.on_server_lost(pump->owner, err))
        return;
    finish(pump, err);
}

static void on_timer(struct timer *timer);

/* When time runs out, if nothing moves. */
static uint64_t due_ns(const struct pump *pump)
{
    return pump->last_moved_ns + limit_ns(pump);
}

static void sleep_on(struct pump *pump, uint64_t now_ns)
{
    uint64_t span_ns = due_ns(pump) - now_ns;
    if (has_ended(pump) && pump->pause_ns == 0) {
        pump->pause_ns = FIRST_PAUSE_NS;
        loop_defer(pump->loop, &pump->last_look);
        return;
    }
    if (has_ended(pump)) {
        const uint64_t pause_ns = pump->pause_ns;
        span_ns = span_ns < pause_ns ? span_ns : pause_ns;
        pump->pause_ns = pause_ns < LAST_PAUSE_NS ? pause_ns * 2 : LAST_PAUSE_NS;
    } else if (pump->options.is_watched) {
        return;
    }
    timer_start(pump->loop, &pump->timer, span_ns, on_timer);
}

/* True: it is over. */
static bool look(struct pump *pump, uint64_t now_ns)
{
    if (has_ended(pump) && last_bytes(pump) == 0) {
        finish(pump, 0);
        return true;
    }
    look_at_queues(pump, now_ns);
    if (now_ns < due_ns(pump))
        return false;
    const bool half_closed = pump->up.ended || pump->down.ended;
    lose(pump, half_closed ? -ERR_HALF_CLOSE_TIMEOUT : -ERR_IDLE_TIMEOUT);
    return true;
}

static void on_timer(struct timer *timer)
{
    struct pump *pump = container_of(timer, struct pump, timer);
    const uint64_t now_ns = loop_now_ns(pump->loop);
    if (!look(pump, now_ns))
        sleep_on(pump, now_ns);
}

uint64_t pump_look(struct pump *pump, uint64_t now_ns)
{
    if (!pump->is_running || look(pump, now_ns))
        return 0;
    return due_ns(pump);
}

/* A timer would come a tick later, and with it the client's next request. */
static void run_last_look(struct task *task)
{
    on_timer(&container_of(task, struct pump, last_look)->timer);
}

static void on_spliced(void *owner, size_t bytes)
{
    struct pipe *pipe = owner;
    pipe->bytes += bytes;
    pipe->spliced += bytes;
    pipe->pump->last_moved_ns = loop_now_ns(pipe->pump->loop);
}

/* Asked once: what cannot be spliced now (a tunnel, a lack of descriptors) is copied to its end. */
static void splice_if_bulky(struct pipe *pipe)
{
    const uint64_t after_bytes = pipe->pump->options.splice_after_bytes;
    if (pipe->tried_splice || after_bytes == 0 || pipe->bytes < after_bytes)
        return;
    pipe->tried_splice = true;
    (void)tcp_splice(pipe->from, pipe->to, on_spliced, pipe);
}

static void pipe_data(struct pipe *pipe, struct slice bytes)
{
    pipe->bytes += bytes.len;
    pipe->pump->last_moved_ns = loop_now_ns(pipe->pump->loop);
    if (!stream_write(pipe->to, slice_ref(bytes)) && !pipe->is_paused) {
        pipe->is_paused = true;
        stream_pause(pipe->from);
    }
    splice_if_bulky(pipe);
}

static void pass_end(const struct pipe *pipe)
{
    const struct pump_options *options = &pipe->pump->options;
    if (options->shut)
        options->shut(pipe->pump->owner, pipe->to);
    else
        stream_shutdown(pipe->to);
}

static void pipe_end(struct pipe *pipe)
{
    struct pump *pump = pipe->pump;
    if (pipe->ended)
        return;
    pipe->ended = true;
    pump->last_moved_ns = loop_now_ns(pump->loop);
    pass_end(pipe);
    if (has_ended(pump) && last_bytes(pump) == 0) {
        finish(pump, 0);
        return;
    }
    sleep_on(pump, pump->last_moved_ns);
}

/* The stream whose queue drained is the destination of the pipe that was paused. */
static void pipe_drain(struct pipe *pipe)
{
    pipe->pump->last_moved_ns = loop_now_ns(pipe->pump->loop);
    if (!pipe->is_paused)
        return;
    pipe->is_paused = false;
    stream_resume(pipe->from);
}

/* struct stream_events gives the owner, not the stream, so each of the two has its own four
 * callbacks. */
static void on_client_data(void *owner, struct slice bytes)
{
    struct pump *pump = owner;
    pipe_data(&pump->up, bytes);
    pump->asked_ns = pump->last_moved_ns;
    if (pump->options.on_client_data)
        pump->options.on_client_data(pump->owner, bytes);
}

static void on_client_end(void *owner)
{
    pipe_end(&((struct pump *)owner)->up);
}

static void on_client_drain(void *owner)
{
    pipe_drain(&((struct pump *)owner)->down);
}

/* A stream that broke off is a reset by its side; a tunnel that broke under it says "eof". */
static bool broke_off(int err)
{
    return err == -ERR_RESET || err == -ERR_EOF;
}

static void on_client_fail(void *owner, int err)
{
    finish(owner, broke_off(err) ? -ERR_CLIENT_RESET : err);
}

static void on_server_data(void *owner, struct slice bytes)
{
    struct pump *pump = owner;
    pipe_data(&pump->down, bytes);
    if (pump->asked_ns != 0 && pump->options.on_answer)
        pump->options.on_answer(pump->owner, pump->last_moved_ns - pump->asked_ns);
    pump->asked_ns = 0;
}

static void on_server_end(void *owner)
{
    pipe_end(&((struct pump *)owner)->down);
}

static void on_server_drain(void *owner)
{
    pipe_drain(&((struct pump *)owner)->up);
}

static void on_server_fail(void *owner, int err)
{
    struct pump *pump = owner;
    lose(pump, broke_off(err) ? -ERR_UPSTREAM_RESET : err);
}

static const struct stream_events client_events = {
    .on_data = on_client_data,
    .on_end = on_client_end,
    .on_drain = on_client_drain,
    .on_fail = on_client_fail,
};

static const struct stream_events server_events = {
    .on_data = on_server_data,
    .on_end = on_server_end,
    .on_drain = on_server_drain,
    .on_fail = on_server_fail,
};

void pump_start(struct pump *pump, struct loop *loop, struct stream *client, struct stream *server,
                const struct pump_options *options,
                void (*on_done)(void *owner, const struct totals *totals), void *owner)
{
    *pump = (struct pump){
        .loop = loop,
        .options = *options,
        .up = {.pump = pump, .from = client, .to = server},
        .down = {.pump = pump, .from = server, .to = client},
        .last_moved_ns = loop_now_ns(loop),
        .on_done = on_done,
        .owner = owner,
        .is_running = true,
    };
    stream_set_owner(client, &client_events, pump);
    stream_set_owner(server, &server_events, pump);
    pump->last_look.run = run_last_look;
    pump->up.ended = options->client_has_ended;
    if (options->client_has_ended && !options->server_knows)
        pass_end(&pump->up);
    if (!options->is_watched)
        timer_start(loop, &pump->timer, limit_ns(pump), on_timer);
    stream_resume(client);
    stream_resume(server);
}

struct totals pump_totals(const struct pump *pump)
{
    return (struct totals){.received = pump->up.bytes,
                           .sent = pump->down.bytes,
                           .spliced = pump->up.spliced + pump->down.spliced};
}

size_t pump_held(const struct pump *pump)
{
    if (!pump->is_running)
        return 0;
    return queued_bytes(pump) + stream_kept(pump->up.from) + stream_kept(pump->down.from);
}

/* The server's last word came before it broke off: a server that refuses what it is sent says why,
 * and hears no more. To the client that is an end, not a reset that might overtake the word. */
static bool has_heard_all(const struct pump *pump, int err)
{
    return err == -ERR_UPSTREAM_RESET && pump->down.ended;
}

static void close_streams(struct pump *pump, int err)
{
    pump->is_running = false;
    timer_stop(&pump->timer);
    task_cancel(&pump->last_look);
    stream_close(pump->up.from, has_heard_all(pump, err) ? 0 : err);
    stream_close(pump->up.to, err);
}

static void finish(struct pump *pump, int err)
{
    struct totals totals = pump_totals(pump);
    totals.err = err;
    close_streams(pump, err);
    pump->on_done(pump->owner, &totals);
}

bool pump_settle(struct pump *pump)
{
    if (!pump->is_running || !has_ended(pump) || last_bytes(pump) > 0)
        return false;
    finish(pump, 0);
    return true;
}

void pump_release(struct pump *pump)
{
    pump->is_running = false;
    timer_stop(&pump->timer);
    task_cancel(&pump->last_look);
    stream_pause(pump->up.from);
    stream_pause(pump->up.to);
}

struct totals pump_cut(struct pump *pump, int err)
{
    struct totals totals = pump_totals(pump);
    totals.err = err;
    if (pump->is_running)
        close_streams(pump, err);
    return totals;
}
