/*
 * ca_client.c - one unary call a certificate.
 *
 * Happy path: request() -> call -> response -> rotation_answer(chain). Failure modes: no
 * connection, no stream, a status other than OK, a response that is none, no token: each is
 * rotation_answer() with the error, from the loop.
 */
#include "xds/ca_client.h"

#include <ca.pb-c.h>

#include "proxy/base/clock.h"
#include "proxy/base/file.h"
#include "proxy/base/mem.h"
#include "xds/grpc.h"
#include "xds/wire.h"

#define CREATE_PATH      "/istio.v1.auth.IstioCertificateService/CreateCertificate"
#define TIMEOUT_NS       (10 * NS_PER_SEC)
#define TOKEN_MAX_BYTES  ((size_t)65536)
#define ANSWER_MAX_BYTES ((size_t)1 << 20)

struct ca_client {
    struct cert_source source; /* first for the reader; found by container_of */
    struct loop *loop;
    struct arena arena;
    struct str cluster, token_file;
    struct h2 *h2;
    bool is_anonymous;
    struct list requests;
};

struct ca_request {
    struct list link;
    struct ca_client *client;
    struct arena arena;
    struct str id;
    struct grpc_call
        *call; /* NULL: it failed before it was sent, and says so at the end of the turn */
    struct task failing;
    int err;
    const char *why;
};

static void request_free(void *ptr)
{
    struct ca_request *request = ptr;

    arena_fini(&request->arena);
    mem_free(request);
}

static void request_close(struct ca_request *request)
{
    list_remove(&request->link);
    task_cancel(&request->failing);
    if (request->call)
        grpc_cancel(request->call);
    request->call = NULL;
    loop_bury(request->client->loop, request, request_free);
}

/* Ends the request and tells the rotation; chain, why and id live until the end of the turn. */
static void answer(struct ca_request *request, struct str chain, int err, struct str why)
{
    struct rotation *rotation = request->client->source.rotation;

    request_close(request);
    rotation_answer(rotation, request->id, chain, err, why);
}

static void run_failing(struct task *task)
{
    struct ca_request *request = container_of(task, struct ca_request, failing);

    answer(request, (struct str){0}, request->err, str_from(request->why));
}

static void fail_later(struct ca_request *request, int err, const char *why)
{
    request->err = err;
    request->why = why;
    request->failing.run = run_failing;
    loop_defer(request->client->loop, &request->failing);
}

/* ---- the answer ---- */

/* The leaf comes first; when there are several texts, the last one holds the roots, which are not
 * part of the chain. */
static struct str chain_of(const Istio__V1__Auth__IstioCertificateResponse *response,
                           struct arena *arena)
{
    size_t n = response->n_cert_chain > 1 ? response->n_cert_chain - 1 : response->n_cert_chain;
    struct text chain = {0};
    struct str kept;

    for (size_t i = 0; i < n; i++) {
        text_add(&chain, str_from(response->cert_chain[i]));
        if (chain.len && chain.ptr[chain.len - 1] != '\n')
            text_addc(&chain, '\n');
    }
    kept = arena_str(arena, text_str(&chain));
    text_fini(&chain);
    return kept;
}

static void on_message(void *owner, struct str bytes)
{
    struct ca_request *request = owner;
    struct arena scratch = {0};
    struct text why = {0};
    const Istio__V1__Auth__IstioCertificateResponse *response = (const void *)wire_unpack(
        &istio__v1__auth__istio_certificate_response__descriptor, bytes, &scratch, &why);
    struct str chain = response ? chain_of(response, &request->arena) : (struct str){0};
    struct str reason = arena_str(&request->arena, text_str(&why));

    arena_fini(&scratch);
    text_fini(&why);
    if (!response)
        answer(request, (struct str){0}, -ERR_INVALID, reason);
    else if (str_is_empty(chain))
        answer(request, (struct str){0}, -ERR_INVALID, STR("the CA's answer holds no certificate"));
    else
        answer(request, chain, 0, (struct str){0});
}

static int err_of_status(int status)
{
    switch (status) {
    case GRPC_UNAUTHENTICATED:
    case GRPC_PERMISSION_DENIED: return -ERR_DENIED;
    case GRPC_DEADLINE_EXCEEDED:
    case GRPC_UNAVAILABLE: return -ERR_UNREACHABLE;
    default: return -ERR_REMOTE;
    }
}

static void on_end(void *owner, int status, struct str message)
{
    struct ca_request *request = owner;
    struct str why = arena_printf(&request->arena, "the CA answered with status %d: %.*s", status,
                                  STR_ARG(message));

    request->call = NULL;
    answer(request, (struct str){0}, status == GRPC_OK ? -ERR_INVALID : err_of_status(status), why);
}

static const struct grpc_events call_events = {.on_message = on_message, .on_end = on_end};

/* ---- the request ---- */

