/* A pen folds requests, and nothing of them goes uncounted. */
#include <criterion/criterion.h>
#include <criterion/new/assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proxy/audit/audit.h"
#include "proxy/io/record_ring.h"
#include "proxy/meter/meter.h"
#include "tests/unit/proxy_audit/log_kit.h"

TestSuite(audit_requests, .timeout = 30);

static struct temp_dir dir;
static char path[256];
static struct audit *audit;
static uint64_t now_ns;
static struct text log_, sentence;

static void setup(void)
{
    dir = temp_dir_new();
    (void)kit_path(&dir, "audit.log", path);
}

static void teardown(void)
{
    temp_dir_remove(&dir);
    text_fini(&log_);
    text_fini(&sentence);
}

static _Atomic bool is_stalled, is_full;

/* The disk says nothing for as long as the test wants, or that it has no room. */
static ssize_t write_when_told(int fd, const void *bytes, size_t len)
{
    while (atomic_load(&is_stalled))
        (void)usleep(1000);
    if (!atomic_load(&is_full))
        return write(fd, bytes, len);
    errno = ENOSPC;
    return -1;
}

static void open_audit(bool wants_each, size_t ring_bytes)
{
    const struct audit_options options = {
        .path = str_from(path),
        .node = STR("n1"),
        .version = STR("1"),
        .max_bytes = (uint64_t)1 << 30,
        .keep = 3,
        .wants_verdicts = true,
        .wants_ends = true,
        .wants_each = wants_each,
        .n_workers = 1,
        .ring_bytes = ring_bytes,
        .write = write_when_told,
    };
    cr_assert(eq(int, audit_open(&options, &audit, &sentence), 0), "%s", sentence.ptr);
}

static struct audit_pen *pen(void)
{
    return audit_pen(audit, 0);
}

static void request(uint64_t connection, const char *target)
{
    const struct audit_request what = {
        .bytes_sent = 7, .bytes_received = 3, .duration_ns = 50, .attempts = 1};
    char name[AUDIT_NAME_MAX];
    struct audit_entry *entry = audit_begin_request(pen(), true);
    cr_assert(entry != NULL);
    entry_str(entry, AUDIT_CONNECTION, audit_name(pen(), connection, name));
    entry_cstr(entry, AUDIT_PATH, target);
    entry_cstr(entry, AUDIT_DECISION, "allow");
    audit_commit_request(pen(), connection, &what, now_ns);
}

static void deny(void)
{
    struct audit_entry *entry = audit_begin(pen(), AUDIT_VERDICT);
    entry_cstr(entry, AUDIT_DECISION, "deny");
    audit_commit(pen());
}

static void read_log(void)
{
    text_fini(&log_);
    kit_read(path, &log_);
}

static struct verify_totals close_audit(void)
{
    struct verify_totals totals;
    audit_close(audit);
    cr_assert(eq(int, (int)kit_verify_file(path, &sentence, &totals), VERIFY_WHOLE), "%s",
              sentence.ptr);
    read_log();
    return totals;
}

/* The idx-th line with the words; free it with json_decref(). */
static json_t *line_with(const char *words, unsigned idx)
{
    struct str line, rest = text_str(&log_);
    while (str_split(rest, '\n', &line, &rest)) {
        if (str_contains(line, str_from(words)) && idx-- == 0)
            return json_loadb(line.ptr, line.len, JSON_REJECT_DUPLICATES, NULL);
    }
    return NULL;
}

#define NUMBER(line, key) json_integer_value(json_object_get(line, key))
#define TEXT(line, key)   json_string_value(json_object_get(line, key))

Test(audit_requests, what_ended_alike_is_one_line_with_count_and_sums, .init = setup,
     .fini = teardown)
{
    open_audit(false, 0);
    for (unsigned i = 0; i < 1000; i++)
        request(1, "/a");
    request(1, "/b");
    request(2, "/a");
    const struct verify_totals totals = close_audit();
    cr_expect(eq(u64, totals.by_event[AUDIT_REQUESTS], 3));
    cr_expect(eq(u64, totals.n_requests, 1002));
    cr_expect(eq(u64, totals.n_lost, 0));
    json_t *line = line_with("\"event\":\"requests\"", 0);
    cr_assert(line != NULL);
    cr_expect_str_eq(TEXT(line, "request.path"), "/a");
    cr_expect_eq(NUMBER(line, "count"), 1000);
    cr_expect_eq(NUMBER(line, "bytes_sent"), 7000);
    cr_expect_eq(NUMBER(line, "bytes_recv"), 3000);
    cr_expect_eq(NUMBER(line, "duration_ns"), 50000);
    cr_expect_eq(NUMBER(line, "longest_ns"), 50);
    cr_expect_eq(NUMBER(line, "attempts"), 1000);
    cr_expect(strcmp(TEXT(line, "first"), TEXT(line, "last")) <= 0);
    cr_expect(strcmp(TEXT(line, "last"), TEXT(line, "time")) <= 0);
    json_decref(line);
}

Test(audit_requests, who_asks_for_each_has_a_line_for_each, .init = setup, .fini = teardown)
{
    open_audit(true, 0);
    cr_expect_not(audit_folds(pen()));
    for (unsigned i = 0; i < 100; i++)
        request(1, "/a");
    const struct verify_totals totals = close_audit();
    cr_expect(eq(u64, totals.by_event[AUDIT_REQUESTS], 100));
    cr_expect(eq(u64, totals.n_requests, 100));
}

