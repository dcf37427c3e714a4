/*
 * http_port.c - our end of HTTP connections as a program, for clients of others.
 *
 * http_port --h1|--h2 [--relay PORT [--to-h1|--to-h2]] [--limit NAME=VALUE]... listens on
 * 127.0.0.1, prints its port on one line, then a line for everything that its owner hears, and
 * serves until SIGTERM:
 *
 *   head METHOD PATH AUTHORITY    a request was shown
 *   end PATH                      it is whole
 *   fail PATH reason              it is not, and never will be
 *   refused STATUS sentence       what came was no request
 *   dead reason sentence          a connection ended
 *
 * Without --relay it answers itself: 200 and the request's body (or "ok"), with its trailers.
 * Words in the path ask for something else: /interim a 103 first, /early the answer without reading
 * the body, /hold none ever, /big a mebibyte, /status-NNN that status without a body. With --relay
 * it sends every request on to a server on 127.0.0.1 over HTTP/2, or over HTTP/1.1, where the next
 * one needs another connection.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/arena.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/http/message.h"
#include "proxy/io/process.h"
#include "proxy/io/tcp.h"

#define BIG_BYTES (1u << 20)

typedef struct http_server *(*server_new)(struct loop *, struct stream *,
                                          const struct http_limits *,
                                          const struct http_server_events *, void *);
typedef struct http_client *(*client_new)(struct loop *, struct stream *,
                                          const struct http_limits *,
                                          const struct http_client_events *, void *);

static struct loop *loop;
static struct http_limits limits;
static server_new make_server;
static client_new make_client;
static uint16_t relay_port;

struct connection { /* of a client */
    struct http_server *server;
};

/* ------------------------------------------------------------------ answering */

struct onward;

struct exchange {
    struct http_stream *in, *out; /* out: a relay's */
    char *path;
    bool is_waiting;          /* for in to drain */
    struct onward *waits_for; /* a relay's: the connection that is being made for it */
    bool is_whole, has_answered, ends_out;
    size_t n_big;
};

static void say(const char *what, const struct exchange *x, const char *why)
{
    printf("%s %s%s%s\n", what, x->path, why ? " " : "", why ? why : "");
    fflush(stdout);
}

static void free_exchange(struct exchange *x)
{
    mem_free(x->path);
    mem_free(x);
}

static void forget_exchange(struct onward *onward);

static void close_exchange(struct exchange *x, int err)
{
    struct http_stream *in = x->in, *out = x->out;

    if (x->waits_for)
        forget_exchange(x->waits_for);
    x->in = x->out = NULL;
    if (in)
        stream_close(&in->stream, err);
    if (out)
        stream_close(&out->stream, err);
    loop_bury(loop, x, (void (*)(void *))free_exchange);
}

static void pour(struct exchange *x)
{
    static const char zeros[32768];

    while (x->n_big > 0 && !x->is_waiting) {
        x->n_big -= sizeof(zeros);
        x->is_waiting = !stream_write_copy(&x->in->stream, zeros, sizeof(zeros));
    }
    if (x->n_big == 0)
        stream_shutdown(&x->in->stream);
}

static void on_data(void *owner, struct slice bytes)
{
    struct exchange *x = owner;

    if (!stream_write(&x->in->stream, slice_ref(bytes)))
        stream_pause(&x->in->stream);
}

static void on_drain(void *owner)
{
    struct exchange *x = owner;

    x->is_waiting = false;
    if (x->n_big > 0)
        pour(x);
    if (x->n_big == 0 && x->is_whole)
        close_exchange(x, 0);
    else
        stream_resume(&x->in->stream);
}

static void finish(struct exchange *x)
{
    if (!x->is_whole)
        say("end", x, NULL);
    x->is_whole = true;
}

static void on_end(void *owner)
{
    struct exchange *x = owner;

    finish(x);
    if (strstr(x->path, "/hold") || x->n_big > 0)
        return;
    if (!strstr(x->path, "/big"))
        stream_shutdown(&x->in->stream);
    close_exchange(x, 0);
}

