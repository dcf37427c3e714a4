/* How a TCP stream ends: one direction after the other, by a reset, while its owner pauses, by
 * polite and abortive closes with bytes in the queue, inside an event. */
#include <criterion/criterion.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "tcp_pair.h"
#include "tests/kit/loop_kit.h"

TestSuite(tcp_end, .timeout = 30);

static void answer_after_the_end(struct end *asks, struct end *answers)
{
    size_t len = 6;
    say(asks, "what?");
    stream_shutdown(asks->stream);
    cr_assert(run_until_set(loop, &answers->ended, PATIENCE_MS));
    cr_expect_eq(answers->n_got, 5);
    cr_expect_not(asks->ended);

    say(answers, "answer");
    stream_shutdown(answers->stream);
    cr_assert(run_until_set(loop, &asks->ended, PATIENCE_MS));
    cr_expect_eq(asks->n_got, len);
    cr_expect_not(asks->failed || answers->failed);
}

Test(tcp_end, the_accepted_side_can_answer_after_the_caller_ended_its_direction)
{
    start();
    answer_after_the_end(&a, &b);
    end_close(&a, 0);
    end_close(&b, 0);
    loop_turn(loop, false);
    cr_expect_eq(loop_open_handles(loop), 0, "both directions ended: nothing lingers");
    finish();
}

Test(tcp_end, the_caller_can_answer_after_the_accepted_side_ended_its_direction)
{
    start();
    answer_after_the_end(&b, &a);
    finish();
}

Test(tcp_end, shutdown_waits_for_what_is_queued)
{
    start();
    stream_pause(b.stream);
    size_t total = 0;
    fill_socket(&total);
    stream_shutdown(a.stream);
    cr_expect(stream_write_copy(a.stream, "lost", 4), "after shutdown bytes are dropped");
    stream_resume(b.stream);
    cr_assert(run_until_set(loop, &b.ended, PATIENCE_MS));
    cr_expect_eq(b.n_got, total);
    cr_expect_eq(b.n_wrong, 0);
    cr_expect_eq(a.n_drains, 0, "after shutdown nobody waits to write");
    finish();
}

Test(tcp_end, an_abortive_close_is_seen_as_a_reset_by_either_side)
{
    start();
    end_close(&a, -ERR_DENIED);
    cr_assert(run_until_set(loop, &b.failed, PATIENCE_MS));
    cr_expect_eq(b.err, -ERR_RESET);
    cr_expect_not(b.ended);
    end_close(&b, 0);

    pair_open(loop, &a, &b);
    b.failed = false;
    end_close(&b, -ERR_IDLE_TIMEOUT);
    cr_assert(run_until_set(loop, &a.failed, PATIENCE_MS));
    cr_expect_eq(a.err, -ERR_RESET);
    cr_expect_not(a.ended);
    finish();
}

Test(tcp_end, a_reset_behind_unread_bytes_is_not_taken_for_a_clean_end)
{
    start();
    stream_pause(b.stream);
    say(&a, "half a mess");
    end_close(&a, -ERR_IDLE_TIMEOUT);
    run_turns(loop, 5);
    stream_resume(b.stream);
    cr_assert(run_until_set(loop, &b.failed, PATIENCE_MS));
    cr_expect_eq(b.err, -ERR_RESET);
    cr_expect_not(b.ended);
    finish();
}

Test(tcp_end, a_reset_comes_through_even_after_our_direction_ended)
{
    start();
    stream_shutdown(a.stream);
    cr_assert(run_until_set(loop, &b.ended, PATIENCE_MS));
    end_close(&b, -ERR_RESET);
    cr_assert(run_until_set(loop, &a.failed, PATIENCE_MS));
    cr_expect_eq(a.err, -ERR_RESET);
    finish();
}

Test(tcp_end, a_reset_while_paused_is_noticed_at_the_resume)
{
    start();
    stream_pause(a.stream);
    end_close(&b, -ERR_RESET);
    run_turns(loop, 20);
    cr_expect_not(a.failed);
    a.in_call = true;
    stream_resume(a.stream);
    a.in_call = false;
    cr_assert(run_until_set(loop, &a.failed, PATIENCE_MS));
    cr_expect_eq(a.err, -ERR_RESET);
    finish();
}

Test(tcp_end, a_reset_while_paused_is_noticed_at_the_write_but_told_from_the_loop)
{
    start();
    stream_pause(a.stream);
    end_close(&b, -ERR_RESET);
    run_turns(loop, 5);
    say(&a, "anybody there?");
    cr_expect_not(a.failed);
    cr_assert(run_until_set(loop, &a.failed, PATIENCE_MS));
    cr_expect_eq(a.err, -ERR_RESET);
    say(&a, "dropped");
    cr_expect_eq(stream_queued(a.stream), 0);
    finish();
}

/* A server that refuses what it is sent says why and closes: its answer is there before the reset
 * is noticed by the next write. */
