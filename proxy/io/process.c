#include "proxy/io/process.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "proxy/base/mem.h"
#include "proxy/io/loop_uv.h"

struct signal_watch {
    struct loop *loop;
    uv_signal_t uv;
    void (*on_signal)(void *owner, int signum);
    void *owner;
};

static void on_uv_signal(uv_signal_t *uv, int signum)
{
    struct signal_watch *watch = uv->data;
    watch->on_signal(watch->owner, signum);
}

struct signal_watch *signal_watch_open(struct loop *loop, int signum,
                                       void (*on_signal)(void *owner, int signum), void *owner)
{
    ensure(signal(SIGPIPE, SIG_IGN) != SIG_ERR);
    struct signal_watch *watch = mem_new(struct signal_watch);
    *watch = (struct signal_watch){.loop = loop, .on_signal = on_signal, .owner = owner};
    ensure(uv_signal_init(loop_uv(loop), &watch->uv) == 0);
    ensure(uv_signal_start(&watch->uv, on_uv_signal, signum) == 0);
    watch->uv.data = watch;
    loop_handle_opened(loop);
    return watch;
}

static void on_closed(uv_handle_t *handle)
{
    struct signal_watch *watch = handle->data;
    loop_handle_closed(watch->loop);
    mem_free(watch);
}

void signal_watch_close(struct signal_watch *watch)
{
    uv_close((uv_handle_t *)&watch->uv, on_closed);
}

unsigned process_descriptors_pct(void)
{
    struct rlimit limit;
    const int lowest = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0);
    if (lowest < 0)
        return errno == EMFILE ? 100 : 0;
    (void)close(lowest);
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == 0 ||
        limit.rlim_cur == RLIM_INFINITY)
        return 0;
    return (unsigned)((uint64_t)lowest * 100 / limit.rlim_cur);
}
