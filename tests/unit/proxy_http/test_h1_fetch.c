#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/http/h1_fetch.h"
#include "tests/unit/proxy_tls/tls_kit.h"

TestSuite(h1_fetch, .timeout = 60);

#define PATIENCE_MS 10000

static struct loop *loop;
static struct listener *listener;
static struct tap tap;     /* the server's end */
static const char *to_say; /* its answer, at once */
static bool ends, resets;  /* after it */

static bool done;
static int done_err;
static unsigned done_status;
static struct text done_body;

static void on_accept(void *owner, struct stream *stream)
{
    (void)owner;
    tap_attach(&tap, stream);
    stream_resume(stream);
    if (to_say)
        stream_write_copy(stream, to_say, strlen(to_say));
    if (ends)
        stream_shutdown(stream);
    if (resets)
        tap_close(&tap, -ERR_RESET);
}

static void on_done(void *owner, int err, unsigned status, struct str body)
{
    (void)owner;
    cr_assert(!done);
    done = true;
    done_err = err;
    done_status = status;
    text_add(&done_body, body);
}

static void start(void)
{
    struct addr local;
    int errnum;

    loop = loop_new();
    cr_assert_eq(addr_parse(STR("127.0.0.1:0"), &local), 0);
    cr_assert_eq(listener_open(loop, &local, &(struct listener_options){0}, on_accept, NULL,
                               &listener, &errnum),
                 0);
}

static void finish(void)
{
    listener_close(listener);
    text_fini(&done_body);
    loop_finish(loop);
}

static void fetch(const char *path, uint64_t timeout_ns)
{
    struct addr addr = listener_addr(listener);

    done = false;
    text_clear(&done_body);
    h1_fetch(loop, &addr, STR("GET"), str_from(path), timeout_ns, on_done, NULL);
    cr_expect(!done);
    cr_assert(run_until_set(loop, &done, PATIENCE_MS));
    tap_free(&tap);
    tap = (struct tap){0};
}

Test(h1_fetch, brings_status_and_body_or_says_why_not, .init = start, .fini = finish)
{
    static const struct {
        const char *answer;
        bool ends, resets;
        int err;
        unsigned status;
        const char *body;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", false, false, 0, 200, "hello"},
        {"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n", false,
         false, 0, 404, "no"},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", true, false, 0, 200, "until the end"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", false, false,
         0, 200, "x"},
        {"HTTP/1.1 204 No Content\r\n\r\n", false, false, 0, 204, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", true, false, -ERR_EOF, 0, ""},
        {"", true, false, -ERR_EOF, 0, ""},
        {"SSH-2.0-x\r\n", false, false, -ERR_INVALID, 0, ""},
        {NULL, false, true, -ERR_RESET, 0, ""},
    };

    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        to_say = rows[i].answer;
        ends = rows[i].ends;
        resets = rows[i].resets;
        fetch("/x?y=1", 5 * NS_PER_SEC);
        cr_expect_eq(done_err, rows[i].err, "row %zu: %d", i, done_err);
        cr_expect_eq(done_status, rows[i].status, "row %zu", i);
        cr_expect(str_eq(text_str(&done_body), str_from(rows[i].body)), "row %zu", i);
    }
}

Test(h1_fetch, waits_no_longer_than_it_may, .init = start, .fini = finish)
{
    to_say = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel";
    fetch("/", 30 * NS_PER_MS);
    cr_expect_eq(done_err, -ERR_IDLE_TIMEOUT);
}

Test(h1_fetch, refuses_a_path_that_is_none, .init = start, .fini = finish)
{
    fetch("/a b", NS_PER_SEC);
    cr_expect_eq(done_err, -ERR_INVALID);
    fetch("/a\r\nX: y", NS_PER_SEC);
    cr_expect_eq(done_err, -ERR_INVALID);
}

Test(h1_fetch, says_that_nobody_listens, .init = start, .fini = finish)
{
    struct addr addr = listener_addr(listener), local;
    int errnum;

    listener_close(listener);
    run_turns(loop, 3);
    h1_fetch(loop, &addr, STR("GET"), STR("/"), NS_PER_SEC, on_done, NULL);
    cr_assert(run_until_set(loop, &done, PATIENCE_MS));
    cr_expect_eq(done_err, -ERR_REFUSED);
    cr_assert_eq(addr_parse(STR("127.0.0.1:0"), &local), 0);
    cr_assert_eq(listener_open(loop, &local, &(struct listener_options){0}, on_accept, NULL,
                               &listener, &errnum),
                 0); /* for finish() */
}
