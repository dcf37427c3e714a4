/*
 * Happy path: exchange_start -> route -> an attempt (attempt.c), or a link that is there -> ask ->
 * on_response -> the pump moves both bodies -> on_pumped. Failure modes: everything that goes wrong
 * before the answer's head is answered here, with a status and its reason, unless it can be tried
 * again; afterwards the client is cut, so that it does not take half an answer for a whole one.
 */
#include "proxy/flow/exchange.h"

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/flow/exchange_record.h"
#include "proxy/flow/local_reply.h"
#include "proxy/flow/mirror.h"
#include "proxy/flow/retry.h"
#include "proxy/meter/meter.h"

#define STATUS_SWITCHING 101

static const struct sm_rule exchange_rules[EXCHANGE_STATES] = {
    [EXCHANGE_SEEKING] = {"seeking", SM_TO(EXCHANGE_ASKED) | SM_TO(EXCHANGE_CLOSED)},
    [EXCHANGE_ASKED] = {"asked", SM_TO(EXCHANGE_SEEKING) | SM_TO(EXCHANGE_ANSWERED) |
                                     SM_TO(EXCHANGE_CLOSED)},
    [EXCHANGE_ANSWERED] = {"answered", SM_TO(EXCHANGE_CLOSED)},
    [EXCHANGE_CLOSED] = {"closed", 0},
};

static struct exchange *of_call(struct call *call)
{
    return container_of(call, struct exchange, call);
}

static struct exchange *of_pump(void *owner)
{
    return container_of((struct pump *)owner, struct exchange, pump);
}

static struct balancer *balancer_of(const struct exchange *exchange)
{
    return exchange->call.walk->tools.balancer;
}

/* ---- the end ---- */

static void free_exchange(void *ptr)
{
    struct exchange *exchange = ptr;
    call_fini(&exchange->call);
    mem_free(exchange);
}

/* How the endpoint did, as far as this exchange can tell. */
static enum lease_outcome outcome_of(const struct exchange *exchange, int err)
{
    const unsigned status = exchange->was_local ? 0 : exchange->status; /* ours is no word of its */
    if (exchange->state == EXCHANGE_SEEKING)
        return LEASE_UNUSED;
    const bool was_silent = err == -ERR_RESPONSE_TIMEOUT && exchange->answered_ns == 0;
    if (status >= 500 || was_silent || err == -ERR_UPSTREAM_RESET || err == -ERR_HTTP_RESPONSE ||
        err == -ERR_H2)
        return LEASE_RESET;
    return err == 0 || status != 0 ? LEASE_SERVED : LEASE_UNUSED;
}

/* Both streams are closed. */
static void conclude(struct exchange *exchange, const struct totals *totals, struct str detail)
{
    struct call *call = &exchange->call;
    struct http_side *side = exchange->side;
    if (!str_is_empty(detail))
        call->record.detail = arena_str(&call->arena, detail);
    call->record.attempts = call->n_attempts;
    timer_stop(&exchange->deadline);
    timer_stop(&exchange->attempt);
    timer_stop(&exchange->backoff);
    call_drop_attempts(call);
    lease_return(balancer_of(exchange), &call->lease, outcome_of(exchange, totals->err),
                 call_now_ns(call));
    if (exchange->is_mirror) {
        meter_add(call->walk->tools.meter, METRIC_MIRRORS, 1);
    } else {
        exchange_record(exchange, totals);
        side->totals.received += totals->received;
        side->totals.sent += totals->sent;
    }
    mirrors_leave(&exchange->copies);
    sm_move(exchange_rules, &exchange->state, EXCHANGE_CLOSED);
    list_remove(&exchange->by_side);
    loop_bury(call->walk->tools.loop, exchange, free_exchange);
}

static struct totals close_server(struct exchange *exchange, int err)
{
    struct totals totals = pump_totals(&exchange->pump);
    totals.err = err;
    if (exchange->pump.is_running)
        pump_release(&exchange->pump);
    if (exchange->server)
        stream_close(&exchange->server->stream, err < 0 ? err : -ERR_SHUTDOWN);
    exchange->server = NULL;
    return totals;
}