static uint64_t in_file(const char *words)
{
    uint64_t n = 0;
    read_log();
    for (const char *at = log_.ptr; (at = strstr(at, words)); at++)
        n++;
    return n;
}

static void await(const char *words, uint64_t n)
{
    for (int i = 0; i < 10000 && in_file(words) < n; i++)
        (void)usleep(1000);
    cr_assert(eq(u64, in_file(words), n), "%s", words);
}

Test(audit_requests, they_are_told_when_due_with_their_connection_and_when_all_are, .init = setup,
     .fini = teardown)
{
    open_audit(false, 0);
    request(1, "/1");
    request(2, "/2");
    request(3, "/3");
    audit_tell_connection(pen(), 2);
    await("/2", 1);
    now_ns = AUDIT_FOLD_NS - 1;
    request(1, "/1");
    audit_tell_due(pen(), now_ns);
    request(4, "/4");
    audit_tell_due(pen(), AUDIT_FOLD_NS);
    await("\"count\":2", 1); /* both of /1 */
    await("/3", 1);
    cr_expect(eq(u64, in_file("/4"), 0), "its time has not come");
    audit_tell_all(pen());
    await("/4", 1);
    (void)close_audit();
}

Test(audit_requests, a_stalled_writer_makes_them_wait_and_counts_what_cannot, .init = setup,
     .fini = teardown)
{
    const unsigned n = (unsigned)FOLD_RECORDS_MAX + 5000;
    char target[32];
    open_audit(false, 65536);
    await("\"checkpoint\"", 1);
    atomic_store(&is_stalled, true);
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(target, sizeof target, "/%u", i);
        request(1, target);
    }
    for (unsigned i = 0; i < 1000; i++)
        request(1, target); /* a path of which the table has no record, or one that it has */
    for (unsigned i = 0; i < 50; i++)
        deny();
    atomic_store(&is_stalled, false);
    const struct verify_totals totals = close_audit();
    cr_expect(gt(u64, totals.n_lost, 0));
    cr_expect(ge(u64, totals.by_event[AUDIT_REQUESTS], FOLD_RECORDS_MAX), "the table kept its own");
    cr_expect(eq(u64, totals.n_requests + totals.n_lost, n + 1000), "each is told or counted");
    cr_expect(eq(u64, totals.by_event[AUDIT_VERDICT], 50), "who asks much hides no denial");
}

static void ask_paths(unsigned n)
{
    char target[32];
    for (unsigned i = 0; i < n; i++) {
        (void)snprintf(target, sizeof target, "/%u.", i);
        request(1, target);
    }
}

Test(audit_requests, the_oldest_make_room_for_more_than_may_wait, .init = setup, .fini = teardown)
{
    const unsigned n = (unsigned)FOLD_RECORDS_MAX + 100;
    open_audit(false, 0);
    ask_paths(n);
    await("\"/99.\"", 1); /* nobody has asked for them to be told */
    cr_expect(eq(u64, in_file("\"/100.\""), 0), "it may wait");
    const struct verify_totals totals = close_audit();
    cr_expect(eq(u64, totals.by_event[AUDIT_REQUESTS], n));
    cr_expect(eq(u64, totals.n_lost, 0));
}

Test(audit_requests, a_full_disk_at_the_end_holds_nobody_up_and_is_counted, .init = setup,
     .fini = teardown)
{
    const unsigned n = (unsigned)FOLD_RECORDS_MAX;
    open_audit(false, 65536);
    await("\"checkpoint\"", 1);
    const int64_t n_before = meter_total(METRIC_AUDIT_RECORDS);
    atomic_store(&is_full, true);
    ask_paths(n);
    ask_paths(n); /* each record is of two */
    audit_close(audit);
    const int64_t n_lost = meter_total(METRIC_AUDIT_LOST_DISK);
    const int64_t n_lines = meter_total(METRIC_AUDIT_RECORDS) - n_before;
    cr_expect(gt(i64, n_lost, 0));
    cr_expect(eq(i64, n_lost % 2, 0), "each request is counted");
    cr_expect(ge(i64, n_lost + 2 * n_lines, 2 * n), "what is in no line was lost and counted");
    cr_expect(le(i64, n_lost + 2 * n_lines, 2 * (n + 2)),
              "beside them a line of the loss, and the stop");
}

Test(audit_requests, memory_of_a_burst_goes_back_a_while_after_its_lines, .init = setup,
     .fini = teardown)
{
    open_audit(false, 0);
    for (unsigned i = 0; i < 2000; i++)
        request(i, "/a/path/that/is/as/long/as/others");
    cr_expect_gt(fold_chunks(pen()->fold), 2);
    now_ns += AUDIT_FOLD_NS;
    audit_tell_due(pen(), now_ns);
    for (unsigned i = 0; i < 1000 && record_ring_pages(pen()->ring) > 0; i++) {
        usleep(10000); /* until the writer has taken them */
        now_ns += RECORD_RING_STILL_NS;
        audit_tell_due(pen(), now_ns);
    }
    cr_expect(eq(sz, record_ring_pages(pen()->ring), 0));
    cr_expect(eq(sz, fold_chunks(pen()->fold), 0));
    request(1, "/b");
    const struct verify_totals totals = close_audit();
    cr_expect(eq(u64, totals.n_requests, 2001));
    cr_expect(eq(u64, totals.n_lost, 0));
}
