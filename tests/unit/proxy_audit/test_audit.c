/* Workers write with pens, one thread writes the log, and what was lost is in it. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proxy/audit/audit.h"
#include "proxy/audit/pen.h"
#include "proxy/base/file.h"
#include "proxy/base/mem.h"
#include "proxy/base/rng.h"
#include "proxy/meter/meter.h"
#include "tests/unit/proxy_audit/log_kit.h"

TestSuite(audit_audit, .timeout = 30);

static struct temp_dir dir;
static char path[256];
static struct audit *audit;
static struct text text, sentence;

static void setup(void)
{
    dir = temp_dir_new();
    (void)kit_path(&dir, "audit.log", path);
}

static void teardown(void)
{
    temp_dir_remove(&dir);
    text_fini(&text);
    text_fini(&sentence);
}

static void open_audit(size_t ring_bytes, ssize_t (*writer)(int, const void *, size_t))
{
    const struct audit_options options = {
        .path = str_from(path),
        .node = STR("n1"),
        .version = STR("1.2.3"),
        .max_bytes = (uint64_t)1 << 30,
        .keep = 3,
        .wants_ends = true,
        .n_workers = 2,
        .ring_bytes = ring_bytes,
        .write = writer,
    };
    cr_assert(eq(int, audit_open(&options, &audit, &text), 0), "%s", text.ptr);
}

static void put(unsigned worker, unsigned n)
{
    struct audit_pen *pen = audit_pen(audit, worker);
    char name[AUDIT_NAME_MAX];
    for (unsigned i = 0; i < n; i++) {
        struct audit_entry *entry = audit_begin(pen, AUDIT_END);
        entry_str(entry, AUDIT_CONNECTION, audit_name(pen, i, name));
        audit_commit(pen);
    }
}

static struct verify_totals expect_whole(void)
{
    struct verify_totals totals;
    cr_assert(eq(int, (int)kit_verify_file(path, &sentence, &totals), VERIFY_WHOLE), "%s",
              sentence.ptr);
    return totals;
}

Test(audit_audit, what_pens_wrote_is_in_the_log_between_start_and_stop, .init = setup,
     .fini = teardown)
{
    open_audit(0, NULL);
    put(0, 100);
    put(1, 50);
    audit_close(audit);
    const struct verify_totals totals = expect_whole();
    cr_assert(eq(u64, totals.by_event[AUDIT_END], 150));
    cr_assert(eq(u64, totals.by_event[AUDIT_START], 1));
    cr_assert(totals.ends_with_stop);
    cr_assert(eq(u64, totals.n_lost, 0));
}

Test(audit_audit, every_line_names_node_and_version, .init = setup, .fini = teardown)
{
    struct text log = {0};
    open_audit(0, NULL);
    put(0, 3);
    audit_close(audit);
    kit_read(path, &log);
    for (unsigned i = 0; i < 5; i++) {
        const struct str line = kit_line(text_str(&log), i);
        json_t *json = json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
        cr_assert(json != NULL);
        cr_assert(eq(str, (char *)json_string_value(json_object_get(json, "node")), "n1"));
        cr_assert(eq(str, (char *)json_string_value(json_object_get(json, "version")), "1.2.3"));
        json_decref(json);
    }
    text_fini(&log);
}

Test(audit_audit, an_event_that_is_not_wanted_costs_nothing_and_no_pen_writes_nothing,
     .init = setup, .fini = teardown)
{
    open_audit(0, NULL);
    cr_assert(audit_begin(audit_pen(audit, 0), AUDIT_VERDICT) == NULL);
    cr_assert(audit_begin(NULL, AUDIT_END) == NULL);
    audit_close(audit);
}

static _Atomic bool is_full;

static ssize_t write_unless_full(int fd, const void *bytes, size_t len)
{
    if (!atomic_load(&is_full))
        return write(fd, bytes, len);
    errno = ENOSPC;
    return -1;
}

static void await(enum metric metric, int64_t value)
{
    for (int i = 0; i < 10000 && meter_total(metric) != value; i++)
        (void)usleep(1000);
    cr_assert(eq(i64, meter_total(metric), value));
}

static uint64_t count_in_log(const char *words)
{
    struct text log = {0};
    uint64_t n = 0;
    kit_read(path, &log);
    const char *at = log.ptr;
    while ((at = strstr(at, words)) != NULL) {
        n++;
        at++;
    }
    text_fini(&log);
    return n;
}

Test(audit_audit, records_that_a_full_disk_cost_are_counted_in_the_log_and_the_chain_holds,
     .init = setup, .fini = teardown)
{
    const unsigned n = 20000;
    open_audit((size_t)512 * 1024, write_unless_full); /* more than one batch of lines */
    atomic_store(&is_full, true);
    put(0, 1); /* so that there is something to write */
    await(METRIC_AUDIT_BLOCKED, 1);
    put(0, n);
    put(1, n);
    for (int i = 0; i < 10000 && meter_total(METRIC_AUDIT_LOST_DISK) == 0; i++)
        (void)usleep(1000);
    cr_expect(gt(i64, meter_total(METRIC_AUDIT_LOST_DISK), 0), "at once, whatever the disk does");
    atomic_store(&is_full, false);
    await(METRIC_AUDIT_BLOCKED, 0);
    audit_close(audit);
    const struct verify_totals totals = expect_whole();
    cr_assert(gt(u64, totals.n_lost, 0));
    cr_assert(eq(u64, totals.by_event[AUDIT_END] + totals.n_lost, 2 * n + 1));
    cr_assert(eq(u64,
                 (uint64_t)meter_total(METRIC_AUDIT_LOST_DISK) +
                     (uint64_t)meter_total(METRIC_AUDIT_LOST_OVERRUN),
                 totals.n_lost));
    cr_assert(gt(u64, count_in_log("\"lost.cause\":\"disk\""), 0));
    cr_assert(eq(u64, count_in_log("\"lost.cause\":\"overrun\""), 0), "none was lost since");
}

