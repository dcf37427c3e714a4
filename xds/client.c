/*
 * client.c - one delta engine, on whatever connection is up.
 *
 * The stream counts as up once the server took it (its head or a message came), or after it has
 * lived for PROBATION_NS, since some servers send no head before they have something to say. So a
 * server that refuses every stream never makes a peer look alive; and one that ends each of them
 * sooner is asked after rests that grow, since a first request lists all that is held.
 */
#include "xds/client.h"

#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/grpc.h"
#include "xds/held_file.h"

#define DELTA_PATH   "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#define PROBATION_NS (2 * NS_PER_SEC)
#define SAVE_NS      (1 * NS_PER_SEC)
#define SAVE_SHARE   100 /* of the time, saving may take a hundredth: the loop waits for the disk */
#define SAVE_MAX_NS  (30 * NS_PER_SEC)
#define RETRY_MIN_NS (100 * NS_PER_MS)
#define RETRY_MAX_NS (15 * NS_PER_SEC)
#define STATE_MODE   0600

struct xds_client {
    struct loop *loop;
    struct arena arena;
    struct str state_file;
    struct meter *meter;
    struct xds_client_events events;
    void *owner;
    struct delta_client *delta;
    struct h2 *h2;          /* NULL while the channel is down */
    struct grpc_call *call; /* NULL while there is no stream */
    bool is_connected;
    bool has_news; /* the owner was not told of a change yet, since more of it was to follow */
    bool is_unsaved;
    bool save_failed;      /* the last time: told once */
    uint64_t save_took_ns; /* the last time */
    uint64_t retry_ns;
    uint64_t begun_ns; /* the stream */
    struct timer retry, probation, settle, save;
};

static void count(struct xds_client *client, enum metric metric, int64_t delta)
{
    if (client->meter)
        meter_add(client->meter, metric, delta);
}

/* ---- what changed ---- */

static int write_state(struct xds_client *client)
{
    const uint64_t begun_ns = clock_mono_ns();
    struct text file = {0};
    int err;

    delta_client_save(client->delta, &file);
    err = file.truncated ? -ERR_LIMIT
                         : file_write_atomic(client->state_file, text_str(&file), STATE_MODE);
    text_fini(&file);
    client->save_took_ns = clock_mono_ns() - begun_ns;
    return err;
}

static void on_save(struct timer *timer)
{
    struct xds_client *client = container_of(timer, struct xds_client, save);
    int err = write_state(client);

    if (!err) {
        client->is_unsaved = client->save_failed = false;
        return;
    }
    if (!client->save_failed)
        log_error("the state of the control stream could not be written; it stays in memory",
                  log_str("file", client->state_file), log_cstr("error", file_why(err)));
    client->save_failed = true;
    timer_start(client->loop, &client->save, RETRY_MAX_NS, on_save);
}

/* A large state under steady change is written less often. */
static uint64_t save_after_ns(const struct xds_client *client)
{
    const uint64_t after_ns = client->save_took_ns * SAVE_SHARE;
    if (after_ns < SAVE_NS)
        return SAVE_NS;
    return after_ns < SAVE_MAX_NS ? after_ns : SAVE_MAX_NS;
}

static void on_settled(struct timer *timer)
{
    struct xds_client *client = container_of(timer, struct xds_client, settle);

    client->events.on_change(client->owner);
}

static void note_change(struct xds_client *client)
{
    if (!timer_is_running(&client->settle))
        timer_start(client->loop, &client->settle, CLIENT_SETTLE_MS * NS_PER_MS, on_settled);
    if (str_is_empty(client->state_file) || !delta_client_is_synced(client->delta))
        return;
    client->is_unsaved = true;
    if (!timer_is_running(&client->save))
        timer_start(client->loop, &client->save, save_after_ns(client), on_save);
}

/* ---- the stream ---- */

static void start_stream(struct xds_client *client);

static void set_connected(struct xds_client *client, bool is_connected)
{
    timer_stop(&client->probation);
    if (client->is_connected == is_connected)
        return;
    client->is_connected = is_connected;
    count(client, METRIC_XDS_CONNECTED, is_connected ? 1 : -1);
    client->events.on_connected(client->owner, is_connected);
}

static void on_retry(struct timer *timer)
{
    start_stream(container_of(timer, struct xds_client, retry));
}

static void retry_later(struct xds_client *client)
{
    uint32_t half_us = (uint32_t)(client->retry_ns / 2000);
    uint64_t after_us = half_us + rng_below(loop_rng(client->loop), half_us);

    timer_start(client->loop, &client->retry, after_us * 1000, on_retry);
    client->retry_ns = client->retry_ns > RETRY_MAX_NS / 2 ? RETRY_MAX_NS : client->retry_ns * 2;
}

/* The stream is gone; the next one comes when there is a connection for it. */
static void stream_ended(struct xds_client *client)
{
    client->call = NULL;
    count(client, METRIC_XDS_TERMINATIONS, 1);
    if (loop_now_ns(client->loop) - client->begun_ns >= PROBATION_NS)
        client->retry_ns = RETRY_MIN_NS;
    /* What was to follow may never come: a part of a change is better than none. */
    if (client->has_news && delta_client_is_synced(client->delta)) {
        client->has_news = false;
        note_change(client);
    }
    if (client->h2)
        retry_later(client);
    set_connected(client, false);
}

static void on_end(void *owner, int status, struct str message)
{
    struct xds_client *client = owner;

    log_info("the control stream ended", log_u64("status", (uint64_t)status),
             log_str("why", message));
    stream_ended(client);
}

