/*
 * channel.c - Happy path: rest -> lookup -> connect, address by address -> handshake -> SETTINGS ->
 * on_up.
 *
 * Failure modes: no such name, no address answers, the handshake fails, the connection dies or says
 * GOAWAY: each is on_down, and the channel rests before it dials again. The rest doubles from
 * REST_MIN_NS to REST_MAX_NS and is drawn from its upper half, so that a thousand nodes do not come
 * back at once.
 */
#include "xds/channel.h"

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/io/lookup.h"
#include "proxy/io/tcp.h"

#define REST_MIN_NS (100 * NS_PER_MS)
#define REST_MAX_NS (15 * NS_PER_SEC)
#define UP_LONG_NS  (5 * NS_PER_SEC) /* after so much time up, a rest is short again */

enum channel_state {
    CHANNEL_RESTING,
    CHANNEL_DIALING,
    CHANNEL_SECURING,
    CHANNEL_UP,
    CHANNEL_STATES
};

static const struct sm_rule channel_rules[CHANNEL_STATES] = {
    [CHANNEL_RESTING] = {"resting", SM_TO(CHANNEL_DIALING)},
    [CHANNEL_DIALING] = {"dialing", SM_TO(CHANNEL_SECURING) | SM_TO(CHANNEL_RESTING)},
    [CHANNEL_SECURING] = {"securing", SM_TO(CHANNEL_UP) | SM_TO(CHANNEL_RESTING)},
    [CHANNEL_UP] = {"up", SM_TO(CHANNEL_RESTING)},
};

struct channel {
    struct loop *loop;
    struct arena arena;
    struct channel_options options;
    struct channel_events events;
    void *owner;
    int state;
    struct timer timer; /* the end of the rest; outside of it, that channel_redial() was called */
    uint64_t rest_ns;   /* the next one, before jitter */
    uint64_t up_at_ns;
    struct addr addrs[LOOKUP_ADDRESSES_MAX];
    size_t n_addrs, next_addr;
    /* At most one of them at a time. */
    struct lookup *lookup;
    struct tcp_connect *connect;
    struct tls_handshake *handshake;
    struct h2 *h2;
    struct stream *secured; /* below h2, while that lives; NULL in the clear */
};

static void dial(struct channel *channel);

/* Gives up whatever is under way. */
static void drop(struct channel *channel)
{
    struct h2 *h2 = channel->h2;

    if (channel->lookup)
        lookup_cancel(channel->lookup);
    if (channel->connect)
        tcp_connect_cancel(channel->connect);
    if (channel->handshake)
        tls_handshake_cancel(channel->handshake);
    channel->lookup = NULL;
    channel->connect = NULL;
    channel->handshake = NULL;
    channel->secured = NULL;
    channel->h2 = NULL; /* first: what fails with the connection must not find it any more */
    if (h2)
        h2_close(h2, -ERR_SHUTDOWN);
}

static void on_timer(struct timer *timer);

static uint64_t jittered(struct channel *channel)
{
    uint64_t half_us = channel->rest_ns / 2000;

    return (half_us + rng_below(loop_rng(channel->loop), (uint32_t)half_us)) * 1000;
}

static void to_resting(struct channel *channel, bool at_once)
{
    bool was_up = channel->state == CHANNEL_UP;

    drop(channel);
    if (was_up && loop_now_ns(channel->loop) - channel->up_at_ns >= UP_LONG_NS)
        channel->rest_ns = REST_MIN_NS;
    sm_move(channel_rules, &channel->state, CHANNEL_RESTING);
    timer_start(channel->loop, &channel->timer, at_once ? 0 : jittered(channel), on_timer);
    if (!at_once)
        channel->rest_ns = channel->rest_ns > REST_MAX_NS / 2 ? REST_MAX_NS : channel->rest_ns * 2;
}

static void fail(struct channel *channel, int err, struct str why)
{
    to_resting(channel, false);
    channel->events.on_down(channel->owner, err, why);
}

/* ---- SECURING ---- */

static void on_ready(void *owner)
{
    struct channel *channel = owner;

    if (channel->state != CHANNEL_SECURING)
        return;
    sm_move(channel_rules, &channel->state, CHANNEL_UP);
    channel->up_at_ns = loop_now_ns(channel->loop);
    channel->events.on_up(channel->owner, channel->h2);
}

static void on_capacity(void *owner)
{
    struct channel *channel = owner;

    if (channel->h2 && h2_is_draining(channel->h2))
        fail(channel, -ERR_H2_GOAWAY, str_from(err_text(ERR_H2_GOAWAY)));
}

static void on_dead(void *owner, int err, struct str why)
{
    struct channel *channel = owner;

    fail(channel, err, str_is_empty(why) ? str_from(err_text(err)) : why);
}

static const struct h2_events h2_events = {
    .on_ready = on_ready,
    .on_capacity = on_capacity,
    .on_dead = on_dead,
};