static void answer_here(struct exchange *exchange, const struct local_reply *reply, int err,
                        struct str detail)
{
    struct totals totals = close_server(exchange, err);
    exchange->status = reply->status;
    exchange->was_local = true;
    totals.sent +=
        local_reply_send(exchange->client, &exchange->head, reply, &exchange->call.arena);
    exchange->client = NULL;
    conclude(exchange, &totals, detail);
}

void exchange_end(struct exchange *exchange, int err, struct str detail)
{
    if (exchange->state < EXCHANGE_ANSWERED && exchange->client) {
        struct local_reply reply = local_reply_of(err);
        answer_here(exchange, &reply, err, detail);
        return;
    }
    const struct totals totals = close_server(exchange, err);
    if (exchange->client)
        stream_close(&exchange->client->stream, err);
    exchange->client = NULL;
    conclude(exchange, &totals, detail);
}

/* ---- waiting: the client has nobody to talk to yet ---- */

static void on_waiting_data(void *owner, struct slice bytes)
{
    (void)bytes; /* paused: nothing comes */
    exchange_end(owner, -ERR_INVALID, (struct str){0});
}

static void on_waiting_end(void *owner)
{
    (void)owner;
}

static void on_waiting_fail(void *owner, int err)
{
    struct exchange *exchange = owner;
    stream_close(&exchange->client->stream, err);
    exchange->client = NULL;
    exchange_end(exchange, -ERR_CLIENT_RESET, (struct str){0});
}

static const struct stream_events waiting_events = {
    .on_data = on_waiting_data,
    .on_end = on_waiting_end,
    .on_fail = on_waiting_fail,
};

/* ---- trying again ---- */

static void seek(struct exchange *exchange)
{
    struct tried *tried = &exchange->call.search->tried;
    int err = attempt_outbound(&exchange->call);
    if (err == -ERR_NO_HEALTHY_UPSTREAM && tried->len > 0) {
        tried->len = 0; /* it is nobody but the one that answered badly: better than nobody */
        err = attempt_outbound(&exchange->call);
    }
    if (err < 0)
        exchange_end(exchange, err, (struct str){0});
}

static void on_backoff(struct timer *timer)
{
    seek(container_of(timer, struct exchange, backoff));
}

static uint64_t pause_ns(const struct exchange *exchange)
{
    return retry_pause_ns(&exchange->route.retry, exchange->n_retries,
                          loop_rng(exchange->call.walk->tools.loop));
}

/* Nothing of the body is gone, so that it can be said again. */
static bool is_whole(const struct exchange *exchange)
{
    return exchange->pump.up.bytes == 0 && exchange->up_trailers.len == 0;
}

/* Gives up the endpoint and looks for another. */
static void try_elsewhere(struct exchange *exchange, enum lease_outcome outcome, int err,
                          uint64_t after_ns)
{
    struct call *call = &exchange->call;
    exchange->is_said = exchange->is_said || exchange->pump.up.ended;
    (void)close_server(exchange, err);
    timer_stop(&exchange->attempt);
    if (outcome != LEASE_UNUSED && call->search->tried.len < PICK_TRIES_MAX && call->lease.key != 0)
        call->search->tried.keys[call->search->tried.len++] = call->lease.key;
    lease_return(balancer_of(exchange), &call->lease, outcome, call_now_ns(call));
    http_stream_set_owner(exchange->client, NULL, &waiting_events, exchange);
    exchange->status = 0;
    sm_move(exchange_rules, &exchange->state, EXCHANGE_SEEKING);
    call->search->since_ns = call_now_ns(call) + after_ns;
    meter_add(call->walk->tools.meter, METRIC_EXCHANGE_RETRIES, 1);
    timer_start(call->walk->tools.loop, &exchange->backoff, after_ns, on_backoff);
}

