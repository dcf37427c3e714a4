/*
 * Three servers, three small tables of paths. Everything is answered in the turn it is asked in,
 * but for the owner's pages and the metrics, which take the exchange along and answer when the
 * workers have.
 */
#include "proxy/admin/admin.h"

#include <string.h>

#include "proxy/base/arena.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

#define TEXT_PLAIN   "text/plain; charset=utf-8"
#define TEXT_METRICS "text/plain; version=0.0.4; charset=utf-8"
#define JSON_TYPE    "application/json"

struct admin {
    struct loop *loop;
    void *owner;
    struct admin_options options;
    struct h1_server *metrics, *ready, *admin;
};

/* ---- answers ---- */

static void answer_text(struct h1_exchange *exchange, unsigned status, struct str text)
{
    h1_answer(exchange, status, TEXT_PLAIN, text);
}

void admin_answer_metrics(struct h1_exchange *exchange, struct str page)
{
    h1_answer(exchange, 200, TEXT_METRICS, page);
}

void admin_answer_json(struct h1_exchange *exchange, struct str json)
{
    h1_answer(exchange, 200, JSON_TYPE, json);
}

void admin_answer_json_begin(struct h1_exchange *exchange, void (*on_room)(void *owner),
                             void *owner)
{
    h1_pieces_begin(exchange, JSON_TYPE, on_room, owner);
}

void admin_answer_refusal(struct h1_exchange *exchange, unsigned status, struct str sentence)
{
    struct text page = {0};
    text_addf(&page, "%.*s\n", STR_ARG(sentence));
    answer_text(exchange, status, text_str(&page));
    text_fini(&page);
}

/* True when the method is the one this path takes; else 405 was answered. */
static bool is_method(struct h1_exchange *exchange, const struct h1_request *request,
                      const char *method)
{
    struct text why = {0};
    if (str_eq(request->method, str_from(method)))
        return true;
    text_addf(&why, "this path takes %s\n", method);
    answer_text(exchange, 405, text_str(&why));
    text_fini(&why);
    return false;
}

/* ---- metrics and readiness ---- */

static void handle_metrics(void *owner, struct h1_exchange *exchange,
                           const struct h1_request *request)
{
    const struct admin *admin = owner;
    if (!str_eq(request->path, STR("/metrics")) && !str_eq(request->path, STR("/stats/prometheus")))
        answer_text(exchange, 404, STR("not found; there are /metrics and /stats/prometheus\n"));
    else if (is_method(exchange, request, "GET"))
        admin->options.on_metrics(admin->owner, exchange);
}

static void answer_ready(const struct admin *admin, struct h1_exchange *exchange)
{
    struct text why = {0}, page = {0};
    if (admin->options.is_ready(admin->owner, &why)) {
        answer_text(exchange, 200, STR("ready\n"));
    } else {
        text_addf(&page, "not ready, pending: %.*s\n", STR_ARG(text_str(&why)));
        answer_text(exchange, 500, text_str(&page));
    }
    text_fini(&page);
    text_fini(&why);
}

static void handle_ready(void *owner, struct h1_exchange *exchange,
                         const struct h1_request *request)
{
    if (!str_eq(request->path, STR("/healthz/ready")))
        answer_text(exchange, 404, STR("not found; there is /healthz/ready\n"));
    else if (is_method(exchange, request, "GET"))
        answer_ready(owner, exchange);
}

/* ---- the admin port ---- */

static void add_index(const struct admin *admin, struct text *page)
{
    for (size_t i = 0; i < admin->options.n_pages; i++)
        text_addf(page, "%-4s %-16s %s\n", admin->options.pages[i].is_post ? "POST" : "GET",
                  admin->options.pages[i].path, admin->options.pages[i].help);
    text_addf(page, "GET  %-16s %s\n", "/logging", "the log level");
    text_addf(page, "POST %-16s %s\n", "/logging", "?level=error|warn|info|debug sets it");
    text_addf(page, "POST %-16s %s\n", "/quitquitquit", "ends the process, after its drain");
}

static void answer_index(const struct admin *admin, struct h1_exchange *exchange)
{
    struct text page = {0};
    add_index(admin, &page);
    answer_text(exchange, 200, text_str(&page));
    text_fini(&page);
}

static void answer_unknown(const struct admin *admin, struct h1_exchange *exchange)
{
    struct text page = {0};
    text_addf(&page, "not found; there are\n");
    add_index(admin, &page);
    answer_text(exchange, 404, text_str(&page));
    text_fini(&page);
}

static const char *level_text(void)
{
    if (log_enabled(LOG_DEBUG))
        return "debug";
    if (log_enabled(LOG_INFO))
        return "info";
    return log_enabled(LOG_WARN) ? "warn" : "error";
}

static void answer_level(struct h1_exchange *exchange)
{
    struct text page = {0};
    text_addf(&page, "level=%s\n", level_text());
    answer_text(exchange, 200, text_str(&page));
    text_fini(&page);
}

static void set_level(struct h1_exchange *exchange, const struct h1_request *request)
{
    struct arena arena = {0};
    enum log_level level;
    const struct str wanted = h1_query(&arena, request->query, "level");
    if (log_level_parse(wanted, &level)) {
        log_set_level(level);
        answer_level(exchange);
    } else {
        answer_text(exchange, 400, STR("level has to be error, warn, info or debug\n"));
    }
    arena_fini(&arena);
}

static void handle_logging(struct h1_exchange *exchange, const struct h1_request *request)
{
    if (str_eq(request->method, STR("GET")))
        answer_level(exchange);
    else if (is_method(exchange, request, "POST"))
        set_level(exchange, request);
}

