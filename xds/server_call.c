#include "xds/server_call.h"

#include <ca.pb-c.h>
#include <stdio.h>

#include "proxy/base/clock.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "xds/wire.h"

#define DELTA_PATH  "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
#define CREATE_PATH "/istio.v1.auth.IstioCertificateService/CreateCertificate"
/* Anonymous peers may ask for certificates, so a request is small and comes soon. */
#define CERTIFICATE_REQUEST_MAX_BYTES ((size_t)131072)
#define FIRST_MESSAGE_NS              (10 * NS_PER_SEC)
#define TOKEN_MAX_BYTES               ((size_t)8192)
#define PEM_END                       "-----END CERTIFICATE-----"

struct server_call {
    struct list link;
    struct server_context *context;
    struct arena arena;
    struct grpc_call *call; /* NULL: it is over */
    struct timer first;     /* until the first message */
    /* The delta stream. */
    struct resource_set *set;
    struct delta_server *delta; /* NULL: a certificate's call */
    bool is_blocked;            /* until on_writable */
    /* Certificate signing. */
    char *token; /* wiped when the call is over; NULL: none came */
    size_t token_len;
};

static void call_free(void *ptr)
{
    struct server_call *call = ptr;

    delta_server_free(call->delta);
    if (call->token)
        mem_wipe(call->token, call->token_len);
    arena_fini(&call->arena);
    mem_free(call);
}

/* The gRPC call was finished or is gone. */
static void call_over(struct server_call *call)
{
    struct server_context *context = call->context;
    bool was_stream = call->delta != NULL;

    timer_stop(&call->first);
    list_remove(&call->link);
    call->call = NULL;
    delta_server_free(call->delta);
    call->delta = NULL;
    loop_bury(context->loop, call, call_free);
    if (was_stream && context->events->on_stream && !context->is_silent)
        context->events->on_stream(context->owner, &context->peer, false);
}

static void finish(struct server_call *call, enum grpc_status status, struct str why)
{
    grpc_finish(call->call, status, why);
    call_over(call);
}

static void on_first_timeout(struct timer *timer)
{
    finish(container_of(timer, struct server_call, first), GRPC_DEADLINE_EXCEEDED,
           STR("no request came in time"));
}

static void on_end(void *owner, int status, struct str message)
{
    struct server_call *call = owner;

    (void)message;
    if (status != GRPC_OK)
        call_over(call);
    else if (call->delta)
        finish(call, GRPC_OK, (struct str){0});
    else
        finish(call, GRPC_INVALID_ARGUMENT, STR("the call ended without a request"));
}

static struct server_call *call_new(struct server_context *context, struct stream *stream,
                                    const struct grpc_events *events)
{
    struct server_call *call = mem_new(struct server_call);

    call->context = context;
    list_push_back(&context->calls, &call->link);
    call->call = grpc_serve(context->loop, stream, events, call);
    timer_start(context->loop, &call->first, FIRST_MESSAGE_NS, on_first_timeout);
    return call;
}

/* ---- the delta stream ---- */

static void send_message(void *owner, struct str message)
{
    struct server_call *call = owner;

    if (!grpc_send(call->call, message))
        call->is_blocked = true;
}

static void tell_of_nack(const struct server_call *call, uint64_t n_before)
{
    const struct server_context *context = call->context;
    struct str last;

    if (context->events->on_nack && delta_server_nacks(call->delta, &last) > n_before)
        context->events->on_nack(context->owner, &context->peer);
}

static void on_delta_message(void *owner, struct str bytes)
{
    struct server_call *call = owner;
    struct text why = {0};
    struct str last_nack;
    uint64_t n_nacks = delta_server_nacks(call->delta, &last_nack);
    int err = delta_server_receive(call->delta, bytes, send_message, call, &why);

    timer_stop(&call->first);
    tell_of_nack(call, n_nacks);
    if (err) {
        log_warn("a control stream was ended", log_str("peer", call->context->peer.id),
                 log_str("why", text_str(&why)));
        finish(call, err == -ERR_LIMIT ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT,
               text_str(&why));
    }
    text_fini(&why);
}

static void on_delta_writable(void *owner)
{
    struct server_call *call = owner;

    call->is_blocked = false;
    delta_server_notify(call->delta, send_message, call);
}

static const struct grpc_events delta_events = {
    .on_message = on_delta_message,
    .on_end = on_end,
    .on_writable = on_delta_writable,
};

static void refuse(struct server_context *context, struct stream *stream, enum grpc_status status,
                   const char *why)
{
    static const struct grpc_events no_events = {0};

    grpc_finish(grpc_serve(context->loop, stream, &no_events, NULL), status, str_from(why));
}

static void begin_delta(struct server_context *context, struct stream *stream)
{
    const char *why = "the peer is not configured here";
    struct resource_set *set;
    struct server_call *call;

    if (str_is_empty(context->peer.id)) {
        refuse(context, stream, GRPC_UNAUTHENTICATED,
               "the control stream needs a client certificate");
        return;
    }
    set = context->events->on_subscribe(context->owner, &context->peer, &why);
    if (!set) {
        refuse(context, stream, GRPC_PERMISSION_DENIED, why);
        return;
    }
    call = call_new(context, stream, &delta_events);
    call->set = set;
    call->delta = delta_server_new(set);
    grpc_accept(call->call);
    if (context->events->on_stream)
        context->events->on_stream(context->owner, &context->peer, true);
}

