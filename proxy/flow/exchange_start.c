/*
 * The beginning of an exchange: its head is kept, its path brought into the one form, its route
 * found, its mirrors started.
 */
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/flow/exchange_parts.h"
#include "proxy/flow/exchange_trace.h"
#include "proxy/flow/mirror.h"
#include "proxy/meter/meter.h"
#include "proxy/token/places.h"

static void on_deadline(struct timer *timer)
{
    exchange_end(container_of(timer, struct exchange, deadline), -ERR_RESPONSE_TIMEOUT,
                 STR("the whole answer did not come within the route's timeout"));
}

static void keep_head(struct exchange *exchange, const struct http_request *head)
{
    http_request_copy(head, &exchange->call.arena, &exchange->head);
    exchange->method = exchange->head.method;
    exchange->path = places_hidden(exchange->head.path, NULL, &exchange->call.arena);
}

static void take_parties(struct exchange *exchange)
{
    struct record *record = &exchange->call.record;
    const struct record *from = &exchange->side->flow->call.record;
    exchange->source = from->source.addr.ip;
    exchange->is_named = exchange->side->is_here;
    if (exchange->side->is_here)
        record_copy_connection(record, from);
    else
        record_copy_ends(record, from);
}

static void refuse(struct exchange *exchange, unsigned status, struct str reason, int err,
                   const char *sentence)
{
    const struct local_reply reply = {
        .status = status, .reason = reason, .body = str_from(sentence)};
    exchange_answer(exchange, &reply, err, str_from(sentence));
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
    exchange_answer(exchange, &reply, is_wanted ? 0 : -ERR_NO_ROUTE, str_from(route->why));
}

/* A client of HTTP/1.0 may leave the host away: it means what it has called (RFC 9112 3.3). */
static void name_host(struct exchange *exchange)
{
    char text[ADDR_TEXT_MAX];
    const struct http_side *side = exchange->side;
    const struct call *connection = &side->flow->call;
    const struct str service = record_name(&connection->record, LABEL_DESTINATION_SERVICE);
    struct arena *arena = &exchange->call.arena;
    if (side->is_here)
        exchange->head.authority =
            arena_str(arena, str_from(addr_text(&connection->judged.destination, text)));
    else
        exchange->head.authority =
            arena_printf(arena, "%.*s:%u", STR_ARG(service), (unsigned)side->called.port);
}

_Static_assert(sizeof(struct exchange) <= SLAB_SMALL_BYTES / 8 * 5, "and room for an arena");

