#include <criterion/criterion.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "peers.h"
#include "proxy/base/clock.h"
#include "proxy/io/tcp.h"
#include "proxy/io/tcp_uv.h"
#include "tests/kit/loop_kit.h"

TestSuite(tcp, .timeout = 30);

#define PATIENCE_MS 5000

static struct loop *loop;
static struct end a, b;

static void start(void)
{
    loop = loop_new();
    pair_open(loop, &a, &b);
}

static void finish(void)
{
    if (a.stream)
        end_close(&a, 0);
    if (b.stream)
        end_close(&b, 0);
    cr_expect_eq(a.n_inside + b.n_inside, 0, "an event came out of a call");
    end_free(&a);
    end_free(&b);
    cr_expect(run_until_empty(loop, PATIENCE_MS));
    cr_expect_eq(loop_slabs(loop)->n_live, 0);
    loop_free(loop);
}

static bool b_got(void *ctx)
{
    return b.n_got >= *(size_t *)ctx;
}

static bool a_got(void *ctx)
{
    return a.n_got >= *(size_t *)ctx;
}

static void say(struct end *end, const char *text)
{
    end->in_call = true;
    cr_assert(stream_write_copy(end->stream, text, strlen(text)));
    end->in_call = false;
}

Test(tcp, echoes_what_is_written)
{
    size_t len = 5;
    start();
    b.echoes = true;
    say(&a, "hello");
    cr_assert(run_until(loop, a_got, &len, PATIENCE_MS));
    cr_expect(str_eq(text_str(&a.got), STR("hello")));
    finish();
}

Test(tcp, carries_megabytes_in_order_through_a_slow_reader_with_a_bounded_queue)
{
    size_t total = 20 * 1000 * 1000, most = 0;
    start();
    stream_pause(b.stream);
    unsigned n_drains = 0;
    while (!end_write_pattern(&a, total)) {
        cr_assert_leq(stream_queued(a.stream), TCP_QUEUE_HIGH + SLAB_BYTES);
        most = stream_queued(a.stream) > most ? stream_queued(a.stream) : most;
        if (n_drains == 0) { /* a reader that stands still must not be written to any more */
            size_t before = stream_queued(a.stream);
            run_turns(loop, 50);
            cr_expect_leq(stream_queued(a.stream), before);
            cr_expect_eq(a.n_drains, 0);
            stream_resume(b.stream);
        }
        cr_assert(run_until_count(loop, &a.n_drains, ++n_drains, PATIENCE_MS));
        cr_assert_leq(stream_queued(a.stream), TCP_QUEUE_LOW);
    }
    cr_assert(run_until(loop, b_got, &total, PATIENCE_MS));

    cr_expect_eq(b.n_wrong, 0);
    cr_expect_eq(b.n_got, total);
    cr_expect_geq(most, TCP_QUEUE_HIGH / 2);
    cr_expect_eq(stream_queued(a.stream), 0);
    finish();
}

/* Writes from a until something stays queued over a turn: then the socket takes no more. */
static void fill_socket(size_t *total)
{
    do {
        end_write_pattern(&a, *total += 50000);
        loop_turn(loop, false);
    } while (stream_queued(a.stream) == 0);
}

Test(tcp, small_writes_behind_a_full_socket_keep_their_order)
{
    start();
    stream_pause(b.stream);
    size_t total = 0;
    fill_socket(&total);
    for (unsigned idx = 0; idx < 500; idx++)
        end_write_pattern(&a, total += 77);
    stream_resume(b.stream);
    cr_assert(run_until(loop, b_got, &total, PATIENCE_MS));
    cr_expect_eq(b.n_wrong, 0);
    cr_expect_eq(b.n_got, total);
    finish();
}

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

Test(tcp, the_accepted_side_can_answer_after_the_caller_ended_its_direction)
{
    start();
    answer_after_the_end(&a, &b);
    end_close(&a, 0);
    end_close(&b, 0);
    loop_turn(loop, false);
    cr_expect_eq(loop_open_handles(loop), 0, "both directions ended: nothing lingers");
    finish();
}

Test(tcp, the_caller_can_answer_after_the_accepted_side_ended_its_direction)
{
    start();
    answer_after_the_end(&b, &a);
    finish();
}

Test(tcp, shutdown_waits_for_what_is_queued)
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

Test(tcp, an_abortive_close_is_seen_as_a_reset_by_either_side)
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

