/*
 * A turn as libuv runs it: poll and I/O callbacks, then our check handle, then close callbacks. All
 * that a turn ends with (timers, deferred tasks, graveyard) happens in the check handle, so its
 * order is written here and nowhere else. libuv's own timer only wakes the poll up in time.
 */
#include "proxy/io/loop.h"

#include <signal.h>

#include "proxy/base/clock.h"
#include "proxy/base/mem.h"
#include "proxy/io/loop_uv.h"
#include "proxy/io/wheel.h"

#define FREE_SLABS  64   /* kept for reuse: 4 MiB a loop */
#define TASK_PASSES 1000 /* of tasks that defer tasks within one turn; more is a bug of ours */
#define LAST_TURNS  3    /* a close callback takes one, what it buries another */

struct grave {
    void *ptr;
    void (*free_fn)(void *ptr);
};

/* Read at most once a turn, when somebody first asks. Apart from the loop, since asking does not
 * change a loop. */
struct turn_clock {
    uint64_t now_ns; /* 0: not read yet */
    bool in_turn;
};

/* What a turn was of work is only known by two looks at the processor time of the thread, each a
 * system call. So there is one when a turn was long, and now and then before, for it to have
 * something to be compared with. */
struct stopwatch {
    uint64_t worked_ns; /* at the last look; before the first one: since the thread began */
    uint64_t since_ns;  /* the length of the turns since then */
    struct long_turns turns;
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_timer_t waker;
    uint64_t waker_ns; /* what the waker is set to; UINT64_MAX: it is not */
    struct turn_clock *clock;
    struct wheel wheel;
    struct list tasks;
    struct list put_off;
    struct grave *graves;
    size_t n_graves, cap_graves;
    struct rng rng;
    struct slab_pool slabs;
    struct slab *read_slab;
    void *scratch;
    size_t scratch_bytes;
    unsigned n_open;
    unsigned n_splices;
    struct stopwatch stopwatch;
    uint32_t turn;
    bool stopped;
    bool is_single; /* libuv ends its run after this turn. In its own mode for one it would look at
                       the clock and its timers once more, and at the beginning of the next again */
};

uv_loop_t *loop_uv(struct loop *loop)
{
    return &loop->uv;
}

void loop_handle_opened(struct loop *loop)
{
    loop->n_open++;
}

void loop_handle_closed(struct loop *loop)
{
    ensure(loop->n_open > 0);
    loop->n_open--;
}

void loop_splice_opened(struct loop *loop)
{
    loop->n_splices++;
}

void loop_splice_closed(struct loop *loop)
{
    ensure(loop->n_splices > 0);
    loop->n_splices--;
}

unsigned loop_splices(const struct loop *loop)
{
    return loop->n_splices;
}

uint32_t loop_turn_number(const struct loop *loop)
{
    return loop->turn;
}

struct long_turns loop_long_turns(const struct loop *loop)
{
    return loop->stopwatch.turns;
}

unsigned loop_open_handles(const struct loop *loop)
{
    return loop->n_open;
}

struct rng *loop_rng(struct loop *loop)
{
    return &loop->rng;
}

struct slab_pool *loop_slabs(struct loop *loop)
{
    return &loop->slabs;
}

uint64_t loop_now_ns(const struct loop *loop)
{
    struct turn_clock *clock = loop->clock;
    if (clock->now_ns)
        return clock->now_ns;
    uint64_t now_ns = clock_mono_ns();
    if (clock->in_turn)
        clock->now_ns = now_ns;
    return now_ns;
}

/* ------------------------------------------------------------------ memory that reads share */

struct slab *loop_read_slab(struct loop *loop)
{
    struct slab *slab = loop->read_slab;
    if (slab && slab->refs == 1)
        slab->used = 0; /* nobody kept what was read into it */
    if (slab && slab->cap - slab->used >= LOOP_READ_MIN)
        return slab;
    if (slab)
        slab_unref(slab);
    loop->read_slab = slab_new(&loop->slabs, SLAB_BYTES);
    return loop->read_slab;
}

static void read_slab_rest(struct loop *loop)
{
    if (loop->read_slab && loop->read_slab->refs == 1) {
        slab_unref(loop->read_slab);
        loop->read_slab = NULL;
    }
}

void *loop_scratch(struct loop *loop, size_t bytes)
{
    if (loop->scratch_bytes < bytes) {
        mem_free(loop->scratch);
        loop->scratch = mem_alloc(bytes);
        loop->scratch_bytes = bytes;
    }
    return loop->scratch;
}

