#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "peers.h"
#include "proxy/base/clock.h"
#include "proxy/io/tcp.h"
#include "proxy/io/tcp_uv.h"
#include "tests/kit/loop_kit.h"
#include "tests/kit/loopback.h"
#include "tests/kit/temp_dir.h"

TestSuite(tcp_connect, .timeout = 20);

#define PATIENCE_MS 5000
#define N_FILLERS   4

static struct loop *loop;
static struct stream *stream;
static unsigned n_done;
static int done_err;

static void on_done(void *owner, int err, struct stream *connected)
{
    cr_expect_eq(owner, &n_done);
    n_done++;
    done_err = err;
    stream = connected;
}

static struct tcp_connect *dial(const struct addr *remote, const struct tcp_options *options)
{
    n_done = 0;
    struct tcp_connect *connect = tcp_connect(loop, remote, options, on_done, &n_done);
    cr_assert_eq(n_done, 0, "on_done came out of the call");
    return connect;
}

static int dial_and_wait(const struct addr *remote, const struct tcp_options *options)
{
    dial(remote, options);
    cr_assert(run_until_count(loop, &n_done, 1, PATIENCE_MS));
    return done_err;
}

/* A port of loopback that is taken, so that nobody else listens there, and on which nobody listens.
 */
static int take_port(struct addr *out_addr, int backlog)
{
    struct sockaddr_storage sa;
    const struct addr any = {.ip = loopback_own(0)};
    socklen_t len = addr_to_sockaddr(&any, &sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_eq(bind(fd, (struct sockaddr *)&sa, len), 0);
    if (backlog >= 0)
        cr_assert_eq(listen(fd, backlog), 0);
    cr_assert_eq(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    addr_from_sockaddr((struct sockaddr *)&sa, out_addr);
    return fd;
}

Test(tcp_connect, refusal_is_reported_as_such)
{
    loop = loop_new();
    struct addr remote;
    int fd = take_port(&remote, -1);
    cr_expect_eq(dial_and_wait(&remote, NULL), -ERR_REFUSED);
    cr_expect_null(stream);
    close(fd);
    loop_finish(loop);
}

Test(tcp_connect, an_address_without_a_route_is_unreachable_and_told_from_the_loop)
{
    loop = loop_new();
    struct addr broadcast = loopback("255.255.255.255:9");
    cr_expect_eq(dial_and_wait(&broadcast, NULL), -ERR_UNREACHABLE);
    loop_finish(loop);
}

/* A listener that never accepts and whose backlog is full drops further SYNs. */
static int open_black_hole(struct addr *out_addr, int *fillers)
{
    int fd = take_port(out_addr, 0);
    for (unsigned idx = 0; idx < N_FILLERS; idx++)
        fillers[idx] = plain_connect(out_addr);
    return fd;
}

static void close_black_hole(int fd, const int *fillers)
{
    for (unsigned idx = 0; idx < N_FILLERS; idx++)
        close(fillers[idx]);
    close(fd);
}

Test(tcp_connect, no_answer_ends_at_the_timeout)
{
    loop = loop_new();
    struct addr remote;
    int fillers[N_FILLERS], fd = open_black_hole(&remote, fillers);
    const struct tcp_options options = {.timeout_ns = 60 * NS_PER_MS};
    uint64_t start_ns = clock_mono_ns();
    cr_expect_eq(dial_and_wait(&remote, &options), -ERR_CONNECT_TIMEOUT);
    cr_expect_geq(clock_mono_ns() - start_ns, 60 * NS_PER_MS);
    close_black_hole(fd, fillers);
    loop_finish(loop);
}

/* A pod of this node has answered before connect() returns, unless the kernel has more to do. */
Test(tcp_connect, who_answers_at_once_is_connected_in_the_same_turn)
{
    struct addr remote;
    int fd = take_port(&remote, 16);
    unsigned n_at_once = 0;
    loop = loop_new();
    for (unsigned tries = 0; tries < 16; tries++) {
        dial(&remote, NULL);
        loop_turn(loop, false);
        n_at_once += n_done;
        cr_assert(run_until_count(loop, &n_done, 1, PATIENCE_MS));
        cr_assert_eq(done_err, 0);
        stream_set_owner(stream, NULL, NULL);
        stream_close(stream, -ERR_SHUTDOWN);
    }
    cr_expect_gt(n_at_once, 0);
    close(fd);
    loop_finish(loop);
}

/* The SYN that a full backlog dropped is said again after a second. */
Test(tcp_connect, who_answers_late_is_connected_or_refused_then)
{
    struct addr remote;
    for (int is_refused = 0; is_refused < 2; is_refused++) {
        int fillers[N_FILLERS], fd = open_black_hole(&remote, fillers);
        loop = loop_new();
        dial(&remote, NULL);
        run_turns(loop, 3);
        cr_assert_eq(n_done, 0);
        if (is_refused)
            close(fd);
        else
            cr_assert_eq(listen(fd, 16), 0); /* has room now */
        cr_assert(run_until_count(loop, &n_done, 1, PATIENCE_MS));
        cr_expect_eq(done_err, is_refused ? -ERR_REFUSED : 0, "refused: %d", is_refused);
        if (stream)
            stream_close(stream, -ERR_SHUTDOWN);
        if (!is_refused)
            close(fd);
        for (unsigned n = 0; n < N_FILLERS; n++)
            close(fillers[n]);
        loop_finish(loop);
    }
}

Test(tcp_connect, after_a_cancel_nothing_is_called)
{
    loop = loop_new();
    struct addr remote, broadcast = loopback("255.255.255.255:9");
    int fillers[N_FILLERS], fd = open_black_hole(&remote, fillers);
    tcp_connect_cancel(dial(&remote, NULL));
    tcp_connect_cancel(dial(&broadcast, NULL));
    struct tcp_connect *later = dial(&remote, NULL);
    run_turns(loop, 3);
    tcp_connect_cancel(later);
    cr_expect(run_until_empty(loop, 10000));
    cr_expect_eq(n_done, 0);
    close_black_hole(fd, fillers);
    loop_free(loop);
}

Test(tcp_connect, cancelling_a_connection_that_was_made_but_not_told_closes_it)
{
    struct end end = {0};
    struct door door = {0};
    loop = loop_new();
    door_open(&door, loop, "127.0.0.1:0", &end, 1);
    tcp_connect_cancel(dial(&door.addr, NULL));
    run_turns(loop, 10);
    cr_expect_eq(n_done, 0);
    if (end.stream)
        end_close(&end, 0);
    listener_close(door.listener);
    end_free(&end);
    loop_finish(loop);
}

Test(tcp_connect, calls_from_the_source_address_that_is_asked_for)
{
    static const char *const table[][2] = {{"127.0.0.1:0", "127.0.0.9:0"}, {"[::1]:0", "[::1]:0"}};
    loop = loop_new();
    for (size_t row = 0; row < ARRAY_LEN(table); row++) {
        struct end end = {0};
        struct door door = {0};
        door_open(&door, loop, table[row][0], &end, 1);
        const struct tcp_options options = {.source = loopback(table[row][1]),
                                            .transparent = geteuid() == 0};
        cr_assert_eq(dial_and_wait(&door.addr, &options), 0, "row %zu", row);
        cr_assert(run_until_count(loop, &door.n_accepted, 1, PATIENCE_MS));

        struct addr seen = tcp_remote(end.stream), ours = tcp_local(stream);
        cr_expect(ip_eq(&seen.ip, &options.source.ip), "row %zu", row);
        cr_expect(addr_eq(&seen, &ours), "row %zu", row);
        end_close(&end, 0);
        stream_close(stream, 0);
        listener_close(door.listener);
        end_free(&end);
    }
    loop_finish(loop);
}

Test(tcp_connect, a_source_of_the_other_family_or_not_ours_is_an_error)
{
    loop = loop_new();
    struct addr remote;
    int fd = take_port(&remote, 1);
    const struct tcp_options other_family = {.source = loopback("[::1]:0")};
    cr_expect_lt(dial_and_wait(&remote, &other_family), 0);
    const struct tcp_options not_ours = {.source = loopback("192.0.2.7:0")};
    cr_expect_lt(dial_and_wait(&remote, &not_ours), 0);
    cr_expect_null(stream);
    close(fd);
    loop_finish(loop);
}

Test(tcp_connect, marks_its_packets_where_it_may_and_reports_it_where_it_may_not)
{
    loop = loop_new();
    struct addr remote;
    int fd = take_port(&remote, 5);
    const struct tcp_options options = {.mark = 0x539};
    if (geteuid() == 0) {
        cr_assert_eq(dial_and_wait(&remote, &options), 0);
        int mark = 0;
        socklen_t len = sizeof(mark);
        const struct tcp *tcp = (const struct tcp *)(const void *)stream;
        cr_assert_eq(getsockopt(tcp->fd, SOL_SOCKET, SO_MARK, &mark, &len), 0);
        cr_expect_eq(mark, 0x539);
        stream_close(stream, 0);
        cr_assert_eq(seteuid(65534), 0);
    }
    cr_expect_eq(dial_and_wait(&remote, &options), -ERR_SYSTEM);
    if (getuid() == 0) { /* a process that gave up rights cannot be looked into by a leak checker */
        cr_assert_eq(seteuid(0), 0);
        cr_assert_eq(prctl(PR_SET_DUMPABLE, 1), 0);
    }
    close(fd);
    loop_finish(loop);
}

Test(tcp_connect, a_socket_that_would_connect_to_itself_counts_as_refused)
{
    loop = loop_new();
    struct addr self;
    int fd = take_port(&self, -1);
    close(fd);
    const struct tcp_options options = {.source = self};
    cr_expect_eq(dial_and_wait(&self, &options), -ERR_REFUSED);
    loop_finish(loop);
}

/* ---- Unix sockets ---- */

static int listen_on(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_lt(strlen(path), sizeof(sa.sun_path));
    memcpy(sa.sun_path, path, strlen(path));
    cr_assert_eq(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
    cr_assert_eq(listen(fd, 1), 0);
    return fd;
}

static int dial_unix_and_wait(const char *path)
{
    n_done = 0;
    unix_connect(loop, str_from(path), on_done, &n_done);
    cr_assert_eq(n_done, 0, "on_done came out of the call");
    cr_assert(run_until_count(loop, &n_done, 1, PATIENCE_MS));
    return done_err;
}

Test(tcp_connect, reaches_a_unix_socket_by_its_path)
{
    struct temp_dir dir = temp_dir_new();
    char path[100];
    loop = loop_new();
    snprintf(path, sizeof(path), "%s/s", dir.path);
    int fd = listen_on(path);
    cr_assert_eq(dial_unix_and_wait(path), 0);
    stream_write_copy(stream, "hello", 5);
    int peer = accept(fd, NULL, NULL);
    char bytes[6] = "";
    cr_expect_eq(recv(peer, bytes, 5, MSG_WAITALL), 5);
    cr_expect_str_eq(bytes, "hello");
    stream_close(stream, 0);
    close(peer);
    close(fd);
    temp_dir_remove(&dir);
    loop_finish(loop);
}

Test(tcp_connect, a_unix_socket_that_is_not_there_or_on_which_nobody_listens_is_told_from_the_loop)
{
    struct temp_dir dir = temp_dir_new();
    char path[300], too_long[200];
    loop = loop_new();
    snprintf(path, sizeof(path), "%s/s", dir.path);
    cr_expect_eq(dial_unix_and_wait(path), -ERR_NOT_FOUND);
    close(listen_on(path));
    cr_expect_eq(dial_unix_and_wait(path), -ERR_REFUSED);
    memset(too_long, 'a', sizeof(too_long) - 1);
    too_long[sizeof(too_long) - 1] = '\0';
    cr_expect_eq(dial_unix_and_wait(too_long), -ERR_INVALID);
    cr_expect_eq(dial_unix_and_wait(""), -ERR_INVALID);
    temp_dir_remove(&dir);
    loop_finish(loop);
}
