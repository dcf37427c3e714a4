/* How a TCP stream carries bytes: in order, within bounds, at once; the memory they take, addresses
 * and options. How it ends: test_tcp_end.c. */
#include <criterion/criterion.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/io/tcp_uv.h"
#include "tcp_pair.h"
#include "tests/kit/loop_kit.h"

TestSuite(tcp, .timeout = 30);

static bool a_got(void *ctx)
{
    return a.n_got >= *(size_t *)ctx;
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

/* How much there is to read once it is as much as that. */
static size_t readable(int fd, size_t at_least)
{
    static uint8_t bytes[SLAB_BYTES];
    const uint64_t until_ns = clock_mono_ns() + PATIENCE_MS * NS_PER_MS;
    ssize_t len;
    do {
        len = recv(fd, bytes, sizeof(bytes), MSG_PEEK | MSG_DONTWAIT);
    } while (len < (ssize_t)at_least && clock_mono_ns() < until_ns);
    return len > 0 ? (size_t)len : 0;
}

Test(tcp, pieces_of_bulk_are_gathered_until_the_turn_ends_and_small_messages_go_at_once)
{
    const int fd = start_plain();

    end_write_pattern(&a, 100);
    cr_expect_eq(readable(fd, 100), 100);
    end_write_pattern(&a, 100 + 16384);
    end_write_pattern(&a, 100 + 2 * 16384);
    end_write_pattern(&a, 100 + 2 * 16384 + 100);
    cr_expect_eq(readable(fd, 100), 100, "the small one behind them keeps its place");
    run_turns(loop, 1);
    cr_expect_eq(readable(fd, 200 + 2 * 16384), 200 + 2 * 16384);

    stream_pause(a.stream);
    end_write_pattern(&a, 200 + 3 * 16384);
    stream_shutdown(a.stream);
    run_turns(loop, 1);
    cr_expect_eq(readable(fd, 200 + 3 * 16384), 200 + 3 * 16384,
                 "an end comes behind what was gathered");
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
    const int fd = start_plain();

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
        (void)comes_at_once(fd, 1);
    }
    end_close(&a, 0);
    close(fd);
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
