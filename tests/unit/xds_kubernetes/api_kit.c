#include "api_kit.h"

#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/ensure.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"
#include "proxy/io/tcp.h"
#include "proxy/tls/tls_internal.h"
#include "proxy/tls/tls_stream.h"
#include "tests/kit/test_ca.h"
#include "xds/kubernetes/kinds.h"
#include "xds/kubernetes/watch.h"

#define LARGE (KUBE_PAGE_BYTES + 65536)

struct api {
    struct loop *loop;
    struct listener *listener;
    struct tls_identity *identity;
    struct trust *trust;
    struct text roots;
    struct arena arena; /* of what is told of rows */
    struct list conns;
    struct api_row *rows[API_ROWS_MAX];
    size_t n_rows;
};

struct conn {
    struct list link;
    struct api *api;
    struct tls_handshake *handshake;
    struct stream *stream;
    struct text head;
    struct timer timer;
    struct api_row *row; /* whose step it is */
    const char *later;
    unsigned n_words;
    uint64_t said_ns; /* a head, too */
    size_t left;      /* blanks to be sent */
    bool is_asked;
};

static void conn_free(void *ptr)
{
    struct conn *conn = ptr;

    text_fini(&conn->head);
    mem_free(conn);
}

static void end(struct conn *conn, int err)
{
    timer_stop(&conn->timer);
    if (conn->handshake)
        tls_handshake_cancel(conn->handshake);
    if (conn->stream)
        stream_close(conn->stream, err);
    list_remove(&conn->link);
    loop_bury(conn->api->loop, conn, conn_free);
}

/* ---- answers ---- */

static void say(struct conn *conn, struct str words)
{
    for (size_t at = 0; at < words.len; at += SLAB_BYTES) {
        const struct str piece = str_sub(words, at, SLAB_BYTES);
        (void)stream_write_copy(conn->stream, piece.ptr, piece.len);
    }
}

static void say_chunk(struct conn *conn, const char *words)
{
    struct text chunk = {0};

    text_addf(&chunk, "%zx\r\n%s\r\n", strlen(words), words);
    say(conn, text_str(&chunk));
    text_fini(&chunk);
    conn->n_words++;
    conn->said_ns = loop_now_ns(conn->api->loop);
}

static void on_later(struct timer *timer)
{
    struct conn *conn = container_of(timer, struct conn, timer);

    say_chunk(conn, conn->later);
}

static void say_blanks(struct conn *conn)
{
    static char blanks[4096];
    bool has_room = true;

    memset(blanks, ' ', sizeof(blanks));
    while (has_room && conn->left > 0) {
        const size_t n = conn->left < sizeof(blanks) ? conn->left : sizeof(blanks);
        conn->left -= n;
        has_room = stream_write_copy(conn->stream, blanks, n);
    }
}

static void say_head(struct conn *conn, unsigned status, const char *field, size_t value)
{
    struct text head = {0};

    text_addf(&head, "HTTP/1.1 %u Word\r\nContent-Type: application/json\r\n", status);
    if (field)
        text_addf(&head, "%s: %zu\r\n\r\n", field, value);
    else
        text_add(&head, STR("Transfer-Encoding: chunked\r\n\r\n"));
    say(conn, text_str(&head));
    text_fini(&head);
}

static void answer(struct conn *conn, const struct api_step *step)
{
    const char *body = step->body ? step->body : "";
    const unsigned status = step->status ? step->status : 200;

    conn->said_ns = loop_now_ns(conn->api->loop);
    switch (step->way) {
    case API_WHOLE:
        say_head(conn, status, "Content-Length", strlen(body));
        say(conn, str_from(body));
        break;
    case API_CUT:
        say_head(conn, status, "Content-Length", strlen(body) + 10);
        say(conn, str_from(body));
        stream_shutdown(conn->stream);
        break;
    case API_OPEN:
    case API_ENDED:
        say_head(conn, status, NULL, 0);
        if (*body)
            say_chunk(conn, body);
        conn->later = step->later;
        if (step->later)
            timer_start(conn->api->loop, &conn->timer, API_LATER_MS * NS_PER_MS, on_later);
        if (step->way == API_ENDED)
            say(conn, STR("0\r\n\r\n"));
        break;
    case API_LARGE:
        say_head(conn, status, "Content-Length", LARGE);
        conn->left = LARGE;
        say_blanks(conn);
        break;
    case API_MUTE: break;
    case API_GONE: end(conn, -ERR_RESET); break;
    }
}

