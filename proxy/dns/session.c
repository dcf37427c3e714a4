/*
 * Happy path: on_data -> pump: query after query -> answers, at once or from the upstream -> the
 * client's end -> what waits is answered -> close. Failure modes: the client resets, is silent,
 * does not read, sends what is no DNS: closed, and what waits is forgotten.
 */
#include "proxy/dns/session.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/dns/frame.h"
#include "proxy/dns/upstream.h"

struct session {
    struct list link; /* in sessions->list */
    struct dns_sessions *sessions;
    struct stream *stream;
    struct dns_framer framer;
    struct dns_upstream *upstream; /* NULL until something is relayed */
    struct timer idle;
    struct addr client, asked;
    bool is_full;  /* the client does not take its answers */
    bool is_ended; /* the client will send no more */
    bool is_closed;
};

static unsigned waiting(const struct session *session)
{
    return session->upstream ? dns_upstream_waiting(session->upstream) : 0;
}

static void session_close(struct session *session, int err)
{
    if (session->is_closed)
        return;
    session->is_closed = true;
    timer_stop(&session->idle);
    list_remove(&session->link);
    session->sessions->len--;
    if (session->upstream)
        dns_upstream_close(session->upstream);
    dns_framer_fini(&session->framer);
    if (err == 0)
        stream_shutdown(session->stream);
    stream_close(session->stream, err);
    loop_bury(session->sessions->context->loop, session, mem_free);
}

static void on_idle(struct timer *timer)
{
    struct session *session = container_of(timer, struct session, idle);
    session_close(session, session->is_full ? -ERR_IDLE_TIMEOUT : 0);
}

/* Something whole came or went: the session lives on, and is the last to make room for another. */
static void touch(struct session *session)
{
    struct dns_sessions *sessions = session->sessions;
    timer_start(sessions->context->loop, &session->idle, DNS_TCP_IDLE_MS * NS_PER_MS, on_idle);
    list_remove(&session->link);
    list_push_back(&sessions->list, &session->link);
}

static void close_if_done(struct session *session)
{
    if (session->is_ended && !session->is_closed && waiting(session) == 0)
        session_close(session, 0);
}

/* Sends what stands in the context's packet. */
static void send_packet(struct session *session, size_t len)
{
    uint8_t *frame = session->sessions->context->frame;
    session->is_full = !dns_frame_write(session->stream, frame, len);
}

static void send_servfail(struct session *session, struct str query)
{
    size_t len;
    if (dns_servfail(query, dns_context_packet(session->sessions->context), &len))
        send_packet(session, len);
}

static bool may_take(const struct session *session)
{
    return !session->is_closed && !session->is_full && waiting(session) < DNS_TCP_PIPELINE;
}

static void pump(struct session *session);

static bool has_room(void *owner)
{
    const struct session *session = owner;
    return !session->is_full;
}

static void on_answer(void *owner, size_t len)
{
    struct session *session = owner;
    send_packet(session, len);
    touch(session);
    pump(session);
}

static void on_failure(void *owner, struct str query)
{
    struct session *session = owner;
    if (session->is_full) { /* it did not read for as long as a query may last */
        session_close(session, -ERR_IDLE_TIMEOUT);
        return;
    }
    send_servfail(session, query);
    pump(session);
}

static const struct dns_upstream_events upstream_events = {has_room, on_answer, on_failure};

static void relay(struct session *session, struct str query)
{
    struct dns_context *context = session->sessions->context;
    if (!session->upstream) {
        struct addr resolver = dns_context_resolver(context, &session->asked);
        session->upstream =
            dns_upstream_open(context, &resolver, &session->client.ip, &upstream_events, session);
    }
    if (!dns_upstream_ask(session->upstream, query))
        send_servfail(session, query);
}

static void handle(struct session *session, struct str query)
{
    size_t len;
    touch(session);
    switch (dns_context_answer(session->sessions->context, query, &session->asked, true, &len)) {
    case DNS_ANSWERED: send_packet(session, len); break;
    case DNS_RELAY: relay(session, query); break;
    case DNS_DROP: session_close(session, -ERR_INVALID); break;
    }
}

static void pump(struct session *session)
{
    struct str query;
    while (may_take(session) && dns_framer_next(&session->framer, &query))
        handle(session, query);
    if (session->is_closed)
        return;
    if (dns_framer_is_drained(&session->framer) && may_take(session))
        stream_resume(session->stream);
    else
        stream_pause(session->stream);
    close_if_done(session);
}

static void on_data(void *owner, struct slice bytes)
{
    struct session *session = owner;
    dns_framer_feed(&session->framer, slice_ref(bytes));
    pump(session);
}

static void on_end(void *owner)
{
    struct session *session = owner;
    session->is_ended = true;
    close_if_done(session);
}

static void on_drain(void *owner)
{
    struct session *session = owner;
    session->is_full = false;
    touch(session);
    if (session->upstream)
        dns_upstream_pump(session->upstream);
    if (!session->is_closed)
        pump(session);
}

static void on_fail(void *owner, int err)
{
    session_close(owner, err);
}

static const struct stream_events stream_events = {on_data, on_end, on_drain, on_fail};

static size_t count_of(const struct dns_sessions *sessions, const struct ip *client)
{
    size_t n = 0;
    list_foreach(link, &sessions->list)
    {
        n += ip_eq(&list_entry(link, struct session, link)->client.ip, client);
    }
    return n;
}

/* Of those that have nothing to wait for, of a client or, client NULL, of anybody. */
static struct session *quietest(const struct dns_sessions *sessions, const struct ip *client)
{
    list_foreach(link, &sessions->list)
    {
        struct session *session = list_entry(link, struct session, link);
        if (waiting(session) == 0 && !session->is_full &&
            (!client || ip_eq(&session->client.ip, client)))
            return session;
    }
    return NULL;
}

/* Room for one more session of a client: what it has itself goes before what others have. */
static bool make_room(struct dns_sessions *sessions, const struct ip *client)
{
    const bool has_its_share = count_of(sessions, client) >= DNS_TCP_PER_CLIENT;
    if (!has_its_share && sessions->len < DNS_TCP_CLIENTS)
        return true;
    struct session *victim = quietest(sessions, client);
    if (!victim && !has_its_share)
        victim = quietest(sessions, NULL);
    if (!victim)
        return false;
    session_close(victim, 0);
    return true;
}

void dns_sessions_init(struct dns_sessions *sessions, struct dns_context *context)
{
    *sessions = (struct dns_sessions){.context = context};
    list_init(&sessions->list);
}

void dns_sessions_take(struct dns_sessions *sessions, struct stream *stream)
{
    const struct addr client = tcp_remote(stream);
    if (!make_room(sessions, &client.ip)) {
        meter_add(sessions->context->meter, METRIC_FLOWS_SHED, 1);
        stream_close(stream, -ERR_OVERLOAD);
        return;
    }
    struct session *session = mem_new(struct session);
    session->sessions = sessions;
    session->stream = stream;
    session->client = client;
    session->asked = tcp_local(stream);
    list_push_back(&sessions->list, &session->link);
    sessions->len++;
    stream_set_owner(stream, &stream_events, session);
    touch(session);
    stream_resume(stream);
}

void dns_sessions_fini(struct dns_sessions *sessions)
{
    while (!list_is_empty(&sessions->list))
        session_close(list_entry(sessions->list.next, struct session, link), -ERR_SHUTDOWN);
}