static void speak_h2(struct channel *channel, struct stream *stream)
{
    const struct h2_options options = {
        .keepalive_ns = channel->options.keepalive_ns,
        .keepalive_timeout_ns = channel->options.keepalive_timeout_ns,
    };

    channel->h2 = h2_client_new(channel->loop, stream, &options, &h2_events, channel);
}

static void on_handshake(void *owner, int err, struct stream *stream, struct str why)
{
    struct channel *channel = owner;

    channel->handshake = NULL;
    if (err) {
        fail(channel, err, str_is_empty(why) ? str_from(err_text(err)) : why);
        return;
    }
    speak_h2(channel, stream);
    channel->secured = stream;
}

static void secure(struct channel *channel, struct stream *tcp)
{
    const struct channel_options *options = &channel->options;
    struct tls_identity *own = options->identity ? options->identity(channel->owner) : NULL;
    struct tls_identity *anonymous = own ? NULL : tls_identity_anonymous();
    const struct tls_options tls = {
        .role = TLS_CLIENT,
        .identity = own ? own : anonymous,
        .trust = options->trust,
        .expected = &options->expected_id,
        .n_expected = 1,
    };

    channel->handshake = tls_handshake(channel->loop, tcp, &tls, on_handshake, channel);
    if (anonymous)
        tls_identity_unref(anonymous);
}

static void to_securing(struct channel *channel, struct stream *lower)
{
    sm_move(channel_rules, &channel->state, CHANNEL_SECURING);
    if (channel->options.plaintext)
        speak_h2(channel, lower);
    else
        secure(channel, lower);
}

/* ---- DIALING ---- */

static void connect_next(struct channel *channel);

static void on_connect(void *owner, int err, struct stream *stream)
{
    struct channel *channel = owner;

    channel->connect = NULL;
    if (!err)
        to_securing(channel, stream);
    else if (channel->next_addr < channel->n_addrs)
        connect_next(channel);
    else
        fail(channel, err, str_from(err_text(err)));
}

static void connect_next(struct channel *channel)
{
    const struct addr *remote = &channel->addrs[channel->next_addr++];
    const struct tcp_options options = {.mark = channel->options.mark};

    channel->connect = tcp_connect(channel->loop, remote, &options, on_connect, channel);
}

static void on_lookup(void *owner, int err, const struct addr *addrs, size_t n_addrs)
{
    struct channel *channel = owner;

    channel->lookup = NULL;
    if (err) {
        fail(channel, err, STR("the name of the server could not be looked up"));
        return;
    }
    for (size_t i = 0; i < n_addrs; i++)
        channel->addrs[i] = addrs[i];
    channel->n_addrs = n_addrs;
    channel->next_addr = 0;
    connect_next(channel);
}

static void dial(struct channel *channel)
{
    sm_move(channel_rules, &channel->state, CHANNEL_DIALING);
    if (!str_is_empty(channel->options.unix_path)) {
        channel->n_addrs = channel->next_addr = 0;
        channel->connect =
            unix_connect(channel->loop, channel->options.unix_path, on_connect, channel);
        return;
    }
    channel->lookup = lookup_start(channel->loop, channel->options.server.host,
                                   channel->options.server.port, on_lookup, channel);
}

static void on_timer(struct timer *timer)
{
    struct channel *channel = container_of(timer, struct channel, timer);

    if (channel->state == CHANNEL_RESTING) {
        dial(channel);
        return;
    }
    channel->rest_ns = REST_MIN_NS;
    to_resting(channel, true);
    channel->events.on_down(channel->owner, -ERR_SHUTDOWN, STR("the channel is dialed anew"));
}

/* ---- the owner's calls ---- */

struct channel *channel_open(struct loop *loop, const struct channel_options *options,
                             const struct channel_events *events, void *owner)
{
    struct channel *channel = mem_new(struct channel);

    channel->loop = loop;
    channel->options = *options;
    channel->options.server.host = arena_str(&channel->arena, options->server.host);
    channel->options.unix_path = arena_str(&channel->arena, options->unix_path);
    channel->options.expected_id = arena_str(&channel->arena, options->expected_id);
    channel->events = *events;
    channel->owner = owner;
    channel->rest_ns = REST_MIN_NS;
    timer_start(loop, &channel->timer, 0, on_timer);
    return channel;
}

static void channel_free(void *ptr)
{
    struct channel *channel = ptr;

    arena_fini(&channel->arena);
    mem_free(channel);
}

void channel_close(struct channel *channel)
{
    timer_stop(&channel->timer);
    drop(channel);
    loop_bury(channel->loop, channel, channel_free);
}

struct h2 *channel_h2(const struct channel *channel)
{
    return channel->state == CHANNEL_UP ? channel->h2 : NULL;
}

void channel_recheck(struct channel *channel, const struct trust *trust)
{
    const int err = channel->secured ? tls_recheck(channel->secured, trust) : 0;

    if (err < 0)
        fail(channel, err, str_from(err_text(err)));
}

void channel_redial(struct channel *channel)
{
    channel->rest_ns = REST_MIN_NS;
    timer_start(channel->loop, &channel->timer, 0, on_timer);
}
