/* https_fetch.c - one step after the other; at most one of them is under way. */
#include "proxy/http/https_fetch.h"

#include "proxy/base/file.h"
#include "proxy/base/mem.h"
#include "proxy/http/h1_answer.h"
#include "proxy/io/lookup.h"
#include "proxy/io/tcp.h"

struct https_fetch {
    struct loop *loop;
    struct arena arena;
    struct https_request request;
    struct tls_identity *identity; /* anonymous, or the web's */
    struct timer timer;
    struct addr addrs[LOOKUP_ADDRESSES_MAX];
    size_t n_addrs, next_addr;
    struct lookup *lookup;
    struct tcp_connect *connect;
    struct tls_handshake *handshake;
    struct stream *stream;
    bool is_over;
    struct h1_answer answer;
    void (*on_done)(void *owner, int err, const struct https_answer *answer, struct str why);
    void *owner;
};

static void fetch_free(void *ptr)
{
    struct https_fetch *fetch = ptr;

    h1_answer_fini(&fetch->answer);
    tls_identity_unref(fetch->identity);
    arena_wipe(&fetch->arena); /* a field may be a token */
    mem_free(fetch);
}

static void dispose(struct https_fetch *fetch)
{
    fetch->is_over = true;
    timer_stop(&fetch->timer);
    if (fetch->lookup)
        lookup_cancel(fetch->lookup);
    if (fetch->connect)
        tcp_connect_cancel(fetch->connect);
    if (fetch->handshake)
        tls_handshake_cancel(fetch->handshake);
    if (fetch->stream)
        stream_close(fetch->stream, -ERR_SHUTDOWN);
    loop_bury(fetch->loop, fetch, fetch_free);
}

static void fail(struct https_fetch *fetch, int err, struct str why)
{
    struct str sentence = str_is_empty(why) ? str_from(err_text(err)) : why;

    dispose(fetch);
    fetch->on_done(fetch->owner, err, NULL, sentence);
}

static void succeed(struct https_fetch *fetch)
{
    const struct https_answer answer = {
        .status = fetch->answer.status,
        .body = text_str(&fetch->answer.body),
        .location = text_str(&fetch->answer.location),
        .retry_after = text_str(&fetch->answer.retry_after),
    };

    dispose(fetch);
    fetch->on_done(fetch->owner, 0, &answer, (struct str){0});
}

static void settle(struct https_fetch *fetch, int err)
{
    if (fetch->is_over) /* its owner has heard enough of it */
        return;
    if (err == -ERR_LIMIT)
        fail(fetch, err, STR("the answer is too large"));
    else if (err)
        fail(fetch, err, (struct str){0});
    else if (fetch->answer.is_whole)
        succeed(fetch);
}

/* ---- the answer ---- */

static void on_piece(void *owner, struct str piece)
{
    struct https_fetch *fetch = owner;

    if (!fetch->is_over)
        fetch->request.on_piece(fetch->owner, piece);
}

static void on_data(void *owner, struct slice bytes)
{
    struct https_fetch *fetch = owner;

    settle(fetch, h1_answer_take(&fetch->answer, slice_str(bytes)));
}

static void on_end(void *owner)
{
    struct https_fetch *fetch = owner;

    settle(fetch, h1_answer_end(&fetch->answer));
}

static void on_drain(void *owner)
{
    (void)owner; /* all of the request is queued at once */
}

static void on_fail(void *owner, int err)
{
    fail(owner, err, (struct str){0});
}

static const struct stream_events answer_events = {on_data, on_end, on_drain, on_fail};

static void write_head(const struct https_request *request, struct text *out)
{
    const bool is_v6 = str_contains(request->host, STR(":"));
    const bool is_post = !str_is_empty(request->content_type);

    text_addf(out, "%s %.*s HTTP/1.1\r\nHost: %s%.*s%s:%u\r\nUser-Agent: isthmus\r\n",
              is_post ? "POST" : "GET", STR_ARG(request->path), is_v6 ? "[" : "",
              STR_ARG(request->host), is_v6 ? "]" : "", request->port);
    if (is_post)
        text_addf(out, "Content-Type: %.*s\r\nContent-Length: %zu\r\n",
                  STR_ARG(request->content_type), request->body.len);
    else
        text_addf(out, "Accept: application/json\r\n");
    for (size_t i = 0; i < request->fields.len; i++)
        text_addf(out, "%.*s: %.*s\r\n", STR_ARG(request->fields.at[i].name),
                  STR_ARG(request->fields.at[i].value));
    text_addf(out, "Connection: close\r\n\r\n");
}

