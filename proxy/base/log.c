/*
 * log.c - rings of finished lines, one pair a thread, and one thread that drains them.
 *
 * Happy path: the producer formats a line, copies it into its ring and moves the head (release).
 * The drainer writes from the ring to the descriptor, in pieces that a descriptor which polls
 * writable takes without blocking, and moves the tail. Since only whole lines enter a ring, the end
 * of a line that was cut by a short write is still there: the output stays with that ring until the
 * line has ended, so lines of two threads never mix. Failure modes: a slow reader fills the rings
 * and lines are dropped and counted; a reader that is gone (POLLERR) makes the drainer throw the
 * lines away and count them, so that nothing waits for it.
 */
#include "proxy/base/log.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/base/clock.h"
#include "proxy/base/err.h"
#include "proxy/base/mem.h"

/* A power of two. Thousands of connections that end together say so within one turn of the drainer;
 * pages that no line ever reached take no memory. */
#define RING_BYTES       ((size_t)1 << 20)
#define THREADS_MAX      256u
#define LINE_BYTES_MAX   ((size_t)32768)
#define VALUE_BYTES_MAX  ((size_t)2048)
#define PIPE_PIECE_BYTES ((size_t)PIPE_BUF) /* a pipe that polls writable has room for it */
#define FILE_PIECE_BYTES ((size_t)65536)
#define STOP_WAIT_MS     500

struct ring {
    _Atomic size_t head; /* bytes ever put in; the producer's */
    char apart[64];      /* keeps the two ends off one cache line */
    _Atomic size_t tail; /* bytes ever taken out; the drainer's */
    char bytes[RING_BYTES];
};

enum stream { STREAM_EVENT, STREAM_ACCESS, STREAMS };

struct log_thread {
    const char *name;
    struct ring rings[STREAMS];
    _Atomic uint64_t dropped;
    uint64_t dropped_told; /* the drainer's */
};

struct output { /* the drainer's */
    int fd;
    size_t piece_bytes;
    struct ring *unfinished; /* the ring whose line was cut by a short write */
    unsigned turn; /* the thread to begin with, so that a busy one does not starve others */
};

static _Atomic int max_level = LOG_INFO;
static _Atomic bool started;
static _Atomic unsigned
    generation; /* grows with log_stop(), which makes the threads' pointers stale */
static _Atomic uint64_t dropped_total;
static _Atomic unsigned n_threads;
static _Atomic(struct log_thread *) threads[THREADS_MAX];
static struct output outputs[STREAMS] = {{.fd = STDERR_FILENO}, {.fd = STDOUT_FILENO}};
static struct log_thread *drainer; /* its own lines: what was dropped */

static _Thread_local struct log_thread *own_thread;
static _Thread_local unsigned own_generation;

struct log_field log_str(const char *key, struct str value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_STR, .value.str = value};
}

struct log_field log_cstr(const char *key, const char *value)
{
    return log_str(key, str_from(value));
}

struct log_field log_u64(const char *key, uint64_t value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_U64, .value.u64 = value};
}

struct log_field log_addr(const char *key, const struct addr *value)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_ADDR, .value.addr = value};
}

struct log_field log_err(const char *key, int err)
{
    return (struct log_field){.key = key, .kind = LOG_FIELD_ERR, .value.err = err};
}

static const char *const level_names[LOG_LEVELS] = {"error", "warn", "info", "debug"};

