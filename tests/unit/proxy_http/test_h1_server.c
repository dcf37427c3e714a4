#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/http/h1_server.h"
#include "tests/unit/proxy_tls/tls_kit.h"

TestSuite(h1_server, .timeout = 60);

#define PATIENCE_MS 15000

static struct loop *loop;
static struct h1_server *server;
static struct h1_exchange *kept; /* of a request for /later */
static struct h1_exchange *waiting[64];
static unsigned n_waiting;
static unsigned n_handled;
static struct text large;

/* An answer in pieces of 1000 bytes, as long as there is room and it is asked for. */
static struct {
    struct h1_exchange *exchange;
    struct task task; /* a piece takes its maker another turn */
    unsigned n_made, n_wanted, n_told;
    bool is_over;
} pieces;

static void make_piece(void);

static void on_room(void *owner)
{
    cr_assert_eq(owner, &pieces);
    pieces.n_told++;
    make_piece();
}

static void on_task(struct task *task)
{
    (void)task;
    make_piece();
}

static void make_piece(void)
{
    static char piece[1000];
    enum h1_room room = H1_GO_ON;
    if (pieces.n_made == pieces.n_wanted || h1_pieces_is_gone(pieces.exchange)) {
        pieces.is_over = true;
        h1_pieces_end(pieces.exchange, (struct str){0});
        return;
    }
    memset(piece, 'a' + (int)(pieces.n_made++ % 26), sizeof piece);
    room = h1_pieces_go_on(pieces.exchange, str_of(piece, sizeof piece));
    if (room != H1_WAIT)
        loop_put_off_anyway(loop, &pieces.task);
}

static void begin_pieces(struct h1_exchange *exchange)
{
    pieces.exchange = exchange;
    pieces.task.run = on_task;
    h1_pieces_begin(exchange, "text/plain", on_room, &pieces);
    make_piece();
}

static void handle(void *owner, struct h1_exchange *exchange, const struct h1_request *request)
{
    struct text page = {0};

    cr_assert_eq(owner, &n_handled);
    n_handled++;
    if (str_eq(request->path, STR("/later"))) {
        kept = waiting[n_waiting++] = exchange;
        return;
    }
    if (str_eq(request->path, STR("/pieces"))) {
        begin_pieces(exchange);
        return;
    }
    if (str_eq(request->path, STR("/large"))) {
        h1_answer(exchange, 200, "text/plain", text_str(&large));
        return;
    }
    text_addf(&page, "%.*s %.*s ?%.*s host=%.*s ae=%.*s body=%.*s", STR_ARG(request->method),
              STR_ARG(request->path), STR_ARG(request->query), STR_ARG(request->host),
              STR_ARG(request->accept_encoding), STR_ARG(request->body));
    h1_answer(exchange, 200, "text/plain", text_str(&page));
    text_fini(&page);
}

static void start(void)
{
    struct addr local;
    int errnum;

    loop = loop_new();
    cr_assert_eq(addr_parse(STR("127.0.0.1:0"), &local), 0);
    cr_assert_eq(h1_server_open(loop, &local, handle, &n_handled, &server, &errnum), 0);
}

static void finish(void)
{
    if (server)
        h1_server_close(server);
    text_fini(&large);
    cr_expect(run_until_empty(loop, PATIENCE_MS));
    loop_finish(loop);
}

static void on_connected(void *owner, int err, struct stream *stream)
{
    cr_assert_eq(err, 0);
    tap_attach(owner, stream);
    stream_resume(stream);
}

static bool is_attached(void *ctx)
{
    return ((struct tap *)ctx)->stream != NULL;
}

static void dial(struct tap *tap)
{
    struct addr addr = h1_server_addr(server);

    *tap = (struct tap){0};
    tcp_connect(loop, &addr, &(struct tcp_options){0}, on_connected, tap);
    cr_assert(run_until(loop, is_attached, tap, PATIENCE_MS));
}

static void say(struct tap *tap, const char *text)
{
    stream_write_copy(tap->stream, text, strlen(text));
}

struct expected {
    struct tap *tap;
    const char *part;
};

