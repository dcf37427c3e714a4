#include <criterion/criterion.h>

#include "tests/kit/fake_stream.h"
#include "tests/kit/loop_kit.h"

TestSuite(fake_stream, .timeout = 20);

static struct loop *loop;

struct end {
    struct fake_stream *fake;
    size_t n_got;
    unsigned n_reads, n_drains;
    bool ended, failed;
    int err;
};

static struct end a, b;

static void on_data(void *owner, struct slice bytes)
{
    struct end *end = owner;
    end->n_got += bytes.len;
    end->n_reads++;
}

static void on_end(void *owner)
{
    ((struct end *)owner)->ended = true;
}

static void on_drain(void *owner)
{
    ((struct end *)owner)->n_drains++;
}

static void on_fail(void *owner, int err)
{
    struct end *end = owner;
    end->failed = true;
    end->err = err;
}

static const struct stream_events events = {on_data, on_end, on_drain, on_fail};

static void start_alone(void)
{
    loop = loop_new();
    a.fake = fake_stream_new(loop);
    stream_set_owner(&a.fake->stream, &events, &a);
}

static void start_pair(void)
{
    loop = loop_new();
    fake_stream_pair(loop, &a.fake, &b.fake);
    stream_set_owner(&a.fake->stream, &events, &a);
    stream_set_owner(&b.fake->stream, &events, &b);
    stream_resume(&a.fake->stream);
    stream_resume(&b.fake->stream);
}

static void finish(void)
{
    struct fake_stream *fakes[] = {a.fake, b.fake};
    for (unsigned idx = 0; idx < 2; idx++) {
        if (!fakes[idx])
            continue;
        if (!fakes[idx]->is_closed)
            stream_close(&fakes[idx]->stream, 0);
        fake_stream_free(fakes[idx]);
    }
    loop_finish(loop);
}

Test(fake_stream, alone_records_what_is_written_and_delivers_what_is_fed_when_resumed)
{
    start_alone();
    cr_expect(stream_write_copy(&a.fake->stream, "abc", 3));
    cr_expect(str_eq(fake_written(a.fake), STR("abc")));
    fake_feed_text(a.fake, "one");
    fake_feed_text(a.fake, "three");
    fake_end(a.fake);
    run_turns(loop, 5);
    cr_expect_eq(a.n_reads, 0);
    stream_resume(&a.fake->stream);
    cr_expect_eq(a.n_reads, 0);
    cr_assert(run_until_set(loop, &a.ended, 10000));
    cr_expect_eq(a.n_reads, 2);
    cr_expect_eq(a.n_got, 8);
    finish();
}

Test(fake_stream, a_held_queue_says_stop_and_drains_from_the_loop)
{
    static char bytes[60000];
    start_alone();
    fake_hold(a.fake);
    while (stream_write_copy(&a.fake->stream, bytes, sizeof(bytes)))
        continue;
    cr_expect_geq(stream_queued(&a.fake->stream), FAKE_QUEUE_HIGH);
    run_turns(loop, 3);
    cr_expect_eq(a.n_drains, 0);
    fake_release(a.fake);
    cr_expect_eq(a.n_drains, 0);
    cr_assert(run_until_count(loop, &a.n_drains, 1, 10000));
    cr_expect_eq(stream_queued(&a.fake->stream), 0);
    finish();
}

Test(fake_stream, a_failure_is_told_once_and_ends_everything)
{
    start_alone();
    stream_resume(&a.fake->stream);
    fake_feed_text(a.fake, "lost");
    fake_fail(a.fake, -ERR_RESET);
    cr_assert(run_until_set(loop, &a.failed, 10000));
    run_turns(loop, 5);
    cr_expect_eq(a.err, -ERR_RESET);
    cr_expect_eq(a.n_reads, 0);
    finish();
}

Test(fake_stream, a_pair_carries_bytes_and_half_closes_with_back_pressure_from_end_to_end)
{
    static char bytes[50000];
    start_pair();
    stream_pause(&b.fake->stream);
    size_t n_wrote = 0;
    bool go_on = true;
    while (go_on) {
        go_on = stream_write_copy(&a.fake->stream, bytes, sizeof(bytes));
        n_wrote += sizeof(bytes);
    }
    run_turns(loop, 10);
    cr_expect_eq(a.n_drains, 0);
    stream_shutdown(&a.fake->stream);
    stream_resume(&b.fake->stream);
    cr_assert(run_until_set(loop, &b.ended, 10000));
    cr_expect_eq(b.n_got, n_wrote);

    stream_write_copy(&b.fake->stream, "answer", 6);
    stream_shutdown(&b.fake->stream);
    cr_assert(run_until_set(loop, &a.ended, 10000));
    cr_expect_eq(a.n_got, 6);
    finish();
}

Test(fake_stream, closing_one_of_a_pair_is_seen_by_the_other)
{
    start_pair();
    stream_close(&a.fake->stream, -ERR_DENIED);
    cr_assert(run_until_set(loop, &b.failed, 10000));
    cr_expect_eq(b.err, -ERR_RESET);
    cr_expect_eq(a.fake->close_err, -ERR_DENIED);
    finish();
}
