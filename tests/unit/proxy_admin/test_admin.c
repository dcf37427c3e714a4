#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/admin/admin.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "tests/kit/loop_kit.h"

#define ANSWER_MAX 65536

/* ---- a client of one request ---- */

struct call {
    int fd;
    char answer[ANSWER_MAX];
    size_t len;
    bool is_over;
};

static bool has_answer(void *ctx)
{
    struct call *call = ctx;
    ssize_t n;
    while ((n = recv(call->fd, call->answer + call->len, ANSWER_MAX - 1 - call->len,
                     MSG_DONTWAIT)) > 0)
        call->len += (size_t)n;
    call->is_over = n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK);
    call->answer[call->len] = '\0';
    return call->is_over;
}

static void begin(struct call *call, const struct addr *to, const char *request)
{
    struct sockaddr_storage sa;
    const socklen_t sa_len = addr_to_sockaddr(to, &sa);
    *call = (struct call){.fd = socket(sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    cr_assert(call->fd >= 0);
    cr_assert_eq(connect(call->fd, (struct sockaddr *)&sa, sa_len), 0);
    cr_assert_eq((size_t)send(call->fd, request, strlen(request), 0), strlen(request));
}

/* The status of the answer; its text is in call->answer. */
static int end(struct loop *loop, struct call *call)
{
    int status = 0;
    cr_assert(run_until(loop, has_answer, call, 5000), "no answer");
    close(call->fd);
    cr_assert_eq(sscanf(call->answer, "HTTP/1.1 %d", &status), 1, "%s", call->answer);
    return status;
}

static int ask_raw(struct loop *loop, struct call *call, const struct addr *to, const char *request)
{
    begin(call, to, request);
    return end(loop, call);
}

static int ask(struct loop *loop, struct call *call, const struct addr *to, const char *method,
               const char *path)
{
    char request[512];
    snprintf(request, sizeof(request),
             "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
             method, path);
    return ask_raw(loop, call, to, request);
}

static const char *body_of(const struct call *call)
{
    const char *end_of_head = strstr(call->answer, "\r\n\r\n");
    return end_of_head ? end_of_head + 4 : "";
}

/* ---- a process with an admin port ---- */

struct process {
    struct loop *loop;
    struct admin *admin;
    struct addr metrics, ready, port;
    const char *pending; /* NULL: ready */
    unsigned n_quits;
    struct h1_exchange *held;
    struct call call;
};

static void on_metrics(void *owner, struct h1_exchange *exchange)
{
    (void)owner;
    admin_answer_metrics(exchange, STR("a_metric 1\n"));
}

static bool is_ready(void *owner, struct text *why)
{
    const struct process *process = owner;
    if (process->pending)
        text_addf(why, "%s", process->pending);
    return !process->pending;
}

static void on_quit(void *owner)
{
    ((struct process *)owner)->n_quits++;
}

static void answer_now(void *owner, struct h1_exchange *exchange, const struct h1_request *request)
{
    (void)owner;
    admin_answer_json(exchange, str_is_empty(request->query) ? STR("{}\n") : request->query);
}

static void answer_later(void *owner, struct h1_exchange *exchange,
                         const struct h1_request *request)
{
    (void)request;
    ((struct process *)owner)->held = exchange;
}

static const struct admin_page pages[] = {
    {.path = "/now", .help = "answers at once", .answer = answer_now},
    {.path = "/later", .help = "answers when the workers have", .answer = answer_later},
};

static struct admin_options options_on(const char *ip)
{
    struct admin_options options = {
        .pages = pages,
        .n_pages = ARRAY_LEN(pages),
        .on_metrics = on_metrics,
        .is_ready = is_ready,
        .on_quit = on_quit,
    };
    cr_assert_eq(ip_parse(str_from(ip), &options.admin.ip), 0);
    options.metrics = options.ready = options.admin;
    return options;
}

static void start(struct process *process)
{
    struct text why = {0};
    const struct admin_options options = options_on("127.0.0.1");
    memset(process, 0, sizeof(*process));
    process->loop = loop_new();
    cr_assert_eq(admin_open(process->loop, &options, process, &process->admin, &why), 0, "%s",
                 why.ptr);
    process->metrics = admin_metrics_addr(process->admin);
    process->ready = admin_ready_addr(process->admin);
    process->port = admin_addr(process->admin);
}

static void stop(struct process *process)
{
    admin_close(process->admin);
    loop_finish(process->loop);
}

static struct process process;

TestSuite(admin, .timeout = 30);

Test(admin, gives_the_metrics_under_both_names_with_the_type_of_prometheus)
{
    static const char *const paths[] = {"/metrics", "/stats/prometheus", "/metrics?x=1"};
    start(&process);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        const int status = ask(process.loop, &process.call, &process.metrics, "GET", paths[i]);
        cr_expect_eq(status, 200, "%s", paths[i]);
        cr_expect_str_eq(body_of(&process.call), "a_metric 1\n", "%s", paths[i]);
        cr_expect_not_null(strstr(process.call.answer, "text/plain; version=0.0.4"), "%s",
                           paths[i]);
    }
    stop(&process);
}

Test(admin, says_what_readiness_waits_for_as_ztunnel_does)
{
    start(&process);
    process.pending = "control stream, certificates";
    cr_expect_eq(ask(process.loop, &process.call, &process.ready, "GET", "/healthz/ready"), 500);
    cr_expect_str_eq(body_of(&process.call), "not ready, pending: control stream, certificates\n");
    process.pending = NULL;
    cr_expect_eq(ask(process.loop, &process.call, &process.ready, "GET", "/healthz/ready"), 200);
    cr_expect_str_eq(body_of(&process.call), "ready\n");
    stop(&process);
}

Test(admin, each_port_serves_only_its_own_paths)
{
    start(&process);

    const struct {
        const struct addr *port;
        const char *method, *path;
        int status;
    } rows[] = {
        {&process.metrics, "GET", "/now", 404},
        {&process.metrics, "GET", "/healthz/ready", 404},
        {&process.metrics, "POST", "/quitquitquit", 404},
        {&process.metrics, "POST", "/metrics", 405},
        {&process.ready, "GET", "/metrics", 404},
        {&process.ready, "POST", "/logging?level=debug", 404},
        {&process.ready, "POST", "/healthz/ready", 405},
        {&process.port, "GET", "/metrics", 404},
        {&process.port, "GET", "/now", 200},
        {&process.port, "GET", "/now/", 404},
        {&process.port, "GET", "/NOW", 404},
        {&process.port, "POST", "/now", 405},
        {&process.port, "DELETE", "/now", 405},
        {&process.port, "POST", "/", 405},
        {&process.port, "GET", "/quitquitquit", 405},
        {&process.port, "PUT", "/logging", 405},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const int status =
            ask(process.loop, &process.call, rows[i].port, rows[i].method, rows[i].path);
        cr_expect_eq(status, rows[i].status, "row %zu: %s %s", i, rows[i].method, rows[i].path);
    }
    cr_expect_eq(process.n_quits, 0);
    stop(&process);
}

Test(admin, lists_its_pages_at_the_root_and_to_who_asks_for_another)
{
    static const char *const paths[] = {"/", "/nothing"};
    start(&process);
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        ask(process.loop, &process.call, &process.port, "GET", paths[i]);
        cr_expect_not_null(strstr(body_of(&process.call), "/now"), "%s", paths[i]);
        cr_expect_not_null(strstr(body_of(&process.call), "answers when the workers have"), "%s",
                           paths[i]);
        cr_expect_not_null(strstr(body_of(&process.call), "/quitquitquit"), "%s", paths[i]);
    }
    stop(&process);
}