void server_call_notify(struct server_context *context, const struct resource_set *set)
{
    list_foreach(link, &context->calls)
    {
        struct server_call *call = list_entry(link, struct server_call, link);

        if (call->delta && call->set == set && !call->is_blocked)
            delta_server_notify(call->delta, send_message, call);
    }
}

/* ---- certificates ---- */

static struct str wanted_id(const Istio__V1__Auth__IstioCertificateRequest *request)
{
    for (size_t i = 0; request->metadata && i < request->metadata->n_fields; i++) {
        const Google__Protobuf__Struct__FieldsEntry *entry = request->metadata->fields[i];

        if (str_eq(str_from(entry->key), STR("ImpersonatedIdentity")) && entry->value &&
            entry->value->kind_case == GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE)
            return str_from(entry->value->string_value);
    }
    return (struct str){0};
}

/* The length of the first certificate of a PEM text, with the line ends behind it. */
static size_t first_certificate_len(struct str pem)
{
    for (size_t at = 0; at < pem.len; at++) {
        if (!str_starts_with(str_sub(pem, at, sizeof(PEM_END) - 1), STR(PEM_END)))
            continue;
        at += sizeof(PEM_END) - 1;
        while (at < pem.len && (pem.ptr[at] == '\n' || pem.ptr[at] == '\r'))
            at++;
        return at;
    }
    return pem.len;
}

/* One certificate a text, the roots as the last. */
static void send_chain(struct server_call *call, struct str chain, struct str roots)
{
    Istio__V1__Auth__IstioCertificateResponse response =
        ISTIO__V1__AUTH__ISTIO_CERTIFICATE_RESPONSE__INIT;
    struct arena *arena = &call->arena;
    struct text bytes = {0};
    size_t most = chain.len / sizeof(PEM_END) + 2;

    response.cert_chain = arena_new_array(arena, char *, most);
    while (chain.len) {
        size_t len = first_certificate_len(chain);
        response.cert_chain[response.n_cert_chain++] = wire_text(arena, str_sub(chain, 0, len));
        chain = str_sub(chain, len, chain.len - len);
    }
    response.cert_chain[response.n_cert_chain++] = wire_text(arena, roots);
    wire_pack(&response.base, &bytes);
    (void)grpc_send(call->call, text_str(&bytes));
    text_fini(&bytes);
}

static void sign(struct server_call *call, const Istio__V1__Auth__IstioCertificateRequest *request)
{
    struct server_context *context = call->context;
    const struct certificate_request asked = {
        .csr_pem = str_from(request->csr),
        .token = str_of(call->token, call->token_len),
        .wanted_id = wanted_id(request),
        .validity_sec = request->validity_duration,
    };
    struct text chain = {0}, roots = {0}, why = {0};
    enum grpc_status status = context->events->on_certificate(context->owner, &context->peer,
                                                              &asked, &chain, &roots, &why);

    if (status == GRPC_OK)
        send_chain(call, text_str(&chain), text_str(&roots));
    finish(call, status, text_str(&why));
    text_fini(&chain);
    text_fini(&roots);
    text_fini(&why);
}

static void on_certificate_message(void *owner, struct str bytes)
{
    struct server_call *call = owner;
    struct text why = {0};
    const Istio__V1__Auth__IstioCertificateRequest *request = (const void *)wire_unpack(
        &istio__v1__auth__istio_certificate_request__descriptor, bytes, &call->arena, &why);

    timer_stop(&call->first);
    if (request)
        sign(call, request);
    else
        finish(call, GRPC_INVALID_ARGUMENT, text_str(&why));
    text_fini(&why);
}

static const struct grpc_events certificate_events = {
    .on_message = on_certificate_message,
    .on_end = on_end,
};

static void begin_certificate(struct server_context *context, struct stream *stream,
                              const struct h2_head *head)
{
    struct server_call *call = call_new(context, stream, &certificate_events);
    struct str authorization = h2_find(head, "authorization"), scheme, token;

    grpc_limit_messages(call->call, CERTIFICATE_REQUEST_MAX_BYTES);
    if (str_split(authorization, ' ', &scheme, &token) && str_eq_ci(scheme, STR("Bearer")) &&
        token.len <= TOKEN_MAX_BYTES) {
        call->token = wire_text(&call->arena, token);
        call->token_len = token.len;
    }
}

/* ---- all of them ---- */

/* Something that is no gRPC gets the HTTP status alone. */
static void respond_plain(struct stream *stream, unsigned status)
{
    char text[12];
    struct h2_field field = {.name = STR(":status")};

    (void)snprintf(text, sizeof(text), "%u", status);
    field.value = str_from(text);
    h2_respond(stream, &field, 1, true);
    stream_close(stream, 0);
}

void server_call_begin(struct server_context *context, struct stream *stream,
                       const struct h2_head *head)
{
    struct str path = h2_find(head, ":path");
    unsigned status = grpc_check_request(head);

    if (status)
        respond_plain(stream, status);
    else if (str_eq(path, STR(DELTA_PATH)))
        begin_delta(context, stream);
    else if (str_eq(path, STR(CREATE_PATH)))
        begin_certificate(context, stream, head);
    else
        refuse(context, stream, GRPC_UNIMPLEMENTED, "there is no such method here");
}