bool log_enabled(enum log_level level)
{
    return (int)level <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

void log_set_level(enum log_level level)
{
    atomic_store_explicit(&max_level, (int)level, memory_order_relaxed);
}

bool log_level_parse(struct str text, enum log_level *out_level)
{
    for (unsigned i = 0; i < LOG_LEVELS; i++) {
        if (str_eq(text, str_from(level_names[i]))) {
            *out_level = (enum log_level)i;
            return true;
        }
    }
    return false;
}

/* ---- lines ---- */

static void add_member(struct text *line, const char *key, const char *suffix, struct str value)
{
    text_addf(line, ",\"%s%s\":", key, suffix);
    text_add_json_string(line, str_sub(value, 0, VALUE_BYTES_MAX));
}

static void add_field(struct text *line, const struct log_field *field)
{
    char buf[ADDR_TEXT_MAX];

    switch (field->kind) {
    case LOG_FIELD_END: break;
    case LOG_FIELD_STR: add_member(line, field->key, "", field->value.str); break;
    case LOG_FIELD_U64:
        text_addf(line, ",\"%s\":%llu", field->key, (unsigned long long)field->value.u64);
        break;
    case LOG_FIELD_ADDR:
        add_member(line, field->key, "", str_from(addr_text(field->value.addr, buf)));
        break;
    case LOG_FIELD_ERR:
        add_member(line, field->key, "", str_from(err_label(field->value.err)));
        add_member(line, field->key, "_text", str_from(err_text(field->value.err)));
        break;
    }
}

static void add_beginning(struct text *line, enum log_level level, const char *message)
{
    char now[CLOCK_TEXT_MAX];

    text_addf(line,
              "{\"time\":\"%s\",\"level\":\"%s\",\"message\":", clock_text(clock_wall_ns(), now),
              level_names[level]);
    text_add_json_string(line, str_sub(str_from(message), 0, VALUE_BYTES_MAX));
}

/* Fields that do not fit are left out whole, so that the line stays JSON. */
static void add_fields(struct text *line, va_list args)
{
    line->limit = LINE_BYTES_MAX;
    for (;;) {
        struct log_field field = va_arg(args, struct log_field);
        size_t before = line->len;
        if (field.kind == LOG_FIELD_END)
            break;
        add_field(line, &field);
        if (line->truncated) {
            line->len = before;
            line->truncated = false;
            line->limit += 64;
            text_add(line, STR(",\"cut\":\"fields\""));
            break;
        }
    }
    line->limit = 0;
}

/* ---- producers ---- */

static bool ring_put(struct ring *ring, struct str line)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
    size_t at = head & (RING_BYTES - 1);
    size_t until_end = RING_BYTES - at;

    if (line.len > RING_BYTES - (head - tail))
        return false;
    if (line.len <= until_end) {
        memcpy(ring->bytes + at, line.ptr, line.len);
    } else {
        memcpy(ring->bytes + at, line.ptr, until_end);
        memcpy(ring->bytes, line.ptr + until_end, line.len - until_end);
    }
    atomic_store_explicit(&ring->head, head + line.len, memory_order_release);
    return true;
}

static void count_dropped(struct log_thread *thread, uint64_t n)
{
    atomic_fetch_add_explicit(&thread->dropped, n, memory_order_relaxed);
    atomic_fetch_add_explicit(&dropped_total, n, memory_order_relaxed);
}

static void write_directly(int fd, struct str line)
{
    while (line.len > 0) {
        ssize_t written = write(fd, line.ptr, line.len);
        if (written < 0 && errno != EINTR)
            return;
        if (written > 0)
            line = str_sub(line, (size_t)written, line.len);
    }
}

/* Takes a line with its newline to the thread's ring, or straight out where there is none. */
static void emit(enum stream stream, struct str line)
{
    struct log_thread *thread = own_thread;

    if (!atomic_load_explicit(&started, memory_order_acquire)) {
        write_directly(stream == STREAM_EVENT ? STDERR_FILENO : STDOUT_FILENO, line);
        return;
    }
    if (outputs[stream].fd < 0)
        return;
    if (!thread || own_generation != atomic_load_explicit(&generation, memory_order_relaxed))
        write_directly(outputs[stream].fd, line);
    else if (!ring_put(&thread->rings[stream], line))
        count_dropped(thread, 1);
}

static bool site_admits(struct log_site *site, uint64_t now_ns)
{
    if (now_ns - site->window_start_ns >= NS_PER_SEC) {
        site->window_start_ns = now_ns;
        site->in_window = 0;
    }
    if (site->in_window >= LOG_SITE_PER_SEC) {
        site->suppressed++;
        return false;
    }
    site->in_window++;
    return true;
}

void log_write(struct log_site *site, enum log_level level, const char *message, ...)
{
    struct text line = {0};
    va_list args;

    if (!site_admits(site, clock_mono_ns()))
        return;
    add_beginning(&line, level, message);
    va_start(args, message);
    add_fields(&line, args);
    va_end(args);
    if (site->suppressed)
        text_addf(&line, ",\"suppressed\":%u", site->suppressed);
    site->suppressed = 0;
    text_add(&line, STR("}\n"));
    emit(STREAM_EVENT, text_str(&line));
    text_fini(&line);
}

