#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "captured_net.h"
#include "peers.h"
#include "proxy/base/clock.h"
#include "proxy/io/tcp.h"
#include "proxy/io/tcp_uv.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/loopback.h"

TestSuite(listener, .timeout = 20);

#define PATIENCE_MS 5000
#define N_ENDS      200

static struct loop *loop;
static struct end ends[N_ENDS];
static struct door door;

static void close_ends(void)
{
    for (unsigned idx = 0; idx < N_ENDS; idx++) {
        if (ends[idx].stream)
            end_close(&ends[idx], 0);
        end_free(&ends[idx]);
    }
}

Test(listener, takes_both_families_on_the_any_address_and_names_ipv4_callers_plainly)
{
    loop = loop_new();
    struct addr any = {0};
    int errnum = 0;
    door.ends = ends;
    door.n_ends = N_ENDS;
    cr_assert_eq(listener_open(loop, &any, NULL, door_on_accept, &door, &door.listener, &errnum),
                 0);
    struct addr v4 = loopback("127.0.0.1:0"), v6 = loopback("[::1]:0");
    v4.port = v6.port = listener_addr(door.listener).port;
    int fds[] = {plain_connect(&v4), plain_connect(&v6)};
    cr_assert(run_until_count(loop, &door.n_accepted, 2, PATIENCE_MS));

    for (unsigned idx = 0; idx < 2; idx++) {
        struct addr local = tcp_local(ends[idx].stream), remote = tcp_remote(ends[idx].stream);
        cr_expect(addr_eq(&local, &v4) || addr_eq(&local, &v6));
        cr_expect_eq(local.ip.len, remote.ip.len);
        close(fds[idx]);
    }
    close_ends();
    listener_close(door.listener);
    loop_finish(loop);
}

Test(listener, v6_only_leaves_ipv4_alone)
{
    loop = loop_new();
    struct addr any = {0};
    const struct listener_options options = {.v6_only = true};
    int errnum = 0;
    cr_assert_eq(
        listener_open(loop, &any, &options, door_on_accept, &door, &door.listener, &errnum), 0);
    const struct addr v4 = {loopback_own(0), listener_addr(door.listener).port};
    int fd = plain_connect(&v4);
    cr_expect_eq(plain_connected(fd), ECONNREFUSED);
    close(fd);
    listener_close(door.listener);
    loop_finish(loop);
}

Test(listener, an_address_in_use_is_an_error_with_its_errno_and_changes_nothing)
{
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", ends, N_ENDS);
    struct listener *second = NULL;
    int errnum = 0;
    cr_expect_eq(listener_open(loop, &door.addr, NULL, door_on_accept, &door, &second, &errnum),
                 -ERR_SYSTEM);
    cr_expect_eq(errnum, EADDRINUSE);
    cr_expect_null(second);
    listener_close(door.listener);
    loop_finish(loop);
}

static bool acks_quickly(struct stream *stream)
{
    int value = -1;
    socklen_t len = sizeof(value);
    cr_assert_eq(getsockopt(tcp_of_stream(stream)->fd, IPPROTO_TCP, TCP_QUICKACK, &value, &len), 0);
    return value == 1;
}

Test(listener, one_that_acknowledges_late_passes_that_on_until_it_is_taken_back)
{
    loop = loop_new();
    struct addr any = loopback("127.0.0.1:0");
    const struct listener_options late = {.acks_late = true};
    int errnum = 0;
    door.ends = ends;
    door.n_ends = N_ENDS;
    for (unsigned idx = 0; idx < 2; idx++) {
        const struct listener_options *options = idx == 0 ? &late : NULL;
        cr_assert_eq(
            listener_open(loop, &any, options, door_on_accept, &door, &door.listener, &errnum), 0);
        const struct addr addr = listener_addr(door.listener);
        const int fd = plain_connect(&addr);
        cr_assert(run_until_count(loop, &door.n_accepted, idx + 1, PATIENCE_MS));
        cr_expect_eq(acks_quickly(ends[idx].stream), options == NULL);
        tcp_ack_now(ends[idx].stream);
        cr_expect(acks_quickly(ends[idx].stream));
        close(fd);
        listener_close(door.listener);
    }
    close_ends();
    loop_finish(loop);
}

