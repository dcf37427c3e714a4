#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxy/base/err.h"
#include "proxy/base/log.h"
#include "proxy/base/mem.h"

TestSuite(log, .timeout = 20);

struct ends {
    int read_fd, write_fd;
};

static struct ends pipe_new(void)
{
    int fds[2];

    cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
    cr_assert_geq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    return (struct ends){fds[0], fds[1]};
}

static void pipe_free(struct ends ends)
{
    (void)close(ends.read_fd);
    (void)close(ends.write_fd);
}

/* Reads what is in the pipe now. */
static void read_into(struct ends ends, struct text *text)
{
    char bytes[4096];
    ssize_t got;

    while ((got = read(ends.read_fd, bytes, sizeof(bytes))) > 0)
        text_add(text, str_of(bytes, (size_t)got));
}

static size_t count_of(const struct text *text, const char *part)
{
    size_t n = 0;

    for (const char *at = text->ptr; at && (at = strstr(at, part)) != NULL; at += strlen(part))
        n++;
    return n;
}

static void assert_has(const struct text *text, const char *part)
{
    cr_assert(text->ptr && strstr(text->ptr, part), "'%s' is not in '%s'", part,
              text->ptr ? text->ptr : "");
}

Test(log, an_event_is_one_json_line_with_its_fields_in_order)
{
    struct ends events = pipe_new();
    struct text text = {0};
    struct addr addr;

    cr_assert_eq(addr_parse(STR("[fd00::1]:80"), &addr), 0);
    log_start(events.write_fd, -1);
    log_attach("test");
    log_warn("a \"thing\" happened", log_cstr("who", "a\nb"), log_u64("n", 18446744073709551615u),
             log_addr("peer", &addr), log_err("why", -ERR_REFUSED));
    cr_assert_eq(log_drain(), 1);
    read_into(events, &text);

    cr_assert(str_starts_with(text_str(&text), STR("{\"time\":\"20")));
    assert_has(&text, "Z\",\"level\":\"warn\",\"message\":\"a \\\"thing\\\" happened\","
                      "\"who\":\"a\\nb\",\"n\":18446744073709551615,\"peer\":\"[fd00::1]:80\","
                      "\"why\":\"refused\",\"why_text\":\"the connection was refused\"}\n");
    cr_assert_eq(count_of(&text, "\n"), 1);
    log_stop();
    text_fini(&text);
    pipe_free(events);
}

Test(log, only_enabled_levels_are_written)
{
    struct ends events = pipe_new();
    struct text text = {0};

    log_start(events.write_fd, -1);
    log_attach("test");
    log_debug("hidden");
    log_set_level(LOG_DEBUG);
    log_debug("shown");
    log_set_level(LOG_ERROR);
    log_warn("hidden");
    log_error("shown");
    log_stop();
    read_into(events, &text);

    cr_assert_eq(count_of(&text, "shown"), 2);
    cr_assert_eq(count_of(&text, "hidden"), 0);
    log_set_level(LOG_INFO);
    text_fini(&text);
    pipe_free(events);
}

Test(log, reads_the_names_of_levels)
{
    enum log_level level = LOG_DEBUG;

    cr_assert(log_level_parse(STR("error"), &level) && level == LOG_ERROR);
    cr_assert(log_level_parse(STR("debug"), &level) && level == LOG_DEBUG);
    cr_assert(log_level_parse(STR("warn"), &level) && level == LOG_WARN);
    cr_assert_not(log_level_parse(STR("loud"), &level));
    cr_assert_not(log_level_parse((struct str){0}, &level));
    cr_assert_eq(level, LOG_WARN);
}

Test(log, a_call_site_is_limited_and_says_what_it_held_back)
{
    struct ends events = pipe_new();
    struct text text = {0};
    struct log_site site = {0};

    log_start(events.write_fd, -1);
    log_attach("test");
    for (int i = 0; i < LOG_SITE_PER_SEC + 30; i++)
        log_write(&site, LOG_WARN, "again", (struct log_field){0});
    cr_assert_eq(site.suppressed, 30);
    site.window_start_ns = 0; /* as if the second were over */
    log_write(&site, LOG_WARN, "later", (struct log_field){0});
    log_write(&site, LOG_WARN, "latest", (struct log_field){0});
    log_stop();
    read_into(events, &text);

    cr_assert_eq(count_of(&text, "\"again\""), LOG_SITE_PER_SEC);
    assert_has(&text, "\"message\":\"later\",\"suppressed\":30}\n");
    assert_has(&text, "\"message\":\"latest\"}\n");
    text_fini(&text);
    pipe_free(events);
}

Test(log, access_lines_go_their_own_way_and_cannot_be_split_from_inside)
{
    struct ends events = pipe_new(), access_log = pipe_new();
    struct text text = {0};

    log_start(events.write_fd, access_log.write_fd);
    log_attach("test");
    log_access(STR("{\"a\":1}"));
    log_access(STR("one\ntwo"));
    cr_assert_eq(log_drain(), 2);
    read_into(access_log, &text);
    cr_assert_str_eq(text.ptr, "{\"a\":1}\none two\n");
    text_clear(&text);
    read_into(events, &text);
    cr_assert_eq(text.len, 0);
    log_stop();
    text_fini(&text);
    pipe_free(events);
    pipe_free(access_log);
}