Test(tcp_end, what_came_before_a_reset_is_read_when_a_write_notices_it_first)
{
    start();
    stream_pause(a.stream);
    say(&b, "413");
    run_turns(loop, 5);
    end_close(&b, -ERR_RESET);
    run_turns(loop, 5);
    say(&a, "more of it");
    say(&a, "dropped");
    cr_expect_eq(stream_queued(a.stream), 0);
    run_turns(loop, 5);
    cr_expect_not(a.failed, "it is paused, and not all was read");
    stream_resume(a.stream);
    cr_assert(run_until_set(loop, &a.failed, PATIENCE_MS));
    cr_expect(str_eq(text_str(&a.got), STR("413")));
    cr_expect_eq(a.err, -ERR_RESET);
    cr_expect_not(a.ended);
    finish();
}

Test(tcp_end, closing_a_stream_whose_failure_is_on_its_way_calls_nothing)
{
    start();
    stream_pause(a.stream);
    end_close(&b, -ERR_RESET);
    run_turns(loop, 5);
    say(&a, "anybody there?");
    end_close(&a, 0);
    run_turns(loop, 5);
    cr_expect_not(a.failed);
    finish();
}

Test(tcp_end, the_end_is_not_told_while_paused)
{
    start();
    stream_pause(a.stream);
    stream_shutdown(b.stream);
    run_turns(loop, 20);
    cr_expect_not(a.ended);
    stream_resume(a.stream);
    cr_assert(run_until_set(loop, &a.ended, PATIENCE_MS));
    stream_pause(a.stream);
    stream_resume(a.stream);
    run_turns(loop, 5);
    finish();
}

Test(tcp_end, nothing_is_told_behind_the_bytes_that_made_its_owner_pause)
{
    size_t total = 5;
    start_pausing();
    stream_shutdown(b.stream); /* with both directions ended the poll says so beside the bytes */
    cr_assert(run_until_set(loop, &a.ended, PATIENCE_MS));
    say(&a, "hello");
    stream_shutdown(a.stream);
    cr_assert(run_until(loop, b_got, &total, PATIENCE_MS));
    run_turns(loop, 20);
    cr_expect_not(b.ended);
    stream_resume(b.stream);
    cr_assert(run_until_set(loop, &b.ended, PATIENCE_MS));
    finish();
}

/* ------------------------------------------------------------------ closing with a full queue */

static int peer_fd;

/* a: a stream that was shut down and closed politely with a full queue; peer_fd: a plain socket
 * that did not read. */
static size_t close_with_a_full_queue(void)
{
    peer_fd = start_plain();
    size_t total = 0;
    fill_socket(&total);
    cr_expect_not(end_write_pattern(&a, total + 4 * TCP_QUEUE_HIGH));
    total = a.n_wrote;
    stream_shutdown(a.stream);
    end_close(&a, 0);
    run_turns(loop, 3);
    cr_assert_eq(loop_open_handles(loop), 1, "the stream flushes on its own");
    return total;
}

/* Reads what is there; true at the end of the stream. */
static bool read_plain(size_t *n_read)
{
    static uint8_t bytes[65536];
    ssize_t len;
    while ((len = recv(peer_fd, bytes, sizeof(bytes), 0)) > 0)
        *n_read += (size_t)len;
    cr_assert(len == 0 || errno == EAGAIN, "%s", strerror(errno));
    return len == 0;
}

Test(tcp_end, a_polite_close_after_shutdown_still_delivers_the_queue)
{
    size_t total = close_with_a_full_queue(), n_read = 0;
    const uint8_t rude[1000] = {0}; /* unread bytes must not turn our last ones into a reset */
    cr_assert_eq(send(peer_fd, rude, sizeof(rude), MSG_NOSIGNAL), (ssize_t)sizeof(rude));
    uint64_t until_ns = clock_mono_ns() + 4 * NS_PER_SEC;
    while (!read_plain(&n_read) && clock_mono_ns() < until_ns)
        loop_turn(loop, false);
    cr_expect_eq(n_read, total);
    cr_expect_eq(loop_open_handles(loop), 1, "it waits for the peer's end");
    close(peer_fd);
    finish();
}