static void pack_request(struct ca_request *request, struct str csr_pem, struct text *out)
{
    struct arena *arena = &request->arena;
    Istio__V1__Auth__IstioCertificateRequest message =
        ISTIO__V1__AUTH__ISTIO_CERTIFICATE_REQUEST__INIT;
    Google__Protobuf__Struct metadata = GOOGLE__PROTOBUF__STRUCT__INIT;
    Google__Protobuf__Struct__FieldsEntry entry = GOOGLE__PROTOBUF__STRUCT__FIELDS_ENTRY__INIT;
    Google__Protobuf__Struct__FieldsEntry *entries[] = {&entry};
    Google__Protobuf__Value value = GOOGLE__PROTOBUF__VALUE__INIT;

    value.kind_case = GOOGLE__PROTOBUF__VALUE__KIND_STRING_VALUE;
    value.string_value = wire_text(arena, request->id);
    entry.key = wire_text(arena, STR("ImpersonatedIdentity"));
    entry.value = &value;
    metadata.fields = entries;
    metadata.n_fields = 1;
    message.csr = wire_text(arena, csr_pem);
    message.metadata = &metadata;
    wire_pack(&message.base, out);
}

static struct str trimmed(struct str text)
{
    while (text.len && (unsigned char)text.ptr[text.len - 1] <= ' ')
        text.len--;
    while (text.len && (unsigned char)text.ptr[0] <= ' ')
        text = str_sub(text, 1, text.len - 1);
    return text;
}

/* Appends "Bearer <token>". 0, or the error with its reason. */
static int read_token(const struct ca_client *client, struct arena *arena, struct text *out,
                      struct str *out_why)
{
    struct text file = {0};
    int err = file_read_all(client->token_file, TOKEN_MAX_BYTES, &file);
    struct str token = trimmed(text_str(&file));

    if (err)
        *out_why = arena_printf(arena, "the bootstrap token could not be read: %.*s: %s",
                                STR_ARG(client->token_file), file_why(err));
    else if (str_is_empty(token))
        *out_why = arena_printf(arena, "the bootstrap token could not be read: %.*s is empty",
                                STR_ARG(client->token_file));
    if (!err && str_is_empty(token))
        err = -ERR_INVALID;
    if (!err) {
        text_add(out, STR("Bearer "));
        text_add(out, token);
    }
    file_wipe(&file);
    return err;
}

static void start(struct ca_request *request, struct str csr_pem)
{
    struct ca_client *client = request->client;
    struct h2_field metadata[2] = {{STR("clusterid"), client->cluster}};
    struct text bearer = {0}, message = {0};
    size_t n_metadata = 1;

    if (client->is_anonymous) {
        struct str why;
        int err = read_token(client, &request->arena, &bearer, &why);
        if (err) {
            file_wipe(&bearer);
            fail_later(request, err, why.ptr);
            return;
        }
        metadata[n_metadata++] = (struct h2_field){STR("authorization"), text_str(&bearer)};
    }
    request->call = grpc_start(client->loop, client->h2, STR(CREATE_PATH), metadata, n_metadata,
                               TIMEOUT_NS, &call_events, request);
    file_wipe(&bearer);
    if (!request->call) {
        fail_later(request, -ERR_OVERLOAD, "the control process takes no more requests now");
        return;
    }
    grpc_limit_messages(request->call, ANSWER_MAX_BYTES);
    pack_request(request, csr_pem, &message);
    (void)grpc_send(request->call, text_str(&message));
    grpc_half_close(request->call);
    text_fini(&message);
}

static void request_certificate(struct cert_source *source, struct str id, struct str csr_pem)
{
    struct ca_client *client = container_of(source, struct ca_client, source);
    struct ca_request *request = mem_new(struct ca_request);

    request->client = client;
    request->id = arena_str(&request->arena, id);
    list_push_back(&client->requests, &request->link);
    if (client->h2)
        start(request, csr_pem);
    else
        fail_later(request, -ERR_UNREACHABLE, "there is no connection to the control process");
}

static void cancel_all(struct cert_source *source)
{
    struct ca_client *client = container_of(source, struct ca_client, source);

    list_foreach(link, &client->requests) request_close(list_entry(link, struct ca_request, link));
}

/* ---- the owner's calls ---- */

struct ca_client *ca_client_new(struct loop *loop, struct str cluster, struct str token_file)
{
    struct ca_client *client = mem_new(struct ca_client);

    client->source.name = "control";
    client->source.request = request_certificate;
    client->source.cancel_all = cancel_all;
    client->loop = loop;
    client->cluster = arena_str(&client->arena, cluster);
    client->token_file = arena_str(&client->arena, token_file);
    list_init(&client->requests);
    return client;
}

struct cert_source *ca_client_source(struct ca_client *client)
{
    return &client->source;
}

void ca_client_set_h2(struct ca_client *client, struct h2 *h2, bool is_anonymous)
{
    client->h2 = h2;
    client->is_anonymous = is_anonymous;
}

void ca_client_free(struct ca_client *client)
{
    if (!client)
        return;
    cancel_all(&client->source);
    arena_fini(&client->arena);
    mem_free(client);
}
