/*
 * http_walk.c - one HTTP request and its answer of 1 KB through the whole walk of one node: read,
 * routed, judged, leased, written to the app, and back. Client and app keep their connections; what
 * they cost themselves is a few calls of the system and the look at a few bytes. And the decision
 * of the routes alone.
 */
#include <string.h>

#include "bench/micro/cases.h"
#include "bench/micro/two_nodes.h"
#include "proxy/base/arena.h"
#include "proxy/route/route.h"
#include "tests/kit/snap.h"

#define BODY_BYTES 1024
#define ROOM       16384

static struct wire wire;

/* ------------------------------------------------------------------ HTTP/1.1 */

static const char request[] =
    "GET /1024 HTTP/1.1\r\nHost: bench\r\nUser-Agent: load\r\nAccept: */*\r\n\r\n";
static char answer[256 + BODY_BYTES];
static size_t answer_len;
static size_t there_len, back_len; /* as the proxy writes them */

static size_t read_exactly(int fd, size_t len)
{
    static char bytes[ROOM];
    size_t n = 0;

    while (n < len)
        n += nodes_read(fd, bytes, sizeof(bytes));
    ensure(n == len);
    return n;
}

/* The first time: a message is whole when it has its head and so many bytes behind. */
static size_t read_message(int fd, size_t body_len)
{
    static char bytes[ROOM];
    size_t n = 0;

    for (;;) {
        n += nodes_read(fd, bytes + n, sizeof(bytes) - n);
        const char *end = memmem(bytes, n, "\r\n\r\n", 4);
        if (end && n == (size_t)(end - bytes) + 4 + body_len)
            return n;
    }
}

void prepare_http1_walk(size_t size)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n";

    (void)size;
    memcpy(answer, head, sizeof(head) - 1);
    memset(answer + sizeof(head) - 1, 'y', BODY_BYTES);
    answer_len = sizeof(head) - 1 + BODY_BYTES;
    nodes_open(0);
    wire = nodes_connect_asking(ROUTE_HTTP, request, sizeof(request) - 1);
    there_len = read_message(wire.app, 0);
    nodes_send(wire.app, answer, answer_len);
    back_len = read_message(wire.client, BODY_BYTES);
}

void prepare_http1_audited(size_t size)
{
    nodes_audit();
    prepare_http1_walk(size);
}

void http1_walk_once(size_t i)
{
    (void)i;
    nodes_send(wire.client, request, sizeof(request) - 1);
    (void)read_exactly(wire.app, there_len);
    nodes_send(wire.app, answer, answer_len);
    (void)read_exactly(wire.client, back_len);
}

/* The app's connection is kept, each client is another one. */
void prepare_http1_connect(size_t size)
{
    prepare_http1_walk(size);
    struct wire first = {.client = wire.client, .app = -1};
    nodes_disconnect(&first);
}

void http1_connect_once(size_t i)
{
    (void)i;
    struct wire caller = nodes_call(ROUTE_HTTP, request, sizeof(request) - 1);
    (void)read_exactly(wire.app, there_len);
    nodes_send(wire.app, answer, answer_len);
    (void)read_exactly(caller.client, back_len);
    nodes_disconnect(&caller);
}

/* ------------------------------------------------------------------ HTTP/2 */

#define FRAME_HEAD  9
#define PREFACE_LEN 24

enum frame { FRAME_DATA = 0, FRAME_HEADERS = 1, FRAME_SETTINGS = 4, FRAME_WINDOW_UPDATE = 8 };

#define END_STREAM  0x1
#define END_HEADERS 0x4

struct side { /* what one end has received and not looked at */
    uint8_t bytes[ROOM];
    size_t len;
};

static struct side of_client, of_app;
static uint32_t next_id;

static size_t put_frame(uint8_t *to, enum frame type, uint8_t flags, uint32_t id,
                        const void *payload, size_t len)
{
    const uint8_t head[FRAME_HEAD] = {
        0,          (uint8_t)(len >> 8), (uint8_t)len,        (uint8_t)type,
        flags,      (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8),
        (uint8_t)id};

    memcpy(to, head, FRAME_HEAD);
    if (len > 0)
        memcpy(to + FRAME_HEAD, payload, len);
    return FRAME_HEAD + len;
}

static uint32_t id_of(const uint8_t *head)
{
    return (uint32_t)head[5] << 24 | (uint32_t)head[6] << 16 | (uint32_t)head[7] << 8 | head[8];
}

/* Reads up to and with a frame of that type and with that flag; answers its stream. */
static uint32_t await_frame(struct side *side, int fd, enum frame type, uint8_t flag)
{
    for (;;) {
        size_t at = 0;
        uint32_t id = 0;

        while (id == 0 && side->len - at >= FRAME_HEAD) {
            const uint8_t *head = side->bytes + at;
            const size_t len = FRAME_HEAD + ((size_t)head[1] << 8 | head[2]);
            if (side->len - at < len)
                break;
            if (head[3] == type && (head[4] & flag))
                id = id_of(head);
            at += len;
        }
        memmove(side->bytes, side->bytes + at, side->len - at);
        side->len -= at;
        if (id)
            return id;
        side->len += nodes_read(fd, side->bytes + side->len, sizeof(side->bytes) - side->len);
    }
}

static size_t put_greeting(uint8_t *to)
{
    static const uint8_t window[4] = {0x7f, 0xff, 0, 0};
    size_t len = put_frame(to, FRAME_SETTINGS, 0, 0, NULL, 0);

    return len + put_frame(to + len, FRAME_WINDOW_UPDATE, 0, 0, window, sizeof(window));
}

