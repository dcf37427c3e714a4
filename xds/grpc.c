/*
 * grpc.c - one call on one HTTP/2 stream.
 *
 * Happy path, client: request head -> messages -> half-close; response head -> messages -> trailers
 * with the status -> on_end. Server: messages -> on_end(OK) -> grpc_finish(): what is queued, then
 * trailers. Failure modes: a head that is no gRPC, the deadline, a stream that dies, a message that
 * is too large or compressed, an end inside a message: each ends the call with its status, once. A
 * server that finished towards a client that does not read gives up after FINISH_TIMEOUT_NS.
 */
#include "xds/grpc.h"

#include <inttypes.h>
#include <string.h>

#include "proxy/base/buf.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"
#include "proxy/tls/tls_stream.h"
#include "xds/grpc_frame.h"

#define QUEUE_HIGH                                                                                 \
    (4 * GRPC_MESSAGE_MAX) /* the first requests of all types, each as large as it may be */
#define QUEUE_LOW         ((size_t)1)
#define WRITE_BYTES       SLAB_BYTES
#define FINISH_TIMEOUT_NS (10 * NS_PER_SEC)
#define MESSAGE_MAX_CHARS ((size_t)1024) /* of grpc-message: it travels in a header */
#define FIELDS_MAX        16
#define CONTENT_TYPE      "application/grpc"

struct grpc_call {
    struct loop *loop;
    struct stream *stream; /* NULL: the call is over */
    const struct grpc_events *events;
    void *owner; /* events NULL: the owner is gone, and what is queued is still to be sent */
    bool is_server;
    struct grpc_reader reader;
    struct buf out;
    struct slice front;   /* of what is written, taken out of the queue */
    bool is_blocked;      /* the stream said stop */
    bool owes_writable;   /* the owner was told to stop */
    bool has_half_closed; /* or will, once the queue is empty */
    bool has_shut_down;   /* the stream was told */
    bool has_head;        /* server: sent; client: received and good */
    bool has_status;      /* client: received; server: to be sent */
    int status;
    struct text message;
    struct timer timer;
};

static void call_free(void *ptr)
{
    struct grpc_call *call = ptr;

    slice_release(call->front);
    buf_fini(&call->out);
    grpc_reader_fini(&call->reader);
    text_fini(&call->message);
    mem_free(call);
}

/* The end of every path. err as in stream_close(). */
static void dispose(struct grpc_call *call, int err)
{
    struct stream *stream = call->stream;

    if (!stream)
        return;
    call->stream = NULL;
    call->events = NULL;
    timer_stop(&call->timer);
    stream_close(stream, err);
    loop_bury(call->loop, call, call_free);
}

/* Ends the call and tells the owner. message lives until the end of the turn. */
static void end(struct grpc_call *call, int status, struct str message, int err)
{
    const struct grpc_events *events = call->events;
    void *owner = call->owner;

    dispose(call, err);
    if (events)
        events->on_end(owner, status, message);
}

/* ---- writing ---- */

static void send_trailers(struct grpc_call *call)
{
    struct text number = {0}, message = {0};
    struct h2_field fields[2] = {{.name = STR("grpc-status")}, {.name = STR("grpc-message")}};

    text_addf(&number, "%d", call->status);
    grpc_message_encode(text_str(&call->message), &message);
    fields[0].value = text_str(&number);
    fields[1].value = text_str(&message);
    h2_send_trailers(call->stream, fields, message.len ? 2 : 1);
    text_fini(&number);
    text_fini(&message);
}

static bool is_queue_empty(const struct grpc_call *call)
{
    return call->front.len == 0 && call->out.bytes == 0;
}