static void handle_quit(const struct admin *admin, struct h1_exchange *exchange,
                        const struct h1_request *request)
{
    if (!is_method(exchange, request, "POST"))
        return;
    answer_text(exchange, 200, STR("shutting down\n"));
    admin->options.on_quit(admin->owner);
}

static const struct admin_page *find_page(const struct admin *admin, struct str path)
{
    for (size_t i = 0; i < admin->options.n_pages; i++) {
        if (str_eq(path, str_from(admin->options.pages[i].path)))
            return &admin->options.pages[i];
    }
    return NULL;
}

/* The name of a Host field, with the port taken off; as it is when it is malformed, which is then
 * no name of ours. */
static struct str host_name(struct str host)
{
    struct str name, rest;
    if (str_starts_with(host, STR("[")) && str_rsplit(host, ']', &name, &rest) &&
        (str_is_empty(rest) || str_starts_with(rest, STR(":"))))
        return str_sub(name, 1, name.len - 1);
    if (!str_starts_with(host, STR("[")) && str_split(host, ':', &name, &rest))
        return name;
    return host;
}

/* A page of a foreign origin can point its own name at 127.0.0.1 and then read what it likes: it
 * cannot choose the Host that a browser sends, though. Without a Host it is no browser. */
static bool is_host_allowed(struct str host)
{
    struct ip ip;
    const struct str name = host_name(host);
    return str_is_empty(host) || str_eq_ci(name, STR("localhost")) || ip_parse(name, &ip) == 0;
}

/* What a page of elsewhere makes a browser send says where that page is from: a POST would be done
 * although the page may not read the answer. Other clients send no Origin. */
static bool is_origin_allowed(const struct h1_request *request)
{
    struct str scheme, authority;
    if (str_is_empty(request->origin))
        return true;
    return str_split(request->origin, '/', &scheme, &authority) &&
           str_starts_with(authority, STR("/")) &&
           str_eq_ci(str_sub(authority, 1, authority.len - 1), request->host);
}

static void handle_path(const struct admin *admin, struct h1_exchange *exchange,
                        const struct h1_request *request)
{
    const struct admin_page *page = find_page(admin, request->path);
    if (str_eq(request->path, STR("/logging"))) {
        handle_logging(exchange, request);
    } else if (str_eq(request->path, STR("/quitquitquit"))) {
        handle_quit(admin, exchange, request);
    } else if (str_eq(request->path, STR("/"))) {
        if (is_method(exchange, request, "GET"))
            answer_index(admin, exchange);
    } else if (!page) {
        answer_unknown(admin, exchange);
    } else if (is_method(exchange, request, page->is_post ? "POST" : "GET")) {
        page->answer(admin->owner, exchange, request);
    }
}

static void handle_admin(void *owner, struct h1_exchange *exchange,
                         const struct h1_request *request)
{
    if (!is_host_allowed(request->host))
        answer_text(exchange, 403, STR("forbidden: ask by localhost or by an IP address\n"));
    else if (!is_origin_allowed(request))
        answer_text(exchange, 403, STR("forbidden: a page of elsewhere made a browser ask\n"));
    else
        handle_path(owner, exchange, request);
}

/* ---- life ---- */

static int open_server(struct admin *admin, const char *what, const struct addr *local,
                       void (*handle)(void *owner, struct h1_exchange *exchange,
                                      const struct h1_request *request),
                       struct h1_server **out_server, struct text *why)
{
    char buf[ADDR_TEXT_MAX];
    int errnum = 0;
    struct addr shown = *local;
    const int err = h1_server_open(admin->loop, local, handle, admin, out_server, &errnum);
    if (err == 0)
        return 0;
    if (ip_is_none(&shown.ip))
        shown.ip.len = sizeof(shown.ip.bytes); /* what listens there is [::] */
    text_addf(why, "the %s port %s cannot be opened: %s", what, addr_text(&shown, buf),
              strerrordesc_np(errnum));
    return err;
}

static int open_servers(struct admin *admin, struct text *why)
{
    const struct admin_options *options = &admin->options;
    int err =
        open_server(admin, "metrics", &options->metrics, handle_metrics, &admin->metrics, why);
    if (err < 0)
        return err;
    err = open_server(admin, "readiness", &options->ready, handle_ready, &admin->ready, why);
    if (err < 0)
        return err;
    return open_server(admin, "admin", &options->admin, handle_admin, &admin->admin, why);
}

int admin_open(struct loop *loop, const struct admin_options *options, void *owner,
               struct admin **out_admin, struct text *why)
{
    struct admin *admin = mem_new(struct admin);
    ensure(options->on_metrics && options->is_ready && options->on_quit);
    *admin = (struct admin){.loop = loop, .owner = owner, .options = *options};
    const int err = open_servers(admin, why);
    if (err < 0)
        admin_close(admin);
    else
        *out_admin = admin;
    return err;
}

struct addr admin_addr(const struct admin *admin)
{
    return h1_server_addr(admin->admin);
}

struct addr admin_metrics_addr(const struct admin *admin)
{
    return h1_server_addr(admin->metrics);
}

struct addr admin_ready_addr(const struct admin *admin)
{
    return h1_server_addr(admin->ready);
}

static void close_server(struct h1_server *server)
{
    if (server)
        h1_server_close(server);
}

void admin_close(struct admin *admin)
{
    close_server(admin->metrics);
    close_server(admin->ready);
    close_server(admin->admin);
    loop_bury(admin->loop, admin, mem_free);
}