Test(log, a_descriptor_of_minus_one_discards)
{
    struct ends events = pipe_new();

    log_start(events.write_fd, -1);
    log_attach("test");
    for (int i = 0; i < 10000; i++)
        log_access(STR("a line that goes nowhere"));

    cr_assert_eq(log_drain(), 0);
    cr_assert_eq(log_dropped(), 0);
    log_stop();
    pipe_free(events);
}

Test(log, a_thousand_connections_that_end_at_once_are_all_told)
{
    struct ends events = pipe_new();
    char line[900];

    memset(line, 'x', sizeof(line));
    log_start(events.write_fd, events.write_fd);
    log_attach("worker");
    for (int i = 0; i < 1000; i++)
        log_access(str_of(line, sizeof(line)));

    cr_assert_eq(log_dropped(), 0);
    log_stop();
    pipe_free(events);
}

/* Fills pipe and ring with numbered lines, then reads all: what arrives is whole, in order, and the
 * rest is counted. */
Test(log, a_slow_reader_costs_whole_lines_that_are_counted_and_told)
{
    struct ends events = pipe_new(), access_log = pipe_new();
    struct text text = {0}, told = {0};
    char line[100];
    const unsigned sent = 24000;

    log_start(events.write_fd, access_log.write_fd);
    log_attach("worker-7");
    for (unsigned i = 0; i < sent; i++) {
        (void)snprintf(line, sizeof(line), "%08u-%0*d", i, 60, 0);
        log_access(str_from(line));
        if (i % 100 == 0)
            (void)log_drain();
    }
    uint64_t dropped = log_dropped();
    cr_assert_gt(dropped, 0);
    for (int i = 0; i < 200; i++) {
        (void)log_drain();
        read_into(access_log, &text);
        read_into(events, &told);
    }

    cr_assert_eq(count_of(&text, "\n") + dropped, sent);
    long before = -1;
    for (const char *at = text.ptr; *at; at += 70) {
        char *end;
        const long number = strtol(at, &end, 10);
        cr_assert(end == at + 8 && *end == '-', "a line begins wrong at %ld", before);
        cr_assert_gt(number, before);
        cr_assert_eq(at[69], '\n', "a line is not whole at %ld", number);
        before = number;
    }
    char sum[64];
    (void)snprintf(sum, sizeof(sum), "\"thread\":\"worker-7\",\"dropped\":");
    assert_has(&told, sum);
    log_stop();
    text_fini(&text);
    text_fini(&told);
    pipe_free(events);
    pipe_free(access_log);
}

Test(log, a_stuck_access_log_does_not_hold_events_back)
{
    struct ends events = pipe_new(), access_log = pipe_new();
    struct text text = {0};

    log_start(events.write_fd, access_log.write_fd);
    log_attach("test");
    for (int i = 0; i < 40000; i++) {
        log_access(STR("0123456789012345678901234567890123456789"));
        if (i % 500 == 0)
            (void)log_drain();
    }
    log_warn("still heard");
    (void)log_drain();
    read_into(events, &text);

    assert_has(&text, "still heard");
    log_stop();
    text_fini(&text);
    pipe_free(events);
    pipe_free(access_log);
}

Test(log, a_long_line_is_finished_before_another_begins)
{
    struct ends events = pipe_new(), access_log = pipe_new();
    struct text text = {0};
    char *longest = mem_alloc(50000);

    memset(longest, 'x', 50000);
    log_start(events.write_fd, access_log.write_fd);
    log_attach("test");
    log_access(STR("first"));
    log_access(str_of(longest, 50000));
    for (int i = 0; i < 40; i++) {
        (void)log_drain();
        if (i == 20)
            log_access(STR("last"));
        read_into(access_log, &text);
    }

    cr_assert_eq(text.len, 6 + 50001 + 5);
    cr_assert(str_starts_with(text_str(&text), STR("first\nxxx")));
    cr_assert(str_ends_with(text_str(&text), STR("xxx\nlast\n")));
    log_stop();
    mem_free(longest);
    text_fini(&text);
    pipe_free(events);
    pipe_free(access_log);
}

static void *log_a_long_line(void *arg)
{
    log_attach("second");
    log_access(*(const struct str *)arg);
    return NULL;
}

/* The long line's thread is the later one in the order, so only the memory of the cut line lets it
 * go first. */
