/*
 * Happy path: a notice about the path or about its name in the folder above starts the quiet timer
 * -> it expires without another notice -> the watches are set anew, since the path may lead
 * elsewhere now -> on_change.
 *
 * Failure modes: the path does not exist (yet): the folder above tells when it does. No notices at
 * all (a file system that has none, no inotify instance left): said in the log, the rescan timer
 * is what remains.
 *
 * The watches are set before on_change, so that a change during the owner's reading gives another
 * notice.
 */
#include <string.h>

#include "proxy/base/arena.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"
#include "proxy/io/loop_uv.h"
#include "proxy/io/process.h"

#define LONGEST_BURST 10 /* times quiet_ns */

struct folder_watch {
    struct loop *loop;
    struct arena arena; /* of the strings, all NUL-terminated */
    struct str path;
    struct str above; /* the folder that holds path */
    struct str name;  /* of path in above */
    uv_fs_event_t on_path, on_above;
    unsigned n_open;
    struct timer quiet, rescan;
    uint64_t quiet_ns, rescan_ns;
    uint64_t burst_ns; /* when the first notice of a burst came; 0: none waits */
    void (*on_change)(void *owner);
    void *owner;
};

static void on_quiet(struct timer *timer);

static void take_notice(struct folder_watch *watch)
{
    uint64_t now_ns = loop_now_ns(watch->loop);
    if (watch->burst_ns == 0)
        watch->burst_ns = now_ns;
    uint64_t latest_ns = watch->burst_ns + LONGEST_BURST * watch->quiet_ns;
    if (timer_is_running(&watch->quiet) && now_ns >= latest_ns)
        return; /* it is about to fire; starting it anew would put it off for as long as notices
                   come */
    uint64_t left_ns = latest_ns > now_ns ? latest_ns - now_ns : 0;
    uint64_t after_ns = left_ns < watch->quiet_ns ? left_ns : watch->quiet_ns;
    timer_start(watch->loop, &watch->quiet, after_ns, on_quiet);
}

static void on_path_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)name, (void)events, (void)status;
    take_notice(event->data);
}

/* Names that begin with ".." are the links that Kubernetes swaps ("..data"), whatever the path's
 * own name. */
static void on_above_event(uv_fs_event_t *event, const char *name, int events, int status)
{
    (void)events, (void)status;
    struct folder_watch *watch = event->data;
    struct str changed = str_from(name);
    if (!name || str_eq(changed, watch->name) || str_starts_with(changed, STR("..")))
        take_notice(watch);
}

static void set_watch(uv_fs_event_t *event, uv_fs_event_cb on_event, struct str path)
{
    uv_fs_event_stop(event);
    int status = uv_fs_event_start(event, on_event, path.ptr, 0);
    if (status < 0 && status != UV_ENOENT)
        log_warn("a path cannot be watched", log_str("path", path),
                 log_cstr("error", uv_strerror(status)));
}

static void set_watches(struct folder_watch *watch)
{
    set_watch(&watch->on_path, on_path_event, watch->path);
    set_watch(&watch->on_above, on_above_event, watch->above);
}

static void on_rescan(struct timer *timer);

static void tell(struct folder_watch *watch)
{
    watch->burst_ns = 0;
    timer_stop(&watch->quiet);
    if (watch->rescan_ns)
        timer_start(watch->loop, &watch->rescan, watch->rescan_ns, on_rescan);
    set_watches(watch);
    watch->on_change(watch->owner);
}

static void on_quiet(struct timer *timer)
{
    tell(container_of(timer, struct folder_watch, quiet));
}

static void on_rescan(struct timer *timer)
{
    tell(container_of(timer, struct folder_watch, rescan));
}

static void split_path(struct folder_watch *watch, const char *text)
{
    struct str path = str_from(text);
    while (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    struct str above = STR("."), name = path;
    if (str_rsplit(path, '/', &above, &name) && above.len == 0)
        above = STR("/");
    watch->path = arena_str(&watch->arena, path);
    watch->above = arena_str(&watch->arena, above);
    watch->name = arena_str(&watch->arena, name);
}

static void open_handle(struct folder_watch *watch, uv_fs_event_t *event)
{
    ensure(uv_fs_event_init(loop_uv(watch->loop), event) == 0);
    event->data = watch;
    watch->n_open++;
    loop_handle_opened(watch->loop);
}

struct folder_watch *folder_watch_open(struct loop *loop, const char *path, uint64_t quiet_ns,
                                       uint64_t rescan_ns, void (*on_change)(void *owner),
                                       void *owner)
{
    struct folder_watch *watch = mem_new(struct folder_watch);
    watch->loop = loop;
    watch->quiet_ns = quiet_ns;
    watch->rescan_ns = rescan_ns;
    watch->on_change = on_change;
    watch->owner = owner;
    split_path(watch, path);
    open_handle(watch, &watch->on_path);
    open_handle(watch, &watch->on_above);
    set_watches(watch);
    if (rescan_ns)
        timer_start(loop, &watch->rescan, rescan_ns, on_rescan);
    return watch;
}

static void on_closed(uv_handle_t *handle)
{
    struct folder_watch *watch = handle->data;
    loop_handle_closed(watch->loop);
    if (--watch->n_open > 0)
        return;
    arena_fini(&watch->arena);
    mem_free(watch);
}

void folder_watch_close(struct folder_watch *watch)
{
    timer_stop(&watch->quiet);
    timer_stop(&watch->rescan);
    uv_close((uv_handle_t *)&watch->on_path, on_closed);
    uv_close((uv_handle_t *)&watch->on_above, on_closed);
}
