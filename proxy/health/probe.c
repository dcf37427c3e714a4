/*
 * A probe is one of three things in turn: a connect; a question that waits for its answer; done.
 * One timer bounds both.
 */
#include "proxy/health/probe.h"

#include <stdio.h>

#include "proxy/base/arena.h"
#include "proxy/base/mem.h"
#include "proxy/health/grpc_check.h"
#include "proxy/health/hello.h"
#include "proxy/http/h1_fetch.h"

struct probe {
    struct loop *loop;
    struct arena arena;
    struct health_check check; /* its strings are in the arena */
    struct str authority;      /* of a question: the check's host, or the address */
    struct timer timer;
    struct connect *connect;
    struct hello *hello;
    struct grpc_check *grpc;
    struct h1_fetch *fetch;
    void (*on_done)(void *owner, enum answer answer, struct str why);
    void *owner;
};

static void free_probe(void *ptr)
{
    struct probe *probe = ptr;
    arena_fini(&probe->arena);
    mem_free(probe);
}

void probe_cancel(struct probe *probe)
{
    timer_stop(&probe->timer);
    if (probe->connect)
        connect_cancel(probe->connect);
    if (probe->hello)
        hello_cancel(probe->hello);
    if (probe->grpc)
        grpc_check_cancel(probe->grpc);
    if (probe->fetch)
        h1_fetch_cancel(probe->fetch);
    loop_bury(probe->loop, probe, free_probe);
}

static void finish(struct probe *probe, enum answer answer, struct str why)
{
    probe_cancel(probe);
    probe->on_done(probe->owner, answer, why);
}

/* ---- answers ---- */

static void on_hello(void *owner, enum answer answer, struct str why)
{
    struct probe *probe = owner;
    probe->hello = NULL;
    finish(probe, answer, why);
}

static void on_grpc(void *owner, enum answer answer, struct str why)
{
    struct probe *probe = owner;
    probe->grpc = NULL;
    finish(probe, answer, why);
}

static void on_fetched(void *owner, int err, unsigned status, struct str body)
{
    struct probe *probe = owner;
    char why[64];
    (void)body;
    probe->fetch = NULL;
    if (err < 0) {
        finish(probe, ANSWER_NONE, str_from(err_text(err)));
        return;
    }
    const bool is_good = status >= probe->check.status_min && status <= probe->check.status_max;
    (void)snprintf(why, sizeof why, "it answered with status %u", status);
    finish(probe, is_good ? ANSWER_GOOD : ANSWER_BAD, str_from(why));
}

/* ---- reaching it ---- */

/* What our own node could not do, and what a policy refused to our pod, is not the endpoint's
 * health. */
static bool is_told(int err)
{
    switch (-err) {
    case ERR_TUNNEL_DENIED:
    case ERR_NO_IDENTITY:
    case ERR_TLS_IDENTITY:
    case ERR_H2_GOAWAY:
    case ERR_H2_REFUSED:
    case ERR_SYSTEM:
    case ERR_OVERLOAD: return false;
    default: return true;
    }
}

static void on_reached(void *owner, int err, const struct upstream *upstream, struct str why)
{
    struct probe *probe = owner;
    const struct health_check *check = &probe->check;
    probe->connect = NULL;
    if (err < 0) {
        finish(probe, is_told(err) ? ANSWER_NONE : ANSWER_UNTOLD,
               str_is_empty(why) ? str_from(err_text(err)) : why);
        return;
    }
    switch (check->kind) {
    case CHECK_TCP:
        stream_close(upstream->stream, 0);
        finish(probe, ANSWER_GOOD, STR("it takes connections"));
        break;
    case CHECK_TLS:
        probe->hello = hello_start(probe->loop, upstream->stream, check->host, on_hello, probe);
        break;
    case CHECK_HTTP:
        probe->fetch = h1_fetch_over(probe->loop, upstream->stream, probe->authority, check->path,
                                     on_fetched, probe);
        break;
    case CHECK_GRPC:
        probe->grpc = grpc_check_start(probe->loop, upstream->stream, probe->authority,
                                       check->grpc_service, on_grpc, probe);
        break;
    }
}

/* The connect's own timer fires first, or in the same turn; this one is for the answer. */
static void on_timeout(struct timer *timer)
{
    struct probe *probe = container_of(timer, struct probe, timer);
    if (probe->connect && connect_awaits_identity(probe->connect))
        finish(probe, ANSWER_UNTOLD, str_from(err_text(-ERR_NO_IDENTITY)));
    else
        finish(probe, ANSWER_NONE,
               probe->connect ? str_from(err_text(-ERR_CONNECT_TIMEOUT))
                              : STR("no answer within the check's time"));
}

static void keep_check(struct probe *probe, const struct health_check *check,
                       const struct addr *addr)
{
    char buf[ADDR_TEXT_MAX];
    probe->check = *check;
    probe->check.path =
        str_is_empty(check->path) ? STR("/") : arena_str(&probe->arena, check->path);
    probe->check.host = arena_str(&probe->arena, check->host);
    probe->check.grpc_service = arena_str(&probe->arena, check->grpc_service);
    probe->authority = str_is_empty(check->host)
                           ? arena_str(&probe->arena, str_from(addr_text(addr, buf)))
                           : probe->check.host;
    if (check->status_max == 0) {
        probe->check.status_min = 200;
        probe->check.status_max = 299;
    }
}

struct probe *probe_start(struct loop *loop, struct connector *connector,
                          const struct connect_request *reach, const struct health_check *check,
                          void (*on_done)(void *owner, enum answer answer, struct str why),
                          void *owner)
{
    struct probe *probe = mem_new(struct probe);
    struct connect_request request = *reach;
    request.timeout_ns = check->timeout_ns;
    probe->loop = loop;
    probe->on_done = on_done;
    probe->owner = owner;
    keep_check(probe, check, &reach->addr);
    timer_start(loop, &probe->timer, check->timeout_ns, on_timeout);
    probe->connect = connect_start(connector, &request, on_reached, probe);
    return probe;
}