/* The first head fills the table of the connection, the others refer to it. */
static size_t put_request(uint8_t *to)
{
    static const uint8_t first[] = "\x82\x86\x44\x05/1024\x41\x05"
                                   "bench\x7a\x04load\x53\x03*/*";
    static const uint8_t later[] = "\x82\x86\xc1\xc0\xbf\xbe";
    const bool is_first = next_id == 1;
    const uint32_t id = next_id;

    next_id += 2;
    return put_frame(to, FRAME_HEADERS, END_STREAM | END_HEADERS, id, is_first ? first : later,
                     (is_first ? sizeof(first) : sizeof(later)) - 1);
}

static size_t put_answer(uint8_t *to, uint32_t id)
{
    static const uint8_t first[] = "\x88\x5f\x0atext/plain\x5c\x04"
                                   "1024";
    static const uint8_t later[] = "\x88\xbf\xbe";
    static uint8_t body[BODY_BYTES];
    const size_t len = put_frame(to, FRAME_HEADERS, END_HEADERS, id, id == 1 ? first : later,
                                 (id == 1 ? sizeof(first) : sizeof(later)) - 1);

    return len + put_frame(to + len, FRAME_DATA, END_STREAM, id, body, sizeof(body));
}

static void serve_http2(void)
{
    uint8_t bytes[2048];
    const uint32_t id = await_frame(&of_app, wire.app, FRAME_HEADERS, END_HEADERS);

    nodes_send(wire.app, bytes, put_answer(bytes, id));
    (void)await_frame(&of_client, wire.client, FRAME_DATA, END_STREAM);
}

void prepare_http2_walk(size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    uint8_t bytes[512];
    size_t len;

    (void)size;
    nodes_open(0);
    next_id = 1;
    memcpy(bytes, preface, PREFACE_LEN);
    len = PREFACE_LEN + put_greeting(bytes + PREFACE_LEN);
    len += put_request(bytes + len);
    wire = nodes_connect_asking(ROUTE_HTTP2, bytes, len);
    while (of_app.len < PREFACE_LEN)
        of_app.len += nodes_read(wire.app, of_app.bytes + of_app.len, ROOM - of_app.len);
    of_app.len -= PREFACE_LEN;
    memmove(of_app.bytes, of_app.bytes + PREFACE_LEN, of_app.len);
    len = put_greeting(bytes);
    len += put_frame(bytes + len, FRAME_SETTINGS, 1, 0, NULL, 0);
    nodes_send(wire.app, bytes, len);
    nodes_send(wire.client, bytes, put_frame(bytes, FRAME_SETTINGS, 1, 0, NULL, 0));
    serve_http2();
}

void http2_walk_once(size_t i)
{
    uint8_t bytes[64];

    (void)i;
    nodes_send(wire.client, bytes, put_request(bytes));
    serve_http2();
}

/* ------------------------------------------------------------------ routes */

#define RULES_MAX 1000

static struct arena scratch;
static struct http_request head_asked;
static struct http_path path_asked;
static struct route_question question;

static void add_routes(struct snap *snap, size_t n_rules)
{
    static struct route_rule rules[RULES_MAX];
    static const struct str domain = {"*", 1};
    static const struct route_backend backend = {
        .service = {"shop/till.shop.svc.clusterset.local", 35}, .port = 80, .weight = 1};
    static struct route_host host = {&domain, 1, rules, 0};
    static struct model_routes routes = {
        .service = {"shop/till.shop.svc.clusterset.local", 35}, .hosts = &host, .n_hosts = 1};
    static struct model_resource resource;

    ensure(n_rules <= RULES_MAX);
    for (size_t i = 0; i < n_rules; i++)
        rules[i] = (struct route_rule){
            .name = arena_printf(&snap->arena, "shop/items/%zu", i),
            .match = {.path_kind = ROUTE_PATH_PREFIX,
                      .path = arena_printf(&snap->arena, "/items/%zu", i)},
            .action = ROUTE_FORWARD,
            .backends = &backend,
            .n_backends = 1,
            .missing_status = 500,
        };
    host.n_rules = n_rules;
    resource = (struct model_resource){
        MODEL_ROUTES, routes_name(&routes, &snap->arena), {.routes = &routes}};
    snap_add(snap, &resource);
}

void prepare_route(size_t n_rules)
{
    static struct snap snap;
    static const struct http_field fields[] = {{{"accept", 6}, {"*/*", 3}},
                                               {{"user-agent", 10}, {"load", 4}}};
    const char *why;

    snap_init(&snap, "n1");
    struct model_service *till = snap_service(&snap, "till", "10.201.0.7", 80, 8080);
    till->ports[0].app_protocol = APP_HTTP11;
    snap_serve(&snap, snap_pod(&snap, "till", "n1", "10.0.0.2"), till);
    add_routes(&snap, n_rules);
    struct snapshot *snapshot = snap_build(&snap);
    head_asked = (struct http_request){
        .method = STR("GET"),
        .scheme = STR("http"),
        .authority = STR("till.shop:80"),
        .path = arena_printf(&snap.arena, "/items/%zu/pictures?size=large", n_rules - 1),
        .fields = {.at = fields, .len = ARRAY_LEN(fields)},
    };
    ensure(http_path_normalize(head_asked.path, HTTP_PATH_MERGE_SLASHES, &snap.arena, &path_asked,
                               &why) == 0);
    question = (struct route_question){
        .head = &head_asked,
        .path = &path_asked,
        .service = snapshot_service_by_key(snapshot, STR("shop/till.shop.svc.clusterset.local")),
        .source_namespace = STR("shop"),
    };
    question.port = service_find_port(question.service, 80);
}

void route_once(size_t i)
{
    struct route_decision decision;

    question.random = i;
    route_decide(&question, &scratch, &decision);
    ensure(decision.status == 0);
    arena_reset(&scratch);
}