/* By the route's word, and within its bound. */
static bool may_retry(struct exchange *exchange, unsigned on)
{
    const struct route_retry *retry = &exchange->route.retry;
    if (!(retry->on & on) || exchange->n_retries >= retry->attempts || !is_whole(exchange))
        return false;
    exchange->n_retries++;
    return true;
}

/* ---- the answer ---- */

static void on_response(void *owner, const struct http_response *head)
{
    struct exchange *exchange = of_pump(owner);
    struct call *call = &exchange->call;
    const uint64_t now_ns = call_now_ns(call);
    exchange->status = head->status;
    if (may_retry(exchange, retry_reasons(&exchange->route.retry, head))) {
        const uint64_t asked_ns = retry_after_ns(head);
        const uint64_t span_ns = pause_ns(exchange);
        try_elsewhere(exchange, LEASE_RESET, -ERR_RESET, asked_ns > span_ns ? asked_ns : span_ns);
        return;
    }
    exchange->answered_ns = now_ns;
    if (head->status < 500)
        lease_sample(balancer_of(exchange), &call->lease, now_ns - exchange->asked_ns, now_ns);
    sm_move(exchange_rules, &exchange->state, EXCHANGE_ANSWERED);
    timer_stop(&exchange->attempt);
    if (head->status == STATUS_SWITCHING) /* what follows has no end to be timed */
        timer_stop(&exchange->deadline);
    exchange->pump.options.ends_with_server = head->status != STATUS_SWITCHING;
    exchange->grpc_status = arena_str(&call->arena, http_find(&head->fields, "grpc-status"));
    struct http_response answer = *head;
    answer.fields = route_edit(&head->fields, &exchange->route.response_edits, &call->arena);
    http_respond(exchange->client, &answer);
}

static void on_interim(void *owner, const struct http_response *head)
{
    http_interim(of_pump(owner)->client, head);
}

static struct http_fields keep_fields(struct arena *arena, const struct http_fields *fields)
{
    struct http_field *copy = arena_new_array(arena, struct http_field, fields->len + 1);
    for (size_t i = 0; i < fields->len; i++)
        copy[i] = (struct http_field){arena_str(arena, fields->at[i].name),
                                      arena_str(arena, fields->at[i].value)};
    return (struct http_fields){copy, fields->len};
}

static void on_client_trailers(void *owner, const struct http_fields *trailers)
{
    struct exchange *exchange = of_pump(owner);
    exchange->up_trailers = keep_fields(&exchange->call.arena, trailers);
}

static void on_server_trailers(void *owner, const struct http_fields *trailers)
{
    struct exchange *exchange = of_pump(owner);
    exchange->down_trailers = keep_fields(&exchange->call.arena, trailers);
    exchange->grpc_status = http_find(&exchange->down_trailers, "grpc-status");
}

static const struct http_stream_events client_http_events = {.on_trailers = on_client_trailers};
static const struct http_stream_events server_http_events = {
    .on_interim = on_interim,
    .on_response = on_response,
    .on_trailers = on_server_trailers,
};

/* A direction ends, with the trailers that came. */
static void shut(void *owner, struct stream *to)
{
    struct exchange *exchange = owner;
    const bool is_up = exchange->server && to == &exchange->server->stream;
    if (is_up)
        mirrors_end(&exchange->copies);
    const struct http_fields *trailers = is_up ? &exchange->up_trailers : &exchange->down_trailers;
    if (trailers->len > 0)
        http_trailers(is_up ? exchange->server : exchange->client, trailers);
    else
        stream_shutdown(to);
}

static void on_client_data(void *owner, struct slice bytes)
{
    mirrors_say(&((struct exchange *)owner)->copies, bytes);
}

static void on_pumped(void *owner, const struct totals *totals)
{
    struct exchange *exchange = owner;
    exchange->client = NULL;
    exchange->server = NULL;
    conclude(exchange, totals, (struct str){0});
}

/* The far side promised that it did nothing, or the connection was one that rested: nobody is to
 * blame, and it costs none of the route's attempts. */
static bool was_not_acted_on(const struct exchange *exchange, int err)
{
    return err == -ERR_H2_REFUSED && is_whole(exchange) &&
           exchange->call.n_attempts < exchange->call.search->patience.max_attempts;
}

