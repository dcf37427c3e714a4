/*
 * The admin port's pages of a proxy, and its metrics. What only the workers know is asked of all of
 * them; the last answer completes the page.
 */
#include "proxy/admin/endpoints.h"
#include "proxy/admin/routes.h"
#include "proxy/admin/views.h"
#include "proxy/admin/why.h"
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/run/node_state.h"
#include "proxy/run/version.h"

#define CERTIFICATES_SHOWN_MAX 1000 /* in the metrics */

struct gathering { /* one question to all workers */
    struct node *node;
    struct h1_exchange *exchange;
    void (*complete)(struct gathering *gathering);
    struct arena arena; /* what the question borrows */
    unsigned n_waiting;
    struct traffic_report *traffic;
    struct endpoint_poll *poll;
    struct text workers;
};

static void finish(struct gathering *gathering)
{
    gathering->complete(gathering);
    if (gathering->traffic)
        traffic_report_free(gathering->traffic);
    endpoint_poll_free(gathering->poll);
    text_fini(&gathering->workers);
    arena_fini(&gathering->arena);
    mem_free(gathering);
}

static void on_report(void *owner, struct worker_report *report)
{
    struct gathering *gathering = owner;
    text_addf(&gathering->workers, "%s{\"flows\":%zu,\"tunnels\":%zu,\"sessions\":%zu}",
              gathering->workers.len > 0 ? "," : "", report->n_flows, report->n_tunnels,
              report->n_sessions);
    if (report->traffic && gathering->traffic)
        traffic_report_merge(gathering->traffic, report->traffic);
    else if (report->traffic)
        gathering->traffic = report->traffic;
    if (report->endpoints)
        endpoint_poll_note(gathering->poll, report->endpoints);
    mem_free(report->endpoints);
    if (--gathering->n_waiting == 0)
        finish(gathering);
}

static struct gathering *gather_new(struct node *node, struct h1_exchange *exchange,
                                    void (*complete)(struct gathering *gathering))
{
    struct gathering *gathering = mem_new(struct gathering);
    gathering->node = node;
    gathering->exchange = exchange;
    gathering->complete = complete;
    gathering->n_waiting = node->n_workers;
    return gathering;
}

static void gather_start(struct gathering *gathering, const struct worker_question *question)
{
    struct node *node = gathering->node;
    for (unsigned i = 0; i < node->n_workers; i++)
        worker_ask(node->workers[i], question, on_report, gathering);
}

/* ---- metrics ---- */

/* One line a certificate: pods of this node, so a few hundred at most. */
static void write_expiry(const struct node *node, struct text *out)
{
    struct rotation_status status;
    size_t n = 0;
    meter_write_expiry_head(out);
    for (size_t i = 0; i < IDENTITIES_ROTATIONS; i++)
        for (size_t idx = 0;
             n < CERTIFICATES_SHOWN_MAX &&
             rotation_next(identities_rotations(node->identities)[i], &idx, &status);)
            if (status.not_after_ns != 0) {
                meter_write_expiry(out, status.id, status.not_after_ns);
                n++;
            }
}

static void complete_metrics(struct gathering *gathering)
{
    struct text page = {0};
    meter_write(&page, "isthmus-proxy", ISTHMUS_VERSION);
    if (gathering->node->identities)
        write_expiry(gathering->node, &page);
    if (gathering->traffic)
        traffic_report_write(gathering->traffic, &page);
    admin_answer_metrics(gathering->exchange, text_str(&page));
    text_fini(&page);
}

void node_answer_metrics(void *owner, struct h1_exchange *exchange)
{
    const struct worker_question question = {.wants_traffic = true};
    gather_start(gather_new(owner, exchange, complete_metrics), &question);
}

/* ---- status ---- */

static void add_member(struct text *out, const char *key, struct str value)
{
    text_addf(out, "\"%s\":", key);
    text_add_json_string(out, value);
    text_addc(out, ',');
}

static const char *json_bool(bool value)
{
    return value ? "true" : "false";
}