/* ------------------------------------------------------------------ the end of a turn */

void loop_defer(struct loop *loop, struct task *task)
{
    if (list_is_empty(&task->link))
        list_push_back(&loop->tasks, &task->link);
}

bool loop_is_late(const struct loop *loop)
{
    const uint64_t since_ns = loop_now_ns(loop); /* before the clock: it may be read here first */
    return clock_mono_ns() - since_ns >= LOOP_LATE_NS;
}

bool loop_put_off(struct loop *loop, struct task *task)
{
    if (list_is_empty(&loop->put_off) && !loop_is_late(loop))
        return false;
    loop_put_off_anyway(loop, task);
    return true;
}

void loop_put_off_anyway(struct loop *loop, struct task *task)
{
    if (list_is_empty(&task->link))
        list_push_back(&loop->put_off, &task->link);
}

void task_cancel(struct task *task)
{
    list_remove(&task->link);
}

/* Who is put off again comes behind those that were not run. */
static void run_put_off(struct loop *loop)
{
    struct list due;
    list_init(&due);
    list_take_all(&due, &loop->put_off);
    while (!list_is_empty(&due)) {
        struct task *task = list_entry(due.next, struct task, link);
        list_remove(&task->link);
        task->run(task);
        if (loop_is_late(loop))
            break;
    }
    list_take_all(&due, &loop->put_off);
    list_take_all(&loop->put_off, &due);
}

/* The tasks of one pass stand before a marker; what they defer comes behind it. */
static void run_tasks(struct loop *loop)
{
    for (unsigned pass = 0; !list_is_empty(&loop->tasks); pass++) {
        ensure(pass < TASK_PASSES);
        struct list marker;
        list_push_back(&loop->tasks, &marker);
        while (loop->tasks.next != &marker) {
            struct task *task = list_entry(loop->tasks.next, struct task, link);
            list_remove(&task->link);
            task->run(task);
        }
        list_remove(&marker);
    }
}

void loop_bury(struct loop *loop, void *ptr, void (*free_fn)(void *ptr))
{
    if (loop->n_graves == loop->cap_graves) {
        loop->cap_graves = loop->cap_graves ? 2 * loop->cap_graves : 64;
        loop->graves = mem_realloc(loop->graves, loop->cap_graves * sizeof(struct grave));
    }
    loop->graves[loop->n_graves++] = (struct grave){ptr, free_fn};
}

size_t loop_buried(const struct loop *loop)
{
    return loop->n_graves;
}

static void empty_graves(struct loop *loop)
{
    for (size_t idx = 0; idx < loop->n_graves; idx++) { /* freeing one may bury another */
        struct grave grave = loop->graves[idx];
        grave.free_fn(grave.ptr);
    }
    loop->n_graves = 0;
}

static void note_length(struct stopwatch *watch, uint64_t took_ns)
{
    const uint64_t worked_before_ns = watch->worked_ns;
    watch->since_ns += took_ns;
    if (watch->since_ns < LOOP_LOOK_NS)
        return;
    watch->worked_ns = clock_thread_ns();
    watch->since_ns = 0;
    if (took_ns < LOOP_LONG_NS)
        return;
    if (watch->worked_ns - worked_before_ns >= LOOP_LONG_NS)
        watch->turns.n_worked++;
    else
        watch->turns.n_waited++;
}

static void on_after_poll(uv_check_t *check)
{
    struct loop *loop = check->data;
    wheel_expire(&loop->wheel, loop_now_ns(loop));
    if (!list_is_empty(&loop->put_off))
        run_put_off(loop);
    run_tasks(loop);
    empty_graves(loop);
    read_slab_rest(loop);
    note_length(&loop->stopwatch, clock_mono_ns() - loop->clock->now_ns);
    *loop->clock = (struct turn_clock){0};
    if (loop->is_single || loop->stopped)
        uv_stop(&loop->uv);
}

/* ------------------------------------------------------------------ the poll */

static bool has_work(const struct loop *loop)
{
    return !list_is_empty(&loop->tasks) || !list_is_empty(&loop->put_off) || loop->n_graves > 0;
}

static void on_waker(uv_timer_t *waker)
{
    struct loop *loop = waker->data;
    loop->waker_ns = UINT64_MAX;
}

/* A waker that is set to an earlier time stays: it costs one empty turn, resetting it at each turn
 * would cost more. */