static bool on_server_lost(void *owner, int err)
{
    struct exchange *exchange = owner;
    if (exchange->state != EXCHANGE_ASKED)
        return false;
    if (was_not_acted_on(exchange, err))
        try_elsewhere(exchange, LEASE_UNUSED, err, 0);
    else if (err != -ERR_IDLE_TIMEOUT && err != -ERR_HALF_CLOSE_TIMEOUT &&
             may_retry(exchange, ROUTE_RETRY_RESET | ROUTE_RETRY_5XX | ROUTE_RETRY_GATEWAY))
        try_elsewhere(exchange, LEASE_RESET, err, pause_ns(exchange));
    else
        exchange_end(exchange, err, (struct str){0});
    return true;
}

/* ---- asking ---- */

static void on_deadline(struct timer *timer)
{
    exchange_end(container_of(timer, struct exchange, deadline), -ERR_RESPONSE_TIMEOUT,
                 STR("the whole answer did not come within the route's timeout"));
}

static void on_attempt_timeout(struct timer *timer)
{
    struct exchange *exchange = container_of(timer, struct exchange, attempt);
    if (may_retry(exchange, ROUTE_RETRY_RESET | ROUTE_RETRY_5XX | ROUTE_RETRY_GATEWAY))
        try_elsewhere(exchange, LEASE_RESET, -ERR_RESPONSE_TIMEOUT, pause_ns(exchange));
    else
        exchange_end(exchange, -ERR_RESPONSE_TIMEOUT,
                     STR("no answer came within the route's time for one attempt"));
}

static void ask(struct exchange *exchange, struct http_link *link)
{
    struct call *call = &exchange->call;
    const struct walk *walk = call->walk;
    sm_move(exchange_rules, &exchange->state, EXCHANGE_ASKED);
    call_note_upstream(call, http_link_upstream(link));
    exchange->asked_ns = call_now_ns(call);
    exchange->server = http_link_request(link, &exchange->head, &server_http_events,
                                         &waiting_events, &exchange->pump);
    if (!exchange->server) {
        exchange_end(exchange, -ERR_UPSTREAM_RESET, STR("the connection was gone at once"));
        return;
    }
    http_stream_set_owner(exchange->client, &client_http_events, &waiting_events, &exchange->pump);
    const struct pump_options pump = {
        .idle_ns = call->search->patience.idle_ns,
        .half_close_ns = call->search->patience.idle_ns,
        .shut = shut,
        .on_server_lost = on_server_lost,
        .on_client_data = list_is_empty(&exchange->copies) ? NULL : on_client_data,
        .client_has_ended = exchange->is_said,
    };
    pump_start(&exchange->pump, walk->tools.loop, &exchange->client->stream,
               &exchange->server->stream, &pump, on_pumped, exchange);
    if (exchange->route.attempt_ns > 0)
        timer_start(walk->tools.loop, &exchange->attempt, exchange->route.attempt_ns,
                    on_attempt_timeout);
}

static struct http_link_key key_of(const struct exchange *exchange, const struct addr *addr,
                                   bool through_tunnel)
{
    const struct record *record = &exchange->call.record;
    return (struct http_link_key){
        .source = record->source.addr.ip,
        .identity = record_name(record, LABEL_SOURCE_PRINCIPAL),
        .addr = *addr,
        .service = exchange->route.service_key,
        .through_tunnel = through_tunnel,
        .is_h2 = exchange->speaks_h2,
    };
}

static bool reuse(struct call *call, const struct addr *addr, bool through_tunnel)
{
    struct exchange *exchange = of_call(call);
    const struct http_link_key key = key_of(exchange, addr, through_tunnel);
    struct http_link *link = http_pool_find(connector_http_pool(call->walk->tools.connector), &key);
    if (!link)
        return false;
    call_drop_attempts(call);
    call->n_attempts++;
    lease_confirm(balancer_of(exchange), &call->lease, 0, call_now_ns(call));
    ask(exchange, link);
    return true;
}