/* Hands pieces to the stream until it says stop. */
static void pump(struct grpc_call *call)
{
    while (!call->is_blocked && !is_queue_empty(call)) {
        bool drained;
        size_t len;

        if (call->front.len == 0)
            call->front = buf_shift(&call->out, &drained);
        len = call->front.len < WRITE_BYTES ? call->front.len : WRITE_BYTES;
        call->is_blocked = !stream_write(call->stream, slice_sub(call->front, 0, len));
        call->front.ptr += len;
        call->front.len -= len;
        if (call->front.len == 0) {
            slice_release(call->front);
            call->front = (struct slice){0};
        }
    }
}

/* What was waiting for the queue to become empty. */
static void after_pump(struct grpc_call *call)
{
    if (!is_queue_empty(call))
        return;
    if (call->is_server && call->has_status) {
        send_trailers(call);
        dispose(call, 0);
    } else if (!call->is_server && call->has_half_closed && !call->has_shut_down) {
        call->has_shut_down = true;
        stream_shutdown(call->stream);
    }
}

static void on_drain(void *owner)
{
    struct grpc_call *call = owner;

    call->is_blocked = false;
    pump(call);
    if (is_queue_empty(call) && call->owes_writable && call->events) {
        call->owes_writable = false;
        if (call->events->on_writable)
            call->events->on_writable(call->owner);
    }
    if (call->stream)
        after_pump(call);
}

void grpc_accept(struct grpc_call *call)
{
    const struct h2_field fields[] = {{STR(":status"), STR("200")},
                                      {STR("content-type"), STR(CONTENT_TYPE)}};

    if (call->has_head || !call->stream)
        return;
    call->has_head = true;
    h2_respond(call->stream, fields, ARRAY_LEN(fields), false);
}

bool grpc_send(struct grpc_call *call, struct str bytes)
{
    struct slab *slab;
    struct slice slice;

    ensure(bytes.len <= GRPC_MESSAGE_MAX);
    if (!call->stream || call->has_half_closed)
        return true;
    if (call->is_server)
        grpc_accept(call);
    slab = slab_new(loop_slabs(call->loop), GRPC_PREFIX_BYTES + bytes.len);
    grpc_prefix(slab->bytes, bytes.len);
    if (bytes.len)
        memcpy(slab->bytes + GRPC_PREFIX_BYTES, bytes.ptr, bytes.len);
    slice = slice_of(slab, 0, GRPC_PREFIX_BYTES + bytes.len);
    slab_unref(slab);
    (void)buf_push(&call->out, slice);
    pump(call);
    call->owes_writable = call->is_blocked || !is_queue_empty(call);
    return !call->owes_writable;
}

void grpc_half_close(struct grpc_call *call)
{
    if (!call->stream || call->has_half_closed)
        return;
    call->has_half_closed = true;
    after_pump(call);
}

static void on_finish_timeout(struct timer *timer)
{
    dispose(container_of(timer, struct grpc_call, timer), -ERR_IDLE_TIMEOUT);
}

/* A call that has sent nothing yet is answered with one head. */
static void respond_trailers_only(struct grpc_call *call)
{
    struct text number = {0}, message = {0};
    struct h2_field fields[4] = {{STR(":status"), STR("200")},
                                 {STR("content-type"), STR(CONTENT_TYPE)},
                                 {.name = STR("grpc-status")},
                                 {.name = STR("grpc-message")}};

    text_addf(&number, "%d", call->status);
    grpc_message_encode(text_str(&call->message), &message);
    fields[2].value = text_str(&number);
    fields[3].value = text_str(&message);
    h2_respond(call->stream, fields, message.len ? 4 : 3, true);
    text_fini(&number);
    text_fini(&message);
    dispose(call, 0);
}

void grpc_finish(struct grpc_call *call, enum grpc_status status, struct str message)
{
    ensure(call->is_server);
    if (!call->stream)
        return;
    call->events = NULL;
    call->has_status = true;
    call->status = (int)status;
    text_add(&call->message, str_sub(message, 0, MESSAGE_MAX_CHARS));
    if (!call->has_head) {
        respond_trailers_only(call);
        return;
    }
    timer_start(call->loop, &call->timer, FINISH_TIMEOUT_NS, on_finish_timeout);
    after_pump(call);
}

