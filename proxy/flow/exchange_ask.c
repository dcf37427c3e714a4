/*
 * An endpoint is looked for, asked, and answers.
 *
 * Happy path: an attempt (attempt.c), or a link that is there -> ask ->
 * on_response -> the pump moves both bodies -> on_pumped. Failure modes: everything that goes wrong
 * before the answer's head is answered here, with a status and its reason, unless it can be tried
 * again; afterwards the client is cut, so that it does not take half an answer for a whole one.
 */
#include "proxy/base/clock.h"
#include "proxy/flow/exchange_parts.h"
#include "proxy/flow/mirror.h"
#include "proxy/flow/retry.h"
#include "proxy/meter/meter.h"

#define STATUS_SWITCHING 101

static struct exchange *of_call(struct call *call)
{
    return container_of(call, struct exchange, call);
}

static struct exchange *of_pump(void *owner)
{
    return container_of((struct pump *)owner, struct exchange, pump);
}

/* ---- trying again ---- */

void exchange_seek(struct exchange *exchange)
{
    struct tried *tried = &exchange->call.search->tried;
    int err =
        exchange->side->is_here ? exchange_approach(exchange) : attempt_outbound(&exchange->call);
    if (err == -ERR_NO_HEALTHY_UPSTREAM && tried->len > 0) {
        tried->len = 0; /* it is nobody but the one that answered badly: better than nobody */
        err = attempt_outbound(&exchange->call);
    }
    if (err < 0)
        exchange_end(exchange, err, (struct str){0});
}

static void on_backoff(struct timer *timer)
{
    exchange_seek(container_of(timer, struct exchange, backoff));
}

void exchange_seek_later(struct exchange *exchange, uint64_t after_ns)
{
    timer_start(exchange->call.walk->tools.loop, &exchange->backoff, after_ns, on_backoff);
}

static uint64_t pause_ns(const struct exchange *exchange)
{
    return retry_pause_ns(&exchange->route.retry, exchange->n_retries,
                          loop_rng(exchange->call.walk->tools.loop));
}

/* Nothing of the body was sent, or all that was is kept, so that it can be said again. */
static bool is_whole(const struct exchange *exchange)
{
    return replay_has(&exchange->replay, exchange->pump.up.bytes);
}

/* The request may have been acted on, unless it has a body of which nothing was sent. It is sent
 * twice only if that is the same as once (RFC 9110 9.2.2), or the route names the very answer. */
static bool is_repeatable(const struct exchange *exchange, unsigned on)
{
    static const char *const idempotent[] = {"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"};
    const unsigned named = ROUTE_RETRY_CODES | ROUTE_RETRY_GRPC_CANCELLED |
                           ROUTE_RETRY_GRPC_DEADLINE | ROUTE_RETRY_GRPC_INTERNAL |
                           ROUTE_RETRY_GRPC_EXHAUSTED | ROUTE_RETRY_GRPC_UNAVAILABLE;
    const bool is_begun = !exchange->head.has_body || exchange->pump.up.bytes > 0;
    bool may = !is_begun || (exchange->route.retry.on & on & named) != 0;
    for (size_t i = 0; i < ARRAY_LEN(idempotent) && !may; i++)
        may = str_eq(exchange->method, str_from(idempotent[i]));
    return may && is_whole(exchange);
}

/* Gives up the endpoint and looks for another. */
static void try_elsewhere(struct exchange *exchange, enum lease_outcome outcome, int err,
                          uint64_t after_ns)
{
    struct call *call = &exchange->call;
    exchange->is_said = exchange->is_said || exchange->pump.up.ended;
    (void)exchange_close_server(exchange, err);
    timer_stop(&exchange->attempt);
    if (outcome != LEASE_UNUSED && call->search->tried.len < PICK_TRIES_MAX && call->lease.key != 0)
        call->search->tried.keys[call->search->tried.len++] = call->lease.key;
    lease_return(exchange_balancer(exchange), &call->lease, outcome, call_now_ns(call));
    http_stream_set_owner(exchange->client, NULL, &exchange_waiting_events, exchange);
    exchange->status = 0;
    exchange_move(exchange, EXCHANGE_SEEKING);
    call->search->since_ns = call_now_ns(call) + after_ns;
    meter_add(call->walk->tools.meter, METRIC_EXCHANGE_RETRIES, 1);
    exchange_seek_later(exchange, after_ns);
}