void log_access(struct str line)
{
    struct text ended = {0};

    text_add(&ended, line);
    /* A line break inside would let whoever chose the bytes write records of their own. */
    for (size_t i = 0; i < ended.len; i++)
        if (ended.ptr[i] == '\n')
            ended.ptr[i] = ' ';
    text_addc(&ended, '\n');
    emit(STREAM_ACCESS, text_str(&ended));
    text_fini(&ended);
}

/* ---- life ---- */

static struct output output_of(int fd)
{
    struct stat about;
    bool is_file = fd >= 0 && fstat(fd, &about) == 0 && S_ISREG(about.st_mode);

    return (struct output){.fd = fd, .piece_bytes = is_file ? FILE_PIECE_BYTES : PIPE_PIECE_BYTES};
}

static struct log_thread *add_thread(const char *name)
{
    unsigned idx = atomic_fetch_add(&n_threads, 1);
    struct log_thread *thread;

    if (idx >= THREADS_MAX) {
        atomic_fetch_sub(&n_threads, 1);
        return NULL;
    }
    thread = mem_new(struct log_thread);
    thread->name = name;
    atomic_store_explicit(&threads[idx], thread, memory_order_release);
    return thread;
}

void log_start(int event_fd, int access_fd)
{
    ensure(!atomic_load(&started));
    outputs[STREAM_EVENT] = output_of(event_fd);
    outputs[STREAM_ACCESS] = output_of(access_fd);
    drainer = add_thread("log");
    atomic_store_explicit(&started, true, memory_order_release);
}

void log_attach(const char *name)
{
    unsigned now = atomic_load_explicit(&generation, memory_order_relaxed);

    if (own_thread && own_generation == now)
        return;
    own_thread = add_thread(name);
    own_generation = now;
}

uint64_t log_dropped(void)
{
    return atomic_load_explicit(&dropped_total, memory_order_relaxed);
}

/* ---- the drainer ---- */

enum readiness { NOT_READY, READY, BROKEN };

static enum readiness readiness_of(int fd, int wait_ms)
{
    struct pollfd ask = {.fd = fd, .events = POLLOUT};

    if (poll(&ask, 1, wait_ms) <= 0)
        return NOT_READY;
    if (ask.revents & (POLLERR | POLLNVAL | POLLHUP))
        return BROKEN;
    return ask.revents & POLLOUT ? READY : NOT_READY;
}

static size_t count_lines(const char *bytes, size_t len)
{
    size_t lines = 0;

    for (const char *at = bytes, *end = bytes + len; at < end; at++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (!at)
            break;
        lines++;
    }
    return lines;
}

/* The next bytes of a ring that lie in one piece; up to the end of a line where the piece holds
 * one. */
static struct str next_piece(struct ring *ring, size_t max)
{
    size_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    size_t at = tail & (RING_BYTES - 1);
    size_t len = head - tail;
    const char *last; /* whole lines where possible: others may write to the same pipe */

    if (len > RING_BYTES - at)
        len = RING_BYTES - at;
    if (len > max)
        len = max;
    last = len ? memrchr(ring->bytes + at, '\n', len) : NULL;
    if (last)
        len = (size_t)(last + 1 - (ring->bytes + at));
    return (struct str){ring->bytes + at, len};
}

static void ring_take(struct ring *ring, size_t len)
{
    size_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);

    atomic_store_explicit(&ring->tail, tail + len, memory_order_release);
}

static size_t throw_away(struct ring *ring)
{
    size_t lines = 0;

    for (struct str piece = next_piece(ring, RING_BYTES); piece.len > 0;
         piece = next_piece(ring, RING_BYTES)) {
        lines += count_lines(piece.ptr, piece.len);
        ring_take(ring, piece.len);
    }
    return lines;
}

/* Writes what one ring holds, one ringful at most: its producer may be as fast as we are. False
 * when the output must wait; *lines grows by what was written. */
static bool drain_ring(struct output *output, struct log_thread *thread, struct ring *ring,
                       size_t *lines)
{
    size_t left = RING_BYTES;

    for (struct str piece = next_piece(ring, output->piece_bytes); piece.len > 0 && left > 0;
         piece = next_piece(ring, output->piece_bytes)) {
        enum readiness ready = readiness_of(output->fd, 0);
        ssize_t written;
        if (ready == BROKEN) {
            count_dropped(thread, throw_away(ring));
            output->unfinished = NULL;
            return true;
        }
        written = ready == READY ? write(output->fd, piece.ptr, piece.len) : 0;
        if (written <= 0)
            return false;
        *lines += count_lines(piece.ptr, (size_t)written);
        output->unfinished = piece.ptr[written - 1] == '\n' ? NULL : ring;
        ring_take(ring, (size_t)written);
        left -= left < (size_t)written ? left : (size_t)written;
    }
    return output->unfinished == NULL;
}