static void answer_elsewhere(struct conn *conn, struct str target)
{
    struct text body = {0};

    for (unsigned i = 0; i < KUBE_KINDS && body.len == 0; i++)
        for (size_t k = 0; kube_kind(i)->places[k]; k++)
            if (str_starts_with(target, str_from(kube_kind(i)->places[k])))
                text_addf(&body,
                          "{\"kind\":\"%sList\",\"metadata\":{\"resourceVersion\":\"1\"},"
                          "\"items\":[]}",
                          kube_kind(i)->kind);
    const bool is_watch = str_contains(target, STR("?watch=1"));
    const struct api_step step = {.way = is_watch ? API_OPEN : API_WHOLE,
                                  .body = is_watch ? "" : body.ptr};
    answer(conn, &step);
    text_fini(&body);
}

/* ---- requests ---- */

static struct api_row *row_of(const struct api *api, struct str head)
{
    for (size_t i = 0; i < api->n_rows; i++) {
        struct text field = {0};
        text_addf(&field, "\r\nAuthorization: Bearer row-%zu\r\n", i);
        const bool is_its = str_contains(head, text_str(&field));
        text_fini(&field);
        if (is_its)
            return api->rows[i];
    }
    return NULL;
}

static bool is_asked(const struct api_row *row, size_t idx, struct str target)
{
    const struct str rest = str_sub(target, strlen(row->place), target.len);

    return idx < row->n_steps && str_eq(rest, str_from(row->steps[idx].asks));
}

/* The next step of a row, or the latest again; NULL: the target is neither. */
static const struct api_step *step_of(struct api_row *row, struct str target)
{
    if (is_asked(row, row->at, target))
        row->at++;
    else if (row->at == 0 || !is_asked(row, row->at - 1, target))
        return NULL;
    return &row->steps[row->at - 1];
}

static void on_target(struct conn *conn, struct api_row *row, struct str target)
{
    const bool is_scripted = row->n_steps > 0 && str_starts_with(target, str_from(row->place));
    const struct api_step *step = is_scripted ? step_of(row, target) : NULL;

    if (step) {
        conn->row = row;
        answer(conn, step);
        return;
    }
    if (is_scripted)
        row->wrong = arena_printf(&conn->api->arena, "%.*sstep %zu: asked \"%.*s\"; ",
                                  STR_ARG(row->wrong), row->at, STR_ARG(target));
    answer_elsewhere(conn, target);
}

static void on_head(struct conn *conn)
{
    struct str head = text_str(&conn->head), line, rest, target, version;
    struct api_row *row = row_of(conn->api, head);
    const struct api_step refusal = {.way = API_WHOLE, .status = 401, .body = "{}"};

    conn->is_asked = true;
    ensure(str_split(head, '\r', &line, &rest) && str_starts_with(line, STR("GET ")));
    ensure(str_split(str_sub(line, 4, line.len), ' ', &target, &version));
    if (row)
        on_target(conn, row, target);
    else
        answer(conn, &refusal);
}

static void on_data(void *owner, struct slice bytes)
{
    struct conn *conn = owner;

    text_add(&conn->head, slice_str(bytes));
    if (!conn->is_asked && str_contains(text_str(&conn->head), STR("\r\n\r\n")))
        on_head(conn);
}

static void on_fail(void *owner, int err)
{
    struct conn *conn = owner;
    const uint64_t quiet_ns = loop_now_ns(conn->api->loop) - conn->said_ns;
    struct api_row *row = conn->row;

    if (row && (conn->n_words > row->n_words ||
                (conn->n_words == row->n_words && quiet_ns > row->quiet_ns))) {
        row->n_words = conn->n_words;
        row->quiet_ns = quiet_ns;
    }
    end(conn, err);
}

