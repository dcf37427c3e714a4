#include <criterion/criterion.h>
#include <signal.h>
#include <unistd.h>

#include "proxy/io/process.h"
#include "tests/kit/loop_kit.h"

TestSuite(process, .timeout = 20);

static unsigned n_signals;
static int last_signal;

static void on_signal(void *owner, int signum)
{
    cr_expect_eq(owner, &n_signals);
    n_signals++;
    last_signal = signum;
}

Test(process, a_signal_becomes_an_event_of_the_loop)
{
    struct loop *loop = loop_new();
    struct signal_watch *term = signal_watch_open(loop, SIGTERM, on_signal, &n_signals);
    struct signal_watch *hup = signal_watch_open(loop, SIGHUP, on_signal, &n_signals);
    cr_assert_eq(kill(getpid(), SIGTERM), 0);
    cr_expect_eq(n_signals, 0);
    cr_assert(run_until_count(loop, &n_signals, 1, 10000));
    cr_expect_eq(last_signal, SIGTERM);
    cr_assert_eq(kill(getpid(), SIGHUP), 0);
    cr_assert(run_until_count(loop, &n_signals, 2, 10000));
    cr_expect_eq(last_signal, SIGHUP);

    signal_watch_close(term);
    signal_watch_close(hup);
    loop_finish(loop);
}

Test(process, writing_to_a_closed_pipe_does_not_end_the_process)
{
    int fds[2];
    struct loop *loop = loop_new();
    struct signal_watch *watch = signal_watch_open(loop, SIGUSR1, on_signal, &n_signals);
    cr_assert_eq(pipe(fds), 0);
    close(fds[0]);
    cr_expect_eq(write(fds[1], "x", 1), -1);
    close(fds[1]);
    signal_watch_close(watch);
    loop_finish(loop);
}