Test(audit_audit, records_that_overran_the_ring_are_counted_in_the_log, .init = setup,
     .fini = teardown)
{
    const unsigned n = 20000;
    open_audit(AUDIT_RING_MIN, NULL);
    put(0, n);
    audit_close(audit);
    const struct verify_totals totals = expect_whole();
    cr_assert(gt(u64, totals.n_lost, 0));
    cr_assert(eq(u64, totals.by_event[AUDIT_END] + totals.n_lost, n));
    cr_assert(gt(u64, count_in_log("\"lost.cause\":\"overrun\""), 0));
}

static _Atomic size_t longest_write, n_writes;

static ssize_t write_in_view(int fd, const void *bytes, size_t len)
{
    if (len > atomic_load(&longest_write))
        atomic_store(&longest_write, len);
    atomic_fetch_add(&n_writes, 1);
    return write(fd, bytes, len);
}

/* A worker that shares the core waits for a piece, not for all that has come together. */
Test(audit_audit, what_has_come_together_is_written_in_pieces, .init = setup, .fini = teardown)
{
    const unsigned n = 5000;
    open_audit(0, write_in_view);
    put(0, n);
    audit_close(audit);
    const struct verify_totals totals = expect_whole();
    cr_assert(eq(u64, totals.by_event[AUDIT_END] + totals.n_lost, n));
    cr_assert(gt(sz, atomic_load(&longest_write), AUDIT_PIECE_BYTES / 2), "some had come together");
    cr_assert(le(sz, atomic_load(&longest_write), AUDIT_PIECE_BYTES + LINE_MAX_BYTES));
    cr_assert(gt(sz, atomic_load(&n_writes), 10));
}

/* The pen alone: nobody would remove the log of a process that ends so. */
Test(audit_audit, a_ring_that_cannot_take_the_longest_record_is_none, .signal = SIGABRT)
{
    struct audit_pen pen = {0};
    audit_pen_init(&pen, AUDIT_RING_MIN / 2, "p", 0);
}

static _Atomic bool is_near_the_end;

/* A disk that is full until what could not be written any more was given up. */
static ssize_t write_at_the_end(int fd, const void *bytes, size_t len)
{
    if (!atomic_load(&is_near_the_end))
        return write(fd, bytes, len);
    if (meter_total(METRIC_AUDIT_LOST_DISK) > 0)
        return write(fd, bytes, len);
    errno = ENOSPC;
    return -1;
}