Test(listener, listeners_that_reuse_the_port_share_it)
{
    loop = loop_new();
    struct addr any = loopback("127.0.0.1:0");
    const struct listener_options options = {.reuse_port = true};
    struct listener *listeners[2];
    int errnum = 0;
    for (unsigned idx = 0; idx < 2; idx++) {
        cr_assert_eq(
            listener_open(loop, &any, &options, door_on_accept, &door, &listeners[idx], &errnum),
            0);
        any = listener_addr(listeners[idx]);
    }
    listener_close(listeners[0]);
    listener_close(listeners[1]);
    loop_finish(loop);
}

Test(listener, more_connections_than_one_turn_takes_all_arrive)
{
    int fds[150];
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", ends, N_ENDS);
    for (size_t idx = 0; idx < ARRAY_LEN(fds); idx++)
        fds[idx] = plain_connect(&door.addr);
    cr_assert(run_until_count(loop, &door.n_accepted, ARRAY_LEN(fds), PATIENCE_MS));
    for (size_t idx = 0; idx < ARRAY_LEN(fds); idx++)
        close(fds[idx]);
    close_ends();
    listener_close(door.listener);
    loop_finish(loop);
}

static void accept_slowly(void *owner, struct stream *stream)
{
    const uint64_t begun_ns = loop_now_ns(loop);
    door_on_accept(owner, stream);
    while (clock_mono_ns() - begun_ns < LOOP_LATE_NS)
        continue;
}

Test(listener, a_turn_that_is_late_accepts_no_more_and_the_next_one_goes_on)
{
    const struct addr any = loopback("127.0.0.1:0");
    int fds[5], errnum = 0;
    loop = loop_new();
    door.ends = ends;
    door.n_ends = N_ENDS;
    cr_assert_eq(listener_open(loop, &any, NULL, accept_slowly, &door, &door.listener, &errnum), 0);
    const struct addr addr = listener_addr(door.listener);
    for (size_t idx = 0; idx < ARRAY_LEN(fds); idx++)
        fds[idx] = plain_connect(&addr);
    for (unsigned turn = 0; turn < 1000 && door.n_accepted < ARRAY_LEN(fds); turn++) {
        const unsigned before = door.n_accepted;
        loop_turn(loop, true);
        cr_expect_leq(door.n_accepted - before, 1);
    }
    cr_expect_eq(door.n_accepted, ARRAY_LEN(fds));
    for (size_t idx = 0; idx < ARRAY_LEN(fds); idx++)
        close(fds[idx]);
    close_ends();
    listener_close(door.listener);
    loop_finish(loop);
}

/* One after the other, whatever else the kernel has to do. */
static void fill_backlog(int *fds, size_t n)
{
    for (size_t idx = 0; idx < n; idx++) {
        fds[idx] = plain_connect(&door.addr);
        cr_assert_eq(plain_connected(fds[idx]), 0);
    }
}

Test(listener, what_is_in_the_backlog_at_the_close_is_still_delivered)
{
    int fds[5];
    char own[ADDR_TEXT_MAX];
    loop = loop_new();
    door_open(&door, loop, addr_text(&(struct addr){.ip = loopback_own(0)}, own), ends, N_ENDS);
    fill_backlog(fds, ARRAY_LEN(fds));
    listener_close(door.listener);
    cr_expect_eq(door.n_accepted, 0, "not from inside the call");
    loop_turn(loop, false);
    cr_expect_eq(door.n_accepted, ARRAY_LEN(fds));

    int late = plain_connect(&door.addr);
    cr_expect_eq(plain_connected(late), ECONNREFUSED);
    close(late);
    for (size_t idx = 0; idx < ARRAY_LEN(fds); idx++)
        close(fds[idx]);
    close_ends();
    loop_finish(loop);
}

Test(listener, may_be_closed_while_it_delivers)
{
    int fds[5];
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", ends, N_ENDS);
    door.closes_itself = true;
    fill_backlog(fds, ARRAY_LEN(fds));
    loop_turn(loop, true);
    cr_expect_eq(door.n_accepted, ARRAY_LEN(fds));
    for (size_t idx = 0; idx < ARRAY_LEN(fds); idx++)
        close(fds[idx]);
    close_ends();
    loop_finish(loop);
}

