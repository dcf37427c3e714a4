#include <criterion/criterion.h>
#include <string.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/pump/pump.h"
#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"

TestSuite(pump, .timeout = 20);

#define SEC         NS_PER_SEC
#define PATIENCE_MS 5000

/* A client and a server, each a fake stream of its own, with the pump between them. */
struct middle {
    struct loop *loop;
    struct fake_stream *client, *server;
    struct pump pump;
    bool is_done;
    unsigned n_done;
    uint64_t done_ns;
    struct totals totals;
};

static void on_done(void *owner, const struct totals *totals)
{
    struct middle *m = owner;
    cr_assert(m->client->is_closed && m->server->is_closed, "both are closed when it is done");
    m->n_done++;
    m->done_ns = clock_mono_ns();
    m->is_done = true;
    m->totals = *totals;
}

static void middle_open(struct middle *m, uint64_t idle_ns, uint64_t half_close_ns)
{
    const struct pump_options options = {.idle_ns = idle_ns, .half_close_ns = half_close_ns};
    *m = (struct middle){.loop = loop_new()};
    m->client = fake_stream_new(m->loop);
    m->server = fake_stream_new(m->loop);
    pump_start(&m->pump, m->loop, &m->client->stream, &m->server->stream, &options, on_done, m);
}

static void middle_close(struct middle *m)
{
    cr_expect_not(timer_is_running(&m->pump.timer));
    cr_expect_not(m->pump.is_running);
    fake_stream_free(m->client);
    fake_stream_free(m->server);
    loop_finish(m->loop);
}

static void expect_written(const struct fake_stream *fake, const char *text)
{
    cr_expect(str_eq(fake_written(fake), str_from(text)), "\"%.*s\" instead of \"%s\"",
              STR_ARG(fake_written(fake)), text);
}

Test(pump, carries_both_ways_and_counts)
{
    struct middle m;
    middle_open(&m, SEC * 60, SEC * 60);

    fake_feed_text(m.client, "ask");
    fake_feed_text(m.server, "answer");
    run_turns(m.loop, 10);
    cr_expect_eq(pump_totals(&m.pump).received, 3);
    cr_expect_eq(pump_totals(&m.pump).sent, 6);
    fake_feed_text(m.client, " more");
    fake_end(m.client);
    fake_end(m.server);
    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

    expect_written(m.server, "ask more");
    expect_written(m.client, "answer");
    cr_expect_eq(m.totals.err, 0);
    cr_expect_eq(m.totals.received, 8);
    cr_expect_eq(m.totals.sent, 6);
    cr_expect(m.client->is_shut && m.server->is_shut);
    cr_expect(m.client->close_err == 0 && m.server->close_err == 0);
    cr_expect_eq(m.n_done, 1);
    middle_close(&m);
}

/* Not a tick of the timers later: the client's connection waits for it with its next request. */
Test(pump, both_ended_with_nothing_queued_it_is_done_when_the_turn_ends)
{
    struct middle m;
    middle_open(&m, SEC * 60, SEC * 60);

    fake_end(m.client);
    fake_end(m.server);
    run_turns(m.loop, 1);
    cr_expect(m.is_done);
    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));
    middle_close(&m);
}

Test(pump, an_end_of_one_direction_leaves_the_other_flowing)
{
    for (int way = 0; way < 2; way++) {
        struct middle m;
        middle_open(&m, SEC * 60, SEC * 60);
        struct fake_stream *first = way ? m.server : m.client;
        struct fake_stream *second = way ? m.client : m.server;

        fake_feed_text(first, "last words");
        fake_end(first);
        run_turns(m.loop, 10);
        cr_expect(second->is_shut, "the end is passed on after the bytes");
        cr_expect_not(first->is_shut);
        expect_written(second, "last words");
        fake_feed_text(second, "and then some");
        run_turns(m.loop, 10);
        expect_written(first, "and then some");
        cr_expect_not(m.is_done);
        fake_end(second);
        cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

        cr_expect_eq(m.totals.err, 0);
        middle_close(&m);
    }
}