Test(audit_audit, what_a_full_disk_leaves_in_the_rings_at_the_stop_is_counted, .init = setup,
     .fini = teardown)
{
    const unsigned n = 5000;
    open_audit(0, write_at_the_end);
    atomic_store(&is_near_the_end, true);
    put(0, n);
    put(1, n);
    audit_close(audit);
    const struct verify_totals totals = expect_whole();
    cr_assert(gt(u64, totals.n_lost, 0));
    cr_expect(eq(u64, totals.by_event[AUDIT_END] + totals.n_lost, 2 * n));
    cr_expect(eq(i64, meter_total(METRIC_AUDIT_LOST_DISK), (int64_t)totals.n_lost));
    cr_expect(totals.ends_with_stop);
}

Test(audit_audit, strangers_beyond_the_bound_are_counted_and_do_not_push_out_what_others_did,
     .init = setup, .fini = teardown)
{
    const uint64_t n = 5000;
    uint64_t n_written = 0;
    open_audit(0, NULL);
    struct audit_pen *pen = audit_pen(audit, 1);
    const uint64_t start_ns = clock_mono_ns();
    for (unsigned i = 0; i < n; i++) {
        struct audit_entry *entry = audit_begin_stranger(pen, AUDIT_END);
        if (!entry)
            continue;
        entry_cstr(entry, AUDIT_SRC_CLAIMED, "anybody");
        audit_commit(pen);
        n_written++;
    }
    const uint64_t n_more = (clock_mono_ns() - start_ns) / AUDIT_STRANGER_NS + 1;
    put(1, 10);
    await(METRIC_AUDIT_LOST_FLOOD, (int64_t)(n - n_written));
    audit_close(audit);
    cr_assert(ge(u64, n_written, AUDIT_STRANGERS_MAX));
    cr_assert(le(u64, n_written, AUDIT_STRANGERS_MAX + n_more));
    const struct verify_totals totals = expect_whole();
    cr_assert(eq(u64, totals.by_event[AUDIT_END], n_written + 10));
    cr_assert(eq(u64, totals.n_lost, n - n_written));
    cr_assert(gt(u64, count_in_log("\"lost.cause\":\"flood\""), 0));
    cr_assert(le(u64, count_in_log("\"lost.cause\":\"flood\""), 3));
}

Test(audit_audit, a_restart_goes_on_in_the_same_chain, .init = setup, .fini = teardown)
{
    for (int i = 0; i < 3; i++) {
        open_audit(0, NULL);
        put(0, 10);
        audit_close(audit);
    }
    const struct verify_totals totals = expect_whole();
    cr_assert(eq(u64, totals.by_event[AUDIT_END], 30));
    cr_assert(eq(u64, totals.n_crashes, 0));
    cr_assert(eq(u64, count_in_log("\"after\":\"stop\""), 2));
}

/* ---- a process that is killed ---- */

/* Of a process that will be killed once it has written so many lines: in slow writes, so that it is
 * always in the midst of one, or not. */
static struct {
    bool is_slow;
    unsigned n_before_ready;
    _Atomic unsigned n_lines;
} life;

/* As a disk that is slow and takes little at a time: a kill finds it in the middle of a line. */
static ssize_t write_a_little(int fd, const void *bytes, size_t len)
{
    if (life.is_slow)
        (void)usleep(1);
    const ssize_t n = write(fd, bytes, len < 11 ? len : 11);
    if (n > 0 && memchr(bytes, '\n', (size_t)n))
        atomic_fetch_add(&life.n_lines, 1);
    return n;
}

static void live_until_killed(uint64_t max_bytes, int ready_fd)
{
    bool is_ready = false;
    const struct audit_options options = {.path = str_from(path),
                                          .node = STR("n1"),
                                          .version = STR("1.2.3"),
                                          .max_bytes = max_bytes,
                                          .keep = 10000,
                                          .wants_ends = true,
                                          .n_workers = 1,
                                          .checkpoint_ns = NS_PER_MS,
                                          .write = write_a_little};
    if (audit_open(&options, &audit, &text) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        if (!is_ready && atomic_load(&life.n_lines) >= life.n_before_ready) {
            (void)!write(ready_fd, "!", 1);
            is_ready = true;
        }
        struct audit_entry *entry = audit_begin(audit_pen(audit, 0), AUDIT_END);
        entry_u64(entry, AUDIT_BYTES_SENT, i);
        entry_cstr(entry, AUDIT_ERROR, "a sentence, so that a line is some time being written");
        audit_commit(audit_pen(audit, 0));
        (void)usleep(200);
    }
}