static struct log_thread *thread_at(unsigned idx)
{
    return atomic_load_explicit(&threads[idx], memory_order_acquire);
}

static unsigned thread_count(void)
{
    unsigned n = atomic_load(&n_threads);

    return n < THREADS_MAX ? n : THREADS_MAX;
}

/* The thread that must go first: the one whose line is cut, else the one whose turn it is. */
static unsigned first_thread(const struct output *output, enum stream stream, unsigned n)
{
    for (unsigned i = 0; output->unfinished && i < n; i++) {
        struct log_thread *thread = thread_at(i);
        if (thread && &thread->rings[stream] == output->unfinished)
            return i;
    }
    return output->turn % n;
}

static void drain_stream(enum stream stream, size_t *lines)
{
    struct output *output = &outputs[stream];
    unsigned n = thread_count();
    unsigned first = n ? first_thread(output, stream, n) : 0;

    for (unsigned i = 0; i < n; i++) {
        struct log_thread *thread = thread_at((first + i) % n);
        output->turn = first + i + 1;
        if (thread && !drain_ring(output, thread, &thread->rings[stream], lines))
            return;
    }
}

static void tell_dropped(struct log_thread *thread)
{
    uint64_t dropped = atomic_load_explicit(&thread->dropped, memory_order_relaxed);
    struct text line = {0};

    if (dropped == thread->dropped_told || thread == drainer)
        return;
    add_beginning(&line, LOG_WARN, "log lines were dropped because their reader was too slow");
    text_addf(&line, ",\"thread\":\"%s\",\"dropped\":%llu}\n", thread->name,
              (unsigned long long)(dropped - thread->dropped_told));
    /* Told only when the line fits: else it is told, with what comes on top, at a later turn. */
    if (ring_put(&drainer->rings[STREAM_EVENT], text_str(&line)))
        thread->dropped_told = dropped;
    text_fini(&line);
}

size_t log_drain(void)
{
    size_t lines = 0;

    if (!atomic_load_explicit(&started, memory_order_acquire))
        return 0;
    for (unsigned i = 0, n = thread_count(); drainer && i < n; i++) {
        struct log_thread *thread = thread_at(i);
        if (thread)
            tell_dropped(thread);
    }
    for (unsigned stream = 0; stream < STREAMS; stream++)
        if (outputs[stream].fd >= 0)
            drain_stream((enum stream)stream, &lines);
    return lines;
}

static bool stream_is_empty(enum stream stream)
{
    for (unsigned i = 0, n = thread_count(); i < n; i++) {
        struct log_thread *thread = thread_at(i);
        if (thread && next_piece(&thread->rings[stream], 1).len > 0)
            return false;
    }
    return true;
}

/* The last lines matter most: a reader that is merely slow gets a moment, one that is stuck cannot
 * hold the exit up. */
static void drain_for_a_while(void)
{
    uint64_t deadline_ns = clock_mono_ns() + STOP_WAIT_MS * NS_PER_MS;

    for (;;) {
        (void)log_drain();
        enum stream waiting = stream_is_empty(STREAM_EVENT) ? STREAM_ACCESS : STREAM_EVENT;
        if (stream_is_empty(waiting) || clock_mono_ns() >= deadline_ns)
            return;
        (void)readiness_of(outputs[waiting].fd, 20);
    }
}

void log_stop(void)
{
    if (!atomic_load(&started))
        return;
    drain_for_a_while();
    atomic_store(&started, false);
    atomic_fetch_add(&generation, 1);
    for (unsigned i = 0, n = thread_count(); i < n; i++)
        mem_free(atomic_exchange(&threads[i], NULL));
    atomic_store(&n_threads, 0);
    drainer = NULL;
    outputs[STREAM_EVENT] = (struct output){.fd = STDERR_FILENO};
    outputs[STREAM_ACCESS] = (struct output){.fd = STDOUT_FILENO};
}
