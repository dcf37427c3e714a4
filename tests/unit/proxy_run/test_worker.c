/* A worker thread, driven as the control thread does. */
#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/io/tcp.h"
#include "proxy/run/publication.h"
#include "proxy/run/worker.h"
#include "proxy/tls/tls_identity.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/snap.h"

TestSuite(worker, .timeout = 60);

#define PATIENCE_MS 10000

static struct loop *loop;
static struct mailbox *control;
static struct worker *worker;
static struct mailbox *inbox;
static struct proxy_config config;
static struct snap snap;
static struct publication *snapshots, *sets;
static unsigned n_serving, n_failed, n_drained, n_reports;
static char failure[256];

static void on_serving(void *owner, struct worker *who)
{
    (void)owner;
    cr_expect_eq(who, worker);
    n_serving++;
}

static void on_failed(void *owner, struct worker *who, struct str why)
{
    (void)owner, (void)who;
    snprintf(failure, sizeof failure, "%.*s", STR_ARG(why));
    n_failed++;
}

static void on_drained(void *owner, struct worker *who)
{
    (void)owner, (void)who;
    n_drained++;
}

static const struct worker_events events = {on_serving, on_failed, on_drained};

static void on_report(void *owner, struct worker_report *report)
{
    (void)owner;
    n_reports++;
    cr_expect_eq(report->n_flows, 0);
    text_fini(&report->flows);
    if (report->traffic)
        traffic_report_free(report->traffic);
}

static void free_snapshot(void *object)
{
    snapshot_free(object);
}

static void free_set(void *object)
{
    tls_set_free(object);
}

static void start(void)
{
    config = (struct proxy_config){.connect_ns = NS_PER_SEC,
                                   .attempt_ns = NS_PER_SEC,
                                   .handshake_ns = NS_PER_SEC,
                                   .idle_ns = NS_PER_SEC,
                                   .half_close_ns = NS_PER_SEC,
                                   .drain_ns = NS_PER_SEC,
                                   .max_connections = 10,
                                   .max_connect_attempts = 2};
    loop = loop_new();
    control = mailbox_open(loop, NULL);
    worker = worker_start(0, 1, &config, NULL, NULL, NULL, control, &events);
    inbox = worker_mailbox(worker);
    snap_init(&snap, "n1");
    snap_pod(&snap, "web", "n1", "10.0.0.1");
}

static void tell_snapshot(void)
{
    publication_release(snapshots);
    snapshots =
        publish(snap_build(&snap), free_snapshot, &inbox, 1, control, worker_deliver_snapshot);
}

static void tell_set(void)
{
    struct trust *trust = trust_new();
    publication_release(sets);
    sets = publish(tls_set_new(1, trust), free_set, &inbox, 1, control, worker_deliver_tls);
    trust_unref(trust);
}

static void stop(void)
{
    worker_stop(worker);
    publication_release(snapshots);
    publication_release(sets);
    mailbox_close(control);
    snap_fini(&snap);
    loop_finish(loop);
}

Test(worker, opens_its_doors_once_it_has_identities_and_a_synced_snapshot)
{
    start();
    tell_set();
    snap.is_unsynced = true;
    tell_snapshot();
    worker_ask(worker, &(struct worker_question){0}, on_report, NULL);
    cr_assert(run_until_count(loop, &n_reports, 1, PATIENCE_MS));
    cr_expect_eq(n_serving, 0, "not before the first state");

    snap.is_unsynced = false;
    tell_snapshot();
    cr_assert(run_until_count(loop, &n_serving, 1, PATIENCE_MS));
    for (int i = 0; i < 20; i++) {
        tell_snapshot();
        tell_set();
    }
    worker_ask(worker,
               &(struct worker_question){
                   .wants_flows = true, .page = {.max = FLOW_PAGE}, .wants_traffic = true},
               on_report, NULL);
    cr_assert(run_until_count(loop, &n_reports, 2, PATIENCE_MS));

    cr_expect_eq(n_serving, 1);
    cr_expect_eq(n_failed, 0);
    stop();
}

Test(worker, without_flows_is_drained_at_once_whatever_its_state)
{
    for (int serves = 0; serves < 2; serves++) {
        snapshots = sets = NULL;
        n_drained = n_serving = 0;
        start();
        if (serves) {
            tell_set();
            tell_snapshot();
            cr_assert(run_until_count(loop, &n_serving, 1, PATIENCE_MS));
        }
        worker_drain(worker);
        worker_drain(worker);
        cr_expect(run_until_count(loop, &n_drained, 1, PATIENCE_MS));
        stop();
    }
}

static struct addr take_port(struct listener **out_listener)
{
    int errnum;
    const struct addr any = {0};
    cr_assert_eq(listener_open(loop, &any, NULL, NULL, NULL, out_listener, &errnum), 0);
    return listener_addr(*out_listener);
}

Test(worker, says_which_port_is_taken)
{
    struct listener *taken;
    start();
    config.ports.inbound = take_port(&taken).port;
    tell_set();
    tell_snapshot();

    cr_assert(run_until_count(loop, &n_failed, 1, PATIENCE_MS));

    cr_expect_not_null(strstr(failure, "in use"), "%s", failure);
    listener_close(taken);
    stop();
}

Test(worker, what_it_said_last_is_heard_after_it_was_stopped)
{
    struct listener *taken;
    start();
    config.ports.inbound = take_port(&taken).port;
    tell_set();
    tell_snapshot();
    worker_ask(worker, &(struct worker_question){.wants_flows = true, .page = {.max = FLOW_PAGE}},
               on_report, NULL);

    worker_stop(worker); /* its failure and its answer are on their way */
    publication_release(snapshots);
    publication_release(sets);
    cr_expect_eq(n_failed, 0);
    mailbox_close(control);

    cr_expect_eq(n_failed, 1);
    cr_expect_eq(n_reports, 1);
    listener_close(taken);
    snap_fini(&snap);
    loop_finish(loop);
}