Test(log, a_cut_line_is_finished_before_the_line_of_another_thread)
{
    struct ends events = pipe_new(), access_log = pipe_new();
    struct text text = {0};
    char *filler = mem_zalloc(60000), *longest = mem_alloc(50000);
    struct str line = str_of(longest, 50000);
    pthread_t second;

    memset(longest, 'x', 50000);
    cr_assert_eq(write(access_log.write_fd, filler, 60000), 60000);
    log_start(events.write_fd, access_log.write_fd);
    log_attach("first");
    cr_assert_eq(pthread_create(&second, NULL, log_a_long_line, &line), 0);
    cr_assert_eq(pthread_join(second, NULL), 0);
    cr_assert_eq(log_drain(), 0, "the pipe has room for a part only");
    log_access(STR("short"));
    for (int i = 0; i < 40; i++) {
        read_into(access_log, &text);
        (void)log_drain();
    }

    cr_assert_eq(text.len, 60000 + 50001 + 6);
    cr_assert(str_ends_with(text_str(&text), STR("xxx\nshort\n")));
    log_stop();
    mem_free(filler);
    mem_free(longest);
    text_fini(&text);
    pipe_free(events);
    pipe_free(access_log);
}

/* A pipe in packet mode keeps the borders of writes: what others write to the same pipe falls
 * between them. */
Test(log, each_write_ends_with_a_line)
{
    struct ends events = pipe_new();
    char bytes[8192];
    ssize_t got;
    int fds[2], n = 0;

    cr_assert_eq(pipe2(fds, O_CLOEXEC | O_DIRECT | O_NONBLOCK), 0);
    log_start(events.write_fd, fds[1]);
    log_attach("test");
    for (int i = 0; i < 300; i++)
        log_access(STR("0123456789012345678901234567890123456789"));
    cr_assert_eq(log_drain(), 300);
    while ((got = read(fds[0], bytes, sizeof(bytes))) > 0) {
        cr_assert_eq(bytes[got - 1], '\n');
        n++;
    }

    cr_assert_geq(n, 2);
    log_stop();
    (void)close(fds[0]);
    (void)close(fds[1]);
    pipe_free(events);
}

Test(log, threads_take_turns_at_a_slow_reader)
{
    struct ends events = pipe_new(), access_log = pipe_new();
    struct text text = {0};
    struct str theirs = STR("theirs");
    pthread_t second;

    log_start(events.write_fd, access_log.write_fd);
    log_attach("first");
    cr_assert_eq(pthread_create(&second, NULL, log_a_long_line, &theirs), 0);
    cr_assert_eq(pthread_join(second, NULL), 0);
    for (int i = 0; i < 30000; i++) /* more than pipe and ring hold together */
        log_access(STR("0123456789012345678901234567890123456789"));
    (void)log_drain();
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 4000; j++)
            log_access(STR("0123456789012345678901234567890123456789"));
        (void)log_drain();
        read_into(access_log, &text);
    }

    assert_has(&text, "theirs\n");
    log_stop();
    text_fini(&text);
    pipe_free(events);
    pipe_free(access_log);
}

Test(log, a_reader_that_is_gone_costs_lines_but_not_the_process)
{
    struct ends events = pipe_new();

    log_start(events.write_fd, -1);
    log_attach("test");
    (void)close(events.read_fd);
    log_warn("nobody reads this");
    cr_assert_eq(log_drain(), 0);

    cr_assert_eq(log_dropped(), 1);
    log_stop();
    (void)close(events.write_fd);
}

Test(log, hostile_values_are_cut_and_the_line_stays_json)
{
    struct ends events = pipe_new();
    struct text text = {0};
    char *hostile = mem_alloc(100000);

    memset(hostile, 0x01, 100000);
    log_start(events.write_fd, -1);
    log_attach("test");
    log_warn("m", log_str("a", str_of(hostile, 100000)), log_str("b", str_of(hostile, 100000)),
             log_str("c", str_of(hostile, 100000)), log_str("d", str_of(hostile, 100000)));
    for (int i = 0; i < 20; i++) {
        (void)log_drain();
        read_into(events, &text);
    }

    cr_assert_leq(text.len, 33000);
    cr_assert(str_ends_with(text_str(&text), STR("\\u0001\",\"cut\":\"fields\"}\n")));
    cr_assert_eq(count_of(&text, "\n"), 1);
    log_stop();
    mem_free(hostile);
    text_fini(&text);
    pipe_free(events);
}

Test(log, starts_again_after_a_stop)
{
    struct ends events = pipe_new();
    struct text text = {0};

    for (int i = 0; i < 3; i++) {
        log_start(events.write_fd, -1);
        log_attach("test");
        log_warn("round");
        log_stop();
    }
    read_into(events, &text);

    cr_assert_eq(count_of(&text, "round"), 3);
    text_fini(&text);
    pipe_free(events);
}

Test(log, before_the_start_lines_go_straight_to_standard_error)
{
    struct ends events = pipe_new();
    struct text text = {0};
    int kept = dup(STDERR_FILENO);

    (void)fflush(stderr);
    cr_assert_geq(dup2(events.write_fd, STDERR_FILENO), 0);
    log_error("early", log_u64("n", 1));
    cr_assert_geq(dup2(kept, STDERR_FILENO), 0);
    read_into(events, &text);

    assert_has(&text, "\"level\":\"error\",\"message\":\"early\",\"n\":1}\n");
    (void)close(kept);
    text_fini(&text);
    pipe_free(events);
}
