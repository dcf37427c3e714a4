/*
 * svid_stream.c - Happy path: connection -> call -> message after message.
 *
 * Failure modes: no stream is to be had (asked again after a rest), a status, a connection that
 * goes (the owner brings the next), a message that is none (told, and the call goes on).
 */
#include "xds/svid_stream.h"

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"

#define REST_STEP_NS NS_PER_SEC
#define RESTS_MAX    30

enum stream_state { SVID_RESTING, SVID_ASKING, SVID_TOLD, SVID_STATES };

static const struct sm_rule rules[SVID_STATES] = {
    [SVID_RESTING] = {"resting", SM_TO(SVID_ASKING)},
    [SVID_ASKING] = {"asking", SM_TO(SVID_TOLD) | SM_TO(SVID_RESTING)},
    [SVID_TOLD] = {"told", SM_TO(SVID_TOLD) | SM_TO(SVID_RESTING)},
};

struct svid_stream {
    struct loop *loop;
    const struct svid_stream_options *options;
    const struct svid_stream_events *events;
    void *owner;
    struct text request;
    struct h2 *h2;
    struct grpc_call *call; /* but when RESTING */
    int state;
    unsigned n_rests;  /* since the last message */
    uint64_t again_ns; /* when it was asked again at once; 0: never */
    struct timer rest;
};

static void on_rested(struct timer *timer);

static void to_resting(struct svid_stream *stream)
{
    if (stream->state != SVID_RESTING)
        sm_move(rules, &stream->state, SVID_RESTING);
    stream->call = NULL;
    timer_stop(&stream->rest);
}

/* The n-th rest is n seconds, jittered downwards by up to a half. */
static void rest(struct svid_stream *stream)
{
    if (stream->n_rests < RESTS_MAX)
        stream->n_rests++;
    const uint64_t top_ns = stream->n_rests * REST_STEP_NS;
    const uint64_t less_ns = top_ns / 2000 * rng_below(loop_rng(stream->loop), 1001);

    timer_start(stream->loop, &stream->rest, top_ns - less_ns, on_rested);
}

static void on_message(void *owner, struct str bytes)
{
    struct svid_stream *stream = owner;
    struct svid_update update;
    struct text why = {0};

    sm_move(rules, &stream->state, SVID_TOLD);
    if (svid_update_read(bytes, &update, &why) < 0) {
        stream->events->on_trouble(stream->owner, GRPC_OK, text_str(&why));
    } else {
        stream->n_rests = 0;
        stream->events->on_update(stream->owner, &update);
        svid_update_fini(&update);
    }
    text_fini(&why);
}

static bool is_hopeless(int status)
{
    return status == GRPC_INVALID_ARGUMENT || status == GRPC_UNIMPLEMENTED;
}

static const char *status_name(int status)
{
    switch (status) {
    case GRPC_OK: return "OK";
    case GRPC_INVALID_ARGUMENT: return "INVALID_ARGUMENT";
    case GRPC_NOT_FOUND: return "NOT_FOUND";
    case GRPC_PERMISSION_DENIED: return "PERMISSION_DENIED";
    case GRPC_RESOURCE_EXHAUSTED: return "RESOURCE_EXHAUSTED";
    case GRPC_UNIMPLEMENTED: return "UNIMPLEMENTED";
    case GRPC_UNAVAILABLE: return "UNAVAILABLE";
    case GRPC_UNAUTHENTICATED: return "UNAUTHENTICATED";
    default: return "status";
    }
}

/* A server that ends every call as soon as it answered is asked at once only once a second. */
static bool may_ask_at_once(struct svid_stream *stream)
{
    const uint64_t now_ns = loop_now_ns(stream->loop);

    if (stream->again_ns && now_ns - stream->again_ns < REST_STEP_NS)
        return false;
    stream->again_ns = now_ns;
    return true;
}

static void on_end(void *owner, int status, struct str message)
{
    struct svid_stream *stream = owner;
    const bool was_told = stream->state == SVID_TOLD && stream->n_rests == 0;
    struct text why = {0};

    to_resting(stream);
    if (stream->h2 && was_told && (status == GRPC_OK || status == GRPC_UNAVAILABLE) &&
        may_ask_at_once(stream))
        timer_start(stream->loop, &stream->rest, 1, on_rested);
    else if (stream->h2 && !is_hopeless(status))
        rest(stream);
    text_addf(&why, "the call ended with %s (%d)%s%.*s", status_name(status), status,
              str_is_empty(message) ? "" : ": ", STR_ARG(message));
    stream->events->on_trouble(stream->owner, status == GRPC_OK ? GRPC_UNAVAILABLE : status,
                               text_str(&why));
    text_fini(&why);
}

static const struct grpc_events call_events = {.on_message = on_message, .on_end = on_end};

static void ask(struct svid_stream *stream)
{
    struct grpc_call *call = grpc_start(stream->loop, stream->h2, str_from(stream->options->path),
                                        &stream->options->metadata, 1, 0, &call_events, stream);

    if (!call) {
        rest(stream);
        return;
    }
    sm_move(rules, &stream->state, SVID_ASKING);
    stream->call = call;
    grpc_keep_secret(call, SVID_UPDATE_MAX_BYTES);
    (void)grpc_send(call, text_str(&stream->request));
    grpc_half_close(call);
}

static void on_rested(struct timer *timer)
{
    struct svid_stream *stream = container_of(timer, struct svid_stream, rest);

    if (stream->h2)
        ask(stream);
}

struct svid_stream *svid_stream_open(struct loop *loop, const struct svid_stream_options *options,
                                     struct str request, const struct svid_stream_events *events,
                                     void *owner)
{
    struct svid_stream *stream = mem_new(struct svid_stream);

    stream->loop = loop;
    stream->options = options;
    stream->events = events;
    stream->owner = owner;
    text_add(&stream->request, request);
    return stream;
}

static void give_up(struct svid_stream *stream)
{
    struct grpc_call *call = stream->call;

    to_resting(stream);
    if (call)
        grpc_cancel(call);
}

void svid_stream_set_h2(struct svid_stream *stream, struct h2 *h2)
{
    give_up(stream);
    stream->h2 = h2;
    if (h2)
        timer_start(stream->loop, &stream->rest, 0, on_rested);
}

static void stream_free(void *ptr)
{
    struct svid_stream *stream = ptr;

    text_fini(&stream->request);
    mem_free(stream);
}

void svid_stream_close(struct svid_stream *stream)
{
    give_up(stream);
    loop_bury(stream->loop, stream, stream_free);
}