static void add_control(const struct node *node, struct text *out)
{
    const uint64_t now_ns = loop_now_ns(node->loop);
    const bool is_up = xds_client_is_connected(node->xds);
    text_addf(out, "\"control\":{\"address\":\"%.*s:%u\",\"connected\":%s,\"since_s\":%llu,",
              STR_ARG(node->config->control.host), node->config->control.port, json_bool(is_up),
              is_up ? (unsigned long long)((now_ns - node->connected_ns) / NS_PER_SEC) : 0);
    text_addf(out, "\"nacks\":%lld,\"last_error\":", (long long)meter_total(METRIC_XDS_NACKS));
    text_add_json_string(out, text_str(&node->last_error));
    text_addf(out, "},");
}

static void add_certificates(const struct node *node, struct text *out)
{
    struct rotation_status status;
    size_t held = 0, wanted = 0;
    for (size_t i = 0; i < IDENTITIES_ROTATIONS; i++)
        for (size_t idx = 0;
             rotation_next(identities_rotations(node->identities)[i], &idx, &status);) {
            wanted++;
            held += status.not_after_ns != 0;
        }
    text_addf(out, "\"certificates\":{\"held\":%zu,\"wanted\":%zu},", held, wanted);
}

static void complete_status(struct gathering *gathering)
{
    const struct node *node = gathering->node;
    const struct snapshot *snapshot = node->snapshot;
    struct text page = {0};
    text_addf(&page, "{\"version\":\"%s\",\"role\":\"proxy\",", ISTHMUS_VERSION);
    add_member(&page, "node", node->config->node);
    add_member(&page, "cluster", node->config->cluster);
    add_member(&page, "trust_domain", node->config->trust_domain);
    text_addf(&page, "\"uptime_s\":%llu,",
              (unsigned long long)((clock_mono_ns() - node->started_ns) / NS_PER_SEC));
    text_addf(
        &page,
        "\"snapshot\":{\"generation\":%llu,\"synced\":%s,\"workloads\":%zu,\"services\":%zu},",
        (unsigned long long)node->generation, json_bool(snapshot && snapshot->is_synced),
        snapshot ? snapshot->n_workloads : 0, snapshot ? snapshot->services.len : 0);
    add_control(node, &page);
    add_certificates(node, &page);
    text_addf(&page, "\"workers\":[%s],\"draining\":%s}\n",
              gathering->workers.ptr ? gathering->workers.ptr : "", json_bool(node->is_draining));
    admin_answer_json(gathering->exchange, text_str(&page));
    text_fini(&page);
}

static void answer_status(void *owner, struct h1_exchange *exchange,
                          const struct h1_request *request)
{
    const struct worker_question question = {0};
    (void)request;
    gather_start(gather_new(owner, exchange, complete_status), &question);
}

/* ---- what the control thread knows by itself ---- */

static bool has_snapshot(const struct node *node, struct h1_exchange *exchange)
{
    if (!node->snapshot)
        h1_answer(exchange, 503, "text/plain", STR("the first snapshot is not built yet\n"));
    return node->snapshot != NULL;
}

/* A view of the snapshot, of all hosts or of the one that is asked for. */
static void answer_by_host(const struct node *node, struct h1_exchange *exchange,
                           const struct h1_request *request,
                           void (*view)(const struct snapshot *snapshot, struct str host,
                                        struct text *out))
{
    struct arena arena = {0};
    struct text page = {0};
    if (!has_snapshot(node, exchange))
        return;
    view(node->snapshot, h1_query(&arena, request->query, "host"), &page);
    admin_answer_json(exchange, text_str(&page));
    text_fini(&page);
    arena_fini(&arena);
}

static void answer_services(void *owner, struct h1_exchange *exchange,
                            const struct h1_request *request)
{
    answer_by_host(owner, exchange, request, view_services);
}

static void answer_routes(void *owner, struct h1_exchange *exchange,
                          const struct h1_request *request)
{
    answer_by_host(owner, exchange, request, view_routes);
}

static void answer_certificates(void *owner, struct h1_exchange *exchange,
                                const struct h1_request *request)
{
    const struct node *node = owner;
    struct text page = {0};
    (void)request;
    view_certificates(identities_rotations(node->identities), IDENTITIES_ROTATIONS,
                      *identities_trust(node->identities), &page);
    admin_answer_json(exchange, text_str(&page));
    text_fini(&page);
}