/* By the route's word, and within its bound. */
static bool may_retry(struct exchange *exchange, unsigned on)
{
    const struct route_retry *retry = &exchange->route.retry;
    exchange->is_spent = (retry->on & on) != 0 && exchange->n_retries >= retry->attempts;
    if (!(retry->on & on) || exchange->is_spent || !is_repeatable(exchange, on))
        return false;
    exchange->n_retries++;
    return true;
}

/* ---- the answer ---- */

/* The head that the client gets: edited by the route, with the cookie by which it comes back. */
static struct http_fields answer_fields(struct exchange *exchange, const struct http_fields *from)
{
    const struct route_decision *route = &exchange->route;
    struct arena *arena = &exchange->call.arena;
    const struct http_fields edited = route_edit(from, &route->response_edits, arena);
    if (str_is_empty(route->hash.set_cookie))
        return edited;
    struct http_field *fields = arena_new_array(arena, struct http_field, edited.len + 1);
    for (size_t i = 0; i < edited.len; i++)
        fields[i] = edited.at[i];
    fields[edited.len] = (struct http_field){STR("set-cookie"), route->hash.set_cookie};
    return (struct http_fields){.at = fields, .len = edited.len + 1};
}

static void on_response(void *owner, const struct http_response *head)
{
    struct exchange *exchange = of_pump(owner);
    struct call *call = &exchange->call;
    const uint64_t now_ns = call_now_ns(call);
    const struct route_retry *retry = &exchange->route.retry;
    const struct str grpc_status = http_find(&head->fields, "grpc-status");
    exchange->status = head->status;
    if (retry->on && may_retry(exchange, retry_reasons(retry, head))) {
        const uint64_t asked_ns = retry_after_ns(head, clock_wall_ns() / (int64_t)NS_PER_SEC);
        const uint64_t span_ns = pause_ns(exchange);
        try_elsewhere(exchange, LEASE_RESET, -ERR_RESET, asked_ns > span_ns ? asked_ns : span_ns);
        return;
    }
    replay_drop(&exchange->replay, &call->walk->replay_bytes);
    exchange->answered_ns = now_ns;
    if (head->status < 500)
        lease_sample(exchange_balancer(exchange), &call->lease, now_ns - exchange->asked_ns,
                     now_ns);
    exchange_move(exchange, EXCHANGE_ANSWERED);
    timer_stop(&exchange->attempt);
    if (head->status == STATUS_SWITCHING) /* what follows has no end to be timed */
        timer_stop(&exchange->deadline);
    exchange->pump.options.ends_with_server = head->status != STATUS_SWITCHING;
    if (!str_is_empty(grpc_status))
        exchange->grpc_status = arena_str(&call->arena, grpc_status);
    struct http_response answer = *head;
    answer.fields = answer_fields(exchange, &head->fields);
    http_respond(exchange->client, &answer);
}

static void on_interim(void *owner, const struct http_response *head)
{
    http_interim(of_pump(owner)->client, head);
}

static void on_client_trailers(void *owner, const struct http_fields *trailers)
{
    struct exchange *exchange = of_pump(owner);
    exchange->up_trailers = http_fields_copy(trailers, &exchange->call.arena);
}

static void on_server_trailers(void *owner, const struct http_fields *trailers)
{
    struct exchange *exchange = of_pump(owner);
    exchange->down_trailers = http_fields_copy(trailers, &exchange->call.arena);
    exchange->grpc_status = http_find(&exchange->down_trailers, "grpc-status");
}

static const struct http_stream_events client_http_events = {.on_trailers = on_client_trailers};
static const struct http_stream_events server_http_events = {
    .on_interim = on_interim,
    .on_response = on_response,
    .on_trailers = on_server_trailers,
};

/* A direction ends, with the trailers that came: a pod's with those that it may have, which may be
 * others than the pod had that was asked before it. */
static void shut(void *owner, struct stream *to)
{
    struct exchange *exchange = owner;
    const bool is_up = exchange->server && to == &exchange->server->stream;
    if (is_up && !list_is_empty(&exchange->copies))
        mirrors_end(&exchange->copies);
    const struct http_fields trailers =
        is_up ? exchange_trailers(exchange) : exchange->down_trailers;
    if (trailers.len > 0)
        http_trailers(is_up ? exchange->server : exchange->client, &trailers);
    else
        stream_shutdown(to);
}