Test(tcp_end, a_peer_that_never_reads_is_reset_after_the_linger_time)
{
    close_with_a_full_queue();
    uint64_t start_ns = clock_mono_ns();
    cr_assert(run_until_empty(loop, STREAM_LINGER_MS + 20000));
    cr_expect_geq(clock_mono_ns() - start_ns, (STREAM_LINGER_MS - 500) * NS_PER_MS);
    int err = 0;
    socklen_t len = sizeof(err);
    cr_assert_eq(getsockopt(peer_fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
    cr_expect_eq(err, ECONNRESET);
    close(peer_fd);
    finish();
}

Test(tcp_end, a_peer_that_goes_on_sending_is_reset_when_it_has_sent_too_much)
{
    size_t total = 0;
    start();
    stream_shutdown(a.stream);
    end_close(&a, 0);
    for (; !b.failed && total < 8 * STREAM_LINGER_BYTES; loop_turn(loop, false))
        end_write_pattern(&b, total += 50000);
    cr_expect_eq(b.err, -ERR_RESET);
    cr_expect_geq(total, STREAM_LINGER_BYTES);
    cr_expect(b.ended, "what we had to say has arrived");
    finish();
}

Test(tcp_end, who_is_curt_sends_what_is_queued_and_does_not_wait_for_the_peers_end)
{
    size_t total = 0;
    start();
    stream_pause(b.stream);
    fill_socket(&total);
    tcp_be_curt(a.stream);
    stream_shutdown(a.stream);
    end_close(&a, 0);
    cr_expect_eq(loop_open_handles(loop), 2, "its queue is not empty yet");
    stream_resume(b.stream);
    cr_assert(run_until_set(loop, &b.ended, PATIENCE_MS));
    cr_expect_eq(b.n_got, total);
    run_turns(loop, 3);
    cr_expect_eq(loop_open_handles(loop), 1);
    finish();
}

/* Packets that the plain peer got, by the kernel's count. */
static uint32_t n_packets(void)
{
    struct tcp_info info;
    socklen_t len = sizeof info;
    cr_assert_eq(getsockopt(peer_fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
    return info.tcpi_segs_in;
}

Test(tcp_end, who_is_curt_sends_its_last_bytes_and_its_end_in_one_packet)
{
    size_t n_read = 0;
    peer_fd = start_plain();
    const uint32_t n_before = n_packets();
    tcp_be_curt(a.stream);
    say(&a, "HTTP/1.1 431\r\n");
    say(&a, "\r\n");
    stream_shutdown(a.stream);
    end_close(&a, 0);
    run_turns(loop, 3);
    cr_expect(read_plain(&n_read));
    cr_expect_eq(n_read, 16);
    cr_expect_eq(n_packets() - n_before, 1);
    close(peer_fd);
    finish();
}

Test(tcp_end, who_is_curt_reads_little_in_a_turn)
{
    size_t total = 200000;
    start();
    tcp_be_curt(b.stream);
    end_write_pattern(&a, total);
    for (size_t before = 0; b.n_got < total; before = b.n_got) {
        loop_turn(loop, true);
        cr_assert_leq(b.n_got - before, 16384);
    }
    cr_expect_eq(b.n_wrong, 0);
    finish();
}

Test(tcp_end, who_is_curt_reads_nothing_more_after_its_close)
{
    size_t total = 5;
    start();
    say(&a, "bye");
    tcp_be_curt(a.stream);
    stream_shutdown(a.stream);
    end_write_pattern(&b, total);
    end_close(&a, 0);
    run_turns(loop, 3);
    cr_expect_eq(loop_open_handles(loop), 1);
    cr_expect_eq(b.n_got, 3);
    end_write_pattern(&b, 2 * total);
    cr_assert(run_until_set(loop, &b.failed, PATIENCE_MS));
    cr_expect_eq(b.err, -ERR_RESET);
    finish();
}

Test(tcp_end, an_abortive_close_drops_the_queue_at_once)
{
    start();
    stream_pause(b.stream);
    size_t total = 0;
    fill_socket(&total);
    stream_shutdown(a.stream);
    end_close(&a, -ERR_SHUTDOWN);
    loop_turn(loop, false);
    cr_expect_eq(loop_open_handles(loop), 1);
    stream_resume(b.stream);
    cr_assert(run_until_set(loop, &b.failed, PATIENCE_MS));
    cr_expect_eq(b.err, -ERR_RESET);
    finish();
}

/* ------------------------------------------------------------------ closing inside an event */

static void close_in_data(void *owner, struct slice bytes)
{
    struct end *end = owner;
    cr_assert_gt(bytes.len, 0);
    end->n_reads++;
    end_close(end, 0);
}

Test(tcp_end, closing_inside_an_event_is_safe_and_the_last_event)
{
    struct stream_events closing = end_events;
    closing.on_data = close_in_data;
    start();
    stream_set_owner(b.stream, &closing, &b);
    end_write_pattern(&a, 200000);
    cr_assert(run_until_count(loop, &b.n_reads, 1, PATIENCE_MS));
    run_turns(loop, 20);
    cr_expect_eq(b.n_reads, 1);
    finish();
}

static unsigned n_failures;

static void close_in_fail(void *owner, int err)
{
    cr_expect_eq(err, -ERR_RESET);
    n_failures++;
    end_close(owner, err);
}

Test(tcp_end, closing_inside_the_failure_is_safe)
{
    struct stream_events closing = end_events;
    closing.on_fail = close_in_fail;
    start();
    stream_set_owner(b.stream, &closing, &b);
    end_close(&a, -ERR_RESET);
    cr_assert(run_until_count(loop, &n_failures, 1, PATIENCE_MS));
    finish();
}