static void send_message(void *owner, struct str message)
{
    struct xds_client *client = owner;

    if (message.len <= GRPC_MESSAGE_MAX)
        (void)grpc_send(client->call,
                        message); /* one answer a response: the server sets the pace */
}

static void take_outcome(struct xds_client *client, struct delta_outcome *outcome, bool was_synced)
{
    if (outcome->nacked) {
        count(client, METRIC_XDS_NACKS, 1);
        log_warn("resources of the control stream were refused",
                 log_cstr("type", xds_type_url(outcome->type)),
                 log_u64("refused", outcome->n_refused), log_str("why", text_str(&outcome->why)));
    }
    text_fini(&outcome->why);
    client->has_news |= outcome->changed || delta_client_is_synced(client->delta) != was_synced;
    if (!client->has_news || outcome->more_follows)
        return;
    client->has_news = false;
    note_change(client);
}

static void on_message(void *owner, struct str bytes)
{
    struct xds_client *client = owner;
    bool was_synced = delta_client_is_synced(client->delta);
    struct delta_outcome outcome = {0};

    count(client, METRIC_XDS_MESSAGES, 1);
    count(client, METRIC_XDS_BYTES, (int64_t)bytes.len);
    if (delta_client_receive(client->delta, bytes, send_message, client, &outcome)) {
        log_error("the control stream sent bytes that are no response; it is begun anew");
        grpc_cancel(client->call);
        stream_ended(client);
        return;
    }
    take_outcome(client, &outcome, was_synced);
    set_connected(client, true);
}

static void on_accepted(void *owner)
{
    set_connected(owner, true);
}

static void on_probation(struct timer *timer)
{
    set_connected(container_of(timer, struct xds_client, probation), true);
}

static const struct grpc_events call_events = {
    .on_message = on_message,
    .on_end = on_end,
    .on_accepted = on_accepted,
};

static void start_stream(struct xds_client *client)
{
    if (!client->h2 || client->call)
        return;
    client->call =
        grpc_start(client->loop, client->h2, STR(DELTA_PATH), NULL, 0, 0, &call_events, client);
    if (!client->call) {
        retry_later(client);
        return;
    }
    client->begun_ns = loop_now_ns(client->loop);
    timer_start(client->loop, &client->probation, PROBATION_NS, on_probation);
    delta_client_connected(client->delta, send_message, client);
}

void xds_client_channel_up(struct xds_client *client, struct h2 *h2)
{
    client->h2 = h2;
    client->retry_ns = RETRY_MIN_NS;
    timer_stop(&client->retry);
    start_stream(client);
}

void xds_client_channel_down(struct xds_client *client)
{
    client->h2 = NULL;
    timer_stop(&client->retry);
    if (!client->call)
        return;
    grpc_cancel(client->call);
    stream_ended(client);
}

/* ---- birth and death ---- */

static void load_state(struct xds_client *client)
{
    struct text file = {.limit = HELD_FILE_MAX_BYTES}, why = {0};
    int err = file_read_all(client->state_file, HELD_FILE_MAX_BYTES, &file);

    if (err == -ERR_NOT_FOUND) {
        log_info("there is no saved state of the control stream yet",
                 log_str("file", client->state_file));
    } else if (err) {
        log_warn("the saved state of the control stream could not be read",
                 log_str("file", client->state_file), log_cstr("error", file_why(err)));
    } else if (delta_client_load(client->delta, text_str(&file), &why)) {
        log_warn("the saved state of the control stream was refused",
                 log_str("file", client->state_file), log_str("why", text_str(&why)));
    } else {
        timer_start(client->loop, &client->settle, 0, on_settled);
    }
    text_fini(&file);
    text_fini(&why);
}

struct xds_client *xds_client_open(struct loop *loop, const struct xds_client_options *options,
                                   struct meter *meter, const struct xds_client_events *events,
                                   void *owner)
{
    struct xds_client *client = mem_new(struct xds_client);

    client->loop = loop;
    client->state_file = arena_str(&client->arena, options->state_file);
    client->meter = meter;
    client->events = *events;
    client->owner = owner;
    client->retry_ns = RETRY_MIN_NS;
    client->delta = delta_client_new(options->node_id, options->cluster, options->subscribed);
    delta_client_limit(client->delta, options->max_bytes);
    if (!str_is_empty(client->state_file))
        load_state(client);
    return client;
}

static void client_free(void *ptr)
{
    struct xds_client *client = ptr;

    delta_client_free(client->delta);
    arena_fini(&client->arena);
    mem_free(client);
}

void xds_client_close(struct xds_client *client)
{
    timer_stop(&client->retry);
    timer_stop(&client->probation);
    timer_stop(&client->settle);
    timer_stop(&client->save);
    if (client->call)
        grpc_cancel(client->call);
    if (client->is_connected)
        count(client, METRIC_XDS_CONNECTED, -1);
    int err = client->is_unsaved ? write_state(client) : 0;
    if (err)
        log_error("the state of the control stream could not be written",
                  log_str("file", client->state_file), log_cstr("error", file_why(err)));
    loop_bury(client->loop, client, client_free);
}

void xds_client_mark(struct xds_client *client)
{
    delta_client_mark(client->delta);
}

const struct delta_client *xds_client_state(const struct xds_client *client)
{
    return client->delta;
}

bool xds_client_is_connected(const struct xds_client *client)
{
    return client->is_connected;
}

void xds_client_clear(struct xds_client *client)
{
    delta_client_clear(client->delta);
    note_change(client);
    /* The server believes that this stream has everything: only a new one brings it again. */
    if (client->call) {
        grpc_cancel(client->call);
        stream_ended(client);
    }
}