static void on_fail(void *owner, int err)
{
    struct exchange *x = owner;

    say("fail", x, err_label(err));
    close_exchange(x, err);
}

static void on_trailers(void *owner, const struct http_fields *trailers)
{
    struct exchange *x = owner;

    http_trailers(x->in, trailers);
}

static const struct stream_events echo_events = {on_data, on_end, on_drain, on_fail};
static const struct http_stream_events echo_http_events = {.on_trailers = on_trailers};

static void answer(struct exchange *x, const struct http_request *head)
{
    static const struct http_field hint = {STR("link"), STR("</a.css>; rel=preload")};
    const struct http_field type = {STR("content-type"), STR("text/plain")};
    struct http_response response = {.status = 200,
                                     .fields = {.at = &type, .len = 1},
                                     .content_length = HTTP_LENGTH_UNKNOWN,
                                     .has_body = true};
    const char *status = strstr(x->path, "/status-");

    if (strstr(x->path, "/hold"))
        return;
    if (str_eq_ci(http_find(&head->fields, "expect"), STR("100-continue")))
        http_interim(x->in, &(struct http_response){.status = 100});
    if (strstr(x->path, "/interim"))
        http_interim(x->in,
                     &(struct http_response){.status = 103, .fields = {.at = &hint, .len = 1}});
    if (!str_is_empty(head->protocol))
        response = (struct http_response){.status = 101, .has_body = true};
    else if (status)
        response = (struct http_response){.status = (unsigned)atoi(status + 8)};
    else if (str_eq(head->method, STR("HEAD")))
        response.has_body = false;
    else if (!head->has_body && !strstr(x->path, "/big"))
        response.content_length = 2;
    http_respond(x->in, &response);
    if (strstr(x->path, "/big")) {
        x->n_big = BIG_BYTES;
        pour(x);
    } else if (response.has_body && response.content_length == 2) {
        stream_write_copy(&x->in->stream, "ok", 2);
    }
    if (strstr(x->path, "/early")) {
        stream_shutdown(&x->in->stream);
        close_exchange(x, 0);
        return;
    }
    stream_resume(&x->in->stream);
}

/* ------------------------------------------------------------------ relaying */

struct onward { /* a connection to the server */
    struct list link;
    struct http_client *client; /* NULL: it is being made, for the exchange below */
    struct exchange *first;     /* NULL: it has gone meanwhile */
    struct http_request head;
    struct arena arena;
};

static struct list onwards;

static void forget_exchange(struct onward *onward)
{
    onward->first = NULL;
}

/* The other half of an exchange: what one side says goes to the other. */
static struct http_stream *other(struct exchange *x, bool is_in)
{
    return is_in ? x->out : x->in;
}

static void relay_data(struct exchange *x, bool is_in, struct slice bytes)
{
    if (!stream_write(&other(x, is_in)->stream, slice_ref(bytes)))
        stream_pause(is_in ? &x->in->stream : &x->out->stream);
}

static void close_if_done(struct exchange *x)
{
    if (x->is_whole && x->ends_out)
        close_exchange(x, 0);
}

static void in_data(void *owner, struct slice bytes)
{
    relay_data(owner, true, bytes);
}

static void in_end(void *owner)
{
    struct exchange *x = owner;

    finish(x);
    stream_shutdown(&x->out->stream);
    close_if_done(x);
}

static void in_drain(void *owner)
{
    stream_resume(&((struct exchange *)owner)->out->stream);
}

static void in_trailers(void *owner, const struct http_fields *trailers)
{
    http_trailers(((struct exchange *)owner)->out, trailers);
}

static void out_data(void *owner, struct slice bytes)
{
    relay_data(owner, false, bytes);
}

static void out_end(void *owner)
{
    struct exchange *x = owner;

    x->ends_out = true;
    stream_shutdown(&x->in->stream);
    if (!x->is_whole)
        finish(x);
    close_exchange(x, 0);
}

static void out_drain(void *owner)
{
    stream_resume(&((struct exchange *)owner)->in->stream);
}

static void out_interim(void *owner, const struct http_response *head)
{
    http_interim(((struct exchange *)owner)->in, head);
}