/* Makes the next descriptor the first that the limit refuses. */
static struct rlimit forbid_descriptors(void)
{
    struct rlimit before, none;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    int next = dup(STDERR_FILENO);
    close(next);
    none = (struct rlimit){(rlim_t)next, before.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    return before;
}

Test(listener, rests_when_descriptors_run_out_and_accepts_again_later)
{
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", ends, N_ENDS);
    int fd = plain_connect(&door.addr);
    struct rlimit before = forbid_descriptors();

    struct timer guard = {0};
    unsigned n_turns = 0;
    uint64_t start_ns = clock_mono_ns();
    while (clock_mono_ns() - start_ns < 250 * NS_PER_MS) {
        loop_turn(loop, true);
        n_turns++;
    }
    cr_expect_eq(door.n_accepted, 0);
    cr_expect_lt(n_turns, 50, "it rests instead of spinning");
    timer_stop(&guard);

    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_assert(run_until_count(loop, &door.n_accepted, 1, 10000));
    close(fd);
    close_ends();
    listener_close(door.listener);
    loop_finish(loop);
}

Test(listener, may_be_closed_while_it_rests)
{
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", ends, N_ENDS);
    int fd = plain_connect(&door.addr);
    struct rlimit before = forbid_descriptors();
    loop_turn(loop, true);
    listener_close(door.listener);
    loop_turn(loop, true);
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    cr_expect_eq(door.n_accepted, 0);
    close(fd);
    loop_finish(loop);
}

Test(listener, a_caller_that_gave_up_in_the_backlog_does_no_harm)
{
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", ends, N_ENDS);
    const struct linger at_once = {1, 0};
    int fds[2];
    fill_backlog(fds, 2);
    const int gone = fds[0], stays = fds[1];
    cr_assert_eq(setsockopt(gone, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(gone);
    cr_assert(run_until_count(loop, &door.n_accepted, 2, PATIENCE_MS));
    cr_assert(run_until_set(loop, &ends[0].failed, PATIENCE_MS));
    cr_expect_eq(ends[0].err, -ERR_RESET);
    cr_expect_not(ends[1].failed);
    close(stays);
    close_ends();
    listener_close(door.listener);
    loop_finish(loop);
}

/* ------------------------------------------------------------------ behind TPROXY */

static struct stream *upstream;

static void on_upstream(void *owner, int err, struct stream *stream)
{
    (void)owner;
    cr_assert_eq(err, 0, "%s", err_text(err));
    upstream = stream;
}

static bool has_upstream(void *ctx)
{
    (void)ctx;
    return upstream != NULL;
}

Test(listener, behind_tproxy_the_local_address_is_the_one_that_was_called)
{
    static const char *const called[] = {"10.96.0.10:80", "[fd96::10]:80"};
    if (!captured_net_enter())
        cr_skip_test("needs CAP_NET_ADMIN, CAP_SYS_ADMIN and nft");
    loop = loop_new();
    const struct listener_options options = {.transparent = true, .mark = CAPTURED_NET_MARK};
    struct addr any = {.port = 15001};
    int errnum = 0;
    door.ends = ends;
    door.n_ends = N_ENDS;
    cr_assert_eq(
        listener_open(loop, &any, &options, door_on_accept, &door, &door.listener, &errnum), 0);
    for (unsigned row = 0; row < 2; row++) {
        struct addr service = loopback(called[row]);
        int fd = plain_connect(&service);
        cr_assert(run_until_count(loop, &door.n_accepted, row + 1, PATIENCE_MS), "%s", called[row]);
        struct addr local = tcp_local(ends[row].stream);
        cr_expect(addr_eq(&local, &service), "%s", called[row]);

        cr_assert_eq(send(fd, "ping", 4, MSG_NOSIGNAL), 4);
        cr_assert(run_until_count(loop, &ends[row].n_reads, 1, PATIENCE_MS));
        close(fd);
    }
    close_ends();
    listener_close(door.listener);
    loop_finish(loop);
}

Test(listener, a_transparent_connection_comes_from_an_address_that_is_not_ours)
{
    if (!captured_net_enter())
        cr_skip_test("needs CAP_NET_ADMIN, CAP_SYS_ADMIN and nft");
    loop = loop_new();
    door_open(&door, loop, "10.97.0.1:0", ends, N_ENDS);
    const struct tcp_options options = {
        .transparent = true, .mark = CAPTURED_NET_MARK, .source = loopback("10.96.0.77:0")};
    tcp_connect(loop, &door.addr, &options, on_upstream, NULL);
    cr_assert(run_until(loop, has_upstream, NULL, PATIENCE_MS));
    cr_assert(run_until_count(loop, &door.n_accepted, 1, PATIENCE_MS));
    struct addr remote = tcp_remote(ends[0].stream);
    cr_expect(ip_eq(&remote.ip, &options.source.ip));
    stream_close(upstream, 0);
    close_ends();
    listener_close(door.listener);
    loop_finish(loop);
}