/* A body that a second try may need: of a request whose route wants one, until it is answered. */
static bool keeps_body(const struct exchange *exchange)
{
    return exchange->route.retry.attempts > 0 && exchange->head.has_body &&
           str_is_empty(exchange->head.protocol) && exchange->state < EXCHANGE_ANSWERED;
}

static void on_client_data(void *owner, struct slice bytes)
{
    struct exchange *exchange = owner;
    struct walk *walk = exchange->call.walk;
    if (exchange->is_repeating)
        return;
    mirrors_say(&exchange->copies, bytes);
    if (keeps_body(exchange))
        replay_keep(&exchange->replay, &walk->replay_bytes, loop_slabs(walk->tools.loop), bytes);
}

/* What another endpoint was told already, as if the client said it now. */
static void say_again(struct exchange *exchange)
{
    const struct stream *client = &exchange->client->stream;
    exchange->is_repeating = true;
    replay_say(&exchange->replay, client->events->on_data, client->owner);
    exchange->is_repeating = false;
    if (exchange->is_said)
        client->events->on_end(client->owner);
}

static void on_pumped(void *owner, const struct totals *totals)
{
    struct exchange *exchange = owner;
    exchange->client = NULL;
    exchange->server = NULL;
    http_link_ended(exchange->link);
    exchange_conclude(exchange, totals, (struct str){0});
}

/* The far side promised that it did nothing, or the connection was one that rested: nobody is to
 * blame, and it costs none of the route's attempts. */
static bool was_not_acted_on(const struct exchange *exchange, int err)
{
    return err == -ERR_H2_REFUSED && is_whole(exchange) &&
           exchange->call.n_attempts < exchange->call.search->patience.max_attempts;
}

/* HTTP/1.1 has no word for that: it was a guess, good enough for asking again where that does no
 * harm, but no promise to pass on. */
static int told_of(const struct exchange *exchange, int err)
{
    return err == -ERR_H2_REFUSED && !exchange->speaks_h2 ? -ERR_UPSTREAM_RESET : err;
}

static void count_refused(const struct exchange *exchange, int err)
{
    struct meter *meter = exchange->call.walk->tools.meter;
    if (err == -ERR_HTTP_RESPONSE_LIMIT)
        meter_add(meter, METRIC_HTTP_ANSWER_LIMIT, 1);
    else if (err == -ERR_HTTP_RESPONSE)
        meter_add(meter, METRIC_HTTP_ANSWER_MALFORMED, 1);
}

static bool on_server_lost(void *owner, int err)
{
    struct exchange *exchange = owner;
    count_refused(exchange, err);
    if (exchange->state != EXCHANGE_ASKED)
        return false;
    if (was_not_acted_on(exchange, err))
        try_elsewhere(exchange, LEASE_UNUSED, err, 0);
    else if (err != -ERR_IDLE_TIMEOUT && err != -ERR_HALF_CLOSE_TIMEOUT &&
             may_retry(exchange, ROUTE_RETRY_RESET | ROUTE_RETRY_5XX | ROUTE_RETRY_GATEWAY))
        try_elsewhere(exchange, LEASE_RESET, err, pause_ns(exchange));
    else
        exchange_end(exchange, told_of(exchange, err), (struct str){0});
    return true;
}

/* ---- asking ---- */

static void on_attempt_timeout(struct timer *timer)
{
    struct exchange *exchange = container_of(timer, struct exchange, attempt);
    if (may_retry(exchange, ROUTE_RETRY_RESET | ROUTE_RETRY_5XX | ROUTE_RETRY_GATEWAY))
        try_elsewhere(exchange, LEASE_RESET, -ERR_RESPONSE_TIMEOUT, pause_ns(exchange));
    else
        exchange_end(exchange, -ERR_RESPONSE_TIMEOUT,
                     STR("no answer came within the route's time for one attempt"));
}

/* One that ends may end others: its mirrors. */
static void on_watch(struct timer *timer)
{
    struct http_side *side = container_of(timer, struct http_side, patience);
    struct loop *loop = side->flow->call.walk->tools.loop;
    const uint64_t now_ns = loop_now_ns(loop);
    uint64_t next_ns = UINT64_MAX;
    list_foreach(it, &side->exchanges)
    {
        const uint64_t due_ns = pump_look(&list_entry(it, struct exchange, by_side)->pump, now_ns);
        if (due_ns != 0 && due_ns < next_ns)
            next_ns = due_ns;
    }
    if (next_ns != UINT64_MAX)
        timer_start(loop, timer, next_ns - now_ns, on_watch);
}