void grpc_cancel(struct grpc_call *call)
{
    dispose(call, -ERR_RESET);
}

/* ---- reading ---- */

/* The peer broke the framing: a server still says so on the wire. */
static void refuse(struct grpc_call *call, enum grpc_status status, struct str why)
{
    const struct grpc_events *events = call->events;
    void *owner = call->owner;

    if (!call->is_server) {
        end(call, (int)status, why, -ERR_RESET);
        return;
    }
    grpc_finish(call, status, why);
    if (events)
        events->on_end(owner, GRPC_CANCELLED, why);
}

static void take(struct grpc_call *call, struct str bytes)
{
    struct str message;

    while (call->stream && call->events) {
        switch (grpc_reader_take(&call->reader, &bytes, &message)) {
        case GRPC_READ_MORE: return;
        case GRPC_READ_MESSAGE: call->events->on_message(call->owner, message); break;
        case GRPC_READ_COMPRESSED:
            refuse(call, GRPC_UNIMPLEMENTED, STR("compressed messages are not supported"));
            return;
        case GRPC_READ_TOO_LARGE:
            refuse(call, GRPC_RESOURCE_EXHAUSTED, STR("the message is too large"));
            return;
        }
    }
}

/* A call that ends inside keeps its memory until the end of the turn. */
static void on_data(void *owner, struct slice slice)
{
    struct grpc_call *call = owner;
    const bool is_secret = call->reader.is_secret;

    take(call, slice_str(slice));
    if (is_secret)
        mem_wipe(slice.ptr, slice.len);
}

static void on_end(void *owner)
{
    struct grpc_call *call = owner;

    if (!call->events)
        return;
    if (grpc_reader_is_inside(&call->reader))
        refuse(call, GRPC_INTERNAL, STR("the stream ended inside a message"));
    else if (call->is_server)
        call->events->on_end(call->owner, GRPC_OK, (struct str){0});
    else if (call->has_status)
        end(call, call->status, text_str(&call->message), 0);
    else
        end(call, GRPC_UNKNOWN, STR("the response ended without a status"), 0);
}

static void on_fail(void *owner, int err)
{
    struct grpc_call *call = owner;

    end(call, call->is_server ? GRPC_CANCELLED : GRPC_UNAVAILABLE, str_from(err_text(err)), err);
}

static const struct stream_events stream_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_drain = on_drain,
    .on_fail = on_fail,
};

/* ---- the client's side ---- */

static void read_status(struct grpc_call *call, const struct h2_head *head)
{
    struct str status = h2_find(head, "grpc-status");

    if (str_is_empty(status) || call->has_status)
        return;
    call->has_status = true;
    call->status = grpc_status_parse(status);
    grpc_message_decode(str_sub(h2_find(head, "grpc-message"), 0, MESSAGE_MAX_CHARS * 3),
                        &call->message);
}

static bool is_grpc(const struct h2_head *head)
{
    struct str type = h2_find(head, "content-type");
    struct str rest = str_sub(type, sizeof(CONTENT_TYPE) - 1, 1);

    return str_starts_with(type, STR(CONTENT_TYPE)) &&
           (rest.len == 0 || rest.ptr[0] == '+' || rest.ptr[0] == ';');
}

static void on_head(void *owner, const struct h2_head *head)
{
    struct grpc_call *call = owner;
    struct str http_status = h2_find(head, ":status");

    if (!str_eq(http_status, STR("200"))) {
        text_addf(&call->message, "http status: %.*s", STR_ARG(http_status));
        end(call, grpc_status_of_http(http_status), text_str(&call->message), -ERR_RESET);
        return;
    }
    if (!is_grpc(head)) {
        end(call, GRPC_UNKNOWN, STR("the answer's content-type is not application/grpc"),
            -ERR_RESET);
        return;
    }
    call->has_head = true;
    if (head->end_stream)
        read_status(call, head);
    else if (call->events && call->events->on_accepted)
        call->events->on_accepted(call->owner);
}