Test(tcp, a_reset_behind_unread_bytes_is_not_taken_for_a_clean_end)
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

Test(tcp, a_reset_comes_through_even_after_our_direction_ended)
{
    start();
    stream_shutdown(a.stream);
    cr_assert(run_until_set(loop, &b.ended, PATIENCE_MS));
    end_close(&b, -ERR_RESET);
    cr_assert(run_until_set(loop, &a.failed, PATIENCE_MS));
    cr_expect_eq(a.err, -ERR_RESET);
    finish();
}

Test(tcp, a_reset_while_paused_is_noticed_at_the_resume)
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

Test(tcp, a_reset_while_paused_is_noticed_at_the_write_but_told_from_the_loop)
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

Test(tcp, closing_a_stream_whose_failure_is_on_its_way_calls_nothing)
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

Test(tcp, the_end_is_not_told_while_paused)
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

static void pause_in_data(void *owner, struct slice bytes)
{
    struct end *end = owner;
    end_events.on_data(end, bytes);
    stream_pause(end->stream);
}

static struct stream_events pausing; /* as end_events, but for the data */

static void start_pausing(void)
{
    start();
    pausing = end_events;
    pausing.on_data = pause_in_data;
    stream_set_owner(b.stream, &pausing, &b);
}

Test(tcp, nothing_is_told_behind_the_bytes_that_made_its_owner_pause)
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

Test(tcp, who_pauses_and_resumes_within_a_turn_reads_on)
{
    size_t total = 600000;
    start_pausing();
    end_write_pattern(&a, total);
    while (b.n_got < total) {
        const unsigned n_reads = b.n_reads;
        stream_pause(b.stream);
        stream_resume(b.stream);
        cr_assert(run_until_count(loop, &b.n_reads, n_reads + 1, PATIENCE_MS));
        cr_expect_eq(b.n_reads, n_reads + 1, "it paused within its first read");
        end_write_pattern(&a, total);
    }
    cr_expect_eq(b.n_wrong, 0);
    finish();
}

static size_t readable(int fd)
{
    static uint8_t bytes[SLAB_BYTES];
    const ssize_t len = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    return len > 0 ? (size_t)len : 0;
}

Test(tcp, pieces_of_bulk_are_gathered_until_the_turn_ends_and_small_messages_go_at_once)
{
    struct door door = {0};
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", &a, 1);
    const int fd = plain_connect(&door.addr);
    cr_assert(run_until_count(loop, &door.n_accepted, 1, PATIENCE_MS));
    listener_close(door.listener);

    end_write_pattern(&a, 100);
    cr_expect_eq(readable(fd), 100);
    end_write_pattern(&a, 100 + 16384);
    end_write_pattern(&a, 100 + 2 * 16384);
    end_write_pattern(&a, 100 + 2 * 16384 + 100);
    cr_expect_eq(readable(fd), 100, "the small one behind them keeps its place");
    run_turns(loop, 1);
    cr_expect_eq(readable(fd), 200 + 2 * 16384);

    stream_pause(a.stream);
    end_write_pattern(&a, 200 + 3 * 16384);
    stream_shutdown(a.stream);
    run_turns(loop, 1);
    cr_expect_eq(readable(fd), 200 + 3 * 16384, "an end comes behind what was gathered");
    end_close(&a, 0);
    close(fd);
    finish();
}

/* Half as long as the kernel keeps an incomplete packet for bytes that were said to follow. */
#define AT_ONCE_MS 100

static bool comes_at_once(int fd, size_t len)
{
    static uint8_t bytes[SLAB_BYTES];
    const uint64_t since_ns = clock_mono_ns();
    size_t n_read = 0;
    while (n_read < len) {
        const ssize_t part = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT);
        n_read += part > 0 ? (size_t)part : 0;
        run_turns(loop, 1);
    }
    return clock_mono_ns() - since_ns < AT_ONCE_MS * NS_PER_MS;
}