/* Exchanges follow each other faster than their time runs out: one timer for all of a connection,
 * which is left alone unless it would fire too late. */
static void watch(struct http_side *side, struct loop *loop, uint64_t idle_ns)
{
    if (!timer_is_running(&side->patience) ||
        side->patience.deadline_ns > loop_now_ns(loop) + idle_ns)
        timer_start(loop, &side->patience, idle_ns, on_watch);
}

static void ask(struct exchange *exchange, struct http_link *link)
{
    struct call *call = &exchange->call;
    const struct walk *walk = call->walk;
    exchange_move(exchange, EXCHANGE_ASKED);
    call_note_upstream(call, http_link_upstream(link));
    exchange->asked_ns = call_now_ns(call);
    struct http_request room;
    exchange->server = http_link_request(link, exchange_told(exchange, &room), &server_http_events,
                                         &exchange_waiting_events, &exchange->pump);
    if (!exchange->server) {
        exchange_end(exchange, -ERR_UPSTREAM_RESET, STR("the connection was gone at once"));
        return;
    }
    exchange->n_asked++;
    exchange->link = link;
    http_stream_set_owner(exchange->client, &client_http_events, &exchange_waiting_events,
                          &exchange->pump);
    const bool says_again = exchange->replay.len > 0;
    const struct pump_options pump = {
        .idle_ns = call->search->patience.idle_ns,
        .half_close_ns = call->search->patience.idle_ns,
        .shut = shut,
        .on_server_lost = on_server_lost,
        .on_client_data =
            keeps_body(exchange) || !list_is_empty(&exchange->copies) ? on_client_data : NULL,
        .client_has_ended = exchange->is_said && !says_again,
        .server_knows = !exchange->head.has_body,
        .is_watched = true,
    };
    pump_start(&exchange->pump, walk->tools.loop, &exchange->client->stream,
               &exchange->server->stream, &pump, on_pumped, exchange);
    watch(exchange->side, walk->tools.loop, pump.idle_ns);
    if (says_again)
        say_again(exchange);
    if (exchange->route.attempt_ns > 0)
        timer_start(walk->tools.loop, &exchange->attempt, exchange->route.attempt_ns,
                    on_attempt_timeout);
}

static struct http_link_key key_of(const struct exchange *exchange, const struct addr *addr,
                                   bool through_tunnel)
{
    const struct record *record = &exchange->call.record;
    return (struct http_link_key){
        .source = exchange->source,
        .identity = record_name(record, LABEL_SOURCE_PRINCIPAL),
        .addr = *addr,
        .service = exchange->route.service_key,
        .through_tunnel = through_tunnel,
        .is_h2 = exchange->speaks_h2,
    };
}

/* The connection with which the pod was reached before there was a request is for the first. */
static struct http_link *take_reached(struct http_side *side, struct http_pool *pool,
                                      const struct http_link_key *key)
{
    if (!side->reached)
        return NULL;
    stream_pause(side->reached);
    struct http_link *link = http_pool_add(pool, key, &(struct upstream){.stream = side->reached});
    side->reached = NULL;
    return link;
}

static void use(struct exchange *exchange, struct http_link *link)
{
    struct call *call = &exchange->call;
    lease_confirm(exchange_balancer(exchange), &call->lease, 0, call_now_ns(call));
    ask(exchange, link);
}

/* What another exchange connected to is there; or not, and this one looks for an endpoint anew. */
static void on_link(struct http_wait *wait, struct http_link *link)
{
    struct exchange *exchange = container_of(wait, struct exchange, wait);
    struct call *call = &exchange->call;
    if (link) {
        use(exchange, link);
        return;
    }
    lease_return(exchange_balancer(exchange), &call->lease, LEASE_UNUSED, call_now_ns(call));
    exchange_seek(exchange);
}

/* Who was asked may have been about to answer: it is asked elsewhere only as after a reset. */
static bool move_on(struct call *call)
{
    struct exchange *exchange = of_call(call);
    struct http_wait *wait = &exchange->wait;
    if (exchange->side->is_here || exchange->state == EXCHANGE_ANSWERED)
        return false;
    if (exchange->state == EXCHANGE_ASKED)
        return on_server_lost(exchange, -ERR_WORKLOAD_GONE);
    if (wait->group) {
        http_wait_cancel(wait);
        on_link(wait, NULL);
    }
    return true; /* or it pauses before it looks for another anyway */
}

