/*
 * Happy path: ask -> connect -> flush -> answers -> pump -> on_answer. Failure modes: as the header
 * says; every query leaves by forget(), answered, failed or with the session.
 *
 * Queries wait in the order in which their time ends. A zone transfer is one query with many
 * answers: each moves it to the end of the line, and it leaves in silence when no more come.
 */
#include "proxy/dns/upstream.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/dns/frame.h"
#include "proxy/dns/wire.h"

#define TYPE_IXFR    251
#define TYPE_AXFR    252
#define OPCODE_QUERY 0
#define TIMEOUT_NS   (DNS_RELAY_TIMEOUT_MS * NS_PER_MS)

struct ask {
    struct dns_waiting waiting;
    struct list link; /* in upstream->asks */
    uint64_t deadline_ns;
    uint16_t client_id;
    bool is_sent, is_transfer, is_answered;
    size_t query_len;
    uint8_t frame[]; /* room for the length, then the query with our id */
};

struct dns_upstream {
    struct dns_context *context;
    const struct dns_upstream_events *events;
    void *owner;
    struct addr resolver;
    struct ip client;
    struct tcp_connect *connect; /* not both of */
    struct stream *stream;       /* these two */
    struct dns_framer framer;
    struct list asks;
    unsigned n_asks;
    struct timer deadline; /* of the first of them */
    bool is_full;          /* the stream's queue */
    bool has_answered;     /* this connection did */
    bool is_closed;
};

static struct str ask_query(const struct ask *ask)
{
    return str_of(ask->frame + DNS_FRAME_HEAD_BYTES, ask->query_len);
}

static void on_deadline(struct timer *timer);

static void arm(struct dns_upstream *upstream)
{
    timer_stop(&upstream->deadline);
    if (upstream->is_closed || list_is_empty(&upstream->asks))
        return;
    uint64_t now_ns = loop_now_ns(upstream->context->loop);
    uint64_t at_ns = list_entry(upstream->asks.next, struct ask, link)->deadline_ns;
    timer_start(upstream->context->loop, &upstream->deadline, at_ns > now_ns ? at_ns - now_ns : 0,
                on_deadline);
}

static void forget(struct dns_upstream *upstream, struct ask *ask)
{
    list_remove(&ask->link);
    upstream->n_asks--;
    dns_context_leave(upstream->context, &ask->waiting);
    loop_bury(upstream->context->loop, ask, mem_free);
    arm(upstream);
}

static void fail(struct dns_upstream *upstream, struct ask *ask)
{
    forget(upstream, ask); /* its memory stays until the end of the turn */
    if (ask->is_transfer && ask->is_answered)
        return;
    meter_add(upstream->context->meter, METRIC_DNS_UPSTREAM_FAILURES, 1);
    dns_set_id(ask->frame + DNS_FRAME_HEAD_BYTES, ask->client_id);
    upstream->events->on_failure(upstream->owner, ask_query(ask));
}

/* Fails the first in line as long as there is one that lasts no longer than until_ns. */
static void fail_until(struct dns_upstream *upstream, uint64_t until_ns)
{
    while (!upstream->is_closed && !list_is_empty(&upstream->asks)) {
        struct ask *first = list_entry(upstream->asks.next, struct ask, link);
        if (first->deadline_ns > until_ns)
            return;
        fail(upstream, first);
    }
}

static void disconnect(struct dns_upstream *upstream, int err)
{
    if (upstream->connect)
        tcp_connect_cancel(upstream->connect);
    if (upstream->stream)
        stream_close(upstream->stream, err);
    upstream->connect = NULL;
    upstream->stream = NULL;
    upstream->is_full = upstream->has_answered = false;
    dns_framer_fini(&upstream->framer);
}

/* A resolver that lets every query of a connection run out is given a new connection. */
static void on_deadline(struct timer *timer)
{
    struct dns_upstream *upstream = container_of(timer, struct dns_upstream, deadline);
    fail_until(upstream, loop_now_ns(upstream->context->loop));
    if (!upstream->is_closed && list_is_empty(&upstream->asks))
        disconnect(upstream, 0);
    arm(upstream);
}