Test(tcp, of_bulk_that_takes_several_sends_nothing_is_held_back_when_the_turn_ends)
{
    static const struct {
        const char *name;
        size_t pieces[6];
    } rows[] = {
        {"less than a packet", {9000}},
        {"slabs and a rest", {65536, 65536, 65536, 65536, 446}},
        {"a rest behind what is sent at once", {65536, 65536, 65536, 9000}},
        {"many sends", {65536, 65000, 64000, 63000, 62000, 61000}},
        {"a piece as large as the queue", {TCP_QUEUE_HIGH}},
        {"one behind others", {65536, 100, TCP_QUEUE_HIGH}},
    };

    static uint8_t bytes[TCP_QUEUE_HIGH];
    struct door door = {0};
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", &a, 1);
    const int fd = plain_connect(&door.addr);
    cr_assert(run_until_count(loop, &door.n_accepted, 1, PATIENCE_MS));
    listener_close(door.listener);

    for (size_t row = 0; row < ARRAY_LEN(rows); row++) {
        bool at_once = false;
        for (unsigned n_tries = 0; n_tries < 10 && !at_once; n_tries++) {
            size_t len = 0;
            for (size_t idx = 0; idx < ARRAY_LEN(rows[row].pieces); idx++) {
                stream_write_copy(a.stream, bytes, rows[row].pieces[idx]);
                len += rows[row].pieces[idx];
            }
            run_turns(loop, 1);
            at_once = comes_at_once(fd, len);
        }
        cr_expect(at_once, "%s", rows[row].name);
        cr_expect_eq(stream_queued(a.stream), 0, "%s", rows[row].name);
        cr_expect(stream_write_copy(a.stream, bytes, 1), "%s: may be written to", rows[row].name);
        cr_expect(comes_at_once(fd, 1), "%s", rows[row].name);
    }
    end_close(&a, 0);
    close(fd);
    finish();
}

/* ------------------------------------------------------------------ closing with bytes in the
 * queue */

static int peer_fd;

/* a: a stream that was shut down and closed politely with a full queue; peer_fd: a plain socket
 * that did not read. */
static size_t close_with_a_full_queue(void)
{
    struct door door = {0};
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", &a, 1);
    peer_fd = plain_connect(&door.addr);
    cr_assert(run_until_count(loop, &door.n_accepted, 1, PATIENCE_MS));
    listener_close(door.listener);
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

Test(tcp, a_polite_close_after_shutdown_still_delivers_the_queue)
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

Test(tcp, a_peer_that_never_reads_is_reset_after_the_linger_time)
{
    close_with_a_full_queue();
    uint64_t start_ns = clock_mono_ns();
    cr_assert(run_until_empty(loop, STREAM_LINGER_MS + 2000));
    cr_expect_geq(clock_mono_ns() - start_ns, (STREAM_LINGER_MS - 500) * NS_PER_MS);
    int err = 0;
    socklen_t len = sizeof(err);
    cr_assert_eq(getsockopt(peer_fd, SOL_SOCKET, SO_ERROR, &err, &len), 0);
    cr_expect_eq(err, ECONNRESET);
    close(peer_fd);
    finish();
}

Test(tcp, a_peer_that_goes_on_sending_is_reset_when_it_has_sent_too_much)
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

Test(tcp, who_is_curt_sends_what_is_queued_and_does_not_wait_for_the_peers_end)
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

Test(tcp, who_is_curt_reads_little_in_a_turn)
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

Test(tcp, who_is_curt_reads_nothing_more_after_its_close)
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

Test(tcp, an_abortive_close_drops_the_queue_at_once)
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

/* ------------------------------------------------------------------ memory, addresses, options */

#define N_KEPT 100
static struct slice kept[N_KEPT];
static unsigned n_kept;

static void keep(void *owner, struct slice bytes)
{
    (void)owner;
    cr_assert_lt(n_kept, N_KEPT);
    kept[n_kept++] = slice_ref(bytes);
}

static void ignore(void *owner)
{
    (void)owner;
}

static void ignore_err(void *owner, int err)
{
    (void)owner, (void)err;
}

Test(tcp, small_reads_share_a_slab_and_idle_connections_hold_none)
{
    static const struct stream_events keeping = {keep, ignore, ignore, ignore_err};
    start();
    cr_expect_eq(loop_slabs(loop)->n_live, 0);
    stream_set_owner(b.stream, &keeping, &b);
    for (unsigned idx = 0; idx < N_KEPT; idx++) {
        say(&a, "sixty bytes are not worth a slab of sixty-four thousand each");
        cr_assert(run_until_count(loop, &n_kept, idx + 1, PATIENCE_MS));
    }
    cr_expect_leq(loop_slabs(loop)->n_live, 1);
    for (unsigned idx = 0; idx < N_KEPT; idx++) {
        cr_expect(str_starts_with(slice_str(kept[idx]), STR("sixty bytes")));
        slice_release(kept[idx]);
    }
    loop_turn(loop, false);
    cr_expect_eq(loop_slabs(loop)->n_live, 0);
    cr_expect_leq(sizeof(struct tcp), 1024, "an idle connection is small");
    finish();
}

Test(tcp, reads_that_are_kept_fill_slab_after_slab)
{
    static const struct stream_events keeping = {keep, ignore, ignore, ignore_err};
    static const char bytes[40000];
    start();
    stream_set_owner(b.stream, &keeping, &b);
    for (unsigned idx = 0; idx < 8; idx++) {
        stream_write_copy(a.stream, bytes, sizeof(bytes));
        cr_assert(run_until_count(loop, &n_kept, idx + 1, PATIENCE_MS));
    }
    for (unsigned idx = 0; idx < n_kept; idx++)
        slice_release(kept[idx]);
    finish();
}

static int option_of(const struct end *end, int level, int name)
{
    const struct tcp *tcp = (const struct tcp *)(const void *)end->stream;
    int value = -1;
    socklen_t len = sizeof(value);
    cr_assert_eq(getsockopt(tcp->fd, level, name, &value, &len), 0);
    return value;
}

/* The socket and the sender's hold far more than that. */
Test(tcp, bulk_that_waits_in_a_socket_is_read_over_several_turns)
{
    size_t total = 0, most = 0;
    const int room = 8 << 20; /* as far as the system lets it */
    start();
    const struct tcp *tcp = (const struct tcp *)(const void *)b.stream;
    cr_assert_eq(setsockopt(tcp->fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room)), 0);
    stream_pause(b.stream);
    fill_socket(&total);
    stream_resume(b.stream);
    while (b.n_got < total) {
        const size_t before = b.n_got;
        cr_assert(loop_turn(loop, true));
        most = b.n_got - before > most ? b.n_got - before : most;
    }
    cr_expect_gt(total, (size_t)1000000);
    cr_expect_leq(most, (size_t)262144 + SLAB_BYTES, "%zu bytes in one turn", most);
    cr_expect_eq(b.n_wrong, 0);
    finish();
}