static unsigned n_names;
static char names[20000][48];

static void note_name(void *owner, struct str name)
{
    (void)owner;
    cr_assert(lt(uint, n_names, ARRAY_LEN(names)));
    (void)snprintf(names[n_names++], sizeof names[0], "%.*s", STR_ARG(name));
}

/* "audit.log" behind the files that were closed. */
static int by_age(const void *a, const void *b)
{
    const size_t la = strlen(a), lb = strlen(b);
    return la != lb ? (la < lb) - (la > lb) : strcmp(a, b);
}

static struct verify_totals expect_all_whole(void)
{
    struct verify *verify = mem_new(struct verify);
    n_names = 0;
    cr_assert(eq(int, file_each_name(temp_dir_path(&dir), ARRAY_LEN(names), note_name, NULL), 0));
    qsort(names, n_names, sizeof names[0], by_age);
    for (unsigned i = 0; i < n_names; i++) {
        char file[256];
        struct text bytes = {0};
        kit_read(kit_path(&dir, names[i], file), &bytes);
        verify_file(verify, str_from(names[i]));
        verify_feed(verify, text_str(&bytes));
        text_fini(&bytes);
    }
    (void)!verify_end(verify);
    cr_assert(eq(int, (int)verify->fault, VERIFY_WHOLE), "%s", verify->sentence.ptr);
    const struct verify_totals totals = verify->totals;
    verify_fini(verify);
    mem_free(verify);
    return totals;
}

Test(audit_audit, killed_at_any_moment_it_leaves_a_log_that_goes_on_and_says_what_was_torn,
     .init = setup, .fini = teardown)
{
    const unsigned n_kills = 40;
    struct rng rng;
    rng_seed(&rng, 9);
    for (unsigned i = 0; i < n_kills; i++) {
        char byte;
        int fds[2], status;
        cr_assert(eq(int, pipe2(fds, O_CLOEXEC), 0));
        life.is_slow = i % 4 < 2;
        life.n_before_ready = life.is_slow ? 5 : i % 8 < 7 ? 1 : 0;
        const pid_t child = fork();
        cr_assert(ge(int, child, 0));
        if (child == 0)
            live_until_killed(i % 2 == 0 ? 3000 : (uint64_t)1 << 30, fds[1]);
        cr_assert(eq(int, (int)read(fds[0], &byte, 1), 1));
        (void)usleep(rng_below(&rng, 40000));
        (void)close(fds[0]);
        (void)close(fds[1]);
        (void)kill(child, SIGKILL);
        cr_assert(eq(int, waitpid(child, &status, 0), child));
        const bool was_killed = WIFSIGNALED(status);
        cr_assert(was_killed, "it ended by itself");
    }
    open_audit(0, NULL);
    audit_close(audit);
    const struct verify_totals totals = expect_all_whole();
    cr_assert(gt(u64, totals.n_crashes, n_kills / 2)); /* a few died before their first line */
    cr_assert(gt(u64, totals.n_torn, 0));
    cr_assert(gt(u64, totals.n_files, 2), "it has rotated");
    cr_assert(eq(u64, totals.first_seq, 1));
    cr_assert(totals.ends_with_stop);
}

Test(audit_audit, a_file_that_cannot_be_opened_is_told_with_its_reason, .init = setup,
     .fini = teardown)
{
    const struct audit_options options = {
        .path = STR("/nowhere/at/all/audit.log"), .max_bytes = 1000000, .n_workers = 1};
    cr_assert(lt(int, audit_open(&options, &audit, &text), 0));
    cr_assert(
        eq(str, text.ptr,
           "audit.file: /nowhere/at/all/audit.log cannot be opened: No such file or directory"));
}