static void flush(struct dns_upstream *upstream);

/* Asks for once more only what is harmless to ask twice and has not begun to be answered. */
static bool may_ask_again(const struct ask *ask)
{
    return !ask->is_answered && (!ask->is_sent || dns_opcode(ask_query(ask)) == OPCODE_QUERY);
}

static void lost(struct dns_upstream *upstream)
{
    bool is_worth_another = upstream->has_answered;
    disconnect(upstream, 0);
    list_foreach(link, &upstream->asks)
    {
        struct ask *ask = list_entry(link, struct ask, link);
        if (is_worth_another && may_ask_again(ask))
            ask->is_sent = false;
        else
            ask->deadline_ns = 0;
    }
    /* Those marked may stand behind others that go on: put in front, fail_until() finds them. */
    list_foreach(marked, &upstream->asks)
    {
        struct ask *ask = list_entry(marked, struct ask, link);
        if (ask->deadline_ns == 0) {
            list_remove(&ask->link);
            list_push_front(&upstream->asks, &ask->link);
        }
    }
    fail_until(upstream, 0);
    if (!upstream->is_closed)
        flush(upstream);
}

static struct ask *find_ask(struct dns_upstream *upstream, struct str answer)
{
    list_foreach(link, &upstream->asks)
    {
        struct ask *ask = list_entry(link, struct ask, link);
        if (!ask->is_sent)
            continue;
        if (dns_is_answer_to(answer, ask_query(ask)))
            return ask;
        /* RFC 5936 section 2.2: only the first message of a transfer must repeat the question. */
        if (ask->is_answered && answer.len >= DNS_HEADER_BYTES && dns_is_response(answer) &&
            dns_id(answer) == dns_id(ask_query(ask)))
            return ask;
    }
    return NULL;
}

static void prolong(struct dns_upstream *upstream, struct ask *ask)
{
    ask->is_answered = true;
    ask->deadline_ns = loop_now_ns(upstream->context->loop) + TIMEOUT_NS;
    list_remove(&ask->link);
    list_push_back(&upstream->asks, &ask->link);
    arm(upstream);
}

static void answered(struct dns_upstream *upstream, struct ask *ask, struct str answer)
{
    uint8_t *packet = dns_context_packet(upstream->context);
    memcpy(packet, answer.ptr, answer.len);
    dns_set_id(packet, ask->client_id);
    upstream->has_answered = true;
    if (ask->is_transfer)
        prolong(upstream, ask);
    else
        forget(upstream, ask);
    upstream->events->on_answer(upstream->owner, answer.len);
}

void dns_upstream_pump(struct dns_upstream *upstream)
{
    struct str message;
    while (!upstream->is_closed && upstream->stream &&
           upstream->events->has_room(upstream->owner) &&
           dns_framer_next(&upstream->framer, &message)) {
        struct ask *ask = find_ask(upstream, message);
        if (ask)
            answered(upstream, ask, message);
    }
    if (upstream->is_closed || !upstream->stream)
        return;
    if (dns_framer_is_drained(&upstream->framer))
        stream_resume(upstream->stream);
    else
        stream_pause(upstream->stream);
}

static void on_data(void *owner, struct slice bytes)
{
    struct dns_upstream *upstream = owner;
    dns_framer_feed(&upstream->framer, slice_ref(bytes));
    dns_upstream_pump(upstream);
}

static void on_end(void *owner)
{
    lost(owner);
}

static void on_drain(void *owner)
{
    struct dns_upstream *upstream = owner;
    upstream->is_full = false;
    flush(upstream);
}

static void on_fail(void *owner, int err)
{
    (void)err; /* whatever it was, the answers will not come */
    lost(owner);
}

static const struct stream_events stream_events = {on_data, on_end, on_drain, on_fail};

static void on_connected(void *owner, int err, struct stream *stream)
{
    struct dns_upstream *upstream = owner;
    upstream->connect = NULL;
    if (err < 0) {
        lost(upstream);
        return;
    }
    upstream->stream = stream;
    stream_set_owner(stream, &stream_events, upstream);
    struct addr local = tcp_local(stream);
    if (dns_is_ourselves(&upstream->resolver, &local.ip, upstream->context->tcp_port)) {
        lost(upstream);
        return;
    }
    stream_resume(stream);
    flush(upstream);
}