Test(admin, hands_the_query_to_the_page)
{
    start(&process);
    cr_expect_eq(ask(process.loop, &process.call, &process.port, "GET", "/now?a=%20b"), 200);
    cr_expect_str_eq(body_of(&process.call), "a=%20b");
    cr_expect_not_null(strstr(process.call.answer, "application/json"));
    stop(&process);
}

static bool is_held(void *ctx)
{
    return ((const struct process *)ctx)->held != NULL;
}

Test(admin, waits_for_a_page_that_answers_later)
{
    start(&process);
    begin(&process.call, &process.port,
          "GET /later HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    cr_assert(run_until(process.loop, is_held, &process, 5000));
    admin_answer_json(process.held, STR("{\"late\":true}"));
    cr_expect_eq(end(process.loop, &process.call), 200);
    cr_expect_str_eq(body_of(&process.call), "{\"late\":true}");
    stop(&process);
}

Test(admin, a_page_may_be_answered_after_the_ports_have_closed)
{
    start(&process);
    begin(&process.call, &process.port, "GET /later HTTP/1.1\r\nHost: localhost\r\n\r\n");
    cr_assert(run_until(process.loop, is_held, &process, 5000));
    admin_close(process.admin);
    admin_answer_json(process.held, STR("{}"));
    close(process.call.fd);
    loop_finish(process.loop);
}

Test(admin, answers_only_to_localhost_and_to_addresses)
{
    static const struct {
        const char *host;
        int status;
    } rows[] = {
        {"localhost", 200},
        {"LOCALHOST:15000", 200},
        {"127.0.0.1", 200},
        {"127.0.0.1:15000", 200},
        {"[::1]", 200},
        {"[::1]:15000", 200},
        {"10.0.0.7:1", 200},
        {"example.com", 403},
        {"example.com:15000", 403},
        {"localhost.evil.io", 403},
        {"127.0.0.1.evil.io", 403},
        {"[::1].evil.io", 403},
        {"[evil.io]", 403},
        {"evil.io:127.0.0.1", 403},
    };

    char request[256];
    start(&process);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(request, sizeof(request),
                 "POST /quitquitquit HTTP/1.1\r\nHost: %s\r\nContent-Length: 0\r\n"
                 "Connection: close\r\n\r\n",
                 rows[i].host);
        const unsigned before = process.n_quits;
        const int status = ask_raw(process.loop, &process.call, &process.port, request);
        cr_expect(status == rows[i].status || (rows[i].status == 403 && status == 400), "%s: %d",
                  rows[i].host, status);
        cr_expect_eq(process.n_quits - before, rows[i].status == 200, "%s", rows[i].host);
    }
    stop(&process);
}