Test(pump, a_failure_of_either_side_cuts_both_and_says_whose_it_was)
{
    const struct {
        bool of_server;
        int err, why;
    } rows[] = {
        {false, -ERR_RESET, -ERR_CLIENT_RESET},
        {true, -ERR_RESET, -ERR_UPSTREAM_RESET},
        {true, -ERR_KEEPALIVE_TIMEOUT, -ERR_KEEPALIVE_TIMEOUT},
        {false, -ERR_H2, -ERR_H2},
        {true, -ERR_EOF, -ERR_UPSTREAM_RESET},
        {false, -ERR_EOF, -ERR_CLIENT_RESET},
    };

    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct middle m;
        middle_open(&m, SEC * 60, SEC * 60);
        fake_feed_text(m.client, "half of a");
        run_turns(m.loop, 5);

        fake_fail(rows[i].of_server ? m.server : m.client, rows[i].err);
        cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS), "row %zu", i);

        cr_expect_eq(m.totals.err, rows[i].why, "row %zu", i);
        cr_expect_eq(m.totals.received, 9, "row %zu", i);
        cr_expect_lt((rows[i].of_server ? m.client : m.server)->close_err, 0,
                     "row %zu: a broken transfer must not look whole", i);
        cr_expect_eq(m.n_done, 1);
        middle_close(&m);
    }
}

Test(pump, a_full_destination_pauses_its_source_and_not_the_other_way)
{
    struct middle m;
    char *block = mem_alloc(65536);
    memset(block, 'x', 65536);
    middle_open(&m, SEC * 60, SEC * 60);

    fake_hold(m.server);
    for (int i = 0; i < 20; i++)
        fake_feed(m.client, block, 65536);
    run_turns(m.loop, 100);
    cr_expect(m.client->is_paused);
    cr_expect_leq(stream_queued(&m.server->stream), FAKE_QUEUE_HIGH + SLAB_BYTES);
    cr_expect_not(m.server->is_paused);
    fake_feed_text(m.server, "the other way");
    run_turns(m.loop, 10);
    expect_written(m.client, "the other way");
    fake_release(m.server);
    run_turns(m.loop, 100);
    cr_expect_eq(fake_written(m.server).len, 20 * 65536);
    cr_expect_eq(pump_totals(&m.pump).received, 20 * 65536);
    cr_expect_not(m.client->is_paused);

    (void)pump_cut(&m.pump, -ERR_SHUTDOWN);
    mem_free(block);
    middle_close(&m);
}

Test(pump, nothing_moves_for_the_idle_time_cuts_both)
{
    struct middle m;
    const uint64_t started_ns = clock_mono_ns();
    middle_open(&m, 40 * NS_PER_MS, SEC * 60);

    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

    cr_expect_eq(m.totals.err, -ERR_IDLE_TIMEOUT);
    cr_expect_geq(clock_mono_ns() - started_ns, 39 * NS_PER_MS);
    cr_expect(m.client->close_err < 0 && m.server->close_err < 0);
    middle_close(&m);
}

static void start_with(struct middle *m, const struct pump_options *options)
{
    *m = (struct middle){.loop = loop_new()};
    m->client = fake_stream_new(m->loop);
    m->server = fake_stream_new(m->loop);
    pump_start(&m->pump, m->loop, &m->client->stream, &m->server->stream, options, on_done, m);
}

Test(pump, one_that_is_watched_has_no_timer_and_ends_when_it_is_looked_at)
{
    struct middle m;
    start_with(
        &m, &(struct pump_options){.idle_ns = SEC, .half_close_ns = 5 * SEC, .is_watched = true});
    const uint64_t begun_ns = m.pump.last_moved_ns;
    cr_expect_not(timer_is_running(&m.pump.timer));
    cr_expect_eq(pump_look(&m.pump, begun_ns), begun_ns + SEC);
    fake_end(m.client);
    run_turns(m.loop, 5);
    const uint64_t due_ns = m.pump.last_moved_ns + 5 * SEC;
    cr_expect_not(timer_is_running(&m.pump.timer), "nor by the end of a direction");
    cr_expect_eq(pump_look(&m.pump, due_ns - 1), due_ns);
    cr_expect_not(m.is_done);

    cr_expect_eq(pump_look(&m.pump, due_ns), 0);
    cr_expect_eq(m.n_done, 1);
    cr_expect_eq(m.totals.err, -ERR_HALF_CLOSE_TIMEOUT);
    cr_expect_eq(pump_look(&m.pump, due_ns), 0, "it is over");
    cr_expect_eq(m.n_done, 1);
    middle_close(&m);
}

Test(pump, an_end_before_the_start_is_passed_on_unless_the_server_knows)
{
    for (int knows = 0; knows < 2; knows++) {
        struct middle m;
        start_with(&m, &(struct pump_options){.idle_ns = SEC,
                                              .half_close_ns = 60 * SEC,
                                              .client_has_ended = true,
                                              .server_knows = knows});
        cr_expect_eq(m.server->is_shut, !knows);
        fake_feed_text(m.server, "answer");
        fake_end(m.server);
        cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));
        expect_written(m.client, "answer");
        cr_expect_eq(m.totals.err, 0);
        middle_close(&m);
    }
}

#define FEEDS 10

