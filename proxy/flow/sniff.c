/*
 * Happy path: sniff_begin -> on_data -> on_sniffed -> the flow is served or connected ->
 * sniff_repeat. Failure modes: the client leaves meanwhile, which ends the flow; time runs out, and
 * it is bytes.
 */
#include "proxy/flow/sniff.h"

#include "proxy/base/ascii.h"
#include "proxy/base/mem.h"

#define PREFACE     "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
#define PREFACE_LEN (sizeof PREFACE - 1)

struct sniff {
    struct flow *flow;
    const struct sniff_events *events;
    struct timer timer;
    struct slice pieces[PREFACE_LEN]; /* at least a byte each, and the last one decides */
    size_t n_pieces, n_first;
    char first[PREFACE_LEN];
    bool has_ended, is_done;
};

/* ---- what it is ---- */

static bool begins_alike(struct str text, struct str whole)
{
    const size_t len = text.len < whole.len ? text.len : whole.len;
    return str_eq(str_sub(text, 0, len), str_sub(whole, 0, len));
}

/* A method, and behind it what a target begins with. */
static enum sniffed look_for_method(struct str first, struct str method)
{
    if (!begins_alike(first, method))
        return SNIFFED_BYTES;
    if (first.len <= method.len)
        return SNIFFED_NOTHING;
    const char c = first.ptr[method.len];
    const bool is_host = ascii_is_alnum(c) || c == '[';
    return c == '/' || c == '*' || is_host ? SNIFFED_HTTP_1 : SNIFFED_BYTES;
}

enum sniffed sniff_look(struct str first)
{
    static const char *const methods[] = {"GET ",     "HEAD ",    "POST ",  "PUT ",  "DELETE ",
                                          "CONNECT ", "OPTIONS ", "TRACE ", "PATCH "};
    if (begins_alike(first, STR(PREFACE)))
        return first.len >= PREFACE_LEN ? SNIFFED_HTTP_2 : SNIFFED_NOTHING;
    for (size_t i = 0; i < ARRAY_LEN(methods); i++) {
        const enum sniffed sniffed = look_for_method(first, str_from(methods[i]));
        if (sniffed != SNIFFED_BYTES)
            return sniffed;
    }
    return SNIFFED_BYTES;
}

/* ---- while it is looked at ---- */

static void decide(struct sniff *sniff, enum sniffed sniffed)
{
    struct flow *flow = sniff->flow;
    timer_stop(&sniff->timer);
    stream_pause(flow->arrival->stream);
    sniff->is_done = true;
    flow->work = NULL;
    sniff->events->on_sniffed(flow, sniffed);
}

static void on_data(void *owner, struct slice bytes)
{
    struct sniff *sniff = owner;
    if (sniff->is_done || sniff->n_pieces == PREFACE_LEN) {
        sniff->events->on_lost(sniff->flow, -ERR_INVALID); /* paused: nothing comes */
        return;
    }
    sniff->pieces[sniff->n_pieces++] = slice_ref(bytes);
    for (size_t i = 0; i < bytes.len && sniff->n_first < PREFACE_LEN; i++)
        sniff->first[sniff->n_first++] = (char)bytes.ptr[i];
    const enum sniffed sniffed = sniff_look(str_of(sniff->first, sniff->n_first));
    if (sniffed != SNIFFED_NOTHING)
        decide(sniff, sniffed);
}

static void on_end(void *owner)
{
    struct sniff *sniff = owner;
    sniff->has_ended = true;
    if (!sniff->is_done)
        decide(sniff, SNIFFED_BYTES);
}

static void on_fail(void *owner, int err)
{
    struct sniff *sniff = owner;
    sniff->events->on_lost(sniff->flow,
                           err == -ERR_RESET || err == -ERR_EOF ? -ERR_CLIENT_RESET : err);
}

static const struct stream_events first_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_fail = on_fail,
};

static void on_timeout(struct timer *timer)
{
    decide(container_of(timer, struct sniff, timer), SNIFFED_BYTES);
}

/* ---- as the flow's work ---- */

static struct totals no_totals(const struct flow *flow)
{
    (void)flow;
    return (struct totals){0};
}

static struct totals end_work(struct flow *flow, int err)
{
    timer_stop(&flow->sniff->timer);
    flow->work = NULL;
    return (struct totals){.err = err};
}

static void no_recheck(struct flow *flow)
{
    (void)flow; /* nothing was decided yet */
}

static const struct flow_work sniff_work = {
    .end = end_work,
    .totals = no_totals,
    .recheck = no_recheck,
    .drain = no_recheck,
};

void sniff_begin(struct flow *flow, uint64_t detect_ns, const struct sniff_events *events)
{
    struct sniff *sniff = mem_new(struct sniff);
    sniff->flow = flow;
    sniff->events = events;
    flow->sniff = sniff;
    flow->work = &sniff_work;
    timer_start(flow->call.walk->tools.loop, &sniff->timer, detect_ns, on_timeout);
    stream_set_owner(flow->arrival->stream, &first_events, sniff);
    stream_resume(flow->arrival->stream);
}

void sniff_repeat(struct flow *flow, struct stream *client)
{
    struct sniff *sniff = flow->sniff;
    if (!sniff)
        return;
    for (size_t i = 0; i < sniff->n_pieces && flow->state != FLOW_CLOSED; i++)
        client->events->on_data(client->owner, sniff->pieces[i]);
    if (sniff->has_ended && flow->state != FLOW_CLOSED)
        client->events->on_end(client->owner);
    if (flow->state != FLOW_CLOSED)
        sniff_end(flow);
}

static void free_sniff(void *ptr)
{
    mem_free(ptr);
}

void sniff_end(struct flow *flow)
{
    struct sniff *sniff = flow->sniff;
    if (!sniff)
        return;
    flow->sniff = NULL;
    timer_stop(&sniff->timer);
    for (size_t i = 0; i < sniff->n_pieces; i++)
        slice_release(sniff->pieces[i]);
    loop_bury(flow->call.walk->tools.loop, sniff, free_sniff);
}