static void start_connect(struct dns_upstream *upstream)
{
    const struct tcp_options options = {.mark = upstream->context->options.mark,
                                        .timeout_ns = TIMEOUT_NS};
    upstream->connect =
        tcp_connect(upstream->context->loop, &upstream->resolver, &options, on_connected, upstream);
}

static void flush(struct dns_upstream *upstream)
{
    if (!upstream->stream) {
        if (!upstream->connect && !list_is_empty(&upstream->asks))
            start_connect(upstream);
        return;
    }
    list_foreach(link, &upstream->asks)
    {
        struct ask *ask = list_entry(link, struct ask, link);
        if (upstream->is_full)
            return;
        if (ask->is_sent)
            continue;
        ask->is_sent = true;
        upstream->is_full = !dns_frame_write(upstream->stream, ask->frame, ask->query_len);
    }
}

static bool is_id_taken(const struct dns_upstream *upstream, uint16_t id)
{
    list_foreach(link, &upstream->asks)
    {
        if (dns_id(ask_query(list_entry(link, struct ask, link))) == id)
            return true;
    }
    return false;
}

static uint16_t free_id(const struct dns_upstream *upstream)
{
    uint16_t id = dns_fresh_id();
    while (is_id_taken(upstream, id))
        id++;
    return id;
}

static bool is_transfer(struct str query)
{
    struct dns_question question;
    return dns_question_read(query, &question) &&
           (question.type == TYPE_AXFR || question.type == TYPE_IXFR);
}

static struct ask *ask_new(struct dns_upstream *upstream, struct str query)
{
    struct ask *ask = mem_zalloc(sizeof(*ask) + DNS_FRAME_HEAD_BYTES + query.len);
    ask->client_id = dns_id(query);
    ask->is_transfer = is_transfer(query);
    ask->deadline_ns = loop_now_ns(upstream->context->loop) + TIMEOUT_NS;
    ask->query_len = query.len;
    memcpy(ask->frame + DNS_FRAME_HEAD_BYTES, query.ptr, query.len);
    dns_set_id(ask->frame + DNS_FRAME_HEAD_BYTES, free_id(upstream));
    return ask;
}

struct dns_upstream *dns_upstream_open(struct dns_context *context, const struct addr *resolver,
                                       const struct ip *client,
                                       const struct dns_upstream_events *events, void *owner)
{
    struct dns_upstream *upstream = mem_new(struct dns_upstream);
    upstream->context = context;
    upstream->resolver = *resolver;
    upstream->client = *client;
    upstream->events = events;
    upstream->owner = owner;
    list_init(&upstream->asks);
    return upstream;
}

bool dns_upstream_ask(struct dns_upstream *upstream, struct str query)
{
    struct dns_context *context = upstream->context;
    meter_add(context->meter, METRIC_DNS_UPSTREAM_REQUESTS, 1);
    struct ask *ask = ask_new(upstream, query);
    if (ip_is_none(&upstream->resolver.ip) || upstream->resolver.port == 0 ||
        !dns_context_admit(context, &ask->waiting, &upstream->client)) {
        meter_add(context->meter, METRIC_DNS_UPSTREAM_FAILURES, 1);
        mem_free(ask);
        return false;
    }
    list_push_back(&upstream->asks, &ask->link);
    upstream->n_asks++;
    arm(upstream);
    flush(upstream);
    return true;
}

unsigned dns_upstream_waiting(const struct dns_upstream *upstream)
{
    return upstream->n_asks;
}

void dns_upstream_close(struct dns_upstream *upstream)
{
    ensure(!upstream->is_closed);
    upstream->is_closed = true;
    while (!list_is_empty(&upstream->asks))
        forget(upstream, list_entry(upstream->asks.next, struct ask, link));
    timer_stop(&upstream->deadline);
    disconnect(upstream, 0);
    loop_bury(upstream->context->loop, upstream, mem_free);
}