static void on_reached(struct call *call, const struct upstream *upstream)
{
    struct exchange *exchange = of_call(call);
    const bool through_tunnel = upstream->is_tunnel;
    const struct addr *addr =
        through_tunnel ? &call->record.hbone_addr : &call->record.destination.addr;
    const struct http_link_key key = key_of(exchange, addr, through_tunnel);
    ask(exchange, http_pool_add(connector_http_pool(call->walk->tools.connector), &key, upstream));
}

static void on_failed(struct call *call, int err, struct str detail)
{
    exchange_end(of_call(call), err, detail);
}

static void on_attempt(struct call *call)
{
    (void)call;
}

static int resolve(struct call *call, const struct snapshot *snapshot, struct target *out_target)
{
    const struct exchange *exchange = of_call(call);
    const struct service *service = snapshot_service_by_key(snapshot, exchange->route.service_key);
    const struct addr destination = {call->record.source.addr.ip, exchange->port};
    return service ? resolve_service(service, &destination, out_target) : -ERR_NO_SUCH_PORT;
}

static const struct call_events call_events = {
    .resolve = resolve,
    .reuse = reuse,
    .on_attempt = on_attempt,
    .on_reached = on_reached,
    .on_failed = on_failed,
};

/* ---- the beginning ---- */

static void keep_head(struct exchange *exchange, const struct http_request *head)
{
    struct arena *arena = &exchange->call.arena;
    exchange->head = *head;
    exchange->method = exchange->head.method = arena_str(arena, head->method);
    exchange->path = exchange->head.path = arena_str(arena, head->path);
    exchange->head.scheme = arena_str(arena, head->scheme);
    exchange->head.authority = arena_str(arena, head->authority);
    exchange->head.protocol = arena_str(arena, head->protocol);
    exchange->head.fields = keep_fields(arena, &head->fields);
}

static void take_parties(struct exchange *exchange)
{
    struct str names[PARTY_NAMES];
    struct record *record = &exchange->call.record;
    const struct record *from = &exchange->side->flow->call.record;
    record->kind = from->kind;
    record->source = from->source;
    record->destination.addr = from->destination.addr;
    record_save_names(from, PARTY_SOURCE, names);
    record_load_names(record, &exchange->call.arena, PARTY_SOURCE, names);
}

static void refuse(struct exchange *exchange, unsigned status, struct str reason, int err,
                   const char *sentence)
{
    const struct local_reply reply = {
        .status = status, .reason = reason, .body = str_from(sentence)};
    answer_here(exchange, &reply, err, str_from(sentence));
}

/* What the routes say in place of a backend. */
static void answer_by_route(struct exchange *exchange)
{
    const struct route_decision *route = &exchange->route;
    const struct local_reply reply = {
        .status = route->status,
        .reason = str_from(route->why),
        .body = route->body,
        .location = route->location,
        .edits = &route->response_edits,
    };
    const bool is_wanted = route->status < 400 || str_eq(reply.reason, STR("direct_response"));
    answer_here(exchange, &reply, is_wanted ? 0 : -ERR_NO_ROUTE, str_from(route->why));
}

static struct exchange *new_exchange(struct http_side *side, struct http_stream *client,
                                     const struct http_request *head)
{
    struct exchange *exchange = mem_new(struct exchange);
    call_init(&exchange->call, side->flow->call.walk, &call_events);
    exchange->side = side;
    exchange->client = client;
    exchange->is_said = !head->has_body;
    list_init(&exchange->copies);
    list_push_back(&side->exchanges, &exchange->by_side);
    keep_head(exchange, head);
    take_parties(exchange);
    http_stream_set_owner(client, NULL, &waiting_events, exchange);
    return exchange;
}

#define MIRROR_NS (UINT64_C(15) * NS_PER_SEC) /* the whole answer of a mirror */