static bool has_part(void *ctx)
{
    struct expected *e = ctx;

    return str_contains(text_str(&e->tap->got), str_from(e->part));
}

static bool answers(struct tap *tap, const char *part)
{
    return run_until(loop, has_part, &(struct expected){tap, part}, PATIENCE_MS);
}

Test(h1_server, shows_a_request_and_sends_the_answer, .init = start, .fini = finish)
{
    struct tap tap;

    dial(&tap);
    say(&tap, "GET /a/b%20c?x=1&y=2 HTTP/1.1\r\nHost: h:1\r\nAccept-Encoding: gzip\r\n\r\n");
    cr_expect(answers(&tap, "GET /a/b%20c ?x=1&y=2 host=h:1 ae=gzip body="));
    cr_expect(str_starts_with(text_str(&tap.got),
                              STR("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n")));
    cr_expect(!tap.ended, "kept alive");
    tap_free(&tap);
}

Test(h1_server, keeps_alive_and_takes_requests_that_come_early, .init = start, .fini = finish)
{
    struct tap tap;

    dial(&tap);
    say(&tap,
        "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc"
        "POST /2 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n"
        "GET /3 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    cr_expect(answers(&tap, "POST /1 ? host=h ae= body=abc"));
    cr_expect(answers(&tap, "POST /2 ? host=h ae= body=de"));
    cr_expect(answers(&tap, "GET /3"));
    cr_expect(tap_ended(loop, &tap));
    cr_expect_eq(n_handled, 3);
    tap_free(&tap);
}

Test(h1_server, requests_may_drip, .init = start, .fini = finish)
{
    static const char request[] = "POST /drip HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nok";
    struct tap tap;

    dial(&tap);
    for (size_t i = 0; i < sizeof(request) - 1; i++) {
        stream_write_copy(tap.stream, request + i, 1);
        run_turns(loop, 2);
    }
    cr_expect(answers(&tap, "body=ok"));
    tap_free(&tap);
}

Test(h1_server, head_has_a_length_and_no_body, .init = start, .fini = finish)
{
    struct tap tap;

    dial(&tap);
    say(&tap, "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\nGET /y HTTP/1.0\r\n\r\n");
    cr_expect(answers(&tap, "GET /y"));
    cr_expect(tap_ended(loop, &tap), "HTTP/1.0 is not kept alive");
    cr_expect(!str_contains(text_str(&tap.got), STR("HEAD /x")));
    cr_expect(str_contains(text_str(&tap.got), STR("Content-Length: 26\r\n")));
    tap_free(&tap);
}

Test(h1_server, answers_may_come_later, .init = start, .fini = finish)
{
    struct tap tap;

    dial(&tap);
    say(&tap, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    while (!kept)
        loop_turn(loop, true);
    run_turns(loop, 5);
    cr_expect_eq(tap.n_got, 0);
    h1_answer(kept, 503, "text/plain", STR("not ready"));
    cr_expect(answers(&tap, "HTTP/1.1 503 Service Unavailable\r\n"), "%.*s",
              STR_ARG(text_str(&tap.got)));
    tap_free(&tap);
}

Test(h1_server, answering_a_client_that_left_does_nothing, .init = start, .fini = finish)
{
    struct tap tap;

    dial(&tap);
    say(&tap, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    while (!kept)
        loop_turn(loop, true);
    tap_close(&tap, -ERR_RESET);
    run_turns(loop, 10);
    h1_answer(kept, 200, "text/plain", STR("hello?"));
    tap_free(&tap);
}

Test(h1_server, closing_it_with_an_open_exchange_is_fine, .init = start, .fini = finish)
{
    struct tap tap;

    dial(&tap);
    say(&tap, "GET /later HTTP/1.1\r\nHost: h\r\n\r\n");
    while (!kept)
        loop_turn(loop, true);
    h1_server_close(server);
    server = NULL;
    run_turns(loop, 5);
    h1_answer(kept, 200, "text/plain", STR("too late"));
    cr_expect(tap_ended(loop, &tap));
    tap_free(&tap);
}

Test(h1_server, large_answers_go_out_as_they_are_taken, .init = start, .fini = finish)
{
    struct tap tap;

    while (large.len < (size_t)20 << 20)
        text_add(&large, STR("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n"));
    dial(&tap);
    stream_pause(tap.stream);
    say(&tap, "GET /large HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    run_turns(loop, 200);
    cr_expect_lt(loop_slabs(loop)->live_bytes, (size_t)2 << 20);
    stream_resume(tap.stream);
    cr_expect(tap_ended(loop, &tap));
    cr_expect_gt(tap.n_got, large.len);
    tap_free(&tap);
}

#define GET "GET / HTTP/1.1\r\n"

static const struct {
    const char *request;
    unsigned status;
} refusals[] = {
    {"nonsense\r\n\r\n", 400},
    {"BREW / HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505},
    {"GET / HTTP/0.9\r\nHost: h\r\n\r\n", 505},
    {"GET http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET /\x01 HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"GET /#f HTTP/1.1\r\nHost: h\r\n\r\n", 400},
    {"CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n", 501},
    {GET "Host: h\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 501},
    {GET "\r\n", 400},                       /* no Host */
    {GET "Host: a\r\nHost: b\r\n\r\n", 400}, /* two */
    {GET "Host : h\r\n\r\n", 400},           /* a blank before the colon */
    {GET "Host: h\r\n folded: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
    {GET "Host: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
    {GET "Host: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", 400},
    {GET "Host: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 400},
    {GET "Host: h\r\nContent-Length: +3\r\n\r\n", 400},
    {GET "Host: h\r\nContent-Length: 3, 3\r\n\r\n", 400},
    {GET "Host: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
    {GET "Host: h\r\nContent-Length: 70000\r\n\r\n", 413},
    {GET "Host: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
    {GET "Host: h\r\nTransfer-Encoding: xchunked\r\n\r\n", 501},
    {GET "Host: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
    {"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {GET "Host: h\r\nX: a\rb\r\n\r\n", 400},
};

static void refuse_one(size_t row)
{
    char start_of_answer[32];
    struct tap tap;

    dial(&tap);
    say(&tap, refusals[row].request);
    snprintf(start_of_answer, sizeof(start_of_answer), "HTTP/1.1 %u ", refusals[row].status);
    cr_assert(tap_ended(loop, &tap), "row %zu was not closed: %s", row, refusals[row].request);
    cr_expect(str_starts_with(text_str(&tap.got), str_from(start_of_answer)), "row %zu: %s -> %.*s",
              row, refusals[row].request, STR_ARG(text_str(&tap.got)));
    tap_free(&tap);
}

Test(h1_server, refuses_what_could_mean_two_things, .init = start, .fini = finish)
{
    for (size_t row = 0; row < sizeof(refusals) / sizeof(refusals[0]); row++)
        refuse_one(row);
    cr_expect_eq(n_handled, 0);
}

static void send_long(struct tap *tap, const char *before, size_t len)
{
    char *filler = mem_zalloc(len + 1);

    memset(filler, 'a', len);
    dial(tap);
    say(tap, before);
    stream_write_copy(tap->stream, filler, len);
    mem_free(filler);
}

Test(h1_server, heads_and_bodies_are_bounded, .init = start, .fini = finish)
{
    struct tap tap;

    send_long(&tap, "GET /", 17000);
    cr_expect(answers(&tap, "HTTP/1.1 414 ") && tap_ended(loop, &tap));
    tap_free(&tap);
    send_long(&tap, "GET / HTTP/1.1\r\nHost: h\r\nX: ", 17000);
    cr_expect(answers(&tap, "HTTP/1.1 431 ") && tap_ended(loop, &tap));
    tap_free(&tap);

    dial(&tap); /* many small fields */
    say(&tap, "GET / HTTP/1.1\r\nHost: h\r\n");
    for (unsigned i = 0; i < 3000; i++)
        say(&tap, "a:b\r\n");
    cr_expect(answers(&tap, "HTTP/1.1 431 ") && tap_ended(loop, &tap));
    tap_free(&tap);

    send_long(&tap, "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11000\r\n",
              69632);
    cr_expect(answers(&tap, "HTTP/1.1 413 ") && tap_ended(loop, &tap));
    tap_free(&tap);

    send_long(&tap, "POST /max HTTP/1.1\r\nHost: h\r\nContent-Length: 65536\r\n\r\n", 65536);
    cr_expect(answers(&tap, "HTTP/1.1 200 "));
    tap_free(&tap);
}

static struct tap crowd[65];

static void say_all(const char *text, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        dial(&crowd[i]);
        say(&crowd[i], text);
        run_turns(loop, 2);
    }
}

static void leave_all(void)
{
    for (unsigned i = 0; i < n_waiting; i++)
        h1_answer(waiting[i], 200, "text/plain", STR("at last"));
    n_waiting = 0;
    run_turns(loop, 20);
    for (unsigned i = 0; i < ARRAY_LEN(crowd); i++)
        tap_free(&crowd[i]);
}

Test(h1_server, one_connection_more_than_there_may_be_ends_the_oldest_that_is_silent, .init = start,
     .fini = finish)
{
    say_all("GET / HTTP/1.1\r\nHo", 64);
    dial(&crowd[64]);
    say(&crowd[64], "GET /ready HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_expect(answers(&crowd[64], "GET /ready"));
    cr_expect(tap_failed(loop, &crowd[0]));
    say(&crowd[1], "st: h\r\n\r\n");
    cr_expect(answers(&crowd[1], "HTTP/1.1 200 "));
    leave_all();
}

Test(h1_server, or_one_that_does_not_read, .init = start, .fini = finish)
{
    for (size_t i = 0; i < 1 << 24; i++)
        text_addc(&large, 'x');
    say_all("GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 63);
    dial(&crowd[63]);
    stream_pause(crowd[63].stream);
    say(&crowd[63], "GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    run_turns(loop, 20);
    dial(&crowd[64]);
    say(&crowd[64], "GET /ready HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_expect(answers(&crowd[64], "GET /ready"));
    leave_all();
}

Test(h1_server, when_all_wait_for_their_answers_one_more_is_refused, .init = start, .fini = finish)
{
    say_all("GET /later HTTP/1.1\r\nHost: h\r\n\r\n", 64);
    dial(&crowd[64]);
    cr_expect(answers(&crowd[64], "HTTP/1.1 503 ") && tap_ended(loop, &crowd[64]));
    leave_all();
}

Test(h1_server, slow_requests_time_out, .init = start, .fini = finish)
{
    struct tap tap;

    dial(&tap);
    say(&tap, "GET / HTTP/1.1\r\nHo"); /* and ten seconds of silence */
    cr_expect(answers(&tap, "HTTP/1.1 408 ") && tap_ended(loop, &tap));
    tap_free(&tap);
}

Test(h1_server, query_parameters_are_decoded)
{
    static const struct {
        const char *query, *name, *value; /* NULL: absent */
    } rows[] = {
        {"a=1&state=open", "state", "open"},
        {"state=open&state=x", "state", "open"},
        {"a=1", "state", NULL},
        {"", "a", NULL},
        {"a", "a", ""},
        {"a=", "a", ""},
        {"x=%41%2f%20b+c", "x", "A/ b c"},
        {"x=100%", "x", "100%"},
        {"x=%4", "x", "%4"},
        {"x=%zz", "x", "%zz"},
        {"ab=1&b=2", "b", "2"},
        {"b=2=3", "b", "2=3"},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct arena arena = {0};
        struct str value = h1_query(&arena, str_from(rows[i].query), rows[i].name);
        cr_expect(str_eq(value, str_from(rows[i].value)), "row %zu: %.*s", i, STR_ARG(value));
        cr_expect_eq(value.ptr == NULL, rows[i].value == NULL, "row %zu", i);
        arena_fini(&arena);
    }
}

/* ---- in pieces ---- */

static bool is_over(void *ctx)
{
    (void)ctx;
    return pieces.is_over;
}

static bool never(void *ctx)
{
    (void)ctx;
    return false;
}

/* Until nothing is made any more: the client's side of the kernel is full, and ours. */
static void come_to_rest(void)
{
    unsigned n_before;
    do {
        n_before = pieces.n_made;
        (void)run_until(loop, never, NULL, 200);
    } while (pieces.n_made > n_before);
}

static bool has_told(void *ctx)
{
    return pieces.n_told >= *(unsigned *)ctx;
}

/* The pieces in it, the framing of chunks taken off; -1: it is none. */
static int pieces_of(struct str body)
{
    int n = 0;
    for (; str_starts_with(body, STR("3e8\r\n")); n++) {
        if (body.len < 1007 || body.ptr[5] != 'a' + n % 26 ||
            !str_eq(str_sub(body, 1005, 2), STR("\r\n")))
            return -1;
        body = str_sub(body, 1007, body.len);
    }
    return str_starts_with(body, STR("0\r\n\r\n")) ? n : -1;
}

static struct str body_of(const struct text *answer)
{
    const char *end = strstr(answer->ptr, "\r\n\r\n");
    cr_assert_not_null(end);
    return str_sub(text_str(answer), (size_t)(end + 4 - answer->ptr), answer->len);
}

Test(h1_server, an_answer_in_pieces_arrives_whole_and_the_connection_goes_on, .init = start,
     .fini = finish)
{
    struct tap tap;

    pieces.n_wanted = 30;
    dial(&tap);
    say(&tap, "GET /pieces HTTP/1.1\r\nHost: h\r\n\r\nGET /next HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_expect(answers(&tap, "GET /next"));
    cr_expect(str_contains(text_str(&tap.got), STR("Transfer-Encoding: chunked\r\n")));
    cr_expect_eq(pieces_of(body_of(&tap.got)), 30);
    tap_free(&tap);
}

Test(h1_server, to_a_client_that_knows_no_chunks_the_connection_ends_it, .init = start,
     .fini = finish)
{
    struct tap tap;

    pieces.n_wanted = 3;
    dial(&tap);
    say(&tap, "GET /pieces HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    cr_assert(run_until(loop, is_over, NULL, PATIENCE_MS));
    cr_expect(tap_ended(loop, &tap));
    cr_expect(str_contains(text_str(&tap.got), STR("Connection: close\r\n")));
    cr_expect_eq(body_of(&tap.got).len, 3000);
    tap_free(&tap);
}

Test(h1_server, who_does_not_read_is_made_no_more_pieces_until_it_does, .init = start,
     .fini = finish)
{
    struct tap tap;

    pieces.n_wanted = 20000;
    dial(&tap);
    stream_pause(tap.stream);
    say(&tap, "GET /pieces HTTP/1.1\r\nHost: h\r\n\r\n");
    come_to_rest();
    cr_expect_lt(pieces.n_made, pieces.n_wanted, "what the kernel takes, and one");
    cr_expect_not(pieces.is_over);

    stream_resume(tap.stream);
    cr_assert(run_until(loop, has_told, &(unsigned){1}, PATIENCE_MS));
    cr_assert(run_until(loop, is_over, NULL, PATIENCE_MS));
    const size_t head_len = (size_t)(body_of(&tap.got).ptr - tap.got.ptr);
    cr_expect(tap_got(loop, &tap, head_len + (size_t)20000 * 1007 + strlen("0\r\n\r\n")));
    tap_free(&tap);
}

Test(h1_server, who_leaves_in_the_midst_is_made_no_more, .init = start, .fini = finish)
{
    struct tap tap;

    pieces.n_wanted = 1000000;
    dial(&tap);
    say(&tap, "GET /pieces HTTP/1.1\r\nHost: h\r\n\r\n");
    cr_assert(answers(&tap, "aaaa"));
    tap_free(&tap);
    cr_expect(run_until(loop, is_over, NULL, PATIENCE_MS));
    cr_expect_lt(pieces.n_made, pieces.n_wanted);
}

Test(h1_server, and_so_is_who_waited_for_its_room, .init = start, .fini = finish)
{
    struct tap tap;

    pieces.n_wanted = 1000000;
    dial(&tap);
    stream_pause(tap.stream);
    say(&tap, "GET /pieces HTTP/1.1\r\nHost: h\r\n\r\n");
    come_to_rest();
    h1_server_close(server);
    server = NULL;
    cr_expect(pieces.is_over, "at once: what makes them may go");
    tap_free(&tap);
}
