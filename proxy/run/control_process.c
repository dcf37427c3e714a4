#include "proxy/run/control_process.h"

#include <signal.h>
#include <unistd.h>

#include "proxy/admin/admin.h"
#include "proxy/admin/endpoints.h"
#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/io/process.h"
#include "proxy/run/state_dir.h"
#include "proxy/run/version.h"
#include "xds/control/control.h"

#define LOG_DRAIN_NS (UINT64_C(20) * NS_PER_MS)

struct process {
    struct loop *loop;
    struct meter *meter;
    struct control *control;
    struct admin *admin;
    struct timer log_timer;
    uint64_t log_dropped;
    int state_dir_fd; /* holds the folder for us; -1 before */
};

static void on_signal(void *owner, int signum)
{
    struct process *process = owner;
    log_info("ending", log_u64("signal", (uint64_t)signum));
    loop_stop(process->loop);
}

static void on_hangup(void *owner, int signum)
{
    (void)owner;
    (void)signum;
    log_warn(
        "SIGHUP changes nothing: manifests are read when they change, the configuration at the "
        "start only");
}

static void on_quit(void *owner)
{
    loop_stop(((struct process *)owner)->loop);
}

static bool is_ready(void *owner, struct text *why)
{
    const struct process *process = owner;
    return control_is_ready(process->control, why);
}

static void answer_metrics(void *owner, struct h1_exchange *exchange)
{
    struct text page = {0};
    (void)owner;
    meter_write(&page, "isthmus-control", ISTHMUS_VERSION);
    admin_answer_metrics(exchange, text_str(&page));
    text_fini(&page);
}

static void answer(const struct process *process, struct h1_exchange *exchange,
                   void (*view)(const struct control *control, struct text *out))
{
    struct text page = {0};
    view(process->control, &page);
    admin_answer_json(exchange, text_str(&page));
    text_fini(&page);
}

static void answer_status(void *owner, struct h1_exchange *exchange,
                          const struct h1_request *request)
{
    (void)request;
    answer(owner, exchange, control_status_json);
}

static void answer_services(void *owner, struct h1_exchange *exchange,
                            const struct h1_request *request)
{
    (void)request;
    answer(owner, exchange, control_services_json);
}

static void answer_endpoints(void *owner, struct h1_exchange *exchange,
                             const struct h1_request *request)
{
    const struct process *process = owner;
    struct arena arena = {0};
    struct text page = {0}, why = {0};
    struct endpoint_wish wish;
    if (endpoint_wish_parse(h1_query(&arena, request->query, "host"),
                            h1_query(&arena, request->query, "offset"),
                            h1_query(&arena, request->query, "limit"), &wish, &why) == 0) {
        control_endpoints_json(process->control,
                               &(struct control_page){wish.host, wish.offset, wish.limit}, &page);
        admin_answer_json(exchange, text_str(&page));
    } else {
        h1_answer(exchange, 400, "text/plain", text_str(&why));
    }
    text_fini(&page);
    text_fini(&why);
    arena_fini(&arena);
}

/* ---- drills ---- */

static void answer_drills(void *owner, struct h1_exchange *exchange,
                          const struct h1_request *request)
{
    (void)request;
    answer(owner, exchange, control_drills_json);
}

static void answer_order(struct h1_exchange *exchange, int err, struct str done, struct str why)
{
    switch (-err) {
    case ERR_OK: admin_answer_json(exchange, done); return;
    case ERR_NOT_FOUND: admin_answer_refusal(exchange, 404, why); return;
    case ERR_LIMIT: admin_answer_refusal(exchange, 409, why); return;
    default: admin_answer_refusal(exchange, 400, why); return;
    }
}

static int read_drill(const struct h1_request *request, struct arena *arena,
                      struct drill_request *out, struct text *why)
{
    uint64_t length_ms;
    out->service = h1_query(arena, request->query, "service");
    out->cluster = h1_query(arena, request->query, "cluster");
    out->is_forced = str_eq(h1_query(arena, request->query, "force"), STR("true"));
    if (str_is_empty(out->service) || str_is_empty(out->cluster) ||
        !str_to_u64(h1_query(arena, request->query, "for_ms"), UINT32_MAX, &length_ms)) {
        text_add(why, STR("expected ?service=NAMESPACE/NAME&cluster=NAME&for_ms=NUMBER, and "
                          "&force=true to leave the load out of account"));
        return -ERR_INVALID;
    }
    out->length_ns = length_ms * NS_PER_MS;
    return 0;
}

static void answer_drill_start(void *owner, struct h1_exchange *exchange,
                               const struct h1_request *request)
{
    const struct process *process = owner;
    struct arena arena = {0};
    struct text out = {0}, why = {0};
    struct drill_request drill = {0};
    int err = read_drill(request, &arena, &drill, &why);
    if (err == 0)
        err = control_drill_start(process->control, &drill, &out, &why);
    answer_order(exchange, err, text_str(&out), text_str(&why));
    text_fini(&out);
    text_fini(&why);
    arena_fini(&arena);
}