static void on_end(void *owner)
{
    on_fail(owner, 0);
}

static void on_drain(void *owner)
{
    say_blanks(owner);
}

static const struct stream_events events = {on_data, on_end, on_drain, on_fail};

static void on_handshake(void *owner, int err, struct stream *stream, struct str why)
{
    struct conn *conn = owner;

    (void)why;
    conn->handshake = NULL;
    conn->stream = stream;
    if (err) {
        end(conn, err);
        return;
    }
    stream_set_owner(stream, &events, conn);
    stream_resume(stream);
}

static void on_accept(void *owner, struct stream *stream)
{
    struct api *api = owner;
    struct conn *conn = mem_new(struct conn);
    const struct tls_options options = {.role = TLS_SERVER,
                                        .identity = api->identity,
                                        .trust = (const struct trust *const *)&api->trust,
                                        .peer_certificate_optional = true,
                                        .server_name = STR("127.0.0.1")};

    conn->api = api;
    list_push_back(&api->conns, &conn->link);
    conn->handshake = tls_handshake(api->loop, stream, &options, on_handshake, conn);
}

/* ---- life ---- */

/* Servers of ours speak h2 and nothing else; this one agrees to nothing, as old ones do. */
static void speak_http1(struct tls_identity *identity)
{
    SSL *ssl = tls_identity_ssl(identity);

    ensure(ssl);
    SSL_CTX_set_alpn_select_cb(SSL_get_SSL_CTX(ssl), NULL, NULL);
    SSL_free(ssl);
}

static struct tls_identity *identity_of(struct text *out_roots)
{
    const struct test_cert spec = {.uris = {STR("spiffe://api.example/server")},
                                   .ip = STR("\x7f\x00\x00\x01")};
    struct test_ca *ca = test_ca_new("api.example");
    EVP_PKEY *key = NULL;
    X509 *leaf = test_ca_mint(ca, &spec, &key);
    struct tls_identity *identity = NULL;
    struct text chain = {0}, why = {0};
    struct svid *svid = NULL;

    test_cert_pem(leaf, &chain);
    ensure(svid_from_chain(text_str(&chain), key, &svid, &why) == 0);
    ensure(tls_identity_new(svid, &identity) == 0);
    speak_http1(identity);
    test_ca_pem(ca, out_roots);
    svid_unref(svid);
    text_fini(&chain);
    text_fini(&why);
    X509_free(leaf);
    EVP_PKEY_free(key);
    test_ca_free(ca);
    return identity;
}

struct api *api_new(struct loop *loop)
{
    const struct listener_options options = {0};
    struct api *api = mem_new(struct api);
    struct addr local;
    int errnum = 0;

    api->loop = loop;
    api->identity = identity_of(&api->roots);
    api->trust = trust_new();
    list_init(&api->conns);
    ensure(addr_parse(STR("127.0.0.1:0"), &local) == 0);
    ensure(listener_open(loop, &local, &options, on_accept, api, &api->listener, &errnum) == 0);
    return api;
}

static void end_all(struct api *api)
{
    while (!list_is_empty(&api->conns))
        end(container_of(api->conns.next, struct conn, link), -ERR_SHUTDOWN);
}

/* The rows may be gone already, so nobody is heard any more. */
void api_free(struct api *api)
{
    end_all(api);
    listener_close(api->listener);
    loop_turn(api->loop, false); /* those that were accepted meanwhile */
    end_all(api);
    loop_turn(api->loop, false);
    tls_identity_unref(api->identity);
    trust_unref(api->trust);
    text_fini(&api->roots);
    arena_fini(&api->arena);
    mem_free(api);
}

uint16_t api_port(const struct api *api)
{
    return listener_addr(api->listener).port;
}

struct str api_roots(const struct api *api)
{
    return text_str(&api->roots);
}

void api_add(struct api *api, struct api_row *row)
{
    ensure(api->n_rows < API_ROWS_MAX);
    api->rows[api->n_rows++] = row;
}