Test(tcp, what_the_kernel_holds_unsent_can_be_bounded)
{
    start();
    tcp_bound_unsent(a.stream, 100000);
    cr_expect_eq(option_of(&a, SOL_TCP, TCP_NOTSENT_LOWAT), 100000);
    finish();
}

Test(tcp, knows_both_addresses_on_both_sides)
{
    start();
    struct addr a_local = tcp_local(a.stream), a_remote = tcp_remote(a.stream);
    struct addr b_local = tcp_local(b.stream), b_remote = tcp_remote(b.stream);
    cr_expect(addr_eq(&a_local, &b_remote));
    cr_expect(addr_eq(&a_remote, &b_local));
    cr_expect_eq(a_local.ip.len, 4);
    cr_expect_neq(a_local.port, 0);
    finish();
}

Test(tcp, every_socket_notices_a_vanished_peer_and_does_not_delay_small_writes)
{
    start();
    const struct end *ends[] = {&a, &b};
    for (unsigned idx = 0; idx < 2; idx++) {
        cr_expect_eq(option_of(ends[idx], SOL_TCP, TCP_NODELAY), 1);
        cr_expect_eq(option_of(ends[idx], SOL_SOCKET, SO_KEEPALIVE), 1);
        cr_expect_eq(option_of(ends[idx], SOL_TCP, TCP_KEEPIDLE), 180);
        cr_expect_eq(option_of(ends[idx], SOL_TCP, TCP_USER_TIMEOUT), 60000);
    }
    finish();
}

static void close_in_data(void *owner, struct slice bytes)
{
    struct end *end = owner;
    cr_assert_gt(bytes.len, 0);
    end->n_reads++;
    end_close(end, 0);
}

Test(tcp, closing_inside_an_event_is_safe_and_the_last_event)
{
    static const struct stream_events closing = {close_in_data, ignore, ignore, ignore_err};
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

Test(tcp, closing_inside_the_failure_is_safe)
{
    static const struct stream_events closing = {keep, ignore, ignore, close_in_fail};
    start();
    stream_set_owner(b.stream, &closing, &b);
    end_close(&a, -ERR_RESET);
    cr_assert(run_until_count(loop, &n_failures, 1, PATIENCE_MS));
    finish();
}