static struct exchange *new_exchange(struct http_side *side, struct http_stream *client,
                                     const struct http_request *head)
{
    struct walk *walk = side->flow->call.walk;
    struct exchange *exchange = slab_block_new(loop_slabs(walk->tools.loop));
    memset(exchange, 0, offsetof(struct exchange, search));
    arena_lend(&exchange->call.arena, exchange + 1, SLAB_SMALL_BYTES - sizeof(*exchange));
    call_init(&exchange->call, walk, &exchange_call_events, &exchange->search);
    exchange->call.connection = side->flow->call.id;
    exchange->side = side;
    exchange->client = client;
    exchange->is_said = !head->has_body;
    list_init(&exchange->copies);
    list_push_back(&side->exchanges, &exchange->by_side);
    keep_head(exchange, head);
    if (str_is_empty(exchange->head.authority))
        name_host(exchange);
    take_parties(exchange);
    http_stream_set_owner(client, NULL, &exchange_waiting_events, exchange);
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

/* gRPC is HTTP/2 by its definition, whatever the port is called. */
static bool speaks_h2(const struct service_port *port, const struct http_request *head)
{
    switch (port->http_mode) {
    case HTTP_MODE_2: return true;
    case HTTP_MODE_1: return head->version == HTTP_2 && route_is_grpc(head);
    case HTTP_MODE_NONE: /* its first bytes said that it is HTTP */
    case HTTP_MODE_ANY: break;
    }
    return head->version == HTTP_2;
}

/* HTTP/2 has upgrades as those of a GET: what was judged as another request would be one to the
 * pod. */
static bool has_no_form(const struct http_request *head, bool speaks_h2)
{
    return speaks_h2 && !str_is_empty(head->protocol) && !str_eq(head->method, STR("GET"));
}

static void start_mirror(struct exchange *copied, const struct route_mirror_choice *choice)
{
    struct loop *loop = copied->call.walk->tools.loop;
    const bool is_h2 = speaks_h2(choice->port, &copied->head);
    if (has_no_form(&copied->head, is_h2))
        return;
    struct mirror *mirror = mirror_new(loop, &copied->copies);
    struct exchange *exchange = new_exchange(copied->side, &mirror->stream, &copied->head);
    exchange_name(exchange);
    exchange->is_mirror = exchange->call.told.is_copy = true;
    list_remove(&exchange->by_side); /* in front of it: who visits all may end it with this one */
    list_push_front(&copied->side->exchanges, &exchange->by_side);
    exchange->head.authority = shadow_of(&exchange->call.arena, copied->head.authority);
    exchange->route.service_key = arena_str(&exchange->call.arena, choice->service->key);
    exchange->port = choice->port->port;
    exchange->speaks_h2 = is_h2;
    if (exchange->is_said)
        mirror->has_ended = true;
    timer_start(loop, &exchange->deadline, MIRROR_NS, on_deadline);
    exchange_seek_later(exchange, 0);
}

/* Takes what the decision says into the head; false when it was answered here. */
static bool follow_routes(struct exchange *exchange, const struct called *called,
                          const struct http_path *path)
{
    struct call *call = &exchange->call;
    const struct record *connection = &exchange->side->flow->call.record;
    const struct route_question question = {
        .head = &exchange->head,
        .path = path,
        .service = called->service,
        .port = called->service_port,
        .source_namespace = record_name(connection, LABEL_SOURCE_WORKLOAD_NAMESPACE),
        .source = connection->source.addr.ip,
        .principal = record_name(connection, LABEL_SOURCE_PRINCIPAL),
        .random = rng_next(loop_rng(call->walk->tools.loop)),
    };
    struct route_decision *route = &exchange->route;
    route_decide(&question, &call->arena, route);
    if (route->status != 0) {
        answer_by_route(exchange);
        return false;
    }
    call->search->is_request = route->hash.is_made;
    call->search->request_hash = (struct request_hash){route->hash.is_there, route->hash.value};
    exchange->port = route->port->port;
    exchange->speaks_h2 = speaks_h2(route->port, &exchange->head);
    exchange->head.path = route->target;
    exchange->head.authority = route->authority;
    exchange->head.fields = route_edit(&exchange->head.fields, &route->request_edits, &call->arena);
    for (size_t i = 0; i < route->n_mirrors; i++)
        start_mirror(exchange, &route->mirrors[i]);
    route->port = NULL; /* the snapshot's: not valid after this call */
    return true;
}

/* Where nothing that it says matters. */
static void pass(struct exchange *exchange, const struct called *called,
                 const struct http_path *path)
{
    exchange->route.service = called->service;
    exchange->route.service_key = called->key;
    exchange->port = called->port;
    exchange->speaks_h2 = speaks_h2(called->service_port, &exchange->head);
    exchange->head.path = path->target;
}

/* False when it was answered here. */
static bool route_request(struct exchange *exchange, const struct http_path *path)
{
    struct http_side *side = exchange->side;
    const struct called *called =
        called_now(&side->called, call_snapshot(&exchange->call), &side->flow->call.record);
    exchange->generation = called->generation;
    if (!called->service_port) {
        exchange_end(exchange, -ERR_NO_SUCH_PORT, (struct str){0});
        return false;
    }
    if (!called->passes)
        return follow_routes(exchange, called, path);
    pass(exchange, called, path);
    return true;
}

/* As where requests are routed. */
static bool speaks_h2_there(enum app_protocol protocol, const struct http_request *head)
{
    switch (protocol) {
    case APP_HTTP2:
    case APP_GRPC: return true;
    case APP_HTTP11: return head->version == HTTP_2 && route_is_grpc(head);
    case APP_UNKNOWN:
    case APP_TCP:
    case APP_TLS: break;
    }
    return head->version == HTTP_2;
}

/* Nothing is routed: what was called is where the request has come. */
static void go_there(struct exchange *exchange, const struct http_path *path)
{
    exchange->speaks_h2 = speaks_h2_there(exchange->side->protocol, &exchange->head);
    exchange->head.path = path->target;
}

/* Whose it would have been nobody knows, and so neither which of its parameters is a token. */
static void drop_query(struct exchange *exchange)
{
    struct str query;
    (void)str_split(exchange->path, '?', &exchange->path, &query);
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
    exchange_trace_begin(exchange);
    if (side->is_here && exchange_visit(exchange)->pod)
        exchange_hide(exchange, exchange_visit(exchange)->pod);
    if (walk->overload.strain != STRAIN_NONE) {
        meter_add(walk->tools.meter, METRIC_FLOWS_SHED, 1);
        exchange_end(exchange, -ERR_OVERLOAD, str_from(strain_text(walk->overload.strain)));
        return;
    }
    if (http_path_normalize(exchange->head.path, HTTP_PATH_MERGE_SLASHES, &call->arena, &path,
                            &why) < 0) {
        drop_query(exchange);
        refuse(exchange, 400, STR("bad_path"), -ERR_INVALID, why);
        return;
    }
    if (side->is_here)
        go_there(exchange, &path);
    else if (!route_request(exchange, &path))
        return;
    if (has_no_form(&exchange->head, exchange->speaks_h2)) {
        refuse(exchange, 501, STR("bad_upgrade"), -ERR_INVALID,
               "an upgrade that is no GET cannot go on in HTTP/2");
        return;
    }
    if (exchange->route.timeout_ns > 0)
        timer_start(walk->tools.loop, &exchange->deadline, exchange->route.timeout_ns, on_deadline);
    exchange_seek(exchange);
}