static void ask(struct https_fetch *fetch)
{
    const struct str body = fetch->request.body;
    struct text head = {0};

    write_head(&fetch->request, &head);
    stream_set_owner(fetch->stream, &answer_events, fetch);
    (void)stream_write_copy(fetch->stream, head.ptr, head.len);
    for (size_t at = 0; at < body.len; at += SLAB_BYTES) {
        const struct str piece = str_sub(body, at, SLAB_BYTES);
        (void)stream_write_copy(fetch->stream, piece.ptr, piece.len);
    }
    stream_resume(fetch->stream);
    file_wipe(&head); /* a field may be a token */
}

/* ---- the connection ---- */

static void on_handshake(void *owner, int err, struct stream *stream, struct str why)
{
    struct https_fetch *fetch = owner;

    fetch->handshake = NULL;
    if (err) {
        fail(fetch, err, why);
        return;
    }
    fetch->stream = stream;
    ask(fetch);
}

static void secure(struct https_fetch *fetch, struct stream *tcp)
{
    const struct tls_options options = {
        .role = TLS_CLIENT,
        .identity = fetch->identity,
        .trust = fetch->request.trust,
        .expected = &fetch->request.spiffe_id,
        .n_expected = fetch->request.spiffe_id.len > 0 ? 1 : 0,
        .server_name = fetch->request.host,
    };

    fetch->handshake = tls_handshake(fetch->loop, tcp, &options, on_handshake, fetch);
}

static void connect_next(struct https_fetch *fetch);

static void on_connect(void *owner, int err, struct stream *stream)
{
    struct https_fetch *fetch = owner;

    fetch->connect = NULL;
    if (!err && fetch->request.is_plain) {
        fetch->stream = stream;
        ask(fetch);
    } else if (!err)
        secure(fetch, stream);
    else if (fetch->next_addr < fetch->n_addrs)
        connect_next(fetch);
    else
        fail(fetch, err, (struct str){0});
}

static void connect_next(struct https_fetch *fetch)
{
    const struct tcp_options options = {.mark = fetch->request.mark};

    fetch->connect =
        tcp_connect(fetch->loop, &fetch->addrs[fetch->next_addr++], &options, on_connect, fetch);
}

static void on_lookup(void *owner, int err, const struct addr *addrs, size_t n_addrs)
{
    struct https_fetch *fetch = owner;

    fetch->lookup = NULL;
    if (err) {
        fail(fetch, err, STR("the name of the server could not be looked up"));
        return;
    }
    for (size_t i = 0; i < n_addrs; i++)
        fetch->addrs[i] = addrs[i];
    fetch->n_addrs = n_addrs;
    connect_next(fetch);
}

static void on_timeout(struct timer *timer)
{
    fail(container_of(timer, struct https_fetch, timer), -ERR_IDLE_TIMEOUT,
         STR("no whole answer in time"));
}

static void keep(struct https_fetch *fetch, const struct https_request *request)
{
    struct arena *arena = &fetch->arena;
    const size_t n = request->fields.len;
    struct http_field *fields = arena_new_array(arena, struct http_field, n + 1);

    for (size_t i = 0; i < n; i++)
        fields[i] = (struct http_field){arena_str(arena, request->fields.at[i].name),
                                        arena_str(arena, request->fields.at[i].value)};
    fetch->request = *request;
    fetch->request.host = arena_str(arena, request->host);
    fetch->request.path = arena_str(arena, request->path);
    fetch->request.spiffe_id = arena_str(arena, request->spiffe_id);
    fetch->request.content_type = arena_str(arena, request->content_type);
    fetch->request.body = arena_str(arena, request->body);
    fetch->request.fields = (struct http_fields){.at = fields, .len = n};
    if (request->authorities)
        fetch->identity = tls_identity_ref(request->authorities);
    else if (!request->is_plain)
        fetch->identity =
            request->spiffe_id.len > 0 ? tls_identity_anonymous() : tls_identity_web();
}

struct https_fetch *https_fetch(struct loop *loop, const struct https_request *request,
                                void (*on_done)(void *owner, int err,
                                                const struct https_answer *answer, struct str why),
                                void *owner)
{
    struct https_fetch *fetch = mem_new(struct https_fetch);

    fetch->loop = loop;
    keep(fetch, request);
    fetch->on_done = on_done;
    fetch->owner = owner;
    h1_answer_init(&fetch->answer, request->max_body);
    if (request->on_piece) {
        fetch->answer.on_piece = on_piece;
        fetch->answer.owner = fetch;
    }
    timer_start(loop, &fetch->timer, request->timeout_ns, on_timeout);
    fetch->lookup = lookup_start(loop, fetch->request.host, request->port, on_lookup, fetch);
    return fetch;
}

void https_fetch_cancel(struct https_fetch *fetch)
{
    dispose(fetch);
}