static void order(const struct process *process, struct h1_exchange *exchange,
                  const struct h1_request *request,
                  int (*fn)(struct control *control, uint64_t id, struct text *why))
{
    struct arena arena = {0};
    struct text why = {0};
    uint64_t id;
    int err = -ERR_INVALID;
    if (str_to_u64(h1_query(&arena, request->query, "id"), UINT64_MAX, &id))
        err = fn(process->control, id, &why);
    else
        text_add(&why, STR("expected ?id=NUMBER, as the start of the drill answered"));
    answer_order(exchange, err, STR("{}\n"), text_str(&why));
    text_fini(&why);
    arena_fini(&arena);
}

static void answer_drill_renew(void *owner, struct h1_exchange *exchange,
                               const struct h1_request *request)
{
    order(owner, exchange, request, control_drill_renew);
}

static void answer_drill_stop(void *owner, struct h1_exchange *exchange,
                              const struct h1_request *request)
{
    order(owner, exchange, request, control_drill_stop);
}

static const struct admin_page pages[] = {
    {.path = "/status", .help = "manifests, nodes, peers", .answer = answer_status},
    {.path = "/drills", .help = "drills in progress", .answer = answer_drills},
    {.path = "/drills/start",
     .help = "?service=NAMESPACE/NAME&cluster=NAME&for_ms=NUMBER[&force=true]",
     .answer = answer_drill_start,
     .is_post = true},
    {.path = "/drills/renew",
     .help = "?id=NUMBER, before 5 s are over",
     .answer = answer_drill_renew,
     .is_post = true},
    {.path = "/drills/stop",
     .help = "?id=NUMBER gives the cluster back",
     .answer = answer_drill_stop,
     .is_post = true},
    {.path = "/services",
     .help = "clusterset services with their ClusterSetIPs",
     .answer = answer_services},
    {.path = "/endpoints",
     .help = "endpoints of the clusterset's services; ?host=PART&offset=N&limit=N",
     .answer = answer_endpoints},
};

static void on_log_timer(struct timer *timer)
{
    struct process *process = container_of(timer, struct process, log_timer);
    (void)log_drain();
    const uint64_t dropped = log_dropped();
    meter_add(process->meter, METRIC_LOG_DROPPED, (int64_t)(dropped - process->log_dropped));
    process->log_dropped = dropped;
    timer_start(process->loop, timer, LOG_DRAIN_NS, on_log_timer);
}

static int open_admin(struct process *process, const struct control_config *config,
                      struct text *why)
{
    struct admin_options options = {
        .metrics = {.port = config->ports.metrics},
        .ready = {.port = config->ports.ready},
        .admin = {.port = config->ports.admin},
        .pages = pages,
        .n_pages = ARRAY_LEN(pages),
        .on_metrics = answer_metrics,
        .is_ready = is_ready,
        .on_quit = on_quit,
    };
    const int err = ip_parse(STR("127.0.0.1"), &options.admin.ip);
    ensure(err == 0);
    return admin_open(process->loop, &options, process, &process->admin, why);
}

static int open_all(struct process *process, const struct control_config *config, struct text *why)
{
    int err = state_dir_take(config->state_dir, &process->state_dir_fd, why);
    if (err == 0)
        err = control_open(process->loop, config, process->meter, &process->control, why);
    return err < 0 ? err : open_admin(process, config, why);
}

int control_process_run(const struct control_config *config)
{
    struct text why = {0};
    struct process process = {.loop = loop_new(), .meter = meter_new(), .state_dir_fd = -1};
    struct signal_watch *on_term = signal_watch_open(process.loop, SIGTERM, on_signal, &process);
    struct signal_watch *on_int = signal_watch_open(process.loop, SIGINT, on_signal, &process);
    struct signal_watch *on_hup = signal_watch_open(process.loop, SIGHUP, on_hangup, &process);
    log_attach("control");
    log_start(STDERR_FILENO, -1);
    timer_start(process.loop, &process.log_timer, LOG_DRAIN_NS, on_log_timer);
    const int err = open_all(&process, config, &why);
    if (err < 0) {
        log_error("control cannot start", log_str("error", text_str(&why)));
    } else {
        log_info("serving", log_str("cluster", config->cluster));
        loop_run(process.loop);
    }
    if (process.admin)
        admin_close(process.admin);
    if (process.control)
        control_close(process.control);
    signal_watch_close(on_term);
    signal_watch_close(on_int);
    signal_watch_close(on_hup);
    timer_stop(&process.log_timer);
    while (loop_turn(process.loop, true))
        ;
    loop_free(process.loop);
    log_stop();
    meter_free(process.meter);
    state_dir_release(process.state_dir_fd);
    text_fini(&why);
    return err < 0 ? 1 : 0;
}
