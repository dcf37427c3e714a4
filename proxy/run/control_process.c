#include "proxy/run/control_process.h"

#include <signal.h>
#include <unistd.h>

#include "proxy/admin/admin.h"
#include "proxy/base/clock.h"
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
    (void)request;
    answer(owner, exchange, control_endpoints_json);
}

static const struct admin_page pages[] = {
    {"/status", "manifests, nodes, peers", answer_status},
    {"/services", "clusterset services with their ClusterSetIPs", answer_services},
    {"/endpoints", "endpoints of the clusterset's services", answer_endpoints},
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
