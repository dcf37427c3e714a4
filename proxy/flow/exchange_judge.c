/*
 * The verdict on an exchange, where the destination is a pod of this node.
 *
 * What is judged is what is forwarded: the head as the route has changed it, its path in normal
 * form. The facts stay in the exchange's arena, where its head is anyway, so that it can be judged
 * again with them when policies change; how large they may be is how large a head may be
 * (http_limits).
 */
#include "proxy/base/clock.h"
#include "proxy/flow/exchange_parts.h"
#include "proxy/token/places.h"

/* ---- what is shown ---- */

#define EXTRA_HEADERS 3 /* what a head has, and not among its fields */

static void add_header(struct policy_request *request, struct policy_header *headers,
                       const char *name, struct str value)
{
    if (!str_is_empty(value))
        headers[request->n_headers++] = (struct policy_header){str_from(name), value};
}

static struct str length_text(struct arena *arena, int64_t length)
{
    if (length == 0) /* of most requests */
        return STR("0");
    return length == HTTP_LENGTH_UNKNOWN ? (struct str){0}
                                         : arena_printf(arena, "%lld", (long long)length);
}

static void show_headers(struct policy_request *request, struct arena *arena,
                         const struct http_request *head)
{
    struct policy_header *headers =
        arena_new_array(arena, struct policy_header, head->fields.len + EXTRA_HEADERS);
    for (size_t i = 0; i < head->fields.len; i++)
        headers[request->n_headers++] =
            (struct policy_header){head->fields.at[i].name, head->fields.at[i].value};
    add_header(request, headers, "host", head->authority);
    add_header(request, headers, "upgrade", head->protocol);
    add_header(request, headers, "content-length", length_text(arena, head->content_length));
    request->headers = headers;
}

/* The path without its query. */
static struct str path_of(struct str target)
{
    struct str path, query;
    return str_split(target, '?', &path, &query) ? path : target;
}

struct shown { /* to the policies of one endpoint, and then to it */
    struct policy_request request;
    struct http_fields fields;
    struct str path; /* with the query */
};

static void show_path(struct policy_request *request, struct arena *arena, struct str target)
{
    const struct str path = path_of(target), lax = http_path_lax(path, arena);
    request->path = path;
    request->lax_path = str_eq(lax, path) ? (struct str){0} : lax;
}

static void show(struct policy_request *request, struct arena *arena,
                 const struct http_request *head)
{
    request->method = head->method;
    request->host = head->authority;
    show_path(request, arena, head->path);
    show_headers(request, arena, head);
}

static int refuse_token(struct exchange *exchange, const struct token_answer *answer)
{
    exchange->challenge = answer->challenge;
    exchange->call.record.detail = str_from(answer->why);
    return answer->err;
}

void exchange_hide(struct exchange *exchange, const struct workload *pod)
{
    if (pod->tokens)
        exchange->path = places_hidden(exchange->path, pod->tokens, &exchange->call.arena);
}

int exchange_show(struct call *call, const struct workload *destination, const struct addr *addr,
                  const struct policy_request **out_request)
{
    struct exchange *exchange = container_of(call, struct exchange, call);
    struct http_request head = exchange->head;
    struct shown *shown = arena_new(&call->arena, struct shown);
    const uint64_t now_s = (uint64_t)clock_wall_ns() / NS_PER_SEC;
    const struct token_answer answer =
        token_check(call->walk->tokens, destination, addr->port, &head, now_s, &call->arena);
    shown->request = (struct policy_request){
        .method = head.method, .host = head.authority, .path = path_of(head.path)};
    *out_request = &shown->request;
    exchange_hide(exchange, destination);
    if (answer.err < 0)
        return refuse_token(exchange, &answer);
    head.fields = shown->fields = answer.fields;
    head.path = shown->path = answer.path;
    shown->request.token = answer.token;
    show(&shown->request, &call->arena, &head);
    return 0;
}

/* Nobody asked for tokens then, so it has none that was verified. */
const struct policy_request *exchange_reveal(struct call *call)
{
    const struct exchange *exchange = container_of(call, struct exchange, call);
    struct shown *shown = arena_new(&call->arena, struct shown);
    shown->fields = exchange->head.fields;
    shown->path = exchange->head.path;
    show(&shown->request, &call->arena, &exchange->head);
    return &shown->request;
}

const struct policy_request *exchange_glimpse(struct call *call)
{
    const struct exchange *exchange = container_of(call, struct exchange, call);
    struct policy_request *request = arena_new(&call->arena, struct policy_request);
    request->method = exchange->head.method;
    request->path = path_of(exchange->head.path);
    return request;
}

const struct http_request *exchange_told(const struct exchange *exchange, struct http_request *room)
{
    const struct policy_request *request = exchange->call.judged.request;
    if (!request)
        return &exchange->head; /* its node looks, or nobody does */
    const struct shown *shown =
        (const struct shown *)(const void *)((const char *)request -
                                             offsetof(struct shown, request));
    *room = exchange->head;
    room->fields = shown->fields;
    room->path = shown->path;
    return room;
}

/* A policy that asks for a header has not seen a trailer of its name, nor has anybody looked for a
 * token in it; a server that merges trailers into headers would take it for one (RFC 9110 6.5.1).
 */
struct http_fields exchange_trailers(struct exchange *exchange)
{
    struct call *call = &exchange->call;
    const struct http_fields *trailers = &exchange->up_trailers;
    if (trailers->len == 0 || !call->judged.is_judged)
        return *trailers;
    const struct workload *pod =
        snapshot_workload_by_ip(call_snapshot(call), &call->judged.destination.ip);
    struct http_field *kept = arena_new_array(&call->arena, struct http_field, trailers->len);
    size_t n = 0;
    for (size_t i = 0; i < trailers->len; i++) {
        const struct str name = trailers->at[i].name;
        if (!pod ||
            !(policy_set_asks_header(pod->policies, name) || places_concern(pod->tokens, name)))
            kept[n++] = trailers->at[i];
    }
    return (struct http_fields){.at = kept, .len = n};
}

/* ---- to the pod that was called ---- */

const struct visit *exchange_visit(const struct exchange *exchange)
{
    struct http_side *side = exchange->side;
    return visit_now(side->visit, call_snapshot(&exchange->call), &side->flow->call.judged);
}

/* The application sees the caller's address, as far as it is believed. */
static struct ip come_from(const struct call *call, const struct principal *source)
{
    static const struct ip own;
    return call->record.kind == ARRIVAL_TUNNEL && !source->workload ? own : source->ip;
}

int exchange_approach(struct exchange *exchange)
{
    struct call *call = &exchange->call;
    const struct addr *addr = &exchange->side->flow->call.judged.destination;
    const struct visit *visit = exchange_visit(exchange);
    call_forget_verdict(call);
    if (!visit->pod)
        return -ERR_WORKLOAD_GONE;
    if (visit->err < 0)
        return visit->err;
    const int err = call_judge(call, visit->pod, &visit->caller, addr);
    if (err < 0)
        return err;
    exchange->source = come_from(call, &visit->caller);
    if (!call->events->reuse(call, addr, false))
        attempt_plain(call, addr, &exchange->source, true);
    return 0;
}