struct feeder {
    struct timer timer;
    struct middle *m;
    unsigned n_fed;
    uint64_t fed_ns[FEEDS + 1]; /* from the start on */
};

static void feed_again(struct timer *timer)
{
    struct feeder *feeder = container_of(timer, struct feeder, timer);
    struct middle *m = feeder->m;
    if (m->is_done || feeder->n_fed == FEEDS)
        return;
    fake_feed_text(feeder->n_fed++ % 2 ? m->client : m->server, "x");
    feeder->fed_ns[feeder->n_fed] = loop_now_ns(m->loop);
    timer_start(m->loop, timer, 20 * NS_PER_MS, feed_again);
}

/* All of them come within the idle time, unless the machine stands still between two: then it is
 * cut behind the first of these. */
Test(pump, a_byte_either_way_keeps_it_alive)
{
    const uint64_t idle_ns = 150 * NS_PER_MS;
    struct middle m;
    struct feeder feeder = {.m = &m, .fed_ns = {clock_mono_ns()}};
    middle_open(&m, idle_ns, SEC * 60);
    timer_start(m.loop, &feeder.timer, 1, feed_again);

    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));
    timer_stop(&feeder.timer);

    cr_expect_eq(m.totals.err, -ERR_IDLE_TIMEOUT);
    const size_t n_moved = m.totals.received + m.totals.sent;
    cr_assert_leq(n_moved, FEEDS);
    cr_expect_geq(m.done_ns - feeder.fed_ns[n_moved], idle_ns, "%zu bytes", n_moved);
    middle_close(&m);
}

Test(pump, half_closed_it_waits_for_the_half_close_time_only)
{
    for (int way = 0; way < 2; way++) {
        struct middle m;
        middle_open(&m, SEC * 60, 40 * NS_PER_MS);
        run_turns(m.loop, 5);

        fake_end(way ? m.server : m.client);
        cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

        cr_expect_eq(m.totals.err, -ERR_HALF_CLOSE_TIMEOUT);
        middle_close(&m);
    }
}

/* A bit of the queue leaves now and then, never so much that it drains to its low mark. Where it is
 * cut, the machine stood still for longer than it may be idle. */
Test(pump, a_reader_that_is_slow_but_reads_is_not_idle)
{
    const uint64_t idle_ns = 300 * NS_PER_MS;
    struct middle m;
    uint64_t read_ns = 0;
    char *block = mem_alloc(65536);
    memset(block, 'x', 65536);
    middle_open(&m, idle_ns, SEC * 60);
    fake_hold(m.server);
    for (int i = 0; i < 4; i++)
        fake_feed(m.client, block, 65536);
    run_turns(m.loop, 20);

    for (int i = 0; i < 6 && !m.is_done; i++) {
        bool ignored;
        const uint64_t until_ns = clock_mono_ns() + 100 * NS_PER_MS;
        if (i % 2 == 0) {
            cr_assert_gt(m.server->queue.bytes, 65536);
            slice_release(buf_shift(&m.server->queue, &ignored));
            read_ns = clock_mono_ns();
        }
        while (clock_mono_ns() < until_ns && !m.is_done)
            run_until_set(m.loop, &m.is_done, 10);
    }

    cr_expect(!m.is_done || m.done_ns - read_ns >= idle_ns, "bytes were moving all the time");
    if (!m.is_done)
        (void)pump_cut(&m.pump, -ERR_SHUTDOWN);
    mem_free(block);
    middle_close(&m);
}

/* Both have said all, and the client reads nothing of it yet. */
static void end_both_unread(struct middle *m)
{
    fake_hold(m->client);
    fake_end(m->client);
    fake_feed_text(m->server, "the whole answer");
    fake_end(m->server);
}

Test(pump, both_ended_it_waits_until_the_last_byte_has_left)
{
    struct middle m;
    middle_open(&m, SEC * 60, SEC * 60);
    end_both_unread(&m);
    run_turns(m.loop, 20);
    cr_expect_not(m.is_done, "a slow reader still waits for what is queued");
    cr_expect_not(m.client->is_closed);
    fake_release(m.client);
    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

    expect_written(m.client, "the whole answer");
    cr_expect_eq(m.totals.err, 0);
    cr_expect(m.client->close_err == 0 && m.server->close_err == 0);
    middle_close(&m);
}