static void on_trailers(void *owner, const struct h2_head *trailers)
{
    read_status(owner, trailers);
}

static const struct h2_stream_events head_events = {.on_head = on_head, .on_trailers = on_trailers};

static void on_deadline(struct timer *timer)
{
    end(container_of(timer, struct grpc_call, timer), GRPC_DEADLINE_EXCEEDED,
        STR("no answer in time"), -ERR_RESET);
}

static struct grpc_call *call_new(struct loop *loop, bool is_server,
                                  const struct grpc_events *events, void *owner)
{
    struct grpc_call *call = mem_new(struct grpc_call);

    call->loop = loop;
    call->events = events;
    call->owner = owner;
    call->is_server = is_server;
    call->reader.max_bytes = GRPC_MESSAGE_MAX;
    buf_init(&call->out, loop_slabs(loop), QUEUE_LOW, QUEUE_HIGH);
    return call;
}

static struct stream *request(struct grpc_call *call, struct h2 *h2, struct str path,
                              const struct h2_field *metadata, size_t n_metadata,
                              uint64_t timeout_ns)
{
    struct h2_field fields[FIELDS_MAX] = {
        {STR(":method"), STR("POST")},
        {STR(":scheme"), tls_is_stream(h2_lower(h2)) ? STR("https") : STR("http")},
        {STR(":path"), path},
        {STR(":authority"), STR("isthmus")},
        {STR("content-type"), STR(CONTENT_TYPE)},
        {STR("te"), STR("trailers")},
        {STR("user-agent"), STR("isthmus")},
    };
    size_t n_fields = 7;
    struct text timeout = {0};
    struct stream *stream;

    ensure(n_metadata <= FIELDS_MAX - n_fields - 1);
    if (timeout_ns) {
        text_addf(&timeout, "%" PRIu64 "m", timeout_ns / NS_PER_MS);
        fields[n_fields++] = (struct h2_field){STR("grpc-timeout"), text_str(&timeout)};
    }
    for (size_t i = 0; i < n_metadata; i++)
        fields[n_fields++] = metadata[i];
    stream = h2_request(h2, fields, n_fields, false, &head_events, &stream_events, call);
    text_fini(&timeout);
    return stream;
}

struct grpc_call *grpc_start(struct loop *loop, struct h2 *h2, struct str path,
                             const struct h2_field *metadata, size_t n_metadata,
                             uint64_t timeout_ns, const struct grpc_events *events, void *owner)
{
    struct grpc_call *call = call_new(loop, false, events, owner);

    call->stream = request(call, h2, path, metadata, n_metadata, timeout_ns);
    if (!call->stream) {
        call_free(call);
        return NULL;
    }
    if (timeout_ns)
        timer_start(loop, &call->timer, timeout_ns, on_deadline);
    stream_resume(call->stream);
    return call;
}

/* ---- the server's side ---- */

struct grpc_call *grpc_serve(struct loop *loop, struct stream *stream,
                             const struct grpc_events *events, void *owner)
{
    struct grpc_call *call = call_new(loop, true, events, owner);

    call->stream = stream;
    stream_set_owner(stream, &stream_events, call);
    stream_resume(stream);
    return call;
}

void grpc_limit_messages(struct grpc_call *call, size_t max_bytes)
{
    ensure(max_bytes <= GRPC_MESSAGE_MAX);
    call->reader.max_bytes = max_bytes;
}

void grpc_keep_secret(struct grpc_call *call, size_t max_bytes)
{
    grpc_limit_messages(call, max_bytes);
    call->reader.is_secret = true;
}

unsigned grpc_check_request(const struct h2_head *head)
{
    if (!str_eq(h2_find(head, ":method"), STR("POST")))
        return 405;
    if (!is_grpc(head) || !str_eq(h2_find(head, "te"), STR("trailers")))
        return 415;
    return str_starts_with(h2_find(head, ":path"), STR("/")) ? 0 : 404;
}