Test(admin, does_nothing_for_a_page_of_elsewhere_in_a_browser)
{
    static const struct {
        const char *origin;
        int status;
    } rows[] = {
        {"http://127.0.0.1:15000", 200},  {"http://evil.io", 403},
        {"http://127.0.0.1:15001", 403},  {"null", 403},
        {"https://evil.io:15000", 403},   {"http:/127.0.0.1:15000", 403},
        {"http://127.0.0.1:15000/", 403}, {"127.0.0.1:15000", 403},
    };

    char request[256];
    start(&process);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        snprintf(request, sizeof(request),
                 "POST /quitquitquit HTTP/1.1\r\nHost: 127.0.0.1:15000\r\nOrigin: %s\r\n"
                 "Content-Length: 0\r\nConnection: close\r\n\r\n",
                 rows[i].origin);
        const unsigned before = process.n_quits;
        const int status = ask_raw(process.loop, &process.call, &process.port, request);
        cr_expect_eq(status, rows[i].status, "%s: %d", rows[i].origin, status);
        cr_expect_eq(process.n_quits - before, rows[i].status == 200, "%s", rows[i].origin);
    }
    stop(&process);
}

Test(admin, answers_before_it_quits)
{
    start(&process);
    cr_expect_eq(ask(process.loop, &process.call, &process.port, "POST", "/quitquitquit"), 200);
    cr_expect_str_eq(body_of(&process.call), "shutting down\n");
    cr_expect_eq(process.n_quits, 1);
    stop(&process);
}

Test(admin, sets_the_log_level_and_tells_it)
{
    static const struct {
        const char *method, *path, *body;
        int status;
        enum log_level after;
    } rows[] = {
        {"POST", "/logging?level=debug", "level=debug\n", 200, LOG_DEBUG},
        {"GET", "/logging", "level=debug\n", 200, LOG_DEBUG},
        {"POST", "/logging?level=error", "level=error\n", 200, LOG_ERROR},
        {"GET", "/logging?level=debug", "level=error\n", 200, LOG_ERROR},
        {"POST", "/logging?x=y&level=warn", "level=warn\n", 200, LOG_WARN},
        {"POST", "/logging?level=%69nfo", "level=info\n", 200, LOG_INFO},
        {"POST", "/logging?level=loud", NULL, 400, LOG_INFO},
        {"POST", "/logging?level=", NULL, 400, LOG_INFO},
        {"POST", "/logging", NULL, 400, LOG_INFO},
    };

    start(&process);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const int status =
            ask(process.loop, &process.call, &process.port, rows[i].method, rows[i].path);
        cr_expect_eq(status, rows[i].status, "row %zu", i);
        if (rows[i].body)
            cr_expect_str_eq(body_of(&process.call), rows[i].body, "row %zu", i);
        cr_expect(log_enabled(rows[i].after), "row %zu", i);
        cr_expect(rows[i].after == LOG_DEBUG || !log_enabled(rows[i].after + 1), "row %zu", i);
    }
    stop(&process);
}

Test(admin, says_which_port_it_cannot_open_and_leaves_nothing_open)
{
    struct text why = {0};
    struct admin *second = NULL;
    char port[ADDR_TEXT_MAX];
    start(&process);
    struct admin_options options = options_on("127.0.0.1");
    options.admin = process.port; /* taken */
    const unsigned before = loop_open_handles(process.loop);
    cr_expect_eq(admin_open(process.loop, &options, &process, &second, &why), -ERR_SYSTEM);
    cr_expect_null(second);
    cr_expect_not_null(strstr(why.ptr, "the admin port"), "%s", why.ptr);
    cr_expect_not_null(strstr(why.ptr, addr_text(&process.port, port)), "%s", why.ptr);
    cr_expect_not_null(strstr(why.ptr, strerror(EADDRINUSE)), "%s", why.ptr);
    run_turns(process.loop, 3);
    cr_expect_eq(loop_open_handles(process.loop), before);
    text_fini(&why);
    stop(&process);
}

Test(admin, serves_over_ipv6)
{
    struct text why = {0};
    struct call *call = &process.call;
    const struct admin_options options = options_on("::1");
    memset(&process, 0, sizeof(process));
    process.loop = loop_new();
    cr_assert_eq(admin_open(process.loop, &options, &process, &process.admin, &why), 0);
    const struct addr port = admin_addr(process.admin);
    cr_expect_eq(ask(process.loop, call, &port, "GET", "/now"), 200);
    stop(&process);
}
