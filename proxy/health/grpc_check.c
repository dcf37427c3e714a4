#include "proxy/health/grpc_check.h"

#include <stdio.h>

#include "proxy/base/arena.h"
#include "proxy/base/mem.h"
#include "proxy/base/text.h"
#include "proxy/http/h2.h"

#define FRAME_HEAD     5
#define ANSWER_MAX     64 /* a HealthCheckResponse has two bytes */
#define SERVICE_MAX    1024
#define FIELD_1_VARINT 0x08
#define FIELD_1_BYTES  0x0a
#define STATUS_SERVING 1
#define STATUSES_KNOWN 4

struct grpc_check {
    struct loop *loop;
    struct arena arena;
    struct str authority, service;
    struct h2 *h2;
    struct stream *stream;
    uint8_t body[ANSWER_MAX];
    size_t len;
    bool is_http_ok, has_status;
    char status[4]; /* grpc-status */
    void (*on_done)(void *owner, enum answer answer, struct str why);
    void *owner;
};

static void free_check(void *ptr)
{
    struct grpc_check *check = ptr;
    arena_fini(&check->arena);
    mem_free(check);
}

void grpc_check_cancel(struct grpc_check *check)
{
    if (check->stream)
        stream_close(check->stream, -ERR_SHUTDOWN);
    check->stream = NULL;
    h2_close(check->h2, 0);
    loop_bury(check->loop, check, free_check);
}

static void finish(struct grpc_check *check, enum answer answer, const char *why)
{
    grpc_check_cancel(check);
    check->on_done(check->owner, answer, str_from(why));
}

/* ---- the answer ---- */

static void note_status(struct grpc_check *check, const struct h2_head *head)
{
    const struct str status = h2_find(head, "grpc-status");
    if (str_is_empty(status))
        return;
    check->has_status = true;
    (void)snprintf(check->status, sizeof check->status, "%.*s",
                   (int)(status.len < 3 ? status.len : 3), status.ptr);
}

/* The serving status in the message, -1 when it is malformed. An empty message is 0, UNKNOWN. */
static int serving_status(const struct grpc_check *check)
{
    if (check->len < FRAME_HEAD || check->body[0] != 0)
        return -1;
    const size_t len = check->len - FRAME_HEAD;
    const uint8_t *message = check->body + FRAME_HEAD;
    if (check->body[1] != 0 || check->body[2] != 0 || check->body[3] != 0 || check->body[4] != len)
        return -1;
    if (len == 0)
        return 0;
    return len >= 2 && message[0] == FIELD_1_VARINT && message[1] < STATUSES_KNOWN ? message[1]
                                                                                   : -1;
}

static void judge(struct grpc_check *check)
{
    static const char *const serving[STATUSES_KNOWN] = {"serving status UNKNOWN", "SERVING",
                                                        "serving status NOT_SERVING",
                                                        "serving status SERVICE_UNKNOWN"};
    char why[64];
    if (!check->is_http_ok || !check->has_status) {
        finish(check, ANSWER_NONE, "the answer is not gRPC's");
        return;
    }
    if (!str_eq(str_from(check->status), STR("0"))) {
        (void)snprintf(why, sizeof why, "the health service answered grpc-status %s",
                       check->status);
        finish(check, ANSWER_BAD, why);
        return;
    }
    const int status = serving_status(check);
    if (status < 0)
        finish(check, ANSWER_NONE, "the health service's answer is malformed");
    else
        finish(check, status == STATUS_SERVING ? ANSWER_GOOD : ANSWER_BAD, serving[status]);
}

static void on_head(void *owner, const struct h2_head *head)
{
    struct grpc_check *check = owner;
    check->is_http_ok = str_eq(h2_find(head, ":status"), STR("200"));
    note_status(check, head);
}

static void on_trailers(void *owner, const struct h2_head *trailers)
{
    note_status(owner, trailers);
}

static const struct h2_stream_events head_events = {.on_head = on_head, .on_trailers = on_trailers};

static void on_data(void *owner, struct slice bytes)
{
    struct grpc_check *check = owner;
    for (size_t i = 0; i < bytes.len && check->len < sizeof check->body; i++)
        check->body[check->len++] = bytes.ptr[i];
    if (check->len == sizeof check->body)
        finish(check, ANSWER_NONE, "the health service's answer is too long");
}

static void on_end(void *owner)
{
    judge(owner);
}

static void on_drain(void *owner)
{
    (void)owner; /* one small message was written */
}

static void on_fail(void *owner, int err)
{
    struct grpc_check *check = owner;
    if (check->has_status)
        judge(check); /* a server may end its stream with a reset behind the trailers */
    else
        finish(check, ANSWER_NONE, err_text(err));
}

static const struct stream_events stream_events = {on_data, on_end, on_drain, on_fail};

/* ---- the question ---- */

/* HealthCheckRequest{service = 1}: none for the server as a whole. */
static void write_request(struct grpc_check *check)
{
    struct text message = {0}, frame = {0};
    const struct str service = check->service;
    if (service.len > 0) {
        text_addc(&message, FIELD_1_BYTES);
        if (service.len >= 128)
            text_addc(&message, (char)(uint8_t)((service.len & 0x7f) | 0x80));
        text_addc(&message, (char)(uint8_t)(service.len >= 128 ? service.len >> 7 : service.len));
        text_add(&message, service);
    }
    const char head[FRAME_HEAD] = {0, 0, 0, (char)(uint8_t)(message.len >> 8),
                                   (char)(uint8_t)(message.len & 0xff)};
    text_add(&frame, str_of(head, sizeof head));
    text_add(&frame, text_str(&message));
    (void)stream_write_copy(check->stream, frame.ptr, frame.len);
    stream_shutdown(check->stream);
    stream_resume(check->stream);
    text_fini(&frame);
    text_fini(&message);
}

static void on_ready(void *owner)
{
    struct grpc_check *check = owner;
    const struct h2_field fields[] = {
        {STR(":method"), STR("POST")},
        {STR(":scheme"), STR("http")},
        {STR(":authority"), check->authority},
        {STR(":path"), STR("/grpc.health.v1.Health/Check")},
        {STR("content-type"), STR("application/grpc")},
        {STR("te"), STR("trailers")},
        {STR("user-agent"), STR("isthmus-health")},
    };
    check->stream = h2_request(check->h2, fields, sizeof fields / sizeof fields[0], false,
                               &head_events, &stream_events, check);
    if (check->stream)
        write_request(check);
    else
        finish(check, ANSWER_NONE, "it takes no request");
}

static void on_dead(void *owner, int err, struct str why)
{
    (void)why;
    finish(owner, ANSWER_NONE, err_text(err));
}

static const struct h2_events h2_events = {.on_ready = on_ready, .on_dead = on_dead};

struct grpc_check *
grpc_check_start(struct loop *loop, struct stream *stream, struct str authority, struct str service,
                 void (*on_done)(void *owner, enum answer answer, struct str why), void *owner)
{
    static const struct h2_options defaults = {0};
    struct grpc_check *check = mem_new(struct grpc_check);
    check->loop = loop;
    check->authority = arena_str(&check->arena, authority);
    check->service = arena_str(&check->arena, str_sub(service, 0, SERVICE_MAX));
    check->on_done = on_done;
    check->owner = owner;
    check->h2 = h2_client_new(loop, stream, &defaults, &h2_events, check);
    return check;
}