static void out_response(void *owner, const struct http_response *head)
{
    struct exchange *x = owner;

    x->has_answered = true;
    http_respond(x->in, head);
}

static void out_trailers(void *owner, const struct http_fields *trailers)
{
    http_trailers(((struct exchange *)owner)->in, trailers);
}

static void out_fail(void *owner, int err)
{
    struct exchange *x = owner;

    if (!x->has_answered)
        http_respond(x->in, &(struct http_response){.status = 502});
    say("fail", x, err_label(err));
    close_exchange(x, x->has_answered ? err : 0);
}

static const struct stream_events in_events = {in_data, in_end, in_drain, on_fail};
static const struct http_stream_events in_http_events = {.on_trailers = in_trailers};
static const struct stream_events out_events = {out_data, out_end, out_drain, out_fail};
static const struct http_stream_events out_http_events = {out_interim, out_response, out_trailers};

static void send_on(struct onward *onward, struct exchange *x, const struct http_request *head)
{
    x->out = http_request(onward->client, head, &out_http_events, &out_events, x);
    ensure(x->out);
    stream_resume(&x->in->stream);
    stream_resume(&x->out->stream);
}

static void drop_onward(struct onward *onward)
{
    list_remove(&onward->link);
    arena_fini(&onward->arena);
    loop_bury(loop, onward, mem_free);
}

static void on_onward_dead(void *owner, int err, struct str why)
{
    struct onward *onward = owner;

    printf("onward %s %.*s\n", err_label(err), STR_ARG(why));
    http_client_close(onward->client, 0);
    drop_onward(onward);
}

static void on_connected(void *owner, int err, struct stream *stream)
{
    static const struct http_client_events events = {.on_dead = on_onward_dead};
    struct onward *onward = owner;
    struct exchange *x = onward->first;

    if (err) {
        if (x) {
            http_respond(x->in, &(struct http_response){.status = 503});
            close_exchange(x, 0);
        }
        drop_onward(onward);
        return;
    }
    onward->client = make_client(loop, stream, &limits, &events, onward);
    if (x) {
        x->waits_for = NULL;
        send_on(onward, x, &onward->head);
    }
    onward->first = NULL;
}

static void copy_head(struct onward *onward, const struct http_request *head)
{
    struct arena *arena = &onward->arena;
    struct http_field *fields = arena_new_array(arena, struct http_field, head->fields.len + 1);
    struct http_request *copy = &onward->head;

    *copy = *head;
    copy->method = arena_str(arena, head->method);
    copy->scheme = arena_str(arena, head->scheme);
    copy->authority = arena_str(arena, head->authority);
    copy->path = arena_str(arena, head->path);
    copy->protocol = arena_str(arena, head->protocol);
    for (size_t i = 0; i < head->fields.len; i++)
        fields[i] = (struct http_field){arena_str(arena, head->fields.at[i].name),
                                        arena_str(arena, head->fields.at[i].value)};
    copy->fields.at = fields;
}

static void connect_for(struct exchange *x, const struct http_request *head)
{
    struct onward *onward = mem_new(struct onward);
    struct addr to = {.port = relay_port};

    onward->first = x;
    x->waits_for = onward;
    copy_head(onward, head);
    list_push_back(&onwards, &onward->link);
    ensure(ip_parse(STR("127.0.0.1"), &to.ip) == 0);
    tcp_connect(loop, &to, &(struct tcp_options){0}, on_connected, onward);
}

static void relay(struct exchange *x, const struct http_request *head)
{
    for (struct list *at = onwards.next; at != &onwards; at = at->next) {
        struct onward *onward = list_entry(at, struct onward, link);

        if (onward->client && http_client_can_open(onward->client)) {
            send_on(onward, x, head);
            return;
        }
    }
    connect_for(x, head);
}

/* ------------------------------------------------------------------ connections */