/* "web:80" becomes "web-shadow:80". */
static struct str shadow_of(struct arena *arena, struct str authority)
{
    struct str host, port;
    if (str_rsplit(authority, ':', &host, &port) && !str_ends_with(authority, STR("]")))
        return arena_printf(arena, "%.*s-shadow:%.*s", STR_ARG(host), STR_ARG(port));
    return arena_printf(arena, "%.*s-shadow", STR_ARG(authority));
}

static void start_mirror(struct exchange *copied, const struct route_mirror_choice *choice)
{
    struct loop *loop = copied->call.walk->tools.loop;
    struct mirror *mirror = mirror_new(loop, &copied->copies);
    struct exchange *exchange = new_exchange(copied->side, &mirror->stream, &copied->head);
    exchange->is_mirror = true;
    list_remove(&exchange->by_side); /* in front of it: who visits all may end it with this one */
    list_push_front(&copied->side->exchanges, &exchange->by_side);
    exchange->head.authority = shadow_of(&exchange->call.arena, copied->head.authority);
    exchange->route.service_key = arena_str(&exchange->call.arena, choice->service->key);
    exchange->port = choice->port->port;
    exchange->speaks_h2 =
        choice->port->http_mode == HTTP_MODE_2 || exchange->head.version == HTTP_2;
    if (exchange->is_said)
        mirror->has_ended = true;
    timer_start(loop, &exchange->deadline, MIRROR_NS, on_deadline);
    timer_start(loop, &exchange->backoff, 0, on_backoff);
}

/* Takes what the decision says into the head; false when it was answered here. */
static bool route_request(struct exchange *exchange, const struct http_path *path)
{
    struct call *call = &exchange->call;
    const struct http_side *side = exchange->side;
    const struct snapshot *snapshot = call_snapshot(call);
    const struct service *service = snapshot_service_by_key(snapshot, side->service_key);
    const struct service_port *port = service ? service_find_port(service, side->port) : NULL;
    if (!port) {
        exchange_end(exchange, -ERR_NO_SUCH_PORT, (struct str){0});
        return false;
    }
    const struct route_question question = {
        .head = &exchange->head,
        .path = path,
        .service = service,
        .port = port,
        .source_namespace = record_name(&call->record, LABEL_SOURCE_WORKLOAD_NAMESPACE),
        .random = rng_next(loop_rng(call->walk->tools.loop)),
    };
    struct route_decision *route = &exchange->route;
    route_decide(&question, &call->arena, route);
    if (route->status != 0) {
        answer_by_route(exchange);
        return false;
    }
    exchange->port = route->port->port;
    exchange->speaks_h2 = route->port->http_mode == HTTP_MODE_2 || exchange->head.version == HTTP_2;
    exchange->head.path = route->target;
    exchange->head.authority = route->authority;
    exchange->head.fields = route_edit(&exchange->head.fields, &route->request_edits, &call->arena);
    for (size_t i = 0; i < route->n_mirrors; i++)
        start_mirror(exchange, &route->mirrors[i]);
    route->service = NULL; /* the snapshot's: not valid after this call */
    route->port = NULL;
    return true;
}

void exchange_start(struct http_side *side, struct http_stream *stream,
                    const struct http_request *head)
{
    struct exchange *exchange = new_exchange(side, stream, head);
    struct call *call = &exchange->call;
    struct walk *walk = call->walk;
    struct http_path path;
    const char *why;
    side->n_exchanges++;
    if (walk->overload.strain != STRAIN_NONE) {
        meter_add(walk->tools.meter, METRIC_FLOWS_SHED, 1);
        exchange_end(exchange, -ERR_OVERLOAD, str_from(strain_text(walk->overload.strain)));
        return;
    }
    if (http_path_normalize(exchange->head.path, HTTP_PATH_MERGE_SLASHES, &call->arena, &path,
                            &why) < 0) {
        refuse(exchange, 400, STR("bad_path"), -ERR_INVALID, why);
        return;
    }
    if (!route_request(exchange, &path))
        return;
    if (exchange->route.timeout_ns > 0)
        timer_start(walk->tools.loop, &exchange->deadline, exchange->route.timeout_ns, on_deadline);
    seek(exchange);
}