static void answer_why(void *owner, struct h1_exchange *exchange, const struct h1_request *request)
{
    const struct node *node = owner;
    if (!has_snapshot(node, exchange))
        return;
    struct arena arena = {0};
    struct text page = {0};
    const struct why_question question = {
        .from = h1_query(&arena, request->query, "from"),
        .to = h1_query(&arena, request->query, "to"),
        .method = h1_query(&arena, request->query, "method"),
        .path = h1_query(&arena, request->query, "path"),
    };
    if (view_why(node->snapshot, &question, &page) == 0)
        admin_answer_json(exchange, text_str(&page));
    else
        h1_answer(exchange, 400, "text/plain; charset=utf-8", text_str(&page));
    text_fini(&page);
    arena_fini(&arena);
}

/* ---- endpoints: where they stand is known here, how they do by the workers ---- */

static void complete_endpoints(struct gathering *gathering)
{
    struct text page = {0};
    const struct endpoint_time now = {clock_mono_ns(), clock_wall_ns()};
    endpoint_poll_write(gathering->poll, gathering->node->snapshot, &now, &page);
    admin_answer_json(gathering->exchange, text_str(&page));
    text_fini(&page);
}

static void gather_endpoints(struct node *node, struct h1_exchange *exchange,
                             const struct endpoint_wish *wish)
{
    struct worker_question question = {0};
    struct gathering *gathering = gather_new(node, exchange, complete_endpoints);
    gathering->poll = endpoint_poll_new(node->snapshot, wish);
    question.asks = endpoint_poll_asks(gathering->poll, &question.n_asks);
    gather_start(gathering, &question);
}

static void answer_endpoints(void *owner, struct h1_exchange *exchange,
                             const struct h1_request *request)
{
    struct node *node = owner;
    struct arena arena = {0};
    struct text why = {0};
    struct endpoint_wish wish;
    if (!has_snapshot(node, exchange))
        return;
    if (endpoint_wish_parse(h1_query(&arena, request->query, "host"),
                            h1_query(&arena, request->query, "offset"),
                            h1_query(&arena, request->query, "limit"), &wish, &why) == 0)
        gather_endpoints(node, exchange, &wish);
    else
        h1_answer(exchange, 400, "text/plain", text_str(&why));
    text_fini(&why);
    arena_fini(&arena);
}

/* ---- active health, which its own thread knows ---- */

static void complete_health(void *owner, const struct text *rows)
{
    struct text page = {0};
    text_addf(&page, "{\"health\":[");
    text_add(&page, text_str(rows));
    text_addf(&page, "]}\n");
    admin_answer_json(owner, text_str(&page));
    text_fini(&page);
}

static void answer_health(void *owner, struct h1_exchange *exchange,
                          const struct h1_request *request)
{
    const struct node *node = owner;
    (void)request;
    health_thread_ask(node->health, complete_health, exchange);
}

const struct admin_page node_pages[] = {
    {.path = "/status",
     .help = "this process, its control stream, its workers",
     .answer = answer_status},
    {.path = "/services", .help = "services by host name; ?host=PART", .answer = answer_services},
    {.path = "/routes",
     .help = "where requests go, rule by rule; ?host=PART",
     .answer = answer_routes},
    {.path = "/endpoints",
     .help = "endpoints, how they are balanced, and why some get nothing; "
             "?host=PART&offset=N&limit=N",
     .answer = answer_endpoints},
    {.path = "/health", .help = "what active checks from this node found", .answer = answer_health},
    {.path = "/connections",
     .help =
         "live connections, 10000 of a worker at most; ?state=accepted|connecting|pumping|serving",
     .answer = node_answer_connections},
    {.path = "/why",
     .help =
         "why a connection would be allowed or not; ?from=ID|NS/POD|ADDRESS&to=DESTINATION:PORT, "
         "a request with &method=M&path=P",
     .answer = answer_why},
    {.path = "/certs", .help = "certificates and trust bundles", .answer = answer_certificates},
};

const size_t node_n_pages = ARRAY_LEN(node_pages);