static void on_request(void *owner, struct http_stream *stream, const struct http_request *head)
{
    struct exchange *x = mem_new(struct exchange);

    (void)owner;
    x->in = stream;
    x->path = mem_alloc(head->path.len + 1);
    memcpy(x->path, head->path.ptr, head->path.len);
    x->path[head->path.len] = '\0';
    printf("head %.*s %s %.*s\n", STR_ARG(head->method), x->path, STR_ARG(head->authority));
    fflush(stdout);
    if (relay_port) {
        http_stream_set_owner(stream, &in_http_events, &in_events, x);
        relay(x, head);
    } else {
        http_stream_set_owner(stream, &echo_http_events, &echo_events, x);
        answer(x, head);
    }
}

static void on_refused(void *owner, unsigned status, int err, struct str why)
{
    (void)owner, (void)err;
    printf("refused %u %.*s\n", status, STR_ARG(why));
    fflush(stdout);
}

static void on_dead(void *owner, int err, struct str why)
{
    struct connection *connection = owner;

    printf("dead %s %.*s\n", err_label(err), STR_ARG(why));
    fflush(stdout);
    http_server_close(connection->server, 0);
    loop_bury(loop, connection, mem_free);
}

static void on_accept(void *owner, struct stream *stream)
{
    static const struct http_server_events events = {on_request, on_refused, on_dead};
    struct connection *connection = mem_new(struct connection);

    (void)owner;
    connection->server = make_server(loop, stream, &limits, &events, connection);
}

static void on_stop(void *owner, int signum)
{
    (void)owner, (void)signum;
    /* What is open is nobody's loss. It is not looked for either: a session's pages are not memory
     * that the leak checker reads, so that what hangs on one would be told as lost. */
    _exit(0);
}

/* ------------------------------------------------------------------ the command line */

static void read_limit(const char *text)
{
    const struct {
        const char *name;
        uint32_t *number;
        uint64_t *ms;
    } known[] = {
        {"head_bytes", &limits.head_bytes, NULL}, {"fields", &limits.fields, NULL},
        {"streams", &limits.streams, NULL},       {"requests", &limits.requests, NULL},
        {"head_ms", NULL, &limits.head_ns},       {"idle_ms", NULL, &limits.idle_ns},
        {"body_ms", NULL, &limits.body_ns},       {"stream_window", &limits.stream_window, NULL},
    };

    const char *value = strchr(text, '=');

    for (size_t i = 0; value && i < ARRAY_LEN(known); i++) {
        if (strlen(known[i].name) != (size_t)(value - text) ||
            strncmp(known[i].name, text, (size_t)(value - text)) != 0)
            continue;
        if (known[i].number)
            *known[i].number = (uint32_t)atoi(value + 1);
        else
            *known[i].ms = (uint64_t)atoi(value + 1) * 1000000;
        return;
    }
    fprintf(stderr, "http_port: no such limit: %s\n", text);
    exit(2);
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--h2") == 0) {
            make_server = http2_server_new;
        } else if (strcmp(argv[i], "--h1") == 0) {
            make_server = http1_server_new;
        } else if (strcmp(argv[i], "--to-h2") == 0) {
            make_client = http2_client_new;
        } else if (strcmp(argv[i], "--to-h1") == 0) {
            make_client = http1_client_new;
        } else if (strcmp(argv[i], "--relay") == 0 && i + 1 < argc) {
            relay_port = (uint16_t)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--limit") == 0 && i + 1 < argc) {
            read_limit(argv[++i]);
        } else {
            fprintf(stderr, "http_port: what is %s?\n", argv[i]);
            exit(2);
        }
    }
    if (!make_server)
        make_server = http2_server_new;
    if (!make_client)
        make_client = http2_client_new;
}

int main(int argc, char **argv)
{
    struct addr local = {0};
    struct listener *listener;
    int errnum;

    read_arguments(argc, argv);
    log_set_level(LOG_WARN);
    list_init(&onwards);
    loop = loop_new();
    ensure(ip_parse(STR("127.0.0.1"), &local.ip) == 0);
    ensure(listener_open(loop, &local, &(struct listener_options){0}, on_accept, NULL, &listener,
                         &errnum) == 0);
    (void)signal_watch_open(loop, SIGTERM, on_stop, NULL);
    printf("%u\n", listener_addr(listener).port);
    fflush(stdout);
    loop_run(loop);
    return 0;
}
