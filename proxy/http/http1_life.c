/*
 * http1_life.c - the phases of an HTTP/1.1 connection, the time that each may take, and its end.
 */
#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/base/sm.h"
#include "proxy/http/http1_conn.h"

#define BODY_NS (300 * NS_PER_SEC)
#define HEAD_NS (10 * NS_PER_SEC)
#define IDLE_NS (3600 * NS_PER_SEC)

#define LIVE_ENDS (SM_TO(HTTP1_FINISHING) | SM_TO(HTTP1_DEAD))

static const struct sm_rule phases[HTTP1_PHASES] = {
    [HTTP1_IDLE] = {"idle", SM_TO(HTTP1_HEAD) | LIVE_ENDS},
    [HTTP1_HEAD] = {"head", SM_TO(HTTP1_BODY) | SM_TO(HTTP1_DONE) | LIVE_ENDS},
    [HTTP1_BODY] = {"body", SM_TO(HTTP1_DONE) | LIVE_ENDS},
    [HTTP1_DONE] = {"done", SM_TO(HTTP1_IDLE) | SM_TO(HTTP1_BODY) | LIVE_ENDS},
    [HTTP1_FINISHING] = {"finishing", SM_TO(HTTP1_DEAD)},
};

void http1_move(struct http1 *conn, enum http1_phase phase)
{
    sm_move(phases, &conn->phase, (int)phase);
}

/* ------------------------------------------------------------------ time */

static void on_timer(struct timer *timer)
{
    struct http1 *conn = container_of(timer, struct http1, timer);
    const uint64_t now_ns = loop_now_ns(conn->loop);

    if (conn->deadline_ns == 0)
        return;
    if (now_ns < conn->deadline_ns) {
        timer_start(conn->loop, timer, conn->deadline_ns - now_ns, on_timer);
        return;
    }
    conn->deadline_ns = 0;
    if (conn->phase == HTTP1_FINISHING)
        http1_kill(conn, -ERR_IDLE_TIMEOUT, conn->end_err, conn->why);
    else
        conn->role->on_timeout(conn);
}

/* A timer that would fire too early is left alone, so that a message does not cost two. */
void http1_wait(struct http1 *conn, uint64_t after_ns)
{
    conn->deadline_ns = loop_now_ns(conn->loop) + after_ns;
    if (!timer_is_running(&conn->timer) || conn->timer.deadline_ns > conn->deadline_ns)
        timer_start(conn->loop, &conn->timer, after_ns, on_timer);
}

void http1_wait_idle(struct http1 *conn)
{
    http1_wait(conn, conn->limits.idle_ns ? conn->limits.idle_ns : IDLE_NS);
}

void http1_wait_not(struct http1 *conn)
{
    conn->deadline_ns = 0;
}

static bool is_switched(const struct http1 *conn) /* to another protocol, both ways */
{
    return conn->body.framing == HTTP1_UNTIL_CLOSE && conn->out_framing == HTTP1_UNTIL_CLOSE;
}

void http1_settle_time(struct http1 *conn)
{
    if (conn->phase == HTTP1_HEAD && conn->head && !conn->head_is_timed) {
        conn->head_is_timed = true;
        http1_wait(conn, conn->limits.head_ns ? conn->limits.head_ns : HEAD_NS);
    } else if (conn->phase == HTTP1_BODY && conn->is_discarding) {
        http1_wait(conn, STREAM_LINGER_MS * NS_PER_MS);
    } else if (conn->phase == HTTP1_BODY && (conn->is_paused || is_switched(conn))) {
        http1_wait_not(conn);
    } else if (conn->phase == HTTP1_BODY) {
        http1_wait(conn, conn->limits.body_ns ? conn->limits.body_ns : BODY_NS);
    }
}

/* ------------------------------------------------------------------ the end */

static void free_conn(void *ptr)
{
    mem_free(ptr);
}

void http1_bury_if_over(struct http1 *conn)
{
    if (conn->phase != HTTP1_DEAD || !conn->is_closed || conn->is_open || conn->is_buried)
        return;
    conn->is_buried = true;
    loop_bury(conn->loop, conn->self, free_conn);
}

static void drop_all(struct http1 *conn)
{
    task_cancel(&conn->flush);
    task_cancel(&conn->go_on);
    timer_stop(&conn->timer);
    slice_release(conn->kept);
    conn->kept = (struct slice){0};
    slice_release(conn->last);
    conn->last = (struct slice){0};
    http1_head_free(conn->head);
    conn->head = NULL;
    http1_body_fini(&conn->body);
    buf_fini(&conn->queue);
    buf_fini(&conn->held);
    conn->lower = NULL;
}

static void die(struct http1 *conn, int err, const char *why)
{
    if (!conn->is_closed)
        conn->role->on_dead(conn, err, why);
    http1_bury_if_over(conn);
}

void http1_fail(struct http1 *conn, int err)
{
    if (http1_is_deaf(conn) || (conn->in == HTTP1_IN_ENDED && conn->out == HTTP1_OUT_ENDED))
        return;
    conn->is_failed = true;
    conn->exchange.stream.events->on_fail(conn->exchange.stream.owner, err);
}

void http1_kill(struct http1 *conn, int err, int dead_err, const char *why)
{
    struct stream *lower = conn->lower;

    if (conn->phase == HTTP1_DEAD)
        return;
    http1_move(conn, HTTP1_DEAD);
    drop_all(conn);
    stream_close(lower, dead_err < 0 ? dead_err : err);
    http1_fail(conn, err);
    die(conn, dead_err, why);
}

void http1_doom(struct http1 *conn, int err, int dead_err, const char *why)
{
    if (http1_is_over(conn))
        return;
    conn->doom_err = err;
    conn->doom_dead_err = dead_err;
    conn->why = why;
    loop_defer(conn->loop, &conn->go_on);
}

void http1_finish(struct http1 *conn, int err, const char *why)
{
    if (http1_is_over(conn))
        return;
    http1_move(conn, HTTP1_FINISHING);
    conn->end_err = err;
    conn->why = why;
    if (conn->is_reading) {
        conn->is_reading = false;
        stream_pause(conn->lower);
    }
    http1_wait(conn, STREAM_LINGER_MS * NS_PER_MS);
    loop_defer(conn->loop, &conn->flush);
}

void http1_end_finishing(struct http1 *conn)
{
    struct stream *lower = conn->lower;
    const bool was_shut = conn->lower_is_shut;

    http1_move(conn, HTTP1_DEAD);
    drop_all(conn);
    if (!was_shut)
        stream_shutdown(lower);
    stream_close(lower, 0);
    die(conn, conn->end_err, conn->why);
}

void http1_release(struct http1 *conn)
{
    conn->is_closed = true;
    http1_bury_if_over(conn);
}