static void set_waker(struct loop *loop, uint64_t wake_ns)
{
    if (wake_ns >= loop->waker_ns)
        return;
    uint64_t now_ns = clock_mono_ns();
    uint64_t after_ms = wake_ns > now_ns ? (wake_ns - now_ns + NS_PER_MS - 1) / NS_PER_MS : 0;
    uv_update_time(&loop->uv);
    ensure(uv_timer_start(&loop->waker, on_waker, after_ms, 0) == 0);
    loop->waker_ns = wake_ns;
}

static void on_before_poll(uv_prepare_t *prepare)
{
    struct loop *loop = prepare->data;
    bool at_once = has_work(loop) || loop->stopped;
    set_waker(loop, at_once ? 0 : wheel_wake_ns(&loop->wheel));
    *loop->clock = (struct turn_clock){.in_turn = true};
    loop->turn++;
}

static bool is_alive(const struct loop *loop)
{
    return loop->n_open > 0 || loop->wheel.n_timers > 0 || has_work(loop);
}

bool loop_turn(struct loop *loop, bool may_wait)
{
    /* The prepare handle keeps libuv's loop alive, so a poll with nothing to wait for would never
     * end. */
    loop->is_single = may_wait && is_alive(loop);
    uv_run(&loop->uv, loop->is_single ? UV_RUN_DEFAULT : UV_RUN_NOWAIT);
    loop->is_single = false;
    return is_alive(loop);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped)
        uv_run(&loop->uv, UV_RUN_DEFAULT);
    loop->stopped = false;
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

/* ------------------------------------------------------------------ timers */

void timer_start(struct loop *loop, struct timer *timer, uint64_t after_ns,
                 void (*fire)(struct timer *timer))
{
    timer_stop(timer);
    uint64_t now_ns = loop_now_ns(loop);
    timer->deadline_ns = after_ns < UINT64_MAX - now_ns ? now_ns + after_ns : UINT64_MAX;
    timer->fire = fire;
    timer->loop = loop;
    wheel_add(&loop->wheel, timer);
}

void timer_stop(struct timer *timer)
{
    if (timer_is_running(timer))
        wheel_remove(&timer->loop->wheel, timer);
}

/* ------------------------------------------------------------------ birth and death */

static void start_own_handles(struct loop *loop)
{
    ensure(uv_prepare_init(&loop->uv, &loop->before_poll) == 0);
    ensure(uv_check_init(&loop->uv, &loop->after_poll) == 0);
    ensure(uv_timer_init(&loop->uv, &loop->waker) == 0);
    loop->before_poll.data = loop->after_poll.data = loop->waker.data = loop;
    ensure(uv_prepare_start(&loop->before_poll, on_before_poll) == 0);
    ensure(uv_check_start(&loop->after_poll, on_after_poll) == 0);
}

struct loop *loop_new(void)
{
    /* A write to a connection that the peer reset must be an error of that connection. */
    ensure(signal(SIGPIPE, SIG_IGN) != SIG_ERR);

    struct loop *loop = mem_new(struct loop);
    ensure(uv_loop_init(&loop->uv) == 0);
    loop->uv.data = loop;
    loop->waker_ns = UINT64_MAX;
    loop->clock = mem_new(struct turn_clock);
    list_init(&loop->tasks);
    list_init(&loop->put_off);
    wheel_init(&loop->wheel, clock_mono_ns());
    slab_pool_init(&loop->slabs, FREE_SLABS);
    uint64_t seed;
    rng_secret(&seed, sizeof(seed));
    rng_seed(&loop->rng, seed);
    start_own_handles(loop);
    return loop;
}

void loop_free(struct loop *loop)
{
    for (unsigned turn = 0; turn < LAST_TURNS; turn++) /* what is closing may end */
        loop_turn(loop, false);
    ensure(loop->n_open == 0);
    ensure(loop->wheel.n_timers == 0);
    ensure(!has_work(loop));

    uv_close((uv_handle_t *)&loop->before_poll, NULL);
    uv_close((uv_handle_t *)&loop->after_poll, NULL);
    uv_close((uv_handle_t *)&loop->waker, NULL);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    ensure(uv_loop_close(&loop->uv) == 0);

    if (loop->read_slab)
        slab_unref(loop->read_slab);
    slab_pool_fini(&loop->slabs);
    mem_free(loop->scratch);
    mem_free(loop->graves);
    mem_free(loop->clock);
    mem_free(loop);
}