/* Not for a race, which is run because somebody is slow; and the last attempt is its own. */
static bool may_wait(const struct call *call)
{
    return !call->search->racers[0] && call->n_attempts + 1 < call->search->patience.max_attempts;
}

static bool recall(struct call *call, const struct acquaintance_key *key)
{
    struct exchange *exchange = of_call(call);
    const struct walk *walk = call->walk;
    exchange->key = *key;
    const struct acquaintance *known =
        acquaintances_place(&call->walk->acquaintances, exchange->generation, key);
    if (exchange->n_named++ > 0 || !known->series[0] || !acquaintance_key_eq(&known->key, key)) {
        exchange_name(exchange);
        return false;
    }
    exchange->is_named = true;
    exchange->lender = known->series[0];
    traffic_hold(exchange->lender);
    record_lend_names(&call->record, traffic_names(walk->tools.traffic, exchange->lender));
    return true;
}

static bool reuse(struct call *call, const struct addr *addr, bool through_tunnel)
{
    struct exchange *exchange = of_call(call);
    struct http_pool *pool = connector_http_pool(call->walk->tools.connector);
    const struct http_link_key key = key_of(exchange, addr, through_tunnel);
    struct http_link *link = take_reached(exchange->side, pool, &key);
    if (!link)
        link = http_pool_find(pool, &key);
    if (!link) {
        if (!may_wait(call) || !http_pool_wait(pool, &key, &exchange->wait, on_link))
            return false;
        call->n_attempts++;
        return true;
    }
    call_drop_attempts(call);
    call->n_attempts++;
    use(exchange, link);
    return true;
}

static void on_reached(struct call *call, const struct upstream *upstream)
{
    struct exchange *exchange = of_call(call);
    const bool through_tunnel = upstream->is_tunnel;
    const struct addr *addr = exchange->side->is_here
                                  ? &exchange->side->flow->call.judged.destination
                              : through_tunnel ? &call->record.hbone_addr
                                               : &call->record.destination.addr;
    const struct http_link_key key = key_of(exchange, addr, through_tunnel);
    ask(exchange, http_pool_add(connector_http_pool(call->walk->tools.connector), &key, upstream));
}

static void on_failed(struct call *call, int err, struct str detail)
{
    exchange_end(of_call(call), err, detail);
}

static void on_attempt(struct call *call, struct attempt *attempt,
                       const struct connect_request *request)
{
    const struct http_link_key key = key_of(of_call(call), &request->addr, request->through_tunnel);
    http_pool_make(connector_http_pool(call->walk->tools.connector), &key, &attempt->making);
}

static int resolve(struct call *call, const struct snapshot *snapshot, struct principal *out_source,
                   struct target *out_target)
{
    struct exchange *exchange = of_call(call);
    struct http_side *side = exchange->side;
    const struct addr destination = {call->record.source.addr.ip, exchange->port};
    if (side->is_here)
        return -ERR_NO_SUCH_PORT; /* its pod was called, and no other will do */
    const struct called *called = called_now(&side->called, snapshot, &side->flow->call.record);
    if (!called->pod)
        return -ERR_UNKNOWN_SOURCE;
    *out_source = identify_as(called->pod, &destination.ip);
    if (exchange->generation != snapshot->generation)
        exchange->route.service = snapshot_service_by_key(snapshot, exchange->route.service_key);
    exchange->generation = snapshot->generation;
    const struct service *service = exchange->route.service;
    if (!service)
        return -ERR_NO_SUCH_PORT;
    if (service != called->service || exchange->port != called->port || !called->service_port)
        return resolve_service(snapshot, service, &destination, out_target);
    *out_target = (struct target){
        .kind = TARGET_SERVICE,
        .service = service,
        .port = called->service_port,
        .endpoints = called->endpoints,
        .addr = destination,
    };
    return 0;
}

const struct call_events exchange_call_events = {
    .resolve = resolve,
    .recall = recall,
    .reuse = reuse,
    .show = exchange_show,
    .reveal = exchange_reveal,
    .glimpse = exchange_glimpse,
    .on_attempt = on_attempt,
    .on_reached = on_reached,
    .on_failed = on_failed,
    .move_on = move_on,
};