/* Whoever waits for the end to go on (the next request of a connection) waits for every look. */
Test(pump, both_ended_the_last_bytes_are_seen_to_leave_within_a_turn_or_two)
{
    bool was_soon = false;
    for (unsigned i = 0; i < 10 && !was_soon; i++) { /* the machine may be busy, but not always */
        struct middle m;
        middle_open(&m, SEC * 60, SEC * 60);
        end_both_unread(&m);
        while (!m.pump.down.ended || !m.pump.up.ended)
            run_turns(m.loop, 1);
        const uint64_t since_ns = clock_mono_ns();
        fake_release(m.client);
        cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));
        was_soon = clock_mono_ns() - since_ns < 10 * NS_PER_MS;
        middle_close(&m);
    }
    cr_expect(was_soon);
}

Test(pump, both_ended_a_reader_that_never_reads_is_cut_in_time)
{
    struct middle m;
    middle_open(&m, SEC * 60, 50 * NS_PER_MS);
    end_both_unread(&m);
    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

    cr_expect_eq(m.totals.err, -ERR_HALF_CLOSE_TIMEOUT);
    cr_expect_lt(m.client->close_err, 0);
    middle_close(&m);
}

Test(pump, a_server_that_breaks_off_behind_its_last_word_does_not_take_it_back)
{
    struct middle m;
    middle_open(&m, SEC * 60, SEC * 60);
    fake_feed_text(m.client, "nonsense");
    fake_feed_text(m.server, "no");
    fake_end(m.server);
    run_turns(m.loop, 20);

    fake_fail(m.server, -ERR_RESET);
    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

    cr_expect_eq(m.totals.err, -ERR_UPSTREAM_RESET);
    cr_expect_eq(m.client->close_err, 0);
    cr_expect_eq(m.server->close_err, -ERR_UPSTREAM_RESET);
    middle_close(&m);
}

Test(pump, a_reset_while_the_last_bytes_leave_is_told)
{
    struct middle m;
    middle_open(&m, SEC * 60, SEC * 60);
    end_both_unread(&m);
    run_turns(m.loop, 20);

    fake_fail(m.client, -ERR_RESET);
    cr_assert(run_until_set(m.loop, &m.is_done, PATIENCE_MS));

    cr_expect_eq(m.totals.err, -ERR_CLIENT_RESET);
    cr_expect_eq(m.n_done, 1);
    middle_close(&m);
}

Test(pump, cutting_tells_nobody_and_may_be_done_again)
{
    struct middle m;
    middle_open(&m, SEC * 60, SEC * 60);
    fake_feed_text(m.client, "abc");
    run_turns(m.loop, 5);

    const struct totals totals = pump_cut(&m.pump, -ERR_DENIED_LATE);
    (void)pump_cut(&m.pump, -ERR_SHUTDOWN);
    run_turns(m.loop, 5);

    cr_expect_eq(totals.err, -ERR_DENIED_LATE);
    cr_expect_eq(totals.received, 3);
    cr_expect_eq(m.n_done, 0);
    cr_expect(m.client->close_err == -ERR_DENIED_LATE && m.server->close_err == -ERR_DENIED_LATE);
    middle_close(&m);
}

/* ---- cuts from inside callbacks: the owner of the other end acts while the pump is at work ----
 */

struct nested {
    struct middle m;
    struct pump outer; /* its server is the inner pump's client, by way of a pair */
    bool outer_done;
};

static void on_outer_done(void *owner, const struct totals *totals)
{
    struct nested *n = owner;
    n->outer_done = true;
    if (n->m.pump.is_running)
        (void)pump_cut(&n->m.pump, totals->err < 0 ? totals->err : -ERR_SHUTDOWN);
}

Test(pump, may_be_cut_from_the_callback_of_another)
{
    const struct pump_options options = {.idle_ns = SEC * 60, .half_close_ns = SEC * 60};
    struct nested n = {.m = {.loop = loop_new()}};
    struct fake_stream *near, *far;
    struct loop *loop = n.m.loop;
    struct fake_stream *outer_client = fake_stream_new(loop);
    fake_stream_pair(loop, &near, &far);
    n.m.client = far;
    n.m.server = fake_stream_new(loop);
    pump_start(&n.outer, loop, &outer_client->stream, &near->stream, &options, on_outer_done, &n);
    pump_start(&n.m.pump, loop, &far->stream, &n.m.server->stream, &options, on_done, &n.m);
    fake_feed_text(outer_client, "through both");
    run_turns(loop, 20);
    expect_written(n.m.server, "through both");

    fake_fail(outer_client, -ERR_RESET);
    cr_assert(run_until_set(loop, &n.outer_done, PATIENCE_MS));
    run_turns(loop, 10);

    cr_expect_eq(n.m.n_done, 0);
    cr_expect_eq(n.m.server->close_err, -ERR_CLIENT_RESET);
    fake_stream_free(outer_client);
    fake_stream_free(near);
    middle_close(&n.m);
}
